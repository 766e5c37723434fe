//! From anywhere to the plan, and from anywhere to nothing.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::{
    changeset::{Changeset, Step},
    diagnostic,
    provider::{
        aws::{
            action::{Action, Call, Ref},
            desire::Desired,
            diff::{self, World as Against},
            keys,
            observed::{ElasticIp, Group, Instance, InstanceState, MetadataOptions, Observed},
            ownership,
            rule::{Peer, Rule, Rules},
            teardown::{remains, teardown},
        },
        status::{State, Status},
    },
    tags::{BASTION, EXPIRES, Tags},
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{
    drift::{disturb, drifts},
    plans::{BASTION_NAME, EXISTING, MARK, Spec, Written, account, specs},
    world::{Chance, World},
};

pub const REGION: &str = "us-east-1";

pub fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

/// The changes towards a plan, or the problems as people read them.
pub fn changes(world: &World, want: &Desired<'_>, now: Timestamp) -> Result<Changeset<Action>, String> {
    let seen = world.look(Some(want));
    let around = world.surroundings(want, &seen);
    diff::diff(want, Against { region: REGION, seen: &seen, around: &around, now, claimed: 0 })
        .map_err(|problems| diagnostic::render(&problems, false))
}

pub fn removal(world: &World) -> Changeset<Action> {
    teardown(BASTION_NAME, "plans/warehouse.yaml", REGION, &world.look(None))
}

/// The changes towards a plan. Where nothing tells which of several machines is the bastion's, somebody ends all but one.
fn decided(world: &mut World, want: &Desired<'_>, now: Timestamp) -> Changeset<Action> {
    let set = match changes(world, want, now) {
        Err(problems) if problems.contains("several machines could be this bastion") => {
            let machines: Vec<String> = world.all.instances_of(BASTION_NAME).map(|i| i.id.clone()).collect();
            assert!(machines.len() > 1 && machines.iter().all(|id| problems.contains(id)), "{problems}");
            machines.iter().skip(1).for_each(|id| world.terminate(id).expect("it is there"));
            changes(world, want, now)
        }
        set => set,
    };
    set.unwrap_or_else(|problems| panic!("{problems}\n{world:#?}"))
}

/// One run towards a plan, which ends after `limit` steps.
fn run(world: &mut World, written: &Written, now: Timestamp, chance: u64, limit: usize, admitted: &BTreeSet<Rule>) {
    let want = written.want();
    let set = decided(world, &want, now);
    assert_eq!(set, changes(world, &want, now).expect("the same"), "not deterministic");
    well_formed(&set);
    let foreign = Foreign::of(&world.all);
    world.execute(&set, Chance(chance), limit, |world, step| {
        assert_eq!(foreign, Foreign::of(&world.all), "{} touched what is not ours", step.id);
        for rule in ours(&world.all.groups).flat_map(|g| g.ingress.keys()) {
            assert!(admitted.contains(rule), "{} admitted {rule:?}", step.id);
        }
    });
}

/// Runs until nothing is left to do, at most three times.
fn settle(world: &mut World, written: &Written, now: Timestamp, chance: u64, admitted: &BTreeSet<Rule>) {
    let want = written.want();
    for i in 0..3 {
        let set = decided(world, &want, now);
        if set.is_empty() {
            fulfilled(world, written, now);
            return;
        }
        run(world, written, now, chance + i, usize::MAX, admitted);
    }
    let left = changes(world, &want, now).expect("a changeset");
    assert!(left.is_empty(), "no end after three runs: {:#?}", left.steps);
    fulfilled(world, written, now);
}

