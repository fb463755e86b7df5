//! The first pass: segments → instances of resources, names, links; and the identities of all instances.
use super::reads::{Outcome, Role};
use super::{Bound, Frame, Instance, LinkOf, Made, NameSlot, PartOf, Pending, Run, SEGMENT};
use crate::fhir::identity;
use crate::hl7::{SegmentId, Span};
use crate::mapping::plan::{Link, NONE, PartId, RuleId, Statement};
use crate::mapping::{Failure, Finding, FindingCode};
use std::hash::BuildHasher as _;

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Makes the instances that the message map asks for, and resolves names and links.
    pub(super) fn bind(&mut self) {
        self.places();
        for segment in 0..self.message.segment_count() as u32 {
            let placement = self.matcher.placement(segment as usize);
            let group = self.matcher.instances()[placement.instance as usize].group;
            let statements = self.structure.statements[usize::from(group)].get(usize::from(placement.child));
            let Some(statements) = statements.filter(|s| !s.is_empty()) else {
                let span = self.message.segment_span(segment as usize);
                self.find(FindingCode::SegmentNotMapped, NONE, span);
                continue;
            };
            let frame = self.segment_frame(segment, placement.instance);
            for (number, statement) in statements.iter().enumerate() {
                let pending = Pending {
                    group,
                    child: placement.child,
                    statement: number as u16,
                    segment,
                    scope: placement.instance,
                    instance: NONE,
                };
                self.statement(statement, &frame, pending);
            }
        }
        self.additions();
        self.links();
    }

    /// For each group instance: room for its names, and the segments that rows elsewhere read.
    fn places(&mut self) {
        let plan = self.plan;
        let empty = NameSlot { first: NONE, last: NONE, below: NONE, below_count: 0, below_through: 0 };
        self.state.slots.resize(self.matcher.instances().len() * self.structure.names.len(), empty);
        let width = plan.segment_refs.len();
        self.state.references.resize(self.matcher.instances().len() * width, NONE);
        self.state.below.resize(self.matcher.instances().len() * width, NONE);
        for segment in 0..self.message.segment_count() {
            let id = self.message.segment_id(segment);
            let Some(reference) = plan.segment_refs.iter().position(|s| *s == id) else { continue };
            let mut scope = self.matcher.placement(segment).instance;
            if scope != 0 {
                let around = self.matcher.instances()[scope as usize].parent;
                let slot = &mut self.state.below[around as usize * width + reference];
                *slot = (*slot).min(segment as u32);
            }
            // A segment of a group that does not repeat is seen in the group around it as well.
            loop {
                let slot = &mut self.state.references[scope as usize * width + reference];
                if *slot == NONE {
                    *slot = segment as u32;
                }
                if scope == 0 || self.repeats(scope) {
                    break;
                }
                scope = self.matcher.instances()[scope as usize].parent;
            }
        }
    }

    pub(super) fn repeats(&self, scope: u32) -> bool {
        let group = self.matcher.instances()[scope as usize].group;
        self.structure.repeating[usize::from(group)]
    }

    fn statement(&mut self, statement: &Statement, frame: &Frame<'static>, pending: Pending) {
        let outside = self.reading(Some(statement.rule), None);
        let holds = self.holds(statement.guard, frame);
        self.reading_again(outside);
        if !holds {
            return self.statement_came_to(frame.segment, statement.rule, Outcome::GuardFalse);
        }
        if statement.add {
            self.state.pending.push(pending);
            return;
        }
        if !self.required(statement.part, frame) {
            return self.statement_came_to(frame.segment, statement.rule, Outcome::RequiredMissing);
        }
        if let Some(instance) = self.instance_of(statement.part, *frame, statement.rule) {
            self.statement_came_to(frame.segment, statement.rule, Outcome::Ran);
            self.bound_to(statement.binding, frame, instance);
            self.state.pending.push(Pending { instance, ..pending });
        }
    }

    /// Whether the rows that the resource cannot do without have values.
    fn required(&mut self, part: PartId, frame: &Frame<'_>) -> bool {
        let plan = self.plan;
        for (node, rule, fatal) in &plan.parts[usize::from(part)].required {
            let (mark, probing) = (self.mark(), self.probing);
            self.probing = true;
            let written = self.value(*node, frame);
            self.probing = probing;
            self.back_to(&mark);
            if written != super::Wrote::Nothing {
                continue;
            }
            self.find(FindingCode::RequiredMissing, *rule, self.message.segment_span(frame.segment as usize));
            if *fatal && self.failure.is_none() {
                let segment = self.message.segment_id(frame.segment as usize);
                let rule = &plan.rules[*rule as usize];
                self.failure = Some(Failure {
                    code: 101,
                    location: Some((segment.0, 1, 0)),
                    text: format!(
                        "{} needs a value for `{}`; send it, or take `!fatal` out of the mapping",
                        rule.map, rule.target
                    ),
                });
            }
            return false;
        }
        true
    }

    fn bound_to(&mut self, name: u16, frame: &Frame<'_>, instance: u32) {
        let bound = self.state.bound.len() as u32;
        self.state.bound.push(Bound { segment: frame.segment, instance, next: NONE });
        let mut scope = frame.scope;
        // The name belongs to the nearest repeating group; groups further out see it if it is the only one.
        while scope != 0 && !self.repeats(scope) {
            scope = self.matcher.instances()[scope as usize].parent;
        }
        let Some(slot) = self.slot(scope, name) else { return };
        if self.state.slots[slot].first == NONE {
            self.state.slots[slot].first = bound;
        } else {
            let last = self.state.slots[slot].last as usize;
            self.state.bound[last].next = bound;
        }
        self.state.slots[slot].last = bound;
        while scope != 0 {
            let through = scope;
            scope = self.matcher.instances()[scope as usize].parent;
            let Some(slot) = self.slot(scope, name) else { return };
            let slot = &mut self.state.slots[slot];
            slot.below = instance;
            slot.below_count += 1;
            slot.below_through = through;
        }
    }

    /// The place of a name in a group instance, if the structure binds it anywhere.
    fn slot(&self, scope: u32, name: u16) -> Option<usize> {
        let names = &self.structure.names;
        Some(scope as usize * names.len() + names.binary_search(&name).ok()?)
    }

    /// The resource that a name means, seen from a segment: the last one bound up to there, else the first one behind it.
    pub(super) fn named(&self, name: u16, scope: u32, segment: u32) -> Option<u32> {
        self.named_with_segment(name, scope, segment).map(|found| found.1)
    }

    /// The same, with the segment that it was bound at (`NONE` for one in a group below).
    pub(super) fn named_with_segment(&self, name: u16, scope: u32, segment: u32) -> Option<(u32, u32)> {
        let instances = self.matcher.instances();
        let (mut scope, mut from) = (scope, scope);
        loop {
            let slot = self.state.slots.get(self.slot(scope, name)?).copied()?;
            if slot.first != NONE {
                return Some(self.nearest(slot, segment));
            }
            if slot.below_count == 1 {
                // Never into another occurrence of the group we came out of: that one may be another patient's.
                let through = slot.below_through;
                let sibling = through != from && instances[through as usize].group == instances[from as usize].group;
                return (!sibling).then_some((NONE, slot.below));
            }
            if scope == 0 {
                return None;
            }
            from = scope;
            scope = instances[scope as usize].parent;
        }
    }

    fn nearest(&self, slot: NameSlot, segment: u32) -> (u32, u32) {
        let last = self.state.bound[slot.last as usize];
        if last.segment <= segment {
            return (last.segment, last.instance);
        }
        let mut found = self.state.bound[slot.first as usize];
        let mut next = found.next;
        while next != NONE && self.state.bound[next as usize].segment <= segment {
            found = self.state.bound[next as usize];
            next = found.next;
        }
        (found.segment, found.instance)
    }

    /// `+=`: further parts of resources that are bound by now.
    fn additions(&mut self) {
        for number in 0..self.state.pending.len() {
            let pending = self.state.pending[number];
            if pending.instance != NONE {
                continue;
            }
            let statement = self.statement_of(pending);
            match self.named(statement.binding, pending.scope, pending.segment) {
                Some(instance) => {
                    let (part, rule) = (statement.part, statement.rule);
                    let frame = self.segment_frame(pending.segment, pending.scope);
                    self.statement_came_to(pending.segment, rule, Outcome::Ran);
                    self.add_part(instance, part, frame);
                    self.state.pending[number].instance = instance;
                }
                None => self.find(
                    FindingCode::LinkToNothing,
                    statement.rule,
                    self.message.segment_span(pending.segment as usize),
                ),
            }
        }
    }

    fn statement_of(&self, pending: Pending) -> &'_ Statement {
        &self.structure.statements[usize::from(pending.group)][usize::from(pending.child)]
            [usize::from(pending.statement)]
    }

    fn links(&mut self) {
        for number in 0..self.state.pending.len() {
            let pending = self.state.pending[number];
            if pending.instance == NONE {
                continue;
            }
            let structure = self.structure;
            let statement = &structure.statements[usize::from(pending.group)][usize::from(pending.child)]
                [usize::from(pending.statement)];
            for link in &statement.links {
                self.link(link, statement, pending);
            }
        }
    }

    fn link(&mut self, link: &Link, statement: &Statement, pending: Pending) {
        let resolve = |name: u16| {
            if name == statement.binding {
                Some(pending.instance)
            } else {
                self.named(name, pending.scope, pending.segment)
            }
        };
        let from = link.from.map_or(Some(pending.instance), resolve);
        let (Some(from), Some(to)) = (from, resolve(link.to)) else {
            self.find(FindingCode::LinkToNothing, link.rule, self.message.segment_span(pending.segment as usize));
            return;
        };
        let new = self.state.links.len() as u32;
        // The same link twice (two segments of one resource) is one.
        let (key, links) = ((from, link.slot, to), &self.state.links);
        let key_of =
            |number: &u32| (links[*number as usize].from, links[*number as usize].slot, links[*number as usize].to);
        if self.state.by_link.find(hash_of_link(key), |number| key_of(number) == key).is_some() {
            return;
        }
        self.state.by_link.insert_unique(hash_of_link(key), new, |number| {
            hash_of_link(if *number == new { key } else { key_of(number) })
        });
        let instance = &mut self.state.instances[from as usize];
        if instance.first_link == NONE {
            instance.first_link = new;
        } else {
            self.state.links[instance.last_link as usize].next = new;
        }
        instance.last_link = new;
        self.state.links.push(LinkOf { from, slot: link.slot, next: NONE, to, rule: link.rule });
    }

    /// The resource that a map makes of a segment or value: the one of that identity, or a new one.
    pub(super) fn instance_of(&mut self, part: PartId, frame: Frame<'static>, rule: RuleId) -> Option<u32> {
        let plan = self.plan;
        let definition = &plan.parts[usize::from(part)];
        let mark = self.state.temporary.len();
        let known = self.identify(part, &frame);
        let found = if known || frame.level == SEGMENT {
            let mut id = self.hash(part, mark);
            let hash = hash_of(&id);
            let mut old = self.find_id(&id, hash);
            if let (Some(_), true) = (old, definition.events) {
                self.state.temporary.extend_from_slice(&frame.segment.to_le_bytes());
                id = self.hash(part, mark);
                old = self.find_id(&id, hash_of(&id));
            }
            match old {
                Some(old)
                    if definition.distinct && self.state.instances[old as usize].mask & (1 << definition.kind) == 0 =>
                {
                    self.find(
                        FindingCode::SameIdentity,
                        definition.rule,
                        self.message.segment_span(frame.segment as usize),
                    );
                    None
                }
                Some(old) => {
                    self.add_part(old, part, frame);
                    Some(old)
                }
                None => Some(self.new_instance(part, frame, rule, Some(id))),
            }
        } else {
            Some(self.new_instance(part, frame, rule, None))
        };
        self.state.temporary.truncate(mark);
        found
    }

    /// Puts the identity into the temporary buffer; false when all its values are empty.
    fn identify(&mut self, part: PartId, frame: &Frame<'static>) -> bool {
        let plan = self.plan;
        let definition = &plan.parts[usize::from(part)];
        let mut known = false;
        let outside = self.reading(None, Some(Role::Identity));
        for node in &definition.identity {
            known |= self.identity_text(*node, frame);
            self.state.temporary.push(0x1f);
        }
        if !known && frame.level == SEGMENT {
            // By position: the message, the map and the segment.
            let header = self.message.find(SegmentId(*b"MSH")).unwrap_or(0);
            self.state.temporary.extend_from_slice(self.message.text(header, 10));
            self.state.temporary.push(0x1f);
            self.state.temporary.extend_from_slice(definition.name.as_bytes());
            self.state.temporary.extend_from_slice(&frame.segment.to_le_bytes());
            // Control ids are empty or start over with some senders: time and segment tell such messages apart.
            let own = self.message.segment_span(frame.segment as usize);
            for piece in [self.message.text(header, 7), self.message.bytes(own)] {
                self.state.temporary.push(0x1f);
                self.state.temporary.extend_from_slice(piece);
            }
            self.read(self.message.field(header, 10));
        }
        self.reading_again(outside);
        known
    }

    /// Appends the first non-empty alternative; tells whether it came from the message (and is not merely the patient).
    fn identity_text(&mut self, node: u32, frame: &Frame<'static>) -> bool {
        use crate::mapping::plan::{Emit, Node, Source};
        let plan = self.plan;
        let Node::Value { alternatives, .. } = &plan.nodes[node as usize] else { return false };
        for alternative in &plan.alternatives[alternatives.start as usize..alternatives.end as usize] {
            let outside = self.reading(Some(alternative.rule), None);
            let holds = self.holds(alternative.guard, frame);
            self.reading_again(outside);
            if !holds {
                continue;
            }
            match &alternative.emit {
                Emit::Literal(text) if text.end - text.start > 2 => {
                    self.state.temporary.extend_from_slice(plan.text(*text));
                    return false;
                }
                Emit::Primitive { source, table, .. } => {
                    let start = self.state.temporary.len();
                    let outside = self.reading(Some(alternative.rule), None);
                    let piece = self.plain_text(*source, frame);
                    self.reading_again(outside);
                    if piece == super::text::Piece::Nothing {
                        continue;
                    }
                    match table.and_then(|t| {
                        plan.tables[usize::from(t)]
                            .find(self.bytes(piece))
                            .map(|row| &plan.tables[usize::from(t)].rows[row as usize])
                    }) {
                        Some(row) => {
                            self.state.temporary.truncate(start);
                            self.state.temporary.extend_from_slice(plan.text(row.code));
                        }
                        None => match piece {
                            super::text::Piece::Raw(span) => {
                                self.state.temporary.extend_from_slice(self.message.bytes(span))
                            }
                            super::text::Piece::Fixed(text) => self.state.temporary.extend_from_slice(plan.text(text)),
                            _ => {}
                        },
                    }
                    return !matches!(
                        plan.sources[*source as usize],
                        // An authority alone names nobody.
                        Source::Patient
                            | Source::Position
                            | Source::Literal(_)
                            | Source::Authority(_)
                            | Source::System(_)
                            | Source::Uri(..)
                    );
                }
                _ => {}
            }
        }
        false
    }

    fn hash(&self, part: PartId, mark: usize) -> [u8; 16] {
        let program = &self.plan.programs[usize::from(self.plan.parts[usize::from(part)].program)];
        identity::version_5(
            &self.namespace,
            &[program.resource_type.as_bytes(), b"\x1f", &self.state.temporary[mark..]],
        )
    }

    fn find_id(&self, id: &[u8; 16], hash: u64) -> Option<u32> {
        self.state.by_id.find(hash, |number| self.state.instances[*number as usize].id == *id).copied()
    }

    fn new_instance(&mut self, part: PartId, frame: Frame<'static>, rule: RuleId, id: Option<[u8; 16]>) -> u32 {
        let number = self.state.instances.len() as u32;
        let contained = id.is_none();
        let program = self.plan.parts[usize::from(part)].program;
        let id = id.unwrap_or_else(|| (self.state.contained.len() as u128 + 1).to_be_bytes());
        self.state.instances.push(Instance {
            program,
            id,
            contained,
            mask: 0,
            first_part: NONE,
            last_part: NONE,
            first_link: NONE,
            last_link: NONE,
            merged: false,
            rule,
            part,
            lasting: self.plan.parts[usize::from(part)].lasting && !contained && !TRACE,
            remembered: NONE,
        });
        if contained {
            self.state.contained.push(number);
        } else {
            let instances = &self.state.instances;
            self.state.by_id.insert_unique(hash_of(&id), number, |n| hash_of(&instances[*n as usize].id));
        }
        self.add_part(number, part, frame);
        number
    }

    pub(super) fn add_part(&mut self, instance: u32, part: PartId, frame: Frame<'static>) {
        if self.probing {
            return;
        }
        let kind = self.plan.parts[usize::from(part)].kind;
        let new = self.state.parts.len() as u32;
        let at = &mut self.state.instances[instance as usize];
        if self.plan.parts[usize::from(part)].program != at.program {
            return;
        }
        at.merged |= at.first_part != NONE;
        at.mask |= 1 << kind;
        if at.first_part == NONE {
            at.first_part = new;
        } else {
            self.state.parts[at.last_part as usize].next = new;
        }
        at.last_part = new;
        self.state.parts.push(PartOf { kind, next: NONE, frame });
    }

    /// A resource made from a value, and its second part from the frame around (`performer->address`).
    pub(super) fn made(
        &mut self,
        part: Option<PartId>,
        value: Option<(Span, u8)>,
        extra: Option<PartId>,
        frame: &Frame<'_>,
    ) -> Option<u32> {
        let around: Frame<'static> = Frame { parent: None, ..*frame };
        let instance = match (part, value) {
            (Some(part), Some((span, level))) => self.made_from(part, span, level, frame)?,
            _ => {
                let extra = extra?;
                self.new_instance(extra, around, self.plan.parts[usize::from(extra)].rule, None)
            }
        };
        if let (Some(extra), Some(_)) = (extra, part) {
            self.add_part(instance, extra, around);
        }
        self.note_made(part, value, extra.is_none(), self.state.instances[instance as usize].contained);
        Some(instance)
    }

    pub(super) fn made_from(&mut self, part: PartId, span: Span, level: u8, frame: &Frame<'_>) -> Option<u32> {
        let definition = &self.plan.parts[usize::from(part)];
        let message = self.message;
        let hash = self.state.hasher.hash_one((part, level, message.bytes(span)));
        if definition.closed
            && let Some(made) = self.state.by_value.find(hash, |made| {
                made.part == part && made.level == level && message.bytes(made.value) == message.bytes(span)
            })
        {
            let instance = made.instance;
            if TRACE {
                let first = made.value;
                self.state.reads.copies.push((span, first));
            }
            return Some(instance);
        }
        let inner = Frame { parent: None, ..self.enter(span, level, frame) };
        let findings = self.state.findings.len();
        let kept = match definition.lasting && !TRACE {
            true => self.state.memory.resource(part, level, message.bytes(span)),
            false => None,
        };
        let instance = match kept {
            Some((remembered, id)) => match self.find_id(&id, hash_of(&id)) {
                Some(old) => {
                    self.add_part(old, part, inner);
                    old
                }
                None => {
                    let new = self.new_instance(part, inner, definition.rule, Some(id));
                    self.state.instances[new as usize].remembered = remembered;
                    new
                }
            },
            None if self.required(part, &inner) => self.instance_of(part, inner, definition.rule)?,
            None => return None,
        };
        self.state.instances[instance as usize].lasting &= self.state.findings.len() == findings;
        if definition.closed && !self.state.instances[instance as usize].contained && !self.probing {
            let made = Made { part, value: span, level, instance };
            let hasher = &self.state.hasher;
            let hash_of = |made: &Made| hasher.hash_one((made.part, made.level, message.bytes(made.value)));
            self.state.by_value.insert_unique(hash, made, hash_of);
        }
        Some(instance)
    }

    /// Takes back instances that were made for an element that was rolled back.
    pub(super) fn forget_instances(&mut self, length: usize) {
        self.stop_recording();
        while self.state.instances.len() > length {
            let Some(gone) = self.state.instances.pop() else { return };
            let number = self.state.instances.len() as u32;
            self.state.by_value.retain(|made| made.instance != number);
            if !gone.contained {
                let number = self.state.instances.len() as u32;
                if let Ok(entry) = self.state.by_id.find_entry(hash_of(&gone.id), |n| *n == number) {
                    entry.remove();
                }
            }
        }
    }

    /// Notes a code that a table lacks.
    pub(super) fn find_unmapped(&mut self, table: u16, span: Span) {
        self.state.findings.push(Finding { code: FindingCode::UnmappedCode, rule: NONE, table, feed: None, span });
    }

    pub(super) fn find(&mut self, code: FindingCode, rule: RuleId, span: Span) {
        // One line for each rule that leads nowhere: a result without specimens would say so for every OBX.
        let repeated =
            code == FindingCode::LinkToNothing && self.state.findings.iter().any(|f| f.code == code && f.rule == rule);
        if !repeated {
            self.state.findings.push(Finding { code, rule, table: 0, feed: None, span });
        }
    }
}

/// A UUIDv5 is a hash already.
fn hash_of(id: &[u8; 16]) -> u64 {
    u64::from_le_bytes([id[0], id[1], id[2], id[3], id[9], id[10], id[11], id[12]])
}

/// The three numbers of a link, spread over the bits (SplitMix64).
fn hash_of_link((from, slot, to): (u32, u16, u32)) -> u64 {
    let mixed =
        (u64::from(from) << 32 | u64::from(to)).wrapping_add(u64::from(slot) << 24).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32)
}
