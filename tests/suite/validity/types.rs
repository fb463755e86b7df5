//! The primitive types of R4 and what their values look like.
use serde_json::Value;

/// Whether a value is one of this primitive type (R4, 2.24.0.1).
pub fn primitive(kind: &str, value: &Value) -> Result<(), String> {
    let good = match (kind, value) {
        (_, Value::Null) => return Err("is null".into()),
        ("boolean", Value::Bool(_)) => true,
        ("integer" | "unsignedInt" | "positiveInt", Value::Number(number)) => {
            let least = if kind == "positiveInt" {
                1
            } else if kind == "integer" {
                i64::from(i32::MIN)
            } else {
                0
            };
            number.as_i64().is_some_and(|number| (least..=i64::from(i32::MAX)).contains(&number))
        }
        ("decimal", Value::Number(_)) => true,
        ("boolean" | "integer" | "unsignedInt" | "positiveInt" | "decimal", _)
        | (_, Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
        (_, Value::String(text)) => of_type(kind, text),
    };
    if good { Ok(()) } else { Err(format!("{value} is no {kind}")) }
}

fn of_type(kind: &str, text: &str) -> bool {
    let visible = !text.trim().is_empty() && !text.chars().any(|c| c < ' ' && !"\t\r\n".contains(c));
    match kind {
        "code" => visible && text.trim() == text && !text.contains("  ") && !text.contains(['\t', '\r', '\n']),
        "uri" | "url" | "canonical" | "http://hl7.org/fhirpath/System.String" => {
            visible && !text.contains(char::is_whitespace)
        }
        "oid" => text.starts_with("urn:oid:"),
        "uuid" => text.len() == 45 && text.starts_with("urn:uuid:"),
        "id" => {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        }
        "date" => date(text),
        "dateTime" => date(text) || instant(text),
        "instant" => instant(text),
        "time" => time(text),
        "base64Binary" => {
            let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
            let body = &text.as_bytes()[..text.len() - padding];
            !text.is_empty()
                && text.len().is_multiple_of(4)
                && padding < 3
                && body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
        }
        _ => visible,
    }
}

/// Whether a text looks like a pattern, in which `9` stands for any digit.
fn like(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, wanted)| if wanted == b'9' { byte.is_ascii_digit() } else { byte == wanted })
}

fn date(text: &str) -> bool {
    match text.len() {
        4 => like(text, "9999") && text > "0000",
        7 => like(text, "9999-99") && ("01"..="12").contains(&&text[5..]),
        _ => text.parse::<jiff::civil::Date>().is_ok() && like(text, "9999-99-99"),
    }
}

fn time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    like(whole, "99:99:99")
        && &whole[..2] < "24"
        && &whole[3..5] < "60"
        && &whole[6..] <= "60"
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

fn instant(text: &str) -> bool {
    let Some((day, rest)) = text.split_once('T') else { return false };
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone);
    let zoned =
        zone == "Z" || (zone.len() == 6 && like(&zone[1..], "99:99") && &zone[1..] <= "14:00" && &zone[4..] < "60");
    like(day, "9999-99-99") && date(day) && time(clock) && zoned
}
