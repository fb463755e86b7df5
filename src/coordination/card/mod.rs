//! The longitudinal picture of a person, as messages told it: a bounded card.
//!
//! Kept is what was said, not what was made of it: the segments of the message that told of each entry, as they came, and beside them what they are read with (header and patient of
//! that feed, the numbers of the visit). Whoever reads the card puts them together as a message again; the ordinary mappings translate it and the gate judges it then, as they do
//! with what somebody is notified of. So there is no second mapping, ids are those that notifications have, and the card outlives the journal.
//!
//! ```text
//! card row    person, origin | section, key | at, seq | head, visit, stay | labels | body
//! key         a hash of feed, patient number and the number or code by which the sender knows the entry: no two sources are ever taken for one
//! body        parts of u16 length and bytes; of a head: MSH, PID, PD1, plan, listener
//!             of an entry: its facility, visit, MSH-7, MSH-9, MSH-10, PID-18, place in the message, times of receipt, then EVN, PV1 and segments
//! ```
//!
//! Of each section the newest entries stay, by number and by bytes; all of them together are [`CARD_BYTES_MAX`] at most. What they are read with has room of its own ([`HEADS_BYTES_MAX`]),
//! and a head stays for as long as there is an entry that is read with it. What a feed sent earlier (MSH-7) never takes the place of what it sent later, whenever it is received. An entry that was taken back stays as an empty row, so that
//! what an earlier key of the same patient still has of it does not come back.
//!
//! What stands there of those of whom messages came last is known without reading it, but for bodies (`outline`): what a message tells is written at once.
mod body;
mod leave;
pub mod message;
mod outline;
mod panel;
mod shown;
mod store;
mod told;

pub(super) use leave::{Account, Head, drop_head, drop_of_account, drop_of_stay, heads_of, heads_of_number, stays_of};
pub use message::{Group, Source, groups};
pub(super) use outline::Outlines;
pub use shown::news;
pub use store::{Card, Row, TABLES, shown, was_shown};
pub(super) use store::{Of, forget, labels_of, mark, settle, take};
pub(super) use told::{Context, number_key, told};

/// Bytes of bodies of one person that are ever shown together, but for what they are read with: those of [`Section::limits`].
pub const CARD_BYTES_MAX: usize = 32 << 10;
/// Bytes of heads of one person, beyond which one stays only while an entry is read with it.
pub const HEADS_BYTES_MAX: usize = 16 << 10;
/// Bytes of one entry; one that has more is not taken.
pub const ENTRY_BYTES_MAX: usize = 4 << 10;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Header and patient that entries of a feed are read with, and what it says of the patient.
    Head,
    /// Visits.
    Encounter,
    /// DG1.
    Condition,
    /// AL1, IAM.
    Allergy,
    /// Orders and dispenses.
    Medication,
    /// TXA, without what it says.
    Document,
    /// SCH.
    Appointment,
    /// OBR with its OBX, but for texts.
    Result,
}

impl Section {
    /// Every one.
    pub const ALL: [Section; 8] = [
        Section::Head,
        Section::Encounter,
        Section::Condition,
        Section::Allergy,
        Section::Medication,
        Section::Document,
        Section::Appointment,
        Section::Result,
    ];

    /// Entries and bytes of them that are kept.
    pub const fn limits(self) -> (usize, usize) {
        match self {
            Section::Head => (32, HEADS_BYTES_MAX),
            Section::Encounter => (25, 9_216),
            Section::Condition => (40, 4_608),
            Section::Allergy => (40, 5_120),
            Section::Medication => (40, 5_120),
            Section::Document => (25, 2_304),
            Section::Appointment => (15, 1_792),
            Section::Result => (60, 4_608),
        }
    }

    /// As it is stored.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The section of that number.
    pub fn parse(number: u8) -> Option<Section> {
        Section::ALL.into_iter().find(|section| section.number() == number)
    }
}

#[cfg(test)]
mod tests;
