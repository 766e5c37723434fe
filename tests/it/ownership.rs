//! Only its own, and no impostor: somebody with a right to tag, or to launch, against the program as people run it; on moto and on
//! the sandbox's EC2, with boto3 as the second pair of eyes.

use gangplank::sandbox::ec2::{Pace, World};
use serde_json::{Value, json};

use crate::support::{self, Lab, listening::Listening};

pub fn on_both(test: impl Fn(&Lab<'_>)) {
    let Some(moto) = support::moto_or_skip() else { return };
    test(&Lab::new(moto));
    let mut world = World::seeded(1);
    world.pace = Pace::instant();
    let sandbox = Listening::start(world);
    test(&Lab::of(moto.account().at(sandbox.address)));
}

const LAUNCH: &str = "
def image(name):
    found = ec2.describe_images(Filters=[{'Name': 'name', 'Values': [name]}, {'Name': 'architecture', 'Values': ['arm64']}])
    return found['Images'][0]['ImageId']
def launch(name, tags, **more):
    specification = [{'ResourceType': 'instance', 'Tags': [{'Key': k, 'Value': v} for k, v in tags.items()]}]
    [made] = ec2.run_instances(ImageId=image(name), InstanceType='t4g.nano', MinCount=1, MaxCount=1,
        SubnetId=input['public_subnet'], TagSpecifications=specification, **more)['Instances']
    return made['InstanceId']
def machines():
    all = [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances']]
    return {i['InstanceId']: i for i in all if i['State']['Name'] not in ('terminated', 'shutting-down')}
def tags_of(machine):
    return {t['Key']: t['Value'] for t in machine.get('Tags', [])}
";

fn boto(lab: &Lab<'_>, script: &str) -> Value {
    lab.account.boto(&format!("{LAUNCH}{script}"), json!({"public_subnet": lab.seed.public_subnet}))
}

fn alive(lab: &Lab<'_>) -> Vec<String> {
    let ids = boto(lab, "result = sorted(machines())");
    ids.as_array().expect("ids").iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Another image with the genuine document and the real one's tags, and the real one's boot tag changed.
#[test]
fn an_impostor_gets_neither_the_address_nor_the_database() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let [real] = alive(lab).try_into().expect("one machine");
        let impostor = boto(
            lab,
            "
import base64
[real] = machines()
document = ec2.describe_instance_attribute(InstanceId=real, Attribute='userData')['UserData']['Value']
tags = {k: v for k, v in tags_of(machines()[real]).items() if k != 'gangplank:host-key'}
result = launch('ubuntu/images/hvm-ssd-gp3/ubuntu-*-26.04-arm64-server-*', tags, UserData=base64.b64decode(document))
ec2.create_tags(Resources=[real], Tags=[{'Key': 'gangplank:boot', 'Value': 'document=000000000000'}])",
        );
        let impostor = impostor.as_str().expect("an id").to_owned();
        let (run, _) = lab.run("apply", &bastion, &["--yes"]);
        let run = run.expect(0);
        assert!(run.stdout.contains(&impostor) && run.stdout.contains("left alone"), "{run}");
        let after = boto(
            lab,
            "
[address] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
result = {i: [g['GroupName'] for g in m['SecurityGroups']] for i, m in machines().items()}
result['holder'] = address['InstanceId']",
        );
        assert_eq!(after[&impostor], json!(["default"]), "{after}");
        assert!(after.get(&real).is_none(), "it had to be replaced: {after}");
        assert!(after["holder"] != json!(impostor) && after["holder"] != json!(real), "{after}");

        let (run, _) = lab.run("verify", &bastion, &["--no-network"]);
        let run = run.expect(4);
        assert!(run.stdout.contains("control.ownership") && run.stdout.contains(&impostor), "{run}");
        let (run, _) = lab.run("drift", &bastion, &[]);
        run.expect(2);
        // What is its own goes; that something with its tag is left is told.
        let (run, _) = lab.run("destroy", &bastion, &["--yes"]);
        let run = run.expect(2);
        assert!(run.stdout.contains(&impostor), "{run}");
        assert_eq!(alive(lab), [impostor]);
    });
}

