//! Bodies of rows: parts, each a length of two bytes and its bytes.

/// Parts of an entry before its segments.
pub(super) const BEFORE_SEGMENTS: usize = 10;
/// Of them, the account (PID-18).
pub(super) const ACCOUNT: usize = 5;

/// The parts of a body, until what is none.
pub(super) fn parts(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (part, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        Some(part)
    })
}

/// A part of a body. Longer ones than can be told make the body too long anyway.
pub(super) fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
