//! The dashboard: how every listener and every route is.
use super::Desk;
use super::fault::Fault;
use super::parts::{Tone, count, counter, state, time_if};
use super::session::Session;
use super::shell::{self, Tab};
use crate::server::{ListenerStatus, RouteState, RouteStatus};
use axum::Extension;
use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Html<String>, Fault> {
    let (listeners, routes) = (desk.admin.control.listeners().await, desk.admin.control.routes().await);
    let content = html! {
        h1 { "Dashboard" }
        (listener_table(&listeners))
        (route_table(&routes))
    };
    Ok(Html(shell::page(&session, "Dashboard", Tab::Dashboard, content).into_string()))
}

fn listener_table(listeners: &[ListenerStatus]) -> Markup {
    html! {
        h2 #listeners { "Listeners" }
        div.scroll tabindex="0" role="region" aria-labelledby="listeners" {
            table {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Where" } th.number scope="col" { "Connections" } th.number scope="col" { "Received" } th scope="col" { "Last message" } } }
                tbody {
                    @for listener in listeners {
                        tr {
                            th scope="row" { (listener.name) }
                            td { (listener.kind) " " code { (listener.address) } @if listener.tls { " TLS" } }
                            td.number { (count(listener.connections)) }
                            td.number { (count(listener.received)) }
                            td { (time_if(listener.last_received_ms)) }
                        }
                    }
                }
            }
        }
    }
}

fn route_table(routes: &[RouteStatus]) -> Markup {
    html! {
        h2 #routes { "Routes" }
        div.scroll tabindex="0" role="region" aria-labelledby="routes" {
            table {
                thead { tr { th scope="col" { "Status" } th scope="col" { "Name" } th.number scope="col" { "Filtered" } th.number scope="col" { "Queued" } th.number scope="col" { "Sent" } th.number scope="col" { "Errored" } th scope="col" { "Last sent" } } }
                tbody {
                    @for route in routes {
                        tr {
                            td { (route_state(route)) }
                            th scope="row" { (route.name) }
                            td.number { (count(route.filtered)) }
                            td.number { (count(route.queued)) }
                            td.number { (count(route.sent)) }
                            td.number { (counter(route.dead_letters, &format!("/dead-letters?route={}", route.name))) }
                            td { (time_if(route.last_sent_ms)) }
                        }
                    }
                }
            }
        }
    }
}

fn route_state(route: &RouteStatus) -> Markup {
    match (route.state, &route.rests) {
        (RouteState::Started, None) => state(Tone::Good, "started"),
        (RouteState::Started, Some(_)) => state(Tone::Bad, "resting"),
        (held, _) => state(Tone::Warn, held.name()),
    }
}
