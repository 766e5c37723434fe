//! The changeset towards nothing, and what is left of a bastion.

#[cfg(feature = "aws")]
use super::doubts;
use super::{
    action::{Action, Call, DescribedRule, Ref},
    desire::{database_mark, rule_removed, rule_words},
    machine_steps::recognised_by,
    observed::{Attachment, ElasticIp, Group, Instance, Observed},
    ownership, region as regions,
    rule::{Direction, Peer, Rule},
    steps::Differ,
    tags::{self, Tags},
};
use crate::changeset::{Changeset, Detail, Draft, Impact, Op, Step, StepId};

/// Removes everything that carries the bastion's tag, and its rules in other groups; nothing else.
pub fn teardown(bastion: &str, plan: &str, region: &str, seen: &Observed) -> Changeset<Action> {
    let mut differ = Differ::new(bastion, region);
    let mut gone = Vec::new();
    for instance in instances(bastion, seen) {
        let mut draft =
            Draft::new(Op::Delete, format!("instance {}", instance.id), "destroying what is the bastion's own");
        draft.impact = Impact::Teardown;
        draft.details = recognised_by(instance);
        let what = format!("instance-{}", instance.id);
        gone.push(differ.id(&what));
        let within = ownership::own_groups(instance, seen, bastion);
        differ.push(&what, draft, Call::TerminateInstance { instance: instance.id.clone(), within, displaced: None });
    }
    let mut notes = Vec::new();
    let history = seen.instance_history(bastion);
    let own: Vec<&str> = seen.instances_of(bastion).map(|i| i.id.as_str()).collect();
    let ended = |id: &String| history.contains(id) && !seen.instances.iter().any(|i| i.id == *id && i.state.is_there());
    let mut freed = gone.clone();
    for address in seen.addresses_of(bastion) {
        let ip = address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string());
        let foreign = match &address.attached {
            Some(Attachment::Instance(id)) if !own.contains(&id.as_str()) && !ended(id) => Some(id),
            Some(Attachment::Interface(id)) => Some(id),
            _ => None,
        };
        if let Some(foreign) = foreign {
            notes.push(format!("elastic IP {ip} stays: it points to {foreign}, which is not gangplank's; disassociate it and destroy again"));
            continue;
        }
        let draft = Draft {
            after: gone.clone(),
            details: vec![released(address)],
            ..Draft::new(Op::Delete, format!("elastic IP {ip}"), "destroying what is the bastion's own")
        };
        let what = format!("address-{}", address.allocation);
        freed.push(differ.id(&what));
        differ.push(&what, draft, Call::ReleaseAddress { allocation: address.allocation.clone() });
    }
    // The group goes last: until then its marks say whose the addresses are.
    for group in seen.groups_of(bastion) {
        delete_group(&mut differ, bastion, seen, group, "destroying what is the bastion's own", &[], &freed);
    }
    notes.extend(ownership::strangers(seen, bastion).iter().map(|stranger| stranger.note(bastion)));
    notes.extend(foreign_references(bastion, seen).iter().map(ForeignReference::note));
    Changeset {
        bastion: bastion.to_owned(),
        location: regions::location(region),
        plan: plan.to_owned(),
        steps: differ.steps,
        exposure: Vec::new(),
        notes,
    }
}

/// Takes the releases of addresses that stay out of a changeset. Returns them, each with why it stays.
#[cfg(feature = "aws")]
pub(super) fn keep_addresses<'a>(
    set: &mut Changeset<Action>,
    seen: &'a Observed,
    stays: impl Fn(&ElasticIp) -> Option<&'static str>,
) -> Vec<(&'a ElasticIp, &'static str)> {
    let mut kept = Vec::new();
    let mut gone: Vec<StepId> = Vec::new();
    set.steps.retain(|step| {
        let Call::ReleaseAddress { allocation } = &step.action.call else { return true };
        let Some(address) = seen.addresses.iter().find(|a| a.allocation == *allocation) else { return true };
        let Some(why) = stays(address) else { return true };
        kept.push((address, why));
        gone.push(step.id.clone());
        false
    });
    set.steps.iter_mut().for_each(|step| step.after.retain(|id| !gone.contains(id)));
    kept
}

