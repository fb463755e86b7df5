//! The JSON of a Group that is changed: what is not about whom it is changed for stays as it stands.
use super::key::PersonKey;
use super::rows::{Row, Rows};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};

/// Where Da Vinci's extensions of a member are defined.
const EXTENSIONS: &str = "http://hl7.org/fhir/us/davinci-atr/StructureDefinition/";

/// A patient, with no more of them than people are matched by.
pub(super) fn needed(patient: &Value) -> Value {
    let mut kept = Map::from_iter([("resourceType".into(), json!("Patient"))]);
    for name in ["identifier", "name", "birthDate", "gender", "address", "telecom"] {
        if let Some(value) = patient.get(name) {
            kept.insert(name.into(), value.clone());
        }
    }
    Value::Object(kept)
}

/// The same under the id of a person.
pub(super) fn named(mut patient: Value, key: PersonKey) -> Value {
    patient["id"] = key.to_string().into();
    patient
}

/// A patient as a row tells them.
pub(super) fn patient(rows: &Rows, row: &Row) -> Value {
    let person = row.demographics();
    let numbers =
        row.identifiers().map(|(system, value)| json!({ "system": rows.systems.text(system), "value": value }));
    let mut patient = json!({ "resourceType": "Patient" });
    let mut set = |name: &str, is_known: bool, value: Value| {
        if is_known {
            patient[name] = value;
        }
    };
    let numbers: Vec<Value> = numbers.collect();
    set("identifier", !numbers.is_empty(), json!(numbers));
    let mut name = Map::new();
    if !person.family.is_empty() {
        name.insert("family".into(), person.family.into());
    }
    if !person.given.is_empty() {
        name.insert("given".into(), json!([person.given]));
    }
    set("name", !name.is_empty(), json!([name]));
    let (year, month, day) = (person.birth / 10_000, person.birth / 100 % 100, person.birth % 100);
    set("birthDate", person.birth != 0, format!("{year:04}-{month:02}-{day:02}").into());
    let gender = match person.sex {
        b'F' => "female",
        b'M' => "male",
        _ => "other",
    };
    set("gender", person.sex != 0, gender.into());
    let mut address = Map::new();
    if !person.street.is_empty() {
        address.insert("line".into(), json!([person.street]));
    }
    for (name, value) in [("city", person.city), ("postalCode", person.zip)] {
        if !value.is_empty() {
            address.insert(name.into(), value.into());
        }
    }
    set("address", !address.is_empty(), json!([address]));
    set("telecom", !person.phone.is_empty(), json!([{ "system": "phone", "value": person.phone }]));
    patient
}

/// What stands of somebody as a member, without who it is.
pub(super) fn member(change: &str, number: Option<Value>, provider_npi: Option<&str>, period: Option<Value>) -> Value {
    let mut extensions = vec![json!({ "url": format!("{EXTENSIONS}ext-changeType"), "valueCode": change })];
    if let Some(npi) = provider_npi {
        let identifier = json!({ "system": "http://hl7.org/fhir/sid/us-npi", "value": npi });
        let url = format!("{EXTENSIONS}ext-attributedProvider");
        extensions.push(json!({ "url": url, "valueReference": { "identifier": identifier } }));
    }
    let mut member = json!({ "extension": extensions, "entity": {} });
    if let Some(number) = number {
        member["entity"]["identifier"] = number;
    }
    if let Some(period) = period {
        member["period"] = period;
    }
    member
}

/// Sets what the row of a member does.
pub(super) fn set_change(member: &mut Value, change: &str) {
    member["extension"][0]["valueCode"] = change.into();
}

/// A Group of one member.
pub(super) fn alone(mut patient: Value, mut member: Value) -> Value {
    let id = patient["id"].as_str().unwrap_or("member").to_owned();
    patient["id"] = id.as_str().into();
    member["entity"]["reference"] = format!("#{id}").into();
    json!({ "resourceType": "Group", "type": "person", "actual": true, "contained": [patient], "member": [member] })
}

