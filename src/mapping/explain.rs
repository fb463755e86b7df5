//! Where every value of a Bundle came from: the bytes of the message, the rule, the row of a code table.
//!
//! While it translates, a traced run notes for each value the byte of the output at which it starts. A trace *belongs* to the JSON value (scalar or object)
//! that starts there. So the origin of a scalar is
//!
//! 1. the last trace that belongs to itself (the ones before it are maps that it came through);
//! 2. else, in an object that a code table or a row of constants has ready, the trace of that object;
//! 3. else, for `resourceType` and `id`, the trace of the resource: the statement that made it;
//! 4. else the Bundle itself, for its own elements.
//!
//! Anything else would be a value that nobody can explain; the tests see to it that there is none.
mod fields;
mod scan;

use super::finding::place;
use super::plan::{Emit, NONE, RuleId, Text};
use super::source::{Layer, Location};
use super::{Context, Failure, Plan, Scratch, Trace};
use crate::hl7::{Charset, Message, SegmentId, Span, Structure, decode_into};
pub use fields::{FieldStory, FieldUse};
use scan::{Container, Member, Scalar};
use std::collections::HashMap;

/// The values of one Bundle, in its order.
#[derive(Debug, Default)]
pub struct Explained {
    /// One for each scalar.
    pub values: Vec<Explanation>,
    /// The bytes of the sources count in the message as UTF-8, because its own character set can hide separators.
    pub transcoded: bool,
}

/// Where one scalar came from.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// From the Bundle: `Bundle.entry[3].resource.identifier[0].value`.
    pub path: String,
    /// From the resource: `Patient.identifier[0].value`; `Observation(2).status` where the Bundle has several of the type.
    pub name: String,
    /// The value as JSON.
    pub value: String,
    /// What wrote it.
    pub origin: Origin,
    /// What it came through: the statement that made the resource, then the rows around.
    pub via: Vec<RulePlace>,
    /// The bytes that it was read from; none for literals, ids and references along links.
    pub source: Option<SourcePlace>,
    /// The row of a code table that it went through.
    pub row: Option<RowPlace>,
    /// The trace that it was found by.
    trace: Option<usize>,
}

/// What wrote a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A row of a map, or a statement of a message map.
    Rule(RulePlace),
    /// The Bundle itself, and how.
    Bundle(&'static str),
    /// Nobody knows; a defect.
    Unknown,
}

/// A rule of the mapping files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RulePlace {
    /// `PID.Patient`, or `ADT_A01` for a statement.
    pub map: String,
    /// Left side, or the statement.
    pub target: String,
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its bytes.
    pub location: Location,
    /// Whose it is.
    pub layer: Layer,
    /// The row that it took the place of: file, line, and whose that was.
    pub replaced: Option<(String, usize, Layer)>,
}

/// Bytes of the message.
#[derive(Debug, Clone)]
pub struct SourcePlace {
    /// `PID-3[1].1`, `OBX(2)-5`.
    pub place: String,
    /// The bytes.
    pub span: Span,
    /// Their text, escapes resolved.
    pub text: String,
}

/// A row of a code table.
#[derive(Debug, Clone)]
pub struct RowPlace {
    /// `AdministrativeSex`.
    pub table: String,
    /// The code of the message.
    pub code: String,
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
}

impl std::fmt::Display for RulePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.map)?;
        if !self.target.is_empty() {
            write!(f, "`{}` ", self.target)?;
        }
        write!(f, "({}:{})", self.file, self.line)
    }
}

impl Plan {
    /// Translates a message and explains its values: all of them, or those below a path such as `Patient.name` or `Observation(2).value[x]`.
    ///
    /// The Bundle stays in `scratch`, as after [`Plan::translate`].
    ///
    /// # Errors
    /// As [`Plan::translate`].
    pub fn explain(
        &self,
        raw: &[u8],
        context: &Context<'_>,
        below: Option<&str>,
        scratch: &mut Scratch,
    ) -> Result<Explained, Failure> {
        self.translate_with::<true>(raw, context, scratch)?;
        let transcoded = !scratch.transcoded.is_empty();
        let plan = self.of_feed(scratch.feed);
        Ok(Explained { values: Explainer::new(plan, raw, scratch).values(below), transcoded })
    }

    /// The objects that rows of constants have ready, by rule.
    fn ready_objects(&self) -> HashMap<RuleId, Vec<Text>> {
        let mut found: HashMap<RuleId, Vec<Text>> = HashMap::new();
        for alternative in &self.compiled.alternatives {
            match alternative.emit {
                Emit::Literal(text) if self.compiled.text(text).starts_with(b"{") => {
                    found.entry(alternative.rule).or_default().push(text)
                }
                _ => {}
            }
        }
        found
    }

