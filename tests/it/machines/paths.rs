//! Paths that lose large packets and say nothing: real routers with a smaller MTU whose ICMP is dropped.

use std::collections::BTreeSet;

use gangplank::{plan::LoginAttempt, verify::Verdict};

use super::{
    Blueprint, Lab, Namespace,
    boots::{Keys, plan},
    lab::OPERATOR,
    look::{Watch, red},
};

/// A router's interfaces send packets of at most this size, and nobody is told.
fn narrow(router: &Namespace, interfaces: &[&str], mtu: u32) {
    router.nft(
        "table ip path { chain out { type filter hook output priority filter; icmp type destination-unreachable drop; }; }",
    );
    for interface in interfaces {
        router.ip(&format!("link set {interface} mtu {mtu}"));
    }
}

fn widen(router: &Namespace, interfaces: &[&str]) {
    router.nft("delete table ip path");
    for interface in interfaces {
        router.ip(&format!("link set {interface} mtu 1500"));
    }
}

#[test]
fn a_path_that_loses_large_packets_is_named_and_not_the_machine() {
    let keys = Keys::new();
    let mut plan = plan(&keys, &[&keys.vendor]);
    plan.tunnels[0].targets[0].login_attempt = Some(LoginAttempt::Nobody);
    let Some(lab) = Lab::up(&plan, &Blueprint::default()) else { return };
    let watch = Watch::new(&lab, &plan, OPERATOR, Some(&keys.operator));
    let whole = watch.network(&lab);
    assert_eq!(red(&whole), BTreeSet::new(), "{whole:#?}");

    let outside = &["public", "private"][..];
    for mtu in [1300, 700] {
        narrow(&lab.edge.namespace, outside, mtu);
        let seen = watch.network(&lab);
        let failed: Vec<_> = seen.iter().filter(|check| check.verdict.is_fail()).collect();
        assert_eq!(failed.len(), 1, "{mtu}: {failed:#?}");
        assert!(
            matches!(&failed[0].verdict, Verdict::Fail { cause, .. } if cause.starts_with("small packets pass and larger ones are lost")),
            "{mtu}: {failed:#?}"
        );
        println!("at {mtu}: {}", failed[0].name());
        widen(&lab.edge.namespace, outside);
    }

    // Towards the database only: the other way leads to the internet, too.
    let inside = &["database"][..];
    narrow(&lab.router.namespace, inside, 1300);
    let seen = watch.network(&lab);
    assert_eq!(red(&seen), BTreeSet::from(["network.target-login[warehouse]".to_owned()]), "{seen:#?}");
    let login = seen.iter().find(|check| check.id == "network.target-login").expect("always there");
    assert!(
        matches!(&login.verdict, Verdict::Fail { cause, .. } if cause.contains("between the machine and the database")),
        "{login:#?}"
    );
    widen(&lab.router.namespace, inside);
    let whole = watch.network(&lab);
    assert_eq!(red(&whole), BTreeSet::new(), "{whole:#?}");
}
