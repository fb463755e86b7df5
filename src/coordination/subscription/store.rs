//! The tables of subscriptions: how each stands, and which events it was told of or has to read.
//!
//! ```text
//! subscription        id → state, …; `last` is the number of its last event
//! subscription_event  (subscription, number) → the event, its message in the journal, when, what it is about
//! ```
//!
//! Two write to a row of `subscription`. The reader of the journal numbers events ([`number`]) and so writes `last`, in the transaction in which an event is matched;
//! whoever delivers writes the rest ([`save`]), and only as long as the client has not said anything new.
use super::resource::Wanted;
use super::standing::{Fault, Input, Policy, Standing, State};
use super::topic::Trigger;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// To be made when the database is opened.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS subscription (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, since_ms INTEGER NOT NULL, entry INTEGER NOT NULL, last INTEGER NOT NULL, delivered INTEGER NOT NULL,
    failures INTEGER NOT NULL, due_ms INTEGER NOT NULL, sent_ms INTEGER NOT NULL, fault INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS subscription_waits ON subscription (id) WHERE state = 'requested' OR state = 'active' AND last > delivered;
CREATE TABLE IF NOT EXISTS subscription_event (
    subscription TEXT NOT NULL, number INTEGER NOT NULL, event BLOB NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    happened TEXT NOT NULL, v2_event TEXT NOT NULL, focus TEXT NOT NULL, PRIMARY KEY (subscription, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS subscription_event_once ON subscription_event (subscription, event);
CREATE INDEX IF NOT EXISTS subscription_event_age ON subscription_event (received_ms);";

/// Events that are kept of one subscription.
pub const EVENTS_MAX: u64 = 100_000;
/// Events that are read at once.
pub const EVENTS_READ_MAX: u64 = 1_000;
/// Events that are forgotten at once.
const FORGOTTEN_MAX: i64 = 10_000;

/// An event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// [`crate::coordination::Event::id`], or an id of what else has triggered the topic.
    pub event: [u8; 16],
    /// The number of its message in the journal; 0 where there is none.
    pub seq: u64,
    /// When it happened, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// When its message was received.
    pub received_ms: i64,
    /// What happened.
    pub trigger: Trigger,
    /// MSH-9.2; empty where no message told of it.
    pub v2_event: String,
    /// What it is about: types, the likeliest first, of which the first that the message gives is meant; or one `Type/id`.
    pub focus: Vec<String>,
}

/// What somebody has said of a subscription takes effect: to be called for each entry of the registry, at its place in the journal; entries that are known change
/// nothing. How it stands now.
///
/// # Errors
/// A database that cannot be written.
pub fn put(
    transaction: &Transaction<'_>,
    id: &str,
    (wanted, kind): (Wanted, super::channel::Kind),
    (entry, at_ms): (u64, i64),
    policy: &Policy,
) -> rusqlite::Result<Standing> {
    let known = standing(transaction, id)?;
    let before = known.clone().unwrap_or_default();
    let after = before.after(Input::Put(wanted, entry), kind, at_ms, policy);
    if known.as_ref() != Some(&after) {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO subscription VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
            .execute(params![
                id,
                after.state.name(),
                after.since_ms,
                after.entry.cast_signed(),
                after.last.cast_signed(),
                after.delivered.cast_signed(),
                after.failures,
                after.due_ms,
                after.sent_ms,
                after.fault.map(Fault::number),
            ])?;
    }
    Ok(after)
}

/// Forgets a subscription and its events. One that is made again begins at 1.
///
/// # Errors
/// A database that cannot be written.
pub fn delete(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM subscription WHERE id = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM subscription_event WHERE subscription = ?1")?.execute([id])?;
    super::aside::delete(transaction, id)
}

/// Writes what came of a delivery. Whether it still counts: not when the client has said something since (`entry`), or the subscription is gone.
///
/// # Errors
/// A database that cannot be written.
pub fn save(connection: &Connection, id: &str, standing: &Standing) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE subscription SET state = ?3, since_ms = ?4, delivered = ?5, failures = ?6, due_ms = ?7, sent_ms = ?8, fault = ?9
             WHERE id = ?1 AND entry = ?2",
        )?
        .execute(params![
            id,
            standing.entry.cast_signed(),
            standing.state.name(),
            standing.since_ms,
            standing.delivered.cast_signed(),
            standing.failures,
            standing.due_ms,
            standing.sent_ms,
            standing.fault.map(Fault::number),
        ])?;
    Ok(changed > 0)
}

