//! What stands between the internet and the machine, found among what is there: which network, which subnet, which firewall, whose
//! address, and where the DNAT rule goes. What can't be is a problem at the plan's line.

use ipnet::IpNet;

use super::{
    desire::Desired,
    id::{FIREWALL_SUBNET, Id, Kind, MANAGEMENT_SUBNET},
    observed::{Observed, Resource, is_id},
    slot::{collides, foreign_rules, free_priority, group_priorities, in_classic, in_policy},
    views::{Address, Firewall, Network, Subnet, network_of},
};
use crate::{
    diagnostic::Diagnostic,
    plan::{AzureNetwork, Edge, FirewallSku},
};

/// Where the machine stands.
pub(super) struct Place<'a> {
    pub network: Id,
    pub subnet: Id,
    /// `None`: it is created, or has yet to be.
    pub existing: Option<&'a Resource>,
    /// Ranges of the firewall's subnet of the network, where a firewall is created in it.
    pub firewall_subnet: Option<IpNet>,
}

/// The way in.
pub(super) struct Front<'a> {
    /// Whose address the vendor connects to.
    pub address: Id,
    pub nat: Nat,
    /// A firewall that is not ours.
    pub shared: Option<&'a Resource>,
    /// What the network security group admits; `None`: the sources themselves.
    pub admits: Option<IpNet>,
}

/// Where the DNAT rule goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nat {
    /// Nowhere: the machine has the address.
    None,
    Group {
        policy: Id,
        priority: u32,
    },
    Classic {
        firewall: Id,
        priority: u32,
    },
}

pub(super) type Problems = Vec<Diagnostic>;

