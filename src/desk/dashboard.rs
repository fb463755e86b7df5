//! The dashboard: what is wrong and the way on; then how every route and every listener is. Every count leads to what it counts.
mod attention;

use super::Desk;
use super::fault::Fault;
use super::live::Part;
use super::parts::{Tone, count, counter, size, span, spark, state, time_if};
use super::pulse::Seen;
use super::session::Session;
use super::shell::{self, Tab};
use super::{gate, operate};
use crate::admin::credentials::Need;
use crate::admin::metrics::received;
use crate::server::{ListenerStatus, RouteState, RouteStatus};
use axum::Extension;
use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

pub(super) use attention::of_route;

/// The events that bring all rows, where other rows are there than before.
pub(super) const ROUTES: &str = "routes";
pub(super) const LISTENERS: &str = "listeners";

/// `GET /`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Html<String>, Fault> {
    let seen = desk.pulse.look(&desk.admin).await?;
    let content = html! {
        div.bar.head {
            h1 { "Dashboard" }
            @if session.may(Need::Configure) {
                form.end method="post" action="/reload" hx-post="/reload" hx-target="#reloaded" {
                    input type="hidden" name=(gate::CSRF_FIELD) value=(session.csrf());
                    button type="submit" title="Reads the configuration and the mappings anew, whole or not at all" { "Reload configuration" }
                }
            }
        }
        div #reloaded aria-live="polite" {}
        section #attention sse-swap="attention" aria-label="What needs attention" { (attention::all(&session, &seen)) }
        div.cards.figures sse-swap="figures" { (figures(&seen)) }
        h2 #routes { "Routes" }
        (route_table(&session, &seen))
        h2 #listeners { "Listeners" }
        (listener_table(&seen))
    };
    let from = format!("/live?rows={}", rows(&seen));
    Ok(Html(shell::live(&session, "Dashboard", Tab::Dashboard, &from, content).into_string()))
}

/// What a page that is open has brought up to date.
pub(super) fn parts(session: &Session, seen: &Seen) -> Vec<Part> {
    let sign = Some(rows(seen));
    let mut all = vec![
        Part::new("attention", attention::all(session, seen)),
        Part::new("figures", figures(seen)),
        Part { name: ROUTES.into(), content: route_rows(session, seen), sign: sign.clone() },
        Part { name: LISTENERS.into(), content: listener_rows(seen), sign },
    ];
    let routes = seen.sight.routes.iter();
    all.extend(routes.map(|route| Part::new(format!("route-{}", route.name), route_cells(session, seen, route))));
    let listeners = seen.sight.listeners.iter();
    all.extend(listeners.map(|one| Part::new(format!("listener-{}", one.name), listener_cells(seen, one))));
    all
}

/// Which rows there are, in short.
fn rows(seen: &Seen) -> String {
    let mut hash = DefaultHasher::new();
    seen.sight.routes.iter().for_each(|route| route.name.hash(&mut hash));
    "/".hash(&mut hash);
    seen.sight.listeners.iter().for_each(|listener| listener.name.hash(&mut hash));
    format!("{:x}", hash.finish())
}

fn figures(seen: &Seen) -> Markup {
    let sight = &seen.sight;
    let total = |of: fn(&RouteStatus) -> u64| sight.routes.iter().map(of).sum::<u64>();
    let received: u64 = sight.listeners.iter().map(|listener| listener.received).sum();
    let letters: u64 = sight.letters.values().sum();
    let up = (jiff::Timestamp::now().as_millisecond() - seen.started_ms).max(0).unsigned_abs() / 1000;
    let ready = sight.reasons.is_empty();
    html! {
        div.card {
            @if ready { (state(Tone::Good, "ready")) } @else { (state(Tone::Bad, "not ready")) }
            p.soft { "up " (span(up)) }
        }
        (figure("Received", html! { (counter(received, "/messages")) }, "since it started"))
        (figure("Queued", html! { (counter(total(|route| route.queued), "/messages?state=queued")) }, "over all routes"))
        (figure("Dead letters", html! { (counter(letters, "/dead-letters")) }, "to look at and send again"))
        (figure("Journal", html! { (count(sight.journal.head)) }, durability(sight.journal.durability.name())))
        (figure("Disk free", html! { (sight.disk_free.map_or_else(|| "—".to_owned(), size)) }, "where the data lies"))
    }
}

fn figure(name: &str, number: Markup, note: &str) -> Markup {
    html! { div.card { span.soft { (name) } span.figure { (number) } span.soft { (note) } } }
}

fn durability(name: &str) -> &str {
    match name {
        "fsync" => "fsync: safe from power loss",
        "os" => "os: a power loss can lose some",
        _ => "memory: a power loss loses all",
    }
}

