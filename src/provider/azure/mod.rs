//! Azure: a bastion as a virtual machine behind a firewall's DNAT rule, or with an address of its own.
//!
//! Only `arm` knows HTTP and credentials.

#[cfg(feature = "azure")]
pub mod arm;
pub mod error;
pub mod poll;
pub mod request;
pub mod retry;
