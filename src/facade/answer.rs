//! Answers: resources, and OperationOutcomes where there is none.
use crate::coordination::subscription::capability::{Issue, outcome};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The media type of all answers.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// A resource.
pub(super) struct Resource {
    pub status: StatusCode,
    pub value: Value,
    /// `[base]/Type/id`, of one that was made.
    pub location: Option<String>,
}

impl Resource {
    pub fn found(value: Value) -> Resource {
        Resource { status: StatusCode::OK, value, location: None }
    }
}

impl IntoResponse for Resource {
    fn into_response(self) -> Response {
        let mut answer = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], self.value.to_string()).into_response();
        if let Some(version) = self.value["meta"]["versionId"].as_str()
            && let Ok(tag) = HeaderValue::from_str(&format!("W/\"{version}\""))
        {
            answer.headers_mut().insert(header::ETAG, tag);
        }
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        answer
    }
}

/// A resource that is written already.
pub(super) struct Text(pub String);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, MEDIA_TYPE)], self.0).into_response()
    }
}

/// Writes an entry of a Bundle: a resource that is written already, and what stands behind it.
pub(super) fn entry(out: &mut String, base: &str, (kind, id, json): (&str, &str, &str), behind: &str) {
    if out.ends_with('}') {
        out.push(',');
    }
    out.extend([
        "{\"fullUrl\":",
        &Value::from(format!("{base}/{kind}/{id}")).to_string(),
        ",\"resource\":",
        json,
        behind,
        "}",
    ]);
}

/// What was found by a search, all of it.
pub(super) fn searchset(entries: Vec<Value>) -> Value {
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "total": entries.len() });
    // FHIR has no empty lists.
    if !entries.is_empty() {
        bundle["entry"] = Value::Array(entries);
    }
    bundle
}

/// Why something is not done.
pub(super) struct Problem {
    status: StatusCode,
    issues: Vec<Issue>,
    retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Problem {
        let issues = vec![Issue { code, text: text.into(), expression: String::new() }];
        Problem { status, issues, retry_after: None }
    }

    /// What was sent cannot be taken.
    pub fn wrong(issues: Vec<Issue>) -> Problem {
        Problem { status: StatusCode::UNPROCESSABLE_ENTITY, issues, retry_after: None }
    }

    /// It is not there, or not for whoever asks: the answer does not say which.
    pub fn not_found() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "there is nothing of that id that you were told of or have made",
        )
    }

    pub fn retry_after(self, seconds: u32) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }

    /// Our own fault, which is logged.
    pub fn internal(error: &dyn std::fmt::Display) -> Problem {
        tracing::error!("fhir: {error}");
        let text = "it cannot be done at the moment; try again later";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = Resource { status: self.status, value: outcome(&self.issues), location: None }.into_response();
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

pub(super) async fn nothing() -> Problem {
    unknown()
}

pub(super) fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-supported", "there is nothing under this path; see [base]/metadata")
}

pub(super) async fn no_such_method() -> Problem {
    let text = "this path does not take that method; see [base]/metadata";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", text)
}

/// Work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal(&error)),
    }
}
