"""The bench's yardstick: the same bastions by boto3 with ten threads, as a careful script would do it.

baseline.py plan|create|destroy COUNT VPC SUBNET DATABASE_GROUP
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import boto3

verb, count, vpc, subnet, database = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
ec2 = boto3.client("ec2")
names = [f"bastion-{n:02}" for n in range(count)]
OURS = [{"Name": "tag-key", "Values": ["gangplank:bastion"]}]


def tags(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "gangplank:bastion", "Value": name}]}]


def tcp(port, **peer):
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **peer}]


def create(name, image):
    group = ec2.create_security_group(
        GroupName=f"gangplank-{name}", Description=name, VpcId=vpc, TagSpecifications=tags("security-group", name)
    )["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(22, IpRanges=[{"CidrIp": "198.51.100.7/32"}]))
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=tcp(5432, IpRanges=[{"CidrIp": "10.20.2.10/32"}]))
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", name))["AllocationId"]
    machine = ec2.run_instances(
        ImageId=image,
        InstanceType="t4g.nano",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        SecurityGroupIds=[group],
        TagSpecifications=tags("instance", name),
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}],
    )["Instances"][0]["InstanceId"]
    ec2.associate_address(AllocationId=address, InstanceId=machine)
    ec2.authorize_security_group_ingress(
        GroupId=database,
        IpPermissions=tcp(5432, UserIdGroupPairs=[{"GroupId": group}]),
        TagSpecifications=tags("security-group-rule", name),
    )


def observe():
    machines = [i for p in pages("describe_instances") for r in p["Reservations"] for i in r["Instances"]]
    groups = [g for p in pages("describe_security_groups") for g in p["SecurityGroups"]]
    return machines, groups, ec2.describe_addresses(Filters=OURS)["Addresses"]


def pages(call):
    return ec2.get_paginator(call).paginate(Filters=OURS)


def destroy(machine, address, group):
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
    ec2.revoke_security_group_ingress(
        GroupId=database, IpPermissions=tcp(5432, UserIdGroupPairs=[{"GroupId": group["GroupId"]}])
    )
    ec2.delete_security_group(GroupId=group["GroupId"])


def by_name(things):
    return sorted(things, key=lambda t: next(x["Value"] for x in t["Tags"] if x["Key"] == "gangplank:bastion"))


with ThreadPoolExecutor(10) as pool:
    if verb == "plan":
        observe()
    elif verb == "create":
        published = ec2.describe_images(
            Owners=["136693071363"], Filters=[{"Name": "name", "Values": ["debian-13-arm64-*"]}]
        )["Images"]
        image = max(published, key=lambda i: i["CreationDate"])["ImageId"]
        list(pool.map(lambda name: create(name, image), names))
    else:
        machines, groups, addresses = observe()
        list(pool.map(destroy, by_name(machines), by_name(addresses), by_name(groups)))
