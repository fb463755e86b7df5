//! All messages of a search once more: looked at first, then each as one is that is sent again from its own page ([`super::again`]), the oldest first, for a while at a time.
//!
//! They are a set that does not move: numbers up to a last one, and exactly those (`pin`); where they are others by then nothing is sent. One that something stands against (a newer
//! message of its patient, a filter, what its target has) is passed over, counted by why over all turns ([`Tally`]), and told. Where a route does not take one for a reason that the
//! next would meet as well, the rest is left for whoever asked to decide.
use super::super::Shared;
use super::super::gate;
use super::super::problem::Problem;
use super::again::{Asker, Wanted, look, meant, names, objection, send, worst};
use super::codes::RESEND_TIME;
use super::letters::{Claim, failed};
use super::page::{LIMIT_MAX, bad_query, limit, number};
use super::{blocking, noted, view};
use crate::delivery::resend::Mappings;
use crate::facets::Outcome;
use crate::search::Filter;
use crate::server::again::Standing;
use crate::server::chosen::{Chosen, MANY_MAX, Pick, PickError, pick, pin};
use crate::server::fate::Became;
use crate::server::tally::{Cause, Place, Tally};
use crate::server::{RouteState, RouteStatus};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of a search, and what is to be done with each.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    /// Its last number is given.
    pub chosen: Chosen,
    pub routes: Vec<String>,
    pub by: Mappings,
    pub overwrite: bool,
    pub filtered: bool,
    /// The newest of all that had been sent again when somebody looked.
    pub seen: u64,
    /// So many must they be behind `after`…
    pub expected: u64,
    /// …and exactly these.
    pub pin: String,
    /// What has been done already.
    pub after: u64,
    /// What has come of that.
    pub so_far: Tally,
}

/// What is known of them before anything is sent.
pub(crate) struct Told {
    pub count: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// The last number of the journal: what comes later is not meant.
    pub head: u64,
    pub seen: u64,
    /// How many of them have become what, by route and name.
    pub fates: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Which they are.
    pub pin: String,
}

/// What has come of some of them.
pub(crate) struct Done {
    pub sent: u64,
    pub results: Vec<One>,
    /// The last that was looked at, where there are more.
    pub next: Option<u64>,
    /// What is behind it.
    pub rest: Rest,
    /// The last of them failed: whether to go on is for whoever asked to say. This is with that one once more; else it is left behind.
    pub stopped: Option<Rest>,
}

/// What has come of one.
pub(crate) struct One {
    pub seq: u64,
    /// Why it has not been sent, or has not arrived.
    pub cause: Option<Cause>,
    pub why: Option<String>,
}

impl One {
    /// `sent`, `refused`, `gone` or `failed`.
    fn result(&self) -> &'static str {
        match self.cause {
            None => "sent",
            Some(Cause::Gone) => "gone",
            Some(cause) if cause.stops() => "failed",
            Some(_) => "refused",
        }
    }
}

/// How to go on.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub after: u64,
    /// So many are behind that.
    pub expected: u64,
    /// Which they are.
    pub pin: String,
    /// What has come of those before.
    pub so_far: Tally,
}

/// The title of the problem where they are others than were seen.
pub(crate) const CHANGED: &str = "what you saw has changed";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Asked {
    routes: String,
    mappings: String,
    since: Option<String>,
    until: Option<String>,
    r#type: Option<String>,
    listener: Option<String>,
    outcome: Option<String>,
    route: Option<String>,
    state: Option<String>,
    first: Option<u64>,
    last: Option<u64>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    filtered: bool,
    seen: Option<u64>,
    expected: Option<u64>,
    pin: Option<String>,
    after: Option<u64>,
    so_far: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn chosen(&self) -> Result<Chosen, Problem> {
        let time = |text: &Option<String>| {
            let time = text.as_deref().map(str::parse::<jiff::Timestamp>).transpose();
            time.map(|time| time.map(jiff::Timestamp::as_millisecond))
                .map_err(|_| bad_query("since and until are times such as 2026-01-31T08:30:00Z"))
        };
        let outcome = self.outcome.as_deref().map(|name| {
            let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name);
            found.ok_or_else(|| bad_query("there is no such outcome"))
        });
        let state =
            self.state.as_deref().map(|name| Became::parse(name).ok_or_else(|| bad_query("there is no such state")));
        let (code, event) = match self.r#type.as_deref().map(|kind| kind.split_once('^').unwrap_or((kind, ""))) {
            Some((code, event)) => (Some(code.to_owned()), (!event.is_empty()).then(|| event.to_owned())),
            None => (None, None),
        };
        let filter = Filter {
            since_ms: time(&self.since)?,
            until_ms: time(&self.until)?,
            listener: self.listener.clone(),
            code,
            event,
            outcome: outcome.transpose()?,
            first: self.first.map(|first| number(Some(first))).transpose()?,
            last: self.last.map(|last| number(Some(last))).transpose()?,
            ..Filter::default()
        };
        Ok(Chosen { filter, route: self.route.clone(), state: state.transpose()?, text: None })
    }
}

