//! Expressions → sources and conditions: paths checked against the HL7 v2 definitions, functions against the closed set.
use super::{Compiler, Place, Scope};
use crate::hl7::names;
use crate::mapping::diagnostic::{Code, nearest};
use crate::mapping::expression::{self as ast, Argument, Operand, Value};
use crate::mapping::plan::{
    CURRENT, Condition, ConditionId, Measure, NONE, Path, RangePart, Repetition, Source, SourceId, packed,
};
use crate::mapping::source::Location;

/// The functions of the language, with the number of arguments each takes.
const FUNCTIONS: [(&str, usize, usize); 19] = [
    ("all_lines", 1, 20),
    ("base64", 1, 1),
    ("later", 3, 3),
    ("occurrence", 0, 0),
    ("beside", 1, 1),
    ("range_low", 1, 1),
    ("range_high", 1, 1),
    ("range_unit", 1, 1),
    ("authority", 1, 3),
    ("system", 1, 1),
    ("uri", 2, 2),
    ("lines", 1, 1),
    ("text", 1, 1),
    ("join", 2, 20),
    ("phone", 4, 4),
    ("ssn", 1, 1),
    ("patient_id", 1, 1),
    ("position", 0, 0),
    ("derived_status", 0, 0),
];

impl Compiler<'_, '_> {
    pub(super) fn value(&mut self, value: &Value, place: &Place, depth: u8, at: Location) -> SourceId {
        let source = match value {
            Value::Path(path) => Source::Path(self.path(path, place, depth, at)),
            Value::Literal(text) => Source::Literal(self.text(text.as_bytes())),
            Value::Parameter(name) => {
                if let Some((value, caller)) = place.parameters.clone().get(name) {
                    return self.value(value, caller, depth, at);
                }
                let known = self.sources.maps.get(&place.map).is_some_and(|m| m.parameters.contains(name));
                if !known {
                    self.diagnostics
                        .error(Code::UnknownName, at, format!("{} has no parameter `{name}`", place.map))
                        .suggest_last("declare it: `params = [\"unit\"]`");
                }
                Source::Nothing
            }
            Value::Call(name, arguments) => self.call(name, arguments, place, depth, at),
        };
        self.source(source)
    }

    fn call(&mut self, name: &str, arguments: &[Argument], place: &Place, depth: u8, at: Location) -> Source {
        if name == "patient" {
            return Source::Patient;
        }
        let Some((_, least, most)) = FUNCTIONS.iter().find(|(f, _, _)| *f == name) else {
            let suggestion = match name {
                "coding" | "ref" => "`coding(…)` and `ref(…)` stand alone, without `:` or `@`".to_owned(),
                _ => match nearest(name, FUNCTIONS.iter().map(|f| f.0)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known: {}", FUNCTIONS.map(|f| f.0).join(", ")),
                },
            };
            self.diagnostics
                .error(Code::UnknownFunction, at, format!("there is no function `{name}`"))
                .suggest_last(suggestion);
            return Source::Nothing;
        };
        if arguments.len() < *least || arguments.len() > *most {
            let text = format!("`{name}` takes {least} to {most} arguments, not {}", arguments.len());
            self.diagnostics.error(Code::UnknownFunction, at, text);
            return Source::Nothing;
        }
        match name {
            "lines" | "patient_id" => match &arguments[0] {
                Argument::Value(Value::Path(path)) => {
                    let path = self.path(path, place, depth, at);
                    if name == "lines" { Source::Lines(path) } else { Source::PatientId(path) }
                }
                _ => self.bad_argument(name, at),
            },
            "beside" => match &arguments[0] {
                Argument::Value(Value::Path(path)) if path.segment.is_some() => {
                    Source::Path(Path { beside: true, ..self.path(path, place, depth, at) })
                }
                _ => self.bad_argument("beside(SPM-4)", at),
            },
            "join" => {
                let Argument::Value(Value::Literal(separator)) = &arguments[0] else {
                    return self.bad_argument("join(' ', …)", at);
                };
                let separator = self.text(separator.as_bytes());
                Source::Join {
                    separator,
                    arguments: arguments[1..].iter().map(|a| self.argument(a, place, depth, at)).collect(),
                }
            }
            "all_lines" => self.all_lines(arguments, place, depth, at),
            "position" => Source::Position,
            "occurrence" => Source::Occurrence,
            "derived_status" => Source::DerivedStatus,
            _ => {
                let sources: Vec<SourceId> = arguments.iter().map(|a| self.argument(a, place, depth, at)).collect();
                match name {
                    "authority" => Source::Authority(sources),
                    "system" => Source::System(sources[0]),
                    "uri" => Source::Uri(sources[0], sources[1]),
                    "text" => Source::TextOf(sources[0]),
                    "base64" => Source::Base64(sources[0]),
                    "later" => Source::Later([sources[0], sources[1], sources[2]]),
                    "phone" => Source::Phone(sources),
                    "range_low" => Source::Range(sources[0], RangePart::Low),
                    "range_high" => Source::Range(sources[0], RangePart::High),
                    "range_unit" => Source::Range(sources[0], RangePart::Unit),
                    _ => Source::Ssn(sources[0]),
                }
            }
        }
    }

