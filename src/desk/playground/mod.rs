//! The playground: a message, a file of the site, and at once what becomes of the message with it; then what would have become of the last messages; then the file itself.
//!
//! | file | what |
//! |---|---|
//! | `overlay` | the file that is written |
//! | `workshop` | compiles it, beside the running gateway |
//! | `trial` | one message, with it and without |
//! | `journal` | the last messages of a listener, with it and without |
//! | `samples` | messages to begin with |
//! | `shown`, `rules`, `outcome`, `json` | what is seen |
//!
//! Nothing here changes anything: the gateway goes on with its own mappings, and what is typed stands in no file, log or address. An overlay can ask a message what it says
//! ("if 5.1 = 'Smith'"), so even counts over the journal tell of patients: they are for those who may read messages, and for those who could take such mappings into use.
mod journal;
mod json;
mod outcome;
mod overlay;
mod rules;
mod samples;
mod shown;
mod trial;
mod workshop;

use super::Desk;
use super::fault::Fault;
use super::parts::is_part;
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::server::ListenerMappings;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::{Extension, Form};
use maud::Markup;
use overlay::Overlay;
use serde::Deserialize;
use shown::Sheet;
use std::sync::Arc;
use trial::Trial;
pub(super) use workshop::Workshop;

/// What a link asks for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    listener: String,
    /// A sample.
    sample: String,
    /// A message of the journal.
    seq: String,
    /// A file of the site, to be changed.
    file: String,
    /// A mapping file whose rules are listed.
    rules: String,
}

/// What was filled in.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    listener: String,
    message: String,
    path: String,
    overlay: String,
    /// Ticked: where each value came from.
    origins: Option<String>,
    /// So many of the last messages.
    count: String,
}

type Who = Extension<Arc<Session>>;
/// A form as it came.
type Sent = Result<Form<Filled>, FormRejection>;

/// `GET /playground`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Who,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Fault> {
    let all = desk.admin.control.mappings().await;
    let at = of_listener(&all, &asked.listener)?;
    let message = match asked.seq.trim() {
        "" => samples::named(&asked.sample).to_owned(),
        seq => recorded(&desk, &session, seq).await?,
    };
    let file = Overlay::present(at, &asked.file);
    let sheet = Sheet {
        message: &message,
        path: file.map_or(overlay::PATH, |_| asked.file.as_str()),
        overlay: file.map_or("", |file| file.text.as_str()),
        rules: &asked.rules,
        ..Sheet::new(&session, &all, at)
    };
    Ok(Html(shell::page(&session, "Playground", Tab::Playground, sheet.page(None)).into_string()))
}

/// `POST /playground`: the message with the overlay. A script asks as one types, and then has only its newest question answered.
pub(super) async fn attempt(
    State(desk): State<Arc<Desk>>,
    Extension(session): Who,
    headers: HeaderMap,
    form: Sent,
) -> Result<Response, Fault> {
    let filled = filled(form)?;
    let all = desk.admin.control.mappings().await;
    let at = of_listener(&all, &filled.listener)?.clone();
    let part = is_part(&headers);
    let turn = desk.workshop.turn(session.csrf(), "trial");
    let place = desk.workshop.place().await?;
    if part && !turn.is_newest() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (workshop, here, given) = (Arc::clone(&desk.workshop), at.clone(), filled.clone());
    let outcome = blocking(move || {
        let _place = place;
        Ok(tried(&workshop, &here, &given))
    });
    let outcome = outcome.await?;
    if part {
        return Ok(Html(outcome.into_string()).into_response());
    }
    let sheet = Sheet {
        message: &filled.message,
        path: &filled.path,
        overlay: &filled.overlay,
        origins: filled.origins.is_some(),
        ..Sheet::new(&session, &all, &at)
    };
    let page = shell::page(&session, "Playground", Tab::Playground, sheet.page(Some(outcome)));
    Ok(Html(page.into_string()).into_response())
}

/// `POST /playground/messages`: the last messages of the listener, without values.
pub(super) async fn masked(
    desk: State<Arc<Desk>>,
    session: Who,
    headers: HeaderMap,
    form: Sent,
) -> Result<Response, Fault> {
    compare(desk, session, headers, form, false).await
}

/// `POST /playground/messages/values`: the same with values.
pub(super) async fn values(
    desk: State<Arc<Desk>>,
    session: Who,
    headers: HeaderMap,
    form: Sent,
) -> Result<Response, Fault> {
    compare(desk, session, headers, form, true).await
}

