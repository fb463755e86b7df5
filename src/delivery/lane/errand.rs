//! Messages that somebody sends once more by a lane that is done with them.
//!
//! The lane holds their key meanwhile, so that nothing of the same patient (or sender, as its order says) is under way beside one: what waits of the key came later, and goes out
//! after it. What of the patient has gone out since whoever asked has looked is looked for then, when nothing more can. One attempt is made, by a channel of the lane; its
//! failure is told to whoever asked, and changes nothing of the lane's own course.
use super::{Deliveries, Duty, Lane, Wish, ended};
use crate::delivery::channel::{Channel, Progress};
use crate::delivery::later::{Gone, Since};
use crate::delivery::order::Key;
use crate::delivery::schedule::{Job, Reserved};
use crate::delivery::traced::{self, Attempting};
use crate::facets::Facets;
use crate::journal::{Error, Limits, Position, Reader, State};
use crate::routing::{Live, Route};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Errands of one lane at once.
const ERRANDS_MAX: usize = 16;
/// So long one waits for its key, and for a channel.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// By which a message is handed to a lane that runs.
#[derive(Debug, Clone)]
pub struct Door {
    errands: mpsc::Sender<Errand>,
}

/// A message that is to go out once more.
#[derive(Debug)]
pub(super) struct Errand {
    live: Arc<Live>,
    /// Where the route stood when somebody looked for what came later; `None` where it goes out whatever came later.
    since: Option<Since>,
    until: Instant,
    answer: oneshot::Sender<Result<(), Undone>>,
}

/// Errands of a lane: those that come, and those that wait.
#[derive(Debug)]
pub(super) struct Errands {
    door: Door,
    coming: mpsc::Receiver<Errand>,
    waiting: Vec<Errand>,
}

/// Why a message has not been sent once more, or has not arrived. Holds no value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    /// Its lane has it still before it.
    #[error("the route has not come to it yet, and will send it by itself")]
    Due,
    /// Somebody holds the route back.
    #[error("the route is {0}")]
    Held(&'static str),
    /// Its endpoint takes nothing.
    #[error("the route rests: {0}")]
    Rests(String),
    /// An earlier failure holds its key.
    #[error("message {0}, which must keep its order with it, fails on the route and is tried again")]
    Fails(u64),
    /// Its key was not free in time.
    #[error("messages that must keep their order with it were under way all the time")]
    Busy,
    /// Something of its patient went out meanwhile.
    #[error("message {0} of the same patient has gone out meanwhile")]
    Overtaken(u64),
    /// The receiver has not taken it.
    #[error("{0}")]
    Failed(String),
    /// The route was taken down meanwhile.
    #[error("the route was taken down meanwhile: whether it has arrived is not known")]
    Ended,
}

impl Undone {
    /// Whether nothing has gone out for sure.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Undone::Failed(_) | Undone::Ended)
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Undone::Due => "wait until the route has sent it; where the route is stuck, mend that",
            Undone::Held(_) => "start the route, then send it again",
            Undone::Rests(_) => "send it again once the route delivers; it tries by itself",
            Undone::Fails(_) => "mend that one first: what is of the same patient waits behind it",
            Undone::Busy => "send it again in a moment",
            Undone::Overtaken(_) => "look at both; sending it all the same has to be said (overwrite)",
            Undone::Failed(_) => "mend what the receiver says, then send it again; nothing has changed by it here",
            Undone::Ended => "look at the receiver, then send it again; it bears the same Idempotency-Key",
        }
    }
}

impl Door {
    /// Has a message sent, once the lane can; waits until that has been done or cannot be. `since`: where the route stood when somebody looked for what of its patient has gone out
    /// later; nothing may have since then.
    ///
    /// # Errors
    /// Why it has not arrived.
    pub async fn send(&self, live: Live, since: Option<Since>) -> Result<(), Undone> {
        let (answer, answered) = oneshot::channel();
        let errand = Errand { live: Arc::new(live), since, until: Instant::now() + WAIT_MAX, answer };
        match self.errands.try_send(errand) {
            Ok(()) => answered.await.unwrap_or(Err(Undone::Ended)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Undone::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Undone::Held("stopped")),
        }
    }
}

impl Errands {
    pub fn new() -> Errands {
        let (errands, coming) = mpsc::channel(ERRANDS_MAX);
        Errands { door: Door { errands }, coming, waiting: Vec::new() }
    }

    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// The next one that comes; never ends.
    pub async fn comes(&mut self) {
        match self.coming.recv().await {
            Some(errand) => self.waiting.push(errand),
            None => std::future::pending().await,
        }
    }

    /// When one has waited long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|errand| errand.until).min()
    }
}

impl Lane {
    /// Does those errands that can be done now, and refuses those that cannot be.
    pub(super) fn run_errands(&mut self, wish: Wish, deliveries: &mut Deliveries) {
        while let Ok(errand) = self.errands.coming.try_recv() {
            self.errands.waiting.push(errand);
        }
        let now = Instant::now();
        for errand in std::mem::take(&mut self.errands.waiting) {
            if errand.answer.is_closed() {
                continue; // Nobody asks for it any more.
            }
            match self.admit(&errand, wish, now) {
                Err(undone) => _ = errand.answer.send(Err(undone)),
                Ok(Some((key, channel))) => self.begin(errand, key, channel, deliveries),
                Ok(None) if errand.until <= now => _ = errand.answer.send(Err(Undone::Busy)),
                Ok(None) => self.errands.waiting.push(errand),
            }
        }
    }

