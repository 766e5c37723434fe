//! The control plane's vantage, through the program: what `apply` leaves is green, and boto3 breaks one thing at a time.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{self, Bastion, Calls, Fault, Lab, Run, Scope};

/// What every script starts with: the bastion's parts by name.
const PARTS: &str = "
own = [{'Name': 'tag:gangplank:bastion', 'Values': ['warehouse']}]
[group] = ec2.describe_security_groups(Filters=own)['SecurityGroups']
[[machine]] = [r['Instances'] for r in ec2.describe_instances(Filters=own)['Reservations']]
[address] = ec2.describe_addresses(Filters=own)['Addresses']
group, machine_id = group['GroupId'], machine['InstanceId']
def table():
    found = ec2.describe_route_tables(Filters=[{'Name': 'association.subnet-id', 'Values': [input['public_subnet']]}])
    return found['RouteTables'][0]['RouteTableId']
def acl(subnet):
    found = ec2.describe_network_acls(Filters=[{'Name': 'association.subnet-id', 'Values': [subnet]}])
    return found['NetworkAcls'][0]['NetworkAclId']
def own_acl(subnet):
    found = ec2.describe_network_acls(Filters=[{'Name': 'association.subnet-id', 'Values': [subnet]}])['NetworkAcls'][0]
    [association] = [a['NetworkAclAssociationId'] for a in found['Associations'] if a['SubnetId'] == subnet]
    made = ec2.create_network_acl(VpcId=input['vpc'])['NetworkAcl']['NetworkAclId']
    for egress in [True, False]:
        entry(made, 100, egress, 'allow', '0.0.0.0/0')
    ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=made)
    return made
def entry(acl, number, egress, action, net, ports=None):
    options = {'PortRange': {'From': ports[0], 'To': ports[1]}} if ports else {}
    ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=number, Egress=egress, RuleAction=action, CidrBlock=net,
        Protocol='6' if ports else '-1', **options)
def tcp(port, **peer):
    return [{'IpProtocol': 'tcp', 'FromPort': port, 'ToPort': port, **peer}]
def net(net):
    return {'IpRanges': [{'CidrIp': net}]}
";

/// A lab whose database has an interface of its own, as the plan says where it is.
fn lab() -> Option<Lab<'static>> {
    let lab = Lab::new(support::moto_or_skip()?);
    let input = json!({"subnet": lab.seed.private_subnet, "group": lab.seed.warehouse_group});
    lab.account.boto(
        "ec2.create_network_interface(SubnetId=input['subnet'], PrivateIpAddress='10.20.2.10', Groups=[input['group']])",
        input,
    );
    Some(lab)
}

fn seed(lab: &Lab<'_>) -> Value {
    json!({
        "vpc": lab.seed.vpc,
        "public_subnet": lab.seed.public_subnet,
        "private_subnet": lab.seed.private_subnet,
        "warehouse_group": lab.seed.warehouse_group,
    })
}

#[track_caller]
fn verify(lab: &Lab<'_>, bastion: &Bastion) -> (Run, Calls) {
    let (run, calls) = lab.run("verify", bastion, &["--no-network", "--output", "json"]);
    assert_eq!(calls.writes(), 0, "{calls}");
    (run, calls)
}

/// The control plane's checks with this verdict, without the ids that moto makes up.
fn with_verdict(run: &Run, verdict: &str) -> BTreeSet<String> {
    let document = run.json();
    let checks = document["bastions"][0]["checks"].as_array().expect("checks");
    let ours = checks.iter().filter(|c| c["vantage"] == "control-plane");
    let name = |c: &Value| match c["subject"].as_str() {
        Some(subject) if subject.starts_with("sg-") => c["id"].as_str().unwrap_or_default().to_owned(),
        Some(subject) => format!("{}[{subject}]", c["id"].as_str().unwrap_or_default()),
        None => c["id"].as_str().unwrap_or_default().to_owned(),
    };
    ours.filter(|c| c["verdict"] == verdict).map(name).collect()
}

