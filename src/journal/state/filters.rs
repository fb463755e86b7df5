//! By which filters a route has judged what it passed. What was settled by one is not what another would say of it: a page asks the one of then.
use super::{Error, State};
use rusqlite::{OptionalExtension as _, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS filtered_by (
    id INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT NOT NULL, since INTEGER NOT NULL, cursor INTEGER NOT NULL, text TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS filtered_by_reader ON filtered_by (reader, id);";

/// Of one reader so many are kept: the newest. What an older one has judged is not known any more.
const KEPT_MAX: i64 = 64;

/// A filter that a reader took on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilteredBy {
    /// The first number that nothing but this filter, or a later one, has judged.
    pub since: u64,
    /// The first number that had not been settled when it was taken on: what waited is judged anew.
    pub cursor: u64,
    /// As it was written; none: everything was wanted.
    pub text: Option<String>,
}

impl State {
    /// Notes by which filter a reader judges what it has not settled, where that is another than before.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn note_filter(&self, reader: &str, filter: &FilteredBy) -> Result<(), Error> {
        let (since, cursor) = (filter.since.cast_signed(), filter.cursor.cast_signed());
        self.write(|transaction| {
            // A journal that lost its tail gives numbers once more.
            transaction.execute(
                "UPDATE filtered_by SET since = ?2, cursor = min(cursor, ?3) WHERE reader = ?1 AND since > ?2",
                params![reader, since, cursor],
            )?;
            let before: Option<Option<String>> = transaction
                .query_row("SELECT text FROM filtered_by WHERE reader = ?1 ORDER BY id DESC LIMIT 1", [reader], |row| row.get(0))
                .optional()?;
            if before.as_ref() == Some(&filter.text) {
                return Ok(());
            }
            transaction.execute(
                "INSERT INTO filtered_by (reader, since, cursor, text) VALUES (?1, ?2, ?3, ?4)",
                params![reader, since, cursor, filter.text],
            )?;
            transaction.execute(
                "DELETE FROM filtered_by WHERE reader = ?1 AND id NOT IN (SELECT id FROM filtered_by WHERE reader = ?1 ORDER BY id DESC LIMIT ?2)",
                params![reader, KEPT_MAX],
            )?;
            Ok(())
        })
    }

    /// By which filters a reader has judged, the oldest first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn filters(&self, reader: &str) -> Result<Vec<FilteredBy>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare_cached("SELECT since, cursor, text FROM filtered_by WHERE reader = ?1 ORDER BY id")
            .map_err(failed())?;
        let rows = select.query_map([reader], |row| {
            let (since, cursor) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs());
            Ok(FilteredBy { since, cursor, text: row.get(2)? })
        });
        rows.and_then(Iterator::collect).map_err(failed())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::*;

    #[test]
    fn a_filter_is_noted_when_it_is_another_and_moves_back_with_the_journal() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let by = |since, cursor, text: Option<&str>| FilteredBy { since, cursor, text: text.map(str::to_owned) };
        let note = |filter: &FilteredBy| state.note_filter("ehr", filter).unwrap();
        [by(1, 1, None), by(5, 4, None), by(9, 7, Some("a")), by(12, 12, Some("a")), by(20, 18, None)]
            .iter()
            .for_each(note);
        assert_eq!(state.filters("ehr").unwrap(), [by(1, 1, None), by(9, 7, Some("a")), by(20, 18, None)]);
        note(&by(10, 10, None));
        assert_eq!(state.filters("ehr").unwrap(), [by(1, 1, None), by(9, 7, Some("a")), by(10, 10, None)]);
        assert!(state.filters("other").unwrap().is_empty());
        (0..100).for_each(|at| note(&by(30 + at, 30, Some(if at % 2 == 0 { "b" } else { "c" }))));
        let kept = state.filters("ehr").unwrap();
        assert_eq!((kept.len() as i64, kept.last().map(|filter| filter.since)), (KEPT_MAX, Some(129)));
    }
}
