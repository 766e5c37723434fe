//! The daemon that runs, and what it grants.

use std::collections::BTreeSet;

use ssh_key::{HashAlg, PublicKey};

use super::{Bench, Judged, REPLACE, current, fail, found, unknown, vendor};
use crate::{
    cloudinit::{self, Access},
    plan::{self, MaxStartups, Plan},
    verify::{
        Part,
        report::{Daemon, Open, Report},
    },
};

/// Each connection takes two processes of the daemon.
const LEAST_PROCESSES: u64 = 1024;

/// What lets nobody in but a listed user with a listed key. Without other methods in `AuthenticationMethods` the rest of
/// sshd's methods, GSSAPI's say, cannot be used.
const AUTHENTICATION: [(&str, &str); 10] = [
    ("permitrootlogin", "no"),
    ("passwordauthentication", "no"),
    ("kbdinteractiveauthentication", "no"),
    ("permitemptypasswords", "no"),
    ("pubkeyauthentication", "yes"),
    ("authenticationmethods", "publickey"),
    ("authorizedkeysfile", ".ssh/authorized_keys .ssh/gangplank_test"),
    ("authorizedkeyscommand", "none"),
    ("trustedusercakeys", "none"),
    ("strictmodes", "yes"),
];
/// What keeps those who are in from anything but local forwarding.
const CONFINEMENT: [(&str, &str); 10] = [
    ("permitlisten", "none"),
    ("gatewayports", "no"),
    ("allowstreamlocalforwarding", "no"),
    ("allowagentforwarding", "no"),
    ("x11forwarding", "no"),
    ("permittunnel", "no"),
    ("permittty", "no"),
    ("permituserrc", "no"),
    ("permituserenvironment", "no"),
    ("forcecommand", "/usr/sbin/nologin"),
];
/// What would shut the tunnel's users out.
const SHUT_OUT: [&str; 3] = ["denyusers", "allowgroups", "denygroups"];

/// What to do about settings that are not the document's.
fn settings_fix() -> String {
    format!("something on the machine overrides gangplank's settings, an update or an image of your own: {REPLACE}")
}

