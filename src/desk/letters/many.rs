//! All dead letters of a filter: first which they are, then, and only if they are still those, what is asked for.
use super::{Asked, bad, remedy::remedy};
use crate::admin::api::letters::{failed, place};
use crate::admin::api::many::{Done, none_is_sent, send_many};
use crate::admin::api::{blocking, noted, time as exact, view};
use crate::admin::problem::Problem;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{count, is_part, time};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::journal::{CAUSES_LOOKED_MAX, Cause, Letters};
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// Which, what with them, and what was shown of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::desk) struct Chosen {
    what: String,
    route: String,
    reason: String,
    cause: String,
    since: String,
    after: String,
    /// Only those that there were when they were shown, in milliseconds since 1970…
    until: i64,
    /// …and so many.
    expected: u64,
    sent: u64,
    failed: u64,
}

/// Causes that are told.
const CAUSES_SHOWN: usize = 20;
/// Between one sign of how far it has come and the next.
const TURN: Duration = Duration::from_secs(2);
/// In one turn.
const TURN_MAX: usize = 200;

impl Chosen {
    fn asked(&self) -> Asked {
        let (route, reason, cause, since) =
            (self.route.clone(), self.reason.clone(), self.cause.clone(), self.since.clone());
        Asked { route, reason, cause, since, after: String::new() }
    }

    fn drops(&self) -> Result<bool, Problem> {
        match self.what.as_str() {
            "drop" => Ok(true),
            "resend" => Ok(false),
            _ => Err(bad("what is to be done is neither resend nor drop")),
        }
    }

    /// The same again, as fields of a form.
    fn fields(&self) -> Markup {
        let Chosen { what, route, reason, cause, since, after, until, expected, sent, failed } = self;
        let numbers = [until.to_string(), expected.to_string(), sent.to_string(), failed.to_string()];
        let names = ["what", "route", "reason", "cause", "since", "after", "until", "expected", "sent", "failed"];
        let texts = [what, route, reason, cause, since, after].into_iter().chain(&numbers);
        html! { @for (name, value) in names.iter().zip(texts) { input type="hidden" name=(name) value=(value); } }
    }
}

/// `GET /dead-letters/many`
pub(in crate::desk) async fn preview(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let Query(mut chosen) = chosen.map_err(Problem::from)?;
    let (drops, now_ms) = (chosen.drops()?, jiff::Timestamp::now().as_millisecond());
    let meant = Letters { until_ms: Some(now_ms), ..chosen.asked().meant(now_ms)? };
    // What is meant must not move while somebody looks at it.
    (chosen.since, chosen.until) = (meant.since_ms.and_then(exact).unwrap_or_default(), now_ms);
    let data = desk.admin.data.clone();
    let causes = blocking(move || {
        let view = view(&data)?;
        let count = view.state().count_dead_letters(&meant).map_err(failed)?;
        Ok((count, view.state().dead_letter_causes(&meant, CAUSES_SHOWN).map_err(failed)?))
    });
    let (count_all, causes) = causes.await?;
    chosen.expected = count_all;
    let verb = if drops { "Drop" } else { "Send again" };
    let title = format!("{verb}: {} dead letters", count(count_all));
    let content = html! {
        p { a href=(chosen.asked().page("")) { "Dead letters" } }
        h1 { (title) "?" }
        @if count_all == 0 {
            div.empty { p { "There are none of these any more." } p { a href="/dead-letters" { "Back to the dead letters" } } }
        } @else {
            (table(&causes, count_all))
            p {
                @if drops { "They are no dead letters any more then. The messages stay in the journal, as long as it keeps them." }
                @else { "Each is translated by the mappings of today and sent once, in the order of the journal. What arrives is no dead letter any more; what does not stays one. One whose patient has had a newer message since is left as it is." }
            }
            p.soft { "Exactly these: what is given up from now on is not touched, and if they are not " (count(count_all)) " any more nothing is done." }
            form method="post" action="/dead-letters/many" {
                (shell::csrf(&session))
                (chosen.fields())
                p.bar {
                    button class=(if drops { "danger" } else { "primary" }) autofocus[!drops] { (verb) " " (count(count_all)) }
                    a.button href=(chosen.asked().page("")) autofocus[drops] { "Leave them" }
                }
            }
        }
    };
    Ok(Html(shell::page(&session, &title, Tab::DeadLetters, content).into_string()))
}

