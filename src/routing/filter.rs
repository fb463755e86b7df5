//! Filters: which messages a route wants, as a condition of the mapping language over the message as it came (`MSH-9.1 in (ADT, ORU) and PV1-2 = 'I'`).
//!
//! A path names its segment. Where a message holds several of that name, the condition holds if it holds for any of them, and `!=` and `not in` if for none.
//! Repetitions are as in a mapping: the first, unless the path says which. Texts are compared as they read (escapes and the character set of MSH-18 resolved), without
//! regard to case; blanks around them and `""` count as nothing.
use crate::hl7::{Charset, Index, Message, Options, SegmentId, Span, decode_into, is_null, names, transcode};
use crate::mapping::expression::{Condition, Operand, Path, Repetition, Value, parse_condition};
use std::borrow::Cow;

/// A condition, checked against the definitions of HL7 v2.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    condition: Condition,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FilterError {
    /// Byte offset within the text, where reading stopped.
    pub offset: usize,
    /// What is wrong and what to do.
    pub text: String,
}

impl Filter {
    /// Reads a condition.
    ///
    /// ```
    /// use handoff::routing::Filter;
    /// let filter = Filter::parse("MSH-9.1 = 'ADT' and PID-8 not in (M)")?;
    /// assert!(filter.holds(b"MSH|^~\\&|||||||ADT^A01\rPID|||||||||F\r"));
    /// assert!(!filter.holds(b"MSH|^~\\&|||||||ORU^R01\r"));
    /// # Ok::<(), handoff::routing::FilterError>(())
    /// ```
    ///
    /// # Errors
    /// With the offset where reading stopped, or for a path to what HL7 v2 does not have.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        let condition = parse_condition(text).map_err(|error| FilterError {
            offset: error.offset,
            text: format!("{} expected here, as in \"MSH-9.1 in (ADT, ORU) and PV1-2 = 'I'\"", error.expected),
        })?;
        check(&condition, true).map_err(|text| FilterError { offset: 0, text })?;
        Ok(Filter { text: text.to_owned(), condition })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a message is wanted. One that cannot be read is not.
    pub fn holds(&self, raw: &[u8]) -> bool {
        // How long a message may be was for the listener to say.
        let options = Options { bytes_max: u32::MAX as usize, ..Options::default() };
        let (text, mut index): (Cow<'_, [u8]>, Index) = (transcode(raw), Index::with_options(options));
        index.parse(&text).is_ok() && Scope::Message(index.message(&text)).holds(&self.condition)
    }
}

/// Whether every path names a segment and field that there are. `top`: not within the brackets of a repetition.
fn check(condition: &Condition, top: bool) -> Result<(), String> {
    match condition {
        Condition::And(list) | Condition::Or(list) => list.iter().try_for_each(|inner| check(inner, top)),
        Condition::Not(inner) => check(inner, top),
        Condition::Valued(Value::Path(path))
        | Condition::In(Operand::Text(Value::Path(path)) | Operand::Count(path) | Operand::Length(path), _)
        | Condition::Order(Operand::Text(Value::Path(path)) | Operand::Count(path) | Operand::Length(path), ..) => {
            check_path(path, top)
        }
        Condition::InTable(..) => {
            Err("a filter knows no code tables; list the codes, as in MSH-9.2 in (A01, A03)".into())
        }
        _ => {
            Err("a filter compares fields of the message, such as MSH-9.1; functions and parameters belong in mappings"
                .into())
        }
    }
}

fn check_path(path: &Path, top: bool) -> Result<(), String> {
    match &path.segment {
        Some(segment) if top => {
            let definition = names::segment(segment);
            if definition.is_none() && !segment.starts_with('Z') {
                return Err(format!("HL7 v2 has no segment {segment}"));
            }
            if definition.is_some_and(|definition| definition.field(path.field).is_none()) {
                return Err(format!("{segment} has no field {}", path.field));
            }
        }
        Some(_) => {
            return Err(
                "within the brackets of a repetition a path begins with the component, as in PID-3[5 = 'MR']".into()
            );
        }
        None if top => return Err("a path in a filter names its segment, as in PID-8".into()),
        None => {}
    }
    match &path.repetition {
        Repetition::Filter(condition) => check(condition, false),
        _ => Ok(()),
    }
}

