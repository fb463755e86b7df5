//! All messages of a search sent once more: first which they are and what has become of them, then, and only if they are still those, in turns.
use super::asked::{Asked, Keys};
use super::find;
use crate::admin::api::again::{Asker, names};
use crate::admin::api::bulk::{Bulk, CHANGED, Done, Rest, Told, look_at, send_all};
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::delivery::resend::Mappings;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{count, is_part};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::desk::tally;
use crate::server::chosen::{Chosen, MANY_MAX};
use crate::server::tally::{Cause, Tally};
use crate::server::{RouteState, RouteStatus};
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use jiff::Timestamp;
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

/// What is looked for, in the very words that were given. Times that are told from now on back ("2h") are so from one moment on, which is handed on with them.
async fn meant(desk: &Desk, session: &Session, keys: &Keys, at: Timestamp) -> Result<(Chosen, Given), Fault> {
    let asked = keys.understood(at)?;
    let mut given: Given = asked.given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    given.push((AT.to_owned(), at.as_millisecond().to_string()));
    let (data, phi) = (desk.admin.data.clone(), session.may(Need::Phi));
    Ok((blocking(move || find::chosen(&data, asked, phi)).await?, given))
}

/// Names and values of fields.
type Given = Vec<(String, String)>;
/// The field of that moment, in milliseconds since 1970.
const AT: &str = "at";

/// `POST /messages/many`
pub(in crate::desk) async fn preview(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    fields: Fields,
) -> Result<Html<String>, Fault> {
    let Form(fields) = fields.map_err(|_| bad("the form cannot be read"))?;
    let (title, content) = looked(&desk, &session, &Keys::of(&fields), Timestamp::now(), html! {}).await?;
    Ok(Html(shell::page(&session, &title, Tab::Messages, content).into_string()))
}

/// Which they are, below what there is to say.
async fn looked(
    desk: &Desk,
    session: &Session,
    keys: &Keys,
    at: Timestamp,
    said: Markup,
) -> Result<(String, Markup), Fault> {
    let (chosen, given) = meant(desk, session, keys, at).await?;
    if session.may(Need::Phi) {
        noted!(look = true, user = %session.who, "messages of a search counted")?;
    }
    let told = look_at(&desk.admin, chosen, 0).await?;
    let states = desk.admin.control.routes().await;
    let title = match told.count {
        1 => "Send 1 message again".to_owned(),
        number => format!("Send {} messages again", count(number)),
    };
    let content = html! {
        nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / send again" }
        (said)
        h1 { (title) "?" }
        @if told.count == 0 {
            div.empty { p { "No message is like that any more." } p { a href="/messages" { "Back to the messages" } } }
        } @else {
            p { "From message " (link(told.first)) " to message " (link(told.last)) ", the oldest first, each as from its own page." }
            p.soft { "The search: " (search(&given)) }
            h2 #fates { "What has become of them" }
            (fates(&told))
            h2 #where { "Where to" }
            (form(session, &told, &given, &states))
        }
    };
    Ok((title, content))
}

/// As it was given.
fn search(given: &[(String, String)]) -> Markup {
    html! {
        @for (name, value) in given.iter().filter(|(name, _)| name != AT) {
            @if name == "q" { code { (value) } } @else { (name) " " code { (value) } } " "
        }
    }
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
            input type="hidden" name="pin" value=(told.pin);
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
            p.note { "One of which a later message of the same patient went out is passed over, as it may bring an older state back; so is one that a route's filter keeps away, one that a route has still before it, one that somebody sends again meanwhile, and one that contradicts what its target has. How many were passed over for which reason is told." }
            p { label.tick { input type="checkbox" name="overwrite" value="1"; "Send also those of which later messages of the same patient went out" } }
            p { label.tick { input type="checkbox" name="filtered" value="1"; "Send also what a route's filter, or what became of it at intake, keeps away" } }
            p.bar { button.primary { "Send " (count(told.count)) " again" } a.button href="/messages" { "Leave them" } }
            p.soft { "Exactly these, " (count(MANY_MAX as u64)) " at most: what comes from now on is not touched, and if they are not the same by then nothing is sent. Where one does not arrive it stops, and asks." }
        }
    }
}