/// Tags on what is somebody else's: nothing of it goes, by no verb.
#[test]
fn tags_on_a_production_machine_and_on_a_spare_address_make_nothing_go() {
    on_both(|lab| {
        let payments = boto(
            lab,
            "
result = launch('debian-13-arm64-*', {'Name': 'prod-payments-db', 'env': 'production'})
mark = [{'Key': 'gangplank:bastion', 'Value': 'oldproject'}, {'Key': 'gangplank:expires', 'Value': '2020-01-01T00:00:00Z'}]
ec2.create_tags(Resources=[result], Tags=mark)
[spare] = [a for a in ec2.describe_addresses()['Addresses'] if not a.get('InstanceId')]
ec2.create_tags(Resources=[spare['AllocationId']], Tags=[{'Key': 'gangplank:bastion', 'Value': 'oldaddr'}])",
        );
        let payments = payments.as_str().expect("an id").to_owned();
        let before = lab.account.world();
        let (run, calls) = lab.command(&["reap", "--region", "us-east-1", "--yes", "--settle", "0m"]);
        assert_eq!(calls.writes(), 0, "{calls}\n{run}");
        assert!(run.stdout.contains(&payments), "{run}");
        assert_eq!(lab.account.world(), before);

        boto(
            lab,
            "
[payments] = machines()
ec2.create_tags(Resources=[payments], Tags=[{'Key': 'gangplank:bastion', 'Value': 'warehouse'}])",
        );
        let bastion = lab.bastion();
        let (run, _) = lab.run("apply", &bastion, &["--yes"]);
        let run = run.expect(0);
        assert!(run.stdout.contains("prod-payments-db"), "{run}");
        assert!(alive(lab).contains(&payments));
        let (run, _) = lab.run("destroy", &bastion, &["--yes"]);
        let run = run.expect(2);
        assert!(run.stdout.contains("prod-payments-db"), "{run}");
        assert_eq!(alive(lab), [payments]);
    });
}

/// Nothing tells which of two is the bastion's: neither is ended, and both are named.
#[test]
fn two_machines_without_an_address_are_refused() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        boto(
            lab,
            "
[real] = machines()
groups = [g['GroupId'] for g in machines()[real]['SecurityGroups']]
launch('debian-13-arm64-*', tags_of(machines()[real]), SecurityGroupIds=groups)
[address] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
ec2.disassociate_address(AssociationId=address['AssociationId'])",
        );
        let both = alive(lab);
        assert_eq!(both.len(), 2);
        let (run, calls) = lab.run("apply", &bastion, &["--yes"]);
        let run = run.expect(3);
        assert!(both.iter().all(|id| run.stderr.contains(id)), "{run}");
        assert_eq!(calls.writes(), 0, "{calls}");
        assert_eq!(alive(lab), both);
    });
}

/// Somebody takes the leftover of an interrupted run and launches it with another document: it is not taken over.
#[test]
fn a_machine_with_another_document_is_not_taken_over() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let other = boto(
            lab,
            "
[real] = machines()
groups = [g['GroupId'] for g in machines()[real]['SecurityGroups']]
result = launch('debian-13-arm64-*', tags_of(machines()[real]), SecurityGroupIds=groups, UserData='#cloud-config')
ec2.terminate_instances(InstanceIds=[real])",
        );
        let other = other.as_str().expect("an id").to_owned();
        lab.apply(&bastion);
        let alive = alive(lab);
        assert!(alive.len() == 1 && !alive.contains(&other), "{alive:?} {other}");
        lab.assert_settled(&bastion);
    });
}

