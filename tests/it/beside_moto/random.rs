//! Whatever comes, in any order: sequences made from numbers, of every call that gangplank makes and of some that others make.
//!
//! `GANGPLANK_TEST_SEEDS=N` plays so many; `GANGPLANK_TEST_SEED=N` plays one.

use std::{collections::BTreeSet, env, fs};

use serde_json::{Value, json};

use super::{
    play::{Step, compare, step},
    truth::{create, group, machine, rule},
};

const SEEDS: u64 = 8;
const STEPS: usize = 70;

struct Dice(fastrand::Rng);

impl Dice {
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.0.usize(..all.len())]
    }

    fn group(&mut self) -> &'static str {
        self.of(&["$a", "$b", "$warehouse_group"])
    }

    fn machine(&mut self) -> &'static str {
        self.of(&["$i", "$j"])
    }

    fn address(&mut self) -> &'static str {
        self.of(&["$e", "$f"])
    }

    fn volume(&mut self) -> &'static str {
        self.of(&["$u", "$v"])
    }

    fn anything(&mut self) -> &'static str {
        match self.0.u8(..4) {
            0 => self.group(),
            1 => self.machine(),
            2 => self.address(),
            _ => self.volume(),
        }
    }

    fn net(&mut self) -> &'static str {
        self.of(&["198.51.100.1/32", "198.51.100.2/32", "192.0.2.0/24"])
    }

    /// A rule for a range of addresses, or for a group.
    fn rule(&mut self) -> Value {
        let on = self.group();
        if self.0.u8(..3) > 0 {
            return rule(on, self.net());
        }
        let pairs = json!([{"GroupId": self.of(&["$a", "$b"]), "Description": "d"}]);
        json!({"GroupId": on, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": pairs}]})
    }

    fn write(&mut self) -> Step {
        match self.0.u8(..22) {
            0 => group(self.of(&["a", "b"])),
            1 => step("its twin", "create_security_group", create(self.of(&["a", "b"]))),
            2 | 3 => step("let in", "authorize_security_group_ingress", self.rule()),
            4 => step("let out", "authorize_security_group_egress", self.rule()),
            5 => step("keep out", "revoke_security_group_ingress", self.rule()),
            6 => step("keep in", "revoke_security_group_egress", self.rule()),
            7 => step("delete", "delete_security_group", json!({"GroupId": self.of(&["$a", "$b"])})),
            8 | 9 => {
                let tags = json!([{"Key": self.of(&["k", "n"]), "Value": self.net()}]);
                step("tag", "create_tags", json!({"Resources": [self.anything()], "Tags": tags}))
            }
            10 => step(
                "untag",
                "delete_tags",
                json!({"Resources": [self.anything()], "Tags": [{"Key": self.of(&["k", "n"])}]}),
            ),
            11 => address(self.of(&["e", "f"])),
            12 => {
                let of =
                    json!({"AllocationId": self.address(), "InstanceId": self.machine(), "AllowReassociation": true});
                step("associate", "associate_address", of)
            }
            13 => step("release", "release_address", json!({"AllocationId": self.address()})),
            14 => {
                let (alias, stays) = (self.of(&["i", "j"]), self.0.bool());
                // In groups that are always there: moto looks for none.
                machine(alias, self.of(&["$warehouse_group", "$orders_group"]), stays)
            }
            15 => step("start", "start_instances", json!({"InstanceIds": [self.machine()]})),
            16 => step("stop", "stop_instances", json!({"InstanceIds": [self.machine()]})),
            17 => {
                let ids = if self.0.bool() { json!([self.machine()]) } else { json!(["$i", "$j"]) };
                step("terminate", "terminate_instances", json!({"InstanceIds": ids}))
            }
            18 => {
                let groups = json!([self.group()]);
                step(
                    "other groups",
                    "modify_instance_attribute",
                    json!({"InstanceId": self.machine(), "Groups": groups}),
                )
            }
            19 => {
                let value = json!({"Value": self.of(&["stop", "terminate"])});
                let of = json!({"InstanceId": self.machine(), "InstanceInitiatedShutdownBehavior": value});
                step("shutdown", "modify_instance_attribute", of)
            }
            20 => {
                let tags = self.of(&["enabled", "disabled"]);
                let of = json!({"InstanceId": self.machine(), "HttpTokens": "required", "InstanceMetadataTags": tags});
                step("options", "modify_instance_metadata_options", of)
            }
            _ => step("delete a volume", "delete_volume", json!({"VolumeId": self.volume()})),
        }
    }

    fn read(&mut self) -> Step {
        let filter = |name: &str, value: &str| json!({"Filters": [{"Name": name, "Values": [value]}]});
        match self.0.u8(..15) {
            0 => step("machines", "describe_instances", filter("tag-key", "n")),
            1 => step("a machine", "describe_instances", json!({"InstanceIds": [self.machine()]})),
            2 => step(
                "running",
                "describe_instances",
                filter("instance-state-name", self.of(&["running", "stopped", "terminated"])),
            ),
            3 => step("addresses", "describe_addresses", json!({})),
            4 => step("groups", "describe_security_groups", filter("tag-key", "n")),
            5 => step("rules", "describe_security_group_rules", filter("group-id", self.group())),
            6 => {
                let alias = self.of(&["i", "j"]);
                step("volumes", "describe_volumes", filter("attachment.instance-id", &format!("${alias}")))
            }
            7 => step("interfaces", "describe_network_interfaces", filter("group-id", self.group())),
            8 => step("subnets", "describe_subnets", filter("vpc-id", "$vpc")),
            9 => step("routes", "describe_route_tables", filter("vpc-id", "$vpc")),
            10 => step("ACLs", "describe_network_acls", filter("vpc-id", "$vpc")),
            11 => {
                let owners = json!(["136693071363", "099720109477"]);
                let names = json!([{"Name": "name", "Values": ["debian-13-arm64-*", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]}, {"Name": "state", "Values": ["available"]}]);
                step("images", "describe_images", json!({"Owners": owners, "Filters": names}))
            }
            12 => step(
                "types",
                "describe_instance_types",
                filter("instance-type", self.of(&["t4g.nano", "t3.nano", "t9z.nano"])),
            ),
            13 => step("regions", "describe_regions", json!({"RegionNames": ["us-east-1"]})),
            _ => step("console", "get_console_output", json!({"InstanceId": self.machine()})),
        }
    }
}

fn address(alias: &str) -> Step {
    step("an address", "allocate_address", json!({"Domain": "vpc"})).saved(alias, json!(["AllocationId"]))
}

/// Two of everything stand at first; what names a thing that is gone must be refused alike.
fn sequence(seed: u64) -> Vec<Step> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let volume = |machine: &str, alias: &str| {
        let of = json!({"Filters": [{"Name": "attachment.instance-id", "Values": [machine]}]});
        step("its volume", "describe_volumes", of).saved(alias, json!(["Volumes", 0, "VolumeId"]))
    };
    let mut steps = vec![group("a"), group("b"), address("e"), address("f")];
    steps.extend([machine("i", "$a", true), volume("$i", "u"), machine("j", "$b", false), volume("$j", "v")]);
    let user_data = json!({"InstanceId": "$i", "Attribute": "userData"});
    steps.push(step("its document", "describe_instance_attribute", user_data));
    steps.extend((0..STEPS).map(|_| if dice.0.u8(..3) > 0 { dice.write() } else { dice.read() }));
    steps
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn whatever_comes_is_answered_as_by_moto() {
    let seeds = match number("GANGPLANK_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GANGPLANK_TEST_SEEDS").unwrap_or(SEEDS),
    };
    let mut differ = Vec::new();
    for seed in seeds {
        let Some(compared) = compare(&sequence(seed), &format!("GANGPLANK_TEST_SEED={seed}")) else { return };
        differ.extend(compared.err());
    }
    assert!(differ.is_empty(), "{} sequences differ\n\n{}", differ.len(), differ.join("\n\n"));
}

