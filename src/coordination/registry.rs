//! The registry: what people have said through the API, in the order in which they said it, and which rosters were taken on in between.
//!
//! A log that is only added to (`DATA/registry.sqlite`, synced before the caller is answered). Each entry says after which message of the journal it holds: whoever reads
//! journal and registry together reads both in one order, the same every time, and so can do all of it again.
//!
//! Beside the log stands which entry is the last of each thing, so that the current value is one look-up. Bodies are JSON as it was taken; what they must be is for
//! those who read them. A body may tell of a patient: none is in an error or in `Debug`.
mod passed;

pub use passed::Before;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT, after_seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, who TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS current (kind TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;";

/// Bytes of a body.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// Bytes of an id, and of the name of who said it.
pub const NAME_BYTES_MAX: usize = 256;
/// Things of one kind that hold at the same time.
pub const CURRENT_MAX: u64 = 100_000;
/// Entries of the log.
pub const ENTRIES_MAX: u64 = 10_000_000;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A FHIR `Subscription`.
    Subscription,
    /// A FHIR `Consent`.
    Consent,
    /// A FHIR `CareTeam`.
    CareTeam,
    /// Whether a message is about a member of a roster, decided by hand.
    MatchDecision,
    /// A roster that was held, and may be taken.
    RosterApproval,
    /// Which rosters are in force from here on.
    Roster,
    /// What somebody decided of a loop or of one of its steps.
    LoopDecision,
}

impl Kind {
    /// Every one.
    pub const ALL: [Kind; 7] = [
        Kind::Subscription,
        Kind::Consent,
        Kind::CareTeam,
        Kind::MatchDecision,
        Kind::RosterApproval,
        Kind::Roster,
        Kind::LoopDecision,
    ];

    /// As it is written in the database.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Subscription => "subscription",
            Kind::Consent => "consent",
            Kind::CareTeam => "care-team",
            Kind::MatchDecision => "match-decision",
            Kind::RosterApproval => "roster-approval",
            Kind::Roster => "roster",
            Kind::LoopDecision => "loop-decision",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What was said.
#[derive(Clone, PartialEq)]
pub enum What {
    /// This holds from now on.
    Put {
        /// Of this kind…
        kind: Kind,
        /// …with this id.
        id: String,
        /// As it was taken.
        body: Value,
    },
    /// It holds no more.
    Delete {
        /// Of this kind…
        kind: Kind,
        /// …with this id.
        id: String,
    },
}

impl What {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self {
            What::Put { kind, .. } | What::Delete { kind, .. } => *kind,
        }
    }

    /// Which of them.
    pub fn id(&self) -> &str {
        match self {
            What::Put { id, .. } | What::Delete { id, .. } => id,
        }
    }

    /// What holds now; nothing when it was taken away.
    pub fn body(&self) -> Option<&Value> {
        match self {
            What::Put { body, .. } => Some(body),
            What::Delete { .. } => None,
        }
    }
}

impl std::fmt::Debug for What {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.body().is_some() { "Put" } else { "Delete" };
        write!(out, "{verb}({})", self.kind().name())
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number, from 1 on.
    pub number: u64,
    /// It holds for the messages of the journal behind this number. Never less than that of the entry before it.
    pub after_seq: u64,
    /// When it was said, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Who said it: the name of their credentials.
    pub who: String,
    /// What.
    pub what: What,
}

/// Why something could not be written down or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The folder of the database could not be synced.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than what is kept.
    #[error("the {what} has {bytes} bytes, {max} are kept: make it smaller")]
    TooLarge {
        /// `body`, `id` or `name of who said it`.
        what: &'static str,
        /// How large.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// There are as many as are kept.
    #[error("there are {max} of kind {kind} already: delete some")]
    Full {
        /// The kind; `entry` for the log as a whole.
        kind: &'static str,
        /// How many are kept.
        max: u64,
    },
}

/// The log and what holds. Calls block, shortly; one that writes waits for the disk.
#[derive(Debug)]
pub struct Registry {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Registry {
    /// Opens the registry of a data directory; makes it where there is none.
    ///
    /// # Errors
    /// A database that cannot be opened.
    pub fn open(directory: &Path) -> Result<Registry, Error> {
        let path = directory.join("registry.sqlite");
        let failed = |source| Error::Database { path: path.clone(), source };
        let connection = Connection::open(&path).map_err(failed)?;
        crate::journal::settle(&connection).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        connection
            .execute_batch(&format!("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {TABLES} {}", passed::TABLES))
            .map_err(failed)?;
        // A name that is not synced in its folder is gone after a power cut, with all that was synced in the file.
        let synced = std::fs::File::open(directory).and_then(|folder| folder.sync_all());
        synced.map_err(|source| Error::Folder { path: directory.to_owned(), source })?;
        Ok(Registry { connection: Mutex::new(connection), path })
    }

