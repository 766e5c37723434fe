//! The vendor's account: that it exists, is whole, and has not ended.

use super::*;

/// The service of the keys would tell of these too, sooner or later.
const ACCOUNTS_AND_SERVICE_AGAIN: Change = Script("again passwd shadow group gshadow; systemctl start gangplank-keys");

pub const FAULTS: &[Fault] = &[
    fault(
        "the vendor's account has expired",
        Script("chage -E 1 secoda"),
        ACCOUNTS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "the vendor's password has expired",
        Script("chage -d 0 secoda"),
        ACCOUNTS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "every account's password has expired",
        Script("chage -d 0 secoda; chage -d 0 ana"),
        ACCOUNTS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "the vendor's account has been inactive for too long",
        Script("chage -d 2020-01-01 -M 30 -I 10 secoda"),
        ACCOUNTS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "the vendor's account is gone",
        Script("without_service; userdel secoda"),
        ACCOUNTS_AND_SERVICE_AGAIN,
        Named(&["machine.account[secoda]"], "cloud-init did not create it"),
    ),
    fault(
        "the vendor's shell does not exist",
        Script("usermod -s /usr/sbin/gone secoda"),
        ACCOUNTS_AGAIN,
        Named(&["machine.account[secoda]"], "somebody or something changed the account: its"),
    ),
    fault(
        "the vendor's number is another",
        Script("without_service; sed -i 's/^\\(secoda:x\\):[0-9]*:/\\1:4711:/' /etc/passwd"),
        ACCOUNTS_AND_SERVICE_AGAIN,
        Named(&["machine.home[secoda]"], "home belongs to 1001"),
    ),
    fault(
        "the vendor's home in the account is another",
        Script("without_service; sed -i 's,:/home/secoda:,:/srv/secoda:,' /etc/passwd"),
        ACCOUNTS_AND_SERVICE_AGAIN,
        Named(&["machine.home[secoda]"], "there is no home"),
    ),
    fault(
        "the operator has a shell",
        Script("usermod -s /bin/sh ana; configure '/ForceCommand/d; s/PermitTTY no/PermitTTY yes/'"),
        Script("usermod -s /usr/sbin/nologin ana; restore"),
        WorksBut(&["machine.account[ana]", "machine.confinement[ana]"], "its shell is /bin/sh"),
    ),
    fault(
        "sudo lets the vendor run commands",
        Script("echo 'secoda ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/90-oops"),
        Script("rm /etc/sudoers.d/90-oops"),
        WorksBut(&["machine.account[secoda]"], "sudo lets it run commands"),
    ),
    fault(
        "users are looked up in no file",
        Script("without_service; sed -i 's/^passwd:.*/passwd: systemd/' /etc/nsswitch.conf"),
        Script("again nsswitch.conf; systemctl start gangplank-keys"),
        Named(&["machine.daemon-current"], "the machine knows no user: see /etc/passwd"),
    ),
    fault(
        "the vendor is missing in /etc/shadow",
        Script("sed -i '/^secoda:/d' /etc/shadow"),
        ACCOUNTS_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "the vendor stands twice in /etc/passwd",
        Script("without_service; sed -i '1i secoda:x:4711:4711::/srv/secoda:/usr/sbin/nologin' /etc/passwd"),
        ACCOUNTS_AND_SERVICE_AGAIN,
        Named(&["machine.home[secoda]"], "there is no home"),
    ),
];
