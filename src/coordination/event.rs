//! Events: what happened to a patient, as topics, loops and measures speak of it.
//!
//! An event holds what is needed to find the person, the people who look after them and the recipients; the clinical content stays in the message, which is
//! translated again for those who may see it. Times are milliseconds since 1970 (UTC).
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An inpatient or observation stay began.
    Admission,
    /// It did not happen (A11).
    AdmissionCancelled,
    /// An emergency visit began.
    EdVisit,
    /// An emergency visit ended without a stay.
    EdDischarge,
    /// A stay ended.
    Discharge,
    /// It did not (A13).
    DischargeCancelled,
    /// A stay ends soon (A16).
    DischargePlanned,
    /// From one facility to another; a move of beds is none.
    Transfer,
    /// It did not happen (A12).
    TransferCancelled,
    /// An outpatient visit began.
    OutpatientVisit,
    /// The patient died.
    Death,
    /// Two identifiers were found to be of one patient (A40, A18, A34).
    IdentityMerge,
    /// They were not (A37).
    Unlink,
    /// A result is final, or was corrected.
    Result,
    /// A medication was ordered, changed, stopped, dispensed or given.
    MedicationChange,
    /// A document is there.
    Document,
    /// It was withdrawn (T11).
    DocumentCancelled,
    /// An appointment was made (S12).
    AppointmentBooked,
    /// It was moved or changed (S13, S14).
    AppointmentChanged,
    /// It was cancelled, discontinued or deleted (S15, S16, S17).
    AppointmentCancelled,
    /// The patient did not come (S26).
    AppointmentNoShow,
    /// Somebody was asked to see the patient (REF^I12, OMG NW).
    ReferralRequested,
    /// They will.
    ReferralAccepted,
    /// They will not.
    ReferralRejected,
    /// They have.
    ReferralCompleted,
    /// They need not any more.
    ReferralCancelled,
    /// A service was coded (FT1-25, PR1-3).
    ServiceCoded,
}

impl Kind {
    /// Every one.
    pub const ALL: [Kind; 27] = [
        Kind::Admission,
        Kind::AdmissionCancelled,
        Kind::EdVisit,
        Kind::EdDischarge,
        Kind::Discharge,
        Kind::DischargeCancelled,
        Kind::DischargePlanned,
        Kind::Transfer,
        Kind::TransferCancelled,
        Kind::OutpatientVisit,
        Kind::Death,
        Kind::IdentityMerge,
        Kind::Unlink,
        Kind::Result,
        Kind::MedicationChange,
        Kind::Document,
        Kind::DocumentCancelled,
        Kind::AppointmentBooked,
        Kind::AppointmentChanged,
        Kind::AppointmentCancelled,
        Kind::AppointmentNoShow,
        Kind::ReferralRequested,
        Kind::ReferralAccepted,
        Kind::ReferralRejected,
        Kind::ReferralCompleted,
        Kind::ReferralCancelled,
        Kind::ServiceCoded,
    ];

