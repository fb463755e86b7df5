//! What is wrong, as the alerts have it: those that are open, and the last that were.
use super::super::Shared;
use super::time;
use crate::alerts::{Alert, Seen};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

pub(in super::super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let seen = shared.alerts.seen();
    let shown = |alerts: &[Alert]| alerts.iter().map(|alert| shown(alert, &seen)).collect::<Vec<_>>();
    Json(json!({
        "looked_at": seen.looked_ms.and_then(time),
        "open": shown(&seen.open),
        "resolved": shown(&seen.resolved),
    }))
}

fn shown(alert: &Alert, seen: &Seen) -> Value {
    json!({
        "id": alert.id,
        "rule": alert.rule,
        "subject": alert.subject,
        "text": alert.text,
        "value": alert.value,
        "since": time(alert.since_ms),
        "resolved_at": alert.resolved_ms.and_then(time),
        "told": {
            "webhook": seen.webhook.then_some(alert.told.name()),
            "email": seen.email.then_some(alert.mailed.name()),
        },
    })
}
