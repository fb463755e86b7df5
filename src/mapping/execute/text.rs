//! Sources → text: raw bytes of the message, or text built in the temporary buffer by a function of the language.
use super::{COMPONENT, Frame, REPETITION, Run, SEGMENT, SUBCOMPONENT};
use crate::fhir::{identity, json};
use crate::hl7::{Span, decode_into, is_null};
use crate::mapping::plan::{CURRENT, NONE, Path, Source, SourceId, Text, field_bit};
use crate::mapping::{FindingCode, Trace};
use crate::words::{equal, find};

/// From here on a vector search pays.
const LONG_BYTES: usize = 256;

/// Text found by a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Piece {
    Nothing,
    /// Bytes of the message, escapes and charset unresolved.
    Raw(Span),
    /// Bytes of the plan.
    Fixed(Text),
    /// UTF-8 in the temporary buffer, from here to its end.
    Built(usize),
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Whether a source yields anything.
    pub(super) fn valued(&mut self, source: SourceId, frame: &Frame<'_>) -> bool {
        let plan = self.plan;
        if let Source::Range(text, part) = &plan.sources[source as usize]
            && let Some(range) = self.plain_range(*text, frame)
        {
            return !range.part(*part).is_empty();
        }
        match &plan.sources[source as usize] {
            Source::Path(path) if path.plain && self.plainly_valued(path.field, frame) => {
                if TRACE && let Some((span, _)) = self.own_value(path.field, frame) {
                    self.read_presence(span);
                }
                true
            }
            Source::Path(path) | Source::Lines(path) => {
                let found = self.locate(*path, frame).filter(|(span, level)| !self.hollow(*span, *level));
                if let Some((span, _)) = found {
                    self.read_presence(span);
                }
                found.is_some()
            }
            _ => {
                let mark = self.state.temporary.len();
                let found = self.text(source, frame) != Piece::Nothing;
                self.state.temporary.truncate(mark);
                found
            }
        }
    }

    /// Whether a field or component of the frame itself begins with a letter or digit, so that nothing else need be asked.
    fn plainly_valued(&self, number: u16, frame: &Frame<'_>) -> bool {
        let span = if frame.level != SEGMENT {
            self.piece(frame, number)
        } else if frame.driver == number {
            frame.repetition
        } else {
            self.message.field(frame.segment as usize, usize::from(number))
        };
        self.message.bytes(span).first().is_some_and(u8::is_ascii_alphanumeric)
    }

    /// Whether a value consists of separators only.
    fn hollow(&self, span: Span, level: u8) -> bool {
        if level > COMPONENT {
            return false;
        }
        let delimiters = self.message.delimiters();
        self.message
            .bytes(span)
            .iter()
            .all(|b| *b == delimiters.component || *b == delimiters.subcomponent || *b == b' ')
    }

    pub(super) fn bytes(&self, piece: Piece) -> &[u8] {
        match piece {
            Piece::Nothing => &[],
            Piece::Raw(span) => self.message.bytes(span),
            Piece::Fixed(text) => self.plan.text(text),
            Piece::Built(start) => &self.state.temporary[start..],
        }
    }

    /// The value at a path as plain text: its first component and subcomponent, unless the path says more.
    #[inline]
    pub(super) fn leaf(&mut self, path: Path, frame: &Frame<'_>) -> Option<Span> {
        if path.plain { self.own_leaf(path.field, frame) } else { self.far_leaf(path, frame) }
    }

    /// The first leaf of a field or component of the frame itself.
    #[inline]
    pub(super) fn own_leaf(&mut self, number: u16, frame: &Frame<'_>) -> Option<Span> {
        if frame.present & field_bit(number) == 0 {
            return None;
        }
        let span = if frame.level != SEGMENT {
            let piece = self.piece(frame, number);
            if frame.composite { self.first_leaf(piece) } else { piece }
        } else if frame.driver == number {
            self.first_leaf(frame.repetition)
        } else {
            self.first_leaf(self.message.field(frame.segment as usize, usize::from(number)))
        };
        let span = self.trim(span);
        if span.is_empty() || is_null(self.message.bytes(span)) {
            return None;
        }
        self.read(span);
        Some(span)
    }

    /// What stands before the first separator.
    fn first_leaf(&self, span: Span) -> Span {
        let [repetition, component, subcomponent] = self.leaf_ends;
        if span.len() > LONG_BYTES {
            let found = memchr::memchr3(repetition, component, subcomponent, self.message.bytes(span));
            return Span { start: span.start, end: found.map_or(span.end, |at| span.start + at as u32) };
        }
        let ends = |word| equal(word, repetition) | equal(word, component) | equal(word, subcomponent);
        let end = find(self.message.raw(), span.start as usize, span.end as usize, ends);
        Span { start: span.start, end: end as u32 }
    }

    fn far_leaf(&mut self, path: Path, frame: &Frame<'_>) -> Option<Span> {
        let (span, level) = self.locate(path, frame)?;
        // A component without subcomponents is its own text.
        if level == SUBCOMPONENT || (level == COMPONENT && !frame.composite && path.up == 0 && path.segment == CURRENT)
        {
            self.read(span);
            return Some(span);
        }
        let delimiters = self.message.delimiters();
        let mut span = span;
        if level == REPETITION {
            span = self.message.part(span, delimiters.component, 1);
        }
        if level <= COMPONENT {
            span = self.message.part(span, delimiters.subcomponent, 1);
        }
        let span = self.trim(span);
        if span.is_empty() || is_null(self.message.bytes(span)) {
            return None;
        }
        self.read(span);
        Some(span)
    }

    /// The text of a source. What is built stands at the end of the temporary buffer; the caller cuts it.
    pub(super) fn text(&mut self, source: SourceId, frame: &Frame<'_>) -> Piece {
        let plan = self.plan;
        match &plan.sources[source as usize] {
            Source::Nothing => Piece::Nothing,
            Source::Path(path) => self.leaf(*path, frame).map_or(Piece::Nothing, Piece::Raw),
            Source::Literal(text) => {
                if text.start == text.end {
                    return Piece::Nothing;
                }
                Piece::Fixed(*text)
            }
            built => {
                let start = self.state.temporary.len();
                self.build(built, frame);
                if self.state.temporary.len() > start { Piece::Built(start) } else { Piece::Nothing }
            }
        }
    }

    /// The text of a source with escapes and charset resolved, for comparing and computing.
    pub(super) fn plain_text(&mut self, source: SourceId, frame: &Frame<'_>) -> Piece {
        match self.text(source, frame) {
            Piece::Raw(span) => {
                if self.verbatim(span) {
                    return Piece::Raw(span);
                }
                let start = self.state.temporary.len();
                self.decode(span);
                Piece::Built(start)
            }
            other => other,
        }
    }

    /// Appends a value of the message to the temporary buffer, as text.
    pub(super) fn decode(&mut self, span: Span) {
        let bytes = self.message.bytes(span);
        let notes = decode_into(bytes, &self.message.delimiters(), self.charset, &mut self.state.temporary);
        if !notes.is_empty() {
            self.note(notes, span);
        }
    }

    /// Appends the text of a source.
    pub(super) fn append(&mut self, source: SourceId, frame: &Frame<'_>) {
        match self.text(source, frame) {
            Piece::Raw(span) => self.decode(span),
            Piece::Fixed(text) => self.state.temporary.extend_from_slice(self.plan.text(text)),
            Piece::Nothing | Piece::Built(_) => {}
        }
    }

    fn build(&mut self, source: &Source, frame: &Frame<'_>) {
        match source {
            Source::Join { separator, arguments } => {
                let start = self.state.temporary.len();
                for argument in arguments {
                    let before = self.state.temporary.len();
                    if before > start {
                        self.state.temporary.extend_from_slice(self.plan.text(*separator));
                    }
                    let with = self.state.temporary.len();
                    self.append(*argument, frame);
                    if self.state.temporary.len() == with {
                        self.state.temporary.truncate(before);
                    }
                }
            }
            Source::Phone(pieces) => self.phone(pieces, frame),
            Source::Ssn(source) => self.ssn(*source, frame),
            Source::Authority(sources) => self.authority(sources, frame),
            Source::System(source) => self.system(*source, frame),
            Source::Uri(id, kind) => self.uri_of(*id, *kind, frame),
            Source::Lines(path) => self.lines(*path, frame),
            Source::TextOf(source) => self.whole(*source, frame),
            Source::PatientId(path) => self.patient_id(*path, frame),
            Source::Patient => self.patient(frame),
            Source::Position => self.number(frame.segment + 1),
            Source::Occurrence => self.number(self.occurrence(frame)),
            Source::Base64(source) => self.base64(*source, frame),
            Source::Later(parts) => self.later(*parts, frame),
            Source::AllLines(path, only) => self.all_lines(*path, only.as_ref(), frame),
            Source::DerivedStatus => self.derived_status(),
            Source::Range(source, part) => self.range(*source, *part, frame),
            Source::Nothing | Source::Path(_) | Source::Literal(_) => {}
        }
    }

    fn number(&mut self, number: u32) {
        use std::io::Write as _;
        // Writing into a Vec cannot fail.
        let _ = write!(self.state.temporary, "{number}");
    }

    /// `+31 20 1234567 x8`: country, area, local, extension; nothing without a local number.
    fn phone(&mut self, pieces: &[SourceId], frame: &Frame<'_>) {
        let start = self.state.temporary.len();
        for (number, piece) in pieces.iter().enumerate() {
            let before = self.state.temporary.len();
            let prefix: &[u8] = match number {
                0 => b"+",
                3 => b" x",
                _ if before > start => b" ",
                _ => b"",
            };
            self.state.temporary.extend_from_slice(prefix);
            let with = self.state.temporary.len();
            self.append(*piece, frame);
            match self.state.temporary.get(with) {
                None if number == 2 => return self.state.temporary.truncate(start),
                None => self.state.temporary.truncate(before),
                Some(b'+') if number == 0 => drop(self.state.temporary.remove(before)),
                Some(_) => {}
            }
        }
    }

    fn ssn(&mut self, source: SourceId, frame: &Frame<'_>) {
        let start = self.state.temporary.len();
        self.append(source, frame);
        let mut digits = [0u8; 9];
        let mut count = 0;
        for byte in &self.state.temporary[start..] {
            match byte {
                b'0'..=b'9' if count < 9 => {
                    digits[count] = *byte;
                    count += 1;
                }
                b'-' | b' ' => {}
                _ => count = 10,
            }
        }
        self.state.temporary.truncate(start);
        if count == 9 {
            self.state.temporary.extend_from_slice(&digits);
        }
    }

    /// All repetitions, one a line, separators within them kept.
    fn lines(&mut self, path: Path, frame: &Frame<'_>) {
        let mut frame = frame;
        for _ in 0..path.up {
            let Some(parent) = frame.parent else { return };
            frame = parent;
        }
        if frame.level != SEGMENT || path.component != 0 {
            if let Some((span, _)) = self.locate(path, frame) {
                self.read(span);
                self.decode(span);
            }
            return;
        }
        let field = self.message.field(frame.segment as usize, usize::from(path.field));
        let start = self.state.temporary.len();
        let parts = self.message.parts(field, self.message.delimiters().repetition);
        let mut first = true;
        for part in parts {
            if !first {
                self.state.temporary.push(b'\n');
            }
            first = false;
            if !is_null(self.message.bytes(part)) {
                self.read(part);
                self.decode(part);
            }
        }
        while self.state.temporary.len() > start && matches!(self.state.temporary.last(), Some(b'\n' | b' ')) {
            self.state.temporary.pop();
        }
        if self.state.temporary[start..].iter().all(|b| matches!(b, b'\n' | b' ')) {
            self.state.temporary.truncate(start);
        }
    }

    /// A value with its separators, as text.
    fn whole(&mut self, source: SourceId, frame: &Frame<'_>) {
        let plan = self.plan;
        match &plan.sources[source as usize] {
            Source::Path(path) => {
                if let Some((span, _)) = self.locate(*path, frame) {
                    self.read(span);
                    self.decode(span);
                }
            }
            _ => self.append(source, frame),
        }
    }

    /// Id and authority of the repetition that identifies the patient.
    fn patient_id(&mut self, path: Path, frame: &Frame<'_>) {
        let plan = self.plan;
        let delimiters = self.message.delimiters();
        let field = self.message.field(frame.segment as usize, usize::from(path.field));
        let component = |repetition, n| self.message.bytes(self.message.part(repetition, delimiters.component, n));
        let valued = |repetition: &Span| !component(*repetition, 1).is_empty() && !is_null(component(*repetition, 1));
        let repetitions = || self.message.parts(field, delimiters.repetition).filter(valued);
        let typed =
            plan.patient_types.iter().find_map(|kind| repetitions().find(|r| component(*r, 5) == kind.as_slice()));
        let Some(chosen) = typed.or_else(|| repetitions().find(|r| component(*r, 5) != b"SS")) else { return };
        let authority = self.message.part(chosen, delimiters.component, 4);
        for span in [self.message.part(chosen, delimiters.component, 1), authority] {
            self.read(span);
        }
        self.read(self.message.part(chosen, delimiters.component, 5));
        self.decode(self.message.part(chosen, delimiters.component, 1));
        self.state.temporary.push(0x1f);
        let split = |n| Some(self.message.part(authority, delimiters.subcomponent, n)).filter(|s| !s.is_empty());
        let [namespace, id, kind] = [split(1), split(2), split(3)];
        let known = [namespace, id].into_iter().flatten().any(|key| self.registered(&plan.authorities, key));
        if !known
            && !id.is_some_and(|id| self.universal(id, kind))
            && let Some(name) = namespace.or(id)
        {
            self.local(name);
        }
    }

    /// The id of the message's patient, which its other resources carry in their identity.
    fn patient(&mut self, frame: &Frame<'_>) {
        // `patient` and, where a message has two (A17, A24), `patient2`: the one whose PID stands nearest before.
        let names = self.plan.patients.iter();
        let found = names
            .filter_map(|name| self.named_with_segment(*name, frame.scope, frame.segment))
            .filter(|(segment, _)| *segment == NONE || *segment <= frame.segment)
            .max_by_key(|(segment, _)| if *segment == NONE { 0 } else { *segment + 1 });
        if let Some((_, instance)) = found {
            let id = identity::text(&self.state.instances[instance as usize].id);
            self.state.temporary.extend_from_slice(&id);
        }
    }

    /// The status that a report's observations add up to (OBX-11 of what is linked as `result`).
    fn derived_status(&mut self) {
        let Some(instance) = self.state.instances.get(self.instance as usize) else { return };
        let (mut seen, mut corrected, mut open, mut settled) = (false, false, false, false);
        let mut link = instance.first_link;
        while link != NONE {
            let LinkOf { next, to, .. } = self.state.links[link as usize];
            link = next;
            let target = self.state.instances[to as usize];
            let frame = self.state.parts[target.first_part as usize].frame;
            if frame.segment == NONE
                || self.message.segment_id(frame.segment as usize) != crate::hl7::SegmentId(*b"OBX")
            {
                continue;
            }
            seen = true;
            let outside = self.reading(None, Some(super::reads::Role::Condition));
            self.read(self.message.field(frame.segment as usize, 11));
            self.reading_again(outside);
            match self.message.text(frame.segment as usize, 11) {
                b"C" => corrected = true,
                b"P" | b"R" | b"S" | b"I" | b"O" | b"" => open = true,
                _ => settled = true,
            }
        }
        let status: &[u8] = match (seen, open, settled || corrected, corrected) {
            (false, ..) => return,
            (_, true, true, _) => b"partial",
            (_, true, false, _) => b"preliminary",
            (_, _, _, true) => b"corrected",
            _ => b"final",
        };
        self.find(FindingCode::DerivedStatus, NONE, Span::default());
        self.state.temporary.extend_from_slice(status);
    }

    /// Writes a text of the plan.
    #[inline]
    pub(super) fn write(&mut self, text: Text) {
        json::copy(&mut self.state.out, &self.plan.pool, text.start as usize, text.end as usize);
    }

    /// Whether bytes of the message go out as they came in.
    #[inline]
    pub(super) fn verbatim(&self, span: Span) -> bool {
        let escape = self.message.delimiters().escape;
        json::verbatim(self.message.raw(), span.start as usize, span.end as usize, escape)
    }

    /// Writes bytes of the message that need no work, in quotes.
    #[inline]
    pub(super) fn quote(&mut self, span: Span) {
        self.state.out.push(b'"');
        json::copy(&mut self.state.out, self.message.raw(), span.start as usize, span.end as usize);
        self.state.out.push(b'"');
    }

    /// Records where an element came from.
    pub(super) fn trace(&mut self, rule: u32, source: Option<Span>, row: Option<(u16, u32)>) {
        if TRACE {
            let start = self.state.out.len();
            self.state.traces.push(Trace { start, rule, source, row });
        }
    }
}

use super::LinkOf;
