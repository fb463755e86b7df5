//! What is looked for, and pages of what is found.
use super::Error;
use super::entry::{Entry, text};
use super::index::{COLUMNS, Index, read_entry};
use crate::facets::Outcome;
use rusqlite::params_from_iter;
use rusqlite::types::Value;
use std::ops::ControlFlow;

/// What is looked for: everything that is given must hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Received at this time or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Received before this time.
    pub until_ms: Option<i64>,
    /// From this number on.
    pub first: Option<u64>,
    /// Up to this number.
    pub last: Option<u64>,
    /// MSH-10.
    pub control_id: Option<String>,
    /// One of the identifiers in PID-3.
    pub patient: Option<String>,
    /// MSH-9.1.
    pub code: Option<String>,
    /// MSH-9.2.
    pub event: Option<String>,
    /// MSH-3 or MSH-4; both as `HIS|HARBOR`.
    pub sender: Option<String>,
    /// Where it came in.
    pub listener: Option<String>,
    /// What became of it at intake.
    pub outcome: Option<Outcome>,
    /// One of these numbers.
    pub only: Option<Vec<u64>>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest message.
    NewestFirst,
    /// The oldest message.
    OldestFirst,
}

/// Entries read at once.
const PAGE: usize = 512;

/// Conditions and their values, as they go to the database.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// `@` in the condition stands for the value.
    fn add(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.sql.push(condition.replace('@', &format!("?{}", self.values.len())));
    }

    fn number(&mut self, condition: &str, seq: u64) {
        self.add(condition, i64::try_from(seq).unwrap_or(i64::MAX));
    }

    fn text(&mut self, condition: &str, value: &str) {
        // Cut as what stands in the index was.
        self.add(condition, text(value.as_bytes()));
    }
}

impl Index {
    /// Shows what is found to `each`, in order, until it breaks off. An entry that is added or pruned meanwhile may or may not be among them.
    ///
    /// # Errors
    /// A database that cannot be read, or what `each` returns.
    pub fn search<E: From<Error>>(
        &self,
        filter: &Filter,
        order: Order,
        mut each: impl FnMut(Entry) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut filter = self.narrowed(filter)?;
        loop {
            let page = self.page(&filter, order, PAGE)?;
            let (full, last) = (page.len() == PAGE, page.last().map(|entry| entry.seq));
            for entry in page {
                if each(entry)?.is_break() {
                    return Ok(());
                }
            }
            match (last, order) {
                (Some(seq), Order::OldestFirst) if full => filter.first = Some(seq + 1),
                (Some(seq), Order::NewestFirst) if full && seq > 0 => filter.last = Some(seq - 1),
                _ => return Ok(()),
            }
        }
    }

    /// The first so many of what is found. For the next page, move [`Filter::first`] or [`Filter::last`] past the last entry.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn page(&self, filter: &Filter, order: Order, entries_max: usize) -> Result<Vec<Entry>, Error> {
        let (sql, values) = select(filter, order, entries_max);
        let read = || {
            let mut select = self.connection.prepare_cached(&sql)?;
            let rows = select.query_map(params_from_iter(values), read_entry)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(Error::database(&self.path))
    }

    /// How the database goes about it.
    #[cfg(test)]
    pub(super) fn explain(&self, filter: &Filter) -> String {
        let (sql, values) = select(filter, Order::NewestFirst, 10);
        let mut explain = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    /// Numbers in place of times: the table is in the order of numbers, and a page must not sort, or pass over, all that came before.
    pub fn narrowed(&self, filter: &Filter) -> Result<Filter, Error> {
        let mut narrowed = filter.clone();
        if filter.since_ms.is_none() && filter.until_ms.is_none() {
            return Ok(narrowed);
        }
        // Numbers are given in the order of time but for a known skew. The earliest row of the span has the first number, or one that has it was received at most so much
        // later; and so backwards. The times stay a condition, for what lies between.
        let bounds = self.connection.prepare_cached(
            "WITH skew (ms) AS (SELECT skew_ms FROM place),
                  earliest (ms) AS (SELECT min(received_ms) FROM message WHERE received_ms >= ?1 AND received_ms < ?2),
                  latest (ms) AS (SELECT max(received_ms) FROM message WHERE received_ms >= ?1 AND received_ms < ?2)
             SELECT (SELECT min(seq) FROM message WHERE received_ms BETWEEN earliest.ms AND earliest.ms + skew.ms),
                    (SELECT max(seq) FROM message WHERE received_ms BETWEEN latest.ms - skew.ms AND latest.ms)
             FROM skew, earliest, latest",
        );
        let span = [filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX)];
        let bounds: (Option<i64>, Option<i64>) = bounds
            .and_then(|mut bounds| bounds.query_row(span, |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(Error::database(&self.path))?;
        let (Some(first), Some(last)) = bounds else {
            narrowed.only = Some(Vec::new());
            return Ok(narrowed);
        };
        narrowed.first = narrowed.first.max(Some(first.unsigned_abs()));
        narrowed.last = Some(narrowed.last.map_or(last.unsigned_abs(), |given| given.min(last.unsigned_abs())));
        Ok(narrowed)
    }
}

fn select(filter: &Filter, order: Order, entries_max: usize) -> (String, Vec<Value>) {
    let Conditions { sql, mut values } = conditions(filter);
    let filtered = if sql.is_empty() { String::new() } else { format!("WHERE {}", sql.join(" AND ")) };
    let direction = if order == Order::NewestFirst { "DESC" } else { "ASC" };
    values.push(i64::try_from(entries_max).unwrap_or(i64::MAX).into());
    let sql = format!("SELECT {COLUMNS} FROM message {filtered} ORDER BY seq {direction} LIMIT ?{}", values.len());
    (sql, values)
}

fn conditions(filter: &Filter) -> Conditions {
    let mut found = Conditions::default();
    // The plus keeps the database from going by time, which would sort all of the span for each page.
    filter.since_ms.into_iter().for_each(|ms| found.add("+received_ms >= @", ms));
    filter.until_ms.into_iter().for_each(|ms| found.add("+received_ms < @", ms));
    filter.first.into_iter().for_each(|seq| found.number("seq >= @", seq));
    filter.last.into_iter().for_each(|seq| found.number("seq <= @", seq));
    let texts = [
        ("control_id = @", &filter.control_id),
        ("seq IN (SELECT seq FROM patient WHERE id = @)", &filter.patient),
        ("code = @", &filter.code),
        ("event = @", &filter.event),
        ("listener = @", &filter.listener),
    ];
    for (condition, value) in texts {
        value.iter().for_each(|value| found.text(condition, value));
    }
    match filter.sender.as_deref().map(|sender| sender.split_once('|').ok_or(sender)) {
        Some(Ok((application, facility))) => {
            found.text("sending_application = @", application);
            found.text("sending_facility = @", facility);
        }
        Some(Err(either)) => found.text("@ IN (sending_application, sending_facility)", either),
        None => {}
    }
    filter.outcome.into_iter().for_each(|outcome| found.add("outcome = @", i64::from(outcome as u8)));
    if let Some(only) = &filter.only {
        let list: Vec<String> = only.iter().map(u64::to_string).collect();
        found.add("seq IN (SELECT value FROM json_each(@))", format!("[{}]", list.join(",")));
    }
    found
}

/// Whether a message holds a text, letters of ASCII in either case. An empty text stands in every message.
pub fn contains(raw: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let Some((&first, rest)) = text.split_first() else { return true };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, raw)
        .any(|at| raw.get(at + 1..at + 1 + rest.len()).is_some_and(|found| found.eq_ignore_ascii_case(rest)))
}
