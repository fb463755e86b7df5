//! The thread that follows the journal.
use super::{READER, Shared};
use crate::coordination::work::{self, Work, telling};
use crate::journal::{self, Reader, State, Step};
use crate::privacy::audit;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Between looks at a journal that does not grow.
const IDLE: Duration = Duration::from_millis(20);
/// After an error, which may be a full disk.
const TROUBLE: Duration = Duration::from_secs(5);
/// Between looks at what is kept too long.
const FORGET: Duration = Duration::from_secs(600);
/// So much is forgotten at once of each table: where it was as much there is more.
const FORGOTTEN_MAX: usize = 10_000;
/// Between notes of how far the journal is not needed any more.
const NOTE: Duration = Duration::from_secs(120);

/// Why the journal is not followed.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// What comes of messages.
    #[error(transparent)]
    Work(#[from] work::Error),
    /// Its database.
    #[error("coordination.sqlite in the data directory: {0}")]
    Database(#[from] rusqlite::Error),
    /// How far it has come.
    #[error(transparent)]
    State(#[from] journal::Error),
    /// The audit.
    #[error("the audit cannot be written, and nothing is told to anybody: {0}")]
    Audit(#[from] audit::Error),
}

/// Follows until the other end of `stopped` is gone.
pub(super) fn run(
    (mut work, mut reader): (Work, Reader),
    shared: &Shared,
    state: &State,
    stopped: &mpsc::Receiver<()>,
) {
    let mut told = None;
    let (mut forgot, mut noted): (Option<Instant>, Option<Instant>) = (None, None);
    // What was withheld before the end of the process before.
    let mut unaudited = true;
    let due = |at: Option<Instant>, pause| at.is_none_or(|at: Instant| at.elapsed() >= pause);
    loop {
        let pause = match round(&mut work, &mut reader, shared, &mut unaudited) {
            Ok(more) => {
                told = None;
                if more { Duration::ZERO } else { IDLE }
            }
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
        if due(forgot, FORGET) {
            forgot = Some(Instant::now());
            match forget(&work, shared) {
                Ok(count) if count >= FORGOTTEN_MAX => forgot = None,
                Ok(_) => {}
                Err(error) => tracing::warn!("old notifications are still kept: {error}"),
            }
        }
        if due(noted, NOTE) {
            noted = Some(Instant::now());
            if let Err(error) = note(&work, state) {
                tracing::warn!("the journal is kept longer than it is needed: {error}");
            }
        }
        if !matches!(stopped.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// One batch; whether there may be more.
fn round(work: &mut Work, reader: &mut Reader, shared: &Shared, unaudited: &mut bool) -> Result<bool, Error> {
    let mut done = work.step(reader)?;
    let more = done.taken > 0;
    if !more {
        // Only at the end of the journal: what is still to be read was received before now.
        done = work.advance(jiff::Timestamp::now().as_millisecond())?;
    }
    let first = !more && !shared.caught_up.swap(true, Ordering::AcqRel);
    // Most messages concern nobody who has a subscription.
    if done.told + done.said > 0 || first {
        shared.wake();
    }
    // Whatever becomes of the attempt.
    *unaudited |= done.told > 0;
    if *unaudited {
        *unaudited = audit(work, shared)?;
    }
    Ok(more || done.taken > 0)
}

/// Puts what was withheld into the audit; whether something is left.
fn audit(work: &Work, shared: &Shared) -> Result<bool, Error> {
    let connection = work.store().connection();
    let withheld = telling::unaudited(connection)?;
    let Some(last) = withheld.last().map(|(number, _)| *number) else { return Ok(false) };
    let entries: Vec<_> = withheld.iter().map(|(_, withheld)| withheld.entry()).collect();
    shared.audit(&entries)?;
    telling::audited(connection, last)?;
    Ok(withheld.len() == telling::WITHHELD_MAX)
}

/// Lets go of the journal what has been taken for good: after a power cut the database may stand before what was written last.
fn note(work: &Work, state: &State) -> Result<(), Error> {
    let Some(place) = work.store().place().map_err(work::Error::from)? else { return Ok(()) };
    let busy: i64 = work.store().connection().query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get(0))?;
    if busy == 0 {
        let step = Step { cursor: place.next, ahead: place.next, ..Step::default() };
        state.advance(READER, &step)?;
    }
    Ok(())
}

fn forget(work: &Work, shared: &Shared) -> rusqlite::Result<usize> {
    let keep_ms = i64::try_from(shared.options.subscriptions.keep.as_millis()).unwrap_or(i64::MAX);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    work::forget(work.store().connection(), now_ms.saturating_sub(keep_ms))
}
