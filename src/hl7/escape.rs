//! Escape sequences in values (HL7 v2 chapter 2, "Use of escape sequences in text fields").
//!
//! | sequence | becomes |
//! |---|---|
//! | `\F\ \S\ \T\ \R\ \E\ \P\` | the delimiter of the message |
//! | `\X0D0A\` | these bytes, in the character set of the message |
//! | `\.br\ \.sp\ \.ce\`, `\.sp3\` | a line break, three |
//! | `\.sk3\` | three blanks |
//! | `\H\ \N\`, other `\.xx\` | nothing, noted |
//! | `\C..\ \M..\` | nothing, noted: character set shifts are not followed |
//! | `\Z..\` | itself, noted |
//! | anything else | itself, noted |
use std::ops::{BitOr, BitOrAssign};

use super::charset::Charset;
use super::delimiters::Delimiters;

/// What was noticed while a value was decoded: a set of flags.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notes(u8);

impl Notes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A sequence that is none, kept as it stands.
    pub const BAD_ESCAPE: Self = Self(1);
    /// Bytes that are invalid in the declared character set.
    pub const UNDECODABLE: Self = Self(2);
    /// Highlighting or formatting was left out.
    pub const STRIPPED_FORMATTING: Self = Self(4);
    /// A local sequence (`\Z..\`) is kept as it stands.
    pub const LOCAL_ESCAPE: Self = Self(8);
    /// The character set was guessed to be windows-1252.
    pub const GUESSED_CHARSET: Self = Self(16);
    /// A character set shift (`\C..\`, `\M..\`) was left out.
    pub const CHARSET_SHIFT: Self = Self(32);

    /// Whether all of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when nothing was noticed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Notes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Notes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Appends a value to `out` as UTF-8, its escape sequences resolved.
///
/// ```
/// use handoff::hl7::{Charset, Delimiters, decode_into};
/// let mut out = Vec::new();
/// decode_into(br"Smith \T\ Sons", &Delimiters::default(), Charset::Utf8, &mut out);
/// assert_eq!(out, b"Smith & Sons");
/// ```
pub fn decode_into(value: &[u8], delimiters: &Delimiters, charset: Charset, out: &mut Vec<u8>) -> Notes {
    let start = out.len();
    let mut notes = Notes::NONE;
    let mut rest = value;
    if delimiters.escape != 0 {
        while let Some(at) = memchr::memchr(delimiters.escape, rest) {
            out.extend_from_slice(&rest[..at]);
            let body = &rest[at + 1..];
            let end = memchr::memchr(delimiters.escape, body);
            let resolved = end.and_then(|end| resolve(&body[..end], delimiters, charset, out).map(|seen| (end, seen)));
            rest = match resolved {
                Some((end, seen)) => {
                    notes |= seen;
                    &body[end + 1..]
                }
                None => {
                    notes |= Notes::BAD_ESCAPE;
                    out.push(delimiters.escape);
                    body
                }
            };
        }
    }
    out.extend_from_slice(rest);
    if out[start..].is_ascii() && !matches!(charset, Charset::Encoded(encoding) if !encoding.is_ascii_compatible()) {
        return notes;
    }
    match (charset.decode_tail(out, start), charset) {
        (true, _) => notes,
        (false, Charset::Utf8OrWindows1252) => notes | Notes::GUESSED_CHARSET,
        (false, _) => notes | Notes::UNDECODABLE,
    }
}

/// Writes what one sequence (without its escape characters) stands for; `None` when it is none.
fn resolve(body: &[u8], delimiters: &Delimiters, charset: Charset, out: &mut Vec<u8>) -> Option<Notes> {
    let (&letter, rest) = body.split_first()?;
    let delimiter = |byte: u8, usual: u8| if byte == 0 { usual } else { byte };
    let byte = match (letter, rest.is_empty()) {
        (b'F', true) => delimiters.field,
        (b'S', true) => delimiter(delimiters.component, b'^'),
        (b'T', true) => delimiter(delimiters.subcomponent, b'&'),
        (b'R', true) => delimiter(delimiters.repetition, b'~'),
        (b'E', true) => delimiters.escape,
        (b'P', true) => delimiter(delimiters.truncation, b'#'),
        (b'H' | b'N', true) => return Some(Notes::STRIPPED_FORMATTING),
        (b'X' | b'x', false) => return hex(rest, charset, out),
        (b'C' | b'M', false) if is_hex(rest) => return Some(Notes::CHARSET_SHIFT),
        (b'Z', false) => {
            out.push(delimiters.escape);
            out.extend_from_slice(body);
            out.push(delimiters.escape);
            return Some(Notes::LOCAL_ESCAPE);
        }
        (b'.', false) => return format(rest, out),
        _ => return None,
    };
    out.push(byte);
    Some(Notes::NONE)
}

