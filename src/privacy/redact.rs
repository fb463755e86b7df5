//! Takes out of a Bundle what is not cleared, and all that leads to it.
//!
//! What goes, over and over until nothing changes any more:
//!
//! | what | takes with it |
//! |---|---|
//! | a coding or concept with a label | the resource or part that it says what it is of (`code`, `value[x]`); else the element alone |
//! | a resource whose `meta.security` or own code has a label; a labelled facility | itself |
//! | a reference to what went | the element; the object around it, where R4 requires it there |
//! | a required element | its object, up to the resource |
//! | the last element of a list or object | the list, the object |
//! | text that repeats a code or the words of a concept that went, or the name of a labelled facility | the element |
//! | a system made of the name of a labelled facility or unit, or of a feed that is named for one | the number; of a code the system |
//! | anything | every narrative |
//! | whatever only led to what went (the practitioner of a diagnosis) | itself |
//!
//! Where text is to be withheld: attachments, annotations, markdown, plain texts and concepts without a code go too. When a Patient, Encounter or MessageHeader would go, nothing is left
//! that could be told, and all of it fails.
mod links;
mod object;
mod tokens;

pub(in crate::privacy) use tokens::Tokens;

use super::label::{Labels, Set, TooDeep};
use links::{Links, Reach};
use serde_json::{Map, Value};

/// Rounds until nothing changes: each but the last takes something out.
const ROUNDS_MAX: usize = 10_000;

/// Why a Bundle cannot be redacted: it must not be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No Bundle.
    NoBundle,
    /// Too deep, or without an end.
    TooMuch,
    /// A resource that nothing can be told without would go.
    Essential,
}

impl From<TooDeep> for Failure {
    fn from(_: TooDeep) -> Failure {
        Failure::TooMuch
    }
}

/// One redaction of one Bundle.
pub(super) struct Redaction<'l> {
    labels: &'l Labels,
    cleared: Set,
    withhold_text: bool,
    links: Links,
    tokens: Tokens,
    /// Names of facilities and units, which systems of numbers and codes may be made of.
    places: Tokens,
    /// Ids of what the resource at hand contains.
    contained: Vec<String>,
    /// What could be reached before anything went.
    reach: Option<Reach>,
    /// Anything went since this was last false.
    changed: bool,
    /// Anything went at all.
    dropped: bool,
}

impl<'l> Redaction<'l> {
    pub fn new(labels: &'l Labels, cleared: Set, withhold_text: bool) -> Redaction<'l> {
        let secret = labels.every().without(cleared);
        let (tokens, places) = (Tokens::of_facilities(labels, secret), Tokens::of_places(labels, secret));
        Redaction {
            labels,
            cleared,
            withhold_text,
            links: Links::default(),
            tokens,
            places,
            contained: Vec::new(),
            reach: None,
            changed: false,
            dropped: false,
        }
    }

    /// Whether there is anything to be taken out of a Bundle with these labels. Most Bundles carry none, and looking costs far less than taking out.
    pub fn is_needed(&self, bundle: &Value, labels: Set) -> bool {
        if self.withhold_text || !labels.is_within(self.cleared) {
            return true;
        }
        // Whatever facility has a label, it is a place too.
        let mut waiting = if self.places.are_none() { Vec::new() } else { vec![bundle] };
        while let Some(value) = waiting.pop() {
            match value {
                Value::String(text) if self.tokens.are_in(text) => return true,
                Value::Object(object) if self.names_a_place(object) => return true,
                Value::Object(object) => waiting.extend(object.values()),
                Value::Array(items) => waiting.extend(items),
                _ => {}
            }
        }
        false
    }

    /// Whether the system of a number or a code, or who assigned the number, is called so that a place is told by it.
    fn names_a_place(&self, object: &Map<String, Value>) -> bool {
        let text = |value: Option<&Value>, is: &dyn Fn(&str) -> bool| value.and_then(Value::as_str).is_some_and(is);
        let assigner = object.get("assigner").and_then(|assigner| assigner.get("display"));
        text(object.get("system"), &|system| self.places.are_in_system(system))
            || text(assigner, &|name| self.places.are_in(name))
    }

    /// Whether anything went.
    pub fn dropped(&self) -> bool {
        self.dropped
    }

    /// Notes that something goes.
    fn drops(&mut self) {
        self.changed = true;
        self.dropped = true;
    }

    /// Takes out resources that are not wanted, whatever their labels; what refers to them goes in the next [`Redaction::run`].
    pub fn without(&mut self, bundle: &mut Value, wanted: impl Fn(&str) -> bool) {
        self.begin(bundle);
        let Some(entries) = bundle.get_mut("entry").and_then(Value::as_array_mut) else { return };
        entries.retain(|entry| {
            let stays = wanted(kind_of(entry.get("resource")));
            if !stays {
                self.links.gone(entry);
                self.drops();
            }
            stays
        });
    }

    /// Notes what can be reached as long as everything is there.
    fn begin(&mut self, bundle: &Value) {
        if let (None, Value::Object(object)) = (&self.reach, bundle) {
            self.reach = Some(Reach::of(object));
        }
    }

    /// Takes out what must go.
    ///
    /// # Errors
    /// A [`Failure`]; the Bundle is then of no use.
    pub fn run(&mut self, bundle: &mut Value) -> Result<(), Failure> {
        self.begin(bundle);
        let Value::Object(object) = bundle else { return Err(Failure::NoBundle) };
        if object.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return Err(Failure::NoBundle);
        }
        for _ in 0..ROUNDS_MAX {
            self.changed = false;
            self.entries(object)?;
            self.around(object)?;
            if self.dropped {
                for entry in self.reach.as_ref().map(|reach| reach.lost(object)).unwrap_or_default() {
                    self.remove(object, entry)?;
                }
            }
            if !self.changed {
                return Ok(());
            }
        }
        Err(Failure::TooMuch)
    }

