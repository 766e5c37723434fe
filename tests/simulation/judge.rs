//! The invariants, judged on the worlds and not by anything that gangplank says.

use std::collections::{BTreeMap, BTreeSet};

use gangplank::sandbox::{
    call::{Call, Cloud},
    cloud::State,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    external_writers::{self, ExternalWrite, ExternalWriter},
    hand,
    meddler::{self, MEDDLER, Touched},
    plans::Bastion,
    provenance::{self, ResourceProvenance},
    source_watch::SourceWatch,
    view::{
        ReapExpectation, addresses, all_of, beside, counts, exposed, holders, led_astray, reap_expectation, runs,
        undecided_end,
    },
};

/// What one of the invariants says, and how it was broken.
pub struct Judge {
    /// Of the story's bastions; those of others are other people's.
    bastions: Vec<(&'static str, Cloud)>,
    /// The clouds that the story's plans name.
    clouds: Vec<Cloud>,
    /// Whom the plans that were applied so far admit, by bastion.
    admitted: BTreeSet<(String, String)>,
    /// What is nobody's of ours, as people have left it.
    foreign: BTreeMap<String, Value>,
    made: ResourceProvenance,
    sources: SourceWatch,
    /// The instances to which addresses lead while one apply is under way that nobody disturbs.
    holders: Option<BTreeMap<String, String>>,
    /// The credentials are another account's or subscription's than the plans'.
    pub other_account: bool,
    began: Timestamp,
    /// The first that was broken.
    pub broken: Option<String>,
}

/// The shortest and the longest lifetime of the plans.
const SHORTEST: SignedDuration = SignedDuration::from_hours(30 * 24);
const LONGEST: SignedDuration = SignedDuration::from_hours(90 * 24);

impl Judge {
    pub fn new(worlds: &State, bastions: Vec<(&'static str, Cloud)>, clouds: Vec<Cloud>, began: Timestamp) -> Self {
        let mut judge = Self {
            bastions,
            clouds,
            admitted: BTreeSet::new(),
            foreign: BTreeMap::new(),
            made: ResourceProvenance::new(worlds),
            sources: SourceWatch::default(),
            holders: None,
            other_account: false,
            began,
            broken: None,
        };
        judge.foreign = judge.foreign_now(worlds);
        judge
    }

    fn foreign_now(&self, worlds: &State) -> BTreeMap<String, Value> {
        beside(worlds, &self.clouds, &self.made, &|name| self.bastions.iter().any(|(bastion, _)| *bastion == name))
    }

    pub fn admit(&mut self, bastion: &str, sources: &BTreeSet<String>) {
        self.admitted.extend(sources.iter().map(|source| (bastion.to_owned(), source.clone())));
    }

    pub fn breaks(&mut self, invariant: &str, how: impl Into<String>) {
        let how = how.into();
        self.broken.get_or_insert_with(|| format!("{invariant}: {how}"));
    }

    /// Before each call: a cloud that no plan names is not asked, so that nothing there has to be compared; and nothing is written in
    /// an account that is not the plans'.
    pub fn hear(&mut self, call: &Call) {
        if !self.clouds.contains(&call.cloud) {
            self.breaks("only its own", format!("{} in a cloud that no plan names", call.operation));
        }
        if call.write && self.other_account {
            self.breaks("the right account", format!("{} with the credentials of another account", call.operation));
        }
    }

    /// After each write: nobody is let in whom no plan lists, nobody is shut out whom the plan lists, and no address leads to a machine
    /// that gangplank has not made.
    pub fn look(&mut self, worlds: &State, call: &Call) {
        self.made.after_write(worlds, call);
        let exposed = exposed(worlds, call.cloud, &self.made);
        for (bastion, source) in &exposed {
            if source != MEDDLER && !self.admitted.contains(&(bastion.clone(), source.clone())) {
                self.breaks("least exposure", format!("{} lets {source} into {bastion}", call.operation));
            }
        }
        if let Some(how) = self.sources.after_write(call.cloud, &self.bastions, &exposed) {
            self.breaks("no lockout", format!("{} {how}", call.operation));
        }
        if call.cloud == Cloud::Aws {
            self.look_at_addresses(worlds, call);
        }
    }

    fn look_at_addresses(&mut self, worlds: &State, call: &Call) {
        if let Some((address, machine)) = led_astray(worlds, Cloud::Aws, &self.made) {
            let how = format!("{} leads {address} to {machine}, which somebody else has launched", call.operation);
            self.breaks("no impostor", how);
        }
        let Some(before) = &self.holders else { return };
        let now = holders(worlds, &self.made);
        let displaced = before.iter().find(|(address, _)| !now.contains_key(*address));
        if let Some((address, machine)) = displaced {
            let how = format!("{} takes {machine} away, to which {address} leads", call.operation);
            self.breaks("no impostor", how);
        }
        self.holders = Some(now);
    }

    /// One apply begins, and nothing else changes the bastions.
    pub fn apply_begins<'v>(&mut self, worlds: &State, wanted: impl Iterator<Item = (&'v str, &'v BTreeSet<String>)>) {
        let all: BTreeSet<_> = self.clouds.iter().flat_map(|cloud| exposed(worlds, *cloud, &self.made)).collect();
        self.sources.begin(wanted, &all);
        self.holders = (!self.sources.is_disturbed()).then(|| holders(worlds, &self.made));
    }

