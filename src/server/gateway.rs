//! The gateway: starts its parts in the order that loses nothing, does what is asked of it one thing after the other, and takes them down in order: listeners,
//! connections, deliveries, journal.
use super::care::{self, Care};
use super::codes::{CodeRow, PlannedRow, ResolveError, Resolved, Site};
use super::control::{
    Control, ControlError, JournalStatus, ListenerMappings, ListenerStatus, ReloadError, ReloadSummary, RouteState,
    RouteStatus,
};
use super::lanes::Lanes;
use super::listeners::{Listener, Listeners};
use super::upkeep::{self, Kept};
use super::{Read, Setup};
use crate::coordination;
use crate::delivery::resend::{Mappings, Outlets};
use crate::delivery::{Common, OpenError, Plans};
use crate::intake::{self, Deliveries, Duplicates, DuplicatesOptions, Intake, Links};
use crate::journal::{self, Codes, Directory, DirectoryError, Durability, Health, Journal, Scrub, State};
use crate::mapping::Plan;
use crate::mllp::tls;
use crate::routing::{Settled, Tail};
use crate::search::Follower;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// What others may ask, and where the answer goes.
#[derive(Debug)]
pub(super) enum Command {
    Listeners(oneshot::Sender<Vec<ListenerStatus>>),
    Routes(oneshot::Sender<Vec<RouteStatus>>),
    Journal(oneshot::Sender<JournalStatus>),
    Outlets(oneshot::Sender<Outlets>),
    Care(oneshot::Sender<Option<Arc<care::Shared>>>),
    Mappings(oneshot::Sender<Vec<ListenerMappings>>),
    SetRoute { name: String, state: RouteState, answer: oneshot::Sender<Result<(), ControlError>> },
    Reload(oneshot::Sender<Result<ReloadSummary, ReloadError>>),
    Resolve(Vec<CodeRow>, oneshot::Sender<Result<Resolved, ResolveError>>),
    Resolution(Vec<CodeRow>, oneshot::Sender<Result<Vec<PlannedRow>, ResolveError>>),
}

