//! The control plane's vantage: a subscription that a plan was applied to is green, and one fault at a time turns exactly the
//! checks that are about it red.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use gangplank::{
    provider::azure::{
        id::{Id, Kind},
        tags,
        verify::{Evidence, judge},
    },
    verify::{Check, Verdict},
};
use serde_json::{Value, json};

use super::{
    converge::{hours, standing},
    drift::{Drift, disturb, nat, ours},
    plans::{BASIC, CLASSIC, HUB, POLICY, PUBLIC, STANDARD, Spec, group},
    world::{World, text},
};

const EDGES: [usize; 6] = [PUBLIC, BASIC, STANDARD, HUB, CLASSIC, POLICY];
/// Behind a firewall that is somebody else's.
const SHARED: [usize; 3] = [HUB, CLASSIC, POLICY];

fn spec(edge: usize) -> Spec {
    Spec { subnet: Some("snet-a"), shared_group: true, ..Spec::edge(edge) }
}

/// As `apply` leaves it, with the networks that know of each other.
fn applied(spec: &Spec) -> World {
    let mut world = standing(spec);
    let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
    let hub = group("rg-hub");
    let peering = |name: &str, range: &str| {
        json!({"name": name, "properties": {"peeringState": "Connected",
            "remoteVirtualNetwork": {"id": hub.resource(Kind::Network, name).as_str()},
            "remoteVirtualNetworkAddressSpace": {"addressPrefixes": [range]}}})
    };
    let network = world.all.get_mut(&vnet).expect("the network");
    network["properties"]["virtualNetworkPeerings"] =
        json!([peering("vnet-hub", "10.8.0.0/16"), peering("vnet-old", "10.7.0.0/16")]);
    let subnets = network.pointer_mut("/properties/subnets").and_then(Value::as_array_mut).expect("subnets");
    subnets.push(json!({"id": vnet.child(Kind::Subnet, "snet-db").as_str(), "name": "snet-db",
        "properties": {"addressPrefix": "10.9.0.0/24"}}));
    world
}

fn look(spec: &Spec, world: &World) -> Vec<Check> {
    let written = spec.read();
    let evidence = Evidence { at: hours(2), seen: Arc::new(world.look()) };
    let resolved = BTreeMap::from([("db.internal".to_owned(), vec![IpAddr::from([10, 9, 0, 5])])]);
    judge(&written.plan, written.azure(), &evidence, &resolved)
}

fn told(checks: &[Check]) -> String {
    let line = |check: &Check| match &check.verdict {
        Verdict::Pass => None,
        Verdict::Fail { cause, fix } => Some(format!("{}: {cause}\n  → {fix}\n", check.name())),
        Verdict::Unknown { reason } => Some(format!("{}? {reason}\n", check.name())),
    };
    checks.iter().filter_map(line).collect()
}

/// Breaks one thing, and tells what is no longer green.
fn with(edge: usize, fault: impl FnOnce(&mut World)) -> String {
    let spec = spec(edge);
    let mut world = applied(&spec);
    fault(&mut world);
    told(&look(&spec, &world))
}

/// The ids of what is red, without repetition.
fn red(edge: usize, fault: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let spec = spec(edge);
    let mut world = applied(&spec);
    fault(&mut world);
    let mut ids: Vec<_> = look(&spec, &world).iter().filter(|c| c.verdict.is_fail()).map(|c| c.id).collect();
    ids.dedup();
    ids
}

fn interface(world: &mut World) -> &mut Value {
    ours(world, Kind::Interface).expect("an interface")
}

fn machine(world: &mut World) -> &mut Value {
    ours(world, Kind::Machine).expect("a machine")
}

fn private(world: &mut World) -> String {
    text(interface(world), "/properties/ipConfigurations/0/properties/privateIPAddress").to_owned()
}

fn our_rule(world: &mut World) -> &mut Value {
    nat(world).expect("a DNAT rule")
}

