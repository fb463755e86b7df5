//! What changed on a day of receipt, by the date of each panel: subscribers are told of all of it at once, when the day is over, each audience of what it sees.
//!
//! A day ends by the time of the journal, with what is received after it or, where nothing is, on its own: whoever reads the journal again tells the same. What comes as if it had been
//! received on a day that was told already, as after a clock was set back, counts for the day behind that.
use super::counting::{Measures, Updated};
use super::news::Changed;
use super::period::{date_of, month_text};
use super::take::day;
use crate::coordination::loops::Setting;
use crate::coordination::store::Error;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;

pub(super) const TABLES: &str = "
DROP TABLE IF EXISTS measure_changed;
CREATE TABLE IF NOT EXISTS measure_news (
    panel TEXT, day INTEGER, audience TEXT, measure TEXT, month INTEGER, PRIMARY KEY (panel, day, audience, measure, month)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measure_told (panel TEXT PRIMARY KEY, day INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/// A day of a panel that is over, for some of those who are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The day, since 1970.
    pub day: i32,
    /// Who is told.
    pub audience: String,
    /// What changed on it, as far as they see.
    pub updated: Updated,
}

/// Days that are to be told.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By the moment at which a day is over and by panel: the day.
    due: BTreeMap<(i64, String), i32>,
    /// By panel the last day that was told.
    told: BTreeMap<String, i32>,
}

impl Waiting {
    pub fn open(connection: &Connection, setting: &Setting) -> rusqlite::Result<Waiting> {
        let mut waiting = Waiting::default();
        let mut select = connection.prepare("SELECT DISTINCT panel, day FROM measure_news")?;
        for row in select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i32>(1)?)))? {
            let (panel, day) = row?;
            waiting.due.insert((end_ms(setting, &panel, day), panel), day);
        }
        let mut select = connection.prepare("SELECT panel, day FROM measure_told")?;
        waiting.told = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        Ok(waiting)
    }
}

/// When a day of a panel is over.
fn end_ms(setting: &Setting, panel: &str, day: i32) -> i64 {
    let zone = setting.zone("", &[panel.to_owned()]);
    let next = date_of(day.saturating_add(1)).to_zoned(zone);
    next.map_or(i64::MAX, |next| next.timestamp().as_millisecond())
}

impl Measures {
    /// Figures have changed when time was there.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn note(&mut self, transaction: &Transaction<'_>, changed: &[Changed], now_ms: i64) -> Result<(), Error> {
        for one in changed {
            let setting = self.lens().setting();
            let now = day(now_ms, &setting.zone("", std::slice::from_ref(&one.panel)));
            let day = self.waiting.told.get(&one.panel).map_or(now, |told| now.max(told + 1));
            let end = (end_ms(setting, &one.panel, day), one.panel.clone());
            let sql = "INSERT OR IGNORE INTO measure_news VALUES (?1, ?2, ?3, ?4, ?5)";
            for (measure, month) in &one.what {
                let Some(definition) = self.lens().definitions().get(*measure as usize) else { continue };
                let row = params![one.panel, day, one.audience, definition.id, month];
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            self.waiting.due.insert(end, day);
        }
        Ok(())
    }

    /// When the next day is over of which something is to be told, in milliseconds since 1970.
    pub fn next_ms(&self) -> Option<i64> {
        self.waiting.due.keys().next().map(|(end_ms, _)| *end_ms)
    }

    /// The next day that was over before a moment, for the first of those who are to be told; it counts as told to them from here on.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn due(&mut self, transaction: &Transaction<'_>, to_ms: i64) -> Result<Option<Due>, Error> {
        while let Some(first) = self.waiting.due.first_entry().filter(|first| first.key().0 < to_ms) {
            let ((at_ms, panel), day) = (first.key().clone(), *first.get());
            let sql = "SELECT min(audience) FROM measure_news WHERE panel = ?1 AND day = ?2";
            let audience: Option<String> =
                transaction.prepare_cached(sql)?.query_row(params![panel, day], |row| row.get(0))?;
            let Some(audience) = audience else {
                first.remove();
                continue;
            };
            let sql = "SELECT measure, month FROM measure_news WHERE panel = ?1 AND day = ?2 AND audience = ?3 ORDER BY measure, month";
            let mut select = transaction.prepare_cached(sql)?;
            let rows =
                select.query_map(params![panel, day, audience], |row| Ok((row.get(0)?, month_text(row.get(1)?))))?;
            let reports = rows.collect::<rusqlite::Result<_>>()?;
            let sql = "DELETE FROM measure_news WHERE panel = ?1 AND day = ?2 AND audience = ?3";
            transaction.prepare_cached(sql)?.execute(params![panel, day, audience])?;
            let sql = "INSERT OR REPLACE INTO measure_told VALUES (?1, ?2)";
            transaction.prepare_cached(sql)?.execute(params![panel, day])?;
            self.waiting.told.insert(panel.clone(), day);
            return Ok(Some(Due { day, audience, updated: Updated { panel, at_ms, reports } }));
        }
        Ok(None)
    }
}
