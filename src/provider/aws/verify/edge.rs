//! Who may come in and where the machine may go, by its security groups: all groups of all its interfaces, since each of
//! them alone opens what it opens.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Scene, all, check, fail, judged, listed,
    space::{Span, tcp_ports, without},
};
use crate::{
    plan::{Operator, TooWide, UserName, grouped, size},
    provider::aws::{
        desire, doubts,
        judging::Known,
        observed::Group,
        prefix_list::{self, PrefixLists, peer_words},
        rule::{Direction, Peer, Protocol, Rule, Rules},
        tags::owns,
    },
    verify::{Check, Part, Verdict},
};

/// One check for each user that the plan admits.
pub fn admits(scene: &Scene<'_>) -> Vec<Check> {
    let tunnels = scene.plan.tunnels.iter().map(|t| (&t.user, scene.sources_of(t)));
    let of_operator = |o: &Operator| scene.sources(o.allow_from.iter().copied(), scene.plan.prefix_lists_of(&o.name));
    let operators = scene.plan.operators.iter().map(|o| (&o.name, of_operator(o)));
    tunnels.chain(operators).map(|(user, sources)| admitted(scene, user, sources)).collect()
}

fn admitted(scene: &Scene<'_>, user: &UserName, sources: Known<Vec<IpNet>>) -> Check {
    let port = scene.plan.ssh.port;
    let proves = format!("the bastion's groups let every source of {user} in on tcp {port}");
    judged(check("control.admits", Part::Edge, proves).about(user.as_str()), |check| {
        let sources = sources?;
        let known = scene.lists();
        let open = spans(&scene.groups()?, Direction::Ingress, known);
        let closed = |net: &&IpNet| !without([Span::port(**net, port)], &open).is_empty();
        let missing: Vec<&IpNet> = sources.iter().filter(closed).collect();
        if !missing.is_empty() {
            return Ok(fail(
                format!("no rule lets {} in on tcp {port}", listed(missing)),
                scene.apply("adds the rule"),
            ));
        }
        check.evidence.push(match sources.as_slice() {
            [] => "the plan lists no source: nobody is admitted".to_owned(),
            sources => format!("admitted: {}", listed(sources)),
        });
        let lists = scene.plan.prefix_lists_of(user);
        check.evidence.extend(lists.map(|list| peer_words(known, &Peer::PrefixList(list.id.clone()))));
        Ok(Verdict::Pass)
    })
}

/// The TCP of every address that these groups open.
fn spans(groups: &[&Group], direction: Direction, lists: &PrefixLists) -> Vec<Span> {
    let rules = groups.iter().flat_map(|g| rules(g, direction).keys());
    rules.flat_map(|rule| spans_of(rule, lists)).collect()
}

/// Of a list that is not known, nothing.
fn spans_of(rule: &Rule, lists: &PrefixLists) -> Vec<Span> {
    let Some(ports) = tcp_ports(&rule.protocol) else { return Vec::new() };
    match &rule.peer {
        Peer::Net(net) => vec![Span::ports(*net, ports)],
        Peer::PrefixList(id) => {
            let entries = prefix_list::find(lists, id).map_or(&[][..], |list| &list.entries);
            entries.iter().map(|net| Span::ports(*net, ports)).collect()
        }
        Peer::Group(_) | Peer::ForeignGroup { .. } | Peer::Bastion => Vec::new(),
    }
}

fn rules(group: &Group, direction: Direction) -> &Rules {
    match direction {
        Direction::Ingress => &group.ingress,
        Direction::Egress => &group.egress,
    }
}

pub fn nothing_else(scene: &Scene<'_>) -> Check {
    let port = scene.plan.ssh.port;
    let proves = format!("no rule of any group of the machine lets in more than the plan's sources on tcp {port}");
    judged(check("control.nothing-else", Part::Edge, proves), |check| {
        let groups = scene.groups()?;
        check.evidence.extend(told(&groups, Direction::Ingress, scene.lists()));
        let surplus = beyond(scene, &groups, Direction::Ingress, &desire::ingress(scene.plan));
        Ok(all([surplus, lists_too_wide(scene)?, guests(scene)]))
    })
}

