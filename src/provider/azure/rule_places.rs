//! Where a bastion has rules in firewalls and policies of other subscriptions. No list of its own subscription shows them, so its network
//! security group names each in a tag: from before the rule is written until after it has gone. So it is found when the plan has come to
//! name another edge, and without a plan.

use super::{
    edge::Nat,
    id::{Id, Kind},
    observed::{Observed, Resource},
    steps::Differ,
    tags::{TagChange, Tags},
    teardown::rules_elsewhere,
};
use crate::{changeset::StepId, cloud_error::CloudError};

const KEY: &str = "gangplank:rules-";
/// Azure's limit of a tag's value. A longer id is not remembered.
const LONGEST: usize = 256;

/// A firewall or policy that a network security group names.
pub(super) struct RulePlace<'a> {
    pub group: &'a Resource,
    pub key: &'a str,
    pub holder: Id,
}

/// What the network security groups of a bastion name; of every bastion where none is named.
pub(super) fn named<'a>(seen: &'a Observed, bastion: Option<&'a str>) -> Vec<RulePlace<'a>> {
    let groups = seen.of_kind(Kind::SecurityGroup);
    let groups = groups.filter(|r| r.owner().is_some_and(|owner| bastion.is_none_or(|bastion| owner == bastion)));
    let of = |group: &'a Resource| {
        let tags = group.tags.iter().filter(|(key, _)| key.starts_with(KEY));
        tags.map(move |(key, id)| RulePlace { group, key, holder: Id::new(id.as_str()) })
    };
    groups.flat_map(of).filter(|place| matches!(place.holder.kind(), Some(Kind::Policy | Kind::Firewall))).collect()
}

/// The tags of the network security group that say it: of where the rule shall be, and of where one is still left or may be.
pub(super) fn tags(seen: &Observed, bastion: &str, subscription: &str, nat: &Nat) -> Tags {
    let current = match nat {
        Nat::None => None,
        Nat::Group { policy: holder, .. } | Nat::Classic { firewall: holder, .. } => Some(holder),
    };
    let current = current.filter(|id| !id.is_in(subscription) && id.as_str().len() <= LONGEST);
    let left = named(seen, Some(bastion)).into_iter().filter(|place| is_left(seen, bastion, &place.holder));
    let left = left.map(|place| (place.key.to_owned(), place.holder.to_string()));
    left.chain(current.map(|id| (key(id), id.to_string()))).collect()
}

fn key(holder: &Id) -> String {
    format!("{KEY}{}", super::peering::digest(holder))
}

fn is_left(seen: &Observed, bastion: &str, holder: &Id) -> bool {
    let holds = |id: &Id| id.is_within(holder);
    seen.unread.contains_key(holder) || rules_elsewhere(seen, bastion).iter().any(|rules| holds(&rules.holder.id))
}

/// Takes off the tags of places whose rules `steps` remove, once they have.
pub(super) fn forget(plan: &mut Differ<'_>, seen: &Observed, bastion: &str, kept: Option<&Id>, steps: &[StepId]) {
    let gone = |place: &RulePlace<'_>| {
        let stays = kept.is_some_and(|kept| kept.is_within(&place.holder));
        !stays && !seen.unread.contains_key(&place.holder) && is_left(seen, bastion, &place.holder)
    };
    for (i, place) in named(seen, Some(bastion)).into_iter().filter(gone).enumerate() {
        let change = TagChange { set: Tags::new(), remove: vec![place.key.to_owned()] };
        let after = steps.iter().cloned().chain(plan.planned(&["security-group"])).collect();
        plan.tags(
            &format!("forget-rules-{i}"),
            &place.group.words(),
            &place.group.id,
            &change,
            &place.group.tags,
            after,
        );
    }
}

/// What may be left of the bastion where this account may not look.
pub(super) fn unread<'a>(seen: &'a Observed, bastion: &str) -> Vec<(Id, &'a CloudError)> {
    let places = named(seen, Some(bastion)).into_iter();
    places.filter_map(|place| Some((place.holder.clone(), seen.unread.get(&place.holder)?))).collect()
}
