//! How the gateway, its listeners and its routes are.
use super::super::metrics::{health, received};
use super::super::problem::Problem;
use super::super::{Held, Shared, health as readiness};
use super::{blocking, time, view};
use crate::journal::Health;
use crate::server::{JournalStatus, ListenerStatus, RouteStatus};
use crate::telemetry::{Usage, disk_free};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// The gateway at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub journal: JournalStatus,
    pub listeners: Vec<ListenerStatus>,
    pub routes: Vec<RouteStatus>,
    /// Why no messages are taken; empty when they are.
    pub reasons: Vec<String>,
    /// Dead letters, also of what is no route any more, or never was.
    pub letters: BTreeMap<String, u64>,
    /// Who has paused or stopped routes, where that is known.
    pub held: BTreeMap<String, Held>,
    pub disk_free: Option<u64>,
}

/// Looks at all of it.
pub(crate) async fn look(shared: &Arc<Shared>) -> Result<Sight, Problem> {
    let journal = shared.control.journal().await.ok_or_else(Problem::stopping)?;
    let (listeners, routes) = (shared.control.listeners().await, shared.control.routes().await);
    let reasons = readiness::reasons(shared).await;
    let data = shared.data.clone();
    let letters = blocking(move || {
        view(&data)?.state().dead_letter_counts().map_err(|error| Problem::internal(error.to_string()))
    })
    .await?;
    let held = shared.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Sight { journal, listeners, routes, reasons, letters, held, disk_free: disk_free(&shared.data) })
}

pub(in super::super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let usage = Usage::now();
    let Sight { journal, listeners, routes, reasons, letters, disk_free, .. } = look(&shared).await?;
    let failure = match &journal.health {
        Health::Failed(why) => Some(why.clone()),
        Health::Ready | Health::Full => None,
    };
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": shared.started.to_string(),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "journal": {
            "head": journal.head,
            "health": health(&journal.health),
            "failure": failure,
            "durability": journal.durability.name(),
        },
        "disk_free_bytes": disk_free,
        "listeners": listeners.len(),
        "routes": routes.len(),
        "received": listeners.iter().map(|listener| listener.received).sum::<u64>(),
        "dead_letters": letters,
        "queued": routes.iter().map(|route| route.queued).sum::<u64>(),
        "process": {
            "cpu_seconds": usage.cpu_seconds,
            "resident_bytes": usage.resident_bytes,
            "open_files": usage.open_files,
        },
    })))
}

pub(in super::super) async fn listeners(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let listeners: Vec<_> = shared
        .control
        .listeners()
        .await
        .into_iter()
        .map(|listener| {
            json!({
                "name": listener.name,
                "kind": listener.kind,
                "address": listener.address,
                "tls": listener.tls,
                "connections": listener.connections,
                "received": listener.received,
                "last_received_at": listener.last_received_ms.and_then(time),
            })
        })
        .collect();
    Json(json!({ "listeners": listeners }))
}

pub(in super::super) async fn routes(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let routes: Vec<_> = shared.control.routes().await.iter().map(route).collect();
    Json(json!({ "routes": routes }))
}

pub(super) fn route(route: &RouteStatus) -> Value {
    json!({
        "name": route.name,
        "kind": route.kind,
        "state": route.state.name(),
        "resting": route.rests,
        "received": received(route),
        "filtered": route.filtered,
        "queued": route.queued,
        "sent": route.sent,
        "resent": route.resent,
        "errored": route.errored,
        "dead_letters": route.dead_letters,
        "failed_attempts": route.failed,
        "last_sent_at": route.last_sent_ms.and_then(time),
        "oldest_queued_at": route.oldest_queued_ms.and_then(time),
    })
}
