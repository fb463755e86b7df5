//! `Subscription`: whoever makes one has it; nobody else sees it.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking, searchset};
use crate::coordination::registry::{Entry, Kind, What};
use crate::coordination::subscription::capability::Issue;
use crate::coordination::subscription::channel::{self, Content};
use crate::coordination::subscription::resource::{Checks, Subscription, Wanted, new_id};
use crate::coordination::subscription::standing::{Fault, State as Standing};
use crate::coordination::subscription::store;
use crate::privacy::Recipient;
use crate::privacy::recipient::MaxContent;
use crate::server::care::{SINK, Shared as Care};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Subscriptions of one recipient.
const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Entries that are read at once.
const PAGE: usize = 500;

/// By what is searched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    _id: Option<String>,
    status: Option<String>,
    url: Option<String>,
    criteria: Option<String>,
}

/// A subscription with what is known of it.
pub(super) struct Known {
    pub entry: Entry,
    pub subscription: Subscription,
}

pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The subscription of that id, of that recipient.
pub(super) fn known(care: &Care, who: &str, id: &str) -> Result<Option<Known>, Problem> {
    let entry = care.registry.current(Kind::Subscription, id).map_err(|error| Problem::internal(&error))?;
    let Some(entry) = entry.filter(|entry| entry.who == who) else { return Ok(None) };
    let Some(body) = entry.what.body() else { return Ok(None) };
    match Subscription::stored(id, body, &care.topics) {
        Ok(subscription) => Ok(Some(Known { entry, subscription })),
        Err(mistakes) => Err(Problem::wrong(mistakes.iter().map(Issue::from).collect())),
    }
}

/// All of a recipient.
pub(super) fn all(care: &Care, who: &str) -> Result<Vec<Known>, Problem> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let entries = care.registry.all(Kind::Subscription, after.as_deref(), PAGE);
        let entries = entries.map_err(|error| Problem::internal(&error))?;
        let Some(last) = entries.last() else { return Ok(found) };
        after = Some(last.what.id().to_owned());
        for entry in entries.into_iter().filter(|entry| entry.who == who) {
            let body = entry.what.body().cloned().unwrap_or_default();
            if let Ok(subscription) = Subscription::stored(entry.what.id(), &body, &care.topics) {
                found.push(Known { entry, subscription });
            }
        }
    }
}

/// As the client is shown it: what it wants, as long as that has not taken its place in the journal.
fn shown(care: &Care, known: &Known) -> Result<Value, Problem> {
    let standing =
        store::standing(&care.database(), known.entry.what.id()).map_err(|error| Problem::internal(&error))?;
    let taken = standing.filter(|standing| standing.entry >= known.entry.number);
    let (state, fault) = match &taken {
        Some(standing) => (standing.state, standing.fault),
        None => match known.subscription.wanted {
            Wanted::Requested => (Standing::Requested, None),
            Wanted::Agreement => (Standing::Error, Some(Fault::Adjusted)),
            Wanted::Off => (Standing::Off, None),
        },
    };
    Ok(known.subscription.resource(state, fault.map(Fault::text), known.entry.number, known.entry.at_ms))
}

pub(super) fn recipient<'c>(care: &'c Care, who: &str) -> Result<&'c Recipient, Problem> {
    care.options.privacy.recipient(who).ok_or_else(Problem::not_found)
}

/// What the configuration says is not for clients to change.
fn is_theirs(id: &str) -> Result<(), Problem> {
    if id == SINK {
        let text = "[coordination.sink] says what this one is: it is changed there";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", text));
    }
    Ok(())
}

/// Reads what a client wrote, within what the recipient may have.
fn checked(
    care: &Care,
    who: &str,
    id: &str,
    resource: &Value,
    before: Option<&Subscription>,
) -> Result<Subscription, Problem> {
    let recipient = recipient(care, who)?;
    let allowed = |url: &reqwest::Url| care.endpoints.check(url).map_err(|error| error.to_string());
    let panel = |panel: &str| recipient.panels.iter().any(|own| own == panel);
    let checks = Checks { topics: &care.topics, panel: &panel, allowed: &allowed, stored: before };
    let subscription = Subscription::read(id, resource, &checks)
        .map_err(|mistakes| Problem::wrong(mistakes.iter().map(Issue::from).collect()))?;
    let mut issues = Vec::new();
    let mut wrong = |text: String, expression: &str| {
        issues.push(Issue { code: "forbidden", text, expression: expression.to_owned() });
    };
    if subscription.channel.kind == channel::Kind::Transaction {
        wrong("this channel is the gateway's own".into(), "Subscription.channel");
    }
    if !recipient.topics.iter().any(|topic| topic == subscription.topic.id) {
        let topics = recipient.topics.join(", ");
        wrong(format!("the topic {} is not yours; yours are {topics}", subscription.topic.id), "Subscription.criteria");
    }
    let content = match subscription.channel.content {
        Content::Empty => MaxContent::Empty,
        Content::IdOnly => MaxContent::IdOnly,
        Content::FullResource => MaxContent::FullResource,
    };
    if content > recipient.max_content {
        let text = format!("you may have {} at most", recipient.max_content.name());
        wrong(text, "Subscription.channel.payload");
    }
    if issues.is_empty() { Ok(subscription) } else { Err(Problem::wrong(issues)) }
}

