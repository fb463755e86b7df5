//! The facts of one person as they are once all are there: in order, without what was taken back, and with what later ones make of earlier ones.
use super::cell::Case;
use super::fact::{Coded, Damaged, Fact, Facts};
use super::marks::Marks;
use crate::coordination::Kind;

/// Room that is used again from person to person.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) facts: Facts,
    pub(super) gone: Vec<bool>,
    /// Places of those that were not taken back, by time.
    pub(super) order: Vec<usize>,
    pub(super) kinds: u32,
    pub(super) cases: Vec<Case>,
}

impl Scratch {
    /// The facts, to be filled.
    pub fn facts(&mut self) -> &mut Facts {
        self.facts.clear();
        &mut self.facts
    }

    /// One more, the newest.
    pub(super) fn add(&mut self, fact: Fact, codes: &[Coded], acting: &[u64]) {
        self.facts.push(fact, codes, acting);
    }

    /// More of the same person, as they are kept; how many.
    pub(super) fn more(&mut self, blob: &[u8]) -> Result<u64, Damaged> {
        let before = self.facts.list.len();
        self.facts.decode(blob)?;
        Ok((self.facts.list.len() - before) as u64)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.facts.list.len()
    }

    /// Whether one of them is of that message.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.facts.list.iter().any(|fact| fact.seq == seq)
    }

    /// In the order of the journal, those of one message by their keys as they are read, without what was taken back, and with the labels that their words carry.
    pub(super) fn settle(&mut self, marks: &Marks) {
        let Scratch { facts, gone, order, kinds, .. } = self;
        marks.bits().into_iter().for_each(|bits| facts.mark(bits));
        facts.list.sort_by_key(|fact| fact.seq);
        gone.clear();
        gone.resize(facts.list.len(), false);
        *kinds = facts.list.iter().fold(0, |all, fact| all | 1_u32.checked_shl(fact.kind.into()).unwrap_or(0));
        if *kinds & TAKING_BACK != 0 {
            take_back(facts, gone);
        }
        end_as(facts, gone, *kinds);
        share_labels(facts);
        order.clear();
        order.extend((0..facts.list.len()).filter(|at| gone.get(*at) == Some(&false)));
        order.sort_by_key(|at| facts.list.get(*at).map(|fact| (fact.at_ms, fact.seq)));
    }
}

/// What a visit turned out to be it was all along: what is told of it later marks what was told before.
fn share_labels(facts: &mut Facts) {
    for at in 0..facts.list.len() {
        let Some(Fact { visit: visit @ 1.., whole, all: all @ 1.., .. }) = facts.list.get(at).copied() else {
            continue;
        };
        for other in facts.list.iter_mut().filter(|other| other.visit == visit) {
            other.whole |= whole;
            other.all |= all;
        }
    }
}

/// Marks what was taken back.
fn take_back(facts: &mut Facts, gone: &mut [bool]) {
    for at in 0..facts.list.len() {
        let Some(back) = facts.list.get(at).copied() else { break };
        let takes = taken_back(back.kind);
        if takes == 0 {
            continue;
        }
        // From the last on: what a later begin has made another stay of the same number is not meant.
        let mut begun_ms = i64::MIN;
        for (earlier, gone) in facts.list.iter_mut().zip(gone.iter_mut()).take(at).rev() {
            if *gone || !is_of(&back, earlier) {
                continue;
            }
            let begins = BEGINS >> earlier.kind & 1 == 1;
            if takes >> earlier.kind & 1 == 1 && (takes & ENDS == 0 || begun_ms <= earlier.at_ms) {
                if back.kind == Kind::AppointmentChanged as u8 {
                    earlier.start = back.start;
                } else {
                    *gone = true;
                }
            }
            if begins {
                begun_ms = begun_ms.max(earlier.at_ms);
            }
        }
    }
}

/// A stay that began as an observation and ended as a stay was one all along.
fn end_as(facts: &mut Facts, gone: &[bool], kinds: u32) {
    facts.list.iter_mut().for_each(|fact| fact.ended_as = 0);
    if kinds & one(Kind::Admission) == 0 || kinds & one(Kind::Discharge) == 0 {
        return;
    }
    let is = |fact: &Fact, kind: Kind| fact.kind == kind as u8 && fact.visit != 0;
    for at in 0..facts.list.len() {
        let Some(end) = facts.list.get(at).copied() else { break };
        if !is(&end, Kind::Discharge) || gone.get(at).copied().unwrap_or(true) {
            continue;
        }
        for fact in facts.list.iter_mut().filter(|fact| is(fact, Kind::Admission) && fact.visit == end.visit) {
            if fact.at_ms <= end.at_ms && fact.ended_as == 0 {
                fact.ended_as = end.class;
            }
        }
    }
}

pub(super) const fn one(kind: Kind) -> u32 {
    1 << kind as u32
}

/// Kinds that change what was said before.
const TAKING_BACK: u32 = one(Kind::AdmissionCancelled)
    | one(Kind::DischargeCancelled)
    | one(Kind::TransferCancelled)
    | one(Kind::DocumentCancelled)
    | one(Kind::AppointmentCancelled)
    | one(Kind::AppointmentNoShow)
    | one(Kind::AppointmentChanged);

pub(super) const BEGINS: u32 = one(Kind::Admission) | one(Kind::EdVisit) | one(Kind::OutpatientVisit);
pub(super) const ENDS: u32 = one(Kind::Discharge) | one(Kind::EdDischarge);

/// What is left of a day at its first moment.
pub(super) const LAST_MS: i64 = 86_399_999;

/// What an event of a kind takes back.
pub(super) fn taken_back(kind: u8) -> u32 {
    let is = |one: Kind| kind == one as u8;
    if is(Kind::AdmissionCancelled) {
        BEGINS | ENDS
    } else if is(Kind::DischargeCancelled) {
        ENDS
    } else if is(Kind::TransferCancelled) {
        one(Kind::Transfer)
    } else if is(Kind::DocumentCancelled) {
        one(Kind::Document)
    } else if is(Kind::AppointmentCancelled) || is(Kind::AppointmentNoShow) || is(Kind::AppointmentChanged) {
        one(Kind::AppointmentBooked)
    } else {
        0
    }
}

/// Whether what is taken back is that.
fn is_of(back: &Fact, earlier: &Fact) -> bool {
    if back.appointment.is_some() || earlier.appointment.is_some() {
        back.appointment.same(earlier.appointment)
    } else if back.kind == Kind::DocumentCancelled as u8 {
        back.document.same(earlier.document)
    } else {
        back.visit != 0 && back.visit == earlier.visit
    }
}
