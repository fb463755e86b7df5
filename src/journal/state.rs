//! The state database: cursors of readers, and what they could not deliver.
//!
//! Written without waiting for the disk: losing its tail moves a cursor back, which repeats deliveries and loses none. A cursor and the dead letters it moved past are
//! written in one transaction, so a message is never passed over without a trace.
use super::{Directory, Error};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cursor (reader TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letter (
    reader TEXT NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (reader, seq)
) STRICT, WITHOUT ROWID;";

/// A message, or a run of them, that a reader gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number in the journal.
    pub seq: u64,
    /// The last number of the run; the same as `seq` but for damaged stretches.
    pub last: u64,
    /// When it was given up, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why; never holds a value of the message.
    pub reason: String,
}

/// Cursors and dead letters. Calls block, shortly.
#[derive(Debug)]
pub struct State {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl State {
    /// Opens the state of a data directory.
    ///
    /// # Errors
    /// A database that cannot be opened.
    pub fn open(directory: &Directory) -> Result<State, Error> {
        let state = State::at(directory.state())?;
        super::directory::sync(directory.path()).map_err(Error::file(directory.path()))?;
        Ok(state)
    }

    /// The state in a file; the directory is the caller's to sync.
    pub(super) fn at(path: PathBuf) -> Result<State, Error> {
        let failed = || Error::database(&path);
        let connection = Connection::open(&path).map_err(failed())?;
        // Commands look at it while the gateway writes.
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed())?;
        connection
            .execute_batch(&format!("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {TABLES}"))
            .map_err(failed())?;
        Ok(State { connection: Mutex::new(connection), path })
    }

    /// The number that a reader has to read next; `None` when it is new.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn cursor(&self, reader: &str) -> Result<Option<u64>, Error> {
        let next = self
            .lock()
            .query_row("SELECT next FROM cursor WHERE reader = ?1", [reader], |row| row.get::<_, i64>(0))
            .optional();
        Ok(next.map_err(Error::database(&self.path))?.map(i64::unsigned_abs))
    }

    /// Makes the cursor of a new reader. This alone is synced: a reader that is forgotten would begin at the end of the journal, and so miss what came before.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn register(&self, reader: &str, next: u64) -> Result<(), Error> {
        self.lock().execute_batch("PRAGMA synchronous=FULL").map_err(Error::database(&self.path))?;
        let written = self.advance(reader, next, &[]);
        self.lock().execute_batch("PRAGMA synchronous=NORMAL").map_err(Error::database(&self.path))?;
        written
    }

    /// Moves a reader's cursor, and keeps what it gave up on the way.
    ///
    /// # Errors
    /// A database that cannot be written; nothing has changed then.
    pub fn advance(&self, reader: &str, next: u64, given_up: &[DeadLetter]) -> Result<(), Error> {
        let failed = || Error::database(&self.path);
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed())?;
        for letter in given_up {
            let values = params![
                reader,
                letter.seq.cast_signed(),
                letter.last.cast_signed(),
                letter.at_ms,
                letter.attempts,
                letter.reason
            ];
            transaction
                .prepare_cached("INSERT OR REPLACE INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .and_then(|mut insert| insert.execute(values))
                .map_err(failed())?;
        }
        let upsert =
            "INSERT INTO cursor (reader, next) VALUES (?1, ?2) ON CONFLICT (reader) DO UPDATE SET next = excluded.next";
        transaction
            .prepare_cached(upsert)
            .and_then(|mut insert| insert.execute(params![reader, next.cast_signed()]))
            .map_err(failed())?;
        transaction.commit().map_err(failed())
    }

    /// What a reader gave up, in order.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letters(&self, reader: &str) -> Result<Vec<DeadLetter>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare("SELECT seq, last, at_ms, attempts, reason FROM dead_letter WHERE reader = ?1 ORDER BY seq")
            .map_err(failed())?;
        let rows = select.query_map([reader], |row| {
            let (seq, last) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs());
            Ok(DeadLetter { seq, last, at_ms: row.get(2)?, attempts: row.get(3)?, reason: row.get(4)? })
        });
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// The first record that somebody still wants: a reader of these names, or a dead letter of any.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn wanted_from(&self, readers: &[String]) -> Result<Option<u64>, Error> {
        let failed = || Error::database(&self.path);
        let letter: Option<i64> =
            self.lock().query_row("SELECT min(seq) FROM dead_letter", [], |row| row.get(0)).map_err(failed())?;
        let mut wanted = letter.map(i64::unsigned_abs);
        for reader in readers {
            // A reader without a cursor has not begun: everything is its own.
            let next = self.cursor(reader)?.unwrap_or(0);
            wanted = Some(wanted.map_or(next, |wanted| wanted.min(next)));
        }
        Ok(wanted)
    }

    /// The readers that gave anything up.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn readers_with_dead_letters(&self) -> Result<Vec<String>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select =
            connection.prepare("SELECT DISTINCT reader FROM dead_letter ORDER BY reader").map_err(failed())?;
        let names = select.query_map([], |row| row.get(0));
        names.and_then(Iterator::collect).map_err(failed())
    }

    /// Forgets a dead letter; the message stays in the journal. Whether there was one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn drop_dead_letter(&self, reader: &str, seq: u64) -> Result<bool, Error> {
        let dropped = self
            .lock()
            .execute("DELETE FROM dead_letter WHERE reader = ?1 AND seq = ?2", params![reader, seq.cast_signed()]);
        Ok(dropped.map_err(Error::database(&self.path))? > 0)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back; the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_and_dead_letters_outlive_the_process() {
        let temporary = tempfile::tempdir().unwrap();
        let letter = DeadLetter { seq: 3, last: 3, at_ms: 5, attempts: 2, reason: "refused".into() };
        {
            let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
            assert_eq!(state.cursor("ehr").unwrap(), None);
            state.register("ehr", 1).unwrap();
            assert_eq!(state.cursor("ehr").unwrap(), Some(1));
            state.advance("ehr", 4, std::slice::from_ref(&letter)).unwrap();
            state.advance("ehr", 9, &[]).unwrap();
        }
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        assert_eq!(state.cursor("ehr").unwrap(), Some(9));
        assert_eq!(state.dead_letters("ehr").unwrap(), [letter]);
        assert!(state.dead_letters("other").unwrap().is_empty());
    }
}
