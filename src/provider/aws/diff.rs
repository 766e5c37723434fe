//! Desired × observed → changeset, for one bastion. Pure: whatever it says was decided from its arguments alone.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{
    action::{Action, Ref},
    check,
    deadline::{self, ResolvedDeadline},
    desire::Desired,
    doubts,
    judging::Known,
    keys,
    machine::{self, Choice},
    network::Subnet,
    observed::{ElasticIp, Group, Image, Instance, Observed, Surroundings},
    ownership::{self, ForeignTag},
    peering, public_access, region,
    rule::Rules,
    steps::Differ,
    teardown,
};
use crate::{
    changeset::{Changeset, Detail},
    diagnostic::{Diagnostic, Diagnostics},
    plan::{AwsAddress, Host},
};

/// What a diff is made against.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The region as a step's action names it, and as people read it.
    pub region: &'a str,
    pub seen: &'a Observed,
    pub around: &'a Surroundings,
    pub now: Timestamp,
    /// Addresses that plans before this one have allocated in the same run.
    pub claimed: usize,
}

/// The changes that make the cloud match the plan, or every reason why that can't be.
pub fn diff(want: &Desired<'_>, world: World<'_>) -> Result<Changeset<Action>, Diagnostics> {
    let current = Current::of(want, world);
    let mut problems = Vec::new();
    let placed = place(want, world, &current, &mut problems);
    let deadline = check::deadline(want, world, &mut problems);
    check::machines(want, world, &current, &mut problems);
    check::holder(want, world, &current, &mut problems);
    check::lost_machines(want, world, &mut problems);
    check::address(want, world, &current, &mut problems);
    check::address_quota(want, world, &mut problems);
    check::prefix_lists(want, world, &mut problems);
    check::databases(want, world, placed.map(|(vpc, _)| vpc), &mut problems);
    if let Some(kept) = current.kept() {
        problems.extend(keys::check_room(want.plan, &want.instance_tags(deadline.as_ref()), &kept.tags));
    }
    let Some((vpc, launch)) = placed else { return Err(Diagnostics(problems)) };
    let group = own_group(want, world, vpc);
    let open = group.map(|group| &group.egress);
    let want = &want.with_egress(world.seen.name_servers.rules(vpc, open.unwrap_or(&Rules::new())));
    check::group_name(want, world, vpc, group, &mut problems);
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }

    let mut plan = Differ::new(want.bastion(), world.region);
    plan.leaves_ends = world.seen.deadline_of(want.bastion()).disputed(want.plan.deadline, world.now).is_some();
    let made = Made { group: group.map_or(Ref::Made, |g| Ref::Id(g.id.clone())), deadline, vpc };
    plan.group(want, world, &made, group);
    plan.databases(want, world, &made);
    plan.address(want, world, &made, &current);
    plan.address_mark(want, &made, &current, group);
    plan.refused_candidate(world, &current);
    if let Some((_, image)) = launch.filter(|(_, image)| image.deprecation.is_some_and(|at| at <= world.now)) {
        plan.notes.push(format!("{} ({}) is deprecated: its publisher has newer images", image.id, image.name));
    }
    if let (Some((subnet, _)), Some(access)) = (launch, &world.around.public_access)
        && access.blocks(subnet)
    {
        plan.notes.push(format!(
            "⚠ VPC Block Public Access is {} in this region, and neither {} nor {} is excluded: nobody would reach the machine, and it \
             would fetch no updates. Let the subnet through: {}",
            access.mode,
            subnet.id,
            subnet.vpc,
            public_access::remedy(&region::cli(world.region), &subnet.id)
        ));
    }
    plan.instance(want, world, &made, &current, launch);
    plan.association(want, world, &current);
    plan.closings(&made);
    plan.leftovers(want, world, &current, vpc, group);
    if let Some(group) = group {
        plan.stale_marks(want, world, &current, group);
    }
    if !plan.problems.is_empty() {
        return Err(Diagnostics(plan.problems));
    }

    Ok(Changeset {
        bastion: want.bastion().to_owned(),
        location: region::location(world.region),
        plan: want.plan.origin.source.path.clone(),
        exposure: want.exposure(&current.public_address(), &world.seen.prefix_lists),
        notes: plan
            .notes
            .into_iter()
            .chain(name_server_notes(world.seen.name_servers.of(vpc), vpc))
            .chain(peering::notes(want, world.seen, vpc, world.region))
            .chain(notes(want, world, &current, deadline.as_ref()))
            .collect(),
        steps: plan.steps,
    })
}

