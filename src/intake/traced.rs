//! The way in of a message as its trace tells it.
//!
//! ```text
//! message                        frame to acknowledgement; its id follows from the record
//! ├─ translate                   frame to draft: reading, whether it came before, translating
//! ├─ journal                     draft to durable
//! └─ acknowledge                 durable to acknowledged: waits where `ack_on = "delivered"`
//! ```
use super::Note;
use crate::facets::{Facets, Outcome};
use crate::journal::Record;
use crate::telemetry::traces::{Kind, Trace, are_on};
use std::time::Instant;

/// A message that is stored and about to be acknowledged.
pub(super) struct Traced {
    trace: Trace,
    seq: u64,
    listener: String,
    kind: String,
    outcome: Outcome,
    bytes: usize,
    began: Instant,
    drafted: Instant,
    stored: Instant,
}

impl Traced {
    /// It has just become durable. `None` where its trace is not told of.
    pub fn of(seq: u64, record: &Record, note: &Note, began: Instant) -> Option<Traced> {
        if !are_on() {
            return None;
        }
        let facets = Facets::decode(&record.facets)?;
        let trace = Trace::of(seq, record.received_ms, &facets.message_id)?;
        if !trace.is_sampled() && error(note.outcome).is_none() {
            return None;
        }
        Some(Traced {
            trace,
            seq,
            listener: String::from_utf8_lossy(facets.listener).into_owned(),
            kind: note.kind.clone(),
            outcome: note.outcome,
            bytes: note.bytes,
            began,
            drafted: note.drafted,
            stored: Instant::now(),
        })
    }

    /// Its sender is answered.
    pub fn answered(self) {
        let Traced { trace, began, drafted, stored, .. } = self;
        trace
            .root("message", Kind::Server, began.elapsed())
            .with("handoff.seq", self.seq)
            .with("handoff.listener", self.listener)
            .with("handoff.message_type", self.kind)
            .with("handoff.outcome", self.outcome.name())
            .with("handoff.bytes", self.bytes as u64)
            .failed(error(self.outcome))
            .tell();
        // With their root, or not at all.
        trace.child("translate", began, drafted).tell_always();
        trace.child("journal", drafted, stored).tell_always();
        trace.child("acknowledge", stored, Instant::now()).tell_always();
    }
}

/// Outcomes that somebody has to look at.
fn error(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Received | Outcome::Translated | Outcome::Ignored => None,
        Outcome::Untranslated | Outcome::Rejected | Outcome::Unreadable | Outcome::Refused | Outcome::Foreign => {
            Some(outcome.name())
        }
    }
}
