//! The machine's report about itself, as `templates/report.py` prints it; its form is [`crate::verify::report::Report`].
//!
//! What a container of ours cannot have is said as a machine in order would say it: its disk, its clock, its processes' numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use jiff::Timestamp;
use russh::keys::HashAlg;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    around::{Answer, Around},
    config::{IDENTIFICATION, Settings},
    hostkey,
    keys::{self, Line},
    permit::{Grants, enters},
    state::{Account, Boot, Machine},
};

const LONGEST: usize = 24 * 1024;
const STATE: &str = "Result=success Id=ssh.service LoadState=loaded ActiveState=active";
/// The settings that a report tells.
const SETTINGS: &str = "addressfamily allowagentforwarding allowgroups allowstreamlocalforwarding allowtcpforwarding allowusers \
     authenticationmethods authorizedkeyscommand authorizedkeysfile authorizedprincipalscommand authorizedprincipalsfile \
     chrootdirectory clientalivecountmax clientaliveinterval denygroups denyusers disableforwarding forcecommand gatewayports \
     gssapiauthentication hostbasedauthentication kbdinteractiveauthentication kerberosauthentication logingracetime \
     maxauthtries maxsessions maxstartups passwordauthentication permitemptypasswords permitlisten permitrootlogin permittty \
     permittunnel permituserenvironment permituserrc channeltimeout persourcemaxstartups port pubkeyacceptedalgorithms pubkeyauthentication \
     requiredrsasize strictmodes trustedusercakeys unusedconnectiontimeout usepam x11forwarding";

/// One line, with a checksum that begins with the document's digest.
pub fn line(machine: &Machine, around: &dyn Around, why: &str, now: Timestamp) -> String {
    let seal = machine.document.clone();
    let mut said = report(machine, around, why, now);
    let mut open = String::new();
    for left_out in [None, Some("refusals"), Some("listening"), Some("targets"), Some("accounts"), Some("sshd")] {
        if let Some(left_out) = left_out
            && said.shift_remove(left_out).is_some()
        {
            let truncated = said.entry("truncated").or_insert_with(|| json!([]));
            if let Some(truncated) = truncated.as_array_mut() {
                truncated.push(json!(left_out));
            }
        }
        let text = Value::Object(said.clone()).to_string();
        open = text.strip_suffix('}').unwrap_or(&text).to_owned();
        if open.len() < LONGEST {
            break;
        }
    }
    let checksum: String = Sha256::digest(format!("{seal}\n{open}")).iter().map(|b| format!("{b:02x}")).collect();
    format!("{open},\"sha256\":\"{checksum}\"}}")
}

fn report(machine: &Machine, around: &dyn Around, why: &str, now: Timestamp) -> Map<String, Value> {
    let names = opens(machine);
    let targets: Vec<Value> = names.iter().map(|name| target(around, name)).collect();
    let missing = json!({"error": "FileNotFoundError: [Errno 2] No such file or directory: '/etc/gangplank/settings'"});
    let known = machine.gangplank.is_some();
    let known = |value: Value| if known { value } else { missing.clone() };
    let boot = match &machine.boot {
        Boot::Ok => "ok",
        Boot::Failed(problem) => problem.as_str(),
        Boot::Never => "running",
    };
    let uptime = now.duration_since(machine.started).as_secs_f64();
    let fields = [
        ("gangplank", json!(1)),
        ("instance", json!(machine.instance)),
        ("document", json!(machine.document)),
        ("why", json!(why)),
        ("boot_id", json!(boot_id(machine))),
        ("uptime", json!((uptime * 100.0).round() / 100.0)),
        ("time", json!(now.as_duration().as_secs_f64())),
        ("clock", json!({"skew": 0.0, "synchronised": true})),
        ("cloud_init", cloud_init(machine)),
        ("boot", json!(boot)),
        ("key_channel", key_channel(machine, now)),
        ("deadline", deadline(machine)),
        ("sshd", known(sshd(machine, &names))),
        ("disk", json!({"free": 6_012_954_214_u64, "free_inodes": 481_207, "read_only": false})),
        ("accounts", known(accounts(machine))),
        ("targets", known(json!(targets))),
        // A machine of the sandbox's has no firewall, no TCP wrappers, and a log that nobody reads.
        ("guards", json!({"deny": [], "allow": [], "drops": [], "pam": [], "unread": false, "default_route": true})),
        ("refusals", json!([])),
        ("listening", listening(machine)),
        // Images of the sandbox have none that the boot does not stop.
        ("agents", json!([])),
        ("self_tests", known(self_tests(machine, &targets, now))),
        ("updates", json!("ok")),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Another one after each boot.
fn boot_id(machine: &Machine) -> String {
    let number = u64::try_from(machine.booted.as_nanosecond()).unwrap_or_default();
    let hex: String = hostkey::derived(&machine.secret(), "boot", number).iter().map(|b| format!("{b:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn cloud_init(machine: &Machine) -> Value {
    // cloud-init's words for a command of runcmd that fails.
    let errors: &[&str] = match machine.boot {
        Boot::Failed(_) => &["('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))"],
        _ => &[],
    };
    let status = if errors.is_empty() { "done" } else { "error" };
    json!({"status": status, "errors": errors, "warnings": [], "version": "22.4.2"})
}

fn key_channel(machine: &Machine, now: Timestamp) -> Value {
    let Some(service) = &machine.keys else { return Value::Null };
    json!({"age": now.duration_since(service.asked).as_secs(), "problem": service.problem})
}

fn deadline(machine: &Machine) -> Value {
    let Some(service) = &machine.keys else { return Value::Null };
    json!({"expires": service.expires.map(Timestamp::as_second), "closed": service.closed})
}

fn users(machine: &Machine) -> &[String] {
    machine.gangplank.as_ref().map_or(&[], |gangplank| &gangplank.users)
}

/// What each account may open, as the document says it; each once.
fn opens(machine: &Machine) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut user = None;
    let text = machine.gangplank.as_ref().map_or("", |gangplank| gangplank.sshd.as_str());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), user) {
            (["Match", "User", name, ..], _) => user = Some(*name),
            (["Match", ..], _) => user = None,
            (["PermitOpen", places @ ..], Some(user)) => _ = found.insert(user, places.to_vec()),
            _ => {}
        }
    }
    let all: BTreeSet<&str> = found.into_values().flatten().collect();
    all.into_iter().map(str::to_owned).collect()
}

