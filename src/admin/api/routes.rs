//! Starting, pausing and stopping routes; reading the configuration anew.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::status::route;
use crate::server::{ControlError, ReloadError, RouteState};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

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
    // Before it is done: whoever asked may not wait for the answer.
    tracing::info!(audit = true, token = %who, route = name, state = state.name(), "route to be set");
    shared.control.set_route(&name, state).await.map_err(|error| match error {
        ControlError::UnknownRoute(_) => {
            Problem::not_found("the gateway has no route of that name", "GET /api/v1/routes tells which there are")
        }
        ControlError::Stopping => Problem::stopping(),
        ControlError::Failed(why) => Problem::internal(format!("the route cannot be {}: {why}", state.name())),
    })?;
    tracing::info!(audit = true, token = %who, route = name, state = state.name(), "route set");
    let routes = shared.control.routes().await;
    routes.iter().find(|route| route.name == name).map(|found| Json(route(found))).ok_or_else(Problem::stopping)
}

pub(in super::super) async fn reload(State(shared): State<Arc<Shared>>, Extension(Who(who)): Extension<Who>) -> Answer {
    tracing::info!(audit = true, token = %who, "reload asked for");
    let summary = shared.control.reload().await.map_err(|error| {
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
    })?;
    tracing::info!(audit = true, token = %who, "configuration reloaded");
    Ok(Json(json!({
        "routes_added": summary.routes_added,
        "routes_removed": summary.routes_removed,
        "routes_changed": summary.routes_changed,
        "listeners": summary.listeners,
        "mappings_changed": summary.mappings_changed,
    })))
}
