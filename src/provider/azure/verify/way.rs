//! The ways that routes make: between the firewall and the machine, back to the sources, out for updates, and towards a target.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Scene, connected,
    edge::{PRIVATE, plan_sources},
    firewall::Rules,
    front::Front,
    near,
    passage::{Passage, firewall_at, passage},
    peered_ranges,
    routes::{Course, Hop, Route, Table},
    security::{EVERYWHERE, everything},
};
use crate::{
    provider::{
        azure::{
            id::{Id, Kind},
            observed::{Resource, id_at, text},
            rules::UPDATE_PORTS,
            views::{Firewall, Interface, Network, network_of, range},
        },
        judging::{Known, all, check, fail, judged, listed},
        space::{Span, without},
    },
    verify::{Check, Part, Verdict},
};

/// Whether the firewall's packets find the machine, and the answers find back.
pub fn route(scene: &Scene<'_>) -> Check {
    let proves = match scene.front {
        Ok(None) => "what the machine answers to the plan's sources leaves by its own address",
        _ => "the firewall's network and the machine's have a way to each other",
    };
    judged(check("control.route", Part::Edge, proves), |check| {
        let front = scene.front()?;
        let network = scene.network()?;
        let own = near(network);
        let table = scene.table()?;
        let sources: Vec<IpNet> = plan_sources(scene).iter().map(|span| span.net).collect();
        let Some(front) = front else {
            let what = "the machine's answers to the plan's sources";
            let course = Course { what, to: &sources, own: &own, hop: Hop::Internet, only: true };
            let kept = course.kept(&table, &mut check.evidence);
            if kept == Verdict::Pass {
                check.evidence.push(format!("{} answers by its own address", scene.subnet_id()?.name()));
            }
            return Ok(kept);
        };
        let subnet = Firewall(front.firewall).subnet();
        let subnet = subnet
            .ok_or_else(|| format!("Azure names no subnet of the {}: see control.address", front.firewall.words()))?;
        let theirs: Id = network_of(&subnet);
        let linked = if theirs == network.id {
            check.evidence.push(format!("both stand in {}", network.name()));
            Verdict::Pass
        } else if Network(network).is_peered_with(&theirs) {
            check.evidence.push(format!("{} is peered with {}", network.name(), theirs.name()));
            Verdict::Pass
        } else {
            let reason = format!(
                "the firewall stands in {}, which is not peered with {}; other ways (a virtual WAN, a gateway) are not read. If \
                 the machine does not answer, peer the two",
                theirs.name(),
                network.name()
            );
            Verdict::Unknown { reason }
        };
        let range = front.range.clone()?;
        let what = "the machine's answers to the firewall";
        let back = Course { what, to: &[range], own: &own, hop: Hop::Network, only: false };
        let back = back.kept(&table, &mut check.evidence);
        Ok(all([linked, back, out_of_the_firewall(scene, check, front, &subnet, &sources)?]))
    })
}

/// Whether the routes of the firewall's own subnet lead to the machine, and its answers out to the sources. Where a default route
/// leads elsewhere, DNAT does not work ("Azure Firewall forced tunneling"), since answers leave by another address; the same page
/// says that a firewall with a management interface still supports it.
fn out_of_the_firewall(
    scene: &Scene<'_>,
    check: &mut Check,
    front: &Front<'_>,
    subnet: &Id,
    sources: &[IpNet],
) -> Known<Verdict> {
    let table = Table::at(scene.seen, scene.subnet_of(subnet)?)?;
    let network = scene.network()?;
    let mut theirs = scene.seen.get(&network_of(subnet)).map(near).unwrap_or_default();
    if Network(network).is_peered_with(&network_of(subnet)) {
        // A peering is connected when both sides are.
        theirs.extend(Network(network).ranges().filter_map(range));
    }
    let machine: IpNet = scene.private_address()?.into();
    let what = "the firewall's packets to the machine";
    let forth = Course { what, to: &[machine], own: &theirs, hop: Hop::Network, only: false };
    let managed = front.firewall.raw.pointer("/properties/managementIpConfiguration").is_some_and(|c| !c.is_null());
    let what = "the firewall's answers to the plan's sources";
    let out = Course { what, to: sources, own: &theirs, hop: Hop::Internet, only: !managed };
    Ok(all([forth.kept(&table, &mut check.evidence), out.kept(&table, &mut check.evidence)]))
}

/// How Azure's own routes lead to an address, as a line of evidence; `None` where none that is read does.
pub fn reached(scene: &Scene<'_>, address: IpAddr) -> Known<Option<String>> {
    let network = scene.network()?;
    if Network(network).ranges().filter_map(range).any(|net| net.contains(&address)) {
        return Ok(Some(format!("{address} is in {}", network.name())));
    }
    let there = connected(network).find(|peering| {
        let remote = id_at(peering, "/properties/remoteVirtualNetwork/id").and_then(|id| scene.seen.get(&id));
        let known = remote.filter(|r| r.kind == Kind::Network);
        let ranges = known.into_iter().flat_map(|r| Network(r).ranges().filter_map(range).collect::<Vec<_>>());
        ranges.chain(peered_ranges(peering)).any(|net| net.contains(&address))
    });
    Ok(there.map(|peering| format!("{address} is behind the peering {}", text(peering, "/name"))))
}

