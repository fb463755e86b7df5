//! Something that has not happened, to test a subscription with: an event that meets its filters, and resources of nobody.
//!
//! Whatever is sent of it is marked as test data: `HTEST` in `meta.security` of the Bundle and of each resource in it (R4, "Security Labels", test data).
use super::filter::{Branch, Candidate, Token, V2_EVENTS, branches};
use super::resource::Subscription;
use super::topic::{Focus, Parameter, Trigger, focus};
use super::{id_of, instant};
use crate::coordination::event::Code;
use serde_json::{Map, Value, json};

/// System and code of what marks test data.
pub const MARK: (&str, &str) = ("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST");

/// Something that has not happened.
#[derive(Clone, Default)]
pub struct Happening {
    /// MSH-9.2, where a filter names it.
    pub v2_event: String,
    detail: String,
    /// Where.
    pub facility: String,
    class: String,
    /// What was coded.
    pub codes: Vec<Code>,
    person: String,
    /// The panels that the person would be in.
    pub panels: Vec<String>,
    /// Labels that a filter asks for.
    pub labels: Vec<String>,
}

/// What could happen so that a subscription is told, the likeliest first; `panels` are those of its owner.
pub fn happenings(subscription: &Subscription, panels: &[String]) -> Vec<(Trigger, Happening)> {
    let branches = branches(&subscription.criteria);
    let mut all = Vec::new();
    for (trigger, types) in subscription.topic.triggers {
        for focus in types.iter().filter_map(|name| focus(name)) {
            let fits = |branch: &&Branch| branch.focus.is_none_or(|own| own.name == focus.name);
            all.extend(branches.iter().filter(fits).map(|branch| (*trigger, Happening::of(branch, focus, panels))));
        }
    }
    all
}

impl Happening {
    fn of(branch: &Branch, focus: &Focus, panels: &[String]) -> Happening {
        let of = |parameter: Parameter| branch.tests.iter().filter(move |test| test.parameter == parameter);
        // What every filter by it allows.
        let common = |parameter: Parameter| {
            let in_all =
                |token: &&Token| of(parameter).all(|test| test.values.iter().any(|one| one.code == token.code));
            of(parameter).next()?.values.iter().find(in_all)
        };
        let text = |parameter| common(parameter).map(|token| token.code.clone()).unwrap_or_default();
        let firsts = |parameter| of(parameter).filter_map(|test| test.values.first());
        let coded = |fields: &'static [&'static str]| {
            move |token: &Token| {
                let (system, code) = (token.system.clone().unwrap_or_default(), token.code.clone());
                fields.first().map(|field| Code { field: (*field).into(), system, code, value: String::new() })
            }
        };
        let mut happening = Happening {
            v2_event: v2_event(of(Parameter::Trigger).flat_map(|test| &test.values)),
            facility: text(Parameter::Facility),
            class: common(Parameter::Class).map_or_else(|| "IMP".into(), |token| token.code.clone()),
            person: text(Parameter::Patient),
            labels: firsts(Parameter::Security).map(|token| token.code.clone()).collect(),
            codes: firsts(Parameter::Code).filter_map(coded(focus.code_fields)).collect(),
            panels: panels.to_vec(),
            ..Happening::default()
        };
        if happening.person.is_empty() {
            happening.person = id("Patient");
        }
        if let Some(panel) = common(Parameter::In) {
            happening.panels = vec![panel.code.clone()];
        }
        if focus.name == "Encounter" {
            happening.detail = text(Parameter::Type);
        } else {
            happening.codes.extend(firsts(Parameter::Type).filter_map(coded(focus.type_fields)));
        }
        let section = common(Parameter::Category).map(|token| match token.code.as_str() {
            "laboratory" => "LAB",
            "imaging" => "RAD",
            code => code,
        });
        let section = section.map(|code| Code { field: "OBR-24".into(), code: code.into(), ..Code::default() });
        happening.codes.extend(section);
        happening.codes.extend(firsts(Parameter::Owner).filter_map(coded(&["owner"])));
        happening.codes.extend(firsts(Parameter::Performer).filter_map(coded(&["performer"])));
        happening
    }

    /// Shows it as what is matched, with the labels that it carries.
    pub fn candidate<T>(
        &self,
        trigger: Trigger,
        labels: &[&str],
        received_ms: i64,
        show: impl FnOnce(&Candidate<'_>) -> T,
    ) -> T {
        let panels: Vec<_> = self.panels.iter().map(String::as_str).collect();
        show(&Candidate {
            trigger,
            v2_event: &self.v2_event,
            detail: &self.detail,
            facility: &self.facility,
            class: &self.class,
            codes: &self.codes,
            people: &[&self.person],
            panels: &panels,
            labels,
            received_ms,
        })
    }
}

