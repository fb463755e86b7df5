//! Times of HL7 v2 with the precision in which they were written: DTM, TS, DT (`YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]`) and TM.

/// A point in time of type DTM, TS (its first component) or DT. Always a real date of the calendar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timestamp {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12; 1 when not given.
    pub month: u8,
    /// 1 to 31; 1 when not given.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// The digits after the point, in ASCII, the first `fraction_digits` of them.
    pub fraction: [u8; 4],
    /// 0 to 4; further digits are cut off.
    pub fraction_digits: u8,
    /// The last part that was given.
    pub precision: Precision,
    /// East of UTC, as written.
    pub offset_minutes: Option<i16>,
}

/// A time of day of type TM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Time {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// The digits after the point, in ASCII, the first `fraction_digits` of them.
    pub fraction: [u8; 4],
    /// 0 to 4; further digits are cut off.
    pub fraction_digits: u8,
    /// Hour, minute or second.
    pub precision: Precision,
    /// East of UTC, as written.
    pub offset_minutes: Option<i16>,
}

/// How much of a time was written.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Precision {
    /// `YYYY`
    Year,
    /// `YYYYMM`
    Month,
    /// `YYYYMMDD`
    Day,
    /// `HH`
    Hour,
    /// `HHMM`
    Minute,
    /// `HHMMSS`, with or without a fraction.
    Second,
}

/// Why a value is no time. Offsets count from its first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TimestampError {
    /// Nothing there.
    #[error("the value is empty")]
    Empty,
    /// A character other than a digit, a point or the sign of an offset in its place.
    #[error("character {offset} is not a digit")]
    Digit {
        /// Where it stands.
        offset: usize,
    },
    /// The digits end in the middle of a part, or go on after the seconds.
    #[error(
        "{digits} digits are no time: YYYY, YYYYMM, YYYYMMDD, YYYYMMDDHH, …HHMM and …HHMMSS are (of these, HH, HHMM, HHMMSS for a time of day)"
    )]
    Length {
        /// How many digits there are before the fraction or the offset.
        digits: usize,
    },
    /// A part outside its range: month 13, 30 February, hour 24.
    #[error("{value} at character {offset} is out of range")]
    Range {
        /// Where the part begins.
        offset: usize,
        /// What it says.
        value: u16,
    },
    /// An offset other than `+ZZZZ` or `-ZZZZ` up to 14 hours.
    #[error("the offset from UTC at character {offset} must be + or - and four digits")]
    Offset {
        /// Where the sign stands.
        offset: usize,
    },
    /// A fraction that does not follow seconds, or without digits.
    #[error("the fraction at character {offset} must follow the seconds and have digits")]
    Fraction {
        /// Where the point stands.
        offset: usize,
    },
}

impl Timestamp {
    /// Reads a DTM, TS (its first component) or DT. Blanks around it are ignored.
    ///
    /// ```
    /// use handoff::hl7::{Precision, Timestamp};
    /// let time = Timestamp::parse(b"202402291430+0100")?;
    /// assert_eq!((time.day, time.precision, time.offset_minutes), (29, Precision::Minute, Some(60)));
    /// # Ok::<(), handoff::hl7::TimestampError>(())
    /// ```
    ///
    /// # Errors
    /// When it is not a time of the calendar; with the place.
    pub fn parse(value: &[u8]) -> Result<Self, TimestampError> {
        let parts = Parts::split(value)?;
        let digits = parts.digits.len();
        let precision = match digits {
            4 => Precision::Year,
            6 => Precision::Month,
            8 => Precision::Day,
            10 | 12 | 14 => Precision::Hour,
            _ => return Err(TimestampError::Length { digits }),
        };
        let year = u16::from(parts.pair(0)) * 100 + u16::from(parts.pair(2));
        if year == 0 {
            return Err(TimestampError::Range { offset: parts.start, value: 0 });
        }
        let month = parts.ranged(4, 1, 12)?;
        let day = parts.ranged(6, 1, days_of(year, month))?;
        let clock = if precision == Precision::Hour { Some(parts.clock(8)?) } else { parts.no_fraction()? };
        let Time { hour, minute, second, fraction, fraction_digits, precision, offset_minutes } =
            clock.unwrap_or(Time { precision, offset_minutes: parts.offset_minutes, ..MIDNIGHT });
        Ok(Self { year, month, day, hour, minute, second, fraction, fraction_digits, precision, offset_minutes })
    }
}

