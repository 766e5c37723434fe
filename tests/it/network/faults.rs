//! What is right is green; each fault turns its own check red and says why.

use gangplank::verify::network::HostKeys;

use gangplank::sandbox::machine::Speech;

use super::{
    bastion::Machine,
    sandbox::{agrees, databases},
    *,
};

#[test]
fn everything_is_green_on_the_machine_that_the_product_renders() {
    let Some(machine) = Machine::new() else { return };
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(red(&checks), [""; 0], "{checks:#?} {}", running.log());
    assert_eq!(unknown(&checks), ["network.target-login"], "{checks:#?}");
    let login = reason(named(&checks, "network.target-login[warehouse]"));
    assert!(login.starts_with("not asked, since the database may log it"), "{login}");
    assert!(login.contains("give the target `login_attempt: {user: ..., database: ...}`"), "{login}");
    let login = reason(named(&checks, "network.target-login[orders]"));
    assert!(login.contains("give the target `login_attempt: true` in the plan"), "{login}");
    let rsa = format!("network.key[secoda {}]", machine.keys.make("vendor-rsa").fingerprint);
    assert_eq!(
        named(&checks, &rsa).evidence,
        ["key: vendor-rsa", "rsa-sha2-512: accepted", "rsa-sha2-256: accepted", "ssh-rsa: refused"]
    );
    let mut found = names(&checks).join("\n");
    for key in ["vendor", "vendor-rsa", "reporting", "ana"] {
        found = found.replace(&machine.keys.make(key).fingerprint, key);
    }
    insta::assert_snapshot!(found, @"
    network.tcp
    network.banner
    network.algorithms
    network.host-key
    network.startups
    network.key[secoda vendor]
    network.key[secoda vendor-rsa]
    network.refuses-none[secoda]
    network.refuses-unknown-key[secoda]
    network.refuses-password[secoda]
    network.key[reporting reporting]
    network.refuses-none[reporting]
    network.refuses-unknown-key[reporting]
    network.refuses-password[reporting]
    network.key[ana ana]
    network.refuses-none[ana]
    network.refuses-unknown-key[ana]
    network.refuses-password[ana]
    network.login[ana]
    network.session
    network.loss
    network.target-loss
    network.forward[warehouse]
    network.target-login[warehouse]
    network.forward[orders]
    network.target-login[orders]
    network.concurrent
    network.refuses-shell
    network.refuses-exec
    network.refuses-pty
    network.refuses-remote-forward
    network.refuses-agent
    network.refuses-x11
    network.refuses-unlisted
    network.refuses-metadata
    ");
    let concurrent = named(&checks, "network.concurrent");
    assert!(concurrent.proves.starts_with("50 forwards"), "{concurrent:?}");
    let shell = named(&checks, "network.refuses-shell");
    assert!(shell.evidence[0].contains("not available"), "{shell:?}");
}

#[test]
fn without_an_identity_what_needs_one_is_unknown() {
    let Some(machine) = Machine::new() else { return };
    let _running = machine.start();
    let reach = reach(machine.plan.ssh.port, machine.pinned(), None);
    let checks = run(&machine.plan, &reach);
    assert_eq!(red(&checks), [""; 0], "{checks:#?}");
    agrees(&machine, &reach, databases(), &checks);
    assert_eq!(
        green(&checks),
        [
            "network.algorithms",
            "network.banner",
            "network.host-key",
            "network.key",
            "network.refuses-none",
            "network.refuses-password",
            "network.refuses-unknown-key",
            "network.startups",
            "network.tcp",
        ]
    );
    let forward = named(&checks, "network.forward[warehouse]");
    assert_eq!(reason(forward), "needs the key of an operator or a tunnel: --identity FILE");
}

#[test]
fn without_a_known_host_key_no_identity_is_used() {
    let Some(machine) = Machine::new() else { return };
    let running = machine.start();
    let reach = reach(machine.plan.ssh.port, unknown_host_keys(), Some(machine.identity("ana")));
    let checks = run(&machine.plan, &reach);
    assert_eq!(red(&checks), [""; 0]);
    assert!(reason(named(&checks, "network.host-key")).contains("no boot report"));
    assert!(reason(named(&checks, "network.login[ana]")).contains("no identity is used"));
    assert!(green(&checks).contains(&"network.key"));
    assert!(!running.log().contains("Accepted publickey"), "{}", running.log());
    agrees(&machine, &reach, databases(), &checks);
}

#[test]
fn a_tunnels_own_key_opens_its_own_targets_only() {
    let Some(machine) = Machine::new() else { return };
    let _running = machine.start();
    for key in ["vendor", "vendor-rsa"] {
        let reach = reach(machine.plan.ssh.port, machine.pinned(), Some(machine.identity(key)));
        let checks = run(&machine.plan, &reach);
        assert_eq!(red(&checks), [""; 0], "{checks:#?}");
        assert_eq!(named(&checks, "network.forward[warehouse]").verdict, Verdict::Pass);
        assert!(reason(named(&checks, "network.forward[orders]")).contains("needs an operator's"));
        let orders = format!("127.0.0.1 port {}: prohibited", machine.plan.tunnels[1].targets[0].port);
        assert!(named(&checks, "network.refuses-unlisted").evidence.contains(&orders));
        agrees(&machine, &reach, databases(), &checks);
    }
}

/// Spoils the machine, and expects exactly these red checks and words in the first one's cause.
#[track_caller]
fn fault(spoil: impl FnOnce(&mut Machine), expected: &[&str], words: &str) -> Option<Vec<Check>> {
    let mut machine = Machine::new()?;
    spoil(&mut machine);
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(red(&checks), expected, "{checks:#?} {}", running.log());
    // No document says the modes of a key file.
    if machine.mode == 0o600 {
        agrees(&machine, &machine.reach(), databases(), &checks);
    }
    let first = checks.iter().find(|check| check.verdict.is_fail()).unwrap();
    assert!(cause(first).contains(words), "{:?}", first.verdict);
    Some(checks)
}

#[test]
fn a_missing_key_is_named() {
    let checks =
        fault(|machine| machine.authorized_keys[1].1.clear(), &["network.key"], "not in the user's authorized_keys");
    let Some(checks) = checks else { return };
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict.is_fail()).map(Check::name).collect();
    assert!(failed.len() == 1 && failed[0].starts_with("network.key[reporting SHA256:"), "{failed:?}");
}

