//! Real signals to a real process: this test binary, started again to run one test of its own.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
};

use gangplank::stop::on_signals;

/// Asks the process to exist for a test.
const IN_A_PROCESS: &str = "GANGPLANK_TEST_SIGNALS";

/// The process that gets the signals. Its only other thread is blocked for good.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn a_process_that_blocks() {
    if std::env::var_os(IN_A_PROCESS).is_none() {
        return;
    }
    on_signals(|number| {
        println!("\nsignal {number}");
        if number == 2 {
            std::process::exit(7);
        }
    })
    .unwrap();
    println!("\nready");
    loop {
        std::thread::park();
    }
}

fn start() -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "signals::a_process_that_blocks", "--ignored", "--nocapture"])
        .env(IN_A_PROCESS, "1")
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
fn signals_are_heard_whatever_else_is_blocked() {
    let (mut child, mut lines) = start();
    wait_for("ready", &mut lines);
    signal("-TERM", &child);
    wait_for("signal 1", &mut lines);
    signal("-INT", &child);
    wait_for("signal 2", &mut lines);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
