//! The command line: what people type and read.

pub mod console;
pub mod style;
pub mod summary;
mod words;
