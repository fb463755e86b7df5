//! One value: alternatives, codes through tables, codings, references.
use super::memory::VALUE_BYTES_MAX;
use super::reads::{Fate, Role};
use super::text::Piece;
use super::{Frame, Run, SEGMENT, Wrote};
use crate::fhir::json;
use crate::fhir::shape::CodeSet;
use crate::hl7::{Span, is_null};
use crate::mapping::FindingCode;
use crate::mapping::plan::{Alternative, CURRENT, Conversion, Emit, Keeps, NONE, Source, SourceId};
use std::ops::Range;

impl<const TRACE: bool> Run<'_, TRACE> {
    #[inline(never)]
    pub(super) fn alternatives(
        &mut self,
        alternatives: Range<u32>,
        codes: Option<&'static CodeSet>,
        frame: &Frame<'_>,
    ) -> Wrote {
        let plan = self.plan;
        let empty = frame.level != SEGMENT && frame.span.is_empty();
        for number in alternatives.start as usize..alternatives.end as usize {
            let alternative = &plan.alternatives[number];
            if alternative.inner && empty {
                continue;
            }
            if alternative.part == CURRENT {
                if alternative.need & frame.present == 0 {
                    continue;
                }
                let wrote = self.alternative(alternative, codes, frame);
                if wrote != Wrote::Nothing {
                    self.look_at_later(&plan.alternatives[number + 1..alternatives.end as usize], frame);
                    return wrote;
                }
                continue;
            }
            let mut next = self.first_part();
            while next != NONE {
                let part = &self.state.parts[next as usize];
                next = part.next;
                if part.kind == alternative.part && alternative.need & part.frame.present != 0 {
                    let frame = part.frame;
                    let wrote = self.alternative(alternative, codes, &frame);
                    if wrote != Wrote::Nothing {
                        // From this one on: other parts may hold it as well.
                        self.look_at_later(&plan.alternatives[number..alternatives.end as usize], &frame);
                        return wrote;
                    }
                }
            }
        }
        Wrote::Nothing
    }

    fn alternative(&mut self, alternative: &Alternative, codes: Option<&'static CodeSet>, frame: &Frame<'_>) -> Wrote {
        if !self.guarded(alternative, frame) {
            return Wrote::Nothing;
        }
        let (start, traces, reads) = (self.state.out.len(), self.state.traces.len(), self.reads());
        let temporary = self.state.temporary.len();
        self.write(alternative.key);
        let wrote = self.emit(alternative, codes, frame);
        self.state.temporary.truncate(temporary);
        if wrote == Wrote::Nothing {
            self.state.out.truncate(start);
            self.state.traces.truncate(traces);
            self.reads_end_in(reads, Fate::Left);
            if alternative.warn {
                self.find(FindingCode::MissingValue, alternative.rule, frame.span);
            }
        }
        wrote
    }

    /// Whether the guard of an alternative holds.
    #[inline]
    pub(super) fn guarded(&mut self, alternative: &Alternative, frame: &Frame<'_>) -> bool {
        let outside = self.reading(Some(alternative.rule), None);
        let holds = self.holds(alternative.guard, frame);
        if !holds {
            self.look_at(alternative, frame, Role::Guarded);
        }
        self.reading_again(outside);
        holds
    }

    /// Writes what an alternative says, its guard left aside.
    #[inline]
    pub(super) fn emit(
        &mut self,
        alternative: &Alternative,
        codes: Option<&'static CodeSet>,
        frame: &Frame<'_>,
    ) -> Wrote {
        let outside = self.reading(Some(alternative.rule), None);
        let wrote = self.emitted(alternative, codes, frame);
        self.reading_again(outside);
        wrote
    }

    fn emitted(&mut self, alternative: &Alternative, codes: Option<&'static CodeSet>, frame: &Frame<'_>) -> Wrote {
        let rule = alternative.rule;
        match &alternative.emit {
            Emit::Literal(text) => {
                self.trace(rule, None, None);
                self.write(*text);
                Wrote::Literal
            }
            Emit::Primitive { source, conversion, table } => {
                let piece = match &self.plan.sources[*source as usize] {
                    Source::Path(path) if path.plain => self.own_leaf(path.field, frame).map(Piece::Raw),
                    _ => Some(self.text(*source, frame)),
                };
                let Some(piece) = piece.filter(|piece| *piece != Piece::Nothing) else { return Wrote::Nothing };
                let span = self.origin(*source, piece, frame);
                match table {
                    Some(table) => self.through_table(*table, piece, *conversion, span, rule),
                    None => {
                        self.trace(rule, span, None);
                        self.primitive(piece, *conversion, codes)
                    }
                }
            }
            Emit::Coding { system, code, display, concept } => {
                self.coding(*system, *code, *display, *concept, rule, frame)
            }
            Emit::TableCoding { source, table, concept, hit_only } => {
                self.table_coding(*source, *table, *concept, *hit_only, rule, frame)
            }
            Emit::Map { source, node, keeps } => {
                let Some((span, level)) = self.source_span(*source, frame) else { return Wrote::Nothing };
                self.entering(rule, span);
                self.trace(rule, Some(span), None);
                if *keeps != Keeps::Not && !TRACE && span.len() <= VALUE_BYTES_MAX {
                    return self.remembered(*keeps, *node, span, level, frame);
                }
                let inner = self.enter(span, level, frame);
                self.value(*node, &inner)
            }
            Emit::Node(node) => self.value(*node, frame),
            Emit::Resource { .. } | Emit::Bound(_) | Emit::Link(_) => self.refer(alternative, frame),
        }
    }

    /// A reference to a resource: made here, bound to a name, or along a link.
    #[inline(never)]
    fn refer(&mut self, alternative: &Alternative, frame: &Frame<'_>) -> Wrote {
        let rule = alternative.rule;
        match &alternative.emit {
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
                if let Some((span, _)) = value {
                    self.entering(rule, span);
                }
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
                let mut link = if self.link != NONE {
                    self.link
                } else {
                    self.state.instances.get(self.instance as usize).map_or(NONE, |i| i.first_link)
                };
                while link != NONE && self.state.links[link as usize].slot != *slot {
                    link = self.state.links[link as usize].next;
                }
                let Some(found) = self.state.links.get(link as usize).copied() else { return Wrote::Nothing };
                self.reference(found.to, found.rule, None, alternative.bare)
            }
            _ => Wrote::Nothing,
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
        self.unread(|run| run.origin_of(source, frame))
    }

    fn origin_of(&mut self, source: SourceId, frame: &Frame<'_>) -> Option<Span> {
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
            Source::System(source)
            | Source::Ssn(source)
            | Source::TextOf(source)
            | Source::Base64(source)
            | Source::Later([source, ..])
            | Source::Uri(source, _)
            | Source::Range(source, _) => *source,
            _ => return None,
        };
        // What is built on the way would end up behind the value that is being written.
        let mark = self.state.temporary.len();
        let found = self.source_span(first, frame).map(|f| f.0);
        self.state.temporary.truncate(mark);
        found
    }

    #[inline(never)]
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
    #[inline(never)]
    fn through_table(
        &mut self,
        table: u16,
        piece: Piece,
        conversion: Conversion,
        span: Option<Span>,
        rule: u32,
    ) -> Wrote {
        let Some(row) = self.find_row(table, piece) else { return Wrote::Nothing };
        self.trace(rule, span, Some((table, row)));
        let text = self.plan.tables[usize::from(table)].rows[row as usize].code;
        if conversion == Conversion::Boolean {
            self.write(text);
        } else {
            json::string(&mut self.state.out, self.plan.text(text));
        }
        Wrote::Sourced
    }

    fn find_row(&mut self, table: u16, piece: Piece) -> Option<u32> {
        let (text, mark) = self.resolved(piece);
        let found = self.plan.tables[usize::from(table)].find(self.bytes(text).trim_ascii());
        self.state.temporary.truncate(mark);
        if found.is_none() {
            self.find_unmapped(table, if let Piece::Raw(span) = piece { span } else { Span::default() });
        }
        found
    }

    #[inline(never)]
    fn table_coding(
        &mut self,
        source: SourceId,
        table: u16,
        concept: bool,
        hit_only: bool,
        rule: u32,
        frame: &Frame<'_>,
    ) -> Wrote {
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
                self.write(coding);
            }
            None => {
                self.state.out.extend_from_slice(b"{\"code\":");
                self.trace(rule, span, None);
                if self.primitive(piece, Conversion::Code, None) == Wrote::Nothing {
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

    /// The code of the value at hand and what the table makes of it, if it has it.
    fn first_code(&mut self, table: u16, frame: &Frame<'_>) -> Option<(Span, Option<u32>)> {
        let piece = self.piece(frame, 1);
        let code = self.message.part(piece, self.message.delimiters().subcomponent, 1);
        let code = self.trim(code);
        if code.is_empty() || is_null(self.message.bytes(code)) {
            return None;
        }
        self.read(code);
        let (text, mark) = self.resolved(Piece::Raw(code));
        let found = self.plan.tables[usize::from(table)].find(self.bytes(text).trim_ascii());
        self.state.temporary.truncate(mark);
        Some((code, found))
    }

    pub(super) fn table_row(&mut self, table: u16, frame: &Frame<'_>) -> Wrote {
        let Some((code, row)) = self.first_code(table, frame) else { return Wrote::Nothing };
        let Some(row) = row else {
            // What was looked up, not all of the component: a row for that would never be found.
            self.find_unmapped(table, code);
            return Wrote::Nothing;
        };
        self.trace(NONE, Some(code), Some((table, row)));
        let coding = self.plan.tables[usize::from(table)].rows[row as usize].coding;
        self.write(coding);
        Wrote::Sourced
    }

    /// Whether the first coding of the message says no more than the table's: the same code in the same system, or in none.
    pub(super) fn is_from_table(&mut self, table: u16, frame: &Frame<'_>) -> bool {
        let Some((code, Some(row))) = self.first_code(table, frame) else { return false };
        let plan = self.plan;
        let row = &plan.tables[usize::from(table)].rows[row as usize];
        let (text, mark) = self.resolved(Piece::Raw(code));
        let differs = plan.text(row.code) != self.bytes(text).trim_ascii();
        self.state.temporary.truncate(mark);
        if differs {
            return false;
        }
        let system = self.message.part(self.piece(frame, 3), self.message.delimiters().subcomponent, 1);
        let system = self.trim(system);
        if system.is_empty() || is_null(self.message.bytes(system)) || row.system.start == row.system.end {
            return true;
        }
        let start = self.state.temporary.len();
        self.system_of(system);
        let same = self.state.temporary[start..] == *plan.text(row.system);
        self.state.temporary.truncate(start);
        same
    }

    #[inline(never)]
    fn coding(
        &mut self,
        system: SourceId,
        code: SourceId,
        display: SourceId,
        concept: bool,
        rule: u32,
        frame: &Frame<'_>,
    ) -> Wrote {
        let (mark, reads) = (self.mark(), self.reads());
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
        self.reads_lead_here(reads);
        self.trace(rule, span, None);
        if self.primitive(code_piece, Conversion::Code, None) == Wrote::Nothing {
            self.back_to(&mark);
            return Wrote::Nothing;
        }
        let before_display = self.reads();
        let display_piece = self.text(display, frame);
        if display_piece != Piece::Nothing {
            let (start, traces) = (self.state.out.len(), self.state.traces.len());
            let span = self.origin(display, display_piece, frame);
            self.state.out.extend_from_slice(b",\"display\":");
            self.trace(rule, span, None);
            if self.primitive(display_piece, Conversion::String, None) == Wrote::Nothing {
                self.state.out.truncate(start);
                self.state.traces.truncate(traces);
                self.reads_end_in(before_display, Fate::Left);
            }
        }
        self.state.out.extend_from_slice(if concept { b"}]}" } else { b"}" });
        if sourced { Wrote::Sourced } else { Wrote::Literal }
    }
}