/// A collection of somebody's in the same policy, or in the same firewall.
fn foreign(world: &mut World, edge: usize, priority: u32, rule: &Value, network: bool) {
    let mut rule = rule.clone();
    let hub = group("rg-hub");
    if edge == CLASSIC {
        let (list, action) = if network { ("networkRuleCollections", "Allow") } else { ("natRuleCollections", "Dnat") };
        let firewall = world.all.get_mut(&hub.resource(Kind::Firewall, "fw-old")).expect("a firewall");
        if firewall["properties"][list].is_null() {
            firewall["properties"][list] = json!([]);
        }
        firewall["properties"][list].as_array_mut().expect("collections").push(json!({"name": "extra",
            "properties": {"priority": priority, "action": {"type": action}, "rules": [rule]}}));
        return;
    }
    let (of, action, kind) = if network {
        ("FirewallPolicyFilterRuleCollection", "Allow", "NetworkRule")
    } else {
        ("FirewallPolicyNatRuleCollection", "DNAT", "NatRule")
    };
    rule["ruleType"] = json!(kind);
    let policy = hub.resource(Kind::Policy, "fwp-hub");
    world.add(
        &policy.child(Kind::RuleGroup, "theirs"),
        json!({"properties": {"priority": priority, "ruleCollections": [{"name": "extra", "priority": 100,
            "ruleCollectionType": of, "action": {"type": action}, "rules": [rule]}]}}),
    );
}

fn dnat(sources: &[&str], to: &str, port: &str, machine: &str, machine_port: &str) -> Value {
    json!({"name": "odd", "ipProtocols": ["TCP"], "protocols": ["TCP"], "sourceAddresses": sources,
        "destinationAddresses": [to], "destinationPorts": [port], "translatedAddress": machine,
        "translatedPort": machine_port})
}

fn allow(sources: &[&str], to: &str) -> Value {
    json!({"name": "east-west", "ipProtocols": ["Any"], "protocols": ["Any"], "sourceAddresses": sources,
        "destinationAddresses": [to], "destinationPorts": ["*"]})
}

fn address(edge: usize) -> &'static str {
    if edge == CLASSIC { "20.9.9.2" } else { "20.9.9.1" }
}

#[test]
fn what_apply_leaves_is_green_at_every_edge() {
    for edge in EDGES {
        let spec = spec(edge);
        assert_eq!(told(&look(&spec, &applied(&spec))), "", "{edge}");
    }
    let checks = look(&spec(HUB), &applied(&spec(HUB)));
    let lines = |check: &Check| {
        let evidence: String = check.evidence.iter().map(|line| format!("    {line}\n")).collect();
        format!("{} - {}\n{evidence}", check.name(), check.proves)
    };
    insta::assert_snapshot!(checks.iter().map(lines).collect::<String>(), @"");
}

#[test]
fn a_network_of_the_bastions_own_is_green_as_far_as_it_can_be_seen() {
    let spec = Spec::default();
    insta::assert_snapshot!(told(&look(&spec, &standing(&spec))), @"");
}

#[test]
fn without_a_bastion_no_check_is_missing_and_only_the_cause_is_red() {
    for edge in EDGES {
        let spec = spec(edge);
        let names = |checks: &[Check]| checks.iter().map(Check::name).collect::<Vec<_>>();
        let mut world = applied(&spec);
        let expected = names(&look(&spec, &world));
        disturb(&mut world, Drift::DeleteMachine);
        let checks = look(&spec, &world);
        assert_eq!(names(&checks), expected);
        let red: Vec<_> = checks.iter().filter(|c| c.verdict.is_fail()).map(|c| c.id).collect();
        assert_eq!(red, ["control.instance"], "{edge}");
        world.all.clear();
        let checks = look(&spec, &world);
        assert_eq!(names(&checks), expected);
        assert!(!checks.iter().any(|c| c.verdict == Verdict::Pass), "{edge}");
    }
}

#[test]
fn a_source_that_the_dnat_rule_lacks_is_not_admitted() {
    let closed = |world: &mut World| our_rule(world)["sourceAddresses"] = json!(["203.0.113.200"]);
    for edge in [BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, closed), ["control.admits"], "{edge}");
    }
    insta::assert_snapshot!(with(HUB, closed), @"");
}

#[test]
fn a_dnat_rule_for_everybody_admits_too_many() {
    let open = |world: &mut World| {
        let all = our_rule(world)["sourceAddresses"].as_array_mut().expect("sources");
        all.push(json!("0.0.0.0/0"));
    };
    for edge in [BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, open), ["control.nothing-else"], "{edge}");
        assert_eq!(red(edge, |world| disturb(world, Drift::AnotherNatSource)), ["control.nothing-else"], "{edge}");
    }
    insta::assert_snapshot!(with(HUB, open) + &with(CLASSIC, |world| disturb(world, Drift::AnotherNatSource)), @"");
}

