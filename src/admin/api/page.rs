//! What queries for pages have in common: how many, from where, and what is said of a wrong one.
use super::super::problem::Problem;
use axum::http::StatusCode;

/// Items of one answer, at most and unless otherwise asked for.
pub(super) const LIMIT_MAX: usize = 500;
pub(super) const LIMIT: usize = 100;

/// How many are asked for.
pub(super) fn limit(asked: Option<usize>, usual: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(usual);
    if (1..=LIMIT_MAX).contains(&limit) { Ok(limit) } else { Err(bad_query("limit is a whole number from 1 to 500")) }
}

/// Those behind this number are asked for.
pub(super) fn number(after: Option<u64>) -> Result<u64, Problem> {
    let after = after.unwrap_or(0);
    if i64::try_from(after).is_ok() { Ok(after) } else { Err(bad_query("after is no `next` of a page")) }
}

pub(super) fn bad_query(detail: &str) -> Problem {
    let remedy = "see /api/v1/openapi.json for the parameters that it takes";
    Problem::new(StatusCode::BAD_REQUEST, "bad query", detail, remedy)
}
