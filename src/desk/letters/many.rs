//! All dead letters of a filter: first which they are, then, and only if they are still those, what is asked for.
use super::{Asked, bad, remedy::remedy};
use crate::admin::api::bulk::CHANGED;
use crate::admin::api::letters::{failed, place};
use crate::admin::api::many::{Done, none_is_sent, others, send_many};
use crate::admin::api::{blocking, noted, time as exact, view};
use crate::admin::problem::Problem;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{count, is_part, time};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::desk::tally;
use crate::journal::{CAUSES_LOOKED_MAX, Cause, Letters, SeenLetters};
use crate::server::tally::Tally;
use axum::Extension;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
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
    /// …and so many…
    expected: u64,
    /// …and exactly those.
    pin: String,
    /// What has come of those before `after`.
    so_far: String,
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
        let Chosen { what, route, reason, cause, since, after, until, expected, pin, so_far } = self;
        let numbers = [until.to_string(), expected.to_string()];
        let names = ["what", "route", "reason", "cause", "since", "after", "pin", "so_far", "until", "expected"];
        let texts = [what, route, reason, cause, since, after, pin, so_far].into_iter().chain(&numbers);
        html! { @for (name, value) in names.iter().zip(texts) { input type="hidden" name=(name) value=(value); } }
    }
}

/// `GET /dead-letters/many`
pub(in crate::desk) async fn preview(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let Query(chosen) = chosen.map_err(Problem::from)?;
    let (title, content) = look(&desk, &session, chosen, html! {}).await?;
    Ok(Html(shell::page(&session, &title, Tab::DeadLetters, content).into_string()))
}

/// Which they are now, below what there is to say.
async fn look(desk: &Desk, session: &Session, mut chosen: Chosen, said: Markup) -> Result<(String, Markup), Fault> {
    let (drops, now_ms) = (chosen.drops()?, jiff::Timestamp::now().as_millisecond());
    let meant = Letters { until_ms: Some(now_ms), ..chosen.asked().meant(now_ms)? };
    // What is meant must not move while somebody looks at it.
    (chosen.since, chosen.until) = (meant.since_ms.and_then(exact).unwrap_or_default(), now_ms);
    let data = desk.admin.data.clone();
    let causes = blocking(move || {
        let view = view(&data)?;
        let pinned = view.state().pin_dead_letters(&meant, None).map_err(failed)?;
        Ok((pinned, view.state().dead_letter_causes(&meant, CAUSES_SHOWN).map_err(failed)?))
    });
    let ((count_all, pin), causes) = causes.await?;
    (chosen.expected, chosen.pin) = (count_all, pin);
    (chosen.after, chosen.so_far) = (String::new(), String::new());
    let verb = if drops { "Drop" } else { "Send again" };
    let title = format!("{verb}: {} dead letters", count(count_all));
    let content = html! {
        p { a href=(chosen.asked().page("")) { "Dead letters" } }
        (said)
        h1 { (title) "?" }
        @if count_all == 0 {
            div.empty { p { "There are none of these any more." } p { a href="/dead-letters" { "Back to the dead letters" } } }
        } @else {
            (table(&causes, count_all))
            p {
                @if drops { "They are no dead letters any more then. The messages stay in the journal, as long as it keeps them." }
                @else { "Each is translated by the mappings of today and sent once, in the order of the journal. What arrives is no dead letter any more; what does not stays one. One whose patient has had a newer message since is passed over, and so is one that the route's filter of today keeps away; how many for which reason is told." }
            }
            p.soft { "Exactly these: what is given up from now on is not touched, and if they are not the same " (count(count_all)) " any more nothing is done." }
            form method="post" action="/dead-letters/many" {
                (shell::csrf(session))
                (chosen.fields())
                p.bar {
                    button class=(if drops { "danger" } else { "primary" }) autofocus[!drops] { (verb) " " (count(count_all)) }
                    a.button href=(chosen.asked().page("")) autofocus[drops] { "Leave them" }
                }
            }
        }
    };
    Ok((title, content))
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
) -> Result<Response, Fault> {
    let Form(mut chosen) = chosen.map_err(|_| bad("a field of the form has no usable value"))?;
    let drops = chosen.drops()?;
    let tally = tally::read(&chosen.so_far).ok_or_else(|| bad("what has come of those before cannot be read"))?;
    let meant = Letters { until_ms: Some(chosen.until), ..chosen.asked().meant(chosen.until)? };
    let expected = chosen.expected;
    match drops {
        true => noted!(user = %session.who, route = chosen.route, expected, "dead letters to be dropped"),
        false => noted!(user = %session.who, route = chosen.route, expected, "dead letters to be sent again"),
    }?;
    let seen = SeenLetters { count: Some(expected), pin: Some(chosen.pin.clone()) };
    let came = match drops {
        true => drop_all(&desk, &session, &chosen, meant, seen).await,
        false => turn(&desk, &session, &mut chosen, (meant, seen), tally).await,
    };
    let part = match came {
        Err(problem) if problem.title() == CHANGED => {
            let said = html! { section.fault role="alert" { p { strong { "What you saw has changed: " } (problem.detail()) ". Nothing was done. These are there now:" } } };
            let (title, content) = look(&desk, &session, chosen, said).await?;
            let page = shell::page(&session, &title, Tab::DeadLetters, content).into_string();
            return Ok((StatusCode::CONFLICT, Html(page)).into_response());
        }
        came => came?,
    };
    if is_part(&headers) {
        return Ok(Html(part.into_string()).into_response());
    }
    let title = if drops { "Dropped" } else { "Sending dead letters again" };
    let content = html! { p { a href=(chosen.asked().page("")) { "Dead letters" } } h1 { (title) } (part) };
    Ok(Html(shell::page(&session, title, Tab::DeadLetters, content).into_string()).into_response())
}