/// What is in the bastion's group reaches what the bastion reaches: the databases' rules name the group.
fn guests(scene: &Scene<'_>) -> Verdict {
    let seen = &scene.evidence.seen;
    let why = match &seen.members {
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(why.as_str()),
        None => Some("it was not asked"),
    };
    if let Some(why) = why {
        return Verdict::Unknown { reason: format!("what else is in the bastion's group is not known: {why}") };
    }
    match doubts::guests(scene.name(), seen).as_slice() {
        [] => Verdict::Pass,
        guests => fail(
            format!(
                "{}: it reaches what the bastion reaches",
                guests.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            ),
            guests[0].remedy(&scene.evidence.region),
        ),
    }
}

/// A list may have grown since its rule was made.
fn lists_too_wide(scene: &Scene<'_>) -> Known<Verdict> {
    let ids: BTreeSet<&str> = scene.plan.prefix_lists().iter().map(|list| list.id.as_str()).collect();
    let sources = scene.sources(scene.plan.sources(), scene.plan.prefix_lists())?;
    let Some(wide) = TooWide::of(&sources).filter(|_| !ids.is_empty()) else { return Ok(Verdict::Pass) };
    let lists = listed(&ids);
    let cause = match &wide {
        TooWide::Block(block) => {
            format!("{lists} and the plan's other sources make up {block} ({} addresses)", grouped(size(block)))
        }
        TooWide::Total { addresses, .. } => {
            format!("{lists} and the plan's other sources are {} addresses", grouped(*addresses))
        }
    };
    Ok(fail(cause, format!("take the wide entries out of {lists}, or the list out of the plan")))
}

pub fn egress(scene: &Scene<'_>) -> Check {
    let proves = "the machine may open connections to the plan's targets, to its network's DNS servers and for its updates (tcp 80 and \
                  443), no others";
    judged(check("control.egress", Part::Bastion, proves), |check| {
        let groups = scene.groups()?;
        check.evidence.extend(told(&groups, Direction::Egress, scene.lists()));
        let updates: Vec<Span> = desire::updates().iter().flat_map(|rule| spans_of(rule, scene.lists())).collect();
        let closed = without(updates, &spans(&groups, Direction::Egress, scene.lists()));
        if !closed.is_empty() {
            let ports: BTreeSet<u16> = closed.iter().map(|span| span.first).collect();
            return Ok(fail(
                format!(
                    "the machine can't fetch its security updates: no rule lets it out everywhere on tcp {}",
                    listed(ports)
                ),
                scene.apply("adds the rule"),
            ));
        }
        let vpc = &scene.machine()?.vpc;
        let name_servers = &scene.evidence.seen.name_servers;
        let open: Rules = groups.iter().flat_map(|g| g.egress.clone()).collect();
        let asking = name_servers.rules(vpc, &open);
        let silent: BTreeSet<String> =
            asking.keys().filter(|r| !is_open(r, &groups)).map(|r| r.peer.to_string()).collect();
        if !silent.is_empty() {
            return Ok(fail(
                format!(
                    "the machine can't ask for names: no rule lets it out on udp and tcp 53 to {}, which the DHCP options of {vpc} name",
                    listed(silent)
                ),
                scene.apply("adds the rules"),
            ));
        }
        let planned = desire::egress(scene.plan, scene.aws).into_iter().chain(asking).collect();
        let verdict = beyond(scene, &groups, Direction::Egress, &planned);
        match name_servers.of(vpc) {
            Err(why) if verdict == Verdict::Pass => {
                Err(format!("which DNS servers the DHCP options of {vpc} name is not known: {why}"))
            }
            _ => Ok(verdict),
        }
    })
}

/// Whether any group has the rule, or lets everything out.
fn is_open(rule: &Rule, groups: &[&Group]) -> bool {
    let opens = |have: &Rule| {
        let peer = match (&have.peer, &rule.peer) {
            (Peer::Net(have), Peer::Net(want)) => have.contains(want),
            (have, want) => have == want,
        };
        peer && (have.protocol == rule.protocol || have.protocol == Protocol::All)
    };
    groups.iter().flat_map(|g| g.egress.keys()).any(opens)
}

/// Every rule as a line of evidence.
fn told(groups: &[&Group], direction: Direction, lists: &PrefixLists) -> Vec<String> {
    let line = |group: &Group, rule: &Rule| {
        let peer = peer_words(lists, &rule.peer);
        format!("{}: {} {} {peer}", group.id, rule.protocol, direction.preposition())
    };
    groups.iter().flat_map(|g| rules(g, direction).keys().map(|rule| line(g, rule))).collect()
}

