//! All messages of a search sent once more: first which they are and what has become of them, then, and only if they are still those, in turns.
use super::asked::{Asked, Keys};
use super::find;
use crate::admin::api::again::{Asker, names};
use crate::admin::api::bulk::{Bulk, Done, Told, look_at, send_all};
use crate::admin::api::{blocking, noted, time as exact};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::delivery::resend::Mappings;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{count, is_part};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::server::chosen::{Chosen, MANY_MAX};
use crate::server::{RouteState, RouteStatus};
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;

/// Between one sign of how far it has come and the next.
const TURN: Duration = Duration::from_secs(2);
/// In one turn.
const TURN_MAX: usize = 200;

type Fields = Result<Form<Vec<(String, String)>>, FormRejection>;

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad form", detail, "begin at the list of messages")
}

/// The way there, from a list of what was found. Not an address: what was looked for may be a patient's.
pub(super) fn entry(asked: &Asked, session: &Session) -> Markup {
    html! {
        form method="post" action="/messages/many" {
            (shell::csrf(session)) (hidden(&asked.given))
            p.bar { button { "Send all of these again…" } span.soft { "All that the search means, not this page alone; first it is shown how many." } }
        }
    }
}

fn hidden<N: AsRef<str>>(fields: &[(N, String)]) -> Markup {
    html! { @for (name, value) in fields { input type="hidden" name=(name.as_ref()) value=(value); } }
}

/// What is looked for, with times that do not move.
async fn meant(desk: &Desk, session: &Session, keys: &Keys) -> Result<(Chosen, Vec<(String, String)>), Fault> {
    let asked = keys.understood(jiff::Timestamp::now())?;
    let mut given: Vec<(String, String)> =
        asked.given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for (name, ms) in [("since", asked.filter.since_ms), ("until", asked.filter.until_ms)] {
        if let Some(text) = ms.and_then(exact) {
            given.retain(|(known, _)| known != name);
            given.push((name.to_owned(), text));
        }
    }
    // What stands in the search box wins, and would move.
    let moves = |word: &str| word.starts_with("since:") || word.starts_with("until:");
    for (_, q) in given.iter_mut().filter(|(name, q)| name == "q" && q.split_whitespace().any(moves)) {
        *q = q.split_whitespace().filter(|word| !moves(word)).collect::<Vec<_>>().join(" ");
    }
    given.retain(|(_, value)| !value.is_empty());
    let (data, phi) = (desk.admin.data.clone(), session.may(Need::Phi));
    Ok((blocking(move || find::chosen(&data, asked, phi)).await?, given))
}

/// `POST /messages/many`
pub(in crate::desk) async fn preview(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    fields: Fields,
) -> Result<Html<String>, Fault> {
    let Form(fields) = fields.map_err(|_| bad("the form cannot be read"))?;
    let (chosen, given) = meant(&desk, &session, &Keys::of(&fields)).await?;
    if session.may(Need::Phi) {
        noted!(look = true, user = %session.who, "messages of a search counted")?;
    }
    let told = look_at(&desk.admin, chosen).await?;
    let states = desk.admin.control.routes().await;
    let title = match told.count {
        1 => "Send 1 message again".to_owned(),
        number => format!("Send {} messages again", count(number)),
    };
    let content = html! {
        nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / send again" }
        h1 { (title) "?" }
        @if told.count == 0 {
            div.empty { p { "No message is like that any more." } p { a href="/messages" { "Back to the messages" } } }
        } @else {
            p { "From message " (link(told.first)) " to message " (link(told.last)) ", the oldest first, each as from its own page." }
            h2 #fates { "What has become of them" }
            (fates(&told))
            h2 #where { "Where to" }
            (form(&session, &told, &given, &states))
        }
    };
    Ok(Html(shell::page(&session, &title, Tab::Messages, content).into_string()))
}

fn link(seq: Option<u64>) -> Markup {
    html! { @if let Some(seq) = seq { a href={ "/messages/" (seq) } { (seq) } } }
}

