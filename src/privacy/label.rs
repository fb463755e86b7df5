//! Sensitivity labels: which codes, marks, facilities and units carry them.
//!
//! Two labels are always there, whatever is configured: `R` and `V`, for what a sender restricts without saying why. A mark that nobody has given a meaning counts as
//! `R`, a code under a name of no code system as what it looks like: rather too much is labelled than too little.
mod look;
mod table;

pub(super) use look::{DEPTH_MAX, TooDeep};
pub use look::{Found, Look};

use super::systems::System;
use hashbrown::HashMap;
use table::Table;

/// As many labels as a [`Set`] holds, `R` and `V` among them.
pub const LABELS_MAX: usize = 64;
/// Characters of a code in a list.
pub const CODE_MAX: usize = 24;

/// The label of what a sender says is restricted.
pub const RESTRICTED: &str = "R";
/// Of what is said to be very restricted.
pub const VERY_RESTRICTED: &str = "V";
/// The policy that a facility with `part2 = true` is under.
pub const PART_2: &str = "42CFRPart2";

/// Some of the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(u64);

impl Set {
    /// None.
    pub const EMPTY: Set = Set(0);

    pub(super) fn one(number: usize) -> Set {
        debug_assert!(number < LABELS_MAX);
        Set(1 << (number % LABELS_MAX))
    }

    /// Those of either.
    #[must_use]
    pub fn with(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// Those that the other does not have.
    #[must_use]
    pub fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all are in the other.
    pub fn is_within(self, other: Set) -> bool {
        self.without(other).is_empty()
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        (0..LABELS_MAX).filter(move |number| self.0 >> number & 1 == 1)
    }
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// As HL7 writes it (v3 ActCode): `SUD`, `PSY`, `HIV`.
    pub code: String,
    /// The policy that it is under: `42CFRPart2`.
    pub policy: Option<String>,
    /// How confidential it is (v3 Confidentiality): `U`, `L`, `M`, `N`, `R` or `V`.
    pub conf: String,
    /// Codes; of a system with prefixes also all that begin with them.
    pub codes: Vec<(System, String)>,
    /// What senders write in MSH-8, PV2-22, ARV-3 and the like: `ETH`, or with its field `PV2-22=Y`.
    pub marks: Vec<String>,
    /// Facilities all of whose events carry it.
    pub facilities: Vec<String>,
    /// The same of units: `DETOX`, or with its facility `SBMC|DETOX`.
    pub units: Vec<String>,
}

/// All labels, compiled.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    all: Vec<Label>,
    codes: Table,
    marks: HashMap<Box<str>, Set>,
    facilities: HashMap<Box<str>, Set>,
    units: HashMap<Box<str>, Set>,
    part_2: Set,
    restricted: Set,
    very_restricted: Set,
}

impl Labels {
    /// Compiles labels. Those of the same code become one; beyond [`LABELS_MAX`] they are left to whoever configures to refuse.
    pub fn new(labels: Vec<Label>) -> Labels {
        let mut all: Vec<Label> = Vec::new();
        let generic = [(RESTRICTED, "R"), (VERY_RESTRICTED, "V")].map(|(code, conf)| Label {
            code: code.into(),
            conf: conf.into(),
            ..Label::default()
        });
        for label in generic.into_iter().chain(labels) {
            let room = all.len() < LABELS_MAX;
            match all.iter_mut().find(|known| known.code == label.code) {
                Some(known) => join(known, label),
                None if room => all.push(label),
                None => {}
            }
        }
        let mut labels = Labels {
            codes: Table::default(),
            marks: HashMap::new(),
            facilities: HashMap::new(),
            units: HashMap::new(),
            part_2: Set::EMPTY,
            restricted: Set::one(0),
            very_restricted: Set::one(1),
            all: Vec::new(),
        };
        for (number, label) in all.iter().enumerate() {
            labels.add(Set::one(number), label);
        }
        if labels.part_2.is_empty() {
            labels.part_2 = labels.very_restricted;
        }
        Labels { all, ..labels }
    }

