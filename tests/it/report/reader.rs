//! A valid report is found whatever stands around it, and nothing else is taken for one.

use gangplank::verify::report::{Reason, Report, read};
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SEAL: &str = "0123456789ab";

fn small(change: impl Fn(&mut Value)) -> String {
    let mut report = json!({
        "gangplank": 1, "instance": INSTANCE, "document": SEAL, "why": "boot", "uptime": 1.0, "time": MADE,
    });
    change(&mut report);
    sealed(&report, SEAL)
}

fn why(line: &str) -> String {
    let none = read(line, SEAL, Some(INSTANCE)).expect_err("no report");
    none.rejected.iter().map(|r| format!("{}: {}\n", r.line, r.reason)).collect()
}

fn parsed() -> Report {
    read(&small(|_| {}), SEAL, Some(INSTANCE)).unwrap().report
}

#[test]
fn the_last_report_counts() {
    let console = format!(
        "[    0.000000] Linux version 6.12\r\n\x1b[0;32m  OK  \x1b[0m Started\r\n{}\r\nnoise\r\n{}\x1b[0m\r\nlogin: ",
        small(|_| {}),
        small(|r| r["why"] = json!("hour")),
    );
    let reading = read(&console, SEAL, Some(INSTANCE)).unwrap();
    assert_eq!(format!("{:?}", reading.report.why), "Hour");
    assert!(reading.later_rejected.is_empty());
    let nothing = read("a console\nwithout any", SEAL, None).unwrap_err();
    assert!(nothing.rejected.is_empty());
    assert_snapshot!(nothing, @"the console holds no report");
}

#[test]
fn every_candidate_that_is_none_has_its_reason() {
    let line = small(|_| {});
    let middle = line.len() / 2;
    assert_snapshot!(why(&line[..middle]), @"1: it is cut off");
    assert_snapshot!(why(&line[middle..]), @"1: it is cut off");
    assert_snapshot!(
        why(&format!("a\nb\n{}[   12.3] eth0: link up{}", &line[..middle], &line[middle..])),
        @"3: its checksum is wrong: another text was printed into the middle of it, or somebody else wrote it"
    );
    assert_snapshot!(
        why(&format!("{}\n[   12.3] eth0: link up\n{}", &line[..middle], &line[middle..])),
        @"
    3: it is cut off
    1: it is cut off
    "
    );
    let forged = sealed(&json!({"gangplank": 1, "document": SEAL, "why": "boot", "uptime": 1, "time": MADE}), "guess");
    assert_snapshot!(why(&format!("sshd: Invalid user {forged} from 198.51.100.7")), @"1: its checksum is wrong: another text was printed into the middle of it, or somebody else wrote it");
    let other = json!({"gangplank": 1, "document": "ba9876543210", "why": "boot", "uptime": 1, "time": MADE});
    assert_snapshot!(why(&sealed(&other, "ba9876543210")), @"1: it was written by a machine with the document ba9876543210, which is not this instance's");
    assert_snapshot!(why(&small(|r| r["gangplank"] = json!(2))), @"1: it has version 2, and this gangplank reads 1");
    assert_snapshot!(why(&small(|r| r["instance"] = json!("i-other"))), @"1: it was written by another instance, i-other");
    assert_snapshot!(why(&small(|r| _ = r.as_object_mut().unwrap().remove("time"))), @"1: it cannot be read as a report: missing field `time`");
}

#[test]
fn an_earlier_report_is_used_and_what_came_after_it_is_told() {
    let line = small(|_| {});
    let console = format!("{line}\n{}\n{}", &line[..40], line.replace("boot", "hour"));
    let reading = read(&console, SEAL, Some(INSTANCE)).unwrap();
    let reasons: Vec<&Reason> = reading.later_rejected.iter().map(|r| &r.reason).collect();
    assert_eq!(reasons, [&Reason::Checksum, &Reason::Truncated]);
}

