//! Many dead letters of a route at once, by why and when they were given up. `GET /api/v1/dead-letters` with the same parameters tells beforehand how many they are.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::bulk::{changed, is_pin, so_far, whole};
use super::codes::RESEND_TIME;
use super::letters::{Claim, failed, is_any_sent, meant};
use super::messages::record;
use super::page::{LIMIT_MAX, limit, number};
use super::{blocking, noted, view};
use crate::delivery::resend::{self, Despite, Outlets, ResendError};
use crate::journal::{DeadLetter, Letters, SeenLetters, View};
use crate::server::tally::{Cause, Place, Tally};
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
    /// Exactly these must they be, or nothing is done.
    pin: Option<String>,
    /// What has come of those before.
    so_far: Option<String>,
}

impl Many {
    fn seen(&self) -> Result<SeenLetters, Problem> {
        Ok(SeenLetters { count: self.expected, pin: self.pin.as_deref().map(is_pin).transpose()? })
    }
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
    let (seen, mut tally) = (asked.seen()?, so_far(asked.so_far.as_deref())?);
    let meant = meant(Some(route.clone()), asked.reason, asked.since.as_deref())?;
    noted!(token = %who, route, limit, "dead letters to be sent again")?;
    let Done { results, next, pin } =
        send_many(&shared, &who, (meant, seen), Some((route.clone(), after)), limit, RESEND_TIME).await?;
    let before = tally.sent;
    results.iter().for_each(|outcome| outcome.tell(&mut tally, None));
    let sent = tally.sent.saturating_sub(before);
    tracing::info!(audit = true, token = %who, route, sent, "dead letters sent again");
    let results: Vec<_> = results
        .into_iter()
        .map(|outcome| json!({ "seq": outcome.seq, "result": outcome.result(), "reason": outcome.why }))
        .collect();
    Ok(Json(json!({
        "sent": sent, "dead_letters": results, "next": next.map(|(_, seq)| seq), "pin": pin, "so_far": tally.to_string(), "whole": whole(&tally),
    })))
}

/// What has come of several dead letters.
pub(crate) struct Done {
    /// Of each.
    pub results: Vec<Outcome>,
    /// The last of them, where there are more.
    pub next: Option<(String, u64)>,
    /// Which are behind that, where somebody has said which they were.
    pub pin: Option<String>,
}

/// What has come of one.
pub(crate) struct Outcome {
    pub route: String,
    pub seq: u64,
    /// Why it has not arrived.
    pub cause: Option<Cause>,
    pub why: Option<String>,
}

impl Outcome {
    /// `sent`, or the name of its cause.
    fn result(&self) -> &'static str {
        self.cause.map_or("sent", Cause::name)
    }

    /// Counts it; with its route where there are several.
    pub fn tell(&self, tally: &mut Tally, route: Option<&str>) {
        match self.cause {
            None => tally.add_sent(),
            Some(cause) => {
                // What is none any more has no page as a dead letter.
                let route = route.filter(|_| cause != Cause::Gone).map(str::to_owned);
                tally.add(cause, Place { route, seq: self.seq });
            }
        }
    }
}

