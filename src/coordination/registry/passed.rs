//! To where time had come when something was taken, where its own time does not say so: the clock was set back, or the machine slept, between its receipt and its place.
//!
//! What time brings is done before what was received after it. That is the same whenever the journal is read, but for what comes late: live, time has brought more before it. So
//! whoever finds that writes it down here, and the journal is read the same way ever after. One line for each such time, not for each message.
use super::{Error, Registry};
use rusqlite::params;
use std::collections::HashMap;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS passed (what TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (what, number)) STRICT, WITHOUT ROWID;";

/// Before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// The message of the journal with this number.
    Message(u64),
    /// The entry of the registry with this number.
    Entry(u64),
}

impl Before {
    fn parts(self) -> (&'static str, i64) {
        match self {
            Before::Message(number) => ("message", number.cast_signed()),
            Before::Entry(number) => ("entry", number.cast_signed()),
        }
    }
}

impl Registry {
    /// Writes down, for good, that time had come to a moment (in milliseconds since 1970, UTC) before something was taken.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn pass(&self, before: Before, at_ms: i64) -> Result<(), Error> {
        let (what, number) = before.parts();
        let connection = self.lock();
        let sql = "INSERT OR REPLACE INTO passed VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![what, number, at_ms]).map(drop).map_err(self.failed())
    }

    /// All that was written so.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn passed(&self) -> Result<HashMap<Before, i64>, Error> {
        let connection = self.lock();
        let read = || {
            let mut select = connection.prepare("SELECT what, number, at_ms FROM passed")?;
            let rows = select.query_map([], |row| {
                let (what, number) = (row.get::<_, String>(0)?, row.get::<_, i64>(1)?.unsigned_abs());
                let before = if what == "entry" { Before::Entry(number) } else { Before::Message(number) };
                Ok((before, row.get(2)?))
            })?;
            rows.collect::<Result<_, _>>()
        };
        read().map_err(self.failed())
    }
}
