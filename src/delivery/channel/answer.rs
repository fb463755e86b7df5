//! What the answer of a FHIR server, or of a web hook, means for a message.
//!
//! | answer | what becomes of the message |
//! |---|---|
//! | 2xx that proves itself, and no entry of it failed | delivered |
//! | no connection, 401, 429 | again, and the route rests: this concerns the server, not the message; `Retry-After` is heeded |
//! | no answer in time, 408, 409, 425, 5xx | again; `Retry-After` is heeded |
//! | other 4xx, 412 for several matches among them | refused: a dead letter |
//! | 3xx | refused: redirects are not followed, the configuration should name the right place |
//!
//! 401 never makes a dead letter: a backlog must not be lost to sight because a credential has run out. A server that does not answer in time may be choking on this
//! very message, so that counts against the message. `replies` of the route may say otherwise.
use super::Failure;
use super::http::{self, retry_after};
use super::replies::{Replies, Reply};
use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED, LOCATION};
use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The 2xx of a server.
#[derive(Debug)]
pub(super) struct Taken {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// JSON, as far as it was not too long.
    pub body: Option<Said>,
    /// There was no body at all.
    pub is_empty: bool,
}

impl Taken {
    /// How long the server asks to be left alone, though it took the request.
    pub fn after(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }
}

/// What is asked of the JSON of an answer; the rest of it is passed over, for a server may show all that it has stored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Said {
    #[serde(deserialize_with = "text")]
    resource_type: Text,
    #[serde(deserialize_with = "text")]
    id: Text,
    #[serde(rename = "type", deserialize_with = "text")]
    kind: Text,
    entry: Option<Vec<Entry>>,
    /// Of an OperationOutcome.
    issue: Option<Value>,
}

/// What is said of one entry of a Bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    response: Option<Response>,
    resource: Option<Resource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    #[serde(deserialize_with = "text")]
    status: Text,
    #[serde(deserialize_with = "text")]
    location: Text,
    outcome: Option<Outcome>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    #[serde(deserialize_with = "text")]
    id: Text,
    /// Of a MessageHeader.
    response: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome {
    issue: Option<Value>,
}

/// None also for what is no text: a resource that the server shows may have an element of the same name and another type, as `Encounter.type`.
type Text = Option<Box<str>>;

fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text.into()),
        _ => None,
    })
}

/// Reads an answer; an error when it is no 2xx.
pub(super) async fn taken(
    response: Result<reqwest::Response, reqwest::Error>,
    replies: &Replies,
) -> Result<Taken, Failure> {
    let response = response.map_err(|error| http::unanswered(&error, replies))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = http::read(response).await.map_err(|error| http::unanswered(&error, replies))?;
    let json: Option<Said> = body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
    if status.is_success() {
        return Ok(Taken { status, headers, body: json, is_empty: body.is_some_and(|body| body.is_empty()) });
    }
    let mut reason = format!("HTTP {status}{}", issues(json.as_ref().and_then(|said| said.issue.as_ref())));
    if status.is_redirection() {
        reason.push_str(": redirects are not followed; name the final address in the route");
    }
    Err(judged(status.as_u16(), reason, retry_after(&headers, SystemTime::now()), replies))
}

/// What a status means that is no success.
fn judged(status: u16, reason: String, after: Option<Duration>, replies: &Replies) -> Failure {
    let failure = match status {
        401 | 429 => Failure::Endpoint { reason, after },
        408 | 409 | 425 | 500..=599 => Failure::Again { reason, after },
        _ => Failure::Refused(reason),
    };
    replies.apply(Reply::Status(status), failure)
}

/// Whether a target refuses a message because of what it has already (409, 412), as its answer is told: another message may well be taken.
pub fn is_conflict(reason: &str) -> bool {
    let of_entry = || reason.strip_prefix("entry ").and_then(|rest| rest.split_once(": status ")).map(|(_, code)| code);
    let code = reason.strip_prefix("HTTP ").or_else(of_entry).and_then(|code| code.get(..3));
    matches!(code, Some("409" | "412"))
}

