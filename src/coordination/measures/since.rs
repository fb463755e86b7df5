//! From when on the journal is known: a database that is made anew has nothing of the messages that retention has cut by then, and rates of those months would be low, or look complete.
use rusqlite::{Connection, OptionalExtension as _, Transaction};

/// A row where messages were gone before they were read; when the first one behind them was received.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS measure_since (id INTEGER PRIMARY KEY CHECK (id = 0), received_ms INTEGER NOT NULL) STRICT;";

/// Nothing has been received since: in 9999.
const NOTHING_YET: i64 = 253_402_000_000_000;

/// When the first message was received behind which none is missing; none where all that ever were are there.
#[derive(Debug)]
pub(super) struct Since(Option<i64>);

impl Since {
    pub fn open(connection: &Connection) -> rusqlite::Result<Since> {
        read(connection).map(Since)
    }

    /// Messages are gone.
    pub fn lost(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        self.set(transaction, NOTHING_YET)
    }

    /// A message was received.
    pub fn heard(&mut self, transaction: &Transaction<'_>, received_ms: i64) -> rusqlite::Result<()> {
        if self.0 == Some(NOTHING_YET) { self.set(transaction, received_ms) } else { Ok(()) }
    }

    fn set(&mut self, transaction: &Transaction<'_>, received_ms: i64) -> rusqlite::Result<()> {
        transaction.prepare_cached("INSERT OR REPLACE INTO measure_since VALUES (0, ?1)")?.execute([received_ms])?;
        self.0 = Some(received_ms);
        Ok(())
    }
}

/// The same for those who ask.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT received_ms FROM measure_since")?.query_row([], |row| row.get(0)).optional()
}
