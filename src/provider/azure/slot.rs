//! Where our DNAT rule goes among those of others: a priority that nobody has, and a port that nobody uses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    action::{Action, Call},
    desire::Desired,
    edge::{Nat, Problems},
    id::{Id, Kind},
    observed::{Observed, Resource, text},
    rules, shared,
    tags::{is_marked, mark},
    views::{Firewall, range},
};
use crate::{changeset::Changeset, diagnostic::Diagnostic};

pub(super) fn in_policy(want: &Desired<'_>, seen: &Observed, policy: Id, problems: &mut Problems) -> Option<Nat> {
    let own = seen.get(&policy.child(Kind::RuleGroup, &want.names.rules));
    if let Some(own) = own
        && !rules::nat_rules(&own.raw).any(|r| is_marked(text(r, "/description"), want.bastion()))
    {
        problems.push(not_ours(want, "rule collection group", &own.id, policy.name()));
        return None;
    }
    let kept = own.and_then(|own| own.raw.pointer("/properties/priority")?.as_u64());
    priority(want, &group_priorities(seen, &policy, &want.names.rules), kept, policy.name(), problems)
        .map(|priority| Nat::Group { policy, priority })
}

pub(super) fn in_classic(want: &Desired<'_>, firewall: &Resource, problems: &mut Problems) -> Option<Nat> {
    let name = &want.names.rules;
    if shared::whose(&firewall.raw, name, want.bastion()) == shared::Whose::Foreign {
        problems.push(not_ours(
            want,
            "NAT rule collection",
            &firewall.id.child(Kind::RuleGroup, name),
            firewall.name(),
        ));
        return None;
    }
    let priority_of = |c: &Value| c.pointer("/properties/priority").and_then(Value::as_u64);
    let (mine, others): (Vec<_>, Vec<_>) =
        Firewall(firewall).nat_collections().iter().partition(|c| text(c, "/name").eq_ignore_ascii_case(name));
    let taken: Vec<u64> = others.into_iter().filter_map(priority_of).collect();
    let kept = mine.into_iter().find_map(priority_of);
    priority(want, &taken, kept, firewall.name(), problems)
        .map(|priority| Nat::Classic { firewall: firewall.id.clone(), priority })
}

fn not_ours(want: &Desired<'_>, what: &str, id: &Id, of: &str) -> Diagnostic {
    want.plan
        .origin
        .problem("name", format!("a {what} of this name is not gangplank's"), format!("{of} has {}", id.name()))
        .because(format!("no rule in it is described as {}, so it is left alone", mark(want.bastion())))
        .fix("give the plan another name, or remove it there")
}

fn priority(want: &Desired<'_>, taken: &[u64], kept: Option<u64>, of: &str, problems: &mut Problems) -> Option<u32> {
    let free = free_priority(taken, kept);
    if free.is_none() {
        let problem = want.plan.origin.problem("azure.edge", "no priority is free", format!("{of} uses them all"));
        problems.push(problem.fix("remove collections there that nobody needs"));
    }
    free
}

/// Ours where we have one that nobody shares; otherwise the first free one from 1000 on, then below. DNAT rules come before all
/// others whatever their priority ("Azure Firewall rule processing logic").
pub(super) fn free_priority(taken: &[u64], kept: Option<u64>) -> Option<u32> {
    let taken: BTreeSet<&u64> = taken.iter().collect();
    let free = |n: &u64| !taken.contains(n);
    let first = kept.filter(|n| (100..=65000).contains(n)).filter(free);
    let found = first.or_else(|| (1000..=65000).chain((100..1000).rev()).find(free))?;
    u32::try_from(found).ok()
}

pub(super) fn group_priorities(seen: &Observed, policy: &Id, own: &str) -> Vec<u64> {
    let groups =
        seen.of_kind(Kind::RuleGroup).filter(|g| g.id.parent() == *policy && !g.name().eq_ignore_ascii_case(own));
    groups.filter_map(|g| g.raw.pointer("/properties/priority")?.as_u64()).collect()
}

/// What a bastion of this run is going to add to firewalls and policies that it shares with those after it: its priority and its
/// port are taken.
pub(super) fn anticipate(seen: &mut Observed, set: &Changeset<Action>) {
    for step in &set.steps {
        match &step.action.call {
            Call::Put { id, body, .. } if id.kind() == Some(Kind::RuleGroup) => {
                let mut raw = body.clone();
                raw["id"] = json!(id.as_str());
                if let Some(group) = Resource::read(&raw) {
                    seen.resources.retain(|r| r.id != group.id);
                    seen.resources.push(group);
                }
            }
            Call::NatCollection { firewall, collection: Some(collection), .. } => {
                if let Some(firewall) = seen.resources.iter_mut().find(|r| r.id == *firewall) {
                    firewall.raw = shared::with_our_collection(&firewall.raw, collection);
                }
            }
            _ => {}
        }
    }
    seen.resources.sort_by(|a, b| a.id.cmp(&b.id));
}

/// DNAT rules of others in a firewall, with what they are called.
pub(super) fn foreign_rules<'a>(
    want: &Desired<'_>,
    seen: &'a Observed,
    firewall: &'a Resource,
) -> Vec<(String, &'a Value)> {
    let view = Firewall(firewall);
    let own = |name: &str| name.eq_ignore_ascii_case(&want.names.rules);
    let groups = seen
        .of_kind(Kind::RuleGroup)
        .filter(|g| Some(g.id.parent()) == view.policy() && !own(g.name()))
        .flat_map(|g| rules::nat_rules(&g.raw));
    let classic = view.nat_collections().iter().filter(|c| !own(text(c, "/name"))).flat_map(rules::nat_rules);
    groups.chain(classic).map(|r| (format!("the rule {}", text(r, "/name")), r)).collect()
}

/// Whether a rule takes packets that ours is for. Ranges of ports are those of single ones here: Azure's DNAT takes no others.
pub(super) fn collides(rule: &Value, ip: &str, want: &Desired<'_>) -> bool {
    let port = want.plan.ssh.port.to_string();
    let covers = |range: &str| match range.split_once('-') {
        Some((from, to)) => {
            let number = |text: &str| text.trim().parse::<u16>().ok();
            number(from).zip(number(to)).is_some_and(|(from, to)| (from..=to).contains(&want.plan.ssh.port))
        }
        None => range == port || range == "*",
    };
    let same_address = rules::several(rule, "/destinationAddress").iter().any(|a| a == ip || a == "*");
    let same_port = rules::several(rule, "/destinationPort").iter().any(|p| covers(p));
    let overlaps = |source: &String| match range(source) {
        Some(net) => want.sources.keys().any(|own| own.contains(&net) || net.contains(own)),
        // A service tag, or everybody.
        None => true,
    };
    let groups = !rules::several(rule, "/sourceIpGroup").is_empty();
    same_address && same_port && (groups || rules::several(rule, "/sourceAddress").iter().any(overlaps))
}