pub fn checks(bench: &mut Bench<'_>) {
    let (plan, seen) = (bench.plan, bench.seen);
    let (port, access) = (plan.ssh.port, cloudinit::access(plan).unwrap_or_default());
    bench.check("machine.daemon", None, Part::Bastion, "sshd runs and answers", |report, said| {
        daemon(report, port, &access, said)
    });
    bench.check(
        "machine.daemon-current",
        None,
        Part::Bastion,
        "sshd runs with the settings that its files hold",
        |report, said| {
            let sshd = found("how sshd is", &report.sshd)?;
            let Some(running) = found("whether sshd runs", &sshd.running)? else {
                return unknown("sshd does not run: see machine.daemon");
            };
            if let Err(error) = sshd.settings.as_result() {
                let users = if knows_nobody(report) {
                    " (the machine knows no user: see /etc/passwd, and `passwd:` in /etc/nsswitch.conf)"
                } else {
                    ""
                };
                return fail(
                    format!("sshd refuses its own files: {error}{users}; what runs was started before, and does not start again"),
                    format!("do not reboot the instance: that ends the tunnels that still work. {REPLACE}"),
                );
            }
            let changed = found("when sshd's files changed", &sshd.changed)?;
            said.push(format!(
                "it read them {:.0} s before this report; {} changed last, {:.0} s before",
                report.time - running.read,
                changed.path,
                report.time - changed.time
            ));
            if changed.time > running.read {
                return fail(
                    format!("{} was changed after sshd read its settings, and sshd was not restarted", changed.path),
                    format!(
                        "sshd reads its files at its start, and what they say now may end working tunnels then: {REPLACE}"
                    ),
                );
            }
            Ok(())
        },
    );
    bench.check(
        "machine.port",
        None,
        Part::Bastion,
        format!("sshd listens on port {port}, and on no other"),
        |report, said| {
            let sshd = found("how sshd is", &report.sshd)?;
            let Some(running) = found("whether sshd runs", &sshd.running)? else {
                return unknown("sshd does not run: see machine.daemon");
            };
            let ports = found("where sshd listens", &running.ports)?;
            let text = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            said.push(format!("listens on {}", if text.is_empty() { "loopback only" } else { &text }));
            if *ports == [port] && !by_ipv4(report, port) {
                fail("sshd listens on IPv6 only: nobody reaches it by IPv4", settings_fix())
            } else if *ports == [port] {
                Ok(())
            } else {
                fail(
                    format!(
                        "sshd listens on {} instead of {port}",
                        if text.is_empty() { "loopback only" } else { &text }
                    ),
                    settings_fix(),
                )
            }
        },
    );
    bench.check(
        "machine.authentication",
        None,
        Part::Bastion,
        "only the plan's users are let in, and only by their keys",
        |report, said| authentication(report, &access, seen.document, said),
    );
    for one in &access {
        let user = one.user.as_str();
        bench.check(
            "machine.confinement",
            Some(user),
            Part::Bastion,
            format!("{user} gets no shell, no terminal, and no forwarding but to targets"),
            |report, said| {
                let sshd = current(report)?;
                let mut wrong = differences(sshd, user, &CONFINEMENT)?;
                let forwarding = setting(sshd, user, "allowtcpforwarding")?;
                if !["local", "no"].contains(&forwarding) {
                    wrong.push(format!("AllowTcpForwarding is {forwarding}"));
                }
                said.push(format!("{} settings asked for", CONFINEMENT.len() + 1));
                if wrong.is_empty() { Ok(()) } else { fail(wrong.join("; "), settings_fix()) }
            },
        );
        bench.check(
            "machine.permitopen",
            Some(user),
            Part::Bastion,
            format!("{user} may open exactly its targets"),
            |report, said| permit_open(report, one, said),
        );
    }
    bench.check(
        "machine.algorithms",
        None,
        Part::Bastion,
        "every key of the plan can sign with an algorithm that sshd accepts",
        |report, said| algorithms(report, plan, said),
    );
    bench.check(
        "machine.concurrency",
        None,
        Part::Bastion,
        "sshd serves as many connections and sessions at once as the plan says",
        |report, said| concurrency(report, plan, &access, said),
    );
    bench.check(
        "machine.host-keys",
        None,
        Part::Bastion,
        "sshd's host keys are known, and are the pinned one's",
        |report, said| host_keys(report, seen.pinned_host_key, said),
    );
}

fn daemon(report: &Report, port: u16, access: &[Access], said: &mut Vec<String>) -> Judged {
    let sshd = found("how sshd is", &report.sshd)?;
    let Some(running) = found("whether sshd runs", &sshd.running)? else {
        if let Some(state) = sshd.state.as_str() {
            said.push(state.to_owned());
        }
        // systemd's own process holds the port, and gives each connection an sshd of its own.
        let listening = report.listening.as_result().map_or(&[][..], Vec::as_slice);
        let activated = listening.iter().any(|one| one.process == "systemd" && one.port == port);
        if activated && access.iter().any(|one| vendor::tested(report, &one.user).is_some_and(|test| test.entered)) {
            return fail(
                "the tunnel works, but systemd starts an sshd for each connection (ssh.socket): MaxStartups holds for none, and many at once may be refused",
                format!("something has enabled ssh.socket again, an update or an image of your own: {REPLACE}"),
            );
        }
        return fail(
            "no sshd waits for connections: it was stopped, or it does not start",
            format!("reboot the instance; the console tells why sshd does not start. If that does not help, {REPLACE}"),
        );
    };
    said.push(format!(
        "process {} in {}: {}",
        running.pid,
        running.unit.as_deref().unwrap_or("no unit"),
        running.command
    ));
    let greets = running.banner.as_result().is_ok_and(|banner| banner.starts_with("SSH-2.0-"));
    if let (false, Some(rule)) = (greets, vendor::wraps_itself(report)) {
        return unknown(format!("the machine cannot ask its own sshd, since TCP wrappers turn it away, too: {rule}"));
    }
    match running.banner.as_result() {
        Ok(banner) if greets => said.push(banner.clone()),
        Ok(banner) => {
            return fail(
                format!("sshd runs and does not greet: it said {banner:?} and no version of SSH"),
                format!("reboot the instance; if that does not help, {REPLACE}"),
            );
        }
        Err(error) if running.ports.as_result().is_ok_and(|ports| !ports.is_empty()) => {
            return fail(
                format!("sshd runs and does not answer: {error}"),
                format!("reboot the instance; if that does not help, {REPLACE}"),
            );
        }
        Err(_) => {}
    }
    Ok(())
}

