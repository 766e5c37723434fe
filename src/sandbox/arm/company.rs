//! A subscription with a company in it: what the plans of the documentation refer to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{SUBSCRIPTION, World};
use crate::sandbox::http::Ask;

const NETWORK_VERSION: &str = "2024-03-01";
const LOCATION: &str = "westeurope";
const FIREWALL: &str = "AzureFirewallSubnet";

impl World {
    /// In westeurope: `vnet-data` with `snet-a` in rg-shared, for bastions in an existing network; `vnet-db`, a database's, which nothing
    /// leads to; `fw-hub` with the policy `fwp-hub` and `fw-old` with classic rules in rg-hub, each with somebody's own rules. The
    /// firewalls' networks are peered with `vnet-data`.
    pub fn company() -> Self {
        let mut world = Self::default();
        for name in ["rg-shared", "rg-hub"] {
            world.put_as_somebody(
                &group(name),
                "2021-04-01",
                json!({"location": LOCATION, "tags": {"team": "network"}}),
            );
        }
        world.networks();
        world.policy();
        for (name, network) in [("fw-hub", "vnet-hub"), ("fw-old", "vnet-old")] {
            world.firewall(name, network);
        }
        // Before anybody can remember.
        world.log.clear();
        world
    }

    fn networks(&mut self) {
        let all = [
            ("rg-shared", "vnet-data", "10.9", "snet-a"),
            ("rg-shared", "vnet-db", "10.12", "snet-db"),
            ("rg-hub", "vnet-hub", "10.8", FIREWALL),
            ("rg-hub", "vnet-old", "10.7", FIREWALL),
        ];
        for (group, name, range, subnet) in all {
            let named = |name: &str, range: String| json!({"name": name, "properties": {"addressPrefix": range}});
            let mut subnets = Vec::new();
            if name != "vnet-db" {
                subnets.push(named(FIREWALL, format!("{range}.3.0/26")));
            }
            if subnet != FIREWALL {
                subnets.push(named(subnet, format!("{range}.1.0/24")));
            }
            let body = json!({"location": LOCATION, "properties": {
                "addressSpace": {"addressPrefixes": [format!("{range}.0.0/16")]}, "subnets": subnets}});
            self.put_as_somebody(&net(group, &format!("virtualNetworks/{name}")), NETWORK_VERSION, body);
        }
        let id = |(group, name): (&str, &str)| net(group, &format!("virtualNetworks/{name}"));
        let data = ("rg-shared", "vnet-data");
        for hub in [("rg-hub", "vnet-hub"), ("rg-hub", "vnet-old")] {
            for (from, to) in [(data, hub), (hub, data)] {
                let body = json!({"properties": {"remoteVirtualNetwork": {"id": id(to)},
                    "allowVirtualNetworkAccess": true, "allowForwardedTraffic": true}});
                let peering = format!("{}/virtualNetworkPeerings/{}-{}", id(from), from.1, to.1);
                self.put_as_somebody(&peering, NETWORK_VERSION, body);
            }
        }
    }

    fn policy(&mut self) {
        let policy = net("rg-hub", "firewallPolicies/fwp-hub");
        let body = json!({"location": LOCATION, "properties": {"sku": {"tier": "Standard"}}});
        self.put_as_somebody(&policy, NETWORK_VERSION, body);
        let theirs = json!({"name": "web", "ruleType": "NatRule", "ipProtocols": ["TCP"], "sourceAddresses": ["*"],
            "destinationAddresses": ["20.9.9.1"], "destinationPorts": ["443"], "translatedAddress": "10.8.9.9",
            "translatedPort": "443"});
        let rules = json!({"properties": {"priority": 1000, "ruleCollections": [{"name": "theirs", "priority": 100,
            "ruleCollectionType": "FirewallPolicyNatRuleCollection", "action": {"type": "DNAT"}, "rules": [theirs]}]}});
        self.put_as_somebody(&format!("{policy}/ruleCollectionGroups/theirs"), NETWORK_VERSION, rules);
    }

    fn firewall(&mut self, name: &str, network: &str) {
        let address = net("rg-hub", &format!("publicIPAddresses/{name}"));
        let body = json!({"location": LOCATION, "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static"}});
        self.put_as_somebody(&address, NETWORK_VERSION, body);
        let subnet = net("rg-hub", &format!("virtualNetworks/{network}/subnets/AzureFirewallSubnet"));
        let mut properties = json!({"sku": {"name": "AZFW_VNet", "tier": "Standard"}, "ipConfigurations": [{
            "name": "front", "properties": {"subnet": {"id": subnet}, "publicIPAddress": {"id": address}}}]});
        if name == "fw-hub" {
            properties["firewallPolicy"] = json!({"id": net("rg-hub", "firewallPolicies/fwp-hub")});
        } else {
            properties["natRuleCollections"] = json!([classic("theirs", 1000)]);
        }
        let body = json!({"location": LOCATION, "properties": properties});
        self.put_as_somebody(&net("rg-hub", &format!("azureFirewalls/{name}")), NETWORK_VERSION, body);
    }

    /// Long ago, and done.
    fn put_as_somebody(&mut self, id: &str, version: &str, body: Value) {
        let ask = Ask {
            method: "PUT".to_owned(),
            path: id.to_owned(),
            query: vec![("api-version".to_owned(), version.to_owned())],
            headers: BTreeMap::new(),
            body: body.to_string().into_bytes(),
            origin: String::new(),
        };
        let reply = self.answer(Timestamp::UNIX_EPOCH, &ask);
        debug_assert!(reply.status < 300, "{id}: {reply:?}");
        self.finish(Timestamp::UNIX_EPOCH);
    }
}

fn group(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

fn net(group_name: &str, rest: &str) -> String {
    format!("{}/providers/Microsoft.Network/{rest}", group(group_name))
}

/// Somebody's collection of classic rules.
fn classic(name: &str, priority: u32) -> Value {
    json!({"name": name, "properties": {"priority": priority, "action": {"type": "Dnat"}, "rules": [{"name": "web",
        "protocols": ["TCP"], "sourceAddresses": ["*"], "destinationAddresses": ["20.9.9.2"],
        "destinationPorts": ["443"], "translatedAddress": "10.7.9.9", "translatedPort": "443"}]}})
}
