//! Texts of clouds and of files that would act on a terminal: none of their characters reaches an output.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use gangplank::text::is_harmful;
use serde_json::Value;

use super::{Desk, FOLDER};
use crate::support::program::{Run, Victim, run};

/// A cleared screen, another title, a colour by one byte, text turned around, hidden text, other ends of lines.
const HOSTILE: &str =
    "x\x1b[2J\x1b]0;t\x07\u{9b}31m\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}\u{fff9}\u{180e}\r\nforged";

/// Appends it to what people may write freely: some tags' values, and rules' descriptions. Counts them.
fn poison(value: &mut Value, free: bool) -> usize {
    match value {
        Value::String(text) if free => {
            text.push_str(HOSTILE);
            1
        }
        Value::Array(items) => items.iter_mut().map(|item| poison(item, free)).sum(),
        Value::Object(fields) => fields
            .iter_mut()
            .map(|(name, value)| poison(value, ["team", "Name", "description"].contains(&name.as_str())))
            .sum(),
        _ => 0,
    }
}

#[track_caller]
fn assert_clean(run: &Run) {
    for text in [&run.stdout, &run.stderr] {
        let found = text.chars().find(|c| is_harmful(*c) && *c != '\n');
        assert_eq!(found, None, "{run:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{run}");
    }
}

#[test]
fn no_text_of_a_cloud_acts_on_who_reads_it() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let mut state: Value = serde_json::from_str(&fs::read_to_string(desk.state()).unwrap()).unwrap();
    assert!(poison(&mut state, false) >= 3, "nothing was poisoned: the sandbox keeps its texts elsewhere");
    let state = state.to_string();
    let name = format!("plans/w{}.yaml", HOSTILE.replace('/', ""));
    fs::rename(desk.path("plans/warehouse.yaml"), desk.path(&name)).unwrap();
    for args in [
        &["plan", "plans"][..],
        &["plan", "--output", "markdown", "plans"],
        &["plan", "--output", "json", "plans"],
        &["status", "plans"],
        &["status", "--output", "json", "plans"],
        &["drift", "plans"],
        &["verify", "plans"],
        &["handoff", "plans"],
        &["handoff", "--output", "html", "plans"],
        &["reap", "--region", "us-east-1"],
        &["apply", "--yes", "--no-verify", "--output", "json", "plans"],
        &["destroy", "--yes", "plans"],
    ] {
        fs::write(desk.state(), &state).unwrap();
        let run = desk.play(args);
        assert!(run.code().is_some_and(|code| code != 64), "{run}");
        assert_clean(&run);
        if args.contains(&"json") && args[0] != "apply" {
            assert!(run.json().is_object(), "{run}");
        }
    }
    fs::write(desk.path(&name), "version: 1\n").unwrap();
    assert_clean(&desk.run(&["validate", "plans"]).expect(3));
    assert_clean(&desk.play(&["plan", "plans"]).expect(3));
    assert!(desk.path(FOLDER).exists());
}

/// A server that answers each call with a hostile message, with a password in it.
#[test]
fn no_error_of_a_cloud_acts_on_who_reads_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 8192]);
            // XML has no control characters; the others it has.
            let text: String = HOSTILE.chars().filter(|c| !c.is_ascii_control()).collect();
            let body = format!(
                "<Response><Errors><Error><Code>AuthFailure</Code><Message>{text} proxy http://ana:Sup3rS3cret@proxy.internal refused</Message></Error></Errors><RequestID>{text}</RequestID></Response>"
            );
            let _ = write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let desk = Desk::new();
    fs::remove_file(desk.path("plans/sales.yaml")).unwrap();
    for args in [&["plan", "plans"][..], &["status", "--output", "json", "plans"]] {
        let mut command = desk.command(args);
        command
            .env("AWS_ENDPOINT_URL", format!("http://{address}"))
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let run = run(&mut command, &Victim::default()).expect(1);
        assert_clean(&run);
        assert!(run.stderr.contains("AuthFailure") && !run.stderr.contains("Sup3rS3cret"), "{run}");
    }
}
