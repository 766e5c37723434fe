//! The way from the machine to each target, as far as the bastion's own network tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Scene, all, check, fail, judged, listed,
    path::{best, crosses, told},
    space::{Span, tcp_ports},
};
use crate::{
    plan::{Host, Target},
    provider::aws::{
        desire,
        judging::Known,
        network::{Destination, Interface},
        rule::{Direction, Peer},
    },
    verify::{Check, Part, Verdict},
};

/// Ports that Linux connects from (`net.ipv4.ip_local_port_range`), and so every image that a plan may name.
const OWN_PORTS: (u16, u16) = (32768, 60999);

/// Where a target is.
enum Places {
    /// All of these.
    At(Vec<IpAddr>),
    /// One of these, the addresses of the interfaces that carry the database's group.
    AmongThem(Vec<IpAddr>),
}

pub fn checks(scene: &Scene<'_>, resolved: &BTreeMap<String, Vec<IpAddr>>) -> Vec<Check> {
    let mut seen = BTreeSet::new();
    let targets = scene.plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets);
    // Two tunnels may lead to one target.
    let targets = targets.filter(|t| seen.insert((t.name.clone(), t.host.to_string(), t.port)));
    targets.flat_map(|target| Way { scene, target, places: places(scene, target, resolved) }.checks()).collect()
}

fn places(scene: &Scene<'_>, target: &Target, resolved: &BTreeMap<String, Vec<IpAddr>>) -> Known<Places> {
    let name = match &target.host {
        Host::Address(address) => return Ok(Places::At(vec![*address])),
        Host::Name(name) => name,
    };
    if let Some(addresses) = resolved.get(name).filter(|all| !all.is_empty()) {
        return Ok(Places::At(addresses.clone()));
    }
    let groups = groups(scene, target);
    if groups.is_empty() {
        return Err(format!(
            "what {name} resolves to is not known: the machine has not said it, and `database_access` names no group of this account \
             for port {}",
            target.port
        ));
    }
    let carriers = scene.database_interfaces()?.iter().filter(|i| carries(i, &groups));
    let addresses: Vec<IpAddr> = carriers.flat_map(|i| i.addresses.clone()).collect();
    if addresses.is_empty() {
        return Err(format!(
            "what {name} resolves to is not known: the machine has not said it, and no interface carries {}",
            groups.join(", ")
        ));
    }
    Ok(Places::AmongThem(addresses))
}

/// The database groups that open the target's port.
fn groups<'a>(scene: &Scene<'a>, target: &Target) -> Vec<&'a str> {
    let opens =
        scene.aws.database_access.iter().filter(|access| access.port == target.port && access.account.is_none());
    opens.map(|access| access.security_group.as_str()).collect()
}

fn carries(interface: &Interface, groups: &[&str]) -> bool {
    interface.groups.iter().any(|id| groups.contains(&id.as_str()))
}

struct Way<'a> {
    scene: &'a Scene<'a>,
    target: &'a Target,
    places: Known<Places>,
}

