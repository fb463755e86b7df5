//! Keeps the index up while the gateway runs, out of its way.
//!
//! It works in slices and pauses after each: as long as the slice took while the journal is calm, twenty times as long while it grows fast. Under load it falls behind
//! on purpose, by a few percent of one processor at most, and comes on afterwards.
use super::{Error, Index};
use crate::journal::{Limits, Reader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records taken in at once.
const SLICE: Limits = Limits { records_max: 128, bytes_max: 1 << 20 };
/// Entries removed at once.
const PRUNED: usize = 500;
/// Between looks at a journal that does not grow.
const IDLE: Duration = Duration::from_millis(500);
/// After an error, which may be a full disk.
const TROUBLE: Duration = Duration::from_secs(10);
/// Between looks at what the journal has let go.
const PRUNE: Duration = Duration::from_secs(60);
/// A journal that grows by more records a second is busy.
const BUSY: f64 = 2000.0;
/// Everything else of the gateway goes first where there is too little of the processor.
const NICE: i32 = 10;
/// The pause after a slice, in times that it took.
const PAUSE_CALM: u32 = 1;
const PAUSE_BUSY: u32 = 20;

/// The thread that follows. Dropping it stops it.
#[derive(Debug)]
pub struct Follower {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the journal of a data directory through `reader`.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(data: &Path, reader: Reader) -> std::io::Result<Follower> {
        let (stop, stopped) = mpsc::channel();
        let head = reader.head();
        let work = Work { data: data.to_owned(), reader, index: None, pruned: None, seen: (Instant::now(), head) };
        let thread = std::thread::Builder::new().name("search".into()).spawn(move || work.run(&stopped))?;
        Ok(Follower { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the search index is not followed any more: its thread panicked");
        }
    }
}

struct Work {
    data: PathBuf,
    reader: Reader,
    index: Option<Index>,
    pruned: Option<Instant>,
    /// When the head was last looked at, and where it was.
    seen: (Instant, u64),
}

impl Work {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        // Of this thread only; where it is not allowed it works beside the others as before.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut told = false;
        loop {
            let started = Instant::now();
            let worked = self.slice();
            let took = started.elapsed();
            let pause = match worked {
                Ok(0) => IDLE,
                Ok(_) => took * if self.is_busy() { PAUSE_BUSY } else { PAUSE_CALM },
                Err(ref error) => {
                    // Once: it may stay so for long, and nothing of the gateway's work depends on it.
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the search index is not kept up: {error}");
                    }
                    self.index = None;
                    TROUBLE
                }
            };
            told &= worked.is_err();
            if !matches!(stopped.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }

    /// A little work; 0 when there is nothing to do.
    fn slice(&mut self) -> Result<u64, Error> {
        let mut index = match self.index.take() {
            Some(index) => index,
            None => {
                let mut index = Index::open(&self.data)?;
                index.check_against(&mut self.reader)?;
                index
            }
        };
        match self.step(&mut index) {
            Err(error) if error.is_damage() => {
                tracing::warn!("made anew from the journal: {error}");
                index.discard()?;
                Ok(1)
            }
            done => {
                self.index = Some(index);
                done
            }
        }
    }

    fn step(&mut self, index: &mut Index) -> Result<u64, Error> {
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
            let removed = index.prune(self.reader.first()?, PRUNED)?;
            if removed > 0 {
                return Ok(removed as u64);
            }
            self.pruned = Some(Instant::now());
        }
        index.follow(&mut self.reader, SLICE)
    }

    /// Whether the journal grows fast.
    fn is_busy(&mut self) -> bool {
        let (now, head) = (Instant::now(), self.reader.head());
        let seconds = now.duration_since(self.seen.0).as_secs_f64();
        let grown = (head - self.seen.1.min(head)) as f64;
        self.seen = (now, head);
        grown > BUSY * seconds
    }
}
