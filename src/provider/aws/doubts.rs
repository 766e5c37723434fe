//! What may be a bastion's machine and is not proven to be: `status`, `reap` and the plan ask the same. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    observed::{Attachment, Group, Instance, InstanceState, Observed},
    ownership, region,
    tags::{self, Tags},
    teardown,
};

/// How something that is not proven to be a bastion's own uses what the bastion has.
#[derive(Clone, Debug, PartialEq)]
pub enum Use<'a> {
    InGroup { instance: &'a Instance, group: &'a str },
    InstanceHasAddress { id: &'a str, ip: String },
    InterfaceHasAddress { id: &'a str, ip: String },
}

impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::InGroup { instance, group } => {
                write!(f, "instance {} is in its security group {group}", ownership::instance_words(instance))
            }
            Use::InstanceHasAddress { id, ip } => write!(f, "instance {id} has its address {ip}"),
            Use::InterfaceHasAddress { id, ip } => write!(f, "the network interface {id} has its address {ip}"),
        }
    }
}

/// The groups that are called as a bastion's are: no tag changes that.
pub fn groups_called(bastion: &str, seen: &Observed) -> BTreeSet<String> {
    let called = ownership::group_name(bastion);
    seen.groups.iter().filter(|group| group.name == called).map(|group| group.id.clone()).collect()
}

/// What uses a bastion's groups or its address and is not proven to be its own, whatever its tags say: it may be its machine all the same,
/// and then the bastion has not lost it. `users` are the machines in the groups.
pub fn in_use<'a>(name: &str, seen: &'a Observed, groups: &BTreeSet<String>, users: &'a [Instance]) -> Vec<Use<'a>> {
    let own: Vec<&str> = teardown::instances(name, seen).map(|i| i.id.as_str()).collect();
    let is_other = |i: &&Instance| i.state != InstanceState::Terminated && !own.contains(&i.id.as_str());
    // By its id: one may be in the group, have the tag and hold the address.
    let mut all: BTreeMap<&str, Use<'_>> = BTreeMap::new();
    let has_ended = |id: &String| seen.instances.iter().any(|i| i.id == *id && !i.state.is_there());
    for address in seen.addresses.iter().filter(|a| tags::owns(&a.tags, name)) {
        let ip = address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string());
        match &address.attached {
            Some(Attachment::Instance(id)) if !has_ended(id) && !own.contains(&id.as_str()) => {
                all.insert(id, Use::InstanceHasAddress { id, ip });
            }
            Some(Attachment::Interface(id)) => _ = all.insert(id, Use::InterfaceHasAddress { id, ip }),
            _ => {}
        }
    }
    for instance in users.iter().filter(is_other) {
        if let Some(group) = ownership::groups_of_interfaces(instance).find(|id| groups.contains(*id)) {
            all.insert(&instance.id, Use::InGroup { instance, group });
        }
    }
    all.into_values().collect()
}

/// Machines that stand in a group of the bastion's name, while the bastion has none of its own: each may be its machine that lost a tag.
pub fn lost_machines<'a>(name: &str, seen: &'a Observed) -> Vec<(&'a Instance, Option<&'a Group>)> {
    if seen.instances_of(name).next().is_some() {
        return Vec::new();
    }
    // One that came into being between two looks is its own by all of its marks.
    let is_own = |i: &Instance| tags::owns(&i.tags, name) && ownership::instance(i, seen, name).is_ok();
    let uses = in_use(name, seen, &groups_called(name, seen), &seen.users);
    let machines = uses.into_iter().filter_map(|one| match one {
        Use::InGroup { instance, group } => Some((instance, seen.group(group))),
        Use::InstanceHasAddress { .. } | Use::InterfaceHasAddress { .. } => None,
    });
    machines.filter(|(instance, _)| instance.state.is_there() && !is_own(instance)).collect()
}

/// The commands that make a machine the bastion's own again, as typed; empty where tags do not. `boot` is what its tag of that name shall
/// say where it has none: the machine's document is compared with it.
pub fn give_back(region: &str, bastion: &str, boot: &str, instance: &Instance, group: Option<&Group>) -> Vec<String> {
    if ownership::other_service(&instance.tags).is_err() {
        return Vec::new();
    }
    let cli = region::cli(region);
    let owner = |of: &Tags| (!tags::owns(of, bastion)).then(|| format!("Key={},Value={bastion}", tags::BASTION));
    let boot = ownership::made_by_us(instance).is_err().then(|| format!("'Key={},Value={boot}'", tags::BOOT));
    let of_instance: Vec<String> = owner(&instance.tags).into_iter().chain(boot).collect();
    let of_group: Vec<String> = group.and_then(|group| owner(&group.tags)).into_iter().collect();
    let group = group.map_or("", |group| &group.id);
    let each = [(instance.id.as_str(), of_instance), (group, of_group)];
    let needed = each.into_iter().filter(|(_, tags)| !tags.is_empty());
    needed.map(|(id, tags)| format!("`{cli} ec2 create-tags --resources {id} --tags {}`", tags.join(" "))).collect()
}
