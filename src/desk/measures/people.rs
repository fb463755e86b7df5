//! Who is behind a rate: those for whom it has not happened in time, whom somebody may still call. Each look is noted.
use super::{TITLE, WHAT, now_ms, rate_text};
use crate::admin::api::measures::{after_text, parse_after, refused};
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::coordination::measures::period::{date_of, month_text, parse_month};
use crate::coordination::measures::{Figures, Month, Page, Rate, Someone};
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{Tone, count, state, time, time_if};
use crate::desk::people as shared;
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::server::care::{Asked, Behind, Shared as Care, state_of};
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Which of them.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(in super::super) struct Wanted {
    from: String,
    to: String,
    after: String,
}

/// People on a page.
const PAGE: usize = 50;

/// `GET /measures/{panel}/{measure}`
pub(in super::super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path((panel, measure)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Fault> {
    let Some(care) = shared::care(&desk).await? else {
        return Ok(shared::without(&session, TITLE, Tab::Measures, WHAT));
    };
    let after = if wanted.after.is_empty() { None } else { Some(parse_after(&wanted.after)?) };
    let months = (parse_month(&wanted.from), parse_month(&wanted.to));
    let (whose, of, reading, everything) = (panel.clone(), measure.clone(), Arc::clone(&care), session.may(Need::Phi));
    let (behind, exact) = blocking(move || {
        let asked = Asked { panel: &whose, measure: Some(&of), months, everything, recipient: None, now_ms: now_ms() };
        let behind = reading.behind(&asked, Page { after, most: PAGE }).map_err(refused)?;
        let mut rates = reading.measured(&asked).map_err(refused)?.rates;
        Ok((behind, rates.pop().map(|rates| rates.exact).unwrap_or_default()))
    })
    .await?;
    let people = behind.people.iter().map(|one| one.person.to_string()).collect::<Vec<_>>().join(" ");
    let (from, to) = (month_text(behind.months.0), month_text(behind.months.1));
    noted!(look = true, user = %session.who, panel, measure, from, to, after = wanted.after, people, "people behind a measure read")?;
    let title = behind.definition.title.clone();
    let content = html! {
        p.crumbs { a href="/measures" { (TITLE) } " · " a href=(format!("/measures/{panel}#{measure}")) { (panel) } }
        h1 { (title) }
        p.soft { @if from == to { (from) } @else { (from) " to " (to) } ", as of " (date_of(behind.as_of)) "." }
        @if everything && behind.definition.rate == Rate::Share { (standing(&exact)) }
        @if behind.people.is_empty() {
            div.empty { p { "Nobody of " (panel) " is behind it." } }
        } @else {
            (table(&session, &care, &behind))
        }
        @if let Some(next) = behind.next {
            a.button href=(format!("/measures/{panel}/{measure}?from={from}&to={to}&after={}", after_text(next))) { "Next page" }
        }
    };
    Ok(Html(shell::page(&session, &title, Tab::Measures, content).into_string()).into_response())
}

/// The figures as they are, for whoever may look at each of the people anyway.
fn standing(exact: &[Month]) -> Markup {
    let mut all = Figures::default();
    exact.iter().for_each(|month| all.add(&month.figures));
    let rate = (all.denominator > 0).then(|| rate_text(all.numerator * 100_000 / all.denominator, Rate::Share));
    html! {
        p {
            strong { (count(all.numerator)) " of " (count(all.denominator)) @if let Some(rate) = rate { ", " (rate) } }
            "; of " (count(all.pending)) " whose time is not over it has happened for " (count(all.pending_met)) ". "
            (count(all.late)) " came late, " (count(all.excluded)) " are excluded."
        }
    }
}

fn table(session: &Session, care: &Care, behind: &Behind) -> Markup {
    let snapshot = care.rosters.current();
    html! {
        div.scroll tabindex="0" role="region" aria-label="People" {
            table data-rows {
                thead { tr { th scope="col" { "Who" } th scope="col" { "State" } th scope="col" { "Counted in" } th scope="col" { "Where" } th scope="col" { "In time until" } th scope="col" { "Came" } } }
                tbody {
                    @for one in &behind.people {
                        tr {
                            th scope="row" { (shared::person(session, &one.person, &snapshot)) }
                            td { (standing_of(behind, one)) }
                            td { (time(one.at_ms)) }
                            td { (one.facility) }
                            td { (date_of(one.due_day)) }
                            td { (time_if(one.closed_ms)) }
                        }
                    }
                }
            }
        }
    }
}

fn standing_of(behind: &Behind, one: &Someone) -> Markup {
    match state_of(&behind.definition, one, behind.as_of) {
        "pending" => state(Tone::Still, "pending"),
        "late" => state(Tone::Warn, "late"),
        "happened" => state(Tone::Still, "happened"),
        name => state(Tone::Bad, name),
    }
}
