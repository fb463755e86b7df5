//! What a route thought of messages that it is done with: its filter of then says whether one was delivered or kept away, not the one of today.
use super::Options;
use crate::facets::{Facets, Outcome};
use crate::journal::{Error, State};
use crate::routing::{Filter, Route};
use std::collections::BTreeMap;

/// The filters that a route has judged by, as far as they are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    taken_on: Vec<TakenOn>,
}

#[derive(Debug, Clone, PartialEq)]
struct TakenOn {
    since: u64,
    cursor: u64,
    by: By,
}

#[derive(Debug, Clone, PartialEq)]
enum By {
    Everything,
    Filter(Filter),
    /// Written so that this version cannot read it.
    Unknown,
}

impl Past {
    /// Reads them.
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn read(state: &State, route: &str) -> Result<Past, Error> {
        let by = |text: Option<String>| match text.map(|text| Filter::parse(&text)) {
            None => By::Everything,
            Some(Ok(filter)) => By::Filter(filter),
            Some(Err(_)) => By::Unknown,
        };
        let kept = state.filters(route)?.into_iter();
        Ok(Past {
            taken_on: kept.map(|kept| TakenOn { since: kept.since, cursor: kept.cursor, by: by(kept.text) }).collect(),
        })
    }

    /// Whether the route wanted a message that it is done with; `None` where that is not known: it was judged before filters were kept, or it waited while the filter was
    /// changed and the two differ.
    pub fn wanted(&self, seq: u64, outcome: Outcome, raw: &[u8]) -> Option<bool> {
        let everything = Route { name: String::new(), filter: None };
        if !everything.wants(&Facets { outcome, ..Facets::default() }, raw) {
            return Some(false);
        }
        let first = self.taken_on.iter().rposition(|taken| taken.since <= seq);
        let first_of = first.and_then(|first| self.taken_on.get(first));
        let later = self.taken_on.iter().skip(first.map_or(0, |first| first + 1)).filter(|taken| taken.cursor <= seq);
        let mut said = first_of?.by.holds(raw)?;
        for taken in later {
            if taken.by.holds(raw)? != said {
                return None;
            }
            said = taken.by.holds(raw)?;
        }
        Some(said)
    }

    /// Whether that depends on the message itself.
    fn needs_message(&self) -> bool {
        self.taken_on.iter().any(|taken| matches!(taken.by, By::Filter(_)))
    }
}

impl By {
    fn holds(&self, raw: &[u8]) -> Option<bool> {
        match self {
            By::Everything => Some(true),
            By::Filter(filter) => Some(filter.holds(raw)),
            By::Unknown => None,
        }
    }
}

/// Those of several routes.
#[derive(Debug, Clone, Default)]
pub struct Pasts(BTreeMap<String, Past>);

impl Pasts {
    /// Reads them.
    ///
    /// # Errors
    /// A state database that cannot be read.
    pub fn read(state: &State, routes: impl IntoIterator<Item = impl Into<String>>) -> Result<Pasts, Error> {
        let each = |name: String| Past::read(state, &name).map(|past| (name, past));
        routes.into_iter().map(|name| each(name.into())).collect::<Result<_, _>>().map(Pasts)
    }

    /// Whether a route wanted a message that it is done with, as [`Past::wanted`].
    pub fn wanted(&self, route: &str, seq: u64, outcome: Outcome, raw: &[u8]) -> Option<bool> {
        self.0.get(route)?.wanted(seq, outcome, raw)
    }

    /// Whether what any of them, or these routes of today, say depends on the message itself.
    pub fn need_message(&self, today: &[Options]) -> bool {
        today.iter().any(|options| options.route.filter.is_some()) || self.0.values().any(Past::needs_message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Directory, FilteredBy};

    #[test]
    fn the_filter_of_then_judges_and_what_is_not_known_is_said() {
        let temporary = tempfile::tempdir().unwrap();
        let state = State::open(&Directory::open(temporary.path()).unwrap()).unwrap();
        let taken_on = [
            (5, 5, Some("MSH-9.1 = 'ADT'")),
            (10, 8, None),
            (20, 20, Some("MSH-9.1 = 'ORU'")),
            (30, 30, Some("no filter")),
        ];
        for (since, cursor, text) in taken_on {
            state.note_filter("ehr", &FilteredBy { since, cursor, text: text.map(str::to_owned) }).unwrap();
        }
        let (adt, oru) = (b"MSH|^~\\&|||||||ADT^A01\r".as_slice(), b"MSH|^~\\&|||||||ORU^R01\r".as_slice());
        let past = Past::read(&state, "ehr").unwrap();
        let wanted = |seq, raw| past.wanted(seq, Outcome::Translated, raw);
        assert_eq!(
            [4, 5, 9, 10, 19, 20, 29, 30].map(|seq| wanted(seq, adt)),
            [None, Some(true), Some(true), Some(true), Some(true), Some(false), Some(false), None]
        );
        // Those that waited when the filter was taken away were judged by either.
        assert_eq!(
            [5, 7, 8, 9, 10, 20].map(|seq| wanted(seq, oru)),
            [Some(false), Some(false), None, None, Some(true), Some(true)]
        );
        assert_eq!(past.wanted(12, Outcome::Rejected, adt), Some(false), "whatever the filter says");
        assert!(
            past.needs_message() && Past::read(&state, "other").unwrap().wanted(1, Outcome::Translated, adt).is_none()
        );
    }
}
