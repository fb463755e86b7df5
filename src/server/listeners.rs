//! The listeners of a gateway. All of one but its address can be changed while its connections stay: what is new holds for the next message, limits and certificates
//! for the next connection.
use super::control::ListenerStatus;
use super::entrance::Entrance;
use super::gateway::StartError;
use super::silence::Silence;
use super::{directory, http};
use crate::intake::{self, AckOn, Answer, Intake, OnDuplicate, Peer, Source};
use crate::mapping::Plan;
use crate::mllp::connection::Reply;
use crate::mllp::decoder::Frame;
use crate::mllp::listener::{self, Open, Options as Limits, Settings};
use crate::mllp::tls::{self, Acceptor};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Where messages come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `host:port`; port 0 lets the system choose. Nothing for a directory.
    pub address: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Its limits.
    pub options: Limits,
    /// Its name.
    pub name: String,
    /// When it acknowledges, and what it makes of duplicates.
    pub intake: intake::Options,
    /// The folder of a site (profile and overlay), laid over the mappings.
    pub site: Option<PathBuf>,
    /// Certificate and key; without them it speaks plainly.
    pub tls: Option<tls::Options>,
    /// Whom the certificates of its clients may speak for; none: for anybody.
    pub senders: Option<intake::Senders>,
    /// So long without a message is worth an alert.
    pub silence: Option<Silence>,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// MLLP.
    Mllp,
    /// HTTP, and the token that its senders must show.
    Http(Option<http::Token>),
    /// Nothing: files are put into a directory.
    Directory(directory::Options),
}

impl Protocol {
    /// Its word in the configuration.
    fn name(&self) -> &'static str {
        match self {
            Protocol::Mllp => "mllp",
            Protocol::Http(_) => "http",
            Protocol::Directory(_) => "directory",
        }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: "127.0.0.1:2575".into(),
            protocol: Protocol::Mllp,
            options: Limits::default(),
            name: "mllp".into(),
            intake: intake::Options::default(),
            site: None,
            tls: None,
            senders: None,
            silence: None,
        }
    }
}

/// Listeners at work.
#[derive(Debug)]
pub(super) struct Listeners {
    intake: Arc<Intake>,
    running: Vec<Running>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Running {
    listener: Listener,
    task: Id,
    /// Where it listens.
    place: String,
    settings: Arc<ArcSwap<Settings>>,
    token: Arc<ArcSwapOption<http::Token>>,
    entrance: Entrance,
    open: Arc<Open>,
    stop: watch::Sender<bool>,
}

/// A listener that can be started: its socket is bound (unless one of before goes on), its certificates are read.
#[derive(Debug)]
pub(super) struct Ready {
    listener: Listener,
    source: Source,
    settings: Settings,
    socket: Option<TcpListener>,
    goes_on: bool,
}

impl Listeners {
    pub fn new(intake: Arc<Intake>) -> Listeners {
        Listeners { intake, running: Vec::new(), tasks: JoinSet::new() }
    }

    /// Opens what listeners need and do not have yet. Nothing has changed when one of them fails.
    pub async fn prepare(&self, wanted: Vec<(Listener, Arc<Plan>)>) -> Result<Vec<Ready>, StartError> {
        let mut ready = Vec::new();
        for (listener, plan) in wanted {
            let tls = listener.tls.clone().map(Acceptor::new).transpose();
            let tls = tls.map_err(|source| StartError::Tls { listener: listener.name.clone(), source })?.map(Arc::new);
            let goes_on = self.running.iter().any(|running| running.is(&listener));
            let socket = if goes_on { None } else { bind(&listener).await? };
            let source = Source::new(listener.name.clone(), listener.intake, plan)
                .with_senders(listener.senders.clone().map(Arc::new));
            let settings = Settings { name: listener.name.clone(), options: listener.options.clone(), tls };
            ready.push(Ready { listener, source, settings, socket, goes_on });
        }
        Ok(ready)
    }

    /// Makes the listeners those that were prepared; the others stop taking messages.
    pub fn apply(&mut self, ready: Vec<Ready>) {
        let kept = |running: &Running| ready.iter().any(|ready| running.is(&ready.listener));
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().partition(kept);
        self.running = kept;
        for running in gone {
            tracing::info!(listener = running.listener.name, "listener closed");
            running.stop.send_replace(true);
        }
        for ready in ready {
            match self.running.iter_mut().find(|running| ready.goes_on && running.is(&ready.listener)) {
                Some(running) => running.change(ready),
                None => self.start(ready),
            }
        }
    }

    fn start(&mut self, Ready { listener, source, settings, socket, .. }: Ready) {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let token = Arc::new(ArcSwapOption::new(listener.token()));
        let entrance = Entrance::new(Arc::clone(&self.intake), source);
        let (open, (stop, stopping)) = (Arc::new(Open::default()), watch::channel(false));
        let (at, on, here) = (Arc::clone(&settings), Arc::clone(&open), entrance.clone());
        // A socket that is bound has an address.
        let address = socket.as_ref().and_then(|socket| socket.local_addr().ok()).map(|address| address.to_string());
        let (place, task) = match (&listener.protocol, socket) {
            (Protocol::Mllp, Some(socket)) => (address, self.tasks.spawn(listen(socket, at, on, here, stopping))),
            (Protocol::Http(_), Some(socket)) => {
                let served = http::run(socket, at, on, Arc::clone(&token), here, stopping);
                (address, self.tasks.spawn(served))
            }
            (Protocol::Directory(options), _) => {
                let (place, options) = (options.path.display().to_string(), options.clone());
                (Some(place), self.tasks.spawn_blocking(move || directory::run(options, here, stopping)))
            }
            (Protocol::Mllp | Protocol::Http(_), None) => return,
        };
        let place = place.unwrap_or_default();
        self.running.push(Running { listener, task: task.id(), place, settings, token, entrance, open, stop });
    }

