//! What has been sent once more: to whom, by whom, with which mappings, and what went out. A page of the message tells it, and another operator sees that it has been done.
use super::letters::arrive;
use super::{Error, State};
use rusqlite::{Row, params};

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS sent_again (
    id INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, who TEXT NOT NULL, mappings TEXT NOT NULL,
    engine TEXT NOT NULL, plan BLOB NOT NULL, body BLOB NOT NULL, failure TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS sent_again_by_seq ON sent_again (seq, id);";

/// Of one message on one route so many are kept: the newest.
const KEPT_MAX: i64 = 20;

/// A message that somebody has sent once more, and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentAgain {
    /// Its number among all of these; 0 until it is kept.
    pub id: u64,
    /// The route.
    pub reader: String,
    /// The number of the message.
    pub seq: u64,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// The user or token.
    pub who: String,
    /// `original` or `current`.
    pub mappings: String,
    /// The version that made it.
    pub engine: String,
    /// The hash of the mappings; zeros where the message went out as it came.
    pub plan: [u8; 32],
    /// SHA-256 of the Bundle before its route wrapped it, or of the message as it came.
    pub body: [u8; 32],
    /// Why it has not arrived; never holds a value of the message.
    pub failure: Option<String>,
}

impl State {
    /// Keeps what has come of it. One that has arrived counts as [`State::arrived`] does.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn note_resend(&self, sent: &SentAgain) -> Result<(), Error> {
        self.write(|transaction| {
            let seq = sent.seq.cast_signed();
            if sent.failure.is_none() {
                arrive(transaction, &sent.reader, sent.seq, sent.at_ms)?;
            }
            transaction.execute(
                "INSERT INTO sent_again (reader, seq, at_ms, who, mappings, engine, plan, body, failure) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    sent.reader,
                    seq,
                    sent.at_ms,
                    sent.who,
                    sent.mappings,
                    sent.engine,
                    sent.plan.as_slice(),
                    sent.body.as_slice(),
                    sent.failure
                ],
            )?;
            transaction.execute(
                "DELETE FROM sent_again WHERE reader = ?1 AND seq = ?2 AND id NOT IN
                     (SELECT id FROM sent_again WHERE reader = ?1 AND seq = ?2 ORDER BY id DESC LIMIT ?3)",
                params![sent.reader, seq, KEPT_MAX],
            )?;
            Ok(())
        })
    }

    /// The number of the newest of all that are kept; 0 where there are none.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn last_resend(&self) -> Result<u64, Error> {
        let last = self.lock().query_row("SELECT coalesce(max(id), 0) FROM sent_again", [], |row| row.get::<_, i64>(0));
        Ok(last.map_err(Error::database(&self.path))?.unsigned_abs())
    }

    /// How a message has been sent once more, the newest first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn resends(&self, seq: u64) -> Result<Vec<SentAgain>, Error> {
        let failed = || Error::database(&self.path);
        let connection = self.lock();
        let mut select = connection
            .prepare_cached(
                "SELECT id, reader, seq, at_ms, who, mappings, engine, plan, body, failure FROM sent_again WHERE seq = ?1 ORDER BY id DESC",
            )
            .map_err(failed())?;
        let rows = select.query_map([seq.min(i64::MAX.unsigned_abs()).cast_signed()], sent_again);
        rows.and_then(Iterator::collect).map_err(failed())
    }
}

fn sent_again(row: &Row<'_>) -> rusqlite::Result<SentAgain> {
    Ok(SentAgain {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        reader: row.get(1)?,
        seq: row.get::<_, i64>(2)?.unsigned_abs(),
        at_ms: row.get(3)?,
        who: row.get(4)?,
        mappings: row.get(5)?,
        engine: row.get(6)?,
        plan: row.get(7)?,
        body: row.get(8)?,
        failure: row.get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{DeadLetter, Directory};
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_was_sent_again_is_kept_counted_and_forgotten_with_the_journal() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let letter = DeadLetter { seq: 7, last: 7, at_ms: 5, attempts: 2, reason: "refused".into() };
        state.keep_dead_letter("ehr", &letter).unwrap();
        let sent = |at_ms, failure: Option<&str>| SentAgain {
            id: 0,
            reader: "ehr".into(),
            seq: 7,
            at_ms,
            who: "kim".into(),
            mappings: "current".into(),
            engine: "1".into(),
            plan: [1; 32],
            body: [2; 32],
            failure: failure.map(str::to_owned),
        };
        state.note_resend(&sent(10, Some("HTTP 500"))).unwrap();
        assert_eq!((state.dead_letters("ehr").unwrap(), state.resent().unwrap()), (vec![letter], BTreeMap::new()));
        state.note_resend(&sent(20, None)).unwrap();
        assert!(state.dead_letters("ehr").unwrap().is_empty());
        assert_eq!(state.resent().unwrap(), BTreeMap::from([("ehr".to_owned(), (1, 20))]));
        let kept = state.resends(7).unwrap();
        assert_eq!(state.last_resend().unwrap(), 2);
        assert_eq!(kept, [SentAgain { id: 2, ..sent(20, None) }, SentAgain { id: 1, ..sent(10, Some("HTTP 500")) }]);
        assert!(state.resends(8).unwrap().is_empty());
        for at_ms in 30..60 {
            state.note_resend(&sent(at_ms, None)).unwrap();
        }
        let kept = state.resends(7).unwrap();
        assert_eq!((kept.len() as i64, kept[0].at_ms, kept[0].id), (KEPT_MAX, 59, 32));
        state.forget_unsent(8).unwrap();
        assert!(state.resends(7).unwrap().is_empty());
    }
}
