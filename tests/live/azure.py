"""What is Azure's own: the plan, the calls beside gangplank's, the price, and the questions that only Azure can answer."""

import json
import os
import subprocess
import time

from aws import keys_of, refused
from journey import now
from recorder import Recorder, send

PUBLIC = "https://management.azure.com"
NETWORK, COMPUTE, GROUPS, TAGS = "2024-03-01", "2024-07-01", "2021-04-01", "2021-04-01"
FOREIGN_SOURCE = "203.0.113.99/32"
# USD an hour, list prices of westeurope as others have published them.
PRICES = {"Standard_B1s": 0.012, "Standard_B2ats_v2": 0.011, "Standard_B2pts_v2": 0.010, "Standard_B2s": 0.048}
ADDRESS_PRICE, DISK_PRICE, FIREWALL_PRICE = 0.005, 0.003, 1.25
HIGHEST_USD = 3.0
PATCH, CASE = "whether a firewall policy's tags can be changed by PATCH", "whether a firewall policy keeps its tag names' case"
SHUTDOWN, STALE = "whether auto-shutdown deallocates a machine that has stopped itself", "whether a classic firewall refuses a stale If-Match"
ROLE = "whether the documented role suffices"


class AzureIdentity:
    """The Azure CLI's tokens; none for an endpoint on this machine."""

    def __init__(self, options, config_folder=None):
        self.options, self.config_folder = options, config_folder
        self.token, self.until = None, 0.0

    def __call__(self, *_):
        if self.options.endpoint:
            return {"authorization": "Bearer none"}
        if time.time() > self.until - 300:
            command = ["az", "account", "get-access-token", "--subscription", self.options.subscription, "--output", "json"]
            environment = {**os.environ, **({"AZURE_CONFIG_DIR": self.config_folder} if self.config_folder else {})}
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
            self.token, self.until = told["accessToken"], float(told.get("expires_on") or time.time() + 900)
        return {"authorization": f"Bearer {self.token}"}


