//! One partition: an SQLite file with one table and no index but its row ids.
//!
//! Indexes in the way of a write cost more than everything else of it; searching is another database's work. `PRAGMA synchronous` FULL in WAL mode syncs the log at
//! each commit; the file's own name is synced in its directory when it is made.
use super::record::Record;
use super::{Durability, Error, directory, settle};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, facets BLOB NOT NULL, raw BLOB NOT NULL, ack BLOB NOT NULL, crc INTEGER NOT NULL
) STRICT";
const INSERT: &str = "INSERT INTO record (seq, received_ms, facets, raw, ack, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const SELECT: &str = "SELECT seq, received_ms, facets, raw, ack, crc FROM record WHERE seq >= ?1 ORDER BY seq LIMIT ?2";

/// Pages in the write-ahead log before it is carried over into the file. Nothing is written meanwhile: with four times as many all senders wait four times as long, now and then,
/// and nothing else is won but a sync of the file.
const CHECKPOINT_PAGES: u32 = 1000;

/// A partition up to this size is read through when it is opened to be written to, which takes a tenth of a second.
const CHECKED_BYTES_MAX: u64 = 16 << 20;

/// The count of records in the file is brought up after so many; when it is closed it is exact. A page that has lost rows is known by it.
const COUNTED_RECORDS: u64 = 1000;

/// A database that is busy is asked again so often.
const COPY_ATTEMPTS: u32 = 100;
const COPY_PAUSE: Duration = Duration::from_millis(50);

/// A partition on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub first: u64,
    pub path: PathBuf,
}

/// The partitions of a journal in order.
pub(super) fn list(folder: &Path) -> Result<Vec<Name>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "sqlite")
            && let Some(first) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok())
        {
            names.push(Name { first, path });
        }
    }
    names.sort_by_key(|name| name.first);
    Ok(names)
}

/// The partition that grows.
#[derive(Debug)]
pub(super) struct Partition {
    connection: Connection,
    path: PathBuf,
    first: u64,
    next: u64,
    bytes: u64,
    /// Records by the count in the file.
    counted: u64,
}

impl Partition {
    /// Opens the partition `first` for writing, and makes it where it is missing.
    pub fn open(folder: &Path, first: u64, durability: Durability) -> Result<Partition, Error> {
        let path = folder.join(format!("{first:020}.sqlite"));
        let failed = || Error::database(&path);
        if !path.exists() {
            make(&path, durability)?;
        }
        let connection = Connection::open(&path).map_err(failed())?;
        let synchronous = match durability {
            Durability::Fsync => "FULL",
            Durability::Os => "NORMAL",
            Durability::Memory => "OFF",
        };
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed())?;
        connection
            .execute_batch(&format!("PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA fullfsync=1; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"))
            .map_err(failed())?;
        let size: i64 = connection
            .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| row.get(0))
            .map_err(failed())?;
        check(&connection, &path, size.unsigned_abs() <= CHECKED_BYTES_MAX)?;
        if durability != Durability::Memory {
            directory::sync(folder).map_err(Error::file(folder))?;
        }
        let last: Option<i64> =
            connection.query_row("SELECT max(seq) FROM record", [], |row| row.get(0)).map_err(failed())?;
        let next = last.map_or(first, |last| last.unsigned_abs() + 1);
        let counted: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed())?;
        if next < first + counted.unsigned_abs() {
            return Err(Error::damaged(&path, format!("it ends at {next} and has held {counted} records")));
        }
        let counted = next - first;
        Ok(Partition { connection, path, first, next, bytes: size.unsigned_abs(), counted })
    }

    /// Whether its end is what was written: numbers are given from there on, and one that is given twice would bury a record.
    pub fn ends_soundly(&self) -> bool {
        let name = Name { first: self.first, path: self.path.clone() };
        let last = self.next - 1;
        if self.next == self.first {
            return true;
        }
        let rows = Source::open(&name).and_then(|source| source.read(last.saturating_sub(1), 2, usize::MAX));
        // A damaged record behind a sound one stands under its own number all the same.
        rows.is_ok_and(|rows| match rows.rows.as_slice() {
            [(before, one), (seq, other)] => *seq == last && before + 1 == last && (one.is_some() || other.is_some()),
            [(seq, Some(_))] => *seq == last && last == self.first,
            _ => false,
        })
    }

    /// The number that the next record will get.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records that it holds.
    pub fn records(&self) -> u64 {
        self.next - self.first
    }

    /// Whether it is small enough to have been read through when it was opened. A larger one is not written to again.
    pub fn is_checked(&self) -> bool {
        self.bytes <= CHECKED_BYTES_MAX
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a batch in one transaction; on return it is as durable as asked for. The numbers are those from [`Partition::next`] on.
    pub fn append(&mut self, batch: &[Arc<Record>]) -> Result<(), Error> {
        let failed = || Error::database(&self.path);
        let transaction = self.connection.transaction().map_err(failed())?;
        let mut bytes = 0;
        {
            let mut insert = transaction.prepare_cached(INSERT).map_err(failed())?;
            for (seq, record) in (self.next..).zip(batch) {
                insert
                    .execute(params![
                        seq.cast_signed(),
                        record.received_ms,
                        record.facets,
                        record.raw,
                        record.ack,
                        record.checksum(seq)
                    ])
                    .map_err(failed())?;
                bytes += record.len() as u64 + 32;
            }
        }
        let records = self.next + batch.len() as u64 - self.first;
        let counted = if records >= self.counted + COUNTED_RECORDS { records } else { self.counted };
        if counted > self.counted {
            transaction.pragma_update(None, "user_version", counted.cast_signed()).map_err(failed())?;
        }
        transaction.commit().map_err(failed())?;
        self.counted = counted;
        self.next += batch.len() as u64;
        self.bytes += bytes;
        Ok(())
    }

    /// Carries the write-ahead log over and closes the file.
    pub fn close(self) {
        // Failing here costs nothing but time at the next opening: the log is durable.
        let _ = self.connection.pragma_update(None, "user_version", self.records().cast_signed());
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    #[cfg(test)]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Makes a file with its table under another name first: so one that is empty was not left by a death in between, it has lost its records.
fn make(path: &Path, durability: Durability) -> Result<(), Error> {
    let new = path.with_extension("new");
    let failed = || Error::database(&new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file(&new)(error)),
        _ => {}
    }
    let connection = Connection::open(&new).map_err(failed())?;
    let synchronous = if durability == Durability::Memory { "OFF" } else { "FULL" };
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous={synchronous}; PRAGMA fullfsync=1; {TABLE};"
        ))
        .map_err(failed())?;
    drop(connection);
    fs::rename(&new, path).map_err(Error::file(&new))
}

