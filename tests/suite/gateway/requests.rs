//! A message as several requests: one by one, split, and with resources that the server finds by their identifier.
use super::process::{Gateway, Peer, dead_letters, message};
use super::web::{Answer, Request, Web, taken};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn route(web: &Web, to: &str) -> String {
    format!(
        "[[route]]\nname = \"ehr\"\nto = {{ fhir = \"http://{}/fhir\", {to} }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n",
        web.address
    )
}

fn fails() -> Answer {
    ("503 Service Unavailable", String::new(), String::new())
}

/// Every reference in it.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = members.get("reference").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        _ => Vec::new(),
    }
}

/// `Patient/id` of `PUT /fhir/Patient/id`.
fn address(request: &Request) -> String {
    request.line.strip_prefix("PUT /fhir/").unwrap().to_owned()
}

#[test]
fn resources_are_put_one_by_one_each_after_what_it_refers_to_and_all_again_after_a_failure() {
    let web = Web::start(|request| if request.earlier == 2 { fails() } else { taken(request) });
    let gateway = Gateway::start(&route(&web, "bundle = \"put\""));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let file = "[[route]]\nname = \"file\"\nto = { file = \"handoff-data/bundles.ndjson\" }\n";
    let other = Gateway::start(file);
    Peer::connect(&other).exchange(&message("a", "A01"));
    let bundle: Value = serde_json::from_str(&other.wait_for_bundles(1)[0]).unwrap();
    other.stop();
    let count = bundle["entry"].as_array().unwrap().len();
    assert!(count > 3);
    let requests = web.wait_for(3 + count);
    let data = gateway.data();
    gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
    assert_eq!(web.requests().len(), 3 + count, "the third failed: all again, and no more");
    let again = &requests[3..];
    assert!((0..3).all(|at| requests[at].line == again[at].line && requests[at].body == again[at].body));
    let mut there = BTreeSet::new();
    for request in again {
        for reference in references(&request.json()) {
            assert!(there.contains(&reference), "{reference} is not there before {}", request.line);
        }
        there.insert(address(request));
    }
    let expected: BTreeSet<String> = bundle["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["resource"])
        .map(|resource| format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap()))
        .collect();
    assert_eq!(there, expected);
    let keys: BTreeSet<_> = again.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), count, "a key of its own for each request");
}

#[test]
fn a_big_bundle_is_split_and_refers_across_the_parts() {
    let web = Web::start(taken);
    let gateway = Gateway::start(&route(&web, "bundle = \"transaction\", entries_max = 2"));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let first = web.wait_for(2)[0].json();
    assert_eq!((&first["type"], first["entry"].as_array().unwrap().len()), (&json!("transaction"), 2));
    let data = gateway.data();
    gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty());
    let mut there = BTreeSet::new();
    for request in web.requests() {
        let part = request.json();
        let entries = part["entry"].as_array().unwrap();
        let here: BTreeSet<_> = entries.iter().map(|entry| entry["fullUrl"].as_str().unwrap().to_owned()).collect();
        for reference in references(&part) {
            assert!(here.contains(&reference) || there.contains(&reference), "{reference}");
        }
        there.extend(entries.iter().map(|entry| entry["request"]["url"].as_str().unwrap().to_owned()));
    }
    assert!(
        there.iter().any(|url| url.starts_with("Patient/")) && there.iter().any(|url| url.starts_with("Encounter/"))
    );
}

#[test]
fn a_patient_that_the_server_knows_by_its_number_is_referred_to_as_the_server_says() {
    let web = Web::start(|request| match request.line.contains("/Patient?") {
        // The server's own patient, in place of ours.
        true => (
            "200 OK",
            "Location: http://ehr.example/fhir/Patient/77/_history/2\r\nETag: W/\"2\"\r\n".into(),
            String::new(),
        ),
        false => taken(request),
    });
    let gateway = Gateway::start(&route(&web, "bundle = \"put\", conditional = \"update\""));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let found =
        |web: &Web, kind: &str| web.requests().into_iter().find(|request| request.json()["resourceType"] == kind);
    let encounter = super::process::wait_for("the encounter", || found(&web, "Encounter"));
    let patient = found(&web, "Patient").unwrap();
    assert!(
        patient.line.starts_with("PUT /fhir/Patient?identifier=") && patient.line.ends_with("%7Cpatient-a"),
        "{}",
        patient.line
    );
    assert_eq!(patient.json().get("id"), None);
    assert_eq!(encounter.json()["subject"]["reference"], "Patient/77");
    let log = gateway.stop();
    assert!(!log.contains("patient-a"), "an identifier in a URL stays out of the log: {log}");
}

#[test]
fn several_matches_make_a_dead_letter_that_says_so() {
    let outcome = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "multiple-matches", "diagnostics": "CANARY", "expression": ["Patient.identifier[0]"]}]});
    let web = Web::start(move |_| ("412 Precondition Failed", String::new(), outcome.to_string()));
    let gateway = Gateway::start(&route(&web, "conditional = \"create\""));
    Peer::connect(&gateway).exchange(&message("a", "A01"));
    let request = &web.wait_for(1)[0].json();
    let patient = request["entry"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["resource"]["resourceType"] == "Patient")
        .unwrap();
    assert_eq!((&patient["request"]["method"], &patient["request"]["url"]), (&json!("POST"), &json!("Patient")));
    assert!(patient["request"]["ifNoneExist"].as_str().unwrap().ends_with("%7Cpatient-a"));
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(dead_letters(&data, "ehr"), [1]);
    assert!(
        log.contains("dead letter: HTTP 412 Precondition Failed (error multiple-matches at Patient.identifier[0])"),
        "{log}"
    );
    assert!(!log.contains("CANARY"), "{log}");
}