fn fates(told: &Told) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="fates" {
            table {
                thead { tr { th scope="col" { "Route" } th scope="col" { "What has become of them there" } } }
                tbody {
                    @for (route, fates) in &told.fates {
                        tr { th scope="row" { (route) } td { @for (at, (name, number)) in fates.iter().enumerate() { @if at > 0 { ", " } (count(*number)) " " (name) } } }
                    }
                }
            }
        }
    }
}

fn form(session: &Session, told: &Told, given: &[(String, String)], states: &[RouteStatus]) -> Markup {
    html! {
        form method="post" action="/messages/many/send" {
            (shell::csrf(session)) (hidden(given))
            @for (name, value) in [("head", told.head), ("seen", told.seen), ("expected", told.count), ("all", told.count)] { input type="hidden" name=(name) value=(value); }
            fieldset {
                legend { "Routes" }
                @for state in states {
                    @let held = state.state != RouteState::Started;
                    label.tick { input type="checkbox" name="to" value=(state.name) disabled[held]; (state.name) @if held { " (" (state.state.name()) ": start it first)" } }
                }
            }
            fieldset {
                legend { "Mappings" }
                label.tick { input type="radio" name="mappings" value="original" required; "those of then: what was sent goes out once more" }
                label.tick { input type="radio" name="mappings" value="current" required; "those of today" }
            }
            p.note { "One of which a later message of the same patient went out is passed over, as it may bring an older state back; so is one that a route's filter keeps away, one that a route has still before it, and one that somebody sends again meanwhile. What was passed over is told." }
            p { label.tick { input type="checkbox" name="overwrite" value="1"; "Send also those of which later messages of the same patient went out" } }
            p { label.tick { input type="checkbox" name="filtered" value="1"; "Send also what a route's filter, or what became of it at intake, keeps away" } }
            p.bar { button.primary { "Send " (count(told.count)) " again" } a.button href="/messages" { "Leave them" } }
            p.soft { "Exactly these, " (count(MANY_MAX as u64)) " at most: what comes from now on is not touched, and if they are others by then nothing is sent. Where one does not arrive it stops, and asks." }
        }
    }
}

/// How far it has come.
struct Run {
    given: Vec<(String, String)>,
    to: Vec<String>,
    mappings: Mappings,
    overwrite: bool,
    filtered: bool,
    head: u64,
    seen: u64,
    all: u64,
    expected: u64,
    after: u64,
    sent: u64,
    passed: u64,
}

impl Run {
    fn of(fields: &[(String, String)]) -> Result<Run, Problem> {
        let of = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let number = |name: &str| match of(name) {
            None => Ok(0),
            Some(text) => text.parse::<u64>().map_err(|_| bad("a field of the form has no usable value")),
        };
        let chosen = fields.iter().filter(|(name, _)| name == "to").map(|(_, route)| route.as_str());
        if chosen.clone().next().is_none() {
            return Err(bad("no route is chosen"));
        }
        let mappings = of("mappings")
            .and_then(Mappings::parse)
            .ok_or_else(|| bad("the mappings are not chosen: those of then, or those of today"))?;
        Ok(Run {
            given: Vec::new(),
            to: names(chosen)?,
            mappings,
            overwrite: of("overwrite").is_some(),
            filtered: of("filtered").is_some(),
            head: number("head")?,
            seen: number("seen")?,
            all: number("all")?,
            expected: number("expected")?,
            after: number("after")?,
            sent: number("sent")?,
            passed: number("passed")?,
        })
    }

    /// The same again, as fields of a form that goes on behind a number.
    fn fields(&self, after: u64, expected: u64) -> Markup {
        let numbers = [
            ("head", self.head),
            ("seen", self.seen),
            ("all", self.all),
            ("expected", expected),
            ("after", after),
            ("sent", self.sent),
            ("passed", self.passed),
        ];
        html! {
            (hidden(&self.given))
            @for route in &self.to { input type="hidden" name="to" value=(route); }
            input type="hidden" name="mappings" value=(self.mappings.name());
            @if self.overwrite { input type="hidden" name="overwrite" value="1"; }
            @if self.filtered { input type="hidden" name="filtered" value="1"; }
            @for (name, value) in numbers { input type="hidden" name=(name) value=(value); }
        }
    }
}

