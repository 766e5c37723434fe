//! The vendor's keys, its files and folders, and who gives them.

use super::*;

pub const FAULTS: &[Fault] = &[
    fault(
        "authorized_keys has no key",
        Script("without_service; : >.ssh/authorized_keys"),
        KEYS_AGAIN,
        Named(&["machine.keys[secoda]"], "does not accept"),
    ),
    fault(
        "authorized_keys has the key of another user",
        Script("without_service; cat /home/ana/.ssh/authorized_keys >.ssh/authorized_keys"),
        KEYS_AGAIN,
        Named(&["machine.keys[secoda]"], "the plan does not list"),
    ),
    fault(
        "authorized_keys has a key too many",
        Script("without_service; cat /home/ana/.ssh/authorized_keys >>.ssh/authorized_keys"),
        KEYS_AGAIN,
        WorksBut(&["machine.keys[secoda]"], "the plan does not list"),
    ),
    fault(
        "authorized_keys opens another target",
        Script(
            "without_service; sed -i s/warehouse.internal/elsewhere.internal/ .ssh/authorized_keys
             chown secoda: .ssh/authorized_keys",
        ),
        KEYS_AGAIN,
        Named(&["machine.key-options[secoda]"], "changed on the machine"),
    ),
    fault(
        "authorized_keys admits the operator's address only",
        Script(
            "without_service; sed -i \"s/^restrict/from=\\\"$operator\\\",&/\" .ssh/authorized_keys
             chown secoda: .ssh/authorized_keys",
        ),
        KEYS_AGAIN,
        Named(&["machine.key-options[secoda]"], "authorized_keys was changed on the machine:"),
    ),
    fault(
        "the keys in authorized_keys have expired",
        Script(
            "without_service; sed -i 's/^restrict/expiry-time=\"20200101\",&/' .ssh/authorized_keys
             chown secoda: .ssh/authorized_keys",
        ),
        KEYS_AGAIN,
        Named(&["machine.key-options[secoda]"], "authorized_keys was changed on the machine:"),
    ),
    fault(
        "authorized_keys is 0644",
        Script("chmod 644 .ssh/authorized_keys"),
        Script("chmod 600 .ssh/authorized_keys"),
        WorksBut(&["machine.authorized-keys[secoda]"], "0644"),
    ),
    fault(
        "authorized_keys is owned by root",
        Script("chown root: .ssh/authorized_keys"),
        Script("chown secoda: .ssh/authorized_keys"),
        Named(&["machine.authorized-keys[secoda]"], "root"),
    ),
    fault(
        "authorized_keys is a link",
        Script("without_service; mv .ssh/authorized_keys .ssh/kept; ln -s kept .ssh/authorized_keys"),
        Script("rm .ssh/kept .ssh/authorized_keys; keys_again; chown secoda: .ssh/authorized_keys"),
        WorksBut(
            &["machine.authorized-keys[secoda]"],
            "authorized_keys is a link; sshd follows it, so the tunnel works",
        ),
    ),
    fault(
        ".ssh is a link",
        Script("without_service; mv .ssh kept; ln -s kept .ssh"),
        Script("rm .ssh; mv kept .ssh; systemctl start gangplank-keys"),
        WorksBut(&["machine.ssh-folder[secoda]"], ".ssh is a link; sshd follows it, so the tunnel works"),
    ),
    fault(
        ".ssh is 0777",
        Script("chmod 777 .ssh"),
        Script("chmod 700 .ssh"),
        Named(&["machine.ssh-folder[secoda]"], "0777"),
    ),
    fault(
        // Debian's sshd takes no offence at a group of the user's own.
        "the home is writable by a group",
        Script("chgrp users .; chmod 770 ."),
        Script("chgrp secoda .; chmod 700 ."),
        Named(&["machine.home[secoda]"], "0770"),
    ),
    fault("the home is writable by the user's own group", Script("chmod 770 ."), Script("chmod 700 ."), Harmless),
    fault(
        "the home belongs to root",
        Script("chown root: .; chmod 755 ."),
        Script("chown secoda: .; chmod 700 ."),
        WorksBut(&["machine.home[secoda]"], "home belongs to root; the tunnel works all the same"),
    ),
    fault(
        "the home belongs to root, and the keys were given anew",
        Script("chown root: .; chmod 755 .; echo >>.ssh/authorized_keys; gangplank-keys"),
        Script("chown secoda: . .ssh/authorized_keys; chmod 700 ."),
        WorksBut(&["machine.home[secoda]"], "home belongs to root; the tunnel works all the same"),
    ),
    fault(
        "the home is gone",
        Script("without_service; mv /home/secoda /home/gone"),
        Script("mv /home/gone /home/secoda; systemctl start gangplank-keys"),
        Named(&["machine.home[secoda]"], "there is no home"),
    ),
    fault(
        "/home lets nobody but root in",
        Script("chmod 700 /home"),
        Script("chmod 755 /home"),
        Named(&["machine.home[secoda]"], "only its owner may enter a folder above the home:"),
    ),
    fault(
        "the keys' service was stopped",
        Script("without_service; rm /run/gangplank/keys"),
        Script(
            "systemctl start gangplank-keys; timeout 60 sh -c 'until [ -e /run/gangplank/keys ]; do sleep 0.1; done'",
        ),
        Harmless,
    ),
    fault(
        "the metadata service hides the tags",
        Around(|lab| {
            lab.metadata.hide_tags();
            lab.machine.run("gangplank-keys").expect(1);
        }),
        Around(|lab| {
            lab.show_tags();
            lab.machine.sh("gangplank-keys");
        }),
        WorksBut(&["machine.key-channel"], "Not Found"),
    ),
    fault(
        "an empty file system lies over /home",
        Script("cd /; without_service; mount -t tmpfs none /home"),
        Script("cd /; umount /home; systemctl start gangplank-keys"),
        Named(&["machine.home[secoda]"], "there is no home"),
    ),
];
