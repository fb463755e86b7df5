//! The scalars of a JSON text with their paths and positions. Only for text that this program wrote: what is no JSON gives no scalars, not an error.
//!
//! No recursion: the containers that are open stand on a stack.

/// A string, number or word of the text.
#[derive(Debug)]
pub struct Scalar<'s> {
    /// First byte, the quote of a string.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
    /// The objects and lists around it, outermost first.
    pub around: &'s [Container],
}

/// An object or list that is open, and what of it is at hand.
#[derive(Debug, Clone, Copy)]
pub struct Container {
    /// Its first byte, `{` or `[`.
    pub start: usize,
    /// What is at hand in it.
    pub at: Member,
}

/// A member of an object or list.
#[derive(Debug, Clone, Copy)]
pub enum Member {
    /// The name without its quotes, as bytes of the text.
    Name(usize, usize),
    /// The place in a list, from 0.
    Index(usize),
}

/// Calls `visit` for every scalar, in order.
pub fn scalars(text: &[u8], mut visit: impl FnMut(Scalar<'_>)) {
    let mut open: Vec<Container> = Vec::new();
    let mut names = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                names = *byte == b'{';
                open.push(Container { start: at, at: if names { Member::Name(at, at) } else { Member::Index(0) } });
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                at += 1;
            }
            b',' => {
                match open.last_mut().map(|c| &mut c.at) {
                    Some(Member::Index(number)) => *number += 1,
                    _ => names = true,
                }
                at += 1;
            }
            b'"' if names => {
                let end = string_end(text, at);
                if let Some(container) = open.last_mut() {
                    container.at = Member::Name(at + 1, end.saturating_sub(1));
                }
                names = false;
                at = end;
            }
            b':' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => {
                let end = if *byte == b'"' { string_end(text, at) } else { word_end(text, at) };
                visit(Scalar { start: at, end, around: &open });
                at = end;
            }
        }
    }
}

/// Behind the closing quote of the string that opens at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if text[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    text.len()
}

fn word_end(text: &[u8], start: usize) -> usize {
    let length = text[start..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
    length.map_or(text.len(), |n| start + n.max(1))
}

/// `entry[3].resource.birthDate`: the path that the containers around a scalar make.
pub fn path(text: &[u8], around: &[Container]) -> String {
    let mut path = String::new();
    for container in around {
        match container.at {
            Member::Name(start, end) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&String::from_utf8_lossy(text.get(start..end).unwrap_or_default()));
            }
            Member::Index(number) => path.push_str(&format!("[{number}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_has_its_path_and_bytes() {
        let text = br#"{"a":"x\"}","b":[{"c":1.50,"d":[true,"\\"]},"e"],"f":{},"g":null}"#;
        let mut found = Vec::new();
        scalars(text, |s| {
            found.push(format!("{}={}", path(text, s.around), String::from_utf8_lossy(&text[s.start..s.end])))
        });
        assert_eq!(
            found,
            [r#"a="x\"}""#, "b[0].c=1.50", "b[0].d[0]=true", r#"b[0].d[1]="\\""#, r#"b[1]="e""#, "g=null"]
        );
    }

    #[test]
    fn text_that_is_no_json_ends() {
        for text in [&b"\"abc"[..], b"{\"a", b"]]]", b"{,,}", b"[\"\\"] {
            scalars(text, |s| assert!(s.end <= text.len()));
        }
    }
}
