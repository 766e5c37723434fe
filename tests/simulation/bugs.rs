//! Programs that break an invariant: what gangplank would do with a mistake in it.

use gangplank::{
    changeset::{Changeset, Impact, Op, Step, StepId},
    execute,
    provider::{
        aws::{
            action::{Call, DescribedRule, Ref},
            rule::{Direction, Peer, Protocol, Rule},
        },
        azure,
        clouds::Clouds,
        fleet::{Action, Fleet},
    },
    sandbox::{call::Cloud, cloud::State, ec2},
    stop::Stop,
    tags::{BASTION, EXPIRES, EXTENDED},
};

use super::{
    hand::{self, net, region},
    lookalikes,
    story::Nobody,
};

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
    /// What carries a bastion's tag is its own, whoever made it.
    TagIsEnough,
    /// The address leads to a machine that looks like the bastion's.
    AdoptsLookalike,
    /// Sources are closed before others are opened.
    ClosesFirst,
    /// It does not compare the account with the plan's.
    IgnoresAccount,
    /// One resource's tag decides about the end of all.
    BelievesAnyEnd,
}

impl Bug {
    pub const ALL: [Self; 17] = [
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
        Self::TagIsEnough,
        Self::AdoptsLookalike,
        Self::ClosesFirst,
        Self::IgnoresAccount,
        Self::BelievesAnyEnd,
    ];

