//! The database of the index.
//!
//! ```text
//! message   seq, received_ms, event_ms, listener, …, patients ('\n' between), outcome, bytes
//! patient   (id, seq): every identifier of every message
//! seen      (kind, value, block): in which blocks of numbers a listener, sender, type or outcome occurs; see `look`
//! place     next: the first number that is not in here; latest_ms: the latest time of receipt; skew_ms: the most by which a message was
//!           received earlier than one before it
//! ```
//!
//! `PRAGMA synchronous` NORMAL in WAL mode: what a power cut takes is the newest rows with the cursor over them, never the order between the two.
use super::Error;
use super::entry::Entry;
use super::look::{block_of, seen};
use crate::facets::Outcome;
use crate::hl7;
use crate::journal::{self, Item, Limits, Reader};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes with everything that changes what stands in the tables.
const VERSION: i64 = 2;
const TABLES: &str = "
DROP TABLE IF EXISTS message; DROP TABLE IF EXISTS patient; DROP TABLE IF EXISTS seen; DROP TABLE IF EXISTS place;
CREATE TABLE message (
    seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, event_ms INTEGER, listener TEXT NOT NULL,
    sending_application TEXT NOT NULL, sending_facility TEXT NOT NULL, receiving_application TEXT NOT NULL, receiving_facility TEXT NOT NULL,
    code TEXT NOT NULL, event TEXT NOT NULL, structure TEXT NOT NULL, control_id TEXT NOT NULL, patients TEXT NOT NULL, outcome INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX message_received ON message (received_ms);
CREATE INDEX message_control ON message (control_id);
CREATE TABLE patient (id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (id, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE seen (kind INTEGER NOT NULL, value TEXT NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (kind, value, block)) STRICT, WITHOUT ROWID;
CREATE TABLE place (next INTEGER NOT NULL, latest_ms INTEGER NOT NULL, skew_ms INTEGER NOT NULL) STRICT;
INSERT INTO place VALUES (1, 0, 0);";
pub(super) const COLUMNS: &str = "seq, received_ms, event_ms, listener, sending_application, sending_facility, receiving_application, receiving_facility, code, event, structure, control_id, patients, outcome, bytes";
const INSERT: &str =
    "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
/// Memory for pages, in KiB: the control ids of a feed fall all over their index.
const CACHE_KIB: u32 = 16 << 10;
/// How long the head of the journal may come behind what another process has read of it.
const HEAD_WAITS: u32 = 10;
const HEAD_WAIT: Duration = Duration::from_millis(50);

/// The index of a data directory. Calls block; several processes may have it open.
#[derive(Debug)]
pub struct Index {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    scratch: hl7::Index,
    /// The first number that was not in it when it was opened.
    opened_at: u64,
}

impl Index {
    /// Opens the index of a data directory. Where there is none, or one that is damaged or of another version, the new one is empty.
    ///
    /// # Errors
    /// A file that cannot be opened, made or removed.
    pub fn open(data: &Path) -> Result<Index, Error> {
        let path = data.join("index.sqlite");
        match Index::try_open(&path) {
            Err(error) if error.is_damage() => {
                tracing::warn!("made anew from the journal: {error}");
                Index::remove(&path)?;
                Index::try_open(&path)
            }
            opened => opened,
        }
    }

    /// Removes a damaged index; the next [`Index::open`] makes a new one.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn discard(self) -> Result<(), Error> {
        let path = self.path;
        drop(self.connection);
        Index::remove(&path)
    }

    fn remove(path: &Path) -> Result<(), Error> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.to_owned().into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Remove { path: path.to_owned(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn try_open(path: &Path) -> Result<Index, Error> {
        let open = || {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{CACHE_KIB};"
            ))?;
            let version =
                |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
            // Whoever only searches need not wait for who writes.
            if version(&connection)? != VERSION {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if version(&transaction)? != VERSION {
                    transaction.execute_batch(&format!("{TABLES} PRAGMA user_version={VERSION};"))?;
                }
                transaction.commit()?;
            }
            let next = connection.query_row("SELECT next FROM place", [], |row| row.get::<_, i64>(0))?;
            Ok((connection, next.unsigned_abs()))
        };
        let (connection, opened_at) = open().map_err(|source| match source {
            // The version is ours, and the one row that must be there is not.
            rusqlite::Error::QueryReturnedNoRows => Error::damaged(path),
            source => Error::Database { path: path.to_owned(), source },
        })?;
        Ok(Index { connection, path: path.to_owned(), scratch: hl7::Index::new(), opened_at })
    }

    /// The first number that is not in the index.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn next(&self) -> Result<u64, Error> {
        let next = self.connection.query_row("SELECT next FROM place", [], |row| row.get::<_, i64>(0));
        next.map(i64::unsigned_abs).map_err(Error::database(&self.path))
    }

    /// Empties it when it is about other records than those of this journal: one that was put back from a backup, or lost its newest records with the power (under a
    /// `durability` that allows it) and has given their numbers to others. Whether it was emptied.
    ///
    /// The reader must have been made after the index was opened: what is indexed was in the journal by then.
    ///
    /// # Errors
    /// A database that cannot be read or written, or a journal that cannot be read.
    pub fn check_against(&mut self, reader: &mut Reader) -> Result<bool, Error> {
        // Another process may have taken in what this one hears of a moment later.
        for _ in 0..HEAD_WAITS {
            if self.opened_at <= reader.head() + 1 {
                break;
            }
            std::thread::sleep(HEAD_WAIT);
        }
        let mut differs = self.opened_at > reader.head() + 1;
        let known = |last: &Entry| !differs && last.seq >= reader.first().unwrap_or(0) && last.seq <= reader.head();
        if let Some(last) = self.newest()?.filter(known) {
            let items = reader.read(last.seq, Limits { records_max: 1, ..Limits::default() })?;
            differs = items.iter().any(|item| match item {
                Item::Record(seq, record) => *seq == last.seq && Entry::of(*seq, record, &mut self.scratch) != last,
                Item::Damaged(_) => false,
            });
        }
        if differs {
            tracing::warn!("the search index is not about the records of this journal: made anew");
            self.connection.execute_batch(TABLES).map_err(Error::database(&self.path))?;
        }
        Ok(differs)
    }

    fn newest(&self) -> Result<Option<Entry>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM message ORDER BY seq DESC LIMIT 1");
        self.connection.query_row(&sql, [], read_entry).optional().map_err(Error::database(&self.path))
    }

    /// Takes in what follows in the journal, at most so much; how many numbers it came on, 0 at the end of the journal. Damaged records have no entry.
    ///
    /// # Errors
    /// A database that cannot be written, or a journal that cannot be read.
    pub fn follow(&mut self, reader: &mut Reader, limits: Limits) -> Result<u64, Error> {
        let next = self.next()?;
        let items = match reader.read(next, limits) {
            Err(journal::Error::Pruned { first, .. }) => reader.read(first, limits),
            items => items,
        }?;
        let Some(last) = items.last() else { return Ok(0) };
        let after = last.next();
        let mut entries = Vec::with_capacity(items.len());
        for item in &items {
            match item {
                Item::Record(seq, record) => entries.push(Entry::of(*seq, record, &mut self.scratch)),
                Item::Damaged(seqs) => {
                    tracing::error!(
                        first = seqs.start(),
                        last = seqs.end(),
                        "not in the search index: records are damaged"
                    );
                }
            }
        }
        self.write(next, after, &entries)?;
        Ok(after.saturating_sub(next))
    }

    /// Puts entries in, whose numbers begin with `next` and end before `after`.
    pub(super) fn write(&mut self, next: u64, after: u64, entries: &[Entry]) -> Result<(), Error> {
        let mut write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been here meanwhile: then these are in it already, and what follows is next.
            let (now, mut latest_ms, mut skew_ms): (i64, i64, i64) =
                transaction.query_row("SELECT next, latest_ms, skew_ms FROM place", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            if now.unsigned_abs() == next {
                for entry in entries {
                    insert(&transaction, entry)?;
                    latest_ms = latest_ms.max(entry.received_ms);
                    skew_ms = skew_ms.max(latest_ms.saturating_sub(entry.received_ms));
                }
                let mut note = transaction.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2, ?3)")?;
                for (block, kind, value) in seen(entries) {
                    note.execute(params![kind, value, block.cast_signed()])?;
                }
                drop(note);
                transaction.execute(
                    "UPDATE place SET next = ?1, latest_ms = ?2, skew_ms = ?3",
                    params![after.cast_signed(), latest_ms, skew_ms],
                )?;
            }
            transaction.commit()
        };
        write().map_err(Error::database(&self.path))
    }

    /// Removes entries before a number, at most so many; how many it were.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn prune(&mut self, before: u64, entries_max: usize) -> Result<usize, Error> {
        let mut prune = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut removed = 0;
            {
                let mut select = transaction
                    .prepare_cached("SELECT seq, patients FROM message WHERE seq < ?1 ORDER BY seq LIMIT ?2")?;
                let mut patient = transaction.prepare_cached("DELETE FROM patient WHERE id = ?1 AND seq = ?2")?;
                let mut message = transaction.prepare_cached("DELETE FROM message WHERE seq = ?1")?;
                let found = select
                    .query_map(params![before.cast_signed(), i64::try_from(entries_max).unwrap_or(i64::MAX)], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                for (seq, patients) in &found {
                    for id in split(patients) {
                        patient.execute(params![id, seq])?;
                    }
                    removed += message.execute([seq])?;
                }
                // At the end of a round: it passes over all of the table.
                if removed > 0 && removed < entries_max {
                    transaction.execute("DELETE FROM seen WHERE block < ?1", [block_of(before).cast_signed()])?;
                }
            }
            transaction.commit()?;
            Ok(removed)
        };
        prune().map_err(Error::database(&self.path))
    }
}

