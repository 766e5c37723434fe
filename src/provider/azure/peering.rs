//! Peerings of the network that gangplank creates with those that the plan names (`network.peer_with`): one in each of the two
//! networks, since only both together connect. A peering carries no tags. It is the bastion's own by its name, which is made of the
//! bastion's and of the id of the network that it leads to, and by one of its two networks being called as the bastion's is; neither can be
//! changed. A peering of others between the same two is used as it is, since Azure takes no second one, and never changed or removed.

use ipnet::IpNet;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    action::Call,
    desire::Desired,
    diff::Run,
    edge::{self, Problems},
    id::{Id, Kind, Names},
    observed::{Observed, Resource, State},
    steps::{Differ, Node, There},
    tags,
    teardown::Why,
    views::{Network, Peering, peered_ranges, range},
};
use crate::{
    changeset::{Detail, Draft, Op, StepId},
    plan::{Azure, AzureNetwork},
};

/// `gangplank-warehouse-0a1b2c3d`: at most 51 of the 80 characters that Azure allows.
pub(super) fn name_for(bastion: &str, remote: &Id) -> String {
    format!("gangplank-{bastion}-{}", digest(remote))
}

/// Of an id in any spelling.
pub(super) fn digest(id: &Id) -> String {
    let digest = Sha256::digest(id.as_str().to_ascii_lowercase());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Of a peering's two networks the one that is called as the bastion's own is.
fn own_network(peering: &Resource, bastion: &str) -> Option<Id> {
    let own = format!("gangplank-{bastion}");
    let both = [Some(peering.id.parent()), Peering(peering).remote()];
    both.into_iter().flatten().find(|id| id.kind() == Some(Kind::Network) && id.name().eq_ignore_ascii_case(&own))
}

/// The bastion that a peering is called after, with that bastion's network; `None` where it is nobody's of gangplank's.
pub(super) fn owner(peering: &Resource) -> Option<(String, Id)> {
    let bastion = peering.name().to_ascii_lowercase().strip_prefix("gangplank-")?.rsplit_once('-')?.0.to_owned();
    let network = own_network(peering, &bastion)?;
    let named = Peering(peering).remote().is_some_and(|remote| is_called(peering, &bastion, &remote));
    named.then_some((bastion, network))
}

fn is_called(peering: &Resource, bastion: &str, remote: &Id) -> bool {
    peering.name().eq_ignore_ascii_case(&name_for(bastion, remote))
}

/// Everything that a bastion of a subscription has of peerings, in whatever network; also what Azure is removing.
pub(super) fn of<'a>(seen: &'a Observed, bastion: &str, subscription: &str) -> Vec<&'a Resource> {
    let all = seen.resources.iter().filter(|r| r.kind == Kind::Peering);
    all.filter(|peering| owner(peering).is_some_and(|(owner, network)| owner == bastion && network.is_in(subscription)))
        .collect()
}

/// `peering from vnet-data to gangplank-warehouse`
pub(super) fn words(peering: &Resource) -> String {
    let remote = Peering(peering).remote();
    let remote = remote.as_ref().map_or("nothing", Id::name);
    format!("peering from {} to {remote}", peering.id.parent().name())
}

/// The peering in one network that leads to another.
pub(super) fn between<'a>(seen: &'a Observed, from: &Id, to: &Id) -> Option<&'a Resource> {
    seen.of_kind(Kind::Peering).find(|p| p.id.parent() == *from && Peering(p).remote().is_some_and(|id| id == *to))
}

/// Names or ids of the networks that a plan names.
pub fn named(azure: &Azure) -> &[String] {
    match &azure.network {
        AzureNetwork::Created { peer_with, .. } => peer_with,
        AzureNetwork::Existing { .. } => &[],
    }
}

