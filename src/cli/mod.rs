//! The command line: one file a command.
pub mod send;
pub mod serve;
