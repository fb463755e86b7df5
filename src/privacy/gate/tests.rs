//! Decisions and releases.
use super::*;
use crate::privacy::{Label, starter};
use serde_json::json;

const NOW: i64 = 1_772_712_000_000;

fn gate() -> Gate {
    let facility = Label {
        code: "SUD".into(),
        policy: Some("42CFRPart2".into()),
        conf: "R".into(),
        facilities: vec!["LAKERECOV".into()],
        ..Label::default()
    };
    Gate::new(Arc::new(Labels::new(starter::labels().into_iter().chain([facility]).collect())))
}

fn recipient(gate: &Gate) -> Recipient {
    Recipient {
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
    }
}

fn facts(found: Found) -> Facts<'static> {
    Facts { found, person: "p1", consents: &[], roster: &RosterConsent::Unknown, at_ms: NOW, now_ms: NOW }
}

fn consent(kind: &str, label: Option<&str>) -> Consent {
    let mut provision = json!({ "type": kind, "actor": [{ "reference": { "reference": "Organization/aco-cm" } }] });
    if let Some(label) = label {
        provision["securityLabel"] = json!([{ "code": label }]);
    }
    let resource = json!({ "resourceType": "Consent", "status": "active", "scope": { "coding": [{ "code": "patient-privacy" }] }, "patient": { "reference": "Patient/p1" }, "provision": provision });
    Consent::parse(&resource).unwrap()
}

#[test]
fn facilities_withhold_and_elements_are_left_to_the_redaction() {
    let gate = gate();
    let aco = recipient(&gate);
    let coded = gate.labels().look().code("I10C", "F33.2").code("I10C", "F10.20").found();
    assert_eq!(gate.decide(&aco, &facts(coded)), Decision::Share { cleared: aco.clear });
    let there = gate.labels().look().facility("LAKERECOV").found();
    assert_eq!(gate.decide(&aco, &facts(there)), Decision::Withhold(Reason::Consent));
    let strict = Recipient { deny_action: DenyAction::DropEvent, ..aco.clone() };
    assert_eq!(gate.decide(&strict, &facts(coded)), Decision::Withhold(Reason::Consent));
    let harmless = gate.labels().look().code("I10C", "F33.2").found();
    assert_eq!(gate.decide(&strict, &facts(harmless)), Decision::Share { cleared: aco.clear });
    let marked = gate.labels().look().mark("PV2-22", "Y").found();
    assert_eq!(gate.decide(&aco, &facts(marked)), Decision::Withhold(Reason::Policy));
}

#[test]
fn consents_and_rosters_go_before_policy() {
    let gate = gate();
    let aco = recipient(&gate);
    let (sud, psy) = (gate.labels().of("SUD").unwrap(), gate.labels().of("PSY").unwrap());
    let there = gate.labels().look().facility("LAKERECOV").found();
    let decide = |consents: &[Consent], roster: &RosterConsent, found| {
        gate.decide(&aco, &Facts { consents, roster, ..facts(found) })
    };
    let unknown = RosterConsent::Unknown;
    let permit = consent("permit", Some("SUD"));
    let both = Decision::Share { cleared: aco.clear.with(sud) };
    assert_eq!(decide(std::slice::from_ref(&permit), &unknown, there), both);
    let mut revoked = permit.clone();
    revoked.active = false;
    assert_eq!(decide(&[revoked], &unknown, there), Decision::Withhold(Reason::Consent));
    let forbids = [permit.clone(), consent("deny", Some("SUD"))];
    assert_eq!(decide(&forbids, &unknown, there), Decision::Withhold(Reason::Consent));
    let psychiatric = gate.labels().look().code("I10C", "F33.2").found();
    assert_eq!(
        decide(&[consent("deny", Some("PSY"))], &unknown, psychiatric),
        Decision::Share { cleared: aco.clear.without(psy) }
    );
    assert_eq!(decide(&[consent("deny", None)], &unknown, psychiatric), Decision::Withhold(Reason::Consent));
    assert_eq!(decide(&[consent("permit", None)], &unknown, there), Decision::Withhold(Reason::Consent), "not by name");
    assert_eq!(decide(&[], &RosterConsent::Permit(vec!["SUD".into()]), there), both);
    assert_eq!(decide(&[], &RosterConsent::Permit(vec![]), there), Decision::Withhold(Reason::Consent));
    assert_eq!(decide(&[], &RosterConsent::Deny, Found::default()), Decision::Withhold(Reason::Consent));
    let roster = RosterConsent::Permit(vec!["SUD".into()]);
    assert_eq!(decide(&[consent("deny", Some("SUD"))], &roster, there), Decision::Withhold(Reason::Consent));
    // A consent of somebody else is a mistake of whoever asks.
    let mut other = permit;
    other.patient = "p2".into();
    assert_eq!(decide(&[other], &unknown, Found::default()), Decision::Withhold(Reason::Failed));
}