/// `POST /api/v1/messages/resend`
pub(in super::super) async fn resend(
    State(shared): State<Arc<Shared>>,
    Extension(gate::Who(who)): Extension<gate::Who>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(asked) = asked?;
    let by = Mappings::parse(&asked.mappings).ok_or_else(|| bad_query("mappings is original or current"))?;
    let routes = names(asked.routes.split(',').map(str::trim).filter(|name| !name.is_empty()))?;
    let (chosen, limit, after) = (asked.chosen()?, limit(asked.limit, LIMIT_MAX)?, number(asked.after)?);
    let so_far = so_far(asked.so_far.as_deref())?;
    let pinned = asked.pin.as_deref().map(is_pin).transpose()?;
    if asked.dry_run {
        let told = look_at(&shared, chosen, after).await?;
        return Ok(Json(json!({
            "dry_run": true, "count": told.count, "pin": told.pin, "first": told.first, "last": told.head, "seen": told.seen, "fates": told.fates,
        })));
    }
    let (Some(expected), Some(seen), Some(pin), Some(_)) = (asked.expected, asked.seen, pinned, chosen.filter.last)
    else {
        let remedy = "ask with dry_run=true first, then with its count as expected, its pin, its seen and its last";
        return Err(Problem::new(StatusCode::CONFLICT, "not looked at", "nobody has seen which they are", remedy));
    };
    let Asked { overwrite, filtered, .. } = asked;
    let bulk = Bulk { chosen, routes, by, overwrite, filtered, seen, expected, pin, after, so_far };
    let done = send_all(&shared, Asker::Token(who), bulk, limit, RESEND_TIME).await?;
    Ok(Json(turn(&done)))
}

/// The answer of one turn.
fn turn(done: &Done) -> Value {
    let Done { sent, results, next, rest, stopped } = done;
    let told: Vec<_> = results
        .iter()
        .map(|one| json!({ "seq": one.seq, "result": one.result(), "cause": one.cause.map(Cause::name), "reason": one.why }))
        .collect();
    let retry = stopped.as_ref().map(|rest| {
        json!({ "after": rest.after, "expected": rest.expected, "pin": rest.pin, "so_far": rest.so_far.to_string() })
    });
    json!({
        "dry_run": false, "sent": sent, "messages": told, "next": next, "left": rest.expected, "pin": rest.pin, "stopped": stopped.is_some(),
        "retry": retry, "so_far": rest.so_far.to_string(), "whole": whole(&rest.so_far),
    })
}

/// What has come of all turns, as programs are told it.
pub(super) fn whole(tally: &Tally) -> Value {
    let not: Vec<_> = tally
        .not()
        .map(|(cause, some)| {
            let first: Vec<u64> = some.first.iter().map(|place| place.seq).collect();
            json!({ "cause": cause.name(), "count": some.count, "reason": cause.text(), "remedy": cause.remedy(), "first": first })
        })
        .collect();
    json!({ "sent": tally.sent, "not_sent": tally.count_not(), "by_cause": not })
}

/// What has come of the turns before.
pub(super) fn so_far(text: Option<&str>) -> Result<Tally, Problem> {
    let Some(text) = text else { return Ok(Tally::default()) };
    // Here they are of one route, or of none.
    let plain = |tally: &Tally| tally.not().all(|(_, some)| some.first.iter().all(|place| place.route.is_none()));
    Tally::parse(text).filter(plain).ok_or_else(|| {
        let remedy =
            "nothing was done; hand back so_far as the answer before has told it, or leave it out and count anew";
        Problem::new(StatusCode::CONFLICT, "not told", "so_far is none of an answer before", remedy)
    })
}

/// Which somebody has seen.
pub(super) fn is_pin(text: &str) -> Result<String, Problem> {
    let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain { Ok(text.to_owned()) } else { Err(bad_query("pin is none of an answer before")) }
}