/// What exists of a bastion, chosen among what may be several.
pub(super) struct Current<'a> {
    pub instance: Option<&'a Instance>,
    /// An address leads to the instance: it is replaced only by one that serves already.
    pub serves: bool,
    pub reasons: Vec<Detail>,
    /// Those of the reasons that say that the machine is not as gangplank makes one.
    pub foreign: Vec<Detail>,
    /// Instances of which nothing tells which one is the bastion's machine.
    pub undecided: Vec<&'a Instance>,
    pub address: Option<&'a ElasticIp>,
    /// The address is one that an interrupted run has allocated: it has the tags, and no mark yet.
    pub abandoned: bool,
    /// Owned addresses that the plan has no use for.
    pub spare_addresses: Vec<&'a ElasticIp>,
}

impl<'a> Current<'a> {
    fn of(want: &Desired<'_>, world: World<'a>) -> Self {
        let seen: &'a Observed = world.seen;
        let newest = if want.aws.image_update { machine::image(want, world.around, world.region).ok() } else { None };
        let owned: Vec<&ElasticIp> = seen.addresses_of(want.bastion()).collect();
        let (instance, serves, undecided) = match machine::choose(want, seen) {
            Choice::None => (None, false, Vec::new()),
            Choice::Holder(instance) => (Some(instance), true, Vec::new()),
            Choice::Candidate(instance) => (Some(instance), false, Vec::new()),
            Choice::Several(all) => (None, false, all),
        };
        let reasons = instance.map(|i| machine::reasons(want, seen, i, newest, serves)).unwrap_or_default();
        let origin = |i: &Instance| machine::foreign_origin(want, i, seen.origins.get(&i.id), serves);
        let foreign = instance.map(origin).unwrap_or_default();
        let points_here =
            |a: &ElasticIp| instance.is_some_and(|i| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
        let of_the_call = want.tags(None);
        let abandoned = || seen.addresses.iter().find(|a| ownership::is_abandoned(a, &of_the_call));
        let untagged = ownership::lost_its_tag(seen, want.bastion());
        let address = match &want.aws.address {
            AwsAddress::Elastic => {
                let own = owned.iter().copied().min_by_key(|a| (!points_here(a), a.allocation.clone()));
                own.or(untagged).or_else(abandoned)
            }
            AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
        };
        let used = |a: &&ElasticIp| address.is_none_or(|chosen| chosen.allocation != a.allocation);
        let is_own =
            address.is_some_and(|a| owned.iter().copied().chain(untagged).any(|own| own.allocation == a.allocation));
        let abandoned = want.aws.address == AwsAddress::Elastic && address.is_some() && !is_own;
        let spare_addresses = owned.into_iter().filter(used).collect();
        Self { instance, serves, reasons, foreign, undecided, address, abandoned, spare_addresses }
    }

    /// The instance, where it may stay.
    pub fn kept(&self) -> Option<&'a Instance> {
        self.instance.filter(|_| self.reasons.is_empty())
    }

    /// Where the bastion is reached now, if that is not the address that it is to have.
    pub fn other_address(&self, seen: &Observed) -> Option<String> {
        let instance = self.instance?;
        let leads_here = |a: &&ElasticIp| a.attached.as_ref().is_some_and(|at| at.is_instance(&instance.id));
        let now = seen.addresses.iter().find(leads_here)?;
        let stays = self.address.is_some_and(|a| a.allocation == now.allocation);
        (!stays).then(|| now.ip.map_or_else(|| now.allocation.clone(), |ip| ip.to_string()))
    }

    /// Whether the address that the plan brings loses the tag of another bastion, which nothing but that tag says has it, while it leads to
    /// the plan's own machine.
    pub fn takes_foreign_tag_away(&self, want: &Desired<'_>, seen: &Observed) -> bool {
        let Some(address) = self.address.filter(|_| want.aws.address != AwsAddress::Elastic) else { return false };
        let leads_here =
            self.instance.is_some_and(|i| address.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
        leads_here && matches!(ownership::foreign_tag(address, seen, want.bastion()), Some(ForeignTag::Alone(_)))
    }

    pub fn public_address(&self) -> String {
        self.address.and_then(|a| a.ip).map_or_else(|| "the new address".to_owned(), |ip| ip.to_string())
    }
}

/// What later steps refer to.
pub(super) struct Made<'a> {
    pub group: Ref,
    pub deadline: Option<ResolvedDeadline>,
    pub vpc: &'a str,
}

