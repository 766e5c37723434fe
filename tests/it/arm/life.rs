//! A bastion's life on Azure through the program as people run it: made, changed and gone, with a company's resources beside it.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    fault::{Fault, Which},
    http::{Server, ask},
    world::{Call, SUBSCRIPTION, World},
};
use crate::{
    azure::plans::{BASIC, CLASSIC, EDGES, HUB, POLICY, PUBLIC, STANDARD, Spec},
    support::{Moment, program::Run},
};

const NET: &str = "2024-03-01";

/// A subscription with a company's network and firewalls, and somebody at a command line.
struct Desk {
    server: Server,
    home: TempDir,
    /// What is not ours, as it was.
    foreign: BTreeMap<String, Value>,
}

impl Desk {
    fn new() -> Self {
        let server = Server::start(company());
        let foreign = foreign(&server.world());
        Self { server, home: TempDir::new().expect("a temporary folder"), foreign }
    }

    fn plan(&self, spec: &Spec) -> PathBuf {
        let path = self.home.path().join("warehouse.yaml");
        fs::write(&path, spec.text()).expect("a writable folder");
        path
    }

    /// Runs a verb on a plan, and returns the calls that it made.
    #[track_caller]
    fn run(&self, verb: &str, spec: &Spec, options: &[&str]) -> (Run, Vec<Call>) {
        let path = self.plan(spec);
        self.server.world().calls.clear();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(self.home.path()).env_clear().env("HOME", self.home.path()).env("TZ", "UTC");
        command.arg(verb).arg(path).args(options);
        let run = self.server.run(&mut command);
        let mut world = self.server.world();
        assert_eq!(world.mistakes, [""; 0], "Microsoft's schemas refuse it\n{run}");
        (run, std::mem::take(&mut world.calls))
    }

    #[track_caller]
    fn apply(&self, spec: &Spec) -> Vec<Call> {
        let (run, calls) = self.run("apply", spec, &["--yes", "--no-verify"]);
        run.expect(0);
        calls
    }

    /// The plan says that there is nothing to do, and asks only.
    #[track_caller]
    fn assert_settled(&self, spec: &Spec) {
        let (run, calls) = self.run("plan", spec, &["--detailed-exitcode"]);
        run.expect(0);
        assert_eq!(writes(&calls), 0);
    }

    /// The steps that a plan shows.
    #[track_caller]
    fn steps(&self, spec: &Spec) -> Vec<Value> {
        let (run, calls) = self.run("plan", spec, &["--output", "json"]);
        let run = run.expect(0);
        assert_eq!(writes(&calls), 0, "{run}");
        let sets = run.json();
        let sets = sets["bastions"].as_array().unwrap_or_else(|| panic!("{sets:#}")).clone();
        sets.iter().flat_map(|set| set["steps"].as_array().expect("steps").clone()).collect()
    }

    /// Nothing but what was there is there, as it was.
    #[track_caller]
    fn assert_only_foreign(&self) {
        assert_eq!(foreign(&self.server.world()), self.foreign);
    }
}

fn writes(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.is_write()).count()
}

fn group(name: &str) -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}")
}

fn net(group_name: &str, rest: &str) -> String {
    format!("{}/providers/Microsoft.Network/{rest}", group(group_name))
}

/// Puts something into a world, as somebody else does.
#[track_caller]
fn put(world: &mut World, id: &str, version: &str, body: &Value) {
    let ask = ask(
        "PUT",
        &format!("{id}?api-version={version}"),
        BTreeMap::new(),
        body.to_string().as_bytes(),
        "http://127.0.0.1".to_owned(),
    );
    let reply = world.answer(&ask);
    assert!(reply.status < 300, "{id}: {reply:?}");
    world.finish();
}