/// The ranges of the machine's network and of those that it is, or shall be, peered with.
pub(super) fn near(azure: &Azure, names: &Names, bastion: &str, seen: &Observed) -> Vec<IpNet> {
    let AzureNetwork::Created { address_space, .. } = &azure.network else { return Vec::new() };
    let remotes: Vec<&Resource> = named(azure)
        .iter()
        .flat_map(|name| seen.named(Kind::Network, name))
        .filter(|r| r.id != names.network)
        .collect();
    let wanted = remotes.iter().flat_map(|network| Network(network).ranges().filter_map(range));
    let stays = |peering: &&Resource| {
        let remote = Peering(peering).remote();
        owner(peering).is_none_or(|(owner, _)| owner != bastion)
            || remotes.iter().any(|r| Some(&r.id) == remote.as_ref())
    };
    let there = seen.of_kind(Kind::Peering).filter(|p| p.id.parent() == names.network && Peering(p).is_connected());
    let there = there.filter(stays).flat_map(|peering| peered_ranges(&peering.raw));
    let mut all: Vec<IpNet> = std::iter::once(*address_space).chain(wanted).chain(there).collect();
    all.sort();
    all.dedup();
    all
}

/// The networks that the plan names, once each.
pub(super) fn remotes<'a>(want: &Desired<'_>, seen: &'a Observed, problems: &mut Problems) -> Vec<&'a Resource> {
    let AzureNetwork::Created { address_space, .. } = &want.azure.network else { return Vec::new() };
    let mut found: Vec<&Resource> = Vec::new();
    for (i, name) in named(want.azure).iter().enumerate() {
        let field = format!("azure.network.peer_with[{i}]");
        let Some(remote) = edge::one(want, seen, Kind::Network, name, &field, problems) else { continue };
        if found.iter().any(|other| other.id == remote.id) {
            continue;
        }
        let problem = |summary: &str, label: String| want.plan.origin.problem(&field, summary, label);
        let tagged = tags::read(&remote.raw).remove(tags::BASTION);
        if let Some(owner) = remote.owner().or(tagged.as_deref().filter(|_| remote.elsewhere)) {
            let label = format!("{} belongs to the bastion {owner}", remote.name());
            let because = "what one bastion owns goes away with it";
            problems
                .push(problem("the network is a bastion's own", label).because(because).fix("name another network"));
            continue;
        }
        let ranges: Vec<IpNet> = Network(remote).ranges().filter_map(range).collect();
        let around = seen.of_kind(Kind::Peering).filter(|p| p.id.parent() == remote.id).filter_map(|peering| {
            let to = Peering(peering).remote().filter(|to| *to != want.names.network)?;
            Some((to.name().to_owned(), peered_ranges(&peering.raw).collect::<Vec<_>>()))
        });
        let around: Vec<(String, Vec<IpNet>)> = around.collect();
        let space = ("this network".to_owned(), vec![*address_space]);
        let others = found.iter().map(|r| (r.name().to_owned(), Network(r).ranges().filter_map(range).collect()));
        let others: Vec<(String, Vec<IpNet>)> = others.chain([space]).collect();
        let own = (remote.name().to_owned(), ranges);
        let overlapping = others.iter().find_map(|other| Some((shared(&own.1, &other.1)?, own.0.clone(), &other.0)));
        let beyond = around.iter().find_map(|(name, nets)| {
            Some((
                shared(nets, &[*address_space])?,
                format!("{name}, with which {} is peered,", own.0),
                &others.last()?.0,
            ))
        });
        if let Some((net, one, other)) = overlapping.or(beyond) {
            problems.push(
                problem("overlapping address spaces", format!("{one} and {other} both have {net}"))
                    .because("Azure peers no networks whose ranges overlap, nor two such networks with a third one")
                    .fix("choose another `address_space` for this network"),
            );
            continue;
        }
        let theirs = sides(&want.names.network, remote).into_iter().filter_map(|(from, to)| between(seen, from, to));
        let mut theirs = theirs.filter(|peering| owner(peering).is_none());
        if let Some(stuck) = theirs.find(|peering| Peering(peering).state() == "Disconnected") {
            let label = format!("{} in {} is disconnected", stuck.name(), stuck.id.parent().name());
            problems.push(
                problem("a peering of others is in the way", label)
                    .because("Azure takes one peering of two networks on each side, and this one is not gangplank's")
                    .fix(format!("remove it: `az network vnet peering delete --ids {}`", stuck.id.argument())),
            );
            continue;
        }
        found.push(remote);
    }
    found
}

fn shared(one: &[IpNet], other: &[IpNet]) -> Option<IpNet> {
    one.iter().find(|net| other.iter().any(|o| o.contains(*net) || net.contains(o))).copied()
}

