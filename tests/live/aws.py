"""What is AWS's own: the plan, the calls beside gangplank's, the price, and the questions that only EC2 can answer."""

import base64
import re
import urllib.parse
import xml.etree.ElementTree as ET

from journey import now
from recorder import Recorder, send
from sigv4 import AwsIdentity, sign

TAG = "gangplank:bastion"
FOREIGN_SOURCE = "203.0.113.99/32"
# USD an hour, us-east-1, on demand; others differ by less than a factor of two. Addresses: "Amazon VPC pricing".
PRICES = {"t4g.nano": 0.0042, "t4g.micro": 0.0084, "t4g.small": 0.0168, "t3.nano": 0.0052, "t3.micro": 0.0104, "t3.small": 0.0208}
ADDRESS_PRICE, VOLUME_PRICE = 0.005, 0.08 * 8 / 730
HIGHEST_USD = 1.0


class Ec2:
    cloud = "aws"

    def __init__(self, options, name, folder):
        self.options, self.name, self.private = options, name, folder / "private"
        self.plan_file = "bastion.yaml"
        self.identity = AwsIdentity(options.profile, options.region)
        self.role = AwsIdentity(options.role_profile, options.region) if options.role_profile else self.identity
        self.recorder = Recorder(self.upstream, self.authenticate_role)
        self.account = self.who()
        self.known = set()
        self.direct = self.environment(None)
        self.recorded = self.environment(self.recorder.endpoint)
        self.reap_arguments = ["--region", options.region, "--account", self.account]
        self.target = options.target or f"ec2.{options.region}.amazonaws.com:443:tls"

    def environment(self, endpoint):
        known = {"AWS_REGION": self.options.region}
        profile = self.options.role_profile or self.options.profile
        known.update({"AWS_PROFILE": profile} if profile else {})
        known.update({"AWS_ENDPOINT_URL": self.options.endpoint} if self.options.endpoint else {})
        known.update({"AWS_ENDPOINT_URL_EC2": endpoint} if endpoint else {})
        return known

    def upstream(self, headers):
        return self.options.endpoint or f"https://ec2.{signed_region(headers) or self.options.region}.amazonaws.com"

    def authenticate_role(self, method, url, headers, body):
        region = re.match(r"https://ec2\.([a-z0-9-]+)\.", url)
        self.role.region = region[1] if region else self.options.region
        return self.role(method, url, headers, body)

    # Before anything is asked of a person.

    def cost(self):
        """USD at most, and how it comes about."""
        hours = self.options.limit / 3600
        machine = PRICES.get(self.options.instance_type)
        if machine is None:
            raise SystemExit(f"no price is known of {self.options.instance_type}: use one of {', '.join(sorted(PRICES))}")
        # Ends and starts overlap for a moment: twice the machine.
        total = hours * 2 * (machine + ADDRESS_PRICE + VOLUME_PRICE)
        return total, HIGHEST_USD, [f"{self.options.instance_type} {machine} USD, address {ADDRESS_PRICE} USD, volume {VOLUME_PRICE:.4f} USD an hour, twice, for {hours:.1f} h"]

    def makes(self):
        lines = [f"in account {self.account}, region {self.options.region}:", f"security group, Elastic IP and instance gangplank-{self.name} in {self.options.subnet}, twice one after the other"]
        if self.options.database_group:
            lines.append(f"one inbound rule in {self.options.database_group}, removed at the end")
        lines.append(f"for the test of drift, one inbound rule from {FOREIGN_SOURCE} in the bastion's own group")
        return lines

    def who(self):
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        url = self.options.endpoint or f"https://sts.{self.options.region}.amazonaws.com"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        headers.update(sign(self.identity.credentials(), self.options.region, "sts", now(), "POST", url + "/", headers, body))
        status, _, answer = send("POST", url + "/", headers, body)
        found = re.search(rb"<Account>(\d{12})</Account>", answer)
        if not found:
            raise SystemExit(f"AWS does not tell whose account this is: {status} {answer[:300].decode(errors='replace')}")
        return found[1].decode()

    # The life.

    def write_plan(self, keys):
        host, port, speaks = (self.target.split(":") + ["tcp"])[:3]
        access = f"  database_access: [{{security_group: {self.options.database_group}, port: {port}}}]\n" if self.options.database_group else ""
        networks = "" if self.options.database_group else ", networks: [192.0.2.0/24]"
        (self.private / self.plan_file).write_text(
            f"version: 1\nname: {self.name}\nlifetime: 6h\n"
            f'aws:\n  region: {self.options.region}\n  account: "{self.account}"\n  subnet: {self.options.subnet}\n'
            f"  image: {self.options.image}\n  instance_type: {self.options.instance_type}\n  address: elastic\n{access}"
            f"tunnels:\n  - user: vendor\n    allow_from: [{self.options.source}]\n    keys: {keys_of(self.private, keys)}\n"
            f"    targets: [{{name: target, host: {host}, port: {port}, speaks: {speaks}{networks}}}]\n"
            f"operators:\n  - {{name: tester, allow_from: [{self.options.source}], keys: {keys_of(self.private, ['tester'])}}}\n"
        )

    def call(self, action, record=True, **parameters):
        form = {"Action": action, "Version": "2016-11-15", **{name.replace("_", "."): value for name, value in parameters.items()}}
        body = urllib.parse.urlencode(form).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        status, _, answer = self.recorder.ask("POST", "/", headers, body, identity=self.identity, record=record)
        text = answer.decode("utf-8", "replace")
        if status >= 300:
            raise OSError(f"{action}: {status} {' '.join(re.findall(r'<(?:Code|Message)>([^<]*)', text))}")
        return ET.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text, count=1))

    def instances(self, only_tagged=True):
        """The states of the run's instances, by id: those that carry the tag, or all that ever did."""
        filters = {"Filter_1_Name": f"tag:{TAG}", "Filter_1_Value_1": self.name}
        if not only_tagged:
            filters = {"Filter_1_Name": "instance-id", **{f"Filter_1_Value_{n}": known for n, known in enumerate(sorted(self.known), 1)}}
        found = self.call("DescribeInstances", record=False, **filters)
        states = {item.findtext("instanceId"): item.findtext("instanceState/name") for item in found.iter("item") if item.find("instanceState") is not None}
        self.known.update(states)
        return states

    def look(self):
        """Remembers the ids of what there is: a terminated instance may lose its tags before it goes."""
        self.instances()

    def machine(self):
        return next((known for known, state in self.instances().items() if state not in ("terminated", "shutting-down")), None)

    def console(self):
        machine = self.machine()
        if not machine:
            return ""
        found = self.call("GetConsoleOutput", record=False, InstanceId=machine, Latest="true")
        return base64.b64decode(found.findtext("output") or "").decode("utf-8", "replace")

    def group(self):
        found = self.call("DescribeSecurityGroups", record=False, Filter_1_Name=f"tag:{TAG}", Filter_1_Value_1=self.name)
        return found.findtext("securityGroupInfo/item/groupId")

    def meddle(self):
        self.call(
            "AuthorizeSecurityGroupIngress", GroupId=self.group(), IpPermissions_1_IpProtocol="tcp", IpPermissions_1_FromPort=22,
            IpPermissions_1_ToPort=22, IpPermissions_1_IpRanges_1_CidrIp=FOREIGN_SOURCE,
        )

    def ended(self):
        self.instances()
        states = set(self.instances(only_tagged=False).values()) if self.known else {"terminated"}
        return "terminated" if states <= {"terminated"} else None

    def after_the_end(self, journey, options):
        pass

    def questions(self, journey, options):
        question = "how long the tags of a terminated instance stay"
        self.instances()
        if not self.known:
            journey.answer(question, False, "no instance was seen")
        else:
            journey.ask(question, lambda: self.tags_of_the_dead(journey, options, question))
        if options.role_profile:
            journey.answer("whether docs/iam-policy.json suffices", True, refused(self.recorder.exchanges), profile="the role's")
        else:
            journey.answer("whether docs/iam-policy.json suffices", False, "no --role-profile was named, whose identity has that policy and nothing else")

    def tags_of_the_dead(self, journey, options, question):
        gone, tagged = journey.wait_for(lambda: not self.instances(), options.poll, options.tags_wait)
        text = f"they were gone {tagged:.0f} s after the last instance was removed" if gone else f"they were still there after {tagged:.0f} s"
        left = len(self.instances(only_tagged=False))
        journey.answer(question, True, f"{text}; {left} of {len(self.known)} instances were still described by id then", gone=bool(gone), seconds=tagged)

    # What is left.

    def inventory(self):
        left = [f"instance {known}" for known, state in self.instances().items() if state not in ("terminated", "shutting-down")]
        tagged = {"Filter_1_Name": f"tag:{TAG}", "Filter_1_Value_1": self.name}
        for action, field, kind in (("DescribeSecurityGroups", "groupId", "security group"), ("DescribeAddresses", "allocationId", "address"), ("DescribeVolumes", "volumeId", "volume")):
            found = self.call(action, record=False, **tagged)
            left += [f"{kind} {item.text}" for listed in found for item in listed.findall(f"item/{field}")]
        if self.options.database_group:
            found = self.call("DescribeSecurityGroups", record=False, GroupId_1=self.options.database_group)
            if f"gangplank:{self.name} " in ET.tostring(found, "unicode"):
                left.append(f"a rule in {self.options.database_group}")
        return left

    def sweep(self, left):
        calls = {"instance": ("TerminateInstances", "InstanceId_1"), "address": ("ReleaseAddress", "AllocationId"), "volume": ("DeleteVolume", "VolumeId")}
        for kind, known in (one.rsplit(" ", 1) for one in left):
            if kind in calls:
                action, parameter = calls[kind]
                self.call(action, **{parameter: known})

    def names(self):
        """What must not be shown, and what stands for it."""
        profiles = [profile for profile in (self.options.profile, self.options.role_profile) if profile]
        endpoint = {self.options.endpoint: f"https://ec2.{self.options.region}.amazonaws.com"}
        return {self.account: "111122223333", self.name: "live", **endpoint, **{f"profile {profile}": "profile scrubbed" for profile in profiles}}

    def secrets(self):
        return [self.account, self.options.subnet, self.options.database_group, *self.identity.secrets(), *self.role.secrets()]

    def ours(self):
        known = [self.name, self.options.subnet, self.options.database_group]
        return [text for text in known if text]


def keys_of(folder, names):
    return "[" + ", ".join(f'"{(folder / f"{name}.pub").read_text().strip()}"' for name in names) + "]"


def signed_region(headers):
    found = re.search(r"Credential=[^/]+/\d+/([a-z0-9-]+)/", headers.get("authorization", ""))
    return found[1] if found else None


def refused(exchanges):
    codes = re.compile(r"UnauthorizedOperation|AccessDenied|AuthorizationFailed|LinkedAuthorizationFailed")
    found = set()
    for exchange in exchanges:
        if exchange["status"] in (401, 403) and codes.search(exchange["response"] or ""):
            action = re.search(r"Action=(\w+)", exchange["request"] or "")
            found.add(action[1] if action else exchange["method"] + " " + exchange["url"].split("?")[0].split("/providers/")[-1])
    return "refused: " + ", ".join(sorted(found)) if found else "no call was refused"