/// Which they are, before anything is sent.
pub(crate) async fn look_at(shared: &Arc<Shared>, mut chosen: Chosen, after: u64) -> Result<Told, Problem> {
    let outlets = shared.control.outlets().await.ok_or_else(Problem::stopping)?;
    let data = shared.data.clone();
    blocking(move || {
        let mut view = view(&data)?;
        let head = view.range().map_err(failed)?.map_or(0, |range| *range.end());
        let head = chosen.filter.last.unwrap_or(u64::MAX).min(head);
        chosen.filter.last = Some(head);
        let seen = view.state().last_resend().map_err(failed)?;
        let picked = pick(&mut view, &outlets.routes, &chosen, after, true).map_err(unpicked)?;
        let mut fates: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for (route, status) in picked.iter().flat_map(|pick| &pick.statuses) {
            *fates.entry(route.clone()).or_default().entry(status.name()).or_default() += 1;
        }
        let (first, last) = (picked.first().map(|pick| pick.seq), picked.last().map(|pick| pick.seq));
        Ok(Told { count: picked.len() as u64, first, last, head, seen, fates, pin: pin(&picked) })
    })
    .await
}

fn unpicked(error: PickError) -> Problem {
    let narrow = "narrow the search, by numbers, times, a type or a listener";
    match error {
        PickError::TooMany => {
            let detail = format!("there are more than {MANY_MAX} messages like that");
            Problem::new(StatusCode::CONFLICT, "too many", detail, narrow)
        }
        PickError::TooLong => {
            Problem::new(StatusCode::CONFLICT, "too many", "they could not be looked through in time", narrow)
        }
        PickError::Behind(last) => {
            let detail = format!("the search index has not come to message {last} yet");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not indexed yet", detail, "wait a moment, then ask again")
                .retry_after(5)
        }
        error => Problem::internal(error.to_string()),
    }
}

/// Sends those that are meant behind `after`, at most so many and for so long, as far as nothing fails.
pub(crate) async fn send_all(
    shared: &Arc<Shared>,
    asker: Asker,
    bulk: Bulk,
    limit: usize,
    time: Duration,
) -> Result<Done, Problem> {
    let Some(claim) = Claim::take(shared, BULK, 0) else {
        let detail = "messages of a search are being sent again just now, by somebody else or by another page";
        return Err(Problem::new(StatusCode::CONFLICT, "under way", detail, "wait for that to be answered"));
    };
    all_run(&shared.control.routes().await, &bulk.routes)?;
    let outlets = shared.control.outlets().await.ok_or_else(Problem::stopping)?;
    // Also that there are others than were seen tells something of whom was looked for.
    note(&asker, &bulk)?;
    let (data, chosen, after) = (shared.data.clone(), bulk.chosen.clone(), bulk.after);
    let picked =
        blocking(move || pick(&mut view(&data)?, &outlets.routes, &chosen, after, false).map_err(unpicked)).await?;
    if picked.len() as u64 != bulk.expected || pin(&picked) != bulk.pin {
        return Err(changed(picked.len() as u64, bulk.expected, "nothing was sent; look at them again"));
    }
    let shared = Arc::clone(shared);
    // On its own: it goes on to its end even if whoever asked has gone.
    let done = tokio::spawn(async move {
        let _claim = claim;
        let done = carry_out(&shared, &asker, &bulk, &picked, limit, time).await;
        note_end(&asker, done.sent, done.results.len());
        done
    });
    done.await.map_err(|error| Problem::internal(format!("an answer was not finished: {error}")))
}

/// They are others than somebody has seen.
pub(crate) fn changed(count: u64, expected: u64, remedy: &str) -> Problem {
    let detail = match count == expected {
        true => format!("there are {count} by now as well, but not the same"),
        false => format!("there are {count} by now, not {expected} as were seen"),
    };
    Problem::new(StatusCode::CONFLICT, CHANGED, detail, remedy)
}

/// No route has that name.
const BULK: &str = "messages/resend";

/// What is held back, or is no route, takes none of them: that is said once, not of each.
fn all_run(statuses: &[RouteStatus], routes: &[String]) -> Result<(), Problem> {
    if let Some(unknown) = routes.iter().find(|name| !statuses.iter().any(|status| status.name == **name)) {
        let detail = format!("the gateway has no route {unknown}");
        return Err(Problem::not_found(detail, "GET /api/v1/routes tells which there are"));
    }
    let held = statuses.iter().find(|status| status.state != RouteState::Started && routes.contains(&status.name));
    match held {
        None => Ok(()),
        Some(held) => {
            let detail = format!("the route {} is {}", held.name, held.state.name());
            Err(Problem::new(StatusCode::CONFLICT, "cannot be sent", detail, "start the route, then send them again"))
        }
    }
}

