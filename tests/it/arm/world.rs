//! An Azure Resource Manager in memory: ours, and only as true as `conformance.rs` shows. It keeps resources, refuses what Azure
//! refuses, and takes its time: an operation ends after so many looks at it, or when the test says so.
//!
//! Codes and shapes are those of recorded traffic or of Microsoft's documentation; a code that was seen in neither says "a guess"
//! beside it.

mod addresses;
mod groups;
mod operations;
mod read;
mod remove;
mod write;

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::{
    kinds::{Kind, find},
    reply::{Ask, Reply, gone, refused},
};

pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
/// How many looks the removal of a group takes.
const GROUP_LOOKS: u32 = 2;

#[derive(Clone)]
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
    /// Answers name no `Retry-After`: for a program whose clock is real.
    pub prompt: bool,
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
            prompt: false,
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
            (1, "GET") if find(&path).is_some() => self.list(ask, &path, key.trim_end_matches(types[types.len() - 1])),
            (1, _) => match key.rsplit_once('/') {
                Some((owner, verb)) => self.action(ask, owner, verb),
                None => gone(404, "NotFound", "There is no such thing."),
            },
            _ => match find(&path) {
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
