//! What an event changes of the measures.
use super::telling::Subject;
use super::{Batch, Error};
use crate::coordination::care_team::Member;
use crate::coordination::event::Code;
use crate::coordination::measures::period::month_text;
use crate::coordination::measures::{Changed, Updated, day, report_id};
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::store::Told;
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{Event, PersonKey, measures};
use crate::fhir::identity::version_5;
use crate::privacy::Found;
use rusqlite::Transaction;

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
        changed.iter().try_for_each(|one| self.tell_measures(transaction, event, one))
    }

    /// Once on each day of receipt, by the date of the panel: that its figures are others.
    fn tell_measures(&mut self, transaction: &Transaction<'_>, event: &Event, changed: &Changed) -> Result<(), Error> {
        let panel = changed.panel.as_str();
        let measures = &self.parts.measures;
        let Some(known) = self.options.rosters.panels.iter().find(|known| known.id == panel) else { return Ok(()) };
        let day = day(event.received_ms, &known.zone);
        if !measures.tells(transaction, panel, day)? {
            return Ok(());
        }
        let definitions = measures.lens().definitions();
        let what = changed
            .what
            .iter()
            .filter_map(|(place, month)| Some((definitions.get(*place as usize)?.id.clone(), month_text(*month))));
        let updated = Updated { panel: panel.to_owned(), at_ms: event.received_ms, reports: what.collect() };
        let code = |(measure, _): &(String, String)| Code {
            field: "measure".into(),
            code: measure.clone(),
            ..Code::default()
        };
        let codes: Vec<_> = updated.reports.iter().map(code).collect();
        let candidate = Candidate {
            trigger: Trigger::MeasureUpdated,
            v2_event: "",
            detail: "",
            facility: "",
            class: "",
            codes: &codes,
            people: &[],
            panels: &[panel],
            labels: &[],
            received_ms: event.received_ms,
        };
        let id =
            |(measure, month): &(String, String)| Some(format!("MeasureReport/{}", report_id(panel, measure, month)?));
        let told = Told {
            event: version_5(&UPDATES, &[panel.as_bytes(), b"|", day.to_string().as_bytes()]),
            seq: event.seq,
            at_ms: event.received_ms,
            received_ms: event.received_ms,
            trigger: Trigger::MeasureUpdated,
            v2_event: String::new(),
            focus: updated.reports.iter().filter_map(id).collect(),
        };
        self.tell_panel(transaction, &candidate, &told, Subject::Measures(updated))
    }

    /// Rosters have given people other keys.
    pub(super) fn moved(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        Ok(self.parts.measures.settle(transaction)?)
    }
}
