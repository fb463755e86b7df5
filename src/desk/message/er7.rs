//! The message as it came, with its fields marked: each value knows its path, its name, what it became, or why nothing.
use super::MASKED;
use super::mask::{Place, is_plain};
use crate::hl7::{Message, SegmentId, Span, names};
use crate::mapping::explain::{Explained, FieldStory};
use crate::mapping::usage::Standing;
use maud::{Markup, html};
use std::borrow::Cow;
use std::ops::Range;

/// A value of the message as it is shown.
pub(super) struct Leaf<'s> {
    pub story: &'s FieldStory,
    /// In words; empty where HL7 names none.
    pub name: String,
    /// May be shown to anybody.
    pub plain: bool,
    /// The values of the Bundle that it went into.
    pub to: Vec<usize>,
}

/// The leaves of a message, in its order.
pub(super) fn leaves<'s>(message: Message<'_>, stories: &'s [FieldStory], explained: &Explained) -> Vec<Leaf<'s>> {
    let mut found = Vec::with_capacity(stories.len());
    let mut segment = 0;
    for story in stories {
        while segment + 1 < message.segment_count() && message.segment_span(segment).end <= story.span.start {
            segment += 1;
        }
        let id = message.segment_id(segment);
        let (field, component, subcomponent) = story.numbers;
        let place = Place { segment: id.as_str(), field, component, subcomponent };
        let values = || story.elements.iter().filter_map(|number| explained.values.get(*number));
        let known = values().any(|value| value.row.as_ref().is_some_and(|row| row.code == story.text.trim()));
        let plain = is_plain(place, message.bytes(story.span), known);
        found.push(Leaf { story, name: place.name(story.place.contains('.')), plain, to: story.elements.clone() });
    }
    // What a rule read as a whole went into a value by each of its parts.
    for (number, value) in explained.values.iter().enumerate() {
        let Some(source) = &value.source else { continue };
        let first = found.partition_point(|leaf| leaf.story.span.end <= source.span.start);
        for leaf in found.iter_mut().skip(first).take_while(|leaf| leaf.story.span.start < source.span.end) {
            if !leaf.to.contains(&number) {
                leaf.to.push(number);
            }
        }
    }
    found
}

/// Longest value that is shown whole.
const VALUE_CHARS_MAX: usize = 600;

/// The segments, at most so many of them and so many values; and how many segments there are beyond.
pub(super) fn segments(message: Message<'_>, leaves: &[Leaf<'_>], phi: bool, most: (usize, usize)) -> (Markup, usize) {
    let mut next = 0;
    let parts =
        (0..message.segment_count()).map(|segment| before(leaves, &mut next, message.segment_span(segment).end));
    // The first is shown in any case.
    let shown: Vec<Range<usize>> =
        parts.take_while(|part| part.start == 0 || part.end <= most.1).take(most.0).collect();
    let beyond = message.segment_count() - shown.len();
    let markup = html! {
        ol.er7 {
            @for (segment, part) in shown.iter().enumerate() {
                (one(message, segment, leaves.get(part.clone()).unwrap_or_default(), part.start, phi))
            }
        }
    };
    (markup, beyond)
}

/// The leaves that begin before a byte, from the next one on.
fn before(leaves: &[Leaf<'_>], next: &mut usize, end: u32) -> Range<usize> {
    let first = *next;
    *next += leaves.iter().skip(first).take_while(|leaf| leaf.story.span.start < end).count();
    first..*next
}

fn one(message: Message<'_>, segment: usize, leaves: &[Leaf<'_>], first: usize, phi: bool) -> Markup {
    let id = message.segment_id(segment);
    let name = if phi || is_known(id) { id.as_str() } else { "???" };
    let separator = char::from(message.delimiters().field).to_string();
    let mut next = 0;
    html! {
        li {
            b.segment { (name) }
            @for number in 1..=message.field_count(segment) {
                @let span = message.field(segment, number);
                @let part = before(leaves, &mut next, span.end);
                @if id.is_header() && number <= 2 {
                    span.mark title=(title(name, id, number)) { (punctuation(message.bytes(span))) }
                } @else {
                    span.mark { (separator) }
                    @if !span.is_empty() {
                        span.field title=(title(name, id, number)) {
                            (field(message, span, leaves.get(part.clone()).unwrap_or_default(), first + part.start, phi))
                        }
                    }
                }
            }
        }
    }
}

