//! A watched directory: files of messages that a sender puts there.
//!
//! ```text
//! inbox/a.hl7              a file comes; once it has not changed for `age` it is taken
//! inbox/.working/a.hl7     it is being read: its messages go to the journal in order
//! inbox/done/a.hl7         all of them are there (or the file is removed: after = "delete")
//! inbox/done/a.hl7.ack     what a sender over MLLP would have been answered
//! inbox/failed/a.hl7       no message could be found in it, or bytes that belong to none
//! inbox/failed/a.hl7.error.txt     why, and where
//! ```
//!
//! It is looked at each second, since network shares tell nobody of a change; whether a file has changed is seen from its length and time, not from our clock. When the
//! journal takes nothing the file stays in `.working` and is taken again later. One process at a time looks (`.lock`), and one thread of it. So it is after a crash: messages that were stored by then are known by their control ids and not
//! stored twice, those without one may be.
use super::entrance::Entrance;
use crate::hl7::{BatchNote, is_batch, split};
use crate::intake::{Answer, Peer};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory; it is made where it is missing.
    pub path: PathBuf,
    /// How long a file must not have changed.
    pub age: Duration,
    /// Which files: `*` stands for any characters, `?` for one.
    pub pattern: String,
    /// What becomes of a file that has been taken.
    pub after: After,
}

/// What becomes of a file that has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum After {
    /// It goes to `done/`.
    #[default]
    Move,
    /// It is removed; its acknowledgements stay in `done/`.
    Delete,
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the stop is looked for in between.
const STOP_EVERY: Duration = Duration::from_millis(100);
/// Files that are seen at the same time; others are seen when these are gone.
const FILES_MAX: usize = 10_000;
/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Messages that are on their way to the journal at the same time.
const MESSAGES_MAX: usize = 64;

const WORKING: &str = ".working";
const DONE: &str = "done";
const FAILED: &str = "failed";

/// Watches until `shutdown` turns true. Blocks: call it on a thread of its own, of a tokio runtime.
pub(super) fn run(options: Options, entrance: Entrance, shutdown: watch::Receiver<bool>) {
    let mut watcher = Watcher {
        options,
        entrance,
        shutdown,
        seen: HashMap::new(),
        lock: None,
        taken: HashMap::new(),
        complaint: None,
    };
    let mut looked: Option<Instant> = None;
    while !watcher.is_stopping() {
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            let outcome = watcher.look();
            watcher.complain(outcome.err().map(|error| error.to_string()));
            looked = Some(Instant::now());
        }
        std::thread::sleep(STOP_EVERY);
    }
}

struct Watcher {
    options: Options,
    entrance: Entrance,
    shutdown: watch::Receiver<bool>,
    /// Files that may still change: what they looked like, and since when.
    seen: HashMap<OsString, (u64, Option<SystemTime>, Instant)>,
    /// Held while this one looks.
    lock: Option<File>,
    /// Files whose messages are stored and that could not be put away yet.
    taken: HashMap<OsString, Vec<u8>>,
    /// What was said last of a directory that cannot be used, so that it is said once.
    complaint: Option<String>,
}

/// How the reading of a file ended.
enum End {
    /// All of its messages are in the journal; their acknowledgements.
    Taken(Vec<u8>),
    /// It goes to `failed/`, for this reason.
    Failed(String),
    /// The journal takes nothing, or the gateway stops: again later.
    Later,
}

impl Watcher {
    fn is_stopping(&self) -> bool {
        *self.shutdown.borrow()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.options.path.join(name)
    }

