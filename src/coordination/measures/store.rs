//! The tables, and how what one person adds comes into the counters.
use super::cell::{Cell, Ways};
use super::definition::Definition;
use super::period::month_of;
use crate::coordination::{Kind, PersonKey};
use hashbrown::HashMap;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// What belongs to persons, and moves with them. What has moved is noted until it has been counted.
pub const FACTS: &str = "
CREATE TABLE IF NOT EXISTS measure_fact (
    origin BLOB NOT NULL UNIQUE, person BLOB NOT NULL, count INTEGER NOT NULL, oldest_ms INTEGER NOT NULL, facts BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS measure_fact_person ON measure_fact (person, origin);
CREATE INDEX IF NOT EXISTS measure_fact_age ON measure_fact (oldest_ms, origin);
CREATE TABLE IF NOT EXISTS measure_moved (origin BLOB PRIMARY KEY, person BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS measure_moves AFTER UPDATE OF person ON measure_fact WHEN old.person <> new.person
BEGIN INSERT OR IGNORE INTO measure_moved VALUES (old.origin, old.person); END;";

/// The counters, which follow from the facts: by day, with how many people that is at least (each counts once in a month, a quarter and a year, where they were counted in first); by
/// facility and month; and whom rates list for anybody, by the bits of the measures.
pub(super) const COUNTERS: [(&str, &str); 3] = [
    (
        "measure_day",
        "(panel INTEGER, measure INTEGER, day INTEGER, needed INTEGER, carried INTEGER, ways BLOB,
          count INTEGER NOT NULL, of_month INTEGER NOT NULL, of_quarter INTEGER NOT NULL, of_year INTEGER NOT NULL,
          PRIMARY KEY (panel, measure, day, needed, carried, ways)) STRICT, WITHOUT ROWID",
    ),
    (
        "measure_place",
        "(panel INTEGER, measure INTEGER, month INTEGER, facility INTEGER, needed INTEGER, carried INTEGER, count INTEGER NOT NULL,
          PRIMARY KEY (panel, measure, month, facility, needed, carried)) STRICT, WITHOUT ROWID",
    ),
    (
        "measure_case",
        "(panel INTEGER, day INTEGER, person BLOB, measures INTEGER NOT NULL, PRIMARY KEY (panel, day, person)) STRICT, WITHOUT ROWID",
    ),
];

/// What does not follow from the facts: which events came at all (code 0) and with which code that a measure asks for, known people or not; what the counters were made with.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS measure_feed (
    month INTEGER, kind INTEGER, facility INTEGER, code INTEGER, known INTEGER NOT NULL, unknown INTEGER NOT NULL, suspect INTEGER NOT NULL,
    PRIMARY KEY (month, kind, facility, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measure_state (id INTEGER PRIMARY KEY CHECK (id = 0), fingerprint BLOB NOT NULL) STRICT;";

/// Makes the counters, in the database or beside it, anew where they have other columns.
pub(super) fn create(connection: &Connection, schema: &str) -> rusqlite::Result<()> {
    for (name, columns) in COUNTERS {
        let sql = format!("SELECT sql FROM {schema}.sqlite_schema WHERE name = ?1");
        let made: Option<String> = connection.query_row(&sql, [name], |row| row.get(0)).optional()?;
        if made.is_some_and(|made| !made.ends_with(columns)) {
            connection.execute_batch(&format!("DROP TABLE {schema}.{name};"))?;
        }
        connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {schema}.{name} {columns};"))?;
    }
    Ok(())
}

type DayKey = (u32, u32, i32, u64, u64, Ways);
type PlaceKey = (u32, u32, i32, u32, u64, u64);
type CaseKey = (u32, i32, PersonKey);
/// Measures that have been looked at, and which of them list somebody.
type Listed = (u64, u64);

/// What is to be added to the counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    days: HashMap<DayKey, [i64; 4]>,
    places: HashMap<PlaceKey, i64>,
    cases: HashMap<CaseKey, Listed>,
    feeds: HashMap<(u32, Kind, i32, u32), [i64; 3]>,
}

impl Counters {
    /// Nobody is listed by some measures where these cells are; then by those cells that are. What lists nobody was never written.
    pub fn list(&mut self, definitions: &[Definition], person: PersonKey, cells: [&[Cell]; 2], looked_at: u64) {
        let lists = |cell: &&Cell| {
            let by = |definition: &Definition| cell.ways.outcomes().any(|outcome| definition.lists(outcome));
            definitions.get(cell.measure as usize).is_some_and(by)
        };
        for (cells, is) in cells.into_iter().zip([false, true]) {
            for cell in cells.iter().filter(lists) {
                let bits = self.cases.entry((cell.panel, cell.day, person)).or_default();
                bits.0 |= looked_at;
                bits.1 = if is { bits.1 | 1 << (cell.measure & 63) } else { bits.1 & !looked_at };
            }
        }
    }

    /// A cell is there once more, or no more.
    pub fn add(&mut self, cell: &Cell, by: i64) {
        let Cell { panel, measure, day, facility, labels, ways, first } = *cell;
        let counts = self.days.entry((panel, measure, day, labels.0, labels.1, ways)).or_default();
        for (of, count) in (0..).zip(counts) {
            *count += if of <= first { by } else { 0 };
        }
        let key = (panel, measure, month_of(day), facility, labels.0, labels.1);
        *self.places.entry(key).or_default() += by;
    }

    /// An event came, or one with a code.
    pub fn feed(&mut self, facility: u32, (kind, code): (Kind, u32), day: i32, (known, suspect): (bool, bool)) {
        let counts = self.feeds.entry((facility, kind, month_of(day), code)).or_default();
        counts[usize::from(!known)] += 1;
        counts[2] += i64::from(suspect);
    }

