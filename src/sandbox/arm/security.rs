//! What a network security group lets through: the first of its rules, by priority, that a connection matches decides; Azure's own
//! stand behind all others ("Network security groups overview").

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use super::{
    World,
    kinds::parts_of,
    power::interfaces,
    read::default_rules,
    state::{Resource, whole},
};

/// A TCP connection that somebody opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub from: IpAddr,
    pub to: IpAddr,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

impl World {
    /// Whether the groups of a machine's subnet and interface, all of them, let it through; none where it has no group at all.
    pub(super) fn lets_through(&self, machine: &Resource, way: Direction, connection: Connection) -> Option<bool> {
        let interface = self.resources.get(interfaces(machine.body()).next()?.to_lowercase().as_str())?;
        let subnet = self.subnet_of(interface);
        let around = subnet.map(|subnet| self.around(subnet)).unwrap_or_default();
        let groups = [subnet, Some(interface)].into_iter().flatten().filter_map(|resource| {
            let id = resource.in_effect()?.pointer("/properties/networkSecurityGroup/id")?.as_str()?;
            self.resources.get(id.to_lowercase().as_str())
        });
        groups.map(|group| self.decides(group, way, connection, &around)).reduce(|all, one| all && one)
    }

    fn decides(&self, group: &Resource, way: Direction, connection: Connection, around: &[IpNet]) -> bool {
        let own = self.children(&group.id.to_lowercase()).filter_map(|(_, rule)| rule.in_effect().cloned());
        let azures = default_rules(&group.id);
        let mut rules: Vec<Value> = own.chain(azures.as_array().cloned().unwrap_or_default()).collect();
        rules.sort_by_key(|rule| rule.pointer("/properties/priority").and_then(Value::as_u64));
        let word = |rule: &Value, name: &str| {
            rule.pointer(&format!("/properties/{name}")).and_then(Value::as_str).unwrap_or_default().to_lowercase()
        };
        let direction = if way == Direction::Inbound { "inbound" } else { "outbound" };
        let decisive = rules.iter().find(|rule| {
            let properties = &rule["properties"];
            word(rule, "direction") == direction
                && matches!(word(rule, "protocol").as_str(), "*" | "tcp")
                && words(properties, ["sourceAddressPrefix", "sourceAddressPrefixes"])
                    .any(|text| is_among(connection.from, text, around))
                && words(properties, ["destinationAddressPrefix", "destinationAddressPrefixes"])
                    .any(|text| is_among(connection.to, text, around))
                && words(properties, ["destinationPortRange", "destinationPortRanges"])
                    .any(|text| has_port(text, connection.port))
                // A rule about certain ports of the caller's is about none that can be foreseen.
                && words(properties, ["sourcePortRange", "sourcePortRanges"]).any(|text| has_port(text, 0))
        });
        decisive.is_some_and(|rule| word(rule, "access") == "allow")
    }

    /// The subnet that an interface, or a firewall, is in.
    pub(super) fn subnet_of(&self, resource: &Resource) -> Option<&Resource> {
        let properties = resource.body().get("properties")?;
        let mut parts = parts_of(properties, "ipConfigurations");
        let id = parts.find_map(|part| part.pointer("/properties/subnet/id")?.as_str())?;
        self.resources.get(id.to_lowercase().as_str())
    }

    /// The service tag `VirtualNetwork` in a subnet: the ranges of its network and of those that are peered with it, and "address prefixes
    /// used on user-defined routes. This tag might also contain default routes" ("Virtual network service tags").
    fn around(&self, subnet: &Resource) -> Vec<IpNet> {
        let routed = self.routes(subnet).into_iter().filter_map(prefix);
        self.near(subnet).into_iter().chain(routed).collect()
    }

    /// The ranges of a subnet's network and of those that are peered with it.
    fn near(&self, subnet: &Resource) -> Vec<IpNet> {
        let networks = self.connected(subnet);
        let networks = networks.iter().filter_map(|key| self.resources.get(key));
        let spaces = networks.filter_map(|n| n.in_effect()?.pointer("/properties/addressSpace/addressPrefixes"));
        let texts = spaces.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        texts.filter_map(|text| text.parse().ok()).collect()
    }

    fn routes(&self, subnet: &Resource) -> Vec<&Value> {
        let table = subnet.in_effect().and_then(|s| s.pointer("/properties/routeTable/id")?.as_str());
        let table = table.and_then(|id| self.resources.get(id.to_lowercase().as_str()));
        let routes = table.and_then(|t| t.in_effect()?.pointer("/properties/routes")?.as_array());
        routes.into_iter().flatten().collect()
    }

    /// Whether anything leads from a subnet to an address: to a private one its network, a peering, or a route to something else, which
    /// is taken to know the way. "Traffic to these prefixes is dropped" otherwise ("Virtual network traffic routing", 10.0.0.0/8 and
    /// the like have the next hop None).
    pub(super) fn leads(&self, subnet: &Resource, to: IpAddr) -> bool {
        let private = PRIVATE.iter().filter_map(|net| net.parse::<IpNet>().ok()).any(|net| net.contains(&to));
        let through = |route: &&Value| {
            let hop = route.pointer("/properties/nextHopType").and_then(Value::as_str).unwrap_or_default();
            matches!(hop, "VirtualAppliance" | "VirtualNetworkGateway")
        };
        let mut routed = self.routes(subnet).into_iter().filter(through).filter_map(prefix);
        !private || self.near(subnet).iter().any(|net| net.contains(&to)) || routed.any(|net| net.contains(&to))
    }

    /// The networks that a subnet's connections reach: its own, and those with which each has a peering to the other.
    pub(super) fn connected(&self, subnet: &Resource) -> BTreeSet<String> {
        let own = whole(&subnet.id).to_lowercase();
        let mut all: BTreeSet<String> = self.peers(&own).collect();
        all.insert(own);
        all
    }
}

/// "Virtual network traffic routing", default routes.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

fn prefix(route: &Value) -> Option<IpNet> {
    route.pointer("/properties/addressPrefix")?.as_str()?.parse().ok()
}

/// What stands under some names: texts, or lists of texts.
pub(super) fn words<'a>(value: &'a Value, names: [&str; 2]) -> impl Iterator<Item = &'a str> + use<'a> {
    let found = names.map(|name| value.get(name)).into_iter().flatten();
    let each = found.flat_map(|found| match found {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    });
    each.filter_map(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether an address is what a rule calls so. `around` is what `VirtualNetwork` means; of Azure's other service tags, whose ranges
/// change every week, none is known, and nobody is in them.
pub(super) fn is_among(address: IpAddr, text: &str, around: &[IpNet]) -> bool {
    let near = || around.iter().any(|net| net.contains(&address));
    match text.to_ascii_lowercase().as_str() {
        "*" | "any" | "0.0.0.0/0" => true,
        "virtualnetwork" => near(),
        "internet" => !near(),
        text => {
            if let Some((first, last)) = text.split_once('-') {
                let ends: (Result<IpAddr, _>, Result<IpAddr, _>) = (first.trim().parse(), last.trim().parse());
                return matches!(ends, (Ok(first), Ok(last)) if (first..=last).contains(&address));
            }
            let net: Option<IpNet> = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
            net.is_some_and(|net| net.contains(&address))
        }
    }
}

/// `22`, `1000-2000` or `*`
pub(super) fn has_port(text: &str, port: u16) -> bool {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    text == "*" || matches!((first.trim().parse(), last.trim().parse()), (Ok(a), Ok(b)) if (a..=b).contains(&port))
}
