//! Single situations, each with the decision that it needs.

use gangplank::{
    changeset::{Changeset, StepId},
    provider::{
        aws::{
            action::{Action, Call},
            extend::extend,
            observed::InstanceState,
            rule::{Peer, Rule},
        },
        extend::{End, Which, Wish},
    },
    tags::{BASTION, EXPIRES, EXTENDED, LIFETIME, SUBNET, Tags},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    converge::{changes, removal, standing, start, step, steps_after},
    drift::{Drift, disturb},
    plans::{BASTION_NAME, EXISTING, Spec, Written, account},
    world::{Chance, World},
};

fn days(n: i64) -> Timestamp {
    start() + SignedDuration::from_hours(24 * n)
}

fn apply(world: &mut World, spec: &Spec, now: Timestamp, limit: usize) {
    let set = changes(world, &spec.read().want(), now).expect("a changeset");
    world.execute(&set, Chance(11), limit, |_, _| {});
}

/// The ends that the bastion's resources carry.
fn ends(world: &World) -> Vec<String> {
    let instances = world.all.instances_of(BASTION_NAME).map(|i| &i.tags);
    let addresses = world.all.addresses_of(BASTION_NAME).map(|a| &a.tags);
    let groups = world.all.groups_of(BASTION_NAME).map(|g| &g.tags);
    let all = instances.chain(addresses).chain(groups);
    let mut ends: Vec<String> = all.map(|tags| tags.get(EXPIRES).cloned().unwrap_or_default()).collect();
    ends.dedup();
    ends
}

fn waits(set: &Changeset<Action>, what: &str, others: &[&str]) {
    let step = step(set, what).unwrap_or_else(|| panic!("no {what}: {:?}", set.steps));
    for other in others {
        let end = format!("/{other}");
        assert!(step.after.iter().any(|StepId(id)| id.ends_with(&end)), "{} does not wait for {other}", step.id);
    }
}

#[test]
fn a_life_extended_twice_counts_from_its_start_however_often_it_is_interrupted() {
    let mut world = standing(&Spec { deadline: "lifetime: 30d", ..Spec::default() });
    let longer = Spec { deadline: "lifetime: 60d", ..Spec::default() };
    let longest = Spec { deadline: "lifetime: 90d", ..Spec::default() };
    apply(&mut world, &longer, days(10), 1);
    apply(&mut world, &longest, days(40), 2);
    apply(&mut world, &longest, days(41), usize::MAX);
    assert_eq!(ends(&world), [days(90).to_string()]);
}

#[test]
fn a_lifetime_after_an_interrupted_expiry_counts_from_its_first_run() {
    let mut world = standing(&Spec { deadline: "expires: 2031-01-31T00:00:00Z", ..Spec::default() });
    let lifetime = Spec { deadline: "lifetime: 90d", ..Spec::default() };
    apply(&mut world, &lifetime, days(1), 1);
    apply(&mut world, &lifetime, days(5), usize::MAX);
    assert_eq!(ends(&world), [days(91).to_string()]);
}

#[test]
fn from_a_lifetime_to_an_expiry_and_back() {
    let lifetime = Spec { deadline: "lifetime: 30d", ..Spec::default() };
    let expiry = Spec { deadline: "expires: 2031-01-31T00:00:00Z", ..Spec::default() };
    let mut world = standing(&lifetime);
    apply(&mut world, &expiry, days(1), usize::MAX);
    assert_eq!(ends(&world), ["2031-01-31T00:00:00Z"]);
    let left = world.all.instances_of(BASTION_NAME).find_map(|i| i.tags.get(LIFETIME));
    assert_eq!(left, None, "it would shift the start of a later lifetime");
    apply(&mut world, &lifetime, days(2), usize::MAX);
    assert_eq!(ends(&world), [days(32).to_string()]);
}

#[test]
fn a_postponed_tag_postpones_nothing() {
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::default() };
    let mut world = standing(&spec);
    disturb(&mut world, Drift::PostponeTheEnd);
    apply(&mut world, &spec, days(3), usize::MAX);
    assert_eq!(ends(&world), [days(30).to_string()]);
}

#[test]
fn a_start_in_the_future_is_none() {
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::default() };
    let mut world = standing(&spec);
    let later = |tags: &mut Tags| _ = tags.insert(EXPIRES.to_owned(), "2099-01-01T00:00:00Z".to_owned());
    world.all.instances.iter_mut().for_each(|i| later(&mut i.tags));
    world.all.addresses.iter_mut().for_each(|a| later(&mut a.tags));
    world.all.groups.iter_mut().for_each(|g| later(&mut g.tags));
    apply(&mut world, &spec, days(3), usize::MAX);
    assert_eq!(ends(&world), [days(33).to_string()]);
}

