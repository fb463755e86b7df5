//! Acknowledgements (HL7 v2 chapter 2, MSH, MSA and ERR): a pure writer, told the time and the new control id.
//!
//! ```text
//! MSH|^~\&|<5>|<6>|<3>|<4>|<time>||ACK^<event>^ACK|<new id>|<11>|<12>||||||<18>
//! MSA|<code>|<10>||<expected sequence number>
//! ERR||PID^1^3^1^4|101^Required field missing^HL70357|E||||<text>      from v2.5 on
//! ERR|PID^1^3^101&Required field missing&HL70357                   before, and the text in MSA-3
//! ```
//!
//! Values of the sender's header go back as they came, in its own delimiters and character set; what we add is ASCII and escaped. No other value of the message gets in.
use super::delimiters::Delimiters;
use super::message::{Message, is_null};
use super::span::SegmentId;

/// MSA-1, table 0008.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Application accept.
    ApplicationAccept,
    /// Application error: the message is at fault.
    ApplicationError,
    /// Application reject: its type, processing id or version is not taken here.
    ApplicationReject,
    /// Commit accept: it is kept.
    CommitAccept,
    /// Commit error: it could not be kept.
    CommitError,
    /// Commit reject: its type, processing id or version is not taken here.
    CommitReject,
}

impl Code {
    /// The code as it stands in MSA-1.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::ApplicationAccept => "AA",
            Code::ApplicationError => "AE",
            Code::ApplicationReject => "AR",
            Code::CommitAccept => "CA",
            Code::CommitError => "CE",
            Code::CommitReject => "CR",
        }
    }

    /// What MSA-1 says; `None` for no code of table 0008.
    pub fn parse(bytes: &[u8]) -> Option<Code> {
        use Code::{ApplicationAccept, ApplicationError, ApplicationReject, CommitAccept, CommitError, CommitReject};
        [ApplicationAccept, ApplicationError, ApplicationReject, CommitAccept, CommitError, CommitReject]
            .into_iter()
            .find(|code| bytes == code.as_str().as_bytes())
    }

    /// Whether the sender is done with the message.
    pub fn is_positive(self) -> bool {
        matches!(self, Code::ApplicationAccept | Code::CommitAccept)
    }
}

/// One ERR segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error<'a> {
    /// ERR-3, table 0357.
    pub code: u16,
    /// ERR-2: segment, which of them, field; 0 leaves a part out.
    pub location: Option<([u8; 3], u16, u16)>,
    /// The component of the field's first repetition, 0 for the field as a whole.
    pub component: u16,
    /// What is wrong and what to do. Must not hold values of the message.
    pub text: &'a str,
}

/// What a new message needs that no message can give: MSH-7 and MSH-10.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// MSH-7 as DTM.
    pub time: &'a str,
    /// MSH-10, at most 20 characters.
    pub control_id: &'a str,
}

/// What is said about a message.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// MSA-1.
    pub code: Code,
    /// The first ten are written, the others left out.
    pub errors: &'a [Error<'a>],
    /// MSA-4, the expected sequence number, where the sequence number protocol is spoken.
    pub sequence: Option<i64>,
    /// Whether its receiver is to say that it has kept it (MSH-15 AL): for an acknowledgement on an exchange of its own.
    pub commit: bool,
}

/// MSH-15 and MSH-16, which make the enhanced mode when one of them is filled.
pub fn conditions(message: Message<'_>) -> Option<(&[u8], &[u8])> {
    let msh = message.find(SegmentId(*b"MSH"))?;
    let condition = |number| Some(message.text(msh, number)).filter(|text| !is_null(text)).unwrap_or_default();
    let (accept, apply) = (condition(15), condition(16));
    (!(accept.is_empty() && apply.is_empty())).then_some((accept, apply))
}

