//! What is copied into OpenSSH's files. Nothing gets into them that was not checked for its place.

use std::{fmt::Write, net::IpAddr};

use serde::Serialize;
use ssh_key::{HashAlg, PublicKey};

use crate::plan::{Host, Plan, Protocol, PublicKey as PlanKey};

/// A host key of the bastion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostKey {
    pub algorithm: String,
    /// `SHA256:...`, as `ssh-keygen -l` and a first connection print it.
    pub fingerprint: String,
    /// A line of known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"); `None` while there is no address.
    pub known_hosts: Option<String>,
}

/// How an operator tries the tunnels from an own machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByHand {
    /// Whose snippet it is; other operators write their own name into it.
    pub operator: String,
    /// A block of ssh_config(5).
    pub ssh_config: String,
    /// Where the host keys belong, if they are known: the snippet reads them there.
    pub known_hosts_file: String,
    /// Opens the forwards and waits.
    pub open: String,
    pub trials: Vec<Trial>,
}

/// One target through its forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    pub target: String,
    /// On 127.0.0.1 of the operator's machine.
    pub local_port: u16,
    pub command: String,
}

/// An IP address, or a name of letters, digits, `-`, `.` and `_`: nothing that a line of OpenSSH's files reads otherwise.
pub(super) fn is_host(text: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    text.parse::<IpAddr>().is_ok()
        || ((1..=253).contains(&text.len()) && !text.starts_with(['-', '.']) && text.bytes().all(name))
}

/// Keys that OpenSSH reads, without their comments. What is none is left out, with a note.
pub(super) fn host_keys(keys: &[String], address: Option<&str>, port: u16, notes: &mut Vec<String>) -> Vec<HostKey> {
    let mut found: Vec<HostKey> = Vec::new();
    let mut unreadable = 0_usize;
    for key in keys {
        let bare = PublicKey::from_openssh(key.trim()).ok().and_then(|key| {
            let text = PublicKey::new(key.key_data().clone(), "").to_openssh().ok()?;
            Some((key.algorithm().to_string(), key.fingerprint(HashAlg::Sha256).to_string(), text))
        });
        let Some((algorithm, fingerprint, text)) = bare else {
            unreadable += 1;
            continue;
        };
        if found.iter().all(|known| known.fingerprint != fingerprint) {
            let known_hosts = address.map(|address| format!("{} {}", host_pattern(address, port), text.trim()));
            found.push(HostKey { algorithm, fingerprint, known_hosts });
        }
    }
    if unreadable > 0 {
        notes.push(format!("{unreadable} of the host keys that the machine told could not be read and are left out"));
    }
    found
}

/// The port is written only where it is not 22, and then in brackets with the host.
fn host_pattern(address: &str, port: u16) -> String {
    if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") }
}

/// `None` where the plan has no operator.
pub(super) fn by_hand(
    plan: &Plan,
    address: &str,
    port: u16,
    host_key_known: bool,
    notes: &mut Vec<String>,
) -> Option<ByHand> {
    let operator = plan.operators.first()?;
    let alias = format!("gangplank-{}", plan.name);
    let known_hosts_file = format!("~/.ssh/{alias}.known_hosts");
    let forwards = forwards(plan, notes);
    let mut config = String::new();
    let mut line = |text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(config, "{text}");
    };
    line(&format!("Host {alias}"));
    line(&format!("  HostName {address}"));
    line(&format!("  Port {port}"));
    line(&format!("  User {}", operator.name));
    line(&format!("  IdentityFile {}", operator.keys.first().map_or("~/.ssh/id_ed25519", identity_file)));
    line("  IdentitiesOnly yes");
    line(&format!("  UserKnownHostsFile {known_hosts_file}"));
    // Settings of the operator's machine stay in force where this says nothing: another key would be enough to be believed.
    line("  GlobalKnownHostsFile /dev/null");
    line(&format!("  HostKeyAlias {}", host_pattern(address, port)));
    line("  CheckHostIP no");
    line("  ForwardAgent no");
    // Without a known key the first connection asks, and the operator compares.
    line(&format!("  StrictHostKeyChecking {}", if host_key_known { "yes" } else { "ask" }));
    // OpenSSH knows SessionType since 8.7; older ones need `ssh -N`, and would refuse the whole file.
    line("  IgnoreUnknown SessionType");
    line("  SessionType none");
    line("  RequestTTY no");
    line("  ExitOnForwardFailure yes");
    for forward in &forwards {
        line(&format!("  LocalForward 127.0.0.1:{} {}", forward.local_port, forward.to));
    }
    let trials = forwards
        .iter()
        .map(|f| Trial { target: f.target.clone(), local_port: f.local_port, command: command(f) })
        .collect();
    Some(ByHand {
        operator: operator.name.to_string(),
        ssh_config: config,
        known_hosts_file,
        open: format!("ssh -N {alias}"),
        trials,
    })
}

struct Forward {
    target: String,
    host: String,
    /// `host:port`, with brackets around an IPv6 address.
    to: String,
    speaks: Protocol,
    local_port: u16,
}

/// One for each host and port of the plan, however many tunnels lead there.
fn forwards(plan: &Plan, notes: &mut Vec<String>) -> Vec<Forward> {
    let mut forwards: Vec<Forward> = Vec::new();
    for target in plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets) {
        let host = target.host.to_string();
        if !is_host(&host) {
            notes.push(format!("the host of target `{}` is none, so there is no forward for it", target.name));
            continue;
        }
        let to = match &target.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{}", target.port),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => format!("{host}:{}", target.port),
        };
        if forwards.iter().any(|forward| forward.to == to) {
            continue;
        }
        let taken = |port: u16| forwards.iter().any(|forward| forward.local_port == port);
        // A database of the operator's own has the usual port; 10,000 above is hardly anything.
        let first = target.port.checked_add(10_000).unwrap_or(target.port.max(1024));
        let Some(local_port) = (first..=u16::MAX).chain(1024..first).find(|port| !taken(*port)) else { continue };
        forwards.push(Forward { target: target.name.clone(), host, to, speaks: target.speaks, local_port });
    }
    forwards
}

/// The client of the target's protocol. USER and DATABASE are for the reader to replace.
fn command(forward: &Forward) -> String {
    let Forward { host, local_port: port, .. } = forward;
    match forward.speaks {
        Protocol::Postgres => format!("psql -h 127.0.0.1 -p {port} -U USER DATABASE"),
        Protocol::Mysql => format!("mysql --protocol=TCP -h 127.0.0.1 -P {port} -u USER -p DATABASE"),
        Protocol::Sqlserver => format!("sqlcmd -S tcp:127.0.0.1,{port} -U USER -d DATABASE"),
        Protocol::Tls if host.parse::<IpAddr>().is_ok() => format!("openssl s_client -connect 127.0.0.1:{port}"),
        Protocol::Tls => format!("openssl s_client -connect 127.0.0.1:{port} -servername {host}"),
        Protocol::Tcp => format!("nc 127.0.0.1 {port}"),
    }
}

/// Where OpenSSH's own tools put a key of this kind.
fn identity_file(key: &PlanKey) -> &'static str {
    match key.algorithm.as_str() {
        "ssh-rsa" => "~/.ssh/id_rsa",
        "sk-ssh-ed25519@openssh.com" => "~/.ssh/id_ed25519_sk",
        "sk-ecdsa-sha2-nistp256@openssh.com" => "~/.ssh/id_ecdsa_sk",
        ecdsa if ecdsa.starts_with("ecdsa-") => "~/.ssh/id_ecdsa",
        _ => "~/.ssh/id_ed25519",
    }
}