/// The world is what the plan says, judged without the diff.
fn fulfilled(world: &World, written: &Written, now: Timestamp) {
    let want = written.want();
    let instances: Vec<&Instance> = world.all.instances_of(BASTION_NAME).collect();
    let [instance] = instances.as_slice() else { panic!("instances: {instances:#?}") };
    let groups: Vec<&Group> = ours(&world.all.groups).collect();
    let [group] = groups.as_slice() else { panic!("groups: {groups:#?}") };
    assert_eq!(instance.state, InstanceState::Running);
    assert_eq!(instance.metadata, MetadataOptions::wanted(written.plan.keys_are_live()));
    let keys = keys::tags(&written.plan);
    assert!(instance.tags.iter().filter(|(key, _)| keys::is_key_tag(key)).eq(&keys), "{instance:#?}");
    assert_eq!(instance.instance_type, want.aws.instance_type);
    assert_eq!(instance.groups, std::slice::from_ref(&group.id));
    assert_eq!(instance.vpc, group.vpc);
    assert_eq!(world.terminates_on_shutdown.get(&instance.id).copied(), Some(written.plan.deadline.is_some()));
    assert_eq!(instance.tags.contains_key(EXPIRES), written.plan.deadline.is_some());
    assert!(group.ingress.keys().eq(want.ingress.keys()), "{group:#?}");
    let marks: Vec<(&Rule, &str)> = ownership::marks(&group.egress, BASTION_NAME).collect();
    let is_mark = |rule: &Rule| marks.iter().any(|(mark, _)| *mark == rule);
    assert!(group.egress.keys().filter(|rule| !is_mark(rule)).eq(want.egress.keys()), "{group:#?}");
    let attached: Vec<&ElasticIp> = world
        .all
        .addresses
        .iter()
        .filter(|a| a.attached.as_ref().is_some_and(|at| at.is_instance(&instance.id)))
        .collect();
    let [address] = attached.as_slice() else { panic!("addresses: {attached:#?}") };
    let owned: Vec<&ElasticIp> = world.all.addresses_of(BASTION_NAME).collect();
    match &want.aws.address {
        gangplank::plan::AwsAddress::Elastic => {
            assert_eq!(owned, [*address]);
            assert!(ownership::is_marked(group, address, BASTION_NAME) && marks.len() == 1, "{group:#?}");
        }
        gangplank::plan::AwsAddress::Existing(id) => {
            assert!(address.allocation == *id && owned.is_empty() && marks.is_empty(), "{group:#?}");
        }
    }
    for (id, wanted) in &want.database {
        let database = world.all.group(id).expect("the database's group");
        let open = database.ingress.keys().filter(|rule| rule.peer == Peer::Group(group.id.clone()));
        let wanted = wanted.keys().map(|rule| Rule { peer: Peer::Group(group.id.clone()), ..rule.clone() });
        assert!(open.cloned().eq(wanted), "{database:#?}");
    }
    let marked = world.all.groups.iter().flat_map(|g| g.ingress.values()).filter(|d| d.starts_with(MARK)).count();
    assert_eq!(marked, want.database.values().map(BTreeMap::len).sum::<usize>());
    for tags in [&instance.tags, &group.tags] {
        assert!(want.plan.tags.iter().all(|(key, value)| tags.get(key) == Some(value)));
    }
    let status = Status::of(&written.plan, want.aws, REGION, &world.look(Some(&want)), now);
    assert_eq!(status.state, State::Up);
    assert_eq!(status.address, address.ip.map(|ip| ip.to_string()));
}

/// Removes everything, interrupted once after `limit` steps.
fn raise(world: &mut World, chance: u64, limit: usize) {
    let foreign = Foreign::of(&world.all);
    for limit in [limit, usize::MAX] {
        let set = removal(world);
        assert_eq!(set, removal(world), "not deterministic");
        well_formed(&set);
        world.execute(&set, Chance(chance), limit, |world, step| {
            assert_eq!(foreign, Foreign::of(&world.all), "{} touched what is not ours", step.id);
        });
    }
    assert_eq!(remains(BASTION_NAME, &world.look(None)), Vec::<String>::new());
    assert!(removal(world).is_empty());
    let marked = world.all.groups.iter().flat_map(|g| g.ingress.values()).find(|d| d.starts_with(MARK));
    assert_eq!(marked, None);
}

/// Ids are unique, dependencies come before, and what a step needs is made by steps that it waits for.
fn well_formed(set: &Changeset<Action>) {
    let mut before: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for (i, step) in set.steps.iter().enumerate() {
        let mut needs = BTreeSet::new();
        for after in &step.after {
            let known =
                before.get(after).unwrap_or_else(|| panic!("{} waits for {after}, which is not before it", step.id));
            needs.extend(known);
        }
        for need in made(&step.action.call) {
            let makes = |at: &usize| need(&set.steps[*at].action.call);
            assert!(needs.iter().any(makes), "{} does not wait for what it needs", step.id);
        }
        needs.insert(i);
        assert!(before.insert(&step.id, needs).is_none(), "{} twice", step.id);
    }
}

type Makes = fn(&Call) -> bool;

/// What must have been made before a call.
fn made(call: &Call) -> Vec<Makes> {
    let group: Makes = |call| matches!(call, Call::CreateGroup { .. });
    let address: Makes = |call| matches!(call, Call::AllocateAddress { .. });
    let instance: Makes = |call| matches!(call, Call::RunInstance(_));
    let if_made = |reference: &Ref, makes: Makes| (*reference == Ref::Made).then_some(makes);
    match call {
        Call::ChangeRules { group: at, add, remove, .. } => {
            let bastion = add.iter().chain(remove).any(|r| r.rule.peer == Peer::Bastion).then_some(group);
            if_made(at, group).into_iter().chain(bastion).collect()
        }
        Call::RunInstance(launch) => if_made(&launch.group, group).into_iter().collect(),
        Call::Associate { address: a, instance: i, .. } => {
            if_made(a, address).into_iter().chain(if_made(i, instance)).collect()
        }
        Call::MarkAddress { group: g, address: a, .. } => {
            if_made(g, group).into_iter().chain(if_made(a, address)).collect()
        }
        Call::SetGroups { groups, .. } => groups.iter().filter_map(|g| if_made(g, group)).collect(),
        _ => Vec::new(),
    }
}

