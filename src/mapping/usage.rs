//! Where every value of a message went: into which elements, or why into none.
//!
//! A *leaf* is a populated place without parts: a field, component or subcomponent that holds more than blanks and is not `""`. Its standing follows from what a
//! traced run read:
//!
//! 1. *mapped*: its bytes were read for a value that stands in the Bundle (or for one equal to an element that stands there);
//! 2. *read only*: a condition, a filter, a switch, a status or an identity looked at it, so it decided something without being written;
//! 3. *nowhere*, with a [`Reason`]: also what was to be written and was found wanting (a code that its table lacks, a date that is none), whatever else looked at
//!    it.
//!
//! A test whether a field holds anything counts for the first part of it alone. MSH-1 and MSH-2 are punctuation, not values.
use super::execute::reads::{Fate, Outcome, Read, Role};
use super::plan::{NONE, RuleId};
use super::{Context, Failure, Finding, FindingCode, Plan, Scratch};
use crate::hl7::{Message, Span, is_null};

/// A populated place of a message that has no parts. Numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Index of the segment in the message, from 0.
    pub segment: u32,
    /// Field.
    pub field: u16,
    /// Repetition.
    pub repetition: u32,
    /// Component; 1 for a field without.
    pub component: u16,
    /// Subcomponent; 1 for a component without.
    pub subcomponent: u16,
    /// Its bytes, blanks around left out.
    pub span: Span,
    /// The repetition that it stands in.
    pub within: Span,
}

/// What became of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the Bundle.
    Mapped,
    /// It decided something, and was not written.
    ReadOnly,
    /// Lost, and why.
    Nowhere(Reason),
}

/// Why a value went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No rule reads it.
    NoRule,
    /// A rule would have read it, had its guard held.
    GuardFalse(RuleNumber),
    /// The code table has no row for it.
    TableMissed(TableNumber),
    /// An alternative before it, or an occurrence before it, gave the value.
    EarlierWon(RuleNumber),
    /// A rule read it and could write nothing: not a value of the type, or the element around it was left out.
    NothingWritten(RuleNumber, Option<FindingCode>),
    /// No statement of the message map reads the segment here.
    SegmentNotMapped,
    /// The statement that reads the segment did not run: its guard was false, or what its resource requires is missing.
    StatementDidNotRun(RuleNumber),
    /// The message could not be translated.
    MessageFailed,
}

/// A rule of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleNumber(pub(super) RuleId);

/// A code table of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableNumber(pub(super) u16);

impl Reason {
    /// A word for it, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Reason::NoRule => "no-rule",
            Reason::GuardFalse(_) => "guard-false",
            Reason::TableMissed(_) => "table-missed",
            Reason::EarlierWon(_) => "earlier-won",
            Reason::NothingWritten(..) => "nothing-written",
            Reason::SegmentNotMapped => "segment-not-mapped",
            Reason::StatementDidNotRun(_) => "statement-did-not-run",
            Reason::MessageFailed => "message-failed",
        }
    }

    /// What it means.
    pub fn text(self) -> &'static str {
        match self {
            Reason::NoRule => "no rule reads it",
            Reason::GuardFalse(_) => "the guard of the rule was false",
            Reason::TableMissed(_) => "the code table has no row for it",
            Reason::EarlierWon(_) => "another value came first",
            Reason::NothingWritten(..) => "the rule could write nothing",
            Reason::SegmentNotMapped => "no message map reads the segment here",
            Reason::StatementDidNotRun(_) => "the statement for the segment did not run",
            Reason::MessageFailed => "the message could not be translated",
        }
    }

    /// The rule that it is about.
    pub fn rule(self) -> Option<RuleNumber> {
        match self {
            Reason::GuardFalse(rule)
            | Reason::EarlierWon(rule)
            | Reason::NothingWritten(rule, _)
            | Reason::StatementDidNotRun(rule) => Some(rule).filter(|rule| rule.0 != NONE),
            _ => None,
        }
    }
}

