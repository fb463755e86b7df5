//! The FHIR interface of coordinated care: recipients subscribe here, read what they missed, and read what they were told of.
//!
//! | file | what |
//! |---|---|
//! | `access` | who asks, and what a request must pass before anything of it is done |
//! | `subscriptions` | `Subscription`: create, read, search, update, delete |
//! | `binding` | websockets: tokens, connections |
//! | `events` | `$status`, `$events` |
//! | `self_test` | `$self-test` |
//! | `reading` | resources that somebody was notified of, topics, panels |
//! | `card`, `summary` | the picture of a person: `$everything`, and as a document `$summary` |
//! | `group` | the lists of panels, read and written |
//! | `measures` | `Measure` and `MeasureReport` |
//! | `steward` | `Consent` and `CareTeam`, for those who may say what patients want |
//! | `answer` | resources and OperationOutcomes as answers |
//!
//! Whoever asks is a recipient of the configuration, by its token, and sees its own subscriptions and what the gate lets through for it, judged anew each time. Nothing here
//! searches: what a recipient was not told of is not there.
mod access;
mod answer;
mod binding;
mod card;
mod events;
mod group;
mod measures;
mod reading;
mod self_test;
mod steward;
mod subscriptions;
mod summary;

use crate::admin::socket::{Peer, Socket};
use crate::mllp::tls::{self, Acceptor};
use crate::server::care::Shared as Care;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Where and whom to serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Certificate and key; without them it speaks plainly.
    pub tls: Option<tls::Options>,
    /// Who may write consents, care teams and the lists of panels: name and SHA-256 of the token.
    pub stewards: Vec<(String, [u8; 32])>,
}

impl Options {
    /// Whether it can be reached from this machine alone.
    pub fn is_loopback(&self) -> bool {
        let host = self.listen.rsplit_once(':').map_or("", |(host, _)| host.trim_matches(['[', ']']));
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error("[coordination.fhir]: cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Certificates are no good.
    #[error("[coordination.fhir] tls: {0}")]
    Tls(#[from] tls::Error),
}

/// Requests under way at the same time.
const REQUESTS_MAX: usize = 64;

/// What all requests share.
struct Shared {
    options: Options,
    care: Arc<Care>,
    since_ms: i64,
    failures: crate::admin::credentials::Failures,
    requests: Semaphore,
    tokens: binding::Tokens,
    /// A place for a list that is sent.
    lists: Arc<Semaphore>,
    /// Places for tests of subscriptions.
    self_tests: Semaphore,
    /// Places for websockets that have not bound to anything yet.
    unbound: Arc<Semaphore>,
}

/// A bound socket that does not serve yet.
pub struct Facade {
    socket: Socket,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Facade {
    /// Binds the socket and reads the certificates.
    ///
    /// # Errors
    /// A [`StartError`].
    pub async fn bind(options: Options, care: Arc<Care>) -> Result<Facade, StartError> {
        let tls = options.tls.clone().map(Acceptor::new).transpose()?.map(Arc::new);
        let failed = |source| StartError::Listen { address: options.listen.clone(), source };
        let listener = TcpListener::bind(&options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let socket = Socket::new(listener, tls).map_err(failed)?;
        let since_ms = jiff::Timestamp::now().as_millisecond();
        let (failures, requests, tokens) = (Default::default(), Semaphore::new(REQUESTS_MAX), Default::default());
        let unbound = Arc::new(Semaphore::new(binding::UNBOUND_MAX));
        let self_tests = Semaphore::new(self_test::SELF_TESTS_MAX);
        let lists = Arc::new(Semaphore::new(1));
        let shared = Shared { options, care, since_ms, failures, requests, tokens, lists, self_tests, unbound };
        let shared = Arc::new(shared);
        Ok(Facade { socket, address, shared })
    }

    /// Where it listens, as a line: `fhir http://127.0.0.1:8090/fhir (recipients 2)`.
    pub fn line(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        format!(
            "fhir {scheme}://{}/fhir (recipients {})",
            self.address,
            self.shared.care.options.privacy.recipients.len()
        )
    }

    /// Serves until `stop` comes, then answers what has been asked.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let service = router(&self.shared).into_make_service_with_connect_info::<Peer>();
        if let Err(error) = axum::serve(self.socket, service).with_graceful_shutdown(stop).await {
            tracing::error!("fhir: {error}");
        }
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let recipients = Router::new()
        .route("/fhir/Subscription", get(subscriptions::search).post(subscriptions::create))
        .route("/fhir/Subscription/$status", get(events::statuses).post(events::statuses))
        .route(
            "/fhir/Subscription/{id}",
            get(subscriptions::read).put(subscriptions::update).delete(subscriptions::delete),
        )
        .route("/fhir/Subscription/{id}/$status", get(events::status).post(events::status))
        .route("/fhir/Subscription/{id}/$events", get(events::events).post(events::events_of_body))
        .route("/fhir/Subscription/{id}/$get-ws-binding-token", get(binding::token).post(binding::token))
        .route("/fhir/Subscription/{id}/$self-test", post(self_test::run))
        .route("/fhir/SubscriptionTopic/{id}", get(reading::topic))
        .route("/fhir/Basic", get(reading::topics))
        .route("/fhir/Basic/{id}", get(reading::basic))
        .route("/fhir/Patient/{id}/$everything", get(card::everything).post(card::everything))
        .route("/fhir/Patient/{id}/$summary", get(summary::summary).post(summary::summary))
        .route("/fhir/Measure/{id}", get(measures::definition))
        .route("/fhir/MeasureReport", get(measures::search))
        .route("/fhir/MeasureReport/{id}", get(measures::read))
        .route("/fhir/{kind}/{id}", get(reading::read))
        .route_layer(from_fn_with_state(Arc::clone(shared), access::recipient));
    let stewards = Router::new()
        .route("/fhir/Consent/{id}", put(steward::put_consent).delete(steward::delete_consent))
        .route("/fhir/CareTeam/{id}", put(steward::put_team).delete(steward::delete_team))
        .route("/fhir/Group/{id}", put(group::put))
        .route("/fhir/Group/{id}/$member-add", post(group::add))
        .route("/fhir/Group/{id}/$member-remove", post(group::remove))
        .route_layer(from_fn_with_state(Arc::clone(shared), access::steward));
    let both = Router::new()
        .route("/fhir/Consent/{id}", get(steward::read_consent))
        .route("/fhir/CareTeam/{id}", get(steward::read_team))
        .route("/fhir/Group/{id}", get(group::read))
        .route_layer(from_fn_with_state(Arc::clone(shared), access::either));
    Router::new()
        .route("/fhir/metadata", get(reading::metadata))
        .route("/fhir/$ws", get(binding::connect))
        .merge(stewards)
        .merge(both)
        .merge(recipients)
        .fallback(answer::nothing)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(from_fn_with_state(Arc::clone(shared), access::guard))
        .with_state(Arc::clone(shared))
}
