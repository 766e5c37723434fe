//! The changeset towards nothing, and what is left of a bastion.

use serde_json::Value;

use super::{
    action::{Action, Call},
    auto_shutdown,
    id::{Id, Kind},
    observed::{Observed, Resource, State, id_at, list, text},
    ownership::{Foreign, GroupClaim, machine_facts},
    peering, rule_steps, rules,
    steps::Differ,
    tags,
    views::{Address, Firewall, Interface, Network, is_firewall_subnet},
};
use crate::{
    changeset::{Changeset, Detail, Draft, Impact, Op, StepId},
    location::Location,
    plan::{Azure, Edge, Plan},
};

/// Removes everything that is the bastion's own, and its rules in the firewalls of others; nothing else.
pub fn teardown(plan: &Plan, azure: &Azure, seen: &Observed) -> Changeset<Action> {
    let set = towards_nothing(plan.name.as_str(), &azure.subscription, Some(&azure.edge), seen);
    let location = Location::azure(&azure.subscription, &azure.location);
    Changeset { location, plan: plan.origin.source.path.clone(), ..set }
}

/// The same without a plan: the tags and the names say what is the bastion's.
pub fn by_tag(bastion: &str, subscription: &str, seen: &Observed) -> Changeset<Action> {
    towards_nothing(bastion, subscription, None, seen)
}

fn towards_nothing(bastion: &str, subscription: &str, edge: Option<&Edge>, seen: &Observed) -> Changeset<Action> {
    let mut differ = Differ::new(bastion, subscription);
    let why = Why { reason: "destroying what is the bastion's own", impact: Impact::Teardown };
    let under_way = await_removals(&mut differ, seen, bastion);
    let rules = remove_rules(&mut differ, seen, bastion, None, why, &under_way);
    if let (Some(edge), true) = (edge, rules.is_empty()) {
        await_shared(&mut differ, edge, seen, bastion);
    }
    let after: Vec<StepId> = under_way.into_iter().chain(rules).collect();
    let going: Vec<&Resource> = seen.owned(bastion).filter(|r| !goes_with_machine(r, seen)).collect();
    peering::remove(&mut differ, &peering::of(seen, bastion, subscription), why, &[]);
    let networks: Vec<&Id> = going.iter().filter(|r| r.kind == Kind::Network).map(|r| &r.id).collect();
    let left = peering::left_alone(seen, bastion, &networks);
    let mut notes = remove(&mut differ, seen, bastion, &going, why, &after);
    notes.extend(left);
    notes.extend(seen.foreign(Some(bastion)).iter().map(left_alone));
    Changeset {
        bastion: bastion.to_owned(),
        location: Location::subscription(subscription),
        plan: String::new(),
        steps: differ.steps,
        exposure: Vec::new(),
        notes,
    }
}

/// The note about something that carries the bastion's tag and is not its own.
pub(super) fn left_alone(foreign: &Foreign<'_>) -> String {
    format!("{} carries the bastion's tag and is not its own: it is left alone", foreign.told())
}

/// What Azure is removing already, since an earlier run, or somebody, told it to: the end of that is waited for, since what it uses
/// can't go before. Returns the steps.
fn await_removals(differ: &mut Differ<'_>, seen: &Observed, bastion: &str) -> Vec<StepId> {
    let mut steps = Vec::new();
    for resource in going(seen, bastion) {
        let mut draft = Draft::new(Op::Delete, resource.words(), "Azure is removing it already: that is waited for");
        draft.impact = Impact::Teardown;
        let what = deletion(resource);
        steps.push(differ.id(&what));
        let id = resource.id.clone();
        let group = resource.kind == Kind::ResourceGroup;
        differ.push(&what, draft, if group { Call::DeleteGroup { id, with: Vec::new() } } else { Call::Delete { id } });
    }
    steps
}

