//! Tells subscribers: what is due of each subscription, one thing at a time of each and many of them at once.
use super::content::{ContentError, Released};
use super::{CareError, Shared};
use crate::coordination::registry;
use crate::coordination::subscription::channel::{Content, Kind};
use crate::coordination::subscription::notification::{About, Telling};
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::standing::{Fault, Input, Standing, Timing, Todo};
use crate::coordination::subscription::{cache, store};
use crate::coordination::work::telling::{self, audit_id};
use crate::facets::uuid_text;
use crate::privacy::audit::{Entry, Outcome};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Reason, Recipient};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;
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
/// Between looks when nothing happens: heartbeats and retries are late by so much at most.
const LOOK: Duration = Duration::from_millis(500);
/// To take a notification, where the subscription does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whom somebody wants told: the recipient, and what they asked for.
type Wanted = Arc<(String, Subscription)>;

pub(super) struct Notifier {
    shared: Arc<Shared>,
    client: Client,
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
}

impl Notifier {
    pub fn new(shared: Arc<Shared>) -> Result<Notifier, CareError> {
        // A proxy would look names up by itself.
        let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        let client = builder.dns_resolver(Arc::new(shared.endpoints.clone())).build()?;
        Ok(Notifier { shared, client, sight: Arc::default() })
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
            let (shared, client) = (Arc::clone(&self.shared), self.client.clone());
            (Delivery { shared, client, id: due.id, standing: due.standing, wanted: due.wanted }, due.todo)
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
        let (mut due, start) = (Vec::new(), self.last.clone());
        let (mut after, mut is_round) = (start.clone(), false);
        loop {
            let standings = store::standings(&shared.database(), &after, PAGE)?;
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
        let todo = standing.todo(&Timing::of(&wanted.1), now_ms);
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

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// It is written down.
    Settled,
    /// Nothing, by our own fault: the endpoint is not to blame.
    Later,
}

/// One thing that is due of one subscription.
struct Delivery {
    shared: Arc<Shared>,
    client: Client,
    id: String,
    standing: Standing,
    wanted: Wanted,
}

impl Delivery {
    async fn run(self: Arc<Self>, todo: Todo) -> Done {
        let (made, input) = match todo {
            Todo::Handshake => (self.about(|about, now| Some(about.handshake(now))), Input::Greeted),
            Todo::Heartbeat => (self.about(|about, now| Some(about.heartbeat(now))), Input::Alive),
            Todo::Events(from, to) => (Arc::clone(&self).events(from, to).await, Input::Delivered(to)),
            Todo::End => (Made::Nothing, Input::Ended),
            Todo::Wait(_) | Todo::Nothing => return Done::Settled,
        };
        let input = match made {
            Made::Bundle(bundle) if self.wanted.1.channel.kind == Kind::Websocket => match self.push(&bundle) {
                true => input,
                false => return Done::Later,
            },
            Made::Bundle(bundle) => self.post(&bundle).await.map_or_else(|instead| instead, |()| input),
            // Nothing to send: the number counts all the same.
            Made::Nothing => input,
            Made::Later => return Done::Later,
        };
        tokio::task::spawn_blocking(move || self.settle(input)).await.unwrap_or(Done::Later)
    }

    fn about(&self, make: impl FnOnce(&About<'_>, i64) -> Option<Value>) -> Made {
        let (options, subscription) = (&self.shared.options.subscriptions, &self.wanted.1);
        let about = About {
            base: options.base(),
            focus_base: options.focus_base(),
            topics: &self.shared.topics,
            id: &self.id,
            topic: subscription.topic,
            content: subscription.channel.content,
            state: self.standing.state,
            last: self.standing.last,
            fault: self.standing.fault,
        };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        make(&about, now_ms).map_or(Made::Nothing, |bundle| match subscription.channel.kind {
            Kind::Message => {
                let endpoint = subscription.channel.endpoint.as_ref().map_or("", |url| url.as_str());
                Made::Bundle(about.message(bundle, endpoint, now_ms))
            }
            _ => Made::Bundle(bundle),
        })
    }

    /// The notification of events. What may not be told any more is a number without content; the audit knows of each before it is sent.
    async fn events(self: Arc<Self>, from: u64, to: u64) -> Made {
        let work = tokio::task::spawn_blocking(move || self.gather(from, to));
        work.await.unwrap_or(Made::Later)
    }

    fn gather(&self, from: u64, to: u64) -> Made {
        let (owner, subscription) = &*self.wanted;
        let Some(recipient) = self.shared.options.privacy.recipient(owner) else { return Made::Later };
        let Ok(events) = store::events(&self.shared.database(), &self.id, from, to) else { return Made::Later };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let of = (self.id.as_str(), subscription.topic.id);
        let released = match released(&self.shared, recipient, of, subscription.channel.content, &events, now_ms) {
            Ok(released) => released,
            Err(error) => {
                tracing::error!(subscription = self.id, "not told, to be tried again: {error}");
                return Made::Later;
            }
        };
        let tellings: Vec<_> = events
            .iter()
            .zip(&released)
            .map(|((number, told), resources)| Telling { number: *number, told, resources: resources.as_deref() })
            .collect();
        self.about(|about, now| match (subscription.channel.kind, tellings.first()) {
            // They were forgotten before anybody took them.
            (_, None) => None,
            (Kind::DavinciAlert, Some(first)) => {
                let endpoint = subscription.channel.endpoint.as_ref().map_or("", |url| url.as_str());
                about.davinci(first, endpoint, now)
            }
            _ => Some(about.events(&tellings, now)),
        })
    }

    /// To those who listen; when nobody does any more it is told to who binds next.
    fn push(&self, bundle: &Value) -> bool {
        let pushed = Pushed { subscription: self.id.as_str().into(), text: bundle.to_string().into() };
        self.shared.is_bound(&self.id) && self.shared.pushed.send(pushed).is_ok()
    }

    async fn post(&self, bundle: &Value) -> Result<(), Input> {
        let channel = &self.wanted.1.channel;
        let Some(endpoint) = &channel.endpoint else { return Err(Input::Failed(Fault::Name)) };
        // An address that is written out is never looked up, and the configuration may be another than when it was taken.
        if let Err(refused) = self.shared.endpoints.check(endpoint) {
            tracing::warn!(subscription = self.id, "nothing is sent to where it leads: {refused}");
            return Err(Input::Failed(Fault::NoResponse));
        }
        let timeout = channel.timeout_s.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
        let mut request = self.client.post(endpoint.clone()).timeout(timeout).header(CONTENT_TYPE, channel.payload);
        for header in &channel.headers {
            request = request.header(&header.name, header.value());
        }
        match request.body(bundle.to_string()).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status() == StatusCode::GONE => Err(Input::Gone),
            Ok(answer) => {
                tracing::warn!(
                    subscription = self.id,
                    status = answer.status().as_u16(),
                    "a notification was not taken"
                );
                Err(Input::Failed(Fault::Refused))
            }
            Err(error) => {
                // The endpoint may hold a secret.
                tracing::warn!(subscription = self.id, "a notification did not arrive: {}", error.without_url());
                Err(Input::Failed(Fault::NoResponse))
            }
        }
    }

    /// The endpoint is gone for good: nothing is matched for it from here on, unless the client asks again, or has done so already.
    fn switch_off(&self, now_ms: i64) -> Result<(), registry::Error> {
        let mut body = self.wanted.1.body();
        body["status"] = "off".into();
        let what = registry::What::Put { kind: registry::Kind::Subscription, id: self.id.clone(), body };
        let (entry, head) = (self.standing.entry, || self.shared.head());
        self.shared.registry.say_if(entry, head, now_ms, &self.wanted.0, what).map(drop)
    }

    /// Writes down what came of it. Blocks.
    fn settle(&self, input: Input) -> Done {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if input == Input::Gone
            && let Err(error) = self.switch_off(now_ms)
        {
            tracing::error!(subscription = self.id, "that it is off is not written down: {error}");
            return Done::Later;
        }
        let policy = &self.shared.options.subscriptions.policy;
        let after = self.standing.after(input, self.wanted.1.channel.kind, now_ms, policy);
        if after.state != self.standing.state {
            tracing::info!(subscription = self.id, state = after.state.name(), "a subscription has another state");
        }
        match store::save(&self.shared.database(), &self.id, &after) {
            Ok(_) => Done::Settled,
            Err(error) => {
                tracing::error!(subscription = self.id, "what came of a notification is not written down: {error}");
                Done::Later
            }
        }
    }
}

/// What is to be sent.
enum Made {
    Bundle(Value),
    Nothing,
    Later,
}

/// Why events cannot be released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The database.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// What it is about, or what may be told of it.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The audit.
    #[error("audit: {0}")]
    Audit(#[from] crate::privacy::audit::Error),
}

/// What a recipient may be told of events, each by its resources, or by nothing; written into the audit, and remembered so that it can be read. Blocks.
///
/// # Errors
/// A database or an audit that cannot be written: nothing may be sent then.
pub fn released(
    shared: &Shared,
    recipient: &Recipient,
    (subscription, topic): (&str, &str),
    content: Content,
    events: &[(u64, store::Told)],
    now_ms: i64,
) -> Result<Vec<Option<Vec<Value>>>, ReleaseError> {
    let most = match content {
        Content::Empty => MaxContent::Empty,
        Content::IdOnly => MaxContent::IdOnly,
        Content::FullResource => MaxContent::FullResource,
    };
    // What was subscribed to may have been taken from the recipient since.
    let may = recipient.topics.iter().any(|own| own == topic);
    let (mut all, mut audited) = (Vec::with_capacity(events.len()), Vec::new());
    for (number, told) in events {
        let telling = telling::find(&shared.database(), &told.event)?;
        let found = match &telling {
            Some(_) if !may => Some(Released::Withheld(Reason::Policy)),
            Some(telling) => Some(shared.contents.release(shared, telling, recipient, most, now_ms)?),
            None => None,
        };
        let person = match &telling {
            Some(telling) => uuid_text(&shared.contents.person(shared, telling)?.0),
            None => String::new(),
        };
        let (outcome, resources) = match found {
            Some(Released::Resources(resources)) => (Outcome::Disclosed, Some(resources)),
            Some(Released::Withheld(reason)) => (Outcome::Suppressed(reason), None),
            Some(Released::Gone) | None => (Outcome::Suppressed(Reason::Failed), None),
        };
        audited.push((*number, told.event, person, outcome));
        all.push(resources);
    }
    let entries: Vec<_> = audited
        .iter()
        .map(|(number, event, person, outcome)| Entry {
            id: audit_id(event, subscription, &format!("{number}|{now_ms}")),
            at_ms: now_ms,
            outcome: *outcome,
            recipient: &recipient.id,
            purpose: &recipient.purpose,
            person,
            event: *event,
            subscription: Some(subscription),
            number: Some(*number),
        })
        .collect();
    shared.audit(&entries)?;
    remember(shared, recipient, events, &all)?;
    Ok(all)
}

/// What was told of can be read by whoever was told.
fn remember(
    shared: &Shared,
    recipient: &Recipient,
    events: &[(u64, store::Told)],
    all: &[Option<Vec<Value>>],
) -> rusqlite::Result<()> {
    let connection = shared.database();
    let transaction = connection.unchecked_transaction()?;
    for ((_, told), resources) in events.iter().zip(all) {
        let notified = cache::Notified { seq: told.seq, event: told.event, received_ms: told.received_ms };
        for resource in resources.iter().flatten() {
            if let (Some(kind), Some(id)) = (resource["resourceType"].as_str(), resource["id"].as_str()) {
                cache::note(&transaction, &recipient.id, (kind, id), &notified)?;
            }
        }
    }
    transaction.commit()
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
