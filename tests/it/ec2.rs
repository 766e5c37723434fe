//! What is EC2's own in a bastion's life, through the program as people run it, against moto. What both clouds keep is in `contract/`.

use std::{fs, process::Command};

use serde_json::Value;

use crate::support::{self, Bastion, Fault, Lab, Run, Scope};

fn instance_id(lab: &Lab<'_>) -> Value {
    lab.account.boto(
        "
live = [{'Name': 'instance-state-name', 'Values': ['pending', 'running']}]
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=live)['Reservations']]
result = machine['InstanceId']",
        Value::Null,
    )
}

/// One machine, one address on it, one rule in each direction, and not the rule that comes with every group.
#[test]
fn a_bastion_is_these_and_no_others() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    lab.apply(&lab.bastion());
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

/// Each limit of an account in its own words; what a missing permission says is in `contract/`.
#[test]
fn a_quota_names_the_operation_the_code_and_what_to_do() {
    let Some(moto) = support::moto_or_skip() else { return };
    for (action, code) in [
        ("AllocateAddress", "AddressLimitExceeded"),
        ("RunInstances", "VcpuLimitExceeded"),
        ("RunInstances", "InstanceLimitExceeded"),
    ] {
        let lab = Lab::new(moto);
        let proxy = lab.proxy();
        proxy.fault(Scope::Action(action), 0..usize::MAX, Fault::quota(code));
        let path = lab.gangplank.write(&lab.bastion());
        let mut command = lab.gangplank.command(proxy.address());
        let run = proxy.run(command.arg("apply").arg(path).args(["--yes", "--no-verify"])).expect(1);
        let calls = proxy.take_calls();
        assert_eq!(calls.of(action), 1, "a refusal is not repeated\n{calls}");
        for expected in [action, code, "exists now", "to do"] {
            assert!(run.stderr.contains(expected), "{action} refused with {code}: expected {expected:?}\n{run}");
        }
        lab.apply(&lab.bastion());
        lab.assert_settled(&lab.bastion());
    }
}

#[test]
fn without_credentials_or_the_right_region_it_says_what_to_do() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let proxy = lab.proxy();
    let path = lab.gangplank.write(&lab.bastion());
    let plan = |change: &dyn Fn(&mut Command)| {
        let mut command = lab.gangplank.command(proxy.address());
        change(command.arg("plan").arg(&path));
        proxy.run(&mut command)
    };
    let write = |region: &str| {
        let text = lab.bastion().to_yaml().replace("  region: us-east-1\n", region);
        fs::write(&path, text).expect("a writable folder");
    };
    let expect = |run: Run, code: i32, texts: &[&str]| {
        let run = run.expect(code);
        for text in texts {
            assert!(run.stderr.contains(text), "expected {text:?}\n{run}");
        }
    };

    let nobody = plan(&|command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    });
    expect(nobody, 1, &["there are no AWS credentials", "Environment", "aws sso login"]);
    write("  region: eu-west-1\n");
    expect(plan(&|_| {}), 3, &["no such subnet", "eu-west-1", "warehouse.yaml:"]);
    write("");
    let nowhere = plan(&|command| {
        command.env_remove("AWS_REGION");
    });
    expect(nowhere, 3, &["the bastion's region is not known", "AWS_REGION"]);
    assert_eq!(proxy.take_calls().writes(), 0);
}

/// EC2 then wants the interface's id, not the machine's.
#[test]
fn address_and_groups_are_repaired_beside_a_second_interface() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let bastion = lab.bastion();
    lab.apply(&bastion);
    lab.account.boto(
        "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=own)['Reservations']]
[first] = machine['NetworkInterfaces']
second = ec2.create_network_interface(SubnetId=input)['NetworkInterface']['NetworkInterfaceId']
ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=machine['InstanceId'], DeviceIndex=1)
[address] = ec2.describe_addresses(Filters=own)['Addresses']
ec2.disassociate_address(AssociationId=address['AssociationId'])
[default] = [g['GroupId'] for g in ec2.describe_security_groups(Filters=[
    {'Name': 'vpc-id', 'Values': [machine['VpcId']]}, {'Name': 'group-name', 'Values': ['default']}])['SecurityGroups']]
ec2.modify_network_interface_attribute(NetworkInterfaceId=first['NetworkInterfaceId'], Groups=[first['Groups'][0]['GroupId'], default])",
        Value::from(lab.seed.public_subnet.clone()),
    );
    let (run, calls) = lab.run("apply", &bastion, &["--yes"]);
    run.expect(0);
    assert_eq!((calls.of("AssociateAddress"), calls.of("ModifyNetworkInterfaceAttribute")), (1, 1), "{calls}");
    lab.assert_settled(&bastion);
}

/// Amazon publishes each release with two kernels; which one was registered last says nothing.
#[test]
fn amazon_linux_comes_with_its_usual_kernel() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let path = lab.gangplank.write(&lab.bastion());
    let plan = fs::read_to_string(&path).expect("written");
    let plan = plan.replace("debian-13", "amazon-linux-2023").replace("t4g.nano", "t4g.micro");
    fs::write(&path, plan).expect("a writable folder");
    let run = lab.command(&["plan", path.to_str().expect("a temporary folder's name")]).0.expect(0);
    assert!(run.stdout.contains("(al2023-ami-2023.10.20260105.0-kernel-6.1-arm64)"), "{run}");
}
