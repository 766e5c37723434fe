//! What can be wrong with a bastion, one at a time: how it comes about, how it goes away, and what the verifier must tell.

mod accounts;
mod database;
mod host;
mod keys;
mod limits;
mod names;
mod network;
mod pam;
mod settings;
mod sshd;

use std::{
    panic::{self, AssertUnwindSafe},
    thread,
};

use jiff::SignedDuration;

use super::{
    Lab,
    lab::{DATABASE, OPERATOR, VENDOR},
};

pub struct Fault {
    pub name: &'static str,
    pub inject: Change,
    pub undo: Change,
    pub expected: Expected,
    /// It comes about when the machine has just reported, and so is not in its report.
    pub after_report: bool,
    /// The plan lets no login be begun at the database.
    pub without_login: bool,
}

pub enum Change {
    /// On the machine, as root, in the vendor's home; `PRELUDE` has words for it.
    Script(&'static str),
    Lab(fn(&mut Lab)),
}

/// What the vendor meets, and what the verdict must be.
pub enum Expected {
    /// The tunnel is broken, exactly these checks fail, and one of the causes has these words.
    Named(&'static [&'static str], &'static str),
    /// The tunnel is broken, and no vantage can see it: nothing fails, and this check is unknown for this reason.
    Unseen(&'static str, &'static str),
    /// The tunnel works and something else is wrong: exactly these checks fail, and one of the causes has these words.
    WorksBut(&'static [&'static str], &'static str),
    /// The tunnel works, and nothing fails.
    Harmless,
}

use Change::{Lab as Around, Script};
use Expected::{Harmless, Named, Unseen, WorksBut};

const fn fault(name: &'static str, inject: Change, undo: Change, expected: Expected) -> Fault {
    Fault { name, inject, undo, expected, after_report: false, without_login: false }
}

const fn after_report(fault: Fault) -> Fault {
    Fault { after_report: true, ..fault }
}

/// Nobody asks the database: it can only be said that nobody did.
const fn without_login(fault: Fault) -> Fault {
    Fault {
        without_login: true,
        expected: Unseen("network.target-login[warehouse]", "not asked, since the database may log it"),
        ..fault
    }
}

/// All of them, in an order in which none depends on another.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    let groups = [
        keys::FAULTS,
        accounts::FAULTS,
        pam::FAULTS,
        limits::FAULTS,
        settings::FAULTS,
        sshd::FAULTS,
        host::FAULTS,
        names::FAULTS,
        database::FAULTS,
        network::FAULTS,
    ];
    groups.into_iter().flatten()
}

/// Keeps what scripts change, so that the faults can be undone.
pub fn prepare(lab: &Lab) {
    lab.machine.sh("cp -a /etc /root/etc.kept; cp -p /home/secoda/.ssh/authorized_keys /root/keys.kept");
}

/// By how much the machine's clock is wrong while that fault is there: what moves is the world's, since a container has
/// its host's clock.
pub const AHEAD: SignedDuration = SignedDuration::from_hours(24);

impl Change {
    /// What went wrong with it spoils one fault, and not those that follow.
    pub fn make(&self, lab: &mut Lab) -> thread::Result<()> {
        panic::catch_unwind(AssertUnwindSafe(|| match self {
            Script(script) => {
                let addresses = format!("vendor={VENDOR} operator={OPERATOR} database={DATABASE}");
                lab.machine.sh(&format!("{addresses}\n{PRELUDE}\n{script}"));
            }
            Around(change) => change(lab),
        }))
    }
}

/// The words of scripts.
const PRELUDE: &str = r#"
set -e
[ ! -d /home/secoda ] || cd /home/secoda
ours=/etc/ssh/sshd_config.d/00-gangplank.conf
restart() { systemctl reset-failed ssh; systemctl restart ssh || { journalctl --no-pager -u ssh -n 20 >&2; false; }; }
# Edits our settings of sshd.
configure() { sed -i "$1" $ours; sshd -t; restart; }
# Writes a file of settings that sshd reads before ours.
drop_in() { printf "$1\n" >/etc/ssh/sshd_config.d/00-a.conf; sshd -t; restart; }
# Puts these files and folders of /etc back.
again() { for name in "$@"; do rm -rf "/etc/$name"; if [ -e "/root/etc.kept/$name" ]; then cp -a "/root/etc.kept/$name" "/etc/$name"; fi; done; }
restore() { again ssh; restart; }
# The service of the keys would put a changed file right.
without_service() { systemctl stop gangplank-keys; }
keys_again() { cp -p /root/keys.kept .ssh/authorized_keys; systemctl start gangplank-keys; }
# Puts a line before the first of this kind in sshd's PAM configuration.
pam() { sed -i "0,/^$1/s//$2\n&/" /etc/pam.d/sshd; }
# Has a unit's file changed for the service of sshd.
unit() { mkdir -p /run/systemd/system/ssh.service.d; printf "[Service]\n$1\n" >/run/systemd/system/ssh.service.d/zz.conf; systemctl daemon-reload; restart; }
unit_again() { rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; restart; }
"#;

const RESTORE: Change = Script("restore");
const KEYS_AGAIN: Change = Script("keys_again");
const ACCOUNTS_AGAIN: Change = Script("again passwd shadow group gshadow");
const PAM_AGAIN: Change = Script("again pam.d security");
const UNIT_AGAIN: Change = Script("unit_again");
