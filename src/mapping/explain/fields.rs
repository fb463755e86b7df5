//! The other direction: for a field of the message, the elements that it became, the rules that read it, or why it went nowhere.
use super::{Explained, Explainer, RulePlace};
use crate::hl7::{Path, SegmentId};
use crate::mapping::execute::reads::{Fate, Read, Role};
use crate::mapping::finding::place;
use crate::mapping::plan::NONE;
use crate::mapping::usage::{Leaf, Standing, Usage, leaves};
use crate::mapping::{Context, Failure, Plan, Scratch};
use std::collections::HashMap;

/// What became of one populated place of a message.
#[derive(Debug)]
pub struct FieldStory {
    /// `PID-3[1].1`, `OBX(2)-5`.
    pub place: String,
    /// Field, component and subcomponent, from 1; what has no parts is the first one.
    pub numbers: (u16, u16, u16),
    /// Its bytes.
    pub span: crate::hl7::Span,
    /// Its text, escapes resolved.
    pub text: String,
    /// Mapped, read only, or nowhere and why.
    pub standing: Standing,
    /// Why it went nowhere, in words.
    pub why: Option<String>,
    /// Elements that it went into, as indices into [`Explained::values`].
    pub elements: Vec<usize>,
    /// The rules that did something with it, each once, and what.
    pub uses: Vec<(FieldUse, Option<RulePlace>)>,
}

/// What a rule did with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldUse {
    /// Wrote it.
    Value,
    /// Decided by it.
    Condition,
    /// Told resources apart by it.
    Identity,
    /// Read it and wrote nothing.
    WroteNothing,
    /// Would have read it, had an alternative before it not won.
    Later,
    /// Would have read it, had its guard held.
    GuardFalse,
}

impl FieldUse {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            FieldUse::Value => "value",
            FieldUse::Condition => "condition",
            FieldUse::Identity => "identity",
            FieldUse::WroteNothing => "nothing written",
            FieldUse::Later => "another came first",
            FieldUse::GuardFalse => "guard false",
        }
    }

    fn of(read: &Read) -> Option<FieldUse> {
        Some(match (read.role, read.fate) {
            (Role::Value, Fate::Kept | Fate::Equal) => FieldUse::Value,
            (Role::Value, Fate::Left) => FieldUse::WroteNothing,
            (Role::Condition, _) => FieldUse::Condition,
            (Role::Identity, _) => FieldUse::Identity,
            (Role::Later, _) => FieldUse::Later,
            (Role::Guarded, _) => FieldUse::GuardFalse,
            (Role::Enter | Role::Muted, _) => return None,
        })
    }
}

impl Plan {
    /// Translates a message and tells of its fields: all that hold anything, or those at or below a path. The elements come with their own explanations.
    ///
    /// # Errors
    /// As [`Plan::translate`].
    pub fn explain_fields(
        &self,
        raw: &[u8],
        context: &Context<'_>,
        below: Option<&Path>,
        scratch: &mut Scratch,
    ) -> Result<(Vec<FieldStory>, Explained), Failure> {
        self.trace(raw, context, scratch)?;
        let transcoded = !scratch.transcoded.is_empty();
        let mut explainer = Explainer::new(self.of_feed(scratch.feed), raw, scratch);
        let explained = Explained { values: explainer.values(None), transcoded };
        let mut by_trace: HashMap<usize, Vec<usize>> = HashMap::new();
        for (number, value) in explained.values.iter().enumerate() {
            value.trace.into_iter().for_each(|trace| by_trace.entry(trace).or_default().push(number));
        }
        let usage = Usage::new(scratch);
        let (message, mut stories) = (scratch.message(raw), Vec::new());
        let mut occurrences: HashMap<SegmentId, u32> = HashMap::new();
        for segment in 0..message.segment_count() {
            let id = message.segment_id(segment);
            let occurrence = occurrences.entry(id).or_default();
            *occurrence += 1;
            let wanted = |leaf: &Leaf| below.is_none_or(|path| is_below(path, id, *occurrence, leaf));
            leaves(message, segment, |leaf| {
                if wanted(&leaf) {
                    stories.push(explainer.story(&usage, &by_trace, &leaf));
                }
            });
        }
        Ok((stories, explained))
    }
}

fn is_below(path: &Path, segment: SegmentId, occurrence: u32, leaf: &Leaf) -> bool {
    let is = |wanted: Option<u32>, number: u32| wanted.is_none_or(|wanted| wanted == number);
    path.segment == segment
        && is(path.occurrence, occurrence)
        && is(path.field, leaf.field.into())
        && is(path.repetition, leaf.repetition)
        && is(path.component, leaf.component.into())
        && is(path.subcomponent, leaf.subcomponent.into())
}

impl Explainer<'_> {
    fn story(&mut self, usage: &Usage, by_trace: &HashMap<usize, Vec<usize>>, leaf: &Leaf) -> FieldStory {
        let mut reads = usage.of(leaf.span, leaf.within);
        // Equal bytes before them made the resource: what was read of those counts here.
        if let Some((span, within)) = usage.first_of(leaf.span) {
            reads.extend(usage.of(span, within));
        }
        let (mut elements, mut uses, mut entered): (Vec<usize>, Vec<_>, Vec<usize>) = Default::default();
        for read in reads {
            if read.role == Role::Enter {
                entered.extend(by_trace.get(&(read.trace as usize)).into_iter().flatten());
            }
            let Some(does) = FieldUse::of(read) else { continue };
            if does == FieldUse::Value && read.fate == Fate::Kept {
                elements.extend(by_trace.get(&(read.trace as usize)).into_iter().flatten());
            }
            let rule = (read.rule != NONE).then(|| self.rule(read.rule));
            if !uses.contains(&(does, rule.clone())) {
                uses.push((does, rule));
            }
        }
        if uses.iter().any(|(does, _)| *does == FieldUse::Identity) {
            // What tells a resource from others is why its references lead to it.
            elements.extend(entered);
        }
        elements.sort_unstable();
        elements.dedup();
        uses.sort_by_key(|(does, _)| *does);
        let standing = usage.standing(leaf);
        let why = match standing {
            Standing::Nowhere(reason) => Some(self.plan.reason_text(reason)),
            _ => None,
        };
        FieldStory {
            place: place(self.message, leaf.span),
            numbers: (leaf.field, leaf.component, leaf.subcomponent),
            span: leaf.span,
            text: self.source(leaf.span).text,
            standing,
            why,
            elements,
            uses,
        }
    }
}
