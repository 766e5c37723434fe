//! Who gets to a machine in the sandbox's Azure, and where a machine gets to.

use gangplank::sandbox::vm::Way;
use serde_json::{Value, json};

use super::place::{MACHINE, Place, dnat, hub, located, net, rule, vm};

const VENDOR: &str = "192.0.2.1";
const STRANGER: &str = "198.51.100.7";

fn machine(port: u16, source: &str) -> Way {
    Way::Machine { vm: vm().to_lowercase(), port, source: source.parse().expect("an address") }
}

/// What a bastion behind a firewall of the hub admits.
fn guarded() -> Value {
    json!([rule(100, "Inbound", "Allow", "10.8.3.0/26", "*", "22"), rule(4096, "Inbound", "Deny", "*", "*", "*")])
}

fn ours() -> String {
    hub("firewallPolicies/fwp-hub/ruleCollectionGroups/gangplank-warehouse")
}

#[test]
fn a_policys_rule_leads_its_sources_to_the_machine_and_the_firewall_stands_in_for_them() {
    let mut place = Place::new();
    place.bastion(&guarded());
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    assert_eq!(place.way(VENDOR, front), Way::Silent);
    place.make(&ours(), &dnat(200, &["192.0.2.0/28"], front, MACHINE));
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"));
    assert_eq!(place.way(STRANGER, front), Way::Silent);
    assert_eq!(place.way(VENDOR, "20.61.9.9".parse().expect("an address")), Way::Silent, "nobody's address");
    let old = place.address(&hub("publicIPAddresses/fw-old"));
    assert_eq!(place.way(VENDOR, old), Way::Silent, "the other firewall");
}

#[test]
fn the_lower_number_decides_and_it_may_lead_elsewhere() {
    let mut place = Place::new();
    place.bastion(&guarded());
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    place.make(&ours(), &dnat(200, &["*"], front, MACHINE));
    assert_eq!(place.way(STRANGER, front), machine(22, "10.8.3.4"));
    let other = hub("firewallPolicies/fwp-hub/ruleCollectionGroups/other");
    place.make(&other, &dnat(150, &["198.51.100.0-198.51.100.9"], front, "10.9.1.99"));
    assert_eq!(place.way(STRANGER, front), Way::Silent, "nothing is there");
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"));
}

#[test]
fn a_rule_is_in_effect_when_its_operation_has_ended() {
    let mut place = Place::new();
    place.bastion(&guarded());
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    place.put(&ours(), &dnat(200, &[VENDOR], front, MACHINE));
    place.pass(29);
    assert_eq!(place.way(VENDOR, front), Way::Silent);
    place.pass(1);
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"), "nobody needs to ask for it");
    assert_eq!(place.ask("PUT", &ours(), &dnat(200, &[STRANGER], front, MACHINE)).status, 400, "the policy is at work");
    place.pass(15);
    place.put(&ours(), &dnat(200, &[STRANGER], front, MACHINE));
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"));
    assert_eq!(place.way(STRANGER, front), Way::Silent);
    place.pass(45);
    assert_eq!(place.way(VENDOR, front), Way::Silent);
    assert_eq!(place.ask("DELETE", &ours(), &Value::Null).status, 202);
    assert_eq!(place.way(STRANGER, front), machine(22, "10.8.3.4"), "still there");
    place.pass(30);
    assert_eq!(place.way(STRANGER, front), Way::Silent);
}

#[test]
fn a_classic_rule_leads_to_the_machine_too() {
    let mut place = Place::new();
    let rules = json!([rule(100, "Inbound", "Allow", "10.7.3.0/26", "*", "22")]);
    place.bastion(&rules);
    let (id, front) = (hub("azureFirewalls/fw-old"), place.address(&hub("publicIPAddresses/fw-old")));
    let mut firewall = place.world.resource(&id).expect("there");
    let ours = json!({"name": "gangplank-warehouse", "properties": {"priority": 300, "action": {"type": "Dnat"},
        "rules": [{"name": "secoda", "protocols": ["TCP"], "sourceAddresses": [VENDOR],
            "destinationAddresses": [front.to_string()], "destinationPorts": ["22"],
            "translatedAddress": MACHINE, "translatedPort": "22"}]}});
    firewall["properties"]["natRuleCollections"].as_array_mut().expect("a list").push(ours);
    place.make(&id, &firewall);
    assert_eq!(place.way(VENDOR, front), machine(22, "10.7.3.4"));
    assert_eq!(place.way(STRANGER, front), Way::Silent);
}

