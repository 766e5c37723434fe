//! The harness itself, with boto3 as the client: what the other tests rely on is proven here first.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    self, Account,
    moto::Moto,
    program::{Victim, run},
    proxy::{Fault, Moment, Proxy, Scope},
};

/// Five addresses, one after the other.
const FIVE_WRITES: &str = "
for _ in range(5):
    ec2.describe_addresses()
    ec2.allocate_address(Domain='vpc')
";

fn addresses(account: &Account<'_>) -> usize {
    let count = account.boto("result = len(ec2.describe_addresses()['Addresses'])", Value::Null);
    usize::try_from(count.as_u64().expect("a number")).expect("a small one")
}

/// A Python process of its own that makes five writes through the proxy, and can be killed.
fn client(account: &Account<'_>, proxy: &Proxy) -> Command {
    let mut command = Command::new(support::python().expect("moto has started"));
    let script = format!(
        "import boto3\nec2 = boto3.client('ec2', endpoint_url='http://{}', region_name='{}',\n\
         aws_access_key_id='{}', aws_secret_access_key='secret')\n{FIVE_WRITES}",
        proxy.address(),
        account.region,
        account.access_key
    );
    command.arg("-c").arg(script).env("AWS_MAX_ATTEMPTS", "1").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[test]
fn accounts_and_regions_see_nothing_of_each_other() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (one, two) = (moto.account(), moto.account());
    let elsewhere = one.in_region("eu-west-1");
    one.boto("ec2.allocate_address(Domain='vpc')", Value::Null);
    assert_eq!((addresses(&one), addresses(&two), addresses(&elsewhere)), (1, 0, 0));
}

#[test]
fn the_cloud_ends_with_its_owner() {
    let Some(_) = support::moto_or_skip() else { return };
    let moto = Moto::start(&support::python().expect("moto has started"));
    let address = moto.address();
    drop(moto);
    std::net::TcpStream::connect(address).expect_err("nobody listens any more");
}

