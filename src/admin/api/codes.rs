//! Codes that no code table has: which, in which messages, and what is to become of them.
//!
//! A code is what a sender put where a code belongs, at most 64 bytes of it; so this needs somebody who operates, not one who only looks. And what does not look like
//! a code may be a patient's: only who may read messages sees that.
use super::super::Shared;
use super::super::credentials::{Need, Role};
use super::super::gate::Who;
use super::super::problem::Problem;
use super::messages::{kind, record};
use super::page::{LIMIT, LIMIT_MAX, bad_query, limit, number};
use super::{blocking, noted, time, view};
use crate::delivery::UNTRANSLATED;
use crate::delivery::resend::{self, Despite, Outlets, ResendError};
use crate::facets::Facets;
use crate::journal::{CODE_MESSAGES_MAX, CodeItem, CodeStanding, DeadLetter, Error, View};
use crate::mapping::finding::masked_code;
use crate::server::{CodeRow, ResolveError, Resolved};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which items.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Page {
    standing: Option<String>,
    after: Option<u64>,
    limit: Option<usize>,
}

/// Which messages of an item.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Messages {
    after: Option<u64>,
    limit: Option<usize>,
}

/// Which messages of an item to send again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Resend {
    after: Option<u64>,
    #[serde(default)]
    anyway: bool,
}

/// What tables are to have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Resolve {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(deserialize_with = "whole")]
    id: u64,
    fhir_code: String,
    #[serde(default)]
    display: String,
    #[serde(default)]
    system: String,
}

/// A whole number from 0; for JSON `7.0` is one as well.
fn whole<'de, D: serde::Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(source)?;
    whole_of(&number).ok_or_else(|| serde::de::Error::custom(format!("{number} is no number of a code")))
}

/// The whole number that a number of JSON is.
pub(super) fn whole_of(number: &serde_json::Number) -> Option<u64> {
    let from_float = || number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..=MANTISSA_MAX).contains(float));
    number.as_u64().or_else(|| from_float().map(|float| float as u64))
}

/// Up to here every whole number is a float of its own.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

/// Rows that are resolved at once.
const ROWS_MAX: usize = 500;
/// Messages are sent again for so long in one answer; the rest is for the next.
pub(super) const RESEND_TIME: Duration = Duration::from_secs(15);

type Id = Result<Path<u64>, PathRejection>;

pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Extension(role): Extension<Role>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(page) = page?;
    let limit = limit(page.limit, LIMIT)?;
    let standing = match page.standing.as_deref().map(|name| (name, CodeStanding::parse(name))) {
        Some((_, None)) => return Err(bad_query("standing is none of open, resolved, dismissed")),
        Some((_, standing)) => standing,
        None => None,
    };
    let after = number(page.after)?;
    let (count, answer) = blocking(move || {
        let view = view(&shared.data)?;
        let found = view.state().codes(standing, after, limit).map_err(failed)?;
        let count = view.state().code_count().map_err(failed)?;
        let full = view.state().codes_full().map_err(failed)?;
        let next = found.last().filter(|_| found.len() == limit).map(|item| item.id);
        let codes: Vec<_> = found.iter().map(|item| shown(item, role)).collect();
        Ok((codes.len(), json!({ "codes": codes, "next": next, "count": count, "full": full })))
    })
    .await?;
    noted!(look = true, token = %who, count, "codes read")?;
    Ok(Json(answer))
}

pub(in super::super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Extension(role): Extension<Role>,
    id: Id,
) -> Result<Json<Value>, Problem> {
    let Path(id) = id?;
    let item = blocking(move || find(&view(&shared.data)?, id)).await?;
    noted!(look = true, token = %who, id, "code read")?;
    Ok(Json(shown(&item, role)))
}

