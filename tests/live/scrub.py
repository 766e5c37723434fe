"""Replaces what tells whose account a recording or a report is from. The same value becomes the same stand-in everywhere."""

import ipaddress
import json
import re
import xml.etree.ElementTree as ET

GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
ACCOUNT = re.compile(r"(?<![\w.-])\d{12}(?![\w.-])")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
RESOURCE = re.compile(r"\b(acl|aclassoc|dopt|eipalloc|eipassoc|eni|eni-attach|i|igw|key|nat|pcx|pl|r|rtb|rtbassoc|sg|sgr|snap|subnet|vol|vpc)-([0-9a-f]{8,17})\b")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{1,4}:){2,7}(?::|[0-9a-fA-F]{0,4})(?:[0-9a-fA-F:]*)(?![\w:])")
MAC = re.compile(r"(?<![\w:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])")
AWS_KEY = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{12,}\b")
BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/-]+=*")
TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
# Of addresses that carry their own permission: shared access signatures, and Azure's signed addresses of operations.
SIGNED = re.compile(r"(?<=[?&])(sig|se|sp|sv|sr|spr|st|skoid|sktid|skt|ske|sks|skv|t|c|s|h|X-Amz-[\w-]+)=[^&\"'\s<]+")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
# Documents and consoles, which hold more than can be looked through.
OPAQUE_FIELDS = ("userData", "customData", "adminPassword", "keyData", "access_token")
OPAQUE_XML = ("output", "userData")
STAND_IN = "c2NydWJiZWQ="
PUBLISHERS = {"136693071363": "Debian", "099720109477": "Canonical", "137112412989": "Amazon"}
KEPT_ADDRESSES = {"0.0.0.0", "255.255.255.255", "168.63.129.16", "169.254.169.254", "169.254.169.253", "127.0.0.1"}


