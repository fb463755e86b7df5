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
//! | out of sequence (`sequence = true`, see [`Links`]) | – | AE + ERR | CE + ERR |
//! | could not be stored | – | nothing | CE |
mod acknowledge;
mod batch;
mod delivered;
mod duplicates;
mod senders;
mod sequence;
mod traced;
mod translate;

use crate::facets::{Facets, Outcome};
use crate::hl7;
use crate::journal::{AppendError, CodeNotice, Codes, Journal, Receipt, Record};
use crate::mapping::{Failure, Plan, Scratch};
use crate::routing::Tail;
use crate::telemetry::{ListenerMeter, names, telemetry};
use acknowledge::{Fate, Pen, is_one_sided, waits_for_application};
pub use delivered::Deliveries;
use delivered::Waiting;
pub use duplicates::{Duplicates, OpenError, Options as DuplicatesOptions};
use duplicates::{Fingerprint, Look, Reservation, Stored, Verdict};
pub use senders::{Sender, Senders};
pub use sequence::Links;
use sequence::{Passage, Turn};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use traced::Traced;
use translate::{Frame, Standing};

/// When a message is acknowledged positively. It is on stable storage in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AckOn {
    /// Once it is stored, whether or not it can be translated.
    Durable,
    /// Once it is stored and could be translated.
    #[default]
    Translated,
    /// Once every route has delivered it, or did not want it.
    Delivered,
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
    /// How long a sender waits at most for its message to be delivered, where that is what it waits for.
    pub ack_timeout: Duration,
    /// What becomes of duplicates.
    pub on_duplicate: OnDuplicate,
    /// How far back they are looked for, within that of the whole index.
    pub duplicate_window: Duration,
    /// Whether MSH-13 is held to the sequence number protocol.
    pub sequence: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ack_on: AckOn::default(),
            ack_timeout: Duration::from_secs(30),
            on_duplicate: OnDuplicate::default(),
            duplicate_window: DuplicatesOptions::default().window,
            sequence: false,
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
    senders: Option<Arc<Senders>>,
    meter: Arc<ListenerMeter>,
    /// The log has been told of a message with one of MSH-15 and MSH-16.
    told_one_sided: Arc<AtomicBool>,
}

impl Source {
    /// A listener by its name, its ways, and what translates its messages.
    pub fn new(listener: String, options: Options, plan: Arc<Plan>) -> Source {
        let outcomes = Outcome::ALL.map(Outcome::name).into_iter().chain([names::REPEATED, names::OUT_OF_SEQUENCE]);
        let meter = Arc::new(telemetry().listener(&listener, outcomes));
        let plan_hash = plan.hash();
        Source { listener, options, plan_hash, plan, senders: None, meter, told_one_sided: Arc::default() }
    }

    /// Takes messages only as the certificates of their senders may send them.
    pub fn with_senders(self, senders: Option<Arc<Senders>>) -> Source {
        Source { senders, ..self }
    }
}

/// Who sends.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// What its certificate calls it; nothing where it shows none.
    pub names: Arc<[String]>,
}

impl Peer {
    /// A peer that shows no certificate.
    pub fn at(address: IpAddr) -> Peer {
        Peer { address, names: Arc::default() }
    }
}

/// What the sender is told.
#[derive(Debug)]
pub enum Answer {
    /// This acknowledgement.
    Acknowledge(Vec<u8>),
    /// Nothing; the message is kept.
    Silence,
    /// The message is kept; what is said of it comes once it is delivered.
    Later(Later),
    /// The message is not kept. In the enhanced mode the sender is told so; in the original mode it is told nothing: stop listening to it.
    NotStored {
        /// Why not.
        error: AppendError,
        /// What to tell the sender.
        reply: Option<Vec<u8>>,
    },
}

