//! What an event says in FHIR, for somebody: its message is translated again as it was translated when it came, and judged for them.
use super::measuring::MeasureError;
use crate::coordination::care_team::Route;
use crate::coordination::loops::{Outcome, OutcomeKind};
use crate::coordination::options::Facilities;
use crate::coordination::roster::{Membership, Snapshot, in_force};
use crate::coordination::sensitivity::{self, visit_text};
use crate::coordination::work::telling::{Subject, Telling};
use crate::coordination::work::{consents_now, labels_of, roster_consent};
use crate::coordination::{PersonKey, lineage, loops, registry};
use crate::delivery::{Plans, translated};
use crate::facets::uuid_text;
use crate::journal::{self, Item, Journal, Limits, Reader};
use crate::mapping::Scratch;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Consent, Facts, Found, Reason, Recipient, Release, visits};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Why it is not known what may be told.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The database of coordinated care.
    #[error("coordination.sqlite in the data directory: {0}")]
    Database(#[from] rusqlite::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Consents.
    #[error(transparent)]
    Registry(#[from] registry::Error),
}

/// Reads and translates messages.
pub struct Contents {
    plans: Arc<Plans>,
    facilities: Facilities,
    reader: Mutex<Reader>,
    /// Of those who translate at this moment no two have the same.
    scratches: Mutex<Vec<Scratch>>,
}

impl Contents {
    pub(super) fn new(journal: &Journal, plans: &Arc<Plans>, facilities: Facilities) -> Contents {
        let (reader, plans) = (Mutex::new(journal.reader()), Arc::clone(plans));
        Contents { plans, facilities, reader, scratches: Mutex::default() }
    }

    /// What a recipient may be told of something, at most `content` of it, now: by what was known of it when it happened and by what is known of it by now. Blocks.
    ///
    /// # Errors
    /// What cannot be read: that says nothing of what may be told, and is tried again.
    pub fn release(
        &self,
        shared: &super::Shared,
        telling: &Telling,
        recipient: &Recipient,
        content: MaxContent,
        now_ms: i64,
    ) -> Result<Released, ContentError> {
        let people = whose(shared, telling)?;
        let Some(roster) = roster_consent(recipient, &panels(&shared.rosters.current(), telling, &people)) else {
            return Ok(Released::Withheld(Reason::Policy));
        };
        let (found, bundle) = match self.subject(shared, telling, (people.now, recipient), now_ms)? {
            Ok(subject) => subject,
            Err(released) => return Ok(released),
        };
        let person = people.id(telling);
        let Some(consents) = consents(shared, &people, &person)? else {
            return Ok(Released::Withheld(Reason::Failed));
        };
        let (at_ms, aside) = (telling.at_ms(), of_header(&bundle));
        let facts = Facts { found, person: &person, consents: &consents, roster: &roster, at_ms, now_ms };
        Ok(match shared.gate.release(recipient, &facts, content, bundle) {
            Release::Withheld(reason) => Released::Withheld(reason),
            Release::Shared(shared) => {
                let mut all = match shared.bundle {
                    Some(mut bundle) => resources(&mut bundle),
                    None => shared.resources.iter().map(named).collect(),
                };
                all.retain(|one| !one["id"].as_str().is_some_and(|id| aside.iter().any(|own| own == id)));
                Released::Resources(all)
            }
        })
    }

    /// The types of resources that the mappings in use write.
    pub fn types(&self) -> Vec<&'static str> {
        self.plans.resource_types()
    }

    /// The opaque id of whom something that was told is about by now, for the audit; empty where it is about nobody.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn person(&self, shared: &super::Shared, telling: &Telling) -> rusqlite::Result<String> {
        whose(shared, telling).map(|people| people.id(telling))
    }

    /// Its labels, then and now, and all of it, before anybody has judged it; or why there is nothing to judge.
    fn subject(
        &self,
        shared: &super::Shared,
        telling: &Telling,
        (person, recipient): (PersonKey, &Recipient),
        now_ms: i64,
    ) -> Result<Result<(Found, Value), Released>, ContentError> {
        let labels = shared.gate.labels();
        let then = telling.found(labels);
        let (now, bundle) = match &telling.subject {
            Subject::Event(event) => {
                let earlier = match &event.visit {
                    Some(visit) => visits::labels_of(&shared.database(), &visit_text(visit))?,
                    None => Vec::new(),
                };
                let Some(bundle) = self.message(event.seq)? else { return Ok(Err(Released::Gone)) };
                (sensitivity::found(labels, &self.facilities, &**event, &earlier), bundle)
            }
            Subject::Outcome { outcome, routes } => {
                let database = shared.database();
                let resources = match self.outcome(&database, person, (outcome, routes))? {
                    Ok(resources) => resources,
                    Err(released) => return Ok(Err(released)),
                };
                let now = labels_of(&database, labels, &shared.options.loops, outcome, then)?;
                let entries: Vec<_> = resources.into_iter().map(entry).collect();
                (now, json!({ "resourceType": "Bundle", "type": "collection", "entry": entries }))
            }
            Subject::Roster(taken) => {
                let snapshot = shared.rosters.current();
                let Some(panel) = snapshot.panels().iter().find(|panel| panel.id == taken.panel) else {
                    return Ok(Err(Released::Gone));
                };
                let group = in_force::group(panel, Some(taken), shared.topics.base());
                let entry = json!({ "fullUrl": format!("Group/{}", panel.id), "resource": group });
                let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [entry] });
                (Found::default(), bundle)
            }
            // Made for the recipient: it counts what they are cleared for.
            Subject::Measures(updated) => match shared.reports(updated, &recipient.id, now_ms) {
                Ok(reports) if !reports.is_empty() => {
                    let entries: Vec<_> = reports.into_iter().map(entry).collect();
                    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": entries });
                    (Found::default(), bundle)
                }
                Err(MeasureError::Database(error)) => return Err(error.into()),
                // The panel, the measure or the month is none any more.
                _ => return Ok(Err(Released::Gone)),
            },
        };
        Ok(Ok((Found { all: then.all.with(now.all), whole: then.whole.with(now.whole) }, bundle)))
    }

    /// What became of a loop, as it stands now, or what somebody should know, with the person that it is of; or why it is not told.
    fn outcome(
        &self,
        database: &Connection,
        person: PersonKey,
        (outcome, routes): (&Outcome, &[Route]),
    ) -> Result<Result<Vec<Value>, Released>, ContentError> {
        // Whose it is has been corrected since: they were told of nobody of theirs.
        if lineage::root(database, outcome.origin)? != person {
            return Ok(Err(Released::Withheld(Reason::Policy)));
        }
        let person = uuid_text(&person.0);
        let patient = format!("Patient/{person}");
        let zone = self.facilities.zone(&outcome.facility);
        let mut resources = match (outcome.kind, outcome.found) {
            (OutcomeKind::Flag, _) => vec![loops::flag(outcome, &patient, zone)],
            (OutcomeKind::Alert, _) => vec![loops::alert(outcome, &patient, zone)],
            (_, Some((number, _))) => {
                let Some(found) = loops::find(database, number)? else { return Ok(Err(Released::Gone)) };
                let Some(step) = found.steps.iter().find(|one| one.id == outcome.step) else {
                    return Ok(Err(Released::Gone));
                };
                let again = loops::communication_request(outcome, &patient, routes, (&found, step), zone);
                [Some(loops::task(&found, step, &patient, None, zone)), again].into_iter().flatten().collect()
            }
            (_, None) => return Ok(Err(Released::Gone)),
        };
        for task in resources.iter_mut().filter(|resource| resource["resourceType"] == "Task") {
            loops::assign(task, &outcome.to, routes);
        }
        resources.push(json!({
            "resourceType": "Patient", "id": person, "identifier": [{ "system": PEOPLE, "value": person }],
        }));
        Ok(Ok(resources))
    }

    /// The plans that messages are translated with.
    pub(super) fn plans(&self) -> &Plans {
        &self.plans
    }

    /// A scratch to translate with, which is to be given back.
    pub(super) fn scratch(&self) -> Scratch {
        lock(&self.scratches).pop().unwrap_or_default()
    }

    /// For who translates next.
    pub(super) fn give_back(&self, scratch: Scratch) {
        let mut scratches = lock(&self.scratches);
        if scratches.len() < SCRATCHES_MAX {
            scratches.push(scratch);
        }
    }

    /// A message in FHIR; none where the journal does not have it any more, or it cannot be translated.
    fn message(&self, seq: u64) -> Result<Option<Value>, ContentError> {
        let one = Limits { records_max: 1, ..Limits::default() };
        // Held to read, and not to translate: who asks for a thousand events keeps nobody else waiting for long.
        let read = lock(&self.reader).read(seq, one);
        let items = match read {
            Err(journal::Error::Pruned { .. }) => return Ok(None),
            items => items?,
        };
        let Some(Item::Record(_, record)) = items.into_iter().next() else { return Ok(None) };
        let mut scratch = self.scratch();
        let bundle = translated(seq, record, &self.plans, &mut scratch);
        self.give_back(scratch);
        Ok(bundle.and_then(|bundle| serde_json::from_slice(&bundle).ok()))
    }
}

