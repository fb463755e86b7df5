//! Frame in, ACK out. Read [`Intake::accept`] from top to bottom: index, look whether it came before, translate, take the facets, write the acknowledgement, append all of it
//! to the journal, and only then give the acknowledgement back. Nothing here calls back up, and nothing waits for a route.
//!
//! | what came | outcome | original mode | enhanced mode |
//! |---|---|---|---|
//! | translated, or only kept (`ack_on = "durable"`) | translated, received | AA | CA |
//! | type, processing id or version not taken here | rejected | AR + ERR | CR + ERR |
//! | cannot be translated: kept, a dead letter | untranslated | AE + ERR | CA |
//! | the control id of another message (`duplicates = "strict"`): kept, a dead letter | refused | AE + ERR | CA |
//! | no readable MSH: kept, a dead letter | unreadable | AR, MSA-2 empty | the same |
//! | an acknowledgement | ignored | nothing | nothing |
//! | the same message as before | – | what was answered before | the same |
//! | could not be stored | – | nothing | nothing |
mod acknowledge;
mod duplicates;
mod translate;

use crate::facets::Outcome;
use crate::hl7;
use crate::journal::{AppendError, Journal, Receipt, Record};
use crate::mapping::{Plan, Scratch};
use crate::routing::Tail;
use acknowledge::ControlIds;
pub use duplicates::{Duplicates, OpenError, Options as DuplicatesOptions};
use duplicates::{Fingerprint, Look, Reservation, Verdict};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use translate::Frame;

/// When a message is acknowledged positively. It is on stable storage in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckOn {
    /// Once it is stored, whether or not it can be translated.
    Durable,
    /// Once it is stored and could be translated.
    #[default]
    Translated,
}

/// What becomes of a message that came before, and of one that bears the control id of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDuplicate {
    /// The former is answered as it was then, the latter is accepted.
    #[default]
    Replay,
    /// The former is answered as it was then, the latter is refused.
    Strict,
    /// Both are messages like others.
    Accept,
}

/// What a listener may have its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// When a message is acknowledged positively.
    pub ack_on: AckOn,
    /// What becomes of duplicates.
    pub on_duplicate: OnDuplicate,
    /// How far back they are looked for, within that of the whole index.
    pub duplicate_window: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ack_on: AckOn::default(),
            on_duplicate: OnDuplicate::default(),
            duplicate_window: DuplicatesOptions::default().window,
        }
    }
}

/// Where messages come from.
#[derive(Debug, Clone)]
pub struct Source {
    listener: String,
    options: Options,
    plan: Arc<Plan>,
    plan_hash: [u8; 32],
}

impl Source {
    /// A listener by its name, its ways, and what translates its messages.
    pub fn new(listener: String, options: Options, plan: Arc<Plan>) -> Source {
        Source { listener, options, plan_hash: plan.hash(), plan }
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
    duplicates: Duplicates,
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
    reused: bool,
}

/// A frame that was taken: what its answer waits for.
enum Taken {
    /// Its own place in the journal.
    Queued(Receipt, Arc<Record>, Note),
    /// The same message, which somebody else is storing.
    Twin(oneshot::Receiver<(u64, Arc<Record>)>),
    /// Nothing: it stands in the journal under this number.
    Known(u64, Arc<Record>),
}

impl Intake {
    /// An intake that keeps messages in `journal` and shows what it translated to `tail`.
    pub fn new(
        journal: Arc<Journal>,
        tail: Arc<Tail>,
        duplicates: Duplicates,
        clock: fn() -> jiff::Timestamp,
    ) -> Intake {
        let control_ids = ControlIds::new(clock());
        Intake { journal, tail, clock, control_ids, duplicates, workers: Mutex::default() }
    }

    /// Takes a frame. Returns, once the journal has room for it, the answer to come; frames of one sender that are handed over one after the other are
    /// journalled in that order.
    pub async fn accept(&self, raw: Vec<u8>, source: &Source) -> impl Future<Output = Answer> + Send + use<> {
        let mut worker = self.workers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let taken = self.take(raw, source, &mut worker).await;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        taken.answer()
    }

