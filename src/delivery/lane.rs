//! One route at work: looks at the journal, delivers what its schedule says, keeps its ledger; on failure tries again; in the end gives up, with a trace.
//!
//! ```text
//! journal or tail ──▶ what to do with it ──▶ schedule ──▶ deliveries under way
//!                        │ nothing to deliver                    │ delivered or given up
//!                        └──────────────▶ ledger ◀───────────────┘ ──▶ state database
//! ```
mod errand;

pub(super) use errand::attempt;
pub use errand::{Door, Undone};

use super::acknowledgement;
use super::channel::{Channel, Failure, Progress};
use super::gauge::{Gauge, Head, Mishap, Then};
use super::ledger::Ledger;
use super::order::{Key, Order};
use super::plans::Plans;
use super::schedule::{Job, Limits, Next, Schedule, Tried};
use super::supply::{self, Supply};
use super::traced::{self, Attempted, Attempting};
use super::{OpenError, Options, Retry, UNTRANSLATED};
use crate::facets::{Facets, Outcome};
use crate::journal::{self, Codes, DeadLetter, Error, FilteredBy, Journal, Position, State, Step, Unsent};
use crate::routing::{Live, Route, Settled, Tail};
use crate::telemetry::{Attempt, RouteMeter, telemetry};
use errand::Errands;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// What all lanes share.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where records are read.
    pub journal: Arc<Journal>,
    /// Where positions and dead letters are kept.
    pub state: Arc<State>,
    /// The newest messages.
    pub tail: Arc<Tail>,
    /// How messages are translated again.
    pub plans: Arc<Plans>,
    /// Who waits for messages to be delivered.
    pub settled: Arc<Settled>,
    /// Who takes notice of codes that no table has, in messages that were kept untranslated.
    pub codes: Arc<Codes>,
    /// The time that dead letters bear.
    pub clock: fn() -> jiff::Timestamp,
}

/// What is asked of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Deliver.
    #[default]
    Deliver,
    /// Begin nothing, until asked otherwise.
    Pause,
    /// Nothing more comes into the journal: deliver what can be delivered, then end.
    Drain,
    /// Begin nothing more, and end with what is under way.
    End,
}

/// A position in the journal with work to do.
#[derive(Debug)]
pub struct Lane {
    name: String,
    duty: Duty,
    common: Common,
    /// Reads on.
    ahead: Supply,
    /// Reads again; a supply of its own, so that the other stays where it is.
    again: Supply,
    ledger: Ledger,
    schedule: Schedule,
    /// Numbers that waited when the process last ended, to be looked at before anything else.
    left_over: VecDeque<u64>,
    /// Looked at, not taken in yet.
    found: VecDeque<Found>,
    /// Those at rest: one for each delivery that may be under way.
    channels: Vec<Channel>,
    gauge: Arc<Gauge>,
    /// When it was last written down how far the lane has come.
    kept: Instant,
    told_full: bool,
    meter: RouteMeter,
    errands: Errands,
}

#[derive(Debug)]
enum Duty {
    Deliver { route: Route, order: Order, batches: bool, wants_bundle: bool, acknowledges: bool },
    CollectUntranslated,
}

/// Something in the journal and what is to be done with it.
#[derive(Debug)]
struct Found {
    seq: u64,
    last: u64,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Pass,
    Deliver(Key, Arc<Live>),
    /// The message, if it can be read at all.
    GiveUp(String, Option<Arc<Live>>),
}

type Deliveries = JoinSet<Delivery>;
type Delivery = (Channel, Job, Progress, Option<Attempted>);

/// Messages taken from the journal or the tail at once.
const MESSAGES_MAX: usize = 256;
/// Memory of one route for messages that wait.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Between one time that a busy lane writes down how far it has come and the next. A process that dies repeats at most the deliveries of so long.
const KEEP_PAUSE: Duration = Duration::from_millis(10);
/// Between something new in the journal and a look at it, for the lane that collects what could not be translated.
const COLLECT_PAUSE: Duration = Duration::from_millis(20);
/// Between attempts to use a journal or a state database that does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(5);

