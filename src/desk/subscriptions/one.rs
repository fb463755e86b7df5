//! One subscription: its `$status`, its last events, and a test of it.
use super::{Known, criteria, error, failed, guide, place, status, way};
use crate::admin::api::{blocking, noted};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::coordination::registry::Kind;
use crate::coordination::subscription::aside::{self, Aside};
use crate::coordination::subscription::standing::State as How;
use crate::coordination::subscription::store::{self, Told};
use crate::desk::Desk;
use crate::desk::fault::Fault;
use crate::desk::parts::{Tone, count, href, is_part, state, time, time_if};
use crate::desk::session::Session;
use crate::desk::shell::{self, Tab};
use crate::server::care::{Report, Shared as Care, self_test};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Html;
use maud::{Markup, html};
use std::sync::Arc;

type Id = Result<Path<String>, PathRejection>;

/// Events that are shown.
const EVENTS_SHOWN: u64 = 50;

async fn care(desk: &Desk) -> Result<Arc<Care>, Problem> {
    let care = desk.admin.control.care().await.ok_or_else(Problem::stopping)?;
    care.ok_or_else(|| {
        Problem::not_found("this gateway has no coordinated care", "give the configuration a section [coordination]")
    })
}

/// A subscription as it is shown.
struct Seen {
    known: Known,
    /// Its last events by their numbers, the newest first.
    events: Vec<(u64, Told)>,
    /// Those that its server refused, where it is the gateway's own.
    aside: Vec<Aside>,
}

async fn read(care: &Arc<Care>, id: String) -> Result<Seen, Problem> {
    let care = Arc::clone(care);
    blocking(move || {
        let entry = care.registry.current(Kind::Subscription, &id).map_err(failed)?;
        let entry = entry.filter(|entry| entry.what.body().is_some());
        let entry =
            entry.ok_or_else(|| Problem::not_found("there is no such subscription", "choose from /subscriptions"))?;
        let known = Known::of(&care, entry).map_err(failed)?;
        let since = known.standing.last.saturating_sub(EVENTS_SHOWN - 1);
        let mut events = store::events(&care.database(), &id, since, u64::MAX).map_err(failed)?;
        events.reverse();
        let aside = aside::newest(&care.database(), &id).map_err(failed)?;
        Ok(Seen { known, events, aside })
    })
    .await
}

/// `GET /subscriptions/{id}`
pub(in crate::desk) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    id: Id,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    let seen = read(&care(&desk).await?, id).await?;
    Ok(Html(whole(&session, &seen, html! {}).into_string()))
}

fn whole(session: &Session, seen: &Seen, came: Markup) -> Markup {
    let Seen { known, aside, .. } = seen;
    let id = known.entry.what.id();
    let path = format!("/subscriptions/{id}/self-test");
    let content = html! {
        p { a href="/subscriptions" { "Subscriptions" } " / " a href=(href("/subscriptions", &[("who", &known.entry.who)])) { (known.entry.who) } }
        h1 { (id) " " (status(&known.standing)) }
        div #came aria-live="polite" { (came) }
        (facts(known))
        @if session.may(Need::Operate) && known.subscription.is_some() {
            section.card aria-labelledby="test" {
                h2 #test { "Test it" }
                p { "A made-up event that meets the filters is matched, judged, redacted and sent as any other. It is about nobody, is marked as a test, and takes no number." }
                form method="post" action=(path) hx-post=(path) hx-target="#came" hx-disabled-elt="find button" {
                    (shell::csrf(session))
                    button { "Send a test" }
                }
            }
        }
        @if !aside.is_empty() { (refused(aside)) }
        (last_events(seen))
        p { "What recipients can do stands in " (guide()) ": " code { "$status" } ", " code { "$events" } ", " code { "$self-test" } "." }
    };
    shell::page(session, "Subscription", Tab::Subscriptions, content)
}

fn facts(known: &Known) -> Markup {
    let Known { entry, subscription, standing } = known;
    html! {
        section.card aria-label="How it stands" {
            dl.facts {
                dt { "Status" } dd { (standing.state.name()) " since " (time(standing.since_ms)) }
                dt { "Who" } dd { (entry.who) }
                dt { "Events since it began" } dd { (count(standing.last)) }
                dt { "Backlog" } dd { (count(standing.last.saturating_sub(standing.delivered))) }
                dt { "Last taken" } dd { (time_if(Some(standing.sent_ms).filter(|ms| *ms != 0))) }
                dt { "Error" } dd { (error(standing)) @if let Some(code) = standing.fault.and_then(|fault| fault.code()) { " " code { (code) } } }
                @if standing.failures > 0 && standing.state == How::Active { dt { "Tried again" } dd { (time(standing.due_ms)) } }
                @if let Some(subscription) = subscription {
                    dt { "Topic" } dd { (subscription.topic.id) }
                    dt { "Filter" } dd { (criteria(&subscription.criteria)) }
                    dt { "Channel" } dd { (way(&subscription.channel)) " " (place(&subscription.channel)) }
                    dt { "Content" } dd { (subscription.channel.content.code()) }
                    @if !subscription.channel.headers.is_empty() {
                        dt { "Headers" } dd { @for header in &subscription.channel.headers { (header.name) ": *** " } }
                    }
                    @if let Some(seconds) = subscription.channel.heartbeat_s { dt { "Heartbeat" } dd { (seconds) " s" } }
                    @if let Some(seconds) = subscription.channel.timeout_s { dt { "Timeout" } dd { (seconds) " s" } }
                    @if let Some(most) = subscription.channel.count_max { dt { "Events at once" } dd { (most) } }
                    dt { "Ends" } dd { (time_if(subscription.end_ms)) }
                } @else {
                    dt { "Resource" } dd { "cannot be read by this configuration: its topic may be gone" }
                }
                dt { "Written" } dd { (time(entry.at_ms)) ", entry " (entry.number) }
            }
        }
    }
}

