//! A bastion's life on Azure through the program as people run it: made, changed and gone, with a company's resources beside it.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use gangplank::sandbox::arm;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    fault::{Fault, Which},
    http::{Server, ask},
    world::{Call, SUBSCRIPTION, World},
};
use crate::{
    azure::plans::{CLASSIC, EDGES, HUB, PUBLIC, STANDARD, Spec},
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
        Self::at(company())
    }

    /// With a bastion that an earlier run made, say.
    fn at(world: World) -> Self {
        let foreign = foreign(&company());
        Self { server: Server::start(world), home: TempDir::new().expect("a temporary folder"), foreign }
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
        // A firewall of somebody's may still be at what it was told.
        self.server.world().finish_on(&fw_old());
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
    let mut world = World::from(arm::World::company());
    world.prompt = true;
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
    for (edge, words) in EDGES.iter().enumerate() {
        let desk = Desk::new();
        let spec = Spec::edge(edge);
        let steps = desk.steps(&spec);
        assert!(steps.iter().all(|step| step["op"] == "create"), "{steps:#?}");
        let calls = desk.apply(&spec);
        assert!(writes(&calls) >= steps.len(), "{} steps", steps.len());
        desk.assert_settled(&spec);

        let (status, calls) = desk.run("status", &spec, &["--output", "json"]);
        let status = status.expect(0).json();
        assert_eq!(status["bastions"][0]["state"], "up", "{words}: {status:#}");
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

/// A command that is interrupted, and the state in which it starts.
struct Story {
    verb: &'static str,
    from: Option<Spec>,
    to: Spec,
}

/// What exists, but for disks, whose names Azure makes up.
fn names(world: &World) -> Vec<String> {
    world.ids().into_iter().filter(|id| !id.contains("/disks/")).collect()
}

impl Story {
    fn options(&self) -> &'static [&'static str] {
        if self.verb == "apply" { &["--yes", "--no-verify"] } else { &["--yes"] }
    }

    fn start(&self) -> World {
        let desk = Desk::new();
        if let Some(from) = &self.from {
            desk.apply(from);
        }
        desk.server.world().clone()
    }

    /// Brings trouble to the command at each of its calls from the first write on, one at a time. `again` says whether it is
    /// then run once more.
    fn tell(&self, faults: &[(Which, Fault)], again: bool) {
        let start = self.start();
        let desk = Desk::at(start.clone());
        let (run, calls) = desk.run(self.verb, &self.to, self.options());
        run.expect(0);
        let expected = names(&desk.server.world());
        let first = calls.iter().position(Call::is_write).expect("something to interrupt");
        let any = |which: &Which| matches!(which, Which::Any);
        let numbers = |which: &Which| if any(which) { first..calls.len() } else { 0..writes(&calls) };
        let all: Vec<_> = faults.iter().flat_map(|fault| numbers(&fault.0).map(move |n| (fault, n))).collect();
        let (next, hit) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(((which, fault), n)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let at = format!("{} met {fault:?} at call {n} of {which:?}", self.verb);
                        let desk = Desk::at(start.clone());
                        desk.server.world().fault(which.clone(), *n..*n + 1, fault.clone());
                        let (run, _) = desk.run(self.verb, &self.to, self.options());
                        hit.fetch_add(usize::from(run.code() != Some(0)), Ordering::Relaxed);
                        desk.server.world().heal();
                        if again {
                            assert!(run.code().is_none_or(|code| code == 0), "{at}\n{run}");
                            let (run, _) = desk.run(self.verb, &self.to, self.options());
                            assert_eq!(run.code(), Some(0), "{at}, then run again\n{run}");
                        } else {
                            assert_eq!(run.code(), Some(0), "{at}\n{run}");
                        }
                        assert_eq!(names(&desk.server.world()), expected, "{at}");
                        if self.verb == "apply" {
                            let (run, _) = desk.run("destroy", &self.to, &["--yes"]);
                            assert_eq!(run.code(), Some(0), "{at}, then destroyed\n{run}");
                        }
                        desk.assert_only_foreign();
                    }
                });
            }
        });
        // Steps run at once and a wait may ask once more or less, so the last calls may be missed, but no more.
        let (hit, all) = (hit.into_inner(), all.len());
        assert!(!again || hit + 4 >= all, "only {hit} of {all} runs were killed");
    }

    fn killed(&self) {
        self.tell(&[(Which::Any, Fault::Kill(Moment::Before)), (Which::Writes, Fault::Kill(Moment::After))], true);
    }

    fn dropped(&self) {
        self.tell(&[(Which::Writes, Fault::Drop(Moment::Before)), (Which::Writes, Fault::Drop(Moment::After))], false);
    }
}

