//! `reap`, against moto: what has had its time goes, in all regions, and nothing else does; twice, at once, or killed.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "azure")]
mod foreign;
#[cfg(feature = "azure")]
mod many;

use std::thread;

use serde_json::{Value, json};

use crate::support::{self, Account, Fault, Lab, Moment, Scope};

const PAST: &str = "2020-02-29T23:59:59Z";
const FUTURE: &str = "2999-01-01T00:00:00+05:30";

/// Makes bastions of all kinds as gangplank tags them; `input` is a list of what to make.
const WORLD: &str = "
def tags(kind, name, expires, owned):
    all = [{'Key': 'Name', 'Value': f'gangplank-{name}'}]
    if kind == 'instance':
        all.append({'Key': 'gangplank:boot', 'Value': 'document=0123456789ab system=0123456789ab'})
    if owned:
        all.append({'Key': 'gangplank:bastion', 'Value': name})
    if expires:
        all.append({'Key': 'gangplank:expires', 'Value': expires})
    return [{'ResourceType': kind, 'Tags': all}]
seeded = input['seed'] or seed()
[image, *_] = ec2.describe_images(Filters=[{'Name': 'name', 'Values': ['debian-13-arm64-*']}])['Images']
for one in input['bastions']:
    name, expires, owned = one['name'], one.get('expires'), one.get('owned', True)
    group = ec2.create_security_group(GroupName=f'gangplank-{name}', Description='x', VpcId=seeded['vpc'],
        TagSpecifications=tags('security-group', name, expires, owned))['GroupId']
    address = ec2.allocate_address(Domain='vpc', TagSpecifications=tags('elastic-ip', name, expires, owned))
    rule = [{'ResourceType': 'security-group-rule', 'Tags': [{'Key': 'gangplank:bastion', 'Value': name}]}]
    if owned and one.get('marked', True):
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{'IpProtocol': 'tcp', 'FromPort': 443, 'ToPort': 443,
            'IpRanges': [{'CidrIp': address['PublicIp'] + '/32',
                'Description': f'gangplank:{name} address ' + address['AllocationId']}]}])
    # A group has room for 60.
    if one.get('rule', True): ec2.authorize_security_group_ingress(GroupId=seeded['warehouse_group'], IpPermissions=[{
        'IpProtocol': 'tcp', 'FromPort': 5432, 'ToPort': 5432,
        'UserIdGroupPairs': [{'GroupId': group, 'Description': f'gangplank:{name} port 5432' if owned else 'theirs'}]}],
        **({'TagSpecifications': rule} if owned else {}))
    if one.get('machine', True):
        [machine] = ec2.run_instances(ImageId=image['ImageId'], InstanceType='t4g.nano', MinCount=1, MaxCount=1,
            SubnetId=seeded['public_subnet'], SecurityGroupIds=[group],
            BlockDeviceMappings=[{'DeviceName': '/dev/xvda', 'Ebs': {'DeleteOnTermination': not one.get('volume_stays')}}],
            TagSpecifications=tags('instance', name, expires, owned) + tags('volume', name, None, owned))['Instances']
        ec2.associate_address(AllocationId=address['AllocationId'], InstanceId=machine['InstanceId'])
    if one.get('only_volume'):
        # Somebody has taken the rest away by hand.
        ec2.terminate_instances(InstanceIds=[machine['InstanceId']])
        ec2.release_address(AllocationId=address['AllocationId'])
        ec2.delete_security_group(GroupId=group)
    if one.get('lost_group'):
        # Somebody has taken the tag off the group: the rule is all that is ours.
        ec2.delete_tags(Resources=[group], Tags=[{'Key': 'gangplank:bastion'}])
        ec2.release_address(AllocationId=address['AllocationId'])
";

fn make(account: &Account<'_>, seed: Value, bastions: Value) {
    account.boto(WORLD, json!({"seed": seed, "bastions": bastions}));
}

