//! The vendor's own way, as the machine knows it: what its own login meets, and what it does with each of the plan's sources.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::wrappers::{self, Admission};
use super::{Bench, Judged, REPLACE, fail, found, unknown};
use crate::{
    plan::Plan,
    verify::{
        Part,
        report::{ByAddress, Guards, Report, Seen, SelfTest},
    },
};

pub const SELF_TEST: &str = "machine.self-test";

/// Whose failure says why the machine's own login fails: it is red for that cause.
pub const EXPLAINS: [&str; 16] = [
    "machine.cloud-init",
    "machine.document",
    "machine.deadline",
    "machine.disk",
    "machine.daemon",
    "machine.daemon-current",
    "machine.port",
    "machine.authentication",
    "machine.account",
    "machine.home",
    "machine.ssh-folder",
    "machine.permitopen",
    "machine.key-options",
    "machine.concurrency",
    "machine.target",
    "machine.target-dns",
];

pub fn checks(bench: &mut Bench<'_>) {
    let plan = bench.plan;
    for (user, _) in plan.accounts() {
        let user = user.as_str();
        bench.check(
            SELF_TEST,
            Some(user),
            Part::Bastion,
            format!("from the machine itself, a login as {user} enters, and its forwards reach the targets"),
            |report, said| self_test(report, plan, user, said),
        );
    }
    bench.check(
        "machine.sources",
        None,
        Part::Bastion,
        "the machine treats no source of the plan in a way of its own",
        |report, said| sources(report, plan, said),
    );
}

/// What the machine's own login met; `None` where none was tried.
pub fn tested<'a>(report: &'a Report, user: &str) -> Option<&'a SelfTest> {
    match report.self_tests.as_result().ok()?.as_ref()?.get(user)? {
        Seen::Found(test) => test.as_ref(),
        Seen::Failed(_) => None,
    }
}

fn self_test(report: &Report, plan: &Plan, user: &str, said: &mut Vec<String>) -> Judged {
    let all = found("what its own login met", &report.self_tests)?;
    let Some(all) = all else { return unknown("the machine tried no login of its own") };
    let Some(test) = all.get(user) else {
        return unknown("the report does not tell of this account: the machine's document has no such user");
    };
    let Some(test) = found("what its own login met", test)? else {
        said.push("no key of it is accepted: nobody is to enter".to_owned());
        return Ok(());
    };
    said.extend(test.said.iter().map(|line| format!("ssh: {line}")));
    // All users are tried at once, and the log has lines of each.
    let names =
        |line: &str, name: &str| line.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).any(|w| w == name);
    let of_another =
        |line: &str| plan.accounts().any(|(other, _)| other.as_str() != user && names(line, other.as_str()));
    let log = test.log.as_result().ok().and_then(Option::as_deref).unwrap_or_default();
    let log: Vec<&String> = log.iter().filter(|line| !of_another(line)).collect();
    said.extend(log.iter().map(|line| format!("the machine's log: {line}")));
    if let (false, Some(rule)) = (test.entered, wraps_itself(report)) {
        return unknown(format!("TCP wrappers turn the machine's own address away: {rule}"));
    }
    if !test.entered {
        let own = log.iter().rfind(|line| names(line, user)).or(log.last()).copied();
        let cause = own.or(test.said.last()).map_or("it does not say why", String::as_str);
        return fail(
            format!("a key with {user}'s own options does not enter: {cause}"),
            format!(
                "the words are sshd's or PAM's own: something on the machine, an account policy or an image of your own, changed what gangplank set up; {REPLACE}"
            ),
        );
    }
    said.push("entered".to_owned());
    let needed = u64::from(plan.ssh.open_files);
    match test.open_files.as_result() {
        Ok(Some(limit)) if *limit < needed => {
            return fail(
                format!("a session of {user} may open {limit} files instead of {needed}: forwards fail under load"),
                format!("a file of /etc/security or PAM sets another limit: {REPLACE}"),
            );
        }
        Ok(limit) => {
            said.push(limit.map_or_else(|| "any number of files".to_owned(), |limit| format!("{limit} files")))
        }
        Err(error) => said.push(format!("its limits are not known: {error}")),
    }
    if let Ok(Some(seconds)) = test.cpu.as_result() {
        return fail(
            format!("a session of {user} is ended after {seconds} seconds of processor time"),
            format!("a file of /etc/security or PAM sets that limit: {REPLACE}"),
        );
    }
    let through: BTreeMap<&str, bool> = test
        .forwards
        .iter()
        .filter_map(|(name, open)| open.as_result().ok().map(|open| (name.as_str(), *open)))
        .collect();
    said.extend(through.iter().map(|(name, open)| format!("{name}: {}", if *open { "open" } else { "closed" })));
    let closed: Vec<&str> = through.iter().filter(|(_, open)| !**open).map(|(name, _)| *name).collect();
    if closed.is_empty() {
        return Ok(());
    }
    let why = test.said.last().map_or(String::new(), |line| format!(": {line}"));
    let cause = format!("a forward to {} is closed again{why}", closed.join(", "));
    if has_no_route(report, plan) {
        return unknown(format!("{cause}; {NO_ROUTE}"));
    }
    fail(cause, "see that the target takes connections from the machine's address, and has some left")
}

