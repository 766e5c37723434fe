//! A company's subscription, and the hand that changes things in it behind the program's back.

use std::collections::BTreeMap;

use gangplank::sandbox::arm;
use serde_json::{Value, json};

use super::{
    http::ask,
    world::{SUBSCRIPTION, World},
};

pub const NET: &str = "2024-03-01";

pub fn group(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

pub fn net(group_name: &str, rest: &str) -> String {
    format!("{}/providers/Microsoft.Network/{rest}", group(group_name))
}

/// Puts something into a world, as somebody else does.
#[track_caller]
pub fn put(world: &mut World, id: &str, version: &str, body: &Value) {
    send(world, "PUT", id, version, Some(body));
}

/// Reads something, and writes it back changed: by somebody who goes by no etag.
#[track_caller]
pub fn change(world: &mut World, id: &str, version: &str, with: impl FnOnce(&mut Value)) {
    let mut raw = world.resource(id).unwrap_or_else(|| panic!("{id} is not there"));
    with(&mut raw);
    if let Some(properties) = raw["properties"].as_object_mut() {
        // What only Azure writes.
        for told in [
            "defaultSecurityRules",
            "networkInterfaces",
            "subnets",
            "firewallPolicies",
            "firewalls",
            "ruleCollectionGroups",
            "childPolicies",
            "size",
        ] {
            properties.remove(told);
        }
    }
    if id.to_lowercase().contains("/firewallpolicies/") {
        // Azure spells it otherwise than it takes it.
        raw.as_object_mut().expect("a resource").remove("type");
    }
    if id.contains("/ruleCollectionGroups/") {
        raw = rules(&raw);
    }
    send(world, "PUT", id, version, Some(&raw));
}

/// A rule collection group as it is written, from how it is read: Azure adds to it, and spells the action otherwise.
pub fn rules(read: &Value) -> Value {
    let mut properties = read["properties"].clone();
    for told in ["size", "provisioningState"] {
        properties.as_object_mut().expect("properties").remove(told);
    }
    for collection in properties["ruleCollections"].as_array_mut().into_iter().flatten() {
        collection["action"] = json!({"type": "DNAT"});
    }
    json!({"properties": properties})
}

#[track_caller]
pub fn remove(world: &mut World, id: &str, version: &str) {
    send(world, "DELETE", id, version, None);
}

/// Sets a tag beside the others, or takes it off.
#[track_caller]
pub fn tag(world: &mut World, id: &str, key: &str, value: Option<&str>) {
    let there = world.resource(id).unwrap_or_else(|| panic!("{id} is not there"))["tags"][key].clone();
    if id.to_lowercase().contains("/firewallpolicies/") {
        return change(world, id, NET, |policy| match value {
            Some(value) => policy["tags"][key] = json!(value),
            None => _ = policy["tags"].as_object_mut().and_then(|tags| tags.remove(key)),
        });
    }
    let (operation, value) = match value {
        Some(value) => ("Merge", json!(value)),
        None => ("Delete", there),
    };
    let body = json!({"operation": operation, "properties": {"tags": {key: value}}});
    let id = format!("{id}/providers/Microsoft.Resources/tags/default");
    send(world, "PATCH", &id, "2021-04-01", Some(&body));
}

/// Sends what changes something, and waits for its end.
#[track_caller]
pub fn send(world: &mut World, method: &str, id: &str, version: &str, body: Option<&Value>) {
    let by_hand = std::mem::take(&mut world.by_hand);
    start(world, method, id, version, body);
    world.by_hand = by_hand;
    world.finish_on(id);
}

/// Writes something as it is, and leaves Azure at work on it.
#[track_caller]
pub fn begin(world: &mut World, id: &str) {
    let raw = world.resource(id).unwrap_or_else(|| panic!("{id} is not there"));
    start(world, "PUT", id, NET, Some(&raw));
}

#[track_caller]
fn start(world: &mut World, method: &str, id: &str, version: &str, body: Option<&Value>) {
    // As `unread` of a write that names its etag: without what only Azure writes.
    let headers = match method {
        "PUT" if world.resource(id).is_some() => BTreeMap::from([("if-match".to_owned(), "*".to_owned())]),
        _ => BTreeMap::new(),
    };
    let body = body.map(Value::to_string).unwrap_or_default();
    let target = format!("{id}?api-version={version}");
    let reply = world.answer(&ask(method, &target, headers, body.as_bytes(), "http://127.0.0.1".to_owned()));
    assert!(reply.status < 300, "{method} {id}: {reply:?}");
}

/// A network for the bastion, a firewall with a policy and one with classic rules, each with somebody's rules.
pub fn company() -> World {
    let mut world = World::from(arm::World::company());
    world.prompt = true;
    world
}

/// Somebody's collection of classic rules.
pub fn classic(name: &str, priority: u32) -> Value {
    json!({"name": name, "properties": {"priority": priority, "action": {"type": "Dnat"}, "rules": [{"name": "web",
        "protocols": ["TCP"], "sourceAddresses": ["*"], "destinationAddresses": ["20.9.9.2"],
        "destinationPorts": ["443"], "translatedAddress": "10.7.9.9", "translatedPort": "443"}]}})
}
