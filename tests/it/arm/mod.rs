//! Azure Resource Manager: a world in memory, the client that talks to it, and what holds both to recorded traffic.

pub mod checks;
mod conformance;
pub mod fault;
pub mod http;
pub mod kinds;
#[cfg(feature = "azure")]
mod life;
pub mod reply;
pub mod schema;
pub mod world;

#[cfg(feature = "azure")]
mod client;
#[cfg(feature = "azure")]
pub mod direct;
mod polling;
#[cfg(feature = "azure")]
mod recorded;
#[cfg(feature = "azure")]
mod truth;
