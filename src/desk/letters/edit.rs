//! An edited copy of a dead letter, sent in its place. Whoever does this operates and may read messages.
use super::one::{Came, Which, read, shown};
use crate::admin::api::letters::send_again;
use crate::admin::api::noted;
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::is_part;
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// A message that is longer is edited in a file.
const EDIT_BYTES_MAX: usize = 512 << 10;

/// The copy.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::desk) struct Copy {
    text: String,
}

fn may(session: &Session) -> Result<(), Problem> {
    if session.may(Need::Operate) && session.may(Need::Phi) {
        return Ok(());
    }
    let detail = format!("{} is {}, this needs operator and phi-reader", session.who, session.roles());
    let remedy = "ask whoever keeps the configuration: [admin] users lists the roles";
    Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, remedy))
}

/// `GET /dead-letters/{route}/{seq}/edit`
pub(in crate::desk) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    which: Which,
) -> Result<Html<String>, Fault> {
    let Path((route, seq)) = which.map_err(Problem::from)?;
    let (_, record) = read(&desk, &route, seq).await?;
    may(&session)?;
    let remedy = "edit it in a file: `handoff dead-letters show`, then `handoff dead-letters resend --with FILE`";
    let not_here = |why: &str| Problem::new(StatusCode::CONFLICT, "not to be edited here", why, remedy);
    let record = record.ok_or_else(|| not_here("the journal cannot read the message"))?;
    if record.raw.len() > EDIT_BYTES_MAX {
        return Err(not_here("the message is too long for a form").into());
    }
    // A copy in other letters than those that came would not be a copy.
    let text = String::from_utf8(record.raw).map_err(|_| not_here("the message is not written in UTF-8"))?;
    noted!(look = true, user = %session.who, route, seq, "dead letter read")?;
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    Ok(Html(whole(&session, &route, seq, &text, html! {}).into_string()))
}

/// `POST /dead-letters/{route}/{seq}/edit`
pub(in crate::desk) async fn send(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    which: Which,
    Form(Copy { text }): Form<Copy>,
) -> Result<Html<String>, Fault> {
    let Path((route, seq)) = which.map_err(Problem::from)?;
    read(&desk, &route, seq).await?;
    may(&session)?;
    let lines = text.replace("\r\n", "\n");
    let raw = format!("{}\r", lines.trim_end().replace('\n', "\r")).into_bytes();
    noted!(user = %session.who, route, seq, "edited copy of a dead letter to be sent")?;
    // Whoever edits a copy of it has looked at it; whether something newer has gone out is told all the same.
    let came: Came = send_again(&desk.admin, &session.who, (&route, seq), Some(raw), false).await?;
    let arrived = came.as_ref().is_ok_and(|sent| sent.iter().all(|sent| sent.failure.is_none()));
    tracing::info!(audit = true, user = %session.who, route, seq, arrived, "edited copy of a dead letter sent");
    let came = match &came {
        Err(crate::delivery::resend::ResendError::Overtaken { newer, route: name }) => html! {
            div.note role="alert" {
                p { "Message " a href={ "/messages/" (newer) } { (newer) } " of the same patient has gone out on " (name) " since. This copy would put an older state over it: `handoff dead-letters resend --with FILE --anyway` sends it." }
            }
        },
        Err(crate::delivery::resend::ResendError::Unknown { route: name }) => html! {
            div.note role="alert" {
                p { "Whether a message of the same patient has gone out on " (name) " since is not known: too many came since. `handoff dead-letters resend --with FILE --anyway` sends the copy." }
            }
        },
        came => shown(&session, &route, seq, came),
    };
    let answer = if is_part(&headers) { came } else { whole(&session, &route, seq, &text, came) };
    Ok(Html(answer.into_string()))
}

fn whole(session: &Session, route: &str, seq: u64, text: &str, came: Markup) -> Markup {
    let path = format!("/dead-letters/{route}/{seq}");
    let title = format!("Edit a copy of message {seq}");
    let content = html! {
        p { a href="/dead-letters" { "Dead letters" } " / " a href=(path) { (route) " " (seq) } }
        h1 { (title) }
        p.soft { "The copy is translated and sent to " (route) " in place of the message. The message itself stays in the journal as it came. One segment a line." }
        div #came aria-live="polite" { (came) }
        form method="post" action={ (path) "/edit" } hx-post={ (path) "/edit" } hx-target="#came" hx-disabled-elt="find button" {
            (shell::csrf(session))
            label.wide { "Message" textarea name="text" rows="18" wrap="off" spellcheck="false" autocomplete="off" autofocus { "\n" (text) } }
            p.bar { button.primary { "Send this copy" } a.button href=(path) { "Leave it" } }
        }
    };
    shell::page(session, &title, Tab::DeadLetters, content)
}
