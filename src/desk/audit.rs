//! The audit: what went to whom and what was withheld, and who of those who run the gateway looked at what.
use super::Desk;
use super::fault::Fault;
use super::parts::{Tone, count, is_part, state, time};
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::blocking;
use crate::admin::problem::Problem;
use crate::privacy::audit::{self, Error, Report, Shown};
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use axum::{Extension, Form};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Which of the two chains, and what of it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    chain: String,
    /// In a name, an id, or a reason.
    q: String,
    before: Option<u64>,
}

/// Lines on a page.
const PAGE: usize = 100;
const TITLE: &str = "Audit";
/// Folder, name, what it says.
const CHAINS: [(&str, &str, &str); 2] = [
    ("audit", "Disclosures", "What went to whom, and what was withheld from whom. People stand in it by opaque ids."),
    ("access", "Looks and deeds", "Who of those who run the gateway looked at what and did what."),
];

fn chain_of(asked: &Asked) -> &'static (&'static str, &'static str, &'static str) {
    CHAINS.iter().find(|(folder, ..)| *folder == asked.chain).unwrap_or(&CHAINS[0])
}

/// `GET /audit`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, Fault> {
    let (folder, _, says) = *chain_of(&asked);
    let (path, wanted, before) = (desk.admin.data.join(folder), asked.q.trim().to_lowercase(), asked.before);
    let (lines, more) = blocking(move || {
        let fits = |line: &Shown| wanted.is_empty() || line.event.to_string().to_lowercase().contains(&wanted);
        audit::latest(&path, before, PAGE, fits).map_err(failed)
    })
    .await?;
    let content = html! {
        h1 { (TITLE) }
        div.tabs { @for (name, title, _) in CHAINS { a href=(format!("/audit?chain={name}")) aria-current=[(name == folder).then_some("page")] { (title) } } }
        p.soft { (says) }
        div.bar {
            form.bar method="get" action="/audit" role="search" {
                input type="hidden" name="chain" value=(folder);
                label { "Holds" input name="q" value=(asked.q) data-search placeholder="a recipient, a person's id, a reason"; }
                button type="submit" { "Search" }
            }
            form.end method="post" action="/audit/verify" hx-post="/audit/verify" hx-target="#verified" { (shell::csrf(&session)) input type="hidden" name="chain" value=(folder); button type="submit" { "Verify the chain" } }
        }
        div #verified aria-live="polite" {}
        @if lines.is_empty() { div.empty { p { "There is nothing" @if !asked.q.is_empty() { " that holds " strong { (asked.q) } } " in this chain" @if more.is_some() { " so far back" } "." } } }
        @else if folder == "audit" { (disclosures(&lines)) } @else { (looks(&lines)) }
        @if let Some(more) = more {
            a.button href=(link(folder, &asked.q, more)) { "Older" }
        }
    };
    Ok(Html(shell::page(&session, TITLE, Tab::Audit, content).into_string()))
}

fn link(chain: &str, q: &str, before: u64) -> String {
    let url =
        reqwest::Url::parse_with_params("desk:/audit", [("chain", chain), ("q", q), ("before", &before.to_string())]);
    url.map_or_else(|_| "/audit".into(), |url| format!("/audit?{}", url.query().unwrap_or_default()))
}

fn failed(error: Error) -> Problem {
    Problem::internal(error.to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The value of the identifier of the first entity in a system of ours.
fn entity<'e>(event: &'e Value, system: &str) -> &'e str {
    let all = event["entity"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|one| one["what"]["identifier"]["system"] == system);
    found.map_or("", |one| text(&one["what"]["identifier"]["value"]))
}

fn disclosures(lines: &[Shown]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Disclosures" {
            table {
                thead { tr { th.number scope="col" { "Line" } th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Recipient" } th scope="col" { "Purpose" } th scope="col" { "Person" } th scope="col" { "Event" } th scope="col" { "Subscription" } } }
                tbody { @for line in lines { (disclosure(line)) } }
            }
        }
    }
}

fn disclosure(line: &Shown) -> Markup {
    let event = &line.event;
    let withheld = event["subtype"][0]["code"] == "suppress";
    let why = text(&event["outcomeDesc"]);
    let (tone, word) = match (withheld, text(&event["outcome"])) {
        (true, _) => (Tone::Still, "withheld"),
        (false, "0") => (Tone::Good, "disclosed"),
        (false, "8") => (Tone::Warn, "not sent"),
        (false, _) => (Tone::Warn, "not taken"),
    };
    let agents = event["agent"].as_array().map(Vec::as_slice).unwrap_or_default();
    let recipient = agents.iter().find(|agent| agent["requestor"] == true);
    html! {
        tr {
            td.number { (count(line.seq)) }
            td { (time(line.at_ms)) }
            td { (state(tone, word)) @if withheld && !why.is_empty() { " " (why) } }
            th scope="row" { (recipient.map_or("", |agent| text(&agent["who"]["identifier"]["value"]))) }
            td { (text(&event["purposeOfEvent"][0]["coding"][0]["code"])) }
            td { (short(entity(event, "urn:handoff:person"))) }
            td { (short(entity(event, "urn:handoff:event"))) }
            td { (short(entity(event, "urn:handoff:subscription"))) }
        }
    }
}

/// The first digits of an id; all of it for whoever hovers.
fn short(id: &str) -> Markup {
    html! { @if id.is_empty() { span.none { "—" } } @else { code title=(id) { (id.get(..8).unwrap_or(id)) @if id.len() > 8 { "…" } } } }
}

fn looks(lines: &[Shown]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Looks and deeds" {
            table {
                thead { tr { th.number scope="col" { "Line" } th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "About" } } }
                tbody {
                    @for line in lines {
                        @let details = line.event["entity"][0]["detail"].as_array().map(Vec::as_slice).unwrap_or_default();
                        tr {
                            td.number { (count(line.seq)) }
                            td { (time(line.at_ms)) }
                            th scope="row" { (text(&line.event["agent"][0]["who"]["display"])) }
                            td { (text(&line.event["subtype"][0]["display"])) }
                            td { @for (at, one) in details.iter().enumerate() { @if at > 0 { ", " } span.soft { (text(&one["type"])) " " } (text(&one["valueString"])) } }
                        }
                    }
                }
            }
        }
    }
}

/// `POST /audit/verify`
pub(super) async fn verify(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> Result<Html<String>, Fault> {
    let path = desk.admin.data.join(chain_of(&asked).0);
    let report = blocking(move || match path.is_dir() {
        true => audit::verify(&path).map_err(failed),
        false => Ok(Report::default()),
    })
    .await?;
    let hash: String = report.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = html! {
        @match &report.broken {
            Some(broken) => p.fault role="alert" {
                strong { "The chain is broken" } " in " code { (broken.path.file_name().unwrap_or_default().to_string_lossy()) } ", line " (broken.line) ": " (broken.what)
                ". " (count(report.lines)) " lines before it are sound."
            },
            None => p.done { (count(report.lines)) " lines in " (report.files) " files, all sound; the last is number " (report.last) " with the hash " code.hash { (hash) } },
        }
    };
    if is_part(&headers) {
        return Ok(Html(said.into_string()));
    }
    let back = format!("/audit?chain={}", chain_of(&asked).0);
    let content = html! { h1 { (TITLE) } (said) p { a href=(back) { "Back to the chain" } } };
    Ok(Html(shell::page(&session, TITLE, Tab::Audit, content).into_string()))
}
