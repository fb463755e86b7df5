//! Servers beside MLLP.
pub mod http;
