//! How a measurement goes while it goes: looked at ten times a second, less often in a long one.
use super::gateway::Process;
use super::sink::Sinks;
use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What stood where at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since measuring began; below 0 in the warm-up.
    pub seconds: f64,
    /// Messages acknowledged until then.
    pub acknowledged: u64,
    /// Deliveries that had arrived until then.
    pub delivered: u64,
    /// Memory of the gateway.
    pub memory_bytes: u64,
}

/// Between two samples, at least.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Samples of the load; a chart has no room for more.
const SAMPLES: u32 = 300;

/// Samples of a run that is under load for so long, of which `begin` is the second zero.
pub(super) struct Sampler<'a> {
    pub process: &'a Process,
    pub sinks: &'a Sinks,
    pub acknowledged: &'a AtomicU64,
    pub begin: Instant,
    pub load: Duration,
}

impl Sampler<'_> {
    /// Looks again and again; whoever has measured enough drops it.
    pub async fn run(self, samples: &RefCell<Vec<Sample>>) -> Infallible {
        let mut ticks = tokio::time::interval((self.load / SAMPLES).max(PAUSE_MIN));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let sample = self.look();
            samples.borrow_mut().push(sample);
        }
    }

    fn look(&self) -> Sample {
        let before = self.begin.saturating_duration_since(Instant::now()).as_secs_f64();
        Sample {
            seconds: self.begin.elapsed().as_secs_f64() - before,
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            delivered: self.sinks.count(),
            memory_bytes: self.process.memory_bytes(),
        }
    }
}
