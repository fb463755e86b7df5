//! Dead letters: what routes gave up, why, and what is to become of it.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::messages::{self, kind, record};
use super::page::{LIMIT, bad_query, limit};
use super::{blocking, noted, time, view};
use crate::delivery::resend::{self, Despite, Outlets, ResendError, Sent};
use crate::journal::{DeadLetter, Error, Letters, View};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, MutexGuard, PoisonError};

/// Which dead letters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Page {
    /// Of this route only.
    route: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    /// Those behind this one: `next` of the page before.
    after: Option<String>,
    limit: Option<usize>,
}

type Letter = Result<Path<(String, u64)>, PathRejection>;

pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(page) = page?;
    let limit = limit(page.limit, LIMIT)?;
    let after = match page.after.as_deref().map(|after| (after, place(after))) {
        Some((_, None)) => return Err(bad_query("after is no `next` of a page")),
        Some((_, place)) => place,
        None => None,
    };
    let meant = meant(page.route, page.reason, page.since.as_deref())?;
    blocking(move || {
        let mut view = view(&shared.data)?;
        let after = after.as_ref().map(|(route, seq)| (route.as_str(), *seq));
        let found = view.state().dead_letters_after(&meant, after, limit).map_err(failed)?;
        let (count, pin) = view.state().pin_dead_letters(&meant, None).map_err(failed)?;
        let next =
            found.last().filter(|_| found.len() == limit).map(|(route, letter)| format!("{route}:{}", letter.seq));
        let letters: Vec<_> = found.into_iter().map(|(route, letter)| shown(&mut view, &route, &letter)).collect();
        Ok(Json(json!({ "dead_letters": letters, "next": next, "count": count, "pin": pin })))
    })
    .await
}

/// Which dead letters a query is about.
pub(super) fn meant(route: Option<String>, reason: Option<String>, since: Option<&str>) -> Result<Letters, Problem> {
    if route.as_deref().is_some_and(|route| !is_name(route)) {
        return Err(bad_query("route is no name of a route"));
    }
    let since = since.map(str::parse::<jiff::Timestamp>).transpose();
    let since = since.map_err(|_| bad_query("since is a time such as 2026-01-31T08:30:00Z"))?;
    let since_ms = since.map(jiff::Timestamp::as_millisecond);
    Ok(Letters { reader: route, reason, since_ms, ..Letters::default() })
}

/// `ehr:12`
pub(crate) fn place(after: &str) -> Option<(String, u64)> {
    let (route, seq) = after.rsplit_once(':')?;
    let seq = seq.parse().ok().filter(|_| is_name(route)).filter(|seq| i64::try_from(*seq).is_ok())?;
    Some((route.to_owned(), seq))
}

/// What is no name of a route is none, and does not stand in the audit.
pub(crate) fn named(route: &str) -> Result<(), Problem> {
    let remedy = "GET /api/v1/routes tells which there are";
    if is_name(route) { Ok(()) } else { Err(Problem::not_found("the gateway has no route of that name", remedy)) }
}

/// Whether a route can be named so.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

fn shown(view: &mut View, route: &str, letter: &DeadLetter) -> Value {
    json!({
        "route": route,
        "seq": letter.seq,
        "last": letter.last,
        "at": time(letter.at_ms),
        "attempts": letter.attempts,
        "type": record(view, letter.seq).ok().and_then(|record| kind(&record)),
        "reason": letter.reason,
    })
}

pub(in super::super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    letter: Letter,
) -> Result<Response, Problem> {
    let Path((route, seq)) = letter?;
    let named = route.clone();
    let found = blocking(move || {
        let mut view = view(&shared.data)?;
        find(&view, &named, seq)?;
        record(&mut view, seq)
    })
    .await?;
    noted!(look = true, token = %who, route, seq, "dead letter read")?;
    Ok(messages::show(found))
}

pub(in super::super) async fn resend(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    letter: Letter,
) -> Result<Json<Value>, Problem> {
    let Path((route, seq)) = letter?;
    named(&route)?;
    // Before it is done: whoever asked may not wait for the answer.
    noted!(token = %who, route, seq, "dead letter to be sent again")?;
    let sent = send_again(&shared, &who, (&route, seq), None, false).await?.map_err(|error| {
        let remedy = "change the mappings or the routes and reload, send an edited copy with `handoff dead-letters resend --with`, or drop it";
        Problem::new(StatusCode::CONFLICT, "cannot be sent", error.to_string(), remedy)
    })?;
    let arrived = sent.iter().all(|sent| sent.failure.is_none());
    tracing::info!(audit = true, token = %who, route, seq, arrived, "dead letter sent again");
    let sent: Vec<_> = sent
        .into_iter()
        .map(|sent| json!({"route": sent.route, "delivered": sent.failure.is_none(), "reason": sent.failure}))
        .collect();
    Ok(Json(json!({ "arrived": arrived, "sent": sent })))
}

