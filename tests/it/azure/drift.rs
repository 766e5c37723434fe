//! What happens to a bastion behind gangplank's back, and what an interrupted or concurrent run leaves.

use gangplank::provider::azure::{
    id::{Id, Kind},
    tags::{self, BASTION},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    plans::{BASTION_NAME, group},
    world::{World, kind, power, text},
};

#[derive(Clone, Copy, Debug)]
pub enum Drift {
    OpenToTheWorld,
    CloseIngress,
    OpenEgress,
    AnotherNatSource,
    NatToAnotherPort,
    Stop,
    DeleteMachine,
    DropTag(usize),
    DropUserTag,
    PostponeTheEnd,
    ForeignTag,
    OtherKeys,
    Fail,
    Busy,
    ForeignInTheGroup,
    ForeignSubnet,
    ForeignPriority,
    SecondAddress,
    DropPeering(bool),
}

const TAGS: [&str; 3] = [tags::LIFETIME, tags::BOOT, tags::NAME];
/// The source that drift opens to, and that no plan lists.
pub const INTRUDER: &str = "192.0.2.200";

pub fn drifts() -> impl Strategy<Value = Vec<Drift>> {
    let one = prop_oneof![
        prop::sample::select(vec![
            Drift::OpenToTheWorld,
            Drift::CloseIngress,
            Drift::OpenEgress,
            Drift::AnotherNatSource,
            Drift::NatToAnotherPort,
            Drift::Stop,
            Drift::DeleteMachine,
            Drift::DropUserTag,
            Drift::PostponeTheEnd,
            Drift::ForeignTag,
            Drift::OtherKeys,
            Drift::Fail,
            Drift::Busy,
            Drift::ForeignInTheGroup,
            Drift::ForeignSubnet,
            Drift::ForeignPriority,
            Drift::SecondAddress,
        ]),
        (0..TAGS.len()).prop_map(Drift::DropTag),
        any::<bool>().prop_map(Drift::DropPeering),
    ];
    prop::collection::vec(one, 0..4)
}

pub fn is_ours(raw: &Value) -> bool {
    raw["tags"][BASTION] == BASTION_NAME
}

/// One of ours of a kind.
pub fn ours(world: &mut World, wanted: Kind) -> Option<&mut Value> {
    world.all.values_mut().find(|r| kind(r) == Some(wanted) && is_ours(r))
}

/// Our DNAT rules, wherever they are.
pub fn nat(world: &mut World) -> Option<&mut Value> {
    let name = format!("gangplank-{BASTION_NAME}");
    let rules = world.all.values_mut().find_map(|r| match kind(r) {
        Some(Kind::RuleGroup) if text(r, "/name") == name => r.pointer_mut("/properties/ruleCollections/0/rules"),
        Some(Kind::Firewall) => {
            let all = r.pointer_mut("/properties/natRuleCollections")?.as_array_mut()?;
            all.iter_mut().find(|c| text(c, "/name") == name)?.pointer_mut("/properties/rules")
        }
        _ => None,
    })?;
    rules.as_array_mut()?.first_mut()
}