/// From and to, ours first.
fn sides<'n>(own: &'n Id, remote: &'n Resource) -> [(&'n Id, &'n Id); 2] {
    [(own, &remote.id), (&remote.id, own)]
}

/// A plan's peerings, by the networks that they are in and lead to.
pub(super) fn is_wanted(peering: &Resource, own: &Id, remotes: &[&Resource]) -> bool {
    let Some(to) = Peering(peering).remote() else { return false };
    let from = peering.id.parent();
    remotes.iter().any(|remote| sides(own, remote).iter().any(|(one, other)| **one == from && **other == to))
}

impl Run<'_> {
    /// Azure changes one peering of a network at a time, and goes on with a disconnected one only from the side that is left: "Update or
    /// re-create the remote peering to get it back to Initiated state".
    pub fn peerings(&self, plan: &mut Differ<'_>) {
        let (want, seen) = (self.want, self.world.seen);
        let own = &want.names.network;
        let mut before = Vec::new();
        if matches!(want.azure.network, AzureNetwork::Created { .. }) {
            // Two networks with the same ranges can't be peered with this one at the same time.
            let going = of(seen, want.bastion(), &want.azure.subscription);
            let going: Vec<&Resource> = going
                .into_iter()
                .filter(|p| own_network(p, want.bastion()).is_some_and(|id| id == *own))
                .filter(|p| !is_wanted(p, own, &self.remotes))
                .collect();
            let after = plan.planned(&["network"]);
            before = remove(plan, &going, super::diff::UNUSED, &after);
        }
        let step_names: Vec<String> = before.iter().map(|id| plan.what(id)).collect();
        let mut names: Vec<String> = ["group", "network", "subnet-bastion", "subnet-azurefirewallsubnet"]
            .into_iter()
            .chain(["subnet-azurefirewallmanagementsubnet"])
            .map(str::to_owned)
            .chain(step_names)
            .collect();
        for remote in &self.remotes {
            let mut sides = sides(own, remote).map(|(from, to)| (from, to, between(seen, from, to)));
            sides.sort_by_key(|(.., have)| !have.is_some_and(|p| Peering(p).state() == "Disconnected"));
            for (from, to, have) in sides {
                let what = step_name(from, to);
                let id =
                    have.map_or_else(|| from.child(Kind::Peering, &name_for(want.bastion(), to)), |p| p.id.clone());
                if have.is_some_and(|peering| owner(peering).is_none()) {
                    continue;
                }
                let after: Vec<&str> = names.iter().map(String::as_str).collect();
                let node = Node {
                    what: &what,
                    id: &id,
                    resource: format!("peering from {} to {}", from.name(), to.name()),
                    body: body(to),
                    fill: Vec::new(),
                    details: vec![Detail::added("access", "between the two networks; no gateway, nothing forwarded")],
                    reason: "the two networks reach each other only with a peering in both",
                    after: &after,
                };
                let lines = have.filter(|p| Peering(p).state() == "Disconnected");
                let lines = lines.map(|_| Detail::changed("state", "Disconnected", "Connected")).into_iter().collect();
                plan.node(node, have.map_or(There::Nothing, There::Kept), lines);
                names.push(what);
            }
        }
    }

    /// The steps of peerings, by name.
    pub(super) fn peering_steps(&self) -> Vec<String> {
        let own = &self.want.names.network;
        let all = self.remotes.iter().flat_map(|remote| sides(own, remote));
        all.map(|(from, to)| step_name(from, to)).collect()
    }
}

fn step_name(from: &Id, to: &Id) -> String {
    format!("peering-{}-{}-{}-{}", from.group_id().name(), from.name(), to.group_id().name(), to.name()).to_lowercase()
}

/// Nothing that Azure would do by default is left to it: who may pass is part of what a plan shows.
fn body(remote: &Id) -> serde_json::Value {
    json!({"properties": {
        "remoteVirtualNetwork": {"id": remote.as_str()},
        "allowVirtualNetworkAccess": true,
        "allowForwardedTraffic": false,
        "allowGatewayTransit": false,
        "useRemoteGateways": false,
    }})
}

