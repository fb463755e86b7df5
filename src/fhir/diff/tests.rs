//! The difference of small Bundles, by hand; `tests/suite/difference.rs` has what must hold of any.
use super::*;
use serde_json::json;

fn bundle(resources: &[Value]) -> Value {
    let entry: Vec<Value> = resources
        .iter()
        .map(|resource| json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap()), "resource": resource }))
        .collect();
    json!({ "resourceType": "Bundle", "type": "message", "entry": entry })
}

fn told(expected: &Value, found: &Value) -> Vec<String> {
    let side = |side: &Option<Side>| match side {
        Some(Side { refers_to: Some(name), .. }) => format!("→ {name}"),
        Some(side) => side.value.to_string(),
        None => "nothing".to_owned(),
    };
    let line = |d: &Difference| format!("{} {}: {} / {}", d.kind().name(), d.name(), side(&d.expected), side(&d.found));
    differences(expected, found).iter().map(line).collect()
}

fn observation(id: &str, code: &str, value: &str, subject: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "code": { "coding": [{ "code": code }] },
        "subject": { "reference": format!("urn:uuid:{subject}") }, "valueString": value,
    })
}

#[test]
fn ids_and_order_say_nothing() {
    let patient = |id: &str| json!({ "resourceType": "Patient", "id": id, "gender": "female" });
    let one = bundle(&[patient("p"), observation("a", "1", "x", "p"), observation("b", "2", "y", "p")]);
    let two = bundle(&[observation("c", "2", "y", "q"), observation("d", "1", "x", "q"), patient("q")]);
    assert_eq!(told(&one, &two), [""; 0]);
}

#[test]
fn a_reference_is_what_it_leads_to() {
    let patient = |id: &str, gender: &str| json!({ "resourceType": "Patient", "id": id, "gender": gender });
    let one = bundle(&[patient("p", "female"), patient("q", "male"), observation("a", "1", "x", "p")]);
    let two = bundle(&[patient("p", "male"), patient("q", "female"), observation("a", "1", "x", "p")]);
    assert_eq!(told(&one, &two), ["changed Observation.subject.reference: → Patient(1) / → Patient(2)"]);
}