#[test]
fn key_files_that_others_may_write_admit_nobody() {
    fault(|machine| machine.mode = 0o666, &["network.key", "network.login"], "StrictModes");
}

#[test]
fn a_wrong_permit_open_is_named() {
    fault(
        |machine| {
            let port = machine.plan.tunnels[0].targets[0].port;
            machine.set(&format!("127.0.0.1:{port}"), "127.0.0.1:1");
        },
        &["network.forward"],
        "PermitOpen",
    );
}

#[test]
fn forwarding_that_is_off_is_named() {
    fault(
        |machine| machine.set("AllowTcpForwarding local", "AllowTcpForwarding no"),
        &["network.forward"],
        "AllowTcpForwarding",
    );
}

#[test]
fn targets_that_are_open_to_all_are_found() {
    fault(
        |machine| {
            let opens: Vec<String> =
                machine.sshd_config.lines().filter(|line| line.contains("PermitOpen 127")).map(str::to_owned).collect();
            for line in opens {
                machine.set(&line, "  PermitOpen any");
            }
            for (_, keys) in &mut machine.authorized_keys {
                *keys = keys
                    .lines()
                    .map(|line| format!("restrict,port-forwarding {}\n", line.split_once("\" ").unwrap().1))
                    .collect();
            }
        },
        &["network.refuses-metadata", "network.refuses-unlisted"],
        "sshd opens what the plan does not list",
    );
}

#[test]
fn passwords_that_may_be_tried_are_found() {
    fault(
        |machine| {
            machine.set("PasswordAuthentication no", "PasswordAuthentication yes");
            machine.set("AuthenticationMethods publickey", "AuthenticationMethods any");
        },
        &["network.refuses-password"],
        "passwords",
    );
}

