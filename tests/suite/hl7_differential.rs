//! Our index against the tree of hl7-parser: the same segments, fields, repetitions, components and subcomponents.
use handoff::hl7::{Index, Message, ParseError, Span, split};

use super::{bench_cases, corpus::cases};

/// What hl7-parser is known to get wrong. A difference that none of these explains fails the test.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fault {
    /// It takes `&str`, so other character sets cannot be given to it.
    NotUtf8,
    /// It wants MSH, in capitals, at the first byte; junk, blanks and byte order marks are errors.
    JunkBeforeHeader,
    /// It takes exactly four encoding characters: fewer take the separator in, a fifth (truncation, since 2.7) becomes MSH-3.
    EncodingCharacters,
    /// It stops, without an error, at a line that is not three alphanumerics and the separator: a bare segment, a blank line, an odd name, a text that goes on.
    DropsTheRest,
    /// It keeps ids in the case in which they are written.
    LowerCase,
}

#[test]
fn agrees_with_hl7_parser() {
    let mut faults = std::collections::BTreeMap::<Fault, usize>::new();
    let mut compared = 0;
    let own =
        bench_cases::all().into_iter().filter(|(name, _)| *name != "oru_1mb").map(|(name, raw)| (name.to_owned(), raw));
    for (name, raw) in own.chain(hand_made()).chain(cases("messages")).chain(cases("torture")) {
        for span in split(&raw) {
            match compare(&raw[span]) {
                Ok(seen) => seen.into_iter().for_each(|fault| *faults.entry(fault).or_default() += 1),
                Err(difference) => panic!("{name}: {difference}"),
            }
            compared += 1;
        }
    }
    println!("{compared} messages compared; hl7-parser's faults: {faults:?}");
    // The list is reviewed: a fault that is no longer met is to be taken off it.
    let met: Vec<Fault> = faults.into_keys().collect();
    assert_eq!(
        met,
        [Fault::NotUtf8, Fault::JunkBeforeHeader, Fault::EncodingCharacters, Fault::DropsTheRest, Fault::LowerCase]
    );
}

/// One message for each fault, and delimiters of every kind.
fn hand_made() -> Vec<(String, Vec<u8>)> {
    let messages: [&[u8]; 9] = [
        b"MSH|^~\\&|A\rPID|1||\xFC",
        b"junk\rmsh|^~\\&|A\rPID|1",
        b"MSH|^~\\&#|A\rPID|1",
        b"MSH|^~|A\rPID|1",
        b"MSH|^~\\&|A\r\rPID|1\rPV1\rNTE|1",
        b"MSH|^~\\&|A\rPID|1|one\rtwo|3\rNTE|1",
        b"MSH|^~\\&|A\rpid|1",
        b"MSH$%*!@$A$B%C@D*E\rPID$1%2*3@$\r",
        b"MSH|^~\\&|A|B^C\r\nPID|1|||2~3^4&5&^\nNTE|",
    ];
    messages.iter().enumerate().map(|(at, raw)| (format!("hand-made {at}"), raw.to_vec())).collect()
}

