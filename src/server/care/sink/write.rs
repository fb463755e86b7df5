//! One event written to the FHIR server: sent as a transaction whose answer must prove that it was taken, or set aside without holding up anybody else's.
//!
//! | answer | what becomes of the event |
//! |---|---|
//! | 2xx with a `transaction-response` of which no entry failed | it is there |
//! | none; 3xx, 401, 403, 404, 405, 407, 408, 410, 425, 429, 501 and above; 2xx that proves nothing | it is the server: asked again for ever, the event stays where it is |
//! | 409, 412, 423, 424 | set aside: tried again [`CONFLICTS`] times as often as what follows |
//! | 400, 413, 415, 422 and other 4xx | set aside: tried again `attempts_max` times, then given up |
//! | 500 | as if the server were away, `attempts_max` times in a row; then set aside, and never given up: it may be choking on this very event |
//!
//! What an entry of the answer says counts as above, but for 403, 404 and 410, which then are of the event. While an event is aside, those of the same person wait behind it: written in another order, the older
//! would come over the newer. So what is given up is never sent again by itself. One person is whoever a merge made one of, as long as it holds, by whichever key an event was set aside.
//!
//! A server that asks to be left alone (`Retry-After`) is, for [`REST_MAX`] at most: all of it, where it is the server, else the event and what waits behind it.
use super::super::Shared;
use super::super::deliver::{Delivery, Done, Failure, Made};
use crate::coordination::subscription::aside::{self, Aside};
use crate::coordination::subscription::standing::{Fault, Input, Standing, State, Todo};
use crate::coordination::subscription::store;
use crate::coordination::work::telling;
use crate::coordination::{PersonKey, lineage};
use crate::delivery::channel::{Untaken, transaction_taken};
use rusqlite::Connection;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// So many times as often as other refusals, a conflict is tried again: with somebody who writes at the same time, or with records that somebody has to mend.
const CONFLICTS: u32 = 6;
/// So long a server can ask to be left alone: what it says is no reason to tell nobody for a day.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// What came of sending an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// The server has it, or it may not be told.
    Taken,
    /// An earlier one of the person waits.
    Behind,
    /// It is the server, not the event.
    Away(Fault),
    /// It may be either: 500.
    Broken,
    /// It conflicts with what the server has.
    Conflict(u16),
    /// The server does not take it.
    Refused(u16),
    /// Nothing of it is kept any more.
    Gone,
}

/// The event that was set aside and is to be tried again, if the server is there.
pub(in super::super) fn due(shared: &Shared, id: &str, standing: &Standing, now_ms: i64) -> Option<Todo> {
    if standing.state != State::Active || standing.due_ms > now_ms {
        return None;
    }
    let due = first_due(&shared.database(), id, now_ms);
    let due = due.inspect_err(|error| tracing::error!("what was set aside cannot be read: {error}"));
    due.ok().flatten().map(|number| Todo::Events(number, number))
}