/// Whether a condition of MSH-15 or MSH-16 (table 0155) asks for an acknowledgement with that code; empty beside a filled one means never.
pub fn is_due(condition: &[u8], code: Code) -> bool {
    match condition {
        b"" | b"NE" => false,
        b"ER" => !code.is_positive(),
        b"SU" => code.is_positive(),
        _ => true,
    }
}

const ERRORS_MAX: usize = 10;

/// Appends the acknowledgement of `message` to `out`; `None` stands for bytes in which no MSH could be read.
pub fn write(message: Option<Message<'_>>, reply: Reply<'_>, stamp: Stamp<'_>, out: &mut Vec<u8>) {
    let Reply { code, errors, sequence, commit } = reply;
    let header = message.and_then(|message| message.find(SegmentId(*b"MSH")).map(|msh| (message, msh)));
    let delimiters = header.map_or_else(Delimiters::default, |(message, _)| message.delimiters());
    let mut writer = Writer { out, delimiters };
    let old = header.is_some_and(|(message, msh)| is_before_2_5(message.text(msh, 12)));
    writer.header(header, commit, stamp);
    writer.begin(b"MSA");
    writer.field(code.as_str().as_bytes());
    writer.field(header.map_or(b"", |(message, msh)| message.text(msh, 10)));
    let text = errors.first().filter(|_| old).map(|first| first.text);
    if text.is_some() || sequence.is_some() {
        writer.separator();
        writer.text(text.unwrap_or_default());
    }
    if let Some(sequence) = sequence {
        writer.field(sequence.to_string().as_bytes());
    }
    writer.end();
    for error in errors.iter().take(ERRORS_MAX) {
        writer.begin(b"ERR");
        if old {
            writer.error_before_2_5(error)
        } else {
            writer.error(error)
        }
        writer.end();
    }
}

/// Whether MSH-12.1 names a version before 2.5. An odd one counts as new.
fn is_before_2_5(version: &[u8]) -> bool {
    matches!(version, [b'2', b'.', b'0'..=b'4', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_digit))
}

/// The meaning of a code of table 0357.
fn meaning(code: u16) -> &'static str {
    match code {
        0 => "Message accepted",
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        104 => "Value too long",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        204 => "Unknown key identifier",
        205 => "Duplicate key identifier",
        206 => "Application record locked",
        _ => "Application internal error",
    }
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    delimiters: Delimiters,
}

