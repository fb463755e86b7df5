//! What of the translated messages reached FHIR, as `handoff coverage` counts it. Messages that are refused, as their case expects, do not count.
use crate::mapping::coverage::{Coverage as Sums, Origin};
use crate::mapping::{Context, Plan, Scratch};

/// Sums over messages.
pub(super) struct Coverage<'p> {
    plan: &'p Plan,
    sums: Sums,
}

impl<'p> Coverage<'p> {
    pub fn new(plan: &'p Plan) -> Coverage<'p> {
        Coverage { plan, sums: Sums::new(false) }
    }

    /// Counts one message that was translated.
    pub fn add(&mut self, case: &str, raw: &[u8], scratch: &mut Scratch) {
        let origin = Origin { file: case.into(), number: 1 };
        // It was translated a moment ago; were it not, that is counted as well.
        let _ = self.sums.add(self.plan, raw, &Context::default(), &origin, scratch);
    }

    /// Values that the messages hold.
    pub fn populated(&self) -> u64 {
        self.sums.total().all()
    }

    /// Those that are in a Bundle, or were read to decide what is.
    pub fn reached(&self) -> u64 {
        let total = self.sums.total();
        total.mapped + total.read_only
    }

    /// Of a hundred; 100 where there was nothing.
    pub fn percent(&self) -> f64 {
        self.sums.total().reached_percent()
    }

    /// The places that most often reached nothing, most often first.
    pub fn most_lost(&self, count: usize) -> Vec<(String, u64)> {
        let lost = self.sums.report(self.plan).lost;
        lost.into_iter().take(count).map(|field| (field.place, field.tally.nowhere)).collect()
    }
}
