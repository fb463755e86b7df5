//! A FHIR R4 server: each message is one request, proven by the server's answer.
//!
//! | answer | what becomes of the message |
//! |---|---|
//! | 2xx, and no entry of the answer failed | delivered |
//! | no connection, 401, 429 | again, and the route rests: this concerns the server, not the message; `Retry-After` is heeded |
//! | no answer in time, 408, 409, 425, 5xx | again; `Retry-After` is heeded |
//! | other 4xx | refused: a dead letter |
//! | 3xx | refused: redirects are not followed, the configuration should name the right place |
//!
//! 401 never makes a dead letter: a backlog must not be lost to sight because a credential has run out. A server that does not answer in time may be choking on this
//! very message, so that counts against the message.
use super::{Failure, Progress};
use crate::facets::Facets;
use crate::fhir::envelope::Envelope;
use crate::routing::Live;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Where and what to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The server's base, such as `https://ehr.example/fhir`.
    pub base: Url,
    /// The kind of Bundle.
    pub envelope: Envelope,
    /// To accept a connection.
    pub connect_timeout: Duration,
    /// To answer a request.
    pub timeout: Duration,
    /// Who we are to the server.
    pub credentials: Option<Credentials>,
}

/// What a request shows of us; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token (RFC 6750).
    Bearer(String),
    /// User and password (RFC 7617).
    Basic(String, String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Posts to a FHIR server.
#[derive(Debug)]
pub struct FhirChannel {
    client: Client,
    url: Url,
    envelope: Envelope,
    credentials: Option<Credentials>,
}

/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const JSON: &str = "application/fhir+json";

impl FhirChannel {
    pub(super) fn new(options: Options) -> Result<FhirChannel, reqwest::Error> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout);
        if is_loopback(&options.base) {
            builder = builder.no_proxy();
        }
        let mut url = options.base;
        if options.envelope == Envelope::Message
            && let Ok(mut path) = url.path_segments_mut()
        {
            path.pop_if_empty().push("$process-message");
        }
        Ok(FhirChannel { client: builder.build()?, url, envelope: options.envelope, credentials: options.credentials })
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>]) -> Progress {
        for (delivered, live) in messages.iter().enumerate() {
            if let Err(failure) = self.send(live).await {
                return Progress { delivered, failure: Some(failure) };
            }
        }
        Progress { delivered: messages.len(), failure: None }
    }

    async fn send(&self, live: &Live) -> Result<(), Failure> {
        let mut body = Vec::new();
        self.envelope.render(&live.bundle, &live.entries, &mut body);
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, JSON).header(ACCEPT, JSON).body(body);
        if let Some(facets) = Facets::decode(&live.facets) {
            request = request.header("Idempotency-Key", facets.message_id_text());
        }
        request = match &self.credentials {
            None => request,
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
            Some(Credentials::Basic(user, password)) => request.basic_auth(user, Some(password)),
        };
        let response = request.send().await.map_err(|error| unanswered(&error))?;
        let answered = match self.envelope {
            Envelope::Transaction => Some(("transaction-response", live.entries.len())),
            Envelope::Batch => Some(("batch-response", live.entries.len())),
            _ => None,
        };
        judge(response, answered).await
    }
}

/// Whether a URL names this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

async fn judge(response: Response, answered: Option<(&str, usize)>) -> Result<(), Failure> {
    let status = response.status();
    let after = retry_after(response.headers());
    let body = read(response).await?;
    let reason = || format!("HTTP {status}{}", issues(body.as_ref()));
    match status {
        _ if status.is_success() => proven(body.as_ref(), answered).and_then(|()| entries(body.as_ref())),
        StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Endpoint { reason: reason(), after }),
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            Err(Failure::Again { reason: reason(), after })
        }
        _ if status.is_server_error() => Err(Failure::Again { reason: reason(), after }),
        _ if status.is_redirection() => Err(Failure::Refused(format!(
            "{}: redirects are not followed; name the final address in the route",
            reason()
        ))),
        _ => Err(Failure::Refused(reason())),
    }
}

