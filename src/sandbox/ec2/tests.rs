//! The world by form parameters, without any client.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;

use super::{Pace, World, company};
use crate::sandbox::{
    http::{Ask, Reply},
    vm::{Channel, Way},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn of(reply: Reply) -> Self {
        Self { status: reply.status, text: String::from_utf8(reply.body).expect("UTF-8") }
    }

    fn all(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        self.text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
    }

    #[track_caller]
    fn first(&self, element: &str) -> &str {
        self.all(element).first().copied().unwrap_or_else(|| panic!("no {element} in {}", self.text))
    }

    /// The error's code; empty where it succeeded.
    fn code(&self) -> &str {
        self.all("Code").first().copied().unwrap_or_default()
    }
}

fn raw(world: &mut World, now: i64, query: &str) -> Answer {
    let body = format!("Version=2016-11-15&{query}").into_bytes();
    Answer::of(world.answer(at(now), &Ask { method: "POST".to_owned(), body, ..Ask::default() }))
}

#[track_caller]
fn ok(world: &mut World, now: i64, query: &str) -> Answer {
    let answer = raw(world, now, query);
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer
}

#[track_caller]
fn refused(world: &mut World, query: &str, code: &str) {
    let before = world.regions.clone();
    let answer = raw(world, 1000, query);
    assert_eq!(answer.code(), code, "{query}: {}", answer.text);
    assert!(answer.status >= 400 && answer.text.starts_with("<?xml"), "{}", answer.text);
    assert_eq!(world.regions, before, "a refusal changes nothing: {query}");
}

fn company() -> World {
    World::company("us-east-1")
}

fn vpc(world: &mut World) -> String {
    ok(world, 0, "Action=DescribeVpcs").first("vpcId").to_owned()
}

/// Made early enough to be known.
fn group(world: &mut World, name: &str) -> String {
    let vpc = vpc(world);
    let query = format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=d&VpcId={vpc}");
    ok(world, -60, &query).first("groupId").to_owned()
}

fn image(world: &mut World) -> String {
    let query = "Action=DescribeImages&Owner.1=136693071363&Filter.1.Name=name&Filter.1.Value.1=debian-13-arm64-*";
    ok(world, 0, query).first("imageId").to_owned()
}

fn launch(world: &mut World, now: i64, more: &str) -> Answer {
    let image = image(world);
    let subnet = company::SUBNET;
    raw(
        world,
        now,
        &format!(
            "Action=RunInstances&MinCount=1&MaxCount=1&ImageId={image}&InstanceType=t4g.nano&SubnetId={subnet}{more}"
        ),
    )
}

fn launched(world: &mut World, now: i64, more: &str) -> String {
    let answer = launch(world, now, more);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.first("instanceId").to_owned()
}

fn state(world: &mut World, now: i64, id: &str) -> String {
    let answer = ok(world, now, &format!("Action=DescribeInstances&Filter.1.Name=instance-id&Filter.1.Value.1={id}"));
    let state = answer.all("instanceState").first().and_then(|s| s.split("<name>").nth(1));
    state.and_then(|s| s.split('<').next()).unwrap_or("forgotten").to_owned()
}

#[test]
fn what_it_does_not_know_it_refuses() {
    let mut world = company();
    refused(&mut world, "Action=CreateVpnGateway", "InvalidAction");
    refused(&mut world, "Action=DescribeVpcs&Colour=red", "UnknownParameter");
    refused(&mut world, "Action=DescribeVpcs&Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue");
    refused(
        &mut world,
        "Action=DescribeVpcs&Filter.1.Name=vpc-id&Filter.1.Value.1=x&Filter.1.Colour=1",
        "UnknownParameter",
    );
    refused(&mut world, "Action=DescribeVpcs&MaxResults=2", "InvalidParameterValue");
    refused(&mut world, "Action=DescribeVpcs&MaxResults=1001", "InvalidParameterValue");
    refused(&mut world, "Action=DescribeVpcs&NextToken=x", "InvalidPaginationToken");
    refused(&mut world, "Action=DescribeVpcs&VpcId.1=vpc-1&VpcId.1=vpc-2", "MalformedQueryString");
    refused(&mut world, "Action=AllocateAddress&DryRun=true", "DryRunOperation");
    refused(&mut world, "Action=AllocateAddress&Domain=vpc&Address=198.18.0.9", "UnknownParameter");
    refused(&mut world, &format!("Action=DescribeVpcs&{}=1", "a.".repeat(9_000)), "MalformedQueryString");
    let mut put = Ask { method: "PUT".to_owned(), ..Ask::default() };
    assert_eq!(Answer::of(world.answer(at(0), &put)).code(), "MalformedQueryString");
    put.method = "GET".to_owned();
    assert_eq!(Answer::of(world.answer(at(0), &put)).code(), "MissingAction");
}

