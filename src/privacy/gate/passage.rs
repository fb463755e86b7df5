//! Many small Bundles for one recipient: what of them may leave as it is, without any of them being made.
//!
//! Each resource is looked at once, whoever asks and in however many Bundles it stands. [`Gate::passage`] says of the resources of a Bundle what [`Gate::release`] would do with it, as far as
//! that is to leave all of it or nothing; what would have to be taken out of it is for that to say.
use super::super::redact::Tokens;
use super::super::security;
use super::closed;
use super::{Decision, Facts, FieldsProfile, Found, Gate, Labels, MaxContent, Reason, Recipient, Set, Unstructured};
use crate::fhir::tree::Tree;
use serde_json::Value;

/// What is known of resources, whoever asks for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Their labels.
    pub labels: Set,
    /// They may name a facility whose name alone tells something, or have numbers whose system does.
    pub names: bool,
}

impl Carried {
    /// What two carry.
    #[must_use]
    pub fn with(self, other: Carried) -> Carried {
        Carried { labels: self.labels.with(other.labels), names: self.names || other.names }
    }
}

/// What becomes of a Bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Nothing of it may leave.
    Withheld(Reason),
    /// All of it may, as it is.
    Whole,
    /// Something may have to be taken out.
    Parts,
}

/// How deep the resources of a Bundle stand in it.
const DEPTH: usize = 3;

/// Looks at resources.
pub struct Glance<'g> {
    labels: &'g Labels,
    names: Tokens,
    /// What systems may be made of.
    places: Tokens,
}

impl Glance<'_> {
    /// What a resource carries, and its JSON as a tree and as it is written; none where that cannot be told.
    pub fn at<T: Tree>(&self, resource: &T, json: &str) -> Option<Carried> {
        let labels = self.labels.of_part(resource, DEPTH).ok()?;
        Some(Carried { labels, names: self.named(json) || self.places.may_be_in_systems(json) })
    }

    /// Whether a piece of JSON may name a facility whose name alone tells something.
    pub fn named(&self, json: &str) -> bool {
        self.names.may_be_in(json)
    }
}

/// Names of facilities and units that tell something.
pub struct Places(Tokens);

impl Places {
    /// Whether a text holds one of them.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.are_in(text)
    }
}

impl Gate {
    /// To look at resources.
    pub fn glance(&self) -> Glance<'_> {
        let (labels, every) = (&self.labels, self.labels.every());
        Glance { labels, names: Tokens::of_facilities(labels, every), places: Tokens::of_places(labels, every) }
    }

    /// What becomes of a Bundle of resources that carry this.
    pub fn passage(&self, recipient: &Recipient, facts: &Facts<'_>, carried: Carried) -> Passage {
        closed(|| self.passes(recipient, facts, carried), || Passage::Withheld(Reason::Failed))
    }

    fn passes(&self, recipient: &Recipient, facts: &Facts<'_>, carried: Carried) -> Passage {
        let found = Found { all: facts.found.all.with(carried.labels), whole: facts.found.whole };
        let cleared = match self.judge(recipient, &Facts { found, ..*facts }) {
            Decision::Withhold(reason) => return Passage::Withheld(reason),
            Decision::Share { cleared } => cleared,
        };
        let has_all = recipient.max_content == MaxContent::FullResource
            && recipient.fields_profile == FieldsProfile::All
            && recipient.unstructured == Unstructured::WithholdIfSensitive;
        if has_all && found.all.is_within(cleared) && !carried.names { Passage::Whole } else { Passage::Parts }
    }

    /// By which names of feeds and places more would be told than these labels allow.
    pub fn places(&self, cleared: Set) -> Places {
        Places(Tokens::of_places(&self.labels, self.labels.every().without(cleared)))
    }

    /// Marks a resource that leaves with the labels that it carries.
    pub fn mark(&self, resource: &mut Value, labels: Set) {
        security::mark_one(&self.labels, resource, labels);
    }
}

#[cfg(test)]
mod tests;
