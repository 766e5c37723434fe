//! The same calls to moto and to the world: the same codes, and in the end the same things.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::ec2::{Pace, World};
use serde_json::{Value, json};

use crate::support::{listening::Listening, moto_or_skip};

/// Plays steps `[name, call, arguments, {alias: path}]`; `$alias` in arguments is an id of an earlier answer. Tells each step's
/// error code, or `ok`, and at the end what there is, with aliases for ids and without what every creation makes anew.
const PLAY: &str = r#"
import json
from botocore.exceptions import ClientError

known = dict(input["known"])

def resolve(thing):
    if isinstance(thing, dict):
        return {k: resolve(v) for k, v in thing.items()}
    if isinstance(thing, list):
        return [resolve(v) for v in thing]
    if isinstance(thing, str) and thing.startswith("$"):
        return known.get(thing[1:], thing[1:])
    return thing

codes = []
for name, call, arguments, saved in input["steps"]:
    try:
        answer = getattr(ec2, call)(**resolve(arguments))
        codes.append([name, "ok"])
    except ClientError as error:
        codes.append([name, error.response["Error"]["Code"]])
        continue
    for alias, path in saved.items():
        value = answer
        for part in path:
            value = value[part]
        known[alias] = value

names = sorted(((i, a) for a, i in known.items()), key=lambda pair: -len(pair[0]))

def plain(thing):
    text = json.dumps(thing, sort_keys=True, default=str)
    for found, alias in names:
        text = text.replace(found, alias)
    return json.loads(text)

def rules(permissions):
    told = []
    for p in permissions:
        ports = [p["IpProtocol"], p.get("FromPort"), p.get("ToPort")] if p["IpProtocol"] != "-1" else ["-1"]
        for r in p["IpRanges"]:
            told.append([*ports, r["CidrIp"], r.get("Description")])
        for r in p["UserIdGroupPairs"]:
            told.append([*ports, r["GroupId"], r.get("Description")])
    return sorted(told, key=str)

def tagged(thing):
    return {t["Key"]: t["Value"] for t in thing.get("Tags", [])}

groups = [
    [g["GroupId"], g["GroupName"], g["Description"], rules(g["IpPermissions"]), rules(g["IpPermissionsEgress"]), tagged(g)]
    for g in ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [known["vpc"]]}])["SecurityGroups"]
    if g["GroupName"] != "default"
]
instances = [
    [i["InstanceId"], i["State"]["Name"], i["InstanceType"], i.get("SubnetId"), tagged(i),
     sorted(g["GroupId"] for g in i.get("SecurityGroups", [])), i["MetadataOptions"]["HttpTokens"],
     i["MetadataOptions"]["InstanceMetadataTags"]]
    for r in ec2.describe_instances()["Reservations"] for i in r["Instances"] if i["State"]["Name"] != "terminated"
]
addresses = [[a["AllocationId"], a.get("InstanceId") or None, tagged(a)] for a in ec2.describe_addresses()["Addresses"]]
volumes = [[v["Size"], v["VolumeType"], v["Encrypted"], v["State"], tagged(v)] for v in ec2.describe_volumes()["Volumes"]]
result = {"codes": codes, "left": plain({
    "groups": sorted(groups, key=str), "instances": sorted(instances, key=str),
    "addresses": sorted(addresses, key=str), "volumes": sorted(volumes, key=str)})}
"#;

/// Where the two differ and the world is right: the step's name, moto's code, the world's, and why.
const DIFFERENT: &[(&str, &str, &str, &str)] = &[
    ("host bits", "ok", "InvalidParameterValue", "EC2 refuses a range with host bits; moto takes it"),
    (
        "an odd id",
        "InvalidInstanceID.NotFound",
        "InvalidInstanceID.Malformed",
        "moto does not look at an id's form; EC2 does (Error codes for the Amazon EC2 API)",
    ),
    ("a protected one ends", "ok", "OperationNotPermitted", "moto ends a protected instance"),
    (
        "untag",
        "ok",
        "InvalidGroup.NotFound",
        "moto does not look whether the resource is there; the reference does not say what EC2 does",
    ),
];

fn step(name: &str, call: &str, arguments: Value, saved: Value) -> Value {
    json!([name, call, arguments, saved])
}

