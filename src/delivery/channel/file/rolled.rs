//! Files of Bundles that are rolled: written under a name of their own and published, whole and for good, by a rename.
//!
//! ```text
//! out/bundles.ndjson                            as it is configured; never made itself
//! out/bundles-20260102T030405678Z.ndjson.part   being written: begun at that time
//! out/bundles-20260102T030405678Z.ndjson        published: nobody writes to it any more
//! out/bundles.ndjson.lock                       held by whoever writes or publishes
//! ```
//!
//! What is written is synced before it counts, so a file is published as it lies on the disk; the folder is synced after every new name. Where a process died, or the power
//! went, what follows the last whole Bundle was never counted as delivered: it is taken out before anything else is done with the file.
use super::{BUNDLE, append, folder_of};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a file is published; at least one of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// Before it would be larger than this; a Bundle that is larger alone has a file of its own.
    pub bytes_max: Option<u64>,
    /// So long after it was begun.
    pub age: Option<Duration>,
}

/// The files of one target.
#[derive(Debug)]
pub(super) struct Rolled {
    path: PathBuf,
    roll: Roll,
    now: fn() -> jiff::Timestamp,
    /// The file that is being written; known only once it has been looked for, as another process may have begun it.
    part: Option<Part>,
    looked: bool,
}

#[derive(Debug, Clone)]
struct Part {
    path: PathBuf,
    begun: jiff::Timestamp,
}

const PART: &str = ".part";
/// Read and written; all have the same length, so that names stand in the order of their times.
const STAMP: &str = "%Y%m%dT%H%M%S%3fZ";
/// Names that are tried for a file before the clock is believed to be wrong.
const NAMES_MAX: usize = 10_000;

impl Rolled {
    pub fn new(path: PathBuf, roll: Roll, now: fn() -> jiff::Timestamp) -> Rolled {
        Rolled { path, roll, now, part: None, looked: false }
    }

    /// Appends lines, given with where each ends; how many of them are there for good, and why not all.
    pub fn append(&mut self, lines: &[u8], ends: &[usize]) -> (usize, io::Result<()>) {
        let mut done = 0;
        let written = self.locked(|rolled| {
            while done < ends.len() {
                let from = done.checked_sub(1).map_or(0, |before| ends[before]);
                let part = rolled.part_for((ends[done] - from) as u64)?;
                let mut room = rolled.room(&part)?;
                // At least one: a file of its own has room for everything.
                let mut until = done;
                while until < ends.len() && (until == done || (ends[until] - from) as u64 <= room) {
                    until += 1;
                }
                let end = ends[until - 1];
                append(&part.path, &lines[from..end])?;
                done = until;
                room = room.saturating_sub((end - from) as u64);
                if room == 0 {
                    rolled.publish()?;
                }
            }
            Ok(())
        });
        (done, written)
    }

    /// Publishes the file that is being written, once it is old enough.
    pub fn publish_old(&mut self) -> io::Result<()> {
        // Where none is known somebody else may have begun one.
        if self.looked && self.part.is_some() && !self.is_old() {
            return Ok(());
        }
        self.locked(|rolled| if rolled.is_old() { rolled.publish() } else { Ok(()) })
    }

    /// Publishes the file that is being written, if there is one.
    pub fn publish_all(&mut self) -> io::Result<()> {
        self.locked(Rolled::publish)
    }

    /// With the lock of the files, and the part that there is.
    fn locked(&mut self, act: impl FnOnce(&mut Rolled) -> io::Result<()>) -> io::Result<()> {
        fs::create_dir_all(folder_of(&self.path))?;
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        // Dead letters may be sent again by another process meanwhile.
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(name)?;
        lock.lock()?;
        let done = self.look().and_then(|()| act(self));
        if done.is_err() {
            // What was written in part is taken out when it is looked for again.
            self.looked = false;
        }
        done
    }

    /// Finds the file that is being written, and takes out what is not whole.
    fn look(&mut self) -> io::Result<()> {
        let known = self.looked && self.part.as_ref().is_some_and(|part| ends_with_line(&part.path));
        if known {
            return Ok(());
        }
        (self.part, self.looked) = (None, false);
        let mut found = Vec::new();
        for entry in fs::read_dir(folder_of(&self.path))? {
            let path = entry?.path();
            found.extend(self.begun(&path).map(|begun| Part { path, begun }));
        }
        found.sort_by_key(|part| part.begun);
        for part in found {
            // There is more than one where two processes began one each.
            self.publish()?;
            let file = OpenOptions::new().read(true).write(true).open(&part.path)?;
            let whole = whole_bytes(&file)?;
            file.set_len(whole)?;
            file.sync_all()?;
            if whole == 0 {
                fs::remove_file(&part.path)?;
            } else {
                self.part = Some(part);
            }
        }
        self.looked = true;
        Ok(())
    }

