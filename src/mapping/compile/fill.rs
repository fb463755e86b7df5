//! What fills an element: extensions, values, jump tables, references to resources that only rows behind `->` describe.
use super::element::{One, Slot};
use super::trie::{Trie, Whole};
use super::value::Wanted;
use super::{Compiler, Place, Scope};
use crate::fhir::shape;
use crate::mapping::diagnostic::Code;
use crate::mapping::expression::{Condition as AstCondition, Demand, Row, Value};
use crate::mapping::plan::*;
use crate::mapping::source::Location;

impl Compiler<'_, '_> {
    /// An extension: its URL, then a value or inner extensions.
    pub(super) fn extension(&mut self, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let (trie, place) = &group[0];
        let Some(name) = &trie.extension else {
            self.diagnostics
                .error(Code::UnknownElement, trie.location, "an extension needs its URL")
                .suggest_last("write `extension(patient-religion)` or `extension(http://…)`");
            return None;
        };
        // An extension right below another one is named by what stands there; one of an element within its value is not.
        let nested = trie.key.rfind(".extension(").is_some_and(|at| {
            let above = &trie.key[..at];
            let above =
                if above.ends_with(']') { above.rfind('[').map_or(above, |slot| &above[..slot]) } else { above };
            above.ends_with(')')
        });
        let url = if name.contains(':') || nested {
            name.clone()
        } else {
            format!("http://hl7.org/fhir/StructureDefinition/{name}")
        };
        let rule = self.rule(&place.map, &trie.key, trie.location);
        let literal = self.json_text(&url);
        let key = self.key_text("url");
        let alternative = Alternative::new(Emit::Literal(literal), rule);
        let node = self.value_node(vec![alternative], None);
        let fixed = vec![(Child { silent: true, ..Child::new(key, node, rule) }, false)];
        // Sub-rows other than inner extensions are paths into the value: `address.text` → `valueAddress.text`.
        let mut copy = (*trie).clone();
        for child in &mut copy.children {
            if shape::child("Extension", &child.name).is_none() && shape::choice("Extension", &child.name).is_none() {
                let mut spelled = child.name.clone();
                spelled[..1].make_ascii_uppercase();
                child.name = format!("value{spelled}");
            }
        }
        if let [Whole::Row(row, location)] = copy.wholes.as_slice() {
            let (row, location) = (row.clone(), *location);
            copy.wholes.clear();
            copy.children.push(Trie {
                name: "value[x]".into(),
                label: String::new(),
                extension: None,
                key: trie.key.clone(),
                location,
                wholes: vec![Whole::Row(row, location)],
                guard: None,
                children: Vec::new(),
                through: None,
                extra: None,
            });
        }
        self.object("Extension", &[(&copy, place.clone())], depth, fixed)
    }