    /// `all_lines(OBX-5)`, `all_lines(OBX-5, OBX-2, TX, FT)`: whole fields of one other segment.
    fn all_lines(&mut self, arguments: &[Argument], place: &Place, depth: u8, at: Location) -> Source {
        let field = |argument: &Argument| match argument {
            Argument::Value(Value::Path(path))
                if path.segment.is_some() && path.component == 0 && path.repetition == ast::Repetition::Current =>
            {
                Some(path.clone())
            }
            _ => None,
        };
        let code = |argument: &Argument| match argument {
            Argument::Word(code) | Argument::Value(Value::Literal(code)) => Some(code.clone().into_bytes()),
            _ => None,
        };
        let paths: Vec<_> = arguments.iter().take(2).filter_map(field).collect();
        let codes: Vec<_> = arguments.iter().skip(2).filter_map(code).collect();
        let complete = paths.len() + codes.len() == arguments.len() && (arguments.len() == 1 || !codes.is_empty());
        match &paths[..] {
            [lines] if complete => Source::AllLines(self.path(lines, place, depth, at), None),
            [lines, only] if complete && lines.segment == only.segment => {
                let only = self.path(only, place, depth, at);
                Source::AllLines(self.path(lines, place, depth, at), Some((only, codes)))
            }
            _ => self.bad_argument("all_lines(OBX-5, OBX-2, TX, FT)", at),
        }
    }

    fn bad_argument(&mut self, call: &str, at: Location) -> Source {
        self.diagnostics
            .error(Code::UnknownFunction, at, format!("wrong argument for `{call}`"))
            .suggest_last("see the table of functions in mappings/README.md");
        Source::Nothing
    }

    pub(super) fn argument(&mut self, argument: &Argument, place: &Place, depth: u8, at: Location) -> SourceId {
        match argument {
            Argument::Value(value) => self.value(value, place, depth, at),
            Argument::Word(word) => {
                let text = self.text(word.as_bytes());
                self.source(Source::Literal(text))
            }
        }
    }

    pub(super) fn path(&mut self, path: &ast::Path, place: &Place, depth: u8, at: Location) -> Path {
        self.check_path(path, place, at);
        let segment = match &path.segment {
            Some(name) => self.segment_ref(name, at),
            None => CURRENT,
        };
        let repetition = match &path.repetition {
            ast::Repetition::Current => Repetition::Current,
            ast::Repetition::Index(n) => Repetition::Index(*n),
            ast::Repetition::Last => Repetition::Last,
            ast::Repetition::Filter(condition) => {
                let datatype = self.field_datatype(path, place).unwrap_or_default();
                let inside = Place {
                    scope: Scope::Datatype(datatype),
                    level: depth + 1,
                    part: CURRENT,
                    driver: None,
                    ..place.clone()
                };
                Repetition::Filter(self.condition(condition, &inside, depth + 1, at))
            }
        };
        let up = depth - place.level.min(depth);
        let (field, component, subcomponent) = (path.field, path.component, path.subcomponent);
        let own = up == 0 && segment == CURRENT && field > 0;
        let plain = own && repetition == Repetition::Current && component <= 1 && subcomponent <= 1;
        Path { up, segment, beside: false, field, repetition, component, subcomponent, plain }
    }

    fn field_datatype(&self, path: &ast::Path, place: &Place) -> Option<String> {
        let segment = match (&path.segment, &place.scope) {
            (Some(name), _) | (None, Scope::Segment(name)) => name,
            (None, Scope::Datatype(_)) => return None,
        };
        names::segment(segment)?.field(path.field).map(|f| f.datatype.to_string())
    }

