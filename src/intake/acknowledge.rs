//! Which acknowledgement a message gets, and what stands in it.
use crate::facets::Outcome;
use crate::hl7::ack::{self, Code, Stamp, conditions, is_due};
use crate::hl7::{Index, Message, batch_ack};
use crate::mapping::Failure;
use std::sync::atomic::{AtomicU64, Ordering};

/// What becomes of a message, and what is wrong with it.
pub(super) struct Verdict {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
}

impl Verdict {
    pub fn unreadable(text: String) -> Verdict {
        Verdict {
            outcome: Outcome::Unreadable,
            failure: Some(Failure { code: 100, location: Some((*b"MSH", 1, 0)), text }),
        }
    }
}

/// What is to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The message is kept, and this has become of it.
    Kept(Outcome),
    /// Its sequence number is not the one that was expected; it is not kept.
    OutOfSequence,
    /// It could not be kept.
    NotStored,
    /// It is kept, but has not arrived where it should be.
    NotDelivered,
}

/// What writes acknowledgements: the clock and the control ids.
#[derive(Debug)]
pub(super) struct Pen {
    pub clock: fn() -> jiff::Timestamp,
    ids: ControlIds,
}

impl Pen {
    pub fn new(clock: fn() -> jiff::Timestamp) -> Pen {
        Pen { clock, ids: ControlIds::new(clock()) }
    }

    /// The acknowledgement; empty when the sender is to get none. `sequence` is the expected sequence number.
    pub fn acknowledge(
        &self,
        message: Option<Message<'_>>,
        fate: Fate,
        failure: Option<&Failure>,
        sequence: Option<i64>,
        now: jiff::Timestamp,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(code) = code(message, fate) else { return out };
        let time = time(now);
        let errors: Vec<_> =
            failure.iter().filter(|_| code != Code::CommitAccept).map(|failure| told(failure)).collect();
        let reply = ack::Reply { code, errors: &errors, sequence, commit: false };
        ack::write(message, reply, Stamp { time: &time, control_id: &self.ids.next() }, &mut out);
        out
    }

    /// The answer to a batch.
    pub fn batch(&self, raw: &[u8], acknowledgements: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let time = time((self.clock)());
        let stamp = Stamp { time: &time, control_id: &self.ids.next() };
        batch_ack::write_batch(raw, acknowledgements, stamp, &mut out);
        out
    }

    /// What a sender is told whose message is kept and not delivered.
    pub fn not_delivered(&self, raw: &[u8], text: String) -> Vec<u8> {
        let mut index = Index::default();
        let message = index.parse(raw).is_ok().then(|| index.message(raw));
        let failure = Failure { code: 207, location: None, text };
        self.acknowledge(message, Fate::NotDelivered, Some(&failure), None, (self.clock)())
    }

    /// What a sender is told whose message could not be stored: nothing in the original mode, for it may only be told what is certain, CE in the enhanced one.
    pub fn not_stored(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut index = Index::default();
        index.parse(raw).ok()?;
        let text = "the message could not be stored: send it again later";
        let failure = Failure { code: 207, location: None, text: text.into() };
        let now = (self.clock)();
        let ack = self.acknowledge(Some(index.message(raw)), Fate::NotStored, Some(&failure), None, now);
        Some(ack).filter(|ack| !ack.is_empty())
    }
}

/// MSH-7 and BHS-7.
fn time(now: jiff::Timestamp) -> String {
    now.strftime("%Y%m%d%H%M%S%.3f+0000").to_string()
}

/// Whether the sender of a message that is good is answered by the application, and not only that it is kept.
pub(super) fn waits_for_application(message: Message<'_>) -> bool {
    code(Some(message), Fate::Kept(Outcome::Translated)) == Some(Code::ApplicationAccept)
}

fn told(failure: &Failure) -> ack::Error<'_> {
    // The event is the second component of MSH-9.
    let component = if failure.code == 201 { 2 } else { 0 };
    ack::Error { code: failure.code, location: failure.location, component, text: &failure.text }
}

