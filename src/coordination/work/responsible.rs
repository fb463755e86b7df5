//! Who was found for each step that asks somebody, as of the last time: what the worklist shows, also where nobody has subscribed.
use super::super::care_team::Route;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;

/// To be made when the database is opened.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS responsible (loop INTEGER NOT NULL, step TEXT NOT NULL, routes TEXT NOT NULL, PRIMARY KEY (loop, step)) STRICT, WITHOUT ROWID;";

/// Notes who was found for a step, in the place of those of before.
///
/// # Errors
/// A database that cannot be written.
pub fn put(transaction: &Transaction<'_>, number: i64, step: &str, routes: &[Route]) -> rusqlite::Result<()> {
    let routes =
        serde_json::to_string(routes).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "INSERT OR REPLACE INTO responsible VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(sql)?.execute(params![number, step, routes])?;
    Ok(())
}

/// Forgets those of a loop.
///
/// # Errors
/// A database that cannot be written.
pub(super) fn remove(transaction: &Transaction<'_>, number: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM responsible WHERE loop = ?1")?.execute([number])?;
    Ok(())
}

/// Who was found for the steps of a loop, by the names of these.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn of_loop(connection: &Connection, number: i64) -> rusqlite::Result<BTreeMap<String, Vec<Route>>> {
    let mut select = connection.prepare_cached("SELECT step, routes FROM responsible WHERE loop = ?1")?;
    let rows = select.query_map([number], |row| {
        let routes = serde_json::from_str(row.get_ref(1)?.as_str()?)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, error.into()))?;
        Ok((row.get(0)?, routes))
    })?;
    rows.collect()
}
