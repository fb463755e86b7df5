//! The integration tests: one binary, so that it links once.
#[path = "../../benches/cases.rs"]
mod bench_cases;
mod corpus;
mod hl7_differential;
mod hl7_properties;
