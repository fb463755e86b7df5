//! What has become of a message on each route, by the state database: where the route stands, what waits, what was given up.
use crate::journal::{DeadLetter, Error, State, Unsent};
use std::collections::{BTreeMap, BTreeSet};

/// What has become of a message on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It came before the route.
    Before,
    /// Passed: delivered, or not wanted by the route's filter. Which of the two only the filter tells.
    Settled,
    /// The route has not come to it, or it waits for another try.
    Waiting,
    /// Given up.
    Dead(&'a DeadLetter),
    /// Passed though it has not arrived: dropped by somebody, or passed over by its route.
    Unsent(&'a Unsent),
}

/// Where routes stand at one moment.
#[derive(Debug)]
pub struct Standings {
    routes: BTreeMap<String, Route>,
}

#[derive(Debug)]
struct Route {
    begun: u64,
    /// The first number that it has not looked at.
    ahead: u64,
    waiting: BTreeSet<u64>,
    /// By their first numbers.
    letters: BTreeMap<u64, DeadLetter>,
    unsent: BTreeMap<u64, Unsent>,
    /// Numbers that have arrived when somebody sent them once more.
    again: BTreeSet<u64>,
}

impl Standings {
    /// Reads where these routes stand.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn read(state: &State, routes: &[String]) -> Result<Standings, Error> {
        let mut found = BTreeMap::new();
        for route in routes {
            // The position first: what is given up meanwhile is then seen as waiting, which it was a moment ago, and never as delivered.
            let (ahead, waiting) = match state.position(route)? {
                Some(position) => (position.ahead, position.waiting.into_iter().collect()),
                None => (0, BTreeSet::new()),
            };
            let letters = state.dead_letters(route)?.into_iter().map(|letter| (letter.seq, letter)).collect();
            let unsent = state.unsent(route, 0, u64::MAX)?.into_iter().map(|unsent| (unsent.seq, unsent)).collect();
            let begun = state.begun(route)?.unwrap_or(0);
            found.insert(route.clone(), Route { begun, ahead, waiting, letters, unsent, again: BTreeSet::new() });
        }
        Ok(Standings { routes: found })
    }

    /// Reads what these routes say of some numbers alone, however much they gave up; [`Standings::dead`] and [`Standings::of`] know no others.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn read_of(state: &State, routes: &[String], seqs: &[u64]) -> Result<Standings, Error> {
        let mut found = BTreeMap::new();
        for route in routes {
            // The position first, as above.
            let (ahead, waiting) = match state.position(route)? {
                Some(position) => (position.ahead, position.waiting.into_iter().collect()),
                None => (0, BTreeSet::new()),
            };
            let (mut letters, mut unsent) = (BTreeMap::new(), BTreeMap::new());
            for seq in seqs {
                letters.extend(state.dead_letter_of(route, *seq)?.map(|letter| (letter.seq, letter)));
                unsent.extend(state.unsent_of(route, *seq)?.map(|unsent| (unsent.seq, unsent)));
            }
            let begun = state.begun(route)?.unwrap_or(0);
            let again = BTreeSet::new();
            found.insert(route.clone(), Route { begun, ahead, waiting, letters, unsent, again });
        }
        for seq in seqs {
            for sent in state.resends(*seq)?.into_iter().filter(|sent| sent.failure.is_none()) {
                if let Some(route) = found.get_mut(&sent.reader) {
                    route.again.insert(*seq);
                }
            }
        }
        Ok(Standings { routes: found })
    }

    /// Whether it has arrived on a route because somebody sent it once more; known of the numbers that were read alone.
    pub fn arrived_again(&self, route: &str, seq: u64) -> bool {
        self.routes.get(route).is_some_and(|route| route.again.contains(&seq))
    }

    /// What has become of a message on a route; `None` for a route that was not read.
    pub fn of(&self, route: &str, seq: u64) -> Option<Standing<'_>> {
        let route = self.routes.get(route)?;
        let letter = route.letters.range(..=seq).next_back().map(|(_, letter)| letter);
        Some(match letter.filter(|letter| seq <= letter.last) {
            Some(letter) => Standing::Dead(letter),
            None if seq >= route.ahead || route.waiting.contains(&seq) => Standing::Waiting,
            None if seq < route.begun => Standing::Before,
            None => match route.unsent.range(..=seq).next_back() {
                Some((_, unsent)) if seq <= unsent.last => Standing::Unsent(unsent),
                _ => Standing::Settled,
            },
        })
    }

    /// The routes that were read.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.keys().map(String::as_str)
    }

    /// The first number that waits on a route: all before it are settled or given up.
    pub fn waits_from(&self, route: &str) -> Option<u64> {
        self.routes.get(route).map(|route| route.waiting.first().copied().unwrap_or(route.ahead).min(route.ahead))
    }

    /// The first numbers of what a route gave up.
    pub fn dead(&self, route: &str) -> impl Iterator<Item = &DeadLetter> {
        self.routes.get(route).into_iter().flat_map(|route| route.letters.values())
    }
}
