//! Why a plan can't be fulfilled in the subscription as it is: checked before anything is changed, and all of it reported.

use ipnet::IpNet;
use jiff::Timestamp;

use super::{
    desire::Desired,
    diff::{Current, World},
    edge::Place,
    id::{Id, Kind},
    observed::{Observed, Resource},
    tags,
    views::{Address, Interface, Network, range},
};
use crate::{
    diagnostic::Diagnostic,
    plan::{AzureNetwork, Plan, ResourceGroup},
    tags::deadline::{self, Remembered, ResolvedDeadline},
};

type Problems = Vec<Diagnostic>;

/// When the bastion ends. It must not have ended.
pub(super) fn deadline(want: &Desired<'_>, world: World<'_>, problems: &mut Problems) -> Option<ResolvedDeadline> {
    let deadline = deadline::deadline(want.plan.deadline, &remembered(want.bastion(), world.seen), world.now)?;
    if deadline.expires <= world.now {
        let field = if deadline.lifetime.is_some() { "lifetime" } else { "expires" };
        problems.push(
            want.plan
                .origin
                .problem(field, "the bastion's time is up", format!("it ended at {}", deadline.expires))
                .because(match who_tells_ends(want.bastion(), world.seen) {
                    Some(who) => format!("its resources tell different ends, and this one counts: {who}"),
                    None => "applying would keep open what was meant to be closed; a lifetime counts from the bastion's creation".to_owned(),
                })
                .fix("run `gangplank destroy`, or give it more time here"),
        );
    }
    Some(deadline)
}

/// What a bastion's resources remember of its deadline.
pub(super) fn remembered(bastion: &str, seen: &Observed) -> Remembered {
    let machines = || seen.owned(bastion).filter(|r| r.kind == Kind::Machine);
    let others = seen.owned(bastion).filter(|r| r.kind != Kind::Machine);
    let launched = machines().filter_map(|m| m.text("/properties/timeCreated").parse().ok()).min();
    Remembered::of(machines().chain(others).map(|r| &r.tags)).launched(launched)
}

/// The machine's end first; a disk has the tags that its machine had when it was made.
fn dated<'a>(bastion: &'a str, seen: &'a Observed) -> impl Iterator<Item = &'a Resource> {
    let machines = seen.owned(bastion).filter(|r| r.kind == Kind::Machine);
    machines.chain(seen.owned(bastion).filter(|r| !matches!(r.kind, Kind::Machine | Kind::Disk)))
}

/// Each resource that tells an end, where they differ.
pub(super) fn who_tells_ends(bastion: &str, seen: &Observed) -> Option<String> {
    deadline::who_tells(dated(bastion, seen).map(|r| (r.words(), &r.tags)))
}

/// Ends that the plan or some of the bastion's resources tell, other than the one that is shown.
pub(super) fn other_ends(plan: &Plan, shown: Option<Timestamp>, seen: &Observed, now: Timestamp) -> Vec<Timestamp> {
    let name = plan.name.as_str();
    deadline::other_ends(shown, plan.deadline, &remembered(name, seen), dated(name, seen).map(|r| &r.tags), now)
}

/// Azure Firewall's DNAT and the bastion's own address are IPv4.
pub(super) fn sources(plan: &Plan, problems: &mut Problems) {
    let v6 = |list: &[IpNet]| list.iter().position(|net| matches!(net, IpNet::V6(_)));
    let tunnels = plan.tunnels.iter().enumerate().flat_map(|(i, tunnel)| {
        let own = v6(&tunnel.allow_from).map(|n| (format!("tunnels[{i}].allow_from[{n}]"), tunnel.allow_from[n]));
        let vendor = tunnel
            .vendor
            .as_ref()
            .and_then(|vendor| v6(&vendor.sources).map(|n| (format!("tunnels[{i}].vendor"), vendor.sources[n])));
        own.into_iter().chain(vendor)
    });
    let operators = plan.operators.iter().enumerate().filter_map(|(i, operator)| {
        v6(&operator.allow_from).map(|n| (format!("operators[{i}].allow_from[{n}]"), operator.allow_from[n]))
    });
    for (field, net) in tunnels.chain(operators) {
        problems.push(
            plan.origin
                .problem(&field, "a source that can't arrive", format!("{net} is IPv6"))
                .because("the bastion's address on Azure is IPv4, and a firewall's DNAT rule takes IPv4 sources only")
                .fix("name the IPv4 addresses that they connect from"),
        );
    }
}