impl Lane {
    /// The lane of a route. A new one begins with the next message, and from then on misses none.
    ///
    /// # Errors
    /// A state database that cannot be used, a channel that cannot be made.
    pub fn open(options: Options, common: &Common) -> Result<Lane, OpenError> {
        let acknowledges = options.target.acknowledges();
        let channels = Channel::several(options.target, &options.replies, options.concurrency.max(1))?;
        let (batch_max, wants_bundle) =
            channels.first().map_or((1, true), |channel| (channel.batch_max(), channel.wants_bundle()));
        let (batches, concurrency) = (batch_max > 1, channels.len());
        let waiting_max = options.waiting_max.max(1);
        let limits = Limits { concurrency, batch_max, waiting_max, held_bytes_max: HELD_BYTES_MAX, rate: options.rate };
        let schedule = Schedule::new(options.retry, limits);
        let name = options.route.name.clone();
        let duty = Duty::Deliver { route: options.route, order: options.order, batches, wants_bundle, acknowledges };
        Ok(Lane::with(name, duty, schedule, channels, common)?)
    }

    /// The lane that gives up what could not be translated.
    ///
    /// # Errors
    /// A state database that cannot be used.
    pub fn open_untranslated(common: &Common) -> Result<Lane, OpenError> {
        let limits = Limits { concurrency: 1, batch_max: 1, waiting_max: 1, held_bytes_max: 0, rate: 0 };
        let schedule = Schedule::new(Retry::default(), limits);
        Ok(Lane::with(UNTRANSLATED.into(), Duty::CollectUntranslated, schedule, Vec::new(), common)?)
    }

    /// The name of its cursor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it shows how it fares.
    pub fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    /// By which it is handed messages that go out once more.
    pub fn door(&self) -> Door {
        self.errands.door()
    }

    fn with(
        name: String,
        duty: Duty,
        schedule: Schedule,
        channels: Vec<Channel>,
        common: &Common,
    ) -> Result<Lane, Error> {
        let position = position(&name, common)?;
        if let Duty::Deliver { route, .. } = &duty {
            let text = route.filter.as_ref().map(|filter| filter.text().to_owned());
            let cursor = position.waiting.first().copied().unwrap_or(position.ahead);
            common.state.note_filter(&name, &FilteredBy { since: position.ahead, cursor, text })?;
        }
        let left_over = position.waiting.iter().copied().collect();
        // Which patients a message names is asked of its Bundle.
        let bundles = match &duty {
            Duty::Deliver { order, wants_bundle, acknowledges, .. } => {
                *wants_bundle || *acknowledges || *order == Order::Patient
            }
            Duty::CollectUntranslated => false,
        };
        let supply = || Supply::new(common, bundles);
        let meter = telemetry().route(&name);
        Ok(Lane {
            name,
            duty,
            common: common.clone(),
            ahead: supply(),
            again: supply(),
            ledger: Ledger::new(position),
            schedule,
            left_over,
            found: VecDeque::new(),
            channels,
            gauge: Arc::default(),
            kept: Instant::now(),
            told_full: false,
            meter,
            errands: Errands::new(),
        })
    }

    /// Works as it is asked to. What fails or rests when it ends stays in the journal for the next start.
    pub async fn run(mut self, wishes: watch::Receiver<Wish>) {
        self.channels.iter_mut().for_each(Channel::begin);
        self.work(wishes).await;
        for channel in &mut self.channels {
            channel.end().await;
        }
    }

