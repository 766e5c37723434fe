//! Who may enter: accounts, their homes, and their keys.

use std::collections::BTreeSet;

use super::{Bench, Judged, Problem, REPLACE, daemon, fail, found, unknown, vendor};
use crate::{
    cloudinit,
    plan::PublicKey,
    verify::{
        Part,
        report::{Account, Entry, Report},
    },
};

/// Programs that end a login at once. The document says the first.
const NO_SHELLS: [&str; 4] = ["/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/false", "/bin/false"];
/// Seconds. The machine asks every 20, and a round may take as long again.
const KEY_CHANNEL_AGE: f64 = 300.0;

pub fn checks(bench: &mut Bench<'_>) {
    let plan = bench.plan;
    let live = plan.keys_are_live();
    bench.check("machine.key-channel", None, Part::Bastion, "a changed key reaches the running machine", |report, said| {
        let channel = found("how it takes its keys", &report.key_channel)?;
        let Some(channel) = channel else {
            said.push("keys come with the document".to_owned());
            return if live {
                fail("the machine has no service that takes changed keys", "it was made with `key_updates: replace`: `gangplank apply` replaces it")
            } else {
                Ok(())
            };
        };
        said.push(format!("asked {:.0} s ago", channel.age));
        if let Some(problem) = &channel.problem {
            let problem = problem.strip_prefix("gangplank: ").unwrap_or(problem);
            return fail(format!("it could not take them: {problem}"), "`gangplank apply` writes the instance's tags and its metadata options again; the machine takes them within a minute");
        }
        if channel.age > KEY_CHANNEL_AGE {
            return fail(format!("the service that takes changed keys last asked {:.0} s ago: it has stopped", channel.age), format!("reboot the instance; if that does not help, {REPLACE}"));
        }
        Ok(())
    });
    let access = cloudinit::access(plan).unwrap_or_default();
    for (user, keys) in plan.accounts() {
        let options = access.iter().find(|a| a.user == user.as_str()).map(|a| a.options.clone()).unwrap_or_default();
        one(bench, user.as_str(), keys, &options);
    }
}

/// The account, if it exists.
fn account<'a>(report: &'a Report, user: &str) -> Result<&'a Account, Problem> {
    let accounts = found("its accounts", &report.accounts)?;
    let Some(account) = accounts.get(user) else {
        return unknown("the report does not tell of this account: the machine's document has no such user");
    };
    let account = found("this account", account)?;
    if account.exists { Ok(account) } else { unknown(format!("there is no account: see machine.account[{user}]")) }
}

