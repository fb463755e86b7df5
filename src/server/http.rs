//! HL7 v2 over HTTP: `POST /hl7` with a message or a batch, the acknowledgement in the answer (the conventions of HAPI's "HL7 over HTTP").
//!
//! | status | when |
//! |---|---|
//! | 200 | there is an acknowledgement, whatever it says: AE and AR are answers, not failures of the way there |
//! | 204 | the sender asked for no acknowledgement |
//! | 400 | no message, or a charset that contradicts MSH-18 |
//! | 401 | the bearer token is missing or wrong; said before the body is read |
//! | 403 | it comes from a web page (it has an Origin) |
//! | 404, 405 | another path or method |
//! | 408, 413, 415 | a body that comes too slowly, is too large, or is of another type |
//! | 503 | it could not be stored: send it again later (Retry-After) |
//!
//! What is no acknowledgement is plain text. A connection has the same limits, networks and TLS as one of MLLP.
use super::entrance::Entrance;
use crate::hl7::{Charset, Index, SegmentId};
use crate::intake::{Answer, Peer};
use crate::mllp::connection;
use crate::mllp::listener::{Open, Place, Settings, admit, pause_after, turned_away};
use crate::mllp::tls;
use crate::telemetry::names;
use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::IncomingStream;
use axum::{Router, serve};
use sha2::{Digest, Sha256};
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::Instrument as _;

/// When a sender whose message could not be stored may try again.
const RETRY_AFTER_SECONDS: &str = "5";
/// Connections that are ready and wait to be served.
const READY_MAX: usize = 64;
/// What HL7 v2 is called.
const MEDIA_TYPES: [&str; 4] =
    ["application/hl7-v2", "application/hl7-v2+er7", "x-application/hl7-v2+er7", "text/plain"];

/// The token that senders must show, as its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// A token as it is shown.
    pub fn new(text: &str) -> Token {
        Token(Sha256::digest(text).into())
    }

    /// Whether a request shows it. Hashes are compared, in constant time: neither the place of a difference nor the length shows.
    fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| bool::from(Token::new(token.trim()).0.ct_eq(&self.0)))
    }
}

/// What answers the requests of a listener.
#[derive(Debug)]
struct Service {
    entrance: Entrance,
    settings: Arc<ArcSwap<Settings>>,
    token: Arc<ArcSwapOption<Token>>,
}

/// Serves until `shutdown` turns true, then answers what has been taken.
pub(super) async fn run(
    listener: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    open: Arc<Open>,
    token: Arc<ArcSwapOption<Token>>,
    entrance: Entrance,
    mut shutdown: watch::Receiver<bool>,
) {
    let Ok(local) = listener.local_addr() else { return tracing::error!("the listener has no address") };
    let service = Arc::new(Service { entrance, settings: Arc::clone(&settings), token });
    let router = Router::new().route("/hl7", post(take)).with_state(service).layer(from_fn(watch_head));
    let (ready, connections) = mpsc::channel(READY_MAX);
    let accepting = tokio::spawn(accept(listener, Arc::clone(&settings), open, ready, shutdown.clone()));
    let mut stopping = shutdown.clone();
    let served = serve(Incoming { connections, local }, router.into_make_service_with_connect_info::<Sender>())
        .with_graceful_shutdown(async move {
            let _ = stopping.wait_for(|&stop| stop).await;
        })
        .into_future();
    let mut served = std::pin::pin!(served);
    let stopped = async {
        let _ = shutdown.wait_for(|&stop| stop).await;
    };
    tokio::select! {
        _ = &mut served => tracing::error!("the listener ended by itself"),
        () = stopped => {
            let drain_timeout = settings.load().options.drain_timeout;
            if timeout(drain_timeout, served).await.is_err() {
                tracing::warn!("connections were cut: they did not finish in time");
            }
        }
    }
    accepting.abort();
}

