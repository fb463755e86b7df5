//! What messages and people said of who looks after a person.
use super::{CARE_MANAGER, PCP, Source, TeamMember};
use crate::coordination::event::{Participant, Patient};
use crate::coordination::lineage::Gone;
use crate::coordination::loops::Span;
use crate::coordination::{Event, Kind, PersonKey, lineage};
use jiff::tz::TimeZone;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeSet;

/// What this part needs in the database.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS care_member (
    number INTEGER PRIMARY KEY, person BLOB NOT NULL, origin BLOB NOT NULL, source TEXT NOT NULL, role TEXT NOT NULL, npi TEXT NOT NULL, family TEXT NOT NULL,
    given TEXT NOT NULL, told_by TEXT NOT NULL, visit TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER,
    secret INTEGER NOT NULL, told_as INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS care_member_person ON care_member (person, number);
CREATE INDEX IF NOT EXISTS care_member_visit ON care_member (coalesce(until_ms, since_ms), number) WHERE source = 'visit';";

/// Entries of one person; the oldest of visits go first, then the oldest of messages. What people said through the API stays.
pub const MEMBERS_MAX: u32 = 64;
/// So long after a visit those who took part in it are of the team.
const AFTER_VISIT: Span = Span::Days(30);

/// Notes who an event says looks after the person, whose memberships are not among it. `secret`: that it happened at all is to be told to few.
///
/// # Errors
/// A database that cannot be read or written.
pub fn take(
    transaction: &Transaction<'_>,
    event: &Event,
    origin: PersonKey,
    secret: bool,
    zone: &TimeZone,
) -> rusqlite::Result<()> {
    let over = matches!(event.kind, Kind::Discharge | Kind::EdDischarge);
    if event.participants.is_empty() && !over && event.kind != Kind::DischargeCancelled {
        return Ok(());
    }
    let person = lineage::root(transaction, origin)?;
    let lasting =
        Lasting::of(&event.participants, (&event.feed, &event.patient), secret, (event.at_ms, event.received_ms));
    let told_as = lasting.told_as;
    let mut new = lasting.insert(transaction, (person, origin))?;
    let visit = event.visit.as_ref().map(|visit| format!("{}|{}", visit.authority, visit.number));
    let end_ms = AFTER_VISIT.end(event.at_ms, zone);
    if let Some(visit) = &visit {
        // An outpatient visit has no end that anybody tells of.
        let until_ms = (over || event.kind == Kind::OutpatientVisit).then_some(end_ms);
        for one in &event.participants {
            if let Some((Source::Visit, role)) = as_what(one) {
                let since_ms = event.at_ms;
                let told =
                    Told { source: Source::Visit, role, told_by: "", told_as, visit, since_ms, until_ms, secret };
                new |= insert_of_visit(transaction, (person, origin), one, &told)?;
            }
        }
        if secret {
            let sql = "UPDATE care_member SET secret = 1 WHERE person = ?1 AND visit = ?2";
            transaction.prepare_cached(sql)?.execute(params![person.0, visit])?;
        }
        let set = |until_ms: Option<i64>| {
            transaction
                .prepare_cached("UPDATE care_member SET until_ms = ?3 WHERE person = ?1 AND visit = ?2")?
                .execute(params![person.0, visit, until_ms])
        };
        match event.kind {
            Kind::Discharge | Kind::EdDischarge => set(Some(end_ms))?,
            Kind::DischargeCancelled => set(None)?,
            _ => 0,
        };
    }
    if new { bound(transaction, person, event.received_ms) } else { Ok(()) }
}

/// What is said of those who look after somebody beyond a visit.
#[derive(Clone, Copy)]
pub struct Lasting<'a> {
    participants: &'a [Participant],
    feed: &'a str,
    /// The number under which it is said ([`Patient::told_as`]).
    told_as: i64,
    /// That it was said at all is to be told to few.
    secret: bool,
    at_ms: i64,
    received_ms: i64,
}

