//! What holds for any bytes: no panic, nothing lost, the index writes back what it read, and it agrees with a slow and obvious twin.
use handoff::hl7::{
    Charset, Delimiters, Index, Matcher, Message, Path, PlacementKind, Structure, Time, Timestamp, decode_into, split,
    transcode,
};
use proptest::prelude::*;

use super::{bench_cases, corpus::cases};

const ORU_R01: &str = "MSH [{SFT}] {PATIENT_RESULT: [PATIENT: PID [PD1] [{NTE}] [{NK1}] [VISIT: PV1 [PV2]]] \
    {ORDER_OBSERVATION: [ORC] OBR [{NTE}] [{TIMING_QTY: TQ1 [{TQ2}]}] [CTD] [{OBSERVATION: OBX [{NTE}]}] [{SPECIMEN: SPM [{OBX}]}]}} [DSC]";

/// Everything that can be asked of a file, and what must hold of it. Gives the number of its segments.
fn exercise(raw: &[u8]) -> usize {
    let raw = &transcode(raw)[..];
    let structure = Structure::parse("ORU_R01", ORU_R01).expect("a grammar");
    let (mut index, mut matcher, mut segments, mut end) = (Index::new(), Matcher::new(), 0, 0);
    for span in split(raw) {
        assert!(span.start >= end && span.start < span.end && span.end <= raw.len(), "messages in order");
        end = span.end;
        segments += one(&raw[span], &structure, &mut index, &mut matcher);
    }
    one(raw, &structure, &mut index, &mut matcher);
    segments
}

fn one(raw: &[u8], structure: &Structure, index: &mut Index, matcher: &mut Matcher) -> usize {
    if let Err(error) = index.parse(raw) {
        assert!(error.offset() <= raw.len());
        assert_eq!(index.message(raw).segment_count(), 0);
        return 0;
    }
    let message = index.message(raw);
    let mut out = Vec::new();
    message.serialize_into(&mut out);
    assert!(out == raw, "the round trip");
    assert!(twin(message) == visit(message), "the twin");
    matcher.run(structure, message);
    for segment in 0..message.segment_count() {
        let placement = matcher.placement(segment);
        assert!((placement.instance as usize) < matcher.instances().len());
        assert_eq!(placement.child == u16::MAX, placement.kind == PlacementKind::Extra);
    }
    message.segment_count()
}

/// Every subcomponent, through the index.
fn visit(message: Message<'_>) -> Vec<Vec<&[u8]>> {
    let delimiters = message.delimiters();
    let parts = |segment: usize| {
        let fields = (0..=message.field_count(segment)).map(|number| message.field(segment, number));
        let header = message.segment_id(segment).is_header();
        let fields = fields.enumerate().filter(move |(number, _)| !header || *number != 1).map(|(_, field)| field);
        fields
            .flat_map(|field| message.parts(field, delimiters.repetition))
            .flat_map(|repetition| message.parts(repetition, delimiters.component))
            .flat_map(|component| message.parts(component, delimiters.subcomponent))
            .map(|part| message.bytes(part))
            .collect()
    };
    (0..message.segment_count()).map(parts).collect()
}

/// Every subcomponent, by splitting the text of the segments with the standard library. The lines that make a segment are those of the index.
fn twin(message: Message<'_>) -> Vec<Vec<&[u8]>> {
    let Delimiters { field, component, repetition, subcomponent, .. } = message.delimiters();
    let separates = move |byte: &u8| *byte != 0 && [field, component, repetition, subcomponent].contains(byte);
    (0..message.segment_count())
        .map(|segment| message.bytes(message.segment_span(segment)).split(separates).collect())
        .collect()
}

#[test]
fn messages_of_others() {
    let mut segments = 0;
    for (name, raw) in cases("messages").into_iter().chain(cases("torture")) {
        println!("{name}");
        segments += exercise(&raw);
    }
    println!("{segments} segments");
}

#[test]
fn our_cases_cut_anywhere() {
    for raw in [bench_cases::adt_a01(), bench_cases::oru(3)] {
        for end in 0..raw.len() {
            exercise(&raw[..end]);
        }
    }
    assert_eq!(exercise(&bench_cases::oru_1mb()), 6);
    assert_eq!(exercise(&bench_cases::oru(10_000)), 12_005);
}

/// A message with bytes replaced, left out and put in, biased to what matters.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![proptest::sample::select(b"|^~\\&#\r\n\x0b\x1c \"MSHOBXPIDabc019$.".to_vec()), any::<u8>(),];
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, byte), 0..12);
    (prop_oneof![Just(bench_cases::adt_a01()), Just(bench_cases::oru(2))], edits).prop_map(|(mut raw, edits)| {
        for (at, kind, byte) in edits {
            let at = at.index(raw.len());
            match kind {
                0 => raw[at] = byte,
                1 => raw.insert(at, byte),
                _ => drop(raw.remove(at)),
            }
        }
        raw
    })
}

proptest! {
    #[test]
    fn any_bytes(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise(&raw);
    }

    #[test]
    fn any_bytes_after_a_header(tail in proptest::collection::vec(proptest::sample::select(b"|^~\\&\r\n \tAB1a\x1c\xC3".to_vec()), 0..300)) {
        exercise(&[b"MSH|^~\\&|", &tail[..]].concat());
    }

    #[test]
    fn mutated_messages(raw in mutated()) {
        exercise(&raw);
    }

    #[test]
    fn any_value(value in proptest::collection::vec(any::<u8>(), 0..80), name in proptest::sample::select(vec!["", "UNICODE UTF-8", "8859/1", "8859/8", "KS X 1001", "ISO IR87", "BIG-5", "GB 18030-2000"])) {
        let mut out = b"kept".to_vec();
        decode_into(&value, &Delimiters::default(), Charset::of_message(name.as_bytes()), &mut out);
        prop_assert!(out.starts_with(b"kept") && std::str::from_utf8(&out).is_ok());
        let _ = (Timestamp::parse(&value), Time::parse(&value), Charset::of_name(&value));
    }

    #[test]
    fn escaped_values_are_text_again(text in "[a-z|^~&\\\\# é]{0,40}") {
        let escaped = text.replace('\\', "\\E\\").replace('|', "\\F\\").replace('^', "\\S\\").replace('~', "\\R\\").replace('&', "\\T\\");
        let mut out = Vec::new();
        prop_assert!(decode_into(escaped.as_bytes(), &Delimiters::default(), Charset::Utf8, &mut out).is_empty());
        prop_assert_eq!(out, text.into_bytes());
    }

    #[test]
    fn any_text_as_path_or_grammar(text in "[A-Z0-9\\[\\]{}()<>|:.\\- é]{0,30}") {
        if let Ok(path) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }
        let _ = Structure::parse("X", &text);
    }
}
