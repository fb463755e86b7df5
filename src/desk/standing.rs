//! What has become of a message on each route, for pages.
use super::parts::{Tone, state};
use crate::delivery::{Options, UNTRANSLATED};
use crate::facets::{Facets, Outcome};
use crate::journal::{DeadLetter, Unsent};
use crate::search::{Standing, Standings};
use maud::Markup;

/// What has become of it on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Sent,
    Queued,
    /// Given up.
    Errored(DeadLetter),
    /// Settled though it has not arrived: dropped by somebody, or passed over by the route.
    Unsent(Unsent),
    /// The route's filter, or what became of it at intake, kept it away.
    Filtered,
    /// It came before the route.
    Before,
}

impl Status {
    pub fn name(&self) -> &'static str {
        match self {
            Status::Sent => "sent",
            Status::Queued => "queued",
            Status::Errored(_) => "errored",
            Status::Unsent(Unsent { dropped: true, .. }) => "dropped",
            Status::Unsent(_) => "skipped",
            Status::Filtered => "filtered",
            Status::Before => "before the route",
        }
    }

    pub fn label(&self) -> Markup {
        let tone = match self {
            Status::Sent => Tone::Good,
            Status::Queued => Tone::Warn,
            Status::Errored(_) => Tone::Bad,
            Status::Unsent(_) => Tone::Warn,
            Status::Filtered | Status::Before => Tone::Still,
        };
        state(tone, self.name())
    }
}

/// The names of all routes that may say something of a message, the one for what could not be translated among them.
pub(super) fn names(routes: &[Options]) -> Vec<String> {
    routes.iter().map(|options| options.route.name.clone()).chain([UNTRANSLATED.to_owned()]).collect()
}

/// What has become of a message on each route that has anything to say of it. The message itself is needed where a route has a filter.
pub(super) fn of(
    routes: &[Options],
    standings: &Standings,
    seq: u64,
    outcome: Outcome,
    raw: Option<&[u8]>,
) -> Vec<(String, Status)> {
    let mut found = Vec::new();
    for options in routes {
        let route = &options.route;
        let wants = route.wants(&Facets { outcome, ..Facets::default() }, raw.unwrap_or_default());
        let status = match standings.of(&route.name, seq) {
            Some(Standing::Dead(letter)) => Status::Errored(letter.clone()),
            Some(Standing::Unsent(unsent)) => Status::Unsent(unsent.clone()),
            // Whatever its filter says, or when it came: somebody sent it.
            Some(Standing::Before | Standing::Settled) if standings.arrived_again(&route.name, seq) => Status::Sent,
            Some(Standing::Before) => Status::Before,
            Some(_) if !wants => Status::Filtered,
            Some(Standing::Waiting) => Status::Queued,
            Some(Standing::Settled) => Status::Sent,
            None => continue,
        };
        found.push((route.name.clone(), status));
    }
    // That lane is there for what it gave up.
    match standings.of(UNTRANSLATED, seq) {
        Some(Standing::Dead(letter)) => found.push((UNTRANSLATED.to_owned(), Status::Errored(letter.clone()))),
        Some(Standing::Unsent(unsent)) => found.push((UNTRANSLATED.to_owned(), Status::Unsent(unsent.clone()))),
        _ => {}
    }
    found
}

/// Whether what a route wants depends on the message itself.
pub(super) fn need_message(routes: &[Options]) -> bool {
    routes.iter().any(|options| options.route.filter.is_some())
}
