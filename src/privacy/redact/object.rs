//! Objects by the shape of R4: whether each stays, and what of it.
use super::{Failure, Redaction};
use crate::fhir::shape::{self, Element, TypeRef};
use crate::privacy::label::{DEPTH_MAX, Set};
use serde_json::{Map, Value, json};

/// Elements that say what their resource or part is about: when they go, it goes.
const OWN: [&str; 9] = [
    "code",
    "valueCodeableConcept",
    "valueCoding",
    "medicationCodeableConcept",
    "vaccineCode",
    "productCodeableConcept",
    "itemCodeableConcept",
    "substanceCodeableConcept",
    "serviceCodeableConcept",
];
/// The same of some types only. A number without who assigned it is still theirs.
const OWN_OF_TYPE: [(&str, &str); 7] = [
    ("DocumentReference", "type"),
    ("Composition", "type"),
    ("DocumentManifest", "type"),
    ("Identifier", "system"),
    ("Identifier", "value"),
    ("Identifier", "assigner"),
    ("Bundle.entry", "resource"),
];
/// Texts that people write, beside annotations and markdown.
const PLAIN_TEXTS: [&str; 8] = [
    "valueString",
    "conclusion",
    "description",
    "contentString",
    "comment",
    "patientInstruction",
    "instruction",
    "outcomeString",
];

