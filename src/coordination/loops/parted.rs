//! What becomes of loops when it turns out that something was told of another patient: nothing that somebody else did opens, closes, ends or rests a loop.
//!
//! What the person did meanwhile is looked for again where it still waits for what it closes ([`super::WAITING_MS`]); a loop that has ended goes on only where no newer one stands for it.
use super::definition::{Definition, OnReadmit};
use super::fold::{close, end, remember, resume};
use super::model::{Ended, Loop, State, StepState, same_number};
use super::outcome::{Cause, Outcome, OutcomeKind};
use super::{Given, Subject, Tracker, history, steps, store, waiting};
use crate::coordination::lineage::{self, By, Gone, Under};
use crate::coordination::{Event, Kind, PersonKey};
use rusqlite::Transaction;

/// Why a loop is void that somebody else's event had opened.
const ANOTHERS: &str = "another-patient";
/// Loops of one person that are looked at, the newest, whatever became of them.
const LOOKED_MAX: usize = 4_096;

/// What is taken out of the loops of a person.
struct Taken<'a> {
    person: PersonKey,
    /// NPIs of their care team.
    team: &'a [String],
    is_anothers: &'a dyn Fn(&By) -> rusqlite::Result<bool>,
    /// Whether a loop that is another's stays all the same.
    is_spared: &'a dyn Fn(&By) -> bool,
    cause: Cause,
}