/// What paths are read from.
#[derive(Clone, Copy)]
enum Scope<'m> {
    Message(Message<'m>),
    /// A repetition, whose components paths name.
    Value(Message<'m>, Span),
}

impl<'m> Scope<'m> {
    fn holds(self, condition: &Condition) -> bool {
        match condition {
            Condition::And(list) => list.iter().all(|inner| self.holds(inner)),
            Condition::Or(list) => list.iter().any(|inner| self.holds(inner)),
            Condition::Not(inner) => !self.holds(inner),
            Condition::Valued(Value::Path(path)) => self.texts(path).any(|text| !text.is_empty()),
            Condition::In(Operand::Text(Value::Path(path)), list) => {
                let among = |text: &[u8]| list.iter().any(|item| self.equal(item, text));
                let mut texts = self.texts(path).peekable();
                // A segment that is not there is an empty one.
                if texts.peek().is_none() { among(b"") } else { texts.any(among) }
            }
            Condition::In(operand, list) => {
                let wanted: Vec<f64> = list.iter().filter_map(|item| item.parse().ok()).collect();
                self.numbers(operand).any(|number| wanted.contains(&number))
            }
            Condition::Order(operand, order, limit) => {
                self.numbers(operand).any(|number| number.partial_cmp(limit) == Some(*order))
            }
            // Code tables belong to mappings: `check` refuses them.
            Condition::Valued(_) | Condition::InTable(..) => false,
        }
    }

    /// Whether bytes of the message read as a text of the condition.
    fn equal(self, wanted: &str, text: &[u8]) -> bool {
        let message = self.message();
        let delimiters = message.delimiters();
        if text.is_ascii() && !text.contains(&delimiters.escape) {
            return wanted.as_bytes().eq_ignore_ascii_case(text);
        }
        let header = message.find(SegmentId(*b"MSH")).unwrap_or(0);
        let mut read = Vec::new();
        decode_into(text, &delimiters, Charset::of_message(message.text(header, 18)), &mut read);
        String::from_utf8_lossy(&read).to_lowercase() == wanted.to_lowercase()
    }

    fn message(self) -> Message<'m> {
        let (Scope::Message(message) | Scope::Value(message, _)) = self;
        message
    }

    /// The whole fields (or components) that a path means, one for each segment of the name.
    fn fields(self, path: &Path) -> impl Iterator<Item = Span> {
        let message = self.message();
        let id = path.segment.as_deref().and_then(|name| SegmentId::new(name.as_bytes()));
        let number = usize::from(path.field);
        let segments = match self {
            Scope::Message(_) => 0..message.segment_count(),
            Scope::Value(..) => 0..0,
        };
        let fields = segments
            .filter(move |segment| Some(message.segment_id(*segment)) == id)
            .map(move |segment| message.field(segment, number));
        let component = match self {
            Scope::Message(_) => None,
            Scope::Value(_, span) if number == 0 => Some(span),
            Scope::Value(_, span) => Some(message.part(span, message.delimiters().component, number)),
        };
        fields.chain(component)
    }

    /// The texts that a path means, blanks and nulls as nothing.
    fn texts(self, path: &Path) -> impl Iterator<Item = &'m [u8]> {
        let message = self.message();
        let delimiters = message.delimiters();
        let first = |number: u16| usize::from(number.max(1));
        self.fields(path).map(move |field| {
            let value = match self {
                Scope::Message(_) => {
                    let repetition = self.repetition(field, &path.repetition);
                    let component = message.part(repetition, delimiters.component, first(path.component));
                    message.part(component, delimiters.subcomponent, first(path.subcomponent))
                }
                Scope::Value(..) => message.part(field, delimiters.subcomponent, first(path.component)),
            };
            let text = message.bytes(value).trim_ascii();
            if is_null(text) { &[] } else { text }
        })
    }

    fn repetition(self, field: Span, which: &Repetition) -> Span {
        let message = self.message();
        let separator = message.delimiters().repetition;
        let none = Span { start: field.end, end: field.end };
        match which {
            Repetition::Current => message.part(field, separator, 1),
            Repetition::Index(number) => message.part(field, separator, usize::from(*number)),
            Repetition::Last => message.parts(field, separator).last().unwrap_or(none),
            Repetition::Filter(condition) => message
                .parts(field, separator)
                .find(|repetition| Scope::Value(message, *repetition).holds(condition))
                .unwrap_or(none),
        }
    }

    /// The numbers that an operand means: of a text, of repetitions that are valued, of bytes.
    fn numbers(self, operand: &Operand) -> impl Iterator<Item = f64> {
        let message = self.message();
        let separator = message.delimiters().repetition;
        let path = match operand {
            Operand::Text(Value::Path(path)) | Operand::Count(path) | Operand::Length(path) => Some(path),
            Operand::Text(_) => None,
        };
        let counted = path.filter(|_| matches!(operand, Operand::Count(_))).into_iter().flat_map(move |path| {
            let valued = move |part: &Span| !part.is_empty() && !is_null(message.bytes(*part));
            self.fields(path).map(move |field| message.parts(field, separator).filter(valued).count() as f64)
        });
        let read = path.filter(|_| !matches!(operand, Operand::Count(_))).into_iter().flat_map(move |path| {
            self.texts(path).filter_map(move |text| match operand {
                Operand::Length(_) => Some(text.len() as f64),
                _ => std::str::from_utf8(text).ok()?.parse().ok(),
            })
        });
        counted.chain(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"MSH|^~\\&|ADMIT|NORTH|||||ADT^A01|1|P|2.5\rPID|||1^^^A^MR~2^^^B^SS||Brandt^Leonie\rPV1|1|I|W3^12\rDG1|1||I10\rDG1|2||F20.0\rZBX|x||\"\"\r";

    #[test]
    fn conditions_hold_as_they_read() {
        for (text, expected) in [
            ("MSH-9.1 in (ADT, ORU)", true),
            ("MSH-9.1 = 'adt'", true),
            ("MSH-9.2 not in (A01, A04)", false),
            ("MSH-4 = 'NORTH' and PV1-2 = 'I'", true),
            ("MSH-4 = 'SOUTH' or PV1-3.2 = '12'", true),
            ("DG1-3.1 = 'F20.0'", true),
            ("DG1-3.1 != 'F20.0'", false),
            ("DG1-3.1 = 'E11'", false),
            ("not DG1-3.1 = 'E11'", true),
            ("PID-3[5 = 'SS'].1 = '2'", true),
            ("PID-3.1 = '2'", false),
            ("PID-3[2].4 = 'B'", true),
            ("PID-3[last].5 = 'SS'", true),
            ("count(PID-3) > 1", true),
            ("length(PID-5.1) = 6", true),
            ("ZBX-3 valued", false),
            ("ZBX-1 valued", true),
            ("IN1-2 valued", false),
            ("IN1-2 = ''", true),
        ] {
            let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.holds(MESSAGE), expected, "{text}");
        }
        assert!(!Filter::parse("MSH-10 = ''").unwrap().holds(b"no message"), "what cannot be read is not wanted");
    }

    #[test]
    fn texts_are_compared_as_they_read() {
        let holds = |text: &str, raw: &[u8]| Filter::parse(text).unwrap().holds(raw);
        let latin = b"MSH|^~\\&|A|K\xD6LN|||||ADT^A01|1|P|2.5|||||DEU|8859/1\rPID|||1||M\xFCller\rPV1||I|A\\T\\B\r";
        assert!(holds("MSH-4 = 'K\u{d6}ln' and PID-5.1 = 'm\u{fc}ller'", latin));
        assert!(!holds("MSH-4 != 'K\u{d6}LN'", latin));
        assert!(holds("PV1-3.1 = 'A&B'", latin));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("MSH-9.1 in ADT", "expected here"),
            ("9.1 = 'ADT'", "names its segment"),
            ("QQQ-1 = 'x'", "no segment QQQ"),
            ("PV1-99 valued", "PV1 has no field 99"),
            ("join(' ', PID-5) = 'x'", "compares fields"),
            ("PID-3[PID-5 = 'SS'] valued", "begins with the component"),
            ("", "expected here"),
        ] {
            let error = Filter::parse(text).expect_err(text);
            assert!(error.text.contains(expected), "{text}: {error}");
        }
    }
}
