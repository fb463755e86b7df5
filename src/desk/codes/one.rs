//! One code: where it came from, what it is to mean, and its messages sent again.
use super::standing;
use crate::admin::api::codes::{
    Resent, Which, code_text, dismiss_one, failed, find, send_messages, settle_with, unresolved,
};
use crate::admin::api::{blocking, noted, numbers, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{count, href, is_part, time};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::journal::{CODE_MESSAGES_MAX, CodeItem, CodeStanding};
use crate::server::{CodeRow, PlannedRow};
use axum::Extension;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

type Id = Result<Path<u64>, PathRejection>;

/// What a code is to mean.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::desk) struct Meaning {
    fhir: String,
    display: String,
    system: String,
    /// It has been shown what would be written.
    write: Option<String>,
}

/// How far the messages have been sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::desk) struct Going {
    after: u64,
    sent: u64,
    failed: u64,
    /// Numbers that were not sent as newer messages of their patients have gone out, with commas between them.
    overtaken: String,
    /// Those that are to be sent all the same.
    anyway: String,
}

/// Numbers that may be sent anyway from the page of their code.
const OVERTAKEN_MAX: usize = 100;

/// Messages that are named.
const MESSAGES_SHOWN: usize = 20;
/// Between one sign of how far it has come and the next.
const TURN: Duration = Duration::from_secs(2);

/// The item, and the first of its messages.
async fn read(desk: &Desk, id: u64) -> Result<(CodeItem, Vec<u64>), Fault> {
    let data = desk.admin.data.clone();
    let found = blocking(move || {
        let view = view(&data)?;
        let item = find(&view, id).map_err(|problem| match problem.status() {
            StatusCode::NOT_FOUND => {
                Problem::not_found(problem.detail().to_owned(), "choose from the page of codes: /codes")
            }
            _ => problem,
        })?;
        let messages = view.state().code_messages(id, 0, MESSAGES_SHOWN).map_err(failed)?;
        Ok((item, messages))
    });
    Ok(found.await?)
}

/// `GET /codes/{id}`
pub(in crate::desk) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    id: Id,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    let found = read(&desk, id).await?;
    noted!(look = true, user = %session.who, id, "code read")?;
    Ok(Html(whole(&session, &found, &Meaning::default(), html! {}).into_string()))
}

fn whole(session: &Session, (item, messages): &(CodeItem, Vec<u64>), meaning: &Meaning, came: Markup) -> Markup {
    let code = code_text(item, session.may(Need::Phi));
    let content = html! {
        p { a href="/codes" { "Codes" } " / " a href=(href("/codes", &[("table", &item.table)])) { (item.table) } }
        h1 { code { (code) } " " (standing(item)) }
        div #came aria-live="polite" { (came) }
        section.card aria-label="What is known of it" {
            dl.facts {
                dt { "Table" } dd { (item.table) }
                dt { "Sent by" } dd { (item.feed) }
                dt { "Received by" } dd { (item.listener) }
                dt { "Messages" } dd { (count(item.count)) @if item.count > CODE_MESSAGES_MAX { ", the first " (count(CODE_MESSAGES_MAX)) " are kept by their numbers" } }
                dt { "First seen" } dd { (time(item.seen_ms.0)) }
                dt { "Last seen" } dd { (time(item.seen_ms.1)) }
                @if session.may(Need::Operate) {
                    dt { "For example" } dd { @for seq in messages { a href={ "/messages/" (seq) } { (seq) } " " } }
                }
            }
        }
        @if session.may(Need::Configure) { (resolve_form(session, item, meaning)) }
        @else { p.soft { "To give it a place in the table one must be allowed to change the configuration (admin)." } }
        @if session.may(Need::Operate) { (others(session, item)) }
    };
    shell::page(session, "Code", Tab::Codes, content)
}

fn resolve_form(session: &Session, item: &CodeItem, meaning: &Meaning) -> Markup {
    let path = format!("/codes/{}/resolve", item.id);
    html! {
        section.card aria-labelledby="resolve" {
            h2 #resolve { "What it is to mean" }
            form.bar method="post" action=(path) hx-post=(path) hx-target="#came" hx-disabled-elt="find button" {
                (shell::csrf(session))
                label { "FHIR code" input name="fhir" value=(meaning.fhir) required maxlength="200" autocomplete="off"; }
                label { "Display (may be empty)" input name="display" value=(meaning.display) maxlength="500" autocomplete="off"; }
                label { "System (empty: as the table's other rows)" input name="system" value=(meaning.system) maxlength="500" autocomplete="off" placeholder="http://…"; }
                button.primary { "Show what would be written" }
            }
        }
    }
}