impl Time {
    /// Reads a TM: `HH[MM[SS[.S[S[S[S]]]]]][+/-ZZZZ]`. Blanks around it are ignored.
    ///
    /// # Errors
    /// When it is not a time of day; with the place.
    pub fn parse(value: &[u8]) -> Result<Self, TimestampError> {
        let parts = Parts::split(value)?;
        match parts.digits.len() {
            2 | 4 | 6 => parts.clock(0),
            digits => Err(TimestampError::Length { digits }),
        }
    }
}

/// A value taken apart: leading digits, fraction, offset.
struct Parts<'a> {
    /// Blanks before the digits.
    start: usize,
    digits: &'a [u8],
    fraction: Option<&'a [u8]>,
    offset_minutes: Option<i16>,
}

impl<'a> Parts<'a> {
    fn split(value: &'a [u8]) -> Result<Self, TimestampError> {
        let start = value.len() - value.trim_ascii_start().len();
        let value = value.trim_ascii();
        if value.is_empty() {
            return Err(TimestampError::Empty);
        }
        let (digits, rest) = value.split_at(digits_of(value));
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', tail)) => {
                let (fraction, rest) = tail.split_at(digits_of(tail));
                (Some(fraction), rest)
            }
            _ => (None, rest),
        };
        let offset = start + value.len() - rest.len();
        let offset_minutes = match rest {
            [] => None,
            [sign @ (b'+' | b'-'), zone @ ..] => {
                Some(minutes_of(*sign, zone).ok_or(TimestampError::Offset { offset })?)
            }
            _ => return Err(TimestampError::Digit { offset }),
        };
        Ok(Self { start, digits, fraction, offset_minutes })
    }

    /// The two digits at a position, which the caller has checked to be there.
    fn pair(&self, at: usize) -> u8 {
        self.digits.get(at..at + 2).map_or(0, |pair| (pair[0] - b'0') * 10 + (pair[1] - b'0'))
    }

    /// The part at a position, or the least value if it is not given.
    fn ranged(&self, at: usize, min: u8, max: u8) -> Result<u8, TimestampError> {
        if at >= self.digits.len() {
            return Ok(min);
        }
        let value = self.pair(at);
        let wrong = TimestampError::Range { offset: self.start + at, value: value.into() };
        if (min..=max).contains(&value) { Ok(value) } else { Err(wrong) }
    }

    fn clock(&self, at: usize) -> Result<Time, TimestampError> {
        let precision = match self.digits.len() - at {
            2 => Precision::Hour,
            4 => Precision::Minute,
            _ => Precision::Second,
        };
        let (hour, minute, second) =
            (self.ranged(at, 0, 23)?, self.ranged(at + 2, 0, 59)?, self.ranged(at + 4, 0, 59)?);
        if precision != Precision::Second {
            self.no_fraction()?;
        }
        let written = self.fraction.unwrap_or_default();
        if self.fraction.is_some() && written.is_empty() {
            return Err(TimestampError::Fraction { offset: self.start + self.digits.len() });
        }
        let mut fraction = [0; 4];
        let kept = written.len().min(fraction.len());
        fraction[..kept].copy_from_slice(&written[..kept]);
        Ok(Time {
            hour,
            minute,
            second,
            fraction,
            fraction_digits: kept as u8,
            precision,
            offset_minutes: self.offset_minutes,
        })
    }

    fn no_fraction(&self) -> Result<Option<Time>, TimestampError> {
        match self.fraction {
            Some(_) => Err(TimestampError::Fraction { offset: self.start + self.digits.len() }),
            None => Ok(None),
        }
    }
}

fn digits_of(value: &[u8]) -> usize {
    value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len())
}

fn minutes_of(sign: u8, zone: &[u8]) -> Option<i16> {
    let zone: &[u8; 4] = zone.try_into().ok()?;
    if !zone.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| i16::from(zone[at] - b'0') * 10 + i16::from(zone[at + 1] - b'0');
    let minutes = pair(0) * 60 + pair(2);
    let real = pair(2) < 60 && minutes <= 14 * 60;
    real.then_some(if sign == b'-' { -minutes } else { minutes })
}

fn days_of(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const MIDNIGHT: Time = Time {
    hour: 0,
    minute: 0,
    second: 0,
    fraction: [0; 4],
    fraction_digits: 0,
    precision: Precision::Day,
    offset_minutes: None,
};

#[cfg(test)]
#[path = "datetime_tests.rs"]
mod tests;
