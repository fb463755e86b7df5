//! The card of a person for somebody: what messages told is translated again and judged for them at that moment, as what they are notified of.
//!
//! A section is shown to who may have the topics by which its entries are told, and the types of its resources; a person to who has them in one of its panels now. What cannot be judged is
//! not shown.
//!
//! | file | what |
//! |---|---|
//! | `drawings` | groups in FHIR of those who were asked for last |
//! | `sheet` | groups of the card in FHIR, each resource looked at once |
//! | `view` | what of them somebody may see, with tasks and the care team |
//! | `picture` | what came of it |
mod drawings;
mod picture;
mod sheet;
mod view;

pub(super) use drawings::Drawings;
pub use picture::{CONTROL_ID, Entry, Picture, Resource, is_past};

use super::Shared;
use super::content::{ContentError, People, consents};
use crate::coordination::card::{Card, Group, Section, groups};
use crate::coordination::sensitivity::{self, Said};
use crate::coordination::subscription::topic::{TOPICS, Trigger};
use crate::coordination::work::{roster_consent, whole_of};
use crate::coordination::{Kind, PersonKey, lineage};
use crate::facets::uuid_text;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Decision, Facts, Found, Labels, Reason, Recipient, Set, visits};
use picture::{Collected, Told, kinds};
use rusqlite::Connection;
use sheet::{Drawn, Piece, Sheet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use view::View;

/// Groups from which on they are looked at by two.
const PARTED_MIN: usize = 32;

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
    let cleared = match shared.gate.decide(recipient, &facts) {
        Decision::Withhold(reason) => return Ok(Seen::Withheld(reason)),
        Decision::Share { cleared } => cleared,
    };
    if recipient.max_content == MaxContent::Empty {
        return Ok(Seen::Withheld(Reason::Policy));
    }
    let mut reading = recipient.clone();
    // Who may have ids may read by them.
    reading.max_content = MaxContent::FullResource;
    let sections: Vec<Section> = Section::ALL.into_iter().filter(|section| may_see(recipient, *section)).collect();
    let loops = may(recipient, Trigger::OpenLoop) && recipient.has("Task");
    let Read { groups, judged, mut more } = Read::of(shared, person, &sections)?;
    more.retain(|section| sections.contains(section));
    let view = View { shared, recipient: &reading, facts, places: shared.gate.places(cleared) };
    let mut sheet = Sheet::new(shared);
    let mut shown = Collected::default();
    let Some(all) = seen(&view, &mut sheet, (&groups, &judged)) else { return Ok(Seen::Withheld(Reason::Failed)) };
    for ((group, found), (drawn, pieces)) in groups.iter().zip(judged).zip(all).filter_map(|(of, one)| Some((of, one?)))
    {
        let of = view.named(group);
        shown.take(&of, (&codes(shared, found), &Told::of(&of, &drawn)), pieces);
    }
    if loops {
        for task in view.tasks(&mut sheet, (person, &id))? {
            shown.add(task);
        }
    }
    if may_see(recipient, Section::Encounter) {
        for team in view.team(&mut sheet, person)? {
            shown.add(team);
        }
    }
    let read = |text: &str| sheet.piece(text);
    let picture = shown.picture((person, id.clone()), (sections, more, loops), read);
    Ok(picture.map_or(Seen::Withheld(Reason::Failed), |picture| Seen::Picture(Box::new(picture))))
}

/// A group in FHIR, and what of it may be seen.
type Looked = Option<(Arc<Drawn>, Vec<Arc<Piece>>)>;

/// What of each group may be seen; none where not all could be judged. Half of a full card is another thread's: whoever asks waits for it.
fn seen(view: &View<'_>, sheet: &mut Sheet<'_>, (groups, judged): (&[Group], &[Found])) -> Option<Vec<Looked>> {
    let look = |sheet: &mut Sheet<'_>, groups: &[Group], judged: &[Found]| -> Vec<Looked> {
        let look = |(group, found): (&Group, &Found)| {
            let drawn = sheet.draw(group)?;
            let pieces = view.shown(sheet, (group, *found), &drawn);
            Some((drawn, pieces))
        };
        groups.iter().zip(judged).map(look).collect()
    };
    if groups.len() < PARTED_MIN {
        return Some(look(sheet, groups, judged));
    }
    let half = groups.len() / 2;
    let ((own, others), (own_judged, others_judged)) = (groups.split_at_checked(half)?, judged.split_at_checked(half)?);
    std::thread::scope(|scope| {
        let other = || look(&mut Sheet::new(view.shared), others, others_judged);
        let other = std::thread::Builder::new().name("card".into()).spawn_scoped(scope, other);
        let mut all = look(sheet, own, own_judged);
        all.extend(match other {
            Ok(other) => other.join().ok()?,
            Err(_) => look(sheet, others, others_judged),
        });
        Some(all)
    })
}

