//! Whether a document of a handoff says what it should: who, what was found, what was done, medications and allergies, results, what to do next.
//!
//! Judged by the codes of its sections (LOINC, as C-CDA's Discharge Summary and Consultation Note have them). A text or a picture has none, and cannot be judged: that
//! is said, it is never a zero.
use super::matching::same_system;
use crate::coordination::Event;
use crate::coordination::event::Code;

/// The six parts, in their order.
pub const PARTS: [&str; 6] =
    ["clinician", "diagnoses", "procedures", "medications-and-allergies", "results", "instructions"];

const DIAGNOSES: &[&str] = &["11535-2", "46241-6", "42347-5", "11450-4", "29308-4", "51848-0", "78375-3"];
const PROCEDURES: &[&str] = &["47519-4", "29554-3", "59768-2"];
const MEDICATIONS: &[&str] = &["10183-2", "75311-1", "10160-0", "29549-3", "42346-7"];
const ALLERGIES: &[&str] = &["48765-2"];
const RESULTS: &[&str] = &["30954-2", "11493-4"];
const INSTRUCTIONS: &[&str] = &["8653-8", "69730-0", "18776-5", "51847-2"];
const CARE_TEAM: &[&str] = &["85847-2"];
/// Sections that say nothing of the six, yet show that there are sections: hospital course, reason for visit, history, functional status, vital signs.
const OTHERS: &[&str] = &["8648-8", "29299-5", "10164-2", "47420-5", "8716-3", "61144-2", "11348-0", "29762-2"];

/// Which of the parts a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts([bool; 6]);

impl Parts {
    /// From a bit each, the first part the lowest.
    pub fn from_bits(bits: u8) -> Parts {
        Parts(std::array::from_fn(|at| bits & (1 << at) != 0))
    }

    /// A bit each.
    pub fn bits(self) -> u8 {
        self.0.iter().enumerate().fold(0, |bits, (at, has)| bits | (u8::from(*has) << at))
    }

    /// How many of the six.
    pub fn count(self) -> usize {
        self.0.iter().filter(|has| **has).count()
    }

    /// What is missing.
    pub fn missing(self) -> Vec<&'static str> {
        PARTS.into_iter().zip(self.0).filter(|(_, has)| !has).map(|(name, _)| name).collect()
    }
}

/// Judges a document; `None` where nothing shows what is in it.
pub fn check(event: &Event) -> Option<Parts> {
    let section =
        |code: &&Code| matches!(code.field.as_str(), "TXA-16" | "OBX-3") && same_system("LOINC", &code.system);
    let has = |list: &[&str]| event.codes.iter().filter(section).any(|code| list.contains(&code.code.as_str()));
    let all = [DIAGNOSES, PROCEDURES, MEDICATIONS, ALLERGIES, RESULTS, INSTRUCTIONS, CARE_TEAM, OTHERS];
    if !all.into_iter().any(has) {
        return None;
    }
    let signed = event.participants.iter().any(|one| {
        matches!(one.role.as_str(), "author" | "attending") && !(one.family.is_empty() && one.number.is_empty())
    });
    Some(Parts([
        signed || has(CARE_TEAM),
        has(DIAGNOSES),
        has(PROCEDURES),
        has(MEDICATIONS) && has(ALLERGIES),
        has(RESULTS),
        has(INSTRUCTIONS),
    ]))
}
