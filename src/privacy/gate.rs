//! The gate: what a recipient gets of an event, or why nothing.
//!
//! It is asked twice: [`Gate::decide`] when an event is matched with who wants it, on its codes alone; [`Gate::release`] whenever a Bundle is about to leave, the first time or at replay,
//! with the consents of that moment. Whatever goes wrong in it, a panic too, withholds.
//!
//! ```text
//! roster or a consent forbids the recipient                       → withhold
//! a label of the event as a whole (facility, unit, mark)          → withhold, unless cleared
//! any label, and deny_action = drop-event                         → withhold, unless cleared
//! else                                                            → what is cleared
//!
//! a label is cleared:  a consent forbids it                       → no
//!                      a consent permits it, recipient and label by name; or the roster does → yes
//!                      else                                       → in clear and not in consent_required
//! ```
mod passage;

pub use passage::{Carried, Glance, Passage, Places};

use super::consent::{self, Asked, CONSENTS_MAX, Consent, RosterConsent, Said};
use super::label::{Found, Labels, Set};
use super::recipient::{DenyAction, FieldsProfile, MaxContent, Recipient, Unstructured};
use super::redact::{Failure, Redaction, kind_of};
use super::{profile, security};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is known beside the Bundle.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the event carries, and its visit from earlier messages.
    pub found: Found,
    /// The person, by their opaque logical id.
    pub person: &'a str,
    /// Consents of that person, as they are now.
    pub consents: &'a [Consent],
    /// The consent column of the roster by which the recipient looks after them.
    pub roster: &'a RosterConsent,
    /// When the event happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// Now.
    pub now_ms: i64,
}

/// Whether an event may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// No.
    Withhold(Reason),
    /// What carries no label but these may.
    Share {
        /// Labels that the recipient may see.
        cleared: Set,
    },
}

/// Why something is withheld: no word of it tells of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The policy of the recipient.
    Policy,
    /// A consent, or the roster.
    Consent,
    /// It could not be judged.
    Failed,
}

impl Reason {
    /// Its name in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Policy => "policy",
            Reason::Consent => "consent",
            Reason::Failed => "failed",
        }
    }
}

/// What leaves.
#[derive(Clone, PartialEq)]
pub enum Release {
    /// Nothing.
    Withheld(Reason),
    /// This.
    Shared(Box<Shared>),
}

impl std::fmt::Debug for Release {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Release::Withheld(reason) => write!(out, "Withheld({reason:?})"),
            Release::Shared(shared) => write!(out, "Shared({} resources)", shared.resources.len()),
        }
    }
}

/// What leaves, in as much detail as the recipient may have.
#[derive(Clone, PartialEq)]
pub struct Shared {
    /// The redacted Bundle, for `full-resource`.
    pub bundle: Option<Value>,
    /// Type and id of each of its resources, in order; none for `empty`.
    pub resources: Vec<(String, String)>,
    /// Labels in it, all of them cleared.
    pub labels: Set,
    /// Whether anything was taken out.
    pub reduced: bool,
}

/// The gate.
#[derive(Debug, Clone)]
pub struct Gate {
    labels: Arc<Labels>,
}

