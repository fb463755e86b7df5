//! What was told, so that it can be judged and translated once more: events and outcomes of loops for which somebody has a subscription, and what was withheld and is still to
//! be audited.
use crate::coordination::care_team::Route;
use crate::coordination::loops::Outcome;
use crate::coordination::measures::Updated;
use crate::coordination::roster::in_force::Taken;
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{Event, PersonKey};
use crate::privacy::audit;
use crate::privacy::{Label, Labels, Reason, Set};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

/// To be made when the database is opened.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS telling (id BLOB PRIMARY KEY, person BLOB NOT NULL, received_ms INTEGER NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS telling_age ON telling (received_ms);
CREATE TABLE IF NOT EXISTS withheld (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, at_ms INTEGER NOT NULL, reason TEXT NOT NULL, recipient TEXT NOT NULL, purpose TEXT NOT NULL,
    person TEXT NOT NULL, event BLOB NOT NULL, subscription TEXT NOT NULL
) STRICT;";

/// Rows that are forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;
/// Withheld ones that are audited at once.
pub const WITHHELD_MAX: usize = 1_000;
/// The namespace of the ids of what is withheld, a UUID of our own.
const NAMESPACE: [u8; 16] =
    [0xc3, 0x11, 0x7a, 0x5d, 0x90, 0x2e, 0x4f, 0x0b, 0x8d, 0x64, 0x1f, 0xe7, 0x35, 0xa9, 0x48, 0x26];

/// What it is about.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Subject {
    /// An event.
    Event(Box<Event>),
    /// What became of a loop, or what else somebody should know.
    Outcome {
        /// What.
        outcome: Box<Outcome>,
        /// Whom it leads to, one for each that it is for.
        routes: Vec<Route>,
    },
    /// A panel has other members. It is about nobody.
    Roster(Taken),
    /// Measures of a panel have other figures. It is about nobody.
    Measures(Updated),
}

impl Subject {
    /// What it is told as; none where nobody is told of such.
    pub fn trigger(&self) -> Option<Trigger> {
        match self {
            Subject::Event(event) => Some(Trigger::Event(event.kind)),
            Subject::Outcome { outcome, .. } => super::outcomes::trigger(outcome.kind),
            Subject::Roster(_) => Some(Trigger::RosterChanged),
            Subject::Measures(_) => Some(Trigger::MeasureUpdated),
        }
    }
}

/// Something that was told, or is to be.
#[derive(Clone, PartialEq)]
pub struct Telling {
    /// The id of the event or outcome.
    pub id: [u8; 16],
    /// Whom it is about; zeros where it is about nobody.
    pub person: PersonKey,
    /// When its message was received, or its time came.
    pub received_ms: i64,
    /// What.
    pub subject: Subject,
    /// The labels that it carries, by their codes: all, and those of the whole event.
    pub labels: (Vec<String>, Vec<String>),
    /// The panels that the person was in, with what the roster says of consent.
    pub panels: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Body {
    subject: Subject,
    labels: (Vec<String>, Vec<String>),
    panels: Vec<(String, String)>,
}

/// The same, as it is written.
#[derive(Serialize)]
struct Kept<'a> {
    subject: &'a Subject,
    labels: &'a (Vec<String>, Vec<String>),
    panels: &'a [(String, String)],
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Telling(received at {})", self.received_ms)
    }
}

impl Telling {
    /// When it happened, in milliseconds since 1970 (UTC).
    pub fn at_ms(&self) -> i64 {
        match &self.subject {
            Subject::Event(event) => event.at_ms,
            Subject::Outcome { outcome, .. } => outcome.at_ms,
            Subject::Roster(taken) => taken.since_ms,
            Subject::Measures(updated) => updated.at_ms,
        }
    }

    /// Its labels as they are numbered now. One that is not configured any more is no less of a secret: it counts as all of them.
    pub fn found(&self, labels: &Labels) -> crate::privacy::Found {
        let set = |codes: &[String]| {
            codes.iter().fold(Set::default(), |set, code| set.with(labels.of(code).unwrap_or(labels.every())))
        };
        crate::privacy::Found { all: set(&self.labels.0), whole: set(&self.labels.1) }
    }
}

