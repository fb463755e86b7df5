//! What the facts of one person add to the counters: a function of the facts and the definitions, nothing else. Time does not enter: whether a window is over is for
//! whoever asks, by the date that stands in each cell.
//!
//! ```text
//! facts in the order of the journal, without those that were taken back
//!   for each measure: who is counted in (open), not taken out again (void), not twice for one visit or referral
//!     the first that comes in time: it is closed, or excluded; else excluded where they had left by the end of the window; else the best of what comes late, told before inferred; else missing
//!     and the same for whoever may not know of that, as if it had not been: list and rate are one for each of them
//!     → one cell for each panel that the person was in at that event
//! ```
use super::cell::{Case, Cell, Outcome, WAYS_MAX, Ways};
use super::counting::ALL;
use super::definition::{Clock, Definition, Rate};
use super::fact::{Fact, Facts, LEFT, WEAK};
use super::lens::{Compiled, Fit, Lens};
use super::period::month_of;
use super::settle::{BEGINS, ENDS, LAST_MS, Scratch, one, taken_back};
use crate::coordination::Kind;
use crate::coordination::loops::Span;

/// How sure it is that a fact is of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    Told,
    Inferred,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// It is none.
    Void,
    /// It was closed, late or in time.
    Closed(bool, Link),
    /// Something else came.
    Excluded,
    /// They were in no roster any more when the window was over.
    Left,
}

/// Something that came after somebody was counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Came {
    what: What,
    labels: (u64, u64),
    at_ms: i64,
    clock_ms: i64,
    visit: u64,
}

impl Came {
    /// Less is better: what voids, then what comes in time in its order; that they left, of whom nobody told in time; then what comes late.
    fn rank(&self) -> (u8, i64, u8, i64) {
        match self.what {
            What::Void => (0, 0, 0, 0),
            What::Closed(false, link) => (1, self.at_ms, link as u8, self.clock_ms),
            What::Excluded => (1, self.at_ms, 2, 0),
            What::Left => (2, 0, 0, 0),
            What::Closed(true, link) => (3, 0, link as u8, self.clock_ms),
        }
    }

    fn outcome(&self) -> Outcome {
        match self.what {
            What::Void => Outcome::Void,
            What::Excluded | What::Left => Outcome::Excluded,
            What::Closed(false, Link::Told) => Outcome::Met,
            What::Closed(false, Link::Inferred) => Outcome::MetInferred,
            What::Closed(true, Link::Told) => Outcome::Late,
            What::Closed(true, Link::Inferred) => Outcome::LateInferred,
        }
    }
}

/// What became of it for each who may know more or less, and when what closed it came, of which visit.
fn ways(came: &mut [Came]) -> (Ways, [(Option<i64>, u64); WAYS_MAX]) {
    came.sort_by_key(Came::rank);
    let (mut ways, mut closed) = (Ways::default(), [(None, 0); WAYS_MAX]);
    for one in came.iter() {
        let within = |other: &&Came| other.labels.0 & !one.labels.0 == 0 && other.labels.1 & !one.labels.1 == 0;
        // In time by inference: one that says so itself is as good, for whoever may know of it.
        let told = || came.iter().filter(|other| other.what == What::Closed(false, Link::Told)).find(within);
        let best = if one.what == What::Closed(false, Link::Inferred) { told().unwrap_or(one) } else { one };
        if let Some(place) = ways.push(one.labels, best.outcome())
            && let Some(closed) = closed.get_mut(place)
        {
            *closed = (matches!(best.what, What::Closed(..)).then_some(best.clock_ms), best.visit);
        }
        if one.labels == (0, 0) {
            break;
        }
    }
    (ways, closed)
}

impl Lens {
    /// What the facts of one person, which stand in `scratch`, are of one measure: each once for each time that they were counted in.
    pub fn cases(&self, scratch: &mut Scratch, measure: usize, each: impl FnMut(Case)) {
        scratch.settle(&self.marks);
        self.settled(scratch, measure, each);
    }

