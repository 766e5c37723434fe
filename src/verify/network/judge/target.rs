//! What a target said through a forward, and what a database says to a login.

use super::Case;
use crate::{
    plan::{LoginAttempt, Protocol, Target},
    verify::{
        Check,
        network::{
            clock::seconds,
            converse::Stage,
            inside::Forward,
            login::{Login, Refusal},
            speak::Reading,
        },
    },
};

/// More than one packet of the usual 1,500 bytes: to see so much is to see that large ones arrive.
const MORE_THAN_A_PACKET: usize = 1500;

/// The verdict on a forward that is open.
pub fn judge(case: &Case<'_>, base: Check, target: &Target, forward: &Forward) -> Check {
    let place = format!("{} port {}", target.host, target.port);
    match &forward.reading {
        Some(Reading::Speaks(said)) => large(base.seen(said.clone()), forward.heard).pass(),
        Some(Reading::Refuses { refusal, said }) => refused(base, &place, target, *refusal, said),
        Some(Reading::Other(said)) => base.seen(said.clone()).fail(
            format!("something else than {} answers at {place}: {said}", target.speaks.as_str()),
            "look at the target's host, port and `speaks` in the plan, and at what runs there",
        ),
        Some(Reading::More) | None => silent(case, base, &place, target, forward),
    }
}

fn silent(case: &Case<'_>, base: Check, place: &str, target: &Target, forward: &Forward) -> Check {
    let step = seconds(case.clock.step);
    if forward.stage == Stage::Words || forward.heard == 0 {
        return base.seen(format!("no word within {step}")).fail(
            format!("{place} takes connections and does not speak {}", target.speaks.as_str()),
            "look at the target's `speaks` in the plan, and at whether the database hangs",
        );
    }
    base.seen(format!("{} bytes came; then nothing within {step}", forward.heard)).fail(
        format!(
            "{place} offers TLS, and its larger answer does not come: packets near 1,500 bytes are lost between the machine \
             and the database (a path MTU below 1,500 with ICMP dropped), or the database hangs"
        ),
        LARGE_PACKETS,
    )
}

const LARGE_PACKETS: &str = "let ICMP \"fragmentation needed\" (IPv6: \"packet too big\") through between the machine and the database, or \
     lower the MTU on the way (peering, VPN, appliance)";

fn refused(base: Check, place: &str, target: &Target, refusal: Refusal, said: &str) -> Check {
    let (what, fix) = match (refusal, target.speaks) {
        (Refusal::NotAdmitted, Protocol::Mysql) => (
            "does not admit the bastion's address",
            "give the database's user a host pattern that matches the bastion's private address",
        ),
        (Refusal::NotAdmitted, Protocol::Sqlserver) => (
            "does not admit the bastion's address",
            "add the address that the bastion has there, or its subnet, to the server's firewall rules, or lead the tunnel to a \
             private endpoint",
        ),
        (Refusal::NotAdmitted, _) => (
            "does not admit this user from the bastion's address",
            "give the database's pg_hba.conf a line for the bastion's private address, the user and the database, and reload",
        ),
        (Refusal::NoConnectionLeft, Protocol::Sqlserver) => (
            "has no connection left",
            "close connections, or raise `user connections` (Azure SQL: choose a tier with more sessions and workers)",
        ),
        (Refusal::NoConnectionLeft, _) => {
            ("has no connection left", "raise the database's max_connections, or close connections")
        }
        (Refusal::NotReady, _) => {
            ("is starting, recovering or shutting down", "wait, and look at the database's log if it stays so")
        }
        (Refusal::Blocked, _) => (
            "has blocked the bastion after many connections without a login",
            "run FLUSH HOSTS (or TRUNCATE performance_schema.host_cache) on the database",
        ),
        (Refusal::Redirects, _) => (
            "sends its clients on to another place, where no tunnel leads",
            "set the connection policy of the Azure SQL server to Proxy",
        ),
        (Refusal::Other, _) => ("refuses the bastion before any login", "look at the database's error log"),
    };
    base.seen(said.to_owned()).fail(format!("{place} {what}: {said}"), fix)
}

