//! The end of a bastion, from the command line, in the sandbox of both clouds.

use std::{path::Path, process::Command};

use gangplank::sandbox::company;
use serde_json::Value;

const ANA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIoWFzXAFtSMEHFpBKF7D5mmpVeWSS6QDMs53bDMIZb";

/// The text that a command prints.
fn run(home: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    let output = command.current_dir(home).args(words).arg("--sandbox=sandbox").output().expect("the program");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}:\n{said}\n{why}");
    said.into_owned()
}

fn json(home: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&run(home, &[words, &["--output", "json"]].concat())).expect("JSON")
}

/// By bastion, what its machine is at; nothing where there is none.
fn states(home: &Path) -> Vec<(String, String)> {
    let status = json(home, &["status", "plans"]);
    let bastions = status["bastions"].as_array().expect("bastions");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = |bastion: &Value| (text(&bastion["bastion"]), text(&bastion["instances"][0]["state"]));
    bastions.iter().map(state).collect()
}

fn pairs(pairs: [(&str, &str); 2]) -> Vec<(String, String)> {
    pairs.map(|(bastion, state)| (bastion.to_owned(), state.to_owned())).into()
}

#[test]
fn machines_end_at_the_deadline_and_not_before_one_that_was_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path();
    std::fs::create_dir(home.join("plans")).expect("a folder");
    for (name, text) in company::plans(ANA, "") {
        std::fs::write(home.join("plans").join(name), text).expect("a plan");
    }
    run(home, &["apply", "--yes", "plans"]);

    // By themselves they would end after 30 and 90 days.
    let said = run(home, &["extend", "--by", "90d", "--yes", "plans"]);
    assert!(said.contains("gangplank:extended"), "{said}");
    run(home, &["plan", "--detailed-exitcode", "plans"]);
    run(home, &["sandbox", "advance", "91d"]);
    assert_eq!(states(home), pairs([("sales", "running"), ("warehouse", "running")]));
    let verified = run(home, &["verify", "--no-network", "--output", "json", "plans"]);
    let verified: Value = serde_json::from_str(&verified).expect("JSON");
    for bastion in verified["bastions"].as_array().expect("bastions") {
        let deadline = bastion["checks"].as_array().expect("checks").iter().find(|c| c["id"] == "machine.deadline");
        assert_eq!(deadline.map(|check| &check["verdict"]), Some(&Value::from("pass")), "{bastion:#}");
    }
    // Moved again, to the second that the machine is told: Azure tells it in the user data, which no list shows.
    run(home, &["shorten", "--by", "1d", "--yes", "plans"]);
    run(home, &["plan", "--detailed-exitcode", "plans"]);

    run(home, &["sandbox", "advance", "30d"]);
    assert_eq!(states(home), pairs([("sales", "stopped"), ("warehouse", "running")]));
    run(home, &["sandbox", "advance", "60d"]);
    run(home, &["sandbox", "advance", "10m"]);
    let after = states(home);
    assert_eq!(after[0], ("sales".to_owned(), "stopped".to_owned()));
    assert!(["", "terminated"].contains(&after[1].1.as_str()), "{after:?}");
    run(home, &["destroy", "--yes", "plans"]);
}
