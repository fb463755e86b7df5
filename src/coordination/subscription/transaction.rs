//! What happened as a transaction for a FHIR server: each resource of an event, in a way that never puts less over more.
//!
//! | resource | request |
//! |---|---|
//! | Practitioner, Organization, Location with a number | `POST` with `ifNoneExist`: a directory that the server has is left as it is |
//! | Encounter, of an event that is not one of the visit (a result, a document) | none: what refers to it names it by its number |
//! | all else, the Patient too | `PUT Type/id` |
//!
//! The id is a UUIDv5 of the identity that the mapping chose (for a Patient MR, PI or PT by the profile's priority), and the same as in notifications. So a Patient is never found by a number: the first of PID-3
//! may be one that a family shares, or a social security number, and after a merge two records may bear the same one. The same event again writes the same again.
use super::reference::{Form, linked, named, urn};
use super::store::Told;
use super::topic::Trigger;
use crate::coordination::event::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The custom channel: `rest-hook` with this type is sent transactions.
pub const TRANSACTION: &str = "fhir-transaction";
/// Types that are what their number says, and of which messages tell no more than that and a name.
const DIRECTORY: [&str; 3] = ["Practitioner", "Organization", "Location"];

/// The transaction of an event's resources; none where there is nothing to write.
pub fn transaction(told: &Told, resources: &[Value]) -> Option<Value> {
    let mut own: Vec<Value> = Vec::new();
    let mut instead = BTreeMap::new();
    for resource in resources {
        let Some((kind, id)) = named(resource) else { continue };
        if kind == "Encounter" && !is_of_visit(told) {
            instead.insert(id.to_owned(), by_number(resource));
            continue;
        }
        let number = number(kind, resource);
        let is_same = |known: &Value| match named(known) {
            Some((of, known_id)) if of == kind => {
                known_id == id || number.is_some() && self::number(of, known) == number
            }
            _ => false,
        };
        // Two of one number would both be made.
        match own.iter().find(|known| is_same(known)).and_then(named).map(|(_, first)| first.to_owned()) {
            Some(first) if first != id => {
                instead.insert(id.to_owned(), json!({ "reference": format!("urn:uuid:{first}") }));
            }
            Some(_) => {}
            None => own.push(resource.clone()),
        }
    }
    own.iter_mut().for_each(|resource| refer(resource, &instead));
    let entries: Vec<Value> = linked(&own, Form::Urn).into_iter().filter_map(entry).collect();
    (!entries.is_empty()).then(|| json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }))
}

fn entry(mut resource: Value) -> Option<Value> {
    let (kind, id) = named(&resource).map(|(kind, id)| (kind.to_owned(), id.to_owned()))?;
    let request = match number(&kind, &resource) {
        Some(number) => {
            resource.as_object_mut()?.shift_remove("id");
            json!({ "method": "POST", "url": kind, "ifNoneExist": format!("identifier={number}") })
        }
        None => json!({ "method": "PUT", "url": format!("{kind}/{id}") }),
    };
    Some(json!({ "fullUrl": urn(&kind, &id), "resource": resource, "request": request }))
}

/// Whether its message tells how the visit stands. Other feeds repeat PV1 for the sake of its number, and would have a visit that is over go on; so does a merge.
fn is_of_visit(told: &Told) -> bool {
    let is_adt = told.v2_event.starts_with('A');
    is_adt && !matches!(told.trigger, Trigger::Event(Kind::IdentityMerge | Kind::Unlink))
}

/// A reference to a resource that is not sent along.
fn by_number(resource: &Value) -> Value {
    match resource["identifier"].get(0) {
        Some(identifier) => json!({ "type": resource["resourceType"], "identifier": identifier }),
        None => json!({ "display": "not sent" }),
    }
}

/// Puts others in the place of references to these ids.
fn refer(resource: &mut Value, instead: &BTreeMap<String, Value>) {
    let mut waiting = vec![resource];
    while let Some(value) = waiting.pop() {
        let target = value["reference"].as_str().and_then(|text| text.rsplit([':', '/']).next());
        if let Some(other) = target.and_then(|id| instead.get(id)) {
            let display = value["display"].take();
            *value = other.clone();
            if display.is_string() {
                value["display"] = display;
            }
            continue;
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter_mut()),
            Value::Object(object) => waiting.extend(object.iter_mut().map(|(_, value)| value)),
            _ => {}
        }
    }
}

/// `system|value` of the first identifier that has both and is of today, as a search writes it; of what stands in directories alone.
fn number(kind: &str, resource: &Value) -> Option<String> {
    const SOCIAL_SECURITY: &str = "http://hl7.org/fhir/sid/us-ssn";
    let is_private = |one: &Value| {
        let coding = one.pointer("/type/coding").and_then(Value::as_array);
        let is_coded = coding.into_iter().flatten().any(|coding| coding["code"] == "SS");
        is_coded || one["system"] == SOCIAL_SECURITY || one["use"] == "old"
    };
    // A room has its number within a ward, and so has another one.
    let is_known = DIRECTORY.contains(&kind) && resource.get("partOf").is_none();
    let all = resource["identifier"].as_array().filter(|_| is_known)?;
    let mut usable = all.iter().filter(|one| !is_private(one));
    let (system, value) = usable.find_map(|one| Some((one["system"].as_str()?, one["value"].as_str()?)))?;
    Some(format!("{}%7C{}", escaped(system), escaped(value)))
}

