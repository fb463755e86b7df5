//! Text → FHIR primitives (R4, 2.24): what is written is always a valid value of its type; what cannot be one is left out, with a finding.
use super::text::Piece;
use super::{Run, State, Wrote};
use crate::fhir::json;
use crate::fhir::shape::CodeSet;
use crate::hl7::{Notes, Precision, Span, Time, Timestamp};
use crate::mapping::FindingCode;
use crate::mapping::plan::{Conversion, NONE};
use std::io::Write as _;

/// A v2 time, its first component, if it is one.
pub(super) fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let end = memchr::memchr(b'^', value).unwrap_or(value.len());
    Timestamp::parse(&value[..end]).ok()
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Writes a piece of text as a primitive.
    pub(super) fn primitive(&mut self, piece: Piece, conversion: Conversion, codes: Option<&CodeSet>) -> Wrote {
        let wrote = match conversion {
            Conversion::String => self.string(piece),
            Conversion::Code => self.code(piece, codes),
            Conversion::Date | Conversion::DateTime | Conversion::Instant => self.date(piece, conversion),
            _ => self.short(piece, conversion),
        };
        if wrote { Wrote::Sourced } else { Wrote::Nothing }
    }

    /// Any text: straight from the message when it needs no work.
    fn string(&mut self, piece: Piece) -> bool {
        let Piece::Raw(span) = piece else {
            let start = if let Piece::Built(start) = piece { start } else { usize::MAX };
            let text = match piece {
                Piece::Fixed(text) => self.plan.text(text),
                Piece::Built(_) => &self.state.temporary[start..],
                _ => return false,
            };
            if text.iter().all(|b| *b <= b' ') {
                return false;
            }
            json::string(&mut self.state.out, text);
            return true;
        };
        if self.verbatim(span) {
            self.quote(span);
            return true;
        }
        let start = self.state.temporary.len();
        self.decode(span);
        let text = &self.state.temporary[start..];
        let blank = text.iter().all(|b| *b <= b' ');
        if !blank {
            json::string(&mut self.state.out, text);
        }
        self.state.temporary.truncate(start);
        !blank
    }

    /// The text resolved, in the temporary buffer or still in the message.
    pub(super) fn resolved(&mut self, piece: Piece) -> (Piece, usize) {
        let mark = self.state.temporary.len();
        if let Piece::Raw(span) = piece
            && !self.verbatim(span)
        {
            self.decode(span);
            return (Piece::Built(mark), mark);
        }
        (piece, mark)
    }

    fn code(&mut self, piece: Piece, codes: Option<&CodeSet>) -> bool {
        if let (Piece::Raw(span), None) = (piece, codes)
            && self.verbatim(span)
            && !self.message.bytes(span).contains(&b' ')
        {
            self.quote(span);
            return true;
        }
        let (resolved, mark) = self.resolved(piece);
        let text = self.bytes(resolved).trim_ascii();
        let allowed = codes.is_none_or(|set| std::str::from_utf8(text).is_ok_and(|code| set.contains(code)));
        let mut good = allowed && !text.is_empty();
        if good {
            let State { out, temporary, .. } = &mut *self.state;
            let text = match resolved {
                Piece::Raw(span) => self.message.bytes(span),
                Piece::Fixed(text) => self.plan.text(text),
                Piece::Built(start) => &temporary[start..],
                Piece::Nothing => &[],
            };
            let start = out.len();
            out.push(b'"');
            // A code holds single blanks only (R4, 2.24.0.1).
            for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                if out.len() > start + 1 {
                    out.push(b' ');
                }
                json::escaped(out, word);
            }
            out.push(b'"');
            if out.len() == start + 2 {
                out.truncate(start);
                good = false;
            }
        } else if !allowed {
            self.find_piece(FindingCode::CodeNotAllowed, piece);
        }
        self.state.temporary.truncate(mark);
        good
    }

    fn date(&mut self, piece: Piece, conversion: Conversion) -> bool {
        let parsed = Timestamp::parse(self.bytes(piece).trim_ascii());
        let Ok(time) = parsed else {
            self.find_piece(FindingCode::InvalidDate, piece);
            return false;
        };
        let offset = time.offset_minutes.or_else(|| self.default_offset(&time));
        let timed = time.precision >= Precision::Hour;
        if conversion != Conversion::Date && timed && offset.is_none() {
            self.find_piece(FindingCode::NoOffset, piece);
        }
        if conversion == Conversion::Instant && (!timed || offset.is_none()) {
            return false;
        }
        self.state.out.push(b'"');
        write_date(&mut self.state.out, &time);
        if let (true, Some(offset)) = (timed && conversion != Conversion::Date, offset) {
            write_time(&mut self.state.out, &time, offset);
        }
        self.state.out.push(b'"');
        true
    }

    /// The offset of a time that has none: MSH-7's, then the profile's zone.
    pub(super) fn default_offset(&self, time: &Timestamp) -> Option<i16> {
        if self.offset_minutes.is_some() {
            return self.offset_minutes;
        }
        let zone = self.zone?;
        let civil = jiff::civil::DateTime::new(
            time.year as i16,
            time.month.max(1) as i8,
            time.day.max(1) as i8,
            time.hour as i8,
            time.minute as i8,
            time.second.min(59) as i8,
            0,
        );
        let instant = zone.to_ambiguous_zoned(civil.ok()?).compatible().ok()?;
        Some((instant.offset().seconds() / 60) as i16)
    }

    /// Numbers, booleans, times, URIs, ids, base64.
    fn short(&mut self, piece: Piece, conversion: Conversion) -> bool {
        let (resolved, mark) = self.resolved(piece);
        let text = match resolved {
            Piece::Nothing => &[][..],
            Piece::Raw(span) => self.message.bytes(span),
            Piece::Fixed(text) => self.plan.text(text),
            Piece::Built(start) => &self.state.temporary[start..],
        };
        let out = &mut self.state.out;
        let text = text.trim_ascii();
        let good = match conversion {
            Conversion::Decimal => decimal(out, text),
            Conversion::Integer => integer(out, text, i64::from(i32::MIN)),
            Conversion::UnsignedInt => integer(out, text, 0),
            Conversion::PositiveInt => integer(out, text, 1),
            Conversion::Boolean => boolean(out, text),
            Conversion::Time => time(out, text),
            Conversion::Uri => token(out, text, |b| *b > b' ' && *b != 0x7f, usize::MAX),
            Conversion::Id => token(out, text, |b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.', 64),
            _ => base64(out, text),
        };
        self.state.temporary.truncate(mark);
        if !good {
            self.find_piece(FindingCode::InvalidValue, piece);
        }
        good
    }

    pub(super) fn find_piece(&mut self, code: FindingCode, piece: Piece) {
        let span = if let Piece::Raw(span) = piece { span } else { Span::default() };
        self.find(code, NONE, span);
    }

    pub(super) fn note(&mut self, notes: Notes, span: Span) {
        if notes.contains(Notes::BAD_ESCAPE) {
            self.find(FindingCode::BadEscape, NONE, span);
        }
        if notes.contains(Notes::UNDECODABLE) {
            self.find(FindingCode::Undecodable, NONE, span);
        }
        if notes.contains(Notes::LOCAL_ESCAPE) {
            self.find(FindingCode::LocalEscape, NONE, span);
        }
    }
}

