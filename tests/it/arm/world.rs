//! An Azure Resource Manager in memory: ours, and only as true as `conformance.rs` shows. It keeps resources, refuses what Azure
//! refuses, and takes its time: an operation ends after so many looks at it, or when the test says so.
//!
//! Codes and shapes are those of recorded traffic or of Microsoft's documentation; a code that was seen in neither says "a guess"
//! beside it.

use std::collections::{BTreeMap, VecDeque};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    kinds::{CONFIGURATIONS, Etag, Kind, Work, complete, guid, kind, object, parts},
    reply::{Ask, Reply, gone, refused},
};

pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
/// How many looks the removal of a group takes.
const GROUP_LOOKS: u32 = 2;

pub struct World {
    pub subscription: String,
    /// `Enabled`, or `Disabled`: then it can only be read.
    pub subscription_state: &'static str,
    /// Namespaces that the subscription may use.
    pub registered: Vec<&'static str>,
    /// Where there are machines, and of which sizes.
    pub sizes: BTreeMap<&'static str, Vec<&'static str>>,
    /// Resources on one page of a list.
    pub page: usize,
    /// For so many calls a new resource is missing in the lists by tag: Azure's index follows later.
    pub index_lag: u64,
    /// Operations end only by [`World::finish`].
    pub by_hand: bool,
    /// A new network interface takes its time, and a machine on it is refused meanwhile: real traffic shows both.
    pub slow_interfaces: bool,
    /// What a machine is at, by its name in lower case, where that is not `running`.
    pub power: BTreeMap<String, &'static str>,
    /// What a machine has written to its serial console, by the machine's name.
    pub consoles: BTreeMap<String, String>,
    /// How the next operations on resources whose id ends so will end.
    pub failing: Vec<(String, &'static str, &'static str)>,
    /// Bodies that Microsoft's schemas refuse.
    pub mistakes: Vec<String>,
    /// Every call, in order.
    pub calls: Vec<Call>,
    pub(super) rules: Vec<super::fault::Rule>,
    groups: BTreeMap<String, Group>,
    resources: BTreeMap<String, Resource>,
    operations: BTreeMap<String, Operation>,
    serial: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Option<Value>,
    /// What was answered; none where the answer was lost or the call never came in.
    pub status: Option<u16>,
}

impl Call {
    /// Changes something, or tries to.
    pub fn is_write(&self) -> bool {
        self.method != "GET" && !self.path.to_lowercase().ends_with("/retrievebootdiagnosticsdata")
    }

    /// Asks after something long.
    pub fn is_poll(&self) -> bool {
        let path = self.path.to_lowercase();
        ["/operations/", "/nfvoperations/", "/operationresults/"].iter().any(|part| path.contains(part))
    }
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    id: String,
    location: String,
    tags: Option<Value>,
    /// The operation that removes it.
    going: Option<String>,
}

#[derive(Clone, Debug)]
struct Resource {
    id: String,
    name: String,
    kind: &'static Kind,
    /// As it was put, completed; without what depends on others.
    body: Value,
    state: String,
    etag: u64,
    unique: u64,
    /// When it was made, in calls.
    born: u64,
    operation: Option<String>,
}

#[derive(Clone, Debug)]
struct Operation {
    target: String,
    effect: Effect,
    looks: u32,
    retry_after: u32,
    failure: Option<(String, String)>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Settle,
    Remove,
    RemoveGroup,
}

impl Default for World {
    fn default() -> Self {
        let sizes = vec![
            "Standard_B1s",
            "Standard_B1ls",
            "Standard_B2s",
            "Standard_B2ats_v2",
            "Standard_B2pts_v2",
            "Standard_D2s_v5",
        ];
        Self {
            subscription: SUBSCRIPTION.to_owned(),
            subscription_state: "Enabled",
            registered: vec!["Microsoft.Network", "Microsoft.Compute"],
            sizes: ["westeurope", "westus2", "westus", "eastus", "northeurope"].map(|l| (l, sizes.clone())).into(),
            page: 100,
            index_lag: 0,
            by_hand: false,
            slow_interfaces: false,
            power: BTreeMap::new(),
            consoles: BTreeMap::new(),
            failing: Vec::new(),
            mistakes: Vec::new(),
            calls: Vec::new(),
            rules: Vec::new(),
            groups: BTreeMap::new(),
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            serial: 0,
        }
    }
}

impl World {
    /// Every group's and resource's id, for a look without a call. Sorted, in lower case.
    pub fn ids(&self) -> Vec<String> {
        self.groups.keys().chain(self.resources.keys()).cloned().collect()
    }

    /// A resource as a GET would answer it.
    pub fn resource(&self, id: &str) -> Option<Value> {
        let key = id.to_lowercase();
        self.resources.contains_key(&key).then(|| self.show(&key, true))
    }

    /// Ends every operation that is under way.
    pub fn finish(&mut self) {
        let open: Vec<String> = self.operations.iter().filter(|(_, o)| !o.ended).map(|(id, _)| id.clone()).collect();
        for id in open {
            self.end(&id);
        }
    }

    /// Ends the operation that is under way on a resource or group.
    pub fn finish_on(&mut self, id: &str) {
        let key = id.to_lowercase();
        let open = self.operations.iter().filter(|(_, o)| !o.ended && o.target == key).map(|(id, _)| id.clone());
        for id in open.collect::<Vec<_>>() {
            self.end(&id);
        }
    }

