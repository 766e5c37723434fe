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
    converge::{hours, standing, standing_in},
    drift::{Drift, disturb, nat, ours},
    plans::{BASIC, CLASSIC, HUB, POLICY, PUBLIC, STANDARD, Spec, group, subscription},
    world::{World, text},
};

const EDGES: [usize; 6] = [PUBLIC, BASIC, STANDARD, HUB, CLASSIC, POLICY];
/// Behind a firewall that is somebody else's.
pub(super) const SHARED: [usize; 3] = [HUB, CLASSIC, POLICY];

pub(super) fn spec(edge: usize) -> Spec {
    Spec { subnet: Some("snet-a"), shared_group: true, ..Spec::edge(edge) }
}

/// As `apply` leaves it, with the networks that know of each other.
pub(super) fn applied(spec: &Spec) -> World {
    let mut world = subscription();
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
    standing_in(world, spec)
}

pub(super) fn look(spec: &Spec, world: &World) -> Vec<Check> {
    let written = spec.read();
    let evidence = Evidence { at: hours(2), seen: Arc::new(world.look()) };
    let resolved = BTreeMap::from([("db.internal".to_owned(), vec![IpAddr::from([10, 9, 0, 5])])]);
    judge(&written.plan, written.azure(), &evidence, &written.user_data.digest, &resolved)
}

pub(super) fn told(checks: &[Check]) -> String {
    let line = |check: &Check| match &check.verdict {
        Verdict::Pass => None,
        Verdict::Fail { cause, fix } => Some(format!("{}: {cause}\n  → {fix}\n", check.name())),
        Verdict::Unknown { reason } => Some(format!("{}? {reason}\n", check.name())),
    };
    checks.iter().filter_map(line).collect()
}

/// Breaks one thing, and tells what is no longer green.
pub(super) fn with(edge: usize, fault: impl FnOnce(&mut World)) -> String {
    let spec = spec(edge);
    let mut world = applied(&spec);
    fault(&mut world);
    told(&look(&spec, &world))
}

/// The ids of what is red, without repetition.
pub(super) fn red(edge: usize, fault: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let spec = spec(edge);
    let mut world = applied(&spec);
    fault(&mut world);
    let mut ids: Vec<_> = look(&spec, &world).iter().filter(|c| c.verdict.is_fail()).map(|c| c.id).collect();
    ids.dedup();
    ids
}

pub(super) fn interface(world: &mut World) -> &mut Value {
    ours(world, Kind::Interface).expect("an interface")
}

fn machine(world: &mut World) -> &mut Value {
    ours(world, Kind::Machine).expect("a machine")
}

pub(super) fn private(world: &mut World) -> String {
    text(interface(world), "/properties/ipConfigurations/0/properties/privateIPAddress").to_owned()
}

pub(super) fn our_rule(world: &mut World) -> &mut Value {
    nat(world).expect("a DNAT rule")
}

