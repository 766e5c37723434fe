//! Networks that are not as EC2's defaults have them, on the sandbox's EC2: what the plan says of them, and whether the machine works.

use std::fs;

use gangplank::sandbox::{
    cloud::{Sandbox, State},
    company,
    ec2::{DATABASE_GROUP, SUBNET},
    http::Ask,
};
use serde_json::Value;

use super::{Desk, FOLDER};

const PLAN: &str = "plans/warehouse.yaml";

/// What EC2 answers to a call that a person makes beside the program.
#[track_caller]
fn ec2(desk: &Desk, call: &str) -> String {
    let sandbox = Sandbox::open(&desk.path(FOLDER), State::company).unwrap();
    let ask = Ask {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        body: format!("Version=2016-11-15&Action={call}").into_bytes(),
        headers: [("authorization".to_owned(), company::SOMEBODY.to_owned())].into(),
        ..Ask::default()
    };
    let reply = sandbox.change(|state, now| state.ec2.answer(now, &ask));
    sandbox.keep().unwrap();
    let text = String::from_utf8(reply.body).unwrap();
    assert_eq!(reply.status, 200, "{call}: {text}");
    text
}

#[track_caller]
fn leaf<'a>(xml: &'a str, name: &str) -> &'a str {
    xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<')).map(|(leaf, _)| leaf).expect(xml)
}

fn network(desk: &Desk) -> String {
    leaf(&ec2(desk, &format!("DescribeSubnets&SubnetId.1={SUBNET}")), "vpcId").to_owned()
}

/// The cause of a check that failed.
#[track_caller]
fn cause(desk: &Desk, check: &str) -> Option<String> {
    let run = desk.play(&["verify", "--no-network", "--output", "json", PLAN]);
    let document = run.json();
    let checks = document["bastions"][0]["checks"].as_array().expect("checks");
    let named: Vec<&Value> = checks.iter().filter(|c| c["id"] == check).collect();
    assert!(!named.is_empty(), "no {check}\n{run}");
    named.iter().find(|c| c["verdict"] == "fail").map(|c| c["cause"].as_str().unwrap_or_default().to_owned())
}

/// Without the rules no name resolves: security groups filter what goes to servers that are not EC2's own.
#[test]
fn a_machine_may_ask_the_dns_servers_of_its_network() {
    let desk = Desk::new();
    let vpc = network(&desk);
    let servers = "DhcpConfiguration.1.Key=domain-name-servers&DhcpConfiguration.1.Value.1=10.20.2.53&DhcpConfiguration.1.Value.2=2001:db8::53";
    let options = ec2(&desk, &format!("CreateDhcpOptions&{servers}"));
    ec2(&desk, &format!("AssociateDhcpOptions&VpcId={vpc}&DhcpOptionsId={}", leaf(&options, "dhcpOptionsId")));

    let plan = desk.play(&["plan", PLAN]).expect(0);
    for told in [
        "+ egress udp 53 ",
        &format!("to 10.20.2.53/32         DNS server of {vpc}"),
        &format!("2001:db8::53, a DNS server of {vpc}, has an IPv6 address"),
    ] {
        assert!(plan.stdout.contains(told), "expected {told:?}\n{plan}");
    }
    desk.play(&["apply", "--yes", PLAN]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    desk.play(&["verify", "--no-network", PLAN]).expect(0);

    let group = ec2(&desk, "DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=gangplank-warehouse");
    let rules = ["udp", "tcp"].into_iter().zip(1..).map(|(protocol, n)| {
        let rule = format!("IpPermissions.{n}");
        format!(
            "&{rule}.IpProtocol={protocol}&{rule}.FromPort=53&{rule}.ToPort=53&{rule}.IpRanges.1.CidrIp=10.20.2.53/32"
        )
    });
    let revoke = format!("RevokeSecurityGroupEgress&GroupId={}{}", leaf(&group, "groupId"), rules.collect::<String>());
    ec2(&desk, &revoke);
    desk.play(&["sandbox", "advance", "2h"]).expect(0);
    let silent = cause(&desk, "control.egress").expect("the rule is gone");
    assert!(silent.contains("no rule lets it out on udp and tcp 53 to 10.20.2.53/32"), "{silent}");
    let deaf = cause(&desk, "machine.target-dns").expect("the machine asks in vain");
    assert!(deaf.contains("Temporary failure in name resolution"), "{deaf}");
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    desk.play(&["verify", "--no-network", PLAN]).expect(0);

    // Where the network goes back to EC2's own servers, the way out closes.
    ec2(&desk, &format!("AssociateDhcpOptions&VpcId={vpc}&DhcpOptionsId=default"));
    let plan = desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(2);
    assert!(plan.stdout.contains("- egress udp 53"), "{plan}");
}

/// EC2 then wants the interface's id, not the machine's.
#[test]
fn address_and_groups_are_repaired_beside_a_second_interface() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    let machine = ec2(&desk, "DescribeInstances");
    let own = leaf(&machine, "groupId");
    let (machine, interface, vpc) =
        (leaf(&machine, "instanceId"), leaf(&machine, "networkInterfaceId"), leaf(&machine, "vpcId"));
    let second = ec2(&desk, &format!("CreateNetworkInterface&SubnetId={SUBNET}"));
    let second = leaf(&second, "networkInterfaceId");
    ec2(&desk, &format!("AttachNetworkInterface&NetworkInterfaceId={second}&InstanceId={machine}&DeviceIndex=1"));
    let addresses = ec2(&desk, &format!("DescribeAddresses&Filter.1.Name=instance-id&Filter.1.Value.1={machine}"));
    ec2(&desk, &format!("DisassociateAddress&AssociationId={}", leaf(&addresses, "associationId")));
    let default =
        format!("Filter.1.Name=group-name&Filter.1.Value.1=default&Filter.2.Name=vpc-id&Filter.2.Value.1={vpc}");
    let default = ec2(&desk, &format!("DescribeSecurityGroups&{default}"));
    let groups = format!("SecurityGroupId.1={own}&SecurityGroupId.2={}", leaf(&default, "groupId"));
    ec2(&desk, &format!("ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}&{groups}"));
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(0);
    let addresses = ec2(&desk, &format!("DescribeAddresses&Filter.1.Name=instance-id&Filter.1.Value.1={machine}"));
    assert_eq!(leaf(&addresses, "networkInterfaceId"), interface);
}

