//! Paths of facts: `Patient.birthDate`, `Observation[code.coding.code=2345-7].value[x]`, `Encounter.subject->Patient.gender`.
//!
//! A step without a number means all elements of a list; `->` follows a reference within the Bundle or to what is contained.
use crate::fhir::shape;
use serde_json::Value;

/// A path, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    /// Through the reference before it.
    follow: bool,
    picks: Vec<Pick>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pick {
    /// `[0]`.
    Number(usize),
    /// `(2)`, the second resource of its type, as `handoff explain` counts them.
    Ordinal(usize),
    /// `[x]`: whatever type was chosen.
    Choice,
    /// `[code.coding.code=2345-7]`.
    Where(Path, String),
}

/// A value that a path leads to.
#[derive(Clone)]
pub(super) struct Place<'v> {
    pub value: &'v Value,
    /// The Bundle that it is in, by number.
    pub bundle: usize,
    /// `Bundle.entry[3].resource.birthDate`.
    pub path: String,
    /// The resource of the entry around it.
    resource: Option<&'v Value>,
}

/// Brackets within brackets.
const DEPTH_MAX: usize = 8;

impl Path {
    /// Reads a path; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Path, String> {
        let path = Path { steps: steps(text, 0)? };
        path.check()?;
        Ok(path)
    }

    /// An element that FHIR does not have would be absent for ever; that is a typing error.
    fn check(&self) -> Result<(), String> {
        let Some(first) = self.steps.first() else { return Ok(()) };
        let mut parent = first.name.as_str();
        if !shape::is_resource(parent) {
            return Err(format!(
                "`{parent}` is no resource of FHIR R4; a path begins with one, such as Patient.birthDate"
            ));
        }
        filters(first, parent)?;
        for step in &self.steps[1..] {
            if step.follow && shape::is_resource(&step.name) {
                parent = step.name.as_str();
                filters(step, parent)?;
                continue;
            }
            // Behind a reference it may be any resource.
            let Some(known) = child_type(parent, step)? else { return Ok(()) };
            filters(step, known)?;
            parent = known;
        }
        Ok(())
    }

    /// All places in these Bundles, in their order.
    pub fn places<'v>(&self, bundles: &'v [Value]) -> Vec<Place<'v>> {
        let Some((first, rest)) = self.steps.split_first() else { return Vec::new() };
        let mut found: Vec<Place<'v>> = Vec::new();
        for (bundle, value) in bundles.iter().enumerate() {
            let root = Place { value, bundle, path: "Bundle".into(), resource: None };
            if first.name == "Bundle" {
                found.push(root.clone());
                continue;
            }
            for (number, entry) in value["entry"].as_array().into_iter().flatten().enumerate() {
                let value = &entry["resource"];
                if value["resourceType"] == first.name.as_str() {
                    let path = format!("Bundle.entry[{number}].resource");
                    found.push(Place { value, bundle, path, resource: Some(value) });
                }
            }
        }
        let found = picked(found, &first.picks, bundles);
        walk(found, rest, bundles)
    }
}

fn walk<'v>(mut found: Vec<Place<'v>>, steps: &[Step], bundles: &'v [Value]) -> Vec<Place<'v>> {
    for step in steps {
        let mut next = Vec::new();
        for place in found {
            let target = if step.follow { followed(&place, bundles) } else { Some(place) };
            let Some(place) = target else { continue };
            // `->Patient` only says what the target is.
            let below = if step.follow && shape::is_resource(&step.name) {
                if place.value["resourceType"] == step.name.as_str() { vec![place] } else { Vec::new() }
            } else {
                children(&place, step)
            };
            next.extend(picked(below, &step.picks, bundles));
        }
        found = next;
    }
    found
}

fn children<'v>(place: &Place<'v>, step: &Step) -> Vec<Place<'v>> {
    let Value::Object(object) = place.value else { return Vec::new() };
    let named = |key: &str| match step.picks.contains(&Pick::Choice) {
        true => key.strip_prefix(&step.name).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())),
        false => key == step.name,
    };
    let mut found = Vec::new();
    for (key, value) in object.iter().filter(|(key, _)| named(key)) {
        let path = format!("{}.{key}", place.path);
        let at = |value, path| Place { value, path, bundle: place.bundle, resource: place.resource };
        match value {
            Value::Array(items) => {
                let items = items.iter().enumerate().filter(|(_, item)| !item.is_null());
                found.extend(items.map(|(number, item)| at(item, format!("{path}[{number}]"))));
            }
            value => found.push(at(value, path)),
        }
    }
    found
}

