//! How long the journal keeps what every reader has passed. A partition goes as a whole, which takes no longer the more it holds.
use super::partition::{self, Name, Source};
use super::{Error, Journal, State};
use std::path::Path;
use std::time::Duration;

/// When a partition may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// All of its records are older.
    pub age: Duration,
    /// The partitions from it on take more bytes.
    pub bytes: u64,
}

impl Default for Retention {
    /// Thirty days, however much that is.
    fn default() -> Retention {
        Retention { age: Duration::from_secs(30 * 24 * 3600), bytes: u64::MAX }
    }
}

impl Journal {
    /// The first number that is to be kept at the time `now_ms` (milliseconds since 1970): all before it stand in partitions that may go.
    ///
    /// # Errors
    /// Partitions that cannot be listed. Those that cannot be read are judged by the ones after them.
    pub fn keep_from(&self, retention: &Retention, now_ms: i64) -> Result<u64, Error> {
        let names = partition::list(self.folder())?;
        let age_ms = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = now_ms.saturating_sub(age_ms);
        let mut bytes: u64 = names.iter().map(|name| size(&name.path)).sum();
        let mut from = names.first().map_or(1, |name| name.first);
        for (number, pair) in names.windows(2).enumerate() {
            // What comes first in the next partition is younger than all of this one; where that cannot be read, what comes after it.
            let aged = names[number + 1..].iter().find_map(begins).is_some_and(|received_ms| received_ms < oldest);
            if !aged && bytes <= retention.bytes {
                break;
            }
            bytes = bytes.saturating_sub(size(&pair[0].path));
            from = pair[1].first;
        }
        Ok(from)
    }
}

/// What retention came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Records removed.
    pub removed: u64,
    /// The first number that is to be kept by age and size.
    pub keep: u64,
    /// The first number that a reader or a dead letter still needs; what stands before `keep` and from here on stays.
    pub wanted: u64,
}

/// Removes what is past its retention and what none of the readers, and no dead letter, needs; nothing while `trial`.
///
/// # Errors
/// Files or databases that cannot be read, synced or removed.
pub fn retain(
    journal: &Journal,
    state: &State,
    readers: &[String],
    retention: &Retention,
    now_ms: i64,
    trial: bool,
) -> Result<Pruned, Error> {
    let keep = journal.keep_from(retention, now_ms)?;
    let wanted = state.wanted_from(readers)?.unwrap_or(keep);
    // The state is synced before anything goes that only it remembers to be delivered.
    let removed = if !trial && state.sync()? { journal.prune(keep.min(wanted))? } else { 0 };
    if removed > 0 {
        // A partition that holds more than what may go has stayed whole, and what is said of its messages with it.
        let oldest = partition::list(journal.folder())?.first().map_or(0, |name| name.first);
        state.forget_unsent(oldest)?;
    }
    Ok(Pruned { removed, keep, wanted })
}

/// When the first record of a partition was received, if that can be read.
fn begins(name: &Name) -> Option<i64> {
    let first = Source::open(name).ok()?.read(name.first, 1, 1).ok()?.rows.pop()?;
    first.1.map(|record| record.received_ms)
}

/// Bytes of a partition with its write-ahead log.
fn size(path: &Path) -> u64 {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    let length = |path: &Path| path.metadata().map_or(0, |data| data.len());
    length(path) + length(Path::new(&log))
}
