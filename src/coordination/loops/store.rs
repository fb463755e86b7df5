//! Loops in the database: rows in, rows out, and the timers that follow from them.
use super::model::{Closed, Loop, State, Step, StepState};
use super::timers::{Timer, Timers};
use crate::coordination::PersonKey;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS loop (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, definition TEXT NOT NULL, person BLOB NOT NULL, origin BLOB NOT NULL, opener BLOB NOT NULL,
    opened_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL, state TEXT NOT NULL, facts TEXT NOT NULL, told_as INTEGER NOT NULL DEFAULT 0, idle INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS loop_person ON loop (person, number);
CREATE INDEX IF NOT EXISTS loop_idle ON loop (received_ms, number) WHERE idle = 1;
CREATE TABLE IF NOT EXISTS loop_step (
    loop INTEGER NOT NULL, place INTEGER NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, base_ms INTEGER, from_ms INTEGER, due_ms INTEGER, expire_ms INTEGER,
    level INTEGER NOT NULL, turn INTEGER NOT NULL, timer_ms INTEGER, closed_by BLOB, closed_event_ms INTEGER, closed_received_ms INTEGER, inferred INTEGER,
    reference TEXT, start_ms INTEGER, handoff INTEGER, closed_how TEXT, PRIMARY KEY (loop, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS loop_timer ON loop_step (timer_ms, loop, place) WHERE timer_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS loop_panel (panel TEXT NOT NULL, state TEXT NOT NULL, loop INTEGER NOT NULL, PRIMARY KEY (panel, state, loop)) STRICT, WITHOUT ROWID;";

const COLUMNS: &str = "number, id, definition, person, origin, opener, opened_ms, received_ms, state, facts, told_as";

/// Every timer, for a start.
pub(super) fn timers(connection: &Connection) -> rusqlite::Result<Timers> {
    let sql = "SELECT timer_ms, loop, place FROM loop_step WHERE timer_ms IS NOT NULL ORDER BY timer_ms, loop, place";
    let mut select = connection.prepare(sql)?;
    select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<Timer>>>()
        .map(|timers| timers.into_iter().collect())
}

/// The number of the next loop. No number is given twice, also when the newest loops are gone: what was told names loops by them.
pub(super) fn next_number(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .query_row("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'loop'", [], |row| row.get(0))
}

/// A loop by its number.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn find(connection: &Connection, number: i64) -> rusqlite::Result<Option<Loop>> {
    let sql = format!("SELECT {COLUMNS} FROM loop WHERE number = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([number], read).optional()?;
    found.map(|found| with_steps(connection, found)).transpose()
}

/// The newest loops of a person, oldest first, at most so many.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn of_person(connection: &Connection, person: PersonKey, most: usize) -> rusqlite::Result<Vec<Loop>> {
    let sql = format!("SELECT {COLUMNS} FROM loop WHERE person = ?1 ORDER BY number DESC LIMIT ?2");
    let mut select = connection.prepare_cached(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found: Vec<_> = select.query_map(params![person.0, most], read)?.collect::<rusqlite::Result<_>>()?;
    found.into_iter().rev().map(|found| with_steps(connection, found)).collect()
}

/// The newest loops of a person that go on, oldest first, at most so many.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn going_on(connection: &Connection, person: PersonKey, most: usize) -> rusqlite::Result<Vec<Loop>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM loop WHERE person = ?1 AND state IN ('open', 'overdue') ORDER BY number DESC LIMIT ?2"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let found: Vec<_> = select.query_map(params![person.0, most], read)?.collect::<rusqlite::Result<_>>()?;
    found.into_iter().rev().map(|found| with_steps(connection, found)).collect()
}

/// The newest loops of a person of which something can still become, oldest first, at most so many: those that go on, and those that were closed and opened no earlier than
/// a moment.
pub(super) fn current(
    connection: &Connection,
    person: PersonKey,
    closed_from_ms: i64,
    most: usize,
) -> rusqlite::Result<Vec<Loop>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM loop WHERE person = ?1 AND (state IN ('open', 'overdue') OR state IN ('met', 'met-late') AND opened_ms >= ?3)
         ORDER BY number DESC LIMIT ?2"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = params![person.0, most, closed_from_ms];
    let found: Vec<_> = select.query_map(values, read)?.collect::<rusqlite::Result<_>>()?;
    found.into_iter().rev().map(|found| with_steps(connection, found)).collect()
}

/// A page of the worklist of a panel: loops in a state, behind a number (0: from the first on), at most so many.
///
/// # Errors
/// A database that cannot be read, or that another version wrote.
pub fn worklist(
    connection: &Connection,
    panel: &str,
    state: State,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Loop>> {
    let sql = "SELECT loop FROM loop_panel WHERE panel = ?1 AND state = ?2 AND loop > ?3 ORDER BY loop LIMIT ?4";
    let mut select = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let numbers: Vec<i64> = select
        .query_map(params![panel, state.name(), after, limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    numbers.into_iter().filter_map(|number| find(connection, number).transpose()).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Loop> {
    Ok(Loop {
        number: row.get(0)?,
        id: row.get(1)?,
        definition: row.get(2)?,
        person: PersonKey(row.get(3)?),
        origin: PersonKey(row.get(4)?),
        opener: row.get(5)?,
        opened_ms: row.get(6)?,
        received_ms: row.get(7)?,
        state: State::parse(row.get_ref(8)?.as_str()?).ok_or_else(|| unknown(8))?,
        facts: parse(9, row.get_ref(9)?.as_str()?)?,
        told_as: row.get(10)?,
        steps: Vec::new(),
    })
}

fn with_steps(connection: &Connection, mut found: Loop) -> rusqlite::Result<Loop> {
    let sql = "SELECT id, state, base_ms, from_ms, due_ms, expire_ms, level, turn, timer_ms, closed_by, closed_event_ms, closed_received_ms, inferred, reference,
                      start_ms, handoff, closed_how FROM loop_step WHERE loop = ?1 ORDER BY place";
    let mut select = connection.prepare_cached(sql)?;
    found.steps = select.query_map([found.number], step)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn step(row: &Row<'_>) -> rusqlite::Result<Step> {
    let closed = match row.get(9)? {
        None => None,
        Some(event) => Some(Closed {
            event,
            event_ms: row.get(10)?,
            received_ms: row.get(11)?,
            by: parse(16, row.get_ref(16)?.as_str()?)?,
            inferred: row.get(12)?,
            reference: parse(13, row.get_ref(13)?.as_str()?)?,
            start_ms: row.get(14)?,
            handoff: row.get(15)?,
        }),
    };
    Ok(Step {
        id: row.get(0)?,
        state: StepState::parse(row.get_ref(1)?.as_str()?).ok_or_else(|| unknown(1))?,
        base_ms: row.get(2)?,
        from_ms: row.get(3)?,
        due_ms: row.get(4)?,
        expire_ms: row.get(5)?,
        level: row.get(6)?,
        turn: row.get(7)?,
        timer_ms: row.get(8)?,
        closed,
    })
}

/// Writes a loop, and sets its timers. `before` is what stands in the database; none for a new one.
pub(super) fn save(
    transaction: &Transaction<'_>,
    before: Option<&Loop>,
    after: &Loop,
    timers: &mut Timers,
) -> rusqlite::Result<()> {
    if before.is_some_and(|before| before == after) {
        return Ok(());
    }
    save_row(transaction, before, after)?;
    if before.is_none_or(|before| before.state != after.state) {
        list(transaction, before, after)?;
    }
    for (place, step) in after.steps.iter().enumerate() {
        let stored = before.and_then(|before| before.steps.get(place));
        if stored != Some(step) {
            // A definition has no more than STEPS_MAX.
            let place = u8::try_from(place).unwrap_or(u8::MAX);
            save_step(transaction, after.number, place, step)?;
            timers.change(after.number, place, stored.and_then(|stored| stored.timer_ms), step.timer_ms);
        }
    }
    Ok(())
}

/// Writes what is not of its steps. Most changes are of the state alone.
fn save_row(transaction: &Transaction<'_>, before: Option<&Loop>, after: &Loop) -> rusqlite::Result<()> {
    if let Some(before) = before.filter(|before| before.facts == after.facts) {
        if before.state != after.state || before.is_idle() != after.is_idle() {
            transaction.prepare_cached("UPDATE loop SET state = ?2, idle = ?3 WHERE number = ?1")?.execute(params![
                after.number,
                after.state.name(),
                after.is_idle()
            ])?;
        }
        return Ok(());
    }
    transaction
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO loop ({COLUMNS}, idle) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)"
        ))?
        .execute(params![
            after.number,
            after.id,
            after.definition,
            after.person.0,
            after.origin.0,
            after.opener,
            after.opened_ms,
            after.received_ms,
            after.state.name(),
            text(&after.facts)?,
            after.told_as,
            after.is_idle(),
        ])?;
    Ok(())
}

/// Takes out loops that were opened by what was received before a moment and of which time brings nothing more, the oldest first, at most so many; their numbers.
pub(super) fn prune(transaction: &Transaction<'_>, before_ms: i64, most: usize) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT number FROM loop WHERE idle = 1 AND received_ms < ?1 ORDER BY received_ms, number LIMIT ?2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut select = transaction.prepare_cached(sql)?;
    let numbers: Vec<i64> = select.query_map([before_ms, most], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for number in &numbers {
        let Some(found) = find(transaction, *number)? else { continue };
        for panel in &found.facts.panels {
            unlist(transaction, panel, found.state, *number)?;
        }
        transaction.prepare_cached("DELETE FROM loop_step WHERE loop = ?1")?.execute([number])?;
        transaction.prepare_cached("DELETE FROM loop WHERE number = ?1")?.execute([number])?;
    }
    Ok(numbers)
}

/// Puts a loop on the worklists of its panels.
fn list(transaction: &Transaction<'_>, before: Option<&Loop>, after: &Loop) -> rusqlite::Result<()> {
    for panel in &after.facts.panels {
        if let Some(before) = before {
            unlist(transaction, panel, before.state, after.number)?;
        }
        transaction.prepare_cached("INSERT OR IGNORE INTO loop_panel VALUES (?1, ?2, ?3)")?.execute(params![
            panel,
            after.state.name(),
            after.number
        ])?;
    }
    Ok(())
}

fn unlist(transaction: &Transaction<'_>, panel: &str, state: State, number: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM loop_panel WHERE panel = ?1 AND state = ?2 AND loop = ?3")?
        .execute(params![panel, state.name(), number])?;
    Ok(())
}

fn save_step(transaction: &Transaction<'_>, number: i64, place: u8, step: &Step) -> rusqlite::Result<()> {
    let closed = step.closed.as_ref();
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO loop_step VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)",
        )?
        .execute(params![
            number,
            place,
            step.id,
            step.state.name(),
            step.base_ms,
            step.from_ms,
            step.due_ms,
            step.expire_ms,
            step.level,
            step.turn,
            step.timer_ms,
            closed.map(|closed| closed.event),
            closed.map(|closed| closed.event_ms),
            closed.map(|closed| closed.received_ms),
            closed.map(|closed| closed.inferred),
            closed.map(|closed| text(&closed.reference)).transpose()?,
            closed.and_then(|closed| closed.start_ms),
            closed.and_then(|closed| closed.handoff),
            closed.map(|closed| text(&closed.by)).transpose()?,
        ])?;
    Ok(())
}

/// What is kept as JSON.
pub(super) fn text<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The same, read back.
pub(super) fn parse<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    // The column alone: what serde says of a value could quote it.
    serde_json::from_str(text).map_err(|_| unknown(column))
}

/// A word that this version does not write.
fn unknown(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "written by another version".into())
}