fn picked<'v>(mut found: Vec<Place<'v>>, picks: &[Pick], bundles: &'v [Value]) -> Vec<Place<'v>> {
    for pick in picks {
        match pick {
            Pick::Choice => {}
            Pick::Number(number) => found = found.into_iter().skip(*number).take(1).collect(),
            Pick::Ordinal(number) => found = found.into_iter().skip(number.saturating_sub(1)).take(1).collect(),
            Pick::Where(path, wanted) => found.retain(|place| {
                let below = walk(vec![place.clone()], &path.steps, bundles);
                below.iter().any(|place| text(place.value) == *wanted)
            }),
        }
    }
    found
}

/// The resource that a Reference leads to.
fn followed<'v>(place: &Place<'v>, bundles: &'v [Value]) -> Option<Place<'v>> {
    let reference = place.value.get("reference").and_then(Value::as_str)?;
    let bundle = place.bundle;
    if let Some(id) = reference.strip_prefix('#') {
        let all = place.resource?.get("contained").and_then(Value::as_array)?;
        let (number, value) = all.iter().enumerate().find(|(_, one)| one["id"] == id)?;
        let around = place.path.find("].resource").map_or(place.path.len(), |at| at + "].resource".len());
        let path = format!("{}.contained[{number}]", &place.path[..around]);
        return Some(Place { value, bundle, path, resource: place.resource });
    }
    let entries = bundles.get(bundle)?.get("entry").and_then(Value::as_array)?;
    let (number, entry) = entries.iter().enumerate().find(|(_, entry)| entry["fullUrl"] == reference)?;
    let value = entry.get("resource")?;
    Some(Place { value, bundle, path: format!("Bundle.entry[{number}].resource"), resource: Some(value) })
}

/// A scalar as people write it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The type below an element; none where it may be any.
fn child_type(parent: &str, step: &Step) -> Result<Option<&'static str>, String> {
    if step.follow {
        return Ok(None);
    }
    let beside = step.name.strip_prefix('_');
    let name = beside.unwrap_or(&step.name);
    let wanted = if step.picks.contains(&Pick::Choice) { format!("{name}[x]") } else { name.to_owned() };
    let spelled = shape::choice(parent, name).filter(|_| shape::children(parent).iter().all(|e| e.name != name));
    let Some(element) = shape::child(parent, &wanted).filter(|e| spelled.is_some() || e.name == wanted) else {
        let near = shape::suggestions(parent, name);
        let help = if near.is_empty() { String::new() } else { format!("; did you mean `{}`?", near.join("` or `")) };
        return Err(format!("{parent} has no element `{wanted}`{help}"));
    };
    if beside.is_some() {
        return Ok(Some("Element"));
    }
    let kind = match (spelled, element.types.as_slice()) {
        (Some((_, kind)), _) => kind,
        (None, [kind]) => kind,
        _ => return Ok(None),
    };
    if kind.name == "Resource" || kind.name.starts_with("http:") {
        return Ok(None);
    }
    Ok(Some(shape::child_type(parent, element, kind.name)))
}

fn filters(step: &Step, parent: &str) -> Result<(), String> {
    for pick in &step.picks {
        let Pick::Where(path, _) = pick else { continue };
        let mut parent = parent;
        for step in &path.steps {
            match child_type(parent, step)? {
                Some(known) => parent = known,
                None => break,
            }
        }
    }
    Ok(())
}

fn steps(text: &str, depth: usize) -> Result<Vec<Step>, String> {
    if depth > DEPTH_MAX {
        return Err("too many brackets within brackets".into());
    }
    let mut found = Vec::new();
    let (mut rest, mut follow) = (text, false);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(match rest.chars().next() {
                Some(other) => format!("expected the name of an element before `{other}`"),
                None => "expected the name of an element at the end".into(),
            });
        }
        let mut step = Step { name: rest[..end].to_owned(), follow, picks: Vec::new() };
        rest = &rest[end..];
        while let Some((pick, behind)) = pick(rest, depth)? {
            step.picks.push(pick);
            rest = behind;
        }
        found.push(step);
        (rest, follow) = match (rest.strip_prefix('.'), rest.strip_prefix("->")) {
            (Some(behind), _) => (behind, false),
            (None, Some(behind)) => (behind, true),
            (None, None) if rest.is_empty() => return Ok(found),
            _ => return Err(format!("expected `.` or `->` before `{rest}`")),
        };
    }
}

