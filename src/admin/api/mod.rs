//! `/api/v1`: what operators and other programs ask. `openapi.json` describes it; a test holds it and the router together.
pub(super) mod alerts;
pub(crate) mod codes;
pub(crate) mod letters;
pub(crate) mod loops;
pub(crate) mod many;
pub(crate) mod measures;
pub(crate) mod messages;
mod page;
pub(crate) mod reviews;
pub(crate) mod rosters;
pub(crate) mod routes;
pub(crate) mod status;

use super::problem::Problem;
use crate::journal::{View, ViewError};
use axum::http::header;
use axum::response::IntoResponse;
use std::path::Path;

/// The description of the API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// A time as it is written in answers: always to the millisecond, so that texts sort as times do.
pub(crate) fn time(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| format!("{time:.3}"))
}

/// The data directory, looked at as from outside: a reader of its own that holds nobody up. Blocks.
pub(crate) fn view(data: &Path) -> Result<View, Problem> {
    View::open(data).map_err(|error: ViewError| Problem::internal(error.to_string()))
}

/// Runs work that blocks; it goes on to its end even if whoever asked has gone.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Problem::internal(format!("an answer was not finished: {error}"))))
}
