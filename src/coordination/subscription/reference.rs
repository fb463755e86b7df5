//! References between resources that are sent together, in the form that their envelope has for them.
//!
//! What comes from a translation refers by `urn:uuid:ID`. In a notification the resources stand under their URLs and refer by `Type/ID`; in a message under
//! `urn:uuid:ID`, and refer so.
use crate::fhir::identity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How resources refer to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `Encounter/6f1c…`
    Relative,
    /// `urn:uuid:6f1c…`
    Urn,
}

/// Type and id of a resource; none where it has none, and so cannot be referred to.
pub(super) fn named(resource: &Value) -> Option<(&str, &str)> {
    let name = resource["resourceType"].as_str().filter(|name| !name.is_empty())?;
    Some((name, resource["id"].as_str().filter(|id| !id.is_empty())?))
}

/// `urn:uuid:…` of a resource: of its id where that is a UUID, else of one that is made of type and id.
pub(super) fn urn(name: &str, id: &str) -> String {
    format!("urn:uuid:{}", uuid(name, id))
}

/// The id that a resource has in a message.
pub(super) fn uuid(name: &str, id: &str) -> String {
    let digits = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let parts: Vec<&str> = id.split('-').collect();
    let is_uuid = parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| digits(part, length));
    if is_uuid {
        return id.to_owned();
    }
    super::id_of(&[b"resource", b"|", name.as_bytes(), b"/", id.as_bytes()])
}

/// The resources with their references in one form. One that leads to none of them, and could only have, is taken out: what else is told of the target stays.
pub(super) fn linked(resources: &[Value], form: Form) -> Vec<Value> {
    let mut known = BTreeMap::new();
    for (name, id) in resources.iter().filter_map(named) {
        let target = match form {
            Form::Relative => format!("{name}/{id}"),
            Form::Urn => urn(name, id),
        };
        known.insert(format!("urn:uuid:{id}"), target.clone());
        known.insert(format!("{name}/{id}"), target);
    }
    let mut all = resources.to_vec();
    for resource in &mut all {
        link(resource, &known);
    }
    all
}

/// What [`linked`] makes of one resource, `Type/ID` as the form, without a tree of it: `json` is compact, and `kind` tells the type of each resource of a translation by its id.
pub(super) fn relinked<'k>(json: &str, kind: impl Fn(&str) -> Option<&'k str>) -> String {
    // Between quotes that are not escaped, and before a colon, it can only be the name of a member.
    const KEY: &str = "\"reference\":\"";
    let mut out = String::with_capacity(json.len() + 64);
    let mut rest = json;
    while let Some(at) = rest.find(KEY) {
        let (before, after) = (&rest[..at], &rest[at + KEY.len()..]);
        let end = after.find('"').unwrap_or(after.len());
        let (target, behind) = after.split_at(end);
        out.push_str(before);
        // One with an escape is of somebody else, and not at its end yet.
        let id = target.strip_prefix("urn:uuid:").filter(|id| !id.contains('\\'));
        match (id, id.and_then(&kind)) {
            (Some(id), Some(kind)) => {
                out.extend([KEY, kind, "/", id]);
                rest = behind;
            }
            (Some(_), None) => rest = without(&mut out, behind.strip_prefix('"').unwrap_or_default()),
            (None, _) => {
                out.extend([KEY, target]);
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Leaves a member out that `out` ends before; what comes behind it.
fn without<'j>(out: &mut String, behind: &'j str) -> &'j str {
    match (out.ends_with('{'), behind.strip_prefix(',')) {
        (true, Some(next)) => next,
        (true, None) => {
            out.push_str("\"display\":\"not disclosed\"");
            behind
        }
        (false, _) => {
            out.truncate(out.trim_end_matches(',').len());
            behind
        }
    }
}

fn link(resource: &mut Value, known: &BTreeMap<String, String>) {
    let mut waiting = vec![resource];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items.iter_mut()),
            Value::Object(object) => {
                let reference = object.get("reference").and_then(Value::as_str);
                let target = reference.and_then(|reference| known.get(reference));
                if let Some(target) = target {
                    object.insert("reference".into(), json!(target));
                } else if reference.is_some_and(|reference| reference.starts_with("urn:uuid:")) {
                    object.shift_remove("reference");
                    if object.is_empty() {
                        object.insert("display".into(), json!("not disclosed"));
                    }
                }
                waiting.extend(object.iter_mut().map(|(_, value)| value));
            }
            _ => {}
        }
    }
}

/// The 36 characters of an id that is made of these pieces.
pub(super) fn made_of(namespace: &[u8; 16], pieces: &[&[u8]]) -> String {
    String::from_utf8_lossy(&identity::text(&identity::version_5(namespace, pieces))).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_follow_the_envelope() {
        let id = "0a300ee9-f9e4-5697-a51a-efc7fafaba67";
        let resources = [
            json!({"resourceType": "Patient", "id": id}),
            json!({"resourceType": "Organization", "id": "org.1"}),
            json!({"resourceType": "Encounter", "id": "e", "subject": {"reference": format!("urn:uuid:{id}")},
                "participant": [{"individual": {"reference": "urn:uuid:gone"}}, {"individual": {"reference": "urn:uuid:gone", "display": "X"}}],
                "serviceProvider": {"reference": "Organization/org.1"}, "partOf": {"reference": "Encounter/other"}}),
        ];
        let relative = linked(&resources, Form::Relative);
        assert_eq!(relative[2]["subject"]["reference"], format!("Patient/{id}"));
        assert_eq!(relative[2]["serviceProvider"]["reference"], "Organization/org.1");
        assert_eq!(relative[2]["participant"][0]["individual"], json!({"display": "not disclosed"}));
        assert_eq!(relative[2]["participant"][1]["individual"], json!({"display": "X"}));
        assert_eq!(relative[2]["partOf"]["reference"], "Encounter/other");
        let kinds = |of: &str| (of == id).then_some("Patient");
        let same = |one: &Value| serde_json::from_str::<Value>(&relinked(&one.to_string(), kinds)).unwrap();
        assert_eq!(resources.iter().map(same).collect::<Vec<_>>(), relative);
        let others = json!({ "a": { "reference": "urn:uuid:gone", "display": "X \\\"reference\\\":\\\"urn:uuid:gone" }, "b": [{ "display": "X", "reference": "urn:uuid:gone" }],
            "c": { "display": "X", "reference": "urn:uuid:gone", "type": "Y" }, "reference": "reference", "d": { "reference": format!("urn:uuid:{id}") } });
        assert_eq!(same(&others), linked(&[others, resources[0].clone()], Form::Relative)[0]);
        let urns = linked(&resources, Form::Urn);
        assert_eq!(urns[2]["subject"]["reference"], format!("urn:uuid:{id}"));
        assert_eq!(urns[2]["serviceProvider"]["reference"], urn("Organization", "org.1"));
        assert_eq!(urn("Organization", "org.1").len(), 45);
        assert_ne!(urn("Organization", "org.1"), urn("Patient", "org.1"));
    }
}
