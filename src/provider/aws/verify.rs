//! The control plane's vantage: what EC2 says, judged against the plan. Pure.
//!
//! `edge` asks who may come in and go out, `machine` about the instance and its address, `path` and `target` whether packets
//! find their way, `database` about the databases' groups. What instances do on shutdown is not asked: EC2 tells it by one
//! call for each, and a machine that stops at its deadline is closed as well.

mod acl;
mod database;
mod edge;
mod machine;
mod path;
mod target;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    evidence::Evidence,
    network::{Acl, Interface, RouteTable, Subnet},
    observed::{Group, Instance, MachineOrigin},
    prefix_list::{self, PrefixLists},
};
use crate::{
    plan::{Aws, Plan, PrefixListRef, Tunnel},
    provider::{
        judging::{Known, all, check, fail, judged, listed},
        space,
    },
    verify::Check,
};

/// Every check of this vantage, the machine's path first and then each target's.
///
/// `resolved` is what targets' names mean to the machine, as far as it has said; a name that is not among them stands for
/// the interfaces that carry the plan's database group.
pub fn judge(plan: &Plan, aws: &Aws, evidence: &Evidence, resolved: &BTreeMap<String, Vec<IpAddr>>) -> Vec<Check> {
    let scene = Scene::new(plan, aws, evidence);
    let mut checks = vec![machine::instance(&scene), machine::address(&scene)];
    checks.extend(edge::admits(&scene));
    checks.push(edge::nothing_else(&scene));
    checks.push(edge::egress(&scene));
    checks.push(path::route(&scene));
    checks.push(path::acl(&scene));
    checks.extend([
        machine::ownership(&scene),
        machine::document(&scene),
        machine::image(&scene),
        machine::metadata(&scene),
        machine::encryption(&scene),
        machine::profile(&scene),
        machine::deadline(&scene),
    ]);
    checks.extend(target::checks(&scene, resolved));
    checks.extend(database::checks(&scene));
    checks
}

/// What every check looks at.
struct Scene<'a> {
    plan: &'a Plan,
    aws: &'a Aws,
    evidence: &'a Evidence,
    instance: Option<&'a Instance>,
}

impl<'a> Scene<'a> {
    fn new(plan: &'a Plan, aws: &'a Aws, evidence: &'a Evidence) -> Self {
        Self { plan, aws, evidence, instance: evidence.instance() }
    }

    fn name(&self) -> &'a str {
        self.plan.name.as_str()
    }

    /// `run `gangplank apply warehouse.yaml`: it adds the rule`
    fn apply(&self, and_then: &str) -> String {
        format!("run `gangplank apply {}`: it {and_then}", self.plan.origin.argument())
    }

    /// The machine, or why nothing can be said without it.
    fn machine(&self) -> Known<&'a Instance> {
        self.instance.ok_or_else(|| format!("{} has no instance: see control.instance", self.name()))
    }

    fn origin(&self, instance: &Instance) -> Known<&'a MachineOrigin> {
        let origin = self.evidence.seen.origins.get(&instance.id);
        origin.ok_or_else(|| format!("EC2 was not asked what {} was made from", instance.id))
    }

    /// The groups that decide about the machine's packets, those of all its interfaces.
    fn groups(&self) -> Known<Vec<&'a Group>> {
        let instance = self.machine()?;
        let attached = instance.interfaces.iter().flat_map(|i| &i.groups).chain(&instance.groups);
        let mut ids: Vec<&String> = attached.collect();
        ids.sort();
        ids.dedup();
        let group = |id: &String| {
            let found = self.evidence.seen.group(id);
            found.ok_or_else(|| format!("EC2 did not describe {id}, which is attached to {}", instance.id))
        };
        if ids.is_empty() {
            Err(format!("EC2 names no group of {}", instance.id))
        } else {
            ids.into_iter().map(group).collect()
        }
    }

    fn lists(&self) -> &'a PrefixLists {
        &self.evidence.seen.prefix_lists
    }

    /// The ranges that these sources are, those in prefix lists among them.
    fn sources<'s>(
        &self,
        nets: impl IntoIterator<Item = IpNet>,
        lists: impl IntoIterator<Item = &'s PrefixListRef>,
    ) -> Known<Vec<IpNet>> {
        let listed = prefix_list::entries(self.lists(), lists)?;
        Ok(nets.into_iter().chain(listed).collect())
    }

    /// Of a tunnel.
    fn sources_of(&self, tunnel: &Tunnel) -> Known<Vec<IpNet>> {
        self.sources(tunnel.sources().map(|(net, _)| net), self.plan.prefix_lists_of(&tunnel.user))
    }

    fn subnet(&self) -> Known<&'a Subnet> {
        let instance = self.machine()?;
        let subnets = self.evidence.network.subnets.as_ref().map_err(String::clone)?;
        let found = subnets.iter().find(|s| s.id == instance.subnet);
        found.ok_or_else(|| format!("EC2 did not describe {}, the bastion's subnet", instance.subnet))
    }

    /// The subnet of the bastion's network that an address is in, if any.
    fn subnet_of(&self, address: IpAddr) -> Known<Option<&'a Subnet>> {
        let vpc = &self.machine()?.vpc;
        let subnets = self.evidence.network.subnets.as_ref().map_err(String::clone)?;
        Ok(subnets.iter().find(|s| s.vpc == *vpc && s.nets.iter().any(|net| net.contains(&address))))
    }

    fn route_table(&self) -> Known<&'a RouteTable> {
        let subnet = self.subnet()?;
        let tables = self.evidence.network.route_tables.as_ref().map_err(String::clone)?;
        RouteTable::of(tables, subnet).ok_or_else(|| format!("EC2 described no route table of {}", subnet.id))
    }

    fn acl(&self, subnet: &Subnet) -> Known<&'a Acl> {
        let acls = self.evidence.network.acls.as_ref().map_err(String::clone)?;
        let found = acls.iter().find(|acl| acl.subnets.contains(&subnet.id));
        found.ok_or_else(|| format!("EC2 described no network ACL of {}", subnet.id))
    }

    fn database_interfaces(&self) -> Known<&'a [Interface]> {
        self.evidence.network.database_interfaces.as_deref().map_err(String::clone)
    }

    /// Whether connections over IPv6 can reach the machine at all. Its fixed address is an IPv4 one.
    fn has_ipv6(&self) -> bool {
        self.instance.is_some_and(|i| i.interfaces.iter().flat_map(|i| &i.addresses).any(IpAddr::is_ipv6))
    }
}
