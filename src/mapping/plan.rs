//! A compiled plan: flat arenas of nodes, integer source paths, pre-escaped literals. Immutable; shared behind an `Arc`.
//!
//! There is one [`Program`] for each FHIR resource type. A map to a resource is a *part* of its program: an instance of a resource (made while a message is
//! translated) carries one or more parts, each with the frame (segment or value) that its rows read. So `PID.Patient`, `PD1.Patient` and `NK1.Patient` write
//! one Patient in one pass, and two occurrences of the same Practitioner are two parts of one instance.
use super::source::{Location, Nulls};
use crate::fhir::shape::CodeSet;
use crate::hl7::{SegmentId, Structure};
use hashbrown::HashMap;
use std::ops::Range;

/// Bytes in [`Program`]'s literal pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text {
    pub start: u32,
    pub end: u32,
}

pub type NodeId = u32;
pub type SourceId = u32;
pub type ConditionId = u32;
pub type RuleId = u32;
pub type PartId = u16;
/// Marks "no such thing" in ids.
pub const NONE: u32 = u32::MAX;
/// The part whose frame is already at hand.
pub const CURRENT: u8 = u8::MAX;
/// The need of a row that may write whatever the message holds; bit 0 is set in whatever any frame holds.
pub const ALWAYS: u64 = u64::MAX;

/// The bit of a field or component number in what a frame holds; 55 stands for all from 55 on.
#[inline]
pub fn field_bit(number: u16) -> u64 {
    1 << number.min(55)
}

/// The bit of a component that has parts of its own; 8 stands for all from 8 on. Segments set it with every field, which is not looked into.
#[inline]
pub fn composite_bit(number: u16) -> u64 {
    1 << (55 + number.clamp(1, 8))
}

/// Everything that a translation needs to know.
#[derive(Debug, Default)]
pub struct Compiled {
    pub pool: Vec<u8>,
    pub programs: Vec<Program>,
    pub parts: Vec<Part>,
    pub nodes: Vec<Node>,
    pub enters: Vec<Enter>,
    pub children: Vec<Child>,
    pub part_needs: Vec<(u8, u64)>,
    /// For each child what the frame must hold of, for the child to be looked at.
    pub gates: Vec<u64>,
    /// For each child what writing it takes, close together: the processor's cache is small.
    pub rows: Vec<ChildRow>,
    pub items: Vec<Item>,
    pub alternatives: Vec<Alternative>,
    pub sources: Vec<Source>,
    pub conditions: Vec<Condition>,
    /// Codes of up to seven bytes that conditions compare with, as [`packed`].
    pub codes: Vec<u64>,
    pub cases: Vec<(Text, NodeId)>,
    pub tables: Vec<Table>,
    pub rules: Vec<Rule>,
    pub structures: Vec<StructurePlan>,
    pub structure_names: HashMap<Box<[u8]>, u16>,
    /// `ADT^A04` → index into `structures`.
    pub events: HashMap<Box<[u8]>, u16>,
    /// Segments that rows read beside their own.
    pub segment_refs: Vec<SegmentId>,
    /// Names bound by message maps.
    pub bindings: Vec<String>,
    /// Those that mean a patient.
    pub patients: Vec<u16>,
    pub systems: HashMap<Box<[u8]>, Text>,
    pub authorities: HashMap<Box<[u8]>, Text>,
    pub patient_types: Vec<Vec<u8>>,
    pub nulls: Nulls,
}

/// How one resource type is written.
#[derive(Debug)]
pub struct Program {
    pub resource_type: &'static str,
    /// `{"resourceType":"Patient","id":"`.
    pub open: Text,
    pub root: NodeId,
    /// For each part the children that it could write, for resources that are made of it alone.
    pub alone: Vec<Range<u32>>,
}