/// Takes members (numbered from 1) out of a list, with their patients where nobody else is meant by these, and puts somebody in; nothing where it is no list.
pub(super) fn change(list: &mut Value, gone: &BTreeSet<u32>, new: Option<(Value, Value)>) -> Option<()> {
    let is_bundle = list["resourceType"] == "Bundle";
    let members = group(list)?.get_mut("member")?.as_array_mut()?;
    let (mut number, mut left) = (0, Vec::new());
    members.retain(|member| {
        number += 1;
        let goes = gone.contains(&number);
        if goes {
            left.push(reference(member));
        }
        !goes
    });
    left.retain(|reference| !reference.is_empty());
    let stay: HashSet<String> = members.iter().map(reference).collect();
    let is_left = |resource: &Value, full_url: &str| {
        let id = resource["id"].as_str().unwrap_or_default();
        let means = |reference: &String| is_to(reference, id, full_url);
        resource["resourceType"] == "Patient" && left.iter().any(means) && !stay.iter().any(means)
    };
    if let Some(contained) = group(list)?.get_mut("contained").and_then(Value::as_array_mut) {
        contained.retain(|one| !is_left(one, ""));
    }
    if let Some(entries) = list.get_mut("entry").and_then(Value::as_array_mut) {
        entries.retain(|entry| !is_left(&entry["resource"], entry["fullUrl"].as_str().unwrap_or_default()));
    }
    if let Some((patient, mut member)) = new {
        let id = patient["id"].as_str()?.to_owned();
        let full_url = format!("urn:uuid:{id}");
        member["entity"]["reference"] = if is_bundle { full_url.clone() } else { format!("#{id}") }.into();
        if is_bundle {
            list.get_mut("entry")?.as_array_mut()?.push(json!({ "fullUrl": full_url, "resource": patient }));
        } else {
            let contained = list.as_object_mut()?.entry("contained").or_insert_with(|| json!([]));
            contained.as_array_mut()?.push(patient);
        }
        group(list)?.get_mut("member")?.as_array_mut()?.push(member);
    }
    let group = group(list)?;
    let count = group["member"].as_array().map_or(0, Vec::len);
    if let Some(quantity) = group.get_mut("quantity") {
        *quantity = count.into();
    }
    Some(())
}

/// The Group of a list.
fn group(list: &mut Value) -> Option<&mut Value> {
    if list["resourceType"] == "Group" {
        return Some(list);
    }
    let entries = list.get_mut("entry")?.as_array_mut()?;
    let mut resources = entries.iter_mut().filter_map(|entry| entry.get_mut("resource"));
    resources.find(|resource| resource["resourceType"] == "Group")
}

fn reference(member: &Value) -> String {
    member["entity"]["reference"].as_str().unwrap_or_default().to_owned()
}

/// Whether a reference is to a Patient, as those who read the list find it.
fn is_to(reference: &str, id: &str, full_url: &str) -> bool {
    if let Some(own) = reference.strip_prefix('#') {
        return own == id;
    }
    let by_tail = reference.strip_suffix(id).and_then(|front| front.strip_suffix("Patient/"));
    !full_url.is_empty() && reference == full_url
        || by_tail.is_some_and(|front| front.is_empty() || front.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Value {
        json!({"resourceType": "Bundle", "entry": [
            {"resource": {"resourceType": "Group", "quantity": 3, "member": [
                {"entity": {"reference": "Patient/1"}}, {"entity": {"reference": "urn:uuid:2"}}, {"entity": {"reference": "https://x/Patient/1"}}]}},
            {"resource": {"resourceType": "Patient", "id": "1"}},
            {"fullUrl": "urn:uuid:2", "resource": {"resourceType": "Patient", "id": "b"}},
            {"resource": {"resourceType": "Organization", "id": "1"}}]})
    }

    fn left(gone: &[u32]) -> (Value, Vec<String>) {
        let mut list = list();
        change(&mut list, &gone.iter().copied().collect(), None).unwrap();
        let ids = list["entry"].as_array().unwrap().iter().skip(1);
        let ids = ids.map(|one| format!("{}/{}", one["resource"]["resourceType"], one["resource"]["id"])).collect();
        (list["entry"][0]["resource"]["quantity"].clone(), ids)
    }

    #[test]
    fn a_patient_goes_with_the_last_member_that_means_them() {
        let names = |all: &[&str]| all.iter().map(|one| one.replace('\'', "\"")).collect::<Vec<_>>();
        let all = ["'Patient'/'1'", "'Patient'/'b'", "'Organization'/'1'"];
        assert_eq!(left(&[1]), (json!(2), names(&all)), "somebody else is that patient");
        assert_eq!(left(&[1, 3]), (json!(1), names(&all[1..])));
        assert_eq!(left(&[2]), (json!(2), names(&[all[0], all[2]])));
    }

    #[test]
    fn who_comes_stands_in_a_bundle_or_within_the_group() {
        let somebody = || Some((json!({"resourceType": "Patient", "id": "n"}), member("new", None, None, None)));
        let mut bundle = list();
        bundle["entry"][0]["resource"]["note"] = serde_json::from_str("1.50").unwrap();
        change(&mut bundle, &BTreeSet::new(), somebody()).unwrap();
        assert_eq!(bundle["entry"][4]["fullUrl"], "urn:uuid:n");
        let group = &bundle["entry"][0]["resource"];
        assert_eq!((&group["member"][3]["entity"]["reference"], &group["quantity"]), (&json!("urn:uuid:n"), &json!(4)));
        assert_eq!(group["note"].to_string(), "1.50", "as it stood");
        let mut group = json!({"resourceType": "Group", "member": []});
        change(&mut group, &BTreeSet::new(), somebody()).unwrap();
        assert_eq!(
            (&group["contained"][0]["id"], &group["member"][0]["entity"]["reference"]),
            (&json!("n"), &json!("#n"))
        );
        assert!(change(&mut json!({"resourceType": "Patient"}), &BTreeSet::new(), None).is_none());
    }
}
