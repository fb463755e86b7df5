//! What the index knows of a message.
use crate::facets::{Facets, Outcome};
use crate::hl7::{Index, Message, SegmentId, Timestamp, is_null};
use crate::journal::Record;

/// One message. Texts are those of the message, cut after 200 bytes, escapes and all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the journal.
    pub seq: u64,
    /// When it was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
    /// When the event happened (EVN-2, else MSH-7). A time without an offset takes that of MSH-7, else counts as UTC: it is to find by, not to treat by.
    pub event_ms: Option<i64>,
    /// Where it came in.
    pub listener: String,
    /// MSH-3.
    pub sending_application: String,
    /// MSH-4.
    pub sending_facility: String,
    /// MSH-5.
    pub receiving_application: String,
    /// MSH-6.
    pub receiving_facility: String,
    /// MSH-9.1.
    pub code: String,
    /// MSH-9.2.
    pub event: String,
    /// MSH-9.3.
    pub structure: String,
    /// MSH-10.
    pub control_id: String,
    /// The identifiers of the patient, PID-3.1, the one that counts first.
    pub patients: Vec<String>,
    /// What became of it at intake.
    pub outcome: Outcome,
    /// Bytes of the message.
    pub bytes: u64,
}

/// Longest text in the index.
pub(super) const TEXT_BYTES_MAX: usize = 200;
/// Most identifiers of one patient in the index.
const PATIENTS_MAX: usize = 64;
/// PID-3.5 of the identifier that counts, as facets choose it: medical record number, patient internal identifier, patient number.
const PREFERRED: [&[u8]; 3] = [b"MR", b"PI", b"PT"];

/// Nothing of a patient gets into a log by way of `{:?}`.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("seq", &self.seq)
            .field("outcome", &self.outcome)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Takes a record in; `index` is scratch space.
    pub fn of(seq: u64, record: &Record, index: &mut Index) -> Entry {
        let message = index.parse(&record.raw).is_ok().then(|| index.message(&record.raw));
        // Facets of another version are taken from the message once more; where it came in and what became of it are then unknown.
        let facets =
            Facets::decode(&record.facets).unwrap_or_else(|| Facets::of(&record.raw, message, b"", record.received_ms));
        Entry {
            seq,
            received_ms: record.received_ms,
            event_ms: facets.event_ms.or_else(|| message.and_then(event_ms)),
            listener: text(facets.listener),
            sending_application: text(facets.sending_application),
            sending_facility: text(facets.sending_facility),
            receiving_application: text(facets.receiving_application),
            receiving_facility: text(facets.receiving_facility),
            code: text(facets.code),
            event: text(facets.event),
            structure: text(facets.structure),
            control_id: text(facets.control_id),
            patients: message.map(patients).unwrap_or_default(),
            outcome: facets.outcome,
            bytes: record.raw.len() as u64,
        }
    }

    /// `ADT^A01`; `-` for a message that has no type.
    pub fn kind(&self) -> String {
        match (self.code.as_str(), self.event.as_str()) {
            ("", "") => "-".into(),
            (code, "") => code.into(),
            (code, event) => format!("{code}^{event}"),
        }
    }
}

/// As it stands in the index: readable, and of limited length.
pub(super) fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes)).into_owned();
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn event_ms(message: Message<'_>) -> Option<i64> {
    let value = |id, number| message.find(SegmentId(id)).map(|segment| message.field(segment, number));
    let time = |span| {
        let component = message.delimiters().component;
        Timestamp::parse(message.bytes(message.part(span, component, 1))).ok()
    };
    let header = value(*b"MSH", 7).and_then(time);
    let time = value(*b"EVN", 2).and_then(time).or(header)?;
    let offset = time.offset_minutes.or_else(|| header.and_then(|header| header.offset_minutes)).unwrap_or(0);
    let civil = jiff::civil::DateTime::new(
        i16::try_from(time.year).ok()?,
        time.month.cast_signed(),
        time.day.cast_signed(),
        time.hour.cast_signed(),
        time.minute.cast_signed(),
        time.second.min(59).cast_signed(),
        0,
    );
    let utc = civil.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(utc - i64::from(offset) * 60_000)
}

/// Every PID-3.1 of the first PID, without doubles.
fn patients(message: Message<'_>) -> Vec<String> {
    let Some(pid) = message.find(SegmentId(*b"PID")) else { return Vec::new() };
    let delimiters = message.delimiters();
    let part = |span, n| message.bytes(message.part(span, delimiters.component, n));
    let identifiers: Vec<(&[u8], &[u8])> = message
        .parts(message.field(pid, 3), delimiters.repetition)
        .map(|span| (part(span, 1), part(span, 5)))
        .filter(|(id, _)| !id.is_empty() && !is_null(id))
        .take(PATIENTS_MAX)
        .collect();
    let preferred = PREFERRED.iter().find_map(|kind| identifiers.iter().position(|(_, found)| found == kind));
    let chosen = preferred.or_else(|| identifiers.iter().position(|(_, kind)| *kind != b"SS"));
    let mut found: Vec<String> = Vec::new();
    for (id, _) in chosen.map(|at| identifiers[at]).iter().chain(&identifiers) {
        // A line end keeps them apart in the database; within one it would be a mistake of the sender.
        let id = text(id).replace('\n', " ");
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}