    pub(super) fn settled(&self, scratch: &Scratch, measure: usize, mut each: impl FnMut(Case)) {
        let (Some(definition), Some(compiled)) = (self.definitions().get(measure), self.compiled.get(measure)) else {
            return;
        };
        if compiled.open.iter().any(|fit| fit.kinds & scratch.kinds != 0) {
            let Scratch { facts, gone, order, .. } = scratch;
            let person = Person { lens: self, definition, compiled, facts, gone, order };
            person.cases(u32::try_from(measure).unwrap_or(u32::MAX), &mut each);
        }
    }

    /// The measures that a new fact may change, by their bits: those that ask for its kind or for what it changes of other facts. It is the newest, and carries no label.
    pub(super) fn touched(&self, scratch: &Scratch, fact: &Fact) -> u64 {
        // Whoever acts in the visit of a referral may be who links something to that.
        let refers = |other: &Fact| fact.visit != 0 && other.visit == fact.visit && other.referral.is_some();
        // What is taken back may be what links two others, of a visit that is not named again.
        let takes_back = taken_back(fact.kind) != 0;
        if fact.kind == LEFT || takes_back || fact.referral.is_some() || scratch.facts.list.iter().any(refers) {
            return ALL;
        }
        let mut kinds = 1_u32 << (fact.kind & 31);
        // A stay begins again, ends as another, or none of it was.
        if kinds & (BEGINS | ENDS) != 0 {
            kinds |= ENDS | one(Kind::Admission);
        }
        let touches = |compiled: &Compiled| {
            let opens = compiled.open.iter().fold(0, |all, fit| all | fit.kinds);
            let asked = opens | compiled.closers | compiled.void | compiled.exclude;
            // Whoever acts in a visit may be who links two others to it.
            asked & kinds != 0 || (fact.visit != 0 && compiled.close.iter().any(|fit| fit.same_visit))
        };
        (0..).zip(&self.compiled).filter(|(_, one)| touches(one)).fold(0, |all, (bit, _)| all | 1 << (bit & 63))
    }

    /// What they add to the counters: the cases of some measures, by their bits, one for each panel.
    pub fn contributions(&self, scratch: &mut Scratch, of: u64, mut each: impl FnMut(Cell)) {
        scratch.settle(&self.marks);
        let (mut cases, mut seen) = (std::mem::take(&mut scratch.cases), Vec::new());
        for (measure, definition) in self.definitions().iter().enumerate() {
            if of >> (measure & 63) & 1 == 0 {
                continue;
            }
            cases.clear();
            self.settled(scratch, measure, |case| cases.push(case));
            // Whom everybody may know of counts as somebody in the case that everybody may know of, whatever else there is.
            if cases.len() > 1 {
                cases.sort_by_key(|case| (case.cell.labels != (0, 0), case.cell.day));
            }
            seen.clear();
            for case in &cases {
                for panel in self.panels(case.panels) {
                    if definition.panels.is_empty() || self.is_one_of(*panel, &definition.panels) {
                        let first = first(&mut seen, *panel, month_of(case.cell.day));
                        each(Cell { panel: *panel, first, ..case.cell });
                    }
                }
            }
        }
        scratch.cases = cases;
    }
}

/// Whether a case of a panel and month is the first in its month (1), quarter (2) or year (3) behind those that were seen.
fn first(seen: &mut Vec<(u32, i32)>, panel: u32, month: i32) -> u8 {
    let is = |length: i32| {
        let same = |known: &(u32, i32)| known.0 == panel && known.1.div_euclid(length) == month.div_euclid(length);
        !seen.iter().any(same)
    };
    let first = if is(12) { 3 } else { u8::from(is(1)) + u8::from(is(3)) };
    if first > 0 {
        seen.push((panel, month));
    }
    first
}

/// The facts of a person under one measure.
struct Person<'a> {
    lens: &'a Lens,
    definition: &'a Definition,
    compiled: &'a Compiled,
    facts: &'a Facts,
    gone: &'a [bool],
    order: &'a [usize],
}

