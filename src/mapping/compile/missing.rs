//! What a map says where FHIR allows nothing, and where it says nothing though FHIR requires something. A server that validates refuses both.
use super::element::{One, Slot};
use super::trie::Trie;
use super::{Compiler, PartSource, Place};
use crate::fhir::shape::{self, Element};
use crate::mapping::diagnostic::Code;
use crate::mapping::source::{Location, Sources};
use std::collections::{BTreeMap, BTreeSet};

impl Compiler<'_, '_> {
    /// What stands below a primitive: its `id` and extensions, and of one that repeats not even these, as nothing could tell to which of its values they belong. The rest is wrong.
    pub(super) fn below_primitive(&mut self, slot: &Slot<'_>, name: &str, group: &[One<'_>]) -> Vec<(Trie, Place)> {
        let mut found = Vec::new();
        for (trie, place) in group.iter().filter(|(trie, _)| !trie.children.is_empty()) {
            let (good, wrong): (Vec<Trie>, Vec<Trie>) = trie
                .children
                .iter()
                .cloned()
                .partition(|child| !slot.element.many && matches!(child.name.as_str(), "extension" | "id"));
            for child in wrong {
                let text = match child.name.as_str() {
                    "extension" | "id" => {
                        format!("`{name}` repeats: an extension cannot say to which of its values it belongs")
                    }
                    other => format!("`{name}` is a primitive: it has no element `{other}`"),
                };
                let remedy = format!(
                    "write its value, `{name} = …`; below it only `{name}.extension(URL)` can stand, where it does not repeat"
                );
                self.diagnostics.error(Code::UnknownElement, child.location, text).suggest_last(remedy);
            }
            if !good.is_empty() {
                found.push((Trie { children: good, ..(*trie).clone() }, place.clone()));
            }
        }
        found
    }

    /// Warns of each map to a resource that leaves out what FHIR requires of it, unless a link or a map that is added to the same resource gives it.
    pub(super) fn missing(&mut self) {
        let (programs, sources) = (self.programs.clone(), self.sources);
        let made = Made::new(sources);
        for (resource_type, parts) in &programs {
            let links: Vec<Trie> = self.link_tries(resource_type).into_iter().flat_map(|(_, tries)| tries).collect();
            let rows_of: Vec<PartSource> = parts.iter().map(|part| self.parts[usize::from(*part)].clone()).collect();
            for (part, source) in parts.iter().zip(&rows_of) {
                let location = self.plan.rules[self.plan.parts[usize::from(*part)].rule as usize].location;
                let map = source.map.as_str();
                // What is only added to other resources makes none of its own; what no statement names may be made of a value.
                let is_made = made.own.contains(map) || !made.with.contains_key(map) && self.used_maps.contains(map);
                if !is_made || !sources.is_own(location) {
                    continue;
                }
                let with = made.with.get(map);
                let beside = rows_of.iter().filter(|other| with.is_some_and(|with| with.contains(other.map.as_str())));
                let rows = beside.flat_map(|other| &other.tries).chain(&source.tries).chain(&links);
                let written: BTreeSet<u16> = rows.filter_map(|trie| order(resource_type, trie)).collect();
                self.lacks(resource_type, &written, location);
            }
        }
    }

    /// The same of an element below a resource.
    pub(super) fn missing_below(&mut self, parent: &str, written: &BTreeSet<u16>, location: Location) {
        // Its URL comes with the row.
        if parent != "Extension" && self.sources.is_own(location) {
            self.lacks(parent, written, location);
        }
    }

    fn lacks(&mut self, parent: &str, written: &BTreeSet<u16>, location: Location) {
        let lacks = |element: &&Element| element.min > 0 && !written.contains(&element.order);
        for element in shape::children(parent).iter().filter(lacks) {
            let text = format!("FHIR requires `{}` of {parent}, and no row here writes it", element.name);
            let name = element.name.trim_end_matches("[x]");
            self.diagnostics
                .warning(Code::Missing, location, text)
                .suggest_last(format!("add a row for it, such as `{name} = \"…\"`"));
        }
    }
}

/// Which maps the statements of message maps write resources by.
#[derive(Default)]
struct Made<'s> {
    /// By which some statement makes a resource, not only adds to one.
    own: BTreeSet<&'s str>,
    /// Each map with all that write the same resource, in any message.
    with: BTreeMap<&'s str, BTreeSet<&'s str>>,
}

impl<'s> Made<'s> {
    fn new(sources: &'s Sources) -> Made<'s> {
        let mut made = Made::default();
        for message in sources.messages.values() {
            let mut by_name: BTreeMap<&str, BTreeSet<&'s str>> = BTreeMap::new();
            for statement in message.places.iter().flat_map(|place| &place.statements) {
                by_name.entry(&statement.binding).or_default().insert(&statement.map);
                if !statement.add {
                    made.own.insert(&statement.map);
                }
            }
            for maps in by_name.into_values() {
                for map in &maps {
                    made.with.entry(map).or_default().extend(&maps);
                }
            }
        }
        made
    }
}

/// Which element a row writes.
fn order(parent: &str, trie: &Trie) -> Option<u16> {
    let spelled = shape::choice(parent, &trie.name).map(|(element, _)| element);
    shape::child(parent, &trie.name).or(spelled).map(|element| element.order)
}