/// The faults that were met, or what differs without one.
fn compare(raw: &[u8]) -> Result<Vec<Fault>, String> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Ok(vec![Fault::NotUtf8]);
    };
    let mut index = Index::new();
    let parsed = index.parse(raw);
    let theirs = hl7_parser::Message::parse_with_lenient_newlines(text, true);
    let (message, theirs) = match (parsed, theirs) {
        (Err(_), Err(_)) => return Ok(Vec::new()),
        (Err(ParseError::EncodingCharacters { .. }), Ok(_)) => {
            return Ok(vec![Fault::EncodingCharacters]);
        }
        (Err(error), Ok(_)) => return Err(format!("only hl7-parser reads it: {error}")),
        (Ok(()), Err(_)) if !raw.starts_with(b"MSH") => return Ok(vec![Fault::JunkBeforeHeader]),
        (Ok(()), Err(error)) => {
            let short = index.message(raw).text(0, 2).len() < 4;
            return if short { Ok(vec![Fault::EncodingCharacters]) } else { Err(format!("only we read it: {error}")) };
        }
        (Ok(()), Ok(theirs)) => (index.message(raw), theirs),
    };
    if message.text(0, 2).len() != 4 {
        return Ok(vec![Fault::EncodingCharacters]);
    }
    let mut faults = Vec::new();
    if theirs.segments.len() > message.segment_count() {
        return Err(format!("{} segments there, {} here", theirs.segments.len(), message.segment_count()));
    }
    // Where it stopped, the last segment may go on in ours, over the lines that it could not read.
    let stopped = !text[theirs.raw_value().len()..].trim().is_empty();
    if stopped {
        check_stop(message, &text[theirs.raw_value().len()..], theirs.segments.len() == 1)?;
        faults.push(Fault::DropsTheRest);
    } else if theirs.segments.len() < message.segment_count() {
        return Err("segments that hl7-parser does not know of".to_owned());
    }
    for (at, segment) in theirs.segments.iter().enumerate() {
        let id = message.segment_id(at);
        if segment.name != id.as_str() {
            if !segment.name.eq_ignore_ascii_case(id.as_str()) {
                return Err(format!("segment {at} is {} there, {id} here", segment.name));
            }
            faults.push(Fault::LowerCase);
        }
        let last = stopped && at + 1 == theirs.segments.len();
        if !last {
            compare_segment(message, at, segment)?;
        }
    }
    Ok(faults)
}

/// Whether hl7-parser had a known reason to stop before `rest`.
fn check_stop(message: Message<'_>, rest: &str, after_header: bool) -> Result<(), String> {
    // It has taken the line end after the MSH already.
    let line_end =
        |text: &str| ["\r\n", "\r", "\n"].iter().find(|end| text.starts_with(**end)).map_or(0, |end| end.len());
    let line = if after_header { rest } else { &rest[line_end(rest)..] };
    let blank = line_end(line) > 0;
    let separator = char::from(message.delimiters().field);
    let name: String = line.chars().take(3).collect();
    let readable =
        name.chars().count() == 3 && name.chars().all(char::is_alphanumeric) && line.chars().nth(3) == Some(separator);
    if blank || !readable {
        Ok(())
    } else {
        Err(format!("hl7-parser stopped at a line that it can read, {} bytes before the end", rest.len()))
    }
}

fn compare_segment(message: Message<'_>, at: usize, segment: &hl7_parser::message::Segment<'_>) -> Result<(), String> {
    let id = message.segment_id(at);
    let delimiters = message.delimiters();
    let place = |number: usize| format!("segment {at}, {id}-{number}");
    if segment.fields.len() != message.field_count(at) {
        return Err(format!(
            "segment {at}, {id}: {} fields there, {} here",
            segment.fields.len(),
            message.field_count(at)
        ));
    }
    for (number, field) in (1..).zip(&segment.fields) {
        let span = message.field(at, number);
        same(message, span, field.raw_value(), || place(number))?;
        if id.is_header() && number <= 2 {
            continue;
        }
        let repetitions: Vec<Span> = message.parts(span, delimiters.repetition).collect();
        same_count(repetitions.len(), field.repeats.len(), || place(number))?;
        for (span, repeat) in repetitions.into_iter().zip(&field.repeats) {
            same(message, span, repeat.raw_value(), || place(number))?;
            let components: Vec<Span> = message.parts(span, delimiters.component).collect();
            same_count(components.len(), repeat.components.len(), || place(number))?;
            for (span, component) in components.into_iter().zip(&repeat.components) {
                same(message, span, component.raw_value(), || place(number))?;
                let parts: Vec<Span> = message.parts(span, delimiters.subcomponent).collect();
                same_count(parts.len(), component.subcomponents.len(), || place(number))?;
                for (span, part) in parts.into_iter().zip(&component.subcomponents) {
                    same(message, span, part.raw_value(), || place(number))?;
                }
            }
        }
    }
    Ok(())
}

fn same(message: Message<'_>, ours: Span, theirs: &str, place: impl Fn() -> String) -> Result<(), String> {
    if message.bytes(ours) == theirs.as_bytes() {
        Ok(())
    } else {
        Err(format!("{}: {} bytes here, {} there, or other ones", place(), ours.len(), theirs.len()))
    }
}

fn same_count(ours: usize, theirs: usize, place: impl Fn() -> String) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{}: {ours} parts here, {theirs} there", place())) }
}
