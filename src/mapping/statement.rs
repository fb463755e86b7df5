//! Statements of message maps: `cov = IN1.Coverage; beneficiary -> patient if 1 valued`.
use super::expression::{Condition, parse_condition};
use super::source::Link;

/// A statement without its place.
pub struct Parsed {
    /// Name of the resource.
    pub binding: String,
    /// `+=`.
    pub add: bool,
    /// `PID.Patient`.
    pub map: String,
    /// Links.
    pub links: Vec<Link>,
    /// Guard.
    pub guard: Option<Condition>,
}

/// Reads one statement.
///
/// # Errors
/// The byte offset and what was expected.
pub fn parse(text: &str) -> Result<Parsed, (usize, String)> {
    let (body, guard) = match text.find(" if ") {
        Some(at) => {
            let guard = parse_condition(&text[at + 4..])
                .map_err(|e| (at + 4 + e.offset, format!("expected {}", e.expected)))?;
            (&text[..at], Some(guard))
        }
        None => (text, None),
    };
    let mut parts = body.split(';');
    let head = parts.next().unwrap_or("");
    let Some((left, map)) = head.split_once('=') else {
        return Err((0, "expected `name = Map` or `name += Map`".into()));
    };
    let (binding, add) = match left.trim_end().strip_suffix('+') {
        Some(name) => (name.trim(), true),
        None => (left.trim(), false),
    };
    if binding.is_empty() || !binding.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err((0, format!("`{binding}` is no name: letters, digits and `_` only")));
    }
    let mut links = Vec::new();
    let mut offset = head.len() + 1;
    for part in parts {
        if !part.trim().is_empty() {
            let Some((path, to)) = part.split_once("->") else {
                return Err((offset, format!("expected `path -> name` instead of `{}`", part.trim())));
            };
            links.push(Link { path: path.trim().to_owned(), to: to.trim().to_owned() });
        }
        offset += part.len() + 1;
    }
    Ok(Parsed { binding: binding.to_owned(), add, map: map.trim().to_owned(), links, guard })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn statements_bind_add_link_and_guard() {
        let s = parse("acct = PID.Account; subject -> patient; patient.link[+].other -> acct if 18 valued").unwrap();
        assert_eq!((s.binding.as_str(), s.add, s.map.as_str(), s.links.len()), ("acct", false, "PID.Account", 2));
        assert!(s.guard.is_some());
        assert!(parse("patient += PD1.Patient").unwrap().add);
        assert!(parse("PID.Patient").is_err());
        assert_eq!(parse("a = B.C; subject patient").err().unwrap().0, 8);
    }
}
