//! Codes of messages that no code table has: work items, one for each listener, sender, table and code, until somebody settles them.
//!
//! Both lists are bounded. When there is no room for another item the oldest that was resolved goes, then the oldest that was dismissed; where none was, the new one
//! is not kept, and the caller is told. Of an item the first messages are kept by their numbers, so that they can be sent again; later ones are only counted.
use super::State;
use crate::journal::Error;
use rusqlite::{OptionalExtension, Transaction, params};
use std::time::Duration;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS code_item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, listener TEXT NOT NULL, feed TEXT NOT NULL, code_table TEXT NOT NULL, code TEXT NOT NULL,
    count INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    standing TEXT NOT NULL, settled_ms INTEGER NOT NULL, UNIQUE (listener, feed, code_table, code)
) STRICT;
CREATE TABLE IF NOT EXISTS code_message (item INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (item, seq)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS code_item_settled ON code_item (standing DESC, settled_ms) WHERE standing <> 'open';";

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

/// Codes that are written in one transaction: lanes that want to write down how far they have come wait for no more.
const WRITE_MAX: usize = 100;
/// Between two transactions, as a lock goes to who asks first, and that would be this one again.
const PAUSE: Duration = Duration::from_millis(1);

const COLUMNS: &str = "id, listener, feed, code_table, code, count, first_ms, last_ms, standing";

impl State {
    /// Adds what messages had, some at a time; returns how many new items had no room.
    ///
    /// # Errors
    /// A database that cannot be written; what was added before that stays.
    pub fn note_codes(&self, notices: &[CodeNotice]) -> Result<u64, Error> {
        let all: Vec<_> =
            notices.iter().flat_map(|notice| notice.codes.iter().map(move |code| (notice, code))).collect();
        let mut left_out = 0;
        for (number, some) in all.chunks(WRITE_MAX).enumerate() {
            if number > 0 {
                std::thread::sleep(PAUSE);
            }
            self.write(|transaction| {
                let mut room = Room::Unknown;
                for (notice, (table, code)) in some {
                    left_out += u64::from(!note(transaction, notice, table, code, &mut room)?);
                }
                Ok(())
            })?;
        }
        Ok(left_out)
    }

    /// Items by number, behind one of them, at most so many; only those of a standing, where one is given.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn codes(&self, standing: Option<CodeStanding>, after: u64, most: usize) -> Result<Vec<CodeItem>, Error> {
        self.codes_of(None, standing, after, most)
    }

    /// The same, only those of a table, where one is given.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn codes_of(
        &self,
        table: Option<&str>,
        standing: Option<CodeStanding>,
        after: u64,
        most: usize,
    ) -> Result<Vec<CodeItem>, Error> {
        let connection = self.lock();
        let read = || {
            let sql = format!(
                "SELECT {COLUMNS} FROM code_item WHERE id > ?1 AND (?2 IS NULL OR standing = ?2) AND (?4 IS NULL OR code_table = ?4) ORDER BY id LIMIT ?3"
            );
            let mut select = connection.prepare(&sql)?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            select
                .query_map(params![after.cast_signed(), standing.map(CodeStanding::name), most, table], item)?
                .collect::<rusqlite::Result<_>>()
        };
        read().map_err(Error::database(&self.path))
    }

    /// The tables that have items of a standing, or any: name, how many, in how many messages they were, when the last was seen. The list is no longer than the items are.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn code_tables(&self, standing: Option<CodeStanding>) -> Result<Vec<(String, u64, u64, i64)>, Error> {
        let connection = self.lock();
        let read = || {
            let sql =
                "SELECT code_table, count(*), sum(count), max(last_ms) FROM code_item WHERE ?1 IS NULL OR standing = ?1
                       GROUP BY code_table ORDER BY sum(count) DESC, code_table";
            let mut select = connection.prepare(sql)?;
            let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
            select
                .query_map([standing.map(CodeStanding::name)], |row| {
                    Ok((row.get(0)?, number(row, 1)?, number(row, 2)?, row.get(3)?))
                })?
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

    /// Whether a new code finds no room: all that are kept are open.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn codes_full(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM code_item WHERE standing <> 'open')";
        let settled: bool = self.lock().query_row(sql, [], |row| row.get(0)).map_err(Error::database(&self.path))?;
        Ok(!settled && self.code_count()? >= CODES_MAX)
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

/// For how many more items there is room, as far as a transaction knows: looked up once in it, not for each new code.
#[derive(Clone, Copy)]
enum Room {
    Unknown,
    For(u64),
    /// Only in the place of one that is settled.
    Full,
    /// None is settled either, and none will be while the transaction lasts.
    None,
}

impl Room {
    /// Room for another item; whether there is any.
    fn take(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        if let Room::Unknown = self {
            let sql = "SELECT count(*) FROM code_item";
            let count: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            *self = Room::For(CODES_MAX.saturating_sub(count.unsigned_abs()));
        }
        match *self {
            Room::For(more) if more > 0 => {
                *self = Room::For(more - 1);
                return Ok(true);
            }
            Room::None => return Ok(false),
            _ => *self = Room::Full,
        }
        // As the index has them: resolved before dismissed, then the oldest.
        let sql = "SELECT id FROM code_item WHERE standing <> 'open' ORDER BY standing DESC, settled_ms LIMIT 1";
        let settled = transaction.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()?;
        let Some(settled) = settled else {
            *self = Room::None;
            return Ok(false);
        };
        transaction.prepare_cached("DELETE FROM code_message WHERE item = ?1")?.execute([settled])?;
        transaction.prepare_cached("DELETE FROM code_item WHERE id = ?1")?.execute([settled])?;
        Ok(true)
    }
}

/// One code of one message; whether there was room for it.
fn note(
    transaction: &Transaction<'_>,
    notice: &CodeNotice,
    table: &str,
    code: &str,
    room: &mut Room,
) -> rusqlite::Result<bool> {
    let CodeNotice { seq, at_ms, listener, feed, .. } = notice;
    let sql = "SELECT id, last_seq, count FROM code_item
               WHERE listener = ?1 AND feed = ?2 AND code_table = ?3 AND code = ?4";
    let known = transaction
        .prepare_cached(sql)?
        .query_row(params![listener, feed, table, code], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let (id, last_seq, count) = match known {
        Some(known) => known,
        None if !room.take(transaction)? => return Ok(false),
        None => {
            let sql = "INSERT INTO code_item (listener, feed, code_table, code, count, first_ms, last_ms, last_seq, standing, settled_ms)
                       VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5, 0, 'open', 0)";
            transaction.prepare_cached(sql)?.execute(params![listener, feed, table, code, at_ms])?;
            (transaction.last_insert_rowid(), 0, 0)
        }
    };
    // All that are counted are kept until there is no more room for them. The same message may be translated by several routes: it counts once.
    let new = if count.unsigned_abs() < CODE_MESSAGES_MAX {
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
        assert_eq!(state.code_tables(Some(CodeStanding::Open)).unwrap(), [("Sex".to_owned(), 2, 3, 50)]);
        assert_eq!(state.codes_of(Some("Race"), None, 0, 10).unwrap(), []);
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
        // What was dismissed goes when nothing that was resolved is left; with room for two, the third of a batch finds none.
        assert!(state.codes_full().unwrap());
        state.settle_code(8, CodeStanding::Dismissed, 1).unwrap();
        state.settle_code(9, CodeStanding::Resolved, 2).unwrap();
        assert!(!state.codes_full().unwrap());
        assert_eq!(state.note_codes(&[notice(20_002, "in the place of 9")]).unwrap(), 0);
        assert_eq!(state.code(9).unwrap(), None);
        assert!(state.code(8).unwrap().is_some());
        state.settle_code(10, CodeStanding::Resolved, 3).unwrap();
        let three = [notice(20_003, "A"), notice(20_004, "B"), notice(20_005, "C"), notice(20_006, "A")];
        assert_eq!(state.note_codes(&three).unwrap(), 1);
        assert_eq!((state.code(8).unwrap(), state.code(10).unwrap()), (None, None));
        assert_eq!(state.code_count().unwrap(), CODES_MAX);
        let often: Vec<_> = (1..=CODE_MESSAGES_MAX + 5).map(|seq| notice(30_000 + seq, "C1")).collect();
        state.note_codes(&often).unwrap();
        let count = state.codes(None, 0, 1).unwrap()[0].count;
        assert_eq!(count, CODE_MESSAGES_MAX + 6, "all are counted");
        let kept = state.code_messages(1, 0, usize::MAX).unwrap().len() as u64;
        assert_eq!(kept, CODE_MESSAGES_MAX, "and the first are kept");
    }
}