#[test]
fn a_shell_is_found() {
    let checks = fault(
        |machine| {
            machine.set("ForceCommand /usr/sbin/nologin", "ForceCommand none");
            machine.shell = "/bin/sh";
        },
        &["network.refuses-exec", "network.refuses-shell"],
        "sshd grants a shell",
    );
    let Some(checks) = checks else { return };
    assert_eq!(named(&checks, "network.refuses-shell").evidence, ["it ran a command of ours and printed its result"]);
}

#[test]
fn terminal_agent_and_remote_forwards_are_found() {
    fault(
        |machine| {
            machine.set("PermitTTY no", "PermitTTY yes");
            machine.set("AllowAgentForwarding no", "AllowAgentForwarding yes");
            machine.set("AllowTcpForwarding local", "AllowTcpForwarding yes");
            machine.set("PermitListen none", "PermitListen any");
            for (_, keys) in &mut machine.authorized_keys {
                *keys = keys.replace("restrict,", "restrict,pty,agent-forwarding,");
            }
        },
        &["network.refuses-agent", "network.refuses-pty", "network.refuses-remote-forward"],
        "sshd grants",
    );
}

#[test]
fn remote_sockets_are_found() {
    let checks = fault(
        |machine| {
            machine.set("AllowStreamLocalForwarding no", "AllowStreamLocalForwarding yes");
            machine.set("AllowTcpForwarding local", "AllowTcpForwarding yes");
            machine.set("PermitListen none", "PermitListen any");
        },
        &["network.refuses-remote-forward"],
        "remote forward",
    );
    let Some(checks) = checks else { return };
    let check = named(&checks, "network.refuses-remote-forward");
    let path =
        check.evidence[1].strip_prefix("socket: it listened on the socket ").unwrap_or_else(|| panic!("{check:?}"));
    // sshd leaves the file.
    let _ = std::fs::remove_file(path.split(',').next().unwrap());
}

#[test]
fn another_host_key_stops_everything() {
    let Some(machine) = Machine::new() else { return };
    let running = machine.start();
    let other = machine.keys.make("other-host");
    let reach = reach(machine.plan.ssh.port, HostKeys::Known(vec![other.text()]), Some(machine.identity("ana")));
    let checks = run(&machine.plan, &reach);
    assert_eq!(red(&checks), ["network.host-key"], "{checks:#?}");
    let cause = cause(named(&checks, "network.host-key"));
    for key in [machine.keys.make("host"), other] {
        assert!(cause.contains(&format!("{} {}", key.algorithm, key.fingerprint)), "{cause}");
    }
    assert_eq!(green(&checks), ["network.algorithms", "network.banner", "network.tcp"]);
    for name in ["network.login[ana]", "network.refuses-password[secoda]"] {
        assert_eq!(reason(named(&checks, name)), "the host key is not the bastion's (see network.host-key)");
    }
    let log = running.log();
    assert!(!log.contains("ublickey") && !log.contains("password"), "{log}");
}

#[test]
fn rsa_with_sha1_alone_is_a_failure() {
    fault(
        |machine| machine.sshd_config.insert_str(0, "PubkeyAcceptedAlgorithms ssh-ed25519,ssh-rsa\n"),
        &["network.key"],
        "SHA-1",
    );
}

#[test]
fn rsa_with_sha1_beside_others_is_told() {
    let Some(mut machine) = Machine::new() else { return };
    machine.sshd_config.insert_str(0, "PubkeyAcceptedAlgorithms +ssh-rsa\n");
    let _running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    let key = named(&checks, &format!("network.key[secoda {}]", machine.keys.make("vendor-rsa").fingerprint)).clone();
    assert_eq!(key.verdict, Verdict::Pass);
    assert!(key.evidence.contains(&"ssh-rsa: accepted".to_owned()), "{key:?}");
    agrees(&machine, &machine.reach(), databases(), &checks);
}

