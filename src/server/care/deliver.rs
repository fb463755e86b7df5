//! One delivery: what is due of one subscription is made, sent, and what came of it written down.
use super::disclose::{self, Disclosure, released};
use super::{Pushed, Shared};
use crate::coordination::registry;
use crate::coordination::subscription::channel::Kind;
use crate::coordination::subscription::notification::{About, Telling};
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::standing::{Fault, Input, Standing, Todo};
use crate::coordination::subscription::store;
use crate::coordination::subscription::transaction::transaction;
use crate::delivery::channel::rest_hook::{SIGNATURE, signature};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// To take a notification, where the subscription does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whom somebody wants told: the recipient, and what they asked for.
pub(super) type Wanted = Arc<(String, Subscription)>;

/// What came of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It is written down.
    Settled,
    /// Nothing, by our own fault: the endpoint is not to blame.
    Later,
}

/// One thing that is due of one subscription.
pub(super) struct Delivery {
    pub shared: Arc<Shared>,
    pub id: String,
    pub standing: Standing,
    pub wanted: Wanted,
}

/// What is to be sent.
pub(super) enum Made {
    /// This, and what it discloses.
    Bundle(Value, Vec<Disclosure>),
    /// There is nothing that may be told.
    Nothing,
    /// There would have been something, of which nothing is kept any more.
    Gone,
    Later,
}

/// Why something did not arrive.
pub(super) struct Failure {
    /// What it means for the subscription; none where nobody is to blame.
    pub input: Option<Input>,
    /// Whether the receiver may have read it all the same.
    pub left: bool,
    /// For people. Nothing of the endpoint, which may hold a secret.
    pub text: String,
}

impl Failure {
    pub fn new(input: Option<Input>, left: bool, text: impl Into<String>) -> Failure {
        Failure { input, left, text: text.into() }
    }
}

impl Delivery {
    pub async fn run(self: Arc<Self>, todo: Todo) -> Done {
        if let (Kind::Transaction, Todo::Events(number, _)) = (self.wanted.1.channel.kind, todo) {
            return self.write(number).await;
        }
        let (made, input) = match todo {
            Todo::Handshake => (self.bare(|about, now| about.handshake(now)), Input::Greeted),
            Todo::Heartbeat => (self.bare(|about, now| about.heartbeat(now)), Input::Alive),
            Todo::Events(from, to) => (Arc::clone(&self).events(from, to).await, Input::Delivered(to)),
            Todo::End => (Made::Nothing, Input::Ended),
            Todo::Wait(_) | Todo::Nothing => return Done::Settled,
        };
        let input = match made {
            Made::Bundle(bundle, disclosed) => match self.send(&bundle, self.timeout()).await {
                Ok(_) => input,
                Err(failure) => match Arc::clone(&self).failed(failure, disclosed).await {
                    Some(instead) => instead,
                    None => return Done::Later,
                },
            },
            // Nothing to send: the number counts all the same.
            Made::Nothing | Made::Gone => input,
            Made::Later => return Done::Later,
        };
        tokio::task::spawn_blocking(move || self.settle(input)).await.unwrap_or(Done::Later)
    }

