//! What comes next in the journal: from the tail while a lane keeps up, else read and translated again.
use crate::facets::{Facets, Outcome};
use crate::journal::{Error, Item, Limits, Reader, Record};
use crate::mapping::{Context, Plan, Scratch};
use crate::routing::{Live, Tail};
use std::collections::HashMap;
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

    /// The part of it that has this number.
    pub fn only(&self, seq: u64) -> Next {
        match self {
            Next::Message(live) => Next::Message(Arc::clone(live)),
            Next::Damaged(..) => Next::Damaged(seq, seq),
        }
    }
}

/// The plans with which records can be translated again.
#[derive(Debug, Default)]
pub struct Plans {
    by_hash: HashMap<[u8; 32], Arc<Plan>>,
    by_listener: HashMap<String, Arc<Plan>>,
}

impl Plans {
    /// Adds the plan of a listener.
    pub fn add(&mut self, listener: &str, plan: &Arc<Plan>) {
        self.by_hash.insert(plan.hash(), Arc::clone(plan));
        self.by_listener.insert(listener.to_owned(), Arc::clone(plan));
    }

    /// The plan that a record names, else the one that its listener has now.
    fn find(&self, facets: &Facets<'_>) -> Option<&Plan> {
        let now = || std::str::from_utf8(facets.listener).ok().and_then(|listener| self.by_listener.get(listener));
        self.by_hash.get(&facets.plan).or_else(now).map(Arc::as_ref)
    }
}

/// Reads the journal for one lane.
#[derive(Debug)]
pub(super) struct Supply {
    tail: Arc<Tail>,
    plans: Arc<Plans>,
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
    pub fn new(tail: Arc<Tail>, plans: Arc<Plans>, reader: Reader) -> Supply {
        Supply { tail, plans, lagging: Some(Box::new(Lagging { reader, scratch: Scratch::default() })) }
    }

    /// Messages from a number on, in order and without a gap; none at the end of the journal.
    pub async fn from(&mut self, seq: u64, messages_max: usize) -> Result<Vec<Next>, Error> {
        let live = self.tail.from(seq, messages_max);
        if !live.is_empty() {
            return Ok(live.into_iter().map(Next::Message).collect());
        }
        let Some(mut lagging) = self.lagging.take() else { return Ok(Vec::new()) };
        let plans = Arc::clone(&self.plans);
        let limits = Limits { records_max: LIMITS.records_max.min(messages_max), ..LIMITS };
        let read = tokio::task::spawn_blocking(move || {
            let found = lagging.read(&plans, seq, limits);
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
    fn read(&mut self, plans: &Plans, seq: u64, limits: Limits) -> Result<Vec<Next>, Error> {
        let items = match self.reader.read(seq, limits) {
            // A cursor that lost its tail, or that of a route that was away for long: what is gone is told, and what is there goes on.
            Err(Error::Pruned { asked, first }) => return Ok(vec![Next::Damaged(asked, first - 1)]),
            items => items?,
        };
        let next = items.into_iter().map(|item| match item {
            Item::Damaged(seqs) => Next::Damaged(*seqs.start(), *seqs.end()),
            Item::Record(seq, record) => Next::Message(Arc::new(again(seq, record, plans, &mut self.scratch))),
        });
        Ok(next.collect())
    }
}

/// Translates a record again, as it was translated when it came.
pub(super) fn again(seq: u64, record: Record, plans: &Plans, scratch: &mut Scratch) -> Live {
    let mut live = Live { seq, ..Live::default() };
    match Facets::decode(&record.facets) {
        None => live.failure = Some("its facets were written by another version".into()),
        Some(facets) => match facets.outcome {
            Outcome::Received | Outcome::Translated | Outcome::Untranslated => {
                translate(&mut live, &facets, &record.raw, plans, scratch)
            }
            Outcome::Rejected => live.failure = Some("its type, processing id or version is not taken here".into()),
            Outcome::Refused => live.failure = Some("its control id is that of an earlier message".into()),
            Outcome::Unreadable => live.failure = Some("no MSH could be read".into()),
            Outcome::Ignored => {}
        },
    }
    live.facets = record.facets;
    live.raw = record.raw.into();
    live
}

fn translate(live: &mut Live, facets: &Facets<'_>, raw: &[u8], plans: &Plans, scratch: &mut Scratch) {
    let Some(plan) = plans.find(facets) else {
        live.failure = Some("its listener is no longer configured, so no mappings are known for it".into());
        return;
    };
    let received = jiff::Timestamp::from_millisecond(facets.received_ms).map(|time| time.to_string());
    match plan.translate(raw, &Context { received_at: received.as_deref().ok() }, scratch) {
        Ok(()) if facets.outcome == Outcome::Untranslated => {
            live.failure = Some("could not be translated when it came; the present mappings can".into());
        }
        Ok(()) => {
            live.bundle = scratch.bundle().to_vec();
            live.entries = scratch.entries().to_vec();
        }
        Err(failure) => live.failure = Some(failure.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_translated_says_why() {
        let (mut plans, mut scratch) = (Plans::default(), Scratch::default());
        plans.add("adt", &Arc::new(Plan::embedded()));
        let mut why = |outcome| {
            let mut facets = Vec::new();
            Facets { outcome, listener: b"adt", ..Facets::default() }.encode(&mut facets);
            again(1, Record { facets, raw: b"no message".to_vec(), ..Record::default() }, &plans, &mut scratch).failure
        };
        assert!(
            why(Outcome::Untranslated).is_some()
                && why(Outcome::Rejected).is_some()
                && why(Outcome::Unreadable).is_some()
        );
        assert_eq!(why(Outcome::Ignored), None);
    }
}