/// Whom something that was told is about.
pub(super) struct People {
    /// Who was told of, by the key of now.
    pub then: PersonKey,
    /// Whose it is now.
    pub now: PersonKey,
    /// Every key of one and the same patient, these two among them: what was said of consent of one of them holds for all. None where they are too many.
    pub same: Option<Vec<PersonKey>>,
}

impl People {
    /// As the API writes who it is; empty where it is about nobody.
    fn id(&self, telling: &Telling) -> String {
        match telling.subject {
            Subject::Roster(_) | Subject::Measures(_) => String::new(),
            _ => uuid_text(&self.now.0),
        }
    }
}

/// A merge takes loops along; what a message says stays about whom it names.
///
/// # Errors
/// A database that cannot be read.
fn whose(shared: &super::Shared, telling: &Telling) -> rusqlite::Result<People> {
    let database = shared.database();
    let then = lineage::known_as(&database, telling.person)?;
    let now = match &telling.subject {
        Subject::Outcome { .. } => lineage::root(&database, then)?,
        Subject::Event(_) | Subject::Roster(_) | Subject::Measures(_) => then,
    };
    Ok(People { then, now, same: lineage::same(&database, now)? })
}

/// What was said of all of them, as if of the one; none where it cannot be read.
pub(super) fn consents(
    shared: &super::Shared,
    people: &People,
    patient: &str,
) -> Result<Option<Vec<Consent>>, registry::Error> {
    let Some(same) = &people.same else { return Ok(None) };
    let mut all = Vec::new();
    for person in same {
        let Some(mut theirs) = consents_now(&shared.registry, &uuid_text(&person.0))? else { return Ok(None) };
        theirs.iter_mut().for_each(|consent| patient.clone_into(&mut consent.patient));
        all.extend(theirs);
    }
    Ok(Some(all))
}

