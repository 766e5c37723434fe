//! Plans of one bastion, written out and read back, and the subscription that they are for.

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use gangplank::{
    cloudinit::{self, UserData},
    diagnostic::Source,
    plan::{self, Azure, Cloud, Plan},
    provider::azure::{
        desire::Desired,
        id::{Id, Kind},
        tags::BASTION,
    },
};
use proptest::{collection::btree_set, prelude::*};
use serde_json::{Value, json};

use super::world::World;

pub const BASTION_NAME: &str = "warehouse";
/// Another bastion of the subscription, whose name begins with ours.
pub const NEIGHBOUR: &str = "warehouse-2";
pub const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";

pub const EDGES: [&str; 7] = [
    "public_address",
    "{firewall: {sku: basic}}",
    "{firewall: {sku: standard}}",
    "{firewall: {sku: premium}}",
    "{firewall: {existing: fw-hub}}",
    "{firewall: {existing: fw-old}}",
    "{firewall: {policy: fwp-hub}}",
];
pub const PUBLIC: usize = 0;
pub const BASIC: usize = 1;
pub const STANDARD: usize = 2;
pub const HUB: usize = 4;
pub const CLASSIC: usize = 5;
pub const POLICY: usize = 6;

const SIZES: [&str; 2] = ["Standard_B1s", "Standard_B2pts_v2"];
const IMAGES: [&str; 2] = ["debian-13", "ubuntu-24.04"];
const SOURCES: [&str; 3] = ["198.51.100.20/32", "192.0.2.0/28", "35.175.75.15/32"];
pub const KEYS: [&str; 3] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG5CZlIlbo34T3AdCxWo+Dpw4o0Fooo4cNkjT5C74JYd",
];
const OPERATOR_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQw0RMvT3lBbAtTuKXyWlSiaRbsGRcAQ6W6fYbo4Fp4";

/// A plan by its choices; numbers are positions in the lists above.
#[derive(Clone, Debug)]
pub struct Spec {
    pub edge: usize,
    /// In the place of the list's.
    pub edge_text: Option<String>,
    /// `None`: created. Otherwise a subnet of vnet-data.
    pub subnet: Option<&'static str>,
    /// Of a network that is created.
    pub peers: Vec<String>,
    /// rg-shared, which is somebody else's.
    pub shared_group: bool,
    pub size: usize,
    pub image: usize,
    /// A line of the plan.
    pub deadline: &'static str,
    pub port: u16,
    pub sources: BTreeSet<usize>,
    pub keys: BTreeSet<usize>,
    pub live: bool,
    pub operator: bool,
    pub ports: BTreeSet<u16>,
    pub tags: BTreeSet<&'static str>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            edge: STANDARD,
            edge_text: None,
            subnet: None,
            peers: Vec::new(),
            shared_group: false,
            size: 0,
            image: 0,
            deadline: "lifetime: 90d",
            port: 22,
            sources: [0].into(),
            keys: [0].into(),
            live: true,
            operator: true,
            ports: [5432].into(),
            tags: ["team"].into(),
        }
    }
}

impl Spec {
    pub fn edge(edge: usize) -> Self {
        let existing = edge >= HUB;
        Self { edge, subnet: existing.then_some("snet-a"), shared_group: existing, ..Self::default() }
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        self.write(&mut out).expect("a string");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "version: 1\nname: {BASTION_NAME}\n{}", self.deadline)?;
        let tags: Vec<String> = self.tags.iter().map(|key| format!("{key}: data")).collect();
        writeln!(
            out,
            "tags: {{{}}}\n\nazure:\n  subscription: {SUBSCRIPTION}\n  location: westeurope",
            tags.join(", ")
        )?;
        writeln!(out, "  resource_group: {}", if self.shared_group { "{existing: rg-shared}" } else { "rg-bastion" })?;
        match self.subnet {
            Some(subnet) => writeln!(out, "  network: {{existing: vnet-data, subnet: {subnet}}}")?,
            None => {
                writeln!(out, "  network:\n    address_space: 10.60.0.0/16\n    bastion_subnet: 10.60.1.0/27")?;
                if (BASIC..HUB).contains(&self.edge) {
                    writeln!(out, "    firewall_subnet: 10.60.0.0/26")?;
                }
                if self.edge == BASIC {
                    writeln!(out, "    firewall_management_subnet: 10.60.0.64/26")?;
                }
                if !self.peers.is_empty() {
                    writeln!(out, "    peer_with: [{}]", self.peers.join(", "))?;
                }
            }
        }
        writeln!(
            out,
            "  edge: {}\n  size: {}\n  image: {}",
            self.edge_text.as_deref().unwrap_or(EDGES[self.edge]),
            SIZES[self.size],
            IMAGES[self.image]
        )?;
        writeln!(out, "\nkey_updates: {}", if self.live { "live" } else { "replace" })?;
        writeln!(out, "ssh: {{port: {}}}\n\ntunnels:\n  - user: secoda", self.port)?;
        if self.sources.is_empty() {
            writeln!(out, "    vendor: secoda/eu")?;
        }
        let list = |items: Vec<&str>| items.join(", ");
        writeln!(out, "    allow_from: [{}]", list(self.sources.iter().map(|i| SOURCES[*i]).collect()))?;
        writeln!(out, "    keys: [{}]\n    targets:", list(self.keys.iter().map(|i| KEYS[*i]).collect()))?;
        for port in &self.ports {
            writeln!(out, "      - {{name: db-{port}, host: db.internal, port: {port}}}")?;
        }
        writeln!(out, "      - {{name: far, host: 10.9.0.4, port: 443}}")?;
        if self.operator {
            writeln!(out, "\noperators:\n  - {{name: ana, allow_from: [203.0.113.200], keys: [\"{OPERATOR_KEY}\"]}}")?;
        }
        Ok(())
    }

    pub fn read(&self) -> Written {
        Written::read(&self.text())
    }
}

