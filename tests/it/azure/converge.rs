//! From anywhere to the plan, and from anywhere to nothing.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Encoding};
use gangplank::{
    changeset::{Changeset, Step},
    diagnostic,
    provider::azure::{
        action::Action,
        desire::Desired,
        diff::{self, World as Against},
        id::{Id, Kind},
        keys,
        observed::Surroundings,
        status, tags,
        teardown::{remains, teardown},
    },
    provider::status::State,
};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    drift::{disturb, drifts, is_ours},
    plans::{BASTION_NAME, HUB, PUBLIC, SUBSCRIPTION, Spec, Written, specs, subscription},
    world::{Chance, World, kind, list, text},
};

pub fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().expect("a time")
}

pub fn hours(n: i64) -> Timestamp {
    start() + SignedDuration::from_hours(n)
}

/// The changes towards a plan, or the problems as people read them. What a machine is made from is known only where one is.
pub fn changes(world: &World, want: &Desired<'_>, now: Timestamp) -> Result<Changeset<Action>, String> {
    let seen = world.look();
    let around = if diff::makes_machine(want, &seen) { world.surroundings() } else { Surroundings::default() };
    diff::diff(want, Against { seen: &seen, around: &around, now })
        .map_err(|problems| diagnostic::render(&problems, false))
}

pub fn removal(world: &World, written: &Written) -> Changeset<Action> {
    teardown(&written.plan, written.azure(), &world.look())
}