/// How far it has come.
struct Run {
    given: Given,
    at: Timestamp,
    to: Vec<String>,
    mappings: Mappings,
    overwrite: bool,
    filtered: bool,
    head: u64,
    seen: u64,
    all: u64,
    /// Something may have been sent already.
    begun: bool,
    /// What is left.
    rest: Rest,
}

impl Run {
    fn of(fields: &[(String, String)]) -> Result<Run, Problem> {
        let of = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let unusable = || bad("a field of the form has no usable value");
        let number = |name: &str| match of(name) {
            None => Ok(0),
            Some(text) => text.parse::<u64>().map_err(|_| unusable()),
        };
        let chosen = fields.iter().filter(|(name, _)| name == "to").map(|(_, route)| route.as_str());
        if chosen.clone().next().is_none() {
            return Err(bad("no route is chosen"));
        }
        let mappings = of("mappings")
            .and_then(Mappings::parse)
            .ok_or_else(|| bad("the mappings are not chosen: those of then, or those of today"))?;
        let at = of(AT).and_then(|at| Timestamp::from_millisecond(at.parse().ok()?).ok());
        let so_far = tally::read(of("so_far").unwrap_or_default()).ok_or_else(unusable)?;
        let pin = of("pin").unwrap_or_default().to_owned();
        Ok(Run {
            given: Vec::new(),
            at: at.ok_or_else(unusable)?,
            to: names(chosen)?,
            mappings,
            overwrite: of("overwrite").is_some(),
            filtered: of("filtered").is_some(),
            head: number("head")?,
            seen: number("seen")?,
            all: number("all")?,
            begun: of("begun").is_some(),
            rest: Rest { after: number("after")?, expected: number("expected")?, pin, so_far },
        })
    }

    /// The same again, as fields of a form that goes on with what is left.
    fn fields(&self, rest: &Rest) -> Markup {
        let numbers = [
            ("head", self.head),
            ("seen", self.seen),
            ("all", self.all),
            ("expected", rest.expected),
            ("after", rest.after),
        ];
        html! {
            (hidden(&self.given))
            @for route in &self.to { input type="hidden" name="to" value=(route); }
            input type="hidden" name="mappings" value=(self.mappings.name());
            @if self.overwrite { input type="hidden" name="overwrite" value="1"; }
            @if self.filtered { input type="hidden" name="filtered" value="1"; }
            @for (name, value) in numbers { input type="hidden" name=(name) value=(value); }
            input type="hidden" name="pin" value=(rest.pin);
            input type="hidden" name="so_far" value=(rest.so_far);
            input type="hidden" name="begun" value="1";
        }
    }
}