/// Rewrites a line of the plan.
fn replan(desk: &Desk, before: &str, after: &str) {
    let text = fs::read_to_string(desk.path(PLAN)).unwrap();
    assert!(text.contains(before), "{text}");
    fs::write(desk.path(PLAN), text.replace(before, after)).unwrap();
}

/// A network of its own with a public subnet: their ids.
fn another_network(desk: &Desk) -> (String, String, String) {
    let vpc = ec2(desk, "CreateVpc&CidrBlock=10.40.0.0/16");
    let vpc = leaf(&vpc, "vpcId").to_owned();
    let subnet = ec2(desk, &format!("CreateSubnet&VpcId={vpc}&CidrBlock=10.40.1.0/24"));
    let subnet = leaf(&subnet, "subnetId").to_owned();
    let gateway = ec2(desk, "CreateInternetGateway");
    let gateway = leaf(&gateway, "internetGatewayId");
    ec2(desk, &format!("AttachInternetGateway&VpcId={vpc}&InternetGatewayId={gateway}"));
    let table = main_table(desk, &vpc);
    ec2(desk, &format!("CreateRoute&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&GatewayId={gateway}"));
    (vpc, subnet, table)
}

fn main_table(desk: &Desk, vpc: &str) -> String {
    let main =
        format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}&Filter.2.Name=association.main&Filter.2.Value.1=true");
    leaf(&ec2(desk, &format!("DescribeRouteTables&{main}")), "routeTableId").to_owned()
}

