//! The privacy gate over Bundles as they are translated: what a recipient sees of a message, and what of every fixture stays when one of its codes may not.
mod generated;

use super::fixtures::{fixtures, messages, plan};
use super::validity::mistakes;
use handoff::mapping::{Context, Scratch};
use handoff::privacy::audit::{self, Entry, Outcome, Writer};
use handoff::privacy::systems::System;
use handoff::privacy::{
    Consent, Decision, DenyAction, Facts, FieldsProfile, Found, Gate, Label, Labels, MaxContent, Reason, Recipient,
    Release, RosterConsent, Set, Unstructured, starter,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

/// 2026-03-05T20:20Z.
const NOW: i64 = 1_772_742_000_000;

/// M2 of the story with another diagnosis of depression, and one that nobody but a treating programme may see, in words too.
fn discharge(facility: &str) -> String {
    let message = include_str!("coordination/story/m2.hl7").replace('\n', "\r");
    assert!(message.contains("4W^412^B^SBMC"), "the message of the story changed");
    let message = message.replace("4W^412^B^SBMC", &format!("4W^412^B^{facility}"));
    let message = message.trim_end().to_owned();
    let depression = "DG1|2||F33.2^Major depressive disorder, recurrent severe^I10C||20260302090800-0500|F|||||||||1|9990002021^HALVERSEN^INGRID";
    let alcohol = "DG1|3||F10.20^Alcohol dependence, uncomplicated^I10C|Drinks a bottle a day|20260302090800-0500|F|||||||||2|9990005057^QUIST^SOREN";
    format!("{message}\r{depression}\r{alcohol}\r")
}

fn translate(message: &str) -> Value {
    let mut scratch = Scratch::new();
    plan().translate(message.as_bytes(), &Context::default(), &mut scratch).unwrap();
    serde_json::from_slice(scratch.bundle()).unwrap()
}

fn gate() -> Gate {
    let facility =
        Label { code: "SUD".into(), conf: "R".into(), facilities: vec!["LAKERECOV".into()], ..Label::default() };
    Gate::new(Arc::new(Labels::new(starter::labels().into_iter().chain([facility]).collect())))
}

/// As the specification has it, but for the whole resources.
fn aco_cm(gate: &Gate) -> Recipient {
    Recipient {
        id: "aco-cm".into(),
        panels: vec!["aco-lakeshore".into()],
        purpose: "HOPERAT".into(),
        topics: vec!["admission".into(), "discharge".into()],
        max_content: MaxContent::FullResource,
        clear: gate.labels().of_all(["PSY"]),
        consent_required: gate.labels().of_all(["SUD"]),
        deny_action: DenyAction::DropElement,
        unstructured: Unstructured::WithholdIfSensitive,
        fields_profile: FieldsProfile::All,
        token_sha256: None,
        keys: Vec::new(),
    }
}

/// What the reader of the journal would tell the gate of a message.
fn found(gate: &Gate, message: &str) -> Found {
    let mut look = gate.labels().look();
    for segment in message.split('\r') {
        let fields: Vec<&str> = segment.split('|').collect();
        match fields[0] {
            "MSH" => look = look.facility(fields[3]),
            "PV1" => look = look.facility(fields[3].split('^').nth(3).unwrap()),
            "DG1" => {
                let parts: Vec<&str> = fields[3].split('^').collect();
                look = look.code(parts[2], parts[0]);
            }
            _ => {}
        }
    }
    look.found()
}

fn facts<'a>(found: Found, consents: &'a [Consent]) -> Facts<'a> {
    Facts { found, person: "7d0f", consents, roster: &RosterConsent::Unknown, at_ms: NOW, now_ms: NOW }
}

fn bundle_of(release: Release) -> (Value, Set) {
    match release {
        Release::Shared(shared) => (shared.bundle.expect("full resources were asked for"), shared.labels),
        Release::Withheld(reason) => panic!("withheld: {reason:?}"),
    }
}

fn consent(status: &str) -> Consent {
    let resource = json!({
        "resourceType": "Consent", "status": status, "scope": { "coding": [{ "code": "patient-privacy" }] },
        "patient": { "reference": "Patient/7d0f" },
        "provision": { "type": "permit", "actor": [{ "reference": { "reference": "Organization/aco-cm" } }], "securityLabel": [{ "code": "SUD" }] }
    });
    Consent::parse(&resource).unwrap()
}

