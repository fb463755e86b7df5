//! Coordinated care at work: a thread that follows the journal (`follow`), a task that tells subscribers (`notify`, `deliver`, `disclose`), and what both of them and the FHIR
//! interface share.
//!
//! The thread writes what comes of messages; nobody waits for it. What is told is judged by the gate when an event is matched and once more when it leaves, with the
//! consents of that moment, and stands in the audit before it is sent.
mod card;
mod content;
mod deliver;
mod disclose;
mod endpoint;
mod follow;
mod label;
mod measuring;
mod notify;
mod reviewing;
mod rosters;
mod self_test;
mod sink;

pub use card::{CONTROL_ID, Entry as CardEntry, Picture, Resource as CardResource, Seen, is_past, opened, picture};
pub use content::{ContentError, Contents, Released};
pub use disclose::{Disclosure, ReleaseError, released};
pub use endpoint::Endpoints;
pub use label::{label_of, status_of};
pub use measuring::{Asked, Behind, MeasureError, Measured, Rates, state_of};
pub use notify::Pushed;
pub use reviewing::{DecideError, ReviewError, Reviewed, Wanted, patient_of};
pub use rosters::{ApproveError, Became, PanelState, PanelStatus, TakeError, Write, WriteError, Written};
pub use self_test::{Report, Stage, TestError, self_test};
pub use sink::{Counts, SINK};

use crate::coordination::registry::{self, Registry};
use crate::coordination::roster::Rosters;
use crate::coordination::roster::in_force::InForce;
use crate::coordination::subscription::topic::Topics;
use crate::coordination::work::{self, Work};
use crate::coordination::{Options, store};
use crate::delivery::Plans;
use crate::journal::{self, Journal, State};
use crate::privacy::Gate;
use crate::privacy::audit;
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use tokio::sync::{Notify, broadcast, oneshot, watch};

/// Why coordinated care does not start.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// What comes of messages.
    #[error(transparent)]
    Work(#[from] work::Error),
    /// Its database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What people said.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// How far it has come is not kept.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The audit.
    #[error("audit: {0}")]
    Audit(#[from] audit::Error),
    /// The client for endpoints.
    #[error("no connection to any endpoint can be made: {0}")]
    Client(#[from] reqwest::Error),
    /// What `[coordination.sink]` says cannot be subscribed to.
    #[error(
        "[coordination.sink] cannot be served: its address, its credentials or the panels of its recipient cannot be used"
    )]
    Sink,
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What the parts share.
pub struct Shared {
    /// As configured.
    pub options: Arc<Options>,
    /// What people said through the API.
    pub registry: Arc<Registry>,
    /// Whose patients they are.
    pub rosters: Arc<Rosters>,
    /// What can be subscribed to.
    pub topics: Topics,
    /// Who may see what.
    pub gate: Gate,
    /// What cards say in FHIR, by the labels of the gate.
    drawings: card::Drawings,
    /// What messages say in FHIR.
    pub contents: Contents,
    /// Where subscriptions may lead.
    pub endpoints: Endpoints,
    client: reqwest::Client,
    /// For where the configuration leads, wherever that is.
    own_client: reqwest::Client,
    head: watch::Receiver<u64>,
    /// Reads, and writes what comes of deliveries.
    database: Mutex<Connection>,
    audit: Mutex<audit::Lasting>,
    /// Something was numbered, or said.
    told: Notify,
    /// All that was in the journal has been read once.
    caught_up: AtomicBool,
    pushed: broadcast::Sender<Pushed>,
    /// To which subscriptions websockets are bound, and how many.
    bound: Mutex<HashMap<String, usize>>,
    /// The measures, for those who ask.
    measures: measuring::Reading,
    /// What was last read of the sources of rosters.
    seen: rosters::Seen,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Shared")
    }
}

/// Notifications for websockets that wait to be taken.
const PUSHED_MAX: usize = 256;

impl Shared {
    /// The last number of the journal: what is said now holds for what comes after it.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// The database. Held shortly.
    pub fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the audit; when this fails nothing may leave.
    ///
    /// # Errors
    /// An audit that cannot be written.
    pub fn audit(&self, entries: &[impl audit::Record]) -> Result<(), audit::Error> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner).append(entries)
    }

    /// Looks at subscriptions soon.
    pub fn wake(&self) {
        self.told.notify_one();
    }

    /// A websocket is bound to a subscription.
    pub fn bind(&self, id: &str) {
        *self.bindings().entry(id.to_owned()).or_default() += 1;
    }

    /// One is not any more.
    pub fn unbind(&self, id: &str) {
        let mut bound = self.bindings();
        if let Some(count) = bound.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                bound.remove(id);
            }
        }
    }

    /// Whether any is.
    pub fn is_bound(&self, id: &str) -> bool {
        self.bindings().contains_key(id)
    }

    fn bindings(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent to websockets from now on.
    pub fn listen(&self) -> broadcast::Receiver<Pushed> {
        self.pushed.subscribe()
    }
}