fn seed(lab: &Lab<'_>) -> Value {
    json!({"vpc": lab.seed.vpc, "public_subnet": lab.seed.public_subnet, "warehouse_group": lab.seed.warehouse_group})
}

/// Who still owns something, rules included.
fn owners(account: &Account<'_>) -> Vec<String> {
    let owners = account.boto(
        "
own = [{'Name': 'tag-key', 'Values': ['gangplank:bastion']}]
machines = [i for r in ec2.describe_instances(Filters=own)['Reservations'] for i in r['Instances']]
machines = [i for i in machines if i['State']['Name'] not in ('terminated', 'shutting-down')]
things = machines + ec2.describe_addresses()['Addresses'] + ec2.describe_security_groups()['SecurityGroups']
things += ec2.describe_volumes()['Volumes']
things += ec2.describe_security_group_rules()['SecurityGroupRules']
result = sorted({t['Value'] for x in things for t in x.get('Tags', []) if t['Key'] == 'gangplank:bastion'})",
        Value::Null,
    );
    owners.as_array().expect("names").iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
}

const EVERYWHERE: [&str; 5] = ["reap", "--region", "us-east-1", "--region", "eu-west-1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&EVERYWHERE[..], more].concat()
}

#[test]
fn what_is_due_goes_in_every_region_and_nothing_else() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let europe = lab.account.in_region("eu-west-1");
    make(
        &lab.account,
        seed(&lab),
        json!([
            {"name": "expired", "expires": PAST},
            {"name": "current", "expires": FUTURE},
            {"name": "forever"},
            {"name": "orphaned", "machine": false},
            {"name": "odd", "expires": "next week"},
            {"name": "lookalike", "expires": PAST, "owned": false},
            {"name": "stray", "machine": false, "lost_group": true},
            {"name": "Not a Name", "expires": PAST},
        ]),
    );
    make(&europe, Value::Null, json!([{"name": "expired", "expires": PAST}, {"name": "forever"}]));
    let foreign = (lab.account.world().foreign, europe.world().foreign);

    // Nobody is there to be asked: it only tells.
    let (run, calls) = lab.command(&with(&["--output", "json"]));
    let run = run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    let found = run.json();
    let verdict = |name: &str, region: &str| {
        let all = found["bastions"].as_array().expect("bastions");
        let one = all.iter().find(|b| b["bastion"] == name && b["location"] == format!("aws {region}"));
        let one = one.unwrap_or_else(|| panic!("no {name} in {region}: {found:#}"));
        one["why"].as_str().or(one["verdict"].as_str()).expect("a verdict").to_owned()
    };
    for (name, region, expected) in [
        ("expired", "us-east-1", "expired"),
        ("expired", "eu-west-1", "expired"),
        ("current", "us-east-1", "keep"),
        ("forever", "us-east-1", "keep"),
        ("orphaned", "us-east-1", "orphaned"),
        ("stray", "us-east-1", "orphaned"),
        ("odd", "us-east-1", "report"),
    ] {
        assert_eq!(verdict(name, region), expected, "{name} in {region}\n{found:#}");
    }
    let strangers = found["strangers"].to_string();
    assert!(strangers.contains("gangplank-lookalike") && strangers.contains("Not a Name"), "{strangers}");
    let cost = &found["bastions"].as_array().expect("bastions").iter().find(|b| b["bastion"] == "forever").expect("it")
        ["cost"];
    assert_eq!(cost["complete"], true, "{cost:#}");

    let (run, _) = lab.command(&with(&["--yes", "--settle", "0m"]));
    // One of them can't be judged: somebody must look at it.
    let run = run.expect(2);
    assert!(run.stdout.contains("nothing is left of 4 bastions"), "{run}");
    assert_eq!(owners(&lab.account), ["Not a Name", "current", "forever", "odd"]);
    assert_eq!(owners(&europe), ["forever"]);
    // The rule of the group that had lost its tag has gone with its tag: it was ours.
    assert_eq!((lab.account.world().foreign, europe.world().foreign), foreign);

    let (run, calls) = lab.command(&with(&["--yes", "--settle", "0m", "--only", "current"]));
    // What carries our tag and is not ours is told with 2, though nothing was asked for that is due.
    run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
}

