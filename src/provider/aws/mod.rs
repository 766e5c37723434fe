//! AWS: a bastion as an EC2 instance with its security group, its fixed address and its rules in the databases' groups.
//!
//! `desire` → `observe` → `diff` → `perform`; `machine` decides about the instance, `teardown` about everything's removal.
//! `keys` brings the accepted keys to the running machine. `inspect` → `evidence` → `verify` asks whether it would work, and
//! nothing else. Only `api`, `connection`, `credentials`, `ca_bundle`, `convert`, `observe`, `inspect` and `perform` know the SDK.

pub mod action;
#[cfg(feature = "aws")]
pub mod api;
#[cfg(feature = "aws")]
mod ca_bundle;
#[cfg(feature = "aws")]
mod call_log;
mod check;
#[cfg(feature = "aws")]
mod connection;
#[cfg(feature = "aws")]
mod convert;
#[cfg(feature = "aws")]
mod credentials;
pub mod desire;
pub mod diff;
mod doubts;
pub mod error;
#[cfg(feature = "aws")]
pub mod estate;
pub mod evidence;
pub mod extend;
#[cfg(feature = "aws")]
pub mod fleet;
pub mod history;
#[cfg(feature = "aws")]
pub mod identity;
#[cfg(feature = "aws")]
mod inspect;
pub mod keys;
pub mod machine;
mod machine_steps;
pub mod name_servers;
pub mod network;
#[cfg(feature = "aws")]
pub mod observe;
pub mod observed;
pub mod ownership;
pub mod peering;
#[cfg(feature = "aws")]
pub mod perform;
pub mod prefix_list;
pub mod profile;
pub mod public_access;
pub mod region;
pub mod retry;
pub mod rule;
mod rule_batches;
mod rule_quota;
pub mod status;
mod steps;
pub mod teardown;
pub mod verify;

use super::{boot, judging};
use crate::tags::{self, deadline};