/// Somebody's firewall that an earlier run has taken our rule out of, or that somebody else has changed: while Azure is at work on it
/// the rule may still be in force, so the end of that is waited for.
fn await_shared(differ: &mut Differ<'_>, edge: &Edge, seen: &Observed, bastion: &str) {
    let (firewalls, policies) = match edge {
        Edge::ExistingFirewall(name) => {
            let firewalls = seen.named(Kind::Firewall, name);
            let policies = firewalls.iter().filter_map(|f| seen.get(&Firewall(f).policy()?)).collect();
            (firewalls, policies)
        }
        Edge::ExistingPolicy(name) => {
            let policies = seen.named(Kind::Policy, name);
            let uses = |f: &&Resource| Firewall(f).policy().is_some_and(|id| policies.iter().any(|p| p.id == id));
            (seen.of_kind(Kind::Firewall).filter(uses).collect(), policies)
        }
        Edge::Firewall(_) | Edge::PublicAddress => return,
    };
    let theirs = |r: &&Resource| r.state == State::Busy && !r.is_owned(bastion);
    for resource in firewalls.into_iter().chain(policies).filter(theirs) {
        differ.wait(&rule_steps::await_shared(resource), &resource.words(), &resource.id, Vec::new());
    }
}

/// A disk that Azure removes with its machine, as gangplank has asked for: not one whose machine is gone, or that somebody has told
/// to stay.
pub(super) fn goes_with_machine(disk: &Resource, seen: &Observed) -> bool {
    let machine = disk.id_at("/managedBy").and_then(|id| seen.get(&id));
    disk.kind == Kind::Disk
        && machine.is_some_and(|machine| {
            let system = machine.raw.pointer("/properties/storageProfile/osDisk");
            let own = system.filter(|system| id_at(system, "/managedDisk/id").as_ref() == Some(&disk.id));
            own.is_some_and(|system| text(system, "/deleteOption") == "Delete")
        })
}

/// What of a bastion Azure is removing.
fn going<'a>(seen: &'a Observed, bastion: &'a str) -> impl Iterator<Item = &'a Resource> {
    let name = tags::mark(bastion).replace(':', "-");
    seen.resources.iter().filter(move |r| {
        let rules = r.kind == Kind::RuleGroup
            && r.name().eq_ignore_ascii_case(&name)
            && rules::nat_rules(&r.raw).any(|rule| tags::is_marked(text(rule, "/description"), bastion));
        r.state == State::Deleting && (r.is_owned(bastion) || rules)
    })
}

#[derive(Clone, Copy)]
pub(super) struct Why {
    pub reason: &'static str,
    pub impact: Impact,
}

/// Azure refuses to delete what is in use: users go first.
const ORDER: [Kind; 10] = [
    Kind::AutoShutdown,
    Kind::Machine,
    Kind::Disk,
    Kind::Interface,
    Kind::Firewall,
    Kind::Policy,
    Kind::Address,
    Kind::SecurityGroup,
    Kind::Network,
    Kind::ResourceGroup,
];

/// The step's name.
pub(super) fn deletion(resource: &Resource) -> String {
    let words = resource.kind.words().replace(' ', "-");
    format!("delete-{words}-{}-{}", resource.id.group_id().name(), resource.name()).to_lowercase()
}

/// Deletes `going`, users first and all of it after `after`; what somebody else uses stays, and a note says so.
pub(super) fn remove(
    differ: &mut Differ<'_>,
    seen: &Observed,
    bastion: &str,
    going: &[&Resource],
    why: Why,
    after: &[StepId],
) -> Vec<String> {
    let mut notes = Vec::new();
    let with_group = with_group(going);
    // What there already are steps for: replaced ones.
    let mut gone: Vec<(Id, StepId)> = differ
        .steps
        .iter()
        .filter(|s| matches!(s.action.call, Call::Delete { .. }))
        .map(|s| (s.action.call.id().clone(), s.id.clone()))
        .collect();
    for kind in ORDER {
        for resource in going.iter().filter(|r| r.kind == kind) {
            if gone.iter().any(|(id, _)| *id == resource.id) {
                continue;
            }
            let is_gone = |id: &Id| {
                gone.iter().any(|(gone, _)| id.is_within(gone)) || is_going(seen, id) || has_gone(seen, id, resource)
            };
            let user = user(resource, bastion, seen, is_gone);
            let last = with_group.iter().find(|(_, group)| group.id == resource.id).map(|(last, _)| *last);
            if let Some(user) = user {
                notes.push(format!("{} stays: {user}", resource.words()));
                if let Some(last) = last.filter(|last| gone.iter().any(|(id, _)| *id == last.id)) {
                    gone.retain(|(id, _)| *id != last.id);
                    gone.push(removal(differ, seen, last, None, why, after, &gone));
                }
                continue;
            }
            match with_group.iter().find(|(last, _)| last.id == resource.id) {
                Some((_, group)) => gone.push((resource.id.clone(), differ.id(&deletion(group)))),
                None => gone.push(removal(differ, seen, resource, last, why, after, &gone)),
            }
        }
    }
    notes
}

