//! People who sign in to the desk: their names, their roles, and Argon2id hashes of their passwords (RFC 9106).
//!
//! A password is chosen by a person, so guessing it must cost: 19 MiB and two passes a guess, as OWASP's password storage cheat sheet advises. A name that nobody has takes as long as one that
//! somebody has.
use super::credentials::{Need, Role};
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::LazyLock;

/// Somebody who may sign in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Whom the log names.
    pub name: String,
    /// What they may do.
    pub roles: Roles,
    /// Argon2id in the PHC string format.
    pub password: String,
}

/// A hash is no secret, but nobody needs to read it.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// What somebody is. A token has one role; a person may both operate and read messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles(pub Vec<Role>);

impl Roles {
    /// Whether one of them may do that.
    pub fn may(&self, need: Need) -> bool {
        need == Need::Nobody || self.0.iter().any(|role| role.may(need))
    }

    /// `operator, phi-reader`
    pub fn names(&self) -> String {
        self.0.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Bytes of a password that is longer are not looked at: hashing it must not take long.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Shortest password that somebody may choose (NIST SP 800-63B).
pub const PASSWORD_CHARS_MIN: usize = 12;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No random bits.
    #[error("the system gives no random bits: {0}")]
    Random(#[from] getrandom::Error),
    /// The hash itself.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// A new password of 120 random bits.
///
/// # Errors
/// When the system gives no random bits.
pub fn new_password() -> Result<String, HashError> {
    let mut bits = [0; 15];
    getrandom::fill(&mut bits)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// The hash of a password, with a salt of its own. Takes tens of milliseconds.
///
/// # Errors
/// When the system gives no random bits.
pub fn hash(password: &str) -> Result<String, HashError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let failed = |error: argon2::password_hash::Error| HashError::Hash(error.to_string());
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a text is a hash that a password can be compared with.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text)
        .is_ok_and(|hash| Algorithm::try_from(hash.algorithm) == Ok(Algorithm::Argon2id) && hash.hash.is_some())
}

/// The user of that name and password. Takes tens of milliseconds, whoever it is.
pub fn find<'u>(users: &'u [User], name: &str, password: &str) -> Option<&'u User> {
    /// Of a password that nobody knows.
    static NOBODY: LazyLock<String> =
        LazyLock::new(|| new_password().and_then(|password| hash(&password)).unwrap_or_default());
    if password.len() > PASSWORD_BYTES_MAX {
        return None;
    }
    let user = users.iter().find(|user| user.name == name);
    let text = user.map_or(NOBODY.as_str(), |user| user.password.as_str());
    let right =
        PasswordHash::new(text).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    user.filter(|_| right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_password_alone() {
        let (one, two) = (new_password().unwrap(), new_password().unwrap());
        assert!(one != two && one.len() == 20);
        let user = |name: &str, password: &str| User {
            name: name.into(),
            roles: Roles(vec![Role::Operator]),
            password: hash(password).unwrap(),
        };
        let users = [user("ada", &one), user("bob", &two)];
        assert_eq!(find(&users, "bob", &two).map(|user| user.name.as_str()), Some("bob"));
        for (name, password) in [("ada", two.as_str()), ("eve", &one), ("ada", ""), ("", &one), ("ADA", &one)] {
            assert_eq!(find(&users, name, password), None, "{name}");
        }
        assert_eq!(find(&users, "ada", &"x".repeat(PASSWORD_BYTES_MAX + 1)), None);
        assert!(is_hash(&users[0].password) && users[0].password.contains("m=19456,t=2,p=1"));
        for wrong in
            ["", "secret", "$argon2id$v=19$m=19456,t=2,p=1", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"]
        {
            assert!(!is_hash(wrong), "{wrong}");
        }
    }

    #[test]
    fn roles_add_up() {
        let both = Roles(vec![Role::Operator, Role::PhiReader]);
        assert!(both.may(Need::Phi) && both.may(Need::Operate) && !both.may(Need::Configure));
        let none = Roles::default();
        assert!(none.may(Need::Nobody) && !none.may(Need::View));
        assert_eq!(both.names(), "operator, phi-reader");
    }
}
