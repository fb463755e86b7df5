//! The application's acknowledgement in the enhanced mode, as a message of its own on an exchange of its own (HL7 v2 2.9.3.2): for senders that ask for one (MSH-16)
//! beside the commit acknowledgement that they got when their message was kept (MSH-15). It is made from the journal, so nothing need be kept for it.
use crate::facets::{Facets, Outcome};
use crate::hl7::Index;
use crate::hl7::ack::{self, Code, Reply, Stamp};
use crate::routing::Live;

/// The acknowledgement of a message, the same each time; none where none is due this way.
pub(super) fn of(live: &Live, facets: &Facets<'_>) -> Option<Vec<u8>> {
    let code = match (facets.outcome, &live.failure) {
        (Outcome::Translated, _) | (Outcome::Received, None) => Code::ApplicationAccept,
        (Outcome::Received, Some(_)) | (Outcome::Untranslated | Outcome::Refused, _) => Code::ApplicationError,
        // What was rejected as it came has its answer, and an acknowledgement is never acknowledged.
        (Outcome::Rejected | Outcome::Foreign | Outcome::Unreadable | Outcome::Ignored, _) => return None,
    };
    let mut index = Index::new();
    index.parse(&live.raw).ok()?;
    let message = index.message(&live.raw);
    let (accept, apply) = ack::conditions(message)?;
    // Where no commit acknowledgement was due, this one went back the way the message came.
    if !ack::is_due(accept, Code::CommitAccept) || !ack::is_due(apply, code) {
        return None;
    }
    let time =
        jiff::Timestamp::from_millisecond(facets.received_ms).ok()?.strftime("%Y%m%d%H%M%S%.3f+0000").to_string();
    let control_id = format!("A{:011X}{:X}", facets.received_ms & 0xFFF_FFFF_FFFF, live.seq & 0xFFFF_FFFF);
    let text = live.failure.as_deref().unwrap_or("it could not be used");
    let error = ack::Error { code: 207, location: None, component: 0, text };
    let errors: &[_] = if code == Code::ApplicationError { &[error] } else { &[] };
    let reply = Reply { code, errors, sequence: None, commit: true };
    let mut out = Vec::new();
    ack::write(Some(message), reply, Stamp { time: &time, control_id: &control_id }, &mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(conditions: &str, outcome: Outcome, failure: Option<&str>) -> Option<String> {
        let raw = format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|7|P|2.5|||{conditions}\r");
        let live =
            Live { seq: 12, raw: raw.into_bytes().into(), failure: failure.map(str::to_owned), ..Live::default() };
        let facets = Facets { outcome, received_ms: 1_700_000_000_000, ..Facets::default() };
        of(&live, &facets).map(|ack| String::from_utf8(ack).unwrap())
    }

    #[test]
    fn it_is_due_beside_a_commit_acknowledgement_and_only_then() {
        let good = |conditions| answer(conditions, Outcome::Translated, None).is_some();
        assert_eq!(
            ["AL|AL", "SU|SU", "AL|NE", "NE|AL", "ER|AL", "AL|ER", "|"].map(good),
            [true, true, false, false, false, false, false]
        );
        let bad = |outcome| answer("AL|ER", outcome, Some("why")).is_some();
        assert!(
            bad(Outcome::Untranslated) && bad(Outcome::Received) && !bad(Outcome::Rejected) && !bad(Outcome::Ignored)
        );
        let told = answer("AL|AL", Outcome::Untranslated, Some("PID is missing")).unwrap();
        assert!(told.starts_with("MSH|^~\\&|C|D|A|B|20231114221320.000+0000||ACK^A01^ACK|A18BCFE56800C|P|2.5|||AL|NE\rMSA|AE|7\rERR|||207^"), "{told}");
        assert!(told.ends_with("PID is missing\r"), "{told}");
        assert_eq!(told, answer("AL|AL", Outcome::Untranslated, Some("PID is missing")).unwrap(), "the same each time");
    }
}
