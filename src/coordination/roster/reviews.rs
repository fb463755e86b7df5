//! Matches that somebody has to look at: work items, one for each patient and doubt however many messages there are, until somebody decides. They hold numbers and keys,
//! no names.
//!
//! The list is bounded. When there is no room for another item the oldest that was decided goes; where none was, the new one is not kept, and the caller is told.
use super::aliases::{Alias, Aliases};
use super::key::PersonKey;
use super::matching::{Match, Reason};
use super::snapshot::Snapshot;
use super::systems::{self, Keyed};
use crate::coordination::event::Event;
use crate::fhir::identity;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// Items that are kept.
pub const REVIEWS_MAX: u64 = 10_000;

/// The tables of this part.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS roster_alias (
    system TEXT NOT NULL, value TEXT NOT NULL, person BLOB, decided INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (system, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS roster_alias_person ON roster_alias (person);
CREATE TABLE IF NOT EXISTS roster_review (
    id INTEGER PRIMARY KEY AUTOINCREMENT, subject BLOB NOT NULL UNIQUE, reason TEXT NOT NULL, candidates BLOB NOT NULL, identifiers TEXT NOT NULL,
    count INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, last_ms INTEGER NOT NULL, standing TEXT NOT NULL, person BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS roster_review_standing ON roster_review (standing, id);";

/// A match that somebody has to look at, or has looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Review {
    /// Its number.
    pub id: u64,
    /// The patient and the doubt: the same wherever it is numbered anew.
    pub subject: [u8; 16],
    /// The numbers that the messages have: system and value.
    pub identifiers: Vec<(String, String)>,
    /// Why.
    pub reason: Reason,
    /// Who it may be.
    pub candidates: Vec<PersonKey>,
    /// How many messages there were.
    pub count: u64,
    /// The first and the last of them, by number.
    pub seqs: (u64, u64),
    /// When the last was received, in milliseconds since 1970.
    pub last_ms: i64,
    /// What was decided; none while it is open.
    pub decision: Option<Decision>,
}

impl std::fmt::Debug for Review {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Review({}, {})", self.id, self.reason.name())
    }
}

/// What somebody decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is this person.
    Person(PersonKey),
    /// It is nobody in the rosters.
    Nobody,
}

/// A decision as the registry keeps it, with all that it takes effect by: the item may have another number, or none, when the journal is read again.
///
/// ```text
/// under the subject    {"person": "9c0e…" | null, "identifiers": [["mrn@SBMC", "00718243"], …]}
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The patient and the doubt.
    pub subject: [u8; 16],
    /// What was decided.
    pub decision: Decision,
    /// Of messages with these numbers.
    pub identifiers: Vec<(String, String)>,
}

impl Verdict {
    /// Under what it stands in the registry.
    pub fn id(&self) -> String {
        PersonKey(self.subject).to_string()
    }

    /// As it stands there.
    pub fn body(&self) -> Value {
        let person = match self.decision {
            Decision::Person(person) => Some(person.to_string()),
            Decision::Nobody => None,
        };
        json!({ "person": person, "identifiers": self.identifiers })
    }

    /// Reads an entry; none of one that another version wrote.
    pub fn parse(id: &str, body: &Value) -> Option<Verdict> {
        let PersonKey(subject) = PersonKey::parse(id)?;
        let decision = match body.get("person")? {
            Value::Null => Decision::Nobody,
            person => Decision::Person(PersonKey::parse(person.as_str()?)?),
        };
        let identifiers = Vec::deserialize(body.get("identifiers")?).ok()?;
        Some(Verdict { subject, decision, identifiers })
    }
}

/// The namespace of subjects, a UUID of our own.
const SUBJECTS: [u8; 16] =
    [0x7d, 0x50, 0x1e, 0xa6, 0x0f, 0x93, 0x4b, 0x2c, 0xb4, 0x6a, 0x92, 0x3e, 0x58, 0xc7, 0x14, 0x0d];

const COLUMNS: &str =
    "id, subject, identifiers, reason, candidates, count, first_seq, last_seq, last_ms, standing, person";

/// Notes a match that somebody has to look at. False where there was no room, or nothing to look at.
///
/// # Errors
/// A database that cannot be written.
pub fn note(transaction: &Transaction<'_>, event: &Event, found: &Match) -> rusqlite::Result<bool> {
    let Match::Review { reason, candidates } = found else { return Ok(false) };
    let mut identifiers = systems::of_message(&event.patient.identifiers);
    identifiers.sort_unstable();
    let candidates: Vec<u8> = candidates.iter().flat_map(|key| key.0).collect();
    let identifiers = text_of(&identifiers);
    let subject = subject(event, *reason, &identifiers, &candidates);
    let sql = "UPDATE roster_review SET count = count + (last_seq < ?2), last_seq = max(last_seq, ?2), last_ms = max(last_ms, ?3) WHERE subject = ?1";
    let seq = event.seq.cast_signed();
    if transaction.prepare_cached(sql)?.execute(params![subject, seq, event.received_ms])? > 0 {
        return Ok(true);
    }
    if !has_room(transaction)? {
        return Ok(false);
    }
    let sql = "INSERT INTO roster_review (subject, reason, candidates, identifiers, count, first_seq, last_seq, last_ms, standing)
               VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5, ?6, 'open')";
    let values = params![subject, reason.name(), candidates, identifiers, seq, event.received_ms];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(true)
}

