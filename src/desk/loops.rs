//! The worklist: what should have happened for somebody and has not, the oldest first, and whom that leads to.
use super::fault::Fault;
use super::parts::{Tone, span, state, time};
use super::session::Session;
use super::shell::{self, Tab};
use super::{Desk, people};
use crate::admin::api::loops::database;
use crate::admin::api::{blocking, noted, numbers};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::coordination::care_team::Route;
use crate::coordination::loops::{Loop, State as LoopState, Step, StepState, worklist};
use crate::coordination::roster::Snapshot;
use crate::coordination::work::responsible;
use crate::server::care::Shared as Care;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which loops.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    panel: String,
    state: String,
    after: u32,
}

/// Loops on a page.
const PAGE: usize = 50;
const TITLE: &str = "Open loops";

type Row = (Loop, BTreeMap<String, Vec<Route>>);

/// `GET /loops`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let Some(care) = people::care(&desk).await? else {
        let what =
            "What should happen for a patient, such as a visit within a week of a discharge, and has not, stands here.";
        return Ok(people::without(&session, TITLE, Tab::Loops, what));
    };
    let panels: Vec<String> = care.rosters.panels().iter().map(|panel| panel.id.clone()).collect();
    let panel = panels.iter().find(|panel| **panel == asked.panel).or(panels.first()).cloned().unwrap_or_default();
    let wanted = LoopState::parse(&asked.state).unwrap_or(LoopState::Overdue);
    let (named, after) = (panel.clone(), i64::from(asked.after));
    let rows = blocking(move || read(&desk, &named, wanted, after)).await?;
    if session.may(Need::Phi) {
        let loops = numbers(rows.iter().map(|(one, _)| one.number));
        noted!(look = true, user = %session.who, loops, "loops read")?;
    }
    let content = html! {
        h1 { (TITLE) }
        form.bar method="get" action="/loops" {
            label { "Panel" select name="panel" { @for one in &panels { option value=(one) selected[*one == panel] { (one) } } } }
            label { "State" select name="state" { @for one in LoopState::ALL { option value=(one.name()) selected[one == wanted] { (one.name()) } } } }
            button type="submit" { "Show" }
        }
        @if rows.is_empty() {
            div.empty { p { "No loop of " (panel) " is " (wanted.name()) "." } @if asked.after == 0 && wanted == LoopState::Overdue { p { "Nobody has fallen through the cracks." } } }
        } @else { (table(&session, &care, &rows)) }
        @if let Some((last, _)) = rows.last().filter(|_| rows.len() == PAGE) {
            a.button href=(format!("/loops?panel={panel}&state={}&after={}", wanted.name(), last.number)) { "Next page" }
        }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::Loops, content).into_string()).into_response())
}

fn read(desk: &Desk, panel: &str, wanted: LoopState, after: i64) -> Result<Vec<Row>, Problem> {
    let Some(connection) = database(&desk.admin.data)? else { return Ok(Vec::new()) };
    let failed = |error: rusqlite::Error| Problem::internal(error.to_string());
    let found = worklist(&connection, panel, wanted, after, PAGE).map_err(failed)?;
    let with = |found: Loop| Ok((responsible::of_loop(&connection, found.number).map_err(failed)?, found));
    let rows: Result<Vec<_>, Problem> = found.into_iter().map(with).collect();
    Ok(rows?.into_iter().map(|(routes, found)| (found, routes)).collect())
}

fn table(session: &Session, care: &Care, rows: &[Row]) -> Markup {
    let (snapshot, now_ms) = (care.rosters.current(), jiff::Timestamp::now().as_millisecond());
    html! {
        div.scroll tabindex="0" role="region" aria-label=(TITLE) {
            table data-rows {
                thead { tr { th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Since" } th scope="col" { "Steps" } th scope="col" { "Leads to" } } }
                tbody { @for (found, routes) in rows { (row(session, &snapshot, found, routes, now_ms)) } }
            }
        }
    }
}

fn row(
    session: &Session,
    snapshot: &Snapshot,
    found: &Loop,
    routes: &BTreeMap<String, Vec<Route>>,
    now_ms: i64,
) -> Markup {
    html! {
        tr {
            th scope="row" { (people::person(session, &found.person, snapshot)) }
            td { (found.definition) @if !found.facts.facility.is_empty() { div.soft { (found.facts.facility) } } }
            td { (time(found.opened_ms)) }
            td.steps { @for one in &found.steps { (step(one, now_ms)) } }
            td { @for route in routes.values().flatten() { div { (leads_to(route)) } } @if routes.is_empty() { span.none { "—" } } }
        }
    }
}

fn step(step: &Step, now_ms: i64) -> Markup {
    let tone = match step.state {
        StepState::Of(LoopState::Overdue) => Tone::Bad,
        StepState::Of(LoopState::Met) => Tone::Good,
        StepState::Of(LoopState::MetLate | LoopState::Expired) => Tone::Warn,
        _ => Tone::Still,
    };
    let closed = step.closed.as_ref().filter(|_| step.state.is_met());
    html! {
        div {
            (state(tone, step.state.name())) " " (step.id)
            @if let Some(closed) = closed {
                span.soft { ", " (time(closed.event_ms)) @if closed.inferred { ", inferred" } }
            } @else if let Some(due_ms) = step.due_ms.filter(|_| step.state.is_open()) {
                @let seconds = (due_ms - now_ms).unsigned_abs() / 1000;
                span.soft { @if due_ms < now_ms { ", due " (span(seconds)) " ago" } @else { ", due in " (span(seconds)) } }
            }
        }
    }
}

fn leads_to(route: &Route) -> Markup {
    match route {
        Route::Recipient { role, member, .. } => html! { (role) " " code { (member.number) } },
        Route::Organization { facility, npi } => html! { (facility) " " code { (npi) } },
        Route::PanelOwner { panel, npi } => html! { "owner of " (panel) " " code { (npi) } },
        Route::Unroutable { to } => html! { (state(Tone::Bad, "nobody")) " for " (to) },
    }
}
