//! What every cloud's provider keeps, shown on AWS by moto: from a plan to a bastion, through its changes and through
//! drift, back to nothing, and nothing foreign touched on the way.

use serde_json::{Value, json};

use crate::support::{self, Bastion, Lab, Moto, plans::ROTATED_KEY};

type Change = fn(&mut Bastion, &Lab<'_>);

/// The world that a plan gives in an account where nothing happened before.
fn fresh(moto: &Moto, change: Change) -> Value {
    let lab = Lab::new(moto);
    let mut bastion = lab.bastion();
    change(&mut bastion, &lab);
    lab.apply(&bastion);
    lab.ours().ours
}

fn instance_id(lab: &Lab<'_>) -> Value {
    lab.account.boto(
        "
live = [{'Name': 'instance-state-name', 'Values': ['pending', 'running']}]
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=live)['Reservations']]
result = machine['InstanceId']",
        Value::Null,
    )
}

#[test]
fn a_bastion_comes_and_goes() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let bastion = lab.bastion();

    lab.assert_differs(&bastion);
    lab.ours().assert_nothing_of_ours();

    lab.apply(&bastion);
    let world = lab.ours();
    assert_eq!(world.ours("instances").len(), 1, "{}", world.ours);
    assert_eq!(world.ours("addresses").len(), 1, "{}", world.ours);
    assert_eq!(world.ours("groups").len(), 1, "{}", world.ours);
    assert_eq!(world.ours("addresses")[0]["InstanceId"], "instance warehouse (InstanceId)");
    let rules = |group: &str, egress: bool| {
        let chosen = |r: &&Value| r["GroupId"] == format!("group {group}") && r["IsEgress"] == egress;
        world.ours("rules").iter().filter(chosen).count()
    };
    assert_eq!(rules("gangplank-warehouse", false), 1, "{}", world.ours);
    assert_eq!(rules("warehouse-db", false), 1, "{}", world.ours);
    let open = |r: &&Value| r["CidrIpv4"] == "0.0.0.0/0" && r["IpProtocol"] == "-1";
    assert_eq!(world.ours("rules").iter().find(open), None, "the rule that comes with every group is still there");

    lab.assert_settled(&bastion);
    let again = lab.apply(&bastion);
    assert_eq!(again.writes(), 0, "{again}");
    lab.run("status", &bastion, &[]).0.expect(0);

    lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
    lab.ours().assert_nothing_of_ours();
    let (again, calls) = lab.run("destroy", &bastion, &["--yes"]);
    again.expect(0);
    assert_eq!(calls.writes(), 0, "{calls}");
}

#[test]
fn nothing_is_written_without_consent() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    // Nobody can be asked: standard input is empty.
    let (run, calls) = lab.run("apply", &lab.bastion(), &[]);
    assert_ne!(run.code(), Some(0), "{run}");
    assert_eq!(calls.writes(), 0, "{calls}");
    lab.ours().assert_nothing_of_ours();
}

/// A changed plan, applied to what is there, gives what it would have given in the first place.
#[test]
fn changes_end_where_a_fresh_start_would() {
    let Some(moto) = support::moto_or_skip() else { return };
    let changes: [(&str, Change); 6] = [
        ("a source more", |b, _| b.allow_from.push("198.51.100.8/32".to_owned())),
        ("another source", |b, _| b.allow_from = vec!["203.0.113.0/28".to_owned()]),
        ("another target", |b, _| b.targets[0].1 = "10.20.2.11".to_owned()),
        ("another key", |b, _| b.keys = vec![ROTATED_KEY.to_owned()]),
        ("a database more", |b, lab| {
            b.databases.push((lab.seed.orders_group.clone(), 3306));
            b.targets.push(("orders".to_owned(), "10.20.2.12".to_owned(), 3306));
        }),
        ("another tag", |b, _| b.tags[0].1 = "platform".to_owned()),
    ];
    for (what, change) in changes {
        let lab = Lab::new(moto);
        let mut bastion = lab.bastion();
        lab.apply(&bastion);
        change(&mut bastion, &lab);
        lab.assert_differs(&bastion);
        lab.apply(&bastion);
        lab.assert_settled(&bastion);
        lab.ours().assert_ours(&fresh(moto, change), what);
    }
}

