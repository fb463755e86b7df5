//! What a request must pass before anything of it is done, and before any of its body is read: whom it thinks it speaks to, who it is, what it may.
use super::Shared;
use super::credentials::{Need, Token, find};
use super::problem::Problem;
use super::socket::Peer;
use crate::telemetry::names;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::Instrument as _;

/// Requests under way at the same time, health aside.
pub(crate) const REQUESTS_MAX: usize = 32;
/// No request of ours has a long body; one that is longer is not looked at.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// To answer a request; longer than a target may take to answer one that is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// Who asks; there for every request that needed a token.
#[derive(Debug, Clone)]
pub(crate) struct Who(pub Arc<str>);

/// For every request: the time it may take, what its headers must say, what every answer says.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>() {
        peer.heard.now();
    }
    let span = tracing::debug_span!(names::SPAN_REQUEST, method = %request.method());
    let answer = match check(&shared, request.headers()) {
        Err(problem) => problem.into_response(),
        Ok(()) => match timeout(ANSWER_TIMEOUT, next.run(request).instrument(span)).await {
            Ok(answer) => answer,
            Err(_) => {
                let remedy = "what was asked for may still be done; look before asking again";
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "too slow", "it took too long", remedy).into_response()
            }
        },
    };
    hardened(answer)
}

/// A browser that another site has led here names that site, in Host (DNS rebinding) or in Origin.
fn check(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    let name = without_port(host);
    let named = shared.options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    let loopback = shared.loopback && matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    // Beyond loopback nobody can say by which names it is reached, unless the configuration does.
    let any = !shared.loopback && shared.options.hosts.is_empty();
    if !(named || loopback || any) {
        let remedy = "ask by an address of the loopback interface, or name the host in [admin] hosts";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unknown host",
            "the Host header names another server",
            remedy,
        ));
    }
    if let Some(origin) = text(header::ORIGIN)
        && origin.split_once("://").is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host))
    {
        let remedy = "use it from its own address";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign origin", "another site asks, by a browser", remedy));
    }
    Ok(())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// An answer shows in no frame, is kept by no cache, and is what it says it is.
fn hardened(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// What of a body is longer is not read.
pub(crate) fn fits(headers: &HeaderMap, bytes_max: u64) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.unwrap_or(0) > bytes_max {
        let detail = format!("the body is longer than {bytes_max} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail, "send less at once"));
    }
    Ok(())
}

/// For every request that needs a token.
pub(super) async fn authenticate(
    State((shared, need)): State<(Arc<Shared>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address.ip());
    let admitted = fits(request.headers(), BODY_BYTES_MAX).and_then(|()| admit(&shared, need, request.headers()));
    let (who, role) = match admitted {
        Ok(token) => (Who(token.name.as_str().into()), token.role),
        Err(problem) => {
            // A good token that may not do this is no guess at one.
            let guessed = problem.status() == StatusCode::UNAUTHORIZED;
            let Some(address) = address else { return problem.into_response() };
            // Who shows none has tried none.
            if guessed && request.headers().contains_key(header::AUTHORIZATION) {
                shared.refused.tell(address);
            }
            if guessed && !shared.failures.note(address, Instant::now(), shared.options.failures_max) {
                let remedy = "use a token of this gateway, after a minute";
                let detail = "too many requests without a good token came from this address";
                return Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many failures", detail, remedy)
                    .retry_after(60)
                    .into_response();
            }
            tracing::warn!(%address, "admin: request refused: no token that may do this");
            return problem.into_response();
        }
    };
    let Ok(_place) = shared.requests.try_acquire() else {
        let detail = format!("{REQUESTS_MAX} requests are under way");
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, "ask again in a moment")
            .retry_after(1)
            .into_response();
    };
    request.extensions_mut().insert(who);
    request.extensions_mut().insert(role);
    next.run(request).await
}

fn admit<'s>(shared: &'s Shared, need: Need, headers: &HeaderMap) -> Result<&'s Token, Problem> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer =
        shown.and_then(|shown| shown.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = bearer.and_then(|(_, text)| find(&shared.options.tokens, text.trim()));
    let Some(token) = token else {
        let remedy =
            "send Authorization: Bearer TOKEN; `handoff token create` makes one and its line for the configuration";
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "no token",
            "no token of this gateway came with it",
            remedy,
        ));
    };
    if !token.role.may(need) {
        let wanted = need.role().map_or("", |role| role.name());
        let detail = format!("the token {} has the role {}, this needs {wanted}", token.name, token.role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, "use a token that has it"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_no_part_of_a_name() {
        assert_eq!(
            ["localhost:8080", "localhost", "[::1]:80", "[::1]", "a:b", ""].map(without_port),
            ["localhost", "localhost", "[::1]", "[::1]", "a:b", ""]
        );
    }
}