/// The bastion's group in its network: EC2 allows one of its name.
fn own_group<'a>(want: &Desired<'_>, world: World<'a>, vpc: &str) -> Option<&'a Group> {
    world.seen.groups_of(want.bastion()).find(|g| g.vpc == vpc)
}

/// The network that the bastion stands in, and what a new instance is made from where one is needed.
fn place<'a>(
    want: &Desired<'_>,
    world: World<'a>,
    current: &Current<'a>,
    problems: &mut Vec<Diagnostic>,
) -> Option<(&'a str, Option<(&'a Subnet, &'a Image)>)> {
    if let Some(kept) = current.kept() {
        return Some((kept.vpc.as_str(), None));
    }
    let subnet = machine::subnet(want, world.around, world.region).map_err(|p| problems.push(p)).ok();
    let image = machine::image(want, world.around, world.region).map_err(|p| problems.push(p)).ok();
    let (subnet, image) = (subnet?, image?);
    Some((subnet.vpc.as_str(), Some((subnet, image))))
}

/// What of a network's DNS servers is not served, or not known.
fn name_server_notes(servers: Known<Vec<IpAddr>>, vpc: &str) -> Vec<String> {
    match servers {
        Ok(servers) => servers
            .iter()
            .filter(|server| server.is_ipv6())
            .map(|server| {
                format!(
                    "⚠ {server}, a DNS server of {vpc}, has an IPv6 address, and gangplank asks EC2 for none for the machine: no rule lets \
                     it out to there"
                )
            })
            .collect(),
        Err(why) => vec![format!(
            "⚠ which DNS servers the DHCP options of {vpc} name is not known ({why}): gangplank takes them for EC2's own, which need no \
             rule; with others the machine would find no name"
        )],
    }
}

/// The network that a bastion stands in, or is to stand in.
#[cfg(feature = "aws")]
pub(super) fn network<'a>(want: &Desired<'_>, world: World<'a>) -> Option<&'a str> {
    let kept = Current::of(want, world).kept().map(|kept| kept.vpc.as_str());
    kept.or_else(|| machine::subnet(want, world.around, world.region).ok().map(|subnet| subnet.vpc.as_str()))
}

fn notes(
    want: &Desired<'_>,
    world: World<'_>,
    current: &Current<'_>,
    deadline: Option<&ResolvedDeadline>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(before) = current.other_address(world.seen) {
        let after = current.public_address();
        notes.push(format!(
            "the bastion's address changes from {before} to {after}: the vendor's form must name the new one"
        ));
    }
    for tunnel in want.plan.tunnels.iter().filter(|t| t.keys.is_empty()) {
        notes.push(format!("tunnel {} has no key yet: it admits nobody until the plan has one", tunnel.user));
    }
    let has_ipv6 = |i: &Instance| i.interfaces.iter().flat_map(|i| &i.addresses).any(IpAddr::is_ipv6);
    if !current.kept().is_some_and(has_ipv6) {
        let targets = want.plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets);
        let v6 = targets.filter(|target| matches!(target.host, Host::Address(IpAddr::V6(_))));
        notes.extend(v6.map(|target| {
            format!(
                "⚠ target {} has an IPv6 address, and gangplank asks EC2 for none for the machine: it is reached only where the subnet \
                 gives every new machine one; name its IPv4 address, or a name that has one",
                target.name
            )
        }));
    }
    notes.extend(deadline::notes(want.plan.deadline, deadline, &world.seen.deadline_of(want.bastion()), world.now));
    if let (true, Some(address)) = (current.abandoned, current.address) {
        notes.push(format!(
            "elastic IP {} ({}) carries exactly the tags of this plan's own call and leads nowhere: an interrupted run has allocated it, \
             and it is used",
            current.public_address(),
            address.allocation
        ));
    }
    let strangers = ownership::strangers(world.seen, want.bastion());
    let used = |id: &str| current.address.is_some_and(|a| a.allocation == id);
    notes.extend(strangers.iter().filter(|s| !used(s.id())).map(|s| s.note(want.bastion())));
    notes.extend(doubts::apart_notes(want.bastion(), world.region, world.seen));
    notes.extend(doubts::guests(want.bastion(), world.seen).iter().map(|guest| guest.note(world.region)));
    notes.extend(teardown::foreign_references(want.bastion(), world.seen).into_iter().map(|r| r.note()));
    notes
}