/// An impostor in the bastion's own group, with its tags and another document, to which somebody has moved the address: the genuine
/// machine is not ended for its sake. It costs one read of the machine and one of its image.
#[test]
fn nothing_is_ended_for_an_impostor_that_holds_the_address() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let [real] = alive(lab).try_into().expect("one machine");
        let impostor = boto(
            lab,
            "
[real] = machines()
groups = [g['GroupId'] for g in machines()[real]['SecurityGroups']]
result = launch('debian-13-arm64-*', tags_of(machines()[real]), SecurityGroupIds=groups, UserData='#cloud-config\\nruncmd: [evil]')
[address] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
ec2.associate_address(AllocationId=address['AllocationId'], InstanceId=result, AllowReassociation=True)",
        );
        let impostor = impostor.as_str().expect("an id").to_owned();
        let both = alive(lab);
        for verb in ["plan", "apply"] {
            let options: &[&str] = if verb == "apply" { &["--yes"] } else { &[] };
            let (run, calls) = lab.run(verb, &bastion, options);
            let run = run.expect(3);
            assert_eq!((calls.writes(), calls.of("DescribeInstanceAttribute")), (0, 1), "{calls}");
            assert!(run.stderr.contains(&real) && run.stderr.contains(&impostor), "{run}");
            assert!(run.stderr.contains("associate-address"), "{run}");
            assert_eq!(alive(lab), both);
        }
    });
}

/// One changed tag does not make a bastion that serves one "without a machine": by the group, by the machine, with an address of its own
/// and without.
#[test]
fn a_machine_that_lost_a_tag_is_a_doubt_to_reap() {
    const GROUP: &str = "
[one] = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-warehouse']}])['SecurityGroups']
one = one['GroupId']
";
    const MACHINE: &str = "
[one] = machines()
";
    const UNTAG: &str = "ec2.delete_tags(Resources=[one], Tags=[{'Key': 'gangplank:bastion'}])";
    const OTHER: &str = "ec2.create_tags(Resources=[one], Tags=[{'Key': 'gangplank:bastion', 'Value': 'other'}])";
    const NO_BOOT: &str = "ec2.delete_tags(Resources=[one], Tags=[{'Key': 'gangplank:boot'}])";
    const SPOILED: &str = "ec2.create_tags(Resources=[one], Tags=[{'Key': 'gangplank:boot', 'Value': 'x'}])";
    let stopped = format!("{UNTAG}\nec2.stop_instances(InstanceIds=[one])");
    let elastic = [(GROUP, UNTAG), (GROUP, OTHER), (MACHINE, UNTAG), (MACHINE, SPOILED)];
    let own = [(MACHINE, UNTAG), (MACHINE, OTHER), (MACHINE, NO_BOOT), (MACHINE, SPOILED), (MACHINE, &stopped)];
    on_both(|lab| {
        for (existing, cases) in [(false, &elastic[..]), (true, &own)] {
            for (of, change) in cases {
                let mut bastion = lab.bastion();
                if existing {
                    bastion.address.clone_from(&lab.seed.address);
                }
                lab.apply(&bastion);
                let [real] = alive(lab).try_into().expect("one machine");
                boto(lab, &format!("{of}{change}"));
                let when = format!("existing {existing}{of}{change}");
                let before = lab.account.world();
                let (run, calls) = lab.command(&["reap", "--region", "us-east-1", "--yes", "--settle", "0m"]);
                let run = run.expect(2);
                assert_eq!(calls.writes(), 0, "{when} {calls}\n{run}");
                assert!(run.stdout.contains(&real) && run.stdout.contains("left alone, look at it"), "{when}\n{run}");
                assert_eq!(lab.account.world(), before, "{when}");
                let repair = format!(
                    "{GROUP}ec2.create_tags(Resources=[one, '{real}'], Tags=[{{'Key': 'gangplank:bastion', 'Value': 'warehouse'}}])
ec2.terminate_instances(InstanceIds=['{real}'])"
                );
                boto(lab, &repair);
                lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
            }
        }
    });
}