/// Of each resource group whose second mark is what stands in it, what goes last: with the group, so that a run that ends in between
/// leaves no group that only a tag calls ours. Something that costs nothing to keep until then, and that nothing elsewhere needs gone.
fn with_group<'r>(going: &[&'r Resource]) -> Vec<(&'r Resource, &'r Resource)> {
    let groups = going.iter().filter(|r| r.kind == Kind::ResourceGroup && r.claim == GroupClaim::Contents);
    let of = |group: &&&'r Resource| {
        let inside = |r: &&&'r Resource| r.id.group_id() == group.id && r.kind != Kind::ResourceGroup;
        let last = ORDER.iter().rev().find_map(|kind| going.iter().filter(inside).rfind(|r| r.kind == *kind))?;
        let waits = matches!(last.kind, Kind::SecurityGroup | Kind::Network | Kind::Address | Kind::Policy);
        let needed = going.iter().any(|r| r.id.group_id() != group.id && refers(&r.raw, &last.id));
        (waits && !needed).then_some((*last, **group))
    };
    groups.filter_map(|group| of(&group)).collect()
}

/// The step that deletes a resource; a group with what stands in it to the last.
fn removal(
    differ: &mut Differ<'_>,
    seen: &Observed,
    resource: &Resource,
    last: Option<&Resource>,
    why: Why,
    after: &[StepId],
    gone: &[(Id, StepId)],
) -> (Id, StepId) {
    let what = deletion(resource);
    let step = differ.id(&what);
    let before = |id: &Id| seen.get(id).is_some_and(|r| refers(&r.raw, &resource.id) || refers(&resource.raw, id));
    let mut draft = Draft::new(Op::Delete, resource.words(), why.reason);
    draft.impact = match (resource.kind, why.impact) {
        // Another machine has been made elsewhere.
        (Kind::Machine, Impact::Live) => Impact::Replacement,
        (_, impact) => impact,
    };
    draft.after = after.to_vec();
    draft.after.extend(gone.iter().filter(|(id, of)| *of != step && before(id)).map(|(_, step)| step.clone()));
    draft.after.sort();
    draft.after.dedup();
    draft.details = details(resource);
    draft
        .details
        .extend(last.into_iter().map(|last| Detail::removed(last.kind.words(), last.name()).note("with the group")));
    draft.details.extend(last.into_iter().flat_map(details));
    let id = resource.id.clone();
    let with = last.into_iter().map(|last| last.id.clone()).collect();
    let call = if resource.kind == Kind::ResourceGroup { Call::DeleteGroup { id, with } } else { Call::Delete { id } };
    differ.push(&what, draft, call);
    (resource.id.clone(), step)
}

/// Azure is deleting it already.
pub(super) fn is_going(seen: &Observed, id: &Id) -> bool {
    seen.resources.iter().any(|r| r.state == State::Deleting && id.is_within(&r.id))
}

/// What is told to use `of` was not there when its own kind was listed: it went between two answers. Where it came between them
/// instead, Azure refuses the removal.
pub(super) fn has_gone(seen: &Observed, id: &Id, of: &Resource) -> bool {
    let whole = Id::new(id.as_str().splitn(10, '/').take(9).collect::<Vec<_>>().join("/"));
    let subscription = |id: &Id| id.group_id().parent();
    whole.kind().is_some()
        && subscription(&whole) == subscription(&of.id)
        && !seen.resources.iter().any(|r| r.id == whole)
}