impl Writer<'_> {
    fn header(&mut self, header: Option<(Message<'_>, usize)>, commit: bool, stamp: Stamp<'_>) {
        self.begin(b"MSH");
        let field = |number: usize| header.map_or(&b""[..], |(message, msh)| message.text(msh, number));
        self.field(if field(2).is_empty() { b"^~\\&" } else { field(2) });
        for number in [5, 6, 3, 4] {
            self.field(field(number));
        }
        self.field(stamp.time.as_bytes());
        self.field(b"");
        let event = header.map_or(&b""[..], |(message, msh)| {
            message.bytes(message.part(message.field(msh, 9), self.delimiters.component, 2))
        });
        self.field(b"ACK");
        if !event.is_empty() && self.delimiters.component != 0 {
            self.component();
            self.kept(event);
            self.component();
            self.out.extend_from_slice(b"ACK");
        }
        self.field(stamp.control_id.as_bytes());
        self.field(if header.is_none() { b"P" } else { field(11) });
        self.field(if header.is_none() { b"2.5.1" } else { field(12) });
        let conditions: [&[u8]; 2] = if commit { [b"AL", b"NE"] } else { [b"", b""] };
        let rest = [b"", b"", conditions[0], conditions[1], b"", field(18)];
        let last = rest.iter().rposition(|value| !value.is_empty()).map_or(0, |last| last + 1);
        rest[..last].iter().for_each(|value| self.field(value));
        self.end();
    }

    fn error(&mut self, error: &Error<'_>) {
        self.separator();
        self.separator();
        let parts = self.location(error);
        // Repetition and component can only follow segment, sequence and field.
        if parts == 3 && error.component > 0 && self.delimiters.component != 0 {
            self.component();
            self.text("1");
            self.component();
            self.text(&error.component.to_string());
        }
        self.separator();
        self.coded(error.code, self.delimiters.component);
        self.field(b"E");
        for _ in 5..8 {
            self.separator();
        }
        self.separator();
        self.text(error.text);
    }

    fn error_before_2_5(&mut self, error: &Error<'_>) {
        self.separator();
        let parts = self.location(error);
        for _ in parts..4 {
            self.component();
        }
        self.coded(error.code, self.delimiters.subcomponent);
    }

    /// Writes segment, sequence and field; how many components it began.
    fn location(&mut self, error: &Error<'_>) -> usize {
        let Some((segment, sequence, field)) = error.location else { return 1 };
        self.kept(&segment);
        let numbers = [sequence, field];
        let count =
            if self.delimiters.component == 0 { 0 } else { numbers.iter().take_while(|number| **number > 0).count() };
        for number in &numbers[..count] {
            self.component();
            self.text(&number.to_string());
        }
        1 + count
    }

    fn coded(&mut self, code: u16, separator: u8) {
        self.text(&code.to_string());
        if separator != 0 {
            self.out.push(separator);
            self.text(meaning(code));
            self.out.push(separator);
            self.text("HL70357");
        }
    }

    fn begin(&mut self, segment: &[u8]) {
        self.out.extend_from_slice(segment);
    }

    fn end(&mut self) {
        self.out.push(b'\r');
    }

    fn separator(&mut self) {
        self.out.push(self.delimiters.field);
    }

    fn component(&mut self) {
        if self.delimiters.component != 0 {
            self.out.push(self.delimiters.component);
        }
    }

    fn field(&mut self, value: &[u8]) {
        self.separator();
        self.kept(value);
    }

    /// A value of the sender, already escaped in its own way; bytes that would end our segment or frame are left out.
    fn kept(&mut self, value: &[u8]) {
        self.out.extend(value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0x0B | 0x1C)));
    }

    /// Our own words: escaped, ASCII.
    fn text(&mut self, text: &str) {
        let delimiters = self.delimiters;
        for character in text.chars() {
            let byte = u8::try_from(character).ok().filter(u8::is_ascii).unwrap_or(b'?');
            let letter = match byte {
                b if b == delimiters.field => b'F',
                b if b == delimiters.component => b'S',
                b if b == delimiters.repetition => b'R',
                b if b == delimiters.escape => b'E',
                b if b == delimiters.subcomponent => b'T',
                b => {
                    self.out.push(if b.is_ascii_control() { b' ' } else { b });
                    continue;
                }
            };
            match delimiters.escape {
                0 => self.out.push(b' '),
                escape => self.out.extend_from_slice(&[escape, letter, escape]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;

    const STAMP: Stamp<'_> = Stamp { time: "20240102030405.678+0000", control_id: "H1" };

    fn ack(message: &str, code: Code, errors: &[Error<'_>]) -> String {
        let mut index = Index::default();
        index.parse(message.as_bytes()).unwrap();
        let mut out = Vec::new();
        write(
            Some(index.message(message.as_bytes())),
            Reply { code, errors, sequence: None, commit: false },
            STAMP,
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    const MISSING: Error<'_> =
        Error { code: 101, location: Some((*b"PID", 1, 3)), component: 0, text: "PID-3 is empty: send an identifier" };

    #[test]
    fn the_expected_sequence_number_stands_in_msa_4() {
        for (version, errors, expected) in [
            ("2.5", &[][..], "\rMSA|AA|7||12\r"),
            ("2.3", &[MISSING][..], "\rMSA|AA|7|PID-3 is empty: send an identifier|12\rERR|"),
        ] {
            let message = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|{version}\r");
            let mut index = Index::default();
            index.parse(message.as_bytes()).unwrap();
            let mut out = Vec::new();
            let reply = Reply { code: Code::ApplicationAccept, errors, sequence: Some(12), commit: false };
            write(Some(index.message(message.as_bytes())), reply, STAMP, &mut out);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(expected), "{out}");
        }
    }

    #[test]
    fn accept_swaps_the_sides_and_keeps_version_charset_and_processing_id() {
        let message = "MSH|^~\\&|APP|FAC^1.2^ISO|THEM|THEIRS|20240101||ADT^A01^ADT_A01|id 7\\T\\8|T|2.5.1|||AL|NE||UNICODE UTF-8\rPID|1||SECRET\r";
        assert_eq!(
            ack(message, Code::ApplicationAccept, &[]),
            "MSH|^~\\&|THEM|THEIRS|APP|FAC^1.2^ISO|20240102030405.678+0000||ACK^A01^ACK|H1|T|2.5.1||||||UNICODE UTF-8\rMSA|AA|id 7\\T\\8\r"
        );
    }

    #[test]
    fn errors_have_location_code_severity_and_text() {
        let message = "MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.6\r";
        let odd = Error { code: 207, location: None, component: 4, text: "a|b^c~d\\e&f\ng\u{e9}" };
        let out = ack(message, Code::ApplicationError, &[MISSING, odd]);
        let lines: Vec<_> = out.lines().flat_map(|line| line.split('\r')).collect();
        assert_eq!(lines[1], "MSA|AE|7");
        let part = ack(message, Code::ApplicationError, &[Error { component: 4, ..MISSING }]);
        assert!(part.contains("ERR||PID^1^3^1^4|101^"), "{part}");
        assert_eq!(lines[2], "ERR||PID^1^3|101^Required field missing^HL70357|E||||PID-3 is empty: send an identifier");
        assert_eq!(lines[3], "ERR|||207^Application internal error^HL70357|E||||a\\F\\b\\S\\c\\R\\d\\E\\e\\T\\f g?");
        assert_eq!(ack(message, Code::ApplicationError, &[MISSING; 30]).matches("ERR|").count(), 10);
    }

    #[test]
    fn before_2_5_errors_stand_in_err_1_and_msa_3() {
        for version in ["2.3", "2.3.1", "2.4^DEU"] {
            let out =
                ack(&format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|{version}\r"), Code::ApplicationReject, &[MISSING]);
            assert!(
                out.ends_with(
                    "\rMSA|AR|7|PID-3 is empty: send an identifier\rERR|PID^1^3^101&Required field missing&HL70357\r"
                ),
                "{out}"
            );
        }
        assert!(!is_before_2_5(b"2.5") && !is_before_2_5(b"2.10") && !is_before_2_5(b""));
    }

    #[test]
    fn the_senders_delimiters_are_used() {
        let out =
            ack("MSH#*+!%#A#B#C#D#1##ADT*A08#7#P#2.5\r", Code::ApplicationError, &[Error { text: "x*y", ..MISSING }]);
        assert_eq!(
            out,
            "MSH#*+!%#C#D#A#B#20240102030405.678+0000##ACK*A08*ACK#H1#P#2.5\rMSA#AE#7\rERR##PID*1*3#101*Required field missing*HL70357#E####x!S!y\r"
        );
    }

    #[test]
    fn bytes_without_a_header_are_rejected_with_an_empty_control_id() {
        let mut out = Vec::new();
        let errors = [Error { code: 100, location: Some((*b"MSH", 1, 0)), component: 0, text: "no MSH" }];
        let reply = Reply { code: Code::ApplicationReject, errors: &errors, sequence: None, commit: false };
        write(None, reply, STAMP, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "MSH|^~\\&|||||20240102030405.678+0000||ACK|H1|P|2.5.1\rMSA|AR|\rERR||MSH^1|100^Segment sequence error^HL70357|E||||no MSH\r"
        );
    }
}