/// Refuses a file that is not sound, before anything is written to it.
fn check(connection: &Connection, path: &Path, whole: bool) -> Result<(), Error> {
    let failed = || Error::database(path);
    if whole {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed())?;
        if found != "ok" {
            return Err(Error::damaged(path, found));
        }
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'record'", [], |row| row.get(0))
        .map_err(failed())?;
    if tables == 0 {
        return Err(Error::damaged(path, "it lacks the table of records"));
    }
    Ok(())
}

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Source {
    connection: Connection,
    pub name: Name,
}

/// What one call read.
#[derive(Debug)]
pub(super) struct Rows {
    /// Number and record; no record where the checksum says otherwise.
    pub rows: Vec<(u64, Option<Record>)>,
    /// Nothing follows in this partition.
    pub exhausted: bool,
}

impl Source {
    pub fn open(name: &Name) -> Result<Source, Error> {
        // Not read-only: a reader of a write-ahead log must be able to make its shared index.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&name.path, flags).map_err(Error::database(&name.path))?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(Error::database(&name.path))?;
        settle(&connection).map_err(Error::database(&name.path))?;
        Ok(Source { connection, name: name.clone() })
    }

    /// The last number that it holds.
    pub fn last(&self) -> Result<Option<u64>, Error> {
        let last = self.connection.query_row("SELECT max(seq) FROM record", [], |row| row.get::<_, Option<i64>>(0));
        Ok(last.map_err(Error::database(&self.name.path))?.map(i64::unsigned_abs))
    }

    /// What SQLite finds wrong with the file, or a row of a number that does not belong here.
    pub fn check(&self, numbers: Option<RangeInclusive<u64>>, grows: bool) -> Result<Option<String>, Error> {
        let failed = || Error::database(&self.name.path);
        let found: String =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed())?;
        if found != "ok" {
            return Ok(Some(found));
        }
        let Some(numbers) = numbers else { return Ok(None) };
        let strange: i64 = self
            .connection
            .query_row(
                "SELECT count(*) FROM record WHERE seq < ?1 OR seq > ?2",
                [numbers.start().cast_signed(), numbers.end().cast_signed()],
                |row| row.get(0),
            )
            .map_err(failed())?;
        // The partition that grows may have grown meanwhile.
        let grown = grows && self.last()? > Some(*numbers.end());
        Ok((strange > 0 && !grown).then(|| format!("{strange} records of numbers that belong elsewhere")))
    }

    /// Copies the partition as it is at one moment into a new file, whoever writes to it meanwhile.
    pub fn copy_to(&self, path: &Path) -> Result<(), Error> {
        copy(&self.connection, &self.name.path, path)
    }

    /// Rows from `from` on, at most so many, and none that begins after so many bytes.
    pub fn read(&self, from: u64, records_max: usize, bytes_max: usize) -> Result<Rows, Error> {
        let failed = || Error::database(&self.name.path);
        let mut select = self.connection.prepare_cached(SELECT).map_err(failed())?;
        let mut rows = select
            .query(params![from.cast_signed(), i64::try_from(records_max).unwrap_or(i64::MAX).saturating_add(1)])
            .map_err(failed())?;
        let mut found = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max && found.len() < records_max {
            let Some(row) = rows.next().map_err(failed())? else {
                return Ok(Rows { rows: found, exhausted: true });
            };
            let seq = row.get::<_, i64>(0).map_err(failed())?.unsigned_abs();
            let record =
                read_row(row).ok().filter(|(record, crc)| record.checksum(seq) == *crc).map(|(record, _)| record);
            bytes += record.as_ref().map_or(0, Record::len);
            found.push((seq, record));
        }
        Ok(Rows { rows: found, exhausted: false })
    }
}

/// Copies a database as it is at one moment into a new file, synced.
pub(super) fn copy(from: &Connection, path: &Path, to: &Path) -> Result<(), Error> {
    let mut target = Connection::open(to).map_err(Error::database(to))?;
    let copied = Backup::new(from, &mut target).and_then(|backup| {
        // All at once: in steps it would begin again whenever somebody writes. A writer is not held up by it, only its log grows.
        for _ in 0..COPY_ATTEMPTS {
            match backup.step(-1)? {
                StepResult::Done => return Ok(()),
                _ => std::thread::sleep(COPY_PAUSE),
            }
        }
        Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None))
    });
    copied.map_err(Error::database(path))?;
    drop(target);
    fs::File::open(to).and_then(|file| file.sync_all()).map_err(Error::file(to))
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Record, u32)> {
    Ok((Record { received_ms: row.get(1)?, facets: row.get(2)?, raw: row.get(3)?, ack: row.get(4)? }, row.get(5)?))
}
