//! The page, or the part of one, that says what is not done: what, why, and what to do.
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::problem::Problem;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

/// What a page could not do. The gate makes a page of it for whoever asked.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    problem: Problem,
    /// A page of its own also for somebody who has not signed in.
    bare: bool,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault { problem, bare: false }
    }
}

impl Fault {
    /// For somebody who may not have signed in.
    pub fn for_anybody(problem: Problem) -> Fault {
        Fault { problem, bare: true }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut answer = self.problem.status().into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

/// The whole page for somebody who has signed in; else the part alone.
pub(super) fn shown(fault: &Fault, session: Option<&Session>) -> Response {
    let part = part(&fault.problem);
    let body = match session {
        Some(session) => shell::page(session, fault.problem.title(), Tab::None, part),
        None if fault.bare => {
            shell::bare(fault.problem.title(), html! { (part) p { a.button href="/sign-in" { "Sign in" } } })
        }
        None => part,
    };
    let status = fault.problem.status();
    let mut answer = (status, Html(body.into_string())).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(axum::http::header::RETRY_AFTER, 1.into());
    }
    answer
}

fn part(problem: &Problem) -> Markup {
    html! {
        section.fault role="alert" {
            h1 { (problem.title()) }
            p { (problem.detail()) }
            p.remedy { strong { "What to do: " } (problem.remedy()) }
        }
    }
}
