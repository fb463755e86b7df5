//! A view over one indexed message: segments, fields, and the parts within them on demand.
use super::delimiters::Delimiters;
use super::index::{Index, ParseNotes};
use super::span::{SegmentId, Span};

/// One parsed message: its bytes and its index. Small, so pass it by value.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) raw: &'a [u8],
    pub(super) index: &'a Index,
}

/// True for `""`, by which a sender says that a value is to be deleted (HL7 v2 chapter 2, "Null values").
#[inline]
pub fn is_null(bytes: &[u8]) -> bool {
    bytes == b"\"\""
}

impl<'a> Message<'a> {
    /// The bytes that were parsed, junk and line ends included.
    #[inline]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// What the message declares in MSH-1 and MSH-2.
    #[inline]
    pub fn delimiters(self) -> Delimiters {
        self.index.delimiters
    }

    /// What was tolerated while parsing.
    pub fn notes(self) -> ParseNotes {
        self.index.notes
    }

    /// How many segments there are.
    #[inline]
    pub fn segment_count(self) -> usize {
        self.index.segments.len()
    }

    /// The name of a segment; `SegmentId::default()` beyond the last.
    #[inline]
    pub fn segment_id(self, segment: usize) -> SegmentId {
        self.index.segments.get(segment).map_or(SegmentId::default(), |entry| entry.id)
    }

    /// The whole of a segment without its line end.
    #[inline]
    pub fn segment_span(self, segment: usize) -> Span {
        self.index.segments.get(segment).map_or(Span::default(), |entry| Span { start: entry.start, end: entry.end })
    }

    /// The number of the last field of a segment, empty or not.
    #[inline]
    pub fn field_count(self, segment: usize) -> usize {
        let count = |entry: &super::index::Segment| {
            entry.separators as usize + usize::from(entry.header && entry.separators > 0)
        };
        self.index.segments.get(segment).map_or(0, count)
    }

    /// A field by its number from 1; 0 is the segment's name. Empty when the segment does not reach so far.
    ///
    /// In MSH, FHS and BHS field 1 is the separator itself and field 2 the encoding characters, which must not be split.
    #[inline]
    pub fn field(self, segment: usize, number: usize) -> Span {
        let Some(entry) = self.index.segments.get(segment) else {
            return Span::default();
        };
        let mut nth = number;
        if entry.header && number > 0 {
            nth -= 1;
            if nth == 0 {
                let start = self.index.offsets.get(entry.first as usize).copied().unwrap_or(entry.end);
                return Span { start, end: (start + 1).min(entry.end) };
            }
        }
        if nth > entry.separators as usize {
            return Span { start: entry.end, end: entry.end };
        }
        let at = entry.first as usize + nth;
        let end = self.index.offsets.get(at).copied().unwrap_or(entry.end);
        match nth {
            0 => Span { start: entry.start, end },
            _ => Span { start: self.index.offsets.get(at - 1).map_or(end, |before| before + 1), end },
        }
    }

    /// The numbers of a segment's fields that hold anything.
    #[inline]
    pub fn valued_fields(self, segment: usize) -> impl Iterator<Item = usize> {
        let entry = self.index.segments.get(segment).copied();
        let first = entry.map_or(0, |entry| entry.first as usize);
        let offsets = entry.and_then(|entry| self.index.offsets.get(first..=first + entry.separators as usize));
        let header = entry.is_some_and(|entry| entry.header && entry.separators > 0);
        let fields = offsets.unwrap_or_default().windows(2).enumerate().filter(|(_, ends)| ends[1] - ends[0] > 1);
        // The first field of a header is the separator itself.
        header.then_some(1).into_iter().chain(fields.map(move |(at, _)| at + 1 + usize::from(header)))
    }

    /// The bytes of a span; empty when it lies outside the message.
    #[inline]
    pub fn bytes(self, span: Span) -> &'a [u8] {
        self.raw.get(span.range()).unwrap_or_default()
    }

    /// The first segment of that name.
    pub fn find(self, id: SegmentId) -> Option<usize> {
        self.index.segments.iter().position(|entry| entry.id == id)
    }

    /// The bytes of a field.
    #[inline]
    pub fn text(self, segment: usize, number: usize) -> &'a [u8] {
        self.bytes(self.field(segment, number))
    }

    /// The n-th part (from 1) of a span that `separator` splits; empty when there are fewer. A separator of 0 splits nothing.
    #[inline]
    pub fn part(self, span: Span, separator: u8, n: usize) -> Span {
        n.checked_sub(1)
            .and_then(|skip| self.parts(span, separator).nth(skip))
            .unwrap_or(Span { start: span.end, end: span.end })
    }

    /// The parts of a span that `separator` splits, at least one, which may be empty. A separator of 0 splits nothing.
    #[inline]
    pub fn parts(self, span: Span, separator: u8) -> Parts<'a> {
        Parts { raw: self.raw, start: span.start, end: span.end, separator, done: false }
    }

    /// Writes the message from its index: names, fields, separators and the gaps between them. The same bytes as [`Message::raw`], which a test sees to.
    pub fn serialize_into(self, out: &mut Vec<u8>) {
        let mut written = 0;
        for (at, entry) in self.index.segments.iter().enumerate() {
            out.extend_from_slice(self.bytes(Span { start: written, end: entry.start }));
            out.extend_from_slice(self.bytes(self.field(at, 0)));
            for number in 1..=self.field_count(at) {
                if !(entry.header && number <= 2) {
                    out.push(self.index.delimiters.field);
                }
                out.extend_from_slice(self.text(at, number));
            }
            written = entry.end;
        }
        out.extend_from_slice(self.raw.get(written as usize..).unwrap_or_default());
    }
}

/// The parts of a span, in order.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    raw: &'a [u8],
    start: u32,
    end: u32,
    separator: u8,
    done: bool,
}

impl Iterator for Parts<'_> {
    type Item = Span;

    #[inline]
    fn next(&mut self) -> Option<Span> {
        if self.done {
            return None;
        }
        let start = self.start;
        match self.raw.get(start as usize..self.end as usize).and_then(|rest| position(rest, self.separator)) {
            Some(at) if self.separator != 0 => {
                self.start = start + at as u32 + 1;
                Some(Span { start, end: start + at as u32 })
            }
            _ => {
                self.done = true;
                Some(Span { start, end: self.end })
            }
        }
    }
}

/// Where a byte stands. Most parts are a few bytes, for which a plain loop beats the set-up of a vector search.
#[inline]
fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (head, tail) = bytes.split_at(bytes.len().min(PLAIN_BYTES));
    match head.iter().position(|&byte| byte == wanted) {
        None if !tail.is_empty() => memchr::memchr(wanted, tail).map(|at| at + PLAIN_BYTES),
        found => found,
    }
}

const PLAIN_BYTES: usize = 16;