/// Takes the removal of groups that something else is in out of a changeset: EC2 would refuse it. The bastion's rules in other groups go
/// all the same.
#[cfg(feature = "aws")]
pub(super) fn keep_groups(set: &mut Changeset<Action>, region: &str, seen: &Observed) {
    for guest in doubts::others_in_group(&set.bastion, seen) {
        let is_removal =
            |step: &Step<Action>| matches!(&step.action.call, Call::DeleteGroup { group } if group == guest.group);
        set.steps.retain(|step| !is_removal(step));
        set.notes.push(format!(
            "security group {} stays: {guest}; {}; then what is left can go",
            guest.group,
            guest.remedy(region)
        ));
    }
}

/// What a reader is told of an address that stays.
#[cfg(feature = "aws")]
pub(super) fn kept_note(address: &ElasticIp, why: &str) -> String {
    let ip = address.ip.map_or_else(String::new, |ip| format!(" ({ip})"));
    format!("elastic IP {}{ip} stays: {why}", address.allocation)
}

#[cfg(feature = "aws")]
pub(super) const NAMED_BY_PLAN: &str = "the plan names it as an existing address";

pub(super) fn released(address: &ElasticIp) -> Detail {
    Detail::removed("allocation", &address.allocation).note("goes back to AWS; the same address can't be had again")
}

/// Takes our rules out of other groups once `unused` is done, then deletes the group once `gone` is: EC2 refuses while somebody
/// uses it or refers to it.
pub(super) fn delete_group(
    differ: &mut Differ<'_>,
    bastion: &str,
    seen: &Observed,
    group: &Group,
    reason: &str,
    unused: &[StepId],
    gone: &[StepId],
) {
    let mark = database_mark(bastion);
    let mut after = gone.to_vec();
    for other in seen.groups.iter().filter(|g| g.id != group.id) {
        let ours = other.ingress.iter().filter(|(r, d)| refers_to(r, &group.id) && d.starts_with(&mark));
        let ours: Vec<DescribedRule> =
            ours.map(|(r, d)| DescribedRule { rule: r.clone(), description: d.clone() }).collect();
        if ours.is_empty() {
            continue;
        }
        let mut draft = Draft::new(
            Op::Delete,
            format!("rules for {bastion} in security group {} ({})", other.name, other.id),
            reason,
        );
        draft.details = ours.iter().map(|r| rule_removed(Direction::Ingress, &r.rule)).collect();
        draft.after = unused.to_vec();
        let what = format!("database-{}-{}", other.id, group.id);
        after.push(differ.id(&what));
        let call = Call::ChangeRules {
            group: Ref::Id(other.id.clone()),
            direction: Direction::Ingress,
            add: Vec::new(),
            remove: ours,
            closes_first: false,
            tags: Tags::new(),
        };
        differ.push(&what, draft, call);
    }
    let mut draft = Draft::new(Op::Delete, format!("security group {} ({})", group.name, group.id), reason);
    let rules = [(Direction::Ingress, &group.ingress), (Direction::Egress, &group.egress)];
    draft.details = rules.iter().flat_map(|(d, rules)| rules.keys().map(|r| rule_removed(*d, r))).collect();
    draft.after = after;
    differ.push(&format!("security-group-{}", group.id), draft, Call::DeleteGroup { group: group.id.clone() });
}

/// A rule in somebody else's group that carries a bastion's tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedRule {
    pub bastion: String,
    pub group: String,
    /// The group that it refers to.
    pub peer: String,
}

/// Removes the tagged rules of a bastion that refer to no group of its own: the group is gone, or is not the bastion's any more.
/// Those that refer to its groups go with them.
pub fn stray_rules(bastion: &str, region: &str, seen: &Observed, tagged: &[TaggedRule]) -> Vec<Step<Action>> {
    let mut differ = Differ::new(bastion, region);
    let mark = database_mark(bastion);
    let own = |group: &str| seen.groups_of(bastion).any(|g| g.id == group);
    for group in &seen.groups {
        let is_stray = |rule: &&TaggedRule| {
            rule.bastion == bastion && rule.group == group.id && !own(&rule.group) && !own(&rule.peer)
        };
        let stray: Vec<&TaggedRule> = tagged.iter().filter(is_stray).collect();
        // Its words must be ours as well as its tag.
        let rules = group
            .ingress
            .iter()
            .filter(|(rule, words)| words.starts_with(&mark) && stray.iter().any(|s| refers_to(rule, &s.peer)));
        let remove: Vec<DescribedRule> =
            rules.map(|(r, d)| DescribedRule { rule: r.clone(), description: d.clone() }).collect();
        if remove.is_empty() {
            continue;
        }
        let mut draft = Draft::new(
            Op::Delete,
            format!("rules for {bastion} in security group {} ({})", group.name, group.id),
            "the bastion's group, which they let in, is gone",
        );
        draft.details = remove.iter().map(|r| rule_removed(Direction::Ingress, &r.rule)).collect();
        let call = Call::ChangeRules {
            group: Ref::Id(group.id.clone()),
            direction: Direction::Ingress,
            add: Vec::new(),
            remove,
            closes_first: false,
            tags: Tags::new(),
        };
        differ.push(&format!("stray-{}", group.id), draft, call);
    }
    differ.steps
}