fn moved(world: &World, spec: &Spec, which: Which, end: End, now: Timestamp) -> Result<Changeset<Action>, String> {
    let written = spec.read();
    extend(written.want().plan, "us-east-1", &world.all, Wish { which, end }, now).map_err(|problem| problem.summary)
}

/// However often it is interrupted, and whatever else of the plan is not applied.
#[test]
fn an_end_that_was_moved_stays_until_the_plan_gives_another() {
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::default() };
    let mut world = standing(&spec);
    let week = End::By(SignedDuration::from_hours(7 * 24));
    let set = moved(&world, &spec, Which::Extend, week, days(10)).expect("a changeset");
    assert_eq!(set.notes.len(), 1, "{:?}", set.notes);
    assert!(set.notes[0].contains("in 27 days: it was extended on") && set.notes[0].contains("the plan's own end is"));
    assert!(
        set.steps.iter().all(|step| matches!(step.action.call, Call::Tag { .. })),
        "nothing but tags: {:?}",
        set.steps
    );
    // Cut short, it is undone by apply, and done by the same command.
    world.execute(&set, Chance(5), 1, |_, _| {});
    let undone = changes(&world, &spec.read().want(), days(11)).expect("a changeset");
    assert!(undone.notes.iter().any(|n| n.contains("⚠") && n.contains("the earlier end")), "{:?}", undone.notes);
    apply(&mut world, &spec, days(11), usize::MAX);
    assert_eq!(ends(&world), [days(30).to_string()]);
    world.execute(&set, Chance(5), 1, |_, _| {});
    let again = moved(&world, &spec, Which::Extend, week, days(11)).expect("a changeset");
    world.execute(&again, Chance(5), usize::MAX, |_, _| {});
    assert_eq!(ends(&world), [days(37).to_string()]);
    let again = changes(&world, &spec.read().want(), days(36)).expect("a changeset");
    assert_eq!((again.steps.len(), ends(&world)), (0, vec![days(37).to_string()]));
    // Asked for again as a time, nothing is left to do.
    let same = moved(&world, &spec, Which::Extend, End::Until(days(37)), days(12)).expect("a changeset");
    assert_eq!(same.steps, []);
    let shorter = moved(&world, &spec, Which::Shorten, End::Until(days(20)), days(12)).expect("a changeset");
    // Cut short, it is completed by apply: the others tell an end that was moved, too.
    world.execute(&shorter, Chance(5), 1, |_, _| {});
    apply(&mut world, &spec, days(13), usize::MAX);
    assert_eq!(ends(&world), [days(20).to_string()]);
    assert_eq!(moved(&world, &spec, Which::Shorten, week, days(15)).unwrap_err(), "an end in the past");
    // The plan is decided about later.
    let longer = Spec { deadline: "lifetime: 60d", ..Spec::default() };
    assert_eq!(
        moved(&world, &longer, Which::Extend, week, days(15)).unwrap_err(),
        "the plan's deadline is not applied yet"
    );
    let set = changes(&world, &longer.read().want(), days(15)).expect("a changeset");
    assert!(set.notes.iter().any(|note| note.contains("the plan's counts")), "{:?}", set.notes);
    apply(&mut world, &longer, days(15), usize::MAX);
    assert_eq!(ends(&world), [days(60).to_string()]);
    assert!(world.all.instances_of(BASTION_NAME).all(|i| !i.tags.contains_key(EXTENDED)));
    assert_eq!(moved(&world, &longer, Which::Extend, week, days(61)).unwrap_err(), "the bastion's time is up");
}

