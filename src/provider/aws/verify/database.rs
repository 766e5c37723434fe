//! The databases' own groups: they admit the bastion by reference to its group, on the plan's port.

use std::collections::BTreeSet;

use super::{Scene, check, fail, judged, space::tcp_ports};
use crate::{
    plan::{DatabaseAccess, is_wide},
    provider::aws::{
        desire::{self, database_mark},
        judging::Known,
        observed::Group,
        region,
        rule::{Peer, Protocol, Rule},
    },
    verify::{Check, Part, Verdict},
};

/// One check for each `database_access` of the plan.
pub fn checks(scene: &Scene<'_>) -> Vec<Check> {
    let mut groups = BTreeSet::new();
    // Another account's group is not shown to this one: whether it lets the bastion in, the machine finds out.
    let all = scene.aws.database_access.iter().filter(|access| access.account.is_none());
    all.map(|access| database(scene, access, groups.insert(&access.security_group))).collect()
}

/// What is too much in a group is said once, at its `first` check.
fn database(scene: &Scene<'_>, access: &DatabaseAccess, first: bool) -> Check {
    let DatabaseAccess { security_group: id, port, .. } = access;
    let targets = scene.plan.tunnels.iter().flat_map(|tunnel| &tunnel.targets);
    let part =
        targets.filter(|t| t.port == *port).map(|t| Part::Target(t.name.clone())).next().unwrap_or(Part::Bastion);
    let proves = format!(
        "{id} lets the bastion's group in on tcp {port}, holds no other rule of this bastion, and is not open to the internet \
         there"
    );
    judged(check("control.database-group", part, proves).about(format!("{id} {port}")), |check| {
        let Some(group) = scene.evidence.seen.group(id) else {
            return Ok(fail(
                format!("the region has no security group {id}"),
                "name the group of the database itself in `aws.database_access`",
            ));
        };
        let own = own_groups(scene)?;
        let of_ours = |rule: &Rule| matches!(&rule.peer, Peer::Group(peer) if own.contains(&peer.as_str()));
        let opens = |rule: &Rule| tcp_ports(&rule.protocol).is_some_and(|(from, to)| (from..=to).contains(port));
        for rule in group.ingress.keys().filter(|rule| opens(rule)) {
            check.evidence.push(format!("{} from {}", rule.protocol, rule.peer));
        }
        let mut causes = Vec::new();
        let mut fixes = Vec::new();
        if !group.ingress.keys().any(|rule| of_ours(rule) && opens(rule)) {
            causes.push(format!("no rule of {id} lets {} in on tcp {port}", own.join(" or ")));
            fixes.push(scene.apply("adds the rule"));
        }
        let surplus = if first { surplus(scene, group, of_ours) } else { Vec::new() };
        if !surplus.is_empty() {
            let told: Vec<String> =
                surplus.iter().map(|(rule, _)| format!("{} from {}", rule.protocol, rule.peer)).collect();
            causes.push(format!("{id} holds more than the plan: {}", told.join(", ")));
            if surplus.iter().any(|(_, is_ours)| *is_ours) {
                fixes.push(scene.apply("removes what it has described as its own"));
            }
            let by_hand = surplus.iter().filter(|(_, is_ours)| !is_ours);
            fixes.extend(
                by_hand.map(|(rule, _)| {
                    format!("it is not gangplank's, which leaves it: `{}`", revocation(scene, id, rule))
                }),
            );
        }
        let open = group.ingress.keys().filter(|rule| opens(rule)).filter(|rule| match rule.peer {
            Peer::Net(net) => is_wide(&net) && !is_private(&net),
            _ => false,
        });
        for rule in open {
            causes.push(format!("{id} opens {} to {}, past the bastion", rule.protocol, rule.peer));
            fixes.push(format!("remove this rule from {id}, or narrow it; it is not gangplank's"));
        }
        if causes.is_empty() { Ok(Verdict::Pass) } else { Ok(fail(causes.join("; "), fixes.join("; "))) }
    })
}

/// The ids of the bastion's own groups: those that carry its tag.
fn own_groups<'a>(scene: &Scene<'a>) -> Known<Vec<&'a str>> {
    let own: Vec<&str> = scene.evidence.seen.groups_of(scene.plan.name.as_str()).map(|g| g.id.as_str()).collect();
    if own.is_empty() { Err(format!("{} has no group that a rule could refer to", scene.name())) } else { Ok(own) }
}

/// The command that takes away a rule that refers to the bastion's group.
fn revocation(scene: &Scene<'_>, group: &str, rule: &Rule) -> String {
    let cli = region::cli(&scene.evidence.region);
    let protocol = match &rule.protocol {
        Protocol::Tcp { from, to } => format!("tcp,FromPort={from},ToPort={to}"),
        Protocol::Other { name, from: Some(from), to: Some(to) } => format!("{name},FromPort={from},ToPort={to}"),
        Protocol::Other { name, .. } => name.clone(),
        Protocol::All => "-1".to_owned(),
    };
    format!(
        "{cli} ec2 revoke-security-group-ingress --group-id {group} --ip-permissions \
         'IpProtocol={protocol},UserIdGroupPairs=[{{GroupId={}}}]'",
        rule.peer
    )
}

/// Rules that refer to the bastion or bear its mark, and that no plan asks for; and whether they bear its mark.
fn surplus<'g>(scene: &Scene<'_>, group: &'g Group, of_ours: impl Fn(&Rule) -> bool) -> Vec<(&'g Rule, bool)> {
    let mark = database_mark(scene.name());
    let planned = desire::database(scene.plan, scene.aws);
    let planned = planned.get(group.id.as_str());
    let is_planned = |protocol: &Protocol| {
        planned.is_some_and(|rules| rules.contains_key(&Rule { protocol: protocol.clone(), peer: Peer::Bastion }))
    };
    let ours = group.ingress.iter().filter(|(rule, text)| of_ours(rule) || text.starts_with(&mark));
    let surplus = ours.filter(|(rule, _)| !(of_ours(rule) && is_planned(&rule.protocol)));
    surplus.map(|(rule, text)| (rule, text.starts_with(&mark))).collect()
}

/// Within RFC 1918 or RFC 4193.
fn is_private(net: &ipnet::IpNet) -> bool {
    const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
    PRIVATE.iter().filter_map(|text| text.parse::<ipnet::IpNet>().ok()).any(|private| private.contains(net))
}
