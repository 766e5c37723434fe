//! The log: each call to a cloud in a line, where it is asked for and nowhere else.

use std::{collections::BTreeSet, fs};

use super::Desk;

/// The value of a field in a line of the log, without quotes.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_once(&format!(" {name}="))?.1.split(' ').next().map(|value| value.trim_matches('"'))
}

#[test]
fn each_call_is_a_line_with_its_status_time_and_request_id() {
    let desk = Desk::new();
    let quiet = desk.play(&["plan", "plans"]).expect(0);
    let logged = desk.play(&["plan", "plans", "--verbose"]).expect(0);
    assert_eq!(quiet.stdout, logged.stdout, "the log is on stderr alone");
    assert!(!quiet.stderr.contains("service="), "{quiet}");
    let calls: Vec<&str> = logged.stderr.lines().filter(|line| line.contains(" call ")).collect();
    let asked: BTreeSet<&str> = calls.iter().filter_map(|line| field(line, "operation")).collect();
    for operation in ["GetCallerIdentity", "DescribeInstances", "DescribeSecurityGroups"] {
        assert!(asked.contains(operation), "{operation}: {logged}");
    }
    for service in ["EC2", "STS", "Azure"] {
        assert!(calls.iter().any(|line| field(line, "service") == Some(service)), "{service}: {logged}");
    }
    for line in calls {
        let number = |name: &str| field(line, name).and_then(|value| value.parse::<u64>().ok());
        assert!(number("status") >= Some(200) && number("ms").is_some(), "{line}");
        assert!(field(line, "request_id").is_some_and(|id| id != "none"), "{line}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_takes_the_log_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    use crate::support::program::{Victim, run};

    let desk = Desk::new();
    let log = desk.path("calls.log");
    let mut command = desk.command(&["apply", "plans", "--yes", "--sandbox"]);
    let applied = run(command.env("GANGPLANK_LOG", &log), &Victim::default()).expect(0);
    assert!(!applied.stderr.contains("service="), "{applied}");
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("operation=\"RunInstances\""), "{text}");
    // What is awaited and repeated is told, too.
    assert!(text.lines().any(|line| line.contains("DEBUG") && line.contains("waiting")), "{text}");
    assert!(!text.contains("PRIVATE KEY") && !text.contains("Bearer "), "{text}");
    assert_eq!(fs::metadata(&log).expect("a log").permissions().mode() & 0o777, 0o600);
    let refused =
        run(desk.command(&["plan", "plans"]).env("GANGPLANK_LOG", desk.path("none/calls.log")), &Victim::default());
    assert!(refused.expect(1).stderr.contains("GANGPLANK_LOG"));
}
