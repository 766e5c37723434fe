//! Whoever may still come is never shut out by a change of the rules, whichever of its calls is refused: seen by boto3 after each
//! call, against moto and the sandbox.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use gangplank::sandbox::ec2::{Pace, World};
use serde_json::{Value, json};

use crate::support::{
    self, Account, Bastion, Calls, Fault, Lab, Moment, Run, Scope, listening::Listening, plans, unverified,
};

type Sources = BTreeSet<String>;

/// In an account of moto's, and in one of the sandbox's, whose groups are known to every call after `settle` only.
pub fn on_both(settle: Duration, test: impl Fn(&Lab<'static>)) {
    let Some(moto) = support::moto_or_skip() else { return };
    test(&Lab::new(moto));
    let mut world = World::seeded(1);
    world.pace = Pace { settle, ..Pace::instant() };
    let sandbox = Listening::start(world);
    test(&Lab::of(moto.account().at(sandbox.address)));
}

fn sources(numbers: std::ops::Range<u8>) -> Vec<String> {
    numbers.map(|n| format!("203.0.113.{n}/32")).collect()
}

fn set(all: &[String]) -> Sources {
    all.iter().cloned().collect()
}

/// Whom the bastion's group admits, as boto3 sees it.
fn admitted(account: &Account<'_>) -> Sources {
    let found = account.boto(
        "
groups = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-warehouse']}])['SecurityGroups']
result = [r['CidrIp'] for g in groups for p in g['IpPermissions'] for r in p['IpRanges']]",
        Value::Null,
    );
    serde_json::from_value(found).expect("a list")
}

/// What a change did, and whom the group admitted after each of its writes.
struct Watched {
    run: Run,
    calls: Calls,
    moments: Vec<Sources>,
}

fn change(lab: &Lab<'static>, to: &Bastion, faults: &[(Scope, usize, Fault)]) -> Watched {
    let path = lab.gangplank.write(to);
    let path = path.to_str().expect("a temporary folder's name");
    let proxy = lab.proxy();
    for (scope, at, fault) in faults {
        proxy.fault(*scope, *at..at + 1, fault.clone());
    }
    let moments = Arc::new(Mutex::new(vec![admitted(&lab.account)]));
    proxy.watch({
        let (account, moments) = (lab.account.clone(), Arc::clone(&moments));
        move |_| moments.lock().expect("no panic").push(admitted(&account))
    });
    let arguments = [&["apply", path, "--yes"], unverified("apply")].concat();
    let run = proxy.run(lab.gangplank.command(proxy.address()).args(arguments));
    let calls = proxy.take_calls();
    drop(proxy);
    let mut moments = moments.lock().expect("no panic").clone();
    moments.push(admitted(&lab.account));
    Watched { run, calls, moments }
}

impl Watched {
    /// Those on both lists are admitted all the time, and never nobody is.
    #[track_caller]
    fn assert_nobody_is_shut_out(&self, old: &Sources, new: &Sources) {
        for moment in &self.moments {
            assert!(!moment.is_empty(), "nobody may come in\n{}\n{}", self.run, self.calls);
            let stays: Sources = old.intersection(new).cloned().collect();
            assert!(moment.is_superset(&stays), "of {stays:?} only {moment:?}\n{}", self.run);
        }
    }

    /// All of the old list, or all of the new one.
    #[track_caller]
    fn assert_one_list_is_whole(&self, old: &Sources, new: &Sources) {
        for moment in &self.moments {
            assert!(moment.is_superset(old) || moment.is_superset(new), "{moment:?}\n{}\n{}", self.run, self.calls);
        }
    }
}

fn admitting(lab: &Lab<'_>, sources: Vec<String>) -> Bastion {
    Bastion { allow_from: sources, ..lab.bastion() }
}

#[test]
fn new_addresses_are_open_before_old_ones_close() {
    on_both(Duration::ZERO, |lab| {
        let (old, new) = (sources(1..26), sources(21..46));
        lab.apply(&admitting(lab, old.clone()));
        let to = admitting(lab, new.clone());
        let watched = change(lab, &to, &[]);
        watched.run.clone().expect(0);
        watched.assert_one_list_is_whole(&set(&old), &set(&new));
        watched.assert_nobody_is_shut_out(&set(&old), &set(&new));
        assert_eq!(watched.moments.last(), Some(&set(&new)));
        assert_eq!(watched.calls.writes(), 2, "{}", watched.calls);
        lab.assert_settled(&to);
    });
}

#[test]
fn what_is_refused_closes_nothing_and_says_what_exists_now() {
    on_both(Duration::ZERO, |lab| {
        let (old, new) = (sources(1..3), sources(3..5));
        lab.apply(&admitting(lab, old.clone()));
        let to = admitting(lab, new.clone());
        let ingress = "AuthorizeSecurityGroupIngress";
        let told = |run: &Run, expected: &str| {
            let text = format!("{}{}", run.stdout, run.stderr);
            assert!(text.contains(expected), "{run}");
            assert!(!text.contains("this call changed nothing"), "{run}");
        };
        let watched = change(lab, &to, &[(Scope::Action(ingress), 0, Fault::DENIED)]);
        let run = watched.run.clone().expect(1);
        told(&run, "exists now: 0 of 2 new addresses are open, 2 of 2 old addresses are still open");
        assert!(watched.moments.iter().all(|moment| *moment == set(&old)), "{:?}", watched.moments);
        assert_eq!(watched.calls.of("RevokeSecurityGroupIngress"), 0, "{}", watched.calls);

        // Opening is done and closing is refused: the facts say so, and the next run closes.
        let denied = change(lab, &to, &[(Scope::Action("RevokeSecurityGroupIngress"), 0, Fault::DENIED)]);
        told(&denied.run, "2 of 2 new addresses are open, 2 of 2 old addresses are still open");
        lab.apply(&to);
        assert_eq!(admitted(&lab.account), set(&new));

        // A quota that holds nothing new whatever makes room: half of the old stays, and the facts say so.
        let quota = Fault::quota("RulesPerSecurityGroupLimitExceeded");
        let faults: Vec<_> = (0..9).map(|n| (Scope::Action(ingress), n, quota.clone())).collect();
        let full = change(lab, &admitting(lab, old.clone()), &faults);
        told(&full.run.clone().expect(1), "0 of 2 new addresses are open, 1 of 2 old addresses are still open");
        assert!(full.moments.iter().all(|moment| !moment.is_empty()), "{:?}", full.moments);
        lab.apply(&admitting(lab, old.clone()));
    });
}

#[test]
fn a_full_group_changes_in_batches_that_leave_a_way_in() {
    on_both(Duration::ZERO, |lab| {
        let (old, new) = (sources(1..41), sources(41..81));
        let from = admitting(lab, old.clone());
        let to = admitting(lab, new.clone());
        lab.apply(&from);
        let plan = lab.run("plan", &to, &[]).0.expect(0);
        assert!(plan.stdout.contains("closes 20 old ones before it opens the last 20 new ones, in batches"), "{plan}");
        let watched = change(lab, &to, &[]);
        watched.run.clone().expect(0);
        watched.assert_nobody_is_shut_out(&set(&old), &set(&new));
        assert_eq!(watched.moments.last(), Some(&set(&new)));
        lab.assert_settled(&to);
        // Whichever write is refused on the way back, somebody may come in, and the next run goes on.
        for write in [1, 3, watched.calls.writes() - 1] {
            let refused = change(lab, &from, &[(Scope::Writes, write, Fault::DENIED)]);
            refused.run.clone().expect(1);
            refused.assert_nobody_is_shut_out(&set(&new), &set(&old));
            lab.apply(&from);
            assert_eq!(admitted(&lab.account), set(&old));
            lab.apply(&to);
        }
    });
}

#[test]
fn more_than_the_quota_holds_closes_nothing() {
    on_both(Duration::ZERO, |lab| {
        let (old, new) = (sources(1..41), sources(41..102));
        lab.apply(&admitting(lab, old.clone()));
        let mut to = admitting(lab, new);
        for (verb, options) in [("plan", &[][..]), ("apply", &["--yes"])] {
            let (run, calls) = lab.run(verb, &to, options);
            let run = run.expect(3);
            let told =
                ["61 ingress rules in gangplank-warehouse, and the quota is 60", "L-0EA8095F", "rules_per_group: 61"];
            assert!(told.iter().all(|text| run.stderr.contains(text)), "{run}");
            assert_eq!(calls.writes(), 0, "{calls}");
        }
        // Where the plan tells a higher quota than the account has, EC2 refuses.
        to.rules_per_group = Some(100);
        let watched = change(lab, &to, &[]);
        let run = watched.run.clone().expect(1);
        assert!(run.stderr.contains("20 of 61 new addresses are open, 40 of 40 old addresses are still open"), "{run}");
        assert!(watched.moments.iter().all(|moment| moment.is_superset(&set(&old))), "{run}");
    });
}

/// A way to another database: the old one stays open until the new one is, in both groups.
#[test]
fn a_way_to_a_database_closes_after_the_new_one_is_open() {
    on_both(Duration::ZERO, |lab| {
        let from = lab.bastion();
        lab.apply(&from);
        let to = Bastion { databases: vec![(lab.seed.orders_group.clone(), 3306)], ..lab.bastion() };
        // The database's own group is the first that is opened: without it nothing closes.
        let watched = change(lab, &to, &[(Scope::Action("AuthorizeSecurityGroupIngress"), 0, Fault::DENIED)]);
        watched.run.clone().expect(1);
        assert_eq!(watched.calls.of("RevokeSecurityGroupIngress"), 0, "{}", watched.calls);
        assert_eq!(watched.calls.of("RevokeSecurityGroupEgress"), 0, "{}", watched.calls);
        lab.apply(&to);
        lab.assert_settled(&to);
    });
}

/// How the network of the test's bastion behaves: see `stricter.py`.
fn say_of_network(lab: &Lab<'_>, told: &str) {
    let input = json!({"vpc": lab.seed.vpc, "told": told});
    lab.account.boto("ec2.create_tags(Resources=[input['vpc']], Tags=[{'Key': input['told'], 'Value': ''}])", input);
}

#[track_caller]
fn assert_not_everything_goes_out(lab: &Lab<'_>) {
    let open = lab.account.boto(
        "
[group] = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-warehouse']}])['SecurityGroups']
result = [p['IpProtocol'] for p in group['IpPermissionsEgress']]",
        Value::Null,
    );
    assert!(!open.as_array().is_some_and(|all| all.contains(&json!("-1"))), "{open}");
}

/// EC2 may not know a new group for a moment. What it opens by itself in every new group is closed all the same.
#[test]
fn a_group_that_is_not_known_yet_is_waited_for() {
    on_both(Duration::from_millis(700), |lab| {
        say_of_network(lab, "test:groups-settle");
        let calls = lab.apply(&lab.bastion());
        assert!(calls.of("AuthorizeSecurityGroupEgress") > 2, "{calls}");
        assert_not_everything_goes_out(lab);
    });
}

/// In a default network EC2 refuses nothing that it does not find: its answer says so, and that means "not yet".
#[test]
fn a_rule_that_a_default_network_does_not_know_yet_is_closed() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    say_of_network(&lab, "test:groups-settle");
    say_of_network(&lab, "test:default-network");
    let calls = lab.apply(&lab.bastion());
    assert_eq!(calls.of("RevokeSecurityGroupEgress"), 2, "{calls}");
    assert_not_everything_goes_out(&lab);
    lab.assert_settled(&lab.bastion());
}

