//! The steps of a bastion's own resources, in the order in which they can be made.

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::{
    action::{Call, Fill},
    diff::Run,
    edge::Nat,
    id::{FIREWALL_SUBNET, Id, Kind},
    keys,
    observed::{Resource, State, list},
    rules::{self, CLASSIC_FILLS, GROUP_FILLS, line_details, nat_lines, security_lines},
    steps::{Differ, Draft, Node, There, tags_detail},
    tags::TagChange,
    teardown::deletion,
    views::{Firewall, Interface, Machine, Network},
};
use crate::{
    changeset::{Detail, Impact, Op},
    plan::{AzureNetwork, Edge, ResourceGroup},
};

impl Run<'_> {
    fn own(&self, id: &Id) -> There<'_> {
        self.world.seen.get(id).map_or(There::Nothing, There::Kept)
    }

    fn name(&self, kind: Kind) -> String {
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

    /// What must be gone before something else takes its name or its address. The machine goes first: Azure gives its name and its
    /// interface to nobody else before.
    pub fn removals(&self, plan: &mut Differ<'_>) {
        let delete = |plan: &mut Differ<'_>, resource: &Resource, what: &str, reason: &str, after: &[&str]| {
            let draft = Draft {
                impact: if resource.kind == Kind::Machine { Impact::Replacement } else { Impact::Interruption },
                after: plan.planned(after),
                ..Draft::new(Op::Delete, resource.words(), reason)
            };
            plan.push(what, draft, Call::Delete { id: resource.id.clone() });
        };
        let current = &self.current;
        if let Some(machine) = current.machine.filter(|_| !current.reasons.is_empty()) {
            delete(plan, machine, "delete-machine", "the new one takes its name, its interface and its address", &[]);
        }
        if let Some(interface) = current.interface.filter(|_| current.new_interface) {
            delete(
                plan,
                interface,
                "delete-interface",
                "an interface can't move to another subnet",
                &["delete-machine"],
            );
        }
        let takes_address = self.want.azure.edge == Edge::PublicAddress;
        if let Some(firewall) = current.firewall.filter(|_| current.new_firewall || takes_address) {
            let reason =
                if takes_address { "the machine gets its address" } else { "it can't be changed while it stands" };
            delete(plan, firewall, "delete-firewall", reason, &[]);
        }
        for firewall in self.in_the_way() {
            delete(
                plan,
                firewall,
                &deletion(firewall),
                "a network has one firewall, and the new one takes its place",
                &[],
            );
        }
        if let Some(policy) = current.policy.filter(|_| current.new_policy) {
            delete(plan, policy, "delete-policy", "its kind can't be changed", &["delete-firewall"]);
        }
    }

    /// Firewalls that the bastion had in another resource group, where the new one shall stand.
    fn in_the_way(&self) -> Vec<&Resource> {
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
        let change = TagChange::between(&self.tags, &have.tags);
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
        let node = Node {
            what: "security-group",
            id: &want.names.security_group,
            resource: self.name(Kind::SecurityGroup),
            body: want.security_group_body(&self.tags, body),
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

    /// The one DNAT rule.
    pub fn rules(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let known = |address: Option<&str>| address.map_or(Value::Null, Value::from);
        let (to, machine) = (self.public_address(), self.private_address());
        let nat = rules::Nat {
            bastion: want.bastion(),
            name: &want.names.rules,
            port: want.plan.ssh.port,
            sources: &want.sources,
            to: known(to),
            machine: known(machine),
        };
        let fill = |at: [&str; 2]| -> Vec<Fill> {
            let from = |at: &str, from: &Id, property: &str| Fill {
                at: at.to_owned(),
                from: from.clone(),
                property: property.to_owned(),
            };
            let address = to.is_none().then(|| from(at[0], &self.front.address, "/properties/ipAddress"));
            let own = "/properties/ipConfigurations/0/properties/privateIPAddress";
            let machine = machine.is_none().then(|| from(at[1], &want.names.interface, own));
            address.into_iter().chain(machine).collect()
        };
        let why = |_: &str, value: &str| want.sources.get(&value.strip_prefix("from ")?.parse().ok()?).cloned();
        let after = ["group", "policy", "address", "interface"];
        match &self.front.nat {
            Nat::None => {}
            Nat::Group { policy, priority } => {
                let id = policy.child(Kind::RuleGroup, &want.names.rules);
                let body = nat.group(*priority);
                let there = if self.current.new_policy { There::Nothing } else { self.own(&id) };
                let have = match there {
                    There::Kept(have) => nat_lines(&have.raw),
                    _ => rules::Lines::new(),
                };
                let changed = line_details(&nat_lines(&body), &have, why);
                let node = Node {
                    what: "rules",
                    id: &id,
                    resource: format!("DNAT rules for {} in firewall policy {}", want.bastion(), policy.name()),
                    body,
                    fill: fill(GROUP_FILLS),
                    details: changed.clone(),
                    reason: "the firewall lets in exactly whom the plan lists",
                    after: &after,
                };
                plan.node(node, there, changed);
            }
            Nat::Classic { firewall, priority } => {
                let collection = nat.classic(*priority);
                let existing = self.world.seen.get(firewall);
                let all = existing.map_or(&[][..], |f| Firewall(f).nat_collections());
                let name = &want.names.rules;
                let have = all.iter().find(|c| super::observed::text(c, "/name").eq_ignore_ascii_case(name));
                let lines = have.map(nat_lines).unwrap_or_default();
                let mut details = line_details(&nat_lines(&collection), &lines, why);
                if let Some(have) = have {
                    let other = super::compare::differences(&collection, have);
                    let count = list(have, "/properties/rules").len();
                    if details.is_empty() && other.is_empty() && count == 1 {
                        return;
                    }
                    if details.is_empty() {
                        details = other;
                    }
                }
                let op = if have.is_some() { Op::Update } else { Op::Create };
                let resource = format!("DNAT rules for {} in firewall {}", want.bastion(), firewall.name());
                let reason = match op {
                    Op::Create => "the firewall lets in exactly whom the plan lists",
                    _ => "it is not what the plan says",
                };
                let draft = Draft { details, after: plan.planned(&after), ..Draft::new(op, resource, reason) };
                let call = Call::NatCollection {
                    firewall: firewall.clone(),
                    name: name.clone(),
                    collection: Some(collection),
                    fill: fill(CLASSIC_FILLS),
                };
                plan.push("rules", draft, call);
            }
        }
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

    pub fn machine(&self, plan: &mut Differ<'_>) {
        let want = self.want;
        let tags = want.machine_tags(self.deadline.as_ref());
        let id = &want.names.machine;
        let resource = self.name(Kind::Machine);
        if let Some(kept) = self.current.kept() {
            return self.kept_machine(plan, kept, &resource, &tags);
        }
        let Some(image) = &self.image else { return };
        let reasons = &self.current.reasons;
        let mut draft = match self.current.machine {
            None => Draft::new(Op::Create, resource, "the bastion itself"),
            Some(_) => {
                let mut names: Vec<&str> = reasons.iter().map(|d| d.name.as_str()).collect();
                names.dedup();
                let reason = format!("{} can't be changed on a machine that runs", names.join(", "));
                Draft {
                    impact: Impact::Replacement,
                    details: reasons.clone(),
                    ..Draft::new(Op::Replace, resource, reason)
                }
            }
        };
        let machine = [
            Detail::added("size", &want.azure.size),
            Detail::added("image", format!("{} {} {}, the newest", image.publisher, image.offer, image.sku)),
            Detail::added("disk", "standard SSD, deleted with the machine"),
            Detail::added("cloud-init", format!("{} bytes", want.user_data.text.len())),
        ];
        draft.details.extend(machine.into_iter().filter(|detail| !reasons.iter().any(|r| r.name == detail.name)));
        draft.details.extend(crate::provider::aws::keys::details(want.plan));
        draft.after = plan.planned(&["group", "interface", "delete-machine"]);
        let body = want.machine_body(&tags, image);
        plan.push("machine", draft, Call::Put { id: id.clone(), body, fill: Vec::new() });
    }

    /// What can be put right on a machine that stays.
    fn kept_machine(&self, plan: &mut Differ<'_>, kept: &Resource, resource: &str, tags: &super::tags::Tags) {
        let view = Machine(kept);
        if kept.state == State::Busy {
            plan.wait("machine", resource, &kept.id, Vec::new());
        }
        let ready = plan.planned(&["machine", "interface"]);
        if matches!(view.power(), "deallocated" | "deallocating" | "stopped" | "stopping") {
            let draft = Draft {
                details: vec![Detail::changed("state", view.power(), "running")],
                after: ready.clone(),
                ..Draft::new(Op::Update, resource, "somebody stopped it")
            };
            plan.push("machine-start", draft, Call::Start { id: kept.id.clone() });
        }
        let have = Base64::decode_vec(view.user_data()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(change) = keys::change(self.want.plan, have.as_deref().unwrap_or_default()) {
            let draft = Draft {
                details: change.details,
                after: ready.clone(),
                ..Draft::new(Op::Update, format!("keys of {resource}"), change.reason)
            };
            let body = json!({"properties": {"userData": Base64::encode_string(change.user_data.as_bytes())}});
            plan.push("machine-keys", draft, Call::Patch { id: kept.id.clone(), body });
        }
        let change = TagChange::between(tags, &kept.tags);
        // Azure changes a machine once at a time.
        let after = plan.planned(&["machine", "machine-start", "machine-keys"]);
        plan.tags("machine-tags", resource, &kept.id, &change, &kept.tags, after);
    }
}
