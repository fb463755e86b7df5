//! Message maps → statements per group and segment, with names resolved to integers.
use super::trie::Trie;
use super::{Compiler, LinkSlot, Place, Scope};
use crate::fhir::shape;
use crate::hl7::{ChildKind, Structure};
use crate::mapping::diagnostic::{Code, nearest};
use crate::mapping::plan::{CURRENT, Link, PartId, Statement, StructurePlan};
use crate::mapping::source::{Link as LinkSource, Location, MessageSource, PlaceSource, Statement as StatementSource};
use crate::mapping::target;

impl Compiler<'_, '_> {
    pub(super) fn messages(&mut self) {
        for (name, (text, at)) in &self.sources.structures {
            match Structure::parse(name, text) {
                Ok(structure) => {
                    let number = self.plan.structures.len() as u16;
                    let twice = structure
                        .groups
                        .iter()
                        .any(|g| g.children.iter().any(|c| c.key == "PID#2" || c.key == "PV1#2"));
                    let mut repeating = vec![true; structure.groups.len()];
                    for child in structure.groups.iter().flat_map(|g| &g.children) {
                        if let ChildKind::Group(group) = child.kind {
                            repeating[usize::from(group)] = child.repeats;
                        }
                    }
                    self.plan.structure_names.insert(name.as_bytes().into(), number);
                    self.plan.structures.push(StructurePlan {
                        statements: structure.groups.iter().map(|g| vec![Vec::new(); g.children.len()]).collect(),
                        structure,
                        mapped: false,
                        repeating,
                        twice,
                        names: Vec::new(),
                    });
                }
                Err(error) => drop(self.diagnostics.error(
                    Code::Structure,
                    *at,
                    format!("cannot read the grammar of {name}: {error}"),
                )),
            }
        }
        for message in self.sources.messages.values() {
            let mut places = Vec::new();
            self.inherited(message, &mut places, 0);
            if let Some(number) = self.plan.structure_names.get(message.name.as_bytes()).copied() {
                self.message(message, number, &places);
            }
        }
        self.events();
    }

    fn events(&mut self) {
        for (event, (structure, at)) in &self.sources.events {
            match self.plan.structure_names.get(structure.as_bytes()) {
                Some(number) => drop(self.plan.events.insert(event.as_bytes().into(), *number)),
                None => {
                    let suggestion = nearest(structure, self.sources.structures.keys().map(String::as_str))
                        .map(|n| format!("did you mean `{n}`?"));
                    self.diagnostics
                        .error(Code::UnknownStructure, *at, format!("there is no message structure `{structure}`"))
                        .suggest_some(suggestion);
                }
            }
        }
        for message in self.sources.messages.values() {
            if let Some(number) = self.plan.structure_names.get(message.name.as_bytes()).copied() {
                for (event, _) in &message.covers {
                    self.plan.events.insert(event.as_bytes().into(), number);
                }
            }
        }
    }

    /// Own places, then those of the extended map which are not replaced; `true` marks inherited ones, which may be absent here.
    fn inherited(&mut self, message: &MessageSource, out: &mut Vec<(PlaceSource, bool)>, depth: usize) {
        for place in &message.places {
            if !out.iter().any(|(p, _)| p.group == place.group && p.key == place.key) {
                out.push((place.clone(), depth > 0));
            }
        }
        let Some((base, at)) = &message.extends else { return };
        match self.sources.messages.get(base) {
            Some(_) if depth > 8 => {
                self.diagnostics.error(Code::Cycle, *at, "message maps extend one another in a circle");
            }
            Some(base) => self.inherited(base, out, depth + 1),
            None => {
                let suggestion = nearest(base, self.sources.messages.keys().map(String::as_str))
                    .map(|n| format!("did you mean `{n}`?"));
                self.diagnostics
                    .error(Code::UnknownStructure, *at, format!("there is no message map `{base}`"))
                    .suggest_some(suggestion);
            }
        }
    }

