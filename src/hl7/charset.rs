//! Character sets of MSH-18 (HL7 table 0211), decoded per value; the few whose trail bytes can equal delimiters are transcoded as a whole first.
//!
//! | MSH-18 | read as |
//! |---|---|
//! | empty, `ASCII`, unknown | UTF-8 where valid, else windows-1252, which is noted |
//! | `UNICODE UTF-8`, `UNICODE` | UTF-8 |
//! | `8859/1` … `8859/15` | ISO 8859 (1 and 9 as their supersets windows-1252 and -1254, as browsers do) |
//! | `KS X 1001` | EUC-KR |
//! | `ISO IR14`, `ISO IR87`, `ISO IR159`, `GB 18030-2000`, `BIG-5`, `UNICODE UTF-16` | transcoded first ([`transcode`]) |
//! | any label of the WHATWG encoding standard | that encoding |
//!
//! `CNS 11643-1992` and `UNICODE UTF-32` are not supported and count as unknown.
use std::borrow::Cow;

use encoding_rs::{BIG5, EUC_KR, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::header::find_header;

/// How the bytes of a value become text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// Declared as UTF-8: what is invalid becomes U+FFFD.
    Utf8,
    /// Not declared: a value is UTF-8 if it is valid, else windows-1252.
    Utf8OrWindows1252,
    /// One whose delimiters are safe to find in the raw bytes.
    Encoded(&'static Encoding),
    /// The message has been made UTF-8 by [`transcode`]; only the bytes of `\X..\` escapes are still in this encoding.
    Transcoded(&'static Encoding),
}

impl Charset {
    /// The character set that the first repetition of MSH-18 names; `None` for a name that is not supported.
    ///
    /// An empty value gives [`Charset::Utf8OrWindows1252`].
    pub fn of_name(msh18: &[u8]) -> Option<Self> {
        let name = msh18.trim_ascii();
        let listed = NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        if let Some((_, charset)) = listed {
            return Some(*charset);
        }
        match name.strip_prefix(b"8859/").or_else(|| name.strip_prefix(b"8859-")) {
            Some(part) => {
                let mut label = *b"iso-8859-\0\0";
                label.get_mut(9..9 + part.len())?.copy_from_slice(part);
                let label = &label[..9 + part.len()];
                Encoding::for_label(label).map(Self::Encoded)
            }
            None => Encoding::for_label(name).map(Self::of_encoding),
        }
    }

    /// The character set of a message by MSH-18. The first repetition counts, an unknown name falls back to [`Charset::Utf8OrWindows1252`].
    ///
    /// ```
    /// use handoff::hl7::Charset;
    /// assert_eq!(Charset::of_message(b"UNICODE UTF-8"), Charset::Utf8);
    /// assert_eq!(Charset::of_message(b""), Charset::Utf8OrWindows1252);
    /// assert!(Charset::of_message(b"GB 18030-2000").needs_transcoding());
    /// ```
    pub fn of_message(msh18: &[u8]) -> Self {
        let first = msh18.split(|byte| *byte == b'~').find(|name| !name.is_empty()).unwrap_or_default();
        Self::of_name(first).unwrap_or(Self::Utf8OrWindows1252)
    }

    /// Whether trail bytes of this character set can look like delimiters, so that the message must go through [`transcode`] before it is parsed.
    pub fn needs_transcoding(self) -> bool {
        matches!(self, Self::Transcoded(_))
    }

    fn of_encoding(encoding: &'static Encoding) -> Self {
        let unsafe_trails = [BIG5, GB18030, encoding_rs::GBK, ISO_2022_JP, SHIFT_JIS, UTF_16BE, UTF_16LE];
        match encoding {
            _ if encoding == UTF_8 => Self::Utf8,
            _ if unsafe_trails.contains(&encoding) => Self::Transcoded(encoding),
            _ => Self::Encoded(encoding),
        }
    }

    /// Turns the bytes of `out` from `start` on, which are in this character set, into UTF-8 in place. False when some could not be read as declared.
    ///
    /// Decodes through buffers on the stack, so that a reused `out` costs no allocation.
    pub(super) fn decode_tail(self, out: &mut Vec<u8>, start: usize) -> bool {
        match self {
            Self::Encoded(encoding) => decode_tail_as(encoding, out, start),
            _ if std::str::from_utf8(&out[start..]).is_ok() => true,
            Self::Utf8OrWindows1252 => {
                decode_tail_as(WINDOWS_1252, out, start);
                false
            }
            Self::Utf8 | Self::Transcoded(_) => {
                decode_tail_as(UTF_8, out, start);
                false
            }
        }
    }
}

/// The message, or a whole file, as UTF-8 if its character set can hide delimiters; else the bytes as they are.
///
/// UTF-16 is known by its byte order mark or by zeros around `MSH`, FHS or BHS, the others by MSH-18 of the first message. What cannot be read becomes U+FFFD.
pub fn transcode(raw: &[u8]) -> Cow<'_, [u8]> {
    if let Some(encoding) = utf16(raw) {
        return encoded(encoding, raw);
    }
    match declared(raw).map(Charset::of_message) {
        // Says UTF-16 but is not: then it is most likely UTF-8, and left alone.
        Some(Charset::Transcoded(encoding)) if encoding != UTF_16BE && encoding != UTF_16LE => encoded(encoding, raw),
        _ => Cow::Borrowed(raw),
    }
}

/// The first repetition of MSH-18, found without an index.
fn declared(raw: &[u8]) -> Option<&[u8]> {
    let header = &raw[find_header(raw)?..];
    let end = memchr::memchr2(b'\r', b'\n', header).unwrap_or(header.len());
    let separator = *header.get(3)?;
    let name = header[..end].split(|&byte| byte == separator).nth(17)?;
    let repetition = *header.get(5).unwrap_or(&0);
    name.split(|&byte| byte == repetition).next()
}

/// UTF-16, by its first bytes.
fn utf16(raw: &[u8]) -> Option<&'static Encoding> {
    match raw {
        [0xFF, 0xFE, ..] | [b'M' | b'F' | b'B', 0, b'S' | b'H', 0, ..] => Some(UTF_16LE),
        [0xFE, 0xFF, ..] | [0, b'M' | b'F' | b'B', 0, b'S' | b'H', ..] => Some(UTF_16BE),
        _ => None,
    }
}

