//! EC2 as far as gangplank calls it, and as far as a company's network needs for somebody to build it. What it does not know it
//! refuses: calls, parameters, filters. Facts: the Amazon EC2 API Reference, where not said otherwise.

mod account;
mod acls;
mod addresses;
mod calls;
mod catalogue;
#[cfg(feature = "aws")]
pub mod client;
pub mod company;
mod dhcp;
mod form;
mod groups;
mod instances;
mod kind;
mod launch;
mod listing;
mod machines;
pub mod model;
mod parts;
mod peering;
mod prefix_lists;
mod public_access;
mod refusal;
mod routes;
mod rules;
mod sts;
mod survey;
mod tags;
#[cfg(test)]
mod tests;
mod traffic;
pub mod trail;
mod vpcs;
mod world;
mod xml;

pub use company::{DATABASE, DATABASE_GROUP, RESERVED_ADDRESS, SUBNET};
pub use kind::Kind;
pub use survey::refuse;
pub use world::{ACCOUNT, Pace, Quotas, World, region_of};
