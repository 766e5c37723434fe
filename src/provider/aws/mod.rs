//! AWS: a bastion as an EC2 instance with its security group, its fixed address and its rules in the databases' groups.
//!
//! `desire` → `observe` → `diff` → `perform`; `machine` decides about the instance, `teardown` about everything's removal.
//! `keys` brings the accepted keys to the running machine. Only `api`, `observe` and `perform` know the SDK.

pub mod action;
#[cfg(feature = "aws")]
pub mod api;
mod check;
#[cfg(feature = "aws")]
mod convert;
pub mod desire;
pub mod diff;
pub mod error;
#[cfg(feature = "aws")]
pub mod fleet;
pub mod keys;
pub mod machine;
mod machine_steps;
#[cfg(feature = "aws")]
pub mod observe;
pub mod observed;
#[cfg(feature = "aws")]
pub mod perform;
pub mod region;
pub mod retry;
pub mod rule;
pub mod status;
mod steps;
pub mod tags;
pub mod teardown;
