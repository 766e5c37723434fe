//! A plan as EC2 resources: what must be there, without looking at what is.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    keys,
    prefix_list::{PrefixLists, peer_words},
    rule::{ANY_V4, Direction, Peer, Rule, Rules, description},
};
use crate::{
    changeset::{self, Detail, Exposure},
    cloudinit::UserData,
    plan::{Aws, AwsImage, DatabaseAccess, Host, Plan, SubnetRef, Target},
    provider::boot::boot_text,
    tags::{self, Tags, deadline::ResolvedDeadline},
};

/// Ports on which a machine fetches its security updates, from mirrors whose addresses nobody publishes. Name resolution,
/// time and metadata of EC2 pass no security group; what its network's DHCP options name instead, `name_servers` adds.
const UPDATE_PORTS: [u16; 2] = [80, 443];

/// One bastion as its plan wants it.
#[derive(Clone, Debug)]
pub struct Desired<'a> {
    pub plan: &'a Plan,
    pub aws: &'a Aws,
    pub user_data: &'a UserData,
    pub ingress: Rules,
    pub egress: Rules,
    /// Database group → the rules in it that let the bastion in; their peer is [`Peer::Bastion`].
    pub database: BTreeMap<&'a str, Rules>,
}

impl<'a> Desired<'a> {
    pub fn new(plan: &'a Plan, aws: &'a Aws, user_data: &'a UserData) -> Self {
        Self { plan, aws, user_data, ingress: ingress(plan), egress: egress(plan, aws), database: database(plan, aws) }
    }

    pub fn bastion(&self) -> &'a str {
        self.plan.name.as_str()
    }

    /// The same with ways out that its network needs.
    pub fn with_egress(&self, more: Rules) -> Self {
        let mut want = self.clone();
        for (rule, why) in more {
            // A plan may have a target there: one rule then serves both.
            want.egress.entry(rule).or_insert(why);
        }
        want
    }

    pub fn tags(&self, deadline: Option<&ResolvedDeadline>) -> Tags {
        tags::common(&self.plan.name, &self.plan.tags, deadline)
    }

    /// The instance's tags: the common ones, what keeps its image, subnet and document recognisable, and live keys.
    pub fn instance_tags(&self, deadline: Option<&ResolvedDeadline>) -> Tags {
        let mut tags = self.tags(deadline);
        tags.insert(tags::IMAGE.to_owned(), image_text(&self.aws.image));
        tags.insert(tags::SUBNET.to_owned(), subnet_tag(&self.aws.subnet));
        tags.insert(tags::BOOT.to_owned(), boot_text(self.user_data));
        tags.extend(keys::tags(self.plan));
        tags
    }

    /// Who reaches what when the plan is fulfilled. `address` is the bastion's, as far as it is known.
    pub fn exposure(&self, address: &str, lists: &PrefixLists) -> Vec<Exposure> {
        let port = self.plan.ssh.port;
        let inbound = self.ingress.iter().map(|(rule, why)| Exposure {
            direction: changeset::Direction::Inbound,
            from: peer_words(lists, &rule.peer),
            to: format!("tcp {port} on {address}"),
            why: why.clone(),
        });
        let tunnels = self.plan.tunnels.iter().flat_map(|tunnel| {
            tunnel.targets.iter().map(|target| Exposure {
                direction: changeset::Direction::Tunnel,
                from: format!("user {}", tunnel.user),
                to: format!("{}:{}", target.host, target.port),
                why: match tunnel.keys.len() {
                    0 => format!("target {}; closed until the tunnel has a key", target.name),
                    1 => format!("target {}, 1 key", target.name),
                    n => format!("target {}, {n} keys", target.name),
                },
            })
        });
        let operators = self.plan.operators.iter().map(|operator| Exposure {
            direction: changeset::Direction::Tunnel,
            from: format!("user {}", operator.name),
            to: "every target above".to_owned(),
            why: "operator".to_owned(),
        });
        let outbound = self.egress.iter().map(|(rule, why)| Exposure {
            direction: changeset::Direction::Outbound,
            from: "the machine".to_owned(),
            to: format!("{} {}", rule.peer, rule.protocol),
            why: why.clone(),
        });
        inbound.chain(tunnels).chain(operators).chain(outbound).collect()
    }
}

pub fn image_text(image: &AwsImage) -> String {
    match image {
        AwsImage::Alias(alias) => alias.as_str().to_owned(),
        AwsImage::Id(id) => id.clone(),
    }
}

pub fn subnet_text(subnet: &SubnetRef) -> String {
    match subnet {
        SubnetRef::Id(id) => id.clone(),
        SubnetRef::Tag { key, value } => format!("{key}={value}"),
    }
}