/// Delivered must be proven: a login page answers 200 as well.
fn proven(body: Option<&Value>, answered: Option<(&str, usize)>) -> Result<(), Failure> {
    let Some((kind, count)) = answered else { return Ok(()) };
    let text = |key: &str| body.and_then(|body| body.get(key)).and_then(Value::as_str);
    let entries = body.and_then(|body| body.get("entry")).and_then(Value::as_array);
    let complete = entries.is_some_and(|entries| {
        entries.len() == count && entries.iter().all(|entry| entry.pointer("/response/status").is_some())
    });
    if text("resourceType") == Some("Bundle") && text("type") == Some(kind) && complete {
        return Ok(());
    }
    Err(Failure::Again { reason: format!("2xx without a {kind} for each of the {count} entries"), after: None })
}

/// A server may take a Bundle and refuse what is in it: each entry has a status of its own.
fn entries(body: Option<&Value>) -> Result<(), Failure> {
    let entries = body.and_then(|body| body.get("entry")).and_then(Value::as_array);
    for (at, entry) in entries.into_iter().flatten().enumerate() {
        let Some(status) = entry.pointer("/response/status").and_then(Value::as_str) else { continue };
        let code = status.get(..3).and_then(|code| code.parse::<u16>().ok()).unwrap_or(0);
        let reason = || format!("entry {at}: status {code}{}", issues(entry.pointer("/response/outcome")));
        match code {
            200..=299 | 304 => {}
            401 | 429 => return Err(Failure::Endpoint { reason: reason(), after: None }),
            408 | 409 | 425 | 500..=599 => return Err(Failure::Again { reason: reason(), after: None }),
            _ => return Err(Failure::Refused(reason())),
        }
    }
    Ok(())
}

/// The severities and codes of an OperationOutcome. Its texts may quote the patient and stay out.
fn issues(outcome: Option<&Value>) -> String {
    let issues = outcome.and_then(|outcome| outcome.get("issue")).and_then(Value::as_array);
    let plain = |issue: &Value, key: &str| {
        issue
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| text.len() < 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
            .unwrap_or("?")
            .to_owned()
    };
    let texts: Vec<_> = issues
        .into_iter()
        .flatten()
        .take(5)
        .map(|issue| format!("{} {}", plain(issue, "severity"), plain(issue, "code")))
        .collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) }
}

async fn read(mut response: Response) -> Result<Option<Value>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&body).ok())
}

/// Seconds only; a date is left to the ordinary pause.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn unanswered(error: &reqwest::Error) -> Failure {
    let what = match error {
        error if error.is_connect() => "cannot connect",
        error if error.is_timeout() => "no answer in time",
        error if error.is_body() || error.is_decode() => "the answer broke off",
        _ => "the request failed",
    };
    let mut reason = what.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        reason = format!("{what}: {error}");
        source = error.source();
    }
    if error.is_connect() { Failure::Endpoint { reason, after: None } } else { Failure::Again { reason, after: None } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_accepted_bundle_with_a_refused_entry_is_not_delivered() {
        let answer = |status: &str| json!({"resourceType": "Bundle", "entry": [{"response": {"status": "201 Created"}}, {"response": {"status": status, "outcome": {"issue": [{"severity": "error", "code": "invalid", "diagnostics": "CANARY"}]}}}]});
        assert_eq!(entries(Some(&answer("200"))), Ok(()));
        assert_eq!(
            entries(Some(&answer("422 Unprocessable"))),
            Err(Failure::Refused("entry 1: status 422 (error invalid)".into()))
        );
        assert!(matches!(entries(Some(&answer("503"))), Err(Failure::Again { .. })));
        assert!(matches!(entries(Some(&answer("401"))), Err(Failure::Endpoint { .. })));
        let answered = Some(("transaction-response", 1));
        let whole = serde_json::json!({"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "200"}}]});
        assert_eq!(proven(Some(&whole), answered), Ok(()));
        assert!(matches!(proven(Some(&whole), Some(("transaction-response", 2))), Err(Failure::Again { .. })));
        assert!(matches!(proven(None, answered), Err(Failure::Again { .. })), "a login page is no delivery");
    }

    #[test]
    fn loopback() {
        let is = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is("http://127.0.0.1:1/fhir") && is("http://localhost/") && is("http://[::1]:8/"));
        assert!(!is("http://10.0.0.1/") && !is("http://localhost.example/"));
    }
}
