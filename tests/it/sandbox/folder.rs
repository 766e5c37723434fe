//! A folder of bastions in every state, on both clouds: each is told with its word, and none keeps a verb from the others.

use std::fs;

use gangplank::sandbox::{
    cloud::{Sandbox, State},
    company,
    http::Ask,
};
use serde_json::Value;

use super::{Desk, FOLDER};
use crate::support::program::Run;

/// The one that has ended, the one that is fine, the one that nobody has applied: on each cloud.
const ENDED: [&str; 2] = ["ended-a", "ended-z"];
const FINE: [&str; 2] = ["fine-a", "fine-z"];
const ABSENT: [&str; 2] = ["absent-a", "absent-z"];
/// On AWS: without its machine, and with a subnet that is not there.
const PARTIAL: &str = "partial";
const IMPOSSIBLE: &str = "impossible";

fn desk() -> Desk {
    let desk = Desk::new();
    fs::create_dir(desk.path("fleet")).unwrap();
    let [aws, azure] =
        ["warehouse", "sales"].map(|name| fs::read_to_string(desk.path(&format!("plans/{name}.yaml"))).unwrap());
    let mut port = 2200;
    let mut write = |name: &str, lifetime: &str| {
        port += 1;
        let text = if name.ends_with("-z") { &azure } else { &aws };
        let (life, text): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("lifetime:"));
        assert_eq!(life.len(), 1);
        let text = text.join("\n").replace("name: warehouse\n", &format!("name: {name}\n"));
        let text = text.replace("name: sales\n", &format!("name: {name}\n"));
        let text = format!("{text}\nlifetime: {lifetime}\nssh: {{port: {port}}}\n");
        fs::write(desk.path(&format!("fleet/{name}.yaml")), text).unwrap();
    };
    ENDED.into_iter().for_each(|name| write(name, "1h"));
    FINE.into_iter().chain(ABSENT).chain([PARTIAL, IMPOSSIBLE]).for_each(|name| write(name, "90d"));
    let impossible = desk.path("fleet/impossible.yaml");
    let text = fs::read_to_string(&impossible).unwrap();
    let subnet = text.lines().find(|line| line.contains("subnet: ")).unwrap().to_owned();
    fs::write(&impossible, text.replace(&subnet, "  subnet: subnet-00000000000000000")).unwrap();
    fs::write(desk.path("fleet/broken.yaml"), "version: 1\nname: [\n").unwrap();
    desk
}

/// The machine of a bastion on AWS ends, by somebody's hand.
fn terminate(desk: &Desk, bastion: &str) {
    let status = desk.play(&["status", "--output", "json", &file(bastion)]).expect(0).json();
    let id = status["bastions"][0]["instances"][0]["id"].as_str().unwrap().to_owned();
    let sandbox = Sandbox::open(&desk.path(FOLDER), State::company).unwrap();
    let ask = Ask {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        body: format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={id}").into_bytes(),
        headers: [("authorization".to_owned(), company::SOMEBODY.to_owned())].into(),
        ..Ask::default()
    };
    assert_eq!(sandbox.change(|state, now| state.ec2.answer(now, &ask)).status, 200);
    sandbox.keep().unwrap();
}

fn file(bastion: &str) -> String {
    format!("fleet/{bastion}.yaml")
}

/// The row of a bastion, or of a file.
#[track_caller]
fn row<'a>(run: &'a Run, of: &str) -> &'a str {
    let text = if run.stdout.is_empty() { &run.stderr } else { &run.stdout };
    text.lines().find(|line| line.contains(&format!("fleet/{of}.yaml"))).unwrap_or_else(|| panic!("no {of} in {run}"))
}

