//! Who became whom: merges of persons, and what they take with them.
//!
//! Each row that is kept of a person has two keys: `origin`, for whom it was written, and `person`, whose it is now. A merge is an edge from one person to another; a
//! row belongs to whoever its origin leads to. So taking an edge away gives back exactly what it brought, also where others were merged before or after.
use super::person::PersonKey;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS person_edge (origin BLOB PRIMARY KEY, person BLOB NOT NULL) STRICT, WITHOUT ROWID;";

/// Tables with the columns `person` and `origin`.
const KEPT: [&str; 4] = ["loop", "loop_history", "loop_waiting", "care_member"];
/// Merges of merges; where there are more, the last one counts.
const DEPTH_MAX: usize = 64;

/// Whose the rows of a person are now.
pub(super) fn root(connection: &Connection, person: PersonKey) -> rusqlite::Result<PersonKey> {
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

/// One person turns out to be another (A40).
pub(super) fn merge(transaction: &Transaction<'_>, from: PersonKey, into: PersonKey) -> rusqlite::Result<()> {
    let before = root(transaction, from)?;
    if before == root(transaction, into)? {
        return Ok(());
    }
    transaction.execute("INSERT OR REPLACE INTO person_edge VALUES (?1, ?2)", params![from.0, into.0])?;
    resettle(transaction, before)
}

/// They are two again (A37), whichever of them was merged into the other.
pub(super) fn unlink(transaction: &Transaction<'_>, one: PersonKey, other: PersonKey) -> rusqlite::Result<()> {
    let before = root(transaction, one)?;
    let sql = "DELETE FROM person_edge WHERE (origin = ?1 AND person = ?2) OR (origin = ?2 AND person = ?1)";
    transaction.execute(sql, params![one.0, other.0])?;
    resettle(transaction, before)
}

/// Gives the rows of a person to whoever their origin leads to.
fn resettle(transaction: &Transaction<'_>, person: PersonKey) -> rusqlite::Result<()> {
    for table in KEPT {
        let sql = format!("SELECT DISTINCT origin FROM {table} WHERE person = ?1 ORDER BY origin");
        let origins: Vec<[u8; 16]> =
            transaction.prepare(&sql)?.query_map([person.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut update =
            transaction.prepare(&format!("UPDATE {table} SET person = ?3 WHERE person = ?1 AND origin = ?2"))?;
        for origin in origins {
            let now = root(transaction, PersonKey(origin))?;
            if now != person {
                update.execute(params![person.0, origin, now.0])?;
            }
        }
    }
    Ok(())
}
