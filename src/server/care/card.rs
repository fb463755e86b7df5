//! The card of a person for somebody: what messages told is translated again and judged for them at that moment, as what they are notified of.
//!
//! A section is shown to who may have the topics by which its entries are told; a person to who has them in one of its panels now. What cannot be judged is not shown.
use super::Shared;
use super::content::{ContentError, PEOPLE, People, consents, entry, of_header, resources};
use crate::coordination::card::{Card, Group, Section, Source, groups};
use crate::coordination::care_team::{self, Member, Source as Whence};
use crate::coordination::loops::{self, State};
use crate::coordination::sensitivity::{self, Said};
use crate::coordination::subscription::relative;
use crate::coordination::subscription::topic::{TOPICS, Trigger};
use crate::coordination::work::{labels_of_loop, roster_consent, whole_of};
use crate::coordination::{Kind, PersonKey, lineage};
use crate::facets::uuid_text;
use crate::fhir::identity::version_5;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Decision, Facts, Found, Labels, Reason, Recipient, Release, Set, visits};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Loops of a person that are shown.
const LOOPS_MAX: usize = 20;
/// The namespace of ids of Provenances, a UUID of our own.
const PROVENANCES: [u8; 16] =
    [0x77, 0x1e, 0x0b, 0xd2, 0x45, 0xa6, 0x4c, 0x19, 0x93, 0x5f, 0xe8, 0x20, 0x6d, 0xbc, 0x31, 0x04];
/// The system of numbers of messages (MSH-10).
pub const CONTROL_ID: &str = "urn:handoff:message-control-id";

/// What somebody sees of a person.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// This.
    Picture(Box<Picture>),
    /// Nothing, by a policy or a consent.
    Withheld(Reason),
    /// It is nobody that they look after.
    Nobody,
}

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
    pub resources: Vec<Value>,
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

/// An entry of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub section: Section,
    /// The type of its resource.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// When it happened.
    pub at_ms: i64,
    /// Where.
    pub facility: String,
    /// The codes of the labels that it carries.
    pub labels: Vec<String>,
    /// What told it: more than one where its parts cannot be told apart.
    pub sources: Vec<Source>,
}

impl Picture {
    /// A resource of it.
    pub fn resource(&self, kind: &str, id: &str) -> Option<&Value> {
        self.resources.iter().find(|one| one["resourceType"] == kind && one["id"] == id)
    }
}

/// What a recipient may see of a person now. Blocks.
///
/// # Errors
/// What cannot be read: nothing is to be shown then.
pub fn picture(shared: &Shared, recipient: &Recipient, person: PersonKey, now_ms: i64) -> Result<Seen, ContentError> {
    let database = shared.database();
    let person = lineage::root(&database, lineage::known_as(&database, person)?)?;
    let people = People { then: person, now: person, same: lineage::same(&database, person)? };
    drop(database);
    let Some(roster) = roster_consent(recipient, &panels(shared, &people, now_ms)) else { return Ok(Seen::Nobody) };
    let id = uuid_text(&person.0);
    let Some(consents) = consents(shared, &people, &id)? else { return Ok(Seen::Withheld(Reason::Failed)) };
    let found = Found::default();
    let facts = Facts { found, person: &id, consents: &consents, roster: &roster, at_ms: now_ms, now_ms };
    if let Decision::Withhold(reason) = shared.gate.decide(recipient, &facts) {
        return Ok(Seen::Withheld(reason));
    }
    if recipient.max_content == MaxContent::Empty {
        return Ok(Seen::Withheld(Reason::Policy));
    }
    let mut reading = recipient.clone();
    // Who may have ids may read by them.
    reading.max_content = MaxContent::FullResource;
    let sections: Vec<Section> = Section::ALL.into_iter().filter(|section| may_see(recipient, *section)).collect();
    let loops = may(recipient, Trigger::OpenLoop);
    let (groups, judged, mut more) = {
        let database = shared.database();
        let card = Card::read(&database, person)?;
        let mut groups = groups(&card);
        groups.retain(|group| sections.contains(&group.section));
        let judge = |group: &Group| labels_of(&database, shared, group);
        let judged = groups.iter().map(judge).collect::<rusqlite::Result<Vec<_>>>()?;
        (groups, judged, card.more)
    };
    more.retain(|section| sections.contains(section));
    let release = |group: &Group, found: Found, bundle: Value| {
        let facts = Facts { found, at_ms: group.at_ms, ..facts };
        released(shared, &reading, &facts, bundle)
    };
    let mut shown = collect(shared, &groups, judged, release);
    if loops {
        let tasks = tasks(shared, &reading, (person, &id), &facts)?;
        shown.resources.extend(tasks);
    }
    shown.resources.extend(team(shared, &reading, person, &facts)?);
    Ok(Seen::Picture(Box::new(shown.picture(person, id, (sections, more), loops))))
}

