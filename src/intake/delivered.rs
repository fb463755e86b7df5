//! Senders that are answered only once their message is delivered (`ack_on = "delivered"`).
//!
//! It is waited for from when it came, however many wait before it. A message that is new is waited for from before any route can see it. One that came before is looked up: its routes may have done with it long ago.
use super::acknowledge::waits_for_application;
use super::is_good;
use crate::hl7::Index;
use crate::journal::{Error, Record, State};
use crate::routing::{Settled, Settlement, Wait};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// What routes have done with messages.
#[derive(Debug)]
pub struct Deliveries {
    settled: Arc<Settled>,
    state: Arc<State>,
}

/// The delivery of a message, to be waited for.
pub(super) struct Waiting(oneshot::Receiver<Wait>);

/// Is told the number of that message.
pub(super) struct Waiter {
    settled: Arc<Settled>,
    told: oneshot::Sender<Wait>,
}

/// Between looks at what has become of a message that came before.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Deliveries {
    /// Those of the routes that settle there and keep their positions there.
    pub fn new(settled: Arc<Settled>, state: Arc<State>) -> Deliveries {
        Deliveries { settled, state }
    }

    pub(super) fn expect(&self) -> (Waiting, Waiter) {
        let (told, waiting) = oneshot::channel();
        (Waiting(waiting), Waiter { settled: Arc::clone(&self.settled), told })
    }

    /// Waits until the routes have done with a message that came before; why it is not delivered.
    pub(super) async fn refused(self: &Arc<Self>, seq: u64, since: StdInstant, longest: Duration) -> Option<String> {
        let deadline = Instant::from_std(since + longest);
        loop {
            let here = Arc::clone(self);
            match tokio::task::spawn_blocking(move || here.look(seq)).await {
                Ok(Ok(Some(settlement))) => return reason(settlement),
                Ok(Ok(None)) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Ok(Ok(None)) => return Some(too_long(longest)),
                Ok(Err(error)) => {
                    tracing::error!("what has become of a message cannot be looked up: {error}");
                    return Some("it is kept; whether it is delivered is not known".into());
                }
                Err(_) => return Some("it is kept; whether it is delivered is not known".into()),
            }
        }
    }

    /// What the state database says; `None` while a route has not done with the message.
    fn look(&self, seq: u64) -> Result<Option<Settlement>, Error> {
        let mut given_up = None;
        for route in self.settled.routes().iter() {
            let Some(position) = self.state.position(route)? else { return Ok(None) };
            if seq >= position.ahead || position.waiting.binary_search(&seq).is_ok() {
                return Ok(None);
            }
            // A letter that somebody dropped has not arrived either; what the route passes over need not.
            let dropped = || self.state.unsent_of(route, seq).map(|found| found.is_some_and(|unsent| unsent.dropped));
            if self.state.dead_letter(route, seq)?.is_some() || dropped()? {
                given_up.get_or_insert_with(|| route.clone());
            }
        }
        Ok(Some(given_up.map_or(Settlement::Delivered, Settlement::GivenUp)))
    }
}

impl Waiter {
    /// The message is durable, and no route has seen it yet.
    pub fn stored(self, seq: u64) {
        let _ = self.told.send(self.settled.wait(seq)); // The sender may be gone.
    }
}

impl Waiting {
    /// Waits until the routes have done with the message; why it is not delivered.
    pub async fn refused(self, since: StdInstant, longest: Duration) -> Option<String> {
        let settled = async { Some(self.0.await.ok()?.settlement().await) };
        match timeout_at(Instant::from_std(since + longest), settled).await {
            Ok(Some(settlement)) => reason(settlement),
            Ok(None) | Err(_) => Some(too_long(longest)),
        }
    }
}

fn reason(settlement: Settlement) -> Option<String> {
    match settlement {
        Settlement::Delivered => None,
        Settlement::GivenUp(route) => {
            Some(format!("it is kept, but route {route} has given it up: see its dead letters"))
        }
    }
}

fn too_long(longest: Duration) -> String {
    format!("it is kept, but not delivered within {} s: it will be", longest.as_secs())
}

/// Whether the sender of a message that is kept waits for its delivery.
pub(super) fn is_awaited(record: &Record) -> bool {
    let mut index = Index::default();
    is_good(record) && index.parse(&record.raw).is_ok() && waits_for_application(index.message(&record.raw))
}
