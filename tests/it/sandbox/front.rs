//! `--sandbox` over many commands.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use jiff::Timestamp;

use super::{Desk, FOLDER, bytes};
use crate::support::program::{Victim, run};

#[test]
fn one_folder_carries_a_life_over_many_commands() {
    let desk = Desk::new();
    desk.play(&["plan", "--detailed-exitcode", "plans"]).expect(2);
    let before = desk.inventory();
    desk.play(&["apply", "--yes", "plans"]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", "plans"]).expect(0);
    let verified = desk.play(&["verify", "--strict", "--identity", "ana", "plans"]).expect(0);
    assert!(verified.stdout.contains("sales") && verified.stdout.contains("warehouse"), "{verified}");
    assert!(desk.play(&["handoff", "plans"]).expect(0).stdout.contains("SSH Hostname"));
    desk.play(&["drift", "plans"]).expect(0);

    let status = desk.play(&["status", "--output", "json", "plans"]).expect(0);
    let told = status.json().to_string();
    let ends: Vec<Timestamp> = told
        .split('"')
        .filter(|part| part.starts_with("20") && part.ends_with('Z'))
        .filter_map(|t| t.parse().ok())
        .collect();
    assert!(ends.len() >= 2, "{status}");
    let advanced = desk.play(&["sandbox", "advance", "100d"]).expect(0);
    let now: Timestamp =
        advanced.stdout.split(' ').nth(2).and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{advanced}"));
    assert!(ends.iter().all(|end| *end < now), "{advanced}{status}");
    // A bastion whose time is up is not to be made again as if nothing had happened, and is there to be taken away.
    desk.play(&["status", "plans"]).expect(0);
    desk.play(&["destroy", "--yes", "plans"]).expect(0);
    assert_eq!(desk.inventory(), before);
    desk.play(&["destroy", "--yes", "plans"]).expect(0);
    desk.play(&["sandbox", "reset"]).expect(0);
    assert!(!desk.state().exists());
}

#[test]
fn what_is_no_sandbox_is_kept_until_it_is_reset() {
    let desk = Desk::new();
    desk.play(&["plan", "plans"]).expect(0);
    let good = fs::read_to_string(desk.state()).unwrap();
    let cut = good[..good.len() / 2].to_owned();
    let later = good.replacen("\"format\":2", "\"format\":7", 1);
    assert_ne!(later, good);
    for (text, why) in
        [(cut, "is not what a sandbox keeps"), (later, "its format is 7"), (String::new(), "is not what")]
    {
        fs::write(desk.state(), &text).unwrap();
        for verb in [
            &["plan", "plans"][..],
            &["apply", "--yes", "plans"],
            &["sandbox", "advance", "1d"],
            &["sandbox", "listen"],
        ] {
            let refused = desk.play(verb).expect(1);
            assert!(refused.stderr.contains(why) && refused.stderr.contains("gangplank sandbox reset"), "{refused}");
            assert_eq!(fs::read_to_string(desk.state()).unwrap(), text);
        }
    }
    desk.play(&["sandbox", "reset"]).expect(0);
    desk.play(&["plan", "plans"]).expect(0);
}

#[test]
fn a_folder_that_cannot_be_one_is_refused() {
    let desk = Desk::new();
    fs::write(desk.path("file"), "mine").unwrap();
    let refused = desk.run(&["plan", "plans", "--sandbox=file"]).expect(1);
    assert!(refused.stderr.contains("file cannot be used") && refused.stderr.contains("--sandbox=FOLDER"), "{refused}");
    for verb in [&["sandbox", "advance", "1d"][..], &["sandbox", "reset"]] {
        let refused = desk.play(verb).expect(1);
        assert!(refused.stderr.contains("there is no sandbox in .gangplank-sandbox"), "{refused}");
    }
    assert!(!desk.path(FOLDER).exists());
    // Whoever asks no cloud makes no sandbox either, and the demonstration has its own.
    desk.play(&["validate", "plans"]).expect(0);
    let refused = desk.play(&["demo"]).expect(64);
    assert!(refused.stderr.contains("--keep FOLDER"), "{refused}");
    assert!(!desk.path(FOLDER).exists());
    desk.play(&["plan", "plans"]).expect(0);
    assert_eq!(fs::read_to_string(desk.path(FOLDER).join(".gitignore")).unwrap(), "*\n");
}

/// Time may be advanced as far as it can be told, and no further.
#[test]
fn no_leap_of_time_breaks_a_sandbox() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    for by in ["0d", "3650d", "4000000d"] {
        desk.play(&["sandbox", "advance", by]).expect(0);
        desk.play(&["status", "plans"]).expect(0);
    }
    desk.play(&["sandbox", "advance", "99999999999999999999d"]).expect(64);
    desk.play(&["destroy", "--yes", "plans"]).expect(0);
}

