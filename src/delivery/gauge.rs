//! What a lane shows of itself to whoever asks: counts since it began, and where it stands.
use std::collections::VecDeque;
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
    mishaps: Mutex<VecDeque<Mishap>>,
}

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
            mishaps: self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect(),
        }
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

    pub(super) fn stands(&self, waiting: usize, ahead: u64, cursor: u64) {
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
