//! The short way against the long one: what passes whole is what would have been released, and nothing passes that would not have been.
use super::super::super::{Consent, DenyAction, Label, Labels, Release, RosterConsent, starter};
use super::*;
use crate::fhir::tree::Node;
use serde_json::json;
use std::sync::Arc;

fn gate() -> Gate {
    let facility = Label {
        code: "SUD".into(),
        policy: Some("42CFRPart2".into()),
        conf: "R".into(),
        facilities: vec!["GENHOSP".into()],
        units: vec!["SBMC|DETOX".into()],
        ..Label::default()
    };
    Gate::new(Arc::new(Labels::new(starter::labels().into_iter().chain([facility]).collect())))
}

fn recipients(gate: &Gate) -> Vec<Recipient> {
    let plain = Recipient {
        id: "aco-cm".into(),
        panels: vec!["aco-lakeshore".into()],
        purpose: "HOPERAT".into(),
        topics: vec!["discharge".into()],
        max_content: MaxContent::FullResource,
        clear: gate.labels().of_all(["PSY"]),
        consent_required: gate.labels().of_all(["SUD"]),
        deny_action: DenyAction::DropElement,
        unstructured: Unstructured::WithholdIfSensitive,
        fields_profile: FieldsProfile::All,
        token_sha256: None,
        keys: Vec::new(),
    };
    vec![
        Recipient { clear: gate.labels().every(), consent_required: Set::EMPTY, ..plain.clone() },
        Recipient { deny_action: DenyAction::DropEvent, ..plain.clone() },
        Recipient { unstructured: Unstructured::Withhold, ..plain.clone() },
        Recipient { fields_profile: FieldsProfile::CopMinimum, ..plain.clone() },
        Recipient { max_content: MaxContent::IdOnly, ..plain.clone() },
        plain,
    ]
}

/// Every fixture, and again with something in it that is a secret.
fn bundles() -> Vec<Value> {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut all = Vec::new();
    for structure in std::fs::read_dir(fixtures).unwrap().map(Result::unwrap).filter(|one| one.path().is_dir()) {
        for case in std::fs::read_dir(structure.path()).unwrap().map(Result::unwrap) {
            let Ok(text) = std::fs::read_to_string(case.path().join("bundle.json")) else { continue };
            for (from, to) in [
                ("I10", "I10"),
                ("I10", "F10.20"),
                ("E11.9", "F33.2"),
                ("General", "GenHosp"),
                ("urn:v2:", "urn:v2:De%74ox"),
            ] {
                let changed = text.replace(from, to);
                if from == to || changed != text {
                    let bundle: Value = serde_json::from_str(&changed).unwrap();
                    all.extend(Some(bundle).filter(|bundle| bundle["entry"].is_array()));
                }
            }
        }
    }
    all
}

#[test]
fn what_passes_whole_is_what_would_be_released() {
    let gate = gate();
    let glance = gate.glance();
    let bundles = bundles();
    let mut counts = [0_usize; 3];
    for bundle in &bundles {
        let looked: Vec<(Value, Carried)> = bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let text = entry["resource"].to_string();
                let carried = glance.at(&Node::parse(&text).unwrap(), &text).unwrap();
                assert_eq!(Some(carried), glance.at(&entry["resource"], &text), "either tree");
                (entry["resource"].clone(), carried)
            })
            .collect();
        let carried = looked.iter().fold(Carried::default(), |all, (_, one)| all.with(*one));
        assert_eq!(carried.labels, gate.labels().of_bundle(bundle), "what stands around resources carries nothing");
        for recipient in recipients(&gate) {
            let facts = Facts {
                found: Found::default(),
                person: "p1",
                consents: &[],
                roster: &RosterConsent::Unknown,
                at_ms: 0,
                now_ms: 0,
            };
            let released = gate.release(&recipient, &facts, MaxContent::FullResource, bundle.clone());
            match gate.passage(&recipient, &facts, carried) {
                Passage::Withheld(reason) => {
                    counts[0] += 1;
                    assert_eq!(released, Release::Withheld(reason));
                }
                Passage::Whole => {
                    counts[1] += 1;
                    let Release::Shared(shared) = released else { panic!("{released:?}") };
                    assert!(!shared.reduced);
                    let released = shared.bundle.unwrap();
                    let released = released["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone());
                    let marked = looked.iter().map(|(resource, carried)| {
                        let mut resource = resource.clone();
                        gate.mark(&mut resource, carried.labels);
                        resource
                    });
                    assert_eq!(released.collect::<Vec<_>>(), marked.collect::<Vec<_>>());
                }
                Passage::Parts => counts[2] += 1,
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 5), "{counts:?} of {}", bundles.len());
}

#[test]
fn what_forbids_an_event_forbids_it_here() {
    let gate = gate();
    let [.., plain] = &recipients(&gate)[..] else { panic!() };
    let facts = |found: Found| Facts {
        found,
        person: "p1",
        consents: &[],
        roster: &RosterConsent::Unknown,
        at_ms: 0,
        now_ms: 0,
    };
    let nothing = Carried::default();
    let sud = gate.labels().of_all(["SUD"]);
    assert_eq!(gate.passage(plain, &facts(Found::default()), nothing), Passage::Whole);
    assert_eq!(gate.passage(plain, &facts(Found { all: sud, whole: Set::EMPTY }), nothing), Passage::Parts, "its text");
    assert_eq!(
        gate.passage(plain, &facts(Found { all: sud, whole: sud }), nothing),
        Passage::Withheld(Reason::Consent)
    );
    assert_eq!(gate.passage(plain, &facts(Found::default()), Carried { names: true, ..nothing }), Passage::Parts);
    assert_eq!(gate.passage(plain, &facts(Found::default()), Carried { labels: sud, ..nothing }), Passage::Parts);
    let deny = RosterConsent::Deny;
    let forbidden = Facts { roster: &deny, ..facts(Found::default()) };
    assert_eq!(gate.passage(plain, &forbidden, nothing), Passage::Withheld(Reason::Consent));
    // Consents of somebody else: something is wrong with who asks.
    let consent = json!({ "resourceType": "Consent", "status": "active", "scope": { "coding": [{ "code": "patient-privacy" }] }, "patient": { "reference": "Patient/p2" }, "provision": { "type": "permit" } });
    let others = [Consent::parse(&consent).unwrap()];
    let wrong = Facts { consents: &others, ..facts(Found::default()) };
    assert_eq!(gate.passage(plain, &wrong, nothing), Passage::Withheld(Reason::Failed));
}

#[test]
fn places_are_told_by_their_names_to_who_may_know() {
    let gate = gate();
    let secret = gate.places(Set::EMPTY);
    assert!(secret.are_in("GENHOSP") && secret.are_in("DETOXADT|SBMC") && !secret.are_in("SBADT|SBMC"));
    assert!(!gate.places(gate.labels().every()).are_in("DETOXADT|SBMC"));
}
