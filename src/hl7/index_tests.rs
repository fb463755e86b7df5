use super::*;

/// Parses, checks the round trip, and shows every segment as `ID[field|field]`.
fn show(raw: &[u8]) -> Vec<String> {
    let mut index = Index::new();
    index.parse(raw).unwrap_or_else(|error| panic!("{error}"));
    let message = index.message(raw);
    let mut out = Vec::new();
    message.serialize_into(&mut out);
    assert_eq!(out, raw, "round trip");
    let field = |at: usize, number: usize| String::from_utf8_lossy(message.text(at, number)).into_owned();
    let fields =
        |at: usize| (1..=message.field_count(at)).map(|number| field(at, number)).collect::<Vec<_>>().join("|");
    (0..message.segment_count()).map(|at| format!("{}[{}]", message.segment_id(at), fields(at))).collect()
}

fn error(raw: &[u8]) -> ParseError {
    Index::new().parse(raw).expect_err("an error")
}

#[test]
fn fields_are_numbered_as_the_standard_does() {
    let raw = b"MSH|^~\\&|LAB||GHH\rPID|1||4711^^^GHH&1.2&ISO^MR~99\r";
    assert_eq!(show(raw), ["MSH[||^~\\&|LAB||GHH]", "PID[1||4711^^^GHH&1.2&ISO^MR~99]"]);
    let mut index = Index::new();
    index.parse(raw).expect("parses");
    let message = index.message(raw);
    assert_eq!(
        (message.text(0, 1), message.text(0, 2), message.text(0, 3), message.text(0, 6)),
        (&b"|"[..], &b"^~\\&"[..], &b"LAB"[..], &b""[..])
    );
    assert_eq!(
        (message.text(1, 0), message.text(9, 1), message.text(1, usize::MAX)),
        (&b"PID"[..], &b""[..], &b""[..])
    );
    let repetition = message.part(message.field(1, 3), b'~', 1);
    let authority = message.part(repetition, b'^', 4);
    assert_eq!(message.bytes(message.part(authority, b'&', 2)), b"1.2");
    assert!(message.part(authority, b'&', 4).is_empty() && message.part(authority, b'&', 0).is_empty());
    assert_eq!(message.parts(message.field(1, 2), b'~').count(), 1);
    assert_eq!(message.part(authority, 0, 1), authority);
    assert_eq!(message.find(SegmentId(*b"PID")), Some(1));
}

#[test]
fn any_line_end_and_blank_lines() {
    for ends in [
        ["\r", "\r"],
        ["\n", "\n"],
        ["\r\n", "\r\n"],
        ["\r", "\n"],
        ["\r\r\r", "\n\n"],
        ["\r \t\r", "\r\n\r\n  "],
        ["\r  ", ""],
    ] {
        let raw = format!("MSH|^~\\&|A{}PID|1{}", ends[0], ends[1]);
        assert_eq!(show(raw.as_bytes()), ["MSH[||^~\\&|A]", "PID[1]"], "{raw:?}");
    }
}

#[test]
fn junk_before_the_header_is_skipped_and_noted() {
    for junk in ["\u{feff}", "\u{b}", "\r\n\r\n  ", "2024-01-02 received:\n", "log: ", "Msh what\r"] {
        let raw = format!("{junk}MSH|^~\\&|A\rPID|1");
        assert_eq!(show(raw.as_bytes()), ["MSH[||^~\\&|A]", "PID[1]"], "{raw:?}");
        let mut index = Index::new();
        index.parse(raw.as_bytes()).expect("parses");
        assert_eq!(index.message(raw.as_bytes()).notes().leading.len(), junk.len());
    }
    assert_eq!(show(b"\x0bMSH|^~\\&|A\rPID|1\x1c\r"), ["MSH[||^~\\&|A]", "PID[1]"]);
}

