//! All that gangplank has in subscriptions, by its tags and names and without a plan. Fourteen calls a subscription, however many bastions
//! there are, and one for each policy of others with rules of ours (pages aside).

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{
    action::Action,
    arm::Arm,
    doubts::{self, Use},
    fleet::identified,
    history,
    id::{Id, Kind},
    identity, observe,
    observed::{Lock, Observed, Resource, State, list, text},
    ownership::{Foreign, machine_facts},
    peering,
    perform::Performer,
    retry::Repeat,
    rules,
    tags::{self, Tags},
    teardown,
    views::{Firewall, Machine, Peering},
};
use crate::{
    changeset::{Changeset, StepId},
    cloud_error::CloudError,
    cost::{self, Item},
    event::Watcher,
    location::{CloudAccount, CloudKind, Location, PriceRegion},
    provider::{Progress, identity::IdentifiedAccount},
    reap::{Expires, Found, MachineFacts, Part, Stranger, began, is_name, other_ends, written_before},
};

/// What an activity log may take: who made a machine is good to know, and no reason to wait long.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// Subscriptions of one tenant, as one identity.
pub struct Estate {
    arm: Arm,
    subscriptions: BTreeSet<String>,
}

/// What a subscription has of gangplank's, or of what looks like it.
#[derive(Debug, Default)]
pub struct Sight {
    /// Each with what removes it.
    pub found: Vec<(Found, Changeset<Action>)>,
    pub strangers: Vec<Stranger>,
}

impl Estate {
    pub fn new(arm: Arm, subscriptions: &[String]) -> Self {
        let subscriptions = subscriptions.iter().map(|id| id.to_ascii_lowercase()).collect();
        Self { arm, subscriptions }
    }

    /// Of every subscription that these credentials can see as well.
    ///
    /// # Errors
    /// Azure does not list them.
    pub async fn of_the_tenant(arm: Arm, named: &[String], watcher: &dyn Watcher) -> Result<Self, CloudError> {
        let step = StepId("azure/subscriptions".to_owned());
        let all = observe::subscriptions(&arm, &Progress { step: &step, watcher }).await?;
        let all: Vec<String> = all.into_iter().chain(named.iter().cloned()).collect();
        Ok(Self::new(arm, &all))
    }

    /// Whose subscriptions these are: one call for each that is not known already.
    pub async fn identify(
        &self,
        known: impl Fn(&str) -> Option<IdentifiedAccount>,
        watcher: &dyn Watcher,
    ) -> Vec<IdentifiedAccount> {
        let each = self.subscriptions.iter().map(async |subscription| {
            if let Some(known) = known(subscription) {
                return known;
            }
            let step = StepId(format!("{subscription}/identity"));
            let told = identity::subscription(&self.arm, subscription, &Progress { step: &step, watcher }).await;
            identified(subscription, told)
        });
        join_all(each).await
    }

    /// Looks at every subscription at once. Writes nothing. One that can't be read is told by itself.
    pub async fn look(&self, watcher: &dyn Watcher) -> Vec<(Location, Result<Sight, CloudError>)> {
        let each = self.subscriptions.iter().map(async |subscription| {
            let step = StepId(format!("{subscription}/observe"));
            let seen = observe::estate(&self.arm, subscription, &Progress { step: &step, watcher }).await;
            (Location::subscription(subscription), seen.map(|seen| sight(subscription, &seen)))
        });
        join_all(each).await
    }

    /// Who made a machine that was seen, as the activity log says; `None` where it does not.
    pub async fn launcher(
        &self,
        location: &Location,
        machine: &MachineFacts,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) -> Option<String> {
        let CloudAccount::Azure { subscription, .. } = &location.account else { return None };
        let id = Id::new(machine.id.as_str());
        let request = history::creation_request(&id, machine.launched?, now)?;
        let step = StepId(format!("{subscription}/activity-log"));
        let progress = Progress { step: &step, watcher };
        let answer = tokio::time::timeout(LOG_PATIENCE, self.arm.call(&request, Repeat::ONCE, &progress)).await;
        history::creator(&answer.ok()?.ok()?.body, &id)
    }

    pub fn performer(&self) -> Performer<'_> {
        Performer::new(&self.arm)
    }
}

fn sight(subscription: &str, seen: &Observed) -> Sight {
    let location = Location::subscription(subscription);
    let tagged = seen.resources.iter().filter_map(|r| r.owner().map(str::to_owned));
    let others = by_rules(seen).into_iter().chain(by_peerings(subscription, seen)).chain(by_machines(seen));
    let names: BTreeSet<String> = tagged.chain(others).collect();
    let mut sight = Sight { found: Vec::new(), strangers: strangers(&location, seen) };
    sight.strangers.extend(lost_peerings(subscription, &location, seen));
    sight.strangers.extend(seen.foreign(None).iter().map(|foreign| tagged_stranger(&location, seen, foreign)));
    for name in &names {
        if !is_name(name) {
            continue;
        }
        let set = teardown::by_tag(name, subscription, seen);
        let mut found = found(name, subscription, seen, &set);
        if !found.has_machine {
            // One of its name elsewhere keeps nothing of the bastion, and is told where nothing of it is left.
            let near = |one: &&Use<'_>| found.parts.is_empty() || doubts::is_near(one, name, None, seen);
            let uses = doubts::in_use(name, seen);
            let used: Vec<String> = uses.iter().filter(near).map(Use::words).collect();
            found.in_use = used;
        }
        if !found.parts.is_empty() || !found.in_use.is_empty() {
            sight.found.push((found, set));
        }
    }
    sight
}