impl Error {
    fn damaged(path: &Path) -> Error {
        let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), None);
        Error::Database { path: path.to_owned(), source }
    }
}

fn split(patients: &str) -> impl Iterator<Item = &str> {
    patients.split('\n').filter(|id| !id.is_empty())
}

fn insert(transaction: &Transaction<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let seq = entry.seq.cast_signed();
    transaction.prepare_cached(INSERT)?.execute(params![
        seq,
        entry.received_ms,
        entry.event_ms,
        entry.listener,
        entry.sending_application,
        entry.sending_facility,
        entry.receiving_application,
        entry.receiving_facility,
        entry.code,
        entry.event,
        entry.structure,
        entry.control_id,
        entry.patients.join("\n"),
        entry.outcome as u8,
        entry.bytes.cast_signed(),
    ])?;
    let mut patient = transaction.prepare_cached("INSERT OR IGNORE INTO patient VALUES (?1, ?2)")?;
    for id in &entry.patients {
        patient.execute(params![id, seq])?;
    }
    Ok(())
}

/// Reads [`COLUMNS`].
pub(super) fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let outcome: i64 = row.get(13)?;
    let known = usize::try_from(outcome).ok().and_then(|outcome| Outcome::ALL.get(outcome));
    Ok(Entry {
        seq: row.get::<_, i64>(0)?.unsigned_abs(),
        received_ms: row.get(1)?,
        event_ms: row.get(2)?,
        listener: row.get(3)?,
        sending_application: row.get(4)?,
        sending_facility: row.get(5)?,
        receiving_application: row.get(6)?,
        receiving_facility: row.get(7)?,
        code: row.get(8)?,
        event: row.get(9)?,
        structure: row.get(10)?,
        control_id: row.get(11)?,
        patients: split(&row.get::<_, String>(12)?).map(str::to_owned).collect(),
        outcome: *known.ok_or(rusqlite::Error::IntegralValueOutOfRange(13, outcome))?,
        bytes: row.get::<_, i64>(14)?.unsigned_abs(),
    })
}
