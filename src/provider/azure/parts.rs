//! The steps of what a bastion has of its own, but for the machine, in the order in which they can be made.

use serde_json::Value;

use super::{
    action::Call,
    diff::Run,
    id::{FIREWALL_SUBNET, Id, Kind},
    observed::{Resource, State},
    rule_places,
    rules::{self, line_details, security_lines},
    steps::{Differ, Node, There, tags_detail},
    tags,
    teardown::deletion,
    views::{Firewall, Interface, Network},
};
use crate::{
    changeset::{Detail, Draft, Op},
    plan::{AzureNetwork, Edge, ResourceGroup},
};

impl Run<'_> {
    pub(super) fn own(&self, id: &Id) -> There<'_> {
        self.world.seen.get(id).map_or(There::Nothing, There::Kept)
    }

    pub(super) fn name(&self, kind: Kind) -> String {
        format!("{} {}", kind.words(), self.want.names.rules)
    }

    pub fn group(&self, plan: &mut Differ<'_>) {
        for resource in self.given_back() {
            plan.give_back(&format!("give-back-{}", resource.kind.words().replace(' ', "-")), resource);
        }
        let ResourceGroup::Owned(name) = &self.want.azure.resource_group else { return };
        let node = Node {
            what: "group",
            id: &self.want.names.group,
            resource: format!("resource group {name}"),
            body: self.want.group_body(&self.tags),
            fill: Vec::new(),
            details: vec![tags_detail(&self.tags)],
            reason: "holds everything else",
            after: &[],
        };
        plan.node(node, self.own(&self.want.names.group), Vec::new());
    }

    /// Firewalls that the bastion had in another resource group, where the new one shall stand.
    pub(super) fn in_the_way(&self) -> Vec<&Resource> {
        if !matches!(self.want.azure.edge, Edge::Firewall(_)) {
            return Vec::new();
        }
        let here = |f: &&Resource| Firewall(f).subnet().is_some_and(|s| s.parent() == self.place.network);
        let owned = self.world.seen.owned(self.want.bastion()).filter(|r| r.kind == Kind::Firewall);
        owned.filter(|r| r.id != self.want.names.firewall).filter(here).collect()
    }

    pub fn network(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let Some(body) = want.network_body(&self.tags) else { return };
        let AzureNetwork::Created { address_space, .. } = &want.azure.network else { return };
        let id = &want.names.network;
        let resource = self.name(Kind::Network);
        let Some(have) = self.world.seen.get(id) else {
            let mut details = vec![Detail::added("address space", address_space.to_string())];
            for (name, subnet) in want.subnets() {
                let range = subnet.pointer("/properties/addressPrefix").and_then(Value::as_str).unwrap_or_default();
                details.push(Detail::added(format!("subnet {name}"), range));
            }
            let reason = "where the machine stands";
            let node =
                Node { what: "network", id, resource, body, fill: Vec::new(), details, reason, after: &["group"] };
            return plan.node(node, There::Nothing, Vec::new());
        };
        let change = tags::change(&self.tags, &have.tags);
        plan.tags("network", &resource, id, &change, &have.tags, Vec::new());
        if change.is_empty() && have.state == State::Busy {
            plan.wait("network", &resource, id, Vec::new());
        }
        // Azure changes one subnet of a network at a time.
        let mut before = plan.planned(&["network"]);
        for (name, subnet) in want.subnets() {
            if Network(have).subnet(&name).is_some() {
                continue;
            }
            let what = format!("subnet-{name}").to_lowercase();
            let range =
                subnet.pointer("/properties/addressPrefix").and_then(Value::as_str).unwrap_or_default().to_owned();
            let draft = Draft {
                details: vec![Detail::added("range", range)],
                after: before,
                ..Draft::new(Op::Create, format!("subnet {name} of {resource}"), "the network lacks it")
            };
            before = vec![plan.id(&what)];
            plan.push(&what, draft, Call::Put { id: id.child(Kind::Subnet, &name), body: subnet, fill: Vec::new() });
        }
    }

    pub fn security_group(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let firewall = self.front.admits;
        let admits = firewall.iter().chain(want.sources.keys().filter(|_| firewall.is_none()));
        let body = rules::security_rules(want.bastion(), want.plan.ssh.port, admits, &self.egress);
        let lines = security_lines(&body);
        let why = |name: &str, value: &str| {
            let source = value.strip_prefix("from ").filter(|_| name.starts_with("ingress"));
            match (source, firewall) {
                (Some(_), Some(_)) => Some("the firewall's subnet".to_owned()),
                (Some(source), None) => want.sources.get(&source.parse().ok()?).cloned(),
                (None, _) => {
                    let all = self.egress.iter();
                    all.clone()
                        .find(|(way, _)| {
                            let words = format!("{value} {}", name.trim_start_matches("egress "));
                            words == format!("to {}", way.words())
                        })
                        .map(|(_, why)| why.clone())
                }
            }
        };
        let there = self.own(&want.names.security_group);
        let have = match there {
            There::Kept(have) => security_lines(have.list("/properties/securityRules")),
            _ => rules::Lines::new(),
        };
        let changed = line_details(&lines, &have, why);
        let mut details = changed.clone();
        details.push(Detail::added("everything else", "denied"));
        let mut tags = self.tags.clone();
        tags.extend(rule_places::tags(self.world.seen, want.bastion(), &want.azure.subscription, &self.front.nat));
        let node = Node {
            what: "security-group",
            id: &want.names.security_group,
            resource: self.name(Kind::SecurityGroup),
            body: want.security_group_body(&tags, body),
            fill: Vec::new(),
            details,
            reason: "on the machine's own interface: exactly what the plan lists",
            after: &["group"],
        };
        plan.node(node, there, changed);
    }

    pub fn addresses(&self, plan: &mut Differ<'_>) {
        let names = &self.want.names;
        let basic = matches!(self.want.azure.edge, Edge::Firewall(crate::plan::FirewallSku::Basic));
        let reason = "the fixed address that the vendor's form asks for";
        let all = [
            ("address", &names.address, self.front.address == names.address, reason),
            ("management-address", &names.management_address, basic, "Azure manages a Basic firewall through it"),
        ];
        for (what, id, needed, reason) in all {
            if needed {
                let node = Node {
                    what,
                    id,
                    resource: format!("public address {}", id.name()),
                    body: self.want.address_body(&self.tags),
                    fill: Vec::new(),
                    details: vec![Detail::added("allocation", "static, IPv4")],
                    reason,
                    after: &["group"],
                };
                plan.node(node, self.own(id), Vec::new());
            }
        }
    }

    pub fn policy(&self, plan: &mut Differ<'_>) {
        let Edge::Firewall(sku) = self.want.azure.edge else { return };
        let id = &self.want.names.policy;
        let node = Node {
            what: "policy",
            id,
            resource: self.name(Kind::Policy),
            body: self.want.policy_body(&self.tags, sku),
            fill: Vec::new(),
            details: vec![Detail::added("sku", super::bodies::sku_name(sku))],
            reason: "holds the firewall's rules",
            after: &["group", "delete-policy"],
        };
        plan.node(node, if self.current.new_policy { There::Old } else { self.own(id) }, Vec::new());
    }

    pub fn interface(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let id = &want.names.interface;
        let public = want.azure.edge == Edge::PublicAddress;
        let there = if self.current.new_interface { There::Old } else { self.own(id) };
        let mut changed = Vec::new();
        // A comparison sees what we want and is not there, not what is there and we do not want.
        if let There::Kept(have) = there {
            match (public, Interface(have).public_address()) {
                (false, Some(address)) => changed.push(Detail::removed("public address", address.name())),
                (true, None) => changed.push(Detail::added("public address", want.names.address.name())),
                _ => {}
            }
        }
        let mut details =
            vec![Detail::added("subnet", format!("{} in {}", self.place.subnet.name(), self.place.network.name()))];
        details.push(Detail::added("public address", if public { want.names.address.name() } else { "none" }));
        let mut after = vec!["group", "network", "subnet-bastion", "security-group", "delete-interface"];
        if public {
            after.extend(["address", "delete-firewall"]);
        }
        let peerings = self.peering_steps();
        after.extend(peerings.iter().map(String::as_str));
        let node = Node {
            what: "interface",
            id,
            resource: self.name(Kind::Interface),
            body: want.interface_body(&self.tags, &self.place.subnet, public),
            fill: Vec::new(),
            details,
            reason: "keeps the machine's address when the machine is replaced",
            after: &after,
        };
        plan.node(node, there, changed);
    }

    pub fn firewall(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let Edge::Firewall(sku) = want.azure.edge else { return };
        let id = &want.names.firewall;
        let subnet = self.place.network.child(Kind::Subnet, FIREWALL_SUBNET);
        let removed: Vec<String> = self.in_the_way().into_iter().map(deletion).collect();
        // The rules are there before it, so that it needs no second change. A network's resources are changed one at a time.
        let mut after = vec![
            "group",
            "network",
            "subnet-azurefirewallsubnet",
            "subnet-azurefirewallmanagementsubnet",
            "address",
            "management-address",
            "policy",
            "interface",
            "rules",
            "delete-firewall",
        ];
        after.extend(removed.iter().map(String::as_str));
        let node = Node {
            what: "firewall",
            id,
            resource: self.name(Kind::Firewall),
            body: want.firewall_body(&self.tags, sku, &subnet),
            fill: Vec::new(),
            details: vec![
                Detail::added("sku", super::bodies::sku_name(sku)),
                Detail::added("subnet", format!("{FIREWALL_SUBNET} in {}", self.place.network.name())),
            ],
            reason: "stands between the internet and the machine; Azure takes about ten minutes for it",
            after: &after,
        };
        plan.node(node, if self.current.new_firewall { There::Old } else { self.own(id) }, Vec::new());
    }
}
