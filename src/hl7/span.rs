//! Positions within a message, and segment names.
use std::fmt;
use std::ops::Range;

/// A run of bytes of a message: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// True when the span holds no byte.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// How many bytes it holds.
    #[inline]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// As a range, to slice with.
    #[inline]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The three letters of a segment, in upper case.
///
/// A segment whose name is not three letters and digits is kept under an id that ends in `?`, which no grammar knows.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentId(pub [u8; 3]);

impl SegmentId {
    /// The id of a name of three ASCII letters and digits in any case; anything else gives `None`.
    pub fn new(name: &[u8]) -> Option<Self> {
        let id: [u8; 3] = name.try_into().ok()?;
        (id[0].is_ascii_alphabetic() && id.iter().all(u8::is_ascii_alphanumeric))
            .then(|| Self(id.map(|byte| byte.to_ascii_uppercase())))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// An id for a name that is none: its first letters and digits, then `?`.
    pub(super) fn odd(name: &[u8]) -> Self {
        let letter = |at: usize| match name.get(at) {
            Some(byte) if byte.is_ascii_alphanumeric() => byte.to_ascii_uppercase(),
            _ => b'?',
        };
        Self([letter(0), letter(1), b'?'])
    }

    /// True for MSH, FHS and BHS, whose first field is the separator itself.
    #[inline]
    pub fn is_header(self) -> bool {
        matches!(&self.0, b"MSH" | b"FHS" | b"BHS")
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
