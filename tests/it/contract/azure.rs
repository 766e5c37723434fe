//! Azure Resource Manager, which is ours in memory; with the edge of each kind that stands for others.

use std::{fs, path::PathBuf, process::Command};

use gangplank::provider::azure::{request::short, tags::BASTION};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Act, Call, Calls, Cloud, Kind, Look, To, Trouble, Wish};
pub use crate::azure::plans::{CLASSIC, HUB, PUBLIC, STANDARD};
use crate::{
    arm::{
        company::{self, NET, company, group, net, put},
        fault::{Fault, Which},
        http::Server,
        peering::{far, with_far},
        world::{SUBSCRIPTION, World},
    },
    azure::plans::EDGES,
    support::program::Run,
};

const COMPUTE: &str = "2024-07-01";

/// One edge, of [`EDGES`].
pub struct Azure<const EDGE: usize> {
    server: Server,
    home: TempDir,
}

impl<const EDGE: usize> Azure<EDGE> {
    /// Beside somebody's firewall or policy also the resource group and the network are somebody's.
    const SHARED: bool = EDGE >= HUB;

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.server.world()
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    fn group(bastion: &str) -> String {
        if Self::SHARED { "rg-shared".to_owned() } else { format!("rg-{bastion}") }
    }

    fn own(kind: &str) -> String {
        net(&Self::group("warehouse"), &format!("{kind}/gangplank-warehouse"))
    }

    fn machine_id() -> String {
        let group = group(&Self::group("warehouse"));
        format!("{group}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse")
    }

    fn rules() -> String {
        let policy =
            if Self::SHARED { net("rg-hub", "firewallPolicies/fwp-hub") } else { Self::own("firewallPolicies") };
        format!("{policy}/ruleCollectionGroups/gangplank-warehouse")
    }

    /// Removes one side of the peering.
    fn unpeer(&self, ours: bool) {
        let mut world = self.world();
        let mut all = world.ids().into_iter().filter(|id| id.contains("/virtualnetworkpeerings/gangplank-"));
        let id = all.find(|id| id.contains("/virtualnetworks/gangplank-") == ours).expect("a peering");
        company::remove(&mut world, &id, NET);
    }

    /// Changes something as somebody else does.
    fn change(&self, id: &str, with: impl FnOnce(&mut Value)) {
        company::change(&mut self.world(), id, NET, with);
    }
}

impl<const EDGE: usize> Cloud for Azure<EDGE> {
    const DENIED: &'static str = "AuthorizationFailed";
    const IDENTITY: &'static str = "GET subscriptions/00000000-0000-0000-0000-000000000000";

    fn company() -> Option<Self> {
        let mut world = company();
        with_far(&mut world);
        Some(Self { server: Server::start(world), home: TempDir::new().expect("a temporary folder") })
    }

    fn write(&self, wish: &Wish) -> PathBuf {
        let (target, host, port) = wish.target;
        let list = |items: &[&str]| items.join(", ");
        let number = wish.name.rsplit('-').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(wish.name.len());
        // Networks that are peered with the same one have ranges of their own.
        let net = if wish.name == "warehouse" { 60 } else { 100 + number % 100 };
        // Of the same subscription, and of another one.
        let peer = if EDGE == PUBLIC { "vnet-db".to_owned() } else { far() };
        let place = if Self::SHARED {
            "{existing: rg-shared}\n  network: {existing: vnet-data, subnet: snet-a}".to_owned()
        } else {
            let firewall =
                if EDGE == PUBLIC { String::new() } else { format!("\n    firewall_subnet: 10.{net}.0.0/26") };
            format!(
                "{}\n  network:\n    address_space: 10.{net}.0.0/16\n    bastion_subnet: 10.{net}.1.0/27{firewall}\n    \
                 peer_with: [{peer}]",
                Self::group(&wish.name)
            )
        };
        // One port of a firewall's address leads to one machine.
        let ssh = if Self::SHARED && wish.name != "warehouse" { 2200 + number } else { 22 };
        let text = format!(
            "version: 1\nname: {}\n{}ssh: {{port: {ssh}}}\ntags: {{team: {}}}\nazure:\n  subscription: {SUBSCRIPTION}\n  location: westeurope\n  \
             resource_group: {place}\n  edge: {}\n  size: {}\n  image: debian-13\ntunnels:\n  - user: secoda\n    \
             allow_from: [{}]\n    keys: [{}]\n    targets:\n      - {{name: {target}, host: {host}, port: {port}, speaks: tcp}}\n",
            wish.name,
            wish.expires.map(|end| format!("expires: {end}\n")).unwrap_or_default(),
            wish.team,
            EDGES[EDGE],
            if wish.other { "Standard_B2s" } else { "Standard_B1s" },
            list(&wish.sources),
            list(&wish.keys),
        );
        let path = self.home.path().join(format!("{}.yaml", wish.name));
        fs::write(&path, text).expect("a writable folder");
        path
    }

    fn home(&self) -> String {
        self.home.path().to_str().expect("a temporary folder's name").to_owned()
    }

