//! Style and scripts, in the program itself. Their address holds what they are, so a browser asks once.
use crate::admin::problem::Problem;
use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// Name, media type, content.
type File = (&'static str, &'static str, &'static [u8]);

const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// htmx 2.0.11 and its extension for server-sent events 2.2.4, both Zero-Clause BSD, unchanged; the rest is ours.
const FILES: [File; 13] = [
    ("desk.css", "text/css; charset=utf-8", include_bytes!("assets/desk.css")),
    ("pages.css", "text/css; charset=utf-8", include_bytes!("assets/pages.css")),
    ("desk.js", SCRIPT, include_bytes!("assets/desk.js")),
    ("provenance.js", SCRIPT, include_bytes!("assets/provenance.js")),
    ("letters.js", SCRIPT, include_bytes!("assets/letters.js")),
    ("live.js", SCRIPT, include_bytes!("assets/live.js")),
    ("playground.js", SCRIPT, include_bytes!("assets/playground.js")),
    ("htmx.min.js", SCRIPT, include_bytes!("assets/htmx.min.js")),
    ("sse.min.js", SCRIPT, include_bytes!("assets/sse.min.js")),
    // The guide that pages of coordinated care lead to.
    ("coordinated-care.md", TEXT, include_bytes!("../../docs/coordinated-care.md")),
    ("mark.svg", "image/svg+xml", include_bytes!("assets/mark.svg")),
    ("htmx.LICENSE", TEXT, include_bytes!("assets/htmx.LICENSE")),
    ("sse.LICENSE", TEXT, include_bytes!("assets/sse.LICENSE")),
];

/// Changes with any of the files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    FILES.iter().for_each(|(_, _, content)| hash.update(content));
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// Where a file is found.
pub(super) fn path(file: &str) -> String {
    debug_assert!(FILES.iter().any(|(name, ..)| *name == file), "{file}");
    format!("/assets/{}/{file}", *VERSION)
}

/// `GET /assets/{version}/{file}`
pub(super) async fn serve(Path((version, file)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|(name, ..)| *name == file);
    let Some((_, media, content)) = found.filter(|_| version == *VERSION) else {
        return Problem::not_found("there is no such file", "load the page again").into_response();
    };
    const KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    ([(header::CONTENT_TYPE, *media), KEPT], *content).into_response()
}
