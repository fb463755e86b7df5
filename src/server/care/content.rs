//! What an event says in FHIR, for somebody: its message is translated again as it was translated when it came, and judged for them.
use crate::coordination::loops::Definition;
use crate::coordination::options::Facilities;
use crate::coordination::roster::{Membership, Snapshot};
use crate::coordination::sensitivity::{self, visit_text};
use crate::coordination::work::telling::{Subject, Telling};
use crate::coordination::work::{consents_now, roster_consent};
use crate::coordination::{PersonKey, loops, registry};
use crate::delivery::{Plans, translated};
use crate::facets::uuid_text;
use crate::journal::{self, Item, Journal, Limits, Reader};
use crate::mapping::Scratch;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Consent, Facts, Found, Reason, Recipient, Release, visits};
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
    reading: Mutex<(Reader, Scratch)>,
}

impl Contents {
    pub(super) fn new(journal: &Journal, plans: &Arc<Plans>, facilities: Facilities) -> Contents {
        Contents { plans: Arc::clone(plans), facilities, reading: Mutex::new((journal.reader(), Scratch::default())) }
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
        let (found, bundle) = match self.subject(shared, telling, people.now)? {
            Ok(subject) => subject,
            Err(released) => return Ok(released),
        };
        let person = uuid_text(&people.now.0);
        let Some(consents) = consents(shared, &people)? else {
            return Ok(Released::Withheld(Reason::Failed));
        };
        let at_ms = telling.at_ms();
        let facts = Facts { found, person: &person, consents: &consents, roster: &roster, at_ms, now_ms };
        Ok(match shared.gate.release(recipient, &facts, content, bundle) {
            Release::Withheld(reason) => Released::Withheld(reason),
            Release::Shared(shared) => Released::Resources(match shared.bundle {
                Some(mut bundle) => resources(&mut bundle),
                None => shared.resources.iter().filter(|(kind, _)| kind != HEADER).map(named).collect(),
            }),
        })
    }

    /// Whom something that was told is about by now, for the audit.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn person(&self, shared: &super::Shared, telling: &Telling) -> rusqlite::Result<PersonKey> {
        whose(shared, telling).map(|people| people.now)
    }

    /// Its labels, then and now, and all of it, before anybody has judged it; or why there is nothing to judge.
    fn subject(
        &self,
        shared: &super::Shared,
        telling: &Telling,
        now: PersonKey,
    ) -> Result<Result<(Found, Value), Released>, ContentError> {
        let labels = shared.gate.labels();
        let then = telling.found(labels);
        let (known, bundle) = match &telling.subject {
            Subject::Event(event) => {
                let earlier = match &event.visit {
                    Some(visit) => visits::labels_of(&shared.database(), &visit_text(visit))?,
                    None => Vec::new(),
                };
                let Some(bundle) = self.message(event.seq)? else { return Ok(Err(Released::Gone)) };
                (sensitivity::found(labels, &self.facilities, &**event, &earlier), bundle)
            }
            Subject::Loop { number, step, .. } => {
                let database = shared.database();
                let Some(found) = loops::find(&database, *number)? else { return Ok(Err(Released::Gone)) };
                // Whose it is has been corrected since: they were told of nobody of theirs.
                if found.person != now {
                    return Ok(Err(Released::Withheld(Reason::Policy)));
                }
                let Some(step) = found.steps.iter().find(|one| one.id == *step) else {
                    return Ok(Err(Released::Gone));
                };
                let keys = [Some(format!("loop|{number}")), found.facts.visit.as_ref().map(visit_text)];
                let (mut all, mut whole) = (Vec::new(), Vec::new());
                for key in keys.into_iter().flatten() {
                    all.extend(visits::labels_of(&database, &key)?);
                    whole.extend(visits::labels_of(&database, &format!("{key}|whole"))?);
                }
                let definition = shared.options.loops.definitions.iter().find(|one| one.id == found.definition);
                // Its name alone tells of a diagnosis or a result.
                if definition.is_none_or(Definition::is_coded) {
                    whole.clone_from(&all);
                }
                let look = |codes: &[String]| labels.look().earlier(codes.iter().map(String::as_str)).found().all;
                let known = Found { all: look(&all), whole: look(&whole) };
                let person = uuid_text(&now.0);
                let zone = self.facilities.zone(&found.facts.facility);
                let task = loops::task(&found, step, &format!("Patient/{person}"), None, None, zone);
                let patient = json!({
                    "resourceType": "Patient", "id": person, "identifier": [{ "system": PEOPLE, "value": person }],
                });
                let entries = [entry(task), entry(patient)];
                (known, json!({ "resourceType": "Bundle", "type": "collection", "entry": entries }))
            }
        };
        Ok(Ok((Found { all: then.all.with(known.all), whole: then.whole.with(known.whole) }, bundle)))
    }

    /// A message in FHIR; none where the journal does not have it any more, or it cannot be translated.
    fn message(&self, seq: u64) -> Result<Option<Value>, ContentError> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, scratch) = &mut *reading;
        let one = Limits { records_max: 1, ..Limits::default() };
        let items = match reader.read(seq, one) {
            Err(journal::Error::Pruned { .. }) => return Ok(None),
            items => items?,
        };
        let Some(Item::Record(_, record)) = items.into_iter().next() else { return Ok(None) };
        let bundle = translated(seq, record, &self.plans, scratch);
        Ok(bundle.and_then(|bundle| serde_json::from_slice(&bundle).ok()))
    }
}