#[test]
fn grace_age_and_names_narrow_what_goes() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    make(&lab.account, seed(&lab), json!([{"name": "one", "expires": PAST}, {"name": "two", "expires": PAST}]));
    for options in [&["--grace", "3650d"][..], &["--older-than", "1h"], &["--only", "three"]] {
        let (run, calls) = lab.command(&with(&[&["--yes", "--settle", "0m"][..], options].concat()));
        run.expect(0);
        assert_eq!(calls.writes(), 0, "{options:?} {calls}");
    }
    lab.command(&with(&["--yes", "--only", "two"])).0.expect(0);
    assert_eq!(owners(&lab.account), ["one"]);
}

/// A volume that outlives its machine goes after it. One that is attached to nothing has only tags to say whose it is: it is told.
#[test]
fn volumes_go_with_their_machines_and_what_is_left_is_told() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let of = |name: &str, owned: bool| json!({"name": name, "owned": owned, "rule": false, "volume_stays": true, "only_volume": true});
    make(
        &lab.account,
        seed(&lab),
        json!([
            {"name": "expired", "expires": PAST, "volume_stays": true},
            {"name": "forever", "volume_stays": true},
            of("left", true),
            of("nobodys", false),
        ]),
    );
    let foreign = lab.account.world().foreign;
    let volumes = || lab.account.boto("result = len(ec2.describe_volumes()['Volumes'])", Value::Null);
    assert_eq!(volumes(), 4);
    let (run, calls) = lab.command(&with(&[]));
    let run = run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    assert!(run.stdout.contains("attached to no machine of the bastion"), "{run}");

    let (run, calls) = lab.command(&with(&["--yes", "--settle", "0m"]));
    assert!(run.stdout.contains("nothing is left of 1 bastion"), "{run}");
    assert_eq!(calls.of("DeleteVolume"), 1, "{calls}");
    assert_eq!((owners(&lab.account), volumes()), (vec!["forever".to_owned(), "left".to_owned()], json!(3)));
    assert_eq!(lab.account.world().foreign, foreign);
}

#[test]
fn two_reapers_at_once_do_what_one_does() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let due: Vec<Value> = (0..6).map(|n| json!({"name": format!("due-{n}"), "expires": PAST})).collect();
    make(&lab.account, seed(&lab), json!(due));
    make(&lab.account, seed(&lab), json!([{"name": "forever"}]));
    thread::scope(|scope| {
        let reapers =
            [(); 2].map(|()| scope.spawn(|| lab.command(&with(&["--yes", "--settle", "0m", "--at-most", "6"])).0));
        for reaper in reapers {
            reaper.join().expect("a reaper").expect(0);
        }
    });
    assert_eq!(owners(&lab.account), ["forever"]);
}

#[test]
fn a_reaper_that_is_killed_is_continued_by_the_next() {
    let Some(moto) = support::moto_or_skip() else { return };
    // Before a write is after whatever was read since the one before it.
    for moment in [Moment::Before, Moment::After] {
        for n in 0.. {
            let lab = Lab::new(moto);
            let bastions = json!([{"name": "due", "expires": PAST}, {"name": "forever"}]);
            make(&lab.account, seed(&lab), bastions);
            let foreign = lab.account.world().foreign;
            let proxy = lab.proxy();
            proxy.fault(Scope::Writes, n..n + 1, Fault::Kill(moment));
            let arguments = with(&["--yes", "--settle", "0m"]);
            let killed = proxy.run(lab.gangplank.command(proxy.address()).args(&arguments));
            if killed.code().is_some() {
                assert!(n >= 4, "{n} writes are all that it took\n{killed}");
                break;
            }
            let at = format!("killed at write {n}, {moment:?} its effect");
            let (run, _) = lab.command(&arguments);
            assert_eq!(run.code(), Some(0), "{at}\n{run}");
            assert_eq!(owners(&lab.account), ["forever"], "{at}");
            assert_eq!(lab.account.world().foreign, foreign, "{at}");
        }
    }
}