/// The card of a person as it is kept, for those who run the gateway and may read messages; with the labels of each entry. None of nobody. Blocks.
///
/// # Errors
/// What cannot be read.
pub fn opened(shared: &Shared, person: PersonKey) -> Result<Option<Picture>, ContentError> {
    let (person, groups, judged, more) = {
        let database = shared.database();
        let person = lineage::root(&database, lineage::known_as(&database, person)?)?;
        let card = Card::read(&database, person)?;
        let groups = groups(&card);
        let judged = groups.iter().map(|group| labels_of(&database, shared, group));
        let judged = judged.collect::<rusqlite::Result<Vec<_>>>()?;
        (person, groups, judged, card.more)
    };
    if groups.is_empty() && !shared.rosters.current().has(&person) {
        return Ok(None);
    }
    let release = |_: &Group, _: Found, mut bundle: Value| {
        let aside = of_header(&bundle);
        let mut all = resources(&mut bundle);
        all.retain(|one| !one["id"].as_str().is_some_and(|id| aside.iter().any(|own| own == id)));
        all
    };
    let shown = collect(shared, &groups, judged, release);
    let id = uuid_text(&person.0);
    Ok(Some(shown.picture(person, id, (Section::ALL.to_vec(), more), true)))
}

/// What is shown of messages.
fn collect(
    shared: &Shared,
    groups: &[Group],
    judged: Vec<Found>,
    release: impl Fn(&Group, Found, Value) -> Vec<Value>,
) -> Collected {
    let mut shown = Collected::default();
    for (group, found) in groups.iter().zip(judged) {
        let Some(bundle) = shared.contents.assembled(group) else { continue };
        let labels = shared.gate.labels().names(found.all).into_iter().map(str::to_owned).collect();
        let told = paired(group, &bundle);
        let mut bundle = bundle;
        unstated(group, &mut bundle);
        shown.take(group, (labels, &told), release(group, found, bundle));
    }
    shown
}

/// Of a visit that is only named nobody told how it is.
fn unstated(group: &Group, bundle: &mut Value) {
    if group.sources.iter().any(|source| source.section == Section::Encounter) {
        return;
    }
    for entry in bundle["entry"].as_array_mut().into_iter().flatten() {
        if entry["resource"]["resourceType"] == "Encounter" {
            entry["resource"]["status"] = "unknown".into();
        }
    }
}

/// The panels of a person now, with what each roster says of consent, also of whoever is one and the same.
fn panels(shared: &Shared, people: &People, now_ms: i64) -> Vec<(String, String)> {
    let snapshot = shared.rosters.current();
    let own = |key: &PersonKey| -> Vec<(String, String)> {
        snapshot.memberships_at(key, now_ms).map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect()
    };
    let mut all = own(&people.now);
    let panels: BTreeSet<String> = all.iter().map(|(panel, _)| panel.clone()).collect();
    let others = people.same.iter().flatten().filter(|other| **other != people.now);
    let others: Vec<_> = others.flat_map(own).filter(|(panel, _)| panels.contains(panel)).collect();
    all.extend(others);
    all
}

