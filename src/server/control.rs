//! What may be asked of a running gateway, by whoever may ask. Cheap to clone; outlives the gateway, and then says so.
use super::care;
use super::codes::{CodeRow, PlannedRow, ResolveError, Resolved};
use super::gateway::Command;
use super::silence::Silence;
use crate::delivery::resend::Outlets;
use crate::delivery::{Mishap, Parked};
use crate::journal;
use crate::mapping::Plan;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Asks the gateway of this process.
#[derive(Debug, Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
}

/// How a route is to behave. It stays so over restarts, until somebody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteState {
    /// It delivers.
    #[default]
    Started,
    /// It begins no delivery; messages wait in the journal.
    Paused,
    /// It is taken down, connections and all; messages wait in the journal.
    Stopped,
}

impl RouteState {
    /// As it is written in the state database, the API and the command line.
    pub fn name(self) -> &'static str {
        match self {
            RouteState::Started => "started",
            RouteState::Paused => "paused",
            RouteState::Stopped => "stopped",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<RouteState> {
        [RouteState::Started, RouteState::Paused, RouteState::Stopped].into_iter().find(|state| state.name() == name)
    }
}

/// A listener as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub kind: &'static str,
    /// Where it listens.
    pub address: String,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The file of its certificate.
    pub certificate: Option<PathBuf>,
    /// Open connections.
    pub connections: u64,
    /// How many of each address.
    pub peers: Vec<(IpAddr, u64)>,
    /// What may be told of how it is configured: names and values.
    pub told: Vec<(&'static str, String)>,
    /// So long without a message is worth an alert.
    pub silence: Option<Silence>,
    /// Messages taken since it was started.
    pub received: u64,
    /// When the last of them was taken, in milliseconds since 1970.
    pub last_received_ms: Option<i64>,
}

/// A route as it is; counts are those since it was last started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// What kind of target it has.
    pub kind: &'static str,
    /// How it is to behave.
    pub state: RouteState,
    /// Messages that it did not want.
    pub filtered: u64,
    /// Messages that wait: looked at, or not yet looked at.
    pub queued: u64,
    /// Messages delivered, dead letters that were sent again among them.
    pub sent: u64,
    /// How many of them were.
    pub resent: u64,
    /// Messages given up.
    pub errored: u64,
    /// Dead letters that there are now, whenever they were made.
    pub dead_letters: u64,
    /// Attempts that failed and are made again.
    pub failed: u64,
    /// When a message was delivered last, in milliseconds since 1970.
    pub last_sent_ms: Option<i64>,
    /// When the oldest message that waits was received, in milliseconds since 1970.
    pub oldest_queued_ms: Option<i64>,
    /// Why nothing is delivered at present.
    pub rests: Option<String>,
    /// What waits behind messages that fail, while the rest of the route goes on.
    pub parked: Parked,
    /// What has gone wrong of late, the newest first.
    pub mishaps: Vec<Mishap>,
}

/// By what the messages of a listener are translated.
#[derive(Debug, Clone)]
pub struct ListenerMappings {
    /// The listener.
    pub listener: String,
    /// The folder of its site.
    pub site: Option<PathBuf>,
    /// The mappings in use.
    pub plan: Arc<Plan>,
}

/// The journal as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStatus {
    /// Its last number.
    pub head: u64,
    /// Whether it takes messages.
    pub health: journal::Health,
    /// How sure they are then.
    pub durability: journal::Durability,
}

/// What a reload has changed, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSummary {
    /// Routes that are new.
    pub routes_added: Vec<String>,
    /// Routes that are gone; their cursors stay.
    pub routes_removed: Vec<String>,
    /// Routes that deliver otherwise.
    pub routes_changed: Vec<String>,
    /// All listeners that there are now.
    pub listeners: Vec<String>,
    /// Listeners whose mappings are others now.
    pub mappings_changed: Vec<String>,
}

impl fmt::Display for ReloadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("routes added", &self.routes_added),
            ("routes removed", &self.routes_removed),
            ("routes changed", &self.routes_changed),
            ("listeners", &self.listeners),
            ("mappings changed for", &self.mappings_changed),
        ];
        let told: Vec<_> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        f.write_str(&told.join("; "))
    }
}

/// Why a new configuration was not taken. The one before stays, whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Everything that is wrong with it.
    #[error("{0}")]
    Wrong(String),
    /// What cannot change while the gateway runs.
    #[error("{0} can only be changed by a restart")]
    Restart(&'static str),
    /// The gateway is going down.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Why a route is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is none of that name.
    #[error("there is no route \"{0}\"")]
    UnknownRoute(String),
    /// Its state could not be written down, or it could not be opened.
    #[error("{0}")]
    Failed(String),
    /// The gateway is going down.
    #[error("the gateway is stopping")]
    Stopping,
}

impl Control {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Control {
        Control { commands }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Waits until the gateway is going down.
    pub async fn gone(&self) {
        self.commands.closed().await;
    }

    /// The listeners; none once the gateway is going down.
    pub async fn listeners(&self) -> Vec<ListenerStatus> {
        self.ask(Command::Listeners).await.unwrap_or_default()
    }

    /// The routes; none once the gateway is going down.
    pub async fn routes(&self) -> Vec<RouteStatus> {
        self.ask(Command::Routes).await.unwrap_or_default()
    }

    /// The journal; `None` once the gateway is going down.
    pub async fn journal(&self) -> Option<JournalStatus> {
        self.ask(Command::Journal).await
    }

    /// By what messages are sent again; `None` once the gateway is going down.
    pub async fn outlets(&self) -> Option<Outlets> {
        self.ask(Command::Outlets).await
    }

    /// The same for somebody whose name is kept with what is sent.
    pub async fn outlets_for(&self, who: &Arc<str>) -> Option<Outlets> {
        Some(Outlets { who: Arc::clone(who), ..self.outlets().await? })
    }

    /// Coordinated care, where the gateway has it; `None` once the gateway is going down.
    pub async fn care(&self) -> Option<Option<Arc<care::Shared>>> {
        self.ask(Command::Care).await
    }

    /// The mappings of each listener, by its name; none once the gateway is going down.
    pub async fn mappings(&self) -> Vec<ListenerMappings> {
        self.ask(Command::Mappings).await.unwrap_or_default()
    }

    /// Starts, pauses or stops a route.
    ///
    /// # Errors
    /// A [`ControlError`].
    pub async fn set_route(&self, name: &str, state: RouteState) -> Result<(), ControlError> {
        let name = name.to_owned();
        let asked = self.ask(|answer| Command::SetRoute { name, state, answer }).await;
        asked.unwrap_or(Err(ControlError::Stopping))
    }

    /// Writes rows for codes into the folders of sites, and takes them on: all or none. `None` once the gateway is going down.
    pub async fn resolve(&self, rows: Vec<CodeRow>) -> Option<Result<Resolved, ResolveError>> {
        self.ask(|answer| Command::Resolve(rows, answer)).await
    }

    /// What [`Control::resolve`] would write, compiled with the rest; nothing is written. `None` once the gateway is going down.
    pub async fn resolution(&self, rows: Vec<CodeRow>) -> Option<Result<Vec<PlannedRow>, ResolveError>> {
        self.ask(|answer| Command::Resolution(rows, answer)).await
    }

    /// Reads the configuration anew and takes it on, whole or not at all.
    ///
    /// # Errors
    /// A [`ReloadError`].
    pub async fn reload(&self) -> Result<ReloadSummary, ReloadError> {
        self.ask(Command::Reload).await.unwrap_or(Err(ReloadError::Stopping))
    }
}
