//! Azure Resource Manager: the sandbox's world, the client that talks to it, and what holds both to recorded traffic.

mod conformance;
pub mod fault;
pub mod http;
#[cfg(feature = "azure")]
mod life;
pub mod schema;
pub mod world;

#[cfg(feature = "azure")]
mod client;
#[cfg(feature = "azure")]
pub mod direct;
mod polling;
#[cfg(feature = "azure")]
mod recorded;
