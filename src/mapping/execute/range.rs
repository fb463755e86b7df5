//! Ranges written as text, as OBX-7 has them: `3.5-5.0`, `>=5`, `<0.50 IU/mL`.
use super::text::Piece;
use super::{Frame, Run, SEGMENT};
use crate::mapping::plan::{RangePart, Source, SourceId};

/// What a text says as a range. What it does not say is empty, and so is all of it when the text is no range.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range<'t> {
    low: &'t [u8],
    high: &'t [u8],
    unit: &'t [u8],
}

impl<'t> Range<'t> {
    fn of(text: &'t [u8]) -> Range<'t> {
        read(text.trim_ascii()).unwrap_or_default()
    }

    pub(super) fn part(self, part: RangePart) -> &'t [u8] {
        match part {
            RangePart::Low => self.low,
            RangePart::High => self.high,
            RangePart::Unit => self.unit,
        }
    }
}

fn read(text: &[u8]) -> Option<Range<'_>> {
    let (low, high, unit) = match text {
        [sign @ (b'<' | b'>'), b'=', rest @ ..] | [sign @ (b'<' | b'>'), rest @ ..] => {
            let (end, unit) = number(rest.trim_ascii_start())?;
            if *sign == b'<' { (&[][..], end, unit) } else { (end, &[][..], unit) }
        }
        _ => {
            let (low, rest) = number(text)?;
            let (high, unit) = number(rest.strip_prefix(b"-")?.trim_ascii_start())?;
            (low, high, unit)
        }
    };
    is_unit(unit).then_some(Range { low, high, unit })
}

/// The digits and points that a text begins with, and what follows them.
fn number(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    number.iter().any(u8::is_ascii_digit).then_some((number, rest.trim_ascii_start()))
}

/// Whether what follows the numbers is nothing, or looks like a unit.
fn is_unit(text: &[u8]) -> bool {
    let Some(first) = text.first() else { return true };
    let begins = match first {
        // A power belongs to the number: 5E3, 5 x 10^3.
        b'e' | b'E' | b'x' | b'X' => {
            !text[1..].iter().find(|b| !matches!(b, b' ' | b'+' | b'-')).is_some_and(u8::is_ascii_digit)
        }
        b'%' | b'[' | b'{' => true,
        _ if first.is_ascii() => first.is_ascii_alphabetic(),
        // µg/L
        _ => str::from_utf8(text).is_ok_and(|text| text.starts_with(char::is_alphabetic)),
    };
    // `M, 0-10 F` and `or >10` say more than a unit.
    begins && !text.iter().any(|b| matches!(b, b',' | b';' | b':' | b'<' | b'>' | b'='))
}

impl<'a, const TRACE: bool> Run<'a, TRACE> {
    /// The range that a field holds; `None` where it takes more than reading its bytes. Many rows ask for parts of the same one.
    pub(super) fn plain_range(&mut self, source: SourceId, frame: &Frame<'_>) -> Option<Range<'a>> {
        let plan = self.plan;
        let Source::Path(path) = &plan.sources[source as usize] else { return None };
        // A traced run reads anew each time, to know for whom.
        let own = !TRACE && path.plain && frame.level == SEGMENT && frame.driver != path.field;
        let key = (frame.segment, path.field);
        if let (true, Some((known, range))) = (own, self.ranged)
            && known == key
        {
            return Some(range);
        }
        let range = match self.leaf(*path, frame) {
            Some(span) if self.verbatim(span) => Range::of(self.message.bytes(span)),
            Some(_) => return None,
            None => Range::default(),
        };
        if own {
            self.ranged = Some((key, range));
        }
        Some(range)
    }

    /// Appends a part of a range to the temporary buffer.
    pub(super) fn range(&mut self, source: SourceId, part: RangePart, frame: &Frame<'_>) {
        if let Some(range) = self.plain_range(source, frame) {
            return self.state.temporary.extend_from_slice(range.part(part));
        }
        let start = self.state.temporary.len();
        if let Piece::Fixed(text) = self.plain_text(source, frame) {
            self.state.temporary.extend_from_slice(self.plan.text(text));
        }
        let text = &self.state.temporary[start..];
        let found = Range::of(text).part(part);
        let length = found.len();
        let at = if length == 0 { 0 } else { found.as_ptr() as usize - text.as_ptr() as usize };
        self.state.temporary.copy_within(start + at..start + at + length, start);
        self.state.temporary.truncate(start + length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_what_is_none() {
        for (text, low, high, unit) in [
            ("3.5-5.0", "3.5", "5.0", ""),
            (" 3.5 - 5.0 ", "3.5", "5.0", ""),
            (">=5", "5", "", ""),
            ("< 3", "", "3", ""),
            ("<0.50 IU/mL", "", "0.50", "IU/mL"),
            ("649-1346 cells/mcL ", "649", "1346", "cells/mcL"),
            ("3.5-5.0g/dL", "3.5", "5.0", "g/dL"),
            ("4-6 %", "4", "6", "%"),
            (">60 mL/min/{1.73_m2}", "60", "", "mL/min/{1.73_m2}"),
            ("60-80 mm[Hg]", "60", "80", "mm[Hg]"),
            ("0-20 [IU]/mL", "0", "20", "[IU]/mL"),
            ("1-2 {ratio}", "1", "2", "{ratio}"),
            ("5-20 µg/L", "5", "20", "µg/L"),
            (">5 eq/L", "5", "", "eq/L"),
        ] {
            let found = Range::of(text.as_bytes());
            assert_eq!([found.low, found.high, found.unit].map(String::from_utf8_lossy), [low, high, unit], "{text}");
        }
        for text in [
            "",
            "Negative",
            "70_105",
            "see note 3",
            "neg-pos",
            "4,0-6,0",
            "6.0-",
            "-5",
            "<",
            "1-2-3",
            "1-5E3",
            "<1e-5",
            "4-11 x10",
            "4-11 x 10",
            "4-11 10*3/uL",
            "<1:80",
            "1-2 (adults)",
            "0-5 M, 0-10 F",
            "<5 or >10",
            "5 g/dL",
            "1-2 °C",
            ".-.",
        ] {
            let found = Range::of(text.as_bytes());
            assert!(found.low.is_empty() && found.high.is_empty() && found.unit.is_empty(), "{text}: {found:?}");
        }
    }
}