/// Termination protection is somebody's decision.
#[test]
fn a_protected_machine_is_told_and_stays() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let machine = alive(lab);
        boto(
            lab,
            "
[real] = machines()
ec2.modify_instance_attribute(InstanceId=real, DisableApiTermination={'Value': True})",
        );
        let (run, _) = lab.run("destroy", &bastion, &["--yes"]);
        let run = run.expect(1);
        assert!(run.stderr.contains("protected from termination"), "{run}");
        assert!(run.stderr.contains("--no-disable-api-termination"), "{run}");
        assert_eq!(alive(lab), machine);
    });
}

/// EC2 refuses the client token of a machine that has ended for at least a day, and forgets the machine's tags within minutes.
#[test]
fn a_machine_that_ended_is_made_again_however_often() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        for refused in [1, 2] {
            boto(lab, "ec2.terminate_instances(InstanceIds=list(machines()))");
            let calls = lab.apply(&bastion);
            assert_eq!(calls.of("RunInstances"), refused + 1, "{calls}");
        }
        lab.assert_settled(&bastion);
    });
}

/// A group of another account, as peered networks allow it: EC2 closes it under its account's number only. In the sandbox this wants a peering that is
/// accepted: `sandbox/networks.rs`.
#[test]
fn a_rule_for_another_accounts_group_goes() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let bastion = lab.bastion();
    lab.apply(&bastion);
    boto(
        &lab,
        "
[group] = ec2.describe_security_groups(Filters=[{'Name': 'group-name', 'Values': ['gangplank-warehouse']}])['SecurityGroups']
ec2.authorize_security_group_ingress(GroupId=group['GroupId'], IpPermissions=[{'IpProtocol': 'tcp', 'FromPort': 22, 'ToPort': 22,
    'UserIdGroupPairs': [{'GroupId': 'sg-0fedcba9876543210', 'UserId': '999988887777'}]}])",
    );
    let (run, _) = lab.run("plan", &bastion, &[]);
    assert!(run.stdout.contains("from 999988887777/sg-0fedcba9876543210"), "{run}");
    lab.apply(&bastion);
    lab.assert_settled(&bastion);
}

/// Who takes the tag off a standing bastion's address does not change the address: it leads to the machine, and the group's rule names it.
#[test]
fn an_address_that_lost_its_tag_is_tagged_again() {
    const ADDRESS: &str = "
[one] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
";
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let before = boto(lab, &format!("{ADDRESS}result = one['PublicIp']"));
        let untag = "ec2.delete_tags(Resources=[one['AllocationId']], Tags=[{'Key': 'gangplank:bastion'}])";
        boto(lab, &format!("{ADDRESS}{untag}"));
        let calls = lab.apply(&bastion);
        assert_eq!((calls.of("AllocateAddress"), calls.of("CreateTags")), (0, 1), "{calls}");
        assert_eq!(boto(lab, &format!("{ADDRESS}result = one['PublicIp']")), before);
        lab.assert_settled(&bastion);
        // One that leads nowhere is somebody's: another one is allocated, in one apply.
        boto(lab, &format!("{ADDRESS}{untag}\nec2.disassociate_address(AssociationId=one['AssociationId'])"));
        lab.apply(&bastion);
        assert_ne!(boto(lab, &format!("{ADDRESS}result = one['PublicIp']")), before);
        lab.assert_settled(&bastion);
    });
}

