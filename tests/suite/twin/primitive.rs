//! Text → FHIR primitives, as JSON values.
use super::Twin;
use super::text::Text;
use handoff::fhir::shape::CodeSet;
use handoff::hl7::{Precision, Time, Timestamp};
use jiff::tz::TimeZoneDatabase;
use serde_json::Value as Json;

/// A string that has something to read; control characters that FHIR does not allow are left out.
pub fn string(bytes: &[u8]) -> Option<Json> {
    let text: String = String::from_utf8_lossy(bytes).chars().filter(|c| *c >= ' ' || "\t\n\r".contains(*c)).collect();
    (!bytes.iter().all(|byte| *byte <= b' ')).then_some(Json::String(text))
}

pub fn date_text(time: &Timestamp) -> String {
    let mut text = format!("{:04}", time.year);
    if time.precision >= Precision::Month {
        text += &format!("-{:02}", time.month);
    }
    if time.precision >= Precision::Day {
        text += &format!("-{:02}", time.day);
    }
    text
}

pub fn time_text(time: &Timestamp, offset: i16) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    let fraction = fraction(&time.fraction[..usize::from(time.fraction_digits)]);
    format!("T{:02}:{:02}:{:02}{fraction}{sign}{hours:02}:{minutes:02}", time.hour, time.minute, time.second)
}

fn fraction(digits: &[u8]) -> String {
    let digits: String =
        digits.iter().map(|digit| char::from(if digit.is_ascii_digit() { *digit } else { b'0' + digit })).collect();
    if digits.is_empty() { digits } else { format!(".{digits}") }
}

impl Twin<'_> {
    /// A text as a primitive of this type, if it can be one.
    pub fn primitive(&self, text: &Text, kind: &str, codes: Option<&CodeSet>) -> Option<Json> {
        let bytes = self.bytes_of(text);
        let trimmed = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
        let number = |text: &str| serde_json::from_str::<Json>(text).ok();
        match kind {
            "code" => {
                let code = trimmed.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
                let code: String = code.chars().filter(|c| *c >= ' ').collect();
                (!trimmed.is_empty() && codes.is_none_or(|codes| codes.contains(&trimmed)))
                    .then_some(Json::String(code))
            }
            "date" | "dateTime" | "instant" => self.moment(text, kind),
            "time" => {
                let time = Time::parse(trimmed.as_bytes()).ok()?;
                let fraction = fraction(&time.fraction[..usize::from(time.fraction_digits)]);
                Some(Json::String(format!("{:02}:{:02}:{:02}{fraction}", time.hour, time.minute, time.second)))
            }
            "decimal" => number(&decimal(&trimmed)?),
            "integer" | "unsignedInt" | "positiveInt" => {
                let least = match kind {
                    "integer" => i64::from(i32::MIN),
                    "unsignedInt" => 0,
                    _ => 1,
                };
                let value: i64 = trimmed.strip_suffix(".0").unwrap_or(&trimmed).parse().ok()?;
                (least..=i64::from(i32::MAX)).contains(&value).then(|| number(&value.to_string()))?
            }
            "boolean" => match trimmed.as_str() {
                "Y" | "y" | "true" | "1" => Some(Json::Bool(true)),
                "N" | "n" | "false" | "0" => Some(Json::Bool(false)),
                _ => None,
            },
            "uri" | "url" | "canonical" | "oid" | "uuid" => (!trimmed.is_empty()
                && trimmed.bytes().all(|byte| byte > b' ' && byte != 0x7f))
            .then_some(Json::String(trimmed)),
            "id" => {
                let good = (1..=64).contains(&trimmed.len())
                    && trimmed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
                good.then_some(Json::String(trimmed))
            }
            "base64Binary" => base64(&trimmed).map(Json::String),
            _ => string(&bytes),
        }
    }

    fn moment(&self, text: &Text, kind: &str) -> Option<Json> {
        let bytes = match text {
            Text::Raw(span) => self.message.bytes(*span).to_vec(),
            other => self.bytes_of(other),
        };
        let time = Timestamp::parse(bytes.trim_ascii()).ok()?;
        let offset = if time.precision >= Precision::Hour { self.offset(&time) } else { None };
        let mut text = date_text(&time);
        match offset {
            Some(offset) if kind != "date" => text += &time_text(&time, offset),
            None if kind == "instant" => return None,
            _ => {}
        }
        Some(Json::String(text))
    }

    /// Its own offset, else that of MSH-7, else the profile's zone.
    pub fn offset(&self, time: &Timestamp) -> Option<i16> {
        if let Some(offset) = time.offset_minutes.or(self.sent.as_ref().and_then(|sent| sent.offset_minutes)) {
            return Some(offset);
        }
        let zone = TimeZoneDatabase::bundled().get(self.sources.profile.timezone.as_deref()?).ok()?;
        let date = jiff::civil::date(time.year as i16, time.month.max(1) as i8, time.day.max(1) as i8);
        let moment = date.at(time.hour as i8, time.minute as i8, time.second.min(59) as i8, 0);
        Some((zone.to_ambiguous_zoned(moment).compatible().ok()?.offset().seconds() / 60) as i16)
    }
}

/// A v2 number as JSON number, with its digits.
fn decimal(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn base64(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let body = text.trim_end_matches('=');
    let good = !body.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() < 3
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
    good.then_some(text)
}