    /// The structure that a message is matched against: by its event, else as MSH-9.3 says; also one that no message map covers.
    pub fn structure(&self, message: Message<'_>) -> Option<&Structure> {
        let header = message.find(SegmentId(*b"MSH"))?;
        let (field, separator) = (message.field(header, 9), message.delimiters().component);
        let part = |n| message.bytes(message.part(field, separator, n)).to_ascii_uppercase();
        let key = [part(1).as_slice(), b"^", &part(2)].concat();
        let compiled = &self.compiled;
        let by_event = compiled.events.get(key.as_slice()).or_else(|| compiled.events.get(part(1).as_slice()));
        let number = by_event
            .or_else(|| compiled.structure_names.get(part(3).as_slice()))
            .or_else(|| compiled.structure_names.get(part(1).as_slice()))?;
        compiled.structures.get(usize::from(*number)).map(|s| &s.structure)
    }
}

struct Explainer<'a> {
    plan: &'a Plan,
    message: Message<'a>,
    charset: Charset,
    scratch: &'a Scratch,
    rules: HashMap<RuleId, RulePlace>,
    /// How many resources of a type the Bundle has.
    several: HashMap<&'static str, usize>,
    ready: HashMap<RuleId, Vec<Text>>,
}

impl<'a> Explainer<'a> {
    /// Over what the last traced run left.
    fn new(plan: &'a Plan, raw: &'a [u8], scratch: &'a Scratch) -> Explainer<'a> {
        let message = scratch.message(raw);
        let charset = plan.charset(message.text(message.find(SegmentId(*b"MSH")).unwrap_or(0), 18));
        let (rules, several, ready) = (HashMap::new(), HashMap::new(), plan.ready_objects());
        let mut explainer = Explainer { plan, message, charset, scratch, rules, several, ready };
        explainer.count();
        explainer
    }

    fn values(&mut self, below: Option<&str>) -> Vec<Explanation> {
        let mut values = Vec::new();
        let bundle = self.scratch.bundle();
        scan::scalars(bundle, |scalar| values.extend(self.explain(bundle, &scalar, below)));
        values
    }

    fn count(&mut self) {
        for entry in self.scratch.entries() {
            *self.several.entry(entry.resource_type).or_default() += 1;
        }
    }

    /// The traces that belong to the value starting at a byte. Traces stand in the order of the output.
    fn traces(&self, start: usize) -> &[Trace] {
        &self.scratch.state.traces[self.trace_numbers(start)]
    }

    fn trace_numbers(&self, start: usize) -> std::ops::Range<usize> {
        let traces = &self.scratch.state.traces;
        let first = traces.partition_point(|t| t.start < start);
        let count = traces[first..].iter().take_while(|t| t.start == start).count();
        first..first + count
    }

    fn explain(&mut self, bundle: &[u8], scalar: &Scalar<'_>, below: Option<&str>) -> Option<Explanation> {
        let path = format!("Bundle.{}", scan::path(bundle, scalar.around));
        let name = self.name(bundle, scalar).unwrap_or_else(|| path.clone());
        if below.is_some_and(|wanted| !is_below(&path, wanted) && !is_below(&name, wanted)) {
            return None;
        }
        let mut chain: Vec<Trace> = scalar.around.iter().flat_map(|c| self.traces(c.start)).copied().collect();
        let own = self.traces(scalar.start);
        let (found, number) = match own.last() {
            Some(last) => {
                chain.extend(&own[..own.len() - 1]);
                (Some(*last), self.trace_numbers(scalar.start).end - 1)
            }
            None => self.around(bundle, scalar).map_or((None, 0), |(trace, number)| (Some(trace), number)),
        };
        if own.is_empty() && found.is_some() {
            chain.pop();
        }
        let mut via: Vec<RuleId> = chain.iter().map(|t| t.rule).filter(|r| *r != NONE).collect();
        via.dedup();
        // The coding of a table belongs to the row that named the table.
        let rule = found.and_then(|t| if t.rule == NONE && t.row.is_some() { via.pop() } else { Some(t.rule) });
        via.retain(|r| Some(*r) != rule);
        Some(Explanation {
            origin: match rule {
                Some(NONE) | None => self.built_in(bundle, scalar, found.is_some()),
                Some(rule) => Origin::Rule(self.rule(rule)),
            },
            via: via.into_iter().map(|r| self.rule(r)).collect(),
            source: found.and_then(|t| t.source).map(|span| self.source(span)),
            row: found.and_then(|t| t.row).map(|row| self.row(row)),
            value: String::from_utf8_lossy(&bundle[scalar.start..scalar.end]).into_owned(),
            trace: found.map(|_| number),
            path,
            name,
        })
    }

    /// The trace of the nearest object around that has one, where that object was written as a whole.
    fn around(&self, bundle: &[u8], scalar: &Scalar<'_>) -> Option<(Trace, usize)> {
        let (depth, trace) = scalar
            .around
            .iter()
            .enumerate()
            .rev()
            .find_map(|(depth, c)| Some((depth, *self.traces(c.start).last()?)))?;
        let object = &bundle[trace.start..];
        let innermost = depth + 1 == scalar.around.len();
        let of_table = innermost && trace.row.is_some();
        let of_resource = innermost
            && object.starts_with(b"{\"resourceType\":")
            && matches!(key(bundle, &scalar.around[depth]), b"resourceType" | b"id");
        let of_constants = || {
            self.ready
                .get(&trace.rule)
                .is_some_and(|texts| texts.iter().any(|text| object.starts_with(self.plan.compiled.text(*text))))
        };
        (of_table || of_resource || of_constants())
            .then(|| (trace, self.trace_numbers(trace.start).end.saturating_sub(1)))
    }

    fn built_in(&self, bundle: &[u8], scalar: &Scalar<'_>, traced: bool) -> Origin {
        match scalar.around {
            [bundle_object] => match key(bundle, bundle_object) {
                b"resourceType" | b"type" => Origin::Bundle("every translation is a Bundle of type `message`"),
                b"timestamp" if traced => Origin::Bundle("the time in MSH-7"),
                b"timestamp" => Origin::Bundle("the time at which the message was received"),
                _ => Origin::Unknown,
            },
            [bundle_object, _] if traced && key(bundle, bundle_object) == b"identifier" => {
                Origin::Bundle("the control id in MSH-10")
            }
            _ => Origin::Unknown,
        }
    }

    /// `Patient.birthDate`, `Observation(2).status`; none for the Bundle's own elements.
    fn name(&self, bundle: &[u8], scalar: &Scalar<'_>) -> Option<String> {
        let resource = scalar.around.get(3)?;
        let entries = self.scratch.entries();
        let number = entries.binary_search_by_key(&resource.start, |e| e.resource.start).ok()?;
        let resource_type = entries[number].resource_type;
        let rest = scan::path(bundle, &scalar.around[3..]);
        if self.several.get(resource_type).is_some_and(|n| *n > 1) {
            let ordinal = entries[..=number].iter().filter(|e| e.resource_type == resource_type).count();
            return Some(format!("{resource_type}({ordinal}).{rest}"));
        }
        Some(format!("{resource_type}.{rest}"))
    }

    fn rule(&mut self, id: RuleId) -> RulePlace {
        let plan = self.plan;
        self.rules.entry(id).or_insert_with(|| plan.rule_place(id).unwrap_or_default()).clone()
    }

    fn source(&self, span: Span) -> SourcePlace {
        let mut text = Vec::new();
        decode_into(self.message.bytes(span), &self.message.delimiters(), self.charset, &mut text);
        SourcePlace { place: place(self.message, span), span, text: String::from_utf8_lossy(&text).into_owned() }
    }

    fn row(&self, (table, row): (u16, u32)) -> RowPlace {
        let table = &self.plan.compiled.tables[usize::from(table)];
        let location = table.rows[row as usize].location;
        let sources = self.plan.sources();
        let written = sources.tables.get(&table.name).and_then(|t| t.rows.iter().find(|r| r.location == location));
        let (file, line, ..) = sources.position(location);
        RowPlace {
            table: table.name.clone(),
            code: written.map(|r| r.code.clone()).unwrap_or_default(),
            file: file.to_owned(),
            line,
        }
    }
}

/// The name that is at hand in an object; empty in a list.
fn key<'t>(text: &'t [u8], container: &Container) -> &'t [u8] {
    match container.at {
        Member::Name(start, end) => text.get(start..end).unwrap_or_default(),
        Member::Index(_) => &[],
    }
}