    /// The file that is being written, if it has room; else the one before is published, and another begun.
    fn part_for(&mut self, bytes: u64) -> io::Result<Part> {
        if let Some(part) = self.part.clone() {
            if bytes <= self.room(&part)? && !self.is_old() {
                return Ok(part);
            }
            self.publish()?;
        }
        let mut begun = (self.now)().round(jiff::Unit::Millisecond).unwrap_or_default();
        for _ in 0..NAMES_MAX {
            let path = self.named(begun, PART);
            if !path.exists() && !self.named(begun, "").exists() {
                let part = Part { path, begun };
                self.part = Some(part.clone());
                return Ok(part);
            }
            begun += jiff::SignedDuration::from_millis(1);
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "files of this time are there already"))
    }

    fn room(&self, part: &Part) -> io::Result<u64> {
        let Some(bytes_max) = self.roll.bytes_max else { return Ok(u64::MAX) };
        match part.path.metadata() {
            Ok(data) => Ok(bytes_max.saturating_sub(data.len())),
            // Not made yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes_max),
            Err(error) => Err(error),
        }
    }

    fn is_old(&self) -> bool {
        let (Some(part), Some(age)) = (&self.part, self.roll.age) else { return false };
        // Where the clock was set back, better early than late.
        (self.now)().duration_since(part.begun).unsigned_abs() >= age
    }

    fn publish(&mut self) -> io::Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        fs::rename(&part.path, self.named(part.begun, ""))?;
        File::open(folder_of(&self.path))?.sync_all()
    }

    fn named(&self, begun: jiff::Timestamp, end: &str) -> PathBuf {
        let (stem, extension) = self.words();
        self.path.with_file_name(format!("{stem}-{}{extension}{end}", begun.strftime(STAMP)))
    }

    /// When a file was begun that is being written; none for others.
    fn begun(&self, path: &Path) -> Option<jiff::Timestamp> {
        let (stem, extension) = self.words();
        let name = path.file_name()?.to_str()?;
        let stamp = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(PART)?.strip_suffix(&extension)?;
        let stamp = stamp.strip_suffix('Z')?;
        let (seconds, millis) = stamp.split_at_checked(stamp.len().checked_sub(3)?)?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", seconds).ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        time.checked_add(jiff::SignedDuration::from_millis(millis.parse().ok()?)).ok()
    }

    fn words(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.path.extension().map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
        (text(self.path.file_stem()), extension)
    }
}

