//! The sequence number protocol (HL7 v2 chapter 2, 2.10.1): a link that must neither miss a message nor take one twice.
//!
//! | MSH-13 | what happens | MSA-4 |
//! |---|---|---|
//! | empty | a message like others | – |
//! | 0: the sender starts | the link is free again; kept | last + 1, or -1 when nothing is known |
//! | -1: the sender begins anew | the next number is adopted; kept | -1 |
//! | last + 1, or any when nothing is known | kept | the same |
//! | last: its acknowledgement was lost | not kept again | last + 1 |
//! | any other | AE or CE, not kept; the link is frozen: only 0 and -1 are taken | last + 1 |
//!
//! A link is a listener and the address of a peer. It takes one message at a time: the next is looked at once the one before it is stored. The last number is that of the
//! newest message of the link in the journal, so it is written with the message itself. `DATA/sequence` says how far that has been looked through:
//!
//! ```text
//! handoff sequence 1
//! upto <number in the journal>
//! <listener> <address> <last number, or -1: the next is adopted> <open or frozen>
//! crc <CRC-32 of all before, hexadecimal>
//! ```
use super::OpenError;
use crate::facets::Facets;
use crate::hl7::{Index, Message, SegmentId};
use crate::journal::{Error, Item, Journal, Limits, Record};
use crate::mapping::Failure;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, watch};

/// Links that may be known; those of further peers are refused.
const LINKS_MAX: usize = 10_000;
/// Between looks whether the file is to be written.
const SAVE_PAUSE: Duration = Duration::from_secs(5);
/// So often it is written also when no link has changed: the journal has grown, and need not be looked through again.
const SAVE_EVERY: Duration = Duration::from_secs(60);

const FORMAT: &str = "handoff sequence 1\n";

/// The number that asks to begin anew, and that says nothing is known.
const ANY: i64 = -1;

/// Listener and address of the peer.
type Name = (String, String);

/// All links.
#[derive(Debug)]
pub struct Links {
    path: PathBuf,
    head: watch::Receiver<u64>,
    known: Mutex<HashMap<Name, Arc<Link>>>,
    changed: AtomicBool,
}

#[derive(Debug, Default)]
struct Link {
    state: Mutex<State>,
    /// Held by the message that is being stored.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// None: the next number is adopted.
    last: Option<i64>,
    frozen: bool,
}

/// What the protocol makes of a message.
#[derive(Debug)]
pub(super) enum Turn {
    /// It has no number.
    None,
    /// It is taken. The number is for MSA-4.
    Take(Passage, i64),
    /// It starts the link, or starts it anew. The number is for MSA-4.
    Start(Passage, i64),
    /// It has been taken before.
    Repeated(i64),
    /// It is not taken.
    Refuse(i64, Failure),
}

/// The turn of one message on its link.
#[derive(Debug)]
pub(super) struct Passage {
    link: Arc<Link>,
    number: i64,
    _turn: OwnedMutexGuard<()>,
}

impl Passage {
    /// The message stands in the journal.
    pub fn stored(self) {
        lock(&self.link.state).store(self.number);
    }
}

impl State {
    fn store(&mut self, number: i64) {
        match number {
            0 => self.frozen = false,
            ANY => *self = State::default(),
            number => *self = State { last: Some(number), frozen: false },
        }
    }

    /// What MSA-4 says of what is to come.
    fn expected(self) -> i64 {
        self.last.map_or(ANY, |last| last.saturating_add(1))
    }
}

impl Links {
    /// The links as the journal of a data directory knows them. Where no listener asks for sequence numbers (`used`), nothing is read or written.
    ///
    /// # Errors
    /// A file or a journal that cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime, when `used`.
    pub fn open(data: &Path, journal: &Journal, used: bool) -> Result<Arc<Links>, OpenError> {
        let path = data.join("sequence");
        let (head, changed) = (journal.head(), AtomicBool::new(false));
        if !used {
            return Ok(Arc::new(Links { path, head, changed, known: Mutex::default() }));
        }
        let failed = |source| OpenError::File { path: path.clone(), source };
        let (mut states, next) = match fs::read_to_string(&path) {
            Ok(text) => read(&text).unwrap_or_else(|| {
                tracing::warn!(file = %path.display(), "damaged: the last sequence numbers are looked for in the whole journal");
                (HashMap::new(), 0)
            }),
            // Before the first listener with sequence numbers nothing need be looked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (HashMap::new(), *journal.head().borrow() + 1),
            Err(error) => return Err(failed(error)),
        };
        scan(journal, next, &mut states)?;
        let link = |state| Arc::new(Link { state: Mutex::new(state), ..Link::default() });
        let known = states.into_iter().map(|(name, state)| (name, link(state))).collect();
        let links = Arc::new(Links { path: path.clone(), head, changed, known: Mutex::new(known) });
        links.save().map_err(failed)?;
        tokio::spawn(keep_saved(Arc::downgrade(&links)));
        Ok(links)
    }

