//! Which certificate may speak for which sender.
use crate::facets::Facets;
use std::collections::BTreeMap;

/// A sender as a message names it; empty stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The first component of MSH-3.
    pub application: String,
    /// The first component of MSH-4.
    pub facility: String,
}

impl Sender {
    /// `APPLICATION`, `APPLICATION|FACILITY` or `|FACILITY`; none for nothing at all.
    pub fn parse(text: &str) -> Option<Sender> {
        let (application, facility) = text.split_once('|').unwrap_or((text, ""));
        let sender = Sender { application: application.trim().to_owned(), facility: facility.trim().to_owned() };
        (!(sender.application.is_empty() && sender.facility.is_empty())).then_some(sender)
    }
}

/// The senders of each certificate, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Senders(pub BTreeMap<String, Vec<Sender>>);

impl Senders {
    /// Whether one of these names may send the message. Names are compared as DNS names are, whatever their case.
    pub(super) fn allow(&self, names: &[String], facets: &Facets<'_>) -> bool {
        let is = |wanted: &str, found: &[u8]| wanted.is_empty() || first_component(found) == wanted.as_bytes();
        let of = |name: &String| {
            self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, senders)| senders)
        };
        names.iter().filter_map(of).flatten().any(|sender| {
            is(&sender.application, facets.sending_application) && is(&sender.facility, facets.sending_facility)
        })
    }
}

/// What stands before the first byte that is no letter, digit, blank or one of `._-`: component separators differ from sender to sender.
fn first_component(field: &[u8]) -> &[u8] {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" ._-".contains(byte) || !byte.is_ascii();
    &field[..field.iter().position(|byte| !plain(byte)).unwrap_or(field.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_for_its_own_senders_only() {
        let list = |texts: &[&str]| texts.iter().map(|text| Sender::parse(text).unwrap()).collect();
        let senders = Senders(BTreeMap::from([
            ("lab.example".to_owned(), list(&["LAB", "|CITY"])),
            ("his.example".to_owned(), list(&["HIS|HARBOR"])),
        ]));
        let allow = |name: &str, application: &str, facility: &str| {
            let facets = Facets {
                sending_application: application.as_bytes(),
                sending_facility: facility.as_bytes(),
                ..Facets::default()
            };
            senders.allow(&[name.to_owned()], &facets)
        };
        assert!(
            allow("lab.example", "LAB", "ANY")
                && allow("LAB.example", "LAB^1.2^ISO", "")
                && allow("lab.example", "X", "CITY")
        );
        assert!(allow("his.example", "HIS", "HARBOR^9"));
        assert!(!allow("his.example", "HIS", "CITY") && !allow("his.example", "LAB", "HARBOR"));
        assert!(!allow("other.example", "LAB", "CITY") && !allow("lab.example", "LABX", ""));
        assert!(!senders.allow(&[], &Facets { sending_application: b"LAB", ..Facets::default() }));
        assert_eq!((Sender::parse(""), Sender::parse("|")), (None, None));
    }
}
