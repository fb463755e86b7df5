//! Files of many messages: batches (`FHS BHS MSH… BTS FTS`), messages one after the other, MLLP frames as a dump holds them (HL7 v2 chapter 2, "Batch protocol").
//!
//! [`split`] only looks at the beginnings of lines. Each message runs from its MSH to the line before the next MSH, FHS, BHS, BTS or FTS, or to the end of its frame. What lies
//! in no message and is no envelope is reported, not lost. UTF-16 files go through [`transcode`](super::charset::transcode) first.
use std::ops::Range;

use super::header::starts_header;
use super::span::SegmentId;

/// The messages of a file, in order: where each begins and ends.
#[derive(Debug)]
pub struct Split<'a> {
    raw: &'a [u8],
    at: usize,
    /// Start of the message that is being read.
    message: Option<usize>,
    /// End of its last line that is not blank.
    message_end: usize,
    /// Start of bytes that belong to nothing.
    stray: Option<usize>,
    stray_end: usize,
    /// The last line closed an MLLP frame.
    frame_ended: bool,
    messages: usize,
    envelopes: Envelopes,
    notes: Vec<BatchNote>,
}

/// What was noticed while splitting. Offsets count from the start of the file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BatchNote {
    /// Bytes that belong to no message and no envelope.
    #[error("bytes {} to {}: belong to no message", span.start, span.end)]
    Stray {
        /// Where they are.
        span: Range<usize>,
    },
    /// BTS-1 differs from what the batch holds.
    #[error("byte {offset}: BTS-1 says {stated} messages, the batch holds {found}")]
    MessageCount {
        /// Start of the BTS.
        offset: usize,
        /// What BTS-1 says.
        stated: u64,
        /// How many there are.
        found: u64,
    },
    /// FTS-1 differs from what the file holds.
    #[error("byte {offset}: FTS-1 says {stated} batches, the file holds {found}")]
    BatchCount {
        /// Start of the FTS.
        offset: usize,
        /// What FTS-1 says.
        stated: u64,
        /// How many there are.
        found: u64,
    },
    /// BTS-1 or FTS-1 is no number.
    #[error("byte {offset}: the count in {segment}-1 is no number")]
    CountUnreadable {
        /// Start of the segment.
        offset: usize,
        /// BTS or FTS.
        segment: SegmentId,
    },
    /// A header without its trailer: the file may have been cut.
    #[error("byte {offset}: {segment} is never closed: was the file cut?")]
    Unclosed {
        /// Start of the header.
        offset: usize,
        /// BHS or FHS.
        segment: SegmentId,
    },
    /// A trailer without its header.
    #[error("byte {offset}: {segment} closes nothing")]
    Unopened {
        /// Start of the trailer.
        offset: usize,
        /// BTS or FTS.
        segment: SegmentId,
    },
}

/// Splits a file into its messages. When no line of a file that is not blank begins with MSH, it is given as one, so that parsing it says what is wrong.
///
/// ```
/// use handoff::hl7::split;
/// let file = b"BHS|^~\\&|A\rMSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rBTS|3\r";
/// let mut messages = split(file);
/// assert_eq!(messages.by_ref().map(|span| file[span].len()).collect::<Vec<_>>(), [16, 10]);
/// assert_eq!(messages.notes()[0].to_string(), "byte 39: BTS-1 says 3 messages, the batch holds 2");
/// ```
pub fn split(raw: &[u8]) -> Split<'_> {
    Split {
        raw,
        at: 0,
        message: None,
        message_end: 0,
        stray: None,
        stray_end: 0,
        frame_ended: false,
        messages: 0,
        envelopes: Envelopes::default(),
        notes: Vec::new(),
    }
}

/// Whether a file, or a frame, begins with the header of a file or a batch.
pub fn is_batch(raw: &[u8]) -> bool {
    let mut split = split(raw);
    while let Some(line) = split.line() {
        match kind(&raw[line]) {
            Line::Blank => {}
            Line::Header(_) => return true,
            _ => return false,
        }
    }
    false
}

/// The first line that begins with a header segment (BHS or FHS), without its end.
pub(super) fn header_line<'a>(raw: &'a [u8], id: &[u8; 3]) -> Option<&'a [u8]> {
    let mut split = split(raw);
    while let Some(line) = split.line() {
        let text = &raw[line];
        if matches!(kind(text), Line::Header(found) if found == *id) {
            return Some(text);
        }
    }
    None
}

/// What a line begins.
enum Line {
    Blank,
    Message,
    Header([u8; 3]),
    Trailer([u8; 3]),
    Other,
}

/// The envelopes that are open.
#[derive(Debug, Default)]
struct Envelopes {
    file: Option<usize>,
    batch: Option<usize>,
    batches: u64,
    batch_messages: u64,
    /// There has been a header.
    seen: bool,
}