    /// The invariants that it breaks: what a story shows first depends on how it ends.
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::Untagged => &["convergence", "destroy leaves nothing", "reap leaves nothing"],
            Self::Forgetful => &["convergence"],
            Self::Doubled => &["no duplicate"],
            Self::Generous | Self::GenerousOnAzure => &["least exposure"],
            Self::Greedy | Self::Blind | Self::TagIsEnough => &["only its own"],
            Self::AdoptsLookalike => &["no impostor"],
            Self::ClosesFirst => &["no lockout"],
            Self::IgnoresAccount => &["the right account"],
            Self::BelievesAnyEnd => &["a moved end within bounds"],
            // Its rules in other people's groups go along.
            Self::Impatient => &["only what is due", "only its own"],
            Self::Overlooking | Self::Sparing => &["reap leaves nothing"],
            Self::Leaving => &["destroy leaves nothing"],
            Self::Eager => &["a dry run writes nothing"],
        }
    }

    pub fn in_an_apply(self, set: &mut Changeset<Action>, clouds: &Clouds) {
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
            Self::AdoptsLookalike => adopt_lookalike(set, clouds),
            Self::ClosesFirst => close_first(set),
            Self::BelievesAnyEnd => believe_any_end(set, clouds),
            _ => {}
        }
    }

    pub fn in_a_destroy(self, set: &mut Changeset<Action>, clouds: &Clouds) {
        match self {
            Self::Greedy => {
                for call in aws(set) {
                    if let Call::ReleaseAddress { allocation } = call {
                        ec2::RESERVED_ADDRESS.clone_into(allocation);
                    }
                }
            }
            Self::Leaving => without(set, |call| matches!(call, Call::ReleaseAddress { .. })),
            Self::TagIsEnough => delete_tagged(set, clouds),
            _ => {}
        }
    }

    pub fn in_a_reap(self, set: &mut Changeset<Action>, clouds: &Clouds) {
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
            Self::TagIsEnough => delete_tagged(set, clouds),
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

fn peek<T>(clouds: &Clouds, look: impl FnOnce(&State) -> T) -> Option<T> {
    match clouds {
        Clouds::Sandbox(sandbox) => Some(sandbox.change(|worlds, _| look(worlds))),
        Clouds::Real => None,
    }
}

fn aws_step(set: &Changeset<Action>, what: &str, call: Call) -> Step<Action> {
    let (region, bastion) = (hand::REGION.to_owned(), set.bastion.clone());
    step(
        StepId::new(&set.bastion, what),
        Action::Aws(gangplank::provider::aws::action::Action { region, bastion, call }),
    )
}

/// Every unused address that carries the bastion's tag. Of Azure's resources none: there each deletion looks at the name again.
fn delete_tagged(set: &mut Changeset<Action>, clouds: &Clouds) {
    let bastion = set.bastion.clone();
    let addresses = peek(clouds, |worlds| {
        let addresses = region(worlds).into_iter().flat_map(|region| &region.addresses);
        let unused = addresses.filter(|(_, a)| a.association.is_none());
        let tagged = unused.filter(|(_, a)| a.tags.get(BASTION) == Some(&bastion)).map(|(id, _)| id.clone());
        tagged.collect::<Vec<_>>()
    })
    .unwrap_or_default();
    let on_aws = set.steps.iter().any(|step| matches!(step.action, Action::Aws(_)));
    for (at, allocation) in addresses.into_iter().enumerate().filter(|_| on_aws) {
        let is_known = |call: &Call| matches!(call, Call::ReleaseAddress { allocation: known } if *known == allocation);
        if !aws(set).any(|call| is_known(call)) {
            set.steps.push(aws_step(set, &format!("tagged-{at}"), Call::ReleaseAddress { allocation }));
        }
    }
}

/// The bastion's address leads to another machine that carries its tag.
fn adopt_lookalike(set: &mut Changeset<Action>, clouds: &Clouds) {
    let bastion = set.bastion.clone();
    let found = peek(clouds, |worlds| {
        let region = region(worlds)?;
        let (address, real) = region.addresses.iter().find_map(|(id, a)| {
            let interface = region.interfaces.get(&a.association.as_ref()?.interface)?;
            (a.tags.get(BASTION) == Some(&bastion)).then_some((id, &interface.attachment.as_ref()?.instance))
        })?;
        let others = region.instances.iter().filter(|(id, i)| *id != real && i.tags.get(BASTION) == Some(&bastion));
        let other = others.filter(|(_, i)| !i.state(jiff::Timestamp::MAX).ends()).map(|(id, _)| id).next()?;
        Some((address.clone(), other.clone()))
    });
    if let Some((address, instance)) = found.flatten() {
        let call = Call::Associate { address: Ref::Id(address), instance: Ref::Id(instance), interface: None };
        set.steps.push(aws_step(set, "adopted", call));
    }
}

/// A step that opens and closes becomes two, and opening waits for closing.
fn close_first(set: &mut Changeset<Action>) {
    let mut closing = Vec::new();
    for step in &mut set.steps {
        let Action::Aws(action) = &mut step.action else { continue };
        let Call::ChangeRules { direction: Direction::Ingress, add, remove, .. } = &mut action.call else { continue };
        if add.is_empty() || remove.is_empty() {
            continue;
        }
        let removed = std::mem::take(remove);
        let mut before = step.clone();
        before.id.0.push_str("-first");
        if let Action::Aws(action) = &mut before.action
            && let Call::ChangeRules { add, remove, .. } = &mut action.call
        {
            add.clear();
            *remove = removed;
        }
        step.after.push(before.id.clone());
        closing.push(before);
    }
    set.steps.extend(closing);
}

/// Where one resource says that the end was moved, or is another one, all come to say so.
fn believe_any_end(set: &mut Changeset<Action>, clouds: &Clouds) {
    let bastion = set.bastion.clone();
    let found = peek(clouds, |worlds| {
        let region = region(worlds)?;
        let groups = region.groups.iter().map(|(id, g)| (id, &g.tags));
        let addresses = region.addresses.iter().map(|(id, a)| (id, &a.tags));
        let instances = region.instances.iter().filter(|(_, i)| !i.state(jiff::Timestamp::MAX).ends());
        let all = groups.chain(addresses).chain(instances.map(|(id, i)| (id, &i.tags)));
        let tagged: Vec<_> = all.filter(|(_, tags)| tags.get(BASTION) == Some(&bastion)).collect();
        let moved = tagged.iter().find_map(|(_, tags)| tags.get(EXTENDED)).map(|text| (EXTENDED, text.clone()));
        let far = |end: &&String| end.starts_with("9998");
        let end = tagged.iter().filter_map(|(_, tags)| tags.get(EXPIRES)).find(far).map(|text| (EXPIRES, text.clone()));
        let (key, value) = moved.or(end)?;
        Some((tagged.iter().map(|(id, _)| (*id).clone()).collect::<Vec<_>>(), key, value))
    });
    if let Some((resources, key, value)) = found.flatten() {
        let call = Call::Tag { resources, set: [(key.to_owned(), value)].into(), remove: Vec::new() };
        set.steps.push(aws_step(set, "believed", call));
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
