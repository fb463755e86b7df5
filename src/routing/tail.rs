//! The newest messages as they were translated, within a limit of bytes.
use crate::facets::{Facets, uuid_text};
use crate::fhir::bundle::Entry;
use crate::telemetry::{TailMeter, telemetry};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// A message that a route may deliver.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Its number in the journal.
    pub seq: u64,
    /// Its facets, encoded.
    pub facets: Vec<u8>,
    /// The message as it came.
    pub raw: Arc<[u8]>,
    /// The canonical Bundle; empty when there is none.
    pub bundle: Vec<u8>,
    /// The resources in it.
    pub entries: Vec<Entry>,
    /// Why there is no Bundle.
    pub failure: Option<String>,
    /// What a receiver is to know it by, where the message id would take it for what was made of the message when it came.
    pub other_id: Option<[u8; 16]>,
}

impl Live {
    /// The `Idempotency-Key` of its deliveries: the message id, or that of what has been made of the message otherwise since. None where the facets cannot be read.
    pub fn delivery_id(&self) -> Option<String> {
        let of_message = || Facets::decode(&self.facets).map(|facets| facets.message_id);
        self.other_id.or_else(of_message).map(|id| uuid_text(&id))
    }

    fn bytes(&self) -> usize {
        size_of::<Live>()
            + self.facets.len()
            + self.raw.len()
            + self.bundle.len()
            + self.entries.len() * size_of::<Entry>()
            + self.failure.as_ref().map_or(0, String::len)
    }
}

/// The newest messages, without a gap. Whoever asks for an older one must read the journal.
#[derive(Debug)]
pub struct Tail {
    bytes_max: usize,
    kept: Mutex<Kept>,
    meter: TailMeter,
}

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Arc<Live>>,
    bytes: usize,
}

impl Tail {
    /// A tail that holds about so many bytes.
    pub fn new(bytes_max: usize) -> Tail {
        Tail { bytes_max, kept: Mutex::default(), meter: telemetry().tail() }
    }

    /// Adds the newest message; after a gap the older ones are let go.
    pub fn push(&self, live: Live) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.messages.back().is_some_and(|last| last.seq + 1 != live.seq) {
            *kept = Kept::default();
        }
        kept.bytes += live.bytes();
        kept.messages.push_back(Arc::new(live));
        while kept.bytes > self.bytes_max
            && let Some(oldest) = kept.messages.pop_front()
        {
            kept.bytes -= oldest.bytes();
        }
    }

    /// Messages from a number on, at most so many; none when that number is not held.
    pub fn from(&self, seq: u64, messages_max: usize) -> Vec<Arc<Live>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept
            .messages
            .front()
            .and_then(|first| seq.checked_sub(first.seq))
            .and_then(|skip| usize::try_from(skip).ok());
        let found: Vec<_> =
            skip.map_or_else(Vec::new, |skip| kept.messages.iter().skip(skip).take(messages_max).cloned().collect());
        let counter = if found.is_empty() { &self.meter.misses } else { &self.meter.hits };
        counter.inc();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tail: &Tail, seq: u64, bytes: usize) {
        tail.push(Live { seq, bundle: vec![b'x'; bytes], ..Live::default() });
    }

    fn held(tail: &Tail, from: u64) -> Vec<u64> {
        tail.from(from, 3).iter().map(|live| live.seq).collect()
    }

    #[test]
    fn it_holds_the_newest_within_its_bytes() {
        let tail = Tail::new(3 * (size_of::<Live>() + 100));
        (5..=9).for_each(|seq| push(&tail, seq, 100));
        assert_eq!(
            (held(&tail, 6), held(&tail, 7), held(&tail, 9), held(&tail, 10)),
            (vec![], vec![7, 8, 9], vec![9], vec![])
        );
        push(&tail, 10, 1_000_000);
        assert!(held(&tail, 10).is_empty(), "one that is too large is not held");
        push(&tail, 11, 1);
        push(&tail, 13, 1);
        assert_eq!((held(&tail, 11), held(&tail, 13)), (vec![], vec![13]), "no gap");
    }
}
