//! The suite: everything that is tested through the public face of the library and the program.

mod readme;
mod tidy;
//! The integration tests: one binary, so that it links once.
#[path = "../../benches/cases.rs"]
mod bench_cases;
mod corpus;
mod hl7_differential;
mod hl7_properties;
