//! Which message of a route is delivered next. Knows no clock, no journal and no channel: it is told what there is, what time it is and how a delivery went.
//!
//! Every key has a queue of the numbers that wait; its first is ready, under way, or rests after a failure. A message lies in memory while it waits only as long as
//! `held_bytes_max` allows and its key has not failed; beyond that its number waits alone, and it is read again when its turn comes.
use super::Retry;
use super::breaker::Breaker;
use super::channel::{Failure, Progress};
use super::order::Key;
use crate::routing::Live;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much a route does and remembers at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Deliveries under way.
    pub concurrency: usize,
    /// Messages in one delivery.
    pub batch_max: usize,
    /// Messages that wait or are under way.
    pub waiting_max: usize,
    /// Bytes of the messages that wait in memory.
    pub held_bytes_max: usize,
    /// Messages a second; 0 for as many as there are.
    pub rate: u32,
}

/// Messages of one key, to be delivered in this order.
#[derive(Debug)]
pub(super) struct Job {
    pub key: Key,
    pub messages: Vec<Arc<Live>>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Next {
    Deliver(Job),
    /// So many messages of a key, numbered without a gap, must be read again: at least the first.
    Recall {
        key: Key,
        from: u64,
        count: usize,
    },
}

/// What has come of a delivery.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub delivered: Vec<u64>,
    /// Number, attempts, reason.
    pub given_up: Option<(u64, u32, String)>,
    pub again: Option<Again>,
    /// Passed over because the route says so: number, reason.
    pub skipped: Option<(u64, String)>,
}

impl Finished {
    /// How often the message that failed has failed, this time included; 0 where that does not count, or none failed.
    pub fn failures(&self) -> u32 {
        let given_up = self.given_up.as_ref().map(|(_, attempts, _)| *attempts);
        given_up.or(self.again.as_ref().map(|again| again.failed)).unwrap_or(0)
    }
}

/// A message that will be tried again.
#[derive(Debug)]
pub(super) struct Again {
    pub seq: u64,
    /// Failed attempts that count against it.
    pub failed: u32,
    /// Time since the first of them.
    pub age: Duration,
    pub pause: Duration,
    /// The whole route rests, not only its key.
    pub route_rests: bool,
    pub reason: String,
}

/// How often a message had failed, and for how long, when the process last ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tried {
    pub failed: u32,
    pub age: Duration,
}

#[derive(Debug)]
pub(super) struct Schedule {
    retry: Retry,
    limits: Limits,
    breaker: Breaker,
    /// When the next message is due at the rate of the route.
    due: Option<Instant>,
    queues: HashMap<Key, Queue>,
    /// Keys whose first message may be delivered, in turn: so a key that fails again and again is not what the breaker always tries.
    ready: VecDeque<Key>,
    resting: BTreeSet<(Instant, Key)>,
    waiting: usize,
    under_way: usize,
    held_bytes: usize,
    /// Messages that wait behind one of their key that has failed.
    behind: usize,
}

/// Exists while something of its key waits or is under way.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    failed: u32,
    first_failure: Option<Instant>,
    /// Age that the first had before this process began.
    age_before: Duration,
    /// What of it counts as waiting behind a failure.
    behind: usize,
    /// A delivery of it has been given out and has not ended.
    under_way: bool,
}

/// Whether a message may be delivered past the course of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// It may, and the key is under way until [`Schedule::finished`] is told of an empty job of it.
    Yes,
    /// Something that it must not meet is under way.
    NotYet,
    /// The first of its key, of this number, has failed and is tried again.
    Fails(u64),
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    live: Option<Arc<Live>>,
}

/// Messages read again at once.
const RECALL_MAX: usize = 64;
/// So far a route may fall behind its rate and catch up: timers are not exact.
const SLACK: Duration = Duration::from_millis(100);

impl Schedule {
    pub fn new(retry: Retry, limits: Limits) -> Schedule {
        Schedule {
            retry,
            limits,
            breaker: Breaker::new(retry),
            due: None,
            queues: HashMap::new(),
            ready: VecDeque::new(),
            resting: BTreeSet::new(),
            waiting: 0,
            under_way: 0,
            held_bytes: 0,
            behind: 0,
        }
    }

    /// Messages that wait or are under way.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Messages that wait behind one of their key that has failed.
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// As many wait as may.
    pub fn is_full(&self) -> bool {
        self.waiting >= self.limits.waiting_max
    }

    /// At least half as many wait as may.
    pub fn is_half_full(&self) -> bool {
        self.waiting >= self.limits.waiting_max.div_ceil(2)
    }

    /// Whether a further message could be under way at once.
    pub fn has_room(&self, now: Instant) -> bool {
        self.under_way + self.ready.len() < self.breaker.allowed(now, self.limits.concurrency)
    }

    /// Whether the next message may be taken in.
    pub fn takes(&self, key: Key) -> bool {
        let alone = key == Key::Everything;
        !self.is_full() && !self.queues.contains_key(&Key::Everything) && (!alone || self.queues.is_empty())
    }

