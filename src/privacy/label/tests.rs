//! Labels of codes, marks, facilities and Bundles.
use super::*;
use crate::privacy::starter;
use serde_json::json;

fn labels() -> Labels {
    let facility = Label {
        code: "SUD".into(),
        conf: "R".into(),
        facilities: vec!["LAKERECOV".into()],
        units: vec!["DETOX".into(), "SBMC|4W".into()],
        ..Label::default()
    };
    let mut all = starter::labels();
    all.push(facility);
    Labels::new(all)
}

#[test]
fn codes_by_system_and_by_what_they_look_like() {
    let labels = labels();
    for (system, code, expected) in [
        ("I10C", "F10.20", Some("SUD")),
        ("http://hl7.org/fhir/sid/icd-10-cm", "f1020", Some("SUD")),
        ("", "F10.20", Some("SUD")),
        ("99HOUSE", "F10.20", Some("SUD")),
        ("I10C", "F33.2", Some("PSY")),
        ("I10C", "F1", None),
        ("I10C", "I50.23", None),
        ("HL70203", "F10.20", None),
        ("LN", "75622-1", Some("HIV")),
        ("", "75622-1", Some("HIV")),
        ("LN", "75622-2", None),
        ("SCT", "86406008", Some("HIV")),
        ("I9C", "303.90", Some("SUD")),
        ("", "303.90", None),
        ("RXNORM", "6813", Some("SUD")),
        ("", "6813", None),
        ("I10C", "", None),
        ("", "F10 Main Street", None),
    ] {
        assert_eq!(
            labels.names(labels.of_code(system, code)),
            expected.into_iter().collect::<Vec<_>>(),
            "{system} {code}"
        );
    }
}

#[test]
fn facilities_units_and_marks_are_about_the_whole_event() {
    let labels = labels();
    let names = |look: Look<'_>| {
        let found = look.found();
        (labels.names(found.all), labels.names(found.whole))
    };
    let sud = || (vec!["SUD"], vec!["SUD"]);
    assert_eq!(names(labels.look().facility("lakerecov")), sud());
    assert_eq!(names(labels.look().unit("OTHER", "DETOX")), sud());
    assert_eq!(names(labels.look().unit("SBMC", "4W")), sud());
    assert_eq!(names(labels.look().unit("OTHER", "4W").facility("SBMC")), (vec![], vec![]));
    assert_eq!(names(labels.look().part_2(true)), sud());
    assert_eq!(names(labels.look().code("I10C", "F10.20")), (vec!["SUD"], vec![]));
    for (field, code, expected) in [
        ("MSH-8", "ETH", "SUD"),
        ("TXA-18", "PSY", "PSY"),
        ("TXA-18", "R", "R"),
        ("TXA-18", "V", "V"),
        ("PV2-22", "Y", "R"),
        ("ARV-3", "HIV", "HIV"),
        ("ARV-3", "PID-17", "R"),
        ("MSH-8", "house secret", "R"),
    ] {
        assert_eq!(names(labels.look().mark(field, code)), (vec![expected], vec![expected]), "{field} {code}");
    }
    for (field, code) in [("MSH-8", ""), ("TXA-18", "U"), ("PV2-22", "N"), ("ARV-3", "NO")] {
        assert_eq!(names(labels.look().mark(field, code)), (vec![], vec![]), "{field} {code}");
    }
    assert_eq!(
        names(labels.look().mark("ARV-4", "PAT")),
        (vec!["R"], vec!["R"]),
        "a reason without what is restricted"
    );
    assert_eq!(names(labels.look().mark("ARV-3", "NO").mark("ARV-4", "PAT")), (vec![], vec![]));
    assert_eq!(names(labels.look().earlier(["PSY", "GONE"])), (vec!["V", "PSY"], vec![]));
}

#[test]
fn every_element_of_a_bundle_is_looked_at() {
    let labels = labels();
    let names = |value: serde_json::Value| labels.names(labels.of_value(&value).unwrap()).join(" ");
    let concept = json!({ "coding": [{ "system": "http://snomed.info/sct", "code": "1" }, { "system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F10.20" }] });
    assert_eq!(
        names(json!({ "entry": [{ "resource": { "resourceType": "X", "contained": [{ "code": concept }] } }] })),
        "SUD"
    );
    assert_eq!(names(json!({ "code": { "text": "F33.2" } })), "PSY");
    assert_eq!(names(json!({ "resourceType": "Organization", "name": "LakeRecov" })), "SUD");
    assert_eq!(names(json!({ "resourceType": "Location", "identifier": [{ "value": "DETOX" }] })), "SUD");
    let security = |codings: serde_json::Value| names(json!({ "resourceType": "X", "meta": { "security": codings } }));
    let level = json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R" });
    assert_eq!(security(json!([level])), "R");
    assert_eq!(
        security(json!([level, { "system": "http://terminology.hl7.org/CodeSystem/v2-0717", "code": "HIV" }])),
        "HIV"
    );
    assert_eq!(
        security(json!([{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "42CFRPart2" }])),
        "SUD"
    );
    assert_eq!(
        security(json!([{ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N" }])),
        ""
    );
    let mut deep = json!(1);
    for _ in 0..=DEPTH_MAX {
        deep = json!([deep]);
    }
    assert_eq!(labels.of_value(&deep), Err(TooDeep));
}

#[test]
fn labels_of_one_code_are_one() {
    let one = |policy: Option<&str>, codes| Label {
        code: "X".into(),
        policy: policy.map(str::to_owned),
        conf: "V".into(),
        codes,
        ..Label::default()
    };
    let labels = Labels::new(vec![
        one(Some("a"), vec![(System::Icd10, "A01".into())]),
        one(None, vec![(System::Loinc, "1-8".into())]),
    ]);
    assert_eq!(labels.every(), labels.of_all(["R", "V", "X"]));
    assert_eq!(labels.of_code("I10", "A01.1"), labels.of_code("LN", "1-8"));
    let known = labels.labels(labels.of("X").unwrap()).next().unwrap();
    assert_eq!((known.policy.as_deref(), known.conf.as_str()), (Some("a"), "V"));
}