/// A collection of somebody's in the same policy, or in the same firewall.
pub(super) fn foreign(world: &mut World, edge: usize, priority: u32, rule: &Value, network: bool) {
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

pub(super) fn dnat(sources: &[&str], to: &str, port: &str, machine: &str, machine_port: &str) -> Value {
    json!({"name": "odd", "ipProtocols": ["TCP"], "protocols": ["TCP"], "sourceAddresses": sources,
        "destinationAddresses": [to], "destinationPorts": [port], "translatedAddress": machine,
        "translatedPort": machine_port})
}

pub(super) fn allow(sources: &[&str], to: &str) -> Value {
    json!({"name": "east-west", "ipProtocols": ["Any"], "protocols": ["Any"], "sourceAddresses": sources,
        "destinationAddresses": [to], "destinationPorts": ["*"]})
}

pub(super) fn address(edge: usize) -> &'static str {
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
        // Another template is another digest.
        let told =
            |line: &String| line.split_once("document=").map_or_else(|| line.clone(), |(head, _)| format!("{head}..."));
        let evidence: String = check.evidence.iter().map(|line| format!("    {}\n", told(line))).collect();
        format!("{} - {}\n{evidence}", check.name(), check.proves)
    };
    insta::assert_snapshot!(checks.iter().map(lines).collect::<String>(), @"
    control.ownership - everything that carries the bastion's tag is the bastion's own
    control.instance - exactly one machine of this bastion exists, and it runs
        gangplank-warehouse Standard_B1s running
    control.image - the machine was made from the publisher's debian-13
        gangplank-warehouse: Debian debian-13 13-gen2
    control.document - the machine's tag names the plan's cloud-init document; Azure does not show the document itself
        gangplank:boot: ...
    control.diagnostics - the machine's serial console is kept, so that its reports can be read: boot diagnostics are on
    control.address - the fixed public address leads to this machine
        20.9.9.1:22 → 10.9.1.5:22 by the rule ssh of gangplank-warehouse in firewall policy fwp-hub
    control.admits[secoda] - the firewall leads every source of secoda on tcp 22 to the machine, and the network security groups let the firewall in
        admitted: 198.51.100.20/32
    control.admits[ana] - the firewall leads every source of ana on tcp 22 to the machine, and the network security groups let the firewall in
        admitted: 203.0.113.200/32
    control.nothing-else - the firewall leads nobody but the plan's sources to the machine, the network security groups let in nothing but the firewall on tcp 22, and the machine has no public address of its own
        gangplank-warehouse: tcp 22 from 10.8.0.0/26
        the rule ssh of gangplank-warehouse in firewall policy fwp-hub: 198.51.100.20/32, 203.0.113.200/32 → 10.9.1.5:22
    control.egress - the machine may open connections to the plan's targets and for its updates (tcp 80 and 443), no others
        gangplank-warehouse: tcp 5432 to 10.7.0.0/16
        gangplank-warehouse: tcp 5432 to 10.8.0.0/16
        gangplank-warehouse: tcp 5432 to 10.9.0.0/16
        gangplank-warehouse: tcp 443 to 10.9.0.4/32
        gangplank-warehouse: tcp 80 to Internet
        gangplank-warehouse: tcp 443 to Internet
    control.route - the firewall's network and the machine's have a way to each other
        vnet-data is peered with vnet-hub
    control.metadata - the metadata service tells the machine what it needs and no more: its user data are the plan's keys and its deadline
        user data: present
        tag gangplank:keys: ed99b2f2cca98efb101a6e7d2bd8e4bc ends=2027-02-18T12:00:00Z ESy03LOE HMR3IRfu
        Azure's metadata service can't be switched off; that no tunnel opens it is network.refuses-metadata
    control.encryption - every disk of the machine is a managed one, which Azure always encrypts at rest
        the system's disk: managed, encrypted at rest with a key of the platform's
    control.profile - the machine holds no permissions in the subscription: it has no managed identity
    control.extensions - the machine takes no extensions: nobody runs commands on it through Azure's agent
    control.deadline - everything of the bastion carries the plan's deadline, and it has not passed
        gangplank-warehouse: 2027-02-18T12:00:00Z
    control.target-egress[db-5432] - the network security groups let the machine open connections to db.internal:5432
        open towards 10.9.0.0/16, 10.8.0.0/16, 10.7.0.0/16 on tcp 5432
        db.internal is 10.9.0.5 for the machine
    control.target-route[db-5432] - the bastion's network has a way to db.internal
        db.internal is 10.9.0.5 for the machine
        10.9.0.5 is in vnet-data
    control.target-acl[db-5432] - the network security groups before db.internal:5432 let the bastion in
        db.internal is 10.9.0.5 for the machine
        no network security group stands before 10.9.0.5
    control.target-egress[far] - the network security groups let the machine open connections to 10.9.0.4:443
        open towards 10.9.0.4/32 on tcp 443
    control.target-route[far] - the bastion's network has a way to 10.9.0.4
        10.9.0.4 is in vnet-data
    control.target-acl[far] - the network security groups before 10.9.0.4:443 let the bastion in
        no network security group stands before 10.9.0.4
    ");
}

