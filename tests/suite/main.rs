//! The suite: everything that is tested through the public face of the library and the program.

mod corpus;
mod fixtures;
mod golden;
mod readme;
mod tidy;
mod twin;
mod validity;
