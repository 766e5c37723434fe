//! Addresses and disks: what Azure chooses.

use std::collections::BTreeSet;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    World,
    kinds::{CONFIGURATIONS, PEERINGS, find, object, parts, parts_of},
    power::MACHINES,
    state::Resource,
};

impl World {
    /// A configuration that stays keeps its address.
    pub(super) fn keep_addresses(old: Option<&Resource>, body: &mut Value) {
        let Some(old) = old else { return };
        if let (Some(address), None) =
            (old.body().pointer("/properties/ipAddress"), body.pointer("/properties/ipAddress"))
        {
            object(body, "properties")["ipAddress"] = address.clone();
        }
        for (_, field, _) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == old.kind.path) {
            for part in parts(object(body, "properties"), field) {
                let mut known = old.body().get("properties").into_iter().flat_map(|p| parts_of(p, field));
                let same = known.find(|k| {
                    k.get("name") == part.get("name")
                        && k.pointer("/properties/subnet") == part.pointer("/properties/subnet")
                });
                let address = same.and_then(|k| k.pointer("/properties/privateIPAddress"));
                if let (Some(address), None) = (address, part.pointer("/properties/privateIPAddress")) {
                    object(part, "properties")["privateIPAddress"] = address.clone();
                }
            }
        }
    }

    /// Gives addresses to what has none, a machine its disk, and a peering its state.
    pub(super) fn assign(&mut self, key: &str, now: Timestamp) {
        let Some(kind) = self.resources.get(key).map(|resource| resource.kind.path) else { return };
        if kind == MACHINES {
            self.make_disk(key, now);
        } else if kind == "Microsoft.Network/publicIPAddresses" {
            self.assign_public(key);
        } else if kind == PEERINGS {
            self.connect(key);
        } else if CONFIGURATIONS.iter().any(|(path, ..)| *path == kind) {
            self.assign_private(key);
        }
    }

    fn assign_public(&mut self, key: &str) {
        let number = self.number();
        let Some(resource) = self.resources.get_mut(key) else { return };
        if resource.body().pointer("/properties/ipAddress").is_none() {
            let address = format!("20.61.{}.{}", number / 250 % 250, number % 250 + 1);
            resource.change(|body| object(body, "properties")["ipAddress"] = json!(address));
        }
    }

    fn assign_private(&mut self, key: &str) {
        let Some(resource) = self.resources.get(key) else { return };
        let (kind, mut body) = (resource.kind, resource.body().clone());
        let mut taken = BTreeSet::new();
        for (_, field, _) in CONFIGURATIONS.iter().filter(|(path, ..)| *path == kind.path) {
            for part in parts(object(&mut body, "properties"), field) {
                let subnet = part.pointer("/properties/subnet/id").and_then(Value::as_str).map(str::to_lowercase);
                let Some(subnet) = subnet.filter(|_| part.pointer("/properties/privateIPAddress").is_none()) else {
                    continue;
                };
                if let Some(address) = self.free_address(&subnet, &taken) {
                    object(part, "properties")["privateIPAddress"] = json!(address);
                    taken.insert(address);
                }
            }
        }
        if let Some(resource) = self.resources.get_mut(key).filter(|_| !taken.is_empty()) {
            resource.change(|own| *own = body);
        }
    }

    /// The first address of a subnet that Azure does not keep (the first four and the last) and nobody has.
    fn free_address(&self, subnet: &str, taken: &BTreeSet<String>) -> Option<String> {
        let range = self.resources.get(subnet)?.body().pointer("/properties/addressPrefix")?.as_str()?;
        let range: IpNet = range.parse().ok()?;
        let mut used: BTreeSet<&str> = taken.iter().map(String::as_str).collect();
        for resource in self.resources.values() {
            for (_, field, _) in CONFIGURATIONS.iter().filter(|(path, ..)| *path == resource.kind.path) {
                for part in resource.body().get("properties").into_iter().flat_map(|p| parts_of(p, field)) {
                    let here = part.pointer("/properties/subnet/id").and_then(Value::as_str);
                    let address = part.pointer("/properties/privateIPAddress").and_then(Value::as_str);
                    used.extend(address.filter(|_| here.is_some_and(|s| s.eq_ignore_ascii_case(subnet))));
                }
            }
        }
        range.hosts().skip(3).map(|a| a.to_string()).find(|a| !used.contains(a.as_str()))
    }

    fn make_disk(&mut self, key: &str, now: Timestamp) {
        let (Some(machine), Some(kind)) = (self.resources.get(key), find("Microsoft.Compute/disks")) else { return };
        let Some(disk) = machine.body().pointer("/properties/storageProfile/osDisk") else { return };
        let Some(id) = disk.pointer("/managedDisk/id").and_then(Value::as_str).map(str::to_owned) else { return };
        let sku = json!({"name": disk.pointer("/managedDisk/storageAccountType"), "tier": "Standard"});
        let body = json!({"location": machine.body()["location"], "tags": machine.body()["tags"], "sku": sku, "properties": {
            "creationData": {"createOption": "FromImage"}, "diskSizeGB": disk["diskSizeGB"]}});
        let name = disk["name"].as_str().unwrap_or_default().to_owned();
        if !self.resources.contains_key(&id.to_lowercase()) {
            let number = self.number();
            self.resources.insert(id.to_lowercase(), Resource::new(id, name, kind, body, number, now));
        }
    }
}