/// `YYYY[-MM[-DD]]`.
pub(super) fn write_date(out: &mut Vec<u8>, time: &Timestamp) {
    let [century, year] = [digits(time.year / 100), digits(time.year % 100)];
    let [month, day] = [digits(time.month.into()), digits(time.day.into())];
    let length = match time.precision {
        Precision::Year => 4,
        Precision::Month => 7,
        _ => 10,
    };
    let date = [century[0], century[1], year[0], year[1], b'-', month[0], month[1], b'-', day[0], day[1]];
    let start = out.len();
    out.extend_from_slice(&date);
    out.truncate(start + length);
}

/// `Thh:mm:ss[.f]±hh:mm`.
pub(super) fn write_time(out: &mut Vec<u8>, time: &Timestamp, offset: i16) {
    let [hour, minute, second] = [time.hour, time.minute, time.second].map(|number| digits(number.into()));
    out.extend_from_slice(&[b'T', hour[0], hour[1], b':', minute[0], minute[1], b':', second[0], second[1]]);
    fraction(out, &time.fraction[..usize::from(time.fraction_digits)]);
    let sign = if offset < 0 { b'-' } else { b'+' };
    let [hour, minute] = [offset.unsigned_abs() / 60, offset.unsigned_abs() % 60].map(digits);
    out.extend_from_slice(&[sign, hour[0], hour[1], b':', minute[0], minute[1]]);
}

