//! The message browser: which messages came, found by what they are and what has become of them, the newest first.
//!
//! | file | what |
//! |---|---|
//! | `asked` | what is looked for |
//! | `find` | finding a page of it |
//! | `many` | sending all of it once more |
//!
//! Who may not read messages sees what routing knows of them (number, time, type, listener, outcome, size, states) and looks for nothing else.
mod asked;
mod find;
pub(super) mod many;

use super::Desk;
use super::fault::Fault;
use super::parts::{self, Tone, count, size, state, time};
use super::session::Session;
use super::shell::{self, Tab};
use super::standing::label;
use crate::admin::api::messages::shown_kind;
use crate::admin::api::{blocking, noted, numbers};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::facets::Outcome;
use crate::search::Entry;
use crate::server::fate::{self, Became, Status};
use asked::{Asked, Keys};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use find::{Found, Row};
use maud::{Markup, html};
use std::sync::Arc;

/// What stands for what somebody may not see.
pub(super) const MASKED: &str = "•••";

/// Names that may be chosen from.
struct Choices {
    listeners: Vec<String>,
    routes: Vec<String>,
}

/// `GET /messages`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    Query(keys): Query<Keys>,
) -> Result<Html<String>, Fault> {
    let phi = session.may(Need::Phi);
    let asked = keys.understood(jiff::Timestamp::now())?;
    let outlets = desk.admin.control.outlets().await.ok_or_else(Problem::stopping)?;
    let (data, sought, routes) = (desk.admin.data.clone(), asked.clone(), outlets.routes.clone());
    let found = blocking(move || find::find(&data, &routes, sought, phi)).await?;
    if phi {
        let seqs = numbers(found.rows.iter().map(|(entry, _)| entry.seq));
        noted!(look = true, user = %session.who, seqs, "messages listed")?;
    }
    let part = results(&asked, &found, &session);
    if parts::is_part(&headers) {
        return Ok(Html(part.into_string()));
    }
    let listeners = desk.admin.control.listeners().await.into_iter().map(|listener| listener.name).collect();
    let choices = Choices { listeners, routes: fate::names(&outlets.routes) };
    let content = html! {
        h1 { "Messages" }
        (form(&asked, &choices, phi))
        div #found { (part) }
    };
    Ok(Html(shell::page(&session, "Messages", Tab::Messages, content).into_string()))
}

fn form(asked: &Asked, choices: &Choices, phi: bool) -> Markup {
    let outcomes = Outcome::ALL.map(|outcome| outcome.name().to_owned());
    let states = Became::ALL.map(|(name, _)| name.to_owned());
    let more = ["since", "until", "type", "sender", "listener", "patient", "control", "first", "last"];
    let open = more.iter().any(|key| !asked.value(key).is_empty());
    let hint = if phi {
        "control:… patient:… type:ADT^A01 sender:… seq:100-200 text:\"…\", or a control id, patient id or text"
    } else {
        "type:ADT^A01 seq:100-200 listener:… errored"
    };
    html! {
        form.search role="search" method="get" action="/messages" hx-get="/messages" hx-target="#found" hx-push-url="true" hx-trigger="submit, change from:select" {
            div.bar {
                label.wide { "Search" input type="search" name="q" value=(asked.value("q")) placeholder=(hint) data-search autocomplete="off" spellcheck="false"; }
                (choice("Route", "route", "any route", &choices.routes, asked))
                (choice("State", "state", "any state", &states, asked))
                (choice("Outcome", "outcome", "any outcome", &outcomes, asked))
                button.primary type="submit" { "Search" }
                a.button href="/messages" { "Clear" }
            }
            details open[open] {
                summary { "More filters" }
                div.bar {
                    (field("Received since (UTC)", "since", "2h, 2026-01-31T08:30", asked))
                    (field("until (UTC)", "until", "2026-02-01", asked))
                    (field("Type", "type", "ADT^A01", asked))
                    (choice("Listener", "listener", "any listener", &choices.listeners, asked))
                    (field("From number", "first", "1", asked))
                    (field("to number", "last", "", asked))
                    @if phi {
                        (field("Sender (MSH-3 or MSH-4)", "sender", "HIS|HARBOR", asked))
                        (field("Patient id (PID-3)", "patient", "", asked))
                        (field("Control id (MSH-10)", "control", "", asked))
                    }
                }
            }
        }
    }
}

fn field(label: &str, name: &str, hint: &str, asked: &Asked) -> Markup {
    html! { label { (label) input name=(name) value=(asked.value(name)) placeholder=(hint) autocomplete="off" spellcheck="false"; } }
}

fn choice(label: &str, name: &str, any: &str, values: &[String], asked: &Asked) -> Markup {
    let chosen = asked.value(name);
    html! {
        label {
            (label)
            select name=(name) {
                option value="" { (any) }
                @for value in values { option value=(value) selected[value == chosen] { (value) } }
                // A link may name one that is gone.
                @if !chosen.is_empty() && !values.iter().any(|value| value == chosen) { option value=(chosen) selected { (chosen) } }
            }
        }
    }
}

