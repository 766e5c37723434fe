//! Resources as decisions see them: a network's subnets, a firewall's addresses, a machine's state.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    id::{FIREWALL_SUBNET, Id},
    observed::{Observed, Resource, id_at, list, text},
};

#[derive(Clone, Copy)]
pub struct Network<'a>(pub &'a Resource);

#[derive(Clone, Debug)]
pub struct Subnet {
    pub id: Id,
    /// The first, where it has several.
    pub range: Option<IpNet>,
    /// Ids of the address configurations in it.
    pub users: Vec<Id>,
    pub delegated: bool,
    /// Azure gives machines without an address of their own none by default ("Default outbound access in Azure": private subnets).
    pub private: bool,
    pub nat_gateway: bool,
    pub route_table: Option<Id>,
}

impl<'a> Network<'a> {
    pub fn subnets(self) -> impl Iterator<Item = Subnet> + 'a {
        self.0.list("/properties/subnets").iter().filter_map(Subnet::read)
    }

    pub fn subnet(self, name: &str) -> Option<Subnet> {
        self.subnets().find(|s| s.id.name().eq_ignore_ascii_case(name))
    }

    pub fn ranges(self) -> impl Iterator<Item = &'a str> {
        self.0.list("/properties/addressSpace/addressPrefixes").iter().filter_map(Value::as_str)
    }

    /// Name servers of its own; Azure's where there are none.
    pub fn name_servers(self) -> impl Iterator<Item = IpAddr> + 'a {
        self.0.list("/properties/dhcpOptions/dnsServers").iter().filter_map(|s| s.as_str()?.parse().ok())
    }

    pub fn is_peered_with(self, network: &Id) -> bool {
        let peerings = self.0.list("/properties/virtualNetworkPeerings");
        peerings.iter().any(|p| {
            text(p, "/properties/peeringState") == "Connected"
                && id_at(p, "/properties/remoteVirtualNetwork/id").is_some_and(|id| id == *network)
        })
    }
}

#[derive(Clone, Copy)]
pub struct Peering<'a>(pub &'a Resource);

impl<'a> Peering<'a> {
    /// The network that it leads to.
    pub fn remote(self) -> Option<Id> {
        self.0.id_at("/properties/remoteVirtualNetwork/id")
    }

    /// `Initiated` where the other network has none, `Connected`, or `Disconnected` where the other side's is gone.
    pub fn state(self) -> &'a str {
        self.0.text("/properties/peeringState")
    }

    pub fn is_connected(self) -> bool {
        self.state().eq_ignore_ascii_case("Connected")
    }
}

impl Subnet {
    fn read(raw: &Value) -> Option<Self> {
        let private = raw.pointer("/properties/defaultOutboundAccess") == Some(&Value::Bool(false));
        Some(Self {
            id: id_at(raw, "/id")?,
            range: range(text(raw, "/properties/addressPrefix"))
                .or_else(|| list(raw, "/properties/addressPrefixes").iter().find_map(|p| range(p.as_str()?))),
            users: list(raw, "/properties/ipConfigurations").iter().filter_map(|c| id_at(c, "/id")).collect(),
            delegated: !list(raw, "/properties/delegations").is_empty(),
            private,
            nat_gateway: id_at(raw, "/properties/natGateway/id").is_some(),
            route_table: id_at(raw, "/properties/routeTable/id"),
        })
    }

    /// Whether machines without an address of their own reach the internet from here: by Azure's default, a NAT gateway, or what a route
    /// leads to. A route to `Internet` leads nowhere from a private subnet. What is not read is taken for a way.
    pub fn lets_out(&self, seen: &Observed) -> bool {
        let leads = |table: &Id| {
            let Some(table) = seen.get(table) else { return true };
            table.list("/properties/routes").iter().any(|route| {
                let hop = text(route, "/properties/nextHopType");
                text(route, "/properties/addressPrefix") == "0.0.0.0/0"
                    && ["VirtualAppliance", "VirtualNetworkGateway"].iter().any(|way| hop.eq_ignore_ascii_case(way))
            })
        };
        !self.private || self.nat_gateway || self.route_table.as_ref().is_some_and(leads)
    }
}

impl Subnet {
    /// The appliance that the subnet's default route leads to, a firewall mostly.
    pub fn way_out(&self, seen: &Observed) -> Option<String> {
        let table = seen.get(self.route_table.as_ref()?)?;
        let routes = table.list("/properties/routes").iter();
        let mut out = routes.filter(|route| {
            text(route, "/properties/addressPrefix") == "0.0.0.0/0"
                && text(route, "/properties/nextHopType").eq_ignore_ascii_case("VirtualAppliance")
        });
        out.next().map(|route| text(route, "/properties/nextHopIpAddress").to_owned())
    }
}

/// The ranges of a network and of those that are peered with it.
pub fn near(network: &Resource) -> Vec<IpNet> {
    let peered = connected(network).flat_map(peered_ranges);
    Network(network).ranges().filter_map(range).chain(peered).collect()
}

pub fn connected(network: &Resource) -> impl Iterator<Item = &Value> {
    let peerings = network.list("/properties/virtualNetworkPeerings").iter();
    peerings.filter(|p| text(p, "/properties/peeringState").eq_ignore_ascii_case("Connected"))
}

pub fn peered_ranges(peering: &Value) -> impl Iterator<Item = IpNet> {
    let all = list(peering, "/properties/remoteVirtualNetworkAddressSpace/addressPrefixes");
    let all = if all.is_empty() { list(peering, "/properties/remoteAddressSpace/addressPrefixes") } else { all };
    all.iter().filter_map(|text| range(text.as_str()?))
}

