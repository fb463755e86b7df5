//! One right side → one value: through datatype maps, tables, references.
use super::place::Context;
use super::text::Text;
use super::tree::{Behind, Tree, Whole};
use super::{Layer, One, Out, PartKey, Slot, Twin, Wrote, row_coding};
use handoff::fhir::shape::{self, CodeSet};
use handoff::mapping::expression::{Alternative, Argument, Row, Value};
use handoff::mapping::source::{SwitchSource, TableRow};
use serde_json::{Value as Json, json};
use std::rc::Rc;

/// What an element takes.
#[derive(Clone)]
pub struct Wanted {
    types: Vec<String>,
    codes: Option<&'static CodeSet>,
    /// Of several types, the one taken becomes part of the name.
    choice: bool,
}

impl Wanted {
    fn of(slot: &Slot) -> Wanted {
        let types = slot.element.types.iter().map(|kind| kind.name.to_owned());
        Wanted {
            types: types.filter(|kind| slot.chosen.as_ref().is_none_or(|chosen| chosen == kind)).collect(),
            codes: slot.element.required_codes.and_then(shape::required_codes),
            choice: slot.element.is_choice() && slot.chosen.is_none(),
        }
    }

    fn takes(&self, kind: &str) -> bool {
        self.types.iter().any(|known| known == kind)
    }
}

