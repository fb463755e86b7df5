//! A histogram whose buckets double. Observing is three atomic additions: no lock, no search, no allocation, so that it may stand in the way of every message.
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: the upper bounds are `unit × 2^n` for n below this, then infinity.
const BUCKETS: usize = 24;

/// Counts whole numbers of a unit. Clones share their counts.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// What one is worth where it is shown, such as 16 millionths of a second.
    unit: f64,
    /// How many of what is observed make one.
    divisor: u64,
    buckets: [AtomicU64; BUCKETS + 1],
    sum: AtomicU64,
}

/// The smallest bound of times: 16 µs; the largest is 134 s.
const FIRST_MICROSECONDS: u64 = 16;

impl Histogram {
    /// For times, shown in seconds.
    pub fn of_times() -> Histogram {
        Histogram::new(FIRST_MICROSECONDS as f64 / 1e6, FIRST_MICROSECONDS)
    }

    /// For counts.
    pub fn of_counts() -> Histogram {
        Histogram::new(1.0, 1)
    }

    fn new(unit: f64, divisor: u64) -> Histogram {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram(Arc::new(Counts { unit, divisor, buckets, sum: AtomicU64::new(0) }))
    }

    /// Observes a time.
    pub fn time(&self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Observes a count.
    pub fn count(&self, value: u64) {
        // 0 and 1 unit → bucket 0, up to 2 → 1, up to 4 → 2: the bits of the last number below the bound.
        let units = value.div_ceil(self.0.divisor).saturating_sub(1);
        let bucket = (u64::BITS - units.leading_zeros()) as usize;
        if let Some(counter) = self.0.buckets.get(bucket.min(BUCKETS)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What has been observed so far.
    pub fn observed(&self) -> Observed {
        let count = |at: usize| self.0.buckets.get(at).map_or(0, |count| count.load(Ordering::Relaxed));
        Observed { unit: self.0.unit, buckets: std::array::from_fn(count) }
    }
}

/// What a histogram had observed at a moment: so many in each bucket.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observed {
    unit: f64,
    buckets: [u64; BUCKETS + 1],
}

impl Observed {
    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What was observed after a moment before.
    pub fn since(&self, before: &Observed) -> Observed {
        let buckets = std::array::from_fn(|at| {
            let then = before.buckets.get(at).copied().unwrap_or(0);
            self.buckets.get(at).map_or(0, |now| now.saturating_sub(then))
        });
        Observed { unit: self.unit, buckets }
    }

    /// The value below which that share lies (0 to 1), in seconds for times; as Prometheus' `histogram_quantile` has it, so that an alert and a dashboard agree: values
    /// lie evenly within their bucket, and none is above the last bound. None where nothing was observed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let mut below = 0_u64;
        for (at, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            if (below + count) as f64 >= rank {
                let lower = if at == 0 { 0.0 } else { bound(self.unit, at - 1) };
                let upper = bound(self.unit, at.min(BUCKETS - 1));
                return Some(lower + (upper - lower) * (rank - below as f64) / *count as f64);
            }
            below += count;
        }
        None
    }
}

/// The upper bound of a bucket that is not the last.
fn bound(unit: f64, at: usize) -> f64 {
    unit * (1_u64 << at) as f64
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let observed = self.observed();
        let bound = |at: usize| if at == BUCKETS { f64::INFINITY } else { bound(self.0.unit, at) };
        let buckets: Vec<(f64, u64)> =
            observed.buckets.iter().enumerate().map(|(at, count)| (bound(at), *count)).collect();
        let count = observed.count();
        let sum = self.0.sum.load(Ordering::Relaxed) as f64 * self.0.unit / self.0.divisor as f64;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl prometheus_client::metrics::TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    fn shown(histogram: &Histogram) -> String {
        let mut registry = Registry::default();
        registry.register("h", "Help", histogram.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn each_value_lies_in_the_first_bucket_whose_bound_it_does_not_pass() {
        // The slow twin: the bounds one after the other.
        for value in (0..70).chain([127, 128, 129, 1 << 23, (1 << 23) + 1, u64::MAX >> 1]) {
            let histogram = Histogram::of_counts();
            histogram.count(value);
            let expected = (0..BUCKETS).find(|at| value <= 1 << at).unwrap_or(BUCKETS);
            let found = histogram.0.buckets.iter().position(|count| count.load(Ordering::Relaxed) == 1);
            assert_eq!(found, Some(expected), "{value}");
        }
    }

    #[test]
    fn quantiles_lie_in_the_bucket_of_the_value_and_count_what_came_since() {
        let histogram = Histogram::of_times();
        assert_eq!(histogram.observed().quantile(0.99), None);
        for _ in 0..1000 {
            histogram.time(Duration::from_secs(100));
        }
        let before = histogram.observed();
        // The slow twin: the values themselves, in their order.
        let mut values: Vec<u64> = (0..200).map(|number| 20 + number * number * 7).collect();
        values.iter().for_each(|value| histogram.time(Duration::from_micros(*value)));
        values.sort_unstable();
        let since = histogram.observed().since(&before);
        assert_eq!(since.count(), 200);
        for share in [0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(share * 200.0) as usize - 1] as f64 / 1e6;
            let found = since.quantile(share).unwrap();
            assert!(found >= exact / 2.0 && found <= exact * 2.0, "{share}: {found} for {exact}");
        }
        // Half of 16 values up to 16 µs: the middle of the first bucket.
        let histogram = Histogram::of_times();
        (0..16).for_each(|_| histogram.time(Duration::from_micros(3)));
        assert!((histogram.observed().quantile(0.5).unwrap() - 8e-6).abs() < 1e-12);
        histogram.time(Duration::from_secs(1000));
        let last = histogram.observed().quantile(1.0).unwrap();
        assert!((last - 134.217_728).abs() < 1e-6, "no value is above the last bound: {last}");
    }

    #[test]
    fn times_are_shown_in_seconds_and_buckets_add_up() {
        let histogram = Histogram::of_times();
        for microseconds in [1, 16, 17, 1_000_000, 400_000_000] {
            histogram.time(Duration::from_micros(microseconds));
        }
        let text = shown(&histogram);
        for line in ["h_bucket{le=\"0.000016\"} 2", "h_bucket{le=\"0.000032\"} 3", "h_bucket{le=\"1.048576\"} 4"] {
            assert!(text.contains(line), "{line} not in {text}");
        }
        assert!(text.contains("h_bucket{le=\"+Inf\"} 5") && text.contains("h_count 5"), "{text}");
        assert!(text.contains("h_sum 401.00003"), "{text}");
    }
}
