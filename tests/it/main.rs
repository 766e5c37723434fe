//! All integration tests, as one binary: linking is what costs.

mod aws;
mod azure;
#[cfg(feature = "aws")]
mod calls;
mod cloudinit;
#[cfg(feature = "aws")]
mod contract;
#[cfg(feature = "aws")]
mod crash;
mod docs;
mod execute;
#[cfg(feature = "aws")]
mod faults;
mod harness;
mod keys;
mod plan;
mod show;
#[cfg(unix)]
mod signals;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code, unused_imports))]
mod support;