    /// Whether an errand may be done: its key, which is held from then on, and a channel. None while something is in its way.
    fn admit(&mut self, errand: &Errand, wish: Wish, now: Instant) -> Result<Option<(Key, Channel)>, Undone> {
        match wish {
            Wish::Deliver => {}
            Wish::Pause => return Err(Undone::Held("paused")),
            Wish::Drain | Wish::End => return Err(Undone::Held("being taken down")),
        }
        let live = &errand.live;
        let (Duty::Deliver { order, batches, .. }, Some(facets)) = (&self.duty, Facets::decode(&live.facets)) else {
            return Err(Undone::Failed("this route does not send it".into()));
        };
        if self.ledger.is_due(live.seq) {
            return Err(Undone::Due);
        }
        if self.schedule.rests(now) {
            let why = self.gauge.read().rests;
            return Err(Undone::Rests(why.unwrap_or_else(|| "its endpoint takes nothing at present".into())));
        }
        // What waited when the lane began has no key yet.
        let ahead = self.ledger.ahead();
        if !self.left_over.is_empty() || self.found.iter().any(|found| found.seq < ahead) {
            return Ok(None);
        }
        let key = if *batches { Key::Route } else { order.key(live, &facets) };
        let Some(channel) = self.channels.pop() else { return Ok(None) };
        match self.schedule.reserve(key, now) {
            Reserved::Yes => Ok(Some((key, channel))),
            reserved => {
                self.channels.push(channel);
                match reserved {
                    Reserved::Fails(seq) => Err(Undone::Fails(seq)),
                    Reserved::Yes | Reserved::NotYet => Ok(None),
                }
            }
        }
    }

    fn begin(&self, errand: Errand, key: Key, mut channel: Channel, deliveries: &mut Deliveries) {
        let Errand { live, since, answer, .. } = errand;
        let name = self.name.clone();
        let route = match &self.duty {
            Duty::Deliver { route, .. } => Some(route.clone()),
            Duty::CollectUntranslated => None,
        };
        let position = Position { ahead: self.ledger.ahead(), waiting: self.ledger.waiting(), tried: Vec::new() };
        let (reader, state) = (self.common.journal.reader(), Arc::clone(&self.common.state));
        deliveries.spawn(async move {
            // Of nothing: what has come of the errand is not the lane's.
            let job = Job { key, messages: Vec::new() };
            let facets = Facets::decode(&live.facets);
            let patient = facets.and_then(|facets| facets.patient);
            let newer = match (since, patient, route) {
                (Some(since), Some(patient), Some(route)) => {
                    let seq = live.seq;
                    let look = move || newer(reader, &state, &route, (patient, seq), &since, position);
                    let looked = tokio::task::spawn_blocking(look).await;
                    looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
                }
                _ => Ok(None),
            };
            let came = match newer {
                Err(error) => Err(Undone::Failed(format!("what came later cannot be looked for: {error}"))),
                Ok(Some(newer)) => Err(Undone::Overtaken(newer)),
                Ok(None) => attempt(&mut channel, &live, &name).await.map_err(Undone::Failed),
            };
            let _ = answer.send(came);
            (channel, job, Progress::default(), None)
        });
    }
}

/// One attempt, told of as one that somebody asked for.
///
/// # Errors
/// What the target says.
pub(in crate::delivery) async fn attempt(channel: &mut Channel, live: &Arc<Live>, route: &str) -> Result<(), String> {
    let live = [Arc::clone(live)];
    let attempting = Attempting::begin(traced::RESEND, channel.kind(), &live);
    let traceparent = attempting.as_ref().and_then(Attempting::traceparent);
    let progress = channel.deliver(&live, traceparent.as_deref()).await;
    if let Some(attempting) = attempting {
        attempting.end(&progress, ended(&progress)).tell(route, &live, 0);
    }
    match progress.failure {
        None => Ok(()),
        Some(failure) => Err(failure.reason().to_owned()),
    }
}

/// A message of a patient that has gone out since somebody looked, of those that the lane has looked at. Blocks.
fn newer(
    mut reader: Reader,
    state: &State,
    route: &Route,
    (patient, seq): (u64, u64),
    since: &Since,
    position: Position,
) -> Result<Option<u64>, Error> {
    let gone = Gone::read(state, &route.name, patient, seq, position)?;
    // What waited then, and does not any more: at most as many as may wait on a route.
    for settled in gone.settled_of(&since.waiting) {
        let items = reader.read(settled, Limits { records_max: 1, ..Limits::default() })?;
        for item in &items {
            if let Some(newer) = gone.out(state, item)? {
                return Ok(Some(newer));
            }
        }
    }
    let mut next = since.ahead.max(seq + 1);
    while next < gone.ahead() {
        let items = reader.read(next, Limits::default())?;
        let Some(last) = items.last() else { break };
        next = last.next();
        for item in &items {
            if let Some(newer) = gone.out(state, item)? {
                return Ok(Some(newer));
            }
        }
    }
    Ok(None)
}
