//! Where somebody counts, and what became of them: one outcome for each who may know more or less.
use super::counting::Cleared;

/// What became of somebody who was counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing so far.
    #[default]
    Missing = 0,
    /// It happened in time, and said of which visit or referral.
    Met = 1,
    /// It happened in time; person, provider and time fit.
    MetInferred = 2,
    /// It came late.
    Late = 3,
    /// It came late, and did not say of what.
    LateInferred = 4,
    /// Something else came before it could.
    Excluded = 5,
    /// They were not to be counted in after all.
    Void = 6,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Outcome; 7] = [
        Outcome::Missing,
        Outcome::Met,
        Outcome::MetInferred,
        Outcome::Late,
        Outcome::LateInferred,
        Outcome::Excluded,
        Outcome::Void,
    ];

    /// The outcome of that number.
    pub fn of(number: u8) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|one| *one as u8 == number)
    }

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Missing => "missing",
            Outcome::Met | Outcome::MetInferred => "met",
            Outcome::Late | Outcome::LateInferred => "late",
            Outcome::Excluded => "excluded",
            Outcome::Void => "void",
        }
    }

    /// Whether it happened in time.
    pub fn is_met(self) -> bool {
        matches!(self, Outcome::Met | Outcome::MetInferred)
    }

    /// Whether somebody might still call.
    pub fn is_open(self) -> bool {
        matches!(self, Outcome::Missing | Outcome::Late | Outcome::LateInferred)
    }

    /// Whether they are counted at all.
    pub fn counts(self) -> bool {
        !matches!(self, Outcome::Excluded | Outcome::Void)
    }
}

/// Outcomes of one case that are told apart by who may know of them.
pub const WAYS_MAX: usize = 3;

/// An outcome, and the labels that must be cleared to know of it; the second are all of the event, for recipients to whom an event with any of them is none.
pub type Way = ((u64, u64), Outcome);

/// What became of somebody, for everybody: the first that is cleared is what one sees. To whom none is cleared nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ways([Way; WAYS_MAX]);

impl Ways {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Way> {
        self.0.iter().take_while(|(_, outcome)| *outcome != Outcome::Missing)
    }

    /// One more, after those that are there, and its place; none where whoever may know of it knows of one before. One that everybody may know of always has room.
    pub(super) fn push(&mut self, labels: (u64, u64), outcome: Outcome) -> Option<usize> {
        let within = |known: (u64, u64)| known.0 & !labels.0 == 0 && known.1 & !labels.1 == 0;
        if self.iter().any(|(known, _)| within(*known)) {
            return None;
        }
        let mut place = self.iter().count();
        if place == WAYS_MAX && labels == (0, 0) {
            place -= 1;
        }
        *self.0.get_mut(place)? = (labels, outcome);
        Some(place)
    }

    /// The place of what somebody sees.
    pub(super) fn place(&self, cleared: Cleared) -> Option<usize> {
        self.iter().position(|(labels, _)| cleared.covers(*labels))
    }

    /// The one at a place.
    pub(super) fn at(&self, place: Option<usize>) -> Way {
        place.and_then(|place| self.0.get(place)).copied().unwrap_or_default()
    }

    /// What somebody sees.
    pub(super) fn seen(&self, cleared: Cleared) -> Outcome {
        self.at(self.place(cleared)).1
    }

    /// Every outcome that anybody sees.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        let all_know = self.iter().any(|(labels, _)| *labels == (0, 0));
        self.iter().map(|(_, outcome)| *outcome).chain((!all_know).then_some(Outcome::Missing))
    }

    /// As it is kept: outcome and labels, and of one without labels its outcome alone.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for ((needed, carried), outcome) in self.iter() {
            out.push(*outcome as u8);
            if (*needed, *carried) != (0, 0) {
                out.extend(needed.to_be_bytes());
                out.extend(carried.to_be_bytes());
            }
        }
        out
    }

    /// What was kept; what is not of this form tells of nothing.
    pub(super) fn decode(mut rest: &[u8]) -> Ways {
        let mut ways = Ways::default();
        for way in &mut ways.0 {
            let Some((outcome, more)) = rest.split_first() else { break };
            let number = |list: Option<&[u8; 8]>| list.map_or(0, |bytes| u64::from_be_bytes(*bytes));
            let labels = (number(more.first_chunk()), number(more.get(8..).and_then(<[u8]>::first_chunk)));
            *way = (labels, Outcome::of(*outcome).unwrap_or_default());
            rest = more.get(16..).unwrap_or_default();
        }
        ways
    }
}

/// Where somebody counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Word of the panel.
    pub panel: u32,
    /// Place of the definition.
    pub measure: u32,
    /// The date on which they were counted in, in days since 1970.
    pub day: i32,
    /// Word of the facility where.
    pub facility: u32,
    /// Labels that must be cleared to know that they were counted in; the second are all of that event.
    pub labels: (u64, u64),
    /// What became of it.
    pub ways: Ways,
    /// Of all cases of the person in this panel and measure that the same may know of the first in its month (1), its quarter (2), its year (3), or not (0).
    pub first: u8,
}

/// One time that somebody was counted in, for drill-down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Without its panel, which is 0.
    pub cell: Cell,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// The number of the message that told of it.
    pub seq: u64,
    /// Word of the set of panels.
    pub panels: u32,
    /// When what closed it came, by the clock of the measure; by the place in `ways`.
    pub closed_ms: [Option<i64>; WAYS_MAX],
    /// The visit that counted them in, hashed.
    pub visit: u64,
    /// Those of what became of it; by the place in `ways`.
    pub visits: [u64; WAYS_MAX],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_read_back_and_who_may_know_less_sees_less() {
        let mut ways = Ways::default();
        assert_eq!(Ways::decode(&ways.encode()), ways);
        assert_eq!(ways.outcomes().collect::<Vec<_>>(), [Outcome::Missing]);
        assert_eq!(ways.push((2, 3), Outcome::Excluded), Some(0));
        assert_eq!(ways.push((2, 7), Outcome::Met), None, "whoever is cleared for it knows of the first");
        assert_eq!(ways.push((4, 4), Outcome::Met), Some(1));
        assert_eq!(ways.push((8, 8), Outcome::Met), Some(2));
        assert_eq!(Ways::decode(&ways.encode()), ways);
        assert_eq!(ways.push((0, 0), Outcome::Late), Some(2), "what everybody may know has room");
        assert_eq!(Ways::decode(&ways.encode()), ways);
        assert_eq!(ways.outcomes().collect::<Vec<_>>(), [Outcome::Excluded, Outcome::Met, Outcome::Late]);
    }
}
