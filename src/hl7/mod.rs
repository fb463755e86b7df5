//! HL7 v2 messages as a flat index over raw bytes: no tree, no copies, no I/O, no clock.
pub mod names;
