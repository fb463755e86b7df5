//! What an event is made of: its time, its visit and what its message tells.
use super::super::event::{Event, Kind, VisitKey};
use super::super::options::Class;
use super::super::read::{Candidate, Moment, Reading};
use super::super::reason::Reason;
use super::super::store::Error;
use super::patients::{is_somebody, person};
use super::visit::{Course, Told};
use super::visits::Person;
use super::{AHEAD_MS, Fold, Incoming, TeamTold};
use crate::facets::uuid_text;
use crate::fhir::identity::version_5;
use jiff::tz::TimeZone;
use rusqlite::Transaction;
use std::ops::Range;

/// The namespace of the ids of events, a UUID of our own.
const EVENTS: [u8; 16] =
    [0x3d, 0x61, 0x0c, 0x52, 0x7e, 0x0f, 0x4b, 0x1e, 0x9a, 0x58, 0x44, 0xd1, 0x90, 0x2e, 0xb7, 0x1c];

/// When something happened, as far as that can be believed.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub ms: i64,
    pub suspect: bool,
}

/// What an event takes from its visit.
#[derive(Clone, Default)]
pub(super) struct OfVisit {
    pub key: Option<VisitKey>,
    pub class: Option<Class>,
    /// Empty where neither the message nor the visit says one.
    pub facility: String,
    pub disposition: String,
    pub partial: bool,
}

impl OfVisit {
    /// Of a visit that a message is about.
    pub fn of(key: &VisitKey, course: &Course, told: &Told<'_>) -> OfVisit {
        let facility = if told.facility.is_empty() { &course.facility } else { &told.facility };
        let disposition = if told.disposition.is_empty() { &course.disposition } else { &told.disposition };
        OfVisit {
            key: Some(key.clone()),
            class: told.class.or(course.class),
            facility: facility.clone(),
            disposition: disposition.clone(),
            partial: false,
        }
    }
}

impl Fold {
    /// The zone of times without an offset: that of the facility that a patient's segments name, else of the sender.
    pub(super) fn zone(&self, reading: Reading<'_>, within: Range<usize>) -> &TimeZone {
        let facility = reading.view(reading.find(within, b"PV1"), 3, 4);
        if self.facilities.by_key.contains_key(&*facility) {
            return self.facilities.zone(&facility);
        }
        self.facilities.zone(&reading.view(Some(reading.header()), 4, 1))
    }

