//! The document boots on each kind of machine, and the running daemon does what the plan says.

use std::{sync::Arc, time::Instant};

use gangplank::{
    diagnostic::{Source, render},
    plan::{self, Plan},
    provider::aws::keys,
    verify::Verdict,
};
use jiff::SignedDuration;
use tempfile::TempDir;

use super::{
    Blueprint, Claims, Identity, Kind, Lab, eventually,
    lab::{DATABASE_NAME, OPERATOR, STRANGER, VENDOR},
    look::Watch,
    sessions,
};

/// The people of a lab.
pub struct Keys {
    _folder: TempDir,
    pub vendor: Identity,
    /// What the vendor changes to.
    pub next: Identity,
    /// One of the vendor's too.
    pub rsa: Identity,
    pub operator: Identity,
    /// Nobody knows it.
    pub stranger: Identity,
}

impl Keys {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = |name| Identity::new(folder.path(), name, "ed25519");
        let (vendor, next) = (identity("vendor"), identity("next"));
        let (operator, stranger) = (identity("operator"), identity("stranger"));
        let rsa = Identity::new(folder.path(), "rsa", "rsa");
        Self { _folder: folder, vendor, next, rsa, operator, stranger }
    }
}

const AWS: &str =
    "aws: {region: us-east-1, subnet: subnet-0a1b2c3d4e5f60718, image: debian-13, instance_type: t4g.nano}";

/// A plan for the lab; these keys are the vendor's.
pub fn plan(keys: &Keys, vendor: &[&Identity]) -> Plan {
    plan_on(AWS, keys, vendor, "")
}

/// The same, with consent to a login at the database.
pub fn plan_with_login(keys: &Keys, vendor: &[&Identity]) -> Plan {
    plan_on(AWS, keys, vendor, WITH_LOGIN)
}

const WITH_LOGIN: &str = ", login_attempt: {user: probe, database: postgres}";

/// The same on Azure.
pub fn azure_plan(keys: &Keys, vendor: &[&Identity]) -> Plan {
    const AZURE: &str = "azure:
  subscription: 00000000-0000-0000-0000-000000000000
  location: westeurope
  resource_group: rg-bastion
  network: {existing: vnet-data, subnet: snet-a}
  edge: {firewall: {existing: fw-hub}}
  size: Standard_B1s
  image: debian-13";
    plan_on(AZURE, keys, vendor, WITH_LOGIN)
}

