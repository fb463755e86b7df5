//! What is computed rather than copied: the lines of many segments, base64, a time some while after another.
use super::{Frame, Run};
use crate::hl7::{Precision, Timestamp, is_null};
use crate::mapping::plan::{CURRENT, Path, SourceId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;

/// The longest while that is added to a time: what is longer is a mistake.
const SECONDS_MAX: f64 = 100.0 * 366.0 * 86_400.0;

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Which occurrence of its group the segment at hand stands in, from 1.
    pub(super) fn occurrence(&self, frame: &Frame<'_>) -> u32 {
        self.matcher.instances()[frame.scope as usize].index + 1
    }

    /// A field of all segments of its name in the own group and right below it, one repetition a line. Where there is none, of the group around, no further out
    /// than the nearest that repeats.
    pub(super) fn all_lines(&mut self, path: Path, only: Option<&(Path, Vec<Vec<u8>>)>, frame: &Frame<'_>) {
        // As often as it is asked for: the limit of the output holds for what it is made of, too.
        if path.segment == CURRENT || !self.fits() {
            return;
        }
        let mut scope = frame.scope;
        let mut found = self.in_and_below(scope, path.segment);
        while found.is_empty() && scope != 0 && !self.repeats(scope) {
            scope = self.matcher.instances()[scope as usize].parent;
            found = self.in_and_below(scope, path.segment);
        }
        let start = self.state.temporary.len();
        for at in found {
            let segment = self.state.beside[at].2 as usize;
            if let Some((field, codes)) = only {
                let code = self.message.text(segment, usize::from(field.field)).trim_ascii();
                if !codes.iter().any(|known| known.eq_ignore_ascii_case(code)) {
                    continue;
                }
            }
            let field = self.message.field(segment, usize::from(path.field));
            for part in self.message.parts(field, self.message.delimiters().repetition) {
                if !is_null(self.message.bytes(part)) {
                    self.read(part);
                    self.decode(part);
                }
                self.state.temporary.push(b'\n');
            }
        }
        while self.state.temporary.len() > start && matches!(self.state.temporary.last(), Some(b'\n' | b' ')) {
            self.state.temporary.pop();
        }
    }

    /// The bytes of a value as base64.
    pub(super) fn base64(&mut self, source: SourceId, frame: &Frame<'_>) {
        let start = self.state.temporary.len();
        self.append(source, frame);
        let temporary = &mut self.state.temporary;
        let length = temporary.len() - start;
        temporary.resize(start + length + length.div_ceil(3) * 4, 0);
        let (text, encoded) = temporary[start..].split_at_mut(length);
        let written = STANDARD.encode_slice(&*text, encoded).unwrap_or_default();
        temporary.drain(start..start + length);
        temporary.truncate(start + written);
    }

    /// A time, some while later, as a v2 time; nothing unless all three parts are there and say something.
    pub(super) fn later(&mut self, [start, amount, unit]: [SourceId; 3], frame: &Frame<'_>) {
        let mark = self.state.temporary.len();
        let found = self.plain_text(start, frame);
        let time = Timestamp::parse(self.bytes(found).trim_ascii()).ok();
        self.state.temporary.truncate(mark);
        let found = self.plain_text(unit, frame);
        let unit = unit_seconds(self.bytes(found).trim_ascii());
        self.state.temporary.truncate(mark);
        let found = self.plain_text(amount, frame);
        let amount = number(self.bytes(found).trim_ascii());
        self.state.temporary.truncate(mark);
        let (Some(time), Some(unit), Some(amount)) = (time, unit, amount) else { return };
        let seconds = (amount * unit).round();
        if !(1.0..=SECONDS_MAX).contains(&seconds) {
            return;
        }
        // The zone that holds at the start holds at the end: what lies between is a number of seconds.
        let offset = time.offset_minutes.or_else(|| self.default_offset(&time));
        // Writing into a Vec cannot fail.
        _ = write_later(&mut self.state.temporary, &time, seconds as i64, offset);
    }
}