pub fn specs() -> impl Strategy<Value = Spec> {
    let place = (0..EDGES.len(), prop::option::of(prop::sample::select(vec!["snet-a", "snet-b"])), any::<bool>());
    let machine = (
        0..2usize,
        0..2usize,
        prop::sample::select(vec!["", "lifetime: 90d", "lifetime: 30d", "expires: 2031-01-31T00:00:00Z"]),
        prop::sample::select(vec![22u16, 22, 2222]),
    );
    let people = (btree_set(0..3usize, 0..3), btree_set(0..3usize, 0..3), prop::bool::weighted(0.8), any::<bool>());
    let rest = (
        prop::sample::subsequence(vec!["vnet-db", "vnet-hub"], 0..3),
        btree_set(prop::sample::select(vec![5432u16, 3306]), 0..3),
        btree_set(prop::sample::select(vec!["team", "cost"]), 0..3),
    );
    (place, machine, people, rest).prop_map(|(place, machine, people, (peers, ports, tags))| {
        let ((edge, subnet, shared_group), (size, image, deadline, port)) = (place, machine);
        let (sources, keys, live, operator) = people;
        Spec {
            edge,
            edge_text: None,
            subnet,
            peers: peers.into_iter().map(str::to_owned).collect(),
            shared_group,
            size,
            image,
            deadline,
            port,
            sources,
            keys,
            live,
            operator,
            ports,
            tags,
        }
    })
}

/// A plan as it was read, with its document.
pub struct Written {
    pub plan: Plan,
    pub user_data: UserData,
}

impl Written {
    pub fn read(text: &str) -> Self {
        let source = Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() };
        let plan = plan::read(Arc::new(source)).unwrap_or_else(|problems| {
            panic!("{text}\n{}", gangplank::diagnostic::render(&problems, false));
        });
        let user_data = cloudinit::render(&plan).expect("a document");
        Self { plan, user_data }
    }

    pub fn azure(&self) -> &Azure {
        let Cloud::Azure(azure) = &self.plan.cloud else { panic!("a plan for Azure") };
        azure
    }

    pub fn want(&self) -> Desired<'_> {
        Desired::new(&self.plan, self.azure(), &self.user_data)
    }
}

pub fn group(name: &str) -> Id {
    Id::group(SUBSCRIPTION, name)
}