    fn message(&mut self, message: &MessageSource, number: u16, places: &[(PlaceSource, bool)]) {
        let index = usize::from(number);
        self.plan.structures[index].mapped = true;
        let groups: Vec<(String, Vec<String>)> = self.plan.structures[index]
            .structure
            .groups
            .iter()
            .map(|g| {
                (
                    g.path.split_once('.').map_or("", |p| p.1).to_owned(),
                    g.children.iter().map(|c| c.key.clone()).collect(),
                )
            })
            .collect();
        let all: Vec<&StatementSource> = places.iter().flat_map(|(p, _)| &p.statements).collect();
        for (place, inherited) in places {
            let Some(group) = groups.iter().position(|g| g.0 == place.group) else {
                if !inherited {
                    let suggestion = nearest(&place.group, groups.iter().map(|g| g.0.as_str()))
                        .map(|n| format!("did you mean `{}.{n}`?", message.name));
                    self.diagnostics
                        .error(
                            Code::UnknownGroup,
                            place.location,
                            format!("{} has no group `{}`", message.name, place.group),
                        )
                        .suggest_some(suggestion);
                }
                continue;
            };
            // A bare key means every place of that segment in the group; `ROL#2` only the second.
            let children: Vec<usize> = (0..groups[group].1.len())
                .filter(|c| {
                    let key = &groups[group].1[*c];
                    *key == place.key
                        || (key.split('#').next() == Some(&place.key)
                            && !places.iter().any(|(p, _)| p.group == place.group && p.key == *key))
                })
                .collect();
            if children.is_empty() && !inherited {
                let suggestion = nearest(&place.key, groups[group].1.iter().map(String::as_str))
                    .map(|n| format!("did you mean `{n}`? (the group holds {})", groups[group].1.join(" ")));
                let name = if place.group.is_empty() {
                    message.name.clone()
                } else {
                    format!("{}.{}", message.name, place.group)
                };
                self.diagnostics
                    .error(Code::UnknownGroup, place.location, format!("{name} has no segment `{}`", place.key))
                    .suggest_some(suggestion);
            }
            for statement in &place.statements {
                if let Some(compiled) = self.statement(message, &place.key, statement, &all, *inherited) {
                    for child in &children {
                        self.plan.structures[index].statements[group][*child].push(compiled.clone());
                    }
                }
            }
        }
    }

    fn part_of(&mut self, map: &str, at: Location) -> Option<PartId> {
        let via = crate::mapping::expression::Via { name: map.to_owned(), arguments: Vec::new() };
        self.map(&via, at)?;
        match self.parts.iter().position(|p| p.map == map) {
            Some(part) => Some(part as PartId),
            None => {
                self.diagnostics.error(Code::WrongType, at, format!("{map} does not make a resource"));
                None
            }
        }
    }

    fn statement(
        &mut self,
        message: &MessageSource,
        key: &str,
        statement: &StatementSource,
        all: &[&StatementSource],
        inherited: bool,
    ) -> Option<Statement> {
        let at = statement.location;
        let part = self.part_of(&statement.map, at)?;
        let segment = key.split('#').next().unwrap_or(key);
        let from = &self.sources.maps[&statement.map].from;
        if from != segment {
            self.diagnostics.error(
                Code::WrongType,
                at,
                format!("{} reads {from}, but stands at {segment}", statement.map),
            );
        }
        if statement.add && !all.iter().any(|s| s.binding == statement.binding && !s.add) {
            // What an extended map adds to a resource that is not made here is simply not here.
            if inherited {
                return None;
            }
            let names: Vec<&str> = all.iter().filter(|s| !s.add).map(|s| s.binding.as_str()).collect();
            let suggestion = nearest(&statement.binding, names).map(|n| format!("did you mean `{n}`?"));
            self.diagnostics
                .error(Code::UnknownName, at, format!("`{} +=`: nothing makes `{0}`", statement.binding))
                .suggest_some(suggestion);
        }
        let place = Place {
            scope: Scope::Segment(segment.to_owned()),
            part: CURRENT,
            level: 0,
            inner: false,
            map: message.name.clone(),
            parameters: Default::default(),
            driver: None,
        };
        let guard = self.guard(statement.guard.as_ref(), &place, 0, at);
        let rule = self.rule(&message.name, &format!("{key}: {} = {}", statement.binding, statement.map), at);
        let binding = self.binding(&statement.binding);
        let links =
            statement.links.iter().filter_map(|link| self.link(link, statement, all, rule, inherited)).collect();
        Some(Statement { binding, add: statement.add, part, guard, links, rule })
    }

