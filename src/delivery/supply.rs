//! What comes next in the journal: from the tail while a lane keeps up, else read and translated again.
use crate::facets::{Facets, Outcome};
use crate::journal::{Error, Item, Limits, Reader, Record};
use crate::mapping::{Context, Plan, Scratch};
use crate::routing::{Live, Tail};
use std::sync::Arc;

/// The next thing in the journal.
#[derive(Debug)]
pub(super) enum Next {
    /// A message.
    Message(Arc<Live>),
    /// Records that cannot be read, from the first to the last number.
    Damaged(u64, u64),
}

impl Next {
    pub fn last(&self) -> u64 {
        match self {
            Next::Message(live) => live.seq,
            Next::Damaged(_, last) => *last,
        }
    }
}

/// Reads the journal for one lane.
#[derive(Debug)]
pub(super) struct Supply {
    tail: Arc<Tail>,
    plan: Arc<Plan>,
    /// `None` only while it works on another thread.
    lagging: Option<Box<Lagging>>,
}

#[derive(Debug)]
struct Lagging {
    reader: Reader,
    scratch: Scratch,
}

/// How much is read from the journal at once: a lagging lane needs memory for so many Bundles.
const LIMITS: Limits = Limits { records_max: 64, bytes_max: 1 << 20 };

impl Supply {
    pub fn new(tail: Arc<Tail>, plan: Arc<Plan>, reader: Reader) -> Supply {
        Supply { tail, plan, lagging: Some(Box::new(Lagging { reader, scratch: Scratch::default() })) }
    }

    /// Messages from a number on, in order and without a gap; none at the end of the journal.
    pub async fn from(&mut self, seq: u64, messages_max: usize) -> Result<Vec<Next>, Error> {
        let live = self.tail.from(seq, messages_max);
        if !live.is_empty() {
            return Ok(live.into_iter().map(Next::Message).collect());
        }
        let Some(mut lagging) = self.lagging.take() else { return Ok(Vec::new()) };
        let plan = Arc::clone(&self.plan);
        let limits = Limits { records_max: LIMITS.records_max.min(messages_max), ..LIMITS };
        let read = tokio::task::spawn_blocking(move || {
            let found = lagging.read(&plan, seq, limits);
            (lagging, found)
        });
        match read.await {
            Ok((lagging, found)) => {
                self.lagging = Some(lagging);
                found
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()), // Blocking work is never cancelled, so it panicked.
        }
    }
}

impl Lagging {
    fn read(&mut self, plan: &Plan, seq: u64, limits: Limits) -> Result<Vec<Next>, Error> {
        let items = self.reader.read(seq, limits)?;
        let next = items.into_iter().map(|item| match item {
            Item::Damaged(seqs) => Next::Damaged(*seqs.start(), *seqs.end()),
            Item::Record(seq, record) => Next::Message(Arc::new(again(seq, record, plan, &mut self.scratch))),
        });
        Ok(next.collect())
    }
}

/// Translates a record again, as it was translated when it came.
fn again(seq: u64, record: Record, plan: &Plan, scratch: &mut Scratch) -> Live {
    let mut live = Live { seq, ..Live::default() };
    let outcome = Facets::decode(&record.facets).map(|facets| facets.outcome);
    match outcome {
        Some(Outcome::Received | Outcome::Translated | Outcome::Untranslated) => {
            let received = jiff::Timestamp::from_millisecond(record.received_ms).map(|time| time.to_string());
            match plan.translate(&record.raw, &Context { received_at: received.as_deref().ok() }, scratch) {
                Ok(()) if outcome == Some(Outcome::Untranslated) => {
                    live.failure = Some("could not be translated when it came; the present mappings can".into());
                }
                Ok(()) => {
                    live.bundle = scratch.bundle().to_vec();
                    live.entries = scratch.entries().to_vec();
                }
                Err(failure) => live.failure = Some(failure.text),
            }
        }
        Some(Outcome::Rejected) => live.failure = Some("its type, processing id or version is not taken here".into()),
        Some(Outcome::Unreadable) => live.failure = Some("no MSH could be read".into()),
        Some(Outcome::Ignored) => {}
        None => live.failure = Some("its facets were written by another version".into()),
    }
    live.facets = record.facets;
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_translated_says_why() {
        let (plan, mut scratch) = (Plan::embedded(), Scratch::default());
        let mut why = |outcome| {
            let mut facets = Vec::new();
            Facets { outcome, ..Facets::default() }.encode(&mut facets);
            again(1, Record { facets, raw: b"no message".to_vec(), ..Record::default() }, &plan, &mut scratch).failure
        };
        assert!(
            why(Outcome::Untranslated).is_some()
                && why(Outcome::Rejected).is_some()
                && why(Outcome::Unreadable).is_some()
        );
        assert_eq!(why(Outcome::Ignored), None);
    }
}
