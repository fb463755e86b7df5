//! The measures of coordinated care (C7): what a panel looks at month by month. Operational, not for submission.
//!
//! | file | what |
//! |---|---|
//! | `definition` | what is measured, as configured; `shipped.toml` are those that come with the gateway |
//! | `words`, `fact`, `take` | what is kept of an event of a person: some fifty bytes |
//! | `lens`, `marks` | the definitions as they are held against facts, and the labels that words carry now |
//! | `cell` | what became of somebody, for each who may know more or less of it |
//! | `settle` | facts of one person in order, without what was taken back |
//! | `contribute` | facts of one person → what they add to the counters: a pure function |
//! | `kept` | what is kept of facts, and how long |
//! | `store`, `counting` | the counters, changed with each fact by the difference of before and after |
//! | `recompute` | the same counters from all facts anew: they must be equal to the byte |
//! | `series`, `hidden` | rates of a panel by month, quarter and year, as of a date; small ones are not told |
//! | `people` | who is behind a rate |
//! | `members` | how many members a panel had in a month, by the roster of then |
//! | `news`, `waiting` | which figures are others for whom; what changed on a day, until subscribers are told of it |
//! | `since` | from when on the journal is known |
//! | `secrets` | labels that a visit has got since |
//! | `render` | Measure and MeasureReport |
//! | `period` | months |
//!
//! Time never enters the counters: they are by the local date of the event that counts somebody in, and whoever asks says as of which date a window is over. Who looks after somebody
//! is who did at that event, by the roster that was in force when it was folded; nothing is retroactive.
mod cell;
mod contribute;
mod counting;
mod definition;
mod fact;
mod hidden;
mod kept;
mod lens;
mod marks;
mod members;
mod news;
mod people;
pub mod period;
mod recompute;
mod render;
mod secrets;
mod series;
mod settle;
mod since;
mod store;
mod take;
mod waiting;
mod words;

pub use cell::{Case, Cell, Outcome, WAYS_MAX, Ways};
pub use counting::{KEPT_MS, Measures, TABLES, Updated, Viewer};
pub use definition::{Clock, Definition, Options, Rate, Span0};
pub use fact::{FACTS_MAX, Fact, Facts};
pub use hidden::{SMALL, Shown, Span, spans};
pub use lens::{CODE_LISTS_MAX, Lens, code_lists};
pub use members::{Counted, keep as keep_members};
pub use news::{Changed, audience};
pub use people::{May, Page, Someone};
pub use recompute::{Difference, check, recompute, recount, tally};
pub use render::{Report, is_of_panel, measure, report, report_id};
pub use secrets::{Names, keep as keep_secrets};
pub use series::{Feeds, Figures, MONTHS_MAX, Month, Observed, Reader, Wanted};
pub use settle::Scratch;
pub use store::FACTS;
pub use take::{Subject, day};
pub use waiting::Due;

/// The measures that come with the gateway.
pub const SHIPPED: &str = include_str!("shipped.toml");
