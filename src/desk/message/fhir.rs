//! The Bundle, with each value linked to the fields that it came from.
use super::MASKED;
use super::er7::{Leaf, cut};
use super::json::{Line, Piece, lines};
use super::mask::is_plain_value;
use crate::mapping::explain::{Explained, Explanation, Origin};
use maud::{Markup, html};

/// The lines of the Bundle, at most so many, and how many there are beyond.
pub(super) fn bundle(
    bundle: &[u8],
    explained: &Explained,
    leaves: &[Leaf<'_>],
    phi: bool,
    most: usize,
) -> (Markup, usize) {
    let text = String::from_utf8_lossy(bundle);
    let (lines, count) = lines(&text, most);
    let from = sources(explained, leaves);
    let markup = html! {
        pre.json { @for line in &lines { (one(line, explained, leaves, &from, phi)) "\n" } }
    };
    (markup, count - lines.len())
}

/// The leaves that each value came from.
fn sources(explained: &Explained, leaves: &[Leaf<'_>]) -> Vec<Vec<usize>> {
    let mut from = vec![Vec::new(); explained.values.len()];
    for (number, leaf) in leaves.iter().enumerate() {
        leaf.to
            .iter()
            .for_each(|value| from.get_mut(*value).into_iter().for_each(|from: &mut Vec<usize>| from.push(number)));
    }
    from
}

fn one(line: &Line<'_>, explained: &Explained, leaves: &[Leaf<'_>], from: &[Vec<usize>], phi: bool) -> Markup {
    html! {
        ("  ".repeat(line.depth))
        @if !line.key.is_empty() { span.key { "\"" (line.key) "\"" } ": " }
        @match line.piece {
            Piece::Bracket(bracket) => (bracket),
            Piece::Scalar(number, text) => {
                @if let Some(value) = explained.values.get(number) {
                    (scalar(line.key, number, text, value, leaves, from.get(number).map_or(&[][..], Vec::as_slice), phi))
                } @else if phi { (cut(text)) } @else { (MASKED) }
            }
        }
        @if line.comma { "," }
    }
}

fn scalar(
    key: &str,
    number: usize,
    text: &str,
    value: &Explanation,
    leaves: &[Leaf<'_>],
    from: &[usize],
    phi: bool,
) -> Markup {
    let kind = match text.as_bytes().first() {
        Some(b'"') => "string",
        _ => "number",
    };
    let origin = if from.is_empty() { "literal" } else { "mapped" };
    let rule = match &value.origin {
        Origin::Rule(rule) => rule.to_string(),
        Origin::Bundle(how) => format!("the Bundle itself: {how}"),
        Origin::Unknown => "unknown; please report this".to_owned(),
    };
    let row = value.row.as_ref().map(|row| format!("{} `{}` ({}:{})", row.table, row.code, row.file, row.line));
    let ids: Vec<String> = from.iter().map(|number| format!("l{number}")).collect();
    // One of several parts that is not to be seen hides the whole.
    let plain = !from.is_empty() && from.iter().all(|number| leaves.get(*number).is_some_and(|leaf| leaf.plain));
    html! {
        span class={ "value " (kind) " " (origin) } id={ "v" (number) } data-from=(ids.join(" ")) data-path=(value.name) data-rule=(rule) data-row=[row] {
            @if phi || is_plain_value(key, value, plain) { (cut(text)) } @else { (MASKED) }
        }
    }
}

/// The Bundle as it is, where nothing explains it.
pub(super) fn plainly(bundle: &[u8], phi: bool, most: usize) -> (Markup, usize) {
    self::bundle(bundle, &Explained::default(), &[], phi, most)
}
