//! What the API says when it does not do something (RFC 9457): what, where, why, and what to do.
use crate::server::tally::Cause;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An answer that is none. Holds nothing of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    remedy: String,
    retry_after: Option<u64>,
    cause: Option<Cause>,
}

impl Problem {
    /// What went wrong in short, why, and what to do.
    pub fn new(
        status: StatusCode,
        title: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem { status, title, detail: detail.into(), remedy: remedy.into(), retry_after: None, cause: None }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, in short.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Why.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What to do.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Where it is one of many that are sent: why not, in a word.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// With that word.
    pub fn because(self, cause: Cause) -> Problem {
        Problem { cause: Some(cause), ..self }
    }

    /// With the seconds after which to come again.
    pub fn retry_after(self, seconds: u64) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }

    /// Nothing is there.
    pub fn not_found(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not found", detail, remedy)
    }

    /// Our own fault: the detail is logged, too.
    pub fn internal(detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        tracing::error!("admin: {detail}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail, "look at the log of the gateway")
    }

    /// The gateway is going down.
    pub fn stopping() -> Problem {
        let remedy = "ask again once it has started";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping", remedy).retry_after(5)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "remedy": self.remedy,
        });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"handoff\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Problem {
        let detail = "a name in the path is no UTF-8, or a number is no whole number";
        let remedy = "use the name of a route and the number (seq) that the journal gave the message";
        Problem::new(StatusCode::BAD_REQUEST, "bad path", detail, remedy)
    }
}

impl From<QueryRejection> for Problem {
    fn from(_: QueryRejection) -> Problem {
        let remedy = "see /api/v1/openapi.json for the parameters that it takes";
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad query",
            "a query parameter is unknown or has no usable value",
            remedy,
        )
    }
}
