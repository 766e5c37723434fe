//! All integration tests, as one binary: linking is what costs.

mod execute;
mod harness;
mod plan;
mod show;
#[cfg(unix)]
mod signals;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code))]
mod support;
//! One test binary: modules by subject.

mod cloudinit;