impl Redaction<'_> {
    /// A resource with what it contains. Whether it stays.
    pub(super) fn resource(&mut self, value: &mut Value, depth: usize) -> Result<bool, Failure> {
        let Value::Object(object) = value else { return Ok(false) };
        if let Some(Value::Array(contained)) = object.get_mut("contained") {
            self.contained(contained, depth)?;
        }
        let list = object.get("contained").and_then(Value::as_array).into_iter().flatten();
        let ids = list.filter_map(|one| one.get("id").and_then(Value::as_str)).map(str::to_owned).collect();
        let around = std::mem::replace(&mut self.contained, ids);
        let stays = self.alone(object, depth);
        if matches!(stays, Ok(true)) && object.contains_key("contained") {
            self.unused_contained(object);
        }
        self.contained = around;
        stays
    }

    /// A resource or a contained one.
    fn alone(&mut self, object: &mut Map<String, Value>, depth: usize) -> Result<bool, Failure> {
        let kind = object.get("resourceType").and_then(Value::as_str).unwrap_or("");
        // What is no resource of R4 cannot be judged.
        let Some(kind) = shape::resource_name(kind) else { return Ok(false) };
        if !self.is_cleared(self.labels.of_object(object)) {
            self.note_place(kind, object);
            return Ok(false);
        }
        self.object(kind, object, depth)
    }

    fn contained(&mut self, list: &mut Vec<Value>, depth: usize) -> Result<(), Failure> {
        for number in (0..list.len()).rev() {
            let Some(Value::Object(one)) = list.get_mut(number) else { continue };
            if !self.alone(one, depth + 2)? {
                list.remove(number);
                self.drops();
            }
        }
        Ok(())
    }

    /// What is contained and not referred to any more may not stay (dom-3).
    fn unused_contained(&mut self, object: &mut Map<String, Value>) {
        let mut used: Vec<String> = Vec::new();
        let mut waiting: Vec<&Value> = object.values().collect();
        while let Some(value) = waiting.pop() {
            match value {
                Value::Object(object) => {
                    let reference = object.get("reference").and_then(Value::as_str);
                    used.extend(reference.and_then(|text| text.strip_prefix('#')).map(str::to_owned));
                    waiting.extend(object.values());
                }
                Value::Array(items) => waiting.extend(items),
                _ => {}
            }
        }
        let Some(Value::Array(list)) = object.get_mut("contained") else { return };
        let before = list.len();
        list.retain(|one| one.get("id").and_then(Value::as_str).is_some_and(|id| used.iter().any(|used| used == id)));
        let (after, empty) = (list.len(), list.is_empty());
        if after < before {
            self.drops();
        }
        if empty {
            object.shift_remove("contained");
        }
    }

    /// A facility that went by its name: that must stand nowhere else.
    fn note_place(&mut self, kind: &str, object: &Map<String, Value>) {
        if matches!(kind, "Organization" | "Location")
            && let Some(name) = object.get("name").and_then(Value::as_str)
        {
            self.tokens.add_words(name);
        }
    }

    fn is_cleared(&self, labels: Set) -> bool {
        labels.is_within(self.cleared)
    }

    /// An object of a type or backbone path. Whether it stays.
    pub(super) fn object(
        &mut self,
        kind: &str,
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<bool, Failure> {
        if depth > DEPTH_MAX {
            return Err(Failure::TooMuch);
        }
        let children = shape::children(kind);
        let (mut lost, mut own_lost, mut failed) = (false, false, None);
        let mut beside: Vec<String> = Vec::new();
        object.retain(|key, value| {
            // Entries and resources of the Bundle at hand are taken out meanwhile.
            if key == "resourceType" || (value.is_null() && matches!(key.as_str(), "entry" | "resource")) {
                return true;
            }
            let before = value.as_array().map(Vec::len);
            let stays = match self.child((kind, children), key, value, depth) {
                Ok(stays) => stays,
                Err(failure) => {
                    failed = Some(failure);
                    false
                }
            };
            if !stays || value.as_array().map(Vec::len) != before {
                self.drops();
                beside.push(format!("_{key}"));
            }
            if !stays {
                lost = true;
                own_lost |= OWN.contains(&key.as_str()) || OWN_OF_TYPE.contains(&(kind, key.as_str()));
            }
            stays
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        // Extensions beside values that went, or whose places are no longer theirs.
        for key in beside {
            lost |= object.shift_remove(&key).is_some();
        }
        Ok(!lost || (!own_lost && is_complete(kind, object)))
    }

    fn child(
        &mut self,
        (kind, children): (&str, &'static [Element]),
        key: &str,
        value: &mut Value,
        depth: usize,
    ) -> Result<bool, Failure> {
        let name = key.strip_prefix('_').unwrap_or(key);
        // What R4 does not know cannot be judged.
        let Some((element, of)) = shape::spelled(children, name) else { return Ok(false) };
        if key.starts_with('_') {
            return self.beside(value, depth);
        }
        let Value::Array(items) = value else { return self.value(kind, element, of, name, value, depth) };
        let mut failed = None;
        items.retain_mut(|item| match self.value(kind, element, of, name, item, depth) {
            Ok(stays) => stays,
            Err(failure) => {
                failed = Some(failure);
                false
            }
        });
        match failed {
            Some(failure) => Err(failure),
            None => Ok(!items.is_empty()),
        }
    }

    /// Ids and extensions of a primitive.
    fn beside(&mut self, value: &mut Value, depth: usize) -> Result<bool, Failure> {
        let items = match value {
            Value::Array(items) => items.as_mut_slice(),
            other => std::slice::from_mut(other),
        };
        for item in items {
            if let Value::Object(object) = item
                && !self.object("Element", object, depth + 1)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One value. Whether it stays.
    fn value(
        &mut self,
        kind: &str,
        element: &Element,
        of: &TypeRef,
        name: &str,
        value: &mut Value,
        depth: usize,
    ) -> Result<bool, Failure> {
        let object = match value {
            Value::String(text) => return Ok(self.text(kind, of, name, text)),
            Value::Object(object) => object,
            _ => return Ok(true),
        };
        match of.name {
            "Resource" if name == "contained" => return self.alone(object, depth + 1),
            "Resource" => return self.resource(value, depth + 1),
            "Reference" if !self.leads_somewhere(object) => return Ok(false),
            "Coding" | "CodeableConcept" if !self.concept(of.name, name, object)? => return Ok(false),
            "Narrative" if self.dropped || self.withhold_text => return Ok(false),
            "Annotation" if self.withhold_text => return Ok(false),
            "Attachment" if self.withhold_text => return Ok(element.min > 0 && self.mask(object)),
            "Identifier" if self.names_a_place(object) => return Ok(false),
            // What is coded still says what it is by its words; a unit without the system of its code has none.
            _ if self.is_of_place(object) => {
                let code = if of.name == "Coding" { "system" } else { "code" };
                for key in ["system", "_system", code] {
                    object.shift_remove(key);
                }
                self.drops();
                if !["code", "display", "value", "unit"].iter().any(|key| object.contains_key(*key)) {
                    return Ok(false);
                }
            }
            _ => {}
        }
        // Codes that stand in no Coding: concepts of a ValueSet.
        if !matches!(of.name, "Coding" | "CodeableConcept") && !self.is_cleared(self.labels.of_object(object)) {
            return Ok(false);
        }
        self.object(shape::child_type(kind, element, of.name), object, depth + 1)
    }

    /// Whether its code is of a system that is made of the name of a place, or of a feed that is named for one.
    fn is_of_place(&self, object: &Map<String, Value>) -> bool {
        object.get("system").and_then(Value::as_str).is_some_and(|system| self.places.are_in_made(system))
    }

    fn text(&self, kind: &str, of: &TypeRef, name: &str, text: &str) -> bool {
        if matches!(name, "id" | "fullUrl" | "div") {
            return true;
        }
        // Digits of a number that means nothing may look like a code.
        if text.starts_with("urn:uuid:") {
            return !self.links.lead_to_gone(text);
        }
        let written =
            matches!(of.name, "markdown" | "base64Binary") || (kind != "Extension" && PLAIN_TEXTS.contains(&name));
        let goes = (self.withhold_text && written) || self.tokens.are_in(text) || self.links.lead_to_gone(text);
        !goes
    }

    fn leads_somewhere(&self, reference: &Map<String, Value>) -> bool {
        let Some(text) = reference.get("reference").and_then(Value::as_str) else { return true };
        match text.strip_prefix('#') {
            Some(id) if !id.is_empty() => self.contained.iter().any(|known| known == id),
            _ => !self.links.lead_to_gone(text),
        }
    }

    /// Whether a Coding or concept is cleared; the words of one that is not are noted.
    fn concept(&mut self, of: &str, name: &str, object: &Map<String, Value>) -> Result<bool, Failure> {
        let codings = object.get("coding").and_then(Value::as_array);
        let mut labels = self.labels.of_object(object);
        for coding in codings.into_iter().flatten().filter_map(Value::as_object) {
            labels = labels.with(self.labels.of_object(coding));
        }
        if self.is_cleared(labels) {
            // Words alone are text, but for those that say what a number or a relation is.
            let coded = codings.into_iter().flatten().any(|coding| coding.get("code").is_some());
            let words = of == "CodeableConcept" && !coded && !matches!(name, "type" | "relationship" | "role");
            return Ok(!(self.withhold_text && words));
        }
        self.drops();
        let own = std::iter::once(object).chain(codings.into_iter().flatten().filter_map(Value::as_object));
        for object in own {
            let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("");
            self.tokens.add_code(text("code"));
            self.tokens.add_words(text("display"));
            self.tokens.add_words(text("text"));
        }
        Ok(false)
    }

    /// What must stand there says only that there was something.
    fn mask(&mut self, attachment: &mut Map<String, Value>) -> bool {
        const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
        if ["data", "url", "title", "hash", "size"].iter().any(|key| attachment.contains_key(*key)) {
            self.drops();
        }
        attachment.retain(|key, _| matches!(key.as_str(), "contentType" | "language"));
        attachment.insert("extension".into(), json!([{ "url": ABSENT, "valueCode": "masked" }]));
        true
    }
}

/// Whether an object still says something, and all that it must.
fn is_complete(kind: &str, object: &Map<String, Value>) -> bool {
    let has =
        |keys: &[&str]| keys.iter().any(|key| object.contains_key(*key) || object.contains_key(&format!("_{key}")));
    let valued = || object.keys().any(|key| key.trim_start_matches('_').starts_with("value"));
    let says = shape::is_resource(kind) || object.keys().any(|key| key != "id");
    let rule = match kind {
        "Extension" => valued() || has(&["extension"]),
        "Coding" => has(&["code", "display"]),
        "Organization" => has(&["name", "identifier"]),
        "Patient.contact" => has(&["name", "telecom", "address", "organization"]),
        "Composition.section" => has(&["text", "entry", "section"]),
        "Parameters.parameter" => valued() || has(&["resource", "part"]),
        _ => true,
    };
    says && rule && shape::children(kind).iter().all(|element| element.min == 0 || is_there(kind, element, object))
}

fn is_there(kind: &str, element: &Element, object: &Map<String, Value>) -> bool {
    // The entries of the Bundle at hand are elsewhere meanwhile.
    let is = |key: &str| {
        let name = key.strip_prefix('_').unwrap_or(key);
        name == element.name || shape::choice(kind, name).is_some_and(|(choice, _)| choice.name == element.name)
    };
    object.keys().any(|key| is(key))
}