#[test]
fn ids_are_told_apart_as_malformed_and_missing() {
    let mut world = company();
    for (query, code) in [
        ("Action=DescribeInstances&InstanceId.1=i-xyz", "InvalidInstanceID.Malformed"),
        ("Action=DescribeInstances&InstanceId.1=i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        ("Action=DeleteSecurityGroup&GroupId=sg-xyz", "InvalidGroupId.Malformed"),
        ("Action=DeleteSecurityGroup&GroupId=sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("Action=ReleaseAddress&AllocationId=eipalloc-0123456789abcdef0", "InvalidAllocationID.NotFound"),
        ("Action=CreateTags&ResourceId.1=thing&Tag.1.Key=a", "InvalidID"),
        ("Action=TerminateInstances", "MissingParameter"),
    ] {
        refused(&mut world, query, code);
    }
}

#[test]
fn a_new_group_lets_everything_out_and_rules_are_each_once() {
    let mut world = company();
    let id = group(&mut world, "g");
    let told = ok(&mut world, 0, &format!("Action=DescribeSecurityGroups&GroupId.1={id}"));
    assert_eq!(told.first("ipPermissionsEgress").matches("0.0.0.0/0").count(), 1);
    let rule = format!(
        "GroupId={id}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1"
    );
    let authorize = |cidr: &str| format!("Action=AuthorizeSecurityGroupIngress&{rule}.CidrIp={cidr}");
    let tags = "&TagSpecification.1.ResourceType=security-group-rule&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b";
    let made = ok(&mut world, 0, &format!("{}{tags}", authorize("198.51.100.7/32")));
    assert!(made.first("securityGroupRuleId").starts_with("sgr-0"));
    assert_eq!(made.first("tagSet"), "<item><key>a</key><value>b</value></item>");
    refused(&mut world, &authorize("198.51.100.7/32"), "InvalidPermission.Duplicate");
    refused(&mut world, &authorize("198.51.100.7/24"), "InvalidParameterValue");
    let revoke = |cidr: &str| format!("Action=RevokeSecurityGroupIngress&{rule}.CidrIp={cidr}");
    refused(&mut world, &revoke("198.51.100.8/32"), "InvalidPermission.NotFound");
    ok(&mut world, 0, &revoke("198.51.100.7/32"));
    refused(&mut world, &revoke("198.51.100.7/32"), "InvalidPermission.NotFound");
    let vpc = vpc(&mut world);
    let again = format!("Action=CreateSecurityGroup&GroupName=g&GroupDescription=d&VpcId={vpc}");
    refused(&mut world, &again, "InvalidGroup.Duplicate");
}

#[test]
fn a_group_is_unknown_to_every_change_for_a_moment() {
    let mut world = company();
    let vpc = vpc(&mut world);
    let create = format!("Action=CreateSecurityGroup&GroupName=g&GroupDescription=d&VpcId={vpc}");
    let id = ok(&mut world, 100, &create).first("groupId").to_owned();
    let everything = "IpPermissions.1.IpProtocol=-1&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0";
    let port = "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432";
    let database = company::DATABASE_GROUP;
    for query in [
        format!("Action=RevokeSecurityGroupEgress&GroupId={id}&{everything}"),
        format!("Action=AuthorizeSecurityGroupIngress&GroupId={id}&{everything}"),
        format!("Action=AuthorizeSecurityGroupIngress&GroupId={database}&{port}&IpPermissions.1.Groups.1.GroupId={id}"),
    ] {
        assert_eq!(raw(&mut world, 100, &query).code(), "InvalidGroup.NotFound", "{query}");
        ok(&mut world, 101, &query);
    }
    assert_eq!(launch(&mut world, 100, &format!("&SecurityGroupId.1={id}")).code(), "InvalidGroup.NotFound");
    launched(&mut world, 101, &format!("&SecurityGroupId.1={id}"));
}

#[test]
fn the_sixty_first_rule_is_refused_with_all_of_its_call() {
    let mut world = company();
    let id = group(&mut world, "g");
    let rules = |range: std::ops::Range<u32>| {
        let ranges =
            range.clone().map(|n| format!("&IpPermissions.1.IpRanges.{}.CidrIp=10.0.0.{n}/32", n - range.start + 1));
        let ranges: String = ranges.collect();
        format!(
            "Action=AuthorizeSecurityGroupIngress&GroupId={id}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22{ranges}"
        )
    };
    ok(&mut world, 0, &rules(0..58));
    refused(&mut world, &rules(100..103), "RulesPerSecurityGroupLimitExceeded");
    ok(&mut world, 0, &rules(100..102));
}

#[test]
fn what_is_used_stays() {
    let mut world = company();
    let (used, named) = (group(&mut world, "used"), group(&mut world, "named"));
    let instance = launched(&mut world, 0, &format!("&SecurityGroupId.1={used}"));
    refused(&mut world, &format!("Action=DeleteSecurityGroup&GroupId={used}"), "DependencyViolation");
    let database = company::DATABASE_GROUP;
    let rule = format!(
        "GroupId={database}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432&IpPermissions.1.Groups.1.GroupId={named}"
    );
    ok(&mut world, 0, &format!("Action=AuthorizeSecurityGroupIngress&{rule}"));
    refused(&mut world, &format!("Action=DeleteSecurityGroup&GroupId={named}"), "DependencyViolation");
    ok(&mut world, 0, &format!("Action=RevokeSecurityGroupIngress&{rule}"));
    ok(&mut world, 0, &format!("Action=DeleteSecurityGroup&GroupId={named}"));
    let (allocation, minute) = (company::RESERVED_ADDRESS, 60);
    let associate = format!("Action=AssociateAddress&AllocationId={allocation}&InstanceId={instance}");
    assert_eq!(raw(&mut world, 1, &associate).code(), "InvalidInstanceID", "it is pending");
    ok(&mut world, minute, &associate);
    refused(&mut world, &format!("Action=ReleaseAddress&AllocationId={allocation}"), "InvalidIPAddress.InUse");
    ok(&mut world, minute, &format!("Action=TerminateInstances&InstanceId.1={instance}"));
    assert_eq!(
        raw(&mut world, minute + 5, &format!("Action=DeleteSecurityGroup&GroupId={used}")).code(),
        "DependencyViolation"
    );
    ok(&mut world, minute + 40, &format!("Action=DeleteSecurityGroup&GroupId={used}"));
    ok(&mut world, minute + 40, &format!("Action=ReleaseAddress&AllocationId={allocation}"));
}

#[test]
fn an_address_moves_only_where_the_caller_allows_it() {
    let mut world = company();
    let (one, other) = (launched(&mut world, 0, ""), launched(&mut world, 0, ""));
    let allocation = company::RESERVED_ADDRESS;
    let to = |instance: &str| format!("Action=AssociateAddress&AllocationId={allocation}&InstanceId={instance}");
    let first = ok(&mut world, 60, &to(&one)).first("associationId").to_owned();
    assert_eq!(ok(&mut world, 60, &to(&one)).first("associationId"), first, "again is nothing new");
    refused(&mut world, &to(&other), "Resource.AlreadyAssociated");
    ok(&mut world, 60, &format!("{}&AllowReassociation=true", to(&other)));
    let told = ok(&mut world, 60, "Action=DescribeAddresses");
    assert_eq!(told.first("instanceId"), other);
}

#[test]
fn instances_live_in_virtual_time() {
    let mut world = company();
    let id = launched(&mut world, 0, "");
    assert_eq!(state(&mut world, 1, &id), "pending");
    assert_eq!(state(&mut world, 8, &id), "running");
    ok(&mut world, 100, &format!("Action=StopInstances&InstanceId.1={id}"));
    assert_eq!(state(&mut world, 101, &id), "stopping");
    assert_eq!(
        raw(&mut world, 101, &format!("Action=StartInstances&InstanceId.1={id}")).code(),
        "IncorrectInstanceState"
    );
    assert_eq!(state(&mut world, 130, &id), "stopped");
    ok(&mut world, 130, &format!("Action=StartInstances&InstanceId.1={id}"));
    assert_eq!(state(&mut world, 140, &id), "running");
    ok(&mut world, 200, &format!("Action=ModifyInstanceAttribute&InstanceId={id}&DisableApiTermination.Value=true"));
    assert_eq!(
        raw(&mut world, 200, &format!("Action=TerminateInstances&InstanceId.1={id}")).code(),
        "OperationNotPermitted"
    );
    ok(&mut world, 200, &format!("Action=ModifyInstanceAttribute&InstanceId={id}&DisableApiTermination.Value=false"));
    ok(&mut world, 200, &format!("Action=TerminateInstances&InstanceId.1={id}"));
    assert_eq!(state(&mut world, 201, &id), "shutting-down");
    assert_eq!(state(&mut world, 231, &id), "terminated");
    assert!(!ok(&mut world, 231, "Action=DescribeInstances").text.contains("subnetId"), "it has left its network");
    assert_eq!(ok(&mut world, 240, "Action=DescribeVolumes").all("volumeId").len(), 0);
    assert_eq!(state(&mut world, 3_829, &id), "terminated");
    assert_eq!(state(&mut world, 3_830, &id), "forgotten");
}

#[test]
fn a_shutdown_from_within_ends_or_stops() {
    let mut world = company();
    let ends = launched(&mut world, 0, "&InstanceInitiatedShutdownBehavior=terminate");
    let stops = launched(&mut world, 0, "");
    world.shut_down(&ends, at(60));
    world.shut_down(&stops, at(60));
    assert_eq!(
        (state(&mut world, 61, &ends), state(&mut world, 61, &stops)),
        ("shutting-down".into(), "stopping".into())
    );
    assert_eq!((state(&mut world, 99, &ends), state(&mut world, 99, &stops)), ("terminated".into(), "stopped".into()));
}

#[test]
fn the_same_token_makes_one_machine() {
    let mut world = company();
    let one = launched(&mut world, 0, "&ClientToken=t");
    assert_eq!(launched(&mut world, 5, "&ClientToken=t"), one);
    assert_ne!(launched(&mut world, 5, "&ClientToken=u"), one);
    assert_eq!(launch(&mut world, 5, "&ClientToken=t&EbsOptimized=true").code(), "IdempotentParameterMismatch");
    ok(&mut world, 60, &format!("Action=TerminateInstances&InstanceId.1={one}"));
    assert_eq!(launched(&mut world, 61, "&ClientToken=t"), one, "also while it ends");
    for later in [120, 60 + 30 * 3600] {
        assert_eq!(launch(&mut world, later, "&ClientToken=t").code(), "IdempotentInstanceTerminated", "{later}");
    }
}

/// "Terminate Amazon EC2 instances" in the Amazon EC2 User Guide: tags go before the instance does.
#[test]
fn a_terminated_instance_loses_its_tags_first() {
    let mut world = company();
    let tags = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=team&TagSpecification.1.Tag.1.Value=data";
    let id = launched(&mut world, 0, tags);
    ok(&mut world, 60, &format!("Action=TerminateInstances&InstanceId.1={id}"));
    let by_tag = "Action=DescribeInstances&Filter.1.Name=tag-key&Filter.1.Value.1=team";
    assert_eq!(ok(&mut world, 61, by_tag).all("instanceId"), [id.as_str()]);
    assert!(ok(&mut world, 120, by_tag).all("instanceId").is_empty());
    assert_eq!(state(&mut world, 120, &id), "terminated");
}

#[test]
fn a_launch_is_checked() {
    let mut world = company();
    for (more, code) in [
        ("&KeyName=k", "InvalidKeyPair.NotFound"),
        ("&UserData=%25", "InvalidUserData.Malformed"),
        ("&MetadataOptions.HttpTokens=maybe", "InvalidParameterValue"),
        (
            "&MetadataOptions.InstanceMetadataTags=enabled&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a/b",
            "InvalidParameterValue",
        ),
        (
            "&BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.VolumeSize=4",
            "InvalidBlockDeviceMapping",
        ),
        ("&SecurityGroupId.1=sg-0123456789abcdef0", "InvalidGroup.NotFound"),
        ("&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=a", "InvalidParameterValue"),
        ("&IamInstanceProfile.Name=x", "UnknownParameter"),
    ] {
        assert_eq!(launch(&mut world, 0, more).code(), code, "{more}");
    }
    let large = format!("&UserData={}", "A".repeat(16 * 1024 / 3 * 4 + 8));
    assert_eq!(launch(&mut world, 0, &large).code(), "InvalidParameterValue");
    let image = image(&mut world);
    let intel = format!(
        "Action=RunInstances&MinCount=1&MaxCount=1&ImageId={image}&InstanceType=t3.nano&SubnetId={}",
        company::SUBNET
    );
    refused(&mut world, &intel, "InvalidParameterValue");
    assert!(world.regions["us-east-1"].instances.is_empty());
}

#[test]
fn tags_have_limits_and_filters_find_them() {
    let mut world = company();
    let id = group(&mut world, "g");
    let fifty: String = (1..=50).map(|n| format!("&Tag.{n}.Key=k{n}&Tag.{n}.Value=v")).collect();
    ok(&mut world, 0, &format!("Action=CreateTags&ResourceId.1={id}{fifty}"));
    refused(&mut world, &format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=one-more"), "TagLimitExceeded");
    refused(&mut world, &format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=aws:x"), "InvalidParameterValue");
    let find = |filter: &str| format!("Action=DescribeSecurityGroups&{filter}");
    let found = ok(&mut world, 0, &find("Filter.1.Name=tag-key&Filter.1.Value.1=k7"));
    assert_eq!(found.all("groupId"), [id.as_str()]);
    assert_eq!(ok(&mut world, 0, &find("Filter.1.Name=tag:k7&Filter.1.Value.1=v*")).all("groupId").len(), 1);
    assert_eq!(ok(&mut world, 0, &find("Filter.1.Name=tag:k7&Filter.1.Value.1=w")).all("groupId").len(), 0);
    ok(&mut world, 0, &format!("Action=DeleteTags&ResourceId.1={id}&Tag.1.Key=k7&Tag.1.Value=other"));
    ok(&mut world, 0, &format!("Action=DeleteTags&ResourceId.1={id}&Tag.1.Key=k8&Tag.2.Key=none"));
    let left = ok(&mut world, 0, &format!("Action=DescribeTags&Filter.1.Name=resource-id&Filter.1.Value.1={id}"));
    assert_eq!(left.all("key").len(), 49, "a tag of another value stays");
}

#[test]
fn pages_tell_everything_once() {
    let mut world = company();
    let made: std::collections::BTreeSet<String> = (0..13).map(|n| group(&mut world, &format!("g{n}"))).collect();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = ok(&mut world, 0, &format!("Action=DescribeSecurityGroups&MaxResults=5{token}"));
        let groups = page.all("securityGroupInfo")[0].split("<groupId>").skip(1).filter_map(|t| t.split('<').next());
        seen.extend(groups.map(str::to_owned));
        match page.all("nextToken").first() {
            Some(next) => token = format!("&NextToken={next}"),
            None => break,
        }
    }
    seen.sort();
    let all: Vec<String> = world.regions["us-east-1"].groups.keys().cloned().collect();
    assert!(made.iter().all(|id| all.contains(id)));
    // The database's group is named once more, in the rule that admits the application.
    seen.dedup();
    assert_eq!(seen, all);
}

#[test]
fn regions_are_apart_and_the_signature_names_them() {
    let mut world = company();
    let mut ask = Ask {
        method: "POST".to_owned(),
        body: b"Action=DescribeSubnets&Version=2016-11-15".to_vec(),
        ..Ask::default()
    };
    assert_eq!(Answer::of(world.answer(at(0), &ask)).all("subnetId").len(), 2);
    let scope = "AWS4-HMAC-SHA256 Credential=AKIA/20260811/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
    ask.headers.insert("authorization".to_owned(), scope.to_owned());
    assert_eq!(Answer::of(world.answer(at(0), &ask)).all("subnetId").len(), 0);
}

#[test]
fn a_deprecated_image_is_listed_by_its_id_or_on_request() {
    let mut world = company();
    let image = super::model::Image {
        name: "own".to_owned(),
        owner: super::ACCOUNT.to_owned(),
        architecture: "arm64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        root_size: 8,
        created: "2024-01-01T00:00:00.000Z".to_owned(),
        deprecated: Some("2026-01-01T00:00:00.000Z".to_owned()),
        unsubscribed: false,
        description: String::new(),
        tags: super::model::Tags::new(),
    };
    let id = "ami-0123456789abcdef0";
    world.regions.entry("us-east-1".to_owned()).or_default().images.insert(id.to_owned(), image);
    let filter = format!("Action=DescribeImages&Filter.1.Name=image-id&Filter.1.Value.1={id}");
    assert!(ok(&mut world, 0, &filter).all("imageId").is_empty());
    for query in [format!("{filter}&IncludeDeprecated=true"), format!("Action=DescribeImages&ImageId.1={id}")] {
        assert_eq!(ok(&mut world, 0, &query).first("deprecationTime"), "2026-01-01T00:00:00.000Z");
    }
}

/// "Amazon VPC quotas": a rule that names a list counts for as many as the list may have entries.
#[test]
fn a_prefix_list_has_pages_and_weighs_what_it_may_hold() {
    let mut world = company();
    let bastion = group(&mut world, "bastion");
    let create = |world: &mut World, most: u8, entries: u8| {
        let entries: String = (1..=entries).map(|n| format!("&Entry.{n}.Cidr=203.0.113.{n}/32")).collect();
        let query = format!(
            "Action=CreateManagedPrefixList&PrefixListName=office&AddressFamily=IPv4&MaxEntries={most}{entries}"
        );
        raw(world, 0, &query)
    };
    assert_eq!(create(&mut world, 2, 3).code(), "PrefixListMaxEntriesExceeded");
    let id = create(&mut world, 40, 3).first("prefixListId").to_owned();
    let read = format!("Action=GetManagedPrefixListEntries&PrefixListId={id}&MaxResults=2");
    let first = ok(&mut world, 0, &read);
    assert_eq!(first.all("cidr").len(), 2);
    let rest = ok(&mut world, 0, &format!("{read}&NextToken={}", first.first("nextToken")));
    assert_eq!(rest.all("cidr"), ["203.0.113.3/32"]);
    let open = |list: &str, port: u16| {
        format!(
            "Action=AuthorizeSecurityGroupIngress&GroupId={bastion}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort={port}\
             &IpPermissions.1.ToPort={port}&IpPermissions.1.PrefixListIds.1.PrefixListId={list}"
        )
    };
    refused(&mut world, &open("pl-0123456789abcdef0", 22), "InvalidPrefixListID.NotFound");
    refused(&mut world, &open("pl-office", 22), "InvalidPrefixListId.Malformed");
    ok(&mut world, 1000, &open(&id, 22));
    refused(&mut world, &open(&id, 23), "RulesPerSecurityGroupLimitExceeded");
}

#[test]
fn quotas_hold() {
    let mut world = company();
    for _ in 0..4 {
        ok(&mut world, 0, "Action=AllocateAddress&Domain=vpc");
    }
    refused(&mut world, "Action=AllocateAddress", "AddressLimitExceeded");
}

#[test]
fn the_console_shows_the_last_64_kib() {
    use base64ct::{Base64, Encoding};
    let mut world = company();
    let id = launched(&mut world, 0, "");
    let read = format!("Action=GetConsoleOutput&InstanceId={id}&Latest=true");
    assert!(ok(&mut world, 60, &read).all("output").is_empty(), "nothing yet");
    world.print(&id, &"x".repeat(70_000), at(60));
    world.print(&id, "the end", at(61));
    let output = Base64::decode_vec(ok(&mut world, 62, &read).first("output")).expect("base64");
    assert_eq!(output.len(), 64 * 1024);
    assert!(output.ends_with(b"xthe end"));
}

#[test]
fn a_machine_is_told_with_what_it_was_given() {
    let mut world = company();
    let id = launched(
        &mut world,
        0,
        "&UserData=aGVsbG8=&MetadataOptions.InstanceMetadataTags=enabled&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b",
    );
    launched(&mut world, 0, "");
    let machines = world.machines(at(60));
    let one = machines.iter().find(|m| m.id == id).expect("told");
    assert_eq!((one.running, one.document.as_slice()), (true, b"hello".as_slice()));
    assert_eq!(one.channel, Channel::Tags(Some([("a".to_owned(), "b".to_owned())].into())));
    assert!(machines.iter().any(|m| m.channel == Channel::Tags(None) && m.document.is_empty()));
    assert!(!world.machines(at(1))[0].running);
}

#[test]
fn rules_routes_and_acls_decide_who_gets_through() {
    let mut world = company();
    let bastion = group(&mut world, "bastion");
    let id = launched(&mut world, 0, &format!("&SecurityGroupId.1={bastion}"));
    ok(&mut world, 60, &format!("Action=AssociateAddress&AllocationId={}&InstanceId={id}", company::RESERVED_ADDRESS));
    let public: IpAddr = ok(&mut world, 60, "Action=DescribeAddresses").first("publicIp").parse().expect("an address");
    let (vendor, database): (IpAddr, IpAddr) = ("198.51.100.7".parse().expect("an address"), company::DATABASE.into());
    let way = |world: &World| world.way(at(60), vendor, (public, 22).into());
    assert_eq!(way(&world), Way::Silent);
    let rule = format!(
        "GroupId={bastion}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp=198.51.100.0/24"
    );
    ok(&mut world, 60, &format!("Action=AuthorizeSecurityGroupIngress&{rule}"));
    assert_eq!(way(&world), Way::Machine { vm: id.clone(), port: 22, source: vendor });
    assert_eq!(world.way(at(60), vendor, (public, 23).into()), Way::Silent);
    assert_eq!(world.way(at(60), "203.0.113.1".parse().expect("an address"), (public, 22).into()), Way::Silent);
    assert_eq!(world.way(at(1), vendor, (public, 22).into()), Way::Silent, "it is not running yet");

    assert!(!world.reaches(&id, database, 5432), "its group does not admit the bastion");
    ok(
        &mut world,
        60,
        &format!(
            "Action=AuthorizeSecurityGroupIngress&GroupId={}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432&IpPermissions.1.Groups.1.GroupId={bastion}",
            company::DATABASE_GROUP
        ),
    );
    assert!(world.reaches(&id, database, 5432));
    assert!(!world.reaches(&id, database, 22));
    assert!(!world.reaches(&id, "10.20.2.77".parse().expect("an address"), 5432), "nobody is there");
    assert!(world.reaches(&id, vendor, 443), "everything may go out");
    ok(
        &mut world,
        60,
        &format!(
            "Action=RevokeSecurityGroupEgress&GroupId={bastion}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0"
        ),
    );
    assert!(!world.reaches(&id, vendor, 443) && !world.reaches(&id, database, 5432));

    let acl = ok(&mut world, 60, "Action=DescribeNetworkAcls").first("networkAclId").to_owned();
    let deny = format!(
        "Action=CreateNetworkAclEntry&NetworkAclId={acl}&RuleNumber=50&Egress=false&RuleAction=deny&Protocol=6&PortRange.From=22&PortRange.To=22&CidrBlock=198.51.100.0/24"
    );
    let without = world.clone();
    ok(&mut world, 60, &deny);
    assert_eq!(way(&world), Way::Silent);
    let mut world = without;
    let told = ok(
        &mut world,
        60,
        "Action=DescribeRouteTables&Filter.1.Name=route.destination-cidr-block&Filter.1.Value.1=0.0.0.0/0",
    );
    let table = told.first("routeTableId").to_owned();
    ok(&mut world, 60, &format!("Action=DeleteRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0"));
    assert_eq!(way(&world), Way::Silent);
}

#[test]
fn reads_may_be_stale_and_settle() {
    let mut world = company();
    world.lag = Some(Duration::from_secs(10));
    world.pace = Pace::instant();
    let vpc = vpc(&mut world);
    raw(&mut world, 1000, &format!("Action=CreateSecurityGroup&GroupName=g&GroupDescription=d&VpcId={vpc}"));
    let mut seen = [0, 0];
    for _ in 0..40 {
        let told = ok(&mut world, 1005, "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=g");
        seen[usize::from(told.text.contains("<groupId>"))] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "stale and fresh: {seen:?}");
    let told = ok(&mut world, 1011, "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=g");
    assert!(told.text.contains("<groupId>"), "settled");
}

#[test]
fn the_same_asked_is_the_same_answered_and_a_file_keeps_it() {
    let play = |seed: u64| {
        let mut world = World::seeded(seed);
        world.settle_company("us-east-1");
        let id = launched(&mut world, 0, "");
        let text = serde_json::to_string(&world).expect("plain data");
        let mut back: World = serde_json::from_str(&text).expect("as it was");
        assert_eq!(back, world);
        assert_eq!(
            ok(&mut back, 9, "Action=DescribeInstances").text,
            ok(&mut world, 9, "Action=DescribeInstances").text
        );
        (id, text)
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7).0, play(8).0);
}
