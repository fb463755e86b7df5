//! The gateway at work: listeners and lanes of one process, what can be asked of them while they run, and how they take on another configuration.
//!
//! | file | what |
//! |---|---|
//! | `gateway` | starts everything, does what is asked of it, takes everything down in order |
//! | `listeners` | the sockets, and what is changed of them without closing a connection |
//! | `entrance` | what comes in, whatever the listener speaks |
//! | `http`, `directory` | listeners beside MLLP |
//! | `lanes` | the routes: started, paused, stopped, replaced |
//! | `again` | what sending a message once more would mean |
//! | `fate` | what has become of a message on each route |
//! | `chosen` | which messages a search means |
//! | `tally` | what has come of many that are sent again |
//! | `care` | coordinated care: what follows from messages, and who is told |
//! | `codes` | rows for codes that no table had, written into a site |
//! | `control` | what others may ask: the command line, the admin API, a signal |
//! | `silence` | how long a listener may be without a message |
//! | `upkeep` | what the journal need not keep |
//!
//! Left out: reading configurations; a function that does is handed in.
pub mod again;
pub mod care;
pub mod chosen;
mod codes;
mod control;
pub mod directory;
mod entrance;
pub mod fate;
mod gateway;
pub mod http;
mod lanes;
mod listeners;
mod silence;
pub mod tally;
mod upkeep;

pub use codes::{CodeRow, PlannedRow, ResolveError, Resolved};
pub use control::{
    Control, ControlError, JournalStatus, ListenerMappings, ListenerStatus, ReloadError, ReloadSummary, RouteState,
    RouteStatus,
};
pub use gateway::{Gateway, StartError, by_name};
pub use listeners::{Listener, Protocol};
pub use silence::{Hours, Silence};

use crate::mapping::Plan;
use crate::{coordination, delivery, journal};
use std::path::PathBuf;
use std::sync::Arc;

/// What a gateway is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The data directory.
    pub data: PathBuf,
    /// The journal.
    pub journal: journal::Options,
    /// How long it keeps what every route has passed.
    pub retention: journal::Retention,
    /// Whether the search index is kept up.
    pub index: bool,
    /// Where messages come in, and what translates them.
    pub listeners: Vec<(Listener, Arc<Plan>)>,
    /// Where they go.
    pub routes: Vec<delivery::Options>,
    /// Coordinated care, where there is to be any; with where its subscriptions may lead.
    pub coordination: Option<(coordination::Options, care::Endpoints)>,
}

/// Reads the configuration anew; the error says everything that is wrong with it.
pub type Read = Box<dyn Fn() -> Result<Setup, String> + Send + Sync>;
