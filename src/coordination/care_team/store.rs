//! What messages and people said of who looks after a person.
use super::{CARE_MANAGER, PCP, Source, TeamMember};
use crate::coordination::event::Participant;
use crate::coordination::loops::Span;
use crate::coordination::{Event, Kind, PersonKey, lineage};
use jiff::tz::TimeZone;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

/// What this part needs in the database.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS care_member (
    number INTEGER PRIMARY KEY, person BLOB NOT NULL, origin BLOB NOT NULL, source TEXT NOT NULL, role TEXT NOT NULL, npi TEXT NOT NULL, family TEXT NOT NULL,
    given TEXT NOT NULL, told_by TEXT NOT NULL, visit TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS care_member_person ON care_member (person, number);
CREATE INDEX IF NOT EXISTS care_member_visit ON care_member (coalesce(until_ms, since_ms), number) WHERE source = 'visit';";

/// Entries of one person; the oldest of visits go first, then the oldest of messages. What people said through the API stays.
pub const MEMBERS_MAX: u32 = 64;
/// So long after a visit those who took part in it are of the team.
const AFTER_VISIT: Span = Span::Days(30);

/// Notes who an event says looks after the person, whose memberships are not among it.
///
/// # Errors
/// A database that cannot be read or written.
pub fn take(transaction: &Transaction<'_>, event: &Event, origin: PersonKey, zone: &TimeZone) -> rusqlite::Result<()> {
    let ends = matches!(event.kind, Kind::Discharge | Kind::EdDischarge | Kind::DischargeCancelled);
    if event.participants.is_empty() && !ends {
        return Ok(());
    }
    let person = lineage::root(transaction, origin)?;
    let visit = event.visit.as_ref().map(|visit| format!("{}|{}", visit.authority, visit.number));
    let over = matches!(event.kind, Kind::Discharge | Kind::EdDischarge);
    let until_ms = AFTER_VISIT.end(event.at_ms, zone);
    for one in &event.participants {
        match as_what(one) {
            Some((Source::Visit, role)) => {
                let Some(visit) = &visit else { continue };
                // An outpatient visit has no end that anybody tells of.
                let until_ms = (over || event.kind == Kind::OutpatientVisit).then_some(until_ms);
                let told = Told { source: Source::Visit, role, told_by: "", visit, until_ms };
                insert(transaction, (person, origin), one, &told, event)?;
            }
            Some((source, role)) => {
                let told = Told { source, role, told_by: &event.feed, visit: "", until_ms: None };
                insert(transaction, (person, origin), one, &told, event)?;
            }
            None => {}
        }
    }
    if let Some(visit) = visit {
        let set = |until_ms: Option<i64>| {
            transaction
                .prepare_cached("UPDATE care_member SET until_ms = ?3 WHERE person = ?1 AND visit = ?2")?
                .execute(params![person.0, visit, until_ms])
        };
        match event.kind {
            Kind::Discharge | Kind::EdDischarge => set(Some(until_ms))?,
            Kind::DischargeCancelled => set(None)?,
            _ => 0,
        };
    }
    bound(transaction, person, event.received_ms)
}

/// One statement.
struct Told<'a> {
    source: Source,
    role: &'a str,
    told_by: &'a str,
    visit: &'a str,
    until_ms: Option<i64>,
}

/// As what somebody takes part: with the codes of HL7 table 0443 where a segment of roles told it.
fn as_what(one: &Participant) -> Option<(Source, &'static str)> {
    if one.number.is_empty() && one.family.is_empty() {
        return None;
    }
    match one.role.as_str() {
        "primary-care" => Some((Source::Pd1, PCP)),
        "PP" | "FHCP" => Some((Source::Rol, PCP)),
        "case-manager" | "CM" | "CASEMGR" => Some((Source::Rol, CARE_MANAGER)),
        "attending" | "AT" | "AP" => Some((Source::Visit, "attending")),
        "referring" | "RP" => Some((Source::Visit, "referring")),
        "consulting" | "CP" => Some((Source::Visit, "consulting")),
        "admitting" | "AD" => Some((Source::Visit, "admitting")),
        _ => None,
    }
}