/// A subscription with a company's network, its firewalls and a neighbour bastion; nothing of ours.
pub fn subscription() -> World {
    let mut world = World::default();
    let at = |body: Value| {
        let mut body = body;
        body["location"] = json!("West Europe");
        body
    };
    let tagged = |owner: &str| json!({BASTION: owner, "Name": format!("gangplank-{owner}")});
    for name in ["rg-shared", "rg-hub"] {
        world.add(&group(name), at(json!({"tags": {"team": "network"}})));
    }
    let (shared, hub) = (group("rg-shared"), group("rg-hub"));
    let vnet = shared.resource(Kind::Network, "vnet-data");
    let subnet = |name: &str, range: &str| json!({"id": vnet.child(Kind::Subnet, name).as_str(), "name": name, "properties": {"addressPrefix": range}});
    world.add(
        &vnet,
        at(json!({"properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
        "subnets": [subnet("snet-a", "10.9.1.0/24"), subnet("snet-b", "10.9.2.0/24"),
            subnet("AzureFirewallSubnet", "10.9.3.0/26"), subnet("AzureFirewallManagementSubnet", "10.9.3.64/26")]}})),
    );
    let database = shared.resource(Kind::Network, "vnet-db");
    world.add(
        &database,
        at(json!({"properties": {"addressSpace": {"addressPrefixes": ["10.12.0.0/16"]}, "subnets": [{
            "id": database.child(Kind::Subnet, "snet-db").as_str(), "name": "snet-db", "properties": {"addressPrefix": "10.12.1.0/24"}}]}})),
    );
    for (name, second) in [("vnet-hub", "10.8.0.0"), ("vnet-old", "10.7.0.0")] {
        let vnet = hub.resource(Kind::Network, name);
        world.add(
            &vnet,
            at(json!({"properties": {"addressSpace": {"addressPrefixes": [format!("{second}/16")]}, "subnets": [{
            "id": vnet.child(Kind::Subnet, "AzureFirewallSubnet").as_str(), "name": "AzureFirewallSubnet",
            "properties": {"addressPrefix": format!("{second}/26")}}]}})),
        );
    }
    let policy = hub.resource(Kind::Policy, "fwp-hub");
    world.add(&policy, at(json!({"properties": {"sku": {"tier": "Standard"}}})));
    let nat = |owner: &str, to: &str, machine: &str| {
        json!({"name": "ssh", "ruleType": "NatRule", "description": owner,
        "ipProtocols": ["TCP"], "sourceAddresses": ["10.1.1.1"], "destinationAddresses": [to], "destinationPorts": ["22"],
        "translatedAddress": machine, "translatedPort": "22"})
    };
    let rules = |priority: u32, rule: Value| {
        json!({"properties": {"priority": priority, "ruleCollections": [{
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": "c", "priority": 100, "action": {"type": "DNAT"}, "rules": [rule]}]}})
    };
    world.add(
        &policy.child(Kind::RuleGroup, "DefaultRuleCollectionGroup"),
        rules(1000, nat("by hand", "20.9.9.9", "10.9.9.9")),
    );
    let neighbours = nat(&format!("gangplank:{NEIGHBOUR}"), "20.9.9.1", "10.9.9.8");
    world.add(&policy.child(Kind::RuleGroup, &format!("gangplank-{NEIGHBOUR}")), rules(1001, neighbours));
    let front = |network: &str, address: &Id| {
        let subnet = hub.resource(Kind::Network, network).child(Kind::Subnet, "AzureFirewallSubnet");
        json!([{"name": "front", "properties": {"subnet": {"id": subnet.as_str()}, "publicIPAddress": {"id": address.as_str()}}}])
    };
    for (name, ip, network) in [("fw-hub", "20.9.9.1", "vnet-hub"), ("fw-old", "20.9.9.2", "vnet-old")] {
        let address = hub.resource(Kind::Address, name);
        world.add(&address, at(json!({"sku": {"name": "Standard"}, "properties": {"ipAddress": ip}})));
        let mut firewall = at(json!({"zones": ["1"], "properties": {"sku": {"name": "AZFW_VNet", "tier": "Standard"},
            "ipConfigurations": front(network, &address), "additionalProperties": {"a": "b"}}}));
        if name == "fw-hub" {
            firewall["properties"]["firewallPolicy"] = json!({"id": policy.as_str()});
        } else {
            firewall["properties"]["natRuleCollections"] = json!([{"name": "theirs", "properties": {"priority": 1000,
                "action": {"type": "Dnat"}, "rules": [{"name": "web", "protocols": ["TCP"], "sourceAddresses": ["*"],
                    "destinationAddresses": [ip], "destinationPorts": ["443"], "translatedAddress": "10.7.9.9", "translatedPort": "443"}]}}]);
        }
        world.add(&hub.resource(Kind::Firewall, name), firewall);
    }
    // A neighbour's, in the same resource group and with names that begin with ours.
    let name = format!("gangplank-{NEIGHBOUR}");
    world.add(&shared.resource(Kind::SecurityGroup, &name), at(json!({"tags": tagged(NEIGHBOUR)})));
    world.add(
        &shared.resource(Kind::Interface, &name),
        at(json!({"tags": tagged(NEIGHBOUR), "properties": {
        "networkSecurityGroup": {"id": shared.resource(Kind::SecurityGroup, &name).as_str()},
        "ipConfigurations": [{"name": "bastion", "properties": {"privateIPAddress": "10.9.1.4",
            "subnet": {"id": vnet.child(Kind::Subnet, "snet-a").as_str()}}}]}})),
    );
    world.add(
        &shared.resource(Kind::Machine, &name),
        at(json!({"tags": tagged(NEIGHBOUR), "properties": {"networkProfile":
        {"networkInterfaces": [{"id": shared.resource(Kind::Interface, &name).as_str()}]}}})),
    );
    world
}
