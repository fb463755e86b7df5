//! Search: which messages the journal holds, found by time, control id, patient, type, sender, outcome and text.
//!
//! The [`Index`] is a database of its own, `DATA/index.sqlite`, so that no index stands in the way of an acknowledgement. It is made of nothing but the journal: where it
//! is missing, damaged, of another version or about other records, it is made again. It keeps its own cursor in the same transaction as its rows, so a record is
//! in it once or not yet.
//!
//! While the gateway runs a [`Follower`] keeps it up, in small slices with pauses; under load it lags on purpose. Whoever searches catches up first
//! ([`Index::follow`] until it gives 0).
//!
//! | file | what |
//! |---|---|
//! | `entry` | what is known of a message |
//! | `index` | the database: following, pruning, rebuilding |
//! | `query` | filters and pages |
//! | `look` | a page within a time, however rare what is looked for is |
//! | `time` | times as people write them |
//! | `standing` | what has become of a message on each route, from the state database |
//! | `follower` | the thread in the gateway |
//!
//! Left out: an index of the text. A search for text reads the messages that all other filters let through.
mod entry;
mod follower;
mod index;
mod look;
mod query;
mod standing;
#[cfg(test)]
mod tests;
mod time;

pub use entry::Entry;
pub use follower::Follower;
pub use index::Index;
pub use look::{Look, Looked};
pub use query::{Filter, Order, contains};
pub use standing::{Standing, Standings};
pub use time::parse_time;

use crate::journal;
use std::path::PathBuf;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index itself: where it is damaged, [`Index::open`] makes a new one.
    #[error("search index {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A damaged index that cannot be removed.
    #[error("search index {} is damaged and cannot be removed: {source}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The journal, which it is made of.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

impl Error {
    fn database(path: &std::path::Path) -> impl FnOnce(rusqlite::Error) -> Error + '_ {
        move |source| Error::Database { path: path.to_owned(), source }
    }

    /// Whether the index is damaged, as opposed to out of reach.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        // A page that says something else than it should may also lack a table or hold another type.
        let damaged = |source: &rusqlite::Error| {
            matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
                || matches!(source, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::Utf8Error(..))
        };
        matches!(self, Error::Database { source, .. } if damaged(source))
    }
}