    /// What a message tells of a visit.
    pub(super) fn told<'m>(&self, incoming: &Incoming<'m>, pv1: Option<usize>, zone: &TimeZone) -> Told<'m> {
        let reading = incoming.reading;
        let sent = reading.view(pv1, 2, 1);
        let class = self.events.class(&sent);
        Told {
            trigger: incoming.trigger,
            class,
            class_unknown: class.is_none() && !sent.is_empty(),
            facility: reading.text(pv1, 3, 4),
            facility_before: reading.text(pv1, 6, 4),
            admit: reading.time(pv1, 44, 1, zone),
            discharge: reading.time(pv1, 45, 1, zone),
            disposition: two_digits(reading.text(pv1, 36, 1)),
            received_ms: incoming.facets.received_ms,
            hanging_ms: i64::try_from(self.events.hanging_ed_close.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The visit that an ADT message is about: by its number, else by person, sender and the day of admission, else the one that this person has there.
    pub(super) fn key(
        &mut self,
        transaction: &Transaction<'_>,
        incoming: &Incoming<'_>,
        person: impl FnOnce() -> Person,
        told: &Told<'_>,
        zone: &TimeZone,
    ) -> Result<Option<VisitKey>, Error> {
        let reading = incoming.reading;
        if let Some(numbered) = numbered(reading, reading.all()) {
            return Ok(Some(numbered));
        }
        let person = person();
        if person == Person::default() {
            return Ok(None);
        }
        let sender = reading.text(Some(reading.header()), 4, 1);
        if let Some(admit) = told.admit {
            return Ok(weak(person, sender, admit.ms, zone));
        }
        let at_ms = self.sent(incoming, zone).map_or(incoming.facets.received_ms, |at| at.ms);
        let latest = match told.trigger {
            b"A01" | b"A04" | b"A05" => None,
            b"A13" => self.visits.latest_ended_weak(transaction, person, &sender)?,
            b"A03" => {
                let end = told.discharge.map_or(at_ms, |end| end.ms);
                self.visits.latest_weak(transaction, person, &sender, end)?
            }
            _ => self.visits.latest_weak(transaction, person, &sender, at_ms)?,
        };
        if let Some(latest) = latest {
            let mut course =
                self.visits.find(transaction, &latest)?.map(|visit| visit.course.clone()).unwrap_or_default();
            course.close_if_hanging(told.received_ms, told.hanging_ms);
            if !course.hanging {
                return Ok(Some(latest));
            }
        }
        // Of a visit that is not known these tell that there is one, others do not.
        let tells = matches!(told.trigger, b"A01" | b"A03" | b"A04" | b"A05" | b"A06" | b"A11" | b"A13" | b"A16");
        Ok(if tells { weak(person, sender, at_ms, zone) } else { None })
    }

    /// The visit that a message of another kind stands with.
    pub(super) fn of_visit(
        &mut self,
        transaction: &Transaction<'_>,
        incoming: &Incoming<'_>,
        patient: Range<usize>,
    ) -> Result<OfVisit, Error> {
        let reading = incoming.reading;
        let pv1 = reading.find(patient.clone(), b"PV1");
        let zone = self.zone(reading, patient.clone()).clone();
        let told = self.told(incoming, pv1, &zone);
        let weak = || {
            let sender = reading.bytes(Some(reading.header()), 4, 1);
            let person = reading.find(patient.clone(), b"PID").map(|pid| person(reading, pid, sender))?;
            weak(person, reading.decode(sender), told.admit?.ms, &zone)
        };
        let key = numbered(reading, patient.clone()).or_else(weak);
        let Some(key) = key else {
            return Ok(OfVisit { class: told.class, facility: told.facility, ..OfVisit::default() });
        };
        let course = self.visits.find(transaction, &key)?.map(|visit| visit.course.clone()).unwrap_or_default();
        Ok(OfVisit::of(&key, &course, &told))
    }

    /// When something happened; of a visit with how it went before the message, and what that told.
    pub(super) fn at(&self, incoming: &Incoming<'_>, candidate: &Candidate, visit: Option<(&Course, &Told<'_>)>) -> At {
        let reading = incoming.reading;
        let received_ms = incoming.facets.received_ms;
        let zone = self.zone(reading, candidate.patient.clone());
        let evn = reading.find(reading.all(), b"EVN");
        let is_end = matches!(candidate.kind, Kind::Discharge | Kind::EdDischarge);
        let of_visit = visit.and_then(|(before, told)| match candidate.kind {
            // PV1-44 may still be when the emergency visit began.
            Kind::Admission if candidate.detail == "ed-to-inpatient" => {
                told.admit.filter(|admit| before.admit_ms.is_none_or(|known| admit.ms > known))
            }
            Kind::Admission | Kind::EdVisit | Kind::OutpatientVisit => told.admit,
            Kind::Discharge | Kind::EdDischarge | Kind::Death => told.discharge,
            _ => None,
        });
        let told = candidate
            .at
            .or_else(|| reading.time(evn, 6, 1, zone))
            .or(of_visit)
            .or_else(|| reading.time(evn, 2, 1, zone))
            .or_else(|| reading.time(Some(reading.header()), 7, 1, zone));
        let begun_ms =
            visit.filter(|_| is_end).and_then(|(before, told)| before.admit_ms.or(told.admit.map(|admit| admit.ms)));
        let possible = |at: &Moment| {
            at.ms <= received_ms.saturating_add(AHEAD_MS) && begun_ms.is_none_or(|begun| at.last_ms >= begun)
        };
        match told.filter(possible) {
            // The day of a discharge begins before an admission on it.
            Some(at) => At { ms: begun_ms.map_or(at.ms, |begun| at.ms.max(begun)), suspect: false },
            None => At { ms: received_ms, suspect: true },
        }
    }

    /// Who looks after the patient; none where nobody can tell whom it is about.
    pub(super) fn team(&mut self, incoming: &Incoming<'_>, zone: &TimeZone) -> Option<TeamTold> {
        let reading = incoming.reading;
        let (all, received_ms) = (reading.all(), incoming.facets.received_ms);
        let pid = reading.find(all.clone(), b"PID").filter(|pid| is_somebody(reading, *pid))?;
        let sent = self.sent(incoming, zone).filter(|at| at.ms <= received_ms.saturating_add(AHEAD_MS));
        Some(TeamTold {
            patient: reading.patient(pid),
            participants: reading.participants(&all, all.clone()),
            at_ms: sent.map_or(received_ms, |at| at.ms),
            received_ms,
        })
    }

    /// When a message says that it was made.
    fn sent(&self, incoming: &Incoming<'_>, zone: &TimeZone) -> Option<Moment> {
        let reading = incoming.reading;
        let evn = reading.find(reading.all(), b"EVN");
        let fields = [(evn, 6), (evn, 2), (Some(reading.header()), 7)];
        fields.into_iter().find_map(|(segment, field)| reading.time(segment, field, 1, zone))
    }

    /// The event of a candidate; none where nobody can tell whom it is about.
    pub(super) fn event(
        &mut self,
        incoming: &Incoming<'_>,
        position: usize,
        candidate: Candidate,
        at: At,
        of_visit: &OfVisit,
    ) -> Option<Event> {
        let Incoming { reading, facets, seq, .. } = *incoming;
        let Candidate { kind, detail, patient: around, part, others, document, appointment, referral, .. } = candidate;
        let Some(pid) = reading.find(around.clone(), b"PID").filter(|pid| is_somebody(reading, *pid)) else {
            self.counts.none(Reason::NoPatient);
            return None;
        };
        let patient = reading.patient(pid);
        let max_age = i64::try_from(self.events.max_event_age.as_millis()).unwrap_or(i64::MAX);
        let stale = at.ms.saturating_add(max_age) < facets.received_ms;
        let ends = matches!(kind, Kind::Discharge | Kind::EdDischarge | Kind::Death);
        let facility = facility(of_visit, reading);
        self.counts.events += 1;
        self.counts.stale += u64::from(stale);
        self.counts.time_suspect += u64::from(at.suspect);
        let position = (position as u64).to_le_bytes();
        Some(Event {
            id: version_5(&EVENTS, &[&facets.message_id, kind.name().as_bytes(), &position]),
            seq,
            kind,
            detail: detail.to_owned(),
            at_ms: at.ms,
            received_ms: facets.received_ms,
            time_suspect: at.suspect,
            partial: of_visit.partial,
            stale,
            facility,
            feed: reading.feed(),
            trigger: reading.decode(incoming.trigger),
            participants: reading.participants(&part, around.clone()),
            codes: reading.codes(&part, around.clone()),
            confidentiality: reading.confidentiality(&part, around),
            patient,
            others,
            visit: of_visit.key.clone(),
            class: of_visit.class.map(Class::code).unwrap_or_default().to_owned(),
            disposition: if ends { of_visit.disposition.clone() } else { String::new() },
            document,
            appointment,
            referral,
        })
    }
}

