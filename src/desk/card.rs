//! The card of somebody of the rosters: what messages told of them, from which message, and what is to be done for them. It shows what is kept to those who may read messages; what
//! recipients see of it is for the gate to say.
use super::fault::Fault;
use super::parts::{Tone, state, time};
use super::session::Session;
use super::shell::{self, Tab};
use super::{Desk, people};
use crate::admin::api::{blocking, noted};
use crate::admin::problem::Problem;
use crate::coordination::PersonKey;
use crate::coordination::card::Section;
use crate::coordination::care_team::{self, Member, Team};
use crate::coordination::loops::{self, Loop, State as LoopState};
use crate::server::care::{CardEntry, CardResource, Picture, Shared as Care, is_past, opened};
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

const TITLE: &str = "Patient card";
/// Loops on the page.
const LOOPS_MAX: usize = 20;
const REMEDY: &str = "follow a link from the worklist: people have the ids of rosters";

const MORE: &str = "There are others, older or longer, that the card has no room for.";

/// The tables, in their order.
const TABLES: [(Section, &str); 7] = [
    (Section::Encounter, "Visits"),
    (Section::Condition, "Conditions"),
    (Section::Allergy, "Allergies"),
    (Section::Medication, "Medication (as told, not a complete list)"),
    (Section::Result, "Latest results"),
    (Section::Appointment, "Appointments"),
    (Section::Document, "Documents"),
];

/// `GET /people/{id}`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let Some(care) = people::care(&desk).await? else {
        return Ok(people::without(&session, TITLE, Tab::None, "What messages tell of a patient stands here."));
    };
    let here = Arc::clone(&care);
    let read = blocking(move || {
        let failed = |error: &dyn std::fmt::Display| Problem::internal(error.to_string());
        let key = PersonKey::parse(&id).ok_or_else(|| Problem::not_found("nobody has that id", REMEDY))?;
        let picture = opened(&here, key).map_err(|error| failed(&error))?;
        let picture = picture.ok_or_else(|| Problem::not_found("nobody has that id", REMEDY))?;
        let (loops, team) = of_care(&here, picture.person).map_err(|error| failed(&error))?;
        Ok((picture, loops, team))
    });
    let (picture, loops, team) = read.await?;
    noted!(look = true, user = %session.who, person = %picture.id, "card read")?;
    let content = html! {
        (head(&care, &picture, &team))
        (open_loops(&care, &picture, &loops))
        @for (section, title) in TABLES { (table(&picture, section, title)) }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::None, content).into_string()).into_response())
}

/// Loops that go on, and who looks after the person now.
fn of_care(care: &Care, person: PersonKey) -> rusqlite::Result<(Vec<Loop>, Team)> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let snapshot = care.rosters.current();
    let memberships: Vec<_> = snapshot.memberships_at(&person, now_ms).collect();
    let members: Vec<_> = memberships.iter().map(Member::of).collect();
    let database = care.database();
    let loops = loops::going_on(&database, person, LOOPS_MAX)?;
    let team = care_team::team(&database, person, &members, now_ms, &care.options.care_team)?;
    Ok((loops, team))
}

fn head(care: &Care, picture: &Picture, team: &Team) -> Markup {
    let patient = picture.resource("Patient", &picture.id).map(CardResource::value);
    let snapshot = care.rosters.current();
    let about = snapshot.about(&picture.person);
    let text = |name: &str| patient.as_ref().and_then(|one| one[name].as_str()).unwrap_or_default().to_owned();
    let panels: Vec<String> = snapshot.memberships(&picture.person).map(|one| one.panel.id.clone()).collect();
    html! {
        h1 {
            @if let Some(about) = &about { (about.family) ", " (about.given) } @else { (TITLE) }
        }
        div.card { dl.facts {
            dt { "Born" } dd { @match &about { Some(about) => (people::born(about.birth)), None => (text("birthDate")) } }
            dt { "Sex" } dd { (text("gender")) }
            dt { "Id" } dd { code { (picture.id) } }
            dt { "Panels" } dd { @if panels.is_empty() { span.none { "—" } } @else { (panels.join(", ")) } }
            dt { "Care team" } dd {
                @for member in &team.members {
                    div { (member.role) ": " (member.given) " " (member.family) " " code { (member.number) } " " span.soft { (member.source.name()) } }
                }
                @if team.members.is_empty() { span.none { "nobody is known" } }
            }
        }
        @if picture.more.contains(&Section::Head) { p.soft { (MORE) } } }
    }
}

fn open_loops(care: &Care, picture: &Picture, loops: &[Loop]) -> Markup {
    let snapshot = care.rosters.current();
    let panel = snapshot.memberships(&picture.person).map(|one| one.panel.id.clone()).next().unwrap_or_default();
    html! {
        section.card aria-labelledby="loops" {
            h2 id="loops" { "Open loops" }
            @if loops.is_empty() { p.soft { "None." } }
            @for one in loops {
                p {
                    (state(if one.state == LoopState::Overdue { Tone::Bad } else { Tone::Still }, one.state.name())) " "
                    a href=(super::parts::href("/loops", &[("panel", &panel), ("state", one.state.name())])) { (one.definition) }
                    " since " (time(one.opened_ms))
                }
            }
        }
    }
}

fn table(picture: &Picture, section: Section, title: &str) -> Markup {
    let rows: Vec<_> = picture.entries.iter().filter(|entry| entry.section == section).collect();
    html! {
        section.card aria-label=(title) {
            h2 { (title) }
            @if picture.more.contains(&section) { p.soft { (MORE) } }
            @if rows.is_empty() { p.soft { "No feed told of any." } } @else {
                div.scroll tabindex="0" role="region" aria-label=(title) {
                    table {
                        thead { tr { th scope="col" { "What" } th scope="col" { "State" } th scope="col" { "When" } th scope="col" { "Where" } th scope="col" { "Told by" } } }
                        tbody { @for entry in rows { (row(entry, picture.of(entry))) } }
                    }
                }
            }
        }
    }
}

fn row(entry: &CardEntry, resource: Option<&CardResource>) -> Markup {
    let what = resource.map(|one| one.label.as_str()).unwrap_or_default();
    let status = resource.map(|one| one.state.as_str()).unwrap_or_default();
    let is_past = resource.is_some_and(|one| is_past(one, jiff::Timestamp::now().as_millisecond()));
    html! {
        tr {
            th scope="row" { (what) @for label in &entry.labels { " " (state(Tone::Warn, label)) } }
            td { (status) @if is_past { " (past)" } }
            td { @if let Some(at_ms) = entry.at_ms { (time(at_ms)) } }
            td { (entry.facility) }
            td { @for source in &entry.sources { div { a href=(format!("/messages/{}", source.seq)) { (source.feed) " " (source.control_id) } } } }
        }
    }
}