/// Delivered must be proven: a login page answers 200 as well. Gives the entries of the answer.
pub(super) fn proven<'t>(taken: &'t Taken, kind: &str, count: usize) -> Result<&'t [Entry], Failure> {
    let body = taken.body.as_ref();
    let (said, is_bundle) = (
        body.and_then(|body| body.kind.as_deref()),
        body.and_then(|body| body.resource_type.as_deref()) == Some("Bundle"),
    );
    let has_status = |entry: &Entry| entry.response.as_ref().is_some_and(|response| response.status.is_some());
    match body.and_then(|body| body.entry.as_deref()) {
        Some(entries)
            if is_bundle && said == Some(kind) && entries.len() == count && entries.iter().all(has_status) =>
        {
            Ok(entries)
        }
        // Nothing was asked for.
        None if count == 0 && said == Some(kind) => Ok(&[]),
        _ => {
            Err(Failure::Again { reason: format!("2xx without a {kind} for each of the {count} entries"), after: None })
        }
    }
}

/// A server may take a Bundle and refuse what is in it: each entry has a status of its own, and FHIR has no place in it for how long to wait; `after` is what the whole
/// answer says of that.
pub(super) fn entries(entries: &[Entry], after: Option<Duration>, replies: &Replies) -> Result<(), Failure> {
    for (at, entry) in entries.iter().enumerate() {
        let Some(response) = &entry.response else { continue };
        let Some(status) = response.status.as_deref() else { continue };
        let code = status.get(..3).and_then(|code| code.parse::<u16>().ok()).unwrap_or(0);
        if !matches!(code, 200..=299 | 304) {
            let reason = format!(
                "entry {at}: status {code}{}",
                issues(response.outcome.as_ref().and_then(|outcome| outcome.issue.as_ref()))
            );
            return Err(judged(code, reason, after, replies));
        }
    }
    Ok(())
}

/// Why a transaction did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untaken {
    /// The status that was answered, of the whole or of the first entry that failed; none where the answer proves nothing.
    pub status: Option<u16>,
    /// Whether it is that of an entry: the server is there, and has read it.
    pub is_of_entry: bool,
    /// How long the server asks to be left alone, in an answer that is an error as a whole (`Retry-After`).
    pub after: Option<Duration>,
    /// For people. Nothing of a patient.
    pub reason: String,
}

/// Reads the answer to a transaction of so many entries, for whoever judges statuses otherwise than routes do.
///
/// # Errors
/// What is no proof that all of it was taken.
pub async fn transaction_taken(response: reqwest::Response, count: usize) -> Result<(), Untaken> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = http::read(response).await.ok().flatten();
    let json: Option<Said> = body.as_deref().and_then(|body| serde_json::from_slice(body).ok());
    if !status.is_success() {
        let reason = format!("HTTP {status}{}", issues(json.as_ref().and_then(|said| said.issue.as_ref())));
        let after = retry_after(&headers, SystemTime::now());
        return Err(Untaken { status: Some(status.as_u16()), is_of_entry: false, after, reason });
    }
    let taken = Taken { status, headers, body: json, is_empty: false };
    let unproven = |failure: Failure| Untaken {
        status: None,
        is_of_entry: false,
        after: None,
        reason: failure.reason().to_owned(),
    };
    for (at, entry) in proven(&taken, "transaction-response", count).map_err(unproven)?.iter().enumerate() {
        let said = entry.response.as_ref();
        let code = said.and_then(|response| response.status.as_deref()?.get(..3)?.parse::<u16>().ok()).unwrap_or(0);
        if !matches!(code, 200..=299 | 304) {
            let issue = said.and_then(|response| response.outcome.as_ref()).and_then(|outcome| outcome.issue.as_ref());
            let reason = format!("entry {at}: status {code}{}", issues(issue));
            return Err(Untaken { status: Some(code), is_of_entry: true, after: None, reason });
        }
    }
    Ok(())
}

