//! FHIR subscriptions of coordinated care: who is told of what, and whether it arrives. Of patients nothing is told, and of endpoints no more than where they are: a path or a
//! header may be a secret.
pub(super) mod one;

use super::Desk;
use super::assets;
use super::fault::Fault;
use super::parts::{Tone, count, href, state, time, time_if};
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::blocking;
use crate::admin::problem::Problem;
use crate::coordination::registry::{Entry, Kind};
use crate::coordination::subscription::channel::{Channel, Kind as Way};
use crate::coordination::subscription::filter::Criterion;
use crate::coordination::subscription::resource::Subscription;
use crate::coordination::subscription::standing::{Standing, State as How};
use crate::coordination::subscription::store;
use crate::coordination::subscription::topic::Parameter;
use crate::server::care::Shared as Care;
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Which; what is empty is not asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    who: String,
    status: String,
    after: String,
}

/// On one page.
const SHOWN: usize = 100;
/// Looked at for one page.
const LOOKED_MAX: usize = 2_000;
/// The guide, in the words that one finds it by.
fn guide() -> Markup {
    html! { a href=(assets::path("coordinated-care.md")) { "the guide" } " (chapter 5)" }
}

/// One of them, as it is.
pub(super) struct Known {
    entry: Entry,
    /// None where it was written for topics that there are no more.
    subscription: Option<Subscription>,
    standing: Standing,
}

impl Known {
    fn of(care: &Care, entry: Entry) -> rusqlite::Result<Known> {
        let id = entry.what.id();
        let body = entry.what.body().cloned().unwrap_or_default();
        let subscription = Subscription::stored(id, &body, &care.topics).ok();
        let standing = store::standing(&care.database(), id)?.unwrap_or_default();
        Ok(Known { entry, subscription, standing })
    }
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::internal(error.to_string())
}

/// `GET /subscriptions`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let Query(asked) = asked.map_err(Problem::from)?;
    let content = match desk.admin.control.care().await.ok_or_else(Problem::stopping)? {
        None => not_configured(),
        Some(care) => {
            let recipients: Vec<_> = care.options.privacy.recipients.iter().map(|one| one.id.clone()).collect();
            let (who, status, after) = (asked.who.clone(), asked.status.clone(), asked.after.clone());
            let (found, next) = blocking(move || find(&care, &who, &status, after)).await?;
            html! {
                h1 { "Subscriptions" }
                p.soft { "Who is told of what happens to their patients, and whether it arrives. See " (guide()) "." }
                (filters(&asked, &recipients))
                (list(&found))
                @if let Some(next) = next { p.pager { a.button rel="next" href=(asked.page(&next)) { "Next page" } } }
            }
        }
    };
    Ok(Html(shell::page(&session, "Subscriptions", Tab::Subscriptions, content).into_string()))
}

