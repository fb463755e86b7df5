//! A visit that was told of another patient, and is somebody's of the rosters: it is followed up and counted for whose it is. Nobody is notified of it again: what moves a visit tells of no
//! other than whose it is, and of several at once.
use super::Error;
use super::batch::{Batch, whole};
use crate::coordination::care_team::Member;
use crate::coordination::loops;
use crate::coordination::sensitivity::visit_text;
use crate::coordination::{Event, Kind, card, lineage};
use crate::privacy::visits;
use rusqlite::Transaction;
use std::sync::Arc;

impl Batch<'_> {
    /// Takes what happened in visits for whose they are, each with whether somebody who is looked after had it until now.
    pub(super) fn follow_up(&mut self, transaction: &Transaction<'_>, moved: &[(Event, bool)]) -> Result<(), Error> {
        let mut begun = None;
        for (event, was_anothers) in moved {
            let is_new = *was_anothers || (begun.is_some() && begun == event.visit.as_ref());
            if self.followed_up(transaction, event, is_new)? && event.kind == Kind::EdVisit {
                begun = event.visit.as_ref();
            }
        }
        Ok(())
    }

    /// Whether it was not known yet; `is_new`: of what nothing is remembered of this visit it cannot be.
    fn followed_up(&mut self, transaction: &Transaction<'_>, event: &Event, is_new: bool) -> Result<bool, Error> {
        let snapshot = Arc::clone(&self.snapshot);
        let Some(key) = self.find(&event.patient).person() else { return Ok(false) };
        let person = lineage::root(transaction, key).map_err(Error::database)?;
        let is_known = match event.kind {
            Kind::EdDischarge => !is_new,
            Kind::OutpatientVisit => {
                let known = card::stays_of(transaction, person).map_err(Error::database)?;
                !is_new || event.visit.as_ref().is_some_and(|visit| known.contains(&visit_text(visit)))
            }
            _ => loops::knows(transaction, person, event).map_err(Error::database)?,
        };
        if is_known {
            return Ok(false);
        }
        // The message says where it was at most: what is secret of the visit, and whether all of it is, is known of it.
        let mut found = self.labels(transaction, event.into(), event.visit.as_ref(), event.received_ms)?;
        if let Some(visit) = event.visit.as_ref().map(visit_text) {
            let earlier = visits::labels_of(transaction, &whole(&visit)).map_err(Error::database)?;
            let labels = self.gate.labels();
            found.whole = found.whole.with(labels.of_all(earlier.iter().map(String::as_str)));
            found.all = found.all.with(found.whole);
        }
        let memberships: Vec<_> = snapshot.memberships_at(&key, event.at_ms).collect();
        let members: Vec<_> = memberships.iter().map(Member::of).collect();
        let (team, outcomes) = self.look_after(transaction, event, (key, &[]), &members, found)?;
        self.measure(transaction, event, key, (&members, &team, found))?;
        self.outcomes(transaction, outcomes, found)?;
        Ok(true)
    }
}
