//! Who may come in and where the machine may go, by its security groups: all groups of all its interfaces, since each of
//! them alone opens what it opens.

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
        Peer::Group(_) | Peer::Bastion | Peer::PrefixList(_) => None,
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
            return Ok(fail(
                format!("the machine can't fetch all of its security updates: no rule opens {}", listed(closed)),
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
    let (mut causes, mut foreign) = (Vec::new(), Vec::new());
    for group in groups {
        for rule in rules(group, direction).keys() {
            let Some(what) = surplus(rule, direction, planned, &allowed) else { continue };
            causes.push(format!("{}: {what}", group.id));
            if !crate::provider::aws::tags::owns(&group.tags, scene.name()) && !foreign.contains(&group.id) {
                foreign.push(group.id.clone());
            }
        }
    }
    if causes.is_empty() {
        return Verdict::Pass;
    }
    let repair = match foreign.as_slice() {
        [] => "removes the rule".to_owned(),
        ids => format!("leaves the machine its own group only, without {}", ids.join(", ")),
    };
    let others = scene.instance.map_or(&[][..], |i| i.interfaces.get(1..).unwrap_or_default());
    let others: Vec<&str> = others.iter().map(|i| i.id.as_str()).collect();
    let by_hand = match others.as_slice() {
        [] => String::new(),
        ids => format!("; it leaves interfaces alone that were attached later: detach {}", ids.join(", ")),
    };
    fail(causes.join("; "), format!("{}{by_hand}", scene.apply(&repair)))
}

fn surplus(rule: &Rule, direction: Direction, planned: &Rules, allowed: &[Span]) -> Option<String> {
    let (protocol, peer) = (&rule.protocol, &rule.peer);
    let opens = match direction {
        Direction::Ingress => format!("{peer} opens {protocol} to"),
        Direction::Egress => format!("{peer} opens {protocol} towards"),
    };
    match peer {
        Peer::Net(net) => {
            let whole = net.prefix_len() == 0;
            let who = if whole { "the whole internet".to_owned() } else { addresses(size(net)) };
            // Other protocols are never planned.
            let (Protocol::Tcp { .. }, Some(span)) = (protocol, span(rule)) else {
                return Some(format!("{opens} {who}"));
            };
            let left = without([span], allowed);
            if left.is_empty() {
                None
            } else if whole || left == [span] {
                Some(format!("{opens} {who}"))
            } else {
                let beyond = IpNet::aggregate(&left.iter().map(|span| span.net).collect());
                let count = beyond.iter().fold(0_u128, |sum, net| sum.saturating_add(size(net)));
                Some(format!("{opens} {} more than the plan", addresses(count)))
            }
        }
        Peer::Group(_) => {
            let inside = |have: (u16, u16), planned: &Rule| {
                let of_plan = tcp_ports(&planned.protocol);
                planned.peer == *peer && of_plan.is_some_and(|(first, last)| first <= have.0 && have.1 <= last)
            };
            let ports = match protocol {
                Protocol::Tcp { from, to } => Some((*from, *to)),
                _ => None,
            };
            let is_planned = ports.is_some_and(|ports| planned.keys().any(|rule| inside(ports, rule)));
            (!is_planned).then(|| format!("{opens} every machine that carries this group"))
        }
        Peer::PrefixList(_) if planned.contains_key(rule) => None,
        Peer::PrefixList(_) => Some(format!("{opens} every address of this prefix list")),
        Peer::Bastion => None,
    }
}

fn addresses(count: u128) -> String {
    if count == 1 { "1 address".to_owned() } else { format!("{} addresses", grouped(count)) }
}
