//! The command line: one file a command.
pub mod files;
pub mod mappings;
pub mod send;
pub mod serve;
pub mod translate;
