//! Values of a message as they read: escapes and the character set of MSH-18 resolved, blanks around them and `""` as nothing.
//!
//! Times without an offset are of the zone of the facility that sent them; of a date alone the beginning and the end of that day there are told.
mod candidates;
mod told;

pub(super) use candidates::{Candidate, candidates, matters};

use super::event::{Identifier, Number, Patient, VisitKey};
use crate::hl7::{Charset, Delimiters, Message, Precision, SegmentId, Span, Timestamp, decode_into, is_null};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use std::borrow::Cow;
use std::ops::Range;

/// The longest value that is read; what is longer is cut.
const VALUE_BYTES_MAX: usize = 1024;
/// Identifiers of a patient that are read.
const IDENTIFIERS_MAX: usize = 64;

/// A message and how its bytes become text.
#[derive(Clone, Copy)]
pub(super) struct Reading<'m> {
    message: Message<'m>,
    delimiters: Delimiters,
    charset: Charset,
    header: usize,
}

/// A time that was told: the whole day where no time of day was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Its beginning, in milliseconds since 1970 (UTC).
    pub ms: i64,
    /// Its last millisecond; the same where a time of day was told.
    pub last_ms: i64,
}

/// Who a message is about, by its first PID.
pub fn patient(message: Message<'_>) -> Option<Patient> {
    let reading = Reading::new(message)?;
    reading.find(reading.all(), b"PID").map(|pid| reading.patient(pid))
}

impl<'m> Reading<'m> {
    /// Of a message that has a header.
    pub fn new(message: Message<'m>) -> Option<Reading<'m>> {
        let header = message.find(SegmentId(*b"MSH"))?;
        let charset = Charset::of_message(message.text(header, 18));
        Some(Reading { message, delimiters: message.delimiters(), charset, header })
    }

    /// MSH.
    pub fn header(self) -> usize {
        self.header
    }

    /// Who sends it: MSH-3.1 and MSH-4.1, joined by `|`.
    pub fn feed(self) -> String {
        let mut feed = self.text(Some(self.header), 3, 1);
        feed.push('|');
        feed.push_str(&self.view(Some(self.header), 4, 1));
        feed
    }

    /// All segments.
    pub fn all(self) -> Range<usize> {
        0..self.message.segment_count()
    }

    /// The name of a segment.
    pub fn id(self, segment: usize) -> [u8; 3] {
        self.message.segment_id(segment).0
    }

    /// The whole of a segment, as it stands.
    pub fn segment(self, segment: usize) -> &'m [u8] {
        self.message.bytes(self.message.segment_span(segment))
    }

