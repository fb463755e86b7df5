//! Rosters at their places in the journal: a message is matched by the roster that was in force when it came, also when the journal is read again, and who subscribed to
//! `atr-list-change` is told of a panel that has other members. Who is known by another key from there on keeps what is kept of them.
use super::telling::{self, Subject, Telling};
use super::{Batch, Error};
use crate::coordination::registry::{self, Entry, Registry};
use crate::coordination::roster::difference::rekeyed;
use crate::coordination::roster::in_force::{InForce, Taken, change_id};
use crate::coordination::roster::{Rosters, Snapshot};
use crate::coordination::subscription::filter::Candidate;
use crate::coordination::subscription::store::{Told, number, pass};
use crate::coordination::subscription::topic::Trigger;
use crate::coordination::{PersonKey, lineage};
use crate::privacy::Recipient;
use rusqlite::Transaction;
use std::sync::Arc;

/// Entries that are read at once.
const PAGE: usize = 1_000;

/// Which rosters are in force, and their people.
pub(super) struct Listed {
    in_force: InForce,
    pub snapshot: Arc<Snapshot>,
}

impl Listed {
    /// Those that the registry says by an entry of that number. What came before anybody said anything is matched by the first that was said.
    pub fn open(registry: &Registry, rosters: &Rosters, number: u64) -> Result<Listed, Error> {
        let (mut last, mut after) = (None, 0);
        'pages: loop {
            let entries = registry.after(after, PAGE)?;
            let Some(end) = entries.last().map(|entry| entry.number) else { break };
            for entry in entries.iter().filter(|entry| entry.what.kind() == registry::Kind::Roster) {
                if entry.number > number && last.is_some() {
                    break 'pages;
                }
                last = entry.what.body().map(InForce::parse);
            }
            after = end;
        }
        let in_force = last.unwrap_or_else(|| rosters.in_force());
        Ok(Listed { snapshot: rosters.at(&in_force), in_force })
    }
}

impl Batch<'_> {
    /// Other rosters are in force from here on.
    pub(super) fn listed(&mut self, transaction: &Transaction<'_>, entry: &Entry) -> Result<(), Error> {
        let Some(body) = entry.what.body() else { return Ok(()) };
        let in_force = InForce::parse(body);
        let before = std::mem::replace(
            &mut self.parts.listed,
            Listed { snapshot: self.rosters.at(&in_force), in_force: in_force.clone() },
        );
        self.snapshot = Arc::clone(&self.parts.listed.snapshot);
        self.rename(transaction, &before.snapshot)?;
        self.measure_rosters(transaction, &before.snapshot, (entry.after_seq, entry.at_ms))?;
        for taken in in_force.news(&before.in_force) {
            self.tell_list(transaction, entry, taken)?;
        }
        Ok(())
    }

    /// Who is known by another key from here on keeps what is kept of them.
    fn rename(&mut self, transaction: &Transaction<'_>, before: &Snapshot) -> Result<(), Error> {
        let after = &*self.snapshot;
        if before.fingerprint() == after.fingerprint() {
            return Ok(());
        }
        lineage::restore(transaction, |key| after.has(key)).map_err(Error::database)?;
        let rekeyed = rekeyed(before, after);
        for (old, new) in &rekeyed {
            lineage::rename(transaction, *old, *new).map_err(Error::database)?;
        }
        self.moved(transaction)?;
        if rekeyed.is_empty() {
            return Ok(());
        }
        let new = |key: &PersonKey| {
            let at = rekeyed.binary_search_by_key(key, |(old, _)| *old).ok()?;
            rekeyed.get(at).map(|(_, new)| *new)
        };
        self.parts.aliases.rename(transaction, new).map_err(Error::database)
    }

    /// To those who subscribed and look after the panel.
    fn tell_list(&mut self, transaction: &Transaction<'_>, entry: &Entry, taken: &Taken) -> Result<(), Error> {
        let panel = taken.panel.as_str();
        let candidate = Candidate {
            trigger: Trigger::RosterChanged,
            v2_event: "",
            detail: "",
            facility: "",
            class: "",
            codes: &[],
            people: &[],
            panels: &[panel],
            labels: &[],
            received_ms: entry.at_ms,
        };
        let told = Told {
            event: change_id(entry.number, panel),
            seq: 0,
            at_ms: entry.at_ms,
            received_ms: entry.at_ms,
            trigger: Trigger::RosterChanged,
            v2_event: String::new(),
            focus: vec![format!("Group/{panel}")],
        };
        self.tell_panel(transaction, (&candidate, &told), Subject::Roster(taken.clone()), &|_| true)
    }

    /// Something of a panel that is about nobody, to those who subscribed, look after it and may hear of it.
    pub(super) fn tell_panel(
        &mut self,
        transaction: &Transaction<'_>,
        (candidate, told): (&Candidate<'_>, &Told),
        subject: Subject,
        hears: &dyn Fn(&Recipient) -> bool,
    ) -> Result<(), Error> {
        let Some(panel) = candidate.panels.first().copied() else { return Ok(()) };
        let registered = &self.parts.registered;
        let mut kept = false;
        for one in registered.matcher.matches(candidate) {
            let owner = registered.subscriptions.get(one.id).map(|(owner, _)| owner.as_str()).unwrap_or_default();
            let Some(recipient) = self.options.privacy.recipient(owner) else { continue };
            let theirs = recipient.panels.iter().any(|own| own == panel);
            if !theirs || !recipient.topics.iter().any(|own| own == one.topic) || !hears(recipient) {
                continue;
            }
            number(transaction, one.id, told).map_err(Error::database)?;
            if self.is_past(told.received_ms) {
                pass(transaction, one.id).map_err(Error::database)?;
            }
            kept = true;
            self.told += 1;
        }
        if kept {
            let telling = Telling {
                id: told.event,
                person: PersonKey([0; 16]),
                received_ms: told.received_ms,
                subject,
                labels: (Vec::new(), Vec::new()),
                panels: vec![(panel.to_owned(), String::new())],
            };
            telling::keep(transaction, &telling).map_err(Error::database)?;
        }
        Ok(())
    }
}