    /// Waits until it is the turn of a message, and says what becomes of it.
    pub(super) async fn turn(&self, listener: &str, peer: &str, message: Message<'_>) -> Turn {
        let Some(text) = sequence_number(message) else { return Turn::None };
        let refuse = |expected, text: &str| {
            let failure = Failure { code: 100, location: Some((*b"MSH", 1, 13)), text: text.into() };
            Turn::Refuse(expected, failure)
        };
        let Some(number) = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).filter(|n| *n >= ANY)
        else {
            return refuse(ANY, "MSH-13 is no sequence number: send 0 to start, -1 to begin anew, else 1 or more");
        };
        let Some(link) = self.link(listener, peer) else {
            tracing::error!(listener, peer, "a link is refused: sequence numbers of {LINKS_MAX} peers are known");
            return refuse(ANY, "too many senders with sequence numbers: no more are taken");
        };
        let passage = Passage { number, _turn: Arc::clone(&link.turn).lock_owned().await, link: Arc::clone(&link) };
        self.changed.store(true, Ordering::Release);
        let mut state = lock(&link.state);
        let expected = state.expected();
        match number {
            0 => Turn::Start(passage, expected),
            ANY => Turn::Start(passage, ANY),
            _ if state.last == Some(number) && !state.frozen => Turn::Repeated(expected),
            _ if !state.frozen && (expected == number || expected == ANY) => Turn::Take(passage, number),
            _ => {
                if !std::mem::replace(&mut state.frozen, true) {
                    tracing::error!(
                        listener,
                        peer,
                        expected,
                        found = number,
                        "sequence numbers do not follow: the link is frozen until its sender starts it (MSH-13 0 or -1)"
                    );
                }
                refuse(
                    expected,
                    "MSH-13 is not the expected sequence number, which stands in MSA-4: start the link with 0 or -1",
                )
            }
        }
    }

    fn link(&self, listener: &str, peer: &str) -> Option<Arc<Link>> {
        let mut known = lock(&self.known);
        let full = known.len() >= LINKS_MAX;
        match known.entry((listener.to_owned(), peer.to_owned())) {
            Entry::Occupied(link) => Some(Arc::clone(link.get())),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => Some(Arc::clone(place.insert(Arc::default()))),
        }
    }

    fn save(&self) -> io::Result<()> {
        // First: what is stored from here on is looked at again.
        let upto = *self.head.borrow();
        let mut text = format!("{FORMAT}upto {upto}\n");
        for ((listener, peer), link) in lock(&self.known).iter() {
            let State { last, frozen } = *lock(&link.state);
            let word = if frozen { "frozen" } else { "open" };
            let _ = writeln!(text, "{listener} {peer} {} {word}", last.unwrap_or(ANY));
        }
        let _ = writeln!(text, "crc {:08x}", crc32fast::hash(text.as_bytes()));
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Writes the file as links change. What comes between is found in the journal.
async fn keep_saved(links: Weak<Links>) {
    let mut saved = Instant::now();
    loop {
        tokio::time::sleep(SAVE_PAUSE).await;
        let Some(links) = links.upgrade() else { return };
        if !links.changed.swap(false, Ordering::AcqRel) && saved.elapsed() < SAVE_EVERY {
            continue;
        }
        saved = Instant::now();
        let written = tokio::task::spawn_blocking(move || links.save().map_err(|error| (links.path.clone(), error)));
        if let Ok(Err((path, error))) = written.await {
            tracing::error!(file = %path.display(), "not written; the journal has the sequence numbers: {error}");
        }
    }
}

/// MSH-13 where it is filled.
fn sequence_number(message: Message<'_>) -> Option<&[u8]> {
    let msh = message.find(SegmentId(*b"MSH"))?;
    Some(message.text(msh, 13).trim_ascii()).filter(|text| !text.is_empty())
}

/// The states in a file, and the first number of the journal that it has not seen.
fn read(text: &str) -> Option<(HashMap<Name, State>, u64)> {
    let (content, sum) = text.rsplit_once("crc ")?;
    if u32::from_str_radix(sum.trim_end(), 16).ok()? != crc32fast::hash(content.as_bytes()) {
        return None;
    }
    let mut lines = content.strip_prefix(FORMAT)?.lines();
    let upto: u64 = lines.next()?.strip_prefix("upto ")?.parse().ok()?;
    let mut states = HashMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let name = (words.next()?.to_owned(), words.next()?.to_owned());
        let last = Some(words.next()?.parse().ok()?).filter(|last| *last != ANY);
        states.insert(name, State { last, frozen: words.next()? == "frozen" });
    }
    Some((states, upto + 1))
}

/// Follows the journal from a number on.
fn scan(journal: &Journal, mut next: u64, states: &mut HashMap<Name, State>) -> Result<(), OpenError> {
    let mut reader = journal.reader();
    loop {
        let items = match reader.read(next, Limits::default()) {
            Err(Error::Pruned { first, .. }) => {
                next = first;
                continue;
            }
            items => items?,
        };
        let Some(last) = items.last() else { return Ok(()) };
        next = last.next();
        for item in items {
            if let Item::Record(_, record) = item
                && let Some((name, number)) = numbered(&record)
            {
                states.entry(name).or_default().store(number);
            }
        }
    }
}

