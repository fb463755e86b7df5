//! The data directory: one process at a time, one format.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "handoff data 1\n";

/// The data directory, locked for this process as long as this value lives.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error("{} is in use by another handoff process", .0.display())]
    InUse(PathBuf),
    /// It was written by a version that this one does not understand.
    #[error("{} has format {found:?}, this version reads {FORMAT:?}: use the handoff version that wrote it, or another data directory", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// Nothing has been kept there.
    #[error("{} is no data directory of handoff: give the one of the gateway with --data or --config", .0.display())]
    Nothing(PathBuf),
    /// It could not be made, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Directory {
    /// Makes the directory where it is missing, locks it and checks its format.
    ///
    /// # Errors
    /// A [`DirectoryError`].
    pub fn open(path: &Path) -> Result<Directory, DirectoryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DirectoryError::Io { path, source }
        };
        make(path).map_err(failed(path))?;
        let lock_path = path.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let format = path.join("format");
        match fs::read_to_string(&format) {
            Ok(found) if found == FORMAT => {}
            Ok(found) if !found.is_empty() => return Err(DirectoryError::Format { path: path.to_owned(), found }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&format)(error)),
            _ => write_format(path, &format).map_err(failed(&format))?,
        }
        let journal = path.join("journal");
        make(&journal).map_err(failed(&journal))?;
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn journal(&self) -> PathBuf {
        Directory::journal_of(&self.path)
    }

    pub(super) fn state(&self) -> PathBuf {
        Directory::state_of(&self.path)
    }

    pub(super) fn journal_of(path: &Path) -> PathBuf {
        path.join("journal")
    }

    pub(super) fn state_of(path: &Path) -> PathBuf {
        path.join("state.sqlite")
    }
}

/// Whether a directory holds data of this version.
pub(super) fn check_format(path: &Path) -> Result<(), DirectoryError> {
    let file = path.join("format");
    match fs::read_to_string(&file) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(DirectoryError::Format { path: path.to_owned(), found }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DirectoryError::Nothing(path.to_owned())),
        Err(source) => Err(DirectoryError::Io { path: file, source }),
    }
}

/// Makes the folders of a data directory that is to be filled.
pub(super) fn make_folders(path: &Path) -> Result<(), DirectoryError> {
    let journal = Directory::journal_of(path);
    make(&journal).map_err(|source| DirectoryError::Io { path: journal, source })
}

/// Makes a filled folder a data directory, for good.
pub(super) fn mark(path: &Path) -> Result<(), DirectoryError> {
    let format = path.join("format");
    write_format(path, &format).map_err(|source| DirectoryError::Io { path: format, source })
}

/// Makes a directory for good: a name that is not synced in its parent is gone after a power cut, with all that was synced below it.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    make(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync(parent)
}

fn write_format(directory: &Path, format: &Path) -> io::Result<()> {
    let mut file = File::create(format)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    sync(directory)
}

/// Syncs the names in a directory.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_one_format() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b/data");
        let first = Directory::open(&path).unwrap();
        assert!(matches!(Directory::open(&path), Err(DirectoryError::InUse(_))));
        drop(first);
        drop(Directory::open(&path).unwrap());
        fs::write(path.join("format"), "handoff data 2\n").unwrap();
        assert!(matches!(Directory::open(&path), Err(DirectoryError::Format { .. })));
    }
}