/// Types the commands of an advice.
const ADVICE: &str = "
import shlex
for command in input['commands']:
    words = shlex.split(command)
    at = words.index('ec2')
    options = {}
    for word in words[at + 2:]:
        if word.startswith('--'):
            options[name := word] = []
        else:
            options[name].append(word)
    if words[at + 1] == 'create-tags':
        tags = [dict(zip(('Key', 'Value'), (part.split('=', 1)[1] for part in tag.split(',', 1)))) for tag in options['--tags']]
        ec2.create_tags(Resources=options['--resources'], Tags=tags)
    elif words[at + 1] == 'delete-tags':
        ec2.delete_tags(Resources=options['--resources'], Tags=[dict(Key=tag.split('=', 1)[1]) for tag in options['--tags']])
    elif words[at + 1] == 'modify-instance-attribute':
        ec2.modify_instance_attribute(InstanceId=options['--instance-id'][0], Groups=options['--groups'])
";

/// Types what a refusal says, but for what ends something.
pub fn heed(lab: &Lab<'_>, told: &str) {
    let said = told.split('`').skip(1).step_by(2);
    let commands: Vec<&str> = said.filter(|c| c.starts_with("aws ") && !c.contains("terminate")).collect();
    assert!(!commands.is_empty(), "{told}");
    lab.account.boto(ADVICE, json!({"commands": commands}));
}

const UNTAGGED: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[real] = machines()
groups = [g['GroupId'] for g in ec2.describe_security_groups(Filters=own)['SecurityGroups']]
[address] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
bastion = [{'Key': 'gangplank:bastion'}]
";

/// A tag taken off the machine and one off the address, and whatever else the plan changes: the machine stays the only one.
#[test]
fn beside_a_machine_that_lost_its_tags_no_second_one_is_made() {
    let machine = "ec2.delete_tags(Resources=[real], Tags=bastion)\n";
    let address = "ec2.delete_tags(Resources=[address['AllocationId']], Tags=bastion)\n";
    let both = format!("{machine}{address}");
    let other = format!("ec2.create_tags(Resources=[real], Tags=[{{**bastion[0], 'Value': 'other'}}])\n{address}");
    let loose = format!("{machine}ec2.disassociate_address(AssociationId=address['AssociationId'])");
    let all = "
for one in (real, address['AllocationId'], *groups):
    ec2.delete_tags(Resources=[one], Tags=[{'Key': k} for k in {'Name', *tags_of(machines()[real])}])
";
    let boot = "ec2.delete_tags(Resources=[real], Tags=[{'Key': 'gangplank:boot'}])\n";
    let boot = format!("{boot}{address}");
    on_both(|lab| {
        for (change, replaces) in
            [(&both[..], false), (&both, true), (&other, true), (&loose, false), (&boot, false), (all, false)]
        {
            let mut bastion = lab.bastion();
            lab.apply(&bastion);
            let [real] = alive(lab).try_into().expect("one machine");
            let address = |lab: &Lab<'_>| {
                boto(lab, "result = sorted(a['PublicIp'] for a in ec2.describe_addresses()['Addresses'])")
            };
            let addresses = address(lab);
            boto(lab, &format!("{UNTAGGED}{change}"));
            if replaces {
                bastion.targets[0].1 = "replica.internal".to_owned();
            }
            let before = lab.account.world();
            let mut refusal = String::new();
            for verb in ["plan", "apply"] {
                let options: &[&str] = if verb == "apply" { &["--yes"] } else { &[] };
                let (run, calls) = lab.run(verb, &bastion, options);
                let run = run.expect(3);
                assert_eq!(calls.writes(), 0, "{change} {calls}\n{run}");
                assert!(run.stderr.contains(&real) && run.stderr.contains("create-tags"), "{change}\n{run}");
                refusal = run.stderr;
            }
            assert_eq!(lab.account.world(), before, "{change}");
            heed(lab, &refusal);
            lab.apply(&bastion);
            let now = alive(lab);
            assert_eq!((now.len(), now.contains(&real)), (1, !replaces && change != all), "{change}\n{refusal}");
            assert_eq!(address(lab), addresses, "{change}");
            lab.assert_settled(&bastion);
            lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
        }
    });
}

