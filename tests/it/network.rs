//! Verification from the network: against a real sshd with the settings that the product renders, with one fault at a
//! time; and against servers that behave as badly as they can.

mod bastion;
mod database;
mod faults;
mod hostile;
mod identity;
mod sandbox;
mod sqlserver;
mod targets;
mod turns;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use gangplank::{
    diagnostic::Source,
    plan::*,
    verify::{
        Check, Verdict,
        network::{HostKeys, Identity, Reach},
    },
};
use russh::keys::HashAlg;

/// Keys made for one test, with their private halves in files.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    /// `None` without ssh-keygen, which the test says.
    fn new() -> Option<Self> {
        if Command::new("ssh-keygen").arg("-?").output().is_err() {
            crate::support::skip("no ssh-keygen here");
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key, once.
    fn make(&self, name: &str) -> PublicKey {
        let kind: &[&str] = if name.contains("rsa") { &["rsa", "-b", "2048"] } else { &["ed25519"] };
        let path = self.path(name);
        if !path.exists() {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-N", "", "-C", name, "-f"]).arg(&path).arg("-t").args(kind);
            let made = command.output().unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        public(&path)
    }
}

fn public(private: &Path) -> PublicKey {
    let text = std::fs::read_to_string(private.with_extension("pub")).unwrap();
    let key = russh::keys::PublicKey::from_openssh(text.trim()).unwrap();
    let mut words = text.trim().splitn(3, ' ').map(str::to_owned);
    PublicKey {
        algorithm: words.next().unwrap(),
        base64: words.next().unwrap(),
        comment: words.next().unwrap_or_default(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn target(name: &str, port: u16, speaks: Protocol) -> Target {
    Target { name: name.into(), host: Host::Address(LOOPBACK), port, speaks, networks: Vec::new(), login_attempt: None }
}

fn tunnel(user: &str, keys: Vec<PublicKey>, targets: Vec<Target>) -> Tunnel {
    let allow_from = vec!["127.0.0.1/32".parse().unwrap()];
    Tunnel { user: UserName::new(user).unwrap(), vendor: None, allow_from, keys, legacy_rsa_sha1: None, targets }
}

fn operator(name: &str, keys: Vec<PublicKey>) -> Operator {
    Operator { name: UserName::new(name).unwrap(), allow_from: vec!["127.0.0.1/32".parse().unwrap()], keys }
}

fn plan(port: u16, tunnels: Vec<Tunnel>, operators: Vec<Operator>) -> Plan {
    Plan {
        name: Name::new("warehouse").unwrap(),
        deadline: None,
        tags: BTreeMap::new(),
        ssh: Ssh { port, ..Ssh::default() },
        key_updates: KeyUpdates::Replace,
        tunnels,
        operators,
        cloud: Cloud::Aws(Aws {
            region: None,
            account: None,
            profile: None,
            subnet: SubnetRef::Id("subnet-0a1b2c3d".into()),
            image: AwsImage::Alias(ImageAlias::Debian13),
            image_update: false,
            instance_type: "t4g.nano".into(),
            address: AwsAddress::Elastic,
            database_access: Vec::new(),
            prefix_lists: Vec::new(),
            rules_per_group: 60,
        }),
        origin: Origin {
            source: Arc::new(Source { path: "plan.yaml".into(), text: String::new() }),
            fields: BTreeMap::new(),
        },
    }
}

/// Reaches loopback, with steps that a test can wait for.
fn reach(port: u16, host_keys: HostKeys, identity: Option<Identity>) -> Reach {
    let identity = identity.map(Arc::new);
    let step = Duration::from_secs(10);
    Reach { identity, step, rest: Duration::from_millis(100), ..Reach::new(Host::Address(LOOPBACK), port, host_keys) }
}

fn unknown_host_keys() -> HostKeys {
    HostKeys::Unknown { reason: "no boot report".into() }
}

fn run(plan: &Plan, reach: &Reach) -> Vec<Check> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checks = runtime.block_on(gangplank::verify::network::verify(plan, reach));
    // Nothing of it may linger.
    runtime.shutdown_background();
    checks
}

fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name() == name).unwrap_or_else(|| panic!("no {name} in {:#?}", names(checks)))
}

fn names(checks: &[Check]) -> Vec<String> {
    checks.iter().map(Check::name).collect()
}

/// The ids of the failed checks, each once.
fn red(checks: &[Check]) -> Vec<&'static str> {
    ids(checks, Verdict::is_fail)
}

fn unknown(checks: &[Check]) -> Vec<&'static str> {
    ids(checks, Verdict::is_unknown)
}

fn green(checks: &[Check]) -> Vec<&'static str> {
    ids(checks, |verdict| *verdict == Verdict::Pass)
}

fn ids(checks: &[Check], of: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
    let mut ids: Vec<_> = checks.iter().filter(|check| of(&check.verdict)).map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn cause(check: &Check) -> &str {
    match &check.verdict {
        Verdict::Fail { cause, fix } => {
            assert!(!fix.is_empty());
            cause
        }
        other => panic!("{}: {other:?}, {:#?}", check.name(), check.evidence),
    }
}

fn reason(check: &Check) -> &str {
    match &check.verdict {
        Verdict::Unknown { reason } => reason,
        other => panic!("{}: {other:?}, {:#?}", check.name(), check.evidence),
    }
}
