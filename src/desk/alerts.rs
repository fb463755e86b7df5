//! Alerts: what is wrong at this moment, what was, and where that can be seen to.
use super::Desk;
use super::parts::{Tone, span, state, time, time_if};
use super::session::Session;
use super::shell::{self, Tab};
use crate::alerts::{Alert, Seen};
use axum::Extension;
use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use std::sync::Arc;

const TITLE: &str = "Alerts";

/// `GET /alerts`
pub(super) async fn page(State(desk): State<Arc<Desk>>, Extension(session): Extension<Arc<Session>>) -> Html<String> {
    let content = html! {
        h1 { (TITLE) }
        div #alerts sse-swap="alerts-page" { (shown(&desk.admin.alerts.seen())) }
    };
    Html(shell::live(&session, TITLE, Tab::Alerts, "/live?alerts=1", content).into_string())
}

/// All of the page but its title.
pub(super) fn shown(seen: &Seen) -> Markup {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    html! {
        @match seen.looked_ms {
            None => div.empty { p { "The gateway has not been looked at yet: the rules are those of " code { "[alerts]" } "." } },
            Some(looked_ms) => {
                @if seen.open.is_empty() { div.empty { p { "Nothing is wrong." } p { "Looked at " (time(looked_ms)) "." } } }
                @for alert in &seen.open { (card(alert, seen, now_ms)) }
            }
        }
        @if !seen.webhook && !seen.email {
            p.soft { "Nobody is told: give " code { "[alerts]" } " a " code { "webhook" } " or an " code { "email" } "." }
        }
        @if !seen.resolved.is_empty() { (resolved(&seen.resolved)) }
    }
}

fn card(alert: &Alert, seen: &Seen, now_ms: i64) -> Markup {
    html! {
        section.card {
            h2 { (state(Tone::Bad, "open")) " " (alert.rule) ": " (alert.subject) }
            p { (alert.text) }
            p.soft {
                "since " (time(alert.since_ms)) ", " (span((now_ms - alert.since_ms).max(0).unsigned_abs() / 1000))
                @if seen.webhook { "; webhook: " (alert.told.name()) }
                @if seen.email { "; mail: " (alert.mailed.name()) }
            }
            @if let Some((href, says)) = way_on(alert) { p { a.button href=(href) { (says) } } }
        }
    }
}

/// Where it can be seen to.
fn way_on(alert: &Alert) -> Option<(String, &'static str)> {
    let subject = &alert.subject;
    match alert.rule.as_ref() {
        "queue_age" | "queue_depth" | "route_held" => Some((format!("/routes/{subject}"), "Look at the route")),
        "error_rate" => Some((format!("/dead-letters?route={subject}"), "Look at its dead letters")),
        "silence" | "ack_latency" => Some(("/".into(), "Look at the listeners")),
        rule if rule.starts_with("roster_") => Some(("/rosters".into(), "Look at the rosters")),
        _ => None,
    }
}

fn resolved(alerts: &[Alert]) -> Markup {
    html! {
        h2 #resolved { "Resolved" }
        div.scroll tabindex="0" role="region" aria-labelledby="resolved" {
            table {
                thead { tr { th scope="col" { "Rule" } th scope="col" { "What" } th scope="col" { "From" } th scope="col" { "Until" } } }
                tbody {
                    @for alert in alerts {
                        tr { th scope="row" { (alert.rule) } td { (alert.text) } td { (time(alert.since_ms)) } td { (time_if(alert.resolved_ms)) } }
                    }
                }
            }
        }
    }
}