/// Where it happened: as the message or its visit says, else at the sender's.
pub(super) fn facility(of_visit: &OfVisit, reading: Reading<'_>) -> String {
    match of_visit.facility.as_str() {
        "" => reading.text(Some(reading.header()), 4, 1),
        facility => facility.to_owned(),
    }
}

impl Course {
    /// Takes over when something happened.
    pub(super) fn settle(&mut self, kind: Kind, at_ms: i64) {
        match kind {
            Kind::Admission | Kind::EdVisit | Kind::OutpatientVisit => self.admit_ms = Some(at_ms),
            Kind::Discharge | Kind::EdDischarge => self.discharge_ms = Some(at_ms),
            _ => {}
        }
    }
}

/// The visit by PV1-19.
fn numbered(reading: Reading<'_>, within: Range<usize>) -> Option<VisitKey> {
    reading.visit(reading.find(within, b"PV1")?, 19)
}

/// What stands for the number of a visit that has none: a hash, as the person is part of it.
fn weak(person: Person, sender: String, admit_ms: i64, zone: &TimeZone) -> Option<VisitKey> {
    let day = jiff::Timestamp::from_millisecond(admit_ms).ok()?.to_zoned(zone.clone()).date();
    let id = version_5(&EVENTS, &[&person, b"|", day.to_string().as_bytes(), b"|", sender.as_bytes()]);
    (person != Person::default()).then(|| VisitKey { authority: sender, number: uuid_text(&id), weak: true })
}

fn two_digits(disposition: String) -> String {
    match disposition.as_bytes() {
        [digit] if digit.is_ascii_digit() => format!("0{disposition}"),
        _ => disposition,
    }
}