/// The bytes of pairs of hexadecimal digits.
fn hex(digits: &[u8], charset: Charset, out: &mut Vec<u8>) -> Option<Notes> {
    if !is_hex(digits) {
        return None;
    }
    let start = out.len();
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    out.extend(digits.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])));
    match charset {
        Charset::Transcoded(encoding) if !Charset::Encoded(encoding).decode_tail(out, start) => {
            Some(Notes::UNDECODABLE)
        }
        _ => Some(Notes::NONE),
    }
}

fn is_hex(digits: &[u8]) -> bool {
    digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit)
}

/// A formatting command, without its dot.
fn format(command: &[u8], out: &mut Vec<u8>) -> Option<Notes> {
    let (name, count) = command.split_first_chunk::<2>()?;
    let count = count.strip_prefix(b"+").unwrap_or(count);
    if !count.strip_prefix(b"-").unwrap_or(count).iter().all(u8::is_ascii_digit) {
        return None;
    }
    let times =
        std::str::from_utf8(count).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(1).min(REPEATS_MAX);
    match &name.map(|letter| letter.to_ascii_lowercase()) {
        b"br" | b"ce" => out.push(b'\n'),
        b"sp" => out.resize(out.len() + times, b'\n'),
        b"sk" => out.resize(out.len() + times, b' '),
        b"fi" | b"nf" | b"in" | b"ti" => return Some(Notes::STRIPPED_FORMATTING),
        _ => return None,
    }
    Some(Notes::NONE)
}

/// Most lines or blanks that one command may skip.
const REPEATS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: &[u8], charset: Charset) -> (String, Notes) {
        let mut out = b"-".to_vec();
        let notes = decode_into(value, &Delimiters::default(), charset, &mut out);
        (String::from_utf8(out[1..].to_vec()).expect("UTF-8"), notes)
    }

    fn text(value: &str) -> String {
        decode(value.as_bytes(), Charset::Utf8).0
    }

    fn notes(value: &str) -> Notes {
        decode(value.as_bytes(), Charset::Utf8).1
    }

    #[test]
    fn delimiters() {
        assert_eq!(text(r"\F\\S\\T\\R\\E\\P\"), r"|^&~\#");
        assert_eq!(text(r"a\E\.br\E\b"), r"a\.br\b");
        let odd = Delimiters {
            field: b'$',
            component: b'%',
            repetition: b'*',
            escape: b'!',
            subcomponent: b'@',
            truncation: b'?',
        };
        let mut out = Vec::new();
        assert!(decode_into(br"!F!!S!!T!!R!!E!!P!\F\", &odd, Charset::Utf8, &mut out).is_empty());
        assert_eq!(out, br"$%@*!?\F\");
        let none = Delimiters { escape: 0, ..odd };
        out.clear();
        assert!(decode_into(br"\F\", &none, Charset::Utf8, &mut out).is_empty());
        assert_eq!(out, br"\F\");
    }

    #[test]
    fn formatting() {
        assert_eq!(text(r"a\.br\b\.sp\c\.sp3\d\.sp+2\e\.sk2\f\.ce\g"), "a\nb\nc\n\n\nd\n\ne  f\ng");
        assert_eq!((text(r"\H\bold\N\\.fi\"), notes(r"\H\")), ("bold".into(), Notes::STRIPPED_FORMATTING));
        assert_eq!(text(r"\.sp999999\").len(), 40);
        assert_eq!(notes(r"\.in+4\"), Notes::STRIPPED_FORMATTING);
    }

    #[test]
    fn bytes_in_the_character_set_of_the_message() {
        assert_eq!(text(r"\X41\\XC3A9\\XC3\\XA9\"), "Aéé");
        assert_eq!(decode(br"\XE9\", Charset::of_message(b"8859/1")), ("é".into(), Notes::NONE));
        assert_eq!(decode(br"\XB0A1\", Charset::of_message(b"GB 18030-2000")), ("啊".into(), Notes::NONE));
        assert_eq!(decode(b"\xE9", Charset::Utf8OrWindows1252), ("é".into(), Notes::GUESSED_CHARSET));
        assert_eq!(decode(br"\XE9\", Charset::Utf8), ("\u{FFFD}".into(), Notes::UNDECODABLE));
    }

    #[test]
    fn what_is_no_sequence_stays() {
        for value in
            [r"C:\dir\file", r"\", r"a\", r"\\", r"\Q\", r"\X4\", r"\XGG\", r"\.zz\", r"\.\", r"\FF\", r"\.br", r"\f\"]
        {
            assert_eq!((text(value), notes(value)), (value.into(), Notes::BAD_ESCAPE), "{value}");
        }
        assert_eq!(text(r"C:\dir\F\x"), r"C:\dir|x");
        assert_eq!((text(r"\Zlocal\"), notes(r"\Zlocal\")), (r"\Zlocal\".into(), Notes::LOCAL_ESCAPE));
        assert_eq!((text(r"\C2842\a\M242842\"), notes(r"\C2842\")), ("a".into(), Notes::CHARSET_SHIFT));
    }
}
