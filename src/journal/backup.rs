//! Copies of a data directory: taken while the gateway runs, put back where nothing is.
//!
//! A copy is a data directory itself. The state is copied before the journal, so that no cursor in it points past the records that are there; and since the journal may be pruned
//! between the two, what the state still wants is checked to be there, else all begins again. `format` comes last: without it a copy that was cut short is no data directory.
//! The search index is not copied: it is made of the journal.
use super::partition::{self, Source};
use super::{Directory, DirectoryError, Error, Report, State, View, ViewError, directory, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("{} is not empty: name a folder that is, or is not there yet", .0.display())]
    NotEmpty(PathBuf),
    /// Old partitions went away again and again while they were copied.
    #[error("the journal was pruned while it was copied, {ATTEMPTS_MAX} times; try again later")]
    Pruned,
    /// A file or database.
    #[error(transparent)]
    Journal(#[from] Error),
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A data directory that cannot be looked at.
    #[error(transparent)]
    View(#[from] ViewError),
}

const ATTEMPTS_MAX: u32 = 5;

/// Copies a data directory, which may be in use, to a new folder, and reads the copy through: `each` is shown every partition of it.
///
/// # Errors
/// A [`BackupError`]; what was copied by then is left, and is no data directory.
pub fn backup(data: &Path, to: &Path, each: impl FnMut(&Report)) -> Result<(), BackupError> {
    let view = View::open(data)?;
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    for _ in 0..ATTEMPTS_MAX {
        if copy(&view, to)? {
            verify(to, each)?;
            directory::mark(to)?;
            return Ok(());
        }
        fs::remove_dir_all(to).map_err(Error::file(to))?;
    }
    Err(BackupError::Pruned)
}

/// Copies everything but the mark; false when the journal was pruned meanwhile.
fn copy(view: &View, to: &Path) -> Result<bool, BackupError> {
    directory::make_folders(to)?;
    let folder = Directory::journal_of(view.path());
    let first_before = partition::list(&folder)?.first().map_or(1, |name| name.first);
    let state_path = Directory::state_of(to);
    view.state().copy_to(&state_path)?;
    let names = partition::list(&folder)?;
    let state = State::at(state_path)?;
    // What a route that is no more stands at may have been pruned long ago: then it was gone before this began.
    let wanted = state.wanted_from(&state.readers()?)?;
    let first = names.first().map_or(1, |name| name.first);
    if first > first_before && wanted.is_some_and(|wanted| wanted < first) {
        return Ok(false);
    }
    let there = Directory::journal_of(to);
    for name in &names {
        let file = name.path.file_name().unwrap_or_default();
        let copied = Source::open(name).and_then(|source| source.copy_to(&there.join(file)));
        match copied {
            Err(_) if !name.path.exists() => return Ok(false),
            // What is damaged is kept as it is: somebody may still get something out of it.
            Err(error) if error.is_damage() => {
                tracing::error!("copied as it is: {error}");
                fs::copy(&name.path, there.join(file)).map_err(Error::file(&name.path))?;
            }
            copied => copied?,
        }
    }
    directory::sync(&there).map_err(Error::file(&there))?;
    copy_beside(view.path(), to)?;
    Ok(true)
}

/// What others keep beside the journal and cannot make again: the mappings of before, and the sequence numbers of links.
fn copy_beside(from: &Path, to: &Path) -> Result<(), BackupError> {
    let copy = |from: &Path, to: &Path| match fs::copy(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(|_| ()).map_err(Error::file(from)),
    };
    copy(&from.join("sequence"), &to.join("sequence"))?;
    let (plans, there) = (from.join("plans"), to.join("plans"));
    let Ok(entries) = fs::read_dir(&plans) else { return Ok(()) };
    fs::create_dir_all(&there).map_err(Error::file(&there))?;
    for entry in entries {
        let entry = entry.map_err(Error::file(&plans))?;
        copy(&entry.path(), &there.join(entry.file_name()))?;
    }
    Ok(())
}

/// Puts a copy back into a data directory that holds nothing, and reads it through. Routes then go on from where they stood when the copy was taken: what they delivered since is
/// delivered again.
///
/// # Errors
/// A [`BackupError`].
pub fn restore(from: &Path, data: &Path, each: impl FnMut(&Report)) -> Result<(), BackupError> {
    directory::check_format(from)?;
    let others = ["format", "sequence", "duplicates", "plans"].iter().any(|name| data.join(name).exists());
    if others || Directory::journal_of(data).exists() || Directory::state_of(data).exists() {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    // Not in use: nothing is to be put where a gateway is starting just now.
    let source = Directory::open(from)?;
    directory::make_folders(data)?;
    let there = Directory::journal_of(data);
    for name in partition::list(&source.journal())? {
        let file = name.path.file_name().unwrap_or_default();
        let copied = Source::open(&name).and_then(|source| source.copy_to(&there.join(file)));
        match copied {
            Err(error) if error.is_damage() => {
                fs::copy(&name.path, there.join(file)).map_err(Error::file(&name.path))?;
            }
            copied => copied?,
        }
    }
    State::at(source.state())?.copy_to(&Directory::state_of(data))?;
    copy_beside(from, data)?;
    directory::sync(&there).map_err(Error::file(&there))?;
    verify(data, each)?;
    directory::mark(data)?;
    Ok(())
}
