//! What can be read: what somebody was notified of, topics, panels, and what there is at all.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::subscription::cache;
use crate::coordination::subscription::capability::{Interface, statement};
use crate::coordination::subscription::relative;
use crate::coordination::subscription::topic::{TOPICS, Topic, Trigger};
use crate::coordination::work::telling::{self, Subject, Telling};
use crate::facets::uuid_text;
use crate::privacy::audit::{Entry, Outcome};
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Reason, Recipient};
use crate::server::care::Released;
use axum::Extension;
use axum::extract::{Path, State};
use serde_json::json;
use std::sync::Arc;

/// Types of what people are notified of.
const TYPES: [&str; 16] = [
    "Appointment",
    "Condition",
    "Coverage",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Location",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "ServiceRequest",
    "Task",
];

pub(super) async fn metadata(State(shared): State<Arc<Shared>>) -> Resource {
    let care = &shared.care;
    let base = care.options.subscriptions.base();
    let interface = Interface { base, topics: &care.topics, since_ms: shared.since_ms, types: &TYPES };
    Resource::found(statement(&interface))
}

pub(super) async fn topic(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Result<Resource, Problem> {
    let topic = TOPICS.iter().find(|topic| topic.id == id).ok_or_else(Problem::not_found)?;
    Ok(Resource::found(shared.care.topics.resource(topic)))
}

/// A panel of the recipient: who it is, and how many; its members are not listed.
pub(super) async fn group(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
) -> Result<Resource, Problem> {
    let recipient = recipient(&shared.care, &who)?;
    let snapshot = shared.care.rosters.current();
    let panel = snapshot.panels().iter().find(|panel| panel.id == id && recipient.panels.contains(&panel.id));
    let panel = panel.ok_or_else(Problem::not_found)?;
    let mut group = json!({
        "resourceType": "Group", "id": panel.id, "active": true, "type": "person", "actual": true, "name": panel.id,
    });
    if let Some(npi) = &panel.owner_npi {
        let identifier = json!({ "system": "http://hl7.org/fhir/sid/us-npi", "value": npi });
        group["managingEntity"] = json!({ "type": "Organization", "identifier": identifier });
    }
    Ok(Resource::found(group))
}

/// What the recipient was told of, translated and judged anew.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Resource, Problem> {
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let internal = |error: rusqlite::Error| Problem::internal(&error);
        let notified = cache::find(&care.database(), &who, &kind, &id).map_err(internal)?;
        let notified = notified.ok_or_else(Problem::not_found)?;
        let telling = telling::find(&care.database(), &notified.event).map_err(internal)?;
        let telling = telling.ok_or_else(Problem::not_found)?;
        let now_ms = now_ms();
        // Who may have ids may read by them: what `max_content` bounds is what is pushed.
        let mut reading = recipient.clone();
        if reading.max_content == MaxContent::IdOnly {
            reading.max_content = MaxContent::FullResource;
        }
        let released = if may(recipient, &telling) {
            let released = care.contents.release(care, &telling, &reading, MaxContent::FullResource, now_ms);
            released.map_err(|error| Problem::internal(&error))?
        } else {
            Released::Withheld(Reason::Policy)
        };
        let found = match &released {
            Released::Resources(all) => {
                relative(all).into_iter().find(|one| one["resourceType"] == *kind && one["id"] == *id)
            }
            Released::Withheld(_) | Released::Gone => None,
        };
        let outcome = match (&released, &found) {
            (_, Some(_)) => Outcome::Disclosed,
            (Released::Withheld(reason), _) => Outcome::Suppressed(*reason),
            _ => return Err(Problem::not_found()),
        };
        let person = care.contents.person(care, &telling).map_err(internal)?;
        let person = uuid_text(&person.0);
        let entry = Entry {
            id: telling::audit_id(&notified.event, &id, &format!("read|{now_ms}")),
            at_ms: now_ms,
            outcome,
            recipient: &recipient.id,
            purpose: &recipient.purpose,
            person: &person,
            event: notified.event,
            subscription: None,
            number: None,
        };
        care.audit(&[entry]).map_err(|error| Problem::internal(&error))?;
        Ok(Resource::found(found.ok_or_else(Problem::not_found)?))
    })
    .await
}

/// Whether any topic that the recipient may have still tells of such a thing.
fn may(recipient: &Recipient, telling: &Telling) -> bool {
    let trigger = match &telling.subject {
        Subject::Event(event) => Trigger::Event(event.kind),
        Subject::Loop { .. } => Trigger::OpenLoop,
    };
    let own = |topic: &&Topic| recipient.topics.iter().any(|own| own == topic.id);
    TOPICS.iter().filter(own).any(|topic| topic.triggers.iter().any(|(one, _)| *one == trigger))
}