/// Numbers an event for a subscription, in the transaction in which it is matched; none when there is no such subscription. An event that has a number keeps it.
///
/// # Errors
/// A database that cannot be written.
pub fn number(transaction: &Transaction<'_>, id: &str, told: &Told) -> rusqlite::Result<Option<u64>> {
    let known: Option<i64> = transaction
        .prepare_cached("SELECT number FROM subscription_event WHERE subscription = ?1 AND event = ?2")?
        .query_row(params![id, told.event.as_slice()], |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(Some(number.unsigned_abs()));
    }
    let number: Option<i64> = transaction
        .prepare_cached("UPDATE subscription SET last = last + 1 WHERE id = ?1 RETURNING last")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(None) };
    transaction.prepare_cached("INSERT INTO subscription_event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(
        params![
            id,
            number,
            told.event.as_slice(),
            told.seq.cast_signed(),
            told.at_ms,
            told.received_ms,
            told.trigger.name(),
            told.v2_event,
            told.focus.join(","),
        ],
    )?;
    if number > EVENTS_MAX.cast_signed() {
        transaction
            .prepare_cached("DELETE FROM subscription_event WHERE subscription = ?1 AND number = ?2")?
            .execute(params![id, number - EVENTS_MAX.cast_signed()])?;
    }
    Ok(Some(number.unsigned_abs()))
}

/// What a subscription has been told of so far counts as delivered.
///
/// # Errors
/// A database that cannot be written.
pub fn pass(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE subscription SET delivered = last WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// How a subscription stands.
///
/// # Errors
/// A database that cannot be read.
pub fn standing(connection: &Connection, id: &str) -> rusqlite::Result<Option<Standing>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM subscription WHERE id = ?1"))?
        .query_row([id], |row| read_standing(row).map(|(_, standing)| standing))
        .optional()
}

/// How they stand, by id, behind one of them, at most so many: all of them, or only those for which a handshake or events wait, which are found without a look at the others.
///
/// # Errors
/// A database that cannot be read.
pub fn standings(
    connection: &Connection,
    all: bool,
    after: &str,
    most: usize,
) -> rusqlite::Result<Vec<(String, Standing)>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.prepare_cached(&of_standings(all))?.query_map(params![after, most], read_standing)?.collect()
}

fn of_standings(all: bool) -> String {
    // As the index says it.
    let waiting = if all { "" } else { "AND (state = 'requested' OR state = 'active' AND last > delivered)" };
    format!("SELECT {COLUMNS} FROM subscription WHERE id > ?1 {waiting} ORDER BY id LIMIT ?2")
}

/// Events of a subscription with their numbers, from one number to another, both included; at most [`EVENTS_READ_MAX`], the first of them.
///
/// # Errors
/// A database that cannot be read.
pub fn events(connection: &Connection, id: &str, since: u64, until: u64) -> rusqlite::Result<Vec<(u64, Told)>> {
    let bounded = |number: u64| number.min(i64::MAX.unsigned_abs()).cast_signed();
    connection
        .prepare_cached(
            "SELECT number, event, seq, at_ms, received_ms, happened, v2_event, focus FROM subscription_event
             WHERE subscription = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4",
        )?
        .query_map(params![id, bounded(since), bounded(until), bounded(EVENTS_READ_MAX)], read_told)?
        .collect()
}

/// Forgets events whose messages were received before a time, some of them at once; how many. The numbers go on.
///
/// # Errors
/// A database that cannot be written.
pub fn forget(transaction: &Transaction<'_>, before_ms: i64) -> rusqlite::Result<usize> {
    super::aside::forget(transaction, before_ms)?;
    transaction
        .prepare_cached(
            "DELETE FROM subscription_event WHERE (subscription, number) IN
             (SELECT subscription, number FROM subscription_event WHERE received_ms < ?1 ORDER BY received_ms LIMIT ?2)",
        )?
        .execute(params![before_ms, FORGOTTEN_MAX])
}

const COLUMNS: &str = "id, state, since_ms, entry, last, delivered, failures, due_ms, sent_ms, fault";

