//! What sending a message once more would mean on each route, before anything is sent.
use super::RouteState;
use super::control::RouteStatus;
use super::tally::Cause;
use crate::delivery::later::{self, Gone, Later, Since};
use crate::delivery::past::Past;
use crate::delivery::resend::{self, Outlets};
use crate::delivery::{Options, UNTRANSLATED, Undone};
use crate::facets::Facets;
use crate::journal::{Error, Record, View};
use crate::search::{Standing as Known, Standings};

/// What has become of a message on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has arrived.
    Delivered,
    /// It was given up.
    DeadLetter,
    /// The route has not come to it, or tries it still.
    Due,
    /// The route's filter of then, or what became of it at intake, kept it away.
    Filtered,
    /// The route is done with it, and whether it was delivered or kept away is not known: by which filter it was judged is not.
    Passed,
    /// It came before the route was there.
    Before,
    /// Somebody dropped its dead letter.
    Dropped,
    /// The route passed it over, as its `replies` say.
    Skipped,
    /// The route sends acknowledgements, and no messages.
    Acknowledges,
}

impl Standing {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Delivered => "delivered",
            Standing::DeadLetter => "dead letter",
            Standing::Due => "queued",
            Standing::Filtered => "filtered",
            Standing::Passed => "passed",
            Standing::Before => "before the route",
            Standing::Dropped => "dropped",
            Standing::Skipped => "skipped",
            Standing::Acknowledges => "acknowledgements",
        }
    }
}

/// A route, and what sending a message there once more would mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// The route.
    pub route: String,
    /// What has become of the message there.
    pub standing: Standing,
    /// The route's filter of today, or what became of it at intake, would keep it away.
    pub unwanted: bool,
    /// What has gone out since.
    pub later: Later,
    /// Where the route stood when that was looked for.
    pub since: Since,
    /// Why it cannot be sent there now.
    pub refusal: Option<Refusal>,
}

/// Why a message cannot be sent to a route as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As one of many it is told under this.
    pub cause: Cause,
    /// Why.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Prospect {
    /// Whether what the route does not want would go to it.
    pub fn keeps_away(&self) -> bool {
        self.unwanted
    }
}

/// What sending a message once more would mean on each route, in their order. Blocks.
///
/// # Errors
/// A journal or a state database that cannot be read.
pub fn prospects(
    view: &mut View,
    outlets: &Outlets,
    statuses: &[RouteStatus],
    seq: u64,
    record: &Record,
) -> Result<Vec<Prospect>, Error> {
    let names: Vec<String> = outlets.routes.iter().map(|options| options.route.name.clone()).collect();
    let names: Vec<String> = names.into_iter().chain([UNTRANSLATED.to_owned()]).collect();
    // Before anything is looked for: what goes out meanwhile is the lane's to find.
    let standings = Standings::read_of(view.state(), &names, &[seq])?;
    let untranslated = matches!(standings.of(UNTRANSLATED, seq), Some(Known::Dead(_)));
    let (mut found, mut gone, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let facets = Facets::decode(&record.facets);
    let patient = facets.as_ref().and_then(|facets| facets.patient);
    for options in &outlets.routes {
        let name = &options.route.name;
        let past = Past::read(view.state(), name)?;
        let wanted = facets.as_ref().and_then(|facets| past.wanted(seq, facets.outcome, &record.raw));
        let standing = standing(options, &standings, seq, wanted);
        let unwanted = match standing {
            Standing::DeadLetter => !resend::takes(&options.route, record),
            _ => !facets.as_ref().is_some_and(|facets| options.route.wants(facets, &record.raw)),
        };
        let position = view.state().position(name)?;
        let since = position.as_ref().map(Since::from).unwrap_or_default();
        if let (Some(position), Some(patient)) = (position, patient) {
            places.push(found.len());
            gone.push(Gone::read(view.state(), name, patient, seq, position)?);
        }
        let state = statuses.iter().find(|status| status.name == *name).map(|status| status.state);
        let refusal = match standing {
            Standing::DeadLetter => None,
            _ => refusal(standing, untranslated, state),
        };
        found.push(Prospect { route: name.clone(), standing, unwanted, later: Later::default(), since, refusal });
    }
    for (place, later) in places.into_iter().zip(later::look(view, &gone, seq, record)?) {
        if let Some(prospect) = found.get_mut(place) {
            prospect.later = later;
        }
    }
    if untranslated {
        let (standing, later) = (Standing::DeadLetter, Later::default());
        found.push(Prospect {
            route: UNTRANSLATED.to_owned(),
            standing,
            unwanted: false,
            later,
            since: Since::default(),
            refusal: None,
        });
    }
    Ok(found)
}

/// `wanted`: whether the route's filter of then let it through, where that is known.
fn standing(options: &Options, standings: &Standings, seq: u64, wanted: Option<bool>) -> Standing {
    match standings.of(&options.route.name, seq) {
        Some(Known::Dead(_)) => Standing::DeadLetter,
        _ if options.target.acknowledges() => Standing::Acknowledges,
        // Whether the route wants it or not: its filter may be another by the time that it comes to it.
        None | Some(Known::Waiting) => Standing::Due,
        Some(Known::Before | Known::Settled) if standings.arrived_again(&options.route.name, seq) => {
            Standing::Delivered
        }
        Some(Known::Before) => Standing::Before,
        Some(Known::Unsent(unsent)) if unsent.dropped => Standing::Dropped,
        Some(Known::Unsent(_)) => Standing::Skipped,
        Some(Known::Settled) => match wanted {
            Some(true) => Standing::Delivered,
            Some(false) => Standing::Filtered,
            None => Standing::Passed,
        },
    }
}

fn refusal(standing: Standing, untranslated: bool, state: Option<RouteState>) -> Option<Refusal> {
    let refused = |cause: Cause, why: &str, remedy: &'static str| Some(Refusal { cause, why: why.to_owned(), remedy });
    let undone = |undone: Undone| refused(Cause::of_lane(&undone), &undone.to_string(), undone.remedy());
    let held = state.filter(|state| *state != RouteState::Started);
    match (standing, held) {
        (Standing::Due, Some(state)) => {
            let why = format!("the route is {} and has not come to it yet", state.name());
            refused(Cause::Queued, &why, "start the route: it sends it by itself")
        }
        (Standing::Due, None) => undone(Undone::Due),
        (Standing::Acknowledges, _) => refused(
            Cause::Filtered,
            "the route sends acknowledgements, and this is none that it gave up",
            "choose another route",
        ),
        _ if untranslated => refused(
            Cause::Unmade,
            "it could not be translated, and lies among the dead letters for that",
            "send the dead letter of `untranslated` again: it goes to all routes that want it, and is none any more",
        ),
        (_, Some(state)) => undone(Undone::Held(state.name())),
        (_, None) => None,
    }
}