fn rule(group: &str, cidr: &str) -> Value {
    let ranges = json!([{"CidrIp": cidr, "Description": "who"}]);
    json!({"GroupId": group, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]})
}

/// Plays on both, and holds one against the other.
#[track_caller]
fn compare(steps: &[Value]) {
    let Some(moto) = moto_or_skip() else { return };
    let account = moto.account();
    let image = "Filters=[{'Name': 'name', 'Values': ['debian-13-arm64-*']}], Owners=['136693071363']";
    let script = format!("result = {{**seed(), 'image': ec2.describe_images({image})['Images'][0]['ImageId']}}");
    let mut world = World::seeded(1);
    // moto's instances run at once.
    world.pace = Pace::instant();
    let world = Listening::start(world);
    let play = |endpoint| {
        let known = account.boto_through(endpoint, &script, Value::Null).expect("a company's network");
        account.boto_through(endpoint, PLAY, json!({"known": known, "steps": steps})).expect("played")
    };
    let (theirs, ours) = (play(account.endpoint()), play(world.address));
    let codes =
        |played: &Value| serde_json::from_value::<Vec<(String, String)>>(played["codes"].clone()).expect("codes");
    for ((name, theirs), (_, ours)) in codes(&theirs).into_iter().zip(codes(&ours)) {
        let known = DIFFERENT.iter().any(|(n, t, o, _)| *n == name && *t == theirs && *o == ours);
        assert!(theirs == ours || known, "{name}: moto says {theirs}, the world {ours}\n{steps:#?}");
    }
    if codes(&theirs) == codes(&ours) {
        assert_eq!(unordered(&ours["left"]), unordered(&theirs["left"]), "{steps:#?}");
    }
}

/// Without the order of the lists, which follows from ids.
fn unordered(left: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let kinds = left.as_object().into_iter().flatten();
    let texts = |items: &Value| items.as_array().into_iter().flatten().map(Value::to_string).collect();
    kinds.map(|(kind, items)| (kind.clone(), texts(items))).collect()
}

fn launch(token: &str) -> Value {
    json!({
        "ImageId": "$image", "InstanceType": "t4g.nano", "MinCount": 1, "MaxCount": 1, "ClientToken": token,
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "gp3", "VolumeSize": 8, "Encrypted": true, "DeleteOnTermination": true}}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": "$public_subnet", "Groups": ["$a"], "AssociatePublicIpAddress": false, "DeleteOnTermination": true}],
        "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "n", "Value": token}]}],
    })
}

