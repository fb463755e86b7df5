//! Dead letters by what they have in common: found, counted and dropped many at a time; and how many messages have arrived after all.
use super::{DeadLetter, Error, State, letter};
use rusqlite::{Connection, Params, Transaction, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS resent (reader TEXT PRIMARY KEY, count INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/// The count of dead letters stands beside them, kept by triggers: pages ask for it every two seconds, and to count a million takes 0.2 s. A letter in place of another is an
/// update: what `REPLACE` takes out no trigger sees.
const COUNTS: &str = "
CREATE TABLE IF NOT EXISTS dead_letter_count (reader TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO dead_letter_count SELECT reader, count(*) FROM dead_letter WHERE NOT EXISTS (SELECT 1 FROM dead_letter_count) GROUP BY reader;
CREATE TRIGGER IF NOT EXISTS dead_letter_more AFTER INSERT ON dead_letter BEGIN
    INSERT INTO dead_letter_count VALUES (new.reader, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS dead_letter_fewer AFTER DELETE ON dead_letter BEGIN
    UPDATE dead_letter_count SET count = count - 1 WHERE reader = old.reader;
END;";

/// Makes the counts, where a database has none yet. Looked at first: to ask for them to be made waits for whoever writes.
pub(super) fn keep_counts(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'dead_letter_fewer')";
    if connection.query_row(sql, [], |row| row.get(0))? {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(COUNTS)?;
    transaction.commit()
}

/// Which dead letters are meant: everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letters {
    /// Of this reader.
    pub reader: Option<String>,
    /// A part of why they were given up, letters in either case.
    pub reason: Option<String>,
    /// All of why they were given up, but for how often each was tried: [`DeadLetter::cause`].
    pub cause: Option<String>,
    /// Given up at this time or later, in milliseconds since 1970 (UTC).
    pub since_ms: Option<i64>,
    /// Given up at this time or before.
    pub until_ms: Option<i64>,
}

/// How many dead letters somebody has seen, and which; what is not given is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenLetters {
    /// So many.
    pub count: Option<u64>,
    /// These: [`State::pin_dead_letters`].
    pub pin: Option<String>,
}

impl SeenLetters {
    /// Whether they are still those.
    pub fn are(&self, count: u64, pin: &str) -> bool {
        self.count.is_none_or(|seen| seen == count) && self.pin.as_deref().is_none_or(|seen| seen == pin)
    }
}

/// Makes a text of dead letters, in their order, that says which they are.
#[derive(Debug, Clone, Default)]
pub struct LetterPin(Sha256);

impl LetterPin {
    /// One more: its reader, its number, and its last.
    pub fn add(&mut self, reader: &str, seq: u64, last: u64) {
        // No name of a reader holds a zero.
        self.0.update(reader);
        self.0.update([0]);
        self.0.update(seq.to_be_bytes());
        self.0.update(last.to_be_bytes());
    }

    /// The text: 32 hexadecimal digits.
    pub fn text(self) -> String {
        self.0.finalize().iter().take(PIN_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What dead letters of a reader have in common, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The reader.
    pub reader: String,
    /// Why they were given up: [`DeadLetter::cause`].
    pub cause: String,
    /// How many.
    pub count: u64,
    /// When the first and the last was given up, in milliseconds since 1970 (UTC).
    pub at_ms: (i64, i64),
}

/// As `?1` to `?5`.
const MEANT: &str = "(?1 IS NULL OR reader = ?1) AND (?2 IS NULL OR instr(lower(reason), lower(?2)) > 0) AND (?3 IS NULL OR at_ms >= ?3)
    AND (?4 IS NULL OR at_ms <= ?4) AND (?5 IS NULL OR iif(reason GLOB 'given up after [0-9]* attempts: *', substr(reason, instr(reason, ' attempts: ') + 11), reason) = ?5)";
/// Dead letters that are looked at for what they have in common: the first ones.
pub const LOOKED_MAX: u64 = 200_000;

impl DeadLetter {
    /// Why it was given up, without how often it was tried.
    pub fn cause(&self) -> &str {
        let tried = self.reason.strip_prefix("given up after ").and_then(|rest| rest.split_once(" attempts: "));
        tried
            .filter(|(count, _)| count.starts_with(|c: char| c.is_ascii_digit()))
            .map_or(&self.reason, |(_, cause)| cause)
    }
}

impl Letters {
    /// All of a reader.
    pub fn of(reader: &str) -> Letters {
        Letters { reader: Some(reader.to_owned()), ..Letters::default() }
    }
}

impl State {
    /// Dead letters with their readers, by reader and number, behind one of them, at most so many.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letters_after(
        &self,
        meant: &Letters,
        after: Option<(&str, u64)>,
        most: usize,
    ) -> Result<Vec<(String, DeadLetter)>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let sql = format!(
            "SELECT seq, last, at_ms, attempts, reason, reader FROM dead_letter WHERE {MEANT} AND (reader, seq) > (?6, ?7) ORDER BY reader, seq LIMIT ?8"
        );
        let mut select = connection.prepare(&sql).map_err(failed())?;
        let (from, seq) = after.unwrap_or((meant.reader.as_deref().unwrap_or_default(), 0));
        let Letters { reader, reason, cause, since_ms, until_ms } = meant;
        let values = params![reader, reason, since_ms, until_ms, cause, from, seq.cast_signed(), number(most)];
        let rows = select.query_map(values, |row| Ok((row.get(5)?, letter(row)?)));
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// The dead letter of a reader that a number belongs to, whatever their count.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letter_of(&self, reader: &str, seq: u64) -> Result<Option<DeadLetter>, Error> {
        let found = self.dead_letters_before(reader, seq, 1)?;
        // Runs do not overlap: the one that begins last before it holds it, or none does.
        Ok(found.into_iter().find(|letter| seq <= letter.last))
    }

    /// Dead letters of a reader that begin at a number or before it, the newest first, at most so many.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letters_before(&self, reader: &str, seq: u64, most: usize) -> Result<Vec<DeadLetter>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare_cached(
                "SELECT seq, last, at_ms, attempts, reason FROM dead_letter WHERE reader = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT ?3",
            )
            .map_err(failed())?;
        let seq = seq.min(i64::MAX.unsigned_abs()).cast_signed();
        let rows = select.query_map(params![reader, seq, number(most)], letter);
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// How many there are.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn count_dead_letters(&self, meant: &Letters) -> Result<u64, Error> {
        let sql = format!("SELECT count(*) FROM dead_letter WHERE {MEANT}");
        self.count(&sql, params![meant.reader, meant.reason, meant.since_ms, meant.until_ms, meant.cause])
    }

    /// How many there are behind one of them, and a text that says which: another one among them, one fewer or one more make another text.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn pin_dead_letters(&self, meant: &Letters, after: Option<(&str, u64)>) -> Result<(u64, String), Error> {
        pinned(&self.lock(), meant, after).map_err(Error::database(&self.path))
    }

    /// What they have in common, what most of them have first; at most so many. Of very many the first are looked at alone.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letter_causes(&self, meant: &Letters, most: usize) -> Result<Vec<Cause>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let sql = format!(
            "SELECT reader, iif(reason GLOB 'given up after [0-9]* attempts: *', substr(reason, instr(reason, ' attempts: ') + 11), reason),
                 count(*), min(at_ms), max(at_ms)
             FROM (SELECT reader, reason, at_ms FROM dead_letter WHERE {MEANT} LIMIT {LOOKED_MAX})
             GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?6"
        );
        let mut select = connection.prepare(&sql).map_err(failed())?;
        let Letters { reader, reason, cause, since_ms, until_ms } = meant;
        let rows = select.query_map(params![reader, reason, since_ms, until_ms, cause, number(most)], |row| {
            let count = row.get::<_, i64>(2)?.unsigned_abs();
            Ok(Cause { reader: row.get(0)?, cause: row.get(1)?, count, at_ms: (row.get(3)?, row.get(4)?) })
        });
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// How many each reader has that has any.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn dead_letter_counts(&self) -> Result<BTreeMap<String, u64>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare_cached("SELECT reader, count FROM dead_letter_count WHERE count > 0")
            .map_err(failed())?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())));
        rows.and_then(Iterator::collect).map_err(failed())
    }

    /// Drops them, the first so many, all or none, and remembers that they were; the messages stay in the journal. How many they were; none, and nothing
    /// is done, where they are not those that somebody has seen.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn drop_dead_letters(
        &self,
        meant: &Letters,
        most: usize,
        seen: &SeenLetters,
        at_ms: i64,
    ) -> Result<Option<u64>, Error> {
        let mut dropped = None;
        self.write(|transaction| {
            let Letters { reader, reason, cause, since_ms, until_ms } = meant;
            if *seen != SeenLetters::default() {
                let (count, pin) = pinned(transaction, meant, None)?;
                if !seen.are(count, &pin) {
                    return Ok(());
                }
            }
            let first = format!("SELECT reader, seq FROM dead_letter WHERE {MEANT} ORDER BY reader, seq LIMIT ?6");
            let values = params![reader, reason, since_ms, until_ms, cause, number(most), at_ms];
            transaction.execute(
                &format!("INSERT OR REPLACE INTO unsent SELECT reader, seq, last, ?7, 1, reason FROM dead_letter WHERE (reader, seq) IN ({first})"),
                values,
            )?;
            let values = params![reader, reason, since_ms, until_ms, cause, number(most)];
            let sql = format!("DELETE FROM dead_letter WHERE (reader, seq) IN ({first})");
            dropped = Some(transaction.execute(&sql, values)? as u64);
            Ok(())
        })?;
        Ok(dropped)
    }

    /// A message has arrived after all, outside its reader's course: it is counted, and nothing says any more that it has not. What stands for a run of several stays.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn arrived(&self, reader: &str, seq: u64, at_ms: i64) -> Result<(), Error> {
        self.write(|transaction| arrive(transaction, reader, seq, at_ms))
    }

    /// How many messages have arrived so at each reader, ever, and when the last one did, in milliseconds since 1970 (UTC).
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn resent(&self) -> Result<BTreeMap<String, (u64, i64)>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection.prepare_cached("SELECT reader, count, at_ms FROM resent").map_err(failed())?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get::<_, i64>(1)?.unsigned_abs(), row.get(2)?))));
        rows.and_then(Iterator::collect).map_err(failed())
    }

    fn count(&self, sql: &str, values: impl Params) -> Result<u64, Error> {
        let count = self.lock().query_row(sql, values, |row| row.get::<_, i64>(0));
        Ok(count.map_err(Error::database(&self.path))?.unsigned_abs())
    }
}

