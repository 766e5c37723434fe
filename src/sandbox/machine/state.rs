//! A machine between its boot and its end: plain data, which can be kept in a file.

use std::{collections::BTreeMap, mem};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    around::Around,
    channel,
    config::{self, Config, Settings},
    document::{self, Document, User},
    hostkey, report,
};
use crate::{
    cloudinit::bare,
    sandbox::vm::{Channel, Vm},
};

const BOOT: &str = include_str!("../../../templates/boot.sh");
const REPORT: &str = include_str!("../../../templates/report.py");
const KEYS: &str = include_str!("../../../templates/keys.py");
const UPDATES: &str = include_str!("../../../templates/updates.sh");
const PROGRAM: &str = "/usr/local/sbin/gangplank-boot";
const KEYS_PROGRAM: &str = "/usr/local/sbin/gangplank-keys";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-gangplank.conf";

/// This version's programs, as its documents have them.
fn scripts() -> [(&'static str, String); 4] {
    [
        (PROGRAM, bare(BOOT)),
        ("/usr/local/sbin/gangplank-report", bare(REPORT)),
        (KEYS_PROGRAM, bare(KEYS)),
        ("/usr/local/sbin/gangplank-updates", bare(UPDATES)),
    ]
}

/// Between a kernel's start and the end of its first boot.
const BOOT_TIME: SignedDuration = SignedDuration::from_secs(20);
/// Between reports, as in `templates/report.service`.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A machine that has booted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// [`Vm::id`]
    pub id: String,
    /// What it knows itself by.
    pub instance: String,
    /// Digest of its document; empty where there was none that could be read.
    pub document: String,
    /// Its host keys follow from it and from the id.
    seed: u64,
    pub started: Timestamp,
    pub booted: Timestamp,
    pub boot: Boot,
    /// By name.
    pub accounts: BTreeMap<String, Account>,
    /// `/etc/gangplank/settings`, `/etc/gangplank/sshd.conf`
    pub gangplank: Option<Gangplank>,
    pub sshd: Sshd,
    pub keys: Option<KeyService>,
    /// What is to be printed.
    unsaid: Vec<String>,
    pub(super) reported: Option<Timestamp>,
}

/// How gangplank-boot ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boot {
    /// The document does not run it, or it is another than this version's.
    Never,
    Ok,
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub uid: u32,
    /// Its own group first.
    pub groups: Vec<String>,
    pub shell: String,
    pub locked: bool,
    pub sudo: bool,
    /// gangplank-boot has seen to its home and its `.ssh`.
    pub ready: bool,
    /// The text of `.ssh/authorized_keys`.
    pub authorized_keys: Option<String>,
}

/// What the document says to gangplank's scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gangplank {
    pub users: Vec<String>,
    pub open_files: u64,
    pub sshd: String,
}

/// sshd's files, and what the daemon has read of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sshd {
    /// In the order in which sshd reads them.
    pub files: Vec<String>,
    /// The newest of them.
    pub newest: String,
    pub changed: Timestamp,
    /// The texts that the daemon runs with.
    pub running: Vec<String>,
    pub read: Timestamp,
}

/// The service that takes changed keys, and ends the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyService {
    /// By user.
    pub accepts: BTreeMap<String, Accepts>,
    /// Why the keys or the deadline stay as they are, or that its time is up.
    pub problem: Option<String>,
    pub asked: Timestamp,
    /// It has learned whether it has a deadline.
    pub known: bool,
    pub expires: Option<Timestamp>,
    /// It lets nobody in.
    pub closed: bool,
}

/// Where a user's keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accepts {
    /// From the metadata, with these options before each.
    Live(String),
    /// From the document: the whole text.
    Document(String),
}

