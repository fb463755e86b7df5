//! The numbers of a route: which are settled, which still wait, and what of it the state database knows yet.
use crate::journal::{DeadLetter, Position, Step, Tried, Unsent};
use std::collections::{BTreeMap, BTreeSet};

/// What a lane has looked at. Numbers come in order; they are settled in any order.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Numbers before `ahead` that are not settled.
    open: BTreeSet<u64>,
    ahead: u64,
    /// What the database knows.
    kept: u64,
    news: bool,
    settled: Vec<u64>,
    given_up: Vec<DeadLetter>,
    unsent: Vec<Unsent>,
    /// What has failed and still waits.
    tried: BTreeMap<u64, Tried>,
    /// Of those, what the database does not know yet.
    newly_tried: BTreeSet<u64>,
    /// What the database knows as tried and that is settled by now.
    forgotten: Vec<u64>,
}

impl Ledger {
    pub fn new(position: Position) -> Ledger {
        Ledger {
            open: position.waiting.into_iter().collect(),
            ahead: position.ahead,
            kept: position.ahead,
            news: false,
            settled: Vec::new(),
            given_up: Vec::new(),
            unsent: Vec::new(),
            tried: position.tried.into_iter().map(|tried| (tried.seq, tried)).collect(),
            newly_tried: BTreeSet::new(),
            forgotten: Vec::new(),
        }
    }

    /// A number that waits has failed.
    pub fn tried(&mut self, tried: Tried) {
        self.news = true;
        self.newly_tried.insert(tried.seq);
        self.tried.insert(tried.seq, tried);
    }

    /// How a number that waits has failed so far.
    pub fn known(&self, seq: u64) -> Option<&Tried> {
        self.tried.get(&seq)
    }

    /// The first number that has not been looked at.
    pub fn ahead(&self) -> u64 {
        self.ahead
    }

    /// The first number that is not settled.
    pub fn cursor(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.ahead)
    }

    /// Whether a number is still to be looked at, or to be settled.
    pub fn is_due(&self, seq: u64) -> bool {
        seq >= self.ahead || self.open.contains(&seq)
    }

    /// The numbers that have been looked at and wait to be settled.
    pub fn waiting(&self) -> Vec<u64> {
        self.open.iter().copied().collect()
    }

    /// A number has been looked at and waits to be settled.
    pub fn park(&mut self, seq: u64) {
        self.open.insert(seq);
        self.ahead = self.ahead.max(seq + 1);
    }

    /// A number that waited is settled; or it and all up to another are, without having waited.
    pub fn settle(&mut self, seq: u64, last: u64) {
        self.news = true;
        self.ahead = self.ahead.max(last + 1);
        if self.tried.remove(&seq).is_some() {
            self.newly_tried.remove(&seq);
            self.forgotten.push(seq);
        }
        if self.open.remove(&seq) && seq < self.kept {
            self.settled.push(seq);
        }
    }

    /// The same, with a trace.
    pub fn give_up(&mut self, letter: DeadLetter) {
        self.settle(letter.seq, letter.last);
        self.given_up.push(letter);
    }

    /// The same, for a message that need not arrive.
    pub fn pass_over(&mut self, unsent: Unsent) {
        self.settle(unsent.seq, unsent.last);
        self.unsent.push(unsent);
    }

    /// Whether there is something that the database does not know yet and must.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// What the database does not know yet and must; that something has been looked at and waits can be found out again.
    pub fn step(&self) -> Option<Step> {
        self.news.then(|| Step {
            cursor: self.cursor(),
            ahead: self.ahead,
            parked: self.open.range(self.kept..).copied().collect(),
            settled: self.settled.clone(),
            given_up: self.given_up.clone(),
            unsent: self.unsent.clone(),
            tried: self.newly_tried.iter().filter_map(|seq| self.tried.get(seq).copied()).collect(),
            forgotten: self.forgotten.clone(),
        })
    }

    /// The database knows everything now.
    pub fn written(&mut self) {
        (self.kept, self.news) = (self.ahead, false);
        self.settled.clear();
        self.given_up.clear();
        self.unsent.clear();
        self.newly_tried.clear();
        self.forgotten.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stands_at_the_first_that_waits_and_the_rest_is_remembered() {
        let mut ledger = Ledger::new(Position { ahead: 10, waiting: vec![4, 7], tried: vec![] });
        assert_eq!((ledger.cursor(), ledger.ahead(), ledger.step()), (4, 10, None));
        ledger.park(10);
        assert_eq!(ledger.step(), None, "nothing is settled yet");
        ledger.settle(11, 11);
        ledger.park(12);
        ledger.settle(7, 7);
        ledger.settle(10, 10);
        let step = Step { cursor: 4, ahead: 13, parked: vec![12], settled: vec![7], ..Step::default() };
        assert_eq!(ledger.step(), Some(step));
        ledger.written();
        assert_eq!(ledger.step(), None);
        ledger.settle(4, 4);
        ledger.give_up(DeadLetter { seq: 13, last: 15, at_ms: 0, attempts: 0, reason: "damaged".into() });
        let step = ledger.step().unwrap();
        assert!(step.tried.is_empty() && step.forgotten.is_empty());
        assert_eq!((step.cursor, step.ahead, step.settled, step.given_up.len()), (12, 16, vec![4], 1));
    }

    #[test]
    fn what_has_failed_is_known_until_it_is_settled() {
        let (four, twice) =
            (Tried { seq: 4, attempts: 2, since_ms: 100 }, Tried { seq: 4, attempts: 3, since_ms: 100 });
        let mut ledger = Ledger::new(Position { ahead: 5, waiting: vec![4], tried: vec![four] });
        assert_eq!((ledger.known(4), ledger.known(5), ledger.step()), (Some(&four), None, None));
        ledger.tried(twice);
        ledger.park(5);
        ledger.tried(Tried { seq: 5, attempts: 1, since_ms: 200 });
        let step = ledger.step().unwrap();
        assert_eq!((step.parked, step.tried), (vec![5], vec![twice, Tried { seq: 5, attempts: 1, since_ms: 200 }]));
        ledger.written();
        ledger.settle(4, 4);
        let step = ledger.step().unwrap();
        assert_eq!((step.settled, step.forgotten, step.tried), (vec![4], vec![4], vec![]));
        assert_eq!(ledger.known(4), None);
    }
}
