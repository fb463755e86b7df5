//! How often somebody is told. Knows no clock: the present comes in.
use std::collections::VecDeque;
use std::time::Duration;

/// Failures make it wait, longer and longer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Failures in a row, and when the next attempt may be made.
    failed: u32,
    again_ms: i64,
    /// What was sent within the last hour, where that counts.
    sent_ms: VecDeque<i64>,
}

const PAUSE_MAX: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

impl Pace {
    /// Whether an attempt may be made.
    pub fn may(&self, now_ms: i64) -> bool {
        now_ms >= self.again_ms
    }

    /// The pause after an attempt that failed.
    pub fn failed(&mut self, now_ms: i64) -> Duration {
        self.failed = self.failed.saturating_add(1);
        let pause = Duration::from_secs(1 << self.failed.min(10)).min(PAUSE_MAX);
        self.again_ms = now_ms + super::rules::millis(pause);
        pause
    }

    pub fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// A mail went out. Each of the last hour makes the next one wait `pause` longer: the first goes at once, and with 15 s no hour has more than some twenty, however
    /// often something changes.
    pub fn mailed(&mut self, pause: Duration, now_ms: i64) {
        self.failed = 0;
        self.sent_ms.retain(|sent_ms| now_ms - sent_ms < HOUR_MS);
        self.sent_ms.push_back(now_ms);
        self.again_ms = now_ms + super::rules::millis(pause).saturating_mul(self.sent_ms.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let mut pace = Pace::default();
        assert!(pace.may(0));
        let pauses: Vec<u64> = (0..10).map(|_| pace.failed(0).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(!pace.may(299_999) && pace.may(300_000));
        pace.succeeded();
        assert_eq!(pace.failed(0).as_secs(), 2);
    }

    #[test]
    fn mails_never_come_in_storms() {
        let mut pace = Pace::default();
        let (mut sent, pause) = (Vec::new(), Duration::from_secs(15));
        // Something changes with every look, all day.
        for now_ms in (0..86_400_000).step_by(10_000) {
            if pace.may(now_ms) {
                pace.mailed(pause, now_ms);
                sent.push(now_ms);
            }
        }
        assert_eq!(sent[..4], [0, 20_000, 50_000, 100_000]);
        let most = sent.iter().map(|from| sent.iter().filter(|at| (*from..from + HOUR_MS).contains(at)).count()).max();
        assert!(most.unwrap() <= 23, "{most:?} in an hour");
        assert!(sent.len() > 24 * 10, "and none is kept back for ever: {}", sent.len());
        let quiet = 2 * 86_400_000;
        pace.mailed(pause, quiet);
        assert!(pace.may(quiet + 15_000), "after a quiet hour they come at once again");
    }
}
