//! Whether an event is one that a definition means, and whether it is of a loop.
use super::definition::{Pattern, Provider};
use super::model::{Loop, same_number};
use super::{Given, Setting};
use crate::coordination::event::{Code, PRINCIPAL, Participant};
use crate::coordination::options::is_npi;
use crate::coordination::{Event, Kind};

/// A document with one of these in TXA-17 is finished: authenticated, legally authenticated, documented (HL7 table 0271).
pub(in crate::coordination) const FINISHED: [&str; 3] = ["AU", "LA", "DO"];
/// Names of code systems that are one (HL7 table 0396 and what senders write).
const SYSTEMS: [&[&str]; 4] = [
    &["CPT", "C4", "CPT4", "CPT-4", "C5", "http://www.ama-assn.org/go/cpt"],
    &["HCPCS", "HPC", "HCPCS2"],
    &["LOINC", "LN", "http://loinc.org"],
    &["ICD10", "I10", "I10C", "I10P", "ICD10CM", "ICD-10-CM", "http://hl7.org/fhir/sid/icd-10-cm"],
];

/// Whether an event fits a pattern in all that lies in the event alone and its place.
pub(super) fn fits(pattern: &Pattern, event: &Event, setting: &Setting) -> bool {
    let one_of = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
    let kind = pattern.kinds.is_empty() || pattern.kinds.contains(&event.kind);
    kind && one_of(&pattern.class, &event.class)
        && one_of(&pattern.disposition, &event.disposition)
        && (pattern.disposition_not.is_empty() || !one_of(&pattern.disposition_not, &event.disposition))
        && one_of(&pattern.trigger, &event.trigger)
        && finished(pattern, event)
        && coded(pattern, event)
        && pattern.facility_type.as_ref().is_none_or(|kind| {
            let facility = setting.facilities.by_key.get(&event.facility);
            facility.and_then(|facility| facility.kind.as_ref()) == Some(kind)
        })
}

/// A document that may still change tells nobody anything for sure.
fn finished(pattern: &Pattern, event: &Event) -> bool {
    if event.kind != Kind::Document {
        return true;
    }
    let completion = event.document.as_ref().map_or("", |document| document.completion.as_str());
    match pattern.completion.is_empty() {
        true => FINISHED.contains(&completion),
        false => pattern.completion.iter().any(|one| one == completion),
    }
}

fn coded(pattern: &Pattern, event: &Event) -> bool {
    let loinc = |code: &Code| same_system("LOINC", &code.system);
    let enough = |code: &Code| pattern.value_min.is_none_or(|least| value(code).is_some_and(|value| value >= least));
    let named = |code: &&Code| loinc(code) && pattern.loinc.contains(&code.code);
    let wanted = pattern.loinc.is_empty() || event.codes.iter().filter(named).any(enough);
    let unwanted = |code: &Code| loinc(code) && pattern.loinc_not.contains(&code.code);
    let other = pattern.loinc_not.is_empty() || (!event.codes.is_empty() && !event.codes.iter().any(unwanted));
    let diagnosis = |code: &Code| {
        code.field == "DG1-3"
            && (!pattern.icd10_principal || code.value == PRINCIPAL)
            && pattern.icd10_prefix.iter().any(|prefix| code.code.starts_with(prefix.as_str()))
    };
    let diagnosed = pattern.icd10_prefix.is_empty() || event.codes.iter().any(diagnosis);
    let named =
        |code: &Code| pattern.codes.iter().any(|(system, one)| *one == code.code && same_system(system, &code.system));
    wanted && other && diagnosed && (pattern.codes.is_empty() || event.codes.iter().any(named))
}

/// Whether a system as sent is the one that is meant. Where none was sent the code speaks for itself.
pub(in crate::coordination) fn same_system(meant: &str, sent: &str) -> bool {
    let is = |name: &&str, text: &str| name.eq_ignore_ascii_case(text);
    sent.is_empty()
        || meant.eq_ignore_ascii_case(sent)
        || SYSTEMS
            .iter()
            .any(|names| names.iter().any(|name| is(name, meant)) && names.iter().any(|name| is(name, sent)))
}

