//! Reading: resources as they are shown, lists, and what a subscription offers.

use serde_json::{Value, json};

use super::super::{
    kinds::{CONFIGURATIONS, Etag, Kind, guid, object, parts},
    reply::{Ask, Reply},
};
use super::{Resource, World, references};

impl World {
    pub(super) fn read(&mut self, ask: &Ask, key: &str, kind: &Kind, segments: &[&str]) -> Reply {
        if let Some(operation) = self.resources.get(key).and_then(|r| r.operation.clone()) {
            self.look(&operation);
        }
        let Some(resource) = self.resources.get(key) else { return self.no_resource(kind, segments) };
        let etag = self.etag(resource);
        let expand = ask.query("$expand").unwrap_or_default().to_lowercase();
        let mut shown = self.show(key, expand.contains("userdata"));
        if expand.contains("instanceview") && kind.path == "Microsoft.Compute/virtualMachines" {
            shown["properties"]["instanceView"] = self.instance_view(key);
        }
        Reply::json(200, shown).with_option("ETag", etag)
    }

    /// As Azure would answer it now.
    pub(super) fn show(&self, key: &str, user_data: bool) -> Value {
        let resource = &self.resources[key];
        let mut shown = json!({"name": resource.name, "id": resource.id, "type": resource.kind.named});
        let body = resource.body.as_object().cloned().unwrap_or_default();
        for (name, value) in body {
            shown[name.as_str()] = value;
        }
        match resource.kind.etag {
            Etag::Weak => shown["etag"] = json!(format!("W/\"{}\"", guid(resource.etag))),
            Etag::Plain => shown["etag"] = json!(guid(resource.etag)),
            Etag::Absent => {}
        }
        let etag = shown["etag"].clone();
        let properties = object(&mut shown, "properties");
        properties["provisioningState"] = json!(resource.state);
        for (_, field, segment) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == resource.kind.path) {
            for part in parts(properties, field) {
                let name = part["name"].as_str().unwrap_or_default().to_owned();
                part["id"] = json!(format!("{}/{segment}/{name}", resource.id));
                part["etag"] = etag.clone();
                part["type"] = json!(format!("{}/{segment}", resource.kind.path));
                object(part, "properties")["provisioningState"] = json!("Succeeded");
            }
        }
        let ids = |ids: Vec<String>| ids.into_iter().map(|id| json!({"id": id})).collect::<Vec<_>>();
        match resource.kind.path {
            "Microsoft.Network/virtualNetworks" => {
                properties["subnets"] = self.children(key).map(|child| self.show(child, false)).collect();
            }
            "Microsoft.Network/networkSecurityGroups" => {
                properties["securityRules"] = self.children(key).map(|child| self.show(child, false)).collect();
                properties["defaultSecurityRules"] = default_rules(&resource.id);
                for (field, kind) in [("subnets", "subnets"), ("networkInterfaces", "networkInterfaces")] {
                    let users: Vec<String> = self
                        .users(key)
                        .into_iter()
                        .filter(|u| u.to_lowercase().contains(&format!("/{}/", kind.to_lowercase())))
                        .collect();
                    if !users.is_empty() {
                        properties[field] = json!(ids(users));
                    }
                }
            }
            "Microsoft.Network/virtualNetworks/subnets" => {
                let users = self.users(key);
                if !users.is_empty() {
                    // Azure writes names in capitals here, and only here.
                    properties["ipConfigurations"] = json!(ids(users.iter().map(|u| shout(u)).collect()));
                }
            }
            "Microsoft.Network/publicIPAddresses" => {
                if let Some(user) = self.users(key).into_iter().next() {
                    properties["ipConfiguration"] = json!({"id": user});
                }
            }
            "Microsoft.Network/networkInterfaces" => {
                if let Some(user) = self.users(key).into_iter().next() {
                    properties["virtualMachine"] = json!({"id": user});
                }
            }
            "Microsoft.Network/firewallPolicies" => {
                properties["firewalls"] = json!(ids(self.users(key)));
                let groups = self.children(key).map(|child| self.resources[child].id.clone()).collect();
                properties["ruleCollectionGroups"] = json!(ids(groups));
            }
            "Microsoft.Compute/disks" => {
                let user = self.users(key).into_iter().next();
                properties["diskState"] = json!(if user.is_some() { "Attached" } else { "Unattached" });
                if let Some(user) = user {
                    shown["managedBy"] = json!(user);
                }
            }
            "Microsoft.Compute/virtualMachines" if !user_data => {
                if let Some(map) = properties.as_object_mut() {
                    map.remove("userData");
                }
            }
            _ => {}
        }
        shown
    }

    pub(super) fn etag(&self, resource: &Resource) -> Option<String> {
        match resource.kind.etag {
            Etag::Weak => Some(format!("W/\"{}\"", guid(resource.etag))),
            Etag::Plain => Some(format!("\"{}\"", guid(resource.etag))),
            Etag::Absent => None,
        }
    }

    pub(super) fn children<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = format!("{key}/");
        self.resources.range(prefix.clone()..).map(|(k, _)| k.as_str()).take_while(move |k| k.starts_with(&prefix))
    }

    /// Who refers to a resource from outside of it: the address configuration that does, or the resource.
    pub(super) fn users(&self, key: &str) -> Vec<String> {
        let inside = format!("{key}/");
        let mut users = Vec::new();
        for (other, resource) in &self.resources {
            if other == key || other.starts_with(&inside) || key.starts_with(&format!("{other}/")) {
                continue;
            }
            let mut body = resource.body.clone();
            let mut found = false;
            for (_, field, segment) in CONFIGURATIONS.iter().filter(|(kind, ..)| *kind == resource.kind.path) {
                for part in parts(&mut body["properties"], field) {
                    if references(part).iter().any(|r| r.to_lowercase() == key) {
                        let name = part["name"].as_str().unwrap_or_default();
                        users.push(format!("{}/{segment}/{name}", resource.id));
                        found = true;
                    }
                }
            }
            if !found && references(&resource.body).iter().any(|r| r.to_lowercase() == key) {
                users.push(resource.id.clone());
            }
        }
        users
    }

    pub(super) fn list(&mut self, ask: &Ask, path: &str, under: &str) -> Reply {
        let under = under.to_lowercase();
        let keys: Vec<String> = self
            .resources
            .iter()
            .filter(|(key, r)| r.kind.path.eq_ignore_ascii_case(path) && key.starts_with(&under))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            if let Some(operation) = self.resources.get(key).and_then(|r| r.operation.clone()) {
                self.look(&operation);
            }
        }
        let states = ask.query("statusOnly").is_some_and(|only| only.eq_ignore_ascii_case("true"));
        let shown = |key: &String| match states && path.eq_ignore_ascii_case("Microsoft.Compute/virtualMachines") {
            true => self.show_state(key),
            false => self.show(key, false),
        };
        let items = keys.iter().filter(|k| self.resources.contains_key(*k)).map(shown).collect();
        self.paged(ask, items)
    }

    /// A machine's line where `statusOnly=true` is asked for: what it is at. Which of its other properties Azure leaves out then
    /// is a guess, so all of them are.
    fn show_state(&self, key: &str) -> Value {
        let resource = &self.resources[key];
        json!({"id": shout(&resource.id), "name": resource.name, "type": resource.kind.named,
               "location": resource.body["location"], "properties": {"instanceView": self.instance_view(key)}})
    }

    /// `resources?$filter=tagName eq 'a' and tagValue eq 'b'`: only what has tags of its own, and only in outline.
    pub(super) fn by_tag(&self, ask: &Ask, group: Option<String>) -> Reply {
        let filter = ask.query("$filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('\'').skip(1).step_by(2).collect();
        let (name, value) = (quoted.first().copied(), quoted.get(1).copied());
        let now = self.calls.len() as u64;
        let under = group.map(|group| format!("{}/", self.group_key(&group)));
        let items = self
            .resources
            .iter()
            .filter(|(key, _)| under.as_ref().is_none_or(|under| key.starts_with(under)))
            .filter(|(_, r)| r.kind.tracked && r.born + self.index_lag <= now)
            .filter(|(_, r)| {
                let tags = r.body.get("tags").and_then(Value::as_object);
                name.is_none_or(|name| {
                    tags.into_iter().flatten().any(|(n, v)| {
                        // Names of tags are compared without case.
                        n.eq_ignore_ascii_case(name) && value.is_none_or(|value| v.as_str() == Some(value))
                    })
                })
            })
            .map(|(_, r)| {
                let mut item = json!({"id": r.id, "name": r.name, "type": r.kind.path});
                for field in ["location", "tags"] {
                    if let Some(value) = r.body.get(field).filter(|v| !v.is_null()) {
                        item[field] = value.clone();
                    }
                }
                if r.kind.path == "Microsoft.Compute/disks"
                    && let Some(user) = self.users(&r.id.to_lowercase()).into_iter().next()
                {
                    item["managedBy"] = json!(user);
                }
                item
            })
            .collect();
        self.paged(ask, items)
    }

    pub(super) fn paged(&self, ask: &Ask, items: Vec<Value>) -> Reply {
        let from: usize = ask.query("$skiptoken").and_then(|t| t.parse().ok()).unwrap_or_default();
        let page: Vec<Value> = items.iter().skip(from).take(self.page).cloned().collect();
        let mut body = json!({"value": page});
        if from + self.page < items.len() {
            body["nextLink"] = json!(ask.link(&[("$skiptoken", &(from + self.page).to_string())]));
        }
        Reply::json(200, body)
    }

    pub(super) fn provider(&self, namespace: &str) -> Reply {
        let known = self.registered.iter().find(|r| r.eq_ignore_ascii_case(namespace));
        let state = if known.is_some() { "Registered" } else { "NotRegistered" };
        let name = known.copied().unwrap_or(namespace);
        Reply::json(
            200,
            json!({"id": format!("/subscriptions/{}/providers/{name}", self.subscription), "namespace": name,
                   "registrationState": state}),
        )
    }

    pub(super) fn skus(&self, ask: &Ask) -> Reply {
        let filter = ask.query("$filter").unwrap_or_default();
        let location = filter.split('\'').nth(1).unwrap_or_default().to_lowercase();
        let items = self
            .sizes
            .iter()
            .filter(|(l, _)| location.is_empty() || **l == location)
            .flat_map(|(l, sizes)| sizes.iter().map(move |size| (l, size)))
            .map(|(location, size)| {
                // Standard_B2pts_v2: the p says whose processor it is.
                let arm = size.chars().skip_while(|c| !c.is_ascii_digit()).any(|c| c == 'p');
                json!({"resourceType": "virtualMachines", "name": size, "locations": [location], "restrictions": [],
                       "capabilities": [{"name": "CpuArchitectureType", "value": if arm { "Arm64" } else { "x64" }},
                                        {"name": "HyperVGenerations", "value": if arm { "V2" } else { "V1,V2" }}]})
            })
            .collect();
        self.paged(ask, items)
    }
}

/// The rules that every group has, the last of which end every question.
fn default_rules(id: &str) -> Value {
    let rule = |name: &str, direction: &str, priority: u32, access: &str, from: &str, to: &str| {
        json!({"name": name, "id": format!("{id}/defaultSecurityRules/{name}"), "properties": {
            "provisioningState": "Succeeded", "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*",
            "sourceAddressPrefix": from, "destinationAddressPrefix": to, "access": access, "priority": priority,
            "direction": direction}})
    };
    json!([
        rule("AllowVnetInBound", "Inbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        rule("AllowAzureLoadBalancerInBound", "Inbound", 65001, "Allow", "AzureLoadBalancer", "*"),
        rule("DenyAllInBound", "Inbound", 65500, "Deny", "*", "*"),
        rule("AllowVnetOutBound", "Outbound", 65000, "Allow", "VirtualNetwork", "VirtualNetwork"),
        rule("AllowInternetOutBound", "Outbound", 65001, "Allow", "*", "Internet"),
        rule("DenyAllOutBound", "Outbound", 65500, "Deny", "*", "*"),
    ])
}

/// Names in capitals, the structure as it was.
fn shout(id: &str) -> String {
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
