//! All integration tests, as one binary: linking is what costs.

mod execute;
mod harness;
mod plan;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code))]
mod support;