    /// As configuration, topics and answers write it: `discharge-cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Admission => "admission",
            Kind::AdmissionCancelled => "admission-cancelled",
            Kind::EdVisit => "ed-visit",
            Kind::EdDischarge => "ed-discharge",
            Kind::Discharge => "discharge",
            Kind::DischargeCancelled => "discharge-cancelled",
            Kind::DischargePlanned => "discharge-planned",
            Kind::Transfer => "transfer",
            Kind::TransferCancelled => "transfer-cancelled",
            Kind::OutpatientVisit => "outpatient-visit",
            Kind::Death => "death",
            Kind::IdentityMerge => "identity-merge",
            Kind::Unlink => "unlink",
            Kind::Result => "result",
            Kind::MedicationChange => "medication-change",
            Kind::Document => "document",
            Kind::DocumentCancelled => "document-cancelled",
            Kind::AppointmentBooked => "appointment-booked",
            Kind::AppointmentChanged => "appointment-changed",
            Kind::AppointmentCancelled => "appointment-cancelled",
            Kind::AppointmentNoShow => "appointment-no-show",
            Kind::ReferralRequested => "referral-requested",
            Kind::ReferralAccepted => "referral-accepted",
            Kind::ReferralRejected => "referral-rejected",
            Kind::ReferralCompleted => "referral-completed",
            Kind::ReferralCancelled => "referral-cancelled",
            Kind::ServiceCoded => "service-coded",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One event. `Debug` tells what and when, nothing of the patient.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// UUIDv5 over message id, kind and position in the message: the same however often the message is read.
    pub id: [u8; 16],
    /// The number of its message in the journal.
    pub seq: u64,
    /// What happened.
    pub kind: Kind,
    /// How: `inpatient`, `observation`, `ed-to-inpatient` of an admission; what was taken back (`admission`, `ed-visit`, `outpatient-visit`, `discharge`,
    /// `ed-discharge`) of a cancel; `final`, `corrected` of a result; `ordered`, `changed`, `stopped`, `dispensed` of medication; `original`, `status`, `addendum`,
    /// `edit`, `replacement` of a document; `rescheduled`, `modified`, `cancelled`, `discontinued`, `deleted` of an appointment; empty where there is one way only.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub detail: String,
    /// When it happened.
    pub at_ms: i64,
    /// When its message was received.
    pub received_ms: i64,
    /// The time that was told cannot be; `at_ms` is that of receipt.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub time_suspect: bool,
    /// What should have come before it has not been seen.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub partial: bool,
    /// Older than `max_event_age` when it was received: it is kept, nobody is told.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub stale: bool,
    /// The facility where it happened: the key of `[coordination.facility.KEY]` (PV1-3.4.1, else MSH-4.1).
    pub facility: String,
    /// MSH-3.1 and MSH-4.1, joined by `|`.
    pub feed: String,
    /// MSH-9.2.
    pub trigger: String,
    /// Who it is about.
    pub patient: Patient,
    /// Other identifiers of theirs that this one replaces (merge), or that are told apart from it (unlink).
    #[serde(default, skip_serializing_if = "is_empty")]
    pub others: Vec<Identifier>,
    /// The visit.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub visit: Option<VisitKey>,
    /// Of the visit, in the codes of v3 ActEncounterCode: `IMP`, `OBSENC`, `EMER`, `AMB`, `SS`, …; empty where it is not known.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub class: String,
    /// Of a discharge: PV1-36, as sent, two digits where it is a number.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub disposition: String,
    /// People who took part.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub participants: Vec<Participant>,
    /// What was coded: diagnoses, procedures, services, observations, the type of a document.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub codes: Vec<Code>,
    /// The document.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub document: Option<Document>,
    /// The appointment.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub appointment: Option<Appointment>,
    /// The number by which a referral, order or appointment is known to all who speak of it: ORC-2 (`REF55120-1^CHFM`), SCH-26, RF1-6.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub referral: Option<Number>,
    /// What senders said of confidentiality.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub confidentiality: Confidentiality,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Event({} of message {} at {})", self.kind.name(), self.seq, self.at_ms)
    }
}

/// Who a message is about (PID).
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Patient {
    /// PID-3, all of them.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub identifiers: Vec<Identifier>,
    /// PID-5.1, as sent.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub family: String,
    /// PID-5.2.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub given: String,
    /// PID-7, the date: `19510314`, or as much of it as there is.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub birth_date: String,
    /// PID-8.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub sex: String,
    /// PID-11.1.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub street: String,
    /// PID-11.3.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub city: String,
    /// PID-11.5.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub zip: String,
    /// PID-13, digits only.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub phone: String,
}

/// Types of numbers of patients (CX-5), the one that they are known by first.
const PREFERRED: [&str; 3] = ["MR", "PI", "PT"];

impl Patient {
    /// The number by which a sender knows the patient.
    pub fn known_by(&self) -> Option<&Identifier> {
        let all = &self.identifiers;
        let preferred = PREFERRED.iter().find_map(|kind| all.iter().find(|one| one.kind == *kind));
        preferred.or_else(|| all.iter().find(|one| one.kind != "SS"))
    }

    /// That number and the feed ([`Event::feed`]), hashed (FNV-1a): what is told under it can be found again when it turns out to be another patient's. 0 where there is no number.
    pub fn told_as(&self, feed: &str) -> i64 {
        let Some(number) = self.known_by() else { return 0 };
        let Identifier { value, authority, universal, .. } = number;
        let bytes = [feed, value, authority, universal].into_iter().flat_map(|text| text.bytes().chain([0xff]));
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        hash.max(1).cast_signed()
    }
}

/// An identifier of a patient (CX).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Identifier {
    /// CX-1.
    pub value: String,
    /// CX-4.1, the name of who assigned it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub authority: String,
    /// CX-4.2, its universal identifier.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub universal: String,
    /// CX-5, what it is: `MR`, `MC`, `SS`.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub kind: String,
}

/// A number and who assigned it (EI).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Number {
    /// EI-1.
    pub value: String,
    /// EI-2, else EI-3; empty where it is not told.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub authority: String,
}

/// A visit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct VisitKey {
    /// Who assigned its number; the facility, where nobody is told.
    pub authority: String,
    /// PV1-19.1; of a weak key what stands for it.
    pub number: String,
    /// Without PV1-19: made of person, facility and the day of admission.
    pub weak: bool,
}

