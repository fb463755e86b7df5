//! FHIR subscriptions: who asked to be told of what, who is to be told of an event, and what they are told.
//!
//! Subscriptions R5 Backport 1.1.0 on R4. Of this nothing opens a connection or knows a clock: the way of an event is
//!
//! ```text
//! registry entry → resource (checked once) → matcher
//! event → matcher → standing (numbered, in the transaction of the event) → notification | davinci → whoever delivers it
//!                                                                        ← standing (what came of it)
//! ```
//!
//! What is numbered depends on journal and registry alone, never on what came of a delivery: doing it again gives the same numbers.
pub mod aside;
pub mod cache;
pub mod capability;
pub mod channel;
pub mod davinci;
pub mod filter;
pub mod matcher;
pub mod notification;
mod reference;
pub mod resource;
pub mod standing;
pub mod store;
pub mod synthetic;
pub mod topic;
pub mod transaction;

use std::time::Duration;

/// The tables of this part in `DATA/coordination.sqlite`.
pub const TABLES: &[&str] = &[store::TABLES, cache::TABLES, aside::TABLE];

/// What ids are made in: of Bundles, statuses and subscriptions.
const NAMESPACE: [u8; 16] =
    [0x5b, 0x1d, 0x6e, 0x0c, 0x3f, 0x52, 0x4c, 0x1a, 0x9d, 0x77, 0x0e, 0x8a, 0x46, 0x2b, 0x91, 0xf4];

/// `[coordination.subscriptions]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the canonical URLs of our own topics begin with.
    pub canonical_base: String,
    /// Where clients reach the FHIR interface; what references in notifications begin with. Without it the canonical base.
    pub base: Option<String>,
    /// Where resources of `id-only` notifications are to be read, if not here.
    pub focus_base: Option<String>,
    /// How deliveries are tried again.
    pub policy: standing::Policy,
    /// How long events, and what `id-only` refers to, can be read again.
    pub keep: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            canonical_base: "https://handoff.example/fhir".into(),
            base: None,
            focus_base: None,
            policy: standing::Policy::default(),
            keep: Duration::from_secs(30 * 86_400),
        }
    }
}

impl Options {
    /// What the gateway's own URLs begin with.
    pub fn base(&self) -> &str {
        self.base.as_deref().unwrap_or(&self.canonical_base)
    }

    /// What references to resources begin with.
    pub fn focus_base(&self) -> &str {
        self.focus_base.as_deref().unwrap_or(self.base())
    }
}

/// Resources that come together, as they are read one by one: they refer to each other by `Type/ID`.
pub fn relative(resources: &[serde_json::Value]) -> Vec<serde_json::Value> {
    reference::linked(resources, reference::Form::Relative)
}

/// One of them, as compact JSON that stays JSON: `kind` tells the type of each that comes along by its id.
pub fn relink<'k>(json: &str, kind: impl Fn(&str) -> Option<&'k str>) -> String {
    reference::relinked(json, kind)
}

/// An id that is made of these pieces, and of nothing else.
fn id_of(pieces: &[&[u8]]) -> String {
    reference::made_of(&NAMESPACE, pieces)
}

/// An instant of FHIR, in UTC and to the millisecond.
fn instant(ms: i64) -> String {
    // What jiff cannot hold is no time of any message; the beginning of time is seen as what it is.
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "1970-01-01T00:00:00.000Z".into(), |time| format!("{time:.3}"))
}
