//! What was counted a while ago: one count that only grows, looked at again and again.
use std::collections::VecDeque;
use std::time::Duration;

/// The counts of a span of time, as far as it has been seen.
#[derive(Debug)]
pub(super) struct Window<T> {
    span_ms: i64,
    /// The first is the newest that is at least as old as the span, or the oldest there is.
    samples: VecDeque<(i64, T)>,
}

/// So finely a span is divided, however often it is looked at.
const SAMPLES_MAX: i64 = 60;

impl<T: Copy + Default> Window<T> {
    /// Nothing has been counted until `now_ms`.
    pub fn new(span: Duration, now_ms: i64) -> Window<T> {
        Window { span_ms: super::rules::millis(span), samples: VecDeque::from([(now_ms, T::default())]) }
    }

    /// The count when the span began, and whether the whole span has been seen; `count` is that of now.
    pub fn since(&mut self, now_ms: i64, count: T) -> (T, bool) {
        let is_new = self.samples.back().is_none_or(|(at, _)| now_ms - at >= self.span_ms / SAMPLES_MAX);
        if is_new {
            self.samples.push_back((now_ms, count));
        }
        while self.samples.get(1).is_some_and(|(at, _)| now_ms - at >= self.span_ms) {
            self.samples.pop_front();
        }
        self.samples.front().map_or((count, false), |(at, count)| (*count, now_ms - at >= self.span_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_seen_once_it_has_passed_and_takes_no_more_than_its_samples() {
        let mut window = Window::new(Duration::from_secs(60), 0);
        assert_eq!(window.since(10_000, 5_u64), (0, false));
        assert_eq!(window.since(59_999, 6), (0, false));
        assert_eq!(window.since(60_000, 7), (0, true));
        assert_eq!(window.since(70_000, 8), (5, true));
        assert_eq!(window.since(119_999, 9), (6, true));
        assert_eq!(window.since(500_000, 9), (9, true), "nobody looked for longer than the span");
        for now in 0..1_000_000_i64 {
            window.since(500_000 + now, 9);
        }
        assert!(window.samples.len() as i64 <= SAMPLES_MAX + 2, "{}", window.samples.len());
    }
}
