//! The way to the port, the server's first words, its host key, and how many may knock at once.

use std::net::IpAddr;

use super::{Case, algorithms, check};
use crate::verify::{
    Check, Part,
    network::{
        clock::seconds,
        dial::NoConnection,
        evidence::NotGreeted,
        link::Unread,
        session::{HostKey, Pinned, Stop},
        wire::{self, Malformed},
    },
};

const NO_CONNECTION: &str = "no TCP connection from here (see network.tcp)";

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    let mut checks = vec![tcp(case)];
    checks.extend(source_refused(case));
    checks.extend([banner(case), offer(case), host_key(case), startups(case)]);
    checks
}

/// Whether an address is on the allow list; not known where a prefix list is not.
fn listed(case: &Case<'_>, address: IpAddr) -> Option<bool> {
    if case.plan.sources().any(|net| net.contains(&address)) {
        return Some(true);
    }
    match case.prefix_lists {
        Ok(entries) => Some(entries.iter().any(|net| net.contains(&address))),
        Err(_) => case.plan.prefix_lists().is_empty().then_some(false),
    }
}

/// An address of a private network (RFC 1918, 6598, 4193) or of this machine alone: elsewhere another one is seen.
fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether the bastion sees this source as it is: a private address on the way to a public one is translated.
fn seen_as_is(case: &Case<'_>, source: IpAddr) -> bool {
    !private(source) || case.evidence.edge.address.is_some_and(private)
}

fn tcp(case: &Case<'_>) -> Check {
    let edge = &case.evidence.edge;
    let mut base = check("network.tcp", Part::Edge, format!("{} takes TCP connections from here", edge.to));
    let source = edge.bound.or(edge.source);
    if let Some(source) = source {
        let word = match listed(case, source) {
            Some(true) => "is",
            Some(false) => "is not",
            None => "may be",
        };
        base = base.seen(format!("from {source}, which {word} on the allow list"));
    }
    let Some(failure) = &edge.failure else { return base.seen("connected").pass() };
    let step = seconds(case.clock.step);
    let (seen, cause, fix) = match failure {
        NoConnection::Here(why) => return base.unknown(format!("this machine could not try: {why}")),
        NoConnection::Unreachable(why) => {
            return base.unknown(format!("there is no way from here: {why}; try from a machine of the allow list"));
        }
        NoConnection::Silent => (
            format!("no answer within {step}"),
            "nothing answers although the source is allowed: a firewall, security group, network ACL or route drops it, \
             the address leads nowhere, or the machine is gone",
            "look at the control plane's checks: inbound rules, the address's association, routes, the machine's state",
        ),
        NoConnection::Refused => (
            "refused".to_owned(),
            "something answers that nothing listens on this port: sshd is down or uses another port, or the address \
             (DNAT) leads to another machine",
            "look at the machine's checks: sshd's state and port; and at where the address leads",
        ),
    };
    let base = base.seen(seen);
    match source {
        Some(source) if listed(case, source) == Some(true) => base.fail(cause, fix),
        Some(source) if listed(case, source).is_none() => base.unknown(format!(
            "whether this machine's address {source} is admitted is not known: {}",
            case.prefix_lists.as_ref().err().map_or("a prefix list was not read", String::as_str)
        )),
        Some(source) if seen_as_is(case, source) => base.unknown(format!(
            "this machine's address {source} is not on the allow list, so it should not connect; \
             use an address of the list with --from, or run this there"
        )),
        Some(source) => base.unknown(format!(
            "this machine's address {source} is not on the allow list, or the bastion sees another one behind NAT; \
             run this from an address of the list"
        )),
        None => base.unknown("this machine's source address is unknown, so whether it is allowed is, too"),
    }
}

