//! Removing what need not be kept any longer: whole files, the oldest first, and never the newest. The chain goes on from the last line that was removed, which is noted.
//!
//! A file is read before it goes: what was changed is evidence, and stays. The note is there for good before any file is gone, so a crash leaves files that [`super::verify`] passes over
//! and the next call removes. A gateway may write meanwhile: it only touches the newest file.
use super::line::{self, LINE_MAX, NONE};
use super::verify::{Report, follow};
use super::{Error, writer};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Files.
    pub files: usize,
    /// Lines in them.
    pub lines: u64,
    /// The number of the last line that was ever removed; 0 where none was.
    pub last: u64,
    /// Its hash: the first line that is left follows from it.
    pub hash: [u8; 32],
}

pub(super) fn mark_of(folder: &Path) -> PathBuf {
    folder.join("pruned")
}

/// Removes the oldest files of which every line is from before a time, in milliseconds since 1970.
///
/// # Errors
/// [`Error::Broken`] for a file that was changed, [`Error::InUse`] where somebody else removes files, or an input/output error; nothing more is removed then.
pub fn prune(folder: &Path, before_ms: i64) -> Result<Pruned, Error> {
    let _lock = lock(folder)?;
    let mark = mark_of(folder);
    let broken = |path: &Path, what| Error::Broken { path: path.to_owned(), what };
    let (pruned, hash) = writer::read_mark(&mark)?.map_err(|what| broken(&mark, what))?.unwrap_or((0, NONE));
    let mut report = Report { pruned, last: pruned, hash, ..Report::default() };
    let mut done = Pruned { last: pruned, hash, ..Pruned::default() };
    let (mut gone, files): (Vec<_>, Vec<_>) =
        writer::files(folder)?.into_iter().partition(|(first, _)| *first <= pruned);
    for pair in files.windows(2) {
        let [(first, path), (_, next)] = pair else { break };
        let mut latest_ms = i64::MIN;
        if let Some(wrong) = follow(&mut report, *first, path, |line| latest_ms = latest_ms.max(line.at_ms))? {
            return Err(broken(&wrong.path, wrong.what));
        }
        // One that a crash left empty is no file to go on from.
        if latest_ms >= before_ms || begins_with(next)? != Some(report.hash) {
            break;
        }
        gone.push((*first, path.clone()));
        done = Pruned { files: done.files + 1, lines: report.lines, last: report.last, hash: report.hash };
    }
    if done.last > pruned {
        let new = folder.join("pruned.new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&writer::mark(done.last, &done.hash))?;
            file.sync_all()?;
            fs::rename(&new, &mark)
        };
        write().map_err(Error::io(&new))?;
        writer::sync(folder)?;
    }
    for (_, path) in gone {
        fs::remove_file(&path).map_err(Error::io(&path))?;
    }
    writer::sync(folder)?;
    Ok(done)
}

/// One at a time. Not the lock of the writer, who may go on.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join("prune-lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(Error::Io { path, source }),
    }
}

/// From which hash the first line of a file follows; none where it has no whole line, as a crash leaves it.
fn begins_with(path: &Path) -> Result<Option<line::Hash>, Error> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut text = Vec::new();
    BufReader::new(file).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text).map_err(Error::io(path))?;
    if !text.ends_with(b"\n") {
        return Ok(None);
    }
    match line::read(&text) {
        Ok(line) => Ok(Some(line.before)),
        Err(what) => Err(Error::Broken { path: path.to_owned(), what }),
    }
}
