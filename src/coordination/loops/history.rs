//! The stays and emergency visits of a person, as far as flags look back, and that they died.
use super::calendar::days_between;
use super::outcome::Outcome;
use super::steps::TO;
use super::store;
use crate::coordination::event::VisitKey;
use crate::coordination::lineage::{By, Gone, Under};
use crate::coordination::{Event, Kind, PersonKey};
use jiff::tz::TimeZone;
use rusqlite::{OptionalExtension as _, Transaction, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS loop_history (
    number INTEGER PRIMARY KEY, person BLOB NOT NULL, origin BLOB NOT NULL, stay INTEGER NOT NULL, visit TEXT NOT NULL, at_ms INTEGER NOT NULL,
    end_ms INTEGER, disposition TEXT NOT NULL, told_as INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS loop_history_person ON loop_history (person, at_ms);
CREATE INDEX IF NOT EXISTS loop_history_age ON loop_history (at_ms, number);";

/// Visits of one person that are remembered; the oldest are forgotten first.
pub const HISTORY_MAX: u32 = 64;
/// Flags look back a year; what is older is forgotten.
const HISTORY_MS: i64 = 400 * 86_400_000;

/// Three emergency visits within 60 days.
pub const ED_3_IN_60_DAYS: &str = "ed-3-in-60-days";
/// An emergency visit within 30 days of a stay.
pub const ED_AFTER_STAY: &str = "ed-after-stay";
/// A stay within 30 days of another one.
pub const READMISSION: &str = "readmission";
/// Four emergency visits within 365 days.
pub const ED_4_IN_365_DAYS: &str = "ed-4-in-365-days";

/// What is remembered: an emergency visit, a stay, that the person died.
const EMERGENCY: u8 = 0;
const STAY: u8 = 1;
const DEATH: u8 = 2;

/// Straight from one hospital to another: the same illness, no readmission (PV1-36: to a short-term, federal, psychiatric or other hospital).
const TRANSFERRED: [&str; 6] = ["02", "05", "43", "65", "66", "70"];

struct Visit {
    stay: bool,
    visit: String,
    at_ms: i64,
    end_ms: Option<i64>,
    disposition: String,
}

impl Visit {
    /// Its key; none where nobody gave it one.
    fn key(&self) -> Option<VisitKey> {
        serde_json::from_str(&self.visit).ok()
    }
}

/// Remembers what an event tells of visits.
pub(super) fn note(
    transaction: &Transaction<'_>,
    person: PersonKey,
    origin: PersonKey,
    event: &Event,
) -> rusqlite::Result<()> {
    let visit = visit_text(event)?;
    let run = |sql: &str| transaction.prepare_cached(sql)?.execute(params![person.0, visit]);
    match event.kind {
        Kind::EdVisit | Kind::Admission => {
            insert(transaction, person, origin, event, None)?;
        }
        Kind::Death => insert(transaction, person, origin, event, None)?,
        Kind::Discharge => {
            let sql =
                "UPDATE loop_history SET end_ms = ?3, disposition = ?4 WHERE person = ?1 AND visit = ?2 AND stay = 1";
            let values = params![person.0, visit, event.at_ms, event.disposition];
            if transaction.prepare_cached(sql)?.execute(values)? == 0 {
                insert(transaction, person, origin, event, Some(event.at_ms))?;
            }
        }
        Kind::AdmissionCancelled => {
            run("DELETE FROM loop_history WHERE person = ?1 AND visit = ?2")?;
        }
        Kind::DischargeCancelled => {
            run("UPDATE loop_history SET end_ms = NULL, disposition = '' WHERE person = ?1 AND visit = ?2")?;
        }
        _ => {}
    }
    Ok(())
}

fn insert(
    transaction: &Transaction<'_>,
    person: PersonKey,
    origin: PersonKey,
    event: &Event,
    end_ms: Option<i64>,
) -> rusqlite::Result<()> {
    let stay = match event.kind {
        Kind::EdVisit => EMERGENCY,
        Kind::Death => DEATH,
        _ => STAY,
    };
    let visit = visit_text(event)?;
    let known: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM loop_history WHERE person = ?1 AND visit = ?2 AND stay = ?3)")?
        .query_row(params![person.0, visit, stay], |row| row.get(0))?;
    if known {
        return Ok(());
    }
    let sql = "INSERT INTO loop_history (person, origin, stay, visit, at_ms, end_ms, disposition, told_as)
               VALUES (?1,?2,?3,?4,?5,?6,?7,?8)";
    let told_as = event.patient.told_as(&event.feed);
    let values = params![person.0, origin.0, stay, visit, event.at_ms, end_ms, event.disposition, told_as];
    transaction.prepare_cached(sql)?.execute(values)?;
    // What comes before the last one that is kept; with fewer there is none.
    let sql = "DELETE FROM loop_history WHERE person = ?1 AND (at_ms < ?2 OR (at_ms, number) <
                 (SELECT at_ms, number FROM loop_history WHERE person = ?1 ORDER BY at_ms DESC, number DESC LIMIT 1 OFFSET ?3))";
    transaction.prepare_cached(sql)?.execute(params![person.0, event.received_ms - HISTORY_MS, HISTORY_MAX - 1])?;
    Ok(())
}

