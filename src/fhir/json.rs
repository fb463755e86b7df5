//! JSON text into a reused buffer. Nothing here allocates beyond the buffer's growth.

/// Appends a JSON string, quotes included. `text` is UTF-8; control characters that FHIR strings may not hold (all but tab, line feed, carriage return) are left out.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
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
fn plain_prefix(text: &[u8]) -> usize {
    let mut at = 0;
    // Eight bytes at a time: a byte below 0x20, a quote or a backslash sets its high bit in `found`.
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let found = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + text[at..].iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(text.len() - at)
}

/// How many bytes from the start are ASCII without `escape` and need no JSON escape: text that goes out as it came in.
pub fn verbatim_prefix(text: &[u8], escape: u8) -> usize {
    let mut at = 0;
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let found = (word & HIGH) | below(word, 0x20) | equal(word, b'"') | equal(word, b'\\') | equal(word, escape);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + text[at..]
        .iter()
        .position(|b| !(0x20..0x80).contains(b) || *b == b'"' || *b == b'\\' || *b == escape)
        .unwrap_or(text.len() - at)
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// High bit of every byte below `limit` (exact up to and including the lowest such byte; `limit` ≤ 0x80).
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(limit)) & !word & HIGH
}

/// High bit of every byte equal to `byte` (exact up to and including the lowest such byte).
fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (LOW * u64::from(byte));
    difference.wrapping_sub(LOW) & !difference & HIGH
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
    fn verbatim_stops_at_the_first_byte_that_needs_work() {
        assert_eq!(verbatim_prefix(b"abcdefgh\\F\\", b'\\'), 8);
        assert_eq!(verbatim_prefix("abcdefghijé".as_bytes(), b'\\'), 10);
        assert_eq!(verbatim_prefix(b"abc*defghijkl", b'*'), 3);
        assert_eq!(verbatim_prefix(b"plain", b'\\'), 5);
    }
}
