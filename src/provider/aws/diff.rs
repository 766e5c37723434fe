//! Desired × observed → changeset, for one bastion. Pure: whatever it says was decided from its arguments alone.

use jiff::Timestamp;

use super::{
    action::{Action, Ref},
    check,
    deadline::{self, ResolvedDeadline},
    desire::Desired,
    keys, machine,
    network::Subnet,
    observed::{ElasticIp, Group, Image, Instance, Observed, Surroundings},
    region,
    steps::Differ,
    tags, teardown,
};
use crate::{
    changeset::{Changeset, Detail},
    diagnostic::{Diagnostic, Diagnostics},
    plan::AwsAddress,
};

/// What a diff is made against.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The region as a step's action names it, and as people read it.
    pub region: &'a str,
    pub seen: &'a Observed,
    pub around: &'a Surroundings,
    pub now: Timestamp,
}

/// The changes that make the cloud match the plan, or every reason why that can't be.
pub fn diff(want: &Desired<'_>, world: World<'_>) -> Result<Changeset<Action>, Diagnostics> {
    let current = Current::of(want, world);
    let mut problems = Vec::new();
    let placed = place(want, world, &current, &mut problems);
    let deadline = check::deadline(want, world, &mut problems);
    check::address(want, world, &current, &mut problems);
    check::databases(want, world, placed.map(|(vpc, _)| vpc), &mut problems);
    if let Some(kept) = current.kept() {
        problems.extend(keys::check_room(want.plan, &want.instance_tags(deadline.as_ref()), &kept.tags));
    }
    let Some((vpc, launch)) = placed else { return Err(Diagnostics(problems)) };
    let group = own_group(want, world, vpc);
    check::group_name(want, world, vpc, group, &mut problems);
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }

    let mut plan = Differ::new(want.bastion(), world.region);
    let made = Made { group: group.map_or(Ref::Made, |g| Ref::Id(g.id.clone())), deadline, vpc };
    plan.group(want, world, &made, group);
    plan.databases(want, world, &made);
    plan.address(want, &made, &current);
    plan.instance(want, world, &made, &current, launch);
    plan.association(want, world, &current);
    plan.closings(&made);
    plan.leftovers(want, world, &current, vpc, group);

    Ok(Changeset {
        bastion: want.bastion().to_owned(),
        location: region::location(world.region),
        plan: want.plan.origin.source.path.clone(),
        exposure: want.exposure(&current.public_address()),
        notes: plan.notes.into_iter().chain(notes(want, world, &current, deadline.as_ref())).collect(),
        steps: plan.steps,
    })
}

/// What exists of a bastion, chosen among what may be several.
pub(super) struct Current<'a> {
    pub instance: Option<&'a Instance>,
    pub reasons: Vec<Detail>,
    pub address: Option<&'a ElasticIp>,
    /// Owned addresses that the plan has no use for.
    pub spare_addresses: Vec<&'a ElasticIp>,
}

impl<'a> Current<'a> {
    fn of(want: &Desired<'_>, world: World<'a>) -> Self {
        let seen: &'a Observed = world.seen;
        let newest = if want.aws.image_update { machine::image(want, world.around, world.region).ok() } else { None };
        let owned: Vec<&ElasticIp> = seen.addresses_of(want.bastion()).collect();
        let all: Vec<&Instance> = seen.instances_of(want.bastion()).collect();
        let instance = machine::choose(want, &all, &owned, newest);
        let reasons = instance.map(|i| machine::replacement_reasons(want, i, newest)).unwrap_or_default();
        let points_here =
            |a: &ElasticIp| instance.is_some_and(|i| a.attached.as_ref().is_some_and(|at| at.is_instance(&i.id)));
        let address = match &want.aws.address {
            AwsAddress::Elastic => owned.iter().copied().min_by_key(|a| (!points_here(a), a.allocation.clone())),
            AwsAddress::Existing(id) => seen.addresses.iter().find(|a| a.allocation == *id),
        };
        let used = |a: &&ElasticIp| address.is_none_or(|chosen| chosen.allocation != a.allocation);
        let spare_addresses = owned.into_iter().filter(used).collect();
        Self { instance, reasons, address, spare_addresses }
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

/// The bastion's group in its network. Should several carry its tag, the one of the usual name is chosen.
fn own_group<'a>(want: &Desired<'_>, world: World<'a>, vpc: &str) -> Option<&'a Group> {
    let name = tags::resource_name(&want.plan.name);
    let ours = world.seen.groups.iter().filter(|g| g.vpc == vpc && tags::owns(&g.tags, want.bastion()));
    ours.min_by_key(|g| (g.name != name, g.id.clone()))
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
    notes.extend(deadline::notes(deadline, &world.seen.deadline_of(want.bastion()), world.now));
    notes.extend(teardown::foreign_references(want.bastion(), world.seen).into_iter().map(|r| r.note()));
    notes
}
