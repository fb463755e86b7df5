//! Nodes → JSON: objects, lists, values, references. What turns out empty is rolled back.
use super::convert::{write_date, write_time};
use super::reads::Fate;
use super::text::Piece;
use super::{COMPONENT, Frame, Instance, PartOf, REPETITION, Run, SEGMENT, Wrote};
use crate::fhir::bundle::Entry;
use crate::fhir::identity;
use crate::fhir::json;
use crate::hl7::{Precision, Span, Timestamp, is_null};
use crate::mapping::plan::{
    CURRENT, Child, ChildRow, ConditionId, Conversion, Enter, Item, NONE, Node, NodeId, Op, Repeat, Source, SourceId,
    Text,
};
use crate::mapping::{Context, Failure, FindingCode};
use std::io::Write as _;
use std::ops::Range;

/// How many elements of a list are searched for an equal one.
const SEARCHED_ELEMENTS_MAX: usize = 512;

/// How many times its input a Bundle may be long, and how many bytes on top of that.
const OUTPUT_RATIO_MAX: (usize, usize) = (32, 1 << 16);

/// Where everything stood, to go back to.
pub(super) struct Mark {
    out: usize,
    traces: usize,
    reads: usize,
    instances: usize,
    contained: usize,
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Writes the whole Bundle: the bound resources, then those that they refer to, until none is left.
    pub(super) fn bundle(&mut self, context: &Context<'_>, sent: Option<&Timestamp>) {
        self.state.out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"message\"");
        self.identifier();
        self.timestamp(context, sent);
        self.state.out.extend_from_slice(b",\"entry\":[");
        let mut number = 0;
        while number < self.state.instances.len() && self.fits() {
            if !self.state.instances[number].contained {
                self.entry(number as u32);
            }
            number += 1;
        }
        self.state.out.extend_from_slice(b"]}");
    }

    /// Whether the output is still within its limit; a message made to explode fails instead of taking the memory of all others.
    pub(super) fn fits(&mut self) -> bool {
        let most = OUTPUT_RATIO_MAX.0 * self.message.raw().len() + OUTPUT_RATIO_MAX.1;
        if self.state.out.len() <= most {
            return true;
        }
        self.failure.get_or_insert_with(|| Failure {
            code: 207,
            location: None,
            text: format!("the Bundle would be longer than {most} bytes, the limit for a message of this size"),
        });
        false
    }

    /// The control id names the message, and with it the Bundle.
    fn identifier(&mut self) {
        let header = self.message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
        let control_id = self.trim(self.message.field(header, 10));
        if control_id.is_empty() || is_null(self.message.bytes(control_id)) {
            return;
        }
        let start = self.state.out.len();
        self.state.out.extend_from_slice(b",\"identifier\":{\"value\":");
        self.read(control_id);
        self.trace(NONE, Some(control_id), None);
        match self.primitive(Piece::Raw(control_id), Conversion::String, None) {
            Wrote::Nothing => self.state.out.truncate(start),
            _ => self.state.out.push(b'}'),
        }
    }

    fn timestamp(&mut self, context: &Context<'_>, sent: Option<&Timestamp>) {
        const KEY: &[u8] = b",\"timestamp\":";
        if let Some(received) = context.received_at {
            self.state.out.extend_from_slice(KEY);
            json::string(&mut self.state.out, received.as_bytes());
        } else if let Some(time) = sent.filter(|t| t.precision >= Precision::Hour)
            && let Some(offset) = time.offset_minutes.or_else(|| self.default_offset(time))
        {
            let header = self.message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
            self.state.out.extend_from_slice(KEY);
            self.read(self.message.field(header, 7));
            self.trace(NONE, Some(self.message.field(header, 7)), None);
            self.state.out.push(b'"');
            write_date(&mut self.state.out, time);
            write_time(&mut self.state.out, time, offset);
            self.state.out.push(b'"');
        }
    }

    fn entry(&mut self, number: u32) {
        let instance = self.state.instances[number as usize];
        if self.state.entries.is_empty() {
            self.state.out.extend_from_slice(b"{\"fullUrl\":");
        } else {
            self.state.out.extend_from_slice(b",{\"fullUrl\":");
        }
        self.trace(instance.rule, None, None);
        self.state.out.extend_from_slice(b"\"urn:uuid:");
        let id = identity::text(&instance.id);
        self.state.out.extend_from_slice(&id);
        self.state.out.extend_from_slice(b"\",\"resource\":");
        let start = self.state.out.len();
        self.state.contained.clear();
        self.resource(number, true);
        let resource_type = self.plan.programs[usize::from(instance.program)].resource_type;
        self.state.entries.push(Entry { resource: start..self.state.out.len(), resource_type, id });
        self.state.out.push(b'}');
    }

    /// Writes a resource; the outermost one carries those that have no identity of their own.
    fn resource(&mut self, number: u32, outermost: bool) {
        let instance = self.state.instances[number as usize];
        let single = instance.first_part == instance.last_part && instance.first_link == NONE;
        if !(single && instance.lasting) {
            return self.resource_anew(number, outermost);
        }
        let frame = self.state.parts[instance.first_part as usize].frame;
        if instance.remembered != NONE {
            return self.write_remembered(instance.remembered, &frame);
        }
        let begun = self.record(&frame);
        self.resource_anew(number, outermost);
        self.recorded(&begun, instance.part, instance.id, &frame);
    }

    fn resource_anew(&mut self, number: u32, outermost: bool) {
        let instance = self.state.instances[number as usize];
        let program = &self.plan.programs[usize::from(instance.program)];
        self.trace(instance.rule, None, None);
        self.write(program.open);
        self.id(&instance);
        self.state.out.push(b'"');
        let (outer, root) = (self.instance, program.root);
        let outer_present = if outermost { [0; 64] } else { self.present };
        self.instance = number;
        self.present = [0; 64];
        let mut part = instance.first_part;
        while part != NONE {
            let PartOf { kind, next, frame } = self.state.parts[part as usize];
            self.present[usize::from(kind)] |= frame.present;
            part = next;
        }
        if let Node::Object { children, .. } = &self.plan.nodes[root as usize] {
            let frame = self.state.parts.get(instance.first_part as usize).map_or(Frame::nothing(), |p| p.frame);
            let children = match program.alone.get(instance.mask.trailing_zeros() as usize) {
                Some(alone) if instance.mask.is_power_of_two() && !instance.merged => alone,
                _ => children,
            };
            self.children(children.clone(), &frame, instance.mask);
        }
        if outermost {
            let mut next = 0;
            while let Some(inner) = self.state.contained.get(next).copied() {
                self.state.out.extend_from_slice(if next == 0 { b",\"contained\":[" } else { b"," });
                self.resource(inner, false);
                next += 1;
            }
            if next > 0 {
                self.state.out.push(b']');
            }
        }
        self.state.out.push(b'}');
        self.instance = outer;
        self.present = outer_present;
    }

    /// The id of a resource: a UUID, or `c1`, `c2`… within the resource that contains it.
    pub(super) fn id(&mut self, instance: &Instance) {
        if instance.contained {
            // Writing into a Vec cannot fail.
            let _ = write!(self.state.out, "c{}", u128::from_be_bytes(instance.id));
        } else {
            self.state.out.extend_from_slice(&identity::text(&instance.id));
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            out: self.state.out.len(),
            traces: self.state.traces.len(),
            reads: self.reads(),
            instances: self.state.instances.len(),
            contained: self.state.contained.len(),
        }
    }

    pub(super) fn back_to(&mut self, mark: &Mark) {
        self.state.out.truncate(mark.out);
        self.state.traces.truncate(mark.traces);
        self.reads_end_in(mark.reads, Fate::Left);
        if self.state.instances.len() > mark.instances {
            self.forget_instances(mark.instances);
            self.state.contained.truncate(mark.contained);
        }
    }

    fn comma(&mut self) {
        if !matches!(self.state.out.last(), Some(b'{' | b'[')) {
            self.state.out.push(b',');
        }
    }

    /// Children of an object, and whether any was written; `None` when a required one is missing.
    fn children(&mut self, children: Range<u32>, frame: &Frame<'_>, mask: u64) -> Option<Wrote> {
        let plan = self.plan;
        let mut wrote = Wrote::Nothing;
        let mut first = self.state.out.last() == Some(&b'{');
        let empty = frame.level != SEGMENT && frame.span.is_empty();
        for number in children.start as usize..children.end as usize {
            if plan.gates[number] & frame.present == 0 {
                continue;
            }
            let row = &plan.rows[number];
            if row.asks {
                let child = &plan.children[number];
                if child.mask != 0 && child.mask & mask == 0 {
                    continue;
                }
                if (child.inner && empty) || !self.needed(child, frame) {
                    if !child.required {
                        continue;
                    }
                    // Where there is no value at all, none of it is missing.
                    if !empty {
                        self.find(FindingCode::RequiredMissing, child.rule, frame.span);
                    }
                    return None;
                }
            }
            let (start, traces, reads) = (self.state.out.len(), self.state.traces.len(), self.reads());
            let written = if TRACE { self.traced(number, first, frame) } else { self.row(row, first, frame) };
            if written == Wrote::Nothing {
                self.state.out.truncate(start);
                self.state.traces.truncate(traces);
                self.reads_end_in(reads, Fate::Left);
                let child = &plan.children[number];
                if row.asks && child.required {
                    self.find(FindingCode::RequiredMissing, child.rule, frame.span);
                    return None;
                }
                continue;
            }
            first = false;
            if !row.silent {
                wrote = wrote.max(written);
            }
        }
        Some(wrote)
    }

    /// Writes a child with its key.
    #[inline]
    fn row(&mut self, row: &ChildRow, first: bool, frame: &Frame<'_>) -> Wrote {
        let lead = Text { start: row.lead.start + u32::from(first), ..row.lead };
        match row.op {
            Op::Constant => {
                self.write(lead);
                Wrote::Literal
            }
            Op::Leaf { field, conversion } => match self.own_leaf(field, frame) {
                Some(span) => {
                    self.write(lead);
                    self.primitive(Piece::Raw(span), conversion, None)
                }
                None => Wrote::Nothing,
            },
            Op::Alone(only) => {
                let only = &self.plan.alternatives[only as usize];
                if !self.holds(only.guard, frame) {
                    return Wrote::Nothing;
                }
                let temporary = self.state.temporary.len();
                self.write(lead);
                let wrote = self.emit(only, None, frame);
                self.state.temporary.truncate(temporary);
                wrote
            }
            Op::Node(node) => {
                self.write(lead);
                self.value(node, frame)
            }
        }
    }

    /// The same from the nodes as they were compiled, which know their rules.
    fn traced(&mut self, number: usize, first: bool, frame: &Frame<'_>) -> Wrote {
        let child = &self.plan.children[number];
        if !first {
            self.state.out.push(b',');
        }
        self.write(child.key);
        self.value_for(child.rule, child.node, frame)
    }

    /// Whether any field that a child reads holds anything.
    fn needed(&self, child: &Child, frame: &Frame<'_>) -> bool {
        child.need & frame.present != 0
            || self.plan.part_needs[child.part_needs.start as usize..child.part_needs.end as usize]
                .iter()
                .any(|(kind, need)| need & self.present[usize::from(*kind & 63)] != 0)
    }

    /// Writes a node.
    #[inline]
    pub(super) fn value(&mut self, node: NodeId, frame: &Frame<'_>) -> Wrote {
        let plan = self.plan;
        match &plan.nodes[node as usize] {
            Node::Value { alternatives, codes } => self.alternatives(alternatives.clone(), *codes, frame),
            Node::Object { children, enter, has_source, period } => {
                let start = self.state.out.len();
                let wrote = match *enter {
                    NONE => self.object(children.clone(), *has_source, frame),
                    enter => self.entered(&plan.enters[enter as usize], children.clone(), *has_source, frame),
                };
                if *period && wrote != Wrote::Nothing {
                    self.ordered_period(start, frame);
                }
                wrote
            }
            Node::List { items } => self.list(items.clone(), frame),
            Node::Switch { on, cases, default } => self.switch(*on, cases.clone(), *default, frame),
            Node::Constant { node, .. } if TRACE => self.value(*node, frame),
            Node::Constant { text, .. } => {
                self.write(*text);
                Wrote::Literal
            }
            Node::TableCoding { table } => self.table_row(*table, frame),
        }
    }

    #[inline(never)]
    fn switch(&mut self, on: SourceId, cases: Range<u32>, default: NodeId, frame: &Frame<'_>) -> Wrote {
        let plan = self.plan;
        let mark = self.state.temporary.len();
        let found = self.deciding_text(on, frame);
        let text = self.bytes(found);
        let case =
            plan.cases[cases.start as usize..cases.end as usize].iter().find(|(code, _)| plan.text(*code) == text);
        let chosen = case.map_or(default, |(_, node)| *node);
        self.state.temporary.truncate(mark);
        if chosen != NONE {
            return self.value(chosen, frame);
        }
        self.look_at_cases(cases, frame);
        Wrote::Nothing
    }

    /// A period must not end before it starts (R4, per-1): such an end is left out.
    #[cold]
    #[inline(never)]
    fn ordered_period(&mut self, start: usize, frame: &Frame<'_>) {
        const END: &[u8] = b",\"end\":\"";
        const START: &[u8] = b"\"start\":\"";
        let text = &self.state.out[start..];
        let (Some(end), Some(begin)) = (memchr::memmem::rfind(text, END), memchr::memmem::find(text, START)) else {
            return;
        };
        let date = |at: usize| text[at..].split(|b| *b == b'"' || *b == b'T').next().unwrap_or_default();
        let (first, last) = (date(begin + START.len()), date(end + END.len()));
        let common = first.len().min(last.len());
        if last[..common] < first[..common] {
            self.state.out.truncate(start + end);
            self.state.out.push(b'}');
            if TRACE {
                let length = self.state.out.len();
                self.state.traces.retain(|t| t.start < length);
            }
            self.find(FindingCode::PeriodReversed, NONE, frame.span);
        }
    }

    #[inline(never)]
    fn object(&mut self, children: Range<u32>, has_source: bool, frame: &Frame<'_>) -> Wrote {
        let mark = self.mark();
        self.state.out.push(b'{');
        let mask = self.state.instances.get(self.instance as usize).map_or(u64::MAX, |i| i.mask);
        match self.children(children, frame, mask) {
            Some(wrote) if wrote == Wrote::Sourced || (wrote == Wrote::Literal && !has_source) => {
                self.state.out.push(b'}');
                wrote
            }
            _ => {
                self.back_to(&mark);
                Wrote::Nothing
            }
        }
    }

    /// An object with a datatype map spread over it: the value is found and split once.
    #[inline(never)]
    fn entered(&mut self, enter: &Enter, children: Range<u32>, has_source: bool, frame: &Frame<'_>) -> Wrote {
        if enter.part == CURRENT {
            return self.spread(&enter.sources, enter.rule, children, has_source, frame);
        }
        let mut next = self.first_part();
        let mut last = None;
        while next != NONE {
            let part = &self.state.parts[next as usize];
            next = part.next;
            if part.kind == enter.part {
                let frame = part.frame;
                last.get_or_insert(frame);
                if self.first_source(&enter.sources, &frame).is_some() {
                    last = Some(frame);
                    break;
                }
            }
        }
        match last {
            Some(frame) => {
                self.look_at_parts(enter, &frame);
                self.spread(&enter.sources, enter.rule, children, has_source, &frame)
            }
            // Rows of other parts may still write the element.
            None => self.spread(&[], NONE, children, has_source, &Frame::nothing()),
        }
    }

    fn first_source(&mut self, sources: &[(SourceId, ConditionId)], frame: &Frame<'_>) -> Option<(Span, u8)> {
        sources
            .iter()
            .find_map(|(source, guard)| if self.holds(*guard, frame) { self.source_span(*source, frame) } else { None })
    }

    fn spread(
        &mut self,
        sources: &[(SourceId, ConditionId)],
        rule: u32,
        children: Range<u32>,
        has_source: bool,
        frame: &Frame<'_>,
    ) -> Wrote {
        let outside = self.reading(Some(rule), None);
        let found = self.first_source(sources, frame);
        self.reading_again(outside);
        if let Some((span, _)) = found {
            self.trace(rule, Some(span), None);
        }
        let (span, level) = found.unwrap_or((Span::default(), REPETITION));
        self.entering(rule, span);
        let inner = self.enter(span, level, frame);
        self.look_at_entries(sources, rule, span, frame);
        self.object(children, has_source, &inner)
    }

    /// The bytes of a source that is a place in the message.
    pub(super) fn source_span(&mut self, source: SourceId, frame: &Frame<'_>) -> Option<(Span, u8)> {
        let plan = self.plan;
        match &plan.sources[source as usize] {
            Source::Path(path) if path.plain && path.component == 0 => self.own_value(path.field, frame),
            Source::Path(path) => self.locate(*path, frame),
            _ => match self.text(source, frame) {
                Piece::Raw(span) => Some((span, COMPONENT)),
                _ => None,
            },
        }
    }

    pub(super) fn first_part(&self) -> u32 {
        self.state.instances.get(self.instance as usize).map_or(NONE, |i| i.first_part)
    }

    #[inline(never)]
    fn list(&mut self, items: Range<u32>, frame: &Frame<'_>) -> Wrote {
        let plan = self.plan;
        let mark = self.mark();
        let first = self.state.elements.len();
        self.state.out.push(b'[');
        let mut wrote = Wrote::Nothing;
        let empty = frame.level != SEGMENT && frame.span.is_empty();
        for item in &plan.items[items.start as usize..items.end as usize] {
            if item.inner && empty {
                continue;
            }
            if item.part == CURRENT {
                if item.need & frame.present != 0 {
                    wrote = wrote.max(self.item(item, frame, first));
                }
                continue;
            }
            let mut next = self.first_part();
            while next != NONE {
                let part = &self.state.parts[next as usize];
                next = part.next;
                if part.kind == item.part && item.need & part.frame.present != 0 {
                    let frame = part.frame;
                    wrote = wrote.max(self.item(item, &frame, first));
                }
            }
        }
        self.state.elements.truncate(first);
        if wrote == Wrote::Nothing {
            self.back_to(&mark);
        } else {
            self.state.out.push(b']');
        }
        wrote
    }

    /// One slot of a list: as many elements as its source has repetitions.
    fn item(&mut self, item: &Item, frame: &Frame<'_>, first: usize) -> Wrote {
        match item.repeat {
            Repeat::Once => self.element(item, frame, first),
            Repeat::Links(slot) => {
                let mut wrote = Wrote::Nothing;
                let outer = self.link;
                let mut link = self.state.instances.get(self.instance as usize).map_or(NONE, |i| i.first_link);
                while link != NONE {
                    let at = self.state.links[link as usize];
                    if at.slot == slot {
                        self.link = link;
                        wrote = wrote.max(self.element(item, frame, first));
                    }
                    link = at.next;
                }
                self.link = outer;
                wrote
            }
            Repeat::Field(number) => {
                let field = self.message.field(frame.segment as usize, usize::from(number));
                if frame.segment == NONE || field.is_empty() {
                    return self.element(item, frame, first);
                }
                let mut wrote = Wrote::Nothing;
                for repetition in self.message.parts(field, self.message.delimiters().repetition) {
                    if !self.fits() {
                        break;
                    }
                    let inner = Frame { driver: number, repetition, ..*frame };
                    wrote = wrote.max(self.element(item, &inner, first));
                }
                wrote
            }
        }
    }

    fn element(&mut self, item: &Item, frame: &Frame<'_>, first: usize) -> Wrote {
        if !self.holds(item.guard, frame) {
            self.look_at_guarded(item.node, frame);
            return Wrote::Nothing;
        }
        let (plan, mark) = (self.plan, self.mark());
        self.comma();
        let start = self.state.out.len();
        let wrote = match plan.alternatives.get(item.only as usize) {
            Some(only) if !self.guarded(only, frame) => Wrote::Nothing,
            Some(only) => {
                let temporary = self.state.temporary.len();
                let wrote = self.emit(only, None, frame);
                self.state.temporary.truncate(temporary);
                wrote
            }
            None => self.value(item.node, frame),
        };
        let linked = matches!(item.repeat, Repeat::Links(_));
        if wrote == Wrote::Nothing || (!linked && self.seen_before(start, first)) {
            if wrote == Wrote::Nothing {
                self.back_to(&mark);
                return Wrote::Nothing;
            }
            self.reads_end_in(mark.reads, Fate::Equal);
            self.back_to(&mark);
            return Wrote::Sourced;
        }
        self.state.elements.push(start);
        wrote
    }

    /// Where two occurrences of a resource meet, their lists unite: an element that is there already is not written again.
    fn seen_before(&self, start: usize, first: usize) -> bool {
        if !self.state.instances.get(self.instance as usize).is_some_and(|i| i.merged) {
            return false;
        }
        // Beyond that many the search costs more than a repeated element does harm.
        if self.state.elements.len() - first > SEARCHED_ELEMENTS_MAX {
            return false;
        }
        let out = &self.state.out;
        let new = &out[start..];
        self.state.elements[first..].iter().any(|old| {
            let end = old + new.len();
            end < start && &out[*old..end] == new && matches!(out[end], b',')
        })
    }
}
