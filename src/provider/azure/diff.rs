//! Desired × observed → changeset, for one bastion. Pure: whatever it says was decided from its arguments alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    action::{Action, Call},
    auto_shutdown::Side,
    check,
    desire::Desired,
    doubts::{self, Guest},
    edge::{self, Front, Nat, Place},
    id::Id,
    keys,
    machine::{self, Image},
    observed::{Observed, Resource, Surroundings},
    peering, rule_places,
    rules::{self, Way},
    slot,
    steps::Differ,
    tags::{self, Tags},
    teardown::{self, Why},
    views::{Address, Firewall, Interface, Network, near},
};
use crate::{
    changeset::{Changeset, Detail, Impact, StepId},
    diagnostic::{Diagnostic, Diagnostics},
    location::Location,
    plan::{AzureNetwork, Edge, FirewallSku, ResourceGroup},
    tags::deadline::{self, ResolvedDeadline},
};

/// What a diff is made against.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub seen: &'a Observed,
    pub around: &'a Surroundings,
    pub now: Timestamp,
}

/// The changes that make the subscription match the plan, or every reason why that can't be.
///
/// # Errors
/// All problems, at the plan's lines.
pub fn diff(want: &Desired<'_>, world: World<'_>) -> Result<Changeset<Action>, Diagnostics> {
    let mut problems = Vec::new();
    let place = edge::place(want, world.seen, &mut problems);
    let front = edge::front(want, world.seen, place.as_ref(), &mut problems);
    check::sources(want.plan, &mut problems);
    check::group(want, world, &mut problems);
    check::own(want, world, wanted(want).into_iter(), &mut problems);
    check::ranges(want, world, &mut problems);
    check::interface(want, world, &mut problems);
    check::address(want, world, &mut problems);
    let deadline = check::deadline(want, world, &mut problems);
    problems.extend(keys::check_room(want.plan));
    let current = place.as_ref().map(|place| Current::of(want, world, place));
    if let Some(current) = &current {
        check::policy(want, world, current, &mut problems);
    }
    let remotes = peering::remotes(want, world.seen, &mut problems);
    let image = image(want, world, current.as_ref(), &mut problems);
    let (Some(place), Some(front), Some(current)) = (place, front, current) else { return Err(Diagnostics(problems)) };
    if !problems.is_empty() {
        return Err(Diagnostics(problems));
    }

    let servers = place.existing.into_iter().flat_map(|network| Network(network).name_servers());
    let near = match place.existing {
        Some(network) => near(network),
        None => peering::near(want.azure, &want.names, want.bastion(), world.seen),
    };
    let egress = rules::egress(want.plan, servers, &near);
    let tags = want.tags(deadline.as_ref());
    let run = Run { want, world, tags, deadline, place, front, current, egress, image, remotes };
    let mut plan = Differ::new(want.bastion(), &want.azure.subscription);
    run.group(&mut plan);
    run.removals(&mut plan);
    run.network(&mut plan);
    run.peerings(&mut plan);
    run.security_group(&mut plan);
    run.addresses(&mut plan);
    run.policy(&mut plan);
    run.interface(&mut plan);
    run.rules(&mut plan);
    plan.tags_last("policy", "rules");
    run.shared(&mut plan);
    run.firewall(&mut plan);
    run.auto_shutdown_steps(&mut plan, Side::Before);
    run.machine(&mut plan);
    run.auto_shutdown_steps(&mut plan, Side::After);
    let left = run.leftovers(&mut plan);

    let address = run.public_address();
    Ok(Changeset {
        bastion: want.bastion().to_owned(),
        location: Location::azure(&want.azure.subscription, &want.azure.location),
        plan: want.plan.origin.source.path.clone(),
        exposure: want.exposure(address.unwrap_or("the new address"), &run.egress),
        notes: run.notes().into_iter().chain(left).collect(),
        steps: plan.steps,
    })
}

/// What the bastions after this one must leave free, where all of a run's are decided before any is made.
pub fn anticipate(seen: &mut Observed, set: &Changeset<Action>) {
    slot::anticipate(seen, set);
    let puts = set.steps.iter().filter_map(|step| match &step.action.call {
        Call::Put { id, body, .. } => Some((id.clone(), body.clone())),
        _ => None,
    });
    peering::anticipate(seen, &puts.collect::<Vec<_>>());
}

/// Everything that the steps are decided from.
pub(super) struct Run<'a> {
    pub want: &'a Desired<'a>,
    pub world: World<'a>,
    pub tags: Tags,
    pub deadline: Option<ResolvedDeadline>,
    pub place: Place<'a>,
    pub front: Front<'a>,
    pub current: Current<'a>,
    pub egress: BTreeMap<Way, String>,
    /// Where a machine is to be made.
    pub image: Option<Image>,
    /// The networks that the plan peers its own with.
    pub remotes: Vec<&'a Resource>,
}

