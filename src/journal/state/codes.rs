//! Codes of messages that no code table has: work items, one for each listener, sender, table and code, until somebody settles them.
//!
//! Both lists are bounded. When there is no room for another item the oldest that was resolved goes; where none was, the new one is not kept, and the caller is
//! told. Of an item the first messages are kept by their numbers, so that they can be sent again; later ones are only counted.
use super::State;
use crate::journal::Error;
use rusqlite::{OptionalExtension, Transaction, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS code_item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, listener TEXT NOT NULL, feed TEXT NOT NULL, code_table TEXT NOT NULL, code TEXT NOT NULL,
    count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    standing TEXT NOT NULL, settled_ms INTEGER NOT NULL, UNIQUE (listener, feed, code_table, code)
) STRICT;
CREATE TABLE IF NOT EXISTS code_message (item INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (item, seq)) STRICT, WITHOUT ROWID;";

/// Items that are kept.
pub const CODES_MAX: u64 = 10_000;
/// Messages of an item that are kept by their numbers.
pub const CODE_MESSAGES_MAX: u64 = 1_000;

/// The codes of one message that no table has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeNotice {
    /// The number of the message.
    pub seq: u64,
    /// When it was received, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Where it came in.
    pub listener: String,
    /// Who sent it: MSH-3 and MSH-4.
    pub feed: String,
    /// Table and code.
    pub codes: Vec<(String, String)>,
}

/// A code that somebody has to look at, or has looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeItem {
    /// Its number.
    pub id: u64,
    /// Where its messages come in.
    pub listener: String,
    /// Who sends them.
    pub feed: String,
    /// The code table that lacks it.
    pub table: String,
    /// The code.
    pub code: String,
    /// In how many messages it was.
    pub count: u64,
    /// The first and the last time, in milliseconds since 1970 (UTC).
    pub seen_ms: (i64, i64),
    /// What has become of it.
    pub standing: CodeStanding,
}

/// What has become of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeStanding {
    /// Nothing yet, or it came again after it was resolved.
    Open,
    /// The table has it now.
    Resolved,
    /// It is to stay as it is.
    Dismissed,
}

impl CodeStanding {
    /// As it is written in the state database, the API and the command line.
    pub fn name(self) -> &'static str {
        match self {
            CodeStanding::Open => "open",
            CodeStanding::Resolved => "resolved",
            CodeStanding::Dismissed => "dismissed",
        }
    }

    /// The standing of that name.
    pub fn parse(name: &str) -> Option<CodeStanding> {
        [CodeStanding::Open, CodeStanding::Resolved, CodeStanding::Dismissed].into_iter().find(|s| s.name() == name)
    }
}

const COLUMNS: &str = "id, listener, feed, code_table, code, count, first_ms, last_ms, standing";

impl State {
    /// Adds what messages had; returns how many new items had no room.
    ///
    /// # Errors
    /// A database that cannot be written; nothing has changed then.
    pub fn note_codes(&self, notices: &[CodeNotice]) -> Result<u64, Error> {
        let mut left_out = 0;
        self.write(|transaction| {
            for notice in notices {
                for (table, code) in &notice.codes {
                    left_out += u64::from(!note(transaction, notice, table, code)?);
                }
            }
            Ok(())
        })?;
        Ok(left_out)
    }

    /// Items by number, behind one of them, at most so many; only those of a standing, where one is given.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn codes(&self, standing: Option<CodeStanding>, after: u64, most: usize) -> Result<Vec<CodeItem>, Error> {
        let connection = self.lock();
        let read = || {
            let sql = format!(
                "SELECT {COLUMNS} FROM code_item WHERE id > ?1 AND (?2 IS NULL OR standing = ?2) ORDER BY id LIMIT ?3"
            );
            let mut select = connection.prepare(&sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            select
                .query_map(params![after.cast_signed(), standing.map(CodeStanding::name), most], item)?
                .collect::<rusqlite::Result<_>>()
        };
        read().map_err(Error::database(&self.path))
    }

