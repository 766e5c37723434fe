//! What can be wrong with a bastion, one at a time: how it comes about, how it goes away, and which checks must tell.

use std::net::IpAddr;

use jiff::SignedDuration;

use super::{
    Lab,
    lab::{BASTION, DATABASE, DATABASE_NAME, OPERATOR, STRANGER},
};

pub struct Fault {
    pub name: &'static str,
    pub inject: fn(&mut Lab),
    pub undo: fn(&mut Lab),
    /// Exactly these checks fail.
    pub red: &'static [&'static str],
    /// In the cause that one of them names.
    pub says: &'static str,
}

/// Keeps sshd's files and the vendor's keys, so that the faults can be undone.
pub fn prepare(lab: &Lab) {
    lab.machine.sh("cp -a /etc/ssh /root/ssh.kept; cp -p /home/secoda/.ssh/authorized_keys /root/keys.kept");
}

/// By how much the machine's clock is wrong while that fault is there: what moves is the world's, since a container has
/// its host's clock.
pub const AHEAD: SignedDuration = SignedDuration::from_hours(24);

fn sh(lab: &Lab, script: &str) {
    lab.machine.sh(&format!("set -e; cd /home/secoda; {script}"));
}

const RESTART: &str = "systemctl reset-failed ssh; systemctl restart ssh";
const OURS: &str = "/etc/ssh/sshd_config.d/00-gangplank.conf";

/// Edits sshd's settings and restarts it.
fn configure(lab: &Lab, edit: &str) {
    sh(lab, &format!("sed -i '{edit}' {OURS}; sshd -t; {RESTART}"));
}

fn restore(lab: &mut Lab) {
    sh(lab, &format!("rm -rf /etc/ssh; cp -a /root/ssh.kept /etc/ssh; {RESTART}"));
}

/// The service of the keys would put a changed file right.
const WITHOUT_SERVICE: &str = "systemctl stop gangplank-keys";

fn keys_again(lab: &mut Lab) {
    sh(lab, "cp -p /root/keys.kept .ssh/authorized_keys; systemctl start gangplank-keys");
}

