//! What the machine's network security groups let through, compared with the plan.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Scene,
    security::{Decision, Direction, EVERYWHERE, Group, Protocol, everything, opens, stops},
    way,
};
use crate::{
    plan::AzureNetwork,
    provider::{
        azure::{
            peering,
            rules::{self, Destination, UPDATE_PORTS},
            verify::security::Around,
            views::{Network, near},
        },
        judging::{Known, all, check, fail, judged, listed},
        space::{Span, without},
    },
    verify::{Check, Part, Verdict},
};

/// Whether all of this gets through.
pub fn passes(scene: &Scene<'_>, direction: Direction, wanted: &[Span]) -> Known<Verdict> {
    let groups = scene.groups(direction)?;
    Ok(crosses(&groups, direction, wanted, |group| fix(scene, group)))
}

/// Whether groups let all of this through. One cause for all that one rule stops.
pub fn crosses(groups: &[Group], direction: Direction, wanted: &[Span], fix: impl Fn(&Group) -> String) -> Verdict {
    let stopped = stops(groups, Protocol::Tcp, wanted);
    let mut verdicts = Vec::new();
    for (group, Decision { rule, perhaps, .. }) in &stopped {
        let same = stopped.iter().filter(|(g, d)| g.name == group.name && d.rule.name == rule.name);
        let spans: Vec<Span> = same.map(|(_, decision)| decision.span).collect();
        let nets: Vec<IpNet> = spans.iter().map(|span| span.net).collect();
        let ports: BTreeSet<u16> = spans.iter().map(|span| span.first).collect();
        let way = match direction {
            Direction::In => "from",
            Direction::Out => "to",
        };
        let flow = format!("tcp {} {way} {}", listed(ports), listed(IpNet::aggregate(&nets)));
        let what = format!("the rule {} of {} ({})", rule.name, group.name, rule.said);
        verdicts.push(if *perhaps {
            Verdict::Unknown { reason: format!("{what} may stop {flow}: whom it is about is not known here") }
        } else {
            fail(format!("{what} stops {flow}"), fix(group))
        });
    }
    all(verdicts)
}

/// What to do about a group of the machine.
fn fix(scene: &Scene<'_>, group: &Group) -> String {
    if group.own {
        scene.apply("sets the rules right")
    } else {
        format!("correct {} by hand: gangplank does not change it", group.name)
    }
}

/// What gets through beyond `planned`, which is what TCP may and what the other protocols may.
pub fn beyond(scene: &Scene<'_>, direction: Direction, planned: [&[Span]; 2]) -> Known<Verdict> {
    let groups = scene.groups(direction)?;
    if groups.is_empty() {
        let cause = "no network security group stands before the machine: everything in its network reaches it";
        return Ok(fail(cause, scene.apply("puts its own one there")));
    }
    let mut verdicts = Vec::new();
    for protocol in Protocol::ALL {
        let planned = planned[usize::from(protocol != Protocol::Tcp)];
        for (group, Decision { span, rule, .. }) in opens(&groups, protocol) {
            if !without([span], planned).is_empty() {
                let verb = match direction {
                    Direction::In => "lets in more than the plan",
                    Direction::Out => "lets the machine out to more than the plan",
                };
                verdicts.push(fail(
                    format!("{} {verb} by its rule {}: {}", group.name, rule.name, rule.said),
                    fix(scene, group),
                ));
            }
        }
    }
    Ok(all(verdicts))
}

/// Every rule that allows something, as a line of evidence.
pub fn told(scene: &Scene<'_>, direction: Direction) -> Known<Vec<String>> {
    let line = |group: &Group| {
        let rules = group.rules.iter();
        // Behind one that denies everything, nothing is asked any more.
        let asked =
            rules.take_while(|r| r.allow || !r.said.starts_with("everything") || !r.said.ends_with("everywhere"));
        let allowed = asked.filter(|r| r.allow);
        allowed.map(|rule| format!("{}: {}", group.name, rule.said)).collect::<Vec<_>>()
    };
    Ok(scene.groups(direction)?.iter().flat_map(line).collect())
}

pub fn egress(scene: &Scene<'_>) -> Check {
    let proves =
        "the machine may open connections to the plan's targets and for its updates (tcp 80 and 443), no others";
    judged(check("control.egress", Part::Bastion, proves), |check| {
        let around = scene.around()?;
        check.evidence.extend(told(scene, Direction::Out)?);
        let existing = matches!(scene.azure.network, AzureNetwork::Existing { .. });
        let network = scene.network()?;
        let servers = Network(network).name_servers().filter(|_| existing);
        let near = match &scene.azure.network {
            AzureNetwork::Created { .. } => peering::near(scene.azure, &scene.names, scene.name(), scene.seen),
            AzureNetwork::Existing { .. } => near(network),
        };
        let ways = rules::egress(scene.plan, servers, &near);
        let spans = |udp: bool| -> Vec<Span> {
            let ways = ways.keys().filter(|way| way.also_udp || !udp);
            ways.flat_map(|way| destination(way.to, &around).into_iter().map(|net| Span::port(net, way.port))).collect()
        };
        let updates: Vec<Span> = UPDATE_PORTS
            .iter()
            .flat_map(|port| destination(Destination::Internet, &around).into_iter().map(|net| Span::port(net, *port)))
            .collect();
        let fetches = match passes(scene, Direction::Out, &updates)? {
            Verdict::Fail { fix, .. } => {
                let ports = listed(UPDATE_PORTS);
                fail(format!("the machine can't fetch its security updates from everywhere on tcp {ports}"), fix)
            }
            other => other,
        };
        let led = way::updates_out(scene, check).unwrap_or_else(|reason| Verdict::Unknown { reason });
        Ok(all([fetches, led, beyond(scene, Direction::Out, [&spans(false), &spans(true)])?]))
    })
}

/// Its IPv4 addresses.
pub fn destination(to: Destination, around: &Around) -> Vec<IpNet> {
    match to {
        Destination::Net(net) => vec![net],
        Destination::Internet => {
            let inside: Vec<Span> = around.network.iter().map(|net| everything(*net)).collect();
            without([everything(EVERYWHERE)], &inside).into_iter().map(|span| span.net).collect()
        }
    }
}
