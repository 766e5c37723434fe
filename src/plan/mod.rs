//! Plan files: text → typed, checked [`Plan`]s that remember where each field stood.

pub mod model;

pub use model::*;
