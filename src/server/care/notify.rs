//! Tells subscribers: what is due of each subscription, one thing at a time of each and many of them at once.
use super::deliver::{Delivery, Done, Wanted};
use super::sink::due;
use super::{Endpoints, Shared};
use crate::coordination::registry;
use crate::coordination::subscription::channel::Kind;
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::standing::{Standing, Timing, Todo};
use crate::coordination::subscription::store;
use reqwest::{Client, redirect};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::{self, JoinSet};

/// A notification for those who have bound to a subscription.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The subscription.
    pub subscription: Arc<str>,
    /// The Bundle.
    pub text: Arc<str>,
}

/// Deliveries under way at the same time.
const DELIVERIES_MAX: usize = 64;
/// Of them of one recipient: one whose endpoints are slow keeps nobody else waiting.
const OF_ONE_MAX: usize = 8;
/// Subscriptions of which something is remembered.
const KNOWN_MAX: usize = 200_000;
/// What could not be done by our own fault is tried again after this; twice as long after each further time…
const LATER_MIN: Duration = Duration::from_secs(1);
/// …up to this.
const LATER_MAX: Duration = Duration::from_secs(60);
/// Subscriptions that are looked at in one go.
const PAGE: usize = 1_000;
/// Between looks when nothing happens, and at subscriptions for which nothing waits: heartbeats and retries are late by so much at most.
const LOOK: Duration = Duration::from_millis(500);
/// The client for endpoints.
pub(super) fn client(endpoints: &Endpoints) -> reqwest::Result<Client> {
    // A proxy would look names up by itself.
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    builder.dns_resolver(Arc::new(endpoints.clone())).build()
}

pub(super) struct Notifier {
    shared: Arc<Shared>,
    sight: Arc<Mutex<Sight>>,
}

/// What is known of subscriptions from one look to the next.
#[derive(Default)]
struct Sight {
    /// Subscriptions by id, as of an entry of the registry.
    known: HashMap<String, (u64, Wanted)>,
    /// What is being delivered, and whose it is.
    under_way: HashMap<String, String>,
    /// What could not be done by our own fault: how often in a row, and when it is tried again.
    later: HashMap<String, (u32, Instant)>,
    /// The last one for which something was begun: the next is the first to be looked at, so that everybody's turn comes.
    last: String,
    /// When all of them were looked at last.
    all: Option<Instant>,
}

