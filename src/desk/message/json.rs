//! JSON as lines of a page. Only for text that this program wrote: what is no JSON gives odd lines, not an error.
//!
//! No recursion; the scalars are counted as `mapping::explain` counts them.

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    pub depth: usize,
    /// Without its quotes; empty in a list.
    pub key: &'t str,
    pub piece: Piece<'t>,
    pub comma: bool,
}

/// What stands on a line behind its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// `{`, `[`, `}`, `]`, `{}` or `[]`.
    Bracket(&'static str),
    /// The number of the scalar, from 0, and its text.
    Scalar(usize, &'t str),
}

/// The first so many lines, and how many there are.
pub(super) fn lines(text: &str, most: usize) -> (Vec<Line<'_>>, usize) {
    let bytes = text.as_bytes();
    let (mut lines, mut count, mut scalars, mut depth, mut at) = (Vec::new(), 0, 0, 0, 0);
    let mut key = "";
    while let Some(byte) = bytes.get(at) {
        let (piece, end, indent) = match byte {
            b'{' | b'[' => {
                let closed = bytes.get(at + 1) == Some(if *byte == b'{' { &b'}' } else { &b']' });
                let bracket = match (byte, closed) {
                    (b'{', true) => "{}",
                    (_, true) => "[]",
                    (b'{', false) => "{",
                    _ => "[",
                };
                let indent = depth;
                depth += usize::from(!closed);
                (Piece::Bracket(bracket), at + bracket.len(), indent)
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                (Piece::Bracket(if *byte == b'}' { "}" } else { "]" }), at + 1, depth)
            }
            b'"' => {
                let end = string_end(bytes, at);
                if bytes.get(end) == Some(&b':') {
                    key = text.get(at + 1..end - 1).unwrap_or_default();
                    at = end + 1;
                    continue;
                }
                scalars += 1;
                (Piece::Scalar(scalars - 1, text.get(at..end).unwrap_or_default()), end, depth)
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => {
                at += 1;
                continue;
            }
            _ => {
                let rest = bytes.get(at..).unwrap_or_default();
                let end =
                    rest.iter().position(|byte| b",}] \n\r\t".contains(byte)).map_or(bytes.len(), |n| at + n.max(1));
                scalars += 1;
                (Piece::Scalar(scalars - 1, text.get(at..end).unwrap_or_default()), end, depth)
            }
        };
        count += 1;
        if lines.len() < most {
            lines.push(Line { depth: indent, key, piece, comma: bytes.get(end) == Some(&b',') });
        }
        (key, at) = ("", end);
    }
    (lines, count)
}

/// Behind the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))) {
        if bytes.get(at + found) == Some(&b'"') {
            return at + found + 1;
        }
        at += found + 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_in_lines() {
        let text = r#"{"a":"x\"}:","b":[{"c":1.50},"e"],"f":{},"g":null}"#;
        let (lines, count) = lines(text, 100);
        let shown: Vec<String> = lines
            .iter()
            .map(|line| {
                let piece = match line.piece {
                    Piece::Bracket(bracket) => bracket.to_owned(),
                    Piece::Scalar(number, text) => format!("#{number} {text}"),
                };
                format!("{}{}:{piece}{}", line.depth, line.key, if line.comma { "," } else { "" })
            })
            .collect();
        assert_eq!(
            shown,
            [
                "0:{",
                r#"1a:#0 "x\"}:","#,
                "1b:[",
                "2:{",
                "3c:#1 1.50",
                "2:},",
                r#"2:#2 "e""#,
                "1:],",
                "1f:{},",
                "1g:#3 null",
                "0:}"
            ]
        );
        assert_eq!(count, 11);
        assert_eq!(super::lines(text, 3).0.len(), 3);
    }

    #[test]
    fn text_that_is_no_json_ends() {
        for text in ["\"abc", "{\"a", "]]]", "{,,}", "[\"\\", "{\"é"] {
            let _ = lines(text, 10);
        }
    }
}
