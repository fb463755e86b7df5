//! Routing: which messages go where, decided by facets alone.
//!
//! A [`Route`] is a name and a filter; its place in the journal is a cursor under that name. There is no queue per route: the journal is the queue. What has just been
//! translated lies in the [`Tail`], so that a route that keeps up neither reads the journal nor translates again.
//!
//! Left out so far: conditions (the grammar of the mapping language), FHIR Subscriptions.
mod tail;

pub use tail::{Live, Tail};

use crate::facets::{Facets, Outcome};

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, which is also that of its cursor: renaming a route makes a new one.
    pub name: String,
}

impl Route {
    /// Whether a message is to be delivered here.
    pub fn wants(&self, facets: &Facets<'_>) -> bool {
        matches!(facets.outcome, Outcome::Received | Outcome::Translated)
    }
}
