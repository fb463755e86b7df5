//! What the pages of coordinated care share: people, and what is said where there is none of it.
use super::Desk;
use super::fault::Fault;
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::coordination::PersonKey;
use crate::coordination::roster::Snapshot;
use crate::server::care::Shared as Care;
use axum::response::{Html, IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// Coordinated care, where the gateway has it.
pub(super) async fn care(desk: &Desk) -> Result<Option<Arc<Care>>, Fault> {
    Ok(desk.admin.control.care().await.ok_or_else(Problem::stopping)?)
}

/// The page of a gateway without coordinated care.
pub(super) fn without(session: &Session, title: &str, tab: Tab, what: &str) -> Response {
    let content = html! {
        h1 { (title) }
        div.empty {
            p { (what) }
            p { "This gateway has none: its configuration has no section " code { "[coordination]" } ". The guide " code { "docs/coordinated-care.md" } " begins with one." }
        }
    };
    Html(shell::page(session, title, tab, content).into_string()).into_response()
}

/// Somebody of the rosters: by name for those who may read messages, by the opaque id for all others.
pub(super) fn person(session: &Session, key: &PersonKey, snapshot: &Snapshot) -> Markup {
    let id = key.to_string();
    let about = snapshot.about(key).filter(|_| session.may(Need::Phi));
    html! {
        @if let Some(about) = about {
            a.name href=(format!("/people/{id}")) { (about.family) ", " (about.given) }
            " " span.soft.born { (born(about.birth)) @if let Some(sex) = about.sex { " " (sex) } }
        } @else {
            code title=(id) { (id.get(..8).unwrap_or(&id)) "…" }
        }
    }
}

/// `1951-03-14` of 19510314.
pub(super) fn born(date: u32) -> String {
    if date == 0 { String::new() } else { format!("{:04}-{:02}-{:02}", date / 10_000, date / 100 % 100, date % 100) }
}
