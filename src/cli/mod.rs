//! The command line: one file a command.
pub mod bench;
pub mod check;
pub mod dead_letters;
pub mod explain;
pub mod files;
pub mod journal;
pub mod mappings;
pub mod messages;
mod notify;
pub mod parse;
pub mod remote;
pub mod replay;
mod selection;
pub mod send;
pub mod serve;
pub mod token;
pub mod translate;