    /// Writes down what was said, for good. `after_seq`: the last number of the journal at that moment; two who ask at the same time may see it in either order, so
    /// an entry never holds earlier than the one before it.
    ///
    /// # Errors
    /// An [`Error`]; nothing was written then.
    pub fn append(&self, after_seq: u64, at_ms: i64, who: &str, what: What) -> Result<Entry, Error> {
        self.say(|| after_seq, at_ms, who, what)
    }

    /// The same beside a reader of the journal. The last number is asked for while nobody can read entries: who reads messages first and entries then has either seen this
    /// one, or none of the messages that it holds for.
    ///
    /// # Errors
    /// An [`Error`]; nothing was written then.
    pub fn say(&self, head: impl FnOnce() -> u64, at_ms: i64, who: &str, what: What) -> Result<Entry, Error> {
        // Whatever stands there, it is written.
        let said = self.say_where(|_| true, head, at_ms, who, what)?;
        said.ok_or(Error::Full { kind: "entry", max: ENTRIES_MAX })
    }

    /// The same, if the entry that holds of that thing is still the one of this number; 0: if there is none. `None` when it is not, and nothing was written.
    ///
    /// # Errors
    /// An [`Error`]; nothing was written then.
    pub fn say_if(
        &self,
        expected: u64,
        head: impl FnOnce() -> u64,
        at_ms: i64,
        who: &str,
        what: What,
    ) -> Result<Option<Entry>, Error> {
        self.say_where(|current| current.unwrap_or(0) == expected, head, at_ms, who, what)
    }

    fn say_where(
        &self,
        may: impl Fn(Option<u64>) -> bool,
        head: impl FnOnce() -> u64,
        at_ms: i64,
        who: &str,
        what: What,
    ) -> Result<Option<Entry>, Error> {
        let body = what.body().map(Value::to_string);
        let sizes = [
            ("body", body.as_ref().map_or(0, String::len), BODY_BYTES_MAX),
            ("id", what.id().len(), NAME_BYTES_MAX),
            ("name of who said it", who.len(), NAME_BYTES_MAX),
        ];
        if let Some((what, bytes, max)) = sizes.into_iter().find(|(_, bytes, max)| bytes > max) {
            return Err(Error::TooLarge { what, bytes, max });
        }
        let mut connection = self.lock();
        let after_seq = head();
        let (kind, id) = (what.kind().name(), what.id());
        let mut write = || -> rusqlite::Result<Result<Option<(u64, u64)>, Error>> {
            let transaction = connection.transaction()?;
            if !may(current_number(&transaction, kind, id)?) {
                return Ok(Ok(None));
            }
            let (last, before): (i64, i64) = transaction
                .query_row("SELECT number, after_seq FROM entry ORDER BY number DESC LIMIT 1", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?
                .unwrap_or_default();
            if last.unsigned_abs() >= ENTRIES_MAX {
                return Ok(Err(Error::Full { kind: "entry", max: ENTRIES_MAX }));
            }
            let after = after_seq.min(i64::MAX.unsigned_abs()).max(before.unsigned_abs());
            if body.is_some() && !has_room(&transaction, kind, id)? {
                return Ok(Err(Error::Full { kind, max: CURRENT_MAX }));
            }
            let values = params![after.cast_signed(), at_ms, who, kind, id, body];
            transaction.execute(
                "INSERT INTO entry (after_seq, at_ms, who, kind, id, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                values,
            )?;
            let number = transaction.last_insert_rowid();
            match body {
                Some(_) => transaction
                    .execute("INSERT OR REPLACE INTO current VALUES (?1, ?2, ?3)", params![kind, id, number])?,
                None => transaction.execute("DELETE FROM current WHERE kind = ?1 AND id = ?2", [kind, id])?,
            };
            transaction.commit()?;
            Ok(Ok(Some((number.unsigned_abs(), after))))
        };
        let written = write().map_err(self.failed())??;
        Ok(written.map(|(number, after_seq)| Entry { number, after_seq, at_ms, who: who.to_owned(), what }))
    }

    /// Entries behind a number, in order, at most so many.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn after(&self, number: u64, most: usize) -> Result<Vec<Entry>, Error> {
        let connection = self.lock();
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT number, after_seq, at_ms, who, kind, id, body FROM entry WHERE number > ?1 ORDER BY number LIMIT ?2",
            )?;
            let rows = select.query_map(params![bounded(number), limit(most)], entry)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(self.failed())
    }

