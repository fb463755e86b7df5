//! JSON text into a reused buffer. Nothing here allocates beyond the buffer's growth.
use crate::words::{below, beyond_ascii, equal, find};

/// Appends a JSON string, quotes included. `text` is UTF-8; control characters that FHIR strings may not hold (all but tab, line feed, carriage return) are left out.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends `text[start..end]`. Most pieces are short: copying a fixed number of bytes and cutting them costs less than a call that copies just as many.
#[inline]
pub fn copy(out: &mut Vec<u8>, text: &[u8], start: usize, end: usize) {
    const CHUNK: usize = 32;
    let length = out.len();
    match text.get(start..).and_then(|rest| rest.first_chunk::<CHUNK>()) {
        Some(chunk) if end.saturating_sub(start) <= CHUNK => {
            out.extend_from_slice(chunk);
            out.truncate(length + end.saturating_sub(start));
        }
        _ => out.extend_from_slice(text.get(start..end).unwrap_or_default()),
    }
}

/// The same without the quotes, for strings written in pieces.
pub fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(byte) = rest.get(plain) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {}
        }
        rest = &rest[plain + 1..];
    }
}

/// How many bytes from the start can stand in a JSON string as they are.
#[inline]
fn plain_prefix(text: &[u8]) -> usize {
    find(text, 0, text.len(), |word| below(word, 0x20) | equal(word, b'"') | equal(word, b'\\'))
}

/// Whether `text[start..end]` is ASCII without `escape` that needs no JSON escape: text that goes out as it came in.
#[inline]
pub fn verbatim(text: &[u8], start: usize, end: usize, escape: u8) -> bool {
    let special =
        |word| beyond_ascii(word) | below(word, 0x20) | equal(word, b'"') | equal(word, b'\\') | equal(word, escape);
    find(text, start, end, special) == end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_back_as_they_were() {
        for text in [
            "",
            "plain text that is long enough",
            "a \"quote\" and \\ back",
            "tab\tline\nreturn\r",
            "Zürich – Ἀθῆναι 漢字 and more",
            "1234567\"",
            "12345678\\",
        ] {
            let mut out = Vec::new();
            string(&mut out, text.as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_are_left_out() {
        let mut out = Vec::new();
        string(&mut out, b"a\x00b\x1fc\x0b");
        assert_eq!(out, b"\"abc\"");
    }

    #[test]
    fn verbatim_text_needs_no_work() {
        let text = "plain text é \\F\\ \"quoted\" *".as_bytes();
        let good = |start: usize, end: usize, escape| verbatim(text, start, end, escape);
        assert!(good(0, 11, b'\\') && good(3, 3, b'\\'));
        assert!(!good(0, 12, b'\\'), "beyond ASCII");
        assert!(!good(14, 17, b'$'), "a backslash needs an escape of JSON");
        assert!(!good(18, 20, b'\\'), "so does a quote");
        let end = text.len();
        assert!(!good(end - 1, end, b'*'), "the escape character of the message");
        assert!(good(end - 1, end, b'\\'));
    }
}
