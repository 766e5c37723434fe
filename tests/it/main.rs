//! All integration tests, as one binary: linking is what costs.

#[cfg(feature = "aws")]
mod account;
// Without the clouds not all of it is used.
#[allow(dead_code)]
mod arm;
mod aws;
mod azure;
mod beside_moto;
mod cloudinit;
#[cfg(any(feature = "aws", feature = "azure"))]
mod contract;
#[cfg(all(feature = "aws", feature = "azure"))]
mod credentials;
#[cfg(all(feature = "aws", feature = "azure"))]
mod deadline;
mod docs;
#[cfg(feature = "aws")]
mod drift;
#[cfg(feature = "aws")]
mod ec2;
mod execute;
#[cfg(feature = "aws")]
mod forged_ends;
mod handoff;
mod harness;
mod keys;
mod layers;
#[cfg(all(unix, feature = "aws", feature = "azure"))]
mod live;
#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod network;
#[cfg(feature = "aws")]
mod own_address;
#[cfg(feature = "aws")]
mod ownership;
#[cfg(all(target_os = "linux", feature = "aws", feature = "azure"))]
mod packaging;
#[cfg(feature = "aws")]
mod plain_moto;
mod plan;
#[cfg(feature = "aws")]
mod prefix_lists;
#[cfg(feature = "aws")]
mod quotas;
#[cfg(feature = "aws")]
mod reap;
#[cfg(feature = "aws")]
mod refusals;
mod report;
#[cfg(feature = "aws")]
mod rule_order;
#[cfg(all(feature = "aws", feature = "azure"))]
mod sandbox;
#[cfg(all(feature = "aws", feature = "azure"))]
mod secrets;
mod show;
#[cfg(unix)]
mod signals;
// Only the clouds' tests use all of it.
#[cfg_attr(not(feature = "aws"), allow(dead_code, unused_imports))]
mod support;
#[cfg(feature = "aws")]
mod vendors;
mod verify;
