//! Hub and spoke: the firewall, or its policy, stands in another subscription than the bastion.

use serde_json::{Value, json};

use super::{
    company::{self, NET, group, net, put, send},
    fault::{Fault, Which},
    life::{Desk, writes},
    peering,
    world::{SUBSCRIPTION, World},
};
use crate::{
    azure::plans::{HUB, PUBLIC, Spec},
    support::{Moment, program::Run},
};

const HUBS: &str = "00000000-0000-0000-0000-0000000000bb";
const GROUP: &str = "rg-connectivity";

fn there(id: &str) -> String {
    id.replacen(SUBSCRIPTION, HUBS, 1)
}

fn hub(rest: &str) -> String {
    there(&net(GROUP, rest))
}

/// The policy `fwp-conn` with somebody's rule in the hub's subscription.
fn with_policy(world: &mut World) {
    world.others = vec![HUBS.to_owned()];
    put(world, &there(&group(GROUP)), "2021-04-01", &json!({"location": "westeurope"}));
    let body = json!({"location": "westeurope", "properties": {"sku": {"tier": "Standard"}}});
    put(world, &hub("firewallPolicies/fwp-conn"), NET, &body);
    let theirs = world.resource(&net("rg-hub", "firewallPolicies/fwp-hub/ruleCollectionGroups/theirs")).expect("there");
    put(world, &hub("firewallPolicies/fwp-conn/ruleCollectionGroups/theirs"), NET, &company::rules(&theirs));
}

/// And the firewall `fw-conn` with its network, peered with the bastion's.
fn with_firewall(world: &mut World) {
    with_policy(world);
    let body = json!({"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.6.0.0/16"]},
        "subnets": [{"name": "AzureFirewallSubnet", "properties": {"addressPrefix": "10.6.3.0/26"}}]}});
    put(world, &hub("virtualNetworks/vnet-conn"), NET, &body);
    let body = json!({"location": "westeurope", "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"}});
    put(world, &hub("publicIPAddresses/fw-conn"), NET, &body);
    let body = json!({"location": "westeurope", "properties": {"sku": {"name": "AZFW_VNet", "tier": "Standard"},
        "firewallPolicy": {"id": hub("firewallPolicies/fwp-conn")}, "ipConfigurations": [{"name": "front", "properties": {
            "subnet": {"id": hub("virtualNetworks/vnet-conn/subnets/AzureFirewallSubnet")},
            "publicIPAddress": {"id": hub("publicIPAddresses/fw-conn")}}}]}});
    put(world, &hub("azureFirewalls/fw-conn"), NET, &body);
}

/// fw-hub of the bastion's own subscription gets the policy of the other.
fn with_policy_elsewhere(world: &mut World) {
    with_policy(world);
    company::change(world, &net("rg-hub", "azureFirewalls/fw-hub"), NET, |firewall| {
        firewall["properties"]["firewallPolicy"] = json!({"id": hub("firewallPolicies/fwp-conn")});
    });
}

fn ours(desk: &Desk) -> Option<Value> {
    desk.server.world().resource(&hub("firewallPolicies/fwp-conn/ruleCollectionGroups/gangplank-warehouse"))
}

fn comes_and_goes(desk: &Desk, edge: &str) {
    let spec = Spec { edge_text: Some(edge.to_owned()), ..Spec::edge(HUB) };
    let before = desk.server.world().ids();
    desk.apply(&spec);
    desk.assert_settled(&spec);
    let rule = ours(desk).expect("a rule");
    assert_eq!(rule["properties"]["priority"], 1001, "1000 is somebody's");
    let (run, _) = desk.run("status", &spec, &["--output", "json"]);
    assert_eq!(run.expect(0).json()["bastions"][0]["state"], "up");
    let more = Spec { sources: [0, 1].into(), ..spec };
    desk.apply(&more);
    desk.assert_settled(&more);
    desk.run("destroy", &more, &["--yes"]).0.expect(0);
    assert_eq!(ours(desk), None);
    assert_eq!(desk.server.world().ids(), before);
}

#[test]
fn a_firewall_of_another_subscription_is_named_by_its_id() {
    let desk = Desk::new();
    with_firewall(&mut desk.server.world());
    comes_and_goes(&desk, &format!("{{firewall: {{existing: {}}}}}", hub("azureFirewalls/fw-conn")));
    comes_and_goes(&desk, &format!("{{firewall: {{policy: {}}}}}", hub("firewallPolicies/fwp-conn")));
}

#[test]
fn a_firewall_whose_policy_is_of_another_subscription() {
    let desk = Desk::new();
    with_policy_elsewhere(&mut desk.server.world());
    comes_and_goes(&desk, "{firewall: {existing: fw-hub}}");
}

fn remembered(desk: &Desk) -> Vec<String> {
    let raw = desk.server.world().resource(&net("rg-shared", "networkSecurityGroups/gangplank-warehouse"));
    let tags = raw.and_then(|raw| raw["tags"].as_object().cloned()).unwrap_or_default();
    tags.keys().filter(|key| key.starts_with("gangplank:rules-")).cloned().collect()
}

