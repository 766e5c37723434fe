//! The invariants, judged on the worlds and not by anything that gangplank says.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::{
    call::{Call, Cloud},
    cloud::State,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    meddler::{self, MEDDLER, Touched},
    plans::Bastion,
    view::{all_of, beside, counts, exposed, runs},
};

/// What one of the invariants says, and how it was broken.
pub struct Judge {
    /// Of the story's bastions; those of others are other people's.
    bastions: Vec<&'static str>,
    /// The clouds that the story's plans name.
    clouds: Vec<Cloud>,
    /// Whom the plans that were applied so far admit, by bastion.
    admitted: BTreeSet<(String, String)>,
    /// What is nobody's of ours, as people have left it.
    foreign: BTreeMap<String, Value>,
    /// The ids of everything that is other people's.
    theirs: BTreeSet<String>,
    /// The first that was broken.
    pub broken: Option<String>,
}

impl Judge {
    pub fn new(worlds: &State, bastions: Vec<&'static str>, clouds: Vec<Cloud>) -> Self {
        let theirs = worlds.inventory(Timestamp::UNIX_EPOCH).into_iter().collect();
        let (admitted, foreign) = (BTreeSet::new(), BTreeMap::new());
        let mut judge = Self { bastions, clouds, admitted, foreign, theirs, broken: None };
        judge.foreign = judge.foreign_now(worlds);
        judge
    }

    fn foreign_now(&self, worlds: &State) -> BTreeMap<String, Value> {
        beside(worlds, &self.clouds, &|name| self.bastions.contains(&name))
    }

    pub fn admit(&mut self, bastion: &str, sources: &BTreeSet<String>) {
        self.admitted.extend(sources.iter().map(|source| (bastion.to_owned(), source.clone())));
    }

    pub fn breaks(&mut self, invariant: &str, how: impl Into<String>) {
        let how = how.into();
        self.broken.get_or_insert_with(|| format!("{invariant}: {how}"));
    }

    /// Before each call: a cloud that no plan names is not asked, so that nothing there has to be compared.
    pub fn hear(&mut self, call: &Call) {
        if !self.clouds.contains(&call.cloud) {
            self.breaks("only its own", format!("{} in a cloud that no plan names", call.operation));
        }
    }

    /// After each write: nobody is let in whom no plan lists.
    pub fn look(&mut self, worlds: &State, call: &Call) {
        for (bastion, source) in exposed(worlds, call.cloud) {
            if source != MEDDLER && !self.admitted.contains(&(bastion.clone(), source.clone())) {
                self.breaks("least exposure", format!("{} lets {source} into {bastion}", call.operation));
            }
        }
    }

    /// Nothing is there twice; where a bastion is to stand, everything is there.
    pub fn once(&mut self, worlds: &State, bastion: &str, on_aws: bool, stands: bool) {
        for (what, count) in counts(worlds, bastion, on_aws) {
            if count > 1 {
                self.breaks("no duplicate", format!("{count} of {bastion}'s {what}"));
            } else if stands && count == 0 {
                self.breaks("convergence", format!("{bastion} has no {what}, and nobody says so"));
            }
        }
    }

    /// A bastion that stands lets exactly those in whom its plan lists, whatever somebody has opened, and its machine runs.
    pub fn as_listed(&mut self, worlds: &State, bastion: Bastion, sources: &BTreeSet<String>, now: Timestamp) {
        let (bastion, cloud) = (bastion.name, bastion.cloud());
        let exposed = exposed(worlds, cloud).into_iter().filter(|(owner, _)| owner == bastion);
        let exposed: BTreeSet<String> = exposed.map(|(_, source)| source).collect();
        if exposed != *sources {
            self.breaks("convergence", format!("{bastion} lets in {exposed:?} and its plan {sources:?}"));
        }
        if !runs(worlds, bastion, cloud, now) {
            self.breaks("convergence", format!("{bastion}'s machine does not run, and nobody says so"));
        }
    }

    /// What is other people's is as they have left it.
    pub fn nothing_foreign_is_touched(&mut self, worlds: &State) {
        let now = self.foreign_now(worlds);
        if let Some((_, how)) = difference(&self.foreign, &now) {
            self.breaks("only its own", how);
        }
    }

    pub fn nothing_is_left(&mut self, worlds: &State, now: Timestamp) {
        if let Some(id) = worlds.inventory(now).into_iter().find(|id| !self.theirs.contains(id)) {
            self.breaks("destroy leaves nothing", id);
        }
    }

    /// Everything but these bastions', to be held against what is there after they were reaped.
    pub fn beside(&self, worlds: &State, due: &[&str]) -> BTreeMap<String, Value> {
        beside(worlds, &self.clouds, &|name| due.contains(&name))
    }

    /// While some bastions are reaped, nothing happens to anything else.
    pub fn only_what_is_due(&mut self, worlds: &State, due: &[&str], before: &BTreeMap<String, Value>) {
        if let Some((id, how)) = difference(before, &self.beside(worlds, due)) {
            let invariant = if self.foreign.contains_key(&id) { "only its own" } else { "only what is due" };
            self.breaks(invariant, how);
        }
    }

    pub fn reaped(&mut self, worlds: &State, bastion: &str, now: Timestamp) {
        if let Some(id) = all_of(worlds, bastion, now).into_iter().next() {
            self.breaks("reap leaves nothing", format!("{id} of {bastion}"));
        }
    }

    /// Somebody changes something by hand. Whether there was something to change.
    pub fn meddle(&mut self, worlds: &mut State, rng: &mut fastrand::Rng, cloud: Cloud, now: Timestamp) -> bool {
        // Before somebody changes it: else that would hide what gangplank has changed.
        self.nothing_foreign_is_touched(worlds);
        let there = worlds.inventory(now);
        match meddler::meddle(worlds, rng, cloud, now) {
            Some(Touched::Theirs(id)) => {
                self.theirs.extend(worlds.inventory(now).into_iter().filter(|id| !there.contains(id)));
                if let Some(is) = self.foreign_now(worlds).remove(&id) {
                    self.foreign.insert(id, is);
                }
            }
            Some(Touched::Ours) => {}
            None => return false,
        }
        true
    }

    /// People take what they have put into bastions' networks away.
    pub fn others_leave(&mut self, worlds: &mut State, now: Timestamp) -> bool {
        let Some(id) = meddler::leave(worlds, now) else { return false };
        self.foreign.remove(&id);
        true
    }
}

/// The first thing that was there and is gone or another, and how.
fn difference(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Option<(String, String)> {
    before.iter().find_map(|(id, was)| match after.get(id) {
        Some(is) if is == was => None,
        Some(is) => Some((id.clone(), format!("{id} was {was} and is {is}"))),
        None => Some((id.clone(), format!("{id} is gone"))),
    })
}