/// Writes a statement; of a lasting role it takes the place of what the same sender said before, unless that is newer.
fn insert(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    one: &Participant,
    told: &Told<'_>,
    event: &Event,
) -> rusqlite::Result<()> {
    let source = told.source.name();
    let known: bool = if told.source == Source::Visit {
        let sql = "SELECT EXISTS (SELECT 1 FROM care_member
                     WHERE person = ?1 AND source = ?2 AND role = ?3 AND visit = ?4 AND npi = ?5 AND family = ?6)";
        let values = params![person.0, source, told.role, told.visit, one.number, one.family];
        transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?
    } else {
        // Of persons that were merged each keeps its own: they may be told apart again.
        let sql = "DELETE FROM care_member
                     WHERE person = ?1 AND origin = ?2 AND source = ?3 AND role = ?4 AND told_by = ?5 AND since_ms <= ?6";
        let values = params![person.0, origin.0, source, told.role, told.told_by, event.at_ms];
        transaction.prepare_cached(sql)?.execute(values)?;
        let sql = "SELECT EXISTS (SELECT 1 FROM care_member
                     WHERE person = ?1 AND origin = ?2 AND source = ?3 AND role = ?4 AND told_by = ?5)";
        let values = params![person.0, origin.0, source, told.role, told.told_by];
        transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?
    };
    if known {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO care_member (person, origin, source, role, npi, family, given, told_by, visit, since_ms, until_ms)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
        )?
        .execute(params![
            person.0,
            origin.0,
            source,
            told.role,
            one.number,
            one.family,
            one.given,
            told.told_by,
            told.visit,
            event.at_ms,
            told.until_ms,
        ])?;
    Ok(())
}

/// Forgets visits that are over, and the oldest where there are too many.
fn bound(transaction: &Transaction<'_>, person: PersonKey, now_ms: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM care_member WHERE person = ?1 AND until_ms < ?2")?
        .execute(params![person.0, now_ms])?;
    transaction
        .prepare_cached(
            "DELETE FROM care_member WHERE number IN (SELECT number FROM care_member WHERE person = ?1 AND source <> 'api'
               ORDER BY source = 'visit', since_ms DESC, number DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute(params![person.0, MEMBERS_MAX])?;
    Ok(())
}

/// Forgets who took part in visits that were over, or began, before a moment, of people of whom nothing more was heard; at most so many.
///
/// # Errors
/// A database that cannot be written.
pub fn prune(transaction: &Transaction<'_>, before_ms: i64, most: usize) -> rusqlite::Result<()> {
    let sql = "DELETE FROM care_member WHERE number IN
                 (SELECT number FROM care_member WHERE source = 'visit' AND coalesce(until_ms, since_ms) < ?1
                  ORDER BY coalesce(until_ms, since_ms), number LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    transaction.prepare_cached(sql)?.execute([before_ms, most])?;
    Ok(())
}

/// Replaces what people said through the API.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    origin: PersonKey,
    members: &[TeamMember],
) -> rusqlite::Result<()> {
    let person = lineage::root(transaction, origin)?;
    transaction.execute("DELETE FROM care_member WHERE person = ?1 AND source = 'api'", [person.0])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO care_member (person, origin, source, role, npi, family, given, told_by, visit, since_ms, until_ms)
         VALUES (?1,?2,'api',?3,?4,?5,?6,'','',?7,?8)",
    )?;
    for one in members {
        let TeamMember { role, number, family, given, since_ms, until_ms, .. } = one;
        insert.execute(params![person.0, origin.0, role, number, family, given, since_ms, until_ms])?;
    }
    Ok(())
}

/// Those who look after a person at a moment, without rosters.
pub(super) fn of_person(connection: &Connection, person: PersonKey, at_ms: i64) -> rusqlite::Result<Vec<TeamMember>> {
    // A person who was merged into another has the other's team.
    let person = lineage::root(connection, person)?;
    let sql = "SELECT role, source, npi, family, given, since_ms, until_ms FROM care_member
               WHERE person = ?1 AND (until_ms IS NULL OR until_ms >= ?2) ORDER BY number";
    connection.prepare_cached(sql)?.query_map(params![person.0, at_ms], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<TeamMember> {
    let source = Source::parse(row.get_ref(1)?.as_str()?);
    Ok(TeamMember {
        role: row.get(0)?,
        source: source.ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(1, Type::Text, "written by another version".into())
        })?,
        number: row.get(2)?,
        family: row.get(3)?,
        given: row.get(4)?,
        since_ms: row.get(5)?,
        until_ms: row.get(6)?,
    })
}
