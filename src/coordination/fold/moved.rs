//! What happened in a visit that turns out to be another patient's (A43, A44, A45): it happened to them, and they are to be looked after for it.
use super::event::{At, OfVisit};
use super::{Fold, Incoming};
use crate::coordination::event::{Event, Kind, VisitKey};
use crate::coordination::options::Class;
use crate::coordination::read::{Candidate, Reading};
use crate::coordination::store::Error;
use crate::facets::Facets;
use rusqlite::Transaction;
use std::ops::Range;

impl Fold {
    /// What was told of a visit, as events of the patient whose it is: the first PID of these segments. `count`: events of the message that there are already.
    /// Nothing of a visit that is not known any more. What is told again is who, when and where, not what was diagnosed.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub(in crate::coordination) fn moved(
        &mut self,
        transaction: &Transaction<'_>,
        (seq, facets, reading): (u64, &Facets<'_>, Reading<'_>),
        (patient, key): (Range<usize>, &VisitKey),
        count: usize,
    ) -> Result<Vec<Event>, Error> {
        // Cards do not say whether the key of a visit was made up.
        let mut found = None;
        for weak in [false, true] {
            let key = VisitKey { weak, ..key.clone() };
            let course = self.visits.find(transaction, &key)?.map(|visit| visit.course.clone());
            found = found.or(course.map(|course| (key, course)));
        }
        let Some((key, course)) = found else { return Ok(Vec::new()) };
        let of_visit = OfVisit {
            key: Some(key),
            class: course.class,
            facility: course.facility.clone(),
            disposition: course.disposition.clone(),
            partial: course.partial,
        };
        let was_emergency = course.notified.has(Kind::EdVisit);
        let admitted = match course.class {
            _ if was_emergency => "ed-to-inpatient",
            Some(Class::Observation) => "observation",
            _ => "inpatient",
        };
        let (begin, end) = (course.admit_ms, course.discharge_ms);
        let told = [
            (Kind::EdVisit, "", begin),
            (Kind::Admission, admitted, begin),
            (Kind::OutpatientVisit, "", begin),
            (Kind::EdDischarge, "", end),
            (Kind::Discharge, "", end),
            (Kind::Death, "", end),
        ];
        let incoming = Incoming { reading, facets, seq, trigger: facets.event };
        let mut events = Vec::new();
        for (kind, detail, at_ms) in told.into_iter().filter(|(kind, ..)| course.notified.has(*kind)) {
            let candidate = Candidate::new(kind, detail, patient.clone(), patient.clone());
            let at = at_ms.map_or(At { ms: facets.received_ms, suspect: true }, |ms| At { ms, suspect: false });
            events.extend(self.event(&incoming, count + events.len(), candidate, at, &of_visit));
        }
        Ok(events)
    }
}
