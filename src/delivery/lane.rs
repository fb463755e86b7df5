//! One route at work: read, deliver, move the cursor; on failure wait and try again; in the end give up, with a trace.
use super::channel::{Channel, Failure};
use super::supply::{Next, Plans, Supply};
use super::{OpenError, Options, Retry, UNTRANSLATED};
use crate::facets::{Facets, Outcome};
use crate::journal::{DeadLetter, Error, Journal, State};
use crate::routing::{Live, Route, Tail};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// What all lanes share.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where records are read.
    pub journal: Arc<Journal>,
    /// Where cursors and dead letters are kept.
    pub state: Arc<State>,
    /// The newest messages.
    pub tail: Arc<Tail>,
    /// How messages are translated again.
    pub plans: Arc<Plans>,
    /// The time that dead letters bear.
    pub clock: fn() -> jiff::Timestamp,
}

/// A cursor with work to do.
#[derive(Debug)]
pub struct Lane {
    name: String,
    duty: Duty,
    common: Common,
    supply: Supply,
    next: u64,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each route, for as long as it runs")]
enum Duty {
    Deliver { route: Route, channel: Channel, retry: Retry },
    CollectUntranslated,
}

/// Messages taken from the journal or the tail at once.
const MESSAGES_MAX: usize = 256;
/// Between attempts to use a journal or a state database that does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(5);

impl Lane {
    /// The lane of a route. A new one begins with the next message, and from then on misses none.
    ///
    /// # Errors
    /// A state database that cannot be used, a channel that cannot be made.
    pub fn open(options: Options, common: &Common) -> Result<Lane, OpenError> {
        let channel = Channel::new(options.target)?;
        Ok(Lane::with(
            options.route.name.clone(),
            Duty::Deliver { route: options.route, channel, retry: options.retry },
            common,
        )?)
    }

    /// The lane that gives up what could not be translated.
    ///
    /// # Errors
    /// A state database that cannot be used.
    pub fn open_untranslated(common: &Common) -> Result<Lane, OpenError> {
        Ok(Lane::with(UNTRANSLATED.into(), Duty::CollectUntranslated, common)?)
    }

    /// The name of its cursor.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn with(name: String, duty: Duty, common: &Common) -> Result<Lane, Error> {
        let next = match common.state.cursor(&name)? {
            Some(next) if next > *common.journal.head().borrow() + 1 => {
                // A journal that lost its tail, or another one than the cursor belongs to: waiting would skip what comes next.
                let end = *common.journal.head().borrow() + 1;
                tracing::error!(route = name, next, end, "cursor beyond the journal: moved back");
                common.state.register(&name, end)?;
                end
            }
            Some(next) => next,
            None => {
                let next = *common.journal.head().borrow() + 1;
                common.state.register(&name, next)?;
                next
            }
        };
        let supply = Supply::new(Arc::clone(&common.tail), Arc::clone(&common.plans), common.journal.reader());
        Ok(Lane { name, duty, common: common.clone(), supply, next })
    }

    /// Works until `drain` turns true and everything there is has been delivered, or something fails then: that stays in the journal for the next start.
    pub async fn run(mut self, mut drain: watch::Receiver<bool>) {
        let mut head = self.common.journal.head();
        loop {
            if *head.borrow_and_update() < self.next {
                if *drain.borrow() {
                    return;
                }
                tokio::select! {
                    changed = head.changed() => if changed.is_err() {
                        return; // The journal has stopped, and everything in it is delivered.
                    },
                    _ = drain.wait_for(|&drain| drain) => {}
                }
                continue;
            }
            let rest = match self.round(&drain).await {
                Ok(None) => continue,
                Ok(Some(pause)) => pause,
                Err(error) => {
                    tracing::error!(route = self.name, "deliveries wait: {error}");
                    STORE_PAUSE
                }
            };
            if wait(rest, &mut drain).await == Woken::Draining {
                return;
            }
        }
    }

    /// Reads once and deals with what it read; a pause when the journal did not have what it must have.
    async fn round(&mut self, drain: &watch::Receiver<bool>) -> Result<Option<Duration>, Error> {
        let found = self.supply.from(self.next, MESSAGES_MAX).await?;
        if found.is_empty() {
            return Ok(Some(STORE_PAUSE));
        }
        let mut steps: VecDeque<Step> = found.into_iter().map(|next| self.step(next)).collect();
        while !steps.is_empty() {
            let batch = Batch::take(&mut steps, self.batch_max());
            if self.settle(batch, &mut drain.clone()).await? == Woken::Draining {
                return Ok(Some(Duration::ZERO));
            }
        }
        Ok(None)
    }

    fn batch_max(&self) -> usize {
        match &self.duty {
            Duty::Deliver { channel, .. } => channel.batch_max(),
            Duty::CollectUntranslated => usize::MAX,
        }
    }

