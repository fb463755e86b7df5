//! What sending a message once more would mean on each route, before anything is sent.
use super::RouteState;
use super::control::RouteStatus;
use crate::delivery::later::{Gone, Since};
use crate::delivery::resend::Outlets;
use crate::delivery::{Options, UNTRANSLATED, Undone};
use crate::facets::Facets;
use crate::hl7;
use crate::journal::{Error, Record, View};
use crate::search::{Entry, Filter, Index, Order, Standing as Known, Standings};

/// What has become of a message on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has arrived.
    Delivered,
    /// It was given up.
    DeadLetter,
    /// The route has not come to it, or tries it still.
    Due,
    /// The route's filter, or what became of it at intake, kept it away.
    Filtered,
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
            Standing::Before => "before the route",
            Standing::Dropped => "dropped",
            Standing::Skipped => "skipped",
            Standing::Acknowledges => "acknowledgements",
        }
    }
}

/// Messages of the same patient that a route has delivered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Later {
    /// How many were found.
    pub count: u64,
    /// The number of the last of them.
    pub last: Option<u64>,
    /// It was not looked through to the end: there may be more.
    pub cut: bool,
}

impl Later {
    /// Whether an older state may be put over theirs.
    pub fn warns(self) -> bool {
        self.count > 0 || self.cut
    }
}

/// A route, and what sending a message there once more would mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// The route.
    pub route: String,
    /// What has become of the message there.
    pub standing: Standing,
    /// What has gone out since.
    pub later: Later,
    /// Where the route stood when that was looked for.
    pub since: Since,
    /// Why it cannot be sent there now, and what to do.
    pub refusal: Option<(String, &'static str)>,
}

/// Later messages that are counted.
const LATER_MAX: usize = 500;
/// Records that are looked through where the index has not come to yet.
const SCANNED_MAX: u64 = 50_000;

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
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    for options in &outlets.routes {
        let name = &options.route.name;
        let standing = standing(options, &standings, seq, record);
        let position = view.state().position(name)?;
        let since = position.as_ref().map(Since::from).unwrap_or_default();
        let patient = Facets::decode(&record.facets).and_then(|facets| facets.patient);
        if let (Some(position), Some(patient)) = (position, patient) {
            gone.push((found.len(), Gone::read(view.state(), &options.route, patient, seq, position)?));
        }
        let state = statuses.iter().find(|status| status.name == *name).map(|status| status.state);
        let refusal = match standing {
            Standing::DeadLetter => None,
            _ => refusal(standing, untranslated, state),
        };
        found.push(Prospect { route: name.clone(), standing, later: Later::default(), since, refusal });
    }
    look_for_later(view, &mut found, &gone, seq, record)?;
    if untranslated {
        let (standing, later) = (Standing::DeadLetter, Later::default());
        found.push(Prospect {
            route: UNTRANSLATED.to_owned(),
            standing,
            later,
            since: Since::default(),
            refusal: None,
        });
    }
    Ok(found)
}

fn standing(options: &Options, standings: &Standings, seq: u64, record: &Record) -> Standing {
    let wants = Facets::decode(&record.facets).is_some_and(|facets| options.route.wants(&facets, &record.raw));
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
        Some(Known::Settled) if !wants => Standing::Filtered,
        Some(Known::Settled) => Standing::Delivered,
    }
}

fn refusal(standing: Standing, untranslated: bool, state: Option<RouteState>) -> Option<(String, &'static str)> {
    let undone = |undone: Undone| Some((undone.to_string(), undone.remedy()));
    let held = state.filter(|state| *state != RouteState::Started);
    match (standing, held) {
        (Standing::Due, Some(state)) => {
            let why = format!("the route is {} and has not come to it yet", state.name());
            Some((why, "start the route: it sends it by itself"))
        }
        (Standing::Due, None) => undone(Undone::Due),
        (Standing::Acknowledges, _) => Some((
            "the route sends acknowledgements, and this is none that it gave up".to_owned(),
            "choose another route",
        )),
        _ if untranslated => {
            let why = "it could not be translated, and lies among the dead letters for that".to_owned();
            Some((
                why,
                "send the dead letter of `untranslated` again: it goes to all routes that want it, and is none any more",
            ))
        }
        (_, Some(state)) => undone(Undone::Held(state.name())),
        (_, None) => None,
    }
}

/// Counts what has gone out since: by the search index, and by the journal where that has not come to yet.
fn look_for_later(
    view: &mut View,
    found: &mut [Prospect],
    gone: &[(usize, Gone)],
    seq: u64,
    record: &Record,
) -> Result<(), Error> {
    let Some(ahead) = gone.iter().map(|(_, gone)| gone.ahead()).max() else { return Ok(()) };
    let entry = Entry::of(seq, record, &mut hl7::Index::new());
    let (candidates, mut next) = indexed(view, entry.patients.into_iter().next(), seq);
    let cut = candidates.len() >= LATER_MAX;
    let mut note = |candidate: u64, record: &Record| {
        for (at, gone) in gone {
            if gone.has(candidate, record)
                && let Some(prospect) = found.get_mut(*at)
            {
                prospect.later.count += 1;
                prospect.later.last = prospect.later.last.max(Some(candidate));
            }
        }
    };
    for candidate in candidates {
        match view.record(candidate) {
            Ok(Some(record)) => note(candidate, &record),
            Ok(None) | Err(Error::Pruned { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let end = ahead.min(next.saturating_add(SCANNED_MAX));
    while next < end {
        let items = view.records(next)?;
        let Some(last) = items.last() else { break };
        next = last.next();
        for item in &items {
            if let crate::journal::Item::Record(seq, record) = item {
                note(*seq, record);
            }
        }
    }
    if cut || end < ahead {
        found.iter_mut().for_each(|prospect| prospect.later.cut = true);
    }
    Ok(())
}

/// Messages that name the patient behind a number, by the index, and the first number that it does not know. An index that cannot be read knows nothing.
fn indexed(view: &View, patient: Option<String>, seq: u64) -> (Vec<u64>, u64) {
    let from = seq + 1;
    let look = || -> Result<(Vec<u64>, u64), crate::search::Error> {
        let index = Index::open(view.path())?;
        // First: what is added meanwhile is looked at twice at most, below.
        let next = index.next()?.max(from);
        let filter = Filter { patient, first: Some(from), last: Some(next - 1), ..Filter::default() };
        if filter.patient.is_none() || next == from {
            return Ok((Vec::new(), from));
        }
        let page = index.page(&filter, Order::OldestFirst, LATER_MAX)?;
        Ok((page.into_iter().map(|entry| entry.seq).collect(), next))
    };
    look().unwrap_or((Vec::new(), from))
}