fn ours(groups: &[Group]) -> impl Iterator<Item = &Group> {
    groups.iter().filter(|g| is_ours(&g.tags))
}

fn is_ours(tags: &Tags) -> bool {
    tags.get(BASTION).is_some_and(|owner| owner == BASTION_NAME)
}

/// Everything that is not ours: no step may change it. What an address points to may change where a plan may name it.
#[derive(Debug, PartialEq)]
struct Foreign {
    instances: Vec<Instance>,
    addresses: Vec<ElasticIp>,
    groups: Vec<Group>,
}

impl Foreign {
    fn of(all: &Observed) -> Self {
        let without_ours = |rules: &Rules| -> Rules {
            rules.iter().filter(|(_, d)| !d.starts_with(MARK)).map(|(r, d)| (r.clone(), d.clone())).collect()
        };
        let group = |g: &Group| Group { ingress: without_ours(&g.ingress), ..g.clone() };
        let address = |a: &ElasticIp| {
            let free = EXISTING.contains(&a.allocation.as_str());
            ElasticIp { attached: a.attached.clone().filter(|_| !free), ..a.clone() }
        };
        Self {
            instances: all.instances.iter().filter(|i| !is_ours(&i.tags)).cloned().collect(),
            addresses: all.addresses.iter().filter(|a| !is_ours(&a.tags)).map(address).collect(),
            groups: all.groups.iter().filter(|g| !is_ours(&g.tags)).map(group).collect(),
        }
    }
}

/// The rules that some of these plans admit, and those that are open already.
fn admitted(world: &World, plans: &[&Written]) -> BTreeSet<Rule> {
    let open = ours(&world.all.groups).flat_map(|g| g.ingress.keys().cloned());
    let listed = plans.iter().flat_map(|p| p.want().ingress.into_keys());
    open.chain(listed).collect()
}

fn hours(n: i64) -> Timestamp {
    start() + SignedDuration::from_hours(n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// A is applied and perhaps interrupted, something happens, B is applied, interrupted and applied again; then all of it goes.
    #[test]
    fn every_way_leads_to_the_plan_and_to_nothing(
        (a, b) in (specs(), specs()),
        before in drifts(),
        between in drifts(),
        (first, second, last) in (0usize..16, 0usize..16, 0usize..8),
        chance in any::<u64>(),
    ) {
        let (a, b) = (a.read(), b.read());
        let mut world = account();
        let none = admitted(&world, &[&a]);
        run(&mut world, &a, hours(0), chance, first, &none);
        before.iter().for_each(|drift| disturb(&mut world, *drift));
        let open = admitted(&world, &[&a]);
        if chance % 3 > 0 {
            settle(&mut world, &a, hours(1), chance, &open);
        }
        between.iter().for_each(|drift| disturb(&mut world, *drift));
        let open = admitted(&world, &[&a, &b]);
        run(&mut world, &b, hours(2), chance, second, &open);
        if chance % 2 > 0 {
            let open = admitted(&world, &[&b]);
            settle(&mut world, &b, hours(3), chance, &open);
        }
        raise(&mut world, chance, last);
    }
}

#[test]
fn an_absent_bastion_needs_no_teardown() {
    let world = account();
    assert!(removal(&world).is_empty());
    assert_eq!(remains(BASTION_NAME, &world.look(None)), Vec::<String>::new());
}

/// From nothing to the plan, whole.
pub fn standing(spec: &Spec) -> World {
    let written = spec.read();
    let mut world = account();
    let open = admitted(&world, &[&written]);
    settle(&mut world, &written, start(), 7, &open);
    world
}

/// What a plan asks of a world that another one made.
pub fn steps_after(have: &Spec, want: &Spec, disturb: impl FnOnce(&mut World)) -> Result<Changeset<Action>, String> {
    let mut world = standing(have);
    disturb(&mut world);
    changes(&world, &want.read().want(), hours(1))
}

/// Only for the shape of a step.
pub fn step<'a>(set: &'a Changeset<Action>, what: &str) -> Option<&'a Step<Action>> {
    set.steps.iter().find(|s| s.id.0 == format!("{REGION}/{BASTION_NAME}/{what}"))
}