/// A map as contribution to a program.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    pub program: u16,
    /// Ordinal of the part within its program.
    pub kind: u8,
    /// Value nodes whose texts make the identity.
    pub identity: Vec<NodeId>,
    pub events: bool,
    /// Reads nothing but the value that the resource is made from, nor does what that refers to.
    pub closed: bool,
    /// Closed, and of no patient: the resource may be kept beyond its message.
    pub lasting: bool,
    /// Never the same as a resource that another map made.
    pub distinct: bool,
    /// Rows that the resource cannot do without, and whether the message fails with them.
    pub required: Vec<(NodeId, RuleId, bool)>,
    pub rule: RuleId,
}

/// Where something was written in the mapping files.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `PID.Patient` or `ADT_A01`.
    pub map: String,
    /// Left side or statement.
    pub target: String,
    pub location: Location,
}

#[derive(Debug)]
pub enum Node {
    /// The first alternative that is not empty.
    Value { alternatives: Range<u32>, codes: Option<&'static CodeSet> },
    /// `{…}`; `enter` (an index, or `NONE`) makes a new innermost frame for its inner children; a `period` must not end before it starts.
    Object { children: Range<u32>, enter: u32, has_source: bool, period: bool },
    /// `[…]`.
    List { items: Range<u32> },
    /// A jump table.
    Switch { on: SourceId, cases: Range<u32>, default: NodeId },
    /// A list element that is the same in every message, and the node that it was made from.
    Constant { text: Text, node: NodeId },
    /// The table's coding for component 1 of the frame at hand, if the table has it.
    TableCoding { table: u16 },
}

/// The value that a datatype map is spread over.
#[derive(Debug, Clone)]
pub struct Enter {
    pub part: u8,
    /// Sources with their guards; the first that is valued counts.
    pub sources: Vec<(SourceId, ConditionId)>,
    pub rule: RuleId,
}

/// One element of an object.
#[derive(Debug, Clone)]
pub struct Child {
    /// `"birthDate":`; empty where the alternative brings the key (choices).
    pub key: Text,
    pub node: NodeId,
    /// Parts that could write it; 0: any.
    pub mask: u64,
    /// Only when the object's own frame has a value.
    pub inner: bool,
    pub required: bool,
    /// Written, but no reason for the object to be there (the URL of an extension).
    pub silent: bool,
    pub rule: RuleId,
    /// Fields of the frame at hand of which one must be there.
    pub need: u64,
    /// The same for the frames of parts: kind and need.
    pub part_needs: Range<u32>,
}

/// What of a child is read each time that it is written.
#[derive(Debug, Clone, Copy)]
pub struct ChildRow {
    /// A comma, then the key, then the value if it is constant.
    pub lead: Text,
    pub op: Op,
    pub silent: bool,
    /// The gate does not say all: see the [`Child`].
    pub asks: bool,
}

/// How a child is written.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    Node(NodeId),
    /// The same in every message: all of it stands in `lead`.
    Constant,
    /// A [plain](Path::plain) path.
    Leaf {
        field: u16,
        conversion: Conversion,
    },
    /// The only alternative, with nothing to choose but by its guard.
    Alone(u32),
}

/// One slot of a list.
#[derive(Debug, Clone)]
pub struct Item {
    pub node: NodeId,
    pub part: u8,
    pub guard: ConditionId,
    pub repeat: Repeat,
    /// Written by the datatype map of the enclosing object.
    pub inner: bool,
    pub need: u64,
    /// The only alternative of a value with nothing to choose, else `NONE`.
    pub only: u32,
}

/// What makes more than one element of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Once,
    /// One element per repetition of this field of the own segment.
    Field(u16),
    /// One element per link of this slot.
    Links(u16),
}

#[derive(Debug, Clone)]
pub struct Alternative {
    pub part: u8,
    pub inner: bool,
    pub guard: ConditionId,
    /// `"valueQuantity":` for choices, else empty.
    pub key: Text,
    pub emit: Emit,
    pub rule: RuleId,
    /// A missing value is worth a diagnostic.
    pub warn: bool,
    /// Only the text of a reference, not the object around it.
    pub bare: bool,
    pub need: u64,
}

