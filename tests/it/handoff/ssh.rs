//! What OpenSSH and its configuration make of it.

use super::*;

#[test]
fn openssh_reads_the_snippet_and_the_host_keys() {
    let Ok(version) = Command::new("ssh").arg("-V").output() else { return support::skip("no ssh here") };
    assert!(version.status.success());
    let folder = tempfile::tempdir().expect("a folder");
    for (plan, address, port, pattern) in [
        (analytics(), "203.0.113.10", 22, "203.0.113.10"),
        (analytics(), "203.0.113.10", 2222, "[203.0.113.10]:2222"),
        (warehouse(), "2001:db8::10", 22, "2001:db8::10"),
        (warehouse(), "2001:db8::10", 2222, "[2001:db8::10]:2222"),
    ] {
        let handoff = handoff::handoff(&plan, &Known { address: Some(address.to_owned()), port, ..known(None) });
        let by_hand = handoff.by_hand.as_ref().expect("the plan has an operator");
        let (config, hosts) = (folder.path().join("config"), folder.path().join("known_hosts"));
        fs::write(&config, &by_hand.ssh_config).expect("a file");
        let out = Command::new("ssh").arg("-G").arg("-F").arg(&config).arg(format!("gangplank-{}", plan.name)).output();
        let out = out.expect("ssh");
        assert!(out.status.success(), "{}\n{}", by_hand.ssh_config, String::from_utf8_lossy(&out.stderr));
        let settings = String::from_utf8_lossy(&out.stdout).into_owned();
        let has = |line: &str| assert!(settings.lines().any(|l| l == line), "{line}\n{settings}");
        has(&format!("hostname {address}"));
        has(&format!("port {port}"));
        has("user ana");
        has("identitiesonly yes");
        has("exitonforwardfailure yes");
        has("stricthostkeychecking true");
        has("globalknownhostsfile /dev/null");
        has(&format!("hostkeyalias {pattern}"));
        has("checkhostip no");
        has("forwardagent no");
        for target in plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets) {
            let trial = by_hand.trials.iter().find(|trial| trial.target == target.name).expect("a trial");
            has(&format!("localforward [127.0.0.1]:{} [{}]:{}", trial.local_port, target.host, target.port));
        }

        let line = handoff.host_keys[0].known_hosts.as_deref().expect("there is an address");
        fs::write(&hosts, format!("{line}\n")).expect("a file");
        let found = Command::new("ssh-keygen").arg("-l").arg("-F").arg(pattern).arg("-f").arg(&hosts).output();
        let found = String::from_utf8_lossy(&found.expect("ssh-keygen").stdout).into_owned();
        assert!(found.contains(&handoff.host_keys[0].fingerprint), "{pattern}: {found}");
    }
}

#[test]
fn a_host_key_that_is_none_gets_nowhere() {
    let plan = warehouse();
    let forged = format!("{HOST_KEY}\n* ssh-ed25519 AAAA");
    let keys =
        vec!["ssh-ed25519 AAAA".to_owned(), forged, "* evil".to_owned(), HOST_KEY.to_owned(), HOST_KEY.to_owned()];
    let handoff = handoff::handoff(&plan, &Known { host_keys: keys, ..known(None) });
    let lines: Vec<_> = handoff.host_keys.iter().filter_map(|key| key.known_hosts.as_deref()).collect();
    assert!(lines.iter().all(|line| line.split(' ').count() == 3 && !line.contains(['\n', '*'])), "{lines:?}");
    assert_eq!(handoff.host_keys.len(), 1);
    assert_eq!(handoff.host_keys[0].fingerprint, FINGERPRINT);
    assert!(handoff.notes.iter().any(|note| note.contains("could not be read")), "{:?}", handoff.notes);
}

#[test]
fn an_address_that_is_none_gets_nowhere() {
    let plan = warehouse();
    for address in ["203.0.113.10\n  ProxyCommand evil", "-oProxyCommand=evil", "a b", "", "*", "203.0.113.10,*"] {
        let handoff = handoff::handoff(&plan, &Known { address: Some(address.to_owned()), ..known(None) });
        assert_eq!(handoff.address, None);
        assert!(handoff.by_hand.is_none() && handoff.host_keys.iter().all(|key| key.known_hosts.is_none()));
        assert_eq!(handoff.notes.len(), 1);
    }
}

#[test]
fn two_targets_of_one_port_get_forwards_of_their_own() {
    let mut plan = warehouse();
    let first = plan.tunnels[0].targets[0].clone();
    for (name, host, port) in [("second", "10.0.0.9", 5432), ("six", "fd12::5", 5432), ("high", "10.0.0.9", 65535)] {
        let host = host.parse().map(Host::Address).expect("an address");
        plan.tunnels[0].targets.push(plan::Target { name: name.to_owned(), host, port, ..first.clone() });
    }
    plan.tunnels[0].targets.push(plan::Target { name: "again".to_owned(), ..first });
    let handoff = handoff::handoff(&plan, &known(None));
    let by_hand = handoff.by_hand.expect("the plan has an operator");
    let ports: Vec<_> = by_hand.trials.iter().map(|trial| trial.local_port).collect();
    assert_eq!(ports, [15432, 15433, 15434, 65535]);
    assert!(by_hand.ssh_config.contains("LocalForward 127.0.0.1:15434 [fd12::5]:5432\n"), "{}", by_hand.ssh_config);
}