#[test]
fn what_apply_leaves_passes_every_check_of_the_control_plane() {
    let Some(lab) = lab() else { return };
    let bastion = lab.bastion();

    let (run, _) = verify(&lab, &bastion);
    let red = with_verdict(&run.expect(4), "fail");
    assert_eq!(red, BTreeSet::from(["control.instance".to_owned(), "control.address".to_owned()]), "nothing exists");

    lab.apply(&bastion);
    let (run, _) = verify(&lab, &bastion);
    let (red, dark) = (with_verdict(&run, "fail"), with_verdict(&run, "unknown"));
    assert!(red.is_empty() && dark.is_empty(), "{red:?} {dark:?}\n{run}");
    assert_eq!(with_verdict(&run, "pass").len(), 19, "{run}");
}

/// Breaks one thing in a world of its own; exactly the checks that are about it turn red.
#[test]
fn a_fault_turns_the_checks_red_that_are_about_it() {
    let faults: [(&str, &str, &[&str]); 21] = [
        (
            "a source closed",
            "ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=tcp(22, **net('198.51.100.7/32')))",
            &["control.admits[secoda]"],
        ),
        (
            "open to the world",
            "ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(22, **net('0.0.0.0/0')))",
            &["control.nothing-else"],
        ),
        (
            "a second group that is open",
            "
second = ec2.create_security_group(GroupName='open', Description='open', VpcId=input['vpc'])['GroupId']
ec2.authorize_security_group_ingress(GroupId=second, IpPermissions=tcp(22, **net('10.0.0.0/8')))
ec2.revoke_security_group_egress(GroupId=second, IpPermissions=[{'IpProtocol': '-1', **net('0.0.0.0/0')}])
ec2.modify_instance_attribute(InstanceId=machine_id, Groups=[group, second])",
            &["control.nothing-else"],
        ),
        (
            "the address at another machine",
            "
[other] = ec2.run_instances(ImageId=machine['ImageId'], MinCount=1, MaxCount=1, SubnetId=input['public_subnet'])['Instances']
ec2.associate_address(AllocationId=address['AllocationId'], InstanceId=other['InstanceId'], AllowReassociation=True)",
            &["control.address"],
        ),
        (
            "the address nowhere",
            "ec2.disassociate_address(AssociationId=address['AssociationId'])",
            &["control.address"],
        ),
        ("stopped", "ec2.stop_instances(InstanceIds=[machine_id])", &["control.instance"]),
        (
            "IMDSv1",
            "ec2.modify_instance_metadata_options(InstanceId=machine_id, HttpTokens='optional')",
            &["control.metadata"],
        ),
        (
            "two hops",
            "ec2.modify_instance_metadata_options(InstanceId=machine_id, HttpPutResponseHopLimit=2)",
            &["control.metadata"],
        ),
        (
            "a volume in plain text",
            "
zone = machine['Placement']['AvailabilityZone']
volume = ec2.create_volume(AvailabilityZone=zone, Size=1, Encrypted=False)['VolumeId']
ec2.attach_volume(VolumeId=volume, InstanceId=machine_id, Device='/dev/sdf')",
            &["control.encryption"],
        ),
        (
            "lets everything out",
            "
ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{'IpProtocol': '-1', **net('0.0.0.0/0')}])",
            &["control.egress"],
        ),
        (
            "the way out to the target closed",
            "
ec2.revoke_security_group_egress(GroupId=group, IpPermissions=tcp(5432, **net('10.20.2.10/32')))",
            &["control.target-egress[warehouse]"],
        ),
        (
            "no default route",
            "ec2.delete_route(RouteTableId=table(), DestinationCidrBlock='0.0.0.0/0')",
            &["control.route"],
        ),
        (
            "another default route",
            "
interface = ec2.create_network_interface(SubnetId=input['public_subnet'])['NetworkInterface']['NetworkInterfaceId']
ec2.replace_route(RouteTableId=table(), DestinationCidrBlock='0.0.0.0/0', NetworkInterfaceId=interface)",
            &["control.route"],
        ),
        (
            "an ACL that stops the vendor",
            "entry(own_acl(input['public_subnet']), 90, False, 'deny', '198.51.100.0/24', (22, 22))",
            &["control.acl"],
        ),
        (
            "an ACL that stops the answers",
            "entry(own_acl(input['public_subnet']), 90, True, 'deny', '198.51.100.7/32', (1024, 65535))",
            &["control.acl"],
        ),
        (
            "an ACL that stops after it has allowed",
            "entry(own_acl(input['public_subnet']), 110, False, 'deny', '198.51.100.0/24', (22, 22))",
            &[],
        ),
        (
            "an ACL before the database",
            "entry(own_acl(input['private_subnet']), 90, False, 'deny', '10.20.1.0/24', (5432, 5432))",
            &["control.target-acl[warehouse]"],
        ),
        (
            "the database's rule removed",
            "
ec2.revoke_security_group_ingress(GroupId=input['warehouse_group'],
    IpPermissions=tcp(5432, UserIdGroupPairs=[{'GroupId': group}]))",
            &["control.database-group"],
        ),
        (
            "the database opened to the world",
            "
ec2.authorize_security_group_ingress(GroupId=input['warehouse_group'], IpPermissions=tcp(5432, **net('0.0.0.0/0')))",
            &["control.database-group"],
        ),
        (
            "a database without its group",
            "
[interface] = ec2.describe_network_interfaces(Filters=[{'Name': 'group-id', 'Values': [input['warehouse_group']]}])[
    'NetworkInterfaces']
ec2.delete_network_interface(NetworkInterfaceId=interface['NetworkInterfaceId'])",
            &["control.target-group[warehouse]"],
        ),
        (
            "a deadline that nobody planned",
            "ec2.create_tags(Resources=[machine_id], Tags=[{'Key': 'gangplank:expires', 'Value': '2030-01-01T00:00:00Z'}])",
            &["control.deadline"],
        ),
    ];
    for (what, fault, expected) in faults {
        let Some(lab) = lab() else { return };
        let bastion = lab.bastion();
        lab.apply(&bastion);
        lab.account.boto(&format!("{PARTS}{fault}"), seed(&lab));
        let (run, _) = verify(&lab, &bastion);
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(with_verdict(&run, "fail"), expected, "{what}\n{run}");
        assert_eq!(with_verdict(&run, "unknown"), BTreeSet::new(), "{what}\n{run}");
    }
}

