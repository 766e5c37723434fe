"""What EC2 does and moto leaves out, where a client's order and repetition of calls depend on it.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/ for DeleteSecurityGroup, DescribeVolumes, GetConsoleOutput,
ReleaseAddress and RunInstances, and its "Ensuring idempotency" for the client token; "Amazon VPC quotas" in the Amazon VPC
User Guide for rules of security groups, and "Eventual consistency in the Amazon EC2 API" for new groups.
"""

import base64
import io
import itertools
import re
import threading
from pathlib import Path
from urllib.parse import parse_qs

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2 import models
from moto.ec2.exceptions import (
    DependencyViolationError,
    EC2ClientError,
    InvalidPermissionNotFoundError,
    InvalidSecurityGroupNotFoundError,
    RulesPerSecurityGroupLimitExceededError,
)
from moto.ec2.models import elastic_ip_addresses
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses.account_attributes import AccountAttributes
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.security_groups import SecurityGroups

Backend = models.EC2Backend


def living(backend):
    return [i for r in backend.reservations.copy().values() for i in r.instances if i._state.name != "terminated"]


def delete_security_group(backend, name=None, group_id=None):
    """A group that a machine or another group's rule uses stays."""
    group = backend.get_security_group_by_name_or_id(group_id or name)
    if group:
        machines = any(group.id in [g.id for g in i.security_groups] for i in living(backend))
        others = [g for groups in backend.groups.copy().values() for g in groups.copy().values() if g.id != group.id]
        rules = [r for g in others for r in [*g.ingress_rules, *g.egress_rules]]
        if machines or any(r.source_group.get("GroupId") == group.id for r in rules):
            raise DependencyViolationError(f"resource {group.id} has a dependent object")
    original_delete_security_group(backend, name=name, group_id=group_id)


def release_address(backend, address=None, allocation_id=None):
    """An address that a machine uses stays."""
    found = backend.address_by_allocation([allocation_id]) if allocation_id else backend.address_by_ip([address])
    if found[0].association_id:
        raise EC2ClientError("InvalidIPAddress.InUse", f"Address {found[0].public_ip} is in use.")
    original_release_address(backend, address=address, allocation_id=allocation_id)


def terminate_instances(backend, instance_ids):
    """A machine that goes takes the interfaces with it that it came with, leaves its address, and loses its tags."""
    for instance in backend.get_multi_instances_by_id(instance_ids):
        for nic in instance.nics.values():
            # What has ended before has none any more.
            nic.delete_on_termination = instance._state.name != "terminated"
    answer = original_terminate_instances(backend, instance_ids)
    for address in backend.addresses.copy():
        if address.association_id and address.instance and address.instance.id in instance_ids:
            backend.disassociate_address(association_id=address.association_id)
    for instance in backend.get_multi_instances_by_id(instance_ids):
        backend.delete_tags([instance.id], dict.fromkeys(tag["key"] for tag in instance.get_tags()))
    return answer


def only_living(original):
    """Nothing can be done any more to a machine that has ended; moto would bring it back to life."""

    def call(backend, *arguments, **options):
        ids = arguments[0] if arguments else options.get("instance_ids") or options["instance_id"]
        for instance in backend.get_multi_instances_by_id([ids] if isinstance(ids, str) else ids):
            if instance._state.name == "terminated":
                raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance.id}' is not in a state for this.")
        return original(backend, *arguments, **options)

    return call


def describe_account_attributes(response):
    """moto tells a quota of addresses that it does not keep; the tests have one account for many bastions."""
    told = {"default-vpc": "none", "max-elastic-ips": "1000", "vpc-max-elastic-ips": "1000"}
    return ActionResult(
        {
            "AccountAttributes": [
                {"AttributeName": name, "AttributeValues": [{"AttributeValue": value}]} for name, value in told.items()
            ]
        }
    )


def associate_address(backend, instance=None, *arguments, **options):
    """A machine that has ended gets no address; the machine that had it before has it no more. One with several interfaces is named by
    one of them (AssociateAddress)."""
    interface = options.get("eni")
    if instance is None and interface is not None and interface.instance is not None:
        instance = interface.instance
    elif instance is not None and interface is None:
        has_one_interface(instance)
    before = None
    if options.get("allocation_id"):
        before = backend.address_by_allocation([options["allocation_id"]])[0].eni
    if instance is not None and instance._state.name == "terminated":
        raise EC2ClientError("InvalidInstanceID", f"The instance '{instance.id}' is not in a valid state for this.")
    answer = original_associate_address(backend, instance, *arguments, **options)
    if before is not None and before is not backend.address_by_allocation([options["allocation_id"]])[0].eni:
        before.public_ip = None
    return answer


