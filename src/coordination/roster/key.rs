//! What the key of a person is made of: the same for the same person in every roster.
use super::fields::{Demographics, Field};
use crate::fhir::identity;

pub use crate::coordination::person::PersonKey;

/// The namespace of all keys, a UUID of our own.
const PEOPLE: [u8; 16] =
    [0x0b, 0x9d, 0x4c, 0x7e, 0x21, 0x36, 0x4f, 0x58, 0x9a, 0x6e, 0x57, 0x83, 0xd1, 0x0c, 0xe4, 0x2f];

impl PersonKey {
    /// By an identifier.
    pub(super) fn of_identifier(system: &str, value: &str) -> PersonKey {
        PersonKey(identity::version_5(&PEOPLE, &[b"id|", system.as_bytes(), b"|", value.as_bytes()]))
    }

    /// By an identifier that several people have.
    pub(super) fn of_contested(system: &str, value: &str, person: &Demographics<'_>) -> PersonKey {
        let birth = person.birth.to_string();
        let (family, given) = (person.family.as_bytes(), person.given.as_bytes());
        let (system, value, birth) = (system.as_bytes(), value.as_bytes(), birth.as_bytes());
        PersonKey(identity::version_5(
            &PEOPLE,
            &[b"contested|", system, b"|", value, b"|", birth, b"|", family, b"|", given],
        ))
    }

    /// By what is said of somebody, in no order, where several would have one key.
    pub(super) fn of_alike(key: PersonKey, mut said: Vec<String>) -> PersonKey {
        said.sort_unstable();
        said.dedup();
        let mut text = Vec::new();
        for one in &said {
            text.extend_from_slice(&(one.len() as u64).to_be_bytes());
            text.extend_from_slice(one.as_bytes());
        }
        PersonKey(identity::version_5(&PEOPLE, &[b"alike|", &key.0, &text]))
    }

    /// By fields that are all known.
    pub(super) fn of_fields(fields: &[Field], person: &Demographics<'_>) -> PersonKey {
        let mut text = String::from("fields");
        for field in fields {
            text.push('|');
            text.push_str(field.name());
            text.push('=');
            text.push_str(&person.shown(*field));
        }
        PersonKey(identity::version_5(&PEOPLE, &[text.as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_nothing_and_read_back() {
        let key = PersonKey::of_identifier("mrn@SBMC", "00718243");
        assert_eq!(key, PersonKey::of_identifier("mrn@SBMC", "00718243"));
        assert_ne!(key, PersonKey::of_identifier("mrn@CHFM", "00718243"));
        assert!(!key.to_string().contains("718243") && key.to_string().len() == 36);
        assert_eq!(PersonKey::parse(&key.to_string()), Some(key));
        for wrong in [
            "",
            "718243",
            &key.to_string()[1..],
            &key.to_string().to_uppercase(),
            "0b9d4c7e-2136-4f58-9a6e-5783d10ce42+",
        ] {
            assert_eq!(PersonKey::parse(wrong), None, "{wrong}");
        }
        let person = Demographics { family: "OKAFOR", birth: 19_510_314, ..Demographics::default() };
        assert_ne!(PersonKey::of_contested("mrn@SBMC", "00718243", &person), key);
        let by_name = |family| PersonKey::of_fields(&[Field::Family], &Demographics { family, ..person });
        assert_ne!(by_name("OKAFOR"), by_name("OKAFORD"));
    }
}