/// Neither the plan's users exist nor, as it seems, sshd's own.
pub fn knows_nobody(report: &Report) -> bool {
    let nobody = report.accounts.as_result().is_ok_and(|accounts| {
        !accounts.is_empty() && accounts.values().all(|one| one.as_result().is_ok_and(|account| !account.exists))
    });
    nobody && report.sshd.as_result().is_ok_and(|sshd| sshd.settings.as_result().is_err())
}

/// Whether sshd listens on an IPv4 address, as far as the report tells: its sockets for IPv6 take no IPv4.
fn by_ipv4(report: &Report, port: u16) -> bool {
    let Ok(listening) = report.listening.as_result() else { return true };
    let mut own = listening.iter().filter(|one| one.process == "sshd" && one.port == port).peekable();
    own.peek().is_none() || own.any(|one| one.address.is_ipv4())
}

fn setting<'a>(sshd: &'a Daemon, user: &str, name: &str) -> Result<&'a str, super::Problem> {
    sshd.setting(user, name).map_or_else(|| unknown(format!("sshd's settings for {user} do not tell {name}")), Ok)
}

/// The settings of this account that are not as they must be.
fn differences(sshd: &Daemon, user: &str, wanted: &[(&str, &str)]) -> Result<Vec<String>, super::Problem> {
    let mut wrong = Vec::new();
    for (name, value) in wanted {
        let have = setting(sshd, user, name)?;
        if have != *value {
            wrong.push(format!("{name} is {have} and must be {value}"));
        }
    }
    Ok(wrong)
}

fn authentication(report: &Report, access: &[Access], document: &str, said: &mut Vec<String>) -> Judged {
    let sshd = current(report)?;
    let mut users: BTreeSet<&str> = access.iter().map(|a| a.user.as_str()).collect();
    if report.document != document {
        // That the plan has other users than the machine is another check's.
        users = found("its accounts", &report.accounts)?.keys().map(String::as_str).collect();
    }
    let mut wrong = BTreeSet::new();
    for Access { user, .. } in access {
        wrong.extend(differences(sshd, user, &AUTHENTICATION)?);
        // sshd tells no AllowUsers where there is none: then every account may try.
        let allowed = sshd.setting(user, "allowusers").unwrap_or("missing");
        let allowed: BTreeSet<&str> = allowed.split(' ').collect();
        if allowed != users {
            wrong.insert(format!("AllowUsers is {}", allowed.into_iter().collect::<Vec<_>>().join(" ")));
        }
        for name in SHUT_OUT {
            if let Some(value) = sshd.setting(user, name) {
                wrong.insert(format!("{name} is {value}"));
            }
        }
        if sshd.setting(user, "refuseconnection").is_some_and(|value| value != "no") {
            wrong.insert(format!("RefuseConnection shuts {user} out"));
        }
    }
    said.push(format!("{} settings asked for, of {} users", AUTHENTICATION.len() + 1, access.len()));
    if wrong.is_empty() { Ok(()) } else { fail(wrong.into_iter().collect::<Vec<_>>().join("; "), settings_fix()) }
}