/// Sends a dead letter once more, or an edited copy in its place; what has come of it at each route, or why it was not sent at all.
pub(crate) async fn send_again(
    shared: &Arc<Shared>,
    who: &Arc<str>,
    (route, seq): (&str, u64),
    edited: Option<Vec<u8>>,
    anyway: bool,
) -> Result<Result<Vec<Sent>, ResendError>, Problem> {
    let outlets = shared.control.outlets_for(who).await.ok_or_else(Problem::stopping)?;
    let Some(claim) = Claim::take(shared, route, seq) else { return Err(under_way()) };
    let runtime = tokio::runtime::Handle::current();
    let (route, data) = (route.to_owned(), shared.data.clone());
    blocking(move || {
        let _claim = claim;
        let despite = Despite { newer: anyway, filter: false };
        let mut view = view(&data)?;
        let letter = find(&view, &route, seq)?;
        let mut record = record(&mut view, seq)?;
        let outlets = Outlets { edited: edited.is_some(), ..outlets };
        if let Some(raw) = edited {
            record = match resend::edited(record, raw) {
                Ok(record) => record,
                Err(why) => return Ok(Err(ResendError::Nothing(why))),
            };
        }
        match runtime.block_on(resend::letter(&mut view, &route, &letter, record, &outlets, despite)) {
            Err(ResendError::Store(error)) => Err(failed(error)),
            done => Ok(done),
        }
    })
    .await
}

pub(in super::super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    letter: Letter,
) -> Result<StatusCode, Problem> {
    let Path((route, seq)) = letter?;
    named(&route)?;
    noted!(token = %who, route, seq, "dead letter to be dropped")?;
    drop_one(&shared, &route, seq).await?;
    tracing::info!(audit = true, token = %who, route, seq, "dead letter dropped");
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a dead letter.
pub(crate) async fn drop_one(shared: &Arc<Shared>, route: &str, seq: u64) -> Result<(), Problem> {
    let Some(claim) = Claim::take(shared, route, seq) else { return Err(under_way()) };
    let (route, data) = (route.to_owned(), shared.data.clone());
    blocking(move || {
        let _claim = claim;
        let view = view(&data)?;
        find(&view, &route, seq)?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        view.state().drop_dead_letter(&route, seq, now_ms).map(drop).map_err(failed)
    })
    .await
}

fn under_way() -> Problem {
    let remedy = "wait for the first to be answered";
    Problem::new(StatusCode::CONFLICT, "under way", "it is being sent again just now", remedy)
}

/// Whether anything of a route, or of any, is being sent again just now.
pub(super) fn is_any_sent(shared: &Shared, route: Option<&str>) -> bool {
    lock(shared).iter().any(|(name, _)| route.is_none_or(|route| route == name))
}

/// A dead letter of a route. Blocks.
pub(crate) fn find(view: &View, route: &str, seq: u64) -> Result<DeadLetter, Problem> {
    let found = match i64::try_from(seq) {
        Ok(_) => view.state().dead_letter(route, seq).map_err(failed)?,
        Err(_) => None,
    };
    let remedy = "GET /api/v1/dead-letters tells which there are";
    found.ok_or_else(|| Problem::not_found("the route has no dead letter of that number", remedy))
}

pub(crate) fn failed(error: Error) -> Problem {
    Problem::internal(error.to_string())
}

/// A dead letter that is being sent; free again when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    letter: (String, u64),
}

impl Claim {
    pub(super) fn take(shared: &Arc<Shared>, route: &str, seq: u64) -> Option<Claim> {
        let letter = (route.to_owned(), seq);
        lock(shared).insert(letter.clone()).then(|| Claim { shared: Arc::clone(shared), letter })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.shared).remove(&self.letter);
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, std::collections::HashSet<(String, u64)>> {
    shared.resending.lock().unwrap_or_else(PoisonError::into_inner)
}
