//! A firewall's rules as it asks them: DNAT rules come before all others; within a kind, rule collection groups, collections and
//! rules by priority, the lowest number first; a base policy's before its child's ("Configure Azure Firewall rules", rule
//! processing using Firewall Policy).
//!
//! Whether NAT rules are inherited, Microsoft's pages do not agree on: "Azure Firewall Manager policy overview" says that they are
//! not, the example of "Configure Azure Firewall rules" has inherited ones. So what an inherited one would do is unknown.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::security::{Around, Peers, ports};
use crate::provider::{
    azure::{
        id::{Id, Kind},
        observed::{Observed, Resource, list, text},
        rules::several,
        tags::is_marked,
        views::{Firewall, range},
    },
    space::Span,
};

/// What can lead a packet to a machine, or stop it: each kind in the order in which it is asked.
#[derive(Debug, Default)]
pub struct Rules<'a> {
    /// Of the firewall's own policy.
    pub nat: Vec<Rule<'a>>,
    /// Of the policies that it is based on.
    pub inherited_nat: Vec<Rule<'a>>,
    pub network: Vec<Rule<'a>>,
    pub application: Vec<Rule<'a>>,
    /// What could not be read of them.
    pub unread: Vec<String>,
}

#[derive(Debug)]
pub struct Rule<'a> {
    /// `the rule ssh of gangplank-warehouse in firewall policy fwp-hub`
    pub what: String,
    /// The one that gangplank writes.
    pub ours: bool,
    /// A NAT rule always does.
    pub allow: bool,
    pub sources: Peers,
    /// Of a network rule.
    to: Peers,
    raw: &'a Value,
}

impl<'a> Rules<'a> {
    pub fn read(seen: &'a Observed, firewall: &'a Resource, bastion: &str, our_name: &str) -> Self {
        let around = Around::of_groups(seen);
        let read = |collection: &'a Value, place: &str, our_place: bool| {
            let collection_name = text(collection, "/name").to_owned();
            let action = ["/action/type", "/properties/action/type"].map(|at| text(collection, at));
            let allow = !action.iter().any(|action| action.eq_ignore_ascii_case("deny"));
            let all = list(collection, "/rules").iter().chain(list(collection, "/properties/rules"));
            let (place, around) = (place.to_owned(), &around);
            all.map(move |raw| Rule {
                what: format!("the rule {} of {} in {place}", text(raw, "/name"), collection_name),
                ours: our_place && is_marked(text(raw, "/description"), bastion),
                allow,
                sources: Peers::read(raw, "/sourceAddress", "/sourceIpGroups", around),
                to: Peers::read(raw, "/destinationAddress", "/destinationIpGroups", around),
                raw,
            })
        };
        let mut rules = Self::default();
        for collection in by_priority(Firewall(firewall).nat_collections().iter()) {
            let ours = text(collection, "/name").eq_ignore_ascii_case(our_name);
            rules.nat.extend(read(collection, &firewall.words(), ours));
        }
        for collection in by_priority(firewall.list("/properties/networkRuleCollections").iter()) {
            rules.network.extend(read(collection, &firewall.words(), false));
        }
        for collection in by_priority(firewall.list("/properties/applicationRuleCollections").iter()) {
            rules.application.extend(read(collection, &firewall.words(), false));
        }
        let mut next = Firewall(firewall).policy();
        let mut inherited = false;
        let mut seen_policies: Vec<Id> = Vec::new();
        while let Some(id) = next.take().filter(|id| !seen_policies.contains(id)) {
            seen_policies.push(id.clone());
            let Some(policy) = seen.get(&id) else {
                rules
                    .unread
                    .push(format!("the rules of {} are not read: this subscription does not show it", id.name()));
                break;
            };
            let groups: Vec<&Resource> = seen.of_kind(Kind::RuleGroup).filter(|g| g.id.parent() == id).collect();
            for listed in policy.list("/properties/ruleCollectionGroups").iter().map(|g| Id::new(text(g, "/id"))) {
                if !groups.iter().any(|group| group.id == listed) {
                    rules.unread.push(format!("{} of {} is not read", listed.name(), policy.words()));
                }
            }
            let (mut network, mut application) = (Vec::new(), Vec::new());
            for group in by_priority(groups.iter().map(|g| &g.raw)) {
                let ours = text(group, "/name").eq_ignore_ascii_case(our_name);
                for collection in by_priority(list(group, "/properties/ruleCollections").iter()) {
                    let found = read(collection, &policy.words(), ours && !inherited);
                    if text(collection, "/ruleCollectionType") == "FirewallPolicyNatRuleCollection" {
                        if inherited { &mut rules.inherited_nat } else { &mut rules.nat }.extend(found);
                    } else {
                        let (of_network, others): (Vec<_>, Vec<_>) =
                            found.partition(|r| text(r.raw, "/ruleType") == "NetworkRule");
                        network.extend(of_network);
                        application.extend(others);
                    }
                }
            }
            // What is inherited comes first.
            network.append(&mut rules.network);
            application.append(&mut rules.application);
            (rules.network, rules.application) = (network, application);
            next = policy.id_at("/properties/basePolicy/id");
            inherited = true;
        }
        rules
    }
}