/// To see so much at once is to see that large packets arrive.
fn large(base: Check, heard: usize) -> Check {
    if heard > MORE_THAN_A_PACKET {
        base.seen(format!("{heard} bytes came at once: larger packets pass between machine and target"))
    } else {
        base.seen("not seen: whether packets near 1,500 bytes pass between machine and target")
    }
}

/// Whether a database can be asked for a login; by its port where the plan does not say what it speaks.
pub fn database(target: &Target) -> Option<Protocol> {
    match (target.speaks, target.port) {
        (Protocol::Postgres | Protocol::Mysql | Protocol::Sqlserver, _) => Some(target.speaks),
        (Protocol::Tcp, 5432) => Some(Protocol::Postgres),
        (Protocol::Tcp, 3306) => Some(Protocol::Mysql),
        (Protocol::Tcp, 1433) => Some(Protocol::Sqlserver),
        (Protocol::Tcp | Protocol::Tls, _) => None,
    }
}

/// The verdict on a login at a database; `forward` names the check of the way to it.
pub fn login(case: &Case<'_>, base: Check, target: &Target, forward: (&Check, &Forward)) -> Check {
    let place = format!("{} port {}", target.host, target.port);
    let Some(attempt) = &target.login_attempt else { return base.unknown(not_asked(target)) };
    let Some(login) = &forward.1.login else {
        return base.unknown(format!("it did not come to a login (see {})", forward.0.name()));
    };
    match login {
        Login::Admits { said, echoed, .. } => {
            large(base, forward.1.heard.max(*echoed)).seen(format!("to a login without a password: {said}")).pass()
        }
        // A rule may name users and databases: of one that nobody has, a refusal tells nothing about the vendor's.
        Login::Refuses { refusal: Refusal::NotAdmitted, said }
            if target.speaks == Protocol::Postgres && *attempt == LoginAttempt::Nobody =>
        {
            base.seen(said.clone()).unknown(format!(
                "{place} does not admit an unknown user from the bastion's address: {said}. The vendor is refused, too, unless a \
                 line of pg_hba.conf names its user or database; to know, name both in `login_attempt` of the target"
            ))
        }
        Login::Refuses { refusal, said } => refused(base, &place, target, *refusal, said),
        Login::Unclear(said) => base.seen(said.clone()).unknown(format!(
            "{place} answers a login without a password in a way that tells neither that it admits the bastion nor that it \
             does not: {said}"
        )),
        Login::Silent => base.seen(case.clock.late()).fail(
            format!(
                "{place} does not answer a login of some kilobytes: packets near 1,500 bytes are lost between the machine and the \
                 database (a path MTU below 1,500 with ICMP dropped), or the database hangs"
            ),
            LARGE_PACKETS,
        ),
        Login::Hangs => base.seen(case.clock.late()).fail(
            format!(
                "{place} takes connections and does not answer even a small login: it hangs, or waits for somebody whom it asks about \
                 users (ident, LDAP, RADIUS, a resolver)"
            ),
            "look at the database's log and load, and (PostgreSQL) at the method that its pg_hba.conf has for the bastion's address",
        ),
        Login::NotTried(why) => base.unknown(format!("no login was tried: {why}")),
    }
}

/// One text for all targets of a kind, so that it is read once.
fn not_asked(target: &Target) -> String {
    const NOT_ASKED: &str = "not asked, since the database may log it as a failed login: whether it admits the bastion, has a connection \
                             left, and can send more than small packets. To know, give the target";
    let line = match database(target) {
        Some(Protocol::Postgres) => "`login_attempt: {user: ..., database: ...}`, those of the vendor,",
        _ => "`login_attempt: true`",
    };
    let speaks = match database(target) {
        Some(speaks) if target.speaks == Protocol::Tcp => format!("`speaks: {}` and ", speaks.as_str()),
        _ => String::new(),
    };
    format!("{NOT_ASKED} {speaks}{line} in the plan: a login is begun then, without a password")
}
