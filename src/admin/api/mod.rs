//! `/api/v1`: what operators and other programs ask. `openapi.json` describes it; a test holds it and the router together.
pub(crate) mod again;
pub(super) mod alerts;
pub(crate) mod bulk;
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
use crate::privacy::audit;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use std::path::Path;

/// The description of the API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// Numbers for the audit: `12,11,9`.
pub(crate) fn numbers<N: ToString>(all: impl IntoIterator<Item = N>) -> String {
    all.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// A time as it is written in answers: always to the millisecond, so that texts sort as times do.
pub(crate) fn time(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| format!("{time:.3}"))
}

/// The data directory, looked at as from outside: a reader of its own that holds nobody up. Blocks.
pub(crate) fn view(data: &Path) -> Result<View, Problem> {
    View::open(data).map_err(|error: ViewError| Problem::internal(error.to_string()))
}

/// Notes that somebody looks at something of a patient, or does something that must not go unnoticed; an error, which is answered instead, where that cannot be written down.
macro_rules! noted {
    ($($field:tt)*) => { $crate::admin::api::witnessed(|| tracing::info!(audit = true, $($field)*)) };
}
pub(crate) use noted;

/// The work of [`noted`]. It waits for the disk.
pub(crate) fn witnessed(log: impl FnOnce()) -> Result<(), Problem> {
    let runtime = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    let written = match runtime {
        // Others go on meanwhile.
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| audit::witnessed(log)),
        _ => audit::witnessed(log),
    };
    written.map_err(|unwritten| {
        let detail = format!("{unwritten}, so nothing is shown or sent that must not go unnoticed");
        let remedy = "make room on the disk of the data directory, or see to its folder `access`; what is wrong stands in what the gateway prints";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not noted", detail, remedy).retry_after(5)
    })
}

/// Runs work that blocks; it goes on to its end even if whoever asked has gone.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Problem::internal(format!("an answer was not finished: {error}"))))
}
