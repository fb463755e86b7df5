//! The steps of a loop in time: from when it runs, until when, who is told, what closes and opens them.
use super::calendar::Span;
use super::definition::{At, Clock, Definition, StepDefinition};
use super::handoff;
use super::model::{Closed, Loop, Reference, State, Step, StepState};
use super::outcome::{Cause, Outcome, OutcomeKind};
use crate::coordination::lineage::{By, Under};
use crate::coordination::{Event, Kind};
use jiff::tz::TimeZone;

/// So long after a step was due nothing closes it any more, where `late_until` does not say.
pub(super) const EXPIRE: Span = Span::Days(90);
/// Who is told where a definition names nobody.
pub(super) const TO: &str = "role:care-manager";

const OPEN: StepState = StepState::Of(State::Open);
const OVERDUE: StepState = StepState::Of(State::Overdue);

/// A step whose time does not run yet.
pub(super) fn fresh(id: &str) -> Step {
    Step {
        id: id.to_owned(),
        state: StepState::Dormant,
        base_ms: None,
        from_ms: None,
        due_ms: None,
        expire_ms: None,
        level: 0,
        turn: 0,
        timer_ms: None,
        closed: None,
    }
}

/// Lets the time of a step run.
pub(super) fn start(step: &mut Step, definition: &StepDefinition, base_ms: i64, zone: &TimeZone) {
    let due_ms = definition.due.end(base_ms, zone);
    step.state = OPEN;
    step.level = 0;
    step.base_ms = Some(base_ms);
    step.from_ms = definition.from.map(|from| from.start(base_ms, zone));
    step.due_ms = Some(due_ms);
    let expire_ms = definition.late_until.map_or_else(|| EXPIRE.end(due_ms, zone), |until| until.end(base_ms, zone));
    step.expire_ms = Some(expire_ms.max(due_ms));
}

/// When somebody is told.
fn escalation_ms(step: &Step, at: At, zone: &TimeZone) -> Option<i64> {
    match at {
        At::Due => step.due_ms,
        At::After(span) => step.base_ms.map(|base| span.end(base, zone)),
    }
}

/// Sets the timers of a loop anew, from what it is.
pub(super) fn arm(found: &mut Loop, definition: Option<&Definition>, zone: &TimeZone) {
    let rests = found.facts.suspended.is_some() || found.state == State::Void;
    for step in &mut found.steps {
        step.timer_ms = match step.state {
            _ if rests => None,
            OPEN => {
                let next = definition
                    .and_then(|definition| definition.step(&step.id))
                    .and_then(|definition| definition.escalate.get(usize::from(step.level)))
                    .and_then(|next| escalation_ms(step, next.at, zone));
                next.into_iter().chain(step.due_ms).min()
            }
            OVERDUE => step.expire_ms,
            _ => None,
        };
    }
}

/// Does what is due for a step at a moment.
pub(super) fn fire(
    found: &mut Loop,
    place: usize,
    definition: Option<&Definition>,
    at_ms: i64,
    zone: &TimeZone,
    out: &mut Vec<Outcome>,
) {
    let Some(step) = found.steps.get(place) else { return };
    if step.state == OVERDUE {
        expire(found, place, definition, at_ms, out);
    } else if step.state == OPEN {
        remind(found, place, definition, at_ms, zone, out);
    }
    found.settle();
    arm(found, definition, zone);
}

fn remind(
    found: &mut Loop,
    place: usize,
    definition: Option<&Definition>,
    at_ms: i64,
    zone: &TimeZone,
    out: &mut Vec<Outcome>,
) {
    let step_definition = definition.and_then(|definition| definition.step(&found.steps[place].id));
    let escalate = step_definition.map_or(&[][..], |definition| definition.escalate.as_slice());
    let mut to = Vec::new();
    while let Some(next) = escalate.get(usize::from(found.steps[place].level)) {
        let Some(next_ms) = escalation_ms(&found.steps[place], next.at, zone).filter(|next| *next <= at_ms) else {
            break;
        };
        found.steps[place].level = found.steps[place].level.saturating_add(1);
        if next.at == At::Due {
            to.push(next.to.clone());
            continue;
        }
        let mut told = Outcome::of(found, found.steps.get(place), OutcomeKind::DueSoon, Cause::time(next_ms));
        told.to = vec![next.to.clone()];
        out.push(told);
    }
    let step = &mut found.steps[place];
    if let Some(due_ms) = step.due_ms.filter(|due| *due <= at_ms) {
        step.state = OVERDUE;
        if to.is_empty() {
            step.level = step.level.saturating_add(1);
            to.push(TO.to_owned());
        }
        let mut told = Outcome::of(found, found.steps.get(place), OutcomeKind::Overdue, Cause::time(due_ms));
        told.to = to;
        out.push(told);
    }
}