#[test]
fn a_rule_of_somebody_elses_to_the_machine_is_told() {
    for edge in SHARED {
        let fault = |world: &mut World| {
            let machine = private(world);
            foreign(world, edge, 3000, &dnat(&["192.0.2.99"], address(edge), "2200", &machine, "22"), false);
        };
        assert_eq!(red(edge, fault), ["control.nothing-else"], "{edge}");
        insta::allow_duplicates! {
            let text = with(edge, fault).replace("firewall policy fwp-hub", "X").replace("firewall fw-old", "X");
            insta::assert_snapshot!(text, @"");
        }
        // A listed source, on the planned port: nobody else comes in by it.
        let harmless = |world: &mut World| {
            let machine = private(world);
            foreign(world, edge, 3000, &dnat(&["198.51.100.20"], address(edge), "2200", &machine, "22"), false);
        };
        assert_eq!(with(edge, harmless), "", "{edge}");
    }
}

#[test]
fn a_network_rule_counts_where_it_is_meant_for_the_machine_or_hides_who_comes() {
    for edge in SHARED {
        let broad = |world: &mut World| foreign(world, edge, 3000, &allow(&["10.0.0.0/8"], "10.0.0.0/8"), true);
        assert_eq!(with(edge, broad), "", "{edge}");
        let narrow = |world: &mut World| {
            let machine = private(world);
            foreign(world, edge, 3000, &allow(&["10.0.0.0/8"], &machine), true);
        };
        assert_eq!(red(edge, narrow), ["control.nothing-else"], "{edge}");
        let translated = |world: &mut World| {
            broad(world);
            let hub = group("rg-hub");
            let policy = world.all.get_mut(&hub.resource(Kind::Policy, "fwp-hub")).expect("a policy");
            policy["properties"]["snat"] = json!({"privateRanges": ["255.255.255.255/32"]});
            let firewall = world.all.get_mut(&hub.resource(Kind::Firewall, "fw-old")).expect("a firewall");
            firewall["properties"]["additionalProperties"]["Network.SNAT.PrivateRanges"] = json!("255.255.255.255/32");
        };
        assert_eq!(red(edge, translated), ["control.nothing-else"], "{edge}");
    }
    let hub = |world: &mut World| foreign(world, HUB, 3000, &allow(&["10.0.0.0/8"], "10.9.1.0/28"), true);
    insta::assert_snapshot!(with(HUB, hub), @"");
}

/// A policy inherits network rules, and no NAT rules.
#[test]
fn what_a_policy_inherits_counts_and_what_is_not_read_is_unknown() {
    let hub = group("rg-hub");
    let base = hub.resource(Kind::Policy, "fwp-base");
    let inherit = |world: &mut World| {
        let policy = world.all.get_mut(&hub.resource(Kind::Policy, "fwp-hub")).expect("a policy");
        policy["properties"]["basePolicy"] = json!({"id": base.as_str()});
    };
    insta::assert_snapshot!(with(HUB, inherit), @"");
    let rules = |world: &mut World| {
        inherit(world);
        let machine = private(world);
        world.add(&base, json!({"location": "westeurope"}));
        let collection = |of: &str, kind: &str, action: &str, mut rule: Value| {
            rule["ruleType"] = json!(kind);
            json!({"name": of, "priority": 100, "ruleCollectionType": of, "action": {"type": action}, "rules": [rule]})
        };
        let nat = dnat(&["*"], address(HUB), "22", &machine, "22");
        world.add(
            &base.child(Kind::RuleGroup, "company"),
            json!({"properties": {"priority": 200, "ruleCollections": [
                collection("FirewallPolicyNatRuleCollection", "NatRule", "DNAT", nat),
                collection("FirewallPolicyFilterRuleCollection", "NetworkRule", "Allow", allow(&["10.1.0.0/16"], &machine)),
            ]}}),
        );
    };
    insta::assert_snapshot!(with(HUB, rules), @"");
}

#[test]
fn a_wrong_translation_leads_the_vendor_elsewhere() {
    let fault = |world: &mut World| our_rule(world)["translatedAddress"] = json!("10.9.1.77");
    for edge in [BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, fault), ["control.address"], "{edge}");
        assert_eq!(red(edge, |world| disturb(world, Drift::NatToAnotherPort)), ["control.address"], "{edge}");
    }
    insta::assert_snapshot!(with(CLASSIC, fault), @"");
}

