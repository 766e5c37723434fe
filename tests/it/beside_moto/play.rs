//! Steps for two clouds, and one's answers held against the other's.

use gangplank::sandbox::ec2::{Pace, Quotas, World};
use serde::Deserialize;
use serde_json::{Value, json};

use super::truth::{group, machine, rule};
use crate::support::{listening::Listening, moto_or_skip};

/// Told in the file itself.
const PLAY: &str = include_str!("play.py");

/// Where the two differ. Nothing else may; and each of these must, or it is no difference any more.
pub struct Difference {
    /// boto3's name.
    pub call: &'static str,
    pub moto: (&'static str, u16),
    pub world: (&'static str, u16),
    pub why: &'static str,
    /// Its last step shows it.
    pub shown: fn() -> Vec<Step>,
}

pub const DIFFERENT: &[Difference] = &[
    Difference {
        call: "authorize_security_group_ingress",
        moto: ("ok", 200),
        world: ("InvalidParameterValue", 400),
        why: "EC2 refuses a range with host bits; moto takes it",
        shown: || vec![step("host bits", "authorize_security_group_ingress", rule("$orders_group", "10.0.0.1/8"))],
    },
    Difference {
        call: "describe_instances",
        moto: ("InvalidInstanceID.NotFound", 400),
        world: ("InvalidInstanceID.Malformed", 400),
        why: "moto does not look at an id's form; EC2 does (Error codes for the Amazon EC2 API)",
        shown: || vec![step("an odd id", "describe_instances", json!({"InstanceIds": ["i-odd"]}))],
    },
    Difference {
        call: "revoke_security_group_ingress",
        moto: ("InvalidGroup.NotFound", 400),
        world: ("InvalidPermission.NotFound", 400),
        why: "a rule that refers to a group which is gone: for moto the group is missing, for the world the rule is; gone is gone",
        shown: || a_lost_group("revoke_security_group_ingress"),
    },
    Difference {
        call: "revoke_security_group_egress",
        moto: ("InvalidGroup.NotFound", 400),
        world: ("InvalidPermission.NotFound", 400),
        why: "the same on the way out",
        shown: || a_lost_group("revoke_security_group_egress"),
    },
    Difference {
        call: "create_tags",
        moto: ("ok", 200),
        world: ("InvalidAllocationID.NotFound", 400),
        why: "moto does not look whether an address is there",
        shown: || {
            vec![
                step("an address goes", "release_address", json!({"AllocationId": "$address"})),
                step("tag", "create_tags", json!({"Resources": ["$address"], "Tags": [{"Key": "k", "Value": "v"}]})),
            ]
        },
    },
    Difference {
        call: "delete_tags",
        moto: ("ok", 200),
        world: ("InvalidAllocationID.NotFound", 400),
        why: "moto does not look whether an address is there",
        shown: || {
            vec![
                step("an address goes", "release_address", json!({"AllocationId": "$address"})),
                step("untag", "delete_tags", json!({"Resources": ["$address"], "Tags": [{"Key": "k"}]})),
            ]
        },
    },
    Difference {
        call: "delete_tags",
        moto: ("ok", 200),
        world: ("InvalidVolume.NotFound", 400),
        why: "moto does not look whether a volume is there",
        shown: || {
            let of = json!({"Filters": [{"Name": "attachment.instance-id", "Values": ["$i"]}]});
            vec![
                machine("i", "$orders_group", false),
                step("its volume", "describe_volumes", of).saved("v", json!(["Volumes", 0, "VolumeId"])),
                step("both go", "terminate_instances", json!({"InstanceIds": ["$i"]})),
                step("untag", "delete_tags", json!({"Resources": ["$v"], "Tags": [{"Key": "k"}]})),
            ]
        },
    },
    Difference {
        call: "modify_instance_attribute",
        moto: ("ok", 200),
        world: ("IncorrectInstanceState", 400),
        why: "moto changes what a machine does at its shutdown when it has ended",
        shown: || {
            let stop = json!({"InstanceId": "$i", "InstanceInitiatedShutdownBehavior": {"Value": "stop"}});
            vec![
                machine("i", "$orders_group", false),
                step("its end", "terminate_instances", json!({"InstanceIds": ["$i"]})),
                step("its shutdown", "modify_instance_attribute", stop),
            ]
        },
    },
    Difference {
        call: "delete_tags",
        moto: ("ok", 200),
        world: ("InvalidGroup.NotFound", 400),
        why: "moto does not look whether the resource is there; the reference does not say what EC2 does",
        shown: || {
            vec![
                group("a"),
                step("it goes", "delete_security_group", json!({"GroupId": "$a"})),
                step("untag", "delete_tags", json!({"Resources": ["$a"], "Tags": [{"Key": "k"}]})),
            ]
        },
    },
];

/// What one of them tells otherwise, or not at all.
pub struct ToldOtherwise {
    pub call: &'static str,
    pub why: &'static str,
    /// Takes it out of what `play.py` tells of an answer.
    without: fn(&mut Value),
    /// Its last step shows it.
    shown: fn() -> Vec<Step>,
}

pub const TOLD_OTHERWISE: &[ToldOtherwise] = &[
    ToldOtherwise {
        call: "terminate_instances",
        why: "moto says that a machine which has ended is shutting down; gangplank reads no states of this answer",
        without: |changes| {
            for change in changes.as_array_mut().into_iter().flatten().filter(|change| change["was"] == "terminated") {
                change["is"] = Value::Null;
            }
        },
        shown: || {
            let end = || step("its end", "terminate_instances", json!({"InstanceIds": ["$i"]}));
            vec![machine("i", "$orders_group", false), end(), end()]
        },
    },
    ToldOtherwise {
        call: "stop_instances",
        why: "moto says that a machine which has stopped is stopping; gangplank stops none",
        without: |changes| {
            for change in changes.as_array_mut().into_iter().flatten().filter(|change| change["was"] == "stopped") {
                change["is"] = Value::Null;
            }
        },
        shown: || {
            let stop = || step("it stops", "stop_instances", json!({"InstanceIds": ["$i"]}));
            vec![machine("i", "$orders_group", false), stop(), stop()]
        },
    },
    ToldOtherwise {
        call: "start_instances",
        why: "moto says that a machine which runs is pending; gangplank starts none that runs",
        without: |changes| {
            for change in changes.as_array_mut().into_iter().flatten().filter(|change| change["was"] == "running") {
                change["is"] = Value::Null;
            }
        },
        shown: || {
            let start = json!({"InstanceIds": ["$i"]});
            vec![machine("i", "$orders_group", false), step("it runs", "start_instances", start)]
        },
    },
    ToldOtherwise {
        call: "describe_security_group_rules",
        why: "moto forgets the description of a rule for a group; gangplank reads it from DescribeSecurityGroups",
        without: |rules| {
            for rule in rules.as_array_mut().into_iter().flatten().filter(|rule| !rule["peer"].is_null()) {
                rule["description"] = Value::Null;
            }
        },
        shown: || {
            let peer = json!([{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": "$orders_group", "Description": "d"}]}]);
            let rule = json!({"GroupId": "$warehouse_group", "IpPermissions": peer});
            let filter = json!({"Filters": [{"Name": "group-id", "Values": ["$warehouse_group"]}]});
            vec![
                step("a rule", "authorize_security_group_ingress", rule),
                step("it told", "describe_security_group_rules", filter),
            ]
        },
    },
];

/// A group goes, and then a rule that refers to it is revoked.
fn a_lost_group(revoke: &'static str) -> Vec<Step> {
    let pairs = json!([{"GroupId": "$a", "Description": "d"}]);
    let peer = json!([{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": pairs}]);
    let rule = json!({"GroupId": "$warehouse_group", "IpPermissions": peer});
    vec![group("a"), step("it goes", "delete_security_group", json!({"GroupId": "$a"})), step("its rule", revoke, rule)]
}

/// An answer without what is told otherwise.
fn plain(call: &str, answer: &Value) -> Value {
    let mut answer = answer.clone();
    TOLD_OTHERWISE.iter().filter(|told| told.call == call).for_each(|told| (told.without)(&mut answer));
    if let Some(all) = answer.as_array_mut() {
        all.sort_by_key(Value::to_string);
    }
    answer
}

/// `[name, call, arguments, {alias: path in the answer}]`: see `play.py`.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub call: &'static str,
    arguments: Value,
    saved: Value,
}

pub fn step(name: &str, call: &'static str, arguments: Value) -> Step {
    Step { name: name.to_owned(), call, arguments, saved: json!({}) }
}

impl Step {
    /// What the answer has at `path` is called so from here on.
    #[must_use]
    pub fn saved(mut self, alias: &str, path: Value) -> Self {
        self.saved[alias] = path;
        self
    }
}

#[derive(Deserialize)]
struct Played {
    came: Vec<Came>,
    left: Value,
}

#[derive(Debug, Deserialize)]
struct Came {
    code: String,
    status: u16,
    #[serde(default)]
    answer: Value,
}

impl Came {
    fn is(&self, (code, status): (&str, u16)) -> bool {
        self.code == code && self.status == status
    }
}

/// What came of the steps in moto and in the world; `None` without moto.
#[track_caller]
fn play(steps: &[Step], which: &str) -> Option<[Played; 2]> {
    let account = moto_or_skip()?.account();
    let image = "Filters=[{'Name': 'name', 'Values': ['debian-13-arm64-*']}], Owners=['136693071363']";
    let script = format!("result = {{**seed(), 'image': ec2.describe_images({image})['Images'][0]['ImageId']}}");
    let mut world = World::seeded(1);
    // moto's instances run at once, and it has no quotas.
    world.pace = Pace::instant();
    world.quotas = Quotas { addresses: 1000, ..Quotas::default() };
    let world = Listening::start(world);
    let told: Vec<Value> = steps.iter().map(|s| json!([s.name, s.call, s.arguments, s.saved])).collect();
    Some([account.endpoint(), world.address].map(|endpoint| {
        let known = account.boto_through(endpoint, &script, Value::Null).expect("a company's network");
        let played = account.boto_through(endpoint, PLAY, json!({"known": known, "steps": told}));
        serde_json::from_value(played.unwrap_or_else(|error| panic!("{which}: {error}"))).expect("what play.py tells")
    }))
}

/// Plays on both, and holds one against the other: the first difference that is not listed. `None` without moto.
pub fn compare(steps: &[Step], which: &str) -> Option<Result<(), String>> {
    let [moto, world] = play(steps, which)?;
    for (n, (moto, world)) in moto.came.iter().zip(&world.came).enumerate() {
        if let Err(differ) = agree(steps, n, moto, world, which) {
            return Some(Err(differ));
        }
    }
    for kind in ["groups", "rules", "instances", "addresses", "volumes"] {
        let call = match kind {
            "rules" => "describe_security_group_rules",
            "instances" => "describe_instances",
            _ => "",
        };
        let [moto, world] = [&moto, &world].map(|played| plain(call, &played.left[kind]));
        if moto != world {
            return Some(Err(format!("{which}: left in moto are the {kind}\n{moto}\nin the world\n{world}")));
        }
    }
    Some(Ok(()))
}

fn agree(steps: &[Step], n: usize, moto: &Came, world: &Came, which: &str) -> Result<(), String> {
    let known = |d: &Difference| d.call == steps[n].call && moto.is(d.moto) && world.is(d.world);
    let [theirs, ours] = [moto, world].map(|came| plain(steps[n].call, &came.answer));
    let same = (&moto.code, moto.status, theirs) == (&world.code, world.status, ours);
    if same || DIFFERENT.iter().any(known) {
        return Ok(());
    }
    let before: Vec<String> = steps[..=n].iter().map(|s| format!("{} {}", s.call, s.arguments)).collect();
    let came = |came: &Came| format!("{} {} {}", came.code, came.status, came.answer);
    let (moto, world) = (came(moto), came(world));
    Err(format!("{which}, step {n} ({}):\nmoto says {moto}\nthe world {world}\n{}", steps[n].name, before.join("\n")))
}

/// Every difference still is one, and its way there is none.
#[test]
fn what_is_listed_as_different_differs() {
    for difference in DIFFERENT {
        let steps = (difference.shown)();
        let Some([moto, world]) = play(&steps, difference.why) else { return };
        let last = steps.len() - 1;
        (0..last).for_each(|n| agree(&steps, n, &moto.came[n], &world.came[n], difference.why).expect("the same"));
        let shown = moto.came[last].is(difference.moto) && world.came[last].is(difference.world);
        assert!(shown, "{}: moto says {:#?}, the world {:#?}", difference.why, moto.came[last], world.came[last]);
        assert_eq!(steps[last].call, difference.call);
    }
    for told in TOLD_OTHERWISE {
        let steps = (told.shown)();
        let Some([moto, world]) = play(&steps, told.why) else { return };
        (0..steps.len()).for_each(|n| agree(&steps, n, &moto.came[n], &world.came[n], told.why).expect("the same"));
        let last = steps.len() - 1;
        assert_ne!(moto.came[last].answer, world.came[last].answer, "{}: it is no difference any more", told.why);
        assert_eq!(steps[last].call, told.call);
    }
}
