//! `handoff serve`: the gateway. Puts the parts together, says where it listens, and takes it all down in order: listeners, connections, deliveries, journal.
use super::files::{Layers, load};
use crate::config::{Config, Listener, Problems, Protocol};
use crate::delivery::{Common, Lane, Plans};
use crate::intake::{Answer, Duplicates, DuplicatesOptions, Intake, Links, Peer, Source};
use crate::journal::{Directory, Health, Journal, Retention, State};
use crate::mapping::Plan;
use crate::mllp::connection::Reply;
use crate::mllp::decoder::Frame;
use crate::mllp::listener;
use crate::mllp::tls::Acceptor;
use crate::routing::Tail;
use crate::server::{directory, http};
use anyhow::Context as _;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Receive HL7 v2 over MLLP, keep it, acknowledge it and deliver it as FHIR
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration; without one: MLLP on 127.0.0.1:2575, Bundles to handoff-data/bundles.ndjson
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Memory for messages that routes have not delivered yet; beyond it they are read from the journal and translated again.
const TAIL_BYTES_MAX: usize = 64 << 20;
/// Between looks at what the journal need not keep.
const RETENTION_PAUSE: Duration = Duration::from_secs(600);
/// Time for deliveries that are under way when the gateway is told to stop.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT: exit 0. A failed journal ends it with exit 1, a wrong configuration with exit 2.
///
/// # Errors
/// When it cannot start.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut config = match configured(args.config.as_deref()) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    log_to_stderr();
    let (plans, listeners) = with_plans(config.mappings.take(), std::mem::take(&mut config.listeners))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    match runtime.block_on(serve(config, plans, listeners)) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(1))
        }
    }
}

/// The configuration in a file, or the default one.
pub(super) fn configured(path: Option<&Path>) -> Result<Config, Problems> {
    path.map_or_else(|| Ok(Config::default()), Config::load)
}

/// `HANDOFF_LOG` chooses what is told, as in `HANDOFF_LOG=warn`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANDOFF_LOG").unwrap_or_else(|_| "info".into());
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).try_init();
}

async fn serve(config: Config, plans: Plans, listeners: Vec<(Listener, Source)>) -> anyhow::Result<ExitCode> {
    // Asked for first: a signal that comes while starting is not missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let directory = Arc::new(Directory::open(&config.data)?);
    let journal = Arc::new(Journal::open(&directory, config.journal)?);
    let state = Arc::new(State::open(&directory)?);
    let mut health = journal.health();
    let tail = Arc::new(Tail::new(TAIL_BYTES_MAX));
    let window = listeners.iter().map(|(listener, _)| listener.intake.duplicate_window).max().unwrap_or_default();
    let options = DuplicatesOptions { window, ..DuplicatesOptions::default() };
    let duplicates = Duplicates::open(directory.path(), &journal, options, jiff::Timestamp::now().as_millisecond())
        .context("the index of duplicates")?;
    let sequenced = listeners.iter().any(|(listener, _)| listener.intake.sequence);
    let links = Links::open(directory.path(), &journal, sequenced).context("the sequence numbers")?;
    let intake = Intake::new(Arc::clone(&journal), Arc::clone(&tail), duplicates, links, jiff::Timestamp::now);
    let intake = Arc::new(intake);

    // Every cursor is in place before the first message can come.
    let common =
        Common { journal: Arc::clone(&journal), state, tail, plans: Arc::new(plans), clock: jiff::Timestamp::now };
    let mut lanes = vec![Lane::open_untranslated(&common)?];
    for route in config.routes {
        lanes.push(Lane::open(route, &common)?);
    }
    let readers = lanes.iter().map(|lane| lane.name().to_owned()).collect();
    let retained = tokio::spawn(retain(Arc::clone(&journal), Arc::clone(&common.state), readers, config.retention));
    drop(common);
    let mut bound = Vec::new();
    for (listener, source) in listeners {
        let socket = match listener.protocol {
            Protocol::Directory(_) => None,
            Protocol::Mllp | Protocol::Http(_) => {
                let bound = TcpListener::bind(&listener.address).await;
                Some(bound.with_context(|| format!("cannot listen on {}", listener.address))?)
            }
        };
        let tls = listener.tls.clone().map(Acceptor::new).transpose();
        let tls = tls.with_context(|| format!("listener {}: tls", listener.name))?.map(Arc::new);
        bound.push((socket, listener, source, tls));
    }

    let (drain, draining) = watch::channel(false);
    let mut deliveries = JoinSet::new();
    let routes = lanes.len() - 1;
    for lane in lanes {
        deliveries.spawn(lane.run(draining.clone()));
    }
    let (stop, stopping) = watch::channel(false);
    let mut listening = JoinSet::new();
    for (socket, listener, source, tls) in bound {
        let (name, words) = (&listener.name, if tls.is_some() { "TLS" } else { "plain" });
        let place = match (&listener.protocol, &socket) {
            (Protocol::Mllp, Some(socket)) => format!("mllp {}", socket.local_addr()?),
            (Protocol::Http(_), Some(socket)) => format!("http {}", socket.local_addr()?),
            (Protocol::Directory(options), _) => format!("directory {}", options.path.display()),
            (_, None) => continue,
        };
        eprintln!(
            "listening {place} (listener {name}, {words}, durability {}, routes {routes}, data {})",
            config.journal.durability.name(),
            config.data.display()
        );
        let (limits, intake, stopping) = (listener.options, Arc::clone(&intake), stopping.clone());
        match (listener.protocol, socket) {
            (Protocol::Mllp, Some(socket)) => {
                listening.spawn(listen(socket, limits, tls, source, intake, stopping));
            }
            (Protocol::Http(token), Some(socket)) => {
                listening.spawn(http::run(socket, limits, token, tls, source, intake, stopping));
            }
            (Protocol::Directory(options), _) => {
                listening.spawn_blocking(move || directory::run(options, source, intake, stopping));
            }
            (_, None) => {}
        }
    }
    drop(intake);

    let failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        _ = health.wait_for(|health| matches!(health, Health::Failed(_))) => true,
        // A route or listener that ends by itself has died: better to stop, and be started again, than to go on without it.
        Some(ended) = deliveries.join_next() => {
            tracing::error!("a route has died: {ended:?}");
            true
        }
        Some(ended) = listening.join_next() => {
            tracing::error!("a listener has died: {ended:?}");
            true
        }
    };
    tracing::info!("stopping: no new connections; what has been received is answered and delivered");
    stop.send_replace(true);
    while listening.join_next().await.is_some() {}
    drain.send_replace(true);
    if timeout(FLUSH_TIMEOUT, async { while deliveries.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("some deliveries were cut; they are made again at the next start");
        deliveries.shutdown().await;
    }
    retained.abort();
    let _ = retained.await; // It holds the journal until it is gone.
    // The last handle: what is queued is written, the files are closed.
    drop(journal);
    tracing::info!("stopped");
    Ok(ExitCode::from(u8::from(failed)))
}

