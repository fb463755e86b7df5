//! Who asks, and what a request must pass before any of it is read.
use super::Shared;
use super::answer::Problem;
use crate::admin::socket::Peer;
use crate::coordination::roster::edit::LIST_BYTES_MAX;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

/// No resource that is written here is longer, but for the list of a panel.
const BODY_BYTES_MAX: u64 = 256 << 10;
/// To answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// To take the list of a panel, and to read it.
const LIST_TIMEOUT: Duration = Duration::from_secs(600);
/// Requests of an address without a good token that are answered in a minute.
const FAILURES_MAX: u32 = 10;

/// The recipient that asks.
#[derive(Clone)]
pub(super) struct Who(pub Arc<str>);

/// The steward that asks.
#[derive(Clone)]
pub(super) struct Steward(pub Arc<str>);

/// For every request: time, length, and what every answer says.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>() {
        peer.heard.now();
    }
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (bytes_max, time) = limits(&request);
    let mut answer = if length.unwrap_or(0) > bytes_max {
        let text = format!("the body is longer than {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text).into_response()
    } else {
        match (shared.requests.try_acquire(), next) {
            (Err(_), _) => {
                let text = "too many requests are under way";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", text).retry_after(1).into_response()
            }
            (Ok(_place), next) => match timeout(time, next.run(request)).await {
                Ok(answer) => answer,
                Err(_) => {
                    let text = "it took too long; look before asking again";
                    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text).into_response()
                }
            },
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// How long a body may be, and what was asked for may take.
fn limits(request: &Request) -> (u64, Duration) {
    match (request.method(), request.uri().path().strip_prefix("/fhir/Group/")) {
        (&Method::PUT, Some(_)) => (LIST_BYTES_MAX, LIST_TIMEOUT),
        // Somebody comes or goes: all rosters are put together anew.
        (_, Some(_)) => (BODY_BYTES_MAX, LIST_TIMEOUT),
        _ => (BODY_BYTES_MAX, ANSWER_TIMEOUT),
    }
}

/// For what recipients may.
pub(super) async fn recipient(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(who) = shared.recipient(request.headers()) else { return refused(&shared, &request) };
    request.extensions_mut().insert(who);
    next.run(request).await
}

/// For what stewards may.
pub(super) async fn steward(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(steward) = shared.steward(request.headers()) else { return refused(&shared, &request) };
    request.extensions_mut().insert(steward);
    next.run(request).await
}

/// For what both may, each in its own way.
pub(super) async fn either(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    match (shared.steward(request.headers()), shared.recipient(request.headers())) {
        (Some(steward), _) => _ = request.extensions_mut().insert(steward),
        (None, Some(who)) => _ = request.extensions_mut().insert(who),
        (None, None) => return refused(&shared, &request),
    }
    next.run(request).await
}

impl Shared {
    fn recipient(&self, headers: &HeaderMap) -> Option<Who> {
        let found = self.care.options.privacy.recipient_of_token(bearer(headers)?)?;
        Some(Who(found.id.as_str().into()))
    }

    fn steward(&self, headers: &HeaderMap) -> Option<Steward> {
        let digest: [u8; 32] = Sha256::digest(bearer(headers)?.as_bytes()).into();
        let mut found = None;
        for (name, sha256) in &self.options.stewards {
            // All are compared, whichever it is.
            if bool::from(sha256.ct_eq(&digest)) {
                found = Some(name);
            }
        }
        found.map(|name| Steward(name.as_str().into()))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = shown.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn refused(shared: &Shared, request: &Request) -> Response {
    let address = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address.ip());
    if let Some(address) = address {
        if !shared.failures.note(address, Instant::now(), FAILURES_MAX) {
            let text = "too many requests without a good token came from this address; try again in a minute";
            return Problem::new(StatusCode::TOO_MANY_REQUESTS, "throttled", text).retry_after(60).into_response();
        }
        tracing::warn!(%address, "fhir: request refused: no token that may do this");
    }
    let text = "send Authorization: Bearer TOKEN, the token of somebody who may do this";
    Problem::new(StatusCode::UNAUTHORIZED, "login", text).into_response()
}
