//! Real signals to a real process: this test binary, started again to run one test of its own.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use gangplank::execute::{EXIT_INTERRUPTED, Stop, on_signals};

/// Tells the process what its work does after the first signal; without it there is nothing to do.
const AFTER_THE_FIRST: &str = "GANGPLANK_TEST_AFTER_THE_FIRST_SIGNAL";

/// The process that gets the signals.
#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn a_run_that_waits() {
    let Ok(after_the_first) = std::env::var(AFTER_THE_FIRST) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stop = Stop::new();
    runtime
        .block_on(on_signals(&stop, async {
            println!("\nready");
            stop.requested().await;
            println!("stopping");
            if after_the_first == "go on" {
                std::future::pending::<()>().await;
            }
        }))
        .unwrap();
}

fn start(after_the_first: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "signals::a_run_that_waits", "--ignored", "--nocapture"])
        .env(AFTER_THE_FIRST, after_the_first)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn wait_for(line: &str, lines: &mut Lines<BufReader<ChildStdout>>) {
    assert!(lines.any(|l| l.unwrap() == line), "the process ended without saying {line}");
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_first_signal_lets_the_work_end() {
    let (mut child, mut lines) = start("end");
    wait_for("ready", &mut lines);
    signal("-TERM", &child);
    wait_for("stopping", &mut lines);
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_second_signal_ends_the_process() {
    let (mut child, mut lines) = start("go on");
    wait_for("ready", &mut lines);
    signal("-INT", &child);
    wait_for("stopping", &mut lines);
    signal("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(EXIT_INTERRUPTED));
}
