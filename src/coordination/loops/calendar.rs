//! Days as people count them: dates of a place, however long its clocks make them.
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A stretch of time as a definition gives it. `2d` are dates, `48h` are hours: where clocks change the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Calendar dates of the place.
    Days(u16),
    /// Milliseconds.
    Ms(i64),
}

/// More days than that nobody waits for anything.
const DAYS_MAX: u16 = 3_660;

impl Span {
    /// `2d`, `48h` or `90m`.
    pub fn parse(text: &str) -> Option<Span> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u32 = number.parse().ok()?;
        match unit {
            "d" => u16::try_from(number).ok().filter(|days| *days <= DAYS_MAX).map(Span::Days),
            "h" => Some(Span::Ms(i64::from(number) * 3_600_000)),
            "m" => Some(Span::Ms(i64::from(number) * 60_000)),
            _ => None,
        }
    }

    /// The last millisecond that still lies within it.
    pub fn end(self, from_ms: i64, zone: &TimeZone) -> i64 {
        match self {
            Span::Days(days) => midnight(from_ms, i64::from(days) + 1, zone).saturating_sub(1),
            Span::Ms(ms) => from_ms.saturating_add(ms),
        }
    }

    /// The first millisecond behind it, where it is what has to pass: `1d` has passed when the next date begins.
    pub fn start(self, from_ms: i64, zone: &TimeZone) -> i64 {
        match self {
            Span::Days(days) => midnight(from_ms, i64::from(days), zone),
            Span::Ms(ms) => from_ms.saturating_add(ms),
        }
    }

    /// About how long, in milliseconds: enough to compare two of them.
    pub fn about_ms(self) -> i64 {
        match self {
            Span::Days(days) => i64::from(days) * 86_400_000,
            Span::Ms(ms) => ms,
        }
    }
}

/// The date at a place.
fn date(at_ms: i64, zone: &TimeZone) -> Date {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(zone.clone()).date()
}

/// From which date to which, in days.
pub fn days_between(from_ms: i64, to_ms: i64, zone: &TimeZone) -> i32 {
    date(from_ms, zone).until(date(to_ms, zone)).map_or(0, |span| span.get_days())
}

/// When the date so many days later begins there.
fn midnight(from_ms: i64, days: i64, zone: &TimeZone) -> i64 {
    let begins = date(from_ms, zone).checked_add(days.days()).and_then(|date| date.to_zoned(zone.clone()));
    begins.map_or(i64::MAX, |begins| begins.timestamp().as_millisecond())
}

/// As FHIR writes an instant, with the offset of the place: `2026-03-07T15:20:00-05:00`.
pub fn instant(at_ms: i64, zone: &TimeZone) -> String {
    let zoned = Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(zone.clone());
    zoned.strftime(if at_ms.rem_euclid(1000) == 0 { "%FT%T%:z" } else { "%FT%T%.3f%:z" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn days_are_dates_also_when_the_clocks_change() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let discharge = ms("2026-03-05T15:20:00-05:00");
        let end = |text: &str| instant(Span::parse(text).unwrap().end(discharge, &zone), &zone);
        assert_eq!(end("2d"), "2026-03-07T23:59:59.999-05:00");
        assert_eq!(end("3d"), "2026-03-08T23:59:59.999-04:00", "a date of 23 hours");
        assert_eq!(end("48h"), "2026-03-07T15:20:00-05:00");
        assert_eq!(end("72h"), "2026-03-08T16:20:00-04:00", "hours are hours");
        assert_eq!(end("30d"), "2026-04-04T23:59:59.999-04:00");
        assert_eq!(instant(Span::Days(1).start(discharge, &zone), &zone), "2026-03-06T00:00:00-05:00");
        assert_eq!(days_between(ms("2026-03-07T23:59:00-05:00"), ms("2026-03-08T00:01:00-05:00"), &zone), 1);
        assert_eq!(days_between(discharge, ms("2026-04-04T23:00:00-04:00"), &zone), 30);
    }

    #[test]
    fn spans_are_read_strictly() {
        assert_eq!([Span::parse("2d"), Span::parse("90m")], [Some(Span::Days(2)), Some(Span::Ms(5_400_000))]);
        assert_eq!(["", "d", "2", "-1d", "+1d", "2 d", "1.5h", "99999d", "2w", "2é"].map(Span::parse), [None; 10]);
    }
}
