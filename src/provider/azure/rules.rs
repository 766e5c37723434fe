//! Who may come in, where the machine may go, and both as Azure's rules; and rules as lines of a diff.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    observed::{list, text},
    tags::mark,
    views::range,
};
use crate::{
    changeset::Detail,
    plan::{Host, Plan, Target},
};

/// Ports on which a machine fetches its security updates, from mirrors whose addresses nobody publishes. Azure's own name
/// service, time and metadata pass no network security group ("Network security groups", Azure platform considerations).
pub(super) const UPDATE_PORTS: [u16; 2] = [80, 443];
/// The first rule's number; the lower one wins. 4096 is the highest that Azure takes: it stands before Azure's own rules, which
/// let the whole network in and everything out.
const FIRST: usize = 100;
const LAST: usize = 4096;

/// What each source is admitted for.
pub type Sources = BTreeMap<IpNet, String>;

pub fn sources(plan: &Plan) -> Sources {
    let tunnels = plan.tunnels.iter().flat_map(|tunnel| {
        tunnel.sources().map(move |(source, why)| (source, format!("tunnel {} ({why})", tunnel.user)))
    });
    let operators = plan.operators.iter().flat_map(|operator| {
        operator.allow_from.iter().map(move |source| (*source, format!("operator {}", operator.name)))
    });
    collect(tunnels.chain(operators))
}

/// A destination of the machine's own connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub to: Destination,
    pub port: u16,
    /// TCP otherwise.
    pub also_udp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    Net(IpNet),
    /// The service tag `Internet`.
    Internet,
}

impl Destination {
    pub(super) fn text(self) -> String {
        match self {
            Destination::Net(net) => net.to_string(),
            Destination::Internet => "Internet".to_owned(),
        }
    }
}

/// Everywhere the machine may go, and why. `name_servers` are the network's own, `near` its ranges and those of its peers.
pub fn egress(plan: &Plan, name_servers: impl Iterator<Item = IpAddr>, near: &[IpNet]) -> BTreeMap<Way, String> {
    let tcp = |to, port| Way { to, port, also_udp: false };
    let targets = plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets).flat_map(|target| {
        let why = format!("target {} {}:{}", target.name, target.host, target.port);
        destinations(target, near).into_iter().map(move |to| (tcp(Destination::Net(to), target.port), why.clone()))
    });
    let updates = UPDATE_PORTS.map(|port| (tcp(Destination::Internet, port), "security updates".to_owned()));
    let names = name_servers.map(|ip| {
        (Way { to: Destination::Net(ip.into()), port: 53, also_udp: true }, "the network's name server".to_owned())
    });
    collect(targets.chain(updates).chain(names))
}

/// Where a target is: its own address, the networks that the plan names, or anywhere in the machine's network and its peers. Not the
/// service tag `VirtualNetwork`, which means what gateways and routes lead to as well, "might also contain default routes" ("Azure service
/// tags"), and changes with them.
pub(super) fn destinations(target: &Target, near: &[IpNet]) -> Vec<IpNet> {
    let own = match target.host {
        Host::Address(address) => Some(address.into()),
        Host::Name(_) => None,
    };
    let known: Vec<IpNet> = own.into_iter().chain(target.networks.iter().copied()).collect();
    if known.is_empty() { near.iter().copied().filter(|net| net.addr().is_ipv4()).collect() } else { known }
}

/// One entry for what several ask for, with all their reasons.
fn collect<K: Ord>(entries: impl Iterator<Item = (K, String)>) -> BTreeMap<K, String> {
    let mut all = BTreeMap::<K, String>::new();
    for (key, why) in entries {
        let reasons = all.entry(key).or_default();
        if !reasons.split(", ").any(|known| known == why) {
            if !reasons.is_empty() {
                reasons.push_str(", ");
            }
            reasons.push_str(&why);
        }
    }
    all
}