/// Whether some `id` in a resource is `of`, or inside of it.
fn refers(raw: &Value, of: &Id) -> bool {
    match raw {
        Value::Object(map) => map.iter().any(|(key, value)| {
            (key == "id" && value.as_str().is_some_and(|id| Id::new(id).is_within(of))) || refers(value, of)
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, of)),
        _ => false,
    }
}

/// Who still uses a resource, in words for a note; `None` where it may go.
fn user(resource: &Resource, bastion: &str, seen: &Observed, is_gone: impl Fn(&Id) -> bool) -> Option<String> {
    let used_by =
        |id: Id| (!is_gone(&id)).then(|| format!("{} uses it, which is not gangplank's or stays itself", short(&id)));
    let used_by_any = |ids: Vec<Id>| ids.into_iter().find_map(used_by);
    let ids = |pointer: &str| -> Vec<Id> { resource.list(pointer).iter().filter_map(|v| id_at(v, "/id")).collect() };
    match resource.kind {
        Kind::Interface => Interface(resource).machine().and_then(used_by),
        Kind::Address => Address(resource).user().and_then(used_by),
        Kind::Disk => resource.id_at("/managedBy").and_then(used_by),
        Kind::SecurityGroup => {
            used_by_any(ids("/properties/networkInterfaces").into_iter().chain(ids("/properties/subnets")).collect())
        }
        Kind::Policy => {
            let own = tags::mark(bastion).replace(':', "-");
            let foreign =
                ids("/properties/ruleCollectionGroups").into_iter().find(|g| !g.name().eq_ignore_ascii_case(&own));
            let foreign =
                foreign.map(|g| format!("it has the rule collection group {}, which is not gangplank's", g.name()));
            used_by_any(ids("/properties/firewalls").into_iter().chain(ids("/properties/childPolicies")).collect())
                .or(foreign)
        }
        Kind::Network => Network(resource).subnets().find_map(|subnet| {
            let name = subnet.id.name();
            if name != "bastion" && !is_firewall_subnet(name) {
                return Some(format!("it has the subnet {name}, which is not gangplank's"));
            }
            used_by_any(subnet.users)
        }),
        Kind::ResourceGroup => {
            let inside = seen.contents.iter().filter(|c| c.id.is_within(&resource.id));
            let foreign = inside.filter(|c| !is_gone(&c.id) && !c.managed_by.as_ref().is_some_and(&is_gone));
            let foreign: Vec<String> = foreign.map(|c| short(&c.id)).collect();
            let more = foreign.len().saturating_sub(3);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = foreign.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            (!foreign.is_empty()).then(|| format!("there is something else in it: {named}{more}"))
        }
        _ => None,
    }
}

/// `networkInterfaces/web`, as far as an id says so.
fn short(id: &Id) -> String {
    let text = id.as_str();
    let path = text.rsplit_once("/providers/").map_or(text, |(_, path)| path);
    path.split_once('/').map_or(path, |(_, path)| path).to_owned()
}

fn details(resource: &Resource) -> Vec<Detail> {
    match resource.kind {
        Kind::Machine => {
            let facts = machine_facts(resource);
            let text = |name: &str, value: Option<String>| value.map(|value| Detail::removed(name, value));
            let size = Detail::removed("size", facts.machine_type);
            let made = text("created", facts.launched.map(|at| at.to_string()));
            std::iter::once(size).chain(made).chain(text("created by", facts.launched_by)).collect()
        }
        Kind::Address => {
            let ip = Address(resource).ip().unwrap_or("none");
            vec![Detail::removed("address", ip).note("goes back to Azure; the same address can't be had again")]
        }
        Kind::SecurityGroup => {
            let lines = rules::security_lines(resource.list("/properties/securityRules"));
            lines.into_keys().map(|(name, value)| Detail::removed(name, value)).collect()
        }
        Kind::Firewall => vec![Detail::removed("sku", Firewall(resource).tier())],
        Kind::AutoShutdown => vec![auto_shutdown::time_of(resource)],
        _ => Vec::new(),
    }
}

/// A rule collection of a bastion in a firewall or a policy that is not its own.
pub(super) struct Rules<'a> {
    /// The rule collection group, or the firewall with the classic collection.
    pub holder: &'a Resource,
    pub of: Value,
}

