//! The journal: every message, durable before it is acknowledged, in one order that all readers share.
//!
//! # The contract
//!
//! - [`Journal::append`]: records get consecutive sequence numbers from 1 in the order in which they were queued; a number is given back only once the record
//!   is on stable storage ([`Durability::Fsync`]). A batch is whatever queued while the last one was being synced.
//! - [`Reader::read`]: records from a number on, in order, checked; what cannot be read is reported, never skipped in silence.
//! - [`Journal::prune`]: removes old records, whole partitions at a time.
//! - [`Journal::health`]: whether it still takes records. After a failed write or sync it never does again: what the operating system has then dropped is unknowable,
//!   and a second sync would say "done". A full disk is no such failure.
//! - Cursors belong to readers: the journal does not know who reads it. They are kept in [`State`], which may lose its tail: that repeats work, it loses nothing.
//!
//! Nothing here knows what a record means; facets are bytes. The contract is also that of a NATS JetStream stream with durable pull consumers, which is to be the
//! second implementation; so nothing of SQLite shows in it.
//!
//! # On disk
//!
//! ```text
//! DATA/lock                                    held while the process runs
//! DATA/format                                  "handoff data 1"
//! DATA/journal/00000000000000000001.sqlite     a partition, named after its first number
//! DATA/journal/00000000000000250001.sqlite     the one that grows
//! DATA/state.sqlite                            how far readers have come, dead letters, codes that no table has
//! DATA/plans/                                  what mappings messages were translated with (not ours: `delivery`)
//! DATA/index.sqlite                            the search index, which is not the journal's
//! ```
mod backup;
mod codes;
mod directory;
mod partition;
mod prepared;
#[cfg(test)]
mod proofs;
mod reader;
mod record;
mod retention;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod view;

pub use backup::{BackupError, backup, restore};
pub use codes::Codes;
pub use directory::{Directory, DirectoryError};
pub(crate) use prepared::settle;
pub use reader::{Item, Limits, Reader};
pub use record::Record;
pub use retention::{Pruned, Retention, retain};
pub use state::{
    CAUSES_LOOKED_MAX, CODE_MESSAGES_MAX, CODES_MAX, Cause, CodeItem, CodeNotice, CodeStanding, DeadLetter, FilteredBy,
    LetterPin, Letters, Position, SeenLetters, SentAgain, State, Step, Tried, Unsent,
};
pub use store::{Health, Journal, Receipt};
pub use verify::{Report, Scrub, verify};
pub use view::{View, ViewError};

use std::path::PathBuf;

/// How sure a record must be before it counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// On stable storage: survives the loss of power.
    #[default]
    Fsync,
    /// With the operating system: survives the death of the process.
    Os,
    /// In memory, as far as anybody has seen to it: nothing is ever synced. What the operating system has written by itself may be there after the loss of power, in
    /// files that may be damaged.
    Memory,
}

impl Durability {
    /// The surest first.
    pub const ALL: [Durability; 3] = [Durability::Fsync, Durability::Os, Durability::Memory];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
            Durability::Memory => "memory",
        }
    }
}

/// The limits of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How sure a record must be.
    pub durability: Durability,
    /// A partition is closed once it holds so many records…
    pub partition_records_max: u64,
    /// …or so many bytes.
    pub partition_bytes_max: u64,
    /// Records written by one sync.
    pub batch_records_max: usize,
    /// Records that may wait to be written.
    pub queue_records_max: usize,
    /// Bytes that may wait to be written; a larger record waits for the queue to be empty.
    pub queue_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Fsync,
            partition_records_max: 250_000,
            partition_bytes_max: 256 << 20,
            batch_records_max: 512,
            queue_records_max: 4096,
            queue_bytes_max: 64 << 20,
        }
    }
}

/// What went wrong with the files of the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A file or folder could not be made, listed or synced.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The records asked for have been pruned.
    #[error("records before {first} have been pruned, {asked} was asked for")]
    Pruned {
        /// What was asked for.
        asked: u64,
        /// The first record there is.
        first: u64,
    },
}

impl Error {
    fn database(path: &std::path::Path) -> impl FnOnce(rusqlite::Error) -> Error + '_ {
        move |source| Error::Database { path: path.to_owned(), source }
    }

    fn damaged(path: &std::path::Path, what: impl Into<String>) -> Error {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Error::Database { path: path.to_owned(), source: rusqlite::Error::SqliteFailure(corrupt, Some(what.into())) }
    }

    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::File { path: path.to_owned(), source }
    }

    /// Whether the disk is full: nothing was written, and writing may be tried again later.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Database { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }

    /// Whether a database is damaged, as opposed to out of reach: then it will never be read better than now.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{
            DatabaseCorrupt, NotADatabase, ReadOnly, SchemaChanged, TooBig, TypeMismatch, Unknown,
        };
        let Error::Database { source, .. } = self else { return false };
        match source.sqlite_error_code() {
            // "No such table", and the like, of a file that was made with it: the page that says so has changed. So has one that forbids writing.
            Some(code) => matches!(
                code,
                DatabaseCorrupt | NotADatabase | ReadOnly | SchemaChanged | TooBig | TypeMismatch | Unknown
            ),
            None => true,
        }
    }
}

/// Why a record was not written. It must not be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is full; try again when there is space.
    #[error("the disk is full")]
    Full,
    /// The journal has failed and takes no more records in this process.
    #[error("the journal has stopped: {0}")]
    Stopped(String),
}