    /// An item by its number.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn code(&self, id: u64) -> Result<Option<CodeItem>, Error> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        let sql = format!("SELECT {COLUMNS} FROM code_item WHERE id = ?1");
        self.lock().query_row(&sql, [id], item).optional().map_err(Error::database(&self.path))
    }

    /// How many items there are; no more than [`CODES_MAX`].
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn code_count(&self) -> Result<u64, Error> {
        let count = self.lock().query_row("SELECT count(*) FROM code_item", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(Error::database(&self.path))
    }

    /// The messages of an item by their numbers, behind one of them, at most so many.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn code_messages(&self, id: u64, after: u64, most: usize) -> Result<Vec<u64>, Error> {
        let connection = self.lock();
        let read = || {
            let sql = "SELECT seq FROM code_message WHERE item = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
            let mut select = connection.prepare(sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            select
                .query_map(params![id.cast_signed(), after.cast_signed(), most], |row| row.get::<_, i64>(0))?
                .map(|seq| seq.map(i64::unsigned_abs))
                .collect::<rusqlite::Result<_>>()
        };
        read().map_err(Error::database(&self.path))
    }

    /// Says what has become of an item, for good. Whether there is one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn settle_code(&self, id: u64, standing: CodeStanding, at_ms: i64) -> Result<bool, Error> {
        let mut changed = 0;
        self.write_for_good(|transaction| {
            let sql = "UPDATE code_item SET standing = ?2, settled_ms = ?3 WHERE id = ?1";
            changed = transaction.execute(sql, params![id.cast_signed(), standing.name(), at_ms])?;
            Ok(())
        })?;
        Ok(changed > 0)
    }
}

/// One code of one message; whether there was room for it.
fn note(transaction: &Transaction<'_>, notice: &CodeNotice, table: &str, code: &str) -> rusqlite::Result<bool> {
    let CodeNotice { seq, at_ms, listener, feed, .. } = notice;
    let sql = "SELECT id, last_seq FROM code_item WHERE listener = ?1 AND feed = ?2 AND code_table = ?3 AND code = ?4";
    let known = transaction
        .prepare_cached(sql)?
        .query_row(params![listener, feed, table, code], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let (id, last_seq) = match known {
        Some(known) => known,
        None if !has_room(transaction)? => return Ok(false),
        None => {
            let sql = "INSERT INTO code_item (listener, feed, code_table, code, count, first_ms, last_ms, last_seq, standing, settled_ms)
                       VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5, 0, 'open', 0)";
            transaction.prepare_cached(sql)?.execute(params![listener, feed, table, code, at_ms])?;
            (transaction.last_insert_rowid(), 0)
        }
    };
    let kept: i64 = transaction
        .prepare_cached("SELECT count(*) FROM code_message WHERE item = ?1")?
        .query_row([id], |row| row.get(0))?;
    // The same message may be translated by several routes: it counts once.
    let new = if kept.unsigned_abs() < CODE_MESSAGES_MAX {
        let sql = "INSERT OR IGNORE INTO code_message VALUES (?1, ?2)";
        transaction.prepare_cached(sql)?.execute(params![id, seq.cast_signed()])? > 0
    } else {
        seq.cast_signed() > last_seq
    };
    if new {
        let sql = "UPDATE code_item SET count = count + 1, first_ms = min(first_ms, ?2), last_ms = max(last_ms, ?2),
                       last_seq = max(last_seq, ?3), standing = iif(standing = 'resolved' AND ?2 > settled_ms, 'open', standing)
                   WHERE id = ?1";
        transaction.prepare_cached(sql)?.execute(params![id, at_ms, seq.cast_signed()])?;
    }
    Ok(true)
}

