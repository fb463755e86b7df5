//! What became of a message on each route, and what to do about it.
use super::Told;
use crate::admin::credentials::Need;
use crate::delivery::UNTRANSLATED;
use crate::desk::letters::remedy::remedy as of_letter;
use crate::desk::parts::{count, time};
use crate::desk::session::Session;
use crate::desk::standing::label;
use crate::server::fate::Status;
use crate::server::{RouteState, RouteStatus};
use maud::{Markup, html};

pub(super) fn table(seq: u64, told: &Told, states: &[RouteStatus], session: &Session) -> Markup {
    let may = session.may(Need::Operate);
    html! {
        @if told.statuses.is_empty() { p.empty { "No route has anything to say of it." } } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="routes" {
                table {
                    thead { tr { th scope="col" { "Route" } th scope="col" { "State" } th.number scope="col" { "Attempts" } th scope="col" { "Why" } th scope="col" { "What to do" } } }
                    tbody {
                        @for (route, status) in &told.statuses {
                            tr {
                                th scope="row" { (route) }
                                td { (label(status)) }
                                td.number { (attempts(told, route, status)) }
                                td { (why(told, route, status, states)) }
                                td {
                                    (remedy(route, status, states))
                                    @if may && matches!(status, Status::Errored(_)) {
                                        " " a.button href={ "/messages/" (seq) "/preview" } { "Preview and send again" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if may { p { a href={ "/messages/" (seq) "/preview" } { "Compare with what the mappings of today make of it, and send it again…" } } }
    }
}

fn attempts(told: &Told, route: &str, status: &Status) -> Markup {
    let tried = told.attempts.iter().find(|(name, ..)| name == route).map(|(_, attempts, _)| *attempts);
    let number = match status {
        Status::Errored(letter) => Some(letter.attempts),
        Status::Queued => Some(tried.unwrap_or(0)),
        _ => None,
    };
    html! { @match number { Some(number) => (count(number.into())), None => span.none { "—" } } }
}

fn why(told: &Told, route: &str, status: &Status, states: &[RouteStatus]) -> Markup {
    let since = told.attempts.iter().find(|(name, ..)| name == route).map(|(.., since)| *since);
    html! {
        @match status {
            Status::Errored(letter) => { (letter.reason) " (given up " (time(letter.at_ms)) ")" }
            Status::Unsent(unsent) => { (unsent.reason) " (" (time(unsent.at_ms)) ")" }
            Status::Queued => {
                @if let Some(state) = states.iter().find(|state| state.name == route) {
                    @if state.state != RouteState::Started { "the route is " (state.state.name()) }
                    @else if let Some(rests) = &state.rests { (rests) }
                    @else { (count(state.queued)) " are queued on the route" }
                }
                @if let Some(since) = since { ", has failed since " (time(since)) }
            }
            Status::Filtered => { "the route's filter, or what became of it at intake, kept it away" }
            Status::Passed => { "the route is done with it; whether it was sent or kept away is not known, as the filter that judged it is not" }
            Status::Before => { "it came before the route was there" }
            Status::Sent => span.none { "—" },
        }
    }
}

/// What can be done.
fn remedy(route: &str, status: &Status, states: &[RouteStatus]) -> &'static str {
    let held = states.iter().any(|state| state.name == route && state.state != RouteState::Started);
    match status {
        Status::Errored(_) if route == UNTRANSLATED => {
            "mend the mappings or what the sender sends, have the configuration read anew, then send it again"
        }
        Status::Errored(letter) => of_letter(&letter.reason),
        Status::Queued if held => "start the route, from the dashboard",
        Status::Queued => "nothing: it is tried again by itself",
        Status::Unsent(unsent) if unsent.dropped => "nothing: somebody dropped it; it can be sent all the same",
        Status::Unsent(_) => "nothing: the route passes such answers over, as its `replies` say",
        Status::Passed => "look at the target, whether it is there",
        Status::Sent | Status::Filtered | Status::Before => "",
    }
}