/// Tells the connection that the head of a request is there, and then that the next one may begin.
async fn watch_head(ConnectInfo(sender): ConnectInfo<Sender>, request: Request, next: Next) -> Response {
    sender.turns.fetch_add(1, Ordering::Relaxed);
    let response = next.run(request).await;
    sender.turns.fetch_add(1, Ordering::Relaxed);
    response
}

/// Takes one message or batch.
async fn take(
    State(service): State<Arc<Service>>,
    ConnectInfo(Sender { peer, .. }): ConnectInfo<Sender>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if service.token.load().as_ref().is_some_and(|token| !token.is_shown_by(&headers)) {
        tracing::warn!(peer = %peer.address, "a request without the bearer token of the listener was refused");
        let mut response = refuse(StatusCode::UNAUTHORIZED, "show the bearer token of this listener");
        response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        return response;
    }
    // A page in somebody's browser, which senders of messages are not: it could reach what only this machine or network may.
    if headers.contains_key(ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "messages are not taken from web pages");
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, charset) = parts(content_type);
    if !MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type)) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send HL7 v2 as application/hl7-v2 or x-application/hl7-v2+er7",
        );
    }
    let limits = service.settings.load().options.connection;
    let raw = match timeout(limits.frame_timeout, read(body, &headers, limits.decoder.frame_bytes_max)).await {
        Ok(Ok(raw)) => raw,
        Ok(Err((status, text))) => return refuse(status, text),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    if raw.trim_ascii().is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "the body is empty: send a message or a batch");
    }
    if let Err((status, text)) = agree(charset, &raw) {
        return refuse(status, text);
    }
    match service.entrance.accept_frame(raw, &peer).await.await.settled().await {
        Answer::Acknowledge(ack) => ([(CONTENT_TYPE, content_type.to_owned())], ack).into_response(),
        // What came later is there.
        Answer::Silence | Answer::Later(_) => StatusCode::NO_CONTENT.into_response(),
        Answer::NotStored { error, .. } => {
            tracing::error!("not acknowledged, not stored: {error}");
            let retry = [(RETRY_AFTER, RETRY_AFTER_SECONDS)];
            (retry, refuse(StatusCode::SERVICE_UNAVAILABLE, "the message could not be stored: send it again later"))
                .into_response()
        }
    }
}

/// Why a request is not taken.
type Refusal = (StatusCode, &'static str);

fn refuse(status: StatusCode, text: &'static str) -> Response {
    (status, format!("{text}\n")).into_response()
}

/// Media type and charset.
fn parts(content_type: &str) -> (&str, Option<&str>) {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    (media_type, charset)
}

/// The whole body, within a limit.
async fn read(mut body: Body, headers: &HeaderMap, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than frame_bytes_max of this listener");
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut raw = Vec::new();
    loop {
        let frame = match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            None => return Ok(raw),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Err((StatusCode::BAD_REQUEST, "the body was cut short")),
        };
        let data: Bytes = frame.into_data().unwrap_or_default();
        if raw.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        raw.extend_from_slice(&data);
    }
}

/// The message is kept and read by its MSH-18, so a charset that says something else is refused where it makes a difference.
fn agree(charset: Option<&str>, raw: &[u8]) -> Result<(), Refusal> {
    let Some(charset) = charset.filter(|_| !raw.is_ascii()) else { return Ok(()) };
    let Some(stated) = Charset::of_name(charset.as_bytes()) else {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the charset is not known: send utf-8"));
    };
    let mut index = Index::default();
    let declared = match index.parse(raw) {
        Ok(()) => {
            let message = index.message(raw);
            message
                .find(SegmentId(*b"MSH"))
                .map_or(Charset::of_message(b""), |msh| Charset::of_message(message.text(msh, 18)))
        }
        Err(_) => return Ok(()), // The acknowledgement says what is wrong.
    };
    // Without MSH-18 what is valid UTF-8 is read as that, and all else as windows-1252.
    let latin = Charset::of_name(b"windows-1252");
    let undeclared = declared == Charset::Utf8OrWindows1252 && (stated == Charset::Utf8 || Some(stated) == latin);
    if undeclared || stated == declared {
        return Ok(());
    }
    Err((StatusCode::BAD_REQUEST, "the charset of the Content-Type is not that of MSH-18: make them agree"))
}

