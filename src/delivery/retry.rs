//! When a failed delivery is tried again.
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How a route tries again. That the endpoint itself fails counts neither as an attempt nor towards the age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// Attempts before a message is given up; 0 for any number.
    pub attempts: u32,
    /// Time after the first attempt before a message is given up.
    pub age: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
            attempts: 0,
            age: Duration::from_secs(72 * 3600),
        }
    }
}

impl Retry {
    /// The pause after so many failed attempts (from 1): between half and all of the exponential one, so that routes that failed together do not come back
    /// together; or as long as the receiver asks, within the longest pause.
    pub fn pause(&self, failed: u32, asked: Option<Duration>) -> Duration {
        let full = self
            .first
            .saturating_mul(1u32.checked_shl(failed.saturating_sub(1).min(31)).unwrap_or(u32::MAX))
            .min(self.max);
        let share = (RandomState::new().hash_one(failed) % 1024) as u32;
        let jittered = full / 2 + full / 2 * share / 1024;
        asked.map_or(jittered, |asked| asked.max(jittered).min(self.max.max(jittered)))
    }

    /// Whether a message is to be given up.
    pub fn is_spent(&self, failed: u32, since_first: Duration) -> bool {
        (self.attempts > 0 && failed >= self.attempts) || since_first >= self.age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry { max: Duration::from_secs(10), ..Retry::default() };
        for (failed, full) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10), (u32::MAX, 10)] {
            let (pause, full) = (retry.pause(failed, None), Duration::from_secs(full));
            assert!(pause >= full / 2 && pause <= full, "{failed}: {pause:?}");
        }
        assert_eq!(retry.pause(1, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(retry.pause(1, Some(Duration::from_secs(700))), Duration::from_secs(10));
    }

    #[test]
    fn attempts_and_age_end_it() {
        let retry = Retry { attempts: 3, ..Retry::default() };
        assert!(!retry.is_spent(2, Duration::ZERO) && retry.is_spent(3, Duration::ZERO));
        assert!(
            !Retry::default().is_spent(1_000_000, Duration::ZERO)
                && Retry::default().is_spent(1, Duration::from_secs(72 * 3600))
        );
    }
}