/// A question of its own, which only somebody asks who connects from an address that is not on the list.
fn source_refused(case: &Case<'_>) -> Option<Check> {
    let edge = &case.evidence.edge;
    let source = edge.bound.filter(|source| listed(case, *source) == Some(false))?;
    let base = check("network.source-refused", Part::Edge, "an address that is not on the allow list cannot connect")
        .seen(format!("from {source}"));
    if !seen_as_is(case, source) {
        return Some(base.unknown(format!("{source} is a private address: the bastion sees another one behind NAT")));
    }
    Some(match &edge.failure {
        None => base.seen("connected").fail(
            format!("{source} is not on the allow list and connects all the same"),
            "look at control.nothing-else: remove the rules that the plan does not have",
        ),
        Some(NoConnection::Silent) => base.seen(format!("no answer within {}", seconds(case.clock.step))).pass(),
        Some(NoConnection::Refused) => base.seen("refused").pass(),
        Some(NoConnection::Unreachable(why) | NoConnection::Here(why)) => {
            base.unknown(format!("the connection failed before it left: {why}"))
        }
    })
}

/// What a connection says that ends before its identification.
fn unread(base: Check, unread: &Unread, what: &str, case: &Case<'_>) -> Check {
    match unread {
        Unread::Silent => {
            let base = base.seen(format!("no {what} within {}", seconds(case.clock.step)));
            let greeted = matches!(case.evidence.transport.greeting, Some(Ok(_)));
            if greeted {
                let otherwise = format!("the server greets, and no {what} came");
                return stuck(base, case.evidence.transport.small, &otherwise);
            }
            base.fail(
                format!(
                    "the port is open, and no {what} came: the server hangs or is overloaded, or this is no SSH server"
                ),
                "look at the machine: its load, sshd's log; and at where the address leads",
            )
        }
        Unread::Closed(Some(line)) if wire::turned_away(line) => {
            let said = format!("sshd said \"{line}\" and closed the connection");
            base.seen(said).unknown(
                "sshd turns this address away for now: too many unauthenticated connections (MaxStartups), or too many \
                 that did not enter (PerSourcePenalties); wait a minute and try again",
            )
        }
        Unread::Closed(said) => {
            let base = match said {
                Some(line) => base.seen(format!("it said: {line}")),
                None => base,
            };
            base.seen(format!("it closed the connection before its {what}")).fail(
                format!("the server closed the connection before its {what}: sshd is failing, or a proxy has nothing behind it"),
                "look at sshd's log on the machine (host keys, settings, memory), and at where the address leads",
            )
        }
        Unread::Malformed(malformed) => {
            let fix = match malformed {
                Malformed::Version(_) => "update the machine's sshd; and look at where the address leads",
                _ => "look at where the address and the port lead: another service answers there",
            };
            base.seen(format!("it sent {malformed}"))
                .fail(format!("this is no SSH 2.0 server: it sent {malformed}"), fix)
        }
    }
}

fn banner(case: &Case<'_>) -> Check {
    let base = check("network.banner", Part::Bastion, "an SSH 2.0 server answers");
    match &case.evidence.transport.greeting {
        None => base.unknown(NO_CONNECTION),
        Some(Ok(greeting)) => {
            let base = base.seen(greeting.identification.clone());
            let before = greeting.before.len();
            if before == 0 { base.pass() } else { base.seen(format!("after {before} other lines")).pass() }
        }
        Some(Err(failure)) => unread(base, failure, "identification", case),
    }
}

fn offer(case: &Case<'_>) -> Check {
    let transport = &case.evidence.transport;
    let nothing =
        if transport.greeting.is_some() { "no SSH server answers (see network.banner)" } else { NO_CONNECTION };
    let unseen = |failure: &Unread| unread(algorithms::base(), failure, "list of algorithms", case);
    algorithms::check_offer(transport.kexinit.as_ref(), unseen, nothing)
}