    fn execute(&self, arguments: &[&str], troubles: &[Trouble]) -> (Run, Calls) {
        {
            let mut world = self.world();
            world.calls.clear();
            for trouble in troubles {
                let which = match trouble.to {
                    To::Any => Which::Any,
                    To::Writes => Which::Writes,
                };
                let fault = match trouble.kind {
                    // Without a time to come back after: the program's clock is real.
                    Kind::Throttled => Fault::throttled("0"),
                    Kind::Fault => Fault::answer(500, "InternalServerError"),
                    Kind::Denied => Fault::answer(403, Self::DENIED),
                    Kind::Garbage => Fault::Garbage,
                    Kind::Lost(moment) => Fault::Drop(moment),
                    Kind::Kill(moment) => Fault::Kill(moment),
                };
                world.fault(which, trouble.window.0..trouble.window.1, fault);
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(self.home.path()).env_clear().env("HOME", self.home.path()).env("TZ", "UTC");
        let run = self.server.run(command.args(arguments));
        let mut world = self.world();
        world.heal();
        assert_eq!(world.mistakes, [""; 0], "Microsoft's schemas refuse it\n{run}");
        let calls = std::mem::take(&mut world.calls).into_iter();
        let calls = calls
            .map(|call| Call { writes: call.is_write(), operation: format!("{} {}", call.method, short(&call.path)) });
        (run, Calls(calls.collect()))
    }

    fn look(&self) -> Look {
        let mut world = self.world();
        // A firewall of somebody's may still be at what it was told.
        world.finish();
        let (mut ours, mut foreign) = (Map::new(), Map::new());
        let mut names = Vec::new();
        for id in world.ids() {
            let mut raw = world.resource(&id).unwrap_or_else(|| json!({"id": id}));
            let owned = raw["tags"].get(BASTION).is_some() || is_ours(&json!(id));
            let kind = id.rsplit('/').nth(1).unwrap_or_default().to_owned();
            if kind == "disks" && owned {
                // Azure makes up its name.
                raw = json!({"managedBy": raw["managedBy"]});
            }
            let name = id.rsplit('/').next().unwrap_or_default();
            if kind == "virtualmachines" {
                let runs = world.machines(world.now()).iter().any(|vm| vm.id == id && vm.running);
                raw["power"] = json!(if runs { "running" } else { "stopped" });
            }
            let private = "/properties/ipConfigurations/0/properties/privateIPAddress";
            let address = raw.pointer("/properties/ipAddress").or(raw.pointer(private)).and_then(Value::as_str);
            if let (true, Some(ip)) = (owned, address) {
                names.push((format!("{ip:?}"), format!("\"the address {name}\"")));
            }
            let mut told = if owned { &mut ours } else { &mut foreign };
            let mut parts = Vec::new();
            let mut rest = split(raw, if owned { None } else { Some(&mut parts) });
            if owned {
                rest = anonymous(rest);
            }
            push(told, &kind, rest);
            told = &mut ours;
            for part in parts {
                push(told, &format!("in {name}"), anonymous(part));
            }
        }
        let mut text = Value::Object(ours).to_string();
        for (address, name) in names {
            text = text.replace(&address, &name);
        }
        Look { ours: serde_json::from_str(&text).expect("JSON"), foreign: foreign.into() }
    }

    fn machine(&self) -> Value {
        self.world().resource(&Self::machine_id()).map_or(Value::Null, |raw| raw["properties"]["vmId"].clone())
    }

    fn drifts() -> Vec<Act<Self>> {
        let mut all: Vec<Act<Self>> = vec![
            ("opened to everybody", |azure| {
                azure.change(&Self::own("networkSecurityGroups"), |group| {
                    let open = json!({"name": "open", "properties": {"priority": 200, "direction": "Inbound", "access": "Allow",
                        "protocol": "*", "sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*",
                        "destinationPortRange": "*"}});
                    group["properties"]["securityRules"].as_array_mut().expect("rules").push(open);
                });
            }),
            ("a rule of the security group removed", |azure| {
                azure.change(&Self::own("networkSecurityGroups"), |group| {
                    group["properties"]["securityRules"].as_array_mut().expect("rules").remove(0);
                });
            }),
            ("the machine stopped", |azure| {
                let machine = Self::machine_id();
                company::send(&mut azure.world(), "POST", &format!("{machine}/deallocate"), COMPUTE, None);
            }),
            ("the machine deleted", |azure| company::remove(&mut azure.world(), &Self::machine_id(), COMPUTE)),
            ("the machine's tag changed", |azure| {
                company::tag(&mut azure.world(), &Self::machine_id(), "team", Some("nobody"));
            }),
            ("the keys' tag removed", |azure| {
                company::tag(&mut azure.world(), &Self::machine_id(), "gangplank:keys", None);
            }),
            ("the security group's tag removed", |azure| {
                company::tag(&mut azure.world(), &Self::own("networkSecurityGroups"), "team", None);
            }),
        ];
        match EDGE {
            CLASSIC => all.extend([
                (
                    "a source more in the firewall",
                    (|azure| {
                        azure.change(&net("rg-hub", "azureFirewalls/fw-old"), |firewall| {
                            let all = firewall["properties"]["natRuleCollections"].as_array_mut().expect("collections");
                            let own = all.iter_mut().find(|c| c["name"] == "gangplank-warehouse").expect("ours");
                            let sources = &mut own["properties"]["rules"][0]["sourceAddresses"];
                            sources.as_array_mut().expect("sources").push(json!("192.0.2.9"));
                        });
                    }) as fn(&Self),
                ),
                ("the collection removed from the firewall", |azure| {
                    azure.change(&net("rg-hub", "azureFirewalls/fw-old"), |firewall| {
                        let all = firewall["properties"]["natRuleCollections"].as_array_mut().expect("collections");
                        all.retain(|c| c["name"] != "gangplank-warehouse");
                    });
                }),
            ]),
            HUB | STANDARD => all.extend([
                (
                    "a source more in the policy",
                    (|azure| {
                        azure.change(&Self::rules(), |group| {
                            let rule = &mut group["properties"]["ruleCollections"][0]["rules"][0];
                            rule["sourceAddresses"].as_array_mut().expect("sources").push(json!("192.0.2.9"));
                        });
                    }) as fn(&Self),
                ),
                ("the rules removed from the policy", |azure| company::remove(&mut azure.world(), &Self::rules(), NET)),
            ]),
            _ => {}
        }
        if !Self::SHARED {
            all.extend([
                ("our side of the peering removed", (|azure| azure.unpeer(true)) as fn(&Self)),
                ("the other side of the peering removed", |azure| azure.unpeer(false)),
            ]);
        }
        all
    }

    fn lookalikes() -> Vec<Act<Self>> {
        let mut all: Vec<Act<Self>> = vec![("a security group", |azure| {
            let mut world = azure.world();
            if !Self::SHARED {
                put(&mut world, &group(&Self::group("warehouse")), "2021-04-01", &json!({"location": "westeurope"}));
            }
            put(&mut world, &Self::own("networkSecurityGroups"), NET, &json!({"location": "westeurope"}));
        })];
        match EDGE {
            CLASSIC => all.push(("a collection in the firewall", |azure| {
                azure.change(&net("rg-hub", "azureFirewalls/fw-old"), |firewall| {
                    let all = firewall["properties"]["natRuleCollections"].as_array_mut().expect("collections");
                    all.push(company::classic("gangplank-warehouse", 2000));
                });
            })),
            HUB => all.push(("a rule collection group in the policy", |azure| {
                let theirs =
                    azure.world().resource(&net("rg-hub", "firewallPolicies/fwp-hub/ruleCollectionGroups/theirs"));
                let mut body = company::rules(&theirs.expect("there"));
                body["properties"]["priority"] = json!(2000);
                put(&mut azure.world(), &Self::rules(), NET, &body);
            })),
            _ => {}
        }
        all
    }

    /// The rules of a bastion's own firewall policy: no list of Azure's shows several policies'.
    fn reads_of_its_own() -> usize {
        usize::from(EDGE == STANDARD)
    }
}

fn push(told: &mut Map<String, Value>, kind: &str, thing: Value) {
    let all = told.entry(kind).or_insert_with(|| json!([]));
    all.as_array_mut().expect("a list").push(thing);
}

/// Whether anything in it is a bastion's, by its name or its resource group's.
fn is_ours(value: &Value) -> bool {
    let text = value.to_string().to_lowercase();
    text.contains("gangplank-")
        || text.contains("/resourcegroups/rg-warehouse")
        || text.contains("/resourcegroups/rg-bastion")
}

/// Without what Azure counts, and from what is foreign without the parts that are ours, which come into `parts`.
fn split(value: Value, mut parts: Option<&mut Vec<Value>>) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| key != "etag");
            let kept = kept.map(|(key, value)| (key, split(value, parts.as_deref_mut())));
            // Azure leaves out some lists that are empty.
            kept.filter(|(_, value)| *value != json!([])).collect()
        }
        Value::Array(items) => {
            let mut kept = Vec::new();
            for item in items {
                match &mut parts {
                    Some(parts) if is_ours(item.get("id").or(item.get("name")).unwrap_or(&item)) => {
                        parts.push(split(item, None))
                    }
                    _ => kept.push(split(item, parts.as_deref_mut())),
                }
            }
            kept.into()
        }
        other => other,
    }
}

/// Without what every creation makes anew.
fn anonymous(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let made = ["resourceGuid", "vmId", "timeCreated", "uniqueId", "osDisk"];
            let kept = map.into_iter().filter(|(key, _)| !made.contains(&key.as_str()));
            // The case of an id is that of whoever wrote it last.
            let plain = |key: &str, value: Value| match value {
                Value::String(id) if key == "id" => id.to_lowercase().into(),
                value => anonymous(value),
            };
            kept.map(|(key, value)| (key.clone(), plain(&key, value))).collect()
        }
        Value::Array(items) => items.into_iter().map(anonymous).collect(),
        other => other,
    }
}
