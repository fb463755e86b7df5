//! Metrics as Prometheus asks for them: what has been counted, and the state of the gateway at this moment.
use super::Shared;
use super::problem::Problem;
use crate::journal::Health;
use crate::server::RouteStatus;
use crate::telemetry::{self, Figures, RouteFigures, Usage, disk_free, telemetry};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let journal = shared.control.journal().await.ok_or_else(Problem::stopping)?;
    let listeners = shared.control.listeners().await;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let routes = shared.control.routes().await;
    let figures = Figures {
        listeners: listeners.into_iter().map(|listener| (listener.name, listener.connections)).collect(),
        routes: routes.into_iter().map(|route| figures_of(route, now_ms)).collect(),
        journal_head: journal.head,
        journal_health: health(&journal.health),
        alerts: shared.alerts.seen().open.into_iter().map(|alert| (alert.rule, alert.subject)).collect(),
        disk_free: disk_free(&shared.data),
        usage: Usage::now(),
    };
    Ok(([(header::CONTENT_TYPE, telemetry::MEDIA_TYPE)], telemetry().render(&figures)).into_response())
}

/// The name of a health, in metrics and the API.
pub(super) fn health(health: &Health) -> &'static str {
    match health {
        Health::Ready => "ready",
        Health::Full => "full",
        Health::Failed(_) => "failed",
    }
}

fn figures_of(route: RouteStatus, now_ms: i64) -> RouteFigures {
    RouteFigures {
        received: received(&route),
        state: route.state.name(),
        resting: route.rests.is_some(),
        filtered: route.filtered,
        sent: route.sent,
        dead_letters: route.errored,
        queued: route.queued,
        oldest_seconds: route.oldest_queued_ms.map_or(0.0, |oldest| (now_ms - oldest).max(0) as f64 / 1000.0),
        name: route.name,
    }
}

/// Messages that a route has had before it: what became of them, and those that still wait. One that is sent again it has had before.
pub(crate) fn received(route: &RouteStatus) -> u64 {
    route.filtered + route.sent - route.resent + route.errored + route.queued
}