fn creating(edge: usize) -> Story {
    Story { verb: "apply", from: None, to: Spec::edge(edge) }
}

fn destroying(edge: usize) -> Story {
    Story { verb: "destroy", from: Some(Spec::edge(edge)), to: Spec::edge(edge) }
}

#[test]
fn killed_while_creating_its_own_firewall() {
    creating(STANDARD).killed();
}

#[test]
fn killed_while_adding_rules_to_somebodys_firewall() {
    creating(CLASSIC).killed();
}

#[test]
fn killed_while_changing() {
    let from = Spec::edge(HUB);
    let to = Spec { size: 1, port: 2222, sources: [1].into(), keys: [0, 1].into(), ..from.clone() };
    Story { verb: "apply", from: Some(from), to }.killed();
}

#[test]
fn killed_while_destroying_its_own_firewall() {
    destroying(STANDARD).killed();
}

#[test]
fn killed_while_taking_rules_out_of_somebodys_firewall() {
    destroying(CLASSIC).killed();
}

#[test]
fn lost_answers_are_waited_out() {
    creating(CLASSIC).dropped();
    destroying(HUB).dropped();
}

fn fw_old() -> String {
    net("rg-hub", "azureFirewalls/fw-old")
}

/// Somebody adds a collection to the shared firewall between our read and our write.
fn add_collection(world: &mut World) {
    let mut firewall = world.resource(&fw_old()).expect("there");
    let collections = firewall["properties"]["natRuleCollections"].as_array_mut().expect("a list");
    collections.push(classic("late", 2000));
    // As `unread` of a write that names its etag: without what only Azure writes.
    let ask = ask(
        "PUT",
        &format!("{}?api-version={NET}", fw_old()),
        BTreeMap::from([("if-match".to_owned(), "*".to_owned())]),
        firewall.to_string().as_bytes(),
        "http://127.0.0.1".to_owned(),
    );
    let reply = world.answer(&ask);
    assert!(reply.status < 300, "{reply:?}");
    world.finish_on(&fw_old());
}

#[test]
fn nobodys_rule_is_lost_where_two_write_one_firewall() {
    let desk = Desk::new();
    let spec = Spec::edge(CLASSIC);
    desk.server.world().fault(Which::To("PUT", "azureFirewalls/fw-old"), 0..1, Fault::Meanwhile(add_collection));
    desk.apply(&spec);
    let names = || {
        let firewall = desk.server.world().resource(&fw_old()).expect("there");
        let all = firewall["properties"]["natRuleCollections"].as_array().expect("a list").clone();
        all.iter().map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["theirs", "late", "gangplank-warehouse"]);
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    assert_eq!(names(), ["theirs", "late"]);
}

#[test]
fn a_collection_that_is_not_ours_by_then_is_left_alone() {
    let desk = Desk::new();
    desk.server.world().fault(
        Which::To("PUT", "gangplank-warehouse"),
        0..1,
        Fault::Meanwhile(|world| {
            let mut firewall = world.resource(&fw_old()).expect("there");
            let collections = firewall["properties"]["natRuleCollections"].as_array_mut().expect("a list");
            collections.push(classic("gangplank-warehouse", 2000));
            let ask = ask(
                "PUT",
                &format!("{}?api-version={NET}", fw_old()),
                BTreeMap::from([("if-match".to_owned(), "*".to_owned())]),
                firewall.to_string().as_bytes(),
                "http://127.0.0.1".to_owned(),
            );
            assert!(world.answer(&ask).status < 300);
            world.finish_on(&fw_old());
        }),
    );
    let (run, _) = desk.run("apply", &Spec::edge(CLASSIC), &["--yes", "--no-verify"]);
    let run = run.expect(1);
    assert!(run.stderr.contains("not warehouse's by now"), "{run}");
}

