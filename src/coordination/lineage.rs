//! Who became whom: merges of persons, and keys that changed with a roster; and what they take with them.
//!
//! Each row that is kept of a person has two keys: `origin`, for whom it was written, and `person`, whose it is now. A merge is an edge from one person to another; a
//! row belongs to whoever its origin leads to. So taking an edge away gives back exactly what it brought, also where others were merged before or after.
//!
//! A key that changed is an edge too, one that no message takes away: the old key is nobody's until a roster names it again. Merges of the old key become those of the new
//! one, so a later unlink, which knows only the new one, finds them.
use super::event::VisitKey;
use super::person::PersonKey;
use super::sensitivity::visit_text;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS person_edge (origin BLOB PRIMARY KEY, person BLOB NOT NULL, renamed INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS person_edge_person ON person_edge (person);";

/// Tables with the columns `person` and `origin`.
const KEPT: [&str; 7] = ["loop", "loop_history", "loop_waiting", "care_member", "card", "card_end", "measure_fact"];
/// Merges of merges; where there are more, the last one counts.
const DEPTH_MAX: usize = 64;
/// Keys that stand for one and the same patient: where there are more, it is not known what all of them said.
const SAME_MAX: usize = 256;

/// For whom, and under which number of which feed ([`crate::coordination::event::Patient::told_as`]), something was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Under {
    /// For whom it was written, before any merge.
    pub origin: PersonKey,
    /// Number and feed, hashed; 0 where there is none.
    pub told_as: i64,
}

/// How something was told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// For whom.
    pub under: Under,
    /// Of which visit.
    pub visit: Option<VisitKey>,
}

/// What turns out to have been told of another patient.
#[derive(Debug, Default)]
pub struct Gone {
    /// All that was told so.
    pub under: Vec<Under>,
    /// These visits, by their texts, whoever told of them.
    pub visits: BTreeSet<String>,
    /// Visits of which it is told under the person's own numbers as well.
    pub kept: BTreeSet<String>,
}

impl Gone {
    /// Whether something that was told so, of that visit, is among it.
    pub fn has(&self, under: Under, visit: Option<&VisitKey>) -> bool {
        (under.told_as != 0 && self.under.contains(&under))
            || visit.is_some_and(|visit| self.visits.contains(&visit_text(visit)))
    }

    /// Whether a visit may be the person's all the same: what is to be done for it is not forgotten.
    pub fn spares(&self, visit: Option<&VisitKey>) -> bool {
        visit.map(visit_text).is_some_and(|visit| self.kept.contains(&visit) && !self.visits.contains(&visit))
    }
}

/// Whose the rows of a person are now.
///
/// # Errors
/// A database that cannot be read.
pub fn root(connection: &Connection, person: PersonKey) -> rusqlite::Result<PersonKey> {
    let mut select = connection.prepare_cached("SELECT person FROM person_edge WHERE origin = ?1")?;
    let mut person = person;
    for _ in 0..DEPTH_MAX {
        match select.query_row([person.0], |row| row.get(0)).optional()? {
            Some(next) => person = PersonKey(next),
            None => break,
        }
    }
    Ok(person)
}

/// The key by which a person is known now, whatever they were merged into: another one than was written where a roster has changed it.
///
/// # Errors
/// A database that cannot be read.
pub fn known_as(connection: &Connection, person: PersonKey) -> rusqlite::Result<PersonKey> {
    let mut select = connection.prepare_cached("SELECT person FROM person_edge WHERE origin = ?1 AND renamed = 1")?;
    Ok(select.query_row([person.0], |row| row.get(0)).optional()?.map_or(person, PersonKey))
}

/// The keys by which a person was known under earlier rosters, sorted.
///
/// # Errors
/// A database that cannot be read.
pub fn former(connection: &Connection, person: PersonKey) -> rusqlite::Result<Vec<PersonKey>> {
    let sql = "SELECT origin FROM person_edge WHERE person = ?1 AND renamed = 1 ORDER BY origin LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    select.query_map(params![person.0, SAME_MAX as i64], |row| row.get(0).map(PersonKey))?.collect()
}

/// Every key that stands for the same patient as one: by merges, and by rosters that changed it. Sorted, that one among them; none where there are too many to ask all of them.
///
/// # Errors
/// A database that cannot be read.
pub fn same(connection: &Connection, person: PersonKey) -> rusqlite::Result<Option<Vec<PersonKey>>> {
    let root = root(connection, person)?;
    let sql = "WITH RECURSIVE same (key) AS
                 (SELECT ?1 UNION SELECT origin FROM same JOIN person_edge ON person_edge.person = same.key LIMIT ?2)
               SELECT key FROM same ORDER BY key";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![root.0, SAME_MAX as i64 + 1], |row| row.get(0).map(PersonKey))?;
    let all: Vec<PersonKey> = rows.collect::<rusqlite::Result<_>>()?;
    Ok((all.len() <= SAME_MAX).then_some(all))
}