    /// The number of the last entry; 0 when there is none.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn last(&self) -> Result<u64, Error> {
        let last = self.lock().query_row("SELECT coalesce(max(number), 0) FROM entry", [], |row| row.get::<_, i64>(0));
        last.map(i64::unsigned_abs).map_err(self.failed())
    }

    /// The entry that holds of one thing; nothing when nobody has said anything, or it was deleted.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn current(&self, kind: Kind, id: &str) -> Result<Option<Entry>, Error> {
        let connection = self.lock();
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT number, after_seq, at_ms, who, entry.kind, entry.id, body FROM current JOIN entry USING (number)
                 WHERE current.kind = ?1 AND current.id = ?2",
            )?;
            select.query_row([kind.name(), id], entry).optional()
        };
        read().map_err(self.failed())
    }

    /// The entries that hold of a kind, by id, behind one of them, at most so many.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn all(&self, kind: Kind, after: Option<&str>, most: usize) -> Result<Vec<Entry>, Error> {
        let connection = self.lock();
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT number, after_seq, at_ms, who, entry.kind, entry.id, body FROM current JOIN entry USING (number)
                 WHERE current.kind = ?1 AND (?2 IS NULL OR current.id > ?2) ORDER BY current.id LIMIT ?3",
            )?;
            let rows = select.query_map(params![kind.name(), after, limit(most)], entry)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(rusqlite::Error) -> Error + '_ {
        |source| Error::Database { path: self.path.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back; the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry that holds of one thing.
fn current_number(connection: &Connection, kind: &str, id: &str) -> rusqlite::Result<Option<u64>> {
    let mut select = connection.prepare_cached("SELECT number FROM current WHERE kind = ?1 AND id = ?2")?;
    Ok(select.query_row([kind, id], |row| row.get::<_, i64>(0)).optional()?.map(i64::unsigned_abs))
}

/// Whether one more may hold; one that holds already may always change.
fn has_room(connection: &Connection, kind: &str, id: &str) -> rusqlite::Result<bool> {
    let known = current_number(connection, kind, id)?.is_some();
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM current WHERE kind = ?1")?
        .query_row([kind], |row| row.get(0))?;
    Ok(known || count.unsigned_abs() < CURRENT_MAX)
}

fn bounded(number: u64) -> i64 {
    number.min(i64::MAX.unsigned_abs()).cast_signed()
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let unreadable = |column: usize, what: &str| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.to_owned().into())
    };
    let kind = Kind::parse(&row.get::<_, String>(4)?).ok_or_else(|| unreadable(4, "a newer version wrote this"))?;
    let id = row.get(5)?;
    let what = match row.get::<_, Option<String>>(6)? {
        Some(body) => {
            let body = serde_json::from_str(&body).map_err(|_| unreadable(6, "a body is no JSON"))?;
            What::Put { kind, id, body }
        }
        None => What::Delete { kind, id },
    };
    Ok(Entry {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        after_seq: row.get::<_, i64>(1)?.unsigned_abs(),
        at_ms: row.get(2)?,
        who: row.get(3)?,
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(kind: Kind, id: &str, body: Value) -> What {
        What::Put { kind, id: id.into(), body }
    }

    #[test]
    fn what_was_said_outlives_the_process() {
        let temporary = tempfile::tempdir().unwrap();
        let body = json!({"b": 1.50, "a": "ü"});
        let said = {
            let registry = Registry::open(temporary.path()).unwrap();
            assert_eq!((registry.last().unwrap(), registry.after(0, 9).unwrap()), (0, vec![]));
            [
                registry.append(7, 100, "aco", put(Kind::Subscription, "s1", body.clone())).unwrap(),
                registry.append(7, 101, "aco", put(Kind::Consent, "s1", json!({}))).unwrap(),
                registry.append(9, 102, "ops", put(Kind::Subscription, "s2", json!([]))).unwrap(),
                registry.append(8, 103, "ops", put(Kind::Subscription, "s1", json!({"c": 2}))).unwrap(),
                registry.append(12, 104, "aco", What::Delete { kind: Kind::Subscription, id: "s2".into() }).unwrap(),
            ]
        };
        let registry = Registry::open(temporary.path()).unwrap();
        assert_eq!(registry.after(0, 9).unwrap(), said);
        assert_eq!(registry.after(2, 2).unwrap(), said[2..4]);
        let after: Vec<u64> = said.iter().map(|entry| entry.after_seq).collect();
        assert_eq!(after, [7, 7, 9, 9, 12], "an entry never holds before the one before it");
        assert_eq!(said[0].what.body().unwrap().to_string(), body.to_string(), "numbers and order as they came");
        assert_eq!(registry.current(Kind::Subscription, "s1").unwrap(), Some(said[3].clone()));
        assert_eq!(registry.current(Kind::Consent, "s1").unwrap(), Some(said[1].clone()));
        assert_eq!(registry.current(Kind::Subscription, "s2").unwrap(), None);
        assert_eq!(registry.all(Kind::Subscription, None, 9).unwrap(), [said[3].clone()]);
        assert!(registry.all(Kind::Subscription, Some("s1"), 9).unwrap().is_empty());
        assert_eq!(registry.append(0, 1, "x", put(Kind::CareTeam, "c", json!(1))).unwrap().number, 6);
        assert_eq!(registry.last().unwrap(), 6);
    }

    #[test]
    fn what_was_read_before_can_be_asked_for() {
        let temporary = tempfile::tempdir().unwrap();
        let registry = Registry::open(temporary.path()).unwrap();
        let say = |expected, who: &str| {
            let what = put(Kind::Subscription, "s", json!({ "of": who }));
            registry.say_if(expected, || 1, 1, who, what).unwrap().map(|entry| entry.number)
        };
        assert_eq!((say(7, "a"), say(0, "a"), say(0, "b")), (None, Some(1), None), "the first of two has it");
        assert_eq!((say(1, "a"), say(1, "late")), (Some(2), None));
        assert_eq!(
            (registry.last().unwrap(), registry.current(Kind::Subscription, "s").unwrap().unwrap().who),
            (2, "a".into())
        );
        registry.append(1, 1, "a", What::Delete { kind: Kind::Subscription, id: "s".into() }).unwrap();
        assert_eq!((say(2, "late"), say(0, "b")), (None, Some(4)));
    }

    #[test]
    fn nothing_is_kept_that_is_too_large() {
        let temporary = tempfile::tempdir().unwrap();
        let registry = Registry::open(temporary.path()).unwrap();
        let large = json!("x".repeat(BODY_BYTES_MAX));
        let error = registry.append(1, 1, "a", put(Kind::Consent, "c", large)).unwrap_err();
        assert_eq!(error.to_string(), "the body has 262146 bytes, 262144 are kept: make it smaller");
        let long = "i".repeat(NAME_BYTES_MAX + 1);
        assert!(matches!(
            registry.append(1, 1, "a", put(Kind::Consent, &long, json!(1))),
            Err(Error::TooLarge { what: "id", .. })
        ));
        assert!(matches!(
            registry.append(1, 1, &long, put(Kind::Consent, "c", json!(1))),
            Err(Error::TooLarge { what: "name of who said it", .. })
        ));
        assert_eq!(registry.last().unwrap(), 0);
    }

    #[test]
    fn as_many_hold_as_there_is_room_for_and_one_that_holds_may_change() {
        let temporary = tempfile::tempdir().unwrap();
        let registry = Registry::open(temporary.path()).unwrap();
        registry.append(1, 1, "a", put(Kind::Consent, "c", json!(1))).unwrap();
        registry
            .lock()
            .execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO current SELECT 'consent', 'n' || i, 1 FROM n",
                [CURRENT_MAX.cast_signed() - 1],
            )
            .unwrap();
        let full = registry.append(1, 1, "a", put(Kind::Consent, "other", json!(1)));
        assert!(matches!(full, Err(Error::Full { kind: "consent", max: CURRENT_MAX })));
        registry.append(1, 1, "a", put(Kind::Consent, "c", json!(2))).unwrap();
        registry.append(1, 1, "a", put(Kind::CareTeam, "other", json!(1))).unwrap();
        registry.append(1, 1, "a", What::Delete { kind: Kind::Consent, id: "n1".into() }).unwrap();
        registry.append(1, 1, "a", put(Kind::Consent, "other", json!(1))).unwrap();
    }

    #[test]
    fn debug_tells_nothing_of_a_body() {
        let what = put(Kind::Consent, "Canary", json!({"patient": "Canary"}));
        let entry = Entry { number: 1, after_seq: 2, at_ms: 3, who: "aco".into(), what };
        assert!(!format!("{entry:?}").contains("Canary"));
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }
}