/// Whether a file is there and ends with a line.
fn ends_with_line(path: &Path) -> bool {
    use std::io::{Read as _, Seek as _};
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        let mut last = [0];
        file.seek(io::SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().is_ok_and(|last| last == b'\n')
}

/// How many bytes from the beginning are whole Bundles. What the power took while it was written may be nothing, zeros, or in the wrong place: no line of ours holds a zero.
fn whole_bytes(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        let is_whole = line.starts_with(BUNDLE) && line.ends_with(b"}\n") && memchr::memchr(0, &line).is_none();
        if count == 0 || !is_whole {
            return Ok(whole);
        }
        whole += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    const BYTES: Roll = Roll { bytes_max: Some(100), age: None };
    const AGE: Roll = Roll { bytes_max: None, age: Some(Duration::from_secs(60)) };

    fn fixed() -> jiff::Timestamp {
        "2026-01-02T03:04:05.678Z".parse().unwrap()
    }

    fn line(text: &str) -> Vec<u8> {
        [BUNDLE, b",\"id\":\"", text.as_bytes(), b"\"}\n"].concat()
    }

    fn write(rolled: &mut Rolled, texts: &[&str]) -> usize {
        let (mut lines, mut ends) = (Vec::new(), Vec::new());
        for text in texts {
            lines.extend(line(text));
            ends.push(lines.len());
        }
        let (done, written) = rolled.append(&lines, &ends);
        written.unwrap();
        done
    }

    /// Names and contents, without what all have in common.
    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end != "lock"))
            .map(|path| {
                let text = fs::read_to_string(&path).unwrap();
                let ids: Vec<_> = text.lines().map(|line| line.split('"').nth(7).unwrap()).collect();
                (path.file_name().unwrap().to_str().unwrap().replace("20260102T", ""), ids.join(" "))
            })
            .collect();
        found.sort();
        found
    }

    fn pairs(found: &[(&str, &str)]) -> Vec<(String, String)> {
        found.iter().map(|(name, ids)| ((*name).to_owned(), (*ids).to_owned())).collect()
    }

    #[test]
    fn files_are_published_before_they_are_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let mut rolled = Rolled::new(folder.path().join("new/out.ndjson"), BYTES, fixed);
        // 36 bytes each: two have room.
        assert_eq!(write(&mut rolled, &["a1"]), 1);
        let here = folder.path().join("new");
        assert_eq!(files(&here), pairs(&[("out-030405678Z.ndjson.part", "a1")]));
        assert_eq!(write(&mut rolled, &["a2", "a3", "a4", "a5"]), 4);
        let published = [("out-030405678Z.ndjson", "a1 a2"), ("out-030405679Z.ndjson", "a3 a4")];
        assert_eq!(files(&here), pairs(&[&published[..], &[("out-030405680Z.ndjson.part", "a5")]].concat()));
        // One that is too large alone, and is published at once.
        let long = "x".repeat(200);
        assert_eq!(write(&mut rolled, &[&long, "a6"]), 2);
        let found = files(&here);
        assert_eq!((found[3].1.as_str(), found[4].1.as_str()), (long.as_str(), "a6"), "{found:?}");
        assert_eq!(found.iter().filter(|(name, _)| name.ends_with(".part")).count(), 1);
    }

    #[test]
    fn what_is_not_whole_is_taken_out_before_anything_else() {
        for tail in [
            b"{\"resourceType\":\"Bundle\",\"id\":\"torn".to_vec(),
            b"{\"resou".to_vec(),
            vec![0; 50],
            [b"{\"resourceType\":\"Bundle\",\"id\":\"\0\0\"}\n".to_vec(), line("after")].concat(),
            [vec![0; 20], b"\n".to_vec()].concat(),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let part = folder.path().join("out-20260102T030405111Z.ndjson.part");
            fs::write(&part, [line("old"), tail].concat()).unwrap();
            let mut rolled = Rolled::new(folder.path().join("out.ndjson"), BYTES, fixed);
            write(&mut rolled, &["new"]);
            assert_eq!(files(folder.path()), pairs(&[("out-030405111Z.ndjson.part", "old new")]));
            // Torn by another process while this one knows the file.
            let known = fs::read(&part).unwrap();
            fs::write(&part, [known, b"{\"resourceType\":\"B".to_vec()].concat()).unwrap();
            rolled.publish_all().unwrap();
            assert_eq!(files(folder.path()), pairs(&[("out-030405111Z.ndjson", "old new")]));
        }
        // Nothing of it was whole: nothing to publish.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("out-20260102T030405111Z.ndjson.part"), "{\"res").unwrap();
        Rolled::new(folder.path().join("out.ndjson"), BYTES, fixed).publish_all().unwrap();
        assert_eq!(files(folder.path()), []);
    }

    #[test]
    fn files_are_published_when_they_are_old_whoever_began_them() {
        static NOW_MS: AtomicI64 = AtomicI64::new(1_767_323_045_678);
        let now = || jiff::Timestamp::from_millisecond(NOW_MS.load(Ordering::Relaxed)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rolled = || Rolled::new(folder.path().join("out.ndjson"), AGE, now);
        let mut first = rolled();
        write(&mut first, &["one"]);
        NOW_MS.fetch_add(59_999, Ordering::Relaxed);
        first.publish_old().unwrap();
        rolled().publish_old().unwrap();
        write(&mut first, &["two"]);
        assert_eq!(files(folder.path()), pairs(&[("out-030405678Z.ndjson.part", "one two")]));
        NOW_MS.fetch_add(1, Ordering::Relaxed);
        rolled().publish_old().unwrap();
        assert_eq!(files(folder.path()), pairs(&[("out-030405678Z.ndjson", "one two")]));
        write(&mut first, &["three"]);
        let expected = [("out-030405678Z.ndjson", "one two"), ("out-030505678Z.ndjson.part", "three")];
        assert_eq!(files(folder.path()), pairs(&expected), "the file that it knew was published by somebody else");
        // One that knows of none, and another begins one.
        first.publish_all().unwrap();
        write(&mut rolled(), &["four"]);
        // Its name is of a millisecond later, as there is one of now.
        NOW_MS.fetch_add(60_001, Ordering::Relaxed);
        first.publish_old().unwrap();
        write(&mut rolled(), &["five"]);
        first.publish_all().unwrap();
        let published = ["one two", "three", "four", "five"];
        let found = files(folder.path());
        assert!(found.iter().all(|(name, _)| name.ends_with(".ndjson")), "{found:?}");
        assert_eq!(found.iter().map(|(_, ids)| ids.as_str()).collect::<Vec<_>>(), published);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["out-1.ndjson.part", "out-20260102T030405111Z.ndjson", "other-20260102T030405111Z.ndjson.part"] {
            fs::write(folder.path().join(name), "theirs").unwrap();
        }
        let mut rolled = Rolled::new(folder.path().join("out.ndjson"), BYTES, fixed);
        write(&mut rolled, &["ours"]);
        rolled.publish_all().unwrap();
        for name in ["out-1.ndjson.part", "out-20260102T030405111Z.ndjson", "other-20260102T030405111Z.ndjson.part"] {
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), b"theirs");
        }
    }
}
