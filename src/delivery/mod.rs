//! Delivery: every route is a cursor over the journal and a channel to its target.
//!
//! A [`Lane`] waits for records, takes those that its route wants, hands them to its channel, and moves its cursor once they are delivered or given up: never before.
//! What has just been translated comes from the tail; a lane that lags reads the raw message from the journal and translates it again, which gives the same bytes
//! as long as the plan is the same. Nothing is lost by dying at any point; what was under way is delivered again.
//!
//! One lane more than there are routes: [`UNTRANSLATED`] gives up what intake could not translate, so that it lies among the dead letters.
pub mod channel;
mod lane;
pub mod resend;
mod retry;
mod supply;

pub use lane::{Common, Lane};
pub use retry::Retry;
pub use supply::Plans;

use crate::{journal, routing::Route};
use channel::Target;

/// The name under which messages that could not be translated are given up; no route may have it.
pub const UNTRANSLATED: &str = "untranslated";

/// A route and how it delivers.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which messages.
    pub route: Route,
    /// Where to.
    pub target: Target,
    /// How often.
    pub retry: Retry,
}

/// Why a lane cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its cursor cannot be read or kept.
    #[error(transparent)]
    Store(#[from] journal::Error),
    /// No HTTP client can be made, perhaps for want of certificates.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}