async fn carry_out(
    shared: &Arc<Shared>,
    asker: &Asker,
    bulk: &Bulk,
    picked: &[Pick],
    limit: usize,
    time: Duration,
) -> Done {
    let (began, mut results, mut sent, mut so_far) = (Instant::now(), Vec::new(), 0, bulk.so_far.clone());
    let mut stopped = false;
    for pick in picked.iter().take(limit) {
        if stopped || (!results.is_empty() && began.elapsed() > time) {
            break;
        }
        let (seq, (cause, why)) = (pick.seq, one(shared, asker, bulk, pick.seq).await);
        match cause {
            None => {
                sent += 1;
                so_far.add_sent();
            }
            Some(cause) if cause.stops() => stopped = true,
            Some(cause) => so_far.add(cause, Place { route: None, seq }),
        }
        results.push(One { seq, cause, why });
    }
    let behind = |number: usize, after, so_far| {
        let rest = picked.get(number..).unwrap_or_default();
        Rest { after, expected: rest.len() as u64, pin: pin(rest), so_far }
    };
    let (number, after) = (results.len(), results.last().map_or(bulk.after, |one| one.seq));
    let once_more = stopped.then(|| behind(number.saturating_sub(1), after.saturating_sub(1), so_far.clone()));
    if stopped {
        so_far.add(Cause::Left, Place { route: None, seq: after });
    }
    let rest = behind(number, after, so_far);
    Done { sent, results, next: (rest.expected > 0).then_some(after), rest, stopped: once_more }
}

/// What has come of one of them: none of a cause has been sent.
async fn one(shared: &Arc<Shared>, asker: &Asker, bulk: &Bulk, seq: u64) -> (Option<Cause>, Option<String>) {
    let Bulk { routes, by, overwrite, filtered, seen, .. } = bulk.clone();
    let mut wanted = Wanted { seq, routes, by, overwrite, filtered, seen: None };
    let told = |problem: Problem, cause| (Some(problem.cause().unwrap_or(cause)), Some(problem.detail().to_owned()));
    let looked = match look(shared, seq).await {
        Ok(looked) => looked,
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => return told(problem, Cause::Gone),
        Err(problem) => return told(problem, Cause::Failed),
    };
    // Where it has arrived since, it does not go twice; one that was tried and failed has changed nothing.
    let arrived = |route: &String| {
        looked.resends.iter().any(|sent| sent.id > seen && sent.failure.is_none() && sent.reader == *route)
    };
    wanted.routes.retain(|route| !arrived(route));
    if wanted.routes.is_empty() {
        return (Some(Cause::SentMeanwhile), Some("it has been sent again since you looked".into()));
    }
    let prospects = match meant(&looked, &wanted.routes) {
        Ok(prospects) => prospects,
        Err(problem) => return told(problem, Cause::Failed),
    };
    if let Some(dropped) = prospects.iter().find(|prospect| prospect.standing == Standing::Dropped) {
        let why = format!("{}: somebody dropped it; its own page sends it", dropped.route);
        return (Some(Cause::Dropped), Some(why));
    }
    if let Some((route, refusal)) =
        prospects.iter().find_map(|prospect| Some((&prospect.route, objection(prospect, &wanted)?)))
    {
        return (Some(refusal.cause), Some(format!("{route}: {}", refusal.why)));
    }
    wanted.seen = Some(looked.resends.first().map_or(0, |sent| sent.id));
    let came = match send(shared, asker.clone(), wanted).await {
        Err(problem) => return told(problem, Cause::Failed),
        Ok(came) => came,
    };
    let Some(cause) = worst(&came) else { return (None, None) };
    let parts = came.iter().map(|came| match &came.why {
        Some(why) => format!("{}: {why}", came.route),
        None => format!("{} has taken it", came.route),
    });
    (Some(cause), Some(parts.collect::<Vec<_>>().join("; ")))
}

/// What was looked for may be a patient's: it does not stand there. Which messages were sent does, each on a line of its own.
fn note(asker: &Asker, bulk: &Bulk) -> Result<(), Problem> {
    let Bulk { by, overwrite, filtered, expected, after, .. } = bulk;
    let (routes, mappings) = (bulk.routes.join(","), by.name());
    match asker {
        Asker::Token(who) => {
            noted!(token = %who, routes, mappings, overwrite, filtered, expected, after, "messages of a search to be sent again")
        }
        Asker::User(who) => {
            noted!(user = %who, routes, mappings, overwrite, filtered, expected, after, "messages of a search to be sent again")
        }
    }
}

fn note_end(asker: &Asker, sent: u64, of: usize) {
    match asker {
        Asker::Token(who) => tracing::info!(audit = true, token = %who, sent, of, "messages of a search sent again"),
        Asker::User(who) => tracing::info!(audit = true, user = %who, sent, of, "messages of a search sent again"),
    }
}
