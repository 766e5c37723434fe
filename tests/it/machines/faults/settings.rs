//! sshd's settings: whom they admit, from where, and to what.

use super::*;

pub const FAULTS: &[Fault] = &[
    fault(
        "AllowTcpForwarding no",
        Script("configure 's/AllowTcpForwarding local/AllowTcpForwarding no/'"),
        RESTORE,
        Named(&["machine.permitopen[ana]"], "AllowTcpForwarding is no"),
    ),
    fault(
        "PermitOpen names another target",
        Script("configure 's/PermitOpen warehouse.internal:5432/PermitOpen 10.0.2.9:5432/'"),
        RESTORE,
        Named(&["machine.permitopen[ana]"], "PermitOpen lacks warehouse.internal:5432"),
    ),
    fault(
        "PermitOpen of the vendor names another target",
        Script("configure '/^Match User secoda/,/PermitOpen/s/warehouse.internal:5432/10.0.2.9:5432/'"),
        RESTORE,
        Named(&["machine.permitopen[secoda]"], "PermitOpen lacks warehouse.internal:5432, and"),
    ),
    fault(
        "the vendor's address may forward nothing",
        Script("drop_in \"Match Address $vendor\\n  AllowTcpForwarding no\\nMatch all\""),
        RESTORE,
        Named(&["machine.sources"], "sshd has other settings for ana from"),
    ),
    fault(
        "the vendor's network may open another target",
        Script("drop_in 'Match Address 203.0.113.0/28\\n  PermitOpen 10.0.2.9:5432\\nMatch all'"),
        RESTORE,
        Named(&["machine.sources"], "sshd has other settings for ana from"),
    ),
    fault(
        "the vendor's address needs a password too",
        Script(
            "drop_in \"Match Address $vendor\\n  AuthenticationMethods publickey,password\\n  PasswordAuthentication yes\\nMatch all\"",
        ),
        RESTORE,
        Named(&["machine.sources"], "sshd has other settings for ana from"),
    ),
    fault(
        "everybody but the operator's address must not come in",
        Script("drop_in \"Match Address *,!$operator\\n  PubkeyAuthentication no\\nMatch all\""),
        RESTORE,
        Named(&["machine.authentication"], "pubkeyauthentication is no and must be yes"),
    ),
    fault(
        "the vendor is admitted from another address only",
        Script("configure 's/^AllowUsers.*/AllowUsers ana secoda@198.51.100.99/'"),
        RESTORE,
        Named(&["machine.authentication"], "AllowUsers is ana secoda@198.51.100.99"),
    ),
    fault(
        "AllowUsers lacks the vendor",
        Script("configure 's/^AllowUsers.*/AllowUsers ana/'"),
        RESTORE,
        Named(&["machine.authentication"], "AllowUsers is ana"),
    ),
    fault(
        "AllowUsers is gone",
        Script("configure '/^AllowUsers/d'"),
        RESTORE,
        WorksBut(&["machine.authentication"], "AllowUsers is missing"),
    ),
    fault(
        "DenyUsers names the vendor",
        Script("drop_in 'DenyUsers secoda'"),
        RESTORE,
        Named(&["machine.authentication"], "denyusers is secoda"),
    ),
    fault(
        "AllowGroups lacks the vendor's",
        Script("drop_in 'AllowGroups ana'"),
        RESTORE,
        Named(&["machine.authentication"], "allowgroups is ana"),
    ),
    fault(
        "the vendor is to be in a folder that does not exist",
        Script("drop_in 'Match User secoda\\n  ChrootDirectory /srv/tunnels\\nMatch all'"),
        RESTORE,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "forwarding is disabled for the vendor",
        Script("drop_in 'Match User secoda\\n  DisableForwarding yes\\nMatch all'"),
        RESTORE,
        Named(&["machine.permitopen[secoda]"], "no tunnel can be opened: AllowTcpForwarding is"),
    ),
    fault(
        "keys are looked for in another folder",
        Script("configure 's,AuthorizedKeysFile .*,AuthorizedKeysFile /etc/ssh/keys/%u,'"),
        RESTORE,
        Named(&["machine.authentication"], "authorizedkeysfile is /etc/ssh/keys/%u and must be"),
    ),
    fault(
        "RSA keys must have 4,096 bits",
        Script("drop_in 'RequiredRSASize 4096'"),
        RESTORE,
        Named(&["machine.algorithms"], "sshd does not accept what keys sign with:"),
    ),
    fault(
        "RSA keys may sign with ssh-rsa only",
        Script("configure 's/^UsePAM/PubkeyAcceptedAlgorithms ssh-ed25519,ssh-rsa\\nUsePAM/'"),
        RESTORE,
        Named(&["machine.algorithms"], "rsa-sha2-512"),
    ),
    // Whether network.session is red beside machine.concurrency depends on the moment.
    fault(
        "sshd ends connections without a channel",
        Script("drop_in 'UnusedConnectionTimeout 1'"),
        RESTORE,
        Named(&["machine.concurrency"], "unusedconnectiontimeout is 1: sshd ends what is"),
    ),
    fault(
        "sshd asks every five seconds whether its client is alive",
        Script(
            "configure 's/ClientAliveInterval 60/ClientAliveInterval 5/; s/ClientAliveCountMax 3/ClientAliveCountMax 1/'",
        ),
        RESTORE,
        WorksBut(&["machine.concurrency"], "ClientAliveInterval is 5"),
    ),
    fault(
        "passwords are allowed",
        Script(
            "configure 's/PasswordAuthentication no/PasswordAuthentication yes/; s/AuthenticationMethods .*/AuthenticationMethods any/'",
        ),
        RESTORE,
        WorksBut(&["machine.authentication"], "passwordauthentication is yes"),
    ),
    fault(
        // It sorts first, and so does its block.
        "another file of sshd's overrides ours",
        Script("drop_in 'StrictModes no\\nMatch all\\nMaxSessions 1'"),
        RESTORE,
        WorksBut(&["machine.authentication", "machine.concurrency"], "MaxSessions of ana is 1 instead of 50"),
    ),
    fault(
        "the machine's own address forwards nothing",
        Script("drop_in 'Match LocalAddress 10.0.1.4\\n  AllowTcpForwarding no\\nMatch all'"),
        RESTORE,
        Named(&["machine.self-test[secoda]"], "a forward to warehouse.internal:5432 is closed"),
    ),
    fault(
        "sshd has an old key exchange only",
        Script("drop_in 'KexAlgorithms diffie-hellman-group14-sha1'"),
        RESTORE,
        Named(&["network.algorithms"], "key exchange"),
    ),
];
