//! One batch, while it is taken: from messages and what people said to what is told.
use super::outcomes::Unroutable;
use super::telling::{self, Subject};
use super::time::PRUNE_EVERY;
use super::{Error, Parts};
use crate::coordination::care_team::{self, Lasting, Member};
use crate::coordination::event::{Identifier, Patient, VisitKey};
use crate::coordination::fold::Silent;
use crate::coordination::loops::{Outcome, Subject as Concerned};
use crate::coordination::registry::{self, Before, Registry};
use crate::coordination::roster::{How, Match, Rosters, Snapshot, learn, reviews};
use crate::coordination::sensitivity::{self, Said, visit_text};
use crate::coordination::store::Place;
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::store::Told;
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{Event, Options, PersonKey, lineage, measures};
use crate::facets::{Facets, uuid_text};
use crate::journal::Item;
use crate::privacy::{Found, Gate, visits};
use rusqlite::Transaction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One batch, while it is taken.
pub(super) struct Batch<'w> {
    pub options: &'w Options,
    pub gate: &'w Gate,
    /// By panel the NPI of its owner.
    pub owners: &'w BTreeMap<String, String>,
    pub registry: &'w Registry,
    pub rosters: &'w Rosters,
    pub snapshot: Arc<Snapshot>,
    pub parts: &'w mut Parts,
    pub anew_ms: Option<i64>,
    /// To where time has come.
    pub now_ms: i64,
    /// Events of people of the rosters.
    pub concerned: usize,
    /// Entries of the registry that were taken.
    pub said: usize,
    /// Notifications that were numbered, and things withheld.
    pub told: usize,
    pub unroutable: Vec<Unroutable>,
}

/// Somebody of the rosters, at the time of something.
pub(super) struct Person {
    pub key: PersonKey,
    /// As the API writes it.
    pub id: String,
    /// As it wrote it under earlier rosters: subscriptions may ask for these.
    former: Vec<String>,
    /// Every key of the same patient, this one among them: what was said of consent of one of them holds for all. None where they are too many.
    pub same: Option<Vec<PersonKey>>,
    /// The panels, with the consent columns of each.
    pub panels: Vec<(String, String)>,
}

impl Person {
    /// Every id by which somebody may ask for them.
    pub fn ids(&self) -> Vec<&str> {
        [&self.id].into_iter().chain(&self.former).map(String::as_str).collect()
    }
}