/// Lets connections in and shakes hands with each on its own.
async fn accept(
    listener: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    open: Arc<Open>,
    ready: mpsc::Sender<Connection>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut shaking = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|&stop| stop) => return,
            Some(_) = shaking.join_next(), if !shaking.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let now = settings.load();
        let Some(place) = admit(&open, address, &now) else { continue };
        let _ = stream.set_nodelay(true);
        let (ready, now) = (ready.clone(), Arc::clone(&now));
        let span = tracing::info_span!(names::SPAN_CONNECTION, peer = %address);
        let shake = async move {
            let (stream, names) = match &now.tls {
                None => (Stream::Plain(stream), Arc::default()),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => {
                        let names = tls::names(&stream);
                        (Stream::Tls(Box::new(stream)), names)
                    }
                    Err(refused) => return turned_away(&now.name, &refused),
                },
            };
            let peer = Peer { address: address.ip(), names };
            let _ = ready.send(Connection::new(stream, address, peer, &now.options.connection, place)).await;
        };
        shaking.spawn(shake.instrument(span));
    }
}

/// The connections that are ready.
struct Incoming {
    connections: mpsc::Receiver<Connection>,
    local: SocketAddr,
}

impl serve::Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => {
                let address = connection.address;
                (connection, address)
            }
            None => std::future::pending().await, // Shutting down.
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
struct Sender {
    peer: Peer,
    /// Of its connection.
    turns: Arc<AtomicU64>,
}

impl Connected<IncomingStream<'_, Incoming>> for Sender {
    fn connect_info(stream: IncomingStream<'_, Incoming>) -> Sender {
        let connection = stream.io();
        Sender { peer: connection.peer.clone(), turns: Arc::clone(&connection.turns) }
    }
}

/// A connection that is cut when it has been silent for too long, or when the head of a request takes too long: one that comes byte by byte is never silent.
struct Connection {
    stream: Stream,
    address: SocketAddr,
    peer: Peer,
    idle: Duration,
    silence: Pin<Box<Sleep>>,
    /// For a head, from its first byte to its last.
    head_timeout: Duration,
    /// One more when the head of a request is there, and one more when it is answered: even while a head is waited for.
    turns: Arc<AtomicU64>,
    /// Ends when the head that has begun must be there, and the turn in which it began.
    head: Option<(Pin<Box<Sleep>>, u64)>,
    _place: Place,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    fn new(stream: Stream, address: SocketAddr, peer: Peer, limits: &connection::Options, place: Place) -> Connection {
        Connection {
            stream,
            address,
            peer,
            idle: limits.idle_timeout,
            silence: Box::pin(sleep(limits.idle_timeout)),
            head_timeout: limits.frame_timeout,
            turns: Arc::default(),
            head: None,
            _place: place,
        }
    }

    fn is_alive(&mut self) {
        let deadline = Instant::now() + self.idle;
        self.silence.as_mut().reset(deadline);
    }

    /// Whether a head has been coming for too long.
    fn is_slow(&mut self, context: &mut Context<'_>) -> bool {
        let turn = self.turns.load(Ordering::Relaxed);
        self.head.take_if(|(_, begun)| *begun != turn);
        self.head.as_mut().is_some_and(|(head, _)| head.as_mut().poll(context).is_ready())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if self.is_slow(context) {
            tracing::warn!(peer = %self.address, "connection closed: the head of a request did not come in time");
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if read.is_pending() {
            return self.silence.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.is_alive();
        let turn = self.turns.load(Ordering::Relaxed);
        if self.head.is_none() && turn.is_multiple_of(2) {
            self.head = Some((Box::pin(sleep(self.head_timeout)), turn));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        if written.is_ready() {
            self.is_alive();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
