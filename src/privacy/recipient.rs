//! What a recipient may have. One without a policy is not loaded.
use super::label::Set;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A recipient, as `[[coordination.recipient]]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Its name in consents, subscriptions and the audit.
    pub id: String,
    /// The panels whose people it looks after.
    pub panels: Vec<String>,
    /// What it is told for (v3 ActReason): `TREAT`, `HOPERAT`.
    pub purpose: String,
    /// Topics that it may subscribe to.
    pub topics: Vec<String>,
    /// How much of an event it may ever get.
    pub max_content: MaxContent,
    /// Labels that it may see.
    pub clear: Set,
    /// Labels that it may see once a patient permits it, and no sooner, whatever `clear` says.
    pub consent_required: Set,
    /// What becomes of an event that carries more.
    pub deny_action: DenyAction,
    /// What becomes of text, PDF and other bodies that nobody can label.
    pub unstructured: Unstructured,
    /// Which elements it gets at all.
    pub fields_profile: FieldsProfile,
    /// SHA-256 of its bearer token for the FHIR API; without one it cannot ask.
    pub token_sha256: Option<[u8; 32]>,
    /// What signs notifications that are posted to it; two while keys are changed.
    pub keys: Vec<Key>,
}

impl Recipient {
    /// Whether it ever gets resources of a type.
    pub fn has(&self, kind: &str) -> bool {
        self.fields_profile == FieldsProfile::All || super::profile::has(kind)
    }
}

/// A key that signs. `Debug` does not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Key {
        Key(text.into())
    }

    /// To sign with, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

/// How much of an event a recipient may ever get, from nothing on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MaxContent {
    /// That there was one.
    Empty,
    /// The ids of its resources.
    IdOnly,
    /// The resources.
    FullResource,
}

impl MaxContent {
    /// All with their names in configuration and subscriptions.
    pub const ALL: [(&'static str, MaxContent); 3] =
        [("empty", MaxContent::Empty), ("id-only", MaxContent::IdOnly), ("full-resource", MaxContent::FullResource)];

    /// Its name.
    pub fn name(self) -> &'static str {
        MaxContent::ALL.iter().find(|(_, content)| *content == self).map_or("", |(name, _)| name)
    }
}

/// What becomes of an event that carries a label that is not cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenyAction {
    /// What carries it is left out, with all that refers to it.
    DropElement,
    /// The event is.
    DropEvent,
}

impl DenyAction {
    /// All with their names.
    pub const ALL: [(&'static str, DenyAction); 2] =
        [("drop-element", DenyAction::DropElement), ("drop-event", DenyAction::DropEvent)];
}

/// What becomes of what nobody can label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstructured {
    /// Withheld when the visit carries a label that is not cleared.
    WithholdIfSensitive,
    /// Always withheld.
    Withhold,
}

impl Unstructured {
    /// All with their names.
    pub const ALL: [(&'static str, Unstructured); 2] =
        [("withhold-if-sensitive", Unstructured::WithholdIfSensitive), ("withhold", Unstructured::Withhold)];
}

/// Which elements a recipient gets at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldsProfile {
    /// All.
    All,
    /// Patient name, practitioner, institution, event and time: what 42 CFR 482.24(d) asks of hospitals at the least.
    CopMinimum,
}

impl FieldsProfile {
    /// All with their names.
    pub const ALL: [(&'static str, FieldsProfile); 2] =
        [("all", FieldsProfile::All), ("cop-minimum", FieldsProfile::CopMinimum)];
}

pub(super) fn of_token<'r>(recipients: &'r [Recipient], text: &str) -> Option<&'r Recipient> {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut found = None;
    for recipient in recipients {
        // All are compared, whichever it is.
        if recipient.token_sha256.is_some_and(|hash| bool::from(hash.ct_eq(&digest))) {
            found = Some(recipient);
        }
    }
    found
}