/// The name of its place in the journal, which holds the journal back. No route can have it.
pub const READER: &str = "[coordination]";

/// Coordinated care. Dropping it stops it.
pub struct Care {
    shared: Arc<Shared>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    notifier: tokio::task::JoinHandle<()>,
    /// Its other end goes with the thread.
    ended: oneshot::Receiver<()>,
}

impl Care {
    /// Opens everything and starts to follow the journal. Rosters are read first: a message that is matched by none would be lost to those who subscribed.
    ///
    /// # Errors
    /// What cannot be opened. A roster that cannot be read is told in the log, and the one accepted before stays in force.
    pub fn start(
        data: &Path,
        options: Options,
        endpoints: Endpoints,
        (journal, state): (&Arc<Journal>, &Arc<State>),
        plans: &Arc<Plans>,
    ) -> Result<Care, CareError> {
        let options = Arc::new(options);
        let registry = Arc::new(Registry::open(data)?);
        let rosters = Arc::new(open_rosters(data, &options, &registry)?);
        let seen = rosters::Seen::default();
        // What cannot be taken on is told in the log: the rosters before stay in force.
        let head = || *journal.head().borrow();
        let _ = seen.take(&rosters, &registry, head, (READER, None));
        rosters::begin(&registry, head)?;
        let mut reader = journal.reader();
        let work = Work::open(data, Arc::clone(&options), Arc::clone(&registry), Arc::clone(&rosters), &mut reader)?;
        // Wherever it stood before: what is made anew needs all that there is.
        let next = match work.store().place()? {
            Some(place) => place.next,
            None => reader.first()?,
        };
        state.register(READER, next)?;
        let database = Connection::open(store::Store::path(data)).map_err(store::Error::from)?;
        database.busy_timeout(BUSY).map_err(store::Error::from)?;
        crate::journal::settle(&database).map_err(store::Error::from)?;
        database.execute_batch("PRAGMA synchronous=NORMAL").map_err(store::Error::from)?;
        database.set_prepared_statement_cache_capacity(store::STATEMENTS);
        let shared = Arc::new(Shared {
            topics: Topics::new(&options.subscriptions.canonical_base),
            gate: options.privacy.gate(),
            drawings: card::Drawings::default(),
            measures: measuring::Reading::new(&options, [work.store().reader()?, work.store().reader()?]),
            contents: Contents::new(journal, plans, options.facilities.clone()),
            options,
            registry,
            rosters,
            client: notify::client(&endpoints)?,
            own_client: sink::client()?,
            endpoints,
            head: journal.head(),
            database: Mutex::new(database),
            audit: Mutex::new(audit::Lasting::open(&audit_folder(data), audit::Options::default())?),
            told: Notify::new(),
            caught_up: AtomicBool::new(false),
            pushed: broadcast::channel(PUSHED_MAX).0,
            bound: Mutex::default(),
            seen,
        });
        sink::settle(&shared)?;
        let notifier = tokio::spawn(notify::Notifier::new(Arc::clone(&shared)).run());
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let (here, state) = (Arc::clone(&shared), Arc::clone(state));
        let thread = std::thread::Builder::new()
            .name("care".into())
            .spawn(move || {
                let _end = end;
                follow::run((work, reader), &here, &state, &stopped);
            })
            .map_err(CareError::Thread)?;
        Ok(Care { shared, stop: Some(stop), thread: Some(thread), notifier, ended })
    }

    /// Reads the rosters anew, aside. What cannot be taken on is told in the log.
    pub async fn read_rosters(&self) {
        let shared = Arc::clone(&self.shared);
        if tokio::task::spawn_blocking(move || shared.take_rosters(READER)).await.is_err() {
            tracing::error!("the rosters could not be read; those of before stay in force");
        }
    }

    /// Waits until a part of it has ended that should not; which. Nothing comes after that.
    pub async fn died(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.ended => "nothing follows the journal",
            _ = &mut self.notifier => "nobody is told of anything",
        }
    }

    /// What the FHIR interface works with.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

/// How long somebody else may write.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

/// Where the audit stands.
pub fn audit_folder(data: &Path) -> PathBuf {
    data.join("audit")
}

fn open_rosters(data: &Path, options: &Options, registry: &Registry) -> Result<Rosters, CareError> {
    let (rosters, errors) = Rosters::open(options.rosters.clone(), data.join("rosters"), InForce::now(registry)?);
    for error in errors {
        tracing::error!("a roster that was accepted cannot be read any more: {error}");
    }
    Ok(rosters)
}

impl Drop for Care {
    fn drop(&mut self) {
        self.notifier.abort();
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("coordinated care does not follow the journal any more: its thread panicked");
        }
    }
}
