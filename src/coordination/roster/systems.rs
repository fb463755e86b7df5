//! What identifiers are of: the systems that rosters name by URI, and the authorities that messages name by CX-4 and CX-5.
//!
//! | in a message | system |
//! |---|---|
//! | CX-4.2 `2.16.840.1.113883.4.927`, or CX-5 `MC` and eleven characters | `http://hl7.org/fhir/sid/us-mbi` |
//! | CX-4.2 `2.16.840.1.113883.4.1`, or CX-5 `SS` | `http://hl7.org/fhir/sid/us-ssn` |
//! | CX-5 `MR`, `PI`, `PT` or nothing | `mrn@` and CX-4.1, `mrn@` and CX-4.2 |
//! | any CX-4.2 | `urn:oid:` and it, or itself where it is a URI |
use super::options::ANY_MRN;
use super::values;
use crate::coordination::event::Identifier;
use std::collections::HashMap;

/// Medicare Beneficiary Identifiers.
pub const MBI: &str = "http://hl7.org/fhir/sid/us-mbi";
/// Social security numbers.
const SSN: &str = "http://hl7.org/fhir/sid/us-ssn";
/// Before the authority of a record number.
pub(super) const MRN: &str = "mrn@";
const OID: &str = "urn:oid:";

/// Systems that have a URI beside their OID.
const KNOWN: [(&str, &str); 2] = [("2.16.840.1.113883.4.927", MBI), ("2.16.840.1.113883.4.1", SSN)];

/// Identifiers of one patient that are looked at.
pub(super) const IDENTIFIERS_MAX: usize = 64;

/// A system by its URI, in the one way in which it is written here.
pub fn of_uri(uri: &str) -> String {
    let uri = uri.trim();
    if let Some(authority) = uri.strip_prefix(MRN).filter(|_| uri != ANY_MRN) {
        return of_authority(authority).unwrap_or_default();
    }
    let oid = uri.strip_prefix(OID).unwrap_or(uri);
    match KNOWN.iter().find(|(known, _)| *known == oid) {
        Some((_, system)) => (*system).to_owned(),
        None if is_oid(uri) => format!("{OID}{uri}"),
        None => uri.to_owned(),
    }
}

/// The system of an authority's record numbers; none without an authority.
pub(super) fn of_authority(authority: &str) -> Option<String> {
    let authority = authority.trim();
    let authority = authority.strip_prefix(OID).unwrap_or(authority);
    (!authority.is_empty()).then(|| format!("{MRN}{}", authority.to_uppercase()))
}

fn is_oid(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether numbers of a system are printed with dashes that are no part of them.
pub(super) fn has_dashes(system: &str) -> bool {
    matches!(system, MBI | SSN)
}

/// An identifier as it is looked up: its system, and its value as it is compared.
pub(in crate::coordination) type Keyed = (String, String);

/// Each way to look up the identifiers of a message, without placeholders.
pub(in crate::coordination) fn of_message(identifiers: &[Identifier]) -> Vec<Keyed> {
    let mut found: Vec<Keyed> = Vec::new();
    for identifier in identifiers.iter().take(IDENTIFIERS_MAX) {
        let universal = identifier.universal.trim();
        let known = KNOWN.iter().find(|(oid, _)| *oid == universal).map(|(_, system)| *system);
        let known = known.or_else(|| by_kind(identifier));
        // Systems that print their numbers with dashes are rare: the others share one form of the value.
        let shared = values::identifier(&identifier.value, false);
        let mut add = |system: String| {
            let value = if has_dashes(&system) { values::identifier(&identifier.value, true) } else { shared.clone() };
            let keyed = value.map(|value| (system, value));
            found.extend(keyed.filter(|keyed| !found.contains(keyed)));
        };
        if let Some(system) = known {
            add(system.to_owned());
            continue;
        }
        if matches!(identifier.kind.as_str(), "MR" | "PI" | "PT" | "") {
            of_authority(&identifier.authority).into_iter().for_each(&mut add);
            of_authority(universal).into_iter().for_each(&mut add);
        }
        if is_oid(universal) || universal.contains(':') {
            add(of_uri(universal));
        }
    }
    found
}

/// An identifier as a message has it that is of this system: a URI, or `mrn@` and who assigns the number.
pub fn to_message(system: &str, value: &str) -> Identifier {
    let system = of_uri(system);
    let (authority, universal, kind) = match system.strip_prefix(MRN) {
        Some(authority) => (authority, "", "MR"),
        None => {
            let oid = KNOWN.iter().find(|(_, known)| *known == system).map(|(oid, _)| *oid);
            ("", oid.unwrap_or(&system), "XX")
        }
    };
    Identifier {
        value: value.to_owned(),
        authority: authority.to_owned(),
        universal: universal.to_owned(),
        kind: kind.to_owned(),
    }
}

/// By CX-5 alone. Medicare numbers had other forms before 2020, which are told by their length.
fn by_kind(identifier: &Identifier) -> Option<&'static str> {
    let characters = identifier.value.chars().filter(|c| c.is_ascii_alphanumeric()).count();
    match identifier.kind.as_str() {
        "MC" if characters == 11 => Some(MBI),
        "SS" if characters == 9 => Some(SSN),
        _ => None,
    }
}

