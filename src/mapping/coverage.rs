//! What of a pile of messages reached FHIR, and what did not: counts by place, codes that no table has, rules that were never used.
//!
//! Pure and bounded: [`Coverage::add`] takes one message after the other and keeps counts by place (segment, field, component, subcomponent), never messages; each
//! list has a limit, and what is beyond it is counted and said. [`Coverage::report`] makes of it what people and programs read. Whether a value is
//! reached is for [`usage`](super::usage) to say.
mod report;

use super::explain::RulePlace;
use super::finding::place;
use super::plan::{Emit, NONE, RuleId};
use super::source::{Layer, Location};
use super::usage::{Leaf, Reason, Standing, Usage, leaves};
use super::{Context, Failure, FindingCode, Plan, Scratch};
use crate::hl7::{Message, SegmentId, Span, decode_into};
pub use report::{CodeLine, FailureLine, FieldLine, MapLine, Report, SegmentLine};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Places that are told apart.
const PLACES_MAX: usize = 20_000;
/// Codes that are told apart.
const CODES_MAX: usize = 10_000;
/// Reasons of failure that are told apart.
const FAILURES_MAX: usize = 200;
/// How much of a value an example shows.
const SHOWN_CHARACTERS: usize = 60;

/// How many values of a kind there were, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// In a Bundle.
    pub mapped: u64,
    /// Read as condition or identity only.
    pub read_only: u64,
    /// Lost.
    pub nowhere: u64,
}

impl Tally {
    /// All of them.
    pub fn all(self) -> u64 {
        self.mapped + self.read_only + self.nowhere
    }

    /// What was mapped, or deliberately read, of a hundred; 100 where there was nothing to reach.
    pub fn reached_percent(self) -> f64 {
        percent(self.mapped + self.read_only, self.all())
    }

    fn add(&mut self, standing: Standing) {
        match standing {
            Standing::Mapped => self.mapped += 1,
            Standing::ReadOnly => self.read_only += 1,
            Standing::Nowhere(_) => self.nowhere += 1,
        }
    }

    fn unite(&mut self, other: Tally) {
        self.mapped += other.mapped;
        self.read_only += other.read_only;
        self.nowhere += other.nowhere;
    }
}

fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 100.0 } else { part as f64 * 100.0 / all as f64 }
}

/// Where a message comes from, for examples.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its file.
    pub file: Arc<str>,
    /// Its number in the file, from 1.
    pub number: u64,
}

/// One occurrence of something.
#[derive(Debug, Clone)]
pub struct Example {
    /// The message.
    pub origin: Origin,
    /// `OBX(3)-5.1`.
    pub place: String,
    /// Characters of the value.
    pub length: usize,
    /// The value itself, where values may be shown.
    pub value: Option<String>,
}

/// A place as all messages share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    segment: SegmentId,
    field: u16,
    component: u16,
    subcomponent: u16,
}

#[derive(Debug)]
struct Field {
    tally: Tally,
    /// The first that went nowhere, and why; else the first that was read only.
    lost: Option<(&'static str, String, Example)>,
    read: Option<Example>,
}

#[derive(Debug)]
struct Counted {
    count: u64,
    example: Example,
}

/// Sums over messages.
#[derive(Debug)]
pub struct Coverage {
    /// Whether examples show values.
    values: bool,
    messages: u64,
    failed: u64,
    total: Tally,
    segments: BTreeMap<SegmentId, (u64, Tally)>,
    fields: BTreeMap<Place, Field>,
    /// By whether they are settled, table and code.
    codes: BTreeMap<(bool, String, String), Counted>,
    failures: BTreeMap<(u16, String), Counted>,
    /// How often each rule was used, by the hash of the plan: feeds have plans of their own.
    rules: HashMap<[u8; 32], Vec<u64>>,
    /// Values, codes and failures that no list had room for.
    unlisted: u64,
    seen: HashSet<RuleId>,
    codes_seen: HashSet<(u16, Span)>,
}

impl Coverage {
    /// Of no message yet; `values`: examples show values, which may be a patient's.
    pub fn new(values: bool) -> Coverage {
        Coverage {
            values,
            messages: 0,
            failed: 0,
            total: Tally::default(),
            segments: BTreeMap::new(),
            fields: BTreeMap::new(),
            codes: BTreeMap::new(),
            failures: BTreeMap::new(),
            rules: HashMap::new(),
            unlisted: 0,
            seen: HashSet::new(),
            codes_seen: HashSet::new(),
        }
    }

    /// Translates a message and adds what became of its values. A message that fails reached nothing, and is counted so as far as it can be read.
    ///
    /// # Errors
    /// As [`Plan::translate`]; the failure is counted already.
    pub fn add(
        &mut self,
        plan: &Plan,
        raw: &[u8],
        context: &Context<'_>,
        origin: &Origin,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        self.messages += 1;
        let result = plan.trace(raw, context, scratch);
        let message = scratch.message(raw);
        let plan = plan.of_feed(scratch.feed);
        let usage = Usage::new(scratch);
        for segment in 0..message.segment_count() {
            let mut tally = Tally::default();
            leaves(message, segment, |leaf| {
                let standing = match &result {
                    Ok(()) => usage.standing(&leaf),
                    Err(_) => Standing::Nowhere(Reason::MessageFailed),
                };
                tally.add(standing);
                self.leaf(plan, message, &leaf, standing, origin);
            });
            self.total.unite(tally);
            let sums = self.segments.entry(message.segment_id(segment)).or_default();
            sums.0 += 1;
            sums.1.unite(tally);
        }
        match &result {
            Ok(()) => {
                self.codes_of(plan, message, scratch, origin);
                self.rules_of(plan, scratch);
            }
            Err(failure) => self.failure(failure, origin),
        }
        result
    }

