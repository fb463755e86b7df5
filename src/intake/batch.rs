//! A frame that holds a batch (FHS, BHS … BTS, FTS): each message is taken for itself and in order, and one batch of their acknowledgements is the answer.
//!
//! Messages that asked for no acknowledgement have none in it; where no message asked for one there is no answer at all. A batch of which a message could not be stored is
//! not answered, or as one that is not kept where all messages asked in the enhanced mode: the sender sends it again, and those that were stored are known.
use super::acknowledge::Pen;
use super::{Answer, Intake, Peer, Source};
use crate::hl7::{is_batch, split};
use std::future::Future;
use std::sync::Arc;

/// Messages of a batch; one with more is refused as a whole.
const MESSAGES_MAX: usize = 10_000;

/// What the answer to a frame waits for.
enum Taking<F> {
    Message(F),
    /// The batch, and what the answers to its messages wait for.
    Batch(Vec<u8>, Vec<F>),
}

impl Intake {
    /// Takes a frame that holds a message or a batch. Returns, once the journal has room for it, the answer to come.
    pub async fn accept_frame(
        &self,
        raw: Vec<u8>,
        source: &Source,
        peer: &Peer,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let taking = match is_batch(&raw).then(|| messages(&raw)).flatten() {
            None => Taking::Message(self.accept(raw, source, peer).await),
            Some(messages) => {
                let mut answers = Vec::with_capacity(messages.len());
                for message in messages {
                    answers.push(self.accept(raw[message].to_vec(), source, peer).await);
                }
                Taking::Batch(raw, answers)
            }
        };
        let pen = Arc::clone(&self.pen);
        async move {
            match taking {
                Taking::Message(answer) => answer.await,
                Taking::Batch(raw, answers) => together(pen, raw, answers).await,
            }
        }
    }
}

impl Intake {
    /// What answers a file: a batch where it is one, else its acknowledgements one after the other.
    pub fn answer_file(&self, raw: &[u8], acknowledgements: &[Vec<u8>]) -> Vec<u8> {
        if is_batch(raw) { self.pen.batch(raw, acknowledgements) } else { acknowledgements.concat() }
    }
}

/// The answers to the messages of a batch as one.
async fn together(pen: Arc<Pen>, raw: Vec<u8>, taken: Vec<impl Future<Output = Answer>>) -> Answer {
    let mut answers = Vec::with_capacity(taken.len());
    for answer in taken {
        answers.push(answer.await);
    }
    // All of it is kept before any of it is waited for.
    let waits = answers.iter().any(|answer| matches!(answer, Answer::Later(_)))
        && !answers.iter().any(|answer| matches!(answer, Answer::NotStored { .. }));
    let answer = settled(pen, raw, answers);
    if waits { Answer::later(answer) } else { answer.await }
}

async fn settled(pen: Arc<Pen>, raw: Vec<u8>, answers: Vec<Answer>) -> Answer {
    let count = answers.len();
    let mut acknowledgements = Vec::with_capacity(count);
    let (mut lost, mut silent) = (None, false);
    for answer in answers {
        match answer.settled().await {
            Answer::Acknowledge(ack) => acknowledgements.push(ack),
            Answer::NotStored { error, reply } => {
                lost = Some(error);
                silent |= reply.is_none();
                acknowledgements.extend(reply);
            }
            Answer::Silence | Answer::Later(_) => {}
        }
    }
    match lost {
        Some(error) => {
            let reply = (!silent).then(|| pen.batch(&raw, &acknowledgements));
            Answer::NotStored { error, reply }
        }
        None if acknowledgements.is_empty() && count > 0 => Answer::Silence,
        None => Answer::Acknowledge(pen.batch(&raw, &acknowledgements)),
    }
}

/// Where the messages of a batch are; none when there are too many.
fn messages(raw: &[u8]) -> Option<Vec<std::ops::Range<usize>>> {
    let mut split = split(raw);
    let messages: Vec<_> = split.by_ref().take(MESSAGES_MAX + 1).collect();
    if messages.len() > MESSAGES_MAX {
        return None;
    }
    for note in split.notes() {
        tracing::warn!("in a batch: {note}");
    }
    Some(messages)
}
