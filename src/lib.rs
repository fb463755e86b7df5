//! handoff: HL7 v2 in, FHIR R4 out, to whoever subscribed.
//!
//! The way of a message: bytes → frame ([`mllp`]) → index ([`hl7`]) → plan ([`mapping`]) → Bundle bytes ([`fhir`]) → record ([`journal`]) → ACK, and from the
//! journal to every route ([`delivery`]). [`intake`] reads it top to bottom; [`search`] finds it again, [`server`]
//! runs all of it.
pub mod admin;
pub mod alerts;
pub mod cli;
pub mod config;
pub mod coordination;
pub mod delivery;
pub mod desk;
pub mod facade;
pub mod facets;
pub mod fhir;
pub mod hl7;
pub mod intake;
pub mod journal;
pub mod mapping;
pub mod mllp;
pub mod privacy;
pub mod routing;
pub mod search;
pub mod server;
pub mod telemetry;
pub mod traces;
mod words;
