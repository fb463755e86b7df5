//! A file of Bundles, one a line (NDJSON), appended and synced.
//!
//! The file is opened for each batch, so it may be moved away at any time. Where a process died in the middle of a line, that line is taken out before the next is
//! written: it was never counted as delivered.
use super::{Failure, Progress};
use crate::fhir::envelope::Envelope;
use crate::routing::Live;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file; made with its folders where it is missing.
    pub path: PathBuf,
    /// The kind of Bundle.
    pub envelope: Envelope,
}

/// Appends to a file.
#[derive(Debug)]
pub struct FileChannel {
    options: Options,
    lines: Vec<u8>,
}

/// How a torn line of ours begins.
const BUNDLE: &[u8] = b"{\"resourceType\":\"Bundle\"";
/// How far back the beginning of a torn line is looked for at once.
const BLOCK_BYTES: u64 = 64 << 10;

impl FileChannel {
    pub(super) fn new(options: Options) -> FileChannel {
        FileChannel { options, lines: Vec::new() }
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>]) -> Progress {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        for live in messages {
            self.options.envelope.render(&live.bundle, &live.entries, &mut lines);
            lines.push(b'\n');
        }
        let path = self.options.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let written = append(&path, &lines);
            (lines, written)
        });
        let (lines, written) = written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.lines = lines;
        match written {
            Ok(()) => Progress { delivered: messages.len(), failure: None },
            Err(error) => Progress {
                delivered: 0,
                failure: Some(Failure::Endpoint {
                    reason: format!("{}: {error}", self.options.path.display()),
                    after: None,
                }),
            },
        }
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
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
        let mut channel = FileChannel::new(Options { path: folder.path().to_owned(), envelope: Envelope::Message });
        let live = Arc::new(Live { bundle: b"{}".to_vec(), ..Live::default() });
        let progress = channel.deliver(&[live]).await;
        assert!(matches!((progress.delivered, progress.failure), (0, Some(Failure::Endpoint { .. }))));
    }
}
