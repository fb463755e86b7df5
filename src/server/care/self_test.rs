//! A test of one subscription, through the whole way: matched, judged, redacted, audited and sent as an event is. It takes no number, changes nothing of how the subscription stands,
//! and nobody else hears of it.
use super::Shared;
use super::content::{named, resources};
use super::deliver::Delivery;
use super::disclose::{Disclosure, audited, max_content};
use crate::coordination::subscription::notification::{Telling, focus};
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::standing::{Standing, State};
use crate::coordination::subscription::store::{self, Told};
use crate::coordination::subscription::synthetic;
use crate::coordination::work::self_test::{Setting, Tested, test};
use crate::privacy::audit::{self, Outcome};
use crate::privacy::recipient::MaxContent;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// No endpoint is given longer: somebody waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// No event has this number: a client that has seen the first takes it for one that it knows.
const NUMBER: u64 = 0;

/// Why there is no test.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The database.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// The audit: nothing was sent.
    #[error("audit: {0}")]
    Audit(#[from] audit::Error),
    /// It panicked.
    #[error("{0}")]
    Panic(#[from] tokio::task::JoinError),
    /// The recipient is not configured any more.
    #[error("there is no such recipient")]
    Nobody,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `match`, `gate`, `delivery`, as far as it came: the last one may have failed.
    pub stages: Vec<Stage>,
}

/// A part of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Which.
    pub name: &'static str,
    /// Whether it went through.
    pub passed: bool,
    /// What happened there. Nothing of an endpoint that may be a secret.
    pub text: String,
}

impl Report {
    /// Whether it arrived.
    pub fn passed(&self) -> bool {
        self.stages.iter().all(|stage| stage.passed)
    }

    fn add(&mut self, name: &'static str, passed: bool, text: impl Into<String>) {
        self.stages.push(Stage { name, passed, text: text.into() });
    }
}

/// What is to be sent, and what it discloses.
type Ready = (Arc<Delivery>, Value, Vec<Disclosure>);

/// Tests a subscription of `owner`.
///
/// # Errors
/// A database that cannot be read, or an audit that cannot be written: nothing was sent then.
pub async fn self_test(shared: Arc<Shared>, owner: String, subscription: Subscription) -> Result<Report, TestError> {
    let work = tokio::task::spawn_blocking(move || prepare(shared, owner, subscription));
    let (mut report, ready) = work.await??;
    let Some((delivery, bundle, disclosed)) = ready else { return Ok(report) };
    match delivery.send(&bundle, delivery.timeout().min(TIMEOUT)).await {
        Ok(Some(status)) => report.add("delivery", true, format!("the endpoint answered {}", status.as_u16())),
        Ok(None) => report.add("delivery", true, "sent to the websocket that is bound to it"),
        Err(failure) => {
            report.add("delivery", false, failure.text);
            tokio::task::spawn_blocking(move || delivery.audit_failure(&disclosed, failure.left)).await?;
        }
    }
    Ok(report)
}

/// All but the sending, written into the audit. Blocks.
fn prepare(
    shared: Arc<Shared>,
    owner: String,
    subscription: Subscription,
) -> Result<(Report, Option<Ready>), TestError> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let recipient = shared.options.privacy.recipient(&owner).ok_or(TestError::Nobody)?.clone();
    let mut report = Report { stages: Vec::new() };
    let (options, gate, topics) = (&*shared.options, &shared.gate, &shared.topics);
    let content = max_content(subscription.channel.content);
    let setting = Setting { options, gate, topics, recipient: &recipient, content, now_ms };
    let (told, mut released) = match test(setting, &subscription) {
        Tested::Unmatched(why) => {
            report.add("match", false, why);
            return Ok((report, None));
        }
        Tested::Withheld(trigger, why) => {
            report.add("match", true, trigger.name());
            report.add("gate", false, format!("withheld: {why}"));
            return Ok((report, None));
        }
        Tested::Told(told, released) => (told, released),
    };
    report.add("match", true, told.trigger.name());
    let resources = match released.bundle.as_mut() {
        Some(bundle) => resources(bundle),
        None => released.resources.iter().map(named).collect(),
    };
    report.add("gate", true, gated(&told, &resources, (recipient.max_content.min(content), released.reduced)));
    // Said, and not taken by the reader of the journal yet.
    let new = || Standing { state: State::Requested, ..Standing::new() };
    let standing = store::standing(&shared.database(), &subscription.id)?.unwrap_or_else(new);
    let ready = ready(shared, (owner, subscription), standing, &told, resources);
    let Some((delivery, bundle, disclosed)) = ready else {
        report.add("delivery", false, "the channel has no notification for it");
        return Ok((report, None));
    };
    audited(&delivery.shared, &recipient, &delivery.id, &disclosed, now_ms)?;
    Ok((report, Some((delivery, bundle, disclosed))))
}

/// What the gate lets through, for people.
fn gated(told: &Told, resources: &[Value], (content, reduced): (MaxContent, bool)) -> String {
    if content == MaxContent::Empty {
        return content.name().to_owned();
    }
    if focus(told, resources).is_none() {
        return "number and time alone: what it is about is not for the recipient".to_owned();
    }
    let kinds: Vec<_> = resources.iter().filter_map(|one| one["resourceType"].as_str()).collect();
    format!("{}: {}{}", content.name(), kinds.join(", "), if reduced { "; the rest was taken out" } else { "" })
}

/// The notification, marked as a test.
fn ready(
    shared: Arc<Shared>,
    wanted: (String, Subscription),
    standing: Standing,
    told: &Told,
    resources: Vec<Value>,
) -> Option<Ready> {
    let delivery = Delivery { shared, id: wanted.1.id.clone(), standing, wanted: Arc::new(wanted) };
    let telling = Telling { number: NUMBER, told, resources: Some(&resources) };
    let mut bundle = delivery.notification(&[telling], told.at_ms)?;
    synthetic::mark(&mut bundle);
    let (event, person) = (told.event, synthetic::id("Patient"));
    let disclosed =
        Disclosure { number: NUMBER, event, person, resources: Some(resources), outcome: Outcome::Disclosed };
    Some((Arc::new(delivery), bundle, vec![disclosed]))
}