impl Batch<'_> {
    /// Takes messages and entries in their order; how far that is, and how many they were.
    pub fn take(
        &mut self,
        transaction: &Transaction<'_>,
        mut place: Place,
        items: Vec<Item>,
        entries: &[registry::Entry],
    ) -> Result<(Place, usize), Error> {
        let mut entries = entries.iter().peekable();
        let records = items.len();
        for item in items {
            if let Item::Record(seq, record) = &item {
                while let Some(entry) = entries.next_if(|entry| entry.after_seq < *seq) {
                    self.said(transaction, entry)?;
                }
                if let Some(facets) = Facets::decode(&record.facets) {
                    place.last = facets.message_id;
                    self.comes(transaction, Before::Message(*seq), facets.received_ms)?;
                    self.parts.measures.heard(transaction, facets.received_ms)?;
                    if seq.is_multiple_of(PRUNE_EVERY) {
                        self.prune(transaction, facets.received_ms).map_err(Error::database)?;
                        let changed = self.parts.measures.prune(transaction, facets.received_ms)?;
                        self.note(transaction, &changed)?;
                    }
                    let events = self.parts.fold.message(transaction, *seq, &facets, &record.raw)?;
                    let changes = transaction.total_changes();
                    let moved = self.leaves(transaction, (*seq, &facets, &record.raw), events.len())?;
                    if transaction.total_changes() != changes {
                        self.parts.outlines.clear();
                    }
                    events.iter().try_for_each(|event| self.happened(transaction, event))?;
                    self.follow_up(transaction, &moved)?;
                    let silent = self.parts.fold.silent();
                    if let Some(silent) = &silent {
                        self.silent(transaction, silent, facets.received_ms)?;
                    }
                    self.card(transaction, (*seq, &facets, &record.raw), (&events, silent.as_ref()))?;
                }
            }
            place.next = item.next();
        }
        while let Some(entry) = entries.next_if(|entry| entry.after_seq < place.next) {
            self.said(transaction, entry)?;
        }
        Ok((place, records + self.said))
    }

    fn said(&mut self, transaction: &Transaction<'_>, entry: &registry::Entry) -> Result<(), Error> {
        self.said += 1;
        self.comes(transaction, Before::Entry(entry.number), entry.at_ms)?;
        if entry.what.kind() == registry::Kind::Roster {
            self.listed(transaction, entry)?;
        }
        let people = self.decided_before(entry);
        let Parts { registered, aliases, .. } = &mut *self.parts;
        registered.take(transaction, entry, &self.options.subscriptions, (aliases, &self.snapshot))?;
        let done = self.decided(transaction, entry, people);
        // What is said may change whose cards are, and what is on them.
        self.parts.outlines.clear();
        done
    }

    fn happened(&mut self, transaction: &Transaction<'_>, event: &Event) -> Result<(), Error> {
        let snapshot = Arc::clone(&self.snapshot);
        let matched = self.find(&event.patient);
        reviews::note(transaction, event, &matched).map_err(Error::database)?;
        // Before what is learned, as a merge takes numbers from one to the other.
        let others = self.others(event);
        learn(transaction, &mut self.parts.aliases, &snapshot, event, &matched).map_err(Error::database)?;
        self.parts.measures.came(event, matched.person().is_some());
        let Some(key) = matched.person() else {
            return self.leave_labels(transaction, event.into(), event.visit.as_ref(), event.received_ms);
        };
        self.concerned += 1;
        let found = self.labels(transaction, event.into(), event.visit.as_ref(), event.received_ms)?;
        let memberships: Vec<_> = snapshot.memberships_at(&key, event.at_ms).collect();
        let members: Vec<_> = memberships.iter().map(Member::of).collect();
        let (team, outcomes) = self.look_after(transaction, event, (key, &others), &members, found)?;
        if !others.is_empty() {
            // Merged, or told apart.
            self.parts.outlines.clear();
        }
        let panels = memberships.iter().map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        let person = self.person(transaction, key, panels, event.at_ms)?;
        self.tell_event(transaction, event, &person, found)?;
        self.measure(transaction, event, key, (&members, &team, found))?;
        self.outcomes(transaction, outcomes, found)
    }

    /// What an event makes of who looks after somebody, and of what is open for them: the NPIs of those who do by now, and what is to be told.
    pub(super) fn look_after(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        (person, others): (PersonKey, &[PersonKey]),
        members: &[Member<'_>],
        found: Found,
    ) -> Result<(Vec<String>, Vec<Outcome>), Error> {
        let zone = self.options.facilities.zone(&event.facility);
        care_team::take(transaction, event, person, !found.whole.is_empty(), zone).map_err(Error::database)?;
        let team = care_team::team(transaction, person, members, event.at_ms, &self.options.care_team);
        let team = team.map_err(Error::database)?.numbers();
        let concerned = Concerned { person, others, members, team: &team };
        let outcomes = self.parts.tracker.apply(transaction, event, concerned).map_err(Error::database)?;
        Ok((team, outcomes))
    }

    /// Somebody who is in these panels at a time.
    pub(super) fn person(
        &self,
        transaction: &Transaction<'_>,
        key: PersonKey,
        mut panels: Vec<(String, String)>,
        at_ms: i64,
    ) -> Result<Person, Error> {
        let same = lineage::same(transaction, key).map_err(Error::database)?;
        let mut former = Vec::new();
        let others = || same.iter().flatten().filter(|other| **other != key);
        if same.is_none() || others().next().is_some() {
            former = lineage::former(transaction, key).map_err(Error::database)?;
            // What the rosters say of consent of the same patient, who is in them twice.
            let theirs = others().flat_map(|other| self.snapshot.memberships_at(other, at_ms));
            let theirs = theirs.filter(|one| panels.iter().any(|(panel, _)| *panel == one.panel.id));
            let theirs: Vec<_> = theirs.map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
            panels.extend(theirs);
        }
        let former = former.iter().map(|key| uuid_text(&key.0)).collect();
        Ok(Person { key, id: uuid_text(&key.0), former, same, panels })
    }

    pub(super) fn find(&mut self, patient: &Patient) -> Match {
        let Parts { aliases, strangers, .. } = &mut *self.parts;
        self.snapshot.find_again(patient, aliases, strangers)
    }

    /// A message of which no event came.
    fn silent(&mut self, transaction: &Transaction<'_>, silent: &Silent, received_ms: i64) -> Result<(), Error> {
        let Silent { visit, facility, feed, codes, confidentiality, team } = silent;
        let said = Said { facility, feed, codes, confidentiality };
        let secret = !sensitivity::found(self.gate.labels(), &self.options.facilities, said, &[]).whole.is_empty();
        if let Some(key) = visit {
            // It says nothing of itself, and that the stay lasts.
            for key in [visit_text(key), whole(&visit_text(key))] {
                visits::touch(transaction, &key, Some(received_ms)).map_err(Error::database)?;
            }
            self.leave_labels(transaction, said, visit.as_ref(), received_ms)?;
        }
        let Some(team) = team else { return Ok(()) };
        match self.find(&team.patient).person() {
            Some(key) => {
                let whose = (feed.as_str(), &team.patient);
                let told = Lasting::of(&team.participants, whose, secret, (team.at_ms, team.received_ms));
                care_team::take_lasting(transaction, &told, key).map_err(Error::database)
            }
            None => Ok(()),
        }
    }

    /// The persons that the other identifiers of a merge or unlink stand for.
    fn others(&self, event: &Event) -> Vec<PersonKey> {
        let by_number = |identifier: &Identifier| {
            let patient = Patient { identifiers: vec![identifier.clone()], ..event.patient.clone() };
            match self.snapshot.find(&patient, &self.parts.aliases) {
                Match::Person(key, How::Decided | How::Strong | How::Alias) => Some(key),
                _ => None,
            }
        };
        let mut others: Vec<_> = event.others.iter().filter_map(by_number).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// The labels of what a message says and its visit carries, which keeps them.
    pub(super) fn labels(
        &self,
        transaction: &Transaction<'_>,
        said: Said<'_>,
        visit: Option<&VisitKey>,
        received_ms: i64,
    ) -> Result<Found, Error> {
        let (labels, facilities) = (self.gate.labels(), &self.options.facilities);
        let Some(visit) = visit.map(visit_text) else {
            return Ok(sensitivity::found(labels, facilities, said, &[]));
        };
        let earlier = visits::labels_of(transaction, &visit).map_err(Error::database)?;
        let found = sensitivity::found(labels, facilities, said, &earlier);
        self.keep_labels(transaction, &visit, found, received_ms)?;
        Ok(found)
    }

    /// Leaves them with the visit alone, as nobody is told: most messages have none, and nothing is read then.
    fn leave_labels(
        &self,
        transaction: &Transaction<'_>,
        said: Said<'_>,
        visit: Option<&VisitKey>,
        received_ms: i64,
    ) -> Result<(), Error> {
        let Some(visit) = visit else { return Ok(()) };
        let found = sensitivity::found(self.gate.labels(), &self.options.facilities, said, &[]);
        if found.all.is_empty() {
            return Ok(());
        }
        self.keep_labels(transaction, &visit_text(visit), found, received_ms)
    }

    fn keep_labels(
        &self,
        transaction: &Transaction<'_>,
        visit: &str,
        found: Found,
        received_ms: i64,
    ) -> Result<(), Error> {
        let (labels, at) = (self.gate.labels(), Some(received_ms));
        visits::add(transaction, visit, labels, found.all, at).map_err(Error::database)?;
        visits::add(transaction, &whole(visit), labels, found.whole, at).map_err(Error::database)?;
        if found.all.is_empty() && found.whole.is_empty() {
            return Ok(());
        }
        let names = (&labels.names(found.whole)[..], &labels.names(found.all)[..]);
        measures::keep_secrets(transaction, visit, names, received_ms).map_err(Error::database)
    }

    fn tell_event(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        person: &Person,
        found: Found,
    ) -> Result<(), Error> {
        let names = telling::codes(self.gate.labels(), found.all);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let panels: Vec<_> = person.panels.iter().map(|(panel, _)| panel.as_str()).collect();
        let ids = person.ids();
        let Some(candidate) = Candidate::of(event, &ids, &panels, &names) else { return Ok(()) };
        let told = Told {
            event: event.id,
            seq: event.seq,
            at_ms: event.at_ms,
            received_ms: event.received_ms,
            trigger: Trigger::Event(event.kind),
            v2_event: event.trigger.clone(),
            focus: Vec::new(),
        };
        let subject = || Subject::Event(Box::new(event.clone()));
        self.tell(transaction, &candidate, told, subject, (person, found), &[])
    }

    /// Whether something was told long before the database had to be made anew: it is there to be read, and not told again.
    pub fn is_past(&self, received_ms: i64) -> bool {
        let age_ms = i64::try_from(self.options.events.max_event_age.as_millis()).unwrap_or(i64::MAX);
        self.anew_ms.is_some_and(|anew_ms| received_ms < anew_ms.saturating_sub(age_ms))
    }
}

/// The key under which a visit keeps the labels of whole events of it.
pub(super) fn whole(visit: &str) -> String {
    format!("{visit}|whole")
}