#[test]
fn what_somebody_put_into_the_group_stays_with_it() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.apply(&spec);
    let theirs = net("rg-bastion", "publicIPAddresses/theirs");
    put(&mut desk.server.world(), &theirs, NET, &json!({"location": "westeurope", "sku": {"name": "Standard"}}));
    // The group's removal is not even planned.
    let (run, calls) = desk.run("destroy", &spec, &["--yes"]);
    assert!(calls.iter().all(|c| c.method != "DELETE" || c.path != group("rg-bastion")), "{run}");
    assert!(desk.server.world().resource(&theirs).is_some());
}

#[test]
fn a_look_takes_as_many_calls_in_a_crowd() {
    let desk = Desk::new();
    let spec = Spec::edge(HUB);
    let fresh = desk.run("plan", &spec, &[]).1;
    // Seven kinds and the groups; the rules of the firewall's policy; the sizes of machines.
    assert_eq!((fresh.len(), writes(&fresh)), (10, 0), "{fresh:#?}");
    for n in 0..30 {
        let body = json!({"location": "westeurope", "sku": {"name": "Standard"}});
        put(&mut desk.server.world(), &net("rg-shared", &format!("publicIPAddresses/crowd-{n}")), NET, &body);
    }
    assert_eq!(desk.run("plan", &spec, &[]).1.len(), fresh.len());
}

#[test]
fn a_saved_changeset_is_carried_out_or_refused() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    let file = desk.home.path().join("changes");
    let file_name = file.to_str().expect("a path");
    desk.run("plan", &spec, &["--out", file_name]).0.expect(0);
    let apply = |desk: &Desk| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.env_clear().env("HOME", desk.home.path()).arg("apply").arg(&file).args(["--yes", "--no-verify"]);
        desk.server.run(&mut command)
    };
    apply(&desk).expect(0);
    desk.assert_settled(&spec);
    let again = apply(&desk).expect(3);
    assert!(again.stderr.contains("the world has moved"), "{again}");
}

/// Each check's verdict, by its name.
fn verdicts(run: &Run) -> BTreeMap<String, String> {
    let found = run.json();
    let checks = found["bastions"][0]["checks"].as_array().unwrap_or_else(|| panic!("{found:#}")).clone();
    let of = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    checks.iter().map(|check| (of(check, "id"), of(check, "verdict"))).collect()
}

#[test]
fn the_machines_report_is_read_from_its_boot_diagnostics() {
    let desk = Desk::new();
    let spec = Spec::edge(STANDARD);
    desk.apply(&spec);
    let options = ["--no-network", "--output", "json"];

    // A console without a report, long after the start: that is a failure, and nothing is called well.
    let (silent, calls) = desk.run("verify", &spec, &options);
    let silent = verdicts(&silent.expect(4));
    assert_eq!(writes(&calls), 0);
    assert_eq!(silent.get("machine.report").map(String::as_str), Some("fail"));
    let well = |(name, verdict): (&String, &String)| verdict == "pass" && !name.starts_with("control.");
    assert!(!silent.iter().any(well), "nothing is called well but what Azure itself says: {silent:#?}");
    assert_eq!(silent.get("control.nothing-else").map(String::as_str), Some("pass"), "{silent:#?}");

    let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-bastion"));
    let tags = || desk.server.world().resource(&machine).expect("there")["tags"].clone();
    let boot = tags()["gangplank:boot"].as_str().expect("a tag").to_owned();
    let document = boot.split_whitespace().find_map(|part| part.strip_prefix("document=")).expect("a digest");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU";
    let report = json!({
        "gangplank": 1, "instance": "4f5c", "document": document, "why": "boot", "uptime": 1.0,
        "time": jiff::Timestamp::now().as_second(), "sshd": {"host_keys": [key]},
    });
    desk.server.world().print(&machine, &format!("login:\n{}", sealed(&report, document)));
    let (read, _) = desk.run("verify", &spec, &options);
    assert_eq!(verdicts(&read).get("machine.report").map(String::as_str), Some("pass"), "{read}");
    assert!(!read.stdout.contains("sig=") && !read.stderr.contains("sig="), "an address that is a secret\n{read}");

    // The end of an apply pins the key that was seen first, and no plan minds it.
    let (_, calls) = desk.run("apply", &spec, &["--yes", "--no-network", "--wait", "0"]);
    assert_eq!(writes(&calls), 1, "{calls:#?}");
    assert!(tags()["gangplank:host-key"].is_string(), "{:#}", tags());
    desk.assert_settled(&spec);
}

