//! What an event changes of the measures.
use super::{Batch, Error};
use crate::coordination::care_team::Member;
use crate::coordination::measures::Subject;
use crate::coordination::{Event, PersonKey};
use crate::privacy::Found;
use rusqlite::Transaction;

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
        let subject = Subject { panels: &panels, team, found, labels: self.gate.labels() };
        self.parts.measures.take(transaction, event, key, &subject)?;
        Ok(())
    }

    /// Rosters have given people other keys.
    pub(super) fn moved(&mut self, transaction: &Transaction<'_>) -> Result<(), Error> {
        Ok(self.parts.measures.settle(transaction)?)
    }
}
