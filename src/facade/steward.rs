//! What stewards say: consents, and who looks after somebody. Recipients cannot: nobody permits themselves anything.
use super::Shared;
use super::access::{Steward, Who};
use super::answer::{Problem, Resource, blocking};
use super::reading;
use super::subscriptions::{is_id, now_ms};
use crate::coordination::registry::{Kind, What};
use crate::coordination::subscription::cache;
use crate::coordination::subscription::capability::Issue;
use crate::coordination::work::{consent_id, person_of, telling};
use crate::coordination::{PersonKey, lineage};
use crate::privacy::Consent;
use crate::server::care::Shared as Care;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use std::sync::Arc;

fn parse(body: &[u8], id: &str) -> Result<Value, Problem> {
    let wrong = |text: &str| Problem::new(StatusCode::BAD_REQUEST, "structure", text);
    let resource: Value = serde_json::from_slice(body).map_err(|_| wrong("the body is no JSON"))?;
    if !is_id(id) || resource["id"].as_str() != Some(id) {
        return Err(wrong("the id of the resource must be that of the URL"));
    }
    if resource.get("meta").is_some_and(|meta| !meta.is_object()) {
        return Err(unfit("structure", "meta must be an object", "meta"));
    }
    Ok(resource)
}

fn unfit(code: &'static str, text: impl Into<String>, expression: &str) -> Problem {
    Problem::wrong(vec![Issue { code, text: text.into(), expression: expression.into() }])
}

/// The person of the rosters whom a patient's id means: the person's own, also by an earlier roster, or that of a Patient of whom somebody was notified.
fn person(care: &Care, patient: &str) -> Result<Option<PersonKey>, Problem> {
    let snapshot = care.rosters.current();
    let internal = |error: rusqlite::Error| Problem::internal(&error);
    let database = care.database();
    if let Some(key) = person_of(patient) {
        let key = lineage::known_as(&database, key).map_err(internal)?;
        if snapshot.has(&key) {
            return Ok(Some(key));
        }
    }
    let mut found = None;
    for event in cache::events_of(&database, "Patient", patient).map_err(internal)? {
        let Some(telling) = telling::find(&database, &event).map_err(internal)? else { continue };
        let person = lineage::known_as(&database, telling.person).map_err(internal)?;
        // An id that has stood for two means neither.
        if found.is_some_and(|one| one != person) {
            return Ok(None);
        }
        found = Some(person);
    }
    Ok(found.filter(|key| snapshot.has(key)))
}

fn append(care: &Care, who: &str, what: What) -> Result<u64, Problem> {
    let (kind, id) = (what.kind().name(), what.id().to_owned());
    let entry = care.registry.say(|| care.head(), now_ms(), who, what).map_err(|error| Problem::internal(&error))?;
    care.wake();
    tracing::info!(audit = true, steward = who, kind, id, "written");
    Ok(entry.number)
}

fn current(care: &Care, kind: Kind, id: &str) -> Result<Value, Problem> {
    let entry = care.registry.current(kind, id).map_err(|error| Problem::internal(&error))?;
    let mut value = entry.as_ref().and_then(|entry| entry.what.body()).cloned().ok_or_else(Problem::not_found)?;
    if let (Some(entry), Some(object)) = (entry, value.as_object_mut()) {
        let meta = object.entry("meta").or_insert_with(|| Value::Object(serde_json::Map::new()));
        meta["versionId"] = entry.number.to_string().into();
    }
    Ok(value)
}

/// Where the consent of that id stands: an entry of its own tells whose it is.
fn place(care: &Care, id: &str) -> Result<Option<String>, Problem> {
    let entry = care.registry.current(Kind::Consent, id).map_err(|error| Problem::internal(&error))?;
    Ok(entry.as_ref().and_then(|entry| entry.what.body()?["patient"].as_str().map(|person| consent_id(person, id))))
}

pub(super) async fn put_consent(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Resource, Problem> {
    blocking(move || {
        let (care, mut resource) = (&shared.care, parse(&body, &id)?);
        let consent = Consent::parse(&resource).map_err(|error| unfit("invalid", error.to_string(), "Consent"))?;
        let Some(person) = person(care, &consent.patient)? else {
            let text = "Consent.patient must be Patient/[id]: the id of a person of a panel, or of a Patient that a notification told of";
            return Err(unfit("value", text, "Consent.patient"));
        };
        let person = person.to_string();
        resource["patient"]["reference"] = format!("Patient/{person}").into();
        let own = consent_id(&person, &id);
        let before = place(care, &id)?.filter(|before| *before != own);
        append(care, &who, What::Put { kind: Kind::Consent, id: own.clone(), body: resource })?;
        let pointer = serde_json::json!({ "patient": person });
        append(care, &who, What::Put { kind: Kind::Consent, id, body: pointer })?;
        // At the end: what forbids is not gone before what comes instead of it is there.
        if let Some(before) = before {
            append(care, &who, What::Delete { kind: Kind::Consent, id: before })?;
        }
        Ok(Resource::found(current(care, Kind::Consent, &own)?))
    })
    .await
}

/// Recipients read what they were told of, as anything else: messages tell of consents too.
pub(super) async fn read_consent(
    State(shared): State<Arc<Shared>>,
    who: Option<Extension<Who>>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    if let Some(who) = who {
        return reading::read(State(shared), who, Path(("Consent".into(), id))).await;
    }
    blocking(move || {
        let place = place(&shared.care, &id)?.ok_or_else(Problem::not_found)?;
        Ok(Resource::found(current(&shared.care, Kind::Consent, &place)?))
    })
    .await
}

pub(super) async fn delete_consent(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    blocking(move || {
        let place = place(&shared.care, &id)?.ok_or_else(Problem::not_found)?;
        append(&shared.care, &who, What::Delete { kind: Kind::Consent, id: place })?;
        append(&shared.care, &who, What::Delete { kind: Kind::Consent, id })?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// The care team of a person: its id is theirs.
pub(super) async fn put_team(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Resource, Problem> {
    blocking(move || {
        let (care, resource) = (&shared.care, parse(&body, &id)?);
        let wrong = |text: String| unfit("invalid", text, "CareTeam");
        let key = person_of(&id).map(|key| lineage::known_as(&care.database(), key)).transpose();
        let key = key.map_err(|error| Problem::internal(&error))?;
        if !key.is_some_and(|key| care.rosters.current().has(&key)) {
            return Err(wrong("the id of a CareTeam is that of its person, who must be in a panel".into()));
        }
        crate::coordination::care_team::check(&resource).map_err(|error| wrong(error.to_string()))?;
        append(care, &who, What::Put { kind: Kind::CareTeam, id: id.clone(), body: resource })?;
        Ok(Resource::found(current(care, Kind::CareTeam, &id)?))
    })
    .await
}

pub(super) async fn read_team(
    State(shared): State<Arc<Shared>>,
    who: Option<Extension<Who>>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    if let Some(who) = who {
        return reading::read(State(shared), who, Path(("CareTeam".into(), id))).await;
    }
    blocking(move || Ok(Resource::found(current(&shared.care, Kind::CareTeam, &id)?))).await
}

pub(super) async fn delete_team(
    State(shared): State<Arc<Shared>>,
    Extension(Steward(who)): Extension<Steward>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    blocking(move || {
        current(&shared.care, Kind::CareTeam, &id)?;
        append(&shared.care, &who, What::Delete { kind: Kind::CareTeam, id })?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