/// A report's line, as a machine writes it.
fn sealed(report: &Value, document: &str) -> String {
    let text = report.to_string();
    let sealed = text.strip_suffix('}').expect("an object");
    let digest = Sha256::digest(format!("{document}\n{sealed}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{sealed},\"sha256\":\"{digest}\"}}\n")
}

/// Sets tags on everything that carries gangplank's.
fn retag(world: &mut World, tags: &Value) {
    let owned = |world: &World, id: &String| {
        world.resource(id).is_some_and(|raw| raw.pointer("/tags/gangplank:bastion").is_some())
    };
    let ids: Vec<String> = world.ids().into_iter().filter(|id| owned(world, id)).collect();
    for id in ids {
        let path = format!("{id}/providers/Microsoft.Resources/tags/default?api-version=2021-04-01");
        let body = json!({"operation": "Merge", "properties": {"tags": tags}});
        let ask = ask("PATCH", &path, BTreeMap::new(), body.to_string().as_bytes(), "http://127.0.0.1".to_owned());
        let reply = world.answer(&ask);
        assert!(reply.status < 300, "{id}: {reply:?}");
    }
    // A resource group is not among the resources, and a PATCH sets all of its tags.
    let mut all = json!({"gangplank:bastion": "warehouse", "Name": "gangplank-warehouse"});
    if let (Some(all), Some(tags)) = (all.as_object_mut(), tags.as_object()) {
        all.extend(tags.clone());
    }
    let path = format!("{}?api-version=2021-04-01", group("rg-bastion"));
    let body = json!({"tags": all}).to_string();
    world.answer(&ask("PATCH", &path, BTreeMap::new(), body.as_bytes(), "http://127.0.0.1".to_owned()));
    world.finish();
}

impl Desk {
    /// Reaps the subscription, of whose plans it knows nothing.
    fn reap(&self, options: &[&str]) -> (Run, Vec<Call>) {
        self.server.world().calls.clear();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(self.home.path()).env_clear().env("HOME", self.home.path()).env("TZ", "UTC");
        command.args(["reap", "--subscription", SUBSCRIPTION, "--settle", "0m"]).args(options);
        let run = self.server.run(&mut command);
        let calls = std::mem::take(&mut self.server.world().calls);
        (run, calls)
    }
}

#[test]
fn what_is_past_its_deadline_is_reaped_without_its_plan() {
    for edge in [PUBLIC, STANDARD, HUB, CLASSIC] {
        let desk = Desk::new();
        desk.apply(&Spec::edge(edge));
        let (run, calls) = desk.reap(&["--yes"]);
        run.expect(0);
        assert_eq!(writes(&calls), 0, "it has its time");
        retag(&mut desk.server.world(), &json!({"gangplank:expires": "2020-02-29T12:00:00Z"}));
        let (run, calls) = desk.reap(&["--output", "json"]);
        let run = run.expect(2);
        assert_eq!(writes(&calls), 0, "{run}");
        assert_eq!(run.json()["bastions"][0]["why"], "expired", "{run}");
        desk.reap(&["--yes"]).0.expect(0);
        desk.assert_only_foreign();
        desk.reap(&["--yes"]).0.expect(0);
    }
}

/// Somebody has removed the machine: what is left leads nowhere, the rules in somebody's firewall among it.
#[test]
fn what_has_lost_its_machine_is_reaped() {
    for edge in [HUB, CLASSIC] {
        let desk = Desk::new();
        desk.apply(&Spec::edge(edge));
        let machine = desk.server.world().ids().into_iter().find(|id| id.to_lowercase().contains("/virtualmachines/"));
        let machine = format!("{}?api-version=2024-07-01", machine.expect("a machine"));
        let ask = ask("DELETE", &machine, BTreeMap::new(), b"", "http://127.0.0.1".to_owned());
        assert!(desk.server.world().answer(&ask).status < 300);
        desk.server.world().finish();
        // It was made just now, as far as its tags say: an apply may be at it.
        let (run, calls) = desk.reap(&["--yes"]);
        run.expect(0);
        assert_eq!(writes(&calls), 0);
        retag(
            &mut desk.server.world(),
            &json!({"gangplank:expires": "2999-01-01T00:00:00Z", "gangplank:lifetime": "32000000000"}),
        );
        desk.reap(&["--yes"]).0.expect(0);
        desk.assert_only_foreign();
    }
}