/// What the sender of a message is told once that is delivered.
pub struct Later(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// The way of a message from frame to acknowledgement.
#[derive(Debug)]
pub struct Intake {
    journal: Arc<Journal>,
    tail: Arc<Tail>,
    pen: Arc<Pen>,
    deliveries: Arc<Deliveries>,
    duplicates: Duplicates,
    links: Arc<Links>,
    /// Who takes notice of codes that no table has.
    codes: Option<Arc<Codes>>,
    /// Idle ones, for frames that wait for one another.
    indexes: Mutex<Vec<hl7::Index>>,
    /// Idle ones: as many as messages were translated at the same time, which is as many as there are threads.
    scratches: Mutex<Vec<Scratch>>,
}

/// Idle indexes that are kept.
const INDEXES_MAX: usize = 256;

/// What is said about a message in the log: nothing that stands in it but its type.
struct Note {
    message_id: String,
    kind: String,
    outcome: Outcome,
    bytes: usize,
    reused: bool,
    drafted: Instant,
}

/// A frame that was taken: what its answer waits for.
enum Taken {
    /// Its own place in the journal, and where that is asked for its delivery.
    Queued(Receipt, Arc<Record>, Note, Option<Waiting>),
    /// The same message, which somebody else is storing.
    Twin(oneshot::Receiver<Stored>, Vec<u8>),
    /// Nothing: it stands in the journal under this number.
    Known(u64, Arc<Record>),
    /// Nothing: it is not kept, and this is what its sender is told.
    Answered(Vec<u8>, &'static str),
}

/// What the answer to a frame needs beside what it waits for.
struct Desk {
    pen: Arc<Pen>,
    meter: Arc<ListenerMeter>,
    began: Instant,
    /// Where the delivery of a message that came before is looked up.
    deliveries: Option<(Arc<Deliveries>, Duration)>,
}

impl Intake {
    /// An intake that keeps messages in `journal` and shows what it translated to `tail`.
    pub fn new(
        journal: Arc<Journal>,
        tail: Arc<Tail>,
        deliveries: Arc<Deliveries>,
        duplicates: Duplicates,
        links: Arc<Links>,
        clock: fn() -> jiff::Timestamp,
    ) -> Intake {
        Intake {
            journal,
            tail,
            deliveries,
            pen: Arc::new(Pen::new(clock)),
            duplicates,
            links,
            codes: None,
            indexes: Mutex::default(),
            scratches: Mutex::default(),
        }
    }

    /// Has notice taken of codes that no table has.
    pub fn with_codes(self, codes: Arc<Codes>) -> Intake {
        Intake { codes: Some(codes), ..self }
    }

    /// Takes a frame. Returns, once the journal has room for it, the answer to come; frames of one sender that are handed over one after the other are
    /// journalled in that order. `peer` is where it comes from.
    pub async fn accept(
        &self,
        raw: Vec<u8>,
        source: &Source,
        peer: &Peer,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let began = Instant::now();
        let mut index = self.indexes.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let taken = self.take(raw, source, peer, &mut index).await;
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if indexes.len() < INDEXES_MAX {
            indexes.push(index);
        }
        drop(indexes);
        let waits = source.options.ack_on == AckOn::Delivered;
        let deliveries = waits.then(|| (Arc::clone(&self.deliveries), source.options.ack_timeout));
        let (pen, meter) = (Arc::clone(&self.pen), Arc::clone(&source.meter));
        taken.answer(Desk { pen, meter, began, deliveries })
    }

    async fn take(&self, raw: Vec<u8>, source: &Source, peer: &Peer, index: &mut hl7::Index) -> Taken {
        // To the millisecond, as it is journalled: translating again must give the same bytes.
        let received = (self.pen.clock)();
        let received = received.round(jiff::Unit::Millisecond).unwrap_or(received);
        let mut frame = Frame::read(&raw, index, source, received);
        if frame.message.is_some_and(is_one_sided) && !source.told_one_sided.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                listener = source.listener,
                "only one of MSH-15 and MSH-16 is filled: the other is taken for NE (never); told once"
            );
        }
        let mut standing = Standing::default();
        let address = if source.options.sequence { peer.address.to_canonical().to_string() } else { String::new() };
        let (mut passage, mut reservation) = (None, None);
        if source.senders.as_ref().is_some_and(|senders| !senders.allow(&peer.names, &frame.facets)) {
            // Nothing of it counts: it must not stand in the way of whom it speaks for.
            tell_foreign(&source.listener, peer);
            standing.foreign = true;
        } else {
            passage = match self.turn(&mut frame, source, &address, &mut standing).await {
                Err(taken) => return taken,
                Ok(passage) => passage,
            };
            reservation = match self.came_before(&frame, source, &mut standing).await {
                // Its number counts once the first of the two is stored, and not before.
                Err(Taken::Twin(stored, raw)) if passage.is_some() => {
                    return match stored.await {
                        Ok((seq, record)) => {
                            passage.into_iter().for_each(Passage::stored);
                            Taken::Known(seq, record)
                        }
                        Err(_) => Taken::Twin(oneshot::channel().1, raw),
                    };
                }
                Err(taken) => {
                    // Its number counts all the same.
                    passage.into_iter().for_each(Passage::stored);
                    return taken;
                }
                Ok(reservation) => reservation,
            };
        }
        let waits = source.options.ack_on == AckOn::Delivered && frame.message.is_some_and(waits_for_application);
        let mut scratch = self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let draft = self.draft(&frame, &standing, source, &mut scratch);
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        let record =
            Arc::new(Record { received_ms: received.as_millisecond(), facets: draft.facets, raw, ack: draft.ack });
        let is_good = matches!(draft.note.outcome, Outcome::Translated | Outcome::Received);
        let (waiting, waiter) = (waits && is_good).then(|| self.deliveries.expect()).unzip();
        let (tail, live, kept) = (Arc::clone(&self.tail), draft.live, Arc::clone(&record));
        let codes = self.codes.clone().zip(draft.codes);
        let stored = move |seq| {
            // Before any route can see it.
            if let Some(waiter) = waiter {
                waiter.stored(seq);
            }
            // In this order, also when it is not stored: the turn ends last.
            if let Some(reservation) = reservation {
                reservation.stored(seq, &kept);
            }
            passage.into_iter().for_each(Passage::stored);
            if let Some(mut live) = live {
                live.seq = seq;
                tail.push(live);
            }
            if let Some((codes, notice)) = codes {
                codes.note(CodeNotice { seq, ..notice });
            }
        };
        Taken::Queued(self.journal.append(Arc::clone(&record), stored).await, record, draft.note, waiting)
    }

    /// Waits for the turn of a message that has a sequence number. Where it is not taken: what its sender is told.
    async fn turn<'a>(
        &self,
        frame: &mut Frame<'a>,
        source: &Source,
        peer: &'a str,
        standing: &mut Standing,
    ) -> Result<Option<Passage>, Taken> {
        let Some(message) = frame.message.filter(|_| source.options.sequence && frame.facets.code != b"ACK") else {
            return Ok(None);
        };
        let answer = |fate, failure: Option<&Failure>, expected| {
            self.pen.acknowledge(Some(message), fate, failure, Some(expected), frame.received)
        };
        let (passage, number) = match self.links.turn(&source.listener, peer, message).await {
            Turn::None => return Ok(None),
            Turn::Repeated(expected) => {
                return Err(match self.repeated(frame, source).await {
                    // Told which number comes next, unless what came of it is another matter.
                    Some(Taken::Known(_, record)) if source.options.ack_on != AckOn::Delivered && is_good(&record) => {
                        Taken::Answered(answer(Fate::Kept(Outcome::Received), None, expected), names::REPEATED)
                    }
                    Some(taken) => taken,
                    None => {
                        let text = "MSH-13 is the number of the message before, and this is another message";
                        let failure = Failure { code: 100, location: Some((*b"MSH", 1, 13)), text: text.into() };
                        let ack = answer(Fate::OutOfSequence, Some(&failure), expected);
                        Taken::Answered(ack, names::OUT_OF_SEQUENCE)
                    }
                });
            }
            Turn::Refuse(expected, failure) => {
                let ack = answer(Fate::OutOfSequence, Some(&failure), expected);
                return Err(Taken::Answered(ack, names::OUT_OF_SEQUENCE));
            }
            Turn::Take(passage, number) => (passage, number),
            Turn::Start(passage, number) => {
                standing.starts_link = true;
                (passage, number)
            }
        };
        standing.sequence = Some(number);
        frame.facets.peer = peer.as_bytes();
        Ok(Some(passage))
    }

    /// What answers a message with the number of the one before: that one, where it is the same; none where it is another.
    async fn repeated(&self, frame: &Frame<'_>, source: &Source) -> Option<Taken> {
        let print = frame.message.and_then(|message| Fingerprint::of(&frame.facets, message))?;
        let (reservation, suspects) = match self.duplicates.look(print, false) {
            Look::Twin(stored) => return Some(Taken::Twin(stored, frame.raw.to_vec())),
            Look::Ours(reservation, suspects) => (reservation, suspects),
        };
        let oldest_ms = frame.facets.received_ms.saturating_sub(duplicates::millis(source.options.duplicate_window));
        match self.duplicates.judge(&self.journal, print, suspects, oldest_ms).await {
            Verdict::New { .. } => None,
            Verdict::Known(seq, record) => {
                reservation.known(seq, &record);
                Some(Taken::Known(seq, record))
            }
        }
    }

    /// Looks whether the same message came before: then this is what its answer waits for. Otherwise its place is reserved.
    async fn came_before(
        &self,
        frame: &Frame<'_>,
        source: &Source,
        standing: &mut Standing,
    ) -> Result<Option<Reservation>, Taken> {
        let Some(print) = frame.message.and_then(|message| Fingerprint::of(&frame.facets, message)) else {
            return Ok(None);
        };
        // What starts a link is answered by how the link stands now.
        let accepts = standing.starts_link || source.options.on_duplicate == OnDuplicate::Accept;
        let (reservation, suspects) = match self.duplicates.look(print, accepts) {
            Look::Twin(stored) => return Err(Taken::Twin(stored, frame.raw.to_vec())),
            Look::Ours(reservation, suspects) => (reservation, suspects),
        };
        let oldest_ms = frame.facets.received_ms.saturating_sub(duplicates::millis(source.options.duplicate_window));
        match self.duplicates.judge(&self.journal, print, suspects, oldest_ms).await {
            Verdict::New { reused } => {
                standing.reused = reused;
                Ok(Some(reservation))
            }
            Verdict::Known(seq, record) => {
                reservation.known(seq, &record);
                Err(Taken::Known(seq, record))
            }
        }
    }
}