/// A limit on the size of files stands for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_a_command_and_loses_nothing() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    let kept = fs::read(desk.state()).unwrap();
    let program = env!("CARGO_BIN_EXE_gangplank");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]).arg(program);
    command
        .args(["destroy", "--yes", "plans", "--sandbox"])
        .current_dir(desk.path(""))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let refused = run(&mut command, &Victim::default()).expect(1);
    assert!(refused.stderr.contains("cannot be written: File too large"), "{refused}");
    assert_eq!(fs::read(desk.state()).unwrap(), kept);
    let names: Vec<_> = fs::read_dir(desk.path(FOLDER)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with(".next")), "{names:?}");
    desk.play(&["plan", "--detailed-exitcode", "plans"]).expect(0);
}

/// Killed wherever it is: the next run goes on from what was kept, and ends where an undisturbed one does.
#[test]
fn a_killed_apply_is_finished_by_the_next() {
    let desk = Desk::new();
    desk.play(&["plan", "plans"]).expect(0);
    let before = desk.inventory();
    let mut killed = 0;
    for events in [1, 4, 9, 16] {
        let mut command = desk.command(&["apply", "--yes", "--no-verify", "--output", "json", "plans", "--sandbox"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).lines().take(events).for_each(drop);
        child.kill().unwrap();
        killed += usize::from(child.wait().unwrap().code().is_none());
        let there = desk.inventory();
        assert!(before.iter().all(|id| there.contains(id)), "{before:?}\n{there:?}");

        desk.play(&["apply", "--yes", "plans"]).expect(0);
        desk.play(&["plan", "--detailed-exitcode", "plans"]).expect(0);
        desk.play(&["verify", "--strict", "--identity", "ana", "plans"]).expect(0);
        desk.play(&["destroy", "--yes", "plans"]).expect(0);
        assert_eq!(desk.inventory(), before);
    }
    assert!(killed > 0, "every run was over before it could be killed");
}

/// A server that counts who comes, and turns everybody away.
fn recorder() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, heard)
}

#[test]
fn with_a_sandbox_nobody_else_is_asked_and_without_it_the_sandbox_is_not() {
    let desk = Desk::new();
    let (elsewhere, heard) = recorder();
    let names = [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_EC2",
        "AWS_ENDPOINT_URL_STS",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AZURE_AUTHORITY_HOST",
        "AZURE_RESOURCE_MANAGER_ENDPOINT",
        "IDENTITY_ENDPOINT",
        "MSI_ENDPOINT",
        "ALL_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
    ];
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIA0000000000000000"),
        ("AWS_SECRET_ACCESS_KEY", "invented"),
        ("AWS_REGION", "us-east-1"),
    ];
    let play = |args: &[&str]| {
        let mut command = desk.command(args);
        command.envs(names.map(|name| (name, &elsewhere))).envs(keys);
        crate::support::program::run(&mut command, &Default::default())
    };
    for args in [
        &["plan", "plans"][..],
        &["apply", "--yes", "plans"],
        &["status", "plans"],
        &["verify", "--identity", "ana", "plans"],
        &["handoff", "plans"],
        &["drift", "plans"],
        &["sandbox", "advance", "1h"],
        &["destroy", "--yes", "plans"],
    ] {
        play(&[args, &["--sandbox"]].concat()).expect(0);
        assert_eq!(heard.load(Ordering::SeqCst), 0, "{args:?} asked somebody else");
    }
    let reaped = play(&["reap", "--sandbox"]);
    assert!(matches!(reaped.code(), Some(0 | 2)), "{reaped}");
    assert_eq!(heard.load(Ordering::SeqCst), 0, "reap asked somebody else");
    let kept = bytes(&desk.path(FOLDER));
    assert_ne!(play(&["plan", "plans/warehouse.yaml"]).code(), Some(0));
    assert!(heard.load(Ordering::SeqCst) > 0, "the recorder hears whoever does not use the sandbox");
    assert_ne!(play(&["plan", "plans/sales.yaml"]).code(), Some(0));
    assert_eq!(bytes(&desk.path(FOLDER)), kept);
}
