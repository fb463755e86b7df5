//! One right side → alternatives: what is written, as which FHIR type, under which guard.
use super::{Compiler, Place, Scope, closed};
use crate::fhir::shape::{self, CodeSet};
use crate::mapping::diagnostic::{Code, nearest};
use crate::mapping::expression::{Alternative as Ast, Argument, Row, Value};
use crate::mapping::plan::*;
use crate::mapping::source::Location;
use std::collections::HashMap;
use std::rc::Rc;

/// What an element accepts.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Type name and allowed reference targets.
    pub types: Vec<(String, Vec<String>)>,
    pub codes: Option<&'static CodeSet>,
    /// `deceased` for `deceased[x]`: alternatives bring their own keys.
    pub choice: Option<String>,
    pub element: String,
}

/// What a right side yields.
struct Found {
    emit: Emit,
    type_name: String,
}

impl Compiler<'_, '_> {
    /// Compiles the alternatives of a row into `out`.
    #[expect(clippy::too_many_arguments, reason = "as for `alternative`")]
    pub(super) fn alternatives(
        &mut self,
        row: &Row,
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
        rule: RuleId,
        out: &mut Vec<Alternative>,
    ) {
        let extra = None;
        for alternative in &row.alternatives {
            self.alternative(alternative, extra, wanted, place, depth, at, rule, out);
        }
        if let (Some(last), crate::mapping::expression::Demand::Warn) = (out.last_mut(), row.demand) {
            last.warn = true;
        }
    }

    /// Compiles one alternative; `extra` is the part behind `->`.
    #[expect(clippy::too_many_arguments, reason = "one leaf of the compiler; a struct would only rename the arguments")]
    pub(super) fn alternative(
        &mut self,
        ast: &Ast,
        extra: Option<PartId>,
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
        rule: RuleId,
        out: &mut Vec<Alternative>,
    ) {
        let (part, place, depth) = Self::enter_part(place, depth);
        let guard = self.guard(ast.guard.as_ref(), &place, depth, at);
        let inner = place.inner;
        let Some(found) = self.found(ast, extra, wanted, &place, depth, at) else { return };
        let key = match &wanted.choice {
            Some(base) => {
                let mut name = found.type_name.clone();
                name[..1].make_ascii_uppercase();
                self.key_text(&format!("{base}{name}"))
            }
            None => Text::default(),
        };
        let alternative = |emit| Alternative { part, inner, guard, key, ..Alternative::new(emit, rule) };
        // A table in front of a datatype map: the mapped Coding, else the message's.
        if let (Emit::Map { source, .. }, "Coding", Some(name)) = (&found.emit, found.type_name.as_str(), &ast.table)
            && let Some(table) = self.table_id(name, at)
        {
            out.push(alternative(Emit::TableCoding { source: *source, table, concept: false, hit_only: true }));
        }
        out.push(alternative(found.emit));
    }

    /// A row of the root reads the frame of its part; within, that frame is at hand.
    pub(super) fn enter_part(place: &Place, depth: u8) -> (u8, Place, u8) {
        if place.part == CURRENT {
            (CURRENT, place.clone(), depth)
        } else {
            (place.part, Place { part: CURRENT, level: 0, ..place.clone() }, 0)
        }
    }

