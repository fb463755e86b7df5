//! Starting, pausing and stopping routes; reading the configuration anew. What the API does, by the same functions.
use super::Desk;
use super::fault::Fault;
use super::parts::{count, is_part};
use super::session::Session;
use super::shell::{self, Tab};
use super::{gate, route};
use crate::admin::api::letters::named;
use crate::admin::api::noted;
use crate::admin::api::routes::{reread, set_by};
use crate::admin::problem::Problem;
use crate::server::{ReloadSummary, RouteState, RouteStatus};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use std::sync::Arc;

pub(super) type Name = Result<Path<String>, PathRejection>;
type Who = Extension<Arc<Session>>;

/// What turns a route the other way. `place` tells apart those of one page.
pub(super) fn switch(session: &Session, route: &RouteStatus, place: &str) -> Markup {
    let (action, word) = match route.state {
        RouteState::Started => ("pause", "Pause"),
        RouteState::Paused => ("start", "Resume"),
        RouteState::Stopped => ("start", "Start"),
    };
    let path = format!("/routes/{}/{action}", route.name);
    html! {
        form method="post" action=(path) hx-post=(path) hx-target="#notices" hx-swap="beforeend" {
            input type="hidden" name=(gate::CSRF_FIELD) value=(session.csrf());
            button id={ "switch-" (place) "-of-" (route.name) } type="submit" aria-label={ (word) " " (route.name) } { (word) }
        }
    }
}

/// `POST /routes/{name}/start`
pub(super) async fn start(desk: State<Arc<Desk>>, who: Who, headers: HeaderMap, name: Name) -> Result<Response, Fault> {
    set(desk, who, &headers, name, RouteState::Started).await
}

/// `POST /routes/{name}/pause`
pub(super) async fn pause(desk: State<Arc<Desk>>, who: Who, headers: HeaderMap, name: Name) -> Result<Response, Fault> {
    set(desk, who, &headers, name, RouteState::Paused).await
}

/// `POST /routes/{name}/stop`
pub(super) async fn stop(desk: State<Arc<Desk>>, who: Who, headers: HeaderMap, name: Name) -> Result<Response, Fault> {
    set(desk, who, &headers, name, RouteState::Stopped).await
}

async fn set(
    State(desk): State<Arc<Desk>>,
    Extension(session): Who,
    headers: &HeaderMap,
    name: Name,
    state: RouteState,
) -> Result<Response, Fault> {
    let Path(name) = name.map_err(Problem::from)?;
    named(&name)?;
    let user = &session.who;
    // Before it is done: whoever asked may not wait for the answer.
    noted!(%user, route = name, state = state.name(), "route to be set")?;
    let route = set_by(&desk.admin, user, &name, state).await?;
    tracing::info!(audit = true, %user, route = name, state = state.name(), "route set");
    desk.pulse.sooner();
    if is_part(headers) {
        return Ok(Html(done(route.state).into_string()).into_response());
    }
    Ok(Redirect::to(&format!("/routes/{}?done={}", route.name, state.name())).into_response())
}

/// What is said once it is done.
pub(super) fn done(state: RouteState) -> Markup {
    let text = match state {
        RouteState::Started => "The route is started: it delivers what waits.",
        RouteState::Paused => "The route is paused: messages wait in the journal until it is resumed.",
        RouteState::Stopped => "The route is stopped: messages wait in the journal until it is started.",
    };
    html! { div.done role="status" { (text) } }
}

/// `GET /routes/{name}/stop`: what it would do, and whether it is meant.
pub(super) async fn before_stop(
    State(desk): State<Arc<Desk>>,
    Extension(session): Who,
    name: Name,
) -> Result<Html<String>, Fault> {
    let route = route::find(&desk, name).await?;
    let title = format!("Stop {}?", route.name);
    let content = html! {
        h1 { (title) }
        div.card {
            p {
                "The route is taken down, connections and all. What is under way is finished, or made again later. "
                @if route.queued == 1 { strong { "1 message waits" } ", and goes on waiting; " }
                @else if route.queued > 0 { strong { (count(route.queued)) " messages wait" } ", and go on waiting; " }
                @else { "Nothing waits now; " }
                "new messages are received and acknowledged, and wait in the journal. Nothing is lost."
            }
            p { "It stays stopped, over restarts too, until somebody starts it. To hold it for a while, pausing keeps its connections." }
            div.bar {
                form method="post" action={ "/routes/" (route.name) "/stop" } {
                    input type="hidden" name=(gate::CSRF_FIELD) value=(session.csrf());
                    button.danger type="submit" { "Stop " (route.name) }
                }
                a.button href={ "/routes/" (route.name) } { "Leave it as it is" }
            }
        }
    };
    Ok(Html(shell::page(&session, &title, Tab::Dashboard, content).into_string()))
}

/// `POST /reload`
pub(super) async fn reload(State(desk): State<Arc<Desk>>, Extension(session): Who, headers: HeaderMap) -> Response {
    let user = &session.who;
    tracing::info!(audit = true, %user, "reload asked for");
    let (status, content) = match reread(&desk.admin).await {
        Ok(summary) => {
            tracing::info!(audit = true, %user, "configuration reloaded");
            desk.pulse.sooner();
            (StatusCode::OK, summary_of(&summary))
        }
        Err(problem) => (problem.status(), mistakes(&problem)),
    };
    if is_part(&headers) {
        // The answer to what was asked, whatever it is: it goes where it was asked for.
        return Html(content.into_string()).into_response();
    }
    let content = html! { h1 { "Configuration" } (content) p { a href="/" { "Back to the dashboard" } } };
    (status, Html(shell::page(&session, "Configuration", Tab::Dashboard, content).into_string())).into_response()
}

fn summary_of(summary: &ReloadSummary) -> Markup {
    let rows = [
        ("Routes added", &summary.routes_added),
        ("Routes removed", &summary.routes_removed),
        ("Routes changed", &summary.routes_changed),
        ("Mappings changed for", &summary.mappings_changed),
        ("Listeners", &summary.listeners),
    ];
    html! {
        section.done role="status" {
            p { strong { "The configuration has been read anew." } }
            dl.facts {
                @for (what, names) in rows {
                    dt { (what) }
                    dd { @if names.is_empty() { span.none { "none" } } @else { (names.join(", ")) } }
                }
            }
        }
    }
}

fn mistakes(problem: &Problem) -> Markup {
    html! {
        section.fault role="alert" {
            h2 { (problem.title()) }
            pre tabindex="0" aria-label="What is wrong with it" { (problem.detail()) }
            p.remedy { strong { "What to do: " } (problem.remedy()) }
        }
    }
}