/// Whom something that was told is about.
struct People {
    /// Whose it is now.
    now: PersonKey,
    /// Whose it was otherwise, before merges. What they said of consent holds too: it is one and the same patient.
    before: Vec<PersonKey>,
}

/// A merge takes loops along; what a message says stays about whom it names.
///
/// # Errors
/// A database that cannot be read.
fn whose(shared: &super::Shared, telling: &Telling) -> rusqlite::Result<People> {
    let Subject::Loop { number, .. } = &telling.subject else {
        return Ok(People { now: telling.person, before: Vec::new() });
    };
    let database = shared.database();
    let now = loops::whose(&database, telling.person)?;
    let origin = loops::find(&database, *number)?.map(|found| found.origin);
    let mut before: Vec<_> = [Some(telling.person), origin].into_iter().flatten().filter(|one| *one != now).collect();
    before.dedup();
    Ok(People { now, before })
}

/// What all of them said, as if the one had; none where it cannot be read.
fn consents(shared: &super::Shared, people: &People) -> Result<Option<Vec<Consent>>, registry::Error> {
    let patient = uuid_text(&people.now.0);
    let mut all = Vec::new();
    for person in [&people.now].into_iter().chain(&people.before) {
        let Some(mut theirs) = consents_now(&shared.registry, &uuid_text(&person.0))? else { return Ok(None) };
        theirs.iter_mut().for_each(|consent| consent.patient.clone_from(&patient));
        all.extend(theirs);
    }
    Ok(Some(all))
}

/// The panels with what their rosters said of consent then, and what they say by now of a membership that was not over before. Of somebody who is another now, those of which the other
/// was a member as well, with what is said of them.
fn panels(snapshot: &Snapshot, telling: &Telling, people: &People) -> Vec<(String, String)> {
    let mut all = telling.panels.clone();
    if people.now != telling.person {
        let theirs: Vec<_> = snapshot.memberships_at(&people.now, telling.at_ms()).collect();
        all.retain(|(panel, _)| theirs.iter().any(|one| one.panel.id == *panel));
        let told: Vec<_> = all.iter().map(|(panel, _)| panel.clone()).collect();
        let told = theirs.into_iter().filter(|one| told.contains(&one.panel.id));
        all.extend(told.map(|one| (one.panel.id.clone(), one.consent.to_owned())));
    }
    let remain: Vec<_> =
        telling.panels.iter().filter(|(panel, _)| all.iter().any(|(other, _)| other == panel)).collect();
    for (panel, _) in remain {
        let of_panel = || snapshot.memberships(&telling.person).filter(|one| one.panel.id == *panel);
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
