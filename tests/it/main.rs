//! All integration tests, as one binary: linking is what costs.

mod execute;
mod plan;
mod harness;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code))]
mod support;
