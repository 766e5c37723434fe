//! Why a plan can't be fulfilled, as people read it.

use gangplank::provider::azure::{
    diff,
    id::{Id, Kind},
    observed::Surroundings,
    tags::BASTION,
};
use insta::assert_snapshot;
use serde_json::json;

use super::{
    converge::{changes, hours, standing, start},
    plans::{BASIC, CLASSIC, HUB, POLICY, Spec, Written, group, subscription},
    world::World,
};

fn refused(world: &World, text: &str) -> String {
    changes(world, &Written::read(text).want(), start()).expect_err("a problem")
}

/// The problems of a plan that differs from one of the usual ones in one place.
fn problems(world: &World, spec: &Spec, replace: &str, with: &str) -> String {
    let text = spec.text();
    assert!(text.contains(replace), "{text}");
    refused(world, &text.replace(replace, with))
}

fn hub(kind: Kind, name: &str) -> Id {
    group("rg-hub").resource(kind, name)
}

#[test]
fn what_the_plan_names_is_not_there() {
    let hub = Spec::edge(HUB);
    assert_snapshot!(problems(&subscription(), &hub, "vnet-data, subnet: snet-a", "vnet-none, subnet: snet-a"));
    assert_snapshot!(problems(&subscription(), &hub, "subnet: snet-a", "subnet: snet-c"));
    assert_snapshot!(problems(&subscription(), &hub, "fw-hub", "fw-none"));
    assert_snapshot!(problems(&subscription(), &hub, "existing: rg-shared", "existing: rg-none"));
}

#[test]
fn an_ambiguous_network() {
    let mut world = subscription();
    world.add(&hub(Kind::Network, "vnet-data"), json!({"location": "westeurope"}));
    let spec = Spec { shared_group: false, ..Spec::edge(HUB) };
    assert_snapshot!(refused(&world, &spec.text()));
    // In the bastion's own resource group, one is meant before others.
    assert!(changes(&world, &Spec::edge(HUB).read().want(), start()).is_ok());
}

#[test]
fn another_location() {
    let mut world = subscription();
    assert_snapshot!(problems(&world, &Spec::edge(HUB), "location: westeurope", "location: northeurope"));
    // A policy serves firewalls of every location.
    world.all.get_mut(&hub(Kind::Policy, "fwp-hub")).expect("a policy")["location"] = json!("eastus");
    assert!(changes(&world, &Spec::edge(POLICY).read().want(), start()).is_ok());
    world.all.get_mut(&hub(Kind::Firewall, "fw-hub")).expect("a firewall")["location"] = json!("eastus");
    assert_snapshot!(refused(&world, &Spec::edge(POLICY).text()));
}

#[test]
fn a_size_that_the_location_does_not_have() {
    assert_snapshot!(problems(&subscription(), &Spec::default(), "Standard_B1s", "Standard_B7"));
    assert_snapshot!(problems(&subscription(), &Spec::default(), "Standard_B1s", "Standard_B9"));
}