    async fn work(&mut self, mut wishes: watch::Receiver<Wish>) {
        let mut head = self.common.journal.head();
        let mut deliveries = Deliveries::new();
        let mut ended = false;
        // What could not be translated is nobody's hurry; looking at each message as it comes would take a sender's processor from it.
        let pause = if matches!(self.duty, Duty::CollectUntranslated) { COLLECT_PAUSE } else { Duration::ZERO };
        self.show();
        loop {
            // In this order: once it is to drain, nothing more comes into the journal.
            let wish = *wishes.borrow_and_update();
            let (begins, ends) = (matches!(wish, Wish::Deliver | Wish::Drain), matches!(wish, Wish::Drain | Wish::End));
            head.borrow_and_update();
            while let Some(delivery) = deliveries.try_join_next() {
                self.finished(delivery);
            }
            self.run_errands(wish, &mut deliveries);
            // The time before the turn: a rest that ends during it may have been found unfinished, and nothing else would end the wait.
            let looked = Instant::now();
            let turned = if begins { self.turn(&mut deliveries).await } else { self.keep().await.map(|()| false) };
            self.show();
            let keeps = turned.is_ok() && !deliveries.is_empty();
            let again_at = match turned {
                Ok(true) => continue,
                Ok(false) => self.schedule.deadline(looked).filter(|_| begins),
                Err(error) => {
                    tracing::error!(route = self.name, "deliveries wait: {error}");
                    Some(Instant::now() + STORE_PAUSE)
                }
            };
            // Whatever else may be wrong, what waits is looked at again: a route must not sleep over its messages.
            let idle = begins && deliveries.is_empty() && self.schedule.waiting() > 0;
            let again_at = again_at.or_else(|| idle.then(|| Instant::now() + STORE_PAUSE));
            let keep_at = (keeps && self.ledger.has_news()).then(|| self.kept + KEEP_PAUSE);
            let again_at = again_at.into_iter().chain(keep_at).chain(self.errands.deadline()).min();
            if deliveries.is_empty() && (ends || (ended && self.schedule.waiting() == 0)) {
                return;
            }
            tokio::select! {
                Some(delivery) = deliveries.join_next() => self.finished(delivery),
                () = self.errands.comes() => {}
                changed = news(&mut head, pause), if !ended => ended = changed.is_err(),
                // Whoever could wish is gone only when the process ends.
                Ok(()) = wishes.changed() => {}
                () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {}
                else => return,
            }
        }
    }

    fn show(&self) {
        let waiting = (self.schedule.waiting(), self.schedule.behind());
        self.gauge.stands(waiting, self.ledger.ahead(), self.ledger.cursor());
    }

    /// Reads at most once and starts what can be started; whether there may be more to do at once.
    async fn turn(&mut self, deliveries: &mut Deliveries) -> Result<bool, Error> {
        self.schedule.wake(Instant::now());
        let read = self.read().await;
        let started = self.start(deliveries).await;
        if deliveries.is_empty() || self.kept.elapsed() >= KEEP_PAUSE {
            self.keep().await?;
        }
        started?;
        read
    }

    /// Takes in what has been found, and looks for more where there is room; whether anything came of it.
    async fn read(&mut self) -> Result<bool, Error> {
        if self.found.is_empty() && self.schedule.has_room(Instant::now()) {
            self.found = self.look().await?;
        }
        let mut taken = false;
        while let Some(found) = self.found.pop_front() {
            match found.action {
                Action::Pass => {
                    self.gauge.filtered(1);
                    self.settle(found.seq, found.last);
                }
                Action::GiveUp(reason, live) => self.give_up(found.seq, found.last, 0, reason, live.as_deref()),
                Action::Deliver(key, live) if self.schedule.takes(key) => {
                    self.ledger.park(found.seq);
                    match self.tried_before(found.seq) {
                        Some(tried) => {
                            self.parks(found.seq, key, tried.failed, tried.age, None);
                            self.schedule.add_tried(key, live, tried, Instant::now());
                        }
                        None => self.schedule.add(key, live),
                    }
                }
                action @ Action::Deliver(..) => {
                    self.found.push_front(Found { action, ..found });
                    break;
                }
            }
            taken = true;
        }
        self.tell_full();
        Ok(taken)
    }

