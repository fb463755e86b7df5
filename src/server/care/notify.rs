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
use crate::delivery::channel::egress::{Egress, Resolver};
use crate::facets::uuid_text;
use crate::privacy::audit::{Entry, Outcome};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Reason, Recipient};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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
    /// Subscriptions by id, as of an entry of the registry.
    known: HashMap<String, (u64, Wanted)>,
    under_way: HashSet<String>,
    places: Arc<Semaphore>,
}

impl Notifier {
    pub fn new(shared: Arc<Shared>) -> Result<Notifier, CareError> {
        let egress = Egress { public_only: false, allowed: shared.allowed.clone() };
        // A proxy would look names up by itself.
        let mut builder = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        if !egress.is_free() {
            builder = builder.dns_resolver(Arc::new(Resolver(egress)));
        }
        let client = builder.build()?;
        let places = Arc::new(Semaphore::new(DELIVERIES_MAX));
        Ok(Notifier { shared, client, known: HashMap::new(), under_way: HashSet::new(), places })
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut deliveries: JoinSet<String> = JoinSet::new();
        loop {
            if let Err(error) = self.look(&mut deliveries) {
                tracing::error!("notifications wait, they are tried again: {error}");
            }
            tokio::select! {
                () = self.shared.told.notified() => {}
                Some(done) = deliveries.join_next() => match done {
                    Ok(id) => { self.under_way.remove(&id); }
                    // It panicked: which one is not known, so all are looked at again.
                    Err(_) => self.under_way.clear(),
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Begins what is due.
    fn look(&mut self, deliveries: &mut JoinSet<String>) -> rusqlite::Result<()> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let mut after = String::new();
        loop {
            let standings = store::standings(&self.shared.database(), &after, PAGE)?;
            let Some((last, _)) = standings.last() else { return Ok(()) };
            after.clone_from(last);
            for (id, standing) in standings {
                if self.under_way.contains(&id) {
                    continue;
                }
                let Some(wanted) = self.wanted(&id, &standing) else { continue };
                // Without anybody there it waits for somebody who binds.
                if wanted.1.channel.kind == Kind::Websocket && !self.shared.is_bound(&id) {
                    continue;
                }
                let todo = standing.todo(&Timing::of(&wanted.1), now_ms);
                if matches!(todo, Todo::Wait(_) | Todo::Nothing) {
                    continue;
                }
                let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Ok(()) };
                self.under_way.insert(id.clone());
                let delivery =
                    Delivery { shared: Arc::clone(&self.shared), client: self.client.clone(), id, standing, wanted };
                deliveries.spawn(async move {
                    let _place = place;
                    let id = delivery.id.clone();
                    delivery.run(todo).await;
                    id
                });
            }
        }
    }

    fn wanted(&mut self, id: &str, standing: &Standing) -> Option<Wanted> {
        if let Some((entry, wanted)) = self.known.get(id)
            && *entry == standing.entry
        {
            return Some(Arc::clone(wanted));
        }
        let entry = self.shared.registry.current(registry::Kind::Subscription, id).ok()??;
        // What was said since has not taken its place in the journal yet.
        if entry.number != standing.entry {
            return None;
        }
        let subscription = Subscription::stored(id, entry.what.body()?, &self.shared.topics).ok()?;
        let wanted = Arc::new((entry.who, subscription));
        self.known.insert(id.to_owned(), (standing.entry, Arc::clone(&wanted)));
        Some(wanted)
    }
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
    async fn run(self, todo: Todo) {
        let kind = self.wanted.1.channel.kind;
        let (made, input) = match todo {
            Todo::Handshake => (self.about(|about, now| Some(about.handshake(now))), Input::Greeted),
            Todo::Heartbeat => (self.about(|about, now| Some(about.heartbeat(now))), Input::Alive),
            Todo::Events(from, to) => (self.clone_for_blocking().events(from, to).await, Input::Delivered(to)),
            Todo::End => return self.settle(Input::Ended),
            Todo::Wait(_) | Todo::Nothing => return,
        };
        let bundle = match made {
            Made::Bundle(bundle) => bundle,
            // Nothing to send: the number counts all the same.
            Made::Nothing => return self.settle(input),
            Made::Later => return self.settle(Input::Failed(Fault::NoResponse)),
        };
        let outcome = if kind == Kind::Websocket { self.push(&bundle) } else { self.post(&bundle).await };
        self.settle(match outcome {
            Ok(()) => input,
            Err(input) => input,
        });
    }

    fn clone_for_blocking(&self) -> Delivery {
        Delivery {
            shared: Arc::clone(&self.shared),
            client: self.client.clone(),
            id: self.id.clone(),
            standing: self.standing.clone(),
            wanted: Arc::clone(&self.wanted),
        }
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
    async fn events(self, from: u64, to: u64) -> Made {
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
            (Kind::DavinciAlert, Some(first)) => {
                let endpoint = subscription.channel.endpoint.as_ref().map_or("", |url| url.as_str());
                about.davinci(first, endpoint, now)
            }
            _ => Some(about.events(&tellings, now)),
        })
    }

    fn push(&self, bundle: &Value) -> Result<(), Input> {
        let pushed = Pushed { subscription: self.id.as_str().into(), text: bundle.to_string().into() };
        // Nobody listens any more: again, for who binds next.
        self.shared.pushed.send(pushed).map(drop).map_err(|_| Input::Failed(Fault::NoResponse))
    }

    async fn post(&self, bundle: &Value) -> Result<(), Input> {
        let channel = &self.wanted.1.channel;
        let Some(endpoint) = &channel.endpoint else { return Err(Input::Failed(Fault::Name)) };
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

    /// The endpoint is gone for good: nothing is matched for it from here on, unless the client asks again.
    fn switch_off(&self, now_ms: i64) {
        let mut body = self.wanted.1.body();
        body["status"] = "off".into();
        let what = registry::What::Put { kind: registry::Kind::Subscription, id: self.id.clone(), body };
        if let Err(error) = self.shared.registry.append(self.shared.head(), now_ms, &self.wanted.0, what) {
            tracing::error!(subscription = self.id, "that it is off is not written down: {error}");
        }
    }

    fn settle(&self, input: Input) {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if input == Input::Gone {
            self.switch_off(now_ms);
        }
        let policy = &self.shared.options.subscriptions.policy;
        let after = self.standing.after(input, self.wanted.1.channel.kind, now_ms, policy);
        if after.state != self.standing.state {
            tracing::info!(subscription = self.id, state = after.state.name(), "a subscription has another state");
        }
        if let Err(error) = store::save(&self.shared.database(), &self.id, &after) {
            tracing::error!(subscription = self.id, "what came of a notification is not written down: {error}");
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
        let person = telling.as_ref().map(|telling| uuid_text(&telling.person.0)).unwrap_or_default();
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