#[test]
fn a_discharge_shows_what_is_cleared_and_not_a_word_of_the_rest() {
    let gate = gate();
    let message = discharge("SBMC");
    let canonical = translate(&message);
    let conditions = |bundle: &Value| {
        let kinds =
            bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"]["resourceType"].as_str().unwrap());
        kinds.filter(|kind| *kind == "Condition").count()
    };
    let diagnoses = |bundle: &Value| {
        let encounter = bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["resource"]["resourceType"] == "Encounter")
            .unwrap();
        encounter["resource"]["diagnosis"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((conditions(&canonical), diagnoses(&canonical)), (3, 3), "the test is about diagnoses of an Encounter");
    let recipient = aco_cm(&gate);
    let event = found(&gate, &message);
    assert_eq!(gate.labels().names(event.all), ["SUD", "PSY"]);
    assert!(matches!(gate.decide(&recipient, &facts(event, &[])), Decision::Share { .. }));
    let (bundle, labels) =
        bundle_of(gate.release(&recipient, &facts(event, &[]), MaxContent::FullResource, canonical.clone()));
    let text = bundle.to_string();
    assert!(text.contains("F33.2") && text.contains("I50.23") && text.contains("OKAFOR"), "{text}");
    for secret in ["F10", "lcohol", "bottle", "QUIST", "9990005057", "42CFRPart2", "SUD"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!((conditions(&bundle), diagnoses(&bundle)), (2, 2));
    assert_eq!(gate.labels().names(labels), ["PSY"]);
    assert_eq!(mistakes(text.as_bytes()), Vec::<String>::new());

    // With a consent by name all of it, marked; revoked, as before.
    let permitted = [consent("active")];
    let (bundle, _) =
        bundle_of(gate.release(&recipient, &facts(event, &permitted), MaxContent::FullResource, canonical.clone()));
    let text = bundle.to_string();
    assert!(text.contains("F10.20") && text.contains("42CFRPart2"));
    assert_eq!((conditions(&bundle), mistakes(text.as_bytes())), (3, Vec::new()));
    let revoked = [consent("inactive")];
    let (bundle, _) =
        bundle_of(gate.release(&recipient, &facts(event, &revoked), MaxContent::FullResource, canonical.clone()));
    assert!(!bundle.to_string().contains("F10"));

    let least = Recipient { fields_profile: FieldsProfile::CopMinimum, ..recipient.clone() };
    let (bundle, _) = bundle_of(gate.release(&least, &facts(event, &[]), MaxContent::FullResource, canonical.clone()));
    let text = bundle.to_string();
    for more in ["F33.2", "I50", "00718243", "1951", "QUARRY", "716"] {
        assert!(!text.contains(more), "{more} in {text}");
    }
    assert!(text.contains("OKAFOR") && text.contains("HALVERSEN") && text.contains("A03"), "{text}");
    assert_eq!(mistakes(text.as_bytes()), Vec::<String>::new());

    let strict = Recipient { deny_action: DenyAction::DropEvent, ..recipient };
    let release = gate.release(&strict, &facts(event, &[]), MaxContent::FullResource, canonical);
    assert_eq!(release, Release::Withheld(Reason::Consent));
}

#[test]
fn a_visit_at_a_labelled_facility_sends_nothing_and_audits_one_suppression() {
    let gate = gate();
    let recipient = aco_cm(&gate);
    let message = discharge("LAKERECOV");
    let event = found(&gate, &message);
    let folder = tempfile::tempdir().unwrap();
    let audit_folder = folder.path().join("audit");
    let mut writer = Writer::open(&audit_folder, audit::Options::default()).unwrap();
    let entry = |outcome| Entry {
        id: [7; 16],
        at_ms: NOW,
        outcome,
        recipient: &recipient.id,
        purpose: &recipient.purpose,
        person: "7d0f",
        event: [9; 16],
        subscription: None,
        number: None,
    };
    for consents in [vec![], vec![consent("inactive")]] {
        let release = gate.release(&recipient, &facts(event, &consents), MaxContent::FullResource, translate(&message));
        assert_eq!(release, Release::Withheld(Reason::Consent));
    }
    writer.append(&[entry(Outcome::Suppressed(Reason::Consent))]).unwrap();
    let permitted = [consent("active")];
    assert!(matches!(
        gate.release(&recipient, &facts(event, &permitted), MaxContent::IdOnly, translate(&message)),
        Release::Shared(_)
    ));
    writer.append(&[entry(Outcome::Disclosed)]).unwrap();
    drop(writer);

    let file = audit_folder.join("audit-00000000000000000001.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!((text.lines().count(), text.matches("\"suppress\"").count()), (2, 1));
    for secret in ["F10", "SUD", "LAKERECOV", "OKAFOR", "00718243", "1EG4TE5MK73", "F33"] {
        assert!(!text.contains(secret), "{secret} in the audit");
    }
    for line in text.lines() {
        let event = &serde_json::from_str::<Value>(line).unwrap()["event"];
        let url = format!("urn:uuid:{}", event["id"].as_str().unwrap());
        let bundle =
            json!({ "resourceType": "Bundle", "type": "collection", "entry": [{ "fullUrl": url, "resource": event }] });
        assert_eq!(mistakes(bundle.to_string().as_bytes()), Vec::<String>::new());
    }
    verify_tells(folder.path(), &file, &text);
}