#[test]
fn images_carry_their_publishers_names_and_owners() {
    let Some(moto) = support::moto_or_skip() else { return };
    let found = moto.account().boto(
        "
wanted = [
    ('136693071363', 'debian-13-arm64-*'),
    ('136693071363', 'debian-12-amd64-*'),
    ('099720109477', 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*'),
    ('099720109477', 'ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-amd64-server-*'),
    ('137112412989', 'al2023-ami-2023.*-kernel-6.1-arm64'),
]
def newest(owner, name):
    images = ec2.describe_images(Owners=[owner], Filters=[{'Name': 'name', 'Values': [name]}])['Images']
    image = max(images, key=lambda i: i['CreationDate'])
    return [image['Name'], image['Architecture'], image['RootDeviceName']]
result = [newest(*w) for w in wanted]",
        Value::Null,
    );
    assert_eq!(
        found,
        json!([
            ["debian-13-arm64-20260112-2355", "arm64", "/dev/xvda"],
            ["debian-12-amd64-20260112-2355", "x86_64", "/dev/xvda"],
            ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20260512", "arm64", "/dev/sda1"],
            ["ubuntu/images/hvm-ssd-gp3/ubuntu-resolute-26.04-amd64-server-20260512", "x86_64", "/dev/sda1"],
            ["al2023-ami-2023.10.20260105.0-kernel-6.1-arm64", "arm64", "/dev/xvda"],
        ])
    );
}

/// What `stricter.py` adds to moto.
#[test]
fn the_cloud_keeps_what_is_in_use_and_honours_client_tokens() {
    let Some(moto) = support::moto_or_skip() else { return };
    let account = moto.account();
    let seed = account.seed();
    let before = account.world();
    before.assert_nothing_of_ours();
    let answer = account.boto(
        "
def refused(call, **arguments):
    try:
        call(**arguments)
    except ec2.exceptions.ClientError as error:
        return error.response['Error']['Code']
tags = lambda kind: [{'ResourceType': kind, 'Tags': [{'Key': 'gangplank:bastion', 'Value': 'own'}]}]
group = ec2.create_security_group(
    GroupName='own', Description='own', VpcId=input['vpc'], TagSpecifications=tags('security-group'))['GroupId']
ec2.authorize_security_group_ingress(
    GroupId=input['database'], TagSpecifications=tags('security-group-rule'),
    IpPermissions=[{'IpProtocol': 'tcp', 'FromPort': 5432, 'ToPort': 5432, 'UserIdGroupPairs': [{'GroupId': group}]}])
address = ec2.allocate_address(Domain='vpc', TagSpecifications=tags('elastic-ip'))['AllocationId']
def launch(token):
    return ec2.run_instances(
        ImageId='ami-00000000000000001', InstanceType='t4g.nano', MinCount=1, MaxCount=1, ClientToken=token,
        SubnetId=input['subnet'], SecurityGroupIds=[group], TagSpecifications=tags('instance'),
        BlockDeviceMappings=[{'DeviceName': '/dev/xvda', 'Ebs': {'VolumeSize': 8, 'DeleteOnTermination': True}}],
    )['Instances'][0]['InstanceId']
machine, again, another = launch('a'), launch('a'), launch('b')
ec2.associate_address(AllocationId=address, InstanceId=machine)
codes = [refused(ec2.delete_security_group, GroupId=group), refused(ec2.release_address, AllocationId=address)]
ec2.terminate_instances(InstanceIds=[machine, another])
ended = ec2.describe_instances(InstanceIds=[machine])['Reservations'][0]['Instances'][0].get('Tags', [])
ec2.release_address(AllocationId=address)
codes.append(refused(ec2.delete_security_group, GroupId=group))
rules = ec2.describe_security_group_rules(Filters=[{'Name': 'tag-key', 'Values': ['gangplank:bastion']}])
ec2.revoke_security_group_ingress(
    GroupId=input['database'], SecurityGroupRuleIds=[r['SecurityGroupRuleId'] for r in rules['SecurityGroupRules']])
ec2.delete_security_group(GroupId=group)
codes.append(refused(launch, token='a'))
result = {'same': machine == again, 'other': machine != another, 'codes': codes, 'tags': ended}",
        json!({"vpc": seed.vpc, "subnet": seed.public_subnet, "database": seed.warehouse_group}),
    );
    let codes =
        ["DependencyViolation", "InvalidIPAddress.InUse", "DependencyViolation", "IdempotentInstanceTerminated"];
    assert_eq!(answer, json!({"same": true, "other": true, "codes": codes, "tags": []}));
    assert_eq!(account.world(), before);
}

/// A console is a file that grows while it is read; what a test says about it is no tag of the instance.
#[test]
fn a_console_is_what_a_file_says() {
    let Some(moto) = support::moto_or_skip() else { return };
    let account = moto.account();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("console");
    let instance = account.boto(
        "
[machine] = ec2.run_instances(ImageId=ec2.describe_images()['Images'][0]['ImageId'], MinCount=1, MaxCount=1)['Instances']
ec2.create_tags(Resources=[machine['InstanceId']], Tags=[
    {'Key': 'test:console-file', 'Value': input}, {'Key': 'team', 'Value': 'data'}])
result = machine['InstanceId']",
        json!(path),
    );
    let read = || {
        // boto3 has decoded it.
        account.boto("result = ec2.get_console_output(InstanceId=input, Latest=True).get('Output')", instance.clone())
    };
    assert_eq!(read(), Value::Null, "nothing is there yet");
    std::fs::write(&path, "booting").expect("a writable folder");
    assert_eq!(read(), "booting");
    std::fs::write(&path, "x".repeat(70_000) + "the end").expect("a writable folder");
    let text = read();
    let text = text.as_str().expect("a text");
    assert!(text.len() == 65_536 && text.ends_with("the end"), "{}", text.len());
    let tags = "
[[machine]] = [r['Instances'] for r in ec2.describe_instances(InstanceIds=[input])['Reservations']]
result = {t['Key']: t['Value'] for t in machine['Tags']}";
    assert_eq!(account.boto(tags, instance.clone()), json!({"team": "data"}));

    let old = "ec2.create_tags(Resources=[input], Tags=[{'Key': 'test:console-is-old', 'Value': 'yes'}])";
    account.boto(old, instance.clone());
    let refused =
        account.boto_through(moto.address(), "ec2.get_console_output(InstanceId=input, Latest=True)", instance);
    assert!(refused.is_err_and(|error| error.contains("UnsupportedOperation")));
}

#[test]
fn worlds_made_by_the_same_steps_are_equal() {
    let Some(moto) = support::moto_or_skip() else { return };
    let world = |source: &str| {
        let account = moto.account();
        let seed = account.seed();
        account.boto(
            "
tags = lambda kind: [{'ResourceType': kind, 'Tags': [{'Key': 'gangplank:bastion', 'Value': 'own'}]}]
group = ec2.create_security_group(
    GroupName='own', Description='own', VpcId=input['vpc'], TagSpecifications=tags('security-group'))['GroupId']
ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
    {'IpProtocol': 'tcp', 'FromPort': 22, 'ToPort': 22, 'IpRanges': [{'CidrIp': input['source']}]}])
ec2.allocate_address(Domain='vpc', TagSpecifications=tags('elastic-ip'))",
            json!({"vpc": seed.vpc, "source": source}),
        );
        account.world()
    };
    let (one, two, different) = (world("192.0.2.1/32"), world("192.0.2.1/32"), world("192.0.2.2/32"));
    assert_eq!(one.ours, two.ours);
    assert_ne!(one.ours, different.ours);
    assert_eq!(one.ours("addresses").len(), 1);
    // The rule has no tag of its own, but its group has one; so has the rule that comes with every group.
    assert_eq!(one.ours("rules").len(), 2);
}

