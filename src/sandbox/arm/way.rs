//! Where connections end: through a firewall or a public address to a machine, and from a machine outwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    World,
    kinds::{NETWORKS, parts_of},
    power::{MACHINES, Power, interfaces},
    security::{Connection, Direction, has_port, is_among, words},
    state::{Resource, whole},
};
use crate::sandbox::vm::Way;

const FIREWALLS: &str = "Microsoft.Network/azureFirewalls";
/// Metadata, and Azure's own name service: no network security group stands before them ("Network security groups overview",
/// Azure platform considerations).
const PLATFORM: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16))];

impl World {
    /// Where a TCP connection from the internet ends.
    pub fn way(&self, now: Timestamp, from: IpAddr, to: SocketAddr) -> Way {
        self.at(now).find_way(from, to).unwrap_or(Way::Silent)
    }

    fn find_way(&self, from: IpAddr, to: SocketAddr) -> Option<Way> {
        let (key, address) = self.resources.iter().find(|(_, resource)| {
            resource.kind.path == "Microsoft.Network/publicIPAddresses"
                && resource.body().pointer("/properties/ipAddress").and_then(Value::as_str).and_then(|a| a.parse().ok())
                    == Some(to.ip())
        })?;
        let user = self.users(key).into_iter().next()?.to_lowercase();
        let holder = self.resources.get(whole(&user))?;
        if holder.kind.path == FIREWALLS {
            let (inside, at) = self.translated(holder, from, to)?;
            let source = front(holder)?;
            let subnet = self.subnet_of(holder)?;
            let networks = self.connected(subnet);
            let near = |interface: &Resource| {
                self.subnet_of(interface).is_some_and(|s| networks.contains(&whole(&s.id).to_lowercase()))
            };
            let (vm, machine) =
                self.machine_at(|interface| near(interface) && address_of(interface) == Some(inside))?;
            let connection = Connection { from: source, to: inside, port: at };
            let open = self.lets_through(machine, Direction::Inbound, connection).unwrap_or(true);
            return open.then(|| Way::Machine { vm: vm.to_owned(), port: at, source });
        }
        let (vm, machine) = self.machine_at(|interface| std::ptr::eq(interface, holder))?;
        let connection = Connection { from, to: address_of(holder)?, port: to.port() };
        // A Standard address admits nobody until a group says so ("Public IP addresses", SKU).
        let standard = address.body().pointer("/sku/name").is_some_and(|sku| sku == "Standard");
        let open = self.lets_through(machine, Direction::Inbound, connection).unwrap_or(!standard);
        open.then(|| Way::Machine { vm: vm.to_owned(), port: to.port(), source: from })
    }

    /// Whether a machine's connection finds its way: something leads to the address, and the network security groups let it through.
    /// What is at its other end is not asked.
    pub fn reaches(&self, vm: &str, to: IpAddr, port: u16) -> bool {
        let machine = self.resources.get(vm.to_lowercase().as_str()).filter(|r| r.kind.path == MACHINES);
        let Some((machine, from)) = machine.and_then(|machine| Some((machine, self.address_of(machine)?))) else {
            return false;
        };
        let open = || self.lets_through(machine, Direction::Outbound, Connection { from, to, port });
        let interface = interfaces(machine.body()).next().and_then(|id| self.resources.get(&id.to_lowercase()));
        let leads = || interface.and_then(|i| self.subnet_of(i)).is_some_and(|subnet| self.leads(subnet, to));
        PLATFORM.contains(&to) || (leads() && open().unwrap_or(true))
    }

    /// Whether an address is in one of the networks.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let networks = self.resources.values().filter(|r| r.kind.path == NETWORKS);
        let spaces = networks.filter_map(|n| n.body().pointer("/properties/addressSpace/addressPrefixes")?.as_array());
        let mut nets = spaces.flatten().filter_map(|text| text.as_str()?.parse::<IpNet>().ok());
        nets.any(|net| net.contains(&address))
    }

    /// The running machine whose interface is the one.
    fn machine_at(&self, is_it: impl Fn(&Resource) -> bool) -> Option<(&str, &Resource)> {
        let (vm, machine) = self.resources.iter().find(|(_, resource)| {
            resource.kind.path == MACHINES
                && interfaces(resource.body()).any(|id| self.resources.get(&id.to_lowercase()).is_some_and(&is_it))
        })?;
        let running = machine.machine.as_ref().is_some_and(|machine| machine.power() == Power::Running);
        running.then_some((vm.as_str(), machine))
    }

    /// Where a firewall's DNAT rules lead it: its classic ones, or its policy's, collection by collection in the order of their
    /// priorities ("Azure Firewall rule processing logic"). A base policy's DNAT rules are not inherited ("Azure Firewall Manager
    /// policy overview", hierarchical policies).
    fn translated(&self, firewall: &Resource, from: IpAddr, to: SocketAddr) -> Option<(IpAddr, u16)> {
        let properties = firewall.in_effect()?.get("properties")?;
        let policy = properties.pointer("/firewallPolicy/id").and_then(Value::as_str);
        let Some(policy) = policy else {
            let collections = by_priority(parts_of(properties, "natRuleCollections"));
            return collections.into_iter().find_map(|collection| leads(collection.get("properties")?, from, to));
        };
        let groups = by_priority(self.children(&policy.to_lowercase()).filter_map(|(_, group)| group.in_effect()));
        groups.into_iter().find_map(|group| {
            let collections = by_priority(parts_of(group.get("properties")?, "ruleCollections"));
            let mut nat =
                collections.into_iter().filter(|c| c["ruleCollectionType"] == "FirewallPolicyNatRuleCollection");
            nat.find_map(|collection| leads(collection, from, to))
        })
    }
}

/// Where the first matching rule of a collection leads. Addresses in IP groups are not known, and match nobody.
fn leads(collection: &Value, from: IpAddr, to: SocketAddr) -> Option<(IpAddr, u16)> {
    let rule = parts_of(collection, "rules").find(|rule| {
        words(rule, ["ipProtocols", "protocols"])
            .any(|p| p.eq_ignore_ascii_case("tcp") || p.eq_ignore_ascii_case("any"))
            && words(rule, ["sourceAddresses", "sourceAddress"]).any(|text| is_among(from, text, &[]))
            && words(rule, ["destinationAddresses", "destinationAddress"]).any(|text| is_among(to.ip(), text, &[]))
            && words(rule, ["destinationPorts", "destinationPort"]).any(|text| has_port(text, to.port()))
    })?;
    let text = |name: &str| rule.get(name).and_then(Value::as_str);
    Some((text("translatedAddress")?.parse().ok()?, text("translatedPort")?.parse().ok()?))
}

fn by_priority<'a>(all: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = all.collect();
    let own = |raw: &Value| raw.get("priority").or_else(|| raw.pointer("/properties/priority")).and_then(Value::as_u64);
    all.sort_by_key(|raw| own(raw).unwrap_or(u64::MAX));
    all
}

/// The address that a firewall puts in the place of the caller's ("Azure Firewall NAT behaviors": one of its own). Ours has one.
fn front(firewall: &Resource) -> Option<IpAddr> {
    let properties = firewall.in_effect()?.get("properties")?;
    let mut parts = parts_of(properties, "ipConfigurations");
    parts.find_map(|part| part.pointer("/properties/privateIPAddress")?.as_str()?.parse().ok())
}

fn address_of(interface: &Resource) -> Option<IpAddr> {
    interface.body().pointer("/properties/ipConfigurations/0/properties/privateIPAddress")?.as_str()?.parse().ok()
}