#[test]
fn every_group_on_the_way_must_let_it_through() {
    let mut place = Place::new();
    place.bastion(&json!([
        rule(100, "Inbound", "Allow", "10.8.3.5", "*", "22"),
        rule(4096, "Inbound", "Deny", "VirtualNetwork", "*", "*")
    ]));
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    place.make(&ours(), &dnat(200, &[VENDOR], front, MACHINE));
    assert_eq!(place.way(VENDOR, front), Way::Silent, "another address than the firewall's");
    place.make(&net("networkSecurityGroups/nsg"), &located(json!({"securityRules": guarded()})));
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"));
    let strict = located(json!({"securityRules": [rule(200, "Inbound", "Deny", "*", "*", "20-30")]}));
    place.make(&net("networkSecurityGroups/strict"), &strict);
    let subnet = net("virtualNetworks/vnet-data/subnets/snet-a");
    let guard = json!({"properties": {"addressPrefix": "10.9.1.0/24",
                                      "networkSecurityGroup": {"id": net("networkSecurityGroups/strict")}}});
    place.make(&subnet, &guard);
    assert_eq!(place.way(VENDOR, front), Way::Silent, "the subnet's group");
}

#[test]
fn a_network_without_a_peering_is_not_reached() {
    let mut place = Place::new();
    place.bastion(&guarded());
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    place.make(&ours(), &dnat(200, &[VENDOR], front, MACHINE));
    let id = net("virtualNetworks/vnet-data/virtualNetworkPeerings/vnet-data-vnet-hub");
    let mut peering = json!({"properties": {"allowVirtualNetworkAccess": false,
        "remoteVirtualNetwork": {"id": hub("virtualNetworks/vnet-hub")}}});
    place.make(&id, &peering);
    assert_eq!(place.way(VENDOR, front), Way::Silent);
    peering["properties"]["allowVirtualNetworkAccess"] = json!(true);
    place.make(&id, &peering);
    assert_ne!(place.way(VENDOR, front), Way::Silent);
}

#[test]
fn a_machines_own_address_leads_to_it_where_a_group_says_so() {
    let mut place = Place::new();
    place.bastion(&json!([rule(100, "Inbound", "Allow", "192.0.2.0/28", "*", "22")]));
    let id = net("publicIPAddresses/own");
    let body = json!({"location": "westeurope", "sku": {"name": "Standard"},
                      "properties": {"publicIPAllocationMethod": "Static"}});
    place.make(&id, &body);
    let own = place.address(&id);
    assert_eq!(place.way(VENDOR, own), Way::Silent, "it belongs to nothing yet");
    place.interface(json!({"publicIPAddress": {"id": id}}), true);
    assert_eq!(place.way(VENDOR, own), machine(22, VENDOR));
    assert_eq!(place.way(STRANGER, own), Way::Silent);
    place.interface(json!({"publicIPAddress": {"id": id}}), false);
    assert_eq!(place.way(VENDOR, own), Way::Silent, "without any group a Standard address is closed");
}

#[test]
fn a_machine_that_does_not_run_is_not_reached() {
    let mut place = Place::new();
    place.bastion(&guarded());
    let front = place.address(&hub("publicIPAddresses/fw-hub"));
    place.make(&ours(), &dnat(200, &[VENDOR], front, MACHINE));
    place.world.shut_down(&vm(), place.now);
    assert_eq!(place.way(VENDOR, front), Way::Silent);
    assert_eq!(place.ask("POST", &format!("{}/start", vm()), &Value::Null).status, 202);
    assert_eq!(place.way(VENDOR, front), Way::Silent, "it starts");
    place.pass(30);
    assert_eq!(place.way(VENDOR, front), machine(22, "10.8.3.4"));
}

#[test]
fn a_machine_gets_to_where_its_groups_let_it_and_always_to_the_platform() {
    let mut place = Place::new();
    place.bastion(&json!([
        rule(100, "Outbound", "Allow", "*", "VirtualNetwork", "5432"),
        rule(110, "Outbound", "Allow", "*", "Internet", "443"),
        rule(4096, "Outbound", "Deny", "*", "*", "*"),
    ]));
    let reaches = |to: &str, port: u16| place.world.reaches(&vm(), to.parse().expect("an address"), port);
    for (to, port, open) in [
        ("10.9.7.7", 5432, true),
        ("10.8.7.7", 5432, true),
        ("10.9.7.7", 443, false),
        ("192.0.2.1", 443, true),
        ("192.0.2.1", 5432, false),
        ("169.254.169.254", 80, true),
    ] {
        assert_eq!(reaches(to, port), open, "{to}:{port}");
    }
    assert!(!place.world.reaches("/subscriptions/none", [10, 9, 7, 7].into(), 5432), "no such machine");
}
