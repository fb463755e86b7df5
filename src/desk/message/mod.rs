//! One message: what is known of it, what it became and from where each value came, what became of it on each route, and sending it again.
//!
//! | file | what |
//! |---|---|
//! | `translated` | the message and its Bundle side by side, what went nowhere, what was noticed |
//! | `er7`, `fhir`, `json` | how the two are shown |
//! | `mask` | what of it may be seen by who may not read messages |
//! | `routes` | what became of it on each route, and what to do |
//! | `preview` | what sending it again would send, beside what was sent |
//! | `again` | sending it again, and how it has been sent before |
pub(super) mod again;
mod er7;
mod fhir;
mod json;
mod mask;
mod preview;
mod routes;
mod translated;

use super::Desk;
use super::fault::Fault;
use super::messages::{MASKED, outcome};
use super::parts::{size, span, time, time_if};
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::messages::{record, show, shown_kind};
use crate::admin::api::{blocking, noted, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::delivery::Plans;
use crate::delivery::past::Pasts;
use crate::facets::Facets;
use crate::hl7::{Index, SegmentId};
use crate::journal::{Record, SentAgain};
use crate::mapping::Plan;
use crate::search::{Entry, Standings};
use crate::server::fate::{self, Status};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;
use translated::{Translated, translated};

type Number = Result<Path<u64>, PathRejection>;
type Signed = Extension<Arc<Session>>;

/// How a message is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    /// `both`, `raw` or `fhir`.
    show: String,
    /// `now`: by the mappings of today instead of those of then.
    with: String,
}

/// What is read of a message for its page.
struct Told {
    entry: Entry,
    message_id: String,
    acknowledged: Option<String>,
    ack: Vec<u8>,
    statuses: Vec<(String, Status)>,
    attempts: Vec<(String, u32, i64)>,
    resends: Vec<SentAgain>,
    plans: Which,
    translated: Translated,
}

/// By which mappings it is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those of then, which are still those of today.
    Same,
    /// Those of then; today there are others.
    Then,
    /// Those of today, instead of those of then.
    Now,
    /// Those of today, as those of then are not known.
    Unknown,
}

/// `GET /messages/{seq}`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Signed,
    number: Number,
    Query(shown): Query<Shown>,
) -> Result<Html<String>, Fault> {
    let Path(seq) = number.map_err(Problem::from)?;
    let phi = session.may(Need::Phi);
    let outlets = desk.admin.control.outlets().await.ok_or_else(Problem::stopping)?;
    let (data, plans, options) = (desk.admin.data.clone(), Arc::clone(&outlets.plans), outlets.routes.clone());
    let now = shown.with == "now";
    let told = blocking(move || {
        let mut view = view(&data)?;
        let record = record(&mut view, seq)?;
        let failed = |error: crate::journal::Error| Problem::internal(error.to_string());
        let names = fate::names(&options);
        let standings = Standings::read_of(view.state(), &names, &[seq]).map_err(failed)?;
        let pasts = Pasts::read(view.state(), &names).map_err(failed)?;
        let mut attempts = Vec::new();
        for name in &names {
            let tried = view.state().position(name).map_err(failed)?.map(|position| position.tried).unwrap_or_default();
            let own = tried.into_iter().find(|tried| tried.seq == seq);
            attempts.extend(own.map(|tried| (name.clone(), tried.attempts, tried.since_ms)));
        }
        let entry = Entry::of(seq, &record, &mut Index::new());
        let statuses = fate::of(&options, (&standings, &pasts), seq, entry.outcome, Some(&record.raw));
        let resends = view.state().resends(seq).map_err(failed)?;
        Ok(Told { resends, ..told(record, entry, statuses, attempts, &plans, now, phi) })
    })
    .await?;
    if phi {
        noted!(look = true, user = %session.who, seq, "message read")?;
    }
    let states = desk.admin.control.routes().await;
    let content = html! {
        nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / " (seq) }
        h1 { "Message " (seq) }
        (facts(&told, phi))
        h2 #routes { "Routes" }
        (routes::table(seq, &told, &states, &session))
        (again::history(&told.resends))
        h2 #content { "Content" }
        (provenance(seq, &told, &shown, phi))
        h2 #nowhere { "What went nowhere" }
        (told.translated.lost)
        h2 #findings { "Findings of the translation" }
        (told.translated.findings)
    };
    let title = format!("Message {seq}");
    Ok(Html(shell::page(&session, &title, Tab::Messages, content).into_string()))
}

fn told(
    record: Record,
    entry: Entry,
    statuses: Vec<(String, Status)>,
    attempts: Vec<(String, u32, i64)>,
    plans: &Plans,
    now: bool,
    phi: bool,
) -> Told {
    let (which, plan) = plan(plans, &record, now);
    let translated = translated(entry.seq, &record.raw, plan.as_deref(), record.received_ms, phi);
    Told {
        message_id: Facets::decode(&record.facets).map(|facets| facets.message_id_text()).unwrap_or_default(),
        acknowledged: acknowledged(&record.ack),
        plans: which,
        ack: record.ack,
        entry,
        statuses,
        attempts,
        resends: Vec::new(),
        translated,
    }
}

/// The mappings that a message named when it came, or those of its listener today.
fn plan(plans: &Plans, record: &Record, now: bool) -> (Which, Option<Arc<Plan>>) {
    let Some(facets) = Facets::decode(&record.facets) else { return (Which::Unknown, None) };
    let present = plans.find(&Facets { plan: [0; 32], ..facets });
    let former = plans.find(&facets).filter(|plan| plan.hash() == facets.plan);
    match (former, present) {
        (Some(former), Some(present)) if former.hash() == present.hash() => (Which::Same, Some(former)),
        (Some(former), None) => (Which::Then, Some(former)),
        (Some(former), Some(_)) if !now => (Which::Then, Some(former)),
        (Some(_), present) => (Which::Now, present),
        (None, present) => (Which::Unknown, present),
    }
}