fn permit_open(report: &Report, access: &Access, said: &mut Vec<String>) -> Judged {
    let sshd = current(report)?;
    let user = &access.user;
    let forwarding = setting(sshd, user, "allowtcpforwarding")?;
    if !["local", "yes", "all"].contains(&forwarding) || sshd.setting(user, "disableforwarding") == Some("yes") {
        return fail(
            format!(
                "no tunnel can be opened: AllowTcpForwarding is {forwarding}, DisableForwarding is {}",
                sshd.setting(user, "disableforwarding").unwrap_or("no")
            ),
            settings_fix(),
        );
    }
    let Some(opens) = sshd.permit_open.get(user.as_str()) else {
        return unknown("sshd's settings do not tell what it may open");
    };
    let mut have = BTreeSet::new();
    for open in opens {
        have.insert(match open {
            Open::Other(text) => text.as_str(),
            Open::Target(index) => match found("the targets", &report.targets)?.get(*index) {
                Some(target) => target.open.as_str(),
                None => return unknown("the report does not tell what it may open"),
            },
        });
    }
    said.extend(have.iter().map(|open| format!("may open {open}")));
    let wanted: BTreeSet<&str> = access.opens.iter().map(String::as_str).collect();
    let list = |set: Vec<&&str>| set.iter().map(|s| **s).collect::<Vec<_>>().join(", ");
    let (missing, more): (Vec<_>, Vec<_>) = (wanted.difference(&have).collect(), have.difference(&wanted).collect());
    match (missing.is_empty(), more.is_empty()) {
        (true, true) => Ok(()),
        (false, true) => fail(format!("PermitOpen lacks {}", list(missing)), settings_fix()),
        (true, false) => fail(format!("PermitOpen allows {} too", list(more)), settings_fix()),
        (false, false) => {
            fail(format!("PermitOpen lacks {}, and allows {}", list(missing), list(more)), settings_fix())
        }
    }
}