/// Every range that may come in.
fn ranges(plan: &Plan) -> impl Iterator<Item = IpNet> {
    let tunnels = plan.tunnels.iter().flat_map(|tunnel| tunnel.sources().map(|(net, _)| net));
    tunnels.chain(plan.operators.iter().flat_map(|operator| operator.allow_from.iter().copied()))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn sources(report: &Report, plan: &Plan, said: &mut Vec<String>) -> Judged {
    let all: Vec<IpNet> = ranges(plan).collect();
    let guards = found("what else decides about addresses", &report.guards)?;
    let mut wrong = Vec::new();
    let mut doubts = Vec::new();
    wrapped(guards, &all, &mut wrong, &mut doubts);
    dropped(guards, &all, &mut wrong, &mut doubts);
    doubts.extend(
        guards.pam.iter().map(|module| format!("PAM asks {module}, which knows who comes from where and when")),
    );
    if let Ok(sshd) = report.sshd.as_result() {
        match &sshd.by_address {
            Seen::Found(found) => set_apart(found, &all, &mut wrong, &mut doubts),
            // Whoever can't tell its settings says so elsewhere.
            Seen::Failed(error) => said.push(format!("settings by address are not known: {error}")),
        }
    }
    match &report.refusals {
        Seen::Found(lines) => turned_away(report, plan, lines.as_deref().unwrap_or_default(), &all, &mut doubts),
        Seen::Failed(error) => doubts.push(format!("the machine's log could not be read: {error}")),
    }
    said.push(format!("{} ranges asked for", all.len()));
    said.extend(doubts.iter().cloned());
    if !wrong.is_empty() {
        return fail(
            wrong.join("; "),
            format!("somebody or something put this on the machine, an update or an image of your own: {REPLACE}"),
        );
    }
    if doubts.is_empty() {
        return Ok(());
    }
    unknown(format!(
        "{}. Whether that shuts out a source of the plan can't be told from here: `gangplank verify --from ADDRESS`, on a machine \
         with that address, tells",
        doubts.join("; ")
    ))
}

/// Lines of the log about an address or a user of the plan, where its own login does not tell the same.
fn turned_away(report: &Report, plan: &Plan, lines: &[String], all: &[IpNet], doubts: &mut Vec<String>) {
    let users: Vec<&str> = plan
        .accounts()
        .map(|(user, _)| user.as_str())
        .filter(|user| tested(report, user).is_none_or(|test| test.entered))
        .collect();
    let known = |word: &str| {
        users.contains(&word) || word.parse().is_ok_and(|address: IpAddr| all.iter().any(|net| net.contains(&address)))
    };
    let concerned = |line: &&String| line.split(|c: char| c.is_whitespace() || "()[],;'\"".contains(c)).any(known);
    doubts.extend(
        lines.iter().filter(concerned).map(|line| format!("since the report before, the machine's log said: {line}")),
    );
}

/// The rule by which TCP wrappers turn the machine itself away.
pub fn wraps_itself(report: &Report) -> Option<String> {
    let guards = report.guards.as_result().ok()?;
    match wrappers::admission(&guards.allow, &guards.deny, &IpNet::from(IpAddr::from([127, 0, 0, 1]))) {
        Admission::No(rule) => Some(rule),
        Admission::Yes | Admission::Unknown(_) => None,
    }
}

fn wrapped(guards: &Guards, all: &[IpNet], wrong: &mut Vec<String>, doubts: &mut Vec<String>) {
    for net in all {
        match wrappers::admission(&guards.allow, &guards.deny, net) {
            Admission::Yes => {}
            Admission::No(rule) => wrong.push(format!("/etc/hosts.deny turns {net} away: {rule}")),
            Admission::Unknown(rule) => doubts.push(format!("TCP wrappers have the rule {rule}")),
        }
    }
    doubts.dedup();
}

fn dropped(guards: &Guards, all: &[IpNet], wrong: &mut Vec<String>, doubts: &mut Vec<String>) {
    if guards.unread {
        doubts.push("the machine has a firewall of its own, and no program (nft) to list its rules".to_owned());
    }
    if let Some(net) = unrouted(guards, all) {
        wrong.push(format!("answers to {net} are sent nowhere: the machine has no default route"));
    } else if guards.default_route == Some(false) {
        doubts.push("the machine has no default route, and others that may lead to the plan's sources".to_owned());
    }
    for rule in guards.drops.iter().filter(|rule| !is_of_the_network(rule, all)) {
        let nets = nets(rule);
        match all.iter().find(|net| nets.iter().any(|named| overlap(named, net))) {
            Some(net) if is_route(rule) => wrong.push(format!("answers to {net} are sent nowhere by a route: {rule}")),
            Some(net) if is_detour(rule) => doubts.push(format!("answers to {net} take a way of their own: {rule}")),
            Some(net) if !rule.contains("!=") => wrong.push(format!("the machine's own firewall drops {net}: {rule}")),
            Some(_) => doubts.push(format!("the machine's own firewall has the rule {rule}")),
            // Of other addresses only; or the last of all routes, as each machine without IPv6 has one.
            None if is_route(rule) && !is_policy(rule) => {}
            // A policy is of others where it says to whom; of this machine's answers where it says from whom, or nothing.
            None if is_policy(rule) && is_route(rule) && !rule.contains(" to ") && !is_of_some_packets(rule) => {
                wrong.push(format!("answers are sent nowhere by a rule of the machine's routing: {rule}"));
            }
            None if !nets.is_empty() && !rule.contains("!=") && !is_of_some_packets(rule) => {}
            None if is_detour(rule) => doubts.push(format!("the machine routes by a rule of its own: {rule}")),
            None => doubts.push(format!("the machine has a firewall of its own: {rule}")),
        }
    }
}

fn nets(rule: &str) -> Vec<IpNet> {
    let words = rule.split(|c: char| c.is_whitespace() || "{},\"".contains(c));
    words.filter_map(|word| word.parse().ok().or_else(|| Some(IpNet::from(word.parse::<IpAddr>().ok()?)))).collect()
}

/// A source that no route leads to. Where there are other routes, or rules that name another table, the report does not tell enough of
/// them to say so.
fn unrouted<'a>(guards: &Guards, all: &'a [IpNet]) -> Option<&'a IpNet> {
    let another = |rule: &String| is_detour(rule) && !is_of_the_network(rule, all);
    let alone = guards.default_route == Some(false) && !guards.drops.iter().any(another);
    all.iter().find(|net| alone && net.addr().is_ipv4())
}

