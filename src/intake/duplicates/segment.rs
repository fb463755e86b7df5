//! Older messages in a sorted file, and in memory only a filter that says which keys cannot stand in it.
//!
//! ```text
//! 00  "HODUPS1\n"
//! 08  first number, last number, newest time (ms since 1970), count     4 × 8 bytes
//! 40  count × (key, key and content, number from the first on)          8 + 8 + 4 bytes, ascending
//! ..  CRC-32 of all before                                              4 bytes, all little endian
//! ```
//!
//! What a file says is only a hint: the journal is asked before anything follows from it. A file that is damaged is made anew from the journal.
use super::Fingerprint;
use super::table::{Entry, Table};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HODUPS1\n";
const HEADER_BYTES: usize = 40;
const ENTRY_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;

/// A file of entries.
#[derive(Debug)]
pub(super) struct Segment {
    pub first: u64,
    pub last: u64,
    pub newest_ms: i64,
    pub path: PathBuf,
    count: u64,
    filter: Filter,
}

/// What stands in a file about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// A message that seems to have the same key and content.
    pub twin: Option<u64>,
    /// One that seems to have the same key, if there is no twin.
    pub same_key: Option<u64>,
}

impl Segment {
    /// Writes a table, for good.
    pub fn write(folder: &Path, table: &Table) -> io::Result<Segment> {
        let entries = table.sorted();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES + CHECKSUM_BYTES);
        bytes.extend_from_slice(MAGIC);
        for number in [table.first, table.last, table.newest_ms.cast_unsigned(), entries.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut filter = Filter::new(entries.len());
        for entry in &entries {
            filter.insert(entry.key);
            bytes.extend_from_slice(&entry.key.to_le_bytes());
            bytes.extend_from_slice(&entry.twin.to_le_bytes());
            bytes.extend_from_slice(&entry.offset.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let path = folder.join(format!("{:020}.index", table.first));
        let half_written = path.with_extension("new");
        let mut file = File::create(&half_written)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&half_written, &path)?;
        File::open(folder)?.sync_all()?;
        let (first, last, newest_ms, count) = (table.first, table.last, table.newest_ms, entries.len() as u64);
        Ok(Segment { first, last, newest_ms, path, count, filter })
    }

    /// Reads a file; `None` when it is none of ours or damaged.
    pub fn open(path: &Path) -> io::Result<Option<Segment>> {
        let bytes = fs::read(path)?;
        let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else { return Ok(None) };
        let whole = crc32fast::hash(content) == u32::from_le_bytes(*checksum);
        let (Some(header), Some(entries)) = (content.get(..HEADER_BYTES), content.get(HEADER_BYTES..)) else {
            return Ok(None);
        };
        if !whole || !header.starts_with(MAGIC) {
            return Ok(None);
        }
        let number = |at: usize| u64::from_le_bytes(array(&header[at..]));
        let (first, last, newest_ms, count) = (number(8), number(16), number(24).cast_signed(), number(32));
        if entries.len() as u64 != count * ENTRY_BYTES as u64 || last < first {
            return Ok(None);
        }
        let mut filter = Filter::new(entries.len() / ENTRY_BYTES);
        entries.chunks_exact(ENTRY_BYTES).for_each(|entry| filter.insert(u64::from_le_bytes(array(entry))));
        Ok(Some(Segment { first, last, newest_ms, path: path.to_owned(), count, filter }))
    }

    /// Whether a key may stand in it; no I/O.
    pub fn may_hold(&self, print: &Fingerprint) -> bool {
        self.filter.may_hold(print.key())
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Searches the file. Blocks.
    pub fn search(&self, print: &Fingerprint) -> io::Result<Found> {
        let file = File::open(&self.path)?;
        let wanted = (print.key(), print.twin());
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.entry(&file, middle)?;
            if (entry.key, entry.twin) < wanted { low = middle + 1 } else { high = middle }
        }
        // Those of the same key stand beside the place where this content is or would be.
        let mut found = Found::default();
        for at in [Some(low), low.checked_sub(1)].into_iter().flatten().filter(|at| *at < self.count) {
            let entry = self.entry(&file, at)?;
            let seq = self.first + u64::from(entry.offset);
            if (entry.key, entry.twin) == wanted {
                return Ok(Found { twin: Some(seq), same_key: None });
            }
            if entry.key == wanted.0 {
                found.same_key = Some(seq);
            }
        }
        Ok(found)
    }

    fn entry(&self, file: &File, at: u64) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        file.read_exact_at(&mut bytes, HEADER_BYTES as u64 + at * ENTRY_BYTES as u64)?;
        Ok(Entry {
            key: u64::from_le_bytes(array(&bytes)),
            twin: u64::from_le_bytes(array(&bytes[8..])),
            offset: u32::from_le_bytes(array(&bytes[16..])),
        })
    }
}

