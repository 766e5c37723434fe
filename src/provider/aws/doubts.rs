//! What may be a bastion's machine and is not proven to be: `status`, `reap` and the plan ask the same. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    network::Interface,
    observed::{Attachment, ElasticIp, Group, Instance, InstanceState, Observed},
    ownership, region,
    tags::{self, Tags},
    teardown,
};
#[cfg(feature = "aws")]
use crate::provider::status::Doubt;

/// How something that is not proven to be a bastion's own uses what the bastion has.
#[derive(Clone, Debug, PartialEq)]
pub enum Use<'a> {
    InGroup {
        instance: &'a Instance,
        group: &'a str,
    },
    /// It is outside of the bastion's group, and has its name and a document's digest of gangplank's.
    Apart(&'a Instance),
    InstanceHasAddress {
        id: &'a str,
        address: &'a ElasticIp,
    },
    InterfaceHasAddress {
        id: &'a str,
        address: &'a ElasticIp,
    },
}

impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::InGroup { instance, group } => {
                write!(f, "instance {} is in its security group {group}", ownership::instance_words(instance))
            }
            Use::Apart(instance) => write!(
                f,
                "instance {} has its name and a tag {} of gangplank's, and is in none of its security groups",
                ownership::instance_words(instance),
                tags::BOOT
            ),
            Use::InstanceHasAddress { id, address } => {
                write!(f, "instance {id} has its address {}", ip_words(address))
            }
            Use::InterfaceHasAddress { id, address } => {
                write!(f, "the network interface {id} has its address {}", ip_words(address))
            }
        }
    }
}

fn ip_words(address: &ElasticIp) -> String {
    address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string())
}

impl Use<'_> {
    /// A tag alone makes nothing the bastion's: else anyone who may set tags could keep a bastion from going.
    #[cfg(feature = "aws")]
    pub fn is_more_than_tagged(&self, name: &str, groups: &BTreeSet<String>, seen: &Observed) -> bool {
        match self {
            Use::InGroup { .. } => true,
            Use::Apart(_) => false,
            Use::InstanceHasAddress { address, .. } | Use::InterfaceHasAddress { address, .. } => {
                groups.iter().filter_map(|id| seen.group(id)).any(|group| ownership::is_marked(group, address, name))
            }
        }
    }

    /// What a reader can do about it; `boot` is what a machine's tag of that name shall say where it has none.
    pub fn remedy(&self, name: &str, boot: Option<&str>, region: &str, seen: &Observed) -> String {
        let cli = region::cli(region);
        let end = |id: &str| format!("end it: `{cli} ec2 terminate-instances --instance-ids {id}`");
        let groups = groups_called(name, seen);
        match self {
            Use::InGroup { instance, group } => {
                let end = end(&instance.id);
                match give_back(region, name, boot, instance, seen.group(group)).as_slice() {
                    [] => format!("see whose it is; then take it out of the group, or {end}"),
                    commands => format!(
                        "if it is this bastion's machine and lost its tags, give them back: {}; otherwise take it out of the group, or {end}",
                        commands.join(" and ")
                    ),
                }
            }
            Use::Apart(instance) => {
                let end = end(&instance.id);
                let group = groups.iter().next().and_then(|id| seen.group(id));
                let mut commands = give_back(region, name, boot, instance, group);
                commands.extend(group.map(|group| back_into(&cli, instance, &group.id)));
                match group {
                    None => format!(
                        "if it is this bastion's machine, {end}, and apply makes another; otherwise give it another name"
                    ),
                    Some(_) => format!(
                        "if it is this bastion's machine, give back what it lost: {}; otherwise give it another name, or {end}",
                        commands.join(" and ")
                    ),
                }
            }
            Use::InstanceHasAddress { id, address } => format!(
                "if it is this bastion's machine, {}; otherwise {}",
                end(id),
                free(&cli, name, address, &groups, seen)
            ),
            Use::InterfaceHasAddress { address, .. } => free(&cli, name, address, &groups, seen),
        }
    }
}

/// The command that puts a machine back into its group.
pub fn back_into(cli: &str, instance: &Instance, group: &str) -> String {
    format!("`{cli} ec2 modify-instance-attribute --instance-id {} --groups {group}`", instance.id)
}

