//! What is there, without a call: for whoever has the world in their hands.

use std::net::IpAddr;

use super::{World, refusal::refusal, world::error};
use crate::sandbox::http::Reply;

/// How EC2 refuses a call, for what lies before the world.
pub fn refuse(code: &str, message: &str) -> Reply {
    error(&refusal(code, message), "00000000-0000-4000-8000-000000000000")
}

impl World {
    /// Every resource's id, rules' and interfaces' among them; of instances those that are not terminated.
    pub fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for region in self.regions.values() {
            ids.extend(region.vpcs.keys().cloned());
            ids.extend(region.subnets.keys().cloned());
            ids.extend(region.groups.iter().flat_map(|(id, group)| group.rules.keys().chain([id])).cloned());
            ids.extend(region.addresses.keys().cloned());
            ids.extend(region.interfaces.keys().cloned());
            ids.extend(region.volumes.keys().cloned());
        }
        ids
    }

    /// Elastic addresses that lead somewhere.
    pub fn public_addresses(&self) -> Vec<IpAddr> {
        let addresses = self.regions.values().flat_map(|region| region.addresses.values());
        addresses.filter(|address| address.association.is_some()).map(|address| IpAddr::V4(address.ip)).collect()
    }

    pub fn group_named(&self, region: &str, name: &str) -> Option<String> {
        let groups = &self.regions.get(region)?.groups;
        groups.iter().find(|(_, group)| group.name == name).map(|(id, _)| id.clone())
    }
}