pub const ALL: &[Fault] = &[
    Fault {
        name: "authorized_keys has no key",
        inject: |lab| sh(lab, &format!("{WITHOUT_SERVICE}; : >.ssh/authorized_keys")),
        undo: keys_again,
        red: &["machine.keys[secoda]", "network.key[secoda]"],
        says: "does not accept",
    },
    Fault {
        name: "authorized_keys has the key of another user",
        inject: |lab| sh(lab, &format!("{WITHOUT_SERVICE}; cat /home/ana/.ssh/authorized_keys >.ssh/authorized_keys")),
        undo: keys_again,
        red: &["machine.keys[secoda]", "network.key[secoda]"],
        says: "the plan does not list",
    },
    Fault {
        name: "authorized_keys has a key too many",
        inject: |lab| sh(lab, &format!("{WITHOUT_SERVICE}; cat /home/ana/.ssh/authorized_keys >>.ssh/authorized_keys")),
        undo: keys_again,
        red: &["machine.keys[secoda]"],
        says: "the plan does not list",
    },
    Fault {
        name: "authorized_keys opens another target",
        inject: |lab| {
            let edit = format!("s/{DATABASE_NAME}/elsewhere.internal/");
            sh(
                lab,
                &format!("{WITHOUT_SERVICE}; sed -i '{edit}' .ssh/authorized_keys; chown secoda: .ssh/authorized_keys"),
            );
        },
        undo: keys_again,
        red: &["machine.key-options[secoda]"],
        says: "changed on the machine",
    },
    Fault {
        name: "authorized_keys is 0644",
        inject: |lab| sh(lab, "chmod 644 .ssh/authorized_keys"),
        undo: |lab| sh(lab, "chmod 600 .ssh/authorized_keys"),
        red: &["machine.authorized-keys[secoda]"],
        says: "0644",
    },
    Fault {
        name: "authorized_keys is owned by root",
        inject: |lab| sh(lab, "chown root: .ssh/authorized_keys"),
        undo: |lab| sh(lab, "chown secoda: .ssh/authorized_keys"),
        red: &["machine.authorized-keys[secoda]", "network.key[secoda]"],
        says: "root",
    },
    Fault {
        name: ".ssh is 0777",
        inject: |lab| sh(lab, "chmod 777 .ssh"),
        undo: |lab| sh(lab, "chmod 700 .ssh"),
        red: &["machine.ssh-folder[secoda]", "network.key[secoda]"],
        says: "0777",
    },
    Fault {
        // Debian's sshd takes no offence at a group of the user's own.
        name: "the home is writable by a group",
        inject: |lab| sh(lab, "chgrp users .; chmod 770 ."),
        undo: |lab| sh(lab, "chgrp secoda .; chmod 700 ."),
        red: &["machine.home[secoda]", "network.key[secoda]"],
        says: "0770",
    },
    Fault {
        name: "AllowTcpForwarding no",
        inject: |lab| configure(lab, "s/AllowTcpForwarding local/AllowTcpForwarding no/"),
        undo: restore,
        red: &["machine.permitopen[ana]", "machine.permitopen[secoda]", "network.forward[warehouse]"],
        says: "AllowTcpForwarding is no",
    },
    Fault {
        name: "PermitOpen names another target",
        inject: |lab| configure(lab, "s/PermitOpen warehouse.internal:5432/PermitOpen 10.0.2.9:5432/"),
        undo: restore,
        red: &["machine.permitopen[ana]", "machine.permitopen[secoda]", "network.forward[warehouse]"],
        says: "PermitOpen lacks warehouse.internal:5432",
    },
    Fault {
        name: "sshd was not restarted after a change",
        inject: |lab| sh(lab, &format!("echo '# changed' >>{OURS}")),
        undo: restore,
        red: &["machine.daemon-current"],
        says: "00-gangplank.conf was changed after sshd read its settings",
    },
    Fault {
        name: "sshd is down",
        inject: |lab| sh(lab, "systemctl stop ssh"),
        undo: restore,
        red: &["machine.daemon", "network.tcp"],
        says: "no sshd waits for connections",
    },
    Fault {
        name: "the port was changed",
        inject: |lab| configure(lab, "s/^Port 22$/Port 2222/"),
        undo: restore,
        red: &["machine.port", "network.tcp"],
        says: "2222 instead of 22",
    },
    Fault {
        name: "the host key was replaced",
        inject: |lab| sh(lab, &format!("rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; {RESTART}")),
        undo: restore,
        red: &["machine.host-keys", "network.host-key"],
        says: "the pinned host key is",
    },
    Fault {
        name: "the operator has a shell",
        inject: |lab| {
            configure(lab, "/ForceCommand/d; s/PermitTTY no/PermitTTY yes/");
            sh(lab, "usermod -s /bin/sh ana");
        },
        undo: |lab| {
            sh(lab, "usermod -s /usr/sbin/nologin ana");
            restore(lab);
        },
        red: &[
            "machine.account[ana]",
            "machine.confinement[ana]",
            "machine.confinement[secoda]",
            "network.refuses-exec",
            "network.refuses-shell",
        ],
        says: "its shell is /bin/sh",
    },
    Fault {
        name: "sudo lets the vendor run commands",
        inject: |lab| sh(lab, "echo 'secoda ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/90-oops"),
        undo: |lab| sh(lab, "rm /etc/sudoers.d/90-oops"),
        red: &["machine.account[secoda]"],
        says: "sudo lets it run commands",
    },
    Fault {
        name: "passwords are allowed",
        inject: |lab| {
            configure(
                lab,
                "s/PasswordAuthentication no/PasswordAuthentication yes/; s/AuthenticationMethods .*/AuthenticationMethods any/",
            );
        },
        undo: restore,
        red: &["machine.authentication", "network.refuses-password[ana]", "network.refuses-password[secoda]"],
        says: "passwordauthentication is yes",
    },
    Fault {
        name: "another file of sshd's overrides ours",
        inject: |lab| {
            // It sorts first, and so does its block.
            let other = "/etc/ssh/sshd_config.d/00-a.conf";
            sh(lab, &format!("printf 'StrictModes no\\nMatch all\\nMaxSessions 1\\n' >{other}; {RESTART}"));
        },
        undo: restore,
        red: &["machine.authentication", "machine.concurrency"],
        says: "MaxSessions of ana is 1 instead of 50",
    },
    Fault {
        name: "the disk is full",
        inject: |lab| {
            // A megabyte remains, so that the machine goes on.
            sh(lab, "free=$(df -B1 --output=avail / | tail -n 1); fallocate -l $((free - 1048576)) /filler");
        },
        undo: |lab| sh(lab, "rm /filler"),
        red: &["machine.disk"],
        says: "the disk is full",
    },
    Fault {
        name: "the clock is off by a day",
        inject: |lab| lab.metadata.set_clock(-AHEAD),
        undo: |lab| lab.metadata.set_clock(SignedDuration::ZERO),
        red: &["machine.clock"],
        says: "ahead",
    },
    Fault {
        name: "MaxStartups 1",
        inject: |lab| configure(lab, "s/^MaxStartups .*/MaxStartups 1:100:1/"),
        undo: restore,
        red: &["machine.concurrency", "network.startups"],
        says: "1-1 instead of 50:30:200",
    },
    Fault {
        name: "sshd may open few files",
        inject: |lab| {
            let limits = "[Service]\\nLimitNOFILE=256\\n";
            sh(
                lab,
                &format!(
                    "mkdir /run/systemd/system/ssh.service.d; printf '{limits}' >/run/systemd/system/ssh.service.d/zz.conf; systemctl daemon-reload; {RESTART}"
                ),
            );
        },
        undo: |lab| sh(lab, &format!("rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; {RESTART}")),
        red: &["machine.concurrency"],
        says: "sshd may open 256 files",
    },
    Fault {
        name: "RSA keys may sign with ssh-rsa only",
        inject: |lab| configure(lab, "s/^UsePAM/PubkeyAcceptedAlgorithms ssh-ed25519,ssh-rsa\\nUsePAM/"),
        undo: restore,
        red: &["machine.algorithms", "network.key[secoda]"],
        says: "rsa-sha2-512",
    },
    Fault {
        name: "another service listens",
        inject: |lab| {
            // The unit counts as started before it listens: 1F90 is 8080.
            sh(
                lab,
                "systemd-run --quiet --unit=oops python3 -m http.server 8080; timeout 60 sh -c 'until grep -q :1F90 /proc/net/tcp; do sleep 0.1; done'",
            );
        },
        undo: |lab| sh(lab, "systemctl stop oops"),
        red: &["machine.listening"],
        says: "8080",
    },
    Fault {
        name: "the metadata service hides the tags",
        inject: |lab| {
            lab.metadata.hide_tags();
            lab.machine.run("gangplank-keys").expect(1);
        },
        undo: |lab| {
            lab.show_tags();
            lab.machine.sh("gangplank-keys");
        },
        red: &["machine.key-channel"],
        says: "Not Found",
    },
    Fault {
        name: "the database is down",
        inject: |lab| lab.database.stop(),
        undo: |lab| lab.database.resume(),
        red: &["machine.target[warehouse]", "network.forward[warehouse]"],
        says: "refuses",
    },
    Fault {
        name: "the database's group has no rule for the bastion",
        inject: |lab| lab.router.close_database(),
        undo: |lab| lab.router.open_database(),
        red: &["machine.target[warehouse]", "network.forward[warehouse]"],
        says: "a security group",
    },
    Fault {
        name: "the database's name is not known",
        inject: |lab| lab.dns.forget(DATABASE_NAME),
        undo: |lab| lab.dns.set(DATABASE_NAME, DATABASE),
        red: &["machine.target-dns[warehouse]", "network.forward[warehouse]"],
        says: "does not find warehouse.internal",
    },
    Fault {
        name: "the source is not admitted",
        inject: |lab| lab.edge.refuse(IpAddr::V4(OPERATOR)),
        undo: |lab| lab.edge.admit(IpAddr::V4(OPERATOR)),
        red: &["network.tcp"],
        says: "nothing answers although the source is allowed",
    },
    Fault {
        name: "the address leads to another machine",
        inject: |lab| lab.edge.lead_to(DATABASE),
        undo: |lab| lab.edge.lead_to(BASTION),
        red: &["network.tcp"],
        says: "the address leads nowhere",
    },
];

/// Seen from the address that must not come in.
pub const ANYBODY: Fault = Fault {
    name: "anybody is admitted",
    inject: |lab| lab.edge.admit(IpAddr::V4(STRANGER)),
    undo: |lab| lab.edge.refuse(IpAddr::V4(STRANGER)),
    red: &["network.source-refused"],
    says: "is not on the allow list and connects all the same",
};
