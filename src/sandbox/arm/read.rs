//! Reading: resources as they are shown, lists, and what a subscription offers.

use serde_json::{Map, Value, json};

use super::{
    World,
    groups::{group_of, subscription_of},
    kinds::{CONFIGURATIONS, Etag, Kind, PEERINGS, find, guid, object, parts},
    peerings::remote_of,
    power::{MACHINES, instance_view, status_only},
    reply::{Call, answered},
    route::unknown,
    state::{Resource, State},
};
use crate::sandbox::http::Reply;

impl World {
    pub(super) fn read(&self, call: &Call<'_>, kind: &Kind, segments: &[&str]) -> Reply {
        let Some(resource) = self.resources.get(&call.key) else { return self.no_resource(kind, segments) };
        let expand = call.query("$expand").unwrap_or_default().to_lowercase();
        let mut shown = self.show(resource, expand.contains("userdata"));
        if expand.contains("instanceview") && resource.kind.path == MACHINES {
            object(&mut shown, "properties")["instanceView"] = instance_view(resource);
        }
        let reply = answered(200, &shown);
        match etag(resource) {
            Some(etag) => reply.with("ETag", &etag),
            None => reply,
        }
    }

    /// As Azure would answer it now.
    pub(super) fn show(&self, resource: &Resource, user_data: bool) -> Value {
        let key = resource.id.to_lowercase();
        let mut shown = json!({"name": resource.name, "id": resource.id, "type": resource.kind.named});
        for (name, value) in resource.body().as_object().into_iter().flatten() {
            shown[name.as_str()] = value.clone();
        }
        match resource.kind.etag {
            Etag::Weak => shown["etag"] = json!(format!("W/\"{}\"", guid(resource.etag))),
            Etag::Plain => shown["etag"] = json!(guid(resource.etag)),
            Etag::Absent => {}
        }
        let etag = shown.get("etag").cloned().unwrap_or_default();
        let properties = object(&mut shown, "properties");
        properties["provisioningState"] = json!(self.state_of(resource).word());
        for (_, field, segment) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == resource.kind.path) {
            for part in parts(properties, field) {
                let name = part["name"].as_str().unwrap_or_default().to_owned();
                part["id"] = json!(format!("{}/{segment}/{name}", resource.id));
                part["etag"] = etag.clone();
                part["type"] = json!(format!("{}/{segment}", resource.kind.path));
                object(part, "properties")["provisioningState"] = json!("Succeeded");
            }
        }
        let mut shown_tags = Value::Null;
        let ids = |ids: Vec<String>| ids.into_iter().map(|id| json!({"id": id})).collect::<Value>();
        match resource.kind.path {
            "Microsoft.Network/virtualNetworks" => {
                let subnets = self.children(&key).filter(|(_, child)| child.kind.path != PEERINGS);
                properties["subnets"] = subnets.map(|(_, child)| self.show(child, false)).collect();
                properties["virtualNetworkPeerings"] =
                    self.peerings_of(&key).map(|(_, peering)| self.show(peering, false)).collect();
            }
            PEERINGS => {
                default_state(properties);
                let remote = remote_of(resource.body()).and_then(|id| self.resources.get(&id));
                if let Some(space) = remote.and_then(|network| network.body().pointer("/properties/addressSpace")) {
                    let synced = properties.get("remoteAddressSpace").is_none_or(|known| known == space);
                    properties["peeringSyncLevel"] = json!(if synced { "FullyInSync" } else { "LocalNotInSync" });
                    properties["remoteVirtualNetworkAddressSpace"] = space.clone();
                }
            }
            "Microsoft.Network/networkSecurityGroups" => {
                properties["securityRules"] = self.children(&key).map(|(_, child)| self.show(child, false)).collect();
                properties["defaultSecurityRules"] = default_rules(&resource.id);
                for (field, kind) in [("subnets", "/subnets/"), ("networkInterfaces", "/networkinterfaces/")] {
                    let mut users = self.users(&key);
                    users.retain(|user| user.to_lowercase().contains(kind));
                    if !users.is_empty() {
                        properties[field] = ids(users);
                    }
                }
            }
            "Microsoft.Network/virtualNetworks/subnets" => {
                let users = self.users(&key);
                if !users.is_empty() {
                    // Azure writes names in capitals here, and in few other places.
                    properties["ipConfigurations"] = ids(users.iter().map(|u| shout(u)).collect());
                }
            }
            "Microsoft.Network/publicIPAddresses" => {
                if let Some(user) = self.users(&key).into_iter().next() {
                    properties["ipConfiguration"] = json!({"id": user});
                }
            }
            "Microsoft.Network/networkInterfaces" => {
                if let Some(user) = self.users(&key).into_iter().next() {
                    properties["virtualMachine"] = json!({"id": user});
                }
            }
            "Microsoft.Network/firewallPolicies" => {
                // `TestCasing` came back as `testCasing` (azure-rest-api-specs#11899); whether it still does was not tried.
                let tags = resource.body().get("tags").and_then(Value::as_object);
                if let Some(tags) = tags {
                    shown_tags = tags.iter().map(|(name, value)| (uncapitalised(name), value.clone())).collect();
                }
                properties["firewalls"] = ids(self.users(&key));
                properties["ruleCollectionGroups"] =
                    ids(self.children(&key).map(|(_, child)| child.id.clone()).collect());
            }
            "Microsoft.Compute/disks" => {
                let user = self.users(&key).into_iter().next();
                properties["diskState"] = json!(if user.is_some() { "Attached" } else { "Unattached" });
                if let Some(user) = user {
                    shown["managedBy"] = json!(user);
                }
            }
            MACHINES if !user_data => {
                if let Some(map) = properties.as_object_mut() {
                    map.remove("userData");
                }
            }
            _ => {}
        }
        if !shown_tags.is_null() {
            shown["tags"] = shown_tags;
        }
        shown
    }

    /// A firewall takes in what its policy is told.
    fn state_of(&self, resource: &Resource) -> State {
        let policy = resource.body().pointer("/properties/firewallPolicy/id").and_then(Value::as_str);
        let policy = policy.and_then(|id| self.resources.get(id.to_lowercase().as_str()));
        match resource.state {
            State::Succeeded if policy.is_some_and(|policy| policy.state == State::Updating) => State::Updating,
            own => own,
        }
    }

    pub(super) fn children<'a>(&'a self, key: &str) -> impl Iterator<Item = (&'a str, &'a Resource)> + use<'a> {
        let prefix = format!("{key}/");
        let all = self.resources.range(prefix.clone()..).map(|(key, resource)| (key.as_str(), resource));
        all.take_while(move |(key, _)| key.starts_with(&prefix))
    }

    /// Who refers to a resource from outside of it: the address configuration that does, or the resource.
    pub(super) fn users(&self, key: &str) -> Vec<String> {
        let within = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        let outside = |other: &str| other != key && !within(other, key) && !within(key, other);
        // A peering keeps no network from going.
        let others = self.resources.iter().filter(|(other, r)| outside(other) && r.kind.path != PEERINGS);
        let uses = others.flat_map(|(_, resource)| resource.uses()).filter(|used| used.of == key);
        uses.map(|used| used.by.clone()).collect()
    }

    /// `under` is in lower case.
    pub(super) fn list(&self, call: &Call<'_>, path: &str, under: &str) -> Reply {
        let Some(kind) = find(path) else { return unknown(path) };
        if let Some(reply) = self.unregistered(kind.path) {
            return reply;
        }
        let here = subscription_of(&call.key);
        let all = self
            .resources
            .iter()
            .filter(|(key, r)| r.kind.path == kind.path && key.starts_with(&here) && key.starts_with(under));
        let all: Vec<&Resource> = all.map(|(_, resource)| resource).collect();
        if kind.path == MACHINES && call.query("statusOnly").is_some_and(|only| only.eq_ignore_ascii_case("true")) {
            return self.paged(call, &all, |resource| status_only(resource));
        }
        self.paged(call, &all, |resource| self.show(resource, false))
    }

    /// `resources?$filter=tagName eq 'a' and tagValue eq 'b'`: only what has tags of its own, and only in outline.
    pub(super) fn by_tag(&self, call: &Call<'_>, group: Option<&str>) -> Reply {
        let filter = call.query("$filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('\'').skip(1).step_by(2).collect();
        let (name, value) = (quoted.first().copied(), quoted.get(1).copied());
        let under = group.map_or_else(|| subscription_of(&call.key), |_| format!("{}/", group_of(&call.key)));
        let tagged = |resource: &Resource| {
            let tags = resource.body().get("tags").and_then(Value::as_object);
            name.is_none_or(|name| {
                // Names of tags are compared without case.
                let mut tags = tags.into_iter().flatten();
                tags.any(|(n, v)| n.eq_ignore_ascii_case(name) && value.is_none_or(|value| v.as_str() == Some(value)))
            })
        };
        let indexed = |resource: &Resource| {
            resource.born.checked_add(self.pace.index).is_ok_and(|from| from <= call.now) && resource.kind.tracked
        };
        let all = self.resources.iter().filter(|(key, r)| key.starts_with(&under) && indexed(r) && tagged(r));
        let gone = self.departed.iter().filter(|(since, gone)| {
            let shown = since.checked_add(self.pace.index_of_gone).is_ok_and(|until| call.now < until);
            let key = gone.id.to_lowercase();
            shown && key.starts_with(&under) && !self.resources.contains_key(&key) && tagged(gone)
        });
        let all: Vec<&Resource> = all.map(|(_, resource)| resource).chain(gone.map(|(_, resource)| resource)).collect();
        self.paged(call, &all, |resource| {
            let mut item = json!({"id": resource.id, "name": resource.name, "type": resource.kind.path});
            for field in ["location", "tags"] {
                if let Some(value) = resource.body().get(field).filter(|v| !v.is_null()) {
                    item[field] = value.clone();
                }
            }
            if resource.kind.path == "Microsoft.Compute/disks"
                && let Some(user) = self.users(&resource.id.to_lowercase()).into_iter().next()
            {
                item["managedBy"] = json!(user);
            }
            item
        })
    }

    /// One page. Only what is on it is shown.
    pub(super) fn paged<T>(&self, call: &Call<'_>, all: &[T], show: impl Fn(&T) -> Value) -> Reply {
        let from: usize = call.query("$skiptoken").and_then(|t| t.parse().ok()).unwrap_or_default();
        let page: Vec<Value> = all.iter().skip(from).take(self.page).map(show).collect();
        let next = from.saturating_add(page.len());
        // Moved and not copied, which `json!` would do.
        let mut body = Value::Object(Map::from_iter([("value".to_owned(), Value::Array(page))]));
        if next < all.len() && next > from {
            body["nextLink"] = json!(call.link(&[("$skiptoken", &next.to_string())]));
        }
        answered(200, &body)
    }

    pub(super) fn provider(&self, namespace: &str) -> Reply {
        let known = self.registered.iter().find(|r| r.eq_ignore_ascii_case(namespace));
        let state = if known.is_some() { "Registered" } else { "NotRegistered" };
        let name = known.map_or(namespace, String::as_str);
        let id = format!("/subscriptions/{}/providers/{name}", self.subscription);
        // Of the types only those that gangplank asks for.
        let types = if namespace.eq_ignore_ascii_case("Microsoft.DevTestLab") {
            json!([{"resourceType": "schedules", "locations": self.sizes.keys().collect::<Vec<_>>()}])
        } else {
            json!([])
        };
        answered(200, &json!({"id": id, "namespace": name, "registrationState": state, "resourceTypes": types}))
    }

    pub(super) fn skus(&self, call: &Call<'_>) -> Reply {
        let filter = call.query("$filter").unwrap_or_default();
        let location = filter.split('\'').nth(1).unwrap_or_default().to_lowercase();
        let here = self.sizes.iter().filter(|(l, _)| location.is_empty() || **l == location);
        let all: Vec<(&String, &String)> = here.flat_map(|(l, sizes)| sizes.iter().map(move |s| (l, s))).collect();
        self.paged(call, &all, |(location, size)| {
            // Standard_B2pts_v2: the p says whose processor it is.
            let arm = size.chars().skip_while(|c| !c.is_ascii_digit()).any(|c| c == 'p');
            json!({"resourceType": "virtualMachines", "name": size, "locations": [location], "restrictions": [],
                   "capabilities": [{"name": "CpuArchitectureType", "value": if arm { "Arm64" } else { "x64" }},
                                    {"name": "HyperVGenerations", "value": if arm { "V2" } else { "V1,V2" }}]})
        })
    }
}