/// A volume of a bastion's that no instance takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftVolume<'a> {
    pub id: &'a str,
    pub gib: u32,
    /// The bastion's own instance that it is attached to, and would outlive.
    pub after: &'a str,
}

/// Deletes them, each once its instance is gone.
pub fn volumes(bastion: &str, region: &str, left: &[LeftVolume<'_>]) -> Vec<Step<Action>> {
    let mut differ = Differ::new(bastion, region);
    for volume in left {
        let mut draft = Draft::new(
            Op::Delete,
            format!("volume {}", volume.id),
            "it is the bastion's own and would outlive its machine",
        );
        draft.impact = Impact::Teardown;
        draft.details = vec![Detail::removed("size", format!("{} GiB", volume.gib))];
        draft.after = vec![differ.id(&format!("instance-{}", volume.after))];
        differ.push(&format!("volume-{}", volume.id), draft, Call::DeleteVolume { volume: volume.id.to_owned() });
    }
    differ.steps
}

/// A bastion's own instances that EC2 still runs, keeps or is ending.
pub(super) fn instances<'a>(bastion: &str, seen: &'a Observed) -> impl Iterator<Item = &'a Instance> {
    seen.instances_of(bastion).chain(seen.ending_instances_of(bastion))
}

/// Everything of a bastion's own that is still there, as lines for people; empty when nothing is.
pub fn remains(bastion: &str, seen: &Observed) -> Vec<String> {
    let instances = instances(bastion, seen).map(|i| format!("instance {} ({})", i.id, i.state.as_str()));
    let addresses = seen
        .addresses_of(bastion)
        .map(|a| format!("elastic IP {} ({})", a.allocation, a.ip.map_or_else(String::new, |ip| ip.to_string())));
    let groups = seen.groups_of(bastion).map(|g| format!("security group {} ({})", g.id, g.name));
    instances.chain(addresses).chain(groups).collect()
}

/// Everything that carries the bastion's tag and is not its own, as lines for people.
pub fn strangers(bastion: &str, seen: &Observed) -> Vec<String> {
    ownership::strangers(seen, bastion)
        .iter()
        .map(|stranger| format!("{}: {}", stranger.what(), stranger.doubt))
        .collect()
}

fn refers_to(rule: &Rule, group: &str) -> bool {
    matches!(&rule.peer, Peer::Group(id) if id == group)
}

/// A rule of somebody else's that refers to a bastion's group. It is left alone, and EC2 won't delete the group before it goes.
pub struct ForeignReference {
    pub group: String,
    pub rule: String,
    pub own: String,
}

impl ForeignReference {
    pub fn note(&self) -> String {
        format!(
            "{} has a rule that refers to {} and is not gangplank's: {}; it stays, and keeps the group from being deleted",
            self.group, self.own, self.rule
        )
    }
}

pub fn foreign_references(bastion: &str, seen: &Observed) -> Vec<ForeignReference> {
    let mark = database_mark(bastion);
    let mut found = Vec::new();
    for own in seen.groups_of(bastion) {
        for other in seen.groups.iter().filter(|g| !tags::owns(&g.tags, bastion)) {
            let sides = [(Direction::Ingress, &other.ingress), (Direction::Egress, &other.egress)];
            for (direction, rules) in sides {
                for (rule, _) in rules.iter().filter(|(r, d)| refers_to(r, &own.id) && !d.starts_with(&mark)) {
                    let (ports, peer) = rule_words(direction, rule);
                    let rule = format!("{ports} {peer}");
                    found.push(ForeignReference { group: other.id.clone(), rule, own: own.id.clone() });
                }
            }
        }
    }
    found
}