fn told(settings: &Settings) -> BTreeMap<&'static str, String> {
    SETTINGS.split_whitespace().filter_map(|name| Some((name, settings.0.get(name)?.clone()))).collect()
}

fn sshd(machine: &Machine, names: &[String]) -> Value {
    let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
    let (files, daemon) = (machine.files(), machine.settings("", None));
    let of: Vec<(&String, Settings)> =
        users(machine).iter().map(|user| (user, files.settings(user, Some([192, 0, 2, 1].into())))).collect();
    let texts: Vec<(&String, BTreeMap<&str, String>)> = of.iter().map(|(user, all)| (*user, told(all))).collect();
    let mut common = texts.first().map(|(_, all)| all.clone()).unwrap_or_default();
    common.retain(|name, value| texts.iter().all(|(_, all)| all.get(name) == Some(value)));
    let own: Map<String, Value> = texts
        .iter()
        .map(|(user, all)| {
            let own: BTreeMap<_, _> = all.iter().filter(|(name, _)| !common.contains_key(*name)).collect();
            ((*user).clone(), json!(own))
        })
        .collect();
    let permit_open: Map<String, Value> = of
        .iter()
        .map(|(user, settings)| {
            let number = |name: &str| names.iter().position(|known| known == name);
            let places = settings.words("permitopen").map(|name| number(name).map_or(json!(name), |n| json!(n)));
            ((*user).clone(), places.collect())
        })
        .collect();
    let (start, _, full) = daemon.startups();
    let open_files = match machine.boot {
        Boot::Ok => machine.gangplank.as_ref().map_or(1024, |gangplank| gangplank.open_files),
        // systemd's own default.
        _ => 1024,
    };
    json!({
        "running": {
            "pid": 612,
            "command": format!("sshd: /usr/sbin/sshd -D [listener] 0 of {start}-{full} startups"),
            "unit": "ssh.service",
            "read": seconds(machine.sshd.read),
            "startups": [start, full],
            "banner": IDENTIFICATION,
            "ports": daemon.ports(),
            "open_files": open_files,
            "processes": 65535,
        },
        // ssh.service has sshd.service for another name.
        "state": format!("{STATE}; {STATE}"),
        "changed": {"path": machine.sshd.newest, "time": seconds(machine.sshd.changed)},
        "settings": common,
        "by_address": [],
        "host_keys": machine.host_keys(),
        "own_settings": own,
        "permit_open": permit_open,
    })
}

fn accounts(machine: &Machine) -> Value {
    let all = users(machine).iter().map(|name| {
        let told = machine.accounts.get(name).map_or_else(|| json!({"exists": false}), |found| account(name, found));
        (name.clone(), told)
    });
    Value::Object(all.collect())
}

