//! Rows → elements: objects, lists, single values, in the way the language says it.
use super::place::{Context, Frame, Located};
use super::tree::{Tree, Whole};
use super::{Layer, One, Out, Slot, Twin, Wide, Wrote};
use handoff::fhir::shape;
use handoff::hl7::names;
use handoff::mapping::expression::{Argument, Demand, Path, Repetition, Row, Value};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

impl Twin<'_> {
    /// The parts of an object, and the most that was written; nothing when a required part is missing.
    pub fn children(&mut self, parent: &str, layers: &[Layer], root: bool) -> Option<(Map<String, Json>, Wrote)> {
        let mut groups: BTreeMap<(u16, String), Vec<One>> = BTreeMap::new();
        for layer in layers {
            for tree in &layer.trees {
                let plain = shape::child(parent, &tree.name).filter(|element| element.name == tree.name);
                let element = plain
                    .or_else(|| shape::choice(parent, &tree.name).map(|found| found.0))
                    .unwrap_or_else(|| panic!("{parent}.{}", tree.name));
                let one = One { tree: tree.clone(), part: layer.part.clone(), contexts: layer.contexts.clone() };
                groups.entry((element.order, tree.name.clone())).or_default().push(one);
            }
        }
        let (mut object, mut wrote) = (Map::new(), Wrote::Nothing);
        for ((_, name), group) in groups {
            let slot = Slot::of(parent, &name);
            let mut bare = group;
            if slot.is_primitive() {
                let beside: Vec<Layer> =
                    bare.iter().filter(|one| !one.tree.children.is_empty()).map(One::below).collect();
                if !beside.is_empty() && !slot.element.many {
                    let out = self.plain_object("Element", &beside);
                    wrote = wrote.max(out.wrote);
                    out.put(&mut object, &format!("_{name}"));
                }
                bare.retain(|one| !one.tree.wholes.is_empty());
                bare.iter_mut().for_each(|one| one.tree.children.clear());
            }
            if bare.is_empty() {
                continue;
            }
            let out = if slot.element.many { self.list(&slot, &bare) } else { self.single(&slot, &bare) };
            let demand = bare
                .iter()
                .flat_map(|one| &one.tree.wholes)
                .find_map(|whole| if let Whole::Row(row) = whole { Some(row.demand) } else { None });
            if out.wrote == Wrote::Nothing && demand == Some(Demand::Required) && !root {
                return None;
            }
            wrote = wrote.max(out.wrote);
            out.put(&mut object, &name);
        }
        if parent == "Period" {
            ordered(&mut object);
        }
        Some((object, wrote))
    }

    /// An object without a value of its own: there when a part of it is, and if it reads the message, when that was read.
    fn plain_object(&mut self, parent: &str, layers: &[Layer]) -> Out {
        let mark = self.instances.len();
        let reads = layers.iter().flat_map(|layer| &layer.trees).any(reads);
        match self.children(parent, layers, false) {
            Some((object, wrote)) if wrote == Wrote::Sourced || (wrote == Wrote::Literal && !reads) => {
                Out::new(Json::Object(object), wrote)
            }
            _ => self.forget(mark),
        }
    }

    fn forget(&mut self, mark: usize) -> Out {
        self.instances.truncate(mark);
        self.contained.retain(|contained| *contained < mark);
        Out::nothing()
    }

    fn list(&mut self, slot: &Slot, group: &[One]) -> Out {
        let own = group.iter().any(|one| !one.is_spread());
        let (mut elements, mut wrote): (Vec<(usize, Json)>, Wrote) = (Vec::new(), Wrote::Nothing);
        let mark = self.instances.len();
        let mut occurrence = 0;
        for one in group.iter().filter(|one| !own || !one.is_spread() || one.tree.name == "extension") {
            for context in &one.contexts {
                occurrence += 1;
                for element in self.slot(slot, &one.tree, context) {
                    wrote = wrote.max(element.wrote);
                    let Some(value) = element.value else { continue };
                    if !(self.united() && elements.iter().any(|(_, other)| *other == value)) {
                        elements.push((occurrence, value));
                    }
                }
            }
        }
        if elements.is_empty() {
            return self.forget(mark);
        }
        Out::new(elements.into_iter().map(|(_, value)| value).collect(), wrote)
    }

    /// Whether the resource at hand unites several occurrences.
    fn united(&self) -> bool {
        self.instances[self.current].parts.len() > 1
    }

    /// The elements of one slot: one for each link, or for each repetition of its field.
    fn slot(&mut self, slot: &Slot, tree: &Tree, context: &Context) -> Vec<Out> {
        let mut contexts = vec![(context.clone(), self.link)];
        if let Some(number) = tree.link {
            let links = self.instances[self.current].links.iter().enumerate();
            contexts =
                links.filter(|(_, (slot, _))| *slot == number).map(|(at, _)| (context.clone(), Some(at))).collect();
        } else if let Some(field) = driver(slot, tree, context) {
            let span = self.message.field(context.frame.segment, field.into());
            if !span.is_empty() {
                let repeated = |repetition| Context {
                    frame: Frame { repeating: Some((field, repetition)), ..context.frame.clone() },
                    ..context.clone()
                };
                contexts =
                    self.repetitions(span).into_iter().map(|repetition| (repeated(repetition), self.link)).collect();
            }
        }
        let outer = self.link;
        let mut found = Vec::new();
        for (context, link) in contexts {
            self.link = link;
            let mark = self.instances.len();
            let out = self.single(slot, &[One { tree: tree.clone(), part: None, contexts: vec![context] }]);
            if out.value.is_none() {
                self.forget(mark);
            }
            found.push(out);
        }
        self.link = outer;
        found
    }

    /// An element that is written once, or one element of a list.
    fn single(&mut self, slot: &Slot, group: &[One]) -> Out {
        let mut group = group.to_vec();
        for one in &mut group {
            if let Some(guard) = one.tree.guard.take() {
                one.contexts.retain(|context| self.holds(&guard, context));
            }
        }
        group.retain(|one| !one.contexts.is_empty());
        let Some(first) = group.first() else { return Out::nothing() };
        if first.tree.url.is_some() {
            return self.extension(slot, first);
        }
        let whole = |one: &One| !one.tree.wholes.is_empty() || one.tree.link.is_some() && one.tree.children.is_empty();
        let is_reference = slot.element.types.iter().any(|kind| kind.name == "Reference");
        if group.iter().all(|one| one.tree.children.is_empty()) {
            return self.values(slot, &group);
        }
        if is_reference && group.iter().any(|one| whole(one) || one.tree.behind.is_some()) {
            return self.reference_with_parts(slot, &group);
        }
        if group.iter().any(whole) && group.iter().any(|one| one.part != group[0].part) {
            let mut parts: Vec<_> = group.iter().map(|one| one.part.clone()).collect();
            parts.dedup();
            for part in parts {
                let own: Vec<One> = group.iter().filter(|one| one.part == part).cloned().collect();
                let out = self.single(slot, &own);
                if out.value.is_some() {
                    return out;
                }
            }
            return Out::nothing();
        }
        let kind = slot.chosen.clone().unwrap_or_else(|| slot.element.types[0].name.to_owned());
        let parent = shape::child_type(&slot.parent, slot.element, &kind).to_owned();
        self.object(&parent, &group)
    }

    /// `policyHolder = …` and `policyHolder.identifier = …`: a reference with further parts.
    fn reference_with_parts(&mut self, slot: &Slot, group: &[One]) -> Out {
        let mut bare = group.to_vec();
        bare.iter_mut().for_each(|one| one.tree.children.clear());
        bare.retain(|one| !one.tree.wholes.is_empty() || one.tree.behind.is_some() || one.tree.link.is_some());
        let linked = bare.iter().any(|one| one.tree.link.is_some());
        let reference = self.values(slot, &bare);
        // What a message map links says it all: parts (an identifier) are for want of the resource.
        if linked && reference.value.is_some() {
            return reference;
        }
        let below: Vec<Layer> = group.iter().filter(|one| !one.tree.children.is_empty()).map(One::below).collect();
        if below.is_empty() {
            return reference;
        }
        let Some((mut object, wrote)) = self.children("Reference", &below, false) else { return Out::nothing() };
        if let Some(Json::Object(found)) = reference.value {
            object.extend(found);
        }
        match wrote.max(reference.wrote) {
            Wrote::Sourced => Out::new(Json::Object(object), Wrote::Sourced),
            _ => Out::nothing(),
        }
    }

    /// An object from sub-rows and, perhaps, one datatype map spread over it.
    pub fn object(&mut self, parent: &str, group: &[One]) -> Out {
        let spread = group.iter().find_map(|one| {
            one.tree.wholes.iter().find_map(|whole| if let Whole::Row(row) = whole { Some((row, one)) } else { None })
        });
        let mut layers: Vec<Layer> = group.iter().map(One::below).collect();
        let Some((row, one)) = spread else { return self.plain_object(parent, &layers) };
        let via = row.alternatives[0].via.as_ref().expect("a map");
        let (map, mark) = (&self.sources.maps[&via.name], self.instances.len());
        let found = one.contexts.iter().find_map(|context| Some((context, self.first_source(row, context)?)));
        let map_trees = self.trees(&map.name);
        let around = found.map_or(&one.contexts[0], |(context, _)| context).clone();
        for (layer, other) in layers.iter_mut().zip(group) {
            if other.part == one.part && other.part.is_some() {
                layer.contexts = vec![around.clone()];
            }
        }
        if let Some((context, located)) = found {
            let parameters =
                via.arguments.iter().map(|(name, value)| (name.clone(), (value.clone(), context.clone()))).collect();
            let inner =
                Context { map: map.name.clone(), parameters: Rc::new(parameters), spread: true, ..context.at(located) };
            layers.push(Layer { trees: map_trees.to_vec(), part: None, contexts: vec![inner] });
        }
        let Some((mut object, mut wrote)) = self.children(parent, &layers, false) else { return self.forget(mark) };
        if let (Some(table), Some((_, located)), "CodeableConcept") =
            (&row.alternatives[0].table, found, map.to.as_str())
        {
            wrote = wrote.max(self.mapped_first(&mut object, table, located));
        }
        // Read or not, the value's own rows count: literals follow the source.
        let mut trees = layers.iter().flat_map(|layer| &layer.trees).chain(map_trees.iter());
        let literal = wrote == Wrote::Literal && !trees.any(reads);
        if wrote == Wrote::Sourced || literal { Out::new(Json::Object(object), wrote) } else { self.forget(mark) }
    }

    fn first_source(&self, row: &Row, context: &Context) -> Option<Located> {
        row.alternatives.iter().find_map(|alternative| {
            let holds = alternative.guard.as_ref().is_none_or(|guard| self.holds(guard, context));
            if holds { self.span_of(&alternative.value, context) } else { None }
        })
    }

    /// Puts the table's coding first, and drops those of the message that say the same.
    pub fn mapped_first(&self, concept: &mut Map<String, Json>, table: &str, value: Located) -> Wrote {
        let code = self.part(Located { span: value.span, wide: value.wide }, 1);
        let code = if code.wide == Wide::Component { self.part(code, 1) } else { code };
        let code = super::place::trimmed(self.message, code.span);
        let row = if handoff::hl7::is_null(self.message.bytes(code)) {
            None
        } else {
            self.table_row(table, &self.decoded(code))
        };
        let Some(row) = row else { return Wrote::Nothing };
        let mapped = super::row_coding(row);
        let same = |coding: &Json| {
            let system = coding.get("system");
            coding.get("code") == mapped.get("code")
                && (system.is_none() || mapped.get("system").is_none() || system == mapped.get("system"))
        };
        let mut codings = vec![mapped.clone()];
        codings.extend(
            concept
                .get("coding")
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter(|coding| !same(coding))
                .cloned(),
        );
        concept.insert("coding".into(), Json::Array(codings));
        Wrote::Sourced
    }

    /// Its URL, then a value or inner extensions.
    fn extension(&mut self, slot: &Slot, one: &One) -> Out {
        let name = one.tree.url.clone().unwrap_or_default();
        let bare = name.contains(':') || slot.parent == "Extension";
        let url = if bare { name } else { format!("http://hl7.org/fhir/StructureDefinition/{name}") };
        let mut tree = one.tree.clone();
        for child in &mut tree.children {
            if shape::child("Extension", &child.name).is_none() {
                child.name = format!("value{}{}", child.name[..1].to_ascii_uppercase(), &child.name[1..]);
            }
        }
        if !tree.wholes.is_empty() {
            let value =
                Tree { name: "value[x]".into(), label: String::new(), url: None, children: Vec::new(), ..tree.clone() };
            tree.wholes.clear();
            tree.children.push(value);
        }
        let mut out = self.object("Extension", &[One { tree, ..one.clone() }]);
        if let Some(Json::Object(object)) = &mut out.value {
            object.insert("url".into(), Json::String(url));
        }
        out
    }

    /// Makes the context of a datatype map's rows.
    pub fn inside(&self, map: &str, arguments: &[(String, Value)], context: &Context, value: Located) -> Context {
        let parameters: HashMap<_, _> =
            arguments.iter().map(|(name, value)| (name.clone(), (value.clone(), context.clone()))).collect();
        Context { map: map.to_owned(), parameters: Rc::new(parameters), spread: false, ..context.at(value) }
    }
}

