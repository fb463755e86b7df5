//! Frames out of a byte stream: no I/O, no clock; resumes where it stopped and looks at each byte once.
//!
//! ```text
//!          other bytes (≤ idle_junk_bytes_max)
//!            ┌──┐
//!            ▼  │ 0B                1C                 0D
//!          ┌──────┐ ──▶ ┌──────┐ ──────▶ ┌───────────┐ ──▶ frame, idle again
//!          │ Idle │     │ Body │         │ BodyEnd   │ ──▶ other byte: strict → violation; lenient → 0B ends the frame, else data
//!          └──────┘     └──────┘ ◀─────▶ ┌───────────┐
//!                                  0B    │ BodyStart │ ──▶ MSH follows: the partial is dropped, a new frame began
//!                                        └───────────┘
//! ```
//!
//! Body bytes are copied once, into the frame that is handed out. A frame that has begun and never ends is given up by whoever holds the clock.
use super::{END, RETURN, START};
use memchr::memchr2;

/// What follows a start byte inside a body when the sender began again.
const RESTART: &[u8; 3] = b"MSH";

/// How the end of a frame is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `1C` must be followed by `0D`.
    #[default]
    Strict,
    /// `1C` also ends a frame when `0B` follows, or nothing for a while.
    Lenient,
}

/// What the decoder accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// How the end of a frame is judged.
    pub framing: Framing,
    /// Largest message in bytes, without the frame's own three.
    pub frame_bytes_max: usize,
    /// Bytes that may stand between frames (CR and LF are free).
    pub idle_junk_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { framing: Framing::Strict, frame_bytes_max: 16 << 20, idle_junk_bytes_max: 1024 }
    }
}

/// What the bytes so far have shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole frame.
    Frame(Frame),
    /// The sender began again in the middle of a frame: this many bytes were dropped, and never acknowledged.
    Restarted {
        /// Bytes of the partial message.
        dropped_bytes: usize,
    },
}

/// The bytes between `0B` and `1C 0D`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The message.
    pub bytes: Vec<u8>,
    /// Framing bytes that stood inside the message and were taken as data.
    pub odd_bytes: u32,
}

