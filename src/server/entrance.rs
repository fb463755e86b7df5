//! What a listener does with what comes in, whatever it speaks: takes it as the listener is configured at that moment, and counts it.
use crate::intake::{Answer, Intake, Peer, Source};
use arc_swap::ArcSwap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The way from a listener to the intake; cheap to clone.
#[derive(Debug, Clone)]
pub struct Entrance {
    intake: Arc<Intake>,
    source: Arc<ArcSwap<Source>>,
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    received: AtomicU64,
    last_ms: AtomicI64,
}

impl Entrance {
    /// One for a listener.
    pub fn new(intake: Arc<Intake>, source: Source) -> Entrance {
        Entrance { intake, source: Arc::new(ArcSwap::from_pointee(source)), count: Arc::default() }
    }

    /// From the next message on the listener is this one.
    pub fn change(&self, source: Source) {
        self.source.store(Arc::new(source));
    }

    /// Takes a frame that holds a message or a batch; the answer is to come once the journal has room for it.
    pub async fn accept_frame(&self, raw: Vec<u8>, peer: &Peer) -> impl Future<Output = Answer> + Send + use<> {
        let source = self.source.load_full();
        let answer = self.intake.accept_frame(raw, &source, peer).await;
        self.counted(answer)
    }

    /// Takes one message.
    pub async fn accept(&self, raw: Vec<u8>, peer: &Peer) -> impl Future<Output = Answer> + Send + use<> {
        let source = self.source.load_full();
        let answer = self.intake.accept(raw, &source, peer).await;
        self.counted(answer)
    }

    /// What answers a file: a batch where it is one, else its acknowledgements one after the other.
    pub fn answer_file(&self, raw: &[u8], acknowledgements: &[Vec<u8>]) -> Vec<u8> {
        self.intake.answer_file(raw, acknowledgements)
    }

    fn counted<A>(&self, answer: A) -> impl Future<Output = Answer> + Send + use<A>
    where
        A: Future<Output = Answer> + Send,
    {
        let count = Arc::clone(&self.count);
        async move {
            let answer = answer.await;
            if !matches!(answer, Answer::NotStored { .. }) {
                count.received.fetch_add(1, Ordering::Relaxed);
                count.last_ms.store(jiff::Timestamp::now().as_millisecond(), Ordering::Relaxed);
            }
            answer
        }
    }

    /// Frames taken since the start, and when the last of them was, in milliseconds since 1970.
    pub fn received(&self) -> (u64, Option<i64>) {
        let last_ms = Some(self.count.last_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0);
        (self.count.received.load(Ordering::Relaxed), last_ms)
    }
}
