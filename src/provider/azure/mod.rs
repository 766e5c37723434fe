//! Azure: a bastion as a virtual machine behind a firewall's DNAT rule, or with an address of its own.
//!
//! `desire` → `observed` → `diff`; `edge` finds the firewall, `machine` decides about the machine, `teardown` about everything's
//! removal. All of that is pure, and bodies are JSON as Azure Resource Manager takes it: what is shared must be
//! written back with what no type of ours knows. Only `arm` knows HTTP and credentials.

pub mod action;
#[cfg(feature = "azure")]
pub mod arm;
pub mod auto_shutdown;
mod bodies;
mod check;
pub mod compare;
pub mod desire;
pub mod diff;
pub mod doubts;
mod edge;
#[cfg(feature = "azure")]
mod elsewhere;
pub mod error;
#[cfg(feature = "azure")]
pub mod estate;
pub mod extend;
#[cfg(feature = "azure")]
pub mod fleet;
pub mod history;
pub mod id;
#[cfg(feature = "azure")]
pub mod identity;
pub mod keys;
pub mod machine;
mod machine_steps;
#[cfg(feature = "azure")]
pub mod observe;
pub mod observed;
pub mod ownership;
mod parts;
pub mod peering;
#[cfg(feature = "azure")]
pub mod perform;
pub mod poll;
pub mod request;
pub mod retry;
mod rule_places;
mod rule_steps;
mod rules;
pub mod shared;
mod slot;
pub mod status;
mod steps;
pub mod tags;
pub mod teardown;
#[cfg(feature = "azure")]
pub mod typed;
pub mod verify;
pub mod views;
