//! Who may see what of an event: sensitivity labels, consents, the gate before every recipient, and the audit of what went out and what did not.
//!
//! | module | holds |
//! |---|---|
//! | [`systems`] | names and URIs of code systems that lists speak of |
//! | [`label`] | labels, and which of them an event and each element of its Bundle carries |
//! | [`starter`] | lists of codes to begin with; not legal advice |
//! | [`consent`] | Consent resources and the consent column of a roster |
//! | [`recipient`] | what a recipient may have |
//! | [`gate`] | the decision, and the Bundle that a recipient gets |
//! | `redact`, `profile`, `security` | what goes from a Bundle and what that takes with it; a whitelist of elements; the labels that what stays is marked with |
//! | [`visits`] | what is known of a visit from its earlier messages |
//! | [`audit`] | one AuditEvent a delivery and one a suppression, in files whose every line carries the hash of the one before |
//!
//! Everything fails closed: what cannot be judged is withheld, a panic too. Leaves out: reading free text for meaning, and the law of any state.
pub mod audit;
pub mod consent;
pub mod gate;
pub mod label;
mod profile;
pub mod recipient;
mod redact;
mod security;
pub mod starter;
pub mod systems;
pub mod visits;

pub use consent::{Consent, RosterConsent};
pub use gate::{Carried, Decision, Facts, Gate, Glance, Passage, Places, Reason, Release, Shared};
pub use label::{Found, Label, Labels, Set};
pub use recipient::{DenyAction, FieldsProfile, Key, MaxContent, Recipient, Unstructured};

use std::sync::Arc;

/// The privacy gate as configured (`[[coordination.label]]`, `[[coordination.recipient]]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Labels: those configured, and the starter lists.
    pub labels: Arc<Labels>,
    /// Recipients, in the order of the file.
    pub recipients: Vec<Recipient>,
}

impl Default for Options {
    /// The starter lists, and nobody to receive anything.
    fn default() -> Options {
        Options { labels: Arc::new(Labels::new(starter::labels())), recipients: Vec::new() }
    }
}

impl Options {
    /// The recipient of that id.
    pub fn recipient(&self, id: &str) -> Option<&Recipient> {
        self.recipients.iter().find(|recipient| recipient.id == id)
    }

    /// The recipient whose bearer token a text is. All tokens are compared, each in constant time.
    pub fn recipient_of_token(&self, text: &str) -> Option<&Recipient> {
        recipient::of_token(&self.recipients, text)
    }

    /// The gate.
    pub fn gate(&self) -> Gate {
        Gate::new(Arc::clone(&self.labels))
    }
}