/// Keeps it. What is known stays as it is.
///
/// # Errors
/// A database that cannot be written.
pub fn keep(transaction: &Transaction<'_>, telling: &Telling) -> rusqlite::Result<()> {
    let Telling { id, person, received_ms, subject, labels, panels } = telling;
    let body = serde_json::to_string(&Kept { subject, labels, panels })
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction.prepare_cached("INSERT OR IGNORE INTO telling VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        id,
        person.0,
        received_ms,
        body
    ])?;
    Ok(())
}

/// What was kept under an id.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn find(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<Option<Telling>> {
    let mut select = connection.prepare_cached("SELECT person, received_ms, body FROM telling WHERE id = ?1")?;
    let row = select.query_row([id], |row| {
        let body = row.get_ref(2)?.as_str()?;
        let body: Body = serde_json::from_str(body)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error.into()))?;
        let Body { subject, labels, panels } = body;
        Ok(Telling { id: *id, person: PersonKey(row.get(0)?), received_ms: row.get(1)?, subject, labels, panels })
    });
    row.optional()
}

/// Forgets what was received before a time, some of it at once; how much.
///
/// # Errors
/// A database that cannot be written.
pub fn forget(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("DELETE FROM telling WHERE id IN (SELECT id FROM telling WHERE received_ms < ?1 ORDER BY received_ms LIMIT ?2)")?
        .execute(params![before_ms, FORGOTTEN_MAX])
}

/// Something that was withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Of the audit entry.
    pub id: [u8; 16],
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Why.
    pub reason: Reason,
    /// From whom.
    pub recipient: String,
    /// What they would have had it for.
    pub purpose: String,
    /// The person's opaque id.
    pub person: String,
    /// The event.
    pub event: [u8; 16],
    /// The subscription.
    pub subscription: String,
}

impl Withheld {
    /// As the audit has it.
    pub fn entry(&self) -> audit::Entry<'_> {
        audit::Entry {
            id: self.id,
            at_ms: self.at_ms,
            outcome: audit::Outcome::Suppressed(self.reason),
            recipient: &self.recipient,
            purpose: &self.purpose,
            person: &self.person,
            event: self.event,
            subscription: Some(&self.subscription),
            number: None,
        }
    }
}

/// The id of an audit entry: the same when it is written again.
pub fn audit_id(event: &[u8; 16], subscription: &str, what: &str) -> [u8; 16] {
    crate::fhir::identity::version_5(&NAMESPACE, &[event, b"|", subscription.as_bytes(), b"|", what.as_bytes()])
}

/// Notes that something was withheld, until the audit has it.
///
/// # Errors
/// A database that cannot be written.
pub fn withhold(transaction: &Transaction<'_>, withheld: &Withheld) -> rusqlite::Result<()> {
    let Withheld { id, at_ms, reason, recipient, purpose, person, event, subscription } = withheld;
    let sql = "INSERT INTO withheld (id, at_ms, reason, recipient, purpose, person, event, subscription) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let values = params![id, at_ms, reason.name(), recipient, purpose, person, event, subscription];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// What the audit does not have yet, the oldest first, with its numbers.
///
/// # Errors
/// A database that cannot be read.
pub fn unaudited(connection: &Connection) -> rusqlite::Result<Vec<(i64, Withheld)>> {
    let sql = "SELECT number, id, at_ms, reason, recipient, purpose, person, event, subscription FROM withheld ORDER BY number LIMIT ?1";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([WITHHELD_MAX as i64], |row| {
        let reason = row.get_ref(3)?.as_str()?;
        let reason = [Reason::Policy, Reason::Consent].into_iter().find(|one| one.name() == reason);
        Ok((
            row.get(0)?,
            Withheld {
                id: row.get(1)?,
                at_ms: row.get(2)?,
                reason: reason.unwrap_or(Reason::Failed),
                recipient: row.get(4)?,
                purpose: row.get(5)?,
                person: row.get(6)?,
                event: row.get(7)?,
                subscription: row.get(8)?,
            },
        ))
    })?;
    rows.collect()
}

/// The audit has everything up to that number.
///
/// # Errors
/// A database that cannot be written.
pub fn audited(connection: &Connection, up_to: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM withheld WHERE number <= ?1")?.execute([up_to])?;
    Ok(())
}

/// The codes of labels.
pub(super) fn codes(labels: &Labels, set: Set) -> Vec<String> {
    labels.labels(set).map(|Label { code, .. }| code.clone()).collect()
}