fn account(name: &str, account: &Account) -> Value {
    let folder = |mode: &str| format!("dir {mode} {name}");
    let file = account.authorized_keys.as_ref();
    json!({
        "exists": true,
        "uid": account.uid,
        "groups": account.groups,
        "shell": account.shell,
        "locked": account.locked,
        "sudo": account.sudo,
        "closed": null,
        "home": folder(if account.ready { "0700" } else { "0755" }),
        "ssh": if account.ready || file.is_some() { folder("0700") } else { "none".to_owned() },
        "file": file.map_or_else(|| "none".to_owned(), |_| format!("file 0600 {name}")),
        "keys": accepted(file.map_or("", String::as_str)),
    })
}

fn accepted(text: &str) -> Value {
    let (mut accepted, mut options, mut other) = (Vec::new(), BTreeSet::new(), 0);
    for line in keys::read(text) {
        match line {
            Line::Key(key) if accepted.len() < 40 => {
                accepted.push(key.key.fingerprint(HashAlg::Sha256).to_string());
                options.insert(key.options_digest());
            }
            _ => other += 1,
        }
    }
    let options: Vec<String> = options.into_iter().take(5).collect();
    json!({"accepted": accepted, "other_lines": other, "options": options})
}

fn target(around: &dyn Around, name: &str) -> Value {
    let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
    let (host, port) = (host.trim_matches(['[', ']']), port.parse::<u16>().unwrap_or_default());
    let mut said = Map::from_iter([("open".to_owned(), json!(name))]);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => match around.resolve(host) {
            Ok(addresses) => {
                said.insert("dns".to_owned(), json!(addresses.iter().take(8).collect::<Vec<_>>()));
                addresses
            }
            Err(error) => {
                said.insert("dns".to_owned(), json!({"error": error}));
                return Value::Object(said);
            }
        },
    };
    let mut answers = addresses.iter().take(3).map(|address| tcp(around, SocketAddr::new(*address, port)));
    let mut last = "timeout";
    while let Some(answer) = answers.next().filter(|_| last != "ok") {
        last = answer;
    }
    said.insert("tcp".to_owned(), json!(last));
    Value::Object(said)
}

fn tcp(around: &dyn Around, to: SocketAddr) -> &'static str {
    match around.connect(to) {
        Answer::Accepts(_) => "ok",
        Answer::Refused => "refused",
        Answer::Silent => "timeout",
    }
}

/// What a login of the machine's own meets: sshd, the account, and the forwards that its key may open.
fn self_tests(machine: &Machine, targets: &[Value], now: Timestamp) -> Value {
    let own = IpAddr::from([127, 0, 0, 1]);
    let answers =
        |name: &str| targets.iter().any(|target| target["open"] == json!(name) && target["tcp"] == json!("ok"));
    let test = |name: &String| {
        let account = machine.accounts.get(name)?;
        let line = keys::read(account.authorized_keys.as_deref()?).into_iter().next()?;
        let Line::Key(key) = line else { return None };
        let algorithm = match key.key.algorithm().as_str() {
            "ssh-rsa" => "rsa-sha2-512".to_owned(),
            other => other.to_owned(),
        };
        let settings = machine.settings(name, Some(own));
        let options = enters(machine, name, &key.key, &algorithm, own, now);
        let tests = settings.words("authorizedkeysfile").any(|file| file == ".ssh/gangplank_test");
        let Some(options) = options.filter(|_| tests) else {
            return Some(json!({"entered": false, "said": ["Permission denied (publickey)."], "log": []}));
        };
        let grants = Grants { settings, options, shell: account.shell.clone() };
        let open = |name: &str| {
            let (host, port) = name.rsplit_once(':').unwrap_or((name, ""));
            grants.opens(host.trim_matches(['[', ']']), port.parse().unwrap_or_default()) && answers(name)
        };
        let forwards: Map<String, Value> =
            grants.settings.words("permitopen").map(|name| (name.to_owned(), json!(open(name)))).collect();
        let open_files = machine.gangplank.as_ref().map(|gangplank| gangplank.open_files);
        Some(
            json!({"entered": true, "open_files": open_files, "cpu": null, "forwards": forwards, "said": [], "log": []}),
        )
    };
    Value::Object(users(machine).iter().map(|name| (name.clone(), json!(test(name)))).collect())
}

fn listening(machine: &Machine) -> Value {
    let mut ports = machine.settings("", None).ports();
    ports.sort_unstable();
    let both = |port: u16| ["0.0.0.0", "::"].map(|any| json!({"address": any, "port": port, "process": "sshd"}));
    ports.into_iter().flat_map(both).collect()
}