/// What the groups open beyond what is planned, by arithmetic: a rule inside of a planned one opens nothing more.
fn beyond(scene: &Scene<'_>, groups: &[&Group], direction: Direction, planned: &Rules) -> Verdict {
    let lists = scene.lists();
    let allowed: Vec<Span> = planned.keys().flat_map(|rule| spans_of(rule, lists)).collect();
    let (mut causes, mut repairs, mut by_hand) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for group in groups {
        for rule in rules(group, direction).keys() {
            let Some((protocol, peer)) = surplus(rule, planned, &allowed, lists) else { continue };
            causes.push(match direction {
                Direction::Ingress => format!("{} opens {protocol} to {peer}", group.id),
                Direction::Egress => format!("{} lets the machine out on {protocol} to {peer}", group.id),
            });
            if owns(&group.tags, scene.name()) {
                repairs.insert("removes what is too much".to_owned());
                continue;
            }
            let interfaces = scene.instance.map_or(&[][..], |i| &i.interfaces);
            let mut later = interfaces.iter().skip(1).filter(|i| i.groups.contains(&group.id)).peekable();
            if scene.instance.is_some_and(|i| i.groups.contains(&group.id)) || later.peek().is_none() {
                repairs.insert(format!("takes {} off the machine", group.id));
            }
            by_hand.extend(later.map(|i| format!("detach {}, which carries {}", i.id, group.id)));
        }
    }
    if causes.is_empty() {
        return Verdict::Pass;
    }
    let repairs = Vec::from_iter(repairs).join(", ");
    let repair = (!repairs.is_empty()).then(|| scene.apply(&repairs));
    fail(causes.join("; "), Vec::from_iter(repair.into_iter().chain(by_hand)).join("; "))
}

/// What a rule opens beyond the plan, and to whom.
fn surplus(rule: &Rule, planned: &Rules, allowed: &[Span], lists: &PrefixLists) -> Option<(String, String)> {
    let protocol = match &rule.protocol {
        Protocol::All => "every protocol and port".to_owned(),
        protocol => protocol.to_string(),
    };
    if planned.contains_key(rule) {
        return None;
    }
    match &rule.peer {
        Peer::Net(net) => {
            let who = |count: u128| match net.prefix_len() {
                0 => format!("the whole internet ({net})"),
                _ if count == 1 => format!("{net} (1 address)"),
                _ => format!("{net} ({} addresses)", grouped(count)),
            };
            let Protocol::Tcp { from, to } = &rule.protocol else {
                return Some((protocol, who(size(net))));
            };
            let left = without(spans_of(rule, lists), allowed);
            if left.is_empty() {
                return None;
            }
            let ranges = IpNet::aggregate(&left.iter().map(|span| span.net).collect());
            let count = ranges.iter().fold(0_u128, |sum, net| sum.saturating_add(size(net)));
            let who = if count < size(net) && net.prefix_len() > 0 {
                format!("{net} ({} addresses more than the plan)", grouped(count))
            } else {
                who(count)
            };
            let ports: BTreeSet<(u16, u16)> = left.iter().map(|span| (span.first, span.last)).collect();
            let protocol = if ports.contains(&(*from, *to)) {
                protocol
            } else {
                listed(ports.into_iter().map(|(from, to)| Protocol::Tcp { from, to }))
            };
            Some((protocol, who))
        }
        Peer::Group(id) => {
            let contains = |planned: &Rule| match (&planned.protocol, &rule.protocol) {
                (Protocol::Tcp { from, to }, Protocol::Tcp { from: first, to: last }) => {
                    planned.peer == rule.peer && from <= first && last <= to
                }
                _ => false,
            };
            (!planned.keys().any(contains)).then(|| (protocol, format!("everything that carries {id}")))
        }
        Peer::ForeignGroup { .. } => {
            Some((protocol, format!("everything in another account that carries {}", rule.peer)))
        }
        Peer::PrefixList(id) => {
            let all = || format!("every address of the prefix list {id}");
            if !matches!(rule.protocol, Protocol::Tcp { .. }) || prefix_list::find(lists, id).is_err() {
                return (!planned.contains_key(rule)).then(|| (protocol, all()));
            }
            let left = without(spans_of(rule, lists), allowed);
            (!left.is_empty()).then(|| (protocol, all()))
        }
        // Only plans say it so.
        Peer::Bastion => None,
    }
}
