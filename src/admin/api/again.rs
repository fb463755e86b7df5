//! Any message of the journal once more, to routes that are named: looked at first, then sent by the lanes of those routes; a dead letter as a dead letter is.
//!
//! Either nothing is sent, because one of the routes cannot take it or something wants to be said first, or each route tries it once. What has come of it is kept with the
//! message; a failure changes nothing else. The work goes on to its end even if whoever asked has gone.
use super::super::Shared;
use super::super::gate;
use super::super::problem::Problem;
use super::letters::{Claim, failed, is_name};
use super::messages::record;
use super::page::bad_query;
use super::{blocking, noted, view};
use crate::delivery::Undone;
use crate::delivery::resend::{self, Despite, Mappings, Outlets, Prepared, ResendError};
use crate::journal::{Record, SentAgain};
use crate::server::again::{Prospect, Refusal, Standing, prospects};
use crate::server::tally::Cause;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes that one message is sent to at once.
const ROUTES_MAX: usize = 16;

/// Who sends; the audit names a user otherwise than a token.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    Token(Arc<str>),
    User(Arc<str>),
}

impl Asker {
    fn name(&self) -> &Arc<str> {
        let (Asker::Token(name) | Asker::User(name)) = self;
        name
    }
}

/// What is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub seq: u64,
    /// Each once.
    pub routes: Vec<String>,
    pub by: Mappings,
    /// Also where an older state may be put over a newer one.
    pub overwrite: bool,
    /// Also where the route's filter keeps it away.
    pub filtered: bool,
    /// The number of the last time that anything was sent once more, as somebody has seen it, 0 for none: whether this has been since.
    pub seen: Option<u64>,
}

/// What is known before anything is sent.
pub(crate) struct Looked {
    pub record: Record,
    pub prospects: Vec<Prospect>,
    /// The newest first.
    pub resends: Vec<SentAgain>,
}

/// What has come of it on one route.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub route: String,
    /// `delivered`, `failed`, or `refused`: then nothing has gone out.
    pub result: &'static str,
    /// Why not.
    pub why: Option<String>,
    /// What to do.
    pub remedy: Option<&'static str>,
    /// Why not, in a word.
    pub cause: Option<Cause>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Asked {
    /// Names with commas between them.
    routes: String,
    mappings: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    filtered: bool,
    seen: Option<u64>,
}

/// `POST /api/v1/messages/{seq}/resend`
pub(in super::super) async fn resend(
    State(shared): State<Arc<Shared>>,
    Extension(gate::Who(who)): Extension<gate::Who>,
    number: Result<Path<u64>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (Path(seq), Query(asked)) = (number?, asked?);
    let by = Mappings::parse(&asked.mappings).ok_or_else(|| bad_query("mappings is original or current"))?;
    let Asked { routes, overwrite, filtered, seen, dry_run, .. } = asked;
    let routes = names(routes.split(',').map(str::trim).filter(|name| !name.is_empty()))?;
    let wanted = Wanted { seq, routes, by, overwrite, filtered, seen };
    if dry_run {
        let looked = look(&shared, seq).await?;
        let told: Vec<_> =
            meant(&looked, &wanted.routes)?.into_iter().map(|prospect| would(prospect, &wanted)).collect();
        let last = looked.resends.first().map_or(0, |sent| sent.id);
        return Ok(Json(json!({ "seq": seq, "mappings": by.name(), "dry_run": true, "seen": last, "routes": told })));
    }
    let came = send(&shared, Asker::Token(who), wanted).await?;
    let arrived = came.iter().all(|came| came.result == "delivered");
    let told: Vec<_> = came
        .into_iter()
        .map(|came| json!({ "route": came.route, "result": came.result, "reason": came.why, "remedy": came.remedy }))
        .collect();
    Ok(Json(json!({ "seq": seq, "mappings": by.name(), "dry_run": false, "arrived": arrived, "routes": told })))
}