/// What a FHIR server of our own does not have.
fn refused(aside: &[Aside]) -> Markup {
    html! {
        h2 #refused { "Refused" }
        div.scroll tabindex="0" role="region" aria-labelledby="refused" {
            table {
                thead { tr { th.number scope="col" { "Number" } th scope="col" { "State" } th.number scope="col" { "Status" } th.number scope="col" { "Refusals" } th scope="col" { "Since" } th scope="col" { "Tried again" } } }
                tbody {
                    @for one in aside {
                        tr {
                            th.number scope="row" { (one.number) }
                            td { @if one.is_given_up { (state(Tone::Bad, "given up")) } @else { (state(Tone::Warn, "waits")) } }
                            td.number { @if one.status > 0 { (one.status) } @else { span.none { "—" } } }
                            td.number { (count(one.refusals.into())) }
                            td { (time(one.since_ms)) }
                            td { (time_if(Some(one.due_ms).filter(|_| !one.is_given_up && one.refusals > 0))) }
                        }
                    }
                }
            }
        }
        p.soft { "The server refuses these, and the others go on. Without a status one waits behind another of the same person, which goes first, or nothing of it was kept any more. What is given up is not sent again: the server may have newer of that person; " code { "$events" } " tells it by its number." }
    }
}

fn last_events(seen: &Seen) -> Markup {
    let Seen { known, events, aside } = seen;
    let delivered = known.standing.delivered;
    let is_aside = |number: u64| aside.iter().any(|one| one.number == number);
    html! {
        h2 #events { "Last events" }
        @if events.is_empty() {
            div.empty { p { "No events yet, or none that is still kept." } }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="events" {
                table {
                    thead { tr { th.number scope="col" { "Number" } th scope="col" { "What" } th scope="col" { "About" } th scope="col" { "Happened" } th scope="col" { "Received" } th scope="col" { "Message" } th scope="col" { "Delivery" } } }
                    tbody {
                        @for (number, told) in events {
                            tr {
                                th.number scope="row" { (number) }
                                td { (told.trigger.name()) @if !told.v2_event.is_empty() { " " span.soft { "(" (told.v2_event) ")" } } }
                                td { (told.focus.first().map_or("", |focus| focus.split('/').next().unwrap_or_default())) }
                                td { (time(told.at_ms)) }
                                td { (time(told.received_ms)) }
                                td { @if told.seq > 0 { a href={ "/messages/" (told.seq) } { (told.seq) } } @else { span.none { "—" } } }
                                td { @if is_aside(*number) { (state(Tone::Bad, "refused")) } @else if *number <= delivered { (state(Tone::Good, "settled")) } @else { (state(Tone::Warn, "waits")) } }
                            }
                        }
                    }
                }
            }
            p.soft { "Settled: the endpoint took it, or the gate kept it back, or it was left for the recipient to read with " code { "$events" } ". What left, and why something did not, stands in the audit." }
        }
    }
}

/// `POST /subscriptions/{id}/self-test`
pub(in crate::desk) async fn test(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
    id: Id,
) -> Result<Html<String>, Fault> {
    let Path(id) = id.map_err(Problem::from)?;
    let care = care(&desk).await?;
    let seen = read(&care, id).await?;
    let known = &seen.known;
    let Some(subscription) = known.subscription.clone() else {
        let detail = "the subscription cannot be read by this configuration";
        return Err(
            Problem::new(StatusCode::CONFLICT, "cannot be tested", detail, "have the recipient write it anew").into()
        );
    };
    let owner = known.entry.who.clone();
    let id = subscription.id.clone();
    // Before it is done: whoever asked may not wait for the answer, and what cannot be noted is not sent.
    noted!(user = %session.who, recipient = owner, subscription = id, "subscription to be tested")?;
    let report = self_test(care, owner.clone(), subscription).await.map_err(failed)?;
    let arrived = report.passed();
    tracing::info!(audit = true, user = %session.who, recipient = owner, subscription = id, arrived, "subscription tested");
    let came = shown(&report);
    let answer = if is_part(&headers) { came } else { whole(&session, &seen, came) };
    Ok(Html(answer.into_string()))
}

fn shown(report: &Report) -> Markup {
    let passed = report.passed();
    html! {
        section class=(if passed { "done" } else { "fault" }) role="status" {
            p { strong { @if passed { "The test arrived." } @else { "The test did not arrive." } } }
            ul.stages {
                @for stage in &report.stages {
                    li { (state(if stage.passed { Tone::Good } else { Tone::Bad }, stage.name)) " " (stage.text) }
                }
            }
        }
    }
}
