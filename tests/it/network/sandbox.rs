//! The sandbox's machine and the real sshd, given the same settings and keys: the verifier must not tell them apart.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::{BoxFuture, FutureExt};
use gangplank::{
    cloudinit,
    sandbox::{
        machine::{Daemon, Host, Hosts, Machine as Sandbox, Speech, config::Config, ssh::Visit},
        vm::{Channel, Vm},
    },
    verify::network::{
        dial::{Dialed, Dialer, NoConnection},
        packets::Packets,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    bastion::{Machine, sshd},
    *,
};

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

    fn packets(&self, _: SocketAddr) -> Option<Packets> {
        Some(Packets::default())
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
    // Another version of OpenSSH greets otherwise; each has host keys of its own; the library has no sntrup761 and no UMAC, and
    // proves no host keys; and times are told.
    let own = [
        "network.banner",
        "network.host-key",
        "network.algorithms",
        "network.session",
        "network.loss",
        "network.forward",
        "network.concurrent",
    ];
    for (check, real) in checks.iter().zip(&real).filter(|(check, _)| !own.contains(&check.id)) {
        assert_eq!(check, real, "{}", running.log());
    }
    assert!(named(&checks, "network.algorithms").evidence.contains(&"key exchange: curve25519-sha256".to_owned()));
}

/// What the real sshd says that a text means for a user; or its refusal. Without defaults of another version.
pub(super) fn real_settings(folder: &Path, text: &str, user: &str) -> Result<BTreeMap<String, String>, String> {
    std::fs::write(folder.join("config"), format!("HostKey {0}/host\n{text}", folder.display())).unwrap();
    let script = format!(
        "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec {} -T -f {}/config -C \
         user={user},host=client.invalid,addr=192.0.2.1,laddr=192.0.2.2,lport=22",
        sshd().unwrap().display(),
        folder.display()
    );
    let mut command = Command::new("unshare");
    let done = command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).output().unwrap();
    if !done.status.success() {
        return Err(String::from_utf8(done.stderr).unwrap());
    }
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in String::from_utf8(done.stdout).unwrap().lines().filter_map(|line| line.split_once(' ')) {
        let all = found.entry(name.to_owned()).or_default();
        all.push_str(if all.is_empty() { "" } else { " " });
        all.push_str(value);
    }
    Ok(found)
}

/// Lines of settings, right and wrong ones, for a random text.
const LINES: [&str; 44] = [
    "Port 22",
    "Port 2222",
    "AllowUsers ana",
    "AllowUsers secoda bob*",
    "DenyUsers bob",
    "UsePAM yes",
    "MaxStartups 50:30:200",
    "MaxStartups 7",
    "MaxSessions 3",
    "MaxSessions 0",
    "MaxAuthTries 2",
    "LoginGraceTime 2m",
    "LoginGraceTime 30",
    "ClientAliveInterval 1m30s",
    "PermitOpen none",
    "PermitOpen any",
    "PermitOpen 10.0.0.1:5432 db.internal:*",
    "PermitOpen [2001:db8::1]:1",
    "PermitListen none",
    "PermitListen 8080",
    "AllowTcpForwarding local",
    "AllowTcpForwarding all",
    "AllowTcpForwarding no",
    "GatewayPorts clientspecified",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "ChallengeResponseAuthentication yes",
    "AuthenticationMethods publickey",
    "AuthenticationMethods publickey,password publickey,keyboard-interactive",
    "PermitRootLogin prohibit-password",
    "X11Forwarding yes",
    "ForceCommand /usr/sbin/nologin",
    "ForceCommand echo \"a  b\" c",
    "PubkeyAcceptedAlgorithms +ssh-rsa",
    "PubkeyAcceptedAlgorithms -rsa-*",
    "MACs ^hmac-sha1",
    "Ciphers aes256-ctr",
    "Match User ana",
    "Match User secoda,a*,!ana",
    "Match Address 192.0.2.0/24",
    "Match all",
    "# Match none",
    "AuthorizedKeysFile  .ssh/authorized_keys",
    "Fnord yes",
];

