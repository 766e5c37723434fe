//! What a network security group lets through: its rules are asked in the order of their priorities, the lowest number first, and
//! the first that matches decides ("Network security groups overview"). By arithmetic over IPv4 addresses and ports.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};
use serde_json::Value;

use crate::provider::{
    azure::{
        id::{Id, Kind},
        observed::{Observed, Resource, list, text},
        rules::several,
    },
    space::{Span, without},
};

pub const EVERYWHERE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
const EVERY_PORT: (u16, u16) = (0, u16::MAX);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    /// ICMP, ESP and AH. They have no ports.
    Other,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Other];
}

/// What words mean beside addresses: the service tags that a network gives their meaning, and IP groups.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// `VirtualNetwork`: the network, and those that are peered with it. What a gateway connects is not known.
    pub network: Vec<IpNet>,
    /// `Internet`: everything else.
    internet: Vec<IpNet>,
    /// The IP groups whose every address is known.
    groups: BTreeMap<Id, Vec<IpNet>>,
}

impl Around {
    pub fn new(network: Vec<IpNet>) -> Self {
        let network = IpNet::aggregate(&network);
        let inside: Vec<Span> = network.iter().map(|net| everything(*net)).collect();
        let internet = without([everything(EVERYWHERE)], &inside).into_iter().map(|span| span.net).collect();
        Self { network, internet, ..Self::default() }
    }

    /// For a firewall's rules, in which no service tag means a network.
    pub fn of_groups(seen: &Observed) -> Self {
        let read = |group: &Resource| {
            let words = group.list("/properties/ipAddresses").iter();
            let all: Option<Vec<Vec<IpNet>>> = words.map(|word| nets(word.as_str()?)).collect();
            Some((group.id.clone(), all?.concat()))
        };
        Self { groups: seen.of_kind(Kind::IpGroup).filter_map(read).collect(), ..Self::default() }
    }
}

pub fn everything(net: IpNet) -> Span {
    Span::ports(net, EVERY_PORT)
}

/// Who a rule is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers {
    pub nets: Vec<IpNet>,
    /// Service tags whose ranges are not known here: `the service tag Storage`.
    pub tags: Vec<String>,
    /// Application security groups, and IP groups that are not read: `the group office`.
    pub groups: Vec<String>,
    /// As it is written.
    said: Vec<String>,
}

impl Peers {
    /// `words` is where the addresses and tags stand, `groups` where groups do.
    pub fn read(rule: &Value, words: &str, groups: &str, around: &Around) -> Self {
        let mut peers = Self { said: several(rule, words), ..Self::default() };
        for word in &peers.said {
            match word.as_str() {
                "*" => peers.nets.push(EVERYWHERE),
                tag if tag.eq_ignore_ascii_case("any") => peers.nets.push(EVERYWHERE),
                tag if tag.eq_ignore_ascii_case("VirtualNetwork") => peers.nets.extend(&around.network),
                tag if tag.eq_ignore_ascii_case("Internet") => peers.nets.extend(&around.internet),
                word => match nets(word) {
                    Some(nets) => peers.nets.extend(nets),
                    None => peers.tags.push(format!("the service tag {word}")),
                },
            }
        }
        let objects = list(rule, groups).iter().map(|group| text(group, "/id"));
        let plain = list(rule, groups).iter().filter_map(Value::as_str);
        for id in objects.chain(plain).filter(|id| !id.is_empty()).map(Id::new) {
            let name = format!("the group {}", id.name());
            match around.groups.get(&id) {
                Some(nets) => peers.nets.extend(nets),
                None => peers.groups.push(name.clone()),
            }
            peers.said.push(name);
        }
        peers
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }

    /// Whose addresses are not known here.
    pub fn hidden(&self) -> impl Iterator<Item = &String> {
        self.tags.iter().chain(&self.groups)
    }

    pub fn words(&self) -> String {
        self.said.join(", ").replace('*', "everywhere")
    }
}

/// A range, an address, or the first and the last of some.
fn nets(word: &str) -> Option<Vec<IpNet>> {
    if let Some((first, last)) = word.split_once('-') {
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first <= last).then(|| Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect());
    }
    super::super::views::range(word).map(|net| vec![net.trunc()])
}

/// `22`, `1000-2000` or `*`.
pub fn ports(rule: &Value, words: &str) -> Vec<(u16, u16)> {
    let read = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    several(rule, words).iter().filter_map(|word| if word == "*" { Some(EVERY_PORT) } else { read(word) }).collect()
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// `tcp 22 from 10.60.0.0/26`
    pub said: String,
    priority: u64,
    pub allow: bool,
    protocol: Option<Protocol>,
    peers: Peers,
    ports: Vec<(u16, u16)>,
}

/// One group's rules for one direction, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// The bastion's own.
    pub own: bool,
    pub rules: Vec<Rule>,
}

/// What a rule decides about.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    pub span: Span,
    pub rule: &'a Rule,
    /// Whether it is about this depends on addresses that are not known here.
    pub perhaps: bool,
}

impl Group {
    /// The rules that are about the machine with the address `at`.
    pub fn read(resource: &Resource, bastion: &str, direction: Direction, at: IpAddr, around: &Around) -> Self {
        let stated = resource.list("/properties/securityRules");
        let mut rules: Vec<Rule> = stated.iter().filter_map(|raw| Rule::read(raw, direction, at, around)).collect();
        rules.extend(Rule::of_azure(direction, around));
        rules.sort_by_key(|rule| rule.priority);
        Self { name: resource.name().to_owned(), own: resource.is_owned(bastion), rules }
    }