/// Names of routes, each once.
pub(crate) fn names<'n>(given: impl Iterator<Item = &'n str>) -> Result<Vec<String>, Problem> {
    let mut names: Vec<String> = Vec::new();
    for name in given {
        if !is_name(name) {
            return Err(bad_query("routes are names of routes, with commas between them"));
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    match names.len() {
        0 => Err(bad_query("name at least one route")),
        1..=ROUTES_MAX => Ok(names),
        _ => Err(bad_query("that is more than 16 routes")),
    }
}

fn would(prospect: &Prospect, wanted: &Wanted) -> Value {
    let refusal = objection(prospect, wanted);
    json!({
        "route": prospect.route,
        "standing": prospect.standing.name(),
        "later": prospect.later.count,
        "later_last": prospect.later.last,
        "later_cut": prospect.later.cut,
        "result": if refusal.is_none() { "would be sent" } else { "refused" },
        "reason": refusal.as_ref().map(|refusal| &refusal.why),
        "remedy": refusal.as_ref().map(|refusal| refusal.remedy),
    })
}

/// What sending a message once more would mean on every route.
pub(crate) async fn look(shared: &Arc<Shared>, seq: u64) -> Result<Looked, Problem> {
    let outlets = shared.control.outlets().await.ok_or_else(Problem::stopping)?;
    let (statuses, data) = (shared.control.routes().await, shared.data.clone());
    blocking(move || {
        let mut view = view(&data)?;
        let record = record(&mut view, seq)?;
        let prospects = prospects(&mut view, &outlets, &statuses, seq, &record).map_err(failed)?;
        let resends = view.state().resends(seq).map_err(failed)?;
        Ok(Looked { record, prospects, resends })
    })
    .await
}

/// The prospects of routes by their names.
pub(super) fn meant<'l>(looked: &'l Looked, routes: &[String]) -> Result<Vec<&'l Prospect>, Problem> {
    let of = |name: &String| {
        let found = looked.prospects.iter().find(|prospect| prospect.route == *name);
        found.ok_or_else(|| {
            let detail = format!("the gateway has no route {name} that has anything to do with the message");
            Problem::not_found(detail, "GET /api/v1/routes tells which there are")
        })
    };
    routes.iter().map(of).collect()
}

/// Why a message is not sent to a route as it was asked for, and what to do.
pub(crate) fn objection(prospect: &Prospect, wanted: &Wanted) -> Option<Refusal> {
    if let Some(refusal) = &prospect.refusal {
        return Some(refusal.clone());
    }
    if prospect.keeps_away() && !wanted.filtered {
        let why = "the route's filter, or what became of it at intake, keeps it away".to_owned();
        let remedy = "look whether it belongs there; sending it all the same has to be said (filtered)";
        return Some(Refusal { cause: Cause::Filtered, why, remedy });
    }
    if prospect.later.warns() && !wanted.overwrite {
        let why = match (prospect.later.count, prospect.later.cut) {
            (0, _) => {
                "whether messages of the same patient have gone out since is not known: too many came since".to_owned()
            }
            (count, cut) => {
                let (at_least, last) = (if cut { "at least " } else { "" }, prospect.later.last.unwrap_or(0));
                let messages = if count == 1 { "message" } else { "messages" };
                format!(
                    "{at_least}{count} later {messages} of the same patient (the last is {last}) went out on it: this may bring an older state back"
                )
            }
        };
        let remedy = "look at them; sending it all the same has to be said (overwrite)";
        return Some(Refusal { cause: Cause::Overtaken, why, remedy });
    }
    None
}

/// Sends a message once more to every route that is wanted, or to none.
pub(crate) async fn send(shared: &Arc<Shared>, asker: Asker, wanted: Wanted) -> Result<Vec<Came>, Problem> {
    let outlets = shared.control.outlets_for(asker.name()).await.ok_or_else(Problem::stopping)?;
    let outlets = Outlets { by: wanted.by, ..outlets };
    let mut claims = Vec::new();
    for route in &wanted.routes {
        claims.push(Claim::take(shared, route, wanted.seq).ok_or_else(|| {
            let detail = format!(
                "message {} is being sent to {route} just now, by somebody else or by another page",
                wanted.seq
            );
            Problem::new(
                StatusCode::CONFLICT,
                "under way",
                detail,
                "wait for that to be answered, then look at the message",
            )
            .because(Cause::UnderWay)
        })?);
    }
    let shared = Arc::clone(shared);
    let done = tokio::spawn(async move {
        let _claims = claims;
        carry_out(&shared, &asker, &wanted, &outlets).await
    });
    done.await.unwrap_or_else(|error| Err(Problem::internal(format!("an answer was not finished: {error}"))))
}