/// Removes peerings one after another. Returns the steps.
pub(super) fn remove(plan: &mut Differ<'_>, going: &[&Resource], why: Why, after: &[StepId]) -> Vec<StepId> {
    let mut steps: Vec<StepId> = Vec::new();
    for peering in going {
        let reason = match peering.state {
            State::Deleting => "Azure is removing it already: that is waited for",
            _ => why.reason,
        };
        let mut draft = Draft::new(Op::Delete, words(peering), reason);
        draft.impact = why.impact;
        draft.after = after.iter().cloned().chain(steps.last().cloned()).collect();
        let remote = Peering(peering).remote().unwrap_or_else(|| peering.id.clone());
        let what = format!("delete-{}", step_name(&peering.id.parent(), &remote));
        steps.push(plan.id(&what));
        plan.push(&what, draft, Call::Delete { id: peering.id.clone() });
    }
    steps
}

/// What others have at the other side of a network that goes away: Azure leaves it there, disconnected.
pub(super) fn left_alone(seen: &Observed, bastion: &str, networks: &[&Id]) -> Vec<String> {
    let leads = |p: &&Resource| Peering(p).remote().is_some_and(|to| networks.contains(&&to));
    let theirs =
        seen.of_kind(Kind::Peering).filter(|p| owner(p).is_none_or(|(owner, _)| owner != bastion)).filter(leads);
    theirs
        .map(|p| {
            format!(
                "the peering {} in {} is not gangplank's and stays, disconnected: `az network vnet peering delete --ids {}` removes it",
                p.name(),
                p.id.parent().name(),
                p.id.argument()
            )
        })
        .collect()
}

/// What the bastions after this one must leave free, where all of a run's are decided before any is made.
pub(super) fn anticipate(seen: &mut Observed, puts: &[(Id, serde_json::Value)]) {
    let space = |seen: &Observed, id: &Id| {
        let planned =
            puts.iter().find(|(put, _)| put == id).and_then(|(_, body)| body.pointer("/properties/addressSpace"));
        planned.or_else(|| seen.get(id)?.raw.pointer("/properties/addressSpace")).cloned()
    };
    for (id, body) in puts.iter().filter(|(id, _)| id.kind() == Some(Kind::Peering)) {
        let mut raw = body.clone();
        raw["id"] = json!(id.as_str());
        let Some(remote) = Resource::read(&raw).and_then(|p| Peering(&p).remote()) else { continue };
        if let Some(space) = space(seen, &remote) {
            raw["properties"]["remoteVirtualNetworkAddressSpace"] = space;
        }
        if let Some(peering) = Resource::read(&raw) {
            seen.resources.retain(|r| r.id != peering.id);
            seen.resources.push(peering);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peering(id: &str, remote: &str) -> Resource {
        let raw = json!({"id": id, "properties": {"remoteVirtualNetwork": {"id": remote}}});
        Resource::read(&raw).expect("a peering")
    }

    #[test]
    fn two_marks_make_a_peering_ours() {
        let network = |subscription: &str, name: &str| Id::group(subscription, "rg").resource(Kind::Network, name);
        let (own, data) = (network("a", "gangplank-warehouse"), network("b", "vnet-data"));
        let at = |from: &Id, name: &str, to: &Id| peering(from.child(Kind::Peering, name).as_str(), to.as_str());
        let whose = |p: &Resource| owner(p).map(|(bastion, _)| bastion);
        let (forth, back) = (name_for("warehouse", &data), name_for("warehouse", &own));
        assert_eq!(whose(&at(&own, &forth, &data)).as_deref(), Some("warehouse"));
        assert_eq!(whose(&at(&data, &back, &own)).as_deref(), Some("warehouse"));
        assert_eq!(
            whose(&at(&data, &back.to_uppercase(), &Id::new(own.as_str().to_uppercase()))).as_deref(),
            Some("warehouse")
        );
        assert_eq!(whose(&at(&data, "to-the-bastion", &own)), None, "another name");
        assert_eq!(whose(&at(&data, &forth, &own)), None, "the name of one to another network");
        let other = network("b", "vnet-hub");
        assert_eq!(whose(&at(&data, &name_for("warehouse", &other), &other)), None, "neither network is a bastion's");
        let again = network("c", "gangplank-warehouse");
        assert_ne!(name_for("warehouse", &again), back, "a bastion of this name in another subscription");
        assert!(name_for(&"a".repeat(32), &data).len() <= 80);
    }
}
