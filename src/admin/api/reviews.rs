//! Matches that somebody has to look at, and what they decide. Operators see numbers and opaque ids; only who may read messages sees of whom they are, and decides nothing.
use super::super::Shared;
use super::super::credentials::{Need, Role};
use super::super::gate::Who;
use super::super::problem::Problem;
use super::messages::record;
use super::rosters::care;
use super::{blocking, noted, numbers, time, view};
use crate::coordination::PersonKey;
use crate::coordination::event::Patient;
use crate::coordination::roster::explained::person;
use crate::coordination::roster::reviews::Decision;
use crate::journal::View;
use crate::server::care::{DecideError, ReviewError, Reviewed, Shared as Care, Wanted, patient_of};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Which reviews.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Page {
    panel: Option<String>,
    state: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

/// What is decided: a person, or `null` for nobody. Saying nothing is no decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Decided {
    #[serde(deserialize_with = "Option::deserialize")]
    person: Option<String>,
}

/// Reviews in one answer, at most and unless otherwise asked for.
const LIMIT_MAX: usize = 500;
const LIMIT: usize = 100;

pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Extension(role): Extension<Role>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(page) = page?;
    let wrong = |detail: &str| {
        let remedy = "see /api/v1/openapi.json for the parameters that it takes";
        Problem::new(StatusCode::BAD_REQUEST, "bad query", detail, remedy)
    };
    let most = page.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&most) {
        return Err(wrong("limit is a whole number from 1 to 500"));
    }
    let after = page.after.unwrap_or(0);
    if i64::try_from(after).is_err() {
        return Err(wrong("after is no `next` of a page"));
    }
    let decided = match page.state.as_deref() {
        None | Some("open") => false,
        Some("decided") => true,
        Some(_) => return Err(wrong("state is none of open, decided")),
    };
    let care = care(&shared).await?;
    let (reviews, answer) = blocking(move || {
        let (found, next) = care.reviews(&Wanted { panel: page.panel, decided, after, most }).map_err(failed)?;
        let mut view = if role.may(Need::Phi) { Some(view(&shared.data)?) } else { None };
        let reviews: Vec<_> = found.iter().map(|one| shown(one, &care, view.as_mut())).collect();
        let ids = numbers(found.iter().map(|one| one.review.id));
        Ok((ids, json!({ "reviews": reviews, "next": next })))
    })
    .await?;
    noted!(look = true, token = %who, reviews, "reviews read")?;
    Ok(Json(answer))
}

/// `view`: of the journal, for those who may read messages.
fn shown(one: &Reviewed, care: &Care, view: Option<&mut View>) -> Value {
    let Reviewed { review, panels, decision } = one;
    let snapshot = care.rosters.current();
    let phi = view.is_some();
    let mut shown = json!({
        "id": review.id,
        "reason": review.reason.name(),
        "panels": panels,
        "candidates": review.candidates.iter().map(|key| person(key, &snapshot, phi)).collect::<Vec<_>>(),
        "messages": review.count,
        "first_seq": review.seqs.0,
        "last_seq": review.seqs.1,
        "last_received_at": time(review.last_ms),
        "decision": decision.as_ref().map(|(decision, who, at_ms)| json!({
            "person": key_of(*decision).map(|key| key.to_string()), "by": who, "at": time(*at_ms),
        })),
    });
    if let Some(view) = view {
        let patient = record(view, review.seqs.1).ok().and_then(|record| patient_of(&record.raw));
        shown["patient"] = patient.map_or(Value::Null, |patient| described(&patient, &review.identifiers));
    }
    shown
}

/// The patient of the last message, as it tells them, and the numbers of all.
fn described(patient: &Patient, identifiers: &[(String, String)]) -> Value {
    let identifier = |(system, value): &(String, String)| json!({ "system": system, "value": value });
    json!({
        "identifiers": identifiers.iter().map(identifier).collect::<Vec<_>>(),
        "family": patient.family,
        "given": patient.given,
        "birth_date": patient.birth_date,
        "sex": patient.sex,
        "street": patient.street,
        "city": patient.city,
        "zip": patient.zip,
        "phone": patient.phone,
    })
}

pub(crate) fn key_of(decision: Decision) -> Option<PersonKey> {
    match decision {
        Decision::Person(key) => Some(key),
        Decision::Nobody => None,
    }
}

pub(in super::super) async fn decide(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    id: Result<Path<u64>, PathRejection>,
    asked: Result<Json<Decided>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(id) = id?;
    let bad = || {
        let remedy = "send {\"person\": \"…\"} with the key of a candidate, or {\"person\": null} for nobody, as application/json";
        Problem::new(StatusCode::BAD_REQUEST, "bad body", "person is neither the id of a person nor null", remedy)
    };
    let decision = match asked.map_err(|_| bad())?.0.person.as_deref().map(PersonKey::parse) {
        None => Decision::Nobody,
        Some(Some(key)) => Decision::Person(key),
        Some(None) => return Err(bad()),
    };
    let care = care(&shared).await?;
    noted!(token = %who, review = id, "review to be decided")?;
    let by = Arc::clone(&who);
    let numbers = blocking(move || care.decide(&by, id, decision).map_err(refused)).await?;
    tracing::info!(audit = true, token = %who, review = id, "review decided");
    Ok(Json(json!({ "id": id, "person": key_of(decision).map(|key| key.to_string()), "numbers": numbers })))
}

pub(crate) fn failed(error: ReviewError) -> Problem {
    Problem::internal(error.to_string())
}

pub(crate) fn refused(error: DecideError) -> Problem {
    match error {
        DecideError::Unknown(_) => {
            let remedy = "GET /api/v1/rosters/reviews tells which there are";
            Problem::not_found("there is no review of that number", remedy)
        }
        DecideError::NoMember => {
            let remedy = "name a candidate of the review";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no member", error.to_string(), remedy)
        }
        DecideError::NoNumber => {
            let remedy = "have the number put right where it was given out";
            Problem::new(StatusCode::CONFLICT, "nothing to decide by", error.to_string(), remedy)
        }
        DecideError::Review(error) => failed(error),
    }
}
