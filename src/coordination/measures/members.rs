//! How many members a panel had in each month: of each month by the roster that was in force on its 15th, whoever came or went since.
//!
//! When another roster comes, the months that it finds over are counted by the one before; those behind them by the one that is in force. Before the first roster that anybody gave the
//! first one counts. Who is in a panel twice, by rows of it or because two turned out to be one, counts once.
use super::period::{day_of, month_of};
use super::series::MONTHS_MAX;
use crate::coordination::PersonKey;
use crate::coordination::roster::Snapshot;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::collections::HashMap;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS measure_members (panel TEXT, month INTEGER, members INTEGER NOT NULL, PRIMARY KEY (panel, month)) STRICT, WITHOUT ROWID;";

/// Merges of merges that are followed.
const DEPTH_MAX: usize = 64;
const FNV: u64 = 0xcbf2_9ce4_8422_2325;
/// The day of a month by which it is counted.
const DAY: i32 = 15;

/// A roster is in force no more: the months whose 15th it has seen.
///
/// # Errors
/// A database that cannot be read or written.
pub fn keep(
    transaction: &Transaction<'_>,
    (panel, zone): (&str, &TimeZone),
    was: &Snapshot,
    until_ms: i64,
) -> rusqlite::Result<()> {
    let until = Timestamp::from_millisecond(until_ms).unwrap_or_default();
    let today = day_of(zone.to_datetime(until).date());
    let last = month_of(today - DAY);
    let first = uncounted(transaction, panel)?.unwrap_or(i32::MIN).max(last - MONTHS_MAX - 1);
    if first > last {
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO measure_members VALUES (?1, ?2, ?3)";
    let counts = count(&edges(transaction)?.0, was, panel, (first, last));
    for (month, members) in (first..).zip(counts) {
        transaction.prepare_cached(sql)?.execute(params![panel, month, members])?;
    }
    let gone = "DELETE FROM measure_members WHERE panel = ?1 AND month < ?2";
    transaction.prepare_cached(gone)?.execute(params![panel, last - MONTHS_MAX - 1])?;
    Ok(())
}

/// Member-months of a panel that were counted last, and what they were counted of.
#[derive(Debug, Default)]
pub struct Counted {
    of: Option<Of>,
    counts: Vec<u64>,
}

/// The roster, the merges, and up to which month earlier rosters have counted: the roster of now is there before the months of the one before are.
#[derive(Debug, PartialEq, Eq)]
struct Of {
    roster: [u8; 32],
    merges: u64,
    uncounted: Option<i32>,
    panel: String,
    months: (i32, i32),
}

impl Counted {
    /// Members of a panel in each month: of each by the roster of then; of those that no other has counted since, by this one.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn months(
        &mut self,
        connection: &Connection,
        snapshot: &Snapshot,
        panel: &str,
        months: (i32, i32),
    ) -> rusqlite::Result<&[u64]> {
        let edges = edges(connection)?;
        let of = Of {
            roster: *snapshot.fingerprint(),
            merges: edges.1,
            uncounted: uncounted(connection, panel)?,
            panel: panel.to_owned(),
            months,
        };
        if self.of.as_ref() != Some(&of) {
            let mut counts = count(&edges.0, snapshot, panel, months);
            for (month, count) in (months.0..).zip(&mut counts) {
                if let Some(then) = kept(connection, panel, month)? {
                    *count = then;
                }
            }
            (self.of, self.counts) = (Some(of), counts);
        }
        Ok(&self.counts)
    }
}

