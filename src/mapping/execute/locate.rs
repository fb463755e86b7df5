//! Paths → bytes of the message: fields, repetitions, components, subcomponents; and the conditions that guard rows.
use super::reads::Role;
use super::{COMPONENT, Frame, HOLDS, REPETITION, Run, SEGMENT, SPLITS, SUBCOMPONENT, Split};
use crate::hl7::{Span, is_null};
use crate::mapping::plan::{
    CURRENT, Condition, ConditionId, Measure, NONE, Path, Repetition, Source, composite_bit, field_bit, packed,
};
use crate::words::{each_equal, equal, first, words};

impl<const TRACE: bool> Run<'_, TRACE> {
    /// The bytes that a path means, and which separator splits them further; `None` when there is nothing valued.
    pub(super) fn locate(&mut self, path: Path, frame: &Frame<'_>) -> Option<(Span, u8)> {
        let mut frame = frame;
        for _ in 0..path.up {
            frame = frame.parent?;
        }
        let found = if path.segment != CURRENT {
            let segment = self.lookup(frame, path)?;
            let field = self.message.field(segment as usize, usize::from(path.field));
            let repetition = self.repetition(field, path.repetition, frame)?;
            self.within(repetition, path)
        } else if path.field > 0 && frame.present & field_bit(path.field) == 0 {
            return None;
        } else if frame.level == SEGMENT {
            let repetition = if frame.driver == path.field && path.repetition == Repetition::Current {
                frame.repetition
            } else {
                let field = self.message.field(frame.segment as usize, usize::from(path.field));
                match path.repetition {
                    Repetition::Current | Repetition::Index(1) | Repetition::Last if !frame.repeats => field,
                    which => self.repetition(field, which, frame)?,
                }
            };
            self.within(repetition, path)
        } else if path.field == 0 {
            (frame.span, frame.level)
        } else {
            self.component(frame, path)
        };
        let (span, level) = found;
        let span = self.trim(span);
        (!span.is_empty() && !is_null(self.message.bytes(span))).then_some((span, level))
    }

    /// The repetition at hand of a field, or a component, of the frame itself.
    pub(super) fn own_value(&self, number: u16, frame: &Frame<'_>) -> Option<(Span, u8)> {
        if frame.present & field_bit(number) == 0 {
            return None;
        }
        let (span, level) = if frame.level != SEGMENT {
            (self.piece(frame, number), (frame.level + 1).min(SUBCOMPONENT))
        } else if frame.driver == number {
            (frame.repetition, REPETITION)
        } else {
            let field = self.message.field(frame.segment as usize, usize::from(number));
            match frame.repeats {
                true => (self.message.part(field, self.message.delimiters().repetition, 1), REPETITION),
                false => (field, REPETITION),
            }
        };
        let span = self.trim(span);
        (!span.is_empty() && !is_null(self.message.bytes(span))).then_some((span, level))
    }

    /// The nearest segment that a row reads beside its own.
    pub(super) fn lookup(&mut self, frame: &Frame<'_>, path: Path) -> Option<u32> {
        let reference = usize::from(path.segment);
        let id = self.plan.segment_refs[reference];
        if frame.segment != NONE && self.message.segment_id(frame.segment as usize) == id {
            return Some(frame.segment);
        }
        let width = self.plan.segment_refs.len();
        let mut scope = frame.scope as usize;
        loop {
            let found = self.state.references[scope * width + reference];
            if found != NONE {
                return Some(self.nearest_before(found, frame.segment));
            }
            // What stands below belongs to the own group more than what stands around it.
            if path.beside
                && scope == frame.scope as usize
                && let Some(found) = self.right_below(frame.scope, reference, frame.segment)
            {
                return Some(found);
            }
            if scope == 0 {
                break;
            }
            scope = self.matcher.instances()[scope].parent as usize;
        }
        if path.beside { self.beside(frame.scope, reference) } else { None }
    }

    /// The segment of a group right below: the first that stands behind the segment at hand (a timing follows what it times), else the first of all.
    fn right_below(&mut self, scope: u32, reference: usize, segment: u32) -> Option<u32> {
        let first = self.state.below[scope as usize * self.plan.segment_refs.len() + reference];
        if first == NONE || first > segment || segment == NONE {
            return (first != NONE).then_some(first);
        }
        self.order_beside();
        let (beside, reference) = (&self.state.beside, reference as u16);
        let behind = beside.partition_point(|entry| *entry <= (scope, reference, segment));
        let found = beside.get(behind).filter(|entry| (entry.0, entry.1) == (scope, reference));
        Some(found.map_or(first, |entry| entry.2))
    }

    /// Sorts the segments that rows read elsewhere by the group around theirs; under a reference of its own also by that and their own group.
    fn order_beside(&mut self) {
        if !self.state.beside.is_empty() {
            return;
        }
        let plan = self.plan;
        let width = plan.segment_refs.len() as u16;
        for segment in 0..self.message.segment_count() {
            let id = self.message.segment_id(segment);
            let Some(reference) = plan.segment_refs.iter().position(|s| *s == id) else { continue };
            let (own, reference, segment) =
                (self.matcher.placement(segment).instance, reference as u16, segment as u32);
            self.state.beside.push((own, width + reference, segment));
            if own != 0 {
                let around = self.matcher.instances()[own as usize].parent;
                self.state.beside.push((around, reference, segment));
                self.state.beside.push((around, width + reference, segment));
            }
        }
        self.state.beside.sort_unstable();
    }

    /// The places in [`State::beside`](super::State) of the segments of a name in a group and right below it.
    pub(super) fn in_and_below(&mut self, scope: u32, reference: u8) -> std::ops::Range<usize> {
        self.order_beside();
        let key = (scope, self.plan.segment_refs.len() as u16 + u16::from(reference));
        let beside = &self.state.beside;
        let start = beside.partition_point(|entry| (entry.0, entry.1) < key);
        start..start + beside[start..].partition_point(|entry| (entry.0, entry.1) == key)
    }

    /// The first such segment of the groups beside: right below a group around, no further out than the nearest that repeats. What stands beyond may be
    /// another order's or another patient's.
    fn beside(&self, scope: u32, reference: usize) -> Option<u32> {
        let instances = self.matcher.instances();
        let group = |instance: u32| instances[instance as usize].group;
        let mut scope = scope;
        while scope != 0 {
            let from = scope;
            scope = instances[scope as usize].parent;
            let found = self.state.below[scope as usize * self.plan.segment_refs.len() + reference];
            // Never of another occurrence of the group we came out of: that one goes with its neighbour.
            if found != NONE && group(self.matcher.placement(found as usize).instance) != group(from) {
                return Some(found);
            }
            if self.repeats(scope) {
                break;
            }
        }
        None
    }

    /// Where a group holds a segment at two places (the two PIDs of A17), the one that stands nearest before is meant.
    fn nearest_before(&self, first: u32, segment: u32) -> u32 {
        if !self.structure.twice || segment == NONE {
            return first;
        }
        let (id, group) = (self.message.segment_id(first as usize), self.matcher.placement(first as usize).instance);
        let same = |s: &u32| {
            self.message.segment_id(*s as usize) == id && self.matcher.placement(*s as usize).instance == group
        };
        (first + 1..=segment).rev().find(same).unwrap_or(first)
    }

    fn repetition(&mut self, field: Span, which: Repetition, frame: &Frame<'_>) -> Option<Span> {
        let separator = self.message.delimiters().repetition;
        match which {
            Repetition::Current => Some(self.message.part(field, separator, 1)),
            Repetition::Index(n) => Some(self.message.part(field, separator, usize::from(n))),
            Repetition::Last => self.message.parts(field, separator).last(),
            Repetition::Filter(condition) => {
                let mut rest = field;
                // One at a time: the condition needs the run, so no iterator over the message may be alive.
                while !rest.is_empty() {
                    let first = self.message.part(rest, separator, 1);
                    if self.holds_for(condition, first, frame) {
                        return Some(first);
                    }
                    rest.start = (first.end + 1).min(rest.end);
                }
                None
            }
        }
    }

    fn holds_for(&mut self, condition: ConditionId, repetition: Span, frame: &Frame<'_>) -> bool {
        let inner = self.enter(repetition, REPETITION, frame);
        self.holds(condition, &inner)
    }

    /// Component and subcomponent of a repetition.
    fn within(&self, repetition: Span, path: Path) -> (Span, u8) {
        let delimiters = self.message.delimiters();
        if path.component == 0 {
            return (repetition, REPETITION);
        }
        let component = self.message.part(repetition, delimiters.component, usize::from(path.component));
        if path.subcomponent == 0 {
            return (component, COMPONENT);
        }
        (self.message.part(component, delimiters.subcomponent, usize::from(path.subcomponent)), SUBCOMPONENT)
    }

    /// A component of the value at hand.
    fn component(&self, frame: &Frame<'_>, path: Path) -> (Span, u8) {
        let piece = self.piece(frame, path.field);
        let level = (frame.level + 1).min(SUBCOMPONENT);
        if path.component == 0 {
            return (piece, level);
        }
        if !frame.composite && path.component == 1 {
            return (piece, SUBCOMPONENT);
        }
        if !frame.composite {
            return (Span::default(), SUBCOMPONENT);
        }
        match level {
            COMPONENT => (
                self.message.part(piece, self.message.delimiters().subcomponent, usize::from(path.component)),
                SUBCOMPONENT,
            ),
            // A subcomponent has no parts: its first one is itself.
            _ if path.component == 1 => (piece, SUBCOMPONENT),
            _ => (Span::default(), SUBCOMPONENT),
        }
    }

    /// A frame for a segment, with the fields that hold anything.
    pub(super) fn segment_frame(&self, segment: u32, scope: u32) -> Frame<'static> {
        let mut present = HOLDS;
        for number in self.message.valued_fields(segment as usize) {
            present |= field_bit(number as u16) | composite_bit(number as u16);
        }
        let repeats = memchr::memchr(
            self.message.delimiters().repetition,
            self.message.bytes(self.message.segment_span(segment as usize)),
        );
        Frame { segment, scope, present, repeats: repeats.is_some(), ..Frame::nothing() }
    }

    /// The n-th component of the frame's value, from 1; empty when it has fewer.
    #[inline]
    pub(super) fn piece(&self, frame: &Frame<'_>, n: u16) -> Span {
        let (base, count) = frame.pieces;
        if n == 0 || u32::from(n) > count {
            return Span::default();
        }
        self.state.pieces[base as usize + usize::from(n) - 1]
    }

    /// A frame for a value.
    pub(super) fn enter<'f>(&mut self, span: Span, level: u8, parent: &'f Frame<'f>) -> Frame<'f> {
        let slot = (span.start ^ span.len() as u32) as usize % SPLITS;
        let mut split = self.state.splits[slot];
        if split.span != span || split.level != level {
            split = self.split(span, level);
            self.state.splits[slot] = split;
        }
        let Split { pieces, present, composite, .. } = split;
        Frame {
            parent: Some(parent),
            level,
            span,
            pieces,
            present,
            composite,
            driver: 0,
            repetition: Span::default(),
            ..*parent
        }
    }

    /// Splits a value into its components.
    fn split(&mut self, span: Span, level: u8) -> Split {
        let base = self.state.pieces.len();
        let delimiters = self.message.delimiters();
        let separator = match level {
            REPETITION => delimiters.component,
            COMPONENT => delimiters.subcomponent,
            _ => 0,
        };
        let mut composite = false;
        if separator == 0 || span.is_empty() {
            self.state.pieces.push(span);
        } else if span.len() > 200 {
            self.state.pieces.extend(self.message.parts(span, separator));
            composite = true;
        } else {
            // Short values, which are nearly all: cheaper than starting a search per part.
            let mut start = span.start;
            for (at, word) in words(self.message.bytes(span)) {
                let mut found = each_equal(word, separator);
                composite |= equal(word, delimiters.subcomponent) != 0;
                while found != 0 {
                    let end = span.start + (at + first(found)) as u32;
                    self.state.pieces.push(Span { start, end });
                    start = end + 1;
                    found &= found - 1;
                }
            }
            self.state.pieces.push(Span { start, end: span.end });
        }
        let pieces = (base as u32, (self.state.pieces.len() - base) as u32);
        let composite = composite && level == REPETITION;
        let mut present = HOLDS;
        for (number, piece) in (1..).zip(&self.state.pieces[base..]) {
            if !piece.is_empty() {
                present |= field_bit(number) | if composite { composite_bit(number) } else { 0 };
            }
        }
        Split { span, level, composite, pieces, present }
    }

    pub(super) fn trim(&self, span: Span) -> Span {
        let bytes = self.message.bytes(span);
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return span };
        if *first != b' ' && *last != b' ' {
            return span;
        }
        let start = bytes.iter().take_while(|b| **b == b' ').count() as u32;
        let end = bytes.iter().rev().take_while(|b| **b == b' ').count() as u32;
        if span.start + start >= span.end {
            Span { start: span.end, end: span.end }
        } else {
            Span { start: span.start + start, end: span.end - end }
        }
    }

    #[inline]
    pub(super) fn holds(&mut self, condition: ConditionId, frame: &Frame<'_>) -> bool {
        if condition == NONE {
            return true;
        }
        let outside = self.reading(None, Some(Role::Condition));
        let holds = self.condition(condition, frame);
        self.reading_again(outside);
        holds
    }

    fn condition(&mut self, condition: ConditionId, frame: &Frame<'_>) -> bool {
        let plan = self.plan;
        match &plan.conditions[condition as usize] {
            Condition::Valued(source) => self.valued(*source, frame),
            Condition::In(source, list) => {
                let codes = &plan.codes[list.start as usize..list.end as usize];
                if let Source::Path(path) = &plan.sources[*source as usize] {
                    let text = self.leaf(*path, frame).map_or(&[][..], |span| self.message.bytes(span));
                    return packed(text).is_some_and(|code| codes.contains(&code));
                }
                let mark = self.state.temporary.len();
                let found = self.plain_text(*source, frame);
                let holds = packed(self.bytes(found)).is_some_and(|code| codes.contains(&code));
                self.state.temporary.truncate(mark);
                holds
            }
            Condition::InTexts(source, list) => {
                let mark = self.state.temporary.len();
                let found = self.plain_text(*source, frame);
                let text = self.bytes(found);
                let holds = list.iter().any(|item| item.eq_ignore_ascii_case(text));
                self.state.temporary.truncate(mark);
                holds
            }
            Condition::Order(measure, order, number) => {
                self.measure(*measure, frame).is_some_and(|n| n.partial_cmp(number) == Some(*order))
            }
            Condition::CountIn(measure, list) => self.measure(*measure, frame).is_some_and(|n| list.contains(&n)),
            Condition::And(list) => list.iter().all(|c| self.holds(*c, frame)),
            Condition::Or(list) => list.iter().any(|c| self.holds(*c, frame)),
            Condition::Not(inner) => !self.holds(*inner, frame),
            Condition::NotFromTable(table) => !self.is_from_table(*table, frame),
        }
    }

    fn measure(&mut self, measure: Measure, frame: &Frame<'_>) -> Option<f64> {
        match measure {
            Measure::Text(source) | Measure::Length(source) => {
                let mark = self.state.temporary.len();
                let found = self.plain_text(source, frame);
                let text = self.bytes(found);
                let number = match measure {
                    Measure::Length(_) => Some(text.len() as f64),
                    _ => std::str::from_utf8(text).ok().and_then(|t| t.trim().parse().ok()),
                };
                self.state.temporary.truncate(mark);
                number
            }
            Measure::Count(path) => Some(self.repetitions(path, frame) as f64),
        }
    }

    /// How many repetitions of a field are valued.
    fn repetitions(&mut self, path: Path, frame: &Frame<'_>) -> usize {
        let mut frame = frame;
        for _ in 0..path.up {
            let Some(parent) = frame.parent else { return 0 };
            frame = parent;
        }
        let segment = if path.segment == CURRENT { Some(frame.segment) } else { self.lookup(frame, path) };
        let Some(segment) = segment.filter(|s| *s != NONE) else { return 0 };
        let field = self.message.field(segment as usize, usize::from(path.field));
        self.read_presence(field);
        // A guard on a repeating slot asks this for every repetition: counting each time would be quadratic.
        if let Some((counted, count)) = self.counted
            && counted == field
        {
            return count;
        }
        let valued = |r: &Span| !r.is_empty() && !is_null(self.message.bytes(*r));
        let count = self.message.parts(field, self.message.delimiters().repetition).filter(valued).count();
        self.counted = Some((field, count));
        count
    }
}