/// A network for the bastion, a firewall with a policy and one with classic rules, each with somebody's rules.
fn company() -> World {
    let mut world = World::default();
    world.prompt = true;
    let world_ref = &mut world;
    for name in ["rg-shared", "rg-hub"] {
        put(world_ref, &group(name), "2021-04-01", &json!({"location": "westeurope", "tags": {"team": "network"}}));
    }
    let networks = [("rg-shared", "vnet-data", "10.9"), ("rg-hub", "vnet-hub", "10.8"), ("rg-hub", "vnet-old", "10.7")];
    for (group, name, range) in networks {
        let mut subnets =
            vec![json!({"name": "AzureFirewallSubnet", "properties": {"addressPrefix": format!("{range}.3.0/26")}})];
        if group == "rg-shared" {
            subnets.push(json!({"name": "snet-a", "properties": {"addressPrefix": "10.9.1.0/24"}}));
        }
        let space = json!({"addressPrefixes": [format!("{range}.0.0/16")]});
        let body = json!({"location": "westeurope", "properties": {"addressSpace": space, "subnets": subnets}});
        put(world_ref, &net(group, &format!("virtualNetworks/{name}")), NET, &body);
    }
    let policy = net("rg-hub", "firewallPolicies/fwp-hub");
    put(world_ref, &policy, NET, &json!({"location": "westeurope", "properties": {"sku": {"tier": "Standard"}}}));
    let theirs = json!({"name": "web", "ruleType": "NatRule", "ipProtocols": ["TCP"], "sourceAddresses": ["*"],
        "destinationAddresses": ["20.9.9.1"], "destinationPorts": ["443"], "translatedAddress": "10.8.9.9",
        "translatedPort": "443"});
    let rules = json!({"properties": {"priority": 1000, "ruleCollections": [{"name": "theirs", "priority": 100,
        "ruleCollectionType": "FirewallPolicyNatRuleCollection", "action": {"type": "DNAT"}, "rules": [theirs]}]}});
    put(world_ref, &format!("{policy}/ruleCollectionGroups/theirs"), NET, &rules);
    for (name, network) in [("fw-hub", "vnet-hub"), ("fw-old", "vnet-old")] {
        let address = net("rg-hub", &format!("publicIPAddresses/{name}"));
        let body = json!({"location": "westeurope", "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static"}});
        put(world_ref, &address, NET, &body);
        let subnet = net("rg-hub", &format!("virtualNetworks/{network}/subnets/AzureFirewallSubnet"));
        let mut properties = json!({"sku": {"name": "AZFW_VNet", "tier": "Standard"}, "ipConfigurations": [{
            "name": "front", "properties": {"subnet": {"id": subnet}, "publicIPAddress": {"id": address}}}]});
        if name == "fw-hub" {
            properties["firewallPolicy"] = json!({"id": policy});
        } else {
            properties["natRuleCollections"] = json!([classic("theirs", 1000)]);
        }
        let body = json!({"location": "westeurope", "properties": properties});
        put(world_ref, &net("rg-hub", &format!("azureFirewalls/{name}")), NET, &body);
    }
    world
}

/// Somebody's collection of classic rules.
fn classic(name: &str, priority: u32) -> Value {
    json!({"name": name, "properties": {"priority": priority, "action": {"type": "Dnat"}, "rules": [{"name": "web",
        "protocols": ["TCP"], "sourceAddresses": ["*"], "destinationAddresses": ["20.9.9.2"],
        "destinationPorts": ["443"], "translatedAddress": "10.7.9.9", "translatedPort": "443"}]}})
}

/// Everything without what Azure counts: etags.
fn foreign(world: &World) -> BTreeMap<String, Value> {
    let all = world.ids().into_iter().map(|id| {
        let mut raw = world.resource(&id).unwrap_or_default();
        without_etags(&mut raw);
        (id, raw)
    });
    all.collect()
}

fn without_etags(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("etag");
            map.values_mut().for_each(without_etags);
        }
        Value::Array(items) => items.iter_mut().for_each(without_etags),
        _ => {}
    }
}

#[test]
fn every_edge_is_made_changed_and_gone() {
    for edge in PUBLIC..EDGES.len() {
        let desk = Desk::new();
        let spec = Spec::edge(edge);
        let steps = desk.steps(&spec);
        assert!(steps.iter().all(|step| step["op"] == "create"), "{steps:#?}");
        let calls = desk.apply(&spec);
        assert!(writes(&calls) >= steps.len(), "{} steps", steps.len());
        desk.assert_settled(&spec);

        let (status, calls) = desk.run("status", &spec, &["--output", "json"]);
        let status = status.expect(0).json();
        assert_eq!(status["bastions"][0]["state"], "up", "{}: {status:#}", EDGES[edge]);
        assert_eq!(writes(&calls), 0);

        let more = Spec { sources: [0, 1].into(), ..spec.clone() };
        let steps = desk.steps(&more);
        assert_eq!(steps.len(), 1, "one more source is one change: {steps:#?}");
        desk.apply(&more);
        desk.assert_settled(&more);

        let (run, _) = desk.run("destroy", &more, &["--yes"]);
        run.expect(0);
        desk.assert_only_foreign();
    }
}
