//! The one pass over a message that finds field separators and segment ends.
//!
//! Separators come every seven bytes or so, which makes a vector search that restarts at each match slow. So a block of 64 bytes becomes a bit mask of its
//! delimiters (eight bytes at a time, in plain `u64` arithmetic), whose bits are read off one by one. After two blocks without any, the scan leaps with
//! `memchr`: a megabyte of base64 in one field costs what `memchr` costs.
use super::index::{Index, ParseError, Segment};
use super::span::SegmentId;

/// Where the message ends: before an MLLP end block, if it has one.
pub(super) fn content_end(raw: &[u8]) -> usize {
    let mut end = raw.len();
    while end > 0 && matches!(raw[end - 1], b'\r' | b'\n') {
        end -= 1;
    }
    match raw[..end].last() {
        Some(0x1C) => end - 1,
        _ => raw.len(),
    }
}

/// Fills the segments and offsets of `index` from the content that begins with the MSH at `start`.
pub(super) fn scan(
    content: &[u8],
    start: usize,
    separator: u8,
    segments_max: usize,
    index: &mut Index,
) -> Result<(), ParseError> {
    let mut scan = Scan {
        content,
        separator,
        segments_max,
        used: 0,
        resume: start,
        open: Segment::at(start, *b"MSH"),
        closed: false,
        index,
    };
    if memchr::memchr(b'\n', &content[start..]).is_some() {
        scan.run::<true>(start)?
    } else {
        scan.run::<false>(start)?
    }
    if scan.closed { Ok(()) } else { scan.close(content.len() as u32) }
}

impl Segment {
    fn at(start: usize, id: [u8; 3]) -> Self {
        Self { start: start as u32, end: 0, first: 0, separators: 0, id: SegmentId(id), header: true }
    }
}

struct Scan<'a> {
    content: &'a [u8],
    separator: u8,
    segments_max: usize,
    /// How many offsets hold something; the buffer is never shortened, so it is filled with zeros only once.
    used: usize,
    /// Line ends before this position have been seen to.
    resume: usize,
    open: Segment,
    /// The last segment is closed: nothing but blanks follows.
    closed: bool,
    index: &'a mut Index,
}

/// What a line is.
enum Line {
    Segment(SegmentId),
    Continuation,
    /// Nothing but blanks up to the end.
    End,
}

