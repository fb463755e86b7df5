//! The key of a person: opaque, the same for every identifier that is known to be theirs.

/// A person of a roster. It tells nothing of them, and `Debug` does not show it either.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonKey(pub [u8; 16]);

impl std::fmt::Debug for PersonKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("PersonKey")
    }
}