/// An address counts as a range of one.
pub fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[derive(Clone, Copy)]
pub struct Firewall<'a>(pub &'a Resource);

impl<'a> Firewall<'a> {
    pub fn policy(self) -> Option<Id> {
        self.0.id_at("/properties/firewallPolicy/id")
    }

    /// `Standard`
    pub fn tier(self) -> &'a str {
        self.0.text("/properties/sku/tier")
    }

    /// In a virtual WAN's hub, not in a network.
    pub fn is_in_a_hub(self) -> bool {
        self.0.text("/properties/sku/name").eq_ignore_ascii_case("AZFW_Hub")
            || self.0.id_at("/properties/virtualHub/id").is_some()
    }

    /// Its AzureFirewallSubnet.
    pub fn subnet(self) -> Option<Id> {
        self.configurations().find_map(|c| id_at(c, "/properties/subnet/id"))
    }

    /// Ids of its public addresses, in its order. That of its management is not among them: no rule applies to it.
    pub fn addresses(self) -> Vec<Id> {
        self.configurations().filter_map(|c| id_at(c, "/properties/publicIPAddress/id")).collect()
    }

    pub fn nat_collections(self) -> &'a [Value] {
        self.0.list("/properties/natRuleCollections")
    }

    fn configurations(self) -> impl Iterator<Item = &'a Value> {
        self.0.list("/properties/ipConfigurations").iter()
    }
}

/// The network of a firewall's subnet.
pub fn network_of(subnet: &Id) -> Id {
    subnet.parent()
}

#[derive(Clone, Copy)]
pub struct Interface<'a>(pub &'a Resource);

impl<'a> Interface<'a> {
    pub fn subnet(self) -> Option<Id> {
        id_at(self.first()?, "/properties/subnet/id")
    }

    pub fn private_address(self) -> Option<&'a str> {
        self.first().map(|c| text(c, "/properties/privateIPAddress")).filter(|text| !text.is_empty())
    }

    pub fn public_address(self) -> Option<Id> {
        id_at(self.first()?, "/properties/publicIPAddress/id")
    }

    pub fn machine(self) -> Option<Id> {
        self.0.id_at("/properties/virtualMachine/id")
    }

    fn first(self) -> Option<&'a Value> {
        self.0.list("/properties/ipConfigurations").first()
    }
}

#[derive(Clone, Copy)]
pub struct Machine<'a>(pub &'a Resource);

impl<'a> Machine<'a> {
    pub fn size(self) -> &'a str {
        self.0.text("/properties/hardwareProfile/vmSize")
    }

    /// `Debian debian-13`
    pub fn image(self) -> String {
        let part = |name: &str| self.0.text(&format!("/properties/storageProfile/imageReference/{name}"));
        format!("{} {}", part("publisher"), part("offer"))
    }

    /// `13-gen2`
    pub fn image_sku(self) -> &'a str {
        self.0.text("/properties/storageProfile/imageReference/sku")
    }

    pub fn interfaces(self) -> Vec<Id> {
        self.0.list("/properties/networkProfile/networkInterfaces").iter().filter_map(|i| id_at(i, "/id")).collect()
    }

    /// `running`, `deallocated`, ...; "" where nobody asked.
    pub fn power(self) -> &'a str {
        let statuses = self.0.list("/properties/instanceView/statuses");
        statuses.iter().find_map(|s| text(s, "/code").strip_prefix("PowerState/")).unwrap_or_default()
    }

    /// Azure tells what it is at, and no power state among that: it was never placed.
    pub fn never_ran(self) -> bool {
        !self.0.list("/properties/instanceView/statuses").is_empty() && self.power().is_empty()
    }

    /// In base64, as Azure shows it where it is asked to; `None` where it was not asked.
    pub fn user_data(self) -> Option<&'a str> {
        self.0.raw.pointer("/properties/userData").map(|data| data.as_str().unwrap_or_default())
    }
}

#[derive(Clone, Copy)]
pub struct Address<'a>(pub &'a Resource);

impl<'a> Address<'a> {
    pub fn ip(self) -> Option<&'a str> {
        Some(self.0.text("/properties/ipAddress")).filter(|ip| !ip.is_empty())
    }

    /// The address configuration of an interface or a firewall that has it.
    pub fn user(self) -> Option<Id> {
        self.0.id_at("/properties/ipConfiguration/id").or_else(|| self.0.id_at("/properties/natGateway/id"))
    }
}

/// Whether a subnet is one of those whose names Azure decides about.
pub fn is_firewall_subnet(name: &str) -> bool {
    name.eq_ignore_ascii_case(FIREWALL_SUBNET) || name.eq_ignore_ascii_case(super::id::MANAGEMENT_SUBNET)
}

#[cfg(test)]
pub(super) fn read_everything(resource: &Resource) {
    let network = Network(resource);
    network.subnets().for_each(drop);
    let _ = (network.ranges().count(), network.name_servers().count(), network.is_peered_with(&resource.id));
    let _ = (Peering(resource).remote(), Peering(resource).is_connected(), super::peering::owner(resource));
    let firewall = Firewall(resource);
    let _ = (firewall.policy(), firewall.tier(), firewall.is_in_a_hub(), firewall.subnet(), firewall.addresses());
    let interface = Interface(resource);
    let _ = (interface.subnet(), interface.private_address(), interface.public_address(), interface.machine());
    let machine = Machine(resource);
    let _ = (
        machine.size(),
        machine.image(),
        machine.image_sku(),
        machine.interfaces(),
        machine.power(),
        machine.user_data(),
    );
    let _ = (Address(resource).ip(), Address(resource).user());
    for collection in firewall.nat_collections() {
        super::rules::nat_lines(collection);
    }
}