async fn carry_out(
    shared: &Arc<Shared>,
    asker: &Asker,
    wanted: &Wanted,
    outlets: &Outlets,
) -> Result<Vec<Came>, Problem> {
    let looked = look(shared, wanted.seq).await?;
    let last = looked.resends.first().map_or(0, |sent| sent.id);
    if wanted.seen.is_some_and(|seen| last > seen) {
        let detail = format!("message {} has been sent again since you looked, or tried to be", wanted.seq);
        let remedy = "nothing was sent by you; look at the message, then decide again";
        return Err(Problem::new(StatusCode::CONFLICT, "sent meanwhile", detail, remedy).because(Cause::SentMeanwhile));
    }
    let (record, work) = made(looked, wanted, outlets).await?;
    // Before it is done: whoever asked may not wait for the answer.
    note(asker, wanted)?;
    // All at once: each is another lane. None is broken off because another has failed.
    let mut tasks = Vec::new();
    for (prospect, prepared) in work {
        let (data, outlets, record) = (shared.data.clone(), outlets.clone(), record.clone());
        let (seq, overwrite, route) = (wanted.seq, wanted.overwrite, prospect.route.clone());
        tasks.push(match prepared {
            None => {
                let despite = Despite { newer: overwrite, filter: wanted.filtered };
                (route.clone(), tokio::spawn(letter(data, outlets, record, route, seq, despite)))
            }
            Some(prepared) => (route, tokio::spawn(by_lane(data, outlets, prospect, prepared, overwrite))),
        });
    }
    let mut came: Vec<Came> = Vec::new();
    for (route, task) in tasks {
        let unfinished = |error| Err(Problem::internal(format!("a delivery was not finished: {error}")));
        match task.await.unwrap_or_else(unfinished) {
            Ok(told) => came.extend(told),
            Err(problem) => {
                let (why, remedy) =
                    (Some(problem.detail().to_owned()), Some("look at the message and at the log of the gateway"));
                let gone = problem.status() == StatusCode::NOT_FOUND;
                let cause = Some(if gone { Cause::Gone } else { Cause::Failed });
                came.push(Came { route, result: "failed", why, remedy, cause });
            }
        }
    }
    let place = |came: &Came| wanted.routes.iter().position(|name| *name == came.route);
    came.sort_by_key(place);
    for Came { route, result, .. } in &came {
        note_end(asker, wanted, route, result);
    }
    match came.iter().all(|came| came.result == "refused") {
        true => came.first().map_or(Ok(Vec::new()), |first| {
            let (why, remedy) = (first.why.as_deref().unwrap_or_default(), first.remedy.unwrap_or_default());
            Err(refused(&first.route, why, remedy).because(worst(&came).unwrap_or(Cause::Failed)))
        }),
        false => Ok(came),
    }
}

/// What goes to each route, unless something stands against one of them; a dead letter is made when it is sent.
async fn made(
    looked: Looked,
    wanted: &Wanted,
    outlets: &Outlets,
) -> Result<(Record, Vec<(Prospect, Option<Prepared>)>), Problem> {
    let (wanted, outlets) = (wanted.clone(), outlets.clone());
    blocking(move || {
        let mut work = Vec::new();
        for prospect in meant(&looked, &wanted.routes)? {
            if let Some(Refusal { cause, why, remedy }) = objection(prospect, &wanted) {
                return Err(refused(&prospect.route, &why, remedy).because(cause));
            }
            let prepared = match prospect.standing {
                Standing::DeadLetter => None,
                _ => Some(prepare(&prospect.route, &wanted, &outlets, &looked.record)?),
            };
            work.push((prospect.clone(), prepared));
        }
        Ok((looked.record, work))
    })
    .await
}

/// Of several causes the one that stops, if any does.
pub(super) fn worst(came: &[Came]) -> Option<Cause> {
    let causes = || came.iter().filter_map(|came| came.cause);
    causes().find(|cause| cause.stops()).or_else(|| causes().next())
}

/// One of them cannot be: none is.
fn refused(route: &str, why: &str, remedy: &str) -> Problem {
    let detail = format!("{route}: {why}; nothing was sent");
    Problem::new(StatusCode::CONFLICT, "cannot be sent", detail, remedy)
}

fn note(asker: &Asker, wanted: &Wanted) -> Result<(), Problem> {
    let Wanted { seq, by, overwrite, filtered, .. } = wanted;
    let (routes, mappings) = (wanted.routes.join(","), by.name());
    match asker {
        Asker::Token(who) => {
            noted!(token = %who, seq, routes, mappings, overwrite, filtered, "message to be sent again")
        }
        Asker::User(who) => {
            noted!(user = %who, seq, routes, mappings, overwrite, filtered, "message to be sent again")
        }
    }
}