/// What an alternative writes.
#[derive(Debug, Clone)]
pub enum Emit {
    /// A pre-escaped JSON string or scalar.
    Literal(Text),
    Primitive {
        source: SourceId,
        conversion: Conversion,
        table: Option<u16>,
    },
    /// `coding(…)`: system, code, display as sources; `concept` wraps it into a CodeableConcept.
    Coding {
        system: SourceId,
        code: SourceId,
        display: SourceId,
        concept: bool,
    },
    /// A code through a table as Coding or CodeableConcept; `hit_only`: nothing for a code that the table lacks.
    TableCoding {
        source: SourceId,
        table: u16,
        concept: bool,
        hit_only: bool,
    },
    /// A datatype map.
    Map {
        source: SourceId,
        node: NodeId,
        keeps: Keeps,
    },
    /// Another node in the same frame (a jump table).
    Node(NodeId),
    /// A reference to a resource made from a value, with a second part read from the frame around.
    Resource {
        source: SourceId,
        part: Option<PartId>,
        extra: Option<PartId>,
        guard: ConditionId,
    },
    /// A reference to the resource bound to a name.
    Bound(u16),
    /// A reference along a link of the instance.
    Link(u16),
}

/// How long what a datatype map wrote can be written again for the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Never: it reads more than its value.
    Not,
    Message,
    /// Beyond the message, for it belongs to no patient.
    Lasting,
}

/// How text becomes a FHIR primitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    String,
    Code,
    Uri,
    Id,
    Date,
    DateTime,
    Instant,
    Time,
    Decimal,
    Integer,
    PositiveInt,
    UnsignedInt,
    Boolean,
    Base64,
}

/// Where text comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Path(Path),
    Literal(Text),
    Join {
        separator: Text,
        arguments: Vec<SourceId>,
    },
    Phone(Vec<SourceId>),
    Ssn(SourceId),
    Authority(Vec<SourceId>),
    System(SourceId),
    Uri(SourceId, SourceId),
    Lines(Path),
    TextOf(SourceId),
    PatientId(Path),
    Patient,
    Position,
    /// A field of all segments of its name in the own group and right below; with a field and codes: of those whose field has one of them.
    AllLines(Path, Option<(Path, Vec<Vec<u8>>)>),
    Base64(SourceId),
    /// Which occurrence of its group the segment stands in, from 1.
    Occurrence,
    /// A time, an amount, and the unit of the amount.
    Later([SourceId; 3]),
    /// OBR-25 is empty: the status that the linked Observations add up to.
    DerivedStatus,
    /// A part of a range written as text (`3.5-5.0`, `>5 g/dL`).
    Range(SourceId, RangePart),
    Nothing,
}

/// What is asked of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangePart {
    Low,
    High,
    /// The unit that the range names itself.
    Unit,
}

/// A place in the message.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// Frames to go up.
    pub up: u8,
    /// Index into `segment_refs`; `CURRENT`: the frame's own segment or value.
    pub segment: u8,
    /// Where the groups around hold no such segment, that of a group beside is meant.
    pub beside: bool,
    pub field: u16,
    pub repetition: Repetition,
    pub component: u16,
    pub subcomponent: u16,
    /// The first leaf of the repetition at hand of a field (or of a component) of the frame itself, as most paths are.
    pub plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    Current,
    Index(u16),
    Last,
    Filter(ConditionId),
}

#[derive(Debug, Clone)]
pub enum Condition {
    Valued(SourceId),
    /// One of a range of [`Compiled::codes`], in any case.
    In(SourceId, Range<u32>),
    /// The same where any of them is longer than seven bytes.
    InTexts(SourceId, Vec<Vec<u8>>),
    Order(Measure, std::cmp::Ordering, f64),
    CountIn(Measure, Vec<f64>),
    And(Vec<ConditionId>),
    Or(Vec<ConditionId>),
    Not(ConditionId),
    /// The first coding of the frame at hand is not the one that the table gives.
    NotFromTable(u16),
}