    fn found(
        &mut self,
        ast: &Ast,
        extra: Option<PartId>,
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> Option<Found> {
        match &ast.value {
            Value::Call(name, arguments) if name == "coding" => {
                return self.coding(arguments, wanted, place, depth, at);
            }
            Value::Call(name, arguments) if name == "ref" => return self.reference(arguments, wanted, at),
            _ => {}
        }
        match &ast.via {
            Some(via) if via.name.contains('.') => self.through_map(ast, extra, wanted, place, depth, at),
            via => self.primitive(ast, via.as_ref().map(|v| v.name.as_str()), wanted, place, depth, at),
        }
    }

    fn wrong(&mut self, wanted: &Wanted, got: &str, at: Location) -> Option<Found> {
        let names: Vec<&str> = wanted.types.iter().map(|t| t.0.as_str()).collect();
        let suggestion = match names.as_slice() {
            ["CodeableConcept"] => {
                Some("write `: CWE.CodeableConcept`, `@Table : CodeableConcept` or `coding(system, code)`".to_owned())
            }
            [one] => self
                .sources
                .maps
                .keys()
                .find(|m| m.split('.').nth(1) == Some(one))
                .map(|m| format!("go through a map to {one}, such as `: {m}`")),
            _ => None,
        };
        let text = format!("`{}` takes {}, not {got}", wanted.element, names.join(" or "));
        self.diagnostics.error(Code::WrongType, at, text).suggest_some(suggestion);
        None
    }

    fn coding(
        &mut self,
        arguments: &[Argument],
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> Option<Found> {
        if !(2..=3).contains(&arguments.len()) {
            self.diagnostics.error(Code::UnknownFunction, at, "`coding` takes a system, a code and perhaps a display");
            return None;
        }
        let type_name = ["CodeableConcept", "Coding"].into_iter().find(|t| wanted.types.iter().any(|w| w.0 == *t));
        let Some(type_name) = type_name else { return self.wrong(wanted, "a coding", at) };
        let system = match &arguments[0] {
            Argument::Word(word) => self.system_uri(word),
            Argument::Value(Value::Literal(text)) if text.contains(':') => text.clone(),
            Argument::Value(Value::Literal(text)) => self.system_uri(text),
            Argument::Value(_) => {
                self.diagnostics.error(Code::UnknownFunction, at, "the system of `coding` is a name or a URL");
                return None;
            }
        };
        let system = self.text(system.as_bytes());
        let system = self.source(Source::Literal(system));
        let code = self.argument(&arguments[1], place, depth, at);
        let display = match arguments.get(2) {
            Some(argument) => self.argument(argument, place, depth, at),
            None => self.source(Source::Nothing),
        };
        let concept = type_name == "CodeableConcept";
        let emit = match self.fixed_coding([system, code, display], concept) {
            Some(text) => Emit::Literal(text),
            None => Emit::Coding { system, code, display, concept },
        };
        Some(Found { emit, type_name: type_name.into() })
    }

    /// A coding of constants, rendered once.
    fn fixed_coding(&mut self, parts: [SourceId; 3], concept: bool) -> Option<Text> {
        let mut out = Vec::from(if concept { &b"{\"coding\":[{"[..] } else { b"{" });
        for (key, part) in [("system", parts[0]), ("code", parts[1]), ("display", parts[2])] {
            match &self.plan.sources[part as usize] {
                Source::Literal(text) => {
                    out.extend_from_slice(if out.ends_with(b"{") { b"\"" } else { b",\"" });
                    out.extend_from_slice(key.as_bytes());
                    out.extend_from_slice(b"\":");
                    crate::fhir::json::string(&mut out, self.plan.text(*text));
                }
                Source::Nothing => {}
                _ => return None,
            }
        }
        out.extend_from_slice(if concept { b"}]}" } else { b"}" });
        Some(self.text(&out))
    }

    fn system_uri(&self, word: &str) -> String {
        match self.sources.short.get(word) {
            Some(uri) => uri.clone(),
            None if word.contains("://") || word.starts_with("urn:") => word.to_owned(),
            None => format!("http://terminology.hl7.org/CodeSystem/{word}"),
        }
    }

    fn reference(&mut self, arguments: &[Argument], wanted: &Wanted, at: Location) -> Option<Found> {
        let [Argument::Word(name)] = arguments else {
            self.diagnostics.error(
                Code::UnknownFunction,
                at,
                "`ref` takes the name of a resource bound by the message map",
            );
            return None;
        };
        if !wanted.types.iter().any(|t| t.0 == "Reference") {
            return self.wrong(wanted, "a reference", at);
        }
        let bound = self
            .sources
            .messages
            .values()
            .flat_map(|m| &m.places)
            .flat_map(|p| &p.statements)
            .any(|s| s.binding == *name);
        if !bound {
            let names: Vec<String> = self
                .sources
                .messages
                .values()
                .flat_map(|m| &m.places)
                .flat_map(|p| &p.statements)
                .map(|s| s.binding.clone())
                .collect();
            let suggestion = nearest(name, names.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
            self.diagnostics
                .error(Code::UnknownName, at, format!("no message map binds `{name}`"))
                .suggest_some(suggestion);
        }
        let binding = self.binding(name);
        Some(Found { emit: Emit::Bound(binding), type_name: "Reference".into() })
    }

    fn through_map(
        &mut self,
        ast: &Ast,
        extra: Option<PartId>,
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> Option<Found> {
        let via = ast.via.as_ref()?;
        let map = self.map(via, at)?.clone();
        let source = self.value(&ast.value, place, depth, at);
        if shape::is_resource(&map.to) {
            if !via.arguments.is_empty() {
                let text = format!("{} makes a resource, which takes no parameters", map.name);
                self.diagnostics
                    .error(Code::UnknownName, at, text)
                    .suggest_last("write a row through the reference, such as `recorder->RelatedPerson.relationship`");
            }
            let targets = wanted.types.iter().find(|t| t.0 == "Reference").map(|t| t.1.clone());
            let Some(targets) = targets else { return self.wrong(wanted, &map.to, at) };
            if !targets.is_empty() && !targets.contains(&map.to) && !targets.iter().any(|t| t == "Resource") {
                let text = format!("`{}` may not refer to {}", wanted.element, map.to);
                self.diagnostics
                    .error(Code::WrongReference, at, text)
                    .suggest_last(format!("allowed: {}", targets.join(", ")));
                return None;
            }
            let part = self.parts.iter().position(|p| p.map == map.name).map(|p| p as PartId);
            return Some(Found {
                emit: Emit::Resource { source, part, extra, guard: NONE },
                type_name: "Reference".into(),
            });
        }
        let primitive = map.value.is_some();
        let exact = wanted.types.iter().find(|t| t.0 == map.to);
        let accepted = exact.or_else(|| wanted.types.iter().find(|t| compatible(&t.0, &map.to, primitive)));
        let Some((type_name, _)) = accepted.cloned() else { return self.wrong(wanted, &map.to, at) };
        let parameters: HashMap<String, (Value, Place)> =
            via.arguments.iter().map(|(name, value)| (name.clone(), (value.clone(), place.clone()))).collect();
        for name in parameters.keys() {
            if !map.parameters.contains(name) {
                self.diagnostics.error(Code::UnknownName, at, format!("{} has no parameter `{name}`", map.name));
            }
        }
        let table = match (&ast.table, map.to.as_str()) {
            (Some(name), "CodeableConcept") => self.table_id(name, at),
            (Some(_), "Coding") | (None, _) => None,
            (Some(name), _) => {
                self.diagnostics.error(
                    Code::WrongType,
                    at,
                    format!("`@{name}` goes with a CodeableConcept, a Coding or a plain code, not with {}", map.to),
                );
                None
            }
        };
        let node = self.map_node(&map.name, parameters, table, wanted.codes, depth, at)?;
        Some(Found { emit: Emit::Map { source, node, keeps: closed::keeps(&map.from) }, type_name })
    }

    /// The node of a datatype map: shared, or a copy of its own where parameters or a table come in.
    fn map_node(
        &mut self,
        name: &str,
        parameters: HashMap<String, (Value, Place)>,
        table: Option<u16>,
        codes: Option<&'static CodeSet>,
        depth: u8,
        at: Location,
    ) -> Option<NodeId> {
        let shared = parameters.is_empty() && table.is_none();
        if let (true, Some(node)) = (shared, self.map_nodes.get(name)) {
            return Some(*node);
        }
        if self.calls.iter().any(|c| c == name) {
            self.diagnostics.error(
                Code::Cycle,
                at,
                format!("the maps call one another in a circle: {} → {name}", self.calls.join(" → ")),
            );
            return None;
        }
        let map = self.sources.maps.get(name)?;
        self.calls.push(name.to_owned());
        let depth = if shared { 0 } else { depth + 1 };
        let place = Place {
            scope: Scope::Datatype(map.from.clone()),
            part: CURRENT,
            level: depth,
            inner: false,
            map: name.to_owned(),
            parameters: Rc::new(parameters),
            driver: None,
        };
        let node = match &map.value {
            Some((row, location)) => {
                let wanted =
                    Wanted { types: vec![(map.to.clone(), Vec::new())], codes, choice: None, element: name.to_owned() };
                let rule = self.rule(name, "value", *location);
                let mut alternatives = Vec::new();
                self.alternatives(row, &wanted, &place, depth, *location, rule, &mut alternatives);
                self.value_node(alternatives, codes)
            }
            None => self.datatype_object(&map.to, &map.rows, &place, depth, table),
        };
        self.calls.pop();
        if shared {
            self.map_nodes.insert(name.to_owned(), node);
        }
        Some(node)
    }

    pub(super) fn value_node(&mut self, alternatives: Vec<Alternative>, codes: Option<&'static CodeSet>) -> NodeId {
        let start = self.plan.alternatives.len() as u32;
        self.plan.alternatives.extend(alternatives);
        let end = self.plan.alternatives.len() as u32;
        self.node(Node::Value { alternatives: start..end, codes })
    }

    fn primitive(
        &mut self,
        ast: &Ast,
        via: Option<&str>,
        wanted: &Wanted,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> Option<Found> {
        let table = match &ast.table {
            Some(name) => Some(self.table_id(name, at)?),
            None => None,
        };
        let concept = ["CodeableConcept", "Coding"].into_iter().find(|t| match via {
            Some(via) => via == *t,
            None => wanted.types.len() == 1 && wanted.types[0].0 == *t && table.is_some(),
        });
        if let (Some(type_name), Some(table)) = (concept, table) {
            if !wanted.types.iter().any(|t| t.0 == type_name) {
                return self.wrong(wanted, type_name, at);
            }
            let source = self.value(&ast.value, place, depth, at);
            let emit = Emit::TableCoding { source, table, concept: type_name == "CodeableConcept", hit_only: false };
            return Some(Found { emit, type_name: type_name.into() });
        }
        if let Some(via) = via
            && !shape::is_primitive(via)
        {
            let primitives =
                ["dateTime", "date", "string", "code", "boolean", "integer", "decimal", "instant", "positiveInt"];
            let suggestion = match nearest(via, primitives) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a primitive type such as `date`, or a map by its whole name, such as `CWE.CodeableConcept`"
                    .to_owned(),
            };
            self.diagnostics
                .error(Code::UnknownType, at, format!("`{via}` is neither a primitive type nor a map"))
                .suggest_last(suggestion);
            return None;
        }
        let natural = via.unwrap_or(match &ast.value {
            _ if table.is_some() => "code",
            Value::Call(name, _) if ["authority", "system", "uri"].contains(&name.as_str()) => "uri",
            _ => "string",
        });
        let exact = wanted.types.iter().find(|t| t.0 == natural || (t.0.starts_with("http:") && natural == "string"));
        let single = (wanted.types.len() == 1 && wanted.choice.is_none() && shape::is_primitive(&wanted.types[0].0))
            .then(|| &wanted.types[0]);
        let Some((type_name, _)) = exact.or(single).cloned() else { return self.wrong(wanted, natural, at) };
        if via.is_some()
            && exact.is_none()
            && conversion(natural) != conversion(&type_name)
            && !matches!(conversion(&type_name), Some(Conversion::String))
        {
            return self.wrong(wanted, natural, at);
        }
        let conversion = conversion(&type_name).unwrap_or(Conversion::String);
        if let (Some(codes), Some(table)) = (wanted.codes, table) {
            self.table_codes(table, codes);
        }
        if let (Value::Literal(text), None) = (&ast.value, table) {
            return Some(Found { emit: Emit::Literal(self.literal(text, conversion, wanted, at)), type_name });
        }
        let source = self.value(&ast.value, place, depth, at);
        Some(Found { emit: Emit::Primitive { source, conversion, table }, type_name })
    }

    fn literal(&mut self, text: &str, conversion: Conversion, wanted: &Wanted, at: Location) -> Text {
        if let Some(codes) = wanted.codes
            && !codes.contains(text)
        {
            let suggestion = match nearest(text, codes.codes()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of: {}", codes.codes().take(12).collect::<Vec<_>>().join(", ")),
            };
            self.diagnostics
                .error(Code::NotInCodes, at, format!("`{text}` is not a code that `{}` accepts", wanted.element))
                .suggest_last(suggestion);
        }
        let bare = matches!(
            conversion,
            Conversion::Boolean
                | Conversion::Decimal
                | Conversion::Integer
                | Conversion::PositiveInt
                | Conversion::UnsignedInt
        );
        if !bare {
            return self.json_text(text);
        }
        if text != "true" && text != "false" && text.parse::<f64>().is_err() {
            self.diagnostics.error(Code::WrongType, at, format!("`{text}` is no value for `{}`", wanted.element));
        }
        self.text(text.as_bytes())
    }

    /// A row that is only needed as text: a part of an identity.
    pub(super) fn text_row(&mut self, row: &Row, place: &Place, at: Location, rule: RuleId) -> NodeId {
        let wanted = Wanted {
            types: vec![("string".into(), Vec::new())],
            codes: None,
            choice: None,
            element: "identity".into(),
        };
        let mut alternatives = Vec::new();
        self.alternatives(row, &wanted, place, 0, at, rule, &mut alternatives);
        self.value_node(alternatives, None)
    }
}

/// Whether a map to `got` may fill an element of type `wanted`.
fn compatible(wanted: &str, got: &str, primitive: bool) -> bool {
    const QUANTITIES: [&str; 7] =
        ["Quantity", "SimpleQuantity", "Age", "Duration", "Count", "Distance", "MoneyQuantity"];
    wanted == got
        || (QUANTITIES.contains(&wanted) && QUANTITIES.contains(&got))
        || (primitive && shape::is_primitive(wanted) && conversion(wanted) == conversion(got))
}

/// How text becomes a primitive of this type; none for other types.
pub(super) fn conversion(type_name: &str) -> Option<Conversion> {
    Some(match type_name {
        "string" | "markdown" | "xhtml" | "http://hl7.org/fhirpath/System.String" => Conversion::String,
        "code" => Conversion::Code,
        "uri" | "url" | "canonical" | "oid" | "uuid" => Conversion::Uri,
        "id" => Conversion::Id,
        "date" => Conversion::Date,
        "dateTime" => Conversion::DateTime,
        "instant" => Conversion::Instant,
        "time" => Conversion::Time,
        "decimal" => Conversion::Decimal,
        "integer" => Conversion::Integer,
        "positiveInt" => Conversion::PositiveInt,
        "unsignedInt" => Conversion::UnsignedInt,
        "boolean" => Conversion::Boolean,
        "base64Binary" => Conversion::Base64,
        _ => return None,
    })
}