fn message(diagnoses: &[&str]) -> Value {
    let entry = |resource: Value| json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap()), "resource": resource });
    let to = |id: &str| json!({ "reference": format!("urn:uuid:{id}") });
    let conditions: Vec<Value> = diagnoses
        .iter()
        .map(|code| json!({ "resourceType": "Condition", "id": format!("c{}", code.len() + usize::from(code.as_bytes()[1])), "subject": to("p"), "code": { "coding": [{ "system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code }] } }))
        .collect();
    let links: Vec<Value> =
        conditions.iter().map(|condition| json!({ "condition": to(condition["id"].as_str().unwrap()) })).collect();
    let mut entries = vec![
        entry(
            json!({ "resourceType": "MessageHeader", "id": "h", "eventCoding": { "code": "A03" }, "source": { "endpoint": "urn:x" }, "focus": [to("p"), to("e")] }),
        ),
        entry(
            json!({ "resourceType": "Patient", "id": "p", "name": [{ "family": "Okafor" }], "birthDate": "1951-03-14", "identifier": [{ "value": "00718243" }] }),
        ),
        entry(
            json!({ "resourceType": "Encounter", "id": "e", "status": "finished", "class": { "code": "IMP" }, "subject": to("p"), "diagnosis": links }),
        ),
    ];
    entries.extend(conditions.into_iter().map(entry));
    json!({ "resourceType": "Bundle", "type": "message", "entry": entries })
}

fn shared(release: Release) -> Shared {
    match release {
        Release::Shared(shared) => *shared,
        Release::Withheld(reason) => panic!("withheld: {reason:?}"),
    }
}

#[test]
fn a_release_is_redacted_marked_and_no_more_than_allowed() {
    let gate = gate();
    let aco = recipient(&gate);
    let release = |recipient: &Recipient, content| {
        shared(gate.release(recipient, &facts(Found::default()), content, message(&["F33.2", "F10.20"])))
    };
    let full = release(&aco, MaxContent::FullResource);
    let bundle = full.bundle.unwrap();
    let text = bundle.to_string();
    assert!(text.contains("F33.2") && !text.contains("F10"), "{text}");
    assert_eq!((full.labels, full.reduced), (aco.clear, true));
    let security = &bundle["meta"]["security"];
    assert_eq!(
        (&security[0]["code"], &security[1]["code"], security.as_array().map(Vec::len)),
        (&json!("R"), &json!("PSY"), Some(2))
    );
    assert_eq!(bundle["entry"][3]["resource"]["meta"]["security"], *security, "the condition that stays");
    assert!(bundle["entry"][1]["resource"].get("meta").is_none());
    let ids = release(&Recipient { max_content: MaxContent::IdOnly, ..aco.clone() }, MaxContent::FullResource);
    assert_eq!((ids.bundle, ids.resources.len()), (None, 4));
    let empty = release(&aco, MaxContent::Empty);
    assert_eq!((empty.bundle, empty.resources.len()), (None, 0));
    // A policy goes with its label, once it may be seen.
    let all = Recipient { clear: gate.labels().every(), consent_required: Set::EMPTY, ..aco };
    let bundle = release(&all, MaxContent::FullResource).bundle.unwrap();
    assert!(bundle["meta"]["security"].to_string().contains("42CFRPart2"));
}

#[test]
fn the_least_that_hospitals_tell() {
    let gate = gate();
    let aco = Recipient { fields_profile: FieldsProfile::CopMinimum, ..recipient(&gate) };
    let bundle =
        shared(gate.release(&aco, &facts(Found::default()), MaxContent::FullResource, message(&["F33.2", "I50.23"])))
            .bundle
            .unwrap();
    let text = bundle.to_string();
    for gone in ["1951", "00718243", "I50", "F33", "diagnosis", "Condition"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert!(text.contains("Okafor") && text.contains("A03") && text.contains("IMP"));
}

/// Of what should have happened: what, of whom, by whom, until when; neither why nor what closed it.
#[test]
fn the_least_of_a_step_of_a_loop() {
    let gate = gate();
    let aco = Recipient { fields_profile: FieldsProfile::CopMinimum, ..recipient(&gate) };
    let task = json!({
        "resourceType": "Task", "id": "t", "status": "completed", "businessStatus": { "text": "met" }, "intent": "order", "priority": "routine",
        "code": { "text": "hha-soc" }, "for": { "reference": "Patient/p" }, "owner": { "display": "role:care-manager" },
        "authoredOn": "2026-03-05T15:22:04-05:00", "reasonCode": { "text": "bh-discharge" }, "restriction": { "period": { "end": "2026-03-07T15:20:00-05:00" } },
        "output": [{ "type": { "text": "closed-by" }, "valueString": "e" }],
    });
    let patient = json!({ "resourceType": "Patient", "id": "p", "identifier": [{ "value": "p" }] });
    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [
        { "fullUrl": "urn:uuid:t", "resource": task }, { "fullUrl": "urn:uuid:p", "resource": patient },
    ] });
    let released = gate.release(&aco, &facts(Found::default()), MaxContent::FullResource, bundle);
    let bundle = shared(released).bundle.unwrap();
    let least = bundle["entry"][0]["resource"].as_object().unwrap();
    let mut keys: Vec<&str> = least.keys().map(String::as_str).filter(|key| *key != "meta").collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "for", "id", "intent", "owner", "resourceType", "restriction", "status"]);
    assert_eq!(least["restriction"]["period"]["end"], "2026-03-07T15:20:00-05:00");
}

#[test]
fn when_all_that_it_was_about_is_gone_nothing_is_told() {
    let gate = gate();
    let aco = recipient(&gate);
    let mut bundle = message(&[]);
    bundle["entry"][0]["resource"]["focus"] = json!([{ "reference": "urn:uuid:p" }, { "reference": "urn:uuid:r" }]);
    let report = |code: &str| json!({ "fullUrl": "urn:uuid:r", "resource": { "resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": { "coding": [{ "system": "http://loinc.org", "code": code }] } } });
    let release = |code: &str| {
        let mut bundle = bundle.clone();
        bundle["entry"].as_array_mut().unwrap().push(report(code));
        gate.release(&aco, &facts(Found::default()), MaxContent::FullResource, bundle)
    };
    assert_eq!(release("75622-1"), Release::Withheld(Reason::Policy));
    assert!(matches!(release("24323-8"), Release::Shared(_)));
}

#[test]
fn an_earlier_message_of_the_visit_withholds_its_text() {
    let gate = gate();
    let aco = recipient(&gate);
    let mut bundle = message(&[]);
    bundle["entry"].as_array_mut().unwrap().push(json!({ "fullUrl": "urn:uuid:d", "resource": { "resourceType": "DocumentReference", "id": "d", "status": "current", "content": [{ "attachment": { "contentType": "text/plain", "data": "QUJD" } }] } }));
    let release = |found| {
        shared(gate.release(&aco, &facts(found), MaxContent::FullResource, bundle.clone())).bundle.unwrap().to_string()
    };
    assert!(release(Found::default()).contains("QUJD"));
    assert!(release(gate.labels().look().earlier(["PSY"]).found()).contains("QUJD"), "cleared");
    assert!(!release(gate.labels().look().earlier(["SUD"]).found()).contains("QUJD"));
    let never = Recipient { unstructured: Unstructured::Withhold, ..aco };
    let bundle =
        shared(gate.release(&never, &facts(Found::default()), MaxContent::FullResource, bundle)).bundle.unwrap();
    assert!(!bundle.to_string().contains("QUJD"));
}

#[test]
fn whatever_goes_wrong_withholds() {
    let gate = gate();
    let aco = recipient(&gate);
    for value in [json!(null), json!([]), json!({ "resourceType": "Patient" }), json!({ "entry": 7 })] {
        let release = gate.release(&aco, &facts(Found::default()), MaxContent::FullResource, value);
        assert_eq!(release, Release::Withheld(Reason::Failed));
    }
    assert_eq!(closed(|| panic!("as if"), || 7), 7);
    let mut bundle = message(&["F10.20"]);
    let there = gate.labels().look().facility("LAKERECOV").found();
    assert_eq!(gate.redact(&aco, &facts(there), &mut bundle), Err(Reason::Consent));
    assert_eq!(bundle, Value::Null);
}

#[test]
fn nothing_is_told_by_debug() {
    let gate = gate();
    let release =
        gate.release(&recipient(&gate), &facts(Found::default()), MaxContent::FullResource, message(&["F33.2"]));
    assert_eq!(format!("{release:?}"), "Shared(4 resources)");
}
