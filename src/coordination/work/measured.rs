//! What an event changes of the measures.
use super::telling::Subject;
use super::{Batch, Error};
use crate::coordination::care_team::Member;
use crate::coordination::event::Code;
use crate::coordination::measures::{Changed, Due, keep_members, report_id};
use crate::coordination::roster::Snapshot;
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::store::Told;
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{Event, PersonKey, lineage, measures};
use crate::fhir::identity::version_5;
use crate::privacy::{Found, Recipient};
use rusqlite::Transaction;
use std::sync::Arc;

/// The namespace of the ids of what panels are told of, a UUID of our own.
const UPDATES: [u8; 16] =
    [0x1d, 0x83, 0x6f, 0xb2, 0x4c, 0x90, 0x4e, 0x57, 0x9a, 0x21, 0xd4, 0x08, 0x7b, 0xee, 0x35, 0xc6];

impl Batch<'_> {
    /// Counts an event of somebody of the rosters, after what it moved from one person to another.
    pub(super) fn measure(
        &mut self,
        transaction: &Transaction<'_>,
        event: &Event,
        key: PersonKey,
        (members, team, found): (&[Member<'_>], &[String], Found),
    ) -> Result<(), Error> {
        let panels: Vec<&str> = members.iter().map(|member| member.panel).collect();
        let subject = measures::Subject { panels: &panels, team, found, labels: self.gate.labels() };
        let changed = self.parts.measures.take(transaction, event, key, &subject)?;
        self.note(transaction, &changed)
    }

    /// Figures have changed: subscribers are told of it when the day is over.
    pub(super) fn note(&mut self, transaction: &Transaction<'_>, changed: &[Changed]) -> Result<(), Error> {
        Ok(self.parts.measures.note(transaction, changed, self.now_ms)?)
    }

    /// What changed on days that were over before a moment is told, and when the last of them was.
    pub(super) fn tell_measures(&mut self, transaction: &Transaction<'_>, to_ms: i64) -> Result<Option<i64>, Error> {
        let mut last_ms = None;
        while let Some(due) = self.parts.measures.due(transaction, to_ms)? {
            last_ms = Some(due.updated.at_ms);
            if self.options.rosters.panels.iter().any(|known| known.id == due.updated.panel) {
                self.tell_day(transaction, due)?;
            }
        }
        Ok(last_ms)
    }

    fn tell_day(&mut self, transaction: &Transaction<'_>, due: Due) -> Result<(), Error> {
        let Due { day, audience, updated } = due;
        let (panel, at_ms) = (updated.panel.clone(), updated.at_ms);
        let mut named: Vec<&str> = updated.reports.iter().map(|(measure, _)| measure.as_str()).collect();
        named.dedup();
        let code = |measure: &str| Code { field: "measure".into(), code: measure.to_owned(), ..Code::default() };
        let codes: Vec<_> = named.into_iter().map(code).collect();
        let candidate = Candidate {
            trigger: Trigger::MeasureUpdated,
            v2_event: "",
            detail: "",
            facility: "",
            class: "",
            codes: &codes,
            people: &[],
            panels: &[&panel],
            labels: &[],
            received_ms: at_ms,
        };
        let id = |(measure, month): &(String, String)| format!("MeasureReport/{}", report_id(&panel, measure, month));
        let parts = [panel.as_bytes(), b"|", day.to_string().as_bytes(), b"|", audience.as_bytes()].concat();
        let told = Told {
            event: version_5(&UPDATES, &[&parts]),
            seq: 0,
            at_ms,
            received_ms: at_ms,
            trigger: Trigger::MeasureUpdated,
            v2_event: String::new(),
            focus: updated.reports.iter().map(id).collect(),
        };
        let labels = self.gate.labels();
        let hears = |recipient: &Recipient| measures::audience(recipient, labels) == audience;
        self.tell_panel(transaction, (&candidate, &told), Subject::Measures(updated), &hears)
    }

    /// Rosters have given people other keys.
    pub(super) fn moved(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let changed = self.parts.measures.settle(transaction, (0, 0))?;
        self.note(transaction, &changed)
    }

    /// Other rosters are in force behind a message: months that are over are counted by those that were, and of who is in none any more nobody hears until they are back.
    pub(super) fn measure_rosters(
        &mut self,
        transaction: &Transaction<'_>,
        before: &Snapshot,
        (seq, at_ms): (u64, i64),
    ) -> Result<(), Error> {
        let after = Arc::clone(&self.snapshot);
        if before.fingerprint() == after.fingerprint() {
            return Ok(());
        }
        for panel in &self.options.rosters.panels {
            keep_members(transaction, (&panel.id, &panel.zone), before, at_ms).map_err(Error::database)?;
        }
        for key in before.keys().filter(|key| !after.has(key)) {
            if !self.parts.measures.knows(transaction, key)? {
                continue;
            }
            // Who goes on under another key, or was merged with somebody who is there, has not left.
            let same = lineage::same(transaction, key).map_err(Error::database)?;
            if same.is_none_or(|same| same.iter().any(|one| after.has(one))) {
                continue;
            }
            let panels: Vec<&str> = before.memberships(&key).map(|one| one.panel.id.as_str()).collect();
            let changed = self.parts.measures.left(transaction, key, &panels, (seq, at_ms))?;
            self.note(transaction, &changed)?;
        }
        for key in after.keys().filter(|key| !before.has(key)) {
            if !self.parts.measures.knows(transaction, key)? {
                continue;
            }
            let panels: Vec<&str> = after.memberships(&key).map(|one| one.panel.id.as_str()).collect();
            let changed = self.parts.measures.back(transaction, key, &panels, at_ms)?;
            self.note(transaction, &changed)?;
        }
        Ok(())
    }
}