/// What made room for a rule that is then refused is opened again.
#[test]
fn what_was_closed_for_nothing_is_opened_again() {
    on_both(Duration::ZERO, |lab| {
        let (old, new) = (sources(1..41), sources(41..81));
        lab.apply(&admitting(lab, old.clone()));
        let ingress = Scope::Action("AuthorizeSecurityGroupIngress");
        // All forty are refused by the quota; twenty of them fit, in two calls; the rest is refused once more when old ones have made room.
        let calls = change(lab, &admitting(lab, new.clone()), &[]).calls.of("AuthorizeSecurityGroupIngress");
        lab.apply(&admitting(lab, old.clone()));
        let faults = [(ingress, calls - 1, Fault::DENIED)];
        let watched = change(lab, &admitting(lab, new), &faults);
        let run = watched.run.clone().expect(1);
        let told = "20 of 40 new addresses are open, 40 of 40 old addresses are still open";
        assert!(
            run.stderr.contains(told) && run.stderr.contains("20 of them were closed to make room, and opened again"),
            "{run}"
        );
        let last = watched.moments.last().expect("a last look");
        assert!(last.is_superset(&set(&old)), "{last:?}\n{run}");
    });
}

/// Tags are removed in one call and set in another.
#[test]
fn a_tag_step_that_fails_half_way_says_what_it_removed() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    lab.apply(&Bastion { keys: vec![plans::KEY.to_owned(), plans::ROTATED_KEY.to_owned()], ..lab.bastion() });
    let to = Bastion { keys: vec![plans::KEY.to_owned()], ..lab.bastion() };
    let denied = change(&lab, &to, &[(Scope::Action("CreateTags"), 0, Fault::DENIED)]);
    let run = denied.run.expect(1);
    assert!(run.stderr.contains("exists now: some of the tags are changed: removed gangplank:key."), "{run}");
    lab.apply(&to);
    lab.assert_settled(&to);
}

