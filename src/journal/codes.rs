//! Takes notice of codes that no table has, out of the way of the messages: a queue and a thread that writes it to the state.
//!
//! A message without such a code never comes here. What is in the queue when the process is killed is lost, as is what finds the queue full: the code comes again
//! with the next message that has it.
use super::State;
use super::state::CodeNotice;
use crate::telemetry::telemetry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Notices that wait to be written.
const QUEUE_MAX: usize = 4096;
/// Notices that are written at once.
const BATCH_MAX: usize = 512;

/// Where notices go. Dropping it writes what is queued.
#[derive(Debug)]
pub struct Codes {
    queue: Option<SyncSender<CodeNotice>>,
    thread: Option<JoinHandle<()>>,
    told_full: AtomicBool,
}

impl Codes {
    /// Writes to `state`.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(state: Arc<State>) -> std::io::Result<Codes> {
        let (queue, notices) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("codes".into()).spawn(move || run(&state, &notices))?;
        Ok(Codes { queue: Some(queue), thread: Some(thread), told_full: AtomicBool::new(false) })
    }

    /// Takes notice; never waits.
    pub fn note(&self, notice: CodeNotice) {
        let (listener, count) = (notice.listener.clone(), notice.codes.len() as u64);
        let noted = self.queue.as_ref().is_some_and(|queue| queue.try_send(notice).is_ok());
        telemetry().unmapped_codes(&listener, noted, count);
        if !noted && !self.told_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "unmapped codes come faster than they can be written down: some are only counted; told once"
            );
        }
    }
}

impl Drop for Codes {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("unmapped codes were not all written down: their thread panicked");
        }
    }
}

fn run(state: &State, notices: &Receiver<CodeNotice>) {
    let mut told_full = false;
    while let Ok(first) = notices.recv() {
        let mut batch = vec![first];
        batch.extend(notices.try_iter().take(BATCH_MAX - 1));
        match state.note_codes(&batch) {
            Ok(0) => {}
            Ok(_) if told_full => {}
            Ok(_) => {
                told_full = true;
                tracing::warn!(
                    "there are as many unmapped codes as are kept: settle some (`handoff codes list`), new ones are not kept; told once"
                );
            }
            Err(error) => tracing::error!(count = batch.len(), "unmapped codes were not all written down: {error}"),
        }
    }
}
