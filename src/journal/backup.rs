//! Copies of a data directory: taken while the gateway runs, put back where nothing is.
//!
//! A copy is a data directory itself. The state is copied before the journal, so that no cursor in it points past the records that are there; and since the journal may be pruned
//! between the two, what the state still wants is checked to be there, else all begins again. `format` comes last: without it a copy that was cut short is no data directory.
//! The search index and what coordinated care made of the journal are not copied: they are made of it. What people said to it, its rosters and its audit are.
use super::partition::{self, Source};
use super::{Directory, DirectoryError, Error, Report, State, View, ViewError, directory, verify};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// What others keep beside the journal and cannot make again: the mappings of before, the sequence numbers of links, the rosters that were accepted, the audit, and what people said
/// of subscriptions and consents: without a consent that forbids, all would be told.
fn copy_beside(from: &Path, to: &Path) -> Result<(), BackupError> {
    copy_file(&from.join("sequence"), &to.join("sequence"))?;
    for folder in ["plans", "rosters", AUDIT] {
        copy_folder(&from.join(folder), &to.join(folder))?;
    }
    // Last: what was said after the last message that was copied holds for what comes then.
    let registry = from.join(REGISTRY);
    if registry.exists() {
        let connection = Connection::open(&registry).map_err(Error::database(&registry))?;
        connection.busy_timeout(BUSY).map_err(Error::database(&registry))?;
        partition::copy(&connection, &registry, &to.join(REGISTRY))?;
    }
    Ok(())
}

/// What people said, and what was told whom (not ours: `coordination`, `privacy`).
const REGISTRY: &str = "registry.sqlite";
const AUDIT: &str = "audit";
/// Says how far the audit goes; what is behind it may be longer, never shorter.
const AUDIT_HEAD: &str = "head";
/// How long somebody else may write.
const BUSY: Duration = Duration::from_secs(5);
/// Folders within folders that are copied.
const FOLDERS_MAX: usize = 10_000;

fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    match fs::copy(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        copied => copied.map(|_| ()).map_err(|error| Error::file(from)(error).into()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut folders = vec![(from.to_owned(), to.to_owned())];
    for _ in 0..FOLDERS_MAX {
        let Some((from, to)) = folders.pop() else { return Ok(()) };
        let Ok(entries) = fs::read_dir(&from) else { continue };
        fs::create_dir_all(&to).map_err(Error::file(&to))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(Error::file(&from))?.file_name());
        }
        names.sort_unstable_by_key(|name| (name.as_os_str() != AUDIT_HEAD, name.clone()));
        for name in names {
            let (from, to) = (from.join(&name), to.join(&name));
            if from.is_dir() {
                folders.push((from, to));
            } else {
                copy_file(&from, &to)?;
            }
        }
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
    let others = ["format", "sequence", "duplicates", "plans", "rosters", AUDIT, REGISTRY]
        .iter()
        .any(|name| data.join(name).exists());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Options};
    use std::sync::Arc;

    #[test]
    fn what_coordinated_care_cannot_make_again_comes_along() {
        let folder = tempfile::tempdir().unwrap();
        let [data, copy, back] = ["data", "copy", "back"].map(|name| folder.path().join(name));
        {
            let directory = Arc::new(Directory::open(&data).unwrap());
            drop(Journal::open(&directory, Options::default()).unwrap());
            drop(State::open(&directory).unwrap());
        }
        for (name, text) in [("audit/head", "1"), ("audit/2026-11-22.ndjson", "{}"), ("rosters/aco/a.csv", "MBI")] {
            let path = data.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        // Not closed: what it has written stands in its log.
        let registry = Connection::open(data.join(REGISTRY)).unwrap();
        registry
            .execute_batch(
                "PRAGMA journal_mode=WAL; CREATE TABLE entry (body TEXT); INSERT INTO entry VALUES ('deny');",
            )
            .unwrap();
        fs::write(data.join("coordination.sqlite"), "made of the journal").unwrap();
        backup(&data, &copy, |_| ()).unwrap();
        restore(&copy, &back, |_| ()).unwrap();
        for (name, text) in [("audit/head", "1"), ("audit/2026-11-22.ndjson", "{}"), ("rosters/aco/a.csv", "MBI")] {
            assert_eq!(fs::read_to_string(back.join(name)).unwrap(), text);
        }
        let said: String = Connection::open(back.join(REGISTRY))
            .unwrap()
            .query_row("SELECT body FROM entry", [], |row| row.get(0))
            .unwrap();
        assert_eq!(said, "deny");
        assert!(!back.join("coordination.sqlite").exists());
        assert!(matches!(restore(&copy, &back, |_| ()), Err(BackupError::NotEmpty(_))));
    }
}