/// `3 days`
fn ago(ms: i64) -> String {
    let passed = jiff::Timestamp::now().as_millisecond().saturating_sub(ms);
    span(passed.max(0).unsigned_abs() / 1000)
}

/// MSA-1 of the acknowledgement.
fn acknowledged(ack: &[u8]) -> Option<String> {
    let mut index = Index::new();
    index.parse(ack).ok()?;
    let message = index.message(ack);
    let code = message.text(message.find(SegmentId(*b"MSA"))?, 1);
    Some(String::from_utf8_lossy(code).into_owned()).filter(|code| code.len() == 2)
}

fn facts(told: &Told, phi: bool) -> Markup {
    let entry = &told.entry;
    let pair = |left: &str, right: &str| format!("{left} | {right}");
    html! {
        div.card.head {
            dl.facts {
                dt { "Type" }
                dd {
                    @if phi { (entry.kind()) } @else { (shown_kind(entry.code.as_bytes(), entry.event.as_bytes())) }
                    @if phi && !entry.structure.is_empty() { " (" (entry.structure) ")" }
                }
                dt { "Outcome" }
                dd { (outcome(entry.outcome)) @if let Some(code) = &told.acknowledged { ", answered " code { (code) } } }
                dt { "Received" } dd { (time(entry.received_ms)) ", " (ago(entry.received_ms)) " ago, at " (entry.listener) }
                dt { "Event" } dd { @if phi { (time_if(entry.event_ms)) } @else { (MASKED) } }
            }
            dl.facts {
                dt { "Control id" } dd { @if phi { code { (entry.control_id) } } @else { (MASKED) } }
                dt { "Patient" } dd { @if phi { @if entry.patients.is_empty() { "—" } @for patient in &entry.patients { code { (patient) } " " } } @else { (MASKED) } }
                dt { "From" } dd { @if phi { (pair(&entry.sending_application, &entry.sending_facility)) } @else { (MASKED) } }
                dt { "To" } dd { @if phi { (pair(&entry.receiving_application, &entry.receiving_facility)) } @else { (MASKED) } }
            }
            dl.facts {
                dt { "Size" } dd { (size(entry.bytes)) }
                dt { "Message id" } dd { code { (told.message_id) } }
            }
        }
        @if phi && !told.ack.is_empty() {
            details { summary { "The acknowledgement that was sent" } pre.card tabindex="0" { (String::from_utf8_lossy(&told.ack).replace('\r', "\n")) } }
        }
        @if !phi { p.soft { "Values are masked (" (MASKED) "); structure and codes are shown. It takes the role phi-reader to see a message." } }
    }
}

/// The message and its Bundle, linked.
fn provenance(seq: u64, told: &Told, shown: &Shown, phi: bool) -> Markup {
    let show = match shown.show.as_str() {
        "raw" | "fhir" => shown.show.as_str(),
        _ => "both",
    };
    let address = |show: &str, with: &str| format!("/messages/{seq}?show={show}&with={with}#content");
    let now = if told.plans == Which::Now { "now" } else { "then" };
    html! {
        div.bar {
            nav.tabs aria-label="What is shown" {
                @for (key, name) in [("both", "Both"), ("raw", "HL7 v2"), ("fhir", "FHIR")] {
                    a href=(address(key, now)) aria-current=[(key == show).then_some("true")] { (name) }
                }
            }
            @if matches!(told.plans, Which::Then | Which::Now) {
                nav.tabs aria-label="Mappings" {
                    @for (key, name) in [("then", "Mappings of then"), ("now", "Mappings of today")] {
                        a href=(address(show, key)) aria-current=[(key == now).then_some("true")] { (name) }
                    }
                }
            }
            @if phi { a.button.end href={ "/messages/" (seq) "/raw" } download={ (seq) ".hl7" } { "Download HL7 v2" } }
        }
        @if told.resends.iter().any(|sent| sent.failure.is_none()) { p.note { "It has been sent again since it came, perhaps by other mappings or as an edited copy: " a href="#again" { "what went out" } " is not shown here." } }
        @if told.plans == Which::Unknown { p.soft { "The mappings of then are not known; these are those of today." } }
        div.provenance {
            p.legend {
                span.leaf.mapped { "mapped" } span.leaf.read { "read only" } span.leaf.lost { "went nowhere" }
                span.soft { "Point at a value, or tap it, to see where it went or came from. In a focused pane the arrow keys go from value to value." }
            }
            div class={ "panes " (show) } {
                @if show != "fhir" { section.pane tabindex="0" aria-label="The message, HL7 v2" { (told.translated.raw) } }
                @if show != "raw" { section.pane tabindex="0" aria-label="The Bundle, FHIR" { (told.translated.fhir) } }
            }
            div.inspector aria-live="polite" { p.soft { "Nothing is chosen." } }
        }
    }
}

/// `GET /messages/{seq}/raw`
pub(super) async fn raw(
    State(desk): State<Arc<Desk>>,
    Extension(session): Signed,
    number: Number,
) -> Result<Response, Fault> {
    let Path(seq) = number.map_err(Problem::from)?;
    let data = desk.admin.data.clone();
    let found = blocking(move || record(&mut view(&data)?, seq)).await?;
    noted!(look = true, user = %session.who, seq, "message read")?;
    let name = format!("attachment; filename=\"{seq}.hl7\"");
    Ok(([(header::CONTENT_DISPOSITION, name)], show(found)).into_response())
}
