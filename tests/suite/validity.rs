//! Every Bundle is valid R4: by our own table, walked generically, and by the typed R4B models of fhir-sdk.
mod types;

use super::fixtures::{fixtures, messages, plan};
use fhir_sdk::r4b::resources::{Bundle, Resource};
use handoff::fhir::shape::{self, Element, TypeRef};
use handoff::mapping::{Context, Scratch};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Where R4B (4.3.0) or fhir-sdk differs from R4 (4.0.1) in what we write: part of the path and of the message, and the reason.
const R4B_DIFFERS: &[(&str, &str, &str)] = &[
    (
        "MessageHeader",
        "missing field `endpoint`",
        "source.endpoint is unknown: `_endpoint` with a data-absent-reason is valid FHIR, fhir-sdk wants the value itself",
    ),
    ("MessageHeader", "missing field `identifier`", "the same of response.identifier, where MSA-2 is no FHIR id"),
    ("Immunization", "missing field `status`", "the same of status, where RXA-20 is no code that is known"),
    ("ResearchStudy", "missing field `status`", "the same of status, which CTI does not tell"),
    ("ChargeItemDefinition", "missing field `url`", "the same of url, which MFN-M04 does not tell"),
    (
        "Immunization",
        "no variant of enum ImmunizationOccurrence",
        "the same of occurrenceDateTime, where RXA-3 is empty",
    ),
];