/// Why a gateway does not start, or does not take on another configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal or the state database cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A route cannot be opened.
    #[error(transparent)]
    Route(#[from] OpenError),
    /// The sources of the mappings cannot be kept.
    #[error("the mappings cannot be kept in the data directory: {0}")]
    Plans(io::Error),
    /// What is remembered of messages that came before cannot be had.
    #[error(transparent)]
    Intake(#[from] intake::OpenError),
    /// Coordinated care cannot be had.
    #[error("[coordination]: {0}")]
    Care(#[from] care::CareError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A socket cannot be had.
    #[error("listener {listener}: cannot listen on {address}: {source}")]
    Listen {
        /// Its name.
        listener: String,
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// Certificates are no good.
    #[error("listener {listener}: tls: {source}")]
    Tls {
        /// Its name.
        listener: String,
        /// Why not.
        source: tls::Error,
    },
}

/// A running gateway.
pub struct Gateway {
    data: PathBuf,
    options: journal::Options,
    journal: Arc<Journal>,
    plans: Arc<Plans>,
    listeners: Listeners,
    lanes: Lanes,
    kept: Arc<ArcSwap<Kept>>,
    upkeep: JoinHandle<()>,
    /// Keeps the search index up.
    follower: Option<Follower>,
    /// Coordinated care, and what it was configured as.
    care: Option<Care>,
    coordination: Option<(coordination::Options, care::Endpoints)>,
    /// Reads the journal through, every now and then.
    scrub: Scrub,
    by_listener: HashMap<String, [u8; 32]>,
    /// The site and the plan of each listener.
    pub(super) sites: HashMap<String, Site>,
    /// Takes notice of codes that no table has.
    codes: Arc<Codes>,
    /// Whether sequence numbers are remembered.
    sequenced: bool,
    read: Arc<Read>,
    commands: mpsc::Receiver<Command>,
    control: Control,
}

/// Memory for messages that routes have not delivered yet; beyond it they are read from the journal and translated again.
const TAIL_BYTES_MAX: usize = 40 << 20;
/// Questions that wait for an answer.
const COMMANDS_MAX: usize = 64;

impl Gateway {
    /// Starts everything; `read` is asked for another setup when a reload is asked for.
    ///
    /// # Errors
    /// A [`StartError`].
    pub async fn start(setup: Setup, read: Read) -> Result<Gateway, StartError> {
        let directory = Arc::new(Directory::open(&setup.data)?);
        warn_of(setup.journal.durability);
        let journal = Arc::new(Journal::open(&directory, setup.journal)?);
        let state = Arc::new(State::open(&directory)?);
        let (tail, settled) = (Arc::new(Tail::new(TAIL_BYTES_MAX)), Arc::new(Settled::default()));
        let plans = Arc::new(Plans::kept_in(setup.data.join("plans")));
        plans.replace(&by_name(&setup.listeners)).map_err(StartError::Plans)?;
        let deliveries = Arc::new(Deliveries::new(Arc::clone(&settled), Arc::clone(&state)));
        let (duplicates, links) = memories(&setup, &journal)?;
        let (here, newest) = (Arc::clone(&journal), Arc::clone(&tail));
        let codes = Arc::new(Codes::start(Arc::clone(&state)).map_err(StartError::Thread)?);
        let intake = Intake::new(here, newest, deliveries, duplicates, links, jiff::Timestamp::now);
        let intake = intake.with_codes(Arc::clone(&codes));
        let mut listeners = Listeners::new(Arc::new(intake));
        let (by_listener, sequenced) = (hashes(&setup.listeners), is_sequenced(&setup.listeners));
        let sites = sites(&setup.listeners);
        let ready = listeners.prepare(setup.listeners).await?;

        // Every cursor is in place before the first message can come.
        let common = Common {
            journal: Arc::clone(&journal),
            state: Arc::clone(&state),
            tail,
            plans: Arc::clone(&plans),
            settled: Arc::clone(&settled),
            codes: Arc::clone(&codes),
            clock: jiff::Timestamp::now,
        };
        let mut lanes = Lanes::new(common)?;
        lanes.apply(setup.routes).await?;
        let now_ms = || jiff::Timestamp::now().as_millisecond();
        let scrub = Scrub::start(&setup.data, Arc::clone(&state), now_ms).map_err(StartError::Thread)?;
        let follower = setup.index.then(|| Follower::start(&setup.data, journal.reader())).transpose();
        let follower = follower.map_err(StartError::Thread)?;
        let coordination = setup.coordination;
        let care = match coordination.clone() {
            Some((options, endpoints)) => {
                Some(Care::start(&setup.data, options, endpoints, (&journal, &state), &plans)?)
            }
            None => None,
        };
        let readers = readers(&lanes, care.is_some());
        let kept = Arc::new(ArcSwap::from_pointee(Kept { retention: setup.retention, readers }));
        let upkeep = tokio::spawn(upkeep::run(Arc::clone(&journal), state, Arc::clone(&kept)));
        listeners.apply(ready);
        let (commands_sender, commands) = mpsc::channel(COMMANDS_MAX);
        Ok(Gateway {
            data: setup.data,
            options: setup.journal,
            journal,
            plans,
            listeners,
            lanes,
            kept,
            upkeep,
            follower,
            care,
            coordination,
            scrub,
            by_listener,
            sites,
            codes,
            sequenced,
            read: Arc::new(read),
            commands,
            control: Control::new(commands_sender),
        })
    }

    /// Coordinated care, for its FHIR interface.
    pub fn care(&self) -> Option<Arc<care::Shared>> {
        self.care.as_ref().map(Care::shared)
    }

    /// What others may ask it by.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Whether messages are taken; told also while it is going down.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.journal.health()
    }

    /// A line for each listener: `listening mllp 127.0.0.1:2575 (listener adt, plain, …)`.
    pub fn lines(&self) -> Vec<String> {
        let (durability, routes) = (self.options.durability.name(), self.lanes.readers().len() - 1);
        let rest = format!(", durability {durability}, routes {routes}, data {})", self.data.display());
        self.listeners.lines().into_iter().map(|line| line + &rest).collect()
    }

    /// Runs until `stop` comes, or a part of it fails: then true, and better started again than gone on without it.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> bool {
        let mut health = self.journal.health();
        let mut stop = std::pin::pin!(stop);
        let failed = loop {
            tokio::select! {
                () = &mut stop => break false,
                failed = failed(&mut health) => break failed,
                name = self.lanes.died() => {
                    tracing::error!(route = name, "a route has died");
                    break true;
                }
                name = self.listeners.died() => {
                    tracing::error!(listener = name, "a listener has died");
                    break true;
                }
                part = died(&mut self.care) => {
                    tracing::error!("coordinated care has died: {part}");
                    break true;
                }
                // This side holds a sender, so there always is one.
                Some(command) = self.commands.recv() => self.answer(command).await,
            }
        };
        self.stop().await;
        failed
    }

    async fn stop(self) {
        tracing::info!("stopping: no new connections; what has been received is answered and delivered");
        drop(self.commands);
        self.listeners.stop().await;
        self.lanes.drain().await;
        self.upkeep.abort();
        let _ = self.upkeep.await; // It holds the journal until it is gone.
        drop((self.follower, self.care, self.scrub, self.codes));
        // The last handle: what is queued is written, the files are closed.
        drop(self.journal);
        tracing::info!("stopped");
    }

    /// Whoever asked may have gone; what was asked is done nevertheless.
    async fn answer(&mut self, command: Command) {
        match command {
            Command::Listeners(answer) => _ = answer.send(self.listeners.status()),
            Command::Routes(answer) => _ = answer.send(self.lanes.status().await),
            Command::Journal(answer) => {
                let (head, health) = (*self.journal.head().borrow(), self.journal.health().borrow().clone());
                _ = answer.send(JournalStatus { head, health, durability: self.options.durability });
            }
            Command::Outlets(answer) => {
                let (plans, routes, doors) = (Arc::clone(&self.plans), self.lanes.options(), self.lanes.doors());
                _ = answer.send(Outlets { plans, routes, doors, by: Mappings::Current, edited: false, who: "".into() });
            }
            Command::Care(answer) => _ = answer.send(self.care()),
            Command::Mappings(answer) => _ = answer.send(self.mappings()),
            Command::SetRoute { name, state, answer } => _ = answer.send(self.lanes.set(&name, state).await),
            Command::Resolve(rows, answer) => _ = answer.send(self.resolve(rows).await),
            Command::Resolution(rows, answer) => _ = answer.send(self.resolution(rows).await),
            Command::Reload(answer) => {
                let reloaded = self.reload().await;
                match &reloaded {
                    Ok(summary) => tracing::info!("configuration read anew: {summary}"),
                    Err(error) => tracing::error!("the configuration of before stays: {error}"),
                }
                _ = answer.send(reloaded);
            }
        }
    }

    fn mappings(&self) -> Vec<ListenerMappings> {
        let of = |(listener, (site, plan)): (&String, &Site)| ListenerMappings {
            listener: listener.clone(),
            site: site.clone(),
            plan: Arc::clone(plan),
        };
        let mut all: Vec<_> = self.sites.iter().map(of).collect();
        all.sort_unstable_by(|a, b| a.listener.cmp(&b.listener));
        all
    }

    /// Everything that can fail comes first; what then changes has been seen to work.
    pub(super) async fn reload(&mut self) -> Result<ReloadSummary, ReloadError> {
        let wrong = |error: &dyn std::fmt::Display| ReloadError::Wrong(error.to_string());
        let read = Arc::clone(&self.read);
        let setup = tokio::task::spawn_blocking(move || read()).await.map_err(|error| wrong(&error))?;
        let setup = setup.map_err(ReloadError::Wrong)?;
        if setup.data != self.data {
            return Err(ReloadError::Restart("the data directory"));
        }
        if setup.journal != self.options {
            return Err(ReloadError::Restart("durability"));
        }
        if setup.coordination != self.coordination {
            return Err(ReloadError::Restart("[coordination]"));
        }
        if is_sequenced(&setup.listeners) && !self.sequenced {
            return Err(ReloadError::Restart("sequence of the first listener that has it"));
        }
        let (plans, hashes, sites) = (by_name(&setup.listeners), hashes(&setup.listeners), sites(&setup.listeners));
        let ready = self.listeners.prepare(setup.listeners).await.map_err(|error| wrong(&error))?;
        let plans = self.plans.prepare(&plans).map_err(|error| wrong(&error))?;
        let changes = self.lanes.apply(setup.routes).await;
        // Whatever has come of it: the journal heeds the cursors of the routes there are.
        let readers = readers(&self.lanes, self.care.is_some());
        self.kept.store(Arc::new(Kept { retention: setup.retention, readers }));
        let changes = changes.map_err(|error| wrong(&error))?;
        self.plans.apply(plans);
        self.listeners.apply(ready);
        if setup.index != self.follower.is_some() {
            let follower = setup.index.then(|| Follower::start(&self.data, self.journal.reader())).transpose();
            self.follower = follower.unwrap_or_else(|error| {
                tracing::error!("the search index is not kept up: {error}");
                None
            });
        }
        if let Some(care) = &self.care {
            care.read_rosters().await;
        }
        let mut mappings_changed: Vec<_> = hashes
            .iter()
            .filter(|(name, hash)| self.by_listener.get(*name).is_some_and(|before| before != *hash))
            .map(|(name, _)| name.clone())
            .collect();
        mappings_changed.sort_unstable();
        self.by_listener = hashes;
        self.sites = sites;
        let listeners = self.listeners.status().into_iter().map(|status| status.name).collect();
        Ok(ReloadSummary {
            routes_added: changes.added,
            routes_removed: changes.removed,
            routes_changed: changes.changed,
            listeners,
            mappings_changed,
        })
    }
}

/// Who holds the journal back.
fn readers(lanes: &Lanes, has_care: bool) -> Vec<String> {
    lanes.readers().into_iter().chain(has_care.then(|| care::READER.to_owned())).collect()
}

/// Waits until a part of coordinated care has ended; which.
async fn died(care: &mut Option<Care>) -> &'static str {
    match care {
        Some(care) => care.died().await,
        None => std::future::pending().await,
    }
}