def has_one_interface(instance):
    """https://github.com/hashicorp/terraform/issues/7635 has EC2's words."""
    if len(instance.nics) > 1:
        words = f"There are multiple interfaces attached to instance '{instance.id}'. Please specify an interface ID for the operation instead."
        raise EC2ClientError("InvalidInstanceID", words)


def modify_instance_security_groups(backend, instance_id, groups):
    """A call that names no groups changes none."""
    if groups:
        has_one_interface(backend.get_instance(instance_id))
    return original_modify_groups(backend, instance_id, groups) if groups else backend.get_instance(instance_id)


def modify_network_interface_attribute(backend, eni_id, group_ids, *arguments, **options):
    """An instance is in the groups of its first interface (Instance: "The security groups for the instance")."""
    original_modify_interface(backend, eni_id, group_ids, *arguments, **options)
    interface = backend.get_network_interface(eni_id)
    if group_ids and interface.instance is not None and interface.instance.nics.get(0) is interface:
        interface.instance.security_groups, interface._group_set = interface._group_set, []


def interface_filter(interface, name, method=None):
    """The groups that an interface is told to be in are those that it is found by."""
    return [g.id for g in interface.group_set] if name == "group-id" else original_interface_filter(interface, name, method)


def same_rule(rule, other):
    """Rules are one when they open the same, whatever their descriptions say."""

    def opens(rule):
        group = rule.source_group.get("UserId"), rule.source_group.get("GroupId")
        source = rule.ip_range.get("CidrIp"), rule.ip_range.get("CidrIpv6"), *group
        ports = None if rule.ip_protocol == "-1" else (rule.from_port, rule.to_port)
        return rule.ip_protocol, ports, *source, rule.prefix_list_id

    return opens(rule) == opens(other)


def add_source_group(backend, source_groups, vpc_id):
    """A group of another account (in a peered network) is known together with its account only ("UserIdGroupPair")."""
    foreign = [pair for pair in source_groups or [] if pair.get("UserId", backend.account_id) != backend.account_id]
    own = [pair for pair in source_groups or [] if pair not in foreign]
    return original_add_source_group(backend, own, vpc_id) + foreign


RULES_PER_GROUP = 60


def is_over_quota(backend, rules):
    """IPv4 and IPv6 are counted each for itself; a rule of a group or a prefix list counts in both, that of a list for as many as
    the list may have entries."""

    def weight(rule):
        return int(backend.managed_prefix_lists[rule.prefix_list_id].max_entries or 1) if rule.prefix_list_id else 1

    def count(other):
        return sum(weight(rule) for rule in rules if not rule.ip_range.get(other))

    return max(count("CidrIpv6"), count("CidrIp")) > RULES_PER_GROUP


def all_or_none(original, side):
    """A call opens all its rules or none, and no more than the quota allows in one direction."""

    def call(response):
        group = response.ec2_backend.get_security_group_by_name_or_id(response._get_param("GroupId") or "")
        before = list(getattr(group, side)) if group else []
        try:
            answer = original(response)
            lists = response.ec2_backend.managed_prefix_lists
            for rule in getattr(group, side) if group else []:
                if rule.prefix_list_id and rule.prefix_list_id not in lists:
                    raise EC2ClientError(
                        "InvalidPrefixListID.NotFound", f"The prefix list ID '{rule.prefix_list_id}' does not exist"
                    )
            if group and is_over_quota(response.ec2_backend, getattr(group, side)):
                raise RulesPerSecurityGroupLimitExceededError
        except EC2ClientError:
            if group:
                setattr(group, side, before)
            raise
        return answer

    return call


# What a test says of a network by a tag: EC2 does not know its new groups at the first attempt of each call that names them.
GROUPS_SETTLE = "test:groups-settle"
# And that it is a default one ("RevokeSecurityGroupEgress": what is not found there is listed in the answer, and refuses nothing).
DEFAULT_NETWORK = "test:default-network"
settled_groups = set()