/// By which events entries of a section are told: who may have all of them sees it.
fn may_see(recipient: &Recipient, section: Section) -> bool {
    let all = |kinds: &[Kind]| kinds.iter().all(|kind| may(recipient, Trigger::Event(*kind)));
    match section {
        Section::Head => Section::ALL.into_iter().skip(1).any(|section| may_see(recipient, section)),
        Section::Encounter | Section::Condition | Section::Allergy => all(&[Kind::Admission, Kind::Discharge]),
        Section::Medication => all(&[Kind::MedicationChange]),
        Section::Document => all(&[Kind::Document]),
        Section::Appointment => all(&[Kind::AppointmentBooked]),
        Section::Result => all(&[Kind::Result]),
    }
}

fn may(recipient: &Recipient, trigger: Trigger) -> bool {
    let own = TOPICS.iter().filter(|topic| recipient.topics.iter().any(|own| own == topic.id));
    own.flat_map(|topic| topic.triggers).any(|(one, _)| *one == trigger)
}

/// The labels of a group: those that its entries were kept with, and what is known by now of where it happened and of its visit.
fn labels_of(database: &Connection, shared: &Shared, group: &Group) -> rusqlite::Result<Found> {
    let labels = shared.gate.labels();
    let (mut earlier, mut whole) = (Vec::new(), Vec::new());
    if !group.visit.is_empty() {
        earlier = visits::labels_of(database, &group.visit)?;
        whole = visits::labels_of(database, &whole_of(&group.visit))?;
    }
    let nothing = Default::default();
    let said = Said { facility: &group.facility, feed: &group.feed, codes: &[], confidentiality: &nothing };
    let now = sensitivity::found(labels, &shared.options.facilities, said, &earlier);
    let (all, then) = &group.labels;
    let over = now.whole.with(set(labels, then)).with(set(labels, &whole));
    Ok(Found { all: now.all.with(set(labels, all)).with(over), whole: over })
}

/// Labels by their codes. One that is not configured any more is no less of a secret: it counts as all of them.
fn set(labels: &Labels, codes: &[String]) -> Set {
    codes.iter().fold(Set::default(), |set, code| set.with(labels.of(code).unwrap_or(labels.every())))
}

/// The resources that may be seen, without the header of the message.
fn released(shared: &Shared, recipient: &Recipient, facts: &Facts<'_>, bundle: Value) -> Vec<Value> {
    let aside = of_header(&bundle);
    match shared.gate.release(recipient, facts, MaxContent::FullResource, bundle) {
        Release::Withheld(_) => Vec::new(),
        Release::Shared(shared) => {
            let mut all = shared.bundle.map(|mut bundle| resources(&mut bundle)).unwrap_or_default();
            all.retain(|one| !one["id"].as_str().is_some_and(|id| aside.iter().any(|own| own == id)));
            all
        }
    }
}

/// A Task for each step of the loops that go on.
fn tasks(
    shared: &Shared,
    recipient: &Recipient,
    (person, id): (PersonKey, &str),
    facts: &Facts<'_>,
) -> Result<Vec<Value>, ContentError> {
    let database = shared.database();
    let patient = format!("Patient/{id}");
    let mut all = Vec::new();
    for found in loops::going_on(&database, person, LOOPS_MAX)? {
        // That somebody is in a panel of others is theirs to know.
        let is_theirs = found.facts.panels.iter().any(|panel| recipient.panels.contains(panel));
        if !is_theirs || !matches!(found.state, State::Open | State::Overdue) {
            continue;
        }
        let labels = labels_of_loop(&database, shared.gate.labels(), &shared.options.loops, &found)?;
        let zone = shared.options.facilities.zone(&found.facts.facility);
        let entries: Vec<_> =
            found.steps.iter().map(|step| entry(loops::task(&found, step, &patient, None, zone))).collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": entries });
        let facts = Facts { found: labels, at_ms: found.opened_ms, ..*facts };
        all.extend(released(shared, recipient, &facts, bundle));
    }
    Ok(all)
}

