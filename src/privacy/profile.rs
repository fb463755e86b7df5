//! `fields_profile = "cop-minimum"`: patient name, practitioner, institution, event and time, and no more. Of a step of a loop: what has to happen, of whom, by whom, until when, and
//! whether it has; not why, nor what closed it.
use serde_json::Value;

/// Types and their elements. `resourceType` and `id` always stay; identifiers only where there is no name to tell an institution by.
const COP_MINIMUM: [(&str, &[&str]); 7] = [
    ("MessageHeader", &["eventCoding", "eventUri", "source", "sender", "focus"]),
    ("Patient", &["name"]),
    ("Encounter", &["status", "class", "subject", "participant", "period", "serviceProvider"]),
    ("Practitioner", &["name"]),
    ("PractitionerRole", &["practitioner", "organization"]),
    ("Organization", &["name"]),
    ("Task", &["status", "intent", "code", "for", "owner", "restriction"]),
];

/// Whether resources of a type stay.
pub(super) fn has(kind: &str) -> bool {
    COP_MINIMUM.iter().any(|(known, _)| *known == kind)
}

/// Takes out all elements that are not listed.
pub(super) fn cop_minimum(bundle: &mut Value) {
    if let Value::Object(object) = &mut *bundle {
        object.retain(|key, _| matches!(key.as_str(), "resourceType" | "id" | "type" | "timestamp" | "entry"));
    }
    for entry in bundle.get_mut("entry").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(Value::Object(resource)) = entry.get_mut("resource") else { continue };
        let kind = resource.get("resourceType").and_then(Value::as_str).unwrap_or("");
        let elements = COP_MINIMUM.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, elements)| elements);
        let nameless = kind == "Organization" && !resource.contains_key("name");
        resource.retain(|key, _| {
            matches!(key.as_str(), "resourceType" | "id")
                || elements.contains(&key.trim_start_matches('_'))
                || (nameless && key == "identifier")
        });
    }
}