/// One person turns out to be another (A40).
pub(super) fn merge(transaction: &Transaction<'_>, from: PersonKey, into: PersonKey) -> rusqlite::Result<()> {
    let before = root(transaction, from)?;
    if before == root(transaction, into)? {
        return Ok(());
    }
    transaction.execute("INSERT OR REPLACE INTO person_edge VALUES (?1, ?2, 0)", params![from.0, into.0])?;
    resettle(transaction, before)
}

/// They are two again (A37), whichever of them was merged into the other.
pub(super) fn unlink(transaction: &Transaction<'_>, one: PersonKey, other: PersonKey) -> rusqlite::Result<()> {
    let before = root(transaction, one)?;
    let sql = "DELETE FROM person_edge
               WHERE renamed = 0 AND ((origin = ?1 AND person = ?2) OR (origin = ?2 AND person = ?1))";
    transaction.execute(sql, params![one.0, other.0])?;
    resettle(transaction, before)
}

/// Other rosters know a person by another key, who is not known by the old one any more: all that is kept under the old key is the new one's.
///
/// # Errors
/// A database that cannot be read or written.
pub fn rename(transaction: &Transaction<'_>, old: PersonKey, new: PersonKey) -> rusqlite::Result<()> {
    let (before, before_new) = (root(transaction, old)?, root(transaction, new)?);
    // What a sender says next of who looks after them takes the place of what it said before.
    let sql = "UPDATE care_member SET origin = ?3 WHERE person = ?1 AND origin = ?2";
    transaction.prepare_cached(sql)?.execute(params![before.0, old.0, new.0])?;
    let sql = "SELECT person FROM person_edge WHERE origin = ?1";
    let into = transaction.prepare_cached(sql)?.query_row([old.0], |row| row.get(0)).optional()?.map(PersonKey);
    let sql = "SELECT origin, renamed FROM person_edge WHERE person = ?1 ORDER BY origin";
    let mut select = transaction.prepare_cached(sql)?;
    let from = select.query_map([old.0], |row| Ok((PersonKey(row.get(0)?), row.get(1)?)))?;
    let from: Vec<(PersonKey, bool)> = from.collect::<rusqlite::Result<_>>()?;
    let sql = "DELETE FROM person_edge WHERE origin = ?1 OR person = ?1";
    transaction.prepare_cached(sql)?.execute([old.0])?;
    link(transaction, old, new, true)?;
    for (origin, renamed) in from.into_iter().filter(|(origin, _)| *origin != new) {
        link(transaction, origin, new, renamed)?;
    }
    if let Some(into) = into {
        link(transaction, new, into, false)?;
    }
    resettle(transaction, before)?;
    if root(transaction, new)? != before_new { resettle(transaction, before_new) } else { Ok(()) }
}

/// Keys that are somebody's own again get back what was written under them.
///
/// # Errors
/// A database that cannot be read or written.
pub fn restore(transaction: &Transaction<'_>, is_back: impl Fn(&PersonKey) -> bool) -> rusqlite::Result<()> {
    let mut select = transaction.prepare("SELECT origin FROM person_edge WHERE renamed = 1 ORDER BY origin")?;
    let keys = select.query_map([], |row| row.get(0).map(PersonKey))?;
    let back = keys.filter(|key| key.as_ref().map_or(true, &is_back));
    for key in back.collect::<rusqlite::Result<Vec<_>>>()? {
        let before = root(transaction, key)?;
        transaction.execute("DELETE FROM person_edge WHERE origin = ?1", [key.0])?;
        resettle(transaction, before)?;
    }
    Ok(())
}

/// An edge, unless there is one or it would lead back to where it begins.
fn link(transaction: &Transaction<'_>, from: PersonKey, into: PersonKey, renamed: bool) -> rusqlite::Result<()> {
    if root(transaction, into)? != from {
        let sql = "INSERT OR IGNORE INTO person_edge VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![from.0, into.0, renamed])?;
    }
    Ok(())
}

