//! Version 1 of the report, as types. A member that this version does not know is left out; a member that cannot be read
//! is a probe that failed, not a report that is none.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// The version that this program reads.
pub const VERSION: u64 = 1;

/// What one probe of the machine found, or why it found nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<T> {
    /// `{"error": "..."}` in place of the value.
    Failed(String),
    Found(T),
}

impl<T> Seen<T> {
    pub fn as_result(&self) -> Result<&T, &str> {
        match self {
            Seen::Found(value) => Ok(value),
            Seen::Failed(error) => Err(error),
        }
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen::Failed("the report does not say".to_owned())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Seen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if let Some(Value::String(error)) = value.get("error") {
            return Ok(Seen::Failed(error.clone()));
        }
        Ok(T::deserialize(value).map_or_else(|e| Seen::Failed(format!("unreadable: {e}")), Seen::Found))
    }
}

/// One report.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Report {
    /// The instance's id, as cloud-init knows it.
    #[serde(default)]
    pub instance: Seen<String>,
    /// [`crate::cloudinit::UserData::digest`] of the document that the machine was given.
    pub document: String,
    pub why: Why,
    /// The kernel's, another one after each boot.
    #[serde(default)]
    pub boot_id: String,
    /// Seconds since the kernel started.
    pub uptime: f64,
    /// The machine's own clock, in Unix seconds, when the report was made.
    pub time: f64,
    #[serde(default)]
    pub clock: Seen<Clock>,
    #[serde(default)]
    pub cloud_init: Seen<CloudInit>,
    /// gangplank-boot's own result: `ok`, `running`, or what it failed with.
    #[serde(default)]
    pub boot: Seen<String>,
    /// The service that takes changed keys; `None` where keys come with the document.
    #[serde(default)]
    pub key_channel: Seen<Option<KeyChannel>>,
    /// What the machine knows of its deadline; `None` where it does not ask for one.
    #[serde(default)]
    pub deadline: Seen<Option<KnownDeadline>>,
    /// Every account that the document creates, by name.
    #[serde(default)]
    pub accounts: Seen<BTreeMap<String, Seen<Account>>>,
    #[serde(default)]
    pub sshd: Seen<Daemon>,
    /// What listens on TCP, loopback left out.
    #[serde(default)]
    pub listening: Seen<Vec<Listener>>,
    /// Agents of the cloud's that run and are a way in beside sshd.
    #[serde(default)]
    pub agents: Seen<Vec<String>>,
    /// What the machine met on the vendor's own way, by account; `None` where no key is accepted. Empty where none was tried.
    #[serde(default)]
    pub self_tests: Seen<Option<BTreeMap<String, Seen<Option<SelfTest>>>>>,
    #[serde(default)]
    pub guards: Seen<Guards>,
    /// Why sshd, PAM or TCP wrappers sent somebody away since the report before, or within an hour: lines of the journal, each once; `None` without one.
    #[serde(default)]
    pub refusals: Seen<Option<Vec<String>>>,
    /// What came of switching the security updates on: `running`, `ok`, or the command that it gave up on.
    #[serde(default)]
    pub updates: Seen<String>,
    /// Every target of every account, each once.
    #[serde(default)]
    pub targets: Seen<Vec<Target>>,
    #[serde(default)]
    pub disk: Seen<Disk>,
    /// The members that were left out because the line would have become too long.
    #[serde(default)]
    pub truncated: Vec<String>,
}

