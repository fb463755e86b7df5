//! All messages of a search once more: looked at first, then each as one is that is sent again from its own page ([`super::again`]), the oldest first, for a while at a time.
//!
//! They are a set that does not move: numbers up to a last one, and so many of them; where they are others by then nothing is sent. One that something stands against (a newer message
//! of its patient, the route's filter) is passed over and told. Where a route does not take one, the rest is left for whoever asked to decide.
use super::super::Shared;
use super::super::gate;
use super::super::problem::Problem;
use super::again::{Asker, Wanted, look, meant, names, objection, send};
use super::codes::RESEND_TIME;
use super::letters::{Claim, failed};
use super::page::{LIMIT_MAX, bad_query, limit, number};
use super::{blocking, noted, view};
use crate::delivery::resend::Mappings;
use crate::facets::Outcome;
use crate::search::Filter;
use crate::server::again::Standing;
use crate::server::chosen::{Chosen, MANY_MAX, Pick, PickError, pick};
use crate::server::fate::Became;
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
    /// So many must they be behind `after`.
    pub expected: u64,
    /// What has been done already.
    pub after: u64,
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
}

/// What has come of some of them.
pub(crate) struct Done {
    pub sent: u64,
    /// Number, `sent`, `refused`, `gone` or `failed`, and why not.
    pub results: Vec<(u64, &'static str, Option<String>)>,
    /// The last that was looked at, where there are more, and how many.
    pub next: Option<u64>,
    pub left: u64,
    /// The last of them failed: whether to go on is for whoever asked to say.
    pub stopped: bool,
}

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
    after: Option<u64>,
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
    if asked.dry_run {
        let told = look_at(&shared, chosen).await?;
        return Ok(Json(json!({
            "dry_run": true, "count": told.count, "first": told.first, "last": told.head, "seen": told.seen, "fates": told.fates,
        })));
    }
    let (Some(expected), Some(seen), Some(_)) = (asked.expected, asked.seen, chosen.filter.last) else {
        let remedy = "ask with dry_run=true first, then with its count as expected, its seen and its last";
        return Err(Problem::new(StatusCode::CONFLICT, "not looked at", "nobody has seen which they are", remedy));
    };
    let Asked { overwrite, filtered, .. } = asked;
    let bulk = Bulk { chosen, routes, by, overwrite, filtered, seen, expected, after };
    let Done { sent, results, next, left, stopped } =
        send_all(&shared, Asker::Token(who), bulk, limit, RESEND_TIME).await?;
    let told: Vec<_> =
        results.into_iter().map(|(seq, result, why)| json!({ "seq": seq, "result": result, "reason": why })).collect();
    Ok(Json(
        json!({ "dry_run": false, "sent": sent, "messages": told, "next": next, "left": left, "stopped": stopped }),
    ))
}

/// Which they are, before anything is sent.
pub(crate) async fn look_at(shared: &Arc<Shared>, mut chosen: Chosen) -> Result<Told, Problem> {
    let outlets = shared.control.outlets().await.ok_or_else(Problem::stopping)?;
    let data = shared.data.clone();
    blocking(move || {
        let mut view = view(&data)?;
        let head = view.range().map_err(failed)?.map_or(0, |range| *range.end());
        let head = chosen.filter.last.unwrap_or(u64::MAX).min(head);
        chosen.filter.last = Some(head);
        let seen = view.state().last_resend().map_err(failed)?;
        let picked = pick(&mut view, &outlets.routes, &chosen, 0, true).map_err(unpicked)?;
        let mut fates: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        for (route, status) in picked.iter().flat_map(|pick| &pick.statuses) {
            *fates.entry(route.clone()).or_default().entry(status.name()).or_default() += 1;
        }
        let (first, last) = (picked.first().map(|pick| pick.seq), picked.last().map(|pick| pick.seq));
        Ok(Told { count: picked.len() as u64, first, last, head, seen, fates })
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
    if picked.len() as u64 != bulk.expected {
        let detail = format!("there are {} by now, not as many as were seen", picked.len());
        let remedy = "nothing was sent; look at them again";
        return Err(Problem::new(StatusCode::CONFLICT, "others than expected", detail, remedy));
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
    let began = Instant::now();
    let mut done = Done { sent: 0, results: Vec::new(), next: None, left: 0, stopped: false };
    for pick in picked.iter().take(limit) {
        if !done.results.is_empty() && began.elapsed() > time {
            break;
        }
        let (result, why) = one(shared, asker, bulk, pick.seq).await;
        done.sent += u64::from(result == "sent");
        done.stopped = result == "failed";
        done.results.push((pick.seq, result, why));
        if done.stopped {
            break;
        }
    }
    done.left = (picked.len() - done.results.len()) as u64;
    done.next = done.results.last().map(|(seq, ..)| *seq).filter(|_| done.left > 0);
    done
}

/// What has come of one of them: one that something stands against is passed over, one that has not arrived ends the turn.
async fn one(shared: &Arc<Shared>, asker: &Asker, bulk: &Bulk, seq: u64) -> (&'static str, Option<String>) {
    let Bulk { routes, by, overwrite, filtered, seen, .. } = bulk.clone();
    let mut wanted = Wanted { seq, routes, by, overwrite, filtered, seen: None };
    let told = |problem: &Problem| Some(problem.detail().to_owned());
    let looked = match look(shared, seq).await {
        Ok(looked) => looked,
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => return ("gone", told(&problem)),
        Err(problem) => return ("failed", told(&problem)),
    };
    // Where it has arrived since, it does not go twice; one that was tried and failed has changed nothing.
    let arrived = |route: &String| {
        looked.resends.iter().any(|sent| sent.id > seen && sent.failure.is_none() && sent.reader == *route)
    };
    wanted.routes.retain(|route| !arrived(route));
    if wanted.routes.is_empty() {
        return ("refused", Some("it has been sent again since you looked".into()));
    }
    let prospects = match meant(&looked, &wanted.routes) {
        Ok(prospects) => prospects,
        Err(problem) => return ("failed", told(&problem)),
    };
    if let Some(dropped) = prospects.iter().find(|prospect| prospect.standing == Standing::Dropped) {
        return ("refused", Some(format!("{}: somebody dropped it; its own page sends it", dropped.route)));
    }
    if let Some((route, (why, _))) =
        prospects.iter().find_map(|prospect| Some((&prospect.route, objection(prospect, &wanted)?)))
    {
        return ("refused", Some(format!("{route}: {why}")));
    }
    wanted.seen = Some(looked.resends.first().map_or(0, |sent| sent.id));
    match send(shared, asker.clone(), wanted).await {
        Err(problem) => ("failed", told(&problem)),
        Ok(came) => match came.into_iter().find(|came| came.result != "delivered") {
            None => ("sent", None),
            Some(came) => ("failed", Some(format!("{}: {}", came.route, came.why.unwrap_or_default()))),
        },
    }
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