/// The card of a person as it is kept, for those who run the gateway and may read messages; with the labels of each entry. None of nobody. Blocks.
///
/// # Errors
/// What cannot be read.
pub fn opened(shared: &Shared, person: PersonKey) -> Result<Option<Picture>, ContentError> {
    let person = {
        let database = shared.database();
        lineage::root(&database, lineage::known_as(&database, person)?)?
    };
    let Read { groups, judged, more } = Read::of(shared, person, &Section::ALL)?;
    if groups.is_empty() && !shared.rosters.current().has(&person) {
        return Ok(None);
    }
    let mut sheet = Sheet::new(shared);
    let mut shown = Collected::default();
    for (group, found) in groups.iter().zip(judged) {
        let Some(drawn) = sheet.draw(group) else { continue };
        let pieces = drawn.pieces.iter().filter(|piece| !drawn.is_aside(piece)).cloned().collect();
        shown.take(group, (&codes(shared, found), &Told::of(group, &drawn)), pieces);
    }
    let read = |text: &str| sheet.piece(text);
    Ok(shown.picture((person, uuid_text(&person.0)), (Section::ALL.to_vec(), more, true), read))
}

/// What is kept of some sections of a card, with the labels of each group.
struct Read {
    groups: Vec<Group>,
    judged: Vec<Found>,
    more: BTreeSet<Section>,
}

impl Read {
    fn of(shared: &Shared, person: PersonKey, sections: &[Section]) -> rusqlite::Result<Read> {
        let database = shared.database();
        let card = Card::read(&database, person)?;
        let mut groups = groups(&card);
        groups.retain(|group| sections.contains(&group.section));
        let mut known = BTreeMap::new();
        let judged = groups.iter().map(|group| labels_of(&database, shared, group, &mut known));
        let judged = judged.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Read { groups, judged, more: card.more })
    }
}

fn codes(shared: &Shared, found: Found) -> Vec<String> {
    shared.gate.labels().names(found.all).into_iter().map(str::to_owned).collect()
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

/// By which events entries of a section are told: who may have all of them, and what they are, sees it.
fn may_see(recipient: &Recipient, section: Section) -> bool {
    let all = |kinds: &[Kind]| kinds.iter().all(|kind| may(recipient, Trigger::Event(*kind)));
    if !kinds(section).iter().any(|kind| recipient.has(kind)) {
        return false;
    }
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

/// The labels of visits, and those of whole events of them, by their keys.
type OfVisits<'g> = BTreeMap<&'g str, (Vec<String>, Vec<String>)>;

/// The labels of a group: those that its entries were kept with, and what is known by now of where it happened and of its visit.
fn labels_of<'g>(
    database: &Connection,
    shared: &Shared,
    group: &'g Group,
    known: &mut OfVisits<'g>,
) -> rusqlite::Result<Found> {
    let labels = shared.gate.labels();
    if !group.visit.is_empty() && !known.contains_key(group.visit.as_str()) {
        let of_visit = visits::labels_of(database, &group.visit)?;
        known.insert(&group.visit, (of_visit, visits::labels_of(database, &whole_of(&group.visit))?));
    }
    let nothing = Default::default();
    let (earlier, whole) = known.get(group.visit.as_str()).unwrap_or(&nothing);
    let unsaid = Default::default();
    let said = Said { facility: &group.facility, feed: &group.feed, codes: &[], confidentiality: &unsaid };
    let now = sensitivity::found(labels, &shared.options.facilities, said, earlier);
    let (all, then) = &group.labels;
    let over = now.whole.with(set(labels, then)).with(set(labels, whole));
    Ok(Found { all: now.all.with(set(labels, all)).with(over), whole: over })
}

/// Labels by their codes. One that is not configured any more is no less of a secret: it counts as all of them.
fn set(labels: &Labels, codes: &[String]) -> Set {
    codes.iter().fold(Set::default(), |set, code| set.with(labels.of(code).unwrap_or(labels.every())))
}
