//! Marks what stays with what it is: `meta.security` of each resource that carries a cleared label, and of the Bundle.
//!
//! A Bundle is as confidential as the most confidential of what is in it. Nothing says that something was taken out: that alone would tell of it.
use super::label::{Labels, Set, TooDeep};
use serde_json::{Map, Value, json};

/// From the least on (v3 Confidentiality).
pub(super) const LEVELS: [&str; 6] = ["U", "L", "M", "N", "R", "V"];
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// Marks a Bundle and its resources; the labels in it.
///
/// # Errors
/// A Bundle that is too deep.
pub(super) fn mark(labels: &Labels, bundle: &mut Value) -> Result<Set, TooDeep> {
    let mut all = Set::EMPTY;
    for entry in bundle.get_mut("entry").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(resource) = entry.get_mut("resource") else { continue };
        let own = labels.of_value(resource)?;
        all = all.with(own);
        mark_one(labels, resource, own);
    }
    if let Value::Object(bundle) = bundle {
        add(bundle, codings(labels, all));
    }
    Ok(all)
}

/// Marks a resource that carries labels.
pub(super) fn mark_one(labels: &Labels, resource: &mut Value, own: Set) {
    if !own.is_empty()
        && let Value::Object(resource) = resource
    {
        add(resource, codings(labels, own));
    }
}

/// The level, then labels and policies. Without a label it is normal.
fn codings(labels: &Labels, set: Set) -> Vec<Value> {
    let rank = |conf: &str| LEVELS.iter().position(|level| *level == conf).unwrap_or(LEVELS.len() - 1);
    let level = labels.labels(set).map(|label| rank(&label.conf)).max().unwrap_or(rank("N"));
    let mut codings = vec![json!({ "system": CONFIDENTIALITY, "code": LEVELS.get(level).unwrap_or(&"V") })];
    for label in labels.labels(set) {
        // What is restricted without a reason is a level and no more.
        if !LEVELS.contains(&label.code.as_str()) {
            codings.push(json!({ "system": ACT_CODE, "code": label.code }));
        }
        if let Some(policy) = &label.policy {
            let of_hl7 = ["42CFRPart2", "HIPAA", "Title38"].iter().any(|start| policy.starts_with(start));
            codings.push(if of_hl7 {
                json!({ "system": ACT_CODE, "code": policy })
            } else {
                json!({ "display": policy })
            });
        }
    }
    codings
}

fn add(resource: &mut Map<String, Value>, codings: Vec<Value>) {
    if !resource.contains_key("meta") {
        let place = resource.keys().take_while(|key| matches!(key.as_str(), "resourceType" | "id")).count();
        resource.shift_insert(place, "meta".into(), json!({}));
    }
    let Some(Value::Object(meta)) = resource.get_mut("meta") else { return };
    let Value::Array(list) = meta.entry("security").or_insert_with(|| json!([])) else { return };
    let same = |one: &Value, other: &Value| {
        one.get("system") == other.get("system")
            && one.get("code") == other.get("code")
            && one.get("display").or(other.get("code")).is_some()
    };
    for coding in codings {
        if !list.iter().any(|known| same(known, &coding) && (coding.get("code").is_some() || known == &coding)) {
            list.push(coding);
        }
    }
}
