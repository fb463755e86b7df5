//! Signing in, with a name and a password or with a token of the API, and out.
use super::fault::Fault;
use super::gate::cookie;
use super::session::Session;
use super::{Desk, shell};
use crate::admin::credentials::find as find_token;
use crate::admin::problem::Problem;
use crate::admin::socket::Peer;
use crate::admin::users::{self, Roles};
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use maud::{Markup, html};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Then {
    #[serde(default)]
    then: String,
}

/// What was filled in.
#[derive(Deserialize)]
pub(super) struct Filled {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    then: String,
}

/// `GET /sign-in`
pub(super) async fn page(Query(Then { then }): Query<Then>) -> Html<String> {
    Html(form(&then, None).into_string())
}

/// `POST /sign-in`
pub(super) async fn enter(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Form(filled): Form<Filled>,
) -> Result<Response, Fault> {
    let address = peer.address.ip();
    let then = filled.then.clone();
    let options = &desk.admin.options;
    // A token cannot be guessed, so a good one is always let in; a password can, so none is even compared once too many were wrong.
    let found = known(&desk, filled, address).await?;
    let Some((who, roles)) = found else {
        let (status, why) = if desk.admin.failures.note(address, Instant::now(), options.failures_max) {
            (StatusCode::UNAUTHORIZED, "No user has this name and this password, and no token reads so.")
        } else {
            (StatusCode::TOO_MANY_REQUESTS, "Too many attempts failed from this address. Try again in a minute.")
        };
        tracing::warn!(%address, "desk: sign-in refused");
        desk.admin.refused.tell(address);
        return Ok((status, Html(form(&then, Some(why)).into_string())).into_response());
    };
    let secret = desk.sessions.begin(&who, roles, Instant::now());
    let secret = secret.map_err(|error| Problem::internal(format!("no session: {error}")))?;
    tracing::info!(audit = true, user = %who, %address, "signed in");
    let secure = if desk.admin.options.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!("{}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}", desk.cookie_name());
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(local(&then))).into_response())
}

/// `POST /sign-out`
pub(super) async fn leave(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    headers: HeaderMap,
) -> Response {
    if let Some(secret) = cookie(&headers, desk.cookie_name()) {
        desk.sessions.end(secret);
        tracing::info!(audit = true, user = %session.who, "signed out");
    }
    let secure = if desk.admin.options.tls.is_some() { "; Secure" } else { "" };
    let gone = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}", desk.cookie_name());
    ([(header::SET_COOKIE, gone)], Redirect::to("/sign-in")).into_response()
}

/// Who that is, and what they may do.
async fn known(desk: &Arc<Desk>, filled: Filled, address: IpAddr) -> Result<Option<(String, Roles)>, Problem> {
    if !filled.token.is_empty() {
        let token = find_token(&desk.admin.options.tokens, filled.token.trim());
        return Ok(token.map(|token| (token.name.clone(), Roles(vec![token.role]))));
    }
    let over = || desk.admin.failures.are_over(address, Instant::now(), desk.admin.options.failures_max);
    if over() {
        return Ok(None);
    }
    let Ok(_alone) = desk.comparing.acquire().await else { return Ok(None) };
    // Those who waited beside this one have failed meanwhile.
    if over() {
        return Ok(None);
    }
    let shared = Arc::clone(desk);
    let found = tokio::task::spawn_blocking(move || {
        let found = users::find(&shared.admin.options.users, &filled.name, &filled.password);
        found.map(|user| (user.name.clone(), user.roles.clone()))
    });
    found.await.map_err(|error| Problem::internal(format!("the password was not compared: {error}")))
}

/// A path of ours, whatever somebody put into a link.
fn local(then: &str) -> &str {
    let ours = then.starts_with('/') && !then.starts_with("//") && !then.contains(['\\', '\r', '\n', '\t']);
    if ours { then } else { "/" }
}

fn form(then: &str, why: Option<&str>) -> Markup {
    shell::bare(
        "Sign in",
        html! {
            section.sign-in {
                h1 { img src=(super::assets::path("mark.svg")) alt="" width="32" height="32"; " handoff" }
                @if let Some(why) = why { p.wrong role="alert" { (why) } }
                form method="post" action="/sign-in" {
                    input type="hidden" name="then" value=(then);
                    label { "Name" input name="name" autocomplete="username" autofocus; }
                    label { "Password" input name="password" type="password" autocomplete="current-password"; }
                    button.primary type="submit" { "Sign in" }
                }
                details {
                    summary { "With a token of the API" }
                    form method="post" action="/sign-in" {
                        input type="hidden" name="then" value=(then);
                        label { "Token" input name="token" type="password" autocomplete="off"; }
                        button type="submit" { "Sign in" }
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_led_elsewhere() {
        assert_eq!(local("/messages?q=1"), "/messages?q=1");
        for elsewhere in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "x"] {
            assert_eq!(local(elsewhere), "/", "{elsewhere}");
        }
    }
}
