//! What can be read of resources that clients were notified of: where to find each, never its content.
//!
//! An `id-only` notification says `Encounter/6f1c…`; whoever was told may read that for some time. Kept is who was told and from which message the resource came: it is
//! translated again when it is read, and judged again for that recipient. So nothing is shown that they may not see by now, and nothing of a patient is kept twice.
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// To be made when the database is opened.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS notified (
    recipient TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, event BLOB NOT NULL, at_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (recipient, type, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notified_resource ON notified (type, id);
CREATE INDEX IF NOT EXISTS notified_age ON notified (received_ms);";

/// Resources that are forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;

/// A resource that a recipient was notified of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// The message of the journal from which it comes.
    pub seq: u64,
    /// The event of which the notification told.
    pub event: [u8; 16],
    /// When it happened, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// When the message was received.
    pub received_ms: i64,
}

/// Remembers that a recipient was told of a resource. A later message, or time where no message tells of it, has the newer state of it; an earlier one that comes to be told late does not go before that.
///
/// # Errors
/// A database that cannot be written.
pub fn note(
    transaction: &Transaction<'_>,
    recipient: &str,
    (kind, id): (&str, &str),
    notified: &Notified,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO notified VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE
             SET seq = excluded.seq, event = excluded.event, at_ms = excluded.at_ms, received_ms = excluded.received_ms
             WHERE (excluded.seq, excluded.at_ms) >= (seq, at_ms)",
        )?
        .execute(params![
            recipient,
            kind,
            id,
            notified.seq.cast_signed(),
            notified.event.as_slice(),
            notified.at_ms,
            notified.received_ms,
        ])?;
    Ok(())
}

/// Where a resource comes from, for a recipient who was told of it; none for others.
///
/// # Errors
/// A database that cannot be read.
pub fn find(connection: &Connection, recipient: &str, kind: &str, id: &str) -> rusqlite::Result<Option<Notified>> {
    connection
        .prepare_cached(
            "SELECT seq, event, at_ms, received_ms FROM notified WHERE recipient = ?1 AND type = ?2 AND id = ?3",
        )?
        .query_row([recipient, kind, id], |row| {
            let seq = row.get::<_, i64>(0)?.unsigned_abs();
            Ok(Notified { seq, event: row.get(1)?, at_ms: row.get(2)?, received_ms: row.get(3)? })
        })
        .optional()
}

/// The events of which anybody was told with a resource, the newest of each recipient: whose it is, those know.
///
/// # Errors
/// A database that cannot be read.
pub fn events_of(connection: &Connection, kind: &str, id: &str) -> rusqlite::Result<Vec<[u8; 16]>> {
    connection
        .prepare_cached("SELECT DISTINCT event FROM notified WHERE type = ?1 AND id = ?2 ORDER BY event")?
        .query_map([kind, id], |row| row.get(0))?
        .collect()
}

/// Forgets what came with messages before a time, some of it at once; how much. What the journal has no more cannot be read anyway.
///
/// # Errors
/// A database that cannot be written.
pub fn forget(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM notified WHERE (recipient, type, id) IN
             (SELECT recipient, type, id FROM notified WHERE received_ms < ?1 ORDER BY received_ms LIMIT ?2)",
        )?
        .execute(params![before_ms, FORGOTTEN_MAX])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_told_finds_the_newest_for_as_long_as_it_is_kept() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let of = |seq: u64| Notified { seq, event: [7; 16], at_ms: 5, received_ms: seq.cast_signed() * 10 };
        let transaction = connection.transaction().unwrap();
        for seq in [4, 6, 5] {
            note(&transaction, "aco", ("Encounter", "e1"), &of(seq)).unwrap();
        }
        note(&transaction, "aco", ("Patient", "e1"), &of(4)).unwrap();
        // What time brings has no message: the later moment goes before the earlier one.
        let moment = |at_ms: i64| Notified { seq: 0, event: [9; 16], at_ms, received_ms: 900 };
        for at_ms in [700, 900, 800] {
            note(&transaction, "aco", ("Task", "t1"), &moment(at_ms)).unwrap();
        }
        assert_eq!(find(&transaction, "aco", "Task", "t1").unwrap(), Some(moment(900)));
        assert_eq!(find(&transaction, "aco", "Encounter", "e1").unwrap(), Some(of(6)));
        assert_eq!(find(&transaction, "aco", "Patient", "e1").unwrap(), Some(of(4)));
        for (recipient, kind, id) in [("pcmh", "Encounter", "e1"), ("aco", "Encounter", "e2"), ("aco", "Group", "e1")] {
            assert_eq!(find(&transaction, recipient, kind, id).unwrap(), None);
        }
        assert_eq!((forget(&transaction, 60).unwrap(), forget(&transaction, 60).unwrap()), (1, 0));
        assert_eq!(find(&transaction, "aco", "Patient", "e1").unwrap(), None);
        assert_eq!(find(&transaction, "aco", "Encounter", "e1").unwrap(), Some(of(6)));
    }
}