/// A period does not end before it starts: such an end is left out.
fn ordered(period: &mut Map<String, Json>) {
    let day = |key: &str| {
        period.get(key).and_then(Json::as_str).map(|text| text.split('T').next().unwrap_or(text).to_owned())
    };
    if let (Some(start), Some(end)) = (day("start"), day("end"))
        && end[..end.len().min(start.len())] < start[..end.len().min(start.len())]
    {
        period.remove("end");
    }
}

/// Whether an element's rows read the message, so that its literals follow what was read.
pub fn reads(tree: &Tree) -> bool {
    let literal = |argument: &Argument| matches!(argument, Argument::Word(_) | Argument::Value(Value::Literal(_)));
    let whole = tree.wholes.iter().any(|whole| match whole {
        Whole::Switch(_) => true,
        Whole::Row(row) => row.alternatives.iter().any(|alternative| match &alternative.value {
            Value::Literal(_) => alternative.table.is_some(),
            Value::Call(name, arguments) if name == "coding" => !arguments[1..].iter().all(literal),
            _ => true,
        }),
    });
    whole || tree.link.is_some() || tree.behind.is_some() || tree.children.iter().any(reads)
}

/// The field that makes a slot repeat: the first repeating one that its rows read for a part that is not itself a list.
fn driver(slot: &Slot, tree: &Tree, context: &Context) -> Option<u16> {
    for whole in &tree.wholes {
        let row = match whole {
            Whole::Row(row) => row,
            Whole::Switch(switch) => &switch.cases.first()?.1,
        };
        if let Some(field) = row_driver(row, context) {
            return Some(field);
        }
    }
    let parent = match tree.name.as_str() {
        "extension" => "Extension".to_owned(),
        _ => shape::child_type(&slot.parent, slot.element, slot.element.types[0].name).to_owned(),
    };
    tree.children.iter().find_map(|child| match shape::child(&parent, &child.name) {
        Some(element) if element.many => None,
        Some(_) => driver(&Slot::of(&parent, &child.name), child, context),
        None => child
            .wholes
            .iter()
            .find_map(|whole| if let Whole::Row(row) = whole { row_driver(row, context) } else { None }),
    })
}

fn row_driver(row: &Row, context: &Context) -> Option<u16> {
    row.alternatives.iter().find_map(|alternative| match &alternative.value {
        Value::Path(path) => repeating(path, context),
        Value::Call(name, arguments) if name != "lines" && name != "patient_id" => {
            arguments.iter().find_map(|argument| {
                if let Argument::Value(Value::Path(path)) = argument { repeating(path, context) } else { None }
            })
        }
        _ => None,
    })
}

/// The field of a path of the own segment that may repeat and does not say which repetition.
fn repeating(path: &Path, context: &Context) -> Option<u16> {
    if context.frame.value.is_some() || path.segment.is_some() || path.repetition != Repetition::Current {
        return None;
    }
    let (segment, _) = context.map.split_once('.')?;
    let at_hand = context.frame.repeating.is_some_and(|(field, _)| field == path.field);
    let repeats =
        names::segment(segment).is_some_and(|known| known.field(path.field).is_some_and(|field| field.repeats));
    (!at_hand && (repeats || segment.starts_with('Z'))).then_some(path.field)
}