/// The way to one machine of the cloud's own, its gateway or resolver, as DHCP brings it.
fn is_of_the_network(rule: &str, all: &[IpNet]) -> bool {
    let to = rule.split(' ').next().and_then(|word| word.parse::<IpAddr>().ok()).map(IpNet::from);
    rule.contains(" proto dhcp") && to.is_some_and(|to| !all.contains(&to))
}

/// Without a default route little can be reached: what cannot follows from that.
pub const NO_ROUTE: &str = "that follows from machine.sources: the machine has no default route";

pub fn has_no_route(report: &Report, plan: &Plan) -> bool {
    let all: Vec<IpNet> = ranges(plan).collect();
    report.guards.as_result().is_ok_and(|guards| unrouted(guards, &all).is_some())
}

/// As `ip route` and `ip rule` write what leads nowhere: its kind comes first, or last.
fn is_route(rule: &str) -> bool {
    const KINDS: [&str; 3] = ["blackhole", "unreachable", "prohibit"];
    let word = if is_policy(rule) { rule.split(' ').next_back() } else { rule.split(' ').next() };
    word.is_some_and(|word| KINDS.contains(&word))
}

/// A line of `ip rule`, which begins with its priority.
fn is_policy(rule: &str) -> bool {
    rule.split_once(':').is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// A policy for marked packets, a port, an interface or a user.
fn is_of_some_packets(rule: &str) -> bool {
    const SELECTORS: [&str; 7] = ["fwmark", "iif", "oif", "ipproto", "sport", "dport", "uidrange"];
    is_policy(rule) && rule.split(' ').any(|word| SELECTORS.contains(&word))
}

fn is_detour(rule: &str) -> bool {
    is_policy(rule) || rule.split(' ').nth(1).is_some_and(|word| word == "via" || word == "dev")
}

fn set_apart(found: &[ByAddress], all: &[IpNet], wrong: &mut Vec<String>, doubts: &mut Vec<String>) {
    for one in found {
        let named: Option<IpNet> =
            one.from.parse().ok().or_else(|| Some(IpNet::from(one.from.parse::<IpAddr>().ok()?)));
        let concerned = named.is_none_or(|named| all.iter().any(|net| overlap(&named, net)));
        match &one.settings {
            _ if !concerned => {}
            Some(settings) if !settings.is_empty() => {
                let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
                wrong.push(format!(
                    "sshd has other settings for {} from {}: {}",
                    one.user,
                    one.from,
                    settings.join(", ")
                ));
            }
            Some(_) => {}
            None => doubts.push(format!("sshd's files have settings for `Match {}`", one.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a range")).collect()
    }

    #[test]
    fn a_firewall_rule_counts_by_the_addresses_that_it_names() {
        let all = ranges(&["203.0.113.10/32", "198.51.100.0/24"]);
        for (rule, expected) in [
            ("ip saddr 203.0.113.10 drop", "wrong"),
            ("ip saddr { 192.0.2.7, 198.51.100.0/28 } tcp dport 22 reject", "wrong"),
            ("-A INPUT -s 198.51.100.9/32 -j DROP", "wrong"),
            ("ip saddr 192.0.2.7 drop", ""),
            ("ip saddr != 203.0.113.10 drop", "doubt"),
            ("type filter hook input priority filter; policy drop;", "doubt"),
            ("tcp dport 25 drop", "doubt"),
            ("blackhole 203.0.113.10", "wrong"),
            ("unreachable 203.0.113.0/24 proto static", "wrong"),
            ("blackhole 192.0.2.0/24", ""),
            ("unreachable default dev lo metric 4294967295 error -101", ""),
            ("203.0.113.10 via 10.0.1.99 dev ens5", "doubt"),
            ("203.0.113.0/24 dev tun0 scope link", "doubt"),
            ("10.8.0.0/24 dev tun0 scope link", ""),
            ("168.63.129.16 via 10.0.1.1 dev eth0 proto dhcp", ""),
            ("32765: from all to 203.0.113.10 prohibit", "wrong"),
            ("32765: from all to 203.0.113.0/24 lookup 100", "doubt"),
            ("32765: from all to 192.0.2.7 lookup 100", ""),
            ("32765: from all lookup 100", "doubt"),
            ("10001: from 10.0.1.4 lookup 10001", ""),
            ("100: from all prohibit", "wrong"),
            ("100: from 10.0.1.4 prohibit", "wrong"),
            ("100: from all to 192.0.2.0/24 blackhole", ""),
            ("100: from all fwmark 0x1 blackhole", "doubt"),
        ] {
            let (mut wrong, mut doubts) = (Vec::new(), Vec::new());
            dropped(&Guards { drops: vec![rule.to_owned()], ..Guards::default() }, &all, &mut wrong, &mut doubts);
            let got = match (wrong.is_empty(), doubts.is_empty()) {
                (false, _) => "wrong",
                (true, false) => "doubt",
                (true, true) => "",
            };
            assert_eq!(got, expected, "{rule}");
        }
    }

    #[test]
    fn the_networks_own_gateway_is_no_way_of_the_machines_own() {
        let all = ranges(&["10.0.0.0/8", "192.0.2.9/32"]);
        for (rule, doubted) in [
            ("10.0.1.1 dev ens5 proto dhcp scope link src 10.0.1.10 metric 100", false),
            ("10.0.0.2 via 10.0.1.1 dev ens5 proto dhcp", false),
            ("10.9.0.0/16 dev tun0 proto dhcp", true),
            ("10.0.0.2 via 10.0.1.99 dev ens5", true),
            ("192.0.2.9 via 10.0.1.99 dev ens5 proto dhcp", true),
        ] {
            let (mut wrong, mut doubts) = (Vec::new(), Vec::new());
            dropped(&Guards { drops: vec![rule.to_owned()], ..Guards::default() }, &all, &mut wrong, &mut doubts);
            assert_eq!((wrong.is_empty(), doubts.is_empty()), (true, !doubted), "{rule}");
        }
    }

    #[test]
    fn a_machine_without_any_route_answers_nobody() {
        let all = ranges(&["2001:db8::/64", "203.0.113.10/32"]);
        for (drops, expected) in [
            (&[][..], true),
            (&["10.0.1.1 dev ens5 proto dhcp scope link"], true),
            (&["192.0.2.0/24 via 10.0.1.1 dev ens5"], false),
            (&["0.0.0.0/1 dev tun0", "128.0.0.0/1 dev tun0"], false),
            (&["32765: from all lookup 100"], false),
        ] {
            let drops = drops.iter().map(|rule| (*rule).to_owned()).collect();
            let guards = Guards { drops, default_route: Some(false), ..Guards::default() };
            assert_eq!(unrouted(&guards, &all).is_some(), expected, "{guards:?}");
            let guards = Guards { default_route: None, ..guards };
            assert_eq!(unrouted(&guards, &all), None);
        }
    }

    #[test]
    fn settings_by_address_count_where_a_source_is_concerned() {
        let all = ranges(&["203.0.113.10/32"]);
        let one = |from: &str, settings: Option<&[(&str, &str)]>| ByAddress {
            from: from.to_owned(),
            user: "secoda".to_owned(),
            settings: settings.map(|all| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        };
        let no = Some(&[("allowtcpforwarding", "no")][..]);
        for (found, wrong, doubts) in [
            (one("203.0.113.0/24", no), 1, 0),
            (one("203.0.113.10", no), 1, 0),
            (one("192.0.2.0/24", no), 0, 0),
            (one("203.0.113.10", Some(&[])), 0, 0),
            (one("host *.example.com", None), 0, 1),
        ] {
            let (mut is_wrong, mut is_doubt) = (Vec::new(), Vec::new());
            set_apart(std::slice::from_ref(&found), &all, &mut is_wrong, &mut is_doubt);
            assert_eq!((is_wrong.len(), is_doubt.len()), (wrong, doubts), "{found:?}");
        }
    }
}
