//! Loops in FHIR R4: a Task for each step, a CommunicationRequest where somebody has to be told again, a Flag.
//!
//! References to the patient, the visit and the owner are given: what an id is made of is not known here.
use super::calendar::instant;
use super::handoff::Parts;
use super::model::{Loop, State, Step, StepState};
use super::outcome::{NAMESPACE, Outcome};
use crate::facets::uuid_text;
use crate::fhir::identity::version_5;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The code system of loops, steps and flags of this gateway.
const CODES: &str = "urn:handoff:coordination";

/// A step as a Task. `focus` is what the loop is about (the Encounter or ServiceRequest), `owner` a Reference; the message that closes the step completes the Task.
pub fn task(
    found: &Loop,
    step: &Step,
    patient: &str,
    focus: Option<&str>,
    owner: Option<&Value>,
    zone: &TimeZone,
) -> Value {
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
    if let Some(owner) = owner {
        task["owner"] = owner.clone();
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

/// The request to tell somebody again, from the second level on; `None` before that. `recipient` is a Reference.
pub fn communication_request(
    outcome: &Outcome,
    patient: &str,
    recipient: Option<&Value>,
    about: Option<(&Loop, &Step)>,
    zone: &TimeZone,
) -> Option<Value> {
    if outcome.level < 2 {
        return None;
    }
    let mut request = json!({
        "resourceType": "CommunicationRequest",
        "id": uuid_text(&outcome.id),
        "status": "active",
        "priority": "urgent",
        "subject": { "reference": patient },
        "authoredOn": instant(outcome.at_ms, zone),
        "reasonCode": [concept(&outcome.definition), concept(&outcome.step)],
        "payload": [{ "contentString": format!("{}: {} is {}", outcome.definition, outcome.step, outcome.kind.name()) }],
    });
    if let Some(recipient) = recipient {
        request["recipient"] = json!([recipient]);
    }
    if let Some((found, step)) = about {
        request["about"] = json!([{ "reference": format!("Task/{}", uuid_text(&task_id(found, step))) }]);
    }
    Some(request)
}

/// A flag.
pub fn flag(outcome: &Outcome, patient: &str, zone: &TimeZone) -> Value {
    json!({
        "resourceType": "Flag",
        "id": uuid_text(&outcome.id),
        "status": "active",
        "code": concept(&outcome.detail),
        "subject": { "reference": patient },
        "period": { "start": instant(outcome.at_ms, zone) },
    })
}

fn concept(code: &str) -> Value {
    json!({ "coding": [{ "system": CODES, "code": code }], "text": code })
}
