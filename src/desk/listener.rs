//! A listener: how it is, who is connected, what became of what came in, and how it is configured. Every count leads to what it counts.
use super::Desk;
use super::dashboard::listener_state;
use super::fault::Fault;
use super::live::Part;
use super::operate::Name;
use super::parts::{Tone, count, counter, href, spark, state, time, time_if};
use super::pulse::Seen;
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::blocking;
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::facets::Outcome;
use crate::search::{Filter, Index, Look};
use crate::server::ListenerStatus;
use crate::telemetry::telemetry;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Html;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Messages that are looked at for who sent them: the newest.
const LOOKED_AT: usize = 200;
/// How long that may take.
const TIME: Duration = Duration::from_millis(150);
/// Senders and addresses that are listed.
const LISTED_MAX: usize = 50;

/// Who sends, as MSH-3 and MSH-4 say: how many of the newest messages, when the last came, and its number.
type Feeds = BTreeMap<(String, String), (u64, i64, u64)>;

fn unknown() -> Problem {
    Problem::not_found("the gateway has no listener of that name", "the dashboard shows which there are")
}

/// `GET /listeners/{name}`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    name: Name,
) -> Result<Html<String>, Fault> {
    let Path(name) = name.map_err(Problem::from)?;
    let seen = desk.pulse.look(&desk.admin).await?;
    let listener = seen.sight.listeners.iter().find(|listener| listener.name == name).ok_or_else(unknown)?;
    let may = session.may(Need::Codes);
    let (data, named) = (desk.admin.data.clone(), name.clone());
    let feeds = blocking(move || Ok(if may { feeds(&data, named) } else { Feeds::new() })).await?;
    let content = html! {
        p.crumb { a href="/" { "Dashboard" } }
        div sse-swap="listener-head" { (head_of(listener)) }
        div.cards.figures sse-swap="listener-figures" { (figures(&seen, listener)) }
        h2 #outcomes { "What became of it" }
        div sse-swap="listener-outcomes" { (outcomes(&name)) }
        h2 #peers { "Who is connected" }
        div sse-swap="listener-peers" { (peers(listener)) }
        @if may { h2 #feeds { "Who sends" } (senders(&session, &name, &feeds)) }
        h2 { "Configuration" }
        div.card { dl.facts { @for (what, value) in &listener.told { dt { (what) } dd { (value) } } } }
    };
    let from = href("/live", &[("listener", &name)]);
    Ok(Html(shell::live(&session, &name, Tab::Dashboard, &from, content).into_string()))
}

/// What a page that is open has brought up to date.
pub(super) fn parts(seen: &Seen, name: &str) -> Vec<Part> {
    let Some(listener) = seen.sight.listeners.iter().find(|listener| listener.name == name) else {
        let gone = html! { h1 { (name) " " (state(Tone::Still, "gone")) } p { "The configuration names no such listener any more." } };
        return vec![Part::new("listener-head", gone)];
    };
    vec![
        Part::new("listener-head", head_of(listener)),
        Part::new("listener-figures", figures(seen, listener)),
        Part::new("listener-outcomes", outcomes(name)),
        Part::new("listener-peers", peers(listener)),
    ]
}

fn head_of(listener: &ListenerStatus) -> Markup {
    html! {
        div.bar.head { h1 { (listener.name) " " (listener_state(listener)) } }
        p { (listener.kind) " " code { (listener.address) } @if listener.tls { ", encrypted (TLS)" } @else { ", not encrypted" } }
    }
}

fn figures(seen: &Seen, listener: &ListenerStatus) -> Markup {
    let name = &listener.name;
    let figure = |what: &str, number: Markup, note: Markup| {
        html! { div.card { span.soft { (what) } span.figure { (number) } span.soft { (note) } } }
    };
    let ack = telemetry().acknowledgements(name);
    let quantile = |share: f64| ack.as_ref().and_then(|ack| ack.quantile(share)).map_or_else(|| "—".to_owned(), shown);
    html! {
        (figure("Received", counter(listener.received, &href("/messages", &[("listener", name)])), html! { "since it was started" }))
        (figure("Rate", spark("received", seen.rates.listener(name)), html! { "over the last ten minutes" }))
        (figure("Last message", time_if(listener.last_received_ms), html! { "when it came" }))
        (figure("Connections", html! { (count(listener.connections)) }, html! { "open now" }))
        (figure("Answered within", html! { (quantile(0.5)) }, html! { "half of them; 99 of 100 within " (quantile(0.99)) }))
    }
}

/// `3.2 ms`
fn shown(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

fn outcomes(name: &str) -> Markup {
    let all = Outcome::ALL.map(Outcome::name);
    let counted = telemetry().outcomes(name, all);
    let refused = telemetry().refusals(name);
    let links = |outcome: &str| href("/messages", &[("listener", name), ("outcome", outcome)]);
    html! {
        @if counted.iter().all(|(_, number)| *number == 0) && refused.is_empty() {
            div.empty { p { "Nothing has come since the gateway was started." } }
        } @else {
            dl.facts.card {
                @for (outcome, number) in counted.iter().filter(|(_, number)| *number > 0) {
                    dt { (outcome) } dd { (counter(*number, &links(outcome))) " " span.soft { (answer(outcome)) } }
                }
                @for (reason, number) in &refused {
                    dt { "not let in" } dd { (count(*number)) " " span.soft { (reason) ", see the log" } }
                }
            }
        }
    }
}

/// How a message with that outcome is answered.
fn answer(outcome: &str) -> &'static str {
    match outcome {
        "received" | "translated" | "ignored" => "acknowledged (AA or CA)",
        "untranslated" | "refused" => "answered AE",
        "foreign" | "rejected" | "unreadable" => "answered AR",
        _ => "",
    }
}

fn peers(listener: &ListenerStatus) -> Markup {
    html! {
        @if listener.peers.is_empty() { div.empty { p { "Nobody is connected." } } } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="peers" {
                table {
                    thead { tr { th scope="col" { "Address" } th.number scope="col" { "Connections" } } }
                    tbody { @for (address, connections) in listener.peers.iter().take(LISTED_MAX) { tr { th scope="row" { code { (address) } } td.number { (count(*connections)) } } } }
                }
            }
            @if listener.peers.len() > LISTED_MAX { p.soft { "And " (count((listener.peers.len() - LISTED_MAX) as u64)) " addresses more." } }
        }
    }
}

