//! One fault, one red check; what follows from it is unknown; and no check is ever missing.

use gangplank::{
    plan::Plan,
    verify::{
        Check, Verdict,
        machine::{MachineEvidence, Silence, judge},
        report::{self, Reading},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;

fn made() -> Timestamp {
    Timestamp::from_second(MADE).unwrap()
}

fn reading(report: &Value) -> Reading {
    report::read(&sealed(report, seal_of(report)), seal_of(report), Some(INSTANCE)).unwrap()
}

/// Judged ten minutes after the report, of a machine that started two minutes before it.
fn judged(plan: &Plan, report: &Value, change: impl FnOnce(&mut MachineEvidence<'_>)) -> Vec<Check> {
    judged_with(plan, Ok(&reading(report)), change)
}

fn judged_with(
    plan: &Plan,
    report: Result<&Reading, Silence<'_>>,
    change: impl FnOnce(&mut MachineEvidence<'_>),
) -> Vec<Check> {
    let document = cloudinit::render(plan).unwrap().digest;
    let mut seen = MachineEvidence {
        report,
        now: made() + SignedDuration::from_mins(10),
        launched: Some(made() - SignedDuration::from_secs(125)),
        document: &document,
        tagged_document: Some(&document),
        deadline: None,
        pinned_host_key: Some(HOST_KEY),
    };
    change(&mut seen);
    judge(plan, &seen)
}

fn names(checks: &[Check], which: impl Fn(&Verdict) -> bool) -> Vec<String> {
    checks.iter().filter(|c| which(&c.verdict)).map(Check::name).collect()
}

fn red(checks: &[Check]) -> Vec<String> {
    names(checks, Verdict::is_fail)
}

#[test]
fn where_all_is_well_every_check_passes() {
    for key_updates in ["live", "replace"] {
        let plan = read_plan(&plan_text(key_updates));
        let checks = judged(&plan, &good(&plan), |_| {});
        assert_eq!(names(&checks, |v| *v != Verdict::Pass), [""; 0], "{checks:#?}");
    }
    let plan = read_plan(&plan_text("live"));
    let checks = judged(&plan, &good(&plan), |_| {});
    insta::assert_snapshot!(checks.iter().map(|c| c.name() + "\n").collect::<String>());
}

/// Each fault with the checks that turn red, and those that turn unknown.
#[test]
fn one_fault_turns_one_check_red() {
    type Fault = (&'static str, fn(&mut Value), &'static [&'static str], &'static [&'static str]);
    const SETTINGS: &[&str] = &[
        "machine.authentication",
        "machine.confinement[ana]",
        "machine.permitopen[ana]",
        "machine.confinement[secoda]",
        "machine.permitopen[secoda]",
        "machine.algorithms",
        "machine.concurrency",
        "machine.host-keys",
    ];
    const DOWN: &[&str] = &[
        "machine.daemon-current",
        "machine.port",
        "machine.authentication",
        "machine.confinement[ana]",
        "machine.permitopen[ana]",
        "machine.confinement[secoda]",
        "machine.permitopen[secoda]",
        "machine.algorithms",
        "machine.concurrency",
        "machine.host-keys",
    ];
    let faults: &[Fault] = &[
        ("database down", |r| r["targets"][0]["tcp"] = json!("refused"), &["machine.target[lake]"], &[]),
        ("database group closed", |r| r["targets"][1]["tcp"] = json!("timeout"), &["machine.target[warehouse]"], &[]),
        (
            "wrong DNS name",
            |r| {
                r["targets"][1] =
                    json!({"open": "warehouse.example.internal:5432", "dns": {"error": "Name or service not known"}})
            },
            &["machine.target-dns[warehouse]"],
            &["machine.target[warehouse]"],
        ),
        (
            "key missing",
            |r| r["accounts"]["secoda"]["keys"] = json!({"accepted": [], "other_lines": 0, "options": []}),
            &["machine.keys[secoda]"],
            &[],
        ),
        (
            "key of another user",
            |r| r["accounts"]["secoda"]["keys"]["accepted"] = r["accounts"]["ana"]["keys"]["accepted"].clone(),
            &["machine.keys[secoda]"],
            &[],
        ),
        (
            "a foreign key",
            |r| r["accounts"]["ana"]["keys"]["accepted"].as_array_mut().unwrap().push(json!("SHA256:x")),
            &["machine.keys[ana]"],
            &[],
        ),
        (
            "a line that is no key",
            |r| r["accounts"]["ana"]["keys"]["other_lines"] = json!(1),
            &["machine.keys[ana]"],
            &[],
        ),
        (
            "other options",
            |r| r["accounts"]["ana"]["keys"]["options"] = json!(["e3b0c44298fc"]),
            &["machine.key-options[ana]"],
            &[],
        ),
        (
            "authorized_keys missing",
            |r| r["accounts"]["secoda"]["file"] = json!("none"),
            &["machine.authorized-keys[secoda]"],
            &["machine.keys[secoda]", "machine.key-options[secoda]"],
        ),
        (
            "authorized_keys 0644",
            |r| r["accounts"]["secoda"]["file"] = json!("file 0644 secoda"),
            &["machine.authorized-keys[secoda]"],
            &[],
        ),
        (
            "authorized_keys of root",
            |r| r["accounts"]["secoda"]["file"] = json!("file 0600 root"),
            &["machine.authorized-keys[secoda]"],
            &[],
        ),
        (
            "authorized_keys a link",
            |r| r["accounts"]["secoda"]["file"] = json!("link 0777 secoda"),
            &["machine.authorized-keys[secoda]"],
            &[],
        ),
        (
            ".ssh 0777",
            |r| r["accounts"]["secoda"]["ssh"] = json!("dir 0777 secoda"),
            &["machine.ssh-folder[secoda]"],
            &[],
        ),
        (
            ".ssh missing",
            |r| {
                r["accounts"]["ana"]["ssh"] = json!("none");
                r["accounts"]["ana"]["file"] = json!("none")
            },
            &["machine.ssh-folder[ana]"],
            &["machine.authorized-keys[ana]", "machine.keys[ana]", "machine.key-options[ana]"],
        ),
        (
            "home group-writable",
            |r| {
                r["accounts"]["secoda"]["home"] = json!("dir 0770 secoda");
                r["self_tests"]["secoda"]["entered"] = json!(false);
            },
            &["machine.home[secoda]"],
            &["machine.self-test[secoda]"],
        ),
        // Where the group is the user's own, Debian's sshd lets it in.
        ("home writable by its own group", |r| r["accounts"]["secoda"]["home"] = json!("dir 0770 secoda"), &[], &[]),
        (
            "a source that the machine turned away",
            |r| r["refusals"] = json!(["refused connect from 198.51.100.7 (198.51.100.7)"]),
            &[],
            &["machine.sources"],
        ),
        (
            "home of another",
            |r| r["accounts"]["secoda"]["home"] = json!("dir 0700 ana"),
            &["machine.home[secoda]"],
            &[],
        ),
        (
            "no account",
            |r| r["accounts"]["ana"] = json!({"exists": false}),
            &["machine.account[ana]"],
            &[
                "machine.home[ana]",
                "machine.ssh-folder[ana]",
                "machine.authorized-keys[ana]",
                "machine.keys[ana]",
                "machine.key-options[ana]",
            ],
        ),
        ("shell allowed", |r| r["accounts"]["secoda"]["shell"] = json!("/bin/bash"), &["machine.account[secoda]"], &[]),
        ("a password", |r| r["accounts"]["secoda"]["locked"] = json!(false), &["machine.account[secoda]"], &[]),
        ("sudo", |r| r["accounts"]["secoda"]["sudo"] = json!(true), &["machine.account[secoda]"], &[]),
        (
            "a group more",
            |r| r["accounts"]["secoda"]["groups"] = json!(["secoda", "docker"]),
            &["machine.account[secoda]"],
            &[],
        ),
        ("root's uid", |r| r["accounts"]["secoda"]["uid"] = json!(0), &["machine.account[secoda]"], &[]),
        (
            "AllowTcpForwarding no",
            |r| r["sshd"]["settings"]["allowtcpforwarding"] = json!("no"),
            &["machine.permitopen[ana]", "machine.permitopen[secoda]"],
            &[],
        ),
        (
            "AllowTcpForwarding yes",
            |r| r["sshd"]["settings"]["allowtcpforwarding"] = json!("yes"),
            &["machine.confinement[ana]", "machine.confinement[secoda]"],
            &[],
        ),
        (
            "PermitOpen wrong",
            |r| r["sshd"]["permit_open"]["secoda"] = json!([0, "10.0.0.9:22"]),
            &["machine.permitopen[secoda]"],
            &[],
        ),
        (
            "PermitOpen any",
            |r| r["sshd"]["permit_open"]["secoda"] = json!(["any"]),
            &["machine.permitopen[secoda]"],
            &[],
        ),
        (
            "a forced command less",
            |r| r["sshd"]["own_settings"]["ana"] = json!({"forcecommand": "none"}),
            &["machine.confinement[ana]"],
            &[],
        ),
        (
            "daemon not restarted",
            |r| r["sshd"]["changed"]["time"] = json!(MADE - 10),
            &["machine.daemon-current"],
            SETTINGS,
        ),
        (
            "sshd down",
            |r| {
                r["sshd"]["running"] = Value::Null;
                r["listening"] = json!([])
            },
            &["machine.daemon"],
            DOWN,
        ),
        ("sshd silent", |r| r["sshd"]["running"]["banner"] = json!({"error": "timed out"}), &["machine.daemon"], &[]),
        (
            "port changed",
            |r| {
                r["sshd"]["running"]["ports"] = json!([2222]);
                r["listening"][0]["port"] = json!(2222)
            },
            &["machine.port"],
            &[],
        ),
        ("a second port", |r| r["sshd"]["running"]["ports"] = json!([22, 2222]), &["machine.port"], &[]),
        (
            "host key replaced",
            |r| r["sshd"]["host_keys"] = json!([KEY.trim_end_matches(" vendor")]),
            &["machine.host-keys"],
            &[],
        ),
        (
            "password allowed",
            |r| r["sshd"]["settings"]["passwordauthentication"] = json!("yes"),
            &["machine.authentication"],
            &[],
        ),
        (
            "root allowed",
            |r| r["sshd"]["settings"]["permitrootlogin"] = json!("without-password"),
            &["machine.authentication"],
            &[],
        ),
        (
            "keys from elsewhere",
            |r| r["sshd"]["settings"]["authorizedkeyscommand"] = json!("/usr/bin/eic"),
            &["machine.authentication"],
            &[],
        ),
        (
            "anybody allowed",
            |r| r["sshd"]["settings"]["allowusers"] = json!("ana secoda debian"),
            &["machine.authentication"],
            &[],
        ),
        (
            "a user shut out",
            |r| r["sshd"]["own_settings"]["ana"] = json!({"denyusers": "ana"}),
            &["machine.authentication"],
            &[],
        ),
        (
            "AllowUsers missing",
            |r| _ = r["sshd"]["settings"].as_object_mut().unwrap().remove("allowusers"),
            &["machine.authentication"],
            &[],
        ),
        ("an empty greeting", |r| r["sshd"]["running"]["banner"] = json!(""), &["machine.daemon"], &[]),
        (
            "a file that sshd refuses",
            |r| r["sshd"]["settings"] = json!({"error": "00-a.conf line 1: Bad configuration option: Nonsense"}),
            &["machine.daemon-current"],
            SETTINGS,
        ),
        (
            "a second sshd",
            |r| r["listening"].as_array_mut().unwrap().push(json!({"address": "::", "port": 2222, "process": "sshd"})),
            &["machine.listening"],
            &[],
        ),
        (
            "clients that are ended early",
            |r| r["sshd"]["settings"]["clientaliveinterval"] = json!("5"),
            &["machine.concurrency"],
            &[],
        ),
        (
            "a closed folder above",
            |r| r["accounts"]["ana"]["closed"] = json!("/home dir 0700 root"),
            &["machine.home[ana]"],
            &[],
        ),
        (
            "an expired account",
            |r| r["self_tests"]["secoda"] = json!({"entered": false, "said": ["Connection closed"], "log": ["pam_unix(sshd:account): account secoda has expired"]}),
            &["machine.self-test[secoda]"],
            &[],
        ),
        (
            "a session of few files",
            |r| r["self_tests"]["secoda"]["open_files"] = json!(24),
            &["machine.self-test[secoda]"],
            &[],
        ),
        (
            "a forward that closes",
            |r| r["self_tests"]["secoda"]["forwards"]["10.20.2.11:5432"] = json!(false),
            &["machine.self-test[secoda]"],
            &[],
        ),
        (
            "a login that fails for a folder",
            |r| {
                r["accounts"]["secoda"]["home"] = json!("dir 0777 secoda");
                r["self_tests"]["secoda"] =
                    json!({"entered": false, "said": ["Permission denied (publickey)."], "log": []});
            },
            &["machine.home[secoda]"],
            &["machine.self-test[secoda]"],
        ),
        (
            "an account that wrappers turn away",
            |r| r["guards"]["deny"] = json!(["sshd: ALL"]),
            &["machine.sources"],
            &[],
        ),
        (
            "a source with settings of its own",
            |r| {
                r["sshd"]["by_address"] =
                    json!([{"from": "0.0.0.0/0", "user": "secoda", "settings": {"allowtcpforwarding": "no"}}])
            },
            &["machine.sources"],
            &[],
        ),
        ("PAM asks for the address", |r| r["guards"]["pam"] = json!(["pam_access.so"]), &[], &["machine.sources"]),
        (
            "sshd ends idle channels",
            |r| r["sshd"]["settings"]["channeltimeout"] = json!("*=5m"),
            &["machine.concurrency"],
            &[],
        ),
        (
            "a Match of another kind",
            |r| r["sshd"]["by_address"] = json!([{"from": "host *.example.com", "settings": null}]),
            &[],
            &["machine.sources"],
        ),
        (
            "ssh.socket while the tunnel works",
            |r| {
                r["sshd"]["running"] = Value::Null;
                r["listening"][0]["process"] = json!("systemd");
            },
            &["machine.daemon"],
            DOWN,
        ),
        ("full disk", |r| r["disk"]["free"] = json!(0), &["machine.disk"], &[]),
        ("no inodes", |r| r["disk"]["free_inodes"] = json!(3), &["machine.disk"], &[]),
        ("read-only disk", |r| r["disk"]["read_only"] = json!(true), &["machine.disk"], &[]),
        (
            "clock off by a day",
            |r| {
                r["time"] = json!(MADE - 86400);
                r["clock"]["skew"] = json!(-86400);
                shift(r, -86400.0)
            },
            &["machine.clock"],
            &[],
        ),
        (
            "clock ahead by a day",
            |r| {
                r["time"] = json!(MADE + 86400);
                r["clock"]["skew"] = json!(86400);
                shift(r, 86400.0)
            },
            &["machine.clock"],
            &[],
        ),
        (
            "clock off by a day, nobody tells",
            |r| {
                r["time"] = json!(MADE - 86400);
                r["clock"]["skew"] = json!({"error": "x"});
                shift(r, -86400.0)
            },
            &["machine.clock"],
            &[],
        ),
        (
            "MaxStartups 1",
            |r| {
                r["sshd"]["settings"]["maxstartups"] = json!("1:30:1");
                r["sshd"]["running"]["startups"] = json!([1, 1])
            },
            &["machine.concurrency"],
            &[],
        ),
        ("MaxSessions 10", |r| r["sshd"]["settings"]["maxsessions"] = json!("10"), &["machine.concurrency"], &[]),
        ("few open files", |r| r["sshd"]["running"]["open_files"] = json!(1024), &["machine.concurrency"], &[]),
        (
            "penalties",
            |r| r["sshd"]["settings"]["persourcepenalties"] = json!("crash:90"),
            &["machine.concurrency"],
            &[],
        ),
        (
            "only ssh-rsa accepted",
            |r| r["sshd"]["settings"]["pubkeyacceptedalgorithms"] = json!("ssh-rsa"),
            &["machine.algorithms"],
            &[],
        ),
        (
            "cloud-init failed half way",
            |r| {
                r["boot"] = json!("user secoda has no home");
                r["accounts"]["secoda"] = json!({"exists": false});
                r["sshd"]["settings"]["passwordauthentication"] = json!("yes");
            },
            &["machine.cloud-init"],
            &[
                "machine.account[secoda]",
                "machine.home[secoda]",
                "machine.ssh-folder[secoda]",
                "machine.authorized-keys[secoda]",
                "machine.keys[secoda]",
                "machine.key-options[secoda]",
                "machine.authentication",
            ],
        ),
        (
            "a module of cloud-init failed",
            |r| r["cloud_init"] = json!({"status": "error", "errors": ["locale"]}),
            &["machine.cloud-init"],
            &[],
        ),
        ("cloud-init hangs", |r| r["cloud_init"]["status"] = json!("running"), &["machine.cloud-init"], &[]),
        ("no updates", |r| r["updates"] = json!("apt-get -q update"), &["machine.updates"], &[]),
        ("an agent of the cloud's", |r| r["agents"] = json!(["amazon-ssm-agent"]), &["machine.agents"], &[]),
        (
            "another service",
            |r| {
                r["listening"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"address": "0.0.0.0", "port": 111, "process": "rpcbind"}))
            },
            &["machine.listening"],
            &[],
        ),
        (
            "the tags cannot be read",
            |r| {
                r["key_channel"]["problem"] = json!("gangplank: the keys stay as they are: 404");
                r["accounts"]["secoda"]["keys"]["accepted"] = json!([])
            },
            &["machine.key-channel"],
            &["machine.keys[secoda]"],
        ),
        ("the key service stopped", |r| r["key_channel"]["age"] = json!(4000), &["machine.key-channel"], &[]),
    ];
    let plan = read_plan(&plan_text("live"));
    for (name, fault, expected, follows) in faults {
        let mut report = good(&plan);
        fault(&mut report);
        let checks = judged(&plan, &report, |_| {});
        assert_eq!(red(&checks), *expected, "{name}");
        let mut unknown = names(&checks, Verdict::is_unknown);
        let mut follows: Vec<&str> = follows.to_vec();
        unknown.sort();
        follows.sort();
        assert_eq!(unknown, follows, "{name}");
        for check in &checks {
            if let Verdict::Fail { cause, fix } = &check.verdict {
                assert!(cause.len() > 10 && fix.len() > 10, "{name}: {check:?}");
            }
        }
    }
}

#[test]
fn updates_that_are_under_way_pass_until_they_no_longer_can_be() {
    let plan = read_plan(&plan_text("live"));
    let mut report = good(&plan);
    report["updates"] = json!("running");
    let after =
        |hours| red(&judged(&plan, &report, |seen| seen.launched = Some(seen.now - SignedDuration::from_hours(hours))));
    assert!(!after(1).contains(&"machine.updates".to_owned()));
    assert!(after(13).contains(&"machine.updates".to_owned()));
}

/// The machine's clock moves everything that it stamps.
fn shift(report: &mut Value, by: f64) {
    let (read, changed) = (MADE as f64 - 60.0 + by, MADE as f64 - 61.0 + by);
    report["sshd"]["running"]["read"] = json!(read);
    report["sshd"]["changed"]["time"] = json!(changed);
}

#[test]
fn a_probe_that_failed_is_unknown_and_never_a_pass() {
    let plan = read_plan(&plan_text("live"));
    let whole = judged(&plan, &good(&plan), |_| {}).len();
    let members: Vec<String> = good(&plan).as_object().unwrap().keys().skip(7).cloned().collect();
    for member in members {
        for broken in [json!({"error": "no answer within 25 s"}), json!(17)] {
            let mut report = good(&plan);
            report[&member] = broken;
            let checks = judged(&plan, &report, |_| {});
            assert_eq!(checks.len(), whole);
            assert_ne!(names(&checks, |v| *v != Verdict::Pass), [""; 0], "{member}");
            // A boot script that left no word did not end.
            let expected: &[&str] = if member == "boot" { &["machine.cloud-init"] } else { &[] };
            assert_eq!(red(&checks), expected, "{member}");
        }
    }
}

#[test]
fn without_a_report_everything_is_unknown_and_said() {
    let plan = read_plan(&plan_text("live"));
    let whole = judged(&plan, &good(&plan), |_| {}).len();
    let why = "ec2:GetConsoleOutput is not allowed".to_owned();
    let unread = judged_with(&plan, Err(Silence::Unread(why)), |_| {});
    assert_eq!(names(&unread, Verdict::is_unknown).len(), whole);

    let none = report::read("[ 0.0] Linux", "0123456789ab", None).unwrap_err();
    let silent = judged_with(&plan, Err(Silence::NoReport(&none)), |_| {});
    assert_eq!((red(&silent), silent.len()), (vec![], whole));
    let later = |hours| {
        judged(&plan, &good(&plan), move |seen| {
            seen.now += SignedDuration::from_hours(hours);
        })
    };
    let dead = judged_with(&plan, Err(Silence::NoReport(&none)), |seen| seen.now += SignedDuration::from_mins(30));
    assert_eq!(red(&dead), ["machine.report"]);
    assert_eq!(names(&dead, Verdict::is_unknown).len(), whole - 1);
    assert_eq!(red(&later(1)), [""; 0]);
    assert_eq!(red(&later(3)), ["machine.report"]);
    assert_eq!(names(&later(3), Verdict::is_unknown).len(), whole - 1, "what was is not what is");
}

#[test]
fn a_changed_plan_is_one_red_check() {
    let plan = read_plan(&plan_text("live"));
    let report = good(&plan);
    let text = plan_text("live")
        .replace("10.20.2.11", "10.20.2.12")
        .replace("key_updates: live", "key_updates: live\nssh: {port: 2222, max_sessions: 60}")
        .replace("name: ana", "name: eva");
    let checks = judged(&read_plan(&text), &report, |_| {});
    assert_eq!(red(&checks), ["machine.document"]);
    let retagged = judged(&plan, &report, |seen| seen.tagged_document = Some("0123456789ab"));
    assert_eq!(red(&retagged), ["machine.document"]);
}

#[test]
fn a_failure_says_what_to_do() {
    let plan = read_plan(&plan_text("live"));
    let mut report = good(&plan);
    report["accounts"]["secoda"]["file"] = json!("file 0644 root");
    report["sshd"]["changed"] = json!({"path": "/etc/ssh/sshd_config.d/99-own.conf", "time": MADE - 5});
    report["targets"][0]["tcp"] = json!("timeout");
    let shown: String = judged(&plan, &report, |_| {})
        .iter()
        .filter_map(|check| match &check.verdict {
            Verdict::Fail { cause, fix } => {
                Some(format!("{}\n  {}\n  cause: {cause}\n  fix: {fix}\n", check.name(), check.evidence.join("\n  ")))
            }
            _ => None,
        })
        .collect();
    insta::assert_snapshot!(shown);
}

/// What the plan accepts is told and not red; where sshd refuses it, the vendor could not enter.
#[test]
fn sha1_signatures_by_the_plans_word() {
    let mut plan = read_plan(&plan_text("live"));
    plan.tunnels[0].legacy_rsa_sha1 = Some(true);
    let user = plan.tunnels[0].user.to_string();
    let mut report = good(&plan);
    assert_eq!(red(&judged(&plan, &report, |_| {})), ["machine.algorithms"]);
    let usual = report["sshd"]["settings"]["pubkeyacceptedalgorithms"].as_str().unwrap().to_owned();
    report["sshd"]["own_settings"][&user] = json!({"pubkeyacceptedalgorithms": format!("{usual},ssh-rsa")});
    let checks = judged(&plan, &report, |_| {});
    assert_eq!(names(&checks, |v| *v != Verdict::Pass), [""; 0], "{checks:#?}");
    let told = checks.iter().find(|check| check.name() == "machine.algorithms").unwrap();
    assert!(told.evidence.iter().any(|line| line.contains("legacy_rsa_sha1")), "{told:?}");
}
