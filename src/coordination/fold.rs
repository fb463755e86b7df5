//! The event normaliser: messages in the order of the journal → events, each once.
//!
//! What is remembered between messages (visits, deaths, control ids) is a fold over them: it stands in `coordination.sqlite`, and after a restart goes on as if there
//! had been none. Nothing here knows the time: a message was received when its facets say.
//!
//! When an event happened, by the first of these that is told: OBR-22 of a result, FT1-4 of a service, PID-29 of a death; EVN-6; PV1-44 of a begin, PV1-45 of an end;
//! EVN-2; MSH-7. A document happens when it is sent, not when that which it tells of did (TXA-4). What lies more than a day in the future, ends before it began, or
//! is not told at all is as of receipt, and said to be suspect.
mod event;
mod moved;
mod patients;
mod seen;
mod visit;
mod visits;

pub use visit::{Course, Kinds, Visit};

use super::event::{Code, Confidentiality, Event, Kind, Participant, Patient, VisitKey};
use super::options::{EventOptions, Facilities, Options};
use super::read::{Candidate, Reading, candidates, matters};
use super::reason::Reason;
use super::store::Error;
use crate::facets::{Facets, Outcome};
use crate::hl7::{self, Index, transcode};
use event::OfVisit;
use jiff::tz::TimeZone;
use patients::{Deaths, is_death, is_somebody, person};
use rusqlite::{Connection, OptionalExtension, Transaction};
use seen::Seen;
use visit::{Happened, is_about_visit};
use visits::{Person, Visits};

/// The tables of the fold.
pub(super) const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS fold (id INTEGER PRIMARY KEY CHECK (id = 0), day INTEGER NOT NULL) STRICT;",
    seen::TABLES,
    visits::TABLES,
    patients::TABLES,
];

/// What a time may be ahead of receipt before it is not believed.
const AHEAD_MS: i64 = 86_400_000;
const DAY_MS: i64 = 86_400_000;

/// The fold. It belongs to one database; after an error, or a transaction that was not committed, it must be opened again.
pub struct Fold {
    events: EventOptions,
    facilities: Facilities,
    index: Index,
    seen: Seen,
    visits: Visits,
    deaths: Deaths,
    /// The day of receipt on which was last let go of what is old.
    day: Option<i64>,
    day_written: bool,
    counts: Counts,
    silent: Option<Silent>,
    /// The index is that of the message that was taken last.
    parsed: bool,
}

/// What a message says of which no event came: what follows in its visit is as sensitive, and who looks after the patient may be another.
pub struct Silent {
    /// The visit, where it is about one.
    pub visit: Option<VisitKey>,
    /// Where.
    pub facility: String,
    /// MSH-3.1 and MSH-4.1, joined by `|`.
    pub feed: String,
    /// What was coded.
    pub codes: Vec<Code>,
    /// What its sender says of confidentiality.
    pub confidentiality: Confidentiality,
    /// Who looks after the patient, where that is not what was said before.
    pub team: Option<TeamTold>,
}

/// Who looks after a patient, as a message says of which no event came.
pub struct TeamTold {
    /// The patient.
    pub patient: Patient,
    /// Who took part.
    pub participants: Vec<Participant>,
    /// When that was said, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// When it was received.
    pub received_ms: i64,
}

/// What has come of messages since the fold was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Those of them that nobody is told of, as they were too old.
    pub stale: u64,
    /// Those of them whose time cannot be.
    pub time_suspect: u64,
    none: [u64; Reason::ALL.len()],
}

impl Counts {
    /// What became no event for a reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.none[reason as usize]
    }

    fn none(&mut self, reason: Reason) {
        self.none[reason as usize] += 1;
    }
}

/// A message that is being folded.
#[derive(Clone, Copy)]
struct Incoming<'m> {
    reading: Reading<'m>,
    facets: &'m Facets<'m>,
    seq: u64,
    /// MSH-9.2, else EVN-1.
    trigger: &'m [u8],
}

