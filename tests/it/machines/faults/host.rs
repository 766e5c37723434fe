//! The machine's own firewalls, wrappers, bans, routes and clock.

use super::*;

/// What a rule on the machine would be; the lab puts it there from outside.
fn rule(lab: &Lab, rule: &str) {
    lab.bastion.nft(&format!("table ip host {{ chain {rule}\n}}"));
}

const WITHOUT_RULE: Change = Around(|lab| lab.bastion.nft("delete table ip host"));

/// The image has no program that lists rules.
const UNREAD: Expected = Unseen("machine.sources", "the machine has a firewall of its own, and no program");

pub const FAULTS: &[Fault] = &[
    fault(
        "hosts.deny admits the operator's address only",
        Script("echo 'sshd: ALL' >/etc/hosts.deny; echo \"sshd: $operator\" >/etc/hosts.allow"),
        Script("again hosts.deny hosts.allow"),
        Named(&["machine.sources"], "/etc/hosts.deny turns 203.0.113.10/32 away:"),
    ),
    fault(
        "hosts.deny admits the plan's addresses only",
        Script("echo 'sshd: ALL' >/etc/hosts.deny; echo \"sshd: $operator $vendor\" >/etc/hosts.allow"),
        Script("again hosts.deny hosts.allow"),
        Harmless,
    ),
    fault(
        "hosts.deny bans the vendor's address",
        Script("echo \"ALL: $vendor\" >>/etc/hosts.deny"),
        Script("again hosts.deny hosts.allow"),
        Named(&["machine.sources"], "/etc/hosts.deny turns 203.0.113.10/32 away:"),
    ),
    fault(
        "the machine's firewall drops the vendor's address",
        Around(|lab| {
            rule(lab, &format!("input {{ type filter hook input priority filter; ip saddr {VENDOR} drop; }}"))
        }),
        WITHOUT_RULE,
        UNREAD,
    ),
    fault(
        "a ban rejects the vendor's address",
        Around(|lab| {
            lab.bastion.nft(&format!(
                "table ip host {{
                    set banned {{ type ipv4_addr; flags timeout; elements = {{ {VENDOR} timeout 1h }} }}
                    chain input {{ type filter hook input priority filter - 1; tcp dport 22 ip saddr @banned reject; }}
                }}"
            ));
        }),
        WITHOUT_RULE,
        UNREAD,
    ),
    fault(
        "a route sends answers to the vendor nowhere",
        Script("ip route add blackhole $vendor"),
        Script("ip route del blackhole $vendor"),
        Named(&["machine.sources"], "answers to 203.0.113.10/32 are sent nowhere by a route: blackhole"),
    ),
    fault(
        "the default route is gone",
        // The service of the keys would tell of it too, sooner or later.
        Script("without_service; ip route del default"),
        Script("ip route add default via 10.0.1.1; systemctl start gangplank-keys"),
        Named(&["machine.sources"], "the machine has no default route"),
    ),
    fault(
        "a route sends the database's network nowhere",
        Script("ip route add blackhole 10.0.2.0/24"),
        Script("ip route del blackhole 10.0.2.0/24"),
        Named(&["machine.target[warehouse]"], "the machine cannot reach warehouse.internal:5432:"),
    ),
    fault(
        "the machine's firewall lets the vendor's processes connect nowhere",
        Around(|lab| {
            let id = lab.machine.sh("id -u secoda");
            let id = id.trim();
            rule(
                lab,
                &format!(
                    "output {{ type filter hook output priority filter; meta skuid {id} tcp dport 5432 reject; }}"
                ),
            );
        }),
        WITHOUT_RULE,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "the machine's firewall lets users connect nowhere",
        Around(|lab| {
            rule(lab, "output { type filter hook output priority filter; meta skuid >= 1000 tcp dport 5432 drop; }");
        }),
        WITHOUT_RULE,
        Named(&["network.forward[warehouse]"], "packets from the bastion to warehouse.internal port"),
    ),
    fault(
        "the machine's firewall admits three connections of an address",
        Around(|lab| {
            lab.bastion.nft(
                "table ip host {
                    set many { type ipv4_addr; size 1000; flags dynamic; }
                    chain input { type filter hook input priority filter;
                        tcp dport 22 ct state new add @many { ip saddr ct count over 3 } reject with tcp reset; }
                }",
            );
        }),
        WITHOUT_RULE,
        Named(&["network.startups"], "of 10 connections that began at once came to sshd"),
    ),
    fault(
        "the clock is off by a day",
        Around(|lab| lab.metadata.set_clock(-AHEAD)),
        Around(|lab| lab.metadata.set_clock(SignedDuration::ZERO)),
        WorksBut(&["machine.clock"], "ahead"),
    ),
    fault(
        "no mirror has the updates",
        // As the machine does it at its first boot, without the pauses between its tries.
        Script(
            "echo 'deb http://127.0.0.1:9 stable main' >/etc/apt/sources.list
             sed 's/sleep $pause/:/' /usr/local/sbin/gangplank-updates | sh || :",
        ),
        Script("rm /etc/apt/sources.list; /usr/local/sbin/gangplank-updates"),
        WorksBut(&["machine.updates"], "updates failed at: apt-get -q update"),
    ),
    fault(
        "a rule of routing sends answers to the vendor nowhere",
        Script("ip rule add to $vendor prohibit"),
        Script("ip rule del to $vendor prohibit"),
        Named(&["machine.sources"], "answers to 203.0.113.10/32 are sent nowhere by a route:"),
    ),
    fault(
        "a route sends answers to the vendor to a gateway that is not there",
        Script("ip route add $vendor via 10.0.1.99"),
        Script("ip route del $vendor via 10.0.1.99"),
        Unseen("machine.sources", "answers to 203.0.113.10/32 take a way of their own: "),
    ),
];
