//! Times as people write them.

/// A time in milliseconds since 1970: an instant, a date or a time of UTC, or how long ago (`90m`, `2h`, `7d`); `None` when it is no time.
pub fn parse_time(text: &str, now: jiff::Timestamp) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    if let Ok(civil) = text.trim_end_matches('Z').parse::<jiff::civil::DateTime>() {
        return Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond());
    }
    let (at, unit) = text.char_indices().next_back()?;
    let ms = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let ago = text.get(..at)?.parse::<i64>().ok()?.checked_mul(ms)?;
    (ago >= 0).then(|| now.as_millisecond().saturating_sub(ago))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let now = jiff::Timestamp::from_millisecond(1_000_000_000_000).unwrap();
        let parse = |text: &str| parse_time(text, now);
        assert_eq!(parse("1970-01-02"), Some(86_400_000));
        assert_eq!(parse("1970-01-01T01:00"), Some(3_600_000));
        assert_eq!(parse("1970-01-01T01:00Z"), Some(3_600_000));
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse("2h"), Some(1_000_000_000_000 - 7_200_000));
        assert_eq!(["", "yesterday", "-2h", "2w", "h", "2026-13-01", "µ"].map(parse), [None; 7]);
    }
}
