//! What is wrong, why, and the way on: the worst first.
use super::super::operate;
use super::super::parts::{Tone, count, span, state, time};
use super::super::pulse::Seen;
use super::super::session::Session;
use crate::admin::credentials::Need;
use crate::alerts::Alert;
use crate::server::{ListenerStatus, RouteState, RouteStatus};
use maud::{Markup, html};

/// A message that has waited for so long, on a route that is at work, is worth a look.
const LATE: u64 = 5 * 60;

/// Something that is wrong.
struct Wrong {
    tone: Tone,
    word: &'static str,
    what: Markup,
    way: Markup,
}

/// All of it, or that there is nothing.
pub(super) fn all(session: &Session, seen: &Seen) -> Markup {
    let sight = &seen.sight;
    let mut wrong: Vec<Wrong> = sight.reasons.iter().map(|reason| not_ready(reason)).collect();
    wrong.extend(sight.routes.iter().flat_map(|route| of(session, seen, route, true)));
    // Of what is no route: what could not be translated, and routes that are gone.
    for (name, letters) in &sight.letters {
        if sight.routes.iter().all(|route| route.name != *name) {
            wrong.push(strangers(name, *letters));
        }
    }
    wrong.extend(sight.listeners.iter().filter(|listener| is_silent(listener)).map(silent));
    wrong.extend(seen.open.open.iter().filter(|alert| !is_told(&alert.rule)).map(alert));
    // Stable, so routes keep their order among what is as bad.
    wrong.sort_by_key(|wrong| wrong.tone != Tone::Bad);
    shown(&wrong, html! { p.fine { (state(Tone::Good, "all well")) " Nothing waits for you." } })
}

/// What is wrong with one route; nothing where nothing is.
pub(in super::super) fn of_route(session: &Session, seen: &Seen, route: &RouteStatus) -> Markup {
    shown(&of(session, seen, route, false), html! {})
}

fn shown(wrong: &[Wrong], fine: Markup) -> Markup {
    if wrong.is_empty() {
        return fine;
    }
    html! {
        ul.wrongs {
            @for one in wrong {
                li.bad[one.tone == Tone::Bad] {
                    div.what { (state(one.tone, one.word)) " " (one.what) }
                    div.way { (one.way) }
                }
            }
        }
    }
}

fn not_ready(reason: &str) -> Wrong {
    let what = html! { strong { "No message is taken: " } (reason) };
    Wrong { tone: Tone::Bad, word: "not ready", what, way: html! { "Senders get no acknowledgement, and try again." } }
}

/// `linked`: to the page of the route, which is elsewhere.
fn of(session: &Session, seen: &Seen, route: &RouteStatus, linked: bool) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let name = html! { strong { (route.name) } };
    let link = html! { @if linked { a id={ "why-of-" (route.name) } href={ "/routes/" (route.name) } { "Look at the route" } } };
    match (route.state, &route.rests) {
        (RouteState::Started, Some(reason)) => wrong.push(Wrong {
            tone: Tone::Bad,
            word: "resting",
            what: html! { (name) " delivers nothing: " q { (reason) } ". It tries again by itself." (waiting(route)) },
            way: link,
        }),
        (RouteState::Started, None) => wrong.extend(late(route, &name, &link)),
        (held, _) => wrong.push(Wrong {
            tone: Tone::Warn,
            word: held.name(),
            what: html! {
                (name) " has been " (held.name())
                @if let Some(by) = seen.sight.held.get(&route.name) { " by " (by.who) ", " (time(by.at_ms)) "." }
                @else { " since before the gateway was started." }
                (waiting(route))
            },
            way: html! { @if session.may(Need::Operate) { (operate::switch(session, route, "way")) } (link) },
        }),
    }
    if route.dead_letters > 0 {
        wrong.push(letters(&name, &route.name, route.dead_letters));
    }
    wrong
}

/// A route at work whose oldest message has waited too long: one patient's messages may be held by one that fails.
fn late(route: &RouteStatus, name: &Markup, link: &Markup) -> Option<Wrong> {
    let oldest_ms = route.oldest_queued_ms.filter(|oldest| seconds_since(*oldest) >= LATE)?;
    let last = route.mishaps.first();
    let what = html! {
        (name) " is behind: the oldest message has waited since " (time(oldest_ms)) ", " (count(route.queued)) " in all."
        @if let Some(last) = last { " The last failure: " q { (last.reason) } "." }
    };
    Some(Wrong { tone: Tone::Warn, word: "behind", what, way: link.clone() })
}

fn letters(name: &Markup, route: &str, letters: u64) -> Wrong {
    let (noun, them) = if letters == 1 { ("dead letter", "it") } else { ("dead letters", "them") };
    Wrong {
        tone: Tone::Warn,
        word: "errored",
        what: html! { (name) " gave up: " strong { (count(letters)) " " (noun) } "." },
        way: html! {
            a.button id={ "letters-of-" (route) } href={ "/dead-letters?route=" (route) } { "Look at " (them) " and send again" }
        },
    }
}

fn strangers(name: &str, count: u64) -> Wrong {
    let wrong = letters(&html! { strong { (name) } ", which is no route any more," }, name, count);
    if name != "untranslated" {
        return wrong;
    }
    let messages = if count == 1 { "1 message".to_owned() } else { format!("{} messages", super::count(count)) };
    Wrong { what: html! { strong { (messages) } " could not be translated or let in." }, ..wrong }
}

/// What is said of routes and listeners above is not said once more.
fn is_told(rule: &str) -> bool {
    matches!(rule, "queue_age" | "queue_depth" | "route_held" | "silence" | "journal")
}

fn alert(alert: &Alert) -> Wrong {
    let what = html! { strong { (alert.rule) } ": " (alert.text) ", since " (time(alert.since_ms)) "." };
    Wrong { tone: Tone::Warn, word: "alert", what, way: html! { a href="/alerts" { "Look at the alerts" } } }
}

fn waiting(route: &RouteStatus) -> Markup {
    html! {
        @if route.queued > 0 {
            " " a id={ "waiting-of-" (route.name) } href={ "/messages?route=" (route.name) "&state=queued" } {
                (count(route.queued)) @if route.queued == 1 { " message waits" } @else { " messages wait" }
            }
            @if let Some(oldest) = route.oldest_queued_ms { ", the oldest since " (time(oldest)) }
            "."
        } @else { " Nothing waits." }
    }
}

/// Whether no message has come for longer than its configuration takes for usual. Before the first one nothing can be said: the gateway may just have been started.
pub(super) fn is_silent(listener: &ListenerStatus) -> bool {
    let (Some(silence), Some(last_ms)) = (&listener.silence, listener.last_received_ms) else { return false };
    silence.counted(last_ms, jiff::Timestamp::now().as_millisecond()) > silence.after
}

fn silent(listener: &ListenerStatus) -> Wrong {
    let seconds = listener.last_received_ms.map_or(0, seconds_since);
    let what = html! { "No message has come to " strong { (listener.name) } " for " (span(seconds)) "." };
    let connections = match listener.connections {
        0 => "Nobody is connected: look at the sender.".to_owned(),
        1 => "One sender is connected and says nothing.".to_owned(),
        many => format!("{many} senders are connected and say nothing."),
    };
    Wrong { tone: Tone::Warn, word: "silent", what, way: html! { span.soft { (connections) } } }
}

fn seconds_since(ms: i64) -> u64 {
    (jiff::Timestamp::now().as_millisecond() - ms).max(0).unsigned_abs() / 1000
}
