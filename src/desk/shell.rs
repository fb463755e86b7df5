//! What is around every page: head, navigation, who has signed in.
use super::assets;
use super::session::Session;
use crate::admin::credentials::Need;
use maud::{DOCTYPE, Markup, html};

/// Which page of the navigation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    /// None of them.
    None,
    Dashboard,
    Rosters,
    Reviews,
    Loops,
    Measures,
    Alerts,
    Audit,
    Messages,
    DeadLetters,
    Codes,
    Subscriptions,
    Playground,
}

/// Page, path, name, what it takes, the key that goes there after `g`.
type Place = (Tab, &'static str, &'static str, Need, &'static str);

/// Where the navigation leads.
const TABS: [(&str, &[Place]); 4] = [
    (
        "Run",
        &[
            (Tab::Dashboard, "/", "Dashboard", Need::View, "d"),
            (Tab::Messages, "/messages", "Messages", Need::View, "m"),
            (Tab::DeadLetters, "/dead-letters", "Dead letters", Need::View, "x"),
            (Tab::Codes, "/codes", "Codes", Need::Codes, "c"),
        ],
    ),
    (
        "Care",
        &[
            (Tab::Rosters, "/rosters", "Rosters", Need::View, "r"),
            (Tab::Reviews, "/reviews", "Match review", Need::Codes, "v"),
            (Tab::Loops, "/loops", "Open loops", Need::Codes, "l"),
            (Tab::Measures, "/measures", "Measures", Need::View, "e"),
            (Tab::Subscriptions, "/subscriptions", "Subscriptions", Need::View, "s"),
        ],
    ),
    ("Build", &[(Tab::Playground, "/playground", "Playground", Need::View, "p")]),
    ("Watch", &[(Tab::Alerts, "/alerts", "Alerts", Need::View, "a"), (Tab::Audit, "/audit", "Audit", Need::View, "u")]),
];

/// What every page runs; each does nothing where its page is not.
const SCRIPTS: [&str; 7] =
    ["htmx.min.js", "sse.min.js", "desk.js", "live.js", "provenance.js", "letters.js", "playground.js"];

/// A whole page for somebody who has signed in.
pub(crate) fn page(session: &Session, title: &str, tab: Tab, content: Markup) -> Markup {
    live(session, title, tab, "/live", content)
}

/// The same for a page that is kept up to date from an address of its own; an element with `sse-swap="NAME"` has what the event of that name brings.
pub(super) fn live(session: &Session, title: &str, tab: Tab, from: &str, content: Markup) -> Markup {
    document(
        title,
        html! {
            body hx-ext="sse" sse-connect=(from) sse-close="over" hx-headers=(format!("{{\"{}\":\"{}\"}}", super::gate::CSRF_HEADER, session.csrf())) {
                a.skip href="#main" { "Skip to the page" }
                header.top {
                    button.menu type="button" aria-expanded="false" aria-controls="nav" { "Menu" }
                    a.brand href="/" { img src=(assets::path("mark.svg")) alt="" width="24" height="24"; span { "handoff" } }
                    span #pulse role="status" {}
                    form.leave method="post" action="/sign-out" {
                        (csrf(session))
                        span.who title=(session.roles()) { (session.who) }
                        button.quiet type="submit" { "Sign out" }
                    }
                }
                nav #nav aria-label="Pages" { (navigation(session, tab)) }
                main #main tabindex="-1" { (content) }
                div #notices aria-live="polite" {}
            }
        },
    )
}

fn navigation(session: &Session, tab: Tab) -> Markup {
    html! {
        @for (group, tabs) in TABS {
            @if tabs.iter().any(|(_, _, _, need, _)| session.may(*need)) {
                p.group { (group) }
                ul {
                    @for (its, path, name, need, key) in tabs.iter().filter(|(_, _, _, need, _)| session.may(*need)) {
                        @let _ = need;
                        li { a href=(path) data-key=(key) aria-current=[(*its == tab).then_some("page")] { (name) @if let Some(event) = badge(path) { span.badge sse-swap=(event) {} } } }
                    }
                }
            }
        }
    }
}

/// What a form of ours has in it, so that it is known for one.
pub(crate) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name=(super::gate::CSRF_FIELD) value=(session.csrf()); }
}

/// The event that brings how many things wait on a page, where it has one.
fn badge(path: &str) -> Option<&'static str> {
    match path {
        "/dead-letters" => Some("letters"),
        "/alerts" => Some("alerts"),
        _ => None,
    }
}

/// A page for anybody.
pub(super) fn bare(title: &str, content: Markup) -> Markup {
    document(title, html! { body.bare { main #main { (content) } } })
}

fn document(title: &str, body: Markup) -> Markup {
    // No script of a page is run but our files, and htmx is told not to make any.
    let settings = r#"{"allowEval":false,"allowScriptTags":false,"includeIndicatorStyles":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(settings);
                title { (title) " · handoff" }
                link rel="icon" href=(assets::path("mark.svg"));
                @for style in ["desk.css", "pages.css"] { link rel="stylesheet" href=(assets::path(style)); }
                @for script in SCRIPTS { script src=(assets::path(script)) defer {} }
            }
            (body)
        }
    }
}
