//! The last messages of a listener, with the present mappings and with an overlay.
use crate::admin::problem::Problem;
use crate::facets::{Facets, Outcome};
use crate::journal::{Error, Item, Limits, View};
use crate::mapping::Plan;
use crate::mapping::compare::Comparison;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was compared.
pub(super) struct Run {
    pub comparison: Comparison,
    /// Messages that are longer than what is compared here.
    pub too_long: usize,
    /// Why there are fewer than were asked for.
    pub stopped: Option<&'static str>,
}

/// Messages that can be asked for.
pub(super) const COUNT: std::ops::RangeInclusive<usize> = 10..=1000;
/// Records that are read at once, from behind.
const STEP: u64 = 64;
/// Records that are looked at to find those of the listener.
const LOOKED_AT_MAX: u64 = 20_000;
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The request itself may take twice as long.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Compares the newest messages of a listener, newest first, for as long as `go_on` says so. Blocks.
pub(super) fn run(
    data: &Path,
    (listener, count): (&str, usize),
    [before, after]: [&Plan; 2],
    values: bool,
    go_on: &dyn Fn() -> bool,
) -> Result<Run, Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::internal(error.to_string());
    let started = Instant::now();
    let view = View::open(data).map_err(|error| failed(&error))?;
    let mut run = Run { comparison: Comparison::new(values), too_long: 0, stopped: None };
    let Some(range) = view.range().map_err(|error| failed(&error))? else { return Ok(run) };
    let (first, mut end) = (*range.start(), *range.end() + 1);
    let (lowest, mut reader) = (end.saturating_sub(LOOKED_AT_MAX).max(first), view.reader().map_err(|e| failed(&e))?);
    while end > lowest {
        let start = end.saturating_sub(STEP).max(lowest);
        let (mut found, mut next) = (Vec::new(), start);
        while next < end {
            let limits = Limits { records_max: (end - next) as usize, ..Limits::default() };
            let items = match reader.read(next, limits) {
                Err(Error::Pruned { .. }) => Vec::new(),
                items => items.map_err(|error| failed(&error))?,
            };
            let Some(last) = items.last() else { break };
            next = last.next();
            found.extend(items.into_iter().filter_map(|item| match item {
                Item::Record(seq, record) if is_of(&record.facets, listener) => Some((seq, record.raw)),
                _ => None,
            }));
        }
        for (seq, raw) in found.into_iter().rev() {
            if run.comparison.counts().messages >= count {
                return Ok(run);
            }
            if started.elapsed() > TIME_MAX {
                run.stopped = Some("it took too long");
                return Ok(run);
            }
            if !go_on() {
                run.stopped = Some("something newer was asked for");
                return Ok(run);
            }
            if raw.len() > MESSAGE_BYTES_MAX {
                run.too_long += 1;
            } else {
                run.comparison.add(&seq.to_string(), &raw, before, after);
            }
        }
        end = start;
    }
    if run.comparison.counts().messages < count {
        run.stopped = Some(match lowest > first {
            true => "only the last 20,000 messages of all listeners are looked at",
            false => "the journal has no more of this listener",
        });
    }
    Ok(run)
}

/// Acknowledgements, and what is no message, are not translated.
fn is_of(facets: &[u8], listener: &str) -> bool {
    let left_out = [Outcome::Ignored, Outcome::Unreadable, Outcome::Foreign];
    let facets = Facets::decode(facets);
    facets.is_some_and(|f| f.listener == listener.as_bytes() && !left_out.contains(&f.outcome))
}