    /// A field, as it stands.
    pub fn field(self, segment: usize, field: usize) -> &'m [u8] {
        self.message.text(segment, field)
    }

    /// What parts fields.
    pub fn separator(self) -> u8 {
        self.delimiters.field
    }

    /// What parts components.
    pub fn between(self) -> u8 {
        self.delimiters.component
    }

    /// The segments of a name within some.
    pub fn segments(self, within: Range<usize>, id: &'static [u8; 3]) -> impl Iterator<Item = usize> {
        within.filter(move |segment| self.id(*segment) == *id)
    }

    /// The first of them.
    pub fn find(self, within: Range<usize>, id: &'static [u8; 3]) -> Option<usize> {
        self.segments(within, id).next()
    }

    /// The repetitions of a field that hold anything.
    pub fn repetitions(self, segment: usize, field: usize) -> impl Iterator<Item = Span> {
        let parts = self.message.parts(self.message.field(segment, field), self.delimiters.repetition);
        parts.filter(move |span| valued(self.message.bytes(*span)))
    }

    /// A component, from 1, of the first repetition in a span: its first subcomponent unless another is asked for. One pass, as a message is asked a hundred times.
    pub fn part(self, span: Span, component: usize, subcomponent: usize) -> &'m [u8] {
        let Delimiters { repetition, component: between, subcomponent: within, .. } = self.delimiters;
        let bytes = self.message.bytes(span);
        let (mut start, mut at_component, mut at_subcomponent) = (0, 1, 1);
        let mut end = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            // A delimiter of 0 parts nothing.
            if *byte == 0 || (*byte != repetition && *byte != between && *byte != within) {
                continue;
            }
            if *byte == repetition || (at_component, at_subcomponent) == (component, subcomponent) {
                end = at;
                break;
            }
            if *byte == between {
                (at_component, at_subcomponent) = (at_component + 1, 1);
                if at_component > component {
                    return &[];
                }
            } else {
                at_subcomponent += 1;
            }
            start = at + 1;
        }
        let found = (at_component, at_subcomponent) == (component, subcomponent);
        clean(bytes.get(start..end).filter(|_| found).unwrap_or_default())
    }

    /// A component of a repetition as it stands, with its subcomponents.
    pub fn whole(self, repetition: Span, component: usize) -> &'m [u8] {
        self.message.bytes(self.message.part(repetition, self.delimiters.component, component))
    }

    /// The bytes of a component of the first repetition of a field.
    pub fn bytes(self, segment: Option<usize>, field: usize, component: usize) -> &'m [u8] {
        segment.map_or(&[], |segment| self.part(self.message.field(segment, field), component, 1))
    }

    /// The same as text, to be looked at: borrowed where it reads as it stands, as nearly all do.
    pub fn view(self, segment: Option<usize>, field: usize, component: usize) -> Cow<'m, str> {
        let bytes = self.bytes(segment, field, component);
        self.plain(bytes).map_or_else(|| Cow::Owned(self.decode(bytes)), Cow::Borrowed)
    }

    /// Bytes that read as they stand.
    fn plain(self, bytes: &'_ [u8]) -> Option<&'_ str> {
        let stands = bytes.len() <= VALUE_BYTES_MAX && bytes.is_ascii() && !bytes.contains(&self.delimiters.escape);
        let compatible = !matches!(self.charset, Charset::Encoded(encoding) if !encoding.is_ascii_compatible());
        if stands && compatible { std::str::from_utf8(bytes).ok() } else { None }
    }

    /// The same as text.
    pub fn text(self, segment: Option<usize>, field: usize, component: usize) -> String {
        self.decode(self.bytes(segment, field, component))
    }

    /// Bytes of the message as text.
    pub fn decode(self, bytes: &[u8]) -> String {
        if let Some(plain) = self.plain(bytes) {
            return plain.to_owned();
        }
        let mut out = Vec::with_capacity(bytes.len());
        decode_into(bytes.get(..VALUE_BYTES_MAX).unwrap_or(bytes), &self.delimiters, self.charset, &mut out);
        // What was cut in the middle of a character, or is none, shows as such.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// A component of a repetition as text.
    pub fn component(self, repetition: Span, component: usize) -> String {
        self.decode(self.part(repetition, component, 1))
    }

    /// The identifiers (CX) of a field.
    pub fn identifiers(self, segment: usize, field: usize) -> Vec<Identifier> {
        let identifier = |span| Identifier {
            value: self.component(span, 1),
            authority: self.decode(self.part(span, 4, 1)),
            universal: self.decode(self.part(span, 4, 2)),
            kind: self.component(span, 5),
        };
        let all = self.repetitions(segment, field).take(IDENTIFIERS_MAX).map(identifier);
        all.filter(|identifier| !identifier.value.is_empty()).collect()
    }

    /// A number and who assigned it (EI), of the first repetition of a field.
    pub fn number(self, segment: Option<usize>, field: usize) -> Option<Number> {
        let value = self.text(segment, field, 1);
        let authority = [2, 3].map(|component| self.bytes(segment, field, component));
        let authority = authority.into_iter().find(|part| !part.is_empty()).unwrap_or_default();
        (!value.is_empty()).then(|| Number { value, authority: self.decode(authority) })
    }

    /// The visit by its number (CX). Where nobody is said to have assigned the number, the sender has: locations change within a visit.
    pub fn visit(self, segment: usize, field: usize) -> Option<VisitKey> {
        let number = self.repetitions(segment, field).next()?;
        let value = self.component(number, 1);
        let authority = [1, 2].map(|part| self.part(number, 4, part)).into_iter().find(|part| !part.is_empty());
        let authority = authority.unwrap_or_else(|| self.bytes(Some(self.header), 4, 1));
        (!value.is_empty()).then(|| VisitKey { authority: self.decode(authority), number: value, weak: false })
    }

    /// A time; `None` where there is none, or one that does not even tell the day.
    pub fn time(self, segment: Option<usize>, field: usize, component: usize, zone: &TimeZone) -> Option<Moment> {
        moment(self.bytes(segment, field, component), zone)
    }
}

/// A DTM, TS or DT as a moment.
fn moment(bytes: &[u8], zone: &TimeZone) -> Option<Moment> {
    if bytes.is_empty() {
        return None;
    }
    let time = Timestamp::parse(bytes).ok()?;
    let civil = DateTime::new(
        i16::try_from(time.year).ok()?,
        time.month.cast_signed(),
        time.day.cast_signed(),
        time.hour.cast_signed(),
        time.minute.cast_signed(),
        time.second.cast_signed(),
        nanoseconds(&time),
    );
    let civil = civil.ok()?;
    let at = |civil: DateTime| {
        let timestamp = match time.offset_minutes {
            Some(minutes) => Offset::from_seconds(i32::from(minutes) * 60).ok()?.to_timestamp(civil).ok()?,
            // A time that the clocks skipped is as far after the change as it was written after; of one that came twice the first is meant.
            None => zone.to_ambiguous_timestamp(civil).compatible().ok()?,
        };
        Some(timestamp.as_millisecond())
    };
    let ms = at(civil)?;
    match time.precision {
        Precision::Year | Precision::Month => None,
        // A day is not always of 24 hours.
        Precision::Day => Some(Moment { ms, last_ms: at(civil.date().tomorrow().ok()?.at(0, 0, 0, 0))? - 1 }),
        _ => Some(Moment { ms, last_ms: ms }),
    }
}

fn nanoseconds(time: &Timestamp) -> i32 {
    let digits = time.fraction.iter().take(usize::from(time.fraction_digits));
    let (value, scale) = digits.fold((0, 1_000_000_000), |(value, scale), digit| {
        (value + i32::from(digit.saturating_sub(b'0')) * (scale / 10), scale / 10)
    });
    debug_assert!(scale > 0, "at most four digits");
    value
}

fn clean(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    if is_null(bytes) { &[] } else { bytes }
}

fn valued(bytes: &[u8]) -> bool {
    !clean(bytes).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;
    use jiff::tz::TimeZoneDatabase;

    #[test]
    fn times_without_an_offset_are_of_the_zone() {
        let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
        let told = |text: &str| {
            let show = |ms| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
            moment(text.as_bytes(), &zone).map(|moment| (show(moment.ms), show(moment.last_ms)))
        };
        let at = |text: &str| Some((text.to_owned(), text.to_owned()));
        assert_eq!(told("20260302090800-0500"), at("2026-03-02T14:08:00Z"));
        assert_eq!(told("20260302090800"), at("2026-03-02T14:08:00Z"), "winter");
        assert_eq!(told("202603111030"), at("2026-03-11T14:30:00Z"), "summer");
        assert_eq!(told("20260302090800.25+0000"), at("2026-03-02T09:08:00.25Z"));
        assert_eq!(told("20260308023000"), at("2026-03-08T07:30:00Z"), "skipped: as far after two o'clock");
        assert_eq!(told("20261101013000"), at("2026-11-01T05:30:00Z"), "came twice: the first");
        let day = told("20260308").unwrap();
        assert_eq!(day, ("2026-03-08T05:00:00Z".into(), "2026-03-09T03:59:59.999Z".into()), "23 hours");
        assert_eq!(["", "2026", "202603", "20261301", "x"].map(told), [None, None, None, None, None]);
    }

    proptest::proptest! {
        /// One pass finds what splitting step by step does.
        #[test]
        fn parts_are_what_splitting_gives(field in "[a-c^&~ \"]{0,12}", component in 1..5_usize, subcomponent in 1..4_usize) {
            for msh in ["MSH|^~\\&|A", "MSH|^~|A", "MSH|^|A"] {
                let raw = format!("{msh}\rPID|{field}|x\r");
                let mut index = Index::new();
                index.parse(raw.as_bytes()).unwrap();
                let message = index.message(raw.as_bytes());
                let reading = Reading::new(message).unwrap();
                let delimiters = message.delimiters();
                let first = message.part(message.field(1, 1), delimiters.repetition, 1);
                let part = message.part(first, delimiters.component, component);
                let expected = clean(message.bytes(message.part(part, delimiters.subcomponent, subcomponent)));
                proptest::prop_assert_eq!(reading.part(message.field(1, 1), component, subcomponent), expected);
                proptest::prop_assert_eq!(&*reading.view(Some(1), 1, component), reading.text(Some(1), 1, component));
            }
        }
    }

    #[test]
    fn values_as_they_read() {
        let raw = b"MSH|^~\\&|A|K\xD6LN|||||ADT^A01|1|P|2.5|||||DEU|8859/1\rPID|||\"\"^^^A^MR~ 42 ^^^\"\"&1.2.3&ISO^MR||M\xFCller \\T\\ S\xF6hne\r";
        let mut index = Index::new();
        index.parse(raw).unwrap();
        let reading = Reading::new(index.message(raw)).unwrap();
        let pid = reading.find(reading.all(), b"PID");
        assert_eq!(reading.text(Some(reading.header()), 4, 1), "K\u{d6}LN");
        assert_eq!(reading.text(pid, 5, 1), "M\u{fc}ller & S\u{f6}hne");
        let identifiers = reading.identifiers(pid.unwrap(), 3);
        let only =
            Identifier { value: "42".into(), authority: "".into(), universal: "1.2.3".into(), kind: "MR".into() };
        assert!(identifiers == [only]);
        assert_eq!(reading.text(None, 3, 1), "");
    }
}
