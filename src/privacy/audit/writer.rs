//! Appending to the chain: batch by batch, synced each.
use super::line::{self, Hash, LINE_MAX, NONE};
use super::{Error, Record, line::hexadecimal};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// When a new file is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a file; a batch may go beyond.
    pub file_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { file_bytes_max: 64 << 20 }
    }
}

const DAY_MS: i64 = 86_400_000;
const STEM: &str = "audit-";
const EXTENSION: &str = ".ndjson";

/// Writes the audit; holds its lock.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    options: Options,
    /// The file that is appended to.
    file: Option<Open>,
    head: File,
    seq: u64,
    hash: Hash,
    buffer: Vec<u8>,
    failed: bool,
    _lock: File,
}

/// An audit that is opened again after an error: what came of a batch then is looked at before anything is added to it.
#[derive(Debug)]
pub struct Lasting {
    folder: PathBuf,
    options: Options,
    writer: Option<Writer>,
}

impl Lasting {
    /// Opens the audit of a data directory as [`Writer::open`] does.
    ///
    /// # Errors
    /// Those of [`Writer::open`].
    pub fn open(folder: &Path, options: Options) -> Result<Lasting, Error> {
        let writer = Some(Writer::open(folder, options)?);
        Ok(Lasting { folder: folder.to_owned(), options, writer })
    }

    /// Appends as [`Writer::append`] does. After an error the same batch may be given again: entries of it may then stand twice, under one id.
    ///
    /// # Errors
    /// What went wrong; nothing may be delivered then.
    pub fn append(&mut self, batch: &[impl Record]) -> Result<(), Error> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(&self.folder, self.options)?,
        };
        writer.append(batch)?;
        self.writer = Some(writer);
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Of its first line, in days since 1970 (UTC).
    day: i64,
}

impl Writer {
    /// Opens the audit of a data directory, `DATA/audit`, makes it where there is none, and cuts a last line that a crash left torn.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Broken`] where more is missing than a crash can take, or an input/output error.
    pub fn open(folder: &Path, options: Options) -> Result<Writer, Error> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync(parent)?;
        }
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(Error::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(Error::Io { path: lock_path, source }),
        }
        let noted = read_mark(&head_of(folder))?.map_err(|what| Error::Broken { path: head_of(folder), what })?;
        let (file, seq, hash) = last(folder)?;
        let (least, expected) = noted.unwrap_or((0, NONE));
        if seq < least || (seq == least && hash != expected) {
            return Err(Error::Broken { path: head_of(folder), what: "lines that were synced are not there" });
        }
        let head_path = head_of(folder);
        let head = OpenOptions::new().create(true).truncate(false).write(true).open(&head_path);
        let head = head.map_err(Error::io(&head_path))?;
        let folder = folder.to_owned();
        let mut writer =
            Writer { folder, options, file, head, seq, hash, buffer: Vec::new(), failed: false, _lock: lock };
        writer.note().map_err(Error::io(&head_path))?;
        sync(&writer.folder)?;
        Ok(writer)
    }

    /// The number and the hash of the last line; 0 before the first.
    pub fn last(&self) -> (u64, Hash) {
        (self.seq, self.hash)
    }

    /// Appends entries and syncs them: when it returns they are there for good. Cut into files by size and by the day of an entry (UTC).
    ///
    /// # Errors
    /// What went wrong. Nothing may be delivered then; the writer must be opened again.
    pub fn append(&mut self, batch: &[impl Record]) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.failed = true;
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let day = first.at_ms().div_euclid(DAY_MS);
            let same = rest.iter().take_while(|entry| entry.at_ms().div_euclid(DAY_MS) == day).count().max(1);
            let (now, later) = rest.split_at_checked(same).unwrap_or((rest, &[]));
            self.part(now, day)?;
            rest = later;
        }
        self.note().map_err(Error::io(&head_of(&self.folder)))?;
        self.failed = false;
        Ok(())
    }

    /// Entries of one day.
    fn part(&mut self, entries: &[impl Record], day: i64) -> Result<(), Error> {
        let full = |open: &Open| open.day != day || open.bytes >= self.options.file_bytes_max;
        if self.file.as_ref().is_none_or(full) {
            self.file = Some(begin(&self.folder, self.seq + 1, day)?);
        }
        self.buffer.clear();
        let (mut seq, mut hash) = (self.seq, self.hash);
        for entry in entries {
            let start = self.buffer.len();
            seq += 1;
            hash = line::write(&mut self.buffer, seq, entry.at_ms(), &hash, |out| entry.write(out));
            if self.buffer.len() - start > LINE_MAX {
                return Err(Error::TooLong);
            }
        }
        let Some(open) = &mut self.file else { return Err(Error::Failed) };
        let written = open.file.write_all(&self.buffer).and_then(|()| open.file.sync_data());
        written.map_err(Error::io(&open.path))?;
        open.bytes += self.buffer.len() as u64;
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    /// Notes the last line that is there for good: always the same number of bytes in the same place, within one block.
    fn note(&mut self) -> io::Result<()> {
        let text = mark(self.seq, &self.hash);
        self.head.seek(SeekFrom::Start(0))?;
        self.head.write_all(&text)?;
        self.head.sync_data()
    }
}

