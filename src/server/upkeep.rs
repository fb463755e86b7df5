//! What the journal need not keep goes, every now and then.
use crate::journal::{self, Journal, Pruned, Retention, State};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// What is kept, and for whom.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub retention: Retention,
    /// Readers whose cursors hold the journal back.
    pub readers: Vec<String>,
}

/// Between looks.
const PAUSE: Duration = Duration::from_secs(600);

/// Removes from the journal what is older, or more, than it is to keep, and what every route has passed. Runs until it is stopped.
pub(super) async fn run(journal: Arc<Journal>, state: Arc<State>, kept: Arc<ArcSwap<Kept>>) {
    loop {
        let (here, state, kept) = (Arc::clone(&journal), Arc::clone(&state), kept.load_full());
        let pruned = tokio::task::spawn_blocking(move || {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let Kept { retention, readers } = &*kept;
            let Pruned { removed, keep, wanted } = journal::retain(&here, &state, readers, retention, now_ms, false)?;
            if wanted < keep {
                tracing::warn!(
                    keep,
                    wanted,
                    "the journal is kept beyond its retention: a route or a dead letter still needs it"
                );
            }
            Ok::<u64, journal::Error>(removed)
        });
        match pruned.await {
            Ok(Ok(0)) => {}
            Ok(Ok(records)) => tracing::info!(records, "removed from the journal: past its retention"),
            Ok(Err(error)) => tracing::error!("nothing is removed from the journal: {error}"),
            Err(error) => tracing::error!("nothing is removed from the journal: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
