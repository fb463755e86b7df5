//! The key of a person: opaque, the same for every identifier that is known to be theirs.
use crate::fhir::identity;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who somebody is, for all that is kept of them: UUIDv5 over their strongest identifier, else over name, birth and address. It stays the same from one roster to the
/// next while these do, and tells nothing by itself; who knows an identifier can compute it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonKey(pub [u8; 16]);

impl PersonKey {
    /// Reads 36 characters.
    pub fn parse(text: &str) -> Option<PersonKey> {
        let mut key = [0; 16];
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        if text.len() != 36 || digits.len() != 32 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(PersonKey(key)).filter(|key| key.to_string() == text)
    }
}

impl fmt::Display for PersonKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = identity::text(&self.0);
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PersonKey({self})")
    }
}