/// What the plan calls the subnet, as a tag's value: EC2 takes 256 characters, and a tag's key and value together may have more.
pub fn subnet_tag(subnet: &SubnetRef) -> String {
    let text = subnet_text(subnet);
    if text.chars().count() <= 256 {
        return text;
    }
    let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digest}")
}

pub(super) fn ingress(plan: &Plan) -> Rules {
    let tunnels = plan.tunnels.iter().flat_map(|tunnel| {
        tunnel.sources().map(move |(source, why)| (source, format!("tunnel {} ({why})", tunnel.user)))
    });
    let operators = plan
        .operators
        .iter()
        .flat_map(|operator| operator.allow_from.iter().map(move |s| (*s, format!("operator {}", operator.name))));
    let nets = tunnels.chain(operators).map(|(source, why)| (Peer::Net(source), why));
    let of_tunnels = plan.tunnels.iter().flat_map(|tunnel| {
        plan.prefix_lists_of(&tunnel.user).map(move |list| (list, format!("tunnel {} (allow_from)", tunnel.user)))
    });
    let of_operators = plan.operators.iter().flat_map(|operator| {
        plan.prefix_lists_of(&operator.name).map(move |list| (list, format!("operator {}", operator.name)))
    });
    let lists = of_tunnels.chain(of_operators).map(|(list, why)| (Peer::PrefixList(list.id.clone()), why));
    collect(nets.chain(lists).map(|(peer, why)| (Rule::tcp(plan.ssh.port, peer), why)))
}

pub(super) fn egress(plan: &Plan, aws: &Aws) -> Rules {
    let targets = plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets).flat_map(|target| {
        let why = format!("target {} {}:{}", target.name, target.host, target.port);
        peers(target, aws).into_iter().map(move |peer| (Rule::tcp(target.port, peer), why.clone()))
    });
    let updates = updates().map(|rule| (rule, "security updates".to_owned()));
    collect(targets.chain(updates))
}

pub(super) fn updates() -> [Rule; 2] {
    UPDATE_PORTS.map(|port| Rule::tcp(port, Peer::Net(ANY_V4)))
}

/// Where a target is: its own address, the networks that the plan names, or the database groups that open its port.
pub(super) fn peers(target: &Target, aws: &Aws) -> Vec<Peer> {
    let networks = target.networks.iter().copied();
    let own = match target.host {
        Host::Address(address) => Some(address.into()),
        Host::Name(_) => None,
    };
    let known: Vec<Peer> = own.into_iter().chain(networks).map(Peer::Net).collect();
    if !known.is_empty() {
        return known;
    }
    let opens = aws.database_access.iter().filter(|access| access.port == target.port);
    opens.map(database_peer).collect()
}

fn database_peer(access: &DatabaseAccess) -> Peer {
    let group = access.security_group.clone();
    match &access.account {
        None => Peer::Group(group),
        Some(account) => Peer::ForeignGroup { account: account.clone(), group },
    }
}

pub(super) fn database<'a>(plan: &Plan, aws: &'a Aws) -> BTreeMap<&'a str, Rules> {
    let mut groups: BTreeMap<&str, Rules> = BTreeMap::new();
    for access in aws.database_access.iter().filter(|access| access.account.is_none()) {
        let note = format!("{}port {}", database_mark(plan.name.as_str()), access.port);
        let rules = groups.entry(access.security_group.as_str()).or_default();
        rules.insert(Rule::tcp(access.port, Peer::Bastion), description(&note));
    }
    groups
}

/// How the description of a rule in somebody else's group begins when the rule is this bastion's.
pub fn database_mark(bastion: &str) -> String {
    format!("gangplank:{bastion} ")
}

/// One rule for what several ask for, with all their reasons.
fn collect(rules: impl Iterator<Item = (Rule, String)>) -> Rules {
    let mut all = Rules::new();
    for (rule, why) in rules {
        let reasons = all.entry(rule).or_default();
        if !reasons.split(", ").any(|known| known == why) {
            if !reasons.is_empty() {
                reasons.push_str(", ");
            }
            reasons.push_str(&why);
        }
    }
    for reasons in all.values_mut() {
        *reasons = description(reasons);
    }
    all
}

/// A rule as a line of a diff: `ingress tcp 22` and `from 35.175.75.15/32`.
pub fn rule_added(direction: Direction, rule: &Rule) -> Detail {
    let (name, value) = rule_words(direction, rule);
    Detail::added(name, value)
}

pub fn rule_removed(direction: Direction, rule: &Rule) -> Detail {
    let (name, value) = rule_words(direction, rule);
    Detail::removed(name, value)
}

pub fn rule_words(direction: Direction, rule: &Rule) -> (String, String) {
    (format!("{} {}", direction.as_str(), rule.protocol), format!("{} {}", direction.preposition(), rule.peer))
}
