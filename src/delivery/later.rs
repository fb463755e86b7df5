//! Messages of the same patient that a route has delivered since one: to send that one again may put an older state over theirs.
use crate::facets::Facets;
use crate::journal::{DeadLetter, Error, Item, Position, Record, State, Unsent};
use crate::routing::Route;

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
    route: Route,
    patient: u64,
    seq: u64,
    position: Position,
    letters: Vec<DeadLetter>,
    unsent: Vec<Unsent>,
}

impl Gone {
    /// Reads what the route says of what came behind a message. The position is read first: what has moved on since counts as waiting, and is looked at by the lane.
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn read(state: &State, route: &Route, patient: u64, seq: u64, position: Position) -> Result<Gone, Error> {
        let letters = state.dead_letters(&route.name)?;
        let unsent = state.unsent(&route.name, seq + 1, u64::MAX)?;
        Ok(Gone { route: route.clone(), patient, seq, position, letters, unsent })
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

    /// The number of a record, if it is of the patient, came later and has gone out.
    pub fn out(&self, item: &Item) -> Option<u64> {
        match item {
            Item::Record(seq, record) if self.has(*seq, record) => Some(*seq),
            Item::Record(..) | Item::Damaged(_) => None,
        }
    }

    /// Whether a record is of the patient, came later and has gone out.
    pub fn has(&self, seq: u64, record: &Record) -> bool {
        let facets = Facets::decode(&record.facets);
        let same = facets.filter(|facets| facets.patient == Some(self.patient));
        seq > self.seq && same.is_some_and(|facets| self.route.wants(&facets, &record.raw)) && self.has_passed(seq)
    }

    fn has_passed(&self, seq: u64) -> bool {
        // Both are in order and do not overlap: only the last that does not begin behind a number can hold it.
        let letter = self.letters[..self.letters.partition_point(|letter| letter.seq <= seq)].last();
        let passed = self.unsent[..self.unsent.partition_point(|unsent| unsent.seq <= seq)].last();
        let given_up =
            letter.is_some_and(|letter| seq <= letter.last) || passed.is_some_and(|unsent| seq <= unsent.last);
        seq < self.position.ahead && self.position.waiting.binary_search(&seq).is_err() && !given_up
    }
}