#[test]
fn a_rule_that_comes_before_ours_is_named() {
    for edge in SHARED {
        let before = |sources: &'static [&str], priority: u32| {
            move |world: &mut World| {
                foreign(world, edge, priority, &dnat(sources, address(edge), "22", "10.9.9.9", "22"), false);
            }
        };
        assert_eq!(red(edge, before(&["198.51.100.0/24"], 150)), ["control.admits"], "{edge}");
        assert_eq!(with(edge, before(&["198.51.100.0/24"], 30000)), "", "behind ours: {edge}");
        assert_eq!(with(edge, before(&["192.0.2.0/24"], 150)), "", "for others: {edge}");
    }
    let fault = |world: &mut World| {
        foreign(world, HUB, 150, &dnat(&["198.51.100.0/24"], address(HUB), "22", "10.9.9.9", "22"), false);
    };
    let groups = |world: &mut World| {
        let mut rule = dnat(&[], address(HUB), "22", "10.9.9.9", "22");
        rule["sourceIpGroups"] =
            json!([group("rg-hub").as_str().to_owned() + "/providers/Microsoft.Network/ipGroups/office"]);
        foreign(world, HUB, 150, &rule, false);
    };
    insta::assert_snapshot!(with(HUB, fault) + &with(HUB, groups), @"");
}

#[test]
fn an_open_network_security_group_is_told() {
    for edge in EDGES {
        assert_eq!(red(edge, |world| disturb(world, Drift::OpenToTheWorld)), ["control.nothing-else"], "{edge}");
        assert_eq!(red(edge, |world| disturb(world, Drift::OpenEgress)), ["control.egress"], "{edge}");
        assert_eq!(red(edge, |world| disturb(world, Drift::CloseIngress)), ["control.admits"], "{edge}");
    }
    let texts = [Drift::OpenToTheWorld, Drift::OpenEgress, Drift::CloseIngress]
        .map(|drift| with(STANDARD, |world| disturb(world, drift)));
    insta::assert_snapshot!(texts.concat(), @"");
}

#[test]
fn a_group_at_the_subnet_counts_too() {
    let id = group("rg-shared").resource(Kind::SecurityGroup, "nsg-snet-a");
    let rules = |rules: Value| {
        let id = id.clone();
        move |world: &mut World| {
            world.add(&id, json!({"location": "westeurope", "properties": {"securityRules": rules}}));
            let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
            let subnets =
                world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
            for subnet in subnets.as_array_mut().expect("subnets").iter_mut().filter(|s| s["name"] == "snet-a") {
                subnet["properties"]["networkSecurityGroup"] = json!({"id": id.as_str()});
            }
        }
    };
    // What is in the network may come in by Azure's own rules, and a firewall in a peered network is in it.
    assert_eq!(with(HUB, rules(json!([]))), "");
    insta::assert_snapshot!(with(PUBLIC, rules(json!([]))), @"");
    let deny = json!([{"name": "no-databases", "properties": {"direction": "Outbound", "access": "Deny", "priority": 100,
        "protocol": "Tcp", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "5432"}}]);
    insta::assert_snapshot!(with(HUB, rules(deny)), @"");
    let storage = json!([{"name": "storage", "properties": {"direction": "Inbound", "access": "Deny", "priority": 100,
        "protocol": "*", "sourceAddressPrefix": "Storage", "destinationAddressPrefix": "*", "destinationPortRange": "*"}}]);
    insta::assert_snapshot!(with(PUBLIC, rules(storage)), @"");
}

#[test]
fn other_ways_to_the_machine_are_told() {
    let public = |world: &mut World| {
        let id = group("rg-shared").resource(Kind::Address, "handy");
        world.add(&id, json!({"location": "westeurope", "properties": {"ipAddress": "20.1.2.3"}}));
        interface(world)["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"] =
            json!({"id": id.as_str()});
    };
    for edge in [BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, public), ["control.nothing-else"], "{edge}");
    }
    let balancer = |world: &mut World| {
        let pool = format!("{}/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/all", group("rg-hub"));
        interface(world)["properties"]["ipConfigurations"][0]["properties"]["loadBalancerBackendAddressPools"] =
            json!([{"id": pool}]);
    };
    let second = |world: &mut World| {
        let id = group("rg-shared").resource(Kind::Interface, "more");
        world.add(&id, json!({"location": "westeurope"}));
        let all = machine(world).pointer_mut("/properties/networkProfile/networkInterfaces").expect("interfaces");
        all.as_array_mut().expect("interfaces").push(json!({"id": id.as_str()}));
    };
    insta::assert_snapshot!(with(HUB, public) + &with(HUB, balancer) + &with(HUB, second), @"");
}

