//! The measures: how the panels stand, how one does over the months (`trend`), and who is behind a rate (`people`).
mod people;
mod trend;

pub(super) use people::page as people;

use super::fault::Fault;
use super::parts::{Tone, count, state};
use super::session::Session;
use super::shell::{self, Tab};
use super::{Desk, people as shared};
use crate::admin::api::blocking;
use crate::admin::api::measures::refused;
use crate::admin::credentials::Need;
use crate::coordination::measures::period::{date_of, month_text, parse_month};
use crate::coordination::measures::{Observed, Rate, Span};
use crate::server::care::{Asked, Measured, Rates, Shared as Care};
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

const TITLE: &str = "Measures";
const WHAT: &str = "How many patients were seen, told of and followed up in time, by panel and month, stands here.";
/// What is said of every rate.
const USE: &str = "Operational, from what the gateway was sent; not for submission. A figure of one to ten people is hidden, and so is what would give one away.";

/// Which months.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Period {
    from: String,
    to: String,
}

impl Period {
    fn months(&self) -> (Option<i32>, Option<i32>) {
        (parse_month(&self.from), parse_month(&self.to))
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn measured(
    care: &Arc<Care>,
    session: &Session,
    panel: &str,
    months: (Option<i32>, Option<i32>),
) -> Result<Measured, Fault> {
    let (care, panel, everything) = (Arc::clone(care), panel.to_owned(), session.may(Need::Phi));
    let work = move || {
        let asked = Asked { panel: &panel, measure: None, months, everything, recipient: None, now_ms: now_ms() };
        care.measured(&asked).map_err(refused)
    };
    Ok(blocking(work).await?)
}

/// `GET /measures`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Fault> {
    let Some(care) = shared::care(&desk).await? else {
        return Ok(shared::without(&session, TITLE, Tab::Measures, WHAT));
    };
    let mut sections = Vec::new();
    for panel in care.rosters.panels() {
        sections.push((panel.id.clone(), measured(&care, &session, &panel.id, (None, None)).await?));
    }
    let content = html! {
        h1 { (TITLE) }
        p.soft { (USE) }
        @if sections.is_empty() { div.empty { p { "There is no panel: " code { "[[coordination.panel]]" } " names one." } } }
        @for (panel, measured) in &sections {
            h2 { a href=(format!("/measures/{panel}")) { (panel) } }
            (overview(panel, measured))
        }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::Measures, content).into_string()).into_response())
}

