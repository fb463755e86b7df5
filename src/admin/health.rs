//! Health, for orchestrators and load balancers: no token, nothing of a patient.
use super::Shared;
use crate::journal::Health;
use crate::server::JournalStatus;
use crate::telemetry::disk_free;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A gateway that does not answer for so long is not ready.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// With less than this much space, a few messages more and the disk is full.
const DISK_FREE_MIN: u64 = 32 << 20;

/// The process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// 200 when messages are taken, 503 with the reasons when not.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let reasons = reasons(&shared).await;
    let (code, status) =
        if reasons.is_empty() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (code, Json(json!({"status": status, "reasons": reasons})))
}

/// Why no messages are taken; empty when they are.
pub(super) async fn reasons(shared: &Shared) -> Vec<String> {
    match timeout(ANSWER_TIMEOUT, shared.control.journal()).await {
        Err(_) => vec!["the gateway does not answer".into()],
        Ok(None) => vec!["the gateway is stopping".into()],
        Ok(Some(journal)) => not_ready(&journal, disk_free(&shared.data)),
    }
}

fn not_ready(journal: &JournalStatus, free: Option<u64>) -> Vec<String> {
    let mut reasons = Vec::new();
    match &journal.health {
        Health::Ready => {}
        Health::Full => reasons.push("the disk is full: no message is taken".to_owned()),
        Health::Failed(_) => reasons.push("the journal has failed: no message is taken until a restart".to_owned()),
    }
    if let Some(free) = free.filter(|free| *free < DISK_FREE_MIN) {
        reasons.push(format!("only {free} bytes are free where the data directory lies"));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Durability;

    #[test]
    fn whatever_keeps_messages_from_being_taken_is_a_reason() {
        let reasons =
            |health, free| not_ready(&JournalStatus { head: 0, health, durability: Durability::Fsync }, free).len();
        assert_eq!((reasons(Health::Ready, None), reasons(Health::Ready, Some(1 << 30))), (0, 0));
        assert_eq!((reasons(Health::Full, Some(0)), reasons(Health::Failed("x".into()), Some(1 << 30))), (2, 1));
        assert_eq!(reasons(Health::Ready, Some(DISK_FREE_MIN - 1)), 1);
    }
}
