//! Rosters: whose patients they are. Panels with their members, and who of them a message is about.
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | panels and matching as the configuration says |
//! | `values`, `systems`, `fields` | what is compared, and how it is written |
//! | `table`, `group`, [`files`], [`rows`] | reading rosters: CSV and FHIR Group, row by row |
//! | `build`, [`snapshot`], `index` | the members of all panels, each person once |
//! | [`matching`], `score` | who a message is about |
//! | [`aliases`], [`reviews`] | what is learned from messages, and what somebody has to decide |
//! | [`difference`], [`holder`] | from one roster to the next, while messages go on |
//! | [`edit`], `group_edit`, `file_names` | a Group that is changed from outside, as a file of its source |
//! | [`in_force`], [`kept`] | which are in force from which place of the journal on, and their files |
//! | [`explained`] | how a match came about, as JSON |
pub mod aliases;
mod build;
pub mod difference;
pub mod edit;
pub mod explained;
mod fields;
mod file_names;
pub mod files;
mod group;
mod group_edit;
pub mod holder;
pub mod in_force;
mod index;
pub mod kept;
mod key;
pub mod matching;
pub mod options;
pub mod reviews;
pub mod rows;
mod score;
pub mod snapshot;
pub mod strangers;
mod systems;
mod table;
mod values;

pub use aliases::{Aliases, Learned, learn};
pub use difference::Difference;
pub use fields::{Field, FieldSet, FieldSetError, parse_fields};
pub use holder::Rosters;
pub use key::PersonKey;
pub use matching::{Explanation, How, Match, Reason, Step};
pub use options::{Options, Panel};
pub use reviews::TABLES;
pub use rows::{RosterError, Rows};
pub use score::Part;
pub use snapshot::{Membership, Snapshot};
pub use strangers::Strangers;
pub(super) use systems::{Keyed, of_message as keyed};
pub use systems::{MBI, of_uri as system_of_uri, to_message as identifier_of};

#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;
