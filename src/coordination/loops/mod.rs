//! Loops: what should happen after something did, and who hears when it does not.
//!
//! A [`Definition`] says which event opens a loop and what closes each of its steps until when. [`Tracker`] folds events into loops, and time: it is a function of the
//! events, of the moments to which [`Tracker::advance`] was taken, and of the configuration, nothing else. It has no clock; what is due at a moment is done before any
//! event that was received after that moment. All of it stands in the database; in memory there are only the timers, and a restart reads the same ones.
//!
//! When a transaction is given up, the tracker in memory is ahead of the database: open it anew.
mod calendar;
mod definition;
mod fold;
mod handoff;
mod history;
mod matching;
mod model;
mod outcome;
mod parted;
mod render;
mod steps;
mod store;
mod timers;
mod waiting;

pub use calendar::{Span, instant};
pub use definition::{
    Alert, At, Clock, Definition, Escalation, OnReadmit, Options, Pattern, Provider, Score, StepDefinition,
};
pub use handoff::{PARTS, Parts, check};
pub use history::{ED_3_IN_60_DAYS, ED_4_IN_365_DAYS, ED_AFTER_STAY, HISTORY_MAX, READMISSION, knows};
pub(in crate::coordination) use matching::{FINISHED, acting, same_system, value};
pub use model::{Closed, Ended, Facts, Loop, Reference, State, Step, StepState};
pub use outcome::{Outcome, OutcomeKind};
pub use render::{CODES, alert, assign, communication_request, flag, task};
pub use store::{find, going_on, of_person, worklist};
pub use timers::STEPS_MAX;
pub use waiting::{WAITING_MAX, WAITING_MS};

use crate::coordination::care_team::Member;
use crate::coordination::lineage::Under;
use crate::coordination::options::{Facilities, Keep};
use crate::coordination::{Event, Kind, PersonKey, lineage, measures};
use jiff::tz::TimeZone;
use rusqlite::{Connection, Transaction};
use std::collections::BTreeMap;
use timers::Timers;

/// What this part needs in the database; beside it that of the care team and of the measures, whose rows move with a person too.
pub const TABLES: [&str; 5] = [store::TABLES, history::TABLES, waiting::TABLES, lineage::TABLES, measures::FACTS];

/// Loops of one person that are looked at, the newest: nobody has as many that still matter.
pub const LOOPS_MAX: usize = 128;
/// The flag of a person who has [`LOOPS_MAX`] open loops and gets no more.
pub const LOOPS_FULL: &str = "loops-full";

/// Where things happen, and for whom.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// The facilities.
    pub facilities: Facilities,
    /// The panels by their ids.
    pub panels: BTreeMap<String, Panel>,
    /// How long loops that are over are kept.
    pub keep: Keep,
}

/// A panel, as far as loops ask.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// The organisation whose panel it is.
    pub owner_npi: String,
    /// Its zone, where a facility has none.
    pub zone: Option<TimeZone>,
}

impl Setting {
    /// The zone in which days are counted: of the facility, else of the first of the panels that has one.
    pub fn zone(&self, facility: &str, panels: &[String]) -> TimeZone {
        let own = self.facilities.by_key.get(facility).and_then(|facility| facility.zone.as_ref());
        let of_panel = || panels.iter().find_map(|panel| self.panels.get(panel)?.zone.as_ref());
        own.or_else(of_panel).unwrap_or_else(|| self.facilities.zone(facility)).clone()
    }
}

/// Who an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The person, as the message names them.
    pub person: PersonKey,
    /// Of a merge the persons that turn out to be this one; of an unlink those who are told apart from them.
    pub others: &'a [PersonKey],
    /// What they are a member of, at the time of the event.
    pub members: &'a [Member<'a>],
    /// NPIs of their care team, without those who only take part in a visit.
    pub team: &'a [String],
}

/// What is at hand while an event is folded.
struct Given<'a> {
    event: &'a Event,
    under: Under,
    team: &'a [String],
    setting: &'a Setting,
}