    /// A line for each, as it is shown at the start.
    pub fn lines(&self) -> Vec<String> {
        let line = |Running { listener, place, .. }: &Running| {
            let protocol = if listener.tls.is_some() { "TLS" } else { "plain" };
            format!("listening {} {place} (listener {}, {protocol}", listener.protocol.name(), listener.name)
        };
        self.running.iter().map(line).collect()
    }

    pub fn status(&self) -> Vec<ListenerStatus> {
        let status = |running: &Running| {
            let (listener, (received, last_received_ms)) = (&running.listener, running.entrance.received());
            ListenerStatus {
                name: listener.name.clone(),
                kind: listener.protocol.name(),
                address: running.place.clone(),
                tls: listener.tls.is_some(),
                certificate: listener.tls.as_ref().map(|tls| tls.certificate.clone()),
                connections: running.open.count() as u64,
                peers: running.open.peers(),
                told: listener.told(),
                silence: listener.silence.clone(),
                received,
                last_received_ms,
            }
        };
        self.running.iter().map(status).collect()
    }

    /// Waits until one that should be running has ended; its name.
    pub async fn died(&mut self) -> String {
        loop {
            let ended = match self.tasks.join_next_with_id().await {
                None => return std::future::pending().await,
                Some(Ok((id, ()))) => id,
                Some(Err(error)) => error.id(),
            };
            if let Some(running) = self.running.iter().find(|running| running.task == ended) {
                return running.listener.name.clone();
            }
        }
    }

    /// Stops all of them, once they have answered what they have taken.
    pub async fn stop(mut self) {
        for running in &self.running {
            running.stop.send_replace(true);
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Running {
    /// Whether a listener can take its place without another socket or directory.
    fn is(&self, listener: &Listener) -> bool {
        let same = match (&self.listener.protocol, &listener.protocol) {
            (Protocol::Mllp, Protocol::Mllp) | (Protocol::Http(_), Protocol::Http(_)) => true,
            (Protocol::Directory(here), Protocol::Directory(there)) => here == there,
            _ => false,
        };
        same && self.listener.name == listener.name && self.listener.address == listener.address
    }

    fn change(&mut self, ready: Ready) {
        self.settings.store(Arc::new(ready.settings));
        self.token.store(ready.listener.token());
        self.entrance.change(ready.source);
        self.listener = ready.listener;
    }
}

impl Listener {
    /// What may be told of it, in the words of the configuration: no token, and of certificates no name.
    fn told(&self) -> Vec<(&'static str, String)> {
        let intake::Options { ack_on, on_duplicate, duplicate_window, sequence, .. } = self.intake;
        let ack_on = match ack_on {
            AckOn::Durable => "durable: once it is stored",
            AckOn::Translated => "translated: once it is stored and could be translated",
            AckOn::Delivered => "delivered: once every route has it",
        };
        let duplicates = match on_duplicate {
            OnDuplicate::Replay => "replay: the same message again gets the same answer again",
            OnDuplicate::Strict => "strict: a control id of another message is refused as well",
            OnDuplicate::Accept => "off: not looked for",
        };
        let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let site = self
            .site
            .as_ref()
            .map_or_else(|| "none: the mappings as they are".to_owned(), |site| site.display().to_string());
        vec![
            ("Acknowledges on", ack_on.to_owned()),
            ("Profile (site)", site),
            ("Duplicates", duplicates.to_owned()),
            ("Looked for", format!("over {} h", duplicate_window.as_secs() / 3600)),
            ("Sequence numbers", yes(sequence)),
            ("TLS", yes(self.tls.is_some())),
            ("Senders held to their certificates", yes(self.senders.is_some())),
            ("Silence is told of", yes(self.silence.is_some())),
        ]
    }

    fn token(&self) -> Option<Arc<http::Token>> {
        match &self.protocol {
            Protocol::Http(token) => token.clone().map(Arc::new),
            Protocol::Mllp | Protocol::Directory(_) => None,
        }
    }
}

async fn bind(listener: &Listener) -> Result<Option<TcpListener>, StartError> {
    if matches!(listener.protocol, Protocol::Directory(_)) {
        return Ok(None);
    }
    let bound = TcpListener::bind(&listener.address).await;
    let failed =
        |source| StartError::Listen { listener: listener.name.clone(), address: listener.address.clone(), source };
    bound.map(Some).map_err(failed)
}

#[expect(
    clippy::async_yields_async,
    reason = "taking a frame and answering it are two waits: the next frame is taken between them"
)]
async fn listen(
    socket: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    open: Arc<Open>,
    entrance: Entrance,
    stopping: watch::Receiver<bool>,
) {
    let handler = move |frame: Frame, peer: listener::Peer| {
        let entrance = entrance.clone();
        async move {
            let peer = Peer { address: peer.address.ip(), names: peer.names };
            // Both boxed: a connection that does nothing must not carry the room for what a message needs, nor its queue of answers 32 times so.
            let answer = Box::pin(entrance.accept_frame(frame.bytes, &peer)).await;
            Box::pin(async move { said(answer.await) })
        }
    };
    listener::run(socket, settings, open, handler, stopping).await;
}

/// What a connection is told of a frame.
fn said(answer: Answer) -> Reply {
    match answer {
        Answer::Acknowledge(message) => Reply::Message(message),
        Answer::Silence => Reply::Nothing,
        later @ Answer::Later(_) => Reply::Later(Box::pin(async { said(later.settled().await) })),
        Answer::NotStored { error, reply } => {
            tracing::error!("not acknowledged, not stored: {error}");
            Reply::NotKept(reply)
        }
    }
}