    /// How a message had failed when the process last ended; a clock that was set back makes it no younger than new.
    fn tried_before(&self, seq: u64) -> Option<Tried> {
        let known = self.ledger.known(seq)?;
        let age_ms = (self.common.clock)().as_millisecond().saturating_sub(known.since_ms);
        Some(Tried { failed: known.attempts, age: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)) })
    }

    /// Once, not for each message; and again only after it has been far from full.
    fn tell_full(&mut self) {
        let (full, waiting, cursor) = (self.schedule.is_full(), self.schedule.waiting(), self.ledger.cursor());
        if full && !self.found.is_empty() && !self.told_full {
            tracing::warn!(route = self.name, waiting, cursor, "as many messages wait as may: the route waits");
            self.told_full = true;
        }
        self.told_full &= self.schedule.is_half_full();
    }

    /// What comes next: first what was left over, then what has not been looked at. Empty at the end of the journal.
    async fn look(&mut self) -> Result<VecDeque<Found>, Error> {
        if let Some(from) = self.left_over.front().copied() {
            let run = (from..).zip(&self.left_over).take_while(|(seq, left)| seq == *left).count().min(MESSAGES_MAX);
            let mut found = VecDeque::new();
            for next in self.ahead.from(from, run).await? {
                // A damaged stretch may hold several, and others that are settled.
                while let Some(seq) = self.left_over.front().copied().filter(|seq| *seq <= next.last()) {
                    self.left_over.pop_front();
                    found.push_back(self.judge(next.only(seq)));
                }
            }
            return Ok(found);
        }
        let from = self.ledger.ahead();
        if *self.common.journal.head().borrow() < from {
            return Ok(VecDeque::new());
        }
        let found = self.ahead.from(from, MESSAGES_MAX).await?;
        Ok(found.into_iter().map(|next| self.judge(next)).collect())
    }

    /// What is to be done with a message.
    fn judge(&self, next: supply::Next) -> Found {
        let last = next.last();
        let live = match next {
            supply::Next::Damaged(seq, last) => {
                let reason = format!("the journal cannot read it: records {seq} to {last} are damaged");
                return Found { seq, last, action: Action::GiveUp(reason, None) };
            }
            supply::Next::Message(live) => live,
        };
        let why = |fallback: &str| live.failure.clone().unwrap_or_else(|| fallback.into());
        let seq = live.seq;
        let action = match (&self.duty, Facets::decode(&live.facets)) {
            (_, None) => Action::GiveUp(why("its facets cannot be read"), None),
            (Duty::CollectUntranslated, Some(facets)) => match facets.outcome {
                Outcome::Untranslated
                | Outcome::Rejected
                | Outcome::Refused
                | Outcome::Foreign
                | Outcome::Unreadable => Action::GiveUp(why("could not be translated"), Some(Arc::clone(&live))),
                Outcome::Received | Outcome::Translated | Outcome::Ignored => Action::Pass,
            },
            (Duty::Deliver { route, order, acknowledges: true, .. }, Some(facets)) => {
                let wanted = route.filter.as_ref().is_none_or(|filter| filter.holds(&live.raw));
                match wanted.then(|| acknowledgement::of(&live, &facets)).flatten() {
                    Some(ack) => {
                        let raw = ack.into();
                        let ack = Live { seq, raw, facets: live.facets.clone(), ..Live::default() };
                        Action::Deliver(order.key(&ack, &facets), Arc::new(ack))
                    }
                    None => Action::Pass,
                }
            }
            (Duty::Deliver { route, .. }, Some(facets)) if !route.wants(&facets, &live.raw) => Action::Pass,
            (Duty::Deliver { wants_bundle: true, .. }, Some(_)) if live.bundle.is_empty() => {
                Action::GiveUp(why("there is no Bundle"), Some(Arc::clone(&live)))
            }
            (Duty::Deliver { batches: true, .. }, Some(_)) => Action::Deliver(Key::Route, Arc::clone(&live)),
            (Duty::Deliver { order, .. }, Some(facets)) => {
                Action::Deliver(order.key(&live, &facets), Arc::clone(&live))
            }
        };
        Found { seq, last, action }
    }

    async fn start(&mut self, deliveries: &mut Deliveries) -> Result<(), Error> {
        while !self.channels.is_empty()
            && let Some(next) = self.schedule.next(Instant::now())
        {
            match next {
                Next::Recall { key, from, count } => {
                    if !self.recall(key, from, count).await? {
                        break;
                    }
                }
                Next::Deliver(job) => {
                    let Some(mut channel) = self.channels.pop() else { break };
                    let meter = self.meter.clone();
                    let attempting = Attempting::begin(traced::DELIVER, channel.kind(), &job.messages);
                    deliveries.spawn(async move {
                        let began = Instant::now();
                        let traceparent = attempting.as_ref().and_then(Attempting::traceparent);
                        let progress = channel.deliver(&job.messages, traceparent.as_deref()).await;
                        let ended = ended(&progress);
                        meter.attempt(ended, began.elapsed());
                        let attempted = attempting.map(|attempting| attempting.end(&progress, ended));
                        (channel, job, progress, attempted)
                    });
                }
            }
        }
        Ok(())
    }

    /// Reads messages again whose numbers have waited alone; whether there were any.
    async fn recall(&mut self, key: Key, from: u64, count: usize) -> Result<bool, Error> {
        let read = self.again.from(from, count).await?;
        let any = !read.is_empty();
        for next in read.into_iter().take(count) {
            let found = self.judge(next);
            match found.action {
                Action::Deliver(_, live) => self.schedule.recalled(key, live),
                // It was fine when it came. Those behind it are asked again when they are the first.
                _ if found.seq > from => break,
                Action::Pass => {
                    self.schedule.drop_first(key);
                    self.settle(from, from);
                    break;
                }
                Action::GiveUp(reason, live) => {
                    self.schedule.drop_first(key);
                    self.give_up(from, from, 0, reason, live.as_deref());
                    break;
                }
            }
        }
        Ok(any)
    }

    fn finished(&mut self, delivery: Result<Delivery, JoinError>) {
        // Only this lane could cancel it, and does not: so it panicked.
        let (channel, job, progress, attempted) =
            delivery.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.channels.push(channel);
        let failed = progress.failure.as_ref().and_then(|_| job.messages.get(progress.delivered).cloned());
        let attempted = attempted.map(|attempted| (attempted, job.messages.clone()));
        let (key, is_errand) = (job.key, job.messages.is_empty());
        let finished = self.schedule.finished(job, progress, Instant::now());
        if let Some((attempted, messages)) = attempted {
            attempted.tell(&self.name, &messages, finished.failures());
        }
        if let Some(seq) = finished.delivered.first() {
            tracing::debug!(route = self.name, seq, count = finished.delivered.len(), "delivered");
            self.gauge.sent(finished.delivered.len() as u64, (self.common.clock)().as_millisecond());
        }
        if finished.again.is_none() && !is_errand {
            self.gauge.rests(None);
        }
        for seq in finished.delivered {
            self.settle(seq, seq);
        }
        if let Some((seq, attempts, reason)) = finished.given_up {
            self.give_up(seq, seq, attempts, reason, failed.as_deref());
        }
        if let Some((seq, reason)) = finished.skipped {
            tracing::warn!(route = self.name, seq, "not delivered, passed over as the route says: {reason}");
            let at_ms = (self.common.clock)().as_millisecond();
            self.gauge.passes(seq, seq);
            self.gauge.mishap(Mishap { at_ms, seq, attempts: 0, reason: reason.clone(), then: Then::PassedOver });
            self.ledger.pass_over(Unsent { seq, last: seq, at_ms, dropped: false, reason });
            self.common.settled.settle(&self.name, seq, seq, false);
        }
        if let Some(again) = finished.again {
            let at_ms = (self.common.clock)().as_millisecond();
            self.gauge.failed();
            let (seq, attempts, reason) = (again.seq, again.failed, again.reason.clone());
            self.gauge.mishap(Mishap { at_ms, seq, attempts, reason, then: Then::Again });
            self.gauge.rests(Some(&again.reason).filter(|_| again.route_rests).map(String::as_str));
            if again.failed > 0 {
                let since_ms = self.parks(again.seq, key, again.failed, again.age, Some(&again.reason));
                self.ledger.tried(journal::Tried { seq: again.seq, attempts: again.failed, since_ms });
            }
            tracing::warn!(
                route = self.name,
                seq = again.seq,
                attempt = again.failed,
                pause_ms = again.pause.as_millis() as u64,
                waits = if again.route_rests { "route" } else { "key" },
                "not delivered, to be tried again: {}",
                again.reason
            );
        }
    }

    /// Shows that a message has failed and holds up what is behind it; since when.
    fn parks(&self, seq: u64, key: Key, attempts: u32, age: Duration, reason: Option<&str>) -> i64 {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let since_ms = (self.common.clock)().as_millisecond().saturating_sub(age_ms);
        self.gauge.parks(Head { seq, holds: key.holds(), since_ms, attempts, reason: reason.map(str::to_owned) });
        since_ms
    }

    fn settle(&mut self, seq: u64, last: u64) {
        self.gauge.passes(seq, last);
        self.ledger.settle(seq, last);
        self.common.settled.settle(&self.name, seq, last, false);
    }

    fn give_up(&mut self, seq: u64, last: u64, attempts: u32, reason: String, live: Option<&Live>) {
        if let Some(live) = live {
            traced::dead_letter(&self.name, live, attempts);
        }
        tracing::error!(route = self.name, seq, attempts, "dead letter: {reason}");
        self.gauge.errored();
        self.gauge.passes(seq, last);
        let at_ms = (self.common.clock)().as_millisecond();
        self.gauge.mishap(Mishap { at_ms, seq, attempts, reason: reason.clone(), then: Then::GivenUp });
        self.ledger.give_up(DeadLetter { seq, last, at_ms, attempts, reason });
        self.common.settled.settle(&self.name, seq, last, true);
    }

    /// Writes down how far the lane has come.
    async fn keep(&mut self) -> Result<(), Error> {
        let Some(step) = self.ledger.step() else { return Ok(()) };
        // Also when it fails: then the next time is after a longer pause.
        self.kept = Instant::now();
        let (state, name) = (Arc::clone(&self.common.state), self.name.clone());
        let written = tokio::task::spawn_blocking(move || state.advance(&name, &step)).await;
        written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        self.ledger.written();
        self.kept = Instant::now();
        Ok(())
    }
}

