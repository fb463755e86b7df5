//! The admin server: health, metrics and the API by which a running gateway is operated (HTTP, JSON).
//!
//! | file | what |
//! |---|---|
//! | `socket` | connections within limits, TLS |
//! | `gate` | what a request must pass before anything of it is done |
//! | `credentials` | tokens and roles |
//! | `users` | people who sign in to the desk |
//! | `health`, `metrics` | for orchestrators and Prometheus |
//! | `api` | everything below `/api/v1`; `openapi.json` describes it |
//! | `problem` | what is said when something is not done |
//!
//! A request with a token that does not do is refused before any of its body is read, and one request of ours has a body (codes that are resolved). There is no account unless the configuration
//! names a token or a user. The pages of the desk (`crate::desk`) are served by the same socket, behind the same `gate::guard`. Answers hold nothing of a patient, but for those two that need the role `phi-reader`, which are noted in the
//! log, and what a sender wrote where a code belongs: operators see it where it looks like a code, a `phi-reader` always.
pub(crate) mod api;
pub mod credentials;
pub(crate) mod gate;
mod health;
pub(crate) mod metrics;
pub(crate) mod problem;
pub(crate) mod refused;
pub(crate) mod socket;
pub mod users;

pub use api::OPENAPI;
pub use credentials::{Role, Token};
pub use users::User;

use crate::alerts;
use crate::mllp::tls::{self, Acceptor};
use crate::server::Control;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use credentials::{FAILURES_MAX, Failures, Need};
use problem::Problem;
use socket::{Peer, Socket};
use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Where and whom to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Certificate and key; without them it speaks plainly.
    pub tls: Option<tls::Options>,
    /// Names by which it may be asked, beside those of the loopback interface when it listens there.
    pub hosts: Vec<String>,
    /// Who may ask.
    pub tokens: Vec<Token>,
    /// Who may sign in to the desk.
    pub users: Vec<User>,
    /// Metrics need no token.
    pub metrics_open: bool,
    /// Requests of one address without a good token that are answered within a minute.
    pub failures_max: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: String::new(),
            tls: None,
            hosts: Vec::new(),
            tokens: Vec::new(),
            users: Vec::new(),
            metrics_open: false,
            failures_max: FAILURES_MAX,
        }
    }
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error("admin: cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Certificates are no good.
    #[error("admin: tls: {0}")]
    Tls(#[from] tls::Error),
}

/// A bound socket that does not serve yet.
pub struct Admin {
    socket: Socket,
    address: SocketAddr,
    shared: Arc<Shared>,
    pages: Router,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    loopback: bool,
    pub(crate) control: Control,
    pub(crate) alerts: alerts::Open,
    pub(crate) data: PathBuf,
    pub(crate) started: jiff::Timestamp,
    pub(crate) failures: Failures,
    /// Failed sign-ins, for the audit.
    pub(crate) refused: refused::Refused,
    pub(crate) requests: Semaphore,
    /// Dead letters that are being sent again: not twice at once.
    resending: Mutex<HashSet<(String, u64)>>,
    /// By whom and when routes were paused or stopped; forgotten at a restart.
    held: Mutex<BTreeMap<String, Held>>,
}

/// Who has paused or stopped a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub who: Arc<str>,
    /// In milliseconds since 1970.
    pub at_ms: i64,
}

impl Admin {
    /// Binds the socket and reads the certificates.
    ///
    /// # Errors
    /// A [`StartError`].
    pub async fn bind(
        options: Options,
        control: Control,
        alerts: alerts::Open,
        data: PathBuf,
    ) -> Result<Admin, StartError> {
        let tls = options.tls.clone().map(Acceptor::new).transpose()?.map(Arc::new);
        let failed = |source| StartError::Listen { address: options.listen.clone(), source };
        let listener = TcpListener::bind(&options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let socket = Socket::new(listener, tls).map_err(failed)?;
        let shared = Shared {
            options,
            loopback: address.ip().is_loopback(),
            control,
            alerts,
            data,
            started: jiff::Timestamp::now(),
            failures: Failures::default(),
            refused: refused::Refused::default(),
            requests: Semaphore::new(gate::REQUESTS_MAX),
            resending: Mutex::default(),
            held: Mutex::default(),
        };
        Ok(Admin { socket, address, shared: Arc::new(shared), pages: Router::new().fallback(nothing) })
    }

    /// With pages beside the API, made of what all requests share.
    #[must_use]
    pub(crate) fn with_pages(mut self, pages: impl FnOnce(&Arc<Shared>) -> Router) -> Admin {
        self.pages = pages(&self.shared);
        self
    }

    /// Where it listens, as a line: `admin http://127.0.0.1:8080 (tokens 2, users 1)`.
    pub fn line(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        let Options { tokens, users, .. } = &self.shared.options;
        format!("admin {scheme}://{} (tokens {}, users {})", self.address, tokens.len(), users.len())
    }

    /// Serves until `stop` comes, then answers what has been asked.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let service = router(&self.shared, self.pages).into_make_service_with_connect_info::<Peer>();
        if let Err(error) = axum::serve(self.socket, service).with_graceful_shutdown(stop).await {
            tracing::error!("admin: {error}");
        }
    }
}

/// Where there are no pages.
async fn nothing() -> Problem {
    Problem::not_found("there is nothing under this path", "see /api/v1/openapi.json for what there is")
}