/// Removes from the journal what is older, or more, than it is to keep, and what every route has passed. Runs until it is stopped.
async fn retain(journal: Arc<Journal>, state: Arc<State>, readers: Vec<String>, retention: Retention) {
    loop {
        let (here, state, readers) = (Arc::clone(&journal), Arc::clone(&state), readers.clone());
        let pruned = tokio::task::spawn_blocking(move || {
            let keep = here.keep_from(&retention, jiff::Timestamp::now().as_millisecond())?;
            let wanted = state.wanted_from(&readers)?.unwrap_or(keep);
            if wanted < keep {
                tracing::warn!(
                    keep,
                    wanted,
                    "the journal is kept beyond its retention: a route or a dead letter still needs it"
                );
            }
            if state.sync()? { here.prune(keep.min(wanted)) } else { Ok(0) }
        });
        match pruned.await {
            Ok(Ok(0)) => {}
            Ok(Ok(records)) => tracing::info!(records, "removed from the journal: past its retention"),
            Ok(Err(error)) => tracing::error!("nothing is removed from the journal: {error}"),
            Err(error) => tracing::error!("nothing is removed from the journal: {error}"),
        }
        tokio::time::sleep(RETENTION_PAUSE).await;
    }
}

/// Compiles the mappings of each listener, and once only those that several share.
pub(super) fn with_plans(
    mappings: Option<PathBuf>,
    listeners: Vec<Listener>,
) -> anyhow::Result<(Plans, Vec<(Listener, Source)>)> {
    let mut plans = Plans::default();
    let mut compiled: Vec<(Option<PathBuf>, Arc<Plan>)> = Vec::new();
    let mut found = Vec::new();
    for listener in listeners {
        let known = compiled.iter().find(|(site, _)| *site == listener.site).map(|(_, plan)| Arc::clone(plan));
        let plan = match known {
            Some(plan) => plan,
            None => {
                let plan = Arc::new(load(&Layers { mappings: mappings.clone(), site: listener.site.clone() })?);
                compiled.push((listener.site.clone(), Arc::clone(&plan)));
                plan
            }
        };
        plans.add(&listener.name, &plan);
        let source = Source::new(listener.name.clone(), listener.intake, plan)
            .with_senders(listener.senders.clone().map(Arc::new));
        found.push((listener, source));
    }
    Ok((plans, found))
}

#[expect(
    clippy::async_yields_async,
    reason = "taking a frame and answering it are two waits: the next frame is taken between them"
)]
async fn listen(
    socket: TcpListener,
    options: listener::Options,
    tls: Option<Arc<Acceptor>>,
    source: Source,
    intake: Arc<Intake>,
    stopping: watch::Receiver<bool>,
) {
    let source = Arc::new(source);
    let handler = move |frame: Frame, peer: listener::Peer| {
        let (intake, source) = (Arc::clone(&intake), Arc::clone(&source));
        async move {
            let peer = Peer { address: peer.address.ip(), names: peer.names };
            let answer = intake.accept_frame(frame.bytes, &source, &peer).await;
            async move {
                match answer.await {
                    Answer::Acknowledge(message) => Reply::Message(message),
                    Answer::Silence => Reply::Nothing,
                    Answer::NotStored { error, reply } => {
                        tracing::error!("not acknowledged, not stored: {error}");
                        reply.map_or(Reply::Stop, Reply::Message)
                    }
                }
            }
        }
    };
    listener::run(socket, options, tls, handler, stopping).await;
}
