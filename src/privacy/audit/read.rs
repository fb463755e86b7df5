//! Reading the audit from its end: what happened last.
use super::{Error, writer};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// A line as it is shown. Whether the chain holds is for [`super::verify`] to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its number.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// The AuditEvent.
    pub event: Value,
}

/// Bytes that are read at once.
const WINDOW: u64 = 1 << 20;
/// Lines that are looked at for one page, wanted or not.
const LINES_MAX: usize = 50_000;

/// The last lines before a number that are `wanted`, the newest first, at most so many; and the number before which to go on looking, where there may be more.
///
/// # Errors
/// Files that cannot be read. Lines that are none are left out.
pub fn latest(
    folder: &Path,
    before: Option<u64>,
    most: usize,
    wanted: impl Fn(&Shown) -> bool,
) -> Result<(Vec<Shown>, Option<u64>), Error> {
    let before = before.unwrap_or(u64::MAX);
    let (mut found, mut looked) = (Vec::new(), 0);
    if !folder.is_dir() {
        return Ok((found, None));
    }
    for (_, path) in writer::files(folder)?.into_iter().rev().filter(|(first, _)| *first < before) {
        let mut next = None;
        backwards(&path, |line| {
            let Some(shown) = read(line).filter(|shown| shown.seq < before) else { return true };
            looked += 1;
            next = Some(shown.seq);
            if wanted(&shown) {
                found.push(shown);
            }
            found.len() < most && looked < LINES_MAX
        })
        .map_err(Error::io(&path))?;
        if found.len() >= most || looked >= LINES_MAX {
            return Ok((found, next.filter(|seq| *seq > 1)));
        }
    }
    Ok((found, None))
}

fn read(line: &[u8]) -> Option<Shown> {
    let mut line: Value = serde_json::from_slice(line).ok()?;
    Some(Shown { seq: line["seq"].as_u64()?, at_ms: line["at"].as_i64()?, event: line["event"].take() })
}

/// Shows the lines of a file, the last one first, until `each` has enough.
fn backwards(path: &Path, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // What stands before the first line end of a window is the end of a line of the window before.
    let mut rest: Vec<u8> = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(WINDOW);
        let mut window = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.by_ref().take(end - start).read_to_end(&mut window)?;
        window.append(&mut rest);
        end = start;
        let mut lines: Vec<&[u8]> = window.split(|byte| *byte == b'\n').collect();
        let head = if start > 0 { lines.first().map(|line| line.to_vec()) } else { None };
        if start > 0 {
            lines.remove(0);
        }
        for line in lines.into_iter().rev().filter(|line| !line.is_empty()) {
            if !each(line) {
                return Ok(());
            }
        }
        rest = head.unwrap_or_default();
    }
    Ok(())
}
