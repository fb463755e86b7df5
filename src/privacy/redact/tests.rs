//! What goes from a Bundle, and what with it.
use super::*;
use crate::privacy::{Label, starter};
use serde_json::json;

fn labels() -> Labels {
    let facility = Label { code: "SUD".into(), facilities: vec!["LAKERECOV".into()], ..Label::default() };
    Labels::new(starter::labels().into_iter().chain([facility]).collect())
}

/// What is left when nothing is cleared.
fn redacted(bundle: &Value) -> Result<Value, Failure> {
    let labels = labels();
    let mut redaction = Redaction::new(&labels, Set::EMPTY, true);
    let mut bundle = bundle.clone();
    redaction.run(&mut bundle).map(|()| bundle)
}

/// The same where text is not withheld.
fn with_text(bundle: &Value) -> Value {
    let labels = labels();
    let mut bundle = bundle.clone();
    Redaction::new(&labels, Set::EMPTY, false).run(&mut bundle).unwrap();
    bundle
}

fn icd(code: &str) -> Value {
    json!({ "coding": [{ "system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code }] })
}

fn bundle(resources: &[Value]) -> Value {
    let entry = |resource: &Value| json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap()), "resource": resource });
    json!({ "resourceType": "Bundle", "type": "collection", "entry": resources.iter().map(entry).collect::<Vec<_>>() })
}

fn to(id: &str) -> Value {
    json!({ "reference": format!("urn:uuid:{id}") })
}

fn condition(id: &str, code: &str) -> Value {
    json!({ "resourceType": "Condition", "id": id, "code": icd(code), "subject": to("p"), "asserter": to(&format!("doctor-of-{id}")) })
}

fn practitioner(id: &str) -> Value {
    json!({ "resourceType": "Practitioner", "id": id, "name": [{ "family": id }] })
}

fn ids(bundle: &Value) -> Vec<&str> {
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"]["id"].as_str().unwrap()).collect()
}

fn resource<'b>(bundle: &'b Value, id: &str) -> &'b Value {
    let entries = bundle["entry"].as_array().unwrap();
    &entries.iter().find(|entry| entry["resource"]["id"] == id).unwrap()["resource"]
}

fn patient() -> Value {
    json!({ "resourceType": "Patient", "id": "p", "text": { "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>" }, "name": [{ "family": "Okafor" }] })
}

/// A number, a code or a unit of a system that is made of the name of a secret unit or of its feed, in what is otherwise open.
#[test]
fn a_system_that_names_a_secret_unit_goes() {
    let unit = Label { code: "SUD".into(), units: vec!["SBMC|DETOX".into()], ..Label::default() };
    let labels = Labels::new(starter::labels().into_iter().chain([unit]).collect());
    let made = "urn:v2:DETOXADT.SBMC:LOCAL";
    let mut all = patient();
    all["identifier"] = json!([
        { "system": "urn:v2:SBADT.SBMC:LOCAL", "value": "1" },
        { "system": made, "value": "2" },
        { "system": "urn:oid:1.2.3", "value": "3", "assigner": { "display": "Detox" } },
        { "system": "http://terminology.hl7.org/CodeSystem/detox", "value": "4" },
        { "system": "http://sbmc.example/%64etox", "value": "5" }
    ]);
    let value = json!({ "resourceType": "Observation", "id": "o", "status": "final", "subject": to("p"),
        "code": { "coding": [{ "system": made, "code": "CR", "display": "Creatinine" }, { "system": made }] },
        "valueQuantity": { "value": 1, "unit": "mg", "system": made, "code": "mg" } });
    let all = bundle(&[all, value]);
    let run = |cleared| {
        let mut bundle = all.clone();
        let mut redaction = Redaction::new(&labels, cleared, false);
        assert_eq!(redaction.is_needed(&bundle, Set::EMPTY), cleared == Set::EMPTY);
        redaction.run(&mut bundle).unwrap();
        assert_eq!(redaction.dropped(), cleared == Set::EMPTY);
        bundle
    };
    let left = run(Set::EMPTY);
    let numbers =
        resource(&left, "p")["identifier"].as_array().unwrap().iter().map(|one| one["value"].as_str().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), ["1", "4"]);
    let value = resource(&left, "o");
    assert_eq!(value["code"], json!({ "coding": [{ "code": "CR", "display": "Creatinine" }] }));
    assert_eq!(value["valueQuantity"], json!({ "value": 1, "unit": "mg" }), "a code without its system is none");
    assert_eq!(run(labels.every()), all);
}