/// Whether a path is the wanted one or lies below it. A step without an index means all of them, `value[x]` any type.
fn is_below(path: &str, wanted: &str) -> bool {
    let mut steps = path.split('.');
    wanted.split('.').all(|wanted| steps.next().is_some_and(|step| is_step(step, wanted)))
}

fn is_step(step: &str, wanted: &str) -> bool {
    if let Some(base) = wanted.strip_suffix("[x]") {
        return step.strip_prefix(base).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    }
    let plain = |s: &'_ str| s.find(['[', '(']).unwrap_or(s.len());
    step == wanted || (plain(wanted) == wanted.len() && step[..plain(step)] == *wanted)
}

/// A path without its indices: `Patient.identifier.value`.
pub fn without_indices(path: &str) -> String {
    let steps: Vec<&str> = path.split('.').map(|step| &step[..step.find(['[', '(']).unwrap_or(step.len())]).collect();
    steps.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_paths() {
        for wanted in ["Patient", "Patient.name", "Patient.name[0]", "Patient.name.given[1]", "Patient(2)"] {
            assert!(is_below("Patient(2).name[0].given[1]", wanted), "{wanted}");
        }
        for wanted in ["Patient.na", "Patient(1)", "Patient.name[1]", "Patient.name.given.x", "Person"] {
            assert!(!is_below("Patient(2).name[0].given[1]", wanted), "{wanted}");
        }
        assert!(is_below("Observation.valueQuantity.value", "Observation.value[x]"));
        assert!(!is_below("Observation.value", "Observation.value[x]"));
        assert_eq!(without_indices("Patient(2).name[0].given[1]"), "Patient.name.given");
    }
}