/// MSA-1, or none when none is due.
fn code(message: Option<Message<'_>>, fate: Fate) -> Option<Code> {
    let (application, commit) = match fate {
        Fate::Kept(Outcome::Received | Outcome::Translated) => (Some(Code::ApplicationAccept), Code::CommitAccept),
        Fate::Kept(Outcome::Untranslated | Outcome::Refused) => (Some(Code::ApplicationError), Code::CommitAccept),
        Fate::Kept(Outcome::Rejected | Outcome::Foreign) => (Some(Code::ApplicationReject), Code::CommitReject),
        Fate::Kept(Outcome::Unreadable) => return Some(Code::ApplicationReject),
        Fate::Kept(Outcome::Ignored) => return None, // An acknowledgement is never acknowledged.
        Fate::OutOfSequence => (Some(Code::ApplicationError), Code::CommitError),
        Fate::NotStored => (None, Code::CommitError),
        Fate::NotDelivered => (Some(Code::ApplicationError), Code::CommitAccept),
    };
    let Some((accept, apply)) = message.and_then(conditions) else { return application };
    if is_due(accept, commit) {
        return Some(commit);
    }
    // Where no accept acknowledgement is due the sender waits for nothing or for the application's: it comes back the way the message came. Beside an accept
    // acknowledgement it is a message of its own, which a route sends (`delivery`).
    application.filter(|application| is_due(apply, *application))
}

/// Whether only one of MSH-15 and MSH-16 is filled; the other then means never.
pub(super) fn is_one_sided(message: Message<'_>) -> bool {
    conditions(message).is_some_and(|(accept, apply)| accept.is_empty() != apply.is_empty())
}

/// New control ids: the time of the start and a count, at most 20 characters.
#[derive(Debug)]
struct ControlIds {
    start_ms: u64,
    count: AtomicU64,
}