/// The document that consents, with a real sshd; and one that does not yet, or no more.
#[test]
fn sha1_by_the_plans_word_is_told_of_that_user_only() {
    let Some(mut machine) = Machine::new() else { return };
    let without = machine.sshd_config.clone();
    machine.plan.tunnels[0].legacy_rsa_sha1 = Some(true);
    machine.render();
    let rsa = format!("network.key[secoda {}]", machine.keys.make("vendor-rsa").fingerprint);
    {
        let _running = machine.start();
        let checks = run(&machine.plan, &machine.reach());
        let key = named(&checks, &rsa).clone();
        assert_eq!(key.verdict, Verdict::Pass);
        assert!(key.evidence.contains(&"ssh-rsa: accepted".to_owned()), "{key:?}");
        assert!(key.evidence.iter().any(|line| line.contains("legacy_rsa_sha1")), "{key:?}");
        agrees(&machine, &machine.reach(), databases(), &checks);
    }
    let settings = |user| super::sandbox::real_settings(machine.keys.folder.path(), &machine.sshd_config, user);
    let accepts = |user| settings(user).unwrap()["pubkeyacceptedalgorithms"].split(',').any(|name| name == "ssh-rsa");
    assert!(accepts("secoda") && !accepts("reporting") && !accepts("ana"));
    machine.sshd_config = without;
    let _running = machine.start();
    assert!(cause(named(&run(&machine.plan, &machine.reach()), &rsa)).contains("SHA-1"));
}

#[test]
fn one_startup_at_a_time_is_too_few() {
    let spoil = |machine: &mut Machine| machine.set("MaxStartups 50:30:200", "MaxStartups 1");
    let Some(checks) = fault(spoil, &["network.startups"], "MaxStartups") else { return };
    assert_eq!(unknown(&checks), ["network.target-login"], "{checks:#?}");
}

#[test]
fn obsolete_algorithms_alone_are_a_failure() {
    fault(
        |machine| machine.sshd_config.insert_str(0, "MACs hmac-sha1,hmac-md5\nCiphers aes128-cbc,3des-cbc\n"),
        &["network.algorithms", "network.host-key"],
        "no cipher",
    );
}

#[test]
fn few_tries_on_a_connection_are_enough() {
    let Some(mut machine) = Machine::new() else { return };
    machine.sshd_config.insert_str(0, "MaxAuthTries 1\n");
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(red(&checks), [""; 0], "{checks:#?} {}", running.log());
    assert_eq!(unknown(&checks), ["network.target-login"], "{checks:#?} {}", running.log());
    agrees(&machine, &machine.reach(), databases(), &checks);
}

#[test]
fn a_user_who_may_not_enter_is_found() {
    fault(
        |machine| machine.set("AllowUsers ana reporting secoda", "AllowUsers ana reporting"),
        &["network.key"],
        "AllowUsers",
    );
}

/// Another pair of databases.
#[track_caller]
fn target_fault(postgres: u16, mysql: u16, sandbox: [Option<Speech>; 2], expected: &str, words: &str) {
    let Some(machine) = Machine::with_targets(postgres, mysql) else { return };
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict.is_fail()).map(Check::name).collect();
    assert_eq!(failed, [expected], "{checks:#?} {}", running.log());
    let check = named(&checks, expected);
    assert!(cause(check).contains(words), "{:?}", check.verdict);
    agrees(&machine, &machine.reach(), sandbox, &checks);
}

#[test]
fn a_database_that_is_down_is_named() {
    target_fault(
        targets::closed(),
        targets::says(targets::MYSQL),
        [None, Some(Speech::Mysql)],
        "network.forward[warehouse]",
        "the database is down",
    );
}

