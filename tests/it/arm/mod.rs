//! Azure Resource Manager: the sandbox's world, the client that talks to it, and what holds both to recorded traffic.

#[cfg(feature = "azure")]
pub mod company;
pub mod conformance;
#[cfg(feature = "azure")]
mod elsewhere;
pub mod fault;
pub mod http;
#[cfg(feature = "azure")]
mod life;
#[cfg(feature = "azure")]
pub mod peering;
mod place;
#[cfg(feature = "azure")]
mod role;
pub mod schema;
#[cfg(feature = "azure")]
mod slow;
mod time;
mod way;
pub mod world;

#[cfg(feature = "azure")]
mod client;
#[cfg(feature = "azure")]
pub mod direct;
pub mod polling;
#[cfg(feature = "azure")]
mod recorded;
#[cfg(feature = "azure")]
mod truth;