/// EC2 answers a repeated request with the machine of the first one: where that is not the bastion's any more, no address leads to it.
#[test]
fn a_machine_that_a_repeated_request_brings_back_must_be_the_bastions() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let [real] = alive(lab).try_into().expect("one machine");
        boto(
            lab,
            &format!(
                "{UNTAGGED}
[default] = ec2.describe_security_groups(Filters=[
    {{'Name': 'group-name', 'Values': ['default']}}, {{'Name': 'vpc-id', 'Values': [machines()[real]['VpcId']]}}])['SecurityGroups']
ec2.disassociate_address(AssociationId=address['AssociationId'])
ec2.delete_tags(Resources=[real], Tags=[{{'Key': k}} for k in ('gangplank:bastion', 'gangplank:boot', 'Name')])
ec2.modify_instance_attribute(InstanceId=real, Groups=[default['GroupId']])"
            ),
        );
        let before = lab.account.world();
        let (run, calls) = lab.run("apply", &bastion, &["--yes"]);
        let run = run.expect(1);
        assert_eq!((calls.of("RunInstances"), calls.writes()), (1, 1), "{calls}\n{run}");
        assert!(
            run.stderr.contains("not proven to be the bastion's") && run.stderr.contains("terminate-instances"),
            "{run}"
        );
        assert_eq!(lab.account.world(), before);
        heed(lab, &run.stderr);
        lab.apply(&bastion);
        assert_eq!(alive(lab), [real]);
        lab.assert_settled(&bastion);
    });
}

/// A bastion whose tags are gone is not "not there": its machine stands in a group of its name.
#[test]
fn status_names_a_machine_that_lost_its_tags() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        lab.run("status", &bastion, &[]).0.expect(0);
        let [real] = alive(lab).try_into().expect("one machine");
        for change in [
            "ec2.delete_tags(Resources=all, Tags=[{'Key': 'gangplank:bastion'}])",
            "ec2.create_tags(Resources=all, Tags=[{'Key': 'gangplank:bastion', 'Value': 'other'}])",
            "ec2.create_tags(Resources=all[:1], Tags=[{'Key': 'gangplank:bastion', 'Value': 'warehouse'}])",
            "ec2.create_tags(Resources=all[1:2], Tags=[{'Key': 'gangplank:bastion', 'Value': 'warehouse'}])
ec2.create_tags(Resources=all[:1], Tags=[{'Key': 'gangplank:bastion', 'Value': 'Warehouse'}])",
        ] {
            boto(
                lab,
                &format!(
                    "
[group] = ec2.describe_security_groups(Filters=[{{'Name': 'group-name', 'Values': ['gangplank-warehouse']}}])['SecurityGroups']
[address] = [a for a in ec2.describe_addresses()['Addresses'] if a.get('InstanceId')]
all = [*machines(), group['GroupId'], address['AllocationId']]
{change}"
                ),
            );
            let (run, calls) = lab.run("status", &bastion, &[]);
            let run = run.expect(2);
            assert!(run.stdout.contains("in doubt") && run.stdout.contains(&real), "{change}\n{run}");
            assert!(!run.stdout.contains("not there"), "{run}");
            assert_eq!(calls.writes(), 0, "{calls}");
            let (run, _) = lab.run("status", &bastion, &["--output", "json"]);
            let status = run.expect(2).json();
            assert!(status["bastions"][0]["doubts"][0].as_str().is_some_and(|text| text.contains(&real)), "{status:#}");
        }
    });
}

