//! What an event says in FHIR, for somebody: its message is translated again as it was translated when it came, and judged for them.
use crate::coordination::loops;
use crate::coordination::options::Facilities;
use crate::coordination::work::telling::{Subject, Telling};
use crate::coordination::work::{consents_now, roster_consent};
use crate::delivery::{Plans, translated};
use crate::facets::uuid_text;
use crate::journal::{Item, Journal, Limits, Reader};
use crate::mapping::Scratch;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Facts, Reason, Recipient, Release};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What may be told.
#[derive(Clone, PartialEq)]
pub enum Released {
    /// These resources, with ids; with nothing but type and id where no more may be told.
    Resources(Vec<Value>),
    /// Nothing.
    Withheld(Reason),
    /// The message is not there any more, or cannot be translated.
    Gone,
}

/// Reads and translates messages.
pub struct Contents {
    plans: Arc<Plans>,
    facilities: Facilities,
    reading: Mutex<(Reader, Scratch)>,
}

impl Contents {
    pub(super) fn new(journal: &Journal, plans: &Arc<Plans>, facilities: Facilities) -> Contents {
        Contents { plans: Arc::clone(plans), facilities, reading: Mutex::new((journal.reader(), Scratch::default())) }
    }

    /// What a recipient may be told of something, at most `content` of it, now. Blocks.
    pub fn release(
        &self,
        shared: &super::Shared,
        telling: &Telling,
        recipient: &Recipient,
        content: MaxContent,
        now_ms: i64,
    ) -> Released {
        let Some(bundle) = self.bundle(shared, telling) else { return Released::Gone };
        let person = uuid_text(&telling.person.0);
        let Ok(Some(consents)) = consents_now(&shared.registry, &person) else {
            return Released::Withheld(Reason::Failed);
        };
        let Some(roster) = roster_consent(recipient, &telling.panels) else {
            return Released::Withheld(Reason::Policy);
        };
        let facts = Facts {
            found: telling.found(shared.gate.labels()),
            person: &person,
            consents: &consents,
            roster: &roster,
            at_ms: telling.at_ms(),
            now_ms,
        };
        match shared.gate.release(recipient, &facts, content, bundle) {
            Release::Withheld(reason) => Released::Withheld(reason),
            Release::Shared(shared) => Released::Resources(match shared.bundle {
                Some(mut bundle) => resources(&mut bundle),
                None => shared.resources.iter().filter(|(kind, _)| kind != HEADER).map(named).collect(),
            }),
        }
    }

    /// All of it, before anybody has judged it.
    fn bundle(&self, shared: &super::Shared, telling: &Telling) -> Option<Value> {
        match &telling.subject {
            Subject::Event(event) => self.message(event.seq),
            Subject::Loop { number, step, .. } => {
                let found = loops::find(&shared.database(), *number).ok()??;
                let step = found.steps.iter().find(|one| one.id == *step)?;
                let person = uuid_text(&telling.person.0);
                let zone = self.facilities.zone(&found.facts.facility);
                let task = loops::task(&found, step, &format!("Patient/{person}"), None, None, zone);
                let patient = json!({
                    "resourceType": "Patient", "id": person, "identifier": [{ "system": PEOPLE, "value": person }],
                });
                Some(json!({
                    "resourceType": "Bundle", "type": "collection",
                    "entry": [entry(task), entry(patient)],
                }))
            }
        }
    }

    fn message(&self, seq: u64) -> Option<Value> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, scratch) = &mut *reading;
        let one = Limits { records_max: 1, ..Limits::default() };
        let Some(Item::Record(_, record)) = reader.read(seq, one).ok()?.into_iter().next() else { return None };
        let bundle = translated(seq, record, &self.plans, scratch)?;
        serde_json::from_slice(&bundle).ok()
    }
}

/// The identifier system of persons.
const PEOPLE: &str = "urn:handoff:person";

fn entry(resource: Value) -> Value {
    json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap_or_default()), "resource": resource })
}

fn named((kind, id): &(String, String)) -> Value {
    json!({ "resourceType": kind, "id": id })
}

/// The header of a message, which no notification is.
const HEADER: &str = "MessageHeader";

/// The resources of a Bundle, but for the header of the message that it was.
fn resources(bundle: &mut Value) -> Vec<Value> {
    let entries = bundle.get_mut("entry").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let resources = entries.into_iter().filter_map(|mut entry| entry.get_mut("resource").map(Value::take));
    resources.filter(|resource| resource["resourceType"] != HEADER).collect()
}