#[test]
fn twins_are_told_apart_by_what_refers_to_them() {
    let report = |id: &str, code: &str, result: &str| json!({ "resourceType": "DiagnosticReport", "id": id, "code": code, "result": [{ "reference": format!("urn:uuid:{result}") }] });
    let one = [
        report("r", "A", "x"),
        report("s", "B", "y"),
        observation("x", "1", "same", "n"),
        observation("y", "1", "same", "n"),
    ];
    let mut two = one.clone();
    two[3]["valueString"] = "other".into();
    two.reverse();
    assert_eq!(told(&bundle(&one), &bundle(&two)), [r#"changed Observation(2).valueString: "same" / "other""#]);
    // The reports themselves alike: only their observations tell them apart.
    let one = [
        report("r", "A", "x"),
        report("s", "A", "y"),
        observation("x", "1", "same", "n"),
        observation("y", "1", "same", "n"),
    ];
    let mut two = one.clone();
    two[2]["valueString"] = "other".into();
    two.swap(0, 1);
    let told = told(&bundle(&one), &bundle(&two));
    assert!(told.len() == 1 && told[0].ends_with(r#".valueString: "same" / "other""#), "{told:?}");
}

#[test]
fn resources_come_and_go_whole() {
    let one =
        bundle(&[observation("a", "1", "x", "p"), observation("b", "2", "y", "p"), observation("c", "3", "z", "p")]);
    let two = bundle(&[observation("a", "1", "x", "p"), observation("c", "3", "z!", "p")]);
    let told = told(&one, &two);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("missing Observation(2): {"), "{told:?}");
    assert_eq!(told[1], r#"changed Observation(3).valueString: "z" / "z!""#);
}

#[test]
fn contained_resources_are_paired_as_well() {
    let with = |id: &str, names: [&str; 2]| {
        json!({ "resourceType": "Patient", "contained": [
            { "resourceType": "Practitioner", "id": id, "name": [{ "family": names[0] }] }, { "resourceType": "Practitioner", "id": "z", "name": [{ "family": names[1] }] } ],
            "generalPractitioner": [{ "reference": format!("#{id}") }] })
    };
    assert_eq!(told(&with("a", ["Okonjo", "Sato"]), &with("b", ["Okonjo", "Sato"])), [""; 0]);
    assert_eq!(
        told(&with("a", ["Okonjo", "Sato"]), &with("b", ["Okonjo", "Satou"])),
        [r#"changed Patient.contained[1].name[0].family: "Sato" / "Satou""#]
    );
}

#[test]
fn lists_are_compared_by_what_is_most_alike() {
    let patient = |identifiers: Value| json!({ "resourceType": "Patient", "identifier": identifiers });
    let (mr, ss, an) = (
        json!({ "system": "m", "value": "1", "use": "usual" }),
        json!({ "system": "s", "value": "2" }),
        json!({ "system": "a", "value": "3" }),
    );
    let changed = json!({ "system": "m", "value": "9", "use": "usual" });
    assert_eq!(
        told(&patient(json!([mr, ss, an])), &patient(json!([an, changed, ss]))),
        [r#"changed Patient.identifier[0].value: "1" / "9""#]
    );
    let told = told(&patient(json!([mr, ss])), &patient(json!([ss])));
    assert_eq!(told, [format!("missing Patient.identifier[0]: {mr} / nothing")]);
    let told = self::told(&json!({ "resourceType": "Patient" }), &patient(json!([mr, ss])));
    assert_eq!(
        told,
        [
            format!("extra Patient.identifier[0]: nothing / {mr}"),
            format!("extra Patient.identifier[1]: nothing / {ss}")
        ]
    );
}

#[test]
fn what_stands_beside_a_primitive_goes_with_it() {
    let name = |given: Value, beside: Value| json!({ "resourceType": "Patient", "name": [{ "given": given, "_given": beside }] });
    let extension = json!({ "extension": [{ "url": "u", "valueCode": "unknown" }] });
    let one = name(json!(["A", null]), json!([null, extension]));
    assert_eq!(told(&one, &name(json!([null, "A"]), json!([extension, null]))), [""; 0]);
    let other = json!({ "extension": [{ "url": "u", "valueCode": "masked" }] });
    let found = name(json!([null, "A"]), json!([other, null]));
    let differences = differences(&one, &found);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].name(), "Patient.name[0]._given[1].extension[0].valueCode");
    assert_eq!(differences[0].found.as_ref().unwrap().path, "Patient.name[0]._given[0].extension[0].valueCode");
    assert_eq!(differences[0].pattern(), "Patient.name._given.extension.valueCode");
}

#[test]
fn numbers_count_as_written_and_anything_can_be_compared() {
    let quantity = |text: &str| serde_json::from_str::<Value>(&format!("{{\"value\":{text}}}")).unwrap();
    assert_eq!(told(&quantity("1.50"), &quantity("1.5")), ["changed .value: 1.50 / 1.5"]);
    assert_eq!(told(&json!(1), &json!("1")), [r#"changed value: 1 / "1""#]);
    assert_eq!(told(&json!([1, 2]), &json!([2, 1])), [""; 0]);
}

/// A mapping that changes each of many results must not take the square of their number.
#[test]
fn many_changed_results_find_their_own() {
    let many = |status: &str| {
        let all: Vec<Value> = (0..2000)
            .map(|n| json!({ "resourceType": "Observation", "id": format!("o{n}"), "status": status, "valueString": format!("v{n}") }))
            .collect();
        bundle(&all)
    };
    let differences = differences(&many("final"), &many("amended"));
    assert_eq!(differences.len(), 2000);
    assert!(differences.iter().all(|d| d.pattern() == "Observation.status"));
}
