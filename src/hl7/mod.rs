//! HL7 v2 messages as a flat index over raw bytes: no tree, no copies, no I/O, no clock.
//!
//! [`Index::parse`] records in one pass where segments and fields end; repetitions, components and subcomponents are split when somebody asks
//! ([`Message::parts`]). Bytes stay bytes: escapes and character sets are resolved per value, on the way out ([`decode_into`]). Nothing here allocates once
//! its buffers have grown to the largest message seen.
//!
//! | module | holds |
//! |---|---|
//! | [`index`], [`message`] | the index and the view over one message |
//! | [`delimiters`], [`header`] | MSH-1 and MSH-2, and finding the MSH among junk |
//! | [`escape`], [`charset`], [`datetime`] | values: text and times |
//! | [`path`] | `PID-3[1].4.2` |
//! | [`batch`], [`batch_ack`] | files of many messages, and the answer to them |
//! | [`grammar`], [`matcher`] | the groups of a message structure |
//!
//! Left out: datatypes and tables (the mappings know them) and writing messages.
pub mod ack;
pub mod batch;
pub mod batch_ack;
pub mod charset;
pub mod datetime;
pub mod delimiters;
pub mod escape;
mod fit;
pub mod grammar;
mod grammar_text;
pub mod header;
pub mod index;
pub mod matcher;
pub mod message;
pub mod names;
pub mod path;
mod scan;
pub mod span;

pub use batch::{BatchNote, Split, is_batch, split};
pub use charset::{Charset, transcode};
pub use datetime::{Precision, Time, Timestamp, TimestampError};
pub use delimiters::Delimiters;
pub use escape::{Notes, decode_into};
pub use grammar::{Child, ChildKind, GrammarError, Group, Structure};
pub use index::{Index, Options, ParseError, ParseNotes};
pub use matcher::{Instance, Matcher, Placement, PlacementKind};
pub use message::{Message, Parts, is_null};
pub use path::{Path, PathError};
pub use span::{SegmentId, Span};