#[test]
fn a_database_in_a_peered_network_lets_the_bastion_in() {
    let desk = Desk::new();
    let data = network(&desk);
    let (vpc, subnet, table) = another_network(&desk);
    replan(&desk, SUBNET, &subnet);
    let refused = desk.play(&["plan", PLAN]).expect(3);
    for told in ["the subnet is not in the database's network", "an active peering connection within the region"] {
        assert!(refused.stderr.contains(told), "expected {told:?}\n{refused}");
    }

    let peering = ec2(&desk, &format!("CreateVpcPeeringConnection&VpcId={vpc}&PeerVpcId={data}"));
    let peering = leaf(&peering, "vpcPeeringConnectionId");
    desk.play(&["plan", PLAN]).expect(3);
    ec2(&desk, &format!("AcceptVpcPeeringConnection&VpcPeeringConnectionId={peering}"));
    for (table, to) in [(table, "10.20.0.0/16"), (main_table(&desk, &data), "10.40.0.0/16")] {
        let route = format!("RouteTableId={table}&DestinationCidrBlock={to}&VpcPeeringConnectionId={peering}");
        ec2(&desk, &format!("CreateRoute&{route}"));
    }
    desk.play(&["apply", "--yes", PLAN]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    desk.play(&["verify", "--no-network", PLAN]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(0);
    desk.play(&["destroy", "--yes", PLAN]).expect(0);
}

#[test]
fn another_accounts_database_is_reached_and_its_owner_is_told_the_rule() {
    let desk = Desk::new();
    let data = network(&desk);
    replan(&desk, DATABASE_GROUP, "999988887777/sg-0fedcba9876543210");
    let refused = desk.play(&["plan", PLAN]).expect(3);
    assert!(refused.stderr.contains("no peering leads to the database's group"), "{refused}");

    let other = "PeerVpcId=vpc-0fedcba9876543210&PeerOwnerId=999988887777";
    let peering = ec2(&desk, &format!("CreateVpcPeeringConnection&VpcId={data}&{other}"));
    let peering = leaf(&peering, "vpcPeeringConnectionId").to_owned();
    {
        // Their side accepts.
        let sandbox = Sandbox::open(&desk.path(FOLDER), State::company).unwrap();
        sandbox.change(|state, _| {
            let mut regions = state.ec2.regions.values_mut();
            regions.find_map(|region| region.peerings.get_mut(&peering)).expect("requested").active = true;
        });
        sandbox.keep().unwrap();
    }
    let plan = desk.play(&["plan", PLAN]).expect(0);
    assert!(plan.stdout.contains("+ egress tcp 5432    to 999988887777/sg-0fedcba9876543210"), "{plan}");
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    let plan = desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(0);
    let group = ec2(&desk, "DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=gangplank-warehouse");
    let rule = format!(
        "aws --region us-east-1 ec2 authorize-security-group-ingress --group-id sg-0fedcba9876543210 --ip-permissions \
         'IpProtocol=tcp,FromPort=5432,ToPort=5432,UserIdGroupPairs=[{{GroupId={},UserId=123456789012}}]'",
        leaf(&group, "groupId")
    );
    assert!(plan.stdout.contains(&rule), "{rule}\n{plan}");
    assert_eq!(cause(&desk, "control.egress"), None);

    // EC2 closes a rule for another account's group under that account's number only.
    let foreign = "IpPermissions.1.Groups.1.UserId=999988887777&IpPermissions.1.Groups.1.GroupId=sg-0aaaaaaaaaaaaaaaa";
    let admitted =
        format!("IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&{foreign}");
    ec2(&desk, &format!("AuthorizeSecurityGroupIngress&GroupId={}&{admitted}", leaf(&group, "groupId")));
    let plan = desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(2);
    assert!(plan.stdout.contains("from 999988887777/sg-0aaaaaaaaaaaaaaaa"), "{plan}");
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", PLAN]).expect(0);

    replan(&desk, "999988887777/sg-0fedcba9876543210", &format!("999988887777/{DATABASE_GROUP}"));
    let refused = desk.play(&["plan", PLAN]).expect(3);
    assert!(refused.stderr.contains("the group is not in another account"), "{refused}");
}

#[test]
fn block_public_access_is_told_before_the_yes_and_by_verify() {
    let desk = Desk::new();
    let vpc = network(&desk);
    ec2(&desk, "ModifyVpcBlockPublicAccessOptions&InternetGatewayBlockMode=block-bidirectional");
    let plan = desk.play(&["plan", PLAN]).expect(0);
    let warning = format!(
        "VPC Block Public Access is block-bidirectional in this region, and neither {SUBNET} nor {vpc} is excluded"
    );
    assert!(plan.stdout.contains(&warning), "{plan}");
    desk.play(&["apply", "--yes", "--no-verify", PLAN]).expect(0);
    assert!(cause(&desk, "control.route").expect("nobody connects").contains(&warning));
    let exclude = "CreateVpcBlockPublicAccessExclusion&InternetGatewayExclusionMode";
    ec2(&desk, &format!("{exclude}=allow-egress&VpcId={vpc}"));
    assert!(cause(&desk, "control.route").is_some(), "the way out is no way in");
    ec2(&desk, &format!("{exclude}=allow-bidirectional&SubnetId={SUBNET}"));
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    desk.play(&["verify", "--no-network", PLAN]).expect(0);
}

#[test]
fn a_subnet_where_no_bastion_can_stand_is_refused_with_those_where_one_can() {
    let desk = Desk::new();
    let vpc = network(&desk);
    let local =
        ec2(&desk, &format!("CreateSubnet&VpcId={vpc}&CidrBlock=10.20.3.0/24&AvailabilityZone=us-east-1-lax-1a"));
    let local = leaf(&local, "subnetId").to_owned();
    let private = ec2(&desk, &format!("CreateSubnet&VpcId={vpc}&CidrBlock=10.20.4.0/24"));
    let private = leaf(&private, "subnetId").to_owned();
    let elsewhere = format!("choose a public subnet of the same network, such as {SUBNET} (public-a)");
    let mut before = SUBNET.to_owned();
    for (subnet, why) in [(local, "the subnet is not in an Availability Zone"), (private, "is private")] {
        replan(&desk, &before, &subnet);
        let refused = desk.play(&["plan", PLAN]).expect(3);
        for told in [why, &elsewhere] {
            assert!(refused.stderr.contains(told), "expected {told:?}\n{refused}");
        }
        before = subnet;
    }
}
