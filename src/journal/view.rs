//! A data directory from outside: for commands that look at it while the gateway runs, or after it has died. It takes no lock.
//!
//! SQLite lets several processes read and write the same database; the journal itself is only read here.
use super::partition::{self, Source};
use super::{Directory, DirectoryError, Error, Item, Limits, Reader, Record, State, directory};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// Records and state of a data directory that another process may have open.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
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
        Ok(View { path: path.to_owned(), reader: Reader::new(Directory::journal_of(path), head), state })
    }

    /// Cursors and dead letters.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first and the last number there is just now; `None` when there is no record.
    ///
    /// # Errors
    /// A newest partition that cannot be read.
    pub fn range(&self) -> Result<Option<RangeInclusive<u64>>, Error> {
        let names = partition::list(&Directory::journal_of(&self.path))?;
        let (Some(first), Some(newest)) = (names.first(), names.last()) else { return Ok(None) };
        let last = Source::open(newest)?.last()?.unwrap_or(newest.first.saturating_sub(1));
        Ok((first.first <= last).then_some(first.first..=last))
    }

    /// A reader of what is there just now: it ends at the last number of this moment.
    ///
    /// # Errors
    /// A newest partition that cannot be read.
    pub fn reader(&self) -> Result<Reader, Error> {
        let (_, head) = watch::channel(self.range()?.map_or(0, |range| *range.end()));
        Ok(Reader::new(Directory::journal_of(&self.path), head))
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