fn conditions(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = document["left_out"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    all.iter().map(|one| (text(&one["plan"]), text(&one["condition"]))).collect()
}

#[track_caller]
fn assert_left_out(run: &Run) {
    for ended in ENDED {
        assert!(row(run, ended).contains("ended 2 hours ago: `gangplank destroy fleet/"), "{run}");
    }
    assert!(row(run, IMPOSSIBLE).contains("can't be fulfilled: no such subnet"), "{run}");
    assert!(row(run, "broken").contains("the file is no plan: "), "{run}");
    for why in ["the bastion's time is up", "no such subnet"] {
        assert!(run.stderr.contains(why), "{run}");
    }
}

#[test]
fn each_bastion_of_a_folder_is_told_and_none_keeps_a_verb_from_the_others() {
    let desk = desk();
    desk.play(&["plan", &file(FINE[0])]).expect(0);
    let before = desk.inventory();
    let there: Vec<String> = ENDED.into_iter().chain(FINE).chain([PARTIAL]).map(file).collect();
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    desk.play(&[&["apply", "--yes", "--no-verify"], there.as_slice()].concat()).expect(0);
    desk.play(&["sandbox", "advance", "3h"]).expect(0);
    terminate(&desk, PARTIAL);

    let plan = desk.play(&["plan", "fleet"]).expect(3);
    assert_left_out(&plan);
    for fine in FINE {
        assert!(row(&plan, fine).contains("no changes"), "{plan}");
    }
    let json = desk.play(&["plan", "--output", "json", "--detailed-exitcode", "fleet"]).expect(3).json();
    let ready: Vec<&str> = json["bastions"].as_array().unwrap().iter().filter_map(|b| b["name"].as_str()).collect();
    assert_eq!(ready, [ABSENT[0], ABSENT[1], FINE[0], FINE[1], PARTIAL]);
    let left_out = [("ended-a", "ended"), ("ended-z", "ended"), ("impossible", "unfulfillable"), ("broken", "broken")];
    let left_out = left_out.map(|(name, condition)| (file(name), condition.to_owned()));
    assert_eq!(conditions(&json), left_out);
    assert!(desk.play(&["plan", "--output", "markdown", "fleet"]).expect(3).stdout.contains("Left out:"));
    // A changeset of some of the plans is none.
    let unsaved = desk.play(&["plan", "--out", "saved.json", "fleet"]).expect(3);
    assert!(unsaved.stderr.contains("Nothing was saved") && !desk.path("saved.json").exists(), "{unsaved}");

    let drift = desk.play(&["drift", "fleet"]).expect(3);
    assert_left_out(&drift);
    for absent in ABSENT {
        assert!(row(&drift, absent).ends_with("not there"), "{drift}");
    }
    assert!(row(&drift, FINE[0]).ends_with("as the plan says"), "{drift}");
    // What has ended is no mistake in a plan.
    desk.play(&["drift", &file(ENDED[0]), &file(FINE[0])]).expect(2);

    let status = desk.play(&["status", "fleet"]).expect(3);
    assert!(row(&status, "broken").contains("the file is no plan"), "{status}");
    assert!(status.stdout.contains("not there") && status.stdout.contains("ended"), "{status}");
    let verify = desk.play(&["verify", "--no-network", "--output", "json", "fleet"]).expect(3).json();
    assert_eq!(verify["bastions"].as_array().map(Vec::len), Some(8));
    assert_eq!(conditions(&verify), [(file("broken"), "broken".to_owned())]);
    let handoff = desk.play(&["handoff", "--no-network", "fleet"]).expect(3);
    assert!(handoff.stdout.contains(FINE[0]) && handoff.stderr.contains("broken.yaml"), "{handoff}");

    let extend = desk.play(&["extend", "--by", "1d", "--yes", "fleet"]).expect(3);
    assert!(row(&extend, ABSENT[0]).contains("can't be fulfilled: there is no such bastion"), "{extend}");
    assert!(row(&extend, ENDED[1]).contains("the bastion's time is up"), "{extend}");
    assert!(extend.stderr.contains("Looked again"), "{extend}");

    let apply = desk.play(&["apply", "--yes", "--no-verify", "fleet"]).expect(3);
    assert_left_out(&apply);
    assert!(apply.stderr.contains("4 of 9 plans are left out"), "{apply}");
    let done: Vec<String> = FINE.into_iter().chain(ABSENT).chain([PARTIAL]).map(file).collect();
    let done: Vec<&str> = done.iter().map(String::as_str).collect();
    desk.play(&[&["plan", "--detailed-exitcode"], done.as_slice()].concat()).expect(0);

    let destroy = desk.play(&["destroy", "--yes", "fleet"]).expect(3);
    assert!(row(&destroy, "broken").contains("the file is no plan"), "{destroy}");
    assert_eq!(desk.inventory(), before);

    // The clouds' logs tell of it a while later.
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let gone = desk.play(&["drift", &file(FINE[0]), &file(FINE[1])]).expect(2);
    for fine in FINE {
        assert!(row(&gone, fine).contains("not there: destroyed by gangplank, as "), "{gone}");
    }
}

/// Somebody opens the port, and somebody else has edited the plan.
#[test]
fn drift_tells_what_was_done_in_the_cloud_from_what_is_not_applied_yet() {
    let desk = Desk::new();
    let plan = "plans/warehouse.yaml";
    desk.play(&["apply", "--yes", "--no-verify", plan]).expect(0);
    let sandbox = Sandbox::open(&desk.path(FOLDER), State::company).unwrap();
    assert_eq!(sandbox.change(company::open_to_the_world).status, 200);
    sandbox.keep().unwrap();
    drop(sandbox);
    let causes = || {
        let run = desk.play(&["drift", "--output", "json", plan]).expect(2).json();
        let all = run["bastions"][0]["differences"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .map(|one| (text(&one["what"]), text(&one["cause"])))
            .filter(|(_, cause)| !cause.is_empty())
            .collect::<Vec<_>>()
    };
    // The log does not tell of it yet: nobody is acquitted.
    let rules = "ingress rules of gangplank-warehouse";
    assert_eq!(causes(), [(rules.to_owned(), "undetermined".to_owned())]);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    assert_eq!(causes(), [(rules.to_owned(), "cloud".to_owned())]);
    desk.play(&["apply", "--yes", "--no-verify", plan]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let text = fs::read_to_string(desk.path(plan)).unwrap();
    fs::write(desk.path(plan), format!("{text}tags: {{team: data}}\n").replace("t4g.nano", "t4g.micro")).unwrap();
    let causes = causes();
    assert!(causes.iter().any(|(what, cause)| what.starts_with("tags of") && cause == "plan"), "{causes:?}");
    let human = desk.play(&["drift", plan]).expect(2);
    assert!(human.stdout.contains("In the plan and not applied yet:"), "{human}");
}
