//! Groups of cards in FHIR as they were translated and looked at, before anybody has judged them: of the people who were asked for last, as whoever reads a summary reads on.
//!
//! What may be shown of them is decided each time, and nothing that was released to anybody stands here. One is found by all that it was made of: the message as it was put together, the plan
//! by which it was translated, when it was received, and which entries it holds. So none can be stale. Labels are those of the gate beside which this stands.
use super::sheet::Drawn;
use crate::coordination::card::{Group, Section};
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of those that were used last, and as many again of those of before: some 30 full cards.
const BYTES_MAX: usize = 8 << 20;

/// All that a group in FHIR is made of.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key {
    plan: [u8; 32],
    raw: Vec<u8>,
    received_ms: i64,
    entries: Vec<(Section, u64)>,
}

impl Key {
    /// Of a group, and the hash of the plan that was found for it.
    pub fn of(group: &Group, plan: [u8; 32]) -> Key {
        let entries = group.sources.iter().map(|source| (source.section, source.seq)).collect();
        Key { plan, raw: group.raw.clone(), received_ms: group.received_ms, entries }
    }

    fn bytes(&self) -> usize {
        self.raw.len() + self.entries.len() * size_of::<(Section, u64)>() + size_of::<Key>()
    }
}

/// A group in FHIR, and the bytes that it takes.
type Kept = (Arc<Drawn>, usize);

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Kept>,
    young_bytes: usize,
    /// Goes as a whole when there are enough younger ones.
    old: HashMap<Key, Kept>,
}

/// Those that are kept.
#[derive(Default)]
pub(in crate::server::care) struct Drawings(Mutex<Generations>);

impl Drawings {
    /// One that is kept.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Drawn>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((drawn, _)) = all.young.get(key) {
            return Some(Arc::clone(drawn));
        }
        let (key, (drawn, bytes)) = all.old.remove_entry(key)?;
        all.put(key, (Arc::clone(&drawn), bytes));
        Some(drawn)
    }

    /// Keeps one, of which the resources that are no other's have so many bytes.
    pub(super) fn keep(&self, key: Key, drawn: &Arc<Drawn>, bytes: usize) {
        let bytes = bytes + key.bytes() + size_of_val(drawn.pieces.as_slice()) + size_of::<Drawn>();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, (Arc::clone(drawn), bytes));
    }
}

impl Generations {
    fn put(&mut self, key: Key, kept: Kept) {
        if self.young_bytes > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += kept.1;
        self.young.insert(key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: u64) -> Key {
        Key { plan: [0; 32], raw: vec![0; 1_000], received_ms: 0, entries: vec![(Section::Result, at)] }
    }

    #[test]
    fn those_used_last_stay_and_there_is_an_end() {
        let drawings = Drawings::default();
        let drawn = Arc::new(Drawn::of(Vec::new()));
        let most = BYTES_MAX as u64 / 500;
        for at in 0..most * 2 {
            drawings.keep(key(at), &drawn, 0);
            assert!(drawings.find(&key(at)).is_some() && drawings.find(&key(0)).is_some(), "{at}");
        }
        assert!(drawings.find(&key(1)).is_none(), "one that nobody asked for");
        let all = drawings.0.lock().unwrap();
        let bytes: usize = all.young.iter().chain(&all.old).map(|(_, (_, bytes))| bytes).sum();
        assert!(bytes > BYTES_MAX && bytes < 2 * BYTES_MAX + 10_000, "{bytes}");
    }

    #[test]
    fn one_is_found_by_all_that_it_is_made_of() {
        let drawings = Drawings::default();
        drawings.keep(key(1), &Arc::new(Drawn::of(Vec::new())), 0);
        assert!(drawings.find(&key(1)).is_some());
        let others = [
            Key { plan: [1; 32], ..key(1) },
            Key { raw: vec![0; 999], ..key(1) },
            Key { received_ms: 1, ..key(1) },
            Key { entries: vec![(Section::Encounter, 1)], ..key(1) },
            key(2),
        ];
        assert!(others.iter().all(|other| drawings.find(other).is_none()));
    }
}
