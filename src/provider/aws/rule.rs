//! Security group rules as values: compared by what they open, whatever their description.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What one rule opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    pub protocol: Protocol,
    pub peer: Peer,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp {
        from: u16,
        to: u16,
    },
    /// EC2's `-1`: every protocol and port.
    All,
    /// Protocol and ports as EC2 gives them. Of these gangplank makes only UDP, to DNS servers.
    Other {
        name: String,
        from: Option<i32>,
        to: Option<i32>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Net(IpNet),
    Group(String),
    /// A group of another account, in a peered network: EC2 finds it together with its account only.
    ForeignGroup {
        account: String,
        group: String,
    },
    /// The bastion's own group, whose id is not known before it exists.
    Bastion,
    PrefixList(String),
}

impl Rule {
    pub fn tcp(port: u16, peer: Peer) -> Self {
        Self { protocol: Protocol::Tcp { from: port, to: port }, peer }
    }

    pub fn udp(port: u16, peer: Peer) -> Self {
        let port = Some(port.into());
        Self { protocol: Protocol::Other { name: "udp".to_owned(), from: port, to: port }, peer }
    }

    /// What EC2 adds to every new group: everything to everywhere.
    pub fn default_egress(ipv6: bool) -> Vec<Self> {
        let everywhere = |net: IpNet| Self { protocol: Protocol::All, peer: Peer::Net(net) };
        let v6 = ipv6.then(|| everywhere(ANY_V6));
        std::iter::once(everywhere(ANY_V4)).chain(v6).collect()
    }
}

pub const ANY_V4: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0));
pub const ANY_V6: IpNet = IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0));

/// Whose quota a rule counts in: EC2 counts the rules of each direction for IPv4 and for IPv6, and a rule whose peer is a group or
/// a prefix list in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Rules of groups stand with these.
    V4,
    V6,
}

impl Family {
    pub fn of(rule: &Rule) -> Self {
        if matches!(rule.peer, Peer::Net(IpNet::V6(_))) { Family::V6 } else { Family::V4 }
    }

    pub fn counts(self, rule: &Rule) -> bool {
        !matches!(rule.peer, Peer::Net(_)) || Self::of(rule) == self
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Tcp { from, to } if from == to => write!(f, "tcp {from}"),
            Protocol::Tcp { from, to } => write!(f, "tcp {from}-{to}"),
            Protocol::All => f.write_str("everything"),
            Protocol::Other { name, from: Some(from), to: Some(to) } if from == to => write!(f, "{name} {from}"),
            Protocol::Other { name, from: Some(from), to: Some(to) } => write!(f, "{name} {from}-{to}"),
            Protocol::Other { name, .. } => f.write_str(name),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Net(net) => net.fmt(f),
            Peer::Group(id) | Peer::PrefixList(id) => f.write_str(id),
            Peer::ForeignGroup { account, group } => write!(f, "{account}/{group}"),
            Peer::Bastion => f.write_str("the bastion"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }

    /// The word between a rule's ports and its peer.
    pub fn preposition(self) -> &'static str {
        match self {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }
}

/// Rules with what their description says: one description a rule.
pub type Rules = BTreeMap<Rule, String>;

/// A description that EC2 accepts: at most 255 of `a-zA-Z0-9 ._-:/()#,@[]+=&;{}!$*`.
pub fn description(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    text.chars().map(|c| if fits(c) { c } else { '_' }).take(255).collect()
}

/// Rules to add and rules to take away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleChange {
    pub add: Rules,
    pub remove: Rules,
}

impl RuleChange {
    pub fn between(want: &Rules, have: &Rules) -> Self {
        let missing = |from: &Rules, to: &Rules| {
            from.iter().filter(|(r, _)| !to.contains_key(r)).map(|(r, d)| (r.clone(), d.clone())).collect()
        };
        Self { add: missing(want, have), remove: missing(have, want) }
    }

    /// What is opened, and what is closed after that.
    pub fn split(self) -> (Self, Rules) {
        (Self { add: self.add, remove: Rules::new() }, self.remove)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(n: u8) -> Rule {
        Rule::tcp(22, Peer::Net(IpNet::new([10, 0, 0, n].into(), 32).expect("a host route")))
    }

    proptest! {
        #[test]
        fn applying_a_change_gives_what_is_wanted(want in proptest::collection::btree_set(0u8..20, 0..12), have in proptest::collection::btree_set(0u8..20, 0..12)) {
            let set = |numbers: &std::collections::BTreeSet<u8>| numbers.iter().map(|n| (rule(*n), String::new())).collect::<Rules>();
            let (want, mut have) = (set(&want), set(&have));
            let change = RuleChange::between(&want, &have);
            for rule in change.remove.keys() {
                prop_assert!(have.remove(rule).is_some());
            }
            for rule in change.add.keys() {
                prop_assert!(have.insert(rule.clone(), String::new()).is_none());
            }
            prop_assert_eq!(have, want);
        }

        #[test]
        fn a_description_is_always_accepted(text in any::<String>()) {
            let out = description(&text);
            prop_assert!(out.len() <= 255);
            let accepted = out.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-:/()#,@[]+=&;{}!$*".contains(&b));
            prop_assert!(accepted, "{}", out);
        }
    }
}
