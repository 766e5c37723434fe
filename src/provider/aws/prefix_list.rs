//! Managed prefix lists among a plan's sources: what stands in a list is what is admitted. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{
    judging::{Known, listed},
    rule::{Family, Peer, Rule},
};
use crate::plan::PrefixListRef;

/// So many ranges of a list are told; of more, how many there are.
const TOLD: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    pub id: String,
    pub name: String,
    /// How many entries it may have: so many rules it counts for. AWS does not say that of its own lists.
    pub most: Option<usize>,
    pub entries: Vec<IpNet>,
}

/// The lists that plans name, by their ids; where one is not known, why.
pub type PrefixLists = BTreeMap<String, Known<PrefixList>>;

impl PrefixList {
    /// How many rules one that names it counts for ("Amazon VPC quotas"). Of AWS's own lists a page alone tells that; they are taken for
    /// as many as they have entries.
    pub fn weight(&self) -> usize {
        self.most.unwrap_or(self.entries.len().max(1))
    }
}

/// # Errors
/// Why a list is not known.
pub fn find<'l>(lists: &'l PrefixLists, id: &str) -> Known<&'l PrefixList> {
    match lists.get(id) {
        Some(list) => list.as_ref().map_err(String::clone),
        None => Err(format!("EC2 was not asked about {id}")),
    }
}

/// Everything that these lists hold.
///
/// # Errors
/// Why one of them is not known.
pub fn entries<'r>(lists: &PrefixLists, of: impl IntoIterator<Item = &'r PrefixListRef>) -> Known<Vec<IpNet>> {
    let mut all = Vec::new();
    for list in of {
        all.extend(find(lists, &list.id)?.entries.iter().copied());
    }
    Ok(all)
}

/// How many rules a rule counts for in the quota of a family. Whether a list counts in its own family alone is not documented: what
/// counts in both, as groups do, is never too few.
pub fn weight(lists: &PrefixLists, rule: &Rule, family: Family) -> usize {
    match &rule.peer {
        Peer::PrefixList(id) => find(lists, id).map_or(1, PrefixList::weight),
        _ => usize::from(family.counts(rule)),
    }
}

/// A rule's peer as people read it, with what a list holds.
pub fn peer_words(lists: &PrefixLists, peer: &Peer) -> String {
    let Peer::PrefixList(id) = peer else { return peer.to_string() };
    let Ok(list) = find(lists, id) else { return id.clone() };
    let more = match list.entries.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let entries = match list.entries.as_slice() {
        [] => "no entry".to_owned(),
        entries => listed(entries.iter().take(TOLD)),
    };
    format!("{id} ({}: {entries}{more})", list.name)
}