#[test]
fn a_condition_goes_with_every_reference_and_who_asserted_it() {
    let encounter = json!({
        "resourceType": "Encounter", "id": "e", "status": "finished", "class": { "code": "IMP" },
        "diagnosis": [{ "condition": to("dep"), "rank": 1 }, { "condition": to("alc"), "rank": 2 }],
        "reasonReference": [to("alc")],
        "reasonCode": [icd("F10.20"), icd("I50.23")]
    });
    let provenance = |id: &str, of: &str| json!({ "resourceType": "Provenance", "id": id, "target": [to(of)], "recorded": "2026-01-01T00:00:00Z", "agent": [{ "who": to("org") }] });
    let all = bundle(&[
        patient(),
        encounter,
        condition("dep", "I50.23"),
        condition("alc", "F10.20"),
        practitioner("doctor-of-dep"),
        practitioner("doctor-of-alc"),
        provenance("seen", "dep"),
        provenance("hidden", "alc"),
        json!({ "resourceType": "Organization", "id": "org", "name": "Harbor" }),
        json!({ "resourceType": "List", "id": "list", "status": "current", "mode": "working", "entry": [{ "item": to("alc") }] }),
        json!({ "resourceType": "CarePlan", "id": "plan", "status": "active", "intent": "plan", "subject": to("p"), "addresses": [to("alc"), to("dep")] }),
    ]);
    let left = redacted(&all).unwrap();
    assert_eq!(ids(&left), ["p", "e", "dep", "doctor-of-dep", "seen", "org", "list", "plan"]);
    let encounter = resource(&left, "e");
    assert_eq!(encounter["diagnosis"], json!([{ "condition": to("dep"), "rank": 1 }]));
    assert_eq!((encounter.get("reasonReference"), &encounter["reasonCode"]), (None, &json!([icd("I50.23")])));
    assert_eq!(
        (resource(&left, "list").get("entry"), &resource(&left, "plan")["addresses"]),
        (None, &json!([to("dep")]))
    );
    assert!(resource(&left, "p").get("text").is_none(), "no narrative stays when anything went");
    assert!(!left.to_string().contains("alc"));
    let nothing = bundle(&[patient(), condition("dep", "I50.23"), practitioner("doctor-of-dep")]);
    assert_eq!(with_text(&nothing), nothing, "where nothing goes nothing changes");
}

#[test]
fn what_r4_requires_takes_its_object_with_it() {
    let medication = json!({ "resourceType": "Medication", "id": "m", "code": { "coding": [{ "system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6813" }] } });
    let request = json!({ "resourceType": "MedicationRequest", "id": "r", "status": "active", "intent": "order", "subject": to("p"), "medicationReference": to("m") });
    let administration = json!({ "resourceType": "MedicationAdministration", "id": "a", "status": "completed", "subject": to("p"), "medicationReference": to("m"), "request": to("r") });
    let report = json!({ "resourceType": "DiagnosticReport", "id": "d", "status": "final", "code": { "coding": [{ "system": "http://loinc.org", "code": "24323-8" }] }, "result": [to("o1"), to("o2")] });
    let observation = |id: &str, code: &str, value: &str| json!({ "resourceType": "Observation", "id": id, "status": "final", "code": { "coding": [{ "system": "http://loinc.org", "code": code }] }, "valueCodeableConcept": icd(value) });
    let panel = json!({ "resourceType": "Observation", "id": "o3", "status": "final", "code": { "coding": [{ "system": "http://loinc.org", "code": "85354-9" }] },
        "component": [{ "code": { "coding": [{ "system": "http://loinc.org", "code": "75626-2" }] }, "valueInteger": 7 }] });
    let left = redacted(&bundle(&[
        patient(),
        medication,
        request,
        administration,
        report,
        observation("o1", "29308-4", "F10.20"),
        observation("o2", "29308-4", "I50.23"),
        panel,
    ]))
    .unwrap();
    assert_eq!(ids(&left), ["p", "d", "o2", "o3"]);
    assert_eq!(resource(&left, "d")["result"], json!([to("o2")]));
    assert_eq!(resource(&left, "o3").get("component"), None);
}

