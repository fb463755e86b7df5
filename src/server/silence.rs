//! How long a listener may be without a message. Many a sender is silent at night and on Sundays by its nature, so the time that counts can be held to hours and days:
//! an hour of silence is then an hour in which messages should have come. Outside them nothing begins and nothing ends.
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use std::time::Duration;

/// So long without a message is worth an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// So long, of the time that counts.
    pub after: Duration,
    /// When it counts; none: always.
    pub hours: Option<Hours>,
}

/// Hours of days of the week, in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Minutes since midnight, from and until; until the day after where they end no later than they begin.
    minutes: (u16, u16),
    /// From Monday on: those on which the hours begin.
    days: [bool; 7],
    zone: TimeZone,
}

/// A silence is counted over so many days, the last ones: no more is asked of any rule.
const DAYS_MAX: i64 = 1000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 24 * 60;

impl From<Duration> for Silence {
    fn from(after: Duration) -> Silence {
        Silence { after, hours: None }
    }
}

impl Silence {
    /// How much of the time between two moments, in milliseconds since 1970, counts.
    pub fn counted(&self, from_ms: i64, until_ms: i64) -> Duration {
        let all_ms = until_ms.saturating_sub(from_ms);
        let ms = self.hours.as_ref().map_or(all_ms, |hours| hours.between_ms(from_ms, until_ms));
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

impl Hours {
    /// `07:00-19:00` or `22:00-06:00`, until 24:00 at most; `mon-fri`, `sat,sun` or `mon-wed,fri`, all without; none where they are no such thing.
    pub fn parse(hours: &str, days: Option<&str>, zone: TimeZone) -> Option<Hours> {
        let (from, until) = hours.split_once('-')?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        let days = days.map_or(Some([true; 7]), parse_days)?;
        (from < DAY_MINUTES && from != until).then_some(Hours { minutes: (from, until), days, zone })
    }

    fn between_ms(&self, from_ms: i64, until_ms: i64) -> i64 {
        let earliest_ms = until_ms.saturating_sub(DAYS_MAX * 86_400_000);
        let from_ms = from_ms.max(earliest_ms);
        let date = |ms| Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone()).date());
        let (Some(first), Some(last)) = (date(from_ms), date(until_ms)) else { return 0 };
        // The day before as well: its hours may end in the first one.
        let days = first.yesterday().unwrap_or(first).series(1.day()).take_while(|day| *day <= last);
        let counts = |day: &Date| self.days.get(usize::from(place(day.weekday()))).copied().unwrap_or(false);
        days.filter(counts).map(|day| overlap(self.on(day), (from_ms, until_ms))).sum()
    }

    /// The hours that begin on a day, in milliseconds since 1970. Where a clock is put forward or back, they are as long as the clock on the wall has it.
    fn on(&self, day: Date) -> (i64, i64) {
        let (from, until) = self.minutes;
        let at = |minutes: u16| {
            let day = if minutes < DAY_MINUTES { day } else { day.tomorrow().unwrap_or(day) };
            let minutes = i8::try_from(minutes % DAY_MINUTES / 60).ok().zip(i8::try_from(minutes % 60).ok());
            let time = minutes.and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok()).unwrap_or_default();
            let moment = self.zone.to_ambiguous_zoned(day.to_datetime(time)).compatible();
            moment.map_or(0, |moment| moment.timestamp().as_millisecond())
        };
        (at(from), at(if until <= from { until + DAY_MINUTES } else { until }))
    }
}

fn overlap(left: (i64, i64), right: (i64, i64)) -> i64 {
    (left.1.min(right.1) - left.0.max(right.0)).max(0)
}