/// The bastions whose rules stand in firewalls and policies of others: by the collection's name and by what the rules say.
fn by_rules(seen: &Observed) -> Vec<String> {
    let name = |name: &str| name.to_ascii_lowercase().strip_prefix("gangplank-").map(str::to_owned);
    let groups = seen.of_kind(Kind::RuleGroup).filter_map(|g| name(g.name()));
    let firewalls = seen.of_kind(Kind::Firewall).flat_map(|f| Firewall(f).nat_collections());
    let classic = firewalls.filter_map(|collection| name(text(collection, "/name")));
    groups.chain(classic).filter(|name| is_name(name) && !teardown::rules_elsewhere(seen, name).is_empty()).collect()
}

/// The bastions of this subscription that have peerings anywhere in it, and perhaps no network any more.
fn by_peerings(subscription: &str, seen: &Observed) -> Vec<String> {
    let all = seen.of_kind(Kind::Peering).filter_map(peering::owner);
    all.filter(|(name, network)| is_name(name) && network.is_in(subscription)).map(|(name, _)| name).collect()
}

/// The bastions whose machines' names are there, which no tag changes.
fn by_machines(seen: &Observed) -> Vec<String> {
    let name = |m: &Resource| m.name().to_ascii_lowercase().strip_prefix("gangplank-").map(str::to_owned);
    seen.of_kind(Kind::Machine).filter_map(name).filter(|name| is_name(name)).collect()
}

/// What is left here of peerings with networks of bastions in other subscriptions, which nothing there leads to any more.
fn lost_peerings(subscription: &str, location: &Location, seen: &Observed) -> Vec<Stranger> {
    let lost = |p: &&Resource| {
        Peering(p).state().eq_ignore_ascii_case("Disconnected")
            && p.id.is_in(subscription)
            && peering::owner(p).is_some_and(|(_, network)| !network.is_in(subscription))
    };
    let all = seen.of_kind(Kind::Peering).filter(lost);
    all.map(|p| Stranger {
        location: location.clone(),
        priced_at: location.price_region(),
        what: peering::words(p),
        called: p.name().to_owned(),
        why: format!(
            "it is called as gangplank's own are, and its other side is gone: `az network vnet peering delete --ids {}` removes it",
            p.id.argument()
        ),
        tagged: None,
        items: Vec::new(),
        machine: None,
    })
    .collect()
}

fn found(name: &str, subscription: &str, seen: &Observed, set: &Changeset<Action>) -> Found {
    let location = Location::subscription(subscription);
    let owned: Vec<&Resource> = seen.owned(name).filter(|r| !teardown::goes_with_machine(r, seen)).collect();
    let machines = || owned.iter().filter(|r| r.kind == Kind::Machine);
    let mut parts: Vec<Part> = owned.iter().map(|r| part(r, seen)).collect();
    let rules = teardown::rules_elsewhere(seen, name);
    let plain = |what: String| Part { what, items: Vec::new(), machine: None };
    parts.extend(rules.iter().map(|r| plain(format!("DNAT rules in {}", r.holder.words()))));
    let peerings = peering::of(seen, name, subscription);
    parts.extend(peerings.iter().map(|p| plain(peering::words(p))));
    let going = seen.resources.iter().filter(|r| r.is_owned(name) && r.state == State::Deleting);
    parts.extend(going.map(|r| plain(format!("{}, which Azure is removing", r.words()))));
    // A disk has the tags that its machine had when it was made: what was decided since is not among them.
    let dated: Vec<&Tags> = owned.iter().filter(|r| r.kind != Kind::Disk).map(|r| &r.tags).collect();
    let created = machines().filter_map(|m| m.text("/properties/timeCreated").parse::<Timestamp>().ok());
    let created = created.min();
    let expires = Expires::of(written_before(&dated, created));
    Found {
        bastion: name.to_owned(),
        location: location.clone(),
        priced_at: owned
            .iter()
            .find(|r| !r.location.is_empty())
            .map_or_else(|| location.price_region(), |r| PriceRegion::new(CloudKind::Azure, &r.location)),
        other_ends: other_ends(&expires, dated.iter().copied()),
        expires,
        has_machine: machines().next().is_some(),
        in_use: Vec::new(),
        guests: doubts::guests(name, seen).iter().map(ToString::to_string).collect(),
        busy: owned.iter().any(|r| r.state == State::Busy),
        made: dated.iter().filter_map(|tags| began(tags)).chain(created).min(),
        parts,
        notes: set.notes.clone(),
        protected: protected(&owned, &rules, &peerings, seen),
    }
}

