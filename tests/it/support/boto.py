"""Runs scripts against the tests' cloud with boto3, a client that shares nothing with the program under test.

One JSON object a line on standard input: endpoint, access_key, region, script, input. The script finds `ec2` (a client),
`input` and `world`, and leaves its answer in `result`. One JSON object a line on standard output: result, or error.
"""

import json
import sys
import traceback

import boto3
from botocore.config import Config

import worlds

session = boto3.Session()
# One attempt: what a fault looks like is the test's business.
config = Config(retries={"total_max_attempts": 1}, read_timeout=30)

for line in sys.stdin:
    order = json.loads(line)
    ec2 = session.client(
        "ec2",
        endpoint_url=order["endpoint"],
        region_name=order["region"],
        aws_access_key_id=order["access_key"],
        aws_secret_access_key="secret",
        config=config,
    )
    scope = {"ec2": ec2, "input": order["input"], "world": lambda: worlds.world(ec2), "seed": lambda: worlds.seed(ec2)}
    try:
        exec(compile(order["script"], "script", "exec"), scope)
        answer = {"result": scope.get("result")}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer, default=str), flush=True)
