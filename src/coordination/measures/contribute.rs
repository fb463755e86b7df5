//! What the facts of one person add to the counters: a function of the facts and the definitions, nothing else. Time does not enter: whether a window is over is for
//! whoever asks, by the date that stands in each cell.
//!
//! ```text
//! facts in the order of the journal, without those that were taken back
//!   for each measure: who is counted in (open), not taken out again (void), not twice for one visit or referral
//!     the best of what closes it: in time before late, without labels before with them, told before inferred
//!     else excluded, where something that excludes came in the window, else missing
//!     → one cell for each panel that the person was in at that event
//! ```
use super::definition::{Clock, Definition};
use super::fact::{Coded, Damaged, Fact, Facts, WEAK};
use super::lens::{Compiled, Fit, Lens, bit};
use crate::coordination::Kind;
use crate::coordination::loops::Span;

/// What became of somebody who was counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing so far.
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
}

impl Outcome {
    /// Every one.
    pub const ALL: [Outcome; 6] =
        [Outcome::Missing, Outcome::Met, Outcome::MetInferred, Outcome::Late, Outcome::LateInferred, Outcome::Excluded];

    /// The outcome of that number.
    pub fn of(number: i64) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|one| *one as i64 == number)
    }

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Missing => "missing",
            Outcome::Met | Outcome::MetInferred => "met",
            Outcome::Late | Outcome::LateInferred => "late",
            Outcome::Excluded => "excluded",
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
    /// Labels that must be cleared to know that they were counted in; the second are all of that event, for recipients to whom an event with any of them is none.
    pub labels: (u64, u64),
    /// The same of what closed it.
    pub closed: (u64, u64),
    /// What became of it.
    pub outcome: Outcome,
}

/// One time that somebody was counted in, for drill-down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Without its panel, which is 0.
    pub cell: Cell,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Word of the set of panels.
    pub panels: u32,
    /// When what closed it came, by the clock of the measure.
    pub closed_ms: Option<i64>,
}

/// Room that is used again from person to person.
#[derive(Debug, Default)]
pub struct Scratch {
    facts: Facts,
    gone: Vec<bool>,
    kinds: u32,
}

impl Scratch {
    /// The facts, to be filled.
    pub fn facts(&mut self) -> &mut Facts {
        self.facts.clear();
        &mut self.facts
    }

    /// One more, the newest.
    pub(super) fn add(&mut self, fact: Fact, codes: &[Coded], acting: &[u64]) {
        self.facts.push(fact, codes, acting);
    }

    /// More of the same person, as they are kept; how many.
    pub(super) fn more(&mut self, blob: &[u8]) -> Result<u64, Damaged> {
        let before = self.facts.list.len();
        self.facts.decode(blob)?;
        Ok((self.facts.list.len() - before) as u64)
    }

    /// In the order of the journal, and without what was taken back.
    fn settle(&mut self) {
        let Scratch { facts, gone, kinds } = self;
        facts.list.sort_by_key(|fact| fact.seq);
        gone.clear();
        gone.resize(facts.list.len(), false);
        *kinds = facts.list.iter().fold(0, |all, fact| all | 1_u32.checked_shl(fact.kind.into()).unwrap_or(0));
        if *kinds & TAKING_BACK == 0 {
            return;
        }
        for at in 0..facts.list.len() {
            let Some(back) = facts.list.get(at).copied() else { break };
            let takes = taken_back(back.kind);
            if takes == 0 {
                continue;
            }
            for (earlier, gone) in facts.list.iter_mut().zip(gone.iter_mut()).take(at) {
                if !*gone && takes >> earlier.kind & 1 == 1 && is_of(&back, earlier) {
                    if back.kind == Kind::AppointmentChanged as u8 {
                        earlier.start = back.start;
                    } else {
                        *gone = true;
                    }
                }
            }
        }
    }
}

const fn one(kind: Kind) -> u32 {
    1 << kind as u32
}

/// Kinds that change what was said before.
const TAKING_BACK: u32 = one(Kind::AdmissionCancelled)
    | one(Kind::DischargeCancelled)
    | one(Kind::TransferCancelled)
    | one(Kind::DocumentCancelled)
    | one(Kind::AppointmentCancelled)
    | one(Kind::AppointmentNoShow)
    | one(Kind::AppointmentChanged);