fn has_room(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let count: i64 = transaction.prepare_cached("SELECT count(*) FROM code_item")?.query_row([], |row| row.get(0))?;
    if count.unsigned_abs() < CODES_MAX {
        return Ok(true);
    }
    let oldest = "SELECT id FROM code_item WHERE standing = 'resolved' ORDER BY settled_ms LIMIT 1";
    let Some(oldest) = transaction.query_row(oldest, [], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    transaction.execute("DELETE FROM code_message WHERE item = ?1", [oldest])?;
    transaction.execute("DELETE FROM code_item WHERE id = ?1", [oldest])?;
    Ok(true)
}

fn item(row: &rusqlite::Row<'_>) -> rusqlite::Result<CodeItem> {
    let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
    Ok(CodeItem {
        id: number(0)?,
        listener: row.get(1)?,
        feed: row.get(2)?,
        table: row.get(3)?,
        code: row.get(4)?,
        count: number(5)?,
        seen_ms: (row.get(6)?, row.get(7)?),
        standing: CodeStanding::parse(&row.get::<_, String>(8)?).unwrap_or(CodeStanding::Open),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Directory;

    fn notice(seq: u64, code: &str) -> CodeNotice {
        let codes = vec![("Sex".to_owned(), code.to_owned())];
        CodeNotice { seq, at_ms: seq.cast_signed() * 10, listener: "adt".into(), feed: "A|B".into(), codes }
    }

    #[test]
    fn items_count_messages_once_and_outlive_the_process() {
        let temporary = tempfile::tempdir().unwrap();
        {
            let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
            let left = state.note_codes(&[notice(3, "X"), notice(5, "X"), notice(3, "X"), notice(4, "Y")]).unwrap();
            assert_eq!(left, 0);
        }
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let items = state.codes(None, 0, 10).unwrap();
        let seen: Vec<_> = items.iter().map(|i| (i.code.as_str(), i.count, i.seen_ms)).collect();
        assert_eq!(seen, [("X", 2, (30, 50)), ("Y", 1, (40, 40))]);
        let id = items[0].id;
        assert_eq!(state.code_messages(id, 0, 10).unwrap(), [3, 5]);
        assert_eq!(state.code_messages(id, 3, 10).unwrap(), [5]);
        assert!(state.settle_code(id, CodeStanding::Resolved, 60).unwrap());
        assert!(!state.settle_code(99, CodeStanding::Resolved, 60).unwrap());
        assert_eq!(state.codes(Some(CodeStanding::Open), 0, 10).unwrap().len(), 1);
        // A message of before does not open it again; one that came after it was resolved does.
        state.note_codes(&[notice(6, "X")]).unwrap();
        assert_eq!(state.code(id).unwrap().unwrap().standing, CodeStanding::Resolved);
        state.note_codes(&[notice(7, "X")]).unwrap();
        assert_eq!(state.code(id).unwrap().unwrap().standing, CodeStanding::Open);
        // What was dismissed stays so.
        state.settle_code(id, CodeStanding::Dismissed, 0).unwrap();
        state.note_codes(&[notice(8, "X")]).unwrap();
        let item = state.code(id).unwrap().unwrap();
        assert_eq!((item.standing, item.count), (CodeStanding::Dismissed, 5));
    }

    #[test]
    fn both_lists_are_bounded() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let many: Vec<_> = (1..=CODES_MAX).map(|seq| notice(seq, &format!("C{seq}"))).collect();
        assert_eq!(state.note_codes(&many).unwrap(), 0);
        assert_eq!(state.note_codes(&[notice(20_000, "one too many")]).unwrap(), 1);
        assert_eq!(state.code_count().unwrap(), CODES_MAX);
        state.settle_code(7, CodeStanding::Resolved, 1).unwrap();
        assert_eq!(state.note_codes(&[notice(20_001, "room again")]).unwrap(), 0);
        assert_eq!((state.code_count().unwrap(), state.code(7).unwrap()), (CODES_MAX, None));
        assert!(state.code_messages(7, 0, 10).unwrap().is_empty());
        let often: Vec<_> = (1..=CODE_MESSAGES_MAX + 5).map(|seq| notice(30_000 + seq, "C1")).collect();
        state.note_codes(&often).unwrap();
        let count = state.codes(None, 0, 1).unwrap()[0].count;
        assert_eq!(count, CODE_MESSAGES_MAX + 6, "all are counted");
        let kept = state.code_messages(1, 0, usize::MAX).unwrap().len() as u64;
        assert_eq!(kept, CODE_MESSAGES_MAX, "and the first are kept");
    }
}