fn one(bench: &mut Bench<'_>, user: &str, keys: &[PublicKey], options: &str) {
    let subject = Some(user);
    bench.check(
        "machine.account",
        subject,
        Part::Bastion,
        format!("{user} exists, and is nobody but a tunnel's user"),
        |report, said| {
            let accounts = found("its accounts", &report.accounts)?;
            let Some(account) = accounts.get(user) else {
                return fail("the machine's document has no such user", "`gangplank apply` replaces the machine");
            };
            if daemon::knows_nobody(report) {
                return unknown(
                    "the machine finds no user of the plan's, and sshd not its own: see machine.daemon-current",
                );
            }
            privileges(found("this account", account)?, user, said)
        },
    );
    let folder = |entry: &Entry, what: &str, exact: bool, said: &mut Vec<String>| {
        place(entry, user, "dir", what, if exact { Allowed::Exactly(0o700) } else { Allowed::NotWritable }, said)
    };
    bench.check(
        "machine.home",
        subject,
        Part::Bastion,
        "its home is its own: sshd trusts the keys in it",
        |report, said| {
            let account = account(report, user)?;
            if let Ok(Some(above)) = account.closed.as_result() {
                return fail(
                    format!("only its owner may enter a folder above the home: {above}; sshd then finds no keys"),
                    REPLACE,
                );
            }
            let home = found("its home", &account.home)?;
            // Debian's sshd takes no offence at a group that is the user's own, which a mode does not tell.
            match home {
                Entry::Present { mode, .. } if enters(report, user) && mode & 0o002 == 0 => {
                    said.push("a login of the machine's own enters with it".to_owned());
                    all_the_same(report, user, place(home, user, "dir", "home", Allowed::Any, said))
                }
                _ => folder(home, "home", false, said),
            }
        },
    );
    bench.check(
        "machine.ssh-folder",
        subject,
        Part::Bastion,
        "its .ssh is its own and nobody else's to read",
        |report, said| {
            let account = account(report, user)?;
            exists(&account.home, "its home", user, "machine.home")?;
            let entry = found(".ssh", &account.ssh)?;
            as_the_home(account, entry, user)?;
            let judged = folder(entry, ".ssh", true, said);
            if is_link(entry) { although(judged, FOLLOWED) } else { all_the_same(report, user, judged) }
        },
    );
    bench.check(
        "machine.authorized-keys",
        subject,
        Part::Bastion,
        "its authorized_keys is its own and nobody else's to read",
        |report, said| {
            let account = account(report, user)?;
            exists(&account.home, "its home", user, "machine.home")?;
            exists(&account.ssh, ".ssh", user, "machine.ssh-folder")?;
            let file = found("authorized_keys", &account.file)?;
            as_the_home(account, file, user)?;
            let judged = place(file, user, "file", "authorized_keys", Allowed::Exactly(0o600), said);
            // The machine's own login brings a file of its own: it tells nothing about this one.
            if is_link(file) { although(judged, FOLLOWED) } else { judged }
        },
    );
    bench.check("machine.keys", subject, Part::Bastion, "exactly the plan's keys are accepted", |report, said| {
        let seen = keys_of(report, user)?;
        let accepted: BTreeSet<&str> = seen.accepted.iter().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = keys.iter().map(|key| key.fingerprint.as_str()).collect();
        said.extend(accepted.iter().map(|key| format!("accepts {key}{}", name_of(keys, key))));
        let missing: Vec<String> =
            wanted.difference(&accepted).map(|key| format!("{key}{}", name_of(keys, key))).collect();
        let foreign: Vec<&str> = accepted.difference(&wanted).copied().collect();
        let mut wrong = Vec::new();
        if !foreign.is_empty() {
            wrong.push(format!("accepts what the plan does not list: {}", foreign.join(", ")));
        }
        if !missing.is_empty() {
            wrong.push(format!("does not accept {}", missing.join(", ")));
        }
        if seen.other_lines > 0 {
            wrong.push(format!("has {} lines that are no keys", seen.other_lines));
        }
        if wrong.is_empty() {
            if wanted.is_empty() {
                said.push("the plan has no key for it: nobody is admitted".to_owned());
            }
            return Ok(());
        }
        let channel = report.key_channel.as_result().ok().and_then(Option::as_ref);
        if foreign.is_empty() && channel.is_some_and(|c| c.problem.is_some() || c.age > KEY_CHANNEL_AGE) {
            return unknown(format!(
                "it {}; the machine cannot take changed keys: see machine.key-channel",
                wrong.join("; it ")
            ));
        }
        let fix = if channel.is_some() {
            "`gangplank apply` writes the keys to the instance's tags, and the machine takes them within a minute"
                .to_owned()
        } else {
            format!("the keys come with the document: {REPLACE}")
        };
        fail(format!("it {}", wrong.join("; it ")), fix)
    });
    bench.check(
        "machine.key-options",
        subject,
        Part::Bastion,
        "every key may open its own targets and nothing else",
        |report, said| {
            let seen = keys_of(report, user)?;
            if seen.accepted.is_empty() {
                said.push("there is no key".to_owned());
                return Ok(());
            }
            let others = seen.options.iter().filter(|found| *found != options).count();
            said.push(format!(
                "what stands before the keys has the digest {}; the plan's is {options}",
                seen.options.join(", ")
            ));
            if others > 0 {
                return fail(
                    "authorized_keys was changed on the machine: what stands before a key is not what the plan says",
                    REPLACE,
                );
            }
            Ok(())
        },
    );
}

