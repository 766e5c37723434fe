//! The daemon: that it runs, with the files as they are, on its port, with its keys.

use super::*;

/// A second daemon, which its own unit starts.
const ANOTHER: &str =
    "printf 'Port 2222\\nPermitRootLogin yes\\nPasswordAuthentication yes\\nPidFile none\\n' >/etc/ssh/second
    systemd-run --quiet --unit=second /usr/sbin/sshd -D -f /etc/ssh/second
    timeout 60 sh -c 'until ss -Hltn sport = :2222 | grep -q .; do sleep 0.1; done'";

pub const FAULTS: &[Fault] = &[
    fault(
        "sshd was not restarted after a change",
        Script("echo '# changed' >>$ours"),
        RESTORE,
        WorksBut(&["machine.daemon-current"], "00-gangplank.conf was changed after sshd read its settings"),
    ),
    fault(
        "a typing error waits for sshd's next start",
        Script("echo 'MaxSesions 10' >/etc/ssh/sshd_config.d/50-a.conf"),
        RESTORE,
        WorksBut(&["machine.daemon-current"], "was started before"),
    ),
    fault(
        "a typing error keeps sshd down",
        Script(
            "echo 'MaxSesions 10' >/etc/ssh/sshd_config.d/50-a.conf; systemctl reset-failed ssh; systemctl restart ssh || :",
        ),
        RESTORE,
        Named(&["machine.daemon"], "no sshd waits for connections: it was stopped, or"),
    ),
    fault(
        "sshd is down",
        Script("systemctl stop ssh"),
        RESTORE,
        Named(&["machine.daemon"], "no sshd waits for connections"),
    ),
    fault(
        "sshd hangs",
        Script("kill -STOP $(systemctl show -P MainPID ssh)"),
        Script("kill -CONT $(systemctl show -P MainPID ssh); restart"),
        Named(&["machine.daemon"], "sshd runs and does not answer: TimeoutError: timed"),
    ),
    fault(
        "the port was changed",
        Script("configure 's/^Port 22$/Port 2222/'"),
        RESTORE,
        Named(&["machine.port"], "2222 instead of 22"),
    ),
    fault(
        "sshd listens on loopback only",
        Script("drop_in 'ListenAddress 127.0.0.1'"),
        RESTORE,
        Named(&["machine.port"], "sshd listens on loopback only instead of 22"),
    ),
    fault(
        "sshd listens on IPv6 only",
        Script("drop_in 'AddressFamily inet6'"),
        RESTORE,
        Named(&["machine.port"], "sshd listens on IPv6 only"),
    ),
    fault(
        "the host key was replaced",
        Script("rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; restart"),
        RESTORE,
        Named(&["machine.host-keys"], "the pinned host key is"),
    ),
    fault(
        "host keys can be read by all, and sshd was not restarted",
        Script("chmod 644 /etc/ssh/ssh_host_*_key"),
        RESTORE,
        WorksBut(&["machine.daemon-current"], "was started before"),
    ),
    fault(
        "host keys can be read by all",
        Script("chmod 644 /etc/ssh/ssh_host_*_key; systemctl reset-failed ssh; systemctl restart ssh || :"),
        RESTORE,
        Named(&["machine.daemon"], "no sshd waits for connections: it was stopped, or"),
    ),
    fault(
        "sshd's folder for its children is gone",
        Script("rmdir /run/sshd"),
        Script("mkdir -p /run/sshd"),
        Named(&["machine.daemon-current"], "sshd refuses its own files: ValueError: Missing"),
    ),
    fault(
        "sshd's program for sessions is gone",
        Script("mv /usr/lib/openssh/sshd-session /usr/lib/openssh/gone"),
        Script("mv /usr/lib/openssh/gone /usr/lib/openssh/sshd-session"),
        Named(&["machine.daemon"], "sshd runs and does not greet: it said"),
    ),
    fault(
        "sshd does not start at the next boot",
        // `systemctl disable` takes the alias sshd.service away, too. A systemd that has loaded that name meanwhile may forget, once it is
        // an alias again, that the service runs; the next restart then finds its port taken.
        Script("rm /etc/systemd/system/multi-user.target.wants/ssh.service; systemctl daemon-reload"),
        Script(
            "ln -s /usr/lib/systemd/system/ssh.service /etc/systemd/system/multi-user.target.wants/; systemctl daemon-reload",
        ),
        Harmless,
    ),
    fault(
        "a second sshd has passwords and root",
        Script(ANOTHER),
        Script("systemctl stop second; rm /etc/ssh/second"),
        WorksBut(&["machine.listening"], "the image or an update started another service:"),
    ),
    fault(
        "another service listens",
        // The unit counts as started before it listens: 1F90 is 8080.
        Script(
            "systemd-run --quiet --unit=oops python3 -m http.server 8080
             timeout 60 sh -c 'until grep -q :1F90 /proc/net/tcp; do sleep 0.1; done'",
        ),
        Script("systemctl stop oops"),
        WorksBut(&["machine.listening"], "8080"),
    ),
    fault(
        "sshd's unit hides the homes",
        Script("unit ProtectHome=yes"),
        UNIT_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "sshd's unit may not speak IPv4",
        Script("unit 'RestrictAddressFamilies=AF_INET6 AF_UNIX AF_NETLINK'"),
        UNIT_AGAIN,
        Named(&["machine.port"], "sshd listens on IPv6 only"),
    ),
    fault(
        "sshd's unit may start no other program",
        Script("unit 'SystemCallFilter=~execve' || :"),
        Script("rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; restart"),
        Named(&["machine.daemon"], "no sshd waits for connections"),
    ),
];
