//! Facets: what routing may know of a message without reading it.
//!
//! Taken from the header and the patient's identity once, when the message comes in; stored as bytes with its record; read back without a copy. Texts are the bytes
//! of the message, escapes and all. The patient and the visit are only hashes: enough to keep their order, nothing to read.
//!
//! ```text
//! 02                          version of this encoding
//! outcome                     1 byte
//! received, event time        2 × 8 bytes, milliseconds since 1970, little endian; i64::MIN stands for none
//! message id                  16 bytes
//! patient key, visit key      2 × 8 bytes, little endian, 0 stands for none
//! plan hash                   32 bytes
//! listener, sending application, sending facility, receiving application, receiving facility,
//! code, event, structure, control id, processing id, version, peer (not in version 01)
//!                             each: length (2 bytes, little endian), bytes
//! ```
use crate::hl7::{Index, Message, SegmentId, is_null};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What has become of a message at intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// Kept; whether it can be translated is not known yet (`ack_on = "durable"`).
    #[default]
    Received,
    /// Translated.
    Translated,
    /// Could not be translated (AE).
    Untranslated,
    /// Its type, processing id or version is not taken here (AR).
    Rejected,
    /// No MSH could be read; kept in quarantine (AR).
    Unreadable,
    /// An acknowledgement or another message that nothing is to become of.
    Ignored,
    /// Not taken for what came before it: its control id is another message's (AE).
    Refused,
    /// Kept, but the certificate of its sender may not send as its MSH-3 and MSH-4.
    Foreign,
}

impl Outcome {
    /// Every one, in the order of their numbers on disk.
    pub const ALL: [Outcome; 8] = [
        Outcome::Received,
        Outcome::Translated,
        Outcome::Untranslated,
        Outcome::Rejected,
        Outcome::Unreadable,
        Outcome::Ignored,
        Outcome::Refused,
        Outcome::Foreign,
    ];

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Received => "received",
            Outcome::Translated => "translated",
            Outcome::Untranslated => "untranslated",
            Outcome::Rejected => "rejected",
            Outcome::Unreadable => "unreadable",
            Outcome::Ignored => "ignored",
            Outcome::Refused => "refused",
            Outcome::Foreign => "foreign",
        }
    }
}

/// The facets of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facets<'a> {
    /// What has become of it.
    pub outcome: Outcome,
    /// When it was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
    /// When the event happened (EVN-2, else MSH-7). There is a place for it; nothing fills it yet.
    pub event_ms: Option<i64>,
    /// UUIDv5 over (feed, MSH-10, SHA-256 of the raw bytes): the same for every copy.
    pub message_id: [u8; 16],
    /// Hash of the patient's authority and identifier, never 0 by itself.
    pub patient: Option<u64>,
    /// Hash of the visit number.
    pub visit: Option<u64>,
    /// The plan that translated it.
    pub plan: [u8; 32],
    /// Where it came in.
    pub listener: &'a [u8],
    /// MSH-3, with MSH-4 the feed.
    pub sending_application: &'a [u8],
    /// MSH-4.
    pub sending_facility: &'a [u8],
    /// MSH-5.
    pub receiving_application: &'a [u8],
    /// MSH-6.
    pub receiving_facility: &'a [u8],
    /// MSH-9.1.
    pub code: &'a [u8],
    /// MSH-9.2.
    pub event: &'a [u8],
    /// MSH-9.3.
    pub structure: &'a [u8],
    /// MSH-10.
    pub control_id: &'a [u8],
    /// MSH-11.1.
    pub processing_id: &'a [u8],
    /// MSH-12.1.
    pub version: &'a [u8],
    /// The address of its sender, where that is part of what is known of a link: when its sequence number was counted.
    pub peer: &'a [u8],
}

const VERSION: u8 = 2;
const TEXTS: usize = 12;
/// Before there was a peer.
const TEXTS_OF_VERSION_1: usize = 11;

impl<'a> Facets<'a> {
    /// Who sent it, as text: `LAB|HARBORPT`, cut where it is too long for a name.
    pub fn feed_text(&self) -> String {
        let text = |bytes: &[u8]| -> String {
            let text = String::from_utf8_lossy(bytes);
            text.chars().filter(|character| !character.is_control()).take(64).collect()
        };
        format!("{}|{}", text(self.sending_application), text(self.sending_facility))
    }

    /// `ADT^A01` where both are what codes look like; anything else in their place might be anything, and logs and traces are read by many.
    pub fn kind_text(&self) -> String {
        let code = |bytes: &[u8]| match bytes {
            [_, _, _] if bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            _ => "?".to_owned(),
        };
        format!("{}^{}", code(self.code), code(self.event))
    }

