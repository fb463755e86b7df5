//! One batch, while it is taken: from messages and what people said to what is told.
use super::registered::{Registered, roster_consent};
use super::telling::{self, Subject, Telling, Withheld};
use super::{Error, Parts};
use crate::coordination::care_team::{self, Lasting, Member};
use crate::coordination::event::{Code, Identifier, Patient, VisitKey};
use crate::coordination::fold::Silent;
use crate::coordination::loops::{Definition, Outcome, OutcomeKind, Subject as Concerned, find as find_loop};
use crate::coordination::registry;
use crate::coordination::roster::{How, Match, Membership, Snapshot, learn, reviews};
use crate::coordination::sensitivity::{self, Said, visit_text};
use crate::coordination::store::Place;
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::matcher::Match as Matched;
use crate::coordination::subscription::store::{Told, number, pass};
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{Event, Options, PersonKey};
use crate::facets::{Facets, uuid_text};
use crate::journal::Item;
use crate::privacy::{Decision, Found, Gate, Labels, Reason, Set, visits};
use rusqlite::Transaction;

/// One batch, while it is taken.
pub(super) struct Batch<'w> {
    pub options: &'w Options,
    pub gate: &'w Gate,
    pub snapshot: &'w Snapshot,
    pub parts: &'w mut Parts,
    pub anew_ms: Option<i64>,
    /// Events of people of the rosters.
    pub concerned: usize,
    /// Entries of the registry that were taken.
    pub said: usize,
    /// Notifications that were numbered, and things withheld.
    pub told: usize,
}