fn others(session: &Session, item: &CodeItem) -> Markup {
    let path = format!("/codes/{}", item.id);
    html! {
        section.card aria-labelledby="others" {
            h2 #others { "Its messages" }
            div.bar {
                form method="post" action={ (path) "/resend" } hx-post={ (path) "/resend" } hx-target="#came" hx-disabled-elt="find button" {
                    (shell::csrf(session))
                    button { "Send " (count(item.count.min(CODE_MESSAGES_MAX))) @if item.count == 1 { " message again" } @else { " messages again" } }
                }
                @if item.standing != CodeStanding::Dismissed {
                    details.confirm {
                        summary { "Dismiss it…" }
                        p { "It is to stay as it is: it is counted, and no longer listed as open." }
                        form method="post" action={ (path) "/dismiss" } { (shell::csrf(session)) button.danger { "Dismiss this code" } }
                    }
                }
            }
            p.soft { "They are translated by the mappings of today and sent to the routes that take FHIR. What does not arrive is a dead letter." }
        }
    }
}

/// `POST /codes/{id}/resolve`: first what would be written, then it is.
pub(in crate::desk) async fn resolve(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    id: Id,
    meaning: Result<Form<Meaning>, FormRejection>,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    let Form(meaning) = meaning.map_err(|_| super::bad("a field of the form has no usable value"))?;
    let (item, _) = read(&desk, id).await?;
    let row = CodeRow {
        listener: item.listener.clone(),
        table: item.table.clone(),
        code: item.code.clone(),
        fhir: meaning.fhir.trim().to_owned(),
        display: meaning.display.trim().to_owned(),
        system: meaning.system.trim().to_owned(),
    };
    let came = if meaning.write.is_some() {
        noted!(user = %session.who, rows = 1, "codes to be resolved")?;
        let (shared, who) = (Arc::clone(&desk.admin), Arc::clone(&session.who));
        // On its own: what was taken on must be settled also where the answer comes too late for whoever asked.
        let done = tokio::spawn(async move {
            let resolved = settle_with(&shared, &[id], vec![row]).await?;
            tracing::info!(audit = true, user = %who, rows = 1, "codes resolved");
            Ok::<_, Problem>(resolved)
        });
        let resolved = done
            .await
            .unwrap_or_else(|error| Err(Problem::internal(format!("an answer was not finished: {error}"))))?;
        written(&session, &item, resolved.files.iter().map(|path| path.display().to_string()))
    } else {
        let planned = desk.admin.control.resolution(vec![row]).await.ok_or_else(Problem::stopping)?;
        match planned {
            Ok(planned) => planned_rows(&session, &item, &meaning, &planned),
            Err(error) => {
                let problem = unresolved(error);
                html! { div.fault role="alert" { p { strong { "Nothing was written. " } } pre { (problem.detail()) } p { strong { "What to do: " } (problem.remedy()) } } }
            }
        }
    };
    let answer = if is_part(&headers) { came } else { whole(&session, &read(&desk, id).await?, &meaning, came) };
    Ok(Html(answer.into_string()))
}

/// What would be written. A line holds the code as it came, which not everybody may see.
fn planned_rows(session: &Session, item: &CodeItem, meaning: &Meaning, planned: &[PlannedRow]) -> Markup {
    let path = format!("/codes/{}/resolve", item.id);
    let shown = code_text(item, session.may(Need::Phi));
    // In quotes it would not be found, and so not be masked.
    let masked = |line: &str| match line.contains(&item.code) {
        _ if shown == item.code => line.to_owned(),
        true => line.replace(&item.code, &shown),
        false => format!("a line for {shown}"),
    };
    html! {
        section.note role="status" {
            @for row in planned {
                p { @if row.is_new { "A new file " } @else { "A line in " } code { (row.path.display()) } ":" }
                pre.line tabindex="0" { (row.header) "\n" (masked(&row.line)) }
                @if let Some(before) = &row.instead_of { p { "in place of " code { (masked(before)) } } }
            }
            p { "The mappings compile with it. It holds from the next message on, without a restart." }
            form method="post" action=(path) hx-post=(path) hx-target="#came" hx-disabled-elt="find button" {
                (shell::csrf(session))
                input type="hidden" name="fhir" value=(meaning.fhir);
                input type="hidden" name="display" value=(meaning.display);
                input type="hidden" name="system" value=(meaning.system);
                input type="hidden" name="write" value="1";
                button.primary autofocus { "Write it" }
            }
        }
    }
}