fn create(name: &str) -> Value {
    json!({"GroupName": name, "Description": name, "VpcId": "$vpc",
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": [{"Key": "n", "Value": name}]}]})
}

#[test]
fn a_bastion_comes_and_goes_as_with_moto() {
    let instance = json!({"i": ["Instances", 0, "InstanceId"]});
    let ids = json!({"InstanceIds": ["$i"]});
    let protect = |on: bool| json!({"InstanceId": "$i", "DisableApiTermination": {"Value": on}});
    let bits = json!([{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": "10.0.0.1/8"}]}]);
    let everything = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let peer = json!([{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": "$a", "Description": "d"}]}]);
    let database = json!({"GroupId": "$warehouse_group", "IpPermissions": peer});
    compare(&[
        step("a group", "create_security_group", create("a"), json!({"a": ["GroupId"]})),
        step("its twin", "create_security_group", create("a"), json!({})),
        step("a rule", "authorize_security_group_ingress", rule("$a", "198.51.100.7/32"), json!({})),
        step("the rule again", "authorize_security_group_ingress", rule("$a", "198.51.100.7/32"), json!({})),
        step(
            "host bits",
            "authorize_security_group_ingress",
            json!({"GroupId": "$orders_group", "IpPermissions": bits}),
            json!({}),
        ),
        step(
            "nothing out",
            "revoke_security_group_egress",
            json!({"GroupId": "$a", "IpPermissions": everything}),
            json!({}),
        ),
        step(
            "nothing out again",
            "revoke_security_group_egress",
            json!({"GroupId": "$a", "IpPermissions": everything}),
            json!({}),
        ),
        step("no such rule", "revoke_security_group_ingress", rule("$a", "198.51.100.8/32"), json!({})),
        step(
            "no such group",
            "authorize_security_group_ingress",
            rule("sg-0123456789abcdef0", "198.51.100.8/32"),
            json!({}),
        ),
        step("the database", "authorize_security_group_ingress", database.clone(), json!({})),
        step("a machine", "run_instances", launch("one"), instance.clone()),
        step("the same machine", "run_instances", launch("one"), json!({})),
        step("an address", "associate_address", json!({"AllocationId": "$address", "InstanceId": "$i"}), json!({})),
        step("a used address", "release_address", json!({"AllocationId": "$address"}), json!({})),
        step("a used group", "delete_security_group", json!({"GroupId": "$a"}), json!({})),
        step(
            "tags",
            "create_tags",
            json!({"Resources": ["$i", "$a"], "Tags": [{"Key": "k", "Value": "v"}]}),
            json!({}),
        ),
        step("no tags", "delete_tags", json!({"Resources": ["$a"], "Tags": [{"Key": "k"}]}), json!({})),
        step(
            "options",
            "modify_instance_metadata_options",
            json!({"InstanceId": "$i", "InstanceMetadataTags": "disabled"}),
            json!({}),
        ),
        step(
            "other groups",
            "modify_instance_attribute",
            json!({"InstanceId": "$i", "Groups": ["$orders_group"]}),
            json!({}),
        ),
        step("the groups back", "modify_instance_attribute", json!({"InstanceId": "$i", "Groups": ["$a"]}), json!({})),
        step("protection", "modify_instance_attribute", protect(true), json!({})),
        step("a protected one ends", "terminate_instances", ids.clone(), json!({})),
        step("no protection", "modify_instance_attribute", protect(false), json!({})),
        step("the end", "terminate_instances", ids.clone(), json!({})),
        step("a free address", "release_address", json!({"AllocationId": "$address"}), json!({})),
        step("a gone address", "release_address", json!({"AllocationId": "$address"}), json!({})),
        step("a group that is named", "delete_security_group", json!({"GroupId": "$a"}), json!({})),
        step("its name gone", "revoke_security_group_ingress", database, json!({})),
        step("a free group", "delete_security_group", json!({"GroupId": "$a"}), json!({})),
        step("a gone group", "delete_security_group", json!({"GroupId": "$a"}), json!({})),
        step("an odd id", "describe_instances", json!({"InstanceIds": ["i-odd"]}), json!({})),
        step("a missing id", "describe_instances", json!({"InstanceIds": ["i-0123456789abcdef0"]}), json!({})),
    ]);
}

#[test]
fn whatever_comes_is_answered_as_by_moto() {
    for seed in 0..4 {
        let mut random = fastrand::Rng::with_seed(seed);
        let pick = |random: &mut fastrand::Rng, from: &[&str]| from[random.usize(..from.len())].to_owned();
        // Both groups exist at first; what names a deleted one must be refused alike.
        let mut steps: Vec<Value> =
            ["a", "b"].map(|n| step("group", "create_security_group", create(n), json!({n: ["GroupId"]}))).to_vec();
        for _ in 0..40 {
            let group = pick(&mut random, &["$a", "$b", "$warehouse_group"]);
            let own = pick(&mut random, &["a", "b"]);
            let net = pick(&mut random, &["198.51.100.1/32", "198.51.100.2/32", "192.0.2.0/24"]);
            steps.push(match random.u8(..7) {
                0 => step("group", "create_security_group", create(&own), json!({own: ["GroupId"]})),
                1 | 2 => step("authorize", "authorize_security_group_ingress", rule(&group, &net), json!({})),
                3 => step("revoke", "revoke_security_group_ingress", rule(&group, &net), json!({})),
                4 => step("delete", "delete_security_group", json!({"GroupId": format!("${own}")}), json!({})),
                5 => step(
                    "tag",
                    "create_tags",
                    json!({"Resources": [group], "Tags": [{"Key": own, "Value": net}]}),
                    json!({}),
                ),
                _ => step("untag", "delete_tags", json!({"Resources": [group], "Tags": [{"Key": own}]}), json!({})),
            });
        }
        compare(&steps);
    }
}
