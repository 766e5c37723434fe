//! All that gangplank has in subscriptions, by its tags and without a plan. Thirteen calls a subscription, however many bastions there are,
//! and one for each policy of others with rules of ours (pages aside).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{
    action::Action,
    arm::Arm,
    fleet::identified,
    id::Kind,
    identity, observe,
    observed::{Observed, Resource, State, list, text},
    perform::Performer,
    rules,
    tags::{self, Tags},
    teardown,
    views::{Firewall, Machine},
};
use crate::{
    changeset::{Changeset, StepId},
    cost::{self, Item},
    event::Watcher,
    location::{CloudKind, Location, PriceRegion},
    provider::{CloudError, Progress, identity::IdentifiedAccount},
    reap::{Expires, Found, Part, Stranger, began, is_name},
};

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
        Self { arm, subscriptions: subscriptions.iter().cloned().collect() }
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

    pub fn performer(&self) -> Performer<'_> {
        Performer::new(&self.arm)
    }
}

fn sight(subscription: &str, seen: &Observed) -> Sight {
    let location = Location::subscription(subscription);
    let tagged = seen.resources.iter().filter_map(|r| r.tags.get(tags::BASTION).cloned());
    let names: BTreeSet<String> = tagged.chain(by_rules(seen)).collect();
    let mut sight = Sight { found: Vec::new(), strangers: strangers(&location, seen) };
    for name in &names {
        if !is_name(name) {
            sight.strangers.push(Stranger {
                location: location.clone(),
                priced_at: location.price_region(),
                what: format!("what carries the tag {} with {name:?}", tags::BASTION),
                called: name.clone(),
                why: "no plan can have that name".to_owned(),
                tagged: Some(name.clone()),
                items: Vec::new(),
                machine: None,
            });
            continue;
        }
        let set = teardown::by_tag(name, subscription, seen);
        let found = found(name, &location, seen, &set);
        if !found.parts.is_empty() {
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

fn found(name: &str, location: &Location, seen: &Observed, set: &Changeset<Action>) -> Found {
    let owned: Vec<&Resource> = seen.owned(name).filter(|r| !teardown::goes_with_machine(r, seen)).collect();
    let machines = || owned.iter().filter(|r| r.kind == Kind::Machine);
    let mut parts: Vec<Part> = owned.iter().map(|r| part(r)).collect();
    let elsewhere = teardown::rules_elsewhere(seen, name).into_iter();
    let plain = |what: String| Part { what, items: Vec::new(), machine: None };
    parts.extend(elsewhere.map(|r| plain(format!("DNAT rules in {}", r.holder.words()))));
    let going = seen.resources.iter().filter(|r| r.is_owned(name) && r.state == State::Deleting);
    parts.extend(going.map(|r| plain(format!("{}, which Azure is removing", r.words()))));
    // A disk has the tags that its machine had when it was made: what was decided since is not among them.
    let dated: Vec<&Tags> = owned.iter().filter(|r| r.kind != Kind::Disk).map(|r| &r.tags).collect();
    let created = machines().filter_map(|m| m.text("/properties/timeCreated").parse::<Timestamp>().ok());
    Found {
        bastion: name.to_owned(),
        location: location.clone(),
        priced_at: owned
            .iter()
            .find(|r| !r.location.is_empty())
            .map_or_else(|| location.price_region(), |r| PriceRegion::new(CloudKind::Azure, &r.location)),
        expires: Expires::of(dated.iter().copied()),
        has_machine: machines().next().is_some(),
        busy: owned.iter().any(|r| r.state == State::Busy),
        made: dated.iter().filter_map(|tags| began(tags)).chain(created).min(),
        parts,
        notes: set.notes.clone(),
        protected: Vec::new(),
    }
}

fn part(resource: &Resource) -> Part {
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
        machine: None,
    }
}

/// What is called as ours are and does not carry the tag.
fn strangers(location: &Location, seen: &Observed) -> Vec<Stranger> {
    let alike = |r: &&Resource| {
        r.name().to_ascii_lowercase().starts_with("gangplank-")
            && !r.tags.contains_key(tags::BASTION)
            && !matches!(r.kind, Kind::RuleGroup | Kind::Subnet)
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
        items: part(r).items,
        machine: None,
    };
    let resources = seen.resources.iter().filter(alike).map(|r| stranger(r, part(r).what));
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
