//! What a traced run reads of the message, for which rule and to what end: the other direction of a [`Trace`](crate::mapping::Trace).
//!
//! Each read is noted with the number of traces before it, which is the number of the trace that it leads to. What is rolled back keeps its reads, marked as
//! [`Fate::Left`], and what was never tried (a guard was false, an alternative before it won) is looked at after all, so that a field that went nowhere can
//! say why. An untraced run has none of this: every function here begins with `if TRACE`.
use super::{Frame, Run};
use crate::hl7::Span;
use crate::mapping::plan::{Alternative, Emit, Enter, NONE, Node, NodeId, RuleId};

/// Reads of one message that are kept; what a map makes of a message has its own limit long before.
const READS_MAX: usize = 8 << 20;

/// What a rule wanted with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Role {
    /// The value of an element.
    #[default]
    Value,
    /// To go into it with a datatype map.
    Enter,
    /// A guard, a filter, a switch, or something else that decides what is written.
    Condition,
    /// To tell resources apart.
    Identity,
    /// Would have been read, had no alternative before it won.
    Later,
    /// Would have been read, had its guard held.
    Guarded,
    /// Looked at only to explain.
    Muted,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It stands in the output.
    #[default]
    Kept,
    /// The output has an equal element already.
    Equal,
    /// Nothing was written.
    Left,
}

/// Bytes that a rule read.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub span: Span,
    pub rule: RuleId,
    /// Index into the traces, for values that were kept.
    pub trace: u32,
    pub role: Role,
    pub fate: Fate,
}

/// What became of a statement at a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ran,
    GuardFalse,
    RequiredMissing,
}

/// All that a traced run notes.
#[derive(Debug, Default)]
pub struct Reads {
    pub list: Vec<Read>,
    /// Values that stand for others of the same bytes, which were read before.
    pub copies: Vec<(Span, Span)>,
    /// Statements by segment.
    pub statements: Vec<(u32, RuleId, Outcome)>,
    rule: RuleId,
    role: Role,
}

/// For which rule and to what end there was reading outside; to go back to.
#[derive(Clone, Copy)]
pub(super) struct Outside(RuleId, Role);

impl Reads {
    pub fn clear(&mut self) {
        self.list.clear();
        self.copies.clear();
        self.statements.clear();
        (self.rule, self.role) = (NONE, Role::Value);
    }

    /// The rules that did something beside what the traces tell: statements that ran, identities, elements that were there already.
    pub fn used(&self) -> impl Iterator<Item = RuleId> {
        let read = |read: &&Read| match read.role {
            Role::Value => read.fate != Fate::Left,
            Role::Enter | Role::Identity => true,
            _ => false,
        };
        let ran = self.statements.iter().filter(|(.., outcome)| *outcome == Outcome::Ran).map(|(_, rule, _)| *rule);
        self.list.iter().filter(read).map(|read| read.rule).chain(ran)
    }
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Reads from here on are for this rule and to this end.
    #[inline(always)]
    pub(super) fn reading(&mut self, rule: Option<RuleId>, role: Option<Role>) -> Outside {
        if !TRACE {
            return Outside(NONE, Role::Value);
        }
        let reads = &mut self.state.reads;
        let outside = Outside(reads.rule, reads.role);
        // What is only looked at to explain stays that, whatever it asks on the way.
        if !matches!(reads.role, Role::Later | Role::Guarded | Role::Muted) {
            reads.rule = rule.unwrap_or(reads.rule);
            reads.role = role.unwrap_or(reads.role);
        }
        outside
    }

    #[inline(always)]
    pub(super) fn reading_again(&mut self, outside: Outside) {
        if TRACE {
            (self.state.reads.rule, self.state.reads.role) = (outside.0, outside.1);
        }
    }

    /// Notes bytes that were read.
    #[inline(always)]
    pub(super) fn read(&mut self, span: Span) {
        if TRACE {
            self.note_read(span);
        }
    }

