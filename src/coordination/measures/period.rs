//! Months, quarters and years as numbers, and dates as days since 1970.
use jiff::civil::Date;

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// The date of a day.
pub fn date_of(day: i32) -> Date {
    EPOCH.checked_add(jiff::Span::new().days(day)).unwrap_or(EPOCH)
}

/// The day of a date.
pub fn day_of(date: Date) -> i32 {
    EPOCH.until(date).map_or(0, |span| span.get_days())
}

/// The month of a day, counted from year 0 (H. Hinnant, "chrono-compatible low-level date algorithms").
pub fn month_of(day: i32) -> i32 {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 2 } else { from_march - 10 };
    let year = year_of_era + era * 400 + i32::from(month < 2);
    year * 12 + month
}

/// The first day of a month.
pub fn first_day(month: i32) -> i32 {
    let year = i16::try_from(month.div_euclid(12)).unwrap_or(1970);
    let of_year = i8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    Date::new(year, of_year, 1).map_or(0, day_of)
}

/// `2026-03` of a month.
pub fn month_text(month: i32) -> String {
    format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
}

/// The month of `2026-03`.
pub fn parse_month(text: &str) -> Option<i32> {
    let (year, month) = text.split_once('-')?;
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) {
        return None;
    }
    let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
    ((1970..9999).contains(&year) && (1..=12).contains(&month)).then_some(year * 12 + month - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_days() {
        for day in -1000..60_000 {
            let date = date_of(day);
            assert_eq!(month_of(day), i32::from(date.year()) * 12 + i32::from(date.month()) - 1, "{date}");
            assert_eq!(day_of(date), day);
        }
        let march = parse_month("2026-03").unwrap();
        assert_eq!((month_text(march), date_of(first_day(march)).to_string()), ("2026-03".into(), "2026-03-01".into()));
        assert_eq!(["", "2026", "2026-13", "2026-3", "26-03", "2026-00", "2026-03-01"].map(parse_month), [None; 7]);
    }
}
