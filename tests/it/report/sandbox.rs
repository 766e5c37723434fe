//! The report of the sandbox's machine: the reader takes it, the judge finds nothing, and where the document or the world is
//! another it finds that.

use std::collections::BTreeMap;

use gangplank::{
    provider::{aws, azure},
    sandbox::{
        machine::{Host, Hosts, Machine, Speech},
        vm::{Channel, Vm},
    },
    verify::{
        Check, Verdict,
        machine::{MachineEvidence, judge},
        report::{self, Report, Why},
    },
};
use jiff::{SignedDuration, Timestamp};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(MADE).unwrap()
}

fn vm(plan: &Plan, channel: Channel) -> Vm {
    given(cloudinit::render(plan).unwrap().text, channel)
}

fn given(document: String, channel: Channel) -> Vm {
    Vm {
        id: INSTANCE.to_owned(),
        instance: INSTANCE.to_owned(),
        launched: now() - SignedDuration::from_mins(3),
        running: true,
        document: cloudinit::compressed(&document),
        channel,
        address: [203, 0, 113, 10].into(),
    }
}

fn tags(plan: &Plan) -> Channel {
    Channel::Tags(Some(aws::keys::tags(plan)))
}

fn user_data(plan: &Plan) -> Channel {
    Channel::UserData(azure::keys::user_data(plan, None).map(String::into_bytes))
}

fn hosts() -> Hosts {
    let host = |name: &str, address: [u8; 4]| Host {
        name: name.to_owned(),
        address: address.into(),
        port: 5432,
        speaks: Speech::Postgres { tls: true },
    };
    Hosts(vec![host("warehouse.example.internal", [10, 20, 2, 10]), host("", [10, 20, 2, 11])])
}

fn last(lines: &[String], plan: &Plan) -> Report {
    let seal = cloudinit::render(plan).unwrap().digest;
    report::read(&lines.join("\n"), &seal, Some(INSTANCE)).unwrap_or_else(|none| panic!("{none}: {lines:#?}")).report
}

fn judged(plan: &Plan, lines: &[String], machine: &Machine) -> Vec<Check> {
    let document = cloudinit::render(plan).unwrap().digest;
    let reading = report::read(&lines.join("\n"), &machine.document, Some(INSTANCE)).unwrap();
    let pin = machine.host_keys().pop();
    judge(
        plan,
        &MachineEvidence {
            report: Ok(&reading),
            now: now() + SignedDuration::from_mins(1),
            launched: Some(now() - SignedDuration::from_mins(3)),
            document: &document,
            tagged_document: Some(&machine.document),
            deadline: None,
            pinned_host_key: pin.as_deref(),
        },
    )
}

fn red(checks: &[Check]) -> Vec<String> {
    checks.iter().filter(|c| c.verdict.is_fail()).map(Check::name).collect()
}

#[test]
fn a_machine_of_a_plan_is_green() {
    for (key_updates, channel) in
        [("replace", (|_| Channel::Tags(None)) as fn(&Plan) -> Channel), ("live", tags), ("live", user_data)]
    {
        let plan = read_plan(&plan_text(key_updates));
        let vm = vm(&plan, channel(&plan));
        let mut machine = Machine::boot(&vm, 1, now());
        let lines = machine.tick(&vm, &hosts(), now());
        let checks = judged(&plan, &lines, &machine);
        let others: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
        assert!(others.is_empty(), "{others:#?} {lines:#?}");
        // It has nothing more to say for an hour, and is what it was after its way through a file.
        let text = serde_json::to_string(&machine).unwrap();
        let mut machine: Machine = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&machine).unwrap(), text);
        assert_eq!(machine.tick(&vm, &hosts(), now() + SignedDuration::from_mins(59)), [""; 0]);
        let later = machine.tick(&vm, &hosts(), now() + SignedDuration::from_hours(1));
        let report = last(&later, &plan);
        assert_eq!((report.why, report.targets.as_result().unwrap()[0].tcp.as_deref()), (Why::Hour, Some("ok")));
        // Another boot of the same machine has the same host keys.
        let again = Machine::boot(&vm, 1, now() + SignedDuration::from_hours(2));
        assert_eq!(again.host_keys(), machine.host_keys());
        assert_ne!(Machine::boot(&vm, 2, now()).host_keys(), machine.host_keys());
    }
}

