//! What stands in another subscription and a plan leads to: a hub's firewall or policy that the plan names by its id, the policy of a
//! firewall, where that firewall stands, the networks that the bastion's is peered with, and where it has had rules. "A firewall policy can span regions and subscriptions" ("Azure Firewall Manager policy
//! overview"). It is read by its id, one call each; nothing of it is ever a bastion's own but our rules and peerings in it.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use serde_json::Value;

use super::{
    arm::Arm,
    id::{Id, Kind},
    observe::version,
    observed::{Observed, Unread, id_at, is_id},
    peering,
    request::Request,
    retry::Repeat,
    rule_places,
    views::{Firewall, Peering, network_of},
};
use crate::{
    cloud_error::{CloudError, ErrorKind},
    plan::{Azure, Edge, Plan},
    provider::Progress,
};

/// Reads what the plans lead to in other subscriptions into `all`, until nothing new comes of it. What this account may not read is
/// told, and what is not there is left out.
pub async fn read(
    arm: &Arm,
    subscription: &str,
    plans: &[(&Plan, &Azure)],
    all: &mut Vec<Value>,
    progress: &Progress<'_>,
) -> Result<Unread, CloudError> {
    let leads = |seen: &Observed| -> Vec<Id> {
        let of = |(plan, azure): &(&Plan, &Azure)| {
            let bastion = plan.name.as_str();
            let rules = rule_places::named(seen, Some(bastion)).into_iter().map(|place| place.holder);
            linked(azure, seen).into_iter().chain(peers(bastion, azure, seen)).chain(rules).collect::<Vec<_>>()
        };
        plans.iter().flat_map(of).collect()
    };
    read_all(arm, subscription, leads, all, progress).await
}

/// Reads without a plan what bastions have in other subscriptions: the networks that their own are peered with, and the firewalls and
/// policies that hold rules of theirs.
pub async fn read_without_plans(
    arm: &Arm,
    subscription: &str,
    all: &mut Vec<Value>,
    progress: &Progress<'_>,
) -> Result<Unread, CloudError> {
    let leads = |seen: &Observed| -> Vec<Id> {
        let own = seen.of_kind(Kind::Peering).filter(|p| {
            peering::owner(p).is_some_and(|(_, network)| network == p.id.parent() && network.is_in(subscription))
        });
        let rules = rule_places::named(seen, None).into_iter().map(|place| place.holder);
        own.filter_map(|p| Peering(p).remote()).chain(rules).collect()
    };
    read_all(arm, subscription, leads, all, progress).await
}

async fn read_all(
    arm: &Arm,
    subscription: &str,
    leads: impl Fn(&Observed) -> Vec<Id>,
    all: &mut Vec<Value>,
    progress: &Progress<'_>,
) -> Result<Unread, CloudError> {
    let (mut asked, mut unread) = (BTreeSet::new(), Unread::new());
    loop {
        let mut seen = Observed::new(all.iter(), []);
        seen.mark_elsewhere(subscription);
        let wanted = leads(&seen).into_iter().filter(|id| !id.is_in(subscription));
        let wanted: Vec<Id> = wanted.filter(|id| asked.insert(id.clone())).collect();
        if wanted.is_empty() {
            return Ok(unread);
        }
        let answers = wanted.iter().map(async |id| {
            match arm.call(&Request::get(id.as_str(), version(id)), Repeat::SAFE, progress).await {
                Err(error) if matches!(error.kind, ErrorKind::Permission | ErrorKind::NotFound) => Ok(Err(error)),
                other => other.map(Ok),
            }
        });
        for (id, answer) in wanted.iter().zip(try_join_all(answers).await?) {
            match answer {
                Ok(answer) => all.push(answer.body),
                Err(error) if error.kind == ErrorKind::Permission => _ = unread.insert(id.clone(), error),
                Err(_) => {}
            }
        }
    }
}

/// The networks that a plan names, by id, and those that the bastion's own is peered with by now.
fn peers(bastion: &str, azure: &Azure, seen: &Observed) -> Vec<Id> {
    let named = peering::named(azure).iter().filter(|name| is_id(name)).map(|name| Id::new(name.as_str()));
    let ours = peering::of(seen, bastion, &azure.subscription).into_iter();
    named.chain(ours.filter_map(|p| Peering(p).remote())).collect()
}

/// What the edge of a plan leads to, as far as that has been read: the firewalls, their policies with what those inherit, and where the
/// firewalls stand.
fn linked(azure: &Azure, seen: &Observed) -> Vec<Id> {
    let (kind, name) = match &azure.edge {
        Edge::ExistingFirewall(name) => (Kind::Firewall, name),
        Edge::ExistingPolicy(name) => (Kind::Policy, name),
        Edge::Firewall(_) | Edge::PublicAddress => return Vec::new(),
    };
    let mut found: Vec<Id> = if is_id(name) { vec![Id::new(name.as_str())] } else { Vec::new() };
    found.extend(seen.named(kind, name).into_iter().map(|resource| resource.id.clone()));
    let mut at = 0;
    while let Some(id) = found.get(at).cloned() {
        at += 1;
        let Some(resource) = seen.get(&id) else { continue };
        let next = match resource.kind {
            Kind::Firewall => {
                let view = Firewall(resource);
                let network = view.subnet().map(|subnet| network_of(&subnet));
                view.policy().into_iter().chain(view.addresses()).chain(network).collect()
            }
            Kind::Policy => {
                let base = resource.id_at("/properties/basePolicy/id");
                let users = resource.list("/properties/firewalls").iter().filter_map(|one| id_at(one, "/id"));
                let users = users.filter(|_| kind == Kind::Policy && resource.id == found[0]);
                base.into_iter().chain(users).collect()
            }
            _ => Vec::new(),
        };
        for id in next {
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// Why nothing can be said of what a bastion has elsewhere: the firewall that its plan names, or its policy, or a network that its own is
/// peered with, may not be read.
pub fn unreadable<'a>(plan: &Plan, azure: &Azure, seen: &'a Observed) -> Option<&'a CloudError> {
    let holds_rules = |id: &Id| matches!(id.kind(), Some(Kind::Firewall | Kind::Policy));
    let bastion = plan.name.as_str();
    let rules = rule_places::named(seen, Some(bastion)).into_iter().map(|place| place.holder);
    let all = linked(azure, seen).into_iter().filter(holds_rules).chain(peers(bastion, azure, seen)).chain(rules);
    all.into_iter().find_map(|id| seen.unread.get(&id))
}