impl Split<'_> {
    /// What has been noticed so far; complete when the iterator has ended.
    pub fn notes(&self) -> &[BatchNote] {
        &self.notes
    }

    /// Ends the message that is being read.
    fn finish_message(&mut self) -> Option<Range<usize>> {
        let start = self.message.take()?;
        self.messages += 1;
        self.envelopes.batch_messages += 1;
        Some(start..self.message_end)
    }

    fn finish_stray(&mut self) {
        if let Some(start) = self.stray.take() {
            self.notes.push(BatchNote::Stray { span: start..self.stray_end });
        }
    }

    fn header(&mut self, id: [u8; 3], offset: usize) {
        self.envelopes.seen = true;
        if id == *b"FHS" {
            self.close_batch_unfinished();
            self.close_file_unfinished();
            (self.envelopes.file, self.envelopes.batches) = (Some(offset), 0);
        } else {
            self.close_batch_unfinished();
            (self.envelopes.batch, self.envelopes.batch_messages) = (Some(offset), 0);
            self.envelopes.batches += 1;
        }
    }

    fn trailer(&mut self, id: [u8; 3], offset: usize, line: &[u8]) {
        let segment = SegmentId(id);
        let is_file = id == *b"FTS";
        if is_file {
            self.close_batch_unfinished();
        }
        let opened = if is_file { self.envelopes.file.take() } else { self.envelopes.batch.take() };
        if opened.is_none() {
            self.notes.push(BatchNote::Unopened { offset, segment });
        }
        let found = if is_file { self.envelopes.batches } else { self.envelopes.batch_messages };
        let count = line
            .get(4..)
            .unwrap_or_default()
            .split(|byte| Some(byte) == line.get(3))
            .next()
            .unwrap_or_default()
            .trim_ascii();
        match std::str::from_utf8(count).ok().and_then(|digits| digits.parse::<u64>().ok()) {
            _ if count.is_empty() => {}
            None => self.notes.push(BatchNote::CountUnreadable { offset, segment }),
            Some(stated) if stated == found => {}
            Some(stated) if is_file => self.notes.push(BatchNote::BatchCount { offset, stated, found }),
            Some(stated) => self.notes.push(BatchNote::MessageCount { offset, stated, found }),
        }
        if is_file {
            self.envelopes.batches = 0;
        } else {
            self.envelopes.batch_messages = 0;
        }
    }

    fn close_batch_unfinished(&mut self) {
        if let Some(offset) = self.envelopes.batch.take() {
            self.notes.push(BatchNote::Unclosed { offset, segment: SegmentId(*b"BHS") });
        }
    }

    fn close_file_unfinished(&mut self) {
        if let Some(offset) = self.envelopes.file.take() {
            self.notes.push(BatchNote::Unclosed { offset, segment: SegmentId(*b"FHS") });
        }
    }

    /// The next line without its end: where it begins, after blanks, and ends.
    fn line(&mut self) -> Option<Range<usize>> {
        let rest = self.raw.get(self.at..).filter(|rest| !rest.is_empty())?;
        let ends = memchr::memchr3_iter(b'\r', b'\n', END_BLOCK, rest).map(|at| self.at + at);
        // A text may hold the byte of an end block; only one before a line end, a start block or the end of the file is one.
        let ends_frame = |at: usize| matches!(self.raw.get(at + 1).copied(), None | Some(b'\r' | b'\n' | START_BLOCK));
        let end = ends.into_iter().find(|&at| self.raw[at] != END_BLOCK || ends_frame(at)).unwrap_or(self.raw.len());
        self.frame_ended = self.raw.get(end) == Some(&END_BLOCK);
        let mut start = self.at;
        while let Some(blank) = blank_length(&self.raw[start..end]) {
            start += blank;
        }
        self.at = (end + 1).min(self.raw.len());
        Some(start..end)
    }

    /// Takes the next line; gives the message that it ends, if it does.
    fn step(&mut self, line: Range<usize>) -> Option<Range<usize>> {
        let text = &self.raw[line.clone()];
        match kind(text) {
            Line::Blank => None,
            Line::Message => {
                self.finish_stray();
                let finished = self.finish_message();
                (self.message, self.message_end) = (Some(line.start), line.end);
                finished
            }
            Line::Header(id) => {
                self.finish_stray();
                let finished = self.finish_message();
                self.header(id, line.start);
                finished
            }
            Line::Trailer(id) => {
                self.finish_stray();
                let finished = self.finish_message();
                self.trailer(id, line.start, text);
                finished
            }
            Line::Other => {
                if self.message.is_some() {
                    self.message_end = line.end;
                } else {
                    self.stray.get_or_insert(line.start);
                    self.stray_end = line.end;
                }
                None
            }
        }
    }
}

impl Iterator for Split<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let frame_ended = std::mem::take(&mut self.frame_ended);
            if let Some(message) = self.message.filter(|_| frame_ended).and_then(|_| self.finish_message()) {
                return Some(message);
            }
            let Some(line) = self.line() else { break };
            if let Some(message) = self.step(line) {
                return Some(message);
            }
        }
        if let Some(message) = self.finish_message() {
            return Some(message);
        }
        let only_stray = self.messages == 0 && !self.envelopes.seen;
        if let Some(start) = self.stray.filter(|_| only_stray) {
            self.stray = None;
            self.messages = 1;
            return Some(start..self.stray_end);
        }
        self.finish_stray();
        self.close_batch_unfinished();
        self.close_file_unfinished();
        None
    }
}

fn kind(line: &[u8]) -> Line {
    if line.is_empty() {
        return Line::Blank;
    }
    if starts_header(line, b"MSH") {
        return Line::Message;
    }
    for id in [b"FHS", b"BHS"] {
        if starts_header(line, id) {
            return Line::Header(*id);
        }
    }
    for id in [b"BTS", b"FTS"] {
        let named = line.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(id));
        if named && line.get(3).is_none_or(u8::is_ascii_punctuation) {
            return Line::Trailer(*id);
        }
    }
    Line::Other
}

/// The length of what may be skipped at the start of a line.
fn blank_length(line: &[u8]) -> Option<usize> {
    match line {
        [b' ' | b'\t' | START_BLOCK, ..] => Some(1),
        [0xEF, 0xBB, 0xBF, ..] => Some(3),
        _ => None,
    }
}

const START_BLOCK: u8 = 0x0B;
const END_BLOCK: u8 = 0x1C;

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