/// The work of [`State::pin_dead_letters`].
fn pinned(connection: &Connection, meant: &Letters, after: Option<(&str, u64)>) -> rusqlite::Result<(u64, String)> {
    let sql = format!(
        "SELECT reader, seq, last FROM dead_letter WHERE {MEANT} AND (reader, seq) > (?6, ?7) ORDER BY reader, seq"
    );
    let mut select = connection.prepare(&sql)?;
    let Letters { reader, reason, cause, since_ms, until_ms } = meant;
    let (from, seq) = after.unwrap_or((reader.as_deref().unwrap_or_default(), 0));
    let mut rows = select.query(params![reader, reason, since_ms, until_ms, cause, from, seq.cast_signed()])?;
    let (mut count, mut pin) = (0, LetterPin::default());
    while let Some(row) = rows.next()? {
        count += 1;
        let number = |at: usize| row.get::<_, i64>(at).map(i64::unsigned_abs);
        pin.add(row.get_ref(0)?.as_str()?, number(1)?, number(2)?);
    }
    Ok((count, pin.text()))
}

/// Of the hash so much is told: by chance two choices never have the same.
const PIN_BYTES: usize = 16;

/// The work of [`State::arrived`].
pub(super) fn arrive(transaction: &Transaction<'_>, reader: &str, seq: u64, at_ms: i64) -> rusqlite::Result<()> {
    for table in ["dead_letter", "unsent"] {
        let sql = format!("DELETE FROM {table} WHERE reader = ?1 AND seq = ?2 AND last = seq");
        transaction.execute(&sql, params![reader, seq.cast_signed()])?;
    }
    let sql = "INSERT INTO resent VALUES (?1, 1, ?2) ON CONFLICT (reader) DO UPDATE SET count = count + 1, at_ms = ?2";
    transaction.execute(sql, params![reader, at_ms]).map(drop)
}