/// What an event of a kind takes back.
fn taken_back(kind: u8) -> u32 {
    const BEGINS: u32 = one(Kind::Admission) | one(Kind::EdVisit) | one(Kind::OutpatientVisit);
    const ENDS: u32 = one(Kind::Discharge) | one(Kind::EdDischarge);
    let is = |one: Kind| kind == one as u8;
    if is(Kind::AdmissionCancelled) {
        BEGINS | ENDS
    } else if is(Kind::DischargeCancelled) {
        ENDS
    } else if is(Kind::TransferCancelled) {
        one(Kind::Transfer)
    } else if is(Kind::DocumentCancelled) {
        one(Kind::Document)
    } else if is(Kind::AppointmentCancelled) || is(Kind::AppointmentNoShow) || is(Kind::AppointmentChanged) {
        one(Kind::AppointmentBooked)
    } else {
        0
    }
}

/// Whether what is taken back is that.
fn is_of(back: &Fact, earlier: &Fact) -> bool {
    if back.appointment.is_some() || earlier.appointment.is_some() {
        back.appointment.same(earlier.appointment)
    } else if back.kind == Kind::DocumentCancelled as u8 {
        back.document.same(earlier.document)
    } else {
        back.visit != 0 && back.visit == earlier.visit
    }
}

/// How sure it is that a fact is of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    Told,
    Inferred,
}

/// What closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Closing {
    late: bool,
    link: Link,
    labels: (u64, u64),
    at_ms: i64,
    clock_ms: i64,
}

impl Closing {
    /// Less is better.
    fn rank(&self) -> (bool, bool, Link, i64) {
        (self.late, self.labels.0 != 0, self.link, self.clock_ms)
    }
}

impl Lens {
    /// What the facts of one person, which stand in `scratch`, add: each once for each time that they were counted in.
    pub fn cases(&self, scratch: &mut Scratch, mut each: impl FnMut(Case)) {
        scratch.settle();
        for (measure, (definition, compiled)) in (0..).zip(self.definitions().iter().zip(&self.compiled)) {
            if compiled.open.iter().all(|fit| fit.kinds & scratch.kinds == 0) {
                continue;
            }
            let person = Person { lens: self, definition, compiled, facts: &scratch.facts, gone: &scratch.gone };
            person.cases(measure, &mut each);
        }
    }

    /// The same as cells, one for each panel.
    pub fn contributions(&self, scratch: &mut Scratch, mut each: impl FnMut(Cell)) {
        self.cases(scratch, |case| {
            let definition = self.definitions().get(case.cell.measure as usize);
            let of = definition.map_or(&[][..], |definition| definition.panels.as_slice());
            for panel in self.panels(case.panels) {
                if of.is_empty() || self.is_one_of(*panel, of) {
                    each(Cell { panel: *panel, ..case.cell });
                }
            }
        });
    }
}

/// The facts of a person under one measure.
struct Person<'a> {
    lens: &'a Lens,
    definition: &'a Definition,
    compiled: &'a Compiled,
    facts: &'a Facts,
    gone: &'a [bool],
}

