//! What happened as a transaction for a FHIR server: each resource of an event is written there in the place of what the server has of it.
//!
//! A resource is put under its id. Patients, practitioners and organisations that tell a number are updated by it instead, so that those that the server knows already are these; what
//! refers to them does so within the transaction, and the server says where they are. The same event again writes the same again.
use super::reference::{Form, linked, named, urn};
use serde_json::{Value, json};

/// The custom channel: `rest-hook` with this type is sent transactions.
pub const TRANSACTION: &str = "fhir-transaction";
/// Types that are known by their number.
const BY_NUMBER: [&str; 3] = ["Patient", "Practitioner", "Organization"];

/// The transaction of some events' resources; none where there is nothing to write. Of a resource that stands in several the last counts.
pub fn transaction(resources: &[Value]) -> Option<Value> {
    let mut own: Vec<Value> = Vec::new();
    for resource in resources.iter().filter(|one| named(one).is_some()) {
        match own.iter_mut().find(|known| named(known) == named(resource)) {
            Some(known) => *known = resource.clone(),
            None => own.push(resource.clone()),
        }
    }
    let mut numbers: Vec<String> = Vec::new();
    let entries: Vec<Value> = linked(&own, Form::Urn)
        .into_iter()
        .filter_map(|mut resource| {
            let (kind, id) = named(&resource).map(|(kind, id)| (kind.to_owned(), id.to_owned()))?;
            let number = number(&kind, &resource).map(|number| format!("{kind}?identifier={number}"));
            // Two of one number cannot be written at once: the second keeps its id.
            let number = number.filter(|number| !numbers.contains(number));
            let url = match number {
                Some(number) => {
                    numbers.push(number.clone());
                    resource.as_object_mut()?.remove("id");
                    number
                }
                None => format!("{kind}/{id}"),
            };
            Some(
                json!({ "fullUrl": urn(&kind, &id), "resource": resource, "request": { "method": "PUT", "url": url } }),
            )
        })
        .collect();
    (!entries.is_empty()).then(|| json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }))
}

/// `system|value` of the first identifier that has both, as a search writes it.
fn number(kind: &str, resource: &Value) -> Option<String> {
    let all = resource["identifier"].as_array().filter(|_| BY_NUMBER.contains(&kind))?;
    let number = all.iter().find_map(|one| Some((one["system"].as_str()?, one["value"].as_str()?)))?;
    Some(format!("{}|{}", escaped(number.0), escaped(number.1)))
}

/// As a query has it: what FHIR's search reads as a separator is escaped first, then what a URL cannot hold.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'|' | b',' | b'$' | b'\\') {
            out.push_str("%5C");
        }
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_written_in_the_place_of_what_was_there() {
        let patient = json!({ "resourceType": "Patient", "id": "6f1c0d2e-0000-5000-8000-000000000001", "identifier": [{ "value": "x" }, { "system": "urn:oid:1.2", "value": "a|b c" }] });
        let visit = |status: &str| json!({ "resourceType": "Encounter", "id": "6f1c0d2e-0000-5000-8000-000000000002", "status": status, "subject": { "reference": "urn:uuid:6f1c0d2e-0000-5000-8000-000000000001" } });
        let made = transaction(&[patient.clone(), visit("planned"), visit("finished")]).unwrap();
        assert_eq!((&made["type"], made["entry"].as_array().unwrap().len()), (&json!("transaction"), 2));
        let [first, second] = [0, 1].map(|at| made["entry"][at].clone());
        assert_eq!(first["request"], json!({ "method": "PUT", "url": "Patient?identifier=urn:oid:1.2|a%5C%7Cb%20c" }));
        assert!(first["resource"].get("id").is_none());
        assert_eq!(second["request"]["url"], "Encounter/6f1c0d2e-0000-5000-8000-000000000002");
        assert_eq!(second["resource"]["status"], "finished");
        assert_eq!(second["resource"]["subject"]["reference"], first["fullUrl"]);
        assert!(transaction(&[]).is_none());
        let mut other = patient.clone();
        other["id"] = "6f1c0d2e-0000-5000-8000-000000000003".into();
        let made = transaction(&[patient, other]).unwrap();
        assert!(made["entry"][1]["request"]["url"].as_str().unwrap().starts_with("Patient/"), "{made}");
    }
}