/// As many calls for many bastions as for one, and a console each.
#[test]
fn verification_costs_a_console_more_for_each_bastion() {
    let Some(lab) = lab() else { return };
    let folder = lab.gangplank.home().to_str().expect("a temporary folder's name").to_owned();
    let look = |count: usize| {
        for n in 0..count {
            lab.gangplank.write(&Bastion::new(&format!("bastion-{n:02}"), &lab.seed));
        }
        lab.command(&["apply", &folder, "--yes", "--no-verify"]).0.expect(0);
        let (run, calls) = lab.command(&["verify", &folder, "--no-network", "--output", "json"]);
        assert_eq!(calls.writes(), 0, "{calls}\n{run}");
        calls
    };
    let one = look(1);
    let many = look(20);
    let each = ["GetConsoleOutput", "DescribeInstanceAttribute"];
    for action in each {
        assert_eq!((one.of(action), many.of(action)), (1, 20), "{action}");
    }
    let shared = |calls: &Calls| {
        let mut all = calls.by_action().into_iter().map(|(action, n)| (action.to_owned(), n)).collect::<Vec<_>>();
        all.retain(|(action, _)| !each.contains(&action.as_str()));
        all
    };
    let reads = [
        "DescribeAddresses",
        "DescribeDhcpOptions",
        "DescribeImages",
        "DescribeInstances",
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "DescribeVolumes",
        "DescribeVpcBlockPublicAccessOptions",
        "DescribeVpcs",
        "GetCallerIdentity",
    ];
    // The databases' interfaces, and those in the bastions' own groups.
    let times = |action: &str| if action == "DescribeNetworkInterfaces" { 2 } else { 1 };
    assert_eq!(shared(&one), reads.map(|action| (action.to_owned(), times(action))));
    assert_eq!(shared(&many), shared(&one));
}

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo";

/// The machine, and the digest of the document that it was given.
fn machine(lab: &Lab<'_>) -> (String, String) {
    let found = lab.account.boto(
        &format!("{PARTS}result = [machine_id, {{t['Key']: t['Value'] for t in machine['Tags']}}['gangplank:boot']]"),
        seed(lab),
    );
    let boot = found[1].as_str().expect("a tag");
    let document = boot.split_whitespace().find_map(|part| part.strip_prefix("document=")).expect("a digest");
    (found[0].as_str().expect("an id").to_owned(), document.to_owned())
}