/// Who looks after the person, as the panels of the recipient and messages say; nobody by whom more would be told than that.
fn team(
    shared: &Shared,
    recipient: &Recipient,
    person: PersonKey,
    facts: &Facts<'_>,
) -> Result<Vec<Value>, ContentError> {
    if !may_see(recipient, Section::Encounter) {
        return Ok(Vec::new());
    }
    let snapshot = shared.rosters.current();
    let memberships = snapshot.memberships_at(&person, facts.now_ms);
    let memberships: Vec<_> = memberships.filter(|one| recipient.panels.contains(&one.panel.id)).collect();
    let members: Vec<_> = memberships.iter().map(Member::of).collect();
    let mut team = care_team::team(&shared.database(), person, &members, facts.now_ms, &shared.options.care_team)?;
    let database = shared.database();
    let (mut judged, labels) = (Vec::new(), shared.gate.labels());
    for member in team.members {
        // Who is known by a visit is shown to whom the visit is, and nobody by a visit of which that is not known.
        let mut is_shown = member.source != Whence::Visit && !member.secret;
        if member.source == Whence::Visit {
            for visit in care_team::visits_of(&database, person, &member)? {
                let all = visits::labels_of(&database, &visit)?;
                let whole = set(labels, &visits::labels_of(&database, &whole_of(&visit))?);
                let found = Found { all: set(labels, &all).with(whole), whole };
                let is_unknown = member.secret && found.whole.is_empty();
                let facts = Facts { found, ..*facts };
                is_shown |= !is_unknown && !matches!(shared.gate.decide(recipient, &facts), Decision::Withhold(_));
            }
        }
        if is_shown {
            judged.push(member);
        }
    }
    drop(database);
    team.members = judged;
    // Conflicts may be with somebody who is not shown.
    team.conflicts.clear();
    if team.members.is_empty() {
        return Ok(Vec::new());
    }
    let zone = shared.options.facilities.zone("");
    let team = care_team::care_team(&team, facts.person, &format!("Patient/{}", facts.person), zone);
    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [entry(team)] });
    Ok(released(shared, recipient, facts, bundle))
}

/// By type and id what an entry is about, and which messages told it.
type Paired = BTreeMap<(String, String), (Section, Vec<Source>)>;

/// Which message told which entry, before anything is taken out: what is left of two would be taken for what is not.
fn paired(group: &Group, bundle: &Value) -> Paired {
    let entries = bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
    let mut by_section: BTreeMap<Section, Vec<&Value>> = BTreeMap::new();
    for resource in entries {
        if let Some(section) = section_of(group.section, resource) {
            by_section.entry(section).or_default().push(resource);
        }
    }
    let mut all = Paired::new();
    for (section, resources) in by_section {
        let own: Vec<&Source> = group.sources.iter().filter(|source| source.section == section).collect();
        // Of a visit that the card has no more its diagnoses still name the number.
        let Some(first) = own.first() else { continue };
        let is_one = own.iter().all(|source| source.seq == first.seq);
        for (at, resource) in resources.iter().enumerate() {
            // The n-th comes of the n-th, as long as each gave one; else of any that is no secret.
            let sources = match own.get(at) {
                _ if is_one => vec![(*first).clone()],
                Some(source) if own.len() == resources.len() => vec![(*source).clone()],
                _ => own.iter().filter(|source| !source.is_secret).map(|source| (*source).clone()).collect(),
            };
            all.insert(named(resource), (section, sources));
        }
    }
    all
}

fn named(resource: &Value) -> (String, String) {
    let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
    (text("resourceType"), text("id"))
}

/// What has been shown so far.
#[derive(Default)]
struct Collected {
    entries: Vec<Entry>,
    resources: Vec<Value>,
    known: BTreeSet<(String, String)>,
}

