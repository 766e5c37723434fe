//! What a region holds. Everything is under its id.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub type Tags = BTreeMap<String, String>;

/// One region of the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Region {
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub gateways: BTreeMap<String, Gateway>,
    pub route_tables: BTreeMap<String, RouteTable>,
    pub acls: BTreeMap<String, Acl>,
    pub groups: BTreeMap<String, Group>,
    pub addresses: BTreeMap<String, Address>,
    pub instances: BTreeMap<String, Instance>,
    pub interfaces: BTreeMap<String, Interface>,
    pub volumes: BTreeMap<String, Volume>,
    /// Published after those that every region has.
    pub images: BTreeMap<String, Image>,
    /// What was made with a client token.
    pub tokens: BTreeMap<String, Token>,
    #[serde(default)]
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// Beside the default ones, which every region has.
    #[serde(default)]
    pub dhcp_options: BTreeMap<String, DhcpOptions>,
    #[serde(default)]
    pub peerings: BTreeMap<String, Peering>,
    /// The mode of VPC Block Public Access; `None` where it is off.
    #[serde(default)]
    pub public_access_block: Option<String>,
    #[serde(default)]
    pub public_access_exclusions: BTreeMap<String, Exclusion>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vpc {
    pub cidr: Ipv4Net,
    pub ipv6: Option<Ipv6Net>,
    /// `None` where they are the region's default ones; `default` where the network has none, as EC2 calls it.
    #[serde(default)]
    pub dhcp_options: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DhcpOptions {
    /// `domain-name-servers` and the like, with their values.
    pub options: Vec<(String, Vec<String>)>,
    pub tags: Tags,
}

/// Of VPC Block Public Access.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exclusion {
    /// A network or a subnet.
    pub resource: String,
    pub mode: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peering {
    pub requester: PeeringSide,
    pub accepter: PeeringSide,
    pub active: bool,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeeringSide {
    pub vpc: String,
    /// The account.
    pub owner: String,
    pub cidr: Option<Ipv4Net>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    pub vpc: String,
    pub cidr: Ipv4Net,
    pub ipv6: Option<Ipv6Net>,
    pub zone: String,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    pub vpc: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    pub vpc: String,
    /// The association that makes it the network's own.
    pub main: Option<String>,
    /// Associations, and the subnet of each.
    pub subnets: BTreeMap<String, String>,
    /// Without the local ones, which every table has.
    pub routes: Vec<Route>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub to: IpNet,
    pub gateway: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acl {
    pub vpc: String,
    pub default: bool,
    /// Associations, and the subnet of each.
    pub subnets: BTreeMap<String, String>,
    /// Without the last ones, which deny and can't be taken away.
    pub entries: Vec<AclEntry>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AclEntry {
    pub number: i64,
    pub egress: bool,
    pub allow: bool,
    /// A number as text; `-1` is all.
    pub protocol: String,
    pub ports: Option<(u16, u16)>,
    pub net: IpNet,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub description: String,
    pub vpc: String,
    pub rules: BTreeMap<String, GroupRule>,
    pub tags: Tags,
    /// When somebody made it; `None` where it came with its network.
    #[serde(default)]
    pub made: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRule {
    pub opens: Opens,
    pub description: Option<String>,
    pub tags: Tags,
}

/// Two rules that open the same are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Opens {
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or another number.
    pub protocol: String,
    /// Ports, or type and code of ICMP; -1 is any.
    pub range: Option<(i32, i32)>,
    pub peer: Peer,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    Net(IpNet),
    Group(String),
    /// Of another account: its number and the group.
    ForeignGroup(String, String),
    PrefixList(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixList {
    pub name: String,
    pub v6: bool,
    pub most: usize,
    /// Each with its description.
    pub entries: BTreeMap<IpNet, Option<String>>,
    pub version: u32,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    pub ip: Ipv4Addr,
    pub association: Option<Association>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Association {
    pub id: String,
    pub interface: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub reservation: String,
    pub token: Option<String>,
    pub image: String,
    pub instance_type: String,
    pub architecture: String,
    pub root_device: String,
    pub subnet: String,
    pub vpc: String,
    pub zone: String,
    pub launched: Timestamp,
    /// When it comes into which state: the past and the planned future.
    pub life: Vec<(Timestamp, State)>,
    /// Why it last changed its state.
    pub reason: Option<Reason>,
    pub terminates_on_shutdown: bool,
    pub protected: bool,
    pub metadata: Metadata,
    /// As it came, in base64.
    pub user_data: Option<String>,
    /// What its console shows; only the end is kept.
    pub console: Vec<u8>,
    pub printed: Option<Timestamp>,
    /// Its parts are freed.
    pub cleared: bool,
    pub tags: Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Somebody called.
    User,
    /// Its own system shut down.
    Itself,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    pub tokens_required: bool,
    pub hop_limit: i64,
    pub enabled: bool,
    pub tags: bool,
    pub ipv6: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    pub subnet: String,
    pub ip: Ipv4Addr,
    pub ipv6: Vec<Ipv6Addr>,
    pub groups: Vec<String>,
    pub description: String,
    pub attachment: Option<Attachment>,
    pub tags: Tags,
}

/// Of an interface or a volume to an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: String,
    pub instance: String,
    /// The device's name, or an interface's index.
    pub device: String,
    pub at: Timestamp,
    pub ends_with_instance: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub size: i64,
    pub kind: String,
    pub encrypted: bool,
    pub zone: String,
    pub created: Timestamp,
    pub attachment: Option<Attachment>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub owner: String,
    pub architecture: String,
    pub root_device: String,
    /// GiB.
    pub root_size: i64,
    /// `2026-08-11T06:12:14.000Z`
    pub created: String,
    /// Likewise: when its publisher deprecated it.
    #[serde(default)]
    pub deprecated: Option<String>,
    /// A product of AWS Marketplace that the account has not subscribed to.
    #[serde(default)]
    pub unsubscribed: bool,
    pub description: String,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// A reservation, a route table or an interface.
    pub made: String,
    /// Of the request's other parameters.
    pub digest: String,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// "InstanceState" in the Amazon EC2 API Reference.
    pub const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub const fn ends(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

impl Instance {
    pub fn state(&self, now: Timestamp) -> State {
        let past = self.life.iter().rev().find(|(at, _)| *at <= now);
        past.map_or(State::Pending, |(_, state)| *state)
    }

    /// When the present state, or the last one that is planned, began.
    pub fn since(&self, now: Timestamp) -> Timestamp {
        self.life.iter().rev().find(|(at, _)| *at <= now).map_or(self.launched, |(at, _)| *at)
    }

    /// Forgets what was planned, and goes another way.
    pub fn go(&mut self, now: Timestamp, first: State, then: State, at: Timestamp) {
        self.life.retain(|(at, _)| *at <= now);
        self.life.push((now, first));
        self.life.push((at, then));
    }
}

impl Region {
    pub fn interfaces_of<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = (&'a String, &'a Interface)> {
        let of = move |i: &Interface| i.attachment.as_ref().is_some_and(|a| a.instance == instance);
        self.interfaces.iter().filter(move |(_, i)| of(i))
    }

    /// The first one, which every instance has while it is not terminated.
    pub fn main_interface<'a>(&'a self, instance: &'a str) -> Option<(&'a String, &'a Interface)> {
        self.interfaces_of(instance).find(|(_, i)| i.attachment.as_ref().is_some_and(|a| a.device == "0"))
    }

    /// The elastic address that leads to an interface.
    pub fn address_of(&self, interface: &str) -> Option<(&String, &Address)> {
        self.addresses.iter().find(|(_, a)| a.association.as_ref().is_some_and(|of| of.interface == interface))
    }

    /// Of a subnet: its own, or its network's main one.
    pub fn route_table_of(&self, subnet: &str) -> Option<(&String, &RouteTable)> {
        let own = self.route_tables.iter().find(|(_, table)| table.subnets.values().any(|s| s == subnet));
        own.or_else(|| {
            let vpc = &self.subnets.get(subnet)?.vpc;
            self.route_tables.iter().find(|(_, table)| table.main.is_some() && table.vpc == *vpc)
        })
    }

    pub fn acl_of(&self, subnet: &str) -> Option<(&String, &Acl)> {
        self.acls.iter().find(|(_, acl)| acl.subnets.values().any(|s| s == subnet))
    }

    /// Whether a route's gateway is there and attached to the table's network, or its peering connection leads from there.
    pub fn is_active(&self, table: &RouteTable, route: &Route) -> bool {
        if let Some(peering) = self.peerings.get(&route.gateway) {
            return peering.active && [&peering.requester, &peering.accepter].iter().any(|side| side.vpc == table.vpc);
        }
        self.gateways.get(&route.gateway).is_some_and(|g| g.vpc.as_deref() == Some(table.vpc.as_str()))
    }

    pub fn has_gateway(&self, vpc: &str) -> bool {
        self.gateways.values().any(|g| g.vpc.as_deref() == Some(vpc))
    }

    /// An interface's addresses of both families.
    pub fn is_at(interface: &Interface, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => interface.ip == ip,
            IpAddr::V6(ip) => interface.ipv6.contains(&ip),
        }
    }
}