impl Scan<'_> {
    fn run<const LF: bool>(&mut self, start: usize) -> Result<(), ParseError> {
        let content = self.content;
        let mut at = start;
        let mut barren = 0;
        while at < content.len() {
            let (separators, ends) = match content[at..].first_chunk::<BLOCK>() {
                Some(block) => masks::<LF>(block, self.separator),
                None => {
                    let mut block = [0; BLOCK];
                    block[..content.len() - at].copy_from_slice(&content[at..]);
                    masks::<LF>(&block, self.separator)
                }
            };
            if ends == 0 {
                self.push_all(separators, at as u32);
            } else {
                self.push_lines(separators, ends, at)?;
            }
            at += BLOCK;
            barren = if separators | ends == 0 { barren + 1 } else { 0 };
            if barren == BARREN_BLOCKS && at < content.len() {
                barren = 0;
                let rest = &content[at..];
                let next = if LF {
                    memchr::memchr3(self.separator, b'\r', b'\n', rest)
                } else {
                    memchr::memchr2(self.separator, b'\r', rest)
                };
                at += next.unwrap_or(rest.len());
            }
        }
        Ok(())
    }

    /// Records the separators of a block without line ends.
    #[inline]
    fn push_all(&mut self, mut mask: u64, base: u32) {
        let room = self.room();
        let mut count = 0;
        while mask != 0 {
            room[count % BLOCK] = base + mask.trailing_zeros();
            count += 1;
            mask &= mask - 1;
        }
        self.used += count;
    }

    /// Records the separators and closes the segments of a block.
    fn push_lines(&mut self, separators: u64, mut ends: u64, base: usize) -> Result<(), ParseError> {
        let mut separators = separators;
        while ends != 0 {
            let bit = ends.trailing_zeros();
            ends &= ends - 1;
            let before = separators & ((1 << bit) - 1);
            self.push_all(before, base as u32);
            separators &= !before;
            let position = base + bit as usize;
            if position >= self.resume {
                self.line_end(position)?;
            }
        }
        self.push_all(separators, base as u32);
        Ok(())
    }

    /// Decides what the line after a line end is: a segment closes the one before, anything else belongs to it.
    fn line_end(&mut self, position: usize) -> Result<(), ParseError> {
        let (start, line) = self.line(position + 1);
        self.resume = start;
        match line {
            Line::Continuation => self.index.notes.continuation_lines += 1,
            Line::End => {
                self.closed = true;
                self.close(position as u32)?;
            }
            Line::Segment(id) => {
                self.close(position as u32)?;
                self.open = Segment {
                    start: start as u32,
                    end: 0,
                    first: self.used as u32,
                    separators: 0,
                    id,
                    header: id.is_header(),
                };
            }
        }
        Ok(())
    }

    /// Where the text after `from` begins, blank lines skipped, and what it is.
    fn line(&mut self, from: usize) -> (usize, Line) {
        let mut start = from;
        let mut text = from;
        loop {
            match self.content.get(text) {
                None => return (self.content.len(), Line::End),
                Some(b'\r' | b'\n') => {
                    text += 1;
                    start = text;
                }
                Some(b' ' | b'\t') => text += 1,
                Some(_) => break,
            }
        }
        if let Some(id) = self.name(text) {
            return (text, Line::Segment(id));
        }
        if self.open.header {
            self.index.notes.odd_ids += 1;
            return (start, Line::Segment(SegmentId::odd(&self.content[start..])));
        }
        (start, Line::Continuation)
    }

    /// The segment that a line names, if it does.
    fn name(&mut self, start: usize) -> Option<SegmentId> {
        let line = &self.content[start..];
        let head = &line[..line.len().min(NAME_BYTES_MAX + 1)];
        let end = head.iter().position(|&byte| byte == self.separator || byte == b'\r' || byte == b'\n');
        let name = match end {
            Some(end) => &head[..end],
            None if head.len() <= NAME_BYTES_MAX => head,
            None => return None,
        };
        let separated = line.get(name.len()) == Some(&self.separator);
        if let Some(id) = SegmentId::new(name) {
            return (separated || name == id.0).then_some(id);
        }
        if separated && !name.is_empty() && name.iter().all(u8::is_ascii_alphanumeric) {
            self.index.notes.odd_ids += 1;
            return Some(SegmentId::odd(name));
        }
        None
    }

    /// Closes the open segment at `end`.
    fn close(&mut self, end: u32) -> Result<(), ParseError> {
        let segments_max = self.segments_max;
        if self.index.segments.len() >= segments_max {
            return Err(ParseError::TooManySegments { offset: self.open.start as usize, segments_max });
        }
        self.open.end = end;
        self.open.separators = self.used as u32 - self.open.first;
        self.room()[0] = end;
        self.used += 1;
        self.index.segments.push(self.open);
        Ok(())
    }

    /// Room for one block of offsets.
    #[inline]
    fn room(&mut self) -> &mut [u32; BLOCK] {
        let needed = self.used + BLOCK;
        if self.index.offsets.len() < needed {
            self.index.offsets.resize(needed.next_power_of_two(), 0);
        }
        match self.index.offsets[self.used..].first_chunk_mut() {
            Some(room) => room,
            None => unreachable!("the buffer was grown to hold a block more"),
        }
    }
}

/// The field separators and the line ends of a block, a bit each.
#[inline]
fn masks<const LF: bool>(block: &[u8; BLOCK], separator: u8) -> (u64, u64) {
    let separators = bits(&block.map(|byte| u8::from(byte == separator)));
    let ends = block.map(|byte| u8::from(byte == b'\r' || LF && byte == b'\n'));
    let any = ends.iter().fold(0, |any, end| any | end) != 0;
    (separators, if any { bits(&ends) } else { 0 })
}

/// Bytes of 0 and 1 as bits: the multiplication moves the lowest bit of byte *i* to bit 56 + *i*, without carries.
#[inline]
fn bits(flags: &[u8; BLOCK]) -> u64 {
    let (words, _) = flags.as_chunks::<8>();
    let bit = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    words.iter().enumerate().fold(0, |mask, (at, word)| mask | bit(word) << (8 * at))
}

const BLOCK: usize = 64;
/// How many blocks without a delimiter make the scan leap.
const BARREN_BLOCKS: u32 = 2;
/// The longest name of a segment that is taken for one, if only an odd one.
const NAME_BYTES_MAX: usize = 4;
