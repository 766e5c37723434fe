//! gangplank lowers an SSH bastion for exactly the addresses on a list and takes it away again.
//!
//! The modules stand in the order in which data passes through them:
//!
//! plan file → [`plan`] → [`cloudinit`] → `provider::*::observe` → `provider::*::diff` → [`changeset`] → [`execute`]
//!
//! Deciding is pure and synchronous: [`plan`], [`cloudinit`], [`changeset`] and each provider's `diff` take what they need
//! (the clock, the environment) as arguments and call nothing. I/O sits in `provider::*::{api, observe, perform}`, in
//! `plan::source` (reading files) and in [`cli`].
//!
//! What holds everywhere:
//! - The cloud is the state. Nothing is stored between runs; ownership tags, set inside each create call, say what is ours.
//! - Only what carries our tag is changed or deleted.
//! - No input, no answer of a cloud and no network fault panics.

pub mod changeset;
pub mod cli;
pub mod cloudinit;
pub mod cost;
pub mod diagnostic;
pub mod drift;
pub mod event;
pub mod execute;
pub mod handoff;
pub mod left_out;
pub mod location;
pub mod plan;
pub mod provider;
pub mod reap;
pub mod sandbox;
pub mod saved;
mod secret;
pub mod text;
pub mod verify;
