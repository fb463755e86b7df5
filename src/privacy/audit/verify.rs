//! Reading the whole chain, from the last line that was removed on: does every line follow from the one before?
use super::line::{self, Hash, LINE_MAX, NONE};
use super::{Error, prune, writer};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The number of the last line that was removed ([`super::prune`]); 0 where none was.
    pub pruned: u64,
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
    let head = writer::read_mark(&writer::head_of(folder))?;
    match writer::read_mark(&prune::mark_of(folder))? {
        Ok(mark) => (report.pruned, report.hash) = mark.unwrap_or((0, NONE)),
        Err(what) => {
            report.broken = Some(Break { path: prune::mark_of(folder), line: 0, what });
            return Ok(report);
        }
    }
    report.last = report.pruned;
    let mut at_head = None;
    // Those before were removed; a crash may have left some.
    let pruned = report.pruned;
    for (first, path) in writer::files(folder)?.into_iter().filter(|(first, _)| *first > pruned) {
        report.files += 1;
        report.broken = follow(&mut report, first, &path, |line| {
            if head.as_ref().is_ok_and(|head| head.is_some_and(|(seq, _)| seq == line.seq)) {
                at_head = Some(line.hash);
            }
        })?;
        if report.broken.is_some() {
            return Ok(report);
        }
    }
    report.broken = check_head(folder, &head, at_head, &report);
    Ok(report)
}

/// Reads the next file of the chain; where it breaks.
pub(super) fn follow(
    report: &mut Report,
    first: u64,
    path: &Path,
    mut each: impl FnMut(&line::Line),
) -> Result<Option<Break>, Error> {
    let wrong = |line, what| Ok(Some(Break { path: path.to_owned(), line, what }));
    if first != report.last + 1 {
        return wrong(0, "it is not named by the number that comes next: a file before it is missing");
    }
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(Error::io(path))?);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let most = LINE_MAX as u64 + 1;
        reader.by_ref().take(most).read_until(b'\n', &mut text).map_err(Error::io(path))?;
        if text.is_empty() {
            break;
        }
        let line = match line::read(&text) {
            Ok(line) => line,
            Err(what) => {
                let torn = "it is not whole: cut by a crash, or cut off; the gateway takes it out when it starts";
                return wrong(number, if text.ends_with(b"\n") { what } else { torn });
            }
        };
        if line.before != report.hash {
            return wrong(number, "it does not follow from the line before");
        }
        if line.seq != report.last + 1 {
            return wrong(number, "its number is not the next");
        }
        report.lines += 1;
        (report.last, report.hash) = (line.seq, line.hash);
        each(&line);
    }
    Ok(None)
}

fn check_head(folder: &Path, head: &writer::Mark, at_head: Option<Hash>, report: &Report) -> Option<Break> {
    let wrong = |what| Some(Break { path: writer::head_of(folder), line: 0, what });
    match head {
        Err(what) => wrong(what),
        Ok(None) if report.last == 0 => None,
        Ok(None) => wrong("it is missing"),
        Ok(Some((_, hash))) if at_head == Some(*hash) => None,
        Ok(Some((0, hash))) if *hash == NONE => None,
        Ok(Some((seq, _))) if *seq > report.last => wrong("it names a line after the last: lines were cut off"),
        Ok(Some(_)) => wrong("it is not the hash of the line that it names"),
    }
}