/// Sends dead letters once more, in their order, for so long at most; nothing is done where they are not those that somebody has seen.
pub(crate) async fn send_many(
    shared: &Arc<Shared>,
    who: &Arc<str>,
    (meant, seen): (Letters, SeenLetters),
    after: Option<(String, u64)>,
    limit: usize,
    time: Duration,
) -> Result<Done, Problem> {
    let outlets = shared.control.outlets_for(who).await.ok_or_else(Problem::stopping)?;
    let (runtime, shared) = (tokio::runtime::Handle::current(), Arc::clone(shared));
    blocking(move || {
        let (mut view, began) = (view(&shared.data)?, Instant::now());
        let begun_ms = jiff::Timestamp::now().as_millisecond();
        let after = after.as_ref().map(|(route, seq)| (route.as_str(), *seq));
        if seen != SeenLetters::default() {
            let count = view.state().count_dead_letters(&meant).map_err(failed)?;
            let (_, pin) = view.state().pin_dead_letters(&meant, after).map_err(failed)?;
            if !seen.are(count, &pin) {
                return Err(others(count, &seen));
            }
        }
        let found = view.state().dead_letters_after(&meant, after, limit).map_err(failed)?;
        let mut results = Vec::new();
        for (route, letter) in &found {
            if !results.is_empty() && began.elapsed() > time {
                break;
            }
            let (cause, why) = runtime.block_on(again(&shared, &mut view, route, letter, &outlets))?;
            results.push(Outcome { route: route.clone(), seq: letter.seq, cause, why });
        }
        let all = results.len() == found.len() && found.len() < limit;
        let last = results.last().map(|last| (last.route.clone(), last.seq));
        let mut pin = None;
        if seen != SeenLetters::default() {
            // One that was given up meanwhile nobody has seen: the next turn is to notice it.
            let until_ms = Some(meant.until_ms.map_or(begun_ms, |until_ms| until_ms.min(begun_ms)));
            let behind = last.as_ref().map(|(route, seq)| (route.as_str(), *seq)).or(after);
            let pinned = view.state().pin_dead_letters(&Letters { until_ms, ..meant }, behind);
            pin = Some(pinned.map_err(failed)?.1);
        }
        Ok(Done { results, next: last.filter(|_| !all), pin })
    })
    .await
}

/// What has come of one of them: why it has not arrived.
async fn again(
    shared: &Arc<Shared>,
    view: &mut View,
    route: &str,
    letter: &DeadLetter,
    outlets: &Outlets,
) -> Result<(Option<Cause>, Option<String>), Problem> {
    let Some(_claim) = Claim::take(shared, route, letter.seq) else { return Ok((Some(Cause::UnderWay), None)) };
    let gone = Ok((Some(Cause::Gone), None));
    // Since it was listed somebody may have sent or dropped it.
    let Some(letter) = view.state().dead_letter(route, letter.seq).map_err(failed)? else { return gone };
    let letter = &letter;
    let Ok(record) = record(view, letter.seq) else { return gone };
    Ok(match resend::letter(view, route, letter, record, outlets, Despite::default()).await {
        Ok(sent) => match sent.into_iter().find_map(|sent| sent.failure) {
            None => (None, None),
            Some(why) => (Some(Cause::of_failure(&why)), Some(why)),
        },
        Err(ResendError::Store(error)) => return Err(failed(error)),
        Err(why) => (Some(Cause::of_letter(&why)), Some(why.to_string())),
    })
}

/// Drops them, all or none.
pub(in super::super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    (route, asked): Asked,
) -> Result<Json<Value>, Problem> {
    let (Path(route), Query(asked)) = (route?, asked?);
    let (limit, seen) = (limit(asked.limit, LIMIT_MAX)?, asked.seen()?);
    let meant = meant(Some(route.clone()), asked.reason, asked.since.as_deref())?;
    noted!(token = %who, route, limit, "dead letters to be dropped")?;
    let (dropped, left, pin) = blocking(move || {
        let view = view(&shared.data)?;
        none_is_sent(&shared, meant.reader.as_deref())?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let dropped = view.state().drop_dead_letters(&meant, limit, &seen, now_ms).map_err(failed)?;
        let left = view.state().count_dead_letters(&meant).map_err(failed)?;
        let dropped = dropped.ok_or_else(|| others(left, &seen))?;
        // One that was given up meanwhile nobody has seen.
        let (_, pin) =
            view.state().pin_dead_letters(&Letters { until_ms: Some(now_ms), ..meant }, None).map_err(failed)?;
        Ok((dropped, left, pin))
    })
    .await?;
    tracing::info!(audit = true, token = %who, route, dropped, "dead letters dropped");
    Ok(Json(json!({ "dropped": dropped, "left": left, "pin": pin })))
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
pub(crate) fn others(count: u64, seen: &SeenLetters) -> Problem {
    let remedy = "nothing was done; look at GET /api/v1/dead-letters with the same parameters again";
    changed(count, seen.count.unwrap_or(count), remedy)
}
