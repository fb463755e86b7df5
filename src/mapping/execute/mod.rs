//! Runs a plan over one message: bind resources to segments, then write every resource once, straight into the output buffer.
//!
//! Two passes. *Bind* walks the segments in order, makes an instance of a resource for each statement of the message map, and resolves names and links. *Write*
//! walks the instances; values that go through a map to a resource (`XCN.Practitioner`) make further instances, which are written in their turn. An element that
//! turns out to be empty is rolled back by cutting the buffer. Nothing allocates once the buffers of [`Scratch`] have grown to the largest message seen.
mod bind;
mod compute;
mod convert;
mod emit;
mod locate;
mod memory;
mod range;
pub(super) mod reads;
mod text;
mod uri;
mod write;

use super::plan::{Compiled, NONE, RuleId};
use super::{Context, Failure, Finding, Scratch, Trace};
use crate::fhir::bundle::Entry;
use crate::fhir::identity;
use crate::hl7::{Charset, Delimiters, Message, Span};
use hashbrown::HashTable;
use jiff::tz::TimeZone;

/// Buffers of one worker beside the index: everything that is made while a message is translated.
#[derive(Debug, Default)]
pub struct State {
    pub out: Vec<u8>,
    pub entries: Vec<Entry>,
    pub findings: Vec<Finding>,
    pub traces: Vec<Trace>,
    /// What was read for them, and what led to none; empty but in a traced run.
    pub reads: reads::Reads,
    /// Text being built: decoded values, joined pieces, identities. Used as a stack.
    temporary: Vec<u8>,
    /// Components of the values entered.
    pieces: Vec<Span>,
    /// Values split lately, by where they stand: many rows enter the same one.
    splits: Vec<Split>,
    /// First byte of each element of the lists being written. Used as a stack.
    elements: Vec<usize>,
    instances: Vec<Instance>,
    by_id: HashTable<u32>,
    /// Resources by the value that they were made from.
    by_value: HashTable<Made>,
    hasher: hashbrown::DefaultHashBuilder,
    /// What was made of values that belong to no patient, in earlier messages as well.
    pub memory: memory::Memory,
    /// The same for all values, in this message.
    own_memory: memory::Memory,
    parts: Vec<PartOf>,
    links: Vec<LinkOf>,
    /// Links by what they join, so that none is there twice.
    by_link: HashTable<u32>,
    bound: Vec<Bound>,
    slots: Vec<NameSlot>,
    /// For each group instance the first of each segment that rows elsewhere read: in it, and in the groups right below.
    references: Vec<u32>,
    below: Vec<u32>,
    /// The same for all of them: group instance, segment reference, segment; made when it is first asked for.
    beside: Vec<(u32, u16, u32)>,
    pending: Vec<Pending>,
    contained: Vec<u32>,
}

/// A value and its components.
#[derive(Debug, Clone, Copy)]
struct Split {
    span: Span,
    level: u8,
    composite: bool,
    /// First piece and how many.
    pieces: (u32, u32),
    present: u64,
}

/// A resource made from a value that is all it is made from.
#[derive(Debug, Clone, Copy)]
struct Made {
    part: u16,
    value: Span,
    level: u8,
    instance: u32,
}

/// A resource to be written.
#[derive(Debug, Clone, Copy)]
struct Instance {
    program: u16,
    /// A UUID; of a contained resource its ordinal.
    id: [u8; 16],
    contained: bool,
    /// Which kinds of parts it carries.
    mask: u64,
    first_part: u32,
    last_part: u32,
    first_link: u32,
    last_link: u32,
    /// Carries the same kind of part more than once: equal list elements are written once.
    merged: bool,
    rule: RuleId,
    /// The part that it was first made of.
    part: u16,
    /// Making it was worth no finding, and its resource may be kept beyond the message.
    lasting: bool,
    /// The resource in memory, or `NONE`.
    remembered: u32,
}

/// A part of an instance: which map, and the frame that it reads.
#[derive(Debug, Clone, Copy)]
struct PartOf {
    kind: u8,
    next: u32,
    frame: Frame<'static>,
}

#[derive(Debug, Clone, Copy)]
struct LinkOf {
    from: u32,
    slot: u16,
    next: u32,
    to: u32,
    rule: RuleId,
}

/// A resource bound to a name.
#[derive(Debug, Clone, Copy)]
struct Bound {
    segment: u32,
    instance: u32,
    next: u32,
}

/// A name in a group instance.
#[derive(Debug, Clone, Copy)]
struct NameSlot {
    first: u32,
    last: u32,
    /// The same name in groups below, when there is just one.
    below: u32,
    below_count: u32,
    /// The group instance right below through which it is seen.
    below_through: u32,
}

/// A statement whose links (and parts) are resolved once all segments are seen.
#[derive(Debug, Clone, Copy)]
struct Pending {
    group: u16,
    child: u16,
    statement: u16,
    segment: u32,
    scope: u32,
    /// The instance made; `NONE` for `+=`.
    instance: u32,
}