#[test]
fn what_is_wrong_with_the_machine_is_told() {
    let faults: [(&[&str], &dyn Fn(&mut World)); 7] = [
        (&["control.instance"], &|world| disturb(world, Drift::Stop)),
        (&["control.profile"], &|world| machine(world)["identity"] = json!({"type": "SystemAssigned"})),
        (&["control.deadline"], &|world| disturb(world, Drift::PostponeTheEnd)),
        (&["control.deadline"], &|world| {
            ours(world, Kind::SecurityGroup).expect("a group")["tags"][tags::EXPIRES] = json!("2026-12-24T00:00:00Z");
        }),
        (&["control.metadata"], &|world| machine(world)["properties"]["userData"] = Value::Null),
        (&["control.diagnostics"], &|world| machine(world)["properties"]["diagnosticsProfile"] = Value::Null),
        (&[], &|world| {
            machine(world)["properties"]["storageProfile"]["osDisk"] = json!({"vhd": {"uri": "https://x"}});
        }),
    ];
    let mut texts = String::new();
    for (expected, fault) in faults {
        for edge in EDGES {
            assert_eq!(red(edge, fault), expected, "{edge}");
        }
        texts += &with(HUB, fault);
    }
    insta::assert_snapshot!(texts, @"");
}

#[test]
fn an_edge_that_is_gone_or_stopped_is_told() {
    let hub = group("rg-hub");
    let firewall = hub.resource(Kind::Firewall, "fw-hub");
    let gone = |world: &mut World| _ = world.all.remove(&firewall);
    let stopped = |world: &mut World| {
        world.all.get_mut(&firewall).expect("a firewall")["properties"]["ipConfigurations"] = json!([]);
    };
    let no_rule = |world: &mut World| {
        world.all.retain(|id, _| id.name() != "gangplank-warehouse" || id.kind() != Some(Kind::RuleGroup))
    };
    let elsewhere = |world: &mut World| our_rule(world)["destinationAddresses"] = json!(["20.9.9.77"]);
    for edge in [HUB, POLICY] {
        for fault in [&gone as &dyn Fn(&mut World), &stopped, &no_rule, &elsewhere] {
            assert_eq!(red(edge, fault), ["control.address"], "{edge}");
        }
    }
    insta::assert_snapshot!(with(HUB, gone) + &with(HUB, stopped) + &with(HUB, no_rule) + &with(HUB, elsewhere), @"");
}

#[test]
fn the_machines_own_address_must_lead_to_it() {
    let loose = |world: &mut World| {
        let configuration = &mut interface(world)["properties"]["ipConfigurations"][0]["properties"];
        configuration.as_object_mut().expect("properties").shift_remove("publicIPAddress");
    };
    let dynamic = |world: &mut World| {
        ours(world, Kind::Address).expect("an address")["properties"]["publicIPAllocationMethod"] = json!("Dynamic");
    };
    assert_eq!(red(PUBLIC, loose), ["control.address"]);
    assert_eq!(red(PUBLIC, dynamic), ["control.address"]);
    insta::assert_snapshot!(with(PUBLIC, loose) + &with(PUBLIC, dynamic), @"");
}

#[test]
fn ways_that_are_not_read_are_unknown() {
    let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
    let routed = |world: &mut World| {
        let subnets = world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
        for subnet in subnets.as_array_mut().expect("subnets").iter_mut().filter(|s| s["name"] == "snet-a") {
            let table = Id::new(format!("{}/providers/Microsoft.Network/routeTables/rt-spoke", group("rg-hub")));
            subnet["properties"]["routeTable"] = json!({"id": table.as_str()});
        }
    };
    let apart = |world: &mut World| {
        world.all.get_mut(&vnet).expect("a network")["properties"]["virtualNetworkPeerings"] = json!([]);
    };
    insta::assert_snapshot!(with(HUB, routed), @"");
    insta::assert_snapshot!(with(HUB, apart), @"");
}

#[test]
fn a_targets_own_group_counts() {
    let id = group("rg-shared").resource(Kind::SecurityGroup, "nsg-db");
    let fault = |world: &mut World| {
        world.add(
            &id,
            json!({"location": "westeurope", "properties": {"securityRules": [{"name": "only-the-app", "properties": {
                "direction": "Inbound", "access": "Deny", "priority": 4000, "protocol": "*", "sourceAddressPrefix": "*",
                "destinationAddressPrefix": "*", "destinationPortRange": "*"}}]}}),
        );
        let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
        let subnets = world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
        for subnet in subnets.as_array_mut().expect("subnets").iter_mut().filter(|s| s["name"] == "snet-db") {
            subnet["properties"]["networkSecurityGroup"] = json!({"id": id.as_str()});
        }
    };
    insta::assert_snapshot!(with(HUB, fault), @"");
}
