//! Dead letters: what has been given up, by what they have in common first, then one by one; and what waits behind a message that fails.
//!
//! | file | what |
//! |---|---|
//! | `one` | one of them: what is known of it, sent again, dropped |
//! | `edit` | an edited copy in its place |
//! | `many` | all of a filter, after a look at which they are |
//! | `parked` | what waits behind messages that fail |
//! | `remedy` | what to do, by why |
pub(super) mod edit;
pub(super) mod many;
pub(super) mod one;
mod parked;
pub(super) mod remedy;

use super::Desk;
use super::fault::Fault;
use super::parts::{count, href, time};
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::letters::{failed, is_name, place};
use crate::admin::api::messages::{kind, record};
use crate::admin::api::{blocking, noted, numbers, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::journal::{CAUSES_LOOKED_MAX, Cause, DeadLetter, Letters};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use maud::{Markup, html};
use remedy::remedy;
use serde::Deserialize;
use std::sync::Arc;

/// Which of them; what is empty is not asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    route: String,
    reason: String,
    cause: String,
    since: String,
    after: String,
}

/// On one page.
const LETTERS_SHOWN: usize = 50;
/// Causes that are told.
const CAUSES_SHOWN: usize = 30;
/// What can be chosen as a time that has passed.
const SPANS: [(&str, &str, i64); 5] = [
    ("", "any time", 0),
    ("15m", "15 minutes", 15 * 60_000),
    ("1h", "1 hour", 3_600_000),
    ("24h", "24 hours", 86_400_000),
    ("7d", "7 days", 7 * 86_400_000),
];

fn given(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad query", detail, "choose from the page of dead letters")
}

impl Asked {
    fn meant(&self, now_ms: i64) -> Result<Letters, Problem> {
        if !self.route.is_empty() && !is_name(&self.route) {
            return Err(bad("that is no name of a route"));
        }
        let since_ms = match SPANS.iter().find(|(name, ..)| *name == self.since) {
            Some((_, _, 0)) => None,
            Some((_, _, ago_ms)) => Some(now_ms - ago_ms),
            None => {
                let at = self.since.parse::<jiff::Timestamp>();
                Some(
                    at.map_err(|_| bad("since is 15m, 1h, 24h, 7d, or a time such as 2026-01-31T08:30:00Z"))?
                        .as_millisecond(),
                )
            }
        };
        let (reader, reason, cause) = (given(&self.route), given(&self.reason), given(&self.cause));
        Ok(Letters { reader, reason, cause, since_ms, until_ms: None })
    }

    /// The page of these, from one on.
    fn page(&self, after: &str) -> String {
        let Asked { route, reason, cause, since, .. } = self;
        let all = [("route", route), ("reason", reason), ("cause", cause), ("since", since)];
        let set = all.into_iter().map(|(name, value)| (name, value.as_str())).chain([("after", after)]);
        href("/dead-letters", &set.filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
    }

    /// The page that says what would be done with all of these.
    fn many(&self, what: &str) -> String {
        self.page("").replacen("/dead-letters", "/dead-letters/many", 1)
            + if self.page("").contains('?') { "&" } else { "?" }
            + "what="
            + what
    }
}

struct Found {
    count: u64,
    causes: Vec<Cause>,
    /// Route, letter, type.
    letters: Vec<(String, DeadLetter, Option<String>)>,
    readers: Vec<String>,
    patients: parked::Patients,
}

/// `GET /dead-letters`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let Query(asked) = asked.map_err(Problem::from)?;
    let meant = asked.meant(jiff::Timestamp::now().as_millisecond())?;
    let after = match place(&asked.after) {
        None if !asked.after.is_empty() => return Err(bad("that is no next page").into()),
        after => after,
    };
    let (routes, data) = (desk.admin.control.routes().await, desk.admin.data.clone());
    let heads = if session.may(Need::Phi) { parked::heads(&routes) } else { Vec::new() };
    if !heads.is_empty() {
        let seqs = numbers(&heads);
        noted!(look = true, user = %session.who, seqs, "patients of messages that fail read")?;
    }
    let found = blocking(move || {
        let mut view = view(&data)?;
        let after = after.as_ref().map(|(route, seq)| (route.as_str(), *seq));
        let state = view.state();
        let all = Letters { cause: None, ..meant.clone() };
        let (count, causes) = (state.count_dead_letters(&meant), state.dead_letter_causes(&all, CAUSES_SHOWN));
        let (count, causes) = (count.map_err(failed)?, causes.map_err(failed)?);
        let letters = state.dead_letters_after(&meant, after, LETTERS_SHOWN).map_err(failed)?;
        let readers = state.readers_with_dead_letters().map_err(failed)?;
        let with_kind = |(route, letter): (String, DeadLetter)| {
            let kind = record(&mut view, letter.seq).ok().and_then(|record| kind(&record));
            (route, letter, kind)
        };
        let letters = letters.into_iter().map(with_kind).collect();
        let patients = parked::patients(&mut view, &heads);
        Ok(Found { count, causes, letters, readers, patients })
    })
    .await?;
    let content = html! {
        h1 { "Dead letters" }
        p.soft { "Messages that a route gave up. Mend the cause, then send them again. A dead letter that is dropped stays in the journal as a message." }
        (parked::section(&routes, &found.patients))
        (causes(&session, &asked, &found))
        (filters(&asked, &found))
        (list(&session, &asked, &found))
    };
    Ok(Html(shell::page(&session, "Dead letters", Tab::DeadLetters, content).into_string()))
}

