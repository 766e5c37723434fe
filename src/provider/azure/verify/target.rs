//! Whether packets find their way to each target, and are let in there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    Scene,
    access::{crosses, destination, passes},
    edge::{holder, reached},
    security::{Direction, Group},
};
use crate::{
    plan::{Host, Target},
    provider::{
        azure::{
            id::{Id, Kind},
            observed::{Resource, id_at, text},
            rules::{Destination, destinations},
            views::{Interface, range},
        },
        judging::{Known, all, check, fail, judged, listed},
        space::Span,
    },
    verify::{Check, Part, Verdict},
};

pub fn checks(scene: &Scene<'_>, resolved: &BTreeMap<String, Vec<IpAddr>>) -> Vec<Check> {
    let mut seen = BTreeSet::new();
    let targets = scene.plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets);
    // Two tunnels may lead to one target.
    let targets = targets.filter(|t| seen.insert((t.name.clone(), t.host.to_string(), t.port)));
    targets.flat_map(|target| Way { scene, target, places: places(target, resolved) }.checks()).collect()
}

fn places(target: &Target, resolved: &BTreeMap<String, Vec<IpAddr>>) -> Known<Vec<IpAddr>> {
    match &target.host {
        Host::Address(address) => Ok(vec![*address]),
        Host::Name(name) => {
            let known = resolved.get(name).filter(|all| !all.is_empty()).cloned();
            known.ok_or_else(|| format!("what {name} resolves to is not known: the machine has not said it"))
        }
    }
}

struct Way<'a> {
    scene: &'a Scene<'a>,
    target: &'a Target,
    places: Known<Vec<IpAddr>>,
}

