//! What somebody sees of a person, and how it is put together of what is shown of each group.
use super::super::content::PEOPLE;
use super::sheet::{Drawn, Piece};
use crate::coordination::PersonKey;
use crate::coordination::card::{Group, Section, Source};
use crate::coordination::subscription::relink;
use crate::facets::uuid_text;
use crate::fhir::identity::version_5;
use hashbrown::HashMap;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The namespace of ids of Provenances, a UUID of our own.
const PROVENANCES: [u8; 16] =
    [0x77, 0x1e, 0x0b, 0xd2, 0x45, 0xa6, 0x4c, 0x19, 0x93, 0x5f, 0xe8, 0x20, 0x6d, 0xbc, 0x31, 0x04];
/// The system of numbers of messages (MSH-10).
pub const CONTROL_ID: &str = "urn:handoff:message-control-id";

/// The picture of a person.
#[derive(Clone, PartialEq)]
pub struct Picture {
    /// Whose.
    pub person: PersonKey,
    /// As the API writes it.
    pub id: String,
    /// What is shown of messages, by section, the newest first.
    pub entries: Vec<Entry>,
    /// All resources, each once, referring to each other by `Type/id`: the person first.
    pub resources: Vec<Resource>,
    /// Sections that the recipient may see.
    pub sections: Vec<Section>,
    /// Open loops may be seen.
    pub loops: bool,
    /// Sections of which older entries were told than the card holds.
    pub more: BTreeSet<Section>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Picture({} entries)", self.entries.len())
    }
}

/// A resource of a picture.
#[derive(Clone, Default, PartialEq)]
pub struct Resource {
    /// Its type.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// All of it, compact.
    pub json: String,
    /// What it is about, for people.
    pub label: String,
    /// How it stands, for people.
    pub state: String,
    /// Until when an appointment lasts, as an instant of FHIR; empty where nobody says so, and of all else.
    pub ends: String,
    /// Marked as restricted, or more.
    pub is_restricted: bool,
    /// The places of those that it refers to.
    pub references: Vec<usize>,
    /// It refers to something that is not there.
    pub refers_outside: bool,
    /// Of a Provenance the places of those of which it tells.
    pub targets: Vec<usize>,
}

impl Resource {
    /// As a value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// Whether an appointment is over. One of which nobody says when it is may be yet to come.
pub fn is_past(appointment: &Resource, now_ms: i64) -> bool {
    appointment.ends.parse::<jiff::Timestamp>().is_ok_and(|ends| ends.as_millisecond() < now_ms)
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Resource({}, {} bytes)", self.kind, self.json.len())
    }
}

/// An entry of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub section: Section,
    /// The place of its resource.
    pub at: usize,
    /// When it happened, in milliseconds since 1970 (UTC); none where that may not be told.
    pub at_ms: Option<i64>,
    /// Where.
    pub facility: String,
    /// The codes of the labels that it carries.
    pub labels: Vec<String>,
    /// What told it: more than one where several did.
    pub sources: Vec<Source>,
}

impl Picture {
    /// A resource of it.
    pub fn resource(&self, kind: &str, id: &str) -> Option<&Resource> {
        self.resources.iter().find(|one| one.kind == kind && one.id == id)
    }

    /// The resource of an entry.
    pub fn of(&self, entry: &Entry) -> Option<&Resource> {
        self.resources.get(entry.at)
    }
}

/// What each entry of a group is about, by type and id, and which messages told it.
pub(super) struct Told<'d>(Vec<Entered<'d>>);

/// Type and id of an entry, its section, and who told it.
type Entered<'d> = ((&'d str, &'d str), Section, Vec<&'d Source>);

impl<'d> Told<'d> {
    /// Which message told which entry, before anything is taken out.
    pub fn of(group: &'d Group, drawn: &'d Drawn) -> Told<'d> {
        let of = |section: Section| group.sources.iter().filter(move |source| source.section == section);
        let told = |(at, piece): (usize, &'d Arc<Piece>)| {
            let section = section_of(group.section, &piece.kind)?;
            // Of a visit that the card has no more its diagnoses still name the number.
            of(section).next()?;
            let own: Vec<&Source> = match &drawn.segments {
                // By the segments of which it was made.
                Some(segments) if section == Section::Condition => {
                    let numbers = segments.get(at).map(Vec::as_slice).unwrap_or_default();
                    numbers.iter().filter_map(|number| of(section).nth(*number)).collect()
                }
                // One message told all of them.
                _ => of(section).take(1).collect(),
            };
            Some(((piece.kind.as_str(), piece.id.as_str()), section, own))
        };
        Told(drawn.pieces.iter().enumerate().filter_map(told).collect())
    }

    fn get(&self, piece: &Piece) -> Option<(Section, &[&'d Source])> {
        let found = self.0.iter().find(|(of, ..)| *of == (piece.kind.as_str(), piece.id.as_str()));
        found.map(|(_, section, sources)| (*section, sources.as_slice()))
    }
}