pub(super) fn group(want: &Desired<'_>, world: World<'_>, problems: &mut Problems) {
    let problem = |summary: &str, label: String| want.plan.origin.problem("azure.resource_group", summary, label);
    let found = world.seen.get(&want.names.group);
    match (&want.azure.resource_group, found) {
        (ResourceGroup::Existing(name), None) => {
            problems.push(problem("no such resource group", format!("the subscription has no {name}")).fix(format!(
                "check the name and the subscription, or write `resource_group: {name}` to have it created"
            )))
        }
        (ResourceGroup::Owned(name), Some(group)) if !tags::owns(&group.tags, want.bastion()) => {
            let because = match group.tags.get(tags::BASTION) {
                Some(owner) => format!("it belongs to the bastion {owner}, and goes away with it"),
                None => "a resource group of the bastion's own is deleted at its end".to_owned(),
            };
            problems.push(
                problem("the resource group exists", format!("{name} is not this bastion's"))
                    .because(because)
                    .fix(format!("write `resource_group: {{existing: {name}}}`, or another name")),
            );
        }
        _ => {}
    }
}

/// What is where ours would be must be ours, and in the plan's location: neither can be changed.
pub(super) fn own<'i>(
    want: &Desired<'_>,
    world: World<'_>,
    wanted: impl Iterator<Item = &'i Id>,
    problems: &mut Problems,
) {
    let mut moved: Option<&Resource> = None;
    for resource in wanted.filter_map(|id| world.seen.get(id)) {
        if resource.is_owned(want.bastion()) {
            if resource.location != want.azure.location {
                moved = moved.or(Some(resource));
            }
        } else if resource.kind != Kind::ResourceGroup {
            problems.push(foreign(want, resource));
        }
    }
    if let Some(resource) = moved {
        let label = format!("{} is in {}", resource.words(), resource.location);
        problems.push(
            want.plan
                .origin
                .problem("azure.location", "the bastion stands in another location", label)
                .because("nothing of Azure's can move to another location under its name")
                .fix("run `gangplank destroy` with the old location, then apply this plan; the bastion's address changes"),
        );
    }
}

fn foreign(want: &Desired<'_>, resource: &Resource) -> Diagnostic {
    let (words, id) = (resource.kind.words(), &resource.id);
    let problem =
        want.plan.origin.problem("name", format!("a {words} of this name is not gangplank's"), format!("{id} exists"));
    if tags::owns(&resource.tags, want.bastion())
        && let Some(reason) = resource.foreign_reason(want.bastion())
    {
        return problem
            .because(format!("it carries the tag {}={}, but {reason}", tags::BASTION, want.bastion()))
            .fix("give the plan another name or resource group");
    }
    problem
        .because(format!("it does not carry the tag {}={}, so it is left alone", tags::BASTION, want.bastion()))
        .fix(format!(
            "give the plan another name or resource group; or, if it is this bastion's and lost its tag: `az tag update \
             --resource-id {} --operation Merge --tags {}={}`",
            id.argument(),
            tags::BASTION,
            want.bastion()
        ))
}

/// The ranges of a network that stands can't be changed while a machine is in it.
pub(super) fn ranges(want: &Desired<'_>, world: World<'_>, problems: &mut Problems) {
    let AzureNetwork::Created { address_space, bastion_subnet, firewall_subnet, management_subnet, .. } =
        &want.azure.network
    else {
        return;
    };
    let Some(network) = world.seen.get(&want.names.network).filter(|n| n.is_owned(want.bastion())) else { return };
    let view = Network(network);
    let mut differs = |field: &str, have: String, want_range: &IpNet| {
        problems.push(
            want.plan
                .origin
                .problem(
                    &format!("azure.network.{field}"),
                    "the network has other ranges",
                    format!("it is {have}, not {want_range}"),
                )
                .because("Azure changes no range that a machine or a firewall stands in")
                .fix(format!(
                    "write {have}; or run `gangplank destroy`, then apply this plan; the bastion's address changes"
                )),
        );
    };
    let spaces: Vec<&str> = view.ranges().collect();
    if !spaces.iter().filter_map(|text| range(text)).any(|net| net == *address_space) {
        differs("address_space", spaces.join(", "), address_space);
    }
    let subnets = [
        ("bastion_subnet", want.names.bastion_subnet.name(), Some(bastion_subnet)),
        ("firewall_subnet", super::id::FIREWALL_SUBNET, firewall_subnet.as_ref()),
        ("firewall_management_subnet", super::id::MANAGEMENT_SUBNET, management_subnet.as_ref()),
    ];
    for (field, name, wanted) in subnets {
        if let (Some(wanted), Some(have)) = (wanted, view.subnet(name).and_then(|s| s.range))
            && have != *wanted
        {
            differs(field, have.to_string(), wanted);
        }
    }
}