#[test]
fn a_member_that_cannot_be_read_is_a_failed_probe() {
    let report = |disk: Value| read(&small(|r| r["disk"] = disk.clone()), SEAL, None).unwrap().report;
    assert_eq!(report(json!({"error": "no such disk"})).disk.as_result().unwrap_err(), "no such disk");
    assert!(report(json!([1, 2])).disk.as_result().unwrap_err().starts_with("unreadable: "));
    assert_eq!(parsed().disk.as_result().unwrap_err(), "the report does not say");
    let later = read(&small(|r| r["weather"] = json!("fine")), SEAL, None);
    assert!(later.is_ok(), "members of later gangplanks are left out");
}

/// Deep nesting, megabytes, thousands of lines that look like reports.
#[test]
fn a_hostile_console_ends_in_time() {
    let deep = format!("{{\"gangplank\":{}", "[".repeat(200_000));
    let long = format!("{{\"gangplank\":1,\"x\":\"{}\",\"sha256\":\"{}\"}}", "a".repeat(4_000_000), "0".repeat(64));
    let starts = "{\"gangplank\":".repeat(200_000);
    let many = format!("{}\n", small(|r| r["document"] = json!("ba9876543210")).replace("boot", "hour")).repeat(5_000);
    let quotes = ",\"sha256\":\"".repeat(200_000);
    for console in [deep, long, starts, many.clone(), quotes] {
        let before = std::time::Instant::now();
        assert!(read(&console, SEAL, None).is_err());
        assert!(read(&format!("{}\n{console}", small(|_| {})), SEAL, None).is_ok() || console == many);
        assert!(before.elapsed().as_secs() < 20, "{}", console.len());
    }
    let deep_but_sealed = {
        let open =
            format!("{{\"gangplank\":1,\"document\":\"{SEAL}\",\"x\":{}1{}", "[".repeat(50_000), "]".repeat(50_000));
        let open = &open[..];
        let checksum: String =
            sha2::Sha256::digest(format!("{SEAL}\n{open}")).iter().map(|b| format!("{b:02x}")).collect();
        format!("{open},\"sha256\":\"{checksum}\"}}")
    };
    assert!(
        why(&deep_but_sealed).contains("its checksum is wrong") || why(&deep_but_sealed).contains("cannot be read")
    );
}

proptest! {
    #[test]
    fn any_noise_around_a_report_leaves_it(
        before in "(\\PC{0,20}[\r\n]{1,2}){0,5}", after in "([\r\n]{1,2}\\PC{0,20}){0,5}", prefix in "[ -z]{0,20}", suffix in "[ -z]{0,20}",
    ) {
        let console = format!("{before}{prefix}{}{suffix}{after}", small(|_| {}));
        prop_assert_eq!(read(&console, SEAL, Some(INSTANCE)).unwrap().report, parsed());
    }

    #[test]
    fn a_cut_line_is_no_report(at in 0usize..2000, end in any::<bool>()) {
        let line = small(|_| {});
        let at = 1 + at % (line.len() - 1);
        let console = if end { &line[at..] } else { &line[..at] };
        prop_assert!(read(console, SEAL, Some(INSTANCE)).is_err());
    }

    #[test]
    fn a_changed_byte_is_no_report(at in 0usize..2000, byte in 0u8..128) {
        let line = small(|_| {});
        let at = at % line.len();
        let mut bytes = line.clone().into_bytes();
        bytes[at] = byte;
        let console = String::from_utf8(bytes).unwrap();
        match read(&console, SEAL, Some(INSTANCE)) {
            Ok(reading) => prop_assert_eq!(reading.report, parsed()),
            Err(none) => prop_assert!(console != line, "{}", none),
        }
    }

    #[test]
    fn no_console_panics(console in "(\\PC{0,9}|\\{\"gangplank\":1|,\"sha256\":\"|[0-9a-f]{64}|\"\\}|\n|\r){0,30}") {
        let _ = read(&console, SEAL, Some(INSTANCE));
    }
}