pub(super) fn place<'a>(want: &Desired<'_>, seen: &'a Observed, problems: &mut Problems) -> Option<Place<'a>> {
    let (vnet, subnet) = match &want.azure.network {
        AzureNetwork::Created { firewall_subnet, .. } => {
            let (network, subnet) = (want.names.network.clone(), want.names.bastion_subnet.clone());
            return Some(Place { network, subnet, existing: None, firewall_subnet: *firewall_subnet });
        }
        AzureNetwork::Existing { vnet, subnet } => (vnet, subnet),
    };
    let problem = |field: &str, summary: &str, label: String| {
        want.plan.origin.problem(&format!("azure.network.{field}"), summary, label)
    };
    let network = one(want, seen, Kind::Network, vnet, "azure.network.existing", problems)?;
    if network.location != want.azure.location {
        problems.push(
            problem("existing", "the network is in another location", format!("{vnet} is in {}", network.location))
                .because("a machine stands in its network's location")
                .fix(format!("write `location: {}`, or name another network", network.location)),
        );
        return None;
    }
    let Some(found) = Network(network).subnet(subnet) else {
        let names: Vec<String> = Network(network).subnets().map(|s| s.id.name().to_owned()).collect();
        problems.push(
            problem("subnet", "no such subnet", format!("{vnet} has no {subnet}"))
                .because(format!("it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })),
        );
        return None;
    };
    if found.delegated {
        let label = "it is delegated to a service".to_owned();
        problems.push(problem("subnet", "no machine may be in this subnet", label).fix("name another subnet"));
        return None;
    }
    let firewall_subnet = match want.azure.edge {
        Edge::Firewall(sku) => Some(firewall_subnets(want, seen, network, sku, problems)?),
        _ => None,
    };
    Some(Place { network: network.id.clone(), subnet: found.id, existing: Some(network), firewall_subnet })
}

/// A firewall can be created in an existing network that has been prepared for it: the network itself is never changed.
fn firewall_subnets(
    want: &Desired<'_>,
    seen: &Observed,
    network: &Resource,
    sku: FirewallSku,
    problems: &mut Problems,
) -> Option<IpNet> {
    let problem = |label: String| {
        want.plan.origin.problem("azure.edge", "the network has no place for a firewall", label).because(
            "gangplank changes nothing in a network that it has not created; Azure wants these subnets by name, a /26 or larger",
        )
    };
    let mut usable = |name: &str| -> Option<IpNet> {
        // Also one that it had in another resource group, which goes first.
        let own = |user: &Id| seen.owned(want.bastion()).any(|r| user.is_within(&r.id));
        let found = Network(network).subnet(name);
        let label = match &found {
            None => format!("{} has no {name}", network.name()),
            Some(Subnet { range: Some(range), .. }) if range.prefix_len() > 26 => {
                format!("{name} is {range}, smaller than a /26")
            }
            Some(Subnet { users, .. }) if !users.iter().all(own) => {
                let label = format!("{name} is in use: a network has one firewall");
                problems.push(problem(label).fix("use the firewall that is there: `{existing: NAME}`"));
                return None;
            }
            Some(Subnet { range: Some(range), .. }) => return Some(*range),
            Some(_) => format!("{name} has no range"),
        };
        problems.push(problem(label).fix(format!("add the subnet {name} to it, or use a firewall that exists")));
        None
    };
    let front = usable(FIREWALL_SUBNET);
    match sku {
        FirewallSku::Basic => usable(MANAGEMENT_SUBNET).and(front),
        FirewallSku::Standard | FirewallSku::Premium => front,
    }
}

pub(super) fn front<'a>(
    want: &Desired<'_>,
    seen: &'a Observed,
    place: Option<&Place<'_>>,
    problems: &mut Problems,
) -> Option<Front<'a>> {
    let own = |nat, admits| Front { address: want.names.address.clone(), nat, shared: None, admits };
    match &want.azure.edge {
        Edge::PublicAddress => Some(own(Nat::None, None)),
        Edge::Firewall(_) => {
            let policy = want.names.policy.clone();
            let priority = free_priority(&group_priorities(seen, &policy, &want.names.rules), None)?;
            Some(own(Nat::Group { policy, priority }, place?.firewall_subnet))
        }
        Edge::ExistingFirewall(name) => {
            let firewall = one(want, seen, Kind::Firewall, name, "azure.edge", problems)?;
            through(want, seen, firewall, problems)
        }
        Edge::ExistingPolicy(name) => {
            let policy = one(want, seen, Kind::Policy, name, "azure.edge", problems)?;
            let problem = |summary: &str, label: String| want.plan.origin.problem("azure.edge", summary, label);
            // Where the policy itself is does not matter: "a firewall policy, regardless of where it is stored, can be associated with
            // firewalls in any region" ("Azure Firewall Manager policy overview"). Where its firewall is does.
            let users: Vec<&Resource> = seen
                .of_kind(Kind::Firewall)
                .filter(|f| Firewall(f).policy().is_some_and(|id| id == policy.id))
                .collect();
            match users.as_slice() {
                [firewall] => through(want, seen, firewall, problems),
                [] => {
                    let label = format!("nothing in this subscription uses {name}, which is in {}", policy.location);
                    problems.push(
                        problem("no firewall has this policy", label)
                            .fix(format!("name a firewall in {}: `{{existing: NAME}}`", want.azure.location)),
                    );
                    None
                }
                several => {
                    let names: Vec<&str> = several.iter().map(|f| f.name()).collect();
                    let label = format!("{} use {name}", names.join(" and "));
                    problems.push(
                        problem("several firewalls have this policy", label)
                            .because("a rule in the policy is in all of them, and a vendor connects to one")
                            .fix("give one of them a policy of its own (a child of this one), and name that"),
                    );
                    None
                }
            }
        }
    }
}