/// Routes to fewer addresses than this are told, and not judged: whether a mirror is among them is not known.
const NARROW: u8 = 8;

/// Whether the subnet's routes lead the machine out to fetch its updates, and the firewall on the way lets it.
pub fn updates_out(scene: &Scene<'_>, check: &mut Check) -> Known<Verdict> {
    let table = scene.table()?;
    let subnet = Network(scene.network()?).subnet(scene.subnet_id()?.name());
    let subnet = subnet.filter(|s| s.private && !s.nat_gateway && own_address(scene).is_none());
    let private: Vec<Span> = PRIVATE.iter().filter_map(|net| net.parse().ok()).map(everything).collect();
    let public: Vec<IpNet> = without([everything(EVERYWHERE)], &private).into_iter().map(|span| span.net).collect();
    let mut verdicts = Vec::new();
    if let Some(subnet) = subnet {
        // What no route takes, and what a route to `Internet` takes, would leave by Azure's default.
        let elsewhere: Vec<IpNet> =
            table.routes().filter(|route| route.hop != Hop::Internet).map(|route| route.net).collect();
        let taken: Vec<Span> = elsewhere.into_iter().map(everything).collect();
        if !without(public.iter().map(|net| everything(*net)), &taken).is_empty() {
            let (name, ports) = (subnet.id.name(), listed(UPDATE_PORTS));
            verdicts.push(fail(
                format!("{name} is a private subnet without a NAT gateway: the machine can't fetch its security updates (tcp {ports})"),
                format!("give {name} a NAT gateway, or a route for 0.0.0.0/0 to a firewall that lets it out; gangplank changes no subnet of others"),
            ));
        }
    }
    if let Some(route) = table.hidden() {
        check.evidence.push(format!("{route} is for a part of the internet"));
    }
    for route in table.decide(&public, &near(scene.network()?)) {
        if route.net.prefix_len() >= NARROW {
            check.evidence.push(format!("{} is for a part of the internet", route.what));
            continue;
        }
        let verdict = out_by(scene, check, route, &public);
        verdicts.push(verdict.unwrap_or_else(|reason| Verdict::Unknown { reason }));
    }
    Ok(all(verdicts))
}

/// The machine's own public address.
fn own_address(scene: &Scene<'_>) -> Option<Id> {
    scene.interface().ok().and_then(|interface| Interface(interface).public_address())
}

fn out_by(scene: &Scene<'_>, check: &mut Check, route: &Route, public: &[IpNet]) -> Known<Verdict> {
    let (said, ports) = (&route.what, listed(UPDATE_PORTS));
    let hop = match route.hop {
        Hop::Internet => return Ok(Verdict::Pass),
        Hop::Nowhere | Hop::Network => {
            return Ok(fail(
                format!("{said} drops what the machine sends to fetch its security updates (tcp {ports})"),
                format!(
                    "give the bastion's subnet a way out on tcp {ports}; gangplank does not change its route table"
                ),
            ));
        }
        Hop::Appliance(Some(hop)) => hop,
        Hop::Gateway | Hop::Appliance(None) => {
            return Err(format!("{said} takes what the machine sends out; what becomes of it is not read"));
        }
    };
    let Some((firewall, rules)) = firewall_at(scene, hop) else {
        return Err(format!("{said} takes what the machine sends out, and what {hop} lets through is not read"));
    };
    check.evidence.push(format!("{said} leads out through the {}", firewall.words()));
    let machine = scene.private_address()?;
    let judge = |port: &u16| through(firewall, &rules, machine, public, *port);
    Ok(all(UPDATE_PORTS.iter().map(judge)))
}

fn through(firewall: &Resource, rules: &Rules<'_>, machine: IpAddr, to: &[IpNet], port: u16) -> Verdict {
    let words = firewall.words();
    match passage(rules, machine, to, port) {
        Passage::Open => Verdict::Pass,
        Passage::Unsure(reason) => {
            let reason = format!("whether the {words} lets the machine fetch its updates on tcp {port}: {reason}");
            Verdict::Unknown { reason }
        }
        Passage::Stopped(by) => fail(
            match by {
                Some(rule) => format!("{rule} stops the machine's security updates on tcp {port}"),
                None => format!("no rule of the {words} lets the machine fetch its security updates on tcp {port}"),
            },
            format!("allow them from {machine} there; gangplank does not change the rules of others"),
        ),
    }
}