impl Plan {
    /// A reason with the rule or table that it is about: `the guard of the rule was false (PID.Patient `deceased[x]`, segments/pid.toml:40)`.
    pub(super) fn reason_text(&self, reason: Reason) -> String {
        let mut text = reason.text().to_owned();
        if let Reason::NothingWritten(_, Some(finding)) = reason {
            text.push_str(&format!(": {}", finding.text()));
        }
        if let Some(place) = reason.rule().and_then(|rule| self.rule_place(rule.0)) {
            text.push_str(&format!(" ({} `{}`, {}:{})", place.map, place.target, place.file, place.line));
        }
        if let Reason::TableMissed(table) = reason
            && let Some(table) = self.compiled.tables.get(usize::from(table.0))
        {
            text.push_str(&format!(" (@{})", table.name));
        }
        text
    }

    /// Translates a message and notes what is read, for [`Usage`] and [`Coverage`](super::coverage::Coverage).
    ///
    /// # Errors
    /// As [`Plan::translate`].
    pub fn trace(&self, raw: &[u8], context: &Context<'_>, scratch: &mut Scratch) -> Result<(), Failure> {
        self.translate_with::<true>(raw, context, scratch)
    }
}

/// What the last traced run read, by place.
#[derive(Debug)]
pub struct Usage {
    reads: Vec<Read>,
    copies: Vec<(Span, Span)>,
    statements: Vec<(u32, RuleId, Outcome)>,
    /// Sorted by where they begin.
    findings: Vec<Finding>,
}

impl Usage {
    /// Sorts what [`Plan::trace`] noted.
    pub fn new(scratch: &Scratch) -> Usage {
        let noted = &scratch.state.reads;
        let mut reads = noted.list.clone();
        reads.sort_by_key(|read| (read.span.start, read.span.end, read.role, read.fate as u8, read.rule, read.trace));
        let same = |one: &mut Read, other: &mut Read| {
            (one.span, one.role, one.fate, one.rule, one.trace)
                == (other.span, other.role, other.fate, other.rule, other.trace)
        };
        reads.dedup_by(same);
        let mut copies = noted.copies.clone();
        copies.sort_by_key(|(copy, _)| (copy.start, copy.end));
        copies.dedup();
        let mut statements = noted.statements.clone();
        statements.sort_by_key(|(segment, ..)| *segment);
        let mut findings = scratch.findings().to_vec();
        findings.sort_by_key(|finding| finding.span.start);
        Usage { reads, copies, statements, findings }
    }

    /// What became of a leaf.
    pub fn standing(&self, leaf: &Leaf) -> Standing {
        let own = self.of(leaf.span, leaf.within);
        let found = best(own.iter().copied());
        if found == Some(Standing::Mapped) {
            return Standing::Mapped;
        }
        // Equal bytes that made a resource before stand for these as well.
        let first = self.first_of(leaf.span).and_then(|(span, within)| best(self.of(span, within).iter().copied()));
        match (found, first) {
            (_, Some(Standing::Mapped)) => Standing::Mapped,
            _ if self.wanting(leaf, &own) => Standing::Nowhere(self.reason(leaf, &own)),
            (Some(standing), _) | (None, Some(standing)) => standing,
            (None, None) => Standing::Nowhere(self.reason(leaf, &own)),
        }
    }

    /// The reads that touch some bytes within a repetition.
    pub(super) fn of(&self, span: Span, within: Span) -> Vec<&Read> {
        let first = self.reads.partition_point(|read| read.span.start < within.start);
        let behind = self.reads[first..].iter().take_while(|read| read.span.start < span.end);
        behind.filter(|read| read.span.end > span.start).collect()
    }

    /// Where bytes stand that were read in place of these, and the value around them.
    pub(super) fn first_of(&self, span: Span) -> Option<(Span, Span)> {
        let behind = self.copies.partition_point(|(copy, _)| copy.start <= span.start);
        let (copy, first) = self.copies[..behind].iter().rev().take(8).find(|(copy, _)| span.end <= copy.end)?;
        let start = first.start + (span.start - copy.start);
        Some((Span { start, end: start + span.len() as u32 }, *first))
    }

