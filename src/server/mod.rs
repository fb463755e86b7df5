//! Where messages come in beside MLLP.
pub mod directory;
pub mod http;
