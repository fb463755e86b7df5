//! What pages are made of. A state is told by its word; its colour only repeats it.
use super::pulse::{Line, POINTS_MAX};
use axum::http::{HeaderMap, HeaderName};
use maud::{Markup, html};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing to do.
    Good,
    /// To be looked at.
    Warn,
    /// To be mended.
    Bad,
    /// Neither.
    Still,
}

/// A state as a small label.
pub(crate) fn state(tone: Tone, word: &str) -> Markup {
    let class = match tone {
        Tone::Good => "state good",
        Tone::Warn => "state warn",
        Tone::Bad => "state bad",
        Tone::Still => "state",
    };
    html! { span class=(class) { (word) } }
}

/// A time: how long ago, and exactly. A script says it in the time zone of who looks; without one it is UTC.
pub(crate) fn time(ms: i64) -> Markup {
    let Ok(time) = jiff::Timestamp::from_millisecond(ms) else { return html! { "—" } };
    let exact = format!("{time:.3}");
    let plain = time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
    html! { time datetime=(exact) title=(exact) { (plain) } }
}

/// The same where there may be none.
pub(crate) fn time_if(ms: Option<i64>) -> Markup {
    ms.map_or_else(|| html! { span.none { "—" } }, time)
}

/// `12,345`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that leads to what was counted; nothing to follow where there is none.
pub(crate) fn counter(number: u64, href: &str) -> Markup {
    html! { @if number == 0 { span.none { "0" } } @else { a.count href=(href) { (count(number)) } } }
}

/// `3 days`, `14 minutes`: the largest whole unit.
pub(crate) fn span(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// `1.4 GB`, in powers of 1000.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut number, mut unit) = (bytes as f64, 0);
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        (number, unit) = (number / 1000.0, unit + 1);
    }
    let unit = UNITS.get(unit).unwrap_or(&"");
    if number >= 100.0 || *unit == "B" { format!("{number:.0} {unit}") } else { format!("{number:.1} {unit}") }
}

/// A link of ours with what it asks for.
pub(crate) fn href(path: &str, asked: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("desk:/", asked).ok();
    let query = url.as_ref().and_then(|url| url.query()).filter(|query| !query.is_empty());
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// A rate of the last minutes: its course, and what it is now. `what` is done to messages.
pub(super) fn spark(what: &str, line: Option<&Line>) -> Markup {
    const HEIGHT: f64 = 24.0;
    let Some(line) = line.filter(|line| !line.points.is_empty()) else { return html! { span.none { "—" } } };
    let most = line.points.iter().copied().max().unwrap_or(0);
    let now = count(line.now().into());
    let first = POINTS_MAX - line.points.len().min(POINTS_MAX);
    let place = |(at, point): (usize, &u32)| {
        let high = f64::from(*point) / f64::from(most.max(1)) * (HEIGHT - 3.0);
        format!("{},{:.1}", 2 * (first + at), HEIGHT - 1.0 - high)
    };
    let points: Vec<String> = line.points.iter().enumerate().map(place).collect();
    let label = format!("{now} messages {what} a minute now, {} at most in the last ten minutes", count(most.into()));
    let frame = format!("0 0 {} {HEIGHT}", 2 * (POINTS_MAX - 1));
    html! {
        span.rate title=(label) {
            svg.spark viewBox=(frame) preserveAspectRatio="none" role="img" aria-label=(label) {
                polygon points={ (2 * first) ",24 " (points.join(" ")) " " (2 * (POINTS_MAX - 1)) ",24" } {}
                polyline points=(points.join(" ")) {}
            }
            span { (now) "/min" }
        }
    }
}

/// Whether a script asks for a part of a page rather than for all of it.
pub(crate) fn is_part(headers: &HeaderMap) -> bool {
    let is = |name: &'static str| headers.contains_key(HeaderName::from_static(name));
    is("hx-request") && !is("hx-boosted") && !is("hx-history-restore-request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1, 59, 60, 7200, 90_000].map(span),
            ["0 seconds", "1 second", "59 seconds", "1 minute", "2 hours", "1 day"]
        );
        assert_eq!([0, 999, 1000, 1_440_000_000, 250_000].map(size), ["0 B", "999 B", "1.0 kB", "1.4 GB", "250 kB"]);
    }

    #[test]
    fn a_link_holds_what_it_asks_for() {
        assert_eq!(href("/a", &[]), "/a");
        assert_eq!(href("/a", &[("b", "c&d=é"), ("e", "")]), "/a?b=c%26d%3D%C3%A9&e=");
    }

    #[test]
    fn a_rate_is_drawn_and_said() {
        let mut line = Line::default();
        assert!(
            spark("sent", Some(&line)).into_string().contains('—') && spark("sent", None).into_string().contains('—')
        );
        line.points.extend([0, 1200, 600]);
        let drawn = spark("sent", Some(&line)).into_string();
        assert!(drawn.contains("points=\"114,23.0 116,2.0 118,12.5\""), "{drawn}");
        assert!(
            drawn.contains("aria-label=\"600 messages sent a minute now, 1,200 at most in the last ten minutes\""),
            "{drawn}"
        );
        line.points.clear();
        line.points.extend([0, 0]);
        assert!(
            spark("sent", Some(&line)).into_string().contains("points=\"116,23.0 118,23.0\""),
            "nothing is no reason to divide"
        );
    }

    #[test]
    fn a_time_is_exact_and_readable() {
        let shown = time(0).into_string();
        assert!(shown.contains("1970-01-01T00:00:00.000Z") && shown.contains("1970-01-01 00:00:00"), "{shown}");
    }
}
