//! One dead letter: what is known of it, and what can be done.
use super::remedy::remedy;
use crate::admin::api::letters::{drop_one, find, named, send_again};
use crate::admin::api::messages::{kind, record};
use crate::admin::api::{blocking, noted, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::delivery::resend::{ResendError, Sent};
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{href, is_part, size, time};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::facets::Facets;
use crate::journal::{DeadLetter, Record};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Form, Path, State};
use axum::http::HeaderMap;
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

pub(in crate::desk) type Which = Result<Path<(String, u64)>, PathRejection>;
/// What each route says, or why it was not sent at all.
pub(super) type Came = Result<Vec<Sent>, ResendError>;

/// How to send it again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::desk) struct How {
    anyway: Option<String>,
}

/// `GET /dead-letters/{route}/{seq}`
pub(in crate::desk) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    which: Which,
) -> Result<Html<String>, Fault> {
    let Path((route, seq)) = which.map_err(Problem::from)?;
    let (letter, record) = read(&desk, &route, seq).await?;
    Ok(Html(whole(&session, &route, &letter, record.as_ref(), html! {}).into_string()))
}

/// The letter, and its message where the journal can read it.
pub(super) async fn read(desk: &Desk, route: &str, seq: u64) -> Result<(DeadLetter, Option<Record>), Fault> {
    let (data, route) = (desk.admin.data.clone(), route.to_owned());
    let found = blocking(move || {
        let mut view = view(&data)?;
        let letter = find(&view, &route, seq).map_err(|problem| match problem.status().as_u16() {
            404 => {
                let remedy =
                    "it was sent or dropped meanwhile, or never was one; /messages shows what became of the message";
                Problem::not_found(problem.detail().to_owned(), remedy)
            }
            _ => problem,
        })?;
        Ok((letter, record(&mut view, seq).ok()))
    });
    Ok(found.await?)
}

fn whole(session: &Session, route: &str, letter: &DeadLetter, record: Option<&Record>, came: Markup) -> Markup {
    let title = format!("Dead letter {} of {route}", letter.seq);
    let content = html! {
        p { a href="/dead-letters" { "Dead letters" } " / " a href=(href("/dead-letters", &[("route", route)])) { (route) } }
        h1 { (title) }
        div #came aria-live="polite" { (came) }
        (facts(route, letter, record))
        @if session.may(Need::Operate) { (actions(session, route, letter)) }
    };
    shell::page(session, &title, Tab::DeadLetters, content)
}

fn facts(route: &str, letter: &DeadLetter, record: Option<&Record>) -> Markup {
    let facets = record.and_then(|record| Facets::decode(&record.facets));
    html! {
        section.card aria-label="What is known of it" {
            p.cause { (letter.reason) }
            p { strong { "What to do: " } (remedy(&letter.reason)) }
            dl.facts {
                dt { "Message" } dd { a href={ "/messages/" (letter.seq) } { (letter.seq) } @if letter.last > letter.seq { " to " (letter.last) } }
                dt { "Route" } dd { (route) }
                dt { "Given up" } dd { (time(letter.at_ms)) }
                dt { "Attempts" } dd { (letter.attempts) }
                @if let Some(record) = record {
                    dt { "Type" } dd { (kind(record).unwrap_or_else(|| "—".into())) }
                    @if let Some(facets) = facets {
                        dt { "Received" } dd { (time(facets.received_ms)) " by " (String::from_utf8_lossy(facets.listener)) }
                    }
                    dt { "Size" } dd { (size(record.raw.len() as u64)) }
                } @else {
                    dt { "Message" } dd { "the journal cannot read it, or keeps it no longer" }
                }
                dt { "The same cause" } dd { a href=(href("/dead-letters", &[("route", route), ("cause", letter.cause())])) { "all dead letters of it" } }
            }
        }
    }
}

