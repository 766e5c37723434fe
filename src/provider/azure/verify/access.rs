//! What the machine's network security groups let through, compared with the plan.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Scene,
    edge::PRIVATE,
    firewall::Rules,
    near,
    passage::{Passage, firewall_at, passage},
    routes::Hop,
    security::{Decision, Direction, EVERYWHERE, Group, Protocol, everything, opens, stops},
};
use crate::{
    plan::AzureNetwork,
    provider::{
        azure::{
            observed::Resource,
            rules::{self, Destination, UPDATE_PORTS},
            verify::security::Around,
            views::Network,
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
        let ways = rules::egress(scene.plan, servers);
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
        let led = updates_out(scene, check)?;
        Ok(all([fetches, led, beyond(scene, Direction::Out, [&spans(false), &spans(true)])?]))
    })
}

/// Whether the subnet's routes lead the machine out to fetch its updates, and the firewall on the way lets it.
fn updates_out(scene: &Scene<'_>, check: &mut Check) -> Known<Verdict> {
    let table = scene.table()?;
    let private: Vec<Span> = PRIVATE.iter().filter_map(|net| net.parse().ok()).map(everything).collect();
    let public: Vec<IpNet> = without([everything(EVERYWHERE)], &private).into_iter().map(|span| span.net).collect();
    let ports = listed(UPDATE_PORTS);
    let mut verdicts = Vec::new();
    if let Some(route) = table.hidden() {
        check.evidence.push(format!("{route} is for a part of the internet"));
    }
    for route in table.decide(&public, &near(scene.network()?)) {
        let said = &route.what;
        let verdict = match route.hop {
            Hop::Internet => Verdict::Pass,
            Hop::Nowhere | Hop::Network => fail(
                format!("{said} drops what the machine sends to fetch its security updates (tcp {ports})"),
                format!(
                    "give the bastion's subnet a way out on tcp {ports}; gangplank does not change its route table"
                ),
            ),
            Hop::Gateway | Hop::Appliance(None) => Verdict::Unknown {
                reason: format!("{said} takes what the machine sends out; what becomes of it is not read"),
            },
            Hop::Appliance(Some(hop)) => match firewall_at(scene, hop) {
                None => Verdict::Unknown {
                    reason: format!("{said} takes what the machine sends out, and what {hop} lets through is not read"),
                },
                Some((firewall, rules)) => {
                    check.evidence.push(format!("{said} leads out through the {}", firewall.words()));
                    all(UPDATE_PORTS
                        .iter()
                        .map(|port| through(scene, firewall, &rules, &public, *port))
                        .collect::<Known<Vec<_>>>()?)
                }
            },
        };
        verdicts.push(verdict);
    }
    Ok(all(verdicts))
}

fn through(scene: &Scene<'_>, firewall: &Resource, rules: &Rules<'_>, to: &[IpNet], port: u16) -> Known<Verdict> {
    let machine = scene.private_address()?;
    let what = format!("the machine's security updates on tcp {port}");
    Ok(match passage(rules, machine, to, port) {
        Passage::Open => Verdict::Pass,
        Passage::Unsure(reason) => Verdict::Unknown {
            reason: format!("whether the {} lets {what} through is not known: {reason}", firewall.words()),
        },
        Passage::Stopped(by) => fail(
            format!(
                "{} stops {what}",
                by.unwrap_or_else(|| format!("the {}, which has no rule for it,", firewall.words()))
            ),
            format!(
                "allow tcp {port} from {machine} to the mirrors there; gangplank does not change the rules of others"
            ),
        ),
    })
}

/// Its IPv4 addresses.
pub fn destination(to: Destination, around: &Around) -> Vec<IpNet> {
    match to {
        Destination::Net(net) => vec![net],
        Destination::Network => around.network.clone(),
        Destination::Internet => {
            let inside: Vec<Span> = around.network.iter().map(|net| everything(*net)).collect();
            without([everything(EVERYWHERE)], &inside).into_iter().map(|span| span.net).collect()
        }
    }
}
