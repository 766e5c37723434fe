//! Programs that break an invariant: what gangplank would do with a mistake in it.

use gangplank::{
    changeset::{Changeset, Impact, Op, Step, StepId},
    execute::{self, Stop},
    provider::{
        aws::{
            action::{Call, DescribedRule},
            rule::{Direction, Peer, Protocol, Rule},
        },
        azure,
        fleet::{Action, Fleet},
        tags::BASTION,
    },
    sandbox::{call::Cloud, ec2},
};

use super::{hand::net, lookalikes, story::Nobody};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What is created carries no ownership tag.
    Untagged,
    /// Addresses are allocated twice.
    Doubled,
    /// The association is forgotten.
    Forgetful,
    /// Rules admit somebody whom no plan lists.
    Generous,
    /// Rules of Azure's firewall do.
    GenerousOnAzure,
    /// Destroy takes somebody's address along.
    Greedy,
    /// Destroy leaves the address.
    Leaving,
    /// A dry run sets a tag.
    Eager,
    /// A reaper goes by names and not by the tag.
    Blind,
    /// A reaper does not wait for the end.
    Impatient,
    /// A reaper does not see what has lost its machine.
    Overlooking,
    /// A reaper leaves the address.
    Sparing,
}

impl Bug {
    pub const ALL: [Self; 12] = [
        Self::Untagged,
        Self::Doubled,
        Self::Forgetful,
        Self::Generous,
        Self::GenerousOnAzure,
        Self::Greedy,
        Self::Leaving,
        Self::Eager,
        Self::Blind,
        Self::Impatient,
        Self::Overlooking,
        Self::Sparing,
    ];

    /// The invariants that it breaks: what a story shows first depends on how it ends.
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::Untagged => &["convergence", "destroy leaves nothing"],
            Self::Forgetful => &["convergence"],
            Self::Doubled => &["no duplicate"],
            Self::Generous | Self::GenerousOnAzure => &["least exposure"],
            Self::Greedy | Self::Blind => &["only its own"],
            Self::Impatient => &["only what is due"],
            Self::Overlooking | Self::Sparing => &["reap leaves nothing"],
            Self::Leaving => &["destroy leaves nothing"],
            Self::Eager => &["a dry run writes nothing"],
        }
    }

    pub fn in_an_apply(self, set: &mut Changeset<Action>) {
        match self {
            Self::Untagged => {
                for call in aws(set) {
                    match call {
                        Call::AllocateAddress { tags } => _ = tags.remove(BASTION),
                        Call::RunInstance(launch) => _ = launch.tags.remove(BASTION),
                        _ => {}
                    }
                }
            }
            Self::Doubled => {
                let twins: Vec<Step<Action>> = set
                    .steps
                    .iter()
                    .filter(|step| is_allocation(step))
                    .map(|step| {
                        let mut twin = step.clone();
                        twin.id.0.push_str("-twin");
                        twin
                    })
                    .collect();
                set.steps.extend(twins);
            }
            Self::Forgetful => {
                without(set, |call| matches!(call, Call::Associate { .. }));
            }
            Self::Generous => {
                for call in aws(set) {
                    if let Call::ChangeRules { direction: Direction::Ingress, add, .. } = call
                        && let Some(rule) = add.iter().find(|add| matches!(add.rule.peer, Peer::Net(_))).cloned()
                    {
                        let Protocol::Tcp { .. } = rule.rule.protocol else { continue };
                        let peer = Peer::Net("0.0.0.0/0".parse().expect("a range"));
                        add.push(DescribedRule { rule: Rule { peer, ..rule.rule }, ..rule });
                    }
                }
            }
            Self::GenerousOnAzure => {
                for step in &mut set.steps {
                    let Action::Azure(action) = &mut step.action else { continue };
                    let body = match &mut action.call {
                        azure::action::Call::Put { body, .. } => body,
                        azure::action::Call::NatCollection { collection: Some(collection), .. } => collection,
                        _ => continue,
                    };
                    widen(body);
                }
            }
            _ => {}
        }
    }

    pub fn in_a_destroy(self, set: &mut Changeset<Action>) {
        match self {
            Self::Greedy => {
                for call in aws(set) {
                    if let Call::ReleaseAddress { allocation } = call {
                        ec2::RESERVED_ADDRESS.clone_into(allocation);
                    }
                }
            }
            Self::Leaving => without(set, |call| matches!(call, Call::ReleaseAddress { .. })),
            _ => {}
        }
    }

    pub fn in_a_reap(self, set: &mut Changeset<Action>) {
        match self {
            Self::Blind => {
                let action = match set.steps.first().map(|step| &step.action) {
                    Some(Action::Aws(action)) => {
                        let Some(allocation) = lookalikes::address(&lookalikes::company(&[Cloud::Aws], 0)) else {
                            return;
                        };
                        let call = Call::ReleaseAddress { allocation };
                        Action::Aws(gangplank::provider::aws::action::Action { call, ..action.clone() })
                    }
                    Some(Action::Azure(action)) => {
                        let id = azure::id::Id::new(net("rg-hub", "publicIPAddresses/gangplank-warehouse"));
                        let call = azure::action::Call::Delete { id };
                        Action::Azure(azure::action::Action { call, ..action.clone() })
                    }
                    None => return,
                };
                let id = StepId::new(&set.bastion, "blind");
                set.steps.push(step(id, action));
            }
            Self::Sparing => without(set, |call| matches!(call, Call::ReleaseAddress { .. })),
            _ => {}
        }
    }

    /// A dry run ends with the look at the clouds; this one goes on.
    pub async fn in_a_dry_run(self, fleet: &Fleet<'_>, sets: &[Changeset<Action>]) {
        if self != Self::Eager {
            return;
        }
        let Some(set) = sets.first() else { return };
        let action = Action::Aws(gangplank::provider::aws::action::Action {
            region: "us-east-1".to_owned(),
            bastion: set.bastion.clone(),
            call: Call::Tag {
                resources: vec![ec2::DATABASE_GROUP.to_owned()],
                set: [("looked-at".to_owned(), "yes".to_owned())].into(),
                remove: Vec::new(),
            },
        });
        let step = step(StepId::new(&set.bastion, "eager"), action);
        let _ = execute::run(&fleet.performer(), &[&step], Stop::new(), &Nobody).await;
    }
}

