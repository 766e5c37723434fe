//! Who gets through to whom: route tables, network ACLs and security groups, for TCP.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use super::{
    model::{Interface, Peer, Region, State},
    world::World,
};
use crate::sandbox::vm::Way;

/// Where answers go: some port that a client's system picks ("Ephemeral ports" in the Amazon VPC User Guide).
const EPHEMERAL: u16 = 49_152;

impl World {
    /// Where a connection to `to` ends: at the instance that an elastic address leads to or, for one that comes from within a
    /// network, at the private address there.
    pub fn way(&self, now: Timestamp, from: IpAddr, to: SocketAddr) -> Way {
        let vm = self
            .regions
            .values()
            .find_map(|region| region.outside(now, from, to).or_else(|| region.inside(now, from, to)));
        vm.map_or(Way::Silent, |vm| Way::Machine { vm, port: to.port(), source: from })
    }

    /// Whether a connection that a machine opens gets to `to`: its own groups let it out and, where `to` is an interface of
    /// its network or an elastic address of this account, that one's let it in.
    pub fn reaches(&self, vm: &str, to: IpAddr, port: u16) -> bool {
        let found = self.regions.values().find_map(|region| Some((region, region.main_interface(vm)?)));
        let Some((region, (id, own))) = found else { return false };
        let Some(subnet) = region.subnets.get(&own.subnet) else { return false };
        if region.vpcs.get(&subnet.vpc).is_some_and(|vpc| contains(vpc.cidr, to)) {
            let Some((_, other)) = region.interface_at(&subnet.vpc, to) else { return false };
            return region.passes(own, other, port);
        }
        let here = |vpc: &&String| region.vpcs.get(*vpc).is_some_and(|vpc| contains(vpc.cidr, to));
        if let Some(there) = region.vpcs.keys().filter(|vpc| region.is_peered(&subnet.vpc, vpc)).find(here) {
            let Some((_, other)) = region.interface_at(there, to) else { return false };
            return region.leads_over(&own.subnet, to)
                && region.leads_over(&other.subnet, own.ip.into())
                && region.passes(own, other, port);
        }
        let Some((_, address)) = region.address_of(id) else { return false };
        let out = region.lets(own, true, to, port, None)
            && region.filters(&own.subnet, true, to, port)
            && region.filters(&own.subnet, false, to, EPHEMERAL)
            && region.leads_out(&own.subnet, to)
            && !region.is_blocked(&own.subnet, false);
        let target = self.regions.values().find_map(|other| Some((other, other.public(to)?)));
        out && target.is_none_or(|(other, (_, interface))| other.admits(interface, IpAddr::V4(address.ip), port))
    }
}

impl Region {
    /// The interface that an elastic address leads to.
    fn public(&self, ip: IpAddr) -> Option<(&String, &Interface)> {
        let address = self.addresses.values().find(|a| IpAddr::V4(a.ip) == ip)?;
        self.interfaces.get_key_value(&address.association.as_ref()?.interface)
    }

    fn outside(&self, now: Timestamp, from: IpAddr, to: SocketAddr) -> Option<String> {
        let (_, interface) = self.public(to.ip())?;
        self.admits(interface, from, to.port()).then(|| self.machine(now, interface)).flatten()
    }

    fn inside(&self, now: Timestamp, from: IpAddr, to: SocketAddr) -> Option<String> {
        self.vpcs.keys().find_map(|vpc| {
            let (_, source) = self.interface_at(vpc, from)?;
            let (_, interface) = self.interface_at(vpc, to.ip())?;
            self.passes(source, interface, to.port()).then(|| self.machine(now, interface)).flatten()
        })
    }

    fn machine(&self, now: Timestamp, interface: &Interface) -> Option<String> {
        let id = &interface.attachment.as_ref()?.instance;
        (self.instances.get(id)?.state(now) == State::Running).then(|| id.clone())
    }

    /// From outside the network to an interface.
    fn admits(&self, to: &Interface, from: IpAddr, port: u16) -> bool {
        self.lets(to, false, from, port, None)
            && self.filters(&to.subnet, false, from, port)
            && self.filters(&to.subnet, true, from, EPHEMERAL)
            && self.leads_out(&to.subnet, from)
            && !self.is_blocked(&to.subnet, true)
    }

