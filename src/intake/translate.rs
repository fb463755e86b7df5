//! What becomes of a frame, before it is stored.
use super::acknowledge::{Fate, Verdict};
use super::{AckOn, Intake, Note, OnDuplicate, Source};
use crate::facets::{Facets, Outcome};
use crate::hl7::header::holds_frame_end;
use crate::hl7::{Index, Message, ParseError, SegmentId};
use crate::journal::CodeNotice;
use crate::mapping::{Context, Failure, Scratch};
use crate::routing::Live;
use std::time::Instant;

/// Everything that is stored and said about a frame.
pub(super) struct Draft {
    pub facets: Vec<u8>,
    pub ack: Vec<u8>,
    pub live: Option<Live>,
    /// Codes that no table has; none for nearly every message.
    pub codes: Option<CodeNotice>,
    pub note: Note,
}

/// A frame as it came, and what can be read of it.
pub(super) struct Frame<'a> {
    pub raw: &'a [u8],
    pub message: Option<Message<'a>>,
    pub facets: Facets<'a>,
    pub received: jiff::Timestamp,
    /// Why it is no message.
    error: Option<ParseError>,
}

/// How a message stands to those before it.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Its control id was another message's.
    pub reused: bool,
    /// The expected sequence number, for MSA-4.
    pub sequence: Option<i64>,
    /// Its sender's certificate may not send it.
    pub foreign: bool,
    /// It starts its link, and may do no more than that.
    pub starts_link: bool,
}

impl<'a> Frame<'a> {
    pub fn read(raw: &'a [u8], index: &'a mut Index, source: &'a Source, received: jiff::Timestamp) -> Frame<'a> {
        let error = index.parse(raw).err();
        let index = &*index;
        let message = error.is_none().then(|| index.message(raw));
        let facets = Facets::of(raw, message, source.listener.as_bytes(), received.as_millisecond());
        Frame { raw, message, facets, received, error }
    }
}

impl Intake {
    /// Decides what becomes of a frame.
    pub(super) fn draft(
        &self,
        frame: &Frame<'_>,
        standing: &Standing,
        source: &Source,
        scratch: &mut Scratch,
    ) -> Draft {
        let Frame { raw, message, mut facets, received, error } = *frame;
        let refused = standing.reused && source.options.on_duplicate == OnDuplicate::Strict;
        let only_starts = standing.starts_link && facets.code.is_empty();
        let verdict = match (message, error) {
            (Some(_), _) if standing.foreign => {
                let text = "the certificate of the connection may not send as this MSH-3 and MSH-4";
                let failure = Failure { code: 207, location: Some((*b"MSH", 1, 3)), text: text.into() };
                Verdict { outcome: Outcome::Foreign, failure: Some(failure) }
            }
            (Some(_), _) if only_starts => Verdict { outcome: Outcome::Ignored, failure: None },
            (Some(message), _) => judge(message, &facets, source.options.ack_on, refused, || {
                source.plan.translate(raw, &Context { received_at: Some(&received.to_string()) }, scratch)
            }),
            (None, error) => Verdict::unreadable(error.map_or_else(String::new, |error| error.to_string())),
        };
        facets.outcome = verdict.outcome;
        if verdict.outcome == Outcome::Translated {
            facets.plan = source.plan_hash;
        }
        let mut encoded = Vec::with_capacity(256);
        facets.encode(&mut encoded);
        let fate = Fate::Kept(if only_starts { Outcome::Received } else { verdict.outcome });
        let ack = self.pen.acknowledge(message, fate, verdict.failure.as_ref(), standing.sequence, received);
        let note = Note {
            message_id: facets.message_id_text(),
            kind: facets.kind_text(),
            outcome: verdict.outcome,
            bytes: raw.len(),
            reused: standing.reused,
            drafted: Instant::now(),
        };
        let codes = match verdict.outcome {
            Outcome::Translated => codes_of(raw, &facets, source, scratch),
            _ => None,
        };
        let live = match verdict.outcome {
            Outcome::Received => None, // Not translated yet: routes do that from the journal.
            Outcome::Translated => Some(Live {
                seq: 0,
                facets: encoded.clone(),
                raw: raw.into(),
                bundle: scratch.bundle().to_vec(),
                entries: scratch.entries().to_vec(),
                ..Live::default()
            }),
            _ => Some(Live {
                facets: encoded.clone(),
                raw: raw.into(),
                failure: verdict.failure.map(|failure| failure.text),
                ..Live::default()
            }),
        };
        Draft { facets: encoded, ack, live, codes, note }
    }
}

/// The codes of a message just translated that no table has, if there are any.
fn codes_of(raw: &[u8], facets: &Facets<'_>, source: &Source, scratch: &Scratch) -> Option<CodeNotice> {
    let codes = source.plan.open_codes(raw, scratch);
    let (at_ms, listener, feed) = (facets.received_ms, source.listener.clone(), facets.feed_text());
    (!codes.is_empty()).then_some(CodeNotice { seq: 0, at_ms, listener, feed, codes })
}

/// Decides what becomes of a readable message.
fn judge(
    message: Message<'_>,
    facets: &Facets<'_>,
    ack_on: AckOn,
    refused: bool,
    translate: impl FnOnce() -> Result<(), Failure>,
) -> Verdict {
    if facets.code == b"ACK" {
        return Verdict { outcome: Outcome::Ignored, failure: None };
    }
    let refuse = |code, field, text: &str| Verdict {
        outcome: Outcome::Rejected,
        failure: Some(Failure { code, location: Some((*b"MSH", 1, field)), text: text.into() }),
    };
    // Empty ones are let pass: senders leave them out, and nothing is known to be wrong.
    if !matches!(facets.processing_id, b"" | b"P" | b"T" | b"D") {
        return refuse(202, 11, "MSH-11 is none of P (production), T (training), D (debugging)");
    }
    if !facets.version.is_empty() && !facets.version.starts_with(b"2") {
        return refuse(203, 12, "MSH-12 is no version of HL7 v2, such as 2.5.1");
    }
    // It could not be sent on over MLLP as the one message that it is.
    if holds_frame_end(message.raw()) {
        let text = "the message holds the end of an MLLP frame (1C 0D): remove it";
        return Verdict {
            outcome: Outcome::Untranslated,
            failure: Some(Failure { code: 102, location: None, text: text.into() }),
        };
    }
    let headers =
        (0..message.segment_count()).filter(|segment| message.segment_id(*segment) == SegmentId(*b"MSH")).count();
    if headers > 1 {
        let text = format!("a frame holds one message, here stand {headers} MSH segments: send each in its own frame");
        return Verdict {
            outcome: Outcome::Untranslated,
            failure: Some(Failure { code: 100, location: Some((*b"MSH", 2, 0)), text }),
        };
    }
    if refused {
        let text = "MSH-10 is the control id of an earlier message with another content: give each message its own";
        let failure = Failure { code: 205, location: Some((*b"MSH", 1, 10)), text: text.into() };
        return Verdict { outcome: Outcome::Refused, failure: Some(failure) };
    }
    if ack_on == AckOn::Durable {
        return Verdict { outcome: Outcome::Received, failure: None };
    }
    match translate() {
        Ok(()) => Verdict { outcome: Outcome::Translated, failure: None },
        Err(failure) if matches!(failure.code, 200..=203) => {
            Verdict { outcome: Outcome::Rejected, failure: Some(failure) }
        }
        Err(failure) => Verdict { outcome: Outcome::Untranslated, failure: Some(failure) },
    }
}