/// Where `status` is in doubt, `destroy` takes nothing from the machine that may be the bastion's, and `reap` names it: with the plan and
/// without.
#[test]
fn destroy_and_reap_are_in_doubt_where_status_is() {
    let other = "ec2.create_tags(Resources=[real, *groups], Tags=[{**bastion[0], 'Value': 'other'}])";
    let none = "ec2.delete_tags(Resources=[real, *groups], Tags=bastion)";
    let machine = "ec2.delete_tags(Resources=[real], Tags=bastion)";
    let group = "ec2.delete_tags(Resources=groups, Tags=bastion)";
    let boot = "ec2.delete_tags(Resources=[real], Tags=[{'Key': 'gangplank:boot'}])";
    on_both(|lab| {
        for change in [other, none, machine, group, boot] {
            let bastion = lab.bastion();
            lab.apply(&bastion);
            let [real] = alive(lab).try_into().expect("one machine");
            boto(lab, &format!("{UNTAGGED}{change}"));
            let before = lab.account.world();
            lab.run("status", &bastion, &[]).0.expect(2);
            let (run, calls) = lab.run("destroy", &bastion, &["--yes"]);
            let run = run.expect(3);
            assert_eq!(calls.writes(), 0, "{change} {calls}\n{run}");
            assert!(!run.stdout.contains("nothing is left"), "{change}\n{run}");
            assert!(run.stderr.contains(&real) && run.stderr.contains("create-tags"), "{change}\n{run}");
            let refusal = run.stderr;
            for (run, calls) in [
                lab.run("reap", &bastion, &["--yes", "--settle", "0m"]),
                lab.command(&["reap", "--region", "us-east-1", "--yes", "--settle", "0m"]),
            ] {
                let run = run.expect(2);
                assert_eq!(calls.writes(), 0, "{change} {calls}\n{run}");
                assert!(run.stdout.contains(&real) && run.stdout.contains("look at it"), "{change}\n{run}");
            }
            assert_eq!(lab.account.world(), before, "{change}");
            heed(lab, &refusal);
            lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
            assert_eq!(alive(lab), [""; 0], "{change}");
        }
    });
}

/// A plan's path in advice is one argument to a shell, whatever is in it.
#[test]
fn advice_quotes_a_plans_path() {
    let mut world = World::seeded(1);
    world.pace = Pace::instant();
    let Some(moto) = support::moto_or_skip() else { return };
    let sandbox = Listening::start(world);
    let lab = Lab::of(moto.account().at(sandbox.address));
    let home = tempfile::TempDir::new().expect("a temporary folder");
    let path = home.path().join("a b;c$(id) it's.yaml");
    std::fs::write(&path, lab.bastion().to_yaml()).expect("a writable folder");
    let path = path.to_str().expect("a temporary folder's name");
    let (run, _) = lab.command(&["verify", path, "--no-network"]);
    let run = run.expect(4);
    let quoted = format!("'{}'", path.replace('\'', r"'\''"));
    assert!(run.stdout.contains(&format!("`gangplank apply {quoted}`")), "{run}");
    assert!(!run.stdout.contains(&format!("gangplank apply {path}")), "{run}");
}

