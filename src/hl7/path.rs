//! Paths to a part of a message, as engineers write them: `PID-3`, `PID-3[1].4.2`, `OBX[2]-5`.
use std::fmt;

use super::message::Message;
use super::span::{SegmentId, Span};

/// A place in a message: segment, its occurrence, field, repetition, component, subcomponent; all counted from 1.
///
/// `.` may stand for `-` when read. A repetition that is not given is the whole field, or the first as soon as a component is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Path {
    /// The segment's name.
    pub segment: SegmentId,
    /// Which of that name; the first if not given.
    pub occurrence: Option<u32>,
    /// The field; the whole segment if not given.
    pub field: Option<u32>,
    /// The repetition of the field.
    pub repetition: Option<u32>,
    /// The component.
    pub component: Option<u32>,
    /// The subcomponent.
    pub subcomponent: Option<u32>,
}

/// Why a text is no path. `column` counts bytes from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("column {column}: {expected} expected, as in PID-3[1].4.2")]
pub struct PathError {
    /// Where.
    pub column: usize,
    /// What should stand there.
    pub expected: &'static str,
}

impl Path {
    /// Reads a path.
    ///
    /// ```
    /// let path = handoff::hl7::Path::parse("obx[2]-5.1")?;
    /// assert_eq!((path.to_string(), path.occurrence, path.component), ("OBX[2]-5.1".into(), Some(2), Some(1)));
    /// # Ok::<(), handoff::hl7::PathError>(())
    /// ```
    ///
    /// # Errors
    /// For the first place that does not follow the notation.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let bytes = text.as_bytes();
        let segment =
            bytes.get(..3).and_then(SegmentId::new).ok_or(PathError { column: 1, expected: "a segment name" })?;
        let mut reader = Reader { bytes, at: 3 };
        let occurrence = reader.bracketed()?;
        let field = if reader.take(b'-') || reader.take(b'.') { Some(reader.number()?) } else { None };
        let repetition = if field.is_some() { reader.bracketed()? } else { None };
        let component = if field.is_some() && reader.take(b'.') { Some(reader.number()?) } else { None };
        let subcomponent = if component.is_some() && reader.take(b'.') { Some(reader.number()?) } else { None };
        match reader.at == bytes.len() {
            true => Ok(Self { segment, occurrence, field, repetition, component, subcomponent }),
            false => Err(PathError {
                column: reader.at + 1,
                expected: if field.is_none() { "- and a field number" } else { "the end, or . and a number" },
            }),
        }
    }

    /// The part of the message at this path; `None` when the segment does not occur that often. An empty span when only the rest is not there.
    pub fn resolve(&self, message: Message<'_>) -> Option<Span> {
        let nth = self.occurrence.unwrap_or(1).checked_sub(1)? as usize;
        let segment = (0..message.segment_count()).filter(|&at| message.segment_id(at) == self.segment).nth(nth)?;
        let Some(field) = self.field else {
            return Some(message.segment_span(segment));
        };
        let mut span = message.field(segment, field as usize);
        if self.segment.is_header() && field <= 2 {
            // The delimiters themselves have no parts.
            let first = [self.repetition, self.component, self.subcomponent]
                .iter()
                .all(|part| part.is_none_or(|number| number == 1));
            return Some(if first { span } else { Span { start: span.end, end: span.end } });
        }
        let delimiters = message.delimiters();
        let repetition = self.repetition.or(self.component.map(|_| 1));
        for (number, separator) in [
            (repetition, delimiters.repetition),
            (self.component, delimiters.component),
            (self.subcomponent, delimiters.subcomponent),
        ] {
            if let Some(number) = number {
                span = message.part(span, separator, number as usize);
            }
        }
        Some(span)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.segment)?;
        for (before, number, after) in [
            ("[", self.occurrence, "]"),
            ("-", self.field, ""),
            ("[", self.repetition, "]"),
            (".", self.component, ""),
            (".", self.subcomponent, ""),
        ] {
            if let Some(number) = number {
                write!(f, "{before}{number}{after}")?;
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn bracketed(&mut self) -> Result<Option<u32>, PathError> {
        if !self.take(b'[') {
            return Ok(None);
        }
        let number = self.number()?;
        if self.take(b']') { Ok(Some(number)) } else { Err(PathError { column: self.at + 1, expected: "]" }) }
    }

    fn number(&mut self) -> Result<u32, PathError> {
        let wrong = PathError { column: self.at + 1, expected: "a number from 1" };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += end;
        let number = std::str::from_utf8(&rest[..end]).ok().and_then(|digits| digits.parse().ok());
        number.filter(|&number| number > 0).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;

    fn resolve(path: &str) -> Option<String> {
        let raw = b"MSH|^~\\&|LAB\rPID|1||4711^^^GHH&1.2&ISO^MR~99^^^SSA\rOBX|1|NM\rOBX|2|TX||||7";
        let mut index = Index::new();
        index.parse(raw).expect("parses");
        let message = index.message(raw);
        let span = Path::parse(path).expect(path).resolve(message)?;
        Some(String::from_utf8_lossy(message.bytes(span)).into_owned())
    }

    #[test]
    fn round_trip() {
        for path in ["PID", "PID-3", "PID-3[2]", "PID-3[2].4.2", "OBX[2]-5", "OBX[12]-5[3].1", "ZX1-3.4"] {
            assert_eq!(Path::parse(path).map(|path| path.to_string()).as_deref(), Ok(path));
        }
        assert_eq!(Path::parse("pid.3.1").map(|path| path.to_string()).as_deref(), Ok("PID-3.1"));
    }

    #[test]
    fn places() {
        for (path, value) in [
            ("MSH-1", "|"),
            ("MSH-2", "^~\\&"),
            ("MSH-2.1", "^~\\&"),
            ("MSH-2.2", ""),
            ("MSH-3", "LAB"),
            ("PID-3", "4711^^^GHH&1.2&ISO^MR~99^^^SSA"),
            ("PID-3[1]", "4711^^^GHH&1.2&ISO^MR"),
            ("PID-3.4", "GHH&1.2&ISO"),
            ("PID-3[1].4.2", "1.2"),
            ("PID-3[2].4.1", "SSA"),
            ("PID-3[3].4.1", ""),
            ("PID-99", ""),
            ("OBX[2]-6", "7"),
            ("OBX", "OBX|1|NM"),
        ] {
            assert_eq!(resolve(path).as_deref(), Some(value), "{path}");
        }
        assert_eq!((resolve("OBX[3]-1"), resolve("PV1-2")), (None, None));
    }

    #[test]
    fn errors_say_where() {
        for (text, column) in [
            ("", 1),
            ("PI-3", 1),
            ("P*D-3", 1),
            ("PIDX", 4),
            ("PID-", 5),
            ("PID-0", 5),
            ("PID-3[", 7),
            ("PID-3[1", 8),
            ("PID-3.1.2.3", 10),
            ("PID-3 ", 6),
            ("PID-99999999999", 5),
            ("é", 1),
        ] {
            assert_eq!(Path::parse(text).map_err(|error| error.column), Err(column), "{text}");
        }
    }
}
