//! What PAM says of an account and does for a session, after the key was accepted.

use super::*;

pub const FAULTS: &[Fault] = &[
    fault("/etc/nologin was left behind", Script("echo maintenance >/etc/nologin"), Script("rm /etc/nologin"), Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:")),
    fault("/run/nologin was left behind", Script("echo down >/run/nologin"), Script("rm /run/nologin"), Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:")),
    fault(
        "pam_access refuses the vendor's address",
        Script("echo \"-:ALL:$vendor\" >>/etc/security/access.conf; pam account 'account required pam_access.so'"),
        PAM_AGAIN,
        Unseen("machine.sources", "PAM asks pam_access.so"),
    ),
    fault(
        "pam_access admits the operator only",
        Script("printf '+:ana:ALL\\n-:ALL:ALL\\n' >>/etc/security/access.conf; pam account 'account required pam_access.so'"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "pam_time refuses the vendor at this hour",
        Script("echo 'sshd;*;secoda;!Al0000-2400' >>/etc/security/time.conf; pam account 'account required pam_time.so'"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "pam_listfile does not list the vendor",
        Script(
            "echo ana >/etc/security/tunnels
             pam account 'account required pam_listfile.so item=user sense=allow file=\\/etc\\/security\\/tunnels onerr=fail'",
        ),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "PAM asks for a group that the vendor is not in",
        Script("pam account 'account required pam_succeed_if.so quiet user ingroup adm'"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "PAM asks for a shell of /etc/shells",
        Script("pam account 'account required pam_shells.so'"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "a module of PAM is missing",
        Script("pam account 'account required pam_gone.so'"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "a script of PAM's fails for the vendor's session",
        Script(
            "pam session 'session required pam_exec.so \\/etc\\/security\\/audit'
             printf '#!/bin/sh\\n[ $PAM_USER = ana ]\\n' >/etc/security/audit; chmod 755 /etc/security/audit",
        ),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault("sshd's file of PAM is empty", Script(": >/etc/pam.d/sshd"), PAM_AGAIN, Harmless),
    fault(
        "sshd does without PAM",
        Script("configure 's/^UsePAM yes/UsePAM no/'"),
        RESTORE,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
    fault(
        "PAM includes a file that is gone",
        Script("sed -i '1i @include gone' /etc/pam.d/sshd"),
        PAM_AGAIN,
        Named(&["machine.self-test[secoda]"], "a key with secoda's own options does not enter:"),
    ),
];
