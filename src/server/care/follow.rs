//! The thread that follows the journal.
use super::Shared;
use crate::coordination::work::{self, Work, telling};
use crate::journal::Reader;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between looks at a journal that does not grow.
const IDLE: Duration = Duration::from_millis(20);
/// After an error, which may be a full disk.
const TROUBLE: Duration = Duration::from_secs(5);
/// Between looks at what is kept too long.
const FORGET: Duration = Duration::from_secs(600);

/// Follows until the other end of `stopped` is gone.
pub(super) fn run(mut work: Work, mut reader: Reader, shared: &Shared, stopped: &mpsc::Receiver<()>) {
    let mut told = None;
    let mut forgot: Option<Instant> = None;
    // What was withheld before the end of the process before.
    let mut unaudited = true;
    loop {
        let pause = match round(&mut work, &mut reader, shared, &mut unaudited) {
            Ok(true) => Duration::ZERO,
            Ok(false) => IDLE,
            Err(error) => {
                let text = error.to_string();
                // Once: it may stay so for long.
                if told.as_ref() != Some(&text) {
                    tracing::error!("coordinated care does not follow the journal, and tries again: {text}");
                    told = Some(text);
                }
                TROUBLE
            }
        };
        if forgot.is_none_or(|at| at.elapsed() >= FORGET) {
            forgot = Some(Instant::now());
            if let Err(error) = forget(&work, shared) {
                tracing::warn!("old notifications are still kept: {error}");
            }
        }
        if !matches!(stopped.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// One batch; whether there may be more.
fn round(work: &mut Work, reader: &mut Reader, shared: &Shared, unaudited: &mut bool) -> Result<bool, work::Error> {
    let mut done = work.step(reader)?;
    let more = done.taken > 0;
    if !more {
        // Only at the end of the journal: what is still to be read was received before now.
        done = work.advance(jiff::Timestamp::now().as_millisecond())?;
    }
    let first = !more && !shared.caught_up.swap(true, Ordering::AcqRel);
    if done.taken > 0 || first {
        shared.wake();
    }
    if done.told > 0 || *unaudited {
        *unaudited = audit(work, shared)?;
    }
    Ok(more || done.taken > 0)
}

/// Puts what was withheld into the audit; whether something is left.
fn audit(work: &Work, shared: &Shared) -> Result<bool, work::Error> {
    let database = |error: rusqlite::Error| work::Error::Store(error.into());
    let connection = work.store().connection();
    let withheld = telling::unaudited(connection).map_err(database)?;
    let Some(last) = withheld.last().map(|(number, _)| *number) else { return Ok(false) };
    let entries: Vec<_> = withheld.iter().map(|(_, withheld)| withheld.entry()).collect();
    if let Err(error) = shared.audit(&entries) {
        tracing::error!("the audit cannot be written, nothing is told to anybody: {error}");
        return Ok(true);
    }
    telling::audited(connection, last).map_err(database)?;
    Ok(withheld.len() == telling::WITHHELD_MAX)
}

fn forget(work: &Work, shared: &Shared) -> rusqlite::Result<usize> {
    let keep_ms = i64::try_from(shared.options.subscriptions.keep.as_millis()).unwrap_or(i64::MAX);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    work::forget(work.store().connection(), now_ms.saturating_sub(keep_ms))
}