    /// Takes what was left by a crash, then the files that have come to rest.
    fn look(&mut self) -> io::Result<()> {
        for name in [WORKING, DONE, FAILED] {
            fs::create_dir_all(self.folder(name))?;
        }
        if !self.is_ours()? {
            return Ok(()); // One that stops, or another gateway, is still at it.
        }
        let mut outcome = Ok(());
        for name in files(&self.folder(WORKING))?.into_iter().map(|(name, _)| name) {
            if !self.is_stopping() {
                // One that cannot be put away does not hold up the others.
                outcome = self.take(&name).and(outcome);
            }
        }
        for name in self.at_rest()? {
            if self.is_stopping() {
                break;
            }
            if self.folder(WORKING).join(&name).exists() {
                continue; // The one of that name before it comes first.
            }
            // Whoever else watches has it when it is gone.
            match fs::rename(self.options.path.join(&name), self.folder(WORKING).join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                renamed => renamed?,
            }
            self.seen.remove(&name);
            outcome = self.take(&name).and(outcome);
        }
        outcome
    }

    fn is_ours(&mut self) -> io::Result<bool> {
        if self.lock.is_none() {
            let lock = File::create(self.folder(".lock"))?;
            match lock.try_lock() {
                Ok(()) => self.lock = Some(lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(self.lock.is_some())
    }

    /// The files that have not changed for long enough, the oldest first.
    fn at_rest(&mut self) -> io::Result<Vec<OsString>> {
        let mut found = files(&self.options.path)?;
        found.retain(|(name, _)| name.to_str().is_some_and(|name| matches(&self.options.pattern, name)));
        found.sort_by_cached_key(|(name, data)| (data.modified().ok(), name.clone()));
        found.truncate(FILES_MAX);
        self.seen.retain(|name, _| found.iter().any(|(other, _)| other == name));
        let now = Instant::now();
        let mut rested = Vec::new();
        for (name, data) in found {
            let looks = (data.len(), data.modified().ok());
            let (len, modified, since) = self.seen.entry(name.clone()).or_insert((looks.0, looks.1, now));
            if (*len, *modified) != looks {
                (*len, *modified, *since) = (looks.0, looks.1, now);
            }
            if now.duration_since(*since) >= self.options.age {
                rested.push(name);
            }
        }
        Ok(rested)
    }

    /// Takes a file in `.working/` and puts it where it then belongs.
    fn take(&mut self, name: &OsString) -> io::Result<()> {
        let working = self.folder(WORKING).join(name);
        let bytes = working.metadata()?.len();
        let end = if let Some(acknowledgements) = self.taken.remove(name) {
            End::Taken(acknowledgements)
        } else if bytes > FILE_BYTES_MAX {
            End::Failed(format!("the file has {bytes} bytes, more than {FILE_BYTES_MAX}: split it"))
        } else {
            // One that cannot be read must not hold up the others.
            fs::read(&working)
                .map_or_else(|error| End::Failed(format!("cannot be read: {error}")), |raw| self.read(&raw))
        };
        match end {
            // It stays where it is: its place in the inbox may be another's by now.
            End::Later => Ok(()),
            End::Taken(acknowledgements) => {
                let done = free_place(&self.folder(DONE), name);
                let put_away =
                    write(&beside(&done, ".ack"), &acknowledgements).and_then(|()| match self.options.after {
                        After::Move => fs::rename(&working, &done),
                        After::Delete => fs::remove_file(&working),
                    });
                if put_away.is_err() {
                    self.taken.insert(name.clone(), acknowledgements);
                }
                put_away
            }
            End::Failed(reason) => {
                let failed = free_place(&self.folder(FAILED), name);
                tracing::error!(file = %failed.display(), "a file was not taken as it is: {reason}");
                write(&beside(&failed, ".error.txt"), format!("{reason}\n").as_bytes())?;
                fs::rename(&working, &failed)
            }
        }
    }

    /// Hands the messages of a file to the intake, in order.
    fn read(&self, raw: &[u8]) -> End {
        let mut split = split(raw);
        let messages: Vec<_> = split.by_ref().collect();
        let readable = messages
            .iter()
            .any(|message| raw[message.clone()].get(..3).is_some_and(|id| id.eq_ignore_ascii_case(b"MSH")));
        if !readable && !is_batch(raw) {
            return End::Failed("byte 0: no message: no line begins with MSH".into());
        }
        let stray: Vec<String> = split.notes().iter().filter(|note| is_stray(note)).map(ToString::to_string).collect();
        split.notes().iter().filter(|note| !is_stray(note)).for_each(|note| tracing::warn!("in a file: {note}"));
        let runtime = Handle::current();
        let peer = Peer::at(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut acknowledgements = Vec::new();
        for some in messages.chunks(MESSAGES_MAX) {
            if self.is_stopping() {
                return End::Later;
            }
            let answers: Vec<Answer> = runtime.block_on(async {
                let mut waiting = Vec::with_capacity(some.len());
                for message in some {
                    waiting.push(self.entrance.accept(raw[message.clone()].to_vec(), &peer).await);
                }
                let mut answers = Vec::with_capacity(some.len());
                for answer in waiting {
                    answers.push(answer.await.settled().await);
                }
                answers
            });
            for answer in answers {
                match answer {
                    Answer::Acknowledge(ack) => acknowledgements.push(ack),
                    Answer::Silence | Answer::Later(_) => {}
                    Answer::NotStored { error, .. } => {
                        tracing::error!("a file waits, it is taken again later: {error}");
                        return End::Later;
                    }
                }
            }
        }
        if stray.is_empty() {
            return End::Taken(self.entrance.answer_file(raw, &acknowledgements));
        }
        End::Failed(format!(
            "{} messages were taken, but not all of the file is messages:\n{}",
            messages.len(),
            stray.join("\n")
        ))
    }

    fn complain(&mut self, complaint: Option<String>) {
        if complaint != self.complaint
            && let Some(complaint) = &complaint
        {
            tracing::error!(directory = %self.options.path.display(), "cannot be watched, tried again each second: {complaint}");
        }
        self.complaint = complaint;
    }
}

fn is_stray(note: &BatchNote) -> bool {
    matches!(note, BatchNote::Stray { .. })
}

/// The files of a directory that are not hidden.
fn files(folder: &Path) -> io::Result<Vec<(OsString, Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that went away meanwhile is somebody else's.
        let Ok(data) = entry.metadata() else { continue };
        if data.is_file() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push((entry.file_name(), data));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// A path in a folder under this name, or one like it where it is taken.
fn free_place(folder: &Path, name: &OsString) -> PathBuf {
    let taken = |path: &Path| path.exists() || beside(path, ".ack").exists() || beside(path, ".error.txt").exists();
    let first = folder.join(name);
    let others = (1_u64..).map(|number| beside(&first, &format!("~{number}")));
    std::iter::once(first.clone()).chain(others).find(|path| !taken(path)).unwrap_or(first)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes a file that is there as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Whether a name fits a pattern of characters, `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last star stands, and up to where it reaches so far.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[of] => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((position, reached)) => {
                    star = Some((position, reached + 1));
                    (at, of) = (position + 1, reached + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let fits = |pattern: &str| ["a.hl7", "ab.hl7", "a.txt", "hl7"].map(|name| matches(pattern, name));
        assert_eq!(fits("*"), [true; 4]);
        assert_eq!(fits("*.hl7"), [true, true, false, false]);
        assert_eq!(fits("?.*"), [true, false, true, false]);
        assert_eq!(fits("a*7"), [true, true, false, false]);
        assert_eq!(fits("*h*l*7*"), [true, true, false, true]);
        assert_eq!(fits(""), [false; 4]);
    }

    #[test]
    fn no_file_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let name = OsString::from("a.hl7");
        let path = |name: &str| folder.path().join(name);
        assert_eq!(free_place(folder.path(), &name), path("a.hl7"));
        write(&path("a.hl7.ack"), b"").unwrap();
        assert_eq!(free_place(folder.path(), &name), path("a.hl7~1"));
        write(&path("a.hl7~1"), b"").unwrap();
        assert_eq!(free_place(folder.path(), &name), path("a.hl7~2"));
    }
}