/// All loops.
#[derive(Debug)]
pub struct Tracker {
    options: Options,
    setting: Setting,
    timers: Timers,
    next_number: i64,
    /// The time of the last timer that was done since it was asked for.
    fired_ms: Option<i64>,
}

impl Tracker {
    /// Reads the timers of a database that has the tables.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub fn open(connection: &Connection, options: Options, setting: Setting) -> rusqlite::Result<Tracker> {
        Ok(Tracker {
            options,
            setting,
            timers: store::timers(connection)?,
            next_number: store::next_number(connection)?,
            fired_ms: None,
        })
    }

    /// How many timers run.
    pub fn timers(&self) -> usize {
        self.timers.count()
    }

    /// When the next one is due, in milliseconds since 1970 (UTC).
    pub fn next_ms(&self) -> Option<i64> {
        self.timers.before(i64::MAX).map(|timer| timer.0)
    }

    /// The time of the last timer that was done since this was asked before.
    pub fn take_fired(&mut self) -> Option<i64> {
        self.fired_ms.take()
    }

    /// Lets time pass up to a moment, which is not itself reached yet: what was due before it is done, in its order.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn advance(&mut self, transaction: &Transaction<'_>, to_ms: i64) -> rusqlite::Result<Vec<Outcome>> {
        self.advance_some(transaction, to_ms, usize::MAX)
    }

    /// The same in pieces, each of which can be a transaction of its own: after a long rest there may be much. At most so many timers are done; when fewer were, time
    /// has come to the moment. The pieces make what the whole would.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn advance_some(
        &mut self,
        transaction: &Transaction<'_>,
        to_ms: i64,
        timers_max: usize,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut out = Vec::new();
        // Each round takes a timer out, or sets it later: no step is due without end.
        for _ in 0..timers_max {
            let Some(timer) = self.timers.before(to_ms) else { break };
            let (at_ms, number, place) = timer;
            self.fired_ms = self.fired_ms.max(Some(at_ms));
            let found = store::find(transaction, number)?;
            let Some(before) = found.filter(|found| has_timer(found, place, at_ms)) else {
                self.timers.remove(&timer);
                continue;
            };
            let mut after = before.clone();
            let zone = self.setting.zone(&after.facts.facility, &after.facts.panels);
            let definition = self.options.definitions.iter().find(|one| one.id == after.definition);
            steps::fire(&mut after, usize::from(place), definition, at_ms, &zone, &mut out);
            store::save(transaction, Some(&before), &after, &mut self.timers)?;
        }
        Ok(out)
    }

    /// Takes out what has been kept long enough by the time at which a message was received, at most so much of each; the numbers of the loops among it. To be called at
    /// places that the journal alone decides, when time has come there: then whoever reads it again takes out the same.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn prune(&self, transaction: &Transaction<'_>, now_ms: i64, most: usize) -> rusqlite::Result<Vec<i64>> {
        waiting::prune(transaction, now_ms, most)?;
        history::prune(transaction, now_ms, most)?;
        store::prune(transaction, self.kept_from(now_ms), most)
    }

    /// What is over and older than this is not kept.
    fn kept_from(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.setting.keep.ms())
    }

    /// Folds an event of a person. What was due before it was received is done first.
    ///
    /// # Errors
    /// A database that cannot be read or written.
    pub fn apply(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        subject: Subject<'_>,
    ) -> rusqlite::Result<Vec<Outcome>> {
        let mut out = self.advance(transaction, event.received_ms)?;
        match event.kind {
            Kind::IdentityMerge => {
                for other in subject.others {
                    lineage::merge(transaction, *other, subject.person)?;
                }
            }
            Kind::Unlink => {
                for other in subject.others {
                    lineage::unlink(transaction, subject.person, *other)?;
                }
                self.parted(transaction, event, subject, &mut out)?;
            }
            _ => self.fold(transaction, event, subject, &mut out)?,
        }
        Ok(out)
    }
}

fn has_timer(found: &Loop, place: u8, at_ms: i64) -> bool {
    found.steps.get(usize::from(place)).is_some_and(|step| step.timer_ms == Some(at_ms))
}