#[test]
fn fixtures_give_valid_bundles() {
    let mut scratch = Scratch::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for fixture in fixtures().iter().filter(|fixture| !fixture.refused()) {
        for raw in messages(&fixture.raw) {
            if let Err(failure) = plan().translate(&raw, &Context::default(), &mut scratch) {
                wrong.push(format!("{}: {failure}", fixture.name));
                continue;
            }
            count += 1;
            wrong.extend(mistakes(scratch.bundle()).into_iter().map(|mistake| format!("{}: {mistake}", fixture.name)));
        }
    }
    assert!(count > 50);
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_walk_finds_mistakes() {
    let bundle = |resource: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"message","entry":[{{"fullUrl":"urn:uuid:00000000-0000-5000-8000-000000000001","resource":{{"resourceType":"MessageHeader","id":"00000000-0000-5000-8000-000000000001",{resource}}}}}]}}"#
        )
    };
    let good = r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"}"#;
    assert_eq!(walk(bundle(good).as_bytes()), Vec::<String>::new());
    for (bad, expected) in [
        (r#""source":{"endpoint":"urn:x"}"#, "event[x]"),
        (r#""eventCoding":{"code":"A01"},"eventUri":"urn:x","source":{"endpoint":"urn:x"}"#, "more than one"),
        (r#""eventCoding":{"kode":"A01"},"source":{"endpoint":"urn:x"}"#, "unknown"),
        (
            r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"},"focus":[{"reference":"urn:uuid:none"}]"#,
            "leads nowhere",
        ),
        (r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"},"focus":[]"#, "empty"),
        (r#""eventCoding":{"code":""},"source":{"endpoint":"urn:x"}"#, "code"),
        (
            r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"},"response":{"identifier":"a","code":"fine"}"#,
            "not allowed",
        ),
        (r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"},"focus":{"display":"x"}"#, "list"),
        (r#""eventCoding":{"code":"A01"},"source":{"endpoint":["urn:x"]}"#, "list"),
        (r#""eventCoding":{"code":"A01"},"source":{"endpoint":"urn:x"},"sender":null"#, "null"),
    ] {
        let found = walk(bundle(bad).as_bytes());
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{expected}: {found:?}");
    }
}

/// What is wrong with a Bundle, by both judges.
pub fn mistakes(bundle: &[u8]) -> Vec<String> {
    let mut found = walk(bundle);
    let Ok(mut value) = serde_json::from_slice::<Value>(bundle) else { return found };
    shortened(&mut value);
    let mut refused = |place: String, error: serde_json::Error| {
        let text = error.to_string();
        if !R4B_DIFFERS.iter().any(|(path, message, _)| place.contains(path) && text.contains(message)) {
            found.push(format!("{place}: fhir-sdk: {text}"));
        }
    };
    for (at, entry) in value["entry"].as_array().into_iter().flatten().enumerate() {
        if let Err(error) = serde_json::from_value::<Resource>(entry["resource"].clone()) {
            refused(
                format!("Bundle.entry[{at}].resource({})", entry["resource"]["resourceType"].as_str().unwrap_or("")),
                error,
            );
        }
    }
    value["entry"] = Value::Array(Vec::new());
    if let Err(error) = serde_json::from_value::<Bundle>(value) {
        refused("Bundle".into(), error);
    }
    found
}

/// Makes decimals what f64 prints: where fhir-sdk buffers, serde_json hands over others as text, which it does not take.
fn shortened(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_i64().is_none() => {
            if let Some(short) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = short;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shortened),
        Value::Object(object) => object.values_mut().for_each(shortened),
        _ => {}
    }
}

/// What is wrong with any resource by both judges, but for where its references lead: a server knows that, no table.
pub fn shaped(value: &Value) -> Vec<String> {
    let mut walk = Walk::default();
    walk.resource(value, "");
    walk.mistakes.retain(|mistake| !mistake.ends_with("leads nowhere"));
    let mut short = value.clone();
    shortened(&mut short);
    if let Err(error) = serde_json::from_value::<Resource>(short) {
        walk.mistakes.push(format!("fhir-sdk: {error}"));
    }
    walk.mistakes
}

/// What is wrong with a Bundle by our own table.
pub fn walk(bundle: &[u8]) -> Vec<String> {
    let value: Value = match serde_json::from_slice(bundle) {
        Ok(value) => value,
        Err(error) => return vec![format!("no JSON: {error}")],
    };
    let mut walk = Walk::default();
    for entry in value["entry"].as_array().into_iter().flatten() {
        let (url, resource) = (entry["fullUrl"].as_str().unwrap_or(""), &entry["resource"]);
        let kind = resource["resourceType"].as_str().unwrap_or("").to_owned();
        if walk.urls.insert(url.to_owned(), kind).is_some() {
            walk.wrong("Bundle.entry", format!("{url} stands twice"));
        }
        if url.strip_prefix("urn:uuid:") != resource["id"].as_str() {
            walk.wrong("Bundle.entry", format!("{url} is not the id of its resource"));
        }
    }
    if value["type"] == "message" && value["entry"][0]["resource"]["resourceType"] != "MessageHeader" {
        walk.wrong("Bundle", "does not begin with a MessageHeader".into());
    }
    walk.resource(&value, "");
    walk.mistakes
}

#[derive(Default)]
struct Walk {
    mistakes: Vec<String>,
    /// fullUrl → resource type.
    urls: BTreeMap<String, String>,
    /// Ids of what the resource at hand contains → resource type.
    contained: BTreeMap<String, String>,
    /// Of these, what is referred to.
    referred: BTreeSet<String>,
}

impl Walk {
    fn wrong(&mut self, path: &str, what: String) {
        self.mistakes.push(format!("{path}: {what}"));
    }

    fn resource(&mut self, value: &Value, path: &str) {
        let kind = value["resourceType"].as_str().unwrap_or("");
        let path = if path.is_empty() { kind.to_owned() } else { format!("{path}({kind})") };
        let Value::Object(object) = value else { return self.wrong(&path, "is no object".into()) };
        if !shape::is_resource(kind) {
            return self.wrong(&path, format!("`{kind}` is no resource of R4"));
        }
        let inner = path.contains(".contained[");
        if !inner {
            self.contained.clear();
            self.referred.clear();
            for one in value["contained"].as_array().into_iter().flatten() {
                let (id, kind) = (one["id"].as_str().unwrap_or(""), one["resourceType"].as_str().unwrap_or(""));
                if id.is_empty() || self.contained.insert(id.into(), kind.into()).is_some() {
                    self.wrong(&path, format!("contained id `{id}` is empty or stands twice"));
                }
            }
        } else if object.contains_key("contained") {
            self.wrong(&path, "contained within contained (dom-2)".into());
        }
        self.object(kind, object, &path);
        if !inner && kind != "Bundle" {
            let lonely: Vec<String> =
                self.contained.keys().filter(|id| !self.referred.contains(*id)).cloned().collect();
            for id in lonely {
                self.wrong(&path, format!("nothing refers to contained `{id}` (dom-3)"));
            }
        }
    }

    fn object(&mut self, parent: &str, object: &Map<String, Value>, path: &str) {
        if object.is_empty() {
            return self.wrong(path, "is empty".into());
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in object {
            if key == "resourceType" && shape::is_resource(parent) {
                continue;
            }
            let below = format!("{path}.{key}");
            let name = key.strip_prefix('_').unwrap_or(key);
            let plain = shape::child(parent, name).filter(|element| element.name == name && !element.is_choice());
            let found = plain.map(|element| (element, &element.types[0])).or_else(|| shape::choice(parent, name));
            let Some((element, kind)) = found else {
                self.wrong(&below, format!("unknown in {parent}"));
                continue;
            };
            if seen.insert(element.name, name).is_some_and(|other| other != name) {
                self.wrong(&below, format!("more than one {}", element.name));
            }
            if key.starts_with('_') {
                self.beside(element, kind, value, &below);
            } else {
                self.element(parent, element, kind, value, object.get(&format!("_{key}")), &below);
            }
        }
        for element in shape::children(parent) {
            if element.min > 0 && !seen.contains_key(element.name) {
                self.wrong(path, format!("required `{}` is missing", element.name));
            }
        }
        self.rules(parent, object, path);
    }

    /// Rules that the table does not hold.
    fn rules(&mut self, parent: &str, object: &Map<String, Value>, path: &str) {
        match parent {
            "Extension" => {
                let value = object.keys().any(|key| key.trim_start_matches('_').starts_with("value"));
                if value == object.contains_key("extension") {
                    self.wrong(path, "an extension has either a value or extensions (ext-1)".into());
                }
            }
            "Period" => {
                if let (Some(start), Some(end)) =
                    (object.get("start").and_then(Value::as_str), object.get("end").and_then(Value::as_str))
                {
                    let same = start.len().min(end.len()).min(10);
                    if start[..same] > end[..same] {
                        self.wrong(path, format!("ends at {end}, before it starts at {start} (per-1)"));
                    }
                }
            }
            _ if object.keys().all(|key| key == "id") && !shape::is_resource(parent) => {
                self.wrong(path, "says nothing (ele-1)".into())
            }
            _ => {}
        }
    }

    fn element(
        &mut self,
        parent: &str,
        element: &Element,
        kind: &TypeRef,
        value: &Value,
        beside: Option<&Value>,
        path: &str,
    ) {
        let Value::Array(items) = value else {
            if element.many {
                return self.wrong(path, "must be a list".into());
            }
            return self.value(parent, element, kind, value, path);
        };
        if !element.many {
            return self.wrong(path, "is a list, yet written once".into());
        }
        if items.is_empty() {
            self.wrong(path, "is empty".into());
        }
        for (at, item) in items.iter().enumerate() {
            // A null keeps the place of an item that only has extensions.
            let replaced = beside.and_then(|list| list.get(at)).is_some_and(Value::is_object);
            if !(item.is_null() && replaced) {
                self.value(parent, element, kind, item, &format!("{path}[{at}]"));
            }
        }
    }

    /// `_birthDate`: id and extensions of a primitive.
    fn beside(&mut self, element: &Element, kind: &TypeRef, value: &Value, path: &str) {
        if !shape::is_primitive(kind.name) {
            return self.wrong(path, "only primitives have extensions beside them".into());
        }
        let items = match value {
            Value::Array(items) if element.many => items.iter().filter(|item| !item.is_null()).collect(),
            other => vec![other],
        };
        for item in items {
            match item {
                Value::Object(object) => self.object("Element", object, path),
                _ => self.wrong(path, "must be an object".into()),
            }
        }
    }

    fn value(&mut self, parent: &str, element: &Element, kind: &TypeRef, value: &Value, path: &str) {
        let codes = element.required_codes.and_then(shape::required_codes);
        if shape::is_primitive(kind.name) || kind.name.starts_with("http:") {
            if let Err(what) = types::primitive(kind.name, value) {
                self.wrong(path, what);
            } else if let (Some(codes), Some(code)) = (codes, value.as_str())
                && !codes.contains(code)
            {
                self.wrong(path, format!("`{code}` is not allowed"));
            }
            return;
        }
        let Value::Object(object) = value else {
            let what = if value.is_null() { "is null" } else { "must be an object" };
            return self.wrong(path, what.into());
        };
        if kind.name == "Resource" {
            return self.resource(value, path);
        }
        self.object(shape::child_type(parent, element, kind.name), object, path);
        if let Some(codes) = codes {
            let codings = object
                .get("coding")
                .and_then(Value::as_array)
                .map_or_else(|| vec![value], |list| list.iter().collect());
            let found = codings.iter().filter_map(|coding| coding["code"].as_str()).any(|code| codes.contains(code));
            if !found {
                self.wrong(path, format!("none of the codes that {} allows", element.required_codes.unwrap_or("")));
            }
        }
        if kind.name == "Reference" {
            self.reference(kind, object, path);
        }
    }

    fn reference(&mut self, kind: &TypeRef, object: &Map<String, Value>, path: &str) {
        let Some(reference) = object.get("reference").and_then(Value::as_str) else { return };
        let found = match reference.strip_prefix('#') {
            Some(id) => {
                self.referred.insert(id.to_owned());
                self.contained.get(id)
            }
            None => self.urls.get(reference),
        };
        match found.cloned() {
            None => self.wrong(path, format!("{reference} leads nowhere")),
            Some(to)
                if !kind.targets.is_empty()
                    && !kind.targets.contains(&to.as_str())
                    && !kind.targets.contains(&"Resource") =>
            {
                self.wrong(path, format!("may not refer to {to}"));
            }
            Some(_) => {}
        }
    }
}