/// A machine that lost its tag and its group: where the address leads to it that a rule of the bastion's group names, no other is made. Where
/// only its name and the tag of its document are left, it is told.
#[test]
fn a_machine_that_lost_its_tag_and_its_group_is_a_doubt() {
    const MOVED: &str = "
[default] = ec2.describe_security_groups(Filters=[
    {'Name': 'group-name', 'Values': ['default']}, {'Name': 'vpc-id', 'Values': [machines()[real]['VpcId']]}])['SecurityGroups']
ec2.modify_instance_attribute(InstanceId=real, Groups=[default['GroupId']])
";
    let other = "ec2.create_tags(Resources=[real], Tags=[{**bastion[0], 'Value': 'other'}])\n";
    let untag = "ec2.delete_tags(Resources=[real], Tags=bastion)\n";
    let strip = "ec2.delete_tags(Resources=[real], Tags=[{'Key': k} for k in tags_of(machines()[real])])\n";
    let address = "ec2.delete_tags(Resources=[address['AllocationId']], Tags=bastion)\n";
    let loose = "ec2.disassociate_address(AssociationId=address['AssociationId'])\n";
    on_both(|lab| {
        for (change, refused) in [
            (format!("{untag}{address}"), true),
            (format!("{strip}{address}"), true),
            (format!("{untag}{loose}"), false),
            (format!("{other}{loose}"), false),
            (loose.to_owned(), false),
        ] {
            let mut bastion = lab.bastion();
            lab.apply(&bastion);
            let [real] = alive(lab).try_into().expect("one machine");
            boto(lab, &format!("{UNTAGGED}{MOVED}{change}"));
            bastion.targets[0].1 = "replica.internal".to_owned();
            let before = lab.account.world();
            lab.run("status", &bastion, &[]).0.expect(2);
            let verbs = if refused { &["plan", "apply", "destroy"][..] } else { &["plan"] };
            for verb in verbs {
                let options: &[&str] = if *verb == "plan" { &[] } else { &["--yes"] };
                let (run, calls) = lab.run(verb, &bastion, options);
                let run = run.expect(if refused { 3 } else { 0 });
                assert_eq!(calls.writes(), 0, "{change} {calls}\n{run}");
                let told = if refused { &run.stderr } else { &run.stdout };
                assert!(told.contains(&real), "{change}\n{run}");
                assert!(refused || told.contains("⚠ instance"), "{change}\n{run}");
            }
            assert_eq!(lab.account.world(), before, "{change}");
            if !refused {
                let destroy = lab.run("destroy", &bastion, &["--yes"]).0.expect(2);
                assert!(destroy.stderr.contains(&real), "{change}\n{destroy}");
                assert!(!destroy.stdout.contains("nothing is left"), "{change}\n{destroy}");
            }
            boto(lab, "ec2.terminate_instances(InstanceIds=list(machines()))");
            lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
        }
    });
}

/// What others put into the bastion's group reaches what the bastion reaches: every verb names it, and `destroy` closes the databases all the same.
#[test]
fn a_machine_of_others_in_the_bastions_group_is_told() {
    on_both(|lab| {
        let bastion = lab.bastion();
        lab.apply(&bastion);
        let theirs = boto(
            lab,
            &format!("{UNTAGGED}result = launch('debian-13-arm64-*', {{'Name': 'theirs'}}, SecurityGroupIds=groups)"),
        );
        let theirs = theirs.as_str().expect("an id").to_owned();
        let plan = lab.run("plan", &bastion, &["--detailed-exitcode"]).0.expect(0);
        assert!(plan.stdout.contains(&theirs) && plan.stdout.contains("modify-network-interface-attribute"), "{plan}");
        let verify = lab.run("verify", &bastion, &["--no-network"]).0.expect(4);
        let failed = verify.stdout.split("control.nothing-else").nth(1).unwrap_or_else(|| panic!("{verify}"));
        assert!(failed.contains(&theirs), "{verify}");
        lab.run("drift", &bastion, &[]).0.expect(2);
        let (reap, _) = lab.command(&["reap", "--region", "us-east-1", "--yes", "--settle", "0m"]);
        assert!(reap.expect(0).stdout.contains(&theirs));
        let destroy = lab.run("destroy", &bastion, &["--yes"]).0.expect(1);
        assert!(destroy.stdout.contains(&theirs) && destroy.stdout.contains("stays"), "{destroy}");
        assert_eq!(alive(lab), [theirs]);
        let rules = boto(
            lab,
            "
rules = [g['UserIdGroupPairs'] for s in ec2.describe_security_groups()['SecurityGroups'] for g in s['IpPermissions']]
result = [p.get('Description') for pairs in rules for p in pairs if (p.get('Description') or '').startswith('gangplank:')]",
        );
        assert_eq!(rules, json!([]), "{destroy}");
        boto(lab, "ec2.terminate_instances(InstanceIds=list(machines()))");
        lab.run("destroy", &bastion, &["--yes"]).0.expect(0);
    });
}