    /// What Azure Resource Manager answers. Faults and the log are `serve`'s.
    pub fn answer(&mut self, ask: &Ask) -> Reply {
        let segments: Vec<&str> = ask.path.split('/').filter(|s| !s.is_empty()).collect();
        let lower: Vec<String> = segments.iter().map(|s| s.to_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        if let ["console", machine] = words[..] {
            return Reply::text(200, self.consoles.get(machine).cloned().unwrap_or_default());
        }
        if ask.query("api-version").is_none() {
            return refused(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            );
        }
        match words[..] {
            ["subscriptions", subscription, ..] if subscription != self.subscription => {
                let message = format!("The subscription '{subscription}' could not be found.");
                return refused(404, "SubscriptionNotFound", &message);
            }
            _ if self.subscription_state != "Enabled" && ask.method != "GET" => {
                let message = format!(
                    "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write \
                     actions on this subscription until it is re-enabled.",
                    self.subscription
                );
                return refused(409, "ReadOnlyDisabledSubscription", &message);
            }
            _ => {}
        }
        let get = ask.method == "GET";
        match words[..] {
            ["subscriptions", id] if get => Reply::json(
                200,
                json!({"id": format!("/subscriptions/{id}"), "subscriptionId": id, "displayName": "Test",
                       "state": self.subscription_state}),
            ),
            ["subscriptions", _, "locations"] if get => {
                let list = self.sizes.keys().map(|l| json!({"name": l, "displayName": l, "type": "Region"}));
                Reply::json(200, json!({"value": list.collect::<Vec<_>>()}))
            }
            ["subscriptions", _, "resources"] if get => self.by_tag(ask, None),
            ["subscriptions", _, "resourcegroups"] if get => self.group_list(ask),
            ["subscriptions", _, "resourcegroups", group] => self.group(ask, group, segments[3]),
            ["subscriptions", _, "resourcegroups", group, "resources"] if get => {
                if !self.groups.contains_key(&self.group_key(group)) {
                    return self.no_group(segments[3]);
                }
                self.by_tag(ask, Some(group.to_owned()))
            }
            ["subscriptions", _, "resourcegroups", _, "providers", "microsoft.resources", "tags", "default"] => {
                self.tags(ask)
            }
            ["subscriptions", _, "operationresults", id] if get => self.location(ask, id),
            ["subscriptions", _, "providers", namespace] if get => self.provider(namespace),
            ["subscriptions", _, "providers", "microsoft.compute", "skus"] if get => self.skus(ask),
            [
                "subscriptions",
                _,
                "providers",
                "microsoft.compute",
                "locations",
                location,
                "publishers",
                _,
                "artifacttypes",
                "vmimage",
                "offers",
                _,
                "skus",
                _,
                "versions",
            ] if get => {
                let id = ask.path.clone();
                let versions = ["0.20261001.1", "0.20261101.1"]
                    .map(|v| json!({"name": v, "id": format!("{id}/{v}"), "location": location}));
                Reply::json(200, json!(versions))
            }
            ["subscriptions", _, "providers", _, "locations", _, "operations" | "nfvoperations", id] if get => {
                if ask.query("monitor").is_some() { self.location(ask, id) } else { self.operation(ask, id) }
            }
            ["subscriptions", _, "providers", _, "locations", _, "operationresults" | "nfvoperationresults", id]
                if get =>
            {
                self.location(ask, id)
            }
            ["subscriptions", _, "providers", namespace, kind] if get => {
                self.list(ask, &format!("{namespace}/{kind}"), &format!("/subscriptions/{}/", self.subscription))
            }
            ["subscriptions", _, "resourcegroups", group, "providers", namespace, ref rest @ ..]
                if !rest.is_empty() =>
            {
                if !self.groups.contains_key(&self.group_key(group)) {
                    return self.no_group(segments[3]);
                }
                self.in_group(ask, namespace, rest, &segments)
            }
            _ => refused(404, "InvalidResourceType", "The resource type could not be found."),
        }
    }

    fn in_group(&mut self, ask: &Ask, namespace: &str, rest: &[&str], segments: &[&str]) -> Reply {
        if let [.., "providers", "microsoft.resources", "tags", "default"] = rest {
            return self.tags(ask);
        }
        let types: Vec<&str> = rest.iter().step_by(2).copied().collect();
        let path = format!("{namespace}/{}", types.join("/"));
        let key = ask.path.to_lowercase();
        let key = key.trim_end_matches('/');
        match (rest.len() % 2, ask.method.as_str()) {
            // A list ends in a type, an action in a verb.
            (1, "GET") if kind(&path).is_some() => self.list(ask, &path, key.trim_end_matches(types[types.len() - 1])),
            (1, _) => match key.rsplit_once('/') {
                Some((owner, verb)) => self.action(ask, owner, verb),
                None => gone(404, "NotFound", "There is no such thing."),
            },
            _ => match kind(&path) {
                None => refused(404, "InvalidResourceType", &format!("The resource type '{path}' could not be found.")),
                Some(kind) => match ask.method.as_str() {
                    "GET" => self.read(ask, key, kind, segments),
                    "PUT" => self.put(ask, key, kind),
                    "PATCH" => self.patch(ask, key, kind, segments),
                    "DELETE" => self.delete(ask, key, segments),
                    _ => refused(405, "MethodNotAllowed", "This method is not for this."),
                },
            },
        }
    }

    // Reading

    fn read(&mut self, ask: &Ask, key: &str, kind: &Kind, segments: &[&str]) -> Reply {
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
    fn show(&self, key: &str, user_data: bool) -> Value {
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

    fn etag(&self, resource: &Resource) -> Option<String> {
        match resource.kind.etag {
            Etag::Weak => Some(format!("W/\"{}\"", guid(resource.etag))),
            Etag::Plain => Some(format!("\"{}\"", guid(resource.etag))),
            Etag::Absent => None,
        }
    }

    fn children<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = format!("{key}/");
        self.resources.range(prefix.clone()..).map(|(k, _)| k.as_str()).take_while(move |k| k.starts_with(&prefix))
    }

    /// Who refers to a resource from outside of it: the address configuration that does, or the resource.
    fn users(&self, key: &str) -> Vec<String> {
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

    fn list(&mut self, ask: &Ask, path: &str, under: &str) -> Reply {
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
        let items = keys.iter().filter(|k| self.resources.contains_key(*k)).map(|k| self.show(k, false)).collect();
        self.paged(ask, items)
    }

    /// `resources?$filter=tagName eq 'a' and tagValue eq 'b'`: only what has tags of its own, and only in outline.
    fn by_tag(&self, ask: &Ask, group: Option<String>) -> Reply {
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

    fn paged(&self, ask: &Ask, items: Vec<Value>) -> Reply {
        let from: usize = ask.query("$skiptoken").and_then(|t| t.parse().ok()).unwrap_or_default();
        let page: Vec<Value> = items.iter().skip(from).take(self.page).cloned().collect();
        let mut body = json!({"value": page});
        if from + self.page < items.len() {
            body["nextLink"] = json!(ask.link(&[("$skiptoken", &(from + self.page).to_string())]));
        }
        Reply::json(200, body)
    }

    fn provider(&self, namespace: &str) -> Reply {
        let known = self.registered.iter().find(|r| r.eq_ignore_ascii_case(namespace));
        let state = if known.is_some() { "Registered" } else { "NotRegistered" };
        let name = known.copied().unwrap_or(namespace);
        Reply::json(
            200,
            json!({"id": format!("/subscriptions/{}/providers/{name}", self.subscription), "namespace": name,
                   "registrationState": state}),
        )
    }

    fn skus(&self, ask: &Ask) -> Reply {
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

    // Groups

    fn group_key(&self, name: &str) -> String {
        format!("/subscriptions/{}/resourcegroups/{}", self.subscription, name.to_lowercase())
    }

    fn group_list(&self, ask: &Ask) -> Reply {
        let filter = ask.query("$filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('\'').skip(1).step_by(2).collect();
        let has = |group: &Group| {
            quoted.first().is_none_or(|name| {
                let tag = group.tags.as_ref().and_then(|t| t.get(*name)).and_then(Value::as_str);
                tag.is_some() && quoted.get(1).is_none_or(|value| tag == Some(value))
            })
        };
        self.paged(ask, self.groups.values().filter(|g| has(g)).map(show_group).collect())
    }

    fn group(&mut self, ask: &Ask, lower: &str, name: &str) -> Reply {
        let key = self.group_key(lower);
        if let Some(operation) = self.groups.get(&key).and_then(|g| g.going.clone()) {
            self.look(&operation);
        }
        let known = self.groups.get(&key).cloned();
        match (ask.method.as_str(), known) {
            ("GET", Some(group)) => Reply::json(200, show_group(&group)),
            ("PUT", Some(group)) if group.going.is_some() => being_deleted(name),
            ("PUT", known) => {
                let body = ask.body.clone().unwrap_or_default();
                let Some(location) = body["location"].as_str() else {
                    return refused(400, "LocationRequired", "The location property is required for this definition.");
                };
                if let Some(known) = &known
                    && known.location != location
                {
                    let message = format!(
                        "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                        known.location
                    );
                    return refused(409, "InvalidResourceGroupLocation", &message);
                }
                let group = Group {
                    name: name.to_owned(),
                    id: format!("/subscriptions/{}/resourceGroups/{name}", self.subscription),
                    location: location.to_owned(),
                    tags: body.get("tags").cloned(),
                    going: None,
                };
                let status = if known.is_some() { 200 } else { 201 };
                let reply = Reply::json(status, show_group(&group));
                self.groups.insert(key, group);
                reply
            }
            ("PATCH", Some(_)) => {
                let group = self.groups.get_mut(&key).expect("found above");
                if let Some(tags) = ask.body.as_ref().and_then(|b| b.get("tags")) {
                    group.tags = Some(tags.clone());
                }
                Reply::json(200, show_group(group))
            }
            ("DELETE", Some(group)) => {
                let id = match &group.going {
                    Some(id) => id.clone(),
                    None => {
                        let id = self.start(
                            &key,
                            Effect::RemoveGroup,
                            Work { looks: GROUP_LOOKS, retry_after: 15, under: "" },
                        );
                        self.groups.get_mut(&key).expect("found above").going = Some(id.clone());
                        id
                    }
                };
                let to = format!(
                    "{}/subscriptions/{}/operationresults/{id}?api-version=2021-04-01",
                    ask.origin, self.subscription
                );
                Reply::empty(202).with("Location", &to).with("Retry-After", "15")
            }
            _ => self.no_group(name),
        }
    }

    fn no_group(&self, name: &str) -> Reply {
        gone(404, "ResourceGroupNotFound", &format!("Resource group '{name}' could not be found."))
    }

    fn no_resource(&self, kind: &Kind, segments: &[&str]) -> Reply {
        let (group, names) =
            (segments[3], segments[6..].iter().skip(1).step_by(2).copied().collect::<Vec<_>>().join("/"));
        let message = format!(
            "The Resource '{}/{names}' under resource group '{group}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix",
            kind.path
        );
        gone(404, "ResourceNotFound", &message)
    }

    // Writing

    fn put(&mut self, ask: &Ask, key: &str, kind: &'static Kind) -> Reply {
        let body = ask.body.clone().unwrap_or_default();
        if let Some(reply) = self.may_write(ask, key, kind, &body) {
            return reply;
        }
        let old = self.resources.get(key).cloned();
        let id = old.as_ref().map_or_else(|| ask.path.clone(), |old| old.id.clone());
        let name = old
            .as_ref()
            .map_or_else(|| ask.path.rsplit('/').next().unwrap_or_default().to_owned(), |old| old.name.clone());
        let unique = old.as_ref().map_or_else(|| self.number(), |old| old.unique);
        let mut body = body;
        if let Some(map) = body.as_object_mut() {
            for name in ["id", "name", "type", "etag"] {
                map.remove(name);
            }
        }
        if kind.path.ends_with("ruleCollectionGroups") {
            let parent = key.rsplit("/rulecollectiongroups").nth(1).and_then(|parent| self.resources.get(parent));
            body["location"] = parent.map(|p| p.body["location"].clone()).unwrap_or_default();
        }
        complete(kind, &id, &name, &mut body, unique);
        if let Some(refusal) = self.put_children(key, kind, &mut body) {
            return refusal;
        }
        self.keep_addresses(old.as_ref(), &mut body);
        let slow = self.slow_interfaces && kind.path == "Microsoft.Network/networkInterfaces" && old.is_none();
        let write = if slow { Some(Work { looks: 2, retry_after: 0, under: "operations" }) } else { kind.write };
        let state = match (write, &old) {
            (None, _) => "Succeeded",
            (Some(_), Some(_)) => "Updating",
            (Some(_), None) => kind.while_creating,
        };
        let etag = self.number();
        let born = old.as_ref().map_or(self.calls.len() as u64, |old| old.born);
        let resource = Resource { id, name, kind, body, state: state.to_owned(), etag, unique, born, operation: None };
        let location = self.location_of(&resource);
        self.resources.insert(key.to_owned(), resource);
        let operation = write.map(|work| (work, self.start(key, Effect::Settle, work)));
        if let Some((_, id)) = &operation {
            self.resources.get_mut(key).expect("just put").operation = Some(id.clone());
        } else {
            self.assign(key);
        }
        let reply = Reply::json(if old.is_some() { 200 } else { 201 }, self.show(key, false));
        match operation {
            Some((work, id)) => self.long(ask, reply, kind, work, &id, &location, false),
            None => reply,
        }
    }

    /// Why a body is refused before anything happens.
    fn may_write(&mut self, ask: &Ask, key: &str, kind: &'static Kind, body: &Value) -> Option<Reply> {
        let namespace = kind.path.split('/').next().unwrap_or_default();
        if !self.registered.contains(&namespace) {
            let message = format!(
                "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
            );
            return Some(refused(409, "MissingSubscriptionRegistration", &message));
        }
        let group = self.groups.get(&self.group_key(key.split('/').nth(4).unwrap_or_default()))?;
        if group.going.is_some() {
            return Some(being_deleted(&group.name));
        }
        if let Some((parent, _)) = key.rsplit_once('/').and_then(|(front, _)| front.rsplit_once('/'))
            && kind.path.matches('/').count() > 1
            && !self.resources.contains_key(parent)
        {
            let message = format!(
                "Can not perform requested operation on nested resource. Parent resource '{}' not found.",
                parent.rsplit('/').next().unwrap_or_default()
            );
            return Some(refused(404, "ParentResourceNotFound", &message));
        }
        if let Some(reply) = self.unconditional(ask, key) {
            return Some(reply);
        }
        for pointer in kind.required {
            let alternative = pointer.replace("addressPrefix", "addressPrefixes");
            if body.pointer(pointer).is_none() && body.pointer(&alternative).is_none() {
                let message = format!(
                    "Cannot parse the request: {} is missing.",
                    pointer.trim_start_matches('/').replace('/', ".")
                );
                return Some(refused(400, "InvalidRequestFormat", &message));
            }
        }
        let mut judged = body.clone();
        if ask.header("if-match").is_some() {
            // What was read is written back: Azure passes over what is its own to say.
            unread(&mut judged);
        }
        if let Err(why) = super::schema::validate(kind.path, ask.query("api-version").unwrap_or_default(), &judged) {
            self.mistakes.push(format!("{} {}: {why}", ask.method, ask.path));
            return Some(refused(400, "InvalidRequestContent", &why));
        }
        if let Some(old) = self.resources.get(key)
            && let (Some(new), Some(old)) = (body["location"].as_str(), old.body["location"].as_str())
            && !new.replace(' ', "").eq_ignore_ascii_case(old)
        {
            let message = format!(
                "The resource already exists in location '{old}'. A resource with the same name cannot be created in location '{new}'."
            );
            return Some(refused(409, "InvalidResourceLocation", &message));
        }
        for reference in references(body) {
            let target = reference.to_lowercase();
            // A part of a resource, or of this one, is inside its parent's body.
            let known = self.resources.contains_key(&target) || target.starts_with(key);
            let is_resource = super::kinds::kind(&type_of(&target)).is_some();
            if !known && is_resource {
                let message = format!(
                    "Resource {reference} referenced by resource {} was not found. Please make sure that the referenced \
                     resource exists, and that both resources are in the same region.",
                    ask.path
                );
                return Some(refused(400, "InvalidResourceReference", &message));
            }
        }
        if let Some(reply) = self.busy(ask, key, body) {
            return Some(reply);
        }
        let refusal = super::checks::refuse(self, key, kind, body);
        if refusal.as_ref().is_some_and(|r| r.status == 429) {
            // Who is told to wait for a resource looks at it by coming back.
            for reference in references(body) {
                if let Some(id) = self.resources.get(&reference.to_lowercase()).and_then(|r| r.operation.clone()) {
                    self.look(&id);
                }
            }
        }
        refusal
    }

    /// `If-Match` and `If-None-Match`.
    fn unconditional(&self, ask: &Ask, key: &str) -> Option<Reply> {
        let resource = self.resources.get(key);
        let failed = match (ask.header("if-match"), ask.header("if-none-match")) {
            (Some("*"), _) => resource.is_none(),
            (Some(etag), _) => {
                let plain = |e: &str| e.trim_start_matches("W/").trim_matches('"').to_owned();
                resource.and_then(|r| self.etag(r)).is_none_or(|own| plain(&own) != plain(etag))
            }
            (None, Some("*")) => resource.is_some(),
            _ => false,
        };
        failed.then(|| {
            let etag = ask.header("if-match").unwrap_or("*");
            let body = json!({"error": {"code": "PreconditionFailed", "message": "Precondition failed.", "details": [
                {"code": "PreconditionFailedEtagMismatch",
                 "message": format!("Etag provided in if-match header {etag} does not match etag of resource {} in NRP data store.", ask.path)}]}});
            Reply::json(412, body)
        })
    }

    /// Another operation on this or a dependent resource; waiting for it counts as a look at it.
    fn busy(&mut self, ask: &Ask, key: &str, body: &Value) -> Option<Reply> {
        let family = |key: &str| key.split('/').take(9).collect::<Vec<_>>().join("/");
        let mut families = vec![family(key)];
        let own = self.resources.get(key).map(|r| r.body.clone()).unwrap_or_default();
        for value in [body, &own] {
            if let Some(policy) = value.pointer("/properties/firewallPolicy/id").and_then(Value::as_str) {
                families.push(family(&policy.to_lowercase()));
            }
        }
        let policy = key.contains("/firewallpolicies/").then(|| family(key));
        let blocking = self.operations.iter().find(|(_, operation)| {
            let target = &operation.target;
            let serves_policy = policy.as_ref().is_some_and(|policy| {
                self.resources.get(target).is_some_and(|r| {
                    r.body
                        .pointer("/properties/firewallPolicy/id")
                        .and_then(Value::as_str)
                        .is_some_and(|p| p.to_lowercase() == *policy)
                })
            });
            let whole = operation.effect != Effect::RemoveGroup;
            !operation.ended && whole && (families.contains(&family(target)) || serves_policy)
        });
        let id = blocking.map(|(id, _)| id.clone())?;
        self.look(&id);
        let message = format!(
            "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: \
             {}/subscriptions/{}/providers/Microsoft.Network/locations/westeurope/operations/{id}?api-version=2020-05-01.",
            ask.origin, self.subscription
        );
        Some(refused(409, "AnotherOperationInProgress", &message))
    }

    /// A network's subnets and a group's rules are resources of their own: those of a body replace all that there are.
    fn put_children(&mut self, key: &str, kind: &Kind, body: &mut Value) -> Option<Reply> {
        let (field, child) = match kind.path {
            "Microsoft.Network/virtualNetworks" => ("subnets", "Microsoft.Network/virtualNetworks/subnets"),
            "Microsoft.Network/networkSecurityGroups" => {
                ("securityRules", "Microsoft.Network/networkSecurityGroups/securityRules")
            }
            _ => return None,
        };
        let child = super::kinds::kind(child).expect("in the table");
        let wanted = body["properties"].as_object_mut().and_then(|p| p.remove(field));
        let wanted: Vec<Value> = wanted.and_then(|w| w.as_array().cloned()).unwrap_or_default();
        let named = |item: &Value| {
            format!("{key}/{}/{}", field.to_lowercase(), item["name"].as_str().unwrap_or_default().to_lowercase())
        };
        let kept: Vec<String> = wanted.iter().map(named).collect();
        let lost: Vec<String> =
            self.children(key).filter(|k| !kept.iter().any(|x| x == k)).map(str::to_owned).collect();
        for lost in &lost {
            if let Some(reply) = self.in_use(lost) {
                return Some(reply);
            }
        }
        self.resources.retain(|k, _| !lost.contains(k));
        for item in wanted {
            let key = named(&item);
            let name = item["name"].as_str().unwrap_or_default().to_owned();
            let id = format!(
                "{}/{field}/{name}",
                self.resources.get(&key).map_or_else(|| self.parent_id(&key), |_| self.parent_id(&key))
            );
            let mut body = json!({"properties": item.get("properties").cloned().unwrap_or_default()});
            complete(child, &id, &name, &mut body, 0);
            let (etag, unique, born) = (self.number(), self.number(), self.calls.len() as u64);
            let state = "Succeeded".to_owned();
            self.resources
                .insert(key, Resource { id, name, kind: child, body, state, etag, unique, born, operation: None });
        }
        None
    }

    fn parent_id(&self, key: &str) -> String {
        let parent: String = key.split('/').take(9).collect::<Vec<_>>().join("/");
        self.resources.get(&parent).map_or(parent, |p| p.id.clone())
    }

    /// A configuration that stays keeps its address.
    fn keep_addresses(&self, old: Option<&Resource>, body: &mut Value) {
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
    fn assign(&mut self, key: &str) {
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
                let kind = super::kinds::kind("Microsoft.Compute/disks").expect("in the table");
                let state = "Succeeded".to_owned();
                let made = Resource { id: id.to_owned(), name, kind, body, state, etag, unique, born, operation: None };
                self.resources.entry(id.to_lowercase()).or_insert(made);
            }
        }
        self.resources.get_mut(key).expect("found above").body = body;
    }

    /// The first address of a subnet that Azure does not keep (the first four and the last) and nobody has.
    fn free_address(&self, subnet: &str, taken: &[String]) -> Option<String> {
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

    fn patch(&mut self, ask: &Ask, key: &str, kind: &'static Kind, segments: &[&str]) -> Reply {
        if !self.resources.contains_key(key) {
            return self.no_resource(kind, segments);
        }
        let patch = ask.body.clone().unwrap_or_default();
        if let Some(reply) = self.unconditional(ask, key).or_else(|| self.busy(ask, key, &Value::Null)) {
            return reply;
        }
        let etag = self.number();
        let compute = kind.path.starts_with("Microsoft.Compute/");
        let resource = self.resources.get_mut(key).expect("found above");
        // The tags of a patch replace all of them; properties are merged.
        if let Some(tags) = patch.get("tags") {
            resource.body["tags"] = tags.clone();
        }
        if let Some(properties) = patch.get("properties") {
            if !compute {
                return refused(400, "InvalidRequestContent", "Only tags can be patched.");
            }
            merge(&mut resource.body["properties"], properties);
        }
        resource.etag = etag;
        let firewall = kind.path == "Microsoft.Network/azureFirewalls";
        if !(compute || firewall) {
            return Reply::json(200, self.show(key, false));
        }
        resource.state = "Updating".to_owned();
        let location = self.location_of(&self.resources[key].clone());
        let work = Work { looks: 1, retry_after: 0, under: "operations" };
        let id = self.start(key, Effect::Settle, work);
        self.resources.get_mut(key).expect("found above").operation = Some(id.clone());
        let reply = Reply::json(200, self.show(key, false));
        // A firewall's tags are patched without a word on where to ask.
        if compute { self.long(ask, reply, kind, work, &id, &location, false) } else { reply }
    }

    /// `Microsoft.Resources/tags/default` of a resource or a group: Merge, Replace, Delete.
    fn tags(&mut self, ask: &Ask) -> Reply {
        let lower = ask.path.to_lowercase();
        let key = lower.trim_end_matches("/providers/microsoft.resources/tags/default");
        if self.groups.get(key).is_some_and(|g| g.going.is_some()) {
            return being_deleted(key);
        }
        let tags = match (self.resources.get_mut(key), self.groups.get_mut(key)) {
            (Some(resource), _) => object(&mut resource.body, "tags"),
            (None, Some(group)) => group.tags.get_or_insert_with(|| json!({})),
            (None, None) => return gone(404, "ResourceNotFound", "The Resource was not found."),
        };
        if let Some(body) = &ask.body {
            let named = body.pointer("/properties/tags").cloned().unwrap_or_default();
            let named = named.as_object().cloned().unwrap_or_default();
            match (ask.method.as_str(), body["operation"].as_str()) {
                ("PUT", _) | ("PATCH", Some("Replace")) => *tags = json!(named),
                ("PATCH", Some("Merge")) => named.iter().for_each(|(name, value)| tags[name.as_str()] = value.clone()),
                ("PATCH", Some("Delete")) => {
                    // A name goes where it has that value.
                    let map = tags.as_object_mut().expect("made above");
                    map.retain(|name, value| named.get(name) != Some(value));
                }
                _ => return refused(400, "InvalidRequestContent", "The operation must be Merge, Replace or Delete."),
            }
            if tags.as_object().is_some_and(|t| t.len() > 50) {
                return refused(400, "TagsLimitExceeded", "A resource has at most 50 tags.");
            }
        }
        let id = format!(
            "{}/providers/Microsoft.Resources/tags/default",
            ask.path.split("/providers/Microsoft.Resources/").next().unwrap_or_default()
        );
        Reply::json(
            200,
            json!({"id": id, "name": "default", "type": "Microsoft.Resources/tags", "properties": {"tags": tags}}),
        )
    }

    fn delete(&mut self, ask: &Ask, key: &str, segments: &[&str]) -> Reply {
        let Some(resource) = self.resources.get(key).cloned() else {
            let parent: String = key.split('/').take(9).collect::<Vec<_>>().join("/");
            let kind = kind(&type_of(key)).expect("known to the caller");
            return if self.resources.contains_key(&parent) || parent == key {
                Reply::empty(204)
            } else {
                self.no_resource(kind, segments)
            };
        };
        if let Some(reply) =
            self.unconditional(ask, key).or_else(|| self.in_use(key)).or_else(|| self.busy(ask, key, &Value::Null))
        {
            return reply;
        }
        let Some(work) = resource.kind.delete else {
            self.remove(key);
            return Reply::empty(200);
        };
        let id = self.start(key, Effect::Remove, work);
        // A rule collection group is shown once more as it was.
        let shown = (resource.kind.etag == Etag::Plain).then(|| self.show(key, false));
        let gone = self.resources.get_mut(key).expect("found above");
        gone.operation = Some(id.clone());
        gone.state = "Deleting".to_owned();
        let reply = shown.map_or_else(|| Reply::empty(202), |body| Reply::json(202, body));
        let location = self.location_of(&resource);
        self.long(ask, reply, resource.kind, work, &id, &location, true)
    }

    /// Who else needs it, in the words of each type.
    fn in_use(&self, key: &str) -> Option<Reply> {
        let resource = self.resources.get(key)?;
        let own = std::iter::once(key).chain(self.children(key));
        let (part, user) = own.filter_map(|k| Some((k, self.users(k).into_iter().next()?))).next()?;
        let (id, name) = (&resource.id, &self.resources[part].name);
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

    fn action(&mut self, ask: &Ask, owner: &str, verb: &str) -> Reply {
        let Some(resource) =
            self.resources.get(owner).filter(|r| r.kind.path == "Microsoft.Compute/virtualMachines").cloned()
        else {
            return gone(404, "ResourceNotFound", "The Resource was not found.");
        };
        match (ask.method.as_str(), verb) {
            ("GET", "instanceview") => Reply::json(200, self.instance_view(owner)),
            ("POST", "retrievebootdiagnosticsdata") => {
                let enabled = resource.body.pointer("/properties/diagnosticsProfile/bootDiagnostics/enabled")
                    == Some(&json!(true));
                // The code is a guess.
                if !enabled || resource.state == "Creating" {
                    return refused(
                        409,
                        "OperationNotAllowed",
                        "Boot diagnostics data is not available for this virtual machine yet.",
                    );
                }
                let at = format!("{}/console/{}?sv=2024-05-04&sig=c2VjcmV0", ask.origin, resource.name.to_lowercase());
                Reply::json(
                    200,
                    json!({"consoleScreenshotBlobUri": format!("{at}&screenshot"), "serialConsoleLogBlobUri": at}),
                )
            }
            ("POST", "start" | "restart" | "poweroff" | "deallocate" | "redeploy" | "reapply") => {
                let name = resource.name.to_lowercase();
                match verb {
                    "poweroff" => self.power.insert(name, "stopped"),
                    "deallocate" => self.power.insert(name, "deallocated"),
                    _ => self.power.remove(&name),
                };
                let work = Work { looks: 1, retry_after: 10, under: "operations" };
                let id = self.start(owner, Effect::Settle, work);
                let location = self.location_of(&resource);
                self.long(ask, Reply::empty(202), resource.kind, work, &id, &location, true)
            }
            _ => gone(404, "NotFound", "There is no such action."),
        }
    }

    fn instance_view(&self, key: &str) -> Value {
        let resource = &self.resources[key];
        let power = self.power.get(&resource.name.to_lowercase()).copied().unwrap_or("running");
        let status = |code: String, words: String| json!({"code": code, "level": "Info", "displayStatus": words});
        json!({
            "vmAgent": {"vmAgentVersion": "2.12.0.4", "statuses": [status("ProvisioningState/succeeded".to_owned(), "Ready".to_owned())]},
            "bootDiagnostics": {},
            "statuses": [status(format!("ProvisioningState/{}", resource.state.to_lowercase()), "Provisioning".to_owned()),
                         status(format!("PowerState/{power}"), format!("VM {power}"))],
        })
    }

    // Operations

    fn start(&mut self, target: &str, effect: Effect, work: Work) -> String {
        let id = guid(self.number());
        let failing = self.failing.iter().position(|(suffix, ..)| target.ends_with(&suffix.to_lowercase()));
        let failure =
            failing.map(|at| self.failing.remove(at)).map(|(_, code, message)| (code.to_owned(), message.to_owned()));
        let operation = Operation {
            target: target.to_owned(),
            effect,
            looks: work.looks,
            retry_after: work.retry_after,
            failure,
            ended: false,
        };
        self.operations.insert(id.clone(), operation);
        id
    }

    #[allow(clippy::too_many_arguments)]
    fn long(
        &self,
        ask: &Ask,
        reply: Reply,
        kind: &Kind,
        work: Work,
        id: &str,
        location: &str,
        with_location: bool,
    ) -> Reply {
        let namespace = kind.path.split('/').next().unwrap_or_default();
        let version = ask.query("api-version").unwrap_or_default();
        let at = |under: &str, more: &str| {
            format!(
                "{}/subscriptions/{}/providers/{namespace}/locations/{location}/{under}/{id}?{more}api-version={version}&t=1&c=2&s=signed&h=3",
                ask.origin, self.subscription
            )
        };
        let mut reply = reply.with("Azure-AsyncOperation", &at(work.under, ""));
        if with_location {
            let results = match (namespace, work.under) {
                ("Microsoft.Compute", _) => at("operations", "monitor=true&"),
                (_, "nfvOperations") => at("nfvOperationResults", ""),
                _ => at("operationResults", ""),
            };
            reply = reply.with("Location", &results);
        }
        if work.retry_after > 0 { reply.with("Retry-After", &work.retry_after.to_string()) } else { reply }
    }

    /// Somebody looks: time passes.
    fn look(&mut self, id: &str) {
        let by_hand = self.by_hand;
        let Some(operation) = self.operations.get_mut(id) else { return };
        if by_hand || operation.ended {
            return;
        }
        match operation.looks.checked_sub(1) {
            Some(left) => operation.looks = left,
            None => self.end(id),
        }
    }

    fn end(&mut self, id: &str) {
        let Some(operation) = self.operations.get_mut(id) else { return };
        if std::mem::replace(&mut operation.ended, true) {
            return;
        }
        let (target, effect, failed) = (operation.target.clone(), operation.effect, operation.failure.is_some());
        match effect {
            Effect::RemoveGroup => {
                let prefix = format!("{target}/");
                self.resources.retain(|key, _| !key.starts_with(&prefix));
                self.groups.remove(&target);
            }
            Effect::Remove if !failed => self.remove(&target),
            Effect::Remove | Effect::Settle => {
                if !failed {
                    self.assign(&target);
                }
                let etag = self.number();
                if let Some(resource) = self.resources.get_mut(&target) {
                    resource.state = if failed { "Failed" } else { "Succeeded" }.to_owned();
                    resource.operation = None;
                    if resource.kind.etag == Etag::Weak {
                        resource.etag = etag;
                    }
                }
            }
        }
    }

    fn remove(&mut self, key: &str) {
        let Some(resource) = self.resources.remove(key) else { return };
        let inside = format!("{key}/");
        self.resources.retain(|k, _| !k.starts_with(&inside));
        // What goes with a machine.
        let disk = resource.body.pointer("/properties/storageProfile/osDisk");
        let disks = disk.filter(|d| d["deleteOption"] == "Delete").and_then(|d| d.pointer("/managedDisk/id"));
        let interfaces =
            resource.body.pointer("/properties/networkProfile/networkInterfaces").and_then(Value::as_array);
        let interfaces = interfaces
            .into_iter()
            .flatten()
            .filter(|i| i.pointer("/properties/deleteOption").is_some_and(|d| d == "Delete"))
            .map(|i| &i["id"]);
        let going: Vec<String> =
            disks.into_iter().chain(interfaces).filter_map(Value::as_str).map(str::to_lowercase).collect();
        self.resources.retain(|k, _| !going.contains(k));
    }

    /// The status of an operation.
    fn operation(&mut self, _: &Ask, id: &str) -> Reply {
        let was = self.operations.get(id).is_some_and(|o| o.ended);
        self.look(id);
        let Some(operation) = self.operations.get(id) else {
            return refused(404, "NotFound", "The operation was not found.");
        };
        let _ = was;
        match (&operation.failure, operation.ended) {
            (_, false) => {
                let reply = Reply::json(200, json!({"status": "InProgress"}));
                if operation.retry_after > 0 {
                    reply.with("Retry-After", &operation.retry_after.to_string())
                } else {
                    reply
                }
            }
            (None, true) => Reply::json(200, json!({"status": "Succeeded"})),
            (Some((code, message)), true) => {
                Reply::json(200, json!({"status": "Failed", "error": {"code": code, "message": message}}))
            }
        }
    }

    /// The result of an operation: 202 until there is one.
    fn location(&mut self, ask: &Ask, id: &str) -> Reply {
        self.look(id);
        match self.operations.get(id) {
            None => refused(404, "NotFound", "The operation was not found."),
            Some(operation) if operation.ended => Reply::empty(200),
            Some(operation) => {
                let here = ask.link(&[]);
                Reply::empty(202).with("Location", &here).with("Retry-After", &operation.retry_after.to_string())
            }
        }
    }

    fn location_of(&self, resource: &Resource) -> String {
        let own = resource.body["location"].as_str().map(str::to_owned);
        let group = self.group_key(resource.id.split('/').nth(4).unwrap_or_default());
        own.or_else(|| self.groups.get(&group).map(|g| g.location.clone())).unwrap_or_default()
    }

    fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    // For the checks

    /// A resource's stored body and state.
    pub(super) fn stored(&self, id: &str) -> Option<(&Value, &str)> {
        self.resources.get(&id.to_lowercase()).map(|r| (&r.body, r.state.as_str()))
    }

    pub(super) fn users_of(&self, id: &str) -> Vec<String> {
        self.users(&id.to_lowercase())
    }

    /// The children of a resource's parent, without itself.
    pub(super) fn siblings(&self, key: &str) -> Vec<(&str, &Value)> {
        let parent: String = key.split('/').take(9).collect::<Vec<_>>().join("/");
        self.children(&parent).filter(|k| *k != key).map(|k| (k, &self.resources[k].body)).collect()
    }
}

fn show_group(group: &Group) -> Value {
    let state = if group.going.is_some() { "Deleting" } else { "Succeeded" };
    let mut shown = json!({"id": group.id, "name": group.name, "type": "Microsoft.Resources/resourceGroups",
                           "location": group.location});
    if let Some(tags) = &group.tags {
        shown["tags"] = tags.clone();
    }
    shown["properties"] = json!({"provisioningState": state});
    shown
}

fn being_deleted(name: &str) -> Reply {
    let message = format!("The resource group '{name}' is in deprovisioning state and cannot perform this operation.");
    refused(409, "ResourceGroupBeingDeleted", &message)
}

/// The ids of resources anywhere in a value.
pub fn references(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = VecDeque::from([value]);
    while let Some(value) = rest.pop_front() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(map) => {
                for (name, value) in map {
                    match value.as_str() {
                        Some(text) if name == "id" && text.starts_with("/subscriptions/") => {
                            found.push(text.to_owned())
                        }
                        _ => rest.push_back(value),
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// `microsoft.network/virtualnetworks/subnets` of an id.
fn type_of(id: &str) -> String {
    let tail = id.rsplit("/providers/").next().unwrap_or_default();
    let parts: Vec<&str> = tail.split('/').collect();
    let types: Vec<&str> = parts.iter().skip(1).step_by(2).copied().collect();
    format!("{}/{}", parts.first().copied().unwrap_or_default(), types.join("/"))
}

/// Names in capitals, the structure as it was.
fn shout(id: &str) -> String {
    let words = ["subscriptions", "resourceGroups", "providers"];
    let mut parts: Vec<String> = id.split('/').map(str::to_owned).collect();
    for index in 1..parts.len() {
        let fixed = words.contains(&parts[index].as_str());
        // Every second part is a name, from the group's on.
        if !fixed && (index == 4 || (index >= 8 && index % 2 == 0)) {
            parts[index] = parts[index].to_uppercase();
        }
    }
    parts.join("/")
}

/// Without what only Azure writes.
fn unread(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["provisioningState", "resourceGuid", "privateIPAddress", "privateIPAllocationMethod"] {
                map.remove(name);
            }
            if map.contains_key("properties") && map.contains_key("etag") && !map.contains_key("location") {
                map.remove("type");
                map.remove("etag");
            }
            map.values_mut().for_each(unread);
        }
        Value::Array(items) => items.iter_mut().for_each(unread),
        _ => {}
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                if value.is_null() {
                    into.remove(name);
                } else {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
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
