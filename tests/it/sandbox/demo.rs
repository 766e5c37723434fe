//! `gangplank demo`: every step is checked by the demonstration itself; here is what lies around it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;

use super::Desk;
use crate::support::program::{Victim, run};

fn demo(desk: &Desk, temporary: &TempDir, args: &[&str]) -> Command {
    let mut command = desk.command(&[&["demo"], args].concat());
    command.env("TMPDIR", temporary.path()).env("TEMP", temporary.path()).env("TMP", temporary.path());
    command
}

fn is_empty(folder: &TempDir) -> bool {
    fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[test]
fn in_ci_it_is_short_and_leaves_nothing() {
    let (desk, temporary) = (Desk::new(), TempDir::new().unwrap());
    let shown = run(demo(&desk, &temporary, &[]).env("CI", "true"), &Victim::default()).expect(0);
    assert!(shown.stdout.lines().count() < 20, "{shown}");
    assert_eq!(shown.stderr, "");
    for verb in ["plan", "apply", "verify", "handoff", "drift", "destroy"] {
        assert!(shown.stdout.contains(&format!("gangplank {verb} ")), "{shown}");
    }
    assert!(is_empty(&temporary));
}

#[test]
fn what_is_kept_can_be_used() {
    let (desk, temporary) = (Desk::new(), TempDir::new().unwrap());
    let shown = run(&mut demo(&desk, &temporary, &["--keep", "kept"]), &Victim::default()).expect(0);
    assert!(shown.stdout.lines().count() < 300, "{shown}");
    assert!(shown.stdout.contains("lines left out: --full shows them"), "{shown}");
    assert!(is_empty(&temporary));

    let page = fs::read_to_string(desk.path("kept/handoff.html")).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let page = roxmltree::Document::parse_with_options(&page, options).unwrap();
    assert!(page.descendants().any(|node| node.has_tag_name("svg")) || page.root_element().has_tag_name("html"));
    assert!(page.descendants().any(|node| node.text().is_some_and(|text| text.contains("warehouse.internal"))));

    // Weeks would mean that it waits for something that does not come.
    let calls = fs::read_to_string(desk.path("kept/sandbox/calls.jsonl")).unwrap();
    let times: Vec<Timestamp> = calls
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["time"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times[times.len() - 1].duration_since(times[0]) < SignedDuration::from_hours(3), "{times:?}");

    desk.run(&["plan", "--detailed-exitcode", "--sandbox=kept/sandbox", "kept/plans"]).expect(2);
    let refused = run(&mut demo(&desk, &temporary, &["--keep", "kept"]), &Victim::default()).expect(1);
    assert!(refused.stderr.contains("making the new folder kept"), "{refused}");
    assert!(desk.path("kept/plans").exists() && desk.path("kept/sandbox/sandbox.json").exists());
}

#[cfg(unix)]
#[test]
fn interrupted_it_leaves_nothing() {
    let (desk, temporary) = (Desk::new(), TempDir::new().unwrap());
    let mut command = demo(&desk, &temporary, &["--quiet"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with(" 2. ")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.len() < 3, "{rest:?}");
    assert!(is_empty(&temporary));
}