/// Nobody has connected it yet.
fn default_state(properties: &mut Value) {
    if properties["peeringState"].is_null() {
        properties["peeringState"] = json!("Initiated");
    }
}

fn uncapitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

pub(super) fn etag(resource: &Resource) -> Option<String> {
    match resource.kind.etag {
        Etag::Weak => Some(format!("W/\"{}\"", guid(resource.etag))),
        Etag::Plain => Some(format!("\"{}\"", guid(resource.etag))),
        Etag::Absent => None,
    }
}

/// The rules that every group has, the last of which end every question.
pub(super) fn default_rules(id: &str) -> Value {
    let rule = |name: &str, direction: &str, priority: u32, access: &str, from: &str, to: &str| {
        json!({"name": name, "id": format!("{id}/defaultSecurityRules/{name}"), "properties": {
            "provisioningState": "Succeeded", "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*",
            "sourceAddressPrefix": from, "destinationAddressPrefix": to, "access": access, "priority": priority,
            "direction": direction}})
    };
    Value::Array(vec![
        rule("AllowVnetInBound", "Inbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        rule("AllowAzureLoadBalancerInBound", "Inbound", 65001, "Allow", "AzureLoadBalancer", "*"),
        rule("DenyAllInBound", "Inbound", 65500, "Deny", "*", "*"),
        rule("AllowVnetOutBound", "Outbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        rule("AllowInternetOutBound", "Outbound", 65001, "Allow", "*", "Internet"),
        rule("DenyAllOutBound", "Outbound", 65500, "Deny", "*", "*"),
    ])
}

/// Names in capitals, the structure as it was.
pub(super) fn shout(id: &str) -> String {
    let words = ["subscriptions", "resourceGroups", "providers"];
    let mut parts: Vec<String> = id.split('/').map(str::to_owned).collect();
    for (index, part) in parts.iter_mut().enumerate() {
        // Every second part is a name, from the group's on.
        if !words.contains(&part.as_str()) && (index == 4 || (index >= 8 && index % 2 == 0)) {
            *part = part.to_uppercase();
        }
    }
    parts.join("/")
}