/// `PID-3 Patient identifier list`
fn title(name: &str, id: SegmentId, number: usize) -> String {
    let field = u16::try_from(number).ok().and_then(|number| names::segment(id.as_str())?.field(number));
    format!("{name}-{number} {}", field.map_or("", |field| field.name))
}

/// Where a value stands, for somebody who may not read messages without what may be no name of a segment at all.
pub(super) fn place_of<'l>(leaf: &'l Leaf<'_>, phi: bool) -> Cow<'l, str> {
    masked_place(&leaf.story.place, phi)
}

/// Why a value went nowhere; without naming a segment that may be none.
pub(super) fn why_of<'l>(leaf: &'l Leaf<'_>, phi: bool) -> Option<&'l str> {
    let Standing::Nowhere(reason) = leaf.story.standing else { return None };
    let plain = matches!(place_of(leaf, phi), Cow::Borrowed(_));
    Some(leaf.story.why.as_deref().filter(|_| plain).unwrap_or(reason.text()))
}

/// The same of a text that begins with a segment, such as `PID-3.1`, `OBX(2)-5`.
pub(super) fn masked_place(place: &str, phi: bool) -> Cow<'_, str> {
    let end = place.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(place.len());
    let (name, rest) = place.split_at(end);
    match SegmentId::new(name.as_bytes()) {
        _ if phi => Cow::Borrowed(place),
        Some(id) if is_known(id) => Cow::Borrowed(place),
        _ => Cow::Owned(format!("???{rest}")),
    }
}

/// Whether it is the name of a segment, or of one of a site (Z).
fn is_known(id: SegmentId) -> bool {
    names::segment(id.as_str()).is_some() || (id.0[0] == b'Z' && id.0.iter().all(u8::is_ascii_alphanumeric))
}

fn field(message: Message<'_>, span: Span, leaves: &[Leaf<'_>], first: usize, phi: bool) -> Markup {
    let mut ends = vec![span.start];
    ends.extend(leaves.iter().map(|leaf| leaf.story.span.end));
    let between = |start: u32, end: u32| punctuation(message.bytes(Span { start, end }));
    html! {
        @for ((number, leaf), end) in leaves.iter().enumerate().zip(&ends) {
            span.mark { (between(*end, leaf.story.span.start)) }
            (value(leaf, first + number, message.bytes(leaf.story.span), phi))
        }
        span.mark { (between(ends.last().copied().unwrap_or(span.start), span.end)) }
    }
}

fn value(leaf: &Leaf<'_>, number: usize, bytes: &[u8], phi: bool) -> Markup {
    let (class, word, why) = match leaf.story.standing {
        Standing::Mapped => ("leaf mapped", "mapped", None),
        Standing::ReadOnly => ("leaf read", "read only, to decide something", None),
        Standing::Nowhere(_) => ("leaf lost", "nowhere", why_of(leaf, phi)),
    };
    let to: Vec<String> = leaf.to.iter().map(|number| format!("v{number}")).collect();
    html! {
        span class=(class) id={ "l" (number) } data-to=(to.join(" ")) data-path=(place_of(leaf, phi)) data-name=(leaf.name) data-word=(word) data-why=[why] {
            @if phi || leaf.plain { (cut(&text(bytes))) } @else { (MASKED) }
        }
    }
}

/// What stands between values: separators and blanks; whatever else there is, is no value, and not shown.
fn punctuation(bytes: &[u8]) -> String {
    bytes
        .iter()
        .filter(|byte| byte.is_ascii_punctuation() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .take(200)
        .collect()
}

/// As it came; where that is no UTF-8 each byte as ISO 8859-1 has it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Not too long.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => Cow::Owned(format!("{}… ({} bytes)", &text[..at], text.len())),
        None => Cow::Borrowed(text),
    }
}

/// The first so many bytes, where the message is too long to be explained.
pub(super) fn beginning(message: Message<'_>, phi: bool, segments_max: usize) -> Markup {
    html! {
        ol.er7 {
            @for segment in 0..message.segment_count().min(segments_max) {
                @let span = message.segment_span(segment);
                @let id = message.segment_id(segment);
                li {
                    @if phi { (cut(&text(message.bytes(span)))) } @else { @if is_known(id) { (id) } @else { "???" } " " (MASKED) }
                }
            }
        }
    }
}
