//! Which acknowledgement a message gets, and what stands in it.
use crate::facets::Outcome;
use crate::hl7::ack::{self, Code, Stamp};
use crate::hl7::{Message, SegmentId};
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

/// Appends the acknowledgement to `out`; nothing when the sender is to get none.
pub(super) fn respond(
    message: Option<Message<'_>>,
    verdict: &Verdict,
    control_id: impl FnOnce() -> String,
    now: jiff::Timestamp,
    out: &mut Vec<u8>,
) {
    let Some(code) = code(message, verdict.outcome) else { return };
    let time = now.strftime("%Y%m%d%H%M%S%.3f+0000").to_string();
    let errors: Vec<_> = verdict
        .failure
        .iter()
        .filter(|_| code != Code::CommitAccept)
        .map(|failure| ack::Error { code: failure.code, location: failure.location, text: &failure.text })
        .collect();
    ack::write(message, code, &errors, Stamp { time: &time, control_id: &control_id() }, out);
}

/// MSA-1, or none when none is due.
fn code(message: Option<Message<'_>>, outcome: Outcome) -> Option<Code> {
    let application = match outcome {
        Outcome::Received | Outcome::Translated => Code::ApplicationAccept,
        Outcome::Untranslated | Outcome::Refused => Code::ApplicationError,
        Outcome::Rejected | Outcome::Unreadable => Code::ApplicationReject,
        Outcome::Ignored => return None, // An acknowledgement is never acknowledged.
    };
    let conditions = message
        .and_then(|message| message.find(SegmentId(*b"MSH")).map(|msh| (message.text(msh, 15), message.text(msh, 16))));
    let Some((accept, apply)) = conditions.filter(|(accept, apply)| !(accept.is_empty() && apply.is_empty())) else {
        return Some(application);
    };
    let commit = if outcome == Outcome::Rejected { Code::CommitReject } else { Code::CommitAccept };
    if is_due(accept, commit) {
        return Some(commit);
    }
    // Where no accept acknowledgement is due the sender waits for nothing or for the application's. That one belongs on an exchange of its own, which does not
    // exist yet; it comes back the way the message came.
    is_due(apply, application).then_some(application)
}

/// Whether a condition of MSH-15 or MSH-16 (table 0155) asks for an acknowledgement with that code; empty beside a filled one means never.
fn is_due(condition: &[u8], code: Code) -> bool {
    match condition {
        b"" | b"NE" => false,
        b"ER" => !code.is_positive(),
        b"SU" => code.is_positive(),
        _ => true,
    }
}

/// New control ids: the time of the start and a count, at most 20 characters.
#[derive(Debug)]
pub(super) struct ControlIds {
    start_ms: u64,
    count: AtomicU64,
}

impl ControlIds {
    pub fn new(start: jiff::Timestamp) -> ControlIds {
        ControlIds { start_ms: start.as_millisecond().unsigned_abs(), count: AtomicU64::new(0) }
    }

    pub fn next(&self) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        format!("H{:011X}{:08X}", self.start_ms & 0xFFF_FFFF_FFFF, count & 0xFFFF_FFFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::Index;

    fn answer(conditions: &str, outcome: Outcome) -> &'static str {
        let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|||{conditions}\r");
        let mut index = Index::default();
        index.parse(raw.as_bytes()).unwrap();
        code(Some(index.message(raw.as_bytes())), outcome).map_or("-", Code::as_str)
    }

    #[test]
    fn original_mode() {
        let outcomes =
            [Outcome::Translated, Outcome::Received, Outcome::Untranslated, Outcome::Rejected, Outcome::Ignored];
        assert_eq!(outcomes.map(|outcome| answer("|", outcome)), ["AA", "AA", "AE", "AR", "-"]);
        assert_eq!(code(None, Outcome::Unreadable), Some(Code::ApplicationReject));
    }

    #[test]
    fn enhanced_mode() {
        let outcomes = [Outcome::Translated, Outcome::Untranslated, Outcome::Rejected];
        assert_eq!(outcomes.map(|outcome| answer("AL|NE", outcome)), ["CA", "CA", "CR"]);
        assert_eq!(outcomes.map(|outcome| answer("NE|NE", outcome)), ["-", "-", "-"]);
        assert_eq!(outcomes.map(|outcome| answer("ER|NE", outcome)), ["-", "-", "CR"]);
        assert_eq!(outcomes.map(|outcome| answer("SU|", outcome)), ["CA", "CA", "-"]);
        assert_eq!(outcomes.map(|outcome| answer("|AL", outcome)), ["AA", "AE", "AR"]);
        assert_eq!(outcomes.map(|outcome| answer("NE|ER", outcome)), ["-", "AE", "AR"]);
    }

    #[test]
    fn control_ids_are_new_and_short() {
        let ids = ControlIds::new(jiff::Timestamp::MAX);
        let (first, second) = (ids.next(), ids.next());
        assert!(first != second && first.len() <= 20, "{first}");
    }
}