/// Waits until there is more in the journal, and so long after that; an error when nothing more can come.
async fn news(head: &mut watch::Receiver<u64>, pause: Duration) -> Result<(), watch::error::RecvError> {
    head.changed().await?;
    if !pause.is_zero() {
        sleep_until(Instant::now() + pause).await;
    }
    Ok(())
}

/// How an attempt ended that came so far.
fn ended(progress: &Progress) -> Attempt {
    match progress.failure {
        None => Attempt::Delivered,
        Some(Failure::Refused(_) | Failure::Skipped(_)) => Attempt::Refused,
        Some(Failure::Again { .. }) => Attempt::Again,
        Some(Failure::Endpoint { .. }) => Attempt::Endpoint,
    }
}

fn position(name: &str, common: &Common) -> Result<Position, Error> {
    let end = *common.journal.head().borrow() + 1;
    let Some(mut position) = common.state.position(name)? else {
        common.state.register(name, end)?;
        return Ok(Position { ahead: end, waiting: Vec::new(), tried: Vec::new() });
    };
    if position.ahead > end {
        // A journal that lost its tail, or another one than the position belongs to: its numbers will be given again, and none of them may be passed over.
        tracing::error!(route = name, next = position.ahead, end, "position beyond the journal: moved back");
        let kept = position.waiting.partition_point(|seq| *seq < end);
        let settled = position.waiting.split_off(kept);
        position.ahead = end;
        let cursor = position.waiting.first().copied().unwrap_or(end);
        let kept = position.tried.partition_point(|tried| tried.seq < end);
        let forgotten = position.tried.split_off(kept).into_iter().map(|tried| tried.seq).collect();
        common.state.advance(name, &Step { cursor, ahead: end, settled, forgotten, ..Step::default() })?;
    }
    Ok(position)
}