fn fraction(out: &mut Vec<u8>, fraction: &[u8]) {
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend(fraction.iter().map(|digit| if digit.is_ascii_digit() { *digit } else { b'0' + digit }));
    }
}

/// The two digits of a number below 100.
fn digits(number: u16) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn time(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Ok(time) = Time::parse(text) else { return false };
    // Writing into a Vec cannot fail.
    let _ = write!(out, "\"{:02}:{:02}:{:02}", time.hour, time.minute, time.second);
    fraction(out, &time.fraction[..usize::from(time.fraction_digits)]);
    out.push(b'"');
    true
}

/// A v2 NM as JSON number, digits kept: `+1.50` → `1.50`, `.5` → `0.5`, `007` → `7`.
fn decimal(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (whole, fraction) = match memchr::memchr(b'.', rest) {
        Some(dot) => (&rest[..dot], &rest[dot + 1..]),
        None => (rest, &[][..]),
    };
    let all_digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return false;
    }
    let zeros = whole.iter().take_while(|b| **b == b'0').count().min(whole.len().saturating_sub(1));
    if negative {
        out.push(b'-');
    }
    if whole.is_empty() {
        out.push(b'0');
    }
    out.extend_from_slice(&whole[zeros..]);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    true
}

fn integer(out: &mut Vec<u8>, text: &[u8], least: i64) -> bool {
    let whole = text.strip_suffix(b".0").unwrap_or(text);
    let number = std::str::from_utf8(whole).ok().and_then(|t| t.parse::<i64>().ok());
    match number.filter(|n| *n >= least && *n <= i64::from(i32::MAX)) {
        // Writing into a Vec cannot fail.
        Some(number) => write!(out, "{number}").is_ok(),
        None => false,
    }
}

fn boolean(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let word: &[u8] = match text {
        b"Y" | b"y" | b"true" | b"1" => b"true",
        b"N" | b"n" | b"false" | b"0" => b"false",
        _ => return false,
    };
    out.extend_from_slice(word);
    true
}

fn token(out: &mut Vec<u8>, text: &[u8], good: impl Fn(&u8) -> bool, most: usize) -> bool {
    if text.is_empty() || text.len() > most || !text.iter().all(good) {
        return false;
    }
    json::string(out, text);
    true
}

fn base64(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let start = out.len();
    out.push(b'"');
    // Line breaks within base64 are allowed on the way in, not on the way out.
    if memchr::memchr3(b' ', b'\n', b'\r', text).is_none() {
        out.extend_from_slice(text);
    } else {
        out.extend(text.iter().filter(|b| !b.is_ascii_whitespace()));
    }
    let body = &out[start + 1..];
    let padding = body.iter().rev().take_while(|b| **b == b'=').count();
    let good = !body.is_empty()
        && body.len().is_multiple_of(4)
        && padding <= 2
        // Without a way out in the middle, so that the processor can look at many bytes at once.
        && body[..body.len() - padding]
            .iter()
            .fold(true, |good, b| good & (b.is_ascii_alphanumeric() | (*b == b'+') | (*b == b'/')));
    if good {
        out.push(b'"')
    } else {
        out.truncate(start)
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Vec<u8>) -> bool) -> Option<String> {
        let mut out = Vec::new();
        write(&mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn decimals_keep_their_digits() {
        for (text, expected) in
            [("1.50", "1.50"), ("+7", "7"), ("-.5", "-0.5"), ("5.", "5"), ("007.10", "7.10"), ("0", "0"), ("00", "0")]
        {
            assert_eq!(written(|out| decimal(out, text.as_bytes())).as_deref(), Some(expected), "{text}");
        }
        for text in ["", ".", "-", "1e5", "1,5", "<5"] {
            assert_eq!(written(|out| decimal(out, text.as_bytes())), None, "{text}");
        }
    }

    #[test]
    fn base64_is_checked_and_unfolded() {
        assert_eq!(written(|out| base64(out, b"QUJD\r\nRA==")).as_deref(), Some("\"QUJDRA==\""));
        assert_eq!(written(|out| base64(out, b"QUJ")), None);
        assert_eq!(written(|out| base64(out, b"not base64!!")), None);
    }
}
