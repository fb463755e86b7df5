//! Who may ask what: tokens, their roles, and what is done about those who guess.
//!
//! A token is 256 random bits, so a plain SHA-256 of it is kept: there is nothing to guess that a slow hash would slow down. All tokens are compared, each in constant
//! time. There is no token unless the configuration names one.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads states, counts and reasons; nothing of a patient.
    Viewer,
    /// The same, and starts, pauses and stops routes, sends dead letters again and drops them.
    Operator,
    /// The same, and has the configuration read anew.
    Admin,
    /// Reads what a viewer reads, and messages themselves. Changes nothing; no other role reads messages.
    PhiReader,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nobody,
    /// To look.
    View,
    /// To operate.
    Operate,
    /// To see codes: to operate, or, and then whole, to read messages.
    Codes,
    /// To change the configuration.
    Configure,
    /// To read messages.
    Phi,
}

impl Role {
    /// All of them with their names in the configuration.
    pub const ALL: [(&'static str, Role); 4] = [
        ("viewer", Role::Viewer),
        ("operator", Role::Operator),
        ("admin", Role::Admin),
        ("phi-reader", Role::PhiReader),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Role::ALL.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
    }

    /// Whether it may do that.
    pub fn may(self, need: Need) -> bool {
        match need {
            Need::Nobody | Need::View => true,
            Need::Operate => matches!(self, Role::Operator | Role::Admin),
            Need::Codes => self.may(Need::Operate) || self.may(Need::Phi),
            Need::Configure => self == Role::Admin,
            Need::Phi => self == Role::PhiReader,
        }
    }
}

impl Need {
    /// Its name: that of the least role, but for codes, which two roles see.
    pub fn name(self) -> Option<&'static str> {
        if self == Need::Codes { Some("codes") } else { self.role().map(Role::name) }
    }

    /// The least role that has it.
    pub fn role(self) -> Option<Role> {
        match self {
            Need::Nobody => None,
            Need::View => Some(Role::Viewer),
            Need::Operate | Need::Codes => Some(Role::Operator),
            Need::Configure => Some(Role::Admin),
            Need::Phi => Some(Role::PhiReader),
        }
    }
}

/// A token as the configuration keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whom the log names.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of its text.
    pub sha256: [u8; 32],
}

/// The token that a text is, if it is one.
pub fn find<'t>(tokens: &'t [Token], text: &str) -> Option<&'t Token> {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut found = None;
    for token in tokens {
        // All are compared, whichever it is.
        if bool::from(token.sha256.ct_eq(&digest)) {
            found = Some(token);
        }
    }
    found
}

/// A new token and its hash in hexadecimal.
///
/// # Errors
/// When the system gives no random bits.
pub fn create() -> Result<(String, String), getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
    let hash = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((text, hash))
}

/// So that a token that was left lying about can be told for what it is.
const PREFIX: &str = "handoff_";

/// A hash as it stands in the configuration.
pub fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// Failed attempts by address. Those who show a good token are never turned away for the failures of others behind the same address.
#[derive(Debug, Default)]
pub struct Failures {
    by_address: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

/// Failures of an address that are answered (and logged) within a minute, unless the configuration says otherwise.
pub const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; with more than that, all that fail are turned away until a window ends.
const ADDRESSES_MAX: usize = 4096;

impl Failures {
    /// Whether there have been more than `most` of late.
    pub fn are_over(&self, address: IpAddr, now: Instant, most: u32) -> bool {
        let by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        by_address.get(&address).is_some_and(|(count, since)| *count > most && now.duration_since(*since) < WINDOW)
    }

    /// Notes a failure; false when there have been more than `most` of late.
    pub fn note(&self, address: IpAddr, now: Instant, most: u32) -> bool {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= ADDRESSES_MAX && !by_address.contains_key(&address) {
            by_address.retain(|_, (_, since)| now.duration_since(*since) < WINDOW);
            if by_address.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let (count, since) = by_address.entry(address).or_insert((0, now));
        if now.duration_since(*since) >= WINDOW {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
        *count <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let (text, hash) = create().unwrap();
        let (other, _) = create().unwrap();
        assert!(text != other && text.len() == PREFIX.len() + 43, "{}", text.len());
        let token =
            |name: &str, hash: &str| Token { name: name.into(), role: Role::Viewer, sha256: parse_hash(hash).unwrap() };
        let tokens = [token("a", &"0".repeat(64)), token("b", &hash), token("c", &"f".repeat(64))];
        assert_eq!(find(&tokens, &text).map(|token| token.name.as_str()), Some("b"));
        assert_eq!(
            (find(&tokens, &other), find(&tokens, &hash), find(&tokens, ""), find(&[], &text)),
            (None, None, None, None)
        );
        assert_eq!(
            [parse_hash(""), parse_hash("00"), parse_hash(&"g".repeat(64)), parse_hash(&"é".repeat(32))],
            [None; 4]
        );
    }

    #[test]
    fn roles_may_what_they_are_for() {
        let may = |role: Role| {
            [Need::Nobody, Need::View, Need::Operate, Need::Codes, Need::Configure, Need::Phi]
                .map(|need| role.may(need))
        };
        assert_eq!(may(Role::Viewer), [true, true, false, false, false, false]);
        assert_eq!(may(Role::Operator), [true, true, true, true, false, false]);
        assert_eq!(may(Role::Admin), [true, true, true, true, true, false]);
        assert_eq!(may(Role::PhiReader), [true, true, false, true, false, true]);
    }

    #[test]
    fn failures_are_counted_by_address_and_forgotten() {
        let (failures, start) = (Failures::default(), Instant::now());
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert!((0..FAILURES_MAX).all(|_| failures.note(one, start, FAILURES_MAX)));
        assert!(!failures.are_over(one, start, FAILURES_MAX));
        assert!(!failures.note(one, start, FAILURES_MAX) && failures.note(two, start, FAILURES_MAX));
        let over = |address, now| failures.are_over(address, now, FAILURES_MAX);
        assert!(over(one, start) && !over(two, start) && !over(one, start + WINDOW));
        assert!(failures.note(one, start + WINDOW, FAILURES_MAX), "a new window");
        for number in 0..2 * ADDRESSES_MAX as u32 {
            failures.note(IpAddr::from(number.to_be_bytes()), start + WINDOW, FAILURES_MAX);
        }
        assert!(failures.by_address.lock().unwrap().len() <= ADDRESSES_MAX);
        assert!(failures.note(IpAddr::from([9, 9, 9, 9]), start + 3 * WINDOW, FAILURES_MAX));
    }
}
