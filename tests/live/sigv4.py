"""Signs requests to AWS (Signature Version 4, "AWS Signature Version 4 for API requests" in the IAM User Guide)."""

import datetime
import hashlib
import hmac
import json
import os
import subprocess
import urllib.parse


class AwsIdentity:
    """Credentials of a profile, or of the environment where none is named, and what they sign."""

    def __init__(self, profile, region):
        self.profile = profile
        self.region = region
        self.known = None

    def credentials(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        if self.known is None or self.known["until"] and self.known["until"] - now < datetime.timedelta(minutes=5):
            self.known = self.load()
        return self.known

    def load(self):
        if not self.profile and os.environ.get("AWS_ACCESS_KEY_ID"):
            names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
            key, secret, token = (os.environ.get(name) for name in names)
            return {"key": key, "secret": secret, "token": token, "until": None}
        command = ["aws", "configure", "export-credentials", "--format", "process"]
        command += ["--profile", self.profile] if self.profile else []
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        until = told.get("Expiration")
        until = datetime.datetime.fromisoformat(until.replace("Z", "+00:00")) if until else None
        return {"key": told["AccessKeyId"], "secret": told["SecretAccessKey"], "token": told.get("SessionToken"), "until": until}

    def secrets(self):
        known = self.credentials()
        return [value for value in (known["key"], known["secret"], known["token"]) if value]

    def __call__(self, method, url, headers, body):
        now = datetime.datetime.now(datetime.timezone.utc)
        return sign(self.credentials(), self.region, "ec2", now, method, url, headers, body)


def sign(known, region, service, now, method, url, headers, body):
    parts = urllib.parse.urlsplit(url)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    signed = {"host": parts.netloc, "x-amz-date": moment}
    signed.update({name: headers[name] for name in headers if name == "content-type"})
    if known["token"]:
        signed["x-amz-security-token"] = known["token"]
    names = ";".join(sorted(signed))
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    lines = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
    request = "\n".join([method, parts.path or "/", query, lines, names, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{known['secret']}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={known['key']}/{scope}, SignedHeaders={names}, Signature={signature}"
    added = {name: value for name, value in signed.items() if name not in ("content-type", "host")}
    return {**added, "authorization": credential}