/// Texts that occur often, each kept once and known by its number; 0 is the empty text.
#[derive(Clone)]
pub(super) struct Words {
    list: Vec<Box<str>>,
    index: HashMap<Box<str>, u32>,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Words({})", self.list.len())
    }
}

impl Default for Words {
    fn default() -> Words {
        Words { list: vec!["".into()], index: HashMap::from([("".into(), 0)]) }
    }
}

impl Words {
    /// The number of a text, given where it has none.
    pub fn add(&mut self, text: &str) -> u32 {
        if let Some(number) = self.index.get(text) {
            return *number;
        }
        // As many as there are rows at most, of which there are fewer.
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(text.into());
        self.index.insert(text.into(), number);
        number
    }

    /// The number of a text.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.index.get(text).copied()
    }

    /// The text of a number.
    pub fn text(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("", |text| text)
    }

    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        self.list.iter().map(|text| 2 * text.len() + 64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(value: &str, authority: &str, universal: &str, kind: &str) -> Identifier {
        Identifier { value: value.into(), authority: authority.into(), universal: universal.into(), kind: kind.into() }
    }

    fn found(identifiers: &[Identifier]) -> Vec<String> {
        of_message(identifiers).into_iter().map(|(system, value)| format!("{system} {value}")).collect()
    }

    #[test]
    fn identifiers_of_messages_have_the_systems_of_rosters() {
        let record = identifier("00718243", "SBMC", "2.16.840.1.113883.19.5.1", "MR");
        let names =
            ["mrn@SBMC 00718243", "mrn@2.16.840.1.113883.19.5.1 00718243", "urn:oid:2.16.840.1.113883.19.5.1 00718243"];
        assert_eq!(found(&[record]), names);
        let mbi = format!("{MBI} 1EG4TE5MK73");
        for way in [
            identifier("1EG4TE5MK73", "CMS", "2.16.840.1.113883.4.927", "MC"),
            identifier("1eg4-te5-mk73", "", "", "MC"),
            identifier("1EG4TE5MK73", "", "2.16.840.1.113883.4.927", ""),
        ] {
            assert_eq!(found(&[way]), [mbi.as_str()]);
        }
        assert!(
            found(&[identifier("123456789A", "", "", "MC")]).is_empty(),
            "an old Medicare number, without an authority"
        );
        assert!(found(&[identifier("999999999", "SBMC", "", "MR")]).is_empty());
        assert_eq!(found(&[identifier("5", "a", "", "MR"), identifier("5", "A", "", "MR")]), ["mrn@A 5"]);
        assert_eq!(found(&[identifier("7", "X", "urn:uuid:1", "EI")]), ["urn:uuid:1 7"]);
        for system in [MBI, SSN, "mrn@SBMC", "mrn@1.2.3", "urn:oid:1.2.3", "http://example.org/id"] {
            assert_eq!(found(&[to_message(system, "A7")]), [format!("{system} A7")]);
        }
    }

    #[test]
    fn systems_are_written_in_one_way() {
        assert_eq!(of_uri("urn:oid:2.16.840.1.113883.4.927"), MBI);
        assert_eq!((of_uri("1.2.3"), of_uri("urn:oid:1.2.3")), ("urn:oid:1.2.3".into(), "urn:oid:1.2.3".into()));
        assert_eq!((of_uri("mrn@sbmc"), of_uri(ANY_MRN)), ("mrn@SBMC".into(), "mrn@aa".into()));
        assert_eq!(of_authority(" sbmc ").as_deref(), Some("mrn@SBMC"));
        assert_eq!((of_authority("urn:oid:1.2").as_deref(), of_authority("")), (Some("mrn@1.2"), None));
    }
}
