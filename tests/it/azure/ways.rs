//! The control plane's vantage: route tables, the firewall on the way out, IP groups, and addresses beside the one that is planned.

use gangplank::provider::azure::id::{Id, Kind};
use serde_json::{Value, json};

use super::{
    plans::{BASIC, CLASSIC, HUB, POLICY, PUBLIC, STANDARD, group},
    verdicts::{SHARED, address, allow, dnat, foreign, interface, private, red, with},
    world::World,
};

/// fw-hub's own address.
const FIREWALL: &str = "10.8.0.4";
const SUBNETS: [(&str, &str, &str); 3] = [
    ("snet-a", "rg-shared", "vnet-data"),
    ("snet-db", "rg-shared", "vnet-data"),
    ("AzureFirewallSubnet", "rg-hub", "vnet-hub"),
];

/// `10.0.0.0/8 None`, `0.0.0.0/0 10.8.0.4`: the route table `rt-SUBNET` of one of the subnets above.
fn routes(world: &mut World, subnet: &str, routes: &[&str]) {
    let (_, resource_group, vnet) = SUBNETS.into_iter().find(|(name, ..)| *name == subnet).expect("a subnet");
    let table = group("rg-hub").resource(Kind::RouteTable, &format!("rt-{subnet}"));
    let route = |(n, text): (usize, &&str)| {
        let (prefix, hop) = text.split_once(' ').expect("two words");
        let mut properties = json!({"addressPrefix": prefix, "nextHopType": hop});
        if hop.starts_with(|c: char| c.is_ascii_digit()) {
            properties["nextHopType"] = json!("VirtualAppliance");
            properties["nextHopIpAddress"] = json!(hop);
        }
        json!({"name": format!("r{n}"), "properties": properties})
    };
    let all: Vec<Value> = routes.iter().enumerate().map(route).collect();
    world.add(&table, json!({"location": "westeurope", "properties": {"routes": all}}));
    let vnet = group(resource_group).resource(Kind::Network, vnet);
    let subnets = world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
    let mut subnets = subnets.as_array_mut().expect("subnets").iter_mut();
    subnets.find(|s| s["name"] == subnet).expect("the subnet")["properties"]["routeTable"] =
        json!({"id": table.as_str()});
}

fn hub(kind: Kind, name: &str) -> Id {
    group("rg-hub").resource(kind, name)
}

/// Gives fw-hub its own address, and the hub's network its side of the peering.
fn known_firewall(world: &mut World) {
    let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-hub")).expect("a firewall");
    firewall["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"] = json!(FIREWALL);
    let vnet = world.all.get_mut(&hub(Kind::Network, "vnet-hub")).expect("a network");
    vnet["properties"]["virtualNetworkPeerings"] = json!([{"name": "data", "properties": {"peeringState": "Connected",
        "remoteVirtualNetwork": {"id": group("rg-shared").resource(Kind::Network, "vnet-data").as_str()},
        "remoteVirtualNetworkAddressSpace": {"addressPrefixes": ["10.9.0.0/16"]}}}]);
}

/// A network rule for the machine, in somebody's collection of the hub's policy.
fn lets(world: &mut World, action: &str, to: &str, ports: &[&str]) {
    known_firewall(world);
    let mut rule = allow(&["10.9.1.0/24"], to);
    rule["destinationPorts"] = json!(ports);
    foreign(world, HUB, 3000, &rule, true);
    collection(world)["action"]["type"] = json!(action);
}

fn collection(world: &mut World) -> &mut Value {
    let theirs = hub(Kind::Policy, "fwp-hub").child(Kind::RuleGroup, "theirs");
    &mut world.all.get_mut(&theirs).expect("a group")["properties"]["ruleCollections"][0]
}

fn lets_names(world: &mut World, names: &[&str]) {
    lets(world, "Allow", "10.99.0.0/16", &["*"]);
    let protocols = json!([{"protocolType": "Http", "port": 80}, {"protocolType": "Https", "port": 443}]);
    collection(world)["rules"] = json!([{"name": "mirrors", "ruleType": "ApplicationRule",
        "sourceAddresses": ["10.9.1.0/24"], "protocols": protocols, "targetFqdns": names}]);
}