/// `handoff audit verify`.
fn verify_tells(data: &std::path::Path, file: &std::path::Path, text: &str) {
    let run = || {
        let output =
            Command::new(env!("CARGO_BIN_EXE_handoff")).args(["audit", "verify", "--data"]).arg(data).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = run();
    assert!(code == Some(0) && told.starts_with("2 lines in 1 files, all sound; the last is 2 "), "{told}");
    let prune = |before: &str| {
        let arguments = ["audit", "prune", "--before", before, "--data"];
        let output = Command::new(env!("CARGO_BIN_EXE_handoff")).args(arguments).arg(data).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = prune("2199-01-01");
    assert!(code == Some(0) && told.starts_with("nothing is removed"), "the newest file stays: {told}");
    assert_eq!(prune("yesterday").0, Some(2));
    std::fs::write(file, text.replace("consent", "policy ")).unwrap();
    let (code, told) = run();
    assert!(code == Some(1) && told.contains(".ndjson:1: its hash is not that of what it says"), "{told}");
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_handoff"))
        .args(["audit", "verify", "--data"])
        .arg(nothing.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Codes of lists that a Bundle holds.
fn codes(value: &Value, found: &mut BTreeSet<(&'static str, String)>) {
    match value {
        Value::Object(object) => {
            if let (Some(system), Some(code)) =
                (object.get("system").and_then(Value::as_str), object.get("code").and_then(Value::as_str))
            {
                let system = System::of(system);
                let name = System::LISTED.iter().find(|(_, listed)| *listed == system).map(|(name, _)| *name);
                found.extend(name.map(|name| (name, code.to_owned())));
            }
            object.values().for_each(|value| codes(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| codes(item, found)),
        _ => {}
    }
}

#[test]
fn every_fixture_stays_valid_without_any_of_its_codes() {
    let (mut shared, mut withheld, mut wrong) = (0, 0, Vec::new());
    let mut scratch = Scratch::new();
    for fixture in fixtures().iter().filter(|fixture| !fixture.refused()) {
        for raw in messages(&fixture.raw) {
            plan().translate(&raw, &Context::default(), &mut scratch).unwrap();
            let bundle: Value = serde_json::from_slice(scratch.bundle()).unwrap();
            let mut all = BTreeSet::new();
            codes(&bundle, &mut all);
            for (system, code) in all {
                let listed = vec![(System::listed(system).unwrap(), code.clone())];
                let label = Label { code: "X".into(), conf: "R".into(), codes: listed, ..Label::default() };
                let labels = Labels::new(vec![label]);
                let clear = labels.every().without(labels.of("X").unwrap());
                let gate = Gate::new(Arc::new(labels));
                let recipient = Recipient { clear, consent_required: Set::EMPTY, ..aco_cm(&gate) };
                match gate.release(&recipient, &facts(Found::default(), &[]), MaxContent::FullResource, bundle.clone())
                {
                    Release::Withheld(Reason::Failed) => wrong.push(format!("{}: {code} failed", fixture.name)),
                    Release::Withheld(_) => withheld += 1,
                    Release::Shared(release) => {
                        shared += 1;
                        let text = release.bundle.unwrap().to_string();
                        if code.len() > 4 && text.contains(&code) {
                            wrong.push(format!("{}: {code} is still there", fixture.name));
                        }
                        wrong.extend(
                            mistakes(text.as_bytes())
                                .into_iter()
                                .map(|mistake| format!("{} without {code}: {mistake}", fixture.name)),
                        );
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
    assert!(shared > 100 && withheld > 10, "{shared} shared, {withheld} withheld");
}
