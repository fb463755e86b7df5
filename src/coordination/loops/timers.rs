//! When something has to be done about which step.
//!
//! Sorted by time, loop and step, so that what is due at one moment is done in one order. A timer that is not needed any more is taken out at once: what is here is
//! what stands in the database, no more and no less, and a restart reads the same.
use std::collections::BTreeSet;

/// Steps of a loop; a definition with more is refused.
pub const STEPS_MAX: usize = 32;

/// A timer: when (milliseconds since 1970, UTC), the number of the loop, the place of the step in it.
pub type Timer = (i64, i64, u8);

/// All of them.
#[derive(Debug, Default, PartialEq)]
pub struct Timers {
    sorted: BTreeSet<Timer>,
}

impl Timers {
    /// The first one before a moment.
    pub fn before(&self, to_ms: i64) -> Option<Timer> {
        self.sorted.first().copied().filter(|timer| timer.0 < to_ms)
    }

    /// Sets the timer of a step anew.
    pub fn change(&mut self, number: i64, place: u8, from: Option<i64>, to: Option<i64>) {
        if from == to {
            return;
        }
        if let Some(at) = from {
            self.sorted.remove(&(at, number, place));
        }
        if let Some(at) = to {
            self.sorted.insert((at, number, place));
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, timer: &Timer) {
        self.sorted.remove(timer);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }
}

impl FromIterator<Timer> for Timers {
    fn from_iter<I: IntoIterator<Item = Timer>>(timers: I) -> Timers {
        Timers { sorted: timers.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_first_and_those_of_one_moment_by_number() {
        let mut timers: Timers = [(20, 1, 0), (10, 2, 1), (10, 2, 0), (10, 1, 3)].into_iter().collect();
        timers.change(3, 0, None, Some(5));
        timers.change(1, 0, Some(20), Some(30));
        timers.change(2, 1, Some(10), None);
        let mut seen = Vec::new();
        while let Some(timer) = timers.before(30) {
            timers.remove(&timer);
            seen.push(timer);
        }
        assert_eq!(seen, [(5, 3, 0), (10, 1, 3), (10, 2, 0)], "the one at 30 is not before 30");
        assert_eq!(timers.count(), 1);
    }

    /// `cargo test --release --lib timers::tests::measure -- --ignored --nocapture`
    #[test]
    #[ignore = "a measure"]
    fn measure() {
        const STEPS: i64 = 5_000_000;
        let mut timers = Timers::default();
        let started = std::time::Instant::now();
        for number in 0..STEPS {
            // Half end with a date, half at a time of their own.
            let at = if number % 2 == 0 { (number % 60) * 86_400_000 } else { (number * 7_919) % 5_184_000_000 };
            timers.change(number, 0, None, Some(at));
        }
        let inserted = started.elapsed();
        let started = std::time::Instant::now();
        while let Some(timer) = timers.before(i64::MAX) {
            timers.remove(&timer);
        }
        let per = |time: std::time::Duration| time.as_nanos() / STEPS.unsigned_abs() as u128;
        println!("insert {} ns, expire {} ns a step", per(inserted), per(started.elapsed()));
        assert_eq!(timers.count(), 0);
    }
}
