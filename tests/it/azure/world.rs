//! An Azure Resource Manager in memory. It carries out actions as the performer would and refuses what Azure would refuse; a step
//! that is refused here is a mistake of the diff that made it. It is ours, and knows no more than what is written here.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::{
    changeset::{Changeset, Step},
    provider::azure::{
        action::{Action, Call, filled},
        id::{Id, Kind},
        observed::{Observed, Quota, Size, Surroundings},
        shared, tags,
    },
};
use serde_json::{Value, json};

use super::json::{check_tags, ids, unique};
pub use super::json::{kind, list, power, text};
use crate::arm::schema;
pub use crate::aws::Chance;

#[derive(Clone, Debug, Default)]
pub struct World {
    /// By id. Subnets stand in their networks; what refers back to a resource is added when it is read.
    pub all: BTreeMap<Id, Value>,
    addresses: u8,
}

impl World {
    pub fn add(&mut self, id: &Id, mut body: Value) {
        body["id"] = json!(id.as_str());
        body["name"] = json!(id.name());
        if !body["properties"].is_object() {
            body["properties"] = json!({});
        }
        if body["properties"]["provisioningState"].is_null() {
            body["properties"]["provisioningState"] = json!("Succeeded");
        }
        self.all.insert(id.clone(), body);
    }

    pub fn surroundings(&self) -> Surroundings {
        let size = |name: &str, arm64: bool| Size {
            name: name.to_owned(),
            arm64,
            second_generation: true,
            restricted: None,
            family: "standardBSFamily".to_owned(),
            cores: 1,
        };
        let mut gone = size("Standard_B9", false);
        gone.restricted = Some("NotAvailableForSubscription".to_owned());
        let quota = |name: &str| Quota { name: name.to_owned(), said: name.to_owned(), used: 9, limit: 10 };
        Surroundings {
            sizes: vec![size("Standard_B1s", false), size("Standard_B2pts_v2", true), gone],
            quotas: vec![quota("cores"), quota("standardBSFamily")],
        }
    }

    pub fn look(&self) -> Observed {
        let all: Vec<Value> = self.all.keys().map(|id| self.read(id).expect("it is there")).collect();
        let inside = all.iter().filter(|r| !matches!(kind(r), Some(Kind::ResourceGroup | Kind::RuleGroup)));
        let mut seen = Observed::new(&all, inside);
        // Every group with the tag is one that some plan names.
        let groups: Vec<(Id, String)> = seen
            .of_kind(Kind::ResourceGroup)
            .filter_map(|group| Some((group.id.clone(), group.tags.get(tags::BASTION)?.clone())))
            .collect();
        for (group, bastion) in groups {
            seen.plan_group(&group, &bastion, false);
        }
        seen
    }

