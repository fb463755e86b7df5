//! The suite: everything that is tested through the public face of the library and the program.

mod fixtures;
mod golden;
mod readme;
mod tidy;
mod validity;
