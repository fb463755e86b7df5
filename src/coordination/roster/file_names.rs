//! Where a file lies that a panel's source gets from the FHIR interface.
use super::files;
use super::options::Source;
use super::rows::RosterError;
use std::path::PathBuf;

/// Digits of the time behind the name of the file before it.
const DIGITS: usize = 16;
/// Behind them.
const END: &str = ".json";

/// A source that is a file has it replaced. A folder gets one more, which is read last: `NAME.0001795403700123.json`, with the name of the file before it, and its own time (milliseconds since
/// 1970) behind that.
///
/// # Errors
/// A folder that cannot be listed, or holds too much.
pub(super) fn next(source: &Source, panel: &str, now_ms: i64) -> Result<PathBuf, RosterError> {
    if !source.path.is_dir() {
        return Ok(source.path.clone());
    }
    let last = match files::files(source) {
        Ok(files) => files.last().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        Err(RosterError::Empty(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(source.path.join(after(last.as_deref().unwrap_or(panel), now_ms)))
}

fn after(last: &str, now_ms: i64) -> String {
    let (name, before_ms) = timed(last).unwrap_or((last, -1));
    // Behind it whatever the clock does.
    let at_ms = now_ms.max(before_ms + 1).max(0);
    format!("{name}.{at_ms:0DIGITS$}{END}")
}

fn timed(name: &str) -> Option<(&str, i64)> {
    let (front, digits) = name.strip_suffix(END)?.rsplit_once('.')?;
    let good = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    good.then(|| digits.parse().ok()).flatten().map(|at_ms| (front, at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_behind_the_one_before() {
        let first = after("lakeshore.json", 1_795_403_700_123);
        assert_eq!(first, "lakeshore.json.0001795403700123.json");
        assert!(first.as_str() > "lakeshore.json");
        let next = after(&first, 1_795_403_700_124);
        assert_eq!(next, "lakeshore.json.0001795403700124.json");
        assert_eq!(after(&next, 5), "lakeshore.json.0001795403700125.json", "the clock was set back");
        assert_eq!(after("a.12.json", 7), "a.12.json.0000000000000007.json");
    }
}
