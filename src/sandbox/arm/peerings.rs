//! Peerings of virtual networks: one on each side, and only both together connect. The codes are those of issues
//! (terraform-provider-azurerm#14051, #2605, #3392; Azure/ResourceModules#731; Azure/OpenShift#68) and of kyma-project/cloud-manager.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    World,
    kinds::{PEERINGS, object},
    reply::{Call, refused},
    state::{Operation, Resource, whole},
};
use crate::sandbox::http::Reply;

const STATE: &str = "/properties/peeringState";

/// The network that a peering leads to, in lower case.
pub(super) fn remote_of(body: &Value) -> Option<String> {
    Some(body.pointer("/properties/remoteVirtualNetwork/id")?.as_str()?.to_lowercase())
}

fn state(peering: &Resource) -> &str {
    peering.body().pointer(STATE).and_then(Value::as_str).unwrap_or("Initiated")
}

fn space(body: &Value) -> Vec<IpNet> {
    let all = body.pointer("/properties/addressSpace/addressPrefixes").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|text| text.as_str()?.parse().ok()).collect()
}

impl World {
    pub(super) fn peerings_of<'a>(&'a self, network: &str) -> impl Iterator<Item = (&'a str, &'a Resource)> + use<'a> {
        self.children(network).filter(|(_, child)| child.kind.path == PEERINGS)
    }

    /// The peering of one network that leads to another.
    fn peering(&self, from: &str, to: &str) -> Option<(&str, &Resource)> {
        self.peerings_of(from).find(|(_, peering)| remote_of(peering.body()).as_deref() == Some(to))
    }

    /// The networks that packets reach over peerings: both sides are connected, and both let traffic through.
    pub(super) fn peers<'a>(&'a self, network: &'a str) -> impl Iterator<Item = String> + 'a {
        let open = |peering: &Resource| {
            state(peering) == "Connected"
                && peering.in_effect().is_some_and(|body| body["properties"]["allowVirtualNetworkAccess"] == true)
        };
        let remotes = self.peerings_of(network).filter(move |(_, p)| open(p)).filter_map(|(_, p)| remote_of(p.body()));
        remotes.filter(move |remote| self.peering(remote, network).is_some_and(|(_, back)| open(back)))
    }

    pub(super) fn refuse_peering(&self, key: &str, body: &Value) -> Option<Reply> {
        let (own, remote) = (whole(key), remote_of(body)?);
        let subscription = remote.split('/').nth(2).unwrap_or_default();
        if self.closed.iter().any(|closed| closed.eq_ignore_ascii_case(subscription)) {
            // Azure/OpenShift#68.
            let message = format!(
                "The client 'operator@example.com' has permission to perform action 'Microsoft.Network/virtualNetworks/virtualNetworkPeerings/write' \
                 on scope '{key}'; however, it does not have permission to perform action 'peer/action' on the linked scope(s) '{remote}'."
            );
            return Some(refused(403, "LinkedAuthorizationFailed", &message));
        }
        let known = self.resources.get(key).and_then(|old| remote_of(old.body()));
        if known.is_some_and(|known| known != remote) {
            // The code is a guess.
            let message = format!("The remote virtual network of peering {key} cannot be changed.");
            return Some(refused(400, "RemoteVnetCannotBeChanged", &message));
        }
        if let Some((other, _)) = self.peering(own, &remote).filter(|(other, _)| *other != key) {
            let message = format!(
                "Peering {other} already references remote virtual network {remote}. Cannot add another peering referencing the same remote \
                 virtual network."
            );
            return Some(refused(400, "AnotherPeeringAlreadyReferencesRemoteVnet", &message));
        }
        if let Some((back, _)) = self.peering(&remote, own).filter(|(_, back)| state(back) == "Disconnected") {
            // terraform-provider-azurerm#14051
            let message = format!(
                "Cannot create or update peering {key} because remote peering {back} referencing parent virtual network {own} is in \
                 Disconnected state. Update or re-create the remote peering to get it back to Initiated state. Peering gets Disconnected \
                 when remote vnet or remote peering is deleted and re-created."
            );
            return Some(refused(400, "RemotePeeringIsDisconnected", &message));
        }
        self.overlap(key, own, &remote)
    }

    /// Of two networks, and of either with what the other is peered with (Azure/ResourceModules#731).
    fn overlap(&self, key: &str, own: &str, remote: &str) -> Option<Reply> {
        let spaces = |id: &str| self.resources.get(id).map(|network| space(network.body())).unwrap_or_default();
        let shared = |one: &[IpNet], other: &[IpNet]| -> Option<IpNet> {
            let same = |net: &&IpNet| other.iter().any(|o| o.contains(*net) || net.contains(o));
            one.iter().find(same).copied()
        };
        if let Some(net) = shared(&spaces(own), &spaces(remote)) {
            let message = format!(
                "Cannot create or update peering {key}. Virtual networks {own} and {remote} cannot be peered because their address spaces \
                 overlap. Overlapping address prefixes: {net}"
            );
            return Some(refused(400, "VnetAddressSpacesOverlap", &message));
        }
        for (first, second) in [(own, remote), (remote, own)] {
            let others = self.peerings_of(second).filter_map(|(_, peering)| {
                let at = peering.body().pointer("/properties/remoteAddressSpace").cloned().unwrap_or_default();
                Some((remote_of(peering.body())?, space(&json!({"properties": {"addressSpace": at}}))))
            });
            let found = others.filter(|(other, _)| other != first).find_map(|(other, space)| {
                let space = if space.is_empty() { spaces(&other) } else { space };
                Some((shared(&spaces(first), &space)?, other))
            });
            if let Some((net, other)) = found {
                let message = format!(
                    "Cannot create or update peering {key}. Virtual networks {first} and {second} cannot be peered because address space of \
                     the first virtual network overlaps with address space of virtual network {other} already peered with the second \
                     virtual network. Overlapping address prefixes: {net}"
                );
                return Some(refused(400, "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet", &message));
            }
        }
        None
    }

    /// A peering sets both of its networks to work: a second one of the same network, or the other side of the same one, is refused
    /// meanwhile (terraform-provider-azurerm#2605; that provider writes one peering at a time).
    pub(super) fn busy_networks(&self, call: &Call<'_>, key: &str, body: &Value) -> Option<Reply> {
        let stored = self.resources.get(key).filter(|r| r.kind.path == PEERINGS);
        let remote = remote_of(body).or_else(|| remote_of(stored?.body()));
        let own = whole(key);
        let touches = |operation: &Operation, network: &str| {
            let target = &operation.target;
            let of_target = self.resources.get(target).filter(|r| r.kind.path == PEERINGS);
            let leads = of_target.is_some_and(|peering| remote_of(peering.body()).as_deref() == Some(network));
            network.contains("/virtualnetworks/") && (leads || whole(target) == network)
        };
        let at_work = |network: &str| {
            let mut all = self.under_way.iter().filter_map(|id| Some((id, self.operations.get(id)?)));
            all.find(|(_, operation)| touches(operation, network)).map(|(id, _)| id.clone())
        };
        if let Some(id) = at_work(own) {
            let message = format!(
                "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: \
                 {}/subscriptions/{}/providers/Microsoft.Network/locations/westeurope/operations/{id}?api-version=2020-05-01.",
                call.origin, self.subscription
            );
            return Some(refused(409, "AnotherOperationInProgress", &message));
        }
        let remote = remote.filter(|remote| call.method == "PUT" && at_work(remote).is_some())?;
        let message = format!(
            "Cannot proceed with operation because resource {remote} used by resource {key} is not in Succeeded state. Resource is in \
             Updating state and the last operation that updated/is updating the resource is PutVirtualNetworkPeeringOperation."
        );
        Some(refused(400, "ReferencedResourceNotProvisioned", &message))
    }

    /// What a written peering has come to.
    pub(super) fn connect(&mut self, key: &str) {
        let Some(remote) = self.resources.get(key).and_then(|peering| remote_of(peering.body())) else { return };
        let back = self.peering(&remote, whole(key)).map(|(back, _)| back.to_owned());
        let state = if back.is_some() { "Connected" } else { "Initiated" };
        let space = self.resources.get(&remote).and_then(|n| n.body().pointer("/properties/addressSpace").cloned());
        for side in [Some(key.to_owned()), back].into_iter().flatten() {
            if let Some(peering) = self.resources.get_mut(&side) {
                let own = side == key;
                peering.change(|body| {
                    let properties = object(body, "properties");
                    properties["peeringState"] = json!(state);
                    if let (true, Some(space)) = (own, &space) {
                        properties["remoteAddressSpace"] = space.clone();
                        properties["remoteVirtualNetworkAddressSpace"] = space.clone();
                    }
                });
            }
        }
    }

    /// A peering has gone, or its network has: the other side stays and says so ("Virtual network peering", Disconnected).
    pub(super) fn disconnect(&mut self, key: &str, remote: Option<&str>) {
        let back = remote.and_then(|remote| self.peering(remote, whole(key))).map(|(back, _)| back.to_owned());
        if let Some(peering) = back.and_then(|back| self.resources.get_mut(&back)) {
            peering.change(|body| object(body, "properties")["peeringState"] = json!("Disconnected"));
        }
    }

    /// Everything in a network or a resource group goes.
    pub(super) fn disconnect_all(&mut self, within: &str) {
        let going = self.children(within).filter(|(_, child)| child.kind.path == PEERINGS);
        let going: Vec<_> = going.map(|(key, peering)| (key.to_owned(), remote_of(peering.body()))).collect();
        for (key, remote) in going {
            self.disconnect(&key, remote.as_deref());
        }
    }
}
