//! What is Azure's own in a bastion's life, through the program as people run it: every edge, somebody's firewall that others write
//! too, a resource group with something else in it. What both clouds keep is in `contract/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    company::{self, NET, begin, change, classic, company, group, net, put, send},
    fault::{Fault, Which},
    http::{Server, ask},
    role,
    world::{Call, SUBSCRIPTION, World},
};
use crate::{
    azure::plans::{CLASSIC, EDGES, HUB, PUBLIC, STANDARD, Spec},
    support::{Moment, program::Run},
};

/// A subscription with a company's network and firewalls, and somebody at a command line.
pub(super) struct Desk {
    pub(super) server: Server,
    home: TempDir,
    /// What is not ours, as it was.
    foreign: BTreeMap<String, Value>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self::at(company())
    }

    /// With a bastion that an earlier run made, say.
    fn at(world: World) -> Self {
        let foreign = foreign(&company());
        Self { server: Server::start(world), home: TempDir::new().expect("a temporary folder"), foreign }
    }

    pub(super) fn plan(&self, spec: &Spec) -> PathBuf {
        let path = self.home.path().join("warehouse.yaml");
        fs::write(&path, spec.text()).expect("a writable folder");
        path
    }

    /// Runs a verb on a plan, and returns the calls that it made.
    #[track_caller]
    pub(super) fn run(&self, verb: &str, spec: &Spec, options: &[&str]) -> (Run, Vec<Call>) {
        let path = self.plan(spec);
        self.server.world().calls.clear();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(self.home.path()).env_clear().env("HOME", self.home.path()).env("TZ", "UTC");
        command.arg(verb).arg(path).args(options);
        let run = self.server.run(&mut command);
        let mut world = self.server.world();
        assert_eq!(world.mistakes, [""; 0], "Microsoft's schemas refuse it\n{run}");
        let calls = std::mem::take(&mut world.calls);
        assert_eq!(role::refuses(&calls), BTreeSet::new(), "the documented role refuses it\n{run}");
        (run, calls)
    }

    #[track_caller]
    pub(super) fn apply(&self, spec: &Spec) -> Vec<Call> {
        let (run, calls) = self.run("apply", spec, &["--yes", "--no-verify"]);
        run.expect(0);
        calls
    }

    /// The plan says that there is nothing to do, and asks only.
    #[track_caller]
    pub(super) fn assert_settled(&self, spec: &Spec) {
        let (run, calls) = self.run("plan", spec, &["--detailed-exitcode"]);
        run.expect(0);
        assert_eq!(writes(&calls), 0);
    }

    /// The steps that a plan shows.
    #[track_caller]
    pub(super) fn steps(&self, spec: &Spec) -> Vec<Value> {
        let (run, calls) = self.run("plan", spec, &["--output", "json"]);
        let run = run.expect(0);
        assert_eq!(writes(&calls), 0, "{run}");
        let sets = run.json();
        let sets = sets["bastions"].as_array().unwrap_or_else(|| panic!("{sets:#}")).clone();
        sets.iter().flat_map(|set| set["steps"].as_array().expect("steps").clone()).collect()
    }

    /// Nothing but what was there is there, as it was.
    #[track_caller]
    pub(super) fn assert_only_foreign(&self) {
        // A firewall of somebody's may still be at what it was told.
        self.server.world().finish_on(&fw_old());
        let now = foreign(&self.server.world());
        for (id, raw) in &now {
            assert_eq!(Some(raw), self.foreign.get(id), "{id}");
        }
        assert_eq!(now.len(), self.foreign.len());
    }
}

pub(super) fn writes(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.is_write()).count()
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

fn fw_old() -> String {
    net("rg-hub", "azureFirewalls/fw-old")
}

/// Somebody adds a collection to the shared firewall between our read and our write.
fn add_collection(world: &mut World) {
    change(world, &fw_old(), NET, |firewall| {
        let collections = firewall["properties"]["natRuleCollections"].as_array_mut().expect("a list");
        collections.push(classic("late", 2000));
    });
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
            change(world, &fw_old(), NET, |firewall| {
                let collections = firewall["properties"]["natRuleCollections"].as_array_mut().expect("a list");
                collections.push(classic("gangplank-warehouse", 2000));
            });
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
    // Whose subscription it is; ten kinds, the groups, what the machines are at; the rules of the firewall's policy; the sizes of
    // machines, and the quotas.
    assert_eq!((fresh.len(), writes(&fresh)), (16, 0), "{fresh:#?}");
    for n in 0..30 {
        let body = json!({"location": "westeurope", "sku": {"name": "Standard"}});
        put(&mut desk.server.world(), &net("rg-shared", &format!("publicIPAddresses/crowd-{n}")), NET, &body);
    }
    assert_eq!(desk.run("plan", &spec, &[]).1.len(), fresh.len());
}

