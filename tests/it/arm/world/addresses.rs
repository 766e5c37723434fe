//! Addresses and disks: what Azure chooses.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::kinds::{CONFIGURATIONS, find, parts};
use super::{Resource, World};

impl World {
    /// A configuration that stays keeps its address.
    pub(super) fn keep_addresses(&self, old: Option<&Resource>, body: &mut Value) {
        let Some(old) = old else { return };
        if let (Some(address), None) =
            (old.body.pointer("/properties/ipAddress"), body.pointer("/properties/ipAddress"))
        {
            body["properties"]["ipAddress"] = address.clone();
        }
        let mut before = old.body.clone();
        for (_, field, _) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == old.kind.path) {
            let known: Vec<Value> = parts(&mut before["properties"], field).map(|p| p.clone()).collect();
            for part in parts(&mut body["properties"], field) {
                let same = known
                    .iter()
                    .find(|k| k["name"] == part["name"] && k["properties"]["subnet"] == part["properties"]["subnet"]);
                let address = same.and_then(|k| k.pointer("/properties/privateIPAddress"));
                if let (Some(address), None) = (address, part.pointer("/properties/privateIPAddress")) {
                    part["properties"]["privateIPAddress"] = address.clone();
                }
            }
        }
    }

    /// Gives addresses to what has none, and a machine its disk.
    pub(super) fn assign(&mut self, key: &str) {
        let Some(resource) = self.resources.get(key) else { return };
        let (kind, mut body) = (resource.kind, resource.body.clone());
        if kind.path == "Microsoft.Network/publicIPAddresses" && body.pointer("/properties/ipAddress").is_none() {
            let number = self.number();
            body["properties"]["ipAddress"] = json!(format!("20.61.{}.{}", number / 250 % 250, number % 250 + 1));
        }
        let mut taken: Vec<String> = Vec::new();
        for (_, field, _) in CONFIGURATIONS.iter().filter(|(path, ..)| *path == kind.path) {
            for part in parts(&mut body["properties"], field) {
                let subnet = part.pointer("/properties/subnet/id").and_then(Value::as_str).map(str::to_lowercase);
                let Some(subnet) = subnet.filter(|_| part.pointer("/properties/privateIPAddress").is_none()) else {
                    continue;
                };
                if let Some(address) = self.free_address(&subnet, &taken) {
                    part["properties"]["privateIPAddress"] = json!(address);
                    taken.push(address);
                }
            }
        }
        if kind.path == "Microsoft.Compute/virtualMachines" {
            let disk = body.pointer("/properties/storageProfile/osDisk").cloned().unwrap_or_default();
            if let Some(id) = disk.pointer("/managedDisk/id").and_then(Value::as_str) {
                let (etag, unique, born) = (self.number(), self.number(), self.calls.len() as u64);
                let body = json!({"location": body["location"], "tags": body["tags"], "properties": {
                    "creationData": {"createOption": "FromImage"}, "diskSizeGB": disk["diskSizeGB"]}});
                let name = disk["name"].as_str().unwrap_or_default().to_owned();
                let kind = find("Microsoft.Compute/disks").expect("in the table");
                let state = "Succeeded".to_owned();
                let made = Resource { id: id.to_owned(), name, kind, body, state, etag, unique, born, operation: None };
                self.resources.entry(id.to_lowercase()).or_insert(made);
            }
        }
        self.resources.get_mut(key).expect("found above").body = body;
    }

    /// The first address of a subnet that Azure does not keep (the first four and the last) and nobody has.
    pub(super) fn free_address(&self, subnet: &str, taken: &[String]) -> Option<String> {
        let range: IpNet =
            self.resources.get(subnet)?.body.pointer("/properties/addressPrefix")?.as_str()?.parse().ok()?;
        let used = |address: &str| {
            self.resources.values().any(|r| {
                let mut body = r.body.clone();
                CONFIGURATIONS.iter().filter(|(path, ..)| *path == r.kind.path).any(|(_, field, _)| {
                    parts(&mut body["properties"], field).any(|part| {
                        part.pointer("/properties/privateIPAddress").and_then(Value::as_str) == Some(address)
                            && part
                                .pointer("/properties/subnet/id")
                                .and_then(Value::as_str)
                                .is_some_and(|s| s.to_lowercase() == subnet)
                    })
                })
            })
        };
        range.hosts().skip(3).map(|a| a.to_string()).find(|a| !used(a) && !taken.contains(a))
    }
}