fn host_key(case: &Case<'_>) -> Check {
    let transport = &case.evidence.transport;
    let base = check(
        "network.host-key",
        Part::Bastion,
        "the server that answers is the bastion: its host key is the known one",
    );
    let Some(offered) = &transport.host_key else {
        return match &transport.stop {
            Some(Stop::Handshake(why)) => base.seen(why.clone()).fail(
                "the server did not complete a key exchange",
                "look at network.algorithms and at sshd's log on the machine",
            ),
            Some(Stop::Late) => stuck(
                base.seen(case.clock.late()),
                transport.small,
                "the server did not complete a key exchange in time",
            ),
            Some(Stop::NoConnection(_)) | None => base.unknown(NO_CONNECTION),
            Some(Stop::Unread(_) | Stop::Impostor) => {
                base.unknown("no host key was shown (see network.banner, network.algorithms)")
            }
        };
    };
    let offered_text = format!("{} {}", offered.algorithm, offered.fingerprint);
    let base = base.seen(format!("offered: {offered_text}"));
    let known: Vec<HostKey> = match case.host_keys {
        Pinned::Keys(keys) => keys.iter().map(HostKey::of).collect(),
        Pinned::Unknown(_) => Vec::new(),
    };
    if let Some(check) = turns(base.clone(), &transport.shown, &known) {
        return check;
    }
    match case.host_keys {
        Pinned::Unknown(reason) => base.unknown(format!(
            "the bastion's host keys are not known here: {reason}; compare the fingerprint with the machine's own"
        )),
        Pinned::Keys(_) => {
            let text: Vec<_> = known.iter().map(|key| format!("{} {}", key.algorithm, key.fingerprint)).collect();
            let base = text.iter().fold(base, |base, key| base.seen(format!("known: {key}")));
            if known.contains(offered) {
                // The key is the bastion's; whether its owner could prove that is the key exchange.
                return match &transport.stop {
                    Some(Stop::Handshake(why)) => base.fail(
                        format!(
                            "the server shows the bastion's host key and does not complete the key exchange: {why}"
                        ),
                        "do not enter anything; look at where the address leads",
                    ),
                    Some(Stop::Late) if transport.small == Some(true) => stuck(base, transport.small, ""),
                    Some(Stop::Late) => base.unknown("the key exchange did not end in time"),
                    _ => base.pass(),
                };
            }
            base.fail(
                format!(
                    "the server's host key is another than the bastion's: {offered_text} instead of {}. Somebody answers in \
                     its place, the address leads elsewhere, or the machine was replaced",
                    text.join(" or ")
                ),
                "find out which before anybody uses the tunnel: compare the fingerprints on the machine's console; after \
                 an intended replacement, tell the vendor the new key",
            )
            .proven()
        }
    }
}

fn startups(case: &Case<'_>) -> Check {
    let base = check("network.startups", Part::Bastion, "several connections may begin at once, as a vendor's do");
    let seen = match &case.evidence.startups {
        Ok(seen) => seen,
        Err(why) => return base.unknown(why.clone()),
    };
    let base = base.seen(format!("{} of {} connections that began at once were greeted", seen.greeted, seen.asked));
    if seen.greeted >= seen.asked {
        return base.pass();
    }
    let base = match &seen.first_failure {
        Some(failure) => base.seen(not_greeted(failure)),
        None => base,
    };
    if !seen.after {
        return base.unknown(
            "a single connection was turned away afterwards, too: sshd keeps this address out for a while \
             (PerSourcePenalties), or a limit on the way does; wait a minute and try again",
        );
    }
    let (greeted, asked) = (seen.greeted, seen.asked);
    match &seen.first_failure {
        Some(NotGreeted::NoConnection(_)) => base.fail(
            format!(
                "only {greeted} of {asked} connections that began at once came to sshd: a limit on the way (a firewall, load \
                 balancer or NAT before the machine, or a packet filter on it), not sshd's MaxStartups"
            ),
            "look at limits of new connections by address on the way, and at the machine's own packet filter (nft, ufw, fail2ban)",
        ),
        Some(NotGreeted::Unread(Unread::Closed(Some(line)))) if !wire::turned_away(line) => base.fail(
            format!("only {greeted} of {asked} connections that began at once were greeted; one was told: {line}"),
            "look for what says this: sshd, or something before it",
        ),
        Some(NotGreeted::Unread(Unread::Closed(None) | Unread::Silent | Unread::Malformed(_))) => base.fail(
            format!(
                "only {greeted} of {asked} connections that began at once were greeted, and sshd does not say that it is its own \
                 limit: a limit on the way, a proxy, or sshd's PerSourceMaxStartups or MaxStartups"
            ),
            "look at the machine's checks of the running sshd's settings, and at limits of new connections on the way",
        ),
        Some(NotGreeted::Unread(Unread::Closed(Some(_)))) | None => base.fail(
            format!(
                "sshd turns connections away that begin at once: its MaxStartups is smaller than the plan's {}",
                case.plan.ssh.max_startups
            ),
            "look at the machine's checks of the running sshd's settings; restart sshd if its files are right",
        ),
    }
}