    fn entries(&mut self, bundle: &mut Map<String, Value>) -> Result<(), Failure> {
        let count = bundle.get("entry").and_then(Value::as_array).map_or(0, Vec::len);
        // From the end, so that what goes moves none that is still to be looked at.
        for number in (0..count).rev() {
            let entry =
                bundle.get_mut("entry").and_then(Value::as_array_mut).and_then(|entries| entries.get_mut(number));
            let Some(resource) = entry.and_then(|entry| entry.get_mut("resource")) else { continue };
            if !self.resource(resource, 2)? {
                self.remove(bundle, number)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, bundle: &mut Map<String, Value>, number: usize) -> Result<(), Failure> {
        let Some(Value::Array(entries)) = bundle.get_mut("entry") else { return Ok(()) };
        if number >= entries.len() {
            return Ok(());
        }
        let entry = entries.remove(number);
        if is_essential(kind_of(entry.get("resource"))) {
            return Err(Failure::Essential);
        }
        self.links.gone(&entry);
        self.drops();
        Ok(())
    }

    /// What stands around the resources: `Bundle.identifier`, links, requests.
    fn around(&mut self, bundle: &mut Map<String, Value>) -> Result<(), Failure> {
        let mut entries = bundle.get_mut("entry").map(Value::take);
        let mut failed = None;
        for entry in entries.iter_mut().filter_map(Value::as_array_mut).flatten() {
            let Value::Object(entry) = entry else { continue };
            let resource = entry.get_mut("resource").map(Value::take);
            let stays = self.object("Bundle.entry", entry, 2);
            if let Some(resource) = resource {
                entry.insert("resource".into(), resource);
            }
            match stays {
                Ok(true) => {}
                Ok(false) => failed = Some(Failure::Essential),
                Err(failure) => failed = Some(failure),
            }
        }
        // With null in their place they are no list of resources, and left alone.
        let stays = self.object("Bundle", bundle, 1);
        match entries {
            Some(Value::Array(list)) if list.is_empty() => {
                bundle.shift_remove("entry");
            }
            Some(list) => {
                bundle.insert("entry".into(), list);
            }
            None => {}
        }
        match (failed, stays?) {
            (Some(failure), _) => Err(failure),
            (None, false) => Err(Failure::Essential),
            (None, true) => Ok(()),
        }
    }
}

/// Without which nothing can be told.
fn is_essential(kind: &str) -> bool {
    matches!(kind, "Patient" | "Encounter" | "MessageHeader")
}

pub(super) fn kind_of(resource: Option<&Value>) -> &str {
    resource.and_then(|resource| resource.get("resourceType")).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests;