    async fn take(&self, raw: Vec<u8>, source: &Source, worker: &mut Worker) -> Taken {
        // To the millisecond, as it is journalled: translating again must give the same bytes.
        let received = (self.clock)();
        let received = received.round(jiff::Unit::Millisecond).unwrap_or(received);
        let Worker { index, scratch } = worker;
        let frame = Frame::read(&raw, index, source, received);
        let (reservation, reused) = match self.came_before(&frame, source).await {
            Came::Before(taken) => return taken,
            Came::New(reservation, reused) => (reservation, reused),
        };
        let draft = self.draft(&frame, reused, source, scratch);
        let record =
            Arc::new(Record { received_ms: received.as_millisecond(), facets: draft.facets, raw, ack: draft.ack });
        let (tail, live, kept) = (Arc::clone(&self.tail), draft.live, Arc::clone(&record));
        let stored = move |seq| {
            if let Some(reservation) = reservation {
                reservation.stored(seq, &kept);
            }
            if let Some(mut live) = live {
                live.seq = seq;
                tail.push(live);
            }
        };
        Taken::Queued(self.journal.append(Arc::clone(&record), stored).await, record, draft.note)
    }

    /// Whether the same message came before; where not, its place is reserved.
    async fn came_before(&self, frame: &Frame<'_>, source: &Source) -> Came {
        let Some(print) = frame.message.and_then(|message| Fingerprint::of(&frame.facets, message)) else {
            return Came::New(None, false);
        };
        let accepts = source.options.on_duplicate == OnDuplicate::Accept;
        let (reservation, suspects) = match self.duplicates.look(print, accepts) {
            Look::Twin(stored) => return Came::Before(Taken::Twin(stored)),
            Look::Ours(reservation, suspects) => (reservation, suspects),
        };
        let oldest_ms = frame.facets.received_ms.saturating_sub(duplicates::millis(source.options.duplicate_window));
        match self.duplicates.judge(&self.journal, print, suspects, oldest_ms).await {
            Verdict::New { reused } => Came::New(Some(reservation), reused),
            Verdict::Known(seq, record) => {
                reservation.known(seq, &record);
                Came::Before(Taken::Known(seq, record))
            }
        }
    }
}

/// Whether a message came before.
enum Came {
    /// Yes: this is what its answer waits for.
    Before(Taken),
    /// No; whether its control id was another message's.
    New(Option<Reservation>, bool),
}

impl Taken {
    async fn answer(self) -> Answer {
        match self {
            Taken::Queued(receipt, record, note) => match receipt.await {
                Ok(seq) => {
                    note.tell(seq);
                    Answer::of(&record)
                }
                Err(error) => Answer::NotStored(error),
            },
            Taken::Twin(stored) => match stored.await {
                Ok((seq, record)) => Answer::again(seq, &record),
                Err(_) => {
                    Answer::NotStored(AppendError::Stopped("the same message, which came first, was not stored".into()))
                }
            },
            Taken::Known(seq, record) => Answer::again(seq, &record),
        }
    }
}

impl Answer {
    fn of(record: &Record) -> Answer {
        if record.ack.is_empty() { Answer::Silence } else { Answer::Acknowledge(record.ack.clone()) }
    }

    fn again(seq: u64, record: &Record) -> Answer {
        tracing::info!(seq, bytes = record.raw.len(), "a message that came before was answered as it was then");
        Answer::of(record)
    }
}

impl Note {
    fn tell(self, seq: u64) {
        let Note { message_id, kind, outcome, bytes, reused } = self;
        tracing::info!(seq, %message_id, kind, outcome = outcome.name(), bytes, "message");
        if reused {
            tracing::warn!(seq, %message_id, "its MSH-10 was the control id of an earlier message with another content");
        }
    }
}