/// An operator's rule is no way in for a vendor: in a full group half of the vendor's own stay until a new one is open, and a run that is
/// killed after any of its calls leaves the vendor one.
#[test]
fn an_operators_way_is_none_for_a_vendor() {
    on_both(Duration::ZERO, |lab| {
        let operator = vec!["198.51.100.20/32".to_owned()];
        let (old, new) = (sources(1..60), sources(60..119));
        let bastion = |sources: &[String]| Bastion { operator: operator.clone(), ..admitting(lab, sources.to_vec()) };
        let (from, to) = (bastion(&old), bastion(&new));
        lab.apply(&from);
        let all: Sources = old.iter().chain(&new).cloned().collect();
        let assert_has_a_way = |watched: &Watched| {
            for moment in &watched.moments {
                assert!(!moment.is_disjoint(&all), "the vendor has no way in\n{}\n{}", watched.run, watched.calls);
                assert!(moment.is_superset(&set(&operator)), "{moment:?}\n{}", watched.run);
            }
        };
        let watched = change(lab, &to, &[]);
        watched.run.clone().expect(0);
        assert_has_a_way(&watched);
        lab.assert_settled(&to);
        for write in 0..watched.calls.writes() {
            lab.apply(&from);
            let killed = change(lab, &to, &[(Scope::Writes, write, Fault::Kill(Moment::After))]);
            assert_eq!(killed.run.code(), None, "{}", killed.run);
            assert_has_a_way(&killed);
        }
        let resumed = change(lab, &to, &[]);
        resumed.run.clone().expect(0);
        assert_has_a_way(&resumed);
        lab.assert_settled(&to);
    });
}