impl Person<'_> {
    fn alive(&self) -> impl Iterator<Item = (usize, &Fact)> {
        self.facts.list.iter().enumerate().filter(|(at, _)| !self.gone.get(*at).copied().unwrap_or(true))
    }

    fn cases(&self, measure: u32, each: &mut impl FnMut(Case)) {
        // Those of now whose visit or referral may come again.
        let mut counted: Vec<(usize, i32)> = Vec::new();
        let mut came = Vec::new();
        let opens = self.compiled.open.iter().fold(0, |all, fit| all | fit.kinds);
        // By time, as what came first may be told of last.
        for (at, opener) in self.order.iter().filter_map(|at| Some((*at, self.facts.list.get(*at)?))) {
            if opens >> opener.kind & 1 == 0 {
                continue;
            }
            let fitting =
                self.compiled.open.iter().filter_map(|fit| Some((fit, self.lens.fits(fit, opener, self.facts)?)));
            let Some((open, labels)) = fitting.min_by_key(|(_, labels)| labels.count_ones()) else { continue };
            if self.lens.panels(opener.panels).is_empty() || self.is_again(opener, &counted) {
                continue;
            }
            came.clear();
            self.voids(opener, &mut came);
            if came.iter().any(|one| one.labels == (0, 0)) {
                continue;
            }
            counted.push((at, opener.day));
            self.closings(at, opener, open, &mut came);
            self.exclusions(opener, &mut came);
            let (ways, closed) = ways(&mut came);
            let (day, facility) = (opener.day, opener.facility);
            let cell = Cell { panel: 0, measure, day, facility, labels: (labels, opener.all), ways, first: 0 };
            let (closed_ms, visits) = (closed.map(|closed| closed.0), closed.map(|closed| closed.1));
            let Fact { at_ms, seq, panels, visit, .. } = *opener;
            each(Case { cell, at_ms, seq, panels, closed_ms, visit, visits });
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
            let another = || {
                ENDS >> opener.kind & 1 == 1
                    && self.alive().any(|(_, fact)| fact.at_ms <= opener.at_ms && begins_again(earlier, fact))
            };
            (same && !another()) || (self.definition.once && (opener.day - day).abs() <= self.definition.late_days())
        })
    }

    /// What takes them out again.
    fn voids(&self, opener: &Fact, came: &mut Vec<Came>) {
        let void = self.compiled.void;
        if void == 0 {
            return;
        }
        let is = |fact: &&Fact| void >> fact.kind & 1 == 1 && (names(opener, fact) || became(opener, fact));
        let voids = self.alive().map(|(_, fact)| fact).filter(is);
        came.extend(voids.map(|fact| Came {
            what: What::Void,
            labels: (fact.whole, fact.all),
            at_ms: fact.at_ms,
            clock_ms: fact.at_ms,
            visit: fact.visit,
        }));
    }

    /// What excludes them: it came in the window.
    fn exclusions(&self, opener: &Fact, came: &mut Vec<Came>) {
        // Who is in no roster any more may have been seen, and nobody knows.
        let left = if self.definition.rate == Rate::Share { 1 << LEFT } else { 0 };
        let exclude = self.compiled.exclude | left;
        let in_window = |(at_ms, day): (i64, i32)| match self.definition.due.0 {
            Span::Days(days) => day - opener.day <= i32::from(days),
            Span::Ms(ms) => at_ms - opener.at_ms <= ms,
        };
        let begun_in = |fact: &Fact| exclude >> fact.kind & 1 == 1 && in_window((fact.at_ms, fact.day));
        for (_, fact) in self.alive().filter(|(_, fact)| begun_in(fact)) {
            let is_death = fact.kind == Kind::Death as u8;
            // Of a death often nobody tells more than the date; what happened on that day happened before it.
            let begun = if is_death { fact.day >= opener.day } else { fact.at_ms >= opener.at_ms };
            let other = fact.kind != Kind::Admission as u8 || is_other(opener, fact);
            // Who is back before the window is over was away for some of it.
            let is_back = fact.kind == LEFT && fact.start != (0, 0) && in_window(fact.start);
            if begun && other && !is_back {
                let what = if fact.kind == LEFT { What::Left } else { What::Excluded };
                let at_ms = if is_death { fact.at_ms.saturating_add(LAST_MS) } else { fact.at_ms };
                let labels = (fact.whole, fact.all);
                came.push(Came { what, labels, at_ms, clock_ms: fact.at_ms, visit: fact.visit });
            }
        }
    }

    /// What closes it.
    fn closings(&self, at: usize, opener: &Fact, open: &Fit, came: &mut Vec<Came>) {
        let late = self.definition.late_days() + 1;
        let other = self.definition.other_visit;
        let of_referral = opener.referral.is_some() && opener.kind != Kind::Result as u8 && !other;
        for (place, fact) in self.alive() {
            if self.compiled.closers >> fact.kind & 1 == 0 || fact.day - opener.day > late {
                continue;
            }
            // Asked first, as of many orders and results each pair is looked at.
            if of_referral && fact.referral.is_some() && !opener.referral.same(fact.referral) {
                continue;
            }
            for close in &self.compiled.close {
                if close.kinds >> fact.kind & 1 == 0 || (place == at && !close.same_visit) {
                    continue;
                }
                came.extend(self.closes(opener, open, fact, close, place == at));
            }
        }
    }

    fn closes(&self, opener: &Fact, open: &Fit, fact: &Fact, close: &Fit, itself: bool) -> Option<Came> {
        let definition = self.definition;
        let late = self.late(opener, fact)?;
        let labels = self.lens.fits(close, fact, self.facts)?;
        let other = is_other(opener, fact) && fact.at_ms >= opener.at_ms && !itself;
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
        let what = What::Closed(late, link);
        Some(Came { what, labels: (labels, fact.all), at_ms: fact.at_ms, clock_ms, visit: fact.visit })
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
        // Each result has the number of an order of its own: another one is no other person.
        let scored = opener.kind == Kind::Result as u8;
        if opener.referral.is_some() && fact.referral.is_some() {
            let same = opener.referral.same(fact.referral);
            if same || !scored {
                return same.then_some(Link::Told);
            }
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
        let must_share = close.same_visit || (opener.referral.is_some() && !scored);
        let shares = || {
            let ours = named().filter(|other| !opener.referral.is_some() || other.seq != opener.seq);
            ours.flat_map(|other| self.facts.acting(other)).any(|npi| self.facts.acting(fact).contains(npi))
        };
        (!must_share || shares()).then_some(Link::Inferred)
    }
}

/// Whether a fact begins another stay under the number of one that is over: some hospitals use them again.
fn begins_again(ended: &Fact, fact: &Fact) -> bool {
    let stay = ENDS >> ended.kind & 1 == 1 && BEGINS >> fact.kind & 1 == 1;
    stay && ended.visit != 0 && fact.visit == ended.visit && fact.at_ms > ended.at_ms
}

/// Whether it is of another visit.
fn is_other(opener: &Fact, fact: &Fact) -> bool {
    opener.visit == 0 || fact.visit != opener.visit || begins_again(opener, fact)
}

/// Whether an emergency became a stay that has a number of its own: there, and within a day.
fn became(opener: &Fact, fact: &Fact) -> bool {
    opener.kind == Kind::EdVisit as u8
        && fact.kind == Kind::Admission as u8
        && opener.facility == fact.facility
        && (0..=LAST_MS).contains(&(fact.at_ms - opener.at_ms))
}

/// Whether a fact names the referral or visit of an opener.
fn names(opener: &Fact, fact: &Fact) -> bool {
    if opener.referral.is_some() && fact.referral.is_some() {
        opener.referral.same(fact.referral)
    } else {
        opener.visit != 0 && opener.visit == fact.visit
    }
}