impl Way<'_> {
    fn checks(&self) -> Vec<Check> {
        let carried = (!groups(self.scene, self.target).is_empty()).then(|| self.group());
        [self.egress(), self.route(), self.acl()].into_iter().chain(carried).collect()
    }

    fn check(&self, id: &'static str, proves: String) -> Check {
        check(id, Part::Target(self.target.name.clone()), proves).about(self.target.name.clone())
    }

    fn text(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    /// Judges every address of the target.
    fn everywhere(&self, judge: impl Fn(IpAddr) -> Known<Verdict>) -> Known<Verdict> {
        let judge = |address: &IpAddr| judge(*address).unwrap_or_else(|reason| Verdict::Unknown { reason });
        match self.places.as_ref().map_err(String::clone)? {
            Places::At(addresses) => Ok(all(addresses.iter().map(judge))),
            Places::AmongThem(addresses) => {
                let verdicts: Vec<Verdict> = addresses.iter().map(judge).collect();
                if verdicts.iter().all(Verdict::is_fail) || verdicts.iter().all(|v| *v == Verdict::Pass) {
                    return Ok(all(verdicts));
                }
                Err(format!(
                    "it depends on which of {} {} resolves to, and the machine has not said it",
                    listed(addresses),
                    self.target.host
                ))
            }
        }
    }

    fn tell_places(&self, check: &mut Check) {
        match &self.places {
            Ok(Places::At(addresses)) if matches!(self.target.host, Host::Name(_)) => {
                check.evidence.push(format!("{} is {} for the machine", self.target.host, listed(addresses)));
            }
            Ok(Places::AmongThem(addresses)) => {
                let groups = groups(self.scene, self.target).join(", ");
                check.evidence.push(format!("{groups} is carried at {}", listed(addresses)));
            }
            _ => {}
        }
    }

    fn egress(&self) -> Check {
        let proves = format!("the bastion's groups let the machine open connections to {}", self.text());
        judged(self.check("control.target-egress", proves), |check| {
            let (scene, target) = (self.scene, self.target);
            let attached = scene.groups()?;
            let opens = |peer: &Peer| {
                attached.iter().flat_map(|g| g.egress.keys()).any(|rule| {
                    let port = tcp_ports(&rule.protocol).is_some_and(|(a, b)| (a..=b).contains(&target.port));
                    let wider = match (&rule.peer, peer) {
                        (Peer::Net(have), Peer::Net(want)) => have.contains(want),
                        (have, want) => have == want,
                    };
                    port && wider
                })
            };
            let planned = desire::peers(target, scene.aws);
            let missing: Vec<&Peer> = planned.iter().filter(|peer| !opens(peer)).collect();
            if !missing.is_empty() {
                return Ok(fail(
                    format!("no rule lets the machine out to {} on tcp {}", listed(missing), target.port),
                    scene.apply("adds the rule"),
                ));
            }
            check.evidence.push(format!("open towards {} on tcp {}", listed(&planned), target.port));
            // A group opens the way to whatever carries it; a range must contain the address.
            if planned.iter().any(|peer| !matches!(peer, Peer::Net(_))) {
                return Ok(Verdict::Pass);
            }
            self.tell_places(check);
            self.everywhere(|address| {
                if opens(&Peer::Net(address.into())) {
                    return Ok(Verdict::Pass);
                }
                Ok(fail(
                    format!("{} is {address}, which is in none of {}", target.host, listed(&planned)),
                    format!("correct `networks` of the target {} in the plan, and apply it", target.name),
                ))
            })
        })
    }

    fn route(&self) -> Check {
        let proves = format!("the bastion's subnet has a working route to {}", self.target.host);
        judged(self.check("control.target-route", proves), |check| {
            self.tell_places(check);
            let table = self.scene.route_table()?;
            if let Ok(Places::At(addresses) | Places::AmongThem(addresses)) = &self.places {
                let routes = addresses.iter().filter_map(|a| best(table, (*a).into()));
                let mut lines: Vec<String> = routes.map(|route| told(table, route)).collect();
                lines.dedup();
                check.evidence.extend(lines);
            }
            self.everywhere(|address| {
                let of_table = |what: &str| format!("in {}, {what}; gangplank does not change route tables", table.id);
                let Some(route) = best(table, address.into()) else {
                    return Ok(fail(
                        format!("{} has no route to {address}", table.id),
                        of_table(&format!("add a route to {address}, or choose a subnet of the target's network")),
                    ));
                };
                let line = told(table, route);
                if !route.active {
                    return Ok(fail(
                        format!(
                            "{line} is a blackhole: {} is gone or detached, and {address} lies behind it",
                            route.via
                        ),
                        of_table(&format!("attach {} again or correct the route", route.via)),
                    ));
                }
                if route.via == "local" {
                    return Ok(Verdict::Pass);
                }
                // A gateway endpoint's list holds a public service's addresses only.
                let hidden = table
                    .routes
                    .iter()
                    .find(|r| matches!(r.to, Destination::PrefixList(_)) && !r.via.starts_with("vpce-"));
                if let Some(hidden) = hidden {
                    return Err(format!(
                        "{} may lead {address} elsewhere: the ranges of the prefix list are not read",
                        told(table, hidden)
                    ));
                }
                if route.is_internet_gateway() && is_private(address) {
                    return Ok(fail(
                        format!("only {line} matches {address}, and an internet gateway drops private addresses"),
                        of_table(&format!("add a route to {address} (peering, transit gateway, VPN)")),
                    ));
                }
                Ok(Verdict::Pass)
            })
        })
    }

    fn acl(&self) -> Check {
        let (first, last) = OWN_PORTS;
        let proves = format!(
            "the network ACLs between the bastion and {} let the connection and its answers (ports {first}-{last}) through, \
             as far as they are of the bastion's network",
            self.text()
        );
        judged(self.check("control.target-acl", proves), |check| {
            self.tell_places(check);
            let scene = self.scene;
            let own_subnet = scene.subnet()?;
            let own_acl = scene.acl(own_subnet)?;
            check.evidence.push(format!("{} at {}", own_acl.id, own_subnet.id));
            if let Ok(Places::At(addresses) | Places::AmongThem(addresses)) = &self.places {
                for address in addresses {
                    let line = match scene.subnet_of(*address)? {
                        Some(subnet) if subnet.id == own_subnet.id => {
                            format!("{address} is in the same subnet, where no ACL stands in between")
                        }
                        Some(subnet) => format!("{} at {}, where {address} is", scene.acl(subnet)?.id, subnet.id),
                        None => format!("{address} is in no subnet of this network: ACLs over there are not read"),
                    };
                    if !check.evidence.contains(&line) {
                        check.evidence.push(line);
                    }
                }
            }
            let bastion = self.bastion_address();
            self.everywhere(|address| {
                let there = scene.subnet_of(address)?;
                if there.is_some_and(|subnet| subnet.id == own_subnet.id) {
                    return Ok(Verdict::Pass);
                }
                let target = address.into();
                let port = self.target.port;
                let here = crosses(
                    own_acl,
                    [
                        (Direction::Egress, Span::port(target, port)),
                        (Direction::Ingress, Span::ports(target, OWN_PORTS)),
                    ],
                );
                let Some(there) = there else { return Ok(here) };
                let bastion = match address {
                    IpAddr::V4(_) => bastion.clone()?,
                    IpAddr::V6(_) => return Ok(here),
                };
                let there = crosses(
                    scene.acl(there)?,
                    [
                        (Direction::Ingress, Span::port(bastion.into(), port)),
                        (Direction::Egress, Span::ports(bastion.into(), OWN_PORTS)),
                    ],
                );
                Ok(all([here, there]))
            })
        })
    }

    fn bastion_address(&self) -> Known<IpAddr> {
        let instance = self.scene.machine()?;
        let own = instance.private_ip.as_deref().and_then(|ip| ip.parse().ok());
        own.ok_or_else(|| format!("EC2 names no private address of {}", instance.id))
    }

    /// A rule in a group opens nothing for a database that does not carry the group.
    fn group(&self) -> Check {
        let groups = groups(self.scene, self.target);
        let proves = format!("{} carries {}, the group that admits the bastion", self.target.host, groups.join(" or "));
        judged(self.check("control.target-group", proves), |check| {
            let carriers: Vec<&Interface> =
                self.scene.database_interfaces()?.iter().filter(|i| carries(i, &groups)).collect();
            for interface in &carriers {
                check.evidence.push(format!("{} carries it at {}", interface.id, listed(&interface.addresses)));
            }
            let names = groups.join(" or ");
            if carriers.is_empty() {
                return Ok(fail(
                    format!("no network interface carries {names}: its rule lets nobody in anywhere"),
                    "give the database this group, or name the database's own group in `aws.database_access`",
                ));
            }
            let Places::At(addresses) = self.places.as_ref().map_err(String::clone)? else {
                return Err(format!("what {} resolves to is not known: the machine has not said it", self.target.host));
            };
            Ok(all(addresses.iter().map(|address| {
                if carriers.iter().any(|i| i.has(*address)) {
                    return Verdict::Pass;
                }
                match self.scene.subnet_of(*address) {
                    Err(reason) => Verdict::Unknown { reason },
                    Ok(Some(subnet)) => fail(
                        format!("what has {address} in {} does not carry {names}", subnet.id),
                        "give the database this group, or name the database's own group in `aws.database_access`",
                    ),
                    Ok(None) => fail(
                        format!("{address} is at no interface that carries {names}"),
                        "correct the target's host, or name its `networks` in the plan in place of `aws.database_access`",
                    ),
                }
            })))
        })
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // RFC 1918, and RFC 6598's shared addresses, which VPCs use too.
        IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}