/// Gives the rows of a person to whoever their origin leads to.
fn resettle(transaction: &Transaction<'_>, person: PersonKey) -> rusqlite::Result<()> {
    for table in KEPT {
        let sql = format!("SELECT DISTINCT origin FROM {table} WHERE person = ?1 ORDER BY origin");
        let origins: Vec<[u8; 16]> =
            transaction.prepare_cached(&sql)?.query_map([person.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let sql = format!("UPDATE {table} SET person = ?3 WHERE person = ?1 AND origin = ?2");
        for origin in origins {
            let now = root(transaction, PersonKey(origin))?;
            if now != person {
                transaction.prepare_cached(&sql)?.execute(params![person.0, origin, now.0])?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::{card, care_team, loops};

    const A: PersonKey = PersonKey([1; 16]);
    const B: PersonKey = PersonKey([2; 16]);
    const C: PersonKey = PersonKey([3; 16]);
    const D: PersonKey = PersonKey([4; 16]);

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for tables in loops::TABLES.iter().chain([&care_team::TABLES, &card::TABLES]) {
            connection.execute_batch(tables).unwrap();
        }
        connection
    }

    /// Something is written of a person.
    fn write(transaction: &Transaction<'_>, origin: PersonKey) {
        let person = root(transaction, origin).unwrap();
        let sql = "INSERT INTO loop_history (person, origin, stay, visit, at_ms, end_ms, disposition) VALUES (?1, ?2, 1, '', 0, NULL, '')";
        transaction.execute(sql, params![person.0, origin.0]).unwrap();
        let sql = "INSERT INTO care_member (person, origin, source, role, npi, family, given, told_by, visit, since_ms, until_ms, secret)
                   VALUES (?1, ?2, 'pd1', 'pcp', '', 'X', '', 'FEED', '', 0, NULL, 0)";
        transaction.execute(sql, params![person.0, origin.0]).unwrap();
    }

    /// Whose the visits are that were written of these.
    fn whose<const N: usize>(transaction: &Transaction<'_>, origins: [PersonKey; N]) -> [PersonKey; N] {
        origins.map(|origin| {
            let sql = "SELECT DISTINCT person FROM loop_history WHERE origin = ?1";
            let person = transaction.query_row(sql, [origin.0], |row| row.get(0).map(PersonKey)).unwrap();
            assert_eq!(person, root(transaction, origin).unwrap());
            person
        })
    }

    #[test]
    fn another_key_takes_all_along_and_merges_too() {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        [A, C, D].into_iter().for_each(|one| write(&transaction, one));
        merge(&transaction, C, A).unwrap();
        merge(&transaction, A, D).unwrap();
        rename(&transaction, A, B).unwrap();
        write(&transaction, B);
        assert_eq!(whose(&transaction, [A, B, C, D]), [D; 4]);
        assert_eq!((known_as(&transaction, A).unwrap(), known_as(&transaction, C).unwrap()), (B, C));
        assert_eq!(former(&transaction, B).unwrap(), [A]);
        assert_eq!(same(&transaction, C).unwrap().unwrap(), [A, B, C, D]);
        let sql = "SELECT count(*) FROM care_member WHERE origin = ?1";
        let count = |key: PersonKey| transaction.query_row(sql, [key.0], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((count(A), count(B)), (0, 2), "what a feed says next of B is instead of what it said of A");

        // Who is told apart is named by the key of now.
        unlink(&transaction, B, D).unwrap();
        assert_eq!(whose(&transaction, [A, B, C, D]), [B, B, B, D]);
        unlink(&transaction, C, B).unwrap();
        assert_eq!(whose(&transaction, [A, B, C, D]), [B, B, C, D]);
        // No unlink makes two of the keys of one person.
        unlink(&transaction, A, B).unwrap();
        assert_eq!(whose(&transaction, [A, B]), [B, B]);
    }

    #[test]
    fn a_key_that_is_somebodys_again_has_its_own_and_keys_may_go_back_and_on() {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        write(&transaction, A);
        rename(&transaction, A, B).unwrap();
        write(&transaction, B);
        rename(&transaction, B, C).unwrap();
        write(&transaction, C);
        assert_eq!(whose(&transaction, [A, B, C]), [C; 3]);
        assert_eq!((former(&transaction, C).unwrap(), known_as(&transaction, A).unwrap()), (vec![A, B], C));
        // The first roster again.
        restore(&transaction, |key| *key == A).unwrap();
        assert_eq!(whose(&transaction, [A, B, C]), [A, C, C]);
        rename(&transaction, C, A).unwrap();
        assert_eq!(whose(&transaction, [A, B, C]), [A; 3]);
        assert_eq!(
            (former(&transaction, A).unwrap(), same(&transaction, B).unwrap()),
            (vec![B, C], Some(vec![A, B, C]))
        );
        // Both are there: two after all.
        restore(&transaction, |key| *key == C).unwrap();
        assert_eq!(whose(&transaction, [A, B, C]), [A, A, C]);
    }

    #[test]
    fn merges_never_lead_in_a_circle() {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        [A, B, C].into_iter().for_each(|one| write(&transaction, one));
        merge(&transaction, C, A).unwrap();
        merge(&transaction, B, C).unwrap();
        rename(&transaction, A, B).unwrap();
        let [of_a, of_b, of_c] = whose(&transaction, [A, B, C]);
        assert!(of_a == of_b && of_b == of_c && of_a != A, "{of_a} {of_b} {of_c}");
        merge(&transaction, D, B).unwrap();
        rename(&transaction, B, D).unwrap();
        assert_eq!(whose(&transaction, [A, B]), whose(&transaction, [B, C]));
        for key in [A, B, C, D] {
            let end = root(&transaction, key).unwrap();
            let sql = "SELECT count(*) FROM person_edge WHERE origin = ?1";
            assert_eq!(transaction.query_row(sql, [end.0], |row| row.get::<_, i64>(0)).unwrap(), 0, "{key}");
        }
    }

    #[test]
    fn of_too_many_keys_it_is_not_known_what_all_said() {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        for number in 1..SAME_MAX {
            let mut other = [9; 16];
            other[..8].copy_from_slice(&(number as u64).to_le_bytes());
            merge(&transaction, PersonKey(other), A).unwrap();
        }
        assert_eq!(same(&transaction, A).unwrap().map(|all| all.len()), Some(SAME_MAX));
        merge(&transaction, B, A).unwrap();
        assert_eq!(same(&transaction, A).unwrap(), None);
    }
}
