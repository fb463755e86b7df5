//! Messages that came before: the same message again gets the same acknowledgement again, and stands in the journal once.
//!
//! Two messages are the same when listener, MSH-3, MSH-4 and MSH-10 are, and all their other bytes but MSH-7. Where only the former are, a sender has used a control id
//! twice. Nothing of this is written as a message comes: the journal holds it already, with the acknowledgement. Beside it stands an index.
//!
//! ```text
//! pending    taken, not yet in the journal: whoever comes with the same message waits for the first
//! growing    the newest messages, in memory
//! frozen     a full table on its way to its file
//! segments   files of older ones, each with a filter in memory (DATA/duplicates/*.index)
//! ```
//!
//! A hash is never trusted: what the index finds is read from the journal and compared before anything follows from it. What the index does not find costs a look into
//! memory. At start the files are read; what they do not cover is read from the journal.
mod rebuild;
mod segment;
mod table;
#[cfg(test)]
mod tests;

use crate::facets::{Facets, Outcome};
use crate::hl7::{Index, Message, SegmentId, Span};
use crate::journal::{Error, Item, Journal, Limits, Reader, Record};
pub use rebuild::OpenError;
use segment::Segment;
use sha2::{Digest, Sha256};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::oneshot;

/// The limits of the index.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How far back it goes. Each listener may look back less far.
    pub window: Duration,
    /// The newest messages are kept in memory until they are so many…
    pub table_records_max: usize,
    /// …or so many bytes, which are read again at the next start.
    pub table_bytes_max: u64,
    /// Messages that it holds altogether, about; of more the oldest are forgotten early. Each costs two bytes of memory.
    pub records_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            window: Duration::from_secs(7 * 24 * 3600),
            table_records_max: 131_072,
            table_bytes_max: 256 << 20,
            records_max: 16 << 20,
        }
    }
}

/// Tables that may wait for their files; of more the oldest are forgotten until the next start.
const FROZEN_MAX: usize = 4;
/// Earlier messages of the same key that are read to see whether it is really the same.
const SAME_KEY_MAX: usize = 4;
/// Readers of the journal that are kept open.
const READERS_MAX: usize = 4;

/// By what a message is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint {
    /// SHA-256 over listener, MSH-3, MSH-4 and MSH-10.
    key: [u8; 32],
    /// SHA-256 over the key and the message without MSH-7.
    content: [u8; 32],
}

impl Fingerprint {
    /// That of a message and its facets; none for one without a control id.
    pub fn of(facets: &Facets<'_>, message: Message<'_>) -> Option<Fingerprint> {
        if facets.control_id.is_empty() {
            return None;
        }
        let (raw, time) = (message.raw(), time_of(message));
        let mut sha = Sha256::new();
        for text in [facets.listener, facets.sending_application, facets.sending_facility, facets.control_id] {
            let text = &text[..text.len().min(usize::from(u16::MAX))]; // As much as facets keep.
            sha.update((text.len() as u64).to_le_bytes());
            sha.update(text);
        }
        let key: [u8; 32] = sha.finalize().into();
        let (before, after) = (raw.get(..time.start as usize)?, raw.get(time.end as usize..)?);
        // The line end after the last segment is the carrier's: in a batch or a file it is not there.
        let after = after.trim_ascii_end();
        let content = Sha256::new().chain_update(key).chain_update(before).chain_update(after).finalize().into();
        Some(Fingerprint { key, content })
    }

    /// That of a record.
    fn of_record(record: &Record) -> Option<Fingerprint> {
        // One that its sender may not send must not stand in the way of whom it speaks for.
        let facets = Facets::decode(&record.facets).filter(|facets| facets.outcome != Outcome::Foreign)?;
        let mut index = Index::default();
        index.parse(&record.raw).ok()?;
        Fingerprint::of(&facets, index.message(&record.raw))
    }

    fn key(&self) -> u64 {
        first_bytes(&self.key)
    }

    fn twin(&self) -> u64 {
        first_bytes(&self.content)
    }
}

/// MSH-7, which may change when a message is sent again.
fn time_of(message: Message<'_>) -> Span {
    message.find(SegmentId(*b"MSH")).map_or(Span::default(), |msh| message.field(msh, 7))
}

fn first_bytes(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The messages that came before.
#[derive(Debug)]
pub struct Duplicates {
    shared: Arc<Shared>,
    /// Idle ones.
    readers: Mutex<Vec<Reader>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    options: Options,
    known: Mutex<Known>,
}

/// A message in the journal: its number, and what stands there.
pub(super) type Stored = (u64, Arc<Record>);

#[derive(Debug)]
struct Known {
    /// By the hash of key and content: who waits for what becomes of it.
    pending: HashMap<[u8; 32], Vec<oneshot::Sender<Stored>>>,
    /// How many are pending with a key.
    pending_keys: HashMap<[u8; 32], u32>,
    growing: Table,
    frozen: Vec<Arc<Table>>,
    /// In the order of their numbers.
    segments: VecDeque<Arc<Segment>>,
}

/// What is known of a message before the journal is asked.
#[derive(Debug)]
pub(super) enum Look {
    /// The same message is being stored: this receives its record, or nothing if it could not be.
    Twin(oneshot::Receiver<Stored>),
    /// It is ours to store, unless the journal knows better.
    Ours(Reservation, Suspects),
}

/// Where the same message, or one of the same key, may stand.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// One of the same key and another content is being stored.
    pub reused: bool,
    twins: Vec<u64>,
    same_key: Option<u64>,
    segments: Vec<Arc<Segment>>,
}

