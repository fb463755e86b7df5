//! Labels that a visit has got by now, from messages of which no event came too: who is behind a rate is judged by them as well, not only by what was known when they were counted.
use super::fact::hash;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// `visit` is hashed, labels stand by their names, parted by blanks, sorted; `at_ms` is when something was received of it last.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS measure_secret (visit INTEGER PRIMARY KEY, whole TEXT NOT NULL, labels TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS measure_secret_age ON measure_secret (at_ms);";

/// Rows that go at once.
const PRUNED_MAX: i64 = 1_000;

/// Labels of something as a whole, and all of its labels.
pub type Names = (Vec<String>, Vec<String>);

/// A visit, by its key as text, has labels: of what was told as a whole, and all.
///
/// # Errors
/// A database that cannot be written.
pub fn keep(
    transaction: &Transaction<'_>,
    visit: &str,
    (whole, all): (&[&str], &[&str]),
    at_ms: i64,
) -> rusqlite::Result<()> {
    let key = hash(&[visit]).cast_signed();
    let (known_whole, known) = of(transaction, key.cast_unsigned())?;
    let text = |known: Vec<String>, more: &[&str]| {
        let mut all: Vec<String> = known.into_iter().chain(more.iter().map(|name| (*name).to_owned())).collect();
        all.sort_unstable();
        all.dedup();
        all.join(" ")
    };
    let sql = "INSERT INTO measure_secret VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET whole = excluded.whole, labels = excluded.labels, at_ms = max(at_ms, excluded.at_ms)";
    let row = params![key, text(known_whole, whole), text(known, all), at_ms];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// The labels of a visit, hashed; none of no visit.
pub(super) fn of(connection: &Connection, visit: u64) -> rusqlite::Result<Names> {
    let sql = "SELECT whole, labels FROM measure_secret WHERE visit = ?1";
    let names = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let read = |row: &rusqlite::Row<'_>| Ok((names(row.get(0)?), names(row.get(1)?)));
    Ok(connection.prepare_cached(sql)?.query_row([visit.cast_signed()], read).optional()?.unwrap_or_default())
}

/// Forgets what is older than is kept.
pub(super) fn prune(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM measure_secret WHERE visit IN (SELECT visit FROM measure_secret WHERE at_ms < ?1 ORDER BY at_ms, visit LIMIT ?2)";
    transaction.prepare_cached(sql)?.execute([before_ms, PRUNED_MAX])?;
    Ok(())
}