async fn compare(
    State(desk): State<Arc<Desk>>,
    Extension(session): Who,
    headers: HeaderMap,
    form: Sent,
    values: bool,
) -> Result<Response, Fault> {
    let filled = filled(form)?;
    let all = desk.admin.control.mappings().await;
    let at = of_listener(&all, &filled.listener)?.clone();
    let count =
        filled.count.trim().parse::<usize>().unwrap_or(100).clamp(*journal::COUNT.start(), *journal::COUNT.end());
    let overlay = Overlay::of(&filled.path, &filled.overlay)?;
    let turn = desk.workshop.turn(session.csrf(), "messages");
    let place = desk.workshop.wide_place().await?;
    noted!(look = true, user = %session.who, listener = %at.listener, count, values, "messages compared in the playground")?;
    let (workshop, data) = (Arc::clone(&desk.workshop), desk.admin.data.clone());
    let shown = blocking(move || {
        let _place = place;
        let built = workshop.build(&at, &overlay);
        let Some(plan) = &built.plan else { return Ok(outcome::mistakes(&at, &overlay, &built)) };
        let go_on = || turn.is_newest();
        let run = journal::run(&data, (at.listener.as_str(), count), [at.plan.as_ref(), plan], values, &go_on)?;
        Ok(outcome::run(&at, &run, values))
    });
    let shown = shown.await?;
    Ok(match is_part(&headers) {
        true => Html(shown.into_string()),
        false => Html(shell::page(&session, "Playground", Tab::Playground, shown).into_string()),
    }
    .into_response())
}

/// `POST /playground/download`: the file, to be put into the site.
pub(super) async fn download(form: Sent) -> Result<Response, Fault> {
    let filled = filled(form)?;
    Ok(Overlay::of(&filled.path, &filled.overlay)?.download())
}

fn filled(form: Sent) -> Result<Filled, Problem> {
    let Form(filled) = form.map_err(|_| {
        let detail = "the form could not be read: it is too long, or no form";
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not understood",
            detail,
            "load the page again; send less at once",
        )
    })?;
    Ok(filled)
}

/// The mappings of a listener; of the first where none is named.
fn of_listener<'m>(all: &'m [ListenerMappings], name: &str) -> Result<&'m ListenerMappings, Problem> {
    let gone = || Problem::not_found("there is no listener of that name", "choose another listener");
    match all {
        [] => Err(Problem::stopping()),
        [first, ..] if name.is_empty() => Ok(first),
        all => all.iter().find(|at| at.listener == name).ok_or_else(gone),
    }
}

/// A message of the journal as text.
async fn recorded(desk: &Desk, session: &Session, seq: &str) -> Result<String, Problem> {
    if !session.may(Need::Phi) {
        let detail =
            format!("messages of the journal are for those who have the role phi-reader; you are {}", session.roles());
        return Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, "take a sample, or paste a message"));
    }
    let unknown = || Problem::not_found("a message has a number, from 1", "look for it among the messages");
    let seq = seq.parse::<u64>().map_err(|_| unknown())?;
    let data = desk.admin.data.clone();
    let record = blocking(move || {
        let mut view = crate::admin::api::view(&data)?;
        crate::admin::api::messages::record(&mut view, seq)
    });
    let record = record.await?;
    noted!(look = true, user = %session.who, seq, "message read in the playground")?;
    Ok(decoded(&record.raw))
}

/// As its character set says; a form can hold nothing but text.
fn decoded(raw: &[u8]) -> String {
    let text = crate::hl7::transcode(raw);
    let text = match std::str::from_utf8(&text) {
        Ok(text) => text.to_owned(),
        // What is no UTF-8 is read as nearly all of it is meant.
        Err(_) => text.iter().map(|byte| char::from(*byte)).collect(),
    };
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// What comes of a message. Blocks.
fn tried(workshop: &Workshop, at: &ListenerMappings, filled: &Filled) -> Markup {
    let overlay = match Overlay::of(&filled.path, &filled.overlay) {
        Ok(overlay) => overlay,
        Err(problem) => return outcome::refused(problem.detail(), problem.remedy()),
    };
    let built = (!overlay.is_nothing(at)).then(|| workshop.build(at, &overlay));
    if filled.message.len() > trial::MESSAGE_BYTES_MAX {
        return outcome::refused("the message is longer than 1 MB", "try one that is shorter");
    }
    let first = trial::first(&filled.message);
    let with = built.as_ref().and_then(|built| built.plan.as_ref());
    let trial = first.map(|(raw, count)| (Trial::of(&raw, &at.plan, with, filled.origins.is_some()), count));
    outcome::shown(at, &overlay, built.as_deref(), trial.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Context, Plan, Scratch};

    #[test]
    fn the_samples_are_translated_without_an_error() {
        let (plan, mut scratch) = (Plan::embedded(), Scratch::new());
        for (name, _, message) in samples::ALL {
            let (raw, count) = trial::first(message).unwrap();
            assert_eq!(count, 1, "{name}");
            plan.translate(&raw, &Context::default(), &mut scratch).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_message_of_another_character_set_is_text() {
        assert_eq!(decoded(b"MSH|^~\\&|A\rPID|\xe9\r"), "MSH|^~\\&|A\nPID|é\n");
        assert_eq!(decoded("MSH|^~\\&|A\r\nPID|é".as_bytes()), "MSH|^~\\&|A\nPID|é");
    }
}