fn encoded(encoding: &'static Encoding, raw: &[u8]) -> Cow<'static, [u8]> {
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let size = decoder.max_utf8_buffer_length(raw.len()).unwrap_or(0);
    let mut text = vec![0; size];
    // The buffer holds the longest possible text, so one call reads it all.
    let (_, _, written, _) = decoder.decode_to_utf8(raw, &mut text, true);
    text.truncate(written);
    Cow::Owned(text)
}

/// Decodes in small pieces: the text is written behind the bytes, then moved over them.
fn decode_tail_as(encoding: &'static Encoding, out: &mut Vec<u8>, start: usize) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let end = out.len();
    let mut at = start;
    let mut clean = true;
    while at < end {
        let mut source = [0; PIECE_BYTES];
        let mut target = [0; PIECE_BYTES * 4];
        let size = (end - at).min(PIECE_BYTES);
        source[..size].copy_from_slice(&out[at..at + size]);
        let last = at + size == end;
        let (_, read, written, errors) = decoder.decode_to_utf8(&source[..size], &mut target, last);
        clean &= !errors;
        out.extend_from_slice(&target[..written]);
        at += read.max(1);
    }
    out.drain(start..end);
    clean
}

/// The names of table 0211 that are no labels of the encoding standard, and those whose meaning differs.
const NAMES: [(&str, Charset); 18] = [
    ("", Charset::Utf8OrWindows1252),
    ("ASCII", Charset::Utf8OrWindows1252),
    ("US-ASCII", Charset::Utf8OrWindows1252),
    ("ISO IR6", Charset::Utf8OrWindows1252),
    ("UNICODE", Charset::Utf8),
    ("UNICODE UTF-8", Charset::Utf8),
    ("UNICODE UTF-16", Charset::Transcoded(UTF_16BE)),
    ("UTF-16", Charset::Transcoded(UTF_16BE)),
    ("ISO IR14", Charset::Transcoded(SHIFT_JIS)),
    ("ISO IR87", Charset::Transcoded(ISO_2022_JP)),
    ("ISO IR159", Charset::Transcoded(ISO_2022_JP)),
    ("GB 18030-2000", Charset::Transcoded(GB18030)),
    ("GB 18030", Charset::Transcoded(GB18030)),
    ("BIG-5", Charset::Transcoded(BIG5)),
    ("KS X 1001", Charset::Encoded(EUC_KR)),
    ("SHIFT JIS", Charset::Transcoded(SHIFT_JIS)),
    ("UTF8", Charset::Utf8),
    ("CP1252", Charset::Encoded(WINDOWS_1252)),
];
const PIECE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(charset: Charset, bytes: &[u8]) -> (String, bool) {
        let mut out = [&b"kept "[..], bytes].concat();
        let clean = charset.decode_tail(&mut out, 5);
        assert!(out.starts_with(b"kept "));
        (String::from_utf8(out[5..].to_vec()).expect("UTF-8"), clean)
    }

    #[test]
    fn names_of_table_0211() {
        for name in [
            "8859/1",
            "8859/2",
            "8859/3",
            "8859/4",
            "8859/5",
            "8859/6",
            "8859/7",
            "8859/8",
            "8859/9",
            "8859/15",
            "ISO-8859-1",
            "windows-1250",
        ] {
            assert!(matches!(Charset::of_name(name.as_bytes()), Some(Charset::Encoded(_))), "{name}");
        }
        for name in ["UNICODE UTF-8", "unicode utf-8", "UTF-8", " UNICODE "] {
            assert_eq!(Charset::of_name(name.as_bytes()), Some(Charset::Utf8), "{name}");
        }
        for name in ["ISO IR87", "GB 18030-2000", "gbk", "BIG-5", "shift_jis", "UNICODE UTF-16"] {
            assert!(Charset::of_message(name.as_bytes()).needs_transcoding(), "{name}");
        }
        for name in ["KLINGON", "CNS 11643-1992", "8859/99999999", "8859/"] {
            assert_eq!(Charset::of_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn values_are_decoded_as_declared() {
        assert_eq!(decoded(Charset::of_message(b"8859/1"), b"M\xFCller"), ("Müller".into(), true));
        assert_eq!(decoded(Charset::of_message(b"8859/15"), b"\xA4"), ("€".into(), true));
        assert_eq!(decoded(Charset::of_message(b"8859/8"), b"\xF9\xEC\xE5\xED"), ("שלום".into(), true));
        assert_eq!(decoded(Charset::of_message(b"KS X 1001"), b"\xB1\xE8"), ("김".into(), true));
        assert_eq!(decoded(Charset::of_message(b""), "Müller".as_bytes()), ("Müller".into(), true));
        assert_eq!(decoded(Charset::of_message(b""), b"M\xFCller"), ("Müller".into(), false));
        assert_eq!(decoded(Charset::Utf8, b"M\xFCller"), ("M\u{FFFD}ller".into(), false));
    }

    #[test]
    fn long_values_are_decoded_piecewise() {
        let bytes = [0xB1, 0xE8].repeat(1000);
        assert_eq!(
            decoded(Charset::Encoded(EUC_KR), &[&b"x"[..], &bytes].concat()),
            (format!("x{}", "김".repeat(1000)), true)
        );
        assert_eq!(decoded(Charset::Utf8OrWindows1252, &[0xFC; 1000]).0, "ü".repeat(1000));
    }

    #[test]
    fn messages_with_hidden_delimiters_are_transcoded() {
        let header = "MSH|^~\\&|A|||||||||||||||SHIFT_JIS~ASCII\rPID|1|";
        let raw = [header.as_bytes(), b"\x83|\x83\x5C"].concat();
        assert_eq!(transcode(&raw), format!("{header}ポソ").as_bytes());
        let plain = b"MSH|^~\\&|A|||||||||||||||8859/1\rPID|\xFC";
        assert!(matches!(transcode(plain), Cow::Borrowed(same) if same == plain));
        let text = "MSH|^~\\&|A\rPID|é";
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let little: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!((transcode(&big), transcode(&little)), (text.as_bytes().into(), text.as_bytes().into()));
        let mislabelled = "MSH|^~\\&|A|||||||||||||||UNICODE UTF-16\rPID|é".as_bytes();
        assert_eq!(transcode(mislabelled), mislabelled);
    }
}
