//! The sandbox's machine beside a real one that was given the same document: their reports, member by member.

use std::collections::BTreeMap;

use gangplank::{
    cloudinit,
    provider::aws::keys,
    sandbox::{
        machine::{Host, Hosts, Machine, Speech},
        vm::{Channel, Vm},
    },
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Blueprint, Kind, Lab,
    boots::{Keys, plan},
    lab::{DATABASE_NAME, OPERATOR},
    look::Watch,
};

/// What a machine of the sandbox tells otherwise, and why.
const OTHER: [(&str, &str); 17] = [
    (".boot_id", "of each boot"),
    (".uptime", "of each moment"),
    (".time", "of each moment"),
    (".clock.skew", "the real one is measured"),
    (".clock.synchronised", "a container's time is its host's"),
    (".key_channel.age", "the real one asks every 20 s"),
    (".sshd.running.pid", "of each start"),
    (".sshd.running.read", "of each start"),
    (".sshd.changed.time", "of each start"),
    (".sshd.host_keys", "of each machine; the sandbox's have no RSA key"),
    (".sshd.running.banner", "a point release of the image"),
    (".disk.free", "the host's"),
    (".refusals", "a container may not set every limit, and says so"),
    (".self_tests.ana.log", "a container may not set every limit, and says so"),
    (".self_tests.secoda.log", "a container may not set every limit, and says so"),
    (".disk.free_inodes", "the host's"),
    (".sha256", "of all of it"),
];

#[test]
fn a_machine_of_the_sandbox_reports_what_a_real_one_reports() {
    let people = Keys::new();
    let plan = plan(&people, &[&people.vendor, &people.rsa]);
    let Some(lab) = Lab::up(&plan, &Blueprint { kind: Kind::Debian12, ..Blueprint::default() }) else { return };
    let watch = Watch::new(&lab, &plan, OPERATOR, None);
    watch.read(&lab).expect("it has reported");
    let console = lab.machine.console();
    let line = console.lines().rfind(|line| line.starts_with("{\"gangplank\":")).expect("a report's line");
    let real: Value = serde_json::from_str(line).expect("the report is JSON");

    let now = Timestamp::now();
    let vm = Vm {
        id: lab.machine.instance().to_owned(),
        instance: lab.machine.instance().to_owned(),
        launched: now,
        running: true,
        document: cloudinit::compressed(&cloudinit::render(&plan).expect("a document").text),
        channel: Channel::Tags(Some(keys::tags(&plan))),
        address: [203, 0, 113, 10].into(),
    };
    let address = real["targets"][0]["dns"][0].as_str().expect("the database's address").parse().expect("an address");
    let database = Host { name: DATABASE_NAME.to_owned(), address, port: 5432, speaks: Speech::Postgres { tls: true } };
    let mut machine = Machine::boot(&vm, 1, now);
    let lines = machine.tick(&vm, &Hosts(vec![database]), now);
    let ours: Value = serde_json::from_str(lines.last().expect("it reports")).expect("the report is JSON");

    let (mut real_leaves, mut our_leaves) = (BTreeMap::new(), BTreeMap::new());
    leaves(&real, String::new(), &mut real_leaves);
    leaves(&ours, String::new(), &mut our_leaves);
    let other = |path: &str| OTHER.iter().any(|(known, _)| path.starts_with(known));
    let mut differences = Vec::new();
    for path in real_leaves.keys().chain(our_leaves.keys()) {
        let (real, ours) = (real_leaves.get(path), our_leaves.get(path));
        if real != ours && !other(path) {
            differences.push(format!("{path}: really {real:?}, in the sandbox {ours:?}"));
        }
    }
    differences.sort();
    differences.dedup();
    assert!(differences.is_empty(), "{differences:#?}\n{line}");
}

/// Every value by its place. Lists are values, but for those of objects.
fn leaves<'a>(value: &'a Value, path: String, found: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(all) if !all.is_empty() => {
            all.iter().for_each(|(name, value)| leaves(value, format!("{path}.{name}"), found))
        }
        Value::Array(all) if all.first().is_some_and(Value::is_object) => {
            all.iter().enumerate().for_each(|(at, value)| leaves(value, format!("{path}[{at}]"), found))
        }
        value => _ = found.insert(path, value),
    }
}