    pub fn apply_ends(&mut self) {
        self.sources.end();
        self.holders = None;
    }

    /// Everything that was begun has ended.
    pub fn calm(&mut self) {
        self.sources.calm();
    }

    /// What was begun may still be under way.
    pub fn disturb(&mut self) {
        self.sources.disturb();
        self.holders = None;
    }

    /// A run that takes bastions away begins.
    pub fn removal_begins(&mut self, worlds: &State, now: Timestamp) {
        self.made.removal_begins(worlds, now);
    }

    /// A run in bad weather is over.
    pub fn interrupted(&mut self, worlds: &State) {
        self.made.interrupted(worlds);
        self.disturb();
    }

    /// No end is one that nobody decided. Where everything is as the plans say, what somebody wrote is gone, too.
    pub fn ends(&mut self, worlds: &State, as_planned: bool, now: Timestamp) {
        if as_planned {
            self.made.repaired();
        }
        let at = |from: Timestamp, after| from.saturating_add(after).unwrap_or(from);
        let bounds = at(self.began, SHORTEST)..=at(now, LONGEST);
        if let Some((id, end)) = undecided_end(worlds, &self.made, bounds) {
            self.breaks("a moved end within bounds", format!("{id}: {end}, and nobody decided that"));
        }
    }

    /// The bastions of which gangplank's calls have made several machines: people have to say which one it is.
    pub fn undecided(&self, worlds: &State) -> Vec<&'static str> {
        let several = |(bastion, cloud): &&(&'static str, Cloud)| {
            let counts = counts(worlds, bastion, *cloud == Cloud::Aws, &self.made);
            counts.iter().any(|(what, count)| *what == "instance" && *count > 1)
        };
        self.bastions.iter().filter(several).map(|(bastion, _)| *bastion).collect()
    }

    /// No bastion's address leads to a machine that gangplank has not made.
    pub fn no_impostor(&mut self, worlds: &State) {
        for cloud in self.clouds.clone() {
            if let Some((address, machine)) = led_astray(worlds, cloud, &self.made) {
                self.breaks("no impostor", format!("{address} leads to {machine}, which somebody else has made"));
            }
        }
    }

    pub fn reap_expectation(&self, worlds: &State, bastion: Bastion, now: Timestamp) -> ReapExpectation {
        reap_expectation(worlds, bastion.name, bastion.is_on_aws(), &self.made, now)
    }

    /// Nothing is there twice; where a bastion is to stand, everything is there.
    pub fn once(&mut self, worlds: &State, bastion: &str, on_aws: bool, stands: bool) {
        for (what, count) in counts(worlds, bastion, on_aws, &self.made) {
            if count > 1 {
                self.breaks("no duplicate", format!("{count} of {bastion}'s {what} ({})", addresses(worlds)));
            } else if stands && count == 0 {
                self.breaks("convergence", format!("{bastion} has no {what}, and nobody says so"));
            }
        }
    }