fn step(id: StepId, action: Action) -> Step<Action> {
    Step {
        id,
        op: Op::Update,
        resource: "somebody's".to_owned(),
        details: Vec::new(),
        reason: String::new(),
        impact: Impact::Live,
        after: Vec::new(),
        action,
    }
}

fn aws(set: &mut Changeset<Action>) -> impl Iterator<Item = &mut Call> {
    set.steps.iter_mut().filter_map(|step| match &mut step.action {
        Action::Aws(action) => Some(&mut action.call),
        Action::Azure(_) => None,
    })
}

fn is_allocation(step: &Step<Action>) -> bool {
    matches!(&step.action, Action::Aws(action) if matches!(action.call, Call::AllocateAddress { .. }))
}

/// Leaves out steps, and what waits for them goes on without.
fn without(set: &mut Changeset<Action>, what: impl Fn(&Call) -> bool) {
    let is = |step: &Step<Action>| matches!(&step.action, Action::Aws(action) if what(&action.call));
    let gone: Vec<_> = set.steps.iter().filter(|step| is(step)).map(|step| step.id.clone()).collect();
    set.steps.retain(|step| !is(step));
    for step in &mut set.steps {
        step.after.retain(|id| !gone.contains(id));
    }
}

/// One more source in every list of sources of DNAT rules.
fn widen(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            let is_nat = map.contains_key("translatedAddress");
            if let Some(sources) = map.get_mut("sourceAddresses").and_then(serde_json::Value::as_array_mut)
                && is_nat
            {
                sources.push("198.18.99.99".into());
            }
            map.values_mut().for_each(widen);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(widen),
        _ => {}
    }
}
