//! The way between the vendor and the machine: the subnet's route table and network ACL.

use std::{collections::BTreeMap, fmt::Display};

use ipnet::IpNet;

use super::{
    Scene,
    acl::{Blocked, blocked},
    all, check, fail, judged, listed,
    space::Span,
};
use crate::{
    plan::Tunnel,
    provider::aws::{
        judging::Known,
        network::{Acl, AclEntry, Destination, Route, RouteTable},
        public_access::{OFF, remedy},
        region,
        rule::{Direction, Protocol},
    },
    verify::{Check, Part, Verdict},
};

/// Ports that a vendor's connections may come from: NAT gateways use all of them, Linux 32768 to 60999. VPC User Guide,
/// "Ephemeral ports".
const CLIENT_PORTS: (u16, u16) = (1024, u16::MAX);

/// The sources that packets can come from, IPv4 unless the machine has an IPv6 address, and those that they can't.
fn sources(scene: &Scene<'_>) -> Known<(Vec<IpNet>, Vec<IpNet>)> {
    let mut all = scene.sources(scene.plan.sources(), scene.plan.prefix_lists())?;
    all.sort();
    all.dedup();
    let v6 = scene.has_ipv6();
    Ok(all.into_iter().partition(|net| v6 || matches!(net, IpNet::V4(_))))
}

fn tell_unreachable(check: &mut Check, unreachable: &[IpNet]) {
    if !unreachable.is_empty() {
        let line = format!("not judged: nothing from {} arrives, the bastion has no IPv6 address", listed(unreachable));
        check.evidence.push(line);
    }
}

pub fn route(scene: &Scene<'_>) -> Check {
    let unstopped = match scene.evidence.network.public_access {
        Ok(_) => ", and VPC Block Public Access does not stop it",
        Err(_) => "",
    };
    let proves = format!("the bastion's subnet sends what goes back to each source to an internet gateway{unstopped}");
    judged(check("control.route", Part::Edge, proves), |check| {
        let table = scene.route_table()?;
        let (reachable, unreachable) = sources(scene)?;
        tell_unreachable(check, &unreachable);
        let blocked = blocked_access(scene, check)?;
        let is_deaf = |t: &&Tunnel| {
            let sources = scene.sources_of(t).unwrap_or_default();
            !sources.is_empty() && sources.iter().all(|net| unreachable.contains(net))
        };
        let deaf = scene.plan.tunnels.iter().filter(is_deaf);
        let deaf = deaf.map(|t| {
            fail(
                format!("every source of {} is an IPv6 one, and the bastion has no IPv6 address", t.user),
                "list the IPv4 addresses that the vendor connects from",
            )
        });
        // What leads astray → who is concerned.
        let mut astray: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for source in reachable {
            let ways = ways(table, source);
            for route in &ways {
                let line = told(table, route);
                if !check.evidence.contains(&line) {
                    check.evidence.push(line);
                }
            }
            let covered = ways.iter().any(|r| matches!(&r.to, Destination::Net(net) if net.contains(&source)));
            let wrong = ways.iter().find(|r| !r.is_internet_gateway() || !r.active);
            let cause = match (covered, wrong) {
                (_, Some(route)) if !route.active => format!("{} is a blackhole", told(table, route)),
                (_, Some(route)) => format!("{} is no internet gateway", told(table, route)),
                (false, None) => format!("{} has no route", table.id),
                (true, None) => continue,
            };
            astray.entry(cause).or_default().push(source);
        }
        let astray = astray.into_iter().map(|(cause, sources)| {
            let any = if sources.iter().any(|s| matches!(s, IpNet::V6(_))) { "::/0" } else { "0.0.0.0/0" };
            fail(
                format!("{cause}: what goes back to {} is lost", listed(&sources)),
                format!(
                    "in {}, send {any} to the network's internet gateway; gangplank does not change route tables",
                    table.id
                ),
            )
        });
        Ok(all(deaf.chain(astray).chain(blocked)))
    })
}

/// What VPC Block Public Access stops. Who may not ask for it learns that it was not asked.
fn blocked_access(scene: &Scene<'_>, check: &mut Check) -> Known<Option<Verdict>> {
    let subnet = scene.subnet()?;
    let access = match &scene.evidence.network.public_access {
        Ok(access) => access,
        Err(why) => {
            check.evidence.push(format!("VPC Block Public Access was not asked: {why}"));
            return Ok(None);
        }
    };
    check.evidence.extend((access.mode != OFF).then(|| format!("VPC Block Public Access is {}", access.mode)));
    let cli = region::cli(&scene.evidence.region);
    Ok(access.blocks(subnet).then(|| {
        fail(
            format!(
                "VPC Block Public Access is {} in this region, and neither {} nor {} is excluded: nothing from the internet arrives",
                access.mode, subnet.id, subnet.vpc
            ),
            format!("let the subnet through: {}", remedy(&cli, &subnet.id)),
        )
    }))
}