/// What the journal says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is new; whether its control id was used by another message.
    New { reused: bool },
    /// It stands there already.
    Known(u64, Arc<Record>),
}

impl Duplicates {
    /// The index of `journal` in a data directory. Reads, or makes anew, what is to be known of older messages: seconds where there are many.
    ///
    /// # Errors
    /// A folder that cannot be made or read, or a journal that cannot be read.
    pub fn open(data: &Path, journal: &Journal, options: Options, now_ms: i64) -> Result<Duplicates, OpenError> {
        let folder = data.join("duplicates");
        let known = rebuild::read(&folder, journal, &options, now_ms)?;
        let shared = Arc::new(Shared { folder, options, known: Mutex::new(known) });
        Ok(Duplicates { shared, readers: Mutex::default() })
    }

    /// Looks for a message in memory, and reserves its place when nobody else stores the same one. One that is accepted in any case (`accepts`) is only reserved, so
    /// that it is known later.
    pub(super) fn look(&self, print: Fingerprint, accepts: bool) -> Look {
        let mut known = self.shared.lock();
        let reservation = |open| Reservation { shared: Arc::clone(&self.shared), print, open };
        if accepts {
            return Look::Ours(reservation(false), Suspects::default());
        }
        if let Some(waiting) = known.pending.get_mut(&print.content) {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            return Look::Twin(receiver);
        }
        let tables = || std::iter::once(&known.growing).chain(known.frozen.iter().rev().map(Arc::as_ref));
        let suspects = Suspects {
            reused: known.pending_keys.contains_key(&print.key),
            twins: tables().filter_map(|table| table.twin(&print)).collect(),
            same_key: tables().find_map(|table| table.same_key(&print)),
            segments: known.segments.iter().rev().filter(|segment| segment.may_hold(&print)).cloned().collect(),
        };
        known.pending.insert(print.content, Vec::new());
        *known.pending_keys.entry(print.key).or_default() += 1;
        drop(known);
        Look::Ours(reservation(true), suspects)
    }

    /// Asks the journal about suspects no older than `oldest_ms`.
    pub(super) async fn judge(
        &self,
        journal: &Journal,
        print: Fingerprint,
        suspects: Suspects,
        oldest_ms: i64,
    ) -> Verdict {
        let reused = suspects.reused;
        if suspects.are_none() {
            return Verdict::New { reused };
        }
        // What has just been written can be read once the journal says so, a moment later.
        let newest = suspects.twins.iter().copied().chain(suspects.same_key).max().unwrap_or(0);
        let _ = journal.head().wait_for(|head| *head >= newest).await;
        let kept = self.readers().pop();
        let mut reader = kept.unwrap_or_else(|| journal.reader());
        let asked = tokio::task::spawn_blocking(move || {
            let verdict = suspects.ask(&mut reader, &print, oldest_ms);
            (reader, verdict)
        });
        match asked.await {
            Ok((reader, verdict)) => {
                let mut readers = self.readers();
                if readers.len() < READERS_MAX {
                    readers.push(reader);
                }
                verdict
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()), // Blocking work is never cancelled, so it panicked.
        }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Suspects {
    /// Nothing need be read.
    fn are_none(&self) -> bool {
        self.twins.is_empty() && self.same_key.is_none() && self.segments.is_empty()
    }

    /// Reads what they point at, the newest first. Blocks.
    fn ask(mut self, reader: &mut Reader, print: &Fingerprint, oldest_ms: i64) -> Verdict {
        let mut same_key: Vec<u64> = self.same_key.into_iter().collect();
        for segment in &self.segments {
            match segment.search(print) {
                Ok(found) => {
                    self.twins.extend(found.twin);
                    same_key.extend(found.same_key);
                }
                Err(error) => {
                    tracing::warn!(file = %segment.path.display(), "duplicates are not looked for there: {error}")
                }
            }
        }
        for seq in self.twins {
            if let Some(record) =
                read(reader, seq, oldest_ms).filter(|record| Fingerprint::of_record(record) == Some(*print))
            {
                return Verdict::Known(seq, Arc::new(record));
            }
        }
        let uses_key = |seq: &u64| {
            let record = read(reader, *seq, oldest_ms);
            record.and_then(|record| Fingerprint::of_record(&record)).is_some_and(|other| other.key == print.key)
        };
        let reused = self.reused || same_key.iter().take(SAME_KEY_MAX).any(uses_key);
        Verdict::New { reused }
    }
}

/// A record that is there, whole and no older than `oldest_ms`.
fn read(reader: &mut Reader, seq: u64, oldest_ms: i64) -> Option<Record> {
    let items = match reader.read(seq, Limits { records_max: 1, ..Limits::default() }) {
        Ok(items) => items,
        Err(Error::Pruned { .. }) => return None,
        Err(error) => {
            tracing::warn!(seq, "a message could not be compared with an earlier one: {error}");
            return None;
        }
    };
    items.into_iter().find_map(|item| match item {
        Item::Record(number, record) if number == seq && record.received_ms >= oldest_ms => Some(record),
        _ => None,
    })
}

/// A place in the journal for a message; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    print: Fingerprint,
    /// Others may be waiting for it.
    open: bool,
}

impl Reservation {
    /// The message stands in the journal. Called in the order of the numbers.
    pub fn stored(mut self, seq: u64, record: &Arc<Record>) {
        let full = {
            let shared = Arc::clone(&self.shared);
            let mut known = shared.lock();
            known.growing.insert(&self.print, seq, record.received_ms, record.raw.len());
            self.release(&mut known, Some((seq, record)));
            let options = &self.shared.options;
            let full =
                known.growing.len() >= options.table_records_max || known.growing.bytes >= options.table_bytes_max;
            full.then(|| known.freeze())
        };
        if let Some(table) = full {
            let shared = Arc::clone(&self.shared);
            // Seldom, and seconds apart at the greatest load; the journal's writer must not wait for it.
            let spawned = std::thread::Builder::new().name("duplicates".into()).spawn(move || shared.file(&table));
            if let Err(error) = spawned {
                tracing::error!("the index of duplicates is not written, its memory is kept: {error}");
            }
        }
    }