/// Who is let in, as `source to address:port`, by every way that leads to one of our machines. A network security group whose
/// interface has no public address lets nobody in from outside.
fn admitted(world: &World) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    for interface in world.all.values().filter(|r| kind(r) == Some(Kind::Interface) && is_ours(r)) {
        let at = |what: &str| text(interface, &format!("/properties/ipConfigurations/0/properties/{what}"));
        if !at("publicIPAddress/id").is_empty() {
            let security = Id::new(text(interface, "/properties/networkSecurityGroup/id"));
            let rules = world.all.get(&security).map_or(&[][..], |g| list(g, "/properties/securityRules"));
            for rule in rules
                .iter()
                .filter(|r| r["properties"]["access"] == "Allow" && r["properties"]["direction"] == "Inbound")
            {
                let many = list(rule, "/properties/sourceAddressPrefixes").iter().filter_map(Value::as_str);
                let one = Some(text(rule, "/properties/sourceAddressPrefix")).filter(|t| !t.is_empty());
                open.extend(many.chain(one).filter(|s| !s.starts_with("10.")).map(str::to_owned));
            }
        }
        let nat = world.all.values().flat_map(|r| match kind(r) {
            Some(Kind::RuleGroup) => list(r, "/properties/ruleCollections/0/rules").iter().collect::<Vec<_>>(),
            Some(Kind::Firewall) => {
                list(r, "/properties/natRuleCollections").iter().flat_map(|c| list(c, "/properties/rules")).collect()
            }
            _ => Vec::new(),
        });
        for rule in nat.filter(|r| text(r, "/translatedAddress") == at("privateIPAddress")) {
            open.extend(list(rule, "/sourceAddresses").iter().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    open
}

fn listed(plans: &[&Written]) -> BTreeSet<String> {
    plans.iter().flat_map(|p| p.want().sources.into_keys().map(|net: IpNet| net.to_string())).collect()
}

/// One run towards a plan, which ends after `limit` steps. `None` where the plan is refused: then for one of the known reasons.
fn run(
    world: &mut World,
    written: &Written,
    now: Timestamp,
    chance: u64,
    limit: usize,
    open: &BTreeSet<String>,
) -> Option<usize> {
    let want = written.want();
    let set = match changes(world, &want, now) {
        Ok(set) => set,
        Err(problems) => {
            let taken =
                problems.contains("error: the resource group exists") && want.names.group.name() == "rg-bastion";
            // The bastion's network in another resource group has the ranges, and is peered with the same networks.
            let peered = problems.contains("error: overlapping address spaces")
                && problems.contains("gangplank-warehouse, with which");
            assert!(taken || peered, "{problems}");
            return None;
        }
    };
    assert_eq!(set, changes(world, &want, now).expect("the same"), "not deterministic");
    well_formed(&set);
    let foreign = foreign(world);
    let mut left = limit;
    world.execute(&set, Chance(chance), limit, |world, step| {
        left -= 1;
        assert_eq!(foreign, self::foreign(world), "{} touched what is not ours", step.id);
        for source in admitted(world) {
            assert!(open.contains(&source), "{} admitted {source}, not of {open:?}\n{step:#?}", step.id);
        }
    });
    Some(set.steps.len())
}

/// Runs until nothing is left to do, at most three times.
fn settle(world: &mut World, written: &Written, now: Timestamp, chance: u64, open: &BTreeSet<String>) {
    for i in 0..3 {
        match run(world, written, now, chance + i, usize::MAX, open) {
            Some(0) => return fulfilled(world, written, now),
            Some(_) => {}
            None => return,
        }
    }
    let left = changes(world, &written.want(), now).expect("a changeset");
    assert!(left.is_empty(), "no end after three runs: {:#?}", left.steps);
    fulfilled(world, written, now);
}

fn one(world: &World, wanted: Kind) -> &Value {
    let found: Vec<&Value> = world.all.values().filter(|r| kind(r) == Some(wanted) && is_ours(r)).collect();
    let [one] = found.as_slice() else { panic!("{wanted:?}: {found:#?}") };
    one
}

/// The world is what the plan says, judged without the diff.
fn fulfilled(world: &World, written: &Written, now: Timestamp) {
    let want = written.want();
    let (machine, interface, security) =
        (one(world, Kind::Machine), one(world, Kind::Interface), one(world, Kind::SecurityGroup));
    assert_eq!(text(machine, "/properties/hardwareProfile/vmSize"), want.azure.size);
    assert_eq!(text(machine, "/properties/instanceView/statuses/1/code"), "PowerState/running");
    assert_eq!(text(machine, "/properties/networkProfile/networkInterfaces/0/id"), text(interface, "/id"));
    assert_eq!(text(interface, "/properties/networkSecurityGroup/id"), text(security, "/id"));
    let expires = text(machine, "/tags/gangplank:expires").parse().ok();
    if let Some(keys) = keys::user_data(&written.plan, expires) {
        assert_eq!(machine["properties"]["userData"], Base64::encode_string(keys.as_bytes()));
    }
    let at = |what: &str| text(interface, &format!("/properties/ipConfigurations/0/properties/{what}"));
    let public = matches!(want.azure.edge, gangplank::plan::Edge::PublicAddress);
    assert_eq!(at("publicIPAddress/id").is_empty(), !public, "a public address exactly where the plan wants one");
    assert_eq!(admitted(world), listed(&[written]));
    let allowed: Vec<&Value> = list(security, "/properties/securityRules")
        .iter()
        .filter(|r| r["properties"]["access"] == "Allow" && r["properties"]["direction"] == "Inbound")
        .collect();
    let [ssh] = allowed.as_slice() else { panic!("{allowed:#?}") };
    assert_eq!(text(ssh, "/properties/destinationPortRange"), written.plan.ssh.port.to_string());
    let firewalls = world.all.values().filter(|r| kind(r) == Some(Kind::Firewall) && is_ours(r)).count();
    assert_eq!(firewalls == 1, matches!(want.azure.edge, gangplank::plan::Edge::Firewall(_)));
    // What stays of another plan because others use it keeps its tags.
    let created = matches!(want.azure.network, gangplank::plan::AzureNetwork::Created { .. });
    // What somebody has given the tag, and is not called as gangplank's own, stays as it is.
    let tagged_by_others = |id: &Id| id.name().eq_ignore_ascii_case("gangplank-second");
    let current = |id: &Id| {
        id.is_within(&want.names.group) && (created || id.kind() != Some(Kind::Network)) && !tagged_by_others(id)
    };
    for resource in world.all.iter().filter(|(id, r)| is_ours(r) && current(id)).map(|(_, r)| r) {
        assert!(want.plan.tags.iter().all(|(key, value)| resource["tags"][key] == *value), "{resource:#}");
        assert_eq!(resource["tags"][tags::EXPIRES].is_string(), written.plan.deadline.is_some(), "{resource:#}");
    }
    for name in gangplank::provider::azure::peering::named(want.azure) {
        let own = world.all.get(&want.names.network).expect("a network");
        let theirs = world.all.iter().find(|(id, _)| id.name() == name).map(|(_, raw)| raw).expect("the other one");
        for (from, to) in [(own, theirs), (theirs, own)] {
            let all = list(from, "/properties/virtualNetworkPeerings").iter();
            let leads = |p: &&Value| text(p, "/properties/remoteVirtualNetwork/id") == text(to, "/id");
            let states: Vec<&str> = all.filter(leads).map(|p| text(p, "/properties/peeringState")).collect();
            assert_eq!(states, ["Connected"], "{from:#}");
        }
    }
    let status = status::of(&written.plan, want.azure, &world.look(), now);
    assert_eq!((status.state, status.address.is_some()), (State::Up, true), "{status:#?}");
    assert_eq!(status.ingress.len(), want.sources.len());
}

/// Removes everything, interrupted once after `limit` steps.
fn raise(world: &mut World, written: &Written, chance: u64, limit: usize) {
    let foreign = foreign(world);
    for limit in [limit, usize::MAX] {
        let set = removal(world, written);
        well_formed(&set);
        world.execute(&set, Chance(chance), limit, |world, step| {
            assert_eq!(foreign, self::foreign(world), "{} touched what is not ours", step.id);
        });
    }
    let set = removal(world, written);
    assert!(set.is_empty(), "{:#?}", set.steps);
    // What stays is what others have put something into, and there is a note for each; another for what only carries the tag.
    let left = remains(BASTION_NAME, SUBSCRIPTION, &world.look());
    let notes = set.notes.iter().filter(|note| !note.ends_with("it is left alone")).count();
    assert_eq!(left.len(), notes, "{left:?} {:?}", set.notes);
    for what in left {
        assert!(what.starts_with("resource group") || what.starts_with("virtual network"), "{what}");
    }
    assert_eq!(admitted(world), BTreeSet::new());
}

/// Ids are unique, and dependencies come before.
fn well_formed(set: &Changeset<Action>) {
    let mut before: BTreeMap<_, &Step<Action>> = BTreeMap::new();
    for step in &set.steps {
        for after in &step.after {
            assert!(before.contains_key(after), "{} waits for {after}, which is not before it", step.id);
        }
        assert!(before.insert(&step.id, step).is_none(), "{} twice", step.id);
        assert!(step.id.0.starts_with(&format!("{SUBSCRIPTION}/{BASTION_NAME}/")));
    }
}

/// Everything that is not ours: no step may change it. Of a shared firewall, all but our collection.
fn foreign(world: &World) -> Vec<String> {
    let name = format!("gangplank-{BASTION_NAME}");
    let rules = |id: &Id| id.kind() == Some(Kind::RuleGroup) && id.name() == name;
    let owned_parent = |id: &Id| world.all.get(&id.parent()).is_some_and(is_ours);
    let others = world.all.iter().filter(|(id, raw)| !is_ours(raw) && !rules(id) && !owned_parent(id));
    let mut all: Vec<String> = others
        .map(|(_, raw)| {
            let mut raw = raw.clone();
            if let Some(collections) = raw.pointer_mut("/properties/natRuleCollections").and_then(Value::as_array_mut) {
                collections.retain(|c| c["name"] != json!(name));
            }
            if let Some(properties) = raw["properties"].as_object_mut() {
                let peerings = properties.get_mut("virtualNetworkPeerings").and_then(Value::as_array_mut);
                let peered = peerings.is_some_and(|all| {
                    all.retain(|p| !text(p, "/name").starts_with(&name));
                    !all.is_empty()
                });
                if !peered {
                    properties.shift_remove("virtualNetworkPeerings");
                }
            }
            raw.to_string()
        })
        .collect();
    // And what somebody has put into a network of ours.
    let networks = world.all.values().filter(|r| kind(r) == Some(Kind::Network) && is_ours(r));
    let subnets = networks.flat_map(|n| list(n, "/properties/subnets")).filter(|s| s["name"] == "somebodys");
    all.extend(subnets.map(Value::to_string));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A is applied and perhaps interrupted, something happens, B is applied, interrupted and applied again; then all of it goes.
    #[test]
    fn every_way_leads_to_the_plan_and_to_nothing(
        (a, b) in (specs(), specs()),
        before in drifts(),
        between in drifts(),
        (first, second, last) in (0usize..16, 0usize..16, 0usize..10),
        chance in any::<u64>(),
    ) {
        let (a, b) = (a.read(), b.read());
        let mut world = subscription();
        let open = listed(&[&a]);
        run(&mut world, &a, hours(0), chance, first, &open);
        before.iter().for_each(|drift| disturb(&mut world, *drift));
        let open = &listed(&[&a]) | &admitted(&world);
        if chance % 3 > 0 {
            settle(&mut world, &a, hours(1), chance, &open);
        }
        between.iter().for_each(|drift| disturb(&mut world, *drift));
        let open = &listed(&[&a, &b]) | &admitted(&world);
        run(&mut world, &b, hours(2), chance, second, &open);
        if chance % 2 > 0 {
            let open = &listed(&[&b]) | &admitted(&world);
            settle(&mut world, &b, hours(3), chance, &open);
        }
        raise(&mut world, &b, chance, last);
    }
}

/// Every edge from nothing, and back.
#[test]
fn each_edge_stands_and_goes() {
    for edge in PUBLIC..HUB + 3 {
        for (subnet, shared_group) in [(None, false), (Some("snet-a"), true)] {
            let spec = Spec { subnet, shared_group, ..Spec::edge(edge) };
            let written = spec.read();
            let mut world = subscription();
            let untouched = foreign(&world);
            settle(&mut world, &written, start(), 7, &listed(&[&written]));
            raise(&mut world, &written, 9, usize::MAX);
            assert_eq!(world.all.len(), untouched.len(), "{edge}: something is left");
        }
    }
}

/// From nothing to the plan, whole.
pub fn standing(spec: &Spec) -> World {
    standing_in(subscription(), spec)
}

pub fn standing_in(mut world: World, spec: &Spec) -> World {
    let written = spec.read();
    settle(&mut world, &written, start(), 7, &listed(&[&written]));
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
    set.steps.iter().find(|s| s.id.0 == format!("{SUBSCRIPTION}/{BASTION_NAME}/{what}"))
}
