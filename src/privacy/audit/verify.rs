//! Reading the whole chain: does every line follow from the one before?
use super::line::{self, Hash, LINE_MAX, NONE};
use super::{Error, writer};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Files.
    pub files: usize,
    /// Lines that follow from those before.
    pub lines: u64,
    /// The number of the last of them.
    pub last: u64,
    /// Its hash; a copy kept elsewhere proves all that came before.
    pub hash: Hash,
    /// Where the chain breaks first.
    pub broken: Option<Break>,
}

/// Where the chain breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The file.
    pub path: PathBuf,
    /// The line in it, from 1; 0 means the file.
    pub line: u64,
    /// Why.
    pub what: &'static str,
}

/// Reads a folder of audit files. While a gateway writes, its last lines may be those of a batch that is not whole yet: check again.
///
/// # Errors
/// Files that cannot be read.
pub fn verify(folder: &Path) -> Result<Report, Error> {
    let mut report = Report { hash: NONE, ..Report::default() };
    let head = writer::read_head(folder)?;
    let mut at_head = None;
    for (first, path) in writer::files(folder)? {
        report.files += 1;
        let wrong = |line, what| Some(Break { path: path.clone(), line, what });
        if first != report.last + 1 {
            report.broken = wrong(0, "it is not named by the number that comes next: a file before it is missing");
            return Ok(report);
        }
        let mut reader = BufReader::with_capacity(256 << 10, File::open(&path).map_err(Error::io(&path))?);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let most = LINE_MAX as u64 + 1;
            reader.by_ref().take(most).read_until(b'\n', &mut text).map_err(Error::io(&path))?;
            if text.is_empty() {
                break;
            }
            let line = match line::read(&text) {
                Ok(line) => line,
                Err(what) => {
                    let torn = "it is not whole: cut by a crash, or cut off; the gateway takes it out when it starts";
                    report.broken = wrong(number, if text.ends_with(b"\n") { what } else { torn });
                    return Ok(report);
                }
            };
            if line.before != report.hash {
                report.broken = wrong(number, "it does not follow from the line before");
            } else if line.seq != report.last + 1 {
                report.broken = wrong(number, "its number is not the next");
            }
            if report.broken.is_some() {
                return Ok(report);
            }
            report.lines += 1;
            (report.last, report.hash) = (line.seq, line.hash);
            if head.as_ref().is_ok_and(|head| head.is_some_and(|(seq, _)| seq == line.seq)) {
                at_head = Some(line.hash);
            }
        }
    }
    report.broken = check_head(folder, &head, at_head, &report);
    Ok(report)
}

fn check_head(folder: &Path, head: &writer::Head, at_head: Option<Hash>, report: &Report) -> Option<Break> {
    let wrong = |what| Some(Break { path: writer::head_of(folder), line: 0, what });
    match head {
        Err(what) => wrong(what),
        Ok(None) if report.lines == 0 => None,
        Ok(None) => wrong("it is missing"),
        Ok(Some((_, hash))) if at_head == Some(*hash) => None,
        Ok(Some((0, hash))) if *hash == NONE => None,
        Ok(Some((seq, _))) if *seq > report.last => wrong("it names a line after the last: lines were cut off"),
        Ok(Some(_)) => wrong("it is not the hash of the line that it names"),
    }
}