#[test]
fn a_machine_closes_at_its_deadline_and_opens_for_a_later_one() {
    let end = now() + SignedDuration::from_mins(30);
    let plan = read_plan(&plan_text("live").replace("version: 1\n", "version: 1\nlifetime: 30m\n"));
    let tagged = |end: Timestamp| {
        let mut tags = aws::keys::tags(&plan);
        tags.insert("gangplank:expires".to_owned(), end.to_string());
        Channel::Tags(Some(tags))
    };
    let told = |end: Timestamp| Channel::UserData(azure::keys::user_data(&plan, Some(end)).map(String::into_bytes));
    for channel in [&tagged as &dyn Fn(Timestamp) -> Channel, &told] {
        let mut vm = vm(&plan, channel(end));
        let mut machine = Machine::boot(&vm, 1, now());
        machine.tick(&vm, &hosts(), now());
        let keys =
            |machine: &Machine| machine.accounts.values().filter_map(|a| a.authorized_keys.clone()).collect::<Vec<_>>();
        let open = keys(&machine);
        assert!(open.iter().any(|text| !text.is_empty()) && !machine.time_is_up(now()));

        let said = machine.tick(&vm, &hosts(), end).join("\n");
        assert!(said.contains(&format!("the bastion's time is up since {end}: nobody is let in")), "{said}");
        assert!(machine.time_is_up(end) && keys(&machine).iter().all(String::is_empty));
        let known = last(&[said], &plan).deadline.as_result().unwrap().clone().unwrap();
        assert_eq!((known.expires, known.closed), (Some(end.as_second()), true));

        // What it can't read changes nothing; a later end opens it again.
        vm.channel = Channel::Tags(None);
        machine.tick(&vm, &hosts(), end);
        assert!(machine.time_is_up(end));
        let later = end + SignedDuration::from_hours(1);
        vm.channel = channel(later);
        machine.tick(&vm, &hosts(), end);
        assert!(!machine.time_is_up(end) && machine.time_is_up(later));
        assert_eq!(keys(&machine), open);
    }
}

/// The members of a report, at every depth but those that are data.
fn members(value: &Value, path: &str, found: &mut Vec<String>) {
    if let Value::Object(all) = value {
        for (name, value) in all {
            let path = format!("{path}.{name}");
            members(value, &path, found);
            found.push(path);
        }
    }
    if let Some(first) = value.as_array().and_then(|all| all.last()) {
        members(first, &format!("{path}[]"), found);
    }
}