/// What occasioned a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// cloud-init has ended, or took too long.
    Boot,
    /// The accepted keys changed, or could not.
    Keys,
    /// About an hour has passed.
    Hour,
    /// Somebody ran it.
    #[serde(other)]
    Asked,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Clock {
    /// Seconds that [`Report::time`] is ahead of the metadata service's `Date` header, which has whole seconds.
    #[serde(default)]
    pub skew: Seen<f64>,
    /// Whether the kernel's clock follows a time server; `None` where nothing on the machine tells.
    #[serde(default)]
    pub synchronised: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CloudInit {
    /// `done`, `error`, `running`: of its own result file.
    pub status: String,
    #[serde(default)]
    pub errors: Vec<String>,
    /// What it calls recoverable: deprecations, warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct KeyChannel {
    /// Seconds since it last asked.
    pub age: f64,
    /// Why the keys stay as they are; `None` after a good answer.
    #[serde(default)]
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct KnownDeadline {
    /// In Unix seconds; `None` where it knows that it has none, or knows nothing.
    #[serde(default)]
    pub expires: Option<i64>,
    /// It lets nobody in: the deadline has passed by one of its clocks, or it could not learn of one.
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Account {
    /// Everything else is missing where it does not exist.
    pub exists: bool,
    #[serde(default)]
    pub uid: Option<u32>,
    /// By name, the primary one first.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub shell: String,
    /// No password is accepted.
    #[serde(default)]
    pub locked: Seen<bool>,
    /// Whether sudo allows it anything; `false` where there is no sudo.
    #[serde(default)]
    pub sudo: Seen<bool>,
    #[serde(default)]
    pub home: Seen<Entry>,
    /// The first folder above its home that others may not enter, and its [`Entry`], as text.
    #[serde(default)]
    pub closed: Seen<Option<String>>,
    /// `.ssh` in its home.
    #[serde(default)]
    pub ssh: Seen<Entry>,
    /// `.ssh/authorized_keys`
    #[serde(default)]
    pub file: Seen<Entry>,
    /// What that file accepts.
    #[serde(default)]
    pub keys: Seen<Keys>,
}

/// A name in the file system, itself and not what a link leads to: `dir 0700 secoda`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Entry {
    Missing,
    Present {
        /// `dir`, `file`, `link` or `other`
        kind: String,
        /// Permission bits, set-id and sticky bits among them.
        mode: u32,
        /// By name; its number where it has none.
        owner: String,
    },
}

impl TryFrom<String> for Entry {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["none"] => Ok(Entry::Missing),
            [kind, mode, owner] => {
                let mode = u32::from_str_radix(mode, 8).map_err(|_| format!("not a mode: {text:?}"))?;
                Ok(Entry::Present { kind: (*kind).to_owned(), mode, owner: (*owner).to_owned() })
            }
            _ => Err(format!("not a kind, a mode and an owner: {text:?}")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Keys {
    /// `SHA256:...`, in the file's order; at most 40.
    pub accepted: Vec<String>,
    /// Lines that are neither keys nor comments, and keys beyond the first 40.
    pub other_lines: u64,
    /// The different texts before keys, each as 12 hexadecimal digits of its SHA-256; at most 5.
    pub options: Vec<String>,
}

/// The SSH daemon that runs, and what the files say that it was started with.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Daemon {
    /// `None` where none runs.
    #[serde(default)]
    pub running: Seen<Option<Running>>,
    /// What systemd says about its unit; nothing where there is no systemd.
    #[serde(default)]
    pub state: Value,
    /// The newest file of its configuration, included files, their folders and the host keys among them.
    #[serde(default)]
    pub changed: Seen<Changed>,
    /// `sshd -T`, with the daemon's own options, for the accounts of the document: what is the same for all of them. A
    /// setting that has several values has them with a space between. It is what the *daemon* has only where
    /// [`Running::read`] is later than [`Changed::time`].
    #[serde(default)]
    pub settings: Seen<BTreeMap<String, String>>,
    /// What is not the same for all, by account.
    #[serde(default)]
    pub own_settings: BTreeMap<String, BTreeMap<String, String>>,
    /// `PermitOpen` of each account.
    #[serde(default)]
    pub permit_open: BTreeMap<String, Vec<Open>>,
    /// What a `Match` by address changes; nothing else of a `Match` but the user's name is asked with other values.
    #[serde(default)]
    pub by_address: Seen<Vec<ByAddress>>,
    /// `ssh-ed25519 AAAA...`, without comments.
    #[serde(default)]
    pub host_keys: Seen<Vec<String>>,
}

/// Settings for some addresses.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ByAddress {
    /// As the file says it: an address, a range; or the whole condition where it is another.
    pub from: String,
    /// Of the account with this name.
    #[serde(default)]
    pub user: String,
    /// Those that differ from what everybody else gets; `None` where that can't be asked.
    #[serde(default)]
    pub settings: Option<BTreeMap<String, String>>,
}

/// A login of the machine's own, with a key that is accepted for a minute.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SelfTest {
    /// sshd, the account and PAM let it in.
    pub entered: bool,
    /// As the session has it; `None` for no limit.
    #[serde(default)]
    pub open_files: Seen<Option<u64>>,
    /// Seconds of processor time after which the session is ended; `None` for no limit.
    #[serde(default)]
    pub cpu: Seen<Option<u64>>,
    /// By target: whether a forward was opened, and stayed open.
    #[serde(default)]
    pub forwards: BTreeMap<String, Seen<bool>>,
    /// The last lines of OpenSSH's client.
    #[serde(default)]
    pub said: Vec<String>,
    /// As [`Report::refusals`], since this test began.
    #[serde(default)]
    pub log: Seen<Option<Vec<String>>>,
}

/// What decides about an address beside sshd.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Guards {
    /// Rules of hosts.deny and hosts.allow that are about sshd.
    #[serde(default)]
    pub deny: Vec<String>,
    #[serde(default)]
    pub allow: Vec<String>,
    /// Rules of the machine's own firewall that drop or reject, with the elements of their sets; and routes that lead nowhere.
    #[serde(default)]
    pub drops: Vec<String>,
    /// Whether there is a default route for IPv4.
    #[serde(default)]
    pub default_route: Option<bool>,
    /// The kernel has rules of nftables', and the machine has no program to list them.
    #[serde(default)]
    pub unread: bool,
    /// Modules of PAM's that ask who comes from where, or when.
    #[serde(default)]
    pub pam: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Running {
    pub pid: u32,
    /// Its title; for a listener with how many connections it lets wait: `... [listener] 0 of 50-200 startups`.
    pub command: String,
    /// The systemd unit that it runs in.
    #[serde(default)]
    pub unit: Option<String>,
    /// When it last read its configuration, in Unix seconds: its start, or its last SIGHUP.
    pub read: f64,
    /// `start` and `full` of the MaxStartups that it really has, from its title.
    #[serde(default)]
    pub startups: Option<(u32, u32)>,
    /// The line that it greets with: `SSH-2.0-OpenSSH_9.2p1 ...`.
    #[serde(default)]
    pub banner: Seen<String>,
    /// TCP ports that it listens on, or that systemd does for it.
    #[serde(default)]
    pub ports: Seen<Vec<u16>>,
    /// Its soft limits; `None` for no limit.
    #[serde(default)]
    pub open_files: Seen<Option<u64>>,
    #[serde(default)]
    pub processes: Seen<Option<u64>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Changed {
    pub path: String,
    /// The later of its contents' and its inode's change, in Unix seconds.
    pub time: f64,
}

/// A destination of `PermitOpen`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Open {
    /// An index into [`Report::targets`].
    Target(usize),
    /// As sshd writes it; `any` and `none` too.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
    /// The process's name; empty where nobody's.
    #[serde(default)]
    pub process: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Target {
    /// `host:port`, as `PermitOpen` writes it.
    pub open: String,
    /// What its name leads to; `None` where it is an address.
    #[serde(default)]
    pub dns: Option<Seen<Vec<IpAddr>>>,
    /// `ok`, `refused`, `timeout`, or what else the system said; `None` where there was no address.
    #[serde(default)]
    pub tcp: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Disk {
    /// Bytes that anybody may still use.
    pub free: u64,
    /// `None` where the file system has no fixed number of them.
    #[serde(default)]
    pub free_inodes: Option<u64>,
    pub read_only: bool,
}

impl Daemon {
    /// A setting for this account, of the files.
    pub fn setting(&self, user: &str, name: &str) -> Option<&str> {
        let own = self.own_settings.get(user).and_then(|own| own.get(name));
        own.or_else(|| self.settings.as_result().ok()?.get(name)).map(String::as_str)
    }
}