#[test]
fn a_target_that_speaks_something_else_is_named() {
    let says = |words: &str| Some(Speech::Says(words.to_owned()));
    target_fault(
        targets::says(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        targets::says(targets::MYSQL),
        [says("SSH-2.0-OpenSSH_9.2p1\r\n"), Some(Speech::Mysql)],
        "network.forward[warehouse]",
        "something else than postgres",
    );
    target_fault(
        targets::postgres(b"S"),
        targets::says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        [Some(Speech::Postgres { tls: true }), says("HTTP/1.1 400 Bad Request\r\n\r\n")],
        "network.forward[orders]",
        "something else than mysql",
    );
}

#[test]
fn a_database_that_blocks_the_bastion_is_named() {
    let blocked = targets::says(targets::MYSQL_BLOCKED);
    let sandbox = [Some(Speech::Postgres { tls: true }), Some(Speech::MysqlBlocked)];
    target_fault(targets::postgres(b"S"), blocked, sandbox, "network.forward[orders]", "1129");
}

#[test]
fn an_address_that_is_not_listed_must_not_connect() {
    let Some(machine) = Machine::new() else { return };
    let running = machine.start();
    let from = |address: &str| Reach { from: Some(address.parse().unwrap()), ..machine.reach() };
    let checks = run(&machine.plan, &from("127.0.0.2"));
    assert_eq!(red(&checks), ["network.source-refused"], "{checks:#?}");
    let checks = run(&machine.plan, &from("127.0.0.1"));
    assert!(!names(&checks).contains(&"network.source-refused".to_owned()), "it is on the list: {checks:#?}");
    drop(running);

    let checks = run(&machine.plan, &from("127.0.0.2"));
    assert_eq!((red(&checks), green(&checks)), (vec![], vec!["network.source-refused"]));
    assert!(reason(named(&checks, "network.tcp")).contains("not on the allow list"));
    let checks = run(&machine.plan, &from("192.0.2.77"));
    assert_eq!((red(&checks), green(&checks)), (vec![], vec![]));
    assert!(reason(named(&checks, "network.tcp")).contains("no address of this machine"));
}

#[test]
fn a_server_that_is_down_is_named() {
    let Some(machine) = Machine::new() else { return };
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(red(&checks), ["network.tcp"]);
    assert!(cause(named(&checks, "network.tcp")).contains("sshd is down"));
    assert_eq!(green(&checks), [""; 0]);
}

#[test]
fn an_account_that_pam_refuses_is_found_although_its_key_is_accepted() {
    let Some(mut machine) = Machine::new() else { return };
    machine.account = "pam_deny.so";
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(red(&checks), ["network.login"], "{checks:#?} {}", running.log());
    let login = named(&checks, "network.login[ana]");
    assert!(cause(login).contains("the key is accepted and the session ends"), "{login:?}");
    assert!(green(&checks).contains(&"network.key"));
    assert!(reason(named(&checks, "network.forward[warehouse]")).contains("see network.login"));
}

#[test]
fn a_session_carries_more_than_a_packet_both_ways() {
    let Some(machine) = Machine::new() else { return };
    let _running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    let session = named(&checks, "network.session");
    assert_eq!(session.verdict, Verdict::Pass, "{session:?}");
    let words: Vec<_> = session.evidence[0].split(' ').collect();
    for bytes in [words[0], words[4]] {
        assert!(bytes.parse::<usize>().unwrap() >= 64_000, "{session:?}");
    }
    assert!(session.proves.ends_with(", as seen from 127.0.0.1"), "{session:?}");
}

#[test]
fn one_session_at_a_time_is_enough() {
    let Some(mut machine) = Machine::new() else { return };
    machine.set("MaxSessions 50", "MaxSessions 1");
    let running = machine.start();
    let checks = run(&machine.plan, &machine.reach());
    assert_eq!(
        (red(&checks), unknown(&checks)),
        (vec![], vec!["network.target-login"]),
        "{checks:#?} {}",
        running.log()
    );
    agrees(&machine, &machine.reach(), databases(), &checks);
}

/// A port that drops what comes: a queue of connections that is full and never emptied.
#[test]
fn a_port_that_drops_packets_is_named() {
    let Some(keys) = Keys::new() else { return };
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let _listening = socket.listen(1).unwrap();
    let step = Duration::from_millis(300);
    let _full: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect_timeout(&address, step)).collect();

    let tunnels = vec![tunnel("secoda", vec![keys.make("vendor")], vec![target("warehouse", 5432, Protocol::Tcp)])];
    let plan = plan(address.port(), tunnels, vec![]);
    let reach = Reach { step, ..reach(address.port(), unknown_host_keys(), None) };
    let checks = run(&plan, &reach);
    assert_eq!((red(&checks), green(&checks)), (vec!["network.tcp"], vec![]));
    assert!(cause(named(&checks, "network.tcp")).contains("a firewall, security group"));

    let checks = run(&plan, &Reach { from: Some("127.0.0.2".parse().unwrap()), ..reach });
    assert_eq!((red(&checks), green(&checks)), (vec![], vec!["network.source-refused"]));
}