/// The host keys of a machine that says little else.
fn report(instance: &str, document: &str) -> String {
    let report = json!({
        "gangplank": 1, "instance": instance, "document": document, "why": "boot", "uptime": 40.0, "time": 1.0,
        "sshd": {"host_keys": [format!("{HOST_KEY} root@host")]},
    });
    let text = report.to_string();
    let sealed = text.strip_suffix('}').expect("an object");
    let digest = Sha256::digest(format!("{document}\n{sealed}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{sealed},\"sha256\":\"{digest}\"}}\n")
}

/// The one write outside of a changeset: the first report's host key becomes a tag, and no plan minds it.
#[test]
fn the_host_key_is_pinned_once_and_no_plan_minds_it() {
    let Some(lab) = lab() else { return };
    let bastion = lab.bastion();
    lab.apply(&bastion);
    let (instance, document) = machine(&lab);
    let console = lab.gangplank.home().join("console");
    let tags = [("test:console-file", console.to_str().expect("a path")), ("test:console-is-old", "yes")];
    for (key, value) in tags {
        lab.account.boto(
            "ec2.create_tags(Resources=[input[0]], Tags=[{'Key': input[1], 'Value': input[2]}])",
            json!([instance, key, value]),
        );
    }
    let path = lab.gangplank.write(&bastion);
    let prove = ["apply", path.to_str().expect("a path"), "--yes", "--no-network", "--wait", "0"];

    // Nothing on the console yet.
    let (run, calls) = lab.command(&prove);
    assert_eq!(calls.writes(), 0, "{calls}\n{run}");
    assert_eq!(calls.of("GetConsoleOutput"), 2, "asked for the latest, and again for what there is\n{calls}");

    fs::write(&console, format!("Linux version 6.12\r\n{}login: ", report(&instance, &document))).expect("a file");
    let (run, calls) = lab.command(&prove);
    assert_eq!((calls.writes(), calls.of("CreateTags")), (1, 1), "{calls}\n{run}");
    let pinned = lab.account.boto(
        &format!("{PARTS}result = {{t['Key']: t['Value'] for t in machine['Tags']}}.get('gangplank:host-key')"),
        seed(&lab),
    );
    assert_eq!(pinned, HOST_KEY);

    lab.assert_settled(&bastion);
    let (run, calls) = lab.command(&prove);
    assert_eq!(calls.writes(), 0, "{calls}\n{run}");
}

/// What is not allowed to be read is unknown and names the permission; it is no failure and no pass.
#[test]
fn what_may_not_be_read_is_unknown() {
    let Some(lab) = lab() else { return };
    let bastion = lab.bastion();
    lab.apply(&bastion);
    let path = lab.gangplank.write(&bastion);
    let proxy = lab.proxy();
    proxy.fault(Scope::Action("DescribeNetworkAcls"), 0..usize::MAX, Fault::DENIED);
    let run = proxy.run(lab.gangplank.command(proxy.address()).args([
        "verify".as_ref(),
        path.as_os_str(),
        "--no-network".as_ref(),
        "--output".as_ref(),
        "json".as_ref(),
    ]));
    let dark = BTreeSet::from(["control.acl".to_owned(), "control.target-acl[warehouse]".to_owned()]);
    assert_eq!(with_verdict(&run, "unknown"), dark, "{run}");
    assert_eq!(with_verdict(&run, "fail"), BTreeSet::new(), "{run}");
    assert!(run.stdout.contains("ec2:DescribeNetworkAcls"), "{run}");
}

#[test]
fn a_wrong_identity_is_refused_before_any_cloud_is_asked() {
    let Some(lab) = lab() else { return };
    let path = lab.gangplank.write(&lab.bastion());
    let path = path.to_str().expect("a temporary folder's name");
    for arguments in [&["verify"][..], &["handoff"], &["apply", "--yes"]] {
        let (run, calls) = lab.command(&[arguments, &[path, "--identity", "no-such-key"]].concat());
        let run = run.expect(64);
        assert!(run.stderr.contains("no-such-key"), "{run}");
        assert_eq!(calls.writes(), 0, "{calls}");
        assert!(arguments.contains(&"--yes") || calls.0.is_empty(), "{calls}");
    }
}