/// `POST /messages/many/send`
pub(in crate::desk) async fn act(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Fault> {
    let Form(fields) = fields.map_err(|_| bad("the form cannot be read"))?;
    let (mut run, keys) = (Run::of(&fields)?, Keys::of(&fields));
    let (mut chosen, given) = meant(&desk, &session, &keys, run.at).await?;
    run.given = given;
    chosen.filter.last = Some(chosen.filter.last.map_or(run.head, |last| last.min(run.head)));
    let Run { mappings: by, overwrite, filtered, seen, .. } = run;
    let Rest { after, expected, pin, so_far } = run.rest.clone();
    let (routes, same) = (run.to.clone(), chosen.clone());
    let bulk = Bulk { chosen, routes, by, overwrite, filtered, seen, expected, pin, after, so_far };
    let asker = Asker::User(Arc::clone(&session.who));
    let (status, part) = match send_all(&desk.admin, asker, bulk, TURN_MAX, TURN).await {
        Ok(done) => (StatusCode::OK, progress(&session, &run, &done)),
        Err(problem) if problem.title() != CHANGED => return Err(problem.into()),
        // Nothing has been done yet: all is looked at anew.
        Err(problem) if !run.begun => {
            let said = html! { section.fault role="alert" { p { strong { "What you saw has changed: " } (problem.detail()) ". Nothing was sent. These are there now:" } } };
            let (title, content) = looked(&desk, &session, &keys, Timestamp::now(), said).await?;
            let page = shell::page(&session, &title, Tab::Messages, content).into_string();
            return Ok((StatusCode::CONFLICT, Html(page)).into_response());
        }
        Err(problem) => {
            let told = look_at(&desk.admin, same, run.rest.after).await?;
            (StatusCode::CONFLICT, changed(&session, &run, &problem, &told))
        }
    };
    if is_part(&headers) {
        return Ok((status, Html(part.into_string())).into_response());
    }
    let title = "Sending messages again";
    let content = html! { nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / send again" } h1 { (title) } (part) };
    Ok((status, Html(shell::page(&session, title, Tab::Messages, content).into_string())).into_response())
}

/// What is left is not what was seen: what has been done, and what there is to do now. What this run has sent is not sent once more by going on, as what was seen first stays.
fn changed(session: &Session, run: &Run, problem: &Problem, told: &Told) -> Markup {
    let so_far = run.rest.so_far.clone();
    let rest = Rest { after: run.rest.after, expected: told.count, pin: told.pin.clone(), so_far };
    html! {
        section #progress .fault role="alert" {
            p { strong { "What you saw has changed: " } "behind message " (run.rest.after) ", " (problem.detail()) ". No more was sent." }
            (summary(&run.rest.so_far, run.all))
            (tally::shown(&run.rest.so_far))
            @if told.count == 0 {
                p { "None is left." }
            } @else {
                p { "Left are " (count(told.count)) ", from message " (link(told.first)) " to message " (link(told.last)) ":" }
                (fates(told))
                (form_on(session, run, &rest, false, &format!("Go on with these {}", count(told.count))))
            }
            p { a.button href="/messages" { "Stop here" } }
        }
    }
}

fn summary(tally: &Tally, all: u64) -> Markup {
    let of = |cause: Cause| tally.not().find(|(found, _)| *found == cause).map_or(0, |(_, some)| some.count);
    let left = of(Cause::Left);
    let passed = tally.count_not().saturating_sub(left);
    html! {
        p {
            strong { (count(tally.sent)) " sent" }
            @if passed > 0 { ", " strong { (count(passed)) " passed over" } }
            @if left > 0 { ", " strong { (count(left)) " left behind, not arrived" } }
            " of " (count(all)) "."
        }
    }
}

/// How far it has come; as long as there are more and nothing failed it goes on by itself, or, without scripts, by a button.
fn progress(session: &Session, run: &Run, done: &Done) -> Markup {
    let last = done.results.iter().rev().find_map(|one| Some((one.seq, one.why.as_deref()?)));
    let (stopped, goes_on) = (done.stopped.as_ref(), done.stopped.is_none() && done.next.is_some());
    // Whether that one is left behind is still to be said.
    let tally = stopped.map_or(&done.rest.so_far, |once_more| &once_more.so_far);
    let whole = !goes_on && stopped.is_none() && tally.count_not() == 0;
    html! {
        section #progress class=(if whole { "done" } else if stopped.is_some() { "fault" } else { "note" }) role="status" {
            (summary(tally, run.all))
            @if goes_on { progress max=(run.all) value=(tally.count()) aria-label="Looked at so far" {} }
            @if let (Some(_), Some((seq, why))) = (stopped, last) { p { "Message " a href={ "/messages/" (seq) } { (seq) } " has not arrived: " (why) } }
            (tally::shown(tally))
            @if let (None, Some((seq, why))) = (stopped, last) { p { "The last that was passed over, " a href={ "/messages/" (seq) } { (seq) } ": " (why) } }
            @if let Some(once_more) = stopped {
                p { strong { "What to do: " } "mend what is said, then try it again from there; or leave that one behind." }
                div.bar {
                    (form_on(session, run, once_more, false, "Try again from there"))
                    @if done.next.is_some() { (form_on(session, run, &done.rest, false, "Leave it behind and go on")) }
                    a.button href="/messages" { "Stop here" }
                }
            } @else if goes_on {
                (form_on(session, run, &done.rest, true, "Go on"))
                p { a.button href="/messages" { "Stop here" } }
            } @else {
                @if !whole { p { strong { "Not all of them have arrived." } " What was not sent stays as it is." } }
                p { a.button href="/messages" autofocus { "Back to the messages" } }
            }
        }
    }
}

fn form_on(session: &Session, run: &Run, rest: &Rest, by_itself: bool, what: &str) -> Markup {
    let trigger = if by_itself { "load delay:100ms" } else { "submit" };
    html! {
        form method="post" action="/messages/many/send" hx-post="/messages/many/send" hx-trigger=(trigger) hx-target="#progress" hx-swap="outerHTML" {
            (shell::csrf(session)) (run.fields(rest)) button { (what) }
        }
    }
}
