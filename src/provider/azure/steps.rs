//! A bastion's steps, collected.

use serde_json::{Value, json};

use super::{
    action::{Action, Call, Fill},
    compare::differences,
    id::Id,
    observed::{Resource, State},
    tags::{self, TagChange, Tags},
};
use crate::changeset::{Detail, Draft, Impact, Op, Step, StepId};

/// Collects a bastion's steps.
pub(super) struct Differ<'a> {
    bastion: &'a str,
    subscription: &'a str,
    pub steps: Vec<Step<Action>>,
}

/// A resource of the bastion's own, as it shall be.
pub(super) struct Node<'n> {
    /// The step's name.
    pub what: &'n str,
    pub id: &'n Id,
    /// What people call it.
    pub resource: String,
    /// With its tags.
    pub body: Value,
    pub fill: Vec<Fill>,
    /// What a reader sees of a new one.
    pub details: Vec<Detail>,
    /// What it is there for.
    pub reason: &'static str,
    /// The steps that it waits for, where they are planned.
    pub after: &'n [&'n str],
}

/// What is in the place of a [`Node`].
#[derive(Clone, Copy)]
pub(super) enum There<'r> {
    Nothing,
    /// One that goes away first: there is a step for that.
    Old,
    /// One that may stay, with the lines of rules in which it differs.
    Kept(&'r Resource),
}

impl<'a> Differ<'a> {
    pub fn new(bastion: &'a str, subscription: &'a str) -> Self {
        Self { bastion, subscription, steps: Vec::new() }
    }

    pub fn id(&self, what: &str) -> StepId {
        StepId(format!("{}/{}/{what}", self.subscription, self.bastion))
    }

