//! A test of one subscription: what it would be told of something that has not happened. Matched, judged and redacted as an event is, beside all that is counted: nothing is numbered,
//! and no other subscription and no loop hears of it.
use super::tell::visible;
use super::{roster_consent, telling};
use crate::coordination::Options;
use crate::coordination::event::Confidentiality;
use crate::coordination::sensitivity::{self, Said};
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::matcher::Matcher;
use crate::coordination::subscription::resource::{Subscription, Wanted};
use crate::coordination::subscription::store::Told;
use crate::coordination::subscription::synthetic::{self, Happening};
use crate::coordination::subscription::topic::{Topics, Trigger};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Decision, Facts, Found, Gate, Recipient, Release, Shared};
use serde_json::Value;

/// What came of it, up to where it leaves.
pub enum Tested {
    /// The subscription wants nothing: why.
    Unmatched(&'static str),
    /// It would be told of this, and must not be: why.
    Withheld(Trigger, &'static str),
    /// This is what it is told.
    Told(Told, Box<Shared>),
}

/// What a test is made with.
#[derive(Clone, Copy)]
pub struct Setting<'s> {
    /// As configured.
    pub options: &'s Options,
    /// The gate.
    pub gate: &'s Gate,
    /// The topics.
    pub topics: &'s Topics,
    /// Whose subscription it is.
    pub recipient: &'s Recipient,
    /// How much of it is told.
    pub content: MaxContent,
    /// Now, in milliseconds since 1970 (UTC).
    pub now_ms: i64,
}

/// Tests a subscription.
pub fn test(setting: Setting<'_>, subscription: &Subscription) -> Tested {
    let Setting { recipient, now_ms, .. } = setting;
    match subscription.wanted {
        Wanted::Requested => {}
        Wanted::Agreement => return Tested::Unmatched("its filters were adjusted: set status to requested to agree"),
        Wanted::Off => return Tested::Unmatched("it is off: set status to requested"),
    }
    if subscription.end_ms.is_some_and(|end| end <= now_ms) {
        return Tested::Unmatched("its end has passed");
    }
    let mut matcher = Matcher::new(setting.topics.events_system());
    matcher.put(subscription);
    let mut all = synthetic::happenings(subscription, &recipient.panels).into_iter();
    let matched = all.find_map(|(trigger, happening)| {
        let found = found(setting, &happening);
        let is_it =
            with_labels(setting, trigger, (&happening, found), |candidate| !matcher.matches(candidate).is_empty());
        is_it.then_some((trigger, happening, found))
    });
    match matched {
        Some((trigger, happening, found)) => judged(setting, subscription, &matcher, (trigger, &happening, found)),
        None => Tested::Unmatched("nothing that could happen meets all of its filters"),
    }
}

/// As [`super::Batch::tell`] does, with nobody's consents.
fn judged(
    setting: Setting<'_>,
    subscription: &Subscription,
    matcher: &Matcher,
    (trigger, happening, found): (Trigger, &Happening, Found),
) -> Tested {
    let Setting { gate, recipient, now_ms, .. } = setting;
    if !recipient.topics.iter().any(|topic| topic == subscription.topic.id) {
        return Tested::Withheld(trigger, "its topic is not the recipient's any more");
    }
    let panels: Vec<_> = happening.panels.iter().map(|panel| (panel.clone(), String::new())).collect();
    let Some(roster) = roster_consent(recipient, &panels) else {
        return Tested::Withheld(trigger, "none of its panels is the recipient's any more");
    };
    let person = synthetic::id("Patient");
    let facts = Facts { found, person: &person, consents: &[], roster: &roster, at_ms: now_ms, now_ms };
    let cleared = match gate.decide(recipient, &facts) {
        Decision::Share { cleared } => cleared,
        Decision::Withhold(reason) => return Tested::Withheld(trigger, reason.name()),
    };
    let seen = with_labels(setting, trigger, (happening, found), |candidate| {
        let seen = visible(gate.labels(), matcher, &subscription.id, candidate, (found, cleared))?;
        Some(seen.focus().map(str::to_owned).collect::<Vec<_>>())
    });
    let Some(focus) = seen else {
        return Tested::Withheld(trigger, "it filters by what the recipient may not see");
    };
    let Some(bundle) = focus.first().and_then(|kind| synthetic::bundle(kind, now_ms)) else {
        return Tested::Unmatched("there is nothing to test it with");
    };
    let told = Told {
        event: telling::audit_id(&[0; 16], &subscription.id, &format!("self-test|{now_ms}")),
        seq: 0,
        at_ms: now_ms,
        received_ms: now_ms,
        trigger,
        v2_event: happening.v2_event.clone(),
        focus,
    };
    match gate.release(recipient, &facts, setting.content, bundle) {
        Release::Withheld(reason) => Tested::Withheld(trigger, reason.name()),
        Release::Shared(shared) => Tested::Told(told, shared),
    }
}

/// The labels that it would carry.
fn found(setting: Setting<'_>, happening: &Happening) -> Found {
    let (labels, confidentiality) = (setting.gate.labels(), Confidentiality::default());
    let said =
        Said { facility: &happening.facility, feed: "", codes: &happening.codes, confidentiality: &confidentiality };
    let found = sensitivity::found(labels, &setting.options.facilities, said, &[]);
    let asked = labels.of_all(happening.labels.iter().map(String::as_str));
    Found { all: found.all.with(asked), whole: found.whole }
}

fn with_labels<T>(
    setting: Setting<'_>,
    trigger: Trigger,
    (happening, found): (&Happening, Found),
    show: impl FnOnce(&Candidate<'_>) -> T,
) -> T {
    let names = telling::codes(setting.gate.labels(), found.all);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    happening.candidate(trigger, &names, setting.now_ms, show)
}

/// The synthetic resource of that type with what it refers to, as a recipient may see them; none where it may not.
pub fn resource(gate: &Gate, recipient: &Recipient, kind: &str, now_ms: i64) -> Option<Vec<Value>> {
    let person = synthetic::id("Patient");
    let facts = Facts {
        found: Default::default(),
        person: &person,
        consents: &[],
        roster: &crate::privacy::RosterConsent::Unknown,
        at_ms: now_ms,
        now_ms,
    };
    match gate.release(recipient, &facts, MaxContent::FullResource, synthetic::bundle(kind, now_ms)?) {
        Release::Shared(shared) => {
            let mut bundle = shared.bundle?;
            synthetic::mark(&mut bundle);
            let entries = bundle.get_mut("entry").and_then(Value::as_array_mut)?;
            Some(entries.iter_mut().map(|entry| entry["resource"].take()).collect())
        }
        Release::Withheld(_) => None,
    }
}