/// What is remembered of messages that came before.
fn memories(setup: &Setup, journal: &Arc<Journal>) -> Result<(Duplicates, Arc<Links>), StartError> {
    let window = setup.listeners.iter().map(|(listener, _)| listener.intake.duplicate_window).max();
    let options = DuplicatesOptions { window: window.unwrap_or_default(), ..DuplicatesOptions::default() };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let duplicates = Duplicates::open(&setup.data, journal, options, now_ms)?;
    let links = Links::open(&setup.data, journal, is_sequenced(&setup.listeners))?;
    Ok((duplicates, links))
}

fn is_sequenced(listeners: &[(Listener, Arc<Plan>)]) -> bool {
    listeners.iter().any(|(listener, _)| listener.intake.sequence)
}

/// Less than what is promised is said aloud.
fn warn_of(durability: Durability) {
    match durability {
        Durability::Fsync => {}
        Durability::Os => tracing::warn!("durability \"os\": what is acknowledged can be lost with the power"),
        Durability::Memory => tracing::warn!(
            "durability \"memory\": nothing is synced; what is acknowledged, and all that is kept, can be lost with the power"
        ),
    }
}

/// True once the journal takes no more.
async fn failed(health: &mut watch::Receiver<Health>) -> bool {
    // Its sender lives as long as its writer, which does not end before this does.
    health.wait_for(|health| matches!(health, Health::Failed(_))).await.is_ok()
}

/// The plan of each listener, as [`Plans::replace`] wants them.
pub fn by_name(listeners: &[(Listener, Arc<Plan>)]) -> Vec<(String, Arc<Plan>)> {
    listeners.iter().map(|(listener, plan)| (listener.name.clone(), Arc::clone(plan))).collect()
}

fn hashes(listeners: &[(Listener, Arc<Plan>)]) -> HashMap<String, [u8; 32]> {
    listeners.iter().map(|(listener, plan)| (listener.name.clone(), plan.hash())).collect()
}

fn sites(listeners: &[(Listener, Arc<Plan>)]) -> HashMap<String, Site> {
    let site =
        |(listener, plan): &(Listener, Arc<Plan>)| (listener.name.clone(), (listener.site.clone(), Arc::clone(plan)));
    listeners.iter().map(site).collect()
}
