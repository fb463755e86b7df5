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
    Playground,
}

/// Where the navigation leads: page, path, name, what it takes, the key that goes there after `g`.
const TABS: [(&str, &[(Tab, &str, &str, Need, &str)]); 2] = [
    ("Run", &[(Tab::Dashboard, "/", "Dashboard", Need::View, "d")]),
    ("Build", &[(Tab::Playground, "/playground", "Playground", Need::View, "p")]),
];

/// A whole page for somebody who has signed in.
pub(crate) fn page(session: &Session, title: &str, tab: Tab, content: Markup) -> Markup {
    document(
        title,
        html! {
            body hx-headers=(format!("{{\"{}\":\"{}\"}}", super::gate::CSRF_HEADER, session.csrf())) {
                a.skip href="#main" { "Skip to the page" }
                header.top {
                    button.menu type="button" aria-expanded="false" aria-controls="nav" { "Menu" }
                    a.brand href="/" { img src=(assets::path("mark.svg")) alt="" width="24" height="24"; span { "handoff" } }
                    form.leave method="post" action="/sign-out" {
                        input type="hidden" name=(super::gate::CSRF_FIELD) value=(session.csrf());
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
                        li { a href=(path) data-key=(key) aria-current=[(*its == tab).then_some("page")] { (name) } }
                    }
                }
            }
        }
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
                @for script in ["htmx.min.js", "sse.min.js", "desk.js", "playground.js"] { script src=(assets::path(script)) defer {} }
            }
            (body)
        }
    }
}
