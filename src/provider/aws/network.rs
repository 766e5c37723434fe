//! What leads packets to and from a machine: subnets, route tables, network ACLs, network interfaces. Plain data.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    rule::{ANY_V4, Direction, Protocol},
    tags::Tags,
};

#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    pub id: String,
    pub vpc: String,
    pub zone: String,
    pub ipv6: bool,
    /// Its ranges, of both families.
    pub nets: Vec<IpNet>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteTable {
    pub id: String,
    pub vpc: String,
    /// The network's own: it counts for subnets that name no other.
    pub main: bool,
    pub subnets: Vec<String>,
    pub routes: Vec<Route>,
}

impl RouteTable {
    /// A subnet's table: the one that names it, or its network's main one.
    pub fn of<'a>(tables: &'a [RouteTable], subnet: &Subnet) -> Option<&'a Self> {
        let own = tables.iter().find(|t| t.subnets.contains(&subnet.id));
        own.or_else(|| tables.iter().find(|t| t.main && t.vpc == subnet.vpc))
    }

    /// Whether it has an active 0.0.0.0/0 route to an internet gateway.
    pub fn reaches_internet(&self) -> bool {
        self.routes.iter().any(|r| r.to == Destination::Net(ANY_V4) && r.is_internet_gateway() && r.active)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub to: Destination,
    /// The id of the next hop, or `local`.
    pub via: String,
    /// Not `blackhole`: the next hop exists and is attached.
    pub active: bool,
}

impl Route {
    pub fn is_internet_gateway(&self) -> bool {
        self.via.starts_with("igw-")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Net(IpNet),
    /// Ranges that are kept elsewhere, and not read.
    PrefixList(String),
}

/// A network ACL: it filters what crosses the border of its subnets, without memory of connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Acl {
    pub id: String,
    pub vpc: String,
    pub subnets: Vec<String>,
    /// In the order of their numbers, which is the order in which EC2 asks them.
    pub entries: Vec<AclEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AclEntry {
    pub number: i32,
    pub direction: Direction,
    pub allow: bool,
    pub protocol: Protocol,
    pub net: IpNet,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    pub id: String,
    pub subnet: String,
    pub groups: Vec<String>,
    /// Its own, of both families.
    pub addresses: Vec<IpAddr>,
    /// Ranges that are delegated to it.
    pub prefixes: Vec<IpNet>,
    /// Public IPv4 addresses that lead to it.
    pub public: Vec<IpAddr>,
    /// The instance that it is attached to.
    pub instance: Option<String>,
    pub description: String,
}

impl Interface {
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.prefixes.iter().any(|net| net.contains(&address))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub id: String,
    pub encrypted: bool,
    /// The instances that it is attached to.
    pub instances: Vec<String>,
}