    /// A resource with what Azure says of those that refer to it.
    pub fn read(&self, id: &Id) -> Option<Value> {
        let mut raw = self.all.get(id)?.clone();
        let users = |of: &Id| -> Vec<Value> {
            let configurations = self.all.values().flat_map(|r| {
                let single = r.pointer("/properties/managementIpConfiguration").into_iter();
                list(r, "/properties/ipConfigurations").iter().chain(single).map(move |c| (r, c))
            });
            let uses = configurations.filter(|(_, c)| ids(c).iter().any(|id| id == of));
            uses.map(|(r, c)| json!({"id": format!("{}/ipConfigurations/{}", text(r, "/id"), text(c, "/name"))}))
                .collect()
        };
        let those = |wanted: Kind, pointer: &str| -> Vec<Value> {
            let of = self.all.iter().filter(|(_, r)| kind(r) == Some(wanted) && text(r, pointer) == id.as_str());
            of.map(|(id, _)| json!({"id": id.as_str()})).collect()
        };
        match kind(&raw)? {
            Kind::Network => {
                for subnet in raw.pointer_mut("/properties/subnets").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    subnet["properties"]["ipConfigurations"] = json!(users(&Id::new(text(subnet, "/id"))));
                }
            }
            Kind::Address => {
                if let Some(user) = users(id).into_iter().next() {
                    raw["properties"]["ipConfiguration"] = user;
                }
            }
            Kind::SecurityGroup => {
                raw["properties"]["networkInterfaces"] =
                    json!(those(Kind::Interface, "/properties/networkSecurityGroup/id"));
            }
            Kind::Policy => {
                raw["properties"]["firewalls"] = json!(those(Kind::Firewall, "/properties/firewallPolicy/id"));
                let groups = self.all.keys().filter(|g| g.kind() == Some(Kind::RuleGroup) && g.parent() == *id);
                raw["properties"]["ruleCollectionGroups"] = groups.map(|g| json!({"id": g.as_str()})).collect();
            }
            Kind::Interface => {
                if let Some(machine) =
                    those(Kind::Machine, "/properties/networkProfile/networkInterfaces/0/id").into_iter().next()
                {
                    raw["properties"]["virtualMachine"] = machine;
                }
            }
            _ => {}
        }
        Some(raw)
    }

    /// Carries out at most `limit` steps, in an order that `after` allows and `chance` chooses. `check` sees the world after
    /// each. Returns how many were done.
    pub fn execute(
        &mut self,
        set: &Changeset<Action>,
        mut chance: Chance,
        limit: usize,
        mut check: impl FnMut(&World, &Step<Action>),
    ) -> usize {
        let mut left: Vec<&Step<Action>> = set.steps.iter().collect();
        let mut done = Vec::new();
        while !left.is_empty() && done.len() < limit {
            let ready: Vec<usize> =
                (0..left.len()).filter(|&i| left[i].after.iter().all(|id| done.contains(&id))).collect();
            assert!(!ready.is_empty(), "nothing can start: {left:?}");
            let step = left.remove(ready[chance.below(ready.len())]);
            if let Err(refusal) = self.perform(&step.action) {
                panic!("Azure refuses {}: {refusal}\n{step:#?}\n{:#?}", step.id, self.all.keys());
            }
            done.push(&step.id);
            check(self, step);
        }
        done.len()
    }

    fn perform(&mut self, action: &Action) -> Result<(), String> {
        match &action.call {
            Call::Put { id, body, fill } => {
                let body = filled(body.clone(), fill, |id| self.read(id)).map_err(|f| format!("nothing for {f:?}"))?;
                check(id, &body);
                self.put(id, body)
            }
            Call::Patch { id, body } => {
                let raw = self.all.get_mut(id).ok_or("ResourceNotFound")?;
                let (Some(properties), Some(new)) = (raw["properties"].as_object_mut(), body["properties"].as_object())
                else {
                    return Err("a body".to_owned());
                };
                properties.extend(new.clone());
                let tags = body["tags"].as_object().cloned().unwrap_or_default();
                if let Some(there) = raw["tags"].as_object_mut() {
                    there.extend(tags);
                }
                check_tags(raw)
            }
            Call::Tag { id, set, remove } => {
                let raw = self.all.get_mut(id).ok_or("ResourceNotFound")?;
                if !raw["tags"].is_object() {
                    raw["tags"] = json!({});
                }
                let Some(tags) = raw["tags"].as_object_mut() else { return Err("tags".to_owned()) };
                tags.extend(set.iter().map(|(k, v)| (k.clone(), json!(v))));
                tags.retain(|key, _| !remove.contains(key));
                check_tags(raw)
            }
            Call::Start { id } => {
                self.all.get_mut(id).ok_or("ResourceNotFound")?["properties"]["instanceView"] = power("running");
                Ok(())
            }
            Call::Reapply { id } | Call::Wait { id } => {
                self.all.get_mut(id).ok_or("ResourceNotFound")?["properties"]["provisioningState"] = json!("Succeeded");
                Ok(())
            }
            Call::Delete { id } => self.delete(id),
            Call::DeleteGroup { id, with } => {
                self.all.retain(|other, _| !with.contains(other));
                let inside = self.all.keys().find(|other| *other != id && other.is_within(id));
                match inside {
                    Some(other) => Err(format!("not empty: {other}")),
                    None => self.all.remove(id).map(drop).ok_or("ResourceGroupNotFound".to_owned()),
                }
            }
            Call::NatCollection { firewall, name, collection, fill } => {
                let raw = self.all.get(firewall).ok_or("ResourceNotFound")?;
                if shared::whose(raw, name, &action.bastion) == shared::Whose::Foreign {
                    return Err("not ours".to_owned());
                }
                let changed = match collection {
                    Some(collection) => {
                        let read = |id: &Id| self.read(id);
                        let collection =
                            filled(collection.clone(), fill, read).map_err(|f| format!("nothing for {f:?}"))?;
                        #[cfg(feature = "azure")]
                        assert_eq!(
                            gangplank::provider::azure::typed::unknown_in_collection(&collection),
                            [""; 0],
                            "{collection:#}"
                        );
                        shared::with_our_collection(raw, &collection)
                    }
                    None => shared::without_our_collection(raw, name),
                };
                unique(list(&changed, "/properties/natRuleCollections"), "/properties/priority")?;
                check(
                    firewall,
                    &json!({"location": changed["location"], "properties": {
                    "natRuleCollections": changed["properties"]["natRuleCollections"]}}),
                );
                self.all.insert(firewall.clone(), changed);
                Ok(())
            }
        }
    }

    fn put(&mut self, id: &Id, mut body: Value) -> Result<(), String> {
        let kind = id.kind().ok_or("InvalidResourceType")?;
        let before = self.all.get(id).cloned();
        check_tags(&body)?;
        if kind != Kind::ResourceGroup && !self.all.contains_key(&id.group_id()) {
            return Err("ResourceGroupNotFound".to_owned());
        }
        for other in ids(&body) {
            let there =
                self.all.contains_key(&other) || other.kind() == Some(Kind::Subnet) && self.subnet(&other).is_some();
            if !there {
                return Err(format!("ReferencedResourceNotFound: {other}"));
            }
        }
        if let Some(before) = &before
            && !text(before, "/location").eq_ignore_ascii_case(text(&body, "/location"))
            && kind != Kind::RuleGroup
        {
            return Err("InvalidResourceLocation".to_owned());
        }
        match kind {
            Kind::Subnet => return self.put_subnet(id, body),
            Kind::Peering => return self.put_peering(id, body),
            Kind::Network => {
                if before.is_some() {
                    return Err("a second PUT would take away subnets that others have added".to_owned());
                }
                for subnet in
                    body.pointer_mut("/properties/subnets").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    let child = id.child(Kind::Subnet, text(subnet, "/name"));
                    subnet["id"] = json!(child.as_str());
                }
            }
            Kind::SecurityGroup => {
                for direction in ["Inbound", "Outbound"] {
                    let rules = list(&body, "/properties/securityRules").iter();
                    let rules: Vec<Value> =
                        rules.filter(|r| text(r, "/properties/direction") == direction).cloned().collect();
                    unique(&rules, "/properties/priority")?;
                }
                unique(list(&body, "/properties/securityRules"), "/name")?;
            }
            Kind::Address => {
                let known = before.as_ref().map(|b| b["properties"]["ipAddress"].clone());
                self.addresses += 1;
                body["properties"]["ipAddress"] = known.unwrap_or_else(|| json!(format!("20.0.0.{}", self.addresses)));
            }
            Kind::Interface => self.put_interface(id, &mut body, before.as_ref())?,
            Kind::RuleGroup => {
                let others = self
                    .all
                    .iter()
                    .filter(|(g, _)| g.kind() == Some(Kind::RuleGroup) && g.parent() == id.parent() && *g != id);
                let mut all: Vec<Value> = others.map(|(_, g)| g.clone()).collect();
                all.push(body.clone());
                unique(&all, "/properties/priority")?;
                if !self.all.contains_key(&id.parent()) {
                    return Err("ParentResourceNotFound".to_owned());
                }
            }
            Kind::Firewall => self.check_firewall(id, &body, before.as_ref())?,
            Kind::Policy => {
                let tier = |v: &Value| text(v, "/properties/sku/tier").to_owned();
                if before.as_ref().is_some_and(|b| tier(b) != tier(&body)) {
                    return Err("FirewallPolicySkuUpdateNotAllowed".to_owned());
                }
            }
            Kind::Machine => {
                if before.is_some() {
                    return Err("PropertyChangeNotAllowed".to_owned());
                }
                let interface = Id::new(text(&body, "/properties/networkProfile/networkInterfaces/0/id"));
                if !self.read(&interface).ok_or("NotFound")?["properties"]["virtualMachine"].is_null() {
                    return Err("NicInUse".to_owned());
                }
                body["properties"]["instanceView"] = power("running");
                // Azure does not show it again.
                body["properties"]["osProfile"].as_object_mut().map(|p| p.shift_remove("customData"));
            }
            Kind::ResourceGroup => {}
            Kind::AutoShutdown => {
                let machine = Id::new(text(&body, "/properties/targetResourceId"));
                if !self.all.contains_key(&machine) {
                    return Err("ResourceNotFound".to_owned());
                }
                let name = format!("shutdown-computevm-{}", machine.name());
                if id.name() != name || id.group_id() != machine.group_id() {
                    return Err("InvalidScheduleId".to_owned());
                }
            }
            Kind::Disk | Kind::RouteTable | Kind::IpGroup => return Err("never made".to_owned()),
        }
        self.add(id, body);
        Ok(())
    }

    fn put_subnet(&mut self, id: &Id, mut body: Value) -> Result<(), String> {
        body["id"] = json!(id.as_str());
        body["name"] = json!(id.name());
        let network = self.all.get_mut(&id.parent()).ok_or("ParentResourceNotFound")?;
        let subnets = network.pointer_mut("/properties/subnets").and_then(Value::as_array_mut).ok_or("subnets")?;
        subnets.retain(|s| Id::new(text(s, "/id")) != *id);
        subnets.push(body);
        Ok(())
    }

    fn peerings(&mut self, network: &Id) -> Option<&mut Vec<Value>> {
        let properties = &mut self.all.get_mut(network)?["properties"];
        if !properties["virtualNetworkPeerings"].is_array() {
            properties["virtualNetworkPeerings"] = json!([]);
        }
        properties["virtualNetworkPeerings"].as_array_mut()
    }

    /// What the side of another network says of ours, where it has one.
    fn back(&mut self, own: &Id, remote: &Id) -> Option<&mut Value> {
        self.peerings(remote)?.iter_mut().find(|p| Id::new(text(p, REMOTE)) == *own)
    }

    fn put_peering(&mut self, id: &Id, mut body: Value) -> Result<(), String> {
        let (own, remote) = (id.parent(), Id::new(text(&body, REMOTE)));
        let space = self.all.get(&remote).ok_or("ReferencedResourceNotFound")?["properties"]["addressSpace"].clone();
        let mut state = "Initiated";
        if let Some(back) = self.back(&own, &remote) {
            if text(back, STATE) == "Disconnected" {
                return Err("RemotePeeringIsDisconnected".to_owned());
            }
            state = "Connected";
            back["properties"]["peeringState"] = json!(state);
        }
        body["id"] = json!(id.as_str());
        body["name"] = json!(id.name());
        body["properties"]["peeringState"] = json!(state);
        body["properties"]["remoteVirtualNetworkAddressSpace"] = space;
        let all = self.peerings(&own).ok_or("ParentResourceNotFound")?;
        if all.iter().any(|p| Id::new(text(p, REMOTE)) == remote && Id::new(text(p, "/id")) != *id) {
            return Err("AnotherPeeringAlreadyReferencesRemoteVnet".to_owned());
        }
        all.retain(|p| Id::new(text(p, "/id")) != *id);
        all.push(body);
        Ok(())
    }

    fn disconnect(&mut self, own: &Id, remote: &Id) {
        if let Some(back) = self.back(own, remote) {
            back["properties"]["peeringState"] = json!("Disconnected");
        }
    }

    pub fn delete_peering(&mut self, id: &Id) -> Result<(), String> {
        let all = self.peerings(&id.parent()).ok_or("no network")?;
        let at = all.iter().position(|p| Id::new(text(p, "/id")) == *id).ok_or("not there, and the diff has looked")?;
        let remote = Id::new(text(&all.remove(at), REMOTE));
        self.disconnect(&id.parent(), &remote);
        Ok(())
    }

    fn put_interface(&self, id: &Id, body: &mut Value, before: Option<&Value>) -> Result<(), String> {
        const SUBNET: &str = "/properties/ipConfigurations/0/properties/subnet/id";
        const PRIVATE: &str = "/properties/ipConfigurations/0/properties/privateIPAddress";
        self.address_is_free(id, body)?;
        let kept = before.and_then(|b| b.pointer(PRIVATE)).cloned();
        if before.is_some_and(|b| Id::new(text(b, SUBNET)) != Id::new(text(body, SUBNET))) {
            return Err("SubnetsNotInSameVnet".to_owned());
        }
        let taken: BTreeSet<&str> = self.all.values().map(|r| text(r, PRIVATE)).collect();
        let subnet = self.subnet(&Id::new(text(body, SUBNET))).ok_or("NotFound")?;
        let range = text(&subnet, "/properties/addressPrefix");
        let network: ipnet::Ipv4Net = range.parse().map_err(|_| format!("a range: {range}"))?;
        let free = network.hosts().skip(3).map(|ip| ip.to_string()).find(|ip| !taken.contains(ip.as_str()));
        body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] =
            kept.unwrap_or_else(|| json!(free));
        Ok(())
    }

    fn check_firewall(&self, id: &Id, body: &Value, before: Option<&Value>) -> Result<(), String> {
        self.address_is_free(id, body)?;
        let tier = text(body, "/properties/sku/tier");
        if before.is_some_and(|b| text(b, "/properties/sku/tier") != tier) {
            return Err("AzureFirewallSkuUpdateNotAllowed".to_owned());
        }
        let policy = self.all.get(&Id::new(text(body, "/properties/firewallPolicy/id"))).ok_or("NotFound")?;
        if text(policy, "/properties/sku/tier") != tier {
            return Err("AzureFirewallPolicyAndFirewallSkuMismatch".to_owned());
        }
        let management = body.pointer("/properties/managementIpConfiguration");
        if management.is_some() != (tier == "Basic") {
            return Err("AzureFirewallManagementIpConfiguration".to_owned());
        }
        let subnet = Id::new(text(body, "/properties/ipConfigurations/0/properties/subnet/id"));
        if subnet.name() != "AzureFirewallSubnet" {
            return Err("AzureFirewallSubnetName".to_owned());
        }
        let network = self.read(&subnet.parent()).ok_or("NotFound")?;
        let found = list(&network, "/properties/subnets").iter().find(|s| Id::new(text(s, "/id")) == subnet);
        let others = found.map_or(&[][..], |s| list(s, "/properties/ipConfigurations")).iter();
        match others.map(|u| Id::new(text(u, "/id"))).find(|u| !u.is_within(id)) {
            Some(other) => Err(format!("SubnetIsInUse by {other}")),
            None => Ok(()),
        }
    }

    fn address_is_free(&self, id: &Id, body: &Value) -> Result<(), String> {
        for address in ids(body).into_iter().filter(|id| id.kind() == Some(Kind::Address)) {
            let raw = self.read(&address).ok_or("NotFound")?;
            let user = text(&raw, "/properties/ipConfiguration/id");
            if !user.is_empty() && !Id::new(user).is_within(id) {
                return Err(format!("PublicIPAddressInUse by {user}"));
            }
        }
        Ok(())
    }

    pub fn subnet(&self, id: &Id) -> Option<Value> {
        let network = self.all.get(&id.parent())?;
        list(network, "/properties/subnets").iter().find(|s| Id::new(text(s, "/id")) == *id).cloned()
    }

    fn delete(&mut self, id: &Id) -> Result<(), String> {
        if id.kind() == Some(Kind::Peering) {
            return self.delete_peering(id);
        }
        let raw = self.read(id).ok_or("not there, and the diff has looked")?;
        let used = match id.kind() {
            Some(Kind::Network) => list(&raw, "/properties/subnets").iter().find_map(|s| {
                list(s, "/properties/ipConfigurations").first().map(|u| format!("InUseSubnetCannotBeDeleted: {u}"))
            }),
            Some(Kind::Address) => {
                raw.pointer("/properties/ipConfiguration").map(|u| format!("PublicIPAddressCannotBeDeleted: {u}"))
            }
            Some(Kind::SecurityGroup) => list(&raw, "/properties/networkInterfaces")
                .first()
                .map(|u| format!("InUseNetworkSecurityGroupCannotBeDeleted: {u}")),
            Some(Kind::Policy) => {
                list(&raw, "/properties/firewalls").first().map(|u| format!("FirewallPolicyInUse: {u}"))
            }
            Some(Kind::Interface) => raw.pointer("/properties/virtualMachine").map(|u| format!("NicInUse: {u}")),
            Some(Kind::ResourceGroup) => Some("with DeleteGroup only".to_owned()),
            _ => None,
        };
        if let Some(used) = used {
            return Err(used);
        }
        self.all.retain(|other, _| !other.is_within(id));
        for peering in list(&raw, "/properties/virtualNetworkPeerings") {
            self.disconnect(id, &Id::new(text(peering, REMOTE)));
        }
        Ok(())
    }
}

const REMOTE: &str = "/properties/remoteVirtualNetwork/id";
const STATE: &str = "/properties/peeringState";

/// Panics with what Azure would say about the body of a PUT, by Microsoft's own schemas, where they are, and by the types that the
/// performer reads it into.
fn check(id: &Id, body: &Value) {
    let Some(kind) = id.kind() else { return };
    #[cfg(feature = "azure")]
    assert_eq!(gangplank::provider::azure::typed::unknown(kind, body), [""; 0], "{id}\n{body:#}");
    if let Err(why) = schema::validate(kind.type_name(), kind.api_version(), body) {
        panic!("{id}: {why}\n{body:#}");
    }
}
