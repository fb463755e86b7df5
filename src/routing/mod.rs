//! Routing: which messages go where.
//!
//! A [`Route`] is a name and a filter; its place in the journal is a cursor under that name. There is no queue per route: the journal is the queue. What has just been
//! translated lies in the [`Tail`], so that a route that keeps up neither reads the journal nor translates again.
//!
//! Left out so far: FHIR Subscriptions.
mod filter;
mod settled;
mod tail;

pub use filter::{Filter, FilterError};
pub use settled::{Settled, Settlement, Wait};
pub use tail::{Live, Tail};

use crate::facets::{Facets, Outcome};

/// Where messages go.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, which is also that of its cursor: renaming a route makes a new one.
    pub name: String,
    /// Which messages; without one all.
    pub filter: Option<Filter>,
}

impl Route {
    /// Whether a message is to be delivered here.
    pub fn wants(&self, facets: &Facets<'_>, raw: &[u8]) -> bool {
        matches!(facets.outcome, Outcome::Received | Outcome::Translated)
            && self.filter.as_ref().is_none_or(|filter| filter.holds(raw))
    }
}