impl<'a> Lasting<'a> {
    /// As a sender (MSH-3.1 and MSH-4.1, joined by `|`) says it of a patient, at a time and as of its receipt.
    pub fn of(
        participants: &'a [Participant],
        (feed, patient): (&'a str, &Patient),
        secret: bool,
        (at_ms, received_ms): (i64, i64),
    ) -> Lasting<'a> {
        Lasting { participants, feed, told_as: patient.told_as(feed), secret, at_ms, received_ms }
    }

    /// Whether there is one more than before.
    fn insert(&self, transaction: &Transaction<'_>, whose: (PersonKey, PersonKey)) -> rusqlite::Result<bool> {
        let mut new = false;
        for one in self.participants {
            if let Some((source, role)) = as_what(one).filter(|(source, _)| *source != Source::Visit) {
                let Lasting { feed: told_by, told_as, at_ms: since_ms, secret, .. } = *self;
                let told = Told { source, role, told_by, told_as, visit: "", since_ms, until_ms: None, secret };
                new |= insert_lasting(transaction, whose, one, &told)?;
            }
        }
        Ok(new)
    }
}

/// Notes who looks after the person beyond a visit, without an event.
///
/// # Errors
/// A database that cannot be read or written.
pub fn take_lasting(transaction: &Transaction<'_>, told: &Lasting<'_>, origin: PersonKey) -> rusqlite::Result<()> {
    let person = lineage::root(transaction, origin)?;
    if told.insert(transaction, (person, origin))? { bound(transaction, person, told.received_ms) } else { Ok(()) }
}

/// One statement.
struct Told<'a> {
    source: Source,
    role: &'a str,
    told_by: &'a str,
    told_as: i64,
    visit: &'a str,
    since_ms: i64,
    until_ms: Option<i64>,
    secret: bool,
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

/// Writes a statement of a lasting role, in the place of what the same sender said before under the same number, unless that is newer. Whether there was none.
fn insert_lasting(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    one: &Participant,
    told: &Told<'_>,
) -> rusqlite::Result<bool> {
    // Of persons that were merged each keeps its own: they may be told apart again.
    let sql = "SELECT number, since_ms, npi = ?6 AND family = ?7 AND given = ?8 FROM care_member
                 WHERE person = ?1 AND origin = ?2 AND source = ?3 AND role = ?4 AND told_by = ?5 AND told_as = ?9";
    let source = told.source.name();
    let (number, family, given) = (&one.number, &one.family, &one.given);
    let known: Option<(i64, i64, bool)> = transaction
        .prepare_cached(sql)?
        .query_row(
            params![person.0, origin.0, source, told.role, told.told_by, number, family, given, told.told_as],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((row, since_ms, same)) = known else {
        insert(transaction, (person, origin), one, told)?;
        return Ok(true);
    };
    if since_ms < told.since_ms || since_ms == told.since_ms && !same {
        // Of whom is known openly already nothing is told by a message that is to be told to few.
        let sql = "UPDATE care_member SET npi = ?2, family = ?3, given = ?4, since_ms = ?5, secret = ?6 AND (secret OR NOT ?7) WHERE number = ?1";
        let values = params![row, number, family, given, told.since_ms, told.secret, same];
        transaction.prepare_cached(sql)?.execute(values)?;
    }
    Ok(false)
}

/// Writes a statement of a visit, once. Whether there was none.
fn insert_of_visit(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    one: &Participant,
    told: &Told<'_>,
) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM care_member
                 WHERE person = ?1 AND source = ?2 AND role = ?3 AND visit = ?4 AND npi = ?5 AND family = ?6)";
    let values = params![person.0, told.source.name(), told.role, told.visit, one.number, one.family];
    let known: bool = transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    if !known {
        insert(transaction, (person, origin), one, told)?;
    }
    Ok(!known)
}

