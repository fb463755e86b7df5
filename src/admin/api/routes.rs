//! Starting, pausing and stopping routes; reading the configuration anew.
use super::super::gate::Who;
use super::super::problem::Problem;
use super::super::{Held, Shared};
use super::messages::{kind, record};
use super::status::route;
use super::{noted, view};
use crate::facets::Facets;
use crate::server::{ControlError, ReloadError, ReloadSummary, RouteState, RouteStatus};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::path::Path as File;
use std::sync::{Arc, PoisonError};

type Name = Result<Path<String>, PathRejection>;
type Answer = Result<Json<Value>, Problem>;

pub(in super::super) async fn start(shared: State<Arc<Shared>>, who: Extension<Who>, name: Name) -> Answer {
    set(shared, who, name, RouteState::Started).await
}

pub(in super::super) async fn pause(shared: State<Arc<Shared>>, who: Extension<Who>, name: Name) -> Answer {
    set(shared, who, name, RouteState::Paused).await
}

pub(in super::super) async fn stop(shared: State<Arc<Shared>>, who: Extension<Who>, name: Name) -> Answer {
    set(shared, who, name, RouteState::Stopped).await
}

/// The route as it is then.
async fn set(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    name: Name,
    state: RouteState,
) -> Answer {
    let Path(name) = name?;
    super::letters::named(&name)?;
    // Before it is done: whoever asked may not wait for the answer.
    noted!(token = %who, route = name, state = state.name(), "route to be set")?;
    let found = set_by(&shared, &who, &name, state).await?;
    tracing::info!(audit = true, token = %who, route = name, state = state.name(), "route set");
    Ok(Json(route(&found)))
}

/// Starts, pauses or stops a route, and remembers who did; the route as it is then.
pub(crate) async fn set_by(
    shared: &Shared,
    who: &Arc<str>,
    name: &str,
    state: RouteState,
) -> Result<RouteStatus, Problem> {
    shared.control.set_route(name, state).await.map_err(|error| match error {
        ControlError::UnknownRoute(_) => {
            Problem::not_found("the gateway has no route of that name", "GET /api/v1/routes tells which there are")
        }
        ControlError::Stopping => Problem::stopping(),
        ControlError::Failed(why) => Problem::internal(format!("the route cannot be {}: {why}", state.name())),
    })?;
    note(shared, who, name, state);
    let routes = shared.control.routes().await;
    routes.into_iter().find(|route| route.name == name).ok_or_else(Problem::stopping)
}

fn note(shared: &Shared, who: &Arc<str>, name: &str, state: RouteState) {
    let held = Held { who: Arc::clone(who), at_ms: jiff::Timestamp::now().as_millisecond() };
    let mut all = shared.held.lock().unwrap_or_else(PoisonError::into_inner);
    match state {
        RouteState::Started => _ = all.remove(name),
        RouteState::Paused | RouteState::Stopped => _ = all.insert(name.to_owned(), held),
    }
}

pub(in super::super) async fn reload(State(shared): State<Arc<Shared>>, Extension(Who(who)): Extension<Who>) -> Answer {
    tracing::info!(audit = true, token = %who, "reload asked for");
    let summary = reread(&shared).await?;
    tracing::info!(audit = true, token = %who, "configuration reloaded");
    Ok(Json(json!({
        "routes_added": summary.routes_added,
        "routes_removed": summary.routes_removed,
        "routes_changed": summary.routes_changed,
        "listeners": summary.listeners,
        "mappings_changed": summary.mappings_changed,
    })))
}

/// Reads the configuration anew.
pub(crate) async fn reread(shared: &Shared) -> Result<ReloadSummary, Problem> {
    shared.control.reload().await.map_err(|error| {
        let remedy = "nothing has changed; mend the configuration and ask again (`handoff check` judges it first)";
        match &error {
            ReloadError::Wrong(_) => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong configuration", error.to_string(), remedy)
            }
            ReloadError::Restart(_) => {
                let remedy = "nothing has changed; restart the gateway for this";
                Problem::new(StatusCode::CONFLICT, "needs a restart", error.to_string(), remedy)
            }
            ReloadError::Stopping => Problem::stopping(),
        }
    })
}

/// A message that waits for a route, and nothing of what it says.
pub(crate) struct Waiting {
    pub seq: u64,
    /// `ADT^A01`
    pub kind: Option<String>,
    pub listener: String,
    pub received_ms: Option<i64>,
    /// Attempts that failed, and when the first did.
    pub tried: Option<(u32, i64)>,
}

/// What waits for a route, as the state database knows it.
pub(crate) struct Waits {
    /// The oldest.
    pub oldest: Vec<Waiting>,
    /// Messages that have failed and are tried again; those behind them that must keep their order wait with them.
    pub failing: usize,
}

/// The oldest messages that wait for a route, of those up to `head`. Blocks.
pub(crate) fn waits(data: &File, route: &str, head: u64, most: usize) -> Result<Waits, Problem> {
    let mut view = view(data)?;
    let position = view.state().position(route).map_err(|error| Problem::internal(error.to_string()))?;
    let Some(position) = position else { return Ok(Waits { oldest: Vec::new(), failing: 0 }) };
    let numbers: Vec<u64> = position.waiting.iter().copied().chain(position.ahead..=head).take(most).collect();
    let oldest = numbers.into_iter().map(|seq| {
        // One that cannot be read waits nevertheless.
        let record = record(&mut view, seq).ok();
        let facets = record.as_ref().and_then(|record| Facets::decode(&record.facets));
        let tried = position.tried.iter().find(|tried| tried.seq == seq);
        Waiting {
            seq,
            kind: record.as_ref().and_then(kind),
            listener: facets
                .as_ref()
                .map(|facets| String::from_utf8_lossy(facets.listener).into_owned())
                .unwrap_or_default(),
            received_ms: facets.map(|facets| facets.received_ms),
            tried: tried.map(|tried| (tried.attempts, tried.since_ms)),
        }
    });
    Ok(Waits { oldest: oldest.collect(), failing: position.tried.len() })
}