/// All of them, or none.
async fn drop_all(
    desk: &Desk,
    session: &Session,
    chosen: &Chosen,
    meant: Letters,
    seen: SeenLetters,
) -> Result<Markup, Problem> {
    let (data, shared) = (desk.admin.data.clone(), Arc::clone(&desk.admin));
    let most = usize::try_from(chosen.expected).unwrap_or(usize::MAX);
    let dropped = blocking(move || {
        let view = view(&data)?;
        none_is_sent(&shared, meant.reader.as_deref())?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        match view.state().drop_dead_letters(&meant, most, &seen, now_ms).map_err(failed)? {
            Some(dropped) => Ok(dropped),
            None => Err(others(view.state().count_dead_letters(&meant).map_err(failed)?, &seen)),
        }
    });
    let dropped = dropped.await?;
    tracing::info!(audit = true, user = %session.who, route = chosen.route, dropped, "dead letters dropped");
    Ok(
        html! { p.done role="status" { (count(dropped)) " dropped. " a href="/dead-letters" autofocus { "Back to the dead letters" } } },
    )
}

/// Some of them.
async fn turn(
    desk: &Desk,
    session: &Session,
    chosen: &mut Chosen,
    (meant, seen): (Letters, SeenLetters),
    mut tally: Tally,
) -> Result<Markup, Problem> {
    let after = place(&chosen.after);
    // What was seen is looked for once: from then on some are none any more, and what comes since is not meant.
    let seen = if after.is_none() { seen } else { SeenLetters::default() };
    let before = tally.sent;
    let Done { results, next, .. } = send_many(&desk.admin, &session.who, (meant, seen), after, TURN_MAX, TURN).await?;
    results.iter().for_each(|outcome| outcome.tell(&mut tally, Some(&outcome.route)));
    let sent = tally.sent.saturating_sub(before);
    tracing::info!(audit = true, user = %session.who, route = chosen.route, sent, "dead letters sent again");
    chosen.so_far = tally.to_string();
    chosen.after = next.as_ref().map(|(route, seq)| format!("{route}:{seq}")).unwrap_or_default();
    let last = results.iter().rev().find_map(|outcome| Some((outcome.seq, outcome.why.as_deref()?)));
    Ok(progress(session, chosen, &tally, last))
}

/// How far it has come; as long as there are more it goes on by itself, or, without scripts, by a button.
fn progress(session: &Session, chosen: &Chosen, tally: &Tally, last: Option<(u64, &str)>) -> Markup {
    let (not, goes_on) = (tally.count_not(), !chosen.after.is_empty());
    html! {
        section #progress class=(if goes_on || not > 0 { "note" } else { "done" }) role="status" {
            p { strong { (count(tally.sent)) " sent" } @if not > 0 { ", " strong { (count(not)) " not" } } " of " (count(chosen.expected)) "." }
            @if goes_on {
                progress max=(chosen.expected) value=(tally.count()) aria-label="Looked at so far" {}
            }
            (tally::shown(tally))
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