/// Locks by which Azure would refuse to take a bastion away.
fn protected(
    owned: &[&Resource],
    rules: &[teardown::Rules<'_>],
    peerings: &[&Resource],
    seen: &Observed,
) -> Vec<String> {
    let covers = |lock: &&Lock| {
        let of_rules = rules.iter().map(|r| r.holder).any(|holder| {
            // A classic collection goes by a change of its firewall, not by a removal.
            holder.id.is_within(&lock.scope) && (holder.kind == Kind::RuleGroup || lock.read_only)
        });
        of_rules || owned.iter().chain(peerings).any(|r| r.id.is_within(&lock.scope))
    };
    let what = |lock: &Lock| match lock.scope.kind() {
        Some(kind) => format!("{} {}: the lock {}", kind.words(), lock.scope.name(), lock.name),
        None => format!("{}: the lock {}", lock.scope.name(), lock.name),
    };
    seen.locks.iter().flatten().filter(covers).map(what).collect()
}

fn part(resource: &Resource, seen: &Observed) -> Part {
    let items = match resource.kind {
        Kind::Machine if Machine(resource).power() == "deallocated" => vec![cost::disk()],
        Kind::Machine => vec![cost::machine(Machine(resource).size()), cost::disk()],
        Kind::Address => vec![Item::one("public address")],
        Kind::Firewall => vec![Item::one(format!("firewall {}", Firewall(resource).tier()))],
        Kind::Policy => vec![Item::one("firewall policy")],
        Kind::Disk => {
            let gib = resource.raw.pointer("/properties/diskSizeGB").and_then(serde_json::Value::as_u64);
            vec![cost::disk_of(resource.text("/sku/name"), gib.unwrap_or_default())]
        }
        _ => Vec::new(),
    };
    let alone = resource.kind == Kind::Disk && resource.id_at("/managedBy").is_none();
    Part {
        what: format!("{}{}", resource.words(), if alone { ", attached to nothing" } else { "" }),
        items,
        machine: (resource.kind == Kind::Machine).then(|| {
            let covered = |locks: &Vec<Lock>| locks.iter().any(|lock| resource.id.is_within(&lock.scope));
            MachineFacts { protected: seen.locks.as_ref().map(covered), ..machine_facts(resource) }
        }),
    }
}

/// What carries a bastion's tag and is not its own.
fn tagged_stranger(location: &Location, seen: &Observed, foreign: &Foreign<'_>) -> Stranger {
    let part = foreign.resource.map(|resource| part(resource, seen));
    let (items, machine) = part.map_or_else(|| (Vec::new(), None), |part| (part.items, part.machine));
    let place = foreign.resource.filter(|r| !r.location.is_empty());
    Stranger {
        location: location.clone(),
        priced_at: place.map_or_else(|| location.price_region(), |r| PriceRegion::new(CloudKind::Azure, &r.location)),
        what: foreign.words(),
        called: foreign.id.name().to_owned(),
        why: if is_name(foreign.bastion) {
            format!("it carries the tag of the bastion {}, but {}", foreign.bastion, foreign.reason)
        } else {
            format!("it carries the tag {} with {:?}, and no plan can have that name", tags::BASTION, foreign.bastion)
        },
        tagged: Some(foreign.bastion.to_owned()),
        items,
        machine,
    }
}

/// What is called as ours are and does not carry the tag.
fn strangers(location: &Location, seen: &Observed) -> Vec<Stranger> {
    let alike = |r: &&Resource| {
        r.name().to_ascii_lowercase().starts_with("gangplank-")
            && !r.tags.contains_key(tags::BASTION)
            && !matches!(r.kind, Kind::RuleGroup | Kind::Subnet | Kind::Peering)
            && (r.kind != Kind::Disk || r.id_at("/managedBy").is_none())
            && r.state != State::Deleting
    };
    let stranger = |r: &Resource, what: String| Stranger {
        location: location.clone(),
        priced_at: PriceRegion::new(CloudKind::Azure, &r.location),
        what,
        called: r.name().to_owned(),
        why: format!("it is called as gangplank's own are and has no tag {}", tags::BASTION),
        tagged: None,
        items: part(r, seen).items,
        machine: part(r, seen).machine,
    };
    let resources = seen.resources.iter().filter(alike).map(|r| stranger(r, part(r, seen).what));
    let rules = seen.of_kind(Kind::RuleGroup).filter(|g| {
        let name = g.name().to_ascii_lowercase();
        let marked =
            |bastion: &str| rules::nat_rules(&g.raw).any(|rule| tags::is_marked(text(rule, "/description"), bastion));
        name.strip_prefix("gangplank-").is_some_and(|bastion| !marked(bastion))
            && !list(&g.raw, "/properties/ruleCollections").is_empty()
    });
    let rules = rules.map(|g| Stranger {
        why: "it is called as gangplank's own are, and no rule in it says that it is".to_owned(),
        ..stranger(g, g.words())
    });
    resources.chain(rules).collect()
}
