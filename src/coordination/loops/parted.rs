//! What becomes of loops when it turns out that something was told of another patient: nothing that somebody else did opens, closes, ends or rests a loop.
use super::fold::{end, resume};
use super::model::{Loop, Reference, State, StepState};
use super::outcome::{Cause, Outcome};
use super::{LOOPS_MAX, Tracker, history, steps, store, waiting};
use crate::coordination::event::VisitKey;
use crate::coordination::lineage::{self, Gone, Under};
use crate::coordination::{Event, PersonKey};
use rusqlite::Transaction;

/// Why a loop is void that somebody else's event had opened.
const ANOTHERS: &str = "another-patient";

impl Tracker {
    /// Takes back what events did that are another patient's, as is known at a time to which time has come.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn disown(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        gone: &Gone,
        at_ms: i64,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut out = Vec::new();
        history::disown(transaction, person, gone)?;
        waiting::disown(transaction, person, gone)?;
        self.take_out(transaction, person, |under, visit| Ok(gone.has(under, visit)), Cause::time(at_ms), &mut out)?;
        Ok(out)
    }

    /// Two persons are told apart, and what each of them has is theirs again: what was told of one did nothing to the loops of the other.
    pub(super) fn parted(
        &mut self,
        transaction: &Transaction<'_>,
        people: impl Iterator<Item = PersonKey>,
        event: &Event,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        for person in people {
            let person = lineage::root(transaction, person)?;
            let is_anothers =
                |under: Under, _: Option<&VisitKey>| Ok(lineage::root(transaction, under.origin)? != person);
            self.take_out(transaction, person, is_anothers, Cause::of(event), out)?;
        }
        Ok(())
    }

    fn take_out(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        is_anothers: impl Fn(Under, Option<&VisitKey>) -> rusqlite::Result<bool>,
        cause: Cause,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        for before in store::of_person(transaction, person, LOOPS_MAX)? {
            let mut after = before.clone();
            let visit = after.facts.visit.clone();
            if is_anothers(Under { origin: after.origin, told_as: after.told_as }, visit.as_ref())? {
                if after.state != State::Void {
                    end(&mut after, ANOTHERS, cause, out);
                }
                after.facts.reason = ANOTHERS.to_owned();
                after.facts.ended = None;
            } else {
                self.undo(transaction, &mut after, &is_anothers, cause, out)?;
            }
            store::save(transaction, Some(&before), &after, &mut self.timers)?;
        }
        Ok(())
    }

    /// A loop as it would be without what was another's.
    fn undo(
        &self,
        transaction: &Transaction<'_>,
        found: &mut Loop,
        is_anothers: impl Fn(Under, Option<&VisitKey>) -> rusqlite::Result<bool>,
        cause: Cause,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        let Some(definition) = self.options.definitions.iter().find(|one| one.id == found.definition) else {
            return Ok(());
        };
        if let Some(ended) = found.facts.ended.take_if(|_| found.state == State::Void) {
            if !is_anothers(ended.under, ended.visit.as_ref())? {
                found.facts.ended = Some(ended);
                return Ok(());
            }
            revive(found);
        }
        if found.state == State::Void {
            return Ok(());
        }
        let rests = found.facts.suspended.as_ref().filter(|visit| !visit.number.is_empty());
        if let Some(visit) = rests
            && !history::knows(transaction, found.person, visit)?
        {
            resume(found, cause, out);
        }
        for place in 0..found.steps.len() {
            let Some(step) = found.steps.get(place).filter(|step| step.state.is_met()) else { continue };
            let Some(closed) = &step.closed else { continue };
            let visit = match &closed.reference {
                Reference::Visit(visit) => Some(visit),
                _ => None,
            };
            if is_anothers(closed.under, visit)? {
                steps::reopen(found, place, definition, cause, out);
            }
        }
        found.settle();
        let zone = self.setting.zone(&found.facts.facility, &found.facts.panels);
        steps::arm(found, Some(definition), &zone);
        Ok(())
    }
}

/// A loop that goes on, as what had ended it did not happen to the person.
fn revive(found: &mut Loop) {
    found.state = State::Open;
    found.facts.reason.clear();
    for step in found.steps.iter_mut().filter(|step| step.state == StepState::Of(State::Void)) {
        step.state = if step.due_ms.is_some() { StepState::Of(State::Open) } else { StepState::Dormant };
    }
}