/// Through a firewall that is somebody else's.
fn through<'a>(
    want: &Desired<'_>,
    seen: &'a Observed,
    firewall: &'a Resource,
    problems: &mut Problems,
) -> Option<Front<'a>> {
    let view = Firewall(firewall);
    let name = firewall.name();
    let problem = |summary: &str, label: String| want.plan.origin.problem("azure.edge", summary, label);
    // Also of a bastion of another subscription, whose tags count for nothing here otherwise.
    let tagged = super::tags::read(&firewall.raw).remove(super::tags::BASTION).filter(|_| firewall.elsewhere);
    if let Some(owner) = firewall.owner().or(tagged.as_deref()) {
        problems.push(
            problem("the firewall is a bastion's own", format!("{name} belongs to the bastion {owner}"))
                .because("what one bastion owns goes away with it")
                .fix("name another firewall, or write `{sku: standard}` for one of the bastion's own"),
        );
        return None;
    }
    if firewall.location != want.azure.location {
        let label = format!("{name} is in {}, the bastion in {}", firewall.location, want.azure.location);
        problems.push(
            problem("the firewall is in another location", label).fix("name a firewall of the bastion's location"),
        );
        return None;
    }
    if view.is_in_a_hub() {
        problems.push(
            problem("the firewall is in a virtual hub", format!("{name} has no subnet that a rule could admit"))
                .fix("name a firewall in a virtual network"),
        );
        return None;
    }
    let range = view.subnet().and_then(|id| {
        let network = seen.get(&network_of(&id))?;
        Network(network).subnet(id.name())?.range
    });
    let Some(range) = range else {
        problems.push(
            problem(
                "the firewall's subnet can't be read",
                format!("{name} stands in a network that this subscription does not show"),
            )
            .because("the machine admits nobody but the firewall's subnet, so its range must be known")
            .fix("give the account read access to that network"),
        );
        return None;
    };
    if let Some(policy) = view.policy().filter(|id| seen.get(id).is_none()) {
        let why = seen.unread.get(&policy).map_or("Azure does not show it", |error| error.message.as_str());
        problems.push(
            problem("the firewall's policy can't be read", format!("{name} has the policy {policy}"))
                .because(format!("the rule would go into it, and what others have there is not known: {why}"))
                .fix("give this identity Microsoft.Network/firewallPolicies/read and firewallPolicies/ruleCollectionGroups/read there"),
        );
        return None;
    }
    let taken = foreign_rules(want, seen, firewall);
    let addresses = view.addresses();
    if addresses.is_empty() {
        problems.push(problem("the firewall has no public address", format!("{name} has none")).fix("add one to it"));
        return None;
    }
    let mut conflict = None;
    let free = addresses.iter().find(|id| {
        let ip = seen.get(id).and_then(|a| Address(a).ip()).unwrap_or_default();
        let found = taken.iter().find(|(_, rule)| collides(rule, ip, want));
        conflict = conflict.take().or_else(|| found.map(|(whose, _)| (ip.to_owned(), whose.clone())));
        found.is_none()
    });
    let Some(address) = free else {
        let (ip, whose) = conflict.unwrap_or_default();
        problems.push(
            want.plan
                .origin
                .problem(
                    "ssh.port",
                    "the port is taken on the firewall",
                    format!("{whose} has port {} of {ip}", want.plan.ssh.port),
                )
                .because(format!(
                    "of two DNAT rules for the same port and sources one wins; {name} has no other address"
                ))
                .fix("choose another port here, or add a public address to the firewall"),
        );
        return None;
    };
    let nat = match view.policy() {
        Some(policy) => in_policy(want, seen, policy, problems)?,
        None => in_classic(want, firewall, problems)?,
    };
    Some(Front { address: address.clone(), nat, shared: Some(firewall), admits: Some(range) })
}

/// The one resource of a kind that a plan's name means.
pub(super) fn one<'a>(
    want: &Desired<'_>,
    seen: &'a Observed,
    kind: Kind,
    name: &str,
    field: &str,
    problems: &mut Problems,
) -> Option<&'a Resource> {
    let words = kind.words();
    let found = seen.named(kind, name);
    let problem = |summary: String, label: String| want.plan.origin.problem(field, summary, label);
    match found.as_slice() {
        [one] => Some(one),
        [] => {
            let label = match seen.unread.get(&Id::new(name)) {
                Some(error) => error.message.clone(),
                None if is_id(name) => format!("there is no {name}"),
                None => format!("the subscription has no {words} {name}"),
            };
            problems.push(
                problem(format!("no such {words}"), label)
                    .fix("check the name and the subscription, and that the account may read it"),
            );
            None
        }
        several => {
            // One in the bastion's own resource group is meant before others.
            let near: Vec<&&Resource> = several.iter().filter(|r| r.id.group_id() == want.names.group).collect();
            if let [one] = near.as_slice() {
                return Some(one);
            }
            let groups: Vec<String> = several.iter().map(|r| r.id.group_id().name().to_owned()).collect();
            let problem = problem(
                format!("the {words} is ambiguous"),
                format!("{} resource groups have a {name}", several.len()),
            );
            problems.push(
                problem
                    .because(format!("they are {}", groups.join(", ")))
                    .fix("use the resource group of the one that is meant"),
            );
            None
        }
    }
}
