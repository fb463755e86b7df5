//! What a request for a page must pass, before a handler sees it.
use super::Desk;
use super::fault::{self, Fault};
use super::session::Session;
use crate::admin::credentials::Need;
use crate::admin::gate::{REQUESTS_MAX, fits};
use crate::admin::problem::Problem;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use std::sync::Arc;
use std::time::Instant;

/// Longest body: a message to be tried, and the lines of an overlay.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// What a script of ours sends along when it changes something.
pub(super) const CSRF_HEADER: &str = "x-csrf-token";
/// The same in a form.
pub(super) const CSRF_FIELD: &str = "csrf";
/// Set where a script of ours asks for a part of a page.
const PART: HeaderName = HeaderName::from_static("hx-request");
/// No script, style, picture or frame that is not a file of ours; no form leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For every page.
pub(super) async fn enter(State((desk, need)): State<(Arc<Desk>, Need)>, request: Request, next: Next) -> Response {
    let part = request.headers().contains_key(PART);
    let session =
        cookie(request.headers(), desk.cookie_name()).and_then(|secret| desk.sessions.find(secret, Instant::now()));
    // Files of ours are served however many pages are being made; whoever has not signed in takes no place. Taken before the body is read: that many are in memory at once.
    let place = (need != Need::Nobody && session.is_some()).then(|| desk.admin.requests.try_acquire());
    let mut answer = match place {
        Some(Err(_)) => {
            let detail = format!("{REQUESTS_MAX} requests are under way");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail, "ask again in a moment");
            Fault::from(problem.retry_after(1)).into_response()
        }
        _ => match admit(need, session.clone(), request, part).await {
            Ok(request) => next.run(request).await,
            Err(answer) => *answer,
        },
    };
    if let Some(fault) = misread(&answer) {
        answer = fault.into_response();
    }
    if let Some(fault) = answer.extensions_mut().remove::<Fault>() {
        answer = fault::shown(&fault, session.as_deref().filter(|_| !part));
    }
    secured(&mut answer);
    answer
}

fn secured(answer: &mut Response) {
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Without a referrer a browser does not say either where a form comes from (`Origin: null`), and the guard would take it for another site's.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
}

/// What the framework says, in plain text, of a path, query or form that it cannot read: as a page.
fn misread(answer: &Response) -> Option<Fault> {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let plain = answer.status().is_client_error() && kind.starts_with("text/plain");
    let remedy = "go back, and choose from a page of the desk";
    plain.then(|| {
        let detail = "a part of the address, or a field of the form, has no usable value";
        Fault::from(Problem::new(answer.status(), "not understood", detail, remedy))
    })
}

async fn admit(
    need: Need,
    session: Option<Arc<Session>>,
    request: Request,
    part: bool,
) -> Result<Request, Box<Response>> {
    let refused = |problem: Problem| Box::new(Fault::from(problem).into_response());
    let Some(session) = session else {
        return match need {
            Need::Nobody => Ok(request),
            _ => Err(Box::new(to_sign_in(&request, part))),
        };
    };
    if !session.may(need) {
        let wanted = need.role().map_or("", |role| role.name());
        let detail = format!("{} is {}, this needs {wanted}", session.who, session.roles());
        let remedy = "ask whoever keeps the configuration: [admin] users lists the roles";
        return Err(refused(Problem::new(StatusCode::FORBIDDEN, "not allowed", detail, remedy)));
    }
    let mut request = request;
    if need != Need::Nobody && request.method() != Method::GET && request.method() != Method::HEAD {
        request = asked_by_us(&session, request).await.map_err(refused)?;
    }
    request.extensions_mut().insert(session);
    Ok(request)
}

/// A page of ours sends what no other site knows, in a header or in the form.
async fn asked_by_us(session: &Session, request: Request) -> Result<Request, Problem> {
    fits(request.headers(), BODY_BYTES_MAX as u64)?;
    let shown = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let detail = format!("the form is longer than {BODY_BYTES_MAX} bytes, or was broken off");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail, "send less at once")
    })?;
    let ours = match shown {
        Some(shown) => session.is_ours(&shown),
        None => field(&body).is_some_and(|csrf| session.is_ours(&csrf)),
    };
    if !ours {
        let remedy = "load the page again and do it from there";
        let detail = "it did not come from a page of this desk, or from one of an earlier sign-in";
        return Err(Problem::new(StatusCode::FORBIDDEN, "not from here", detail, remedy));
    }
    Ok(Request::from_parts(head, Body::from(body)))
}

/// The field of a form that says that a page of ours sent it. Of its letters a form need not, but may, write these two otherwise.
fn field(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let found = text.split('&').find_map(|pair| pair.strip_prefix(CSRF_FIELD)?.strip_prefix('='))?;
    Some(found.replace("%2D", "-").replace("%5F", "_"))
}

/// Where one signs in, and comes back from to the page that was asked for.
fn to_sign_in(request: &Request, part: bool) -> Response {
    if part {
        // The script loads the page anew; that leads to the sign-in.
        let headers = [("hx-refresh", "true")];
        return (StatusCode::UNAUTHORIZED, headers).into_response();
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    // What was looked for may be a patient, and the address of a sign-in is kept by browsers and proxies.
    let asked = if request.uri().path() == "/messages" { "/messages" } else { asked };
    // What was to be done must be asked for again: it is not done by coming back.
    let then = if request.method() == Method::GET && asked != "/" { asked } else { "" };
    let query = match reqwest::Url::parse_with_params("desk:/sign-in", [("then", then)]) {
        Ok(url) if !then.is_empty() => url.query().map(|query| format!("?{query}")).unwrap_or_default(),
        _ => String::new(),
    };
    Redirect::to(&format!("/sign-in{query}")).into_response()
}

/// Nothing is under this address: a page for a browser, `None` for everybody else.
pub(super) async fn nothing(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let asked = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let is_api = request.uri().path().starts_with("/api/");
    if is_api || !asked.contains("text/html") {
        let remedy = "see /api/v1/openapi.json for what there is";
        return Problem::not_found("there is nothing under this path", remedy).into_response();
    }
    let session =
        cookie(request.headers(), desk.cookie_name()).and_then(|secret| desk.sessions.find(secret, Instant::now()));
    let remedy = match &session {
        Some(_) => "choose a page of the menu; an address may have been cut, or be of another version",
        None => "sign in, and choose a page; an address may have been cut",
    };
    let fault = Fault::for_anybody(Problem::new(
        StatusCode::NOT_FOUND,
        "no such page",
        "there is nothing under this address",
        remedy,
    ));
    let mut answer = fault::shown(&fault, session.as_deref());
    secured(&mut answer);
    answer
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

impl Desk {
    /// The cookie of a session. Where it may only travel encrypted its name says so, and the browser holds us to it.
    pub(super) fn cookie_name(&self) -> &'static str {
        if self.admin.options.tls.is_some() { "__Host-handoff" } else { "handoff" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; handoff=one; handoffx=two"));
        assert_eq!((cookie(&headers, "handoff"), cookie(&headers, "handof")), (Some("one"), None));
    }

    #[test]
    fn a_form_says_that_it_is_ours() {
        assert_eq!(field(b"x=1&csrf=abc&y=2").as_deref(), Some("abc"));
        assert_eq!(field(b"csrf=a%2Db%5Fc").as_deref(), Some("a-b_c"));
        assert_eq!((field(b"xcsrf=abc"), field(b"csrf"), field(b"\xff")), (None, None, None));
    }
}
