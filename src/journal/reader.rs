//! Reading the journal in order, partition after partition.
use super::Error;
use super::partition::{self, Name, Rows, Source};
use super::record::Record;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use tokio::sync::watch;

/// How much to read at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At most so many records.
    pub records_max: usize,
    /// No record that begins after so many bytes.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { records_max: 256, bytes_max: 16 << 20 }
    }
}

/// What stands at a place of the journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// A record, as it was written.
    Record(u64, Record),
    /// Records that cannot be read: missing, or not what was written.
    Damaged(RangeInclusive<u64>),
}

impl Item {
    /// The number after it.
    pub fn next(&self) -> u64 {
        match self {
            Item::Record(seq, _) => seq + 1,
            Item::Damaged(seqs) => seqs.end() + 1,
        }
    }
}

/// Reads a journal; each reader has its own. Calls block.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    head: watch::Receiver<u64>,
    source: Option<Source>,
}

impl Reader {
    pub(super) fn new(folder: PathBuf, head: watch::Receiver<u64>) -> Reader {
        Reader { folder, head, source: None }
    }

    /// Whether there is such a number yet.
    pub fn has(&self, seq: u64) -> bool {
        seq <= *self.head.borrow()
    }

    /// Items from the number `from` on (0 means the first there is), without a gap; empty at the end of the journal.
    ///
    /// # Errors
    /// [`Error::Pruned`], or a file that cannot be read at all.
    pub fn read(&mut self, from: u64, limits: Limits) -> Result<Vec<Item>, Error> {
        let head = *self.head.borrow();
        let mut from = from.max(1);
        if from > head {
            return Ok(Vec::new());
        }
        let (name, following) = self.locate(from)?;
        if from < name.first {
            return Err(Error::Pruned { asked: from, first: name.first });
        }
        let last = following.map_or(head, |first| first - 1);
        let mut rows = match self.rows(&name, from, limits) {
            Err(error) if error.is_damage() && following.is_some() => {
                tracing::error!("journal partition is damaged: {error}");
                self.source = None;
                Rows { rows: Vec::new(), exhausted: true }
            }
            rows => rows?,
        };
        if let Some(beyond) = rows.rows.iter().position(|(seq, _)| *seq > last) {
            // Written, but not reported as durable when this call began.
            rows.rows.truncate(beyond);
            rows.exhausted = true;
        }
        let mut items = Vec::with_capacity(rows.rows.len());
        for (seq, record) in rows.rows {
            if seq < from {
                continue; // Of a damaged partition, whose rows are out of order: what is before has been told.
            }
            if seq > from {
                items.push(Item::Damaged(from..=seq - 1));
            }
            items.push(record.map_or(Item::Damaged(seq..=seq), |record| Item::Record(seq, record)));
            from = seq + 1;
        }
        if rows.exhausted && from <= last {
            items.push(Item::Damaged(from..=last));
        }
        Ok(items)
    }

    /// The first number that is kept; that of the next record while there is none.
    ///
    /// # Errors
    /// Partitions that cannot be listed.
    pub fn first(&self) -> Result<u64, Error> {
        Ok(partition::list(&self.folder)?.first().map_or(1, |name| name.first))
    }

    /// The last number that may be read.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// The partition that holds a number, and the first number of the one after it.
    fn locate(&self, seq: u64) -> Result<(Name, Option<u64>), Error> {
        let names = partition::list(&self.folder)?;
        let at = names.partition_point(|name| name.first <= seq).saturating_sub(1);
        let missing = || Error::File { path: self.folder.clone(), source: std::io::ErrorKind::NotFound.into() };
        let name = names.get(at).cloned().ok_or_else(missing)?;
        Ok((name, names.get(at + 1).map(|name| name.first)))
    }

    fn rows(&mut self, name: &Name, from: u64, limits: Limits) -> Result<Rows, Error> {
        let source = match self.source.take() {
            Some(source) if source.name == *name => source,
            _ => Source::open(name)?,
        };
        self.source.insert(source).read(from, limits.records_max.max(1), limits.bytes_max.max(1))
    }
}