    /// Reads the facets of a message; outcome and plan are the caller's to set. `None` stands for bytes without a readable header.
    pub fn of(raw: &[u8], message: Option<Message<'a>>, listener: &'a [u8], received_ms: i64) -> Facets<'a> {
        let header = message.and_then(|message| message.find(SegmentId(*b"MSH")).map(|msh| (message, msh)));
        let Some((message, msh)) = header else {
            return Facets { received_ms, listener, message_id: message_id(b"", b"", b"", raw), ..Facets::default() };
        };
        let component = message.delimiters().component;
        let part = |number: usize, n: usize| message.bytes(message.part(message.field(msh, number), component, n));
        let text = |number: usize| message.text(msh, number);
        Facets {
            outcome: Outcome::Received,
            received_ms,
            event_ms: None,
            message_id: message_id(text(3), text(4), text(10), raw),
            patient: patient_key(message),
            visit: visit_key(message),
            plan: [0; 32],
            listener,
            sending_application: text(3),
            sending_facility: text(4),
            receiving_application: text(5),
            receiving_facility: text(6),
            code: part(9, 1),
            event: part(9, 2),
            structure: part(9, 3),
            control_id: text(10),
            processing_id: part(11, 1),
            version: part(12, 1),
            peer: b"",
        }
    }

    fn texts(&self) -> [&'a [u8]; TEXTS] {
        [
            self.listener,
            self.sending_application,
            self.sending_facility,
            self.receiving_application,
            self.receiving_facility,
            self.code,
            self.event,
            self.structure,
            self.control_id,
            self.processing_id,
            self.version,
            self.peer,
        ]
    }

    /// Appends the encoding to `out`. A text is cut after 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.outcome as u8]);
        out.extend_from_slice(&self.received_ms.to_le_bytes());
        out.extend_from_slice(&self.event_ms.unwrap_or(i64::MIN).to_le_bytes());
        out.extend_from_slice(&self.message_id);
        out.extend_from_slice(&self.patient.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.visit.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&self.plan);
        for text in self.texts() {
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&text[..usize::from(length)]);
        }
    }

    /// Reads an encoding; `None` when it is none of ours.
    pub fn decode(bytes: &'a [u8]) -> Option<Facets<'a>> {
        let mut input = Input(bytes);
        let count = match input.array::<1>()? {
            [1] => TEXTS_OF_VERSION_1,
            [VERSION] => TEXTS,
            _ => return None,
        };
        let outcome = *Outcome::ALL.get(usize::from(input.array::<1>()?[0]))?;
        let received_ms = i64::from_le_bytes(input.array()?);
        let event_ms = Some(i64::from_le_bytes(input.array()?)).filter(|time| *time != i64::MIN);
        let message_id = input.array()?;
        let patient = Some(u64::from_le_bytes(input.array()?)).filter(|key| *key != 0);
        let visit = Some(u64::from_le_bytes(input.array()?)).filter(|key| *key != 0);
        let plan = input.array()?;
        let mut texts = [&[][..]; TEXTS];
        for text in &mut texts[..count] {
            let length = u16::from_le_bytes(input.array()?);
            *text = input.take(usize::from(length))?;
        }
        let [
            listener,
            sending_application,
            sending_facility,
            receiving_application,
            receiving_facility,
            code,
            event,
            structure,
            control_id,
            processing_id,
            version,
            peer,
        ] = texts;
        Some(Facets {
            outcome,
            received_ms,
            event_ms,
            message_id,
            patient,
            visit,
            plan,
            listener,
            sending_application,
            sending_facility,
            receiving_application,
            receiving_facility,
            code,
            event,
            structure,
            control_id,
            processing_id,
            version,
            peer,
        })
    }

    /// The message id as text: 36 characters.
    pub fn message_id_text(&self) -> String {
        uuid_text(&self.message_id)
    }
}

/// A UUID as text.
pub fn uuid_text(id: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in id.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

/// The namespace of all our message ids, a UUID of our own.
const MESSAGES: [u8; 16] =
    [0x5a, 0x0e, 0x3c, 0x6f, 0x95, 0x1b, 0x4d, 0x0f, 0x8e, 0x37, 0x2c, 0x6d, 0x1b, 0x7a, 0x90, 0x42];

fn message_id(application: &[u8], facility: &[u8], control_id: &[u8], raw: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(raw);
    let mut sha = Sha1::new();
    sha.update(MESSAGES);
    for part in [application, facility, control_id, &digest] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    version_5(sha)
}

fn version_5(sha: Sha1) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&sha.finalize()[..16]);
    id[6] = id[6] & 0x0F | 0x50; // version 5
    id[8] = id[8] & 0x3F | 0x80; // variant of RFC 9562
    id
}

/// The id of what is made of a message otherwise than when it came: UUIDv5 over the message id and the SHA-256 of the body. The same body has the same id, so that it is known
/// again when it comes twice; another body has another, so that a receiver that remembers ids does not take it for what it has already.
pub fn id_of_other(message_id: &[u8; 16], body: &[u8]) -> [u8; 16] {
    let mut sha = Sha1::new();
    sha.update(message_id);
    sha.update(Sha256::digest(body));
    version_5(sha)
}

/// PID-3 by type: medical record number, patient internal identifier, patient number, else the first that is no social security number.
const PREFERRED: [&[u8]; 3] = [b"MR", b"PI", b"PT"];

fn patient_key(message: Message<'_>) -> Option<u64> {
    patient(message).map(|(authority, number)| key(&[authority, number]))
}