/// Somebody who took part (XCN).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Participant {
    /// As what: `attending` (PV1-7), `referring` (PV1-8), `consulting` (PV1-9), `admitting` (PV1-17), `primary-care` (PD1-4), `author` (TXA-9), `authenticator`
    /// (TXA-22), `performing` (TXA-5, FT1-20), `ordering` (ORC-12, OBR-16, FT1-21), `appointment` (AIP-3), `case-manager` (IN3-21, a name), or the code of ROL-3,
    /// PRT-4 or PRD-1.
    pub role: String,
    /// Their number, an NPI where it passes its check.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub number: String,
    /// Family name.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub family: String,
    /// Given name.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub given: String,
}

/// A code of a message (CWE).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Code {
    /// Where it stood: `DG1-3`, `PV2-3`, `PR1-3`, `FT1-19`, `FT1-25`, `OBX-3`, `OBR-4`, `OBR-24`, `OBR-31`, `TXA-2`, `TXA-16`, `AIS-3`, `RXO-1`, `RXE-2`, `RXD-2`.
    pub field: String,
    /// Its system as sent: `LN`, `I10C`, `C4`, …
    #[serde(default, skip_serializing_if = "is_empty")]
    pub system: String,
    /// The code.
    pub code: String,
    /// Of an observation, its value where that is a number or a code (OBX-5); of the principal diagnosis [`PRINCIPAL`].
    #[serde(default, skip_serializing_if = "is_empty")]
    pub value: String,
}

/// What stands as the value of the principal diagnosis of a message.
pub const PRINCIPAL: &str = "principal";

/// A document (TXA).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Document {
    /// TXA-12.
    pub number: Number,
    /// TXA-13.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub parent: Option<Number>,
    /// TXA-17: `AU`, `LA`, `DO` are finished.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub completion: String,
}

/// An appointment (SCH).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Appointment {
    /// SCH-2, else SCH-1.
    pub number: Number,
    /// SCH-11.4, else TQ1-7.
    pub start_ms: Option<i64>,
}

/// What senders said of confidentiality.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Confidentiality {
    /// MSH-8, MSH-26, MSH-27, PV2-22, TXA-18, ARV-3 and ARV-4: field and code.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub codes: Vec<(String, String)>,
    /// PV1-3.1, the unit.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub unit: String,
}

/// What is not told takes no room where events are kept.
fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back() {
        let text = |text: &str| text.to_owned();
        let bare = Event {
            id: [7; 16],
            seq: 3,
            kind: Kind::Result,
            detail: String::new(),
            at_ms: 1,
            received_ms: 2,
            time_suspect: false,
            partial: false,
            stale: false,
            facility: text("F"),
            feed: text("A|F"),
            trigger: text("R01"),
            patient: Patient::default(),
            others: Vec::new(),
            visit: None,
            class: String::new(),
            disposition: String::new(),
            participants: Vec::new(),
            codes: Vec::new(),
            document: None,
            appointment: None,
            referral: None,
            confidentiality: Confidentiality::default(),
        };
        let identifier = Identifier { value: text("1"), kind: text("MR"), ..Identifier::default() };
        let full = Event {
            detail: text("final"),
            time_suspect: true,
            partial: true,
            stale: true,
            patient: Patient { identifiers: vec![identifier.clone()], family: text("N"), ..Patient::default() },
            others: vec![identifier],
            visit: Some(VisitKey { authority: text("F"), number: text("V"), weak: true }),
            class: text("IMP"),
            disposition: text("01"),
            participants: vec![Participant { role: text("attending"), given: text("G"), ..Participant::default() }],
            codes: vec![Code { field: text("OBX-3"), code: text("1-8"), value: text("5"), ..Code::default() }],
            document: Some(Document { parent: Some(Number::default()), ..Document::default() }),
            appointment: Some(Appointment { start_ms: Some(4), ..Appointment::default() }),
            referral: Some(Number { value: text("R"), authority: text("A") }),
            confidentiality: Confidentiality { codes: vec![(text("MSH-8"), text("R"))], unit: text("4W") },
            ..bare.clone()
        };
        for event in [bare, full] {
            let kept = serde_json::to_string(&event).unwrap();
            assert!(serde_json::from_str::<Event>(&kept).unwrap() == event, "{kept}");
        }
    }

    #[test]
    fn names_are_what_is_stored() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        let distinct: std::collections::BTreeSet<_> = Kind::ALL.into_iter().collect();
        assert_eq!(distinct.len(), Kind::ALL.len());
    }
}