fn algorithms(report: &Report, plan: &Plan, said: &mut Vec<String>) -> Judged {
    let sshd = current(report)?;
    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    for (user, keys) in plan.accounts() {
        let text = setting(sshd, user.as_str(), "pubkeyacceptedalgorithms")?;
        let accepted: BTreeSet<&str> = text.split(',').collect();
        if shown.insert(text) {
            said.push(format!("accepts {}", text.replace(',', " ")));
        }
        let consented = plan.accepts_sha1(user);
        if consented {
            said.push(format!("SHA-1 signatures of {user}'s RSA keys: the plan accepts them (legacy_rsa_sha1)"));
            if !accepted.contains("ssh-rsa") {
                wrong.push(format!("{user} may sign with ssh-rsa by the plan (legacy_rsa_sha1), and sshd refuses it"));
            }
        }
        for key in keys {
            // RFC 8332: an RSA key signs with SHA-2. sshd accepts SHA-1, `ssh-rsa`, only where it is told to.
            let needed: &[&str] = match key.algorithm.as_str() {
                "ssh-rsa" if consented => &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
                "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"],
                other => &[other],
            };
            let least = sshd.setting(user.as_str(), "requiredrsasize").and_then(|size| size.parse::<usize>().ok());
            match (rsa_bits(key), least) {
                (Some(bits), Some(least)) if bits < least => {
                    wrong.push(format!(
                        "{user}'s key {} has {bits} bits, and RequiredRSASize is {least}",
                        key.fingerprint
                    ));
                }
                _ => {}
            }
            if !needed.iter().any(|algorithm| accepted.contains(algorithm)) {
                wrong.push(format!("{user}'s key {} needs {}", key.fingerprint, needed.join(" or ")));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    fail(
        format!("sshd does not accept what keys sign with: {}", wrong.join("; ")),
        "put another type of key into the plan, or use one of the plain images: their sshd accepts Ed25519, ECDSA, and RSA with SHA-2",
    )
}

fn rsa_bits(key: &plan::PublicKey) -> Option<usize> {
    let key = PublicKey::from_openssh(&key.text()).ok()?;
    // The modulus' own length, not that of its last whole byte.
    let modulus = key.key_data().rsa()?.n.as_positive_bytes()?;
    Some(modulus.len() * 8 - modulus.first()?.leading_zeros() as usize)
}

fn concurrency(report: &Report, plan: &Plan, access: &[Access], said: &mut Vec<String>) -> Judged {
    let sshd = current(report)?;
    let Some(running) = found("whether sshd runs", &sshd.running)? else {
        return unknown("sshd does not run: see machine.daemon");
    };
    let ssh = &plan.ssh;
    let mut wrong = Vec::new();
    for Access { user, .. } in access {
        let sessions = setting(sshd, user, "maxsessions")?;
        if sessions.parse::<u32>().is_ok_and(|sessions| sessions < ssh.max_sessions) {
            wrong.push(format!("MaxSessions of {user} is {sessions} instead of {}", ssh.max_sessions));
        }
    }
    let user = access.first().map_or("", |a| a.user.as_str());
    for (name, ours) in [("ClientAliveInterval", "60"), ("ClientAliveCountMax", "3")] {
        let value = setting(sshd, user, &name.to_ascii_lowercase())?;
        if value != ours {
            wrong.push(format!(
                "{name} is {value} instead of {ours}: idle connections end too early, or dead ones stay"
            ));
        }
    }
    // OpenSSH has them since 9.2 and 9.4.
    for name in ["channeltimeout", "unusedconnectiontimeout"] {
        if let Some(value) = sshd.setting(user, name).filter(|value| *value != "none") {
            wrong.push(format!("{name} is {value}: sshd ends what is idle"));
        }
    }
    let files = setting(sshd, user, "maxstartups")?;
    let MaxStartups { start, rate, full } = ssh.max_startups;
    let numbers: Vec<u32> = files.split(':').filter_map(|n| n.parse().ok()).collect();
    let less = matches!(numbers.as_slice(), [s, r, f] if *s < start || *r > rate || *f < full);
    match running.startups {
        Some((s, f)) if s < start || f < full => {
            wrong.push(format!("MaxStartups of the running daemon is {s}-{f} instead of {}", ssh.max_startups))
        }
        _ if less || numbers.len() != 3 => {
            wrong.push(format!("MaxStartups is {files} instead of {}", ssh.max_startups))
        }
        _ => {}
    }
    for (name, fine) in [("persourcemaxstartups", "none"), ("persourcepenalties", "no")] {
        if let Some(value) = sshd.setting(user, name).filter(|value| *value != fine) {
            wrong.push(format!("{name} is {value}: a vendor's or a firewall's one address is shut out"));
        }
    }
    let open_files = found("how many files sshd may open", &running.open_files)?;
    let processes = found("how many processes sshd may start", &running.processes)?;
    let number = |limit: &Option<u64>| limit.map_or_else(|| "any number".to_owned(), |n| n.to_string());
    said.push(format!("MaxStartups {files}, {} open files, {} processes", number(open_files), number(processes)));
    if open_files.is_some_and(|limit| limit < u64::from(ssh.open_files)) {
        wrong.push(format!("sshd may open {} files instead of {}", number(open_files), ssh.open_files));
    }
    if processes.is_some_and(|limit| limit < LEAST_PROCESSES) {
        wrong.push(format!("sshd may start {} processes", number(processes)));
    }
    if wrong.is_empty() { Ok(()) } else { fail(wrong.join("; "), settings_fix()) }
}

fn host_keys(report: &Report, pinned: Option<&str>, said: &mut Vec<String>) -> Judged {
    let sshd = current(report)?;
    let keys = found("its host keys", &sshd.host_keys)?;
    let fingerprint = |key: &str| match PublicKey::from_openssh(key) {
        Ok(read) => format!("{} {}", read.algorithm().as_str(), read.fingerprint(HashAlg::Sha256)),
        Err(_) => "an unreadable key".to_owned(),
    };
    said.extend(keys.iter().map(|key| fingerprint(key)));
    if keys.is_empty() {
        return fail("sshd has no host key", REPLACE);
    }
    let Some(pinned) = pinned else {
        said.push("none was pinned before".to_owned());
        return Ok(());
    };
    let bare = |key: &str| key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    if keys.iter().any(|key| bare(key) == bare(pinned)) {
        return Ok(());
    }
    fail(
        format!(
            "the pinned host key is {}, and the machine has {}: its keys were made anew, or it is another machine",
            fingerprint(pinned),
            keys.iter().map(|k| fingerprint(k)).collect::<Vec<_>>().join(", ")
        ),
        "find out why before anybody connects: clients that know the pinned key refuse this machine. If the machine was replaced on purpose, hand the new key over",
    )
}
