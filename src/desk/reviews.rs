//! Match review: patients of whom the rosters leave a doubt, side by side with whom they may be, until somebody decides.
use super::fault::Fault;
use super::parts::{count, time};
use super::session::Session;
use super::shell::{self, Tab};
use super::{Desk, people};
use crate::admin::api::reviews::{failed, key_of, refused};
use crate::admin::api::{blocking, messages, noted, numbers, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::coordination::PersonKey;
use crate::coordination::event::Patient;
use crate::coordination::roster::Snapshot;
use crate::coordination::roster::reviews::Decision;
use crate::server::care::{Reviewed, Shared as Care, Wanted, patient_of};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::{Extension, Form};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Which reviews.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    panel: String,
    decided: Option<String>,
    after: u64,
}

/// What was decided: the key of a person, or `nobody`.
#[derive(Deserialize)]
pub(super) struct Decided {
    person: String,
}

/// Reviews on a page.
const PAGE: usize = 20;
const TITLE: &str = "Match review";

/// `GET /reviews`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let Some(care) = people::care(&desk).await? else {
        let what = "Patients of whom the rosters leave a doubt wait here until somebody says who they are.";
        return Ok(people::without(&session, TITLE, Tab::Reviews, what));
    };
    let decided = asked.decided.is_some();
    let wanted = Wanted {
        panel: Some(asked.panel.clone()).filter(|panel| !panel.is_empty()),
        decided,
        after: asked.after,
        most: PAGE,
    };
    let panels: Vec<String> = care.rosters.panels().iter().map(|panel| panel.id.clone()).collect();
    let reader = session.may(Need::Phi);
    let asking = Arc::clone(&session);
    let (cards, shown, next) = blocking(move || {
        let (found, next) = care.reviews(&wanted).map_err(failed)?;
        let mut view = if reader { Some(view(&desk.admin.data)?) } else { None };
        let mut patient = |one: &Reviewed| {
            let record = view.as_mut().and_then(|view| messages::record(view, one.review.seqs.1).ok())?;
            patient_of(&record.raw)
        };
        let cards: Vec<_> = found.iter().map(|one| card(&asking, &care, one, patient(one).as_ref())).collect();
        Ok((cards, numbers(found.iter().map(|one| one.review.id)), next))
    })
    .await?;
    if reader {
        noted!(look = true, user = %session.who, reviews = shown, "reviews read")?;
    }
    let content = html! {
        h1 { (TITLE) }
        form.bar method="get" action="/reviews" {
            label { "Panel" select name="panel" {
                option value="" { "all" }
                @for panel in &panels { option value=(panel) selected[*panel == asked.panel] { (panel) } }
            } }
            label.tick { input type="checkbox" name="decided" value="1" checked[decided]; "already decided" }
            button type="submit" { "Show" }
        }
        @if cards.is_empty() {
            div.empty { p { @if decided { "Nothing was decided yet." } @else { "Nobody waits: every patient is somebody of the rosters without doubt, or nobody." } } }
        }
        @for card in cards { (card) }
        @if let Some(next) = next {
            a.button href=(format!("/reviews?panel={}&after={next}{}", asked.panel, if decided { "&decided=1" } else { "" })) { "Next page" }
        }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::Reviews, content).into_string()).into_response())
}

fn card(session: &Session, care: &Care, one: &Reviewed, patient: Option<&Patient>) -> Markup {
    let Reviewed { review, panels, decision } = one;
    let snapshot = care.rosters.current();
    let title = format!("review-{}", review.id);
    html! {
        section.card aria-labelledby=(title) {
            h2 id=(title) { "Review " (review.id) " " span.soft { (review.reason.to_string()) } }
            p.soft {
                (count(review.count)) @if review.count == 1 { " message" } @else { " messages" }
                ", the last " a href=(format!("/messages/{}", review.seqs.1)) { "number " (review.seqs.1) } " at " (time(review.last_ms))
                @if !panels.is_empty() { "; panels " (panels.join(", ")) }
            }
            (compared(session, &snapshot, &review.candidates, patient, &review.identifiers))
            @if let Some((decision, who, at_ms)) = decision {
                p.done {
                    @match key_of(*decision) {
                        Some(key) => { "It is " (people::person(session, &key, &snapshot)) },
                        None => "It is nobody of the rosters",
                    }
                    ", says " (who) ", " (time(*at_ms))
                }
            }
            @if session.may(Need::Operate) { (decide_form(session, &snapshot, review.id, &review.candidates)) }
        }
    }
}