    pub fn decide(&self, protocol: Protocol, wanted: Vec<Span>) -> Vec<Decision<'_>> {
        let (mut left, mut decided) = (wanted, Vec::new());
        for rule in self.rules.iter().filter(|rule| rule.protocol.is_none_or(|p| p == protocol)) {
            let over = |net: &IpNet| rule.ports.iter().map(|ports| Span::ports(*net, *ports)).collect::<Vec<_>>();
            let certain: Vec<Span> = rule.peers.nets.iter().flat_map(over).collect();
            let perhaps: Vec<Span> = if rule.peers.hidden().next().is_some() { over(&EVERYWHERE) } else { Vec::new() };
            for (spans, perhaps) in [(&certain, false), (&perhaps, true)] {
                let met = left.iter().flat_map(|want| spans.iter().filter_map(|span| want.overlap(span)));
                decided.extend(met.map(|span| Decision { span, rule, perhaps }));
            }
            left = without(left, &certain);
        }
        decided
    }
}

impl Rule {
    fn read(raw: &Value, direction: Direction, own: IpAddr, around: &Around) -> Option<Self> {
        let property = |name: &str| text(raw, &format!("/properties/{name}"));
        let (word, here, there, preposition) = match direction {
            Direction::In => ("inbound", "destination", "source", "from"),
            Direction::Out => ("outbound", "source", "destination", "to"),
        };
        if !property("direction").eq_ignore_ascii_case(word) {
            return None;
        }
        let read = |side: &str| {
            let at = |what: &str| format!("/properties/{side}{what}");
            Peers::read(raw, &at("AddressPrefix"), &at("ApplicationSecurityGroups"), around)
        };
        let (here, mut peers) = (read(here), read(there));
        if !here.contains(own) {
            // Whether the machine is among them is not known.
            here.hidden().next()?;
            peers.groups.extend(here.hidden().cloned());
            peers.nets.clear();
        }
        let protocol = match property("protocol").to_ascii_lowercase().as_str() {
            "*" => None,
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            _ => Some(Protocol::Other),
        };
        let mut ports = ports(raw, "/properties/destinationPortRange");
        if protocol == Some(Protocol::Other) {
            ports = vec![EVERY_PORT];
        }
        let said = match (protocol, ports.as_slice()) {
            (None, [EVERY_PORT]) => "everything".to_owned(),
            _ => {
                let port = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
                let protocol = if protocol.is_none() { "any".to_owned() } else { property("protocol").to_lowercase() };
                format!("{protocol} {}", ports.iter().map(port).collect::<Vec<_>>().join(","))
            }
        };
        Some(Self {
            name: text(raw, "/name").to_owned(),
            said: format!("{said} {preposition} {}", peers.words()),
            priority: raw.pointer("/properties/priority").and_then(Value::as_u64).unwrap_or(u64::MAX),
            allow: property("access").eq_ignore_ascii_case("allow"),
            protocol,
            peers,
            ports,
        })
    }

    /// Those that stand behind all others in every group ("Network security groups overview", default security rules).
    fn of_azure(direction: Direction, around: &Around) -> Vec<Self> {
        let rule = |name: &str, priority: u64, allow: bool, said: &str, nets: Vec<IpNet>, hidden: Option<&str>| Self {
            name: name.to_owned(),
            said: said.to_owned(),
            priority,
            allow,
            protocol: None,
            peers: Peers { nets, tags: hidden.map(str::to_owned).into_iter().collect(), ..Peers::default() },
            ports: vec![EVERY_PORT],
        };
        let network = around.network.clone();
        match direction {
            Direction::In => vec![
                rule("AllowVnetInBound", 65000, true, "everything from VirtualNetwork", network, None),
                rule(
                    "AllowAzureLoadBalancerInBound",
                    65001,
                    true,
                    "everything from AzureLoadBalancer",
                    Vec::new(),
                    Some("the service tag AzureLoadBalancer"),
                ),
                rule("DenyAllInBound", 65500, false, "everything from everywhere", vec![EVERYWHERE], None),
            ],
            Direction::Out => vec![
                rule("AllowVnetOutBound", 65000, true, "everything to VirtualNetwork", network, None),
                rule("AllowInternetOutBound", 65001, true, "everything to Internet", around.internet.clone(), None),
                rule("DenyAllOutBound", 65500, false, "everything to everywhere", vec![EVERYWHERE], None),
            ],
        }
    }
}

/// What stands in the way of a packet through several groups, all of which must let it through.
pub fn stops<'a>(groups: &'a [Group], protocol: Protocol, wanted: &[Span]) -> Vec<(&'a Group, Decision<'a>)> {
    let of = |group: &'a Group| group.decide(protocol, wanted.to_vec()).into_iter().map(move |d| (group, d));
    groups.iter().flat_map(of).filter(|(_, decision)| !decision.rule.allow).collect()
}

/// What several groups let through together, with the last one's rule that does; a rule whose peers are not known here counts as
/// open to all of them.
pub fn opens<'a>(groups: &'a [Group], protocol: Protocol) -> Vec<(&'a Group, Decision<'a>)> {
    let mut wanted = vec![everything(EVERYWHERE)];
    let mut open = Vec::new();
    for group in groups {
        open = group.decide(protocol, wanted).into_iter().filter(|d| d.rule.allow).map(|d| (group, d)).collect();
        wanted = open.iter().map(|(_, decision)| decision.span).collect();
    }
    open
}