#[test]
fn a_network_of_the_bastions_own_is_green_as_far_as_it_can_be_seen() {
    let spec = Spec::default();
    insta::assert_snapshot!(told(&look(&spec, &standing(&spec))), @"
    control.target-egress[db-5432]: db.internal is 10.9.0.5, which is neither in the bastion's network nor in one that is peered with it
      → peer the two networks, or write `networks: [10.9.0.5/32]` or its range at the target db-5432 in the plan, and apply it
    control.target-route[db-5432]: this network reaches no database: no peering of it is connected, and 10.9.0.5 is not in it
      → name the network of db.internal in `network.peer_with` of plans/warehouse.yaml, or use an existing network and subnet that reach it, and apply it
    control.target-acl[db-5432]? the subnet of 10.9.0.5 is not among those that are read, so its network security groups are not known
    control.target-route[far]: this network reaches no database: no peering of it is connected, and 10.9.0.4 is not in it
      → name the network of 10.9.0.4 in `network.peer_with` of plans/warehouse.yaml, or use an existing network and subnet that reach it, and apply it
    control.target-acl[far]? the subnet of 10.9.0.4 is not among those that are read, so its network security groups are not known
    ");
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
    insta::assert_snapshot!(with(HUB, closed), @"
    control.admits[secoda]: no DNAT rule of the firewall fw-hub takes 198.51.100.20/32 on tcp 22
      → run `gangplank apply plans/warehouse.yaml`: it adds them to it
    ");
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
    insta::assert_snapshot!(with(HUB, open) + &with(CLASSIC, |world| disturb(world, Drift::AnotherNatSource)), @"
    control.nothing-else: the rule ssh of gangplank-warehouse in firewall policy fwp-hub leads the whole internet to tcp 22 of the machine
      → run `gangplank apply plans/warehouse.yaml`: it removes what is too much
    control.nothing-else: the rule ssh of gangplank-warehouse in firewall fw-old leads 192.0.2.200/32 (1 address more than the plan) to tcp 22 of the machine
      → run `gangplank apply plans/warehouse.yaml`: it removes what is too much
    ");
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
            insta::assert_snapshot!(text, @"
            control.nothing-else: the rule odd of extra in X leads 192.0.2.99/32 (1 address more than the plan) to tcp 22 of the machine
              → remove the rule odd of extra in X, or narrow its sources; gangplank does not change the rules of others
            ");
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
        // A subnet has one range or a list of them ("Subnets - Get").
        let listed = |world: &mut World| {
            narrow(world);
            let vnet = group("rg-shared").resource(Kind::Network, "vnet-data");
            let network = world.all.get_mut(&vnet).expect("a network");
            for subnet in network["properties"]["subnets"].as_array_mut().expect("a list") {
                let range = subnet["properties"]["addressPrefix"].take();
                subnet["properties"]["addressPrefixes"] = json!([range]);
            }
        };
        assert_eq!(red(edge, listed), ["control.nothing-else"], "{edge}");
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
    insta::assert_snapshot!(with(HUB, hub), @"
    control.nothing-else: the network rule east-west of extra in firewall policy fwp-hub lets 10.0.0.0/8 to 10.9.1.0/28
      → take 10.9.1.0/28 out of it; gangplank does not change the rules of others
    ");
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
    insta::assert_snapshot!(with(HUB, inherit), @"
    control.nothing-else? the rules of fwp-base are not read: this subscription does not show it
    ");
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
    insta::assert_snapshot!(with(HUB, rules), @"
    control.nothing-else: the network rule east-west of FirewallPolicyFilterRuleCollection in firewall policy fwp-base lets 10.1.0.0/16 to 10.9.1.5/32
      → take 10.9.1.5/32 out of it; gangplank does not change the rules of others
    ");
}

#[test]
fn a_wrong_translation_leads_the_vendor_elsewhere() {
    let fault = |world: &mut World| our_rule(world)["translatedAddress"] = json!("10.9.1.77");
    for edge in [BASIC, STANDARD, HUB, CLASSIC, POLICY] {
        assert_eq!(red(edge, fault), ["control.address"], "{edge}");
        assert_eq!(red(edge, |world| disturb(world, Drift::NatToAnotherPort)), ["control.address"], "{edge}");
    }
    insta::assert_snapshot!(with(CLASSIC, fault), @"
    control.address: the vendor is led elsewhere: the rule ssh of gangplank-warehouse in firewall fw-old sends to 10.9.1.77:22, the bastion's machine is at 10.9.1.5:22
      → run `gangplank apply plans/warehouse.yaml`: it sets it right
    ");
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
    insta::assert_snapshot!(with(HUB, fault) + &with(HUB, groups), @"
    control.admits[secoda]: the rule odd of extra in firewall policy fwp-hub comes before the bastion's and takes 198.51.100.20/32 on 20.9.9.1:22 to 10.9.9.9:22
      → take these sources or this port out of that rule, or give the plan another `ssh.port`; gangplank does not change the rules of others
    control.admits[secoda]? the rule odd of extra in firewall policy fwp-hub comes before the bastion's, and who the group office is, is not read
    control.admits[ana]? the rule odd of extra in firewall policy fwp-hub comes before the bastion's, and who the group office is, is not read
    ");
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
    insta::assert_snapshot!(texts.concat(), @"
    control.nothing-else: gangplank-warehouse lets in more than the plan by its rule temporary: everything from everywhere
      → run `gangplank apply plans/warehouse.yaml`: it sets the rules right
    control.egress: gangplank-warehouse lets the machine out to more than the plan by its rule out: everything to everywhere
      → run `gangplank apply plans/warehouse.yaml`: it sets the rules right
    control.admits[secoda]: the rule deny-inbound of gangplank-warehouse (everything from everywhere) stops tcp 22 from 10.9.3.0/26
      → run `gangplank apply plans/warehouse.yaml`: it sets the rules right
    control.admits[ana]: the rule deny-inbound of gangplank-warehouse (everything from everywhere) stops tcp 22 from 10.9.3.0/26
      → run `gangplank apply plans/warehouse.yaml`: it sets the rules right
    ");
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
    insta::assert_snapshot!(with(PUBLIC, rules(json!([]))), @"
    control.admits[secoda]: the rule DenyAllInBound of nsg-snet-a (everything from everywhere) stops tcp 22 from 198.51.100.20/32
      → correct nsg-snet-a by hand: gangplank does not change it
    control.admits[ana]: the rule DenyAllInBound of nsg-snet-a (everything from everywhere) stops tcp 22 from 203.0.113.200/32
      → correct nsg-snet-a by hand: gangplank does not change it
    ");
    let deny = json!([{"name": "no-databases", "properties": {"direction": "Outbound", "access": "Deny", "priority": 100,
        "protocol": "Tcp", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "5432"}}]);
    insta::assert_snapshot!(with(HUB, rules(deny)), @"
    control.target-egress[db-5432]: the rule no-databases of nsg-snet-a (tcp 5432 to everywhere) stops tcp 5432 to 10.7.0.0/16, 10.8.0.0/15
      → correct nsg-snet-a by hand: gangplank does not change it
    ");
    let storage = json!([{"name": "storage", "properties": {"direction": "Inbound", "access": "Deny", "priority": 100,
        "protocol": "*", "sourceAddressPrefix": "Storage", "destinationAddressPrefix": "*", "destinationPortRange": "*"}},
        {"name": "ssh", "properties": {"direction": "Inbound", "access": "Allow", "priority": 200, "protocol": "Tcp",
            "sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22"}}]);
    insta::assert_snapshot!(with(PUBLIC, rules(storage)), @"
    control.admits[secoda]? the rule storage of nsg-snet-a (everything from Storage) may stop tcp 22 from 198.51.100.20/32: whom it is about is not known here
    control.admits[ana]? the rule storage of nsg-snet-a (everything from Storage) may stop tcp 22 from 203.0.113.200/32: whom it is about is not known here
    ");
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
    insta::assert_snapshot!(with(HUB, public) + &with(HUB, balancer) + &with(HUB, second), @"
    control.nothing-else: the machine has the public address 20.1.2.3 (handy)
      → run `gangplank apply plans/warehouse.yaml`: it takes it off the machine
    control.nothing-else: the load balancer lb leads to the machine
      → take gangplank-warehouse out of all
    control.nothing-else: the machine has another network interface, more
      → detach it, or run `gangplank apply plans/warehouse.yaml`: it makes the machine anew with its own only
    ");
}

#[test]
fn what_is_wrong_with_the_machine_is_told() {
    type Fault<'a> = (&'a [&'a str], &'a dyn Fn(&mut World));
    let faults: [Fault<'_>; 8] = [
        (&["control.instance"], &|world| disturb(world, Drift::Stop)),
        (&["control.profile"], &|world| machine(world)["identity"] = json!({"type": "SystemAssigned"})),
        (&["control.extensions"], &|world| {
            machine(world)["properties"]["osProfile"]["allowExtensionOperations"] = json!(true);
        }),
        (&["control.deadline"], &|world| disturb(world, Drift::PostponeTheEnd)),
        // One tag alone moves no end.
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
    insta::assert_snapshot!(texts, @"
    control.instance: gangplank-warehouse is deallocated
      → run `gangplank apply plans/warehouse.yaml`: it starts it again
    control.profile: gangplank-warehouse has a managed identity (SystemAssigned)
      → take it away: `az vm identity remove --ids /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse --identities '[system]'`
    control.extensions: gangplank-warehouse takes extensions: whoever may write them can run commands as root
      → remove its extensions, then switch them off: `az vm update --ids /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse --set osProfile.allowExtensionOperations=false`
    control.deadline: the plan's deadline is 2027-02-18T12:00:00Z; the virtual machine gangplank-warehouse says 2099-01-01T00:00:00Z
      → run `gangplank apply plans/warehouse.yaml`: it sets the tags
    control.deadline: the plan's deadline is 2027-02-18T12:00:00Z; the network security group gangplank-warehouse says 2026-12-24T00:00:00Z
      → run `gangplank apply plans/warehouse.yaml`: it sets the tags
    control.metadata: there is no user data: the machine takes neither new keys nor another deadline
      → somebody changed it and not the tag gangplank:keys, so no plan shows it: take the tag off (`az tag update --resource-id /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse --operation Delete --tags 'gangplank:keys=ed99b2f2cca98efb101a6e7d2bd8e4bc ends=2027-02-18T12:00:00Z ESy03LOE HMR3IRfu'`), then run `gangplank apply plans/warehouse.yaml`: it writes it
    control.diagnostics: boot diagnostics are off for gangplank-warehouse: nothing of what it reports can be read
      → turn them on: `az vm boot-diagnostics enable --ids /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse`
    control.encryption? the system's disk is not a managed disk: how its storage is encrypted is not read
    ");
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
    insta::assert_snapshot!(with(HUB, gone) + &with(HUB, stopped) + &with(HUB, no_rule) + &with(HUB, elsewhere), @"
    control.address: the subscription has no firewall fw-hub
      → check `azure.edge` in the plan, and that this account may read it
    control.admits[secoda]? there is nothing that leads to the machine: see control.address
    control.admits[ana]? there is nothing that leads to the machine: see control.address
    control.nothing-else? there is nothing that leads to the machine: see control.address
    control.route? there is nothing that leads to the machine: see control.address
    control.address: the firewall fw-hub has no public address: it is stopped (deallocated)
      → start it; its public address and subnet are named then
    control.admits[secoda]? the range of fw-hub's subnet is not read
    control.admits[ana]? the range of fw-hub's subnet is not read
    control.nothing-else? the range of fw-hub's subnet is not read
    control.route? Azure names no subnet of the firewall fw-hub: see control.address
    control.address: no DNAT rule of warehouse is in the firewall fw-hub: nobody reaches the bastion
      → run `gangplank apply plans/warehouse.yaml`: it writes it
    control.admits[secoda]? no DNAT rule of warehouse is known in the firewall fw-hub: see control.address
    control.admits[ana]? no DNAT rule of warehouse is known in the firewall fw-hub: see control.address
    control.address: the rule ssh of gangplank-warehouse in firewall policy fwp-hub is for 20.9.9.77, which is no address of the firewall fw-hub
      → run `gangplank apply plans/warehouse.yaml`: it writes the firewall's address
    ");
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
    insta::assert_snapshot!(with(PUBLIC, loose) + &with(PUBLIC, dynamic), @"
    control.address: 20.0.0.1 leads nowhere: nobody reaches the bastion
      → run `gangplank apply plans/warehouse.yaml`: it attaches it again
    control.address: gangplank-warehouse is not a fixed address: it changes when nothing uses it
      → fix it: `az network public-ip update --ids /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Network/publicIPAddresses/gangplank-warehouse --allocation-method Static`
    ");
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
    insta::assert_snapshot!(with(HUB, routed), @"
    control.egress? the route table rt-spoke is not read
    control.route? the route table rt-spoke is not read
    control.target-route[db-5432]? the route table rt-spoke is not read
    control.target-route[far]? the route table rt-spoke is not read
    ");
    insta::assert_snapshot!(with(HUB, apart), @"
    control.egress: gangplank-warehouse lets the machine out to more than the plan by its rule to-10.7.0.0_16-5432: tcp 5432 to 10.7.0.0/16; gangplank-warehouse lets the machine out to more than the plan by its rule to-10.8.0.0_16-5432: tcp 5432 to 10.8.0.0/16
      → run `gangplank apply plans/warehouse.yaml`: it sets the rules right
    control.route? the firewall stands in vnet-hub, which is not peered with vnet-data; other ways (a virtual WAN, a gateway) are not read. If the machine does not answer, peer the two
    ");
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
    insta::assert_snapshot!(with(HUB, fault), @"
    control.target-acl[db-5432]: the rule only-the-app of nsg-db (everything from everywhere) stops tcp 5432 from 10.9.1.5/32
      → in nsg-db, allow tcp 5432 from 10.9.1.5; gangplank does not change it
    control.target-acl[far]: the rule only-the-app of nsg-db (everything from everywhere) stops tcp 443 from 10.9.1.5/32
      → in nsg-db, allow tcp 443 from 10.9.1.5; gangplank does not change it
    ");
}

/// A machine of the plan's name that gangplank did not make is told by its image, which nobody can change.
#[test]
fn a_machine_from_another_image_is_red_and_made_anew() {
    let odd = |field: &'static str, value: &'static str| {
        move |world: &mut World| machine(world)["properties"]["storageProfile"]["imageReference"][field] = json!(value)
    };
    for edge in EDGES {
        assert_eq!(red(edge, odd("publisher", "eve")), ["control.image"]);
        assert_eq!(red(edge, odd("offer", "ubuntu-26_04-lts")), ["control.image"]);
        assert_eq!(red(edge, odd("sku", "13-backports-gen2")), ["control.image"]);
        let none = |world: &mut World| {
            machine(world)["properties"]["storageProfile"]["imageReference"] = json!({"id": "/galleries/eve"});
        };
        assert!(with(edge, none).contains("no image of the marketplace"));
    }
}

#[test]
fn the_tag_of_the_document_is_red_or_unknown_and_never_green_unseen() {
    let said = |value: Value| move |world: &mut World| machine(world)["tags"][tags::BOOT] = value.clone();
    for edge in EDGES {
        assert_eq!(red(edge, said(json!("document=000000000000"))), ["control.document"]);
        assert_eq!(red(edge, said(json!("document=1 system=<b>"))), ["control.document"]);
        let lost = |world: &mut World| _ = machine(world)["tags"].as_object_mut().expect("tags").remove(tags::BOOT);
        assert!(with(edge, lost).contains("control.document?"), "{}", with(edge, lost));
    }
}

#[test]
fn what_only_carries_the_tag_is_named() {
    for edge in EDGES {
        let tagged = |world: &mut World| {
            let id = group("rg-hub").resource(Kind::SecurityGroup, "theirs");
            world.add(&id, json!({"location": "westeurope", "tags": {tags::BASTION: "warehouse"}}));
        };
        assert_eq!(red(edge, tagged), ["control.ownership"]);
        assert!(with(edge, tagged).contains("network security group theirs in rg-hub"), "{}", with(edge, tagged));
    }
}