/// `POST /messages/many/send`
pub(in crate::desk) async fn act(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Html<String>, Fault> {
    let Form(fields) = fields.map_err(|_| bad("the form cannot be read"))?;
    let mut run = Run::of(&fields)?;
    let (mut chosen, given) = meant(&desk, &session, &Keys::of(&fields)).await?;
    run.given = given;
    chosen.filter.last = Some(chosen.filter.last.map_or(run.head, |last| last.min(run.head)));
    let Run { mappings: by, overwrite, filtered, seen, expected, after, .. } = run;
    let bulk = Bulk { chosen, routes: run.to.clone(), by, overwrite, filtered, seen, expected, after };
    let asker = Asker::User(Arc::clone(&session.who));
    let done = send_all(&desk.admin, asker, bulk, TURN_MAX, TURN).await?;
    run.sent += done.sent;
    let failed = u64::from(done.stopped);
    run.passed += done.results.len() as u64 - done.sent - failed;
    let part = progress(&session, &run, &done);
    if is_part(&headers) {
        return Ok(Html(part.into_string()));
    }
    let title = "Sending messages again";
    let content = html! { nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / send again" } h1 { (title) } (part) };
    Ok(Html(shell::page(&session, title, Tab::Messages, content).into_string()))
}

/// How far it has come; as long as there are more and nothing failed it goes on by itself, or, without scripts, by a button.
fn progress(session: &Session, run: &Run, done: &Done) -> Markup {
    let last = done.results.iter().rev().find_map(|(seq, _, why)| Some((*seq, why.as_deref()?)));
    let at = done.results.last().map_or(run.after, |(seq, ..)| *seq);
    let goes_on = !done.stopped && done.next.is_some();
    let whole = !goes_on && !done.stopped && run.passed == 0;
    html! {
        section #progress class=(if whole { "done" } else if done.stopped { "fault" } else { "note" }) role="status" {
            p { strong { (count(run.sent)) " sent" } @if run.passed > 0 { ", " strong { (count(run.passed)) " passed over" } } " of " (count(run.all)) "." }
            @if goes_on { progress max=(run.all) value=(run.sent + run.passed) aria-label="Looked at so far" {} }
            @if let Some((seq, why)) = last {
                p { @if done.stopped { "Message " } @else { "The last that was passed over, " } a href={ "/messages/" (seq) } { (seq) } @if done.stopped { " has not arrived" } ": " (why) }
            }
            @if done.stopped {
                p { strong { "What to do: " } "mend what is said, then try it again from there; or leave that one behind." }
                div.bar {
                    (form_on(session, run, (at.saturating_sub(1), done.left + 1), false, "Try again from there"))
                    @if done.next.is_some() { (form_on(session, run, (at, done.left), false, "Leave it behind and go on")) }
                    a.button href="/messages" { "Stop here" }
                }
            } @else if goes_on {
                (form_on(session, run, (at, done.left), true, "Go on"))
                p { a.button href="/messages" { "Stop here" } }
            } @else {
                p { a.button href="/messages" autofocus { "Back to the messages" } }
            }
        }
    }
}

fn form_on(session: &Session, run: &Run, (after, expected): (u64, u64), by_itself: bool, what: &str) -> Markup {
    let trigger = if by_itself { "load delay:100ms" } else { "submit" };
    html! {
        form method="post" action="/messages/many/send" hx-post="/messages/many/send" hx-trigger=(trigger) hx-target="#progress" hx-swap="outerHTML" {
            (shell::csrf(session)) (run.fields(after, expected)) button { (what) }
        }
    }
}
