//! What a resource is about, for people.
use serde_json::Value;

/// What a resource is about: by its text, else by what its codes are called, else by a code.
pub fn label_of(resource: &Value) -> String {
    let concepts = ["code", "medicationCodeableConcept", "type", "vaccineCode", "class"];
    let mut found = concepts.iter().filter_map(|name| resource.get(*name)).find_map(concept_text);
    if resource["resourceType"] == "Appointment" {
        let lists = ["appointmentType", "reasonCode", "serviceType"];
        found = lists.iter().filter_map(|name| resource.get(*name)).find_map(concept_text).or(found);
        if let Some(start) = resource["start"].as_str() {
            found = Some(format!("{}, {start}", found.as_deref().unwrap_or("Appointment")));
        }
    }
    if resource["resourceType"] == "CareTeam" {
        let members = resource["participant"].as_array().into_iter().flatten();
        let names: Vec<String> = members
            .filter_map(|one| {
                let who = one["member"]["display"].as_str().or(one["member"]["identifier"]["value"].as_str())?;
                Some(format!("{who} ({})", one["role"][0]["text"].as_str().unwrap_or_default()))
            })
            .collect();
        found = Some(format!("Care team: {}", names.join(", ")));
    }
    let value = value_of(resource).map(|value| format!(": {value}")).unwrap_or_default();
    found.unwrap_or_else(|| resource["resourceType"].as_str().unwrap_or_default().to_owned()) + &value
}

/// How it stands: of what has no `status` by its other states.
pub fn status_of(resource: &Value) -> String {
    if let Some(status) = resource["status"].as_str() {
        return status.to_owned();
    }
    let codes = ["clinicalStatus", "verificationStatus"].map(|name| resource[name]["coding"][0]["code"].as_str());
    codes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn value_of(resource: &Value) -> Option<String> {
    let quantity = &resource["valueQuantity"];
    if let Some(number) = quantity.get("value") {
        let unit = quantity["unit"].as_str().or(quantity["code"].as_str()).unwrap_or_default();
        let comparator = quantity["comparator"].as_str().unwrap_or_default();
        return Some(format!("{comparator}{number} {unit}").trim_end().to_owned());
    }
    let text = resource["valueString"].as_str().map(str::to_owned);
    text.or_else(|| resource.get("valueCodeableConcept").and_then(concept_text))
}

/// Of a CodeableConcept, a Coding, or the first of several.
fn concept_text(value: &Value) -> Option<String> {
    let value = value.get(0).unwrap_or(value);
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let coding = |name: &str| value["coding"].as_array().into_iter().flatten().find_map(|one| text(&one[name]));
    text(&value["text"])
        .or_else(|| coding("display"))
        .or_else(|| coding("code"))
        .or_else(|| text(&value["display"]))
        .or_else(|| text(&value["code"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_read_well() {
        let coded = |code: Value| label_of(&json!({ "resourceType": "Condition", "code": code }));
        assert_eq!(coded(json!({ "coding": [{ "code": "I10", "display": "Hypertension" }] })), "Hypertension");
        assert_eq!(coded(json!({ "coding": [{ "code": "I10" }] })), "I10");
        assert_eq!(coded(json!({})), "Condition");
        let value = json!({ "resourceType": "Observation", "code": { "text": "Glucose" }, "valueQuantity": { "value": 98.5, "unit": "mg/dL" } });
        assert_eq!(label_of(&value), "Glucose: 98.5 mg/dL");
    }
}