#[test]
fn delimiters_are_what_the_message_says() {
    assert_eq!(show(b"MSHaZ~\\&aSND\rPIDa1aa2"), ["MSH[a|Z~\\&|SND]", "PID[1||2]"]);
    assert_eq!(show(b"MSH$%*!@$A|B$\rPID$1"), ["MSH[$|%*!@|A|B|]", "PID[1]"]);
    let of = |raw: &[u8]| {
        let mut index = Index::new();
        index.parse(raw).expect("parses");
        (index.delimiters, index.notes.default_delimiters)
    };
    assert_eq!(of(b"MSH|^~\\&#|").0.truncation, b'#');
    assert_eq!((of(b"MSH|^~|A").0.escape, of(b"MSH|^~").0.repetition), (0, b'~'));
    assert_eq!((of(b"MSH||A"), of(b"MSH|").1), ((Delimiters::default(), true), true));
    assert!(!of(b"MSH|^~\\&|").1);
}

#[test]
fn no_line_is_lost() {
    assert_eq!(show(b"msh|^~\\&|A\rpid|1\rPV1\rZPX|9|8"), ["MSH[||^~\\&|A]", "PID[1]", "PV1[]", "ZPX[9|8]"]);
    assert_eq!(show(b"MSH|^~\\&|A\rPI|1|x\rOBX1|2\r12|3"), ["MSH[||^~\\&|A]", "PI?[1|x]", "OB?[2]", "12?[3]"]);
    assert_eq!(
        show(b"MSH|^~\\&|A\rOBX|1|TX|x||one\rtwo lines\n\nthe end||F\rNTE|1"),
        ["MSH[||^~\\&|A]", "OBX[1|TX|x||one\rtwo lines\n\nthe end||F]", "NTE[1]"]
    );
    assert_eq!(show(b"MSH|^~\\&|A\rfree text\rmore|x"), ["MSH[||^~\\&|A]", "FR?[]", "MO?[x]"]);
    assert_eq!(show(b"MSH|^~\\&|A\rMSH|^~\\&|B"), ["MSH[||^~\\&|A]", "MSH[||^~\\&|B]"]);
}

#[test]
fn errors_name_the_byte() {
    assert_eq!((error(b""), error(b" \r\n")), (ParseError::Empty, ParseError::Empty));
    assert_eq!(error(b"\nPID|1"), ParseError::NoHeader { offset: 1 });
    assert_eq!(error(b"\x00\x01MSHX"), ParseError::NoHeader { offset: 0 });
    assert_eq!(
        (error(b" MSH"), error(b"MSH\rPID|")),
        (ParseError::HeaderCutShort { offset: 1 }, ParseError::HeaderCutShort { offset: 0 })
    );
    assert_eq!(error(b"MSH\t^~\\&"), ParseError::FieldSeparator { offset: 3, byte: b'\t' });
    assert_eq!(error(b"MSH|^^\\&|"), ParseError::EncodingCharacters { offset: 5 });
    assert_eq!(error(b"MSH|ABCDEFG|"), ParseError::EncodingCharacters { offset: 4 });
    let limited =
        |bytes_max, segments_max| Index::with_options(Options { bytes_max, segments_max }).parse(b"MSH|^~\\&|A\rPID|1");
    assert_eq!(limited(10, 9), Err(ParseError::TooLarge { bytes: 16, bytes_max: 10 }));
    assert_eq!(limited(99, 1), Err(ParseError::TooManySegments { offset: 11, segments_max: 1 }));
    assert_eq!(limited(16, 2), Ok(()));
}

#[test]
fn a_failed_parse_leaves_nothing_behind() {
    let mut index = Index::new();
    index.parse(b"MSH|^~\\&|A").expect("parses");
    assert!(index.parse(b"nothing").is_err());
    assert_eq!(index.message(b"nothing").segment_count(), 0);
}

#[test]
fn long_fields_and_block_borders() {
    for length in (0..200).chain([4095, 4096, 100_000]) {
        let value = "x".repeat(length);
        let raw = format!("MSH|^~\\&|A\rOBX|1|{value}|2\rNTE|{value}\rNTE|3");
        let segments = show(raw.as_bytes());
        assert_eq!(
            segments[1..],
            [format!("OBX[1|{value}|2]"), format!("NTE[{value}]"), "NTE[3]".to_owned()],
            "{length}"
        );
    }
}