/// Somebody who may tag, and no more, postpones no end: one tag is taken away, and an end beyond every bound counts nowhere.
#[test]
fn a_forged_extension_is_taken_away_and_never_spread() {
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::default() };
    let mut world = standing(&spec);
    let forged = format!("to 9998-01-01T00:00:00Z from {} on {}", days(30), days(1));
    let forge = |tags: &mut Tags, text: &str| _ = tags.insert(EXTENDED.to_owned(), text.to_owned());
    world.all.instances.iter_mut().for_each(|i| forge(&mut i.tags, &forged));
    let set = changes(&world, &spec.read().want(), days(2)).expect("a changeset");
    assert!(set.notes.iter().any(|n| n.starts_with('⚠') && n.contains("9998-01-01")), "{:?}", set.notes);
    apply(&mut world, &spec, days(2), usize::MAX);
    assert_eq!(ends(&world), [days(30).to_string()]);
    assert!(world.all.instances_of(BASTION_NAME).all(|i| !i.tags.contains_key(EXTENDED)));
    // Within the bounds: on one resource it is taken away, too.
    let lone = format!("to {} from {} on {}", days(300), days(30), days(2));
    world.all.groups.iter_mut().filter(|g| g.tags.contains_key(BASTION)).for_each(|g| forge(&mut g.tags, &lone));
    apply(&mut world, &spec, days(3), usize::MAX);
    assert_eq!(ends(&world), [days(30).to_string()]);
    // On all of them, ten years are the most.
    for tags in world.all.instances.iter_mut().map(|i| &mut i.tags) {
        forge(tags, &forged);
    }
    world.all.addresses.iter_mut().filter(|a| a.tags.contains_key(BASTION)).for_each(|a| forge(&mut a.tags, &forged));
    world.all.groups.iter_mut().filter(|g| g.tags.contains_key(BASTION)).for_each(|g| forge(&mut g.tags, &forged));
    apply(&mut world, &spec, days(4), usize::MAX);
    assert_eq!(ends(&world), [days(30).to_string()]);
}

/// An address that was the bastion's own and is now named as existing must outlive the bastion.
#[test]
fn an_address_that_the_plan_comes_to_call_existing_survives() {
    let spec = Spec { address: Some(0), ..Spec::default() };
    let mut world = standing(&spec);
    for address in world.all.addresses.iter_mut().filter(|a| a.allocation == EXISTING[0]) {
        address.tags.insert(BASTION.to_owned(), BASTION_NAME.to_owned());
    }
    apply(&mut world, &spec, days(1), usize::MAX);
    let set = removal(&world);
    world.execute(&set, Chance(5), usize::MAX, |_, _| {});
    assert!(world.all.addresses.iter().any(|a| a.allocation == EXISTING[0]));
}

#[test]
fn a_stopped_instance_is_changed_once_it_has_started() {
    let spec = Spec::default();
    let set = steps_after(&spec, &Spec { deadline: "", ..Spec::default() }, |world| {
        for drift in [Drift::Stop, Drift::WeakenMetadata, Drift::ForeignGroup, Drift::Disassociate] {
            disturb(world, drift);
        }
    });
    let set = set.expect("a changeset");
    for what in ["instance-metadata", "instance-groups", "instance-shutdown", "association"] {
        waits(&set, what, &["instance-start"]);
    }
}

/// An interrupted replacement left the old machine, which serves, and the new one, which does not yet.
#[test]
fn the_serving_machine_goes_only_when_the_address_leads_to_the_new_one() {
    let (old, new) = (Spec::default(), Spec { instance_type: 1, ..Spec::default() });
    let mut world = standing(&old);
    let set = changes(&world, &new.read().want(), days(1)).expect("a changeset");
    let served = world.all.instances_of(BASTION_NAME).map(|i| i.id.clone()).next().expect("the old one");
    world.execute(&set, Chance(1), 1, |_, step| assert!(matches!(step.action.call, Call::RunInstance(_))));
    let set = changes(&world, &new.read().want(), days(1)).expect("a changeset");
    waits(&set, &format!("instance-{served}"), &["association"]);
}

#[test]
fn the_old_network_is_left_when_the_new_one_serves() {
    let (old, new) = (Spec::default(), Spec { subnet: 2, ..Spec::default() });
    let world = standing(&old);
    let group = world.all.groups_of(BASTION_NAME).map(|g| g.id.clone()).next().expect("the old group");
    let set = changes(&world, &new.read().want(), days(1)).expect("a changeset");
    waits(&set, &format!("database-sg-000000d1-{group}"), &["association"]);
    waits(&set, &format!("security-group-{group}"), &["association", &format!("database-sg-000000d1-{group}")]);
}

#[test]
fn as_many_tags_as_a_plan_may_have_fit_on_every_resource() {
    let tags: Vec<String> = (0..40).map(|i| format!("key-{i}: value")).collect();
    let text = Spec::default()
        .text()
        .replace("team: data", &tags.join(", "))
        .replace("tunnels:", "key_updates: replace\ntunnels:");
    let mut world = account();
    let set = changes(&world, &Written::read(&text).want(), start()).expect("a changeset");
    world.execute(&set, Chance(2), usize::MAX, |_, _| {});
}