fn read_standing(row: &Row<'_>) -> rusqlite::Result<(String, Standing)> {
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let state = State::parse(&row.get::<_, String>(1)?).ok_or_else(|| unreadable(1))?;
    let fault = match row.get::<_, Option<u8>>(9)? {
        Some(fault) => Some(Fault::of_number(fault).ok_or_else(|| unreadable(9))?),
        None => None,
    };
    let standing = Standing {
        state,
        since_ms: row.get(2)?,
        entry: number(3)?,
        last: number(4)?,
        delivered: number(5)?,
        failures: row.get(6)?,
        due_ms: row.get(7)?,
        sent_ms: row.get(8)?,
        fault,
    };
    Ok((row.get(0)?, standing))
}

fn read_told(row: &Row<'_>) -> rusqlite::Result<(u64, Told)> {
    let told = Told {
        event: row.get(1)?,
        seq: row.get::<_, i64>(2)?.unsigned_abs(),
        at_ms: row.get(3)?,
        received_ms: row.get(4)?,
        trigger: Trigger::parse(&row.get::<_, String>(5)?).ok_or_else(|| unreadable(5))?,
        v2_event: row.get(6)?,
        focus: row.get::<_, String>(7)?.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
    };
    Ok((row.get::<_, i64>(0)?.unsigned_abs(), told))
}

fn unreadable(column: usize) -> rusqlite::Error {
    let what = "a newer version wrote this".to_owned();
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
}