/// Forgets visits that were somebody else's.
pub(super) fn disown(transaction: &Transaction<'_>, person: PersonKey, gone: &Gone) -> rusqlite::Result<()> {
    let mut select =
        transaction.prepare_cached("SELECT number, origin, told_as, visit FROM loop_history WHERE person = ?1")?;
    let row = |row: &rusqlite::Row<'_>| {
        let under = Under { origin: PersonKey(row.get(1)?), told_as: row.get(2)? };
        Ok((row.get::<_, i64>(0)?, under, serde_json::from_str::<VisitKey>(row.get_ref(3)?.as_str()?).ok()))
    };
    let rows: Vec<_> = select.query_map([person.0], row)?.collect::<rusqlite::Result<_>>()?;
    for (number, under, visit) in rows {
        if gone.has(under, visit.as_ref()) {
            transaction.prepare_cached("DELETE FROM loop_history WHERE number = ?1")?.execute([number])?;
        }
    }
    Ok(())
}

/// Whether it is remembered of a person that a stay or an emergency visit began, or a stay ended, or that they died. Of nothing else it is.
///
/// # Errors
/// A database that cannot be read.
pub fn knows(transaction: &Transaction<'_>, person: PersonKey, event: &Event) -> rusqlite::Result<bool> {
    let stay = match event.kind {
        Kind::Admission | Kind::Discharge => STAY,
        Kind::EdVisit => EMERGENCY,
        Kind::Death => return Ok(death(transaction, person)?.is_some()),
        _ => return Ok(false),
    };
    let is_end = event.kind == Kind::Discharge;
    let sql = "SELECT EXISTS (SELECT 1 FROM loop_history
                 WHERE person = ?1 AND visit = ?2 AND stay = ?3 AND (NOT ?4 OR end_ms IS NOT NULL))";
    let values = params![person.0, visit_text(event)?, stay, is_end];
    transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))
}

/// How it was told that a person died; none of whom nobody has said so.
pub(super) fn death(transaction: &Transaction<'_>, person: PersonKey) -> rusqlite::Result<Option<By>> {
    let sql = "SELECT origin, told_as FROM loop_history WHERE person = ?1 AND stay = ?2 ORDER BY at_ms, number LIMIT 1";
    let row = |row: &rusqlite::Row<'_>| {
        Ok(By { under: Under { origin: PersonKey(row.get(0)?), told_as: row.get(1)? }, visit: None })
    };
    transaction.prepare_cached(sql)?.query_row(params![person.0, DEATH], row).optional()
}