    fn add(&mut self, set: Set, label: &Label) {
        for (system, code) in &label.codes {
            self.codes.add(*system, code, set);
        }
        for (texts, map) in [
            (&label.marks, &mut self.marks),
            (&label.facilities, &mut self.facilities),
            (&label.units, &mut self.units),
        ] {
            for text in texts {
                let entry = map.entry(text.trim().to_uppercase().into()).or_default();
                *entry = entry.with(set);
            }
        }
        if label.policy.as_deref().is_some_and(|policy| policy.eq_ignore_ascii_case(PART_2)) {
            self.part_2 = self.part_2.with(set);
        }
    }

    /// The set of the label of that code.
    pub fn of(&self, code: &str) -> Option<Set> {
        self.all.iter().position(|label| label.code == code).map(Set::one)
    }

    /// The set of those codes; one that is no label's is left out.
    pub fn of_all<'c>(&self, codes: impl IntoIterator<Item = &'c str>) -> Set {
        codes.into_iter().filter_map(|code| self.of(code)).fold(Set::EMPTY, Set::with)
    }

    /// Every label there is.
    pub fn every(&self) -> Set {
        (0..self.all.len()).map(Set::one).fold(Set::EMPTY, Set::with)
    }

    /// The labels of a set, in their order.
    pub fn labels(&self, set: Set) -> impl Iterator<Item = &Label> {
        set.numbers().filter_map(|number| self.all.get(number))
    }

    /// Their codes, as they are kept beside a visit.
    pub fn names(&self, set: Set) -> Vec<&str> {
        self.labels(set).map(|label| label.code.as_str()).collect()
    }

    /// Begins to look at an event.
    pub fn look(&self) -> Look<'_> {
        Look::new(self)
    }

    /// Which labels a code carries.
    pub fn of_code(&self, system: &str, code: &str) -> Set {
        self.codes.find(System::of(system), code)
    }

    /// Which labels a facility carries.
    pub fn of_facility(&self, name: &str) -> Set {
        find(&self.facilities, name)
    }

    /// Facilities whose very name tells what a set of labels stands for.
    pub(super) fn facilities(&self, set: Set) -> impl Iterator<Item = &str> {
        self.labels(set).flat_map(|label| label.facilities.iter().map(String::as_str))
    }

    /// Which labels a unit of a facility carries.
    pub fn of_unit(&self, facility: &str, unit: &str) -> Set {
        if self.units.is_empty() || unit.trim().is_empty() {
            return Set::EMPTY;
        }
        find(&self.units, unit).with(find(&self.units, &format!("{}|{}", facility.trim(), unit.trim())))
    }

    /// What a sender's mark in a field means: labels that list it, else how restrictive it is by itself.
    pub fn of_mark(&self, field: &str, code: &str) -> Set {
        const HARMLESS: [&str; 10] = ["", "\"\"", "U", "N", "L", "M", "NO", "OI", "UNRESTRICTED", "NORMAL"];
        let code = code.trim();
        let listed = find(&self.marks, &format!("{field}={code}")).with(find(&self.marks, code));
        let named = self.all.iter().position(|label| label.code.eq_ignore_ascii_case(code)).map(Set::one);
        match (listed.is_empty(), named) {
            (false, named) => listed.with(named.unwrap_or_default()),
            (true, Some(named)) => named,
            // PV2-22 is yes or no, and ARV-4 only says why.
            _ if field == "PV2-22" && code.eq_ignore_ascii_case("N") => Set::EMPTY,
            _ if field == "ARV-4" => Set::EMPTY,
            _ if HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(code)) => Set::EMPTY,
            _ => self.restricted,
        }
    }
}

fn find(map: &HashMap<Box<str>, Set>, name: &str) -> Set {
    if map.is_empty() {
        return Set::EMPTY;
    }
    map.get(name.trim().to_uppercase().as_str()).copied().unwrap_or_default()
}

fn join(known: &mut Label, more: Label) {
    let Label { policy, conf, codes, marks, facilities, units, .. } = more;
    known.policy = policy.or(known.policy.take());
    if !conf.is_empty() {
        known.conf = conf;
    }
    known.codes.extend(codes);
    known.marks.extend(marks);
    known.facilities.extend(facilities);
    known.units.extend(units);
}

#[cfg(test)]
mod tests;
