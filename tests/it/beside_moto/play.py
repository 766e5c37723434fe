"""Plays steps `[name, call, arguments, {alias: path}]` and tells what came of each, and what there is in the end.

`$alias` in arguments is an id of an earlier answer, or the alias itself where there was none. Aliases stand for ids in what is
told, and what every creation makes anew is left out, so that two clouds can be compared. Lists come in an order of their own.
"""

import json
import re

from botocore.exceptions import ClientError


def tags(thing):
    return {t["Key"]: t["Value"] for t in thing.get("Tags", [])}


def permissions(all):
    told = []
    for p in all:
        ports = [p["IpProtocol"], p.get("FromPort"), p.get("ToPort")] if p["IpProtocol"] != "-1" else ["-1"]
        told += [[*ports, r["CidrIp"], r.get("Description")] for r in p["IpRanges"]]
        told += [[*ports, r["GroupId"], r.get("Description")] for r in p["UserIdGroupPairs"]]
    return told


def group(g):
    return [g["GroupId"], g["GroupName"], g["Description"], permissions(g["IpPermissions"]),
            permissions(g["IpPermissionsEgress"]), tags(g), g["VpcId"]]


def rule(r):
    ports = [r["IpProtocol"], r.get("FromPort"), r.get("ToPort")] if r["IpProtocol"] != "-1" else ["-1"]
    return {"group": r["GroupId"], "egress": r["IsEgress"], "ports": ports, "net": r.get("CidrIpv4"),
            "peer": r.get("ReferencedGroupInfo", {}).get("GroupId"), "description": r.get("Description"), "tags": tags(r)}


def instance(i):
    told = {"id": i["InstanceId"], "state": i["State"]["Name"], "type": i["InstanceType"], "tags": tags(i)}
    if i["State"]["Name"] in ("shutting-down", "terminated"):
        return told
    options = i["MetadataOptions"]
    keys = ["HttpTokens", "InstanceMetadataTags", "HttpPutResponseHopLimit"]
    return told | {"subnet": i["SubnetId"], "network": i["VpcId"], "groups": [g["GroupId"] for g in i["SecurityGroups"]],
                   "private": bool(i["PrivateIpAddress"]), "public": bool(i.get("PublicIpAddress")),
                   "options": {key: options[key] for key in keys}, "volumes": len(i["BlockDeviceMappings"]),
                   "interfaces": len(i["NetworkInterfaces"])}


def volume(v):
    attachments = [[a["InstanceId"], a["DeleteOnTermination"]] for a in v["Attachments"]]
    return [v["Size"], v["VolumeType"], v["Encrypted"], v["State"], tags(v), attachments]


def changes(all):
    return [{"id": c["InstanceId"], "was": c["PreviousState"]["Name"], "is": c["CurrentState"]["Name"]} for c in all]


def image(i):
    return [i["Name"], i["OwnerId"], i["Architecture"], i["RootDeviceName"], i["State"]]


def table(t):
    # Which gateway is the other cloud's too; what a route leads to besides is compared by the tests of routes.
    routes = [[r["DestinationCidrBlock"], r["GatewayId"] == "local", r["State"]] for r in t["Routes"]]
    return [t["VpcId"], routes, [[a["Main"], a.get("SubnetId")] for a in t["Associations"]]]


def acl(a):
    entries = [[e["RuleNumber"], e["Egress"], e["Protocol"], e["RuleAction"], e["CidrBlock"]] for e in a["Entries"]]
    return [a["VpcId"], a["IsDefault"], entries, len(a["Associations"])]


def interface(n):
    return {"subnet": n["SubnetId"], "groups": [g["GroupId"] for g in n["Groups"]], "status": n["Status"],
            "machine": n.get("Attachment", {}).get("InstanceId"), "public": bool(n.get("Association", {}).get("PublicIp")),
            "tags": tags(n)}


