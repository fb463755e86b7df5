//! The listeners of a gateway. All of one but its address can be changed while its connections stay: what is new holds for the next message, limits and certificates
//! for the next connection.
use super::control::ListenerStatus;
use super::gateway::StartError;
use crate::intake::{self, Answer, Intake, Source};
use crate::mapping::Plan;
use crate::mllp;
use crate::mllp::connection::Reply;
use crate::mllp::decoder::Frame;
use crate::mllp::listener::{Open, Settings};
use crate::mllp::tls::{self, Acceptor};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Where messages come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `host:port`; port 0 lets the system choose.
    pub address: String,
    /// Its limits.
    pub options: mllp::listener::Options,
    /// Its name.
    pub name: String,
    /// When it acknowledges.
    pub ack_on: intake::AckOn,
    /// The folder of a site (profile and overlay), laid over the mappings.
    pub site: Option<PathBuf>,
    /// Certificate and key; without them it speaks plainly.
    pub tls: Option<tls::Options>,
    /// So long without a message is worth an alert.
    pub silence: Option<Duration>,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: "127.0.0.1:2575".into(),
            options: mllp::listener::Options::default(),
            name: "mllp".into(),
            ack_on: intake::AckOn::default(),
            site: None,
            tls: None,
            silence: None,
        }
    }
}

/// Sockets at work, by name and address.
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
    address: SocketAddr,
    settings: Arc<ArcSwap<Settings>>,
    source: Arc<ArcSwap<Source>>,
    count: Arc<Count>,
    open: Arc<Open>,
    stop: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Count {
    received: AtomicU64,
    last_ms: AtomicI64,
}

/// A listener that can be started: its socket is bound (unless one of before keeps it), its certificates are read.
#[derive(Debug)]
pub(super) struct Ready {
    listener: Listener,
    source: Source,
    settings: Settings,
    socket: Option<TcpListener>,
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
            let stays = self.running.iter().any(|running| running.is(&listener));
            let socket = match stays {
                true => None,
                false => Some(TcpListener::bind(&listener.address).await.map_err(|source| StartError::Listen {
                    listener: listener.name.clone(),
                    address: listener.address.clone(),
                    source,
                })?),
            };
            let source = Source::new(listener.name.clone(), listener.ack_on, plan);
            let settings = Settings { options: listener.options.clone(), tls };
            ready.push(Ready { listener, source, settings, socket });
        }
        Ok(ready)
    }

    /// Makes the listeners those that were prepared; the others stop taking messages. Their number is the change.
    pub fn apply(&mut self, ready: Vec<Ready>) {
        let kept = |running: &Running| ready.iter().any(|ready| running.is(&ready.listener));
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().partition(kept);
        self.running = kept;
        for running in gone {
            tracing::info!(listener = running.listener.name, "listener closed");
            running.stop.send_replace(true);
        }
        for Ready { listener, source, settings, socket } in ready {
            match socket {
                Some(socket) => self.start(listener, source, settings, socket),
                None => {
                    let running = self.running.iter_mut().find(|running| running.is(&listener));
                    if let Some(running) = running {
                        running.settings.store(Arc::new(settings));
                        running.source.store(Arc::new(source));
                        running.listener = listener;
                    }
                }
            }
        }
    }

    fn start(&mut self, listener: Listener, source: Source, settings: Settings, socket: TcpListener) {
        // A socket that is bound has an address.
        let Ok(address) = socket.local_addr() else { return };
        let (settings, source) = (Arc::new(ArcSwap::from_pointee(settings)), Arc::new(ArcSwap::from_pointee(source)));
        let (stop, stopping) = watch::channel(false);
        let (count, open) = (Arc::new(Count::default()), Arc::new(Open::default()));
        let handled = listen(
            socket,
            Arc::clone(&settings),
            Arc::clone(&source),
            Arc::clone(&self.intake),
            (Arc::clone(&count), Arc::clone(&open)),
            stopping,
        );
        let task = self.tasks.spawn(handled).id();
        self.running.push(Running { listener, task, address, settings, source, count, open, stop });
    }

    /// A line for each, as it is shown at the start.
    pub fn lines(&self) -> Vec<String> {
        let line = |running: &Running| {
            let protocol = if running.listener.tls.is_some() { "TLS" } else { "plain" };
            format!("listening mllp {} (listener {}, {protocol}", running.address, running.listener.name)
        };
        self.running.iter().map(line).collect()
    }

    pub fn status(&self) -> Vec<ListenerStatus> {
        let status = |running: &Running| ListenerStatus {
            name: running.listener.name.clone(),
            kind: "mllp",
            address: running.address.to_string(),
            tls: running.listener.tls.is_some(),
            certificate: running.listener.tls.as_ref().map(|tls| tls.certificate.clone()),
            connections: running.open.count() as u64,
            silence: running.listener.silence,
            received: running.count.received.load(Ordering::Relaxed),
            last_received_ms: Some(running.count.last_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0),
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
    /// Whether a listener can take its place without another socket.
    fn is(&self, listener: &Listener) -> bool {
        self.listener.name == listener.name && self.listener.address == listener.address
    }
}

#[expect(
    clippy::async_yields_async,
    reason = "taking a frame and answering it are two waits: the next frame is taken between them"
)]
async fn listen(
    socket: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    source: Arc<ArcSwap<Source>>,
    intake: Arc<Intake>,
    (count, open): (Arc<Count>, Arc<Open>),
    stopping: watch::Receiver<bool>,
) {
    let handler = move |frame: Frame, _peer: SocketAddr| {
        let (intake, source, count) = (Arc::clone(&intake), source.load_full(), Arc::clone(&count));
        async move {
            let answer = intake.accept(frame.bytes, &source).await;
            async move {
                let answer = answer.await;
                if !matches!(answer, Answer::NotStored(_)) {
                    count.received.fetch_add(1, Ordering::Relaxed);
                    count.last_ms.store(jiff::Timestamp::now().as_millisecond(), Ordering::Relaxed);
                }
                match answer {
                    Answer::Acknowledge(message) => Reply::Message(message),
                    Answer::Silence => Reply::Nothing,
                    Answer::NotStored(error) => {
                        tracing::error!("not acknowledged, not stored: {error}");
                        Reply::Stop
                    }
                }
            }
        }
    };
    mllp::listener::run(socket, settings, open, handler, stopping).await;
}
