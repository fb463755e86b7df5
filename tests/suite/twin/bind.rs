//! Message maps: which segments make which resources, their names, links and identities.
use super::place::{Context, Frame};
use super::tree::Tree;
use super::{Instance, PartKey, Twin, message};
use handoff::fhir::shape;
use handoff::hl7::Structure;
use handoff::mapping::expression::{Demand, Value};
use handoff::mapping::source::{Link, MapSource, MessageSource, PlaceSource, Sources, Statement};
use std::rc::Rc;

/// A resource bound to a name.
pub struct Bound {
    name: String,
    /// The group instance that the name belongs to: the nearest that repeats.
    scope: usize,
    segment: usize,
    instance: usize,
}

/// A statement that was carried out for a segment.
struct Done {
    statement: Statement,
    context: Context,
    instance: Option<usize>,
}

impl Twin<'_> {
    pub fn bind(&mut self, message_map: &MessageSource) {
        let (places, all) = message::statements(self.sources, message_map);
        let mut done: Vec<Done> = Vec::new();
        for segment in 0..self.message.segment_count() {
            let statements =
                placed(self.structure, &self.matcher.placement(segment), self.matcher.instances(), &places);
            if statements.is_empty() {
                self.unmapped.push(segment);
            }
            for (statement, inherited) in statements {
                if inherited
                    && statement.add
                    && !all.iter().any(|other| other.binding == statement.binding && !other.add)
                {
                    continue;
                }
                let scope = self.matcher.placement(segment).instance as usize;
                let frame = Frame { segment, scope, ..Frame::default() };
                let context = Context { frame, map: statement.map.clone(), ..Context::default() };
                if statement.guard.as_ref().is_some_and(|guard| !self.holds(guard, &context)) {
                    continue;
                }
                let mut instance = None;
                if !statement.add {
                    if !self.has_required(&statement.map, &context) {
                        continue;
                    }
                    let Some(made) = self.instance_of(&statement.map, &context) else { continue };
                    self.bind_name(&statement.binding, &context, made);
                    instance = Some(made);
                }
                done.push(Done { statement: statement.clone(), context, instance });
            }
        }
        for one in done.iter_mut().filter(|one| one.instance.is_none()) {
            one.instance = self.named(&one.statement.binding, one.context.frame.scope, one.context.frame.segment);
            if let Some(instance) = one.instance {
                self.add_part(instance, (0, one.statement.map.clone(), 0), one.context.clone());
            }
        }
        for one in &done {
            if let Some(instance) = one.instance {
                for link in &one.statement.links {
                    self.link(link, one, instance, &all);
                }
            }
        }
    }

    pub fn repeats(&self, scope: usize) -> bool {
        let instance = self.matcher.instances()[scope];
        let parent = &self.matcher.instances()[instance.parent as usize];
        scope == 0 || self.structure.groups[usize::from(parent.group)].children[usize::from(instance.child)].repeats
    }

    fn bind_name(&mut self, name: &str, context: &Context, instance: usize) {
        let mut scope = context.frame.scope;
        while !self.repeats(scope) {
            scope = self.parent(scope);
        }
        self.bounds.push(Bound { name: name.to_owned(), scope, segment: context.frame.segment, instance });
    }

    /// The resource that a name means: in the nearest group that has one, the last up to the segment, else the first behind it.
    pub fn named(&self, name: &str, scope: usize, segment: usize) -> Option<usize> {
        self.named_at(name, scope, segment).map(|(_, instance)| instance)
    }

    /// The same, with the segment that bound it, if that stands in the groups around.
    fn named_at(&self, name: &str, scope: usize, segment: usize) -> Option<(Option<usize>, usize)> {
        let (mut at, mut from) = (scope, scope);
        loop {
            let here: Vec<&Bound> =
                self.bounds.iter().filter(|bound| bound.name == name && bound.scope == at).collect();
            let before = here.iter().rev().find(|bound| bound.segment <= segment);
            if let Some(found) = before.or(here.first()) {
                return Some((Some(found.segment), found.instance));
            }
            let mut below = self
                .bounds
                .iter()
                .filter(|bound| bound.name == name)
                .filter_map(|bound| Some((self.child_above(bound.scope, at)?, bound)));
            if let (Some((through, only)), None) = (below.next(), below.next()) {
                // Another occurrence of the group that we came out of may be another patient's.
                let groups = self.matcher.instances();
                let sibling = through != from && groups[through].group == groups[from].group;
                return (!sibling).then_some((None, only.instance));
            }
            if at == 0 {
                return None;
            }
            (from, at) = (at, self.parent(at));
        }
    }

    /// The patient that an identity means: of all that are named so, the one whose segment stands nearest before.
    pub fn patient(&self, context: &Context) -> Option<usize> {
        let (scope, segment) = (context.frame.scope, context.frame.segment);
        let mut names: Vec<&String> =
            self.bounds.iter().map(|bound| &bound.name).filter(|name| name.starts_with("patient")).collect();
        names.sort();
        names.dedup();
        let found = names.into_iter().filter_map(|name| self.named_at(name, scope, segment));
        found
            .filter(|(at, _)| at.is_none_or(|at| at <= segment))
            .max_by_key(|(at, _)| at.map_or(0, |at| at + 1))
            .map(|(_, instance)| instance)
    }

    /// The group instance right below `ancestor` that leads to a scope.
    fn child_above(&self, scope: usize, ancestor: usize) -> Option<usize> {
        let mut at = scope;
        while at != 0 {
            if self.parent(at) == ancestor {
                return Some(at);
            }
            at = self.parent(at);
        }
        None
    }

    fn link(&mut self, link: &Link, done: &Done, instance: usize, all: &[Statement]) {
        let frame = &done.context.frame;
        let resolve = |twin: &Self, name: &str| {
            if name == done.statement.binding { Some(instance) } else { twin.named(name, frame.scope, frame.segment) }
        };
        let Some((from, path)) = message::link_from(link, all) else { return };
        let from = from.map_or(Some(instance), |name| resolve(self, name));
        let (Some(from), Some(to)) = (from, resolve(self, &link.to)) else { return };
        let kind = self.instances[from].kind.clone();
        let Some(slot) = self.slots.iter().position(|(resource, known)| *resource == kind && known == path) else {
            return;
        };
        let links = &mut self.instances[from].links;
        if !links.contains(&(slot, to)) {
            links.push((slot, to));
        }
    }

    /// Whether a resource would have what it cannot do without.
    pub fn has_required(&mut self, map: &str, context: &Context) -> bool {
        let kind = self.sources.maps[map].to.clone();
        let trees = self.trees(map);
        let own = Context { map: map.to_owned(), ..context.clone() };
        trees.iter().all(|tree| {
            let demanded = tree.wholes.iter().any(|whole| matches!(whole, super::tree::Whole::Row(row) if matches!(row.demand, Demand::Required | Demand::Fatal)));
            !demanded || self.try_whole(&kind, tree, &own)
        })
    }

    /// The resource that a map makes of what the context reads: the one of that identity, or a new one. None of a distinct map, when another map made that one.
    pub fn instance_of(&mut self, map: &str, context: &Context) -> Option<usize> {
        let sources = self.sources;
        let definition = &sources.maps[map];
        let context = Context { map: map.to_owned(), ..context.clone() };
        let is_segment = context.frame.value.is_none();
        let (mut identity, known) = self.identity(definition, &context);
        let part: PartKey = (0, map.to_owned(), 0);
        if !known && !is_segment {
            return Some(self.new_instance(&definition.to, None, part, context));
        }
        if !known {
            identity.push(format!("{map} {}", context.frame.segment));
        }
        let find = |twin: &Self, identity: &[String]| {
            let same = |one: &Instance| one.kind == definition.to && one.identity.as_deref() == Some(identity);
            twin.instances.iter().position(same)
        };
        let mut old = find(self, &identity);
        if old.is_some() && definition.events {
            identity.push(format!("again {}", context.frame.segment));
            old = find(self, &identity);
        }
        let Some(old) = old else { return Some(self.new_instance(&definition.to, Some(identity), part, context)) };
        if definition.distinct && !self.instances[old].parts.iter().any(|(other, _)| *other == part) {
            return None;
        }
        self.add_part(old, part, context);
        Some(old)
    }

    fn identity(&self, map: &MapSource, context: &Context) -> (Vec<String>, bool) {
        let (mut values, mut known) = (Vec::new(), false);
        for (row, _) in &map.identity {
            let mut found = String::new();
            for alternative in &row.alternatives {
                if alternative.guard.as_ref().is_some_and(|guard| !self.holds(guard, context)) {
                    continue;
                }
                if let Some(text) = self.text(&alternative.value, context) {
                    let text = self.bytes_of(&text);
                    let mapped = alternative.table.as_ref().and_then(|table| self.table_row(table, &text));
                    found = mapped.map_or_else(|| String::from_utf8_lossy(&text).into_owned(), |row| row.fhir.clone());
                    let constant = match &alternative.value {
                        Value::Literal(_) => true,
                        Value::Call(name, _) => {
                            ["patient", "position", "authority", "system", "uri"].contains(&name.as_str())
                        }
                        _ => false,
                    };
                    known |= !constant;
                    break;
                }
            }
            values.push(found);
        }
        (values, known)
    }

    pub fn new_instance(
        &mut self,
        kind: &str,
        identity: Option<Vec<String>>,
        part: PartKey,
        context: Context,
    ) -> usize {
        let contained = identity.is_none();
        self.next_id += 1;
        let id = if contained { format!("c{}", self.contained.len() + 1) } else { format!("twin-{}", self.next_id) };
        self.instances.push(Instance {
            kind: kind.to_owned(),
            id,
            contained,
            identity,
            parts: Vec::new(),
            links: Vec::new(),
        });
        let number = self.instances.len() - 1;
        if contained {
            self.contained.push(number);
        }
        self.add_part(number, part, context);
        number
    }

    pub fn add_part(&mut self, instance: usize, part: PartKey, context: Context) {
        self.instances[instance].parts.push((part, context));
    }

    /// The rows of a map as a tree.
    pub fn trees(&mut self, map: &str) -> Rc<Vec<Tree>> {
        let sources = self.sources;
        self.forest
            .entry(map.to_owned())
            .or_insert_with(|| Rc::new(super::tree::of_rows(&sources.maps[map].rows)))
            .clone()
    }
}