/// The number that an observation has. Of PHQ-9 items the answers are codes (LOINC answer list LL358-3): not at all, several days, more than half the days, nearly
/// every day.
pub(in crate::coordination) fn value(code: &Code) -> Option<f64> {
    match code.value.as_str() {
        "LA6568-5" => Some(0.0),
        "LA6569-3" => Some(1.0),
        "LA6570-1" => Some(2.0),
        "LA6571-9" => Some(3.0),
        text => text.trim().parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// The value of an observation by its LOINC code.
pub(super) fn observed(event: &Event, loinc: &str) -> Option<f64> {
    let is = |code: &&Code| code.code == loinc && same_system("LOINC", &code.system);
    event.codes.iter().filter(is).find_map(value)
}

/// How sure it is that an event is of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// It says so: the same referral, visit or document.
    Told,
    /// Person, provider and time fit.
    Inferred,
}

/// Whether an event is of a loop, and how that is known: by the referral, the visit, the parent of the document, else by person, provider and time, in this order.
pub(super) fn link(found: &Loop, pattern: &Pattern, event: &Event) -> Option<Link> {
    if let (Some(ours), Some(theirs)) = (&found.facts.referral, &event.referral) {
        return same_number(ours, theirs).then_some(Link::Told);
    }
    if let (Some(ours), Some(theirs)) = (&found.facts.visit, &event.visit) {
        if ours == theirs {
            return Some(if ours.weak { Link::Inferred } else { Link::Told });
        }
        if pattern.same_visit {
            return None;
        }
    }
    let parent = event.document.as_ref().and_then(|document| document.parent.as_ref());
    if parent.is_some_and(|parent| found.facts.documents.iter().any(|document| same_number(document, parent))) {
        return Some(Link::Told);
    }
    // What should name the visit or the referral and does not must at least be of the same people.
    let must_share = pattern.same_visit || found.facts.referral.is_some();
    let shares = || acting(event).any(|number| found.facts.providers.iter().any(|ours| ours == number));
    (!must_share || shares()).then_some(Link::Inferred)
}

/// Whether an event names the referral or visit of a loop. Less is not enough to end one.
pub(super) fn names(found: &Loop, event: &Event) -> bool {
    match (&found.facts.referral, &event.referral) {
        (Some(ours), Some(theirs)) => same_number(ours, theirs),
        _ => found.facts.visit.is_some() && found.facts.visit == event.visit,
    }
}

/// Whether an event is with somebody who looks after the person.
pub(super) fn with_provider(provider: Provider, found: &Loop, event: &Event, given: &Given<'_>) -> bool {
    if provider == Provider::default() {
        return true;
    }
    let on_team = || acting(event).any(|number| given.team.iter().any(|member| member == number));
    let at_owner = || {
        let npi = given.setting.facilities.by_key.get(&event.facility).and_then(|facility| facility.npi.as_ref());
        let owner = |panel: &String| given.setting.panels.get(panel).map(|panel| &panel.owner_npi);
        npi.is_some() && found.facts.panels.iter().any(|panel| owner(panel) == npi)
    };
    (provider.care_team && on_team()) || (provider.panel_org && at_owner())
}

/// Numbers of who did something in an event. Whoever is only named in it, as the patient's own doctor is in messages of any hospital, did nothing.
pub(in crate::coordination) fn acting(event: &Event) -> impl Iterator<Item = &str> {
    const NAMED: [&str; 5] = ["primary-care", "referring", "PP", "FHCP", "RP"];
    let acts = |one: &&Participant| !NAMED.contains(&one.role.as_str()) && is_npi(&one.number);
    event.participants.iter().filter(acts).map(|one| one.number.as_str())
}