impl Twin<'_> {
    /// A value without sub-rows: the first row that gives one.
    pub fn values(&mut self, slot: &Slot, group: &[One]) -> Out {
        let wanted = Wanted::of(slot);
        for one in group {
            for tree in alternatives(&one.tree) {
                for context in &one.contexts {
                    let out = self.whole(&tree, &wanted, context);
                    if out.value.is_some() {
                        return out;
                    }
                }
            }
        }
        Out::nothing()
    }

    fn whole(&mut self, tree: &Tree, wanted: &Wanted, context: &Context) -> Out {
        if let Some(slot) = tree.link {
            let links = &self.instances[self.current].links;
            let at = self.link.or_else(|| links.iter().position(|(known, _)| *known == slot));
            let kind = wanted.choice.then(|| "Reference".to_owned());
            return at.map_or_else(Out::nothing, |at| Out { kind, ..self.reference(links[at].1) });
        }
        if let (Some(behind), true) = (&tree.behind, tree.wholes.is_empty()) {
            return self.behind_alone(behind, context);
        }
        for whole in &tree.wholes {
            let out = match whole {
                Whole::Row(row) => self.row(row, tree.behind.as_ref(), wanted, context),
                Whole::Switch(switch) => self.switch(switch, wanted, context),
            };
            if out.value.is_some() {
                return out;
            }
        }
        Out::nothing()
    }

    /// Whether a row that a resource cannot do without gives a value.
    pub fn try_whole(&mut self, kind: &str, tree: &Tree, context: &Context) -> bool {
        let wanted = Wanted::of(&Slot::of(kind, &tree.name));
        let plain = Tree { behind: None, ..tree.clone() };
        let (link, contained) = (self.link.take(), self.contained.clone());
        let parts: Vec<usize> = self.instances.iter().map(|instance| instance.parts.len()).collect();
        let found = self.whole(&plain, &wanted, context).value.is_some();
        // It was only tried: what it made is taken back.
        self.instances.truncate(parts.len());
        self.instances.iter_mut().zip(parts).for_each(|(instance, parts)| instance.parts.truncate(parts));
        (self.link, self.contained) = (link, contained);
        found
    }

    fn row(&mut self, row: &Row, behind: Option<&Behind>, wanted: &Wanted, context: &Context) -> Out {
        for alternative in &row.alternatives {
            if alternative.guard.as_ref().is_some_and(|guard| !self.holds(guard, context)) {
                continue;
            }
            let (mut out, kind) = self.alternative(alternative, behind, wanted, context);
            if out.value.is_some() {
                out.kind = wanted.choice.then_some(kind);
                return out;
            }
        }
        Out::nothing()
    }

    fn switch(&mut self, switch: &SwitchSource, wanted: &Wanted, context: &Context) -> Out {
        let code = self.plain(&Value::Path(switch.on.clone()), context);
        let case = |wanted: &[u8]| {
            switch.cases.iter().find(|(codes, ..)| codes.iter().any(|code| code.as_bytes() == wanted && code != "*"))
        };
        let default = || switch.cases.iter().find(|(codes, ..)| codes.iter().any(|code| code == "*"));
        match case(&code).or_else(default) {
            Some((_, row, _)) => self.row(row, None, wanted, context),
            None => Out::nothing(),
        }
    }

    /// The value of an alternative, and its FHIR type.
    fn alternative(
        &mut self,
        alternative: &Alternative,
        behind: Option<&Behind>,
        wanted: &Wanted,
        context: &Context,
    ) -> (Out, String) {
        let (via, table) = (alternative.via.as_ref(), alternative.table.as_deref());
        match &alternative.value {
            Value::Call(name, arguments) if name == "coding" => return self.coding(arguments, wanted, context),
            Value::Call(name, arguments) if name == "ref" => {
                let [Argument::Word(name)] = &arguments[..] else { panic!("ref({arguments:?})") };
                let found = self.named(name, context.frame.scope, context.frame.segment);
                return (found.map_or_else(Out::nothing, |instance| self.reference(instance)), "Reference".into());
            }
            _ => {}
        }
        if let Some(via) = via.filter(|via| via.name.contains('.')) {
            let map = &self.sources.maps[&via.name];
            let (name, to) = (map.name.clone(), map.to.clone());
            if shape::is_resource(&to) {
                return (self.made(&name, alternative, behind, context), "Reference".into());
            }
            let kind = if wanted.takes(&to) {
                to.clone()
            } else {
                wanted.types.iter().find(|kind| alike(kind, &to)).unwrap_or(&to).clone()
            };
            let Some(located) = self.span_of(&alternative.value, context) else { return (Out::nothing(), kind) };
            if let (Some(table), "Coding") = (table, to.as_str())
                && let Some(row) = self
                    .text(&alternative.value, context)
                    .and_then(|text| self.table_row(table, self.bytes_of(&text).trim_ascii()))
            {
                return (Out::new(row_coding(row), Wrote::Sourced), kind);
            }
            let inner = self.inside(&name, &via.arguments, context, located);
            let value = self.sources.maps[&name].value.clone();
            let out = match value {
                Some((row, _)) => {
                    self.row(&row, None, &Wanted { types: vec![to], codes: wanted.codes, choice: false }, &inner)
                }
                None => self.datatype(&name, &to, inner, table.map(|table| (table, located))),
            };
            return (out, kind);
        }
        self.plainly(alternative, wanted, context)
    }

    fn datatype(&mut self, map: &str, to: &str, inner: Context, table: Option<(&str, super::place::Located)>) -> Out {
        let mark = (self.instances.len(), self.contained.len());
        let trees = self.trees(map).to_vec();
        let reads = trees.iter().any(super::element::reads);
        if let Some(whole) = super::tree::of_itself(&self.sources.maps[map].rows, &trees) {
            return self.object(to, &[One { tree: whole, part: None, contexts: vec![inner] }]);
        }
        let layer = Layer { trees, part: None, contexts: vec![inner] };
        if let Some((mut object, mut wrote)) = self.children(to, &[layer], false) {
            if let Some((table, located)) = table {
                wrote = wrote.max(self.mapped_first(&mut object, table, located));
            }
            if wrote == Wrote::Sourced || (wrote == Wrote::Literal && !reads) {
                return Out::new(Json::Object(object), wrote);
            }
        }
        self.instances.truncate(mark.0);
        self.contained.truncate(mark.1);
        Out::nothing()
    }

    /// A primitive, or a code through a table.
    fn plainly(&mut self, alternative: &Alternative, wanted: &Wanted, context: &Context) -> (Out, String) {
        let (via, table) = (alternative.via.as_ref().map(|via| via.name.as_str()), alternative.table.as_deref());
        let text = self.text(&alternative.value, context);
        let single = if wanted.types.len() == 1 { Some(wanted.types[0].as_str()) } else { None };
        let concept = via.or(single).filter(|kind| table.is_some() && ["Coding", "CodeableConcept"].contains(kind));
        if let Some(kind) = concept {
            return (
                text.map_or_else(Out::nothing, |text| self.table_coding(&text, table.unwrap_or(""), kind)),
                kind.to_owned(),
            );
        }
        let natural = via.unwrap_or(match &alternative.value {
            _ if table.is_some() => "code",
            Value::Call(name, _) if ["authority", "system", "uri"].contains(&name.as_str()) => "uri",
            _ => "string",
        });
        let kind = if wanted.takes(natural) { natural } else { single.unwrap_or(natural) }.to_owned();
        let Some(text) = text else { return (Out::nothing(), kind) };
        let found = match (table, &text) {
            (Some(table), _) => self
                .table_row(table, self.bytes_of(&text).trim_ascii())
                .map(|row| if kind == "boolean" { Json::Bool(row.fhir == "true") } else { json!(row.fhir) }),
            (None, Text::Fixed(literal))
                if ["boolean", "integer", "positiveInt", "unsignedInt", "decimal"].contains(&kind.as_str()) =>
            {
                serde_json::from_str(literal).ok()
            }
            (None, Text::Fixed(literal)) => Some(json!(literal)),
            (None, _) => self.primitive(&text, &kind, wanted.codes),
        };
        let wrote = if matches!(text, Text::Fixed(_)) && table.is_none() { Wrote::Literal } else { Wrote::Sourced };
        (found.map_or_else(Out::nothing, |value| Out::new(value, wrote)), kind)
    }

    fn table_coding(&mut self, text: &Text, table: &str, kind: &str) -> Out {
        let coding = match self.table_row(table, self.bytes_of(text).trim_ascii()) {
            Some(row) => row_coding(row),
            None => match self.primitive(text, "code", None) {
                Some(code) => json!({ "code": code }),
                None => return Out::nothing(),
            },
        };
        Out::new(if kind == "Coding" { coding } else { json!({ "coding": [coding] }) }, Wrote::Sourced)
    }

    fn coding(&mut self, arguments: &[Argument], wanted: &Wanted, context: &Context) -> (Out, String) {
        let kind = if wanted.takes("CodeableConcept") { "CodeableConcept" } else { "Coding" };
        let system = match &arguments[0] {
            Argument::Word(word) | Argument::Value(Value::Literal(word)) => {
                self.sources.short.get(word).cloned().unwrap_or_else(|| match word {
                    word if word.contains(':') => word.clone(),
                    word => format!("http://terminology.hl7.org/CodeSystem/{word}"),
                })
            }
            Argument::Value(_) => panic!("a system that is read"),
        };
        let Some(text) = self.argument_text(&arguments[1], context) else { return (Out::nothing(), kind.into()) };
        let Some(code) = self.primitive(&text, "code", None) else { return (Out::nothing(), kind.into()) };
        let mut coding = json!({ "system": system, "code": code });
        let display = arguments.get(2).and_then(|argument| self.argument_text(argument, context));
        if let Some(display) = display.and_then(|text| self.primitive(&text, "string", None)) {
            coding["display"] = display;
        }
        let wrote = if matches!(text, Text::Fixed(_)) { Wrote::Literal } else { Wrote::Sourced };
        (Out::new(if kind == "Coding" { coding } else { json!({ "coding": [coding] }) }, wrote), kind.into())
    }

    /// A reference to the resource that a map makes of a value.
    fn made(&mut self, map: &str, alternative: &Alternative, behind: Option<&Behind>, context: &Context) -> Out {
        let arguments = alternative.via.as_ref().map_or(&[][..], |via| &via.arguments);
        let Some(located) = self.span_of(&alternative.value, context) else { return Out::nothing() };
        let inner = self.inside(map, arguments, context, located);
        if !self.has_required(map, &inner) {
            return Out::nothing();
        }
        let Some(instance) = self.instance_of(map, &inner) else { return Out::nothing() };
        if let Some(behind) = behind
            && behind.resource.as_ref().is_none_or(|kind| *kind == self.instances[instance].kind)
        {
            let part = self.behind_part(behind, context);
            self.add_part(instance, part, context.clone());
        }
        self.reference(instance)
    }

    /// `destination->Location.name` without a row for `destination`: there when one of its rows is.
    fn behind_alone(&mut self, behind: &Behind, context: &Context) -> Out {
        fn values(trees: &[Tree], into: &mut Vec<Value>) {
            for tree in trees {
                for whole in &tree.wholes {
                    if let Whole::Row(row) = whole {
                        into.extend(row.alternatives.iter().map(|alternative| alternative.value.clone()));
                    }
                }
                values(&tree.children, into);
            }
        }
        let mut read = Vec::new();
        values(&behind.trees, &mut read);
        let valued = |value: &Value| {
            matches!(value, Value::Path(_))
                && self.holds(&handoff::mapping::expression::Condition::Valued(value.clone()), context)
        };
        if !read.iter().any(valued) {
            return Out::nothing();
        }
        let kind = behind.resource.clone().expect("the type behind an arrow");
        let part = self.behind_part(behind, context);
        let instance = self.new_instance(&kind, None, part, context.clone());
        self.reference(instance)
    }

    fn behind_part(&mut self, behind: &Behind, context: &Context) -> PartKey {
        let part = (1, context.map.clone(), behind.number);
        self.behinds.insert(part.clone(), Rc::clone(&behind.trees));
        part
    }

    fn reference(&self, instance: usize) -> Out {
        let Some(found) = self.instances.get(instance) else { return Out::nothing() };
        let reference = if found.contained { format!("#{}", found.id) } else { format!("urn:uuid:{}", found.id) };
        Out::new(json!({ "reference": reference }), Wrote::Sourced)
    }

    /// The row of a code: as it stands, else in upper case.
    pub fn table_row(&self, table: &str, code: &[u8]) -> Option<&TableRow> {
        let code = std::str::from_utf8(code).ok()?;
        let rows = || self.sources.tables[table].rows.iter().filter(|row| !row.fhir.is_empty());
        rows().find(|row| row.code == code).or_else(|| rows().find(|row| row.code == code.to_ascii_uppercase()))
    }
}

/// A tree for each alternative of its row: each is asked of all occurrences before the next.
fn alternatives(tree: &Tree) -> Vec<Tree> {
    let [Whole::Row(row)] = &tree.wholes[..] else { return vec![tree.clone()] };
    let one = |alternative: &Alternative| Tree {
        wholes: vec![Whole::Row(Row { alternatives: vec![alternative.clone()], demand: row.demand })],
        ..tree.clone()
    };
    row.alternatives.iter().map(one).collect()
}

/// Whether a map to one of these types may fill an element of the other.
fn alike(one: &str, other: &str) -> bool {
    let group = |kind: &str| match kind {
        "Quantity" | "SimpleQuantity" | "Age" | "Duration" | "Count" | "Distance" | "MoneyQuantity" => 1,
        "string" | "markdown" => 2,
        "uri" | "url" | "canonical" | "oid" | "uuid" => 3,
        _ => 0,
    };
    group(one) > 0 && group(one) == group(other)
}