impl ControlIds {
    fn new(start: jiff::Timestamp) -> ControlIds {
        ControlIds { start_ms: start.as_millisecond().unsigned_abs(), count: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("H{:011X}{:08X}", self.start_ms & 0xFFF_FFFF_FFFF, count & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;

    fn answer(conditions: &str, fate: Fate) -> &'static str {
        let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|||{conditions}\r");
        let mut index = Index::default();
        index.parse(raw.as_bytes()).unwrap();
        code(Some(index.message(raw.as_bytes())), fate).map_or("-", Code::as_str)
    }

    /// Every row of the table in gateway.md, by what stands in MSH-15 and MSH-16.
    const MATRIX: [(&str, [&str; 8]); 26] = [
        // kept     translated received untranslated refused rejected ignored | not kept: sequence, not stored
        ("|", ["AA", "AA", "AE", "AE", "AR", "-", "AE", "-"]),
        ("\"\"|\"\"", ["AA", "AA", "AE", "AE", "AR", "-", "AE", "-"]),
        ("AL|AL", ["CA", "CA", "CA", "CA", "CR", "-", "CE", "CE"]),
        ("AL|NE", ["CA", "CA", "CA", "CA", "CR", "-", "CE", "CE"]),
        ("AL|ER", ["CA", "CA", "CA", "CA", "CR", "-", "CE", "CE"]),
        ("AL|SU", ["CA", "CA", "CA", "CA", "CR", "-", "CE", "CE"]),
        ("AL|", ["CA", "CA", "CA", "CA", "CR", "-", "CE", "CE"]),
        ("NE|AL", ["AA", "AA", "AE", "AE", "AR", "-", "AE", "-"]),
        ("NE|NE", ["-", "-", "-", "-", "-", "-", "-", "-"]),
        ("NE|ER", ["-", "-", "AE", "AE", "AR", "-", "AE", "-"]),
        ("NE|SU", ["AA", "AA", "-", "-", "-", "-", "-", "-"]),
        ("NE|", ["-", "-", "-", "-", "-", "-", "-", "-"]),
        ("ER|AL", ["AA", "AA", "AE", "AE", "CR", "-", "CE", "CE"]),
        ("ER|NE", ["-", "-", "-", "-", "CR", "-", "CE", "CE"]),
        ("ER|ER", ["-", "-", "AE", "AE", "CR", "-", "CE", "CE"]),
        ("ER|SU", ["AA", "AA", "-", "-", "CR", "-", "CE", "CE"]),
        ("ER|", ["-", "-", "-", "-", "CR", "-", "CE", "CE"]),
        ("SU|AL", ["CA", "CA", "CA", "CA", "AR", "-", "AE", "-"]),
        ("SU|NE", ["CA", "CA", "CA", "CA", "-", "-", "-", "-"]),
        ("SU|ER", ["CA", "CA", "CA", "CA", "AR", "-", "AE", "-"]),
        ("SU|SU", ["CA", "CA", "CA", "CA", "-", "-", "-", "-"]),
        ("SU|", ["CA", "CA", "CA", "CA", "-", "-", "-", "-"]),
        ("|AL", ["AA", "AA", "AE", "AE", "AR", "-", "AE", "-"]),
        ("|ER", ["-", "-", "AE", "AE", "AR", "-", "AE", "-"]),
        ("|SU", ["AA", "AA", "-", "-", "-", "-", "-", "-"]),
        ("|NE", ["-", "-", "-", "-", "-", "-", "-", "-"]),
    ];

    #[test]
    fn every_row_in_every_mode() {
        use Outcome::{Ignored, Received, Refused, Rejected, Translated, Untranslated};
        let kept = [Translated, Received, Untranslated, Refused, Rejected, Ignored].map(Fate::Kept);
        for (conditions, expected) in MATRIX {
            let fates = kept.into_iter().chain([Fate::OutOfSequence, Fate::NotStored]);
            let found: Vec<_> = fates.map(|fate| answer(conditions, fate)).collect();
            assert_eq!(found, expected, "MSH-15|MSH-16 = {conditions}");
            assert_eq!(answer(conditions, Fate::Kept(Outcome::Unreadable)), "AR");
        }
        assert_eq!(code(None, Fate::Kept(Outcome::Unreadable)), Some(Code::ApplicationReject));
    }

    #[test]
    fn one_filled_condition_is_noticed() {
        let one_sided = |conditions: &str| {
            let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|||{conditions}\r");
            let mut index = Index::default();
            index.parse(raw.as_bytes()).unwrap();
            is_one_sided(index.message(raw.as_bytes()))
        };
        assert_eq!(["|", "AL|NE", "AL|", "|ER", "AL|\"\""].map(one_sided), [false, false, true, true, true]);
    }

    #[test]
    fn what_could_not_be_stored_is_only_told_in_the_enhanced_mode() {
        let pen = Pen::new(|| jiff::Timestamp::UNIX_EPOCH);
        let raw = |conditions: &str| format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|||{conditions}\r").into_bytes();
        let told = String::from_utf8(pen.not_stored(&raw("AL|NE")).unwrap()).unwrap();
        assert!(
            told.contains("\rMSA|CE|7\rERR|||207^Application internal error^HL70357|E||||the message could not"),
            "{told}"
        );
        assert_eq!((pen.not_stored(&raw("|")), pen.not_stored(b"nothing")), (None, None));
    }

    #[test]
    fn errors_say_where() {
        let pen = Pen::new(|| jiff::Timestamp::UNIX_EPOCH);
        let raw = b"MSH|^~\\&|A|B|C|D|1||ADT^Z99|7|P|2.5\r";
        let mut index = Index::default();
        index.parse(raw).unwrap();
        let failure = Failure { code: 201, location: Some((*b"MSH", 1, 9)), text: "no".into() };
        let fate = Fate::Kept(Outcome::Rejected);
        let ack = pen.acknowledge(Some(index.message(raw)), fate, Some(&failure), None, (pen.clock)());
        assert!(String::from_utf8(ack).unwrap().contains("\rERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E|"));
    }

    #[test]
    fn control_ids_are_new_and_short() {
        let ids = ControlIds::new(jiff::Timestamp::MAX);
        let (first, second) = (ids.next(), ids.next());
        assert!(first != second && first.len() <= 20, "{first}");
    }
}
