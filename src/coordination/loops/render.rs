//! Loops in FHIR R4: a Task for each step and each alert, a CommunicationRequest where somebody has to be told again, a Flag.
//!
//! References to the patient and the visit are given: what an id is made of is not known here.
use super::calendar::instant;
use super::handoff::Parts;
use super::model::{Loop, State, Step, StepState};
use super::outcome::{NAMESPACE, Outcome};
use crate::coordination::care_team::{Route, reference};
use crate::facets::uuid_text;
use crate::fhir::identity::version_5;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The code system of loops, steps, flags and roles of this gateway.
pub const CODES: &str = "urn:handoff:coordination";

/// Flags of what somebody should know of the course of things (`flag-category` of HL7 terminology).
const CATEGORIES: &str = "http://terminology.hl7.org/CodeSystem/flag-category";

/// A step as a Task. `focus` is what the loop is about (the Encounter or ServiceRequest); the message that closes the step completes the Task. Who is to do it stands in it
/// after [`assign`].
pub fn task(found: &Loop, step: &Step, patient: &str, focus: Option<&str>, zone: &TimeZone) -> Value {
    let mut task = json!({
        "resourceType": "Task",
        "id": uuid_text(&task_id(found, step)),
        "status": status(found, step),
        "businessStatus": { "text": step.state.name() },
        "intent": "order",
        "priority": if step.state == StepState::Of(State::Overdue) { "urgent" } else { "routine" },
        "code": concept(&step.id),
        "for": { "reference": patient },
        "authoredOn": instant(found.received_ms, zone),
        "reasonCode": concept(&found.definition),
    });
    if let Some(focus) = focus {
        task["focus"] = json!({ "reference": focus });
    }
    if let Some(due_ms) = step.due_ms {
        task["restriction"] = json!({ "period": { "end": instant(due_ms, zone) } });
    }
    let mut period = serde_json::Map::new();
    if let Some(base_ms) = step.base_ms {
        period.insert("start".to_owned(), Value::String(instant(base_ms, zone)));
    }
    if let Some(closed) = step.closed.as_ref().filter(|_| step.state.is_met()) {
        // An appointment or a late message may name a time before the opening: a period does not run backwards.
        let end_ms = closed.event_ms.max(step.base_ms.unwrap_or(closed.event_ms));
        period.insert("end".to_owned(), Value::String(instant(end_ms, zone)));
        task["lastModified"] = Value::String(instant(closed.received_ms, zone));
        task["output"] = outputs(closed.inferred, closed.event, closed.handoff);
    }
    if !period.is_empty() {
        task["executionPeriod"] = Value::Object(period);
    }
    task
}

/// A value that somebody must hear of at once, as a Task. No message completes it.
pub fn alert(outcome: &Outcome, patient: &str, zone: &TimeZone) -> Value {
    json!({
        "resourceType": "Task",
        "id": uuid_text(&outcome.id),
        "status": "requested",
        "intent": "order",
        "priority": "stat",
        "code": concept(&outcome.step),
        "for": { "reference": patient },
        "authoredOn": instant(outcome.at_ms, zone),
        "reasonCode": concept(&outcome.definition),
    })
}

/// Says in a Task who is to do it: `to` as the loop names them (`role:care-manager`), `routes` as they were found. A Task has one owner: the first who was.
pub fn assign(task: &mut Value, to: &[String], routes: &[Route]) {
    let roles: Vec<_> = to.iter().filter_map(|to| to.strip_prefix("role:")).map(concept).collect();
    if !roles.is_empty() {
        task["performerType"] = Value::Array(roles);
    }
    if let Some(owner) = routes.iter().find_map(reference) {
        task["owner"] = owner;
    }
}

fn outputs(inferred: bool, event: [u8; 16], handoff: Option<u8>) -> Value {
    let output = |name: &str, key: &str, value: Value| json!({ "type": concept(name), key: value });
    let mut outputs = vec![
        output("closed-by", "valueString", uuid_text(&event).into()),
        output("inferred", "valueBoolean", inferred.into()),
    ];
    if let Some(parts) = handoff.map(Parts::from_bits) {
        outputs.push(output("handoff-content", "valueString", format!("{}/6", parts.count()).into()));
        outputs.extend(parts.missing().into_iter().map(|name| output("handoff-missing", "valueString", name.into())));
    }
    Value::Array(outputs)
}

/// The id of the Task of a step.
fn task_id(found: &Loop, step: &Step) -> [u8; 16] {
    version_5(&NAMESPACE, &[b"task|", &found.id, b"|", step.id.as_bytes()])
}

fn status(found: &Loop, step: &Step) -> &'static str {
    match step.state {
        state if state.is_open() && found.facts.suspended.is_some() => "on-hold",
        StepState::Dormant => "draft",
        StepState::Of(State::Open | State::Overdue) => "requested",
        StepState::Of(State::Met | State::MetLate) => "completed",
        StepState::Of(State::Void) => "cancelled",
        StepState::Of(State::Expired) => "failed",
    }
}

/// The request to tell somebody again, from the second level on; `None` before that, and where nobody has anything to do.
pub fn communication_request(
    outcome: &Outcome,
    patient: &str,
    recipients: &[Route],
    about: (&Loop, &Step),
    zone: &TimeZone,
) -> Option<Value> {
    if outcome.level < 2 || !outcome.kind.asks() {
        return None;
    }
    let (found, step) = about;
    let mut request = json!({
        "resourceType": "CommunicationRequest",
        "id": uuid_text(&outcome.id),
        "status": "active",
        "priority": "urgent",
        "subject": { "reference": patient },
        "about": [{ "reference": format!("Task/{}", uuid_text(&task_id(found, step))) }],
        "authoredOn": instant(outcome.at_ms, zone),
        "reasonCode": [concept(&outcome.definition), concept(&outcome.step)],
        "payload": [{ "contentString": format!("{}: {} is {}", outcome.definition, outcome.step, outcome.kind.name()) }],
    });
    let recipients: Vec<_> = recipients.iter().filter_map(reference).collect();
    if !recipients.is_empty() {
        request["recipient"] = Value::Array(recipients);
    }
    Some(request)
}

/// A flag.
pub fn flag(outcome: &Outcome, patient: &str, zone: &TimeZone) -> Value {
    json!({
        "resourceType": "Flag",
        "id": uuid_text(&outcome.id),
        "status": "active",
        "category": [{ "coding": [{ "system": CATEGORIES, "code": "clinical" }] }],
        "code": concept(&outcome.detail),
        "subject": { "reference": patient },
        "period": { "start": instant(outcome.at_ms, zone) },
    })
}

fn concept(code: &str) -> Value {
    json!({ "coding": [{ "system": CODES, "code": code }], "text": code })
}