/// The event that is to be tried again now: of each patient the first alone.
fn first_due(database: &Connection, id: &str, now_ms: i64) -> rusqlite::Result<Option<u64>> {
    for (number, person) in aside::due(database, id, now_ms)? {
        if !is_behind(database, id, &person, number)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether an earlier event waits of whoever is one and the same patient now.
fn is_behind(database: &Connection, id: &str, person: &str, number: u64) -> rusqlite::Result<bool> {
    let same = match PersonKey::parse(person) {
        Some(key) => lineage::same(database, key)?,
        None => None,
    };
    let mut keys: Vec<String> = same.unwrap_or_default().iter().map(PersonKey::to_string).collect();
    keys.push(person.to_owned());
    for key in keys {
        if aside::is_behind(database, id, &key, number)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Delivery {
    /// Writes an event, and down what came of it.
    pub(in super::super) async fn write(self: Arc<Self>, number: u64) -> Done {
        let here = Arc::clone(&self);
        let turn = match spawn_blocking(move || here.turn(number)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(error)) => {
                tracing::error!(subscription = self.id, "not told, to be tried again: {error}");
                return Done::Later;
            }
            Err(_) => return Done::Later,
        };
        let mut rests = Duration::ZERO;
        let (person, came) = match turn {
            (person, true) => (person, Came::Behind),
            (person, false) => match Arc::clone(&self).events(number, number).await {
                Made::Bundle(bundle, disclosed) => match self.transact(&bundle).await {
                    Ok(()) => (person, Came::Taken),
                    Err((failure, came, after)) => {
                        Arc::clone(&self).failed(failure, disclosed).await;
                        rests = after.unwrap_or_default().min(REST_MAX);
                        (person, came)
                    }
                },
                Made::Nothing => (person, Came::Taken),
                Made::Gone => (person, Came::Gone),
                Made::Later => return Done::Later,
            },
        };
        spawn_blocking(move || self.came(number, person, (came, rests))).await.unwrap_or(Done::Later)
    }

    /// Whose it is, by an opaque id, and whether an earlier one of theirs waits. Blocks.
    fn turn(&self, number: u64) -> rusqlite::Result<(String, bool)> {
        let events = store::events(&self.shared.database(), &self.id, number, number)?;
        let Some((_, told)) = events.first() else { return Ok((String::new(), false)) };
        let telling = telling::find(&self.shared.database(), &told.event)?;
        let person = telling.map(|telling| self.shared.contents.person(&self.shared, &telling)).transpose()?;
        let person = person.unwrap_or_default();
        let is_behind = is_behind(&self.shared.database(), &self.id, &person, number)?;
        Ok((person, is_behind))
    }

    async fn transact(&self, bundle: &Value) -> Result<(), (Failure, Came, Option<Duration>)> {
        let count = bundle["entry"].as_array().map_or(0, Vec::len);
        let answer = self.ask(bundle, self.timeout()).await.map_err(|failure| {
            let fault = match failure.input {
                Some(Input::Failed(fault)) => fault,
                _ => Fault::NoResponse,
            };
            (failure, Came::Away(fault), None)
        })?;
        transaction_taken(answer, count).await.map_err(|untaken| {
            let came = judged(&untaken);
            (Failure::new(Some(Input::Failed(Fault::Refused)), true, untaken.reason), came, untaken.after)
        })
    }

    /// Writes down what came of it. Blocks.
    fn came(&self, number: u64, person: String, (came, rests): (Came, Duration)) -> Done {
        let rests_ms = i64::try_from(rests.as_millis()).unwrap_or_default();
        let rests_until_ms = jiff::Timestamp::now().as_millisecond().saturating_add(rests_ms);
        match self.note(number, person, (came, rests_until_ms)) {
            Ok(input @ Input::Failed(_)) => self.settle_until(input, rests_until_ms),
            Ok(input) => self.settle(input),
            Err(error) => {
                tracing::error!(subscription = self.id, "what came of an event is not written down: {error}");
                Done::Later
            }
        }
    }

    /// Sets it aside, or takes it back from there; what that means for the subscription. What is aside counts as delivered, so it is written first.
    fn note(&self, number: u64, person: String, (came, rests_until_ms): (Came, i64)) -> rusqlite::Result<Input> {
        let (database, now_ms) = (self.shared.database(), jiff::Timestamp::now().as_millisecond());
        let policy = &self.shared.options.subscriptions.policy;
        let known = aside::of_number(&database, &self.id, number)?;
        let is_patient = self.standing.failures.saturating_add(1) < policy.attempts_max;
        match came {
            Came::Taken => {
                aside::remove(&database, &self.id, number)?;
                return Ok(Input::Delivered(number));
            }
            Came::Away(fault) => return Ok(Input::Failed(fault)),
            Came::Broken if known.is_none() && is_patient => return Ok(Input::Failed(Fault::Refused)),
            _ => {}
        }
        if known.is_none() && aside::counts(&database, &self.id, 0)?.waiting >= aside::WAITING_MAX {
            let most = aside::WAITING_MAX;
            tracing::error!(
                "[coordination.sink]: {most} events wait aside, the most that may; nothing is sent but those"
            );
            return Ok(Input::Failed(Fault::Refused));
        }
        let since_ms = now_ms;
        let fresh = Aside { number, person, status: 0, refusals: 0, since_ms, due_ms: 0, is_given_up: false };
        let whose = fresh.person.clone();
        let mut one = known.unwrap_or(fresh);
        // By whom it is now it was found to be behind, so by that key it has to be looked for.
        if !whose.is_empty() {
            one.person = whose;
        }
        let (status, most) = match came {
            Came::Refused(status) => (status, policy.attempts_max),
            Came::Conflict(status) => (status, policy.attempts_max.saturating_mul(CONFLICTS)),
            Came::Broken => (500, u32::MAX),
            _ => (0, u32::MAX),
        };
        one.status = status;
        one.refusals = one.refusals.saturating_add(u32::from(matches!(came, Came::Refused(_) | Came::Conflict(_))));
        one.is_given_up = came == Came::Gone || one.refusals >= most;
        one.due_ms = match came {
            Came::Behind => 0,
            _ if one.is_given_up => now_ms,
            Came::Broken => now_ms.saturating_add(policy.wait_ms(u32::MAX)),
            _ => now_ms.saturating_add(policy.wait_ms(one.refusals)),
        };
        if came != Came::Behind && !one.is_given_up {
            one.due_ms = one.due_ms.max(rests_until_ms);
        }
        aside::put(&database, &self.id, &one)?;
        self.told(&one, came);
        Ok(Input::Delivered(number))
    }

    fn told(&self, one: &Aside, came: Came) {
        let (subscription, event) = (self.id.as_str(), one.number);
        let (status, refusals) = (one.status, one.refusals);
        match came {
            _ if one.is_given_up => tracing::error!(
                subscription,
                event,
                status,
                refusals,
                "the FHIR server of [coordination.sink] does not have an event: it is given up; the desk shows it under the subscription, and $events tells it by its number"
            ),
            Came::Behind => {}
            _ => tracing::warn!(
                subscription,
                event,
                status,
                refusals,
                "the FHIR server of [coordination.sink] refuses an event; it is tried again, and later ones of that person wait for it"
            ),
        }
    }
}

fn judged(untaken: &Untaken) -> Came {
    match (untaken.status, untaken.is_of_entry) {
        (Some(status @ (409 | 412 | 423 | 424)), _) => Came::Conflict(status),
        (Some(500), _) => Came::Broken,
        (Some(status @ (403 | 404 | 410)), true) => Came::Refused(status),
        (Some(401 | 403 | 404 | 405 | 407 | 408 | 410 | 425 | 429), _) => Came::Away(Fault::Refused),
        (Some(status @ 400..=499), _) => Came::Refused(status),
        _ => Came::Away(Fault::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_consequence() {
        let judge = |status: u16, is_of_entry| {
            judged(&Untaken { status: Some(status), is_of_entry, after: None, reason: String::new() })
        };
        for status in [301, 401, 403, 404, 405, 408, 410, 425, 429, 501, 502, 503, 504] {
            assert_eq!(judge(status, false), Came::Away(Fault::Refused), "{status}");
        }
        for status in [409, 412, 423, 424] {
            assert_eq!([judge(status, false), judge(status, true)], [Came::Conflict(status); 2]);
        }
        for status in [400, 413, 415, 422] {
            assert_eq!([judge(status, false), judge(status, true)], [Came::Refused(status); 2]);
        }
        assert_eq!([403, 404, 410].map(|status| judge(status, true)), [403, 404, 410].map(Came::Refused));
        assert_eq!([401, 429, 503].map(|status| judge(status, true)), [Came::Away(Fault::Refused); 3]);
        assert_eq!([judge(500, false), judge(500, true)], [Came::Broken; 2]);
        let unproven = Untaken { status: None, is_of_entry: false, after: None, reason: String::new() };
        assert_eq!(judged(&unproven), Came::Away(Fault::Refused), "a login page is no delivery");
    }

    #[test]
    fn whoever_was_merged_waits_as_one_and_whoever_is_told_apart_does_not() {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(aside::TABLE).unwrap();
        database
            .execute_batch("CREATE TABLE person_edge (origin BLOB PRIMARY KEY, person BLOB NOT NULL, renamed INTEGER NOT NULL) STRICT, WITHOUT ROWID")
            .unwrap();
        let (one, other) = (PersonKey([1; 16]), PersonKey([2; 16]));
        let put = |number, person: PersonKey, due_ms| {
            let person = person.to_string();
            let one = Aside { number, person, status: 409, refusals: 1, since_ms: 0, due_ms, is_given_up: false };
            aside::put(&database, "sink", &one).unwrap();
        };
        put(3, one, 50);
        put(5, other, 0);
        let due = |now_ms| first_due(&database, "sink", now_ms).unwrap();
        let behind = |person: PersonKey| is_behind(&database, "sink", &person.to_string(), 9).unwrap();
        assert_eq!((due(10), due(60), behind(PersonKey([3; 16]))), (Some(5), Some(5), false));
        database.execute("INSERT INTO person_edge VALUES (?1, ?2, 0)", [one.0, other.0]).unwrap();
        assert_eq!((due(10), due(60)), (None, Some(3)), "the later waits behind the earlier, whose number it was");
        assert!(behind(one) && behind(other));
        database.execute("DELETE FROM person_edge", []).unwrap();
        assert_eq!(due(10), Some(5));
    }
}