    /// What was found wrong with a leaf, or a part of it.
    fn findings_of(&self, leaf: &Leaf) -> impl Iterator<Item = &Finding> {
        let Span { start, end } = leaf.span;
        let first = self.findings.partition_point(|finding| finding.span.start < start);
        let inside = self.findings[first..].iter().take_while(move |finding| finding.span.start < end);
        inside.filter(move |finding| finding.span.end <= end && !finding.span.is_empty())
    }

    /// Whether a leaf was to be written, and there was something wrong with it.
    fn wanting(&self, leaf: &Leaf, reads: &[&Read]) -> bool {
        reads.iter().any(|read| read.role == Role::Value && read.fate == Fate::Left)
            && self.findings_of(leaf).next().is_some()
    }

    fn reason(&self, leaf: &Leaf, reads: &[&Read]) -> Reason {
        if let Some(left) = reads.iter().find(|read| read.role == Role::Value && read.fate == Fate::Left) {
            let missed = |finding: &&Finding| finding.code == FindingCode::UnmappedCode;
            return match self.findings_of(leaf).find(missed) {
                Some(finding) => Reason::TableMissed(TableNumber(finding.table)),
                None => Reason::NothingWritten(RuleNumber(left.rule), self.findings_of(leaf).next().map(|f| f.code)),
            };
        }
        let entered = |rule: RuleId| reads.iter().any(|read| read.role == Role::Enter && read.rule == rule);
        if let Some(later) = reads.iter().find(|read| read.role == Role::Later && !entered(read.rule)) {
            return Reason::EarlierWon(RuleNumber(later.rule));
        }
        if let Some(guarded) = reads.iter().find(|read| read.role == Role::Guarded && !entered(read.rule)) {
            return Reason::GuardFalse(RuleNumber(guarded.rule));
        }
        let first = self.statements.partition_point(|(segment, ..)| *segment < leaf.segment);
        let mut here = self.statements[first..].iter().take_while(|(segment, ..)| *segment == leaf.segment);
        match here.next() {
            None => Reason::SegmentNotMapped,
            Some((_, rule, outcome)) if *outcome != Outcome::Ran && here.all(|(.., o)| *o != Outcome::Ran) => {
                Reason::StatementDidNotRun(RuleNumber(*rule))
            }
            _ => Reason::NoRule,
        }
    }
}

/// The best that any read says; none where nothing came of any.
fn best<'r>(reads: impl Iterator<Item = &'r Read>) -> Option<Standing> {
    let mut found = None;
    for read in reads {
        match (read.role, read.fate) {
            (Role::Value, Fate::Kept | Fate::Equal) => return Some(Standing::Mapped),
            (Role::Condition | Role::Identity, _) => found = Some(Standing::ReadOnly),
            _ => {}
        }
    }
    found
}

/// Calls `each` with every leaf of a segment, in order.
pub fn leaves(message: Message<'_>, segment: usize, mut each: impl FnMut(Leaf)) {
    let delimiters = message.delimiters();
    let header = message.segment_id(segment).is_header();
    for field in message.valued_fields(segment).filter(|number| !(header && *number <= 2)) {
        let whole = message.field(segment, field);
        for (repetition, within) in (1..).zip(message.parts(whole, delimiters.repetition)) {
            for (component, value) in (1u32..).zip(message.parts(within, delimiters.component)) {
                for (subcomponent, part) in (1u32..).zip(message.parts(value, delimiters.subcomponent)) {
                    let span = trim(message, part);
                    if !span.is_empty() && !is_null(message.bytes(span)) {
                        each(Leaf {
                            segment: segment as u32,
                            field: number(field as u32),
                            repetition,
                            component: number(component),
                            subcomponent: number(subcomponent),
                            span,
                            within,
                        });
                    }
                }
            }
        }
    }
}

/// Beyond 65,535 all share a number.
fn number(n: u32) -> u16 {
    n.min(u16::MAX.into()) as u16
}

fn trim(message: Message<'_>, span: Span) -> Span {
    let bytes = message.bytes(span);
    let start = bytes.iter().take_while(|b| **b == b' ').count() as u32;
    let end = bytes.iter().rev().take_while(|b| **b == b' ').count() as u32;
    let start = (span.start + start).min(span.end);
    Span { start, end: span.end.saturating_sub(end).max(start) }
}