/// Six calls a region, whatever stands in it, one more where a group is called as a bastion's, and one that tells whose account it is.
#[test]
fn looking_costs_the_same_for_any_number_of_bastions() {
    let Some(moto) = support::moto_or_skip() else { return };
    let cost = |count: usize| {
        let lab = Lab::new(moto);
        let all: Vec<Value> =
            (0..count).map(|n| json!({"name": format!("due-{n}"), "expires": PAST, "rule": false})).collect();
        make(&lab.account, seed(&lab), json!(all));
        let (run, calls) = lab.command(&with(&[]));
        run.expect(2);
        calls
    };
    let one = cost(1);
    assert_eq!((one.reads(), one.writes()), (14, 0), "{one}");
    assert_eq!(one.of("GetCallerIdentity"), 1, "{one}");
    for count in [10, 100] {
        assert_eq!(cost(count).by_action(), one.by_action(), "{count}");
    }
}

/// A region that does not answer is told, and the others are reaped all the same.
#[test]
fn a_region_that_refuses_does_not_save_the_others() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    make(&lab.account, seed(&lab), json!([{"name": "due", "expires": PAST}]));
    let proxy = lab.proxy();
    proxy.fault(Scope::Action("DescribeRegions"), 0..1, Fault::DENIED);
    let run = proxy.run(lab.gangplank.command(proxy.address()).args(["reap", "--yes"]));
    let run = run.expect(1);
    assert!(run.stderr.contains("ec2:DescribeRegions"), "{run}");
    // Asked for by name it needs no list.
    lab.command(&["reap", "--yes", "--region", "us-east-1"]).0.expect(0);
    assert_eq!(owners(&lab.account), [""; 0]);
}

/// Text without the ids and addresses that moto makes up.
fn anonymous(text: &str) -> String {
    let mut out = text.to_owned();
    for prefix in ["i-", "sg-", "eipalloc-", "vol-", "198.18."] {
        let mut parts = out.split(prefix);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '.');
            let made_up = part.len() - rest.len() >= 3;
            told.push_str(prefix);
            told.push_str(if made_up { "..." } else { "" });
            told.push_str(if made_up { rest } else { part });
        }
        out = told;
    }
    // When it was launched.
    let mut parts = out.split(", launched 2");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |told, part| told + ", launched TIME" + part.split_once('Z').map_or("", |(_, rest)| rest))
}

#[test]
fn what_people_read_of_a_reaper() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    make(
        &lab.account,
        seed(&lab),
        json!([
            {"name": "expired", "expires": PAST},
            {"name": "forever"},
            {"name": "lookalike", "owned": false},
            {"name": "odd", "expires": "next week", "machine": false},
            {"name": "orphaned", "machine": false},
        ]),
    );
    let account = lab.account.access_key.trim_start_matches("AKIA0000");
    // A machine's age is of this run.
    let anonymous = |text: &str| {
        ["0 minutes", "1 minute"].iter().fold(anonymous(&text.replace(account, "ACCOUNT")), |text, age| {
            text.replace(&format!(", {age} old"), ", AGE old")
        })
    };
    let region = ["reap", "--region", "us-east-1"];
    let (run, _) = lab.command(&region);
    insta::assert_snapshot!("reap_before", anonymous(&run.expect(2).stdout));
    let (run, _) = lab.command(&[&region[..], &["--yes", "--settle", "0m"]].concat());
    let run = run.expect(2);
    let after = run.stdout.split("Looked again").nth(1).unwrap_or_else(|| panic!("no second look\n{run}"));
    insta::assert_snapshot!("reap_after", anonymous(after));
}
