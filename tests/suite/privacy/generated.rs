//! Generated Bundles and policies: no code that is not cleared is ever in what leaves, and what leaves is valid.
use super::{aco_cm, facts};
use crate::validity::mistakes;
use handoff::privacy::systems::System;
use handoff::privacy::{
    DenyAction, FieldsProfile, Found, Gate, Label, Labels, MaxContent, Reason, Recipient, Release, Set, Unstructured,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

/// Code, how its system is written, words; two of each label, and two of none.
const CODES: [(&str, &str, &str); 8] = [
    ("F10.20", "http://hl7.org/fhir/sid/icd-10-cm", "Alcohol dependence"),
    ("F1190", "urn:house:codes", "Opioid use"),
    ("F33.2", "http://hl7.org/fhir/sid/icd-10-cm", "Severe depression"),
    ("44261-6", "http://loinc.org", "Score of nine questions"),
    ("86406008", "http://snomed.info/sct", "Human immunodeficiency virus infection"),
    ("75622-1", "", "Antigen and antibody"),
    ("I50.23", "http://hl7.org/fhir/sid/icd-10-cm", "Heart failure"),
    ("24323-8", "http://loinc.org", "Comprehensive panel"),
];
const LABELS: [(&str, &[(System, &str)]); 3] = [
    ("SUD", &[(System::Icd10, "F1")]),
    ("PSY", &[(System::Icd10, "F33"), (System::Loinc, "44261-6")]),
    ("HIV", &[(System::Snomed, "86406008"), (System::Loinc, "75622-1")]),
];

fn gate() -> Gate {
    let label = |(code, codes): (&str, &[(System, &str)])| Label {
        code: code.into(),
        conf: "R".into(),
        codes: codes.iter().map(|(system, code)| (*system, (*code).to_owned())).collect(),
        ..Label::default()
    };
    Gate::new(Arc::new(Labels::new(LABELS.into_iter().map(label).collect())))
}

/// Which of the labels a code has, as a bit of the policy.
fn label_of(code: usize) -> Option<usize> {
    (code < 6).then_some(code / 2)
}

fn coding(code: usize) -> Value {
    let (code, system, display) = CODES[code];
    let mut coding = json!({ "code": code, "display": display });
    if !system.is_empty() {
        coding["system"] = json!(system);
    }
    coding
}

fn concept(codes: &[usize]) -> Value {
    json!({ "coding": codes.iter().map(|code| coding(*code)).collect::<Vec<_>>(), "text": CODES[codes[0]].2 })
}

fn id(number: usize) -> String {
    format!("00000000-0000-5000-8000-{number:012}")
}

fn to(number: usize) -> Value {
    json!({ "reference": format!("urn:uuid:{}", id(number)) })
}

/// One resource: what it is, the codes in it, and a resource before it that it refers to.
type Part = (usize, Vec<usize>, usize);

/// References to parts before one, of kinds that R4 allows there; none where there is none.
fn refer(parts: &[Part], number: usize, kinds: &[usize]) -> Vec<Value> {
    let before = &parts[..number - 4];
    let fitting: Vec<usize> = (0..before.len()).filter(|at| kinds.contains(&before[*at].0)).collect();
    let chosen = parts[number - 4].2.checked_rem(fitting.len()).map(|at| fitting[at]);
    chosen.map(|at| to(at + 4)).into_iter().collect()
}

/// Numbers 0 to 3 are header, patient, encounter and practitioner.
fn resource(number: usize, parts: &[Part]) -> Value {
    let (kind, own, chosen) = &parts[number - 4];
    let (codes, first) = (concept(own), coding(own[0]));
    let words = format!("seen with {}", CODES[chosen % CODES.len()].0);
    let refer = |kinds: &[usize]| refer(parts, number, kinds);
    let other = refer(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).pop().unwrap_or_else(|| to(1));
    let mut activity = vec![json!({ "detail": { "status": "scheduled", "code": codes } })];
    activity.extend(refer(&[7, 9, 10]).into_iter().map(|order| json!({ "reference": order })));
    let mut resource = match kind {
        0 => {
            json!({ "resourceType": "Condition", "code": codes, "subject": to(1), "asserter": to(3), "note": [{ "text": words }] })
        }
        1 => {
            json!({ "resourceType": "Observation", "status": "final", "code": concept(&[7]), "valueCodeableConcept": codes, "derivedFrom": refer(&[1, 2, 8]) })
        }
        2 => json!({ "resourceType": "Observation", "status": "final", "code": codes, "valueString": words,
            "component": [{ "code": concept(&[6]), "valueCodeableConcept": concept(&[7]) }, { "code": codes }] }),
        3 => {
            json!({ "resourceType": "DiagnosticReport", "status": "final", "code": concept(&[7]), "conclusionCode": [codes], "result": refer(&[1, 2]), "conclusion": words })
        }
        4 => {
            json!({ "resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": to(1), "addresses": refer(&[0]), "activity": activity })
        }
        5 => {
            json!({ "resourceType": "List", "status": "current", "mode": "working", "title": words, "code": concept(&[6]), "entry": [{ "item": other, "flag": codes }] })
        }
        6 => {
            json!({ "resourceType": "Provenance", "target": [other], "recorded": "2026-01-01T00:00:00Z", "reason": [codes], "agent": [{ "who": to(3) }] })
        }
        7 => json!({ "resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": to(1),
            "contained": [{ "resourceType": "Medication", "id": "m", "code": codes }], "medicationReference": { "reference": "#m" }, "reasonReference": refer(&[0, 1, 2]) }),
        8 => {
            json!({ "resourceType": "DocumentReference", "status": "current", "type": concept(&[7]), "description": words,
            "content": [{ "attachment": { "contentType": "text/plain", "title": words, "data": "QUJD" } }], "context": { "event": [codes], "related": [other] } })
        }
        9 => {
            json!({ "resourceType": "Task", "status": "requested", "intent": "order", "focus": other, "reasonCode": codes, "description": words })
        }
        _ => {
            json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": to(1), "reasonCode": [codes],
            "extension": [{ "url": "urn:x", "valueCoding": first }], "reasonReference": refer(&[0, 1, 2, 3, 8]) })
        }
    };
    resource["id"] = json!(id(number));
    // Text that is no note: only the words of what went are looked for in it.
    if *kind != 6 {
        resource["identifier"] = json!([{ "value": words }]);
    }
    resource.as_object_mut().unwrap().retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    resource
}

