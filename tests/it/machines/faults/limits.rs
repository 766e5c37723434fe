//! How much a session, a user, sshd and the machine may have.

use super::*;

const LIMITS_AGAIN: Change = Script("again security");

fn local_ports(lab: &Lab, range: &str) {
    let write = || std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range);
    lab.bastion.enter(write).expect("root may set that");
}

pub const FAULTS: &[Fault] = &[
    fault(
        "the vendor may open 24 files",
        Script("echo 'secoda - nofile 24' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a session of secoda may open 24 files instead of"),
    ),
    fault(
        "everybody may open 24 files",
        Script("echo '* - nofile 24' >>/etc/security/limits.conf; rm /etc/security/limits.d/90-gangplank.conf"),
        LIMITS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a session of secoda may open 24 files instead of"),
    ),
    fault(
        "the vendor may have one process",
        Script("echo 'secoda - nproc 1' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Harmless,
    ),
    fault(
        "the vendor may log in once at a time",
        Script("echo 'secoda - maxlogins 1' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Harmless,
    ),
    fault(
        "the vendor may not log in by its limits",
        Script("echo 'secoda - maxlogins 0' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "the vendor may have eight megabytes",
        Script("echo 'secoda - as 8192' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault("sshd may have 12 tasks", Script("unit TasksMax=12"), UNIT_AGAIN, Harmless),
    fault(
        "sshd may open few files",
        Script("unit LimitNOFILE=256"),
        UNIT_AGAIN,
        WorksBut(&["machine.concurrency"], "sshd may open 256 files"),
    ),
    fault(
        "sshd may open 20 files",
        Script("unit LimitNOFILE=20"),
        UNIT_AGAIN,
        Named(&["machine.concurrency"], "sshd may open 20 files instead of 20000"),
    ),
    fault(
        "the machine has four ports for connections of its own",
        Around(|lab| local_ports(lab, "61000 61003")),
        Around(|lab| local_ports(lab, "32768 60999")),
        Named(&["network.concurrent"], "of 50 forwards to warehouse are open at"),
    ),
    fault(
        "MaxStartups 1",
        Script("configure 's/^MaxStartups .*/MaxStartups 1:100:1/'"),
        RESTORE,
        Named(&["machine.concurrency"], "1-1 instead of 50:30:200"),
    ),
    fault(
        "an address may begin one connection at a time",
        Script("drop_in 'PerSourceMaxStartups 1'"),
        RESTORE,
        Named(&["machine.concurrency"], "persourcemaxstartups is 1: a vendor's or a"),
    ),
    fault(
        "the disk is full",
        // A megabyte remains, so that the machine goes on.
        Script("free=$(df -B1 --output=avail / | tail -n 1); fallocate -l $((free - 1048576)) /filler"),
        Script("rm /filler"),
        WorksBut(&["machine.disk"], "the disk is full"),
    ),
    fault(
        "the vendor may use no processor",
        Script("echo 'secoda - cpu 0' >/etc/security/limits.d/99-a.conf"),
        LIMITS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a session of secoda is ended after 0 seconds of processor time"),
    ),
];