fn table(causes: &[Cause], count_all: u64) -> Markup {
    let told: u64 = causes.iter().map(|cause| cause.count).sum();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Which they are" {
            table {
                thead { tr { th scope="col" { "Route" } th scope="col" { "Why" } th.number scope="col" { "Letters" } th scope="col" { "Oldest" } th scope="col" { "Newest" } } }
                tbody {
                    @for cause in causes {
                        tr { th scope="row" { (cause.reader) } td.why { (cause.cause) div.soft { (remedy(&cause.cause)) } } td.number { (count(cause.count)) } td { (time(cause.at_ms.0)) } td { (time(cause.at_ms.1)) } }
                    }
                    @if told < count_all { tr { td colspan="2" { "for other reasons" @if count_all > CAUSES_LOOKED_MAX { ", or not looked at: causes are counted of the first " (count(CAUSES_LOOKED_MAX)) } } td.number { (count(count_all - told)) } td {} td {} } }
                }
            }
        }
    }
}

/// `POST /dead-letters/many`
pub(in crate::desk) async fn act(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    chosen: Result<Form<Chosen>, FormRejection>,
) -> Result<Html<String>, Fault> {
    let Form(mut chosen) = chosen.map_err(|_| bad("a field of the form has no usable value"))?;
    let drops = chosen.drops()?;
    let meant = Letters { until_ms: Some(chosen.until), ..chosen.asked().meant(chosen.until)? };
    let after = place(&chosen.after);
    let (data, same, expected) = (desk.admin.data.clone(), meant.clone(), chosen.expected);
    let (begins, shared) = (after.is_none(), Arc::clone(&desk.admin));
    match drops {
        true => noted!(user = %session.who, route = chosen.route, expected, "dead letters to be dropped"),
        false => noted!(user = %session.who, route = chosen.route, expected, "dead letters to be sent again"),
    }?;
    let dropped = blocking(move || {
        let view = view(&data)?;
        if drops {
            none_is_sent(&shared, same.reader.as_deref())?;
        }
        let now = if begins { view.state().count_dead_letters(&same).map_err(failed)? } else { expected };
        let others = || {
            let detail = format!("{expected} dead letters were shown, there are others by now; nothing was done");
            Problem::new(StatusCode::CONFLICT, "others than were shown", detail, "look at them again")
        };
        if now != expected || expected == 0 {
            return Err(others());
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let most = usize::try_from(expected).unwrap_or(usize::MAX);
        if !drops {
            return Ok(None);
        }
        let dropped = view.state().drop_dead_letters(&same, most, Some(expected), now_ms).map_err(failed)?;
        dropped.ok_or_else(others).map(Some)
    });
    let part = match dropped.await? {
        Some(dropped) => {
            tracing::info!(audit = true, user = %session.who, route = chosen.route, dropped, "dead letters dropped");
            html! { p.done role="status" { (count(dropped)) " dropped. " a href="/dead-letters" autofocus { "Back to the dead letters" } } }
        }
        None => {
            let Done { sent, results, next } =
                send_many(&desk.admin, &session.who, (meant, None), after, TURN_MAX, TURN).await?;
            tracing::info!(audit = true, user = %session.who, route = chosen.route, sent, "dead letters sent again");
            chosen.sent += sent;
            chosen.failed += results.len() as u64 - sent;
            chosen.after = next.as_ref().map(|(route, seq)| format!("{route}:{seq}")).unwrap_or_default();
            let last = results.iter().rev().find_map(|outcome| Some((outcome.seq, outcome.why.as_deref()?)));
            progress(&session, &chosen, last)
        }
    };
    if is_part(&headers) {
        return Ok(Html(part.into_string()));
    }
    let title = if drops { "Dropped" } else { "Sending dead letters again" };
    let content = html! { p { a href=(chosen.asked().page("")) { "Dead letters" } } h1 { (title) } (part) };
    Ok(Html(shell::page(&session, title, Tab::DeadLetters, content).into_string()))
}

/// How far it has come; as long as there are more it goes on by itself, or, without scripts, by a button.
fn progress(session: &Session, chosen: &Chosen, last: Option<(u64, &str)>) -> Markup {
    let (done, goes_on) = (chosen.sent + chosen.failed, !chosen.after.is_empty());
    html! {
        section #progress class=(if goes_on || chosen.failed > 0 { "note" } else { "done" }) role="status" {
            p { strong { (count(chosen.sent)) " sent" } @if chosen.failed > 0 { ", " strong { (count(chosen.failed)) " not" } } " of " (count(chosen.expected)) "." }
            @if goes_on {
                progress max=(chosen.expected) value=(done) aria-label="Looked at so far" {}
            }
            @if let Some((seq, why)) = last { p { "The last that was not, " a href={ "/messages/" (seq) } { (seq) } ": " (why) } p { (remedy(why)) } }
            @if goes_on {
                form method="post" action="/dead-letters/many" hx-post="/dead-letters/many" hx-trigger="load delay:100ms" hx-target="#progress" hx-swap="outerHTML" {
                    (shell::csrf(session)) (chosen.fields()) p.bar { button { "Go on" } a.button href="/dead-letters" { "Stop here" } }
                }
            } @else {
                p { a.button href=(chosen.asked().page("")) autofocus { "Back to the dead letters" } }
            }
        }
    }
}
