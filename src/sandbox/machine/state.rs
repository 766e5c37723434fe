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
use crate::sandbox::vm::{Channel, Vm};

const BOOT: &str = include_str!("../../../templates/boot.sh");
const REPORT: &str = include_str!("../../../templates/report.py");
const KEYS: &str = include_str!("../../../templates/keys.py");
const UPDATES: &str = include_str!("../../../templates/updates.sh");
const SCRIPTS: [(&str, &str); 4] = [
    ("/usr/local/sbin/gangplank-boot", BOOT),
    ("/usr/local/sbin/gangplank-report", REPORT),
    ("/usr/local/sbin/gangplank-keys", KEYS),
    ("/usr/local/sbin/gangplank-updates", UPDATES),
];
const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-gangplank.conf";
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
    /// The last answer of each target, and when it gave it.
    pub(super) tried: BTreeMap<String, (String, Timestamp)>,
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

/// The service that takes changed keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyService {
    /// What stands before each key of a user.
    pub options: BTreeMap<String, String>,
    /// Why the keys stay as they are.
    pub problem: Option<String>,
    pub asked: Timestamp,
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
            tried: BTreeMap::new(),
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
        let Some((program, _)) = SCRIPTS.first() else { return };
        for command in &document.runs {
            if command.first().map(String::as_str) != Some(program) {
                self.unsaid.push(format!("sandbox: this command is not carried out: {}", command.join(" ")));
                continue;
            }
            let other =
                |(path, text): &&(&str, &str)| document.files.contains_key(*path) && !document.has_program(path, text);
            let all = document.files.contains_key(*program);
            match SCRIPTS.iter().find(other).filter(|_| all) {
                Some((path, _)) => {
                    self.unsaid.push(format!("sandbox: {path} is not this version's and is not carried out"))
                }
                None if !all => self.unsaid.push(format!("cloud-init: {program}: No such file or directory")),
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
        for user in &gangplank.users {
            let Some(account) = self.accounts.get_mut(user) else {
                return Err(format!("user {user} has no home: cloud-init did not create the account"));
            };
            account.ready = true;
            if let Some(keys) = document.text(&format!("/etc/gangplank/keys/{user}")) {
                account.authorized_keys = Some(keys.to_owned());
            }
        }
        if document.files.contains_key("/usr/local/sbin/gangplank-keys") {
            let folder = "/etc/gangplank/options/";
            let options = document.files.keys().filter_map(|path| path.strip_prefix(folder));
            let options = options.filter_map(|user| {
                Some((user.to_owned(), document.text(&format!("{folder}{user}"))?.trim().to_owned()))
            });
            self.keys = Some(KeyService { options: options.collect(), problem: None, asked: now });
            self.ask_for_keys(channel, now);
        }
        self.sshd.running = self.sshd.files.clone();
        self.sshd.read = now;
        self.unsaid.push(format!("gangplank: ssh is up for: {}", gangplank.users.join(" ")));
        Ok(())
    }

    /// Goes on to `now`, and gives the lines that the machine prints on its console meanwhile: what it has not said of its boot,
    /// changed keys, and its report where there is an occasion for one.
    pub fn tick(&mut self, vm: &Vm, around: &dyn Around, now: Timestamp) -> Vec<String> {
        if !vm.running {
            return Vec::new();
        }
        // What a machine does at the end of its time belongs here, before it takes keys or reports.
        let changed = self.ask_for_keys(&vm.channel, now);
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
    fn ask_for_keys(&mut self, channel: &Channel, now: Timestamp) -> bool {
        let Some(service) = &mut self.keys else { return false };
        service.asked = now;
        let before = service.problem.take();
        let wanted = channel::read(channel).and_then(|keys| wanted(&service.options, &keys));
        let mut changed = false;
        match wanted {
            Ok(wanted) => {
                for (user, text, names) in wanted {
                    let Some(account) = self.accounts.get_mut(&user) else { continue };
                    if account.authorized_keys.as_ref() != Some(&text) {
                        account.authorized_keys = Some(text);
                        self.unsaid.push(format!("gangplank: {user} may enter with {names}"));
                        changed = true;
                    }
                }
            }
            Err(why) => {
                let problem = format!("gangplank: the keys stay as they are: {why}");
                if before.as_ref() != Some(&problem) {
                    self.unsaid.push(problem.clone());
                }
                service.problem = Some(problem);
            }
        }
        changed || service.problem.is_none() != before.is_none()
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
fn wanted(options: &BTreeMap<String, String>, keys: &channel::Keys) -> Result<Vec<(String, String, String)>, String> {
    options
        .iter()
        .map(|(user, options)| {
            let own: Vec<&str> = keys.iter().filter(|(owner, _)| owner == user).map(|(_, key)| key.as_str()).collect();
            let names = if own.is_empty() { "no key".to_owned() } else { channel::fingerprints(&own)? };
            let text = own.iter().map(|key| format!("{options} {key}\n")).collect();
            Ok((user.clone(), text, names))
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