/// Random texts mean to the sandbox's machine what they mean to the real sshd, and it refuses the same ones.
#[test]
fn settings_mean_what_they_mean_to_the_real_sshd() {
    let Some(machine) = Machine::new() else { return };
    let version = Command::new(sshd().unwrap()).arg("-V").output().unwrap();
    if !String::from_utf8_lossy(&version.stderr).contains("OpenSSH_9.2") {
        return crate::support::cannot("the sandbox's sshd is OpenSSH 9.2, and this one's defaults are another's");
    }
    let seed = std::env::var("GANGPLANK_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut texts = vec![machine.sshd_config.clone(), String::new()];
    texts.extend((0..60).map(|_| {
        // One that is refused is enough for a text.
        let most = LINES.len() - usize::from(random.u8(..10) > 0);
        (0..random.usize(1..12)).map(|_| LINES[random.usize(..most)].to_owned() + "\n").collect()
    }));
    let (mut refused, mut differences) = (0, Vec::new());
    for text in &texts {
        for user in ["ana", "secoda"] {
            let real = real_settings(machine.keys.folder.path(), text, user);
            let ours = Config::read(&[text]).map(|config| config.settings(user, Some([192, 0, 2, 1].into())));
            match (&real, &ours) {
                (Ok(real), Ok(ours)) => {
                    for (name, value) in &ours.0 {
                        let real = real.get(name).map(|real| match name.as_str() {
                            "hostkeyalgorithms" | "pubkeyacceptedalgorithms" => {
                                real.split(',').filter(|name| !name.contains("-cert-")).collect::<Vec<_>>().join(",")
                            }
                            _ => real.clone(),
                        });
                        if real.as_ref() != Some(value) {
                            differences.push(format!("{name} of {user}: really {real:?}, ours {value:?}, in\n{text}"));
                        }
                    }
                }
                (Err(_), Err(_)) => refused += 1,
                _ => differences.push(format!("really {:?}, ours {:?}, in\n{text}", real.err(), ours.err())),
            }
        }
    }
    assert!(differences.is_empty(), "seed {seed}: {}", differences.join("\n"));
    assert!((1..texts.len()).contains(&refused), "{refused} of {} were refused", texts.len() * 2);
}

/// OpenSSH's own client, over loopback.
#[test]
fn opensshs_client_finds_a_bastion() {
    let Some(machine) = Machine::new() else { return };
    let sandbox = InProcess::new(&machine, databases());
    let host_key = sandbox.machine.host_keys().pop().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let visit = Visit {
                machine: Arc::clone(&sandbox.machine),
                around: sandbox.around.clone(),
                source: peer.ip(),
                now: Timestamp::UNIX_EPOCH,
            };
            let daemon = Arc::clone(&sandbox.daemon);
            tokio::spawn(async move { daemon.serve(stream, visit).await });
        }
    });
    let known = machine.keys.path("known_hosts");
    std::fs::write(&known, format!("[127.0.0.1]:{port} {host_key}\n")).unwrap();
    let ssh = |user: &str, key: &str, more: &[&str]| {
        let mut command = Command::new("ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "StrictHostKeyChecking=yes",
        ]);
        command.args(["-o", &format!("UserKnownHostsFile={}", known.display()), "-p", &port.to_string(), "-i"]);
        command.arg(machine.keys.path(key)).args(["-l", user]).args(more).stdin(std::process::Stdio::null());
        let done = command.output().unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    let no_shell = (Some(1), "This account is currently not available.\n".to_owned(), String::new());
    assert_eq!(ssh("ana", "ana", &["127.0.0.1", "echo", "hello"]), no_shell);
    assert_eq!(ssh("secoda", "vendor-rsa", &["-s", "127.0.0.1", "sftp"]), no_shell);
    let (code, _, said) = ssh("secoda", "ana", &["127.0.0.1", "true"]);
    assert!(code == Some(255) && said.contains("Permission denied (publickey)."), "{said}");
    let orders = format!("127.0.0.1:{}", machine.plan.tunnels[1].targets[0].port);
    let (code, greeting, said) = ssh("ana", "ana", &["-W", &orders, "127.0.0.1"]);
    assert!(code == Some(0) && greeting.contains("8.0.36"), "{said}");
    let (_, _, said) = ssh("secoda", "vendor", &["-W", &orders, "127.0.0.1"]);
    assert!(said.contains("administratively prohibited"), "{said}");
    runtime.shutdown_background();
}
