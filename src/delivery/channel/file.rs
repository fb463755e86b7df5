//! A file of Bundles, one a line (NDJSON), appended and synced.
//!
//! The file is opened for each batch, so it may be moved away at any time. Where a process died in the middle of a line, that line is taken out before the next is
//! written: it was never counted as delivered. With `roll` it is many files, each published whole (`rolled`).
mod rolled;

use super::{Failure, Progress};
use crate::fhir::envelope::Envelope;
use crate::routing::Live;
pub use rolled::Roll;
use rolled::Rolled;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Where and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file; made with its folders where it is missing.
    pub path: PathBuf,
    /// The kind of Bundle.
    pub envelope: Envelope,
    /// When a file is published, where it is to be many.
    pub roll: Option<Roll>,
}

/// Appends to a file.
#[derive(Debug)]
pub struct FileChannel {
    options: Options,
    lines: Vec<u8>,
    rolled: Option<Arc<Mutex<Rolled>>>,
    /// What publishes files that nobody writes to any more.
    publisher: Option<AbortHandle>,
}

/// How a torn line of ours begins.
const BUNDLE: &[u8] = b"{\"resourceType\":\"Bundle\"";
/// How far back the beginning of a torn line is looked for at once.
const BLOCK_BYTES: u64 = 64 << 10;

/// Looks for a file that is old enough, as parts of its age, and within these.
const LOOKS: u32 = 10;
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(10);

impl FileChannel {
    pub(super) fn new(options: Options) -> FileChannel {
        let rolled = options.roll.map(|roll| Rolled::new(options.path.clone(), roll, jiff::Timestamp::now));
        let rolled = rolled.map(|rolled| Arc::new(Mutex::new(rolled)));
        FileChannel { options, lines: Vec::new(), rolled, publisher: None }
    }

    /// From now on files are published in time, also where nothing is delivered.
    pub(super) fn begin(&mut self) {
        let (Some(rolled), Some(age)) = (&self.rolled, self.options.roll.and_then(|roll| roll.age)) else { return };
        let (rolled, path) = (Arc::clone(rolled), self.options.path.clone());
        let pause = (age / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        let publisher = tokio::spawn(async move {
            let mut told = false;
            loop {
                let failed = act(&rolled, Rolled::publish_old).await.err();
                if let Some(error) = failed.as_ref().filter(|_| !told) {
                    tracing::error!(path = %path.display(), "a file cannot be published, tried again: {error}");
                }
                told = failed.is_some();
                tokio::time::sleep(pause).await;
            }
        });
        self.publisher = Some(publisher.abort_handle());
    }

    /// Publishes what there is: nothing more is to come.
    pub(super) async fn end(&mut self) {
        self.publisher.take().iter().for_each(AbortHandle::abort);
        let Some(rolled) = &self.rolled else { return };
        if let Err(error) = act(rolled, Rolled::publish_all).await {
            let path = self.options.path.display();
            tracing::error!(%path, "a file cannot be published, tried again at the next start: {error}");
        }
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>]) -> Progress {
        let (mut lines, mut ends) = (std::mem::take(&mut self.lines), Vec::with_capacity(messages.len()));
        lines.clear();
        for live in messages {
            self.options.envelope.render(&live.bundle, &live.entries, &mut lines);
            lines.push(b'\n');
            ends.push(lines.len());
        }
        let (path, rolled) = (self.options.path.clone(), self.rolled.clone());
        let written = tokio::task::spawn_blocking(move || {
            let written = match rolled {
                Some(rolled) => rolled.lock().unwrap_or_else(PoisonError::into_inner).append(&lines, &ends),
                None => match append(&path, &lines) {
                    Ok(()) => (ends.len(), Ok(())),
                    Err(error) => (0, Err(error)),
                },
            };
            (lines, written)
        });
        let (lines, (delivered, written)) =
            written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.lines = lines;
        let failure = written.err().map(|error| {
            let reason = format!("{}: {error}", self.options.path.display());
            Failure::Endpoint { reason, after: None }
        });
        Progress { delivered, failure }
    }
}

impl Drop for FileChannel {
    fn drop(&mut self) {
        self.publisher.iter().for_each(AbortHandle::abort);
    }
}

async fn act(rolled: &Arc<Mutex<Rolled>>, act: fn(&mut Rolled) -> io::Result<()>) -> io::Result<()> {
    let rolled = Arc::clone(rolled);
    let acted = tokio::task::spawn_blocking(move || act(&mut rolled.lock().unwrap_or_else(PoisonError::into_inner)));
    acted.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let is_new = !path.exists();
    if is_new {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    // A dead letter may be sent again by another process meanwhile; a line that it is writing is not torn.
    file.lock()?;
    mend(&mut file)?;
    file.write_all(lines)?;
    file.sync_data()?;
    if is_new {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes the file end with a line: a torn Bundle is cut off, anything else (a file that was somebody else's) is ended.
fn mend(file: &mut File) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    let start = last_line(file, length)?;
    if start == length {
        return Ok(());
    }
    let mut head = vec![0; BUNDLE.len().min(usize::try_from(length - start).unwrap_or(usize::MAX))];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut head)?;
    if BUNDLE.starts_with(&head) { file.set_len(start) } else { file.write_all(b"\n") }
}

/// Where the line begins that the file ends in; the end of the file when it ends with a line end.
fn last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        block.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_appending(before: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/bundles.ndjson");
        if !before.is_empty() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, before).unwrap();
        }
        append(&path, b"line\n").unwrap();
        fs::read(&path).unwrap()
    }

    #[test]
    fn torn_lines_of_ours_are_cut_off_and_others_ended() {
        assert_eq!(after_appending(b""), b"line\n");
        assert_eq!(after_appending(b"whole\n"), b"whole\nline\n");
        assert_eq!(after_appending(b"whole\n{\"resourceType\":\"Bundle\",\"ty"), b"whole\nline\n");
        assert_eq!(after_appending(b"{\"resour"), b"line\n");
        assert_eq!(after_appending(b"notes"), b"notes\nline\n");
        let mut long = b"whole\n{\"resourceType\":\"Bundle\"".to_vec();
        long.resize(200_000, b'x');
        assert_eq!(after_appending(&long), b"whole\nline\n");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut channel =
            FileChannel::new(Options { path: folder.path().to_owned(), envelope: Envelope::Message, roll: None });
        let live = Arc::new(Live { bundle: b"{}".to_vec(), ..Live::default() });
        let progress = channel.deliver(&[live]).await;
        assert!(matches!((progress.delivered, progress.failure), (0, Some(Failure::Endpoint { .. }))));
    }
}