/// The messages that had it, the first of them: what routing knows of each.
pub(in super::super) async fn messages(
    State(shared): State<Arc<Shared>>,
    id: Id,
    page: Result<Query<Messages>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (Path(id), Query(page)) = (id?, page?);
    let (limit, after) = (limit(page.limit, LIMIT)?, number(page.after)?);
    blocking(move || {
        let mut view = view(&shared.data)?;
        let item = find(&view, id)?;
        let seqs = view.state().code_messages(id, after, limit).map_err(failed)?;
        let next = seqs.last().copied().filter(|_| seqs.len() == limit);
        let messages: Vec<_> = seqs
            .into_iter()
            .map(|seq| {
                let record = record(&mut view, seq).ok();
                let at = record.as_ref().and_then(|record| time(Facets::decode(&record.facets)?.received_ms));
                json!({ "seq": seq, "received_at": at, "type": record.as_ref().and_then(kind), "gone": record.is_none() })
            })
            .collect();
        let not_listed = item.count.saturating_sub(CODE_MESSAGES_MAX);
        Ok(Json(json!({ "messages": messages, "next": next, "not_listed": not_listed })))
    })
    .await
}

/// Writes rows into the site folders of the listeners, has them compiled and taken on: all, or none.
pub(in super::super) async fn resolve(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    asked: Result<Json<Resolve>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Resolve { rows }) = asked.map_err(|error| {
        let remedy =
            "send {\"rows\": [{\"id\": 1, \"fhir_code\": \"male\"}]} as application/json; see /api/v1/openapi.json";
        Problem::new(StatusCode::BAD_REQUEST, "bad body", error.body_text(), remedy)
    })?;
    if rows.is_empty() || rows.len() > ROWS_MAX {
        let remedy = "send from 1 to 500 rows at a time";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad body", "no rows, or too many", remedy));
    }
    let data = shared.data.clone();
    let (ids, wanted) = blocking(move || {
        let view = view(&data)?;
        let mut wanted = Vec::new();
        for row in &rows {
            let item = find(&view, row.id)?;
            wanted.push(CodeRow {
                listener: item.listener,
                table: item.table,
                code: item.code,
                fhir: row.fhir_code.clone(),
                display: row.display.clone(),
                system: row.system.clone(),
            });
        }
        Ok((rows.iter().map(|row| row.id).collect::<Vec<_>>(), wanted))
    })
    .await?;
    noted!(token = %who, rows = ids.len(), "codes to be resolved")?;
    // On its own: what was taken on must be settled also where the answer comes too late for whoever asked.
    let done = tokio::spawn(write_rows(shared, who, ids, wanted)).await;
    done.unwrap_or_else(|error| Err(Problem::internal(format!("an answer was not finished: {error}"))))
}

async fn write_rows(
    shared: Arc<Shared>,
    who: Arc<str>,
    ids: Vec<u64>,
    wanted: Vec<CodeRow>,
) -> Result<Json<Value>, Problem> {
    let resolved = settle_with(&shared, &ids, wanted).await?;
    tracing::info!(audit = true, token = %who, rows = ids.len(), "codes resolved");
    let files: Vec<_> = resolved.files.iter().map(|path| path.display().to_string()).collect();
    Ok(Json(json!({ "resolved": ids, "files": files, "mappings_changed": resolved.reload.mappings_changed })))
}

/// Has rows written and taken on, and settles the items that they are for.
pub(crate) async fn settle_with(shared: &Arc<Shared>, ids: &[u64], wanted: Vec<CodeRow>) -> Result<Resolved, Problem> {
    let resolved = shared.control.resolve(wanted).await.ok_or_else(Problem::stopping)?.map_err(unresolved)?;
    let at_ms = jiff::Timestamp::now().as_millisecond();
    let (data, settled) = (shared.data.clone(), ids.to_vec());
    blocking(move || {
        let view = view(&data)?;
        settled
            .iter()
            .try_for_each(|id| view.state().settle_code(*id, CodeStanding::Resolved, at_ms).map(drop))
            .map_err(failed)
    })
    .await?;
    Ok(resolved)
}

pub(crate) fn unresolved(error: ResolveError) -> Problem {
    let (status, title, remedy) = match &error {
        ResolveError::Compile(_) | ResolveError::Row(..) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "wrong rows", "mend the rows and send all of them again")
        }
        ResolveError::Reload(_) => (
            StatusCode::CONFLICT,
            "not taken on",
            "mend the configuration (`handoff check` judges it), then send the rows again",
        ),
        ResolveError::NoSite(_) | ResolveError::NoListener(_) | ResolveError::NoTable { .. } => {
            (StatusCode::CONFLICT, "no place", "change the configuration and reload, or dismiss the code")
        }
        ResolveError::Write { .. } => (
            StatusCode::CONFLICT,
            "cannot be written",
            "let the gateway write to the site's folder, or write the row yourself and reload",
        ),
    };
    Problem::new(status, title, error.to_string(), remedy)
}