/// The patient of the message beside everybody whom it may be, a row for each thing that can be compared; what is equal is said so.
fn compared(
    session: &Session,
    snapshot: &Snapshot,
    candidates: &[PersonKey],
    patient: Option<&Patient>,
    identifiers: &[(String, String)],
) -> Markup {
    let Some(patient) = patient.filter(|_| session.may(Need::Phi)) else {
        return html! {
            p { (candidates.len()) @if candidates.len() == 1 { " candidate: " } @else { " candidates: " }
                @for (at, key) in candidates.iter().enumerate() { @if at > 0 { ", " } (people::person(session, key, snapshot)) }
            }
            p.soft { "Names and dates are shown to who may read messages (phi-reader)." }
        };
    };
    let abouts: Vec<_> = candidates.iter().map(|key| (key, snapshot.about(key))).collect();
    let same = |ours: &str, theirs: &str| !theirs.is_empty() && ours.eq_ignore_ascii_case(theirs);
    let cell = |ours: &str, theirs: &str| {
        html! { td { (theirs) @if same(ours, theirs) { " " span.same { "same" } } } }
    };
    let date = |text: &str| text.chars().filter(char::is_ascii_digit).take(8).collect::<String>();
    let born = date(&patient.birth_date);
    html! {
        div.scroll tabindex="0" role="region" aria-label="The patient and the candidates" {
            table.compare {
                thead { tr { td {} th scope="col" { "In the message" } @for (key, _) in &abouts { th scope="col" title=(key.to_string()) { "Candidate " (key.to_string().get(..8).unwrap_or_default()) } } } }
                tbody {
                    tr { th scope="row" { "Family" } td { (patient.family) } @for (_, about) in &abouts { (cell(&patient.family, about.as_ref().map_or("", |about| about.family))) } }
                    tr { th scope="row" { "Given" } td { (patient.given) } @for (_, about) in &abouts { (cell(&patient.given, about.as_ref().map_or("", |about| about.given))) } }
                    tr { th scope="row" { "Born" } td { (patient.birth_date) } @for (_, about) in &abouts { @let theirs = about.as_ref().map(|about| people::born(about.birth)).unwrap_or_default(); td { (theirs) @if same(&born, &date(&theirs)) { " " span.same { "same" } } } } }
                    tr { th scope="row" { "Sex" } td { (patient.sex) } @for (_, about) in &abouts { @let theirs = about.as_ref().and_then(|about| about.sex).map(String::from).unwrap_or_default(); (cell(&patient.sex, &theirs)) } }
                    tr { th scope="row" { "Numbers" }
                        td { @for (system, value) in identifiers { div { code { (value) } " " span.soft { (system) } } } }
                        @for (key, _) in &abouts { td { @for (system, value) in snapshot.identifiers(key) { div { code { (value) } " " span.soft { (system) } @if identifiers.iter().any(|(_, ours)| same(ours, value)) { " " span.same { "same" } } } } } }
                    }
                    tr { th scope="row" { "Where" } td { (patient.street) @if !patient.city.is_empty() { ", " (patient.city) } " " (patient.zip) } @for _ in &abouts { td.soft { "—" } } }
                }
            }
        }
    }
}

fn decide_form(session: &Session, snapshot: &Snapshot, id: u64, candidates: &[PersonKey]) -> Markup {
    html! {
        form.decide method="post" action=(format!("/reviews/{id}")) {
            (shell::csrf(session))
            fieldset {
                legend { "Who is it? It holds for all messages with these numbers that come from now on." }
                @for key in candidates {
                    label.tick { input type="radio" name="person" value=(key.to_string()) required; span { (people::person(session, key, snapshot)) } }
                }
                label.tick { input type="radio" name="person" value="nobody" required; "nobody of the rosters" }
            }
            button.primary type="submit" { "Decide" }
        }
    }
}

/// `POST /reviews/{id}`
pub(super) async fn decide(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path(id): Path<u64>,
    Form(Decided { person }): Form<Decided>,
) -> Result<Redirect, Fault> {
    let decision = match (person.as_str(), PersonKey::parse(&person)) {
        ("nobody", _) => Decision::Nobody,
        (_, Some(key)) => Decision::Person(key),
        (_, None) => {
            let problem =
                Problem::new(StatusCode::BAD_REQUEST, "bad form", "nobody was chosen", "choose one, or nobody");
            return Err(problem.into());
        }
    };
    let remedy = "give the configuration a section [coordination]";
    let care = people::care(&desk).await?.ok_or_else(|| Problem::not_found("this gateway has no rosters", remedy))?;
    noted!(user = %session.who, review = id, "review to be decided")?;
    let who = Arc::clone(&session.who);
    blocking(move || care.decide(&who, id, decision).map_err(refused)).await?;
    tracing::info!(audit = true, user = %session.who, review = id, "review decided");
    Ok(Redirect::to("/reviews"))
}