    /// What is to be done with a message.
    fn step(&self, next: Next) -> Step {
        let last = next.last();
        let live = match next {
            Next::Damaged(seq, last) => {
                let reason = format!("the journal cannot read it: records {seq} to {last} are damaged");
                return Step { last, action: Action::GiveUp(seq, reason) };
            }
            Next::Message(live) => live,
        };
        let why = |fallback: &str| live.failure.clone().unwrap_or_else(|| fallback.into());
        let action = match (&self.duty, Facets::decode(&live.facets)) {
            (_, None) => Action::GiveUp(live.seq, why("its facets cannot be read")),
            (Duty::CollectUntranslated, Some(facets)) => match facets.outcome {
                Outcome::Untranslated | Outcome::Rejected | Outcome::Unreadable => {
                    Action::GiveUp(live.seq, why("could not be translated"))
                }
                Outcome::Received | Outcome::Translated | Outcome::Ignored => Action::Pass,
            },
            (Duty::Deliver { route, .. }, Some(facets)) if !route.wants(&facets, &live.raw) => Action::Pass,
            (Duty::Deliver { channel, .. }, Some(_)) if live.bundle.is_empty() && channel.wants_bundle() => {
                Action::GiveUp(live.seq, why("there is no Bundle"))
            }
            (Duty::Deliver { .. }, Some(_)) => Action::Deliver(live),
        };
        Step { last, action }
    }

    /// Delivers a batch or gives up what cannot be delivered; the cursor follows.
    async fn settle(&mut self, mut batch: Batch, drain: &mut watch::Receiver<bool>) -> Result<Woken, Error> {
        let mut attempts = Attempts::default();
        while let Some(first) = batch.live.front().map(|live| live.seq) {
            let Duty::Deliver { channel, retry, .. } = &mut self.duty else { break };
            let progress = channel.deliver(batch.live.make_contiguous()).await;
            if progress.delivered > 0 {
                tracing::debug!(route = self.name, seq = first, count = progress.delivered, "delivered");
                batch.live.drain(..progress.delivered);
                attempts = Attempts::default();
            }
            let (Some(failure), Some(seq)) = (progress.failure, batch.live.front().map(|live| live.seq)) else {
                continue;
            };
            let (failed, since) = attempts.another();
            let reason = match failure {
                Failure::Refused(reason) => reason,
                Failure::Again { reason, .. } if retry.is_spent(failed, since) => {
                    format!("given up after {failed} attempts: {reason}")
                }
                Failure::Again { reason, after } => {
                    let pause = retry.pause(failed, after);
                    tracing::warn!(
                        route = self.name,
                        seq,
                        attempt = failed,
                        pause_ms = pause.as_millis() as u64,
                        "not delivered, to be tried again: {reason}"
                    );
                    self.commit(seq, &mut batch.given_up).await?;
                    if wait(pause, drain).await == Woken::Draining {
                        return Ok(Woken::Draining);
                    }
                    continue;
                }
            };
            batch.given_up.push((seq, seq, failed, reason));
            batch.live.pop_front();
            attempts = Attempts::default();
        }
        self.commit(batch.next, &mut batch.given_up).await?;
        Ok(Woken::Rested)
    }

    /// Moves the cursor, together with the dead letters before it.
    async fn commit(&mut self, next: u64, given_up: &mut Vec<GivenUp>) -> Result<(), Error> {
        let at_ms = (self.common.clock)().as_millisecond();
        given_up.sort_by_key(|(seq, ..)| *seq);
        let before = given_up.partition_point(|(seq, ..)| *seq < next);
        let letters: Vec<_> = given_up
            .drain(..before)
            .map(|(seq, last, attempts, reason)| DeadLetter { seq, last, at_ms, attempts, reason })
            .collect();
        for letter in &letters {
            tracing::error!(
                route = self.name,
                seq = letter.seq,
                attempts = letter.attempts,
                "dead letter: {}",
                letter.reason
            );
        }
        if next > self.next || !letters.is_empty() {
            let (state, name) = (Arc::clone(&self.common.state), self.name.clone());
            let written = tokio::task::spawn_blocking(move || state.advance(&name, next, &letters)).await;
            written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            self.next = next;
        }
        Ok(())
    }
}

/// First and last number, attempts, reason.
type GivenUp = (u64, u64, u32, String);

struct Step {
    last: u64,
    action: Action,
}

enum Action {
    Pass,
    Deliver(Arc<Live>),
    GiveUp(u64, String),
}

/// Steps that are settled together.
#[derive(Default)]
struct Batch {
    live: VecDeque<Arc<Live>>,
    given_up: Vec<GivenUp>,
    /// The number after the last of them.
    next: u64,
}

impl Batch {
    fn take(steps: &mut VecDeque<Step>, live_max: usize) -> Batch {
        let mut batch = Batch::default();
        while batch.live.len() < live_max
            && let Some(step) = steps.pop_front()
        {
            batch.next = step.last + 1;
            match step.action {
                Action::Pass => {}
                Action::Deliver(live) => batch.live.push_back(live),
                Action::GiveUp(seq, reason) => batch.given_up.push((seq, step.last, 0, reason)),
            }
        }
        batch
    }
}

/// Failed attempts at one message.
#[derive(Default)]
struct Attempts {
    failed: u32,
    first: Option<Instant>,
}

impl Attempts {
    fn another(&mut self) -> (u32, Duration) {
        self.failed = self.failed.saturating_add(1);
        (self.failed, self.first.get_or_insert_with(Instant::now).elapsed())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Woken {
    Rested,
    Draining,
}

async fn wait(pause: Duration, drain: &mut watch::Receiver<bool>) -> Woken {
    tokio::select! {
        biased;
        _ = drain.wait_for(|&drain| drain) => Woken::Draining,
        () = sleep(pause) => Woken::Rested,
    }
}