/// What rows read: a segment, or a value within it. `level` tells which separator splits it further.
#[derive(Debug, Clone, Copy)]
struct Frame<'f> {
    parent: Option<&'f Frame<'f>>,
    segment: u32,
    scope: u32,
    level: u8,
    span: Span,
    /// Components of the value: first piece and how many.
    pieces: (u32, u32),
    /// What the frame holds: bits of its fields or components, and bit 0.
    present: u64,
    /// Any of them has parts of its own (always true for segments, which are not looked through).
    composite: bool,
    /// The segment holds a repetition separator anywhere.
    repeats: bool,
    /// The field that the enclosing slot repeats with, and its repetition at hand.
    driver: u16,
    repetition: Span,
}

/// The frame is a segment.
const SEGMENT: u8 = 3;
/// The frame is a repetition of a field: components are split by `^`.
const REPETITION: u8 = 0;
/// The frame is a component: subcomponents are split by `&`.
const COMPONENT: u8 = 1;
/// The frame is a subcomponent.
const SUBCOMPONENT: u8 = 2;

/// What every frame holds, for rows that need nothing of it.
const HOLDS: u64 = 1;

/// How many values [`State::splits`] remembers.
const SPLITS: usize = 64;

/// One run over one message.
struct Run<'a, const TRACE: bool> {
    plan: &'a Compiled,
    message: Message<'a>,
    matcher: &'a crate::hl7::Matcher,
    structure: &'a super::plan::StructurePlan,
    state: &'a mut State,
    charset: Charset,
    namespace: [u8; 16],
    zone: Option<&'a TimeZone>,
    /// Offset of MSH-7, the message's own default (HL7 v2.8.2, 2.14.9.7).
    offset_minutes: Option<i16>,
    /// The instance being written, and the link at hand within it.
    instance: u32,
    link: u32,
    /// A required value is only tried: what it makes is taken back.
    probing: bool,
    failure: Option<Failure>,
    /// The field counted last, and its valued repetitions.
    counted: Option<(Span, usize)>,
    /// The segment and field read last as a range, and what it says.
    ranged: Option<((u32, u16), range::Range<'a>)>,
    /// What the parts of the instance being written hold, by kind.
    present: [u64; 64],
    /// What ends the first leaf of a field: the separators within it; the field's own stands for those not declared.
    leaf_ends: [u8; 3],
}

/// Whether something was written, and whether any of it came from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrote {
    Nothing,
    Literal,
    Sourced,
}

/// Translates an indexed message into `scratch`.
pub fn run<const TRACE: bool>(
    plan: &super::Plan,
    raw: &[u8],
    structure: u16,
    context: &Context<'_>,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let compiled = &plan.compiled;
    let message = scratch.index.message(raw);
    let structure = &compiled.structures[usize::from(structure)];
    scratch.matcher.run(&structure.structure, message);
    let state = &mut scratch.state;
    state.clear();
    let header = message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
    let namespace = identity::feed_namespace(plan.namespace(), message.text(header, 3), message.text(header, 4));
    let sent = super::execute::convert::timestamp(message.text(header, 7));
    let mut run = Run::<TRACE> {
        plan: compiled,
        message,
        matcher: &scratch.matcher,
        structure,
        state,
        charset: plan.charset(message.text(header, 18)),
        namespace,
        zone: plan.zone.as_ref(),
        offset_minutes: sent.as_ref().and_then(|t| t.offset_minutes),
        instance: NONE,
        link: NONE,
        probing: false,
        failure: None,
        counted: None,
        ranged: None,
        present: [0; 64],
        leaf_ends: leaf_ends(message.delimiters()),
    };
    run.begin_memory(plan.hash());
    run.read_header(plan.namespace().is_none());
    run.bind();
    run.bundle(context, sent.as_ref());
    match run.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn leaf_ends(delimiters: Delimiters) -> [u8; 3] {
    [delimiters.repetition, delimiters.component, delimiters.subcomponent]
        .map(|separator| if separator == 0 { delimiters.field } else { separator })
}

impl State {
    pub fn clear(&mut self) {
        self.out.clear();
        self.entries.clear();
        self.findings.clear();
        self.traces.clear();
        self.reads.clear();
        self.temporary.clear();
        self.pieces.clear();
        self.elements.clear();
        self.splits.clear();
        self.splits.resize(
            SPLITS,
            Split { span: Span::default(), level: SEGMENT, composite: false, pieces: (0, 0), present: 0 },
        );
        self.instances.clear();
        self.by_id.clear();
        self.by_value.clear();
        self.own_memory.clear();
        self.parts.clear();
        self.links.clear();
        self.by_link.clear();
        self.bound.clear();
        self.slots.clear();
        self.references.clear();
        self.below.clear();
        self.beside.clear();
        self.pending.clear();
        self.contained.clear();
    }
}

impl Frame<'_> {
    /// A frame that holds nothing.
    fn nothing() -> Frame<'static> {
        Frame {
            parent: None,
            segment: NONE,
            scope: 0,
            level: SEGMENT,
            span: Span::default(),
            pieces: (0, 0),
            present: HOLDS,
            composite: true,
            repeats: false,
            driver: 0,
            repetition: Span::default(),
        }
    }
}