fn place(day: Weekday) -> u8 {
    day.to_monday_zero_offset().unsigned_abs()
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
    let (hour, minute) = (two(hour)?, two(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY_MINUTES).then_some(minutes)
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| name.trim().eq_ignore_ascii_case(day));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // Over the end of the week as well: sat-mon.
        for step in 0..=(last + 7 - first) % 7 {
            *days.get_mut((first + step) % 7)? = true;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(hours: &str, days: &str, zone: &str) -> Silence {
        let zone = TimeZone::get(zone).unwrap();
        let days = Some(days).filter(|days| !days.is_empty());
        Silence { after: Duration::from_secs(3600), hours: Some(Hours::parse(hours, days, zone).unwrap()) }
    }

    /// Minutes that count between two times, and as the slow twin has it: minute by minute.
    fn counted(silence: &Silence, from: &str, until: &str) -> u64 {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let (from, until) = (ms(from), ms(until));
        let found = silence.counted(from, until).as_secs() / 60;
        let steps = (from..until).step_by(60_000).map(|ms| silence.counted(ms, ms + 60_000).as_secs());
        assert_eq!(steps.sum::<u64>() / 60, found, "the whole is the sum of its minutes");
        found
    }

    #[test]
    fn only_time_within_hours_and_days_counts() {
        let plain = Silence::from(Duration::from_secs(60));
        assert_eq!(counted(&plain, "2026-03-02T00:00:00Z", "2026-03-02T01:30:00Z"), 90);
        // 2 March 2026 is a Monday; New York is at UTC-5 until 8 March, when clocks are put forward at two.
        let office = silence("07:00-19:00", "mon-fri", "America/New_York");
        for (from, until, minutes) in [
            ("2026-03-02T11:00:00Z", "2026-03-02T11:59:00Z", 0),
            ("2026-03-02T11:00:00Z", "2026-03-02T13:00:00Z", 60),
            ("2026-03-02T23:30:00Z", "2026-03-03T12:05:00Z", 35),
            ("2026-03-06T23:00:00Z", "2026-03-09T12:00:00Z", 120),
            ("2026-03-07T00:00:00Z", "2026-03-09T11:00:00Z", 0),
        ] {
            assert_eq!(counted(&office, from, until), minutes, "{from} {until}");
        }
        let night = silence("22:00-06:00", "fri", "UTC");
        assert_eq!(counted(&night, "2026-03-06T00:00:00Z", "2026-03-08T00:00:00Z"), 480, "into Saturday");
        assert_eq!(counted(&night, "2026-03-07T05:00:00Z", "2026-03-07T12:00:00Z"), 60, "begun the day before");
        let day = silence("00:00-24:00", "", "America/New_York");
        assert_eq!(counted(&day, "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"), 23 * 60, "a day of 23 hours");
    }

    #[test]
    fn a_silence_of_years_is_counted_to_its_bound() {
        let day = silence("00:00-24:00", "", "UTC");
        assert_eq!(day.counted(0, 3_000 * 86_400_000), Duration::from_secs(1000 * 86_400));
        assert_eq!(day.counted(5, 4), Duration::ZERO, "a clock that was put back");
    }

    #[test]
    fn hours_and_days_as_they_are_written() {
        let parse = |hours, days| Hours::parse(hours, days, TimeZone::UTC);
        let days = |text| parse("00:00-24:00", Some(text)).map(|hours| hours.days.map(u8::from));
        assert_eq!(days("mon-fri"), Some([1, 1, 1, 1, 1, 0, 0]));
        assert_eq!(days("Sat, sun"), Some([0, 0, 0, 0, 0, 1, 1]));
        assert_eq!(days("sat-mon,wed"), Some([1, 0, 1, 0, 0, 1, 1]));
        for wrong in ["", "monday", "mon-", "mon,,tue", "mon/fri"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
        for wrong in ["7-19", "07:00", "07:00-07:00", "24:00-01:00", "07:60-08:00", "07:00-24:01", "+7:00-08:00"] {
            assert_eq!(parse(wrong, None), None, "{wrong}");
        }
        assert_eq!(parse(" 07:05 - 19:30 ", None).unwrap().minutes, (425, 1170));
    }
}
