//! The index at start: files that are sound are used, what they do not cover is read from the journal.
use super::segment::Segment;
use super::table::Table;
use super::{Fingerprint, Known, Options, millis, remove};
use crate::journal::{self, Item, Journal, Limits, Reader, Retention};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

/// Why the index could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// Makes the index of what stands in the journal now.
pub(super) fn read(folder: &Path, journal: &Journal, options: &Options, now_ms: i64) -> Result<Known, OpenError> {
    let failed = |source| OpenError::File { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let head = *journal.head().borrow();
    let mut segments = VecDeque::new();
    let mut reader = journal.reader();
    let oldest_ms = now_ms.saturating_sub(millis(options.window));
    let from = journal.keep_from(&Retention { age: options.window, bytes: u64::MAX }, now_ms)?;
    let from = from.max((head + 1).saturating_sub(options.records_max)).max(1);
    let from = window_start(&mut reader, from..head + 1, oldest_ms)?;
    let mut next = from;
    let mut build = |gap: Range<u64>, segments: &mut VecDeque<Arc<Segment>>| -> Result<Table, OpenError> {
        let mut builder = Builder { folder, options, table: Table::new(gap.start), segments };
        builder.cover(&mut reader, gap)?;
        Ok(builder.table)
    };
    for segment in load(folder).map_err(failed)? {
        let useful = segment.last >= from && segment.newest_ms >= oldest_ms;
        let overlaps = !segments.is_empty() && segment.first < next;
        // What says more than the journal holds belongs to another one.
        if !useful || overlaps || segment.last > head {
            remove(&segment.path);
            continue;
        }
        if segment.first > next {
            let table = build(next..segment.first, &mut segments)?;
            keep(folder, &table, &mut segments).map_err(failed)?;
        }
        next = segment.last + 1;
        segments.push_back(Arc::new(segment));
    }
    let growing = build(next..head + 1, &mut segments)?;
    Ok(Known::new(growing, segments))
}

/// The first number that was received within the window: searched for, since what is older need not be read.
fn window_start(reader: &mut Reader, numbers: Range<u64>, oldest_ms: i64) -> Result<u64, OpenError> {
    let (mut low, mut high) = (numbers.start, numbers.end);
    while low < high {
        let middle = low.midpoint(high);
        let items = reader.read(middle, Limits { records_max: 1, ..Limits::default() })?;
        // One that cannot be read may be young.
        let old = matches!(items.first(), Some(Item::Record(_, record)) if record.received_ms < oldest_ms);
        if old { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The sound files in order; what is not sound, or half written, is removed.
fn load(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") => match Segment::open(&path)? {
                Some(segment) => found.push(segment),
                None => {
                    tracing::warn!(file = %path.display(), "an index of duplicates is damaged: it is made anew from the journal");
                    remove(&path);
                }
            },
            Some("new") => remove(&path),
            _ => {}
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

fn keep(folder: &Path, table: &Table, segments: &mut VecDeque<Arc<Segment>>) -> io::Result<()> {
    if table.len() > 0 {
        segments.push_back(Arc::new(Segment::write(folder, table)?));
    }
    Ok(())
}

/// Fills tables from the journal.
struct Builder<'a> {
    folder: &'a Path,
    options: &'a Options,
    table: Table,
    segments: &'a mut VecDeque<Arc<Segment>>,
}

impl Builder<'_> {
    /// Covers numbers from the first on; the table that is not full stays.
    fn cover(&mut self, reader: &mut Reader, gap: Range<u64>) -> Result<(), OpenError> {
        let mut next = gap.start;
        if gap.end - gap.start > self.options.table_records_max as u64 {
            tracing::info!(records = gap.end - gap.start, "the index of duplicates is made from the journal");
        }
        while next < gap.end {
            let items = reader.read(next, Limits { records_max: 1024, ..Limits::default() })?;
            let Some(last) = items.last() else { break };
            next = last.next();
            for item in items {
                // A damaged record cannot be compared, so it is nobody's twin.
                let Item::Record(seq, record) = item else { continue };
                if seq >= gap.end {
                    break;
                }
                let Some(print) = Fingerprint::of_record(&record) else { continue };
                self.table.insert(&print, seq, record.received_ms, record.raw.len());
                if self.table.len() >= self.options.table_records_max
                    || self.table.bytes >= self.options.table_bytes_max
                {
                    let full = std::mem::replace(&mut self.table, Table::new(seq + 1));
                    let failed = |source| OpenError::File { path: self.folder.to_owned(), source };
                    keep(self.folder, &full, self.segments).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}
