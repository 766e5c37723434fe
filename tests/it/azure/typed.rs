//! What is sent is what Azure's own types say: every body that plans make passes through them unchanged, and a member that they
//! do not know is named.

use std::collections::BTreeSet;

use gangplank::provider::azure::{
    action::Call,
    id::Kind,
    typed::{unknown, unknown_in_collection},
};
use serde_json::{Value, json};

use super::{
    converge::{changes, start},
    plans::{CLASSIC, EDGES, Spec, group, subscription},
};

/// What each edge puts; the values that are filled in later are there.
fn bodies() -> Vec<(Kind, Value)> {
    let mut all = Vec::new();
    for edge in 0..EDGES.len() {
        let set = changes(&subscription(), &Spec::edge(edge).read().want(), start()).expect("a changeset");
        for step in set.steps {
            if let Call::Put { id, mut body, fill } = step.action.call {
                for one in &fill {
                    *body.pointer_mut(&one.at).expect("a place") = json!("10.0.0.4");
                }
                all.push((id.kind().expect("a kind"), body));
            }
        }
    }
    let subnet = json!({"properties": {"addressPrefix": "10.60.1.0/27", "defaultOutboundAccess": true}});
    all.push((Kind::Subnet, subnet));
    all
}

/// Where a classic collection has the values that are filled in later.
const FILLS: [&str; 2] = ["/properties/rules/0/destinationAddresses/0", "/properties/rules/0/translatedAddress"];

fn collection() -> Value {
    let set = changes(&subscription(), &Spec::edge(CLASSIC).read().want(), start()).expect("a changeset");
    let found = set.steps.into_iter().find_map(|step| match step.action.call {
        Call::NatCollection { collection, .. } => collection,
        _ => None,
    });
    let mut found = found.expect("a collection");
    for at in FILLS {
        *found.pointer_mut(at).expect("a place") = json!("10.0.0.4");
    }
    found
}

/// Every place of a member in a body, but tags, whose names are anybody's.
fn members(body: &Value) -> Vec<String> {
    fn walk(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter().filter(|(name, _)| *name != "tags") {
                    let at = format!("{at}/{name}");
                    walk(&at, value, found);
                    found.push(at);
                }
            }
            Value::Array(all) => all.iter().enumerate().for_each(|(i, value)| walk(&format!("{at}/{i}"), value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", body, &mut found);
    found
}

/// The body with one member under a name that nobody knows.
fn misspelt(body: &Value, place: &str) -> Value {
    let mut body = body.clone();
    let (parent, name) = place.rsplit_once('/').expect("a place");
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    let value = parent.shift_remove(name).expect("a member");
    parent.insert(format!("{name}x"), value);
    body
}

#[test]
fn every_body_that_a_plan_makes_is_what_azures_types_say() {
    let mut kinds = BTreeSet::new();
    for (kind, body) in bodies() {
        assert_eq!(unknown(kind, &body), [""; 0], "{body:#}");
        kinds.insert(kind);
    }
    assert_eq!(unknown_in_collection(&collection()), [""; 0]);
    assert_eq!(kinds.len(), 10, "every kind there is: {kinds:?}");
}

/// Each member of each body, one at a time.
#[test]
fn a_member_that_azure_does_not_know_is_named() {
    for (kind, body) in bodies() {
        for place in members(&body) {
            let told = unknown(kind, &misspelt(&body, &place));
            // azure_mgmt_network has no types for these two.
            if matches!(kind, Kind::ResourceGroup | Kind::Machine) {
                assert_eq!(told, [""; 0]);
                continue;
            }
            let name = place.rsplit('/').next().expect("a name");
            assert!(told.iter().any(|line| line.contains(name)), "{kind:?} {place}: {told:?}");
        }
    }
    let collection = collection();
    for place in members(&collection) {
        assert!(!unknown_in_collection(&misspelt(&collection, &place)).is_empty(), "{place}");
    }
}

#[test]
fn what_is_told_says_where() {
    let told = |kind: Kind, body: Value| unknown(kind, &body).join("\n");
    insta::assert_snapshot!(told(Kind::Network, json!({"location": "westeurope", "properties": {
        "adressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"name": "bastion", "properties": {"prefix": "10.0.0.0/27"}}]}})), @"
    properties.adressSpace is not known
    properties.subnets[0].properties.prefix is not known
    ");
    insta::assert_snapshot!(told(Kind::RuleGroup, json!({"properties": {"priority": 1000, "ruleCollections": [
        {"ruleCollectionType": "FirewallPolicyNatCollection", "rules": []}]}})), @"unknown variant `FirewallPolicyNatCollection`, expected `FirewallPolicyFilterRuleCollection` or `FirewallPolicyNatRuleCollection`");
    insta::assert_snapshot!(told(Kind::RuleGroup, json!({"properties": {"priority": "1000"}})), @r#"invalid type: string "1000", expected i32"#);
    insta::assert_snapshot!(told(Kind::Address, json!({"sku": "Standard", "properties": {}})), @r#"invalid type: string "Standard", expected struct PublicIpAddressSku"#);
    insta::assert_snapshot!(told(Kind::SecurityGroup, json!({"properties": {"securityRules": [{"name": "ssh",
        "properties": {"access": "Allow", "direction": "Inbound", "priority": 100}}]}})), @"missing field `protocol`");
    // What is empty may be left out.
    assert_eq!(told(Kind::SecurityGroup, json!({"properties": {"securityRules": [], "flushConnection": null}})), "");
}

/// Shared things do not come through here: these types would lose what is in them.
#[test]
fn an_answer_of_azures_is_not_a_body_of_ours() {
    let world = subscription();
    let id = group("rg-hub").resource(Kind::Firewall, "fw-old");
    let raw: &Value = world.all.get(&id).expect("a firewall");
    assert_eq!(unknown(Kind::Firewall, raw), ["properties.additionalProperties.a is not known"]);
}