/// Our interface with another machine: taking it would take that machine's network away, and leaving it would lead the vendor there.
/// Ours never moves: both are in the plan's resource group.
pub(super) fn interface(want: &Desired<'_>, world: World<'_>, problems: &mut Problems) {
    let found = world.seen.get(&want.names.interface).and_then(|i| Interface(i).machine());
    if let Some(machine) = found.filter(|id| *id != want.names.machine && world.seen.get(id).is_some()) {
        let label = format!("{} is attached to {machine}", want.names.interface.name());
        problems.push(
            want.plan
                .origin
                .problem("name", "the bastion's network interface is in use", label)
                .because("that machine is not this bastion's")
                .fix("detach it there, or give the plan another name"),
        );
    }
}

/// Our public address at something that is not ours: a vendor is led there.
pub(super) fn address(want: &Desired<'_>, world: World<'_>, problems: &mut Problems) {
    let Some(address) = world.seen.get(&want.names.address).filter(|a| a.is_owned(want.bastion())) else { return };
    let Some(user) = Address(address).user() else { return };
    let is_ours = |r: &Resource| user.is_within(&r.id) && r.kind != Kind::ResourceGroup;
    if world.seen.owned(want.bastion()).any(is_ours) {
        return;
    }
    let label = format!("{} belongs to {user}", address.name());
    problems.push(
        want.plan
            .origin
            .problem("name", "the bastion's public address leads to something else", label)
            .because("that is not this bastion's, so gangplank does not take the address away from it")
            .fix("find out who attached it; detach it there, and run the command again"),
    );
}

/// A policy that is made anew takes everything in it along.
pub(super) fn policy(want: &Desired<'_>, world: World<'_>, current: &Current<'_>, problems: &mut Problems) {
    let Some(policy) = current.policy.filter(|_| current.new_policy) else { return };
    let inside = world.seen.of_kind(Kind::RuleGroup).filter(|g| g.id.is_within(&policy.id));
    if let Some(foreign) = inside.map(|g| g.name()).find(|name| !name.eq_ignore_ascii_case(&want.names.rules)) {
        problems.push(
            want.plan
                .origin
                .problem("azure.edge", "the firewall's policy can't be made anew", format!("it has {foreign}"))
                .because("a policy's sku can't be changed, and somebody else's rule collection group would go with it")
                .fix("move that group to another policy, or keep the sku"),
        );
    }
}

/// What a reader should know about a network that exists and is to be used as it is.
pub(super) fn notes(
    seen: &Observed,
    place: &Place<'_>,
    front: &super::edge::Front<'_>,
    remotes: &[&Resource],
    alone: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if alone {
        notes.push(
            "the new network reaches no private database: name the database's network in `network.peer_with`, or use an existing network"
                .to_owned(),
        );
    }
    if let Some(network) = place.existing {
        let subnet = Network(network).subnets().find(|s| s.id == place.subnet);
        let own_address = front.nat == super::edge::Nat::None;
        if let Some(hop) = subnet.as_ref().and_then(|s| s.way_out(seen)) {
            notes.push(format!(
                "the machine's security updates leave through {hop}: it must let the machine out on tcp 80 and 443, which is yours to allow, and \
                 control.egress tells where a firewall of this subscription does not"
            ));
        }
        if subnet.is_some_and(|s| !own_address && !s.lets_out(seen)) {
            notes.push(format!(
                "{} has no way to the internet: the machine needs one (a NAT gateway, say) for its security updates, and \
                 control.egress fails without it",
                place.subnet.name()
            ));
        }
    }
    let firewall = front.shared.and_then(|f| super::views::Firewall(f).subnet());
    if let Some(other) = firewall.map(|subnet| subnet.parent()).filter(|other| *other != place.network) {
        let peered = place.existing.or(seen.get(&place.network)).is_some_and(|n| Network(n).is_peered_with(&other))
            || remotes.iter().any(|remote| remote.id == other);
        if !peered {
            notes.push(format!(
                "the firewall stands in {}, and no peering leads from there to {}: it can't reach the machine before there is a way",
                other.name(),
                place.network.name()
            ));
        }
    }
    notes
}
