//! Looking at an event and its Bundle: what they carry.
use super::{Labels, Set};
use crate::fhir::tree::{Object, Tree};
use serde_json::Value;

/// So deep a Bundle may be nested.
pub(in crate::privacy) const DEPTH_MAX: usize = 96;

/// A Bundle is nested deeper than anything that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::privacy) struct TooDeep;

/// What an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// All labels.
    pub all: Set,
    /// Of these, those that the event as a whole carries: by facility, unit, or a mark of its sender.
    pub whole: Set,
}

/// Looks at one event, piece by piece.
#[derive(Debug)]
pub struct Look<'l> {
    labels: &'l Labels,
    found: Found,
    restricted_data: bool,
    reason: bool,
}

impl<'l> Look<'l> {
    pub(super) fn new(labels: &'l Labels) -> Look<'l> {
        Look { labels, found: Found::default(), restricted_data: false, reason: false }
    }

    /// Where it happened, and who sent it (PV1-3.4, MSH-4): each facility that is named.
    #[must_use]
    pub fn facility(mut self, name: &str) -> Look<'l> {
        self.whole(self.labels.of_facility(name));
        self
    }

    /// The unit (PV1-3.1) of a facility.
    #[must_use]
    pub fn unit(mut self, facility: &str, unit: &str) -> Look<'l> {
        self.whole(self.labels.of_unit(facility, unit));
        self
    }

    /// The facility is under 42 CFR Part 2.
    #[must_use]
    pub fn part_2(mut self, is: bool) -> Look<'l> {
        if is {
            self.whole(self.labels.part_2);
        }
        self
    }

    /// What the sender says in MSH-8, MSH-26, MSH-27, PV2-22, TXA-18, ARV-3 (table 0717) or ARV-4 (table 0719).
    #[must_use]
    pub fn mark(mut self, field: &str, code: &str) -> Look<'l> {
        self.restricted_data |= field == "ARV-3";
        self.reason |= field == "ARV-4" && !code.trim().is_empty();
        self.whole(self.labels.of_mark(field, code));
        self
    }

    /// A code of the message, its system as sent.
    #[must_use]
    pub fn code(mut self, system: &str, code: &str) -> Look<'l> {
        self.found.all = self.found.all.with(self.labels.of_code(system, code));
        self
    }

    /// Labels by their codes, as earlier messages of the visit left them.
    #[must_use]
    pub fn earlier<'c>(mut self, codes: impl IntoIterator<Item = &'c str>) -> Look<'l> {
        for code in codes {
            // A label that is not configured any more is no less of a secret.
            self.found.all = self.found.all.with(self.labels.of(code).unwrap_or(self.labels.very_restricted));
        }
        self
    }

    /// What was found.
    pub fn found(mut self) -> Found {
        // A reason to restrict without what is restricted: everything.
        if self.reason && !self.restricted_data {
            self.whole(self.labels.restricted);
        }
        self.found
    }

    fn whole(&mut self, set: Set) {
        self.found.whole = self.found.whole.with(set);
        self.found.all = self.found.all.with(set);
    }
}

impl Labels {
    /// What a Bundle carries, to be kept with its visit; every label where it cannot be told.
    pub fn of_bundle(&self, bundle: &Value) -> Set {
        self.of_value(bundle).unwrap_or(self.every())
    }

    /// What any element of a resource or Bundle carries, without regard to types: every code, `meta.security`, names of facilities.
    pub(in crate::privacy) fn of_value<T: Tree>(&self, value: &T) -> Result<Set, TooDeep> {
        self.of_part(value, 0)
    }

    /// The same of what stands so deep in a Bundle.
    pub(in crate::privacy) fn of_part<T: Tree>(&self, value: &T, depth: usize) -> Result<Set, TooDeep> {
        let mut set = Set::EMPTY;
        let mut waiting = vec![(value, depth)];
        while let Some((value, depth)) = waiting.pop() {
            if depth > DEPTH_MAX {
                return Err(TooDeep);
            }
            if let Some(object) = value.object() {
                set = set.with(self.of_object(object));
                waiting.extend(object.members().map(|(_, value)| (value, depth + 1)));
            } else if let Some(items) = value.list() {
                waiting.extend(items.iter().map(|item| (item, depth + 1)));
            }
        }
        Ok(set)
    }

    /// What an object carries by itself, not by what it holds.
    pub(in crate::privacy) fn of_object<O: Object>(&self, object: &O) -> Set {
        let text = |key: &str| object.get(key).and_then(Tree::text);
        let mut set = Set::EMPTY;
        if let Some(code) = text("code") {
            set = set.with(self.of_code(text("system").unwrap_or(""), code));
        }
        // A code where its text should be.
        if let Some(code) = text("text") {
            set = set.with(self.of_code("", code));
        }
        if let Some(kind) = text("resourceType") {
            set = set.with(self.of_security(object));
            if matches!(kind, "Organization" | "Location") {
                set = set.with(self.of_place(object));
            }
        }
        set
    }

    /// What `meta.security` and `securityLabel` of a resource say.
    fn of_security<O: Object>(&self, resource: &O) -> Set {
        let meta = resource.get("meta").and_then(|meta| meta.get("security")).and_then(Tree::list);
        let own = resource.get("securityLabel").and_then(Tree::list).unwrap_or_default().iter();
        let own = own.filter_map(|concept| concept.get("coding").and_then(Tree::list));
        meta.into_iter().chain(own).map(|codings| self.of_codings(codings)).fold(Set::EMPTY, Set::with)
    }

    fn of_codings<T: Tree>(&self, codings: &[T]) -> Set {
        let is = |coding: &T, table: &str| coding.text_of("system").unwrap_or("").ends_with(table);
        let code_of = |coding: &T| coding.text_of("code").unwrap_or("").to_owned();
        // What is restricted says more than how much.
        let precise = codings.iter().any(|coding| is(coding, "v2-0717") && !code_of(coding).is_empty());
        let mut set = Set::EMPTY;
        for coding in codings {
            let code = code_of(coding);
            let found = match code.as_str() {
                "" => Set::EMPTY,
                "R" if is(coding, "v3-Confidentiality") && precise => Set::EMPTY,
                code if is(coding, "v2-0719") => self.of_mark("ARV-4", code),
                code if is(coding, "v2-0717") => self.of_mark("ARV-3", code),
                code => match self.of_policy(code) {
                    Set::EMPTY => self.of_mark("", code),
                    policy => policy,
                },
            };
            set = set.with(found);
        }
        set
    }

    fn of_policy(&self, code: &str) -> Set {
        let under =
            |label: &super::Label| label.policy.as_deref().is_some_and(|policy| policy.eq_ignore_ascii_case(code));
        let numbers = self.all.iter().enumerate().filter(|(_, label)| under(label));
        numbers.map(|(number, _)| Set::one(number)).fold(Set::EMPTY, Set::with)
    }

    /// An organization or location that is a labelled facility, or a labelled unit.
    fn of_place<O: Object>(&self, object: &O) -> Set {
        let values = |key: &str| object.get(key).and_then(Tree::list).unwrap_or_default().iter();
        let name = object.get("name").and_then(Tree::text);
        let aliases = values("alias").filter_map(Tree::text);
        let numbers = values("identifier").filter_map(|identifier| identifier.text_of("value"));
        let names = name.into_iter().chain(aliases).chain(numbers);
        names.map(|name| self.of_facility(name).with(self.of_unit("", name))).fold(Set::EMPTY, Set::with)
    }
}