/// The plan comes to name a firewall of its own subscription: what it has in the other one goes, with the next apply or destroy.
#[test]
fn a_rule_is_not_left_in_another_subscription_when_the_edge_changes() {
    for verb in ["apply", "destroy"] {
        let desk = Desk::new();
        with_firewall(&mut desk.server.world());
        let before = desk.server.world().ids();
        let edge = format!("{{firewall: {{existing: {}}}}}", hub("azureFirewalls/fw-conn"));
        desk.apply(&Spec { edge_text: Some(edge), ..Spec::edge(HUB) });
        assert!(ours(&desk).is_some());
        assert_eq!(remembered(&desk).len(), 1);
        let spec = Spec::edge(HUB);
        if verb == "apply" {
            desk.apply(&spec);
            desk.assert_settled(&spec);
            assert_eq!(remembered(&desk), [""; 0]);
            assert_eq!(ours(&desk), None);
        }
        desk.run("destroy", &spec, &["--yes"]).0.expect(0);
        assert_eq!(ours(&desk), None);
        assert_eq!(desk.server.world().ids(), before);
    }
}

/// Killed at any write of that apply, the next one finds what is left.
#[test]
fn no_kill_makes_a_rule_in_another_subscription_forgotten() {
    for n in 0..8 {
        let desk = Desk::new();
        with_firewall(&mut desk.server.world());
        let before = desk.server.world().ids();
        let edge = format!("{{firewall: {{existing: {}}}}}", hub("azureFirewalls/fw-conn"));
        desk.apply(&Spec { edge_text: Some(edge), ..Spec::edge(HUB) });
        let spec = Spec::edge(HUB);
        desk.server.world().fault(Which::Writes, n..n + 1, Fault::Kill(Moment::After));
        desk.run("apply", &spec, &["--yes", "--no-verify"]);
        desk.server.world().heal();
        desk.apply(&spec);
        desk.assert_settled(&spec);
        assert_eq!(ours(&desk), None, "killed after write {n}");
        desk.run("destroy", &spec, &["--yes"]).0.expect(0);
        assert_eq!(desk.server.world().ids(), before, "killed after write {n}");
    }
}

/// Without a plan.
#[test]
fn reap_takes_rules_and_peerings_of_other_subscriptions_along() {
    for peered in [false, true] {
        let desk = Desk::new();
        let spec = if peered {
            peering::with_far(&mut desk.server.world());
            Spec { peers: vec![peering::far()], ..Spec::edge(PUBLIC) }
        } else {
            with_firewall(&mut desk.server.world());
            let edge = format!("{{firewall: {{existing: {}}}}}", hub("azureFirewalls/fw-conn"));
            Spec { edge_text: Some(edge), ..Spec::edge(HUB) }
        };
        let before = desk.server.world().ids();
        desk.apply(&spec);
        {
            let mut world = desk.server.world();
            for id in world.ids() {
                let owner = world.resource(&id).map(|raw| raw["tags"]["gangplank:bastion"].clone());
                if owner == Some(json!("warehouse")) {
                    company::tag(&mut world, &id, "gangplank:expires", Some("2020-02-29T23:59:59Z"));
                }
            }
        }
        desk.reap(&["--yes"]).0.expect(0);
        assert_eq!(desk.server.world().ids(), before);
    }
}

/// What may not be read is neither written to nor called gone.
#[test]
fn a_policy_that_may_not_be_read_stops_the_run() {
    let desk = Desk::new();
    with_policy_elsewhere(&mut desk.server.world());
    let spec = Spec::edge(HUB);
    desk.apply(&spec);
    let close = |closed: bool| desk.server.world().closed = if closed { vec![HUBS.to_owned()] } else { Vec::new() };
    let stopped = |run: Run| {
        assert_ne!(run.code(), Some(0), "{run}");
        let told = format!("{}{}", run.stdout, run.stderr);
        assert!(told.contains("does not have authorization") && !told.contains("nothing is left"), "{told}");
    };
    close(true);
    for (verb, options) in [("plan", [].as_slice()), ("apply", &["--yes", "--no-verify"]), ("destroy", &["--yes"])] {
        let (run, calls) = desk.run(verb, &spec, options);
        assert_eq!(writes(&calls), 0, "{run}");
        stopped(run);
    }
    close(false);
    assert!(ours(&desk).is_some());
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    assert_eq!(ours(&desk), None);

    // A bastion beside it that needs nothing of there is not concerned.
    close(true);
    let plain = Spec::edge(crate::azure::plans::PUBLIC);
    desk.apply(&plain);
    desk.run("destroy", &plain, &["--yes"]).0.expect(0);
}

/// Tags there count for nothing here.
#[test]
fn what_another_subscriptions_bastion_has_is_left_alone() {
    let desk = Desk::new();
    with_firewall(&mut desk.server.world());
    let spec = Spec {
        edge_text: Some(format!("{{firewall: {{policy: {}}}}}", hub("firewallPolicies/fwp-conn"))),
        ..Spec::edge(HUB)
    };
    desk.apply(&spec);
    let tags = json!({"operation": "Merge", "properties": {"tags": {"gangplank:bastion": "warehouse"}}});
    for id in ["virtualNetworks/vnet-conn", "publicIPAddresses/fw-conn"] {
        let at = format!("{}/providers/Microsoft.Resources/tags/default", hub(id));
        send(&mut desk.server.world(), "PATCH", &at, "2021-04-01", Some(&tags));
    }
    desk.assert_settled(&spec);
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    assert!(desk.server.world().resource(&hub("publicIPAddresses/fw-conn")).is_some());
}