    fn link(
        &mut self,
        link: &LinkSource,
        statement: &StatementSource,
        all: &[&StatementSource],
        rule: u32,
        inherited: bool,
    ) -> Option<Link> {
        let at = statement.location;
        let type_of = |name: &str| {
            let map =
                all.iter().find(|s| s.binding == name && !s.add).or_else(|| all.iter().find(|s| s.binding == name))?;
            self.sources.maps.get(&map.map).map(|m| m.to.clone())
        };
        let known: Vec<&str> = all.iter().map(|s| s.binding.as_str()).collect();
        let Some(to_type) = type_of(&link.to) else {
            if inherited {
                return None;
            }
            let suggestion = nearest(&link.to, known).map(|n| format!("did you mean `{n}`?"));
            self.diagnostics
                .error(
                    Code::UnknownName,
                    at,
                    format!("`{} -> {}`: this message map makes no `{1}`", link.path, link.to),
                )
                .suggest_some(suggestion);
            return None;
        };
        let (from, path) = match link.path.split_once('.') {
            Some((name, path)) if known.contains(&name) => (Some(name), path),
            // An inherited link that leads from a name which is not made here.
            Some((name, _))
                if inherited
                    && shape::child(&type_of(&statement.binding)?, name.split('[').next().unwrap_or(name))
                        .is_none() =>
            {
                return None;
            }
            _ => (None, link.path.as_str()),
        };
        let from_type = type_of(from.unwrap_or(&statement.binding))?;
        self.check_link(&from_type, path, &to_type, &link.path, at)?;
        let slot = match self.links.iter().position(|l| l.resource_type == from_type && l.path == path) {
            Some(slot) => slot,
            None => {
                self.links.push(LinkSlot { resource_type: from_type, path: path.to_owned(), rule, location: at });
                self.links.len() - 1
            }
        } as u16;
        let from = from.map(|name| self.binding(name));
        let to = self.binding(&link.to);
        Some(Link { from, slot, to, rule })
    }

    fn check_link(&mut self, from_type: &str, path: &str, to_type: &str, link_path: &str, at: Location) -> Option<()> {
        let target = match target::parse(path) {
            Ok(target) => target,
            Err((_, expected)) => {
                self.diagnostics
                    .error(Code::Statement, at, format!("cannot read `{path}`: expected {expected}"))
                    .suggest_last("a path such as `subject` or `encounter.diagnosis[+].condition`");
                return None;
            }
        };
        let mut parent = from_type.to_owned();
        let last = target.steps.len().saturating_sub(1);
        for (number, step) in target.steps.iter().enumerate() {
            let Some(element) = shape::child(&parent, &step.name) else {
                let suggestion =
                    shape::suggestions(&parent, &step.name).first().map(|n| format!("did you mean `{n}`?"));
                self.diagnostics
                    .error(Code::UnknownElement, at, format!("{parent} has no element `{}`", step.name))
                    .suggest_some(suggestion);
                return None;
            };
            let reference = element.types.iter().find(|t| t.name == "Reference");
            if number < last {
                let type_name = element.types.first()?.name.to_string();
                parent = shape::child_type(&parent, element, &type_name).to_string();
            } else if let Some(reference) = reference {
                // Rows write the choice by its own name: under another the link would stand beside them, and the resource would have it twice.
                if element.name != step.name {
                    let text = format!("`{from_type}.{path}` spells out a choice");
                    let whole = link_path.strip_suffix(step.name.as_str()).unwrap_or_default();
                    self.diagnostics
                        .error(Code::WrongType, at, text)
                        .suggest_last(format!("write `{whole}{} -> …`", element.name));
                    return None;
                }
                let targets: Vec<String> = reference.targets.iter().map(|t| t.to_string()).collect();
                if !targets.is_empty() && !targets.iter().any(|t| t == to_type || t == "Resource") {
                    let text = format!("`{from_type}.{path}` may not refer to {to_type}");
                    self.diagnostics
                        .error(Code::WrongReference, at, text)
                        .suggest_last(format!("allowed: {}", targets.join(", ")));
                    return None;
                }
            } else {
                self.diagnostics.error(Code::WrongType, at, format!("`{from_type}.{path}` is no reference"));
                return None;
            }
        }
        Some(())
    }

    /// The links that lead from a resource type, as rows of its program.
    pub(super) fn link_tries(&self, resource_type: &str) -> Vec<(u16, Vec<Trie>)> {
        let mut found = Vec::new();
        for (slot, link) in self.links.iter().enumerate().filter(|(_, l)| l.resource_type == resource_type) {
            let Ok(target) = target::parse(&link.path) else { continue };
            let mut inner: Vec<Trie> = Vec::new();
            for step in target.steps.iter().rev() {
                inner = vec![Trie {
                    name: step.name.clone(),
                    label: format!("->{slot}"),
                    extension: step.extension.clone(),
                    key: format!("->{slot}"),
                    location: link.location,
                    wholes: Vec::new(),
                    guard: None,
                    children: inner,
                    through: None,
                    extra: None,
                }];
            }
            found.push((slot as u16, inner));
        }
        found
    }

    /// The link slot that a row of [`Self::link_tries`] stands for.
    pub(super) fn link_of(&self, trie: &Trie) -> Option<u16> {
        trie.key.strip_prefix("->").and_then(|n| n.parse().ok())
    }
}