def network_says(response, group, told):
    return any(tag["key"] == told for tag in response.ec2_backend.vpcs[group.vpc_id].get_tags())


def is_settling(response, group):
    """At the first call of each name; a group that came with its network is known."""
    key = (group.id, response._get_action())
    if key in settled_groups or group.name == "default" or not network_says(response, group, GROUPS_SETTLE):
        return False
    settled_groups.add(key)
    return True


def once_it_is_settled(original):
    """The call after CreateSecurityGroup may be told that there is no such group."""

    def call(response):
        group = response.ec2_backend.get_security_group_by_name_or_id(response._get_param("GroupId") or "")
        if group and is_settling(response, group):
            raise InvalidSecurityGroupNotFoundError(group.id)
        return original(response)

    return call


def revoke_by_network(original, direction):
    """In a default network a rule that is not found, or not yet, is told and refuses nothing."""

    def call(response):
        group = response.ec2_backend.get_security_group_by_name_or_id(response._get_param("GroupId") or "")
        if not group or not network_says(response, group, DEFAULT_NETWORK):
            return once_it_is_settled(original)(response)
        rules = response._get_param("IpPermissions", [])
        if is_settling(response, group):
            return ActionResult({"Return": True, "UnknownIpPermissions": rules})
        unknown = []
        for rule, arguments in zip(rules, response._process_rules_from_querystring()):
            del arguments["sgrule_tags"]
            try:
                getattr(response.ec2_backend, f"revoke_security_group_{direction}")(**arguments)
            except InvalidPermissionNotFoundError:
                unknown.append(rule)
        return ActionResult({"Return": True, "UnknownIpPermissions": unknown})

    return call


def run_instances(backend, *arguments, **options):
    """A machine is in the groups of its first interface, which takes the tags that the call has for it."""
    tags = options.get("tags", {}).get("network-interface", {})
    reservation = original_run_instances(backend, *arguments, **options)
    for instance in reservation.instances:
        interface = instance.nics[0]
        interface.add_tags(tags)
        instance.security_groups = list(interface.group_set)
        # moto adds the machine's groups to these.
        interface._group_set = []
    return reservation


def validate_block_device_mapping(mapping):
    """What a mapping of the root volume leaves out, the image says; images of these publishers say so much."""
    mapping.get("Ebs", {}).setdefault("VolumeSize", 8)
    mapping.get("Ebs", {}).setdefault("DeleteOnTermination", True)
    original_validate_block_device_mapping(mapping)


# What a test says about consoles, by the instance's id, which no two accounts share.
CONSOLE_FILE = "test:console-file"
CONSOLE_IS_OLD = "test:console-is-old"
consoles = {}


def create_tags(backend, resource_ids, tags):
    """Two tags are not kept: they are how a test says what an instance's console is.

    `test:console-file`: the path of a file, read anew at each call; where it is missing or empty there is no output yet.
    `test:console-is-old`: the instance type has no latest output, only what was taken after the start.
    """
    for resource in resource_ids:
        told = {key: value for key, value in tags.items() if key in (CONSOLE_FILE, CONSOLE_IS_OLD)}
        consoles.setdefault(resource, {}).update(told)
    kept = {key: value for key, value in tags.items() if key not in (CONSOLE_FILE, CONSOLE_IS_OLD)}
    return original_create_tags(backend, resource_ids, kept) if kept else True


def get_console_output(response):
    """The last 64 KiB of the file that a test has named; moto's own text without one."""
    instance = response.ec2_backend.get_instance(response._get_param("InstanceId"))
    told = consoles.get(instance.id, {})
    if CONSOLE_IS_OLD in told and str(response._get_param("Latest")).lower() == "true":
        raise EC2ClientError("UnsupportedOperation", "This instance type does not support retrieving the latest console output")
    if CONSOLE_FILE not in told:
        return original_get_console_output(response)
    path = Path(told[CONSOLE_FILE])
    text = path.read_bytes()[-65536:] if path.exists() else b""
    output = {"Output": base64.b64encode(text).decode()} if text else {}
    return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), **output})


def ends_with_its_machine(attachment):
    """What becomes of a volume; DescribeVolumes tells it, and moto's does not."""
    return attachment.instance.block_device_mapping[attachment.device].delete_on_termination