fn route_table(session: &Session, seen: &Seen) -> Markup {
    if seen.sight.routes.is_empty() {
        return html! {
            div.empty {
                p { "There is no route: messages are kept and acknowledged, and go nowhere." }
                p { "Add a " code { "[[route]]" } " to the configuration and reload it." }
            }
        };
    }
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="routes" {
            table.board data-rows {
                thead {
                    tr {
                        th scope="col" { "Status" }
                        th scope="col" { "Name" }
                        th.number scope="col" { "Received" }
                        th.number scope="col" { "Filtered" }
                        th.number scope="col" { "Queued" }
                        th.number scope="col" { "Sent" }
                        th.number scope="col" title="Dead letters that there are now" { "Errored" }
                        th scope="col" title="Messages delivered a minute, over the last ten minutes" { "Rate" }
                        th scope="col" { "Last sent" }
                        th scope="col" { "Oldest queued" }
                        @if session.may(Need::Operate) { th scope="col" { "Action" } }
                    }
                }
                tbody sse-swap=(ROUTES) { (route_rows(session, seen)) }
            }
        }
        p.soft { "Received, filtered and sent count since the gateway was started; their links lead to all that the journal has." }
    }
}

fn route_rows(session: &Session, seen: &Seen) -> Markup {
    html! {
        @for route in &seen.sight.routes {
            // The row itself stays when its cells change, and with it whether it is selected.
            tr sse-swap={ "route-" (route.name) } { (route_cells(session, seen, route)) }
        }
    }
}

fn route_cells(session: &Session, seen: &Seen, route: &RouteStatus) -> Markup {
    let name = &route.name;
    let messages = |of: &str| format!("/messages?route={name}{of}");
    // What has the focus is found again by its id.
    let linked = |id: &str, number: u64, href: String| {
        html! { @if number == 0 { span.none { "0" } } @else { a.count id={ (id) "-of-" (name) } href=(href) { (count(number)) } } }
    };
    html! {
        td { (route_state(route)) }
        th scope="row" { a id={ "route-of-" (name) } href={ "/routes/" (name) } { (name) } " " span.soft { (route.kind) } }
        td.number { (linked("received", received(route), messages(""))) }
        td.number { (linked("filtered", route.filtered, messages("&state=filtered"))) }
        td.number { (linked("queued", route.queued, messages("&state=queued"))) }
        td.number { (linked("sent", route.sent, messages("&state=sent"))) }
        td.number { (linked("errored", route.dead_letters, format!("/dead-letters?route={name}"))) }
        td { (spark("delivered", seen.rates.route(name))) }
        td { (time_if(route.last_sent_ms)) }
        td { (time_if(route.oldest_queued_ms)) }
        @if session.may(Need::Operate) { td { (operate::switch(session, route, "row")) } }
    }
}

/// How a route is, in a word.
pub(super) fn route_state(route: &RouteStatus) -> Markup {
    match (route.state, &route.rests) {
        (RouteState::Started, None) => state(Tone::Good, "started"),
        (RouteState::Started, Some(_)) => state(Tone::Bad, "resting"),
        (held, _) => state(Tone::Warn, held.name()),
    }
}

/// How a listener is, in a word.
pub(super) fn listener_state(listener: &ListenerStatus) -> Markup {
    if attention::is_silent(listener) { state(Tone::Warn, "silent") } else { state(Tone::Good, "listening") }
}

fn listener_table(seen: &Seen) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="listeners" {
            table.board {
                thead {
                    tr {
                        th scope="col" { "Status" }
                        th scope="col" { "Name" }
                        th scope="col" { "Address" }
                        th.number scope="col" { "Connections" }
                        th.number scope="col" { "Received" }
                        th scope="col" title="Messages received a minute, over the last ten minutes" { "Rate" }
                        th scope="col" { "Last message" }
                    }
                }
                tbody sse-swap=(LISTENERS) { (listener_rows(seen)) }
            }
        }
    }
}

fn listener_rows(seen: &Seen) -> Markup {
    html! {
        @for listener in &seen.sight.listeners {
            tr sse-swap={ "listener-" (listener.name) } { (listener_cells(seen, listener)) }
        }
    }
}

fn listener_cells(seen: &Seen, listener: &ListenerStatus) -> Markup {
    let name = &listener.name;
    html! {
        td { (listener_state(listener)) }
        th scope="row" { a id={ "listener-of-" (name) } href={ "/listeners/" (name) } { (name) } }
        td { (listener.kind) " " code { (listener.address) } @if listener.tls { " TLS" } }
        td.number { (count(listener.connections)) }
        td.number { (counter(listener.received, &format!("/messages?listener={name}"))) }
        td { (spark("received", seen.rates.listener(name))) }
        td { (time_if(listener.last_received_ms)) }
    }
}