fn senders(session: &Session, name: &str, feeds: &Feeds) -> Markup {
    html! {
        @if feeds.is_empty() { div.empty { p { "No message of it is found just now." } } } @else {
            p.soft { "By MSH-3 and MSH-4 of its newest messages, " (LOOKED_AT) " at most." }
            div.scroll tabindex="0" role="region" aria-labelledby="feeds" {
                table {
                    thead { tr { th scope="col" { "Sender" } th.number scope="col" { "Messages" } th scope="col" { "Last" } th scope="col" { "Message" } } }
                    tbody {
                        @for ((application, facility), (number, last_ms, seq)) in feeds.iter().take(LISTED_MAX) {
                            @let sender = format!("{application}|{facility}");
                            tr {
                                th scope="row" { (application) " | " (facility) }
                                // Senders are looked for by who may read messages.
                                td.number { @if session.may(Need::Phi) { a.count href=(href("/messages", &[("listener", name), ("sender", &sender)])) { (count(*number)) } } @else { (count(*number)) } }
                                td { (time(*last_ms)) }
                                td { a href={ "/messages/" (seq) } { (seq) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Who sent the newest messages of a listener. An index that cannot be read knows nobody. Blocks.
fn feeds(data: &std::path::Path, listener: String) -> Feeds {
    let mut feeds = Feeds::new();
    let filter = Filter { listener: Some(listener), ..Filter::default() };
    let look = Look { filter, within: None, wanted: LOOKED_AT, batch: LOOKED_AT + 1, time: TIME };
    let found = Index::open(data).and_then(|index| index.look(&look, Ok::<_, crate::search::Error>));
    for entry in found.map(|found| found.entries).unwrap_or_default() {
        let place = feeds.entry((entry.sending_application, entry.sending_facility)).or_default();
        place.0 += 1;
        if entry.received_ms >= place.1 {
            (place.1, place.2) = (entry.received_ms, entry.seq);
        }
    }
    feeds
}
