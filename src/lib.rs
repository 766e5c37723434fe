//! gangplank lowers an SSH bastion for exactly the addresses on a list and takes it away again.
//!
//! The modules stand in the order in which data passes through them; each uses only those above it, which
//! `tests/it/layers.rs` keeps:
//!
//! plan file → [`plan`] → [`cloudinit`] → `provider::*::observe` → `provider::*::diff` → [`changeset`] → [`execute`] →
//! [`verify`] → [`handoff`]
//!
//! Deciding is pure and synchronous: [`plan`], [`cloudinit`], [`changeset`] and each provider's `diff` take what they need
//! (the clock, the environment) as arguments and call nothing. I/O sits in `provider::*::{api, observe, perform}`, in
//! `plan::source` (reading files) and in [`cli`].
//!
//! What holds everywhere:
//! - The cloud is the state. Nothing is stored between runs; ownership tags, set inside each create call, say what is ours.
//! - Only what carries our tag is changed or deleted.
//! - No input, no answer of a cloud and no network fault panics.

// What everything stands on.
mod secret;
pub mod text;

pub mod diagnostic;
pub mod location;
pub mod stop;
pub mod style;

// What is wanted.
pub mod plan;

pub mod cloudinit;
pub mod cost;
pub mod tags;

// What is to be done, and what came of it.
pub mod changeset;
pub mod cloud_error;

pub mod event;
pub mod saved;

// Whether it is right, and what has had its time.
pub mod verify;

pub mod drift;
pub mod reap;

// The clouds, and the worlds that stand in for them.
pub mod sandbox;

pub mod provider;

pub mod execute;
pub mod left_out;

// What people see.
pub mod handoff;

pub mod cli;
