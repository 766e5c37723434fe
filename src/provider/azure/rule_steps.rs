//! The step of the DNAT rule: in a policy's rule collection group, or in a firewall's classic collection.

use serde_json::Value;

use super::{
    action::{Call, Fill},
    diff::Run,
    edge::Nat,
    id::{Id, Kind},
    observed::{Resource, State, list, text},
    rules::{self, CLASSIC_FILLS, GROUP_FILLS, line_details, nat_lines},
    steps::{Differ, Node, There},
    views::Firewall,
};
use crate::changeset::{Draft, Op};

impl Run<'_> {
    /// What lets vendors in and is somebody else's, where Azure is still at work on it and no step of ours would wait for that: the
    /// rule that is there may not be in force yet.
    pub fn shared(&self, plan: &mut Differ<'_>) {
        if !plan.planned(&["rules"]).is_empty() {
            return;
        }
        let policy = match &self.front.nat {
            Nat::Group { policy, .. } => self.world.seen.get(policy),
            Nat::None | Nat::Classic { .. } => None,
        };
        let theirs = |r: &&Resource| r.state == State::Busy && !r.is_owned(self.want.bastion());
        for resource in self.front.shared.into_iter().chain(policy).filter(theirs) {
            plan.wait(&await_shared(resource), &resource.words(), &resource.id, Vec::new());
        }
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
        // The network security group names a policy or a firewall of another subscription before the rule is in it.
        let after = ["group", "policy", "address", "security-group", "interface"];
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
                let have = all.iter().find(|c| text(c, "/name").eq_ignore_ascii_case(name));
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
}

/// The step's name.
pub(super) fn await_shared(resource: &Resource) -> String {
    format!("await-{}-{}", resource.kind.words().replace(' ', "-"), resource.name()).to_lowercase()
}
