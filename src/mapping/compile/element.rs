//! Grouped rows → objects, lists and values, in the order in which R4 defines the elements.
use super::trie::{Trie, Whole};
use super::value::Wanted;
use super::{Compiler, Place, Scope, trie};
use crate::fhir::shape::{self, Element};
use crate::mapping::diagnostic::Code;
use crate::mapping::expression::{Demand, Row, Value};
use crate::mapping::plan::*;
use crate::mapping::source::{RowSource, RowValue};
use std::collections::BTreeMap;

/// Rows with the place they are compiled at.
type Layer<'t> = (&'t [Trie], Place);
pub(super) type One<'t> = (&'t Trie, Place);

/// What is known of an element when its rows are compiled.
pub(super) struct Slot<'e> {
    pub element: &'e Element,
    /// Spelled-out choice type (`valueQuantity`), if the row says so.
    pub chosen: Option<String>,
    pub parent: String,
}

impl Compiler<'_, '_> {
    /// The root object of a resource: all parts side by side, and the links that lead from it.
    pub(super) fn root(&mut self, resource_type: &str, layers: &[Layer<'_>], parts: &[PartId]) -> NodeId {
        let links: Vec<(u16, Vec<Trie>)> = self.link_tries(resource_type);
        let mut all: Vec<Layer<'_>> = Vec::new();
        for (_, tries) in &links {
            let place = Place {
                scope: Scope::Datatype(String::new()),
                part: CURRENT,
                level: 0,
                inner: false,
                map: String::new(),
                parameters: Default::default(),
                driver: None,
            };
            all.push((tries, place));
        }
        all.extend(layers.iter().map(|(t, p)| (*t, p.clone())));
        let (children, _) = self.children(resource_type, &all, 0, true);
        for (part, (tries, place)) in parts.iter().zip(layers) {
            let required = self.required_rows(resource_type, tries, &Place { part: CURRENT, ..place.clone() });
            self.plan.parts[usize::from(*part)].required = required;
        }
        self.node(Node::Object { children, enter: NONE, has_source: false, period: false })
    }

    /// The rows of a resource that it cannot do without, as nodes of their own that are looked at before the resource is made.
    fn required_rows(&mut self, resource_type: &str, tries: &[Trie], place: &Place) -> Vec<(NodeId, RuleId, bool)> {
        let mut found = Vec::new();
        for trie in tries {
            for whole in &trie.wholes {
                let Whole::Row(row, location) = whole else { continue };
                if matches!(row.demand, Demand::Required | Demand::Fatal)
                    && let Some(slot) = self.slot(resource_type, trie)
                {
                    let rule = self.rule(&place.map, &trie.key, *location);
                    let wanted = self.wanted(&slot, trie);
                    let mut alternatives = Vec::new();
                    self.alternatives(row, &wanted, place, 0, *location, rule, &mut alternatives);
                    found.push((self.value_node(alternatives, None), rule, row.demand == Demand::Fatal));
                }
            }
        }
        found
    }

    pub(super) fn datatype_object(
        &mut self,
        to: &str,
        rows: &[RowSource],
        place: &Place,
        depth: u8,
        table: Option<u16>,
    ) -> NodeId {
        let tries = trie::group(rows);
        if let Some(row) = rows.iter().find(|row| row.target.steps.is_empty()) {
            return self.spread_root(to, row, tries, place, depth);
        }
        let (children, has_source) = self.children(to, &[(&tries, place.clone())], depth, false);
        if let Some(table) = table {
            self.table_first(&children, table);
        }
        self.node(Node::Object { children, enter: NONE, has_source, period: to == "Period" })
    }

    /// A datatype map with a row `"*"`: another map is spread over the element, the rows beside it win.
    fn spread_root(&mut self, to: &str, row: &RowSource, tries: Vec<Trie>, place: &Place, depth: u8) -> NodeId {
        let RowValue::Expression(expression, location) = &row.value else { return self.value_node(Vec::new(), None) };
        let whole = Trie {
            name: "*".into(),
            label: String::new(),
            extension: None,
            key: row.key.clone(),
            location: row.location,
            wholes: vec![Whole::Row(expression.clone(), *location)],
            guard: None,
            children: tries,
            through: None,
            extra: None,
        };
        match self.object(to, &[(&whole, place.clone())], depth, Vec::new()) {
            Some((node, _)) => node,
            None => self.value_node(Vec::new(), None),
        }
    }

    /// Puts the coding that the table gives in front of the message's own codings.
    fn table_first(&mut self, children: &std::ops::Range<u32>, table: u16) {
        let key = self.key_text("coding");
        let lists: Vec<u32> = children.clone().filter(|c| self.plan.children[*c as usize].key == key).collect();
        let Some(child) = lists.first() else { return };
        let list = self.plan.children[*child as usize].node;
        let Node::List { items } = &self.plan.nodes[list as usize] else { return };
        let mut copies: Vec<Item> = self.plan.items[items.start as usize..items.end as usize].to_vec();
        if let Some(first) = copies.first_mut() {
            let differs = self.push_condition(Condition::NotFromTable(table));
            first.guard = if first.guard == NONE {
                differs
            } else {
                self.push_condition(Condition::And(vec![first.guard, differs]))
            };
        }
        let node = self.node(Node::TableCoding { table });
        copies.insert(
            0,
            Item { node, part: CURRENT, guard: NONE, repeat: Repeat::Once, inner: false, need: ALWAYS, only: NONE },
        );
        let start = self.plan.items.len() as u32;
        self.plan.items.extend(copies);
        let end = self.plan.items.len() as u32;
        self.plan.nodes[list as usize] = Node::List { items: start..end };
    }

    /// Compiles the children of an object from all layers that write it; tells whether any reads the message.
    fn children(&mut self, parent: &str, layers: &[Layer<'_>], depth: u8, root: bool) -> (std::ops::Range<u32>, bool) {
        let mut groups: BTreeMap<(u16, String), Vec<One<'_>>> = BTreeMap::new();
        for (tries, place) in layers {
            for trie in *tries {
                if let Some(slot) = self.slot(parent, trie) {
                    let key = (
                        slot.element.order,
                        slot.chosen.map_or_else(|| slot.element.name.to_string(), |_| trie.name.clone()),
                    );
                    groups.entry(key).or_default().push((trie, place.clone()));
                }
            }
        }
        if !root && let Some(first) = layers.iter().flat_map(|(tries, _)| tries.iter()).next() {
            let written = groups.keys().map(|(order, _)| *order).collect();
            self.missing_below(parent, &written, first.location);
        }
        let (mut found, mut has_source) = (Vec::new(), false);
        for ((_, name), group) in groups {
            let Some(slot) = self.slot(parent, group[0].0) else { continue };
            for (child, sourced) in self.child(&slot, &name, &group, depth, root) {
                has_source |= sourced;
                found.push(child);
            }
        }
        let start = self.plan.children.len() as u32;
        self.plan.children.extend(found);
        (start..self.plan.children.len() as u32, has_source)
    }

    fn slot(&mut self, parent: &str, trie: &Trie) -> Option<Slot<'static>> {
        if let Some(element) = shape::child(parent, &trie.name).filter(|e| e.name == trie.name) {
            return Some(Slot { element, chosen: None, parent: parent.to_owned() });
        }
        if let Some((element, chosen)) = shape::choice(parent, &trie.name) {
            return Some(Slot { element, chosen: Some(chosen.name.to_string()), parent: parent.to_owned() });
        }
        let suggestion = shape::suggestions(parent, &trie.name).first().map(|n| format!("did you mean `{n}`?"));
        let text = format!("{parent} has no element `{}`", trie.name);
        self.diagnostics.error(Code::UnknownElement, trie.location, text).suggest_some(suggestion);
        None
    }

    /// One element: its child entry, and `_name` for extensions of a primitive.
    fn child(&mut self, slot: &Slot<'_>, name: &str, group: &[One<'_>], depth: u8, root: bool) -> Vec<(Child, bool)> {
        // A choice whose type is spelled out (`occurrenceDateTime`) is that type.
        let only = || slot.element.types.first().filter(|_| slot.element.types.len() == 1).map(|kind| kind.name);
        let primitive = slot.chosen.as_deref().or_else(only).is_some_and(shape::is_primitive);
        let mut out = Vec::new();
        let choice = slot.element.name.ends_with("[x]") && slot.chosen.is_none();
        let key = if choice { Text::default() } else { self.key_text(name) };
        if primitive {
            let with_children = self.below_primitive(slot, name, group);
            let with_children: Vec<One<'_>> = with_children.iter().map(|(t, p)| (t, p.clone())).collect();
            if !with_children.is_empty() {
                let layers: Vec<Layer<'_>> =
                    with_children.iter().map(|(t, p)| (t.children.as_slice(), p.clone())).collect();
                let (children, has_source) = self.children("Element", &layers, depth, false);
                let node = self.node(Node::Object { children, enter: NONE, has_source, period: false });
                let key = self.key_text(&format!("_{name}"));
                out.push((
                    Child {
                        mask: Self::mask(&with_children),
                        inner: Self::inner(group),
                        ..Child::new(key, node, NONE)
                    },
                    has_source,
                ));
            }
        }
        let bare: Vec<(Trie, Place)> = group
            .iter()
            .filter(|(t, _)| !primitive || !t.wholes.is_empty())
            .map(|(t, p)| {
                (Trie { children: if primitive { Vec::new() } else { t.children.clone() }, ..(*t).clone() }, p.clone())
            })
            .collect();
        let group: Vec<One<'_>> = bare.iter().map(|(t, p)| (t, p.clone())).collect();
        if group.is_empty() {
            return out;
        }
        let compiled = if slot.element.many {
            self.list(slot, &group, depth)
        } else {
            self.single(slot, &group, depth).map(|(n, s)| (n, s, None))
        };
        let Some((node, sourced, _)) = compiled else { return out };
        let demand = group
            .iter()
            .flat_map(|(t, _)| &t.wholes)
            .find_map(|w| if let Whole::Row(row, _) = w { Some(row.demand) } else { None })
            .unwrap_or_default();
        let rule = self.rule(&group[0].1.map, &group[0].0.key, group[0].0.location);
        let child = Child {
            mask: Self::mask(&group),
            inner: Self::inner(&group),
            required: demand == Demand::Required && !root,
            ..Child::new(key, node, rule)
        };
        out.insert(0, (child, sourced));
        out
    }