/// What has been shown so far.
#[derive(Default)]
pub(super) struct Collected {
    entries: Vec<Entry>,
    pieces: Vec<Arc<Piece>>,
    /// By id the types of those that are there.
    known: HashMap<String, Vec<String>>,
}

impl Collected {
    /// Adds what is shown of a group, of which the labels are these.
    pub fn take(&mut self, group: &Group, (labels, told): (&[String], &Told<'_>), pieces: Vec<Arc<Piece>>) {
        // What stood beside entries that may not be seen tells of them.
        if !pieces.iter().any(|piece| told.get(piece).is_some()) {
            return;
        }
        for piece in pieces {
            let (at, entry) = (self.pieces.len(), told.get(&piece));
            if !self.add(piece) {
                continue;
            }
            if let Some((section, sources)) = entry {
                self.entries.push(Entry {
                    section,
                    at,
                    at_ms: sources.iter().map(|source| source.at_ms).max(),
                    facility: group.facility.clone(),
                    labels: labels.to_vec(),
                    sources: sources.iter().map(|source| (*source).clone()).collect(),
                });
            }
        }
    }

    /// Adds a resource; whether it was not there.
    pub fn add(&mut self, piece: Arc<Piece>) -> bool {
        if let Some(kinds) = self.known.get_mut(piece.id.as_str()) {
            if kinds.contains(&piece.kind) {
                return false;
            }
            kinds.push(piece.kind.clone());
        } else {
            self.known.insert(piece.id.clone(), vec![piece.kind.clone()]);
        }
        self.pieces.push(piece);
        true
    }

    /// All of it, as the picture of a person; none where that cannot be looked at. `read` makes a piece of a resource of ours.
    pub fn picture(
        self,
        (person, id): (PersonKey, String),
        (sections, more, loops): (Vec<Section>, BTreeSet<Section>, bool),
        mut read: impl FnMut(&str) -> Option<Arc<Piece>>,
    ) -> Option<Picture> {
        let Collected { mut entries, pieces, .. } = self;
        let provenances = provenances(&id, &entries, &pieces);
        // The person first.
        let mut all = vec![read(&patient(&id, &pieces).to_string())?];
        entries.iter_mut().for_each(|entry| entry.at += all.len());
        all.extend(pieces);
        all.extend(provenances.iter().filter_map(|one| read(one)));
        Some(Picture { person, id, entries, resources: resources(&all), sections, loops, more })
    }
}

/// With references among them alone, and to where each leads.
fn resources(pieces: &[Arc<Piece>]) -> Vec<Resource> {
    let places: HashMap<(&str, &str), usize> =
        pieces.iter().enumerate().map(|(at, one)| ((one.kind.as_str(), one.id.as_str()), at)).collect();
    let kinds: HashMap<&str, &str> = pieces.iter().map(|one| (one.id.as_str(), one.kind.as_str())).collect();
    let place = |url: &String| match url.strip_prefix("urn:uuid:") {
        Some(id) => places.get(&(*kinds.get(id)?, id)).copied(),
        None => places.get(&url.split_once('/')?).copied(),
    };
    let resource = |one: &Arc<Piece>| Resource {
        json: relink(&one.json, |id| kinds.get(id).copied()),
        kind: one.kind.clone(),
        id: one.id.clone(),
        label: one.label.clone(),
        state: one.state.clone(),
        ends: one.ends.clone(),
        is_restricted: one.is_restricted,
        references: one.references.iter().filter_map(place).collect(),
        refers_outside: one.references.iter().any(|url| !url.starts_with("urn:uuid:") && place(url).is_none()),
        targets: one.targets.iter().filter_map(place).collect(),
    };
    pieces.iter().map(resource).collect()
}

/// Of which section a resource is the entry itself.
fn section_of(group: Section, kind: &str) -> Option<Section> {
    let own = |section: &Section| match section {
        // A visit names its diagnoses.
        Section::Encounter | Section::Condition => group == Section::Encounter,
        other => *other == group,
    };
    Section::ALL.into_iter().filter(own).find(|section| kinds(*section).contains(&kind))
}

/// The types of the resources that are entries of a section.
pub(super) fn kinds(section: Section) -> &'static [&'static str] {
    match section {
        Section::Head => &["Patient"],
        Section::Encounter => &["Encounter"],
        Section::Condition => &["Condition"],
        Section::Allergy => &["AllergyIntolerance"],
        Section::Medication => &["MedicationRequest", "MedicationDispense"],
        Section::Document => &["DocumentReference"],
        Section::Appointment => &["Appointment"],
        Section::Result => &["DiagnosticReport", "Observation"],
    }
}