impl Machine {
    /// Starts a machine, for the first time or again. It never fails: a machine that can make nothing of its document is up with
    /// the image's own settings, and tells nothing.
    pub fn boot(vm: &Vm, seed: u64, now: Timestamp) -> Self {
        let read = document::read(&vm.document);
        let mut machine = Self::of_the_image(vm, seed, now);
        match read {
            Ok(document) => machine.obey(&document, &vm.channel, now),
            Err(why) => machine.unsaid.push(format!("cloud-init: the user-data is not used: {why}")),
        }
        machine
    }

    fn of_the_image(vm: &Vm, seed: u64, now: Timestamp) -> Self {
        let earliest = now.checked_sub(BOOT_TIME).unwrap_or(now);
        let files = vec![config::IMAGE.to_owned()];
        Self {
            id: vm.id.clone(),
            instance: vm.instance.clone(),
            document: String::new(),
            seed,
            started: vm.launched.max(earliest).min(now),
            booted: now,
            boot: Boot::Never,
            accounts: BTreeMap::new(),
            gangplank: None,
            sshd: Sshd {
                running: files.clone(),
                files,
                newest: "/etc/ssh/sshd_config".to_owned(),
                changed: vm.launched.min(now),
                read: now,
            },
            keys: None,
            unsaid: Vec::new(),
            reported: None,
        }
    }

    fn obey(&mut self, document: &Document, channel: &Channel, now: Timestamp) {
        self.document = document.digest.clone();
        for (user, uid) in document.users.iter().zip(1000..) {
            self.accounts.insert(user.name.clone(), Account::new(user, uid));
        }
        if let Some(yes) = document.passwords {
            let word = if yes { "yes" } else { "no" };
            self.sshd.files.insert(0, format!("PasswordAuthentication {word}\n"));
            self.sshd.running = self.sshd.files.clone();
        }
        let scripts = scripts();
        for command in &document.runs {
            if command.first().map(String::as_str) != Some(PROGRAM) {
                self.unsaid.push(format!("sandbox: this command is not carried out: {}", command.join(" ")));
                continue;
            }
            let other = |(path, text): &&(&str, String)| {
                document.files.contains_key(*path) && !document.has_program(path, text)
            };
            let all = document.files.contains_key(PROGRAM);
            match scripts.iter().find(other).filter(|_| all) {
                Some((path, _)) => {
                    self.unsaid.push(format!("sandbox: {path} is not this version's and is not carried out"))
                }
                None if !all => self.unsaid.push(format!("cloud-init: {PROGRAM}: No such file or directory")),
                None => {
                    self.gangplank = gangplank(document);
                    self.boot = match self.set_up(document, channel, now) {
                        Ok(()) => Boot::Ok,
                        Err(problem) => {
                            self.unsaid.push(format!("gangplank: {problem}"));
                            Boot::Failed(problem)
                        }
                    };
                }
            }
        }
    }

    /// What `templates/boot.sh` does, in its order.
    fn set_up(&mut self, document: &Document, channel: &Channel, now: Timestamp) -> Result<(), String> {
        let Some(gangplank) = self.gangplank.clone() else { return Err("exit code 2".to_owned()) };
        let mut files = self.sshd.files.clone();
        files.insert(0, gangplank.sshd.clone());
        let texts: Vec<&str> = files.iter().map(String::as_str).collect();
        if let Err(refusal) = Config::read(&texts) {
            return Err(format!(
                "sshd refuses /etc/gangplank/sshd.conf, so nobody is let in: {DROP_IN} line {}: {}",
                refusal.line, refusal.why
            ));
        }
        self.sshd.files = files;
        self.sshd.newest = DROP_IN.to_owned();
        self.sshd.changed = now;
        let asks = document.files.contains_key(KEYS_PROGRAM);
        for user in &gangplank.users {
            let Some(account) = self.accounts.get_mut(user) else {
                return Err(format!("user {user} has no home: cloud-init did not create the account"));
            };
            account.ready = true;
            let keys = document.text(&format!("/etc/gangplank/keys/{user}"));
            if let (Some(keys), false) = (keys, asks) {
                account.authorized_keys = Some(keys.to_owned());
            }
        }
        if asks {
            let accepts = gangplank.users.iter().filter_map(|user| {
                let live = document.text(&format!("/etc/gangplank/options/{user}"));
                let live = live.map(|options| Accepts::Live(options.trim().to_owned()));
                let own =
                    || document.text(&format!("/etc/gangplank/keys/{user}")).map(|t| Accepts::Document(t.to_owned()));
                Some((user.clone(), live.or_else(own)?))
            });
            self.keys = Some(KeyService {
                accepts: accepts.collect(),
                problem: None,
                asked: now,
                known: false,
                expires: None,
                closed: true,
            });
            self.ask_metadata(channel, now);
        }
        self.sshd.running = self.sshd.files.clone();
        self.sshd.read = now;
        self.unsaid.push(format!("gangplank: ssh is up for: {}", gangplank.users.join(" ")));
        Ok(())
    }