fn results(asked: &Asked, found: &Found, session: &Session) -> Markup {
    let phi = session.may(Need::Phi);
    let first_page = asked.address(None);
    html! {
        @if let Some(meaning) = found.meaning { p.soft { "The words were looked for as " strong { (meaning) } "." } }
        @if found.rows.is_empty() {
            (nothing(asked, found))
        } @else {
            p.soft.tally {
                (count(found.rows.len() as u64)) @if found.next.is_some() { " or more" } @if found.rows.len() == 1 { " message" } @else { " messages" } ", the newest first"
                @if found.read > 0 && asked.text.is_some() { ", " (count(found.read)) " read for it" }
                ", in " (found.took.as_millis()) " ms"
            }
            div.scroll tabindex="0" role="region" aria-label="Messages found" { (table(asked, &found.rows, phi)) }
        }
        (pager(asked, found, &first_page))
        @if session.may(Need::Operate) && !found.rows.is_empty() && !asked.given.is_empty() { (many::entry(asked, session)) }
        @if found.indexed < found.head {
            p.note role="status" { "Indexed up to " (count(found.indexed)) " of " (count(found.head)) ": what came since is not found yet. It catches up by itself; search again in a moment." }
        }
        @if !phi { p.soft { "What is a patient's is masked (" (MASKED) "): it takes the role phi-reader to see it." } }
    }
}

fn nothing(asked: &Asked, found: &Found) -> Markup {
    html! {
        div.empty {
            @if let Some(next) = found.next {
                p { strong { "Nothing so far." } " Looked from the newest back to message " (count(next + 1)) "." }
            } @else if found.head == 0 {
                p { strong { "No message has come yet." } }
                p { "Send one to a listener of the dashboard: " code { "handoff send FILE --to 127.0.0.1:2575" } }
            } @else if asked.given.is_empty() {
                p { strong { "No message is indexed yet." } " Search again in a moment." }
            } @else {
                p { strong { "Nothing is like that." } }
                p { "Take a filter away, or " a href="/messages" { "look at all messages" } "." }
            }
        }
    }
}

fn pager(asked: &Asked, found: &Found, first_page: &str) -> Markup {
    html! {
        nav.pager aria-label="Pages of the list" {
            @if asked.paged { a.button href=(first_page) { "Newest" } }
            @if let Some(next) = found.next {
                @let older = asked.address(Some(next + 1));
                @if found.full {
                    a.button href=(older) rel="next" { "Older" }
                } @else {
                    a.button href=(older) rel="next" { "Look further back, from message " (count(next)) }
                }
            }
        }
    }
}

fn table(asked: &Asked, rows: &[Row], phi: bool) -> Markup {
    let all = asked.route.is_some() || asked.state.is_some();
    html! {
        table.messages data-rows {
            thead {
                tr {
                    th.number scope="col" { "Number" } th scope="col" { "Received" } th scope="col" { "Type" } th scope="col" { "Outcome" } th scope="col" { "Routes" }
                    th scope="col" { "Sender" } th scope="col" { "Control id" } th scope="col" { "Patient" } th scope="col" { "Listener" } th.number scope="col" { "Size" }
                }
            }
            tbody {
                @for (entry, statuses) in rows {
                    tr {
                        th.number scope="row" { a href={ "/messages/" (entry.seq) } { (entry.seq) } }
                        td { (time(entry.received_ms)) }
                        td { @if phi { (entry.kind()) } @else { (shown_kind(entry.code.as_bytes(), entry.event.as_bytes())) } }
                        td { (outcome(entry.outcome)) }
                        td { (routes(statuses, all)) }
                        td { @if phi { (sender(entry)) } @else { (MASKED) } }
                        td { @if phi { code { (entry.control_id) } } @else { (MASKED) } }
                        td { @if phi { (patients(&entry.patients)) } @else { (MASKED) } }
                        td { (entry.listener) }
                        td.number { (size(entry.bytes)) }
                    }
                }
            }
        }
    }
}

/// MSH-3 and MSH-4, of each the name alone.
fn sender(entry: &Entry) -> Markup {
    let (application, facility) = (&entry.sending_application, &entry.sending_facility);
    let name = |text: &str| text.split('^').next().unwrap_or_default().to_owned();
    html! {
        span title={ (application) " | " (facility) } { (name(application)) @if !facility.is_empty() { " | " (name(facility)) } }
    }
}

fn patients(patients: &[String]) -> Markup {
    html! {
        @if let Some(first) = patients.first() {
            code { (first) }
            @if patients.len() > 1 { span.soft title=(patients.join(", ")) { " +" (patients.len() - 1) } }
        } @else { span.none { "—" } }
    }
}

/// What became of it at intake.
pub(super) fn outcome(outcome: Outcome) -> Markup {
    let tone = match outcome {
        Outcome::Received | Outcome::Translated => Tone::Good,
        Outcome::Ignored => Tone::Still,
        Outcome::Untranslated | Outcome::Rejected | Outcome::Unreadable | Outcome::Refused | Outcome::Foreign => {
            Tone::Bad
        }
    };
    state(tone, outcome.name())
}

/// What became of it on routes. Those that did not want it are shown where somebody asks for them.
fn routes(statuses: &[(String, Status)], all: bool) -> Markup {
    let on = |wanted: fn(&Status) -> bool| -> Vec<&str> {
        statuses.iter().filter(|(_, status)| wanted(status)).map(|(route, _)| route.as_str()).collect()
    };
    let unwanted = |status: &Status| matches!(status, Status::Filtered | Status::Before);
    let sent = on(|status| *status == Status::Sent);
    html! {
        @for (route, status) in statuses.iter().filter(|(_, status)| *status != Status::Sent && (all || !unwanted(status))) {
            span.on-route { (label(status)) " " (route) }
        }
        @if !sent.is_empty() { span.on-route { (label(&Status::Sent)) " " (sent.join(", ")) } }
        @if statuses.iter().all(|(_, status)| unwanted(status)) && !all { span.none { "wanted by no route" } }
    }
}