/// Why what an earlier plan asked for goes.
pub(super) const UNUSED: Why = Why { reason: "the plan has no use for it any more", impact: Impact::Live };

/// What exists of a bastion, where its plan wants it.
pub(super) struct Current<'a> {
    pub interface: Option<&'a Resource>,
    /// The interface stands elsewhere, and can't move: it is made anew.
    pub new_interface: bool,
    pub machine: Option<&'a Resource>,
    /// Why the machine can't stay.
    pub reasons: Vec<Detail>,
    pub policy: Option<&'a Resource>,
    pub new_policy: bool,
    pub firewall: Option<&'a Resource>,
    pub new_firewall: bool,
}

impl<'a> Current<'a> {
    fn of(want: &Desired<'_>, world: World<'a>, place: &Place<'_>) -> Self {
        let own = |id: &Id| world.seen.get(id).filter(|r| r.is_owned(want.bastion()));
        let names = &want.names;
        let interface = own(&names.interface);
        let new_interface = interface.is_some_and(|i| Interface(i).subnet().is_some_and(|s| s != place.subnet));
        let machine = own(&names.machine);
        let reasons = machine.map(|m| machine::replacement_reasons(want, m, new_interface)).unwrap_or_default();
        let (policy, firewall) = (own(&names.policy), own(&names.firewall));
        // Neither a firewall's kind nor a policy's can be changed for a lower one; both are made anew.
        let (new_policy, new_firewall) = match want.azure.edge {
            Edge::Firewall(sku) => {
                let tier = super::bodies::sku_name(sku);
                let other = |text: &str| !text.is_empty() && !text.eq_ignore_ascii_case(tier);
                let moved = |f: &Resource| Firewall(f).subnet().is_some_and(|s| s.parent() != place.network);
                let new_policy = policy.is_some_and(|p| other(p.text("/properties/sku/tier")));
                let new = firewall.is_some_and(|f| other(Firewall(f).tier()) || moved(f));
                (new_policy, new || new_policy && firewall.is_some())
            }
            _ => (false, false),
        };
        Self { interface, new_interface, machine, reasons, policy, new_policy, firewall, new_firewall }
    }

    /// The machine, where it may stay.
    pub fn kept(&self) -> Option<&'a Resource> {
        self.machine.filter(|_| self.reasons.is_empty())
    }
}

/// Ids of all that the plan wants of the bastion's own.
fn wanted<'a>(want: &'a Desired<'_>) -> Vec<&'a Id> {
    let names = &want.names;
    let mut ids = vec![&names.security_group, &names.interface, &names.machine];
    if matches!(want.azure.resource_group, ResourceGroup::Owned(_)) {
        ids.push(&names.group);
    }
    if matches!(want.azure.network, AzureNetwork::Created { .. }) {
        ids.push(&names.network);
    }
    match want.azure.edge {
        Edge::PublicAddress => ids.push(&names.address),
        Edge::Firewall(sku) => {
            ids.extend([&names.address, &names.policy, &names.firewall]);
            if sku == FirewallSku::Basic {
                ids.push(&names.management_address);
            }
        }
        Edge::ExistingFirewall(_) | Edge::ExistingPolicy(_) => {}
    }
    ids
}

/// Whether a machine is to be made, so that the surroundings must be known.
pub fn makes_machine(want: &Desired<'_>, seen: &Observed) -> bool {
    match edge::place(want, seen, &mut Vec::new()) {
        Some(place) => {
            let around = Surroundings::default();
            Current::of(want, World { seen, around: &around, now: Timestamp::UNIX_EPOCH }, &place).kept().is_none()
        }
        None => true,
    }
}

fn image(
    want: &Desired<'_>,
    world: World<'_>,
    current: Option<&Current<'_>>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Image> {
    if current.is_some_and(|current| current.kept().is_some()) {
        return None;
    }
    let is_new = current.is_some_and(|current| current.machine.is_none());
    machine::image(want, world.around, is_new).map_err(|problem| problems.push(problem)).ok()
}

