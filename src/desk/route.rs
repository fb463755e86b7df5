//! A route: how it is, what goes wrong with it and what waits, and how it is configured.
use super::Desk;
use super::dashboard::{of_route, route_state};
use super::fault::Fault;
use super::live::Part;
use super::operate::{self, Name};
use super::parts::{Tone, count, counter, spark, state, time, time_if};
use super::pulse::Seen;
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::blocking;
use crate::admin::api::routes::{Waits, waits};
use crate::admin::credentials::Need;
use crate::admin::metrics::received;
use crate::admin::problem::Problem;
use crate::server::{RouteState, RouteStatus};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Messages that wait, of those shown.
const WAITING_MAX: usize = 10;

/// What has just been done to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    done: Option<String>,
}

/// The route of that name as it is.
pub(super) async fn find(desk: &Desk, name: Name) -> Result<RouteStatus, Problem> {
    let Path(name) = name?;
    let routes = desk.admin.control.routes().await;
    routes.into_iter().find(|route| route.name == name).ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::not_found("the gateway has no route of that name", "the dashboard shows which there are")
}

/// `GET /routes/{name}`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    name: Name,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let (Path(name), Query(asked)) = (name.map_err(Problem::from)?, asked.map_err(Problem::from)?);
    let seen = desk.pulse.look(&desk.admin).await?;
    let route = seen.sight.routes.iter().find(|route| route.name == name).ok_or_else(unknown)?;
    let outlets = desk.admin.control.outlets().await.ok_or_else(Problem::stopping)?;
    let told = outlets.routes.iter().find(|options| options.route.name == name).map(|options| options.told());
    let (data, named, head) = (desk.admin.data.clone(), name.clone(), seen.sight.journal.head);
    let waits = blocking(move || waits(&data, &named, head, WAITING_MAX)).await?;
    let content = html! {
        p.crumb { a href="/" { "Dashboard" } }
        @if asked.done.as_deref() == Some(route.state.name()) { (operate::done(route.state)) }
        div sse-swap="route-head" { (head_of(&session, &seen, route)) }
        div.cards.figures sse-swap="route-figures" { (figures(&seen, route)) }
        h2 #waiting { "Oldest waiting" }
        (waiting(&waits, route))
        h2 #failures { "Last failures" }
        div sse-swap="route-failures" { (failures(route)) }
        h2 { "Configuration" }
        div.card {
            dl.facts { @for (what, value) in told.unwrap_or_default() { dt { (what) } dd { (value) } } }
        }
    };
    let from = format!("/live?route={name}");
    Ok(Html(shell::live(&session, &name, Tab::Dashboard, &from, content).into_string()))
}

/// What a page that is open has brought up to date.
pub(super) fn parts(session: &Session, seen: &Seen, name: &str) -> Vec<Part> {
    let Some(route) = seen.sight.routes.iter().find(|route| route.name == name) else {
        let gone = html! { h1 { (name) " " (state(Tone::Still, "gone")) } p { "The configuration names no such route any more." } };
        return vec![Part::new("route-head", gone)];
    };
    vec![
        Part::new("route-head", head_of(session, seen, route)),
        Part::new("route-figures", figures(seen, route)),
        Part::new("route-failures", failures(route)),
    ]
}

fn head_of(session: &Session, seen: &Seen, route: &RouteStatus) -> Markup {
    html! {
        div.bar.head {
            h1 { (route.name) " " (route_state(route)) }
            @if session.may(Need::Operate) {
                div.bar.end {
                    (operate::switch(session, route, "head"))
                    @if route.state != RouteState::Stopped {
                        a.button id="stop" href={ "/routes/" (route.name) "/stop" } { "Stop…" }
                    }
                }
            }
        }
        (of_route(session, seen, route))
    }
}

fn figures(seen: &Seen, route: &RouteStatus) -> Markup {
    let name = &route.name;
    let figure = |what: &str, number: Markup, note: Markup| {
        html! { div.card { span.soft { (what) } span.figure { (number) } span.soft { (note) } } }
    };
    let messages = |number: u64, of: &str| counter(number, &format!("/messages?route={name}{of}"));
    let again = html! { @if route.resent > 0 { (count(route.resent)) " of them sent again" } @else { "last " (time_if(route.last_sent_ms)) } };
    let letters = counter(route.dead_letters, &format!("/dead-letters?route={name}"));
    html! {
        (figure("Received", messages(received(route), ""), html! { "since it was started" }))
        (figure("Filtered", messages(route.filtered, "&state=filtered"), html! { "not wanted" }))
        (figure("Queued", messages(route.queued, "&state=queued"), html! { "oldest " (time_if(route.oldest_queued_ms)) }))
        (figure("Sent", messages(route.sent, "&state=sent"), again))
        (figure("Dead letters", letters, html! { (count(route.errored)) " since it was started" }))
        (figure("Failed attempts", html! { (count(route.failed)) }, html! { "made again" }))
        div.card { span.soft { "Rate" } (spark("delivered", seen.rates.route(name))) }
    }
}

fn waiting(waits: &Waits, route: &RouteStatus) -> Markup {
    if waits.oldest.is_empty() {
        return html! { div.empty { p { "Nothing waits: the route has come to the end of the journal." } } };
    }
    html! {
        @if waits.failing > 0 {
            p {
                (count(waits.failing as u64)) @if waits.failing == 1 { " message has" } @else { " messages have" }
                " failed and will be tried again; what must keep its order waits behind. "
            }
        }
        div.scroll tabindex="0" role="region" aria-labelledby="waiting" {
            table data-rows {
                thead { tr { th scope="col" { "Number" } th scope="col" { "Type" } th scope="col" { "Listener" } th scope="col" { "Received" } th scope="col" { "Tried" } } }
                tbody {
                    @for one in &waits.oldest {
                        tr {
                            th scope="row" { a href={ "/messages/" (one.seq) } { (one.seq) } }
                            td { (one.kind.as_deref().unwrap_or("—")) }
                            td { (one.listener) }
                            td { (time_if(one.received_ms)) }
                            td {
                                @match one.tried {
                                    Some((attempts, since_ms)) => { (attempts) " times, first " (time(since_ms)) }
                                    None => span.none { "not yet" },
                                }
                            }
                        }
                    }
                }
            }
        }
        p { a href={ "/messages?route=" (route.name) "&state=queued" } { "All that wait" } }
    }
}

fn failures(route: &RouteStatus) -> Markup {
    if route.mishaps.is_empty() {
        return html! { div.empty { p { "Nothing has failed since the route was started." } } };
    }
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="failures" {
            table {
                thead { tr { th scope="col" { "When" } th scope="col" { "Message" } th scope="col" { "Why" } th scope="col" { "Then" } } }
                tbody {
                    @for mishap in &route.mishaps {
                        tr {
                            td { (time(mishap.at_ms)) }
                            th scope="row" { a id={ "failed-" (mishap.seq) "-" (mishap.at_ms) } href={ "/messages/" (mishap.seq) } { (mishap.seq) } }
                            td.wide { (mishap.reason) }
                            td { (mishap.then.name()) @if mishap.attempts > 0 { ", attempt " (mishap.attempts) } }
                        }
                    }
                }
            }
        }
    }
}