#[test]
fn who_may_come_changes_without_a_new_machine() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let mut bastion = lab.bastion();
    lab.apply(&bastion);
    let machine = instance_id(&lab);
    bastion.allow_from.push("198.51.100.8/32".to_owned());
    bastion.tags.push(("cost-centre".to_owned(), "42".to_owned()));
    lab.apply(&bastion);
    assert_eq!(instance_id(&lab), machine);
}

/// Somebody changes things by hand; the plan sees it, and applying repairs it.
#[test]
fn drift_is_seen_and_repaired() {
    let Some(moto) = support::moto_or_skip() else { return };
    let own_group = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[group] = ec2.describe_security_groups(Filters=own)['SecurityGroups']
def rules(**match):
    found = ec2.describe_security_group_rules(Filters=[{'Name': 'group-id', 'Values': [match.pop('group')]}])
    return [r for r in found['SecurityGroupRules'] if all(r.get(k) == v for k, v in match.items())]
";
    let drifts = [
        (
            "opened to everybody",
            "
ec2.authorize_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[
    {'IpProtocol': 'tcp', 'FromPort': 22, 'ToPort': 22, 'IpRanges': [{'CidrIp': '0.0.0.0/0'}]}])",
        ),
        (
            "all ports opened to one",
            "
ec2.authorize_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[
    {'IpProtocol': '-1', 'IpRanges': [{'CidrIp': '192.0.2.9/32'}]}])",
        ),
        (
            "lets everything out",
            "
ec2.authorize_security_group_egress(GroupId=group['GroupId'], IpPermissions=[
    {'IpProtocol': '-1', 'IpRanges': [{'CidrIp': '0.0.0.0/0'}]}])",
        ),
        (
            "a source closed",
            "
[rule] = rules(group=group['GroupId'], IsEgress=False)
ec2.revoke_security_group_ingress(GroupId=group['GroupId'], SecurityGroupRuleIds=[rule['SecurityGroupRuleId']])",
        ),
        (
            "the way to the database closed",
            "
[rule] = [r for r in rules(group=input['warehouse_group'], IsEgress=False) if 'ReferencedGroupInfo' in r]
ec2.revoke_security_group_ingress(GroupId=input['warehouse_group'], SecurityGroupRuleIds=[rule['SecurityGroupRuleId']])",
        ),
        (
            "the machine terminated",
            "
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=own)['Reservations']]
ec2.terminate_instances(InstanceIds=[machine['InstanceId']])",
        ),
        (
            "the address moved off",
            "
[address] = ec2.describe_addresses(Filters=own)['Addresses']
ec2.disassociate_address(AssociationId=address['AssociationId'])",
        ),
        (
            "the machine's tag removed",
            "
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=own)['Reservations']]
ec2.delete_tags(Resources=[machine['InstanceId']], Tags=[{'Key': 'team'}])",
        ),
        ("the group's tag changed", "
ec2.create_tags(Resources=[group['GroupId']], Tags=[{'Key': 'team', 'Value': 'nobody'}])"),
    ];
    for (what, drift) in drifts {
        let lab = Lab::new(moto);
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let before = lab.ours();
        lab.account.boto(&format!("{own_group}{drift}"), json!({"warehouse_group": lab.seed.warehouse_group}));
        assert_ne!(lab.account.world(), before, "{what}: the test did nothing");
        lab.assert_differs(&bastion);
        lab.apply(&bastion);
        lab.ours().assert_ours(&before.ours, what);
        lab.assert_settled(&bastion);
    }
}

/// What stands under our name and is not ours stops the run before it writes.
#[test]
fn a_foreign_group_of_our_name_is_left_alone() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    lab.account.boto(
        "ec2.create_security_group(GroupName='gangplank-warehouse', Description='somebody else', VpcId=input)",
        json!(lab.seed.vpc),
    );
    let before = lab.account.world();
    for (verb, options) in [("plan", &["--detailed-exitcode"][..]), ("apply", &["--yes"])] {
        let (run, calls) = lab.run(verb, &lab.bastion(), options);
        let run = run.expect(3);
        assert!(run.stderr.contains("gangplank-warehouse"), "{run}");
        assert_eq!(calls.writes(), 0, "{calls}");
    }
    // Nothing of ours is there to destroy.
    let (run, calls) = lab.run("destroy", &lab.bastion(), &["--yes"]);
    run.expect(0);
    assert_eq!(calls.writes(), 0, "{calls}");
    assert_eq!(lab.account.world(), before);
}