fn number(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::*;

    #[test]
    fn letters_are_found_counted_and_dropped_by_what_they_have_in_common() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        for (reader, seq, at_ms, reason) in
            [("ehr", 1, 10, "HTTP 422"), ("ehr", 2, 20, "http 422 again"), ("ehr", 3, 30, "404"), ("lab", 4, 40, "AE")]
        {
            let letter = DeadLetter { seq, last: seq, at_ms, attempts: 1, reason: reason.into() };
            state.keep_dead_letter(reader, &letter).unwrap();
        }
        let refused = Letters { reason: Some("Http 4".into()), ..Letters::of("ehr") };
        let late = Letters { since_ms: Some(20), ..Letters::default() };
        let early = Letters { until_ms: Some(20), ..Letters::default() };
        let any = SeenLetters::default();
        let found = |meant: &Letters| -> Vec<u64> {
            let found = state.dead_letters_after(meant, None, 9).unwrap();
            assert_eq!(found.len() as u64, state.count_dead_letters(meant).unwrap());
            found.into_iter().map(|(_, letter)| letter.seq).collect()
        };
        assert_eq!((found(&refused), found(&late), found(&Letters::of("lab"))), (vec![1, 2], vec![2, 3, 4], vec![4]));
        assert_eq!(found(&early), [1, 2]);
        for (seq, attempts) in [(5, 3), (6, 12)] {
            let reason = format!("given up after {attempts} attempts: HTTP 503: 5 attempts: x");
            state.keep_dead_letter("lab", &DeadLetter { seq, last: seq, at_ms: 50, attempts, reason }).unwrap();
        }
        let causes = state.dead_letter_causes(&Letters::of("lab"), 9).unwrap();
        let told: Vec<_> = causes.iter().map(|cause| (cause.cause.as_str(), cause.count, cause.at_ms)).collect();
        assert_eq!(told, [("HTTP 503: 5 attempts: x", 2, (50, 50)), ("AE", 1, (40, 40))]);
        let cause = Letters { cause: Some(causes[0].cause.clone()), ..Letters::default() };
        assert_eq!(found(&cause), [5, 6]);
        assert_eq!(state.dead_letter("lab", 5).unwrap().unwrap().cause(), causes[0].cause);
        assert_eq!(state.drop_dead_letters(&cause, 9, &any, 50).unwrap(), Some(2));
        let counts =
            |numbers: [u64; 2]| BTreeMap::from([("ehr".to_owned(), numbers[0]), ("lab".to_owned(), numbers[1])]);
        assert_eq!(state.dead_letter_counts().unwrap(), counts([3, 1]));
        assert_eq!(state.drop_dead_letters(&refused, 1, &SeenLetters { count: Some(1), pin: None }, 50).unwrap(), None);
        assert_eq!(state.drop_dead_letters(&refused, 1, &any, 50).unwrap(), Some(1), "the first of them");
        assert_eq!(
            (found(&refused), state.unsent_of("ehr", 1).unwrap().map(|unsent| unsent.dropped)),
            (vec![2], Some(true))
        );
        state.arrived("ehr", 3, 60).unwrap();
        state.arrived("ehr", 1, 70).unwrap();
        assert_eq!(state.resent().unwrap(), BTreeMap::from([("ehr".to_owned(), (2, 70))]));
        assert_eq!((state.dead_letter_counts().unwrap(), state.unsent_of("ehr", 1).unwrap()), (counts([1, 1]), None));
    }

    /// As many as before are not the same as before.
    #[test]
    fn one_that_went_and_one_that_came_are_noticed() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let keep = |reader: &str, seq: u64| {
            let letter = DeadLetter { seq, last: seq, at_ms: 5, attempts: 1, reason: "HTTP 422".into() };
            state.keep_dead_letter(reader, &letter).unwrap();
        };
        [1, 2, 9].into_iter().for_each(|seq| keep("ehr", seq));
        let meant = Letters::of("ehr");
        let (count, pin) = state.pin_dead_letters(&meant, None).unwrap();
        assert_eq!((count, pin.len()), (3, 32));
        assert_eq!(state.pin_dead_letters(&meant, None).unwrap().1, pin, "the same say the same");
        let behind = state.pin_dead_letters(&meant, Some(("ehr", 1))).unwrap();
        state.forget_dead_letter("ehr", 2).unwrap();
        keep("ehr", 5);
        let now = state.pin_dead_letters(&meant, None).unwrap();
        assert!(now.0 == 3 && now.1 != pin && state.pin_dead_letters(&meant, Some(("ehr", 1))).unwrap().1 != behind.1);
        let seen = SeenLetters { count: Some(3), pin: Some(pin.clone()) };
        assert_eq!(state.drop_dead_letters(&meant, 9, &seen, 50).unwrap(), None, "nothing is done");
        state.forget_dead_letter("ehr", 5).unwrap();
        keep("ehr", 2);
        assert_eq!(state.drop_dead_letters(&meant, 9, &seen, 50).unwrap(), Some(3));
    }

    #[test]
    fn what_is_counted_beside_the_letters_is_what_there_is() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let state = State::open(&directory).unwrap();
        let keep = |reader: &str, seq: u64, attempts: u32| {
            let letter = DeadLetter { seq, last: seq, at_ms: 5, attempts, reason: "HTTP 422".into() };
            state.keep_dead_letter(reader, &letter).unwrap();
        };
        let agree = |state: &State| {
            let connection = state.lock();
            let sql = "SELECT reader, count(*) FROM dead_letter GROUP BY reader";
            let mut select = connection.prepare(sql).unwrap();
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))).unwrap();
            let counted: BTreeMap<String, u64> = rows.map(Result::unwrap).collect();
            drop(select);
            drop(connection);
            assert_eq!(state.dead_letter_counts().unwrap(), counted);
        };
        (1..9).for_each(|seq| keep(if seq % 3 == 0 { "lab" } else { "ehr" }, seq, 1));
        // The same letters once more: in place of what was there.
        (1..9).for_each(|seq| keep(if seq % 3 == 0 { "lab" } else { "ehr" }, seq, 2));
        agree(&state);
        assert!(state.drop_dead_letter("ehr", 2, 8).unwrap() && state.forget_dead_letter("lab", 3).unwrap());
        state.drop_dead_letters(&Letters::of("lab"), 9, &SeenLetters::default(), 50).unwrap();
        state.arrived("ehr", 4, 60).unwrap();
        agree(&state);
        // A database of before: counted once.
        let connection = state.lock();
        connection
            .execute_batch(
                "DROP TRIGGER dead_letter_more; DROP TRIGGER dead_letter_fewer; DROP TABLE dead_letter_count;",
            )
            .unwrap();
        drop(connection);
        drop(state);
        agree(&State::open(&directory).unwrap());
    }
}
