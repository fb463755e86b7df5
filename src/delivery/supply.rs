//! What comes next in the journal: from the tail while a lane keeps up, else read and translated again.
use super::lane::Common;
use super::plans::Plans;
use crate::facets::{Facets, Outcome};
use crate::journal::{CodeNotice, Codes, Error, Item, Limits, Reader, Record};
use crate::mapping::{Context, Plan, Scratch};
use crate::routing::{Live, Tail};
use std::sync::Arc;
use tokio::task::JoinHandle;

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

/// Reads the journal for one lane. One that lags has the next messages read and translated while it delivers those before.
#[derive(Debug)]
pub(super) struct Supply {
    tail: Arc<Tail>,
    plans: Arc<Plans>,
    /// Whether Bundles are asked for: what comes from the journal is translated again only then.
    bundles: bool,
    /// `None` only while it works on another thread.
    lagging: Option<Box<Lagging>>,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Lagging {
    reader: Reader,
    codes: Arc<Codes>,
    scratch: Scratch,
}

/// The reader given back, and what it has read.
type Done = (Box<Lagging>, Result<Vec<Next>, Error>);

/// Messages from a number on that are being read.
#[derive(Debug)]
struct Begun {
    seq: u64,
    work: JoinHandle<Done>,
}

/// How much is read from the journal at once: a lagging lane needs memory for twice as many Bundles.
const LIMITS: Limits = Limits { records_max: 64, bytes_max: 1 << 20 };

impl Supply {
    pub fn new(common: &Common, bundles: bool) -> Supply {
        let (tail, plans) = (Arc::clone(&common.tail), Arc::clone(&common.plans));
        let (reader, codes) = (common.journal.reader(), Arc::clone(&common.codes));
        let lagging = Some(Box::new(Lagging { reader, codes, scratch: Scratch::default() }));
        Supply { tail, plans, bundles, lagging, begun: None }
    }

    /// Messages from a number on, in order and without a gap; none at the end of the journal.
    pub async fn from(&mut self, seq: u64, messages_max: usize) -> Result<Vec<Next>, Error> {
        let live = self.tail.from(seq, messages_max);
        if !live.is_empty() {
            return Ok(live.into_iter().map(Next::Message).collect());
        }
        let in_runs = messages_max >= LIMITS.records_max;
        let begun = match self.begun.take() {
            Some(begun) if begun.seq == seq && in_runs => Some(begun),
            Some(begun) => {
                let _ = self.finish(begun).await; // Of no use any more, but it has the reader.
                self.begin(seq, messages_max)
            }
            None => self.begin(seq, messages_max),
        };
        let Some(begun) = begun else { return Ok(Vec::new()) };
        let found = self.finish(begun).await?;
        let next = found.last().map_or(seq, Next::last) + 1;
        let there = self.lagging.as_ref().is_some_and(|lagging| lagging.reader.has(next));
        if in_runs && !found.is_empty() && there && self.tail.from(next, 1).is_empty() {
            self.begun = self.begin(next, messages_max);
        }
        Ok(found)
    }

    fn begin(&mut self, seq: u64, messages_max: usize) -> Option<Begun> {
        let mut lagging = self.lagging.take()?;
        let (plans, bundles) = (Arc::clone(&self.plans), self.bundles);
        let limits = Limits { records_max: LIMITS.records_max.min(messages_max), ..LIMITS };
        let work = tokio::task::spawn_blocking(move || {
            let found = lagging.read(&plans, bundles, seq, limits);
            (lagging, found)
        });
        Some(Begun { seq, work })
    }