# What gangplank reads of an answer.
TOLD = {
    "allocate_address": lambda a: [bool(a["AllocationId"]), bool(a["PublicIp"]), a["Domain"]],
    "associate_address": lambda a: bool(a["AssociationId"]),
    "create_security_group": lambda a: bool(a["GroupId"]),
    "describe_addresses": lambda a: [[x["AllocationId"], x.get("InstanceId") or None, tags(x)] for x in a["Addresses"]],
    "describe_images": lambda a: [image(i) for i in a["Images"]],
    "describe_instance_attribute": lambda a: (a.get("UserData") or {}).get("Value"),
    "describe_instance_types": lambda a: [
        [t["InstanceType"], t["ProcessorInfo"]["SupportedArchitectures"]] for t in a["InstanceTypes"]
    ],
    "describe_instances": lambda a: [instance(i) for r in a["Reservations"] for i in r["Instances"]],
    "describe_network_acls": lambda a: [acl(x) for x in a["NetworkAcls"]],
    "describe_network_interfaces": lambda a: [interface(n) for n in a["NetworkInterfaces"]],
    "describe_regions": lambda a: [[r["RegionName"], r["OptInStatus"]] for r in a["Regions"]],
    "describe_route_tables": lambda a: [table(t) for t in a["RouteTables"]],
    "describe_security_group_rules": lambda a: [rule(r) for r in a["SecurityGroupRules"]],
    "describe_security_groups": lambda a: [group(g) for g in a["SecurityGroups"]],
    "describe_subnets": lambda a: [[s["SubnetId"], s["VpcId"], s["CidrBlock"], tags(s)] for s in a["Subnets"]],
    "describe_volumes": lambda a: [volume(v) for v in a["Volumes"]],
    "get_console_output": lambda a: a["InstanceId"],
    "run_instances": lambda a: [i["InstanceId"] for i in a["Instances"]],
    "start_instances": lambda a: changes(a["StartingInstances"]),
    "stop_instances": lambda a: changes(a["StoppingInstances"]),
    "terminate_instances": lambda a: changes(a["TerminatingInstances"]),
}

# The id of something that an alias has meant before, or never.
MADE = re.compile(r"\b[a-z]+-[0-9a-f]{8,17}\b")

known = dict(input["known"])


def resolve(thing):
    if isinstance(thing, dict):
        return {k: resolve(v) for k, v in thing.items()}
    if isinstance(thing, list):
        return [resolve(v) for v in thing]
    if isinstance(thing, str) and thing.startswith("$"):
        return known.get(thing[1:], thing[1:])
    return thing


def plain(thing):
    """With the aliases that are known now: an alias may come to mean another thing."""
    text = json.dumps(thing, default=str)
    for alias, found in sorted(known.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(found, alias)
    return ordered(json.loads(MADE.sub("one without an alias", text)))


def ordered(thing):
    if isinstance(thing, dict):
        return {k: ordered(thing[k]) for k in sorted(thing)}
    if isinstance(thing, list):
        return sorted((ordered(v) for v in thing), key=lambda v: json.dumps(v, sort_keys=True))
    return thing


came = []
for name, call, arguments, saved in input["steps"]:
    try:
        answer = getattr(ec2, call)(**resolve(arguments))
    except ClientError as error:
        response = error.response
        came.append({"code": response["Error"]["Code"], "status": response["ResponseMetadata"]["HTTPStatusCode"]})
        continue
    for alias, path in saved.items():
        value = answer
        for part in path:
            value = value[part]
        known[alias] = value
    told = TOLD[call](answer) if call in TOLD else None
    came.append({"code": "ok", "status": answer["ResponseMetadata"]["HTTPStatusCode"], "answer": plain(told)})

vpc = [{"Name": "vpc-id", "Values": [known["vpc"]]}]
machines = TOLD["describe_instances"](ec2.describe_instances())
result = {"came": came, "left": plain({
    "groups": [g for g in TOLD["describe_security_groups"](ec2.describe_security_groups(Filters=vpc)) if g[1] != "default"],
    "rules": [r for r in TOLD["describe_security_group_rules"](ec2.describe_security_group_rules()) if r["group"] in known.values()],
    "instances": [i for i in machines if i["state"] != "terminated"],
    "addresses": TOLD["describe_addresses"](ec2.describe_addresses()),
    "volumes": TOLD["describe_volumes"](ec2.describe_volumes()),
})}