def describe_vpc_block_public_access_options(response):
    """moto has none of it: it is off."""
    options = {"AwsRegion": response.region, "State": "default-state", "InternetGatewayBlockMode": "off"}
    return ActionResult({"VpcBlockPublicAccessOptions": options})


numbers = itertools.count(1)


def public_address():
    """EC2's addresses are public. moto's are of the loopback network, and would lead to this very machine."""
    number = next(numbers)
    return f"198.18.{number // 250 % 256}.{number % 250 + 1}"


original_add_source_group = Backend._add_source_group
original_associate_address = Backend.associate_address
original_create_tags = Backend.create_tags
original_get_console_output = General.get_console_output
original_validate_block_device_mapping = InstanceResponse._validate_block_device_mapping
original_delete_security_group = Backend.delete_security_group
original_release_address = Backend.release_address
original_run_instances = Backend.run_instances
original_terminate_instances = Backend.terminate_instances
original_modify_groups = only_living(Backend.modify_instance_security_groups)
original_modify_interface = Backend.modify_network_interface_attribute
original_interface_filter = NetworkInterface.get_filter_value


def apply():
    elastic_ip_addresses.random_ip = public_address
    InstanceResponse._validate_block_device_mapping = staticmethod(validate_block_device_mapping)
    SecurityGroupRule.__eq__ = same_rule
    Backend._verify_group_will_respect_rule_count_limit = lambda *arguments, **options: None
    for direction, side in [("ingress", "ingress_rules"), ("egress", "egress_rules")]:
        authorize, revoke = f"authorize_security_group_{direction}", f"revoke_security_group_{direction}"
        setattr(SecurityGroups, authorize, once_it_is_settled(all_or_none(getattr(SecurityGroups, authorize), side)))
        setattr(SecurityGroups, revoke, revoke_by_network(getattr(SecurityGroups, revoke), direction))
    General.get_console_output = get_console_output
    AccountAttributes.describe_account_attributes = describe_account_attributes
    General.describe_vpc_block_public_access_options = describe_vpc_block_public_access_options
    VolumeAttachment.delete_on_termination = property(ends_with_its_machine)
    Backend._add_source_group = add_source_group
    Backend.associate_address = associate_address
    Backend.create_tags = create_tags
    Backend.delete_security_group = delete_security_group
    Backend.release_address = release_address
    Backend.run_instances = run_instances
    Backend.terminate_instances = terminate_instances
    Backend.modify_instance_security_groups = modify_instance_security_groups
    Backend.modify_network_interface_attribute = modify_network_interface_attribute
    NetworkInterface.get_filter_value = interface_filter
    for name in ["start_instances", "stop_instances", "modify_instance_attribute", "modify_instance_metadata_options"]:
        setattr(Backend, name, only_living(getattr(Backend, name)))


TERMINATED_TOKEN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>IdempotentInstanceTerminated</Code><Message>The client token you have provided is associated with a \
terminated instance. Please use a different client token.</Message></Error></Errors><RequestID>terminated-token</RequestID></Response>"""


def has_ended(account, region, answer):
    instance = re.search(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", answer).group(1).decode()
    return instance not in [i.id for i in living(models.ec2_backends[account][region])]


class ClientTokens:
    """RunInstances with a client token that was used before answers as the first time, and makes nothing; for at least 24 hours after
    the end of its instance it is refused."""

    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()
        self.answers = {}

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        form = parse_qs(body.decode("utf-8", "replace"))
        token = form.get("ClientToken", [""])[0]
        if form.get("Action") != ["RunInstances"] or not token:
            return self.app(environ, start_response)
        account = environ.get("HTTP_X_MOTO_ACCOUNT_ID", "123456789012")
        region = environ.get("HTTP_AUTHORIZATION", "").split("/")[2:3][0]
        key = (account, region, token)
        with self.lock:
            if key in self.answers and has_ended(account, region, self.answers[key][2]):
                start_response("400 BAD REQUEST", [("Content-Type", "text/xml;charset=UTF-8")])
                return [TERMINATED_TOKEN]
            if key not in self.answers:
                head = []
                answer = b"".join(self.app(environ, lambda *line: head.append(line[:2])))
                if not head[0][0].startswith("200"):
                    start_response(*head[0])
                    return [answer]
                self.answers[key] = (*head[0], answer)
        status, headers, answer = self.answers[key]
        start_response(status, headers)
        return [answer]
