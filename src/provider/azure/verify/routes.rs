//! Where a subnet's packets go: the routes of its route table and those that Azure gives every subnet, of which the one with the
//! longest prefix decides, and of two equal ones the table's ("Virtual network traffic routing", how Azure selects a route). What
//! gateways announce by BGP is not read.

use std::{cmp::Reverse, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use super::{Scene, security::everything};
use crate::{
    provider::{
        azure::{
            observed::{Observed, Resource, id_at, text},
            views::range,
        },
        judging::{Known, all, fail},
        space::without,
    },
    verify::Verdict,
};

/// `nextHopType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Within the network, and over its peerings.
    Network,
    Internet,
    Nowhere,
    Gateway,
    Appliance(Option<IpAddr>),
}

#[derive(Clone, Debug)]
pub struct Route {
    /// `the route out of the route table rt-spoke (0.0.0.0/0 to 10.8.0.4)`
    pub what: String,
    pub net: IpNet,
    pub hop: Hop,
}

/// What is stated at a subnet.
#[derive(Clone, Debug, Default)]
pub struct Table {
    name: String,
    routes: Vec<Route>,
    /// Routes to service tags, whose ranges are not known here.
    tags: Vec<String>,
}

impl Table {
    /// An empty one where the subnet has none.
    pub fn at(seen: &Observed, subnet: &Value) -> Known<Self> {
        let Some(id) = id_at(subnet, "/properties/routeTable/id") else { return Ok(Self::default()) };
        let found = seen.get(&id).ok_or_else(|| format!("the route table {} is not read", id.name()))?;
        Ok(Self::read(found))
    }

    fn read(resource: &Resource) -> Self {
        let mut table = Self { name: resource.name().to_owned(), ..Self::default() };
        for raw in resource.list("/properties/routes") {
            let (prefix, hop) = (text(raw, "/properties/addressPrefix"), text(raw, "/properties/nextHopType"));
            let address = text(raw, "/properties/nextHopIpAddress");
            let what = format!(
                "the route {} of the route table {} ({prefix} to {})",
                text(raw, "/name"),
                table.name,
                if address.is_empty() { hop } else { address }
            );
            let hop = match hop.to_ascii_lowercase().as_str() {
                "vnetlocal" => Hop::Network,
                "internet" => Hop::Internet,
                "none" => Hop::Nowhere,
                "virtualnetworkgateway" => Hop::Gateway,
                _ => Hop::Appliance(address.parse().ok()),
            };
            match range(prefix) {
                Some(net) => table.routes.push(Route { what, net: net.trunc(), hop }),
                None => table.tags.push(what),
            }
        }
        table
    }

    /// The stated routes that decide about packets to anywhere in `to`; `own` are the ranges of the network and of its peers, to
    /// which Azure has routes of its own.
    pub fn decide(&self, to: &[IpNet], own: &[IpNet]) -> Vec<&Route> {
        let stated = self.routes.iter().map(|route| (route.net, Some(route)));
        let mut order: Vec<(IpNet, Option<&Route>)> = stated.chain(own.iter().map(|net| (*net, None))).collect();
        order.sort_by_key(|(net, route)| (Reverse(net.prefix_len()), route.is_none()));
        let mut left: Vec<_> = to.iter().map(|net| everything(*net)).collect();
        let mut found = Vec::new();
        for (net, route) in order {
            let span = everything(net);
            if left.iter().any(|want| want.overlap(&span).is_some()) {
                found.extend(route);
                left = without(left, [&span]);
            }
        }
        found
    }

    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// A route that may be about addresses in the internet.
    pub fn hidden(&self) -> Option<&String> {
        self.tags.first()
    }
}

/// The way that packets must keep to.
pub struct Course<'a> {
    /// `the machine's answers to the firewall`
    pub what: &'a str,
    pub to: &'a [IpNet],
    /// See [`Table::decide`].
    pub own: &'a [IpNet],
    pub hop: Hop,
    /// Whether another way that is not known to end is certain to be wrong: only one way out has the address that was asked.
    pub only: bool,
}

impl Course<'_> {
    /// Whether a subnet's table leaves packets on their way.
    pub fn kept(&self, table: &Table, evidence: &mut Vec<String>) -> Verdict {
        let mut verdicts = Vec::new();
        let what = self.what;
        if self.hop == Hop::Internet
            && let Some(route) = table.hidden()
        {
            verdicts.push(Verdict::Unknown {
                reason: format!("{route} may be about {what}: its ranges are not known here"),
            });
        }
        for route in table.decide(self.to, self.own) {
            let said = &route.what;
            verdicts.push(match route.hop {
                hop if hop == self.hop => {
                    evidence.push(format!("{said} keeps {what} on the way"));
                    Verdict::Pass
                }
                Hop::Nowhere => fail(format!("{said} drops {what}"), self.fix(table)),
                Hop::Internet | Hop::Network => fail(format!("{said} sends {what} elsewhere"), self.fix(table)),
                Hop::Gateway | Hop::Appliance(_) if self.only => fail(
                    format!("{said} sends {what} out by another address than the one that was asked"),
                    self.fix(table),
                ),
                Hop::Gateway | Hop::Appliance(_) => {
                    Verdict::Unknown { reason: format!("{said} takes {what}; what happens to them there is not read") }
                }
            });
        }
        all(verdicts)
    }

    fn fix(&self, table: &Table) -> String {
        let hop = if self.hop == Hop::Internet { "Internet" } else { "VnetLocal" };
        let nets: Vec<String> = self.to.iter().map(IpNet::to_string).collect();
        format!(
            "in the route table {}, add a route to {} with the next hop type {hop}; gangplank does not change it",
            table.name,
            nets.join(", ")
        )
    }
}

impl<'a> Scene<'a> {
    /// A subnet as its network shows it.
    pub(super) fn subnet_of(&self, id: &crate::provider::azure::id::Id) -> Known<&'a Value> {
        let network = id.parent();
        let network =
            self.seen.get(&network).ok_or_else(|| format!("the virtual network {} is not read", network.name()))?;
        let all = network.list("/properties/subnets");
        all.iter().find(|s| id_at(s, "/id").as_ref() == Some(id)).ok_or_else(|| format!("{} is not read", id.name()))
    }
}