/// A tag's key and value may have 128 and 256 characters; what remembers both has 256.
#[test]
fn a_subnet_by_the_longest_tag() {
    let (key, value) = ("k".repeat(128), "v".repeat(256));
    let mut world = account();
    world.around.subnets[0].tags.insert(key.clone(), value.clone());
    let text =
        Spec::default().text().replace("subnet: subnet-000000a1", &format!("subnet: {{tag: {{{key}: {value}}}}}"));
    let written = Written::read(&text);
    let set = changes(&world, &written.want(), start()).expect("a changeset");
    world.execute(&set, Chance(2), usize::MAX, |_, _| {});
    assert!(changes(&world, &written.want(), days(1)).expect("a changeset").is_empty());
    let other = Written::read(&text.replace("vvv}", "vvw}"));
    world.around.subnets[1].tags.insert(key, format!("{}w", "v".repeat(255)));
    let set = changes(&world, &other.want(), days(1)).expect("a changeset");
    assert!(step(&set, "instance").is_some(), "another tag is another subnet");
}

#[test]
fn a_subnet_whose_tag_was_lost_is_not_guessed() {
    let spec = Spec { subnet_by_tag: true, ..Spec::default() };
    let set = steps_after(&spec, &Spec { subnet: 1, ..spec.clone() }, |world| {
        world.all.instances.iter_mut().for_each(|i| _ = i.tags.remove(SUBNET));
    });
    assert!(step(&set.expect("a changeset"), "instance").is_some());
}

/// Forty tunnels from one address: one rule, and a description that EC2 takes.
#[test]
fn one_rule_for_what_many_ask_for() {
    let tunnel = |i: usize| {
        format!(
            "  - user: user-{i}\n    vendor: secoda/north-america\n    targets: [{{name: db, host: db.internal, port: 5432}}]\n"
        )
    };
    let tunnels: String = (0..12).map(tunnel).collect();
    let text = Spec { operator: false, ..Spec::default() }.text();
    let head = text.split("tunnels:\n").next().expect("a head");
    let written = Written::read(&format!("{head}key_updates: replace\ntunnels:\n{tunnels}"));
    let want = written.want();
    assert_eq!((want.ingress.len(), want.egress.len()), (1, 3));
    let mut world = account();
    let set = changes(&world, &want, start()).expect("a changeset");
    world.execute(&set, Chance(2), usize::MAX, |_, _| {});
    assert!(changes(&world, &want, days(1)).expect("a changeset").is_empty());
}

#[test]
fn a_group_with_two_ports_has_two_rules() {
    let spec = Spec { databases: [(0, 0), (0, 1)].into(), ..Spec::default() };
    let mut world = standing(&spec);
    let own = world.all.groups_of(BASTION_NAME).map(|g| g.id.clone()).next().expect("our group");
    let rule = |port| Rule::tcp(port, Peer::Group(own.clone()));
    let open =
        |world: &World, port| world.all.group("sg-000000d1").is_some_and(|g| g.ingress.contains_key(&rule(port)));
    assert!(open(&world, 5432) && open(&world, 3306));
    apply(&mut world, &Spec::default(), days(1), usize::MAX);
    apply(&mut world, &Spec::default(), days(1), usize::MAX);
    assert!(open(&world, 5432) && !open(&world, 3306));
}

/// A rule in the database's group that somebody else made for our group is theirs: it stays, and is named.
#[test]
fn a_rule_that_somebody_made_for_us_is_not_ours() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    let own = world.all.groups_of(BASTION_NAME).map(|g| g.id.clone()).next().expect("our group");
    let theirs = Rule::tcp(3306, Peer::Group(own.clone()));
    for group in world.all.groups.iter_mut().filter(|g| g.id == "sg-000000d2") {
        group.ingress.insert(theirs.clone(), "by hand".to_owned());
    }
    let set = changes(&world, &spec.read().want(), days(1)).expect("a changeset");
    assert!(set.is_empty(), "{:?}", set.steps);
    assert!(set.notes.iter().any(|n| n.contains("sg-000000d2") && n.contains(&own)), "{:?}", set.notes);
    assert!(removal(&world).notes.iter().any(|n| n.contains("sg-000000d2")));
}

/// By itself at its deadline, and its address still points to it.
#[test]
fn an_address_of_a_terminated_instance_is_used_again() {
    let spec = Spec::default();
    let mut world = standing(&spec);
    disturb(&mut world, Drift::TerminateButKeepTheAddress);
    apply(&mut world, &spec, days(1), usize::MAX);
    let running = world.all.instances.iter().filter(|i| i.state == InstanceState::Running).count();
    assert_eq!(running, 2, "the neighbour's and ours");
    assert_eq!(world.all.addresses_of(BASTION_NAME).count(), 1);
}
