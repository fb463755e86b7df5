//! Sending a message once more: what would be sent and where to, then what has come of it on each route; and how it has been sent before.
use super::preview::{self, Compared};
use super::{Number, Signed, Which};
use crate::admin::api::again::{Asker, Came, Looked, Wanted, look, names, send};
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::delivery::resend::Mappings;
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{Tone, count, state, time};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::journal::SentAgain;
use crate::server::again::{Prospect, Standing};
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use maud::{Markup, html};
use std::sync::Arc;

/// Characters of a hash that are shown; all of them stand in its title.
const HASH_SHOWN: usize = 12;

/// `GET /messages/{seq}/preview`
pub(in crate::desk) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Signed,
    number: Number,
) -> Result<Html<String>, Fault> {
    let Path(seq) = number.map_err(Problem::from)?;
    let phi = session.may(Need::Phi);
    let outlets = desk.admin.control.outlets().await.ok_or_else(Problem::stopping)?;
    let looked = look(&desk.admin, seq).await?;
    let compared = blocking(move || {
        let difference = preview::difference(&outlets.plans, &looked.record, phi);
        Ok((difference, looked))
    });
    let (difference, looked) = compared.await?;
    if phi {
        noted!(look = true, user = %session.who, seq, "message read")?;
    }
    let content = html! {
        nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / " a href={ "/messages/" (seq) } { (seq) } " / send again" }
        h1 { "Send message " (seq) " again" }
        h2 { "What would be sent" }
        (difference.said)
        p.soft { "The Bundle before what a route itself leaves out or changes; a route that takes messages as they came gets the same as then. Nothing has been sent yet." }
        h2 #where { "Where to" }
        (form(seq, &difference, &looked, &session))
        (history(&looked.resends))
        p { a href={ "/messages/" (seq) } { "Back to the message" } }
    };
    Ok(Html(shell::page(&session, &format!("Send message {seq} again"), Tab::Messages, content).into_string()))
}

fn form(seq: u64, difference: &Compared, looked: &Looked, session: &Session) -> Markup {
    let Looked { prospects, resends, .. } = looked;
    let open = |prospect: &&Prospect| prospect.refusal.is_none();
    let warned = prospects.iter().filter(open).any(|prospect| prospect.later.warns());
    let filtered = prospects.iter().filter(open).any(|prospect| prospect.keeps_away());
    let any = prospects.iter().any(|prospect| open(&prospect));
    html! {
        @if prospects.is_empty() { p.empty { "The gateway has no routes." } } @else {
            form method="post" action={ "/messages/" (seq) "/resend" } {
                (shell::csrf(session))
                input type="hidden" name="seen" value=(resends.first().map_or(0, |sent| sent.id));
                div.scroll tabindex="0" role="region" aria-labelledby="where" {
                    table {
                        thead { tr { th scope="col" { "Send to" } th scope="col" { "What has become of it there" } th scope="col" { "Later messages of the patient" } th scope="col" { "Can it be sent there" } } }
                        tbody { @for prospect in prospects { (row(prospect)) } }
                    }
                }
                (mappings(difference))
                @if filtered {
                    p { label.tick { input type="checkbox" name="filtered" value="1"; "Send it also to a route whose filter, or what became of it at intake, keeps it away" } }
                }
                @if warned {
                    p.note { "Where later messages of the same patient went out, this may bring an older state back." }
                    p { label.tick { input type="checkbox" name="overwrite" value="1"; "Send it also where later messages of the same patient went out" } }
                }
                p.bar { button.primary type="submit" disabled[!any] { "Send message " (seq) " again" } span.soft { "Each chosen route tries it once. If one of them cannot, nothing is sent." } }
            }
        }
    }
}

fn row(prospect: &Prospect) -> Markup {
    let Prospect { route, standing, later, refusal, .. } = prospect;
    html! {
        tr {
            th scope="row" { label.tick { input type="checkbox" name="route" value=(route) disabled[refusal.is_some()]; (route) } }
            td { (standing_label(*standing)) }
            td {
                @if later.count > 0 {
                    @if later.cut { "at least " }
                    (count(later.count)) ", the last " a href={ "/messages/" (later.last.unwrap_or(0)) } { (later.last.unwrap_or(0)) }
                } @else if later.cut { "not known: too many came since" } @else { span.none { "none" } }
            }
            td { @match refusal { None => "yes", Some(refusal) => { "no: " (refusal.why) ". " span.soft { (refusal.remedy) } } } }
        }
    }
}

fn standing_label(standing: Standing) -> Markup {
    let tone = match standing {
        Standing::Delivered => Tone::Good,
        Standing::DeadLetter => Tone::Bad,
        Standing::Due | Standing::Dropped | Standing::Skipped => Tone::Warn,
        Standing::Passed | Standing::Filtered | Standing::Before | Standing::Acknowledges => Tone::Still,
    };
    state(tone, standing.name())
}