fn not_greeted(failure: &NotGreeted) -> String {
    match failure {
        NotGreeted::NoConnection(NoConnection::Silent) => "a connection was not answered".to_owned(),
        NotGreeted::NoConnection(NoConnection::Refused) => "a connection was refused".to_owned(),
        NotGreeted::NoConnection(NoConnection::Unreachable(why) | NoConnection::Here(why)) => why.clone(),
        NotGreeted::Unread(Unread::Closed(Some(said))) => format!("the server said \"{said}\" and closed a connection"),
        NotGreeted::Unread(Unread::Closed(None)) => "the server closed a connection without a word".to_owned(),
        NotGreeted::Unread(Unread::Silent) => "the server let a connection wait".to_owned(),
        NotGreeted::Unread(Unread::Malformed(malformed)) => format!("the server sent {malformed}"),
    }
}

/// `, as seen from 203.0.113.20`
pub fn seen_from(case: &Case<'_>) -> String {
    let edge = &case.evidence.edge;
    match edge.bound.or(edge.source) {
        Some(source) if seen_as_is(case, source) => format!(", as seen from {source}"),
        Some(_) => ", as seen from here".to_owned(),
        None => String::new(),
    }
}

/// What hangs with packets of the usual size: the path, if it does not with small ones.
pub fn stuck(base: Check, small: Option<bool>, otherwise: &str) -> Check {
    const FIX: &str = "let ICMP \"fragmentation needed\" (IPv6: \"packet too big\") through between here and the machine, or lower the \
         MTU or clamp the MSS on the way (VPN, tunnel, appliance)";
    match small {
        Some(true) => base.seen("in segments of 536 bytes it goes on").fail(
            "small packets pass and larger ones are lost: a path MTU below 1,500 with ICMP dropped between here and the machine",
            FIX,
        ),
        Some(false) => base
            .seen("in segments of 536 bytes, too")
            .fail(otherwise, "look at the machine's load, at sshd's log, and at packets that are lost on the way"),
        None => base.fail(
            format!(
                "{otherwise}: the machine hangs, or larger packets are lost (a path MTU below 1,500 with ICMP dropped between \
                 here and the machine)"
            ),
            format!("look at the machine's load and at sshd's log; {FIX}"),
        ),
    }
}

/// Keys of connections that met the bastion, and of others.
fn turns(base: Check, shown: &[HostKey], own: &[HostKey]) -> Option<Check> {
    let own = if own.is_empty() { shown.get(..1).unwrap_or_default() } else { own };
    let foreign: Vec<_> = shown.iter().filter(|key| !own.contains(key)).collect();
    let other = foreign.first()?;
    if foreign.len() == shown.len() {
        return None;
    }
    let failed = base.fail(
        format!(
            "several machines answer at this address in turn: {} of {} connections met another host key, {} {}",
            foreign.len(),
            shown.len(),
            other.algorithm,
            other.fingerprint
        ),
        "find what shares the address with the bastion: a load balancer's pool, a second DNAT rule or DNS record, another machine \
         with the same address",
    );
    Some(failed.proven())
}
