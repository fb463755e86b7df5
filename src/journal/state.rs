//! The state database: how far readers have come, and what they could not deliver.
//!
//! A reader that waits for some messages and goes on with others has three figures: its cursor, the first number that is not settled; how far it has looked ahead; and
//! the numbers between the two that still wait. All others between them are settled.
//!
//! Written without waiting for the disk: losing its tail takes a reader back, which repeats deliveries and loses none. A step and the dead letters it made are written
//! in one transaction, so a message is never passed over without a trace.
mod again;
mod codes;
mod filters;
mod letters;

pub use again::SentAgain;
pub use codes::{CODE_MESSAGES_MAX, CODES_MAX, CodeItem, CodeNotice, CodeStanding};
pub use filters::FilteredBy;
pub use letters::{Cause, LOOKED_MAX as CAUSES_LOOKED_MAX, LetterPin, Letters, SeenLetters};

use super::{Directory, Error};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS cursor (reader TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letter (
    reader TEXT NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (reader, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ahead (reader TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hold (reader TEXT PRIMARY KEY, how TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scrubbed (first INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS begun (reader TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (reader TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (reader, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tried (
    reader TEXT NOT NULL, seq INTEGER NOT NULL, attempts INTEGER NOT NULL, since_ms INTEGER NOT NULL, PRIMARY KEY (reader, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unsent (
    reader TEXT NOT NULL, seq INTEGER NOT NULL, last INTEGER NOT NULL, at_ms INTEGER NOT NULL, dropped INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (reader, seq)
) STRICT, WITHOUT ROWID;";

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The first number that it has not looked at.
    pub ahead: u64,
    /// The numbers before it that are not settled, ascending; the first of them is the cursor.
    pub waiting: Vec<u64>,
    /// Those of them that have failed, ascending.
    pub tried: Vec<Tried>,
}

/// How often a message that waits has failed, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Its number in the journal.
    pub seq: u64,
    /// How often.
    pub attempts: u32,
    /// The first time, in milliseconds since 1970 (UTC).
    pub since_ms: i64,
}

/// One step of a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The first number that is not settled.
    pub cursor: u64,
    /// The first number that has not been looked at.
    pub ahead: u64,
    /// Numbers that now wait, all before `ahead`.
    pub parked: Vec<u64>,
    /// Numbers that waited and are settled.
    pub settled: Vec<u64>,
    /// What was given up.
    pub given_up: Vec<DeadLetter>,
    /// What was passed over.
    pub unsent: Vec<Unsent>,
    /// What has failed and waits.
    pub tried: Vec<Tried>,
    /// Numbers that had failed and wait no longer.
    pub forgotten: Vec<u64>,
}

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

/// A message, or a run of them, that is settled though it has not arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// Its number in the journal.
    pub seq: u64,
    /// The last number of the run.
    pub last: u64,
    /// Since when, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Whether somebody dropped its dead letter; else its route passed it over.
    pub dropped: bool,
    /// Why it had not arrived; never holds a value of the message.
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
        super::settle(&connection).map_err(failed())?;
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {TABLES}{}{}{}{}",
                codes::TABLES,
                letters::TABLES,
                again::TABLES,
                filters::TABLES
            ))
            .map_err(failed())?;
        letters::keep_counts(&connection).map_err(failed())?;
        Ok(State { connection: Mutex::new(connection), path })
    }

    /// How far a reader has come; `None` when it is new.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn position(&self, reader: &str) -> Result<Option<Position>, Error> {
        let connection = self.lock();
        let number = |sql: &str| connection.query_row(sql, [reader], |row| row.get::<_, i64>(0)).optional();
        let read = || {
            let Some(cursor) = number("SELECT next FROM cursor WHERE reader = ?1")? else { return Ok(None) };
            // Without a row of its own (an older version wrote the cursor) nothing is known beyond the cursor.
            let ahead = number("SELECT next FROM ahead WHERE reader = ?1")?.unwrap_or(cursor).max(cursor);
            let mut select = connection
                .prepare("SELECT seq FROM waiting WHERE reader = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq")?;
            let waiting = select
                .query_map(params![reader, cursor, ahead], |row| row.get::<_, i64>(0))?
                .map(|seq| seq.map(i64::unsigned_abs))
                .collect::<Result<_, _>>()?;
            let mut select =
                connection.prepare("SELECT seq, attempts, since_ms FROM tried WHERE reader = ?1 ORDER BY seq")?;
            let tried = select
                .query_map([reader], |row| {
                    let seq = row.get::<_, i64>(0)?.unsigned_abs();
                    Ok(Tried { seq, attempts: row.get(1)?, since_ms: row.get(2)? })
                })?
                .collect::<Result<_, _>>()?;
            Ok(Some(Position { ahead: ahead.unsigned_abs(), waiting, tried }))
        };
        read().map_err(Error::database(&self.path))
    }

    /// Puts a reader at a number, with nothing waiting before it. This is synced: a reader that is forgotten would begin at the end of the journal, and so miss
    /// what came before.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn register(&self, reader: &str, next: u64) -> Result<(), Error> {
        self.write_for_good(|transaction| {
            transaction.execute("DELETE FROM waiting WHERE reader = ?1", [reader])?;
            transaction.execute("DELETE FROM tried WHERE reader = ?1", [reader])?;
            transaction.execute("INSERT OR IGNORE INTO begun VALUES (?1, ?2)", params![reader, next.cast_signed()])?;
            advance(transaction, reader, &Step { cursor: next, ahead: next, ..Step::default() })
        })
    }

    /// Writes and syncs.
    fn write_for_good(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), Error> {
        self.lock().execute_batch("PRAGMA synchronous=FULL").map_err(Error::database(&self.path))?;
        let written = self.write(change);
        self.lock().execute_batch("PRAGMA synchronous=NORMAL").map_err(Error::database(&self.path))?;
        written
    }

    /// How a reader is held back by whoever operates it; `None` when it is not.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn hold(&self, reader: &str) -> Result<Option<String>, Error> {
        let found =
            self.lock().query_row("SELECT how FROM hold WHERE reader = ?1", [reader], |row| row.get(0)).optional();
        found.map_err(Error::database(&self.path))
    }

    /// Remembers how a reader is held back, for good; with `None` that it is not.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn set_hold(&self, reader: &str, how: Option<&str>) -> Result<(), Error> {
        self.write_for_good(|transaction| {
            match how {
                Some(how) => transaction.execute("INSERT OR REPLACE INTO hold VALUES (?1, ?2)", [reader, how])?,
                None => transaction.execute("DELETE FROM hold WHERE reader = ?1", [reader])?,
            };
            Ok(())
        })
    }

    /// Where a reader was put when it was new: what came before was never its own. `None` when that is not known.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn begun(&self, reader: &str) -> Result<Option<u64>, Error> {
        let begun = self
            .lock()
            .query_row("SELECT seq FROM begun WHERE reader = ?1", [reader], |row| row.get::<_, i64>(0))
            .optional();
        Ok(begun.map_err(Error::database(&self.path))?.map(i64::unsigned_abs))
    }

    /// Every reader that has a place, by name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn readers(&self) -> Result<Vec<String>, Error> {
        self.names("SELECT reader FROM cursor ORDER BY reader")
    }

    /// Takes a reader on.
    ///
    /// # Errors
    /// A database that cannot be written; nothing has changed then.
    pub fn advance(&self, reader: &str, step: &Step) -> Result<(), Error> {
        self.write(|transaction| advance(transaction, reader, step))
    }

    fn write(&self, change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), Error> {
        let mut connection = self.lock();
        let written = connection.transaction().and_then(|transaction| {
            change(&transaction)?;
            transaction.commit()
        });
        written.map_err(Error::database(&self.path))
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
        let rows = select.query_map([reader], letter);
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// A dead letter of a reader.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letter(&self, reader: &str, seq: u64) -> Result<Option<DeadLetter>, Error> {
        let found = self.dead_letters_after(&Letters::of(reader), Some((reader, seq.saturating_sub(1))), 1)?;
        Ok(found.into_iter().map(|(_, letter)| letter).find(|letter| letter.seq == seq))
    }

    /// The first record that somebody still wants: a reader of these names, or a dead letter of any.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn wanted_from(&self, readers: &[String]) -> Result<Option<u64>, Error> {
        let mut wanted = None;
        // Cursors first: one that moves on meanwhile leaves its dead letter in the same transaction, which is then seen below.
        for reader in readers {
            let cursor = |position: Position| position.waiting.first().copied().unwrap_or(position.ahead);
            // A reader without a cursor has not begun: everything is its own.
            let next = self.position(reader)?.map_or(0, cursor);
            wanted = Some(wanted.map_or(next, |wanted: u64| wanted.min(next)));
        }
        let letter: Option<i64> = self
            .lock()
            .query_row("SELECT min(seq) FROM dead_letter", [], |row| row.get(0))
            .map_err(Error::database(&self.path))?;
        let letter = letter.map(i64::unsigned_abs);
        Ok(wanted.into_iter().chain(letter).min())
    }

    /// Puts all that has been written onto stable storage, before anything is removed that only it remembers. False when a command has the database just now.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn sync(&self) -> Result<bool, Error> {
        // A checkpoint syncs the log, then the database.
        let busy = self.lock().query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get::<_, i64>(0));
        busy.map(|busy| busy == 0).map_err(Error::database(&self.path))
    }

    /// Keeps a dead letter beside those of a reader's own.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn keep_dead_letter(&self, reader: &str, letter: &DeadLetter) -> Result<(), Error> {
        self.write(|transaction| insert(transaction, reader, letter))
    }

    /// The readers that gave anything up.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn readers_with_dead_letters(&self) -> Result<Vec<String>, Error> {
        self.names("SELECT DISTINCT reader FROM dead_letter ORDER BY reader")
    }

    fn names(&self, sql: &str) -> Result<Vec<String>, Error> {
        let connection = self.lock();
        let names = || connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<_>>>();
        names().map_err(Error::database(&self.path))
    }

    /// Takes a dead letter away whose message has arrived. Whether there was one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn forget_dead_letter(&self, reader: &str, seq: u64) -> Result<bool, Error> {
        let mut found = false;
        self.write(|transaction| {
            found = forget(transaction, reader, seq)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// Drops a dead letter, and remembers that it was; the message stays in the journal. Whether there was one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn drop_dead_letter(&self, reader: &str, seq: u64, at_ms: i64) -> Result<bool, Error> {
        let mut found = false;
        self.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO unsent SELECT reader, seq, last, ?3, 1, reason FROM dead_letter WHERE reader = ?1 AND seq = ?2",
                params![reader, seq.cast_signed(), at_ms],
            )?;
            found = forget(transaction, reader, seq)?;
            Ok(())
        })?;
        Ok(found)
    }

    /// What a reader has settled though it has not arrived, from a number on up to another, in order.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn unsent(&self, reader: &str, from: u64, to: u64) -> Result<Vec<Unsent>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare_cached(
                "SELECT seq, last, at_ms, dropped, reason FROM unsent WHERE reader = ?1 AND last >= ?2 AND seq <= ?3 ORDER BY seq",
            )
            .map_err(failed())?;
        let (from, to) = (from.min(i64::MAX.unsigned_abs()), to.min(i64::MAX.unsigned_abs()));
        let rows = select.query_map(params![reader, from.cast_signed(), to.cast_signed()], unsent);
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// The one of those that a number belongs to, whatever their count.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn unsent_of(&self, reader: &str, seq: u64) -> Result<Option<Unsent>, Error> {
        let seq = seq.min(i64::MAX.unsigned_abs());
        let connection = self.lock();
        let found = connection
            .prepare_cached(
                "SELECT seq, last, at_ms, dropped, reason FROM unsent WHERE reader = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1",
            )
            .and_then(|mut select| select.query_row(params![reader, seq.cast_signed()], unsent).optional());
        // Runs do not overlap: the one that begins last before it holds it, or none does.
        Ok(found.map_err(Error::database(&self.path))?.filter(|unsent| seq <= unsent.last))
    }

    /// Forgets what is said of messages before a number, which the journal has no more.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub(super) fn forget_unsent(&self, before: u64) -> Result<(), Error> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM unsent WHERE last < ?1", [before.cast_signed()])?;
            transaction.execute("DELETE FROM sent_again WHERE seq < ?1", [before.cast_signed()])?;
            Ok(())
        })
    }

    /// When a partition was last read through.
    pub(super) fn scrubbed(&self, first: u64) -> Result<Option<i64>, Error> {
        let at = self
            .lock()
            .query_row("SELECT at_ms FROM scrubbed WHERE first = ?1", [first.cast_signed()], |row| row.get(0))
            .optional();
        at.map_err(Error::database(&self.path))
    }

    /// A partition has been read through; those before `oldest` are gone.
    pub(super) fn set_scrubbed(&self, first: u64, at_ms: i64, oldest: u64) -> Result<(), Error> {
        self.write(|transaction| {
            transaction
                .execute("INSERT OR REPLACE INTO scrubbed VALUES (?1, ?2)", params![first.cast_signed(), at_ms])?;
            transaction.execute("DELETE FROM scrubbed WHERE first < ?1", [oldest.cast_signed()])?;
            Ok(())
        })
    }

    /// Copies it as it is at one moment into a new file.
    pub(super) fn copy_to(&self, path: &std::path::Path) -> Result<(), Error> {
        super::partition::copy(&self.lock(), &self.path, path)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back; the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(transaction: &Transaction<'_>, reader: &str, seq: u64) -> rusqlite::Result<bool> {
    let seq = seq.cast_signed();
    Ok(transaction.execute("DELETE FROM dead_letter WHERE reader = ?1 AND seq = ?2", params![reader, seq])? > 0)
}

fn letter(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeadLetter> {
    let (seq, last) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs());
    Ok(DeadLetter { seq, last, at_ms: row.get(2)?, attempts: row.get(3)?, reason: row.get(4)? })
}

fn unsent(row: &rusqlite::Row<'_>) -> rusqlite::Result<Unsent> {
    let (seq, last) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs());
    Ok(Unsent { seq, last, at_ms: row.get(2)?, dropped: row.get(3)?, reason: row.get(4)? })
}

