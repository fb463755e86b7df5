//! Finding the MSH of a message among a byte order mark, framing, blanks and junk.
use super::delimiters::is_delimiter;

/// Where the first `MSH` of `raw` begins; `None` when there is none.
///
/// It stands at the start of a line, whatever stands before that line. Only when no line begins with it, it may stand anywhere, if a punctuation character
/// follows (a log prefix before the first segment).
pub fn find_header(raw: &[u8]) -> Option<usize> {
    let mut anywhere = None;
    for at in memchr::memchr2_iter(b'M', b'm', raw) {
        let rest = &raw[at..];
        if !starts_header(rest, b"MSH") {
            continue;
        }
        if begins_line(&raw[..at]) {
            return Some(at);
        }
        if anywhere.is_none() && rest[3].is_ascii_punctuation() {
            anywhere = Some(at);
        }
    }
    anywhere
}

/// Whether bytes hold what ends a message in an MLLP frame, so that a receiver would see another message behind it.
pub fn holds_frame_end(raw: &[u8]) -> bool {
    memchr::memchr_iter(0x1C, raw).any(|at| matches!(raw.get(at + 1), Some(b'\r' | b'\n' | 0x0B)))
}

/// Whether `line` begins with the header segment `id` (in any case) and what can be its separator.
///
/// A letter or digit counts as separator only when it also closes the encoding characters, so that no word is taken for a header.
pub(super) fn starts_header(line: &[u8], id: &[u8; 3]) -> bool {
    let Some((name, rest)) = line.split_first_chunk::<3>() else {
        return false;
    };
    if !name.eq_ignore_ascii_case(id) {
        return false;
    }
    match rest.split_first() {
        None => false,
        Some((separator, rest)) if separator.is_ascii_alphanumeric() => {
            let encoding = &rest[..rest.len().min(6)];
            encoding
                .iter()
                .position(|byte| byte == separator)
                .is_some_and(|end| end >= 2 && encoding[..end].iter().any(u8::is_ascii_punctuation))
        }
        Some((separator, _)) => is_delimiter(*separator),
    }
}

/// Whether what stands before a position is a line end, or nothing but blanks, framing and byte order marks since the last one.
fn begins_line(before: &[u8]) -> bool {
    let mut rest = before;
    loop {
        rest = match rest {
            [] | [.., b'\r' | b'\n' | 0x0B | 0x1C] => return true,
            [head @ .., 0xEF, 0xBB, 0xBF] => head,
            [head @ .., b' ' | b'\t'] => head,
            _ => return false,
        }
    }
}
