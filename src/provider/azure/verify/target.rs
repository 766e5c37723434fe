//! Whether packets find their way to each target, and are let in there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::Value;

use super::{
    Scene,
    access::{crosses, passes},
    connected,
    edge::{PRIVATE, holder},
    near,
    passage::{Passage, firewall_at, passage},
    routes::{Hop, Route, Table},
    security::{Direction, Group},
    way::reached,
};
use crate::{
    plan::{AzureNetwork, Host, Target},
    provider::{
        azure::{
            id::{Id, Kind},
            observed::{Resource, id_at, text},
            rules::destinations,
            views::{Firewall, Interface, Network, network_of, range},
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
            let near = near(self.scene.network()?);
            let nets: Vec<IpNet> = destinations(target, &near);
            let spans: Vec<Span> = nets.iter().map(|net| Span::port(*net, target.port)).collect();
            let passed = passes(self.scene, Direction::Out, &spans)?;
            if passed != Verdict::Pass {
                return Ok(passed);
            }
            let names = listed(&nets);
            check.evidence.push(format!("open towards {names} on tcp {}", target.port));
            // Without networks in the plan the way is open to the whole network and its peers, wherever the name leads in them.
            let whole = target.networks.is_empty() && matches!(target.host, Host::Name(_));
            let Ok(places) = &self.places else {
                return if whole { Ok(Verdict::Pass) } else { Err(self.places.clone().err().unwrap_or_default()) };
            };
            self.tell_places(check);
            let judge = |address: &IpAddr| {
                if nets.iter().any(|net| net.contains(address)) {
                    Verdict::Pass
                } else if whole {
                    fail(
                        format!(
                            "{} is {address}, which is neither in the bastion's network nor in one that is peered with it",
                            target.host
                        ),
                        format!(
                            "peer the two networks, or write `networks: [{address}/32]` or its range at the target {} in the plan, and apply it",
                            target.name
                        ),
                    )
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
            let table = self.scene.table()?;
            let own = near(self.scene.network()?);
            self.everywhere(|address| {
                let stated = table.decide(&[(*address).into()], &own).into_iter().next();
                let forth = match stated {
                    Some(route) => self.by(route, &own, *address, &mut check.evidence)?,
                    None => match reached(self.scene, *address)? {
                        Some(line) => {
                            check.evidence.push(line);
                            Verdict::Pass
                        }
                        None if self.reaches_nothing_else(*address) => self.unreached(*address),
                        None => Verdict::Unknown {
                            reason: format!(
                                "{address} is neither in the bastion's network nor behind a peering of it; other ways (a gateway, \
                                 a virtual WAN) are not read"
                            ),
                        },
                    },
                };
                Ok(all([forth, self.back(stated, *address)?]))
            })
        })
    }

    /// A network that gangplank created has no gateway: a private address beside it and its peers is out of reach ("Virtual network traffic
    /// routing": 10.0.0.0/8 and the like have the next hop None).
    fn reaches_nothing_else(&self, address: IpAddr) -> bool {
        let gateway = |network: &Resource| Network(network).subnet("GatewaySubnet").is_some();
        matches!(self.scene.azure.network, AzureNetwork::Created { .. })
            && is_private(address)
            && self.scene.network().is_ok_and(|network| !gateway(network))
    }

    fn unreached(&self, address: IpAddr) -> Verdict {
        let network = self.scene.network().ok();
        let alone = network.is_some_and(|network| connected(network).next().is_none());
        let cause = if alone {
            format!("this network reaches no database: no peering of it is connected, and {address} is not in it")
        } else {
            format!("no peering of this network leads to {address}")
        };
        let path = &self.scene.plan.origin.source.path;
        let fix = format!(
            "name the network of {} in `network.peer_with` of {path}, or use an existing network and subnet that reach it, and apply it",
            self.target.host
        );
        fail(cause, fix)
    }

    /// By a route of the subnet's own.
    fn by(&self, route: &Route, own: &[IpNet], address: IpAddr, evidence: &mut Vec<String>) -> Known<Verdict> {
        let (said, port) = (&route.what, self.target.port);
        let fix = || "correct that route by hand: gangplank does not change it".to_owned();
        // Azure drops packets to private addresses that no route names more closely than its own to these ranges; whether a default
        // route of the table's is enough, "Virtual network traffic routing" does not say.
        let private = PRIVATE.iter().filter_map(|net| range(net)).find(|net| net.contains(&address));
        let named = private.is_none_or(|net| route.net.prefix_len() >= net.prefix_len());
        Ok(match route.hop {
            Hop::Network if own.iter().any(|net| net.contains(&address)) => {
                evidence.push(format!("{said} keeps {address} within the network"));
                Verdict::Pass
            }
            Hop::Nowhere | Hop::Network => fail(format!("{said} drops what is sent to {address}"), fix()),
            Hop::Internet if is_private(address) => fail(format!("{said} sends {address} to the internet"), fix()),
            Hop::Internet => {
                evidence.push(format!("{said} leads to {address}"));
                Verdict::Pass
            }
            Hop::Gateway | Hop::Appliance(None) => Verdict::Unknown {
                reason: format!("{said} takes what is sent to {address}; what is behind it is not read"),
            },
            Hop::Appliance(Some(hop)) => {
                let Some((firewall, rules)) = firewall_at(self.scene, hop) else {
                    let reason =
                        format!("{said} takes what is sent to {address}, and what {hop} lets through is not read");
                    return Ok(Verdict::Unknown { reason });
                };
                let machine = self.scene.private_address()?;
                match passage(&rules, machine, &[address.into()], port) {
                    Passage::Open if named && beside(self.scene, firewall, address) => {
                        evidence
                            .push(format!("{said} leads to {address} through the {}, which lets it", firewall.words()));
                        Verdict::Pass
                    }
                    Passage::Open => Verdict::Unknown {
                        reason: format!(
                            "the {} lets tcp {port} to {address}; the way behind it is not read",
                            firewall.words()
                        ),
                    },
                    Passage::Unsure(why) => Verdict::Unknown {
                        reason: format!(
                            "{said} leads to {address} through the {}, and whether that lets it is not known: {why}",
                            firewall.words()
                        ),
                    },
                    Passage::Stopped(by) => {
                        let by = by.unwrap_or_else(|| "no rule there lets it".to_owned());
                        fail(
                            format!(
                                "{said} leads to {address} through the {}, which stops tcp {port} from {machine}: {by}",
                                firewall.words()
                            ),
                            format!(
                                "allow tcp {port} from {machine} to {address} there; gangplank does not change the rules of others"
                            ),
                        )
                    }
                }
            }
        })
    }

    /// Whether the answers come by the way that the packets went: a firewall drops what it has seen one half of.
    fn back(&self, forth: Option<&Route>, address: IpAddr) -> Known<Verdict> {
        // What is not read over there is control.target-acl's to tell.
        let Some((network, subnet)) = self.place(address) else { return Ok(Verdict::Pass) };
        let table = match Table::at(self.scene.seen, subnet) {
            Ok(table) => table,
            Err(reason) => return Ok(Verdict::Unknown { reason: format!("at {address}, {reason}") }),
        };
        let machine = self.scene.private_address()?;
        let back = table.decide(&[machine.into()], &near(network)).into_iter().next();
        let stateful = |route: Option<&Route>| match route.map(|route| route.hop) {
            Some(Hop::Appliance(hop)) => Some(hop),
            _ => None,
        };
        let fix = || format!("correct the routes of the subnet of {address} by hand: gangplank does not change them");
        Ok(match back {
            Some(route) if matches!(route.hop, Hop::Nowhere | Hop::Internet) => {
                fail(format!("{} takes the answers from {address} away from {machine}", route.what), fix())
            }
            Some(route) if route.hop == Hop::Gateway => Verdict::Unknown {
                reason: format!("{} takes the answers from {address}; what becomes of them is not read", route.what),
            },
            _ if stateful(back) == stateful(forth) => Verdict::Pass,
            _ => {
                let one = back.or(forth).map(|route| route.what.clone()).unwrap_or_default();
                Verdict::Unknown {
                    reason: format!(
                        "packets to {address} and their answers go different ways ({one}): a firewall that sees one half of a \
                         connection drops it"
                    ),
                }
            }
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

    /// The subnet of an address, in the bastion's network or one that is peered with it.
    fn place(&self, address: IpAddr) -> Option<(&Resource, &Value)> {
        let scene = self.scene;
        scene.seen.of_kind(Kind::Network).find_map(|network| {
            let near = network.id == scene.network().ok()?.id || self.is_peered(network);
            let all = network.list("/properties/subnets").iter().filter(|_| near);
            let mut all = all.filter(|s| {
                let several = super::list(s, "/properties/addressPrefixes").iter().filter_map(|p| p.as_str());
                let mut ranges = several.chain([text(s, "/properties/addressPrefix")]).filter_map(range);
                ranges.any(|net| net.contains(&address))
            });
            Some((network, all.next()?))
        })
    }

    fn before(&self, address: IpAddr) -> Known<Vec<Group>> {
        let scene = self.scene;
        let Some((_, subnet)) = self.place(address) else {
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
        self.scene.network().is_ok_and(|own| Network(own).is_peered_with(&network.id))
    }
}

fn is_private(address: IpAddr) -> bool {
    PRIVATE.iter().filter_map(|net| range(net)).any(|net| net.contains(&address))
}

/// Whether an address is in the firewall's own network, or in one that is peered with it, and no route there leads elsewhere.
fn beside(scene: &Scene<'_>, firewall: &Resource, address: IpAddr) -> bool {
    let Some(subnet) = Firewall(firewall).subnet() else { return false };
    let Some(network) = scene.seen.get(&network_of(&subnet)) else { return false };
    let own = near(network);
    let plain = scene.subnet_of(&subnet).and_then(|subnet| Table::at(scene.seen, subnet));
    let stated = plain.map(|table| table.decide(&[address.into()], &own).iter().any(|route| route.hop != Hop::Network));
    stated == Ok(false) && own.iter().any(|net| net.contains(&address))
}