fn actions(session: &Session, route: &str, letter: &DeadLetter) -> Markup {
    let path = format!("/dead-letters/{route}/{}", letter.seq);
    html! {
        section.card aria-label="What can be done" {
            div.bar {
                form method="post" action={ (path) "/resend" } hx-post={ (path) "/resend" } hx-target="#came" hx-disabled-elt="find button" {
                    (shell::csrf(session))
                    button.primary data-press="r" aria-keyshortcuts="r" { "Send again " kbd { "r" } }
                }
                @if session.may(Need::Phi) { a.button href={ (path) "/edit" } data-press="e" aria-keyshortcuts="e" { "Edit a copy and send it " kbd { "e" } } }
                @else { span.soft { "To send an edited copy one must be allowed to read messages (phi-reader)." } }
            }
            details.confirm {
                summary { "Drop it…" }
                p { "Nobody is asked again to take it; the message stays in the journal, and can be sent from there." }
                form method="post" action={ (path) "/drop" } {
                    (shell::csrf(session))
                    button.danger { "Drop dead letter " (letter.seq) " of " (route) }
                }
            }
        }
    }
}

/// `POST /dead-letters/{route}/{seq}/resend`
pub(in crate::desk) async fn resend(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    which: Which,
    Form(how): Form<How>,
) -> Result<Html<String>, Fault> {
    let Path((route, seq)) = which.map_err(Problem::from)?;
    let (letter, record) = read(&desk, &route, seq).await?;
    // Before it is done: whoever asked may not wait for the answer.
    noted!(user = %session.who, route, seq, "dead letter to be sent again")?;
    let came = send_again(&desk.admin, &session.who, (&route, seq), None, how.anyway.is_some()).await?;
    let arrived = came.as_ref().is_ok_and(|sent| sent.iter().all(|sent| sent.failure.is_none()));
    tracing::info!(audit = true, user = %session.who, route, seq, arrived, "dead letter sent again");
    let came = shown(&session, &route, seq, &came);
    let answer = if is_part(&headers) { came } else { whole(&session, &route, &letter, record.as_ref(), came) };
    Ok(Html(answer.into_string()))
}

/// `POST /dead-letters/{route}/{seq}/drop`
pub(in crate::desk) async fn forget(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    which: Which,
) -> Result<Html<String>, Fault> {
    let Path((route, seq)) = which.map_err(Problem::from)?;
    named(&route)?;
    noted!(user = %session.who, route, seq, "dead letter to be dropped")?;
    drop_one(&desk.admin, &route, seq).await?;
    tracing::info!(audit = true, user = %session.who, route, seq, "dead letter dropped");
    let content = html! {
        h1 { "Dropped" }
        p.done role="status" { "Message " a href={ "/messages/" (seq) } { (seq) } " is no dead letter of " (route) " any more." }
        p { a.button.primary href=(href("/dead-letters", &[("route", &route)])) autofocus { "Back to the dead letters" } }
    };
    Ok(Html(shell::page(&session, "Dropped", Tab::DeadLetters, content).into_string()))
}

/// What has come of it.
pub(super) fn shown(session: &Session, route: &str, seq: u64, came: &Came) -> Markup {
    let path = format!("/dead-letters/{route}/{seq}/resend");
    html! {
        @match came {
            Ok(sent) if sent.iter().all(|sent| sent.failure.is_none()) => {
                p.done role="status" { "Sent to " (sent.iter().map(|sent| sent.route.as_str()).collect::<Vec<_>>().join(", ")) ". " a href={ "/messages/" (seq) } { "Message " (seq) } }
            }
            Ok(sent) => div.fault role="alert" {
                @for sent in sent {
                    @match &sent.failure {
                        None => p { "Sent to " (sent.route) "." }
                        Some(why) => { p { strong { "Not taken by " (sent.route) ": " } (why) } p { (remedy(why)) } }
                    }
                }
            }
            Err(overtaken @ (ResendError::Overtaken { route: name, .. } | ResendError::Unknown { route: name })) => div.note role="alert" {
                @if let ResendError::Overtaken { newer, .. } = overtaken {
                    p { "Message " a href={ "/messages/" (newer) } { (newer) } " of the same patient has gone out on " (name) " since. This one would put an older state over it." }
                } @else {
                    p { "Whether a message of the same patient has gone out on " (name) " since is not known: too many came since. This one may put an older state over it." }
                }
                form method="post" action=(path) hx-post=(path) hx-target="closest .note" hx-swap="outerHTML" {
                    (shell::csrf(session))
                    input type="hidden" name="anyway" value="1";
                    button.danger { "Send it anyway" }
                }
            }
            Err(why) => div.fault role="alert" { p { strong { "Not sent: " } (why) } p { (remedy(&why.to_string())) } }
        }
    }
}
