//! Many dead letters of a route at once, by why and when they were given up. `GET /api/v1/dead-letters` with the same parameters tells beforehand how many they are.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::codes::RESEND_TIME;
use super::letters::{Claim, failed, is_any_sent, meant};
use super::messages::record;
use super::page::{LIMIT_MAX, limit, number};
use super::{blocking, noted, view};
use crate::delivery::resend::{self, Outlets, ResendError};
use crate::journal::{DeadLetter, Letters, View};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which of its dead letters; everything that is given must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Many {
    reason: Option<String>,
    since: Option<String>,
    /// Those behind this one: `next` of the answer before.
    after: Option<u64>,
    limit: Option<usize>,
    /// So many must they be, or nothing is done.
    expected: Option<u64>,
}

type Asked = (Result<Path<String>, PathRejection>, Result<Query<Many>, QueryRejection>);

/// Delivers them once more, in their order, for a while: what is left is for the next request.
pub(in super::super) async fn resend(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    (route, asked): Asked,
) -> Result<Json<Value>, Problem> {
    let (Path(route), Query(asked)) = (route?, asked?);
    let (limit, after) = (limit(asked.limit, LIMIT_MAX)?, number(asked.after)?);
    let expected = asked.expected;
    let meant = meant(Some(route.clone()), asked.reason, asked.since.as_deref())?;
    noted!(token = %who, route, limit, "dead letters to be sent again")?;
    let Done { sent, results, next } =
        send_many(&shared, &who, (meant, expected), Some((route.clone(), after)), limit, RESEND_TIME).await?;
    tracing::info!(audit = true, token = %who, route, sent, "dead letters sent again");
    let results: Vec<_> = results
        .into_iter()
        .map(|Outcome { seq, result, why, .. }| json!({ "seq": seq, "result": result, "reason": why }))
        .collect();
    Ok(Json(json!({ "sent": sent, "dead_letters": results, "next": next.map(|(_, seq)| seq) })))
}

/// What has come of several dead letters.
pub(crate) struct Done {
    /// How many have arrived.
    pub sent: u64,
    /// Of each.
    pub results: Vec<Outcome>,
    /// The last of them, where there are more.
    pub next: Option<(String, u64)>,
}

/// What has come of one.
pub(crate) struct Outcome {
    pub route: String,
    pub seq: u64,
    /// `sent`, `failed`, `overtaken`, `under_way` or `gone`.
    pub result: &'static str,
    pub why: Option<String>,
}

/// Sends dead letters once more, in their order, for so long at most; nothing is done where there are not as many as are expected.
pub(crate) async fn send_many(
    shared: &Arc<Shared>,
    who: &Arc<str>,
    (meant, expected): (Letters, Option<u64>),
    after: Option<(String, u64)>,
    limit: usize,
    time: Duration,
) -> Result<Done, Problem> {
    let outlets = shared.control.outlets_for(who).await.ok_or_else(Problem::stopping)?;
    let (runtime, shared) = (tokio::runtime::Handle::current(), Arc::clone(shared));
    blocking(move || {
        let (mut view, began) = (view(&shared.data)?, Instant::now());
        let count = view.state().count_dead_letters(&meant).map_err(failed)?;
        if expected.is_some_and(|expected| expected != count) {
            return Err(others(count));
        }
        let after = after.as_ref().map(|(route, seq)| (route.as_str(), *seq));
        let found = view.state().dead_letters_after(&meant, after, limit).map_err(failed)?;
        let (mut sent, mut results) = (0, Vec::new());
        for (route, letter) in &found {
            if !results.is_empty() && began.elapsed() > time {
                break;
            }
            let (result, why) = runtime.block_on(again(&shared, &mut view, route, letter, &outlets))?;
            sent += u64::from(result == "sent");
            results.push(Outcome { route: route.clone(), seq: letter.seq, result, why });
        }
        let all = results.len() == found.len() && found.len() < limit;
        let next = results.last().filter(|_| !all).map(|last| (last.route.clone(), last.seq));
        Ok(Done { sent, results, next })
    })
    .await
}

/// What has come of one of them, and why.
async fn again(
    shared: &Arc<Shared>,
    view: &mut View,
    route: &str,
    letter: &DeadLetter,
    outlets: &Outlets,
) -> Result<(&'static str, Option<String>), Problem> {
    let Some(_claim) = Claim::take(shared, route, letter.seq) else { return Ok(("under_way", None)) };
    // Since it was listed somebody may have sent or dropped it.
    let Some(letter) = view.state().dead_letter(route, letter.seq).map_err(failed)? else { return Ok(("gone", None)) };
    let letter = &letter;
    let Ok(record) = record(view, letter.seq) else { return Ok(("gone", None)) };
    Ok(match resend::letter(view, route, letter, record, outlets, false).await {
        Ok(sent) => match sent.into_iter().find_map(|sent| sent.failure) {
            None => ("sent", None),
            why => ("failed", why),
        },
        Err(ResendError::Store(error)) => return Err(failed(error)),
        Err(why @ (ResendError::Overtaken { .. } | ResendError::Unknown { .. })) => {
            ("overtaken", Some(why.to_string()))
        }
        Err(why) => ("failed", Some(why.to_string())),
    })
}

/// Drops them, all or none.
pub(in super::super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    (route, asked): Asked,
) -> Result<Json<Value>, Problem> {
    let (Path(route), Query(asked)) = (route?, asked?);
    let (limit, expected) = (limit(asked.limit, LIMIT_MAX)?, asked.expected);
    let meant = meant(Some(route.clone()), asked.reason, asked.since.as_deref())?;
    noted!(token = %who, route, limit, "dead letters to be dropped")?;
    let (dropped, left) = blocking(move || {
        let view = view(&shared.data)?;
        none_is_sent(&shared, meant.reader.as_deref())?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let dropped = view.state().drop_dead_letters(&meant, limit, expected, now_ms).map_err(failed)?;
        let left = view.state().count_dead_letters(&meant).map_err(failed)?;
        Ok((dropped.ok_or_else(|| others(left))?, left))
    })
    .await?;
    tracing::info!(audit = true, token = %who, route, dropped, "dead letters dropped");
    Ok(Json(json!({ "dropped": dropped, "left": left })))
}

/// What is being sent just now cannot be dropped.
pub(crate) fn none_is_sent(shared: &Shared, route: Option<&str>) -> Result<(), Problem> {
    if !is_any_sent(shared, route) {
        return Ok(());
    }
    let detail = "some of them are being sent again just now";
    Err(Problem::new(
        StatusCode::CONFLICT,
        "under way",
        detail,
        "nothing was dropped; wait for that to be answered, then look again",
    ))
}

/// They are not those that somebody has looked at.
fn others(count: u64) -> Problem {
    let detail = format!("there are {count} by now, not as many as expected");
    let remedy = "nothing was done; look at GET /api/v1/dead-letters with the same parameters again";
    Problem::new(StatusCode::CONFLICT, "others than expected", detail, remedy)
}
