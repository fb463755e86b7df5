//! What somebody is told of events: judged, written into the audit before it leaves, and remembered so that it can be read.
use super::Shared;
use super::content::{ContentError, Released};
use crate::coordination::subscription::channel::Content;
use crate::coordination::subscription::{cache, store};
use crate::coordination::work::telling::{self, audit_id};
use crate::privacy::audit::{self, Entry, Outcome};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Reason, Recipient};
use serde_json::Value;

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
    Audit(#[from] audit::Error),
}

/// What a recipient is told of one event.
#[derive(Clone, PartialEq)]
pub struct Disclosure {
    /// The number of the event.
    pub number: u64,
    /// The event.
    pub event: [u8; 16],
    /// The person's opaque id.
    pub person: String,
    /// The resources; none where it must not be told.
    pub resources: Option<Vec<Value>>,
    pub(super) outcome: Outcome,
}

impl Disclosure {
    /// Whether nothing is told because it could not be read any more, or be judged.
    pub(super) fn is_failed(&self) -> bool {
        self.outcome == Outcome::Suppressed(Reason::Failed)
    }
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
) -> Result<Vec<Disclosure>, ReleaseError> {
    let most = max_content(content);
    // What was subscribed to may have been taken from the recipient since.
    let may = recipient.topics.iter().any(|own| own == topic);
    let mut all = Vec::with_capacity(events.len());
    for (number, told) in events {
        let telling = telling::find(&shared.database(), &told.event)?;
        let found = match &telling {
            Some(_) if !may => Some(Released::Withheld(Reason::Policy)),
            Some(telling) => Some(shared.contents.release(shared, telling, recipient, most, now_ms)?),
            None => None,
        };
        let person = match &telling {
            Some(telling) => shared.contents.person(shared, telling)?,
            None => String::new(),
        };
        let (outcome, resources) = match found {
            Some(Released::Resources(resources)) => (Outcome::Disclosed, Some(resources)),
            Some(Released::Withheld(reason)) => (Outcome::Suppressed(reason), None),
            Some(Released::Gone) | None => (Outcome::Suppressed(Reason::Failed), None),
        };
        all.push(Disclosure { number: *number, event: told.event, person, resources, outcome });
    }
    audited(shared, recipient, subscription, &all, now_ms)?;
    remember(shared, recipient, events, &all)?;
    Ok(all)
}

/// The same as the gate has it.
pub(super) fn max_content(content: Content) -> MaxContent {
    match content {
        Content::Empty => MaxContent::Empty,
        Content::IdOnly => MaxContent::IdOnly,
        Content::FullResource => MaxContent::FullResource,
    }
}

/// Writes into the audit what is about to be told, and what is not. Blocks.
pub(super) fn audited(
    shared: &Shared,
    recipient: &Recipient,
    subscription: &str,
    all: &[Disclosure],
    now_ms: i64,
) -> Result<(), audit::Error> {
    let entry = |one| entry(recipient, subscription, one, "", now_ms);
    shared.audit(&all.iter().map(entry).collect::<Vec<_>>())
}

/// Writes into the audit that an attempt failed; `left`: whether the receiver may have read it. Blocks.
pub(super) fn failed(
    shared: &Shared,
    recipient: &Recipient,
    subscription: &str,
    all: &[Disclosure],
    (left, now_ms): (bool, i64),
) -> Result<(), audit::Error> {
    let outcome = if left { Outcome::NotTaken } else { Outcome::NotSent };
    let disclosed = all.iter().filter(|one| one.outcome == Outcome::Disclosed);
    let failed: Vec<_> = disclosed.map(|one| Disclosure { outcome, ..one.clone() }).collect();
    let entry = |one| entry(recipient, subscription, one, "|failed", now_ms);
    shared.audit(&failed.iter().map(entry).collect::<Vec<_>>())
}

fn entry<'e>(
    recipient: &'e Recipient,
    subscription: &'e str,
    one: &'e Disclosure,
    what: &str,
    now_ms: i64,
) -> Entry<'e> {
    let Disclosure { number, event, person, outcome, .. } = one;
    Entry {
        id: audit_id(event, subscription, &format!("{number}|{now_ms}{what}")),
        at_ms: now_ms,
        outcome: *outcome,
        recipient: &recipient.id,
        purpose: &recipient.purpose,
        person,
        event: *event,
        subscription: Some(subscription),
        number: Some(*number),
    }
}

/// What was told of can be read by whoever was told.
fn remember(
    shared: &Shared,
    recipient: &Recipient,
    events: &[(u64, store::Told)],
    all: &[Disclosure],
) -> rusqlite::Result<()> {
    let connection = shared.database();
    let transaction = connection.unchecked_transaction()?;
    for ((_, told), one) in events.iter().zip(all) {
        let (seq, event, at_ms, received_ms) = (told.seq, told.event, told.at_ms, told.received_ms);
        let notified = cache::Notified { seq, event, at_ms, received_ms };
        for resource in one.resources.iter().flatten() {
            if let (Some(kind), Some(id)) = (resource["resourceType"].as_str(), resource["id"].as_str()) {
                cache::note(&transaction, &recipient.id, (kind, id), &notified)?;
            }
        }
    }
    transaction.commit()
}
