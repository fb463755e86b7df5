//! Paths → bytes of the message; conditions. What bare numbers mean depends on the frame.
use super::{Twin, Wide};
use handoff::hl7::{Message, SegmentId, Span, decode_into, is_null};
use handoff::mapping::expression::{Argument, Condition, Operand, Path, Repetition, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// Where rows read: a segment, or a value of it.
#[derive(Clone, Default)]
pub struct Frame {
    pub segment: usize,
    /// The group instance that the segment stands in.
    pub scope: usize,
    pub value: Option<Located>,
    /// The field that the slot repeats with, and its repetition at hand.
    pub repeating: Option<(u16, Span)>,
}

/// A frame with what the caller gave.
#[derive(Clone, Default)]
pub struct Context {
    pub frame: Frame,
    pub map: String,
    pub parameters: Rc<HashMap<String, (Value, Context)>>,
    /// Rows of a datatype map that is spread over an element.
    pub spread: bool,
}

/// Bytes of the message and what they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Located {
    pub span: Span,
    pub wide: Wide,
}

impl Context {
    /// The same rows, reading a value.
    pub fn at(&self, value: Located) -> Context {
        Context { frame: Frame { value: Some(value), repeating: None, ..self.frame.clone() }, ..self.clone() }
    }
}

pub fn trimmed(message: Message<'_>, span: Span) -> Span {
    let bytes = message.bytes(span);
    let start = bytes.iter().take_while(|byte| **byte == b' ').count() as u32;
    let end = bytes.iter().rev().take_while(|byte| **byte == b' ').count() as u32;
    Span {
        start: (span.start + start).min(span.end),
        end: span.end.saturating_sub(end).max((span.start + start).min(span.end)),
    }
}