    /// A value without sub-rows: the alternatives of all its rows, one after the other.
    pub(super) fn values(&mut self, slot: &Slot<'_>, group: &[One<'_>], depth: u8) -> Option<(NodeId, bool)> {
        let mut alternatives = Vec::new();
        let mut wholes_of_map: Vec<&str> = Vec::new();
        for (trie, place) in group {
            let wanted = self.wanted(slot, trie);
            if let Some(link) = self.link_of(trie) {
                let rule = self.links[usize::from(link)].rule;
                let key = match &wanted.choice {
                    Some(base) => self.key_text(&format!("{base}Reference")),
                    None => Text::default(),
                };
                alternatives.push(Alternative { key, ..Alternative::new(Emit::Link(link), rule) });
                continue;
            }
            if wholes_of_map.contains(&place.map.as_str()) && !place.inner || trie.wholes.len() > 1 {
                self.diagnostics
                    .error(Code::Duplicate, trie.location, format!("a second row for `{}`", trie.key))
                    .suggest_last("join them with `|`, or give list elements different labels");
            }
            wholes_of_map.push(&place.map);
            self.whole(slot, trie, place, &wanted, depth, &mut alternatives)?;
        }
        let sourced = alternatives.iter().any(|a| self.reads_message(&a.emit));
        let codes = slot.element.required_codes.and_then(shape::required_codes);
        Some((self.value_node(alternatives, codes), sourced))
    }

    fn whole(
        &mut self,
        slot: &Slot<'_>,
        trie: &Trie,
        place: &Place,
        wanted: &Wanted,
        depth: u8,
        out: &mut Vec<Alternative>,
    ) -> Option<()> {
        let extra = trie.extra;
        if trie.wholes.is_empty()
            && let Some(part) = extra
        {
            self.only_extra(trie, part, place, depth, out);
        }
        for whole in &trie.wholes {
            match whole {
                Whole::Switch(switch) => {
                    let node = self.switch(switch, trie, place, wanted, depth);
                    let (part, ..) = Self::enter_part(place, depth);
                    let rule = self.rule(&place.map, &trie.key, trie.location);
                    out.push(Alternative { part, inner: place.inner, ..Alternative::new(Emit::Node(node), rule) });
                }
                Whole::Row(row, at) => {
                    let rule = self.rule(&place.map, &trie.key, *at);
                    self.single_source(slot, row, place, *at);
                    for alternative in &row.alternatives {
                        self.alternative(alternative, extra, wanted, place, depth, *at, rule, out);
                    }
                    if let (Some(last), Demand::Warn) = (out.last_mut(), row.demand) {
                        last.warn = true;
                    }
                }
            }
        }
        Some(())
    }

    /// `destination->Location.name = "37.1"` without a row for `destination`: the resource is there when any of its rows is valued.
    fn only_extra(&mut self, trie: &Trie, part: PartId, place: &Place, depth: u8, out: &mut Vec<Alternative>) {
        let (outer, inside, depth) = Self::enter_part(place, depth);
        let mut paths = Vec::new();
        let tries = self.parts[usize::from(part)].tries.clone();
        collect_values(&tries, &mut paths);
        let conditions = paths.into_iter().map(AstCondition::Valued).collect();
        let guard = self.condition(&AstCondition::Or(conditions), &inside, depth, trie.location);
        let source = self.source(Source::Nothing);
        let rule = self.rule(&place.map, &trie.key, trie.location);
        let emit = Emit::Resource { source, part: None, extra: Some(part), guard };
        out.push(Alternative { part: outer, inner: place.inner, ..Alternative::new(emit, rule) });
    }

    /// A repeating field into an element that is written once needs a repetition.
    fn single_source(&mut self, slot: &Slot<'_>, row: &Row, place: &Place, at: Location) {
        if slot.element.many {
            return;
        }
        for alternative in &row.alternatives {
            if let Value::Path(path) = &alternative.value
                && let Some(field) = self.repeating_field(path, place)
                && matches!(&place.scope, Scope::Segment(s) if !s.starts_with('Z'))
            {
                let text =
                    format!("field {field} repeats, but `{}.{}` is written once", slot.parent, slot.element.name);
                self.diagnostics
                    .error(Code::Repeats, at, text)
                    .suggest_last(format!("say which repetition: `{field}[1]` or `{field}[last]`"));
            }
        }
    }

    fn switch(
        &mut self,
        switch: &crate::mapping::source::SwitchSource,
        trie: &Trie,
        place: &Place,
        wanted: &Wanted,
        depth: u8,
    ) -> NodeId {
        let (_, inside, depth) = Self::enter_part(place, depth);
        let path = self.path(&switch.on, &inside, depth, trie.location);
        let on = self.source(Source::Path(path));
        let (mut cases, mut default) = (Vec::new(), NONE);
        for (codes, row, at) in &switch.cases {
            let rule = self.rule(&place.map, &format!("{} switch {}", trie.key, codes.join(",")), *at);
            let mut alternatives = Vec::new();
            self.alternatives(row, wanted, &inside, depth, *at, rule, &mut alternatives);
            let node = self.value_node(alternatives, wanted.codes);
            for code in codes {
                if code == "*" {
                    default = node;
                } else {
                    cases.push((self.text(code.as_bytes()), node));
                }
            }
        }
        let start = self.plan.cases.len() as u32;
        self.plan.cases.extend(cases);
        let cases = start..self.plan.cases.len() as u32;
        self.node(Node::Switch { on, cases, default })
    }

    fn reads_message(&self, emit: &Emit) -> bool {
        match emit {
            Emit::Literal(_) => false,
            Emit::Coding { code, display, .. } => [code, display]
                .iter()
                .any(|s| !matches!(self.plan.sources[**s as usize], Source::Literal(_) | Source::Nothing)),
            _ => true,
        }
    }
}

fn collect_values(tries: &[Trie], out: &mut Vec<Value>) {
    for trie in tries {
        for whole in &trie.wholes {
            if let Whole::Row(row, _) = whole {
                out.extend(row.alternatives.iter().map(|a| a.value.clone()).filter(|v| matches!(v, Value::Path(_))));
            }
        }
        collect_values(&trie.children, out);
    }
}
