//! What has become of a message on each route.
use crate::delivery::past::Pasts;
use crate::delivery::{Options, UNTRANSLATED};
use crate::facets::{Facets, Outcome};
use crate::journal::{DeadLetter, Unsent};
use crate::search::{Standing, Standings};

/// What has become of it on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It has arrived.
    Sent,
    /// The route has not come to it, or tries it still.
    Queued,
    /// Given up.
    Errored(DeadLetter),
    /// Settled though it has not arrived: dropped by somebody, or passed over by the route.
    Unsent(Unsent),
    /// The route's filter, or what became of it at intake, kept it away.
    Filtered,
    /// The route is done with it: delivered, or kept away by a filter that is not known any more.
    Passed,
    /// It came before the route.
    Before,
}

impl Status {
    /// As it is told.
    pub fn name(&self) -> &'static str {
        match self {
            Status::Sent => "sent",
            Status::Queued => "queued",
            Status::Errored(_) => "errored",
            Status::Unsent(Unsent { dropped: true, .. }) => "dropped",
            Status::Unsent(_) => "skipped",
            Status::Filtered => "filtered",
            Status::Passed => "passed",
            Status::Before => "before the route",
        }
    }
}

/// What is looked for of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It has arrived.
    Sent,
    /// The route has not come to it, or tries it still.
    Queued,
    /// Given up.
    Errored,
    /// Kept away.
    Filtered,
    /// Sent or kept away, it is not known which.
    Passed,
}

impl Became {
    /// All of them, by name.
    pub const ALL: [(&'static str, Became); 5] = [
        ("sent", Became::Sent),
        ("queued", Became::Queued),
        ("errored", Became::Errored),
        ("filtered", Became::Filtered),
        ("passed", Became::Passed),
    ];

    /// That of a name.
    pub fn parse(text: &str) -> Option<Became> {
        Became::ALL.iter().find(|(name, _)| *name == text).map(|(_, state)| *state)
    }

    fn is(self, status: &Status) -> bool {
        match self {
            Became::Sent => matches!(status, Status::Sent),
            Became::Queued => matches!(status, Status::Queued),
            Became::Errored => matches!(status, Status::Errored(_)),
            Became::Filtered => matches!(status, Status::Filtered),
            Became::Passed => matches!(status, Status::Passed),
        }
    }
}

/// Whether a message is meant by a route, a state, or both; without a state, one that the route has anything to do with.
pub fn is_meant(statuses: &[(String, Status)], route: Option<&str>, state: Option<Became>) -> bool {
    let wanted = |status: &Status| match state {
        None => !matches!(status, Status::Filtered | Status::Before),
        Some(state) => state.is(status),
    };
    statuses.iter().any(|(name, status)| route.is_none_or(|route| route == name) && wanted(status))
}

/// The names of all routes that may say something of a message, the one for what could not be translated among them.
pub fn names(routes: &[Options]) -> Vec<String> {
    routes.iter().map(|options| options.route.name.clone()).chain([UNTRANSLATED.to_owned()]).collect()
}

/// What has become of a message on each route that has anything to say of it. The message itself is needed where a route has a filter, or had one ([`Pasts::need_message`]).
pub fn of(
    routes: &[Options],
    (standings, pasts): (&Standings, &Pasts),
    seq: u64,
    outcome: Outcome,
    raw: Option<&[u8]>,
) -> Vec<(String, Status)> {
    let mut found = Vec::new();
    let raw = raw.unwrap_or_default();
    for options in routes {
        let route = &options.route;
        let wants = || route.wants(&Facets { outcome, ..Facets::default() }, raw);
        let status = match standings.of(&route.name, seq) {
            Some(Standing::Dead(letter)) => Status::Errored(letter.clone()),
            Some(Standing::Unsent(unsent)) => Status::Unsent(unsent.clone()),
            // Whatever its filter says, or when it came: somebody sent it.
            Some(Standing::Before | Standing::Settled) if standings.arrived_again(&route.name, seq) => Status::Sent,
            Some(Standing::Before) => Status::Before,
            // It will be judged by the filter of today.
            Some(Standing::Waiting) if !wants() => Status::Filtered,
            Some(Standing::Waiting) => Status::Queued,
            Some(Standing::Settled) => match pasts.wanted(&route.name, seq, outcome, raw) {
                Some(true) => Status::Sent,
                Some(false) => Status::Filtered,
                None => Status::Passed,
            },
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
