//! Removing, and who is still in the way.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    World,
    kinds::{Etag, Kind, PEERINGS},
    operations::{Begun, RULE_GROUPS},
    peerings::remote_of,
    reply::{Call, answered, refused},
    state::{Effect, Resource, State, whole},
};
use crate::sandbox::http::Reply;

impl World {
    pub(super) fn delete(&mut self, call: &Call<'_>, kind: &'static Kind, segments: &[&str]) -> Reply {
        let key = call.key.as_str();
        if !self.resources.contains_key(key) {
            let parent = whole(key);
            let known = self.resources.contains_key(parent) || parent == key;
            return if known { Reply::empty(204) } else { self.no_resource(kind, segments) };
        }
        if let Some(reply) =
            self.unconditional(call).or_else(|| self.in_use(key)).or_else(|| self.busy(call, key, &Value::Null))
        {
            return reply;
        }
        let Some(work) = kind.delete else {
            self.remove(key, call.now);
            return Reply::empty(200);
        };
        let id = self.start(key, Effect::Remove, work, self.pace.delete(kind.path), call.now);
        if kind.path == RULE_GROUPS {
            self.occupy_policy(key, self.pace.delete(kind.path), call.now);
        }
        let mut reply = Reply::empty(202);
        let mut location = String::new();
        if let Some(going) = self.resources.get(key) {
            location = self.location_of(going);
            // A rule collection group is shown once more as it was.
            if kind.etag == Etag::Plain {
                reply = answered(202, &self.show(going, false));
            }
        }
        if let Some(going) = self.resources.get_mut(key) {
            going.operation = Some(id.clone());
            going.state = State::Deleting;
        }
        self.long(call, reply, kind, &Begun { id, work, location }, true)
    }

    /// Who else needs it, in the words of each type.
    pub(super) fn in_use(&self, key: &str) -> Option<Reply> {
        let resource = self.resources.get(key)?;
        let mut own = std::iter::once((key, resource)).chain(self.children(key));
        let (part, user) = own.find_map(|(k, part)| Some((part, self.users(k).into_iter().next()?)))?;
        let (id, name) = (&resource.id, &part.name);
        let (status, code, message) = match resource.kind.path {
            "Microsoft.Network/virtualNetworks" | "Microsoft.Network/virtualNetworks/subnets" => (
                400,
                "InUseSubnetCannotBeDeleted",
                format!(
                    "Subnet {name} is in use by {user} and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet."
                ),
            ),
            "Microsoft.Network/publicIPAddresses" => (
                400,
                "PublicIPAddressCannotBeDeleted",
                format!(
                    "Public IP address {id} can not be deleted since it is still allocated to resource {user}. In order to delete the public IP, disassociate/detach the Public IP address from the resource.  To learn how to do this, see aka.ms/deletepublicip."
                ),
            ),
            "Microsoft.Network/networkSecurityGroups" => (
                400,
                "InUseNetworkSecurityGroupCannotBeDeleted",
                format!(
                    "Network security group {id} cannot be deleted because it is in use by the following resources: {user}. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg."
                ),
            ),
            "Microsoft.Network/networkInterfaces" => (
                400,
                "NicInUse",
                format!(
                    "Network Interface {id} is used by existing resource {user}. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic."
                ),
            ),
            // The code is a guess.
            "Microsoft.Network/firewallPolicies" => (
                400,
                "FirewallPolicyHasFirewallReferences",
                format!(
                    "Firewall Policy {id} cannot be deleted since there are firewalls using this resource: {user}."
                ),
            ),
            "Microsoft.Compute/disks" => (409, "OperationNotAllowed", format!("Disk {name} is attached to VM {user}.")),
            _ => return None,
        };
        Some(refused(status, code, &message))
    }

    pub(super) fn remove(&mut self, key: &str, at: Timestamp) {
        self.disconnect_all(key);
        let Some(resource) = self.resources.remove(key) else { return };
        if resource.kind.path == PEERINGS {
            self.disconnect(key, remote_of(resource.body()).as_deref());
        }
        self.depart(resource.clone(), at);
        let inside = format!("{key}/");
        self.resources.retain(|k, _| !k.starts_with(&inside));
        // What goes with a machine.
        let disk = resource.body().pointer("/properties/storageProfile/osDisk");
        let disks = disk.filter(|d| d["deleteOption"] == "Delete").and_then(|d| d.pointer("/managedDisk/id"));
        let interfaces =
            resource.body().pointer("/properties/networkProfile/networkInterfaces").and_then(Value::as_array);
        let interfaces = interfaces
            .into_iter()
            .flatten()
            .filter(|i| i.pointer("/properties/deleteOption").is_some_and(|d| d == "Delete"))
            .map(|i| &i["id"]);
        let going: Vec<String> =
            disks.into_iter().chain(interfaces).filter_map(Value::as_str).map(str::to_lowercase).collect();
        for gone in going.iter().filter_map(|key| self.resources.remove(key)).collect::<Vec<_>>() {
            self.depart(gone, at);
        }
    }

    fn depart(&mut self, resource: Resource, at: Timestamp) {
        let keeps = self.pace.index_of_gone;
        self.departed.retain(|(since, old)| {
            at.duration_since(*since).unsigned_abs() < keeps && !old.id.eq_ignore_ascii_case(&resource.id)
        });
        if resource.kind.tracked && !keeps.is_zero() {
            self.departed.push((at, resource));
        }
    }
}
