//! From a hash to the people who have it: sorted entries with a table of where each first part begins. Two reads find an entry; the caller compares what was hashed.

/// Entries are `hash << 32 | person`; people are numbers below 2³².
#[derive(Debug, Default)]
pub(super) struct Index {
    starts: Vec<u32>,
    entries: Vec<u64>,
    shift: u32,
}

impl Index {
    /// From hashes and people; of a hash its upper half counts.
    pub fn new(hashes: impl Iterator<Item = (u64, u32)>) -> Index {
        let mut entries: Vec<u64> = hashes.map(|(hash, person)| hash >> 32 << 32 | u64::from(person)).collect();
        entries.sort_unstable();
        entries.dedup();
        entries.shrink_to_fit();
        // About as many parts as entries, at least one.
        let bits = (entries.len() as u64).max(1).ilog2();
        let shift = 64 - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for part in 0..1u64 << bits {
            starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            while entries.get(at).is_some_and(|entry| bits == 0 || entry >> shift == part) {
                at += 1;
            }
        }
        starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        Index { starts, entries, shift }
    }

    /// The people who may have this hash, in the order of their numbers.
    pub fn find(&self, hash: u64) -> impl Iterator<Item = u32> + Clone {
        let part = if self.shift == 64 { 0 } else { (hash >> self.shift) as usize };
        let range = self.starts.get(part).zip(self.starts.get(part.saturating_add(1)));
        let entries = range.and_then(|(start, end)| self.entries.get(*start as usize..*end as usize));
        let upper = hash >> 32;
        let entries = entries.unwrap_or_default();
        let first = entries.partition_point(|entry| entry >> 32 < upper);
        let found = entries.get(first..).unwrap_or_default().iter().take_while(move |entry| *entry >> 32 == upper);
        found.map(|entry| *entry as u32)
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.starts.len() * 4 + self.entries.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_was_put_in(pairs in prop::collection::vec((any::<u64>(), 0u32..50), 0..200), other: u64) {
            // Few different upper halves, so that several people share one.
            let pairs: Vec<_> = pairs.into_iter().map(|(hash, person)| ((hash % 7 * 0x2492_4924_0000_0000) | (hash >> 40), person)).collect();
            let index = Index::new(pairs.iter().copied());
            for hash in pairs.iter().map(|(hash, _)| *hash).chain([other]) {
                let mut expected: Vec<u32> = pairs.iter().filter(|(known, _)| known >> 32 == hash >> 32).map(|(_, person)| *person).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(index.find(hash).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn an_empty_one_finds_nothing() {
        assert_eq!(Index::new(std::iter::empty()).find(7).count(), 0);
        assert_eq!(Index::default().find(u64::MAX).count(), 0);
        assert_eq!(Index::new([(5 << 32, 9)].into_iter()).find(5 << 32).collect::<Vec<_>>(), [9]);
    }
}