/// It is to stay as it is; it is counted, and no longer listed as open.
pub(in super::super) async fn dismiss(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Extension(role): Extension<Role>,
    id: Id,
) -> Result<Json<Value>, Problem> {
    let Path(id) = id?;
    noted!(token = %who, id, "code to be dismissed")?;
    let item = dismiss_one(&shared, id).await?;
    tracing::info!(audit = true, token = %who, id, "code dismissed");
    Ok(Json(shown(&item, role)))
}

/// Says of an item that it is to stay as it is; the item as it is then.
pub(crate) async fn dismiss_one(shared: &Arc<Shared>, id: u64) -> Result<CodeItem, Problem> {
    let data = shared.data.clone();
    blocking(move || {
        let view = view(&data)?;
        find(&view, id)?;
        let at_ms = jiff::Timestamp::now().as_millisecond();
        view.state().settle_code(id, CodeStanding::Dismissed, at_ms).map_err(failed)?;
        find(&view, id)
    })
    .await
}

/// What has come of one message.
enum Again {
    Sent,
    Failed(String),
    Overtaken(String),
    /// The lanes of these routes have it still before them.
    Waiting(Vec<String>),
    Gone,
    Unwanted,
}

/// Translates its messages with the mappings of today and delivers them once more, the oldest first; what does not arrive is a dead letter of its route.
pub(in super::super) async fn resend(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    id: Id,
    asked: Result<Query<Resend>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (Path(id), Query(asked)) = (id?, asked?);
    let after = number(asked.after)?;
    noted!(token = %who, id, "messages of a code to be sent again")?;
    let Resent { sent, results, next } =
        send_messages(&shared, &who, id, Which { after, anyway: asked.anyway, only: None }, RESEND_TIME).await?;
    tracing::info!(audit = true, token = %who, id, sent, "messages of a code sent again");
    let messages: Vec<_> =
        results.into_iter().map(|(seq, result, why)| json!({ "seq": seq, "result": result, "reason": why })).collect();
    Ok(Json(json!({ "sent": sent, "messages": messages, "next": next })))
}