fn note_end(asker: &Asker, wanted: &Wanted, route: &str, result: &str) {
    let (seq, mappings) = (wanted.seq, wanted.by.name());
    match asker {
        Asker::Token(who) => {
            tracing::info!(audit = true, token = %who, seq, route, mappings, result, "message sent again")
        }
        Asker::User(who) => {
            tracing::info!(audit = true, user = %who, seq, route, mappings, result, "message sent again")
        }
    }
}

/// What goes to a route.
fn prepare(route: &str, wanted: &Wanted, outlets: &Outlets, record: &Record) -> Result<Prepared, Problem> {
    let options = outlets.routes.iter().find(|options| options.route.name == route);
    let options = options.ok_or_else(|| refused(route, "the route was taken away just now", "choose another"))?;
    let made = |bundle| resend::prepare(wanted.seq, record.clone(), &outlets.plans, bundle, wanted.by);
    let prepared = match options.target.wants_bundle() {
        true => made(true),
        // Which patients a message names is asked of its Bundle, where there is one.
        false => made(true).map(Prepared::as_it_came).or_else(|_| made(false)),
    };
    prepared.map_err(|why| {
        let remedy = "mend the mappings, or send it by others";
        refused(route, &format!("there is nothing to send: {why}"), remedy).because(Cause::Unmade)
    })
}

async fn by_lane(
    data: std::path::PathBuf,
    outlets: Outlets,
    prospect: Prospect,
    prepared: Prepared,
    overwrite: bool,
) -> Result<Vec<Came>, Problem> {
    let Prospect { route, since, .. } = prospect;
    let mut fact = prepared.fact(&route, &outlets.who, None);
    let came = match outlets.doors.get(&route) {
        None => Err(Undone::Held("stopped")),
        Some(door) => door.send(prepared.live, (!overwrite).then_some(since)).await,
    };
    let undone = match came {
        Err(undone) if undone.is_refusal() => {
            let (why, remedy, cause) = (Some(undone.to_string()), Some(undone.remedy()), Some(Cause::of_lane(&undone)));
            return Ok(vec![Came { route, result: "refused", why, remedy, cause }]);
        }
        came => came.err(),
    };
    fact.failure = undone.as_ref().map(Undone::to_string);
    let kept = blocking(move || view(&data)?.state().note_resend(&fact).map_err(failed)).await;
    let remedy = undone.as_ref().map(Undone::remedy);
    Ok(vec![match (undone, kept) {
        (None, Ok(())) => Came { route, result: "delivered", why: None, remedy: None, cause: None },
        (None, Err(problem)) => {
            let why = format!("it has arrived, but that could not be written down: {}", problem.detail());
            let remedy = Some("look at the disk of the gateway");
            Came { route, result: "delivered", why: Some(why), remedy, cause: None }
        }
        (Some(undone), _) => {
            let cause = Some(Cause::of_lane(&undone));
            Came { route, result: "failed", why: Some(undone.to_string()), remedy, cause }
        }
    }])
}

/// A dead letter, as it is sent from its own page.
async fn letter(
    data: std::path::PathBuf,
    outlets: Outlets,
    record: Record,
    route: String,
    seq: u64,
    despite: Despite,
) -> Result<Vec<Came>, Problem> {
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let mut view = view(&data)?;
        let letter = super::letters::find(&view, &route, seq)?;
        let sent = runtime.block_on(resend::letter(&mut view, &route, &letter, record, &outlets, despite));
        let remedy = Some("mend what is said, then send it again; it is still a dead letter");
        Ok(match sent {
            Err(ResendError::Store(error)) => return Err(failed(error)),
            Err(why) => {
                let cause = Some(Cause::of_letter(&why));
                vec![Came { route, result: "refused", why: Some(why.to_string()), remedy, cause }]
            }
            Ok(sent) => {
                let told = sent.into_iter().map(|sent| match sent.failure {
                    None => Came { route: sent.route, result: "delivered", why: None, remedy: None, cause: None },
                    Some(why) => {
                        let cause = Some(Cause::of_failure(&why));
                        Came { route: sent.route, result: "failed", why: Some(why), remedy, cause }
                    }
                });
                told.collect()
            }
        })
    })
    .await
}