    /// How long the endpoint may take.
    pub fn timeout(&self) -> Duration {
        self.wanted.1.channel.timeout_s.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()))
    }

    fn about(&self) -> About<'_> {
        let (options, subscription) = (&self.shared.options.subscriptions, &self.wanted.1);
        About {
            base: options.base(),
            focus_base: options.focus_base(),
            topics: &self.shared.topics,
            id: &self.id,
            topic: subscription.topic,
            content: subscription.channel.content,
            state: self.standing.state,
            last: self.standing.last,
            fault: self.standing.fault,
        }
    }

    /// What tells of no event.
    fn bare(&self, make: impl FnOnce(&About<'_>, i64) -> Value) -> Made {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let about = self.about();
        Made::Bundle(self.enveloped(&about, make(&about, now_ms), now_ms), Vec::new())
    }

    /// A notification as the channel wants it.
    fn enveloped(&self, about: &About<'_>, bundle: Value, now_ms: i64) -> Value {
        match self.wanted.1.channel.kind {
            Kind::Message => about.message(bundle, self.endpoint(), now_ms),
            _ => bundle,
        }
    }

    fn endpoint(&self) -> &str {
        self.wanted.1.channel.endpoint.as_ref().map_or("", |url| url.as_str())
    }

    /// The notification of events; none where there is nothing that could be sent.
    pub fn notification(&self, tellings: &[Telling<'_>], now_ms: i64) -> Option<Value> {
        let about = self.about();
        match (self.wanted.1.channel.kind, tellings.first()) {
            // They were forgotten before anybody took them.
            (_, None) => None,
            (Kind::Transaction, Some(only)) => transaction(only.told, only.resources.unwrap_or_default()),
            (Kind::DavinciAlert, Some(first)) => about.davinci(first, self.endpoint(), now_ms),
            _ => Some(self.enveloped(&about, about.events(tellings, now_ms), now_ms)),
        }
    }

    /// The notification of events. What may not be told any more is a number without content; the audit knows of each before it is sent.
    pub(super) async fn events(self: Arc<Self>, from: u64, to: u64) -> Made {
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
            .map(|((number, told), one)| Telling { number: *number, told, resources: one.resources.as_deref() })
            .collect();
        match self.notification(&tellings, now_ms) {
            Some(bundle) => Made::Bundle(bundle, released),
            None if released.is_empty() || released.iter().any(Disclosure::is_failed) => Made::Gone,
            None => Made::Nothing,
        }
    }

    /// Sends it; the status that was answered, where the channel has one.
    pub async fn send(&self, bundle: &Value, timeout: Duration) -> Result<Option<StatusCode>, Failure> {
        if self.wanted.1.channel.kind == Kind::Websocket {
            return self.push(bundle).map(|()| None);
        }
        self.post(bundle, timeout).await.map(Some)
    }

    /// To those who listen; when nobody does any more it is told to who binds next.
    fn push(&self, bundle: &Value) -> Result<(), Failure> {
        let pushed = Pushed { subscription: self.id.as_str().into(), text: bundle.to_string().into() };
        let heard = self.shared.is_bound(&self.id) && self.shared.pushed.send(pushed).is_ok();
        if heard { Ok(()) } else { Err(Failure::new(None, false, "no websocket is bound to it")) }
    }

    /// What the endpoint answers.
    pub async fn ask(&self, bundle: &Value, timeout: Duration) -> Result<Response, Failure> {
        let (owner, subscription) = &*self.wanted;
        let channel = &subscription.channel;
        let Some(endpoint) = &channel.endpoint else {
            return Err(Failure::new(Some(Input::Failed(Fault::Name)), false, "it has no endpoint"));
        };
        // An address that is written out is never looked up, and the configuration may be another than when it was taken.
        let is_own = channel.kind == Kind::Transaction;
        if let Err(refused) =
            self.shared.endpoints.check(endpoint).or_else(|why| if is_own { Ok(()) } else { Err(why) })
        {
            tracing::warn!(subscription = self.id, "nothing is sent to where it leads: {refused}");
            let text = "the gateway may not connect to where it leads";
            return Err(Failure::new(Some(Input::Failed(Fault::NoResponse)), false, text));
        }
        let body = bundle.to_string();
        let client = if is_own { &self.shared.own_client } else { &self.shared.client };
        let mut request = client.post(endpoint.clone()).timeout(timeout).header(CONTENT_TYPE, channel.payload);
        if is_own {
            request = request.header(ACCEPT, channel.payload);
        }
        for header in &channel.headers {
            request = request.header(&header.name, header.value());
        }
        let keys = self.shared.options.privacy.recipient(owner).map(|recipient| recipient.keys.as_slice());
        if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
            let now = jiff::Timestamp::now().as_second().unsigned_abs();
            let keys = keys.iter().map(|key| key.reveal());
            request = request.header(SIGNATURE, signature(now, body.as_bytes(), keys));
        }
        request.body(body).send().await.map_err(|error| unanswered(&error, timeout))
    }

    async fn post(&self, bundle: &Value, timeout: Duration) -> Result<StatusCode, Failure> {
        match self.ask(bundle, timeout).await {
            Ok(answer) if answer.status().is_success() => Ok(answer.status()),
            Ok(answer) => {
                let status = answer.status();
                let input = if status == StatusCode::GONE { Input::Gone } else { Input::Failed(Fault::Refused) };
                Err(Failure::new(Some(input), true, format!("the endpoint answered {}", status.as_u16())))
            }
            Err(failure) => Err(failure),
        }
    }

    /// An attempt failed: the audit is told whether anything has left. What it means for the subscription.
    pub(super) async fn failed(self: Arc<Self>, failure: Failure, disclosed: Vec<Disclosure>) -> Option<Input> {
        let Failure { input, left, text, .. } = failure;
        if input.is_some() {
            tracing::warn!(subscription = self.id, "a notification did not arrive: {text}");
        }
        let audited = tokio::task::spawn_blocking(move || self.audit_failure(&disclosed, left)).await;
        if audited.is_err() {
            tracing::error!("an attempt that failed is not in the audit: it panicked");
        }
        input
    }

    /// Without it the audit says that more was disclosed than was: that is not a reason to stop. Blocks.
    pub fn audit_failure(&self, disclosed: &[Disclosure], left: bool) {
        let Some(recipient) = self.shared.options.privacy.recipient(&self.wanted.0) else { return };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        if let Err(error) = disclose::failed(&self.shared, recipient, &self.id, disclosed, (left, now_ms)) {
            tracing::error!(subscription = self.id, "an attempt that failed is not in the audit: {error}");
        }
    }

    /// The endpoint is gone for good: nothing is matched for it from here on, unless the client asks again, or has done so already.
    /// The number of that entry of the registry.
    fn switch_off(&self, now_ms: i64) -> Result<Option<u64>, registry::Error> {
        let mut body = self.wanted.1.body();
        body["status"] = "off".into();
        let what = registry::What::Put { kind: registry::Kind::Subscription, id: self.id.clone(), body };
        let (entry, head) = (self.standing.entry, || self.shared.head());
        let said = self.shared.registry.say_if(entry, head, now_ms, &self.wanted.0, what)?;
        Ok(said.map(|entry| entry.number))
    }

    /// Writes down what came of it. Blocks.
    pub fn settle(&self, input: Input) -> Done {
        self.settle_until(input, 0)
    }

    /// The same; nothing is sent before a moment, by which the endpoint asked to be left alone. Blocks.
    pub fn settle_until(&self, input: Input, rests_until_ms: i64) -> Done {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let said = match (input == Input::Gone).then(|| self.switch_off(now_ms)) {
            None => None,
            Some(Ok(said)) => said,
            Some(Err(error)) => {
                tracing::error!(subscription = self.id, "that it is off is not written down: {error}");
                return Done::Later;
            }
        };
        let policy = &self.shared.options.subscriptions.policy;
        let mut after = self.standing.after(input, self.wanted.1.channel.kind, now_ms, policy);
        after.due_ms = after.due_ms.max(rests_until_ms);
        if after.state != self.standing.state {
            tracing::info!(subscription = self.id, state = after.state.name(), "a subscription has another state");
        }
        let database = self.shared.database();
        let saved = store::save(&database, &self.id, &after).and_then(|saved| match said {
            // Our own entry has been taken already, without the reason.
            Some(entry) if !saved => store::save(&database, &self.id, &Standing { entry, ..after }),
            _ => Ok(saved),
        });
        match saved {
            Ok(_) => Done::Settled,
            Err(error) => {
                tracing::error!(subscription = self.id, "what came of a notification is not written down: {error}");
                Done::Later
            }
        }
    }
}

/// Without an answer. Only where no connection was made it is certain that nothing has left.
fn unanswered(error: &reqwest::Error, timeout: Duration) -> Failure {
    let text = match (error.is_connect(), error.is_timeout()) {
        (true, _) => "no connection could be made to the endpoint".to_owned(),
        (false, true) => format!("the endpoint did not answer within {} s", timeout.as_secs()),
        (false, false) => "the connection broke before the endpoint had answered".to_owned(),
    };
    Failure::new(Some(Input::Failed(Fault::NoResponse)), !error.is_connect(), text)
}