/// The link and the number of a message that was taken by its number.
fn numbered(record: &Record) -> Option<(Name, i64)> {
    let facets = Facets::decode(&record.facets).filter(|facets| !facets.peer.is_empty())?;
    let mut index = Index::default();
    index.parse(&record.raw).ok()?;
    let number = std::str::from_utf8(sequence_number(index.message(&record.raw))?).ok()?.parse().ok()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(((text(facets.listener), text(facets.peer)), number))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Directory, Options};

    /// A link in a data directory, and what becomes of a number on it: the word, and MSA-4.
    async fn turn(links: &Links, number: &str) -> (&'static str, i64) {
        let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|{number}\r");
        let mut index = Index::default();
        index.parse(raw.as_bytes()).unwrap();
        let (word, expected, passage) = match links.turn("adt", "10.0.0.1", index.message(raw.as_bytes())).await {
            Turn::None => ("none", 0, None),
            Turn::Take(passage, number) => ("take", number, Some(passage)),
            Turn::Start(passage, number) => ("start", number, Some(passage)),
            Turn::Repeated(number) => ("repeated", number, None),
            Turn::Refuse(number, _) => ("refuse", number, None),
        };
        passage.into_iter().for_each(Passage::stored);
        (word, expected)
    }

    fn open(path: &Path) -> (Journal, Arc<Links>) {
        let journal = Journal::open(&Arc::new(Directory::open(path).unwrap()), Options::default()).unwrap();
        let links = Links::open(path, &journal, true).unwrap();
        (journal, links)
    }

    async fn append(journal: &Journal, number: &str, peer: &[u8]) {
        let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|{number}\r").into_bytes();
        let mut facets = Vec::new();
        Facets { listener: b"adt", peer, ..Facets::default() }.encode(&mut facets);
        journal.append(Arc::new(Record { facets, raw, ..Record::default() }), |_| {}).await.await.unwrap();
    }

    #[tokio::test]
    async fn numbers_follow_or_the_link_is_frozen() {
        let folder = tempfile::tempdir().unwrap();
        let (_journal, links) = open(folder.path());
        for (number, expected) in [
            ("", ("none", 0)),
            ("x", ("refuse", -1)),
            ("-2", ("refuse", -1)),
            ("0", ("start", -1)),
            ("7", ("take", 7)),
            ("7", ("repeated", 8)),
            ("8", ("take", 8)),
            ("", ("none", 0)),
            ("10", ("refuse", 9)),
            ("9", ("refuse", 9)),
            ("0", ("start", 9)),
            ("9", ("take", 9)),
            ("8", ("refuse", 10)),
            ("-1", ("start", -1)),
            ("100", ("take", 100)),
            ("101", ("take", 101)),
        ] {
            assert_eq!(turn(&links, number).await, expected, "MSH-13 {number}");
        }
    }

    #[tokio::test]
    async fn a_message_that_is_not_stored_does_not_count_and_the_next_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (_journal, links) = open(folder.path());
        turn(&links, "5").await;
        let raw = b"MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|6\r";
        let mut index = Index::default();
        index.parse(raw).unwrap();
        let Turn::Take(passage, 6) = links.turn("adt", "10.0.0.1", index.message(raw)).await else {
            panic!("it follows")
        };
        {
            let mut next = std::pin::pin!(turn(&links, "6"));
            let waits =
                std::future::poll_fn(|context| std::task::Poll::Ready(next.as_mut().poll(context).is_pending()));
            assert!(waits.await, "its turn is not over");
            drop(passage);
            assert_eq!(next.await, ("take", 6));
        }
        assert_eq!(turn(&links, "6").await, ("repeated", 7));
    }

    #[tokio::test]
    async fn the_last_number_outlives_the_process_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        {
            let (journal, links) = open(folder.path());
            assert_eq!(turn(&links, "4").await, ("take", 4));
            assert_eq!(turn(&links, "9").await, ("refuse", 5));
            links.save().unwrap();
            append(&journal, "4", b"10.0.0.1").await;
        }
        {
            let (journal, links) = open(folder.path());
            assert_eq!(
                turn(&links, "5").await,
                ("take", 5),
                "a message in the journal is newer than what froze the link"
            );
            append(&journal, "5", b"10.0.0.1").await;
            append(&journal, "6", b"10.0.0.1").await;
            append(&journal, "77", b"10.0.0.2").await;
            append(&journal, "88", b"").await;
        }
        for damaged in [false, true] {
            if damaged {
                std::fs::write(folder.path().join("sequence"), "handoff sequence 1\nupto 99\ncrc 00000000\n").unwrap();
            }
            let (_journal, links) = open(folder.path());
            assert_eq!(turn(&links, "6").await, ("repeated", 7), "{damaged}");
            assert_eq!(links.known.lock().unwrap().len(), 2);
        }
        let (journal, links) = open(folder.path());
        turn(&links, "8").await;
        links.save().unwrap();
        drop((journal, links));
        let (_journal, links) = open(folder.path());
        assert_eq!(turn(&links, "7").await, ("refuse", 7), "it is still frozen");
    }
}
