//! What of a message somebody may see who may not read messages: what is known to be a code, and nothing else. A list of what may be shown, not of what may not.
use crate::hl7::names;
use crate::mapping::explain::{Explanation, Origin};

/// Where a value of the message stands, and what HL7 says of that place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// `PID`
    pub segment: &'a str,
    pub field: u16,
    pub component: u16,
    pub subcomponent: u16,
}

impl Place<'_> {
    /// `Patient name · Family name`, as far as HL7 names it; of a field without parts its own name.
    pub fn name(&self, part: bool) -> String {
        let Some(field) = names::segment(self.segment).and_then(|segment| segment.field(self.field)) else {
            return String::new();
        };
        let component = names::datatype(field.datatype).and_then(|datatype| datatype.component(self.component));
        match component {
            Some(component) if part => format!("{} · {}", field.name, component.name),
            _ => field.name.to_owned(),
        }
    }

    /// The datatype of the value, and whether HL7 has a table for it.
    fn datatype(&self) -> Option<(&'static str, bool)> {
        let field = names::segment(self.segment)?.field(self.field)?;
        match names::datatype(field.datatype) {
            None => (self.component == 1).then_some((field.datatype, field.table.is_some())),
            Some(datatype) => {
                let component = datatype.component(self.component)?;
                (self.subcomponent == 1).then_some((component.datatype, component.table.is_some()))
            }
        }
    }
}

/// Whether a value of the message is a code by its place and its shape; `known`: a code table has a row for it.
pub(super) fn is_plain(place: Place<'_>, value: &[u8], known: bool) -> bool {
    let capital = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let short = |most: usize| (1..=most).contains(&value.len()) && value.iter().all(capital);
    match (place.segment, place.field, place.component) {
        ("MSH", 9, 1 | 2) | ("EVN", 1, _) => value.len() == 3 && short(3),
        ("MSH", 9, 3) => value.len() == 7 && value.iter().all(|byte| capital(byte) || *byte == b'_'),
        ("MSH", 12, 1) => value.len() <= 5 && value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'),
        _ if known => true,
        _ => match place.datatype() {
            Some(("SI", _)) => value.len() <= 4 && value.iter().all(u8::is_ascii_digit),
            // The tables of HL7 itself; those of a user (IS) may hold names.
            Some(("ID", true)) => short(3),
            _ => false,
        },
    }
}

/// Whether a value of the Bundle is a code, or what every Bundle says; `plain`: it comes from a value of the message that is one.
pub(super) fn is_plain_value(key: &str, value: &Explanation, plain: bool) -> bool {
    let text = value.value.trim_matches('"');
    let literal = value.source.is_none() && !matches!(value.origin, Origin::Unknown);
    let word = || (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let known = || {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/._-".contains(&byte);
        text.len() <= 100 && text.bytes().all(plain) && SYSTEMS.iter().any(|system| text.starts_with(system))
    };
    match key {
        "resourceType" => true,
        _ if plain || value.row.is_some() => true,
        "type" | "status" | "use" | "mode" | "intent" | "kind" | "method" => literal && word(),
        "system" | "url" => literal && known(),
        _ => false,
    }
}

const SYSTEMS: [&str; 4] =
    ["http://terminology.hl7.org/", "http://hl7.org/fhir/", "http://loinc.org", "http://unitsofmeasure.org"];

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(segment: &str, field: u16, component: u16, value: &str) -> bool {
        is_plain(Place { segment, field, component, subcomponent: 1 }, value.as_bytes(), false)
    }

    #[test]
    fn only_codes_are_shown() {
        assert!(plain("MSH", 9, 1, "ADT") && plain("MSH", 12, 1, "2.5.1") && plain("PID", 1, 1, "1"));
        assert!(plain("OBX", 11, 1, "F") && plain("MSH", 9, 3, "ADT_A01"));
        for (segment, field, component, value) in [
            ("MSH", 9, 1, "Hollins"),
            ("MSH", 12, 1, "Theodora"),
            ("PID", 1, 1, "4711-0815"),
            ("PID", 3, 1, "99"),
            ("PID", 5, 1, "LEE"),
            ("PID", 7, 1, "19800101"),
            ("OBX", 5, 1, "POS"),
            ("OBX", 11, 1, "Hollins"),
            ("ZZZ", 1, 1, "A"),
        ] {
            assert!(!plain(segment, field, component, value), "{segment}-{field}.{component} {value}");
        }
        assert!(is_plain(Place { segment: "PID", field: 8, component: 1, subcomponent: 1 }, b"F", true));
    }

    #[test]
    fn places_have_names() {
        let name = |field, component, part| Place { segment: "PID", field, component, subcomponent: 1 }.name(part);
        assert_eq!(name(8, 1, false), "Administrative sex");
        assert_eq!(name(3, 5, true), "Patient identifier list · Identifier type code");
        assert_eq!(Place { segment: "ZPX", field: 1, component: 1, subcomponent: 1 }.name(true), "");
    }
}
