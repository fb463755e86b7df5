//! The suite: everything that is tested through the public face of the library and the program.

mod readme;
mod tidy;