/// The rules of the network security group: in on `port` from `admits`, out where `egress` says, nothing else.
pub fn security_rules<'a>(
    bastion: &str,
    port: u16,
    admits: impl Iterator<Item = &'a IpNet>,
    egress: &BTreeMap<Way, String>,
) -> Vec<Value> {
    let rule = |name: &str, why: &str, priority: usize, properties: Value| {
        let mut all = json!({
            "description": clip(&format!("{} {why}", mark(bastion))),
            "priority": priority,
            "sourcePortRange": "*",
        });
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), properties) {
            all.extend(more);
        }
        json!({"name": name, "properties": all})
    };
    let deny = |name: &str, direction: &str| {
        let all = json!({"direction": direction, "access": "Deny", "protocol": "*", "sourceAddressPrefix": "*",
            "destinationAddressPrefix": "*", "destinationPortRange": "*"});
        rule(name, "nothing else", LAST, all)
    };
    let admits: Vec<String> = admits.map(IpNet::to_string).collect();
    // Without a source there is no rule: Azure refuses an empty list.
    let ingress = (!admits.is_empty()).then(|| {
        let mut all = json!({"direction": "Inbound", "access": "Allow", "protocol": "Tcp",
            "destinationAddressPrefix": "*", "destinationPortRange": port.to_string()});
        // A list of one may come back as the single value, and would be a difference for ever.
        match admits.as_slice() {
            [one] => all["sourceAddressPrefix"] = json!(one),
            several => all["sourceAddressPrefixes"] = json!(several),
        }
        rule("ssh", "SSH", FIRST, all)
    });
    let egress = egress.iter().enumerate().map(|(i, (way, why))| {
        let to = way.to.text();
        let name = format!("to-{}-{}", to.replace(['/', ':'], "_"), way.port);
        let all = json!({"direction": "Outbound", "access": "Allow", "protocol": if way.also_udp { "*" } else { "Tcp" },
            "sourceAddressPrefix": "*", "destinationAddressPrefix": to, "destinationPortRange": way.port.to_string()});
        rule(&name, why, FIRST + i, all)
    });
    let denied = [deny("deny-inbound", "Inbound"), deny("deny-outbound", "Outbound")];
    ingress.into_iter().chain(egress).chain(denied).collect()
}

/// Azure takes 140 characters.
fn clip(text: &str) -> String {
    text.chars().take(140).collect()
}

/// One DNAT rule for all sources: a firewall has 250 for all its public addresses and destinations together ("Azure subscription and
/// service limits"), and each may have many sources. Only the listed sources match, so nobody else gets as far as the machine.
pub struct Nat<'a> {
    pub bastion: &'a str,
    pub name: &'a str,
    pub port: u16,
    pub sources: &'a Sources,
    /// The firewall's public address and the machine's own; null where they are not known yet.
    pub to: Value,
    pub machine: Value,
}

/// Where the two addresses stand in a rule collection group, and in a classic collection.
pub const GROUP_FILLS: [&str; 2] = [
    "/properties/ruleCollections/0/rules/0/destinationAddresses/0",
    "/properties/ruleCollections/0/rules/0/translatedAddress",
];
pub const CLASSIC_FILLS: [&str; 2] =
    ["/properties/rules/0/destinationAddresses/0", "/properties/rules/0/translatedAddress"];

impl Nat<'_> {
    fn rule(&self) -> Value {
        json!({
            "name": "ssh",
            "description": mark(self.bastion),
            "sourceAddresses": self.sources.keys().map(IpNet::to_string).collect::<Vec<_>>(),
            "destinationAddresses": [self.to],
            "destinationPorts": [self.port.to_string()],
            "translatedAddress": self.machine,
            "translatedPort": self.port.to_string(),
        })
    }

    /// A rule collection group's body.
    pub fn group(&self, priority: u32) -> Value {
        let mut rule = self.rule();
        rule["ruleType"] = json!("NatRule");
        rule["ipProtocols"] = json!(["TCP"]);
        json!({"properties": {"priority": priority, "ruleCollections": [{
            "ruleCollectionType": "FirewallPolicyNatRuleCollection", "name": self.name, "priority": FIRST,
            "action": {"type": "DNAT"}, "rules": [rule],
        }]}})
    }

    /// A classic collection.
    pub fn classic(&self, priority: u32) -> Value {
        let mut rule = self.rule();
        rule["protocols"] = json!(["TCP"]);
        json!({"name": self.name, "properties": {"priority": priority, "action": {"type": "Dnat"}, "rules": [rule]}})
    }
}