    async fn finish(&mut self, begun: Begun) -> Result<Vec<Next>, Error> {
        match begun.work.await {
            Ok((lagging, found)) => {
                self.lagging = Some(lagging);
                found
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()), // Blocking work is never cancelled, so it panicked.
        }
    }
}

impl Lagging {
    fn read(&mut self, plans: &Plans, bundles: bool, seq: u64, limits: Limits) -> Result<Vec<Next>, Error> {
        let items = match self.reader.read(seq, limits) {
            // A cursor that lost its tail, or that of a route that was away for long: what is gone is told, and what is there goes on.
            Err(Error::Pruned { asked, first }) => return Ok(vec![Next::Damaged(asked, first - 1)]),
            items => items?,
        };
        let next = items.into_iter().map(|item| match item {
            Item::Damaged(seqs) => Next::Damaged(*seqs.start(), *seqs.end()),
            Item::Record(seq, record) => {
                let (live, plan) = again(seq, record, plans, bundles, &mut self.scratch);
                self.notice(&live, plan);
                Next::Message(Arc::new(live))
            }
        });
        Ok(next.collect())
    }

    /// A message that was kept untranslated is translated here first; what was translated when it came has been looked at then.
    fn notice(&self, live: &Live, plan: Option<Arc<Plan>>) {
        let Some(plan) = plan.filter(|_| !live.bundle.is_empty()) else { return };
        let facets = Facets::decode(&live.facets).filter(|facets| facets.outcome == Outcome::Received);
        let Some(facets) = facets else { return };
        let codes = plan.open_codes(&live.raw, &self.scratch);
        if !codes.is_empty() {
            let listener = String::from_utf8_lossy(facets.listener).into_owned();
            let (at_ms, feed) = (facets.received_ms, facets.feed_text());
            self.codes.note(CodeNotice { seq: live.seq, at_ms, listener, feed, codes });
        }
    }
}

/// Translates a record again, as it was translated when it came; one that is good only where its Bundle is asked for. With the plan that it was translated by.
pub(super) fn again(
    seq: u64,
    record: Record,
    plans: &Plans,
    bundles: bool,
    scratch: &mut Scratch,
) -> (Live, Option<Arc<Plan>>) {
    let (mut live, mut plan) = (Live { seq, ..Live::default() }, None);
    match Facets::decode(&record.facets) {
        None => live.failure = Some("its facets were written by another version".into()),
        Some(facets) => match facets.outcome {
            Outcome::Received | Outcome::Translated if !bundles => {}
            Outcome::Received | Outcome::Translated | Outcome::Untranslated => {
                plan = plans.find(&facets);
                translate(&mut live, &facets, &record.raw, plan.as_deref(), scratch);
            }
            Outcome::Rejected => live.failure = Some("its type, processing id or version is not taken here".into()),
            Outcome::Foreign => live.failure = Some("its sender's certificate may not send it".into()),
            Outcome::Refused => live.failure = Some("its control id is that of an earlier message".into()),
            Outcome::Unreadable => live.failure = Some("no MSH could be read".into()),
            Outcome::Ignored => {}
        },
    }
    live.facets = record.facets;
    live.raw = record.raw.into();
    (live, plan)
}

/// The Bundle of a record, as it was translated when it came; nothing where there is none.
pub fn translated(seq: u64, record: Record, plans: &Plans, scratch: &mut Scratch) -> Option<Vec<u8>> {
    let (live, _) = again(seq, record, plans, true, scratch);
    (live.failure.is_none() && !live.bundle.is_empty()).then_some(live.bundle)
}

fn translate(live: &mut Live, facets: &Facets<'_>, raw: &[u8], plan: Option<&Plan>, scratch: &mut Scratch) {
    let Some(plan) = plan else {
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
        let (plans, mut scratch) = (Plans::default(), Scratch::default());
        plans.replace(&[("adt".into(), Arc::new(crate::mapping::Plan::embedded()))]).unwrap();
        let mut why = |outcome| {
            let mut facets = Vec::new();
            Facets { outcome, listener: b"adt", ..Facets::default() }.encode(&mut facets);
            again(1, Record { facets, raw: b"no message".to_vec(), ..Record::default() }, &plans, true, &mut scratch)
                .0
                .failure
        };
        assert!(
            why(Outcome::Untranslated).is_some()
                && why(Outcome::Rejected).is_some()
                && why(Outcome::Unreadable).is_some()
        );
        assert_eq!(why(Outcome::Ignored), None);
    }
}