fn bundle(parts: &[Part], reasons: &[usize]) -> Value {
    let narrative = json!({ "status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{}</div>", CODES[reasons[0]].1) });
    let focus: Vec<Value> = std::iter::once(1).chain([2]).map(to).collect();
    let links: Vec<Value> = (4..4 + parts.len())
        .filter(|number| matches!(parts[number - 4].0, 0))
        .map(|number| json!({ "condition": to(number) }))
        .collect();
    let mut encounter = json!({ "resourceType": "Encounter", "id": id(2), "status": "finished", "class": { "code": "IMP" }, "subject": to(1), "reasonCode": [concept(reasons)], "text": narrative });
    if !links.is_empty() {
        encounter["diagnosis"] = json!(links);
    }
    let mut resources = vec![
        json!({ "resourceType": "MessageHeader", "id": id(0), "eventCoding": { "code": "A03" }, "source": { "endpoint": "urn:x" }, "focus": focus }),
        json!({ "resourceType": "Patient", "id": id(1), "name": [{ "family": "Okafor" }] }),
        encounter,
        json!({ "resourceType": "Practitioner", "id": id(3), "name": [{ "family": "Halversen" }] }),
    ];
    resources.extend((4..4 + parts.len()).map(|number| resource(number, parts)));
    let entries: Vec<Value> = resources
        .into_iter()
        .map(|resource| json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap()), "resource": resource }))
        .collect();
    json!({ "resourceType": "Bundle", "type": "message", "entry": entries })
}

fn codes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..CODES.len(), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn nothing_leaves_that_is_not_cleared(
        parts in proptest::collection::vec((0..11usize, codes(), 0..20usize), 0..8),
        reasons in codes(),
        clear in 0..8usize,
        strict in any::<bool>(),
        withhold in any::<bool>(),
        least in any::<bool>(),
    ) {
        let gate = gate();
        let is_clear = |label: usize| clear >> label & 1 == 1;
        let names = LABELS.iter().enumerate().filter(|(number, _)| is_clear(*number)).map(|(_, (name, _))| *name);
        let recipient = Recipient {
            clear: gate.labels().of_all(names),
            consent_required: Set::EMPTY,
            deny_action: if strict { DenyAction::DropEvent } else { DenyAction::DropElement },
            unstructured: if withhold { Unstructured::Withhold } else { Unstructured::WithholdIfSensitive },
            fields_profile: if least { FieldsProfile::CopMinimum } else { FieldsProfile::All },
            ..aco_cm(&gate)
        };
        let whole = bundle(&parts, &reasons);
        prop_assert_eq!(mistakes(whole.to_string().as_bytes()), Vec::<String>::new());
        let coded: Vec<usize> = parts.iter().flat_map(|(_, codes, _)| codes).chain(&reasons).copied().collect();
        let secret = coded.iter().any(|code| label_of(*code).is_some_and(|label| !is_clear(label)));
        match gate.release(&recipient, &facts(Found::default(), &[]), MaxContent::FullResource, whole.clone()) {
            Release::Withheld(reason) => prop_assert!(reason == Reason::Policy && strict && secret, "{:?}", reason),
            Release::Shared(shared) => {
                prop_assert!(!(strict && secret));
                let text = shared.bundle.unwrap().to_string();
                for (number, (code, _, words)) in CODES.iter().enumerate() {
                    // A word of the text alone is not read for its meaning, unless the code stood in the Bundle too.
                    if label_of(number).is_some_and(|label| !is_clear(label)) && coded.contains(&number) {
                        prop_assert!(!text.contains(code) && !text.contains(words), "{} in {}", code, text);
                    }
                }
                prop_assert_eq!(mistakes(text.as_bytes()), Vec::<String>::new());
                prop_assert!(shared.labels.is_within(recipient.clear));
                if !secret && !withhold && !least {
                    prop_assert!(!shared.reduced);
                    let kept = coded.iter().all(|code| text.contains(CODES[*code].0));
                    prop_assert!(kept, "what is cleared stays");
                }
            }
        }
    }
}
