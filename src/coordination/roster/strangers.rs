//! People whom the rosters do not know, as was found by likeness, which takes longest: most messages are about somebody who had one before.
//!
//! What likeness finds follows from the patient and the rosters alone, so it is remembered until these change. The patient as a whole is compared, never a hash alone.
use super::snapshot::Snapshot;
use crate::coordination::event::Patient;
use hashbrown::HashSet;

/// Patients that are remembered, half of them for longer; some 500 bytes each.
const STRANGERS_MAX: usize = 16_384;

/// Patients who are nobody in the rosters, unless by an identifier.
#[derive(Default)]
pub struct Strangers {
    /// Of which rosters ([`Snapshot::fingerprint`]).
    rosters: [u8; 32],
    new: HashSet<Patient>,
    old: HashSet<Patient>,
}

impl std::fmt::Debug for Strangers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Strangers({})", self.new.len() + self.old.len())
    }
}

impl Strangers {
    /// Whether somebody is known to be a stranger.
    pub(super) fn has(&mut self, snapshot: &Snapshot, patient: &Patient) -> bool {
        if self.rosters != *snapshot.fingerprint() {
            *self = Strangers { rosters: *snapshot.fingerprint(), ..Strangers::default() };
        }
        if self.new.contains(patient) {
            return true;
        }
        let Some(patient) = self.old.take(patient) else { return false };
        self.add(patient);
        true
    }

    /// Remembers one, of the rosters that were asked for last.
    pub(super) fn add(&mut self, patient: Patient) {
        if self.new.len() >= STRANGERS_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(patient);
    }
}