impl Fold {
    /// Goes on from what a database holds.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn open(options: &Options, connection: &Connection) -> Result<Fold, Error> {
        let day = connection.query_row("SELECT day FROM fold", [], |row| row.get(0)).optional()?;
        let limits = hl7::Options { bytes_max: u32::MAX as usize, ..hl7::Options::default() };
        Ok(Fold {
            events: options.events.clone(),
            facilities: options.facilities.clone(),
            // How long a message may be was for the listener to say.
            index: Index::with_options(limits),
            seen: Seen::open(connection)?,
            visits: Visits::default(),
            deaths: Deaths,
            day,
            day_written: true,
            counts: Counts::default(),
            silent: None,
            parsed: false,
        })
    }

    /// Takes the next message of the journal. What comes of it is only written with [`Fold::flush`].
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn message(
        &mut self,
        transaction: &Transaction<'_>,
        seq: u64,
        facets: &Facets<'_>,
        raw: &[u8],
    ) -> Result<Vec<Event>, Error> {
        (self.silent, self.parsed) = (None, false);
        self.let_go(transaction, facets.received_ms)?;
        let taken = matches!(facets.outcome, Outcome::Received | Outcome::Translated | Outcome::Untranslated);
        if !taken || !matters(facets.code) {
            self.counts.none(Reason::Other);
            return Ok(Vec::new());
        }
        if !self.events.processes(facets.processing_id) {
            self.counts.none(Reason::Processing);
            return Ok(Vec::new());
        }
        if self.seen.note(seq, facets) {
            self.counts.none(Reason::Duplicate);
            return Ok(Vec::new());
        }
        let text = transcode(raw);
        let mut index = std::mem::take(&mut self.index);
        let reading = index.parse(&text).ok().and_then(|()| Reading::new(index.message(&text)));
        let is_read = reading.is_some();
        let events = match reading {
            Some(reading) => {
                let evn = reading.find(reading.all(), b"EVN");
                let trigger = if facets.event.is_empty() { reading.bytes(evn, 1, 1) } else { facets.event };
                self.read(transaction, Incoming { reading, facets, seq, trigger })
            }
            None => {
                self.counts.none(Reason::Unreadable);
                Ok(Vec::new())
            }
        };
        (self.index, self.parsed) = (index, is_read);
        events
    }

    /// Writes what has changed since the last time. Must come before the transaction is committed.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        self.seen.flush(transaction)?;
        self.visits.flush(transaction)?;
        if !std::mem::replace(&mut self.day_written, true) {
            transaction.execute("INSERT OR REPLACE INTO fold VALUES (0, ?1)", [self.day])?;
        }
        Ok(())
    }

    /// What the last message says of its visit, where no event came of it.
    pub fn silent(&mut self) -> Option<Silent> {
        self.silent.take()
    }

    /// The index of the last message, if it was read; to be given back.
    pub(super) fn parsed(&mut self) -> Option<Index> {
        std::mem::take(&mut self.parsed).then(|| std::mem::take(&mut self.index))
    }

    /// Where its place is.
    pub(super) fn give_back(&mut self, index: Index) {
        (self.index, self.parsed) = (index, true);
    }

    /// What has come of messages since the fold was opened.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A visit as the database has it.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn visit(connection: &Connection, key: &VisitKey) -> Result<Option<Visit>, Error> {
        visits::visit(connection, key)
    }

    /// Once for each day of receipt: lets go of what is old.
    fn let_go(&mut self, transaction: &Transaction<'_>, received_ms: i64) -> Result<(), Error> {
        let today = received_ms.div_euclid(DAY_MS);
        // A clock that was set back by more than a night's jitter begins to count again.
        if self.day.is_some_and(|day| today == day || today + 1 == day) {
            return Ok(());
        }
        if self.day.is_some_and(|day| today > day) {
            self.visits.let_go(transaction, today)?;
            self.deaths.let_go(transaction, received_ms)?;
        }
        (self.day, self.day_written) = (Some(today), false);
        Ok(())
    }

    fn read(&mut self, transaction: &Transaction<'_>, incoming: Incoming<'_>) -> Result<Vec<Event>, Error> {
        let Incoming { reading, facets, trigger, .. } = incoming;
        let before = self.counts.clone();
        let zone = self.zone(reading, reading.all()).clone();
        let counts = &mut self.counts;
        let found = candidates(reading, (facets.code, trigger), &zone, |reason| counts.none(reason));
        let mut events = Vec::new();
        let (mut other_team, mut visit) = (false, None);
        if facets.code == b"ADT" {
            (other_team, visit) = self.visit_events(transaction, &incoming, &zone, &mut events)?;
        }
        for candidate in found {
            let of_visit = self.of_visit(transaction, &incoming, candidate.patient.clone())?;
            let at = self.at(&incoming, &candidate, None);
            events.extend(self.event(&incoming, events.len(), candidate, at, &of_visit));
        }
        if events.is_empty() {
            let team = if other_team { self.team(&incoming, &zone) } else { None };
            let of_visit = match visit {
                Some(of_visit) => of_visit,
                None => self.of_visit(transaction, &incoming, reading.all())?,
            };
            self.silent = silent(&incoming, of_visit, team);
        }
        if events.is_empty() && self.counts == before {
            self.counts.none(Reason::NothingNew);
        }
        Ok(events)
    }

    /// What an ADT message tells of a visit and of the patient's death. Whether it says of who looks after the patient what its visit has not said, and the visit.
    fn visit_events(
        &mut self,
        transaction: &Transaction<'_>,
        incoming: &Incoming<'_>,
        zone: &TimeZone,
        events: &mut Vec<Event>,
    ) -> Result<(bool, Option<OfVisit>), Error> {
        let Incoming { reading, facets, trigger, .. } = *incoming;
        let all = reading.all();
        let Some(pid) = reading.find(all.clone(), b"PID") else { return Ok((false, None)) };
        let pv1 = reading.find(all.clone(), b"PV1");
        if !is_somebody(reading, pid) {
            // Nothing is remembered either: the same message with a patient is to be told.
            self.counts.none(Reason::NoPatient);
            return Ok((false, None));
        }
        let person = || person(reading, pid, reading.bytes(Some(reading.header()), 4, 1));
        let told = self.told(incoming, pv1, zone);
        let mut of_visit = OfVisit { class: told.class, facility: told.facility.clone(), ..OfVisit::default() };
        let mut died = reading.bytes(Some(pid), 30, 1) == b"Y";
        let team = reading.team();
        let (mut key, mut said) = (None, 0);
        if is_about_visit(trigger) && pv1.is_some() {
            key = self.key(transaction, incoming, person, &told, zone)?;
        }
        if let Some(key) = key {
            let before = self.visits.find(transaction, &key)?.map(|visit| (visit.course.clone(), visit.team));
            let known = before.is_some();
            let (before, team_before) = before.unwrap_or_default();
            said = team_before;
            let mut course = before.clone();
            let happened = match course.take(known, &told, zone) {
                // What it would have meant under a class that is known cannot be told.
                Ok(happened) if happened.is_empty() && told.class_unknown => {
                    self.counts.none(Reason::UnknownClass);
                    happened
                }
                Ok(happened) => happened,
                Err(reason) => {
                    self.counts.none(reason);
                    Vec::new()
                }
            };
            died |= is_death(&told.disposition);
            of_visit = OfVisit::of(&key, &course, &told);
            for Happened { kind, detail, partial } in happened {
                let candidate = Candidate::new(kind, detail, all.clone(), all.clone());
                let at = self.at(incoming, &candidate, Some((&before, &told)));
                course.settle(kind, at.ms);
                of_visit.partial = partial;
                events.extend(self.event(incoming, events.len(), candidate, at, &of_visit));
                if kind == Kind::DischargeCancelled && course.notified.remove(Kind::Death) {
                    self.deaths.forget(transaction, person())?;
                }
            }
            if trigger == b"A03" && course.discharge_ms.is_none() {
                // The end of what nobody is told of, such as an outpatient visit.
                course.discharge_ms = told.discharge.map(|end| end.ms).or(Some(facets.received_ms));
            }
            if course.admit_ms.is_none() && trigger != b"A11" {
                course.admit_ms =
                    told.admit.map(|admit| admit.ms).filter(|ms| *ms <= facets.received_ms.saturating_add(AHEAD_MS));
            }
            of_visit.partial = false;
            died &= !course.notified.has(Kind::Death);
            if died {
                course.notified.insert(Kind::Death);
            }
            // Only visits without a number are looked for by it.
            let person = if key.weak { person() } else { Person::default() };
            self.visits.keep(&key, person, course, facets.received_ms.div_euclid(DAY_MS), team);
        }
        if died && self.deaths.note(transaction, person(), incoming.seq, facets.received_ms)? {
            let died = reading.time(Some(pid), 29, 1, zone);
            let candidate = Candidate { at: died, ..Candidate::new(Kind::Death, "", all.clone(), all) };
            let at = self.at(incoming, &candidate, Some((&Course::default(), &told)));
            events.extend(self.event(incoming, events.len(), candidate, at, &of_visit));
        }
        Ok((team != 0 && team != said, Some(of_visit).filter(|of_visit| of_visit.key.is_some())))
    }
}

/// What a message says of which no event came.
fn silent(incoming: &Incoming<'_>, of_visit: OfVisit, team: Option<TeamTold>) -> Option<Silent> {
    let reading = incoming.reading;
    let all = reading.all();
    (of_visit.key.is_some() || team.is_some()).then(|| Silent {
        facility: event::facility(&of_visit, reading),
        visit: of_visit.key,
        feed: reading.feed(),
        codes: reading.codes(&all, all.clone()),
        confidentiality: reading.confidentiality(&all, all.clone()),
        team,
    })
}

#[cfg(test)]
mod tests;