/// What lists show is enough for a plan; the user data itself is a verification's to read, once for each bastion.
#[test]
fn user_data_that_was_changed_beside_its_tag_is_found_by_a_verification() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.apply(&spec);
    let options = ["--no-network", "--output", "json"];
    let verdict = |desk: &Desk| {
        let (run, calls) = desk.run("verify", &spec, &options);
        let reads = calls.iter().filter(|c| {
            c.method == "GET"
                && c.path.starts_with("/subscriptions/")
                && c.path.ends_with("virtualMachines/gangplank-warehouse")
        });
        assert_eq!(reads.count(), 1, "{calls:#?}");
        (verdicts(&run).get("control.metadata").cloned(), run)
    };
    assert_eq!(verdict(&desk).0.as_deref(), Some("pass"));

    let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-bastion"));
    // A whole set with the key of somebody else's, as the machine would take it.
    let theirs = Spec { keys: [2].into(), ..spec.clone() }.read();
    let theirs = gangplank::provider::azure::keys::user_data(&theirs.plan, None).expect("live keys");
    let patch = |user_data: &str| {
        let body = json!({"properties": {"userData": Base64::encode_string(user_data.as_bytes())}});
        send(&mut desk.server.world(), "PATCH", &machine, "2024-07-01", Some(&body));
    };
    patch(&theirs);
    let (found, run) = verdict(&desk);
    assert_eq!(found.as_deref(), Some("fail"));
    assert!(run.stdout.contains("other keys") && run.stdout.contains("gangplank:keys="), "{run}");
    patch("nonsense");
    let (found, run) = verdict(&desk);
    assert_eq!(found.as_deref(), Some("fail"));
    assert!(run.stdout.contains("not one whole set"), "{run}");

    // As the verdict says: without the tag a plan sees it, and an apply repairs it.
    desk.assert_settled(&spec);
    company::tag(&mut desk.server.world(), &machine, "gangplank:keys", None);
    desk.apply(&spec);
    assert_eq!(verdict(&desk).0.as_deref(), Some("pass"));
}

/// Somebody gives the machine a tag between our read and our write: a PATCH of Azure's sets all tags.
#[test]
fn tags_of_others_outlive_a_change_of_keys() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.apply(&spec);
    let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-bastion"));
    company::tag(&mut desk.server.world(), &machine, "cost-centre", Some("42"));
    desk.apply(&Spec { keys: [1].into(), ..spec });
    let tags = desk.server.world().resource(&machine).expect("there")["tags"].clone();
    assert_eq!(tags["cost-centre"], "42", "{tags:#}");
    assert_eq!(tags["team"], "data", "{tags:#}");
}

/// A machine that has the bastion's name and lost its tag is a doubt to `status`.
#[test]
fn status_names_a_machine_that_lost_its_tag() {
    let desk = Desk::new();
    let spec = Spec::edge(PUBLIC);
    desk.apply(&spec);
    desk.run("status", &spec, &[]).0.expect(0);
    let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group("rg-bastion"));
    for value in [None, Some("other")] {
        company::tag(&mut desk.server.world(), &machine, "gangplank:bastion", value);
        let run = desk.run("status", &spec, &[]).0.expect(2);
        assert!(run.stdout.contains("in doubt") && run.stdout.contains("virtualMachines/gangplank-warehouse"), "{run}");
    }
}

/// Where `status` is in doubt, `destroy` takes nothing from the machine that may be the bastion's, and `reap` names it, however fresh it is.
#[test]
fn destroy_and_reap_are_in_doubt_where_status_is() {
    for edge in [PUBLIC, CLASSIC, HUB] {
        let of = if Spec::edge(edge).shared_group { "rg-shared" } else { "rg-bastion" };
        let machine = format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-warehouse", group(of));
        let of_network = |rest: &str| net(of, &format!("{rest}/gangplank-warehouse"));
        let (interface, security) = (of_network("networkInterfaces"), of_network("networkSecurityGroups"));
        for parts in [&[&machine][..], &[&machine, &interface, &security]] {
            let desk = Desk::new();
            let spec = Spec::edge(edge);
            desk.apply(&spec);
            for value in [Some("other"), None] {
                for id in parts {
                    company::tag(&mut desk.server.world(), id, "gangplank:bastion", value);
                }
                desk.run("status", &spec, &[]).0.expect(2);
                let (run, calls) = desk.run("destroy", &spec, &["--yes"]);
                let run = run.expect(3);
                assert_eq!(writes(&calls), 0, "{run}");
                assert!(!run.stdout.contains("nothing is left"), "{run}");
                let flat = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(parts.iter().all(|id| flat.contains(&format!("az tag update --resource-id {id}"))), "{run}");
                assert!(flat.contains(&format!("az vm delete --ids {machine}")), "{run}");
                let (run, calls) = desk.reap(&["--yes"]);
                let run = run.expect(2);
                assert_eq!(writes(&calls), 0, "{run}");
                assert!(run.stdout.contains("virtual machine gangplank-warehouse"), "{run}");
                assert!(run.stdout.contains("look at it"), "{run}");
            }
            for id in parts {
                company::tag(&mut desk.server.world(), id, "gangplank:bastion", Some("warehouse"));
            }
            desk.run("destroy", &spec, &["--yes"]).0.expect(0);
            desk.assert_only_foreign();
        }
    }
}

