//! The database: that it is there, admits the bastion, and has a connection left.

use super::*;
use crate::machines::{database::trusted, lab::BASTION};

const ADMITTED_AGAIN: Change = Around(|lab| {
    lab.database.admit(&trusted(BASTION));
    lab.database.reload();
});
const STARTED_AGAIN: Change = Around(|lab| {
    lab.database.stop();
    lab.database.resume();
});

const LOGIN: &[&str] = &["network.target-login[warehouse]"];

/// Whom the database admits from now on. It reads that soon after it is told.
fn admit(lab: &Lab, rules: &str) {
    lab.database.admit(rules);
    lab.database.reload();
}

pub const FAULTS: &[Fault] = &[
    fault(
        "the database is down",
        Around(|lab| lab.database.stop()),
        Around(|lab| lab.database.resume()),
        Named(&["machine.target[warehouse]"], "refuses"),
    ),
    after_report(fault(
        "the database went down after the report",
        Around(|lab| lab.database.stop()),
        Around(|lab| lab.database.resume()),
        Named(&["network.forward[warehouse]"], "cannot reach"),
    )),
    fault(
        "the database's group has no rule for the bastion",
        Around(|lab| lab.router.close_database()),
        Around(|lab| lab.router.open_database()),
        Named(&["machine.target[warehouse]"], "a security group"),
    ),
    fault(
        "the database hangs",
        Around(|lab| lab.database.signal(libc::SIGSTOP)),
        Around(|lab| lab.database.signal(libc::SIGCONT)),
        Named(&["network.forward[warehouse]"], "warehouse.internal port 5432 takes connections and"),
    ),
    fault(
        "the database refuses the bastion's address",
        Around(|lab| admit(lab, "host all all 10.0.9.0/24 trust")),
        ADMITTED_AGAIN,
        Named(LOGIN, "does not admit this user from the bastion's address"),
    ),
    fault(
        "the database rejects the bastion's address",
        Around(|lab| admit(lab, "host all all 10.0.1.0/24 reject")),
        ADMITTED_AGAIN,
        Named(LOGIN, "does not admit this user from the bastion's address"),
    ),
    fault(
        "the database wants TLS, which it does not have",
        Around(|lab| admit(lab, &format!("hostssl all all {BASTION}/32 trust"))),
        ADMITTED_AGAIN,
        Named(LOGIN, "does not admit this user from the bastion's address"),
    ),
    fault(
        "the database has no connection left",
        Around(|lab| {
            lab.database.restart(&["max_connections=3", "superuser_reserved_connections=0"]);
            lab.database.keep_busy(3);
        }),
        STARTED_AGAIN,
        Named(LOGIN, "has no connection left"),
    ),
    without_login(fault(
        "the database rejects the bastion's address, and nobody asks it",
        Around(|lab| admit(lab, "host all all 10.0.1.0/24 reject")),
        ADMITTED_AGAIN,
        Harmless,
    )),
    without_login(fault(
        "the database has no connection left, and nobody asks it",
        Around(|lab| {
            lab.database.restart(&["max_connections=3", "superuser_reserved_connections=0"]);
            lab.database.keep_busy(3);
        }),
        STARTED_AGAIN,
        Harmless,
    )),
    fault(
        "the database has three connections left",
        Around(|lab| {
            lab.database.restart(&["max_connections=8", "superuser_reserved_connections=0"]);
            lab.database.keep_busy(5);
        }),
        STARTED_AGAIN,
        Named(LOGIN, "has no connection left"),
    ),
    fault(
        "the database is a standby that nobody may ask",
        Around(|lab| {
            std::fs::write(lab.database.file("standby.signal"), "").expect("the cluster's folder");
            lab.database.restart(&["hot_standby=off"]);
        }),
        Around(|lab| {
            lab.database.stop();
            std::fs::remove_file(lab.database.file("standby.signal")).expect("the cluster's folder");
            lab.database.resume();
        }),
        Named(LOGIN, "is starting, recovering or shutting down"),
    ),
    fault(
        "the database's firewall admits four connections",
        Around(|lab| {
            lab.router.namespace.nft(&format!(
                "insert rule ip subnets pass ip daddr {DATABASE} ct state new ct count over 4 reject with tcp reset"
            ))
        }),
        Around(super::network::rules_again),
        Named(&["network.concurrent"], "only 4 of 50 forwards to warehouse are open at"),
    ),
    fault(
        "the database asks the machine who its users are",
        Around(|lab| admit(lab, &format!("host all all {BASTION}/32 ident"))),
        ADMITTED_AGAIN,
        Named(LOGIN, "does not answer even a small login"),
    ),
];