/// The last month of each measure whose windows are over, beside the one before it.
fn overview(panel: &str, measured: &Measured) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("{TITLE} of {panel}")) {
            table data-rows {
                thead { tr { th scope="col" { "Measure" } th scope="col" { "Last complete month" } th.right scope="col" { "Rate" } th.right scope="col" { "Month before" } th.right scope="col" { "Of" } th scope="col" { "Seen" } } }
                tbody {
                    @for rates in &measured.rates {
                        @let (last, before) = last(rates);
                        tr {
                            th scope="row" { a href=(format!("/measures/{panel}#{}", rates.definition.id)) { (rates.definition.title) } }
                            @if let Some(last) = last {
                                td { (last.name) }
                                td.right { (rate(last, rates.definition.rate)) }
                                td.right { @if let Some(before) = before { (rate(before, rates.definition.rate)) } @else { span.none { "—" } } }
                                td.right { (figure(last, last.shown.denominator)) }
                                td { (observed(last)) }
                            } @else {
                                td colspan="5" { span.none { "no month is complete" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The last two months whose windows are over.
fn last(rates: &Rates) -> (Option<&Span>, Option<&Span>) {
    let mut months = rates.spans.iter().filter(|span| span.months.0 == span.months.1 && span.complete).rev();
    (months.next(), months.next())
}

/// `GET /measures/{panel}`
pub(super) async fn panel(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Path(panel): Path<String>,
    Query(period): Query<Period>,
) -> Result<Response, Fault> {
    let Some(care) = shared::care(&desk).await? else {
        return Ok(shared::without(&session, TITLE, Tab::Measures, WHAT));
    };
    let measured = measured(&care, &session, &panel, period.months()).await?;
    let title = format!("Measures of {panel}");
    let (from, to) = measured.months;
    let content = html! {
        p.crumbs { a href="/measures" { (TITLE) } }
        h1 { (title) }
        p.soft { (USE) " As of " (date_of(measured.as_of)) "." }
        form.bar method="get" action=(format!("/measures/{panel}")) {
            label { "From" input name="from" value=(month_text(from)) pattern="[0-9]{4}-[0-9]{2}" size="7"; }
            label { "To" input name="to" value=(month_text(to)) pattern="[0-9]{4}-[0-9]{2}" size="7"; }
            button type="submit" { "Show" }
        }
        @for rates in &measured.rates { (section(&session, &panel, rates)) }
    };
    Ok(Html(shell::page(&session, &title, Tab::Measures, content).into_string()).into_response())
}

fn section(session: &Session, panel: &str, rates: &Rates) -> Markup {
    let definition = &rates.definition;
    html! {
        section.measure #(definition.id) aria-label=(definition.title) {
            h2 { (definition.title) }
            @if definition.lower_is_better { p.soft { "Fewer are better." } }
            (trend::chart(rates))
            (table(panel, rates, session.may(Need::Codes)))
        }
    }
}

/// All that stands beside a rate.
fn table(panel: &str, rates: &Rates, may_look: bool) -> Markup {
    let definition = &rates.definition;
    let by_thousand = definition.rate == Rate::PerThousand;
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Figures: {}", definition.title)) {
            table data-rows {
                thead { tr {
                    th scope="col" { "Period" } th.right scope="col" { "Rate" } th.right scope="col" { @if by_thousand { "Visits" } @else { "In time" } }
                    th.right scope="col" { @if by_thousand { "Member-months" } @else { "Of" } }
                    @if !by_thousand { th.right scope="col" { "Inferred" } th.right scope="col" { "Late" } th.right scope="col" { "Pending" } th.right scope="col" { "Excluded" } }
                    th.right scope="col" { "Unmatched" } th scope="col" { "Seen" }
                } }
                tbody {
                    @for span in &rates.spans {
                        tr {
                            th scope="row" {
                                @if may_look {
                                    a href=(format!("/measures/{panel}/{}?from={}&to={}", definition.id, month_text(span.months.0), month_text(span.months.1))) { (span.name) }
                                } @else { (span.name) }
                                @if !span.complete { " " span.soft { "not over" } }
                            }
                            td.right { (rate(span, definition.rate)) }
                            td.right { @if span.known { (figure(span, span.shown.numerator)) } @else { span.none { "—" } } }
                            td.right { (figure(span, span.shown.denominator)) }
                            @if !by_thousand {
                                td.right { (figure(span, span.shown.inferred)) }
                                td.right { (figure(span, span.shown.late)) }
                                td.right { (figure(span, span.shown.pending)) }
                                td.right { (figure(span, span.shown.excluded)) }
                            }
                            td.right { (unmatched(span)) }
                            td { (observed(span)) }
                        }
                    }
                }
            }
        }
    }
}

fn figure(span: &Span, value: Option<u64>) -> Markup {
    match value {
        Some(value) => html! { (count(value)) },
        None if span.lost => html! { span.none title="Messages of then are gone" { "—" } },
        None if !span.complete => html! { span.none title="Told when all of it is over" { "—" } },
        None => html! { span.none title="Stands for one to ten, or would give such a one away" { "hidden" } },
    }
}

fn rate(span: &Span, rate: Rate) -> Markup {
    match span.shown.rate(rate) {
        _ if span.observed == Observed::Not || !span.known => html! { span.none { "not observable" } },
        Some(value) => html! { (rate_text(value, rate)) },
        None if !span.complete || span.shown.denominator == Some(0) => html! { span.none { "—" } },
        None => html! { span.none { "hidden" } },
    }
}

/// `83.3 %` of thousandths of a percent; `360` of thousandths of visits.
fn rate_text(value: u64, rate: Rate) -> String {
    match rate {
        Rate::Share => format!("{}.{} %", (value + 50) / 1000, (value + 50) / 100 % 10),
        Rate::PerThousand => count((value + 500) / 1000),
    }
}

fn unmatched(span: &Span) -> Markup {
    let (all, unknown, _) = span.events;
    html! { @if all == 0 { span.none { "—" } } @else { (rate_text(unknown * 100_000 / all, Rate::Share)) } }
}

fn observed(span: &Span) -> Markup {
    match span.observed {
        Observed::Wholly => state(Tone::Good, "wholly"),
        // Of three two thirds: a share tells of how many it is one.
        Observed::Partly(share) if span.shown.denominator.is_some() => {
            html! { (state(Tone::Warn, "partly")) " " span.soft { (share / 10) " %" } }
        }
        Observed::Partly(_) => state(Tone::Warn, "partly"),
        Observed::Not => state(Tone::Bad, "not at all"),
    }
}
