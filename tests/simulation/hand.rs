//! What people do to the worlds with their own tools, and how the worlds are read without a call.

use std::collections::BTreeMap;

use gangplank::{
    sandbox::{
        arm::{self, SUBSCRIPTION},
        cloud::State,
        ec2::model::{DhcpOptions, Region},
        http::{Ask, Reply},
    },
    tags::BASTION,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub const REGION: &str = "us-east-1";
/// Of the networks, the machines and the tags alike: a sandbox only looks whether there is one.
const VERSION: &str = "2024-03-01";

pub fn region(worlds: &State) -> Option<&Region> {
    worlds.ec2.regions.get(REGION)
}

pub fn ec2(worlds: &mut State, now: Timestamp, fields: &[(&str, &str)]) -> Reply {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Version", "2016-11-15").extend_pairs(fields);
    let ask =
        Ask { method: "POST".to_owned(), path: "/".to_owned(), body: form.finish().into_bytes(), ..Ask::default() };
    worlds.ec2.answer(now, &ask)
}

/// The company's networks ask DNS servers of their own, or are closed to what begins on the internet.
pub fn restrict(worlds: &mut State, own_dns: bool) {
    let Some(region) = worlds.ec2.regions.get_mut(REGION) else { return };
    if own_dns {
        let servers = vec!["10.20.0.53".to_owned(), "10.20.1.53".to_owned()];
        let options = vec![("domain-name-servers".to_owned(), servers)];
        region.dhcp_options.insert("dopt-own".to_owned(), DhcpOptions { options, ..DhcpOptions::default() });
        region.vpcs.values_mut().for_each(|vpc| vpc.dhcp_options = Some("dopt-own".to_owned()));
    } else {
        region.public_access_block = Some("block-bidirectional".to_owned());
    }
}

pub fn arm(worlds: &mut State, now: Timestamp, method: &str, id: &str, body: Option<&Value>) -> Reply {
    let ask = Ask {
        method: method.to_owned(),
        path: id.to_owned(),
        query: vec![("api-version".to_owned(), VERSION.to_owned())],
        headers: BTreeMap::new(),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        origin: String::new(),
    };
    worlds.arm.answer(now, &ask)
}

/// What has happened by now is in the worlds only once somebody asks them.
pub fn settle(worlds: &mut State, now: Timestamp) {
    ec2(worlds, now, &[("Action", "DescribeSubnets")]);
    arm(worlds, now, "GET", &format!("/subscriptions/{SUBSCRIPTION}"), None);
}

/// Reads something and writes it back changed, by no etag. The status, or none where there is nothing.
pub fn rewrite(
    worlds: &mut State,
    now: Timestamp,
    id: &str,
    with: impl FnOnce(&mut Value) -> Option<()>,
) -> Option<u16> {
    let mut raw = worlds.arm.resource(id)?;
    with(&mut raw)?;
    if let Some(properties) = raw["properties"].as_object_mut() {
        // What only Azure writes.
        for told in ["defaultSecurityRules", "networkInterfaces", "firewallPolicies", "size", "provisioningState"] {
            properties.remove(told);
        }
        for collection in properties.get_mut("ruleCollections").and_then(Value::as_array_mut).into_iter().flatten() {
            collection["action"] = json!({"type": "DNAT"});
        }
    }
    Some(arm(worlds, now, "PUT", id, Some(&raw)).status)
}

pub fn group(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

pub fn net(group_name: &str, rest: &str) -> String {
    format!("{}/providers/Microsoft.Network/{rest}", group(group_name))
}

/// The resource that an id is a part of, or the resource group: nine words of it, or all.
pub fn whole(id: &str) -> &str {
    id.match_indices('/').nth(8).map_or(id, |(at, _)| &id[..at])
}

pub fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

/// Somebody's DNAT rule.
pub fn web(port: &str) -> Value {
    json!({"name": "web", "sourceAddresses": ["*"], "destinationAddresses": ["20.9.9.9"], "destinationPorts": [port],
        "translatedAddress": "10.8.9.8", "translatedPort": port})
}

/// Somebody's rule collection group.
pub fn rule_group(priority: u32) -> Value {
    let mut rule = web("8443");
    (rule["ruleType"], rule["ipProtocols"]) = (json!("NatRule"), json!(["TCP"]));
    json!({"properties": {"priority": priority, "ruleCollections": [{"name": "theirs", "priority": 100,
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "action": {"type": "DNAT"}, "rules": [rule]}]}})
}

/// Somebody's classic collection.
pub fn collection(name: &str, priority: u32) -> Value {
    let mut rule = web("8443");
    rule["protocols"] = json!(["TCP"]);
    json!({"name": name, "properties": {"priority": priority, "action": {"type": "Dnat"}, "rules": [rule]}})
}

/// The tags of a resource by its id in lower case.
pub fn tags(worlds: &arm::World, id: &str) -> BTreeMap<String, String> {
    let tags = worlds.tags_of(id).and_then(Value::as_object).into_iter().flatten();
    tags.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whose a resource is by its tag.
pub fn owner<'a>(worlds: &'a arm::World, id: &str) -> Option<&'a str> {
    worlds.tags_of(id)?.get(BASTION)?.as_str()
}
