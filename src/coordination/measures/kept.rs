//! What is kept of facts, and how long. What counted somebody in last, of a measure that counts nobody in again meanwhile, is kept as long as that lasts: without it what came after it would be a
//! beginning, and months that were told would change as time goes on.
use super::counting::KEPT_MS;
use super::fact::{FACTS_MAX, Fact, Facts};
use super::lens::Lens;
use super::settle::Scratch;
use super::take::day;
use crate::coordination::PersonKey;
use jiff::tz::TimeZone;
use rusqlite::{Transaction, params};

const DAY_MS: i64 = 86_400_000;

/// A fact that is kept for what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    seq: u64,
    at_ms: i64,
    /// Until then.
    until_ms: i64,
}

impl Anchor {
    fn is(&self, fact: &Fact) -> bool {
        self.seq == fact.seq && self.at_ms == fact.at_ms
    }
}

impl Lens {
    /// Facts from before a time, of a person whose facts stand in `scratch` in order, that count nobody in again behind it.
    pub(super) fn anchors(&self, scratch: &Scratch, before_ms: i64) -> Vec<Anchor> {
        // Wherever it is, it may be a day less.
        let first = day(before_ms, &TimeZone::UTC) - 1;
        let mut anchors = Vec::new();
        for (measure, definition) in self.definitions().iter().enumerate().filter(|(_, one)| one.once) {
            let mut last: Option<Anchor> = None;
            self.settled(scratch, measure, |case| {
                let until = case.cell.day + definition.late_days();
                if case.at_ms < before_ms {
                    let anchor = Anchor { seq: case.seq, at_ms: case.at_ms, until_ms: (i64::from(until) + 2) * DAY_MS };
                    last = Some(anchor).filter(|_| until >= first);
                }
            });
            anchors.extend(last);
        }
        anchors
    }
}

/// Keeps to how much is kept; whether anything went. What is old goes by the time of the journal.
pub(super) fn bound(own: &mut Facts, now_ms: i64, anchors: &[Anchor]) -> bool {
    let count = own.list.len();
    let oldest_ms = now_ms.saturating_sub(KEPT_MS);
    own.list.retain(|fact| fact.at_ms >= oldest_ms || anchors.iter().any(|one| one.is(fact)));
    while own.list.len() > FACTS_MAX {
        let oldest = own.list.iter().enumerate().min_by_key(|(_, fact)| fact.at_ms).map(|(at, _)| at);
        oldest.into_iter().for_each(|at| _ = own.list.remove(at));
    }
    own.list.len() != count
}

/// Writes the facts of a key; beside them when the first of them goes by age.
pub(super) fn write(
    transaction: &Transaction<'_>,
    (origin, person): (PersonKey, PersonKey),
    own: &Facts,
    anchors: &[Anchor],
) -> rusqlite::Result<()> {
    if own.list.is_empty() {
        transaction.prepare_cached("DELETE FROM measure_fact WHERE origin = ?1")?.execute([origin.0])?;
        return Ok(());
    }
    let mut blob = Vec::new();
    own.encode(&mut blob);
    let oldest_of = |fact: &Fact| {
        let until_ms = anchors.iter().filter(|one| one.is(fact)).map(|one| one.until_ms);
        until_ms.max().unwrap_or(fact.at_ms)
    };
    let oldest_ms = own.list.iter().map(oldest_of).min().unwrap_or_default();
    let sql = "INSERT INTO measure_fact VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT DO UPDATE SET count = excluded.count, oldest_ms = excluded.oldest_ms, facts = excluded.facts";
    transaction.prepare_cached(sql)?.execute(params![origin.0, person.0, own.list.len(), oldest_ms, blob])?;
    Ok(())
}
