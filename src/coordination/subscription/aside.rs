//! What a FHIR server of our own refused: the event is set aside and tried again, later ones of the same person wait behind it, and everybody else's go on.
//!
//! ```text
//! sink_aside   (subscription, number) → person (opaque), what the server said last, how often, since when, when it is tried again, whether it is given up
//! ```
//!
//! Only refusals of this event count, never that the server is away. An event that is given up stays here, to be found, as long as events are kept.
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// To be made when the database is opened.
pub const TABLE: &str = "
CREATE TABLE IF NOT EXISTS sink_aside (
    subscription TEXT NOT NULL, number INTEGER NOT NULL, person TEXT NOT NULL, status INTEGER NOT NULL, refusals INTEGER NOT NULL, since_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL, given_up INTEGER NOT NULL, PRIMARY KEY (subscription, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sink_aside_waits ON sink_aside (subscription, person, number) WHERE given_up = 0;";

/// Events that may wait aside. With so many it is the server that refuses, not an event: the next is held where it is.
pub const WAITING_MAX: u64 = 10_000;
/// Events that are shown at once.
pub const SHOWN_MAX: u64 = 100;

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Its number.
    pub number: u64,
    /// The opaque id of the person whose it is, and whose later events wait behind it.
    pub person: String,
    /// The HTTP status that it was refused with last; 0: it only waits behind another, or nothing of it is kept any more.
    pub status: u16,
    /// How often it was refused.
    pub refusals: u32,
    /// When it was set aside, and when it is tried again, in milliseconds since 1970 (UTC).
    pub since_ms: i64,
    /// See `since_ms`.
    pub due_ms: i64,
    /// Whether it is not tried any more.
    pub is_given_up: bool,
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They wait, to be tried again.
    pub waiting: u64,
    /// They were given up since a time.
    pub given_up: u64,
}

const COLUMNS: &str = "number, person, status, refusals, since_ms, due_ms, given_up";

/// Writes down how an event stands.
///
/// # Errors
/// A database that cannot be written.
pub fn put(connection: &Connection, id: &str, aside: &Aside) -> rusqlite::Result<()> {
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO sink_aside (subscription, number, person, status, refusals, since_ms, due_ms, given_up) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    put.execute(params![
        id,
        aside.number.cast_signed(),
        aside.person,
        aside.status,
        aside.refusals,
        aside.since_ms,
        aside.due_ms,
        aside.is_given_up,
    ])?;
    Ok(())
}

/// The event of that number, if it was set aside.
///
/// # Errors
/// A database that cannot be read.
pub fn of_number(connection: &Connection, id: &str, number: u64) -> rusqlite::Result<Option<Aside>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM sink_aside WHERE subscription = ?1 AND number = ?2"))?
        .query_row(params![id, number.cast_signed()], read)
        .optional()
}

/// The server has it now.
///
/// # Errors
/// A database that cannot be written.
pub fn remove(connection: &Connection, id: &str, number: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM sink_aside WHERE subscription = ?1 AND number = ?2")?
        .execute(params![id, number.cast_signed()])?;
    Ok(())
}

/// Whether an earlier event of the person waits, which goes first.
///
/// # Errors
/// A database that cannot be read.
pub fn is_behind(connection: &Connection, id: &str, person: &str, number: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sink_aside WHERE subscription = ?1 AND person = ?2 AND number < ?3 AND given_up = 0)")?
        .query_row(params![id, person, number.cast_signed()], |row| row.get(0))
}

/// The events that are to be tried again now, of each person the first alone, with whose they were when they were set aside; all, for any of them may be what the others wait for, and no more than [`WAITING_MAX`] can be.
///
/// # Errors
/// A database that cannot be read.
pub fn due(connection: &Connection, id: &str, now_ms: i64) -> rusqlite::Result<Vec<(u64, String)>> {
    connection
        .prepare_cached(
            "SELECT number, person FROM sink_aside AS one WHERE subscription = ?1 AND given_up = 0 AND due_ms <= ?2 AND NOT EXISTS
               (SELECT 1 FROM sink_aside AS first WHERE first.subscription = one.subscription AND first.person = one.person AND first.number < one.number AND first.given_up = 0)
             ORDER BY due_ms, number",
        )?
        .query_map(params![id, now_ms], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))?
        .collect()
}

