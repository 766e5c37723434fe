//! The firewall that a plan means, with its rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::firewall::{Rule, Rules};
use crate::{
    plan::{Azure, Edge, Plan},
    provider::{
        azure::{
            id::{Kind, Names},
            observed::{Observed, Resource},
            views::{Address, Firewall, Network, network_of},
        },
        judging::Known,
    },
};

pub struct Front<'a> {
    pub firewall: &'a Resource,
    /// Its subnet: what it lets in arrives from there ("Azure Firewall NAT Behaviors", DNAT rules).
    pub range: Known<IpNet>,
    pub addresses: Vec<&'a Resource>,
    pub rules: Rules<'a>,
}

/// There is no such firewall.
pub struct Absent {
    pub cause: String,
    pub fix: String,
}

impl<'a> Front<'a> {
    pub fn ours(&self) -> impl Iterator<Item = &Rule<'a>> {
        self.rules.nat.iter().filter(|rule| rule.ours)
    }

    /// The public address that our rule is for.
    pub fn address(&self) -> Option<IpAddr> {
        self.ours().flat_map(Rule::destinations).find_map(|ip| ip.parse().ok())
    }

    pub fn public(&self, ip: IpAddr) -> Option<&'a Resource> {
        self.addresses.iter().copied().find(|a| Address(a).ip().is_some_and(|own| own.parse() == Ok(ip)))
    }
}

pub fn find<'a>(plan: &Plan, azure: &Azure, seen: &'a Observed, names: &Names) -> Result<Option<Front<'a>>, Absent> {
    let one = |found: Vec<&'a Resource>, what: String| match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Absent {
            cause: format!("the subscription has no {what}"),
            fix: "check `azure.edge` in the plan, and that this account may read it".to_owned(),
        }),
        several => several.iter().copied().find(|r| r.id.group_id() == names.group).ok_or_else(|| Absent {
            cause: format!("{} resources are the {what}", several.len()),
            fix: "name one that the plan can't mistake in `azure.edge`".to_owned(),
        }),
    };
    let firewall = match &azure.edge {
        Edge::PublicAddress => return Ok(None),
        Edge::Firewall(_) => seen.get(&names.firewall).ok_or_else(|| Absent {
            cause: format!("there is no firewall {}", names.firewall.name()),
            fix: format!("run `gangplank apply {}`: it makes one", plan.origin.argument()),
        })?,
        Edge::ExistingFirewall(name) => one(seen.named(Kind::Firewall, name), format!("firewall {name}"))?,
        Edge::ExistingPolicy(name) => {
            let policy = one(seen.named(Kind::Policy, name), format!("firewall policy {name}"))?;
            let uses = |f: &&Resource| Firewall(f).policy().is_some_and(|id| id == policy.id);
            one(seen.of_kind(Kind::Firewall).filter(uses).collect(), format!("firewall with the policy {name}"))?
        }
    };
    let subnet = Firewall(firewall).subnet();
    let range = subnet.and_then(|id| Network(seen.get(&network_of(&id))?).subnet(id.name())?.range);
    Ok(Some(Front {
        firewall,
        range: range.ok_or_else(|| format!("the range of {}'s subnet is not read", firewall.name())),
        addresses: Firewall(firewall).addresses().iter().filter_map(|id| seen.get(id)).collect(),
        rules: Rules::read(seen, firewall, plan.name.as_str(), &names.rules),
    }))
}