    /// Within one network.
    fn passes(&self, from: &Interface, to: &Interface, port: u16) -> bool {
        let (source, target) = (IpAddr::V4(from.ip), IpAddr::V4(to.ip));
        // A network ACL stands at the border of its subnets.
        let border = from.subnet == to.subnet
            || (self.filters(&from.subnet, true, target, port)
                && self.filters(&from.subnet, false, target, EPHEMERAL)
                && self.filters(&to.subnet, false, source, port)
                && self.filters(&to.subnet, true, source, EPHEMERAL));
        border && self.lets(from, true, target, port, Some(to)) && self.lets(to, false, source, port, Some(from))
    }

    /// Whether any rule of an interface's groups lets TCP through in a direction.
    fn lets(&self, interface: &Interface, egress: bool, peer: IpAddr, port: u16, other: Option<&Interface>) -> bool {
        self.opens("tcp", interface, egress, (peer, port), other)
    }

    /// Whether an interface's groups let questions for names out to a server.
    pub(super) fn asks(&self, interface: &Interface, vpc: &str, server: IpAddr) -> bool {
        let other = self.interface_at(vpc, server).map(|(_, other)| other);
        self.opens("udp", interface, true, (server, 53), other)
    }

    fn opens(
        &self,
        protocol: &str,
        interface: &Interface,
        egress: bool,
        (peer, port): (IpAddr, u16),
        other: Option<&Interface>,
    ) -> bool {
        let rules = interface.groups.iter().filter_map(|id| self.groups.get(id)).flat_map(|g| g.rules.values());
        rules.map(|rule| &rule.opens).filter(|opens| opens.egress == egress).any(|opens| {
            let traffic = match (opens.protocol.as_str(), opens.range) {
                ("-1", _) => true,
                (known, Some((from, to))) => known == protocol && (from..=to).contains(&i32::from(port)),
                _ => false,
            };
            let whom = match &opens.peer {
                Peer::Net(net) => net.contains(&peer),
                Peer::Group(id) => other.is_some_and(|other| other.groups.contains(id)),
                Peer::PrefixList(id) => {
                    self.prefix_lists.get(id).is_some_and(|list| list.entries.keys().any(|net| net.contains(&peer)))
                }
                Peer::ForeignGroup(..) => false,
            };
            traffic && whom
        })
    }

    /// What a subnet's network ACL says of TCP to or from `peer`; `port` is the receiver's.
    fn filters(&self, subnet: &str, egress: bool, peer: IpAddr, port: u16) -> bool {
        let Some((_, acl)) = self.acl_of(subnet) else { return true };
        let fits = acl.entries.iter().filter(|e| {
            e.egress == egress
                && matches!(e.protocol.as_str(), "-1" | "6")
                && e.net.contains(&peer)
                && (e.protocol == "-1" || e.ports.is_none_or(|(from, to)| (from..=to).contains(&port)))
        });
        fits.min_by_key(|e| e.number).is_some_and(|e| e.allow)
    }

    /// Whether the narrowest route of a subnet that holds `to` leads to an internet gateway.
    fn leads_out(&self, subnet: &str, to: IpAddr) -> bool {
        self.leads(subnet, to, "igw-")
    }

    /// Likewise to a peering connection.
    fn leads_over(&self, subnet: &str, to: IpAddr) -> bool {
        self.leads(subnet, to, "pcx-")
    }

    fn leads(&self, subnet: &str, to: IpAddr, kind: &str) -> bool {
        let Some((_, table)) = self.route_table_of(subnet) else { return false };
        let fits = table.routes.iter().filter(|route| route.to.contains(&to));
        let narrowest = fits.max_by_key(|route| route.to.prefix_len());
        narrowest.is_some_and(|route| route.gateway.starts_with(kind) && self.is_active(table, route))
    }
}

fn contains(net: ipnet::Ipv4Net, ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if net.contains(&ip))
}
