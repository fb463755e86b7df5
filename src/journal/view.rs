//! A data directory from outside: for commands that look at it while the gateway runs, or after it has died. It takes no lock.
//!
//! SQLite lets several processes read and write the same database; the journal itself is only read here.
use super::directory;
use super::{Directory, DirectoryError, Error, Item, Limits, Reader, Record, State};
use std::path::Path;
use tokio::sync::watch;

/// Records and state of a data directory that another process may have open.
#[derive(Debug)]
pub struct View {
    reader: Reader,
    state: State,
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// No data directory, or one of another version.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A database that cannot be opened.
    #[error(transparent)]
    Journal(#[from] Error),
}

impl View {
    /// Opens a data directory that is there.
    ///
    /// # Errors
    /// A [`ViewError`].
    pub fn open(path: &Path) -> Result<View, ViewError> {
        directory::check_format(path)?;
        let state = State::at(Directory::state_of(path))?;
        // Whatever has been written may be read.
        let (_, head) = watch::channel(u64::MAX >> 1);
        Ok(View { reader: Reader::new(Directory::journal_of(path), head), state })
    }

    /// Cursors and dead letters.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records from a number on, in order; none at the end of the journal.
    ///
    /// # Errors
    /// A file that cannot be read, or [`Error::Pruned`].
    pub fn records(&mut self, from: u64) -> Result<Vec<Item>, Error> {
        self.reader.read(from, Limits::default())
    }

    /// A record by its number; `None` when it is not there or damaged.
    ///
    /// # Errors
    /// A file that cannot be read, or [`Error::Pruned`].
    pub fn record(&mut self, seq: u64) -> Result<Option<Record>, Error> {
        let items = self.reader.read(seq, Limits { records_max: 1, ..Limits::default() })?;
        Ok(items.into_iter().find_map(|item| match item {
            Item::Record(number, record) if number == seq => Some(record),
            _ => None,
        }))
    }
}
