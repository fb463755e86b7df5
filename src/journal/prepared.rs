//! Prepared statements of SQLite, which every database here keeps.
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Keeps the plans of prepared statements as they are. SQLite looks at the value behind `LIMIT ?` when it plans a statement, and so plans it anew for each value: 40 µs, each time.
///
/// # Errors
/// A connection that cannot be used.
pub(crate) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}