/// Somebody of the rosters, at the time of something.
struct Person {
    key: PersonKey,
    /// As the API writes it.
    id: String,
    /// The panels, with the consent column of each.
    panels: Vec<(String, String)>,
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
                    let events = self.parts.fold.message(transaction, *seq, &facets, &record.raw)?;
                    events.iter().try_for_each(|event| self.happened(transaction, event))?;
                    if let Some(silent) = self.parts.fold.silent() {
                        self.silent(transaction, &silent)?;
                    }
                }
            }
            place.next = item.next();
        }
        while let Some(entry) = entries.next_if(|entry| entry.after_seq < place.next) {
            self.said(transaction, entry)?;
        }
        Ok((place, records + self.said))
    }

    /// What time brings by then comes first, whether anybody has waited for it or the journal is read once more.
    fn until(&mut self, transaction: &Transaction<'_>, to_ms: i64) -> Result<(), Error> {
        let outcomes = self.parts.tracker.advance(transaction, to_ms).map_err(Error::database)?;
        self.outcomes(transaction, outcomes, Found::default())
    }

    fn said(&mut self, transaction: &Transaction<'_>, entry: &registry::Entry) -> Result<(), Error> {
        self.said += 1;
        self.until(transaction, entry.at_ms)?;
        let Parts { registered, aliases, .. } = &mut *self.parts;
        registered.take(transaction, entry, &self.options.subscriptions, (aliases, self.snapshot))
    }

    fn happened(&mut self, transaction: &Transaction<'_>, event: &Event) -> Result<(), Error> {
        self.until(transaction, event.received_ms)?;
        let matched = self.find(&event.patient);
        reviews::note(transaction, event, &matched).map_err(Error::database)?;
        // Before what is learned, as a merge takes numbers from one to the other.
        let others = self.others(event);
        learn(transaction, &mut self.parts.aliases, self.snapshot, event, &matched).map_err(Error::database)?;
        let Some(key) = matched.person() else {
            return self.leave_labels(transaction, event.into(), event.visit.as_ref());
        };
        self.concerned += 1;
        let found = self.labels(transaction, event.into(), event.visit.as_ref())?;
        let memberships: Vec<_> = self.snapshot.memberships_at(&key, event.at_ms).collect();
        let members: Vec<_> = memberships
            .iter()
            .map(|one| Member { panel: &one.panel.id, pcp_npi: one.pcp, care_manager: one.care_manager })
            .collect();
        let zone = self.options.facilities.zone(&event.facility);
        care_team::take(transaction, event, key, zone).map_err(Error::database)?;
        let team = care_team::team(transaction, key, &members, event.at_ms, &self.options.care_team);
        let team = team.map_err(Error::database)?.numbers();
        let concerned = Concerned { person: key, others: &others, members: &members, team: &team };
        let outcomes = self.parts.tracker.apply(transaction, event, concerned).map_err(Error::database)?;
        let panels = memberships.iter().map(|one| (one.panel.id.clone(), one.consent.to_owned())).collect();
        let person = Person { key, id: uuid_text(&key.0), panels };
        self.tell_event(transaction, event, &person, found)?;
        self.outcomes(transaction, outcomes, found)
    }

    fn find(&mut self, patient: &Patient) -> Match {
        let Parts { aliases, strangers, .. } = &mut *self.parts;
        self.snapshot.find_again(patient, aliases, strangers)
    }

    /// A message of which no event came.
    fn silent(&mut self, transaction: &Transaction<'_>, silent: &Silent) -> Result<(), Error> {
        let Silent { visit, facility, feed, codes, confidentiality, team } = silent;
        if visit.is_some() {
            let said = Said { facility, feed, codes, confidentiality };
            self.leave_labels(transaction, said, visit.as_ref())?;
        }
        let Some(team) = team else { return Ok(()) };
        self.until(transaction, team.received_ms)?;
        match self.find(&team.patient).person() {
            Some(key) => {
                let told = Lasting::of(&team.participants, feed, (team.at_ms, team.received_ms));
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
    fn labels(&self, transaction: &Transaction<'_>, said: Said<'_>, visit: Option<&VisitKey>) -> Result<Found, Error> {
        let (labels, facilities) = (self.gate.labels(), &self.options.facilities);
        let Some(visit) = visit.map(visit_text) else {
            return Ok(sensitivity::found(labels, facilities, said, &[]));
        };
        let earlier = visits::labels_of(transaction, &visit).map_err(Error::database)?;
        let found = sensitivity::found(labels, facilities, said, &earlier);
        self.keep_labels(transaction, &visit, found)?;
        Ok(found)
    }

    /// Leaves them with the visit alone, as nobody is told: most messages have none, and nothing is read then.
    fn leave_labels(
        &self,
        transaction: &Transaction<'_>,
        said: Said<'_>,
        visit: Option<&VisitKey>,
    ) -> Result<(), Error> {
        let Some(visit) = visit else { return Ok(()) };
        let found = sensitivity::found(self.gate.labels(), &self.options.facilities, said, &[]);
        if found.all.is_empty() { Ok(()) } else { self.keep_labels(transaction, &visit_text(visit), found) }
    }

    fn keep_labels(&self, transaction: &Transaction<'_>, visit: &str, found: Found) -> Result<(), Error> {
        let labels = self.gate.labels();
        visits::add(transaction, visit, labels, found.all).map_err(Error::database)?;
        visits::add(transaction, &whole(visit), labels, found.whole).map_err(Error::database)
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
        let Some(candidate) = Candidate::of(event, Some(&person.id), &panels, &names) else { return Ok(()) };
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
        self.tell(transaction, &candidate, told, subject, person, found)
    }

    /// What became of loops, to those who subscribed to that. `found`: the labels of the event that brought it.
    pub fn outcomes(
        &mut self,
        transaction: &Transaction<'_>,
        outcomes: Vec<Outcome>,
        found: Found,
    ) -> Result<(), Error> {
        for outcome in outcomes {
            let Some((loop_number, _)) = outcome.found else { continue };
            let labels = self.gate.labels();
            let of_loop = format!("loop|{loop_number}");
            visits::add(transaction, &of_loop, labels, found.all).map_err(Error::database)?;
            visits::add(transaction, &whole(&of_loop), labels, found.whole).map_err(Error::database)?;
            let heard = matches!(outcome.kind, OutcomeKind::Overdue | OutcomeKind::MetLate | OutcomeKind::DueSoon);
            if !heard || outcome.quiet {
                continue;
            }
            let Some(about) = find_loop(transaction, loop_number).map_err(Error::database)? else { continue };
            // Due before anybody knew of the loop: it is not older than that, and not forgotten before it could be read.
            let received_ms = outcome.at_ms.max(about.received_ms);
            let visit = about.facts.visit.as_ref().map(visit_text);
            let (mut all, mut over) = (Vec::new(), Vec::new());
            for key in [Some(of_loop), visit].into_iter().flatten() {
                all.extend(visits::labels_of(transaction, &key).map_err(Error::database)?);
                over.extend(visits::labels_of(transaction, &whole(&key)).map_err(Error::database)?);
            }
            // Where a diagnosis or result is what it is about, its name alone tells of that; a Task has nothing that could be left out.
            let definition = self.options.loops.definitions.iter().find(|one| one.id == outcome.definition);
            if definition.is_none_or(Definition::is_coded) {
                over.clone_from(&all);
            }
            let look = |codes: &[String]| labels.look().earlier(codes.iter().map(String::as_str)).found().all;
            let found = Found { all: look(&all), whole: look(&over) };
            let consent = |panel: &String| {
                let of_panel = |one: &Membership<'_>| one.panel.id == *panel;
                let membership = self.snapshot.memberships_at(&outcome.person, outcome.at_ms).find(of_panel)?;
                Some((panel.clone(), membership.consent.to_owned()))
            };
            let panels: Vec<_> = outcome.panels.iter().filter_map(consent).collect();
            let person = Person { key: outcome.person, id: uuid_text(&outcome.person.0), panels };
            let names = telling::codes(labels, found.all);
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let of_panels: Vec<_> = person.panels.iter().map(|(panel, _)| panel.as_str()).collect();
            let code = |field: &str, code: &str| Code { field: field.into(), code: code.into(), ..Code::default() };
            let codes = [code("loop", &outcome.definition), code("step", &outcome.step)];
            let candidate = Candidate {
                trigger: Trigger::OpenLoop,
                v2_event: "",
                detail: &outcome.definition,
                facility: &about.facts.facility,
                class: "",
                codes: &codes,
                person: Some(&person.id),
                panels: &of_panels,
                labels: &names,
                received_ms,
            };
            let told = Told {
                event: outcome.id,
                seq: 0,
                at_ms: outcome.at_ms,
                received_ms,
                trigger: Trigger::OpenLoop,
                v2_event: String::new(),
                focus: Vec::new(),
            };
            let (step, at_ms) = (outcome.step.clone(), outcome.at_ms);
            let subject = || Subject::Loop { number: loop_number, step, at_ms };
            self.tell(transaction, &candidate, told, subject, &person, found)?;
        }
        Ok(())
    }

    /// Whether something was told long before the database had to be made anew: it is there to be read, and not told again.
    fn is_past(&self, received_ms: i64) -> bool {
        let age_ms = i64::try_from(self.options.events.max_event_age.as_millis()).unwrap_or(i64::MAX);
        self.anew_ms.is_some_and(|anew_ms| received_ms < anew_ms.saturating_sub(age_ms))
    }

    /// To every subscription that wants it, its owner that may hear of it.
    fn tell(
        &mut self,
        transaction: &Transaction<'_>,
        candidate: &Candidate<'_>,
        told: Told,
        subject: impl FnOnce() -> Subject,
        person: &Person,
        found: Found,
    ) -> Result<(), Error> {
        let registered = &self.parts.registered;
        let matches = registered.matcher.matches(candidate);
        let consents = registered.consents(&person.id);
        let mut kept = false;
        for one in &matches {
            let owner = registered.subscriptions.get(one.id).map(|(owner, _)| owner.as_str()).unwrap_or_default();
            let Some(recipient) = self.options.privacy.recipient(owner) else { continue };
            if !recipient.topics.iter().any(|topic| topic == one.topic) {
                continue;
            }
            // Somebody else's patient: not withheld, none of theirs.
            let Some(roster) = roster_consent(recipient, &person.panels) else { continue };
            let facts = crate::privacy::Facts {
                found,
                person: &person.id,
                consents: consents.as_deref().unwrap_or_default(),
                roster: &roster,
                at_ms: told.at_ms,
                now_ms: told.received_ms,
            };
            let decision = match &consents {
                Some(_) => self.gate.decide(recipient, &facts),
                None => Decision::Withhold(Reason::Failed),
            };
            match decision {
                Decision::Share { cleared } => {
                    // What it must not see it cannot ask for either: that the answer comes would tell.
                    let Some(one) = visible(self.gate.labels(), registered, one.id, candidate, (found, cleared)) else {
                        continue;
                    };
                    let told = Told { focus: one.focus().map(str::to_owned).collect(), ..told.clone() };
                    number(transaction, one.id, &told).map_err(Error::database)?;
                    if self.is_past(told.received_ms) {
                        pass(transaction, one.id).map_err(Error::database)?;
                    }
                    kept = true;
                }
                Decision::Withhold(reason) => {
                    let withheld = Withheld {
                        id: telling::audit_id(&told.event, one.id, "suppress"),
                        at_ms: told.received_ms,
                        reason,
                        recipient: recipient.id.clone(),
                        purpose: recipient.purpose.clone(),
                        person: person.id.clone(),
                        event: told.event,
                        subscription: one.id.to_owned(),
                    };
                    telling::withhold(transaction, &withheld).map_err(Error::database)?;
                }
            }
            self.told += 1;
        }
        if kept {
            let labels = self.gate.labels();
            let labels = (telling::codes(labels, found.all), telling::codes(labels, found.whole));
            let (id, panels) = (told.event, person.panels.clone());
            let telling =
                Telling { id, person: person.key, received_ms: told.received_ms, subject: subject(), labels, panels };
            telling::keep(transaction, &telling).map_err(Error::database)?;
        }
        Ok(())
    }
}

/// Whether a subscription still wants something when only what its owner may see is looked at.
fn visible<'r>(
    labels: &Labels,
    registered: &'r Registered,
    id: &str,
    candidate: &Candidate<'_>,
    (found, cleared): (Found, Set),
) -> Option<Matched<'r>> {
    if found.all.is_within(cleared) {
        return registered.matcher.judge(id, candidate);
    }
    let names = telling::codes(labels, found.all.without(found.all.without(cleared)));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let seen = |code: &&Code| {
        let carried = labels.of_code(&code.system, &code.code).with(labels.of_code("", &code.value));
        carried.is_within(cleared)
    };
    let codes: Vec<_> = candidate.codes.iter().filter(seen).cloned().collect();
    registered.matcher.judge(id, &Candidate { codes: &codes, labels: &names, ..*candidate })
}

/// The key under which a visit keeps the labels of whole events of it.
fn whole(visit: &str) -> String {
    format!("{visit}|whole")
}
