//! What an event does to the loops of a person: ends, suspends, reopens and closes those there are, then opens new ones.
use super::definition::{Definition, OnReadmit, Pattern, StepDefinition};
use super::matching::{self, Link};
use super::model::{Ended, Facts, Loop, Reference, State, StepState, same_number};
use super::outcome::{Cause, NAMESPACE, Outcome, OutcomeKind};
use super::steps::{self, TO};
use super::{Given, LOOPS_FULL, LOOPS_MAX, Subject, Tracker, history, store, waiting};
use crate::coordination::event::VisitKey;
use crate::coordination::lineage::{By, Under};
use crate::coordination::{Event, Kind, PersonKey, lineage};
use crate::fhir::identity::version_5;
use jiff::tz::TimeZone;
use rusqlite::Transaction;

/// Documents and people of a loop that are remembered.
const FACTS_MAX: usize = 32;

impl Tracker {
    pub(super) fn fold(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        subject: Subject<'_>,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        let person = lineage::root(transaction, subject.person)?;
        let panels: Vec<String> = subject.members.iter().map(|member| member.panel.to_owned()).collect();
        let zone = self.setting.zone(&event.facility, &panels);
        let who = (person, subject.person);
        let under = Under { origin: subject.person, told_as: event.patient.told_as(&event.feed) };
        history::note(transaction, person, subject.person, event)?;
        out.extend(history::flags(transaction, who, event, &panels, &zone)?);
        self.alert(event, who, &panels, out);
        let loops = store::current(transaction, person, self.kept_from(event.received_ms), LOOPS_MAX)?;
        let mut live = 0;
        for before in &loops {
            let mut after = before.clone();
            let given = Given { event, under, team: subject.team, setting: &self.setting };
            self.change(&mut after, &given, out);
            store::save(transaction, Some(before), &after, &mut self.timers)?;
            live += usize::from(after.is_live());
        }
        waiting::withdraw(transaction, person, event)?;
        let mut opened = Vec::new();
        for place in 0..self.options.definitions.len() {
            if self.opens(place, event, person, &panels, transaction)? {
                if live >= LOOPS_MAX {
                    out.push(Outcome::flag(LOOPS_FULL, who, panels.clone(), TO, event));
                    break;
                }
                self.begin(place, transaction, event, (person, subject), &panels, out)?;
                opened.push(self.options.definitions[place].id.clone());
                live += 1;
            }
        }
        self.relieve(transaction, (event, under), loops, &opened, out)?;
        if waiting::could_close(&self.options, event.kind) {
            waiting::keep(transaction, person, subject.person, event)?;
        }
        Ok(())
    }

    /// Values that somebody must hear of at once.
    fn alert(&self, event: &Event, who: (PersonKey, PersonKey), panels: &[String], out: &mut Vec<Outcome>) {
        if event.kind != Kind::Result {
            return;
        }
        for definition in &self.options.definitions {
            let Some(alert) = &definition.alert else { continue };
            let concerned = concerned(definition, panels);
            let high = matching::observed(event, &alert.loinc).is_some_and(|value| value >= alert.value_min);
            if high && !concerned.is_empty() {
                out.push(Outcome::alert(&definition.id, who, concerned, &alert.to, event));
            }
        }
    }

    /// What an event does to a loop.
    fn change(&self, found: &mut Loop, given: &Given<'_>, out: &mut Vec<Outcome>) {
        let Some(definition) = self.options.definitions.iter().find(|one| one.id == found.definition) else { return };
        if matches!(found.state, State::Void | State::Expired) {
            return;
        }
        let event = given.event;
        if definition.void.contains(&event.kind) && ends(found, event) {
            return void(found, (event, given.under), event.kind.name(), out);
        }
        let zone = self.setting.zone(&found.facts.facility, &found.facts.panels);
        stay(found, definition, given, out);
        if found.state == State::Void {
            return;
        }
        take_back(found, definition, event, &zone, out);
        remember(found, event);
        close(found, definition, given, &zone, out);
        found.settle();
        steps::arm(found, Some(definition), &zone);
    }

