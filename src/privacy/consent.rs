//! What patients permit and forbid: Consent resources of FHIR R4, and the consent column of a roster.
//!
//! A Consent is read once into rules. Its provisions are nested: each is an exception to the one around it and under its conditions too, so of those that apply the
//! innermost decides, and where two are as deep the one that forbids. Across consents what forbids goes before what permits. Conditions that cannot be judged here (`class`,
//! `code`, `data`, a purpose or actor that cannot be read) make a permit apply to nothing and a prohibition to everything.
//!
//! ```text
//! status = active, scope = patient-privacy, patient
//! policyRule OPTIN | OPTOUT            the base, without conditions
//! provision                            conditions; in R4 its type may be missing, then only what is nested says something
//!   type permit | deny
//!   period, dataPeriod, actor, action, securityLabel, purpose
//!   provision …                        to PROVISION_DEPTH_MAX
//! ```
mod rule;

pub(super) use rule::Asked;
use rule::{Rule, Verdict};
use serde_json::Value;

/// Provisions within provisions.
pub const PROVISION_DEPTH_MAX: usize = 6;
/// Provisions of one consent.
pub const PROVISIONS_MAX: usize = 256;
/// Consents of one person that are looked at; with more nothing is shared.
pub const CONSENTS_MAX: usize = 256;

/// A consent that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Consent {
    /// The logical id of its patient: the last part of `Patient/…`.
    pub patient: String,
    /// Whether it holds: status `active`. One that was revoked or entered in error says nothing.
    pub active: bool,
    rules: Vec<Rule>,
}

impl std::fmt::Debug for Consent {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Consent({} rules, active: {})", self.rules.len(), self.active)
    }
}

/// Why a Consent cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// No Consent.
    #[error("resourceType is not Consent")]
    Resource,
    /// An element that must be there, or whose value is not one that is known.
    #[error("{path}: {what}")]
    Element {
        /// As `Consent.provision.type`.
        path: &'static str,
        /// What is wrong and what to do.
        what: &'static str,
    },
    /// More provisions than are read.
    #[error("more than {PROVISIONS_MAX} provisions, or nested deeper than {PROVISION_DEPTH_MAX}")]
    TooMany,
}

impl Consent {
    /// Reads a Consent resource.
    ///
    /// # Errors
    /// What of it cannot be understood: it must then be refused, or nothing shared.
    pub fn parse(resource: &Value) -> Result<Consent, ConsentError> {
        let text = |key: &str| resource.get(key).and_then(Value::as_str);
        if text("resourceType") != Some("Consent") {
            return Err(ConsentError::Resource);
        }
        let wrong = |path, what| ConsentError::Element { path, what };
        if resource.get("modifierExtension").is_some() {
            return Err(wrong("Consent.modifierExtension", "is not understood here; remove it"));
        }
        let active = match text("status") {
            Some("active") => true,
            Some("draft" | "proposed" | "rejected" | "inactive" | "entered-in-error") => false,
            _ => return Err(wrong("Consent.status", "must be a code of consent-state-codes, such as active")),
        };
        if !rule::codes(resource.get("scope")).iter().any(|code| code == "patient-privacy") {
            return Err(wrong(
                "Consent.scope",
                "must be patient-privacy: consents to treatment or research say nothing here",
            ));
        }
        let reference = resource.get("patient").and_then(|patient| patient.get("reference")).and_then(Value::as_str);
        let patient = reference.and_then(|text| text.rsplit(['/', ':']).next()).filter(|id| !id.is_empty());
        let patient = patient.ok_or(wrong("Consent.patient", "must refer to a Patient"))?.to_owned();
        let mut rules: Vec<Rule> = rule::base(resource).into_iter().collect();
        if let Some(provision) = resource.get("provision") {
            rule::read(provision, &mut rules)?;
        }
        if rules.is_empty() {
            return Err(wrong("Consent.provision", "says nothing: give a provision, or a policyRule OPTIN or OPTOUT"));
        }
        Ok(Consent { patient, active, rules })
    }

    pub(super) fn verdict(&self, asked: &Asked<'_>) -> Option<Verdict> {
        if self.active { rule::decide(&self.rules, asked) } else { None }
    }
}

/// What all consents together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It must not be shared.
    Deny,
    /// It may; `explicit`: with this recipient, and what was asked for, by name.
    Permit { explicit: bool },
    /// Nothing.
    Nothing,
}

/// Asks all consents of a patient.
pub(super) fn ask(consents: &[Consent], asked: &Asked<'_>) -> Said {
    let mut said = Said::Nothing;
    for verdict in consents.iter().filter_map(|consent| consent.verdict(asked)) {
        said = match (verdict, said) {
            (Verdict::Deny, _) => return Said::Deny,
            (Verdict::Permit { explicit }, Said::Permit { explicit: before }) => {
                Said::Permit { explicit: explicit || before }
            }
            (Verdict::Permit { explicit }, _) => Said::Permit { explicit },
        };
    }
    said
}

/// The consent column of a roster, about the recipients of its panel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RosterConsent {
    /// The column is empty, or there is none.
    #[default]
    Unknown,
    /// Nothing may be shared: `N`, `no`, `opt-out`, `deny`.
    Deny,
    /// What policy allows may be: `Y`, `yes`, `opt-in`, `permit`; with labels after a colon these too: `Y:SUD PSY`.
    Permit(Vec<String>),
}

impl RosterConsent {
    /// Reads a cell. What is not understood forbids.
    pub fn parse(text: &str) -> RosterConsent {
        let (word, labels) = text.split_once(':').unwrap_or((text, ""));
        match word.trim().to_ascii_lowercase().as_str() {
            "" if labels.trim().is_empty() => RosterConsent::Unknown,
            "y" | "yes" | "1" | "true" | "permit" | "opt-in" | "optin" => {
                let labels = labels.split([' ', ',', ';', '|']).filter(|label| !label.is_empty());
                RosterConsent::Permit(labels.map(str::to_owned).collect())
            }
            _ => RosterConsent::Deny,
        }
    }
}

#[cfg(test)]
mod tests;