    /// How much there is.
    pub fn len(&self) -> usize {
        self.days.len() + self.places.len() + self.cases.len()
    }

    /// Writes it. In order: pages are then written once.
    pub fn flush(&mut self, connection: &Connection, schema: &str) -> rusqlite::Result<()> {
        let mut days: Vec<_> = self.days.drain().filter(|(_, by)| *by != [0; 4]).collect();
        days.sort_unstable();
        let bits = u64::cast_signed;
        let row = |((panel, measure, day, needed, carried, ways), by): &(DayKey, [i64; 4])| {
            let labels = [*needed, *carried].map(bits);
            let head = [i64::from(*panel), i64::from(*measure), i64::from(*day)];
            let ways = Value::from(ways.encode());
            (*by, head.into_iter().chain(labels).map(Value::from).chain([ways]).collect())
        };
        change(connection, &format!("{schema}.measure_day"), OF_DAY, days.iter().map(row))?;
        let mut places: Vec<_> = self.places.drain().filter(|(_, by)| *by != 0).collect();
        places.sort_unstable();
        let row = |((panel, measure, month, facility, needed, carried), by): &(PlaceKey, i64)| {
            let head = [i64::from(*panel), i64::from(*measure), i64::from(*month), i64::from(*facility)];
            ([*by], head.into_iter().chain([*needed, *carried].map(bits)).map(Value::from).collect())
        };
        change(connection, &format!("{schema}.measure_place"), OF_PLACE, places.iter().map(row))?;
        let mut cases: Vec<_> = self.cases.drain().collect();
        cases.sort_unstable();
        let table = format!("{schema}.measure_case");
        let add = format!(
            "INSERT INTO {table} VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET measures = measures & ?5 | excluded.measures"
        );
        let less = format!("UPDATE {table} SET measures = measures & ?4 WHERE {OF_CASE}");
        let gone = format!("DELETE FROM {table} WHERE {OF_CASE} AND measures = 0");
        for ((panel, day, person), (looked_at, listed)) in &cases {
            let others = (!looked_at).cast_signed();
            if *listed != 0 {
                connection.prepare_cached(&add)?.execute(params![
                    panel,
                    day,
                    person.0,
                    listed.cast_signed(),
                    others
                ])?;
            } else {
                connection.prepare_cached(&less)?.execute(params![panel, day, person.0, others])?;
                connection.prepare_cached(&gone)?.execute(params![panel, day, person.0])?;
            }
        }
        Ok(())
    }

    /// Lets go of the oldest month of what came, if it is before that one. All of it is written first: when batches end makes no difference.
    pub fn prune_feeds(&mut self, transaction: &Transaction<'_>, first: i32) -> rusqlite::Result<()> {
        self.flush_feeds(transaction)?;
        let sql = "DELETE FROM measure_feed WHERE month < ?1 AND month = (SELECT min(month) FROM measure_feed)";
        transaction.prepare_cached(sql)?.execute([first])?;
        Ok(())
    }

    /// Writes what came.
    pub fn flush_feeds(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut feeds: Vec<_> = self.feeds.drain().collect();
        feeds.sort_unstable_by_key(|((facility, kind, month, code), _)| (*month, *kind, *facility, *code));
        let sql = "INSERT INTO measure_feed VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET
                     known = known + excluded.known, unknown = unknown + excluded.unknown, suspect = suspect + excluded.suspect";
        for ((facility, kind, month, code), [known, unknown, suspect]) in feeds {
            let row = params![month, kind as i64, facility, code, known, unknown, suspect];
            transaction.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }
}

/// How a row of each is found.
const OF_DAY: &str = "panel = ?1 AND measure = ?2 AND day = ?3 AND needed = ?4 AND carried = ?5 AND ways = ?6";
const OF_PLACE: &str = "panel = ?1 AND measure = ?2 AND month = ?3 AND facility = ?4 AND needed = ?5 AND carried = ?6";
const OF_CASE: &str = "panel = ?1 AND day = ?2 AND person = ?3";

type Row = Vec<Value>;

/// Adds to the counts of a table, of which the first says how many there are; what comes to nothing goes.
fn change<const N: usize>(
    connection: &Connection,
    table: &str,
    key: &str,
    rows: impl Iterator<Item = ([i64; N], Row)>,
) -> rusqlite::Result<()> {
    let columns = key.matches('?').count();
    let names = ["count", "of_month", "of_quarter", "of_year"].into_iter().take(N);
    let values: Vec<String> = (1..=columns + N).map(|place| format!("?{place}")).collect();
    let more: Vec<String> = names.clone().map(|name| format!("{name} = {name} + excluded.{name}")).collect();
    let add =
        format!("INSERT INTO {table} VALUES ({}) ON CONFLICT DO UPDATE SET {}", values.join(", "), more.join(", "));
    let less: Vec<String> =
        (columns + 1..).zip(names).map(|(place, name)| format!("{name} = {name} + ?{place}")).collect();
    let less = format!("UPDATE {table} SET {} WHERE {key}", less.join(", "));
    let gone = format!("DELETE FROM {table} WHERE {key} AND count = 0");
    for (by, mut row) in rows {
        row.extend(by.map(Value::from));
        if by.first().is_some_and(|by| *by > 0) {
            connection.prepare_cached(&add)?.execute(rusqlite::params_from_iter(&row))?;
        } else {
            connection.prepare_cached(&less)?.execute(rusqlite::params_from_iter(&row))?;
            row.truncate(columns);
            connection.prepare_cached(&gone)?.execute(rusqlite::params_from_iter(&row))?;
        }
    }
    Ok(())
}