/// The routes that packets to a range take: the most specific one that contains it, and those inside of it.
fn ways(table: &RouteTable, range: IpNet) -> Vec<&Route> {
    let to = |route: &&Route| match route.to {
        Destination::Net(net) => Some(net),
        Destination::PrefixList(_) => None,
    };
    let covering = best(table, range);
    let inside = table.routes.iter().filter(|r| to(r).is_some_and(|net| net != range && range.contains(&net)));
    covering.into_iter().chain(inside).collect()
}

/// The most specific route that contains all of a range.
pub fn best(table: &RouteTable, range: IpNet) -> Option<&Route> {
    let length = |route: &&Route| match route.to {
        Destination::Net(net) if net.contains(&range) => Some(net.prefix_len()),
        _ => None,
    };
    let longest = table.routes.iter().filter_map(|route| length(&route)).max()?;
    table.routes.iter().find(|route| length(route) == Some(longest))
}

/// `rtb-1: 0.0.0.0/0 → igw-1`
pub fn told(table: &RouteTable, route: &Route) -> String {
    let to = match &route.to {
        Destination::Net(net) => net.to_string(),
        Destination::PrefixList(id) => id.clone(),
    };
    format!("{}: {to} → {}", table.id, route.via)
}

pub fn acl(scene: &Scene<'_>) -> Check {
    let port = scene.plan.ssh.port;
    let (first, last) = CLIENT_PORTS;
    let proves = format!(
        "the network ACL of the bastion's subnet lets tcp {port} in from each source, and the answers out to its ports \
         {first}-{last}"
    );
    judged(check("control.acl", Part::Edge, proves), |check| {
        let acl = scene.acl(scene.subnet()?)?;
        let (reachable, unreachable) = sources(scene)?;
        tell_unreachable(check, &unreachable);
        check.evidence.extend(acl.entries.iter().map(|entry| {
            let verb = if entry.allow { "allows" } else { "denies" };
            format!("{} {} {verb} {}", acl.id, entry.number, flow(entry.direction, &entry.protocol, entry.net))
        }));
        let crossings = reachable.iter().flat_map(|source| {
            [(Direction::Ingress, Span::port(*source, port)), (Direction::Egress, Span::ports(*source, CLIENT_PORTS))]
        });
        Ok(crosses(acl, crossings))
    })
}

/// Whether an ACL lets all of this through. One cause for all that one entry stops.
pub fn crosses(acl: &Acl, wanted: impl IntoIterator<Item = (Direction, Span)>) -> Verdict {
    let mut stops: Vec<Stop<'_>> = Vec::new();
    for (direction, span) in wanted {
        for Blocked { span, by } in blocked(acl, direction, span) {
            let protocol = Protocol::Tcp { from: span.first, to: span.last };
            let same = |s: &&mut Stop<'_>| s.direction == direction && s.by == by && s.protocol == protocol;
            match stops.iter_mut().find(same) {
                Some(stop) => stop.nets.push(span.net),
                None => stops.push(Stop { direction, by, protocol, nets: vec![span.net] }),
            }
        }
    }
    all(stops.iter().map(|stop| stop.verdict(acl)))
}

/// What one entry stops, or the lack of one.
struct Stop<'a> {
    direction: Direction,
    by: Option<&'a AclEntry>,
    protocol: Protocol,
    nets: Vec<IpNet>,
}

impl Stop<'_> {
    fn verdict(&self, acl: &Acl) -> Verdict {
        let flow = flow(self.direction, &self.protocol, listed(IpNet::aggregate(&self.nets)));
        let (cause, fix) = match self.by {
            Some(entry) => (
                format!(
                    "entry {} of {} (deny {} {} {}) stops {flow}",
                    entry.number,
                    acl.id,
                    entry.protocol,
                    self.direction.preposition(),
                    entry.net
                ),
                format!("in {}, allow {flow} by an entry before {}", acl.id, entry.number),
            ),
            None => (format!("no entry of {} allows {flow}", acl.id), format!("in {}, allow {flow}", acl.id)),
        };
        fail(cause, format!("{fix}; gangplank does not change network ACLs"))
    }
}

/// `inbound tcp 22 from 198.51.100.7/32`
fn flow(direction: Direction, protocol: &Protocol, peer: impl Display) -> String {
    let way = match direction {
        Direction::Ingress => "inbound",
        Direction::Egress => "outbound",
    };
    format!("{way} {protocol} {} {peer}", direction.preposition())
}