/// The first bytes; zeros where there are not so many.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// A Bloom filter in blocks of one cache line: two bytes a key, about one in a thousand other keys passes.
#[derive(Debug)]
struct Filter {
    blocks: Vec<[u64; 8]>,
}

const KEYS_PER_BLOCK: usize = 32;
const PROBES: u32 = 6;

impl Filter {
    fn new(keys: usize) -> Filter {
        Filter { blocks: vec![[0; 8]; keys.div_ceil(KEYS_PER_BLOCK).max(1)] }
    }

    fn insert(&mut self, key: u64) {
        let at = self.block(key);
        for (word, bit) in bits(key) {
            self.blocks[at][word] |= bit;
        }
    }

    fn may_hold(&self, key: u64) -> bool {
        let block = &self.blocks[self.block(key)];
        bits(key).all(|(word, bit)| block[word] & bit != 0)
    }

    /// The upper half of a key, spread over the blocks: always below their number.
    fn block(&self, key: u64) -> usize {
        (((key >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

/// Bits within a block: nine bits of the stirred key for each.
fn bits(key: u64) -> impl Iterator<Item = (usize, u64)> {
    let stirred = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..PROBES).map(move |probe| {
        let nine = stirred >> (10 + 9 * probe) & 511;
        ((nine >> 6) as usize, 1 << (nine & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn print(key: u32, content: u32) -> Fingerprint {
        let hash = |text: String| Sha256::digest(text).into();
        Fingerprint { key: hash(format!("k{key}")), content: hash(format!("k{key}c{content}")) }
    }

    #[test]
    fn what_was_written_is_found_and_little_else_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::new(1000);
        (0..5000).for_each(|number| table.insert(&print(number, 1), 1000 + u64::from(number), 7, 10));
        table.insert(&print(3, 2), 7000, 8, 10);
        table.insert(&print(4, 1), 7001, 9, 10);
        let written = Segment::write(folder.path(), &table).unwrap();
        let read = Segment::open(&written.path).unwrap().unwrap();
        assert_eq!((read.first, read.last, read.newest_ms, read.count()), (1000, 7001, 9, 5001));
        for segment in [&written, &read] {
            assert!((0..5000).all(|number| segment.may_hold(&print(number, 1))));
            assert_eq!(segment.search(&print(77, 1)).unwrap(), Found { twin: Some(1077), same_key: None });
            assert_eq!(segment.search(&print(77, 9)).unwrap(), Found { twin: None, same_key: Some(1077) });
            assert_eq!(segment.search(&print(3, 2)).unwrap().twin, Some(7000));
            assert_eq!(segment.search(&print(3, 1)).unwrap().twin, Some(1003));
            assert_eq!(segment.search(&print(4, 1)).unwrap().twin, Some(7001), "the newest");
            assert_eq!(segment.search(&print(5001, 1)).unwrap(), Found::default());
            let passed = (10_000..30_000).filter(|number| segment.may_hold(&print(*number, 1))).count();
            assert!(passed < 200, "{passed} of 20,000 keys that are not there");
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::new(1);
        (0..20).for_each(|number| table.insert(&print(number, 1), u64::from(number) + 1, 7, 10));
        let path = Segment::write(folder.path(), &table).unwrap().path;
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(Segment::open(&path).unwrap().is_none(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(Segment::open(&path).unwrap().is_none(), "cut at {at}");
        }
    }
}