    /// Goes on to `now`, and gives the lines that the machine prints on its console meanwhile: what it has not said of its boot,
    /// changed keys, its end, and its report where there is an occasion for one.
    pub fn tick(&mut self, vm: &Vm, around: &dyn Around, now: Timestamp) -> Vec<String> {
        if !vm.running {
            return Vec::new();
        }
        let changed = self.ask_metadata(&vm.channel, now);
        let mut said = mem::take(&mut self.unsaid);
        let why = match self.reported {
            None => Some("boot"),
            Some(_) if changed => Some("keys"),
            Some(last) if now.duration_since(last) >= HOUR => Some("hour"),
            Some(_) => None,
        };
        if let (Some(why), true) = (why, self.boot != Boot::Never) {
            said.push(report::line(self, around, why, now));
            self.reported = Some(now);
        }
        said
    }

    /// What `templates/keys.py` does in a round; whether there is an occasion for a report.
    fn ask_metadata(&mut self, channel: &Channel, now: Timestamp) -> bool {
        let Some(service) = &mut self.keys else { return false };
        service.asked = now;
        let before = (service.known, service.expires, service.closed);
        let mut problems = Vec::new();
        let mut keys = None;
        match channel::look(channel) {
            Ok(look) => {
                keys = Some(look.keys);
                match look.end.map(|end| end.as_deref().map(channel::moment).transpose()) {
                    Some(Ok(end)) => (service.expires, service.known) = (end, true),
                    Some(Err(why)) => problems.push(format!("the deadline stays as it is: {why}")),
                    None => {}
                }
            }
            Err(why) => problems.push(format!("the keys stay as they are: {why}")),
        }
        // A machine of the sandbox has one clock, and the cloud has the same.
        let passed = service.expires.filter(|end| *end <= now);
        service.closed = passed.is_some() || !service.known;
        let mut wanted = Ok(Vec::new());
        if service.closed {
            if let Some(end) = passed {
                problems =
                    vec![format!("the bastion's time is up since {end}: nobody is let in, the machine shuts down")];
            }
            let none = |user: &String| (user.clone(), String::new(), None);
            wanted = Ok(service.accepts.keys().map(none).collect());
        } else if keys.is_some() || service.accepts.values().all(|from| matches!(from, Accepts::Document(_))) {
            wanted = self::wanted(&service.accepts, keys.unwrap_or_else(|| Ok(Vec::new())));
        }
        let mut changed = false;
        match wanted {
            Ok(wanted) => {
                for (user, text, names) in wanted {
                    let Some(account) = self.accounts.get_mut(&user) else { continue };
                    // Where nobody is let in, a file that never was stays so.
                    let same = account.authorized_keys.as_ref() == Some(&text);
                    if same || names.is_none() && account.authorized_keys.is_none() {
                        continue;
                    }
                    account.authorized_keys = Some(text);
                    self.unsaid.extend(names.map(|names| format!("gangplank: {user} may enter with {names}")));
                    changed = true;
                }
            }
            Err(why) => problems.push(format!("the keys stay as they are: {why}")),
        }
        let problem: Vec<String> = problems.iter().map(|problem| format!("gangplank: {problem}")).collect();
        let problem = (!problem.is_empty()).then(|| problem.join("\n"));
        let told = mem::replace(&mut service.problem, problem);
        if service.problem != told {
            self.unsaid.extend(service.problem.clone());
        }
        changed
            || before != (service.known, service.expires, service.closed)
            || service.problem.is_none() != told.is_none()
    }