/// What [`Facets::patient`] is of a number and who gave it (CX-1 and CX-4), as they stand in a message.
pub fn patient_key_of(authority: &[u8], number: &[u8]) -> u64 {
    key(&[authority, number])
}

/// Who gave the patient of a message its number, and the number.
fn patient(message: Message<'_>) -> Option<(&[u8], &[u8])> {
    let pid = message.find(SegmentId(*b"PID"))?;
    let delimiters = message.delimiters();
    let identifiers = message.field(pid, 3);
    let part = |span, n| message.bytes(message.part(span, delimiters.component, n));
    let valued = || message.parts(identifiers, delimiters.repetition).filter(|span| is_valued(part(*span, 1)));
    let preferred = PREFERRED.iter().find_map(|kind| valued().find(|span| part(*span, 5) == *kind));
    let chosen = preferred.or_else(|| valued().find(|span| part(*span, 5) != b"SS"))?;
    Some((part(chosen, 4), part(chosen, 1)))
}

/// The number of the patient of a message and who gave it, as text: what its order is kept by. For those alone who may read messages.
pub fn patient_id(raw: &[u8]) -> Option<String> {
    let mut index = Index::new();
    index.parse(raw).ok()?;
    let (authority, number) = patient(index.message(raw))?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(if authority.is_empty() { text(number) } else { format!("{} of {}", text(number), text(authority)) })
}

fn visit_key(message: Message<'_>) -> Option<u64> {
    let pv1 = message.find(SegmentId(*b"PV1"))?;
    let number = message.field(pv1, 19);
    let part = |n| message.bytes(message.part(number, message.delimiters().component, n));
    is_valued(part(1)).then(|| key(&[part(4), part(1)]))
}

fn is_valued(bytes: &[u8]) -> bool {
    !bytes.is_empty() && !is_null(bytes)
}

/// The first eight bytes of a SHA-256 over the parts, never 0.
fn key(parts: &[&[u8]]) -> u64 {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    let digest = sha.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"MSH|^~\\&|APP|FAC|THEM|THEIRS|20240101||ADT^A01^ADT_A01|77|P^T|2.5.1^DEU\rPID|1||999^^^^SS~41^^^A^XX~42^^^B^MR||Canary\rPV1|1|I|||||||||||||||||V9^^^B\r";

    fn with<T>(raw: &[u8], read: impl FnOnce(&Facets<'_>) -> T) -> T {
        let mut index = Index::default();
        index.parse(raw).unwrap();
        read(&Facets::of(raw, Some(index.message(raw)), b"adt", 1_700_000_000_123))
    }

    #[test]
    fn header_and_keys() {
        with(MESSAGE, |facets| {
            let texts = [
                facets.listener,
                facets.sending_application,
                facets.receiving_facility,
                facets.code,
                facets.event,
                facets.structure,
                facets.control_id,
            ];
            assert_eq!(texts, [&b"adt"[..], b"APP", b"THEIRS", b"ADT", b"A01", b"ADT_A01", b"77"]);
            assert_eq!((facets.processing_id, facets.version), (&b"P"[..], &b"2.5.1"[..]));
            assert_eq!(
                facets.patient,
                Some(key(&[b"B", b"42"])),
                "the medical record number, not the first, never the SSN"
            );
            assert_eq!(facets.visit, Some(key(&[b"B", b"V9"])));
        });
        assert_eq!(patient_id(MESSAGE).as_deref(), Some("42 of B"));
        with(b"MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5\rPID|1||999^^^^SS\r", |facets| {
            assert_eq!((facets.patient, facets.visit), (None, None))
        });
    }

    #[test]
    fn the_encoding_reads_back_and_never_panics() {
        with(MESSAGE, |facets| {
            let facets =
                Facets { outcome: Outcome::Rejected, event_ms: Some(-5), plan: [7; 32], peer: b"::1", ..*facets };
            let mut bytes = Vec::new();
            facets.encode(&mut bytes);
            assert_eq!(Facets::decode(&bytes), Some(facets));
            assert!((0..bytes.len()).all(|cut| Facets::decode(&bytes[..cut]).is_none()));
            assert!(!bytes.windows(6).any(|window| window == b"Canary"));
            let mut old = bytes[..bytes.len() - 5].to_vec();
            old[0] = 1;
            assert_eq!(Facets::decode(&old), Some(Facets { peer: b"", ..facets }), "as version 1 wrote it");
        });
        let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| *outcome as usize).collect();
        assert_eq!(outcomes, [0, 1, 2, 3, 4, 5, 6, 7], "numbers on disk do not move");
    }

    #[test]
    fn message_ids_follow_the_bytes_and_nothing_else() {
        let id = with(MESSAGE, |facets| facets.message_id_text());
        assert_eq!(id, with(MESSAGE, |facets| facets.message_id_text()));
        assert_eq!((id.len(), &id[14..15]), (36, "5"));
        let other = String::from_utf8_lossy(MESSAGE).replace("Canary", "Other");
        assert_ne!(id, with(other.as_bytes(), |facets| facets.message_id_text()));
    }
}
