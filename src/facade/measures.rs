//! Measures: what they are, and the rates of the caller's panels as the caller may know of them. A report is made when it is read; its id says of what it is.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking, searchset};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::measures::period::parse_month;
use crate::coordination::measures::{Report, is_of_panel, measure, report};
use crate::server::care::{Asked, MeasureError, Shared as Care};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// By what reports are searched.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    subject: String,
    period: String,
}

/// The months of `2026-03`, `2026-Q1` or `2026`.
fn months(period: &str) -> Option<(i32, i32)> {
    if let Some(month) = parse_month(period) {
        return Some((month, month));
    }
    let (year, quarter) = match period.split_once("-Q") {
        Some((year, quarter)) => (year, Some(quarter.parse::<i32>().ok().filter(|quarter| (1..=4).contains(quarter))?)),
        None => (period, None),
    };
    let january = parse_month(&format!("{year}-01"))?;
    Some(quarter.map_or((january, january + 11), |quarter| (january + quarter * 3 - 3, january + quarter * 3 - 1)))
}

/// The reports of a panel of the recipient and a period: of one measure, or of all.
fn reports(care: &Care, who: &str, (panel, of, period): (&str, Option<&str>, &str)) -> Result<Vec<Value>, Problem> {
    let recipient = recipient(care, who)?;
    let panel = recipient.panels.iter().find(|own| is_of_panel(panel, own)).ok_or_else(Problem::not_found)?.as_str();
    let (first, last) = months(period).ok_or_else(Problem::not_found)?;
    let asked = Asked {
        panel,
        measure: of,
        months: (Some(first), Some(last)),
        everything: true,
        recipient: Some(who),
        now_ms: now_ms(),
    };
    let measured = care.measured(&asked).map_err(|error| match error {
        MeasureError::NoPanel | MeasureError::NoMeasure | MeasureError::NoRecipient | MeasureError::Months => {
            Problem::not_found()
        }
        error => Problem::internal(&error),
    })?;
    let base = care.topics.base();
    let of = |rates: &crate::server::care::Rates| {
        let span = rates.spans.iter().find(|span| span.name == period)?;
        Some(report(&Report { base, panel, definition: &rates.definition, span, as_of: measured.as_of }))
    };
    Ok(measured.rates.iter().filter_map(of).collect())
}

pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let care = &shared.care;
        // Names of panels have dots too; measures and periods have none.
        let mut parts = id.rsplitn(3, '.');
        let (Some(period), Some(of), Some(panel)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Problem::not_found());
        };
        let found = reports(care, &who, (panel, Some(of), period))?.pop();
        Ok(Resource::found(found.ok_or_else(Problem::not_found)?))
    })
    .await
}

pub(super) async fn search(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    asked: Result<Query<Search>, QueryRejection>,
) -> Result<Resource, Problem> {
    let text =
        "MeasureReport is searched by subject, a Group, and period: a month 2026-03, a quarter 2026-Q1 or a year 2026";
    let Query(asked) = asked.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", text))?;
    blocking(move || {
        let care = &shared.care;
        let panel = asked.subject.strip_prefix("Group/").unwrap_or(&asked.subject);
        let base = care.options.subscriptions.base().trim_end_matches('/');
        let entry = |report: Value| {
            let url = format!("{base}/MeasureReport/{}", report["id"].as_str().unwrap_or_default());
            json!({ "fullUrl": url, "resource": report, "search": { "mode": "match" } })
        };
        let found = reports(care, &who, (panel, None, &asked.period))?;
        Ok(Resource::found(searchset(found.into_iter().map(entry).collect())))
    })
    .await
}

pub(super) async fn definition(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Resource, Problem> {
    let care = &shared.care;
    let found = care.options.measures.definitions.iter().find(|one| one.id == id).ok_or_else(Problem::not_found)?;
    Ok(Resource::found(measure(found, care.topics.base())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::measures::report_id;

    #[test]
    fn periods() {
        let january = parse_month("2026-01").unwrap();
        assert_eq!(months("2026-03"), Some((january + 2, january + 2)));
        assert_eq!((months("2026-Q1"), months("2026")), (Some((january, january + 2)), Some((january, january + 11))));
        assert_eq!(["", "2026-Q5", "2026-Q", "26", "2026-13", "x-Q1"].map(months), [None; 6]);
        assert_eq!(report_id("a.b", "visit-7", "2026-Q1"), "a.b.visit-7.2026-Q1");
        let (long, most) = ("p".repeat(64), "m".repeat(40));
        let id = report_id(&long, &most, "2026-Q1");
        assert!(id.len() <= 64 && is_of_panel(id.split('.').next().unwrap(), &long), "{id}");
        assert!(!is_of_panel(id.split('.').next().unwrap(), "other") && is_of_panel("a", "a"));
    }
}
