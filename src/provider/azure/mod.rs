//! Azure: a bastion as a virtual machine behind a firewall's DNAT rule, or with an address of its own.
//!
//! Only `arm` and what it stands on know HTTP and credentials.

pub mod error;
pub mod request;
pub mod retry;
