//! `DATA/coordination.sqlite`: what the coordination layer has made of the journal, and how far it has come. Nothing stands here that the journal, the configuration
//! and what people said cannot bring back: a database that is damaged, or of another version, is made anew.
//!
//! All that comes of a batch of messages is written in one transaction with the cursor. Written without waiting for the disk: what a power cut takes is the newest
//! batches with their cursor, and the same comes of them again.
use super::{card, care_team, fold, loops, measures, roster, subscription, work};
use crate::journal::settle;
use crate::privacy::visits;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes with everything that changes what stands in the tables.
const VERSION: i64 = 7;
const CURSOR: &str = "CREATE TABLE IF NOT EXISTS cursor (id INTEGER PRIMARY KEY CHECK (id = 0), next INTEGER NOT NULL, last BLOB NOT NULL) STRICT;";
/// Of every part.
const TABLES: [&[&str]; 9] = [
    &[CURSOR],
    &fold::TABLES,
    &loops::TABLES,
    &[care_team::TABLES, roster::TABLES],
    subscription::TABLES,
    &[card::TABLES],
    &[visits::TABLES],
    &work::TABLES,
    &measures::TABLES,
];
/// How long somebody else may write: commands only look.
const BUSY: Duration = Duration::from_secs(10);

/// Memory for pages of the database: what one batch changes is then written once.
const CACHE_KIB: usize = 32 << 10;
/// Pages of 4 KiB after which the write-ahead log is carried over, which waits for the disk twice.
const WAL_PAGES: usize = 8_192;

/// Prepared statements that are kept: more than all parts have.
pub const STATEMENTS: usize = 256;

/// How far the journal has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The first number that has not.
    pub next: u64,
    /// The id of the last message that has, zeros before the first: whether the journal still is the one that was read.
    pub last: [u8; 16],
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite.
    #[error("coordination.sqlite in the data directory: {0}")]
    Database(#[from] rusqlite::Error),
    /// What stands in it is not what was written.
    #[error("coordination.sqlite in the data directory is damaged: a row of {0} cannot be read")]
    Damaged(&'static str),
    /// Another version of the gateway wrote it.
    #[error("coordination.sqlite in the data directory has format {0}, this version reads {VERSION}")]
    Format(i64),
    /// It could not be removed.
    #[error("{}: {source}: remove it, it is made anew from the journal", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether it helps to make it anew ([`Store::anew`]).
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Error::Database(source) => matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
            Error::Damaged(_) | Error::Format(_) => true,
            Error::Remove { .. } => false,
        }
    }
}

/// The database, open to be written. Calls block.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the database of a data directory, or makes it.
    ///
    /// # Errors
    /// One that cannot be opened; [`Error::is_damage`] tells whether [`Store::anew`] helps.
    pub fn open(data: &Path) -> Result<Store, Error> {
        let path = Store::path(data);
        let mut connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")?;
        settle(&connection)?;
        connection.execute_batch(&format!("PRAGMA cache_size=-{CACHE_KIB}; PRAGMA wal_autocheckpoint={WAL_PAGES};"))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        // 0 is what SQLite gives a new file.
        if version != 0 && version != VERSION {
            return Err(Error::Format(version));
        }
        TABLES.iter().copied().flatten().try_for_each(|tables| transaction.execute_batch(tables))?;
        transaction.execute_batch(&format!("PRAGMA user_version={VERSION};"))?;
        transaction.commit()?;
        Ok(Store { connection, path })
    }

    /// Removes the database of a data directory and makes an empty one, which the journal is read for again from its beginning.
    ///
    /// # Errors
    /// A file that cannot be removed or made.
    pub fn anew(data: &Path) -> Result<Store, Error> {
        let path = Store::path(data);
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Remove { path: file.into(), source });
                }
                _ => {}
            }
        }
        Store::open(data)
    }

    /// Where it stands in a data directory.
    pub fn path(data: &Path) -> PathBuf {
        data.join("coordination.sqlite")
    }

    /// To read what is there; within a transaction of [`Store::batch`] read from that.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A connection of its own, which sees what is committed and writes nothing: for those who answer while messages are read.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn reader(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        settle(&connection)?;
        Ok(connection)
    }

    /// How far the journal has been read; `None` for a new database.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn place(&self) -> Result<Option<Place>, Error> {
        let sql = "SELECT next, last FROM cursor";
        let row = self.connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let Some((next, last)) = row.optional()? else { return Ok(None) };
        let last = last.try_into().map_err(|_| Error::Damaged("cursor"))?;
        Ok(Some(Place { next: next.unsigned_abs(), last }))
    }

    /// Writes all that comes of a batch of messages, and how far that is, at once or not at all. Where this fails, what was kept in memory meanwhile
    /// ([`super::fold::Fold`]) is ahead of what is written, and must be opened anew.
    ///
    /// # Errors
    /// Those of `work`, and a database that cannot be written; nothing is written then.
    pub fn batch<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<(Place, T), E>,
    ) -> Result<T, E> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let (place, made) = work(&transaction)?;
        let sql = "INSERT OR REPLACE INTO cursor VALUES (0, ?1, ?2)";
        transaction.execute(sql, params![place.next.cast_signed(), place.last]).map_err(Error::from)?;
        transaction.commit().map_err(Error::from)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_there_as_a_whole_or_not() {
        let data = tempfile::tempdir().unwrap();
        let mut store = Store::open(data.path()).unwrap();
        assert_eq!(store.place().unwrap(), None);
        let place = Place { next: 7, last: [3; 16] };
        let insert = "INSERT INTO death VALUES (?1, 1, 1)";
        store
            .batch(|transaction| -> Result<_, Error> { Ok((place, transaction.execute(insert, [[1u8; 16]])?)) })
            .unwrap();
        let failed = store.batch(|transaction| -> Result<(Place, ()), Error> {
            transaction.execute(insert, [[2u8; 16]])?;
            Err(Error::Damaged("visit"))
        });
        assert!(failed.unwrap_err().is_damage());
        drop(store);
        let store = Store::open(data.path()).unwrap();
        assert_eq!(store.place().unwrap(), Some(place));
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM death", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!((count(store.connection()).unwrap(), count(&store.reader().unwrap()).unwrap()), (1, 1));
        assert!(store.reader().unwrap().execute("DELETE FROM death", []).is_err(), "readers write nothing");
    }

    #[test]
    fn damage_is_told_and_made_anew() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(Store::path(data.path()), [b"not a database".repeat(100)].concat()).unwrap();
        assert!(Store::open(data.path()).unwrap_err().is_damage());
        let store = Store::anew(data.path()).unwrap();
        store.connection().execute_batch("PRAGMA user_version=99").unwrap();
        drop(store);
        let error = Store::open(data.path()).unwrap_err();
        assert!(matches!(error, Error::Format(99)) && error.is_damage(), "{error}");
        assert_eq!(Store::anew(data.path()).unwrap().place().unwrap(), None);
        assert!(!Store::open(&data.path().join("nowhere")).unwrap_err().is_damage());
    }
}