impl Way<'_> {
    fn checks(&self) -> [Check; 3] {
        [self.egress(), self.route(), self.groups()]
    }

    fn check(&self, id: &'static str, proves: String) -> Check {
        check(id, Part::Target(self.target.name.clone()), proves).about(self.target.name.clone())
    }

    fn tell_places(&self, check: &mut Check) {
        if let (Ok(places), Host::Name(name)) = (&self.places, &self.target.host) {
            check.evidence.push(format!("{name} is {} for the machine", listed(places)));
        }
    }

    fn everywhere(&self, judge: impl FnMut(&IpAddr) -> Known<Verdict>) -> Known<Verdict> {
        let places = self.places.as_ref().map_err(String::clone)?;
        let verdicts: Vec<Verdict> = places.iter().map(judge).collect::<Known<_>>()?;
        Ok(all(verdicts))
    }

    fn egress(&self) -> Check {
        let target = self.target;
        let proves =
            format!("the network security groups let the machine open connections to {}:{}", target.host, target.port);
        judged(self.check("control.target-egress", proves), |check| {
            let around = self.scene.around()?;
            let planned = destinations(target);
            let nets: Vec<IpNet> = planned.iter().flat_map(|to| destination(*to, &around)).collect();
            let spans: Vec<Span> = nets.iter().map(|net| Span::port(*net, target.port)).collect();
            let passed = passes(self.scene, Direction::Out, &spans)?;
            if passed != Verdict::Pass {
                return Ok(passed);
            }
            let names = listed(planned.iter().map(|to| to.text()));
            check.evidence.push(format!("open towards {names} on tcp {}", target.port));
            // Without networks in the plan the way is open to all of VirtualNetwork, wherever the name leads in it.
            let whole = planned.contains(&Destination::Network);
            let Ok(places) = &self.places else {
                return if whole { Ok(Verdict::Pass) } else { Err(self.places.clone().err().unwrap_or_default()) };
            };
            self.tell_places(check);
            let judge = |address: &IpAddr| {
                if nets.iter().any(|net| net.contains(address)) {
                    Verdict::Pass
                } else if whole {
                    let reason = format!(
                        "{address} is in no range that is known of VirtualNetwork; what a gateway connects is not read"
                    );
                    Verdict::Unknown { reason }
                } else {
                    fail(
                        format!("{} is {address}, which is in none of {names}", target.host),
                        format!("correct `networks` of the target {} in the plan, and apply it", target.name),
                    )
                }
            };
            Ok(all(places.iter().map(judge)))
        })
    }

    fn route(&self) -> Check {
        let proves = format!("the bastion's network has a way to {}", self.target.host);
        judged(self.check("control.target-route", proves), |check| {
            self.tell_places(check);
            if let Some(table) = self.scene.route_table()? {
                return Err(format!("the bastion's subnet has the route table {}, which is not read", table.name()));
            }
            self.everywhere(|address| match reached(self.scene, *address)? {
                Some(line) => {
                    check.evidence.push(line);
                    Ok(Verdict::Pass)
                }
                None => Ok(Verdict::Unknown {
                    reason: format!(
                        "{address} is neither in the bastion's network nor behind a peering of it; other ways (a gateway, a \
                         virtual WAN) are not read"
                    ),
                }),
            })
        })
    }

    /// The groups over there: the target's subnet's, and its interface's.
    fn groups(&self) -> Check {
        let proves =
            format!("the network security groups before {}:{} let the bastion in", self.target.host, self.target.port);
        judged(self.check("control.target-acl", proves), |check| {
            self.tell_places(check);
            let bastion = self.scene.private_address()?;
            self.everywhere(|address| {
                let groups = match self.before(*address) {
                    Ok(groups) => groups,
                    Err(reason) => return Ok(Verdict::Unknown { reason }),
                };
                check.evidence.push(match groups.as_slice() {
                    [] => format!("no network security group stands before {address}"),
                    groups => format!("before {address}: {}", listed(groups.iter().map(|g| &g.name))),
                });
                let wanted = [Span::port(bastion.into(), self.target.port)];
                Ok(crosses(&groups, Direction::In, &wanted, |group| {
                    format!(
                        "in {}, allow tcp {} from {bastion}; gangplank does not change it",
                        group.name, self.target.port
                    )
                }))
            })
        })
    }

    fn before(&self, address: IpAddr) -> Known<Vec<Group>> {
        let scene = self.scene;
        let place = scene.seen.of_kind(Kind::Network).find_map(|network| {
            let near = network.id == scene.network().ok()?.id || self.is_peered(network);
            let all = network.list("/properties/subnets").iter().filter(|_| near);
            let mut all = all.filter(|s| {
                let several = super::list(s, "/properties/addressPrefixes").iter().filter_map(|p| p.as_str());
                let mut ranges = several.chain([text(s, "/properties/addressPrefix")]).filter_map(range);
                ranges.any(|net| net.contains(&address))
            });
            all.next()
        });
        let Some(subnet) = place else {
            return Err(format!(
                "the subnet of {address} is not among those that are read, so its network security groups are not known"
            ));
        };
        let interface = holder(scene, address).filter(|i| Interface(i).subnet() == id_at(subnet, "/id"));
        let endpoint = interface.is_some_and(|i| i.id_at("/properties/privateEndpoint/id").is_some());
        let policies = text(subnet, "/properties/privateEndpointNetworkPolicies");
        // Unless a subnet says so, network security groups do not apply to private endpoints ("Manage network policies for
        // private endpoints").
        if endpoint && !matches!(policies, "Enabled" | "NetworkSecurityGroupEnabled") {
            return Ok(Vec::new());
        }
        let around = scene.around()?;
        let of_interface = interface.and_then(|i| i.id_at("/properties/networkSecurityGroup/id"));
        let ids = id_at(subnet, "/properties/networkSecurityGroup/id").into_iter().chain(of_interface);
        let read = |id: Id| {
            let found = scene.seen.get(&id);
            let found = found.ok_or_else(|| format!("the network security group {} is not read", id.name()))?;
            Ok(Group::read(found, scene.name(), Direction::In, address, &around))
        };
        ids.map(read).collect()
    }

    fn is_peered(&self, network: &Resource) -> bool {
        self.scene.network().is_ok_and(|own| super::Network(own).is_peered_with(&network.id))
    }
}