/// The person: by the id that the gateway gives them, with the patients that feeds tell of. Name, birth and sex are those of the feed heard of last.
fn patient(id: &str, pieces: &[Arc<Piece>]) -> Value {
    let theirs = pieces.iter().filter(|one| one.kind == "Patient");
    let theirs: Vec<Value> = theirs.filter_map(|one| serde_json::from_str(&one.json).ok()).collect();
    let mut whole = json!({ "resourceType": "Patient", "id": id, "identifier": [{ "system": PEOPLE, "value": id }] });
    for name in ["name", "telecom", "gender", "birthDate", "address"] {
        let mut told = theirs.iter().filter_map(|one| one.get(name));
        if let Some(value) = told.next() {
            whole[name] = value.clone();
        }
    }
    // One element, whichever feed tells it: who died somewhere did.
    let date = theirs.iter().find_map(|one| one.get("deceasedDateTime"));
    let said = theirs.iter().filter_map(|one| one.get("deceasedBoolean"));
    let said = said.clone().find(|said| **said == true).or(said.clone().next());
    match (date, said) {
        (Some(date), _) => whole["deceasedDateTime"] = date.clone(),
        (None, Some(said)) => whole["deceasedBoolean"] = said.clone(),
        (None, None) => {}
    }
    let link = |one: &Value| json!({ "other": { "reference": format!("Patient/{}", one["id"].as_str().unwrap_or_default()) }, "type": "seealso" });
    let links: Vec<Value> = theirs.iter().map(link).collect();
    if !links.is_empty() {
        whole["link"] = links.into();
    }
    whole
}

/// Of each message one that names what it told, as JSON.
fn provenances(person: &str, entries: &[Entry], pieces: &[Arc<Piece>]) -> Vec<String> {
    let mut all: BTreeMap<(u64, &str), (&Source, Vec<usize>)> = BTreeMap::new();
    for one in entries {
        for source in &one.sources {
            let (_, targets) = all.entry((source.seq, &source.control_id)).or_insert_with(|| (source, Vec::new()));
            if !targets.contains(&one.at) {
                targets.push(one.at);
            }
        }
    }
    let quoted = |text: &str| Value::from(text).to_string();
    let provenance = |(source, targets): (&Source, Vec<usize>)| {
        let id = uuid_text(&version_5(&PROVENANCES, &[person.as_bytes(), b"|", &source.seq.to_be_bytes()]));
        let recorded = jiff::Timestamp::from_millisecond(source.received_ms).unwrap_or_default();
        let targets = targets.iter().filter_map(|at| pieces.get(*at));
        let target =
            |piece: &Arc<Piece>| format!("{{\"reference\":{}}}", quoted(&format!("{}/{}", piece.kind, piece.id)));
        let targets = targets.map(target).collect::<Vec<_>>().join(",");
        let entity = if source.control_id.is_empty() {
            String::new()
        } else {
            let value = quoted(&source.control_id);
            format!(
                ",\"entity\":[{{\"role\":\"source\",\"what\":{{\"identifier\":{{\"system\":\"{CONTROL_ID}\",\"value\":{value}}}}}}}]"
            )
        };
        let feed = quoted(&source.feed);
        format!(
            "{{\"resourceType\":\"Provenance\",\"id\":\"{id}\",\"target\":[{targets}],\"recorded\":\"{recorded:.3}\",\"agent\":[{{\"who\":{{\"display\":{feed}}}}}]{entity}}}"
        )
    };
    all.into_values().map(provenance).collect()
}
