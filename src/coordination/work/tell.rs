//! Who hears of an event, or of what became of a loop: what matches is judged by the gate, and numbered or withheld.
use super::telling::{self, Subject, Telling, Withheld};
use super::{Batch, Error, Person, Registered, roster_consent, whole};
use crate::coordination::Event;
use crate::coordination::event::Code;
use crate::coordination::loops::{Definition, Outcome, OutcomeKind, find as find_loop};
use crate::coordination::roster::Membership;
use crate::coordination::sensitivity::visit_text;
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::matcher::Match as Matched;
use crate::coordination::subscription::store::{Told, number, pass};
use crate::coordination::subscription::topic::Trigger;
use crate::facets::uuid_text;
use crate::privacy::{Decision, Facts, Found, Labels, Reason, Set, visits};
use rusqlite::Transaction;

impl Batch<'_> {
    pub(super) fn tell_event(
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
    pub(super) fn outcomes(
        &mut self,
        transaction: &Transaction<'_>,
        outcomes: Vec<Outcome>,
        found: Found,
    ) -> Result<(), Error> {
        for outcome in outcomes {
            let Some((loop_number, _)) = outcome.found else { continue };
            let labels = self.gate.labels();
            let of_loop = format!("loop|{loop_number}");
            // For as long as the loop itself.
            visits::add(transaction, &of_loop, labels, found.all, None).map_err(Error::database)?;
            visits::add(transaction, &whole(&of_loop), labels, found.whole, None).map_err(Error::database)?;
            let Some(about) = find_loop(transaction, loop_number).map_err(Error::database)? else { continue };
            // Due before anybody knew of the loop: it is not older than that, and not forgotten before it could be read.
            let received_ms = outcome.at_ms.max(about.received_ms);
            let visit = about.facts.visit.as_ref().map(visit_text);
            for key in visit.iter().flat_map(|visit| [visit.clone(), whole(visit)]) {
                visits::touch(transaction, &key, Some(received_ms)).map_err(Error::database)?;
            }
            let heard = matches!(outcome.kind, OutcomeKind::Overdue | OutcomeKind::MetLate | OutcomeKind::DueSoon);
            if !heard || outcome.quiet {
                continue;
            }
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
            let facts = Facts {
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