/// The panels with what their rosters said of consent then, and what they say by now of a membership that was not over before, also of whoever is one and the same patient. Of
/// somebody who is another now, those of which the other was a member as well.
fn panels(snapshot: &Snapshot, telling: &Telling, people: &People) -> Vec<(String, String)> {
    let mut all = telling.panels.clone();
    if people.now != people.then {
        let theirs: Vec<_> = snapshot.memberships_at(&people.now, telling.at_ms()).collect();
        all.retain(|(panel, _)| theirs.iter().any(|one| one.panel.id == *panel));
    }
    let told: BTreeSet<String> = all.iter().map(|(panel, _)| panel.clone()).collect();
    let others = people.same.iter().flatten().filter(|other| **other != people.then);
    let others = others.flat_map(|other| snapshot.memberships_at(other, telling.at_ms()));
    let others = others.filter(|one| told.contains(&one.panel.id));
    all.extend(others.map(|one| (one.panel.id.clone(), one.consent.to_owned())));
    for panel in &told {
        let of_panel = || snapshot.memberships(&people.then).filter(|one| one.panel.id == *panel);
        let lasts = |one: &Membership<'_>| {
            let time = jiff::Timestamp::from_millisecond(telling.at_ms()).unwrap_or_default();
            one.end.is_none_or(|end| one.panel.zone.to_datetime(time).date() <= end)
        };
        let said = |one: Membership<'_>| (panel.clone(), one.consent.to_owned());
        let before = all.len();
        all.extend(of_panel().filter(lasts).map(said));
        // A period that was cut short since is still the one by which they were told.
        if all.len() == before {
            all.extend(of_panel().map(said));
        }
    }
    all
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Scratches that are kept for the next message.
const SCRATCHES_MAX: usize = 8;

