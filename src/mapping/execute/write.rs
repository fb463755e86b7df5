//! Nodes → JSON: objects, lists, values, references. What turns out empty is rolled back.
use super::convert::{write_date, write_time};
use super::text::Piece;
use super::{COMPONENT, Frame, Instance, PartOf, REPETITION, Run, SEGMENT, Wrote};
use crate::fhir::bundle::Entry;
use crate::fhir::identity;
use crate::fhir::json;
use crate::fhir::shape::CodeSet;
use crate::hl7::{Precision, Span, Timestamp, is_null};
use crate::mapping::plan::{ALWAYS, Alternative, CURRENT, Child, ConditionId, Conversion, Emit, Enter, Item, NONE, Node, NodeId, Repeat, Source, SourceId};
use crate::mapping::{Context, FindingCode};
use std::io::Write as _;
use std::ops::Range;

/// Where everything stood, to go back to.
struct Mark {
    out: usize,
    traces: usize,
    instances: usize,
    contained: usize,
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Writes the whole Bundle: the bound resources, then those that they refer to, until none is left.
    pub(super) fn bundle(&mut self, context: &Context<'_>, sent: Option<&Timestamp>) {
        self.state.out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"message\"");
        self.timestamp(context, sent);
        self.state.out.extend_from_slice(b",\"entry\":[");
        let mut number = 0;
        while number < self.state.instances.len() {
            if !self.state.instances[number].contained {
                self.entry(number as u32);
            }
            number += 1;
        }
        self.state.out.extend_from_slice(b"]}");
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
        let program = &self.plan.programs[usize::from(instance.program)];
        self.trace(instance.rule, None, None);
        self.state.out.extend_from_slice(self.plan.text(program.open));
        self.id(&instance);
        self.state.out.push(b'"');
        let (outer, root) = (self.instance, program.root);
        let outer_present = if outermost { [0; 64] } else { self.present };
        self.instance = number;
        self.present = [0; 64];
        let mut part = instance.first_part;
        while part != NONE {
            let PartOf { kind, next, frame } = self.state.parts[part as usize];
            self.present[usize::from(kind)] |= frame.present as u64;
            part = next;
        }
        if let Node::Object { children, .. } = &self.plan.nodes[root as usize] {
            let frame = self.state.parts.get(instance.first_part as usize).map_or(Frame::nothing(), |p| p.frame);
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
    fn id(&mut self, instance: &Instance) {
        if instance.contained {
            // Writing into a Vec cannot fail.
            let _ = write!(self.state.out, "c{}", u128::from_be_bytes(instance.id));
        } else {
            self.state.out.extend_from_slice(&identity::text(&instance.id));
        }
    }

    fn mark(&self) -> Mark {
        Mark { out: self.state.out.len(), traces: self.state.traces.len(), instances: self.state.instances.len(), contained: self.state.contained.len() }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.state.out.truncate(mark.out);
        self.state.traces.truncate(mark.traces);
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
        let empty = frame.level != SEGMENT && frame.span.is_empty();
        for child in &plan.children[children.start as usize..children.end as usize] {
            if (child.mask != 0 && child.mask & mask == 0) || (child.inner && empty) || !self.needed(child, frame) {
                if child.required {
                    self.find(FindingCode::RequiredMissing, child.rule, frame.span);
                    return None;
                }
                continue;
            }
            let (start, traces) = (self.state.out.len(), self.state.traces.len());
            self.comma();
            self.state.out.extend_from_slice(plan.text(child.key));
            match self.value(child.node, frame) {
                Wrote::Nothing => {
                    self.state.out.truncate(start);
                    self.state.traces.truncate(traces);
                    if child.required {
                        self.find(FindingCode::RequiredMissing, child.rule, frame.span);
                        return None;
                    }
                }
                other if !child.silent => wrote = wrote.max(other),
                _ => {}
            }
        }
        Some(wrote)
    }

    /// Whether any field that a child reads holds anything.
    fn needed(&self, child: &Child, frame: &Frame<'_>) -> bool {
        child.need & frame.present != 0 || child.need == ALWAYS || child.part_needs.iter().any(|(kind, need)| *need == 0 || need & self.present[usize::from(*kind & 63)] != 0)
    }

    /// Writes a node.
    pub(super) fn value(&mut self, node: NodeId, frame: &Frame<'_>) -> Wrote {
        let plan = self.plan;
        match &plan.nodes[node as usize] {
            Node::Value { alternatives, codes } => self.alternatives(alternatives.clone(), *codes, frame),
            Node::Object { children, enter, has_source, period } => {
                let start = self.state.out.len();
                let wrote = match enter {
                    None => self.object(children.clone(), *has_source, frame),
                    Some(enter) => self.entered(enter, children.clone(), *has_source, frame),
                };
                if *period && wrote != Wrote::Nothing {
                    self.ordered_period(start, frame);
                }
                wrote
            }
            Node::List { items } => self.list(items.clone(), frame),
            Node::Switch { on, cases, default } => {
                let mark = self.state.temporary.len();
                let found = self.plain_text(*on, frame);
                let text = self.bytes(found);
                let case = plan.cases[cases.start as usize..cases.end as usize].iter().find(|(code, _)| plan.text(*code) == text);
                let chosen = case.map_or(*default, |(_, node)| *node);
                self.state.temporary.truncate(mark);
                if chosen == NONE { Wrote::Nothing } else { self.value(chosen, frame) }
            }
            Node::TableCoding { table } => self.table_row(*table, frame),
        }
    }

    /// A period must not end before it starts (R4, per-1): such an end is left out.
    fn ordered_period(&mut self, start: usize, frame: &Frame<'_>) {
        const END: &[u8] = b",\"end\":\"";
        const START: &[u8] = b"\"start\":\"";
        let text = &self.state.out[start..];
        let (Some(end), Some(begin)) = (memchr::memmem::rfind(text, END), memchr::memmem::find(text, START)) else { return };
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
    fn entered(&mut self, enter: &Enter, children: Range<u32>, has_source: bool, frame: &Frame<'_>) -> Wrote {
        if enter.part == CURRENT {
            return self.spread(&enter.sources, enter.rule, children, has_source, frame);
        }
        let mut next = self.first_part();
        let mut last = None;
        while next != NONE {
            let part = self.state.parts[next as usize];
            next = part.next;
            if part.kind == enter.part {
                last.get_or_insert(part.frame);
                if self.first_source(&enter.sources, &part.frame).is_some() {
                    last = Some(part.frame);
                    break;
                }
            }
        }
        match last {
            Some(frame) => self.spread(&enter.sources, enter.rule, children, has_source, &frame),
            // Rows of other parts may still write the element.
            None => self.spread(&[], NONE, children, has_source, &Frame::nothing()),
        }
    }

    fn first_source(&mut self, sources: &[(SourceId, ConditionId)], frame: &Frame<'_>) -> Option<(Span, u8)> {
        sources.iter().find_map(|(source, guard)| if self.holds(*guard, frame) { self.source_span(*source, frame) } else { None })
    }

    fn spread(&mut self, sources: &[(SourceId, ConditionId)], rule: u32, children: Range<u32>, has_source: bool, frame: &Frame<'_>) -> Wrote {
        let pieces = self.state.pieces.len();
        let found = self.first_source(sources, frame);
        if let Some((span, _)) = found {
            self.trace(rule, Some(span), None);
        }
        let (span, level) = found.unwrap_or((Span::default(), REPETITION));
        let inner = self.enter(span, level, frame);
        let wrote = self.object(children, has_source, &inner);
        self.state.pieces.truncate(pieces);
        wrote
    }

    /// The bytes of a source that is a place in the message.
    fn source_span(&mut self, source: SourceId, frame: &Frame<'_>) -> Option<(Span, u8)> {
        let plan = self.plan;
        match &plan.sources[source as usize] {
            Source::Path(path) => self.locate(*path, frame),
            _ => match self.text(source, frame) {
                Piece::Raw(span) => Some((span, COMPONENT)),
                _ => None,
            },
        }
    }

    fn first_part(&self) -> u32 {
        self.state.instances.get(self.instance as usize).map_or(NONE, |i| i.first_part)
    }

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
                if item.need == ALWAYS || item.need & frame.present != 0 {
                    wrote = wrote.max(self.item(item, frame, first));
                }
                continue;
            }
            let mut next = self.first_part();
            while next != NONE {
                let part = self.state.parts[next as usize];
                next = part.next;
                if part.kind == item.part && (item.need == ALWAYS || item.need & part.frame.present != 0) {
                    wrote = wrote.max(self.item(item, &part.frame, first));
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
                    let inner = Frame { driver: number, repetition, ..*frame };
                    wrote = wrote.max(self.element(item, &inner, first));
                }
                wrote
            }
        }
    }

    fn element(&mut self, item: &Item, frame: &Frame<'_>, first: usize) -> Wrote {
        if !self.holds(item.guard, frame) {
            return Wrote::Nothing;
        }
        let mark = self.mark();
        self.comma();
        let start = self.state.out.len();
        let wrote = self.value(item.node, frame);
        if wrote == Wrote::Nothing || self.seen_before(start, first) {
            self.back_to(&mark);
            return if wrote == Wrote::Nothing { Wrote::Nothing } else { Wrote::Sourced };
        }
        self.state.elements.push(start);
        wrote
    }

    /// Where two occurrences of a resource meet, their lists unite: an element that is there already is not written again.
    fn seen_before(&self, start: usize, first: usize) -> bool {
        if !self.state.instances.get(self.instance as usize).is_some_and(|i| i.merged) {
            return false;
        }
        let out = &self.state.out;
        let new = &out[start..];
        self.state.elements[first..].iter().any(|old| {
            let end = old + new.len();
            end < start && &out[*old..end] == new && matches!(out[end], b',')
        })
    }

    fn alternatives(&mut self, alternatives: Range<u32>, codes: Option<&'static CodeSet>, frame: &Frame<'_>) -> Wrote {
        let plan = self.plan;
        let empty = frame.level != SEGMENT && frame.span.is_empty();
        for alternative in &plan.alternatives[alternatives.start as usize..alternatives.end as usize] {
            if alternative.inner && empty {
                continue;
            }
            if alternative.part == CURRENT {
                if alternative.need != ALWAYS && alternative.need & frame.present == 0 {
                    continue;
                }
                let wrote = self.alternative(alternative, codes, frame);
                if wrote != Wrote::Nothing {
                    return wrote;
                }
                continue;
            }
            let mut next = self.first_part();
            while next != NONE {
                let part = self.state.parts[next as usize];
                next = part.next;
                if part.kind == alternative.part && (alternative.need == ALWAYS || alternative.need & part.frame.present != 0) {
                    let wrote = self.alternative(alternative, codes, &part.frame);
                    if wrote != Wrote::Nothing {
                        return wrote;
                    }
                }
            }
        }
        Wrote::Nothing
    }

    fn alternative(&mut self, alternative: &Alternative, codes: Option<&'static CodeSet>, frame: &Frame<'_>) -> Wrote {
        if !self.holds(alternative.guard, frame) {
            return Wrote::Nothing;
        }
        let (start, traces) = (self.state.out.len(), self.state.traces.len());
        let temporary = self.state.temporary.len();
        self.state.out.extend_from_slice(self.plan.text(alternative.key));
        let wrote = self.emit(alternative, codes, frame);
        self.state.temporary.truncate(temporary);
        if wrote == Wrote::Nothing {
            self.state.out.truncate(start);
            self.state.traces.truncate(traces);
            if alternative.warn {
                self.find(FindingCode::MissingValue, alternative.rule, frame.span);
            }
        }
        wrote
    }

    fn emit(&mut self, alternative: &Alternative, codes: Option<&'static CodeSet>, frame: &Frame<'_>) -> Wrote {
        let rule = alternative.rule;
        match &alternative.emit {
            Emit::Literal(text) => {
                self.trace(rule, None, None);
                self.state.out.extend_from_slice(self.plan.text(*text));
                Wrote::Literal
            }
            Emit::Primitive { source, conversion, table } => {
                let piece = self.text(*source, frame);
                if piece == Piece::Nothing {
                    return Wrote::Nothing;
                }
                let span = self.origin(*source, piece, frame);
                match table {
                    Some(table) => self.through_table(*table, piece, *conversion, span, rule),
                    None => {
                        self.trace(rule, span, None);
                        self.primitive(piece, *conversion, codes, frame)
                    }
                }
            }
            Emit::Coding { system, code, display, concept } => self.coding(*system, *code, *display, *concept, rule, frame),
            Emit::TableCoding { source, table, concept, hit_only } => self.table_coding(*source, *table, *concept, *hit_only, rule, frame),
            Emit::Map { source, node } => {
                let Some((span, level)) = self.source_span(*source, frame) else { return Wrote::Nothing };
                self.trace(rule, Some(span), None);
                let pieces = self.state.pieces.len();
                let inner = self.enter(span, level, frame);
                let wrote = self.value(*node, &inner);
                self.state.pieces.truncate(pieces);
                wrote
            }
            Emit::Node(node) => self.value(*node, frame),
            Emit::Resource { source, part, extra, guard } => {
                if !self.holds(*guard, frame) {
                    return Wrote::Nothing;
                }
                let value = match part {
                    Some(_) => match self.source_span(*source, frame) {
                        Some(found) => Some(found),
                        None => return Wrote::Nothing,
                    },
                    None => None,
                };
                match self.made(*part, value, *extra, frame) {
                    Some(instance) => self.reference(instance, rule, value.map(|v| v.0), alternative.bare),
                    None => Wrote::Nothing,
                }
            }
            Emit::Bound(name) => match self.named(*name, frame.scope, frame.segment) {
                Some(instance) => self.reference(instance, rule, None, alternative.bare),
                None => Wrote::Nothing,
            },
            Emit::Link(slot) => {
                let mut link = if self.link != NONE { self.link } else { self.state.instances.get(self.instance as usize).map_or(NONE, |i| i.first_link) };
                while link != NONE && self.state.links[link as usize].slot != *slot {
                    link = self.state.links[link as usize].next;
                }
                let Some(found) = self.state.links.get(link as usize).copied() else { return Wrote::Nothing };
                self.reference(found.to, found.rule, None, alternative.bare)
            }
        }
    }

    /// The bytes of the message that a value stands for.
    fn origin(&mut self, source: SourceId, piece: Piece, frame: &Frame<'_>) -> Option<Span> {
        if !TRACE {
            return None;
        }
        if let Piece::Raw(span) = piece {
            return Some(span);
        }
        let plan = self.plan;
        let first = match &plan.sources[source as usize] {
            Source::Lines(path) | Source::PatientId(path) => return self.locate(*path, frame).map(|f| f.0),
            // From the first to the last argument that has a value, within the field of the first.
            Source::Join { arguments, .. } | Source::Phone(arguments) | Source::Authority(arguments) => {
                let (message, field) = (self.message, self.message.delimiters().field);
                let spans = arguments.iter().filter_map(|a| self.source_span(*a, frame).map(|f| f.0));
                return spans.reduce(|all, next| {
                    let both = Span { start: all.start.min(next.start), end: all.end.max(next.end) };
                    if message.bytes(both).contains(&field) { all } else { both }
                });
            }
            Source::System(source) | Source::Ssn(source) | Source::TextOf(source) | Source::Uri(source, _) | Source::RangeEnd(source, _) => *source,
            _ => return None,
        };
        self.source_span(first, frame).map(|f| f.0)
    }

    fn reference(&mut self, instance: u32, rule: u32, source: Option<Span>, bare: bool) -> Wrote {
        let target = self.state.instances[instance as usize];
        if !bare {
            self.state.out.extend_from_slice(b"{\"reference\":");
        }
        self.trace(rule, source, None);
        self.state.out.extend_from_slice(if target.contained { b"\"#" } else { b"\"urn:uuid:" });
        self.id(&target);
        self.state.out.extend_from_slice(if bare { b"\"" } else { b"\"}" });
        Wrote::Sourced
    }

    /// A code through a table, as a primitive.
    fn through_table(&mut self, table: u16, piece: Piece, conversion: Conversion, span: Option<Span>, rule: u32) -> Wrote {
        let Some(row) = self.find_row(table, piece) else { return Wrote::Nothing };
        self.trace(rule, span, Some((table, row)));
        let text = self.plan.tables[usize::from(table)].rows[row as usize].code;
        if conversion == Conversion::Boolean {
            self.state.out.extend_from_slice(self.plan.text(text));
        } else {
            json::string(&mut self.state.out, self.plan.text(text));
        }
        Wrote::Sourced
    }

    fn find_row(&mut self, table: u16, piece: Piece) -> Option<u32> {
        let found = self.plan.tables[usize::from(table)].find(self.bytes(piece).trim_ascii());
        if found.is_none() {
            self.find_piece(FindingCode::UnmappedCode, piece);
        }
        found
    }

    fn table_coding(&mut self, source: SourceId, table: u16, concept: bool, hit_only: bool, rule: u32, frame: &Frame<'_>) -> Wrote {
        let piece = self.text(source, frame);
        if piece == Piece::Nothing {
            return Wrote::Nothing;
        }
        let span = self.origin(source, piece, frame);
        let row = self.find_row(table, piece);
        if row.is_none() && hit_only {
            return Wrote::Nothing;
        }
        if concept {
            self.state.out.extend_from_slice(b"{\"coding\":[");
        }
        match row {
            Some(row) => {
                self.trace(rule, span, Some((table, row)));
                let coding = self.plan.tables[usize::from(table)].rows[row as usize].coding;
                self.state.out.extend_from_slice(self.plan.text(coding));
            }
            None => {
                self.state.out.extend_from_slice(b"{\"code\":");
                self.trace(rule, span, None);
                if self.primitive(piece, Conversion::Code, None, frame) == Wrote::Nothing {
                    return Wrote::Nothing;
                }
                self.state.out.push(b'}');
            }
        }
        if concept {
            self.state.out.extend_from_slice(b"]}");
        }
        Wrote::Sourced
    }

    /// The code of the value at hand and what the table makes of it.
    fn first_code(&mut self, table: u16, frame: &Frame<'_>) -> Option<(Span, u32)> {
        let piece = self.piece(frame, 1);
        let code = self.message.part(piece, self.message.delimiters().subcomponent, 1);
        let code = self.trim(code);
        if code.is_empty() || is_null(self.message.bytes(code)) {
            return None;
        }
        Some((code, self.plan.tables[usize::from(table)].find(self.message.bytes(code))?))
    }

    fn table_row(&mut self, table: u16, frame: &Frame<'_>) -> Wrote {
        let Some((code, row)) = self.first_code(table, frame) else {
            let piece = self.piece(frame, 1);
            if !piece.is_empty() && !is_null(self.message.bytes(piece)) {
                self.find(FindingCode::UnmappedCode, NONE, piece);
            }
            return Wrote::Nothing;
        };
        self.trace(NONE, Some(code), Some((table, row)));
        let coding = self.plan.tables[usize::from(table)].rows[row as usize].coding;
        self.state.out.extend_from_slice(self.plan.text(coding));
        Wrote::Sourced
    }

    /// Whether the first coding of the message says no more than the table's: the same code in the same system, or in none.
    pub(super) fn from_table(&mut self, table: u16, frame: &Frame<'_>) -> bool {
        let Some((code, row)) = self.first_code(table, frame) else { return false };
        let plan = self.plan;
        let row = &plan.tables[usize::from(table)].rows[row as usize];
        if plan.text(row.code) != self.message.bytes(code) {
            return false;
        }
        let system = self.piece(frame, 3);
        if system.is_empty() || row.system.start == row.system.end {
            return true;
        }
        // HL70002 and http://terminology.hl7.org/CodeSystem/v2-0002 end alike.
        let (name, uri) = (self.message.bytes(system), plan.text(row.system));
        let digits = name.len().min(4);
        name.len() >= 4 && uri.len() >= 4 && uri[uri.len() - digits..] == name[name.len() - digits..]
    }

    fn coding(&mut self, system: SourceId, code: SourceId, display: SourceId, concept: bool, rule: u32, frame: &Frame<'_>) -> Wrote {
        let mark = self.mark();
        let code_piece = self.text(code, frame);
        if code_piece == Piece::Nothing {
            return Wrote::Nothing;
        }
        let sourced = !matches!(code_piece, Piece::Fixed(_));
        let span = self.origin(code, code_piece, frame);
        self.state.out.extend_from_slice(if concept { b"{\"coding\":[{" } else { b"{" });
        if let Piece::Fixed(text) = self.text(system, frame) {
            self.state.out.extend_from_slice(b"\"system\":");
            self.trace(rule, None, None);
            json::string(&mut self.state.out, self.plan.text(text));
            self.state.out.push(b',');
        }
        self.state.out.extend_from_slice(b"\"code\":");
        self.trace(rule, span, None);
        if self.primitive(code_piece, Conversion::Code, None, frame) == Wrote::Nothing {
            self.back_to(&mark);
            return Wrote::Nothing;
        }
        let display_piece = self.text(display, frame);
        if display_piece != Piece::Nothing {
            let (start, traces, span) = (self.state.out.len(), self.state.traces.len(), self.origin(display, display_piece, frame));
            self.state.out.extend_from_slice(b",\"display\":");
            self.trace(rule, span, None);
            if self.primitive(display_piece, Conversion::String, None, frame) == Wrote::Nothing {
                self.state.out.truncate(start);
                self.state.traces.truncate(traces);
            }
        }
        self.state.out.extend_from_slice(if concept { b"}]}" } else { b"}" });
        if sourced { Wrote::Sourced } else { Wrote::Literal }
    }
}