#[test]
fn a_report_has_the_members_of_the_scripts() {
    for key_updates in ["replace", "live"] {
        let plan = read_plan(&plan_text(key_updates));
        let vm = vm(&plan, tags(&plan));
        let mut machine = Machine::boot(&vm, 1, now());
        let lines = machine.tick(&vm, &hosts(), now());
        let ours: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        let (mut ours_members, mut theirs) = (Vec::new(), Vec::new());
        members(&ours, "", &mut ours_members);
        members(&good(&plan), "", &mut theirs);
        // OpenSSH has it from 9.8 on, and this one is Debian 12's.
        theirs.retain(|path| path != ".sshd.settings.persourcepenalties");
        let missing: Vec<_> = theirs.iter().filter(|path| !ours_members.contains(path)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

/// Each fault of a document with what turns red; the plan is what it was.
#[test]
fn a_document_that_is_another_makes_another_machine() {
    let plan = read_plan(&plan_text("replace"));
    let document = cloudinit::render(&plan).unwrap().text;
    let faults: [(&str, &str, &[&str]); 8] = [
        ("shell: /usr/sbin/nologin", "shell: /bin/bash", &["machine.account[ana]", "machine.account[secoda]"]),
        ("lock_passwd: true", "lock_passwd: false", &["machine.account[ana]", "machine.account[secoda]"]),
        ("  PermitTTY no\n", "  PermitTTY yes\n", &["machine.confinement[ana]", "machine.confinement[secoda]"]),
        ("PasswordAuthentication no\n", "PasswordAuthentication yes\n", &["machine.authentication"]),
        ("Port 22\n", "Port 2222\n", &["machine.port"]),
        ("MaxStartups 50:30:200", "MaxStartups 5:30:20", &["machine.concurrency"]),
        ("Port 22\n", "Port 22\n    Fnord yes\n", &["machine.cloud-init"]),
        ("- name: \"ana\"", "- name: \"bob\"", &["machine.cloud-init"]),
    ];
    for (from, to, expected) in faults {
        assert!(document.contains(from), "{from} in {document}");
        let vm = given(document.replace(from, to), Channel::Tags(None));
        let mut machine = Machine::boot(&vm, 1, now());
        let lines = machine.tick(&vm, &hosts(), now());
        // As if the plan had asked for this document: only then does what follows from it turn red.
        let reading = report::read(&lines.join("\n"), &machine.document, None).unwrap();
        let own = judge(
            &plan,
            &MachineEvidence {
                report: Ok(&reading),
                now: now(),
                launched: None,
                document: &machine.document,
                tagged_document: None,
                deadline: None,
                pinned_host_key: None,
            },
        );
        let mut failed = red(&own);
        failed.sort();
        assert_eq!(failed, expected, "{to}: {own:#?}");
    }
}

#[test]
fn the_world_around_is_told() {
    let plan = read_plan(&plan_text("replace"));
    let vm = vm(&plan, Channel::Tags(None));
    let mut machine = Machine::boot(&vm, 1, now());
    let mut hosts = hosts();
    hosts.0[0].name = "another.example.internal".to_owned();
    hosts.0[1].port = 1;
    let lines = machine.tick(&vm, &hosts, now());
    assert_eq!(
        red(&judged(&plan, &lines, &machine)),
        ["machine.target-dns[warehouse]", "machine.target[lake]"],
        "{lines:#?}"
    );
}

#[test]
fn changed_keys_are_taken_whole_or_not_at_all() {
    let plan = read_plan(&plan_text("live"));
    let rotated = read_plan(&plan_text("live").replacen(KEY, "", 1).replace("keys: [\"\"]", "keys: []"));
    for channel in [tags, user_data] {
        let mut vm = vm(&plan, channel(&plan));
        let mut machine = Machine::boot(&vm, 1, now());
        machine.tick(&vm, &hosts(), now());
        let accepted = |report: &Report| -> usize {
            let accounts = report.accounts.as_result().unwrap();
            accounts.values().map(|a| a.as_result().unwrap().keys.as_result().unwrap().accepted.len()).sum()
        };

        vm.channel = match channel(&rotated) {
            Channel::Tags(Some(mut tags)) => {
                tags.insert("gangplank:keys".to_owned(), "0".repeat(32));
                Channel::Tags(Some(tags))
            }
            _ => Channel::UserData(Some(b"0123\nana".to_vec())),
        };
        let lines = machine.tick(&vm, &hosts(), now() + SignedDuration::from_secs(20));
        let report = last(&lines, &plan);
        assert!(lines[0].starts_with("gangplank: the keys stay as they are: "), "{lines:#?}");
        assert_eq!((report.why, accepted(&report)), (Why::Keys, 2));
        assert!(report.key_channel.as_result().unwrap().as_ref().unwrap().problem.is_some());
        assert_eq!(machine.tick(&vm, &hosts(), now() + SignedDuration::from_secs(40)), [""; 0], "told once");

        vm.channel = channel(&rotated);
        let lines = machine.tick(&vm, &hosts(), now() + SignedDuration::from_secs(60));
        assert_eq!(lines[0], "gangplank: secoda may enter with no key");
        let report = last(&lines, &plan);
        assert_eq!((report.why, accepted(&report)), (Why::Keys, 1));
        assert_eq!(report.key_channel.as_result().unwrap().as_ref().unwrap().problem, None);
    }
}

#[test]
fn what_cannot_be_read_is_a_machine_that_tells_nothing() {
    let mut vm = given(String::new(), Channel::Tags(Some(BTreeMap::new())));
    for document in [&b""[..], b"\x1f\x8b\x08", b"#cloud-config\nusers: 5\n", b"#cloud-config\n{}\n"] {
        vm.document = document.to_vec();
        let mut machine = Machine::boot(&vm, 1, now());
        let lines = machine.tick(&vm, &hosts(), now());
        assert!(report::read(&lines.join("\n"), "", None).is_err(), "{lines:#?}");
        assert!(machine.listens(22) && !machine.listens(2222), "the image's own sshd runs");
    }
    vm.running = false;
    assert_eq!(Machine::boot(&vm, 1, now()).tick(&vm, &hosts(), now()), [""; 0]);
}