    fn check_path(&mut self, path: &ast::Path, place: &Place, at: Location) {
        let segment = match (&path.segment, &place.scope) {
            (Some(name), _) | (None, Scope::Segment(name)) => name.clone(),
            (None, Scope::Datatype(name)) => {
                if path.field > 0 {
                    self.check_component(name, path.field, at);
                }
                return;
            }
        };
        let Some(definition) = names::segment(&segment) else { return };
        let Some(field) = definition.field(path.field) else {
            let count = definition.fields.len();
            let text = format!("{segment} has no field {}", path.field);
            self.diagnostics
                .error(Code::UnknownField, at, text)
                .suggest_last(format!("{segment} has fields 1 to {count}"));
            return;
        };
        if path.component > 0 {
            let datatype = field.datatype.to_string();
            self.check_component(&datatype, path.component, at);
        }
    }

    fn check_component(&mut self, datatype: &str, component: u16, at: Location) {
        // Fields of varying type (OBX-5) and datatypes of one component carry whatever the sender puts there.
        let Some(count) = names::datatype(datatype).map(|d| d.components.len()).filter(|n| *n > 1) else { return };
        if usize::from(component) > count {
            let text = format!("{datatype} has no component {component}");
            self.diagnostics
                .error(Code::UnknownField, at, text)
                .suggest_last(format!("{datatype} has components 1 to {count}"));
        }
    }

    /// Whether a path reads a field that may repeat, without saying which repetition.
    pub(super) fn repeating_field(&self, path: &ast::Path, place: &Place) -> Option<u16> {
        let Scope::Segment(segment) = &place.scope else { return None };
        let own =
            path.segment.is_none() && path.repetition == ast::Repetition::Current && place.driver != Some(path.field);
        let repeats = names::segment(segment).is_some_and(|s| s.field(path.field).is_some_and(|f| f.repeats));
        // A Z-segment says nothing of its fields; a list made from one repeats with it.
        (own && (repeats || segment.starts_with('Z'))).then_some(path.field)
    }

    pub(super) fn guard(
        &mut self,
        condition: Option<&ast::Condition>,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> ConditionId {
        condition.map_or(NONE, |c| self.condition(c, place, depth, at))
    }

    pub(super) fn condition(
        &mut self,
        condition: &ast::Condition,
        place: &Place,
        depth: u8,
        at: Location,
    ) -> ConditionId {
        let compiled = match condition {
            ast::Condition::Valued(value) => Condition::Valued(self.value(value, place, depth, at)),
            ast::Condition::In(Operand::Text(value), list) => {
                let value = self.value(value, place, depth, at);
                match list.iter().map(|code| packed(code.as_bytes())).collect::<Option<Vec<u64>>>() {
                    Some(codes) => {
                        let start = self.plan.codes.len() as u32;
                        self.plan.codes.extend(codes);
                        Condition::In(value, start..self.plan.codes.len() as u32)
                    }
                    None => Condition::InTexts(value, list.iter().map(|s| s.clone().into_bytes()).collect()),
                }
            }
            // The rows are known now, those of all layers: a list of codes, and nothing to look up later.
            ast::Condition::InTable(operand, name) => {
                self.table_id(name, at);
                let rows = self.sources.tables.get(name).map(|table| table.rows.as_slice()).unwrap_or_default();
                let codes = rows.iter().filter(|row| !row.fhir.is_empty()).map(|row| row.code.clone()).collect();
                return self.condition(&ast::Condition::In(operand.clone(), codes), place, depth, at);
            }
            ast::Condition::In(operand, list) => {
                let numbers = list.iter().filter_map(|s| s.parse().ok()).collect();
                Condition::CountIn(self.measure(operand, place, depth, at), numbers)
            }
            ast::Condition::Order(operand, order, number) => {
                Condition::Order(self.measure(operand, place, depth, at), *order, *number)
            }
            ast::Condition::And(list) => {
                Condition::And(list.iter().map(|c| self.condition(c, place, depth, at)).collect())
            }
            ast::Condition::Or(list) => {
                Condition::Or(list.iter().map(|c| self.condition(c, place, depth, at)).collect())
            }
            ast::Condition::Not(inner) => Condition::Not(self.condition(inner, place, depth, at)),
        };
        self.push_condition(compiled)
    }

    pub(super) fn push_condition(&mut self, condition: Condition) -> ConditionId {
        self.plan.conditions.push(condition);
        self.plan.conditions.len() as u32 - 1
    }

    fn measure(&mut self, operand: &Operand, place: &Place, depth: u8, at: Location) -> Measure {
        match operand {
            Operand::Text(value) => Measure::Text(self.value(value, place, depth, at)),
            Operand::Count(path) => Measure::Count(self.path(path, place, depth, at)),
            Operand::Length(path) => {
                let path = self.path(path, place, depth, at);
                Measure::Length(self.source(Source::Path(path)))
            }
        }
    }
}