    fn note_read(&mut self, span: Span) {
        let trace = self.state.traces.len() as u32;
        let reads = &mut self.state.reads;
        if reads.role == Role::Muted || span.is_empty() || reads.list.len() >= READS_MAX {
            return;
        }
        let read = Read { span, rule: reads.rule, trace, role: reads.role, fate: Fate::Kept };
        let same = |last: &Read| {
            (last.span, last.rule, last.trace, last.role, last.fate) == (span, read.rule, trace, read.role, read.fate)
        };
        if !reads.list.last().is_some_and(same) {
            reads.list.push(read);
        }
    }

    /// Notes a value of which it only counts whether there is any: the first part that holds something says so.
    #[inline(always)]
    pub(super) fn read_presence(&mut self, span: Span) {
        if TRACE {
            let delimiters = self.message.delimiters();
            let ends = [delimiters.repetition, delimiters.component, delimiters.subcomponent];
            let bytes = self.message.bytes(span);
            let from = bytes.iter().take_while(|b| ends.contains(b)).count();
            let length = bytes[from..].iter().take_while(|b| !ends.contains(b)).count();
            let start = span.start + from as u32;
            self.read(Span { start, end: start + length as u32 });
        }
    }

    /// Notes a value that a datatype map, or a map to a resource, goes into.
    #[inline(always)]
    pub(super) fn entering(&mut self, rule: RuleId, span: Span) {
        if TRACE {
            let outside = self.reading(Some(rule), Some(Role::Enter));
            self.read(span);
            self.reading_again(outside);
        }
    }

    /// How many reads there are; 0 in an untraced run.
    #[inline(always)]
    pub(super) fn reads(&self) -> usize {
        if TRACE { self.state.reads.list.len() } else { 0 }
    }

    /// What was read since led to nothing, or to an element that is there already.
    #[inline(always)]
    pub(super) fn reads_end_in(&mut self, since: usize, fate: Fate) {
        if TRACE {
            for read in &mut self.state.reads.list[since..] {
                if read.fate == Fate::Kept && read.role == Role::Value {
                    read.fate = fate;
                }
            }
        }
    }

    /// What was read since leads to the trace that comes next.
    #[inline(always)]
    pub(super) fn reads_lead_here(&mut self, since: usize) {
        if TRACE {
            let trace = self.state.traces.len() as u32;
            self.state.reads.list[since..].iter_mut().for_each(|read| read.trace = trace);
        }
    }

    /// Looks at the alternatives that were not tried, because one before them won.
    #[inline(always)]
    pub(super) fn look_at_later(&mut self, alternatives: &[Alternative], frame: &Frame<'_>) {
        if TRACE {
            for alternative in alternatives {
                self.look_at(alternative, frame, Role::Later);
            }
        }
    }

    /// Looks at a node that is not written, because its guard was false.
    #[inline(always)]
    pub(super) fn look_at_guarded(&mut self, node: NodeId, frame: &Frame<'_>) {
        if TRACE {
            self.look_at_node(node, frame, Role::Guarded);
        }
    }

    fn look_at_node(&mut self, node: NodeId, frame: &Frame<'_>, role: Role) {
        let plan = self.plan;
        match &plan.nodes[node as usize] {
            Node::Value { alternatives, .. } => {
                for alternative in &plan.alternatives[alternatives.start as usize..alternatives.end as usize] {
                    self.look_at(alternative, frame, role);
                }
            }
            Node::Object { enter, .. } if *enter != NONE => {
                let enter = &plan.enters[*enter as usize];
                for (source, _) in &enter.sources {
                    self.look(enter.rule, role, |run| {
                        run.whole_span(*source, frame);
                    });
                }
            }
            Node::Object { children, .. } => {
                for child in &plan.children[children.start as usize..children.end as usize] {
                    self.look_at_node(child.node, frame, role);
                }
            }
            Node::List { items } => {
                for item in &plan.items[items.start as usize..items.end as usize] {
                    self.look_at_node(item.node, frame, role);
                }
            }
            Node::Switch { cases, .. } => {
                for (_, node) in &plan.cases[cases.start as usize..cases.end as usize] {
                    self.look_at_node(*node, frame, role);
                }
            }
            Node::Constant { .. } | Node::TableCoding { .. } => {}
        }
    }

