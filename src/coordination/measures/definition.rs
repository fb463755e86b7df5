//! What is measured: which event counts somebody in, and what has to follow by when. Made of the configuration, checked there.
use super::cell::Outcome;
use crate::coordination::Kind;
use crate::coordination::loops::{Pattern, Span};

/// What this part runs on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// The measures, in the order in which they are shown; their ids differ.
    pub definitions: Vec<Definition>,
}

/// A measure.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definition {
    /// Its name in answers, addresses and references.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Of members of these panels; of any, where none is named.
    pub panels: Vec<String>,
    /// How it is told.
    pub rate: Rate,
    /// Fewer are better.
    pub lower_is_better: bool,
    /// An event that one of these fits counts somebody in.
    pub open: Vec<Pattern>,
    /// An event of the same visit or referral that takes them out again, as if there had been none.
    pub void: Vec<Kind>,
    /// An event of the person in the window, before anything closed it: they are shown as excluded.
    pub exclude: Vec<Kind>,
    /// Nobody is counted in again while the window of the last time lasts.
    pub once: bool,
    /// Not before: the first part of `window`.
    pub from: Option<Span>,
    /// Not later: `due`, or the second part of `window`.
    pub due: Span0,
    /// Until then it is shown as late; later than that, not at all.
    pub late_until: Option<Span>,
    /// Which time of what closes it counts.
    pub clock: Clock,
    /// What closes it is of another visit and no earlier.
    pub other_visit: bool,
    /// What closes it has a value of its `loinc` below this.
    pub value_below: Option<f64>,
    /// Or of at most this share of what counted somebody in.
    pub value_share: Option<f64>,
    /// An event that one of these fits closes it. None of a measure that only counts.
    pub close: Vec<Pattern>,
}

/// A time that is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span0(pub Span);

impl Default for Span0 {
    fn default() -> Span0 {
        Span0(Span::Days(0))
    }
}

/// How a measure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// The share of those counted in for whom it happened.
    #[default]
    Share,
    /// How often it happened to a thousand members in a year.
    PerThousand,
}

/// Which time of an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// When it happened.
    #[default]
    Event,
    /// When it was received.
    Received,
    /// How long after it happened it was received, whenever that was: news that comes late is none.
    Notice,
}

impl Definition {
    /// Whether somebody of whom that came is behind the rate: for whom nothing has happened in time, or, where fewer are better, for whom it has.
    pub fn lists(&self, outcome: Outcome) -> bool {
        match (self.rate, self.lower_is_better) {
            (Rate::PerThousand, _) => outcome.counts(),
            (Rate::Share, true) => outcome.is_met(),
            (Rate::Share, false) => outcome.is_open(),
        }
    }

    /// The kinds of events that it is made of.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut all: Vec<Kind> =
            self.open.iter().chain(&self.close).flat_map(|one| one.kinds.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Days after the first one on which something may still come in time. Of hours the last day that they reach, one more where clocks change.
    pub fn days(&self) -> i32 {
        days(self.due.0)
    }

    /// Days before the first one of which something decides: whether they were counted in by then already, or the stay of which the notice is.
    pub fn days_before(&self) -> i32 {
        match (self.once, self.clock) {
            (true, _) => self.late_days(),
            (false, Clock::Notice) => STAY_DAYS,
            _ => 0,
        }
    }

    /// Days after the first one on which anything may still come, late too.
    pub fn late_days(&self) -> i32 {
        self.late_until.map_or(self.days(), days)
    }
}

/// Few stays last longer.
const STAY_DAYS: i32 = 31;

fn days(span: Span) -> i32 {
    match span {
        Span::Days(days) => i32::from(days),
        Span::Ms(ms) => i32::try_from(ms / 86_400_000).unwrap_or(i32::MAX).saturating_add(1),
    }
}
