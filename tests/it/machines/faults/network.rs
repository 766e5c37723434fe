//! The ways between internet, machine and database.

use std::{net::IpAddr, process::Command};

use super::*;
use crate::{
    machines::{
        Namespace,
        lab::{BASTION, PUBLIC},
    },
    support::program::{Victim, run},
};

/// Puts a rule before all others that forward.
fn first(namespace: &Namespace, table: &str, rule: &str) {
    namespace.nft(&format!("insert rule ip {table} pass {rule}"));
}

/// Takes away what [`first`] has put there.
fn without_first(namespace: &Namespace, table: &str) {
    let mut list = namespace.command("nft");
    let listed =
        run(list.args(["--handle", "list", "chain", "ip", table, "pass"]), &Victim::default()).expect(0).stdout;
    // After the table's line, the chain's, and its hook's.
    let rule = listed.lines().nth(3).and_then(|line| line.rsplit_once("handle ")).expect("a rule with its handle");
    namespace.nft(&format!("delete rule ip {table} pass handle {}", rule.1));
}

pub fn rules_again(lab: &mut Lab) {
    without_first(&lab.router.namespace, "subnets");
}

const EDGE_AGAIN: Change = Around(|lab| without_first(&lab.edge.namespace, "edge"));
const ROUTER_AGAIN: Change = Around(rules_again);

pub const FAULTS: &[Fault] = &[
    fault(
        "the source is not admitted",
        Around(|lab| lab.edge.refuse(IpAddr::V4(OPERATOR))),
        Around(|lab| lab.edge.admit(IpAddr::V4(OPERATOR))),
        WorksBut(&["network.tcp"], "nothing answers although the source is allowed"),
    ),
    fault(
        "the address leads to another machine",
        Around(|lab| lab.edge.lead_to(DATABASE)),
        Around(|lab| lab.edge.lead_to(BASTION)),
        Named(&["network.tcp"], "the address leads nowhere"),
    ),
    fault(
        "large packets from the database are lost",
        Around(|lab| first(&lab.router.namespace, "subnets", &format!("ip saddr {DATABASE} meta length > 1400 drop"))),
        ROUTER_AGAIN,
        Named(&["network.target-login[warehouse]"], "does not answer a login of some kilobytes"),
    ),
    without_login(fault(
        "large packets from the database are lost, and nobody asks it",
        Around(|lab| first(&lab.router.namespace, "subnets", &format!("ip saddr {DATABASE} meta length > 1400 drop"))),
        ROUTER_AGAIN,
        Harmless,
    )),
    fault(
        "large packets to the machine are lost",
        Around(|lab| first(&lab.edge.namespace, "edge", &format!("ip daddr {BASTION} meta length > 1400 drop"))),
        EDGE_AGAIN,
        Named(&["network.session"], "the session hangs as soon as more than one packet's"),
    ),
    fault(
        "large packets from the machine are lost",
        Around(|lab| first(&lab.edge.namespace, "edge", &format!("ip saddr {BASTION} meta length > 1400 drop"))),
        EDGE_AGAIN,
        Named(&["network.host-key"], "small packets pass and larger ones are lost: a path"),
    ),
    fault(
        "the edge admits four connections",
        Around(|lab| {
            first(&lab.edge.namespace, "edge", &format!("ip daddr {BASTION} ct state new ct count over 4 drop"));
        }),
        EDGE_AGAIN,
        Named(&["network.startups"], "of 10 connections that began at once came to sshd"),
    ),
    fault(
        "the edge admits three new connections a minute",
        Around(|lab| {
            first(
                &lab.edge.namespace,
                "edge",
                &format!("ip daddr {BASTION} ct state new limit rate over 3/minute burst 3 packets drop"),
            );
        }),
        EDGE_AGAIN,
        Unseen("network.startups", "or a limit on the way does"),
    ),
    fault(
        "the edge forgets connections that are idle",
        Around(|lab| forget_idle(&lab.edge.namespace, 1)),
        Around(|lab| forget_idle(&lab.edge.namespace, 432_000)),
        Named(&["network.session"], "session"),
    ),
    fault(
        "every second connection is lost",
        Around(|lab| take_turns(lab)),
        Around(|lab| lab.edge.lead_to(BASTION)),
        Named(&["network.startups"], "of 10 connections that began at once came to sshd"),
    ),
    fault(
        "two machines behind one address take turns",
        Around(|lab| {
            let folder = lab.machine.folder();
            let (key, settings) = (folder.join("other"), folder.join("other.conf"));
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-qN", "", "-t", "ed25519", "-f"]).arg(&key), &Victim::default()).expect(0);
            let text = format!("HostKey {}\nPidFile {}\n", key.display(), folder.join("other.pid").display());
            std::fs::write(&settings, text).expect("a writable folder");
            let mut sshd = lab.database.namespace.command("unshare");
            let script = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && /usr/sbin/sshd -f $0 2>/dev/null >&2";
            run(sshd.args(["--mount", "sh", "-c", script]).arg(&settings), &Victim::default()).expect(0);
            first(&lab.router.namespace, "subnets", &format!("ip daddr {DATABASE} tcp dport 22 accept"));
            take_turns(lab);
        }),
        Around(|lab| {
            lab.edge.lead_to(BASTION);
            rules_again(lab);
            let folder = lab.machine.folder();
            run(Command::new("pkill").arg("-F").arg(folder.join("other.pid")), &Victim::default()).expect(0);
            std::fs::remove_file(folder.join("other")).expect("it is there");
        }),
        Named(&["network.host-key"], "several machines answer at this address in turn:"),
    ),
    fault(
        "the way from the machine carries 20 kilobytes a second",
        Around(|lab| {
            first(
                &lab.edge.namespace,
                "edge",
                &format!("ip saddr {BASTION} limit rate over 20 kbytes/second burst 20 kbytes drop"),
            );
        }),
        EDGE_AGAIN,
        Unseen("network.session", "the tunnel works, but carries only"),
    ),
    fault(
        "the edge resets connections that carry the words of SSH",
        Around(|lab| {
            first(&lab.edge.namespace, "edge", &format!("ip daddr {BASTION} @ih,0,32 0x5353482d reject with tcp reset"))
        }),
        EDGE_AGAIN,
        Named(&["network.banner"], "closed the connection before its identification"),
    ),
];

/// Every second connection to the public address goes to the database's host.
fn take_turns(lab: &Lab) {
    lab.edge.namespace.nft(&format!(
        "flush chain ip edge translate;
         add rule ip edge translate ip daddr {PUBLIC} dnat to numgen inc mod 2 map {{ 0 : {BASTION}, 1 : {DATABASE} }}"
    ));
}

/// How long a connection may be silent; what comes later belongs to none.
fn forget_idle(namespace: &Namespace, seconds: u32) {
    let write = |name: &str, value: u32| {
        std::fs::write(format!("/proc/sys/net/netfilter/nf_conntrack_tcp_{name}"), value.to_string())
    };
    namespace
        .enter(|| write("timeout_established", seconds).and_then(|()| write("loose", u32::from(seconds > 60))))
        .expect("root may set that");
}