fn causes(session: &Session, asked: &Asked, found: &Found) -> Markup {
    html! {
        @if !found.causes.is_empty() {
            h2 #causes { "By cause" }
            @if found.count > CAUSES_LOOKED_MAX { p.note { "Causes are counted of the first " (count(CAUSES_LOOKED_MAX)) " letters alone." } }
            div.scroll tabindex="0" role="region" aria-labelledby="causes" {
                table {
                    thead { tr { th scope="col" { "Route" } th scope="col" { "Why, and what to do" } th.number scope="col" { "Letters" } th scope="col" { "First" } th scope="col" { "Last" }
                        @if session.may(Need::Operate) { th scope="col" { "All of them" } } } }
                    tbody {
                        @for cause in &found.causes {
                            @let of = Asked { route: cause.reader.clone(), cause: cause.cause.clone(), after: String::new(), ..asked.clone() };
                            tr aria-current=[(of.cause == asked.cause && of.route == asked.route).then_some("true")] {
                                th scope="row" { (cause.reader) }
                                td.why { (cause.cause) div.soft { (remedy(&cause.cause)) } }
                                td.number { a.count href=(of.page("")) { (count(cause.count)) } }
                                td { (time(cause.at_ms.0)) }
                                td { (time(cause.at_ms.1)) }
                                @if session.may(Need::Operate) {
                                    td.actions {
                                        a.button href=(of.many("resend")) aria-label={ "Send again all " (cause.count) " of " (cause.reader) ": " (cause.cause) } { "Send again…" }
                                        " " a.button href=(of.many("drop")) aria-label={ "Drop all " (cause.count) " of " (cause.reader) ": " (cause.cause) } { "Drop…" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn filters(asked: &Asked, found: &Found) -> Markup {
    let known = SPANS.iter().any(|(name, ..)| *name == asked.since);
    html! {
        h2 #letters { "Letters " span.soft { "(" (count(found.count)) ")" } }
        form.bar method="get" action="/dead-letters" role="search" aria-label="Dead letters" {
            label { "Route"
                select name="route" {
                    option value="" { "all" }
                    @for reader in &found.readers { option value=(reader) selected[*reader == asked.route] { (reader) } }
                    @if !asked.route.is_empty() && !found.readers.contains(&asked.route) { option value=(asked.route) selected { (asked.route) } }
                }
            }
            label { "Why (a part of it)" input name="reason" value=(asked.reason) data-search placeholder="HTTP 422"; }
            label { "Given up in the last"
                select name="since" {
                    @for (value, name, _) in SPANS { option value=(value) selected[value == asked.since] { (name) } }
                    @if !known { option value=(asked.since) selected { "since " (asked.since) } }
                }
            }
            @if !asked.cause.is_empty() { label.tick { input type="checkbox" name="cause" value=(asked.cause) checked; "only: " (asked.cause) } }
            button type="submit" { "Show" }
            @if asked.page("") != "/dead-letters" { a.button href="/dead-letters" { "All" } }
        }
    }
}

fn list(session: &Session, asked: &Asked, found: &Found) -> Markup {
    let next = found.letters.last().filter(|_| found.letters.len() == LETTERS_SHOWN);
    html! {
        @if found.letters.is_empty() {
            div.empty {
                @if asked.page("") == "/dead-letters" { p { "No dead letters: whatever was given up has been sent again or dropped." } }
                @else { p { "None of the dead letters is meant by this." } p { a href="/dead-letters" { "Show all" } } }
            }
        } @else {
            @if session.may(Need::Operate) && found.count > 1 {
                p.bar {
                    a.button href=(asked.many("resend")) { "Send all " (count(found.count)) " again…" }
                    a.button href=(asked.many("drop")) { "Drop all " (count(found.count)) "…" }
                    span.soft.keys-hint { kbd { "j" } " " kbd { "k" } " choose, " kbd { "Enter" } " open, " kbd { "r" } " send again" }
                }
            }
            div.scroll tabindex="0" role="region" aria-labelledby="letters" {
                table data-rows {
                    thead { tr { th scope="col" { "Message" } th scope="col" { "Route" } th scope="col" { "Type" } th scope="col" { "Why" } th.number scope="col" { "Attempts" } th scope="col" { "Given up" }
                        @if session.may(Need::Operate) { th scope="col" { "Do" } } } }
                    tbody { @for (route, letter, kind) in &found.letters { (row(session, route, letter, kind.as_deref())) } }
                }
            }
            @if let Some((route, letter, _)) = next {
                p.pager { a.button rel="next" href=(asked.page(&format!("{route}:{}", letter.seq))) { "Next page" } }
            }
        }
    }
}

fn row(session: &Session, route: &str, letter: &DeadLetter, kind: Option<&str>) -> Markup {
    let path = format!("/dead-letters/{route}/{}", letter.seq);
    html! {
        tr {
            th scope="row" { a href=(path) { (letter.seq) @if letter.last > letter.seq { "–" (letter.last) } } }
            td { (route) }
            td { (kind.unwrap_or("—")) }
            td.why { (letter.reason) }
            td.number { (letter.attempts) }
            td { (time(letter.at_ms)) }
            @if session.may(Need::Operate) {
                td.actions {
                    form method="post" action={ (path) "/resend" } hx-post={ (path) "/resend" } hx-target="closest td" hx-swap="innerHTML" hx-disabled-elt="find button" {
                        (shell::csrf(session))
                        button data-press="r" aria-label={ "Send again: message " (letter.seq) " to " (route) } { "Send again" }
                    }
                }
            }
        }
    }
}
