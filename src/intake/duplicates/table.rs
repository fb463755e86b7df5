//! The newest messages in memory: found by their key, and by key and content together. Each lookup is one step, also for a sender that uses one control id for all of
//! its messages.
use super::Fingerprint;
use hashbrown::HashTable;

/// What is remembered of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The first bytes of the hash of its key.
    pub key: u64,
    /// The first bytes of the hash of key and content.
    pub twin: u64,
    /// Its number, counted from the first of the table.
    pub offset: u32,
}

/// The messages from one number of the journal on.
#[derive(Debug)]
pub(super) struct Table {
    /// The first number that it covers.
    pub first: u64,
    /// The last number that it covers; before `first` while it is empty.
    pub last: u64,
    /// When the newest of them was received.
    pub newest_ms: i64,
    /// Bytes of the messages: what reading them again would cost.
    pub bytes: u64,
    entries: Vec<Entry>,
    by_twin: HashTable<u32>,
    by_key: HashTable<u32>,
}

impl Table {
    pub fn new(first: u64) -> Table {
        Table {
            first,
            last: first.saturating_sub(1),
            newest_ms: i64::MIN,
            bytes: 0,
            entries: Vec::new(),
            by_twin: HashTable::new(),
            by_key: HashTable::new(),
        }
    }

    /// Adds a message with the next number, or one after it.
    pub fn insert(&mut self, print: &Fingerprint, seq: u64, received_ms: i64, bytes: usize) {
        let Ok(offset) = u32::try_from(seq.saturating_sub(self.first)) else { return };
        self.last = seq;
        self.newest_ms = self.newest_ms.max(received_ms);
        self.bytes += bytes as u64;
        let entry = Entry { key: print.key(), twin: print.twin(), offset };
        let Ok(at) = u32::try_from(self.entries.len()) else { return };
        self.entries.push(entry);
        let entries = &self.entries;
        replace(&mut self.by_twin, entry.twin, at, |at| entries[at as usize].twin);
        replace(&mut self.by_key, entry.key, at, |at| entries[at as usize].key);
    }

    /// The newest message that seems to have the same key and content.
    pub fn twin(&self, print: &Fingerprint) -> Option<u64> {
        let same = |at: &u32| self.entry(*at).is_some_and(|entry| entry.twin == print.twin());
        self.by_twin.find(print.twin(), same).and_then(|at| self.seq(*at))
    }

    /// The newest message that seems to have the same key.
    pub fn same_key(&self, print: &Fingerprint) -> Option<u64> {
        let same = |at: &u32| self.entry(*at).is_some_and(|entry| entry.key == print.key());
        self.by_key.find(print.key(), same).and_then(|at| self.seq(*at))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of it by key and content, of equal ones the newest.
    pub fn sorted(&self) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.sort_unstable_by(|a, b| (a.key, a.twin, b.offset).cmp(&(b.key, b.twin, a.offset)));
        entries.dedup_by_key(|entry| (entry.key, entry.twin));
        entries
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    fn seq(&self, at: u32) -> Option<u64> {
        self.entry(at).map(|entry| self.first + u64::from(entry.offset))
    }
}

/// Puts the place `at` under a hash, in the stead of an older one.
fn replace(table: &mut HashTable<u32>, hash: u64, at: u32, hash_at: impl Fn(u32) -> u64) {
    match table.find_mut(hash, |other| hash_at(*other) == hash) {
        Some(older) => *older = at,
        None => {
            table.insert_unique(hash, at, |other| hash_at(*other));
        }
    }
}