#[test]
fn a_location_that_is_none() {
    let (world, spec) = (subscription(), Spec::default());
    let written = Written::read(&spec.text().replace("westeurope", "westerneurope"));
    let (seen, around) = (world.look(), Surroundings::default());
    let against = diff::World { seen: &seen, around: &around, now: start() };
    let problems = diff::diff(&written.want(), against).expect_err("a problem");
    assert_snapshot!(gangplank::diagnostic::render(&problems, false), @"
    error: no such location
     --> plans/warehouse.yaml:8:13
      |
    8 |   location: westerneurope
      |             ^^^^^^^^^^^^^ westerneurope offers no machine to this subscription
      |
      = help: `az account list-locations --query [].name --output tsv` lists them
    ");
}

#[test]
fn a_quota_that_is_used_up() {
    let refused = |world: &World, want: &Spec, full: &str| {
        let written = want.read();
        let (seen, mut around) = (world.look(), world.surroundings());
        around.quotas.iter_mut().filter(|quota| quota.name == full).for_each(|quota| quota.used = quota.limit);
        diff::diff(&written.want(), diff::World { seen: &seen, around: &around, now: start() })
            .map_err(|problems| gangplank::diagnostic::render(&problems, false))
    };
    let (world, spec) = (subscription(), Spec::default());
    assert!(refused(&world, &spec, "standardDSv3Family").is_ok(), "another family's");
    assert_snapshot!(refused(&world, &spec, "standardBSFamily").expect_err("a problem"), @"
    error: the subscription's quota has no room for it
      --> plans/warehouse.yaml:15:9
       |
    15 |   size: Standard_B1s
       |         ^^^^^^^^^^^^ standardBSFamily in westeurope: 10 of 10 are used, Standard_B1s needs 1
       |
       = help: raise the quota in the portal (Quotas), remove what is unused, or choose a size of another family or location
    ");
    assert!(refused(&world, &spec, "cores").is_err());
    // A machine that is replaced gives back what it has.
    assert!(refused(&standing(&spec), &Spec { size: 1, ..spec.clone() }, "cores").is_ok());
}

#[test]
fn names_that_are_somebody_elses() {
    let mut world = subscription();
    world.add(&group("rg-bastion"), json!({"location": "westeurope"}));
    world.add(
        &group("rg-bastion").resource(Kind::Machine, "GANGPLANK-warehouse"),
        json!({"location": "westeurope", "tags": {BASTION: "other"}}),
    );
    assert_snapshot!(refused(&world, &Spec::default().text()));
}

#[test]
fn rules_of_our_name_that_are_not_ours() {
    let mut world = subscription();
    let rules = json!([{"name": "r", "description": "by hand", "ruleType": "NatRule"}]);
    let own = hub(Kind::Policy, "fwp-hub").child(Kind::RuleGroup, "gangplank-warehouse");
    world.add(
        &own,
        json!({"properties": {"priority": 400, "ruleCollections": [
        {"ruleCollectionType": "FirewallPolicyNatRuleCollection", "rules": rules}]}}),
    );
    assert_snapshot!(refused(&world, &Spec::edge(HUB).text()));
    let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-old")).expect("a firewall");
    firewall["properties"]["natRuleCollections"][0]["name"] = json!("gangplank-warehouse");
    assert_snapshot!(refused(&world, &Spec::edge(CLASSIC).text()));
}

#[test]
fn a_port_that_is_taken_on_the_firewall() {
    let mut world = subscription();
    let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-old")).expect("a firewall");
    firewall["properties"]["natRuleCollections"][0]["properties"]["rules"][0]["destinationPorts"] = json!(["20-22"]);
    assert_snapshot!(refused(&world, &Spec::edge(CLASSIC).text()));
    // For other sources it may be somebody's.
    let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-old")).expect("a firewall");
    firewall["properties"]["natRuleCollections"][0]["properties"]["rules"][0]["sourceAddresses"] =
        json!(["192.0.2.77"]);
    assert!(changes(&world, &Spec::edge(CLASSIC).read().want(), start()).is_ok());
}

#[test]
fn firewalls_that_can_take_no_rule() {
    let mut world = subscription();
    let set = |world: &mut World, what: &str, value: serde_json::Value| {
        world.all.get_mut(&hub(Kind::Firewall, "fw-hub")).expect("a firewall")["properties"][what] = value;
    };
    let usual = world.clone();
    set(&mut world, "sku", json!({"name": "AZFW_Hub"}));
    assert_snapshot!(refused(&world, &Spec::edge(HUB).text()));
    world = usual.clone();
    world.all.remove(&hub(Kind::Network, "vnet-hub"));
    assert_snapshot!(refused(&world, &Spec::edge(HUB).text()));
    world = usual.clone();
    set(&mut world, "firewallPolicy", json!(null));
    assert_snapshot!(refused(&world, &Spec::edge(POLICY).text()));
    world = usual;
    let policy = json!({"id": hub(Kind::Policy, "fwp-hub").as_str()});
    world.all.get_mut(&hub(Kind::Firewall, "fw-old")).expect("a firewall")["properties"]["firewallPolicy"] = policy;
    assert_snapshot!(refused(&world, &Spec::edge(POLICY).text()));
}

#[test]
fn a_network_without_a_place_for_a_firewall() {
    let mut world = subscription();
    let spec = Spec { subnet: Some("snet-a"), ..Spec::edge(BASIC) };
    let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
    let subnets = &mut world.all.get_mut(&vnet).expect("a network")["properties"]["subnets"];
    subnets[2]["properties"]["addressPrefix"] = json!("10.9.3.0/27");
    subnets.as_array_mut().expect("subnets").pop();
    assert_snapshot!(refused(&world, &spec.text()));
}

#[test]
fn every_priority_is_taken() {
    let mut world = subscription();
    let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-old")).expect("a firewall");
    let all: Vec<_> =
        (100..=65000).map(|n| json!({"name": format!("c{n}"), "properties": {"priority": n, "rules": []}})).collect();
    firewall["properties"]["natRuleCollections"] = json!(all);
    assert_snapshot!(refused(&world, &Spec::edge(CLASSIC).text()));
}

#[test]
fn sources_that_cannot_arrive() {
    let text = Spec::default().text().replace("198.51.100.20/32", "198.51.100.20/32, \"2001:db8:1::/64\"");
    assert_snapshot!(refused(&subscription(), &text));
}

#[test]
fn what_cannot_be_changed_while_the_bastion_stands() {
    let world = standing(&Spec::default());
    let spec = Spec::default();
    assert_snapshot!(problems(&world, &spec, "10.60.1.0/27", "10.60.2.0/27"));
    assert_snapshot!(problems(&world, &spec, "location: westeurope", "location: northeurope"));
}

#[test]
fn a_life_that_is_over() {
    let world = standing(&Spec::default());
    let late = changes(&world, &Spec::default().read().want(), hours(24 * 91)).expect_err("a problem");
    assert_snapshot!(late);
}

#[test]
fn an_interface_with_somebody_elses_machine() {
    let mut world = standing(&Spec::default());
    let own = group("rg-bastion");
    let machine = own.resource(Kind::Machine, "gangplank-warehouse");
    let mut raw = world.all.remove(&machine).expect("a machine");
    raw["tags"] = json!({});
    world.add(&own.resource(Kind::Machine, "theirs"), raw);
    assert_snapshot!(refused(&world, &Spec::default().text()));
}

#[test]
fn a_policy_of_ours_with_somebody_elses_rules() {
    let mut world = standing(&Spec::default());
    let policy = group("rg-bastion").resource(Kind::Policy, "gangplank-warehouse");
    world
        .add(&policy.child(Kind::RuleGroup, "theirs"), json!({"properties": {"priority": 500, "ruleCollections": []}}));
    assert_snapshot!(problems(&world, &Spec::default(), "sku: standard", "sku: premium"));
}
