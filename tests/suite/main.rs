//! The suite: everything that is tested through the public face of the library and the program. One binary, so that it links once.
#[path = "../../benches/cases.rs"]
mod bench_cases;
mod cases;
mod cli;
mod computed;
mod coordination;
mod corpus;
mod coverage;
mod difference;
mod explain;
mod fixtures;
mod fuzz;
mod gateway;
mod golden;
mod hl7_differential;
mod hl7_properties;
mod layers;
mod mappings_check;
mod mappings_diff;
mod memory;
mod others;
mod privacy;
mod readme;
mod rosters;
mod tidy;
mod twin;
mod validity;