/// The event of HL7 v2 that a filter asks for, if one does.
fn v2_event<'t>(mut values: impl Iterator<Item = &'t Token>) -> String {
    let of_v2 = |token: &&Token| match token.system.as_deref() {
        Some(system) => system == V2_EVENTS,
        None => Trigger::parse(&token.code).is_none() && token.code != "feed-event",
    };
    values.find(of_v2).map(|token| token.code.clone()).unwrap_or_default()
}

/// The id of the resource of a type: always the same, as nothing is known of it but that it is none.
pub fn id(kind: &str) -> String {
    id_of(&[b"synthetic|", kind.as_bytes()])
}

/// A Bundle of a resource of that type and of the patient whom it is about, as a translation gives it; none for types that no topic is about.
pub fn bundle(kind: &str, at_ms: i64) -> Option<Value> {
    let reference = |kind: &str| json!({"reference": format!("urn:uuid:{}", id(kind))});
    let (at, patient, text) = (instant(at_ms), reference("Patient"), json!({"text": "Self-test"}));
    let resource = match kind {
        "Patient" => json!({"name": [{"family": "SELF-TEST", "given": ["HANDOFF"]}]}),
        "Encounter" => json!({
            "status": "in-progress", "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "subject": patient, "period": {"start": at}, "serviceProvider": reference("Organization"),
        }),
        "DiagnosticReport" | "Observation" => json!({"status": "final", "code": text, "subject": patient}),
        "DocumentReference" => json!({
            "status": "current", "subject": patient, "content": [{"attachment": {"title": "Self-test"}}],
        }),
        "MedicationRequest" => json!({
            "status": "active", "intent": "order", "medicationCodeableConcept": text, "subject": patient,
        }),
        "MedicationDispense" => json!({"status": "completed", "medicationCodeableConcept": text, "subject": patient}),
        "ServiceRequest" => json!({"status": "active", "intent": "order", "subject": patient}),
        "Procedure" => json!({"status": "completed", "subject": patient}),
        "Appointment" => json!({"status": "booked", "participant": [{"actor": patient, "status": "accepted"}]}),
        "Task" => json!({"status": "requested", "intent": "order", "for": patient}),
        "Flag" => json!({"status": "active", "code": text, "subject": patient}),
        "MeasureReport" => json!({
            "status": "complete", "type": "summary", "measure": "urn:handoff:self-test",
            "period": {"start": at, "end": at},
        }),
        "Group" => json!({"type": "person", "actual": true}),
        "Organization" => json!({"name": "handoff self-test"}),
        _ => return None,
    };
    let mut entries = vec![(kind, resource)];
    if kind == "Encounter" {
        entries.push(("Organization", json!({"name": "handoff self-test"})));
    }
    if entries.iter().any(|(_, resource)| resource.to_string().contains(&id("Patient"))) {
        entries.push(("Patient", json!({"name": [{"family": "SELF-TEST", "given": ["HANDOFF"]}]})));
    }
    let entry = |(kind, resource): (&str, Value)| {
        let mut whole = Map::from_iter([("resourceType".into(), json!(kind)), ("id".into(), json!(id(kind)))]);
        whole.insert("identifier".into(), json!([{"system": "urn:handoff:self-test", "value": kind}]));
        whole.extend(resource.as_object().cloned().unwrap_or_default());
        json!({"fullUrl": format!("urn:uuid:{}", id(kind)), "resource": whole})
    };
    let entries: Vec<Value> = entries.into_iter().map(entry).collect();
    Some(json!({"resourceType": "Bundle", "type": "collection", "entry": entries}))
}

/// Marks a resource, and all that stand in it where it is a Bundle, as test data.
pub fn mark(resource: &mut Value) {
    let mut waiting = vec![resource];
    while let Some(Value::Object(resource)) = waiting.pop() {
        let meta = resource.entry("meta").or_insert_with(|| json!({}));
        let coding = json!({"system": MARK.0, "code": MARK.1});
        match meta["security"].as_array_mut() {
            Some(labels) if labels.contains(&coding) => {}
            Some(labels) => labels.push(coding),
            None => meta["security"] = json!([coding]),
        }
        let entries = resource.get_mut("entry").and_then(Value::as_array_mut).into_iter().flatten();
        waiting.extend(entries.filter_map(|entry| entry.get_mut("resource")));
    }
}