/// The same patient and the same doubt. Without identifiers the patient is told by name and birth, of which only the hash is kept.
fn subject(event: &Event, reason: Reason, identifiers: &str, candidates: &[u8]) -> [u8; 16] {
    let patient = &event.patient;
    let who = if identifiers.is_empty() {
        format!("{}|{}|{}", patient.family, patient.given, patient.birth_date)
    } else {
        String::new()
    };
    let pieces = [reason.name().as_bytes(), b"|", identifiers.as_bytes(), b"|", who.as_bytes(), b"|", candidates];
    identity::version_5(&SUBJECTS, &pieces)
}

/// Identifiers as they are kept: a line each. Values hold no line ends and no tabs, which are white space.
fn text_of(identifiers: &[Keyed]) -> String {
    identifiers.iter().map(|(system, value)| format!("{system}\t{value}")).collect::<Vec<_>>().join("\n")
}

fn has_room(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let count: i64 =
        transaction.prepare_cached("SELECT count(*) FROM roster_review")?.query_row([], |row| row.get(0))?;
    if count.unsigned_abs() < REVIEWS_MAX {
        return Ok(true);
    }
    let sql = "DELETE FROM roster_review WHERE id = (SELECT min(id) FROM roster_review WHERE standing <> 'open')";
    Ok(transaction.prepare_cached(sql)?.execute([])? > 0)
}

/// The numbers of which a decision may say whose they are: those that other people of the rosters have stay theirs.
pub fn decidable<'v>(verdict: &'v Verdict, snapshot: &'v Snapshot) -> impl Iterator<Item = &'v Keyed> {
    let person = match verdict.decision {
        Decision::Person(person) => Some(person),
        Decision::Nobody => None,
    };
    let free =
        move |(system, value): &&Keyed| snapshot.owners(system, value).iter().all(|owner| Some(*owner) == person);
    verdict.identifiers.iter().filter(free)
}

/// Takes what somebody decided of an item: its numbers are matched so from now on. How many of them.
///
/// # Errors
/// A database that cannot be written.
pub fn decide(
    transaction: &Transaction<'_>,
    aliases: &mut Aliases,
    snapshot: &Snapshot,
    verdict: &Verdict,
    seq: u64,
) -> rusqlite::Result<usize> {
    let person = match verdict.decision {
        Decision::Person(person) => Some(person),
        Decision::Nobody => None,
    };
    let mut count = 0;
    for keyed in decidable(verdict, snapshot) {
        count += usize::from(aliases.set(transaction, keyed, Alias { person, decided: true }, seq)?);
    }
    let (standing, key) = (if person.is_some() { "person" } else { "nobody" }, person.map(|person| person.0));
    let sql = "UPDATE roster_review SET standing = ?2, person = ?3 WHERE subject = ?1";
    transaction.prepare_cached(sql)?.execute(params![verdict.subject, standing, key])?;
    Ok(count)
}

/// Items by number, behind one of them, at most so many; only open ones where that is wanted.
///
/// # Errors
/// A database that cannot be read.
pub fn list(connection: &Connection, open: bool, after: u64, most: usize) -> rusqlite::Result<Vec<Review>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM roster_review WHERE id > ?1 AND (NOT ?2 OR standing = 'open') ORDER BY id LIMIT ?3"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut select = connection.prepare_cached(&sql)?;
    select.query_map(params![after.cast_signed(), open, most], review)?.collect()
}

/// An item by its number.
///
/// # Errors
/// A database that cannot be read.
pub fn find(connection: &Connection, id: u64) -> rusqlite::Result<Option<Review>> {
    let Ok(id) = i64::try_from(id) else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM roster_review WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], review).optional()
}

fn review(row: &Row<'_>) -> rusqlite::Result<Review> {
    let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let identifiers: String = row.get(2)?;
    let identifiers = identifiers.lines().filter_map(|line| line.split_once('\t'));
    let candidates: Vec<u8> = row.get(4)?;
    let (standing, person): (String, Option<[u8; 16]>) = (row.get(9)?, row.get(10)?);
    let decided = || person.map_or(Decision::Nobody, |key| Decision::Person(PersonKey(key)));
    Ok(Review {
        id: number(0)?,
        subject: row.get(1)?,
        identifiers: identifiers.map(|(system, value)| (system.to_owned(), value.to_owned())).collect(),
        reason: Reason::parse(&row.get::<_, String>(3)?).unwrap_or(Reason::Conflict),
        candidates: candidates.as_chunks().0.iter().map(|key| PersonKey(*key)).collect(),
        count: number(5)?,
        seqs: (number(6)?, number(7)?),
        last_ms: row.get(8)?,
        decision: (standing != "open").then(decided),
    })
}
