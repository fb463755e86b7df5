//! Delivery: every route is a position in the journal and a channel to its target.
//!
//! A [`Lane`] looks at records, takes those that its route wants, and delivers them by key ([`Order`]): the messages of one key in order, those of different keys
//! several at once. A message that fails holds only its key. The cursor stands at the first message that is neither delivered nor given up; what is settled beyond it
//! is remembered, so that a restart repeats only what was under way. Nothing is lost by dying at any point.
//!
//! What has just been translated comes from the tail; a lane that lags, or comes back to a message that waited, reads the raw message from the journal and translates it
//! again, which gives the same bytes as long as the plan is the same.
//!
//! | file | what |
//! |---|---|
//! | `order` | which messages must keep their order |
//! | `schedule` | what is delivered next; knows no clock and no journal |
//! | `breaker` | when the whole route rests, because its endpoint takes nothing |
//! | `retry` | when a message is tried again, and given up |
//! | `ledger` | which numbers are settled, and what of it is written down |
//! | `supply` | reading the journal, translating again |
//! | `plans` | with which mappings |
//! | `acknowledgement` | what a route sends that answers instead of delivering |
//! | `gauge` | what a lane shows of itself |
//! | `told` | what may be told of how a route is configured |
//! | `traced` | deliveries as traces tell of them |
//! | `lane` | all of it at work, and messages that go out once more by it (`lane::errand`) |
//! | `resend` | messages that somebody sends once more |
//! | `later` | what of the same patient has gone out since |
//! | `past` | what a route thought of messages by its filter of then |
//!
//! One lane more than there are routes: [`UNTRANSLATED`] gives up what intake could not translate, so that it lies among the dead letters.
mod acknowledgement;
mod breaker;
pub mod channel;
mod gauge;
mod lane;
pub mod later;
mod ledger;
mod order;
pub mod past;
mod plans;
pub mod resend;
mod retry;
mod schedule;
mod supply;
mod told;
mod traced;

pub use gauge::{Gauge, Head, Mishap, Parked, Reading, Then};
pub use lane::{Common, Door, Lane, Undone, Wish};
pub use order::Order;
pub use plans::Plans;
pub use retry::Retry;
pub use supply::translated;

use crate::{journal, routing::Route};
use channel::replies::Replies;
use channel::{ClientError, Target};

/// The name under which messages that could not be translated are given up; no route may have it.
pub const UNTRANSLATED: &str = "untranslated";

/// A route and how it delivers.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which messages.
    pub route: Route,
    /// Where to.
    pub target: Target,
    /// How often.
    pub retry: Retry,
    /// What becomes of a message when the receiver says no, where it is not the usual.
    pub replies: Replies,
    /// Messages a second; 0 for as many as there are.
    pub rate: u32,
    /// What is kept in order.
    pub order: Order,
    /// Deliveries under way at once. A target that takes many messages at once, as a file does, is given one after the other, in the order of the journal.
    pub concurrency: usize,
    /// Messages that may wait for others of their key before the route waits with them.
    pub waiting_max: usize,
}

/// Deliveries under way at once, unless the configuration says otherwise.
pub const CONCURRENCY: usize = 8;
/// Messages that may wait, unless the configuration says otherwise.
pub const WAITING_MAX: usize = 10_000;

/// Why a lane cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its cursor cannot be read or kept.
    #[error(transparent)]
    Store(#[from] journal::Error),
    /// Its target cannot be spoken to.
    #[error(transparent)]
    Client(#[from] ClientError),
}