/// A collection's, or a group's.
fn by_priority<'a>(all: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = all.collect();
    let own = |raw: &Value| raw.get("priority").or_else(|| raw.pointer("/properties/priority")).and_then(Value::as_u64);
    all.sort_by_key(|raw| own(raw).unwrap_or(u64::MAX));
    all
}

impl Rule<'_> {
    /// Where a DNAT rule's packets are sent to before it changes them.
    pub fn destinations(&self) -> Vec<String> {
        several(self.raw, "/destinationAddress")
    }

    pub fn takes_port(&self, port: u16) -> bool {
        ports(self.raw, "/destinationPort").iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Whether a DNAT rule takes packets to this.
    pub fn takes(&self, address: IpAddr, port: u16) -> bool {
        let here = |text: &String| text == "*" || range(text).is_some_and(|net| net.contains(&address));
        self.is_tcp() && self.destinations().iter().any(here) && self.takes_port(port)
    }

    /// DNAT's.
    pub fn is_tcp(&self) -> bool {
        let protocols = list(self.raw, "/ipProtocols").iter().chain(list(self.raw, "/protocols"));
        protocols.filter_map(Value::as_str).any(|p| p.eq_ignore_ascii_case("tcp") || p.eq_ignore_ascii_case("any"))
    }

    /// Where a DNAT rule leads; `None` where it says a name.
    pub fn leads_to(&self) -> Option<IpAddr> {
        text(self.raw, "/translatedAddress").parse().ok()
    }

    pub fn leads_to_a_name(&self) -> bool {
        !text(self.raw, "/translatedFqdn").is_empty()
    }

    /// `10.60.1.4:22`
    pub fn translation(&self) -> String {
        let address = text(self.raw, "/translatedAddress");
        let address = if address.is_empty() { text(self.raw, "/translatedFqdn") } else { address };
        format!("{address}:{}", text(self.raw, "/translatedPort"))
    }

    pub fn translated_port(&self) -> Option<u16> {
        text(self.raw, "/translatedPort").parse().ok()
    }

    /// The ranges of a network rule's destinations that have this address in them, where it allows.
    pub fn allows_to(&self, address: IpAddr) -> Vec<IpNet> {
        self.to.nets.iter().copied().filter(|net| self.allow && net.contains(&address)).collect()
    }

    /// What a network rule is about: its destinations on its ports, as far as they are known.
    pub fn spans(&self) -> Vec<Span> {
        let ports = ports(self.raw, "/destinationPort");
        self.to.nets.iter().flat_map(|net| ports.iter().map(|ports| Span::ports(*net, *ports))).collect()
    }

    /// A service tag, a group that is not read, or a name.
    pub fn hides_destination(&self) -> bool {
        self.to.hidden().next().is_some() || !list(self.raw, "/destinationFqdns").is_empty()
    }

    /// The texts of one of its lists.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        list(self.raw, &format!("/{name}")).iter().filter_map(Value::as_str)
    }

    pub fn raw(&self) -> &Value {
        self.raw
    }
}