    /// Takes in a message that has failed before. Only the first of a key has; what comes behind one begins anew.
    pub fn add_tried(&mut self, key: Key, live: Arc<Live>, tried: Tried, now: Instant) {
        let is_first = !self.queues.contains_key(&key);
        self.add(key, live);
        if let Some(queue) = self.queues.get_mut(&key).filter(|_| is_first) {
            (queue.failed, queue.first_failure, queue.age_before) = (tried.failed, Some(now), tried.age);
        }
    }

    /// Takes in the next message.
    pub fn add(&mut self, key: Key, live: Arc<Live>) {
        let queue = self.queues.get(&key);
        let (is_new, hold) = (queue.is_none(), queue.is_none_or(|queue| queue.failed == 0));
        let seq = live.seq;
        let live = if hold { self.hold(live) } else { None };
        let queue = self.queues.entry(key).or_default();
        queue.waiting.push_back(Waiting { seq, live });
        let one_more = usize::from(queue.failed > 0);
        queue.behind += one_more;
        self.behind += one_more;
        self.waiting += 1;
        if is_new {
            self.ready.push_back(key);
        }
    }

    /// Lets what has rested be ready.
    pub fn wake(&mut self, now: Instant) {
        while let Some((_, key)) = self.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.resting.pop_first();
            self.ready.push_back(key);
        }
    }

    /// When to look again, if nothing happens before.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let rested = self.resting.first().map(|(until, _)| *until);
        let due = self.due.filter(|due| *due > now && !self.ready.is_empty());
        rested.into_iter().chain(self.breaker.until(now)).chain(due).min()
    }

    /// Whether the route rests because its endpoint takes nothing.
    pub fn rests(&self, now: Instant) -> bool {
        self.breaker.allowed(now, 1) == 0
    }

    /// Takes a key for a message that has been settled before and goes out once more. What waits of the key came later, and goes out after it.
    pub fn reserve(&mut self, key: Key, now: Instant) -> Reserved {
        let meets_all = |all: &HashMap<Key, Queue>| match key {
            Key::Everything => !all.is_empty(),
            _ => all.contains_key(&Key::Everything),
        };
        if meets_all(&self.queues) {
            return Reserved::NotYet;
        }
        let queue = self.queues.entry(key).or_default();
        if let Some(first) = queue.waiting.front().filter(|_| queue.failed > 0) {
            return Reserved::Fails(first.seq);
        }
        if queue.under_way {
            return Reserved::NotYet;
        }
        queue.under_way = true;
        self.ready.retain(|ready| *ready != key);
        self.under_way += 1;
        self.spend(1, now);
        Reserved::Yes
    }

    /// What is to be done now; a delivery that is given out is under way.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if self.under_way >= self.breaker.allowed(now, self.limits.concurrency) || self.due.is_some_and(|due| due > now)
        {
            return None;
        }
        let key = *self.ready.front()?;
        let queue = self.queues.get_mut(&key)?;
        let mut messages = Vec::new();
        while messages.len() < self.limits.batch_max
            && let Some(live) = queue.waiting.front_mut().and_then(|first| first.live.take())
        {
            self.held_bytes -= bytes(&live);
            messages.push(live);
            queue.waiting.pop_front();
        }
        if messages.is_empty() {
            let from = queue.waiting.front()?.seq;
            let most = if queue.failed > 0 { 1 } else { RECALL_MAX };
            let numbers = (from..).zip(&queue.waiting).take(most);
            let count = numbers.take_while(|(seq, waiting)| waiting.seq == *seq && waiting.live.is_none()).count();
            return Some(Next::Recall { key, from, count });
        }
        queue.under_way = true;
        self.ready.pop_front();
        self.under_way += 1;
        self.spend(messages.len(), now);
        Some(Next::Deliver(Job { key, messages }))
    }

    /// So many messages go out now: the next is due as the rate of the route says.
    fn spend(&mut self, messages: usize, now: Instant) {
        if self.limits.rate > 0 {
            let took = Duration::from_secs(messages as u64) / self.limits.rate;
            let since = now.checked_sub(SLACK).unwrap_or(now);
            self.due = Some(self.due.map_or(now, |due| due.max(since)) + took);
        }
    }

    /// A message that was read again; the first of a key is held in any case.
    pub fn recalled(&mut self, key: Key, live: Arc<Live>) {
        let is_first = |queue: &Queue| queue.waiting.front().is_some_and(|first| first.seq == live.seq);
        let forced = self.queues.get(&key).is_some_and(is_first);
        let (seq, size) = (live.seq, bytes(&live));
        if !forced && self.held_bytes + size > self.limits.held_bytes_max {
            return;
        }
        let waiting = self.queues.get_mut(&key).and_then(|queue| queue.waiting.iter_mut().find(|at| at.seq == seq));
        if let Some(waiting) = waiting
            && waiting.live.is_none()
        {
            waiting.live = Some(live);
            self.held_bytes += size;
        }
    }

    /// The first message of a ready key cannot be delivered any more.
    pub fn drop_first(&mut self, key: Key) {
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let Some(first) = queue.waiting.pop_front() else { return };
        self.waiting -= 1;
        self.held_bytes -= first.live.as_ref().map_or(0, |live| bytes(live));
        queue.begins_anew();
        self.behind -= std::mem::take(&mut queue.behind);
        if queue.waiting.is_empty() {
            self.queues.remove(&key);
            self.ready.retain(|ready| *ready != key);
        }
    }

    /// Takes note of how a delivery went.
    pub fn finished(&mut self, job: Job, progress: Progress, now: Instant) -> Finished {
        let mut finished = Finished::default();
        let Job { key, messages } = job;
        let mut left = VecDeque::from(messages);
        let mut queue = self.queues.remove(&key).unwrap_or_default();
        queue.under_way = false;
        self.under_way -= 1;
        let delivered = progress.delivered.min(left.len());
        if delivered > 0 {
            finished.delivered = left.drain(..delivered).map(|live| live.seq).collect();
            queue.begins_anew();
            self.breaker.answered(now);
        }
        let mut rests = None;
        if let (Some(seq), Some(failure)) = (left.front().map(|live| live.seq), progress.failure) {
            let failed = queue.failed + 1;
            match failure {
                Failure::Endpoint { reason, after } => {
                    let pause = self.breaker.endpoint_failed(after, now);
                    let (failed, age) = (queue.failed, queue.age(now));
                    finished.again = Some(Again { seq, failed, age, pause, route_rests: true, reason });
                }
                Failure::Refused(reason) => {
                    self.breaker.answered(now);
                    finished.given_up = Some((seq, failed, reason));
                }
                Failure::Skipped(reason) => {
                    self.breaker.answered(now);
                    finished.skipped = Some((seq, reason));
                }
                Failure::Again { reason, after } => {
                    let route = self.breaker.message_failed(failed, after, now);
                    queue.first_failure.get_or_insert(now);
                    let age = queue.age(now);
                    if self.retry.is_spent(failed, age) {
                        finished.given_up = Some((seq, failed, format!("given up after {failed} attempts: {reason}")));
                    } else {
                        let pause = self.retry.pause(failed, after);
                        queue.failed = failed;
                        rests = Some(now + pause);
                        let pause = route.map_or(pause, |route| route.max(pause));
                        finished.again = Some(Again { seq, failed, age, pause, route_rests: route.is_some(), reason });
                    }
                }
            }
            if finished.given_up.is_some() || finished.skipped.is_some() {
                left.pop_front();
                queue.begins_anew();
            }
        }
        let passed = finished.given_up.is_some() || finished.skipped.is_some();
        self.waiting -= finished.delivered.len() + usize::from(passed);
        self.put_back(key, queue, left, rests);
        finished
    }

    fn put_back(&mut self, key: Key, mut queue: Queue, left: VecDeque<Arc<Live>>, rests: Option<Instant>) {
        for live in left.into_iter().rev() {
            let (seq, live) = (live.seq, self.hold(live));
            queue.waiting.push_front(Waiting { seq, live });
        }
        if rests.is_some() {
            // It may fail for days: nothing of it stays in memory.
            let held = queue.waiting.iter_mut().filter_map(|waiting| waiting.live.take());
            self.held_bytes -= held.map(|live| bytes(&live)).sum::<usize>();
        }
        // What has failed is the first again.
        let behind = if queue.failed > 0 { queue.waiting.len().saturating_sub(1) } else { 0 };
        self.behind = self.behind - std::mem::replace(&mut queue.behind, behind) + behind;
        if queue.waiting.is_empty() {
            return;
        }
        self.queues.insert(key, queue);
        match rests {
            Some(until) => _ = self.resting.insert((until, key)),
            None => self.ready.push_back(key),
        }
    }

    fn hold(&mut self, live: Arc<Live>) -> Option<Arc<Live>> {
        let size = bytes(&live);
        if self.held_bytes + size > self.limits.held_bytes_max {
            return None;
        }
        self.held_bytes += size;
        Some(live)
    }
}

impl Queue {
    /// The first has gone: the next has not failed yet.
    fn begins_anew(&mut self) {
        (self.failed, self.first_failure, self.age_before) = (0, None, Duration::ZERO);
    }

    /// Time since the first failure of the first message, that before this process included.
    fn age(&self, now: Instant) -> Duration {
        self.first_failure.map_or(Duration::ZERO, |first| now - first).saturating_add(self.age_before)
    }
}

/// About as much as a message takes in memory.
fn bytes(live: &Live) -> usize {
    size_of::<Live>() + live.facets.len() + live.raw.len() + live.bundle.len() + size_of_val(live.entries.as_slice())
}

#[cfg(test)]
mod tests;