/// Prefix lists: `prefix_lists.rs` plays whole lives with them on both worlds. The account's attributes: moto tells the same fixed text
/// whatever its account has used, and `quotas.rs` has what gangplank makes of an answer. A second interface: `ec2.rs` on moto,
/// `sandbox/networks.rs` on the world. Networks with their own DNS, peerings and VPC Block Public Access: `sandbox/networks.rs` on the world
/// alone; moto has nothing of the last, and whole lives in `contract/` read networks and DHCP options on both.
const ELSEWHERE: [&str; 9] = [
    "describeaccountattributes",
    "describedhcpoptions",
    "describemanagedprefixlists",
    "describevpcblockpublicaccessexclusions",
    "describevpcblockpublicaccessoptions",
    "describevpcpeeringconnections",
    "describevpcs",
    "getmanagedprefixlistentries",
    "modifynetworkinterfaceattribute",
];

/// The policy names every call that gangplank makes (`docs.rs` sees to that): each of them is among those compared, here or there.
#[test]
fn every_call_of_gangplanks_is_compared() {
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/iam-policy.json");
    let text = fs::read_to_string(policy).expect("the policy");
    let called = text.split('"').filter_map(|word| word.strip_prefix("ec2:")).filter(|word| {
        // Conditions are named so, too.
        word.starts_with(|c: char| c.is_ascii_uppercase()) && *word != "CreateAction"
    });
    let called: BTreeSet<String> = called.map(str::to_lowercase).collect();
    let compared: BTreeSet<String> = (0..SEEDS).flat_map(sequence).map(|step| step.call.replace('_', "")).collect();
    let missing: Vec<&String> =
        called.difference(&compared).filter(|call| !ELSEWHERE.contains(&call.as_str())).collect();
    assert!(missing.is_empty() && called.len() > 20, "{missing:?}");
}