/// The same for a Bundle that was sent as a whole: the answer is nothing at all, as of a server that looks at it later, or a resource, and where that is a Bundle none of
/// its entries failed, nor does its MessageHeader say so.
pub(super) fn whole_proven(taken: &Taken, replies: &Replies) -> Result<(), Failure> {
    let body = taken.body.as_ref().filter(|body| body.resource_type.is_some());
    let Some(body) = body else {
        let reason = || Failure::Again { reason: "2xx without a FHIR resource".into(), after: None };
        return if taken.is_empty { Ok(()) } else { Err(reason()) };
    };
    let found = body.entry.as_deref().unwrap_or_default();
    for resource in found.iter().filter_map(|entry| entry.resource.as_ref()) {
        let code = resource.response.as_ref().and_then(|response| response.get("code")).and_then(Value::as_str);
        match code {
            Some("fatal-error") => return Err(Failure::Refused("the MessageHeader answers fatal-error".into())),
            Some("transient-error") => {
                let reason = "the MessageHeader answers transient-error".into();
                return Err(Failure::Again { reason, after: None });
            }
            _ => {}
        }
    }
    entries(found, taken.after(), replies)
}

/// The same for one resource: it is shown or named by the answer. Gives where the server put it, as `Type/id`.
pub(super) fn resource_proven(taken: &Taken, resource_type: &str) -> Result<Option<String>, Failure> {
    let shown = taken.body.as_ref().and_then(|body| body.resource_type.as_deref());
    let by_body = taken.body.as_ref().filter(|_| shown == Some(resource_type));
    let by_body = by_body.and_then(|body| body.id.as_deref()).filter(|id| is_id(id));
    let header = taken.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let address = by_body
        .map(|id| format!("{resource_type}/{id}"))
        .or_else(|| header.and_then(|location| address(location, resource_type)));
    let silent = taken.is_empty
        && (taken.status != StatusCode::OK
            || [ETAG, LAST_MODIFIED, LOCATION].iter().any(|name| taken.headers.contains_key(name)));
    if shown == Some(resource_type) || shown == Some("OperationOutcome") || silent {
        return Ok(address);
    }
    Err(Failure::Again { reason: format!("2xx without a {resource_type}"), after: None })
}

/// Where the server put the resource of an entry, as `Type/id`.
pub(super) fn entry_address(entry: &Entry, resource_type: &str) -> Option<String> {
    let location = entry.response.as_ref().and_then(|response| response.location.as_deref());
    let id = entry.resource.as_ref().and_then(|resource| resource.id.as_deref()).filter(|id| is_id(id));
    location
        .and_then(|location| address(location, resource_type))
        .or_else(|| id.map(|id| format!("{resource_type}/{id}")))
}

/// `Type/id` in `https://…/Type/id/_history/1`.
fn address(location: &str, resource_type: &str) -> Option<String> {
    let mut parts = location.split('/');
    parts.by_ref().find(|part| *part == resource_type)?;
    parts.next().filter(|id| is_id(id)).map(|id| format!("{resource_type}/{id}"))
}

/// FHIR `id`.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

/// The severities and codes of an OperationOutcome, and where in the resource. Its texts may quote the patient and stay out.
fn issues(issues: Option<&Value>) -> String {
    let issues = issues.and_then(Value::as_array);
    let plain = |issue: &Value, key: &str| {
        issue
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| text.len() < 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
            .unwrap_or("?")
            .to_owned()
    };
    let place = |issue: &Value| {
        let listed = |key: &str| issue.get(key).and_then(Value::as_array).and_then(|list| list.first()?.as_str());
        let place = [listed("expression"), listed("location")].into_iter().flatten().find(|path| is_path(path));
        place.map_or_else(String::new, |path| format!(" at {path}"))
    };
    let texts: Vec<_> = issues
        .into_iter()
        .flatten()
        .take(5)
        .map(|issue| format!("{} {}{}", plain(issue, "severity"), plain(issue, "code"), place(issue)))
        .collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) }
}