/// What rules open, a line for each pair of ports and peer; a value is what stands beside a line.
pub type Lines = BTreeMap<(String, String), String>;

/// The lines of network security rules that allow something.
pub fn security_lines(rules: &[Value]) -> Lines {
    let mut lines = Lines::new();
    for rule in rules.iter().filter(|r| text(r, "/properties/access").eq_ignore_ascii_case("allow")) {
        let inbound = text(rule, "/properties/direction").eq_ignore_ascii_case("inbound");
        let (way, word, peers) = if inbound { ("ingress", "from", "source") } else { ("egress", "to", "destination") };
        let all = |what: &str| several(rule, &format!("/properties/{what}"));
        let protocol = match text(rule, "/properties/protocol") {
            "*" => "any".to_owned(),
            protocol => protocol.to_lowercase(),
        };
        for port in several(rule, "/properties/destinationPortRange") {
            for peer in all(&format!("{peers}AddressPrefix")) {
                lines.insert((format!("{way} {protocol} {port}"), format!("{word} {}", net(&peer))), String::new());
            }
        }
    }
    lines
}

/// The lines of the DNAT rules in a rule collection group, a classic collection, or a single rule collection.
pub fn nat_lines(of: &Value) -> Lines {
    let mut lines = Lines::new();
    for rule in nat_rules(of) {
        let to = several(rule, "/destinationAddress").join(", ");
        let machine = format!("{}:{}", text(rule, "/translatedAddress"), text(rule, "/translatedPort"));
        for port in several(rule, "/destinationPort") {
            for source in several(rule, "/sourceAddress").into_iter().chain(several(rule, "/sourceIpGroup")) {
                lines.insert(
                    (format!("ingress tcp {port}"), format!("from {}", net(&source))),
                    format!("{to} to {machine}"),
                );
            }
        }
    }
    lines
}

pub fn nat_rules(of: &Value) -> impl Iterator<Item = &Value> {
    let collections = list(of, "/properties/ruleCollections").iter();
    let nat = collections.filter(|c| text(c, "/ruleCollectionType") == "FirewallPolicyNatRuleCollection");
    nat.flat_map(|c| list(c, "/rules")).chain(list(of, "/properties/rules"))
}

/// The words of `path` and of its plural: `sourceAddressPrefix` and `sourceAddressPrefixes`.
pub fn several(rule: &Value, path: &str) -> Vec<String> {
    let one = rule.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let many = ["s", "es"].map(|end| list(rule, &format!("{path}{end}")));
    let many = many.into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many).map(str::to_owned).collect()
}

fn net(text: &str) -> String {
    range(text)
        .map_or_else(|| if text == "*" { "everywhere".to_owned() } else { text.to_owned() }, |net| net.to_string())
}

/// From what is open to what shall be, in the order of removal before addition; `why` says what a new line is for.
pub fn line_details(want: &Lines, have: &Lines, why: impl Fn(&str, &str) -> Option<String>) -> Vec<Detail> {
    let removed =
        have.keys().filter(|line| !want.contains_key(*line)).map(|(name, value)| Detail::removed(name, value));
    let added = want.keys().filter(|line| !have.contains_key(*line)).map(|(name, value)| {
        let detail = Detail::added(name, value);
        match why(name, value) {
            Some(why) => detail.note(why),
            None => detail,
        }
    });
    removed.chain(added).collect()
}

impl Way {
    /// `10.9.0.0/16 tcp 5432`
    pub fn words(&self) -> String {
        format!("{} {} {}", self.to.text(), if self.also_udp { "any" } else { "tcp" }, self.port)
    }
}