impl Person<'_> {
    fn alive(&self) -> impl Iterator<Item = (usize, &Fact)> {
        self.facts.list.iter().enumerate().filter(|(at, _)| !self.gone.get(*at).copied().unwrap_or(true))
    }

    fn cases(&self, measure: u32, each: &mut impl FnMut(Case)) {
        // Those of now whose visit or referral may come again.
        let mut counted: Vec<(usize, i32)> = Vec::new();
        for (at, opener) in self.alive() {
            let fitting =
                self.compiled.open.iter().filter_map(|fit| Some((fit, self.lens.fits(fit, opener, self.facts)?)));
            let Some((open, labels)) = fitting.min_by_key(|(_, labels)| labels.count_ones()) else { continue };
            if self.lens.panels(opener.panels).is_empty() || self.is_again(opener, &counted) || self.is_void(opener) {
                continue;
            }
            counted.push((at, opener.day));
            let found = self.closing(at, opener, open);
            let excluded = self.excluded(opener, found);
            let outcome = match (found, excluded) {
                (_, Some(_)) => Outcome::Excluded,
                (None, None) => Outcome::Missing,
                (Some(Closing { late: false, link: Link::Told, .. }), _) => Outcome::Met,
                (Some(Closing { late: false, link: Link::Inferred, .. }), _) => Outcome::MetInferred,
                (Some(Closing { late: true, link: Link::Told, .. }), _) => Outcome::Late,
                (Some(Closing { late: true, link: Link::Inferred, .. }), _) => Outcome::LateInferred,
            };
            let closed = found.filter(|_| excluded.is_none());
            // That somebody is excluded tells of what did it.
            let (over, all) = excluded.unwrap_or_default();
            let cell = Cell {
                panel: 0,
                measure,
                day: opener.day,
                facility: opener.facility,
                labels: (labels | over, opener.all | all),
                closed: closed.map_or((0, 0), |closed| closed.labels),
                outcome,
            };
            let closed_ms = closed.map(|closed| closed.clock_ms);
            each(Case { cell, at_ms: opener.at_ms, panels: opener.panels, closed_ms });
        }
    }

    /// Whether they are counted in for the same already.
    fn is_again(&self, opener: &Fact, counted: &[(usize, i32)]) -> bool {
        counted.iter().any(|(at, day)| {
            let Some(earlier) = self.facts.list.get(*at) else { return false };
            let same = if opener.referral.is_some() && earlier.referral.is_some() {
                opener.referral.same(earlier.referral)
            } else {
                opener.visit != 0 && opener.visit == earlier.visit && !opener.referral.is_some()
            };
            same || (self.definition.once && (opener.day - day).abs() <= self.definition.late_days())
        })
    }

    /// Whether something takes them out again.
    fn is_void(&self, opener: &Fact) -> bool {
        let void = self.compiled.void;
        void != 0 && self.alive().any(|(_, fact)| void >> fact.kind & 1 == 1 && names(opener, fact))
    }

    /// The labels of what excludes them: it came in the window, and before what closed it.
    fn excluded(&self, opener: &Fact, found: Option<Closing>) -> Option<(u64, u64)> {
        let exclude = self.compiled.exclude;
        if exclude == 0 {
            return None;
        }
        let until_ms = found.filter(|found| !found.late).map_or(i64::MAX, |found| found.at_ms);
        let admission = bit(Kind::Admission);
        let excludes = |fact: &&Fact| {
            let other = 1 << fact.kind & admission == 0 || opener.visit == 0 || fact.visit != opener.visit;
            let in_window = fact.day - opener.day <= self.definition.days();
            exclude >> fact.kind & 1 == 1 && other && in_window && fact.at_ms >= opener.at_ms && fact.at_ms < until_ms
        };
        let found = self.alive().map(|(_, fact)| fact).filter(excludes);
        found.map(|fact| (fact.whole, fact.all)).min_by_key(|labels| (labels.0.count_ones(), labels.1.count_ones()))
    }

    /// The best of what closes it.
    fn closing(&self, at: usize, opener: &Fact, open: &Fit) -> Option<Closing> {
        let mut best: Option<Closing> = None;
        for (place, fact) in self.alive() {
            if self.compiled.closers >> fact.kind & 1 == 0 || fact.day - opener.day > self.definition.late_days() + 1 {
                continue;
            }
            for close in &self.compiled.close {
                if close.kinds >> fact.kind & 1 == 0 || (place == at && !close.same_visit) {
                    continue;
                }
                let Some(found) = self.closes(opener, open, fact, close, place == at) else { continue };
                if best.is_none_or(|best| found.rank() < best.rank()) {
                    best = Some(found);
                }
            }
        }
        best
    }

    fn closes(&self, opener: &Fact, open: &Fit, fact: &Fact, close: &Fit, itself: bool) -> Option<Closing> {
        let definition = self.definition;
        let late = self.late(opener, fact)?;
        let labels = self.lens.fits(close, fact, self.facts)?;
        let other = (opener.visit == 0 || fact.visit != opener.visit) && fact.at_ms >= opener.at_ms && !itself;
        if definition.other_visit && !other {
            return None;
        }
        let link = match (itself, definition.other_visit) {
            // That it is another one is what is asked, and told.
            (true, _) | (_, true) => Link::Told,
            _ => self.link(opener, fact, close)?,
        };
        let happened_ms = if fact.appointment.is_some() && fact.start.0 != 0 { fact.start.0 } else { fact.at_ms };
        if link == Link::Inferred && happened_ms < opener.at_ms {
            return None;
        }
        if !self.has_value(opener, open, fact, close) || !self.starts(opener, fact, close) {
            return None;
        }
        if !self.lens.with_provider(close, fact, self.lens.panels(opener.panels)) {
            return None;
        }
        let clock_ms = if definition.clock == Clock::Event { fact.at_ms } else { fact.received_ms };
        Some(Closing { late, link, labels: (labels, fact.all), at_ms: fact.at_ms, clock_ms })
    }

    /// Whether it comes in time (`false`), or late; none where it is no use any more, or too early.
    fn late(&self, opener: &Fact, fact: &Fact) -> Option<bool> {
        let Definition { from, due, late_until, clock, .. } = self.definition;
        let (days, ms) = match clock {
            Clock::Event => (fact.day - opener.day, fact.at_ms - opener.at_ms),
            Clock::Received => (fact.received_day - opener.day, fact.received_ms - opener.at_ms),
            Clock::Notice => (fact.received_day - fact.day, fact.received_ms - fact.at_ms),
        };
        let within = |span: Span| match span {
            Span::Days(most) => days <= i32::from(most),
            Span::Ms(most) => ms <= most,
        };
        let begun = from.is_none_or(|from| match from {
            Span::Days(least) => days >= i32::from(least),
            Span::Ms(least) => ms >= least,
        });
        if !begun {
            return None;
        }
        match (within(due.0), late_until) {
            (true, _) => Some(false),
            (false, Some(until)) if within(*until) => Some(true),
            _ => None,
        }
    }

    fn has_value(&self, opener: &Fact, open: &Fit, fact: &Fact, close: &Fit) -> bool {
        let Definition { value_below, value_share, .. } = self.definition;
        if value_below.is_none() && value_share.is_none() {
            return true;
        }
        let Some(value) = self.lens.value(close, fact, self.facts) else { return false };
        let first = self.lens.value(open, opener, self.facts);
        value_below.is_none_or(|below| value < below)
            && value_share.is_none_or(|share| first.is_some_and(|first| value <= first * share))
    }

    /// Whether an appointment starts when it should.
    fn starts(&self, opener: &Fact, fact: &Fact, close: &Fit) -> bool {
        let Some(within) = close.starts_within else { return true };
        let (start_ms, start_day) = fact.start;
        fact.start != (0, 0)
            && start_ms >= opener.at_ms
            && match within {
                Span::Days(days) => start_day - opener.day <= i32::from(days),
                Span::Ms(ms) => start_ms - opener.at_ms <= ms,
            }
    }

    /// Whether a fact is of the same, and how that is known: by the referral, the visit, the parent of the document, else by person, provider and time.
    fn link(&self, opener: &Fact, fact: &Fact, close: &Fit) -> Option<Link> {
        if opener.referral.is_some() && fact.referral.is_some() {
            return opener.referral.same(fact.referral).then_some(Link::Told);
        }
        if opener.visit != 0 && fact.visit != 0 {
            if opener.visit == fact.visit {
                return Some(if opener.has(WEAK) { Link::Inferred } else { Link::Told });
            }
            if close.same_visit {
                return None;
            }
        }
        let named = || self.alive().map(|(_, other)| other).filter(|other| names(opener, other));
        if fact.parent.is_some() && named().any(|other| other.document.same(fact.parent)) {
            return Some(Link::Told);
        }
        // What should name the visit or the referral and does not must at least be of the same people. Who refers is not who is referred to.
        let must_share = close.same_visit || opener.referral.is_some();
        let shares = || {
            let ours = named().filter(|other| !opener.referral.is_some() || other.seq != opener.seq);
            ours.flat_map(|other| self.facts.acting(other)).any(|npi| self.facts.acting(fact).contains(npi))
        };
        (!must_share || shares()).then_some(Link::Inferred)
    }
}

/// Whether a fact names the referral or visit of an opener.
fn names(opener: &Fact, fact: &Fact) -> bool {
    if opener.referral.is_some() && fact.referral.is_some() {
        opener.referral.same(fact.referral)
    } else {
        opener.visit != 0 && opener.visit == fact.visit
    }
}