    /// A bastion that stands lets exactly those in whom its plan lists, whatever somebody has opened, and its machine runs.
    pub fn as_listed(&mut self, worlds: &State, bastion: Bastion, sources: &BTreeSet<String>, now: Timestamp) {
        let (bastion, cloud) = (bastion.name, bastion.cloud());
        let exposed = exposed(worlds, cloud, &self.made).into_iter().filter(|(owner, _)| owner == bastion);
        let exposed: BTreeSet<String> = exposed.map(|(_, source)| source).collect();
        if exposed != *sources {
            self.breaks("convergence", format!("{bastion} lets in {exposed:?} and its plan {sources:?}"));
        }
        if !runs(worlds, bastion, cloud, &self.made, now) {
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
        if let Some(id) =
            worlds.inventory(now).into_iter().find(|id| self.made.is_own(id) && !self.made.is_stray_address(id))
        {
            self.breaks("destroy leaves nothing", format!("{id} ({})", addresses(worlds)));
        }
    }

    /// Everything but these bastions', to be held against what is there after they were reaped.
    pub fn beside(&self, worlds: &State, due: &[&str]) -> BTreeMap<String, Value> {
        beside(worlds, &self.clouds, &self.made, &|name| due.contains(&name))
    }

    /// While some bastions are reaped, nothing happens to anything else.
    pub fn only_what_is_due(&mut self, worlds: &State, due: &[&str], before: &BTreeMap<String, Value>) {
        if let Some((id, how)) = difference(before, &self.beside(worlds, due)) {
            let invariant = if self.foreign.contains_key(&id) { "only its own" } else { "only what is due" };
            self.breaks(invariant, how);
        }
    }

    pub fn reaped(&mut self, worlds: &State, bastion: &str, now: Timestamp) {
        if let Some(id) = all_of(worlds, bastion, &self.made, now).into_iter().next() {
            self.breaks("reap leaves nothing", format!("{id} of {bastion}"));
        }
    }

    /// Somebody changes something by hand. Whether there was something to change.
    pub fn meddle(&mut self, worlds: &mut State, rng: &mut fastrand::Rng, cloud: Cloud, now: Timestamp) -> bool {
        self.by_people(worlds, now, |judge, worlds, before| {
            let touched = meddler::meddle(worlds, rng, cloud, &judge.made, now)?;
            if matches!(touched, Touched::Theirs) {
                judge.made.made_by_people(worlds, before, false);
            }
            Some(())
        })
        .is_some()
    }

    /// Somebody writes what looks like gangplank's. Whether there was something to write it on.
    pub fn write_externally(
        &mut self,
        worlds: &mut State,
        rng: &mut fastrand::Rng,
        (writer, cloud): (ExternalWriter, Cloud),
        now: Timestamp,
    ) -> bool {
        self.by_people(worlds, now, |judge, worlds, before| {
            match writer.write(worlds, rng, cloud, &judge.made, now)? {
                ExternalWrite::Tagged { id, tags } => judge.made.tagged_by_people(&id, &tags),
                ExternalWrite::Forged { id, end } if end => judge.made.forged_by_people(&id),
                ExternalWrite::Forged { .. } => {}
                ExternalWrite::Launched { two_marks } => judge.made.made_by_people(worlds, before, two_marks),
            }
            Some(())
        })
        .is_some()
    }

    /// Those who launched machines with both of a bastion's marks end them.
    pub fn end_impostors(&mut self, worlds: &mut State, now: Timestamp) -> bool {
        self.by_people(worlds, now, |judge, worlds, _| {
            external_writers::end_impostors(worlds, &judge.made, now).then_some(())
        })
        .is_some()
    }

    /// People take what they have put into bastions' networks away.
    pub fn others_leave(&mut self, worlds: &mut State, now: Timestamp) -> bool {
        self.by_people(worlds, now, |_, worlds, _| {
            let interface = meddler::leave(worlds, now);
            let machine = external_writers::leave_network(worlds, now);
            (interface || machine).then_some(())
        })
        .is_some()
    }

    /// A machine of a bastion ends by somebody's hand.
    pub fn end_a_machine(&mut self, worlds: &mut State, bastion: &str, now: Timestamp) {
        meddler::end_a_machine(worlds, bastion, &self.made, now);
    }

    /// Something that people do: what is theirs has to stay as they leave it.
    fn by_people<T>(
        &mut self,
        worlds: &mut State,
        now: Timestamp,
        act: impl FnOnce(&mut Self, &mut State, &BTreeSet<String>) -> Option<T>,
    ) -> Option<T> {
        // What gangplank has begun, and what it has changed, would else be taken for theirs.
        hand::settle(worlds, now);
        self.nothing_foreign_is_touched(worlds);
        let before = provenance::ids(worlds);
        let done = act(self, worlds, &before)?;
        self.made.people_changed(worlds);
        self.foreign = self.foreign_now(worlds);
        self.disturb();
        Some(done)
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