    /// All values, whatever their place.
    pub fn total(&self) -> Tally {
        self.total
    }

    /// Messages added, and how many of them failed.
    pub fn messages(&self) -> (u64, u64) {
        (self.messages, self.failed)
    }

    fn leaf(&mut self, plan: &Plan, message: Message<'_>, leaf: &Leaf, standing: Standing, origin: &Origin) {
        let segment = message.segment_id(leaf.segment as usize);
        let key = Place { segment, field: leaf.field, component: leaf.component, subcomponent: leaf.subcomponent };
        if self.fields.len() >= PLACES_MAX && !self.fields.contains_key(&key) {
            self.unlisted += 1;
            return;
        }
        let values = self.values;
        let field = self.fields.entry(key).or_insert_with(|| Field { tally: Tally::default(), lost: None, read: None });
        field.tally.add(standing);
        match standing {
            Standing::Nowhere(reason) if field.lost.is_none() => {
                let example = example(plan, message, leaf.span, values, origin);
                field.lost = Some((reason.word(), plan.reason_text(reason), example));
            }
            Standing::ReadOnly if field.read.is_none() => {
                field.read = Some(example(plan, message, leaf.span, values, origin));
            }
            _ => {}
        }
    }

    fn codes_of(&mut self, plan: &Plan, message: Message<'_>, scratch: &Scratch, origin: &Origin) {
        self.codes_seen.clear();
        for finding in scratch.findings() {
            // A row that is tried twice is found wanting twice.
            if finding.code != FindingCode::UnmappedCode || !self.codes_seen.insert((finding.table, finding.span)) {
                continue;
            }
            let Some(unmapped) = plan.unmapped_code(finding, message) else { continue };
            let key = (!unmapped.is_open, unmapped.table.to_owned(), unmapped.code);
            if let Some(known) = self.codes.get_mut(&key) {
                known.count += 1;
            } else if self.codes.len() < CODES_MAX {
                // The code itself is shown already.
                let example = example(plan, message, finding.span, self.values, origin);
                self.codes.insert(key, Counted { count: 1, example });
            } else {
                self.unlisted += 1;
            }
        }
    }

    fn rules_of(&mut self, plan: &Plan, scratch: &Scratch) {
        self.seen.clear();
        let state = &scratch.state;
        self.seen.extend(state.traces.iter().map(|trace| trace.rule));
        self.seen.extend(state.reads.used());
        let counts = self.rules.entry(plan.hash()).or_insert_with(|| vec![0; plan.compiled.rules.len()]);
        for rule in &self.seen {
            if let Some(count) = counts.get_mut(*rule as usize) {
                *count += 1;
            }
        }
    }

    fn failure(&mut self, failure: &Failure, origin: &Origin) {
        self.failed += 1;
        let key = (failure.code, failure.text.clone());
        if let Some(known) = self.failures.get_mut(&key) {
            known.count += 1;
        } else if self.failures.len() < FAILURES_MAX {
            let place = failure.location.map(|(id, _, field)| format!("{}-{field}", String::from_utf8_lossy(&id)));
            let example = Example { origin: origin.clone(), place: place.unwrap_or_default(), length: 0, value: None };
            self.failures.insert(key, Counted { count: 1, example });
        } else {
            self.unlisted += 1;
        }
    }
}

impl Plan {
    /// The rules that could write, read or run something: those that a message may use.
    fn usable_rules(&self) -> Vec<RuleId> {
        let compiled = &self.compiled;
        let mut rules: Vec<RuleId> =
            compiled.alternatives.iter().filter(|a| !matches!(a.emit, Emit::Node(_))).map(|a| a.rule).collect();
        rules.extend(compiled.enters.iter().map(|enter| enter.rule));
        let statements = compiled.structures.iter().flat_map(|s| s.statements.iter().flatten().flatten());
        rules.extend(statements.map(|statement| statement.rule));
        rules.sort_unstable();
        rules.dedup();
        rules.retain(|rule| *rule != NONE);
        rules
    }

    pub(super) fn rule_place(&self, id: RuleId) -> Option<RulePlace> {
        let rule = self.compiled.rules.get(id as usize)?;
        let (file, line, ..) = self.sources().position(rule.location);
        let (map, target) = (rule.map.clone(), rule.target.clone());
        let replaced = self.sources().replaced(rule.location).map(|old| {
            let (file, line, ..) = self.sources().position(old);
            (file.to_owned(), line, self.layer_of(old))
        });
        let layer = self.layer_of(rule.location);
        Some(RulePlace { map, target, file: file.to_owned(), line, location: rule.location, layer, replaced })
    }

    fn layer_of(&self, location: Location) -> Layer {
        self.sources().files.get(usize::from(location.file)).map(|file| file.layer.clone()).unwrap_or_default()
    }
}

/// The text of some bytes, escapes and charset resolved.
fn text(plan: &Plan, message: Message<'_>, span: Span) -> String {
    let header = message.find(SegmentId(*b"MSH")).unwrap_or(0);
    let mut out = Vec::new();
    decode_into(message.bytes(span), &message.delimiters(), plan.charset(message.text(header, 18)), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn example(plan: &Plan, message: Message<'_>, span: Span, values: bool, origin: &Origin) -> Example {
    let text = text(plan, message, span);
    let length = text.chars().count();
    let value = values.then(|| match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    });
    Example { origin: origin.clone(), place: place(message, span), length, value }
}