/// How an address that leads elsewhere comes to be free for the bastion, or to be its no more.
fn free(cli: &str, name: &str, address: &ElasticIp, groups: &BTreeSet<String>, seen: &Observed) -> String {
    let marked = groups.iter().filter_map(|id| seen.group(id)).find(|g| ownership::is_marked(g, address, name));
    let there = "disassociate the address there";
    match (marked, address.ip) {
        (None, _) => format!(
            "if the address is not the bastion's, take the tag away: `{cli} ec2 delete-tags --resources {} --tags Key={}`; otherwise {there}",
            address.allocation,
            tags::BASTION
        ),
        (Some(group), Some(ip)) if !tags::owns(&address.tags, name) => format!(
            "{there}, or, if it is not the bastion's any more, take away the rule that names it: `{cli} ec2 \
             revoke-security-group-egress --group-id {} --ip-permissions 'IpProtocol=tcp,FromPort=443,ToPort=443,IpRanges=[{{CidrIp={ip}/32}}]'`",
            group.id
        ),
        _ => there.to_owned(),
    }
}

/// The doubts about a bastion, with what to do about each; `boot` is what a machine's tag of that name shall say where it has none.
#[cfg(feature = "aws")]
pub fn doubts(name: &str, boot: Option<&str>, region: &str, seen: &Observed) -> Vec<Doubt> {
    let doubt = |one: Use<'_>| Doubt { what: one.to_string(), remedy: one.remedy(name, boot, region, seen) };
    in_use(name, seen, &groups_called(name, seen), &seen.users).into_iter().map(doubt).collect()
}

/// Those of the doubts that more than tags speak for: a bastion is not destroyed for them.
#[cfg(feature = "aws")]
pub fn in_the_way(name: &str, boot: Option<&str>, region: &str, seen: &Observed) -> Vec<Doubt> {
    let groups = groups_called(name, seen);
    let uses = in_use(name, seen, &groups, &seen.users);
    let doubt = |one: Use<'_>| Doubt { what: one.to_string(), remedy: one.remedy(name, boot, region, seen) };
    uses.into_iter().filter(|one| one.is_more_than_tagged(name, &groups, seen)).map(doubt).collect()
}

/// Machines outside of the bastion's group that have its name and the tag of a document, while it has none of its own: tags prove nothing, so
/// each is told, and keeps no other from being made.
pub fn apart_notes(name: &str, region: &str, seen: &Observed) -> Vec<String> {
    if seen.instances_of(name).next().is_some() {
        return Vec::new();
    }
    let uses = in_use(name, seen, &groups_called(name, seen), &seen.users);
    let apart = uses.into_iter().filter(|one| matches!(one, Use::Apart(_)));
    apart
        .map(|one| format!("⚠ {one}, and another machine is made beside it; {}", one.remedy(name, None, region, seen)))
        .collect()
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
    // One that came into being between two looks is its own by all of its marks.
    let is_own = |i: &Instance| {
        own.contains(&i.id.as_str()) || (tags::owns(&i.tags, name) && ownership::instance(i, seen, name).is_ok())
    };
    let is_other = |i: &&Instance| i.state != InstanceState::Terminated && !is_own(i);
    // By its id: one may be in the group, have the tag and hold the address.
    let mut all: BTreeMap<&str, Use<'_>> = BTreeMap::new();
    let has_ended = |id: &String| seen.instances.iter().any(|i| i.id == *id && !i.state.is_there());
    let called: Vec<&Group> = groups.iter().filter_map(|id| seen.group(id)).collect();
    let is_its =
        |a: &&ElasticIp| tags::owns(&a.tags, name) || called.iter().any(|group| ownership::is_marked(group, a, name));
    for address in seen.addresses.iter().filter(is_its) {
        match &address.attached {
            Some(Attachment::Instance(id)) if !has_ended(id) && !own.contains(&id.as_str()) => {
                all.insert(id, Use::InstanceHasAddress { id, address });
            }
            Some(Attachment::Interface(id)) => _ = all.insert(id, Use::InterfaceHasAddress { id, address }),
            _ => {}
        }
    }
    let is_called = |i: &&Instance| i.tags.get(tags::NAME).is_some_and(|called| *called == ownership::group_name(name));
    let is_apart = |i: &&Instance| i.state.is_there() && is_called(i) && ownership::made_by_us(i).is_ok();
    for instance in seen.instances.iter().filter(is_apart).filter(is_other) {
        all.entry(&instance.id).or_insert(Use::Apart(instance));
    }
    for instance in users.iter().filter(is_other) {
        if let Some(group) = ownership::groups_of_interfaces(instance).find(|id| groups.contains(*id)) {
            all.insert(&instance.id, Use::InGroup { instance, group });
        }
    }
    all.into_values().collect()
}

