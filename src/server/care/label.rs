//! What a resource is about, for people.
use crate::fhir::tree::Tree;

/// What a resource is about: by its text, else by what its codes are called, else by a code.
pub fn label_of<T: Tree>(resource: &T) -> String {
    let concepts = ["code", "medicationCodeableConcept", "type", "vaccineCode", "class"];
    let mut found = concepts.iter().filter_map(|name| resource.get(name)).find_map(concept_text);
    let kind = resource.text_of("resourceType").unwrap_or_default();
    if kind == "Appointment" {
        let lists = ["appointmentType", "reasonCode", "serviceType"];
        found = lists.iter().filter_map(|name| resource.get(name)).find_map(concept_text).or(found);
        if let Some(start) = resource.text_of("start") {
            found = Some(format!("{}, {start}", found.as_deref().unwrap_or("Appointment")));
        }
    }
    if kind == "CareTeam" {
        let names = resource.each("participant").filter_map(|one| {
            let member = one.get("member")?;
            let number = || member.get("identifier")?.text_of("value");
            let who = member.text_of("display").or_else(number)?;
            let role = one.each("role").next().and_then(|role| role.text_of("text"));
            Some(format!("{who} ({})", role.unwrap_or_default()))
        });
        found = Some(format!("Care team: {}", names.collect::<Vec<_>>().join(", ")));
    }
    let value = value_of(resource).map(|value| format!(": {value}")).unwrap_or_default();
    found.unwrap_or_else(|| kind.to_owned()) + &value
}

/// How it stands: of what has no `status` by its other states.
pub fn status_of<T: Tree>(resource: &T) -> String {
    if let Some(status) = resource.text_of("status") {
        return status.to_owned();
    }
    let code = |name: &str| resource.get(name)?.each("coding").next()?.text_of("code");
    let codes = ["clinicalStatus", "verificationStatus"].map(code);
    codes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn value_of<T: Tree>(resource: &T) -> Option<String> {
    let quantity = resource.get("valueQuantity");
    if let Some((quantity, number)) = quantity.and_then(|quantity| Some((quantity, quantity.get("value")?.number()?))) {
        let unit = quantity.text_of("unit").or(quantity.text_of("code")).unwrap_or_default();
        let comparator = quantity.text_of("comparator").unwrap_or_default();
        return Some(format!("{comparator}{number} {unit}").trim_end().to_owned());
    }
    let text = resource.text_of("valueString").map(str::to_owned);
    text.or_else(|| resource.get("valueCodeableConcept").and_then(concept_text))
}

/// Of a CodeableConcept, a Coding, or the first of several.
fn concept_text<T: Tree>(value: &T) -> Option<String> {
    let value = value.list().and_then(<[T]>::first).unwrap_or(value);
    let text = |value: &T, name: &str| value.text_of(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let coding = |name: &str| value.each("coding").find_map(|one| text(one, name));
    text(value, "text")
        .or_else(|| coding("display"))
        .or_else(|| coding("code"))
        .or_else(|| text(value, "display"))
        .or_else(|| text(value, "code"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::tree::Node;
    use serde_json::{Value, json};

    #[test]
    fn resources_read_well() {
        let coded = |code: Value| label_of(&json!({ "resourceType": "Condition", "code": code }));
        assert_eq!(coded(json!({ "coding": [{ "code": "I10", "display": "Hypertension" }] })), "Hypertension");
        assert_eq!(coded(json!({ "coding": [{ "code": "I10" }] })), "I10");
        assert_eq!(coded(json!({})), "Condition");
        let value = json!({ "resourceType": "Observation", "code": { "text": "Glucose" }, "valueQuantity": { "value": 98.5, "unit": "mg/dL" } });
        assert_eq!(label_of(&value), "Glucose: 98.5 mg/dL");
        let text = value.to_string();
        assert_eq!(label_of(&Node::parse(&text).unwrap()), label_of(&value));
        let team = json!({ "resourceType": "CareTeam", "status": "active", "participant": [{ "role": [{ "text": "pcp" }], "member": { "identifier": { "value": "9990003037" } } }] });
        assert_eq!((label_of(&team), status_of(&team)), ("Care team: 9990003037 (pcp)".into(), "active".into()));
    }
}