    /// Looks at what else could have been spread here.
    #[inline(always)]
    pub(super) fn look_at_entries(&mut self, sources: &[(u32, u32)], rule: RuleId, won: Span, frame: &Frame<'_>) {
        if TRACE {
            for (source, _) in sources {
                self.look(rule, Role::Later, |run| {
                    let found = run.source_span(*source, frame).map(|found| found.0);
                    found.filter(|span| *span != won).into_iter().for_each(|span| run.read(span));
                });
            }
        }
    }

    /// The same in the other parts of the resource.
    #[inline(always)]
    pub(super) fn look_at_parts(&mut self, enter: &Enter, won: &Frame<'_>) {
        if TRACE {
            let mut next = self.first_part();
            while next != NONE {
                let part = self.state.parts[next as usize];
                next = part.next;
                if part.kind == enter.part && part.frame.segment != won.segment {
                    self.look_at_entries(&enter.sources, enter.rule, Span::default(), &part.frame);
                }
            }
        }
    }

    /// Reads what an alternative would read, of the frame at hand or of the parts of the resource.
    pub(super) fn look_at(&mut self, alternative: &Alternative, frame: &Frame<'_>, role: Role) {
        if !TRACE {
            return;
        }
        if alternative.part == crate::mapping::plan::CURRENT {
            return self.look_at_in(alternative, frame, role);
        }
        let mut next = self.first_part();
        while next != NONE {
            let part = self.state.parts[next as usize];
            next = part.next;
            if part.kind == alternative.part {
                self.look_at_in(alternative, &part.frame, role);
            }
        }
    }

    fn look_at_in(&mut self, alternative: &Alternative, frame: &Frame<'_>, role: Role) {
        match &alternative.emit {
            Emit::Node(node) => self.look_at_node(*node, frame, role),
            Emit::Primitive { source, .. } | Emit::TableCoding { source, .. } => {
                self.look(alternative.rule, role, |run| {
                    run.text(*source, frame);
                })
            }
            Emit::Coding { code, display, .. } => self.look(alternative.rule, role, |run| {
                let mark = run.state.temporary.len();
                run.text(*code, frame);
                run.state.temporary.truncate(mark);
                run.text(*display, frame);
            }),
            Emit::Map { source, .. } | Emit::Resource { source, .. } => self.look(alternative.rule, role, |run| {
                run.whole_span(*source, frame);
            }),
            Emit::Literal(_) | Emit::Bound(_) | Emit::Link(_) => {}
        }
    }

    /// The whole of a value, which its map would read parts of.
    fn whole_span(&mut self, source: u32, frame: &Frame<'_>) {
        if let Some((span, _)) = self.source_span(source, frame) {
            self.read(span);
        }
    }

    /// Reads without a trace of it but the reads themselves.
    fn look(&mut self, rule: RuleId, role: Role, read: impl FnOnce(&mut Self)) {
        let outside = self.reading(Some(rule), Some(role));
        let (temporary, findings) = (self.state.temporary.len(), self.state.findings.len());
        read(self);
        self.state.temporary.truncate(temporary);
        self.state.findings.truncate(findings);
        self.reading_again(outside);
    }

    /// The bytes that a source stands for, without a note that they were read.
    pub(super) fn unread<T>(&mut self, ask: impl FnOnce(&mut Self) -> T) -> T {
        let outside = self.reading(None, Some(Role::Muted));
        let found = ask(self);
        self.reading_again(outside);
        found
    }

    /// Notes a statement of the message map at a segment.
    #[inline(always)]
    pub(super) fn statement_came_to(&mut self, segment: u32, rule: RuleId, outcome: Outcome) {
        if TRACE {
            self.state.reads.statements.push((segment, rule, outcome));
        }
    }

    /// What the engine itself reads of the header before any rule does.
    pub(super) fn read_header(&mut self, own_namespace: bool) {
        if !TRACE {
            return;
        }
        let header = self.message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
        for (number, role) in [
            (3, Role::Identity),
            (4, Role::Identity),
            (7, Role::Condition),
            (9, Role::Condition),
            (18, Role::Condition),
        ] {
            if role == Role::Identity && !own_namespace {
                continue;
            }
            let outside = self.reading(Some(NONE), Some(role));
            let field = self.message.field(header, number);
            self.read(field);
            self.reading_again(outside);
        }
    }
}