impl Collected {
    fn take(&mut self, group: &Group, (labels, told): (Vec<String>, &Paired), resources: Vec<Value>) {
        // What stood beside entries that may not be seen tells of them.
        if !resources.iter().any(|one| told.contains_key(&named(one))) {
            return;
        }
        for resource in resources {
            let (kind, id) = named(&resource);
            if !self.known.insert((kind.clone(), id.clone())) {
                continue;
            }
            if let Some((section, sources)) = told.get(&(kind.clone(), id.clone())) {
                let (section, sources, labels) = (*section, sources.clone(), labels.clone());
                let at_ms = sources.iter().map(|source| source.at_ms).max().unwrap_or(group.at_ms);
                let facility = group.facility.clone();
                self.entries.push(Entry { section, kind, id, at_ms, facility, labels, sources });
            }
            self.resources.push(resource);
        }
    }

    fn picture(
        mut self,
        person: PersonKey,
        id: String,
        (sections, more): (Vec<Section>, BTreeSet<Section>),
        loops: bool,
    ) -> Picture {
        let whole = patient(&id, &self.resources);
        self.resources.insert(0, whole);
        let provenances = provenances(&id, &self.entries);
        self.resources.extend(provenances);
        let resources = relative(&self.resources);
        Picture { person, id, entries: self.entries, resources, sections, loops, more }
    }
}

/// Of which section a resource is the entry itself.
fn section_of(group: Section, resource: &Value) -> Option<Section> {
    let kind = resource["resourceType"].as_str().unwrap_or_default();
    let of = match (group, kind) {
        (Section::Head, "Patient") => Section::Head,
        (Section::Encounter, "Encounter") => Section::Encounter,
        (Section::Encounter, "Condition") => Section::Condition,
        (Section::Allergy, "AllergyIntolerance") => Section::Allergy,
        (Section::Medication, "MedicationRequest" | "MedicationDispense") => Section::Medication,
        (Section::Document, "DocumentReference") => Section::Document,
        (Section::Appointment, "Appointment") => Section::Appointment,
        (Section::Result, "DiagnosticReport" | "Observation") => Section::Result,
        _ => return None,
    };
    Some(of)
}

/// The person: by the id that the gateway gives them, with the patients that feeds tell of. Name, birth and sex are those of the feed heard of last.
fn patient(id: &str, resources: &[Value]) -> Value {
    let theirs: Vec<&Value> = resources.iter().filter(|one| one["resourceType"] == "Patient").collect();
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
    let link = |one: &&Value| json!({ "other": { "reference": format!("Patient/{}", one["id"].as_str().unwrap_or_default()) }, "type": "seealso" });
    let links: Vec<Value> = theirs.iter().map(link).collect();
    if !links.is_empty() {
        whole["link"] = links.into();
    }
    whole
}

/// Of each message one that names what it told.
fn provenances(person: &str, entries: &[Entry]) -> Vec<Value> {
    let mut all: BTreeMap<(u64, &str), (&Source, Vec<Value>)> = BTreeMap::new();
    for one in entries {
        let target = json!({ "reference": format!("{}/{}", one.kind, one.id) });
        for source in &one.sources {
            let known = all.entry((source.seq, &source.control_id)).or_insert_with(|| (source, Vec::new()));
            if !known.1.contains(&target) {
                known.1.push(target.clone());
            }
        }
    }
    let provenance = |(source, targets): (&Source, Vec<Value>)| {
        let id = version_5(&PROVENANCES, &[person.as_bytes(), b"|", &source.seq.to_be_bytes()]);
        let recorded = jiff::Timestamp::from_millisecond(source.received_ms).unwrap_or_default();
        let mut provenance = json!({
            "resourceType": "Provenance",
            "id": uuid_text(&id),
            "target": targets,
            "recorded": format!("{recorded:.3}"),
            "agent": [{ "who": { "display": source.feed } }],
        });
        if !source.control_id.is_empty() {
            let identifier = json!({ "system": CONTROL_ID, "value": source.control_id });
            provenance["entity"] = json!([{ "role": "source", "what": { "identifier": identifier } }]);
        }
        provenance
    };
    all.into_values().map(provenance).collect()
}
