//! Who may come in and where the machine may go, by its security groups: all groups of all its interfaces, since each of
//! them alone opens what it opens.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Scene, check, fail, judged, listed,
    space::{Span, tcp_ports, without},
};
use crate::{
    plan::{UserName, grouped, size},
    provider::aws::{
        desire,
        observed::Group,
        rule::{Direction, Peer, Protocol, Rule, Rules},
        tags::owns,
    },
    verify::{Check, Part, Verdict},
};

/// One check for each user that the plan admits.
pub fn admits(scene: &Scene<'_>) -> Vec<Check> {
    let tunnels = scene.plan.tunnels.iter().map(|t| (&t.user, t.sources().map(|(net, _)| net).collect::<Vec<_>>()));
    let operators = scene.plan.operators.iter().map(|o| (&o.name, o.allow_from.clone()));
    tunnels.chain(operators).map(|(user, sources)| admitted(scene, user, &sources)).collect()
}

fn admitted(scene: &Scene<'_>, user: &UserName, sources: &[IpNet]) -> Check {
    let port = scene.plan.ssh.port;
    let proves = format!("the bastion's groups let every source of {user} in on tcp {port}");
    judged(check("control.admits", Part::Edge, proves).about(user.as_str()), |check| {
        let open = spans(&scene.groups()?, Direction::Ingress);
        let closed = |net: &&IpNet| !without([Span::port(**net, port)], &open).is_empty();
        let missing: Vec<&IpNet> = sources.iter().filter(closed).collect();
        if !missing.is_empty() {
            return Ok(fail(
                format!("no rule lets {} in on tcp {port}", listed(missing)),
                scene.apply("adds the rule"),
            ));
        }
        check.evidence.push(match sources {
            [] => "the plan lists no source: nobody is admitted".to_owned(),
            sources => format!("admitted: {}", listed(sources)),
        });
        Ok(Verdict::Pass)
    })
}

/// The TCP of every address that these groups open.
fn spans(groups: &[&Group], direction: Direction) -> Vec<Span> {
    let rules = groups.iter().flat_map(|g| rules(g, direction).keys());
    rules.filter_map(span).collect()
}

fn span(rule: &Rule) -> Option<Span> {
    match &rule.peer {
        Peer::Net(net) => Some(Span::ports(*net, tcp_ports(&rule.protocol)?)),
        Peer::Group(_) | Peer::ForeignGroup { .. } | Peer::Bastion | Peer::PrefixList(_) => None,
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
        check.evidence.extend(told(&groups, Direction::Ingress));
        Ok(beyond(scene, &groups, Direction::Ingress, &desire::ingress(scene.plan)))
    })
}

pub fn egress(scene: &Scene<'_>) -> Check {
    let proves =
        "the machine may open connections to the plan's targets and for its updates (tcp 80 and 443), no others";
    judged(check("control.egress", Part::Bastion, proves), |check| {
        let groups = scene.groups()?;
        check.evidence.extend(told(&groups, Direction::Egress));
        let updates: Vec<Span> = desire::updates().iter().filter_map(span).collect();
        let closed = without(updates, &spans(&groups, Direction::Egress));
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
        Ok(beyond(scene, &groups, Direction::Egress, &desire::egress(scene.plan, scene.aws)))
    })
}

/// Every rule as a line of evidence.
fn told(groups: &[&Group], direction: Direction) -> Vec<String> {
    let line = |group: &Group, rule: &Rule| {
        format!("{}: {} {} {}", group.id, rule.protocol, direction.preposition(), rule.peer)
    };
    groups.iter().flat_map(|g| rules(g, direction).keys().map(|rule| line(g, rule))).collect()
}

/// What the groups open beyond what is planned, by arithmetic: a rule inside of a planned one opens nothing more.
fn beyond(scene: &Scene<'_>, groups: &[&Group], direction: Direction, planned: &Rules) -> Verdict {
    let allowed: Vec<Span> = planned.keys().filter_map(span).collect();
    let (mut causes, mut repairs, mut by_hand) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for group in groups {
        for rule in rules(group, direction).keys() {
            let Some((protocol, peer)) = surplus(rule, planned, &allowed) else { continue };
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
fn surplus(rule: &Rule, planned: &Rules, allowed: &[Span]) -> Option<(String, String)> {
    let protocol = match &rule.protocol {
        Protocol::All => "every protocol and port".to_owned(),
        protocol => protocol.to_string(),
    };
    match &rule.peer {
        Peer::Net(net) => {
            let who = |count: u128| match net.prefix_len() {
                0 => format!("the whole internet ({net})"),
                _ if count == 1 => format!("{net} (1 address)"),
                _ => format!("{net} ({} addresses)", grouped(count)),
            };
            // Other protocols are never planned.
            let (Protocol::Tcp { from, to }, Some(span)) = (&rule.protocol, span(rule)) else {
                return Some((protocol, who(size(net))));
            };
            let left = without([span], allowed);
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
        Peer::PrefixList(id) => Some((protocol, format!("every address of the prefix list {id}"))),
        // Only plans say it so.
        Peer::Bastion => None,
    }
}