impl Tracker {
    /// Takes back what events did that are another patient's, as is known at a time to which time has come; `team`: NPIs of who looks after the person.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn disown(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        gone: &Gone,
        (team, at_ms): (&[String], i64),
    ) -> rusqlite::Result<Vec<Outcome>> {
        history::disown(transaction, person, gone)?;
        waiting::disown(transaction, person, gone)?;
        let mut out = Vec::new();
        let taken = Taken {
            person,
            team,
            is_anothers: &|by| Ok(gone.has(by.under, by.visit.as_ref())),
            is_spared: &|by| gone.spares(by.visit.as_ref()),
            cause: Cause::time(at_ms),
        };
        self.take_out(transaction, &taken, &mut out)?;
        Ok(out)
    }

    /// Persons are told apart, and what each of them has is theirs again: what was told of one did nothing to the loops of the other.
    pub(super) fn parted(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        subject: Subject<'_>,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        for one in subject.others.iter().chain([&subject.person]) {
            let person = lineage::root(transaction, *one)?;
            let taken = Taken {
                person,
                team: if *one == subject.person { subject.team } else { &[] },
                is_anothers: &|by| Ok(lineage::root(transaction, by.under.origin)? != person),
                is_spared: &|_| false,
                cause: Cause::of(event),
            };
            self.take_out(transaction, &taken, out)?;
        }
        Ok(())
    }

    fn take_out(
        &mut self,
        transaction: &Transaction<'_>,
        taken: &Taken<'_>,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        let mut own = Vec::new();
        for before in store::of_person(transaction, taken.person, LOOKED_MAX)? {
            let under = Under { origin: before.origin, told_as: before.told_as };
            let opened = By { under, visit: before.facts.visit.clone() };
            if !(taken.is_anothers)(&opened)? || (taken.is_spared)(&opened) {
                own.push(before);
                continue;
            }
            let mut after = before.clone();
            if after.state != State::Void {
                end(&mut after, ANOTHERS, taken.cause, out);
            }
            after.facts.reason = ANOTHERS.to_owned();
            after.facts.ended = None;
            store::save(transaction, Some(&before), &after, &mut self.timers)?;
        }
        // The newest first: an older one goes on only where none stands for it.
        let mut newer: Vec<Loop> = Vec::new();
        for before in own.into_iter().rev() {
            let mut after = before.clone();
            if let Some(definition) = self.options.definitions.iter().find(|one| one.id == before.definition) {
                self.undo(transaction, taken, (&mut after, definition), &newer, out)?;
            }
            store::save(transaction, Some(&before), &after, &mut self.timers)?;
            newer.push(after);
        }
        Ok(())
    }

    /// A loop as it would be without what was another's.
    fn undo(
        &self,
        transaction: &Transaction<'_>,
        taken: &Taken<'_>,
        (found, definition): (&mut Loop, &Definition),
        newer: &[Loop],
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<()> {
        let mut is_changed = false;
        if found.state == State::Void {
            let Some(ended) = found.facts.ended.clone() else { return Ok(()) };
            if !(taken.is_anothers)(&ended.by)? {
                return Ok(());
            }
            found.facts.ended = None;
            if newer.iter().any(|newer| stands_for(newer, found, definition)) {
                return Ok(());
            }
            revive(found, ended.at_ms);
            is_changed = true;
        }
        let is_revived = is_changed;
        // What comes after a step is open, and waits again with it.
        for place in (0..found.steps.len()).rev() {
            let met = found.steps.get(place).filter(|step| step.state.is_met());
            if let Some(closed) = met.and_then(|step| step.closed.as_ref())
                && (taken.is_anothers)(&closed.by)?
            {
                steps::reopen(found, place, definition, taken.cause, out);
                is_changed = true;
            }
        }
        is_changed |= self.rest(transaction, taken, (found, definition), is_revived, out)?;
        if !is_changed || found.state == State::Void {
            return Ok(());
        }
        let zone = self.setting.zone(&found.facts.facility, &found.facts.panels);
        for earlier in waiting::of_person(transaction, taken.person, taken.cause.at_ms)? {
            let (event, under) = (&earlier.event, earlier.under);
            remember(found, event);
            close(found, definition, &Given { event, under, team: taken.team, setting: &self.setting }, &zone, out);
        }
        found.settle();
        if let Some(by) = history::death(transaction, taken.person)?
            && found.is_live()
            && definition.void.contains(&Kind::Death)
        {
            found.facts.ended = Some(Ended { by, at_ms: taken.cause.at_ms });
            end(found, Kind::Death.name(), taken.cause, out);
        }
        steps::arm(found, Some(definition), &zone);
        Ok(())
    }

    /// Whether a loop rests, or ends, as the stays of the person have it that go on; whether that is another answer than before.
    fn rest(
        &self,
        transaction: &Transaction<'_>,
        taken: &Taken<'_>,
        (found, definition): (&mut Loop, &Definition),
        is_revived: bool,
        out: &mut Vec<Outcome>,
    ) -> rusqlite::Result<bool> {
        // Of one without a number nobody can say whose it is.
        let unknown = found.facts.suspended.as_ref().is_some_and(|visit| visit.number.is_empty());
        if unknown || (found.facts.suspended.is_none() && !is_revived) {
            return Ok(false);
        }
        let stays = history::stays(transaction, taken.person, found.opened_ms)?;
        let goes_on = |visit| stays.iter().any(|(stay, goes_on)| *goes_on && stay.visit.as_ref() == Some(visit));
        if found.facts.suspended.as_ref().is_some_and(goes_on) {
            return Ok(false);
        }
        if found.facts.suspended.is_some() {
            resume(found, taken.cause, out);
        }
        let is_over = definition.on_readmit == OnReadmit::Void;
        let mut others = stays.into_iter().filter(|(stay, _)| stay.visit != found.facts.visit);
        let stay = others.find(|(_, goes_on)| is_over || *goes_on).map(|(stay, _)| stay);
        match (stay, definition.on_readmit) {
            (Some(by), OnReadmit::Void) => {
                found.facts.ended = Some(Ended { by, at_ms: taken.cause.at_ms });
                end(found, "readmission", taken.cause, out);
            }
            (Some(stay), OnReadmit::Suspend) => {
                found.facts.suspended = Some(stay.visit.unwrap_or_default());
                out.push(Outcome::of(found, None, OutcomeKind::Suspended, taken.cause));
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Whether a loop was opened in the place of an older one of its definition.
fn stands_for(newer: &Loop, older: &Loop, definition: &Definition) -> bool {
    let same = match (&newer.facts.referral, &older.facts.referral) {
        (Some(newer), Some(older)) => same_number(newer, older),
        _ => older.facts.visit.is_some() && newer.facts.visit == older.facts.visit,
    };
    let after_stay = definition.on_readmit == OnReadmit::Suspend && newer.opened_ms >= older.opened_ms;
    newer.definition == older.definition
        && newer.state != State::Void
        && (same || after_stay || definition.once && newer.is_live())
}

/// A loop that goes on, as what had ended it at a time did not happen to the person.
fn revive(found: &mut Loop, ended_ms: i64) {
    found.state = State::Open;
    found.facts.reason.clear();
    for step in found.steps.iter_mut().filter(|step| step.state == StepState::Of(State::Void)) {
        step.state = match step.due_ms {
            None => StepState::Dormant,
            // That was told then.
            Some(due_ms) if due_ms < ended_ms => StepState::Of(State::Overdue),
            Some(_) => StepState::Of(State::Open),
        };
    }
}