/// Ours by the name and by what the rules say; those in a policy of the bastion's own go with it.
pub(super) fn rules_elsewhere<'a>(seen: &'a Observed, bastion: &str) -> Vec<Rules<'a>> {
    let name = tags::mark(bastion).replace(':', "-");
    let marked = |of: &Value| rules::nat_rules(of).any(|r| tags::is_marked(text(r, "/description"), bastion));
    let in_own = |group: &Resource| seen.get(&group.id.parent()).is_some_and(|policy| policy.is_owned(bastion));
    let groups = seen.of_kind(Kind::RuleGroup).filter(|g| g.name().eq_ignore_ascii_case(&name) && !in_own(g));
    let groups = groups.filter(|g| marked(&g.raw)).map(|g| Rules { holder: g, of: g.raw.clone() });
    let classic = seen.of_kind(Kind::Firewall).flat_map(|firewall| {
        let all = list(&firewall.raw, "/properties/natRuleCollections").iter();
        let ours = all.filter(|c| text(c, "/name").eq_ignore_ascii_case(&name) && marked(c));
        ours.map(move |c| Rules { holder: firewall, of: c.clone() })
    });
    groups.chain(classic).collect()
}

/// Takes our rules out of the firewalls and policies of others, but for those in `kept`. Returns the steps.
pub(super) fn remove_rules(
    differ: &mut Differ<'_>,
    seen: &Observed,
    bastion: &str,
    kept: Option<&Id>,
    why: Why,
    after: &[StepId],
) -> Vec<StepId> {
    let mut steps = Vec::new();
    for Rules { holder, of } in rules_elsewhere(seen, bastion) {
        if kept.is_some_and(|kept| *kept == holder.id) {
            continue;
        }
        let (place, call) = match holder.kind {
            Kind::RuleGroup => {
                let policy = holder.id.parent();
                (format!("firewall policy {}", policy.name()), Call::Delete { id: holder.id.clone() })
            }
            _ => {
                let name = text(&of, "/name").to_owned();
                let call =
                    Call::NatCollection { firewall: holder.id.clone(), name, collection: None, fill: Vec::new() };
                (holder.words(), call)
            }
        };
        let mut draft = Draft::new(Op::Delete, format!("DNAT rules for {bastion} in {place}"), why.reason);
        draft.impact = why.impact;
        draft.after = after.to_vec();
        draft.details = rules::nat_lines(&of).into_keys().map(|(name, value)| Detail::removed(name, value)).collect();
        let what = format!("delete-rules-{}-{}", holder.id.group_id().name(), place.replace(' ', "-")).to_lowercase();
        steps.push(differ.id(&what));
        differ.push(&what, draft, call);
    }
    steps
}

/// Everything of a bastion that is still there, as lines for people; empty when nothing is.
pub fn remains(bastion: &str, subscription: &str, seen: &Observed) -> Vec<String> {
    let owned = seen.owned(bastion).map(Resource::words);
    let rules = rules_elsewhere(seen, bastion).into_iter().map(|r| format!("DNAT rules in {}", r.holder.words()));
    let going = going(seen, bastion).map(|r| format!("{}, which Azure is removing", r.words()));
    let peerings = peering::of(seen, bastion, subscription).into_iter().map(peering::words);
    owned.chain(rules).chain(peerings).chain(going).collect()
}

/// Where a bastion is reached, as far as that can be told: of its own addresses the one that leads somewhere, or what its rule in
/// somebody's firewall says.
pub(super) fn address(seen: &Observed, bastion: &str) -> Option<String> {
    let name = tags::mark(bastion).replace(':', "-");
    let own =
        seen.owned(bastion).filter(|r| r.kind == Kind::Address && r.name().eq_ignore_ascii_case(&name)).map(Address);
    let own = own.filter(|a| a.user().is_some()).find_map(|a| a.ip().map(str::to_owned));
    own.or_else(|| {
        let elsewhere = rules_elsewhere(seen, bastion);
        let rule = elsewhere.iter().flat_map(|r| rules::nat_rules(&r.of)).next()?;
        rules::several(rule, "/destinationAddress").into_iter().next()
    })
}