/// How many wait, and how many were given up since a time.
///
/// # Errors
/// A database that cannot be read.
pub fn counts(connection: &Connection, id: &str, since_ms: i64) -> rusqlite::Result<Counts> {
    connection
        .prepare_cached(
            "SELECT COUNT(*) FILTER (WHERE given_up = 0), COUNT(*) FILTER (WHERE given_up = 1 AND due_ms >= ?2) FROM sink_aside WHERE subscription = ?1",
        )?
        .query_row(params![id, since_ms], |row| {
            let (waiting, given_up): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Counts { waiting: waiting.unsigned_abs(), given_up: given_up.unsigned_abs() })
        })
}

/// The newest of them, those that are given up first; at most [`SHOWN_MAX`].
///
/// # Errors
/// A database that cannot be read.
pub fn newest(connection: &Connection, id: &str) -> rusqlite::Result<Vec<Aside>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM sink_aside WHERE subscription = ?1 ORDER BY given_up DESC, number DESC LIMIT ?2"
        ))?
        .query_map(params![id, SHOWN_MAX.cast_signed()], read)?
        .collect()
}

/// Forgets all of a subscription.
///
/// # Errors
/// A database that cannot be written.
pub(super) fn delete(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM sink_aside WHERE subscription = ?1")?.execute([id])?;
    Ok(())
}

/// Forgets what was given up before a time.
///
/// # Errors
/// A database that cannot be written.
pub(super) fn forget(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<usize> {
    transaction.prepare_cached("DELETE FROM sink_aside WHERE given_up = 1 AND due_ms < ?1")?.execute([before_ms])
}

fn read(row: &Row<'_>) -> rusqlite::Result<Aside> {
    Ok(Aside {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        person: row.get(1)?,
        status: row.get(2)?,
        refusals: row.get(3)?,
        since_ms: row.get(4)?,
        due_ms: row.get(5)?,
        is_given_up: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aside(number: u64, person: &str, due_ms: i64) -> Aside {
        Aside { number, person: person.into(), status: 409, refusals: 1, since_ms: 1, due_ms, is_given_up: false }
    }

    #[test]
    fn one_person_waits_and_the_first_of_each_is_tried() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLE).unwrap();
        for one in [aside(3, "a", 50), aside(4, "a", 0), aside(7, "b", 40)] {
            put(&connection, "sink", &one).unwrap();
        }
        let due = |now| due(&connection, "sink", now).unwrap().first().map(|(number, _)| *number);
        assert_eq!((due(39), due(45), due(60)), (None, Some(7), Some(7)), "4 waits behind 3");
        let behind = |person, number| is_behind(&connection, "sink", person, number).unwrap();
        assert!(behind("a", 9) && behind("b", 9) && !behind("c", 9));
        assert!(!behind("a", 3), "not behind itself");
        assert!(!is_behind(&connection, "other", "a", 9).unwrap());
        remove(&connection, "sink", 7).unwrap();
        put(&connection, "sink", &Aside { is_given_up: true, ..aside(3, "a", 50) }).unwrap();
        assert_eq!(due(60), Some(4), "3 holds nothing up any more");
        assert_eq!(counts(&connection, "sink", 0).unwrap(), Counts { waiting: 1, given_up: 1 });
        assert_eq!(counts(&connection, "sink", 51).unwrap().given_up, 0);
        let shown: Vec<u64> = newest(&connection, "sink").unwrap().iter().map(|one| one.number).collect();
        assert_eq!(shown, [3, 4]);
        let transaction = connection.unchecked_transaction().unwrap();
        assert_eq!((forget(&transaction, 50).unwrap(), forget(&transaction, 51).unwrap()), (0, 1));
        delete(&transaction, "sink").unwrap();
        transaction.commit().unwrap();
        assert_eq!(counts(&connection, "sink", 0).unwrap(), Counts::default());
    }
}