/// What has come of messages of a code.
pub(crate) struct Resent {
    /// How many have arrived.
    pub sent: u64,
    /// Number, result, why, of each.
    pub results: Vec<(u64, &'static str, Option<String>)>,
    /// The last of them, where there are more.
    pub next: Option<u64>,
}

/// Which of its messages, and how.
#[derive(Debug, Default)]
pub(crate) struct Which {
    /// Behind this number.
    pub after: u64,
    /// Also where newer messages of the patient have gone out.
    pub anyway: bool,
    /// These alone.
    pub only: Option<Vec<u64>>,
}

/// Those of some numbers that are messages of a code.
fn of_code(view: &View, id: u64, after: u64, mut only: Vec<u64>) -> Result<Vec<u64>, Problem> {
    only.retain(|seq| *seq > after && i64::try_from(*seq).is_ok());
    only.sort_unstable();
    only.dedup();
    let mut found = Vec::new();
    for seq in only.into_iter().take(LIMIT_MAX - 1) {
        if view.state().code_messages(id, seq - 1, 1).map_err(failed)? == [seq] {
            found.push(seq);
        }
    }
    Ok(found)
}

/// Sends messages of a code once more, the oldest first, for so long at most.
pub(crate) async fn send_messages(
    shared: &Arc<Shared>,
    who: &Arc<str>,
    id: u64,
    Which { after, anyway, only }: Which,
    time: Duration,
) -> Result<Resent, Problem> {
    let outlets = shared.control.outlets_for(who).await.ok_or_else(Problem::stopping)?;
    let Some(claim) = super::letters::Claim::take(shared, "codes", id) else {
        let remedy = "wait for the first to be answered";
        return Err(Problem::new(StatusCode::CONFLICT, "under way", "its messages are being sent just now", remedy));
    };
    let (runtime, data) = (tokio::runtime::Handle::current(), shared.data.clone());
    blocking(move || {
        // Here, as this goes on to its end even if whoever asked has gone.
        let _claim = claim;
        let mut view = view(&data)?;
        find(&view, id)?;
        let began = Instant::now();
        let seqs = match only {
            None => view.state().code_messages(id, after, LIMIT_MAX).map_err(failed)?,
            Some(only) => of_code(&view, id, after, only)?,
        };
        let (mut sent, mut results, mut done) = (0, Vec::new(), None);
        for seq in &seqs {
            if done.is_some() && began.elapsed() > time {
                break;
            }
            let (result, why) = match runtime.block_on(again(&mut view, *seq, &outlets, anyway))? {
                Again::Sent => {
                    sent += 1;
                    ("sent", None)
                }
                Again::Failed(why) => ("failed", Some(why)),
                Again::Overtaken(why) => ("overtaken", Some(why)),
                Again::Waiting(routes) => ("waiting", Some(still_due(&routes))),
                Again::Gone => ("gone", None),
                Again::Unwanted => ("unwanted", None),
            };
            results.push((*seq, result, why));
            done = Some(*seq);
        }
        let all = done == seqs.last().copied() && seqs.len() < LIMIT_MAX;
        Ok(Resent { sent, results, next: done.filter(|_| !all) })
    })
    .await
}

fn still_due(routes: &[String]) -> String {
    format!(
        "{} has not delivered it yet, and will as it was translated when it came; send it once more after that",
        routes.join(", ")
    )
}

/// One message once more, to the routes that take Bundles, want it, and are done with it.
async fn again(view: &mut View, seq: u64, outlets: &Outlets, anyway: bool) -> Result<Again, Problem> {
    let Ok(record) = record(view, seq) else { return Ok(Again::Gone) };
    // What routes take messages as they came has not changed.
    let (mut routes, mut due) = (Vec::new(), Vec::new());
    for options in outlets.routes.iter().filter(|options| options.target.wants_bundle()) {
        match resend::is_due(view.state(), &options.route, seq, &record).map_err(failed)? {
            true => due.push(options.route.name.clone()),
            false => routes.push(options.clone()),
        }
    }
    let (outlets, despite) = (Outlets { routes, ..outlets.clone() }, Despite { newer: anyway, filter: false });
    let at_ms = jiff::Timestamp::now().as_millisecond();
    let letter = DeadLetter { seq, last: seq, at_ms, attempts: 0, reason: String::new() };
    Ok(match resend::letter(view, UNTRANSLATED, &letter, record, &outlets, despite).await {
        Ok(sent) => match sent.into_iter().find_map(|sent| sent.failure.map(|why| format!("{}: {why}", sent.route))) {
            None if due.is_empty() => Again::Sent,
            None => Again::Waiting(due),
            Some(why) => Again::Failed(why),
        },
        Err(ResendError::Overtaken { newer, .. }) => {
            Again::Overtaken(format!("message {newer} of the same patient has gone out since"))
        }
        Err(ResendError::Unknown { .. }) => {
            Again::Overtaken("whether a message of the same patient has gone out since is not known".into())
        }
        Err(ResendError::NoRoute) if due.is_empty() => Again::Unwanted,
        Err(ResendError::NoRoute) => Again::Waiting(due),
        Err(ResendError::Store(error)) => return Err(failed(error)),
        Err(error) => Again::Failed(error.to_string()),
    })
}

/// A code, for somebody who may read messages or may not.
pub(crate) fn code_text(item: &CodeItem, phi: bool) -> Cow<'_, str> {
    if phi { Cow::Borrowed(item.code.as_str()) } else { masked_code(&item.code) }
}

fn shown(item: &CodeItem, role: Role) -> Value {
    let code = code_text(item, role.may(Need::Phi));
    json!({
        "id": item.id,
        "listener": item.listener,
        "feed": item.feed,
        "table": item.table,
        "code": code,
        "count": item.count,
        "first_seen": time(item.seen_ms.0),
        "last_seen": time(item.seen_ms.1),
        "standing": item.standing.name(),
    })
}

/// An item by its number. Blocks.
pub(crate) fn find(view: &View, id: u64) -> Result<CodeItem, Problem> {
    let remedy = "GET /api/v1/codes tells which there are";
    view.state().code(id).map_err(failed)?.ok_or_else(|| Problem::not_found("there is no code of that number", remedy))
}

pub(crate) fn failed(error: Error) -> Problem {
    Problem::internal(error.to_string())
}