fn parse(body: &[u8]) -> Result<Value, Problem> {
    let wrong = |error: serde_json::Error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "structure",
            format!("the body is no JSON: line {}, column {}", error.line(), error.column()),
        )
    };
    serde_json::from_slice(body).map_err(wrong)
}

/// Writes it into the registry, if the entry that holds is still the one that was read (0: none), and shows it.
fn keep(care: &Care, who: &str, subscription: Subscription, before: u64) -> Result<Value, Problem> {
    let what = What::Put { kind: Kind::Subscription, id: subscription.id.clone(), body: subscription.body() };
    let entry = care.registry.say_if(before, || care.head(), now_ms(), who, what);
    let entry = entry.map_err(|error| Problem::internal(&error))?;
    let entry = entry.ok_or_else(|| match before {
        // Somebody else's by now.
        0 => Problem::not_found(),
        _ => Problem::new(StatusCode::CONFLICT, "conflict", "it was written meanwhile; read it and try again"),
    })?;
    care.wake();
    tracing::info!(audit = true, recipient = who, subscription = subscription.id, "subscription written");
    shown(care, &Known { entry, subscription })
}

/// Whether a recipient may have one more.
fn room(care: &Care, who: &str) -> Result<(), Problem> {
    if all(care, who)?.len() < SUBSCRIPTIONS_MAX {
        return Ok(());
    }
    let text = format!("you have {SUBSCRIPTIONS_MAX} subscriptions; delete some");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-costly", text))
}

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    body: Bytes,
) -> Result<Resource, Problem> {
    blocking(move || {
        let (care, resource) = (&shared.care, parse(&body)?);
        room(care, &who)?;
        let id = new_id(&who, now_ms(), &resource);
        let subscription = checked(care, &who, &id, &resource, None)?;
        let value = keep(care, &who, subscription, 0)?;
        let location = Some(format!("{}/Subscription/{id}", care.options.subscriptions.base().trim_end_matches('/')));
        Ok(Resource { status: StatusCode::CREATED, value, location })
    })
    .await
}

pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Resource, Problem> {
    blocking(move || {
        let (care, resource) = (&shared.care, parse(&body)?);
        is_theirs(&id)?;
        if resource["id"].as_str() != Some(id.as_str()) {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid",
                "the id of the resource must be that of the URL",
            ));
        }
        let taken = care.registry.current(Kind::Subscription, &id).map_err(|error| Problem::internal(&error))?;
        let (is_new, number) = (taken.is_none(), taken.map_or(0, |entry| entry.number));
        let before = known(care, &who, &id)?;
        if before.is_none() && (!is_new || !is_id(&id)) {
            return Err(Problem::not_found());
        }
        if is_new {
            room(care, &who)?;
        }
        let subscription = checked(care, &who, &id, &resource, before.as_ref().map(|known| &known.subscription))?;
        let value = keep(care, &who, subscription, number)?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Resource { status, value, location: None })
    })
    .await
}

/// Whether FHIR takes it for an id.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let known = known(&shared.care, &who, &id)?.ok_or_else(Problem::not_found)?;
        Ok(Resource::found(shown(&shared.care, &known)?))
    })
    .await
}

pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    blocking(move || {
        let care = &shared.care;
        is_theirs(&id)?;
        let entry = care.registry.current(Kind::Subscription, &id).map_err(|error| Problem::internal(&error))?;
        if entry.is_none_or(|entry| entry.who != *who) {
            return Err(Problem::not_found());
        }
        let what = What::Delete { kind: Kind::Subscription, id: id.clone() };
        care.registry.say(|| care.head(), now_ms(), &who, what).map_err(|error| Problem::internal(&error))?;
        care.wake();
        tracing::info!(audit = true, recipient = %who, subscription = id, "subscription deleted");
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub(super) async fn search(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    asked: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
) -> Result<Resource, Problem> {
    let Query(asked) = asked.map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "Subscription is searched by _id, status, url and criteria")
    })?;
    blocking(move || {
        let care = &shared.care;
        let base = care.options.subscriptions.base().trim_end_matches('/').to_owned();
        let mut entries = Vec::new();
        for known in all(care, &who)? {
            let resource = shown(care, &known)?;
            let is = |wanted: &Option<String>, value: &Value| wanted.as_deref().is_none_or(|wanted| value == wanted);
            let wanted = is(&asked._id, &resource["id"])
                && is(&asked.status, &resource["status"])
                && is(&asked.url, &resource["channel"]["endpoint"])
                && is(&asked.criteria, &resource["criteria"]);
            if wanted {
                let url = format!("{base}/Subscription/{}", known.entry.what.id());
                entries.push(json!({ "fullUrl": url, "resource": resource, "search": { "mode": "match" } }));
            }
        }
        Ok(Resource::found(searchset(entries)))
    })
    .await
}