impl Gate {
    /// A gate for these labels.
    pub fn new(labels: Arc<Labels>) -> Gate {
        Gate { labels }
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Whether a recipient may be told of an event.
    pub fn decide(&self, recipient: &Recipient, facts: &Facts<'_>) -> Decision {
        closed(|| self.judge(recipient, facts), || Decision::Withhold(Reason::Failed))
    }

    /// What a recipient gets of an event and the Bundle of its message, at most `content` of it.
    pub fn release(&self, recipient: &Recipient, facts: &Facts<'_>, content: MaxContent, bundle: Value) -> Release {
        let content = content.min(recipient.max_content);
        closed(|| self.shared(recipient, facts, content, bundle), || Release::Withheld(Reason::Failed))
    }

    /// Redacts a Bundle or a Bundle of a card in place; when it must not be shared it becomes `null`.
    ///
    /// # Errors
    /// Why it must not be.
    pub fn redact(&self, recipient: &Recipient, facts: &Facts<'_>, bundle: &mut Value) -> Result<Set, Reason> {
        match self.release(recipient, facts, MaxContent::FullResource, bundle.take()) {
            Release::Withheld(reason) => Err(reason),
            // A recipient that may only have ids gets no resources here either.
            Release::Shared(shared) => {
                *bundle = shared.bundle.ok_or(Reason::Policy)?;
                Ok(shared.labels)
            }
        }
    }

    fn judge(&self, recipient: &Recipient, facts: &Facts<'_>) -> Decision {
        // Consents of somebody else, or more than are looked at: something is wrong with who asks.
        if facts.consents.len() > CONSENTS_MAX || facts.consents.iter().any(|consent| consent.patient != facts.person) {
            return Decision::Withhold(Reason::Failed);
        }
        let asked = Asked {
            recipient: &recipient.id,
            purpose: &recipient.purpose,
            panels: &recipient.panels,
            label: None,
            now_ms: facts.now_ms,
            at_ms: facts.at_ms,
        };
        if *facts.roster == RosterConsent::Deny || consent::ask(facts.consents, &asked) == Said::Deny {
            return Decision::Withhold(Reason::Consent);
        }
        let (cleared, forbidden) = self.cleared(recipient, facts, &asked);
        let over = if recipient.deny_action == DenyAction::DropEvent { facts.found.all } else { facts.found.whole };
        let over = over.without(cleared);
        if over.is_empty() {
            return Decision::Share { cleared };
        }
        let by_consent = !over.is_within(over.without(forbidden.with(recipient.consent_required)));
        Decision::Withhold(if by_consent { Reason::Consent } else { Reason::Policy })
    }

    /// Which labels are cleared, and which of the others consents forbid.
    fn cleared(&self, recipient: &Recipient, facts: &Facts<'_>, asked: &Asked<'_>) -> (Set, Set) {
        let mut cleared = recipient.clear.without(recipient.consent_required);
        let mut forbidden = Set::EMPTY;
        if let RosterConsent::Permit(permitted) = facts.roster {
            cleared = cleared.with(self.labels.of_all(permitted.iter().map(String::as_str)));
        }
        if facts.consents.is_empty() {
            return (cleared, forbidden);
        }
        for label in self.labels.labels(self.labels.every()) {
            let Some(set) = self.labels.of(&label.code) else { continue };
            let asked = Asked { label: Some((&label.code, &label.conf)), ..*asked };
            match consent::ask(facts.consents, &asked) {
                Said::Deny => {
                    cleared = cleared.without(set);
                    forbidden = forbidden.with(set);
                }
                Said::Permit { explicit: true } => cleared = cleared.with(set),
                Said::Permit { explicit: false } | Said::Nothing => {}
            }
        }
        (cleared, forbidden)
    }

    fn shared(&self, recipient: &Recipient, facts: &Facts<'_>, content: MaxContent, mut bundle: Value) -> Release {
        let Ok(in_bundle) = self.labels.of_value(&bundle) else { return Release::Withheld(Reason::Failed) };
        // What stands in the Bundle only counts too, above all for drop-event.
        let found = Found { all: facts.found.all.with(in_bundle), whole: facts.found.whole };
        let cleared = match self.judge(recipient, &Facts { found, ..*facts }) {
            Decision::Withhold(reason) => return Release::Withheld(reason),
            Decision::Share { cleared } => cleared,
        };
        let sensitive = !found.all.is_within(cleared);
        let withhold_text = recipient.unstructured == Unstructured::Withhold || sensitive;
        let mut redaction = Redaction::new(&self.labels, cleared, withhold_text);
        if kind_of(Some(&bundle)) != "Bundle" {
            return Release::Withheld(Reason::Failed);
        }
        if redaction.is_needed(&bundle, in_bundle) {
            let focus = focus(&bundle);
            if let Err(failure) = redaction.run(&mut bundle) {
                return Release::Withheld(if failure == Failure::Essential { Reason::Policy } else { Reason::Failed });
            }
            // All that it was about is gone: that it was there is all that could be told.
            if !focus.is_empty() && !focus.iter().any(|url| is_there(&bundle, url)) {
                return Release::Withheld(Reason::Policy);
            }
        }
        if recipient.fields_profile == FieldsProfile::CopMinimum {
            redaction.without(&mut bundle, profile::has);
            profile::cop_minimum(&mut bundle);
            if redaction.run(&mut bundle).is_err() {
                return Release::Withheld(Reason::Policy);
            }
        }
        self.finish(content, cleared, redaction.dropped(), bundle)
    }

    /// Looks once more, without regard to how it was made, and marks it.
    fn finish(&self, content: MaxContent, cleared: Set, reduced: bool, mut bundle: Value) -> Release {
        let Ok(left) = self.labels.of_value(&bundle) else { return Release::Withheld(Reason::Failed) };
        if !left.is_within(cleared) {
            return Release::Withheld(Reason::Failed);
        }
        let Ok(labels) = security::mark(&self.labels, &mut bundle) else { return Release::Withheld(Reason::Failed) };
        let resources = if content == MaxContent::Empty { Vec::new() } else { ids(&bundle) };
        let bundle = (content == MaxContent::FullResource).then_some(bundle);
        Release::Shared(Box::new(Shared { bundle, resources, labels, reduced }))
    }
}

/// Runs it; when it panics, the other. Nothing is left half done: all that it works on is its own.
fn closed<T>(act: impl FnOnce() -> T, failed: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| failed())
}

/// What a message is about beside the patient and the visit, by the addresses of its entries.
fn focus(bundle: &Value) -> Vec<String> {
    let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let header = entries.iter().filter_map(|entry| entry.get("resource"));
    let header = header.into_iter().find(|resource| kind_of(Some(resource)) == "MessageHeader");
    let list = header.and_then(|header| header.get("focus")).and_then(Value::as_array).into_iter().flatten();
    let urls = list.filter_map(|reference| reference.get("reference").and_then(Value::as_str));
    let about = |url: &&str| {
        let entry = entries.iter().find(|entry| entry.get("fullUrl").and_then(Value::as_str) == Some(*url));
        !matches!(kind_of(entry.and_then(|entry| entry.get("resource"))), "Patient" | "Encounter" | "")
    };
    urls.filter(about).map(str::to_owned).collect()
}

fn is_there(bundle: &Value, url: &str) -> bool {
    let entries = bundle.get("entry").and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| entry.get("fullUrl").and_then(Value::as_str) == Some(url))
}

fn ids(bundle: &Value) -> Vec<(String, String)> {
    let entries = bundle.get("entry").and_then(Value::as_array);
    let resources = entries.into_iter().flatten().filter_map(|entry| entry.get("resource"));
    let named = resources.filter_map(|resource| {
        let id = resource.get("id").and_then(Value::as_str)?;
        Some((kind_of(Some(resource)).to_owned(), id.to_owned()))
    });
    named.collect()
}

#[cfg(test)]
mod tests;
