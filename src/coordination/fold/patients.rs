//! Who a visit is of, and who has died: told once a person.
use super::super::read::Reading;
use super::super::store::Error;
use super::visits::Person;
use rusqlite::{Transaction, params};
use sha2::{Digest, Sha256};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS death (person BLOB PRIMARY KEY, seq INTEGER NOT NULL, received_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS death_received ON death (received_ms);";

/// How long a death is remembered: bills and corrections say again for years that somebody has died.
const DEATHS_MS: i64 = 3 * 365 * 86_400_000;

/// Whether a PID tells of anybody who could be found: by an identifier or a name.
pub(super) fn is_somebody(reading: Reading<'_>, pid: usize) -> bool {
    reading.repetitions(pid, 3).any(|span| !reading.part(span, 1, 1).is_empty())
        || !reading.bytes(Some(pid), 5, 1).is_empty()
}

/// Whom a PID is about: by PID-3 as their messages are kept in order (MR, PI, PT, else the first that is no social security number), without any by name and date of
/// birth; zeros where nobody can tell. `sender` stands for an authority that is not told.
pub(super) fn person(reading: Reading<'_>, pid: usize, sender: &[u8]) -> Person {
    let identifiers = || reading.repetitions(pid, 3).filter(|span| !reading.part(*span, 1, 1).is_empty());
    let preferred = [b"MR", b"PI", b"PT"]
        .into_iter()
        .find_map(|kind| identifiers().find(|span| reading.part(*span, 5, 1).eq_ignore_ascii_case(kind)));
    let mut sha = Sha256::new();
    let mut add = |parts: &[&[u8]]| {
        for part in parts {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
    };
    match preferred.or_else(|| identifiers().find(|span| reading.part(*span, 5, 1) != b"SS")) {
        Some(chosen) => {
            let authority = [1, 2].map(|part| reading.part(chosen, 4, part)).into_iter().find(|part| !part.is_empty());
            add(&[authority.unwrap_or(sender), reading.part(chosen, 1, 1)]);
        }
        None => {
            let [family, given] = [1, 2].map(|component| reading.bytes(Some(pid), 5, component));
            if family.is_empty() {
                return Person::default();
            }
            add(&[sender, family, given, reading.bytes(Some(pid), 7, 1)]);
        }
    }
    let mut person = Person::default();
    person.copy_from_slice(&sha.finalize()[..16]);
    person
}

/// Whether PV1-36 says that the patient died (codes of the uniform bill, UB-04 form locator 17).
pub(super) fn is_death(disposition: &str) -> bool {
    matches!(disposition, "20" | "40" | "41" | "42")
}

/// Deaths that were told.
pub(super) struct Deaths;

impl Deaths {
    /// Remembers a death; whether it was not known. Of somebody of whom nobody can tell who they are none is.
    pub fn note(
        &self,
        transaction: &Transaction<'_>,
        person: Person,
        seq: u64,
        received_ms: i64,
    ) -> Result<bool, Error> {
        if person == Person::default() {
            return Ok(true);
        }
        let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO death VALUES (?1, ?2, ?3)")?;
        Ok(insert.execute(params![person, seq.cast_signed(), received_ms])? > 0)
    }

    /// Takes a death back.
    pub fn forget(&self, transaction: &Transaction<'_>, person: Person) -> Result<(), Error> {
        transaction.prepare_cached("DELETE FROM death WHERE person = ?1")?.execute([person])?;
        Ok(())
    }

    /// Lets go of what is old.
    pub fn let_go(&self, transaction: &Transaction<'_>, received_ms: i64) -> Result<(), Error> {
        transaction.execute("DELETE FROM death WHERE received_ms < ?1", [received_ms.saturating_sub(DEATHS_MS)])?;
        Ok(())
    }
}
