//! A look for a page of messages that ends in time, however rare what is looked for is.
//!
//! A control id and a patient have an index of their own. For what has few values (listener, sender, type, outcome) the table `seen` knows in which blocks of [`BLOCK`]
//! numbers each of them occurs: a thousandth of what an index would take, and it narrows every combination of them. What is left is looked through from the newest on, a
//! stretch at a time, until the page is full or the time is up; then it is said how far that went, and the next look goes on there.
use super::entry::text;
use super::index::Index;
use super::{Entry, Error, Filter, Order};
use rusqlite::params_from_iter;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Numbers of one block.
const BLOCK: u64 = 1024;
/// Numbers that one statement passes over.
const STRETCH: u64 = 16 * BLOCK;

/// What is looked for, and how long.
#[derive(Debug, Clone)]
pub struct Look {
    /// Everything of it must hold.
    pub filter: Filter,
    /// Only within these numbers, the newest first, apart from each other; `None`: anywhere.
    pub within: Option<Vec<RangeInclusive<u64>>>,
    /// Entries of a page.
    pub wanted: usize,
    /// Entries that are judged at once.
    pub batch: usize,
    /// After this time it stops where it is.
    pub time: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// What is left: this number and those before it. `None` when all was looked through.
    pub next: Option<u64>,
    /// Whether the page is full; else, with something left, the time was up.
    pub full: bool,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Control ids and patients are nobody's business here.
        f.debug_struct("Filter").field("first", &self.first).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Index {
    /// Looks for a page. `keep` judges what the index cannot, such as a text in the message, and may leave entries out.
    ///
    /// # Errors
    /// A database that cannot be read, or what `keep` returns.
    pub fn look<E: From<Error>>(
        &self,
        look: &Look,
        mut keep: impl FnMut(Vec<Entry>) -> Result<Vec<Entry>, E>,
    ) -> Result<Looked, E> {
        let started = Instant::now();
        let filter = self.narrowed(&look.filter)?;
        let (mut found, mut began) = (Looked::default(), false);
        // What has an index of its own is found in one go.
        let direct = filter.control_id.is_some() || filter.patient.is_some() || filter.only.is_some();
        for stretch in self.stretches(&filter, look.within.as_deref(), direct)? {
            let mut high = *stretch.end();
            loop {
                if began && started.elapsed() >= look.time {
                    found.next = Some(high);
                    return Ok(found);
                }
                began = true;
                let low = if direct { 0 } else { high.saturating_sub(STRETCH - 1) }.max(*stretch.start());
                let part = Filter { first: Some(low), last: Some(high), ..filter.clone() };
                let page = self.page(&part, Order::NewestFirst, look.batch.max(1))?;
                let last = page.last().map(|entry| entry.seq).filter(|_| page.len() >= look.batch.max(1));
                found.entries.extend(keep(page)?);
                if found.entries.len() > look.wanted {
                    found.entries.truncate(look.wanted);
                    found.next = found.entries.last().map(|entry| entry.seq.saturating_sub(1));
                    found.full = true;
                    return Ok(found);
                }
                let below = last.unwrap_or(low);
                if below <= *stretch.start() {
                    break;
                }
                high = below - 1;
            }
        }
        Ok(found)
    }

    /// The stretches that can hold any of it, the newest first.
    fn stretches(
        &self,
        filter: &Filter,
        within: Option<&[RangeInclusive<u64>]>,
        direct: bool,
    ) -> Result<Vec<RangeInclusive<u64>>, Error> {
        let last = filter.last.unwrap_or(u64::MAX).min(self.next()?.saturating_sub(1));
        let (first, last) = (filter.first.unwrap_or(0).max(self.oldest()?), last);
        if first > last {
            return Ok(Vec::new());
        }
        let mut stretches = vec![first..=last];
        if let Some(within) = within {
            stretches = common(&stretches, within);
        }
        match if direct { None } else { self.blocks(filter, first / BLOCK, last / BLOCK)? } {
            Some(blocks) => Ok(common(&stretches, &joined(&blocks))),
            None => Ok(stretches),
        }
    }

    fn oldest(&self) -> Result<u64, Error> {
        let oldest = self.connection.query_row("SELECT min(seq) FROM message", [], |row| row.get::<_, Option<i64>>(0));
        Ok(oldest.map_err(Error::database(&self.path))?.unwrap_or(0).unsigned_abs())
    }

    /// The blocks in which everything that is looked for occurs, the newest first; `None` when nothing of that kind is looked for.
    fn blocks(&self, filter: &Filter, first: u64, last: u64) -> Result<Option<Vec<u64>>, Error> {
        let Some((sql, values)) = narrow(filter) else { return Ok(None) };
        let read = || {
            let mut select = self.connection.prepare_cached(&sql)?;
            let values = [first.to_string(), last.to_string()].into_iter().chain(values);
            let rows = select.query_map(params_from_iter(values), |row| row.get::<_, i64>(0))?;
            rows.map(|block| block.map(i64::unsigned_abs)).collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map(Some).map_err(Error::database(&self.path))
    }

    /// How the database finds the blocks.
    #[cfg(test)]
    pub(super) fn explain_blocks(&self, filter: &Filter) -> String {
        let (sql, values) = narrow(filter).unwrap();
        let mut explain = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let values = ["0".to_owned(), "9".to_owned()].into_iter().chain(values);
        let rows = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }
}

/// What occurs in an entry and has few values: kind, value.
fn traits(entry: &Entry) -> [(u8, String); 6] {
    [
        (LISTENER, entry.listener.clone()),
        (APPLICATION, entry.sending_application.clone()),
        (FACILITY, entry.sending_facility.clone()),
        (CODE, entry.code.clone()),
        (EVENT, entry.event.clone()),
        (OUTCOME, (entry.outcome as u8).to_string()),
    ]
}

const LISTENER: u8 = 1;
const APPLICATION: u8 = 2;
const FACILITY: u8 = 3;
const CODE: u8 = 4;
const EVENT: u8 = 5;
const OUTCOME: u8 = 6;

/// Everything that occurs in some entries: block, kind, value.
pub(super) fn seen(entries: &[Entry]) -> BTreeSet<(u64, u8, String)> {
    let each = |entry: &Entry| traits(entry).map(|(kind, value)| (entry.seq / BLOCK, kind, value));
    entries.iter().flat_map(each).collect()
}

/// Before this block everything is before a number.
pub(super) fn block_of(seq: u64) -> u64 {
    seq / BLOCK
}

/// The statement that finds the blocks, and its values behind the first and the last block.
fn narrow(filter: &Filter) -> Option<(String, Vec<String>)> {
    let (mut parts, mut values) = (Vec::new(), Vec::new());
    let mut one = |kind: u8, value: &str| {
        values.push(text(value.as_bytes()));
        // All values are bound as texts.
        format!(
            "SELECT block FROM seen WHERE kind = {kind} AND value = ?{} AND block BETWEEN CAST(?1 AS INTEGER) AND CAST(?2 AS INTEGER)",
            values.len() + 2
        )
    };
    for (kind, value) in [(LISTENER, &filter.listener), (CODE, &filter.code), (EVENT, &filter.event)] {
        parts.extend(value.as_deref().map(|value| one(kind, value)));
    }
    match filter.sender.as_deref().map(|sender| sender.split_once('|').ok_or(sender)) {
        Some(Ok((application, facility))) => {
            parts.push(one(APPLICATION, application));
            parts.push(one(FACILITY, facility));
        }
        Some(Err(either)) => {
            let (application, facility) = (one(APPLICATION, either), one(FACILITY, either));
            parts.push(format!("SELECT block FROM ({application} UNION {facility})"));
        }
        None => {}
    }
    parts.extend(filter.outcome.map(|outcome| one(OUTCOME, &(outcome as u8).to_string())));
    (!parts.is_empty()).then(|| (format!("{} ORDER BY block DESC", parts.join(" INTERSECT ")), values))
}

/// Blocks as stretches of numbers; those beside each other as one.
fn joined(blocks: &[u64]) -> Vec<RangeInclusive<u64>> {
    let mut found: Vec<RangeInclusive<u64>> = Vec::new();
    for block in blocks {
        let (first, last) = (block * BLOCK, block * BLOCK + BLOCK - 1);
        match found.last_mut() {
            Some(before) if *before.start() == last + 1 => *before = first..=*before.end(),
            _ => found.push(first..=last),
        }
    }
    found
}

/// What two lists of stretches have in common; the newest first, as they are.
fn common(one: &[RangeInclusive<u64>], other: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
    let (mut found, mut a, mut b) = (Vec::new(), 0, 0);
    while let (Some(left), Some(right)) = (one.get(a), other.get(b)) {
        let (first, last) = (*left.start().max(right.start()), *left.end().min(right.end()));
        if first <= last {
            found.push(first..=last);
        }
        if left.start() >= right.start() {
            a += 1;
        }
        if right.start() >= left.start() {
            b += 1;
        }
    }
    found
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn stretches_are_joined_and_cut() {
        assert_eq!(joined(&[9, 8, 3]), [8 * BLOCK..=10 * BLOCK - 1, 3 * BLOCK..=4 * BLOCK - 1]);
        assert_eq!(common(&[10..=20, 1..=5], &[18..=30, 4..=12]), [18..=20, 10..=12, 4..=5]);
        assert_eq!(common(&[10..=20], &[30..=40, 25..=26, 15..=15, 1..=3]), [15..=15]);
        assert!(common(&[1..=2], &[]).is_empty());
    }
}
