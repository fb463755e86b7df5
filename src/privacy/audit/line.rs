//! One line of the chain, written and read.
use sha2::{Digest as _, Sha256};

/// Bytes of a line.
pub(super) const LINE_MAX: usize = 64 << 10;

/// SHA-256 of a line.
pub(super) type Hash = [u8; 32];

/// Before the first line.
pub(super) const NONE: Hash = [0; 32];

const MARK: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}\n";
/// `MARK`, 64 digits, `END`.
const TAIL: usize = 9 + 64 + 3;

/// Appends a line; its hash.
pub(super) fn write(out: &mut Vec<u8>, seq: u64, at_ms: i64, before: &Hash, event: impl FnOnce(&mut Vec<u8>)) -> Hash {
    let start = out.len();
    out.extend_from_slice(format!("{{\"seq\":{seq},\"at\":{at_ms},\"before\":\"").as_bytes());
    hexadecimal(out, before);
    out.extend_from_slice(b"\",\"event\":");
    event(out);
    let hash: Hash = Sha256::digest(out.get(start..).unwrap_or_default()).into();
    out.extend_from_slice(MARK);
    hexadecimal(out, &hash);
    out.extend_from_slice(END);
    hash
}

/// What a line says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub seq: u64,
    pub at_ms: i64,
    pub before: Hash,
    pub hash: Hash,
}

/// Reads a line with its line feed; what is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Line, &'static str> {
    let Some((body, tail)) = line.len().checked_sub(TAIL).and_then(|at| line.split_at_checked(at)) else {
        return Err("it is too short to be a line");
    };
    let digits = tail.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(END));
    let hash = digits.and_then(parse).ok_or("it does not end with its hash")?;
    if Hash::from(Sha256::digest(body)) != hash {
        return Err("its hash is not that of what it says");
    }
    header(body, hash).ok_or("it does not begin as a line does")
}

fn header(body: &[u8], hash: Hash) -> Option<Line> {
    let rest = body.strip_prefix(b"{\"seq\":")?;
    let (seq, rest) = number(rest)?;
    let (at_ms, rest) = number(rest.strip_prefix(b",\"at\":")?)?;
    let (before, rest) = rest.strip_prefix(b",\"before\":\"")?.split_at_checked(64)?;
    rest.strip_prefix(b"\",\"event\":{")?;
    Some(Line { seq: u64::try_from(seq).ok()?, at_ms, before: parse(before)?, hash })
}

fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    let (digits, rest) = text.split_at_checked(length)?;
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

pub(super) fn hexadecimal(out: &mut Vec<u8>, hash: &Hash) {
    for byte in hash {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).map_or(b'0', |digit| digit as u8));
        }
    }
}

/// 64 digits in small letters.
pub(super) fn parse(digits: &[u8]) -> Option<Hash> {
    let mut hash = NONE;
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