/// Somebody's firewall is still at work, on what a killed run or somebody else has told it: it is waited for, in words, before it is
/// written to, and nothing is called in order before.
#[test]
fn somebodys_firewall_that_is_still_at_work_is_waited_for() {
    let spec = Spec::edge(CLASSIC);
    let firewall = |desk: &Desk| desk.server.world().resource(&fw_old()).expect("there");
    let is_at_work = |desk: &Desk| firewall(desk)["properties"]["provisioningState"] == "Updating";
    // Its time passes by looks at itself alone, from the second on.
    let hold = |desk: &Desk| {
        let mut world = desk.server.world();
        world.by_hand = true;
        begin(&mut world, &fw_old());
        world.fault(
            Which::To("GET", "azureFirewalls/fw-old"),
            2..3,
            Fault::Meanwhile(|world| {
                world.by_hand = false;
                world.finish_on(&fw_old());
            }),
        );
    };
    let awaited = "firewall fw-old: waiting for Microsoft.Network/azureFirewalls/fw-old to be ready";
    let desk = Desk::new();
    desk.apply(&spec);
    let spec = Spec { sources: [0, 1].into(), ..spec };
    hold(&desk);
    assert!(is_at_work(&desk));
    let (run, calls) = desk.run("apply", &spec, &["--yes", "--no-verify"]);
    let run = run.expect(0);
    assert!(run.stderr.contains("waiting for Microsoft.Network/azureFirewalls/fw-old to be ready"), "{run}");
    let written = calls.iter().filter(|call| call.is_write()).map(|call| call.status).collect::<Vec<_>>();
    assert_eq!(written, [Some(200)], "not refused: it was waited for");
    desk.server.world().heal();
    desk.assert_settled(&spec);

    // Our rule stands, and may not be in force yet.
    hold(&desk);
    let steps = desk.steps(&spec);
    assert_eq!(steps.len(), 1, "{steps:#?}");
    let (run, calls) = desk.run("apply", &spec, &["--yes", "--no-verify"]);
    let run = run.expect(0);
    assert!(run.stderr.contains(awaited), "{run}");
    assert_eq!(writes(&calls), 0);
    desk.server.world().heal();
    desk.assert_settled(&spec);

    // It is killed once the firewall has taken the removal in, and may still be in force.
    desk.server.world().by_hand = true;
    desk.server.world().fault(Which::To("PUT", "azureFirewalls/fw-old"), 0..1, Fault::Kill(Moment::After));
    assert_eq!(desk.run("destroy", &spec, &["--yes"]).0.code(), None);
    desk.server.world().heal();
    desk.server.world().by_hand = false;
    // What has begun by then ends while it is waited for.
    let ends = Fault::Meanwhile(World::finish);
    desk.server.world().fault(Which::To("GET", "azureFirewalls/fw-old"), 2..3, ends);
    desk.run("destroy", &spec, &["--yes"]).0.expect(0);
    desk.server.world().heal();
    assert!(!is_at_work(&desk));
    hold(&desk);
    let (run, calls) = desk.run("destroy", &spec, &["--yes"]);
    let run = run.expect(0);
    assert!(run.stderr.contains(awaited), "{run}");
    assert_eq!(writes(&calls), 0);
    assert!(!is_at_work(&desk));
    desk.server.world().heal();
    desk.assert_only_foreign();
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
        for (key, value) in tags.as_object().into_iter().flatten() {
            company::tag(world, &id, key, value.as_str());
        }
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
    pub(super) fn reap(&self, options: &[&str]) -> (Run, Vec<Call>) {
        self.server.world().calls.clear();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(self.home.path()).env_clear().env("HOME", self.home.path()).env("TZ", "UTC");
        command.args(["reap", "--subscription", SUBSCRIPTION, "--settle", "0m"]).args(options);
        let run = self.server.run(&mut command);
        let calls = std::mem::take(&mut self.server.world().calls);
        (run, calls)
    }
}

/// Tags that tell different ends are named with their resources, by the plan's refusal and by the check.
#[test]
fn who_tells_which_end_is_named() {
    let desk = Desk::new();
    let spec = Spec { deadline: "lifetime: 30d", ..Spec::edge(PUBLIC) };
    desk.apply(&spec);
    let all = json!({"gangplank:expires": "2020-02-29T12:00:00Z", "gangplank:lifetime": "2592000"});
    retag(&mut desk.server.world(), &all);
    let security = net("rg-bastion", "networkSecurityGroups/gangplank-warehouse");
    company::tag(&mut desk.server.world(), &security, "gangplank:expires", Some("2020-03-01T12:00:00Z"));
    let plan = desk.run("plan", &spec, &[]).0.expect(3);
    let verify = desk.run("verify", &spec, &["--no-network"]).0.expect(4);
    for told in [plan.stderr, verify.stdout] {
        let flat = told.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "virtual machine gangplank-warehouse with",
            "2020-03-01T12:00:00Z",
            "2020-02-29T12:00:00Z",
            "gangplank:expires",
        ] {
            assert!(flat.contains(words), "{words}\n{told}");
        }
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
