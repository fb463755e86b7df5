//! The control ids that were seen: a message that comes again with the same MSH-3, MSH-4, MSH-9 and MSH-10 tells nothing new.
//!
//! It must be about the same patient and visit as well: senders begin to count anew, and an event of somebody else must not be lost by it.
//!
//! All of them are in memory and in the database. They are let go from the oldest on, by the times of receipt that messages tell.
use super::super::store::Error;
use crate::facets::Facets;
use hashbrown::HashSet;
use rusqlite::{Connection, Transaction, params};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS seen (seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, id BLOB NOT NULL) STRICT;";

/// How long an id is remembered: as long as the listeners remember messages by default.
const SEEN_MS: i64 = 7 * 86_400_000;
/// Ids that are remembered, some 70 bytes each in memory.
const SEEN_MAX: usize = 500_000;

#[derive(Default)]
pub(super) struct Seen {
    order: VecDeque<(u64, i64, Id)>,
    ids: HashSet<Id>,
    /// So many of the newest are not in the database.
    unwritten: usize,
    /// The first number that is remembered has changed.
    moved: bool,
}

/// 128 bits of a hash: that two of them are the same is not to be expected.
type Id = [u8; 16];

impl Seen {
    /// As the database has them.
    pub fn open(connection: &Connection) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        let mut select = connection.prepare("SELECT seq, received_ms, id FROM seen ORDER BY seq")?;
        let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?, row.get(2)?)))?;
        for row in rows {
            let (seq, received_ms, id) = row?;
            seen.order.push_back((seq, received_ms, id));
            seen.ids.insert(id);
        }
        Ok(seen)
    }

    /// Remembers a message; whether it was seen before. One without a control id never was.
    pub fn note(&mut self, seq: u64, facets: &Facets<'_>) -> bool {
        while self.order.front().is_some_and(|(_, received_ms, _)| {
            received_ms.saturating_add(SEEN_MS) < facets.received_ms || self.order.len() >= SEEN_MAX
        }) {
            if let Some((_, _, id)) = self.order.pop_front() {
                self.ids.remove(&id);
                self.unwritten = self.unwritten.min(self.order.len());
                self.moved = true;
            }
        }
        if facets.control_id.is_empty() {
            return false;
        }
        let id = id(facets);
        if !self.ids.insert(id) {
            return true;
        }
        self.order.push_back((seq, facets.received_ms, id));
        self.unwritten += 1;
        false
    }

    /// Writes what has changed.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        if std::mem::take(&mut self.moved) {
            let first = self.order.front().map_or(i64::MAX, |(seq, ..)| seq.cast_signed());
            transaction.execute("DELETE FROM seen WHERE seq < ?1", [first])?;
        }
        let mut insert = transaction.prepare_cached("INSERT INTO seen VALUES (?1, ?2, ?3)")?;
        for (seq, received_ms, id) in self.order.range(self.order.len() - self.unwritten..) {
            insert.execute(params![seq.cast_signed(), received_ms, id])?;
        }
        self.unwritten = 0;
        Ok(())
    }
}

fn id(facets: &Facets<'_>) -> Id {
    let mut sha = Sha256::new();
    for part in [facets.sending_application, facets.sending_facility, facets.code, facets.event, facets.control_id] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    for key in [facets.patient, facets.visit] {
        sha.update(key.unwrap_or(0).to_le_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&sha.finalize()[..16]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets(control_id: &[u8], received_ms: i64) -> Facets<'_> {
        Facets { sending_application: b"A", code: b"ADT", event: b"A01", control_id, received_ms, ..Facets::default() }
    }

    #[test]
    fn ids_are_remembered_for_a_time() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let mut seen = Seen::open(&connection).unwrap();
        assert!(!seen.note(1, &facets(b"X", 0)) && seen.note(2, &facets(b"X", 5)));
        assert!(!seen.note(3, &Facets { event: b"A08", ..facets(b"X", 5) }), "another message under the same number");
        assert!(!seen.note(4, &facets(b"", 5)) && !seen.note(5, &facets(b"", 5)), "without a number none is the same");
        let transaction = connection.transaction().unwrap();
        seen.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        let mut again = Seen::open(&connection).unwrap();
        assert!(again.note(6, &facets(b"X", SEEN_MS)));
        assert!(!again.note(7, &facets(b"X", SEEN_MS + 1)), "the first is let go");
        let transaction = connection.transaction().unwrap();
        again.flush(&transaction).unwrap();
        let rows: Vec<i64> = transaction
            .prepare("SELECT seq FROM seen ORDER BY seq")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(rows, [3, 7]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut seen = Seen::default();
        let numbers: Vec<String> = (0..=SEEN_MAX).map(|number| number.to_string()).collect();
        for (seq, number) in numbers.iter().enumerate() {
            assert!(!seen.note(seq as u64, &facets(number.as_bytes(), 0)));
        }
        assert_eq!((seen.order.len(), seen.ids.len()), (SEEN_MAX, SEEN_MAX));
        assert!(!seen.note(SEEN_MAX as u64 + 1, &facets(b"0", 0)), "the oldest made room");
    }
}
