//! The steps of the machine: a new one, what can be put right on a running one, where the address leads, and what is of no use
//! any more.

use super::{
    action::{Call, Displaced, Launch, Ref},
    desire::Desired,
    diff::{Current, Made, World},
    keys,
    network::Subnet,
    observed::{Attachment, Group, Image, Instance, InstanceState, MetadataOptions, Observed},
    ownership,
    steps::{Differ, tags_detail},
    tags::{self, TagChange, Tags},
    teardown,
};
use crate::{
    changeset::{Detail, Draft, Impact, Op, StepId},
    plan::AwsAddress,
    provider::keys::details,
};

impl Differ<'_> {
    pub fn instance(
        &mut self,
        want: &Desired<'_>,
        world: World<'_>,
        made: &Made<'_>,
        current: &Current<'_>,
        launch: Option<(&Subnet, &Image)>,
    ) {
        let tags = want.instance_tags(made.deadline.as_ref());
        let terminate = made.deadline.is_some();
        if let Some(kept) = current.kept() {
            return self.kept_instance(want, kept, made, &tags);
        }
        let Some((subnet, image)) = launch else { return };
        let aws = want.aws;
        let mut draft = match current.instance {
            None => {
                let resource = format!("instance {}", tags::resource_name(&want.plan.name));
                Draft::new(Op::Create, resource, "the bastion itself")
            }
            Some(old) => Draft {
                impact: Impact::Replacement,
                details: current.reasons.clone(),
                ..Draft::new(Op::Replace, format!("instance {}", old.id), replacement_reason(current))
            },
        };
        let metadata = MetadataOptions::wanted(want.plan.asks_metadata());
        let machine = [
            Detail::added("instance type", &aws.instance_type),
            Detail::added("image", format!("{} ({})", image.id, image.name)),
            Detail::added("subnet", &subnet.id),
            Detail::added("metadata service", metadata_text(metadata)),
            Detail::added("root volume", format!("{} GiB gp3, encrypted", image.root_size)),
            Detail::added("on shutdown", if terminate { "terminate" } else { "stop" }),
            Detail::added("cloud-init", format!("{} bytes", want.user_data.text.len())),
        ];
        // What a reason says already is not said again.
        let said = |detail: &Detail| current.reasons.iter().any(|r| r.name == detail.name && r.after == detail.after);
        draft.details.extend(machine.into_iter().filter(|detail| !said(detail)));
        draft.details.extend(details(want.plan));
        if current.instance.is_none() {
            draft.details.push(tags_detail(&keys::split(&tags).1));
        }
        draft.after = self.if_planned("security-group").into_iter().collect();
        if let Some(old) = current.instance {
            draft.after.extend(self.if_planned(&format!("instance-{}", old.id)));
        }
        let launch = Launch {
            image: image.id.clone(),
            root_device: image.root_device.clone(),
            root_size: image.root_size,
            instance_type: aws.instance_type.clone(),
            subnet: subnet.id.clone(),
            group: made.group.clone(),
            user_data: want.user_data.text.clone(),
            terminate_on_shutdown: terminate,
            tags,
            metadata_tags: metadata.tags,
            part_tags: want.tags(None),
            history: world.seen.instance_history(want.bastion()),
        };
        self.push("instance", draft, Call::RunInstance(Box::new(launch)));
    }

    /// What can be put right on a running instance.
    fn kept_instance(&mut self, want: &Desired<'_>, kept: &Instance, made: &Made<'_>, wanted_tags: &Tags) {
        let id = kept.id.clone();
        let resource = format!("instance {id}");
        let one = |detail: Detail, reason: &str, impact| Draft {
            details: vec![detail],
            impact,
            ..Draft::new(Op::Update, resource.clone(), reason)
        };
        if matches!(kept.state, InstanceState::Stopped | InstanceState::Stopping) {
            let draft =
                one(Detail::changed("state", kept.state.as_str(), "running"), "somebody stopped it", Impact::Live);
            self.push("instance-start", draft, Call::StartInstance { instance: id.clone() });
        }
        // EC2 changes neither an instance that is just stopping nor one that is just starting.
        let started = self.if_planned("instance-start");
        let metadata = MetadataOptions::wanted(want.plan.asks_metadata());
        if kept.metadata != metadata {
            let detail = Detail::changed("metadata service", metadata_text(kept.metadata), metadata_text(metadata));
            let reason = if kept.metadata.tags == metadata.tags {
                "nothing behind the machine may read its metadata"
            } else if metadata.tags {
                "the machine takes its keys and its deadline from its tags"
            } else {
                "the machine does not need its tags"
            };
            let call = Call::SetMetadataOptions { instance: id.clone(), tags: metadata.tags };
            let mut draft = one(detail, reason, Impact::Live);
            draft.after = started.iter().cloned().collect();
            self.push("instance-metadata", draft, call);
        }
        if let Some(change) = keys::change(want.plan, &kept.tags) {
            let draft = Draft {
                details: change.details,
                ..Draft::new(Op::Update, format!("keys of {resource}"), change.reason)
            };
            let TagChange { set, remove } = change.tags;
            self.push("instance-keys", draft, Call::Tag { resources: vec![id.clone()], set, remove });
        }
        let only_ours = matches!(&made.group, Ref::Id(group) if kept.groups == [group.clone()]);
        if !only_ours {
            let after = match &made.group {
                Ref::Id(group) => group.clone(),
                Ref::Made => "the new group".to_owned(),
            };
            let mut draft = one(
                Detail::changed("security groups", kept.groups.join(", "), after),
                "only the bastion's own group may decide who gets in",
                Impact::Live,
            );
            let group = self.if_planned("security-group");
            draft.after = group.into_iter().chain(self.rule_openings()).chain(started.clone()).collect();
            self.push(
                "instance-groups",
                draft,
                Call::SetGroups {
                    instance: id.clone(),
                    interface: kept.first_of_several().map(str::to_owned),
                    groups: vec![made.group.clone()],
                },
            );
        }
        let terminate = made.deadline.is_some();
        let terminates = kept.tags.contains_key(tags::EXPIRES);
        if terminate != terminates {
            let text = |terminate| if terminate { "terminate" } else { "stop" };
            let reason = if terminate {
                "a bastion with a deadline ends for good"
            } else {
                "a bastion without a deadline may be stopped and started again"
            };
            let mut draft =
                one(Detail::changed("on shutdown", text(terminates), text(terminate)), reason, Impact::Live);
            draft.after = started.iter().cloned().collect();
            self.push("instance-shutdown", draft, Call::SetShutdownBehavior { instance: id.clone(), terminate });
        }
        self.part_tags(kept, &want.tags(None));
        // The tags say how it shuts down and what its parts are called, so they change after those.
        let after = ["instance-shutdown", "part-tags"].iter().filter_map(|what| self.if_planned(what)).collect();
        let ((_, wanted), (_, have)) = (keys::split(wanted_tags), keys::split(&kept.tags));
        self.tags("instance-tags", &resource, &id, &wanted, &have, after);
    }

    /// Volumes and interfaces follow when the instance's own tags change; they are not looked at by themselves.
    fn part_tags(&mut self, kept: &Instance, wanted: &Tags) {
        let set = TagChange::between(wanted, &kept.tags).set;
        if set.is_empty() || kept.parts.is_empty() {
            return;
        }
        let mut draft = Draft::new(
            Op::Update,
            format!("tags of the volumes and interfaces of {}", kept.id),
            "the tags are not the plan's",
        );
        draft.details = set.iter().map(|(key, value)| Detail::added(format!("tag {key}"), value)).collect();
        self.push("part-tags", draft, Call::Tag { resources: kept.parts.clone(), set, remove: Vec::new() });
    }

    pub fn association(&mut self, want: &Desired<'_>, world: World<'_>, current: &Current<'_>) {
        let already = match (current.kept(), current.address) {
            (Some(kept), Some(address)) => address.attached.as_ref().is_some_and(|at| at.is_instance(&kept.id)),
            _ => false,
        };
        if already {
            return;
        }
        let address = match (&want.aws.address, current.address) {
            (AwsAddress::Existing(id), _) => Ref::Id(id.clone()),
            (AwsAddress::Elastic, Some(address)) => Ref::Id(address.allocation.clone()),
            (AwsAddress::Elastic, None) => Ref::Made,
        };
        let instance = current.kept().map_or(Ref::Made, |kept| Ref::Id(kept.id.clone()));
        let before = current.other_address(world.seen);
        let (op, reason) = match (current.address.and_then(|a| a.attached.as_ref()), &before) {
            (_, Some(_)) => (Op::Update, "the plan names another address"),
            (Some(Attachment::Instance(_)), None) => (Op::Update, "the address moves to the new instance"),
            _ => (Op::Create, "the address must lead to the instance"),
        };
        let mut draft = Draft::new(op, format!("address association of {}", want.bastion()), reason);
        let after = current.public_address();
        draft.details = vec![match before {
            Some(before) => Detail::changed("address", before, after),
            None => Detail::added("address", after),
        }];
        let machine = ["address", "instance", "instance-start", "instance-groups"];
        let machine = machine.iter().filter_map(|what| self.if_planned(what));
        draft.after = machine.chain(self.rule_openings()).collect();
        let interface = current.kept().and_then(Instance::first_of_several).map(str::to_owned);
        self.push("association", draft, Call::Associate { address, instance, interface });
    }

    /// The only machine that there is, where nothing leads to it and it is not as gangplank makes one: it goes before another is
    /// made, so that no run ever meets two of which nothing tells which one serves.
    pub fn refused_candidate(&mut self, world: World<'_>, current: &Current<'_>) {
        let Some(instance) = current.instance.filter(|_| !current.serves && !current.reasons.is_empty()) else {
            return;
        };
        let mut draft = Draft::new(
            Op::Delete,
            format!("instance {}", instance.id),
            "nothing leads to it, and it is not as this run would make it",
        );
        draft.details = recognised_by(instance);
        self.terminate(world.seen, instance, draft, Some(Displaced { holds: None }));
    }

    fn terminate(&mut self, seen: &Observed, instance: &Instance, draft: Draft, displaced: Option<Displaced>) {
        let within = ownership::own_groups(instance, seen, self.bastion());
        let call = Call::TerminateInstance { instance: instance.id.clone(), within, displaced };
        self.push(&format!("instance-{}", instance.id), draft, call);
    }

    /// What is ours and of no use any more: the replaced instance, and what an interrupted run left twice.
    pub fn leftovers(
        &mut self,
        want: &Desired<'_>,
        world: World<'_>,
        current: &Current<'_>,
        vpc: &str,
        group: Option<&Group>,
    ) {
        let kept = current.kept().map(|k| k.id.as_str());
        let replaced = current.instance.map(|i| i.id.as_str());
        let association = self.if_planned("association");
        for instance in world.seen.instances_of(want.bastion()).filter(|i| Some(i.id.as_str()) != kept) {
            if self.if_planned(&format!("instance-{}", instance.id)).is_some() {
                continue;
            }
            let is_replaced = Some(instance.id.as_str()) == replaced;
            let reason =
                if is_replaced { "the new instance has its place" } else { "a second instance of the same bastion" };
            let mut draft = Draft::new(Op::Delete, format!("instance {}", instance.id), reason);
            draft.details = recognised_by(instance);
            // Any of them may be the one that serves until the address leads elsewhere.
            draft.after = association.iter().cloned().collect();
            // An address that the plan names no more stays with it to its end.
            let others = world.seen.addresses.iter().filter(|a| {
                let here = a.attached.as_ref().is_some_and(|at| at.is_instance(&instance.id));
                here && current.address.is_none_or(|used| used.allocation != a.allocation)
            });
            let holds = others.filter_map(|a| a.ip).map(|ip| ip.to_string()).next();
            self.terminate(world.seen, instance, draft, Some(Displaced { holds }));
        }
        let gone: Vec<StepId> = self
            .steps
            .iter()
            .filter(|s| matches!(s.action.call, Call::TerminateInstance { .. }))
            .map(|s| s.id.clone())
            .collect();
        let mut after: Vec<StepId> = gone.into_iter().chain(association).collect();
        for address in &current.spare_addresses {
            let resource =
                format!("elastic IP {}", address.ip.map_or_else(|| address.allocation.clone(), |ip| ip.to_string()));
            let draft = Draft {
                after: after.clone(),
                details: vec![teardown::released(address)],
                ..Draft::new(Op::Delete, resource, "the bastion uses another address")
            };
            self.push(
                &format!("address-{}", address.allocation),
                draft,
                Call::ReleaseAddress { allocation: address.allocation.clone() },
            );
        }
        after.extend(self.if_planned("instance-groups"));
        // Until then the group says whose the addresses are.
        after.extend(self.if_planned("address-mark"));
        let released = current.spare_addresses.iter().map(|a| self.id(&format!("address-{}", a.allocation)));
        after.extend(released);
        let own = group.map(|g| g.id.as_str());
        for other in world.seen.groups_of(want.bastion()).filter(|g| Some(g.id.as_str()) != own) {
            let reason = if other.vpc == vpc {
                "a second security group of the same bastion"
            } else {
                "the bastion moves to another network"
            };
            teardown::delete_group(self, want.bastion(), world.seen, other, reason, &after, &after);
        }
    }
}

/// What people recognise a machine by.
pub(super) fn recognised_by(instance: &Instance) -> Vec<Detail> {
    let name = instance.tags.get(tags::NAME).map(|name| Detail::removed("name", name));
    let launched = instance.launched.map(|at| Detail::removed("launched", at.to_string()));
    let known = [Detail::removed("state", instance.state.as_str()), Detail::removed("type", &instance.instance_type)];
    name.into_iter().chain(known).chain(launched).collect()
}

fn metadata_text(options: MetadataOptions) -> String {
    format!(
        "{}session tokens {}, hop limit {}, tags {}",
        if options.enabled { "" } else { "off, " },
        if options.tokens_required { "required" } else { "optional" },
        options.hop_limit,
        if options.tags { "readable" } else { "hidden" },
    )
}

fn replacement_reason(current: &Current<'_>) -> String {
    if let Some(foreign) = current.foreign.first() {
        return foreign.note.clone().unwrap_or_else(|| format!("its {} is not gangplank's", foreign.name));
    }
    let mut names: Vec<&str> = current.reasons.iter().map(|d| d.name.as_str()).collect();
    names.dedup();
    format!("{} can't be changed on a running machine", names.join(", "))
}
