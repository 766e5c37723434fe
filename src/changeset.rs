//! The difference between what plans ask for and what a cloud has: steps in an order, each with its reason, and the
//! exposure that results. Plain data without a choice left in it; a saved changeset is this, serialised.

use std::{cmp::Reverse, collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

use crate::location::Location;

/// One bastion's part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changeset<A> {
    pub bastion: String,
    #[serde(flatten)]
    pub location: Location,
    /// The plan's file.
    pub plan: String,
    /// In an order that can be executed one by one.
    pub steps: Vec<Step<A>>,
    /// Who can reach what once every step is done; empty after a teardown.
    pub exposure: Vec<Exposure>,
    /// What a reader should know and no step says: a pinned image, a tunnel without a key, a deadline.
    pub notes: Vec<String>,
}

impl<A> Changeset<A> {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// It takes away, and nothing else.
    pub fn is_teardown(&self) -> bool {
        self.steps.iter().all(|step| step.op == Op::Delete)
    }

    /// The same with its steps' actions told otherwise.
    pub fn map<B>(self, tell: impl Fn(A) -> B) -> Changeset<B> {
        let Self { bastion, location, plan, steps, exposure, notes } = self;
        let steps = steps.into_iter().map(|step| step.map(&tell)).collect();
        Changeset { bastion, location, plan, steps, exposure, notes }
    }
}

/// One change of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step<A> {
    pub id: StepId,
    pub op: Op,
    /// What is changed, for people: `security group gangplank-warehouse`.
    pub resource: String,
    /// The resource's properties or rules that change.
    pub details: Vec<Detail>,
    pub reason: String,
    pub impact: Impact,
    /// Steps that must be done before this one starts.
    pub after: Vec<StepId>,
    pub action: A,
}

impl<A> Step<A> {
    /// The same with its action told otherwise.
    pub fn map<B>(self, tell: impl FnOnce(A) -> B) -> Step<B> {
        let Self { id, op, resource, details, reason, impact, after, action } = self;
        Step { id, op, resource, details, reason, impact, after, action: tell(action) }
    }
}

/// The steps of a teardown in waves: what nothing has to precede comes first, of whichever bastion, and of that what most
/// waits for. So many machines end in one call, nobody gets in any more from the first moment, and what EC2 keeps for a while
/// after a machine's end is free when its turn comes.
pub fn in_waves<'a, A>(steps: &[&'a Step<A>]) -> Vec<&'a Step<A>> {
    let mut waves: HashMap<&StepId, usize> = HashMap::new();
    for step in steps {
        // Within a changeset a step stands after those that it waits for.
        let wave = step.after.iter().filter_map(|id| waves.get(id)).max().map_or(0, |last| last + 1);
        waves.insert(&step.id, wave);
    }
    let mut waiting: HashMap<&StepId, usize> = HashMap::new();
    for before in steps.iter().flat_map(|step| &step.after) {
        *waiting.entry(before).or_default() += 1;
    }
    let mut all = steps.to_vec();
    all.sort_by_key(|step| (waves.get(&step.id), Reverse(waiting.get(&step.id))));
    all
}

/// `bastion/what`: unique within a run, stable between runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub String);

impl StepId {
    pub fn new(bastion: &str, what: &str) -> Self {
        Self(format!("{bastion}/{what}"))
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Create,
    Update,
    /// A new one takes the old one's place; the old one's removal is a step of its own.
    Replace,
    Delete,
}

impl Op {
    /// The sign before a line of a diff.
    pub fn sign(self) -> &'static str {
        match self {
            Op::Create => "+",
            Op::Update => "~",
            Op::Replace => "±",
            Op::Delete => "-",
        }
    }
}

/// One property or rule: absent before a create, absent after a delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<String>,
    /// Why it is there: `secoda/north-america for tunnel secoda`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

impl Detail {
    pub fn added(name: impl Into<String>, after: impl Into<String>) -> Self {
        Self { name: name.into(), before: None, after: Some(after.into()), note: None }
    }

    pub fn removed(name: impl Into<String>, before: impl Into<String>) -> Self {
        Self { name: name.into(), before: Some(before.into()), after: None, note: None }
    }

    pub fn changed(name: impl Into<String>, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self { name: name.into(), before: Some(before.into()), after: Some(after.into()), note: None }
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub fn op(&self) -> Op {
        match (&self.before, &self.after) {
            (None, _) => Op::Create,
            (Some(_), None) => Op::Delete,
            (Some(_), Some(_)) => Op::Update,
        }
    }
}

/// What a step does to the tunnels that run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// Nothing that runs is interrupted.
    Live,
    /// A new machine: connections are cut, the host key changes; the address stays unless the step says otherwise.
    Replacement,
    /// The way in is closed until another one stands: connections are cut, the machine stays as it is.
    Interruption,
    /// The bastion goes away.
    Teardown,
}

/// One way in or out that is open after the changeset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    pub direction: Direction,
    /// Who: `35.175.75.15/32`, `tunnel secoda`, `the machine`.
    pub from: String,
    /// What: `tcp 22 on the bastion's address`, `warehouse.internal:5432`.
    pub to: String,
    /// Why: `secoda/north-america`, `target warehouse (postgres)`, `package mirrors`.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the bastion from outside.
    Inbound,
    /// Through a tunnel to a target.
    Tunnel,
    /// From the machine itself.
    Outbound,
}

/// A step as a diff writes it: without its id and its action, which the provider's collector adds.
pub struct Draft {
    pub op: Op,
    pub resource: String,
    pub details: Vec<Detail>,
    pub reason: String,
    pub impact: Impact,
    pub after: Vec<StepId>,
}

impl Draft {
    pub fn new(op: Op, resource: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            op,
            resource: resource.into(),
            details: Vec::new(),
            reason: reason.into(),
            impact: Impact::Live,
            after: Vec::new(),
        }
    }
}
