//! What a translation noticed: nothing of it stops the message, all of it is worth a look.
use super::plan::{NONE, RuleId, Table};
use super::{Plan, Scratch};
use crate::hl7::{Message, SegmentId, Span, decode_into};
use std::borrow::Cow;

/// One thing noticed, as positions only; [`Finding::render`] makes text of it, without field values.
#[derive(Debug, Clone, Copy)]
pub struct Finding {
    /// What.
    pub code: FindingCode,
    pub(super) rule: RuleId,
    /// The code table that lacks the code, of [`FindingCode::UnmappedCode`].
    pub(super) table: u16,
    /// The feed whose plan the rule and the table are of.
    pub(super) feed: Option<u16>,
    /// Where in the message.
    pub span: Span,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// The stable codes of findings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FindingCode { $(#[doc = $text] $name,)* }
        impl FindingCode {
            /// The code as printed, such as `T003`.
            pub fn as_str(self) -> &'static str {
                match self { $(FindingCode::$name => $code,)* }
            }
            /// What it means.
            pub fn text(self) -> &'static str {
                match self { $(FindingCode::$name => $text,)* }
            }
        }
    };
}

codes! {
    InvalidDate = "T001", "not a date or time of HL7 v2; left out";
    NoOffset = "T002", "a time without offset; the message and the profile name no zone, so only the date is kept";
    UnmappedCode = "T003", "the code table has no row for this code";
    SegmentNotMapped = "T004", "no message map reads this segment here";
    RequiredMissing = "T005", "a required value is missing; the element around it is left out";
    LinkToNothing = "T006", "a link to a resource that this message does not have";
    BadEscape = "T007", "an escape sequence that HL7 v2 does not define; kept as it stands";
    Undecodable = "T008", "bytes that the character set does not have; replaced";
    LocalEscape = "T009", "a locally defined escape sequence; kept as it stands";
    InvalidValue = "T010", "not a value of the type that the element has; left out";
    CodeNotAllowed = "T011", "not one of the codes that the element requires; left out";
    MissingValue = "T012", "a value is missing that should be there";
    DerivedStatus = "T013", "the report has no status; derived from its observations";
    SameIdentity = "T015", "has the identity of another resource that it must differ from (a merge of a patient with itself); not made";
    PeriodReversed = "T014", "a period that ends before it starts; its end is left out";
}

impl Finding {
    /// `PID-7: T001 …`: where and what, never the value itself.
    pub fn render(&self, plan: &Plan, message: Message<'_>) -> String {
        let mut text = format!("{}: {}", place(message, self.span), self.code.text());
        let plan = plan.of_feed(self.feed);
        if self.rule != NONE
            && let Some(rule) = plan.compiled.rules.get(self.rule as usize)
        {
            let (file, line, ..) = plan.sources().position(rule.location);
            text.push_str(&format!(" (rule {} `{}`, {file}:{line})", rule.map, rule.target));
        }
        text
    }
}

/// The longest code that is told; what is longer is none, but text.
pub const CODE_BYTES_MAX: usize = 64;

/// A code of a message that its table lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmappedCode<'p> {
    /// `AdministrativeSex`.
    pub table: &'p str,
    /// As a row would name it; empty where the value is too long for a code, or was put together.
    pub code: String,
    /// Somebody should look: a table beside it of the same HL7 table (`AddressType[Use]` beside `AddressType[Type]`) has no row for the code either, and it is
    /// not of the header, whose codes are those of HL7.
    pub is_open: bool,
}