/// A positive number in digits.
fn number(text: &[u8]) -> Option<f64> {
    let plain = text.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// Units of time as UCUM and as senders write them.
fn unit_seconds(unit: &[u8]) -> Option<f64> {
    let is = |names: &[&str]| names.iter().any(|name| unit.eq_ignore_ascii_case(name.as_bytes()));
    match () {
        () if is(&["s", "sec", "secs", "second", "seconds"]) => Some(1.0),
        () if is(&["min", "mins", "minute", "minutes", "m"]) => Some(60.0),
        () if is(&["h", "hr", "hrs", "hour", "hours"]) => Some(3600.0),
        () if is(&["d", "day", "days"]) => Some(86_400.0),
        () if is(&["wk", "w", "week", "weeks"]) => Some(604_800.0),
        () => None,
    }
}

/// Writes a time so many seconds later, as precisely as it was and as that asks for; nothing where the time does not say enough.
fn write_later(out: &mut Vec<u8>, time: &Timestamp, seconds: i64, offset: Option<i16>) -> std::io::Result<()> {
    let timed = time.precision >= Precision::Hour;
    if time.precision < Precision::Day || (!timed && seconds % 86_400 != 0) {
        return Ok(());
    }
    let [month, day] = [time.month, time.day].map(|part| part as i8);
    let [hour, minute, second] = [time.hour, time.minute, time.second].map(|part| part as i8);
    let civil = jiff::civil::DateTime::new(time.year as i16, month, day, hour, minute, second, 0);
    let later = civil.and_then(|civil| civil.checked_add(jiff::SignedDuration::from_secs(seconds)));
    let Some(later) = later.ok().filter(|later| later.year() > 0) else { return Ok(()) };
    write!(out, "{:04}{:02}{:02}", later.year(), later.month(), later.day())?;
    if !timed {
        return Ok(());
    }
    write!(out, "{:02}{:02}", later.hour(), later.minute())?;
    if time.precision == Precision::Second || later.second() != 0 {
        write!(out, "{:02}", later.second())?;
    }
    if time.fraction_digits > 0 {
        out.push(b'.');
        out.extend_from_slice(&time.fraction[..usize::from(time.fraction_digits)]);
    }
    if let Some(offset) = offset {
        let (sign, offset) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
        write!(out, "{sign}{:02}{:02}", offset / 60, offset % 60)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(start: &str, amount: &str, unit: &str) -> String {
        let (Ok(time), Some(amount), Some(unit)) =
            (Timestamp::parse(start.as_bytes()), number(amount.as_bytes()), unit_seconds(unit.as_bytes()))
        else {
            return String::new();
        };
        let mut out = Vec::new();
        write_later(&mut out, &time, (amount * unit).round() as i64, time.offset_minutes).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_some_while_later() {
        for (start, amount, unit, end) in [
            ("202603141030+0100", "45", "min", "202603141115+0100"),
            ("202602282350", "20", "MIN", "202603010010"),
            ("202412312300-0500", "1.5", "h", "202501010030-0500"),
            ("20260314103015.25", "30", "s", "20260314103045.25"),
            ("202603141030", "90", "s", "20260314103130"),
            ("2026031410", "30", "minutes", "202603141030"),
            ("20260228", "1", "d", "20260301"),
            ("20260228", "2", "wk", "20260314"),
        ] {
            assert_eq!(later(start, amount, unit), end, "{start} {amount} {unit}");
        }
    }

    #[test]
    fn what_does_not_say_enough_has_no_end() {
        for (start, amount, unit) in [
            ("20260228", "30", "min"),
            ("202602", "1", "d"),
            ("99991231235900", "2", "min"),
            ("202603141030", "thirty", "min"),
            ("202603141030", "-5", "min"),
            ("202603141030", "30", ""),
            ("202603141030", "3", "mg"),
        ] {
            assert_eq!(later(start, amount, unit), "", "{start} {amount} {unit}");
        }
    }
}