    /// Whether an event opens a loop.
    fn opens(
        &self,
        place: usize,
        event: &Event,
        person: PersonKey,
        panels: &[String],
        transaction: &Transaction<'_>,
    ) -> rusqlite::Result<bool> {
        let Some(definition) = self.options.definitions.get(place) else { return Ok(false) };
        let fits = |pattern: &Pattern| matching::fits(pattern, event, &self.setting);
        if concerned(definition, panels).is_empty() || !definition.open.iter().any(fits) {
            return Ok(false);
        }
        let loops = store::current(transaction, person, self.kept_from(event.received_ms), LOOPS_MAX)?;
        let same = |other: &&Loop| other.definition == definition.id && other.state != State::Void;
        let again = |other: &Loop| match (&other.facts.referral, &event.referral) {
            (Some(ours), Some(theirs)) => same_number(ours, theirs),
            _ => other.facts.visit.is_some() && other.facts.visit == event.visit && event.referral.is_none(),
        };
        Ok(!loops.iter().filter(same).any(|other| (definition.once && other.is_live()) || again(other)))
    }

    /// Opens a loop, and closes what events before it close.
    fn begin(
        &mut self,
        place: usize,
        transaction: &Transaction<'_>,
        event: &Event,
        (person, subject): (PersonKey, Subject<'_>),
        panels: &[String],
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        let Some(definition) = self.options.definitions.get(place) else { return Ok(()) };
        let mut found = Loop {
            number: self.next_number,
            id: version_5(&NAMESPACE, &[b"loop|", definition.id.as_bytes(), b"|", &event.id]),
            definition: definition.id.clone(),
            person,
            origin: subject.person,
            told_as: event.patient.told_as(&event.feed),
            opener: event.id,
            opened_ms: event.at_ms,
            received_ms: event.received_ms,
            state: State::Open,
            facts: Facts {
                visit: event.visit.clone(),
                referral: event.referral.clone(),
                facility: event.facility.clone(),
                panels: concerned(definition, panels),
                baseline: definition.score.as_ref().and_then(|score| matching::observed(event, &score.loinc)),
                quiet_until_ms: event.stale.then_some(event.received_ms),
                ..Facts::default()
            },
            steps: Vec::new(),
        };
        let zone = self.setting.zone(&found.facts.facility, &found.facts.panels);
        let asked =
            |step: &&StepDefinition| step.when.as_ref().is_none_or(|when| matching::fits(when, event, &self.setting));
        for step in definition.steps.iter().filter(asked) {
            let mut fresh = steps::fresh(&step.id);
            let waits = step.after.as_ref().is_some_and(|after| found.steps.iter().any(|step| step.id == *after));
            if !waits {
                steps::start(&mut fresh, step, event.at_ms, &zone);
            }
            found.steps.push(fresh);
        }
        remember(&mut found, event);
        out.push(Outcome::of(&found, None, OutcomeKind::Opened, Cause::of(event)));
        for earlier in waiting::of_person(transaction, person, event.received_ms)? {
            let (under, setting) = (earlier.under, &self.setting);
            let given = Given { event: &earlier.event, under, team: subject.team, setting };
            remember(&mut found, &earlier.event);
            close(&mut found, definition, &given, &zone, out);
        }
        found.settle();
        steps::arm(&mut found, Some(definition), &zone);
        self.next_number += 1;
        store::save(transaction, None, &found, &mut self.timers)
    }

    /// The end of a stay that suspended loops: a loop of its own takes the place of one, or it goes on.
    fn relieve(
        &mut self,
        transaction: &Transaction<'_>,
        (event, under): (&Event, Under),
        loops: Vec<Loop>,
        opened: &[String],
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        if event.kind != Kind::Discharge {
            return Ok(());
        }
        for found in loops.into_iter().filter(|found| found.facts.suspended.is_some()) {
            // As it stands now: the event itself may have changed it.
            let Some(before) = store::find(transaction, found.number)? else { continue };
            if before.facts.suspended != Some(stay_key(event)) || before.state == State::Void {
                continue;
            }
            let mut after = before.clone();
            if opened.contains(&after.definition) {
                void(&mut after, (event, under), "readmission", out);
            } else {
                resume(&mut after, Cause::of(event), out);
                let definition = self.options.definitions.iter().find(|one| one.id == after.definition);
                let zone = self.setting.zone(&after.facts.facility, &after.facts.panels);
                steps::arm(&mut after, definition, &zone);
            }
            store::save(transaction, Some(&before), &after, &mut self.timers)?;
        }
        Ok(())
    }
}

/// The panels of a person for which there is such a loop.
fn concerned(definition: &Definition, panels: &[String]) -> Vec<String> {
    panels.iter().filter(|panel| definition.panels.is_empty() || definition.panels.contains(panel)).cloned().collect()
}

/// Whether an event that may end a loop ends this one. One that is closed stays so, unless what had opened it did not happen.
fn ends(found: &Loop, event: &Event) -> bool {
    match event.kind {
        Kind::Death => found.is_live(),
        Kind::AdmissionCancelled | Kind::DischargeCancelled | Kind::TransferCancelled => matching::names(found, event),
        _ => found.is_live() && matching::names(found, event),
    }
}

/// Ends a loop.
fn void(found: &mut Loop, (event, under): (&Event, Under), reason: &str, out: &mut Vec<Outcome>) {
    let by = By { under, visit: event.visit.clone() };
    found.facts.ended = Some(Ended { by, at_ms: event.received_ms });
    end(found, reason, Cause::of(event), out);
}

/// Ends a loop, for good.
pub(super) fn end(found: &mut Loop, reason: &str, cause: Cause, out: &mut Vec<Outcome>) {
    found.state = State::Void;
    found.facts.reason = reason.to_owned();
    for step in &mut found.steps {
        step.timer_ms = None;
        if step.state.is_open() {
            step.state = StepState::Of(State::Void);
        }
    }
    let mut told = Outcome::of(found, None, OutcomeKind::Void, cause);
    told.detail = reason.to_owned();
    told.to = vec![TO.to_owned()];
    out.push(told);
}

/// Another stay begins, or it turns out that it did not.
fn stay(found: &mut Loop, definition: &Definition, given: &Given<'_>, out: &mut Vec<Outcome>) {
    let event = given.event;
    match event.kind {
        Kind::Admission if event.visit != found.facts.visit && event.at_ms >= found.opened_ms && found.is_live() => {
            match definition.on_readmit {
                OnReadmit::Void => void(found, (event, given.under), "readmission", out),
                OnReadmit::Suspend if found.facts.suspended.is_none() => {
                    found.facts.suspended = Some(stay_key(event));
                    out.push(Outcome::of(found, None, OutcomeKind::Suspended, Cause::of(event)));
                }
                OnReadmit::Suspend | OnReadmit::Keep => {}
            }
        }
        Kind::AdmissionCancelled if found.facts.suspended == Some(stay_key(event)) => {
            resume(found, Cause::of(event), out);
        }
        _ => {}
    }
}

/// The visit of a stay; those that nobody gave a key are one.
fn stay_key(event: &Event) -> VisitKey {
    event.visit.clone().unwrap_or_default()
}

pub(super) fn resume(found: &mut Loop, cause: Cause, out: &mut Vec<Outcome>) {
    found.facts.suspended = None;
    out.push(Outcome::of(found, None, OutcomeKind::Resumed, cause));
}

/// Opens steps again whose closing an event takes back.
fn take_back(found: &mut Loop, definition: &Definition, event: &Event, zone: &TimeZone, out: &mut Vec<Outcome>) {
    for place in 0..found.steps.len() {
        let step = &mut found.steps[place];
        let Some(closed) = step.closed.as_mut().filter(|_| step.state.is_met()) else { continue };
        let taken = match (&closed.reference, event.kind) {
            (
                Reference::Appointment(ours),
                Kind::AppointmentCancelled | Kind::AppointmentNoShow | Kind::AppointmentChanged,
            ) => event.appointment.as_ref().is_some_and(|theirs| same_number(ours, &theirs.number)),
            (Reference::Document(ours), Kind::DocumentCancelled) => {
                event.document.as_ref().is_some_and(|theirs| same_number(ours, &theirs.number))
            }
            (Reference::Visit(ours), Kind::AdmissionCancelled) => event.visit.as_ref() == Some(ours),
            _ => false,
        };
        if !taken {
            continue;
        }
        if event.kind == Kind::AppointmentChanged {
            let start_ms = event.appointment.as_ref().and_then(|appointment| appointment.start_ms);
            let patterns = definition.step(&step.id).map_or(&[][..], |step| step.close.as_slice());
            if patterns.is_empty()
                || patterns.iter().any(|pattern| starts_in_time(pattern, start_ms, found.opened_ms, zone))
            {
                closed.start_ms = start_ms;
                steps::follow(found, place, definition, zone);
                continue;
            }
        }
        steps::reopen(found, place, definition, Cause::of(event), out);
    }
}

/// Whether an appointment starts when it should.
fn starts_in_time(pattern: &Pattern, start_ms: Option<i64>, opened_ms: i64, zone: &TimeZone) -> bool {
    let Some(within) = pattern.starts_within else { return true };
    start_ms.is_some_and(|start| start >= opened_ms && start <= within.end(opened_ms, zone))
}

/// Notes the people and documents of a loop.
pub(super) fn remember(found: &mut Loop, event: &Event) {
    let told = event.id == found.opener || matching::names(found, event);
    if !told {
        return;
    }
    // Who refers is not who is referred to.
    let refers = event.id == found.opener && found.facts.referral.is_some();
    for number in matching::acting(event).filter(|_| !refers) {
        let providers = &mut found.facts.providers;
        if providers.len() < FACTS_MAX && !providers.iter().any(|ours| ours == number) {
            providers.push(number.to_owned());
        }
    }
    if let Some(document) = event.document.as_ref().filter(|document| !document.number.value.is_empty()) {
        let documents = &mut found.facts.documents;
        if documents.len() < FACTS_MAX && !documents.contains(&document.number) {
            documents.push(document.number.clone());
        }
    }
}

/// Closes the steps that an event closes.
pub(super) fn close(
    found: &mut Loop,
    definition: &Definition,
    given: &Given<'_>,
    zone: &TimeZone,
    out: &mut Vec<Outcome>,
) {
    let remission = score(found, definition, given.event, out);
    for place in 0..found.steps.len() {
        if !found.steps[place].state.is_open() {
            continue;
        }
        let Some(step) = definition.step(&found.steps[place].id) else { continue };
        let links = step.close.iter().filter(|pattern| matching::fits(pattern, given.event, given.setting));
        let told = links.filter_map(|pattern| closes(found, place, step, pattern, given, zone));
        // What is told goes before what is inferred.
        let Some(link) = told.min_by_key(|link| *link == Link::Inferred) else { continue };
        let again = step.repeat && !remission;
        steps::close(found, place, definition, (given.event, given.under), (link == Link::Inferred, again), zone, out);
    }
}

/// Whether an event that fits a pattern closes a step, and how that is known.
fn closes(
    found: &Loop,
    place: usize,
    step: &StepDefinition,
    pattern: &Pattern,
    given: &Given<'_>,
    zone: &TimeZone,
) -> Option<Link> {
    let (event, state) = (given.event, found.steps.get(place)?);
    let link = matching::link(found, pattern, event)?;
    let at_ms = steps::clock(step, event);
    let start_ms = event.appointment.as_ref().and_then(|appointment| appointment.start_ms);
    // An appointment for afterwards may have been made before.
    let happened_ms = if event.appointment.is_some() { start_ms.unwrap_or(event.at_ms) } else { event.at_ms };
    let in_window = state.from_ms.is_none_or(|from| at_ms >= from) && state.expire_ms.is_none_or(|end| at_ms <= end);
    let follows = link == Link::Told || happened_ms >= found.opened_ms;
    let fits = in_window
        && follows
        && starts_in_time(pattern, start_ms, found.opened_ms, zone)
        && matching::with_provider(pattern.provider, found, event, given);
    fits.then_some(link)
}

/// Follows the score of a loop; whether it is where it should be.
fn score(found: &mut Loop, definition: &Definition, event: &Event, out: &mut Vec<Outcome>) -> bool {
    let Some(score) = definition.score.as_ref() else { return false };
    if event.kind != Kind::Result || event.at_ms < found.opened_ms || !found.is_live() {
        return false;
    }
    let Some(value) = matching::observed(event, &score.loinc) else { return false };
    let mut tell = |found: &Loop, name: &str| {
        let (name, panels) = (format!("{}-{name}", found.definition), found.facts.panels.clone());
        let mut told = Outcome::flag(&name, (found.person, found.origin), panels, TO, event);
        told.found = Some((found.number, found.id));
        told.definition.clone_from(&found.definition);
        told.visits.extend(found.facts.visit.clone().map(Some));
        out.push(told);
    };
    let remission = value < score.remission_below;
    let answered = found.facts.baseline.is_some_and(|first| value <= first * score.response);
    if answered && !found.facts.responded {
        found.facts.responded = true;
        tell(found, "response");
    }
    if remission {
        tell(found, "remission");
    }
    remission
}
