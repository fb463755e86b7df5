//! What can be read: what somebody was notified of, topics, panels, and what there is at all.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking, unknown};
use super::card;
use super::subscriptions::{now_ms, recipient};
use crate::coordination::roster::in_force::group as listed;
use crate::coordination::subscription::cache;
use crate::coordination::subscription::capability::{Interface, statement};
use crate::coordination::subscription::topic::{TOPICS, Topic};
use crate::coordination::subscription::{relative, synthetic};
use crate::coordination::work::self_test;
use crate::coordination::work::telling::{self, Telling};
use crate::privacy::audit::{Entry, Outcome};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Reason, Recipient};
use crate::server::care::{Released, Shared as Care};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Types of what people are notified of: what the mappings write, and what loops do.
fn types(care: &Care) -> Vec<&'static str> {
    let mut all = care.contents.types();
    all.extend(["Task", "Flag", "CommunicationRequest", "Provenance"]);
    all.retain(|name| *name != "MessageHeader");
    all.sort_unstable();
    all.dedup();
    all
}

pub(super) async fn metadata(State(shared): State<Arc<Shared>>) -> Resource {
    let care = &shared.care;
    let base = care.options.subscriptions.base();
    let interface = Interface { base, topics: &care.topics, since_ms: shared.since_ms, types: &types(care) };
    Resource::found(statement(&interface))
}

pub(super) async fn topic(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Resource, Problem> {
    let topic = TOPICS.iter().find(|topic| topic.id == id).ok_or_else(Problem::not_found)?;
    Ok(Resource::found(shared.care.topics.resource(topic)))
}

/// The topics as R4 has them.
pub(super) async fn topics(
    State(shared): State<Arc<Shared>>,
    asked: Result<Query<Search>, QueryRejection>,
) -> Result<Resource, Problem> {
    let text = "Basic is searched by code, which is SubscriptionTopic";
    let Query(asked) = asked.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", text))?;
    let care = &shared.care;
    let base = care.options.subscriptions.base().trim_end_matches('/');
    let wanted = asked.code.as_deref().is_none_or(|code| CODES.contains(&code));
    let entry = |topic: &Topic| {
        let resource = care.topics.basic(topic);
        json!({ "fullUrl": format!("{base}/Basic/{}", topic.id), "resource": resource, "search": { "mode": "match" } })
    };
    let entries: Vec<_> = TOPICS.iter().filter(|_| wanted).map(entry).collect();
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "total": entries.len() });
    if !entries.is_empty() {
        bundle["entry"] = entries.into();
    }
    Ok(Resource::found(bundle))
}

/// By what topics are searched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    code: Option<String>,
}

/// How the code of a topic is asked for.
const CODES: [&str; 2] = ["SubscriptionTopic", "http://hl7.org/fhir/fhir-types|SubscriptionTopic"];

pub(super) async fn basic(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Resource, Problem> {
    let topic = TOPICS.iter().find(|topic| topic.id == id).ok_or_else(Problem::not_found)?;
    Ok(Resource::found(shared.care.topics.basic(topic)))
}

/// A panel of the recipient: who it is, how many, and what its last roster changed; its members are not listed.
pub(super) async fn group(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    let recipient = recipient(&shared.care, &who)?;
    let snapshot = shared.care.rosters.current();
    let panel = snapshot.panels().iter().find(|panel| panel.id == id && recipient.panels.contains(&panel.id));
    let panel = panel.ok_or_else(Problem::not_found)?;
    let in_force = shared.care.rosters.in_force();
    let group = listed(panel, in_force.of(&panel.id), shared.care.topics.base());
    Ok(Resource::found(group))
}

/// What the recipient was told of, translated and judged anew.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let internal = |error: rusqlite::Error| Problem::internal(&error);
        let notified = cache::find(&care.database(), &who, &kind, &id).map_err(internal)?;
        // Who may have ids may read by them: what `max_content` bounds is what is pushed.
        let mut reading = recipient.clone();
        if reading.max_content == MaxContent::IdOnly {
            reading.max_content = MaxContent::FullResource;
        }
        let now_ms = now_ms();
        let Some(notified) = notified else {
            if let Some(found) = card::read(care, recipient, &kind, &id)? {
                return Ok(found);
            }
            return synthetic(care, &reading, &kind, &id, now_ms).ok_or_else(|| missing(care, &kind));
        };
        let telling = telling::find(&care.database(), &notified.event).map_err(internal)?;
        let telling = telling.ok_or_else(Problem::not_found)?;
        let released = if may(recipient, &telling) {
            let released = care.contents.release(care, &telling, &reading, MaxContent::FullResource, now_ms);
            released.map_err(|error| Problem::internal(&error))?
        } else {
            Released::Withheld(Reason::Policy)
        };
        let found = match &released {
            Released::Resources(all) => {
                relative(all).into_iter().find(|one| one["resourceType"] == *kind && one["id"] == *id)
            }
            Released::Withheld(_) | Released::Gone => None,
        };
        let outcome = match (&released, &found) {
            (_, Some(_)) => Outcome::Disclosed,
            (Released::Withheld(reason), _) => Outcome::Suppressed(*reason),
            // The card outlives the journal.
            _ => return card::read(care, recipient, &kind, &id)?.ok_or_else(Problem::not_found),
        };
        let person = care.contents.person(care, &telling).map_err(internal)?;
        let entry = Entry {
            id: telling::audit_id(&notified.event, &id, &format!("read|{now_ms}")),
            at_ms: now_ms,
            outcome,
            recipient: &recipient.id,
            purpose: &recipient.purpose,
            person: &person,
            event: notified.event,
            subscription: None,
            number: None,
        };
        care.audit(&[entry]).map_err(|error| Problem::internal(&error))?;
        if let Some(found) = found {
            return Ok(Resource::found(found));
        }
        // Who is no part of what is withheld may stand on a card that is not.
        let on_card = if SHARED.contains(&&*kind) { card::read(care, recipient, &kind, &id)? } else { None };
        on_card.ok_or_else(Problem::not_found)
    })
    .await
}

/// What is of no patient alone.
const SHARED: [&str; 4] = ["Practitioner", "PractitionerRole", "Organization", "Location"];

/// What a test of a subscription refers to: of nobody, so everybody may read it.
fn synthetic(care: &Care, reading: &Recipient, kind: &str, id: &str, now_ms: i64) -> Option<Resource> {
    if id != synthetic::id(kind) {
        return None;
    }
    let resource = self_test::resource(&care.gate, reading, kind, now_ms)?;
    let resource = relative(&resource).into_iter().find(|one| one["resourceType"] == *kind)?;
    Some(Resource::found(resource))
}

fn missing(care: &Care, kind: &str) -> Problem {
    if types(care).contains(&kind) { Problem::not_found() } else { unknown() }
}

/// Whether any topic that the recipient may have still tells of such a thing.
fn may(recipient: &Recipient, telling: &Telling) -> bool {
    let trigger = telling.subject.trigger();
    let own = |topic: &&Topic| recipient.topics.iter().any(|own| own == topic.id);
    TOPICS.iter().filter(own).any(|topic| topic.triggers.iter().any(|(one, _)| Some(*one) == trigger))
}