    fn mask(group: &[One<'_>]) -> u64 {
        let mut mask = 0;
        for (_, place) in group {
            if place.part == CURRENT {
                return 0;
            }
            mask |= 1 << place.part;
        }
        mask
    }

    /// Whether all rows belong to the datatype map that is spread over the object.
    fn inner(group: &[One<'_>]) -> bool {
        group.iter().all(|(_, place)| place.inner)
    }

    pub(super) fn wanted(&mut self, slot: &Slot<'_>, trie: &Trie) -> Wanted {
        let types = slot.element.types.iter().filter(|t| slot.chosen.as_ref().is_none_or(|c| *c == t.name));
        Wanted {
            types: types.map(|t| (t.name.to_string(), t.targets.iter().map(|t| t.to_string()).collect())).collect(),
            codes: slot.element.required_codes.and_then(shape::required_codes),
            choice: slot.element.name.strip_suffix("[x]").filter(|_| slot.chosen.is_none()).map(str::to_owned),
            element: format!("{}.{}", slot.parent, trie.name),
        }
    }

    fn list(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool, Option<()>)> {
        let own_list = group.iter().any(|(_, p)| !p.inner);
        let mut items = Vec::new();
        let mut sourced = false;
        for (trie, place) in group {
            // A list that the rows around write replaces the list of the datatype map; extensions unite.
            if place.inner && own_list && trie.name != "extension" {
                self.replaced(group, trie);
                continue;
            }
            let (part, mut inside, depth) = Self::enter_part(place, depth);
            let repeat = match self.link_of(trie) {
                Some(link) => Repeat::Links(link),
                None => self.driver(slot, trie, &inside).map_or(Repeat::Once, Repeat::Field),
            };
            if let Repeat::Field(field) = repeat {
                inside.driver = Some(field);
            }
            let guard = self.guard(trie.guard.as_ref(), &inside, depth, trie.location);
            let unguarded = Trie { guard: None, ..(*trie).clone() };
            if let Some((node, has)) = self.single(slot, &[(&unguarded, inside)], depth) {
                sourced |= has;
                items.push(Item { node, part, guard, repeat, inner: place.inner, need: ALWAYS, only: NONE });
            }
        }
        if items.is_empty() {
            return None;
        }
        let start = self.plan.items.len() as u32;
        self.plan.items.extend(items);
        let end = self.plan.items.len() as u32;
        Some((self.node(Node::List { items: start..end }), sourced, None))
    }

    /// Codings that come from the message and are not written are lost in silence: that is seldom meant.
    fn replaced(&mut self, group: &[One<'_>], inner: &Trie) {
        let Some((own, _)) = group.iter().find(|(_, place)| !place.inner).filter(|_| inner.name == "coding") else {
            return;
        };
        let text = format!("`{}` takes the place of all codings that the map spread here gives", own.key);
        self.diagnostics.warning(Code::Replaces, own.location, text).suggest_last(
            "to have both, give `x : CWE.CodeableConcept @Table`, or spread the map into a slot of its own",
        );
    }

    /// The field that makes a slot repeat: the first repeating one that it reads for a part that is not itself a list.
    fn driver(&self, slot: &Slot<'_>, trie: &Trie, place: &Place) -> Option<u16> {
        for whole in &trie.wholes {
            let row = match whole {
                Whole::Row(row, _) => row,
                Whole::Switch(switch) => &switch.cases.first()?.1,
            };
            if let Some(field) = self.row_driver(row, place) {
                return Some(field);
            }
        }
        let type_name = slot.element.types.first()?.name.to_string();
        let parent = if trie.name == "extension" {
            "Extension".to_owned()
        } else {
            shape::child_type(&slot.parent, slot.element, &type_name).to_string()
        };
        trie.children.iter().find_map(|child| {
            // In an extension the value is one, whatever its path is called.
            let element =
                shape::child(&parent, &child.name).or_else(|| shape::choice(&parent, &child.name).map(|c| c.0));
            match element {
                Some(element) if element.many => None,
                Some(element) => self.driver(&Slot { element, chosen: None, parent: parent.clone() }, child, place),
                None => child
                    .wholes
                    .iter()
                    .find_map(|w| if let Whole::Row(row, _) = w { self.row_driver(row, place) } else { None }),
            }
        })
    }

    fn row_driver(&self, row: &Row, place: &Place) -> Option<u16> {
        row.alternatives.iter().find_map(|alternative| match &alternative.value {
            Value::Path(path) => self.repeating_field(path, place),
            Value::Call(name, arguments) if !["lines", "patient_id", "all_lines"].contains(&name.as_str()) => {
                arguments.iter().find_map(|a| match a {
                    crate::mapping::expression::Argument::Value(Value::Path(path)) => self.repeating_field(path, place),
                    _ => None,
                })
            }
            _ => None,
        })
    }

    /// An element that is written once (or one element of a list).
    fn single(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let (trie, _) = group[0];
        if group.iter().any(|(t, _)| t.guard.is_some()) {
            return self.guarded(slot, group, depth);
        }
        if trie.name == "extension" || trie.name == "modifierExtension" {
            return self.extension(group, depth);
        }
        if group.iter().all(|(t, _)| t.children.is_empty()) {
            return self.values(slot, group, depth);
        }
        if group.iter().any(|(t, _)| t.extra.is_some() && t.children.is_empty()) {
            return self.values(slot, group, depth);
        }
        if slot.element.types.iter().any(|t| t.name == "Reference") && group.iter().any(|(t, _)| !t.wholes.is_empty()) {
            return self.reference_with(slot, group, depth);
        }
        let whole = |one: &One<'_>| !one.0.wholes.is_empty();
        if group.iter().any(whole) && group.iter().any(|one| one.1.part != group[0].1.part) {
            return self.by_part(slot, group, depth);
        }
        let type_name = match (&slot.chosen, slot.element.types.as_slice()) {
            (Some(chosen), _) => chosen.clone(),
            (None, [one]) => one.name.to_string(),
            (None, _) => {
                let text = format!("`{}` is a choice; sub-rows need its type", slot.element.name);
                let spelled = slot.element.name.trim_end_matches("[x]");
                self.diagnostics
                    .error(Code::WrongType, trie.location, text)
                    .suggest_last(format!("spell it out, such as `{spelled}Quantity.unit`"));
                return None;
            }
        };
        let parent = shape::child_type(&slot.parent, slot.element, &type_name).to_string();
        self.object(&parent, group, depth, Vec::new())
    }

    /// Tables with an `if` on an element that is written once: each stands under its own guard.
    fn guarded(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let (mut alternatives, mut sourced) = (Vec::new(), false);
        for (trie, place) in group {
            let (part, inside, depth) = Self::enter_part(place, depth);
            let guard = self.guard(trie.guard.as_ref(), &inside, depth, trie.location);
            let rule = self.rule(&place.map, &trie.key, trie.location);
            let unguarded = Trie { guard: None, ..(*trie).clone() };
            if let Some((node, has)) = self.single(slot, &[(&unguarded, inside)], depth) {
                sourced |= has;
                alternatives.push(Alternative {
                    part,
                    inner: place.inner,
                    guard,
                    ..Alternative::new(Emit::Node(node), rule)
                });
            }
        }
        Some((self.value_node(alternatives, None), sourced))
    }

    /// A reference made by a row, with further elements (`display`) beside it.
    fn reference_with(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let rule = self.rule(&group[0].1.map, &group[0].0.key, group[0].0.location);
        let plain: Vec<(Trie, Place)> = group
            .iter()
            .filter(|(t, _)| !t.wholes.is_empty())
            .map(|(t, p)| (Trie { children: Vec::new(), ..(*t).clone() }, p.clone()))
            .collect();
        let plain: Vec<One<'_>> = plain.iter().map(|(t, p)| (t, p.clone())).collect();
        let (node, _) = self.values(slot, &plain, depth)?;
        if let Node::Value { alternatives, .. } = &self.plan.nodes[node as usize] {
            for alternative in &mut self.plan.alternatives[alternatives.start as usize..alternatives.end as usize] {
                alternative.bare = true;
            }
        }
        let key = self.key_text("reference");
        let fixed = vec![(Child::new(key, node, rule), true)];
        let layers: Vec<Layer<'_>> = group.iter().map(|(t, p)| (t.children.as_slice(), p.clone())).collect();
        let (children, _) = self.children("Reference", &layers, depth, false);
        let children = self.prepend(fixed, children);
        Some((self.node(Node::Object { children, enter: NONE, has_source: true, period: false }), true))
    }

    /// Parts that write the same element in different ways: the first part that writes anything wins.
    fn by_part(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let (mut alternatives, mut sourced, mut seen) = (Vec::new(), false, Vec::new());
        for (_, place) in group {
            if seen.contains(&place.part) {
                continue;
            }
            seen.push(place.part);
            let own: Vec<One<'_>> = group.iter().filter(|one| one.1.part == place.part).cloned().collect();
            let rule = self.rule(&place.map, &own[0].0.key, own[0].0.location);
            if let Some((node, has)) = self.single(slot, &own, depth) {
                sourced |= has;
                alternatives.push(Alternative::new(Emit::Node(node), rule));
            }
        }
        Some((self.value_node(alternatives, None), sourced))
    }

    /// An object from sub-rows and, perhaps, one datatype map spread over it.
    pub(super) fn object(
        &mut self,
        parent: &str,
        group: &[One<'_>],
        depth: u8,
        fixed: Vec<(Child, bool)>,
    ) -> Option<(NodeId, bool)> {
        let spread = group.iter().find_map(|(t, p)| {
            t.wholes.iter().find_map(|w| if let Whole::Row(row, at) = w { Some((row, *at, p)) } else { None })
        });
        let Some((row, at, place)) = spread else {
            let layers: Vec<Layer<'_>> = group.iter().map(|(t, p)| (t.children.as_slice(), p.clone())).collect();
            let (children, has_source) = self.children(parent, &layers, depth, false);
            let children = self.prepend(fixed, children);
            return Some((
                self.node(Node::Object { children, enter: NONE, has_source, period: parent == "Period" }),
                has_source,
            ));
        };
        let alternative = &row.alternatives[0];
        if row.alternatives.iter().any(|a| a.via != alternative.via) {
            self.diagnostics
                .error(Code::WrongType, at, "alternatives of a value with sub-rows must go through the same map")
                .suggest_last("write a slot for each, with `if`");
        }
        let map = match &alternative.via {
            Some(via) if via.name.contains('.') => self.map(via, at)?.clone(),
            _ => {
                self.diagnostics.error(
                    Code::WrongType,
                    at,
                    format!("`{}` has sub-rows, so its own value must go through a datatype map", group[0].0.key),
                );
                return None;
            }
        };
        if map.rows.iter().any(|row| row.target.steps.is_empty()) {
            let text = format!("{} spreads a map itself, so it cannot be spread here", map.name);
            self.diagnostics.error(Code::WrongType, at, text).suggest_last("give it a slot of its own");
        }
        let (part, caller, depth) = Self::enter_part(place, depth);
        let sources = row
            .alternatives
            .iter()
            .map(|a| (self.value(&a.value, &caller, depth, at), self.guard(a.guard.as_ref(), &caller, depth, at)))
            .collect();
        let arguments = alternative
            .via
            .iter()
            .flat_map(|v| &v.arguments)
            .map(|(n, v)| (n.clone(), (v.clone(), caller.clone())))
            .collect();
        let inner_tries = trie::group(&map.rows);
        let inner = Place {
            scope: Scope::Datatype(map.from.clone()),
            part: CURRENT,
            level: depth + 1,
            inner: true,
            map: map.name.clone(),
            parameters: std::rc::Rc::new(arguments),
            driver: None,
        };
        // The rows around read one frame further up, if they are of the same part.
        // They are there whether or not this value is, even if they belong to a map that is itself spread.
        let around = |p: &Place| {
            let p = Place { inner: false, ..p.clone() };
            if p.part == place.part && part != CURRENT { Place { part: CURRENT, level: 0, ..p } } else { p }
        };
        let mut layers: Vec<Layer<'_>> = group.iter().map(|(t, p)| (t.children.as_slice(), around(p))).collect();
        layers.push((inner_tries.as_slice(), inner));
        let (children, has_source) = self.children(parent, &layers, depth + 1, false);
        if let (Some(name), "CodeableConcept") = (&alternative.table, map.to.as_str())
            && let Some(table) = self.table_id(name, at)
        {
            self.table_first(&children, table);
        }
        let children = self.prepend(fixed, children);
        let rule = self.rule(&place.map, &group[0].0.key, at);
        let enter = self.plan.enters.len() as u32;
        self.plan.enters.push(Enter { part, sources, rule });
        Some((self.node(Node::Object { children, enter, has_source, period: parent == "Period" }), has_source))
    }

    fn prepend(&mut self, fixed: Vec<(Child, bool)>, children: std::ops::Range<u32>) -> std::ops::Range<u32> {
        if fixed.is_empty() {
            return children;
        }
        let copies: Vec<Child> = fixed
            .into_iter()
            .map(|f| f.0)
            .chain(self.plan.children[children.start as usize..children.end as usize].iter().cloned())
            .collect();
        let start = self.plan.children.len() as u32;
        self.plan.children.extend(copies);
        start..self.plan.children.len() as u32
    }
}