impl Plan {
    /// The code and the table of a [`FindingCode::UnmappedCode`]; the message as the translation read it ([`Scratch::message`](super::Scratch::message)).
    pub fn unmapped_code(&self, finding: &Finding, message: Message<'_>) -> Option<UnmappedCode<'_>> {
        if finding.code != FindingCode::UnmappedCode {
            return None;
        }
        let plan = self.of_feed(finding.feed);
        let tables = &plan.compiled.tables;
        let table = tables.get(usize::from(finding.table))?;
        let mut text = Vec::new();
        let charset = plan.charset(message.text(message.find(SegmentId(*b"MSH")).unwrap_or(0), 18));
        decode_into(message.bytes(finding.span), &message.delimiters(), charset, &mut text);
        let code = String::from_utf8_lossy(&text).trim().to_owned();
        let is_code = code.len() <= CODE_BYTES_MAX && !code.contains(char::is_control);
        let family = |table: &Table| table.name.split('[').next().unwrap_or_default().len();
        let beside = |other: &&Table| other.name[..family(other)] == table.name[..family(table)];
        let known = tables.iter().filter(beside).any(|other| other.find(code.as_bytes()).is_some());
        let header = message.segment_span(message.find(SegmentId(*b"MSH")).unwrap_or(0));
        let in_header = finding.span.start < header.end;
        let code = if is_code { code } else { String::new() };
        Some(UnmappedCode { table: &table.name, is_open: !known && !in_header && !code.is_empty(), code })
    }
}

impl Plan {
    /// The codes of the message translated last that somebody should look at, each with its table and once. Costs nothing where there is none.
    pub fn open_codes(&self, raw: &[u8], scratch: &Scratch) -> Vec<(String, String)> {
        let message = scratch.message(raw);
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        let unmapped = scratch.findings().iter().filter(|finding| finding.code == FindingCode::UnmappedCode);
        for finding in unmapped.take(LOOKED_AT_MAX) {
            let same = (finding.table, message.bytes(finding.span));
            if seen.contains(&same) {
                continue;
            }
            seen.push(same);
            let Some(unmapped) = self.unmapped_code(finding, message).filter(|code| code.is_open) else { continue };
            let pair = (unmapped.table.to_owned(), unmapped.code);
            if !found.contains(&pair) {
                found.push(pair);
            }
            if found.len() == OPEN_CODES_MAX {
                break;
            }
        }
        found
    }

    /// Whether a code table has a row for a code, in the plan of any message.
    pub fn has_code(&self, table: &str, code: &str) -> bool {
        let has = |plan: &Plan| {
            let mut tables = plan.compiled.tables.iter().filter(|known| known.name == table);
            tables.any(|known| known.find(code.as_bytes()).is_some())
        };
        has(self) || self.feeds().iter().any(|feed| has(feed.plan()))
    }
}

/// A code as it is shown to whoever may not read messages: as it is where it looks like a code, else only how long it is. It may be a name in the wrong field.
pub fn masked_code(code: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+/-".contains(&byte);
    match code.len() <= SHOWN_BYTES_MAX && code.bytes().all(plain) {
        true => Cow::Borrowed(code),
        false => Cow::Owned(format!("<{} bytes>", code.len())),
    }
}

/// What is longer is not shown as a code.
const SHOWN_BYTES_MAX: usize = 20;
/// Codes of one message that are noted.
const OPEN_CODES_MAX: usize = 64;
/// Findings of one message that are looked at for them: a field of free text may miss its table a million times.
const LOOKED_AT_MAX: usize = 512;

/// The place of some bytes as engineers name it: `PID-3[2].4.1`, or `OBX(3)-5` for the third OBX.
pub fn place(message: Message<'_>, span: Span) -> String {
    let count = message.segment_count();
    let Some(segment) =
        (0..count).rev().find(|s| message.segment_span(*s).start <= span.start && !(span.start == 0 && span.end == 0))
    else {
        return "message".to_owned();
    };
    let id = message.segment_id(segment);
    let same = (0..segment).filter(|s| message.segment_id(*s) == id).count();
    let several = same > 0 || (segment + 1..count).any(|s| message.segment_id(s) == id);
    let mut text = if several { format!("{id}({})", same + 1) } else { id.to_string() };
    let field = (1..=message.field_count(segment)).find(|n| {
        let field = message.field(segment, *n);
        field.start <= span.start && span.end <= field.end && !field.is_empty()
    });
    let Some(number) = field else { return text };
    text.push_str(&format!("-{number}"));
    if id.is_header() && number <= 2 {
        return text;
    }
    let delimiters = message.delimiters();
    let mut whole = message.field(segment, number);
    let steps = [(delimiters.repetition, "["), (delimiters.component, "."), (delimiters.subcomponent, ".")];
    for (separator, mark) in steps {
        let parts: Vec<Span> = message.parts(whole, separator).collect();
        let Some(at) = parts.iter().position(|p| p.start <= span.start && span.end <= p.end) else { break };
        if mark == "[" {
            if parts.len() > 1 {
                text.push_str(&format!("[{}]", at + 1));
            }
        } else if span != whole || parts.len() > 1 {
            if span == whole {
                break;
            }
            text.push_str(&format!(".{}", at + 1));
        }
        whole = parts[at];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_look_like_a_code_is_not_shown() {
        for code in ["", "X7", "LOINC/8867-4", "a.b_c+d", "12345678901234567890"] {
            assert_eq!(masked_code(code), code);
        }
        for (text, shown) in
            [("Theodora Hollins", "<16 bytes>"), ("123456789012345678901", "<21 bytes>"), ("é", "<2 bytes>")]
        {
            assert_eq!(masked_code(text), shown);
        }
    }
}
