//! Who made what, by the calls: what a tag or a name says proves nothing to a judge.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::{
    call::{Call, Cloud},
    cloud::State,
    ec2::model::{Region, Tags},
};
use jiff::Timestamp;

/// What people made and wrote. Everything else was made by gangplank's calls.
#[derive(Clone, Debug, Default)]
pub struct ResourceProvenance {
    /// The ids of everything that is other people's; Azure's in lower case.
    foreign: BTreeSet<String>,
    /// Of those, what carries both of a bastion's marks, because somebody had more than the right to tag. gangplank may delete it.
    two_marks: BTreeSet<String>,
    /// The keys of the tags that somebody wrote on what is other people's, by its id.
    tagged: BTreeMap<String, BTreeSet<String>>,
    /// Addresses that a rule of a group names, and since when.
    settled: BTreeMap<String, Timestamp>,
    /// Addresses that were there when a run was interrupted, and not settled.
    abandoned: BTreeSet<String>,
    /// Addresses that were too new to be seen by a run that took a bastion away, and with it what names them.
    unseen: BTreeSet<String>,
    /// What of the bastions' carries an end that only somebody's tag says.
    forged: BTreeSet<String>,
}

impl ResourceProvenance {
    pub fn new(worlds: &State) -> Self {
        Self { foreign: ids(worlds), ..Self::default() }
    }

    /// Whether gangplank made it.
    pub fn is_own(&self, id: &str) -> bool {
        !self.foreign.contains(id)
    }

    /// Whether it is other people's and nothing may happen to it.
    pub fn is_untouchable(&self, id: &str) -> bool {
        self.foreign.contains(id) && !self.two_marks.contains(id)
    }

    pub fn is_forged(&self, id: &str) -> bool {
        self.forged.contains(id)
    }

    /// The keys of the tags that somebody wrote on it.
    pub fn tagged_keys(&self, id: &str) -> Option<&BTreeSet<String>> {
        self.tagged.get(id)
    }

    /// What people made just now: what is there and was not before.
    pub fn made_by_people(&mut self, worlds: &State, before: &BTreeSet<String>, two_marks: bool) {
        let new: Vec<String> = ids(worlds).into_iter().filter(|id| !before.contains(id)).collect();
        if two_marks {
            self.two_marks.extend(new.iter().cloned());
        }
        self.foreign.extend(new);
    }

    /// Somebody wrote tags on what is other people's.
    pub fn tagged_by_people(&mut self, id: &str, tags: &Tags) {
        self.tagged.entry(id.to_owned()).or_default().extend(tags.keys().cloned());
    }

    /// Somebody wrote an end on what is a bastion's.
    pub fn forged_by_people(&mut self, id: &str) {
        self.forged.insert(id.to_owned());
    }

    /// gangplank has put every end right.
    pub fn repaired(&mut self) {
        self.forged.clear();
    }

    /// Whether it is an address that an interrupted run allocated and nothing has put to use since. Nothing shows whose it is but its
    /// tags, which are not enough: it may stay.
    pub fn is_stray_address(&self, id: &str) -> bool {
        self.abandoned.contains(id) && !self.settled.contains_key(id) || self.unseen.contains(id)
    }

    /// A run in bad weather is over: what it allocated last, nobody may find again.
    pub fn interrupted(&mut self, worlds: &State) {
        let all = worlds.ec2.regions.values().flat_map(|region| region.addresses.keys());
        let unsettled = all.filter(|id| !self.settled.contains_key(*id) && !self.foreign.contains(*id));
        self.abandoned.extend(unsettled.cloned());
        self.unseen.retain(|id| !worlds.ec2.regions.values().any(|region| is_named(region, id)));
    }

    /// A run begins to take bastions away, and reads may show it the clouds as they were.
    pub fn removal_begins(&mut self, worlds: &State, now: Timestamp) {
        let Some(lag) = worlds.ec2.lag else { return };
        let young = self.settled.iter().filter(|(_, since)| **since + lag > now);
        self.unseen.extend(young.map(|(id, _)| id.clone()));
    }

    /// On Azure a name comes back: what gangplank creates where something of somebody's has been is gangplank's.
    pub fn after_write(&mut self, worlds: &State, call: &Call) {
        if call.cloud == Cloud::Aws {
            self.settle_addresses(worlds, call.time);
        }
        if call.status == Some(201)
            && let Some(path) = call.operation.strip_prefix("PUT ")
        {
            let id = path.trim_end_matches('/').to_lowercase();
            self.foreign.remove(&id);
            self.two_marks.remove(&id);
            self.forged.remove(&id);
        }
    }
}

impl ResourceProvenance {
    fn settle_addresses(&mut self, worlds: &State, now: Timestamp) {
        for region in worlds.ec2.regions.values() {
            // One that no rule names leads to its machine at the most, and is a stray one once that is gone.
            for id in region.addresses.keys() {
                if !self.settled.contains_key(id) && is_named(region, id) {
                    self.settled.insert(id.clone(), now);
                }
            }
        }
    }

    /// People changed something: the rule of a group that names an address may have been among it.
    pub fn people_changed(&mut self, worlds: &State) {
        for region in worlds.ec2.regions.values() {
            let unnamed = region.addresses.keys().filter(|id| !self.foreign.contains(*id) && !is_named(region, id));
            for id in unnamed {
                self.settled.remove(id);
                self.abandoned.insert(id.clone());
            }
        }
    }
}

/// Whether a rule of a group names an address.
fn is_named(region: &Region, address: &str) -> bool {
    let mut rules = region.groups.values().flat_map(|group| group.rules.values());
    rules.any(|rule| rule.description.as_ref().is_some_and(|text| text.contains(address)))
}

/// Everything that is there, instances among it that are on their way out.
pub fn ids(worlds: &State) -> BTreeSet<String> {
    let instances = worlds.ec2.regions.values().flat_map(|region| region.instances.keys().cloned());
    worlds.inventory(Timestamp::UNIX_EPOCH).into_iter().chain(instances).collect()
}
