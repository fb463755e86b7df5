//! Coordinated care: what messages mean for the people who look after a patient, and who of them must know.
//!
//! A reader of the journal like any other. Each message is read into [`event::Event`]s, which are the one vocabulary of topics, loops and measures: one admission a visit,
//! however many messages tell of it. Everything that is kept (visits, memberships, loops, notifications) is a fold over the journal in its order and stands in a
//! database of its own (`DATA/coordination.sqlite`), written in one transaction with the cursor: a crash repeats work and changes nothing that comes of it.
pub mod card;
pub mod care_team;
pub mod event;
pub mod fold;
pub mod lineage;
pub mod loops;
pub mod measures;
pub mod options;
pub mod person;
mod read;
mod reason;
pub mod registry;
pub mod roster;
pub mod sensitivity;
pub mod store;
pub mod subscription;
pub mod work;

pub use event::{Event, Kind};
pub use options::Options;
pub use person::PersonKey;
pub use read::patient;
pub use reason::Reason;