fn privileges(account: &Account, user: &str, said: &mut Vec<String>) -> Judged {
    if !account.exists {
        return fail("cloud-init did not create it", REPLACE);
    }
    let uid = account.uid.unwrap_or_default();
    said.push(format!("uid {uid}, groups {}, shell {}", account.groups.join(" "), account.shell));
    let changed = |what: String| fail(format!("somebody or something changed the account: {what}"), REPLACE);
    if uid < 1000 {
        return changed(format!("its uid is {uid}, a system's or root's"));
    }
    // A group of the user's own that has lost its name.
    let own = |group: &String| group == user || *group == uid.to_string();
    if !account.groups.iter().all(own) {
        return changed(format!("it is in the groups {}", account.groups.join(", ")));
    }
    if !NO_SHELLS.contains(&account.shell.as_str()) {
        return changed(format!("its shell is {}", account.shell));
    }
    if !*found("whether its password is locked", &account.locked)? {
        return changed("it has a password".to_owned());
    }
    if *found("whether sudo allows it anything", &account.sudo)? {
        return changed("sudo lets it run commands".to_owned());
    }
    Ok(())
}

/// The machine's own login as this user succeeds.
fn enters(report: &Report, user: &str) -> bool {
    vendor::tested(report, user).is_some_and(|test| test.entered)
}

/// Says with what is wrong that the tunnel works, where a login shows it.
fn all_the_same(report: &Report, user: &str, judged: Judged) -> Judged {
    if enters(report, user) {
        return although(judged, "the tunnel works all the same: a login of the machine's own enters");
    }
    judged
}

fn is_link(entry: &Entry) -> bool {
    matches!(entry, Entry::Present { kind, .. } if kind == "link")
}

const FOLLOWED: &str = "sshd follows it, so the tunnel works while what is behind it is the user's own";

fn although(judged: Judged, works: &str) -> Judged {
    judged.map_err(|problem| match problem {
        Problem::Fail { cause, fix } => Problem::Fail { cause: format!("{cause}; {works}"), fix },
        unknown => unknown,
    })
}

enum Allowed {
    Exactly(u32),
    /// Not by the group, not by others: what sshd's StrictModes asks for.
    NotWritable,
    Any,
}

fn place(entry: &Entry, user: &str, kind: &str, what: &str, allowed: Allowed, said: &mut Vec<String>) -> Judged {
    let Entry::Present { kind: is, mode, owner } = entry else {
        return fail(format!("there is no {what}"), REPLACE);
    };
    said.push(format!("{is}, mode {mode:04o}, owner {owner}"));
    if is != kind {
        return fail(format!("{what} is a {is}"), REPLACE);
    }
    if owner != user {
        return fail(format!("{what} belongs to {owner}"), REPLACE);
    }
    let wrong = match allowed {
        Allowed::Exactly(wanted) => {
            (*mode != wanted).then(|| format!("{what} has mode {mode:04o} instead of {wanted:04o}"))
        }
        Allowed::Any => None,
        Allowed::NotWritable => (mode & 0o022 != 0).then(|| {
            format!("{what} has mode {mode:04o}: others may write to it, and sshd then ignores the keys in it")
        }),
    };
    wrong.map_or(Ok(()), |wrong| fail(wrong, REPLACE))
}

/// Whose home belongs to somebody else is told so once.
fn as_the_home(account: &Account, entry: &Entry, user: &str) -> Judged {
    match (account.home.as_result(), entry) {
        (Ok(Entry::Present { owner: of_home, .. }), Entry::Present { owner, .. })
            if owner == of_home && owner != user =>
        {
            unknown(format!("it belongs to {owner}, as the home does: see machine.home[{user}]"))
        }
        _ => Ok(()),
    }
}

fn exists(entry: &crate::verify::report::Seen<Entry>, what: &str, user: &str, check: &str) -> Judged {
    match found(what, entry)? {
        Entry::Missing => unknown(format!("there is no {what}: see {check}[{user}]")),
        Entry::Present { .. } => Ok(()),
    }
}

fn keys_of<'a>(report: &'a Report, user: &str) -> Result<&'a crate::verify::report::Keys, Problem> {
    let account = account(report, user)?;
    exists(&account.file, "authorized_keys", user, "machine.authorized-keys")?;
    found("its keys", &account.keys)
}

fn name_of(keys: &[PublicKey], fingerprint: &str) -> String {
    match keys.iter().find(|key| key.fingerprint == fingerprint) {
        Some(key) if !key.comment.is_empty() => format!(" ({})", key.comment),
        _ => String::new(),
    }
}
