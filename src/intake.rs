//! Frame in, ACK out. Read [`Intake::accept`] from top to bottom: index, translate, take the facets, write the acknowledgement, append all of it to the journal, and only
//! then give the acknowledgement back. Nothing here calls back up, and nothing waits for a route.
//!
//! | what came | outcome | original mode | enhanced mode |
//! |---|---|---|---|
//! | translated, or only kept (`ack_on = "durable"`) | translated, received | AA | CA |
//! | type, processing id or version not taken here | rejected | AR + ERR | CR + ERR |
//! | cannot be translated: kept, a dead letter | untranslated | AE + ERR | CA |
//! | no readable MSH: kept, a dead letter | unreadable | AR, MSA-2 empty | the same |
//! | an acknowledgement | ignored | nothing | nothing |
//! | could not be stored | – | nothing | nothing |
mod acknowledge;
mod translate;

use crate::journal::{AppendError, Journal, Record};
use crate::mapping::{Plan, Scratch};
use crate::routing::Tail;
use crate::telemetry::{ListenerMeter, names, telemetry};
use crate::{facets::Outcome, hl7};
use acknowledge::ControlIds;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// When a message is acknowledged positively. It is on stable storage in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckOn {
    /// Once it is stored, whether or not it can be translated.
    Durable,
    /// Once it is stored and could be translated.
    #[default]
    Translated,
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub struct Source {
    listener: String,
    ack_on: AckOn,
    plan: Arc<Plan>,
    plan_hash: [u8; 32],
    meter: Arc<ListenerMeter>,
}

impl Source {
    /// A listener by its name, when it acknowledges, and what translates its messages.
    pub fn new(listener: String, ack_on: AckOn, plan: Arc<Plan>) -> Source {
        let meter = Arc::new(telemetry().listener(&listener, Outcome::ALL.map(Outcome::name)));
        Source { listener, ack_on, plan_hash: plan.hash(), plan, meter }
    }
}

/// What the sender is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// This acknowledgement.
    Acknowledge(Vec<u8>),
    /// Nothing; the message is kept.
    Silence,
    /// Nothing, because the message is not kept: stop listening to the sender.
    NotStored(AppendError),
}

/// The way of a message from frame to acknowledgement.
#[derive(Debug)]
pub struct Intake {
    journal: Arc<Journal>,
    tail: Arc<Tail>,
    clock: fn() -> jiff::Timestamp,
    control_ids: ControlIds,
    /// Idle workers: as many as there were frames at the same time.
    workers: Mutex<Vec<Worker>>,
}

/// What one frame at a time needs, reused.
#[derive(Debug, Default)]
struct Worker {
    index: hl7::Index,
    scratch: Scratch,
}

/// What is said about a message in the log: nothing that stands in it but its type.
struct Note {
    message_id: String,
    kind: String,
    outcome: Outcome,
    bytes: usize,
}

impl Intake {
    /// An intake that keeps messages in `journal` and shows what it translated to `tail`.
    pub fn new(journal: Arc<Journal>, tail: Arc<Tail>, clock: fn() -> jiff::Timestamp) -> Intake {
        let control_ids = ControlIds::new(clock());
        Intake { journal, tail, clock, control_ids, workers: Mutex::default() }
    }

    /// Takes a frame. Returns, once the journal has room for it, the answer to come; frames of one sender that are handed over one after the other are
    /// journalled in that order.
    pub async fn accept(&self, raw: Vec<u8>, source: &Source) -> impl Future<Output = Answer> + Send + use<> {
        let began = Instant::now();
        // To the millisecond, as it is journalled: translating again must give the same bytes.
        let received = (self.clock)();
        let received = received.round(jiff::Unit::Millisecond).unwrap_or(received);
        let mut worker = self.workers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let draft = self.draft(&mut worker, &raw, source, received);
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);

        let record =
            Arc::new(Record { received_ms: received.as_millisecond(), facets: draft.facets, raw, ack: draft.ack });
        let (tail, live) = (Arc::clone(&self.tail), draft.live);
        let publish = move |seq| {
            if let Some(mut live) = live {
                live.seq = seq;
                tail.push(live);
            }
        };
        let drafted = Instant::now();
        source.meter.translate.time(drafted - began);
        let receipt = self.journal.append(Arc::clone(&record), publish).await;
        let (note, meter) = (draft.note, Arc::clone(&source.meter));
        async move {
            match receipt.await {
                Ok(seq) => {
                    let Note { message_id, kind, outcome, bytes } = note;
                    meter.journal.time(drafted.elapsed());
                    meter.message(outcome.name(), bytes);
                    tracing::info!(seq, %message_id, kind, outcome = outcome.name(), bytes, "message");
                    if record.ack.is_empty() {
                        return Answer::Silence;
                    }
                    meter.ack.time(began.elapsed());
                    Answer::Acknowledge(record.ack.clone())
                }
                Err(error) => {
                    meter.message(names::NOT_STORED, note.bytes);
                    Answer::NotStored(error)
                }
            }
        }
    }
}