/// Nothing else can make room: the plan says beforehand that the vendor's only address closes first.
#[test]
fn the_only_way_of_a_vendor_closes_first_where_the_plan_says_so() {
    on_both(Duration::ZERO, |lab| {
        let operator: Vec<String> = (1..60).map(|n| format!("198.51.100.{n}/32")).collect();
        let bastion = |n: u8| Bastion { operator: operator.clone(), ..admitting(lab, sources(n..n + 1)) };
        lab.apply(&bastion(1));
        let to = bastion(2);
        let plan = lab.run("plan", &to, &[]).0.expect(0);
        assert!(plan.stdout.contains("apply closes it before it opens the new one"), "{plan}");
        let denied = change(lab, &to, &[(Scope::Action("AuthorizeSecurityGroupIngress"), 1, Fault::DENIED)]);
        let run = denied.run.clone().expect(1);
        assert!(run.stderr.contains("1 of 1 old address is still open"), "{run}");
        assert!(denied.moments.last().is_some_and(|moment| moment.contains("203.0.113.1/32")), "{run}");
        lab.apply(&to);
        lab.assert_settled(&to);

        // The plan tells a higher quota than the account has: it could not say so, and nothing closes.
        let to = Bastion { rules_per_group: Some(100), ..bastion(3) };
        let refused = change(lab, &to, &[]);
        refused.run.clone().expect(1);
        assert_eq!(refused.calls.of("RevokeSecurityGroupIngress"), 0, "{}", refused.calls);
    });
}