/// What may be the bastion's machine while the bastion has none of its own: beside it no other is made. What has an address that carries
/// the bastion's tag is told with that address.
pub fn lost<'a>(name: &str, seen: &'a Observed) -> Vec<Use<'a>> {
    if seen.instances_of(name).next().is_some() {
        return Vec::new();
    }
    let uses = in_use(name, seen, &groups_called(name, seen), &seen.users);
    let is_lost = |one: &Use<'_>| match one {
        Use::InGroup { instance, .. } => instance.state.is_there(),
        Use::Apart(_) => false,
        Use::InstanceHasAddress { address, .. } | Use::InterfaceHasAddress { address, .. } => {
            !tags::owns(&address.tags, name)
        }
    };
    uses.into_iter().filter(is_lost).collect()
}

/// A network interface in a bastion's own group that is not the bastion's: it reaches what the bastion reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guest<'a> {
    pub interface: &'a Interface,
    pub group: &'a str,
}

impl fmt::Display for Guest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interface { id, instance, description, .. } = self.interface;
        match instance {
            Some(instance) => write!(f, "instance {instance} (network interface {id})")?,
            None if description.is_empty() => write!(f, "network interface {id}")?,
            None => write!(f, "network interface {id} ({description})")?,
        }
        write!(f, " is in the bastion's security group {} and is not the bastion's", self.group)
    }
}

impl Guest<'_> {
    pub fn remedy(&self, region: &str) -> String {
        format!(
            "see whose it is, and take it out of the group: `{} ec2 modify-network-interface-attribute --network-interface-id {} --groups \
             GROUP`, with others than {}",
            region::cli(region),
            self.interface.id,
            self.group
        )
    }

    pub fn note(&self, region: &str) -> String {
        format!("⚠ {self}: it reaches what the bastion reaches, its databases too; {}", self.remedy(region))
    }
}

/// Of those that were read. Where the bastion has no machine of its own, one that another machine has is a doubt instead ([`in_use`]).
pub fn guests<'a>(name: &str, seen: &'a Observed) -> Vec<Guest<'a>> {
    let has_machine = seen.instances_of(name).next().is_some();
    let all = others_in_group(name, seen);
    all.into_iter().filter(|guest| has_machine || guest.interface.instance.is_none()).collect()
}

/// All that is in the bastion's group and is not proven to be the bastion's: EC2 deletes no group that something is in.
pub fn others_in_group<'a>(name: &str, seen: &'a Observed) -> Vec<Guest<'a>> {
    let is_foreign = |interface: &Interface| match &interface.instance {
        None => true,
        Some(id) => {
            let has_ended = seen.instances.iter().any(|i| i.id == *id && !i.state.is_there());
            !has_ended && !teardown::instances(name, seen).any(|i| i.id == *id)
        }
    };
    let members = seen.members.iter().flatten().flatten();
    let of = members.filter(|interface| is_foreign(interface)).filter_map(|interface| {
        let group = seen.groups_of(name).find(|g| interface.groups.contains(&g.id))?;
        Some(Guest { interface, group: &group.id })
    });
    of.collect()
}

/// The commands that make a machine the bastion's own again, as typed; empty where tags do not. `boot` is what its tag of that name shall
/// say where it has none, where that is known: the machine's document is compared with it.
pub fn give_back(
    region: &str,
    bastion: &str,
    boot: Option<&str>,
    instance: &Instance,
    group: Option<&Group>,
) -> Vec<String> {
    let needs_boot = ownership::made_by_us(instance).is_err();
    if ownership::other_service(&instance.tags).is_err() || (needs_boot && boot.is_none()) {
        return Vec::new();
    }
    let cli = region::cli(region);
    let owner = |of: &Tags| (!tags::owns(of, bastion)).then(|| format!("Key={},Value={bastion}", tags::BASTION));
    let boot = boot.filter(|_| needs_boot).map(|boot| format!("'Key={},Value={boot}'", tags::BOOT));
    let of_instance: Vec<String> = owner(&instance.tags).into_iter().chain(boot).collect();
    let of_group: Vec<String> = group.and_then(|group| owner(&group.tags)).into_iter().collect();
    let group = group.map_or("", |group| &group.id);
    let each = [(instance.id.as_str(), of_instance), (group, of_group)];
    let needed = each.into_iter().filter(|(_, tags)| !tags.is_empty());
    needed.map(|(id, tags)| format!("`{cli} ec2 create-tags --resources {id} --tags {}`", tags.join(" "))).collect()
}
