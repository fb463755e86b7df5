//! Bytes searched eight at a time in plain `u64` arithmetic: most values of a message are too short for a vector search to pay.
//!
//! Each test sets the high bit of the bytes it finds; the first byte of the text is the lowest of the word.

/// The text as words, with the offset of each; the last one is filled up with blanks.
#[inline]
pub fn words(text: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let (whole, rest) = text.as_chunks::<8>();
    let at = whole.len() * 8;
    let whole = whole.iter().enumerate().map(|(number, word)| (number * 8, u64::from_le_bytes(*word)));
    whole.chain((!rest.is_empty()).then(|| (at, filled_up(rest))))
}

/// Where the first byte stands in `text[start..end]` that a test finds, else `end`. Whole words are read as long as the text goes on behind `end`.
#[inline]
pub fn find(text: &[u8], start: usize, end: usize, test: impl Fn(u64) -> u64) -> usize {
    let mut at = start;
    while at < end {
        let word = match text.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => filled_up(text.get(at..end).unwrap_or_default()),
        };
        let found = test(word);
        if found != 0 {
            return (at + first(found)).min(end);
        }
        at += 8;
    }
    end
}

/// Fewer than eight bytes as a word.
#[inline]
fn filled_up(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(LOW * u64::from(b' '), |word, byte| word << 8 | u64::from(*byte))
}

/// Which byte the lowest bit found belongs to.
#[inline]
pub fn first(found: u64) -> usize {
    (found.trailing_zeros() / 8) as usize
}

/// Bytes above 0x7F.
#[inline]
pub fn beyond_ascii(word: u64) -> u64 {
    word & HIGH
}

/// Bytes below `limit` (≤ 0x80); exact up to and including the lowest one.
#[inline]
pub fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(limit)) & !word & HIGH
}

/// Bytes equal to `byte`; exact up to and including the lowest one.
#[inline]
pub fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (LOW * u64::from(byte));
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// All bytes equal to `byte`, exactly.
#[inline]
pub fn each_equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (LOW * u64::from(byte));
    !(((difference & !HIGH) + !HIGH) | difference | !HIGH)
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_and_no_other() {
        for text in ["", "^", "a^b", "^^^^^^^^", "a^^_]b^c^defghij^", "\u{ff}^\u{80}^~^", "1234567^", "12345678^"] {
            let found: Vec<usize> = words(text.as_bytes())
                .flat_map(|(at, word)| {
                    let found = each_equal(word, b'^');
                    (0..8).filter(move |n| found >> (8 * n + 7) & 1 == 1).map(move |n| at + n)
                })
                .collect();
            let expected: Vec<usize> = text.bytes().enumerate().filter(|(_, b)| *b == b'^').map(|(n, _)| n).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