/// A step, and those that wait for it, come to nothing.
fn expire(found: &mut Loop, place: usize, definition: Option<&Definition>, at_ms: i64, out: &mut Vec<Outcome>) {
    let mut ends = vec![place];
    // Each step ends once at most, so this does.
    while let Some(place) = ends.pop() {
        let step = &mut found.steps[place];
        step.state = StepState::Of(State::Expired);
        let id = step.id.clone();
        out.push(Outcome::of(found, found.steps.get(place), OutcomeKind::Expired, Cause::time(at_ms)));
        for (other, step) in found.steps.iter().enumerate() {
            if step.state == StepState::Dormant && after(definition, step) == Some(id.as_str()) {
                ends.push(other);
            }
        }
    }
}

/// The step that a step comes after.
fn after<'d>(definition: Option<&'d Definition>, step: &Step) -> Option<&'d str> {
    definition?.step(&step.id)?.after.as_deref()
}

/// The time of an event that counts for a step.
pub(super) fn clock(definition: &StepDefinition, event: &Event) -> i64 {
    match definition.clock {
        Clock::Event => event.at_ms,
        Clock::Received => event.received_ms,
    }
}

/// Closes a step with an event that fits it. `again`: it begins anew at once.
pub(super) fn close(
    found: &mut Loop,
    place: usize,
    definition: &Definition,
    (event, under): (&Event, Under),
    (inferred, again): (bool, bool),
    zone: &TimeZone,
    out: &mut Vec<Outcome>,
) {
    let Some(step_definition) = definition.step(&found.steps[place].id) else { return };
    let step = &mut found.steps[place];
    let late = step.due_ms.is_some_and(|due| clock(step_definition, event) > due);
    step.state = StepState::Of(if late { State::MetLate } else { State::Met });
    step.closed = Some(Closed {
        event: event.id,
        event_ms: event.at_ms,
        received_ms: event.received_ms,
        by: By { under, visit: event.visit.clone() },
        inferred,
        reference: reference(event),
        start_ms: event.appointment.as_ref().and_then(|appointment| appointment.start_ms),
        handoff: (event.kind == Kind::Document).then(|| handoff::check(event).map(|parts| parts.bits())).flatten(),
    });
    let kind = if late { OutcomeKind::MetLate } else { OutcomeKind::Met };
    let mut told = Outcome::of(found, found.steps.get(place), kind, Cause::of(event));
    if late {
        told.to = told_before(step_definition, told.level);
    }
    out.push(told);
    if again {
        let step = &mut found.steps[place];
        step.turn += 1;
        start(step, step_definition, event.at_ms, zone);
    } else {
        follow(found, place, definition, zone);
    }
}

/// Who has been told of a step, the last of so many first: they are to hear that it is done.
fn told_before(definition: &StepDefinition, level: u8) -> Vec<String> {
    let level = usize::from(level);
    let mut all: Vec<String> = definition.escalate.iter().take(level).rev().map(|one| one.to.clone()).collect();
    if level > definition.escalate.len() {
        all.insert(0, TO.to_owned());
    }
    all
}

/// By what an event can be taken back.
fn reference(event: &Event) -> Reference {
    if let Some(appointment) = &event.appointment {
        return Reference::Appointment(appointment.number.clone());
    }
    if let Some(document) = &event.document {
        return Reference::Document(document.number.clone());
    }
    event.visit.clone().map_or(Reference::None, Reference::Visit)
}

/// Starts the steps that come after one, anew where their time runs already: the appointment may have moved.
pub(super) fn follow(found: &mut Loop, place: usize, definition: &Definition, zone: &TimeZone) {
    let Some(closed) = found.steps[place].closed.as_ref().filter(|_| found.steps[place].state.is_met()) else { return };
    let (id, base_ms) = (found.steps[place].id.clone(), closed.start_ms.unwrap_or(closed.event_ms));
    for step in &mut found.steps {
        let Some(step_definition) = definition.step(&step.id).filter(|next| next.after.as_ref() == Some(&id)) else {
            continue;
        };
        if step.state.is_open() && step.base_ms != Some(base_ms) {
            step.turn += u32::from(step.base_ms.is_some());
            start(step, step_definition, base_ms, zone);
        }
    }
}

/// Opens a step again: what had closed it was taken back. Steps that come after it wait once more.
pub(super) fn reopen(found: &mut Loop, place: usize, definition: &Definition, cause: Cause, out: &mut Vec<Outcome>) {
    let step = &mut found.steps[place];
    step.closed = None;
    step.turn += 1;
    step.state = if step.due_ms.is_some() { OPEN } else { StepState::Dormant };
    let id = step.id.clone();
    let mut told = Outcome::of(found, found.steps.get(place), OutcomeKind::Reopened, cause);
    told.to = vec![TO.to_owned()];
    out.push(told);
    for step in &mut found.steps {
        let waits = definition.step(&step.id).is_some_and(|next| next.after.as_ref() == Some(&id));
        if waits && (step.state.is_open() || step.state == StepState::Of(State::Expired)) {
            *step = Step { turn: step.turn + 1, ..fresh(&step.id) };
        }
    }
}