type Endpoint = (&'static str, &'static str, Need, MethodRouter<Arc<Shared>>);

/// Everything that can be asked for. The search of messages is to stand beside `messages/{seq}`, as `GET /api/v1/messages`.
fn endpoints(metrics_open: bool) -> Vec<Endpoint> {
    let metrics = if metrics_open { Need::Nobody } else { Need::View };
    vec![
        ("get", "/health/live", Need::Nobody, get(health::live)),
        ("get", "/health/ready", Need::Nobody, get(health::ready)),
        ("get", "/metrics", metrics, get(metrics::show)),
        ("get", "/api/v1/openapi.json", Need::Nobody, get(api::openapi)),
        ("get", "/api/v1/status", Need::View, get(api::status::status)),
        ("get", "/api/v1/listeners", Need::View, get(api::status::listeners)),
        ("get", "/api/v1/routes", Need::View, get(api::status::routes)),
        ("post", "/api/v1/routes/{name}/start", Need::Operate, post(api::routes::start)),
        ("post", "/api/v1/routes/{name}/pause", Need::Operate, post(api::routes::pause)),
        ("post", "/api/v1/routes/{name}/stop", Need::Operate, post(api::routes::stop)),
        ("post", "/api/v1/reload", Need::Configure, post(api::routes::reload)),
        ("get", "/api/v1/alerts", Need::View, get(api::alerts::list)),
        ("post", "/api/v1/messages/resend", Need::Operate, post(api::bulk::resend)),
        ("get", "/api/v1/dead-letters", Need::View, get(api::letters::list)),
        ("get", "/api/v1/dead-letters/{route}/{seq}", Need::Phi, get(api::letters::show)),
        ("post", "/api/v1/dead-letters/{route}/resend", Need::Operate, post(api::many::resend)),
        ("post", "/api/v1/dead-letters/{route}/drop", Need::Operate, post(api::many::forget)),
        ("post", "/api/v1/dead-letters/{route}/{seq}/resend", Need::Operate, post(api::letters::resend)),
        ("post", "/api/v1/dead-letters/{route}/{seq}/drop", Need::Operate, post(api::letters::forget)),
        ("get", "/api/v1/codes", Need::Codes, get(api::codes::list)),
        ("post", "/api/v1/codes/resolve", Need::Configure, post(api::codes::resolve)),
        ("get", "/api/v1/codes/{id}", Need::Codes, get(api::codes::show)),
        ("get", "/api/v1/codes/{id}/messages", Need::Operate, get(api::codes::messages)),
        ("post", "/api/v1/codes/{id}/resend", Need::Operate, post(api::codes::resend)),
        ("post", "/api/v1/codes/{id}/dismiss", Need::Operate, post(api::codes::dismiss)),
        ("get", "/api/v1/loops", Need::Operate, get(api::loops::list)),
        ("get", "/api/v1/panels/{id}/measures", Need::View, get(api::measures::rates)),
        ("get", "/api/v1/panels/{id}/measures/{measure}/people", Need::Codes, get(api::measures::people)),
        ("get", "/api/v1/rosters", Need::View, get(api::rosters::list)),
        ("post", "/api/v1/rosters/reload", Need::Operate, post(api::rosters::reload)),
        ("post", "/api/v1/rosters/explain", Need::Phi, post(api::rosters::explain)),
        ("post", "/api/v1/rosters/{panel}/approve", Need::Operate, post(api::rosters::approve)),
        ("post", "/api/v1/rosters/{panel}/reject", Need::Operate, post(api::rosters::reject)),
        ("get", "/api/v1/rosters/reviews", Need::Codes, get(api::reviews::list)),
        ("post", "/api/v1/rosters/reviews/{id}", Need::Operate, post(api::reviews::decide)),
        ("get", "/api/v1/messages/{seq}", Need::View, get(api::messages::facts)),
        ("get", "/api/v1/messages/{seq}/raw", Need::Phi, get(api::messages::raw)),
        ("post", "/api/v1/messages/{seq}/resend", Need::Operate, post(api::again::resend)),
    ]
}

fn router(shared: &Arc<Shared>, pages: Router) -> Router {
    let mut router = Router::new();
    for (_, path, need, handler) in endpoints(shared.options.metrics_open) {
        let handler = match need {
            Need::Nobody => handler,
            need => handler.route_layer(from_fn_with_state((Arc::clone(shared), need), gate::authenticate)),
        };
        router = router.route(path, handler);
    }
    let method = || async {
        let remedy = "see the Allow header, and /api/v1/openapi.json";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong method", "this path does not take that method", remedy)
    };
    router
        .with_state(Arc::clone(shared))
        .merge(pages)
        .method_not_allowed_fallback(method)
        .layer(from_fn_with_state(Arc::clone(shared), gate::guard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_describes_every_endpoint_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let open = operation["security"].as_array().is_some_and(Vec::is_empty);
                let role = operation["x-role"].as_str().unwrap_or("").to_owned();
                assert_eq!(open, role.is_empty(), "{method} {path}: security and x-role");
                described.insert((method.clone(), path.clone(), role));
            }
        }
        let served: BTreeSet<_> = endpoints(false)
            .into_iter()
            .map(|(method, path, need, _)| {
                (method.into(), path.into(), need.role().map_or("", |role| role.name()).into())
            })
            .collect();
        assert_eq!(described, served);
    }
}