#[test]
fn a_subnet_that_cannot_work_is_refused_with_the_reason() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let cases = [
        (lab.seed.private_subnet.clone(), "internet gateway"),
        (lab.seed.other_public_subnet.clone(), "network"),
        ("subnet-0123456789abcdef0".to_owned(), "no such subnet"),
    ];
    for (subnet, reason) in cases {
        let bastion = Bastion { subnet, ..lab.bastion() };
        for (verb, options) in [("plan", &[][..]), ("apply", &["--yes"])] {
            let (run, calls) = lab.run(verb, &bastion, options);
            let run = run.expect(3);
            assert!(run.stderr.contains(reason), "expected {reason:?}\n{run}");
            assert!(run.stderr.contains("warehouse.yaml:"), "no place in the plan\n{run}");
            assert_eq!(calls.writes(), 0, "{calls}");
        }
    }
    lab.ours().assert_nothing_of_ours();
}

#[test]
fn an_address_of_somebodys_own_is_used_and_kept() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let bastion = Bastion { address: lab.seed.address.clone(), ..lab.bastion() };
    let before = lab.account.world();
    lab.apply(&bastion);
    let during = lab.account.world();
    assert_eq!(during.ours("addresses").len(), 0);
    assert_eq!(during.foreign["addresses"][0]["InstanceId"], instance_id(&lab));
    lab.assert_settled(&bastion);
    lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
    assert_eq!(lab.account.world(), before);
}

#[test]
fn a_saved_changeset_is_applied_as_it_was_shown() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let mut bastion = lab.bastion();
    let saved = lab.gangplank.home().join("saved.json");
    let saved = saved.to_str().expect("a temporary folder's name");
    lab.run("plan", &bastion, &["--out", saved]).0.expect(0);
    // What the plan's file says now is of no concern.
    bastion.allow_from.push("198.51.100.8/32".to_owned());
    lab.gangplank.write(&bastion);
    lab.command(&["apply", saved, "--yes", "--no-verify"]).0.expect(0);
    lab.ours().assert_ours(&fresh(moto, |_, _| {}), "the saved changeset applied");
}

#[test]
fn a_saved_changeset_is_refused_when_the_world_has_moved() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let mut bastion = lab.bastion();
    lab.apply(&bastion);
    bastion.allow_from.push("198.51.100.8/32".to_owned());
    let saved = lab.gangplank.home().join("saved.json");
    let saved = saved.to_str().expect("a temporary folder's name");
    lab.run("plan", &bastion, &["--out", saved]).0.expect(0);
    lab.apply(&bastion);
    let before = lab.ours();
    let (run, calls) = lab.command(&["apply", saved, "--yes", "--no-verify"]);
    assert!(matches!(run.code(), Some(1 | 3)), "{run}");
    assert_eq!(calls.writes(), 0, "{calls}");
    assert_eq!(lab.ours(), before);
}

/// Two bastions in one run, and one of them goes.
#[test]
fn bastions_do_not_touch_each_other() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let (one, two) = (lab.bastion(), Bastion::new("reports", &lab.seed));
    let paths = [lab.gangplank.write(&one), lab.gangplank.write(&two)];
    let paths: Vec<&str> = paths.iter().map(|p| p.to_str().expect("a temporary folder's name")).collect();
    lab.command(&[&["apply", "--yes", "--no-verify"], &paths[..]].concat()).0.expect(0);
    assert_eq!(lab.ours().ours("instances").len(), 2);
    lab.run("destroy", &two, &["--yes"]).0.expect(0);
    lab.ours().assert_ours(&fresh(moto, |_, _| {}), "one of two destroyed");
    lab.assert_settled(&one);
}
