//! A pile of messages: files, folders and standard input, read one stretch at a time, so that a pile of any size fits into memory.
//!
//! A stretch ends where a message begins; what is left over goes to the next one. A file in UTF-16 is read whole, because it has to be recoded first.
use crate::hl7::{split, transcode};
use anyhow::{Context as _, bail};
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much is read at a time.
const STRETCH_BYTES: usize = 4 << 20;
/// The longest message; also the longest file in UTF-16.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// What a file of messages in a folder ends in.
const EXTENSIONS: [&str; 5] = ["hl7", "er7", "msg", "txt", "dat"];

/// Calls `each` with file name, number in the file (from 1) and bytes of every message; returns how many files could not be read, which it has said then.
///
/// # Errors
/// What `each` returns.
pub fn each_message(
    paths: &[PathBuf],
    mut each: impl FnMut(&str, u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut failed = 0;
    for path in paths {
        let files = if path.is_dir() { files_in(path) } else { Ok(vec![path.clone()]) };
        let files = match files {
            Ok(files) => files,
            Err(error) => {
                eprintln!("{}: error: {error:#}", path.display());
                failed += 1;
                continue;
            }
        };
        for file in files {
            let name = file.display().to_string();
            let mut broken = None;
            let result = open(&file).and_then(|reader| {
                stretches(reader, |number, raw| {
                    // The report's own trouble is not the file's.
                    each(&name, number, raw).map_err(|error| broken = Some(error)).is_ok()
                })
            });
            if let Some(error) = broken {
                return Err(error);
            }
            if let Err(error) = result {
                eprintln!("{name}: error: {error:#}");
                failed += 1;
            }
        }
    }
    Ok(failed)
}

/// The files of messages below a folder, in the order of their names.
fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{}: cannot be listed", folder.display()))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            // A link to a folder could lead in a circle.
            if kind.is_dir() {
                waiting.push(path);
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e)) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        bail!("no file of messages in it; they end in {}", EXTENSIONS.map(|e| format!(".{e}")).join(", "));
    }
    found.sort();
    Ok(found)
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("no such file"),
        Err(error) => bail!("cannot be read: {error}"),
    }
}

/// Calls `each` with the messages of a stream, until it returns false.
fn stretches(mut reader: impl Read, mut each: impl FnMut(u64, &[u8]) -> bool) -> anyhow::Result<()> {
    let (mut buffer, mut number) = (Vec::new(), 0);
    loop {
        let before = buffer.len();
        let read = reader.by_ref().take(STRETCH_BYTES as u64).read_to_end(&mut buffer).context("cannot be read")?;
        if before == 0 && number == 0 && is_utf16(&buffer) {
            reader.by_ref().take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut buffer).context("cannot be read")?;
            buffer = transcode(&buffer).into_owned();
        }
        let ended = read == 0;
        let end = if ended { buffer.len() } else { last_beginning(&buffer) };
        if ended && number == 0 && !has_header(&buffer) {
            bail!("holds no MSH segment; an HL7 v2 message begins with one");
        }
        for span in split(&buffer[..end]) {
            number += 1;
            if !each(number, &buffer[span]) {
                return Ok(());
            }
        }
        buffer.drain(..end);
        if ended {
            return Ok(());
        }
        if buffer.len() > MESSAGE_BYTES_MAX {
            bail!("holds a message of more than {} MB", MESSAGE_BYTES_MAX >> 20);
        }
    }
}

fn has_header(bytes: &[u8]) -> bool {
    [b"MSH", b"msh"].iter().any(|name| memchr::memmem::find(bytes, *name).is_some())
}

fn is_utf16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [b'M' | b'F' | b'B', 0, ..] | [0, b'M' | b'F' | b'B', ..])
}

/// Where the last message begins that has another before it, its frame's first byte included; 0 where there is none.
fn last_beginning(bytes: &[u8]) -> usize {
    for at in memchr::memmem::rfind_iter(bytes, b"MSH") {
        match bytes[..at].last() {
            Some(0x0B) => return at - 1,
            Some(b'\r' | b'\n') => return at,
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, as a pipe may.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(1000);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn stretches_cut_no_message() {
        let mut text = Vec::from(&b"FHS|^~\\&\rBHS|^~\\&\r"[..]);
        let count = 40_000;
        for number in 0..count {
            text.extend_from_slice(
                format!("MSH|^~\\&|A|B|||||ADT^A01|{number}|P|2.5\rPID|1||MSH{number}\r\n").as_bytes(),
            );
        }
        let doubled = text.repeat(3);
        assert!(doubled.len() > STRETCH_BYTES);
        let (mut seen, mut bytes) = (0, 0);
        stretches(Drip(&doubled), |number, raw| {
            seen += 1;
            bytes += raw.len();
            assert_eq!(number, seen);
            let wanted = format!("|{}|P|2.5\rPID|1||MSH{0}", (number - 1) % count);
            assert!(
                memchr::memmem::find(raw, wanted.as_bytes()).is_some(),
                "{number}: {}",
                String::from_utf8_lossy(raw)
            );
            true
        })
        .unwrap();
        assert_eq!(seen, 3 * count);
        assert_eq!(bytes, split(&doubled).map(|span| span.len()).sum::<usize>());
    }

    #[test]
    fn utf_16_is_recoded_and_what_is_no_message_said() {
        let text = "MSH|^~\\&|A|B|||||ADT^A01|1|P|2.5\rPID|1\r";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut seen = Vec::new();
        stretches(&wide[..], |_, raw| {
            seen.push(raw.to_vec());
            true
        })
        .unwrap();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with(b"MSH|^~"));
        assert!(stretches(&b"nothing"[..], |_, _| true).is_err());
    }
}
