//! The alerts as others see them: whoever holds an [`Open`] can look at any time.
use super::book::Alert;
use std::sync::{Arc, PoisonError, RwLock};

/// Alerts that are open, and the last that were; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Open(Arc<RwLock<Seen>>);

/// The alerts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When the gateway was last looked at, in milliseconds since 1970; none: not yet.
    pub looked_ms: Option<i64>,
    /// Whether a webhook is told.
    pub webhook: bool,
    /// Whether mails are sent.
    pub email: bool,
    /// Those that are open, the oldest first.
    pub open: Vec<Alert>,
    /// The last that were resolved, the newest first.
    pub resolved: Vec<Alert>,
}

impl Open {
    /// As they are now.
    pub fn seen(&self) -> Seen {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn show(&self, seen: Seen) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}