fn plan_on(cloud: &str, keys: &Keys, vendor: &[&Identity], target: &str) -> Plan {
    let vendor: Vec<String> = vendor.iter().map(|key| format!("\"{}\"", key.public)).collect();
    read(&format!(
        "version: 1
name: warehouse
{cloud}
ssh: {{open_files: {}}}
tunnels:
  - user: secoda
    allow_from: [{VENDOR}]
    keys: [{}]
    targets:
      - {{name: warehouse, host: {DATABASE_NAME}, port: 5432, speaks: postgres, networks: [10.0.2.0/24]{target}}}
operators:
  - {{name: ana, allow_from: [{OPERATOR}], keys: [\"{}\"]}}
",
        open_files(),
        vendor.join(", "),
        keys.operator.public,
    ))
}

/// The default, or what this machine's own limit leaves: a container cannot have more than its host.
pub fn open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_max.min(65535)
}

fn read(text: &str) -> Plan {
    let source = Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() };
    plan::read(Arc::new(source)).unwrap_or_else(|problems| panic!("{}", render(&problems, false)))
}

#[test]
fn debian_13_boots_as_the_plan_says() {
    boots(Kind::Debian13);
}

#[test]
fn debian_13_with_a_socket_for_sshd_boots_as_the_plan_says() {
    boots(Kind::Debian13Socket);
}

#[test]
fn debian_12_boots_as_the_plan_says() {
    boots(Kind::Debian12);
}

#[test]
fn a_machine_with_a_unit_named_sshd_boots_as_the_plan_says() {
    boots(Kind::Sshd);
}

#[test]
fn a_machine_without_systemd_boots_as_the_plan_says() {
    boots(Kind::Sysv);
}

fn boots(kind: Kind) {
    let keys = Keys::new();
    let plan = plan(&keys, &[&keys.vendor]);
    let Some(lab) = Lab::up(&plan, &Blueprint { kind, ..Blueprint::default() }) else { return };
    let booted = lab.machine.age();
    let mut claims = Claims::default();

    cloud_init(&lab, &mut claims);
    report(&lab, &plan, &mut claims);
    accounts(&lab, &mut claims);
    daemon(&lab, &mut claims);
    network(&lab, &keys, &mut claims);
    let times = live_keys(&lab, &keys, &mut claims);
    println!(
        "{kind:?}: booted in {:.1} s; keys {times}; all in {:.1} s",
        booted.as_secs_f64(),
        lab.machine.age().as_secs_f64()
    );
    claims.end(|| format!("--- console\n{}", lab.machine.console()));
}

/// cloud-init has nothing to complain about, and neither has systemd.
fn cloud_init(lab: &Lab, claims: &mut Claims) {
    let status = lab.machine.run("cloud-init status --long");
    claims.that(status.code() == Some(0) && status.stdout.contains("status: done"), &status);
    let result: serde_json::Value =
        serde_json::from_str(&lab.machine.sh("cat /run/cloud-init/result.json")).expect("cloud-init writes JSON");
    claims.same(&result["v1"]["errors"], &serde_json::json!([]), "cloud-init's errors");
    for line in lab.machine.run("grep -E 'WARNING|ERROR|CRITICAL|Traceback' /var/log/cloud-init.log").stdout.lines() {
        claims.that(false, format_args!("in cloud-init's log: {line}"));
    }
    if lab.kind.has_systemd() {
        claims.same(lab.machine.sh("systemctl --failed --plain --no-legend").as_str(), "", "failed units");
    }
}

/// The machine's own report on the console, and the verifier's opinion of it.
fn report(lab: &Lab, plan: &Plan, claims: &mut Claims) {
    let watch = Watch::new(lab, plan, OPERATOR, None);
    let reading = watch.read(lab).expect("it has been read before");
    for check in watch.judge(Ok(&reading), SignedDuration::ZERO) {
        claims.that(check.verdict == Verdict::Pass, format_args!("{check:#?}"));
    }
    claims.that(reading.later_rejected.is_empty(), format_args!("not reports: {:?}", reading.later_rejected));
}

/// The accounts are the plan's, may do nothing on the machine, and nobody else has a way in.
fn accounts(lab: &Lab, claims: &mut Claims) {
    for user in ["secoda", "ana"] {
        let seen = lab.machine.sh(&format!(
            "getent passwd {user} | cut -d: -f6,7; id -Gn {user}; passwd -S {user} | cut -d' ' -f2
             cd /home/{user}; stat -c '%a %U %n' . .ssh .ssh/authorized_keys; ls -A .ssh; wc -l <.ssh/authorized_keys
             sudo -n -l -U {user} | grep -c 'may run' || :"
        ));
        let expected = format!(
            "/home/{user}:/usr/sbin/nologin\n{user}\nL\n700 {user} .\n700 {user} .ssh\n600 {user} .ssh/authorized_keys\n\
             authorized_keys\n1\n0\n"
        );
        claims.same(seen, expected, format_args!("the account {user}"));
    }
    let shells = lab.machine.sh("getent passwd | grep -vE ':(/usr/sbin/nologin|/bin/false|/bin/sync)$' | cut -d: -f1");
    claims.same(shells.as_str(), "root\n", "accounts with a shell");
    let keys = lab.machine.sh("find / -xdev -name 'authorized_keys*' -size +0 | sort");
    claims.same(keys.as_str(), "/home/ana/.ssh/authorized_keys\n/home/secoda/.ssh/authorized_keys\n", "key files");
}

/// What counts is the running daemon: its files may say something else.
fn daemon(lab: &Lab, claims: &mut Claims) {
    let listeners = lab.machine.sh("ss -Hltnp 'sport = :22'");
    claims.that(listeners.lines().count() == 2, format_args!("IPv4 and IPv6, once each: {listeners}"));
    claims.that(listeners.lines().all(|line| line.contains("\"sshd\"")), format_args!("sshd listens: {listeners}"));
    let daemon = lab.machine.sh("pgrep -o -x sshd");
    let daemon = daemon.trim();
    let title = lab.machine.sh(&format!("tr '\\0' ' ' </proc/{daemon}/cmdline"));
    claims.that(title.contains("[listener] ") && title.contains(" of 50-200 startups"), format_args!("title: {title}"));
    let limits = lab.machine.sh(&format!("grep -E '^Max (open files|processes)' /proc/{daemon}/limits"));
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len()..].split_whitespace().next().unwrap_or_default().to_owned()
    };
    claims.same(limit("Max open files"), open_files().to_string(), "open files of the daemon");
    if lab.kind.has_systemd() {
        claims.same(limit("Max processes").as_str(), "65535", "processes of the daemon");
        let service = lab.kind.service();
        let units =
            lab.machine.run(&format!("systemctl is-enabled {service}.service; systemctl is-active {service}.socket"));
        claims.same(units.stdout.as_str(), "enabled\ninactive\n", "the service starts by itself, without a socket");
    }
}