/// One pair of brackets, and what is behind it.
fn pick(text: &str, depth: usize) -> Result<Option<(Pick, &str)>, String> {
    let (open, close) = match text.as_bytes().first() {
        Some(b'[') => ('[', ']'),
        Some(b'(') => ('(', ')'),
        _ => return Ok(None),
    };
    let mut level = 0;
    let end = text.char_indices().find(|(_, c)| {
        level += i32::from(*c == open) - i32::from(*c == close);
        level == 0
    });
    let Some((end, _)) = end else { return Err(format!("`{open}` is never closed")) };
    let (inside, behind) = (&text[1..end], &text[end + 1..]);
    let number = || inside.parse::<usize>().ok();
    let pick = match (open, inside.split_once('=')) {
        ('(', _) => {
            Pick::Ordinal(number().filter(|n| *n > 0).ok_or("in `( )` stands a number from 1, as in Observation(2)")?)
        }
        _ if inside == "x" => Pick::Choice,
        (_, Some((path, value))) => {
            let value = value.trim();
            let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
            Pick::Where(Path { steps: steps(path.trim(), depth + 1)? }, quoted.unwrap_or(value).to_owned())
        }
        _ => Pick::Number(
            number().ok_or("in `[ ]` stands a number from 0, `x`, or a condition such as code.coding.code=2345-7")?,
        ),
    };
    Ok(Some((pick, behind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bundles() -> Vec<Value> {
        let observation = |code: &str, value: f64| {
            json!({ "resource": { "resourceType": "Observation", "code": { "coding": [{ "code": code }] },
                "subject": { "reference": "urn:p" }, "performer": [{ "reference": "#l" }], "valueQuantity": { "value": value },
                "contained": [{ "resourceType": "Organization", "id": "l", "name": "Lab" }] } })
        };
        vec![json!({ "resourceType": "Bundle", "type": "message", "entry": [
            { "fullUrl": "urn:p", "resource": { "resourceType": "Patient", "name": [{ "given": ["A", null, "B"] }, { "given": ["C"] }] } },
            observation("1-1", 1.5), observation("2.2", 2.5) ] })]
    }

    fn found(path: &str) -> Vec<String> {
        Path::parse(path).unwrap().places(&bundles()).iter().map(|place| text(place.value)).collect()
    }

    #[test]
    fn paths_lead_to_values() {
        assert_eq!(found("Patient.name.given"), ["A", "B", "C"]);
        assert_eq!(found("Patient.name[1].given"), ["C"]);
        assert_eq!(found("Patient.name.given[0]"), ["A", "C"]);
        assert_eq!(found("Observation(2).value[x].value"), ["2.5"]);
        assert_eq!(found("Observation[code.coding.code=2.2].valueQuantity.value"), ["2.5"]);
        assert_eq!(found("Observation[code.coding.code='1-1'][0].subject->Patient.name[0].given[1]"), ["B"]);
        assert_eq!(found("Observation.performer->name"), ["Lab", "Lab"]);
        assert_eq!(found("Observation.performer->Practitioner.name"), [""; 0]);
        assert_eq!(found("Bundle.type"), ["message"]);
        let path = Path::parse("Observation(2).performer->name").unwrap();
        assert_eq!(path.places(&bundles())[0].path, "Bundle.entry[2].resource.contained[0].name");
    }

    #[test]
    fn typing_errors_are_told() {
        for (wrong, told) in [
            ("Patient.birthdate", "Patient has no element `birthdate`; did you mean `birthDate`?"),
            ("Pation.name", "`Pation` is no resource"),
            ("Patient.name.familie", "HumanName has no element `familie`; did you mean `family`?"),
            ("Patient.contact.nam", "did you mean `name`"),
            ("Observation.value", "Observation has no element `value`"),
            ("Observation.valueQuantity.valu", "Quantity has no element `valu`"),
            ("Observation[cod.coding.code=1].status", "has no element `cod`"),
            ("Patient.name[", "never closed"),
            ("Patient.name[y]", "a number from 0"),
            ("Patient(0)", "a number from 1"),
            ("Patient..name", "expected the name of an element before `.`"),
            ("Patient.", "at the end"),
            ("Patient name", "expected `.` or `->`"),
        ] {
            let error = Path::parse(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
