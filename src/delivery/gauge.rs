//! What a lane shows of itself to whoever asks: counts since it began, and where it stands.
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Written by one lane, read by many.
#[derive(Debug, Default)]
pub struct Gauge {
    filtered: AtomicU64,
    sent: AtomicU64,
    errored: AtomicU64,
    failed: AtomicU64,
    last_sent_ms: AtomicI64,
    waiting: AtomicU64,
    ahead: AtomicU64,
    cursor: AtomicU64,
    rests: Mutex<Option<String>>,
    behind: AtomicU64,
    /// As many as `heads` has, so that what is delivered need not lock it.
    parked: AtomicU64,
    heads: Mutex<BTreeMap<u64, Head>>,
    mishaps: Mutex<VecDeque<Mishap>>,
}

/// A message that has failed and is tried again, while what must not overtake it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// What waits with it: the messages of its patient, of its sender.
    pub holds: &'static str,
    /// When it failed first, in milliseconds since 1970.
    pub since_ms: i64,
    /// How often it has.
    pub attempts: u32,
    /// Why it did last; none where that was before the process began.
    pub reason: Option<String>,
}

/// What of a lane waits behind messages that fail, while the rest goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parked {
    /// Keys (patients, senders) that wait.
    pub keys: u64,
    /// Messages that wait behind those that fail.
    pub behind: u64,
    /// When the first of them failed first, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Those that fail, in the order of the journal: the first of them.
    pub heads: Vec<Head>,
}

/// Messages that fail which are named.
const HEADS_SHOWN: usize = 20;

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The number of the message.
    pub seq: u64,
    /// How often it has been tried; 0 where that does not count, as while the whole route rests.
    pub attempts: u32,
    /// Why. Holds no value of the message.
    pub reason: String,
    /// What has become of the message.
    pub then: Then,
}

/// What becomes of a message that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is tried again.
    Again,
    /// It is a dead letter.
    GivenUp,
    /// It need not arrive, as the route says.
    PassedOver,
}

impl Then {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Then::Again => "tried again",
            Then::GivenUp => "given up",
            Then::PassedOver => "passed over",
        }
    }
}

/// Mishaps of a route that are remembered: the newest.
const MISHAPS_MAX: usize = 10;

/// What a lane showed at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Messages that the route did not want.
    pub filtered: u64,
    /// Messages delivered.
    pub sent: u64,
    /// Messages given up.
    pub errored: u64,
    /// Attempts that failed and are made again.
    pub failed: u64,
    /// When a message was delivered last, in milliseconds since 1970.
    pub last_sent_ms: Option<i64>,
    /// Messages looked at that wait or are under way.
    pub waiting: u64,
    /// The first number that has not been looked at.
    pub ahead: u64,
    /// The first number that is not settled.
    pub cursor: u64,
    /// Why nothing is delivered at present.
    pub rests: Option<String>,
    /// What waits behind messages that fail.
    pub parked: Parked,
    /// What has gone wrong of late, the newest first.
    pub mishaps: Vec<Mishap>,
}

impl Gauge {
    /// What it shows now.
    pub fn read(&self) -> Reading {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Reading {
            filtered: count(&self.filtered),
            sent: count(&self.sent),
            errored: count(&self.errored),
            failed: count(&self.failed),
            last_sent_ms: Some(self.last_sent_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0),
            waiting: count(&self.waiting),
            ahead: count(&self.ahead),
            cursor: count(&self.cursor),
            rests: self.rests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            parked: self.parked(),
            mishaps: self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect(),
        }
    }

    fn parked(&self) -> Parked {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        Parked {
            keys: heads.len() as u64,
            behind: self.behind.load(Ordering::Relaxed),
            since_ms: heads.values().map(|head| head.since_ms).min(),
            heads: heads.values().take(HEADS_SHOWN).cloned().collect(),
        }
    }

    pub(super) fn parks(&self, head: Head) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.insert(head.seq, head);
        self.parked.store(heads.len() as u64, Ordering::Relaxed);
    }

    /// Those numbers do not wait any more.
    pub(super) fn passes(&self, seq: u64, last: u64) {
        if self.parked.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|parked, _| !(seq..=last).contains(parked));
        self.parked.store(heads.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn filtered(&self, count: u64) {
        self.filtered.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, count: u64, at_ms: i64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        self.last_sent_ms.store(at_ms, Ordering::Relaxed);
    }

    pub(super) fn errored(&self) {
        self.errored.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn mishap(&self, mishap: Mishap) {
        let mut mishaps = self.mishaps.lock().unwrap_or_else(PoisonError::into_inner);
        mishaps.truncate(MISHAPS_MAX - 1);
        mishaps.push_front(mishap);
    }

    pub(super) fn stands(&self, (waiting, behind): (usize, usize), ahead: u64, cursor: u64) {
        self.behind.store(behind as u64, Ordering::Relaxed);
        self.waiting.store(waiting as u64, Ordering::Relaxed);
        self.ahead.store(ahead, Ordering::Relaxed);
        self.cursor.store(cursor, Ordering::Relaxed);
    }

    pub(super) fn rests(&self, reason: Option<&str>) {
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.as_deref() != reason {
            *rests = reason.map(str::to_owned);
        }
    }
}