fn written(session: &Session, item: &CodeItem, files: impl Iterator<Item = String>) -> Markup {
    let path = format!("/codes/{}/resend", item.id);
    html! {
        section.done role="status" {
            p { "Written to " @for file in files { code { (file) } } ", and taken on." }
            form method="post" action=(path) hx-post=(path) hx-target="#came" hx-disabled-elt="find button" {
                (shell::csrf(session))
                button.primary autofocus { "Send its " (count(item.count.min(CODE_MESSAGES_MAX))) " messages again" }
            }
        }
    }
}

/// `POST /codes/{id}/dismiss`
pub(in crate::desk) async fn dismiss(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    id: Id,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    read(&desk, id).await?;
    noted!(user = %session.who, id, "code to be dismissed")?;
    dismiss_one(&desk.admin, id).await?;
    tracing::info!(audit = true, user = %session.who, id, "code dismissed");
    let came = html! { p.done role="status" { "Dismissed. " a href="/codes" autofocus { "Back to the codes" } } };
    Ok(Html(whole(&session, &read(&desk, id).await?, &Meaning::default(), came).into_string()))
}

/// `POST /codes/{id}/resend`
pub(in crate::desk) async fn resend(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    id: Id,
    going: Result<Form<Going>, FormRejection>,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    let Form(going) = going.map_err(|_| super::bad("a field of the form has no usable value"))?;
    read(&desk, id).await?;
    noted!(user = %session.who, id, "messages of a code to be sent again")?;
    let numbers_of = |text: &str| text.split(',').filter_map(|number| number.parse().ok()).collect::<Vec<u64>>();
    let only = (!going.anyway.is_empty()).then(|| numbers_of(&going.anyway));
    let which = Which { after: going.after, anyway: only.is_some(), only };
    let Resent { sent, results, next } = send_messages(&desk.admin, &session.who, id, which, TURN).await?;
    tracing::info!(audit = true, user = %session.who, id, sent, "messages of a code sent again");
    let failed = going.failed + results.len() as u64 - sent;
    let sent = going.sent + sent;
    let last = results.iter().rev().find(|(_, result, _)| *result != "sent");
    let mut overtaken = numbers_of(&going.overtaken);
    overtaken.extend(results.iter().filter(|(_, result, _)| *result == "overtaken").map(|(seq, ..)| *seq));
    overtaken.truncate(OVERTAKEN_MAX);
    let path = format!("/codes/{id}/resend");
    let came = html! {
        section #progress class=(if next.is_some() || failed > 0 { "note" } else { "done" }) role="status" {
            p { strong { (count(sent)) " sent again" } @if failed > 0 { ", " strong { (count(failed)) " not" } } "." }
            @if let Some((seq, result, why)) = last { p { "The last that was not, " a href={ "/messages/" (seq) } { (seq) } ": " (why.as_deref().unwrap_or(result)) } }
            @if let Some(next) = next {
                form method="post" action=(path) hx-post=(path) hx-trigger="load delay:100ms" hx-target="#progress" hx-swap="outerHTML" {
                    (shell::csrf(&session))
                    @for (name, value) in [("after", next), ("sent", sent), ("failed", failed)] { input type="hidden" name=(name) value=(value); }
                    input type="hidden" name="overtaken" value=(numbers(&overtaken));
                    input type="hidden" name="anyway" value=(going.anyway);
                    button { "Go on" }
                }
            } @else {
                @if !overtaken.is_empty() {
                    p { "Of " (count(overtaken.len() as u64)) @if overtaken.len() == OVERTAKEN_MAX { " and perhaps more" } " a newer message of the patient has gone out, or it is not known whether: to send them may put an older state over a newer one. "
                        @for seq in overtaken.iter().take(MESSAGES_SHOWN) { a href={ "/messages/" (seq) } { (seq) } " " } }
                    form method="post" action=(path) hx-post=(path) hx-target="#progress" hx-swap="outerHTML" {
                        (shell::csrf(&session))
                        input type="hidden" name="anyway" value=(numbers(&overtaken));
                        button.danger { "Send " (count(overtaken.len() as u64)) " anyway" }
                    }
                }
                p { a.button href="/codes" { "Back to the codes" } }
            }
        }
    };
    let answer =
        if is_part(&headers) { came } else { whole(&session, &read(&desk, id).await?, &Meaning::default(), came) };
    Ok(Html(answer.into_string()))
}