pub fn disturb(world: &mut World, drift: Drift) {
    let allow = |name: &str, direction: &str, priority: u32| {
        json!({"name": name, "properties": {"access": "Allow", "direction": direction,
        "priority": priority, "protocol": "*", "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*",
        "destinationPortRange": "*"}})
    };
    let rules = |world: &mut World, change: &dyn Fn(&mut Vec<Value>)| {
        let found = ours(world, Kind::SecurityGroup).and_then(|g| g.pointer_mut("/properties/securityRules"));
        found.and_then(Value::as_array_mut).into_iter().for_each(change);
    };
    match drift {
        Drift::OpenToTheWorld => rules(world, &|all| all.push(allow("temporary", "Inbound", 4000))),
        Drift::OpenEgress => rules(world, &|all| all.push(allow("out", "Outbound", 4000))),
        Drift::CloseIngress => rules(world, &|all| all.retain(|r| r["name"] != "ssh")),
        Drift::AnotherNatSource => {
            if let Some(Value::Array(sources)) = nat(world).and_then(|r| r.get_mut("sourceAddresses")) {
                sources.push(json!(INTRUDER));
            }
        }
        Drift::NatToAnotherPort => {
            if let Some(rule) = nat(world) {
                rule["translatedPort"] = json!("2323");
            }
        }
        Drift::Stop => {
            if let Some(machine) = ours(world, Kind::Machine) {
                machine["properties"]["instanceView"] = power("deallocated");
            }
        }
        Drift::DeleteMachine => world.all.retain(|_, r| kind(r) != Some(Kind::Machine) || !is_ours(r)),
        Drift::DropTag(which) => {
            if let Some(machine) = ours(world, Kind::Machine) {
                machine["tags"].as_object_mut().expect("tags").shift_remove(TAGS[which]);
            }
        }
        Drift::DropUserTag => {
            if let Some(security) = ours(world, Kind::SecurityGroup) {
                security["tags"].as_object_mut().expect("tags").shift_remove("team");
            }
        }
        Drift::PostponeTheEnd => {
            if let Some(machine) = ours(world, Kind::Machine).filter(|m| m["tags"][tags::EXPIRES].is_string()) {
                machine["tags"][tags::EXPIRES] = json!("2099-01-01T00:00:00Z");
            }
        }
        Drift::ForeignTag => {
            for kind in [Kind::SecurityGroup, Kind::Machine, Kind::Interface] {
                if let Some(resource) = ours(world, kind) {
                    resource["tags"]["cost-centre"] = json!("42");
                }
            }
        }
        Drift::OtherKeys => {
            if let Some(machine) = ours(world, Kind::Machine) {
                machine["properties"]["userData"] = json!("bm90aGluZw==");
                machine["tags"][tags::KEYS] = json!("somebodys");
            }
        }
        Drift::Fail => {
            for kind in [Kind::Firewall, Kind::Interface] {
                if let Some(resource) = ours(world, kind) {
                    resource["properties"]["provisioningState"] = json!("Failed");
                }
            }
        }
        Drift::Busy => {
            for kind in [Kind::Firewall, Kind::Machine, Kind::Network] {
                if let Some(resource) = ours(world, kind) {
                    resource["properties"]["provisioningState"] = json!("Updating");
                }
            }
        }
        Drift::ForeignInTheGroup => {
            let own = group("rg-bastion");
            if world.all.contains_key(&own) {
                world.add(&own.resource(Kind::Address, "somebodys"), json!({"location": "westeurope"}));
            }
        }
        Drift::ForeignSubnet => {
            if let Some(network) = ours(world, Kind::Network) {
                let id = Id::new(text(network, "/id")).child(Kind::Subnet, "somebodys");
                let subnets =
                    network.pointer_mut("/properties/subnets").and_then(Value::as_array_mut).expect("subnets");
                subnets.retain(|s| s["name"] != "somebodys");
                subnets.push(
                    json!({"id": id.as_str(), "name": "somebodys", "properties": {"addressPrefix": "10.60.9.0/24"}}),
                );
            }
        }
        Drift::ForeignPriority => {
            let policy = group("rg-hub").resource(Kind::Policy, "fwp-hub");
            if !world.all.contains_key(&policy.child(Kind::RuleGroup, &format!("gangplank-{BASTION_NAME}"))) {
                world.add(&policy.child(Kind::RuleGroup, "more"), json!({"properties": {"priority": 1002}}));
            }
        }
        Drift::DropPeering(ours) => {
            let name = format!("gangplank-{BASTION_NAME}");
            let network = |id: &&Id| id.kind() == Some(Kind::Network) && (id.name() == name) == ours;
            let all = world.all.iter().filter(|(id, _)| network(id));
            let peerings = all.flat_map(|(_, raw)| super::world::list(raw, "/properties/virtualNetworkPeerings"));
            let found = peerings.map(|p| Id::new(text(p, "/id"))).find(|id| id.name().starts_with(&format!("{name}-")));
            if let Some(id) = found {
                world.delete_peering(&id).expect("it is there");
            }
        }
        Drift::SecondAddress => {
            if ours(world, Kind::Machine).is_some() {
                let id = group("rg-shared").resource(Kind::Address, "gangplank-second");
                world.add(&id, json!({"location": "westeurope", "tags": {BASTION: BASTION_NAME}}));
            }
        }
    }
}