/// The identifier system of persons.
pub(super) const PEOPLE: &str = "urn:handoff:person";

pub(super) fn entry(resource: Value) -> Value {
    json!({ "fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap_or_default()), "resource": resource })
}

pub(super) fn named((kind, id): &(String, String)) -> Value {
    json!({ "resourceType": kind, "id": id })
}

/// The header of a message, which no notification is.
const HEADER: &str = "MessageHeader";

/// The ids of the header of a message and of what is there for its sake alone: where its Provenance comes from, who was to receive it.
pub(super) fn of_header(bundle: &Value) -> Vec<String> {
    let all: Vec<&Value> = bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]).collect();
    let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
    let is_of =
        |url: &str, ids: &[String]| url.strip_prefix("urn:uuid:").is_some_and(|of| ids.iter().any(|id| id == of));
    let mut aside: Vec<String> = all.iter().filter(|one| one["resourceType"] == HEADER).map(|one| id(one)).collect();
    let tells_of = |one: &&&Value| {
        let mut targets = one["target"].as_array().into_iter().flatten();
        one["resourceType"] == "Provenance"
            && targets.all(|target| target["reference"].as_str().is_some_and(|url| is_of(url, &aside)))
    };
    let provenances: Vec<String> = all.iter().filter(tells_of).map(|one| id(one)).collect();
    aside.extend(provenances);
    let (theirs, others): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|one| aside.contains(&id(one)));
    // What the message is about is never aside, though nothing else may refer to it.
    let about = theirs.iter().flat_map(|one| references(&one["focus"]));
    let kept: HashSet<&str> = about.chain(others.iter().flat_map(|one| references(one))).collect();
    let gone: Vec<&str> = theirs.iter().flat_map(|one| references(one)).filter(|url| !kept.contains(url)).collect();
    let gone = gone.iter().filter_map(|url| url.strip_prefix("urn:uuid:")).map(str::to_owned);
    aside.into_iter().chain(gone).collect()
}

/// Where it refers to.
fn references(value: &Value) -> Vec<&str> {
    let (mut found, mut waiting) = (Vec::new(), vec![value]);
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(object) => {
                found.extend(object.get("reference").and_then(Value::as_str));
                waiting.extend(object.values());
            }
            _ => {}
        }
    }
    found
}

/// The resources of a Bundle, but for the header of the message that it was.
pub(super) fn resources(bundle: &mut Value) -> Vec<Value> {
    let entries = bundle.get_mut("entry").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let resources = entries.into_iter().filter_map(|mut entry| entry.get_mut("resource").map(Value::take));
    resources.filter(|resource| resource["resourceType"] != HEADER).collect()
}