impl Notifier {
    pub fn new(shared: Arc<Shared>) -> Notifier {
        Notifier { shared, sight: Arc::default() }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let (mut deliveries, mut tasks): (JoinSet<Done>, HashMap<task::Id, String>) = Default::default();
        let mut told = None;
        loop {
            match self.look().await {
                Ok(begun) => {
                    told = None;
                    for (delivery, todo) in begun {
                        let id = delivery.id.clone();
                        tasks.insert(deliveries.spawn(Arc::new(delivery).run(todo)).id(), id);
                    }
                }
                Err(text) => {
                    // Once: it may stay so for long.
                    if told.as_ref() != Some(&text) {
                        tracing::error!("notifications wait, they are tried again: {text}");
                        told = Some(text);
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
            tokio::select! {
                () = self.shared.told.notified() => {}
                Some(done) = deliveries.join_next_with_id() => {
                    // A panic is our own fault.
                    let (task, done) = done.unwrap_or_else(|error| (error.id(), Done::Later));
                    if let Some(id) = tasks.remove(&task) {
                        lock(&self.sight).done(id, done);
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// What is due and has a place; the places are taken.
    async fn look(&self) -> Result<Vec<(Delivery, Todo)>, String> {
        let (shared, sight) = (Arc::clone(&self.shared), Arc::clone(&self.sight));
        let looked = tokio::task::spawn_blocking(move || lock(&sight).look(&shared)).await;
        let due = looked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let delivery = |due: Due| {
            let shared = Arc::clone(&self.shared);
            (Delivery { shared, id: due.id, standing: due.standing, wanted: due.wanted }, due.todo)
        };
        Ok(due.into_iter().map(delivery).collect())
    }
}

fn lock(sight: &Mutex<Sight>) -> MutexGuard<'_, Sight> {
    sight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is due.
struct Due {
    id: String,
    standing: Standing,
    wanted: Wanted,
    todo: Todo,
}

impl Sight {
    /// What is due, round from where it was left. Blocks.
    fn look(&mut self, shared: &Shared) -> rusqlite::Result<Vec<Due>> {
        // A database that is made anew has every subscription ask again: greeted before its events are numbered, all of them would be sent once more.
        if !shared.caught_up.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if self.known.len().max(self.later.len()) > KNOWN_MAX {
            // Most of it is of subscriptions that are gone.
            self.known.clear();
            self.later.clear();
        }
        // Most of many have nothing to be told at a time.
        let all = self.all.is_none_or(|at| at.elapsed() >= LOOK);
        if all {
            self.all = Some(Instant::now());
        }
        let (mut due, start) = (Vec::new(), self.last.clone());
        let (mut after, mut is_round) = (start.clone(), false);
        loop {
            let standings = store::standings(&shared.database(), all, &after, PAGE)?;
            let Some((last, _)) = standings.last() else {
                if is_round {
                    return Ok(due);
                }
                (after, is_round) = (String::new(), true);
                continue;
            };
            after.clone_from(last);
            for (id, standing) in standings {
                if is_round && id > start || self.under_way.len() >= DELIVERIES_MAX {
                    return Ok(due);
                }
                due.extend(self.one(shared, id, standing, now_ms));
            }
        }
    }

    fn one(&mut self, shared: &Shared, id: String, standing: Standing, now_ms: i64) -> Option<Due> {
        if self.under_way.contains_key(&id) || self.later.get(&id).is_some_and(|(_, at)| *at > Instant::now()) {
            return None;
        }
        let wanted = self.wanted(shared, &id, &standing)?;
        let todo = match wanted.1.channel.kind {
            Kind::Transaction => due(shared, &id, &standing, now_ms),
            _ => None,
        };
        let todo = todo.unwrap_or_else(|| standing.todo(&Timing::of(&wanted.1), now_ms));
        // Without anybody there it waits for somebody who binds.
        let is_alone = || wanted.1.channel.kind == Kind::Websocket && !shared.is_bound(&id);
        let is_idle = matches!(todo, Todo::Wait(_) | Todo::Nothing) || (todo != Todo::End && is_alone());
        if is_idle || self.under_way.values().filter(|owner| **owner == wanted.0).count() >= OF_ONE_MAX {
            return None;
        }
        self.under_way.insert(id.clone(), wanted.0.clone());
        self.last.clone_from(&id);
        Some(Due { id, standing, wanted, todo })
    }

    fn wanted(&mut self, shared: &Shared, id: &str, standing: &Standing) -> Option<Wanted> {
        if let Some((entry, wanted)) = self.known.get(id)
            && *entry == standing.entry
        {
            return Some(Arc::clone(wanted));
        }
        let entry = shared.registry.current(registry::Kind::Subscription, id).ok()??;
        // What was said since has not taken its place in the journal yet.
        if entry.number != standing.entry {
            return None;
        }
        let subscription = Subscription::stored(id, entry.what.body()?, &shared.topics).ok()?;
        let wanted = Arc::new((entry.who, subscription));
        self.known.insert(id.to_owned(), (standing.entry, Arc::clone(&wanted)));
        Some(wanted)
    }

    fn done(&mut self, id: String, done: Done) {
        self.under_way.remove(&id);
        match done {
            Done::Settled => _ = self.later.remove(&id),
            Done::Later => {
                let times = self.later.get(&id).map_or(0, |(times, _)| *times);
                let wait = LATER_MIN.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).min(LATER_MAX);
                self.later.insert(id, (times.saturating_add(1), Instant::now() + wait));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_faults_wait_longer_each_time_and_are_forgotten_once_it_goes() {
        let mut sight = Sight::default();
        let waits = |sight: &Sight| sight.later.get("s").map(|(times, _)| *times);
        for times in 1..=40 {
            sight.under_way.insert("s".into(), "aco".into());
            sight.done("s".into(), Done::Later);
            assert_eq!(waits(&sight), Some(times));
        }
        assert!(sight.under_way.is_empty());
        assert!(sight.later["s"].1 <= Instant::now() + LATER_MAX);
        sight.done("s".into(), Done::Settled);
        assert_eq!(waits(&sight), None);
    }
}
