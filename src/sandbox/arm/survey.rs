//! What is there, without a call: for whoever has the world in their hands.

use std::net::IpAddr;

use serde_json::Value;

use super::{World, reply::refused};
use crate::sandbox::http::Reply;

/// How a resource provider refuses a call, for what lies before the world.
pub fn refuse(status: u16, code: &str, message: &str) -> Reply {
    refused(status, code, message)
}

impl World {
    /// Public addresses that are in use.
    pub fn public_addresses(&self) -> Vec<IpAddr> {
        let addresses = self.resources.iter().filter(|(key, resource)| {
            resource.kind.path == "Microsoft.Network/publicIPAddresses" && !self.users(key).is_empty()
        });
        let texts = addresses.filter_map(|(_, r)| r.body().pointer("/properties/ipAddress").and_then(Value::as_str));
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}