impl Run<'_> {
    /// Where the vendor connects to, once that is known.
    pub fn public_address(&self) -> Option<&str> {
        self.world.seen.get(&self.front.address).and_then(|a| Address(a).ip())
    }

    /// The machine's address, where its interface stays.
    pub fn private_address(&self) -> Option<&str> {
        self.current.interface.filter(|_| !self.current.new_interface).and_then(|i| Interface(i).private_address())
    }

    fn leftovers(&self, plan: &mut Differ<'_>) -> Vec<String> {
        let (want, seen) = (self.want, self.world.seen);
        let wanted = wanted(want);
        let given_back: Vec<&Id> = self.given_back().into_iter().map(|r| &r.id).collect();
        let stays = |r: &&Resource| {
            let own = r.id == want.names.auto_shutdown;
            !own && !wanted.contains(&&r.id) && !given_back.contains(&&r.id)
        };
        let going: Vec<&Resource> = seen.owned(want.bastion()).filter(stays).collect();
        let after = plan.planned(&["interface", "rules", "firewall", "machine"]);
        let why = UNUSED;
        let kept = match &self.front.nat {
            Nat::None => None,
            Nat::Group { policy, .. } => Some(policy.child(super::id::Kind::RuleGroup, &want.names.rules)),
            Nat::Classic { firewall, .. } => Some(firewall.clone()),
        };
        let rules = teardown::remove_rules(plan, seen, want.bastion(), kept.as_ref(), why, &after);
        rule_places::forget(plan, seen, want.bastion(), kept.as_ref(), &rules);
        let after: Vec<StepId> = after.into_iter().chain(rules).collect();
        let peerings = peering::of(seen, want.bastion(), &want.azure.subscription);
        let planned: Vec<&Id> = plan.steps.iter().map(|step| step.action.call.id()).collect();
        let wanted = |p: &&Resource| peering::is_wanted(p, &want.names.network, &self.remotes);
        let peerings: Vec<&Resource> =
            peerings.into_iter().filter(|p| !wanted(p) && !planned.contains(&&p.id)).collect();
        peering::remove(plan, &peerings, why, &after);
        teardown::remove(plan, seen, want.bastion(), &going, why, &after)
    }

    /// What the plan calls existing and carries our tag: it was the bastion's own.
    pub fn given_back(&self) -> Vec<&Resource> {
        let group = self.world.seen.get(&self.want.names.group);
        let group = group.filter(|_| matches!(self.want.azure.resource_group, ResourceGroup::Existing(_)));
        // A group has no name of gangplank's, and the plan names this one.
        let group = group.filter(|r| tags::owns(&r.tags, self.want.bastion()));
        let network = self.place.existing.filter(|r| r.is_owned(self.want.bastion()));
        group.into_iter().chain(network).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let after = self.public_address().unwrap_or("a new one");
        if let Some(before) = teardown::address(self.world.seen, self.want.bastion()).filter(|before| before != after) {
            notes.push(format!(
                "the bastion's address changes from {before} to {after}: the vendor's form must name the new one"
            ));
        }
        for tunnel in self.want.plan.tunnels.iter().filter(|t| t.keys.is_empty()) {
            notes.push(format!("tunnel {} has no key yet: it admits nobody until the plan has one", tunnel.user));
        }
        let remembered = check::remembered(self.want.bastion(), self.world.seen);
        notes.extend(deadline::notes(self.want.plan.deadline, self.deadline.as_ref(), &remembered, self.world.now));
        notes.extend(self.auto_shutdown_notes());
        let given_back: Vec<&Id> = self.given_back().into_iter().map(|r| &r.id).collect();
        let foreign = self.world.seen.foreign(Some(self.want.bastion()));
        notes.extend(foreign.iter().filter(|f| !given_back.contains(&f.id)).map(teardown::left_alone));
        notes.extend(doubts::guests(self.want.bastion(), self.world.seen).iter().map(Guest::note));
        for (holder, error) in rule_places::unread(self.world.seen, self.want.bastion()) {
            let name = holder.name();
            notes.push(format!(
                "whether the bastion has rules in {name} is not known, and none there is removed: {}",
                error.message
            ));
        }
        let network = self.world.seen.get(&self.want.names.network);
        let alone = matches!(self.want.azure.network, AzureNetwork::Created { .. })
            && network.is_none()
            && peering::named(self.want.azure).is_empty();
        notes.extend(check::notes(self.world.seen, &self.place, &self.front, &self.remotes, alone));
        if let (Edge::Firewall(sku), None) = (&self.want.azure.edge, self.current.firewall) {
            let price = match sku {
                FirewallSku::Basic => "0.40",
                FirewallSku::Standard => "1.25",
                FirewallSku::Premium => "1.75",
            };
            notes.push(format!(
                "Azure bills the firewall by the hour from its creation on, used or not: about {price} USD (list price, \
                 azure.microsoft.com/pricing/details/azure-firewall), and for its traffic"
            ));
        }
        notes
    }
}
