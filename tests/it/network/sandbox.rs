//! The sandbox's machine and the real sshd, given the same settings and keys: the verifier must not tell them apart.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::{BoxFuture, FutureExt};
use gangplank::{
    cloudinit,
    sandbox::{
        machine::{Daemon, Host, Hosts, Machine as Sandbox, Speech, ssh::Visit},
        vm::{Channel, Vm},
    },
    verify::network::dial::{Dialed, Dialer, NoConnection},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{bastion::Machine, *};

/// The usual two databases.
pub fn databases() -> [Option<Speech>; 2] {
    [Some(Speech::Postgres { tls: false }), Some(Speech::Mysql)]
}

/// A machine in this process, and the way to it.
#[derive(Clone)]
pub struct InProcess {
    pub machine: Arc<Sandbox>,
    pub daemon: Arc<Daemon>,
    pub around: Arc<Hosts>,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl Dialer for InProcess {
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, Result<Dialed, NoConnection>> {
        let source = from.unwrap_or(LOOPBACK);
        let dialed = if self.machine.listens(to.port()) {
            let visit = Visit {
                machine: Arc::clone(&self.machine),
                around: self.around.clone(),
                source,
                now: Timestamp::UNIX_EPOCH,
            };
            Ok(Dialed { stream: Box::new(self.daemon.open(visit)), source: Some(source) })
        } else {
            Err(NoConnection::Refused)
        };
        async { dialed }.boxed()
    }

    fn source(&self, _: SocketAddr) -> BoxFuture<'_, Option<IpAddr>> {
        async { Some(LOOPBACK) }.boxed()
    }
}

/// The plan's document with the machine's spoilt files in it.
pub fn document(machine: &Machine) -> Vec<u8> {
    let mut document: Value = serde_yaml::from_str(&cloudinit::render(&machine.plan).unwrap().text).unwrap();
    for user in document["users"].as_array_mut().unwrap() {
        user["shell"] = json!(machine.shell);
    }
    for file in document["write_files"].as_array_mut().unwrap() {
        let path = file["path"].as_str().unwrap().to_owned();
        let keys = machine.authorized_keys.iter().find(|(user, _)| path == format!("/etc/gangplank/keys/{user}"));
        if path == "/etc/gangplank/sshd.conf" {
            file["content"] = json!(machine.sshd_config);
        } else if let Some((_, content)) = keys {
            file["content"] = json!(content);
        }
    }
    cloudinit::compressed(&format!("#cloud-config\n{document}\n"))
}

pub fn vm(document: Vec<u8>) -> Vm {
    Vm {
        id: "i-0123456789abcdef0".to_owned(),
        instance: "i-0123456789abcdef0".to_owned(),
        launched: Timestamp::UNIX_EPOCH,
        running: true,
        document,
        channel: Channel::Tags(None),
        address: LOOPBACK,
    }
}

pub fn hosts(plan: &Plan, speak: [Option<Speech>; 2]) -> Hosts {
    let targets = plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets);
    let hosts = targets.zip(speak).filter_map(|(target, speaks)| {
        Some(Host { name: String::new(), address: LOOPBACK, port: target.port, speaks: speaks? })
    });
    // Something else is on loopback, too, so that what is closed there refuses.
    let other = Host { name: String::new(), address: LOOPBACK, port: 1, speaks: Speech::Nothing };
    Hosts(hosts.chain([other]).collect())
}

impl InProcess {
    pub fn new(machine: &Machine, speak: [Option<Speech>; 2]) -> Self {
        Self {
            machine: Arc::new(Sandbox::boot(&vm(document(machine)), 7, Timestamp::UNIX_EPOCH)),
            daemon: Arc::default(),
            around: Arc::new(hosts(&machine.plan, speak)),
        }
    }
}

/// Verifies the sandbox's machine in the way in which the real one was, and expects the same verdicts, causes included.
#[track_caller]
pub fn agrees(machine: &Machine, reach: &Reach, speak: [Option<Speech>; 2], real: &[Check]) {
    let sandbox = InProcess::new(machine, speak);
    let host_keys = match reach.host_keys {
        HostKeys::Known(_) => HostKeys::Known(sandbox.machine.host_keys()),
        HostKeys::Unknown { .. } => reach.host_keys.clone(),
    };
    let checks = run(&machine.plan, &Reach { host_keys, dialer: Arc::new(sandbox), ..reach.clone() });
    let verdicts = |checks: &[Check]| -> Vec<_> { checks.iter().map(|c| (c.name(), c.verdict.clone())).collect() };
    assert_eq!(verdicts(&checks), verdicts(real), "{checks:#?}");
}

#[test]
fn what_a_machine_offers_is_what_the_real_sshd_offers() {
    let Some(machine) = Machine::new() else { return };
    let running = machine.start();
    let real = run(&machine.plan, &machine.reach());
    let sandbox = InProcess::new(&machine, databases());
    let host_keys = HostKeys::Known(sandbox.machine.host_keys());
    let reach = Reach { host_keys, dialer: Arc::new(sandbox), ..machine.reach() };
    let checks = run(&machine.plan, &reach);
    // Another version of OpenSSH greets otherwise; each has host keys of its own; the library has no sntrup761 and no UMAC; and
    // times are told.
    let own = ["network.banner", "network.host-key", "network.algorithms", "network.forward", "network.concurrent"];
    for (check, real) in checks.iter().zip(&real).filter(|(check, _)| !own.contains(&check.id)) {
        assert_eq!(check, real, "{}", running.log());
    }
    assert!(named(&checks, "network.algorithms").evidence.contains(&"key exchange: curve25519-sha256".to_owned()));
}