#[cfg(test)]
mod tests {
    use super::super::channel::Kind as Channel;
    use super::*;
    use crate::coordination::Kind;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection.execute_batch(super::super::aside::TABLE).unwrap();
        connection
    }

    fn told(event: u8, received_ms: i64) -> Told {
        Told {
            event: [event; 16],
            seq: u64::from(event) + 100,
            at_ms: received_ms - 5,
            received_ms,
            trigger: Trigger::Event(Kind::Result),
            v2_event: "R01".into(),
            focus: vec!["DiagnosticReport".into(), "Observation".into()],
        }
    }

    fn subscribe(connection: &mut Connection, id: &str, entry: u64) -> Standing {
        let transaction = connection.transaction().unwrap();
        let asked = (Wanted::Requested, Channel::RestHook);
        let standing = put(&transaction, id, asked, (entry, 1_000), &Policy::default()).unwrap();
        transaction.commit().unwrap();
        standing
    }

    fn tell(connection: &mut Connection, id: &str, event: u8) -> Option<u64> {
        let transaction = connection.transaction().unwrap();
        let number = number(&transaction, id, &told(event, 2_000 + i64::from(event))).unwrap();
        transaction.commit().unwrap();
        number
    }

    #[test]
    fn events_are_numbered_once_and_read_again() {
        let mut connection = database();
        subscribe(&mut connection, "a", 1);
        subscribe(&mut connection, "b", 2);
        assert_eq!([1, 2, 1, 3].map(|event| tell(&mut connection, "a", event)), [Some(1), Some(2), Some(1), Some(3)]);
        assert_eq!(tell(&mut connection, "b", 3), Some(1), "each counts for itself");
        assert_eq!(tell(&mut connection, "none", 3), None);
        let numbers = |since, until| -> Vec<u64> {
            events(&connection, "a", since, until).unwrap().into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!((numbers(2, u64::MAX), numbers(0, 1), numbers(4, 9)), (vec![2, 3], vec![1], vec![]));
        assert_eq!(events(&connection, "a", 2, 2).unwrap(), [(2, told(2, 2_002))]);
        assert_eq!(standing(&connection, "a").unwrap().unwrap().last, 3);
    }

    /// A batch that is not committed is done again: the same numbers come of it.
    #[test]
    fn a_batch_that_is_done_again_gives_the_same_numbers() {
        let mut connection = database();
        subscribe(&mut connection, "a", 1);
        tell(&mut connection, "a", 1);
        let first = {
            let transaction = connection.transaction().unwrap();
            [2, 3].map(|event| number(&transaction, "a", &told(event, 2_000)).unwrap())
        };
        assert_eq!(standing(&connection, "a").unwrap().unwrap().last, 1, "rolled back");
        assert_eq!(first, [2, 3].map(|event| tell(&mut connection, "a", event)));
    }

    #[test]
    fn what_came_of_a_delivery_counts_until_the_client_says_something_new() {
        let mut connection = database();
        let policy = Policy::default();
        let requested = subscribe(&mut connection, "a", 1);
        let active = requested.after(Input::Greeted, Channel::RestHook, 1_100, &policy);
        assert!(save(&connection, "a", &active).unwrap());
        tell(&mut connection, "a", 1);
        let now = standing(&connection, "a").unwrap().unwrap();
        assert_eq!((now.state, now.last, now.delivered), (State::Active, 1, 0));
        let again = subscribe(&mut connection, "a", 5);
        assert_eq!((again.state, again.last), (State::Requested, 1));
        let late = now.after(Input::Failed(Fault::NoResponse), Channel::RestHook, 1_200, &policy);
        assert!(!save(&connection, "a", &late).unwrap(), "that was before the client asked again");
        assert_eq!(standing(&connection, "a").unwrap(), Some(again.clone()));
        assert_eq!(subscribe(&mut connection, "a", 5), again, "the same entry, read again");
        let failed = again.after(Input::Failed(Fault::Name), Channel::RestHook, 1_300, &policy);
        assert!(save(&connection, "a", &failed).unwrap());
        assert_eq!(standing(&connection, "a").unwrap(), Some(failed));
        assert!(!save(&connection, "none", &again).unwrap());
    }

    #[test]
    fn what_is_deleted_is_gone_and_begins_again_at_one() {
        let mut connection = database();
        for id in ["c", "a", "b"] {
            subscribe(&mut connection, id, 1);
        }
        tell(&mut connection, "a", 1);
        let transaction = connection.transaction().unwrap();
        delete(&transaction, "a").unwrap();
        transaction.commit().unwrap();
        assert!(standing(&connection, "a").unwrap().is_none() && events(&connection, "a", 0, 9).unwrap().is_empty());
        subscribe(&mut connection, "a", 4);
        assert_eq!(tell(&mut connection, "a", 2), Some(1));
        let ids = |after, most| -> Vec<String> {
            standings(&connection, true, after, most).unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!((ids("", 2), ids("b", 9)), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    }

    #[test]
    fn those_for_which_something_waits_are_found_without_the_others() {
        let mut connection = database();
        let policy = Policy::default();
        for id in ["a", "b", "c", "d"] {
            let requested = subscribe(&mut connection, id, 1);
            let greeted = requested.after(Input::Greeted, Channel::RestHook, 1_100, &policy);
            let failed = requested.after(Input::Failed(Fault::Name), Channel::RestHook, 1_100, &policy);
            match id {
                "a" => {}
                "d" => assert!(save(&connection, id, &failed).unwrap()),
                _ => assert!(save(&connection, id, &greeted).unwrap()),
            }
        }
        tell(&mut connection, "c", 1);
        tell(&mut connection, "d", 1);
        let ids = |after| -> Vec<String> {
            standings(&connection, false, after, 9).unwrap().into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!((ids(""), ids("a")), (vec!["a".to_owned(), "c".to_owned()], vec!["c".to_owned()]));
        let plan = format!("EXPLAIN QUERY PLAN {}", of_standings(false));
        let plan: String = connection.query_row(&plan, params!["", 9], |row| row.get(3)).unwrap();
        assert!(plan.contains("subscription_waits"), "{plan}");
    }

    #[test]
    fn old_events_are_forgotten_and_the_numbers_go_on() {
        let mut connection = database();
        subscribe(&mut connection, "a", 1);
        for event in 1..=3 {
            tell(&mut connection, "a", event);
        }
        let transaction = connection.transaction().unwrap();
        assert_eq!((forget(&transaction, 2_003).unwrap(), forget(&transaction, 2_003).unwrap()), (2, 0));
        transaction.commit().unwrap();
        let left: Vec<u64> = events(&connection, "a", 0, 9).unwrap().into_iter().map(|(number, _)| number).collect();
        assert_eq!((left, tell(&mut connection, "a", 4)), (vec![3], Some(4)));
        connection.execute("UPDATE subscription SET last = ?1 WHERE id = 'a'", [EVENTS_MAX.cast_signed() + 2]).unwrap();
        tell(&mut connection, "a", 5);
        let left: Vec<u64> = events(&connection, "a", 0, u64::MAX).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(left, [4, EVENTS_MAX + 3], "the one so far behind is gone");
    }
}
