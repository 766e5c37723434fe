//! All integration tests, as one binary: linking is what costs.

// It grows into the sandbox: more of it than the tests use yet.
#[allow(dead_code)]
mod arm;
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
mod handoff;
mod harness;
mod keys;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod network;
mod plan;
mod report;
#[cfg(all(feature = "aws", feature = "azure"))]
mod sandbox;
mod show;
#[cfg(unix)]
mod signals;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code, unused_imports))]
mod support;
#[cfg(feature = "aws")]
mod verify;