/// The statements for a segment at its place, with whether they are inherited.
pub fn placed<'p>(
    structure: &Structure,
    placement: &handoff::hl7::Placement,
    instances: &[handoff::hl7::Instance],
    places: &'p [(PlaceSource, bool)],
) -> Vec<(&'p Statement, bool)> {
    let group = &structure.groups[usize::from(instances[placement.instance as usize].group)];
    let Some(child) = group.children.get(usize::from(placement.child)) else { return Vec::new() };
    let path = group.path.split_once('.').map_or("", |(_, below)| below);
    let here = |key: &str| places.iter().find(|(place, _)| place.group == path && place.key == key);
    let found = here(&child.key).or_else(|| here(child.key.split('#').next().unwrap_or("")));
    found.map_or_else(Vec::new, |(place, inherited)| {
        place.statements.iter().map(|statement| (statement, *inherited)).collect()
    })
}

/// Resource type and path of every link, in the order in which the message maps name them.
pub fn slots(sources: &Sources) -> Vec<(String, String)> {
    let mut slots: Vec<(String, String)> = Vec::new();
    for map in sources.messages.values() {
        let (places, all) = message::statements(sources, map);
        for statement in places.iter().flat_map(|(place, _)| &place.statements) {
            for link in &statement.links {
                let Some((from, path)) = message::link_from(link, &all) else { continue };
                let Some(resource) = message::type_of(sources, from.unwrap_or(&statement.binding), &all) else {
                    continue;
                };
                let first = path.split(['.', '[']).next().unwrap_or(path);
                let leads =
                    shape::child(&resource, first).is_some() && message::type_of(sources, &link.to, &all).is_some();
                if leads && !slots.iter().any(|(kind, known)| *kind == resource && known == path) {
                    slots.push((resource, path.to_owned()));
                }
            }
        }
    }
    slots
}