/// Who turned out to be whom, and a mark that changes with it.
fn edges(connection: &Connection) -> rusqlite::Result<(HashMap<PersonKey, PersonKey>, u64)> {
    let mut select = connection.prepare_cached("SELECT origin, person FROM person_edge ORDER BY origin")?;
    let (mut edges, mut mark) = (HashMap::new(), FNV);
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (origin, person) = (PersonKey(row.get(0)?), PersonKey(row.get(1)?));
        let bytes = origin.0.iter().chain(&person.0);
        mark = bytes.fold(mark, |mark, byte| (mark ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        edges.insert(origin, person);
    }
    Ok((edges, mark))
}

/// The first month that the roster in force now counts; none where it counts all.
fn uncounted(connection: &Connection, panel: &str) -> rusqlite::Result<Option<i32>> {
    let sql = "SELECT max(month) FROM measure_members WHERE panel = ?1";
    let last: Option<i32> = connection.prepare_cached(sql)?.query_row([panel], |row| row.get(0))?;
    Ok(last.map(|month| month + 1))
}

/// The members of a month that an earlier roster has counted.
fn kept(connection: &Connection, panel: &str, month: i32) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT members FROM measure_members WHERE panel = ?1 AND month = ?2";
    let found = connection.prepare_cached(sql)?.query_row(params![panel, month], |row| row.get::<_, i64>(0));
    Ok(found.optional()?.map(i64::unsigned_abs))
}

/// Members of a panel on the 15th of each month, by a roster; who turned out to be one counts as one.
fn count(
    edges: &HashMap<PersonKey, PersonKey>,
    snapshot: &Snapshot,
    panel: &str,
    (first, last): (i32, i32),
) -> Vec<u64> {
    let root = |mut key: PersonKey| {
        for _ in 0..DEPTH_MAX {
            let Some(next) = edges.get(&key) else { break };
            key = *next;
        }
        key
    };
    let of_month = |date: jiff::civil::Date| month_of(day_of(date));
    let fifteenth = i8::try_from(DAY).unwrap_or(i8::MAX);
    let spans = snapshot.members(panel).map(|(key, one)| {
        // The first month whose 15th lies in it, and the first behind it whose 15th does not.
        let from = one.start.map_or(first, |start| of_month(start) + i32::from(start.day() > fifteenth));
        let until = one.end.map_or(last + 1, |end| of_month(end) + i32::from(end.day() >= fifteenth));
        (root(key), from, until)
    });
    by_month(spans.collect(), (first, last))
}

/// How many there are in each month: each person once, whatever rows there are of them.
fn by_month(mut spans: Vec<(PersonKey, i32, i32)>, (first, last): (i32, i32)) -> Vec<u64> {
    let mut steps = vec![0_i64; usize::try_from(last - first + 2).unwrap_or(0)];
    let mut step = |month: i32, by: i64| {
        let at = usize::try_from((month - first).clamp(0, last - first + 1)).unwrap_or(0);
        if let Some(step) = steps.get_mut(at) {
            *step += by;
        }
    };
    spans.sort_unstable();
    let mut counted: Option<(PersonKey, i32)> = None;
    for (key, from, until) in spans {
        let known = counted.filter(|(last, _)| *last == key).map_or(i32::MIN, |(_, until)| until);
        let from = from.max(known);
        if from < until {
            step(from, 1);
            step(until, -1);
        }
        counted = Some((key, until.max(known)));
    }
    let mut members = 0;
    steps.pop();
    let so_far = steps.iter().map(|step| {
        members += step;
        u64::try_from(members).unwrap_or(0)
    });
    so_far.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_counts_once_a_month() {
        let [one, other] = [1, 2].map(|byte| PersonKey([byte; 16]));
        // Two rows that overlap, one within another, and one after a gap.
        let spans = vec![(one, 2, 4), (other, 1, 9), (one, 0, 3), (one, 5, 6), (other, 2, 3)];
        assert_eq!(by_month(spans, (0, 6)), [1, 2, 2, 2, 1, 2, 1]);
    }

    #[test]
    fn the_last_month_whose_fifteenth_is_over() {
        let month = |text: &str| month_of(day_of(text.parse().unwrap()) - DAY);
        let [february, march] = ["2026-02", "2026-03"].map(|text| super::super::period::parse_month(text).unwrap());
        // The 15th itself is the new roster's.
        assert_eq!((month("2026-03-15"), month("2026-03-16")), (february, march));
    }
}