/// `Patient.identifier[1].value`: a type, then elements and positions, and nothing that could be a value: no quotes, no functions, no comments.
fn is_path(text: &str) -> bool {
    let word = |text: &str, first: fn(&u8) -> bool| {
        let (name, position) = text.split_once('[').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let counted = position.is_none_or(|rest| {
            rest.strip_suffix(']').is_some_and(|digits| {
                (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
            })
        });
        let named = name.as_bytes().first().is_some_and(first) && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        counted && named && name.len() <= 40
    };
    let mut parts = text.split('.');
    let head = parts.next().is_some_and(|part| word(part, u8::is_ascii_uppercase));
    let mut rest = parts.peekable();
    text.len() <= 160 && head && rest.peek().is_some() && rest.all(|part| word(part, u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn none() -> Replies {
        Replies::default()
    }

    fn taken(status: StatusCode, headers: &[(reqwest::header::HeaderName, &str)], body: Option<Value>) -> Taken {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        Taken { status, headers, is_empty: body.is_none(), body: body.map(read) }
    }

    #[test]
    fn what_contradicts_the_target_is_known_from_what_is_told() {
        let none = none();
        let told = |status: u16| judged(status, format!("HTTP {}", StatusCode::from_u16(status).unwrap()), None, &none);
        for (status, is) in [(409, true), (412, true), (400, false), (422, false), (500, false)] {
            assert_eq!(is_conflict(told(status).reason()), is, "{status}");
        }
        let refused = read::<Vec<Entry>>(json!([{"response": {"status": "409 Conflict"}}]));
        assert!(is_conflict(entries(&refused, None, &none).unwrap_err().reason()));
        assert!(!is_conflict("MSA|AE status 409") && !is_conflict("HTTP 4") && !is_conflict("entry 409: status 422"));
    }

    #[test]
    fn every_status_has_its_consequence() {
        let after = Some(Duration::from_secs(7));
        let failure = |status| judged(status, "why".into(), after, &none());
        for status in [401, 429] {
            assert_eq!(failure(status), Failure::Endpoint { reason: "why".into(), after }, "{status}");
        }
        for status in [408, 409, 425, 500, 501, 502, 503, 504, 507] {
            assert_eq!(failure(status), Failure::Again { reason: "why".into(), after }, "{status}");
        }
        for status in [300, 301, 302, 307, 308, 400, 403, 404, 405, 406, 410, 411, 412, 413, 415, 422, 451, 0] {
            assert_eq!(failure(status), Failure::Refused("why".into()), "{status}");
        }
    }

    #[test]
    fn an_accepted_bundle_with_a_refused_entry_is_not_delivered() {
        let answer = |status: &str| json!([{"response": {"status": "201 Created"}}, {"response": {"status": status, "outcome": {"issue": [{"severity": "error", "code": "invalid", "diagnostics": "CANARY"}]}}}]);
        let after = Some(Duration::from_secs(9));
        let judge = |status: &str| entries(&read::<Vec<_>>(answer(status)), after, &none());
        assert_eq!(judge("200"), Ok(()));
        assert_eq!(judge("422 Unprocessable"), Err(Failure::Refused("entry 1: status 422 (error invalid)".into())));
        assert!(matches!(judge("412 Precondition Failed"), Err(Failure::Refused(_))));
        assert!(matches!(judge("503"), Err(Failure::Again { after: Some(_), .. })));
        for status in ["401", "429 Too Many Requests"] {
            let Err(Failure::Endpoint { after: asked, .. }) = judge(status) else { panic!("{status}") };
            assert_eq!(asked, after, "the whole answer says how long");
        }
        let replies = Replies(vec![(Reply::Status(422), crate::delivery::channel::replies::Action::Skip)]);
        assert!(matches!(entries(&read::<Vec<_>>(answer("422")), None, &replies), Err(Failure::Skipped(_))));
    }

    #[test]
    fn a_login_page_is_no_delivery() {
        let whole = json!({"resourceType": "Bundle", "type": "transaction-response", "entry": [{"response": {"status": "200"}}]});
        let whole = taken(StatusCode::OK, &[], Some(whole));
        assert!(proven(&whole, "transaction-response", 1).is_ok());
        for (kind, count) in [("transaction-response", 2), ("batch-response", 1)] {
            assert!(matches!(proven(&whole, kind, count), Err(Failure::Again { .. })));
        }
        let page = Taken { is_empty: false, ..taken(StatusCode::OK, &[], None) };
        assert!(matches!(proven(&page, "transaction-response", 1), Err(Failure::Again { .. })));
        assert!(matches!(resource_proven(&page, "Patient"), Err(Failure::Again { .. })));
        assert!(matches!(whole_proven(&page, &none()), Err(Failure::Again { .. })));
        let silent = taken(StatusCode::OK, &[], None);
        assert!(matches!(resource_proven(&silent, "Patient"), Err(Failure::Again { .. })), "nor is a bare 200");
    }

    #[test]
    fn an_answer_to_a_whole_bundle_may_be_nothing_or_a_resource_that_is_no_failure() {
        let judge = |body: Option<Value>| whole_proven(&taken(StatusCode::OK, &[], body), &none());
        let header = |code: &str| json!({"resourceType": "Bundle", "type": "message", "entry": [{"resource": {"resourceType": "MessageHeader", "response": {"identifier": "1", "code": code}}}]});
        assert_eq!((judge(None), judge(Some(header("ok")))), (Ok(()), Ok(())));
        assert_eq!(judge(Some(json!({"resourceType": "OperationOutcome", "issue": []}))), Ok(()));
        assert!(matches!(judge(Some(header("fatal-error"))), Err(Failure::Refused(_))));
        assert!(matches!(judge(Some(header("transient-error"))), Err(Failure::Again { .. })));
        assert!(matches!(judge(Some(json!({"hello": 1}))), Err(Failure::Again { .. })));
    }

    #[test]
    fn where_a_resource_went_is_read_from_the_body_or_the_location() {
        let body = |kind: &str| Some(json!({"resourceType": kind, "id": "77"}));
        let put = |headers: &[_], body| resource_proven(&taken(StatusCode::CREATED, headers, body), "Patient").unwrap();
        assert_eq!(put(&[], body("Patient")).as_deref(), Some("Patient/77"));
        let shown =
            json!({"resourceType": "Patient", "id": "78", "type": [{"coding": [{"code": "x"}]}], "response": 7});
        assert_eq!(put(&[], Some(shown)).as_deref(), Some("Patient/78"), "other elements may have other types");
        let location = [(LOCATION, "https://ehr.example/fhir/Patient/a-1/_history/3")];
        assert_eq!(put(&location, None).as_deref(), Some("Patient/a-1"));
        assert_eq!(put(&location, body("OperationOutcome")).as_deref(), Some("Patient/a-1"));
        assert_eq!(put(&[(LOCATION, "https://ehr.example/fhir/Patient/?x=\"1")], None), None, "no id");
        let entry = json!({"response": {"status": "201", "location": "Patient/9/_history/1"}});
        assert_eq!(entry_address(&read(entry), "Patient").as_deref(), Some("Patient/9"));
        let entry = json!({"response": {"status": "200"}, "resource": {"resourceType": "Patient", "id": "8"}});
        assert_eq!(entry_address(&read(entry), "Patient").as_deref(), Some("Patient/8"));
    }

    #[test]
    fn a_reason_says_what_and_where_and_quotes_nothing() {
        let outcome = |issue: Value| issues(Some(&json!([issue])));
        let told = outcome(
            json!({"severity": "error", "code": "required", "diagnostics": "CANARY", "details": {"text": "CANARY"}, "expression": ["Patient.identifier[1].value"]}),
        );
        assert_eq!(told, " (error required at Patient.identifier[1].value)");
        let located =
            outcome(json!({"severity": "error", "code": "value", "location": ["Bundle.entry[0].resource.birthDate"]}));
        assert_eq!(located, " (error value at Bundle.entry[0].resource.birthDate)");
        let several = outcome(json!({"severity": "fatal", "code": "multiple-matches"}));
        assert_eq!(several, " (fatal multiple-matches)");
        for quoting in [
            "Patient.name.where(family='CANARY')",
            "Bundle.entry[0].resource.ofType(Patient)",
            "Bundle.entry[0].resource/*Patient/CANARY*/.id",
            "CANARY",
            "Patient.CANARY",
            "Patient.identifier[123456].value",
            "/f:Patient/f:name",
            "Patient",
            "patient.name",
            "",
        ] {
            let told = outcome(json!({"severity": "error", "code": "CANARY", "expression": [quoting]}));
            assert_eq!(told, " (error ?)", "{quoting}");
        }
        assert_eq!(issues(Some(&json!("CANARY"))) + &issues(None), "");
    }
}
