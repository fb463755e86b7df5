//! Websockets: a client asks for a token, connects, and binds with it to what it subscribed to (Subscriptions R5 Backport 1.1.0, "Channels", `websocket`).
//!
//! ```text
//! GET Subscription/[id]/$get-ws-binding-token   → Parameters: token, expiration, subscription, websocket-url
//! client: bind-with-token handoff_…             → the handshake of the subscription, then its notifications
//! ```
//!
//! A token holds for one connection: it is used up when it binds. The connection ends when all that was bound to it has expired, or the client says nothing to a ping.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking};
use super::events::handshake;
use super::subscriptions::{known, now_ms};
use crate::admin::credentials;
use crate::admin::socket::{Heard, Peer};
use crate::coordination::subscription::channel::Kind;
use crate::coordination::subscription::notification::binding_token;
use axum::Extension;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, sleep_until};

/// How long a binding holds.
const HOLDS_MS: i64 = 60 * 60 * 1000;
/// How long a token can be used.
const TOKEN_MS: i64 = 5 * 60 * 1000;
/// Tokens that nobody has used yet.
const TOKENS_MAX: usize = 10_000;
/// Subscriptions that one connection binds to.
const BOUND_MAX: usize = 100;
/// Connections that have not bound to anything yet.
pub(super) const UNBOUND_MAX: usize = 100;
/// How long one may take for that.
const BIND: Duration = Duration::from_secs(30);
/// Bytes of a message of a client.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Between pings; a client that has not answered by the next one is gone.
const PING: Duration = Duration::from_secs(20);

/// Tokens that were given out.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<String, Token>>);

/// Whose, for which subscription, until when it can be used.
struct Token {
    who: Arc<str>,
    id: String,
    until_ms: i64,
}

impl Tokens {
    fn put(&self, token: String, who: Arc<str>, id: String, now_ms: i64) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, token| token.until_ms > now_ms);
        }
        let room = tokens.len() < TOKENS_MAX;
        if room {
            tokens.insert(token, Token { who, id, until_ms: now_ms + TOKEN_MS });
        }
        room
    }

    fn take(&self, token: &str, now_ms: i64) -> Option<(Arc<str>, String)> {
        let Token { who, id, until_ms } = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(token)?;
        (until_ms > now_ms).then_some((who, id))
    }
}

pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let known = known(&shared.care, &who, &id)?.ok_or_else(Problem::not_found)?;
        if known.subscription.channel.kind != Kind::Websocket {
            let text = "this subscription is not of the channel websocket";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-supported", text));
        }
        let (token, _) = credentials::create().map_err(|error| Problem::internal(&error))?;
        let now_ms = now_ms();
        if !shared.tokens.put(token.clone(), who, id.clone(), now_ms) {
            let text = "too many tokens have been given out that nobody used";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", text).retry_after(60));
        }
        let base = shared.care.options.subscriptions.base().trim_end_matches('/');
        let url = format!("{}/$ws", base.replacen("http", "ws", 1));
        Ok(Resource::found(binding_token(&token, now_ms + HOLDS_MS, &[&id], &url)))
    })
    .await
}

pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(place) = Arc::clone(&shared.unbound).try_acquire_owned() else {
        let text = "too many connections have not bound to anything yet";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "throttled", text).retry_after(30).into_response();
    };
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        Connection { shared, socket, heard: peer.heard, bound: HashMap::new(), place: Some(place) }.run().await;
    })
}

struct Connection {
    shared: Arc<Shared>,
    socket: WebSocket,
    heard: Heard,
    /// Until when.
    bound: HashMap<Arc<str>, i64>,
    /// Until it has bound for the first time.
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Connection {
    /// However it ends.
    fn drop(&mut self) {
        self.bound.keys().for_each(|id| self.shared.care.unbind(id));
    }
}

impl Connection {
    async fn run(mut self) {
        // Before anything is bound: what is pushed right after that is not missed.
        let mut pushed = self.shared.care.listen();
        let mut pings = interval(PING);
        let mut answered = Instant::now();
        let bind_by = answered + BIND;
        loop {
            let ok = tokio::select! {
                message = self.socket.recv() => match message {
                    Some(Ok(message)) => {
                        answered = Instant::now();
                        self.heard.now();
                        self.received(message).await
                    }
                    _ => false,
                },
                push = pushed.recv() => match push {
                    Ok(push) if self.bound.contains_key(&push.subscription) => {
                        self.socket.send(Message::Text(push.text.as_ref().into())).await.is_ok()
                    }
                    Ok(_) => true,
                    // It takes too slowly. What it has missed it reads with $events, as the numbers tell.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => false,
                },
                _ = pings.tick() => {
                    self.expire();
                    let is_over = self.place.is_none() && self.bound.is_empty();
                    !is_over && answered.elapsed() < 2 * PING && self.socket.send(Message::Ping(Vec::new().into())).await.is_ok()
                }
                () = sleep_until(bind_by), if self.place.is_some() => false,
            };
            if !ok {
                return;
            }
        }
    }

    async fn received(&mut self, message: Message) -> bool {
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Close(_) => return false,
            _ => return true,
        };
        let Some(token) = text.strip_prefix("bind-with-token ").map(str::trim) else {
            return self.socket.send(Message::Text("error: send bind-with-token TOKEN".into())).await.is_ok();
        };
        let now_ms = now_ms();
        let taken = self.shared.tokens.take(token, now_ms).filter(|_| self.bound.len() < BOUND_MAX);
        let Some((who, id)) = taken else {
            let text = "error: this token does not hold; ask $get-ws-binding-token for another";
            return self.socket.send(Message::Text(text.into())).await.is_ok();
        };
        let (shared, of) = (Arc::clone(&self.shared), id.clone());
        let Ok(handshake) = blocking(move || handshake(&shared.care, &who, &of)).await else {
            let text = "error: the subscription of this token is not there any more";
            return self.socket.send(Message::Text(text.into())).await.is_ok();
        };
        if self.socket.send(Message::Text(handshake.to_string().into())).await.is_err() {
            return false;
        }
        let id: Arc<str> = id.into();
        if self.bound.insert(Arc::clone(&id), now_ms + HOLDS_MS).is_none() {
            self.shared.care.bind(&id);
        }
        self.place = None;
        self.shared.care.wake();
        true
    }

    fn expire(&mut self) {
        let now_ms = now_ms();
        let (care, bound) = (&self.shared.care, &mut self.bound);
        bound.retain(|id, until| {
            let holds = *until > now_ms;
            if !holds {
                care.unbind(id);
            }
            holds
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_holds_once_and_not_for_ever() {
        let tokens = Tokens::default();
        let put = |token: &str, at_ms| tokens.put(token.into(), "aco".into(), "s".into(), at_ms);
        assert!(put("a", 0) && put("b", 0));
        assert_eq!(tokens.take("other", 1), None);
        assert_eq!(tokens.take("a", TOKEN_MS - 1), Some(("aco".into(), "s".into())));
        assert_eq!((tokens.take("a", 1), tokens.take("b", TOKEN_MS)), (None, None), "used, and expired");
        // Those that have expired make room, and no others do.
        assert!((0..TOKENS_MAX).all(|number| put(&number.to_string(), 10)));
        assert!(!put("one more", 10) && put("one more", 10 + TOKEN_MS));
    }
}