/// Counts a message that the certificate of its sender may not send, and says so in the log.
fn tell_foreign(listener: &str, peer: &Peer) {
    telemetry().refused(listener, names::REFUSED_NAME);
    let text = "the certificate of a sender does not go with its MSH-3 and MSH-4";
    tracing::warn!(peer = %peer.address, listener, names = ?peer.names, "{text}");
}

/// Whether a message that is kept could be used.
fn is_good(record: &Record) -> bool {
    let facets = Facets::decode(&record.facets);
    facets.is_some_and(|facets| matches!(facets.outcome, Outcome::Translated | Outcome::Received))
}

impl Taken {
    async fn answer(self, desk: Desk) -> Answer {
        match self {
            Taken::Queued(receipt, record, note, waiting) => match receipt.await {
                Ok(seq) => desk.stored(seq, record, note, waiting),
                Err(error) => desk.not_stored(error, &record.raw),
            },
            Taken::Twin(stored, raw) => match stored.await {
                Ok((seq, record)) => desk.again(seq, record),
                Err(_) => {
                    let error = AppendError::Stopped("the same message, which came first, was not stored".into());
                    desk.not_stored(error, &raw)
                }
            },
            Taken::Known(seq, record) => desk.again(seq, record),
            Taken::Answered(ack, outcome) => {
                desk.meter.message(outcome, 0);
                Answer::saying(&ack)
            }
        }
    }
}

