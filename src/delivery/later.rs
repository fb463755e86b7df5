//! Messages of the same patient that a route has delivered since one: to send that one again may put an older state over theirs.
use super::past::Past;
use crate::facets::Facets;
use crate::hl7;
use crate::journal::{Error, Item, Position, Record, SentAgain, State, View};
use crate::search::{Entry, Filter, Index, Order};

/// Where a route stood when somebody looked: what has gone out since is looked for anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    /// The first number that it had not looked at.
    pub ahead: u64,
    /// The numbers before it that waited, ascending.
    pub waiting: Vec<u64>,
}

impl From<&Position> for Since {
    fn from(position: &Position) -> Since {
        Since { ahead: position.ahead, waiting: position.waiting.clone() }
    }
}

/// What is behind a message on one route, and has gone out there.
#[derive(Debug)]
pub struct Gone {
    route: String,
    past: Past,
    patient: u64,
    seq: u64,
    position: Position,
    begun: u64,
}

impl Gone {
    /// Of what came behind a message of a patient on a route that stood there. The position is read before all else: what has moved on since counts as waiting, and is looked at
    /// by the lane.
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn read(state: &State, route: &str, patient: u64, seq: u64, position: Position) -> Result<Gone, Error> {
        let begun = state.begun(route)?.unwrap_or_default();
        Ok(Gone { route: route.to_owned(), past: Past::read(state, route)?, patient, seq, position, begun })
    }

    /// The first number that the route has not looked at.
    pub fn ahead(&self) -> u64 {
        self.position.ahead
    }

    /// Those of some numbers, ascending, that came later and wait no longer.
    pub fn settled_of(&self, waited: &[u64]) -> Vec<u64> {
        let later = waited.iter().copied().filter(|seq| *seq > self.seq);
        later.filter(|seq| self.position.waiting.binary_search(seq).is_err()).collect()
    }

    /// The number of a record, if it is of the patient, came later and has gone out, as [`Gone::has`].
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn out(&self, state: &State, item: &Item) -> Result<Option<u64>, Error> {
        match item {
            Item::Record(seq, record) => Ok(self.has(state, *seq, record)?.then_some(*seq)),
            Item::Damaged(_) => Ok(None),
        }
    }

    /// Whether a record is of the patient, came later and has gone out; also where it may have, as the filter of then is not known.
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn has(&self, state: &State, seq: u64, record: &Record) -> Result<bool, Error> {
        let facets = Facets::decode(&record.facets).filter(|facets| facets.patient == Some(self.patient));
        let Some(facets) = facets.filter(|_| seq > self.seq) else { return Ok(false) };
        // What somebody sent went out, whatever the filter of then or intake had said of it.
        let is_ours = |sent: &SentAgain| sent.reader == self.route && sent.failure.is_none();
        if state.resends(seq)?.iter().any(is_ours) {
            return Ok(true);
        }
        let is_its = seq >= self.begun && self.past.wanted(seq, facets.outcome, &record.raw) != Some(false);
        Ok(is_its && self.has_passed(state, seq)?)
    }

    fn has_passed(&self, state: &State, seq: u64) -> Result<bool, Error> {
        if seq >= self.position.ahead || self.position.waiting.binary_search(&seq).is_ok() {
            return Ok(false);
        }
        let route = &self.route;
        Ok(state.dead_letter_of(route, seq)?.is_none() && state.unsent_of(route, seq)?.is_none())
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

/// Later messages that are counted.
const LATER_MAX: usize = 500;
/// Records that are looked through where the index has not come to yet.
const SCANNED_MAX: u64 = 50_000;

/// What of the patient of a message has gone out since, on each of some routes: by the search index, and by the journal where that has not come to yet. Blocks.
///
/// # Errors
/// A journal or a state database that cannot be read.
pub fn look(view: &mut View, gone: &[Gone], seq: u64, record: &Record) -> Result<Vec<Later>, Error> {
    let mut found = vec![Later::default(); gone.len()];
    let Some(ahead) = gone.iter().map(Gone::ahead).max() else { return Ok(found) };
    let patient = Entry::of(seq, record, &mut hl7::Index::new()).patients.into_iter().next();
    let (candidates, mut next) = indexed(view, patient, seq);
    let cut = candidates.len() >= LATER_MAX;
    let mut note = |state: &State, candidate: u64, record: &Record| -> Result<(), Error> {
        for (gone, later) in gone.iter().zip(&mut found) {
            if gone.has(state, candidate, record)? {
                later.count += 1;
                later.last = later.last.max(Some(candidate));
            }
        }
        Ok(())
    };
    for candidate in candidates {
        match view.record(candidate) {
            Ok(Some(record)) => note(view.state(), candidate, &record)?,
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
            if let Item::Record(seq, record) = item {
                note(view.state(), *seq, record)?;
            }
        }
    }
    if cut || end < ahead {
        found.iter_mut().for_each(|later| later.cut = true);
    }
    Ok(found)
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