class Scrubber:
    """`names` are values and what they become; `secrets` must be nowhere afterwards."""

    def __init__(self, names, secrets=()):
        self.names = {value: stand_in for value, stand_in in names.items() if value}
        self.secrets = set(filter(None, secrets))
        self.seen = {}

    def stand_in(self, kind, value, form):
        known = self.seen.setdefault(kind, {})
        return known.setdefault(value.lower(), form(len(known) + 1))

    def text(self, text):
        for value in sorted(self.names, key=len, reverse=True):
            text = re.sub(re.escape(value), lambda _, value=value: self.names[value], text, flags=re.IGNORECASE)
        text = PRIVATE_KEY.sub("(private key)", text)
        for pattern, form in ((BEARER, r"\1scrubbed"), (TOKEN, "scrubbed"), (AWS_KEY, "AKIAIOSFODNN7EXAMPLE"), (SIGNED, r"\1=scrubbed")):
            text = pattern.sub(form, text)
        text = EMAIL.sub(lambda m: self.stand_in("email", m[0], lambda n: f"user{n}@example.com"), text)
        text = GUID.sub(self.guid, text)
        text = ACCOUNT.sub(self.account, text)
        text = RESOURCE.sub(lambda m: f"{m[1]}-{self.stand_in(m[1], m[2], lambda n: f'{n:017x}')}", text)
        text = MAC.sub(lambda m: self.stand_in("mac", m[0], lambda n: f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}"), text)
        text = IPV4.sub(self.ipv4, text)
        return IPV6.sub(self.ipv6, text)

    def guid(self, match):
        if set(match[0]) <= {"0", "-"}:
            return match[0]
        return self.stand_in("guid", match[0], lambda n: f"00000000-0000-4000-8000-{n:012x}")

    def account(self, match):
        if match[0] in PUBLISHERS:
            return match[0]
        return self.stand_in("account", match[0], lambda n: f"{111122223332 + n}")

    def ipv4(self, match):
        try:
            address = ipaddress.IPv4Address(match[0])
        except ValueError:
            return match[0]
        # Private addresses stay: ranges and what lies in them must still fit together.
        if match[0] in KEPT_ADDRESSES or not address.is_global:
            return match[0]
        return self.stand_in("ipv4", match[0], lambda n: f"198.51.{100 + n // 250}.{n % 250 + 1}")

    def ipv6(self, match):
        try:
            address = ipaddress.IPv6Address(match[0])
        except ValueError:
            return match[0]
        return self.stand_in("ipv6", match[0], lambda n: f"2001:db8::{n:x}") if address.is_global else match[0]

    def leaks(self, text):
        """Which of the values that must not be there are there, by what they are called."""
        return sorted(self.stand_in("leak", value, lambda n: f"secret {n}") for value in self.secrets if value.lower() in text.lower())


def without_documents(text):
    """JSON or XML or a form without what holds documents, consoles and keys."""
    for field in OPAQUE_FIELDS:
        text = re.sub(rf'("{field}"\s*:\s*)"[^"]*"', rf'\1"{STAND_IN}"', text, flags=re.IGNORECASE)
    for tag in OPAQUE_XML:
        text = re.sub(rf"<{tag}>[^<]*</{tag}>", f"<{tag}>{STAND_IN}</{tag}>", text)
    text = re.sub(r"(<userData><value>)[^<]*", rf"\g<1>{STAND_IN}", text)
    return re.sub(r"(UserData(?:\.Value)?=)[^&]*", rf"\g<1>{STAND_IN}", text)


# Longer lists (of sizes, of images) are a cloud's own, and nobody reads them whole.
LONG = 100
FOREIGN_TEXTS = ("description", "groupDescription", "groupName", "key", "value")


def only_json(text, ours):
    """JSON without the resources that are none of this run's, and without others' tags."""
    try:
        return json.dumps(pruned(json.loads(text), ours))
    except ValueError:
        return text


def pruned(value, ours):
    if isinstance(value, list):
        kept = [item for item in value if not is_foreign(item, ours)]
        kept = kept if len(kept) <= LONG else [item for item in kept if is_ours(json.dumps(item), ours)]
        return [pruned(item, ours) for item in kept]
    if isinstance(value, dict):
        own = is_ours(json.dumps(value), ours[:1])
        return {name: {} if name == "tags" and not own else pruned(inner, ours) for name, inner in value.items()}
    return value


def is_foreign(item, ours):
    """A resource whose own id names nothing of this run: what it contains does not count."""
    known = item.get("id") if isinstance(item, dict) else None
    named = lambda name: known.lower().endswith(name.lower()) if name.startswith("/") else name.lower() in known.lower()  # noqa: E731
    return isinstance(known, str) and "/" in known and not any(map(named, ours))


def only_xml(text, ours):
    """The same of EC2's lists. What the publishers of images say is public."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return text
    public = root.tag.endswith(("DescribeImagesResponse", "DescribeInstanceTypesResponse", "DescribeRegionsResponse"))
    for listed in [] if public else list(root):
        for item in [item for item in listed if item.tag.endswith("item")]:
            inside = ET.tostring(item, "unicode")
            if not is_ours(inside, ours):
                listed.remove(item)
            elif not is_ours(inside, ours[:1]) or any(element.text in ours for element in item):
                without_texts(item, ours[:1])
    if root.tag.startswith("{"):
        ET.register_namespace("", root.tag[1:].split("}")[0])
    return ET.tostring(root, "unicode")


def without_texts(element, ours):
    """What people wrote into others' resources. A rule of this run's among theirs stays as it is."""
    for inner in element:
        innermost = inner.tag.endswith("item") and not any(child.tag.endswith("item") for child in list(inner.iter())[1:])
        if innermost and is_ours(ET.tostring(inner, "unicode"), ours):
            continue
        if inner.tag.split("}")[-1] in FOREIGN_TEXTS and not len(inner):
            inner.text = "scrubbed"
        without_texts(inner, ours)


def is_ours(text, ours):
    return any(name.lower() in text.lower() for name in ours)


def scrubbed(exchange, scrubber, ours):
    """One exchange, fit to be shown to others. `ours` begins with the name that everything of this run has in its own."""
    found = dict(exchange)
    if found["response"]:
        only = only_xml if found["response"].lstrip().startswith("<") else only_json
        found["response"] = only(found["response"], ours)
    for field in ("request", "response"):
        if found[field]:
            found[field] = scrubber.text(without_documents(found[field]))
    found["url"] = scrubber.text(found["url"])
    found["headers"] = {name: scrubber.text(value) for name, value in found["headers"].items()}
    return found