#[test]
fn a_machine_that_gets_out_through_a_firewall_needs_its_rules() {
    let out = |world: &mut World| routes(world, "snet-a", &["0.0.0.0/0 10.8.0.4"]);
    let through = |rules: &dyn Fn(&mut World)| {
        with(HUB, |world| {
            known_firewall(world);
            rules(world);
            out(world);
        })
    };
    assert_eq!(through(&|world| lets(world, "Allow", "*", &["80", "443"])), "");
    assert_eq!(through(&|world| lets(world, "Allow", "0.0.0.0/0", &["*"])), "");
    assert_eq!(through(&|world| lets_names(world, &["*"])), "");
    insta::assert_snapshot!(through(&|_| {}), @"
    control.egress: no rule of the firewall fw-hub lets the machine fetch its security updates on tcp 80; no rule of the firewall fw-hub lets the machine fetch its security updates on tcp 443
      → allow them from 10.9.1.5 there; gangplank does not change the rules of others
    ");
    insta::assert_snapshot!(through(&|world| lets(world, "Deny", "*", &["80"])), @"
    control.egress: the rule east-west of extra in firewall policy fwp-hub stops the machine's security updates on tcp 80; no rule of the firewall fw-hub lets the machine fetch its security updates on tcp 443
      → allow them from 10.9.1.5 there; gangplank does not change the rules of others
    ");
    insta::assert_snapshot!(through(&|world| lets(world, "Allow", "*", &["443"])), @"
    control.egress: no rule of the firewall fw-hub lets the machine fetch its security updates on tcp 80
      → allow them from 10.9.1.5 there; gangplank does not change the rules of others
    ");
    insta::assert_snapshot!(through(&|world| lets_names(world, &["*.debian.org"])), @"control.egress? whether the firewall fw-hub lets the machine fetch its updates on tcp 80: the rule mirrors of extra in firewall policy fwp-hub lets it to *.debian.org, and what is behind these names is not known here; whether the firewall fw-hub lets the machine fetch its updates on tcp 443: the rule mirrors of extra in firewall policy fwp-hub lets it to *.debian.org, and what is behind these names is not known here");
    insta::assert_snapshot!(through(&|world| lets(world, "Allow", "AzureCloud", &["80", "443"])), @"control.egress? whether the firewall fw-hub lets the machine fetch its updates on tcp 80: the rule east-west of extra in firewall policy fwp-hub may be about it: whom it names is not read; whether the firewall fw-hub lets the machine fetch its updates on tcp 443: the rule east-west of extra in firewall policy fwp-hub may be about it: whom it names is not read");
    insta::assert_snapshot!(with(HUB, out), @"control.egress? the route r0 of the route table rt-snet-a (0.0.0.0/0 to 10.8.0.4) takes what the machine sends out, and what 10.8.0.4 lets through is not read");
    insta::assert_snapshot!(with(HUB, |world| routes(world, "snet-a", &["0.0.0.0/0 None"])), @"
    control.egress: the route r0 of the route table rt-snet-a (0.0.0.0/0 to None) drops what the machine sends to fetch its security updates (tcp 80, 443)
      → give the bastion's subnet a way out on tcp 80, 443; gangplank does not change its route table
    ");
    insta::assert_snapshot!(with(HUB, |world| routes(world, "snet-a", &["0.0.0.0/0 VirtualNetworkGateway"])), @"control.egress? the route r0 of the route table rt-snet-a (0.0.0.0/0 to VirtualNetworkGateway) takes what the machine sends out; what becomes of it is not read");
    assert_eq!(with(HUB, |world| routes(world, "snet-a", &["0.0.0.0/0 Internet", "10.8.0.0/26 VnetLocal"])), "");
    // A part of the internet may be closed.
    assert_eq!(with(HUB, |world| routes(world, "snet-a", &["192.0.2.0/24 None"])), "");
}

#[test]
fn answers_must_leave_by_the_address_that_was_asked() {
    let via = |world: &mut World| routes(world, "snet-a", &["0.0.0.0/0 10.8.0.4"]);
    assert_eq!(red(PUBLIC, via), ["control.route"]);
    insta::assert_snapshot!(with(PUBLIC, via), @"
    control.egress? the route r0 of the route table rt-snet-a (0.0.0.0/0 to 10.8.0.4) takes what the machine sends out, and what 10.8.0.4 lets through is not read
    control.route: the route r0 of the route table rt-snet-a (0.0.0.0/0 to 10.8.0.4) sends the machine's answers to the plan's sources out by another address than the one that was asked
      → in the route table rt-snet-a, add a route to 198.51.100.20/32, 203.0.113.200/32 with the next hop type Internet; gangplank does not change it
    ");
    // A source has a way of its own.
    let split = |world: &mut World| {
        routes(world, "snet-a", &["0.0.0.0/0 10.8.0.4", "198.51.100.0/24 Internet", "203.0.113.0/24 Internet"]);
    };
    assert!(!red(PUBLIC, split).contains(&"control.route"));
    insta::assert_snapshot!(with(PUBLIC, |world| routes(world, "snet-a", &["AzureCloud 10.8.0.4"])), @"control.route? the route r0 of the route table rt-snet-a (AzureCloud to 10.8.0.4) may be about the machine's answers to the plan's sources: its ranges are not known here");
}

#[test]
fn the_firewalls_own_routes_count() {
    let fault = |all: &'static [&str]| move |world: &mut World| routes(world, "AzureFirewallSubnet", all);
    for edge in [HUB, POLICY] {
        assert_eq!(red(edge, fault(&["10.9.1.0/24 None"])), ["control.route"], "{edge}");
        assert_eq!(red(edge, fault(&["0.0.0.0/0 10.8.1.4"])), ["control.route"], "{edge}");
        assert_eq!(with(edge, fault(&["0.0.0.0/0 Internet"])), "", "{edge}");
    }
    insta::assert_snapshot!(with(HUB, fault(&["10.9.1.0/24 None"])) + &with(HUB, fault(&["10.9.0.0/16 10.8.1.4"])), @"
    control.route: the route r0 of the route table rt-AzureFirewallSubnet (10.9.1.0/24 to None) drops the firewall's packets to the machine
      → in the route table rt-AzureFirewallSubnet, add a route to 10.9.1.5/32 with the next hop type VnetLocal; gangplank does not change it
    control.route? the route r0 of the route table rt-AzureFirewallSubnet (10.9.0.0/16 to 10.8.1.4) takes the firewall's packets to the machine; what happens to them there is not read
    ");
    insta::assert_snapshot!(with(HUB, fault(&["0.0.0.0/0 10.8.1.4"])), @"
    control.route: the route r0 of the route table rt-AzureFirewallSubnet (0.0.0.0/0 to 10.8.1.4) sends the firewall's answers to the plan's sources out by another address than the one that was asked
      → in the route table rt-AzureFirewallSubnet, add a route to 198.51.100.20/32, 203.0.113.200/32 with the next hop type Internet; gangplank does not change it
    ");
    let managed = |world: &mut World| {
        fault(&["0.0.0.0/0 10.8.1.4"])(world);
        let firewall = world.all.get_mut(&hub(Kind::Firewall, "fw-hub")).expect("a firewall");
        firewall["properties"]["managementIpConfiguration"] = json!({"name": "management"});
    };
    insta::assert_snapshot!(with(HUB, managed), @"control.route? the route r0 of the route table rt-AzureFirewallSubnet (0.0.0.0/0 to 10.8.1.4) takes the firewall's answers to the plan's sources; what happens to them there is not read");
}

#[test]
fn the_machines_answers_must_find_the_firewall() {
    let fault = |all: &'static [&str]| move |world: &mut World| routes(world, "snet-a", all);
    for edge in SHARED {
        let dropped = if edge == CLASSIC { ["10.7.0.0/26 None"] } else { ["10.8.0.0/26 None"] };
        assert_eq!(red(edge, |world| routes(world, "snet-a", &dropped)), ["control.route"], "{edge}");
    }
    for edge in [BASIC, STANDARD] {
        assert_eq!(red(edge, fault(&["10.9.3.0/26 Internet"])), ["control.route"], "{edge}");
    }
    insta::assert_snapshot!(with(HUB, fault(&["10.8.0.0/26 None"])) + &with(HUB, fault(&["10.8.0.0/16 10.8.1.4"])), @"
    control.route: the route r0 of the route table rt-snet-a (10.8.0.0/26 to None) drops the machine's answers to the firewall
      → in the route table rt-snet-a, add a route to 10.8.0.0/26 with the next hop type VnetLocal; gangplank does not change it
    control.route? the route r0 of the route table rt-snet-a (10.8.0.0/16 to 10.8.1.4) takes the machine's answers to the firewall; what happens to them there is not read
    ");
}

#[test]
fn the_way_to_a_target_is_followed_through_a_firewall() {
    const THERE: [&str; 1] = ["10.9.0.0/24 10.8.0.4"];
    const BACK: [&str; 1] = ["10.9.1.0/24 10.8.0.4"];
    let there_and_back = |rules: &dyn Fn(&mut World)| {
        with(HUB, |world| {
            known_firewall(world);
            rules(world);
            routes(world, "snet-a", &THERE);
            routes(world, "snet-db", &BACK);
        })
    };
    assert_eq!(there_and_back(&|world| lets(world, "Allow", "10.9.0.0/24", &["5432", "443"])), "");
    insta::assert_snapshot!(there_and_back(&|world| lets(world, "Allow", "10.9.0.0/24", &["443"])), @"
    control.target-route[db-5432]: the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.8.0.4) leads to 10.9.0.5 through the firewall fw-hub, which stops tcp 5432 from 10.9.1.5: no rule there lets it
      → allow tcp 5432 from 10.9.1.5 to 10.9.0.5 there; gangplank does not change the rules of others
    ");
    insta::assert_snapshot!(there_and_back(&|world| lets(world, "Deny", "10.9.0.5", &["*"])), @"
    control.target-route[db-5432]: the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.8.0.4) leads to 10.9.0.5 through the firewall fw-hub, which stops tcp 5432 from 10.9.1.5: the rule east-west of extra in firewall policy fwp-hub
      → allow tcp 5432 from 10.9.1.5 to 10.9.0.5 there; gangplank does not change the rules of others
    control.target-route[far]: the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.8.0.4) leads to 10.9.0.4 through the firewall fw-hub, which stops tcp 443 from 10.9.1.5: no rule there lets it
      → allow tcp 443 from 10.9.1.5 to 10.9.0.4 there; gangplank does not change the rules of others
    ");
    let one_way = |world: &mut World| {
        lets(world, "Allow", "10.9.0.0/24", &["*"]);
        routes(world, "snet-a", &THERE);
    };
    insta::assert_snapshot!(with(HUB, one_way), @"
    control.target-route[db-5432]? packets to 10.9.0.5 and their answers go different ways (the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.8.0.4)): a firewall that sees one half of a connection drops it
    control.target-route[far]? packets to 10.9.0.4 and their answers go different ways (the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.8.0.4)): a firewall that sees one half of a connection drops it
    ");
    // Beside the network, a default route alone may not be enough for a private address.
    let beyond = |route: &'static str| -> String {
        let told = with(HUB, |world| {
            lets(world, "Allow", "*", &["*"]);
            let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
            world.all.get_mut(&vnet).expect("a network")["properties"]["addressSpace"]["addressPrefixes"] =
                json!(["10.9.1.0/24"]);
            routes(world, "snet-a", &[route]);
            routes(world, "snet-db", &BACK);
        });
        told.lines().filter(|line| line.starts_with("control.target-route")).map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(beyond("10.0.0.0/8 10.8.0.4"), "");
    insta::assert_snapshot!(beyond("0.0.0.0/0 10.8.0.4"), @"
    control.target-route[db-5432]? the firewall fw-hub lets tcp 5432 to 10.9.0.5; the way behind it is not read
    control.target-route[far]? the firewall fw-hub lets tcp 443 to 10.9.0.4; the way behind it is not read
    ");
    insta::assert_snapshot!(with(HUB, |world| routes(world, "snet-a", &["10.9.0.4/32 None"])), @"
    control.target-route[far]: the route r0 of the route table rt-snet-a (10.9.0.4/32 to None) drops what is sent to 10.9.0.4
      → correct that route by hand: gangplank does not change it
    ");
    insta::assert_snapshot!(with(HUB, |world| routes(world, "snet-db", &["10.9.1.0/24 None"])), @"
    control.target-route[db-5432]: the route r0 of the route table rt-snet-db (10.9.1.0/24 to None) takes the answers from 10.9.0.5 away from 10.9.1.5
      → correct the routes of the subnet of 10.9.0.5 by hand: gangplank does not change them
    control.target-route[far]: the route r0 of the route table rt-snet-db (10.9.1.0/24 to None) takes the answers from 10.9.0.4 away from 10.9.1.5
      → correct the routes of the subnet of 10.9.0.4 by hand: gangplank does not change them
    ");
    insta::assert_snapshot!(with(HUB, |world| routes(world, "snet-a", &["10.9.0.0/24 10.9.0.99"])), @"
    control.target-route[db-5432]? the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.9.0.99) takes what is sent to 10.9.0.5, and what 10.9.0.99 lets through is not read; packets to 10.9.0.5 and their answers go different ways (the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.9.0.99)): a firewall that sees one half of a connection drops it
    control.target-route[far]? the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.9.0.99) takes what is sent to 10.9.0.4, and what 10.9.0.99 lets through is not read; packets to 10.9.0.4 and their answers go different ways (the route r0 of the route table rt-snet-a (10.9.0.0/24 to 10.9.0.99)): a firewall that sees one half of a connection drops it
    ");
}

#[test]
fn ip_groups_are_read() {
    let office = hub(Kind::IpGroup, "office");
    let before = |addresses: &'static [&str]| {
        let office = office.clone();
        move |world: &mut World| {
            world.add(&office, json!({"location": "westeurope", "properties": {"ipAddresses": addresses}}));
            let mut rule = dnat(&[], address(HUB), "22", "10.9.9.9", "22");
            rule["sourceIpGroups"] = json!([office.as_str()]);
            foreign(world, HUB, 150, &rule, false);
        }
    };
    assert_eq!(with(HUB, before(&["192.0.2.0/24", "192.0.3.1-192.0.3.9"])), "");
    assert_eq!(red(HUB, before(&["198.51.100.20"])), ["control.admits"]);
    let to_the_machine = |world: &mut World| {
        before(&["192.0.2.0/24"])(world);
        let machine = private(world);
        let rule = &mut collection(world)["rules"][0];
        rule["translatedAddress"] = json!(machine);
        rule["destinationPorts"] = json!(["2200"]);
    };
    assert_eq!(red(HUB, to_the_machine), ["control.nothing-else"]);
    insta::assert_snapshot!(with(HUB, before(&["198.51.100.20"])) + &with(HUB, to_the_machine), @"
    control.admits[secoda]: the rule odd of extra in firewall policy fwp-hub comes before the bastion's and takes 198.51.100.20/32 on 20.9.9.1:22 to 10.9.9.9:22
      → take these sources or this port out of that rule, or give the plan another `ssh.port`; gangplank does not change the rules of others
    control.nothing-else: the rule odd of extra in firewall policy fwp-hub leads 192.0.2.0/24 (256 addresses more than the plan) to tcp 22 of the machine
      → remove the rule odd of extra in firewall policy fwp-hub, or narrow its sources; gangplank does not change the rules of others
    ");
    let network = |world: &mut World| {
        let machine = private(world);
        world.add(&office, json!({"location": "westeurope", "properties": {"ipAddresses": [machine]}}));
        let mut rule = allow(&["10.0.0.0/8"], "10.99.0.1");
        rule["destinationIpGroups"] = json!([office.as_str()]);
        foreign(world, HUB, 3000, &rule, true);
    };
    assert_eq!(red(HUB, network), ["control.nothing-else"]);
}

#[test]
fn what_a_nat_rule_does_that_cannot_be_known_is_unknown() {
    let named = |world: &mut World| {
        let mut rule = dnat(&["192.0.2.99"], address(HUB), "2200", "", "22");
        rule["translatedFqdn"] = json!("bastion.internal");
        foreign(world, HUB, 3000, &rule, false);
    };
    let inherited = |world: &mut World| {
        let machine = private(world);
        let base = hub(Kind::Policy, "fwp-base");
        world.add(&base, json!({"location": "westeurope"}));
        let policy = world.all.get_mut(&hub(Kind::Policy, "fwp-hub")).expect("a policy");
        policy["properties"]["basePolicy"] = json!({"id": base.as_str()});
        let mut rule = dnat(&["*"], address(HUB), "2200", &machine, "22");
        rule["ruleType"] = json!("NatRule");
        world.add(
            &base.child(Kind::RuleGroup, "company"),
            json!({"properties": {"priority": 200, "ruleCollections": [{"name": "dnat", "priority": 100,
                "ruleCollectionType": "FirewallPolicyNatRuleCollection", "action": {"type": "DNAT"}, "rules": [rule]}]}}),
        );
    };
    insta::assert_snapshot!(with(HUB, named) + &with(HUB, inherited), @"
    control.nothing-else? the rule odd of extra in firewall policy fwp-hub leads to bastion.internal:22, and whether that is the machine is not read
    control.nothing-else? the rule odd of dnat in firewall policy fwp-base is inherited, and Microsoft's pages do not agree whether such a one applies
    ");
}

#[test]
fn another_address_of_the_interface_is_told() {
    let another = |ip: &'static str, version: &'static str| {
        move |world: &mut World| {
            let all = &mut interface(world)["properties"]["ipConfigurations"];
            let mut second = all[0].clone();
            second["name"] = json!("second");
            second["properties"]["privateIPAddress"] = json!(ip);
            second["properties"]["privateIPAddressVersion"] = json!(version);
            second["properties"].as_object_mut().expect("properties").shift_remove("publicIPAddress");
            all.as_array_mut().expect("configurations").push(second);
        }
    };
    for edge in [PUBLIC, BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, another("10.9.1.77", "IPv4")), ["control.nothing-else"], "{edge}");
        assert_eq!(red(edge, another("fd00::7", "IPv6")), ["control.nothing-else"], "{edge}");
    }
    insta::assert_snapshot!(with(HUB, another("10.9.1.77", "IPv4")) + &with(HUB, another("fd00::7", "IPv6")), @"
    control.nothing-else: the machine has a second address, 10.9.1.77 (second): no rule of the plan is about it
      → run `gangplank apply plans/warehouse.yaml`: it leaves the interface its one address
    control.nothing-else: the machine has an IPv6 address, fd00::7 (second): what IPv6 rules let in is not judged
      → run `gangplank apply plans/warehouse.yaml`: it leaves the interface its one address
    ");
}

/// A private subnet: Azure gives no way out by default, and a route to `Internet` is none there.
#[test]
fn a_private_subnet_lets_no_update_in() {
    let private = |world: &mut World| {
        let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
        let subnets = world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
        let mut subnets = subnets.as_array_mut().expect("subnets").iter_mut();
        let subnet = subnets.find(|s| s["name"] == "snet-a").expect("the subnet");
        subnet["properties"]["defaultOutboundAccess"] = json!(false);
    };
    assert_eq!(red(HUB, private), ["control.egress"]);
    let internet = |world: &mut World| {
        routes(world, "snet-a", &["0.0.0.0/0 Internet"]);
        private(world);
    };
    assert_eq!(red(HUB, internet), ["control.egress"]);
    let gateway = |world: &mut World| {
        private(world);
        let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
        let subnets = world.all.get_mut(&vnet).expect("a network").pointer_mut("/properties/subnets").expect("some");
        for subnet in subnets.as_array_mut().expect("subnets") {
            let id = group("rg-shared").as_str().to_owned() + "/providers/Microsoft.Network/natGateways/nat";
            subnet["properties"]["natGateway"] = json!({"id": id});
        }
    };
    assert!(red(HUB, gateway).is_empty());
    let appliance = |world: &mut World| {
        private(world);
        lets(world, "Allow", "*", &["80", "443"]);
        routes(world, "snet-a", &["0.0.0.0/0 10.8.0.4"]);
    };
    assert!(red(HUB, appliance).is_empty());
}