/// The stays of a person that began at a time or after it, the first of them first, and whether they go on.
pub(super) fn stays(
    transaction: &Transaction<'_>,
    person: PersonKey,
    from_ms: i64,
) -> rusqlite::Result<Vec<(By, bool)>> {
    let sql =
        "SELECT origin, told_as, visit, end_ms IS NULL FROM loop_history WHERE person = ?1 AND stay = 1 AND at_ms >= ?2
               ORDER BY at_ms, number";
    let mut select = transaction.prepare_cached(sql)?;
    let row = |row: &rusqlite::Row<'_>| {
        let under = Under { origin: PersonKey(row.get(0)?), told_as: row.get(1)? };
        // One that nobody gave a key is told by the event that began it.
        let visit = serde_json::from_str(row.get_ref(2)?.as_str()?).ok();
        Ok((By { under, visit }, row.get(3)?))
    };
    select.query_map(params![person.0, from_ms], row)?.collect()
}

/// Forgets visits of people of whom nothing more was heard, at most so many.
pub(super) fn prune(transaction: &Transaction<'_>, now_ms: i64, most: usize) -> rusqlite::Result<()> {
    let sql = "DELETE FROM loop_history WHERE number IN
                 (SELECT number FROM loop_history WHERE at_ms < ?1 ORDER BY at_ms, number LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    transaction.prepare_cached(sql)?.execute([now_ms.saturating_sub(HISTORY_MS), most])?;
    Ok(())
}

/// A visit as it is compared; one without a key is an event of its own.
fn visit_text(event: &Event) -> rusqlite::Result<String> {
    match &event.visit {
        Some(visit) => store::text(visit),
        None => store::text(&event.id),
    }
}

/// What the visits of a person up to this event, which was noted, call for.
pub(super) fn flags(
    transaction: &Transaction<'_>,
    who: (PersonKey, PersonKey),
    event: &Event,
    panels: &[String],
    zone: &TimeZone,
) -> rusqlite::Result<Vec<Outcome>> {
    if panels.is_empty() || !matches!(event.kind, Kind::EdVisit | Kind::Admission) {
        return Ok(Vec::new());
    }
    let sql = "SELECT stay, visit, at_ms, end_ms, disposition FROM loop_history WHERE person = ?1 AND at_ms <= ?2 AND stay < 2 ORDER BY at_ms, number";
    let read = |row: &rusqlite::Row<'_>| {
        let (stay, visit, at_ms) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Visit { stay, visit, at_ms, end_ms: row.get(3)?, disposition: row.get(4)? })
    };
    let visits: Vec<Visit> = transaction
        .prepare_cached(sql)?
        .query_map(params![who.0.0, event.at_ms], read)?
        .collect::<rusqlite::Result<_>>()?;
    let own = visit_text(event)?;
    let within = |from_ms: i64, days: i32| days_between(from_ms, event.at_ms, zone) <= days;
    let emergencies = |days: i32, least: usize| {
        let found: Vec<_> = visits.iter().filter(|visit| !visit.stay && within(visit.at_ms, days)).collect();
        (found.len() >= least).then_some(found)
    };
    let after_stay = |transfers: bool| {
        let ended = |visit: &&Visit| {
            let ended = visit.end_ms.is_some_and(|end| end <= event.at_ms && within(end, 30));
            ended && (transfers || !TRANSFERRED.contains(&visit.disposition.as_str()))
        };
        let stays = visits.iter().filter(|visit| visit.stay && visit.visit != own);
        let found: Vec<_> = stays.filter(ended).collect();
        (!found.is_empty()).then_some(found)
    };
    let of_kind = match event.kind {
        Kind::EdVisit => vec![
            (ED_3_IN_60_DAYS, emergencies(60, 3)),
            (ED_AFTER_STAY, after_stay(true)),
            (ED_4_IN_365_DAYS, emergencies(365, 4)),
        ],
        _ => vec![(READMISSION, after_stay(false))],
    };
    let flag = |(name, found): (&str, Option<Vec<&Visit>>)| {
        let mut flag = Outcome::flag(name, who, panels.to_vec(), TO, event);
        // That they were there is what it tells.
        flag.visits.extend(found?.iter().filter(|visit| visit.visit != own).map(|visit| visit.key()));
        Some(flag)
    };
    Ok(of_kind.into_iter().filter_map(flag).collect())
}