class Arm:
    cloud = "azure"

    def __init__(self, options, name, folder):
        self.options, self.name, self.private = options, name, folder / "private"
        self.plan_file = "bastion.yaml"
        self.identity = AzureIdentity(options)
        self.role = AzureIdentity(options, options.role_config_dir) if options.role_config_dir else self.identity
        self.recorder = Recorder(lambda _: options.endpoint or PUBLIC, self.role, "/subscriptions/")
        self.root = f"/subscriptions/{options.subscription}"
        self.group_name = options.resource_group or f"rg-{name}"
        self.group = f"{self.root}/resourceGroups/{self.group_name}"
        status, found = self.arm("GET", self.root, "2022-12-01", record=False)
        if status >= 300:
            raise SystemExit(f"Azure does not tell of the subscription: {status} {json.dumps(found)[:300]}")
        self.title, self.tenant = found.get("displayName"), found.get("tenantId")
        config = {"AZURE_CONFIG_DIR": options.role_config_dir} if options.role_config_dir else {}
        self.direct = {**config, **({"AZURE_RESOURCE_MANAGER_ENDPOINT": options.endpoint} if options.endpoint else {})}
        self.recorded = {**config, "AZURE_RESOURCE_MANAGER_ENDPOINT": self.recorder.endpoint}
        self.reap_arguments = ["--subscription", options.subscription, "--account", options.subscription]
        self.target = options.target or "management.azure.com:443:tls"

    def cost(self):
        hours, machine = self.options.limit / 3600, PRICES.get(self.options.size)
        if machine is None:
            raise SystemExit(f"no price is known of {self.options.size}: use one of {', '.join(sorted(PRICES))}")
        total = hours * 2 * (machine + ADDRESS_PRICE + DISK_PRICE)
        lines = [f"{self.options.size} {machine} USD, address {ADDRESS_PRICE} USD, disk {DISK_PRICE} USD an hour, twice, for {hours:.1f} h"]
        if self.options.classic_firewall:
            # Billed from its creation to its deletion; it has a limit of its own.
            total += FIREWALL_PRICE * self.options.firewall_limit / 3600
            lines.append(f"a firewall {FIREWALL_PRICE} USD an hour, for at most {self.options.firewall_limit / 3600:.1f} h")
        return total, HIGHEST_USD, lines

    def makes(self):
        network = f"in the network {self.options.network}, subnet {self.options.subnet}" if self.options.network else "with a network of its own"
        group = "which exists" if self.options.resource_group else "deleted at the end"
        lines = [
            f"in the subscription {self.title} ({self.options.subscription}), {self.options.location}:",
            f"security group, public address, interface, machine and auto-shutdown gangplank-{self.name} {network}, twice one after the other",
            f"in the resource group {self.group_name} ({group})",
            f"for the test of drift, one rule from {FOREIGN_SOURCE} in the bastion's own security group",
            f"a firewall policy without a firewall, which costs nothing, in the resource group rg-{self.name}-policy, deleted at the end",
        ]
        return lines + ([f"a firewall with its network in rg-{self.name}-firewall, deleted at the end"] if self.options.classic_firewall else [])

    def write_plan(self, keys):
        options = self.options
        host, port, speaks = (self.target.split(":") + ["tcp"])[:3]
        group = f"{{existing: {options.resource_group}}}" if options.resource_group else self.group_name
        network = f"{{existing: {options.network}, subnet: {options.subnet}}}" if options.network else "{address_space: 10.60.0.0/16, bastion_subnet: 10.60.1.0/27}"
        networks = "" if options.target else ", networks: [192.0.2.0/24]"
        (self.private / self.plan_file).write_text(
            f"version: 1\nname: {self.name}\nlifetime: 6h\n"
            f"azure:\n  subscription: {options.subscription}\n  location: {options.location}\n  resource_group: {group}\n"
            f"  network: {network}\n  edge: public_address\n  size: {options.size}\n  image: {options.image}\n"
            f"tunnels:\n  - user: vendor\n    allow_from: [{options.source}]\n    keys: {keys_of(self.private, keys)}\n"
            f"    targets: [{{name: target, host: {host}, port: {port}, speaks: {speaks}{networks}}}]\n"
            f"operators:\n  - {{name: tester, allow_from: [{options.source}], keys: {keys_of(self.private, ['tester'])}}}\n"
        )

    # Calls.

    def arm(self, method, path, version, body=None, headers=None, record=True):
        sent = json.dumps(body).encode() if body is not None else b""
        headers = {**(headers or {}), **({"content-type": "application/json"} if sent else {})}
        joint = "&" if "?" in path else "?"
        status, _, answer = self.recorder.ask(method, f"{path}{joint}api-version={version}", headers, sent, identity=self.identity, record=record)
        try:
            return status, json.loads(answer or b"null")
        except ValueError:
            return status, None

    def done(self, method, path, version, body=None, headers=None):
        status, found = self.arm(method, path, version, body, headers)
        if status >= 300 and not (method == "DELETE" and status == 404):
            error = (found or {}).get("error", {})
            raise OSError(f"{method} {path.split('/providers/')[-1]}: {status} {error.get('code')} {error.get('message', '')[:200]}")
        return found

    def settled(self, journey, path, version, patience_s):
        """The resource once nothing is under way on it; none once it is gone."""

        def look():
            status, found = self.arm("GET", path, version)
            state = ((found or {}).get("properties") or {}).get("provisioningState")
            if status == 404:
                return {"gone": True}
            return found if status < 300 and state in (None, "Succeeded", "Failed", "Canceled") else None

        found, waited = journey.wait_for(look, self.options.poll, patience_s)
        if found is None:
            raise OSError(f"{path.split('/')[-1]} is still at work after {waited:.0f} s")
        return found

    def compute(self, name):
        return f"{self.group}/providers/Microsoft.Compute/virtualMachines/{name}"

    def look(self):
        pass

    def power(self):
        status, found = self.arm("GET", self.compute(f"gangplank-{self.name}") + "/instanceView", COMPUTE, record=False)
        codes = [s.get("code", "") for s in (found or {}).get("statuses", [])] if status < 300 else []
        return next((code.split("/")[1] for code in codes if code.startswith("PowerState/")), None)

    def console(self):
        status, found = self.arm("POST", self.compute(f"gangplank-{self.name}") + "/retrieveBootDiagnosticsData", COMPUTE, record=False)
        if status >= 300 or not (found or {}).get("serialConsoleLogBlobUri"):
            return ""
        status, _, text = send("GET", found["serialConsoleLogBlobUri"], {}, b"")
        return text.decode("utf-8", "replace") if status < 300 else ""

    def meddle(self):
        path = f"{self.group}/providers/Microsoft.Network/networkSecurityGroups/gangplank-{self.name}/securityRules/live-drift"
        rule = {"priority": 4000, "direction": "Inbound", "access": "Allow", "protocol": "Tcp", "sourceAddressPrefix": FOREIGN_SOURCE, "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "22"}
        self.done("PUT", path, NETWORK, {"properties": rule})

    def ended(self):
        state = self.power()
        return state if state in ("stopped", "deallocated", None) else None

    # Questions.

    def after_the_end(self, journey, options):
        if options.no_machines or options.skip_shutdown:
            return journey.answer(SHUTDOWN, False, "not asked: the endpoint runs no machines" if options.no_machines else "not asked: --skip-shutdown")
        journey.ask(SHUTDOWN, lambda: self.shutdown(journey, options))

    def shutdown(self, journey, options):
        before = self.power()
        done, waited = journey.wait_for(lambda: self.power() == "deallocated", options.poll, options.shutdown_wait)
        text = f"{before} before; deallocated {waited:.0f} s later" if done else f"{before} before, and still {self.power()} after {waited:.0f} s"
        journey.answer(SHUTDOWN, True, text, deallocated=bool(done), seconds=waited)

    def questions(self, journey, options):
        journey.ask(PATCH, lambda: self.policy_tags(journey))
        if options.classic_firewall:
            journey.ask(STALE, lambda: self.stale_match(journey, options))
        else:
            journey.answer(STALE, False, "not asked: it costs a firewall (--classic-firewall)")
        if options.role_config_dir:
            journey.answer(ROLE, True, refused(self.recorder.exchanges))
        else:
            journey.answer(ROLE, False, "no --role-config-dir was named: a folder of the Azure CLI in which an identity is logged in that has that role and nothing else")

    def own_group(self, journey, name):
        path = f"{self.root}/resourceGroups/{name}"
        journey.cleanups.append(lambda: self.remove_group(journey, path))
        self.done("PUT", path, GROUPS, {"location": self.options.location, "tags": {"live": self.name}})
        return path

    def remove_group(self, journey, path):
        self.done("DELETE", path, GROUPS)
        if not self.settled(journey, path, GROUPS, self.options.removal_wait).get("gone"):
            raise OSError(f"{path.split('/')[-1]} is still there")

    def policy_tags(self, journey):
        group = self.own_group(journey, f"rg-{self.name}-policy")
        path = f"{group}/providers/Microsoft.Network/firewallPolicies/policy"
        self.done("PUT", path, NETWORK, {"location": self.options.location, "tags": {"TestCasing": "as put"}, "properties": {"sku": {"tier": "Standard"}}})
        made = self.settled(journey, path, NETWORK, 600)
        kept = sorted(made.get("tags") or {})
        journey.answer(CASE, True, f"TestCasing came back as {', '.join(kept) or 'nothing'}", names=kept)
        told = {}
        for how, target, version, body in (
            ("tags/default", f"{path}/providers/Microsoft.Resources/tags/default", TAGS, {"operation": "Merge", "properties": {"tags": {"merged": "yes"}}}),
            ("the policy itself", path, NETWORK, {"tags": {"patched": "yes"}}),
        ):
            status, _ = self.arm("PATCH", target, version, body)
            found = self.settled(journey, path, NETWORK, 600)
            wanted = "merged" if "merged" in json.dumps(body) else "patched"
            told[how] = f"{status}, {'set' if wanted in (found.get('tags') or {}) else 'not set'}"
        journey.answer(PATCH, True, "; ".join(f"PATCH of {how}: {what}" for how, what in told.items()), **told)

    def stale_match(self, journey, options):
        began = now()
        group = self.own_group(journey, f"rg-{self.name}-firewall")
        base, location = f"{group}/providers/Microsoft.Network", self.options.location
        self.done("PUT", f"{base}/virtualNetworks/net", NETWORK, {"location": location, "properties": {"addressSpace": {"addressPrefixes": ["10.61.0.0/16"]}, "subnets": [{"name": "AzureFirewallSubnet", "properties": {"addressPrefix": "10.61.0.0/26"}}]}})
        self.done("PUT", f"{base}/publicIPAddresses/address", NETWORK, {"location": location, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}})
        for kind, name in (("virtualNetworks", "net"), ("publicIPAddresses", "address")):
            self.settled(journey, f"{base}/{kind}/{name}", NETWORK, 600)
        front = {"name": "front", "properties": {"subnet": {"id": f"{base}/virtualNetworks/net/subnets/AzureFirewallSubnet"}, "publicIPAddress": {"id": f"{base}/publicIPAddresses/address"}}}
        body = {"location": location, "properties": {"sku": {"name": "AZFW_VNet", "tier": "Standard"}, "ipConfigurations": [front]}}
        path = f"{base}/azureFirewalls/firewall"
        self.done("PUT", path, NETWORK, body)
        made = self.settled(journey, path, NETWORK, options.firewall_limit / 2)
        self.done("PUT", path, NETWORK, {**body, "tags": {"by": "another"}}, {"if-match": made["etag"]})
        self.settled(journey, path, NETWORK, options.firewall_limit / 4)
        status, found = self.arm("PUT", path, NETWORK, {**body, "tags": {"by": "the stale one"}}, {"if-match": made["etag"]})
        code = ((found or {}).get("error") or {}).get("code")
        journey.answer(STALE, True, f"answered {status} {code or ''}".rstrip(), status=status, code=code, minutes=round((now() - began).total_seconds() / 60, 1))
        journey.cleanups.pop()()

    # What is left.

    def inventory(self):
        status, found = self.arm("GET", f"{self.root}/resources", GROUPS, record=False)
        if status >= 300:
            raise OSError(f"the subscription's resources: {status}")
        # An index that follows: what it still names is asked for once more by its group.
        groups = [self.group_name] if not self.options.resource_group else []
        groups += [f"rg-{self.name}-policy", f"rg-{self.name}-firewall"]
        left = [f"resource group {name}" for name in groups if self.arm("GET", f"{self.root}/resourceGroups/{name}", GROUPS, record=False)[0] != 404]
        if self.options.resource_group:
            left += [item["id"] for item in (found or {}).get("value", []) if self.name in item["id"].split("/")[-1]]
        return left

    def sweep(self, left):
        """Resource groups of this run; what is left in one that exists is told, since other things depend on it."""
        for known in left:
            if known.startswith("resource group "):
                self.done("DELETE", f"{self.root}/resourceGroups/{known.rsplit(' ', 1)[1]}", GROUPS)

    def names(self):
        zeros = "00000000-0000-0000-0000-000000000000"
        known = {self.options.subscription: zeros, self.name: "live", self.title: "Subscription", self.tenant: "11111111-1111-1111-1111-111111111111"}
        known.update({self.options.network: "vnet-data", self.options.resource_group: "rg-shared", self.options.endpoint: PUBLIC})
        # A subnet's name may be a word that stands everywhere.
        return {value: stand_in for value, stand_in in known.items() if value and len(value) > 3}

    def secrets(self):
        zeros = "00000000-0000-0000-0000-000000000000"
        known = [self.identity.token, self.role.token, self.tenant, self.options.subscription]
        return [value for value in known if value and value != zeros]

    def ours(self):
        network = [f"/virtualNetworks/{self.options.network}", f"/subnets/{self.options.subnet}"] if self.options.network else []
        return [self.name, *network, f"/resourceGroups/{self.group_name}", self.options.size]
