//! The measures of a panel: rates by month, quarter and year, and who is behind one. People stand in it by their opaque ids.
//!
//! Whoever may not read messages is told what carries no label; `recipient` shows what that recipient would be told, and never more. Figures of one to ten are `null` and `hidden`.
use super::super::Shared;
use super::super::gate::Who;
use super::super::problem::Problem;
use super::page::{LIMIT, bad_query, limit};
use super::rosters::care;
use super::{blocking, noted, time};
use crate::admin::credentials::{Need, Role};
use crate::coordination::PersonKey;
use crate::coordination::measures::period::{date_of, day_of, month_text, parse_month};
use crate::coordination::measures::{Definition, Page, Rate, Someone, Span};
use crate::server::care::{Asked, Behind, MeasureError, Measured, Rates, state_of};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Which rates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wanted {
    from: Option<String>,
    to: Option<String>,
    measure: Option<String>,
    recipient: Option<String>,
}

/// Which people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct WantedPeople {
    from: Option<String>,
    to: Option<String>,
    recipient: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

fn month(text: Option<&String>) -> Result<Option<i32>, Problem> {
    let parse = |text: &String| parse_month(text).ok_or_else(|| bad_query("from and to are months such as 2026-03"));
    text.map(parse).transpose()
}

pub(crate) fn refused(error: MeasureError) -> Problem {
    match error {
        MeasureError::NoPanel => {
            Problem::not_found(error.to_string(), "GET /api/v1/rosters tells which panels there are")
        }
        MeasureError::NoRecipient => {
            Problem::not_found(error.to_string(), "name one of [[coordination.recipient]] that has the panel")
        }
        MeasureError::NoMeasure => {
            Problem::not_found(error.to_string(), "GET /api/v1/panels/{id}/measures tells which there are")
        }
        MeasureError::Months => {
            Problem::new(StatusCode::BAD_REQUEST, "bad query", error.to_string(), "ask for at most the last 24 months")
        }
        error => Problem::internal(error.to_string()),
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

pub(in super::super) async fn rates(
    State(shared): State<Arc<Shared>>,
    Extension(role): Extension<Role>,
    panel: Result<Path<String>, PathRejection>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (Path(panel), Query(wanted)) = (panel?, wanted?);
    let months = (month(wanted.from.as_ref())?, month(wanted.to.as_ref())?);
    let care = care(&shared).await?;
    blocking(move || {
        let asked = Asked {
            panel: &panel,
            measure: wanted.measure.as_deref(),
            months,
            everything: role.may(Need::Phi),
            recipient: wanted.recipient.as_deref(),
            now_ms: now_ms(),
        };
        let measured = care.measured(&asked).map_err(refused)?;
        Ok(Json(shown(&panel, &measured)))
    })
    .await
}

pub(in super::super) async fn people(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Extension(role): Extension<Role>,
    path: Result<Path<(String, String)>, PathRejection>,
    wanted: Result<Query<WantedPeople>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let (Path((panel, measure)), Query(wanted)) = (path?, wanted?);
    let months = (month(wanted.from.as_ref())?, month(wanted.to.as_ref())?);
    let after = wanted.after.as_deref().map(parse_after).transpose()?;
    let most = limit(wanted.limit, LIMIT)?;
    let care = care(&shared).await?;
    blocking(move || {
        let asked = Asked {
            panel: &panel,
            measure: Some(&measure),
            months,
            everything: role.may(Need::Phi),
            recipient: wanted.recipient.as_deref(),
            now_ms: now_ms(),
        };
        let behind = care.behind(&asked, Page { after, most }).map_err(refused)?;
        let people = behind.people.iter().map(|one| one.person.to_string()).collect::<Vec<_>>().join(" ");
        let (from, to) = (month_text(behind.months.0), month_text(behind.months.1));
        let (recipient, after) = (wanted.recipient.unwrap_or_default(), wanted.after.unwrap_or_default());
        noted!(look = true, token = %who, panel, measure, from, to, after, recipient, people, "people behind a measure read")?;
        Ok(Json(listed(&panel, &behind)))
    })
    .await
}

/// `2026-03-05.UUID`: behind whom the next page begins.
pub(crate) fn after_text((day, person): (i32, PersonKey)) -> String {
    format!("{}.{person}", date_of(day))
}

pub(crate) fn parse_after(text: &str) -> Result<(i32, PersonKey), Problem> {
    let parsed =
        text.split_once('.').and_then(|(day, person)| Some((day_of(day.parse().ok()?), PersonKey::parse(person)?)));
    // A page that there is not, however it is written.
    parsed.ok_or_else(|| Problem::not_found("after is no `next` of a page", "begin with the first page, without after"))
}

fn shown(panel: &str, measured: &Measured) -> Value {
    let (from, to) = measured.months;
    json!({
        "panel": panel,
        "from": month_text(from),
        "to": month_text(to),
        "as_of": date_of(measured.as_of).to_string(),
        "use": "operational, not for submission",
        "measures": measured.rates.iter().map(measure).collect::<Vec<_>>(),
    })
}

fn measure(rates: &Rates) -> Value {
    let Definition { id, title, rate, lower_is_better, .. } = &rates.definition;
    json!({
        "id": id,
        "title": title,
        "rate": if *rate == Rate::Share { "percent" } else { "per-1000-a-year" },
        "lower_is_better": lower_is_better,
        "days": rates.definition.days(),
        "series": rates.spans.iter().map(|one| span(one, *rate)).collect::<Vec<_>>(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of people are small")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1000.0).round() / 1000.0)
}

/// A rate in percent or by thousand.
#[expect(clippy::cast_precision_loss, reason = "rates are small")]
pub(crate) fn rate_of(span: &Span, rate: Rate) -> Option<f64> {
    span.shown.rate(rate).map(|rate| (rate as f64 / 100.0).round() / 10.0)
}

fn span(span: &Span, rate: Rate) -> Value {
    let figures = &span.shown;
    let (events, unknown, suspect) = span.events;
    let hidden =
        span.complete && !span.lost && (figures.denominator.is_none() || (figures.numerator.is_none() && span.known));
    json!({
        "period": span.name,
        "complete": span.complete,
        "observable": span.observed.name(),
        "denominator": figures.denominator,
        "numerator": figures.numerator,
        "rate": rate_of(span, rate),
        "hidden": hidden,
        "inferred": figures.inferred,
        "late": figures.late,
        "excluded": figures.excluded,
        "pending": figures.pending,
        "pending_met": figures.pending_met,
        "unmatched_share": share(unknown, events),
        "time_suspect_share": share(suspect, events),
    })
}

fn listed(panel: &str, behind: &Behind) -> Value {
    let (from, to) = behind.months;
    let someone = |one: &Someone| {
        json!({
            "person": one.person.to_string(),
            "state": state_of(&behind.definition, one, behind.as_of),
            "facility": one.facility,
            "counted_in_at": time(one.at_ms),
            "counted_in_on": date_of(one.day).to_string(),
            "due_on": date_of(one.due_day).to_string(),
            "closed_at": one.closed_ms.and_then(time),
        })
    };
    json!({
        "panel": panel,
        "measure": behind.definition.id,
        "from": month_text(from),
        "to": month_text(to),
        "people": behind.people.iter().map(someone).collect::<Vec<_>>(),
        "next": behind.next.map(after_text),
    })
}