fn insert(
    transaction: &Transaction<'_>,
    (person, origin): (PersonKey, PersonKey),
    one: &Participant,
    told: &Told<'_>,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO care_member (person, origin, source, role, npi, family, given, told_by, visit, since_ms, until_ms, secret, told_as)
               VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)";
    transaction.prepare_cached(sql)?.execute(params![
        person.0,
        origin.0,
        told.source.name(),
        told.role,
        one.number,
        one.family,
        one.given,
        told.told_by,
        told.visit,
        told.since_ms,
        told.until_ms,
        told.secret,
        told.told_as,
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

/// A visit was somebody else's: who took part in it does not look after the person.
pub(in crate::coordination) fn forget_visit(
    transaction: &Transaction<'_>,
    person: PersonKey,
    visit: &str,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM care_member WHERE person = ?1 AND source = 'visit' AND visit = ?2";
    transaction.prepare_cached(sql)?.execute(params![person.0, visit])?;
    Ok(())
}

/// What was said under numbers of another patient is not said of this one. Who took part in a visit goes with that ([`forget_visit`]).
pub(in crate::coordination) fn disown(
    transaction: &Transaction<'_>,
    person: PersonKey,
    gone: &Gone,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM care_member WHERE person = ?1 AND origin = ?2 AND told_as = ?3 AND source IN ('pd1', 'rol')";
    for under in gone.under.iter().filter(|under| under.told_as != 0) {
        // Rosters that change a key change it there, and not where else it was written.
        for origin in BTreeSet::from([under.origin.0, lineage::known_as(transaction, under.origin)?.0]) {
            transaction.prepare_cached(sql)?.execute(params![person.0, origin, under.told_as])?;
        }
    }
    gone.visits.iter().try_for_each(|visit| forget_visit(transaction, person, visit))
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
        "INSERT INTO care_member (person, origin, source, role, npi, family, given, told_by, visit, since_ms, until_ms, secret)
         VALUES (?1,?2,'api',?3,?4,?5,?6,'','',?7,?8,0)",
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
    let sql = "SELECT role, source, npi, family, given, since_ms, until_ms, secret, origin, told_by FROM care_member
               WHERE person = ?1 AND (until_ms IS NULL OR until_ms >= ?2) ORDER BY number";
    let mut select = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok((read(row)?, (row.get::<_, [u8; 16]>(8)?, row.get::<_, String>(9)?)));
    let rows = select.query_map(params![person.0, at_ms], row)?;
    let mut members: Vec<(TeamMember, _)> = Vec::new();
    for row in rows {
        let (member, sender) = row?;
        let is_lasting = matches!(member.source, Source::Pd1 | Source::Rol);
        let same = |(known, by): &&mut (TeamMember, _)| {
            is_lasting && known.source == member.source && known.role == member.role && *by == sender
        };
        match members.iter_mut().find(same) {
            // What a sender says under another number of theirs is newer, or is not.
            Some((known, _)) => newest(known, member),
            None => members.push((member, sender)),
        }
    }
    Ok(members.into_iter().map(|(member, _)| member).collect())
}

/// Of two statements of one sender the newest. Of whom is known openly as well a secret one tells nothing.
fn newest(known: &mut TeamMember, mut member: TeamMember) {
    let is_same = (&known.number, &known.family, &known.given) == (&member.number, &member.family, &member.given);
    let secret = known.secret && member.secret;
    if known.since_ms <= member.since_ms {
        std::mem::swap(known, &mut member);
    }
    if is_same {
        known.secret = secret;
    }
}

/// The visits by which somebody is of the team of a person, as their labels are kept.
///
/// # Errors
/// A database that cannot be read.
pub fn visits_of(connection: &Connection, person: PersonKey, member: &TeamMember) -> rusqlite::Result<Vec<String>> {
    let person = lineage::root(connection, person)?;
    let sql = "SELECT DISTINCT visit FROM care_member
               WHERE person = ?1 AND source = 'visit' AND role = ?2 AND npi = ?3 AND family = ?4 AND given = ?5 ORDER BY visit";
    let TeamMember { role, number, family, given, .. } = member;
    let mut select = connection.prepare_cached(sql)?;
    select.query_map(params![person.0, role, number, family, given], |row| row.get(0))?.collect()
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
        secret: row.get(7)?,
    })
}