    /// The name of a step of this bastion.
    pub fn what(&self, id: &StepId) -> String {
        id.0.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The dependencies on steps, where they are part of the changeset.
    pub fn planned(&self, whats: &[&str]) -> Vec<StepId> {
        let ids = whats.iter().map(|what| self.id(what));
        ids.filter(|id| self.steps.iter().any(|s| s.id == *id)).collect()
    }

    pub fn push(&mut self, what: &str, draft: Draft, call: Call) {
        let Draft { op, resource, details, reason, impact, after } = draft;
        let action = Action { subscription: self.subscription.to_owned(), bastion: self.bastion.to_owned(), call };
        self.steps.push(Step { id: self.id(what), op, resource, details, reason, impact, after, action });
    }

    /// Makes it, changes it, gives it its tags, waits for it, or does nothing. `lines` are the rules in which a kept one differs, as
    /// people read them.
    pub fn node(&mut self, node: Node<'_>, there: There<'_>, lines: Vec<Detail>) {
        let Node { what, id, resource, mut body, fill, details, reason, after } = node;
        let after = self.planned(after);
        let put = |op, reason: &str, details| Draft {
            details,
            after: after.clone(),
            ..Draft::new(op, resource.clone(), reason)
        };
        let have = match there {
            There::Nothing => {
                return self.push(what, put(Op::Create, reason, details), Call::Put { id: id.clone(), body, fill });
            }
            There::Old => {
                let draft = Draft { impact: Impact::Interruption, ..put(Op::Replace, reason, details) };
                return self.push(what, draft, Call::Put { id: id.clone(), body, fill });
            }
            There::Kept(have) => have,
        };
        let wanted: Option<Tags> = serde_json::from_value(body["tags"].clone()).ok();
        let there = tags::spelled_as(wanted.as_ref().unwrap_or(&Tags::new()), &have.tags);
        let tags = wanted.as_ref().map(|wanted| TagChange::between(wanted, &there)).unwrap_or_default();
        if let Some(map) = body.as_object_mut() {
            map.shift_remove("tags");
        }
        let mut changes = differences(&body, &have.raw);
        if !lines.is_empty() {
            // What the lines say in words.
            let said = ["securityRules", "ruleCollections", "ipConfigurations"];
            changes.retain(|d| !said.iter().any(|word| d.name.starts_with(word)));
        }
        let failed = have.state == State::Failed;
        if failed || !changes.is_empty() || !lines.is_empty() {
            let mut details = lines;
            if failed {
                details.push(Detail::changed("provisioning", "failed", "succeeded"));
            }
            details.extend(changes);
            details.extend(tag_details(&tags, &there));
            if wanted.is_some() {
                // A PUT sets all tags: those of others go along.
                let mut all = there;
                all.retain(|key, _| !tags.remove.contains(key));
                all.extend(tags.set);
                body["tags"] = json!(all);
            }
            let reason = if failed { "Azure could not finish it" } else { "it is not what the plan says" };
            self.push(what, put(Op::Update, reason, details), Call::Put { id: id.clone(), body, fill });
        } else if !tags.is_empty() {
            self.tags(what, &resource, id, &tags, &there, after);
        } else if have.state == State::Busy {
            self.wait(what, &resource, id, after);
        }
    }

    /// Who comes in is decided before tags are: a policy is at work for minutes with either.
    pub fn tags_last(&mut self, what: &str, first: &str) {
        let (id, first) = (self.id(what), self.id(first));
        let only_tags = |s: &Step<Action>| s.id == id && matches!(s.action.call, Call::Tag { .. });
        if !self.steps.iter().any(only_tags) || !self.steps.iter().any(|s| s.id == first) {
            return;
        }
        let (mut tags, mut others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.steps).into_iter().partition(|s| s.id == id);
        tags.iter_mut().for_each(|step| step.after.push(first.clone()));
        others.iter_mut().filter(|step| step.id == first).for_each(|step| step.after.retain(|after| *after != id));
        self.steps = others.into_iter().chain(tags).collect();
    }

    pub fn wait(&mut self, what: &str, resource: &str, id: &Id, after: Vec<StepId>) {
        let draft = Draft {
            after,
            ..Draft::new(Op::Update, resource, "Azure is still at it: an earlier run, or somebody, began it")
        };
        self.push(what, draft, Call::Wait { id: id.clone() });
    }

    pub fn tags(&mut self, what: &str, resource: &str, id: &Id, change: &TagChange, have: &Tags, after: Vec<StepId>) {
        if change.is_empty() {
            return;
        }
        let deadline = change.set.contains_key(tags::EXPIRES) || change.remove.iter().any(|key| key == tags::EXPIRES);
        let reason = if deadline { "the deadline is not the plan's" } else { "the tags are not the plan's" };
        let draft = Draft {
            details: tag_details(change, have),
            after,
            ..Draft::new(Op::Update, format!("tags of {resource}"), reason)
        };
        let call = Call::Tag { id: id.clone(), set: change.set.clone(), remove: change.remove.clone() };
        self.push(what, draft, call);
    }

    /// What the plan has come to call existing is no longer ours: it must outlive the bastion.
    pub fn give_back(&mut self, what: &str, resource: &Resource) {
        let ours: Vec<&String> = resource.tags.keys().filter(|key| tags::is_ours(key)).collect();
        let change = TagChange { set: Tags::new(), remove: ours.into_iter().cloned().collect() };
        let reason = "the plan names it as an existing one: it is yours, and stays when the bastion goes";
        let draft = Draft {
            details: tag_details(&change, &resource.tags),
            ..Draft::new(Op::Update, format!("tags of {}", resource.words()), reason)
        };
        self.push(what, draft, Call::Tag { id: resource.id.clone(), set: change.set, remove: change.remove });
    }
}

fn tag_details(change: &TagChange, have: &Tags) -> Vec<Detail> {
    let set = change.set.iter().map(|(key, value)| match have.get(key) {
        Some(before) => Detail::changed(format!("tag {key}"), before, value),
        None => Detail::added(format!("tag {key}"), value),
    });
    let removed = change
        .remove
        .iter()
        .map(|key| Detail::removed(format!("tag {key}"), have.get(key).cloned().unwrap_or_default()));
    set.chain(removed).collect()
}

/// The tags of something new, on one line: they are the same on everything that a bastion has.
pub(super) fn tags_detail(tags: &Tags) -> Detail {
    let pairs = tags.iter().filter(|(key, _)| !tags::is_ours(key) || *key == tags::BASTION);
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    Detail::added("tags", pairs.join(" ")).note("and gangplank's notes")
}