/// A number read from the message.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    Text(SourceId),
    Count(Path),
    Length(SourceId),
}

/// A code table: v2 code → pre-rendered codings.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub index: HashMap<Box<[u8]>, u32>,
    pub rows: Vec<TableRow>,
}

#[derive(Debug, Clone)]
pub struct TableRow {
    /// FHIR code, unescaped.
    pub code: Text,
    /// System URI, unescaped.
    pub system: Text,
    /// `{"system":…,"code":…,"display":…}`.
    pub coding: Text,
    pub location: Location,
}

/// A message structure with its statements.
#[derive(Debug)]
pub struct StructurePlan {
    pub structure: Structure,
    /// Whether a message map covers it.
    pub mapped: bool,
    /// Per group, per child: statements.
    pub statements: Vec<Vec<Vec<Statement>>>,
    /// Per group: whether it repeats (the root counts as repeating).
    pub repeating: Vec<bool>,
    /// A group holds the PID or PV1 at two places.
    pub twice: bool,
    /// The names that its statements bind, as indices into `bindings`: a group instance has a place for each.
    pub names: Vec<u16>,
}

#[derive(Debug, Clone)]
pub struct Statement {
    pub binding: u16,
    pub add: bool,
    pub part: PartId,
    pub guard: ConditionId,
    pub links: Vec<Link>,
    pub rule: RuleId,
}

#[derive(Debug, Clone)]
pub struct Link {
    /// None: the resource made here.
    pub from: Option<u16>,
    /// Link slot of the program.
    pub slot: u16,
    pub to: u16,
    pub rule: RuleId,
}

impl Child {
    /// An element that any part may write; what it needs is found out later.
    pub fn new(key: Text, node: NodeId, rule: RuleId) -> Child {
        let (mask, inner, required, silent) = (0, false, false, false);
        Child { key, node, mask, inner, required, silent, rule, need: ALWAYS, part_needs: 0..0 }
    }
}

impl Alternative {
    /// What is written in the frame at hand, under no guard; what it needs is found out later.
    pub fn new(emit: Emit, rule: RuleId) -> Alternative {
        let (part, inner, guard, key) = (CURRENT, false, NONE, Text { start: 0, end: 0 });
        Alternative { part, inner, guard, key, emit, rule, warn: false, bare: false, need: ALWAYS }
    }
}

impl Compiled {
    pub fn text(&self, text: Text) -> &[u8] {
        &self.pool[text.start as usize..text.end as usize]
    }
}

/// Up to seven bytes in upper case, with their number: a code to compare by. `None` for longer texts.
#[inline]
pub fn packed(text: &[u8]) -> Option<u64> {
    if text.len() > 7 {
        return None;
    }
    Some(text.iter().fold(text.len() as u64, |word, byte| word << 8 | u64::from(byte.to_ascii_uppercase())))
}

/// The bytes of a [`packed`] code.
pub fn unpacked(word: u64) -> Vec<u8> {
    let bytes = word.to_be_bytes();
    let length = (0..8).find(|n| word >> (8 * n) == *n as u64).unwrap_or(0);
    bytes[8 - length..].to_vec()
}

impl Table {
    /// The row of a v2 code: as it stands, else in upper case.
    pub fn find(&self, code: &[u8]) -> Option<u32> {
        if let Some(row) = self.index.get(code) {
            return Some(*row);
        }
        let mut upper = [0u8; 32];
        let buffer = upper.get_mut(..code.len())?;
        buffer.copy_from_slice(code);
        buffer.make_ascii_uppercase();
        self.index.get(&*buffer).copied()
    }
}
