//! Rosters: how each stands, what a new one would change, and the approval or rejection of one that is held.
use super::fault::Fault;
use super::parts::{Tone, count, span, state, time, time_if};
use super::session::Session;
use super::shell::{self, Tab};
use super::{Desk, people};
use crate::admin::api::rosters::refused;
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::coordination::roster::kept;
use crate::server::care::{PanelState, PanelStatus};
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// The roster that was looked at.
#[derive(Deserialize)]
pub(super) struct Approval {
    sha256: String,
}

const TITLE: &str = "Rosters";

/// `GET /rosters`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Fault> {
    let Some(care) = people::care(&desk).await? else {
        let what = "Rosters say whose patients people are: of an ACO, a medical home, a home-health agency.";
        return Ok(people::without(&session, TITLE, Tab::Rosters, what));
    };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let panels = blocking(move || Ok(care.panel_statuses(now_ms))).await?;
    let content = html! {
        div.bar {
            h1 { (TITLE) }
            @if session.may(Need::Operate) {
                form.end method="post" action="/rosters/reload" { (shell::csrf(&session)) button type="submit" { "Read the files anew" } }
            }
        }
        @if panels.is_empty() { div.empty { p { "No panel is configured: " code { "[[coordination.panel]]" } " names one and its roster." } } }
        @for panel in &panels { (card(&session, panel, now_ms)) }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::Rosters, content).into_string()).into_response())
}

fn card(session: &Session, panel: &PanelStatus, now_ms: i64) -> Markup {
    let (tone, word) = match panel.state {
        PanelState::Accepted => (Tone::Good, "in force"),
        PanelState::Held => (Tone::Warn, "held"),
        PanelState::Refused => (Tone::Bad, "refused"),
        PanelState::Rejected => (Tone::Still, "rejected"),
    };
    let [added, dropped, changed] = panel.changes;
    html! {
        section.card aria-labelledby=(format!("panel-{}", panel.panel)) {
            h2 id=(format!("panel-{}", panel.panel)) { (panel.panel) " " (state(tone, word)) " " span.soft { (panel.kind) } }
            @if let Some(why) = &panel.why { p.note { (why) } }
            @for warning in panel.stale.iter().chain(&panel.warnings) { p.note { (warning) } }
            dl.facts {
                dt { "Members" } dd { (count(panel.members as u64)) ", " (count(panel.attributed as u64)) " of them attributed on the day it was read" }
                dt { "Rows" } dd { (count(panel.rows.0 as u64)) " read" @if panel.rows.1 > 0 { ", " strong { (count(panel.rows.1 as u64)) " not usable" } } }
                dt { @if matches!(panel.state, PanelState::Held | PanelState::Rejected) { "Would change" } @else { "Changed" } }
                dd { (count(added as u64)) " added, " (count(dropped as u64)) " dropped, " (count(changed as u64)) " different" }
                dt { "Read" } dd { (time(panel.read_ms)) }
                @if let Some(file_ms) = panel.file_ms {
                    dt { "Newest file" } dd { (time(file_ms)) span.soft { ", " (span((now_ms - file_ms).max(0).unsigned_abs() / 1000)) " ago" } }
                }
                dt { "In force since" } dd { (time_if(panel.in_force.as_ref().map(|(_, since_ms)| *since_ms))) }
                @if let Some(sha256) = &panel.sha256 { dt { "Files" } dd { code { (sha256.get(..16).unwrap_or(sha256)) "…" } } }
            }
            @if let (PanelState::Held | PanelState::Rejected, true, Some(sha256)) = (panel.state, session.may(Need::Operate), &panel.sha256) {
                form.confirm method="post" action=(format!("/rosters/{}/approve", panel.panel)) {
                    (shell::csrf(session))
                    input type="hidden" name="sha256" value=(sha256);
                    label.tick { input type="checkbox" required; "I have looked at it: " (count(dropped as u64)) " members go, " (count(added as u64)) " come" }
                    button.primary type="submit" { @if panel.state == PanelState::Held { "Approve this roster" } @else { "Approve it after all" } }
                }
                @if panel.state == PanelState::Held {
                    form.confirm method="post" action=(format!("/rosters/{}/reject", panel.panel)) {
                        (shell::csrf(session))
                        input type="hidden" name="sha256" value=(sha256);
                        p.soft { "Rejected, the roster of before stays in force, and nobody is asked again until other files come." }
                        button.danger type="submit" { "Reject this roster" }
                    }
                }
            }
        }
    }
}

/// `POST /rosters/reload`
pub(super) async fn reload(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Redirect, Fault> {
    let care = care(&desk).await?;
    let who = Arc::clone(&session.who);
    noted!(user = %who, "rosters to be read")?;
    blocking(move || care.take_rosters(&who).map_err(refused)).await?;
    Ok(Redirect::to("/rosters"))
}

/// `POST /rosters/{panel}/approve`
pub(super) async fn approve(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path(panel): Path<String>,
    Form(Approval { sha256 }): Form<Approval>,
) -> Result<Redirect, Fault> {
    decide(&desk, &session, panel, &sha256, true).await
}

/// `POST /rosters/{panel}/reject`
pub(super) async fn reject(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path(panel): Path<String>,
    Form(Approval { sha256 }): Form<Approval>,
) -> Result<Redirect, Fault> {
    decide(&desk, &session, panel, &sha256, false).await
}

/// Approves of the roster that was looked at, or rejects it.
async fn decide(
    desk: &Desk,
    session: &Session,
    panel: String,
    sha256: &str,
    approves: bool,
) -> Result<Redirect, Fault> {
    let care = care(desk).await?;
    let who = Arc::clone(&session.who);
    let files = kept::parse(sha256).ok_or_else(|| {
        Problem::new(axum::http::StatusCode::BAD_REQUEST, "bad form", "sha256 is no hash", "load the page again")
    })?;
    if !care.rosters.panels().iter().any(|known| known.id == panel) {
        return Err(Problem::not_found("there is no panel of that name", "go back to the rosters").into());
    }
    match approves {
        true => noted!(user = %who, panel, "roster to be approved of"),
        false => noted!(user = %who, panel, "roster to be rejected"),
    }?;
    let done = blocking(move || match approves {
        true => care.approve_roster(&who, &panel, &files).map_err(refused),
        false => care.reject_roster(&who, &panel, &files).map_err(refused),
    });
    done.await?;
    Ok(Redirect::to("/rosters"))
}

async fn care(desk: &Desk) -> Result<Arc<crate::server::care::Shared>, Fault> {
    let remedy = "give the configuration a section [coordination]";
    Ok(people::care(desk).await?.ok_or_else(|| Problem::not_found("this gateway has no rosters", remedy))?)
}