/// Why a stream cannot be read any further; the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More than the allowed junk came without a start byte.
    #[error("{bytes} bytes outside any frame (a frame starts with 0x0B); is the peer speaking MLLP?")]
    Junk {
        /// Bytes seen.
        bytes: usize,
    },
    /// The message is larger than `frame_bytes_max`.
    #[error("frame larger than {limit} bytes; raise frame_bytes_max if the sender is right")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// `1C` without `0D` under strict framing.
    #[error("0x1C was followed by {next:#04x} instead of 0x0D; framing = \"lenient\" accepts such senders")]
    EndWithoutReturn {
        /// The byte that came.
        next: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle {
        junk: usize,
    },
    Body,
    /// After `0B` in a body and this many bytes of [`RESTART`].
    BodyStart {
        matched: usize,
    },
    /// After `1C`.
    BodyEnd,
}

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
    state: State,
    frame: Frame,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(options: Options) -> Decoder {
        Decoder { options, state: State::Idle { junk: 0 }, frame: Frame::default() }
    }

    /// Takes bytes from the front of `input` up to and including the next event; `None` when all are taken.
    ///
    /// # Errors
    /// A [`Violation`]; the stream is then beyond repair.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        while let Some((&byte, rest)) = input.split_first() {
            let event = match self.state {
                State::Idle { junk } => {
                    self.idle(input, junk)?;
                    None
                }
                State::Body => {
                    self.body(input)?;
                    None
                }
                State::BodyStart { matched } => self.body_start(byte, rest, input, matched)?,
                State::BodyEnd => self.body_end(byte, rest, input)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Bytes of the frame that has begun, `None` between frames.
    pub fn partial_bytes(&self) -> Option<usize> {
        (!matches!(self.state, State::Idle { .. })).then_some(self.frame.bytes.len())
    }

    /// Whether a frame would be whole if nothing more came (lenient framing, after `1C`).
    pub fn may_finish(&self) -> bool {
        self.state == State::BodyEnd && self.options.framing == Framing::Lenient
    }

    /// Ends a frame for which [`Decoder::may_finish`] holds: the peer has been silent, or has closed.
    pub fn finish(&mut self) -> Option<Frame> {
        self.may_finish().then(|| self.take(State::Idle { junk: 0 }))
    }

    fn idle(&mut self, input: &mut &[u8], junk: usize) -> Result<(), Violation> {
        let start = memchr::memchr(START, input);
        let before = &input[..start.unwrap_or(input.len())];
        let junk = junk + before.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).count();
        if junk > self.options.idle_junk_bytes_max {
            return Err(Violation::Junk { bytes: junk });
        }
        *input = &input[before.len()..];
        self.state = State::Idle { junk };
        if start.is_some() {
            *input = &input[1..];
            self.state = State::Body;
        }
        Ok(())
    }

    fn body(&mut self, input: &mut &[u8]) -> Result<(), Violation> {
        let found = memchr2(START, END, input);
        let (data, rest) = input.split_at(found.unwrap_or(input.len()));
        self.data(data)?;
        *input = rest;
        if let Some((&byte, rest)) = rest.split_first() {
            *input = rest;
            self.state = if byte == START { State::BodyStart { matched: 0 } } else { State::BodyEnd };
        }
        Ok(())
    }

    fn body_start<'a>(
        &mut self,
        byte: u8,
        rest: &'a [u8],
        input: &mut &'a [u8],
        matched: usize,
    ) -> Result<Option<Event>, Violation> {
        if byte != RESTART[matched] {
            // The start byte and what followed it were data; this byte is looked at again as part of the body.
            self.data(&[START])?;
            self.data(&RESTART[..matched])?;
            self.frame.odd_bytes += 1;
            self.state = State::Body;
            return Ok(None);
        }
        *input = rest;
        if matched + 1 < RESTART.len() {
            self.state = State::BodyStart { matched: matched + 1 };
            return Ok(None);
        }
        let dropped_bytes = self.take(State::Body).bytes.len();
        self.data(RESTART)?;
        Ok(Some(Event::Restarted { dropped_bytes }))
    }

    fn body_end<'a>(&mut self, byte: u8, rest: &'a [u8], input: &mut &'a [u8]) -> Result<Option<Event>, Violation> {
        if byte == RETURN {
            *input = rest;
            return Ok(Some(Event::Frame(self.take(State::Idle { junk: 0 }))));
        }
        if self.options.framing == Framing::Strict {
            return Err(Violation::EndWithoutReturn { next: byte });
        }
        if byte == START {
            *input = rest;
            return Ok(Some(Event::Frame(self.take(State::Body))));
        }
        self.data(&[END])?;
        self.frame.odd_bytes += 1;
        self.state = State::Body;
        Ok(None)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.frame.bytes.len() + bytes.len() > self.options.frame_bytes_max {
            return Err(Violation::TooLarge { limit: self.options.frame_bytes_max });
        }
        self.frame.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn take(&mut self, next: State) -> Frame {
        self.state = next;
        std::mem::take(&mut self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]], options: Options) -> (Vec<Event>, Option<Violation>, Decoder) {
        let mut decoder = Decoder::new(options);
        let mut events = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(violation) => return (events, Some(violation), decoder),
                }
            }
        }
        (events, None, decoder)
    }

    fn frame(bytes: &[u8], odd_bytes: u32) -> Event {
        Event::Frame(Frame { bytes: bytes.to_vec(), odd_bytes })
    }

    fn lenient() -> Options {
        Options { framing: Framing::Lenient, ..Options::default() }
    }

    /// What a stream holds, found the slow and obvious way: the whole stream at hand, byte by byte.
    const CASES: &[(&[u8], Framing)] = &[
        (b"\x0bMSH|a\x1c\r\x0bMSH|b\x1c\r", Framing::Strict),
        (b"\r\njunk\r\n\x0bMSH|a\rPID|1\r\x1c\r\r\n\x0b\x1c\r", Framing::Strict),
        (b"\x0bMSH|half\r\x0bMSH|whole\x1c\r", Framing::Strict),
        (b"\x0bMSH|a\x0bMS\x0bMM\x0b\x0bx\x1c\r", Framing::Strict),
        (b"\x0bMSH|a\x0bM\x1c\r\x0bMSH|b\x1c\r", Framing::Strict),
        (b"\x0b\x0bMSH|a\x1c\r", Framing::Strict),
        (b"\x0bMSH|a\x1c\x0bMSH|b\x1cdata\x1c\x1c\r", Framing::Lenient),
        (b"\x0bMSH|a\x1c\r\x0bMSH|b\x1cX\x0bMSH", Framing::Strict),
    ];

    #[test]
    fn every_split_gives_the_same_frames() {
        for (stream, framing) in CASES {
            let options = Options { framing: *framing, ..Options::default() };
            let (whole, violation, _) = decode(&[stream], options);
            assert!(!whole.is_empty());
            for at in 0..=stream.len() {
                let (left, right) = stream.split_at(at);
                let (events, error, _) = decode(&[left, right], options);
                assert_eq!((&events, error), (&whole, violation), "split at {at} of {stream:?}");
            }
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(decode(&bytes, options).0, whole, "byte by byte: {stream:?}");
        }
    }

    #[test]
    fn several_frames_in_one_read_all_count() {
        let (events, _, _) = decode(&[CASES[0].0], Options::default());
        assert_eq!(events, [frame(b"MSH|a", 0), frame(b"MSH|b", 0)]);
    }

    #[test]
    fn a_start_before_msh_drops_the_partial() {
        let (events, _, _) = decode(&[CASES[2].0], Options::default());
        assert_eq!(events, [Event::Restarted { dropped_bytes: 9 }, frame(b"MSH|whole", 0)]);
    }

    #[test]
    fn other_start_bytes_are_data_and_counted() {
        let (events, _, _) = decode(&[CASES[3].0], Options::default());
        assert_eq!(events, [frame(b"MSH|a\x0bMS\x0bMM\x0b\x0bx", 4)]);
        let (events, _, _) = decode(&[CASES[4].0], Options::default());
        assert_eq!(events, [frame(b"MSH|a\x0bM", 1), frame(b"MSH|b", 0)]);
    }

    #[test]
    fn end_without_return() {
        let (events, violation, _) = decode(&[b"\x0bMSH\x1c\x0bMSH"], Options::default());
        assert_eq!((events.len(), violation), (0, Some(Violation::EndWithoutReturn { next: START })));
        let (events, _, _) = decode(&[CASES[6].0], lenient());
        assert_eq!(events, [frame(b"MSH|a", 0), frame(b"MSH|b\x1cdata\x1c", 2)]);
        let (events, _, mut decoder) = decode(&[b"\x0bMSH|a\x1c"], lenient());
        assert!(events.is_empty() && decoder.may_finish());
        assert_eq!(decoder.finish().map(|frame| frame.bytes), Some(b"MSH|a".to_vec()));
        let (events, violation, _) = decode(&[b"\x0bMSH|a\x1c", b"\r\r\n\x0bMSH|b\x1c\r"], lenient());
        assert_eq!((events.len(), violation), (2, None));
    }

    #[test]
    fn caps_hold() {
        let junk = vec![b'x'; 1025];
        assert!(decode(&[&junk[..1024]], Options::default()).1.is_none());
        assert_eq!(decode(&[&junk], Options::default()).1, Some(Violation::Junk { bytes: 1025 }));
        assert!(decode(&[&[b'\n'; 5000]], Options::default()).1.is_none(), "line ends between frames are free");
        let options = Options { frame_bytes_max: 4, ..Options::default() };
        assert_eq!(decode(&[b"\x0bMSH|\x1c\r"], options).0.len(), 1);
        assert_eq!(decode(&[b"\x0bMSH|x\x1c\r"], options).1, Some(Violation::TooLarge { limit: 4 }));
    }

    #[test]
    fn the_end_of_the_stream_inside_a_frame_is_no_frame() {
        let (events, _, mut decoder) = decode(&[b"\x0bMSH|a"], lenient());
        assert!(events.is_empty() && decoder.finish().is_none());
        assert_eq!(decoder.partial_bytes(), Some(5));
    }
}