/// From the internet: who comes in, and what they reach.
fn network(lab: &Lab, keys: &Keys, claims: &mut Claims) {
    claims.that(!lab.host_keys().is_empty(), "the console shows the host keys");
    claims.that(lab.admits(VENDOR, &keys.vendor, "secoda"), "the vendor comes in");
    claims.that(lab.admits(OPERATOR, &keys.operator, "ana"), "the operator comes in");
    claims.same(sessions::at_once(lab, VENDOR, &keys.vendor, "secoda", 60), 50, "sessions of one connection");
    if lab.kind.has_systemd() {
        let log = lab.machine.sh(&format!("journalctl -u {} --no-pager", lab.kind.service()));
        let seen = format!("Accepted publickey for secoda from {VENDOR} ");
        claims.that(log.contains(&seen), format_args!("sshd sees the vendor's address: {log}"));
    }
    claims.that(!lab.admits(STRANGER, &keys.vendor, "secoda"), "another source does not come in");
    for (key, user, who) in [
        (&keys.stranger, "secoda", "another key"),
        (&keys.vendor, "ana", "another user's key"),
        (&keys.vendor, "root", "root"),
        (&keys.vendor, "debian", "the image's administrator"),
    ] {
        claims.that(!lab.admits(VENDOR, key, user), format_args!("{who} does not come in"));
    }
    let asked = |target: &str| lab.ask_postgres(VENDOR, &keys.vendor, "secoda", target);
    let database = asked(&format!("{DATABASE_NAME}:5432"));
    claims.that(matches!(database, Ok('N' | 'S')), format_args!("PostgreSQL answers: {database:?}"));
    for target in ["10.0.2.5:5432", "warehouse.internal:22", "127.0.0.1:22", "169.254.169.254:80"] {
        let refused = asked(target);
        let prohibited = refused.as_ref().is_err_and(|said| said.contains("prohibited"));
        claims.that(prohibited, format_args!("{target} is refused: {refused:?}"));
    }
    for hidden in ["10.0.1.4/22", "10.0.2.5/5432", "192.0.2.4/80", "192.0.2.254/22"] {
        let (address, port) = hidden.split_once('/').expect("written so");
        let open = lab.internet.enter(|| {
            let address =
                std::net::SocketAddr::new(address.parse().expect("an address"), port.parse().expect("a port"));
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).is_ok()
        });
        claims.that(!open, format_args!("{hidden} is closed from the internet"));
    }
}

/// The running machine takes its keys from its tags.
fn live_keys(lab: &Lab, keys: &Keys, claims: &mut Claims) -> String {
    if !matches!(lab.kind, Kind::Debian13 | Kind::Sysv) {
        return "not changed".to_owned();
    }
    let comes_in = |key| lab.admits(VENDOR, key, "secoda");
    let daemon = lab.machine.sh("pgrep -o -x sshd");
    let mut times = Vec::new();
    let (both, first, second, none) = ([&keys.vendor, &keys.next], [&keys.vendor], [&keys.next], []);
    // (what, the vendor's keys in the tags, which then are accepted; those which are refused)
    let steps = [
        ("added", &both[..], &none[..]),
        ("rotated", &second, &first),
        ("revoked", &none, &both),
        ("restored", &first, &second),
    ];
    for (what, accepted, refused) in steps {
        let began = Instant::now();
        lab.tag(&keys::tags(&plan(keys, accepted)));
        eventually(format_args!("a key is {what}"), || {
            let holds = accepted.iter().all(|key| comes_in(key)) && refused.iter().all(|key| !comes_in(key));
            holds.then_some(())
        });
        times.push(format!("{what} {:.1} s", began.elapsed().as_secs_f64()));
    }
    let told = |console: &str| console.matches("the keys stay as they are").count();
    let before = told(&lab.machine.console());
    let mut torn = keys::tags(&plan(keys, &[&keys.next]));
    torn.remove("gangplank:keys");
    lab.tag(&torn);
    eventually("the machine refuses a set that is not whole, on its console", || {
        (told(&lab.machine.console()) > before).then_some(())
    });
    claims.that(comes_in(&keys.vendor) && !comes_in(&keys.next), "a malformed set changes nothing");
    claims.same(lab.machine.sh("pgrep -o -x sshd"), daemon, "sshd is not restarted for a key");
    times.join(", ")
}