fn begin(folder: &Path, first: u64, day: i64) -> Result<Open, Error> {
    let path = folder.join(format!("{STEM}{first:020}{EXTENSION}"));
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
    sync(folder)?;
    Ok(Open { path, file, bytes: 0, day })
}

/// The last file, cut after its last whole line, and that line.
fn last(folder: &Path) -> Result<(Option<Open>, u64, Hash), Error> {
    let files = files(folder)?;
    for (first, path) in files.into_iter().rev() {
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(Error::io(&path))?;
        let (bytes, line) = whole(&file).map_err(Error::io(&path))?;
        let length = file.metadata().map_err(Error::io(&path))?.len();
        if bytes < length {
            tracing::warn!(path = %path.display(), bytes = length - bytes, "a line of the audit was not whole and is cut: a crash");
            file.set_len(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&path))?;
        }
        let Some(text) = line else {
            // Begun, and nothing written.
            fs::remove_file(&path).map_err(Error::io(&path))?;
            continue;
        };
        let broken = |what| Error::Broken { path: path.clone(), what };
        let read = line::read(&text).map_err(broken)?;
        if read.seq < first {
            return Err(broken("its number is less than that of its file"));
        }
        let day = read.at_ms.div_euclid(DAY_MS);
        return Ok((Some(Open { path, file, bytes, day }), read.seq, read.hash));
    }
    Ok((None, 0, NONE))
}

/// How far a file holds whole lines, and the last of them.
fn whole(mut file: &File) -> io::Result<(u64, Option<Vec<u8>>)> {
    let length = file.metadata()?.len();
    let window = length.min(3 * LINE_MAX as u64);
    let start = length - window;
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(window).read_to_end(&mut text)?;
    let Some(end) = memchr::memrchr(b'\n', &text) else { return Ok((0, None)) };
    text.truncate(end + 1);
    let begin = memchr::memrchr(b'\n', text.get(..end).unwrap_or_default()).map_or(0, |at| at + 1);
    let whole = start + text.len() as u64;
    Ok((whole, Some(text.split_off(begin))))
}

/// The files of a folder with the numbers of their first lines, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let digits = name.strip_prefix(STEM).and_then(|rest| rest.strip_suffix(EXTENSION));
        if let Some(first) = digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn head_of(folder: &Path) -> PathBuf {
    folder.join("head")
}

/// A line by its number and its hash, as it is noted.
pub(super) fn mark(seq: u64, hash: &Hash) -> Vec<u8> {
    let mut text = format!("{seq:020} ").into_bytes();
    hexadecimal(&mut text, hash);
    text.push(b'\n');
    text
}

/// What was noted last; none where nothing was yet, or what is wrong with it.
pub(super) type Mark = Result<Option<(u64, Hash)>, &'static str>;

/// Reads it.
pub(super) fn read_mark(path: &Path) -> Result<Mark, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(source) => return Err(Error::io(path)(source)),
    };
    if text.is_empty() {
        return Ok(Ok(None));
    }
    let parsed = || {
        let (digits, rest) = text.split_at_checked(20)?;
        let hash = line::parse(rest.strip_prefix(b" ")?.strip_suffix(b"\n")?)?;
        let digits =
            std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
        Some((digits.parse().ok()?, hash))
    };
    Ok(parsed().map(Some).ok_or("it is not what is written there"))
}

/// Syncs the names in a folder.
pub(super) fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io(folder))
}