impl Twin<'_> {
    /// The bytes at a path; nothing when they are empty or null.
    pub fn locate(&self, path: &Path, context: &Context) -> Option<Located> {
        let frame = &context.frame;
        let found = match (&path.segment, frame.value) {
            (Some(name), _) => {
                let segment = self.segment_in_scope(name, frame)?;
                self.within(self.repetition(self.message.field(segment, path.field.into()), path, context)?, path)
            }
            (None, Some(value)) if path.field == 0 => value,
            (None, Some(value)) => {
                let first = self.part(value, path.field);
                if path.component == 0 { first } else { self.part(first, path.component) }
            }
            (None, None) => match frame.repeating {
                Some((field, repetition)) if field == path.field && path.repetition == Repetition::Current => {
                    self.within(repetition, path)
                }
                _ => self.within(
                    self.repetition(self.message.field(frame.segment, path.field.into()), path, context)?,
                    path,
                ),
            },
        };
        let span = trimmed(self.message, found.span);
        (!span.is_empty() && !is_null(self.message.bytes(span))).then_some(Located { span, ..found })
    }

    /// The n-th part of a value, from 1.
    pub fn part(&self, value: Located, n: u16) -> Located {
        let delimiters = self.message.delimiters();
        let (separator, wide) = match value.wide {
            Wide::Repetition => (delimiters.component, Wide::Component),
            Wide::Component => (delimiters.subcomponent, Wide::Subcomponent),
            Wide::Subcomponent => (0, Wide::Subcomponent),
        };
        Located { span: self.message.part(value.span, separator, n.into()), wide }
    }

    fn within(&self, repetition: Span, path: &Path) -> Located {
        let mut found = Located { span: repetition, wide: Wide::Repetition };
        for n in [path.component, path.subcomponent] {
            if n > 0 {
                found = self.part(found, n);
            }
        }
        found
    }

    pub fn repetitions(&self, field: Span) -> Vec<Span> {
        self.message.parts(field, self.message.delimiters().repetition).collect()
    }

    fn repetition(&self, field: Span, path: &Path, context: &Context) -> Option<Span> {
        let all = self.repetitions(field);
        match &path.repetition {
            Repetition::Current => all.first().copied(),
            Repetition::Index(n) => all.get(usize::from(*n).checked_sub(1)?).copied(),
            Repetition::Last => all.last().copied(),
            Repetition::Filter(condition) => all
                .into_iter()
                .find(|span| self.holds(condition, &context.at(Located { span: *span, wide: Wide::Repetition }))),
        }
    }

    /// The segment of that name in the nearest enclosing group that holds one; the own segment before all.
    fn segment_in_scope(&self, name: &str, frame: &Frame) -> Option<usize> {
        let id = SegmentId(name.as_bytes().try_into().ok()?);
        if self.message.segment_id(frame.segment) == id {
            return Some(frame.segment);
        }
        let mut scope = frame.scope;
        loop {
            let here = |segment: &usize| self.message.segment_id(*segment) == id && self.seen_from(*segment, scope);
            if let Some(first) = (0..self.message.segment_count()).find(here) {
                return Some(self.nearest_before(first, frame.segment));
            }
            if scope == 0 {
                return None;
            }
            scope = self.parent(scope);
        }
    }

    /// Where a structure has a second PID or PV1 (A17, A24), the one that stands nearest before is meant.
    fn nearest_before(&self, first: usize, segment: usize) -> usize {
        let mut keys = self.structure.groups.iter().flat_map(|group| &group.children).map(|child| child.key.as_str());
        if !keys.any(|key| key == "PID#2" || key == "PV1#2") {
            return first;
        }
        let place = |segment: usize| (self.message.segment_id(segment), self.matcher.placement(segment).instance);
        (first..=segment).rev().find(|other| place(*other) == place(first)).unwrap_or(first)
    }

    /// A segment is seen in its own group, and around a group that does not repeat.
    fn seen_from(&self, segment: usize, scope: usize) -> bool {
        let mut at = self.matcher.placement(segment).instance as usize;
        loop {
            if at == scope {
                return true;
            }
            if at == 0 || self.repeats(at) {
                return false;
            }
            at = self.parent(at);
        }
    }

    pub fn parent(&self, scope: usize) -> usize {
        self.matcher.instances()[scope].parent as usize
    }

    /// The segment of that name in the own group; else that of a group right below, the first behind the own segment before the first of all; else the one in scope; else
    /// the first in a group whose parent is one of the groups around, up to the nearest that repeats.
    fn segment_beside(&self, name: &str, frame: &Frame) -> Option<usize> {
        let around = self.segment_in_scope(name, frame);
        let place = |segment: usize| self.matcher.placement(segment).instance as usize;
        let is_named = |segment: &usize| self.message.segment_id(*segment).as_str() == name && place(*segment) != 0;
        let below: Vec<usize> = (0..self.message.segment_count())
            .filter(is_named)
            .filter(|segment| self.parent(place(*segment)) == frame.scope)
            .collect();
        let own = |segment: &usize| *segment == frame.segment || self.seen_from(*segment, frame.scope);
        if let Some(found) = around.filter(own) {
            return Some(found);
        }
        if let Some(found) = below.iter().find(|segment| **segment > frame.segment).or(below.first()) {
            return Some(*found);
        }
        if around.is_some() {
            return around;
        }
        let mut around = frame.scope;
        while around != 0 {
            let from = around;
            around = self.parent(around);
            let first = (0..self.message.segment_count())
                .filter(is_named)
                .find(|segment| self.parent(place(*segment)) == around);
            // Another occurrence of the group that we came out of has its own.
            let groups = self.matcher.instances();
            let other = first.filter(|segment| groups[place(*segment)].group != groups[from].group);
            if other.is_some() || self.repeats(around) {
                return other;
            }
        }
        None
    }

    /// A parameter stands for what the caller wrote, where the caller wrote it; `beside` for its path, read at the segment that it finds.
    pub fn resolved(&self, value: &Value, context: &Context) -> Option<(Value, Context)> {
        if let Value::Call(name, arguments) = value
            && let ("beside", [Argument::Value(Value::Path(path))]) = (name.as_str(), &arguments[..])
        {
            let segment = self.segment_beside(path.segment.as_ref()?, &context.frame)?;
            let scope = self.matcher.placement(segment).instance as usize;
            let frame = Frame { segment, scope, ..Frame::default() };
            return Some((Value::Path(path.clone()), Context { frame, ..context.clone() }));
        }
        let Value::Parameter(name) = value else { return Some((value.clone(), context.clone())) };
        let (value, caller) = context.parameters.get(name)?;
        self.resolved(value, caller)
    }

    /// The value that a datatype map would be given.
    pub fn span_of(&self, value: &Value, context: &Context) -> Option<Located> {
        match self.resolved(value, context)? {
            (Value::Path(path), context) => self.locate(&path, &context),
            _ => None,
        }
    }

    /// Whether a value holds more than separators.
    pub fn hollow(&self, value: Located) -> bool {
        let delimiters = self.message.delimiters();
        let separators = if value.wide == Wide::Subcomponent {
            [b' ', b' ']
        } else {
            [delimiters.component, delimiters.subcomponent]
        };
        self.message.bytes(value.span).iter().all(|byte| separators.contains(byte) || *byte == b' ')
    }

    pub fn decoded(&self, span: Span) -> Vec<u8> {
        let mut out = Vec::new();
        decode_into(self.message.bytes(span), &self.message.delimiters(), self.charset, &mut out);
        out
    }

    pub fn holds(&self, condition: &Condition, context: &Context) -> bool {
        match condition {
            Condition::And(all) => all.iter().all(|one| self.holds(one, context)),
            Condition::Or(any) => any.iter().any(|one| self.holds(one, context)),
            Condition::Not(inner) => !self.holds(inner, context),
            Condition::Valued(value) => self.valued(value, context),
            Condition::In(Operand::Text(value), list) => {
                let text = self.plain(value, context);
                list.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(&text))
            }
            Condition::InTable(operand, name) => {
                let rows = self.sources.tables[name].rows.iter().filter(|row| !row.fhir.is_empty());
                self.holds(&Condition::In(operand.clone(), rows.map(|row| row.code.clone()).collect()), context)
            }
            Condition::In(operand, list) => {
                let number = self.measure(operand, context);
                list.iter().any(|one| one.parse().ok() == number && number.is_some())
            }
            Condition::Order(operand, order, number) => {
                self.measure(operand, context).and_then(|found| found.partial_cmp(number)) == Some(*order)
            }
        }
    }

    fn valued(&self, value: &Value, context: &Context) -> bool {
        match self.resolved(value, context) {
            Some((Value::Path(path), context)) => self.locate(&path, &context).is_some_and(|found| !self.hollow(found)),
            Some((value, context)) => self.text(&value, &context).is_some(),
            None => false,
        }
    }

    /// Text for comparing.
    pub fn plain(&self, value: &Value, context: &Context) -> Vec<u8> {
        self.text(value, context).map_or_else(Vec::new, |text| self.bytes_of(&text))
    }

    fn measure(&self, operand: &Operand, context: &Context) -> Option<f64> {
        match operand {
            Operand::Text(value) => String::from_utf8(self.plain(value, context)).ok()?.trim().parse().ok(),
            Operand::Length(path) => Some(self.plain(&Value::Path(path.clone()), context).len() as f64),
            Operand::Count(path) => {
                let segment = match &path.segment {
                    Some(name) => self.segment_in_scope(name, &context.frame),
                    None => Some(context.frame.segment),
                };
                let field = segment.map(|segment| self.message.field(segment, path.field.into()));
                let valued = |span: &Span| !span.is_empty() && !is_null(self.message.bytes(*span));
                Some(field.map_or(0, |field| self.repetitions(field).iter().filter(|span| valued(span)).count()) as f64)
            }
        }
    }
}