#[test]
fn words_of_what_went_stand_nowhere_else() {
    let alcohol = json!({ "resourceType": "Condition", "id": "c", "subject": to("p"), "code": {
        "coding": [{ "system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F10.20", "display": "Alcohol dependence, uncomplicated" }, { "system": "urn:house", "code": "ETOHX-1" }],
        "text": "EtOH dependence" } });
    let other = json!({ "resourceType": "Condition", "id": "o", "subject": to("p"), "code": icd("I50.23"),
        "note": [{ "text": "known f1020" }, { "text": "etoh DEPENDENCE, in remission" }, { "text": "stable" }],
        "identifier": [{ "value": "ETOHX-1" }, { "value": "7" }] });
    let left = with_text(&bundle(&[patient(), alcohol, other]));
    assert_eq!(ids(&left), ["p", "o"]);
    let other = resource(&left, "o");
    assert_eq!((&other["note"], &other["identifier"]), (&json!([{ "text": "stable" }]), &json!([{ "value": "7" }])));
}

#[test]
fn text_and_bodies_are_withheld_where_told() {
    let document = json!({ "resourceType": "DocumentReference", "id": "d", "status": "current", "description": "summary",
        "content": [{ "attachment": { "contentType": "text/plain", "data": "QUJD", "title": "x" } }] });
    let report = json!({ "resourceType": "DiagnosticReport", "id": "r", "status": "final", "code": icd("I50.23"), "conclusion": "x", "presentedForm": [{ "data": "QUJD" }] });
    let observation = json!({ "resourceType": "Observation", "id": "o", "status": "final", "code": icd("I50.23"), "valueString": "drinks", "note": [{ "text": "x" }] });
    let spoken = json!({ "resourceType": "Condition", "id": "c", "subject": to("p"), "code": { "text": "Drinks" } });
    let binary = json!({ "resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "QUJD" });
    let all = bundle(&[patient(), document, report, observation, spoken, binary]);
    let left = redacted(&all).unwrap();
    assert_eq!(ids(&left), ["p", "d", "r", "o", "b"]);
    let text = left.to_string();
    assert!(
        !text.contains("QUJD") && !text.contains("drinks") && !text.contains("\"x\"") && !text.contains("summary"),
        "{text}"
    );
    assert_eq!(resource(&left, "d")["content"][0]["attachment"]["contentType"], "text/plain");
    assert_eq!(with_text(&all), all);
}

#[test]
fn contained_resources_and_references_to_them_go() {
    let kept = json!({ "resourceType": "Medication", "id": "kept", "code": icd("I50.23") });
    let gone = json!({ "resourceType": "Medication", "id": "gone", "code": icd("F10.20") });
    let lonely = json!({ "resourceType": "Practitioner", "id": "lonely" });
    let plan = json!({ "resourceType": "CarePlan", "id": "plan", "status": "active", "intent": "plan", "subject": to("p"),
        "activity": [{ "detail": { "status": "scheduled", "productReference": { "reference": "#gone" }, "performer": [{ "reference": "#lonely" }], "code": icd("F10.20") } }, { "detail": { "status": "scheduled", "productReference": { "reference": "#kept" } } }],
        "supportingInfo": [{ "reference": "#gone" }],
        "contained": [kept, gone, lonely] });
    let left = redacted(&bundle(&[patient(), plan])).unwrap();
    let plan = resource(&left, "plan");
    assert_eq!(plan["contained"].as_array().map(Vec::len), Some(1));
    assert_eq!(plan["contained"][0]["id"], "kept");
    assert_eq!((plan["activity"].as_array().map(Vec::len), plan.get("supportingInfo")), (Some(1), None));
}

#[test]
fn a_labelled_facility_stands_nowhere() {
    let patient = json!({ "resourceType": "Patient", "id": "p", "managingOrganization": to("org"), "identifier": [
        { "system": "urn:oid:2.999.1", "value": "1", "assigner": { "display": "LAKERECOV" } },
        { "system": "urn:v2:LAKERECOV", "value": "2" },
        { "system": "urn:oid:2.999.2", "value": "3" } ] });
    let organization = json!({ "resourceType": "Organization", "id": "org", "name": "LAKERECOV" });
    let left = redacted(&bundle(&[patient, organization])).unwrap();
    assert_eq!(ids(&left), ["p"]);
    let text = left.to_string();
    assert!(!text.contains("LAKERECOV"), "{text}");
    assert_eq!(resource(&left, "p")["identifier"], json!([{ "system": "urn:oid:2.999.2", "value": "3" }]));
}

#[test]
fn what_cannot_be_told_without_fails() {
    let marked = |mut resource: Value| {
        resource["meta"] = json!({ "security": [{ "code": "PSY" }] });
        resource
    };
    assert_eq!(redacted(&bundle(&[marked(patient())])), Err(Failure::Essential));
    let encounter =
        json!({ "resourceType": "Encounter", "id": "e", "status": "finished", "class": icd("F10.20")["coding"][0] });
    assert_eq!(redacted(&bundle(&[encounter])), Err(Failure::Essential), "its class is required");
    assert_eq!(redacted(&json!({ "resourceType": "Patient" })), Err(Failure::NoBundle));
    assert_eq!(redacted(&json!(7)), Err(Failure::NoBundle));
    let mut deep = json!({ "url": "x", "valueString": "x" });
    for _ in 0..200 {
        deep = json!({ "url": "x", "extension": [deep] });
    }
    let deep = bundle(&[json!({ "resourceType": "Patient", "id": "p", "extension": [deep] })]);
    assert_eq!(redacted(&deep), Err(Failure::TooMuch));
}

#[test]
fn what_r4_does_not_know_goes() {
    let left = redacted(&bundle(&[
        json!({ "resourceType": "Patient", "id": "p", "notes": "F10.20", "gender": "female" }),
        json!({ "resourceType": "Diary", "id": "d" }),
    ]));
    assert_eq!(ids(left.as_ref().unwrap()), ["p"]);
    assert_eq!(
        resource(left.as_ref().unwrap(), "p"),
        &json!({ "resourceType": "Patient", "id": "p", "gender": "female" })
    );
}

#[test]
fn bundles_within_bundles_are_no_way_around() {
    let inner = json!({ "resourceType": "Bundle", "id": "b", "type": "collection", "entry": [
        { "fullUrl": "urn:uuid:c", "resource": condition("c", "F10.20") },
        { "fullUrl": "urn:uuid:o", "resource": condition("o", "I50.23") } ] });
    let parameters = json!({ "resourceType": "Parameters", "id": "q", "parameter": [
        { "name": "a", "resource": condition("d", "F10.20") }, { "name": "b", "part": [{ "name": "c", "valueCoding": icd("F10.20")["coding"][0] }] }, { "name": "e", "valueString": "x1" } ] });
    let left = with_text(&bundle(&[patient(), inner, parameters]));
    assert!(!left.to_string().contains("F10"));
    assert_eq!(resource(&left, "b")["entry"].as_array().map(Vec::len), Some(1));
    assert_eq!(resource(&left, "q")["parameter"], json!([{ "name": "e", "valueString": "x1" }]));
}