    /// Whether it has closed for its deadline, and shuts itself down.
    pub fn time_is_up(&self, now: Timestamp) -> bool {
        self.keys.as_ref().and_then(|service| service.expires).is_some_and(|end| end <= now)
    }

    /// Whether its daemon answers on this port.
    pub fn listens(&self, port: u16) -> bool {
        self.running().settings("", None).ports().contains(&port)
    }

    /// The ports that its daemon answers on.
    pub fn ports(&self) -> Vec<u16> {
        self.running().settings("", None).ports()
    }

    /// What the daemon runs with.
    pub fn running(&self) -> Config {
        read(&self.sshd.running)
    }

    /// What its files say now.
    pub(super) fn files(&self) -> Config {
        read(&self.sshd.files)
    }

    /// The running daemon's settings for a user.
    pub fn settings(&self, user: &str, source: Option<std::net::IpAddr>) -> Settings {
        self.running().settings(user, source)
    }

    /// What only this machine has.
    pub(super) fn secret(&self) -> [u8; 32] {
        hostkey::derived(self.id.as_bytes(), "machine", self.seed)
    }

    /// As an operator compares them: `ssh-ed25519 AAAA...`.
    pub fn host_keys(&self) -> Vec<String> {
        hostkey::public(&hostkey::private(&self.secret()))
    }
}

impl Account {
    fn new(user: &User, uid: u32) -> Self {
        let groups = std::iter::once(&user.name).chain(&user.groups).cloned().collect();
        let keys = (!user.keys.is_empty()).then(|| user.keys.iter().map(|key| format!("{key}\n")).collect());
        Self {
            uid,
            groups,
            shell: user.shell.clone(),
            locked: user.locked,
            sudo: user.sudo,
            ready: false,
            authorized_keys: keys,
        }
    }
}

/// They were read before they came here.
fn read(texts: &[String]) -> Config {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Config::read(&texts).unwrap_or_default()
}

/// Each user's authorized_keys, and what its keys are called. Nothing of it where one of the keys is none.
type Wanted = Vec<(String, String, Option<String>)>;

fn wanted(accepts: &BTreeMap<String, Accepts>, keys: Result<channel::Keys, String>) -> Result<Wanted, String> {
    accepts
        .iter()
        .map(|(user, from)| {
            let options = match from {
                Accepts::Live(options) => options,
                Accepts::Document(text) => {
                    return Ok((user.clone(), text.clone(), Some("the keys of the document".to_owned())));
                }
            };
            let keys = keys.as_ref().map_err(Clone::clone)?;
            let own: Vec<&str> = keys.iter().filter(|(owner, _)| owner == user).map(|(_, key)| key.as_str()).collect();
            let names = if own.is_empty() { "no key".to_owned() } else { channel::fingerprints(&own)? };
            let text = own.iter().map(|key| format!("{options} {key}\n")).collect();
            Ok((user.clone(), text, Some(names)))
        })
        .collect()
}

fn gangplank(document: &Document) -> Option<Gangplank> {
    let settings = document.text("/etc/gangplank/settings")?;
    let value = |name: &str| settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let unquoted = |text: &str| text.replace("'\\''", "\u{1}").replace('\'', "").replace('\u{1}', "'");
    Some(Gangplank {
        users: unquoted(value("users")?).split_whitespace().map(str::to_owned).collect(),
        open_files: unquoted(value("open_files")?).parse().ok()?,
        sshd: document.text("/etc/gangplank/sshd.conf")?.to_owned(),
    })
}
