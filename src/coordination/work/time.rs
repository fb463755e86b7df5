//! Time: what it brings comes before what was received after it, whether anybody has waited for it or the journal is read once more.
//!
//! Live, time passes on its own ([`super::Work::advance`]), a little later than it does. What was received before a moment and taken after it comes late: after a clock was set back, or
//! where the machine slept in between. Timers that are done then would still wait when the journal is read again. So the registry is told of it first
//! ([`crate::coordination::registry::Before`]), and both read it alike. Nobody is told anything twice for it, or not at all; what was told too early by a clock that was wrong stays told.
use super::{Batch, Error, Parts, responsible, whole};
use crate::coordination::care_team;
use crate::coordination::registry::{self, Before, Registry};
use crate::privacy::{Found, visits};
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::collections::HashMap;

/// To be made when the database is opened: the time of the last timer that was done since anything was taken.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS fired (id INTEGER PRIMARY KEY CHECK (id = 0), at_ms INTEGER NOT NULL) STRICT;";

/// Messages of the journal after which is let go of what is kept long enough: no batch, no restart and no clock says when, so whoever reads them again lets go of the same.
pub const PRUNE_EVERY: u64 = 64;
/// Rows of each kind that go then: more than messages bring meanwhile.
const PRUNED_MAX: usize = 1_000;
/// Labels of visits are kept so much longer than loops, which are of them.
const LABELS_LONGER_MS: i64 = 7 * 86_400_000;

/// To where time has come.
pub(super) struct Clock {
    /// The time of the last timer that was done on its own since anything was taken; none where none was.
    fired_ms: Option<i64>,
    /// The same, as it is written.
    written_ms: Option<i64>,
    passed: HashMap<Before, i64>,
}

impl Clock {
    pub fn open(connection: &Connection, registry: &Registry) -> Result<Clock, Error> {
        let sql = "SELECT at_ms FROM fired";
        let fired_ms = connection.query_row(sql, [], |row| row.get(0)).optional().map_err(Error::database)?;
        Ok(Clock { fired_ms, written_ms: fired_ms, passed: registry.passed()? })
    }

    /// Timers were done on their own, the last of them at a time.
    pub fn fired(&mut self, at_ms: Option<i64>) {
        self.fired_ms = self.fired_ms.max(at_ms);
    }

    /// To where time has come when something that was received at a time is taken.
    fn comes(&mut self, registry: &Registry, before: Before, at_ms: i64) -> Result<i64, registry::Error> {
        let known_ms = self.passed.get(&before).copied().unwrap_or(at_ms).max(at_ms);
        match self.fired_ms.take() {
            Some(fired_ms) if fired_ms >= known_ms => {
                let to_ms = fired_ms.saturating_add(1);
                registry.pass(before, to_ms)?;
                self.passed.insert(before, to_ms);
                Ok(to_ms)
            }
            _ => Ok(known_ms),
        }
    }

    /// Writes it, where it has changed.
    pub fn flush(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        if self.fired_ms != self.written_ms {
            match self.fired_ms {
                Some(at_ms) => transaction.execute("INSERT OR REPLACE INTO fired VALUES (0, ?1)", [at_ms]),
                None => transaction.execute("DELETE FROM fired", []),
            }
            .map_err(Error::database)?;
            self.written_ms = self.fired_ms;
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// What time brings before something is taken that was received at a time.
    pub(super) fn comes(&mut self, transaction: &Transaction<'_>, before: Before, at_ms: i64) -> Result<(), Error> {
        let Parts { clock, tracker, .. } = &mut *self.parts;
        let to_ms = clock.comes(self.registry, before, at_ms)?;
        let outcomes = tracker.advance(transaction, to_ms).map_err(Error::database)?;
        // Whoever reads the journal again does these here as well.
        tracker.take_fired();
        self.outcomes(transaction, outcomes, Found::default())?;
        self.tell_measures(transaction, to_ms)?;
        self.now_ms = to_ms;
        Ok(())
    }

    /// Lets go of some of what is kept long enough when a message was received.
    pub(super) fn prune(&self, transaction: &Transaction<'_>, now_ms: i64) -> rusqlite::Result<()> {
        for number in self.parts.tracker.prune(transaction, now_ms, PRUNED_MAX)? {
            let of_loop = format!("loop|{number}");
            visits::remove(transaction, &of_loop)?;
            visits::remove(transaction, &whole(&of_loop))?;
            responsible::remove(transaction, number)?;
        }
        let before_ms = now_ms.saturating_sub(self.options.keep.ms());
        care_team::prune(transaction, before_ms, PRUNED_MAX)?;
        visits::prune(transaction, before_ms.saturating_sub(LABELS_LONGER_MS), PRUNED_MAX)
    }
}
