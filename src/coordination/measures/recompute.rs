//! The counters from all facts anew: what the counters must be, however they came to be.
use super::counting::ALL;
use super::lens::Lens;
use super::series::Reader;
use super::settle::Scratch;
use super::store::{COUNTERS, Counters, create};
use crate::coordination::PersonKey;
use crate::coordination::store::Error;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

/// Changes that are kept before they are written.
const CHUNK: usize = 1_000_000;

/// A table in which counters and facts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub table: &'static str,
    /// Rows that are there and should not be.
    pub more: u64,
    /// Rows that should be there and are not.
    pub fewer: u64,
}

/// Counts all facts anew, into the tables of a schema (`main`, or `temp` to compare); how many facts there are.
///
/// # Errors
/// A database that cannot be read or written.
pub fn recompute(connection: &Connection, lens: &Lens, schema: &str) -> Result<u64, Error> {
    create(connection, schema)?;
    for (name, _) in COUNTERS {
        connection.execute_batch(&format!("DELETE FROM {schema}.{name};"))?;
    }
    let mut counters = Counters::default();
    let mut cells = Vec::new();
    let count = each(connection, |person, scratch| {
        cells.clear();
        lens.contributions(scratch, ALL, |cell| cells.push(cell));
        cells.iter().for_each(|cell| counters.add(cell, 1));
        counters.list(lens.definitions(), person, [&[], &cells], ALL);
        if counters.len() > CHUNK {
            counters.flush(connection, schema)?;
        }
        Ok(())
    })?;
    counters.flush(connection, schema)?;
    Ok(count)
}

/// Counts anew, or checks, beside a gateway that may run: words and definitions are read behind the lock, so that they are those of the facts. None where the counters were
/// made by other measures than the reader has.
///
/// # Errors
/// A database that cannot be read or written.
pub fn recount(
    connection: &mut Connection,
    reader: &mut Reader,
    is_check: bool,
) -> Result<Option<(u64, Vec<Difference>)>, Error> {
    let behavior = if is_check { TransactionBehavior::Deferred } else { TransactionBehavior::Immediate };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let sql = "SELECT fingerprint FROM measure_state";
    let made_with: Option<Vec<u8>> = transaction.query_row(sql, [], |row| row.get(0)).optional()?;
    if made_with.as_deref() != Some(reader.lens().fingerprint()) {
        return Ok(None);
    }
    reader.refresh(&transaction)?;
    if is_check {
        return check(&transaction, reader.lens()).map(Some);
    }
    let count = recompute(&transaction, reader.lens(), "main")?;
    transaction.commit()?;
    Ok(Some((count, Vec::new())))
}

/// Decodes and evaluates all facts and writes nothing, to see how long that takes; how many there are.
///
/// # Errors
/// A database that cannot be read.
pub fn tally(connection: &Connection, lens: &Lens) -> Result<u64, Error> {
    let mut cells = 0_u64;
    let count = each(connection, |_, scratch| {
        lens.contributions(scratch, ALL, |_| cells += 1);
        Ok(())
    })?;
    std::hint::black_box(cells);
    Ok(count)
}

/// Goes through all persons with their facts; how many facts there are.
fn each(
    connection: &Connection,
    mut add: impl FnMut(PersonKey, &mut Scratch) -> Result<(), Error>,
) -> Result<u64, Error> {
    let (mut scratch, mut count) = (Scratch::default(), 0);
    let damaged = |_| Error::Damaged("measure_fact");
    // Most have one row, which is read where it stands; in the order of keys each would be another page.
    let sql = "SELECT person FROM measure_fact GROUP BY person HAVING count(*) > 1 ORDER BY person";
    let mut select = connection.prepare(sql)?;
    let several = select.query_map([], |row| row.get(0).map(PersonKey))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut select = connection.prepare("SELECT person, facts FROM measure_fact")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let person = PersonKey(row.get(0)?);
        if several.binary_search(&person).is_err() {
            scratch.facts();
            count += scratch.more(row.get_ref(1)?.as_blob().unwrap_or_default()).map_err(damaged)?;
            add(person, &mut scratch)?;
        }
    }
    let mut select = connection.prepare("SELECT facts FROM measure_fact WHERE person = ?1 ORDER BY origin")?;
    for person in several {
        scratch.facts();
        let mut rows = select.query([person.0])?;
        while let Some(row) = rows.next()? {
            count += scratch.more(row.get_ref(0)?.as_blob().unwrap_or_default()).map_err(damaged)?;
        }
        add(person, &mut scratch)?;
    }
    Ok(count)
}

/// Whether the counters are what the facts say: how many facts there are, and where they differ. Nothing in the database is changed.
///
/// # Errors
/// A database that cannot be read.
pub fn check(connection: &Connection, lens: &Lens) -> Result<(u64, Vec<Difference>), Error> {
    let count = recompute(connection, lens, "temp")?;
    let mut found = Vec::new();
    for (table, _) in COUNTERS {
        let rows = |left: &str, right: &str| {
            let sql =
                format!("SELECT count(*) FROM (SELECT * FROM {left}.{table} EXCEPT SELECT * FROM {right}.{table})");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
        };
        let (more, fewer) = (rows("main", "temp")?, rows("temp", "main")?);
        if more + fewer > 0 {
            found.push(Difference { table, more, fewer });
        }
    }
    // A table of the same name would be read instead of that of the database.
    for (table, _) in COUNTERS {
        connection.execute_batch(&format!("DROP TABLE temp.{table};"))?;
    }
    Ok((count, found))
}