impl Asked {
    fn page(&self, after: &str) -> String {
        let all = [("who", self.who.as_str()), ("status", self.status.as_str()), ("after", after)];
        href("/subscriptions", &all.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
    }
}

/// Those that are meant, by id, behind one; and behind which there may be more. Blocks.
fn find(care: &Care, who: &str, status: &str, after: String) -> Result<(Vec<Known>, Option<String>), Problem> {
    let (mut found, mut looked, mut after) = (Vec::new(), 0, Some(after).filter(|after| !after.is_empty()));
    loop {
        let entries = care.registry.all(Kind::Subscription, after.as_deref(), SHOWN).map_err(failed)?;
        if entries.is_empty() {
            return Ok((found, None));
        }
        for entry in entries {
            looked += 1;
            after = Some(entry.what.id().to_owned());
            if !who.is_empty() && entry.who != who {
                continue;
            }
            let known = Known::of(care, entry).map_err(failed)?;
            if status.is_empty() || known.standing.state.name() == status {
                found.push(known);
            }
            if found.len() >= SHOWN || looked >= LOOKED_MAX {
                return Ok((found, after));
            }
        }
    }
}

fn filters(asked: &Asked, recipients: &[String]) -> Markup {
    html! {
        form.bar method="get" action="/subscriptions" role="search" aria-label="Subscriptions" {
            label { "Who" select name="who" { option value="" { "all" } @for id in recipients { option value=(id) selected[*id == asked.who] { (id) } } } }
            label { "Status"
                select name="status" {
                    option value="" { "any" }
                    @for how in [How::Error, How::Active, How::Requested, How::Off] { option value=(how.name()) selected[how.name() == asked.status] { (how.name()) } }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn list(found: &[Known]) -> Markup {
    html! {
        @if found.is_empty() {
            div.empty { p { "No subscriptions here. Recipients make them at the FHIR interface, with their own token." } p { "How a recipient subscribes: " (guide()) "." } }
        } @else {
            h2 #subscriptions { "All of them" }
            div.scroll tabindex="0" role="region" aria-labelledby="subscriptions" {
                table data-rows {
                    thead { tr { th scope="col" { "Status" } th scope="col" { "Subscription" } th scope="col" { "Who" } th scope="col" { "Topic and filter" } th scope="col" { "Channel" } th.number scope="col" { "Events" } th.number scope="col" { "Backlog" } th scope="col" { "Last taken" } th scope="col" { "Error" } } }
                    tbody { @for known in found { (row(known)) } }
                }
            }
        }
    }
}

fn row(known: &Known) -> Markup {
    let Known { entry, subscription, standing } = known;
    html! {
        tr {
            td { (status(standing)) }
            th scope="row" { a href={ "/subscriptions/" (entry.what.id()) } { (entry.what.id()) } }
            td { (entry.who) }
            @match subscription {
                Some(subscription) => {
                    td { (subscription.topic.id) " " (criteria(&subscription.criteria)) }
                    td { (way(&subscription.channel)) div.soft { (place(&subscription.channel)) } }
                }
                None => td colspan="2" { "cannot be read by this configuration" }
            }
            td.number { (count(standing.last)) }
            td.number { (count(standing.last.saturating_sub(standing.delivered))) }
            td { (time_if(Some(standing.sent_ms).filter(|ms| *ms != 0))) }
            td.error { (error(standing)) }
        }
    }
}

fn status(standing: &Standing) -> Markup {
    let tone = match standing.state {
        How::Active => Tone::Good,
        How::Requested => Tone::Warn,
        How::Error => Tone::Bad,
        How::Off => Tone::Still,
    };
    state(tone, standing.state.name())
}

fn error(standing: &Standing) -> Markup {
    html! {
        @match standing.fault {
            Some(fault) => { (fault.text()) " " span.soft { "since " (time(standing.since_ms)) } }
            None if standing.failures > 0 => { (count(standing.failures.into())) " attempts failed in a row; it is tried again" }
            None => span.none { "—" }
        }
    }
}

fn way(channel: &Channel) -> &'static str {
    match channel.kind {
        Way::RestHook => "rest-hook",
        Way::Websocket => "websocket",
        Way::Message => "message",
        Way::DavinciAlert => "message (Da Vinci)",
        Way::Transaction => "transactions",
    }
}

/// Scheme, host and port: what is behind them may be a secret.
fn place(channel: &Channel) -> String {
    channel.endpoint.as_ref().map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Filters as they were written, but for those that name a patient.
fn criteria(criteria: &[Criterion]) -> Markup {
    html! {
        @if criteria.is_empty() { span.none { "—" } }
        @for criterion in criteria {
            div { code {
                @if criterion.tests.iter().any(|test| test.parameter == Parameter::Patient) {
                    (criterion.focus.unwrap_or("")) "?patient=… (one person)"
                } @else { (criterion.text) }
            } }
        }
    }
}

fn not_configured() -> Markup {
    html! {
        h1 { "Subscriptions" }
        div.empty {
            p { "This gateway has no coordinated care, so nobody can subscribe." }
            p { "With it, care managers and practices subscribe to what happens to their patients: admitted, discharged, a result, a loop that is overdue. This page shows who is told of what, whether it arrives, and what waits." }
            p { "To switch it on, give the configuration a section " code { "[coordination]" } " with a panel, a recipient and " code { "[coordination.fhir]" } ", then start the gateway again. It is built step by step in " (guide()) "." }
        }
    }
}