    /// The message stands there already, as this record.
    pub fn known(mut self, seq: u64, record: &Arc<Record>) {
        let shared = Arc::clone(&self.shared);
        self.release(&mut shared.lock(), Some((seq, record)));
    }

    /// Ends it and tells those who wait; without a record they hear that there is none.
    fn release(&mut self, known: &mut Known, record: Option<(u64, &Arc<Record>)>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let waiting = known.pending.remove(&self.print.content).unwrap_or_default();
        if let Entry::Occupied(mut count) = known.pending_keys.entry(self.print.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        for sender in waiting {
            if let Some((seq, record)) = record {
                let _ = sender.send((seq, Arc::clone(record))); // Whoever waited may be gone.
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            let shared = Arc::clone(&self.shared);
            self.release(&mut shared.lock(), None);
        }
    }
}

impl Known {
    fn new(growing: Table, segments: VecDeque<Arc<Segment>>) -> Known {
        Known { pending: HashMap::new(), pending_keys: HashMap::new(), growing, frozen: Vec::new(), segments }
    }

    /// Begins a new table; the full one is still looked at.
    fn freeze(&mut self) -> Arc<Table> {
        let next = Table::new(self.growing.last + 1);
        let table = Arc::new(std::mem::replace(&mut self.growing, next));
        self.frozen.push(Arc::clone(&table));
        if self.frozen.len() > FROZEN_MAX {
            let lost = self.frozen.remove(0);
            tracing::error!(
                first = lost.first,
                last = lost.last,
                "duplicates of these are not recognised until the next start"
            );
        }
        table
    }

    /// Takes out the segments that are too old at a time, or too many.
    fn expire(&mut self, options: &Options, now_ms: i64) -> Vec<Arc<Segment>> {
        let oldest_ms = now_ms.saturating_sub(millis(options.window));
        let mut count: u64 = self.segments.iter().map(|segment| segment.count()).sum();
        let mut gone = Vec::new();
        while let Some(segment) =
            self.segments.front().filter(|first| first.newest_ms < oldest_ms || count > options.records_max)
        {
            count -= segment.count();
            gone.extend(self.segments.pop_front());
        }
        gone
    }
}

impl Shared {
    /// Writes a full table to its file, lets it go from memory, and removes files that are too old.
    fn file(&self, table: &Arc<Table>) {
        match Segment::write(&self.folder, table) {
            Ok(segment) => {
                let mut known = self.lock();
                known.frozen.retain(|other| !Arc::ptr_eq(other, table));
                let at = known.segments.partition_point(|other| other.first < segment.first);
                known.segments.insert(at, Arc::new(segment));
                let gone = known.expire(&self.options, table.newest_ms);
                drop(known);
                gone.iter().for_each(|segment| remove(&segment.path));
            }
            // It stays in memory, until there are too many of them.
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), "the index of duplicates is not written: {error}")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes an index file; one that stays is found useless at the next start.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(file = %path.display(), "an index of duplicates is not removed: {error}");
    }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