/// Nothing is chosen beforehand where there is a choice: which mappings are meant is said by whoever sends.
fn mappings(difference: &Compared) -> Markup {
    html! {
        @if difference.which == Which::Then {
            fieldset {
                legend { "Mappings" }
                label.tick { input type="radio" name="mappings" value="original" required; "those of then: what was sent goes out once more" }
                label.tick { input type="radio" name="mappings" value="current" required disabled[!difference.sendable]; "those of today: what is said above" }
            }
        } @else {
            input type="hidden" name="mappings" value="current";
            @if !difference.sendable { p.soft { "Only a route that takes messages as they came can have it." } }
        }
    }
}

/// `POST /messages/{seq}/resend`
pub(in crate::desk) async fn resend(
    State(desk): State<Arc<Desk>>,
    Extension(session): Signed,
    number: Number,
    fields: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Html<String>, Fault> {
    let Path(seq) = number.map_err(Problem::from)?;
    let bad = |detail: &str| {
        let remedy = "choose on the page that shows what would be sent";
        Problem::new(StatusCode::BAD_REQUEST, "bad form", detail, remedy)
    };
    let Form(fields) = fields.map_err(|_| bad("the form cannot be read"))?;
    let of = |name: &str| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let chosen = fields.iter().filter(|(name, _)| name == "route").map(|(_, route)| route.as_str());
    if chosen.clone().next().is_none() {
        return Err(bad("no route is chosen").into());
    }
    let by = of("mappings")
        .and_then(Mappings::parse)
        .ok_or_else(|| bad("the mappings are not chosen: those of then, or those of today"))?;
    let seen = of("seen").and_then(|seen| seen.parse().ok()).unwrap_or(0);
    let routes = names(chosen)?;
    let (overwrite, filtered) = (of("overwrite").is_some(), of("filtered").is_some());
    let wanted = Wanted { seq, routes, by, overwrite, filtered, seen: Some(seen) };
    let came = send(&desk.admin, Asker::User(Arc::clone(&session.who)), wanted).await?;
    let content = sent(seq, &came);
    Ok(Html(shell::page(&session, &format!("Message {seq} sent again"), Tab::Messages, content).into_string()))
}

/// What has come of it.
fn sent(seq: u64, came: &[Came]) -> Markup {
    let all = came.iter().all(|came| came.result == "delivered");
    html! {
        nav.crumbs aria-label="Where this is" { a href="/messages" { "Messages" } " / " a href={ "/messages/" (seq) } { (seq) } " / sent again" }
        h1 { @if all { "Message " (seq) " sent again" } @else { "Message " (seq) " did not arrive everywhere" } }
        @for Came { route, result, why, remedy, .. } in came {
            @match (*result, why) {
                ("delivered", None) => p.done role="status" { "It has arrived at " strong { (route) } "." },
                ("delivered", Some(why)) => p.note role="alert" { strong { (route) } ": " (why) },
                (_, why) => div.fault role="alert" {
                    p { strong { (route) } @if *result == "refused" { " was not sent it: " } @else { " has not taken it: " } (why.as_deref().unwrap_or_default()) }
                    @if let Some(remedy) = remedy { p.remedy { strong { "What to do: " } (remedy) } }
                },
            }
        }
        p { a.button href={ "/messages/" (seq) } { "Back to the message" } " " a href={ "/messages/" (seq) "/preview" } { "Send it again" } }
    }
}

/// How it has been sent once more before.
pub(super) fn history(resends: &[SentAgain]) -> Markup {
    html! {
        @if !resends.is_empty() {
            h2 #again { "Sent again" }
            div.scroll tabindex="0" role="region" aria-labelledby="again" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Route" } th scope="col" { "By" } th scope="col" { "What came of it" } th scope="col" { "Mappings" } th scope="col" { "Version" } th scope="col" { "Hash of what went out" } } }
                    tbody {
                        @for sent in resends {
                            tr {
                                td { (time(sent.at_ms)) }
                                th scope="row" { (sent.reader) }
                                td { (sent.who) }
                                td { @match &sent.failure { None => (state(Tone::Good, "arrived")), Some(why) => { (state(Tone::Bad, "not taken")) " " (why) } } }
                                td { @if sent.plan == [0; 32] { "none: as it came" } @else { (sent.mappings) " " (hash(&sent.plan)) } }
                                td { (sent.engine) }
                                td { (hash(&sent.body)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn hash(hash: &[u8; 32]) -> Markup {
    let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    html! { code title=(text) { (text.get(..HASH_SHOWN).unwrap_or(&text)) } }
}
