//! The index of one message: where its segments and fields end.
//!
//! Layout: `offsets` holds, segment after segment, the position of each field separator and then the end of the segment, so field *n* lies between two
//! neighbours. A segment entry names its first offset. All of it is kept between messages.
//!
//! What counts as a segment, so that nothing is ever lost:
//! - a line of three letters and digits and the separator, or of three capitals alone;
//! - a line of a shorter or longer name (up to four) and the separator, under an id that ends in `?`;
//! - any other line continues the segment before it, as a text with line breaks does when a sender forgets to escape them (but never the MSH: after it, such a line
//!   is a segment of its own, with an odd id).
use super::delimiters::Delimiters;
use super::header::find_header;
use super::message::Message;
use super::scan;
use super::span::{SegmentId, Span};

/// Reusable buffers that hold the index of the message parsed last.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) offsets: Vec<u32>,
    pub(super) segments: Vec<Segment>,
    pub(super) delimiters: Delimiters,
    pub(super) notes: ParseNotes,
    options: Options,
}

/// The limits of one message.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most bytes of a message; at most `u32::MAX` has an effect.
    pub bytes_max: usize,
    /// Most segments of a message.
    pub segments_max: usize,
}

/// What was tolerated while parsing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ParseNotes {
    /// Bytes skipped before the MSH: byte order mark, framing, blanks, junk.
    pub leading: Span,
    /// Lines that continue the segment before them.
    pub continuation_lines: u32,
    /// Segments whose name is not three letters and digits; their ids end in `?`.
    pub odd_ids: u32,
    /// MSH-2 is empty, so the recommended encoding characters were taken.
    pub default_delimiters: bool,
}

/// Why bytes are no message. Offsets count from the start of the input.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// No byte, or only blanks.
    #[error("the message is empty: send at least an MSH segment")]
    Empty,
    /// No line begins with MSH.
    #[error(
        "byte {offset}: no MSH segment: a message begins with MSH, the field separator and the encoding characters, as in MSH|^~\\&|"
    )]
    NoHeader {
        /// Where the MSH was expected.
        offset: usize,
    },
    /// The input ends within MSH-1.
    #[error("byte {offset}: the MSH segment ends before its field separator: was the message cut?")]
    HeaderCutShort {
        /// Start of the MSH.
        offset: usize,
    },
    /// MSH-1 cannot separate fields.
    #[error(
        "byte {offset}: byte 0x{byte:02X} cannot be the field separator (MSH-1): use a visible ASCII character, usually |"
    )]
    FieldSeparator {
        /// Position of MSH-1.
        offset: usize,
        /// What stands there.
        byte: u8,
    },
    /// MSH-2 is too long, repeats a character or holds an invisible one.
    #[error(
        "byte {offset}: the encoding characters (MSH-2) must be up to five different visible ASCII characters, usually ^~\\&"
    )]
    EncodingCharacters {
        /// Position of the first wrong character, or of MSH-2.
        offset: usize,
    },
    /// More bytes than allowed.
    #[error(
        "byte {bytes_max}: the message has {bytes} bytes, more than the {bytes_max} allowed: raise the limit or split the message"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More segments than allowed.
    #[error("byte {offset}: more than {segments_max} segments: raise the limit or split the message")]
    TooManySegments {
        /// Start of the first segment too many.
        offset: usize,
        /// The limit.
        segments_max: usize,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, segments_max: 100_000 }
    }
}

impl ParseError {
    /// The byte at which parsing failed.
    pub fn offset(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::NoHeader { offset }
            | Self::HeaderCutShort { offset }
            | Self::FieldSeparator { offset, .. }
            | Self::EncodingCharacters { offset }
            | Self::TooManySegments { offset, .. } => offset,
            Self::TooLarge { bytes_max, .. } => bytes_max,
        }
    }
}

/// One segment of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub start: u32,
    pub end: u32,
    /// Its first offset: of the separators, then of its end.
    pub first: u32,
    /// How many separators it has.
    pub separators: u32,
    pub id: SegmentId,
    pub header: bool,
}

impl Index {
    /// An empty index with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty index with the given limits.
    pub fn with_options(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Indexes one message, which replaces the one before. Framing, blanks and junk before its MSH are skipped and noted.
    ///
    /// ```
    /// use handoff::hl7::{Index, SegmentId};
    /// let raw = b"MSH|^~\\&|LAB|GHH\rPID|1||4711^^^GHH^MR";
    /// let mut index = Index::new();
    /// index.parse(raw)?;
    /// let message = index.message(raw);
    /// let pid = message.find(SegmentId(*b"PID")).expect("a PID");
    /// assert_eq!(message.text(pid, 3), b"4711^^^GHH^MR");
    /// # Ok::<(), handoff::hl7::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no readable MSH, or a limit is passed. The index is then empty.
    pub fn parse(&mut self, raw: &[u8]) -> Result<(), ParseError> {
        self.segments.clear();
        self.delimiters = Delimiters::default();
        self.notes = ParseNotes::default();
        let bytes_max = self.options.bytes_max.min(u32::MAX as usize - 1);
        if raw.len() > bytes_max {
            return Err(ParseError::TooLarge { bytes: raw.len(), bytes_max });
        }
        let end = scan::content_end(raw);
        let content = &raw[..end];
        let start = if content.starts_with(b"MSH") { 0 } else { locate(content)? };
        self.delimiters = Delimiters::of_header(&content[start..], start)?;
        self.notes.leading = Span { start: 0, end: start as u32 };
        let encoding = content.get(start + 4);
        self.notes.default_delimiters =
            encoding.is_none_or(|&byte| byte == self.delimiters.field || byte == b'\r' || byte == b'\n');
        let scanned = scan::scan(content, start, self.delimiters.field, self.options.segments_max, self);
        if scanned.is_err() {
            self.segments.clear();
        }
        scanned
    }

    /// The message that was parsed last; `raw` are the bytes it was parsed from.
    #[inline]
    pub fn message<'a>(&'a self, raw: &'a [u8]) -> Message<'a> {
        Message { raw, index: self }
    }
}

/// The start of the MSH, or why there is none.
fn locate(content: &[u8]) -> Result<usize, ParseError> {
    if let Some(start) = find_header(content) {
        return Ok(start);
    }
    let blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0x0B | 0x1C);
    let Some(offset) = content.iter().position(|byte| !blank(byte)) else {
        return Err(ParseError::Empty);
    };
    let rest = &content[offset..];
    let is_msh = rest.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"MSH"));
    match rest.get(3) {
        None if is_msh => Err(ParseError::HeaderCutShort { offset }),
        Some(b'\r' | b'\n') if is_msh => Err(ParseError::HeaderCutShort { offset }),
        Some(&byte) if is_msh && !byte.is_ascii_alphanumeric() => {
            Err(ParseError::FieldSeparator { offset: offset + 3, byte })
        }
        _ => Err(ParseError::NoHeader { offset }),
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