#[test]
fn the_proxy_counts_reads_and_writes() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
    account.boto_through(proxy.address(), FIVE_WRITES, Value::Null).expect("nothing goes wrong");
    let dry = account.boto_through(proxy.address(), "ec2.allocate_address(DryRun=True)", Value::Null);
    assert!(dry.is_err_and(|error| error.contains("DryRunOperation")));
    let calls = proxy.take_calls();
    assert_eq!((calls.reads(), calls.writes()), (6, 5));
    assert_eq!(calls.of("AllocateAddress"), 6);
    assert_eq!(calls.to_string(), "    6 AllocateAddress\n    5 DescribeAddresses\n");
    assert_eq!(proxy.take_calls().by_action().len(), 0);
}

#[test]
fn the_proxy_adds_latency() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
    proxy.latency(Duration::from_millis(200));
    let start = std::time::Instant::now();
    account.boto_through(proxy.address(), "ec2.describe_addresses()", Value::Null).expect("nothing goes wrong");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn faults_answer_in_the_clouds_words_and_change_nothing() {
    let Some(moto) = support::moto_or_skip() else { return };
    for (fault, status, code) in [
        (Fault::THROTTLED, 503, "RequestLimitExceeded"),
        (Fault::DENIED, 403, "UnauthorizedOperation"),
        (Fault::INTERNAL, 500, "InternalError"),
        (Fault::quota("AddressLimitExceeded"), 400, "AddressLimitExceeded"),
    ] {
        let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
        proxy.fault(Scope::Action("AllocateAddress"), 1..3, fault);
        let answers = account.boto_through(
            proxy.address(),
            "
result = []
for _ in range(4):
    ec2.describe_addresses()
    try:
        result.append(ec2.allocate_address(Domain='vpc')['ResponseMetadata']['HTTPStatusCode'])
    except ec2.exceptions.ClientError as error:
        result.append([error.response['ResponseMetadata']['HTTPStatusCode'], error.response['Error']['Code']])",
            Value::Null,
        );
        assert_eq!(answers, Ok(json!([200, [status, code], [status, code], 200])));
        assert_eq!(addresses(&account), 2);
    }
}

#[test]
fn answers_are_lost_before_and_after_the_effect() {
    let Some(moto) = support::moto_or_skip() else { return };
    for (fault, made) in [(Fault::Drop(Moment::Before), 2), (Fault::Drop(Moment::After), 3), (Fault::Garbage, 2)] {
        let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
        proxy.fault(Scope::Writes, 2..3, fault.clone());
        let answer = account.boto_through(proxy.address(), FIVE_WRITES, Value::Null);
        assert!(answer.as_ref().is_err_and(|error| error.contains("Connection")), "{fault:?}: {answer:?}");
        assert_eq!(addresses(&account), made, "{fault:?}");
    }
}

#[test]
fn each_action_is_counted_for_itself() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
    proxy.fault(Scope::EachAction, 0..1, Fault::THROTTLED);
    let script = "
result = []
for call in [ec2.describe_addresses, ec2.describe_vpcs, ec2.describe_addresses, ec2.describe_vpcs]:
    try:
        call()
        result.append(True)
    except ec2.exceptions.ClientError:
        result.append(False)";
    let through = |script| account.boto_through(proxy.address(), script, Value::Null);
    assert_eq!(through(script), Ok(json!([false, false, true, true])));
    proxy.fault(Scope::Any, 0..100, Fault::DENIED);
    assert_eq!(through(script), Ok(json!([false, false, false, false])));
    proxy.heal();
    assert_eq!(through(script), Ok(json!([true, true, true, true])));
}

#[test]
fn the_caller_dies_before_or_after_the_nth_call() {
    let Some(moto) = support::moto_or_skip() else { return };
    let uninterrupted = (moto.account(), Proxy::start(moto.address()));
    uninterrupted.1.run(&mut client(&uninterrupted.0, &uninterrupted.1)).expect(0);
    assert_eq!(addresses(&uninterrupted.0), 5);

    for (scope, n, moment, made) in [
        (Scope::Writes, 0, Moment::Before, 0),
        (Scope::Writes, 2, Moment::Before, 2),
        (Scope::Writes, 2, Moment::After, 3),
        // Of any calls the fourth is the second write.
        (Scope::Any, 3, Moment::After, 2),
    ] {
        let (account, proxy) = (moto.account(), Proxy::start(moto.address()));
        proxy.fault(scope, n..n + 1, Fault::Kill(moment));
        let killed = proxy.run(&mut client(&account, &proxy));
        assert_eq!(killed.code(), None, "{killed}");
        assert_eq!(addresses(&account), made, "{scope:?} {n} {moment:?}");
    }
}

#[test]
fn a_run_keeps_its_output_and_status() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo out; echo err >&2; exit 3"]);
    let run = run(&mut shell, &Victim::default()).expect(3);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
}
