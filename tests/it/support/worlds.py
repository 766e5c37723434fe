"""A world for the tests to stand in, and its description before and after."""

import json
import time

OWNER = "gangplank:bastion"


def tags(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def settled(call, group):
    """The call after CreateSecurityGroup, which may not know the group yet: the group's own waiter asks reads only."""
    for _ in range(50):
        try:
            return call(group)
        except Exception as error:
            if "InvalidGroup.NotFound" not in str(error):
                raise
            time.sleep(0.1)
    return call(group)


def seed(ec2):
    """A company's network: a public and a private subnet, two databases' groups, a second network, a free address."""
    data = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=tags("vpc", "data"))["Vpc"]["VpcId"]
    other = ec2.create_vpc(CidrBlock="10.30.0.0/16", TagSpecifications=tags("vpc", "other"))["Vpc"]["VpcId"]

    def subnet(vpc, block, name):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=block, TagSpecifications=tags("subnet", name))
        return made["Subnet"]["SubnetId"]

    def public(vpc, subnet):
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    def database(name, port):
        group = ec2.create_security_group(
            GroupName=name, Description=name, VpcId=data, TagSpecifications=tags("security-group", name)
        )["GroupId"]
        ranges = [{"CidrIp": "10.20.0.0/16", "Description": "the application"}]
        rules = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}]
        settled(lambda id: ec2.authorize_security_group_ingress(GroupId=id, IpPermissions=rules), group)
        return group

    public_subnet = subnet(data, "10.20.1.0/24", "public-a")
    other_public_subnet = subnet(other, "10.30.1.0/24", "other-public")
    public(data, public_subnet)
    public(other, other_public_subnet)
    return {
        "vpc": data,
        "public_subnet": public_subnet,
        "private_subnet": subnet(data, "10.20.2.0/24", "private-a"),
        "other_vpc": other,
        "other_public_subnet": other_public_subnet,
        "warehouse_group": database("warehouse-db", 5432),
        "orders_group": database("orders-db", 3306),
        "address": ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", "reserved"))["AllocationId"],
    }


def world(ec2):
    """Everything there is, in two parts.

    `foreign` carries no ownership tag and is told as it is, so that any difference shows. `ours` carries it, and is told
    without what every creation makes anew: ids and addresses become the names of what they belong to.
    """
    groups = pages(ec2, "describe_security_groups", "SecurityGroups")
    rules = pages(ec2, "describe_security_group_rules", "SecurityGroupRules")
    instances = [
        instance
        for reservation in pages(ec2, "describe_instances", "Reservations")
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in ("terminated", "shutting-down")
    ]
    addresses = ec2.describe_addresses()["Addresses"]
    volumes = pages(ec2, "describe_volumes", "Volumes")
    interfaces = pages(ec2, "describe_network_interfaces", "NetworkInterfaces")
    vpcs = pages(ec2, "describe_vpcs", "Vpcs")
    subnets = pages(ec2, "describe_subnets", "Subnets")
    owners = {g["GroupId"]: owner(g) for g in groups} | {i["InstanceId"]: owner(i) for i in instances}

    def whose(thing):
        """Without a tag, a rule is its group's owner's, a volume or an interface its machine's."""
        return owner(thing) or next((owners.get(parent) for parent in parents(thing) if parent), None)

    parts = {
        "groups": [(owner(g), group(g)) for g in groups],
        "rules": [(whose(r), rule(r)) for r in rules],
        "instances": [(owner(i), instance_of(ec2, i)) for i in instances],
        "addresses": [(owner(a), address(a)) for a in addresses],
        "volumes": [(whose(v), volume(v)) for v in volumes],
        "interfaces": [(whose(n), interface(n)) for n in interfaces],
        "vpcs": [(owner(v), v) for v in vpcs],
        "subnets": [(owner(s), {**s, "AvailableIpAddressCount": None}) for s in subnets],
        "routes": [(owner(t), t) for t in pages(ec2, "describe_route_tables", "RouteTables")],
        "gateways": [(owner(g), g) for g in pages(ec2, "describe_internet_gateways", "InternetGateways")],
        "keys": [(owner(k), k) for k in ec2.describe_key_pairs()["KeyPairs"]],
    }
    names = {g["GroupId"]: f"group {g['GroupName']}" for g in groups}
    for thing, kind, keys in [
        (instances, "instance", ["InstanceId", "PrivateIpAddress", "PrivateDnsName"]),
        (addresses, "address", ["AllocationId", "AssociationId", "PublicIp"]),
        (vpcs, "vpc", ["VpcId"]),
        (subnets, "subnet", ["SubnetId"]),
    ]:
        for one in thing:
            name = owner(one) or tag_map(one).get("Name")
            for key in keys:
                if name and one.get(key):
                    names[one[key]] = f"{kind} {name} ({key})"
    # The longest first: one address may begin as another does.
    ordered = sorted(names.items(), key=lambda pair: -len(pair[0]))

    def anonymous(thing):
        text = json.dumps(thing, sort_keys=True, default=str)
        for found, name in ordered:
            text = text.replace(found, name)
        return json.loads(text)

    def told(chosen, tell):
        return {
            kind: sorted((tell(t) for o, t in rows if chosen(o)), key=lambda t: json.dumps(t, sort_keys=True, default=str))
            for kind, rows in parts.items()
            if any(chosen(o) for o, _ in rows)
        }

    return {"ours": told(bool, anonymous), "foreign": told(lambda o: not o, lambda t: t)}


def pages(ec2, call, key):
    return ec2.get_paginator(call).paginate().build_full_result().get(key, [])


def tag_map(thing):
    return {t["Key"]: t["Value"] for t in thing.get("Tags", thing.get("TagSet", []))}


def owner(thing):
    return tag_map(thing).get(OWNER)


def parents(thing):
    attachments = thing.get("Attachments", []) + [thing.get("Attachment", {})]
    return [thing.get("GroupId")] + [a.get("InstanceId") for a in attachments]


def pick(thing, *keys):
    return {key: thing[key] for key in keys if key in thing} | {"tags": tag_map(thing)}


def group(thing):
    return pick(thing, "GroupName", "Description", "VpcId", "GroupId")


def rule(thing):
    keys = ["GroupId", "IsEgress", "IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6", "Description"]
    told = pick(thing, *keys)
    if "ReferencedGroupInfo" in thing:
        told["group"] = thing["ReferencedGroupInfo"]["GroupId"]
    return told


def instance_of(ec2, thing):
    told = pick(thing, "ImageId", "InstanceType", "SubnetId", "MetadataOptions", "PublicIpAddress", "KeyName")
    told["groups"] = sorted(g["GroupId"] for g in thing["SecurityGroups"])
    for attribute, key in [
        ("userData", "UserData"),
        ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior"),
        ("disableApiTermination", "DisableApiTermination"),
    ]:
        answer = ec2.describe_instance_attribute(InstanceId=thing["InstanceId"], Attribute=attribute)
        told[attribute] = answer.get(key, {}).get("Value")
    return told


def address(thing):
    return pick(thing, "AllocationId", "PublicIp", "InstanceId")


def volume(thing):
    told = pick(thing, "Size", "VolumeType", "Encrypted", "State")
    told["attached"] = [a["InstanceId"] for a in thing["Attachments"]]
    return told


def interface(thing):
    told = pick(thing, "SubnetId", "Status", "SourceDestCheck")
    told["groups"] = sorted(g["GroupId"] for g in thing["Groups"])
    told["attached"] = thing.get("Attachment", {}).get("InstanceId")
    return told