/// As a query has it: what FHIR's search reads as a separator is escaped first, then what a URL cannot hold.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'|' | b',' | b'$' | b'\\') {
            out.push_str("%5C");
        }
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: &str = "6f1c0d2e-0000-5000-8000-000000000001";
    const VISIT: &str = "6f1c0d2e-0000-5000-8000-000000000002";

    fn told(kind: Kind, v2_event: &str) -> Told {
        let (trigger, v2_event) = (Trigger::Event(kind), v2_event.to_owned());
        Told { event: [1; 16], seq: 1, at_ms: 1, received_ms: 1, trigger, v2_event, focus: vec![] }
    }

    fn sent(told: &Told, resources: &[Value]) -> Vec<Value> {
        transaction(told, resources).unwrap()["entry"].as_array().unwrap().clone()
    }

    fn reference(id: &str) -> Value {
        json!({ "reference": format!("urn:uuid:{id}") })
    }

    fn patient(id: &str, numbers: &[(&str, &str, &str)]) -> Value {
        let number = |(code, system, value): &(&str, &str, &str)| json!({ "type": { "coding": [{ "code": code }] }, "system": system, "value": value });
        json!({ "resourceType": "Patient", "id": id, "identifier": numbers.iter().map(number).collect::<Vec<_>>() })
    }

    fn visit(status: &str) -> Value {
        json!({ "resourceType": "Encounter", "id": VISIT, "status": status, "subject": reference(PATIENT), "identifier": [{ "value": "V1" }] })
    }

    #[test]
    fn a_patient_is_never_found_by_a_number_that_others_may_have() {
        let numbers = [
            ("MA", "urn:oid:2.16.1", "FAM778"),
            ("SS", "http://hl7.org/fhir/sid/us-ssn", "123456789"),
            ("MR", "urn:oid:1.2", "00718243"),
        ];
        let all = [patient(PATIENT, &numbers), visit("in-progress")];
        let entries = sent(&told(Kind::Admission, "A01"), &all);
        assert_eq!(entries[0]["request"], json!({ "method": "PUT", "url": format!("Patient/{PATIENT}") }));
        assert_eq!(entries[0]["resource"], all[0], "with its id and all its numbers");
        assert_eq!(entries[1]["request"]["url"], format!("Encounter/{VISIT}"));
        assert_eq!(entries[1]["resource"]["subject"]["reference"], entries[0]["fullUrl"]);
        assert!(transaction(&told(Kind::Admission, "A01"), &[]).is_none());
    }

    #[test]
    fn a_merge_leaves_each_number_where_it_is() {
        let other = "6f1c0d2e-0000-5000-8000-000000000003";
        let shared = ("MA", "urn:oid:2.16.1", "FAM778");
        let all = [
            patient(PATIENT, &[shared, ("MR", "urn:oid:1.2", "1")]),
            patient(other, &[shared, ("MR", "urn:oid:1.2", "2")]),
            visit("in-progress"),
        ];
        let entries = sent(&told(Kind::IdentityMerge, "A40"), &all);
        let urls: Vec<_> = entries.iter().map(|entry| entry["request"]["url"].as_str().unwrap()).collect();
        assert_eq!(urls, [format!("Patient/{PATIENT}"), format!("Patient/{other}")], "and says nothing of the visit");
        assert!(entries.iter().all(|entry| entry["request"].get("ifNoneExist").is_none()));
    }

    #[test]
    fn what_a_directory_has_is_left_as_it_is() {
        let doctor = |id: &str, number: &str| {
            json!({ "resourceType": "Practitioner", "id": id, "identifier": [
            { "type": { "coding": [{ "code": "SS" }] }, "system": "urn:x", "value": "123456789" },
            { "system": "http://hl7.org/fhir/sid/us-npi", "value": number }] })
        };
        let (first, second) = ("6f1c0d2e-0000-5000-8000-00000000000a", "6f1c0d2e-0000-5000-8000-00000000000b");
        let unnumbered = json!({ "resourceType": "Location", "id": "6f1c0d2e-0000-5000-8000-00000000000c", "name": "412", "partOf": { "display": "4W" }, "identifier": [{ "system": "urn:sbmc", "value": "412" }] });
        let mut stay = visit("in-progress");
        stay["participant"] = json!([{ "individual": reference(first) }, { "individual": reference(second) }]);
        let all = [doctor(first, "9|1"), doctor(second, "9|1"), unnumbered, stay];
        let entries = sent(&told(Kind::Admission, "A01"), &all);
        let query = "identifier=http%3A%2F%2Fhl7.org%2Ffhir%2Fsid%2Fus-npi%7C9%5C%7C1";
        assert_eq!(entries[0]["request"], json!({ "method": "POST", "url": "Practitioner", "ifNoneExist": query }));
        assert!(entries[0]["resource"].get("id").is_none());
        assert_eq!(entries[1]["request"]["method"], "PUT", "a room has its number within a ward alone");
        assert_eq!(entries.len(), 3, "two of one number are one");
        for participant in entries[2]["resource"]["participant"].as_array().unwrap() {
            assert_eq!(participant["individual"]["reference"], entries[0]["fullUrl"]);
        }
    }

    #[test]
    fn a_result_says_nothing_of_how_the_visit_stands() {
        let result = json!({ "resourceType": "Observation", "id": "6f1c0d2e-0000-5000-8000-00000000000d", "encounter": reference(VISIT), "subject": reference(PATIENT) });
        let all = [patient(PATIENT, &[]), visit("in-progress"), result];
        let entries = sent(&told(Kind::Result, "R01"), &all);
        assert_eq!(entries.len(), 2);
        let encounter = &entries[1]["resource"]["encounter"];
        assert_eq!(*encounter, json!({ "type": "Encounter", "identifier": { "value": "V1" } }));
        assert_eq!(entries[1]["resource"]["subject"]["reference"], entries[0]["fullUrl"]);
        assert_eq!(sent(&told(Kind::Discharge, "A03"), &all).len(), 3);
    }
}