impl Answer {
    fn saying(ack: &[u8]) -> Answer {
        if ack.is_empty() { Answer::Silence } else { Answer::Acknowledge(ack.to_vec()) }
    }

    /// Waits for the delivery where the answer does.
    pub async fn settled(self) -> Answer {
        match self {
            // What comes later waits for nothing more.
            Answer::Later(later) => later.0.await,
            answer => answer,
        }
    }

    fn later(answer: impl Future<Output = Answer> + Send + 'static) -> Answer {
        Answer::Later(Later(Box::pin(answer)))
    }
}

impl Desk {
    fn stored(self, seq: u64, record: Arc<Record>, note: Note, waiting: Option<Waiting>) -> Answer {
        self.meter.translate.time(note.drafted - self.began);
        self.meter.journal.time(note.drafted.elapsed());
        self.meter.message(note.outcome.name(), note.bytes);
        let traced = Traced::of(seq, &record, &note, self.began);
        note.tell(seq);
        match (waiting, &self.deliveries) {
            (Some(waiting), Some((_, longest))) => {
                let longest = *longest;
                Answer::later(async move {
                    let refused = waiting.refused(self.began, longest).await;
                    self.meter.ack.time(self.began.elapsed());
                    traced.into_iter().for_each(Traced::answered);
                    self.saying(&record, refused)
                })
            }
            _ => {
                self.meter.ack.time(self.began.elapsed());
                traced.into_iter().for_each(Traced::answered);
                self.saying(&record, None)
            }
        }
    }

    /// What was said then; where its sender waits for the delivery, how that stands now.
    fn again(self, seq: u64, record: Arc<Record>) -> Answer {
        self.meter.message(names::REPEATED, record.raw.len());
        tracing::info!(seq, bytes = record.raw.len(), "a message that came before was answered as it was then");
        match &self.deliveries {
            Some((deliveries, longest)) if delivered::is_awaited(&record) => {
                let (deliveries, longest) = (Arc::clone(deliveries), *longest);
                Answer::later(async move {
                    let refused = deliveries.refused(seq, self.began, longest).await;
                    self.saying(&record, refused)
                })
            }
            _ => self.saying(&record, None),
        }
    }

    fn saying(&self, record: &Record, refused: Option<String>) -> Answer {
        match refused {
            None => Answer::saying(&record.ack),
            Some(reason) => Answer::saying(&self.pen.not_delivered(&record.raw, reason)),
        }
    }

    fn not_stored(&self, error: AppendError, raw: &[u8]) -> Answer {
        self.meter.message(names::NOT_STORED, raw.len());
        Answer::NotStored { error, reply: self.pen.not_stored(raw) }
    }
}

impl Note {
    fn tell(self, seq: u64) {
        let Note { message_id, kind, outcome, bytes, reused, .. } = self;
        tracing::info!(seq, %message_id, kind, outcome = outcome.name(), bytes, "message");
        if reused {
            tracing::warn!(seq, %message_id, "its MSH-10 was the control id of an earlier message with another content");
        }
    }
}