fn insert(transaction: &Transaction<'_>, reader: &str, letter: &DeadLetter) -> rusqlite::Result<()> {
    let (seq, last) = (letter.seq.cast_signed(), letter.last.cast_signed());
    transaction
        .prepare_cached(
            "INSERT INTO dead_letter VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE
             SET last = excluded.last, at_ms = excluded.at_ms, attempts = excluded.attempts, reason = excluded.reason",
        )?
        .execute(params![reader, seq, last, letter.at_ms, letter.attempts, letter.reason])?;
    Ok(())
}

fn advance(transaction: &Transaction<'_>, reader: &str, step: &Step) -> rusqlite::Result<()> {
    for letter in &step.given_up {
        insert(transaction, reader, letter)?;
    }
    for unsent in &step.unsent {
        transaction.prepare_cached("INSERT OR REPLACE INTO unsent VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
            params![
                reader,
                unsent.seq.cast_signed(),
                unsent.last.cast_signed(),
                unsent.at_ms,
                unsent.dropped,
                unsent.reason
            ],
        )?;
    }
    let mut park = transaction.prepare_cached("INSERT OR REPLACE INTO waiting VALUES (?1, ?2)")?;
    for seq in &step.parked {
        park.execute(params![reader, seq.cast_signed()])?;
    }
    let mut settle = transaction.prepare_cached("DELETE FROM waiting WHERE reader = ?1 AND seq = ?2")?;
    for seq in &step.settled {
        settle.execute(params![reader, seq.cast_signed()])?;
    }
    for tried in &step.tried {
        transaction.prepare_cached("INSERT OR REPLACE INTO tried VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            reader,
            tried.seq.cast_signed(),
            tried.attempts,
            tried.since_ms
        ])?;
    }
    for seq in &step.forgotten {
        transaction
            .prepare_cached("DELETE FROM tried WHERE reader = ?1 AND seq = ?2")?
            .execute(params![reader, seq.cast_signed()])?;
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO cursor (reader, next) VALUES (?1, ?2)")?
        .execute(params![reader, step.cursor.cast_signed()])?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO ahead (reader, next) VALUES (?1, ?2)")?
        .execute(params![reader, step.ahead.cast_signed()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_arrived_is_remembered_as_long_as_the_journal_has_it() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let letter = |seq, last| DeadLetter { seq, last, at_ms: 5, attempts: 2, reason: "refused".into() };
        let skipped = Unsent { seq: 9, last: 9, at_ms: 6, dropped: false, reason: "404".into() };
        let given_up = vec![letter(2, 4), letter(5, 5), letter(7, 7)];
        let step = Step { cursor: 10, ahead: 10, given_up, unsent: vec![skipped.clone()], ..Step::default() };
        state.advance("ehr", &step).unwrap();
        assert!(state.drop_dead_letter("ehr", 2, 8).unwrap() && !state.drop_dead_letter("ehr", 3, 8).unwrap());
        assert!(state.forget_dead_letter("ehr", 5).unwrap() && !state.forget_dead_letter("lab", 7).unwrap());
        assert_eq!(state.dead_letters("ehr").unwrap(), [letter(7, 7)]);
        let dropped = Unsent { seq: 2, last: 4, at_ms: 8, dropped: true, reason: "refused".into() };
        assert_eq!(state.unsent("ehr", 0, u64::MAX).unwrap(), [dropped.clone(), skipped.clone()]);
        assert_eq!((state.unsent("ehr", 3, 3).unwrap(), state.unsent("ehr", 5, 8).unwrap()), (vec![dropped], vec![]));
        assert!(state.unsent("lab", 0, u64::MAX).unwrap().is_empty());
        let first = |seq| state.unsent_of("ehr", seq).unwrap().map(|unsent| unsent.seq);
        assert_eq!(
            [1, 2, 4, 5, 8, 9, 10, u64::MAX].map(first),
            [None, Some(2), Some(2), None, None, Some(9), None, None]
        );
        assert_eq!(state.unsent_of("lab", 9).unwrap(), None);
        state.forget_unsent(5).unwrap();
        assert_eq!(state.unsent("ehr", 0, u64::MAX).unwrap(), [skipped]);
        state.keep_dead_letter("ehr", &letter(11, 12)).unwrap();
        for seq in [7, 9, 11] {
            state.arrived("ehr", seq, 13).unwrap();
        }
        assert_eq!(state.dead_letters("ehr").unwrap(), [letter(11, 12)], "one message of a run is not all of it");
        assert!(state.unsent("ehr", 0, u64::MAX).unwrap().is_empty());
    }

    #[test]
    fn cursors_and_dead_letters_outlive_the_process() {
        let temporary = tempfile::tempdir().unwrap();
        let letter = DeadLetter { seq: 3, last: 3, at_ms: 5, attempts: 2, reason: "refused".into() };
        let again = Tried { seq: 6, attempts: 2, since_ms: 7 };
        {
            let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
            assert_eq!(state.position("ehr").unwrap(), None);
            state.register("ehr", 1).unwrap();
            assert_eq!(state.position("ehr").unwrap(), Some(Position { ahead: 1, waiting: vec![], tried: vec![] }));
            let tried = vec![Tried { seq: 4, attempts: 1, since_ms: 7 }, Tried { seq: 6, attempts: 1, since_ms: 7 }];
            let (parked, given_up) = (vec![4, 6, 8], vec![letter.clone()]);
            let first = Step { cursor: 4, ahead: 9, parked, given_up, tried, ..Step::default() };
            state.advance("ehr", &first).unwrap();
            let (parked, settled, tried) = (vec![11], vec![4, 8], vec![again]);
            let second = Step { cursor: 6, ahead: 12, parked, settled, tried, forgotten: vec![4], ..Step::default() };
            state.advance("ehr", &second).unwrap();
        }
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        assert_eq!(
            state.position("ehr").unwrap(),
            Some(Position { ahead: 12, waiting: vec![6, 11], tried: vec![again] })
        );
        assert_eq!(state.dead_letters("ehr").unwrap(), [letter]);
        assert!(state.dead_letters("other").unwrap().is_empty());
        let more = |seq| DeadLetter { seq, last: seq, at_ms: 5, attempts: 0, reason: "x".into() };
        for (reader, seq) in [("ehr", 8), ("a", 9), ("z", 1)] {
            state.keep_dead_letter(reader, &more(seq)).unwrap();
        }
        let page = |reader: Option<&str>, after, most| -> Vec<(String, u64)> {
            let meant = reader.map(Letters::of).unwrap_or_default();
            let found = state.dead_letters_after(&meant, after, most).unwrap();
            found.into_iter().map(|(reader, letter)| (reader, letter.seq)).collect()
        };
        let named =
            |found: &[(&str, u64)]| found.iter().map(|(name, seq)| ((*name).to_owned(), *seq)).collect::<Vec<_>>();
        assert_eq!(page(None, None, 2), named(&[("a", 9), ("ehr", 3)]));
        assert_eq!(page(None, Some(("ehr", 3)), 9), named(&[("ehr", 8), ("z", 1)]));
        assert_eq!(page(Some("ehr"), None, 9), named(&[("ehr", 3), ("ehr", 8)]));
        assert_eq!(state.dead_letter("ehr", 8).unwrap().map(|letter| letter.seq), Some(8));
        assert_eq!((state.dead_letter("ehr", 4).unwrap(), state.dead_letter("b", 9).unwrap()), (None, None));
        assert_eq!((state.begun("ehr").unwrap(), state.begun("other").unwrap()), (Some(1), None));
        state.register("ehr", 7).unwrap();
        assert_eq!(state.begun("ehr").unwrap(), Some(1), "it was new only once");
        assert_eq!(state.readers().unwrap(), ["ehr"]);
        assert_eq!(state.position("ehr").unwrap(), Some(Position { ahead: 7, waiting: vec![], tried: vec![] }));
    }
}
