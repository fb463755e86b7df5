//! Failed sign-ins as the audit tells of them: a line with the first of an address, the tenth, the hundredth; so that it is seen that somebody guesses, and that no flood of guesses fills
//! the disk.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures by address, since the window began.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    by_address: HashMap<IpAddr, u64>,
    /// Of all others.
    others: u64,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// None: of several addresses, beside those that have lines of their own.
    pub address: Option<IpAddr>,
    /// So many failed within the last ten minutes.
    pub count: u64,
}

const WINDOW: Duration = Duration::from_secs(600);
/// Addresses that have lines of their own in one window.
const ADDRESSES_MAX: usize = 16;

impl Refused {
    /// Notes a failure; a line, where one is due.
    pub fn note(&self, address: IpAddr, now: Instant) -> Option<Line> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.as_ref().is_none_or(|window| now.duration_since(window.began) >= WINDOW) {
            *window = None;
        }
        let Window { by_address, others, .. } =
            window.get_or_insert_with(|| Window { began: now, by_address: HashMap::new(), others: 0 });
        let named = by_address.contains_key(&address) || by_address.len() < ADDRESSES_MAX;
        let count = if named { by_address.entry(address).or_insert(0) } else { others };
        *count += 1;
        let is_due = count.checked_ilog10().is_some_and(|power| 10_u64.checked_pow(power) == Some(*count));
        is_due.then_some(Line { address: named.then_some(address), count: *count })
    }

    /// Notes a failure, and has the audit say so where a line is due. Whoever failed is turned away in any case.
    pub fn tell(&self, address: IpAddr) {
        let Some(Line { address, count }) = self.note(address, Instant::now()) else { return };
        let address = address.map_or_else(|| "several".to_owned(), |address| address.to_string());
        let _ = super::api::noted!(user = "unknown", address, count, "sign-in refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_few_lines() {
        let (refused, began) = (Refused::default(), Instant::now());
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let lines: Vec<_> = (0..5000).filter_map(|_| refused.note(address(1), began)).collect();
        let of = |count| Line { address: Some(address(1)), count };
        assert_eq!(lines, [1, 10, 100, 1000].map(of));
        // However many addresses there are.
        let lines: Vec<_> = (2..100_000).filter_map(|number| refused.note(address(number), began)).collect();
        assert_eq!(lines.len(), ADDRESSES_MAX - 1 + 5, "{lines:?}");
        assert_eq!(lines.last(), Some(&Line { address: None, count: 10_000 }));
        assert_eq!(refused.note(address(1), began + WINDOW), Some(of(1)), "then it begins anew");
    }
}
