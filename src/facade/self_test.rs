//! `$self-test`: whether a subscription would be told of something, tried out (an operation of our own).
//!
//! ```text
//! POST Subscription/[id]/$self-test   → Parameters
//!   result                            whether the endpoint took it
//!   stage*                            match, gate, delivery, as far as it came
//!     name, passed, detail
//! ```
//!
//! What is sent is a notification of event 0, of nobody, with `HTEST` in `meta.security`.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking};
use super::subscriptions::known;
use crate::server::care::{Report, Stage, self_test};
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// At the same time: each may wait for an endpoint.
pub(super) const SELF_TESTS_MAX: usize = 4;

pub(super) async fn run(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    let Ok(_place) = shared.self_tests.try_acquire() else {
        let text = "too many subscriptions are being tested";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", text).retry_after(20));
    };
    let (care, owner) = (Arc::clone(&shared.care), who.to_string());
    let of = Arc::clone(&care);
    let known = blocking(move || known(&of, &who, &id)?.ok_or_else(Problem::not_found)).await?;
    tracing::info!(audit = true, recipient = owner, subscription = known.subscription.id, "subscription tested");
    let report = self_test(care, owner, known.subscription).await.map_err(|error| Problem::internal(&error))?;
    Ok(Resource::found(parameters(&report)))
}

fn parameters(report: &Report) -> Value {
    let stage = |Stage { name, passed, text }: &Stage| {
        let parts = [
            json!({ "name": "name", "valueCode": name }),
            json!({ "name": "passed", "valueBoolean": passed }),
            json!({ "name": "detail", "valueString": text }),
        ];
        json!({ "name": "stage", "part": parts })
    };
    let mut all = vec![json!({ "name": "result", "valueBoolean": report.passed() })];
    all.extend(report.stages.iter().map(stage));
    json!({ "resourceType": "Parameters", "parameter": all })
}
