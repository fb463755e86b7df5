//! The tests that need the whole of handoff.
mod gateway;
